/* The far end of each half_stream is a scripted half that notes what it is told. */
#include "carrier/half_stream.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "http/head.h"
#include "unit.h"

#define FIRST_CREDIT 100

/** The scripted peer, the stream, and the owner above it. */
struct side {
	struct loop *loop;
	struct half peer;
	struct stream *s;
	struct buf told, got;
	size_t credit;           /* granted to the peer and not used by it */
	unsigned heads, ends, aborts, readables, writables, answers;
	int abort_err, end;      /* what the peer, and the reader, got */
	int status;
	size_t echo_credit;      /* the peer gives it from inside body */
	bool abort_in_body;
	bool idle, read_once, drop, drop_in_answer;
	size_t read_max;
};

static void peer_head(struct half *self, const struct head *h, bool bodyless)
{
	struct side *x = container_of(self, struct side, peer);

	(void)h;
	(void)bodyless;
	x->heads++;
}

static void peer_body(struct half *self, const uint8_t *p, size_t n)
{
	struct side *x = container_of(self, struct side, peer);

	CU_ASSERT_EQUAL(buf_add(&x->told, p, n), 0);
	if (x->abort_in_body)
		half_abort(self, ADIT_ERR_RESET);
	half_credit(self, x->echo_credit);
}

static void peer_end(struct half *self, const struct fields *trailers)
{
	struct side *x = container_of(self, struct side, peer);

	CU_ASSERT_PTR_NULL(trailers);
	x->ends++;
}

static void peer_credit(struct half *self, size_t n)
{
	container_of(self, struct side, peer)->credit += n;
}

static void peer_abort(struct half *self, int err)
{
	struct side *x = container_of(self, struct side, peer);

	CU_ASSERT_PTR_NULL(self->peer);
	x->aborts++;
	x->abort_err = err;
}

static const struct half_ops peer_ops = {peer_head, peer_body, peer_end, peer_credit, peer_abort};

static void on_readable(void *owner)
{
	struct side *x = owner;
	uint8_t block[4096];

	x->readables++;
	if (x->drop)
		stream_free(&x->s);
	while (x->s && !x->idle && !x->end) {
		ssize_t n = stream_read(x->s, block, x->read_max);

		if (n == ADIT_ERR_AGAIN)
			break;
		if (n < 0)
			x->end = (int)n;
		else
			CU_ASSERT_EQUAL(buf_add(&x->got, block, (size_t)n), 0);
		if (x->read_once)
			break;
	}
}

static void on_writable(void *owner)
{
	struct side *x = owner;

	x->writables++;
}

static const struct stream_handler handler = {on_readable, on_writable};

static void on_answered(void *arg, const struct head *h, bool bodyless)
{
	struct side *x = arg;

	(void)bodyless;
	x->answers++;
	x->status = h->status;
	if (x->drop_in_answer)
		stream_free(&x->s);
}

static void begin(struct side *x, struct loop *l, bool asks)
{
	const struct address at = {"192.0.2.1", 4711};

	memset(x, 0, sizeof(*x));
	x->loop = l;
	x->read_max = 4096;
	x->peer.ops = &peer_ops;
	x->s = half_stream_new(l, &x->peer, &at, asks ? on_answered : NULL, x);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->s);
	CU_ASSERT_STRING_EQUAL(x->s->peer.ip, "192.0.2.1");
	CU_ASSERT_PTR_EQUAL(x->peer.peer, half_stream_half(x->s));
	CU_ASSERT_EQUAL(x->credit, HALF_STREAM_BUFFER);
	stream_own(x->s, &handler, x);
	stream_pause(x->s, false);
	half_credit(&x->peer, FIRST_CREDIT);
}

static void end(struct side *x)
{
	stream_free(&x->s);
	CU_ASSERT_PTR_NULL(x->peer.peer);
	loop_settle(x->loop);
	buf_clear(&x->told);
	buf_clear(&x->got);
}

static ssize_t put(struct side *x, const void *p, size_t n)
{
	struct iovec v = {(void *)(uintptr_t)p, n};

	return stream_write(x->s, &v, 1);
}

static void tell(struct side *x, const char *text)
{
	x->credit -= strlen(text);
	half_body(&x->peer, (const uint8_t *)text, strlen(text));
}

static bool buf_is(struct buf *b, const char *text)
{
	char copy[1024];
	size_t n = buf_take(b, copy, sizeof(copy));

	return n == strlen(text) && memcmp(copy, text, n) == 0;
}

static void answer(struct side *x, int status, bool bodyless)
{
	struct head h;

	head_init(&h);
	h.status = status;
	half_head(&x->peer, &h, bodyless);
	head_free(&h);
}

/* ---- sending */

