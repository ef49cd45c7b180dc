/* logins: users and their passwords, as visitors name them in Authorization (Basic, RFC 7617).
 * Layer rules; rules.c has one for each rules with basic_auth.
 * Invariants: a password is looked at in constant time, and for a user that nobody is as long as for another; one
 * whose hash was right once is known by a keyed digest from then on, which is what makes a hash of 3 ms affordable
 * where nothing else runs meanwhile; passwords longer than CONF_PASSWORD_MAX are wrong without a look.
 */
#ifndef ADIT_RULES_LOGINS_H
#define ADIT_RULES_LOGINS_H

#include "conf/conf_rules.h"
#include "rules/guesses.h"

struct logins;

/** `conf` outlives it. NULL: out of memory. */
struct logins *logins_new(const struct conf_logins *conf);
void logins_free(struct logins **l);

/**
 * Is what Authorization says right? 0; ADIT_ERR_PASSWORD: it says nothing of that kind (`authorization` without .p),
 * or is wrong; ADIT_ERR_GUESSES: it may not be looked at for `*wait_s` seconds; ADIT_ERR_NOMEM.
 */
int logins_check(struct logins *l, struct str authorization, struct guesses *g, struct guess_source from,
                 uint64_t now_ms, unsigned *wait_s);

#endif
