/* crowd: the connections that came to the edge's listeners, and which of them goes when there are too many.
 * Layer edge; the edge's.
 * Invariants: what an eviction costs is bounded; who has a request at a tunnel never goes unless he has long taken nothing
 * of its answer, nor who carries a link; of all others it is the one who has waited for longest.
 */
#ifndef ADIT_EDGE_CROWD_H
#define ADIT_EDGE_CROWD_H

#include "base/list.h"
#include "base/log.h"
#include "edge/edge_h1.h"
#include "edge/edge_h2.h"

/** Who has taken nothing of his answer for so long may go when there is no room for others: nginx's send_timeout, which
 *  ends all of them. Here nobody goes for it while there is room, before EDGE_H1_STALL_MS: a player that pauses goes on. */
#define CROWD_STALLED_MS 60000

enum crowd_version { CROWD_H1, CROWD_H2, CROWD_VERSIONS };

struct crowd {
	struct loop *loop;
	struct log *log;
	uint64_t stalled_ms;   /* when it was last told that somebody went who took nothing */
	struct list greetings; /* connections whose protocol is still to be seen */
	struct list rows[CROWD_VERSIONS][EDGE_PLACES];
	unsigned counts[EDGE_PLACES];
};

void crowd_init(struct crowd *c, struct loop *l, struct log *log);
/** Ends all at once. */
void crowd_clear(struct crowd *c);

/** That connection stands there from now on, wherever it stood before. One that is closed already stands nowhere. */
void crowd_place_h1(struct crowd *c, struct edge_h1 *one, enum edge_place place);
void crowd_place_h2(struct crowd *c, struct edge_h2 *one, enum edge_place place);
/** One that stood there was closed. */
void crowd_gone(struct crowd *c, enum edge_place place);

/** Ends the one that has been without a request, greetings among them, for longest and since before `before` on the
 *  loop's clock; false when there is none. */
bool crowd_evict(struct crowd *c, uint64_t before);
/** Ends one without a request, since before `idle_before`, or else one who has stalled for CROWD_STALLED_MS; false when
 *  there is neither. */
bool crowd_somebody_goes(struct crowd *c, uint64_t idle_before);
/** The second of these, which the log tells. */
bool crowd_stalled_goes(struct crowd *c);
/** When nobody is without a request: ends, of the visitors that it looks at, the one who has taken nothing of what waits
 *  for him for longest, and since before `before`; false when there is none. Behind crowd_evict, which brings others to
 *  the front. */
bool crowd_evict_stalled(struct crowd *c, uint64_t before);
/** The same as crowd_evict among those in EDGE_PLACE_VISITOR alone: somebody else may have that place. */
bool crowd_evict_visitor(struct crowd *c, uint64_t before);

void crowd_drain(struct crowd *c, enum edge_drain how);
/** Is there one who may bring one more request? */
bool crowd_may_ask(const struct crowd *c);

#endif
