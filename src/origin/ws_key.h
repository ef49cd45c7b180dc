/* ws_key: the key of a WebSocket handshake with an origin (RFC 6455 sections 4.1 and 4.2.2).
 * Layer origin; no I/O. An origin that answers 101 without the word that its key asks for has not understood it: what
 * it and the visitor say then could be taken for HTTP by one of them.
 */
#ifndef ADIT_ORIGIN_WS_KEY_H
#define ADIT_ORIGIN_WS_KEY_H

#include "http/head.h"

/** A Sec-WebSocket-Accept value and its NUL. */
#define WS_KEY_ACCEPT_TEXT 29

/** Does this request ask for a WebSocket? */
bool ws_key_wanted(const struct head *h);

/** Adds a fresh key, and the version when it has none: a request that came as RFC 8441's has neither need nor use of a
 *  key. 0, ADIT_ERR_NOMEM or ADIT_ERR_HEAD_TOO_BIG. */
int ws_key_add(struct head *h);

/** What the origin must answer to the request's key. 0, ADIT_ERR_NOMEM, or ADIT_ERR_INVALID with "" when its key is none. */
int ws_key_accept(const struct head *h, char accept[WS_KEY_ACCEPT_TEXT]);

#endif
