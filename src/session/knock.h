/* knock: the first frames on a carrier that a link is to move to, before the link itself runs over it.
 * Layer session, for dialer. adit's side; aditd answers in edge/accept.
 *
 *   knock_say(PING) ─► PONG: the carrier really carries          knock_say(ATTACH) ─► ATTACHED or CLOSE
 *
 * Invariants: one frame is asked and one answered at a time, each within KNOCK_MS; what came behind the answer is kept.
 */
#ifndef ADIT_SESSION_KNOCK_H
#define ADIT_SESSION_KNOCK_H

#include "base/buf.h"
#include "io/stream.h"
#include "link/frame.h"

/** From a question to its answer: a path of 2 s round trips, and a server that is busy. */
#define KNOCK_MS 5000

struct knock;

/** An answer: `f` is one control frame, PING and PONG included; or `f` is NULL and `err` says why there is none. */
typedef void knock_fn(void *arg, const struct frame *f, int err, const char *detail);

/** Takes over the carrier, and empties `rest`, which came behind its set-up. NULL: out of memory, and the carrier is gone. */
struct knock *knock_new(struct loop *l, struct stream *carrier, struct buf *rest, knock_fn *answered, void *arg);
/** Asks; `answered` is called once, from the loop. */
void knock_say(struct knock *k, enum frame_type type, const void *p, size_t n);
/** Ends it and gives the carrier back with what came behind the answer. From within `answered` only, whose frame is not to
 *  be looked at any more then. */
struct stream *knock_yield(struct knock **k, struct buf *rest);
/** Ends it and the carrier. */
void knock_free(struct knock **k);

#endif
