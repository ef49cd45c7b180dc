#include "edge/edge_h2.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "h2/pump.h"
#include "http/judge.h"
#include "http/page.h"

/** What is waited for, each with a deadline of its own; one timer serves them all. */
enum edge_h2_wait {
	H2C_FIRST,   /* the first request */
	H2C_BLOCK,   /* the end of a field block */
	H2C_UNSENT,  /* the socket, to take more */
	H2C_IDLE,    /* another request */
	H2C_STREAMS, /* the next look at the streams */
	H2C_NOTICE,  /* what was on its way when the end was announced */
	H2C_LINGER,  /* the visitor's end */
	H2C_WAITS
};

static const uint32_t wait_ms[H2C_WAITS] = {
	EDGE_H2_FIRST_MS, EDGE_H2_BLOCK_MS, EDGE_H2_STALL_MS, EDGE_H2_IDLE_MS, EDGE_H2_LOOK_MS, EDGE_H2_NOTICE_MS,
	EDGE_H2_LINGER_MS,
};

static const struct h2_patience patience = {EDGE_H2_BODY_MS, EDGE_H2_BODY_MIN, EDGE_H2_STALL_MS};

struct edge_h2 {
	struct loop *loop;
	const struct edge_h2_events *events;
	void *owner;
	struct list node;
	struct h2 *h2;
	struct h2_pump pump;
	struct budget budget;
	struct places *places;
	struct timer timer;
	uint64_t since[H2C_WAITS]; /* 0: it is not waited for */
	uint32_t block;            /* h2's number of the field block that is waited for */
	uint64_t written;          /* by the pump, when that was last looked at */
	struct task free;
	bool closed, draining, used;
	bool last_said; /* no more requests are looked at */
	bool failed;    /* when what h2 says about that is written it ends */
	bool lingers;   /* all is said */
	bool carries;
	bool links;     /* a carrier has been on it */
	enum edge_place place;
	uint64_t place_since;
};

/* ---- deadlines */

static void await(struct edge_h2 *c, enum edge_h2_wait what)
{
	if (!c->since[what])
		c->since[what] = loop_ms(c->loop);
}

static void arrived(struct edge_h2 *c, enum edge_h2_wait what)
{
	c->since[what] = 0;
}

static uint64_t due(const struct edge_h2 *c, enum edge_h2_wait what)
{
	return c->since[what] ? c->since[what] + wait_ms[what] : UINT64_MAX;
}

static void set_timer(struct edge_h2 *c)
{
	uint64_t now = loop_ms(c->loop), first = UINT64_MAX;

	for (int i = 0; i < H2C_WAITS; i++)
		first = due(c, i) < first ? due(c, i) : first;
	if (first == UINT64_MAX)
		timer_clear(&c->timer);
	else
		timer_set(&c->timer, first > now ? first - now : 0);
}

/* Nothing that comes meanwhile puts a deadline off; only what was waited for ends it. */
static void watch(struct edge_h2 *c)
{
	uint32_t block = h2_block(c->h2);

	if (block != c->block)
		arrived(c, H2C_BLOCK);
	c->block = block;
	if (block)
		await(c, H2C_BLOCK);
	if (!c->pump.out.len || c->pump.written != c->written)
		arrived(c, H2C_UNSENT);
	c->written = c->pump.written;
	if (c->pump.out.len)
		await(c, H2C_UNSENT);
	if (h2_open(c->h2)) {
		arrived(c, H2C_IDLE);
		await(c, H2C_STREAMS);
	} else {
		arrived(c, H2C_STREAMS);
		if (c->used)
			await(c, H2C_IDLE);
	}
	set_timer(c);
}

/* ---- the end */

static void release(void *arg)
{
	struct edge_h2 *c = arg;

	h2_free(&c->h2, ADIT_ERR_ABANDONED);
	places_unref(&c->places);
	h2_pump_clear(&c->pump);
	free(c);
}

