/* guard_int: the parts of guard. For src/guard/ and its tests only.
 * What returns text returns NULL, or why the system does not give what was asked: a constant, for the log.
 * Invariant: such a part has changed nothing then.
 */
#ifndef ADIT_GUARD_GUARD_INT_H
#define ADIT_GUARD_GUARD_INT_H

#include "guard/guard.h"

/* ---- privileges.c */

/** Becomes the user (NULL: nobody else), and gives up capabilities, what executing a file would give, core dumps, and
 *  that other processes of the user look into our memory. 0 or ADIT_ERR_SYS. */
int privileges_drop(const struct guard_user *user, struct guard_error *e);

/* ---- landlock.c */

struct landlock {
	int fd;  /* the rules; -1 = none */
	int abi; /* the kernel's */
};

const char *landlock_open(struct landlock *l, enum guard_role role);
void landlock_allow(struct landlock *l, const char *path, enum guard_use use);
const char *landlock_enter(struct landlock *l);
void landlock_close(struct landlock *l);

/* ---- calls.c */

/** `*count`: how many system calls are allowed. */
const char *calls_limit(enum guard_role role, unsigned *count);

#endif
