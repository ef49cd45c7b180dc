/* resume: links, sessions and the exchanges on them outlive their carriers, wherever those are cut. The programs' own
 * dialer, acceptor, sessions, HTTP/2 and links on both sides, over carriers of the test's own:
 *
 *   carrier 1:  HELLO WELCOME ├──── the exchanges, k bytes of one direction ────┤✂
 *   carrier 2:  ATTACH ATTACHED ├── replay, j bytes ──┤✂
 *   carrier 3:  ATTACH ATTACHED ├─────────────────────────────────────────── … done
 */
#include "resume_talks.h"

static void print_cuts(const struct world *w)
{
	for (unsigned i = 0; i < w->cut_count; i++)
		printf("carrier %u: way %u cut at %zu, noticed %d %d, leaves %d\n", i + 1, w->cuts[i].way, w->cuts[i].at,
		       w->cuts[i].notice[0], w->cuts[i].notice[1], w->cuts[i].leaves);
}

struct plan {
	struct cut cuts[3];
	unsigned count;
	size_t step, body, room;
	bool newest_first;
};

struct tally {
	unsigned runs, carriers, moves;
	unsigned replays; /* runs in which any byte was sent again */
};

static bool replayed(const struct world *w)
{
	struct session *s = world_asker(w);

	return s && (link_replayed(session_link(s)) || link_replayed(session_link(w->dialer->session)));
}

/* One run. `len` (may be NULL) is told what each direction of the last carrier carried. */
static void run_once(const struct plan *p, struct tally *sum, size_t len[2])
{
	struct world *w = world_new(p->cuts, p->count);
	bool good;

	w->step = p->step;
	w->body = p->body;
	w->room = p->room;
	w->newest_first = p->newest_first;
	good = talks_run(w);
	if (!good)
		printf("it came to a standstill\n");
	good = talks_came_out(w) && good;
	if (!good) {
		print_cuts(w);
		CU_FAIL("an exchange did not survive");
	}
	for (int i = 0; len && i < 2; i++)
		len[i] = w->pipes[w->pipe_count - 1]->way[i].arrived;
	sum->runs++;
	sum->carriers += w->pipe_count;
	sum->moves += w->moved;
	sum->replays += replayed(w);
	world_free(w);
}

/* ---- cuts */

/* Who notices the end of a carrier, and how: both at once, only one, neither; what is not told is found by silence.
 * Or the carrier lives, and adit is told to leave it: then both carriers bring bytes while ATTACH is under way. */
static const struct cut ends[] = {
	{.notice = {ADIT_ERR_RESET, ADIT_ERR_RESET}}, {.notice = {ADIT_ERR_EOF, ADIT_ERR_EOF}},
	{.notice = {ADIT_ERR_EOF, 0}}, {.notice = {0, ADIT_ERR_RESET}}, {.notice = {0, 0}}, {.leaves = true},
};
#define ENDS (sizeof(ends) / sizeof(ends[0]))

static struct cut cut_at(unsigned way, size_t at, size_t end)
{
	struct cut c = ends[end % ENDS];

	c.way = way;
	c.at = at;
	return c;
}

static struct plan plan_of(size_t step, size_t body)
{
	return (struct plan){.step = step, .body = body, .room = 4096 + body / 4};
}

static void uncut(void)
{
	struct plan p = plan_of(SIZE_MAX, 300);
	struct tally sum = {0, 0, 0, 0};
	size_t len[2];

	run_once(&p, &sum, len);
	CU_ASSERT_EQUAL(sum.moves + sum.replays, 0);
	CU_ASSERT(len[0] > 500 && len[1] > 500);
}

