#include "rules/pacer.h"

#include <stdlib.h>

#include "http/half.h"

struct pacer {
	unsigned refs;
	struct loop *loop;
	struct bucket bucket;
	struct list waiting; /* lanes, the next one first */
	struct timer timer;
	bool serving;
};

static uint64_t depth_of(uint64_t rate)
{
	uint64_t depth = rate * PACER_DEPTH_MS / 1000;

	return depth > PACER_UNIT_MIN ? depth : PACER_UNIT_MIN;
}

static size_t unit_of(const struct pacer *p)
{
	uint64_t unit = p->bucket.rate * PACER_UNIT_MS / 1000;

	return unit < PACER_UNIT_MIN ? PACER_UNIT_MIN : unit > HALF_READ ? HALF_READ : (size_t)unit;
}

static size_t next_of(const struct pacer *p, const struct lane *l)
{
	return l->want < unit_of(p) ? l->want : unit_of(p);
}

static void queue(struct lane *l)
{
	if (l->want && l->lent <= unit_of(l->pacer) / 2 && list_empty(&l->node))
		list_append(&l->pacer->waiting, &l->node);
}

/* Lends in turn. What is lent may pass at once, and more be wanted then: that is queued behind the others. */
static void serve(struct pacer *p)
{
	uint64_t now = loop_ms(p->loop);

	if (p->serving)
		return;
	p->serving = true;
	p->refs++;
	while (!list_empty(&p->waiting)) {
		struct lane *l = container_of(p->waiting.next, struct lane, node);
		size_t n = next_of(p, l);

		if (!bucket_take(&p->bucket, n, now)) {
			timer_set(&p->timer, bucket_wait_ms(&p->bucket, n, now));
			break;
		}
		list_remove(&l->node);
		l->want -= n;
		l->lent += n;
		queue(l);
		l->lend(l->arg, n);
	}
	p->serving = false;
	pacer_unref(&p);
}

static void on_timer(void *arg)
{
	serve(arg);
}

/* ---- life */

struct pacer *pacer_new(struct loop *l, uint64_t rate)
{
	struct pacer *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->refs = 1;
	p->loop = l;
	bucket_init(&p->bucket, rate, depth_of(rate), loop_ms(l));
	list_init(&p->waiting);
	timer_init(&p->timer, l, on_timer, p);
	return p;
}

struct pacer *pacer_ref(struct pacer *p)
{
	if (p)
		p->refs++;
	return p;
}

void pacer_unref(struct pacer **pp)
{
	struct pacer *p = *pp;

	*pp = NULL;
	if (!p || --p->refs)
		return;
	timer_stop(&p->timer);
	free(p);
}

void pacer_change(struct pacer *p, uint64_t rate)
{
	bucket_change(&p->bucket, rate, depth_of(rate), loop_ms(p->loop));
	if (!list_empty(&p->waiting))
		timer_set(&p->timer, 0);
}

/* ---- lanes */

void lane_init(struct lane *l, struct pacer *p, void (*lend)(void *arg, size_t n), void *arg)
{
	*l = (struct lane){.pacer = pacer_ref(p), .lend = lend, .arg = arg};
	list_init(&l->node);
}

void lane_want(struct lane *l, size_t n)
{
	l->want += n;
	queue(l);
	serve(l->pacer);
}

void lane_used(struct lane *l, size_t n)
{
	l->lent -= n < l->lent ? n : l->lent;
	queue(l);
	serve(l->pacer);
}

void lane_end(struct lane *l)
{
	struct pacer *p = l->pacer;

	if (!p)
		return;
	list_remove(&l->node);
	bucket_give(&p->bucket, l->lent);
	l->lent = l->want = 0;
	serve(p);
	pacer_unref(&l->pacer);
}
