/* probe_answered: aditd's end of the probes of `adit doctor`: /_adit/v1/LINKID/probe tells what an ingress does to
 * bytes on their way, and carries nothing.
 * Layer carrier; edge/endpoint authenticates each request first and then hands it over. doc/wire.md has the requests.
 *
 *     GET                 200 at once, PROBE_LEAD_MS later a piece of the body, another PROBE_GAP_MS after it
 *     POST                when its body has ended: 204, Adit-Gap: milliseconds between its first byte and its end
 *     Upgrade, or EC      a connection on which nothing is said until adit says something, which is echoed once
 *
 * Invariants: at most PROBES_MAX at once in the process and PROBES_PER_TOKEN of one token; none lives for longer than
 * PROBE_ASK_MS, a held one PROBE_HOLD_MS.
 */
#ifndef ADIT_CARRIER_PROBE_ANSWERED_H
#define ADIT_CARRIER_PROBE_ANSWERED_H

#include "base/digest.h"
#include "base/list.h"
#include "http/half.h"
#include "io/stream.h"

/** Between two pieces: much longer than the 200 ms that delayed acks and HAProxy add, short enough to wait for. */
#define PROBE_GAP_MS 500
/** From the head to the first piece: nginx passes on what came along with the head even where it buffers the rest. */
#define PROBE_LEAD_MS 100
/** Of one piece: less than the 1460 bytes that nginx waits for by itself. */
#define PROBE_PIECE 512
/** A POST's whole body, at most. */
#define PROBE_BODY_MAX 4096
/** A POST may take so long: twenty times what adit's takes. */
#define PROBE_ASK_MS 10000
/** The longest silence that adit doctor measures. */
#define PROBE_IDLE_MAX_S 3600
/** A held connection ends by itself a little later than that. */
#define PROBE_HOLD_MS ((PROBE_IDLE_MAX_S + 60) * 1000u)
/** A doctor has one at a time; a descriptor and some KiB each. */
#define PROBES_PER_TOKEN 4
#define PROBES_MAX 16

/** All probes of a loop: probe_table_init it. */
struct probe_table {
	struct loop *loop;
	struct list probes;
	unsigned count;
};

void probe_table_init(struct probe_table *t, struct loop *l);
/** Ends all of them: before the table goes. */
void probe_table_clear(struct probe_table *t);
/** Ends the held connections: the process is leaving, and they would outstay everybody. */
void probe_table_drop_held(struct probe_table *t);

/** The status that refuses one more: 429, this token has enough; 503, all together have; 0: there is room. */
int probe_table_full(const struct probe_table *t, const uint8_t token[SHA256_LEN]);

/** Take a request over; `asking` has no peer yet. There must be room. Without memory it stays without a peer. */
void probe_answer_pieces(struct probe_table *t, struct half *asking, const uint8_t token[SHA256_LEN]);
void probe_answer_upload(struct probe_table *t, struct half *asking, const uint8_t token[SHA256_LEN]);
/** Takes the stream over, paused and without handler; where there is no room it ends. */
void probe_hold(struct probe_table *t, struct stream *s, const uint8_t token[SHA256_LEN]);

#endif
