/* listener: accepts connections on one address and hands them on as streams: TCP, Unix, TLS, PROXY protocol.
 * Layer io. The programs open them; the edge gets the streams.
 * Invariant: when descriptors run out, accepting pauses for LISTENER_PAUSE_MS instead of spinning.
 */
#ifndef ADIT_IO_LISTENER_H
#define ADIT_IO_LISTENER_H

#include "io/handed.h"
#include "io/tls.h"

/** Connections taken in one turn from one listener, so that a burst does not starve what runs. */
#define LISTENER_BATCH 32
#define LISTENER_PAUSE_MS 100
/** Waiting in the kernel while we are busy; the kernel caps it at somaxconn (4096 on Linux). */
#define LISTENER_BACKLOG 4096

struct listener;

struct listener_options {
	const char *address;       /* "127.0.0.1:8080", "[::1]:0", ":8080" (every address), "unix:/path" */
	struct tls_context *tls;   /* NULL = plain; the listener keeps a reference */
	bool proxy_protocol;       /* each connection begins with a PROXY header, version 1 or 2; others are closed */
	const struct handed_socket *handed; /* listen on this one, which is bound already; NULL, or fd -1: open one */
	bool private;              /* a unix socket's file is for this user only */
	/* Nothing can be accepted for want of descriptors or memory; it is tried again after a pause. May be NULL. */
	void (*starved)(void *arg);
};

/** Takes over `s`. For TLS the handshake has yet to happen: the first reads drive it. */
typedef void listener_accept_fn(void *arg, struct stream *s);

/** `arg` is for `fn` and `starved`. 0; ADIT_ERR_INVALID for an address that cannot be read; or why binding failed (ADIT_ERR_SYS: errno says more). */
int listener_open(struct listener **out, struct loop *l, const struct listener_options *o, listener_accept_fn *fn,
                  void *arg);
void listener_close(struct listener **l);

/** Accepts no more. Connections that were accepted and wait for their PROXY header are handed on still;
 *  `listener_waiting` of them. `leave_path`: a unix socket's file stays, somebody else listens there. */
void listener_stop(struct listener *l, bool leave_path);
unsigned listener_waiting(const struct listener *l);
/** What another process needs to listen there too. The descriptor stays ours. */
struct handed_socket listener_give(const struct listener *l);
/** The process that handed this socket to us has let go of it: its file is ours. */
void listener_settle(struct listener *l);

/** Stops taking connections for a while, e.g. at a limit; waiting ones stay in the kernel's queue. */
void listener_pause(struct listener *l, bool paused);
/** A new certificate for connections from now on. */
void listener_set_tls(struct listener *l, struct tls_context *tls);
/** What it is bound to, as "127.0.0.1:41234" or "unix:/path"; lives with the listener. */
const char *listener_address(const struct listener *l);

#endif
