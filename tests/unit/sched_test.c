#include "h2/sched.h"

#include <string.h>

#include "unit.h"

enum { ENTRIES = 4 };

struct fixture {
	struct sched s;
	struct sched_entry e[ENTRIES];
};

static void make(struct fixture *f)
{
	sched_init(&f->s);
	for (int i = 0; i < ENTRIES; i++)
		sched_entry_init(&f->e[i]);
}

/* Takes `n` turns in which each entry that was chosen waits again; out[i] counts those of entry i. */
static void turns(struct fixture *f, int n, int out[ENTRIES])
{
	memset(out, 0, ENTRIES * sizeof(*out));
	for (int i = 0; i < n; i++) {
		struct sched_entry *e = sched_next(&f->s, true);

		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		out[e - f->e]++;
		sched_add(&f->s, e);
	}
}

static void round_robin(void)
{
	struct fixture f;

	make(&f);
	for (int i = 0; i < ENTRIES; i++)
		sched_add(&f.s, &f.e[i]);
	for (int i = 0; i < 40; i++) {
		struct sched_entry *e = sched_next(&f.s, true);

		CU_ASSERT_PTR_EQUAL(e, &f.e[i % ENTRIES]);
		sched_add(&f.s, e);
	}
}

static void small_first(void)
{
	struct fixture f;
	int got[ENTRIES];

	make(&f);
	f.e[0].sent = SCHED_MEDIUM;
	f.e[1].sent = SCHED_SMALL;
	f.e[2].sent = SCHED_SMALL - 1;
	for (int i = 0; i < 3; i++)
		sched_add(&f.s, &f.e[i]);
	turns(&f, 800, got);
	CU_ASSERT_EQUAL(got[2], 700);
	CU_ASSERT_EQUAL(got[0], 100);
	CU_ASSERT_EQUAL(got[1], 0);
	sched_remove(&f.e[2]);
	turns(&f, 800, got);
	CU_ASSERT_EQUAL(got[1], 700);
	CU_ASSERT_EQUAL(got[0], 100);
}

static void interactive(void)
{
	struct fixture f;
	int got[ENTRIES];

	make(&f);
	f.e[0].sent = f.e[1].sent = 100 * SCHED_MEDIUM;
	f.e[1].interactive = true;
	sched_add(&f.s, &f.e[0]);
	sched_add(&f.s, &f.e[1]);
	turns(&f, 800, got);
	CU_ASSERT_EQUAL(got[1], 700);
}

static void lowest_alone(void)
{
	struct fixture f;
	int got[ENTRIES];

	make(&f);
	f.e[3].sent = SCHED_MEDIUM;
	sched_add(&f.s, &f.e[3]);
	turns(&f, 100, got);
	CU_ASSERT_EQUAL(got[3], 100);
}

static void bulk_left_out(void)
{
	struct fixture f;
	int bulk = 0;

	make(&f);
	f.e[0].sent = SCHED_MEDIUM;
	f.e[1].sent = SCHED_SMALL;
	sched_add(&f.s, &f.e[0]);
	for (int i = 0; i < 2 * SCHED_LOWEST_EVERY; i++)
		CU_ASSERT_PTR_NULL(sched_next(&f.s, false));
	for (int i = 0; i < 10 * SCHED_LOWEST_EVERY; i++) {
		sched_add(&f.s, &f.e[0]);
		sched_add(&f.s, &f.e[1]);
		bulk += sched_next(&f.s, false) == &f.e[0];
	}
	CU_ASSERT_EQUAL(bulk, 10);
	sched_remove(&f.e[1]);
	sched_add(&f.s, &f.e[0]);
	CU_ASSERT_PTR_NULL(sched_next(&f.s, false));
	CU_ASSERT_PTR_EQUAL(sched_next(&f.s, true), &f.e[0]);
}

static void added_twice(void)
{
	struct fixture f;

	make(&f);
	sched_add(&f.s, &f.e[0]);
	sched_add(&f.s, &f.e[0]);
	CU_ASSERT_PTR_EQUAL(sched_next(&f.s, true), &f.e[0]);
	CU_ASSERT_PTR_NULL(sched_next(&f.s, true));
}

static void removed(void)
{
	struct fixture f;

	make(&f);
	sched_remove(&f.e[0]);
	CU_ASSERT_PTR_NULL(sched_next(&f.s, true));
	sched_add(&f.s, &f.e[0]);
	sched_add(&f.s, &f.e[1]);
	sched_remove(&f.e[0]);
	CU_ASSERT_PTR_EQUAL(sched_next(&f.s, true), &f.e[1]);
	CU_ASSERT_PTR_NULL(sched_next(&f.s, true));
}

static const struct unit_test tests[] = {
	{"those of one class take turns", round_robin},
	{"small ones go first, and the lowest class gets one turn in eight", small_first},
	{"an interactive one stays among the small however much it sent", interactive},
	{"who is alone is always chosen", lowest_alone},
	{"bulk that is held waits when it is alone, and keeps one turn in eight beside others", bulk_left_out},
	{"adding one that waits changes nothing", added_twice},
	{"one that was removed is not chosen", removed},
};

UNIT_MAIN("sched", tests)
