#include "carrier/outer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "h2/pump.h"

/** Windows of the few streams that carriers open. */
#define OUTER_BUDGET (16u * OUTER_WINDOW)

struct outer {
	struct loop *loop;
	const struct outer_events *events;
	void *owner;
	struct h2 *h2;
	struct h2_pump pump;
	struct budget budget;
	struct task tell, free;
	bool ready_told, leaving_told;
	int lost;
	char detail[160];
};

static void lose(struct outer *o, int err, const char *detail)
{
	if (o->lost)
		return;
	o->lost = err;
	snprintf(o->detail, sizeof(o->detail), "%s", detail);
	h2_pump_stop(&o->pump);
	task_post(o->loop, &o->tell);
}

static void tell_gone(void *arg)
{
	struct outer *o = arg;

	h2_free(&o->h2, o->lost);
	o->events->gone(o->owner, o->lost, o->detail);
}

static void tell_leaving(struct outer *o)
{
	if (o->lost || o->leaving_told || !o->ready_told || !h2_leaving(o->h2))
		return;
	o->leaving_told = true;
	if (o->events->leaving)
		o->events->leaving(o->owner);
}

static void on_received(void *owner)
{
	struct outer *o = owner;

	if (!o->ready_told && h2_ready(o->h2)) {
		o->ready_told = true;
		o->events->ready(o->owner);
	}
	tell_leaving(o);
}

static void on_flushed(void *owner)
{
	struct outer *o = owner;

	if (o->pump.failed)
		lose(o, o->pump.failed, "not HTTP/2, or HTTP/2 broken");
}

static void on_ended(void *owner, int err, const char *detail)
{
	lose(owner, err, detail);
}

static const struct h2_pump_events pump_events = {on_received, on_flushed, on_ended};

static void h2_woken(void *owner)
{
	struct outer *o = owner;

	h2_pump_wake(&o->pump);
}

static const struct h2_events h2_events = {h2_woken, NULL, NULL, NULL};

static void release(void *arg)
{
	struct outer *o = arg;

	h2_free(&o->h2, o->lost);
	h2_pump_clear(&o->pump);
	free(o);
}

struct outer *outer_new(struct loop *l, struct stream *s, const struct outer_events *events, void *owner)
{
	struct outer *o = calloc(1, sizeof(*o));
	struct h2_options opt = {.role = H2_ASKING, .window = OUTER_WINDOW};

	if (!o)
		return NULL;
	o->loop = l;
	o->events = events;
	o->owner = owner;
	o->budget = (struct budget){.limit = OUTER_BUDGET};
	opt.budget = &o->budget;
	opt.pool = loop_pool(l);
	o->tell = (struct task){.run = tell_gone, .arg = o};
	o->free = (struct task){.run = release, .arg = o};
	o->h2 = h2_new(&opt, &h2_events, o);
	if (!o->h2) {
		free(o);
		return NULL;
	}
	h2_pump_init(&o->pump, l, o->h2, &pump_events, o);
	h2_pump_start(&o->pump, s);
	return o;
}

void outer_free(struct outer **op)
{
	struct outer *o = *op;

	if (!o)
		return;
	*op = NULL;
	lose(o, ADIT_ERR_SHUTDOWN, "");
	task_cancel(o->loop, &o->tell);
	task_post_free(o->loop, &o->free);
}

bool outer_may_connect(const struct outer *o)
{
	return h2_may_connect(o->h2);
}

struct half *outer_ask(struct outer *o, int *err)
{
	*err = ADIT_ERR_LINK_LOST;
	return o->lost ? NULL : h2_ask(o->h2, err);
}

bool outer_leaving(const struct outer *o)
{
	return o->lost || h2_leaving(o->h2);
}

const struct stream *outer_stream(const struct outer *o)
{
	return o->pump.stream;
}
