/* origin_int: what the protocols of origins share.
 * Layer origin, internal. A protocol is a `struct origin_kind` in a file of its own, and a row in origin.c.
 */
#ifndef ADIT_ORIGIN_ORIGIN_INT_H
#define ADIT_ORIGIN_ORIGIN_INT_H

#include "base/list.h"
#include "origin/origin.h"

/** How one protocol makes answering halves. */
struct origin_kind {
	/* Makes o->state. 0 or ADIT_ERR_NOMEM. */
	int (*open)(struct origin *o);
	/* Aborts what runs, and frees o->state; what is left goes at the bottom of the turn without asking the origin. */
	void (*close)(struct origin *o);
	/* See origin_half. */
	struct half *(*half)(struct origin *o, int *err);
};

extern const struct origin_kind origin_h1, origin_h2, origin_tcp;

struct origin {
	struct loop *loop;
	const struct origin_kind *kind;
	struct origin_options o; /* its strings are the origin's own */
	unsigned count;          /* connections */
	void *state;             /* the kind's */
};

/** Dials it, with TLS when it has that; `alpn` (TLS_OFFER_*) is what is offered then. See dial_start. */
struct dial *origin_dial(const struct origin *o, unsigned alpn, dial_fn *done, void *arg);

/** What a failed dial means to whoever asked: what a socket file's mode or path does to us is no word about his
 *  request. */
int origin_dial_error(int err);
/** The part of its detail that the error and the origin's address do not say already; NULL when there is none. */
const char *origin_dial_why(int err, const char *detail);

#endif
