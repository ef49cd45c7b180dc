#include "edge/edge_h1.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "http/h1.h"
#include "http/page.h"

/** Pieces of one gathered write. */
#define WRITE_PIECES 16

enum edge_h1_state { H1C_IDLE, H1C_HEAD, H1C_EXCHANGE, H1C_TUNNEL, H1C_SWITCHED, H1C_LINGER, H1C_CLOSED };

struct edge_h1 {
	struct half half;
	struct loop *loop;
	struct stream *stream;
	const struct edge_h1_events *events;
	void *owner;
	struct list node;
	enum edge_h1_state state;
	struct h1_parser *parser;
	/* the request */
	struct buf in;        /* read, not yet taken: reading pauses while there is any */
	size_t credit;        /* body bytes the peer takes now */
	bool feeding;         /* in the middle of feed(): it sees new credit itself */
	bool upgrade;         /* asked for, not yet answered: further bytes are held */
	bool request_ended;
	/* the response */
	struct buf out;
	size_t body_queued;   /* body bytes among `out`, for which the peer has not got its credit back */
	struct h1_asked asked;
	enum h1_framing framing;
	bool response_begun, response_ended;
	bool close_after;     /* no request after this one */
	bool cut;             /* when `out` is written, close without a proper end */
	bool draining;
	uint64_t linger_until;
	struct timer timer;
	struct task flush, resume, free, hand_over;
	edge_h1_switched_fn *switched;
	void *switched_arg;
};

static void go(struct edge_h1 *c, enum edge_h1_state to);
static void feed_held(void *arg);

static struct edge_h1 *of_half(struct half *h)
{
	return container_of(h, struct edge_h1, half);
}

/* ---- deadlines: one timer, set by what is being waited for */

static void set_deadline(struct edge_h1 *c)
{
	if (c->out.len)
		timer_set(&c->timer, EDGE_H1_STALL_MS);
	else if (c->state == H1C_IDLE)
		timer_set(&c->timer, EDGE_H1_IDLE_MS);
	else if (c->state == H1C_EXCHANGE && !c->request_ended && !c->response_begun && c->credit && !c->upgrade)
		timer_set(&c->timer, EDGE_H1_BODY_MS);
	else if (c->state != H1C_HEAD && c->state != H1C_LINGER)
		timer_clear(&c->timer);
}

/* ---- the end */

static void release(void *arg)
{
	struct edge_h1 *c = arg;

	h1_free(&c->parser);
	buf_clear(&c->in);
	buf_clear(&c->out);
	free(c);
}

static void stop(struct edge_h1 *c)
{
	timer_stop(&c->timer);
	task_cancel(c->loop, &c->flush);
	task_cancel(c->loop, &c->resume);
	task_cancel(c->loop, &c->hand_over);
	stream_free(&c->stream);
	c->state = H1C_CLOSED;
	task_post_free(c->loop, &c->free);
}

static void close_now(struct edge_h1 *c, int err)
{
	if (c->state == H1C_CLOSED)
		return;
	stop(c);
	half_abort(&c->half, err);
	list_remove(&c->node);
	c->events->closed(c->owner, c);
}

void edge_h1_free(struct edge_h1 **cp)
{
	struct edge_h1 *c = *cp;

	*cp = NULL;
	if (!c || c->state == H1C_CLOSED)
		return;
	stop(c);
	half_abort(&c->half, ADIT_ERR_SHUTDOWN);
	list_remove(&c->node);
}

/* All is written: what next? */
static void written(struct edge_h1 *c)
{
	if (c->cut) {
		/* without a length only an error tells the visitor that the body is not complete */
		if (c->framing == H1_BODY_CLOSE)
			stream_spoil(c->stream);
		close_now(c, ADIT_ERR_INCOMPLETE);
	} else if (c->state == H1C_LINGER) {
		stream_finish(c->stream);
	} else if (c->state == H1C_TUNNEL && c->response_ended) {
		stream_finish(c->stream);
		if (c->request_ended)
			close_now(c, 0);
	}
}

static void flush(void *arg)
{
	struct edge_h1 *c = arg;
	struct iovec iov[WRITE_PIECES];

	while (c->out.len) {
		int count = buf_iov(&c->out, iov, WRITE_PIECES);
		ssize_t n = stream_write(c->stream, iov, count);
		size_t back;

		if (n < 0) {
			close_now(c, ADIT_ERR_ABANDONED);
			return;
		}
		if (n == 0)
			break;
		buf_drop(&c->out, (size_t)n);
		back = !c->out.len || (size_t)n > c->body_queued ? c->body_queued : (size_t)n;
		c->body_queued -= back;
		half_credit(&c->half, back);
		if (c->state == H1C_CLOSED)
			return;
	}
	if (!c->out.len)
		written(c);
	if (c->state != H1C_CLOSED)
		set_deadline(c);
}

