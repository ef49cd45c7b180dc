/* adit's end of a poll carrier over one HTTP/1.1 connection, whose other end is this script. Nothing here turns the loop,
 * so further connections stay on their way. */
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "carrier/carrier.h"
#include "read_script.h"
#include "unit.h"

#define LINK "00112233445566778899aabbccddeeff"
#define ID "ffeeddccbbaa99887766554433221100"

struct wire {
	struct stream base;
	struct side *x;
};

struct side {
	struct loop *loop;
	struct resolver *resolver;
	struct stream *lower;    /* the connection while adit has it */
	struct carrier_attempt *attempt;
	struct stream *s;        /* the carrier */
	char told[8192];         /* what adit sent and was not looked at */
	struct buf answers;
	bool closed;
	unsigned results;
	int err, status, end;
	bool ours;
	char detail[256];
	struct buf got;
};

static struct side *of(const struct stream *s)
{
	return container_of(s, struct wire, base)->x;
}

static ssize_t wire_read(struct stream *s, void *p, size_t n)
{
	size_t got = buf_take(&of(s)->answers, p, n);

	return got ? (ssize_t)got : ADIT_ERR_AGAIN;
}

static ssize_t wire_write(struct stream *s, const struct iovec *iov, int count)
{
	struct side *x = of(s);
	ssize_t done = 0;

	for (int i = 0; i < count; i++) {
		CU_ASSERT_FATAL(strlen(x->told) + iov[i].iov_len < sizeof(x->told));
		strncat(x->told, iov[i].iov_base, iov[i].iov_len);
		done += (ssize_t)iov[i].iov_len;
	}
	return done;
}

static void wire_pause(struct stream *s, bool paused)
{
	(void)s;
	(void)paused;
}

static size_t wire_unsent(const struct stream *s)
{
	(void)s;
	return 0;
}

static void wire_finish(struct stream *s)
{
	(void)s;
}

static void wire_stop(struct stream *s)
{
	of(s)->closed = true;
}

static void wire_destroy(struct stream *s)
{
	free(container_of(s, struct wire, base));
}

static const struct stream_ops wire_ops = {
	.read = wire_read, .write = wire_write, .pause = wire_pause, .unsent = wire_unsent, .finish = wire_finish,
	.stop = wire_stop, .destroy = wire_destroy,
};

static void on_readable(void *owner)
{
	struct side *x = owner;

	if (!x->end)
		x->end = read_everything(x->s, &x->got, 256);
}

static void on_writable(void *owner)
{
	(void)owner;
}

static const struct stream_handler handler = {on_readable, on_writable};

static void on_result(void *arg, const struct carrier_result *r)
{
	struct side *x = arg;

	x->attempt = NULL;
	x->results++;
	x->err = r->err;
	x->status = r->status;
	x->ours = r->ours;
	snprintf(x->detail, sizeof(x->detail), "%s", r->detail);
	x->s = r->stream;
	if (x->s) {
		stream_own(x->s, &handler, x);
		stream_pause(x->s, false);
	}
}

static void begin(struct side *x)
{
	const struct dial_options dial = {.host = "127.0.0.1", .port = 1};
	struct carrier_target t = {
		.host = "t.test", .link_id = LINK, .token = "secret", .agent = "test", .dial = &dial, .poll_hold_ms = 20000,
	};
	struct wire *w = calloc(1, sizeof(*w));

	memset(x, 0, sizeof(*x));
	x->loop = loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->loop);
	x->resolver = t.resolver = resolver_new(x->loop);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->resolver);
	stream_init(&w->base, &wire_ops, x->loop);
	w->x = x;
	x->lower = &w->base;
	x->attempt = carrier_poll.start(x->loop, &w->base, &t, on_result, x);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->attempt);
	loop_settle(x->loop);
}

