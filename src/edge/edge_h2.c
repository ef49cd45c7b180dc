#include "edge/edge_h2.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "http/judge.h"
#include "http/page.h"

/** Pieces of one gathered write. */
#define WRITE_PIECES 16
/** Read in one turn before others get theirs. */
#define READ_TURN (128u * 1024)

struct edge_h2 {
	struct loop *loop;
	struct stream *stream;
	const struct edge_h2_events *events;
	void *owner;
	struct list node;
	struct h2 *h2;
	struct budget budget;
	struct buf out;
	struct timer timer, notice;
	struct task flush, free;
	bool closed, draining, used;
	bool last_said; /* no more requests are looked at */
	bool lingers;   /* all is said */
	bool carries;
	int failed; /* when `out` is written it ends */
};

/* ---- the end */

static void release(void *arg)
{
	struct edge_h2 *c = arg;

	h2_free(&c->h2, ADIT_ERR_ABANDONED);
	buf_clear(&c->out);
	free(c);
}

/* h2 goes at the bottom of the turn: this may be called from inside it. */
static void stop(struct edge_h2 *c)
{
	c->closed = true;
	list_remove(&c->node);
	timer_stop(&c->timer);
	timer_stop(&c->notice);
	task_cancel(c->loop, &c->flush);
	stream_free(&c->stream);
	task_post_free(c->loop, &c->free);
}

static void close_now(struct edge_h2 *c)
{
	if (c->closed)
		return;
	stop(c);
	c->events->closed(c->owner, c);
}

void edge_h2_free(struct edge_h2 **cp)
{
	struct edge_h2 *c = *cp;

	*cp = NULL;
	if (c && !c->closed)
		stop(c);
}

static void set_deadline(struct edge_h2 *c)
{
	if (c->out.len)
		timer_set(&c->timer, EDGE_H2_STALL_MS);
	else if (h2_open(c->h2))
		timer_clear(&c->timer);
	else if (c->used)
		timer_set(&c->timer, EDGE_H2_IDLE_MS);
}

/* ---- the pump */

static void fill(struct edge_h2 *c)
{
	h2_clock(c->h2, clock_us(), 0);
	while (c->out.len < EDGE_H2_UNSENT) {
		size_t got, n;
		uint8_t *room = buf_room(&c->out, H2_QUANTUM + H2_FRAME_HEADER, &got);

		n = room ? h2_pull(c->h2, room, got) : 0;
		if (!n)
			return;
		buf_commit(&c->out, n);
	}
}

/* Our last word is written: it must arrive before the connection goes. */
static void linger(struct edge_h2 *c)
{
	c->lingers = true;
	stream_finish(c->stream);
	stream_pause(c->stream, false);
	timer_set(&c->timer, EDGE_H2_LINGER_MS);
}

static void flush(void *arg)
{
	struct edge_h2 *c = arg;
	struct iovec iov[WRITE_PIECES];

	while (!c->lingers) {
		ssize_t n;

		fill(c);
		if (!c->out.len)
			break;
		n = stream_write(c->stream, iov, buf_iov(&c->out, iov, WRITE_PIECES));
		if (n < 0) {
			close_now(c);
			return;
		}
		if (n == 0)
			break;
		buf_drop(&c->out, (size_t)n);
	}
	if (h2_error(c->h2)) /* its GOAWAY is out, or in `out` */
		c->failed = h2_error(c->h2);
	if (c->lingers)
		return;
	if (!c->out.len && c->failed) {
		stream_finish(c->stream);
		close_now(c);
	} else if (!c->out.len && c->last_said && !h2_open(c->h2)) {
		linger(c);
	} else {
		set_deadline(c);
	}
}

static void take(struct edge_h2 *c, const uint8_t *p, size_t n)
{
	h2_clock(c->h2, clock_us(), 0);
	if (h2_recv(c->h2, p, n) < 0) { /* a GOAWAY that says why may still be waiting */
		c->failed = ADIT_ERR_PROTO;
		stream_pause(c->stream, true);
	}
	task_post(c->loop, &c->flush);
}

