#include "raw/raw.h"

#include "base/err.h"
#include "base/list.h"

/** Pieces of one gathered write. */
#define WRITE_PIECES 16

static struct raw *of_half(struct half *h)
{
	return container_of(h, struct raw, half);
}

/* ---- the end */

static void finish(struct raw *r, int err)
{
	if (r->over)
		return;
	r->over = true;
	timer_stop(&r->timer);
	task_cancel(r->loop, &r->flush);
	task_cancel(r->loop, &r->resume);
	stream_free(&r->stream);
	half_abort(&r->half, err);
	r->events->over(r->owner);
}

/* A reader that is off, or has read the end, hears nothing of a RST. */
static void watch(struct raw *r)
{
	if (r->stream && (r->in.len || r->ended) && !timer_is_set(&r->timer))
		timer_set(&r->timer, RAW_LOOK_MS);
}

/* Broken, and is everything that came before told, and has left? */
static void check_broken(struct raw *r)
{
	if (r->broken && (!r->half.peer || r->ended || (!r->in.len && r->credit == r->credit_most)))
		finish(r, r->broken);
}

static void break_off(struct raw *r, int err)
{
	if (r->over || r->broken)
		return;
	r->broken = err;
	stream_free(&r->stream);
	buf_clear(&r->out);
	timer_set(&r->timer, RAW_LAST_WORDS_MS);
	check_broken(r);
}

/* Both directions have had their end. */
static void check_over(struct raw *r)
{
	if (r->ended && r->finished)
		finish(r, 0);
}

/* ---- to the socket */

static void give_back(struct raw *r, size_t n)
{
	r->queued -= n;
	half_credit(&r->half, n);
}

/* What came from there is read first, and its end says more. */
static void on_write_failed(struct raw *r, int err)
{
	r->write_failed = err;
	buf_clear(&r->out);
	if (r->ended || r->in.len)
		break_off(r, err);
	else
		give_back(r, r->queued);
}

static void write_out(struct raw *r)
{
	struct iovec iov[WRITE_PIECES];

	while (r->stream && r->out.len) {
		ssize_t n = stream_write(r->stream, iov, buf_iov(&r->out, iov, WRITE_PIECES));

		if (n < 0)
			on_write_failed(r, (int)n);
		if (n <= 0)
			return;
		buf_drop(&r->out, (size_t)n);
		give_back(r, !r->out.len || (size_t)n > r->queued ? r->queued : (size_t)n);
	}
}

static void flush(void *arg)
{
	struct raw *r = arg;

	write_out(r);
	if (r->over || !r->stream || !r->peer_ended || r->out.len || r->finished || r->write_failed)
		return;
	r->finished = true;
	stream_finish(r->stream);
	check_over(r);
}

static void post(struct raw *r, struct task *t)
{
	if (!r->over)
		task_post(r->loop, t);
}

/* ---- from the socket */

/* Tells as much as there is credit for; returns how much that was. */
static size_t tell(struct raw *r, const uint8_t *p, size_t n)
{
	size_t done = 0;

	r->telling = true;
	while (done < n && r->credit && r->half.peer && !r->over) {
		size_t part = n - done < r->credit ? n - done : r->credit;

		r->credit -= part;
		half_body(&r->half, p + done, part);
		done += part;
	}
	r->telling = false;
	return done;
}

/* Tells what was held back, then reading goes on. */
static void resume(void *arg)
{
	struct raw *r = arg;
	struct iovec v;

	if (r->refused && r->peer_ended) {
		finish(r, ADIT_ERR_ENOUGH);
		return;
	}
	while (!r->over && r->credit && buf_iov(&r->in, &v, 1) == 1) {
		size_t n = tell(r, v.iov_base, v.iov_len);

		buf_drop(&r->in, n);
		if (n < v.iov_len)
			break;
	}
	if (r->over)
		return;
	if (r->stream && !r->in.len)
		stream_pause(r->stream, false);
	check_broken(r);
}

