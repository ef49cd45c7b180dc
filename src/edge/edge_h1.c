#include "edge/edge_h1.h"

#include <stdlib.h>

#include "base/digest.h"
#include "base/err.h"
#include "edge/edge_h1_int.h"

static void feed_held(void *arg);

/* ---- deadlines: one timer, set by what is being waited for */

static enum edge_h1_wait waits_for(const struct edge_h1 *c)
{
	/* after a response that is complete, or without any, the rest of the request is all that keeps the exchange */
	bool body = !c->request_ended && !c->upgrade && c->credit && (!c->response_begun || c->response_ended);

	if (c->state == H1C_CLOSED || c->state == H1C_SWITCHED)
		return H1C_WAIT_NONE;
	if (c->out.len)
		return H1C_WAIT_STALL;
	switch (c->state) {
	case H1C_IDLE:
		return H1C_WAIT_IDLE;
	case H1C_HEAD:
		return H1C_WAIT_HEAD;
	case H1C_EXCHANGE:
	case H1C_TUNNEL:
		return body && c->state == H1C_EXCHANGE ? H1C_WAIT_BODY : c->in.len ? H1C_WAIT_HELD : H1C_WAIT_NONE;
	case H1C_LINGER:
		return H1C_WAIT_LINGER;
	default:
		return H1C_WAIT_NONE;
	}
}

void edge_h1_watch(struct edge_h1 *c, bool progress)
{
	static const uint32_t ms[] = {
		[H1C_WAIT_NONE] = 0,
		[H1C_WAIT_IDLE] = EDGE_H1_IDLE_MS,
		[H1C_WAIT_HEAD] = EDGE_H1_HEAD_MS,
		[H1C_WAIT_BODY] = EDGE_H1_BODY_MS,
		[H1C_WAIT_HELD] = EDGE_H1_HELD_MS,
		[H1C_WAIT_STALL] = EDGE_H1_STALL_MS,
		[H1C_WAIT_LINGER] = EDGE_H1_LINGER_MS,
	};
	enum edge_h1_wait wait = waits_for(c);

	if (wait == c->wait && !progress)
		return;
	if (wait == H1C_WAIT_LINGER && wait != c->wait) {
		c->unsent_seen = 0;
		c->unsent_since = loop_ms(c->loop);
		c->linger_until = c->unsent_since + EDGE_H1_LINGER_TOTAL_MS;
	}
	if (wait == H1C_WAIT_STALL)
		c->stalled_since = loop_ms(c->loop);
	c->wait = wait;
	c->body_came = 0;
	if (wait == H1C_WAIT_NONE)
		timer_clear(&c->timer);
	else
		timer_set(&c->timer, ms[wait]);
}

/* Does what has just been read put the deadline off? A head's is absolute; sending excuses nobody from reading. */
static bool counts(const struct edge_h1 *c)
{
	if (c->wait == H1C_WAIT_BODY)
		return c->body_came >= EDGE_H1_BODY_MIN;
	return c->wait == H1C_WAIT_LINGER && loop_ms(c->loop) < c->linger_until;
}

/* ---- the end */

static void release(void *arg)
{
	struct edge_h1 *c = arg;

	h1_free(&c->parser);
	buf_wipe(&c->in);
	buf_clear(&c->out);
	free(c);
}

static void stop(struct edge_h1 *c)
{
	if (c->state == H1C_SWITCHED && c->stream) /* it ends before it was handed over */
		c->switched(c->switched_arg, NULL, &c->out, &c->in);
	timer_stop(&c->timer);
	task_cancel(c->loop, &c->flush);
	task_cancel(c->loop, &c->resume);
	task_cancel(c->loop, &c->hand_over);
	stream_free(&c->stream);
	c->state = H1C_CLOSED;
	task_post_free(c->loop, &c->free);
}

void edge_h1_close(struct edge_h1 *c, int err)
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

/* ---- after a message */

void edge_h1_linger(struct edge_h1 *c)
{
	half_abort(&c->half, ADIT_ERR_ENOUGH);
	if (!c->feeding) /* else it may be what the parser reads right now */
		buf_wipe(&c->in);
	edge_h1_go(c, H1C_LINGER);
	stream_pause(c->stream, false);
	edge_h1_post_flush(c);
}