static void end(struct side *x)
{
	if (x->attempt)
		carrier_poll.cancel(&x->attempt);
	stream_free(&x->s);
	CU_ASSERT(x->closed);
	resolver_free(&x->resolver);
	loop_settle(x->loop);
	buf_clear(&x->answers);
	buf_clear(&x->got);
	loop_free(&x->loop);
}

/* The connection brings this. */
static void answer(struct side *x, const char *text)
{
	CU_ASSERT_EQUAL(buf_add(&x->answers, text, strlen(text)), 0);
	x->lower->handler->readable(x->lower->owner);
	loop_settle(x->loop);
}

/* Has adit sent that request, and this among its lines? Then it is over. */
static bool told(struct side *x, const char *start, const char *line)
{
	bool ok = strncmp(x->told, start, strlen(start)) == 0 && strstr(x->told, line);

	if (!ok)
		printf("told: %s\n", x->told);
	return ok;
}

static void forget(struct side *x)
{
	*x->told = '\0';
}

static void open_carrier(struct side *x)
{
	begin(x);
	forget(x);
	answer(x, "HTTP/1.1 201 Created\r\nAdit-Version: 1\r\nAdit-Carrier: " ID "\r\nContent-Length: 0\r\n\r\n");
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->s);
}

static void stop(void *arg)
{
	loop_stop(arg);
}

/* Lets timers run until adit has asked, a second at most. */
static void wait_told(struct side *x)
{
	struct timer t;

	timer_init(&t, x->loop, stop, x->loop);
	for (int i = 0; i < 100 && !*x->told; i++) {
		timer_set(&t, 10);
		loop_run(x->loop);
	}
	timer_stop(&t);
	loop_settle(x->loop);
}

/* ---- */

static void opening(void)
{
	struct side x;

	begin(&x);
	CU_ASSERT(told(&x, "POST /_adit/v1/" LINK "/relay HTTP/1.1\r\n", "authorization: Bearer secret\r\n"));
	CU_ASSERT_PTR_NULL(strstr(x.told, "adit-carrier"));
	CU_ASSERT_EQUAL(x.results, 0);
	forget(&x);
	answer(&x, "HTTP/1.1 201 Created\r\nAdit-Version: 1\r\nAdit-Carrier: " ID "\r\nContent-Length: 0\r\n\r\n");
	CU_ASSERT(x.results == 1 && x.err == 0 && x.ours && x.s);
	CU_ASSERT(told(&x, "GET /_adit/v1/" LINK "/poll HTTP/1.1\r\n", "adit-carrier: " ID "\r\n"));
	CU_ASSERT(told(&x, "GET ", "adit-seq: 0\r\nadit-ack: 0\r\nadit-hold: 20000\r\n"));
	end(&x);
}

static void refusals(void)
{
	static const struct {
		const char *text, *detail;
		int err;
		bool ours;
	} cases[] = {
		{"HTTP/1.1 401 No\r\nAdit-Version: 1\r\nContent-Length: 8\r\n\r\nbad one\n", "bad one ", ADIT_ERR_AUTH, true},
		{"HTTP/1.1 401 No\r\nContent-Length: 4\r\n\r\npage", "the first relay was answered with 401", ADIT_ERR_AUTH, false},
		{"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage", "the first relay was answered with 200", ADIT_ERR_PROTO, false},
		{"HTTP/1.1 426 No\r\nAdit-Version: 2\r\nContent-Length: 4\r\n\r\npage",
		 "the server speaks version 2, this adit version 1: update adit", ADIT_ERR_VERSION, true},
		{"HTTP/1.1 426 No\r\nAdit-Version: 0.9\r\nContent-Length: 0\r\n\r\n",
		 "the server speaks version 0, this adit version 1: update the server", ADIT_ERR_VERSION, true},
		{"HTTP/1.1 426 No\r\nAdit-Version: x\r\nContent-Length: 0\r\n\r\n",
		 "the server and this adit speak different versions: update the older one", ADIT_ERR_VERSION, true},
		{"HTTP/1.1 426 No\r\nAdit-Version: 1.2\r\nContent-Length: 7\r\n\r\nupgrade", "upgrade", ADIT_ERR_UPGRADE, true},
		{"HTTP/1.1 426 No\r\nContent-Length: 4\r\n\r\npage",
		 "the first relay was answered with 426", ADIT_ERR_UPGRADE, false},
		{"HTTP/1.1 201 OK\r\nAdit-Version: 1\r\nAdit-Carrier: 12\r\nContent-Length: 0\r\n\r\n",
		 "the first relay was answered with 201", ADIT_ERR_PROTO, true},
		{"HTTP/1.1 201 OK\r\nAdit-Carrier: " ID "\r\nContent-Length: 0\r\n\r\n",
		 "the first relay was answered with 201", ADIT_ERR_PROTO, false},
	};
	struct side x;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		begin(&x);
		answer(&x, cases[i].text);
		CU_ASSERT(x.results == 1 && x.err == cases[i].err && x.ours == cases[i].ours && !x.s);
		CU_ASSERT_STRING_EQUAL(x.detail, cases[i].detail);
		end(&x);
	}
}

