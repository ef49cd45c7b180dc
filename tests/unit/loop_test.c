/* loop: in what order things run. Real time, for a loop has no other; every wait has a bound. */
#include "io/loop.h"

#include <signal.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "unit.h"

/** No loop here may run longer: then it waits for something that does not come. */
#define BOUND_MS 5000

struct fixture {
	struct loop *l;
	struct timer bound;
	char order[64]; /* which ran, one letter each */
};

struct step {
	struct fixture *f;
	char letter;
	struct task task, *then;
	void (*post_then)(struct loop *l, struct task *t);
	bool stop, slow;
};

static void too_long(void *arg)
{
	struct fixture *f = arg;

	CU_FAIL("the loop waits for nothing");
	loop_stop(f->l);
}

static void make(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->l = loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->l);
	timer_init(&f->bound, f->l, too_long, f);
	timer_set(&f->bound, BOUND_MS);
}

static void end(struct fixture *f)
{
	timer_stop(&f->bound);
	loop_free(&f->l);
	CU_ASSERT_PTR_NULL(f->l);
}

static void note(struct fixture *f, char letter)
{
	size_t n = strlen(f->order);

	if (n + 1 < sizeof(f->order))
		f->order[n] = letter;
}

static void run_step(void *arg)
{
	struct step *s = arg;

	uint64_t until = clock_us() + 2 * LOOP_FAIR_US;

	note(s->f, s->letter);
	while (s->slow && clock_us() < until)
		;
	if (s->then)
		s->post_then(s->f->l, s->then);
	if (s->stop)
		loop_stop(s->f->l);
}

static void step(struct step *s, struct fixture *f, char letter)
{
	memset(s, 0, sizeof(*s));
	s->f = f;
	s->letter = letter;
	s->task = (struct task){.run = run_step, .arg = s};
}

static void order_of_tasks(void)
{
	struct fixture f;
	struct step a, b, c, d, e;

	make(&f);
	step(&a, &f, 'a');
	step(&b, &f, 'b');
	step(&c, &f, 'c');
	step(&d, &f, 'd');
	step(&e, &f, 'e');
	a.then = &d.task;          /* in this turn, behind those that wait */
	a.post_then = task_post;
	b.then = &e.task;          /* in the next turn, behind the frees */
	b.post_then = task_post_next;
	e.stop = true;
	task_post_free(f.l, &c.task);
	task_post(f.l, &a.task);
	task_post(f.l, &b.task);
	task_post(f.l, &a.task);
	loop_run(f.l);
	CU_ASSERT_STRING_EQUAL(f.order, "abdce");
	end(&f);
}

static void fair_tasks(struct fixture *f, struct step *s, const enum loop_fair *kinds, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		step(&s[i], f, (char)('a' + i));
		task_post_fair(f->l, kinds[i], &s[i].task);
	}
	s[n - 1].stop = true;
}

static void kinds_of_fair_tasks(void)
{
	static const enum loop_fair kinds[] = {LOOP_FAIR_CLOSE, LOOP_FAIR_CLOSE, LOOP_FAIR_REQUEST, LOOP_FAIR_HANDSHAKE,
	                                       LOOP_FAIR_REQUEST, LOOP_FAIR_CLOSE};
	struct fixture f;
	struct step s[6];

	make(&f);
	fair_tasks(&f, s, kinds, 6);
	loop_run(f.l);
	CU_ASSERT_STRING_EQUAL(f.order, "dcaebf");
	end(&f);
}

/* The second one begins within LOOP_FAIR_US; what has waited for the next turn does not wait for all of them. */
static void time_of_fair_tasks(void)
{
	static const enum loop_fair kinds[] = {LOOP_FAIR_HANDSHAKE, LOOP_FAIR_HANDSHAKE, LOOP_FAIR_HANDSHAKE,
	                                       LOOP_FAIR_HANDSHAKE};
	struct fixture f;
	struct step s[4], other;

	make(&f);
	step(&other, &f, 'z');
	fair_tasks(&f, s, kinds, 4);
	for (int i = 0; i < 4; i++)
		s[i].slow = true;
	task_post_next(f.l, &other.task);
	loop_run(f.l);
	CU_ASSERT_STRING_EQUAL(f.order, "abzcd");
	end(&f);
}

static void fair_tasks_of_the_end(void)
{
	struct fixture f;
	struct step a;

	make(&f);
	step(&a, &f, 'a');
	task_post_fair(f.l, LOOP_FAIR_CLOSE, &a.task);
	end(&f);
	CU_ASSERT_STRING_EQUAL(f.order, "a");
}

