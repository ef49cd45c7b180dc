/* seed: random numbers that can be had again: a run that fails prints the seed it began with. For unit tests only.
 */
#ifndef ADIT_TESTS_SEED_H
#define ADIT_TESTS_SEED_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/** $ADIT_SEED, else always the same; printed. */
static inline uint32_t seed_base(void)
{
	const char *asked = getenv("ADIT_SEED");
	uint32_t seed = asked ? (uint32_t)strtoul(asked, NULL, 10) : 1;

	printf("(seeds from %u) ", seed);
	return seed;
}

/** 0 .. below - 1. */
static inline uint32_t seed_below(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(*seed ^ *seed >> 15) * below >> 32);
}

#endif
