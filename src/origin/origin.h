/* origin: a local web server behind adit, and the connections to it: each is the answering half of one exchange.
 * Layer origin; HTTP/1.1.
 * Invariants: a connection carries one exchange at a time, and is used again only when both messages of the last one
 * ended properly; a request is sent twice only if the origin closed a kept connection before its first response byte and
 * the request is safe to repeat; at most ORIGIN_BUFFER body bytes and one socket read are held each way.
 */
#ifndef ADIT_ORIGIN_ORIGIN_H
#define ADIT_ORIGIN_ORIGIN_H

#include "http/half.h"
#include "io/dial.h"

/** Request body taken ahead of the origin's socket. */
#define ORIGIN_BUFFER (128u * 1024)
/** Connections to one origin: as many as a tunnel has streams. */
#define ORIGIN_CONNECTIONS_MAX 1024
/** Kept for the next request; a crowd that is gone for good should not hold the origin's slots. */
#define ORIGIN_IDLE_MAX 128
/** A kept connection is closed after this, unless the origin does so first (nginx 75 s, Node 5 s). */
#define ORIGIN_IDLE_MS 60000

struct origin;

struct origin_options {
	const char *host;       /* name or address; NULL when unix_path is set */
	uint16_t port;
	const char *unix_path;
	struct resolver *resolver;
};

/** Copies the options. NULL when out of memory. */
struct origin *origin_new(struct loop *l, const struct origin_options *o);
/** Aborts what runs, closes everything. */
void origin_free(struct origin **o);

/** A half for one exchange; link yours to it and give it the request's head. NULL with `*err`: ADIT_ERR_LIMIT, _NOMEM. */
struct half *origin_half(struct origin *o, int *err);

/** Connections open, idle ones included. */
unsigned origin_connections(const struct origin *o);

#endif
