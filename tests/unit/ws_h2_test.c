/* ws_h2: adit's side of it over a socket pair; the far end is an HTTP/2 connection that answers as it is told. */
#include <string.h>
#include <sys/socket.h>

#include "base/err.h"
#include "carrier/carrier.h"
#include "carrier/half_stream.h"
#include "carrier/ws.h"
#include "h2/h2.h"
#include "io/tcp.h"
#include "unit.h"

#define BOUND_MS 10000
#define BUDGET (64u * 1024 * 1024)

struct fixture {
	struct loop *l;
	struct timer bound;
	/* the far end */
	struct stream *socket;
	struct h2 *h2;
	struct budget budget;
	struct task flush;
	struct stream *answered;  /* its end of the carrier */
	const char *field;        /* in its answer, NULL = none */
	bool leave_at_once;       /* GOAWAY right behind the answer */
	/* adit's end */
	struct carrier_attempt *attempt;
	struct stream *carrier;
	int err;
	unsigned done, told;
	char got[16];             /* read by either end */
	size_t got_n;
};

static void too_long(void *arg)
{
	struct fixture *f = arg;

	CU_FAIL("it does not end");
	loop_stop(f->l);
}

/* ---- the far end */

static void far_flush(void *arg)
{
	struct fixture *f = arg;
	uint8_t block[H2_QUANTUM + H2_FRAME_HEADER];
	size_t n;

	while (f->socket && (n = h2_pull(f->h2, block, sizeof(block)))) {
		struct iovec iov = {block, n};

		if (stream_write(f->socket, &iov, 1) < (ssize_t)n) /* adit's end is gone */
			stream_free(&f->socket);
	}
}

static void far_readable(void *owner)
{
	struct fixture *f = owner;
	uint8_t block[4096];
	ssize_t n = stream_read(f->socket, block, sizeof(block));

	if (n > 0) {
		CU_ASSERT_EQUAL(h2_recv(f->h2, block, (size_t)n), 0);
	} else if (n != ADIT_ERR_AGAIN) {
		stream_free(&f->socket);
	}
	task_post(f->l, &f->flush);
}

static void far_writable(void *owner)
{
	far_flush(owner);
}

static const struct stream_handler far_handler = {far_readable, far_writable};

static void far_woken(void *owner)
{
	struct fixture *f = owner;

	task_post(f->l, &f->flush);
}

static void far_request(void *owner, struct h2_stream *s, const struct head *request, bool bodyless)
{
	struct fixture *f = owner;
	struct stream *bytes = half_stream_new(f->l, h2_stream_half(s), NULL, NULL, NULL);
	struct head h;

	CU_ASSERT(!bodyless && str_eq(head_get(request, HEAD_PROTOCOL), STR("websocket")));
	CU_ASSERT_PTR_NOT_NULL_FATAL(bytes);
	head_init(&h);
	h.status = 101;
	h.length = HEAD_LENGTH_UNKNOWN;
	if (f->field) {
		CU_ASSERT_EQUAL(fields_add(&h.fields, str_of(f->field), STR("x")), 0);
	}
	half_head(half_stream_half(bytes), &h, false);
	head_free(&h);
	f->answered = ws_new(&bytes, WS_ANSWERED, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->answered);
	if (f->leave_at_once)
		h2_goaway(f->h2);
}

static const struct h2_events far_events = {far_woken, far_request, NULL, NULL};

/* ---- adit's end, and both */

static void on_done(void *arg, const struct carrier_result *r)
{
	struct fixture *f = arg;

	f->attempt = NULL;
	f->carrier = r->stream;
	f->err = r->err;
	f->done++;
	loop_stop(f->l);
}

static void on_leaving(void *owner)
{
	struct fixture *f = owner;

	f->told++;
	loop_stop(f->l);
}

static void take(struct fixture *f, struct stream *s)
{
	ssize_t n = stream_read(s, f->got + f->got_n, sizeof(f->got) - f->got_n);

	if (n == ADIT_ERR_AGAIN)
		return;
	CU_ASSERT_FATAL(n > 0);
	f->got_n += (size_t)n;
	loop_stop(f->l);
}

static void near_readable(void *owner)
{
	struct fixture *f = owner;

	take(f, f->carrier);
}

static void answered_readable(void *owner)
{
	struct fixture *f = owner;

	take(f, f->answered);
}

static void nothing(void *owner)
{
	(void)owner;
}

static const struct stream_handler near_handler = {near_readable, nothing};
static const struct stream_handler answered_handler = {answered_readable, nothing};

