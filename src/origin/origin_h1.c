/* HTTP/1.1 to an origin.
 * A connection carries one exchange at a time, and is used again only when both messages of the last one ended
 * properly; a request is sent twice only if the origin closed a kept connection before its first response byte, and
 * the request is safe to repeat. Bytes that come on a kept connection before its next request has been sent answer
 * nothing: the connection goes, and the request to a new one.
 */
#include "origin/origin_int.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "http/forward.h"
#include "http/h1.h"
#include "origin/upgrade.h"

/** Pieces of one gathered write. */
#define WRITE_PIECES 16

/*
 *   (new) ──► DIALLING ──► BUSY ──────────────► TUNNEL ──► closed
 *                           │ ▲   101
 *          both ended, kept ▼ │ next request
 *                           IDLE ──► closed (by the origin, or after ORIGIN_IDLE_MS)
 */
enum origin_state { ORIGIN_NEW, ORIGIN_DIALLING, ORIGIN_BUSY, ORIGIN_TUNNEL, ORIGIN_IDLE, ORIGIN_CLOSED };

struct connection {
	struct half half;
	struct origin *origin;
	struct list node; /* in origin's idle or busy list */
	enum origin_state state;
	struct dial *dial;
	struct stream *stream;
	struct h1_parser *parser;
	/* the request */
	struct buf out;
	struct buf again;    /* the request as it was sent, while it may be repeated on a new connection */
	size_t body_queued;
	enum h1_framing framing;
	bool request_ended, repeatable;
	bool unsent;         /* on a kept connection, and not a byte of it is written */
	struct upgrade upgrade;
	/* the response */
	struct buf in;       /* read, not yet taken */
	size_t credit;
	bool feeding;
	bool unseen;         /* more may lie in the socket than the loop has told of: it was not read dry */
	bool response_started; /* its first byte has come */
	bool head_told;        /* the final head: from now on the peer's credit counts */
	bool response_ended, close_after;
	struct timer timer;
	struct task flush, resume, free;
};

struct origin_h1 {
	struct list idle, busy;
	unsigned idle_count;
};

static struct origin_h1 *state_of(const struct origin *o)
{
	return o->state;
}

static struct connection *of_half(struct half *h)
{
	return container_of(h, struct connection, half);
}

/* ---- the end */

static void release(void *arg)
{
	struct connection *c = arg;

	h1_free(&c->parser);
	buf_clear(&c->out);
	buf_clear(&c->again);
	buf_clear(&c->in);
	upgrade_clear(&c->upgrade);
	free(c);
}

static void close_why(struct connection *c, int err, const char *why)
{
	struct loop *l = c->origin->loop;

	if (c->state == ORIGIN_CLOSED)
		return;
	if (c->state == ORIGIN_IDLE)
		state_of(c->origin)->idle_count--;
	c->state = ORIGIN_CLOSED;
	c->origin->count--;
	list_remove(&c->node);
	timer_stop(&c->timer);
	task_cancel(l, &c->flush);
	task_cancel(l, &c->resume);
	dial_cancel(&c->dial);
	stream_free(&c->stream);
	half_abort_why(&c->half, err, why);
	task_post_free(l, &c->free);
}

static void close_now(struct connection *c, int err)
{
	close_why(c, err, NULL);
}

/* ---- writing the request */

static void flush(void *arg)
{
	struct connection *c = arg;
	struct iovec iov[WRITE_PIECES];

	c->unsent = false;
	while (c->stream && c->out.len) {
		int count = buf_iov(&c->out, iov, WRITE_PIECES);
		ssize_t n = stream_write(c->stream, iov, count);
		size_t back;

		if (n < 0) /* what the origin said before it closed is read first; its end tells */
			buf_clear(&c->out);
		if (n < 0 && c->response_ended)
			close_now(c, ADIT_ERR_ENOUGH);
		if (n <= 0)
			return;
		buf_drop(&c->out, (size_t)n);
		back = !c->out.len || (size_t)n > c->body_queued ? c->body_queued : (size_t)n;
		c->body_queued -= back;
		half_credit(&c->half, back);
	}
	if (c->state != ORIGIN_TUNNEL || !c->request_ended || c->out.len)
		return;
	if (c->response_ended)
		close_now(c, 0);
	else
		stream_finish(c->stream);
}

static void post_flush(struct connection *c)
{
	if (c->state != ORIGIN_CLOSED)
		task_post(c->origin->loop, &c->flush);
}

