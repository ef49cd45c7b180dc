#include "h2/sched.h"

#include <stddef.h>

void sched_init(struct sched *s)
{
	for (int i = 0; i < SCHED_CLASSES; i++)
		list_init(&s->ready[i]);
	s->turn = 0;
}

void sched_entry_init(struct sched_entry *e)
{
	list_init(&e->node);
	e->sent = 0;
	e->interactive = false;
}

static int class_of(const struct sched_entry *e)
{
	if (e->interactive || e->sent < SCHED_SMALL)
		return 0;
	return e->sent < SCHED_MEDIUM ? 1 : 2;
}

void sched_add(struct sched *s, struct sched_entry *e)
{
	if (list_empty(&e->node))
		list_append(&s->ready[class_of(e)], &e->node);
}

void sched_remove(struct sched_entry *e)
{
	list_remove(&e->node);
}

bool sched_is_bulk(const struct sched_entry *e)
{
	return class_of(e) == SCHED_CLASSES - 1;
}

static bool others_wait(const struct sched *s)
{
	for (int i = 0; i < SCHED_CLASSES - 1; i++)
		if (!list_empty(&s->ready[i]))
			return true;
	return false;
}

static struct list *pick_class(struct sched *s)
{
	bool lowest = ++s->turn % SCHED_LOWEST_EVERY == 0;

	for (int i = 0; i < SCHED_CLASSES; i++) {
		struct list *l = &s->ready[lowest ? SCHED_CLASSES - 1 - i : i];

		if (!list_empty(l))
			return l;
	}
	return NULL;
}

struct sched_entry *sched_next(struct sched *s, bool bulk)
{
	struct list *l = bulk || others_wait(s) ? pick_class(s) : NULL;
	struct sched_entry *e;

	if (!l)
		return NULL;
	e = container_of(l->next, struct sched_entry, node);
	list_remove(&e->node);
	return e;
}
