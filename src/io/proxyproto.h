/* proxyproto: reads the PROXY protocol header, version 1 or 2, that a proxy sends before a connection's own bytes; and
 * writes one.
 * Layer io; the listener reads, adit writes towards its origins. (The PROXY protocol, HAProxy's proxy-protocol.txt.)
 * Invariants: not one byte behind the header is read; a connection without a valid header within PROXYPROTO_MS is closed.
 */
#ifndef ADIT_IO_PROXYPROTO_H
#define ADIT_IO_PROXYPROTO_H

#include "base/list.h"
#include "io/socket_address.h"
#include "io/stream.h"

/** The sender writes it first of all, in one packet. */
#define PROXYPROTO_MS 5000
/** Longest version 1 line, and what is taken of a version 2 header (addresses and TLVs). */
#define PROXYPROTO_V1_MAX 107
#define PROXYPROTO_V2_MAX 2048
/** Connections that wait for their header at once, 2 KiB and a descriptor each; one more ends the oldest. */
#define PROXYPROTO_WAITING_MAX 256

/** What waits, the oldest first. Its owner keeps it in place until proxyproto_drop_all. */
struct proxyproto_queue {
	struct list list;
	unsigned count;
};

typedef void proxyproto_fn(void *arg, struct stream *s);

void proxyproto_init(struct proxyproto_queue *q);
/** Takes over `*s` (and nulls it), reads the header, sets peer, and gives the stream to `fn`; or closes it.
 *  It stands in `q` meanwhile. 0 or ADIT_ERR_NOMEM with `*s` untouched. */
int proxyproto_read(struct proxyproto_queue *q, struct stream **s, proxyproto_fn *fn, void *arg);
/** The longest that proxyproto_write makes. */
#define PROXYPROTO_HEADER_MAX 52
/** A version 2 header for a connection that came from `from` to `to`, TCP addresses both; IPv4 beside IPv6 is written as
 *  mapped IPv6. Without one of them (NULL): LOCAL, which says nothing of whom it is for. Its length. */
size_t proxyproto_write(uint8_t out[PROXYPROTO_HEADER_MAX], const union socket_address *from,
                        const union socket_address *to);

/** Closes all that wait. */
void proxyproto_drop_all(struct proxyproto_queue *q);

#endif
