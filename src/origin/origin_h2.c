/* The connections to an HTTP/2 origin, and who gets which. */
#include "origin/origin_h2.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static struct origin_h2 *state_of(const struct origin *o)
{
	return o->state;
}

static struct h2_connection *of_node(struct list *node)
{
	return container_of(node, struct h2_connection, node);
}

static struct h2_request *request_of_node(struct list *node)
{
	return container_of(node, struct h2_request, node);
}

static struct loop *loop_of(const struct origin_h2 *o)
{
	return o->origin->loop;
}

/* ---- the end of a connection */

static void release(void *arg)
{
	struct h2_connection *c = arg;

	h2_pump_clear(&c->pump);
	free(c);
}

/* From the loop only: it takes h2 away. */
static void close_now(struct h2_connection *c, int err)
{
	struct loop *l = loop_of(c->home);

	if (c->state == H2C_CLOSED)
		return;
	c->state = H2C_CLOSED;
	list_remove(&c->node);
	c->home->origin->count--;
	timer_stop(&c->timer);
	dial_cancel(&c->dial);
	if (c->h2)
		h2_pump_stop(&c->pump);
	h2_free(&c->h2, err);
	task_post_free(l, &c->free);
}

/* May requests still hope for a connection? */
static bool is_usable(const struct origin_h2 *o)
{
	const struct list *at;

	for (at = o->connections.next; at != &o->connections; at = at->next)
		if (container_of(at, struct h2_connection, node)->state <= H2C_OPEN)
			return true;
	return false;
}

/* It ended before it was of any use: with no other, those that wait learn why. */
static void attempt_failed(struct h2_connection *c, int err, const char *why)
{
	struct origin_h2 *o = c->home;

	close_now(c, err);
	o->no_dial_ms = loop_ms(loop_of(o)) + ORIGIN_H2_REDIAL_MS;
	while (!is_usable(o) && !list_empty(&o->waiting))
		h2_request_fail(request_of_node(o->waiting.next), err, why);
	task_post(loop_of(o), &o->dispatch);
}

/* Nothing more comes on it. What has come is still told. */
static void lose(struct h2_connection *c, int err, const char *why)
{
	struct origin_h2 *o = c->home;

	if (!c->asked) {
		attempt_failed(c, err, why);
		return;
	}
	c->lost = err;
	c->why = why;
	c->state = H2C_ENDED;
	h2_pump_stop(&c->pump);
	h2_cut(c->h2);
	timer_set(&c->timer, 0);
	task_post(loop_of(o), &o->dispatch);
}

static void on_timer(void *arg)
{
	struct h2_connection *c = arg;

	if (c->state == H2C_GREETING) {
		attempt_failed(c, ADIT_ERR_TIMEOUT, "it is connected, but sends no SETTINGS of HTTP/2");
	} else if (!h2_open(c->h2)) {
		if (c->pump.stream)
			stream_finish(c->pump.stream);
		close_now(c, 0);
	}
}

/* ---- what h2 and its pump tell */

static void h2_woken(void *owner)
{
	struct h2_connection *c = owner;
	struct origin_h2 *o = c->home;

	h2_pump_wake(&c->pump);
	if (o->waits) /* there may be room now */
		task_post(loop_of(o), &o->dispatch);
	if (c->state == H2C_ENDED)
		timer_set(&c->timer, 0);
}

static void h2_idle(void *owner)
{
	struct h2_connection *c = owner;

	if (c->state != H2C_CLOSED)
		timer_set(&c->timer, c->state == H2C_OPEN ? ORIGIN_IDLE_MS : 0);
}

static const struct h2_events h2_events = {h2_woken, NULL, h2_idle, NULL};

static void opened(struct h2_connection *c)
{
	struct origin_h2 *o = c->home;
	unsigned streams = h2_streams_allowed(c->h2);

	c->state = H2C_OPEN;
	o->streams = streams ? streams : 1;
	timer_set(&c->timer, ORIGIN_IDLE_MS);
	task_post(loop_of(o), &o->dispatch);
}

