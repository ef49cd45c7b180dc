/* The queues that both ends of a poll carrier share: what is written comes out as messages, what arrives in any order is
 * read in order. */
#include "carrier/poll.h"

#include <string.h>

#include "base/err.h"
#include "read_script.h"
#include "unit.h"

struct side {
	struct loop *loop;
	struct poll_pipe pipe;
	struct stream *s;
	unsigned moved, stopped, destroyed, readables, writables;
	struct buf got;
	int end;
};

static struct side *of_pipe(struct poll_pipe *p)
{
	return container_of(p, struct side, pipe);
}

static void on_moved(struct poll_pipe *p)
{
	of_pipe(p)->moved++;
}

static void on_stop(struct poll_pipe *p)
{
	of_pipe(p)->stopped++;
}

static void on_destroy(struct poll_pipe *p)
{
	of_pipe(p)->destroyed++;
}

static void on_readable(void *owner)
{
	struct side *x = owner;

	x->readables++;
	if (!x->end)
		x->end = read_everything(x->s, &x->got, 4096);
}

static void on_writable(void *owner)
{
	((struct side *)owner)->writables++;
}

static const struct poll_pipe_ops ops = {on_moved, on_stop, on_destroy};
static const struct stream_handler handler = {on_readable, on_writable};

static void begin(struct side *x)
{
	const struct address at = {"192.0.2.1", 4711};

	memset(x, 0, sizeof(*x));
	x->loop = loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->loop);
	poll_pipe_init(&x->pipe, &ops, x->loop, &at);
	x->s = &x->pipe.base;
	stream_own(x->s, &handler, x);
	stream_pause(x->s, false);
}

static void end(struct side *x)
{
	stream_free(&x->s);
	CU_ASSERT_EQUAL(x->stopped, 1);
	CU_ASSERT_EQUAL(x->destroyed, 0);
	loop_settle(x->loop);
	CU_ASSERT_EQUAL(x->destroyed, 1);
	buf_clear(&x->got);
	loop_free(&x->loop);
}

static void arrive(struct side *x, uint64_t seq, const char *text)
{
	struct poll_message *m = poll_message_new(seq, strlen(text));

	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	memcpy(m->data, text, m->n);
	poll_pipe_arrive(&x->pipe, m);
}

static void arrive_big(struct side *x, uint64_t seq)
{
	struct poll_message *m = poll_message_new(seq, POLL_MESSAGE_MAX);

	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	memset(m->data, 'x', m->n);
	poll_pipe_arrive(&x->pipe, m);
}

static bool reads(struct side *x, const char *text)
{
	char copy[256];
	size_t n;

	loop_settle(x->loop);
	n = buf_take(&x->got, copy, sizeof(copy));
	return n == strlen(text) && memcmp(copy, text, n) == 0;
}

static ssize_t put(struct side *x, const void *p, size_t n)
{
	struct iovec v = {(void *)(uintptr_t)p, n};

	return stream_write(x->s, &v, 1);
}

static bool pops(struct side *x, uint64_t seq, const char *text)
{
	struct poll_message *m = poll_pipe_pop(&x->pipe);
	bool ok = m && m->seq == seq && m->n == strlen(text) && memcmp(m->data, text, m->n) == 0;

	free(m);
	return ok;
}

/* ---- arriving */

static void in_order(void)
{
	struct side x;

	begin(&x);
	arrive(&x, 0, "a");
	arrive(&x, 1, "b");
	CU_ASSERT_EQUAL(x.readables, 0); /* never from within a call */
	CU_ASSERT(reads(&x, "ab"));
	CU_ASSERT_EQUAL(x.readables, 1);
	CU_ASSERT_EQUAL(x.end, 0);
	end(&x);
}

static void mended(void)
{
	struct side x;

	begin(&x);
	arrive(&x, 3, "d");
	arrive(&x, 1, "b");
	arrive(&x, 2, "c");
	CU_ASSERT(reads(&x, ""));
	CU_ASSERT(poll_pipe_knows(&x.pipe, 2) && !poll_pipe_knows(&x.pipe, 0) && !poll_pipe_knows(&x.pipe, 4));
	arrive(&x, 0, "a");
	CU_ASSERT(reads(&x, "abcd"));
	CU_ASSERT_EQUAL(x.pipe.in_seq, 4);
	CU_ASSERT_EQUAL(x.pipe.early_bytes, 0);
	end(&x);
}

static void repeats_are_dropped(void)
{
	struct side x;

	begin(&x);
	arrive(&x, 1, "b");
	arrive(&x, 1, "B");
	arrive(&x, 0, "a");
	arrive(&x, 0, "A");
	arrive(&x, 1, "B");
	CU_ASSERT(reads(&x, "ab"));
	end(&x);
}

