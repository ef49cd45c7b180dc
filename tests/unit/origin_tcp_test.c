/* origin_tcp: from CONNECT to a connection, with dials that the test answers; PROXY headers byte for byte. */
#include "origin/origin.h"

#include "half_script.h"
#include "io/dial.h"
#include "io/proxyproto.h"
#include "loop_script.h"
#include "pipe_script.h"

/** The dial under way; the test answers it. */
struct dial {
	dial_fn *done;
	void *arg;
	char host[64];
};

static struct dial *dialling;
static unsigned cancelled;

struct dial *dial_start(struct loop *l, struct resolver *r, const struct dial_options *o, dial_fn *done, void *arg)
{
	(void)l;
	(void)r;
	dialling = calloc(1, sizeof(*dialling));
	CU_ASSERT_PTR_NOT_NULL_FATAL(dialling);
	dialling->done = done;
	dialling->arg = arg;
	snprintf(dialling->host, sizeof(dialling->host), "%s:%u", o->host, o->port);
	return dialling;
}

void dial_cancel(struct dial **d)
{
	cancelled += *d != NULL;
	free(*d);
	*d = NULL;
}

struct setup {
	struct loop *loop;
	struct origin *origin;
	struct pipe *pipe;
	struct half_script asker;
};

static void make(struct setup *s, bool send_proxy)
{
	const struct origin_options o = {.protocol = ORIGIN_TCP, .host = "localhost", .port = 5432, .send_proxy = send_proxy};

	memset(s, 0, sizeof(*s));
	cancelled = 0;
	s->loop = loop_new();
	s->pipe = pipe_new(s->loop, 100000);
	s->origin = origin_new(s->loop, &o);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s->origin);
}

static void ask(struct setup *s, const char *fields)
{
	struct head h;
	int err;
	struct half *half = origin_half(s->origin, &err);

	script_init(&s->asker);
	CU_ASSERT_PTR_NOT_NULL_FATAL(half);
	half_link(&s->asker.half, half);
	script_make_request(&h, "CONNECT", "", fields);
	half_head(&s->asker.half, &h, false);
	head_free(&h);
	CU_ASSERT_STRING_EQUAL(dialling->host, "localhost:5432");
}

static void answer(struct setup *s, int err, const char *why)
{
	struct dial d = *dialling;

	free(dialling);
	dialling = NULL;
	d.done(d.arg, err ? NULL : &s->pipe->end[0].base, err, why);
}

static void turn(struct setup *s)
{
	for (int i = 0; i < 20; i++) {
		loop_turn(s->loop);
		pipe_move(s->pipe, SIZE_MAX);
		pipe_tell(s->pipe);
	}
}

static size_t at_server(struct setup *s, uint8_t *out, size_t cap)
{
	ssize_t n = stream_read(&s->pipe->end[1].base, out, cap);

	return n > 0 ? (size_t)n : 0;
}

static void end(struct setup *s)
{
	struct stream *far = &s->pipe->end[1].base, *near = &s->pipe->end[0].base;

	origin_free(&s->origin);
	CU_ASSERT_PTR_NULL(s->asker.half.peer);
	stream_free(&far);
	if (!s->pipe->end[0].stopped)
		stream_free(&near);
	loop_settle(s->loop);
	CU_ASSERT_EQUAL(s->loop->timer_count, 0);
	pipe_free(s->pipe);
	loop_free(&s->loop);
}

/* What the asker says before there is a connection waits, its end too. */
static void connected(void)
{
	uint8_t block[16];
	struct setup s;

	make(&s, false);
	ask(&s, "");
	CU_ASSERT_EQUAL(s.asker.credit, 0);
	answer(&s, 0, "");
	CU_ASSERT_STRING_EQUAL(s.asker.text, "101|");
	CU_ASSERT_TRUE(s.asker.credit > 0);
	script_send(&s.asker, 5);
	half_end(&s.asker.half, NULL);
	turn(&s);
	CU_ASSERT_EQUAL(at_server(&s, block, sizeof(block)), 5);
	CU_ASSERT_TRUE(s.pipe->end[0].finished);
	CU_ASSERT_EQUAL(origin_connections(s.origin), 1);
	half_abort(&s.asker.half, ADIT_ERR_RESET);
	CU_ASSERT_TRUE(s.pipe->end[0].spoilt && s.pipe->end[0].stopped);
	CU_ASSERT_EQUAL(origin_connections(s.origin), 0);
	end(&s);
}

static void ended_before(void)
{
	struct setup s;

	make(&s, false);
	ask(&s, "");
	half_end(&s.asker.half, NULL);
	turn(&s);
	answer(&s, 0, "");
	turn(&s);
	CU_ASSERT_TRUE(s.pipe->end[0].finished);
	end(&s);
}