static void on_received(void *owner)
{
	struct h2_connection *c = owner;

	if (c->state == H2C_GREETING && h2_ready(c->h2))
		opened(c);
	if (c->state != H2C_OPEN || !h2_leaving(c->h2))
		return;
	c->state = H2C_LEAVING;
	if (!c->asked)
		attempt_failed(c, ADIT_ERR_RESET, "it ends its connections (GOAWAY) before any request");
	else if (!h2_open(c->h2))
		timer_set(&c->timer, 0);
}

static void on_flushed(void *owner)
{
	struct h2_connection *c = owner;

	if (c->pump.failed && c->state == H2C_GREETING)
		attempt_failed(c, ADIT_ERR_PROTO, "it does not speak HTTP/2 there");
	else if (c->pump.failed)
		lose(c, c->pump.failed, "HTTP/2 with it is broken");
}

static void on_ended(void *owner, int err, const char *detail)
{
	struct h2_connection *c = owner;

	(void)detail;
	if (c->state == H2C_GREETING)
		attempt_failed(c, ADIT_ERR_RESET, "it closes connections instead of speaking HTTP/2");
	else
		lose(c, err == ADIT_ERR_EOF ? ADIT_ERR_RESET : err, NULL);
}

static const struct h2_pump_events pump_events = {on_received, on_flushed, on_ended};

/* ---- connecting */

static void greet(struct h2_connection *c, struct stream *s)
{
	const struct h2_options o = {.role = H2_ASKING, .budget = &c->home->budget, .pool = loop_pool(loop_of(c->home))};

	c->h2 = h2_new(&o, &h2_events, c);
	if (!c->h2) {
		stream_free(&s);
		attempt_failed(c, ADIT_ERR_NOMEM, NULL);
		return;
	}
	c->state = H2C_GREETING;
	h2_pump_init(&c->pump, loop_of(c->home), c->h2, &pump_events, c);
	h2_pump_start(&c->pump, s);
	timer_set(&c->timer, ORIGIN_H2_SETTINGS_MS);
}

static void on_dialled(void *arg, struct stream *s, int err, const char *detail)
{
	struct h2_connection *c = arg;

	c->dial = NULL;
	if (err) {
		attempt_failed(c, origin_dial_error(err), origin_dial_why(err, detail));
	} else if (s->tls && strcmp(s->alpn, TLS_ALPN_H2) != 0) {
		stream_free(&s);
		attempt_failed(c, ADIT_ERR_TLS, "it does not choose HTTP/2 (ALPN h2)");
	} else {
		greet(c, s);
	}
}

static bool dial(struct origin_h2 *o)
{
	struct h2_connection *c = calloc(1, sizeof(*c));

	if (!c)
		return false;
	c->home = o;
	c->free = (struct task){.run = release, .arg = c};
	timer_init(&c->timer, loop_of(o), on_timer, c);
	c->dial = origin_dial(o->origin, TLS_OFFER_H2, on_dialled, c);
	if (!c->dial) {
		free(c);
		return false;
	}
	list_init(&c->node);
	list_append(&o->connections, &c->node);
	o->origin->count++;
	return true;
}

/* As many as those that wait need, if each allows what the last one did. */
static void dial_more(struct origin_h2 *o)
{
	unsigned coming = 0;
	bool open = false;
	struct list *at, *tmp;

	list_each(at, tmp, &o->connections) {
		coming += of_node(at)->state < H2C_OPEN;
		open = open || of_node(at)->state == H2C_OPEN;
	}
	if (open && loop_ms(loop_of(o)) < o->no_dial_ms)
		return;
	while (o->waits > coming * o->streams && o->origin->count < ORIGIN_H2_CONNECTIONS_MAX && dial(o))
		coming++;
	if (!is_usable(o) && o->waits) /* no memory for a first one */
		o->no_dial_ms = loop_ms(loop_of(o)) + ORIGIN_H2_REDIAL_MS;
}

/* ---- which request goes where */

/* The first connection with room, so that the others may grow idle. `room` without a stream: no budget, no memory. */
static struct half *find_stream(const struct h2_request *r, struct h2_connection **out, bool *room)
{
	struct list *at, *tmp;
	int err;

