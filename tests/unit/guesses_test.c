/* guesses: how long a source has to wait after wrong guesses, what counts as one source, and that all is bounded. */
#include "rules/guesses.h"

#include <arpa/inet.h>
#include <string.h>

#include "unit.h"

static struct guess_source source(const char *text)
{
	struct in6_addr a;

	CU_ASSERT_EQUAL_FATAL(inet_pton(AF_INET6, text, &a), 1);
	return guess_source_of(&a);
}

/* wrong at   0 0 0 0 | 0      1      3      7   …  63       123
 * waits              | 1 s    2 s    4 s    8 s    60 s     60 s   */
static void test_growing(void)
{
	static const unsigned waits[] = {0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60};
	struct guesses *g = guesses_new(1000);
	struct guess_source s = source("::ffff:192.0.2.1"), other = source("::ffff:192.0.2.2");
	uint64_t now = 1000;

	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		CU_ASSERT_EQUAL(guesses_wait(g, s, now), 0);
		CU_ASSERT_EQUAL(guesses_wrong(g, s, now), waits[i]);
		CU_ASSERT_EQUAL(guesses_wait(g, s, now), waits[i]);
		if (waits[i]) {
			/* what comes in between is not looked at, and makes nothing worse */
			CU_ASSERT_EQUAL(guesses_wrong(g, s, now + waits[i] * 1000 - 1), 1);
			CU_ASSERT_EQUAL(guesses_wait(g, s, now + waits[i] * 1000 - 1), 1);
		}
		now += waits[i] * 1000;
	}
	CU_ASSERT_EQUAL(guesses_wait(g, other, now), 0);
	CU_ASSERT_EQUAL(guesses_wrong(g, other, now), 0);
	/* a minute after the wait all is forgotten, and not sooner */
	CU_ASSERT_EQUAL(guesses_wrong(g, s, now + GUESSES_WINDOW_MS - 1), 60);
	now += GUESSES_WINDOW_MS - 1 + 60000;
	CU_ASSERT_EQUAL(guesses_wrong(g, s, now + GUESSES_WINDOW_MS), 0);
	guesses_free(&g);
	CU_ASSERT_PTR_NULL(g);
}

static void test_slow_typist(void)
{
	struct guesses *g = guesses_new(0);
	struct guess_source s = source("::ffff:192.0.2.1");

	for (uint64_t now = 0; now < 100 * GUESSES_WINDOW_MS; now += GUESSES_WINDOW_MS)
		CU_ASSERT_EQUAL(guesses_wrong(g, s, now), 0);
	guesses_free(&g);
}

static void test_sources(void)
{
	struct guess_source a = source("2001:db8:1:2:3::4"), b = source("2001:db8:1:2:ffff::");
	struct guess_source c = source("2001:db8:1:3::"), none = guess_source_of(NULL);
	struct guess_source d = source("::ffff:192.0.2.1"), e = source("::ffff:192.0.2.2");

	CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof(a)), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(&a, &c, sizeof(a)), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(&d, &e, sizeof(a)), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(&d, &none, sizeof(a)), 0);
}

/* Ten times as many sources as are remembered: the latest are known, the first ones forgotten. */
static void test_bounded(void)
{
	enum { ALL = 10 * GUESSES_SOURCES };
	struct guesses *g = guesses_new(0);
	unsigned known = 0;

	for (unsigned i = 0; i < ALL; i++) {
		struct in6_addr a = {.s6_addr = {0x20, 1, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};

		for (int n = 0; n < 5; n++)
			guesses_wrong(g, guess_source_of(&a), 0);
	}
	CU_ASSERT_EQUAL(guesses_count(g), GUESSES_SOURCES);
	for (unsigned i = 0; i < ALL; i++) {
		struct in6_addr a = {.s6_addr = {0x20, 1, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
		bool waits = guesses_wait(g, guess_source_of(&a), 0) > 0;

		CU_ASSERT_EQUAL(waits, i >= ALL - GUESSES_SOURCES);
		known += waits;
	}
	CU_ASSERT_EQUAL(known, GUESSES_SOURCES);
	guesses_free(&g);
}

static void test_hashes(void)
{
	struct guesses *g = guesses_new(0);
	unsigned n = 0;

	while (n < 1000 && guesses_may_hash(g, 0))
		n++;
	CU_ASSERT_EQUAL(n, GUESSES_HASHES_BURST);
	for (uint64_t now = 1; now <= 1000; now++)
		n += guesses_may_hash(g, now);
	CU_ASSERT_EQUAL(n, GUESSES_HASHES_BURST + GUESSES_HASHES_PER_SECOND);
	guesses_free(&g);
}

static const struct unit_test tests[] = {
	{"the fifth wrong guess waits a second, each further one twice as long, up to a minute", test_growing},
	{"one wrong guess a minute never waits", test_slow_typist},
	{"an IPv4 address is a source, and so is an IPv6 /64", test_sources},
	{"so many sources are remembered and no more, the latest", test_bounded},
	{"so many hashes are computed in a second, whoever asks", test_hashes},
};

UNIT_MAIN("guesses", tests)