/* ---- between exchanges */

/* Whoever takes it again in this turn is not told before his request is written. */
static bool has_more(struct connection *c)
{
	uint8_t byte;

	return c->unseen && (stream_read(c->stream, &byte, 1) != ADIT_ERR_AGAIN || stream_holds(c->stream));
}

static void keep(struct connection *c)
{
	struct origin_h1 *o = state_of(c->origin);

	half_done(&c->half);
	if (c->close_after || c->in.len || o->idle_count >= ORIGIN_IDLE_MAX || !h1_idle(c->parser) || has_more(c)) {
		close_now(c, 0);
		return;
	}
	c->state = ORIGIN_IDLE;
	c->unseen = false;
	buf_clear(&c->again);
	list_remove(&c->node);
	/* the most recently used one is used next: the rest may grow old and close */
	list_insert_before(o->idle.next, &c->node);
	o->idle_count++;
	stream_pause(c->stream, false);
	timer_set(&c->timer, ORIGIN_IDLE_MS);
}

static void check_over(struct connection *c)
{
	if (c->state != ORIGIN_BUSY || !c->response_ended || !c->request_ended || c->out.len)
		return;
	h1_next(c->parser);
	keep(c);
}

/* ---- the response */

static int on_head(void *arg, struct head *h, bool bodyless)
{
	struct connection *c = arg;

	if (h->status == 101 && !upgrade_may_switch(&c->upgrade, h)) {
		close_now(c, ADIT_ERR_PROTO);
		return H1_PAUSE;
	}
	c->head_told = h->status == 101 || h->status >= 200;
	if (h->status == 101) {
		c->state = ORIGIN_TUNNEL;
		c->framing = H1_BODY_TUNNEL;
		bodyless = false;
	}
	/* once it was asked for another protocol, nobody else's request goes there */
	c->close_after = c->close_after || h->close || c->upgrade.protocol;
	forward_strip(&h->fields);
	half_head(&c->half, h, bodyless);
	if (h->status == 101 && c->state == ORIGIN_TUNNEL)
		half_credit(&c->half, ORIGIN_BUFFER);
	return H1_PAUSE; /* the body is fed by credit */
}

static int on_body(void *arg, const uint8_t *p, size_t n)
{
	struct connection *c = arg;

	c->credit -= n < c->credit ? n : c->credit;
	half_body(&c->half, p, n);
	return 0;
}

static int on_end(void *arg, const struct fields *trailers)
{
	struct connection *c = arg;

	c->response_ended = true;
	half_end(&c->half, trailers && trailers->n ? trailers : NULL);
	return 0;
}

static const struct h1_events parser_events = {on_head, on_body, on_end};

static size_t may_feed(const struct connection *c, size_t n)
{
	if (c->state == ORIGIN_BUSY && c->response_ended)
		return 0;
	if (c->state == ORIGIN_BUSY && !c->head_told)
		return n;
	if (c->state == ORIGIN_BUSY || c->state == ORIGIN_TUNNEL)
		return n < c->credit ? n : c->credit;
	return 0;
}

static size_t feed(struct connection *c, const uint8_t *p, size_t n)
{
	size_t done = 0, part;

	c->feeding = true;
	while ((part = may_feed(c, n - done)) > 0) {
		size_t used = 0;
		int err;

		if (c->state == ORIGIN_TUNNEL) {
			c->credit -= part;
			half_body(&c->half, p + done, part);
			done += part;
			continue;
		}
		err = h1_parse(c->parser, p + done, part, &used);
		done += used;
		if (err) {
			close_now(c, err);
			break;
		}
		if (!used)
			break;
	}
	c->feeding = false;
	return done;
}

/* A response without a body ends in the parser without another byte. */
static void settle_end(struct connection *c)
{
	size_t used;

	if (c->state == ORIGIN_BUSY && !c->response_ended && c->head_told) {
		int err = h1_parse(c->parser, (const uint8_t *)"", 0, &used);

		if (err)
			close_now(c, err);
	}
	check_over(c);
}

static void feed_held(void *arg)
{
	struct connection *c = arg;
	struct iovec v;

	settle_end(c);
	while (c->state != ORIGIN_CLOSED && buf_iov(&c->in, &v, 1) == 1) {
		size_t n = feed(c, v.iov_base, v.iov_len);

		if (c->state == ORIGIN_CLOSED)
			return;
		buf_drop(&c->in, n);
		settle_end(c);
		if (n < v.iov_len)
			return;
	}
	if (c->state != ORIGIN_CLOSED && c->stream)
		stream_pause(c->stream, false);
}

