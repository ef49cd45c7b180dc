#include "io/loop.h"

#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/memory.h"

/** Blocks kept for lending; more than two are out only when TLS runs inside TLS. */
#define BLOCKS_KEPT 4
/** Tasks run in one turn before descriptors get their turn again, and rounds of fair ones at the end: far more than
 *  there are connections. */
#define TASKS_A_TURN 100000

struct signal_slot {
	ev_signal watcher;
	void (*fn)(void *arg, int signo);
	void *arg;
};

struct loop {
	struct ev_loop *ev;
	ev_prepare prepare;
	ev_check check;
	ev_idle idle; /* on while tasks wait for the next turn: the poll must not block */
	struct list now, next, fair[LOOP_FAIR_KINDS], frees;
	uint64_t ms;
	struct signal_slot signals[LOOP_SIGNALS];
	unsigned signal_count;
	uint8_t *blocks[BLOCKS_KEPT];
	unsigned block_count;
	struct pool pool;
};

static bool is_posted(const struct task *t)
{
	return t->node.next && !list_empty(&t->node);
}

static void post(struct list *queue, struct task *t)
{
	if (is_posted(t))
		return;
	list_init(&t->node);
	list_append(queue, &t->node);
}

static bool run_first(struct list *queue)
{
	struct task *t;

	if (list_empty(queue))
		return false;
	t = container_of(queue->next, struct task, node);
	list_remove(&t->node);
	t->run(t->arg);
	return true;
}

static void run_tasks(struct loop *l)
{
	unsigned done = 0;

	while (done < TASKS_A_TURN && run_first(&l->now))
		done++;
}

/* One of each kind. */
static bool run_fair_round(struct loop *l)
{
	bool any = false;

	for (int kind = 0; kind < LOOP_FAIR_KINDS; kind++)
		any |= run_first(&l->fair[kind]);
	return any;
}

static void run_fair(struct loop *l)
{
	uint64_t until;

	if (!run_fair_round(l))
		return;
	until = clock_us() + LOOP_FAIR_US;
	while (run_fair_round(l) && clock_us() < until)
		;
}

/* Tasks that do not wait for a descriptor. */
static bool has_more(const struct loop *l)
{
	bool more = !list_empty(&l->now);

	for (int kind = 0; kind < LOOP_FAIR_KINDS; kind++)
		more |= !list_empty(&l->fair[kind]);
	return more;
}

static void move_all(struct list *from, struct list *to)
{
	while (!list_empty(from)) {
		struct list *node = from->next;

		list_remove(node);
		list_append(to, node);
	}
}

static void on_idle(struct ev_loop *ev, ev_idle *w, int revents)
{
	(void)ev;
	(void)w;
	(void)revents;
}

/* The bottom of a turn. What was posted for the next one moves up and keeps the poll from blocking. */
static void on_prepare(struct ev_loop *ev, ev_prepare *w, int revents)
{
	struct loop *l = w->data;

	(void)revents;
	run_tasks(l);
	run_fair(l);
	while (run_first(&l->frees))
		;
	move_all(&l->next, &l->now);
	if (has_more(l))
		ev_idle_start(ev, &l->idle);
	else
		ev_idle_stop(ev, &l->idle);
}

static void on_check(struct ev_loop *ev, ev_check *w, int revents)
{
	struct loop *l = w->data;

	(void)ev;
	(void)revents;
	l->ms = clock_ms();
}

struct loop *loop_new(void)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	ev_set_allocator(memory_from_reserve);
	l->ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (!l->ev) {
		free(l);
		return NULL;
	}
	list_init(&l->now);
	list_init(&l->next);
	for (int kind = 0; kind < LOOP_FAIR_KINDS; kind++)
		list_init(&l->fair[kind]);
	list_init(&l->frees);
	l->ms = clock_ms();
	ev_prepare_init(&l->prepare, on_prepare);
	l->prepare.data = l;
	/* after every other prepare watcher, before the poll */
	ev_set_priority(&l->prepare, EV_MINPRI);
	ev_prepare_start(l->ev, &l->prepare);
	ev_check_init(&l->check, on_check);
	l->check.data = l;
	ev_set_priority(&l->check, EV_MAXPRI);
	ev_check_start(l->ev, &l->check);
	ev_idle_init(&l->idle, on_idle);
	return l;
}

void loop_settle(struct loop *l)
{
	/* as many turns as a teardown can need; what posts itself again for ever is not waited for */
	for (int turn = 0; turn < 8; turn++) {
		run_tasks(l);
		for (unsigned round = 0; round < TASKS_A_TURN && run_fair_round(l); round++)
			;
		while (run_first(&l->frees))
			;
		move_all(&l->next, &l->now);
	}
}

