/* handed: listening sockets that this process has not opened itself: from the service manager that started it (the
 * protocol of sd_listen_fds(3)), or from the process that it replaces (io/takeover).
 * Layer io; aditd fills one at its start, and gives its own away in one.
 * Invariants: what is in it listens already; each is taken once, by its address; a name in the file system is
 * removed only by whom it belongs to.
 */
#ifndef ADIT_IO_HANDED_H
#define ADIT_IO_HANDED_H

#include <stdbool.h>

#include "base/log.h"

/** Listeners, and some hundred published ports; below the usual soft limit of descriptors. */
#define HANDED_MAX 512
/** One message carries no more (SCM_MAX_FD). */
#define HANDED_MESSAGE_MAX 253

struct handed_socket {
	int fd;            /* -1 = taken */
	bool owns_path;    /* a unix socket's file is to be removed when it is not listened on any more */
	const char *from;  /* for the log; a static string */
};

struct handed {
	struct handed_socket at[HANDED_MAX];
	unsigned count;
};

/** Adds a descriptor, which it takes over; one that does not listen, or is one too many, is closed with a log
 *  line. */
void handed_add(struct handed *h, int fd, bool owns_path, const char *from, struct log *log);
/** Adds what the service manager has passed to this process, and takes the variables that say so out of the
 *  environment. */
void handed_from_manager(struct handed *h, struct log *log);
/** Takes the one that is bound to that address, as configured; `fd` is -1 when there is none. */
struct handed_socket handed_take(struct handed *h, const char *address);
/** Closes what nobody has taken, with a log line each. `remove`: their files too, where that is ours to do. */
void handed_close(struct handed *h, struct log *log, bool remove);

#endif
