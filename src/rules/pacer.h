/* pacer: one rate that many senders share: each may pass on as many bytes as it has been lent.
 * Layer rules; rules.c has one for each direction of a bandwidth, pass.c's halves are its lanes.
 *
 *     peer's credit ──► lane.want ──── lent, in turn, as far as the bucket has ────► credit for who sends
 *                                      lane.lent ◄──── less by each byte that passes
 *
 * Invariants: no byte passes that was not taken from the bucket before; what was lent to a lane and not used goes
 * back when it ends; a lane has at most one unit and a half lent at a time, so that a quiet one holds little; nothing
 * is stored here: who sends waits for credit as for a slow reader.
 */
#ifndef ADIT_RULES_PACER_H
#define ADIT_RULES_PACER_H

#include "base/bucket.h"
#include "base/list.h"
#include "io/loop.h"

/** What is saved up while nobody sends: a quarter of a second. */
#define PACER_DEPTH_MS 250
/** Lent at a time: a twentieth of a second's bytes, so that many lanes move, between these bounds. */
#define PACER_UNIT_MS 50
#define PACER_UNIT_MIN 256

struct pacer;

struct lane {
	struct list node;
	struct pacer *pacer; /* a reference */
	size_t want; /* credit that the peer has granted, not lent yet */
	size_t lent; /* and not used */
	void (*lend)(void *arg, size_t n); /* `n` more bytes may pass */
	void *arg;
};

/** With one reference. NULL: out of memory. */
struct pacer *pacer_new(struct loop *l, uint64_t rate);
struct pacer *pacer_ref(struct pacer *p);
void pacer_unref(struct pacer **p);
/** Another rate from now on, also for what runs. */
void pacer_change(struct pacer *p, uint64_t rate);

void lane_init(struct lane *l, struct pacer *p, void (*lend)(void *arg, size_t n), void *arg);
/** The peer takes `n` more; `lend` is called for what may pass of it, at once or later. */
void lane_want(struct lane *l, size_t n);
/** `n` bytes have passed, no more than were lent. */
void lane_used(struct lane *l, size_t n);
/** Gives back what is not used. `lend` is not called any more. */
void lane_end(struct lane *l);

#endif