/* What a free posts runs in the next turn, which does not wait for a descriptor. */
static void tasks_of_frees(void)
{
	struct fixture f;
	struct step a, b;

	make(&f);
	step(&a, &f, 'a');
	step(&b, &f, 'b');
	a.then = &b.task;
	a.post_then = task_post;
	b.stop = true;
	task_post_free(f.l, &a.task);
	loop_run(f.l);
	CU_ASSERT_STRING_EQUAL(f.order, "ab");
	end(&f);
}

static void cancelled(void)
{
	struct fixture f;
	struct step a, b, c;

	make(&f);
	step(&a, &f, 'a');
	step(&b, &f, 'b');
	step(&c, &f, 'c');
	c.stop = true;
	task_cancel(f.l, &a.task);
	task_post(f.l, &a.task);
	task_post_next(f.l, &b.task);
	task_post(f.l, &c.task);
	task_cancel(f.l, &a.task);
	task_cancel(f.l, &b.task);
	loop_run(f.l);
	CU_ASSERT_STRING_EQUAL(f.order, "c");
	end(&f);
}

struct counter {
	struct fixture *f;
	struct task task;
	unsigned count, stop_at;
	void (*post)(struct loop *l, struct task *t);
};

static void count(void *arg)
{
	struct counter *c = arg;

	if (++c->count == c->stop_at)
		loop_stop(c->f->l);
	else
		c->post(c->f->l, &c->task);
}

static void many_turns(void)
{
	struct fixture f;
	struct counter c = {.f = &f, .stop_at = 10000, .post = task_post_next};

	make(&f);
	c.task = (struct task){.run = count, .arg = &c};
	task_post(f.l, &c.task);
	loop_run(f.l);
	CU_ASSERT_EQUAL(c.count, 10000);
	end(&f);
}

/* A task that posts itself for ever leaves descriptors and timers their turn. */
static void endless_task(void)
{
	struct fixture f;
	struct counter c = {.f = &f, .post = task_post};
	struct step last;
	struct timer t;

	make(&f);
	c.task = (struct task){.run = count, .arg = &c};
	step(&last, &f, 't');
	last.stop = true;
	timer_init(&t, f.l, run_step, &last);
	timer_set(&t, 1);
	task_post(f.l, &c.task);
	loop_run(f.l);
	CU_ASSERT_STRING_EQUAL(f.order, "t");
	loop_settle(f.l);
	CU_ASSERT_TRUE(c.count > 0);
	task_cancel(f.l, &c.task);
	timer_stop(&t);
	end(&f);
}

static void settled(void)
{
	struct fixture f;
	struct step a, b, c;

	make(&f);
	step(&a, &f, 'a');
	step(&b, &f, 'b');
	step(&c, &f, 'c');
	a.then = &b.task;
	a.post_then = task_post_next;
	b.then = &c.task;
	b.post_then = task_post_free;
	task_post(f.l, &a.task);
	loop_settle(f.l);
	CU_ASSERT_STRING_EQUAL(f.order, "abc");
	end(&f);
}

static void frees_of_the_end(void)
{
	struct fixture f;
	struct step a;

	make(&f);
	step(&a, &f, 'a');
	task_post_free(f.l, &a.task);
	end(&f);
	CU_ASSERT_STRING_EQUAL(f.order, "a");
}

struct alarm_clock {
	struct step step;
	struct timer timer;
};

static void alarm_init(struct alarm_clock *a, struct fixture *f, char letter)
{
	step(&a->step, f, letter);
	timer_init(&a->timer, f->l, run_step, &a->step);
}

