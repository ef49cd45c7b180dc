/* outer: one HTTP/2 connection from adit to its server or ingress, on which ws-h2 and poll run their requests.
 * Layer carrier; an h2 (asking) and its pump.
 * Invariants: windows are wide open, for flow control belongs inside the tunnel; SETTINGS are acknowledged in the turn
 * they arrive; it is always read.
 */
#ifndef ADIT_CARRIER_OUTER_H
#define ADIT_CARRIER_OUTER_H

#include "h2/h2.h"
#include "io/stream.h"

/** Each stream's window: the link's own limit is what bounds bytes in flight. */
#define OUTER_WINDOW (16u * 1024 * 1024)

struct outer;

struct outer_events {
	/* The far end's SETTINGS have come: outer_may_connect is known. */
	void (*ready)(void *owner);
	/* The connection has ended; the owner frees it. Its halves have been aborted. */
	void (*gone)(void *owner, int err, const char *detail);
	/* GOAWAY has come: requests that run go on, new ones are not taken. Once, after `ready`; may be NULL. */
	void (*leaving)(void *owner);
};

/** Takes over the stream. NULL: out of memory. */
struct outer *outer_new(struct loop *l, struct stream *s, const struct outer_events *events, void *owner);
/** Ends it at once, from wherever it is called. */
void outer_free(struct outer **o);

/** Does the far end announce RFC 8441? */
bool outer_may_connect(const struct outer *o);
/** A half that answers: link yours and give it a request's head; see h2_ask. */
struct half *outer_ask(struct outer *o, int *err);
/** The far end takes no new streams (GOAWAY). */
bool outer_leaving(const struct outer *o);
const struct stream *outer_stream(const struct outer *o);

#endif
