/* ws: WebSocket frames (RFC 6455) over a stream, as a stream.
 * Layer carrier; wslay does the protocol. ws-h1 puts it on an upgraded connection, ws-h2 on an extended CONNECT.
 * Invariants: what is written leaves as binary messages whose boundaries mean nothing; pings are answered; a Close, a
 * text message, a wrong mask bit, a RSV bit, an oversize control frame or any other violation ends this stream with
 * an error (and a Close frame with the right code, section 7.4.1), never the process; memory is bounded whatever the peer sends.
 */
#ifndef ADIT_CARRIER_WS_H
#define ADIT_CARRIER_WS_H

#include "base/buf.h"
#include "io/stream.h"

enum ws_side {
	WS_DIALLED,  /* the side that sent the request: masks what it sends */
	WS_ANSWERED, /* masks nothing, and wants everything masked */
};

/** Payload of the frames we send: with frame and link header it still fits one TLS record. */
#define WS_PAYLOAD_MAX 16344
/** Frames made and not taken by the lower stream, at most; while any wait, write takes no more. */
#define WS_UNSENT_MAX (64u * 1024)
/** Pings of the peer answered at a time; only the latest matters. */
#define WS_PONGS_MAX 1

/** Control frames and empty messages in a row: a link speaks every few seconds, an ingress pings less often. */
#define WS_EMPTY_MAX 1000

/** Takes over `*lower` (and nulls it) right after the handshake; `rest` (may be NULL) was received behind it and is
 *  emptied. finish sends Close(1000) and half-closes; a received Close reads as ADIT_ERR_EOF. NULL: out of memory,
 *  `*lower` stays the caller's. */
struct stream *ws_new(struct stream **lower, enum ws_side side, struct buf *rest);

#define WS_KEY_TEXT 25    /* base64 of 16 bytes, and NUL */
#define WS_ACCEPT_TEXT 29 /* base64 of a SHA-1, and NUL */
/** A fresh Sec-WebSocket-Key (RFC 6455 section 4.1). */
void ws_make_key(char out[WS_KEY_TEXT]);
/** The Sec-WebSocket-Accept for a key (section 4.2.2). 0 or ADIT_ERR_INVALID for a key that is not base64 of 16 bytes. */
int ws_accept_for(const char *key, size_t n, char out[WS_ACCEPT_TEXT]);

#endif