static void message_over(struct edge_h1 *c)
{
	half_done(&c->half);
	/* a response that did not say so must not be the last one while another request may be on its way */
	if (c->close_after || (c->draining >= EDGE_DRAIN_IDLE && !c->carries) || c->framing == H1_BODY_CLOSE) {
		edge_h1_linger(c);
		return;
	}
	h1_next(c->parser);
	edge_h1_go(c, H1C_IDLE);
	if (c->in.len)
		task_post_fair(c->loop, LOOP_FAIR_REQUEST, &c->resume);
}

void edge_h1_check_over(struct edge_h1 *c)
{
	if (c->state == H1C_EXCHANGE && c->request_ended && c->response_ended)
		message_over(c);
}

void edge_h1_go(struct edge_h1 *c, enum edge_h1_state to)
{
	c->state = to;
	if (to == H1C_IDLE) {
		c->request_ended = c->response_begun = c->response_ended = c->upgrade = c->bodyless = false;
		c->credit = 0;
		c->idle_since = loop_ms(c->loop);
	}
	edge_h1_watch(c, true);
}

/* ---- the visitor speaks: the request */

static int on_head(void *arg, struct head *h, bool bodyless)
{
	struct edge_h1 *c = arg;
	struct str method = head_get(h, HEAD_METHOD);

	c->asked.was_head = str_eq(method, STR("HEAD"));
	c->asked.was_connect = str_eq(method, STR("CONNECT"));
	c->asked.minor = h->minor;
	c->close_after = h->close;
	c->carries = false;
	c->upgrade = head_get(h, HEAD_PROTOCOL).n > 0;
	c->bodyless = bodyless && !c->upgrade;
	c->framing = H1_BODY_NONE;
	edge_h1_go(c, H1C_EXCHANGE);
	if (c->asked.was_connect) { /* no message ever ends on such a connection, and nobody here is a proxy */
		edge_h1_refuse(c, ADIT_ERR_BAD_METHOD, "CONNECT is not offered here");
		return H1_PAUSE;
	}
	head_set(h, HEAD_SCHEME, c->stream->tls ? STR("https") : STR("http"));
	c->events->request(c->owner, c, h, c->bodyless);
	if (c->state == H1C_EXCHANGE && !c->half.peer && !c->response_begun)
		edge_h1_close(c, ADIT_ERR_NOMEM);
	else if (c->state == H1C_EXCHANGE)
		half_credit(&c->half, EDGE_H1_BUFFER);
	return H1_PAUSE; /* the body is fed by credit */
}

static int on_body(void *arg, const uint8_t *p, size_t n)
{
	struct edge_h1 *c = arg;

	c->credit -= n < c->credit ? n : c->credit;
	c->body_came += n;
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
		return edge_h1_unread(c) ? 0 : n;
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

/* Feeds what may be fed, of one request; returns how much that was. Some hundred may have been sent ahead, whose
 * answers are ours: each has its turn. */
static size_t feed(struct edge_h1 *c, const uint8_t *p, size_t n)
{
	size_t done = 0, part;

	c->feeding = true;
	while ((part = may_feed(c, n - done)) > 0) {
		bool exchange = c->state == H1C_EXCHANGE;
		size_t used = 0;
		int err = 0;

		if (c->state == H1C_TUNNEL) {
			done += feed_tunnel(c, p + done, part);
			continue;
		}
		if (c->state == H1C_IDLE)
			edge_h1_go(c, H1C_HEAD);
		err = h1_parse(c->parser, p + done, part, &used);
		done += used;
		if (err) {
			edge_h1_refuse(c, err, h1_error_detail(c->parser));
			break;
		}
		if (c->state == H1C_HEAD && h1_idle(c->parser)) /* an empty line before a request */
			edge_h1_go(c, H1C_IDLE);
		edge_h1_check_over(c);
		if ((exchange && c->state == H1C_IDLE) || (!used && (c->state == H1C_EXCHANGE || c->state == H1C_HEAD)))
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
			edge_h1_refuse(c, err, h1_error_detail(c->parser));
		edge_h1_check_over(c);
	}
}

static void hold(struct edge_h1 *c, const uint8_t *p, size_t n)
{
	if (c->state == H1C_LINGER || c->state == H1C_CLOSED || !n)
		return;
	if (buf_add(&c->in, p, n) < 0) {
		edge_h1_close(c, ADIT_ERR_NOMEM);
		return;
	}
	stream_pause(c->stream, true);
	if (c->state == H1C_IDLE) /* what came before it is answered already */
		task_post_fair(c->loop, LOOP_FAIR_REQUEST, &c->resume);
}

/* What was read goes; so does the beginning of a head, of which nobody knows yet what is in it, and what stands behind
 * a whole request. */
static void forget(struct edge_h1 *c, void *p, size_t n, bool more)
{
	bool behind = more && (c->request_ended || c->state == H1C_IDLE);

	if (c->secret || c->state == H1C_HEAD || behind)
		secret_wipe(p, n);
	c->secret = false;
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
		forget(c, v.iov_base, n, false);
		if (c->state == H1C_LINGER)
			buf_wipe(&c->in);
		if (c->state == H1C_LINGER || c->state == H1C_CLOSED)
			return;
		buf_drop(&c->in, n);
		if (n < v.iov_len || (c->state == H1C_IDLE && c->in.len))
			return;
	}
	if (c->state != H1C_CLOSED && c->state != H1C_SWITCHED) {
		stream_pause(c->stream, false);
		edge_h1_watch(c, counts(c));
	}
}

