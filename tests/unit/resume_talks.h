/* resume_talks: six exchanges over resume_world's sessions, of all kinds: with and without bodies and trailers,
 * interim responses, an abort by each side, an upgrade; and what must have come of them. For unit tests only.
 */
#ifndef ADIT_TESTS_RESUME_TALKS_H
#define ADIT_TESTS_RESUME_TALKS_H

#include "resume_world.h"

#define TALK_ABORT_AT 60
#define TALK_UPGRADED 40

/* ---- the exchanges */

static inline void talk_ask(struct world *w, unsigned i, const char *method, const char *protocol, bool bodyless)
{
	struct half_script *v = &w->talks[i].visitor;
	const char path[] = {'/', (char)('0' + i), '\0'};
	struct head h;
	int err;
	struct half *half = session_ask(world_asker(w), &err);

	if (!half && w->scarce)
		return;
	CU_ASSERT_PTR_NOT_NULL_FATAL(half);
	half_link(&v->half, half);
	script_make_request(&h, method, protocol, "");
	SCRIPT_UNFAILING(true);
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, str_of(path)), 0);
	SCRIPT_UNFAILING(false);
	if (bodyless)
		h.length = 0;
	script_grant(v, w->body / 3);
	half_head(&v->half, &h, bodyless);
	head_free(&h);
	if (bodyless)
		half_end(&v->half, NULL);
}

static inline void talks_ask(struct world *w)
{
	talk_ask(w, 0, "GET", "", true);
	talk_ask(w, 1, "POST", "", false);
	talk_ask(w, 2, "POST", "", false);
	talk_ask(w, 3, "GET", "", true);
	talk_ask(w, 4, "HEAD", "", true);
	talk_ask(w, 5, "GET", "websocket", false);
	w->talking = true;
}

/* Sends what is left of a body of `total` bytes; true once, when all of it is out. */
static inline bool talk_send(struct half_script *s, size_t total, unsigned *stage)
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
static inline void talk_respond(struct talk *t, int status, bool bodyless)
{
	script_respond(&t->origin, status, HEAD_LENGTH_UNKNOWN, bodyless, "x-h=1");
	t->answered = bodyless ? 2 : 1;
}

static inline void talks_drive_visitors(struct world *w)
{
	struct talk *t = w->talks;

	for (unsigned i = 0; i < WORLD_TALKS; i++)
		t[i].asked = t[i].asked ? t[i].asked : 1;
	if (talk_send(&t[1].visitor, w->body / 2, &t[1].asked))
		script_end_with(&t[1].visitor, "x-sum=1");
	talk_send(&t[2].visitor, TALK_ABORT_AT, &t[2].asked);
	if (t[2].origin.got == TALK_ABORT_AT)
		half_abort(&t[2].visitor.half, ADIT_ERR_ABANDONED);
	if (t[5].visitor.began && talk_send(&t[5].visitor, TALK_UPGRADED, &t[5].asked))
		half_end(&t[5].visitor.half, NULL);
}

static inline void talks_drive_origins(struct world *w)
{
	struct talk *t = w->talks;

	if (t[0].origin.began && !t[0].answered)
		talk_respond(&t[0], 200, false);
	if (talk_send(&t[0].origin, w->body, &t[0].answered))
		script_end_with(&t[0].origin, "x-sum=2");
	if (t[1].origin.ended && !t[1].answered) {
		script_respond(&t[1].origin, 103, HEAD_LENGTH_UNKNOWN, true, "x-early=1");
		talk_respond(&t[1], 201, false);
	}
	if (talk_send(&t[1].origin, w->body / 2, &t[1].answered))
		half_end(&t[1].origin.half, NULL);
	if (t[3].origin.began && !t[3].answered)
		talk_respond(&t[3], 200, false);
	talk_send(&t[3].origin, TALK_ABORT_AT, &t[3].answered);
	if (t[3].visitor.got == TALK_ABORT_AT)
		half_abort(&t[3].origin.half, ADIT_ERR_RESET);
	if (t[4].origin.began && !t[4].answered)
		talk_respond(&t[4], 204, true);
	if (t[5].origin.began && !t[5].answered)
		talk_respond(&t[5], 101, false);
	if (talk_send(&t[5].origin, TALK_UPGRADED, &t[5].answered))
		half_end(&t[5].origin.half, NULL);
}

/* Whoever gets body bytes grants as many again, from outside of the call. */
static inline void talks_drive_credit(struct world *w)
{
	for (unsigned i = 0; i < WORLD_TALKS; i++) {
		struct half_script *s[2] = {&w->talks[i].visitor, &w->talks[i].origin};

		for (int side = 0; side < 2; side++)
			if (s[side]->half.peer && s[side]->began && s[side]->granted < w->body / 6)
				script_grant(s[side], w->body / 3);
	}
}

static inline void talks_drive(struct world *w)
{
	struct session *s = world_asker(w);

	if (!w->talking && w->published && w->dialer->state == DIALER_UP && s && session_attached(s) &&
	    session_attached(w->dialer->session))
		talks_ask(w);
	if (!w->talking)
		return;
	talks_drive_visitors(w);
	talks_drive_origins(w);
	talks_drive_credit(w);
}

static inline bool talks_over(const struct world *w)
{
	struct session *s = world_asker(w);

	return w->talking && world_at_rest(w) && !session_open(s) && !session_open(w->dialer->session);
}

/* Until all is said and acked. False: it never comes to that. */
static inline bool talks_run(struct world *w)
{
	uint64_t until = w->loop->ms + WORLD_PATIENCE_MS;

	for (;;) {
		bool busy = world_turn(w);

		talks_drive(w);
		if (talks_over(w))
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

static inline struct wanted talk_wanted(unsigned talk, size_t body)
{
	const struct wanted all[WORLD_TALKS] = {
		{"200 x-h=1|body|end x-sum=2|", "GET a.example /0 0 none|end|", body, 0},
		{"103 x-early=1|201 x-h=1|body|end|", "POST a.example /1|body|end x-sum=1|", body / 2, body / 2},
		{"", "POST a.example /2|body|abort ABANDONED|", 0, TALK_ABORT_AT},
		{"200 x-h=1|body|abort INCOMPLETE|", "GET a.example /3 0 none|end|", TALK_ABORT_AT, 0},
		{"204 none x-h=1|end|", "HEAD a.example /4 0 none|end|", 0, 0},
		{"101 up=websocket x-h=1|body|end|", "GET a.example /5 up=websocket|body|end|", TALK_UPGRADED, TALK_UPGRADED},
	};

	return all[talk];
}

static inline bool talk_came_out(const struct half_script *s, const char *text, size_t got)
{
	if (strcmp(s->text, text) == 0 && s->got == got && !s->wrong)
		return true;
	printf("got \"%s\" and %zu bytes%s,\nnot \"%s\" and %zu\n", s->text, s->got, s->wrong ? ", wrong ones" : "", text,
	       got);
	return false;
}

static inline bool talks_came_out(const struct world *w)
{
	bool good = w->published == 1 && w->refused == 0;

	if (!good)
		printf("published %u, refused %u\n", w->published, w->refused);
	for (unsigned i = 0; i < WORLD_TALKS; i++) {
		const struct talk *t = &w->talks[i];
		const struct wanted want = talk_wanted(i, w->body);

		good = talk_came_out(&t->visitor, want.visitor, want.visitor_got) && good;
		good = talk_came_out(&t->origin, want.origin, want.origin_got) && good;
		good = t->requests == 1 && good;
	}
	return good;
}

#endif
