/* climb: when a better carrier is tried again. */
#include "session/climb.h"

#include "unit.h"

#define MINUTE 60000u
#define BASE ((uint64_t)5 * MINUTE)

static void doubles(void)
{
	static const unsigned minutes[] = {5, 10, 20, 40, 60, 60, 60};
	struct climb c;

	climb_init(&c, BASE);
	for (size_t i = 0; i < sizeof(minutes) / sizeof(minutes[0]); i++) {
		CU_ASSERT_EQUAL(climb_wait_ms(&c), (uint64_t)minutes[i] * MINUTE);
		climb_failed(&c);
	}
	climb_done(&c);
	CU_ASSERT_EQUAL(climb_wait_ms(&c), BASE);
}

static void falls(void)
{
	struct climb c;

	climb_init(&c, BASE);
	climb_failed(&c);
	CU_ASSERT_FALSE(climb_fell(&c, 1000));
	CU_ASSERT_EQUAL(climb_wait_ms(&c), BASE);
	CU_ASSERT_TRUE(climb_fell(&c, 1000 + 2 * BASE - 1));
	CU_ASSERT_EQUAL(climb_wait_ms(&c), 12 * BASE);
	climb_failed(&c);
	CU_ASSERT_EQUAL(climb_wait_ms(&c), 12 * BASE);
	CU_ASSERT_FALSE(climb_fell(&c, 1000 + 4 * BASE - 1)); /* late enough after the second */
	CU_ASSERT_EQUAL(climb_wait_ms(&c), BASE);
}

/* A fall at time 0 is one too. */
static void at_zero(void)
{
	struct climb c;

	climb_init(&c, BASE);
	CU_ASSERT_FALSE(climb_fell(&c, 0));
	CU_ASSERT_TRUE(climb_fell(&c, 1));
}

static const struct unit_test tests[] = {
	{"tries that fail come after 5, 10, 20, 40 minutes, then hourly, and success starts over", doubles},
	{"two falls within ten minutes hold it for an hour, two further apart do not", falls},
	{"the clock may begin at 0", at_zero},
};

UNIT_MAIN("climb", tests)
