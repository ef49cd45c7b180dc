/* dev: what `aditd --dev` makes by itself: a CA, a certificate, a token, and a configuration that uses them.
 * Layer edge; used by aditd's main before anything runs. Loopback only.
 */
#ifndef ADIT_EDGE_DEV_H
#define ADIT_EDGE_DEV_H

#include "conf/conf.h"

/** Fills the conf with one TLS listener and one token that may claim every name; makes the files they need in its dev_dir (a
 *  fresh private folder when that is NULL). 0, or ADIT_ERR_* with a line in `e`. */
int dev_prepare(struct conf_server *c, struct conf_error *e);

/** Prints the `adit` line to paste, for a server that listens on `address`. */
void dev_announce(const struct conf_server *c, const char *address);

#endif