static void post_flush(struct edge_h1 *c)
{
	if (c->state != H1C_CLOSED)
		task_post(c->loop, &c->flush);
}

/* ---- after a message */

/* Reads on only to let our last word arrive. */
static void linger(struct edge_h1 *c)
{
	half_abort(&c->half, ADIT_ERR_ENOUGH);
	buf_clear(&c->in);
	c->state = H1C_LINGER;
	c->linger_until = loop_ms(c->loop) + EDGE_H1_LINGER_TOTAL_MS;
	timer_set(&c->timer, EDGE_H1_LINGER_MS);
	stream_pause(c->stream, false);
	post_flush(c);
}

static void message_over(struct edge_h1 *c)
{
	half_done(&c->half);
	if (c->close_after || c->draining || c->framing == H1_BODY_CLOSE) {
		linger(c);
		return;
	}
	h1_next(c->parser);
	go(c, H1C_IDLE);
	if (c->in.len)
		task_post(c->loop, &c->resume);
}

static void check_over(struct edge_h1 *c)
{
	if (c->state == H1C_EXCHANGE && c->request_ended && c->response_ended)
		message_over(c);
}

static void go(struct edge_h1 *c, enum edge_h1_state to)
{
	c->state = to;
	if (to == H1C_IDLE) {
		c->request_ended = c->response_begun = c->response_ended = c->upgrade = false;
		c->credit = 0;
	}
	if (to == H1C_HEAD)
		timer_set(&c->timer, EDGE_H1_HEAD_MS);
	else
		set_deadline(c);
}

/* A request that cannot be one: an answer of our own, and the connection ends. */
static void refuse(struct edge_h1 *c, int err)
{
	struct page *p = malloc(sizeof(*p));
	struct h1_asked asked = {.minor = 1, .keep = false};
	enum h1_framing framing;

	if (c->events->refused)
		c->events->refused(c->owner, c, err);
	if (p && !c->response_begun && page_error(p, err, PAGE_HOP_SERVER, h1_error_detail(c->parser), STR("")) == 0) {
		if (h1_write_response(&c->out, &p->head, &asked, &framing) == 0)
			h1_write_body(&c->out, framing, (const uint8_t *)p->body, p->len);
		page_free(p);
		c->response_begun = c->response_ended = true;
		half_abort(&c->half, err);
		linger(c);
	} else {
		close_now(c, err);
	}
	free(p);
}

/* ---- the peer speaks: the response */

static void op_head(struct half *self, const struct head *h, bool bodyless)
{
	struct edge_h1 *c = of_half(self);
	struct head shallow = *h;
	int err;

	if (c->state != H1C_EXCHANGE || c->response_begun)
		return;
	if (h->status != 101 && h->status < 200) {
		enum h1_framing none;

		if (h1_write_response(&c->out, h, &c->asked, &none) < 0)
			close_now(c, ADIT_ERR_NOMEM);
		else
			post_flush(c);
		return;
	}
	c->response_begun = true;
	if (bodyless && shallow.length == HEAD_LENGTH_UNKNOWN && !c->asked.was_head && h->status != 304)
		shallow.length = 0;
	if (c->upgrade && h->status != 101) /* refused: what the visitor sent behind its request is not HTTP for sure */
		c->close_after = true;
	c->asked.keep = !c->close_after && !c->draining;
	err = h1_write_response(&c->out, &shallow, &c->asked, &c->framing);
	if (err) {
		close_now(c, err);
		return;
	}
	post_flush(c);
	if (h->status == 101) {
		c->upgrade = false;
		go(c, H1C_TUNNEL);
		task_post(c->loop, &c->resume);
	} else if (c->upgrade) {
		c->upgrade = false;
		c->request_ended = true;
		half_end(&c->half, NULL);
	}
}

static void op_body(struct half *self, const uint8_t *p, size_t n)
{
	struct edge_h1 *c = of_half(self);

	if (c->state == H1C_CLOSED || !n)
		return;
	if (h1_write_body(&c->out, c->framing, p, n) < 0) {
		close_now(c, ADIT_ERR_NOMEM);
		return;
	}
	c->body_queued += n;
	post_flush(c);
}

static void op_end(struct half *self, const struct fields *trailers)
{
	struct edge_h1 *c = of_half(self);

	if (c->state == H1C_CLOSED)
		return;
	if (h1_write_end(&c->out, c->framing, trailers) < 0) {
		close_now(c, ADIT_ERR_NOMEM);
		return;
	}
	c->response_ended = true;
	post_flush(c);
	check_over(c);
}

static void op_credit(struct half *self, size_t n)
{
	struct edge_h1 *c = of_half(self);

	c->credit += n;
	if (!c->feeding && c->state != H1C_CLOSED)
		task_post(c->loop, &c->resume);
}

