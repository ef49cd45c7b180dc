/* backoff: how long to wait before the next dial.
 * Layer session; no clock, its randomness is handed in.
 * Invariant: a server that comes back is dialled within BACKOFF_MAX_MS of it, however long it was away.
 *
 *   outage younger than 30 s:  0..100 ms, then full jitter over 250 ms six times, 500, 800, 800 … ms
 *   older:                     full jitter over 1.6, 3.2, 6.4, 8, 8 … s
 */
#ifndef ADIT_SESSION_BACKOFF_H
#define ADIT_SESSION_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_MS 100
#define BACKOFF_QUICK_MS 30000
#define BACKOFF_MAX_MS 8000

struct backoff {
	unsigned quick, slow;  /* attempts made in each phase */
	uint64_t since_ms;     /* when the outage began, 0 = there is none */
};

/** The widest wait before the next attempt, in milliseconds; the caller waits a random part of it. Counts the attempt. */
static inline uint32_t backoff_next(struct backoff *b, uint64_t now_ms)
{
	/* a server that is started again is back within a second, and found 80 ms later */
	static const uint32_t quick[] = {BACKOFF_FIRST_MS, 250, 250, 250, 250, 250, 250, 500, 800};
	const unsigned last = sizeof(quick) / sizeof(quick[0]) - 1;
	uint32_t ceiling;

	if (!b->since_ms)
		b->since_ms = now_ms ? now_ms : 1;
	if (now_ms - b->since_ms < BACKOFF_QUICK_MS)
		return quick[b->quick < last ? b->quick++ : last];
	ceiling = 1600u << (b->slow < 3 ? b->slow++ : 3);
	return ceiling < BACKOFF_MAX_MS ? ceiling : BACKOFF_MAX_MS;
}

/** The tunnel is up: the next outage starts over. */
static inline void backoff_reset(struct backoff *b)
{
	*b = (struct backoff){0, 0, 0};
}

#endif
