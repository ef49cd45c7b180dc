/* resume: links, sessions and the exchanges on them outlive their carriers, wherever those are cut. The programs' own
 * dialer, acceptor, sessions, HTTP/2 and links on both sides, over carriers of the test's own:
 *
 *   carrier 1:  HELLO WELCOME ├──── the exchanges, k bytes of one direction ────┤✂
 *   carrier 2:  ATTACH ATTACHED ├── replay, j bytes ──┤✂
 *   carrier 3:  ATTACH ATTACHED ├─────────────────────────────────────────── … done
 */
#include "resume_world.h"

#define ABORT_AT 60
#define UPGRADED 40

/* ---- the exchanges */

static void ask(struct world *w, unsigned i, const char *method, const char *protocol, bool bodyless)
{
	struct half_script *v = &w->talks[i].visitor;
	const char path[] = {'/', (char)('0' + i), '\0'};
	struct head h;
	int err;
	struct half *half = session_ask(world_asker(w), &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(half);
	half_link(&v->half, half);
	script_make_request(&h, method, protocol, "");
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, str_of(path)), 0);
	if (bodyless)
		h.length = 0;
	script_grant(v, w->body / 3);
	half_head(&v->half, &h, bodyless);
	head_free(&h);
	if (bodyless)
		half_end(&v->half, NULL);
}

static void ask_all(struct world *w)
{
	ask(w, 0, "GET", "", true);
	ask(w, 1, "POST", "", false);
	ask(w, 2, "POST", "", false);
	ask(w, 3, "GET", "", true);
	ask(w, 4, "HEAD", "", true);
	ask(w, 5, "GET", "websocket", false);
	w->talking = true;
}

/* Sends what is left of a body of `total` bytes; true once, when all of it is out. */
static bool send_to(struct half_script *s, size_t total, unsigned *stage)
{
	if (*stage != 1)
		return false;
	script_send(s, total - s->sent);
	if (s->sent < total)
		return false;
	*stage = 2;
	return true;
}

/* With the head, stage 0 becomes 1. */
static void respond(struct talk *t, int status, bool bodyless)
{
	script_respond(&t->origin, status, HEAD_LENGTH_UNKNOWN, bodyless, "x-h=1");
	t->answered = bodyless ? 2 : 1;
}

static void drive_visitors(struct world *w)
{
	struct talk *t = w->talks;

	for (unsigned i = 0; i < WORLD_TALKS; i++)
		t[i].asked = t[i].asked ? t[i].asked : 1;
	if (send_to(&t[1].visitor, w->body / 2, &t[1].asked))
		script_end_with(&t[1].visitor, "x-sum=1");
	send_to(&t[2].visitor, ABORT_AT, &t[2].asked);
	if (t[2].origin.got == ABORT_AT)
		half_abort(&t[2].visitor.half, ADIT_ERR_ABANDONED);
	if (t[5].visitor.began && send_to(&t[5].visitor, UPGRADED, &t[5].asked))
		half_end(&t[5].visitor.half, NULL);
}

static void drive_origins(struct world *w)
{
	struct talk *t = w->talks;

	if (t[0].origin.began && !t[0].answered)
		respond(&t[0], 200, false);
	if (send_to(&t[0].origin, w->body, &t[0].answered))
		script_end_with(&t[0].origin, "x-sum=2");
	if (t[1].origin.ended && !t[1].answered) {
		script_respond(&t[1].origin, 103, HEAD_LENGTH_UNKNOWN, true, "x-early=1");
		respond(&t[1], 201, false);
	}
	if (send_to(&t[1].origin, w->body / 2, &t[1].answered))
		half_end(&t[1].origin.half, NULL);
	if (t[3].origin.began && !t[3].answered)
		respond(&t[3], 200, false);
	send_to(&t[3].origin, ABORT_AT, &t[3].answered);
	if (t[3].visitor.got == ABORT_AT)
		half_abort(&t[3].origin.half, ADIT_ERR_RESET);
	if (t[4].origin.began && !t[4].answered)
		respond(&t[4], 204, true);
	if (t[5].origin.began && !t[5].answered)
		respond(&t[5], 101, false);
	if (send_to(&t[5].origin, UPGRADED, &t[5].answered))
		half_end(&t[5].origin.half, NULL);
}

/* Whoever gets body bytes grants as many again, from outside of the call. */
static void drive_credit(struct world *w)
{
	for (unsigned i = 0; i < WORLD_TALKS; i++) {
		struct half_script *s[2] = {&w->talks[i].visitor, &w->talks[i].origin};

		for (int side = 0; side < 2; side++)
			if (s[side]->half.peer && s[side]->began && s[side]->granted < w->body / 6)
				script_grant(s[side], w->body / 3);
	}
}

static void drive(struct world *w)
{
	struct session *s = world_asker(w);

	if (!w->talking && w->published && w->dialer->state == DIALER_UP && s && session_attached(s) &&
	    session_attached(w->dialer->session))
		ask_all(w);
	if (!w->talking)
		return;
	drive_visitors(w);
	drive_origins(w);
	drive_credit(w);
}

static bool over(const struct world *w)
{
	struct session *s = world_asker(w);

	return w->talking && world_at_rest(w) && !session_open(s) && !session_open(w->dialer->session);
}

/* Until all is said and acked. False: it never comes to that. */
static bool run(struct world *w)
{
	uint64_t until = w->loop->ms + WORLD_PATIENCE_MS;

	for (;;) {
		bool busy = world_turn(w);

		drive(w);
		if (over(w))
			return true;
		if (!busy && !loop_jump(w->loop, until))
			return false;
	}
}

/* ---- what must have come of them */

struct wanted {
	const char *visitor, *origin;
	size_t visitor_got, origin_got;
};

static struct wanted wanted(unsigned talk, size_t body)
{
	const struct wanted all[WORLD_TALKS] = {
		{"200 x-h=1|body|end x-sum=2|", "GET a.example /0 0 none|end|", body, 0},
		{"103 x-early=1|201 x-h=1|body|end|", "POST a.example /1|body|end x-sum=1|", body / 2, body / 2},
		{"", "POST a.example /2|body|abort ABANDONED|", 0, ABORT_AT},
		{"200 x-h=1|body|abort INCOMPLETE|", "GET a.example /3 0 none|end|", ABORT_AT, 0},
		{"204 none x-h=1|end|", "HEAD a.example /4 0 none|end|", 0, 0},
		{"101 up=websocket x-h=1|body|end|", "GET a.example /5 up=websocket|body|end|", UPGRADED, UPGRADED},
	};

	return all[talk];
}

static bool came_out(const struct half_script *s, const char *text, size_t got)
{
	if (strcmp(s->text, text) == 0 && s->got == got && !s->wrong)
		return true;
	printf("got \"%s\" and %zu bytes%s,\nnot \"%s\" and %zu\n", s->text, s->got, s->wrong ? ", wrong ones" : "", text,
	       got);
	return false;
}

static bool all_came_out(const struct world *w)
{
	bool good = w->published == 1 && w->refused == 0;

	if (!good)
		printf("published %u, refused %u\n", w->published, w->refused);
	for (unsigned i = 0; i < WORLD_TALKS; i++) {
		const struct talk *t = &w->talks[i];
		const struct wanted want = wanted(i, w->body);

		good = came_out(&t->visitor, want.visitor, want.visitor_got) && good;
		good = came_out(&t->origin, want.origin, want.origin_got) && good;
		good = t->requests == 1 && good;
	}
	return good;
}

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
	good = run(w);
	if (!good)
		printf("it came to a standstill\n");
	good = all_came_out(w) && good;
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
