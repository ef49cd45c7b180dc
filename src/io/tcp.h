/* tcp: a connected socket, TCP or Unix, as a stream.
 * Layer io. The listener and dial make them.
 * Invariant: the kernel holds at most about TCP_UNSENT_MAX bytes that the network has not taken, so what is written
 * next waits behind little.
 */
#ifndef ADIT_IO_TCP_H
#define ADIT_IO_TCP_H

#include <sys/socket.h>

#include "io/stream.h"

/** TCP_NOTSENT_LOWAT: without it a new byte waited 2.2 s behind 2.8 MB at 10 Mbit/s, with it 58 ms. */
#define TCP_UNSENT_MAX 65536
/** Data that the peer does not acknowledge for so long means the connection is dead (TCP_USER_TIMEOUT). Linux counts a
 *  peer that lives and leaves its window closed as well, so this is longer than the 5 minutes a reader may stall; links
 *  have a liveness of their own. */
#define TCP_DEAD_MS 330000

/** Takes over a non-blocking descriptor, connected or connecting: `writable` comes when it is. NULL: out of memory,
 *  and the descriptor stays the caller's. */
struct stream *tcp_new(struct loop *l, int fd);

/** Calls `writable` once when the connection stands or has failed (tcp_connect_error tells). */
void tcp_await_connect(struct stream *s);
/** 0 or ADIT_ERR_* for a connection attempt that `writable` has announced. */
int tcp_connect_error(const struct stream *s);

/** Without TCP_DEAD_MS: a peer that lives may leave its window closed for as long as it likes. One that is dead is given
 *  up after what the system allows retransmissions (Linux: a quarter of an hour), an idle one by keepalive. */
void tcp_be_patient(struct stream *s);
/** The address that the far end of this stream of tcp_new has reached us at. 0 or ADIT_ERR_SYS. */
int tcp_local_address(const struct stream *s, struct address *out);

/** Sends `n` bytes with these descriptors on a connected unix socket; all of it or nothing. They stay the caller's.
 *  0, or ADIT_ERR_*. */
int tcp_send_descriptors(struct stream *s, const void *p, size_t n, const int *fds, unsigned count);
/** Is the far end of this unix socket a process of the user that we run as, or of root? Root may have opened the
 *  socket for it, as its service manager, or before it became another user; and what root may do to us needs none. */
bool tcp_is_of_this_user(int fd);
/** The same for a stream that tcp_new made. */
bool tcp_peer_is_this_user(const struct stream *s);

/** Fills `out` from a socket address. */
void address_from(struct address *out, const struct sockaddr *sa);

/** Maps what connect, accept, send and recv leave in errno to ADIT_ERR_*. */
int tcp_error(int errnum);

/** Lets this process have as many descriptors as the system allows it: the usual soft limit of 1024 is select's. */
void tcp_raise_limit(void);
/** How many it may have; not once system calls are limited. */
unsigned tcp_descriptors(void);

/** Options for latency and liveness on a connected TCP socket; failures are ignored, for Unix sockets have none. */
void tcp_tune(int fd);

#endif
