/* loop_script: io/loop.h with a clock of the test's own, in place of the real loop. For unit tests only; one file
 * of a program includes it, and the linker then leaves the library's loop out. Nothing waits: the script moves
 * bytes, runs a turn's tasks and frees, and lets the time jump to the next deadline.
 */
#ifndef ADIT_TESTS_LOOP_SCRIPT_H
#define ADIT_TESTS_LOOP_SCRIPT_H

#include <stdlib.h>

#include "base/err.h"
#include "io/loop.h"

/** More timers than any script's objects have. */
#define LOOP_SCRIPT_TIMERS 256

struct loop {
	struct list now, next, fair, frees;
	uint64_t ms;
	struct timer *timers[LOOP_SCRIPT_TIMERS]; /* set ones, and those that were cleared since */
	unsigned timer_count;
};

static inline bool loop_is_posted(const struct task *t)
{
	return t->node.next && !list_empty(&t->node);
}

static inline void loop_post(struct list *queue, struct task *t)
{
	if (loop_is_posted(t))
		return;
	list_init(&t->node);
	list_append(queue, &t->node);
}

static inline bool loop_run_first(struct list *queue)
{
	struct task *t;

	if (list_empty(queue))
		return false;
	t = container_of(queue->next, struct task, node);
	list_remove(&t->node);
	t->run(t->arg);
	return true;
}

/* The bottom of a turn. True when there was anything to do, or is for the next one. */
static inline bool loop_turn(struct loop *l)
{
	bool any = false;

	while (loop_run_first(&l->now))
		any = true;
	while (loop_run_first(&l->fair)) /* without a clock all have their time */
		any = true;
	while (loop_run_first(&l->frees))
		any = true;
	while (!list_empty(&l->next)) {
		struct list *node = l->next.next;

		list_remove(node);
		list_append(&l->now, node);
		any = true; /* the time must not jump over it */
	}
	return any;
}

/* Lets the time jump to the next deadline, if it is at `until` or before, and keeps it. */
static inline bool loop_jump(struct loop *l, uint64_t until)
{
	struct timer *first = NULL;

	for (unsigned i = 0; i < l->timer_count; i++)
		if (l->timers[i]->due_ms && (!first || l->timers[i]->due_ms < first->due_ms))
			first = l->timers[i];
	if (!first || first->due_ms > until)
		return false;
	if (first->due_ms > l->ms)
		l->ms = first->due_ms;
	first->due_ms = 0;
	first->fn(first->arg);
	return true;
}

struct loop *loop_new(void)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		abort();
	list_init(&l->now);
	list_init(&l->next);
	list_init(&l->fair);
	list_init(&l->frees);
	l->ms = 1000;
	return l;
}

void loop_settle(struct loop *l)
{
	for (int turn = 0; turn < 8; turn++)
		loop_turn(l);
}

void loop_free(struct loop **l)
{
	free(*l);
	*l = NULL;
}

struct ev_loop *loop_ev(struct loop *l)
{
	(void)l;
	abort(); /* nothing here has a descriptor */
}

uint64_t loop_ms(const struct loop *l)
{
	return l->ms;
}

void task_post(struct loop *l, struct task *t)
{
	loop_post(&l->now, t);
}

void task_post_next(struct loop *l, struct task *t)
{
	loop_post(&l->next, t);
}

void task_post_fair(struct loop *l, enum loop_fair kind, struct task *t)
{
	(void)kind;
	loop_post(&l->fair, t);
}

void task_cancel(struct loop *l, struct task *t)
{
	(void)l;
	if (loop_is_posted(t))
		list_remove(&t->node);
}

void task_post_free(struct loop *l, struct task *t)
{
	loop_post(&l->frees, t);
}

void timer_init(struct timer *t, struct loop *l, void (*fn)(void *arg), void *arg)
{
	t->fn = fn;
	t->arg = arg;
	t->loop = l;
	t->due_ms = t->armed_ms = 0;
}

void timer_set(struct timer *t, uint64_t ms)
{
	struct loop *l = t->loop;

	t->due_ms = l->ms + ms;
	if (t->armed_ms)
		return;
	if (l->timer_count == LOOP_SCRIPT_TIMERS)
		abort();
	l->timers[l->timer_count++] = t;
	t->armed_ms = 1;
}

void timer_stop(struct timer *t)
{
	struct loop *l = t->loop;

	t->due_ms = 0;
	for (unsigned i = 0; t->armed_ms && i < l->timer_count; i++) {
		if (l->timers[i] != t)
			continue;
		l->timers[i] = l->timers[--l->timer_count];
		t->armed_ms = 0;
	}
}

int loop_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg)
{
	(void)l;
	(void)signo;
	(void)fn;
	(void)arg;
	return ADIT_ERR_LIMIT;
}

void loop_run(struct loop *l)
{
	(void)l;
	abort();
}

void loop_stop(struct loop *l)
{
	(void)l;
	abort();
}

uint8_t *loop_borrow(struct loop *l)
{
	(void)l;
	return malloc(LOOP_BLOCK);
}

struct pool *loop_pool(struct loop *l)
{
	(void)l;
	return NULL;
}

void loop_return(struct loop *l, uint8_t *block)
{
	(void)l;
	free(block);
}

#endif
