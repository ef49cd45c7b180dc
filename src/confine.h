/* confine: gives up what a configuration shows that its program needs no more.
 * For the two mains: puts conf and guard together.
 * Invariant: what SIGHUP reads again, logs write and listeners make by the start's configuration stays possible.
 */
#ifndef ADIT_CONFINE_H
#define ADIT_CONFINE_H

#include "conf/conf.h"
#include "guard/guard.h"

/** The caller starts its threads then, and calls guard_seal. NULL with a line in `e`: it must not go on. */
struct guard *confine_server(const struct conf_server *c, struct guard_error *e);
struct guard *confine_client(const struct conf_client *c, struct guard_error *e);

#endif