static void numbering(void)
{
	char copy[16] = "";
	struct side x;

	open_carrier(&x);
	forget(&x);
	answer(&x, "HTTP/1.1 200 OK\r\nAdit-Version: 1\r\nAdit-Seq: 0\r\nContent-Length: 5\r\n\r\nhel");
	CU_ASSERT_STRING_EQUAL(x.told, "");
	answer(&x, "lo");
	CU_ASSERT(told(&x, "GET ", "adit-seq: 1\r\nadit-ack: 1\r\n"));
	CU_ASSERT(buf_take(&x.got, copy, sizeof(copy)) == 5 && strcmp(copy, "hello") == 0);
	forget(&x);
	answer(&x, "HTTP/1.1 200 OK\r\nAdit-Version: 1\r\nAdit-Seq: 1\r\nContent-Length: 0\r\n\r\n");
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	CU_ASSERT_STRING_EQUAL(x.told, "");
	end(&x);
}

static void not_held(void)
{
	struct side x;

	open_carrier(&x);
	forget(&x);
	answer(&x, "HTTP/1.1 204 No\r\nAdit-Version: 1\r\n\r\n");
	CU_ASSERT_STRING_EQUAL(x.told, ""); /* not at once: that would go round and round */
	CU_ASSERT_EQUAL(x.end, 0);
	end(&x);
}

static void gone(void)
{
	struct side x;

	open_carrier(&x);
	answer(&x, "HTTP/1.1 410 Gone\r\nAdit-Version: 1\r\nContent-Length: 0\r\n\r\n");
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_RESET);
	CU_ASSERT_STRING_EQUAL(stream_detail(x.s), "a poll or relay was answered with 410");
	end(&x);
}

static void foreign_answers(void)
{
	struct side x;

	open_carrier(&x);
	forget(&x);
	answer(&x, "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"); /* an ingress's: it is asked again, a little later */
	CU_ASSERT_EQUAL(x.end, 0);
	CU_ASSERT_STRING_EQUAL(x.told, "");
	end(&x);
}

/* Another answer, then a message, so that failures are none in a row. */
static void answer_and_message(struct side *x, int status, unsigned seq, const char *line)
{
	char text[160];

	forget(x);
	snprintf(text, sizeof(text), "HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n", status);
	answer(x, text);
	CU_ASSERT_STRING_EQUAL(x->told, "");
	wait_told(x);
	CU_ASSERT(told(x, "GET ", line));
	forget(x);
	snprintf(text, sizeof(text),
	         "HTTP/1.1 200 OK\r\nAdit-Version: 1\r\nAdit-Seq: %u\r\nContent-Length: 2\r\n\r\nhi", seq);
	answer(x, text);
	CU_ASSERT(told(x, "GET ", line));
}