static void not_connected(void)
{
	static const struct {
		int err;
		const char *told;
	} rows[] = {
		{ADIT_ERR_REFUSED, "abort REFUSED|"}, {ADIT_ERR_TIMEOUT, "abort TIMEOUT|"},
		{ADIT_ERR_FORBIDDEN, "abort REFUSED|"}, /* the mode of a socket's file: no word about the visitor */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct setup s;

		make(&s, false);
		ask(&s, "");
		answer(&s, rows[i].err, "why");
		CU_ASSERT_STRING_EQUAL(s.asker.text, rows[i].told);
		CU_ASSERT_EQUAL(origin_connections(s.origin), 0);
		end(&s);
	}
}

static void asker_leaves(void)
{
	struct setup s;

	make(&s, false);
	ask(&s, "");
	half_abort(&s.asker.half, ADIT_ERR_RESET);
	CU_ASSERT_EQUAL(cancelled, 1);
	CU_ASSERT_EQUAL(origin_connections(s.origin), 0);
	end(&s);
}

static void leave_at_once(struct half_script *s, enum script_op op)
{
	if (op == SCRIPT_HEAD)
		half_abort(&s->half, ADIT_ERR_RESET);
}

static void asker_leaves_in_the_answer(void)
{
	struct setup s;

	make(&s, false);
	ask(&s, "");
	s.asker.on = leave_at_once;
	answer(&s, 0, "");
	CU_ASSERT_TRUE(s.pipe->end[0].stopped);
	CU_ASSERT_EQUAL(origin_connections(s.origin), 0);
	end(&s);
}

static void freed_while_it_runs(void)
{
	struct setup s;

	make(&s, false);
	ask(&s, "");
	origin_free(&s.origin);
	CU_ASSERT_STRING_EQUAL(s.asker.text, "abort SHUTDOWN|");
	CU_ASSERT_EQUAL(cancelled, 1);
	s.origin = origin_new(s.loop, &(struct origin_options){.protocol = ORIGIN_TCP, .host = "localhost", .port = 5432});
	ask(&s, "");
	answer(&s, 0, "");
	origin_free(&s.origin);
	CU_ASSERT_STRING_EQUAL(s.asker.text, "101|abort SHUTDOWN|");
	end(&s);
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define B(x) x, sizeof(x) - 1

static void proxy_headers(void)
{
	static const struct {
		const char *fields, *header;
		size_t n;
	} rows[] = {
		{"adit-visitor=192.0.2.1:4711 adit-server=198.51.100.7:5432",
		 B(SIGNATURE "\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\x12\x67\x15\x38")},
		{"adit-visitor=[2001:db8::1]:4711 adit-server=[::1]:5432",
		 B(SIGNATURE "\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x67"
		   "\x15\x38")},
		{"adit-visitor=192.0.2.1:4711 adit-server=[::1]:5432",
		 B(SIGNATURE "\x21\x21\0\x24\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x12\x67"
		   "\x15\x38")},
		{"", B(SIGNATURE "\x20\0\0\0")},
		{"adit-visitor=192.0.2.1:4711", B(SIGNATURE "\x20\0\0\0")},
		{"adit-visitor=unix adit-server=unix:/x", B(SIGNATURE "\x20\0\0\0")},
		{"adit-visitor=unix:/x adit-server=unix:/x", B(SIGNATURE "\x20\0\0\0")},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t block[PROXYPROTO_HEADER_MAX + 8];
		struct setup s;

		make(&s, true);
		ask(&s, rows[i].fields);
		answer(&s, 0, "");
		script_send(&s.asker, 1);
		turn(&s);
		CU_ASSERT_EQUAL(at_server(&s, block, sizeof(block)), rows[i].n + 1);
		CU_ASSERT_EQUAL(memcmp(block, rows[i].header, rows[i].n), 0);
		CU_ASSERT_EQUAL(block[rows[i].n], script_byte(0));
		end(&s);
	}
}

static const struct unit_test tests[] = {
	{"a connection that stands is told as 101, and takes bytes and ends", connected},
	{"an end that came while it was dialled is passed on", ended_before},
	{"why there is no connection is told", not_connected},
	{"an asker may leave while it is dialled", asker_leaves},
	{"an asker may leave from within the answer", asker_leaves_in_the_answer},
	{"an origin may be freed while it is dialled and while bytes pass", freed_while_it_runs},
	{"a PROXY header goes first, with the addresses that aditd has told", proxy_headers},
};

UNIT_MAIN("origin_tcp", tests)
