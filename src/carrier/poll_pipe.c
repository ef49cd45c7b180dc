#include "carrier/poll.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

struct poll_message *poll_message_new(uint64_t seq, size_t n)
{
	struct poll_message *m = malloc(sizeof(*m) + n);

	if (!m)
		return NULL;
	list_init(&m->node);
	m->seq = seq;
	m->n = n;
	return m;
}

static struct poll_message *message_of(struct list *node)
{
	return container_of(node, struct poll_message, node);
}

static bool has_more(const struct poll_pipe *p)
{
	return p->ready.len || (!p->end_read && (p->in_ended || p->failed));
}

static void wake_reader(struct poll_pipe *p)
{
	if (!p->paused)
		task_post(p->base.loop, &p->tell_readable);
}

static void on_readable(void *arg)
{
	struct poll_pipe *p = arg;

	if (p->paused || !p->base.handler || !has_more(p))
		return;
	p->base.handler->readable(p->base.owner);
	if (p->base.handler && !p->paused && has_more(p))
		task_post_next(p->base.loop, &p->tell_readable);
}

static void on_writable(void *arg)
{
	struct poll_pipe *p = arg;

	if (!p->short_write || !p->base.handler)
		return;
	p->short_write = false;
	p->base.handler->writable(p->base.owner);
}

/* ---- the carrier's side */

void poll_pipe_fail(struct poll_pipe *p, int err, const char *detail)
{
	if (p->failed)
		return;
	p->failed = err;
	snprintf(p->detail, sizeof(p->detail), "%s", detail);
	buf_clear(&p->out);
	wake_reader(p);
	if (p->short_write)
		task_post(p->base.loop, &p->tell_writable);
}

bool poll_pipe_has(const struct poll_pipe *p)
{
	return !p->failed && (p->out.len || (p->finished && !p->end_made));
}

struct poll_message *poll_pipe_pop(struct poll_pipe *p)
{
	size_t n = p->out.len < POLL_MESSAGE_MAX ? p->out.len : POLL_MESSAGE_MAX;
	struct poll_message *m;

	if (!poll_pipe_has(p))
		return NULL;
	m = poll_message_new(p->out_seq, n);
	if (!m) {
		poll_pipe_fail(p, ADIT_ERR_NOMEM, "");
		return NULL;
	}
	p->out_seq++;
	p->end_made = n == 0;
	buf_take(&p->out, m->data, n);
	if (p->short_write)
		task_post(p->base.loop, &p->tell_writable);
	return m;
}

/* The message that follows: its bytes may be read now. Nothing follows the end. */
static void append(struct poll_pipe *p, struct poll_message *m)
{
	if (!p->in_ended && m->n && buf_add(&p->ready, m->data, m->n) < 0)
		poll_pipe_fail(p, ADIT_ERR_NOMEM, "");
	p->in_ended = p->in_ended || m->n == 0;
	p->in_seq = m->seq + 1;
	free(m);
}

bool poll_pipe_knows(const struct poll_pipe *p, uint64_t seq)
{
	const struct list *at;

	if (seq < p->in_seq)
		return true;
	for (at = p->early.next; at != &p->early; at = at->next)
		if (container_of(at, struct poll_message, node)->seq == seq)
			return true;
	return false;
}

static void keep_early(struct poll_pipe *p, struct poll_message *m)
{
	struct list *at = p->early.next;

	/* the message itself counts too: empty ones are not free */
	p->early_bytes += m->n + sizeof(*m);
	while (at != &p->early && message_of(at)->seq < m->seq)
		at = at->next;
	list_insert_before(at, &m->node);
	if (p->early_bytes > POLL_WINDOW)
		poll_pipe_fail(p, ADIT_ERR_PROTO, "a message of the polls is missing");
}

