/* The response side of an HTTP/1.1 connection: what the exchange says, and writing it. */
#include "edge/edge_h1_int.h"

#include <stdlib.h>

#include "base/err.h"
#include "http/page.h"

/** Pieces of one gathered write. */
#define WRITE_PIECES 16

/* ---- writing */

void edge_h1_tunnel_over(struct edge_h1 *c)
{
	if (stream_unsent(c->stream)) /* TLS has it still, and would drop it */
		edge_h1_linger(c);
	else
		edge_h1_close(c, 0);
}

/* All is written: what next? */
static void written(struct edge_h1 *c)
{
	if (c->cut) {
		/* without a length only an error tells the visitor that the body is not complete */
		if (c->framing == H1_BODY_CLOSE || c->framing == H1_BODY_TUNNEL)
			stream_spoil(c->stream);
		edge_h1_close(c, ADIT_ERR_INCOMPLETE);
	} else if (c->state == H1C_LINGER) {
		stream_finish(c->stream);
	} else if (c->state == H1C_TUNNEL && c->response_ended) {
		stream_finish(c->stream);
		if (c->request_ended)
			edge_h1_tunnel_over(c);
	}
}

void edge_h1_flush(void *arg)
{
	struct edge_h1 *c = arg;
	struct iovec iov[WRITE_PIECES];
	bool progress = false;

	while (c->out.len) {
		int count = buf_iov(&c->out, iov, WRITE_PIECES);
		ssize_t n = stream_write(c->stream, iov, count);
		size_t back;

		if (n < 0) {
			edge_h1_close(c, ADIT_ERR_ABANDONED);
			return;
		}
		if (n == 0)
			break;
		progress = true;
		buf_drop(&c->out, (size_t)n);
		back = !c->out.len || (size_t)n > c->body_queued ? c->body_queued : (size_t)n;
		c->body_queued -= back;
		half_credit(&c->half, back);
		if (c->state == H1C_CLOSED)
			return;
	}
	if (c->state == H1C_IDLE && c->in.len && !edge_h1_unread(c))
		task_post_fair(c->loop, LOOP_FAIR_REQUEST, &c->resume);
	if (!c->out.len)
		written(c);
	if (c->state != H1C_CLOSED)
		edge_h1_watch(c, progress && c->wait == H1C_WAIT_STALL);
}

void edge_h1_post_flush(struct edge_h1 *c)
{
	if (c->state != H1C_CLOSED)
		task_post(c->loop, &c->flush);
}

/* ---- our own word */

void edge_h1_refuse(struct edge_h1 *c, int err, const char *detail)
{
	struct page *p = malloc(sizeof(*p));
	struct h1_asked asked = {.minor = 1, .keep = false, .was_head = c->state == H1C_EXCHANGE && c->asked.was_head};
	enum h1_framing framing;

	if (c->events->refused)
		c->events->refused(c->owner, c, err);
	if (p && !c->response_begun && page_error(p, err, PAGE_HOP_SERVER, detail, STR("")) == 0) {
		if (h1_write_response(&c->out, &p->head, &asked, &framing) == 0)
			h1_write_body(&c->out, framing, (const uint8_t *)p->body, p->len);
		page_free(p);
		c->response_begun = c->response_ended = true;
		half_abort(&c->half, err);
		edge_h1_linger(c);
	} else {
		edge_h1_close(c, err);
	}
	free(p);
}

/* ---- the peer speaks */

static void write_interim(struct edge_h1 *c, const struct head *h)
{
	enum h1_framing none;

	if (h1_write_response(&c->out, h, &c->asked, &none) < 0)
		edge_h1_close(c, ADIT_ERR_NOMEM);
	else
		edge_h1_post_flush(c);
}

/* Must the visitor hear that this connection ends? */
static bool closes(const struct edge_h1 *c, const struct head *h)
{
	if (c->close_after || (c->draining && !c->carries))
		return true;
	if (c->upgrade) /* refused: what the visitor sent behind its request is not HTTP for sure */
		return h->status != 101;
	/* an error before the request's end, or nobody who would take the rest of it: he had better not send that */
	return !c->request_ended && !c->bodyless && (h->status >= 400 || !c->half.peer);
}

static void op_head(struct half *self, const struct head *h, bool bodyless)
{
	struct edge_h1 *c = edge_h1_of_half(self);
	struct head shallow = *h;
	int err;

	if (c->state != H1C_EXCHANGE || c->response_begun)
		return;
	if (h->status != 101 && h->status < 200) {
		write_interim(c, h);
		return;
	}
	if (h->status == 101 && !c->upgrade) {
		edge_h1_refuse(c, ADIT_ERR_PROTO, "protocols switched although nobody asked for that");
		return;
	}
	c->response_begun = true;
	if (bodyless && shallow.length == HEAD_LENGTH_UNKNOWN && !c->asked.was_head && h->status != 304)
		shallow.length = 0;
	c->close_after = closes(c, h);
	c->asked.keep = !c->close_after;
	err = h1_write_response(&c->out, &shallow, &c->asked, &c->framing);
	if (err) {
		edge_h1_close(c, err);
		return;
	}
	edge_h1_post_flush(c);
	if (h->status == 101) {
		c->upgrade = false;
		edge_h1_go(c, H1C_TUNNEL);
		task_post(c->loop, &c->resume);
	} else if (c->upgrade) {
		c->upgrade = false;
		c->request_ended = true;
		half_end(&c->half, NULL);
	}
}

static void op_body(struct half *self, const uint8_t *p, size_t n)
{
	struct edge_h1 *c = edge_h1_of_half(self);

	if (c->state == H1C_CLOSED || !n)
		return;
	if (h1_write_body(&c->out, c->framing, p, n) < 0) {
		edge_h1_close(c, ADIT_ERR_NOMEM);
		return;
	}
	c->body_queued += n;
	edge_h1_post_flush(c);
}

static void op_end(struct half *self, const struct fields *trailers)
{
	struct edge_h1 *c = edge_h1_of_half(self);

	if (c->state == H1C_CLOSED)
		return;
	if (h1_write_end(&c->out, c->framing, trailers) < 0) {
		edge_h1_close(c, ADIT_ERR_NOMEM);
		return;
	}
	c->response_ended = true;
	edge_h1_post_flush(c);
	edge_h1_check_over(c);
}

static void op_credit(struct half *self, size_t n)
{
	struct edge_h1 *c = edge_h1_of_half(self);

	c->credit += n;
	if (!c->feeding && c->state != H1C_CLOSED)
		task_post(c->loop, &c->resume);
}

static void op_abort(struct half *self, int err)
{
	struct edge_h1 *c = edge_h1_of_half(self);

	if (c->state == H1C_CLOSED || c->state == H1C_LINGER)
		return;
	if (c->response_ended) {
		/* the rest of the request is not wanted; without a body there is none, and its end is on its way here */
		if (!c->bodyless || c->state == H1C_TUNNEL)
			edge_h1_linger(c);
		return;
	}
	c->cut = true;
	c->body_queued = 0;
	if (!c->response_begun)
		edge_h1_close(c, err);
	else
		edge_h1_post_flush(c);
}

const struct half_ops edge_h1_ops = {op_head, op_body, op_end, op_credit, op_abort};
