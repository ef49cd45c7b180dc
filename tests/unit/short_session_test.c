/* Carriers that move few bytes at a time, now and then none, at random: links, and the sessions of both programs
 * with six exchanges, through them and through cuts. $ADIT_SEED chooses other numbers than the usual ones. */
#include "resume_talks.h"

#include "link_pair.h"
#include "seed.h"

#define LINK_RUNS 300
#define SESSION_RUNS 150

/* ---- links */

/* Writes and reads of random sizes, and a new carrier now and then, in which what was on its way is lost. */
static bool trickle(struct pair *p, uint32_t *seed)
{
	for (unsigned i = 0; i < 20000 && !finished(p); i++) {
		unsigned way = seed_below(seed, 2);
		size_t moved = 0, max = seed_below(seed, 3) ? seed_below(seed, 40) : seed_below(seed, 5000);

		if (seed_below(seed, 2))
			write_once(p, (int)way, max);
		else if (read_once(p, (int)way, max, SIZE_MAX, &moved) < 0)
			return false;
		if (!seed_below(seed, 500)) {
			pair_detach(p);
			pair_attach(p);
		}
		p->now_ms += seed_below(seed, 20);
		(void)link_tick(link_of(p, (int)way), p->now_ms);
	}
	return true;
}

static void links(void)
{
	const size_t *const pulls[] = {PULLS_MIXED, PULLS_FULL, PULLS_BULK};
	struct script whole = WHOLE;
	uint32_t base = seed_base();

	for (uint32_t i = 0; i < LINK_RUNS; i++) {
		uint32_t seed = base + i;
		struct pair *p = pair_new(seed_below(&seed, 30000), seed_below(&seed, 30000), pulls[i % 3]);
		bool good;

		p->end[0].controls = i & 1;
		p->end[1].controls = i & 2;
		pair_attach(p);
		good = trickle(p, &seed);
		/* what is left goes at once: a run is long enough when it has seen some carriers */
		good = pair_run(p, &whole) && good && delivered(p);
		if (!good)
			printf("\nseed %u\n", base + i);
		CU_ASSERT_TRUE(good);
		pair_free(p);
	}
}

/* ---- sessions */

static void sessions(void)
{
	static const int notices[][2] = {
		{ADIT_ERR_RESET, ADIT_ERR_RESET}, {ADIT_ERR_EOF, 0}, {0, ADIT_ERR_RESET}, {ADIT_ERR_EOF, ADIT_ERR_EOF},
	};
	uint32_t base = seed_base();

	for (uint32_t i = 0; i < SESSION_RUNS; i++) {
		uint32_t seed = base + i;
		unsigned end = seed_below(&seed, 4);
		const struct cut cut = {
			.way = seed_below(&seed, 2), .at = 200 + seed_below(&seed, 2500),
			.notice = {notices[end][0], notices[end][1]},
		};
		struct world *w = world_new(&cut, i & 1); /* each second one is cut once */
		bool good;

		w->whim = seed_below(&seed, 1000000) + 1;
		w->body = 60 + seed_below(&seed, 3000);
		w->room = 1 + seed_below(&seed, 6000);
		good = talks_run(w);
		good = talks_came_out(w) && good;
		if (!good)
			printf("\nseed %u\n", base + i);
		CU_ASSERT_TRUE(good);
		world_free(w);
	}
}

static const struct unit_test tests[] = {
	{"links deliver each byte once over carriers that trickle and die", links},
	{"sessions bring exchanges through them, each as it should", sessions},
};

UNIT_MAIN("short_session", tests)
