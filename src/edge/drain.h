/* drain: the order in which a server that ends, or that is replaced, lets go of its visitors and links.
 * Layer edge; aditd has one, and has stopped accepting when it begins.
 *
 *   begin ─► PATIENT ─────────────────────────────► HURRIED ─────────────────► over: nobody is left, or drain_seconds
 *            links are told to move and still        connections without a
 *            answer; each visitor's next response    request end, links close
 *            says that his connection ends           when their last has ended
 *
 * PATIENT ends when no visitor is left who could bring one more request, when no link is left to answer it, or when
 * half of drain_seconds is over.
 * Invariants: while PATIENT no connection ends under a request that may be on its way, and no link is closed.
 */
#ifndef ADIT_EDGE_DRAIN_H
#define ADIT_EDGE_DRAIN_H

#include "edge/accept.h"
#include "edge/edge.h"

/** The far ends of a restart move at a random time within this. */
#define DRAIN_SPREAD_MS 1000
/** How often it is looked who is left; a look costs a walk along the connections. */
#define DRAIN_LOOK_MS 100

struct drain_options {
	struct edge *edge;
	struct acceptor *acceptor;
	struct log *log;
	/* Accepted connections that the edge has not got yet: behind a PROXY header. */
	unsigned (*coming)(void *owner);
	void *owner;
};

struct drain {
	struct loop *loop;
	struct drain_options o;
	struct timer over, look;
	uint64_t patient_until_ms;
	bool on, patient;
};

void drain_init(struct drain *d, struct loop *l, const struct drain_options *o);
/** Begins; the loop is stopped when it is over. */
void drain_begin(struct drain *d, unsigned seconds);
/** The last visitor or the last link has gone, or both. */
void drain_empty(struct drain *d);
void drain_stop(struct drain *d);

#endif