static void begin(struct fixture *f)
{
	const struct carrier_target target = {
		.host = "t.test", .link_id = "00112233445566778899aabbccddeeff", .token = "t", .agent = "test",
	};
	const struct h2_options o = {.role = H2_ANSWERING, .budget = &f->budget};
	int fds[2];
	struct stream *s;

	f->l = loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->l);
	timer_init(&f->bound, f->l, too_long, f);
	timer_set(&f->bound, BOUND_MS);
	CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	f->budget = (struct budget){.limit = BUDGET};
	f->flush = (struct task){.run = far_flush, .arg = f};
	f->h2 = h2_new(&o, &far_events, f);
	f->socket = tcp_new(f->l, fds[0]);
	s = tcp_new(f->l, fds[1]);
	CU_ASSERT_FATAL(f->h2 && f->socket && s);
	stream_own(f->socket, &far_handler, f);
	stream_pause(f->socket, false);
	task_post(f->l, &f->flush);
	f->attempt = carrier_ws_h2.start(f->l, s, &target, on_done, f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->attempt);
	loop_run(f->l);
	CU_ASSERT_EQUAL(f->done, 1);
}

static void end(struct fixture *f)
{
	carrier_ws_h2.cancel(&f->attempt);
	stream_free(&f->carrier);
	stream_free(&f->answered);
	loop_settle(f->l);
	h2_free(&f->h2, ADIT_ERR_SHUTDOWN);
	stream_free(&f->socket);
	timer_stop(&f->bound);
	loop_settle(f->l);
	loop_free(&f->l);
}

static void own_both(struct fixture *f)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->carrier);
	stream_own(f->carrier, &near_handler, f);
	stream_on_leaving(f->carrier, on_leaving);
	stream_pause(f->carrier, false);
	stream_own(f->answered, &answered_handler, f);
	stream_pause(f->answered, false);
}

static void send_is_got(struct fixture *f, struct stream *from, const char *text)
{
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};

	f->got_n = 0;
	CU_ASSERT_EQUAL(stream_write(from, &iov, 1), (ssize_t)iov.iov_len);
	loop_run(f->l);
	CU_ASSERT_EQUAL(f->got_n, iov.iov_len);
	CU_ASSERT_EQUAL(memcmp(f->got, text, f->got_n), 0);
}

static void goaway(void)
{
	struct fixture f = {0};

	begin(&f);
	own_both(&f);
	send_is_got(&f, f.carrier, "before");
	CU_ASSERT(!stream_leaving(f.carrier));
	h2_goaway(f.h2);
	loop_run(f.l);
	CU_ASSERT_EQUAL(f.told, 1);
	CU_ASSERT(stream_leaving(f.carrier));
	send_is_got(&f, f.carrier, "there");
	send_is_got(&f, f.answered, "and back");
	CU_ASSERT_EQUAL(f.told, 1);
	end(&f);
}

/* Whether the hint comes before the carrier is given away or after: its owner can know. */
static void goaway_behind_the_answer(void)
{
	struct fixture f = {.leave_at_once = true};

	begin(&f);
	own_both(&f);
	send_is_got(&f, f.answered, "x");
	CU_ASSERT(stream_leaving(f.carrier));
	end(&f);
}

/* The carrier goes while the hint is on its way. */
static void goaway_too_late(void)
{
	struct fixture f = {0};

	begin(&f);
	own_both(&f);
	h2_goaway(f.h2);
	far_flush(&f);
	stream_free(&f.carrier);
	timer_set(&f.bound, 50);
	f.bound.fn = on_leaving;
	loop_run(f.l);
	CU_ASSERT_EQUAL(f.told, 1); /* by the timer */
	end(&f);
}

static void unasked(void)
{
	static const char *const fields[] = {"sec-websocket-extensions", "sec-websocket-protocol"};

	for (int i = 0; i < 2; i++) {
		struct fixture f = {.field = fields[i]};

		begin(&f);
		CU_ASSERT_EQUAL(f.err, ADIT_ERR_PROTO);
		CU_ASSERT_PTR_NULL(f.carrier);
		end(&f);
	}
}

static const struct unit_test tests[] = {
	{"after GOAWAY the carrier goes on, and its owner is told once that it should move", goaway},
	{"a GOAWAY that comes with the answer is not lost", goaway_behind_the_answer},
	{"a GOAWAY for a carrier that is gone tells nobody", goaway_too_late},
	{"an answer that chose what was not offered is none", unasked},
};

UNIT_MAIN("ws_h2", tests)
