/* session: the HTTP/2 session of one tunnel above its link, and the pump between link and carrier.
 * Layer session. aditd asks on it, adit answers; edge/accept and session/dialer own one per link.
 *
 *   carrier ─ read ─► link_recv ─► h2_recv ─► halves        halves ─► h2_pull ─► link_out ─ write ─► carrier
 *
 * Invariants: one flush per turn at most; the session is pulled only while the carrier holds little; when the carrier
 * fails the owner is told once (`lost`), from the loop, and frees the session.
 */
#ifndef ADIT_SESSION_SESSION_H
#define ADIT_SESSION_SESSION_H

#include "base/buf.h"
#include "h2/h2.h"
#include "io/stream.h"
#include "link/link.h"

/** Bytes read from a carrier in one turn before others get theirs. */
#define SESSION_READ_TURN (128u * 1024)
/** A tunnel that carried a request so recently is watched closely (design §4, liveness). */
#define SESSION_IN_USE_MS 60000

struct session;

struct session_events {
	/* Answering side: see h2.h. */
	void (*request)(void *owner, struct h2_stream *s, const struct head *h, bool bodyless);
	/* A control frame for the owner: WELCOME, DRAIN, CLOSE. */
	void (*control)(void *owner, enum frame_type type, const uint8_t *p, size_t n);
	/* The carrier has ended, or the far end broke a rule. `detail` may be "". */
	void (*lost)(void *owner, int err, const char *detail);
	/* The last exchange has ended; may be NULL. */
	void (*idle)(void *owner);
};

struct session_options {
	enum h2_role role;
	struct budget *budget;   /* the process's; the session's own lies below it */
	uint32_t heartbeat_ms;
	const struct session_events *events;
	void *owner;
};

/** NULL when out of memory. */
struct session *session_new(struct loop *l, const struct session_options *o);
/** Ends the carrier at once; at the bottom of the turn its exchanges are aborted with `err` and its memory goes. */
void session_free(struct session **s, int err);

/**
 * Starts it over a carrier, which it takes over. `lead` (may be NULL) is sent before the link's first byte: what the
 * carrier's set-up left unsent; `rest` was received behind the set-up and is the link's. Both are emptied.
 * 0 or ADIT_ERR_*; a failure found in `rest` comes by `lost`.
 */
int session_attach(struct session *s, struct stream *carrier, struct buf *lead, struct buf *rest);

/** Asking side: a new stream's half, see h2_ask. */
struct half *session_ask(struct session *s, int *err);
/** Sends a control frame. */
int session_control(struct session *s, enum frame_type type, const void *p, size_t n);
/** Says CLOSE, and ends the carrier once that has been sent or after a second: `lost` comes then, with `err`. */
void session_close(struct session *s, uint16_t code, const char *reason, int err);
/** GOAWAY: no new requests, those that run go on. */
void session_goaway(struct session *s);

bool session_leaving(const struct session *s);
/** Requests in flight. */
unsigned session_open(const struct session *s);
struct link *session_link(struct session *s);

#endif