/* The cut at `at`, then another at each `stride2`th byte of the carrier behind it. */
static void cut_again(struct plan p, size_t stride2, struct tally *sum)
{
	size_t len[2];

	run_once(&p, sum, len);
	p.count = 2;
	for (unsigned way = 0; way < 2; way++)
		for (size_t at = 0; at <= len[way]; at += stride2) {
			p.cuts[1] = cut_at(way, at, sum->runs);
			p.cuts[2] = cut_at(1 - way, at, sum->runs / ENDS);
			p.count = sum->runs % 3 ? 2 : 3;
			p.newest_first = sum->runs & 1;
			run_once(&p, sum, NULL);
		}
}

static void cut_everywhere(struct plan p, size_t stride, size_t stride2)
{
	struct tally sum = {0, 0, 0, 0};
	size_t len[2];

	run_once(&p, &sum, len);
	p.count = 1;
	for (unsigned way = 0; way < 2; way++)
		for (size_t at = 0, n = 0; at <= len[way]; at += stride, n++) {
			p.cuts[0] = cut_at(way, at, n);
			if (stride2) {
				cut_again(p, stride2, &sum);
				continue;
			}
			for (size_t end = 0; end < ENDS; end++) {
				p.cuts[0] = cut_at(way, at, end);
				p.newest_first = (at + end) & 1;
				run_once(&p, &sum, NULL);
			}
		}
	printf("(%u runs, %u moves, bytes sent again in %u) ", sum.runs, sum.moves, sum.replays);
	CU_ASSERT(sum.moves > sum.runs / 2); /* most cuts meet a link that is up, */
	CU_ASSERT(sum.replays > sum.runs / 4); /* and many something that was on its way */
}

static void at_every_byte(void)
{
	cut_everywhere(plan_of(SIZE_MAX, 300), 1, 0);
}

static void amid_small_reads(void)
{
	cut_everywhere(plan_of(7, 300), 5, 0);
	cut_everywhere(plan_of(1, 60), 23, 0);
}

/* Carriers that take few bytes at a time: frames are cut in mid-write too. */
static void amid_small_writes(void)
{
	struct plan p = plan_of(SIZE_MAX, 100);

	p.room = 5;
	cut_everywhere(p, 5, 0);
}

/* The next carrier dies before it could carry an ATTACH: the link stays where it is, and that one is read on. */
static void attempt_fails(void)
{
	struct tally sum = {0, 0, 0, 0};
	struct plan p = plan_of(SIZE_MAX, 300);

	p.count = 2;
	for (size_t end = 0; end < 2; end++)
		for (size_t leave = 500; leave < 740; leave += 20)
			for (size_t at = 0; at < 200; at += 3) {
				p.cuts[0] = (struct cut){.way = at & 1, .at = leave, .leaves = true};
				p.cuts[1] = cut_at(0, at, end);
				run_once(&p, &sum, NULL);
			}
	printf("(%u runs) ", sum.runs);
	CU_ASSERT_EQUAL(sum.carriers, 2 * sum.runs);
	CU_ASSERT_EQUAL(sum.moves + sum.replays, 0);
}

static void again_while_it_resumes(void)
{
	cut_everywhere(plan_of(SIZE_MAX, 300), 89, 11);
	cut_everywhere(plan_of(13, 300), 211, 41);
}

static void amid_bulk(void)
{
	cut_everywhere(plan_of(SIZE_MAX, 200000), 20011, 0);
	cut_everywhere(plan_of(3000, 60000), 10007, 20011);
}

static const struct unit_test tests[] = {
	{"without a cut six exchanges pass, each as it should", uncut},
	{"a carrier cut at any byte of either direction costs no exchange anything", at_every_byte},
	{"nor does it while bytes trickle", amid_small_reads},
	{"nor while frames are written in pieces", amid_small_writes},
	{"nor when the next carrier is cut too, at ATTACH, in the replay or later, and the one after it",
	 again_while_it_resumes},
	{"nor amid bulk", amid_bulk},
	{"an attempt that fails leaves the link on the carrier that it has", attempt_fails},
};

UNIT_MAIN("resume", tests)