static void op_abort(struct half *self, int err)
{
	struct edge_h1 *c = of_half(self);

	(void)err;
	if (c->state == H1C_CLOSED || c->state == H1C_LINGER)
		return;
	if (c->response_ended) { /* the rest of the request is not wanted */
		linger(c);
		return;
	}
	c->cut = true;
	c->body_queued = 0;
	if (!c->response_begun)
		close_now(c, err);
	else
		post_flush(c);
}

static const struct half_ops half_ops = {op_head, op_body, op_end, op_credit, op_abort};

/* ---- the visitor speaks: the request */

static int on_head(void *arg, struct head *h, bool bodyless)
{
	struct edge_h1 *c = arg;
	struct str method = head_get(h, HEAD_METHOD);

	c->asked.was_head = str_eq(method, STR("HEAD"));
	c->asked.was_connect = str_eq(method, STR("CONNECT"));
	c->asked.minor = h->minor;
	c->close_after = h->close;
	c->upgrade = head_get(h, HEAD_PROTOCOL).n > 0;
	c->framing = H1_BODY_NONE;
	go(c, H1C_EXCHANGE);
	head_set(h, HEAD_SCHEME, c->stream->tls ? STR("https") : STR("http"));
	c->events->request(c->owner, c, h, bodyless && !c->upgrade);
	if (c->state == H1C_EXCHANGE && !c->half.peer && !c->response_begun)
		close_now(c, ADIT_ERR_NOMEM);
	else if (c->state == H1C_EXCHANGE)
		half_credit(&c->half, EDGE_H1_BUFFER);
	return H1_PAUSE; /* the body is fed by credit */
}

static int on_body(void *arg, const uint8_t *p, size_t n)
{
	struct edge_h1 *c = arg;

	c->credit -= n < c->credit ? n : c->credit;
	half_body(&c->half, p, n);
	return 0;
}

static int on_end(void *arg, const struct fields *trailers)
{
	struct edge_h1 *c = arg;

	if (c->upgrade || c->state == H1C_SWITCHED)
		return 0;
	c->request_ended = true;
	half_end(&c->half, trailers && trailers->n ? trailers : NULL);
	return 0;
}

static const struct h1_events parser_events = {on_head, on_body, on_end};

/* How many of `n` waiting bytes may be fed now. */
static size_t may_feed(const struct edge_h1 *c, size_t n)
{
	switch (c->state) {
	case H1C_IDLE:
	case H1C_HEAD:
		return n;
	case H1C_EXCHANGE:
		if (c->upgrade || c->request_ended)
			return 0;
		/* the end of a message costs no credit, but without credit it is not looked for */
		return n < c->credit ? n : c->credit;
	case H1C_TUNNEL:
		return n < c->credit ? n : c->credit;
	default:
		return 0;
	}
}

static size_t feed_tunnel(struct edge_h1 *c, const uint8_t *p, size_t n)
{
	c->credit -= n;
	half_body(&c->half, p, n);
	return n;
}

/* Feeds what may be fed; returns how much that was. */
static size_t feed(struct edge_h1 *c, const uint8_t *p, size_t n)
{
	size_t done = 0, part;

	c->feeding = true;
	while ((part = may_feed(c, n - done)) > 0) {
		size_t used = 0;
		int err = 0;

		if (c->state == H1C_TUNNEL) {
			done += feed_tunnel(c, p + done, part);
			continue;
		}
		if (c->state == H1C_IDLE)
			go(c, H1C_HEAD);
		err = h1_parse(c->parser, p + done, part, &used);
		done += used;
		if (err) {
			refuse(c, err);
			break;
		}
		if (c->state == H1C_HEAD && h1_idle(c->parser)) /* an empty line before a request */
			go(c, H1C_IDLE);
		check_over(c);
		if (!used && (c->state == H1C_EXCHANGE || c->state == H1C_HEAD))
			break;
	}
	c->feeding = false;
	return done;
}

/* A request without a body ends in the parser without another byte. */
static void settle_end(struct edge_h1 *c)
{
	size_t used;

	if (c->state == H1C_EXCHANGE && !c->request_ended && !c->upgrade) {
		int err = h1_parse(c->parser, (const uint8_t *)"", 0, &used);

		if (err)
			refuse(c, err);
		check_over(c);
	}
}

static void hold(struct edge_h1 *c, const uint8_t *p, size_t n)
{
	if (c->state == H1C_LINGER || c->state == H1C_CLOSED || !n)
		return;
	if (buf_add(&c->in, p, n) < 0) {
		close_now(c, ADIT_ERR_NOMEM);
		return;
	}
	stream_pause(c->stream, true);
}

