/* From a visitor through the edge to an origin and back, over connections that move few bytes at a time, now and
 * then none, at random: six exchanges of all kinds in HTTP/1.1 and in HTTP/2. $ADIT_SEED chooses other numbers. */
#include "way_world.h"

#include "seed.h"

#define RUNS 25

static void run(bool h2, uint32_t whim, size_t room)
{
	struct way *w = way_new(h2, whim, room);
	bool good = way_open(w);

	good = way_run(w) && good;
	for (size_t i = 0; i < WAY_TALKS; i++) {
		if (way_came_out(w, i))
			continue;
		good = false;
		printf("\n%zu: visitor got %zu bytes, \"%s\"; origin %zu, \"%s\"", i, w->asks[i].got, w->asks[i].text,
		       w->answers[i].got, w->answers[i].text);
	}
	if (!good)
		printf("\n%s, seed %u, room %zu\n", h2 ? "HTTP/2" : "HTTP/1.1", whim, room);
	CU_ASSERT_TRUE(good);
	way_free(w);
}

static void whole(void)
{
	run(false, 0, 1 << 20);
	run(true, 0, 1 << 20);
}

static void trickling(bool h2)
{
	uint32_t base = seed_base();

	for (uint32_t i = 0; i < RUNS; i++) {
		uint32_t seed = base + i;

		run(h2, base + i, 1 + seed_below(&seed, 60000));
	}
}

static void h1(void)
{
	trickling(false);
}

static void h2(void)
{
	trickling(true);
}

static const struct unit_test tests[] = {
	{"six exchanges pass, in HTTP/1.1 and in HTTP/2", whole},
	{"so they do in HTTP/1.1 while bytes trickle", h1},
	{"so they do in HTTP/2", h2},
};

UNIT_MAIN("short_way", tests)
