/* half_stream: see the header. Received bytes wait in `in`; credit is what keeps both directions bounded.
 *
 *        owner                       half_stream                        peer
 *     stream_write ──────► credit left? half_body ─────────────────►  body
 *     writable     ◄────── task  ◄──  op_credit   ◄─────────────────  credit
 *     readable     ◄────── task  ◄──  op_body: in ◄─────────────────  body
 *     stream_read  ──────► out of in; half_credit ─────────────────►  credit
 *
 * A peer may answer any op with others before it returns, so own state is settled before each call.
 */
#include "carrier/half_stream.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "http/head.h"

struct half_stream {
	struct stream base;
	struct half half;
	half_stream_answered_fn *answered;
	void *arg;
	struct buf in;      /* received and unread */
	size_t granted;     /* what the peer may still send */
	size_t credit;      /* what we may still send */
	size_t unsent;      /* given to the peer; its credit has not come back */
	bool open;          /* bytes may be written: the upgrade is accepted */
	bool refused;       /* it was answered by something else */
	bool in_ended, out_ended;
	bool end_read;      /* the owner has been told how it ended */
	int aborted;        /* why the peer gave up, 0 = it did not */
	bool paused, short_write, spoilt;
	struct task tell_readable, tell_writable, tell_leaving;
	void (*on_stop)(void *arg);
	void *on_stop_arg;
};

static struct half_stream *of_stream(const struct stream *s)
{
	return container_of(s, struct half_stream, base);
}

static struct half_stream *of_half(struct half *h)
{
	return container_of(h, struct half_stream, half);
}

static bool has_more(const struct half_stream *hs)
{
	return hs->in.len || (!hs->end_read && (hs->in_ended || hs->aborted));
}

static void wake_reader(struct half_stream *hs)
{
	if (!hs->paused)
		task_post(hs->base.loop, &hs->tell_readable);
}

static void wake_writer(struct half_stream *hs)
{
	if (hs->short_write)
		task_post(hs->base.loop, &hs->tell_writable);
}

static void on_readable(void *arg)
{
	struct half_stream *hs = arg;

	if (hs->paused || !hs->base.handler || !has_more(hs))
		return;
	hs->base.handler->readable(hs->base.owner);
	if (hs->base.handler && !hs->paused && has_more(hs))
		task_post_next(hs->base.loop, &hs->tell_readable);
}

static void on_writable(void *arg)
{
	struct half_stream *hs = arg;

	if (!hs->short_write || !hs->base.handler)
		return;
	hs->short_write = false;
	hs->base.handler->writable(hs->base.owner);
}

static void on_leaving(void *arg)
{
	struct half_stream *hs = arg;

	stream_leave(&hs->base);
}

/* ---- the peer speaks */

static void unlink_when_over(struct half_stream *hs)
{
	if (!hs->in_ended || !hs->out_ended)
		return;
	half_done(&hs->half);
	hs->unsent = 0; /* nobody is left to tell */
}

static void give_up(struct half_stream *hs, int err)
{
	hs->aborted = err;
	hs->unsent = 0;
	wake_reader(hs);
	wake_writer(hs);
}

static void op_head(struct half *self, const struct head *h, bool bodyless)
{
	struct half_stream *hs = of_half(self);

	if (!hs->answered || hs->open || hs->refused)
		return;
	hs->open = h->status == 101;
	hs->refused = h->status >= 200;
	wake_writer(hs);
	hs->answered(hs->arg, h, bodyless);
}

static void op_body(struct half *self, const uint8_t *p, size_t n)
{
	struct half_stream *hs = of_half(self);
	int err = n > hs->granted ? ADIT_ERR_PROTO : buf_add(&hs->in, p, n);

	if (err) {
		half_abort(&hs->half, err);
		give_up(hs, err);
		return;
	}
	hs->granted -= n;
	wake_reader(hs);
}

static void op_end(struct half *self, const struct fields *trailers)
{
	struct half_stream *hs = of_half(self);

	(void)trailers;
	hs->in_ended = true;
	wake_reader(hs);
	unlink_when_over(hs);
}

static void op_credit(struct half *self, size_t n)
{
	struct half_stream *hs = of_half(self);

	hs->credit += n;
	hs->unsent -= n < hs->unsent ? n : hs->unsent;
	wake_writer(hs);
}

static void op_abort(struct half *self, int err)
{
	give_up(of_half(self), err);
}

static const struct half_ops half_ops = {op_head, op_body, op_end, op_credit, op_abort};

/* ---- the owner speaks */

/* What a read gives when nothing waits. */
static int read_end(struct half_stream *hs)
{
	/* what was ended stays valid when the rest of our own words is not wanted */
	bool ended = hs->in_ended && (!hs->aborted || hs->aborted == ADIT_ERR_ENOUGH);

	if (!ended && !hs->aborted)
		return ADIT_ERR_AGAIN;
	hs->end_read = true;
	if (ended)
		return ADIT_ERR_EOF;
	return hs->aborted == ADIT_ERR_NOMEM || hs->aborted == ADIT_ERR_PROTO ? hs->aborted : ADIT_ERR_RESET;
}

