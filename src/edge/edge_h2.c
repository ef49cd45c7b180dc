#include "edge/edge_h2.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "h2/pump.h"
#include "http/judge.h"
#include "http/page.h"

struct edge_h2 {
	struct loop *loop;
	const struct edge_h2_events *events;
	void *owner;
	struct list node;
	struct h2 *h2;
	struct h2_pump pump;
	struct budget budget;
	struct timer timer, notice;
	struct task free;
	bool closed, draining, used;
	bool last_said; /* no more requests are looked at */
	bool lingers;   /* all is said */
	bool carries;
};

/* ---- the end */

static void release(void *arg)
{
	struct edge_h2 *c = arg;

	h2_free(&c->h2, ADIT_ERR_ABANDONED);
	h2_pump_clear(&c->pump);
	free(c);
}

/* h2 goes at the bottom of the turn: this may be called from inside it. */
static void stop(struct edge_h2 *c)
{
	c->closed = true;
	list_remove(&c->node);
	timer_stop(&c->timer);
	timer_stop(&c->notice);
	h2_pump_stop(&c->pump);
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
	if (c->pump.out.len)
		timer_set(&c->timer, EDGE_H2_STALL_MS);
	else if (h2_open(c->h2))
		timer_clear(&c->timer);
	else if (c->used)
		timer_set(&c->timer, EDGE_H2_IDLE_MS);
}

/* ---- the pump's events */

/* Our last word is written: it must arrive before the connection goes. */
static void linger(struct edge_h2 *c)
{
	c->lingers = true;
	stream_finish(c->pump.stream);
	h2_pump_quiet(&c->pump);
	timer_set(&c->timer, EDGE_H2_LINGER_MS);
}

static void on_flushed(void *owner)
{
	struct edge_h2 *c = owner;
	bool written = !c->pump.out.len;

	if (c->lingers)
		return;
	if (written && c->pump.failed) { /* its GOAWAY is out */
		stream_finish(c->pump.stream);
		close_now(c);
	} else if (written && c->last_said && !h2_open(c->h2)) {
		linger(c);
	} else {
		set_deadline(c);
	}
}

static void on_ended(void *owner, int err, const char *detail)
{
	(void)err;
	(void)detail;
	close_now(owner);
}

static const struct h2_pump_events pump_events = {NULL, on_flushed, on_ended};

static void on_timer(void *arg)
{
	struct edge_h2 *c = arg;

	if (!c->pump.out.len && !h2_open(c->h2) && !c->draining)
		edge_h2_drain(c, EDGE_DRAIN_ALL);
	else
		close_now(c);
}

static void on_notice(void *arg)
{
	struct edge_h2 *c = arg;

	c->last_said = true;
	h2_goaway_last(c->h2);
	h2_pump_wake(&c->pump);
}

/* ---- h2's events */

static void h2_woken(void *owner)
{
	struct edge_h2 *c = owner;

	h2_pump_wake(&c->pump);
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

	h2_pump_wake(&c->pump);
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
	c->events = events;
	c->owner = owner;
	c->budget = (struct budget){budget, EDGE_H2_BUDGET, 0};
	o.budget = &c->budget;
	list_init(&c->node);
	c->free = (struct task){.run = release, .arg = c};
	c->h2 = h2_new(&o, &h2_events, c);
	if (!c->h2) {
		free(c);
		return NULL;
	}
	timer_init(&c->timer, l, on_timer, c);
	timer_init(&c->notice, l, on_notice, c);
	timer_set(&c->timer, EDGE_H2_FIRST_MS);
	h2_pump_init(&c->pump, l, c->h2, &pump_events, c);
	h2_pump_start(&c->pump, s);
	while (first && !c->closed && buf_iov(first, &v, 1) == 1) {
		h2_pump_take(&c->pump, v.iov_base, v.iov_len);
		buf_drop(first, v.iov_len);
	}
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
	h2_pump_wake(&c->pump);
}

bool edge_h2_may_ask(const struct edge_h2 *c)
{
	return !c->carries && !c->last_said;
}

const struct stream *edge_h2_stream(const struct edge_h2 *c)
{
	return c->pump.stream;
}

struct list *edge_h2_node(struct edge_h2 *c)
{
	return &c->node;
}

struct edge_h2 *edge_h2_of_node(struct list *node)
{
	return container_of(node, struct edge_h2, node);
}
