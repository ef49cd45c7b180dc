/* takeover: asks the process that runs for its listening sockets, over its admin unix socket, at the start of its
 * successor; edge/handover answers. Both processes hold the sockets meanwhile, so no connection that waits in them
 * is lost.
 * Layer io; aditd uses it before its loop runs: calls block, each for TAKEOVER_MS at most.
 *
 *   new: GET /handover, Upgrade: adit-handover ─►   ◄─ old: 101, then "SOCKETS o-…\n" with the descriptors
 *   new, when it could serve: "READY\n" ─►          ◄─ old: "DRAINING\n", and it accepts no more
 *
 * Behind SOCKETS stands a letter for each descriptor (SCM_RIGHTS, in as many messages as are needed); o: its file in the file system is the old one's to
 * remove, and will be the new one's.
 * Invariants: before DRAINING the old one goes on as if nothing had happened, whatever becomes of the new one; when
 * takeover_commit fails it has not drained and never will for this take-over; both ends belong to one user.
 */
#ifndef ADIT_IO_TAKEOVER_H
#define ADIT_IO_TAKEOVER_H

#include "io/handed.h"

/** A process that does not answer for so long hangs. */
#define TAKEOVER_MS 5000
/** A response head, and a line with a letter for each descriptor: what is longer does not come from an aditd. */
#define TAKEOVER_ANSWER_MAX 4096
#define TAKEOVER_PROTOCOL "adit-handover"
#define TAKEOVER_PATH "/handover"
#define TAKEOVER_SOCKETS "SOCKETS "
#define TAKEOVER_READY "READY\n"
#define TAKEOVER_DRAINING "DRAINING\n"

struct takeover;

struct takeover_error {
	char text[256];
};

/** `address` is "unix:PATH". The sockets are added to `h`. 0; ADIT_ERR_REFUSED when nobody listens there; other
 *  errors with a line in `e`. */
int takeover_begin(struct takeover **out, const char *address, struct handed *h, struct log *log,
                   struct takeover_error *e);
/** The old one is told to drain. 0 and it does; or an error with a line in `e`, and it goes on. Ends the
 *  take-over. */
int takeover_commit(struct takeover **t, struct takeover_error *e);
/** Gives up: the old one goes on. */
void takeover_drop(struct takeover **t);

#endif