/* a is moved later, b earlier, c stays, d is cleared, e is stopped, z ends it. */
static void timers(void)
{
	struct alarm_clock a, b, c, d, e, z;
	struct fixture f;
	uint64_t began;

	make(&f);
	alarm_init(&a, &f, 'a');
	alarm_init(&b, &f, 'b');
	alarm_init(&c, &f, 'c');
	alarm_init(&d, &f, 'd');
	alarm_init(&e, &f, 'e');
	alarm_init(&z, &f, 'z');
	z.step.stop = true;
	began = clock_ms();
	timer_set(&a.timer, 1);
	timer_set(&a.timer, 40);
	timer_set(&b.timer, 4000);
	timer_set(&b.timer, 0);
	timer_set(&c.timer, 20);
	timer_set(&d.timer, 10);
	timer_clear(&d.timer);
	timer_set(&e.timer, 10);
	timer_stop(&e.timer);
	timer_set(&z.timer, 60);
	CU_ASSERT_TRUE(timer_is_set(&a.timer));
	CU_ASSERT_FALSE(timer_is_set(&d.timer));
	loop_run(f.l);
	CU_ASSERT_STRING_EQUAL(f.order, "bcaz");
	CU_ASSERT_TRUE(clock_ms() - began >= 59); /* the turn's time may be a millisecond old */
	CU_ASSERT_TRUE(clock_ms() - began < BOUND_MS);
	CU_ASSERT_FALSE(timer_is_set(&a.timer));
	timer_stop(&d.timer);
	end(&f);
}

static void set_again(void *arg)
{
	struct alarm_clock *a = arg;

	note(a->step.f, 'x');
	if (strlen(a->step.f->order) == 5)
		loop_stop(a->step.f->l);
	else
		timer_set(&a->timer, 1);
}

static void timer_from_itself(void)
{
	struct alarm_clock a;
	struct fixture f;

	make(&f);
	step(&a.step, &f, 'x');
	timer_init(&a.timer, f.l, set_again, &a);
	timer_set(&a.timer, 0);
	loop_run(f.l);
	CU_ASSERT_STRING_EQUAL(f.order, "xxxxx");
	end(&f);
}

static void on_signal(void *arg, int signo)
{
	struct fixture *f = arg;

	note(f, signo == SIGUSR1 ? '1' : '2');
	if (strlen(f->order) == 2)
		loop_stop(f->l);
}

static void signals(void)
{
	struct fixture f;

	make(&f);
	CU_ASSERT_EQUAL(loop_signal(f.l, SIGUSR1, on_signal, &f), 0);
	CU_ASSERT_EQUAL(loop_signal(f.l, SIGUSR2, on_signal, &f), 0);
	raise(SIGUSR1);
	raise(SIGUSR2);
	CU_ASSERT_STRING_EQUAL(f.order, "");
	loop_run(f.l);
	CU_ASSERT_EQUAL(strlen(f.order), 2);
	for (int i = 2; i < LOOP_SIGNALS; i++)
		CU_ASSERT_EQUAL(loop_signal(f.l, SIGHUP, on_signal, &f), 0);
	CU_ASSERT_EQUAL(loop_signal(f.l, SIGHUP, on_signal, &f), ADIT_ERR_LIMIT);
	end(&f);
}

static void blocks(void)
{
	enum { OUT = 10 };
	struct fixture f;
	uint8_t *out[OUT], *again;

	make(&f);
	for (int i = 0; i < OUT; i++) {
		out[i] = loop_borrow(f.l);
		CU_ASSERT_PTR_NOT_NULL_FATAL(out[i]);
		memset(out[i], i, LOOP_BLOCK);
	}
	for (int i = 0; i < OUT; i++)
		CU_ASSERT_TRUE(out[i][0] == i && out[i][LOOP_BLOCK - 1] == i);
	for (int i = 0; i < OUT; i++)
		loop_return(f.l, out[i]);
	loop_return(f.l, NULL);
	again = loop_borrow(f.l);
	CU_ASSERT_PTR_NOT_NULL(again);
	loop_return(f.l, again);
	end(&f);
}

static const struct unit_test tests[] = {
	{"tasks run once and in order, then the frees, then the next turn", order_of_tasks},
	{"fair tasks run in order, one of each kind", kinds_of_fair_tasks},
	{"fair tasks that take long leave the rest to the next turn", time_of_fair_tasks},
	{"fair tasks run at the latest when the loop goes", fair_tasks_of_the_end},
	{"what a free posts is run without waiting", tasks_of_frees},
	{"a cancelled task does not run", cancelled},
	{"work for the next turn keeps the loop from waiting", many_turns},
	{"a task that posts itself for ever does not stop the loop, nor its settling", endless_task},
	{"settling runs what is posted, and what that posts", settled},
	{"frees run at the latest when the loop goes", frees_of_the_end},
	{"timers fire in order, not early, and not when moved or cleared", timers},
	{"a timer may be set from its own call", timer_from_itself},
	{"signals are told inside the loop, up to a number of them", signals},
	{"blocks that are lent are distinct", blocks},
};

UNIT_MAIN("loop", tests)
