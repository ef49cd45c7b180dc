#include "carrier/outer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"

/** Pieces of one gathered write. */
#define WRITE_PIECES 16
/** Read in one turn before others get theirs. */
#define READ_TURN (256u * 1024)
/** Windows of the few streams that carriers open. */
#define OUTER_BUDGET (16u * OUTER_WINDOW)

struct outer {
	struct loop *loop;
	struct stream *stream;
	const struct outer_events *events;
	void *owner;
	struct h2 *h2;
	struct budget budget;
	struct buf out;
	struct task flush, tell, free;
	bool ready_told, leaving_told;
	int lost;
	char detail[160];
};

static void lose(struct outer *o, int err, const char *detail)
{
	if (o->lost)
		return;
	o->lost = err;
	snprintf(o->detail, sizeof(o->detail), "%s", detail);
	task_cancel(o->loop, &o->flush);
	stream_free(&o->stream);
	task_post(o->loop, &o->tell);
}

static void tell_gone(void *arg)
{
	struct outer *o = arg;

	h2_free(&o->h2, o->lost);
	o->events->gone(o->owner, o->lost, o->detail);
}

static void fill(struct outer *o)
{
	h2_clock(o->h2, clock_us(), 0);
	while (o->out.len < OUTER_UNSENT) {
		size_t got, n;
		uint8_t *room = buf_room(&o->out, H2_QUANTUM + H2_FRAME_HEADER, &got);

		n = room ? h2_pull(o->h2, room, got) : 0;
		if (!n)
			return;
		buf_commit(&o->out, n);
	}
}

static void flush(void *arg)
{
	struct outer *o = arg;
	struct iovec iov[WRITE_PIECES];

	while (!o->lost) {
		ssize_t n;

		fill(o);
		if (!o->out.len) {
			if (h2_error(o->h2))
				lose(o, h2_error(o->h2), "HTTP/2 broken");
			return;
		}
		n = stream_write(o->stream, iov, buf_iov(&o->out, iov, WRITE_PIECES));
		if (n < 0)
			lose(o, (int)n, stream_detail(o->stream));
		if (n <= 0)
			return;
		buf_drop(&o->out, (size_t)n);
	}
}

static void tell_leaving(struct outer *o)
{
	if (o->lost || o->leaving_told || !o->ready_told || !h2_leaving(o->h2))
		return;
	o->leaving_told = true;
	if (o->events->leaving)
		o->events->leaving(o->owner);
}

static void on_readable(void *owner)
{
	struct outer *o = owner;
	uint8_t *block = loop_borrow(o->loop);
	size_t done = 0;

	while (block && !o->lost && done < READ_TURN) {
		ssize_t n = stream_read(o->stream, block, LOOP_BLOCK);

		if (n == ADIT_ERR_AGAIN)
			break;
		if (n < 0) {
			lose(o, (int)n, stream_detail(o->stream));
			break;
		}
		done += (size_t)n;
		h2_clock(o->h2, clock_us(), 0);
		if (h2_recv(o->h2, block, (size_t)n) < 0)
			lose(o, ADIT_ERR_PROTO, "not HTTP/2, or HTTP/2 broken");
		if (!o->lost && !o->ready_told && h2_ready(o->h2)) {
			o->ready_told = true;
			o->events->ready(o->owner);
		}
		tell_leaving(o);
	}
	loop_return(o->loop, block);
	if (!o->lost)
		task_post(o->loop, &o->flush);
}

static void on_writable(void *owner)
{
	flush(owner);
}

static const struct stream_handler handler = {on_readable, on_writable};

static void h2_woken(void *owner)
{
	struct outer *o = owner;

	if (!o->lost)
		task_post(o->loop, &o->flush);
}

static const struct h2_events h2_events = {h2_woken, NULL, NULL, NULL};

static void release(void *arg)
{
	struct outer *o = arg;

	h2_free(&o->h2, o->lost);
	buf_clear(&o->out);
	free(o);
}

struct outer *outer_new(struct loop *l, struct stream *s, const struct outer_events *events, void *owner)
{
	struct outer *o = calloc(1, sizeof(*o));
	struct h2_options opt = {.role = H2_ASKING, .window = OUTER_WINDOW};

	if (!o)
		return NULL;
	o->loop = l;
	o->events = events;
	o->owner = owner;
	o->budget = (struct budget){NULL, OUTER_BUDGET, 0};
	opt.budget = &o->budget;
	o->flush = (struct task){.run = flush, .arg = o};
	o->tell = (struct task){.run = tell_gone, .arg = o};
	o->free = (struct task){.run = release, .arg = o};
	o->h2 = h2_new(&opt, &h2_events, o);
	if (!o->h2) {
		free(o);
		return NULL;
	}
	o->stream = s;
	stream_own(s, &handler, o);
	stream_pause(s, false);
	task_post(l, &o->flush);
	return o;
}

void outer_free(struct outer **op)
{
	struct outer *o = *op;

	if (!o)
		return;
	*op = NULL;
	lose(o, ADIT_ERR_SHUTDOWN, "");
	task_cancel(o->loop, &o->tell);
	task_post_free(o->loop, &o->free);
}

bool outer_may_connect(const struct outer *o)
{
	return h2_may_connect(o->h2);
}

struct half *outer_ask(struct outer *o, int *err)
{
	*err = ADIT_ERR_LINK_LOST;
	return o->lost ? NULL : h2_ask(o->h2, err);
}

bool outer_leaving(const struct outer *o)
{
	return o->lost || h2_leaving(o->h2);
}

const struct stream *outer_stream(const struct outer *o)
{
	return o->stream;
}
