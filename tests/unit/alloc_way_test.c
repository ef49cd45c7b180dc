/* Each allocation fails in turn on the way from a visitor to an origin: the edge, the exchanges, the origin's side,
 * in HTTP/1.1 and in HTTP/2. Visitors get their answer, an error or the end of the connection; nobody waits for
 * ever, nothing is left behind. */
#include "alloc_fail.h"

#include "way_world.h"

/* Allocations that fail one after another. */
#define ROW 5
/* A request whose stream there is no memory for waits as for one that is not free: ORIGIN_H2_WAIT_MS. No other
 * deadline is what ends a wait. */
#define SOON_MS 11000

static bool live(bool h2, long n, long more)
{
	long before = alloc_fail.live;
	struct way *w = way_new(h2, 0, 40000);
	bool told, failed;
	uint64_t began = w->loop->ms;

	alloc_fail_at(n, more);
	told = !way_open(w) || way_run(w);
	failed = alloc_fail_stop();
	for (size_t i = 0; !told && i < WAY_TALKS; i++)
		if (!way_told(w, i))
			printf("\nallocation %ld: request %zu waits for ever: \"%s\", origin \"%s\"\n", n, i, w->asks[i].text,
			       w->answers[i].text);
	CU_ASSERT_TRUE(told);
	if (w->loop->ms - began > SOON_MS)
		printf("\nallocation %ld: told after %llu ms only\n", n, (unsigned long long)(w->loop->ms - began));
	CU_ASSERT(w->loop->ms - began <= SOON_MS);
	for (size_t i = 0; !failed && i < WAY_TALKS; i++)
		CU_ASSERT_TRUE(way_came_out(w, i));
	way_free(w);
	if (alloc_fail.live != before)
		printf("\nallocation %ld: %ld leaked\n", n, alloc_fail.live - before);
	CU_ASSERT_EQUAL(alloc_fail.live, before);
	return failed;
}

static void fail_each(bool h2, long more)
{
	long n = 0;

	while (live(h2, n, more))
		n++;
	printf("(%ld) ", n);
	CU_ASSERT(n > 50);
}

static void h1(void)
{
	fail_each(false, 0);
	fail_each(false, ROW);
}

static void h2(void)
{
	fail_each(true, 0);
	fail_each(true, ROW);
}

static const struct unit_test tests[] = {
	{"an allocation that fails between an HTTP/1.1 visitor and origin, whichever", h1},
	{"the same in HTTP/2", h2},
};

int main(void)
{
	alloc_fail_init();
	return unit_main("alloc_way", tests, sizeof(tests) / sizeof(tests[0]));
}