static void on_eof(struct edge_h1 *c, int err)
{
	if (err == ADIT_ERR_EOF && c->state == H1C_TUNNEL) {
		if (c->request_ended)
			return;
		c->request_ended = true;
		half_end(&c->half, NULL);
		if (c->state == H1C_TUNNEL && c->response_ended && !c->out.len)
			edge_h1_tunnel_over(c);
	} else if (err == ADIT_ERR_EOF && c->state == H1C_LINGER && (c->out.len || stream_unsent(c->stream))) {
		return; /* he has said all; our last word is still on its way */
	} else {
		edge_h1_close(c, c->response_ended ? ADIT_ERR_ENOUGH : ADIT_ERR_ABANDONED);
	}
}

static void on_readable(void *owner)
{
	struct edge_h1 *c = owner;
	uint8_t *block = loop_borrow(c->loop);
	ssize_t n = block ? stream_read(c->stream, block, LOOP_BLOCK) : ADIT_ERR_NOMEM;

	if (n > 0 && c->state != H1C_LINGER) {
		size_t done = feed(c, block, (size_t)n);

		settle_end(c);
		hold(c, block + done, (size_t)n - done);
		forget(c, block, (size_t)n, done < (size_t)n);
		if (c->state != H1C_CLOSED)
			edge_h1_watch(c, counts(c));
	} else if (n > 0) {
		secret_wipe(block, (size_t)n); /* nobody looks at it */
		edge_h1_watch(c, counts(c));
	} else if (n != ADIT_ERR_AGAIN) {
		on_eof(c, (int)n);
	}
	loop_return(c->loop, block);
}

static void on_writable(void *owner)
{
	edge_h1_flush(owner);
}

static const struct stream_handler stream_handler = {on_readable, on_writable};

/* TLS may hold our last word after all of it is written, and does not tell when it has gone. */
static bool last_word_moves(struct edge_h1 *c)
{
	size_t unsent = stream_unsent(c->stream);

	if (unsent != c->unsent_seen)
		c->unsent_since = loop_ms(c->loop);
	c->unsent_seen = unsent;
	return unsent && loop_ms(c->loop) - c->unsent_since < EDGE_H1_STALL_MS;
}

/* What he has sent stands before his end, and nobody takes it: has he gone? An upgraded stream's directions end one
 * by one, so there only a reset says so. */
static void look_for_end(struct edge_h1 *c)
{
	int err = stream_ended(c->stream);

	if (err && (err != ADIT_ERR_EOF || c->state != H1C_TUNNEL))
		edge_h1_close(c, c->response_ended ? ADIT_ERR_ENOUGH : ADIT_ERR_ABANDONED);
	else
		timer_set(&c->timer, EDGE_H1_HELD_MS);
}

/* RST: what the kernel holds for him goes as well, and a body without a length does not look complete. */
static void cut(struct edge_h1 *c, int err)
{
	stream_spoil(c->stream);
	edge_h1_close(c, err);
}

static void on_timer(void *arg)
{
	struct edge_h1 *c = arg;

	if (c->wait == H1C_WAIT_HELD)
		look_for_end(c);
	else if (c->wait == H1C_WAIT_LINGER && last_word_moves(c))
		timer_set(&c->timer, EDGE_H1_LINGER_MS);
	else if (c->wait == H1C_WAIT_HEAD || (c->wait == H1C_WAIT_BODY && !c->response_begun))
		edge_h1_refuse(c, ADIT_ERR_SLOW, "");
	else if (c->wait == H1C_WAIT_IDLE && stream_unsent(c->stream))
		edge_h1_linger(c);
	else if (c->wait == H1C_WAIT_STALL)
		cut(c, ADIT_ERR_SLOW);
	else
		edge_h1_close(c, ADIT_ERR_SLOW);
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
		edge_h1_close(c, ADIT_ERR_NOMEM);
		return;
	}
	edge_h1_go(c, H1C_SWITCHED);
	task_post(c->loop, &c->hand_over);
}