static void on_eof(struct raw *r)
{
	if (r->write_failed) { /* a write has taken the error that reading would have found */
		break_off(r, r->write_failed);
		return;
	}
	r->ended = true;
	stream_pause(r->stream, true);
	half_end(&r->half, NULL);
	check_over(r);
	watch(r);
}

static void on_readable(void *owner)
{
	struct raw *r = owner;
	uint8_t *block = loop_borrow(r->loop);
	ssize_t n = block ? stream_read(r->stream, block, HALF_READ) : ADIT_ERR_NOMEM;

	if (n > 0) {
		size_t done = tell(r, block, (size_t)n);

		if (!r->over && done < (size_t)n) {
			stream_pause(r->stream, true);
			if (buf_add(&r->in, block + done, (size_t)n - done) < 0)
				raw_end(r, ADIT_ERR_NOMEM);
			watch(r);
		}
	} else if (n == ADIT_ERR_EOF) {
		on_eof(r);
	} else if (n != ADIT_ERR_AGAIN) {
		break_off(r, (int)n);
	}
	loop_return(r->loop, block);
}

static const struct stream_handler handler = {on_readable, flush};

static void on_timer(void *arg)
{
	struct raw *r = arg;
	int err = r->stream ? stream_ended(r->stream) : 0;

	if (r->broken)
		finish(r, r->broken);
	else if (err && err != ADIT_ERR_EOF) /* an end is read behind what comes before it */
		break_off(r, err);
	else
		watch(r);
}

/* ---- the peer speaks */

static void op_head(struct half *self, const struct head *h, bool bodyless)
{
	struct raw *r = of_half(self);

	r->events->head(r->owner, h, bodyless);
}

static void op_body(struct half *self, const uint8_t *p, size_t n)
{
	struct raw *r = of_half(self);

	if (r->over || !n)
		return;
	if (r->refused || r->broken || r->write_failed) { /* nobody takes it; but its sender may wait to be rid of it */
		half_credit(&r->half, n);
		return;
	}
	if (buf_add(&r->out, p, n) < 0) {
		raw_end(r, ADIT_ERR_NOMEM);
		return;
	}
	r->queued += n;
	post(r, &r->flush);
}

static void op_end(struct half *self, const struct fields *trailers)
{
	struct raw *r = of_half(self);

	(void)trailers;
	r->peer_ended = true;
	post(r, r->refused ? &r->resume : &r->flush);
}

static void op_credit(struct half *self, size_t n)
{
	struct raw *r = of_half(self);

	r->credit += n;
	if (r->credit > r->credit_most)
		r->credit_most = r->credit;
	if (!r->telling && (r->in.len || r->broken))
		post(r, &r->resume);
}

static void op_abort(struct half *self, int err)
{
	raw_end(of_half(self), err);
}

static const struct half_ops half_ops = {op_head, op_body, op_end, op_credit, op_abort};

/* ---- life */

void raw_init(struct raw *r, struct loop *l, const struct raw_events *events, void *owner)
{
	*r = (struct raw){.half.ops = &half_ops, .loop = l, .events = events, .owner = owner};
	r->flush = (struct task){.run = flush, .arg = r};
	r->resume = (struct task){.run = resume, .arg = r};
	timer_init(&r->timer, l, on_timer, r);
}

void raw_start(struct raw *r, struct stream *s)
{
	r->stream = s;
	stream_own(s, &handler, r);
	stream_pause(s, false);
	half_credit(&r->half, RAW_BUFFER);
	post(r, &r->flush);
}

int raw_preface(struct raw *r, const void *p, size_t n)
{
	return buf_add(&r->out, p, n);
}

void raw_refuse(struct raw *r)
{
	if (r->over || r->refused)
		return;
	r->refused = true;
	if (r->stream)
		stream_spoil(r->stream);
	stream_free(&r->stream);
	timer_clear(&r->timer);
}

void raw_end(struct raw *r, int err)
{
	if (r->over)
		return;
	write_out(r);
	if (r->stream)
		stream_spoil(r->stream);
	finish(r, err);
}

void raw_clear(struct raw *r)
{
	buf_clear(&r->in);
	buf_clear(&r->out);
}