static void loss_is_the_end(void)
{
	struct side x;

	begin(&x);
	arrive(&x, 0, "a");
	for (uint64_t seq = 2; seq < 2 + POLL_WINDOW / POLL_MESSAGE_MAX - 1; seq++)
		arrive_big(&x, seq);
	CU_ASSERT_EQUAL(x.pipe.failed, 0);
	arrive_big(&x, 9);
	arrive_big(&x, 10);
	CU_ASSERT(reads(&x, "a"));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_PROTO);
	CU_ASSERT_STRING_EQUAL(stream_detail(x.s), "a message of the polls is missing");
	CU_ASSERT_EQUAL(put(&x, "x", 1), ADIT_ERR_PROTO);
	end(&x);
}

static void span_fits_the_window(void)
{
	struct side x;

	begin(&x);
	for (uint64_t seq = 1; seq < POLL_SPAN; seq++)
		arrive_big(&x, seq);
	CU_ASSERT_EQUAL(x.pipe.failed, 0);
	arrive(&x, 0, "a");
	loop_settle(x.loop);
	CU_ASSERT_EQUAL(x.got.len, 1 + (POLL_SPAN - 1) * POLL_MESSAGE_MAX);
	end(&x);
}

static void empty_is_the_end(void)
{
	struct side x;

	begin(&x);
	arrive(&x, 1, "");
	arrive(&x, 2, "nothing follows it");
	CU_ASSERT(reads(&x, ""));
	CU_ASSERT_EQUAL(x.end, 0);
	arrive(&x, 0, "a");
	CU_ASSERT(reads(&x, "a"));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	CU_ASSERT_EQUAL(put(&x, "still", 5), 5);
	end(&x);
}

static void pause_holds(void)
{
	struct side x;

	begin(&x);
	stream_pause(x.s, true);
	arrive(&x, 0, "a");
	poll_pipe_fail(&x.pipe, ADIT_ERR_TIMEOUT, "late");
	CU_ASSERT(reads(&x, ""));
	stream_pause(x.s, false);
	CU_ASSERT(reads(&x, "a"));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_TIMEOUT);
	end(&x);
}

/* ---- leaving */

static void writes_go_together(void)
{
	struct side x;

	begin(&x);
	CU_ASSERT(!poll_pipe_has(&x.pipe));
	CU_ASSERT_PTR_NULL(poll_pipe_pop(&x.pipe));
	CU_ASSERT(put(&x, "ab", 2) == 2 && put(&x, "cd", 2) == 2);
	CU_ASSERT_EQUAL(x.moved, 2);
	CU_ASSERT_EQUAL(stream_unsent(x.s), 0);
	CU_ASSERT(pops(&x, 0, "abcd"));
	CU_ASSERT_EQUAL(put(&x, "e", 1), 1);
	CU_ASSERT(pops(&x, 1, "e"));
	CU_ASSERT(!poll_pipe_has(&x.pipe));
	end(&x);
}

static void full_at_a_message(void)
{
	static const char data[POLL_MESSAGE_MAX];
	struct poll_message *m;
	struct side x;

	begin(&x);
	CU_ASSERT_EQUAL(put(&x, data, 100), 100);
	CU_ASSERT_EQUAL(put(&x, data, sizeof(data)), sizeof(data) - 100);
	CU_ASSERT_EQUAL(put(&x, data, 1), 0);
	CU_ASSERT_EQUAL(stream_unsent(x.s), POLL_MESSAGE_MAX);
	loop_settle(x.loop);
	CU_ASSERT_EQUAL(x.writables, 0);
	m = poll_pipe_pop(&x.pipe);
	CU_ASSERT(m && m->n == POLL_MESSAGE_MAX);
	free(m);
	loop_settle(x.loop);
	CU_ASSERT_EQUAL(x.writables, 1);
	CU_ASSERT_EQUAL(put(&x, data, 1), 1);
	end(&x);
}

static void finish_is_an_empty_message(void)
{
	struct side x;

	begin(&x);
	CU_ASSERT_EQUAL(put(&x, "a", 1), 1);
	stream_finish(x.s);
	stream_finish(x.s);
	CU_ASSERT_EQUAL(put(&x, "b", 1), ADIT_ERR_INVALID);
	CU_ASSERT(pops(&x, 0, "a"));
	CU_ASSERT(poll_pipe_has(&x.pipe));
	CU_ASSERT(pops(&x, 1, ""));
	CU_ASSERT(!poll_pipe_has(&x.pipe));
	arrive(&x, 0, "reading goes on");
	CU_ASSERT(reads(&x, "reading goes on"));
	end(&x);
}

static const struct unit_test tests[] = {
	{"what arrives is told from a task, and read in order", in_order},
	{"what arrives early waits for what is before it", mended},
	{"what arrives again is dropped", repeats_are_dropped},
	{"when more is early than the window holds, the carrier is lost", loss_is_the_end},
	{"what a sender may have under way fits the window", span_fits_the_window},
	{"an empty message is the end, behind what is before it", empty_is_the_end},
	{"pause holds bytes and failure", pause_holds},
	{"what is written between two messages goes in one", writes_go_together},
	{"it is full at one message, and writable when that is made", full_at_a_message},
	{"finish is an empty message", finish_is_an_empty_message},
};

UNIT_MAIN("poll_pipe", tests)