static void write_takes_what_is_granted(void)
{
	static const char data[300];
	struct loop *l = loop_new();
	struct iovec v[3] = {{(void *)(uintptr_t)data, 60}, {NULL, 0}, {(void *)(uintptr_t)data, 60}};
	struct side x;

	begin(&x, l, false);
	CU_ASSERT_EQUAL(stream_write(x.s, v, 3), 100);
	CU_ASSERT_EQUAL(stream_unsent(x.s), 100);
	CU_ASSERT_EQUAL(put(&x, data, 1), 0);
	half_credit(&x.peer, 30);
	CU_ASSERT_EQUAL(x.writables, 0); /* never from within an op */
	CU_ASSERT_EQUAL(stream_unsent(x.s), 70);
	loop_settle(l);
	CU_ASSERT_EQUAL(x.writables, 1);
	CU_ASSERT_EQUAL(put(&x, data, 30), 30);
	half_credit(&x.peer, 100);
	loop_settle(l);
	CU_ASSERT_EQUAL(x.writables, 1); /* nothing was short */
	CU_ASSERT_EQUAL(stream_unsent(x.s), 0);
	half_credit(&x.peer, 50); /* a grown window */
	CU_ASSERT_EQUAL(put(&x, data, 300), 150);
	CU_ASSERT_EQUAL(stream_unsent(x.s), 150);
	CU_ASSERT_EQUAL(x.told.len, 280);
	end(&x);
	loop_free(&l);
}

static void credit_from_inside_body(void)
{
	static const char data[150];
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, false);
	x.echo_credit = 100;
	CU_ASSERT_EQUAL(put(&x, data, 150), 100); /* short although credit is back: it is told */
	loop_settle(l);
	CU_ASSERT_EQUAL(x.writables, 1);
	CU_ASSERT_EQUAL(put(&x, data, 50), 50);
	CU_ASSERT_EQUAL(stream_unsent(x.s), 0);
	end(&x);
	loop_free(&l);
}

static void abort_from_inside_body(void)
{
	struct loop *l = loop_new();
	struct iovec v[2] = {{(void *)(uintptr_t)"ab", 2}, {(void *)(uintptr_t)"cd", 2}};
	struct side x;

	begin(&x, l, false);
	x.abort_in_body = true;
	CU_ASSERT_EQUAL(stream_write(x.s, v, 2), ADIT_ERR_RESET);
	CU_ASSERT(buf_is(&x.told, "ab"));
	CU_ASSERT_EQUAL(x.end, 0);
	loop_settle(l);
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_RESET);
	end(&x);
	loop_free(&l);
}

static void only_a_101_opens_it(void)
{
	struct loop *l = loop_new();
	struct head request;
	struct side x;

	begin(&x, l, true);
	head_init(&request);
	half_head(half_stream_half(x.s), &request, false);
	head_free(&request);
	CU_ASSERT_EQUAL(x.heads, 1);
	CU_ASSERT_EQUAL(put(&x, "early", 5), 0);
	answer(&x, 103, false);
	loop_settle(l);
	CU_ASSERT_EQUAL(put(&x, "early", 5), 0);
	answer(&x, 101, false);
	CU_ASSERT(x.answers == 2 && x.status == 101);
	x.writables = 0;
	loop_settle(l);
	CU_ASSERT_EQUAL(x.writables, 1);
	CU_ASSERT_EQUAL(put(&x, "now", 3), 3);
	CU_ASSERT(buf_is(&x.told, "now"));
	end(&x);
	loop_free(&l);
}

static void a_refusal_is_read_and_not_written_to(void)
{
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, true);
	CU_ASSERT_EQUAL(put(&x, "early", 5), 0);
	answer(&x, 401, false);
	tell(&x, "who are you?");
	half_end(&x.peer, NULL);
	loop_settle(l);
	CU_ASSERT_EQUAL(x.status, 401);
	CU_ASSERT_EQUAL(x.writables, 1);
	CU_ASSERT_EQUAL(put(&x, "early", 5), ADIT_ERR_REFUSED);
	CU_ASSERT(buf_is(&x.got, "who are you?"));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	end(&x);
	CU_ASSERT_EQUAL(x.abort_err, ADIT_ERR_ABANDONED);
	loop_free(&l);
}

/* ---- receiving */

