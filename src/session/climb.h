/* climb: when to try a better carrier than the one that carries.
 * Layer session; no clock: times are arguments, in milliseconds of one monotonic clock.
 *
 *   on a worse carrier:   first after `base`, doubling up to CLIMB_MAX_BASES of it while tries fail
 *   fell twice within CLIMB_FLAP_BASES of `base`: a better carrier that does not last helps nobody, so the longest wait
 *
 * With the base of 5 minutes: every 5, 10, 20, 40, 60 minutes; two falls in 10 minutes: an hour.
 */
#ifndef ADIT_SESSION_CLIMB_H
#define ADIT_SESSION_CLIMB_H

#include <stdbool.h>
#include <stdint.h>

#define CLIMB_MAX_BASES 12
#define CLIMB_FLAP_BASES 2

struct climb {
	uint64_t base_ms;
	unsigned bases;      /* the wait before the next try, in bases */
	uint64_t fell_ms;    /* when it last fell, 0 = never */
};

static inline void climb_init(struct climb *c, uint64_t base_ms)
{
	*c = (struct climb){base_ms, 1, 0};
}

/** How long from now, or from a failed try, to the next. */
static inline uint64_t climb_wait_ms(const struct climb *c)
{
	return c->base_ms * c->bases;
}

/** A try has failed. */
static inline void climb_failed(struct climb *c)
{
	c->bases = c->bases * 2 < CLIMB_MAX_BASES ? c->bases * 2 : CLIMB_MAX_BASES;
}

/** It carries on a better one now. */
static inline void climb_done(struct climb *c)
{
	c->bases = 1;
}

/** The carrier was lost and a worse one has taken over. True: it flaps, and is left alone for the longest wait. */
static inline bool climb_fell(struct climb *c, uint64_t now_ms)
{
	bool flaps = c->fell_ms && now_ms - c->fell_ms < CLIMB_FLAP_BASES * c->base_ms;

	c->fell_ms = now_ms ? now_ms : 1;
	c->bases = flaps ? CLIMB_MAX_BASES : 1;
	return flaps;
}

#endif