static void dial_origin(struct connection *c);

/* A kept connection that the origin was closing while we wrote, or before: the request goes to a new one. */
static bool repeat(struct connection *c)
{
	if (!c->unsent && (!c->repeatable || c->response_started || !c->again.len))
		return false;
	stream_free(&c->stream);
	if (!c->unsent) {
		buf_clear(&c->out);
		buf_splice(&c->out, &c->again);
	}
	c->repeatable = c->unsent = false;
	dial_origin(c);
	return true;
}

static void on_eof(struct connection *c, int err)
{
	if (c->state == ORIGIN_IDLE) {
		close_now(c, 0);
	} else if (c->state == ORIGIN_TUNNEL) {
		if (err != ADIT_ERR_EOF) {
			close_now(c, err);
			return;
		}
		c->response_ended = true;
		half_end(&c->half, NULL);
		if (c->request_ended && !c->out.len)
			close_now(c, 0);
	} else if (c->response_ended) {
		close_now(c, ADIT_ERR_ENOUGH);
	} else if (!repeat(c)) {
		bool started = c->response_started;
		int end = err == ADIT_ERR_EOF && started ? h1_eof(c->parser) : ADIT_ERR_INCOMPLETE;

		c->close_after = true;
		if (end < 0 || !c->response_ended)
			close_now(c, started ? ADIT_ERR_INCOMPLETE : ADIT_ERR_RESET);
		else
			close_now(c, c->request_ended ? 0 : ADIT_ERR_ENOUGH);
	}
}

static void on_readable(void *owner)
{
	struct connection *c = owner;
	struct loop *l = c->origin->loop;
	uint8_t *block = loop_borrow(l);
	ssize_t n = block ? stream_read(c->stream, block, HALF_READ) : ADIT_ERR_NOMEM;
	bool any = n > 0 || (n == ADIT_ERR_AGAIN && stream_holds(c->stream));

	if (any && c->state == ORIGIN_IDLE) {
		close_now(c, 0); /* bytes that answer nothing, or a part of a record that may bring some */
	} else if (any && c->unsent) {
		repeat(c); /* the same, and they came before we had looked */
	} else if (n > 0) {
		size_t done;

		c->response_started = true;
		c->unseen = n == HALF_READ || stream_holds(c->stream);
		done = feed(c, block, (size_t)n);
		if (c->state != ORIGIN_CLOSED && done < (size_t)n) {
			if (buf_add(&c->in, block + done, (size_t)n - done) < 0)
				close_now(c, ADIT_ERR_NOMEM);
			else
				stream_pause(c->stream, c->unseen = true);
		}
		settle_end(c);
	} else if (n != ADIT_ERR_AGAIN) {
		on_eof(c, (int)n);
	}
	loop_return(l, block);
}

static void on_writable(void *owner)
{
	flush(owner);
	check_over(owner);
}

static const struct stream_handler stream_handler = {on_readable, on_writable};

/* ---- connecting */

static void on_dialled(void *arg, struct stream *s, int err, const char *detail)
{
	struct connection *c = arg;

	c->dial = NULL;
	if (err) {
		close_why(c, origin_dial_error(err), origin_dial_why(err, detail));
		return;
	}
	c->stream = s;
	c->state = ORIGIN_BUSY;
	stream_own(s, &stream_handler, c);
	stream_pause(s, false);
	flush(c);
}

static void dial_origin(struct connection *c)
{
	c->state = ORIGIN_DIALLING;
	c->dial = origin_dial(c->origin, TLS_OFFER_HTTP1, on_dialled, c);
	if (!c->dial)
		close_now(c, ADIT_ERR_NOMEM);
}

/* ---- the peer speaks: the request */