static void shorter_holds(void)
{
	struct side x;

	open_carrier(&x);
	CU_ASSERT(told(&x, "GET ", "adit-hold: 20000\r\n"));
	answer_and_message(&x, 403, 0, "adit-hold: 20000\r\n"); /* not for its length */
	answer_and_message(&x, 502, 1, "adit-hold: 10000\r\n");
	answer_and_message(&x, 504, 2, "adit-hold: 5000\r\n");
	answer_and_message(&x, 504, 3, "adit-hold: 5000\r\n");
	CU_ASSERT_EQUAL(x.end, 0);
	end(&x);
}

static void another_message(void)
{
	static const char *const numbers[] = {
		"", "Adit-Seq: 0\r\n", "Adit-Seq: 2\r\n", "Adit-Seq: 18446744073709551615\r\n",
	};
	char text[160];
	struct side x;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
		open_carrier(&x);
		answer(&x, "HTTP/1.1 200 OK\r\nAdit-Version: 1\r\nAdit-Seq: 0\r\nContent-Length: 2\r\n\r\nhi");
		forget(&x);
		snprintf(text, sizeof(text),
		         "HTTP/1.1 200 OK\r\nAdit-Version: 1\r\n%sContent-Length: 2\r\n\r\nno", numbers[i]);
		answer(&x, text);
		CU_ASSERT_STRING_EQUAL(x.told, ""); /* not at once */
		wait_told(&x);
		CU_ASSERT(told(&x, "GET ", "adit-seq: 1\r\nadit-ack: 1\r\n"));
		CU_ASSERT_EQUAL(x.got.len, 2);
		CU_ASSERT_EQUAL(x.end, 0);
		end(&x);
	}
}

static void relays_together(void)
{
	struct iovec v[2] = {{(void *)(uintptr_t)"ab", 2}, {(void *)(uintptr_t)"cd", 2}};
	struct side x;

	open_carrier(&x);
	CU_ASSERT_EQUAL(stream_write(x.s, v, 2), 4);
	CU_ASSERT_EQUAL(stream_write(x.s, v, 1), 2);
	loop_settle(x.loop);
	forget(&x);
	answer(&x, "HTTP/1.1 204 No\r\nAdit-Version: 1\r\n\r\n"); /* of the poll: the connection takes the relay */
	CU_ASSERT(told(&x, "POST /_adit/v1/" LINK "/relay HTTP/1.1\r\n", "adit-seq: 0\r\n"));
	CU_ASSERT(strcasestr(x.told, "content-length: 6\r\n") != NULL);
	CU_ASSERT_STRING_EQUAL(x.told + strlen(x.told) - 6, "abcdab");
	CU_ASSERT_EQUAL(stream_write(x.s, v, 2), 4);
	loop_settle(x.loop);
	forget(&x);
	answer(&x, "HTTP/1.1 204 No\r\nAdit-Version: 1\r\n\r\n");
	CU_ASSERT(!*x.told || !strstr(x.told, "abcdab")); /* it has arrived, and is not sent again */
	end(&x);
}

static void cancelled(void)
{
	struct side x;

	begin(&x);
	carrier_poll.cancel(&x.attempt);
	CU_ASSERT_PTR_NULL(x.attempt);
	CU_ASSERT_EQUAL(x.results, 0);
	end(&x);
}

static const struct unit_test tests[] = {
	{"it opens with a relay that names no carrier, then polls", opening},
	{"whatever is no 201 of aditd's own with an id is a refusal", refusals},
	{"each message is asked for by its number, and acknowledged; an empty one ends", numbering},
	{"a poll that is not held is not repeated at once", not_held},
	{"aditd's 410 is the end of the carrier", gone},
	{"an ingress's refusal is not the end", foreign_answers},
	{"502 and 504 halve the hold, 20 s, 10 s, 5 s and no less", shorter_holds},
	{"a message that was not asked for is no answer, and not asked past at once", another_message},
	{"what is written together is relayed together, once", relays_together},
	{"a cancelled attempt tells nobody", cancelled},
};

UNIT_MAIN("poll_dialled", tests)
