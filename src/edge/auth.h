/* auth: who holds which token, and what it allows. The one place that decides.
 * Layer edge.
 */
#ifndef ADIT_EDGE_AUTH_H
#define ADIT_EDGE_AUTH_H

#include "base/str.h"
#include "conf/conf.h"

/** The token's entry, NULL when it is none of ours; or with `*err` ADIT_ERR_NOMEM, when nobody knows whether it is. All
 *  entries are compared, each in constant time. */
const struct conf_token *auth_token(const struct conf_server *c, struct str bearer, int *err);

/** May a link of this token have that name (lower case)? Asked at each greeting and each attach. */
bool auth_name(const struct conf_token *t, const char *name);

/** May any token claim it? Then it belongs to visitors, never to the tunnel's own endpoints. */
bool auth_claimable(const struct conf_server *c, const char *name);

#endif
