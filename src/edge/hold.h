/* hold: requests that wait for their tunnel, and those that could go another way when it is lost.
 * Layer edge; edge has one. The exchanges' notes link them in.
 * Invariants: at most `max` (one of HOLD_MAX…) wait, each at most HOLD_MS; of a request that waits only its head is in memory, its body
 * stays with its visitor.
 */
#ifndef ADIT_EDGE_HOLD_H
#define ADIT_EDGE_HOLD_H

#include "base/log.h"
#include "exchange/exchange.h"
#include "io/loop.h"

/** A browser's patience is longer, but who waits for more than that is better told. */
#define HOLD_MS 10000
/** More would be a queue that nobody gets through in time: 256 heads of 32 KiB are 8 MiB. */
#define HOLD_MAX 256
/** While a server starts: all that it is asked in the second that its clients need to come to it. 256 were too few for
 *  400 visitors who ask without a pause. 32 MiB at the worst; one more costs a walk along them. */
#define HOLD_MAX_STARTING 1024
/** How often they are routed again when no event says that it is worth while. */
#define HOLD_AGAIN_MS 100

/* From the first request that waits to when none does any more: one event at each end, however many they are. */
struct hold_tally {
	bool open;
	uint64_t since_ms;
	uint64_t waited, sent, gave_up, turned_away; /* turned away: too many waited already */
};

struct hold {
	struct loop *loop;
	struct log *trace;
	struct hold_tally tally;
	struct list waiting; /* oldest first */
	struct list under_way;
	struct timer again;
	struct task retry;
};

void hold_init(struct hold *h, struct loop *l, struct log *trace);
/** Everything that waits gets 503. */
void hold_end(struct hold *h, int err);

/** From route: this one is to wait. False when too many do; else route answers ADIT_ERR_AGAIN. */
bool hold_wait(struct hold *h, struct exchange *x, unsigned max);
/** From route: this one goes to `via`. */
void hold_sent(struct hold *h, struct exchange *x, const void *via);
/** Something has changed: those that wait are routed again at the end of this turn. */
void hold_retry(struct hold *h);
/** Those sent to `via` that may move are routed again, when `elsewhere` says that there is another way for them. */
void hold_move(struct hold *h, const void *via, bool (*elsewhere)(void *arg, const struct exchange *x), void *arg);
unsigned hold_count(const struct hold *h);

#endif