static void reading_gives_credit_back(void)
{
	struct loop *l = loop_new();
	uint8_t p[4];
	struct side x;

	begin(&x, l, false);
	x.idle = true;
	tell(&x, "abcdefgh");
	CU_ASSERT_EQUAL(x.readables, 0); /* never from within an op */
	CU_ASSERT_EQUAL(x.credit, HALF_STREAM_BUFFER - 8);
	CU_ASSERT_EQUAL(stream_read(x.s, p, 3), 3);
	CU_ASSERT_EQUAL(x.credit, HALF_STREAM_BUFFER - 5);
	loop_settle(l);
	CU_ASSERT(x.readables > 1); /* again and again until it is read */
	CU_ASSERT_EQUAL(stream_read(x.s, p, 4), 4);
	CU_ASSERT_EQUAL(stream_read(x.s, p, 4), 1);
	CU_ASSERT_EQUAL(p[0], 'h');
	CU_ASSERT_EQUAL(x.credit, HALF_STREAM_BUFFER);
	CU_ASSERT_EQUAL(stream_read(x.s, p, 4), ADIT_ERR_AGAIN);
	loop_settle(l);
	x.readables = 0;
	loop_settle(l);
	CU_ASSERT_EQUAL(x.readables, 0);
	end(&x);
	loop_free(&l);
}

static void pause_holds(void)
{
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, false);
	tell(&x, "abc");
	stream_pause(x.s, true);
	tell(&x, "def");
	loop_settle(l);
	CU_ASSERT_EQUAL(x.readables, 0);
	stream_pause(x.s, false);
	x.read_max = 2;
	x.read_once = true;
	loop_settle(l);
	CU_ASSERT(buf_is(&x.got, "abcdef"));
	CU_ASSERT_EQUAL(x.readables, 3);
	stream_pause(x.s, true);
	half_end(&x.peer, NULL);
	loop_settle(l);
	CU_ASSERT_EQUAL(x.end, 0);
	stream_pause(x.s, false);
	loop_settle(l);
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	end(&x);
	loop_free(&l);
}

static void more_than_was_granted_is_refused(void)
{
	static const uint8_t block[HALF_STREAM_BUFFER];
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, false);
	x.idle = true;
	half_body(&x.peer, block, sizeof(block));
	CU_ASSERT_EQUAL(x.aborts, 0);
	half_body(&x.peer, block, 1);
	CU_ASSERT_EQUAL(x.abort_err, ADIT_ERR_PROTO);
	end(&x);
	loop_free(&l);
}

/* ---- ends: who ends first, and how */

static void end_is_read_behind_the_bytes(void)
{
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, false);
	x.read_once = true;
	tell(&x, "last");
	half_end(&x.peer, NULL);
	loop_settle(l);
	CU_ASSERT(buf_is(&x.got, "last"));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	CU_ASSERT_EQUAL(put(&x, "still", 5), 5); /* the other direction goes on */
	stream_finish(x.s);
	stream_finish(x.s);
	CU_ASSERT_EQUAL(x.ends, 1);
	CU_ASSERT_PTR_NULL(x.peer.peer); /* both have ended */
	CU_ASSERT_EQUAL(stream_unsent(x.s), 0);
	CU_ASSERT_EQUAL(put(&x, "x", 1), ADIT_ERR_INVALID);
	end(&x);
	CU_ASSERT_EQUAL(x.aborts, 0);
	loop_free(&l);
}

static void reading_goes_on_after_finish(void)
{
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, false);
	stream_finish(x.s);
	CU_ASSERT_EQUAL(x.ends, 1);
	tell(&x, "more");
	half_end(&x.peer, NULL);
	CU_ASSERT_PTR_NULL(x.peer.peer);
	loop_settle(l);
	CU_ASSERT(buf_is(&x.got, "more"));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	end(&x);
	CU_ASSERT_EQUAL(x.aborts, 0);
	loop_free(&l);
}

static void abort_is_a_reset_behind_the_bytes(void)
{
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, false);
	x.read_once = true;
	CU_ASSERT_EQUAL(put(&x, "0123456789", 10), 10);
	while (put(&x, "more", 4) > 0)
		;
	tell(&x, "cut");
	half_abort(&x.peer, ADIT_ERR_TIMEOUT);
	loop_settle(l);
	CU_ASSERT(buf_is(&x.got, "cut"));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_RESET);
	CU_ASSERT_EQUAL(x.writables, 1); /* so that the writer sees it */
	CU_ASSERT_EQUAL(put(&x, "x", 1), ADIT_ERR_RESET);
	CU_ASSERT_EQUAL(stream_unsent(x.s), 0);
	CU_ASSERT_STRING_EQUAL(stream_detail(x.s), "timed out");
	end(&x);
	CU_ASSERT(x.aborts == 0 && x.ends == 0);
	loop_free(&l);
}

static void enough_leaves_the_end_valid(void)
{
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, false);
	tell(&x, "all");
	half_end(&x.peer, NULL);
	half_abort(&x.peer, ADIT_ERR_ENOUGH);
	loop_settle(l);
	CU_ASSERT(buf_is(&x.got, "all"));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	CU_ASSERT_EQUAL(put(&x, "x", 1), ADIT_ERR_RESET);
	end(&x);
	begin(&x, l, false);
	half_end(&x.peer, NULL);
	half_abort(&x.peer, ADIT_ERR_TIMEOUT);
	loop_settle(l);
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_RESET);
	end(&x);
	loop_free(&l);
}