/* Feeds what was held back. */
static void feed_held(void *arg)
{
	struct edge_h1 *c = arg;
	struct iovec v;

	settle_end(c);
	while (c->state != H1C_CLOSED && buf_iov(&c->in, &v, 1) == 1) {
		size_t n = feed(c, v.iov_base, v.iov_len);

		settle_end(c);
		if (c->state == H1C_LINGER || c->state == H1C_CLOSED)
			return;
		buf_drop(&c->in, n);
		if (n < v.iov_len)
			return;
	}
	if (c->state != H1C_CLOSED && c->state != H1C_SWITCHED) {
		stream_pause(c->stream, false);
		set_deadline(c);
	}
}

static void on_eof(struct edge_h1 *c, int err)
{
	if (c->state == H1C_TUNNEL && err == ADIT_ERR_EOF && !c->request_ended) {
		c->request_ended = true;
		half_end(&c->half, NULL);
		if (c->response_ended && !c->out.len)
			close_now(c, 0);
		return;
	}
	close_now(c, ADIT_ERR_ABANDONED);
}

static void on_readable(void *owner)
{
	struct edge_h1 *c = owner;
	uint8_t *block = loop_borrow(c->loop);
	ssize_t n = block ? stream_read(c->stream, block, HALF_READ) : ADIT_ERR_NOMEM;

	if (n > 0 && c->state != H1C_LINGER) {
		size_t done = feed(c, block, (size_t)n);

		settle_end(c);
		hold(c, block + done, (size_t)n - done);
		if (c->state != H1C_CLOSED)
			set_deadline(c);
	} else if (n > 0) {
		if (loop_ms(c->loop) < c->linger_until)
			timer_set(&c->timer, EDGE_H1_LINGER_MS);
	} else if (n != ADIT_ERR_AGAIN) {
		on_eof(c, (int)n);
	}
	loop_return(c->loop, block);
}

static void on_writable(void *owner)
{
	flush(owner);
}

static const struct stream_handler stream_handler = {on_readable, on_writable};

static void on_timer(void *arg)
{
	struct edge_h1 *c = arg;

	if (c->state == H1C_HEAD || (c->state == H1C_EXCHANGE && !c->response_begun && !c->out.len))
		refuse(c, ADIT_ERR_SLOW);
	else
		close_now(c, ADIT_ERR_SLOW);
}

/* ---- becoming a carrier */

static void hand_over(void *arg)
{
	struct edge_h1 *c = arg;
	struct stream *s = c->stream;

	c->stream = NULL;
	stream_pause(s, true);
	stream_own(s, NULL, NULL);
	stop(c);
	list_remove(&c->node);
	c->events->closed(c->owner, c);
	c->switched(c->switched_arg, s, &c->out, &c->in);
}

void edge_h1_switch(struct edge_h1 *c, const struct head *h, edge_h1_switched_fn *fn, void *arg)
{
	enum h1_framing framing;

	c->switched = fn;
	c->switched_arg = arg;
	if (h1_write_response(&c->out, h, &c->asked, &framing) < 0) {
		close_now(c, ADIT_ERR_NOMEM);
		return;
	}
	c->state = H1C_SWITCHED;
	timer_clear(&c->timer);
	task_post(c->loop, &c->hand_over);
}

/* ---- life */

struct edge_h1 *edge_h1_new(struct loop *l, struct stream *s, const struct edge_h1_events *events, void *owner)
{
	struct edge_h1 *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->parser = h1_new(H1_REQUEST, &parser_events, c);
	if (!c->parser) {
		free(c);
		return NULL;
	}
	c->half.ops = &half_ops;
	c->loop = l;
	c->stream = s;
	c->events = events;
	c->owner = owner;
	list_init(&c->node);
	c->flush = (struct task){.run = flush, .arg = c};
	c->resume = (struct task){.run = feed_held, .arg = c};
	c->free = (struct task){.run = release, .arg = c};
	c->hand_over = (struct task){.run = hand_over, .arg = c};
	timer_init(&c->timer, l, on_timer, c);
	timer_set(&c->timer, EDGE_H1_HEAD_MS);
	stream_own(s, &stream_handler, c);
	stream_pause(s, false);
	return c;
}

void edge_h1_drain(struct edge_h1 *c)
{
	c->draining = true;
	if (c->state == H1C_IDLE && !c->in.len)
		close_now(c, ADIT_ERR_SHUTDOWN);
}

struct half *edge_h1_half(struct edge_h1 *c)
{
	return &c->half;
}

const struct stream *edge_h1_stream(const struct edge_h1 *c)
{
	return c->stream;
}

struct list *edge_h1_node(struct edge_h1 *c)
{
	return &c->node;
}

struct edge_h1 *edge_h1_of_node(struct list *node)
{
	return container_of(node, struct edge_h1, node);
}
