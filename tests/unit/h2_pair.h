/* h2_pair: two h2 ends joined in memory: one asks, one answers. For unit tests of h2 only.
 * Requests that arrive are linked to the pair's scripts in order; the frames that each end sent are counted.
 */
#ifndef ADIT_TESTS_H2_PAIR_H
#define ADIT_TESTS_H2_PAIR_H

#include <stdlib.h>

#include "h2/h2.h"
#include "half_script.h"

#define FRAME_DATA_TYPE 0
#define FRAME_HEADERS_TYPE 1
#define FRAME_RST_TYPE 3
#define FRAME_GOAWAY_TYPE 7
#define FRAMES_KEPT 4096

/** One frame's header, as it passed. */
struct h2_seen {
	uint8_t type, flags;
	uint32_t stream;
	size_t length;
};

struct h2_pair;

struct h2_end {
	struct h2 *h2;
	struct h2_pair *pair;
	struct budget budget;
	unsigned idle;         /* times it was told to be */
	int err;               /* of h2_recv */
	struct h2_seen *seen;  /* sent by it */
	size_t seen_count, skip, header_len;
	uint8_t header[H2_FRAME_HEADER];
};

struct h2_pair {
	struct h2_end ask, answer;
	struct half_script *scripts; /* of the requests that arrive; beyond them they stay unlinked */
	unsigned script_count, requests;
	size_t step;                 /* bytes of one h2_recv */
};

static inline void pair_woken(void *owner)
{
	(void)owner;
}

static inline void pair_idle(void *owner)
{
	struct h2_end *e = owner;

	e->idle++;
}

static inline void pair_request(void *owner, struct h2_stream *stream, const struct head *h, bool bodyless)
{
	struct h2_pair *p = ((struct h2_end *)owner)->pair;
	struct half_script *s = p->requests < p->script_count ? &p->scripts[p->requests] : NULL;

	p->requests++;
	if (!s)
		return;
	half_link(&s->half, h2_stream_half(stream));
	script_head(&s->half, h, bodyless);
}

static inline void pair_end_init(struct h2_end *e, struct h2_pair *p, const struct h2_options *o)
{
	static const struct h2_events events = {pair_woken, pair_request, pair_idle, NULL};
	struct h2_options own = *o;

	memset(e, 0, sizeof(*e));
	e->pair = p;
	e->budget = (struct budget){.limit = BUDGET_TUNNEL};
	e->skip = o->role == H2_ASKING ? 24 : 0; /* the preface */
	e->seen = calloc(FRAMES_KEPT, sizeof(*e->seen));
	CU_ASSERT_PTR_NOT_NULL_FATAL(e->seen);
	own.budget = &e->budget;
	e->h2 = h2_new(&own, &events, e);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e->h2);
}

static inline void pair_init(struct h2_pair *p, struct half_script *scripts, unsigned count)
{
	const struct h2_options ask = {.role = H2_ASKING, .tunnel = true};
	const struct h2_options answer = {.role = H2_ANSWERING, .tunnel = true};

	p->scripts = scripts;
	p->script_count = count;
	p->requests = 0;
	p->step = SIZE_MAX;
	for (unsigned i = 0; i < count; i++)
		script_init(&scripts[i]);
	pair_end_init(&p->ask, p, &ask);
	pair_end_init(&p->answer, p, &answer);
}

/** Another end answers: by these options. Before anything is said. */
static inline void pair_answer_as(struct h2_pair *p, const struct h2_options *o)
{
	h2_free(&p->answer.h2, 0);
	free(p->answer.seen);
	pair_end_init(&p->answer, p, o);
}

static inline void pair_watch(struct h2_end *e, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const uint8_t *h = e->header;

		if (e->skip) {
			e->skip--;
			continue;
		}
		e->header[e->header_len++] = p[i];
		if (e->header_len < H2_FRAME_HEADER)
			continue;
		e->header_len = 0;
		e->skip = (size_t)h[0] << 16 | (size_t)h[1] << 8 | h[2];
		e->seen[e->seen_count++ % FRAMES_KEPT] = (struct h2_seen){
			.type = h[3], .flags = h[4], .length = e->skip,
			.stream = (uint32_t)h[5] << 24 | (uint32_t)h[6] << 16 | (uint32_t)h[7] << 8 | h[8],
		};
	}
}

/* One pull of `from`, given to `to` in steps. False when there was nothing. */
static inline bool pair_move(struct h2_end *from, struct h2_end *to)
{
	uint8_t block[H2_QUANTUM + H2_FRAME_HEADER];
	size_t n = h2_pull(from->h2, block, sizeof(block)), step = from->pair->step;

	pair_watch(from, block, n);
	for (size_t at = 0; at < n && !to->err; at += n - at < step ? n - at : step)
		to->err = h2_recv(to->h2, block + at, n - at < step ? n - at : step);
	return n > 0;
}

/* Until neither end has anything to say. */
static inline void pair_run(struct h2_pair *p)
{
	for (int i = 0; i < 100000; i++) {
		bool there = pair_move(&p->ask, &p->answer), back = pair_move(&p->answer, &p->ask);

		if (!there && !back)
			return;
	}
	CU_FAIL("the two ends never come to rest");
}

static inline unsigned pair_count(const struct h2_end *e, uint8_t type)
{
	unsigned count = 0;

	for (size_t i = 0; i < e->seen_count && i < FRAMES_KEPT; i++)
		count += e->seen[i].type == type;
	return count;
}

/* A new stream of the asking end, linked to `s`, which is reset. */
static inline void pair_ask(struct h2_pair *p, struct half_script *s)
{
	int err;
	struct half *h = h2_ask(p->ask.h2, &err);

	script_init(s);
	CU_ASSERT_PTR_NOT_NULL_FATAL(h);
	half_link(&s->half, h);
}

/* Nothing is open, and no budget is taken. */
static inline void pair_is_clean(struct h2_pair *p)
{
	CU_ASSERT_EQUAL(h2_open(p->ask.h2), 0);
	CU_ASSERT_EQUAL(h2_open(p->answer.h2), 0);
	CU_ASSERT_EQUAL(p->ask.budget.used, 0);
	CU_ASSERT_EQUAL(p->answer.budget.used, 0);
	CU_ASSERT_EQUAL(p->ask.err, 0);
	CU_ASSERT_EQUAL(p->answer.err, 0);
}

static inline void pair_free(struct h2_pair *p)
{
	h2_free(&p->ask.h2, ADIT_ERR_LINK_LOST);
	h2_free(&p->answer.h2, ADIT_ERR_LINK_LOST);
	CU_ASSERT_EQUAL(p->ask.budget.used, 0);
	CU_ASSERT_EQUAL(p->answer.budget.used, 0);
	free(p->ask.seen);
	free(p->answer.seen);
}

/* Runs until all is said, then requires that everything is over. */
static inline void pair_over(struct h2_pair *p)
{
	pair_run(p);
	pair_is_clean(p);
	pair_free(p);
}

#endif
