#include "h2/pump.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/err.h"

/** Pieces of one gathered write. */
#define WRITE_PIECES 16

static void fill(struct h2_pump *p)
{
	h2_clock(p->h2, clock_us(), 0);
	while (p->out.len < H2_PUMP_UNSENT) {
		size_t got, n;
		uint8_t *room = buf_room(&p->out, H2_QUANTUM + H2_FRAME_HEADER, &got);

		n = room ? h2_pull(p->h2, room, got) : 0;
		if (!room && !p->out.len) /* nothing else would bring us here again */
			task_post_next(p->loop, &p->flush);
		if (!n && !p->out.len) /* an idle connection holds no room */
			buf_clear(&p->out);
		if (!n)
			return;
		buf_commit(&p->out, n);
	}
}

/* False when there is nothing more to write, or no way to. */
static bool write_some(struct h2_pump *p)
{
	struct iovec iov[WRITE_PIECES];
	ssize_t n;

	fill(p);
	if (!p->out.len)
		return false;
	n = stream_write(p->stream, iov, buf_iov(&p->out, iov, WRITE_PIECES));
	if (n < 0) {
		p->unwritable = (int)n;
		buf_clear(&p->out);
	}
	if (n <= 0)
		return false;
	p->written += (size_t)n;
	buf_drop(&p->out, (size_t)n);
	return true;
}

void h2_pump_take(struct h2_pump *p, const uint8_t *bytes, size_t n)
{
	h2_clock(p->h2, clock_us(), 0);
	if (h2_recv(p->h2, bytes, n) < 0) /* a GOAWAY that says why may still be waiting */
		p->failed = h2_error(p->h2);
	else if (p->events->received)
		p->events->received(p->owner);
	h2_pump_wake(p);
}

static void end(struct h2_pump *p, int err)
{
	const char *detail = stream_detail(p->stream); /* goes with the stream's memory, at the bottom of the turn */

	h2_pump_stop(p);
	p->events->ended(p->owner, p->unwritable ? p->unwritable : err, detail);
}

/* Goes on with it in the next turn, or a little later. */
static void keep(struct h2_pump *p, const uint8_t *bytes, size_t n)
{
	if (!n || p->stopped || p->failed)
		return;
	p->rest = malloc(n);
	if (!p->rest) {
		h2_fail(p->h2, ADIT_ERR_NOMEM);
		p->failed = ADIT_ERR_NOMEM;
		return;
	}
	memcpy(p->rest, bytes, n);
	p->rest_len = n;
	if (!h2_hasty(p->h2)) {
		task_post_next(p->loop, &p->again);
		return;
	}
	stream_pause(p->stream, true);
	timer_set(&p->later, H2_PUMP_HASTY_MS);
}

/* The block is the loop's: no token stays in it, nor where nobody has looked for one, nor a part of one whose field
 * goes on in the next read. */
static void take_block(struct h2_pump *p, uint8_t *block, size_t n)
{
	size_t left;

	h2_pump_take(p, block, n);
	left = p->failed ? 0 : h2_unread(p->h2);
	keep(p, block + n - left, left);
	if (p->failed || h2_got_secret(p->h2) || h2_block(p->h2))
		secret_wipe(block, n);
	else if (left)
		secret_wipe(block + n - left, left);
}

/* There may be a token in it. */
static void free_rest(uint8_t *rest, size_t n)
{
	if (rest)
		secret_wipe(rest, n);
	free(rest);
}

static void drop_rest(struct h2_pump *p)
{
	free_rest(p->rest, p->rest_len);
	p->rest = NULL;
	p->rest_len = 0;
}

static void allow(struct h2_pump *p)
{
	uint64_t now = loop_ms(p->loop);
	bool hasty = h2_hasty(p->h2);

	if (hasty && now - p->allowed_ms < H2_PUMP_HASTY_MS)
		return;
	p->allowed_ms = now;
	h2_allow(p->h2, hasty ? H2_PUMP_HASTY_REQUESTS : H2_PUMP_REQUESTS);
}

