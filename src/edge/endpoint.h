/* endpoint: the tunnel's own endpoints, /_adit/v1/…: authenticates the request and makes its connection or stream a
 * carrier, or hands it to the poll carrier that it names, or to the probes of `adit doctor`.
 * Layer edge; the edge hands over what is addressed to them.
 * Invariant: without a valid token there is a 401 and nothing else; every answer carries Adit-Version.
 */
#ifndef ADIT_EDGE_ENDPOINT_H
#define ADIT_EDGE_ENDPOINT_H

#include "base/log.h"
#include "carrier/poll_answered.h"
#include "carrier/probe_answered.h"
#include "conf/conf.h"
#include "edge/accept.h"
#include "edge/edge_h1.h"
#include "edge/edge_h2.h"
#include "io/headroom.h"

/** One request, whatever version it came in. */
struct visit {
	struct half *asking;         /* answer it, or link a half */
	const struct stream *stream; /* of its connection: who asks, and whether by TLS */
	struct edge_h1 *h1;          /* its connection when it is HTTP/1.1, else NULL */
	struct edge_h2 *h2;          /* and when it is HTTP/2 */
	bool reserve;                /* it has come into what is kept for tunnels' owners */
	struct places *places;       /* of its connection, for requests to tunnels; NULL: one connection, one request */
};

struct endpoint {
	struct loop *loop;
	struct acceptor *acceptor;
	const struct conf_server *conf;
	struct guesses *guesses;
	struct log *log;
	struct headroom *headroom; /* the process's; NULL = memory without bound */
	bool draining;
	struct poll_table polls;
	struct probe_table probes;
};

void endpoint_init(struct endpoint *e, struct loop *l, struct acceptor *a, const struct conf_server *conf,
                   struct guesses *guesses, struct log *log);
/** `e` must live until the connections it took are in the acceptor's hands (the end of the turn). */
void endpoint_serve(struct endpoint *e, const struct visit *v, struct head *h);

#endif