void poll_pipe_arrive(struct poll_pipe *p, struct poll_message *m)
{
	if (p->failed || poll_pipe_knows(p, m->seq)) {
		free(m);
		return;
	}
	if (m->seq != p->in_seq) {
		keep_early(p, m);
		return;
	}
	append(p, m);
	while (!list_empty(&p->early) && message_of(p->early.next)->seq == p->in_seq) {
		m = message_of(p->early.next);
		list_remove(&m->node);
		p->early_bytes -= m->n + sizeof(*m);
		append(p, m);
	}
	wake_reader(p);
}

/* ---- the owner's side */

static ssize_t pipe_read(struct stream *s, void *to, size_t n)
{
	struct poll_pipe *p = poll_pipe_of(s);
	size_t got = buf_take(&p->ready, to, n);

	if (got) {
		p->ops->moved(p);
		return (ssize_t)got;
	}
	if (!n || (!p->in_ended && !p->failed))
		return n ? ADIT_ERR_AGAIN : 0;
	p->end_read = true;
	return p->in_ended ? ADIT_ERR_EOF : p->failed;
}

static ssize_t pipe_write(struct stream *s, const struct iovec *iov, int count)
{
	struct poll_pipe *p = poll_pipe_of(s);
	size_t done = 0;

	if (p->failed || p->finished)
		return p->failed ? p->failed : ADIT_ERR_INVALID;
	for (int i = 0; i < count; i++) {
		size_t room = POLL_MESSAGE_MAX - p->out.len, n = iov[i].iov_len;

		if (n > room) {
			p->short_write = true;
			n = room;
		}
		if (n && buf_add(&p->out, iov[i].iov_base, n) < 0)
			return done ? (ssize_t)done : ADIT_ERR_NOMEM;
		done += n;
		if (n < iov[i].iov_len)
			break;
	}
	p->ops->moved(p);
	return (ssize_t)done;
}

static void pipe_pause(struct stream *s, bool paused)
{
	struct poll_pipe *p = poll_pipe_of(s);

	p->paused = paused;
	if (paused)
		task_cancel(s->loop, &p->tell_readable);
	else if (has_more(p))
		task_post_next(s->loop, &p->tell_readable);
}

/* What fits the next message counts as sent: it is all that a round trip carries, so it had better be full. */
static size_t pipe_unsent(const struct stream *s)
{
	const struct poll_pipe *p = poll_pipe_of(s);

	return p->out.len < POLL_MESSAGE_MAX ? 0 : p->out.len;
}

static void pipe_finish(struct stream *s)
{
	struct poll_pipe *p = poll_pipe_of(s);

	if (p->finished)
		return;
	p->finished = true;
	p->ops->moved(p);
}

static void pipe_stop(struct stream *s)
{
	struct poll_pipe *p = poll_pipe_of(s);

	p->ops->stop(p);
	task_cancel(s->loop, &p->tell_readable);
	task_cancel(s->loop, &p->tell_writable);
}

static void pipe_destroy(struct stream *s)
{
	struct poll_pipe *p = poll_pipe_of(s);

	while (!list_empty(&p->early)) {
		struct poll_message *m = message_of(p->early.next);

		list_remove(&m->node);
		free(m);
	}
	buf_clear(&p->out);
	buf_clear(&p->ready);
	p->ops->destroy(p);
}

static const char *pipe_detail(const struct stream *s)
{
	return poll_pipe_of(s)->detail;
}

static const struct stream_ops stream_ops = {
	.read = pipe_read,
	.write = pipe_write,
	.pause = pipe_pause,
	.unsent = pipe_unsent,
	.finish = pipe_finish,
	.stop = pipe_stop,
	.destroy = pipe_destroy,
	.detail = pipe_detail,
};

void poll_pipe_init(struct poll_pipe *p, const struct poll_pipe_ops *ops, struct loop *l, const struct address *peer)
{
	stream_init(&p->base, &stream_ops, l);
	p->base.peer = *peer;
	p->ops = ops;
	p->paused = true;
	list_init(&p->early);
	p->tell_readable = (struct task){.run = on_readable, .arg = p};
	p->tell_writable = (struct task){.run = on_writable, .arg = p};
}