static void take_rest(void *arg)
{
	struct h2_pump *p = arg;
	uint8_t *rest = p->rest;
	size_t n = p->rest_len;

	p->rest = NULL;
	p->rest_len = 0;
	stream_pause(p->stream, false);
	allow(p);
	if (!p->quiet && !p->failed)
		take_block(p, rest, n);
	free_rest(rest, n);
	h2_pump_wake(p); /* read_rest may have waited for this */
}

/* True when there is no more to read now. */
static bool read_some(struct h2_pump *p)
{
	struct loop *l = p->loop;
	uint8_t *block = loop_borrow(l);
	size_t done = 0;
	ssize_t n = 0;

	allow(p);
	while (block && !p->stopped && !p->rest && done < H2_PUMP_READ_TURN) {
		n = stream_read(p->stream, block, LOOP_BLOCK);
		if (n == ADIT_ERR_AGAIN)
			break;
		if (n < 0)
			end(p, (int)n);
		else if (!p->quiet && !p->failed) /* else a RST, for what nobody has read, could destroy our last word */
			take_block(p, block, (size_t)n);
		else
			secret_wipe(block, (size_t)n);
		done += n > 0 ? (size_t)n : 0;
	}
	loop_return(l, block);
	return n == ADIT_ERR_AGAIN;
}

static void on_readable(void *owner)
{
	read_some(owner);
}

/* What the far end said before it went is told first. */
static void read_rest(struct h2_pump *p)
{
	if (read_some(p))
		end(p, p->unwritable);
	else if (!p->stopped && !p->rest) /* else take_rest goes on */
		task_post_next(p->loop, &p->flush);
}

static void flush(void *arg)
{
	struct h2_pump *p = arg;

	while (!p->quiet && !p->unwritable && write_some(p))
		;
	if (p->unwritable)
		read_rest(p);
	if (p->stopped)
		return;
	if (h2_error(p->h2))
		p->failed = h2_error(p->h2);
	if (p->events->flushed)
		p->events->flushed(p->owner);
}

static void on_writable(void *owner)
{
	flush(owner);
}

static const struct stream_handler handler = {on_readable, on_writable};

void h2_pump_init(struct h2_pump *p, struct loop *l, struct h2 *h2, const struct h2_pump_events *events, void *owner)
{
	*p = (struct h2_pump){.loop = l, .h2 = h2, .events = events, .owner = owner};
	p->flush = (struct task){.run = flush, .arg = p};
	p->again = (struct task){.run = take_rest, .arg = p};
	timer_init(&p->later, l, take_rest, p);
}

void h2_pump_start(struct h2_pump *p, struct stream *s)
{
	p->stream = s;
	stream_own(s, &handler, p);
	stream_pause(s, false);
	h2_pump_wake(p);
}

void h2_pump_wake(struct h2_pump *p)
{
	if (!p->stopped)
		task_post(p->loop, &p->flush);
}

void h2_pump_quiet(struct h2_pump *p)
{
	p->quiet = true;
	if (p->rest) { /* nothing is read while it waits, so its time must not have to come first */
		task_cancel(p->loop, &p->again);
		timer_clear(&p->later);
		drop_rest(p);
		h2_pump_wake(p);
	}
	stream_pause(p->stream, false);
}

void h2_pump_last(struct h2_pump *p)
{
	while (!p->unwritable && write_some(p))
		;
	if (!p->unwritable)
		stream_finish(p->stream);
}

void h2_pump_stop(struct h2_pump *p)
{
	p->stopped = true;
	task_cancel(p->loop, &p->flush);
	task_cancel(p->loop, &p->again);
	timer_stop(&p->later);
	stream_free(&p->stream);
}

void h2_pump_clear(struct h2_pump *p)
{
	drop_rest(p);
	buf_clear(&p->out);
}
