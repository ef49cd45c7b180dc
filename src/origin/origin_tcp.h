/* origin_tcp: a local server of whatever protocol behind adit: each connection to it is the answering half of a CONNECT,
 * and passes bytes.
 * Layer origin. Through raw (raw/raw.h) FIN and RST are passed in both directions.
 *
 *     head(CONNECT) ──► dial ──► head(101) ──► bytes both ways ──► over
 *                         │ fails: abort with the reason, which the exchange answers by a page
 *
 * Invariants: a connection serves one visitor and is never used again; the PROXY header, where one is wanted, goes before
 * the visitor's first byte; at most ORIGIN_TCP_CONNECTIONS_MAX at once.
 */
#ifndef ADIT_ORIGIN_ORIGIN_TCP_H
#define ADIT_ORIGIN_ORIGIN_TCP_H

#include <stdbool.h>

#include "http/half.h"
#include "io/dial.h"

/** Connections to one origin: as many as a tunnel has streams. */
#define ORIGIN_TCP_CONNECTIONS_MAX 1024

struct origin_tcp;

struct origin_tcp_options {
	const char *host;      /* name or address; NULL when unix_path is set */
	uint16_t port;
	const char *unix_path;
	bool send_proxy;       /* begin each connection with a PROXY protocol v2 header */
	struct resolver *resolver;
};

/** Copies the options. NULL when out of memory. */
struct origin_tcp *origin_tcp_new(struct loop *l, const struct origin_tcp_options *o);
/** Resets what runs. */
void origin_tcp_free(struct origin_tcp **o);

/** A half for one CONNECT; link yours to it and give it the head. NULL with `*err`: ADIT_ERR_LIMIT, _NOMEM. */
struct half *origin_tcp_half(struct origin_tcp *o, int *err);

#endif
