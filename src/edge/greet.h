/* greet: finds out what a fresh connection speaks: HTTP/1.1 or HTTP/2.
 * Layer edge. By ALPN on a TLS connection; on a plain one by comparing with the 24-byte client preface (RFC 9113
 * section 3.4) up to the first byte that differs. What was read is handed on.
 * What is neither, a request line's words without its method and version, is closed without a word.
 * Invariant: a connection that has not shown it within GREET_MS is closed.
 */
#ifndef ADIT_EDGE_GREET_H
#define ADIT_EDGE_GREET_H

#include "base/buf.h"
#include "io/stream.h"

/** TLS handshake and first bytes; also the head's deadline, which begins with them. */
#define GREET_MS 10000

/** `s` is the receiver's; `first` holds what was read from it, and the receiver empties it. */
typedef void greet_fn(void *arg, struct stream *s, struct buf *first, bool h2);
/** It was closed before it was decided. */
typedef void greet_gone_fn(void *arg);

/** Takes over `s`. It stands in `waiting` until it is decided (`fn`) or closed (`gone`). 0 or ADIT_ERR_NOMEM with `s` the caller's still. */
int greet(struct list *waiting, struct stream *s, greet_fn *fn, greet_gone_fn *gone, void *arg);
/** When the one that has waited longest came, on the loop's clock; 0 when there is none. */
uint64_t greet_since(const struct list *waiting);
/** Closes the one that has waited longest, when it came before `before` on the loop's clock; false when there is none. */
bool greet_evict(struct list *waiting, uint64_t before);
/** Closes all that wait; `gone` is not called. */
void greet_drop_all(struct list *waiting);

#endif
