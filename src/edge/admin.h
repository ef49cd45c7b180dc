/* admin: the small HTTP interface for operators and supervisors, on loopback or a Unix socket.
 * Layer edge.
 *
 *   GET /healthz   200 as long as the process serves its loop
 *   GET /readyz    200 while visitors and tunnels are taken in; 503 while draining
 *   GET /handover  with an upgrade, from a process of the same user on a unix socket: edge/handover.h
 *
 * Invariant: a request whose Host is not a loopback name or address is refused (DNS rebinding).
 */
#ifndef ADIT_EDGE_ADMIN_H
#define ADIT_EDGE_ADMIN_H

#include "edge/handover.h"
#include "io/stream.h"

/** Connections at once: a supervisor, a scraper, and an operator or two. */
#define ADMIN_CONNECTIONS_MAX 64

struct admin;

/** `ready` is asked at each /readyz; `h` is borrowed. NULL when out of memory. */
struct admin *admin_new(struct loop *l, struct handover *h, bool (*ready)(void *arg), void *arg);
void admin_free(struct admin **a);
/** A listener_accept_fn. */
void admin_accept(void *arg, struct stream *s);

#endif
