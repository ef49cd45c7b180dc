/* handover: gives the listening sockets to the aditd that is to replace this one, when that asks for them on the
 * admin unix socket (io/takeover.h has the conversation).
 * Layer edge; admin starts it, aditd says what to give.
 *
 *   IDLE ─ 101, sockets ─► GIVEN ─ READY, DRAINING said ─► `commit`
 *    ▲                       │ the other one goes, or HANDOVER_READY_MS
 *    └───────────────────────┘ nothing has happened
 *
 * Invariants: one at a time; only for processes of this user; nothing changes here before `commit`, and `commit`
 * comes only when the answer that promises it has been taken by a process that still lives.
 */
#ifndef ADIT_EDGE_HANDOVER_H
#define ADIT_EDGE_HANDOVER_H

#include "edge/edge_h1.h"
#include "io/handed.h"

/** From the sockets to READY: reading certificates from a slow disk. */
#define HANDOVER_READY_MS 30000

struct handover_events {
	/* Fills `out` with what to give; the descriptors stay the giver's. An error: nothing can be given now. */
	int (*give)(void *owner, struct handed *out);
	/* The other one serves: stop accepting, and leave the sockets' files alone. */
	void (*commit)(void *owner);
};

struct handover;

/** NULL when out of memory. */
struct handover *handover_new(struct loop *l, const struct handover_events *events, struct log *log, void *owner);
void handover_free(struct handover **h);

/** From within the admin connection's `request`: NULL and it answers 101; or why it is refused, with `*status`. */
const char *handover_ask(struct handover *h, struct edge_h1 *c, const struct head *request, int *status);

#endif
