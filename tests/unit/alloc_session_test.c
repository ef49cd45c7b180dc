/* Each allocation of a session's life fails in turn, ours, jansson's and nghttp2's: the greeting, six exchanges, a
 * carrier that is lost, the resume. Whatever fails, both programs go on or end it with an error; no request waits
 * for ever, nothing is freed twice or never. */
#include "alloc_fail.h"

#include "resume_talks.h"

/* Allocations that fail one after another: what is tried again at once fails again. */
#define ROW 7

struct outcome {
	bool failed;    /* something did */
	bool survived;  /* and all the same the exchanges came out as they should */
	long allocations;
};

static bool told(const struct talk *t)
{
	return !t->visitor.half.peer;
}

static bool all_told(const struct world *w)
{
	for (unsigned i = 0; i < WORLD_TALKS; i++)
		if (!told(&w->talks[i]))
			return false;
	return true;
}

/* A link that was given up by its other end is kept for a while: requests on it are told when that is over. */
static void wait_for_the_rest(struct world *w)
{
	uint64_t until = w->loop->ms + WORLD_PATIENCE_MS;

	while (!all_told(w)) {
		bool busy = world_turn(w);

		talks_drive(w);
		if (!busy && !loop_jump(w->loop, until))
			return;
	}
}

/* One life with the `n`th allocation failing. */
static struct outcome live(long n, long more, const struct cut *cuts, unsigned cut_count)
{
	long before = alloc_fail.live;
	struct world *w;
	struct outcome o = {.failed = false};

	w = world_new(cuts, cut_count);
	w->scarce = true;
	alloc_fail_at(n, more);
	if (talks_run(w))
		wait_for_the_rest(w);
	o.allocations = alloc_fail.done;
	o.failed = alloc_fail_stop();
	for (unsigned i = 0; i < WORLD_TALKS; i++) {
		if (!told(&w->talks[i]))
			printf("\nallocation %ld: request %u waits for ever: \"%s\"\n", n, i, w->talks[i].visitor.text);
		CU_ASSERT_TRUE(told(&w->talks[i]));
	}
	o.survived = w->published && !w->refused && w->talking;
	world_free(w);
	if (alloc_fail.live != before)
		printf("\nallocation %ld: %ld leaked\n", n, alloc_fail.live - before);
	CU_ASSERT_EQUAL(alloc_fail.live, before);
	return o;
}

static void fail_each(long step, long more, const struct cut *cuts, unsigned cut_count)
{
	unsigned runs = 0, survived = 0;
	struct outcome o;

	for (long n = 0; n == 0 || o.failed; n += step) {
		o = live(n, more, cuts, cut_count);
		runs++;
		survived += o.survived;
	}
	printf("(%u runs, %u up at the end) ", runs, survived);
	CU_ASSERT(runs > 100);
	CU_ASSERT(o.survived); /* the last one, in which nothing failed */
}

static void one_fails(void)
{
	fail_each(1, 0, NULL, 0);
}

static void some_fail(void)
{
	fail_each(1, ROW, NULL, 0);
}

/* Where in the exchanges the first carrier ends; then there is more to be said again, and an ATTACH. */
static void amid_a_resume(void)
{
	static const struct cut cuts[] = {
		{.way = 1, .at = 300, .notice = {ADIT_ERR_RESET, ADIT_ERR_EOF}},
		{.way = 0, .at = 900, .notice = {ADIT_ERR_EOF, ADIT_ERR_RESET}},
		{.way = 1, .at = 700, .notice = {0, 0}}, {.way = 1, .at = 650, .leaves = true},
	};

	for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
		fail_each(1, 0, &cuts[i], 1);
		fail_each(3, ROW, &cuts[i], 1);
	}
}

static const struct unit_test tests[] = {
	{"a session survives an allocation that fails, whichever, or ends", one_fails},
	{"and several that fail in a row", some_fail},
	{"and that while a link resumes", amid_a_resume},
};

int main(void)
{
	alloc_fail_init();
	return unit_main("alloc_session", tests, sizeof(tests) / sizeof(tests[0]));
}
