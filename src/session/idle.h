/* idle: learns how long the network on the way lets a silent connection live.
 * Layer session; no clock. Ingresses and NATs drop connections that were silent for a fixed time (60 s, 350 s, ...): when
 * carriers keep dying after the same silence, the heartbeat is made shorter than that, and stays so for the link's life.
 */
#ifndef ADIT_SESSION_IDLE_H
#define ADIT_SESSION_IDLE_H

#include <stdbool.h>
#include <stdint.h>

/** Silences shorter than this say nothing about a budget: connections break for other reasons. */
#define IDLE_LEAST_MS 3000
/** Two silences are the same when they differ by no more than a tenth, and this. */
#define IDLE_SLACK_MS 1000
/** The heartbeat never gets shorter. */
#define IDLE_HEARTBEAT_MIN_MS 2000

struct idle {
	uint32_t silent_ms; /* at the last death of a silent carrier, 0 = none */
};

/** A carrier has died after so much silence, with that heartbeat. Returns the heartbeat to use from now on. */
static inline uint32_t idle_died(struct idle *i, uint64_t silent_ms, uint32_t heartbeat_ms)
{
	uint32_t last = i->silent_ms, now = silent_ms > UINT32_MAX ? UINT32_MAX : (uint32_t)silent_ms, wanted;
	uint32_t apart = now > last ? now - last : last - now;

	if (now < IDLE_LEAST_MS) /* it carried: whatever ended it was no idle timer */
		return heartbeat_ms;
	i->silent_ms = now;
	if (!last || apart > IDLE_SLACK_MS + now / 10)
		return heartbeat_ms;
	wanted = (now < last ? now : last) / 3 * 2;
	if (wanted < IDLE_HEARTBEAT_MIN_MS)
		wanted = IDLE_HEARTBEAT_MIN_MS;
	return wanted < heartbeat_ms ? wanted : heartbeat_ms;
}

#endif