static ssize_t half_stream_read(struct stream *s, void *p, size_t n)
{
	struct half_stream *hs = of_stream(s);
	size_t got = buf_take(&hs->in, p, n);

	if (!got)
		return n ? read_end(hs) : 0;
	if (!hs->in_ended && hs->half.peer) {
		hs->granted += got;
		half_credit(&hs->half, got);
	}
	return (ssize_t)got;
}

static ssize_t half_stream_write(struct stream *s, const struct iovec *iov, int count)
{
	struct half_stream *hs = of_stream(s);
	ssize_t done = 0;

	if (hs->out_ended)
		return ADIT_ERR_INVALID;
	for (int i = 0; i < count; i++) {
		const uint8_t *p = iov[i].iov_base;
		size_t n = iov[i].iov_len;

		if (hs->aborted || hs->refused)
			return hs->refused ? ADIT_ERR_REFUSED : ADIT_ERR_RESET;
		if (!hs->open || n > hs->credit) {
			hs->short_write = true;
			n = hs->open ? hs->credit : 0;
		}
		if (n) {
			hs->credit -= n;
			hs->unsent += n;
			done += (ssize_t)n;
			half_body(&hs->half, p, n);
		}
		if (n < iov[i].iov_len)
			break;
	}
	if (hs->short_write && hs->credit && hs->open) /* it came back meanwhile */
		wake_writer(hs);
	return done;
}

static void half_stream_pause(struct stream *s, bool paused)
{
	struct half_stream *hs = of_stream(s);

	hs->paused = paused;
	if (paused)
		task_cancel(s->loop, &hs->tell_readable);
	else if (has_more(hs))
		task_post_next(s->loop, &hs->tell_readable);
}

static size_t half_stream_unsent(const struct stream *s)
{
	return of_stream(s)->unsent;
}

static void half_stream_finish(struct stream *s)
{
	struct half_stream *hs = of_stream(s);

	if (hs->out_ended)
		return;
	hs->out_ended = true;
	half_end(&hs->half, NULL);
	unlink_when_over(hs);
}

static void half_stream_spoil(struct stream *s)
{
	of_stream(s)->spoilt = true;
}

static void half_stream_stop(struct stream *s)
{
	struct half_stream *hs = of_stream(s);

	if (hs->spoilt) {
		half_abort(&hs->half, ADIT_ERR_RESET);
	} else if (hs->open) {
		half_stream_finish(s);
		half_abort(&hs->half, ADIT_ERR_ENOUGH);
	} else {
		half_abort(&hs->half, ADIT_ERR_ABANDONED);
	}
	/* last: the peer may have answered */
	task_cancel(s->loop, &hs->tell_readable);
	task_cancel(s->loop, &hs->tell_writable);
	task_cancel(s->loop, &hs->tell_leaving);
	if (hs->on_stop)
		hs->on_stop(hs->on_stop_arg);
}

static void half_stream_destroy(struct stream *s)
{
	struct half_stream *hs = of_stream(s);

	buf_clear(&hs->in);
	free(hs);
}

static const char *half_stream_detail(const struct stream *s)
{
	const struct half_stream *hs = of_stream(s);

	return hs->aborted ? err_text(hs->aborted) : "";
}

static const struct stream_ops stream_ops = {
	.read = half_stream_read,
	.write = half_stream_write,
	.pause = half_stream_pause,
	.unsent = half_stream_unsent,
	.finish = half_stream_finish,
	.spoil = half_stream_spoil,
	.stop = half_stream_stop,
	.destroy = half_stream_destroy,
	.detail = half_stream_detail,
};

struct stream *half_stream_new(struct loop *l, struct half *peer, const struct address *peer_address,
                               half_stream_answered_fn *answered, void *arg)
{
	struct half_stream *hs = calloc(1, sizeof(*hs));

	if (!hs)
		return NULL;
	stream_init(&hs->base, &stream_ops, l);
	if (peer_address)
		hs->base.peer = *peer_address;
	hs->half.ops = &half_ops;
	hs->answered = answered;
	hs->arg = arg;
	hs->open = !answered;
	hs->paused = true;
	hs->tell_readable = (struct task){.run = on_readable, .arg = hs};
	hs->tell_writable = (struct task){.run = on_writable, .arg = hs};
	hs->tell_leaving = (struct task){.run = on_leaving, .arg = hs};
	half_link(&hs->half, peer);
	hs->granted = HALF_STREAM_BUFFER;
	half_credit(&hs->half, HALF_STREAM_BUFFER);
	return &hs->base;
}

struct half *half_stream_half(struct stream *s)
{
	return &of_stream(s)->half;
}

void half_stream_leave(struct stream *s)
{
	task_post(s->loop, &of_stream(s)->tell_leaving);
}

void half_stream_on_stop(struct stream *s, void (*fn)(void *arg), void *arg)
{
	struct half_stream *hs = of_stream(s);

	hs->on_stop = fn;
	hs->on_stop_arg = arg;
}