/* ---- freeing */

static void freed_in_each_state(void)
{
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, false); /* open: an orderly end, and no more is wanted */
	end(&x);
	CU_ASSERT(x.ends == 1 && x.abort_err == ADIT_ERR_ENOUGH);
	begin(&x, l, false); /* spoilt: none */
	stream_spoil(x.s);
	end(&x);
	CU_ASSERT(x.ends == 0 && x.abort_err == ADIT_ERR_RESET);
	begin(&x, l, true); /* not answered */
	end(&x);
	CU_ASSERT(x.ends == 0 && x.abort_err == ADIT_ERR_ABANDONED);
	begin(&x, l, false); /* finished */
	stream_finish(x.s);
	end(&x);
	CU_ASSERT(x.ends == 1 && x.abort_err == ADIT_ERR_ENOUGH);
	begin(&x, l, false); /* the peer has ended, its bytes are unread */
	tell(&x, "unread");
	half_end(&x.peer, NULL);
	end(&x);
	CU_ASSERT(x.ends == 1 && x.aborts == 0 && x.readables == 0);
	begin(&x, l, false); /* aborted, and not told of it yet */
	half_abort(&x.peer, ADIT_ERR_RESET);
	end(&x);
	CU_ASSERT(x.ends == 0 && x.aborts == 0 && x.readables == 0);
	begin(&x, l, false); /* a writer waits */
	while (put(&x, "bytes", 5) > 0)
		;
	half_credit(&x.peer, 10);
	end(&x);
	CU_ASSERT(x.writables == 0);
	loop_free(&l);
}

static void freed_by_its_own_handlers(void)
{
	struct loop *l = loop_new();
	struct side x;

	begin(&x, l, false);
	x.drop = true;
	tell(&x, "bytes");
	loop_settle(l);
	CU_ASSERT_EQUAL(x.readables, 1);
	CU_ASSERT_PTR_NULL(x.s);
	CU_ASSERT_EQUAL(x.abort_err, ADIT_ERR_ENOUGH);
	end(&x);
	begin(&x, l, true);
	x.drop_in_answer = true;
	answer(&x, 503, true);
	CU_ASSERT_PTR_NULL(x.s);
	CU_ASSERT_EQUAL(x.abort_err, ADIT_ERR_ABANDONED);
	end(&x);
	loop_free(&l);
}

static void two_joined_carry_each_others_bytes(void)
{
	struct loop *l = loop_new();
	struct side x = {.peer = {&peer_ops, NULL}};
	struct stream *a, *b;
	uint8_t p[8];

	/* the second one's peer is the first one's half, set free */
	a = half_stream_new(l, &x.peer, NULL, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	half_done(&x.peer);
	b = half_stream_new(l, half_stream_half(a), NULL, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(b);
	CU_ASSERT_EQUAL(stream_write(a, &(struct iovec){(void *)(uintptr_t)"hello", 5}, 1), 5);
	CU_ASSERT_EQUAL(stream_unsent(a), 5);
	CU_ASSERT_EQUAL(stream_read(b, p, sizeof(p)), 5);
	CU_ASSERT_EQUAL(stream_unsent(a), 0);
	stream_finish(a);
	CU_ASSERT_EQUAL(stream_read(b, p, sizeof(p)), ADIT_ERR_EOF);
	stream_free(&a);
	CU_ASSERT_EQUAL(stream_write(b, &(struct iovec){p, 1}, 1), ADIT_ERR_RESET);
	stream_free(&b);
	loop_settle(l);
	loop_free(&l);
}

static const struct unit_test tests[] = {
	{"write takes what is granted, writable follows credit", write_takes_what_is_granted},
	{"credit may come from inside body", credit_from_inside_body},
	{"an abort may come from inside body", abort_from_inside_body},
	{"on the asking side only a 101 opens it", only_a_101_opens_it},
	{"a refusal is read, and not written to", a_refusal_is_read_and_not_written_to},
	{"reading gives credit back", reading_gives_credit_back},
	{"pause holds bytes and end, resume tells of them", pause_holds},
	{"more than was granted aborts", more_than_was_granted_is_refused},
	{"the peer's end is read behind its bytes", end_is_read_behind_the_bytes},
	{"reading goes on after finish", reading_goes_on_after_finish},
	{"the peer's abort is a reset, read behind its bytes", abort_is_a_reset_behind_the_bytes},
	{"enough said leaves what was ended valid", enough_leaves_the_end_valid},
	{"freed in each state it tells the peer what that means", freed_in_each_state},
	{"its own handlers may free it", freed_by_its_own_handlers},
	{"two of them joined carry each other's bytes", two_joined_carry_each_others_bytes},
};

UNIT_MAIN("half_stream", tests)
