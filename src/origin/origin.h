/* origin: a local server behind adit, and the connections to it: the answering halves of exchanges.
 * Layer origin; `tunnels` makes one for each place that a tunnel leads to.
 * Invariants: what a connection speaks is settled by the configuration, never by a request; of a message at most
 * ORIGIN_BUFFER body bytes and one socket read are held each way by HTTP/1.1, a stream's window by HTTP/2.
 */
#ifndef ADIT_ORIGIN_ORIGIN_H
#define ADIT_ORIGIN_ORIGIN_H

#include "h2/budget.h"
#include "http/half.h"
#include "io/dial.h"

/** Request body taken ahead of the origin's socket. */
#define ORIGIN_BUFFER (128u * 1024)
/** Connections to one origin, and requests that it has at once: as many as a tunnel has streams. */
#define ORIGIN_CONNECTIONS_MAX 1024
/** Kept for the next request; a crowd that is gone for good should not hold the origin's slots. */
#define ORIGIN_IDLE_MAX 128
/** A kept connection is closed after this, unless the origin does so first (nginx 75 s, Node 5 s). */
#define ORIGIN_IDLE_MS 60000

enum origin_protocol {
	ORIGIN_H1, /* HTTP/1.1: a connection carries one exchange at a time */
	ORIGIN_H2, /* HTTP/2: over TLS by ALPN, plain by prior knowledge */
	ORIGIN_TCP, /* bytes, of whatever protocol: one connection for each CONNECT */
	ORIGIN_PROTOCOLS
};

struct origin;

struct origin_options {
	enum origin_protocol protocol;
	const char *host;        /* name or address; NULL when unix_path is set */
	uint16_t port;
	const char *unix_path;
	struct tls_context *tls; /* NULL = plain; the origin holds a reference */
	const char *tls_name;    /* whom the certificate must name, NULL = the host */
	struct resolver *resolver;
	bool send_proxy;         /* ORIGIN_TCP: begin each connection with a PROXY protocol v2 header */
	struct budget *budget;   /* the process's, for what HTTP/2 origins may send; NULL = none above its own */
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
