/* unit: runs one module's CUnit tests as a program of its own.
 * Each tests/unit/X_test.c lists its tests in a table and ends with `UNIT_MAIN("X", tests)`.
 * With UNIT_ABORTS defined first there is no CUnit, and an assertion that fails ends the program: so fuzz targets use
 * the scripts of the unit tests.
 */
#ifndef ADIT_TESTS_UNIT_H
#define ADIT_TESTS_UNIT_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#ifdef UNIT_ABORTS

static inline void unit_require(bool ok, const char *what, const char *file, int line)
{
	if (ok)
		return;
	fprintf(stderr, "%s:%d: not so: %s\n", file, line, what);
	abort();
}

#define CU_ASSERT(x) unit_require((x), #x, __FILE__, __LINE__)
#define CU_ASSERT_FATAL(x) CU_ASSERT(x)
#define CU_ASSERT_TRUE(x) CU_ASSERT(x)
#define CU_ASSERT_FALSE(x) CU_ASSERT(!(x))
#define CU_ASSERT_EQUAL(a, b) CU_ASSERT((a) == (b))
#define CU_ASSERT_EQUAL_FATAL(a, b) CU_ASSERT((a) == (b))
#define CU_ASSERT_PTR_NULL(p) CU_ASSERT(!(p))
#define CU_ASSERT_PTR_NOT_NULL(p) CU_ASSERT((p) != NULL)
#define CU_ASSERT_PTR_NOT_NULL_FATAL(p) CU_ASSERT((p) != NULL)
#define CU_FAIL(text) unit_require(false, text, __FILE__, __LINE__)

#else

#include <CUnit/Basic.h>

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
#endif
