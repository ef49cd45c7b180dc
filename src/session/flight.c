#include "session/flight.h"

#include <stdlib.h>

struct flight;

struct climber {
	struct flight *flight;
	struct ladder *ladder; /* NULL = it does not climb */
};

struct flight {
	struct loop *loop;
	struct ladder_options o;
	struct climber climbers[FLIGHT_MAX];
	unsigned started, climbing;
	struct timer next;
	ladder_done_fn *done;
	void *arg;
	struct task free;
};

static void release(void *arg)
{
	free(arg);
}

static void end(struct flight *f)
{
	for (unsigned i = 0; i < FLIGHT_MAX; i++)
		ladder_cancel(&f->climbers[i].ladder);
	timer_stop(&f->next);
	task_post_free(f->loop, &f->free);
}

static void on_ladder(void *arg, const struct carrier_result *r, unsigned carrier, const char *why)
{
	struct climber *c = arg;
	struct flight *f = c->flight;

	c->ladder = NULL;
	f->climbing--;
	if (r->err && f->climbing)
		return;
	end(f);
	f->done(f->arg, r, carrier, why);
}

static struct climber *idle_one(struct flight *f)
{
	for (unsigned i = 0; i < FLIGHT_MAX; i++)
		if (!f->climbers[i].ladder)
			return &f->climbers[i];
	return NULL;
}

static bool start_one(struct flight *f)
{
	struct climber *c = idle_one(f);

	if (!c)
		return false;
	c->flight = f;
	c->ladder = ladder_climb(f->loop, &f->o, on_ladder, c);
	if (!c->ladder)
		return false;
	f->started++;
	f->climbing++;
	return true;
}

/* When all climb, the next begins in the place of one that has failed. */
static void on_next(void *arg)
{
	struct flight *f = arg;

	if (f->started >= FLIGHT_STARTS)
		return;
	start_one(f);
	timer_set(&f->next, FLIGHT_NEXT_MS);
}

struct flight *flight_start(struct loop *l, const struct ladder_options *o, bool several, ladder_done_fn *done, void *arg)
{
	struct flight *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->loop = l;
	f->o = *o;
	f->done = done;
	f->arg = arg;
	f->free = (struct task){.run = release, .arg = f};
	timer_init(&f->next, l, on_next, f);
	if (!start_one(f)) {
		free(f);
		return NULL;
	}
	if (several)
		timer_set(&f->next, FLIGHT_NEXT_MS);
	return f;
}

void flight_cancel(struct flight **fp)
{
	struct flight *f = *fp;

	*fp = NULL;
	if (f)
		end(f);
}
