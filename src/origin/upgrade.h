/* upgrade: what a request has asked an HTTP/1.1 origin to switch to, and whether its 101 is an answer to that.
 * Layer origin, for origin_h1; no I/O. Of the three who look at a 101 (origin, adit, visitor) none may speak HTTP
 * when another takes the bytes for something else: so it must have been asked for, name that very protocol (RFC 9110
 * section 7.8), and fit a WebSocket's key (RFC 6455 section 4.2.2).
 */
#ifndef ADIT_ORIGIN_UPGRADE_H
#define ADIT_ORIGIN_UPGRADE_H

#include "http/h1.h"
#include "http/head.h"
#include "origin/ws_key.h"

struct upgrade {
	char *protocol;      /* asked for; NULL: none, and then no answer may be a 101 */
	bool websocket, key_added;
	char accept[WS_KEY_ACCEPT_TEXT]; /* what such an answer must say to a WebSocket's key */
};

/** Writes the request, with a key where a WebSocket's has none, and keeps what it asks for instead of what was kept.
 *  Errors are h1_write_request's and ws_key_add's; then nothing is written. */
int upgrade_write_request(struct upgrade *u, struct buf *out, const struct head *h, enum h1_framing *framing);

/** May the connection switch by this 101? Takes out of it what answers a key that nobody else knows of. */
bool upgrade_may_switch(const struct upgrade *u, struct head *h);

/** Forgets it; all zeros is empty too. */
void upgrade_clear(struct upgrade *u);

#endif
