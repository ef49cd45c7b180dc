/* idle: what silent deaths teach. */
#include "session/idle.h"

#include "unit.h"

static void one_death_teaches_nothing(void)
{
	struct idle i = {0};

	CU_ASSERT_EQUAL(idle_died(&i, 20000, 30000), 30000);
	CU_ASSERT_EQUAL(idle_died(&i, 60000, 30000), 30000);
	CU_ASSERT_EQUAL(idle_died(&i, 40000, 30000), 30000);
}

static void the_same_silence_twice_is_a_budget(void)
{
	struct idle i = {0};

	CU_ASSERT_EQUAL(idle_died(&i, 20000, 30000), 30000);
	CU_ASSERT_EQUAL(idle_died(&i, 20900, 30000), 13332);
	/* what is longer than the heartbeat is none that the heartbeat can help */
	i = (struct idle){0};
	CU_ASSERT_EQUAL(idle_died(&i, 350000, 30000), 30000);
	CU_ASSERT_EQUAL(idle_died(&i, 350000, 30000), 30000);
}

static void busy_deaths_between_do_not_count(void)
{
	struct idle i = {0};

	CU_ASSERT_EQUAL(idle_died(&i, 20000, 30000), 30000);
	CU_ASSERT_EQUAL(idle_died(&i, 15, 30000), 30000);
	CU_ASSERT_EQUAL(idle_died(&i, 2999, 30000), 30000);
	CU_ASSERT_EQUAL(idle_died(&i, 19500, 30000), 13000);
}

static void it_gets_shorter_down_to_a_bound(void)
{
	struct idle i = {0};

	CU_ASSERT_EQUAL(idle_died(&i, 12000, 30000), 30000);
	CU_ASSERT_EQUAL(idle_died(&i, 12000, 30000), 8000);
	CU_ASSERT_EQUAL(idle_died(&i, 3000, 8000), 8000);
	CU_ASSERT_EQUAL(idle_died(&i, 3000, 8000), 2000);
	CU_ASSERT_EQUAL(idle_died(&i, 3000, 2000), 2000);
	CU_ASSERT_EQUAL(idle_died(&i, UINT64_MAX, 2000), 2000);
}

static const struct unit_test tests[] = {
	{"one death, and deaths after different silences, teach nothing", one_death_teaches_nothing},
	{"the same silence twice is a budget: the heartbeat gets shorter than that", the_same_silence_twice_is_a_budget},
	{"carriers that die in use do not count", busy_deaths_between_do_not_count},
	{"it is learnt again when it was too long still, down to a bound", it_gets_shorter_down_to_a_bound},
};

UNIT_MAIN("idle", tests)