	*room = false;
	list_each(at, tmp, &r->home->connections) {
		struct h2_connection *c = of_node(at);

		if (c->state != H2C_OPEN || (r->again && c == r->on) || h2_open(c->h2) >= h2_streams_allowed(c->h2))
			continue;
		*room = true;
		*out = c;
		return h2_ask(c->h2, &err);
	}
	return NULL;
}

void origin_h2_place(struct h2_request *r)
{
	struct origin_h2 *o = r->home;
	struct h2_connection *c;
	bool room;
	struct half *stream = o->waits ? NULL : find_stream(r, &c, &room);

	if (stream) {
		h2_request_ask(r, c, stream);
		return;
	}
	r->waits = true;
	r->until_ms = loop_ms(loop_of(o)) + ORIGIN_H2_WAIT_MS;
	o->waits++;
	list_remove(&r->node);
	list_append(&o->waiting, &r->node);
	task_post(loop_of(o), &o->dispatch);
}

void origin_h2_unplace(struct h2_request *r)
{
	r->home->waits -= r->waits;
	r->waits = false;
}

static void set_patience(struct origin_h2 *o)
{
	uint64_t now = loop_ms(loop_of(o)), until;

	if (list_empty(&o->waiting)) {
		timer_clear(&o->patience);
		return;
	}
	until = request_of_node(o->waiting.next)->until_ms;
	if (o->no_dial_ms > now && o->no_dial_ms < until)
		until = o->no_dial_ms;
	timer_set(&o->patience, until > now ? until - now : 0);
}

static void dispatch(void *arg)
{
	struct origin_h2 *o = arg;
	struct list *at, *tmp;
	bool room = false;

	list_each(at, tmp, &o->waiting) {
		struct h2_request *r = request_of_node(at);
		struct h2_connection *c;
		struct half *stream = find_stream(r, &c, &room);

		if (stream)
			h2_request_ask(r, c, stream);
		else if (room || !r->again) /* none for this one, none for those behind it */
			break;
	}
	if (!room || list_empty(&o->waiting))
		dial_more(o);
	set_patience(o);
}

static void on_patience(void *arg)
{
	struct origin_h2 *o = arg;
	uint64_t now = loop_ms(loop_of(o));

	while (!list_empty(&o->waiting) && request_of_node(o->waiting.next)->until_ms <= now)
		h2_request_fail(request_of_node(o->waiting.next), ADIT_ERR_LIMIT, "it takes no more requests at once");
	dispatch(o);
}

/* ---- the kind */

static struct half *h2_half(struct origin *origin, int *err)
{
	struct h2_request *r = h2_request_new(state_of(origin), err);

	return r ? &r->front : NULL;
}

static void release_state(void *arg)
{
	free(arg);
}

static int h2_open_origin(struct origin *origin)
{
	struct origin_h2 *o = calloc(1, sizeof(*o));

	if (!o)
		return ADIT_ERR_NOMEM;
	o->origin = origin;
	o->budget = (struct budget){.parent = origin->o.budget, .limit = BUDGET_TUNNEL, .growth = BUDGET_TUNNEL_GROWTH};
	o->streams = H2_STREAMS_MAX;
	list_init(&o->connections);
	list_init(&o->waiting);
	list_init(&o->asked);
	timer_init(&o->patience, origin->loop, on_patience, o);
	o->dispatch = (struct task){.run = dispatch, .arg = o};
	o->free = (struct task){.run = release_state, .arg = o};
	origin->state = o;
	return 0;
}

static void h2_close_origin(struct origin *origin)
{
	struct origin_h2 *o = state_of(origin);

	o->closing = true;
	while (!list_empty(&o->connections))
		close_now(of_node(o->connections.next), ADIT_ERR_SHUTDOWN);
	while (!list_empty(&o->waiting))
		h2_request_fail(request_of_node(o->waiting.next), ADIT_ERR_SHUTDOWN, NULL);
	while (!list_empty(&o->asked))
		h2_request_fail(request_of_node(o->asked.next), ADIT_ERR_SHUTDOWN, NULL);
	timer_stop(&o->patience);
	task_cancel(origin->loop, &o->dispatch);
	task_post_free(origin->loop, &o->free);
}

const struct origin_kind origin_h2 = {h2_open_origin, h2_close_origin, h2_half};
