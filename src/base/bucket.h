/* bucket: a token bucket: so much a second, and some of it saved up for a while.
 * Layer base; no clock: times come in, in milliseconds, and never run backwards.
 * Invariant: between two times no more is taken than `depth` and what the rate brings between them.
 */
#ifndef ADIT_BASE_BUCKET_H
#define ADIT_BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/** Rates and depths up to here: thousandths of them, and sums of two, fit 64 bits. */
#define BUCKET_MAX (UINT64_C(1) << 50)

struct bucket {
	uint64_t rate;  /* a second, at least 1 */
	uint64_t depth; /* the most that is saved up, at least 1 */
	uint64_t level; /* in thousandths */
	uint64_t at_ms;
};

/** Full at first. */
static inline void bucket_init(struct bucket *b, uint64_t rate, uint64_t depth, uint64_t now_ms)
{
	*b = (struct bucket){rate, depth, depth * 1000, now_ms};
}

static inline void bucket_fill(struct bucket *b, uint64_t now_ms)
{
	uint64_t full = b->depth * 1000, passed = now_ms - b->at_ms;

	if (passed > (full - b->level) / b->rate) /* so long that the product might not fit */
		b->level = full;
	else
		b->level += passed * b->rate;
	b->at_ms = now_ms;
}

/** Another rate and depth; what is saved up stays, as far as it fits. */
static inline void bucket_change(struct bucket *b, uint64_t rate, uint64_t depth, uint64_t now_ms)
{
	bucket_fill(b, now_ms);
	b->rate = rate;
	b->depth = depth;
	if (b->level > depth * 1000)
		b->level = depth * 1000;
}

/** Takes `n`, or nothing and says no when less is there. More than `depth` is never there. */
static inline bool bucket_take(struct bucket *b, uint64_t n, uint64_t now_ms)
{
	bucket_fill(b, now_ms);
	if (b->level < n * 1000)
		return false;
	b->level -= n * 1000;
	return true;
}

/** Gives back what was taken and not used. */
static inline void bucket_give(struct bucket *b, uint64_t n)
{
	uint64_t room = b->depth * 1000 - b->level;

	b->level += n * 1000 < room ? n * 1000 : room;
}

/** How long until `n`, at most `depth`, are there; 0 = they are. */
static inline uint64_t bucket_wait_ms(struct bucket *b, uint64_t n, uint64_t now_ms)
{
	bucket_fill(b, now_ms);
	return b->level >= n * 1000 ? 0 : (n * 1000 - b->level + b->rate - 1) / b->rate;
}

#endif
