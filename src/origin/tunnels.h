/* tunnels: which local origin each published name leads to, on adit's side.
 * Layer origin; adit's main owns one set (two while a new configuration takes over).
 * Invariant: only a name that this set published leads anywhere; no part of a request can choose an origin.
 */
#ifndef ADIT_ORIGIN_TUNNELS_H
#define ADIT_ORIGIN_TUNNELS_H

#include "conf/conf.h"
#include "http/head.h"
#include "origin/origin.h"
#include "rules/guesses.h"

struct tunnels;

/** What all origins share; all of it outlives the set. */
struct tunnels_options {
	struct resolver *resolver;
	struct budget *budget;     /* the process's */
	struct tls_keylog *keylog; /* NULL = none */
	struct guesses *guesses;   /* the process's */
};

/** One origin for each tunnel and route of the conf, which must outlive the set. NULL with a line in `e`: a CA file
 *  that cannot be used, or no memory. */
struct tunnels *tunnels_new(struct loop *l, const struct tunnels_options *o, const struct conf_client *c,
                            struct tls_error *e);
void tunnels_free(struct tunnels **t);

/** What a conf wants published, in HELLO's order, one entry for each name: the tunnel of entry `i`, with its name in
 *  `*name` ("" = a random one), or its port's name, which is written to `port`. NULL behind the last. */
const struct conf_tunnel *tunnels_wanted(const struct conf_client *c, size_t i, const char **name,
                                         char port[CONF_PORT_NAME_MAX]);
/** Entry `i` is published as `name` (copied). 0 or ADIT_ERR_NOMEM. */
int tunnels_publish(struct tunnels *t, size_t i, const char *name);

/** Where a request has been found to go. */
struct tunnels_way {
	const char *name;   /* what it was published as; NULL: nowhere */
	const char *origin; /* for people; NULL: it is not told to who may not go there */
	unsigned wait_s;    /* refused by a rule: Retry-After, 0 = none */
};

/** Judges a request by its tunnel's rules, prepares it for its origin (adit's own fields out, what the rules change,
 *  Host as configured) and gives a half to answer it. NULL with `*err`. */
struct half *tunnels_route(struct tunnels *t, struct head *h, struct tunnels_way *way, int *err);

#endif