static void on_readable(void *owner)
{
	struct edge_h2 *c = owner;
	uint8_t *block = loop_borrow(c->loop);
	size_t done = 0;

	while (block && !c->closed && !c->failed && done < READ_TURN) {
		ssize_t n = stream_read(c->stream, block, LOOP_BLOCK);

		if (n == ADIT_ERR_AGAIN)
			break;
		if (n < 0) {
			close_now(c);
			break;
		}
		if (!c->lingers)
			take(c, block, (size_t)n);
		done += (size_t)n;
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
	struct edge_h2 *c = arg;

	if (!c->out.len && !h2_open(c->h2) && !c->draining)
		edge_h2_drain(c, EDGE_DRAIN_ALL);
	else
		close_now(c);
}

static void on_notice(void *arg)
{
	struct edge_h2 *c = arg;

	c->last_said = true;
	h2_goaway_last(c->h2);
	task_post(c->loop, &c->flush);
}

/* ---- h2's events */

static void h2_woken(void *owner)
{
	struct edge_h2 *c = owner;

	if (!c->closed)
		task_post(c->loop, &c->flush);
}

/* HTTP/2 splits Cookie for the sake of compression; further on it is one field (RFC 9113 section 8.2.3). */
static int join_cookies(struct head *h)
{
	struct str name = STR("cookie");
	char *joined, *at;
	size_t n = 0, crumbs = 0;
	int err;

	for (uint32_t i = 0; i < h->fields.n; i++) {
		if (!str_eq(fields_name(&h->fields, i), name))
			continue;
		n += fields_value(&h->fields, i).n + 2;
		crumbs++;
	}
	if (crumbs < 2)
		return 0;
	at = joined = malloc(n);
	if (!joined)
		return ADIT_ERR_NOMEM;
	for (uint32_t i = 0; i < h->fields.n; i++) {
		struct str v = fields_value(&h->fields, i);

		if (!str_eq(fields_name(&h->fields, i), name))
			continue;
		if (at != joined) {
			*at++ = ';';
			*at++ = ' ';
		}
		memcpy(at, v.p, v.n);
		at += v.n;
	}
	err = fields_set(&h->fields, name, (struct str){joined, (size_t)(at - joined)});
	free(joined);
	return err;
}

static void answer_error(struct h2_stream *s, int err, const char *detail)
{
	struct page *p = malloc(sizeof(*p));

	if (p && page_error(p, err, PAGE_HOP_SERVER, detail, STR("")) == 0) {
		page_reply(p, h2_stream_half(s), false);
		page_free(p);
	}
	free(p);
}

static void h2_refused(void *owner, struct h2_stream *s, int err)
{
	struct edge_h2 *c = owner;

	c->used = true;
	answer_error(s, err, NULL);
}

static void h2_request(void *owner, struct h2_stream *s, const struct head *h, bool bodyless)
{
	struct edge_h2 *c = owner;
	struct head *head = (struct head *)(uintptr_t)h; /* the stream has no more use for it */

	const char *detail;
	int err = judge_request(head, &detail);

	c->used = true;
	timer_clear(&c->timer);
	if (err)
		answer_error(s, err, detail);
	else if (join_cookies(head) == 0)
		c->events->request(c->owner, c, h2_stream_half(s), head, bodyless);
}

static void h2_idle(void *owner)
{
	struct edge_h2 *c = owner;

	if (!c->closed)
		task_post(c->loop, &c->flush);
}

static const struct h2_events h2_events = {h2_woken, h2_request, h2_idle, h2_refused};

/* ---- life */

struct edge_h2 *edge_h2_new(struct loop *l, struct stream *s, struct buf *first, struct budget *budget,
                            const struct edge_h2_events *events, void *owner)
{
	struct edge_h2 *c = calloc(1, sizeof(*c));
	struct h2_options o = {.role = H2_ANSWERING, .streams = EDGE_H2_STREAMS};
	struct iovec v;

	if (!c)
		return NULL;
	c->loop = l;
	c->stream = s;
	c->events = events;
	c->owner = owner;
	c->budget = (struct budget){budget, EDGE_H2_BUDGET, 0};
	o.budget = &c->budget;
	list_init(&c->node);
	c->flush = (struct task){.run = flush, .arg = c};
	c->free = (struct task){.run = release, .arg = c};
	c->h2 = h2_new(&o, &h2_events, c);
	if (!c->h2) {
		free(c);
		return NULL;
	}
	timer_init(&c->timer, l, on_timer, c);
	timer_init(&c->notice, l, on_notice, c);
	timer_set(&c->timer, EDGE_H2_FIRST_MS);
	stream_own(s, &stream_handler, c);
	stream_pause(s, false);
	while (first && !c->closed && buf_iov(first, &v, 1) == 1) {
		take(c, v.iov_base, v.iov_len);
		buf_drop(first, v.iov_len);
	}
	task_post(l, &c->flush);
	return c;
}

void edge_h2_carry(struct edge_h2 *c)
{
	c->carries = true;
}

bool edge_h2_carries(const struct edge_h2 *c)
{
	return c->carries;
}

void edge_h2_drain(struct edge_h2 *c, enum edge_drain how)
{
	c->carries = c->carries && how < EDGE_DRAIN_ALL;
	if (c->carries || c->draining)
		return;
	c->draining = true;
	h2_goaway(c->h2);
	timer_set(&c->notice, EDGE_H2_NOTICE_MS);
	task_post(c->loop, &c->flush);
}

bool edge_h2_may_ask(const struct edge_h2 *c)
{
	return !c->carries && !c->last_said;
}

const struct stream *edge_h2_stream(const struct edge_h2 *c)
{
	return c->stream;
}

struct list *edge_h2_node(struct edge_h2 *c)
{
	return &c->node;
}

struct edge_h2 *edge_h2_of_node(struct list *node)
{
	return container_of(node, struct edge_h2, node);
}