/* h2 goes at the bottom of the turn: this may be called from inside it. */
static void stop(struct edge_h2 *c)
{
	c->closed = true;
	list_remove(&c->node);
	timer_stop(&c->timer);
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

/* ---- the pump's events */

/* Our last word is written: it must arrive before the connection goes. */
static void linger(struct edge_h2 *c)
{
	c->lingers = true;
	memset(c->since, 0, sizeof(c->since));
	await(c, H2C_LINGER);
	stream_finish(c->pump.stream);
	h2_pump_quiet(&c->pump);
	set_timer(c);
}

/* h2 has found a fault, or we have: a GOAWAY says so, and what still comes is not looked at. */
static void fail(struct edge_h2 *c)
{
	c->failed = true;
	if (c->pump.failed == ADIT_ERR_FLOOD && c->events->refused)
		c->events->refused(c->owner, c, c->pump.failed);
	await(c, H2C_LINGER); /* that long it may take to write our last word, too */
	h2_abort_all(c->h2, ADIT_ERR_ABANDONED);
}

static void on_flushed(void *owner)
{
	struct edge_h2 *c = owner;

	if (c->lingers)
		return;
	if (c->pump.failed && !c->failed)
		fail(c);
	/* after his GOAWAY nghttp2 says nothing more once no stream is open, not even to a PING */
	if (!c->pump.out.len && (c->failed || ((c->last_said || h2_left(c->h2)) && !h2_open(c->h2))))
		linger(c);
	else
		watch(c);
}

static void on_ended(void *owner, int err, const char *detail)
{
	(void)err;
	(void)detail;
	close_now(owner);
}

static const struct h2_pump_events pump_events = {NULL, on_flushed, on_ended};

/* Announces the end to a connection without a request; to one that was told already it is the end. */
static void end_idle(struct edge_h2 *c)
{
	arrived(c, H2C_FIRST);
	arrived(c, H2C_IDLE);
	if (c->draining)
		close_now(c);
	else
		edge_h2_drain(c, EDGE_DRAIN_ALL);
}

static void say_last(struct edge_h2 *c)
{
	arrived(c, H2C_NOTICE);
	c->last_said = true;
	h2_goaway_last(c->h2);
	h2_pump_wake(&c->pump);
}

static void look(struct edge_h2 *c)
{
	arrived(c, H2C_STREAMS);
	h2_look(c->h2, &patience, loop_ms(c->loop));
}

static void on_due(struct edge_h2 *c, enum edge_h2_wait what)
{
	switch (what) {
	case H2C_FIRST:
	case H2C_IDLE:
		end_idle(c);
		break;
	case H2C_BLOCK:
		arrived(c, H2C_BLOCK);
		h2_fail(c->h2, ADIT_ERR_SLOW);
		break;
	case H2C_STREAMS:
		look(c);
		break;
	case H2C_NOTICE:
		say_last(c);
		break;
	default: /* H2C_UNSENT, H2C_LINGER */
		close_now(c);
		break;
	}
}

static void on_timer(void *arg)
{
	struct edge_h2 *c = arg;
	uint64_t now = loop_ms(c->loop);

	for (int i = 0; i < H2C_WAITS && !c->closed; i++)
		if (due(c, i) <= now)
			on_due(c, i);
	if (!c->closed && !c->lingers)
		watch(c);
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

static void answer_error(struct edge_h2 *c, struct h2_stream *s, int err, const char *detail)
{
	struct page *p = malloc(sizeof(*p));

	if (c->events->refused)
		c->events->refused(c->owner, c, err);

	if (p && page_error(p, err, PAGE_HOP_SERVER, detail, STR("")) == 0) {
		page_reply(p, h2_stream_half(s), false);
		page_free(p);
	}
	free(p);
}

static void note_use(struct edge_h2 *c)
{
	c->used = true;
	arrived(c, H2C_FIRST);
	arrived(c, H2C_IDLE);
}

static void h2_refused(void *owner, struct h2_stream *s, int err)
{
	note_use(owner);
	answer_error(owner, s, err, NULL);
}

static void h2_request(void *owner, struct h2_stream *s, const struct head *h, bool bodyless)
{
	struct edge_h2 *c = owner;
	struct head *head = (struct head *)(uintptr_t)h; /* the stream has no more use for it */

	const char *detail;
	int err = judge_request(head, &detail);

	note_use(c);
	if (err)
		answer_error(c, s, err, detail);
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

struct edge_h2 *edge_h2_new(struct loop *l, struct stream *s, struct buf *first, bool crowd, struct budget *budget,
                            const struct edge_h2_events *events, void *owner)
{
	struct edge_h2 *c = calloc(1, sizeof(*c));
	struct h2_options o = {.role = H2_ANSWERING, .streams = EDGE_H2_STREAMS, .crowd = crowd ? EDGE_H2_CROWD : 1};
	struct iovec v;

	if (!c)
		return NULL;
	c->loop = l;
	c->events = events;
	c->owner = owner;
	c->budget = (struct budget){.parent = budget, .limit = EDGE_H2_BUDGET};
	o.budget = &c->budget;
	o.pool = loop_pool(l);
	list_init(&c->node);
	c->free = (struct task){.run = release, .arg = c};
	c->places = places_new();
	c->h2 = c->places ? h2_new(&o, &h2_events, c) : NULL;
	if (!c->h2) {
		places_unref(&c->places);
		free(c);
		return NULL;
	}
	timer_init(&c->timer, l, on_timer, c);
	await(c, H2C_FIRST);
	set_timer(c);
	h2_pump_init(&c->pump, l, c->h2, &pump_events, c);
	h2_pump_start(&c->pump, s);
	while (first && !c->closed && buf_iov(first, &v, 1) == 1) {
		h2_pump_take(&c->pump, v.iov_base, v.iov_len);
		buf_drop(first, v.iov_len);
	}
	return c;
}

struct places *edge_h2_places(const struct edge_h2 *c)
{
	return c->places;
}

void edge_h2_blame(struct edge_h2 *c)
{
	h2_blame(c->h2);
}

void edge_h2_carry(struct edge_h2 *c)
{
	c->carries = c->links = true;
}

void edge_h2_link(struct edge_h2 *c)
{
	c->links = true;
}

bool edge_h2_links(const struct edge_h2 *c)
{
	return c->links;
}

bool edge_h2_closed(const struct edge_h2 *c)
{
	return c->closed;
}

void edge_h2_set_place(struct edge_h2 *c, enum edge_place place)
{
	c->place = place;
	c->place_since = loop_ms(c->loop);
}

enum edge_place edge_h2_place(const struct edge_h2 *c)
{
	return c->place;
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
	await(c, H2C_NOTICE);
	set_timer(c);
	h2_pump_wake(&c->pump);
}

uint64_t edge_h2_idle_since(const struct edge_h2 *c)
{
	static const enum edge_h2_wait without[] = {H2C_IDLE, H2C_FIRST, H2C_BLOCK};

	if (c->place == EDGE_PLACE_RESERVE)
		return c->place_since;
	if (h2_asked(c->h2) || c->pump.rest || c->pump.out.len || c->lingers || c->carries ||
	    stream_unsent(c->pump.stream))
		return 0;
	for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
		if (c->since[without[i]])
			return c->since[without[i]];
	return 0;
}

uint64_t edge_h2_stalled_since(const struct edge_h2 *c)
{
	if (c->closed || c->lingers || c->carries)
		return 0;
	return c->pump.out.len ? c->since[H2C_UNSENT] : h2_stalled_since(c->h2);
}

/* RST: what the kernel holds for him goes as well. */
void edge_h2_cut_stalled(struct edge_h2 *c)
{
	h2_abort_all(c->h2, ADIT_ERR_STALLED);
	stream_spoil(c->pump.stream);
	close_now(c);
}

void edge_h2_evict(struct edge_h2 *c)
{
	if (!c->lingers) {
		h2_goaway_last(c->h2);
		h2_pump_last(&c->pump);
	}
	close_now(c);
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
