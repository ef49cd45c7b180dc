/* probe: measures what stands between adit and aditd by requests to the endpoint `probe` (carrier/probe_answered.h).
 * Layer doctor; doctor.c runs them, one at a time.
 * Invariants: `done` is called once, from the loop, unless the probe is cancelled first; a stream probe is bounded by
 * dial and STREAM_PROBE_MS, an idle probe by the ladder, its seconds and IDLE_PROBE_ECHO_MS.
 *
 *   stream probe   GET: head ─ 100 ms ─ piece ─ 500 ms ─ piece: do they arrive apart?   POST: at aditd?
 *   idle probe     the carrier that the ladder finds ── silence ── cut, or at the end: one byte, and its echo
 */
#ifndef ADIT_DOCTOR_PROBE_H
#define ADIT_DOCTOR_PROBE_H

#include "carrier/ladder.h"
#include "carrier/probe_answered.h"

/** From the request to the end of its answer: the gap, and an ingress that takes its time. */
#define STREAM_PROBE_MS 10000
/** A path that is open brings the echo within this. */
#define IDLE_PROBE_ECHO_MS 5000

struct stream_probe;
struct idle_probe;

struct stream_probe_result {
	int err, status;     /* 0; of the HTTP answer, 0 when there was none */
	bool ours;           /* the answer is aditd's */
	int64_t first_ms;    /* a GET: how long the first piece took, and the request; else -1 */
	int64_t gap_ms;      /* between the pieces; -1 when it was not measured */
	const char *detail;
};

typedef void stream_probe_fn(void *arg, const struct stream_probe_result *r);

/** The options and the target are borrowed until `done`. `upload`: the request's pieces and not the response's.
 *  NULL: out of memory. */
struct stream_probe *stream_probe_new(struct loop *l, struct resolver *r, const struct dial_options *dial,
                                      const struct carrier_target *t, bool upload, stream_probe_fn *done, void *arg);
void stream_probe_cancel(struct stream_probe **p);

enum idle_end {
	IDLE_NOT_MEASURED, /* there was no connection: err, status, ours and detail tell */
	IDLE_CUT,
	IDLE_OPEN,         /* until the end, and the echo came */
	IDLE_DEAD,         /* nobody cut it, and nothing comes back */
};

struct idle_probe_result {
	enum idle_end end;
	unsigned carrier;    /* LADDER_* */
	int64_t open_ms;     /* without traffic */
	int err, status;
	bool ours;
	const char *detail;
};

typedef void idle_probe_fn(void *arg, const struct idle_probe_result *r);

/** `o`: as for a climb, with the carriers that may be taken; its strings are borrowed until `done`.
 *  NULL: out of memory. */
struct idle_probe *idle_probe_new(struct loop *l, const struct ladder_options *o, unsigned seconds,
                                  idle_probe_fn *done, void *arg);
void idle_probe_cancel(struct idle_probe **p);

#endif
