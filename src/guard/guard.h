/* guard: what the process gives up once it has all it needs: its user, capabilities, files, system calls.
 * Layer guard (uses base only); the two programs call it.
 * Invariants: nothing given up can be had again, neither here nor by what is executed; what a system does not offer
 * is gone without and said in the log, but a user that cannot be dropped to is an error.
 *
 *   guard_new ─► guard_allow … ─► guard_enter ─► threads are started ─► guard_seal
 *                                 user, files                           system calls
 *
 * Files and user are a thread's own, so there must be one thread only in guard_enter. System calls are limited in all
 * threads at once, and last, so that starting threads is not among them.
 */
#ifndef ADIT_GUARD_GUARD_H
#define ADIT_GUARD_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/log.h"

struct guard;

enum guard_role {
	GUARD_SERVER, /* accepts connections, dials nobody */
	GUARD_CLIENT, /* dials, resolves names, accepts nothing */
};

enum guard_use {
	GUARD_READ,   /* the file, and those that take its place: its folder's */
	GUARD_LOG,    /* appended to, made, and renamed within its folder */
	GUARD_SOCKET, /* a socket's file, made and removed */
	GUARD_FOLDER, /* what is in it: read, written, made, renamed and removed */
};

/** Whom to become. */
struct guard_user {
	const char *name; /* for the log */
	uid_t uid;
	gid_t gid;
	const gid_t *groups; /* the supplementary ones */
	size_t group_count;
};

struct guard_error {
	char text[160]; /* one line */
};

/** `sandbox`: limit files and system calls too. NULL: out of memory. */
struct guard *guard_new(enum guard_role role, bool sandbox);
/** The process may go on using `path` so, also by another name for it (symbolic links). What does not exist now, or
 *  not even its folder, is passed over. NULL is fine. */
void guard_allow(struct guard *g, const char *path, enum guard_use use);
/**
 * Becomes the user (NULL: stays who it is), gives up all capabilities and new ones, core dumps, and all files but the
 * allowed. 0; ADIT_ERR_SYS with a line in `e`: it could not become the user for good, and must not go on.
 */
int guard_enter(struct guard *g, const struct guard_user *user, struct guard_error *e);
/** Limits the system calls of all threads, and tells the log what is active. */
void guard_seal(struct guard *g, struct log *log);
void guard_free(struct guard **g);

#endif