static void op_head(struct half *self, const struct head *h, bool bodyless)
{
	struct connection *c = of_half(self);
	struct str method = head_get(h, HEAD_METHOD);
	bool fresh = c->state == ORIGIN_NEW;
	int err = upgrade_write_request(&c->upgrade, &c->out, h, &c->framing);
	struct iovec v;

	if (err) {
		close_now(c, err);
		return;
	}
	h1_expect(c->parser, method);
	c->repeatable = !fresh && bodyless && method_idempotent(method);
	if (c->repeatable && buf_iov(&c->out, &v, 1) == 1 && v.iov_len == c->out.len)
		buf_add(&c->again, v.iov_base, v.iov_len);
	if (fresh) {
		dial_origin(c);
	} else {
		c->state = ORIGIN_BUSY;
		c->unsent = true;
		post_flush(c);
	}
	/* behind an upgrade nothing goes before the 101: who refuses would take it for the next request */
	if (!bodyless && !c->upgrade.protocol && c->state != ORIGIN_CLOSED)
		half_credit(&c->half, ORIGIN_BUFFER);
}

static void op_body(struct half *self, const uint8_t *p, size_t n)
{
	struct connection *c = of_half(self);

	if (c->state == ORIGIN_CLOSED || !n)
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
	struct connection *c = of_half(self);
	int err;

	if (c->state == ORIGIN_CLOSED)
		return;
	err = c->framing == H1_BODY_NONE ? 0 : h1_write_end(&c->out, c->framing, trailers);
	if (err) {
		close_now(c, err);
		return;
	}
	c->request_ended = true;
	post_flush(c);
	if (c->state == ORIGIN_TUNNEL && c->response_ended && !c->out.len)
		close_now(c, 0);
	else if (c->response_ended)
		task_post(c->origin->loop, &c->resume);
}

static void op_credit(struct half *self, size_t n)
{
	struct connection *c = of_half(self);

	c->credit += n;
	if (!c->feeding && c->in.len)
		task_post(c->origin->loop, &c->resume);
}

static void op_abort(struct half *self, int err)
{
	struct connection *c = of_half(self);
	bool orderly = c->state == ORIGIN_TUNNEL ? err == ADIT_ERR_ENOUGH : c->request_ended;

	/* it is of no further use; a FIN would wait behind what the origin does not read, and after an upgrade it would
	 * be an orderly end */
	if (c->stream && !orderly)
		stream_spoil(c->stream);
	close_now(c, err);
}

static const struct half_ops half_ops = {op_head, op_body, op_end, op_credit, op_abort};

/* ---- life */

static void on_timer(void *arg)
{
	close_now(arg, 0);
}

static struct connection *connection_new(struct origin *o)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->parser = h1_new(H1_RESPONSE, &parser_events, c);
	if (!c->parser) {
		free(c);
		return NULL;
	}
	c->half.ops = &half_ops;
	c->origin = o;
	c->in.pool = c->out.pool = c->again.pool = loop_pool(o->loop);
	list_init(&c->node);
	c->flush = (struct task){.run = flush, .arg = c};
	c->resume = (struct task){.run = feed_held, .arg = c};
	c->free = (struct task){.run = release, .arg = c};
	timer_init(&c->timer, o->loop, on_timer, c);
	o->count++;
	return c;
}

static struct half *h1_half(struct origin *origin, int *err)
{
	struct origin_h1 *o = state_of(origin);
	struct connection *c;

	if (!list_empty(&o->idle)) {
		c = container_of(o->idle.next, struct connection, node);
		list_remove(&c->node);
		o->idle_count--;
		timer_clear(&c->timer);
		c->request_ended = c->response_started = c->head_told = c->response_ended = c->close_after = false;
		c->credit = 0;
		c->state = ORIGIN_BUSY;
	} else {
		*err = origin->count >= ORIGIN_CONNECTIONS_MAX ? ADIT_ERR_LIMIT : ADIT_ERR_NOMEM;
		c = origin->count < ORIGIN_CONNECTIONS_MAX ? connection_new(origin) : NULL;
		if (!c)
			return NULL;
	}
	list_append(&o->busy, &c->node);
	return &c->half;
}

static int h1_open(struct origin *origin)
{
	struct origin_h1 *o = calloc(1, sizeof(*o));

	if (!o)
		return ADIT_ERR_NOMEM;
	list_init(&o->idle);
	list_init(&o->busy);
	origin->state = o;
	return 0;
}

static void h1_close(struct origin *origin)
{
	struct origin_h1 *o = state_of(origin);

	while (!list_empty(&o->idle))
		close_now(container_of(o->idle.next, struct connection, node), 0);
	while (!list_empty(&o->busy))
		close_now(container_of(o->busy.next, struct connection, node), ADIT_ERR_SHUTDOWN);
	free(o);
}

const struct origin_kind origin_h1 = {h1_open, h1_close, h1_half};
