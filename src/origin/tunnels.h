/* tunnels: which local origin each published name leads to, on adit's side.
 * Layer origin; adit's main owns one set (two while a new configuration takes over).
 * Invariant: only a name that this set published leads anywhere; no part of a request can choose an origin.
 */
#ifndef ADIT_ORIGIN_TUNNELS_H
#define ADIT_ORIGIN_TUNNELS_H

#include "conf/conf.h"
#include "http/head.h"
#include "origin/origin.h"

struct tunnels;

/** One origin for each tunnel of the conf, which must outlive the set. NULL when out of memory. */
struct tunnels *tunnels_new(struct loop *l, struct resolver *r, const struct conf_client *c);
void tunnels_free(struct tunnels **t);

/** Longest origin as text: a unix path, or a host name with scheme and port. */
#define TUNNELS_ORIGIN_MAX 300
/** The origin as people read it and as random names derive from it, however it was written: "http://127.0.0.1:3000". */
void tunnels_origin_text(const struct conf_tunnel *t, char out[TUNNELS_ORIGIN_MAX]);

/** Tunnel `i` of the conf is published as `name` (copied). 0 or ADIT_ERR_NOMEM. */
int tunnels_publish(struct tunnels *t, size_t i, const char *name);
/** The conf's tunnel number for that name; -1 when there is none. */
int tunnels_find(const struct tunnels *t, struct str name);

/** Prepares a request for its origin (adit's own fields out, Host rewritten as configured) and gives a half to answer
 *  it; `*name` is the tunnel's. NULL with `*err`. */
struct half *tunnels_route(struct tunnels *t, struct head *h, const char **name, const char **origin, int *err);

#endif
