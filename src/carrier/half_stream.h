/* half_stream: the bytes of an accepted upgrade or extended CONNECT, as a stream.
 * Layer carrier. The carriers made of HTTP use it: one end is a half of an HTTP exchange (of an HTTP/2 stream, say), the
 * other the byte-stream contract, so that WebSocket framing and the link neither know nor care.
 * Invariants: at most HALF_STREAM_BUFFER received bytes wait to be read (credit is given back as they are read); write
 * takes no more than the peer has granted; handlers are called from tasks, never from within an op.
 */
#ifndef ADIT_CARRIER_HALF_STREAM_H
#define ADIT_CARRIER_HALF_STREAM_H

#include "http/half.h"
#include "io/stream.h"

/** Received and unread: two reads of the link's pump. */
#define HALF_STREAM_BUFFER (256u * 1024)

/**
 * A stream whose other side is `peer`, a half without a peer: they are linked here and credit is granted.
 *  - On the side that answers (aditd): `answered` is NULL. The caller gives the 101 next, by
 *    half_head(half_stream_half(s), …), so that the credit which a peer grants for it comes here.
 *  - On the side that asks (adit): `answered` is told of each response head (also 1xx); only after a 101 may bytes be
 *    written. The caller gives the request's head by half_head(half_stream_half(s), …).
 * The stream begins paused. read gives ADIT_ERR_EOF after the peer's end, ADIT_ERR_RESET after its abort.
 * unsent: bytes given to the peer for which credit has not come back. NULL: out of memory.
 */
typedef void half_stream_answered_fn(void *arg, const struct head *h, bool bodyless);
struct stream *half_stream_new(struct loop *l, struct half *peer, const struct address *peer_address,
                               half_stream_answered_fn *answered, void *arg);
struct half *half_stream_half(struct stream *s);
/** Says that the connection below should be left soon: the owner learns it (stream_leaving) from a task. */
void half_stream_leave(struct stream *s);
/** `fn` is called when the stream is freed, from within stream_free: to end what was set up for it alone. */
void half_stream_on_stop(struct stream *s, void (*fn)(void *arg), void *arg);

#endif
