#include "session/backoff.h"

#include "unit.h"

static void quick(void)
{
	static const uint32_t wanted[] = {100, 250, 250, 250, 250, 250, 250, 500, 800, 800, 800};
	struct backoff b = {0, 0, 0};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		CU_ASSERT_EQUAL(backoff_next(&b, 5000 + i), wanted[i]);
}

static void slow(void)
{
	static const uint32_t wanted[] = {1600, 3200, 6400, 8000, 8000};
	struct backoff b = {0, 0, 0};

	CU_ASSERT_EQUAL(backoff_next(&b, 5000), 100);
	CU_ASSERT_EQUAL(backoff_next(&b, 5000 + BACKOFF_QUICK_MS - 1), 250);
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
		CU_ASSERT_EQUAL(backoff_next(&b, 5000 + BACKOFF_QUICK_MS + i), wanted[i]);
}

static void for_days(void)
{
	struct backoff b = {0, 0, 0};
	uint64_t now = 0;

	for (int i = 0; i < 1000000; i++) {
		uint32_t wait = backoff_next(&b, now);

		CU_ASSERT_FATAL(wait >= BACKOFF_FIRST_MS && wait <= BACKOFF_MAX_MS);
		now += wait;
	}
}

static void reset(void)
{
	struct backoff b = {0, 0, 0};

	backoff_next(&b, 1);
	backoff_next(&b, 100000);
	backoff_reset(&b);
	CU_ASSERT_EQUAL(backoff_next(&b, 200000), 100);
	CU_ASSERT_EQUAL(backoff_next(&b, 200000 + BACKOFF_QUICK_MS - 1), 250);
}

static const struct unit_test tests[] = {
	{"a young outage is dialled quickly", quick},
	{"an older one more and more slowly, up to the longest wait", slow},
	{"no wait is longer than that, however long it takes", for_days},
	{"the next outage starts over", reset},
};

UNIT_MAIN("backoff", tests)
