/* registry: which live session a name leads to.
 * Layer edge. accept adds and removes, the edge asks for each request.
 * Invariants: a name belongs to one token while any link of it lives; up to REGISTRY_SHARE_MAX links of that token
 * share it; a request goes to the one with the fewest in flight.
 */
#ifndef ADIT_EDGE_REGISTRY_H
#define ADIT_EDGE_REGISTRY_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/str.h"

/** Links that share a name: more would spread too few requests each. */
#define REGISTRY_SHARE_MAX 8
/** Names of more than one token's share; bounds the table. */
#define REGISTRY_NAMES_MAX 100000

struct registry;
struct session;

struct registry *registry_new(void);
void registry_free(struct registry **r);

/** 0; ADIT_ERR_CONFLICT: another token has the name; ADIT_ERR_LIMIT: too many links share it, or too many
 *  names; ADIT_ERR_NOMEM. A session that has the name already keeps it. */
int registry_add(struct registry *r, const char *name, const uint8_t token[SHA256_LEN], struct session *s);
/** Takes this session out of every name it has. */
void registry_remove(struct registry *r, const struct session *s);

/** The session with the fewest requests in flight among those that have a carrier and take new ones, one that is suspect
 *  only when there is no other; NULL with *known telling whether
 *  the name has any link at all. `name` in lower case; when nobody has it, a
 *  wildcard that covers it counts as its name. */
struct session *registry_find(struct registry *r, struct str name, bool *known);

/** The hash of the token that has the name, or the wildcard that covers it; NULL: nobody has. Valid until
 *  registry_add or registry_remove. */
const uint8_t *registry_owner(const struct registry *r, struct str name);

/**
 * The name a host stands for: "shop" for shop.DOMAIN, the host itself for a custom domain, "" for DOMAIN, for names
 * deeper below it, for hosts without a dot and for those of more than 255 bytes. Writes lower case into `out`.
 */
void registry_name_of(struct str host, const char *domain, char out[256]);

#endif
