/* pacing: how long a round trip takes, how fast acks come, and from both how much may be in flight.
 * Layer link, for link.c only; no clock: times are arguments.
 *
 * limit = clamp(2 x delivery rate x least RTT, LINK_INFLIGHT_MIN, LINK_INFLIGHT_MAX), except that
 *   - while the limit is what blocks, it never shrinks, and it doubles each round in which that made things faster:
 *     the loop from pull to ack can be longer than a PING says (a busy peer), and then the product is too small;
 *   - while something else blocks (the carrier, the session), it falls to the product in small steps.
 * On one machine, or across a room, what is in flight waits in buffers and not on the way: there bulk that has company
 * leaves LINK_INFLIGHT_SHARED in flight and no more (pacing_bulk).
 * A round ends when what was sent at its start has been acked: one round trip, whatever its length.
 */
#ifndef ADIT_LINK_PACING_H
#define ADIT_LINK_PACING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Delivery rate: the best of so many rounds. */
#define PACING_RATES 10
/** Least RTT: over this window and the one before, so of the last 5 to 10 s. */
#define PACING_RTT_WINDOW_MS 5000
/** A shorter round says little about a rate, with times in whole milliseconds. */
#define PACING_ROUND_MIN_MS 4

struct pacing {
	size_t limit;
	uint32_t srtt_us;
	uint32_t min_rtt_us[2];  /* this window's and the former one's; 0: no sample */
	uint64_t window_ms;      /* when this window began */
	bool near;               /* a PING on this carrier took less than a millisecond */
	bool new_path;           /* the next sample is of another carrier: it replaces what is known */
	uint64_t rates[PACING_RATES]; /* bytes per second */
	unsigned rate_next;
	uint64_t grown_at;       /* the rate at which the limit last doubled */
	bool round;              /* a round is open */
	bool round_blocked;      /* the limit kept data back in it */
	bool round_idle;         /* the session had nothing more in it */
	uint64_t round_ms, round_acked, round_end;
};

void pacing_init(struct pacing *p);
/** Another carrier: rates and RTT are measured anew; the limit stays until they are known. */
void pacing_restart(struct pacing *p);
void pacing_rtt(struct pacing *p, uint64_t rtt_ms, uint64_t now_ms);
/** The session had nothing to send: this round's rate is not the path's. */
void pacing_idle(struct pacing *p);
/** An ack came: `acked` of `sent` bytes have arrived; `blocked`: the limit was reached until then. */
void pacing_ack(struct pacing *p, uint64_t acked, uint64_t sent, bool blocked, uint64_t now_ms);
/** How much bulk may have in flight beside others: the limit, but less where that would only be a queue before them.
 *  Not on a path with a length of its own: what it needs is known too badly while others share it. */
size_t pacing_bulk(const struct pacing *p);
/** 0 before the first sample. */
uint32_t pacing_min_rtt_us(const struct pacing *p);

#endif
