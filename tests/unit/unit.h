/* unit: runs one module's CUnit tests as a program of its own.
 * Each tests/unit/X_test.c lists its tests in a table and ends with `UNIT_MAIN("X", tests)`.
 */
#ifndef ADIT_TESTS_UNIT_H
#define ADIT_TESTS_UNIT_H

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

struct unit_test {
	const char *what; /* a sentence saying what it shows */
	void (*run)(void);
};

static inline int unit_main(const char *suite, const struct unit_test *tests, size_t n)
{
	CU_pSuite s;
	unsigned failed;

	if (CU_initialize_registry() != CUE_SUCCESS)
		return 2;
	s = CU_add_suite(suite, NULL, NULL);
	for (size_t i = 0; s && i < n; i++)
		if (!CU_add_test(s, tests[i].what, tests[i].run))
			return 2;
	CU_basic_set_mode(CU_BRM_VERBOSE);
	CU_basic_run_tests();
	failed = CU_get_number_of_failures() + CU_get_number_of_tests_failed();
	printf("unit %s: %u passed, %u failed\n", suite, CU_get_number_of_tests_run() - CU_get_number_of_tests_failed(),
	       CU_get_number_of_tests_failed());
	CU_cleanup_registry();
	return failed ? 1 : 0;
}

#define UNIT_MAIN(suite, tests)                                                                    \
	int main(void)                                                                             \
	{                                                                                          \
		return unit_main((suite), (tests), sizeof(tests) / sizeof((tests)[0]));            \
	}

#endif
