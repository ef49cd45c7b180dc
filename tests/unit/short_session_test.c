/* Carriers that move few bytes at a time, now and then none, at random: links, and the sessions of both programs
 * with six exchanges, through them and through cuts. $ADIT_SEED chooses other numbers than the usual ones. */
#include "resume_talks.h"

#include "link_pair.h"
#include "seed.h"

#define LINK_RUNS 300
#define SESSION_RUNS 150
/* $ADIT_STORMS: how many; each has so many blows. Groundless doubts make the next suspicion slow: few of them. */
#define STORMS 300
#define BLOWS 5
#define DOUBTS 2

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

/* ---- storms: what ends or doubts carriers comes whenever it likes, also amid a resume */

struct storm {
	unsigned blows, doubts;
	uint32_t seed;
};

/* A carrier, the newest mostly, dies: who notices, and how, is chance. */
static void kill_carrier(struct world *w, uint32_t *seed)
{
	static const int finds[] = {0, ADIT_ERR_EOF, ADIT_ERR_RESET};
	struct pipe *p = w->pipes[w->pipe_count - 1 - seed_below(seed, w->pipe_count > 1 ? 2 : 1)];

	p->notice[0] = finds[seed_below(seed, 3)];
	p->notice[1] = finds[seed_below(seed, 3)];
	if (!p->dead)
		pipe_die(p);
}

static void doubt(struct world *w, struct storm *s)
{
	struct session *ask = world_asker(w);

	if (s->doubts++ >= DOUBTS)
		return;
	if (ask && seed_below(&s->seed, 2))
		session_doubt(ask);
	else if (w->dialer->state == DIALER_UP)
		session_doubt(w->dialer->session);
}

static void blow(struct world *w, struct storm *s)
{
	if (!w->talking || !s->blows || seed_below(&s->seed, 6))
		return;
	s->blows--;
	switch (seed_below(&s->seed, 5)) {
	case 0:
		doubt(w, s);
		break;
	case 1:
		if (!w->pipes[w->pipe_count - 1]->end[0].stopped)
			stream_leave(&w->pipes[w->pipe_count - 1]->end[0].base);
		break;
	case 2: /* whatever is due soon comes before the bytes do */
		(void)loop_jump(w->loop, w->loop->ms + seed_below(&s->seed, 4000));
		break;
	default:
		kill_carrier(w, &s->seed);
	}
}

static bool ride_out(struct world *w, struct storm *s)
{
	uint64_t until = w->loop->ms + WORLD_PATIENCE_MS;

	for (unsigned i = 0; i < 100000; i++) {
		bool busy = world_turn(w);

		talks_drive(w);
		blow(w, s);
		if (talks_over(w))
			return true;
		if (!busy && !loop_jump(w->loop, until))
			return false;
	}
	return false;
}

static void storms(void)
{
	const char *runs = getenv("ADIT_STORMS");
	uint32_t base = seed_base(), count = runs ? (uint32_t)strtoul(runs, NULL, 10) : STORMS;
	unsigned moves = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct storm s = {.blows = BLOWS, .seed = base + i};
		struct world *w = world_new(NULL, 0);
		bool good;

		w->whim = (base + i) & 1 ? 0 : seed_below(&s.seed, 1000000) + 1;
		w->newest_first = seed_below(&s.seed, 2);
		w->body = 60 + seed_below(&s.seed, 3000);
		w->room = 1 + seed_below(&s.seed, seed_below(&s.seed, 2) ? 40 : 6000);
		good = ride_out(w, &s);
		good = talks_came_out(w) && good;
		if (!good)
			printf("\nseed %u\n", base + i);
		CU_ASSERT_TRUE(good);
		moves += w->moved;
		world_free(w);
	}
	CU_ASSERT(moves > count);
	printf("(%u moves) ", moves);
}

static const struct unit_test tests[] = {
	{"links deliver each byte once over carriers that trickle and die", links},
	{"sessions bring exchanges through them, each as it should", sessions},
	{"and through carriers that die, are doubted or leave at any time, also amid a resume", storms},
};

UNIT_MAIN("short_session", tests)