void loop_free(struct loop **lp)
{
	struct loop *l = *lp;

	if (!l)
		return;
	*lp = NULL;
	while (run_first(&l->frees) || run_fair_round(l))
		;
	for (unsigned i = 0; i < l->signal_count; i++)
		ev_signal_stop(l->ev, &l->signals[i].watcher);
	ev_prepare_stop(l->ev, &l->prepare);
	ev_check_stop(l->ev, &l->check);
	ev_idle_stop(l->ev, &l->idle);
	ev_loop_destroy(l->ev);
	for (unsigned i = 0; i < l->block_count; i++)
		free(l->blocks[i]);
	pool_clear(&l->pool);
	free(l);
}

void loop_run(struct loop *l)
{
	ev_run(l->ev, 0);
}

void loop_stop(struct loop *l)
{
	ev_break(l->ev, EVBREAK_ALL);
}

struct ev_loop *loop_ev(struct loop *l)
{
	return l->ev;
}

uint64_t loop_ms(const struct loop *l)
{
	return l->ms;
}

void task_post(struct loop *l, struct task *t)
{
	post(&l->now, t);
}

void task_post_next(struct loop *l, struct task *t)
{
	post(&l->next, t);
}

void task_post_fair(struct loop *l, enum loop_fair kind, struct task *t)
{
	post(&l->fair[kind], t);
}

void task_cancel(struct loop *l, struct task *t)
{
	(void)l;
	if (is_posted(t))
		list_remove(&t->node);
}

void task_post_free(struct loop *l, struct task *t)
{
	post(&l->frees, t);
}

static void arm(struct timer *t, uint64_t at_ms, uint64_t now_ms)
{
	double wait = at_ms > now_ms ? (double)(at_ms - now_ms) / 1000. : 0.;

	/* relative to libev's own idea of now, which is that of the last poll */
	ev_now_update(t->loop->ev);
	ev_timer_set(&t->watcher, wait, 0.);
	ev_timer_start(t->loop->ev, &t->watcher);
	t->armed_ms = at_ms;
}

static void on_timer(struct ev_loop *ev, ev_timer *w, int revents)
{
	struct timer *t = w->data;
	uint64_t now = clock_ms();

	(void)ev;
	(void)revents;
	t->armed_ms = 0;
	if (!t->due_ms)
		return;
	if (now < t->due_ms) { /* it was moved later since */
		arm(t, t->due_ms, now);
		return;
	}
	t->due_ms = 0;
	t->fn(t->arg);
}

void timer_init(struct timer *t, struct loop *l, void (*fn)(void *arg), void *arg)
{
	t->fn = fn;
	t->arg = arg;
	t->loop = l;
	t->due_ms = t->armed_ms = 0;
	ev_timer_init(&t->watcher, on_timer, 0., 0.);
	t->watcher.data = t;
}

void timer_set(struct timer *t, uint64_t ms)
{
	t->due_ms = t->loop->ms + ms;
	if (!t->due_ms)
		t->due_ms = 1;
	if (t->armed_ms && t->armed_ms <= t->due_ms)
		return;
	if (t->armed_ms)
		ev_timer_stop(t->loop->ev, &t->watcher);
	arm(t, t->due_ms, clock_ms());
}

void timer_stop(struct timer *t)
{
	t->due_ms = t->armed_ms = 0;
	if (t->loop)
		ev_timer_stop(t->loop->ev, &t->watcher);
}

static void on_signal(struct ev_loop *ev, ev_signal *w, int revents)
{
	struct signal_slot *s = w->data;

	(void)ev;
	(void)revents;
	s->fn(s->arg, w->signum);
}

int loop_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg)
{
	struct signal_slot *s;

	if (l->signal_count == LOOP_SIGNALS)
		return ADIT_ERR_LIMIT;
	s = &l->signals[l->signal_count++];
	s->fn = fn;
	s->arg = arg;
	ev_signal_init(&s->watcher, on_signal, signo);
	s->watcher.data = s;
	ev_signal_start(l->ev, &s->watcher);
	ev_unref(l->ev); /* a signal handler alone does not keep the loop running */
	return 0;
}

uint8_t *loop_borrow(struct loop *l)
{
	return l->block_count ? l->blocks[--l->block_count] : malloc(LOOP_BLOCK);
}

void loop_return(struct loop *l, uint8_t *block)
{
	if (!block)
		return;
	if (l->block_count < BLOCKS_KEPT)
		l->blocks[l->block_count++] = block;
	else
		free(block);
}

struct pool *loop_pool(struct loop *l)
{
	return &l->pool;
}