/* ---- life */

struct edge_h1 *edge_h1_new(struct loop *l, struct stream *s, struct buf *first, const struct edge_h1_events *events,
                            void *owner)
{
	struct edge_h1 *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->parser = h1_new(H1_REQUEST, &parser_events, c);
	if (!c->parser) {
		free(c);
		return NULL;
	}
	c->half.ops = &edge_h1_ops;
	c->loop = l;
	c->in.pool = c->out.pool = loop_pool(l);
	c->stream = s;
	c->events = events;
	c->owner = owner;
	list_init(&c->node);
	c->flush = (struct task){.run = edge_h1_flush, .arg = c};
	c->resume = (struct task){.run = feed_held, .arg = c};
	c->free = (struct task){.run = release, .arg = c};
	c->hand_over = (struct task){.run = hand_over, .arg = c};
	timer_init(&c->timer, l, on_timer, c);
	c->wait = H1C_WAIT_IDLE;
	c->idle_since = loop_ms(l);
	timer_set(&c->timer, EDGE_H1_HEAD_MS); /* shorter than between requests; a TLS handshake is in it */
	stream_own(s, &stream_handler, c);
	if (first && first->len) {
		buf_splice(&c->in, first);
		task_post(l, &c->resume);
	} else {
		stream_pause(s, false);
	}
	return c;
}

void edge_h1_carry(struct edge_h1 *c)
{
	c->carries = c->links = true;
}

void edge_h1_secret(struct edge_h1 *c)
{
	c->secret = true;
}

static bool is_between(const struct edge_h1 *c)
{
	bool between = c->state == H1C_IDLE || c->state == H1C_HEAD;

	return between && !c->out.len && !c->in.len && !stream_unsent(c->stream);
}

void edge_h1_drain(struct edge_h1 *c, enum edge_drain how)
{
	c->draining = how;
	c->carries = c->carries && how < EDGE_DRAIN_ALL;
	if (c->carries || how == EDGE_DRAIN_PATIENT)
		return;
	/* FIN, and reading on: a request that is on its way must not be answered by RST, which could overtake our last
	 * word */
	if (c->state == H1C_IDLE && !c->in.len)
		edge_h1_linger(c);
	else if (how == EDGE_DRAIN_ALL && is_between(c))
		edge_h1_evict(c);
}

bool edge_h1_may_ask(const struct edge_h1 *c)
{
	switch (c->state) {
	case H1C_IDLE:
	case H1C_HEAD:
		return !c->carries;
	case H1C_EXCHANGE:
		return !c->carries && c->response_begun && !c->close_after;
	default:
		return false;
	}
}

void edge_h1_set_place(struct edge_h1 *c, enum edge_place place)
{
	c->place = place;
	c->place_since = loop_ms(c->loop);
}

enum edge_place edge_h1_place(const struct edge_h1 *c)
{
	return c->place;
}

bool edge_h1_links(const struct edge_h1 *c)
{
	return c->links;
}

bool edge_h1_closed(const struct edge_h1 *c)
{
	return c->state == H1C_CLOSED;
}

uint64_t edge_h1_idle_since(const struct edge_h1 *c)
{
	if (c->state == H1C_SWITCHED || c->state == H1C_CLOSED)
		return 0;
	if (c->place == EDGE_PLACE_RESERVE)
		return c->place_since;
	/* what still comes is thrown away: he has had his answer */
	if (c->wait == H1C_WAIT_LINGER && !c->out.len && !stream_unsent(c->stream))
		return c->linger_until - EDGE_H1_LINGER_TOTAL_MS;
	return is_between(c) ? c->idle_since : 0;
}

uint64_t edge_h1_stalled_since(const struct edge_h1 *c)
{
	if (c->state == H1C_SWITCHED || c->state == H1C_CLOSED)
		return 0;
	if (c->wait == H1C_WAIT_STALL)
		return c->stalled_since;
	/* TLS has the last of an answer still */
	return c->state == H1C_IDLE && stream_unsent(c->stream) ? c->idle_since : 0;
}

void edge_h1_cut_stalled(struct edge_h1 *c)
{
	cut(c, ADIT_ERR_STALLED);
}

void edge_h1_evict(struct edge_h1 *c)
{
	edge_h1_close(c, ADIT_ERR_SHUTDOWN);
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
