/* session: the HTTP/2 session of one tunnel above its link, and the pump between link and carrier.
 * Layer session. aditd asks on it, adit answers; edge/accept and session/dialer own one per link.
 *
 *   carrier ─ read ─► link_recv ─► h2_recv ─► halves        halves ─► h2_pull ─► link_out ─ write ─► carrier
 *
 *   attached ── the carrier fails, session_detach ──► detached (resumable) or lost
 *       ▲                                                 │ session_attach: another carrier, the same exchanges
 *       └─────────────────────────────────────────────────┘
 *
 * Invariants: one flush per turn at most; the session is pulled only while the carrier holds little; while detached
 * nothing is pulled, what the halves want to send stays with them; the end is told once (`lost`), from the loop, and
 * then the owner frees the session.
 */
#ifndef ADIT_SESSION_SESSION_H
#define ADIT_SESSION_SESSION_H

#include "base/buf.h"
#include "h2/h2.h"
#include "io/stream.h"
#include "link/link.h"

/** Bytes read from a carrier in one turn before others get theirs. */
#define SESSION_READ_TURN (128u * 1024)
/** Bytes after which a flush goes on in the next turn: when many streams have something at once it is all that they
 *  may send, some MB, and encrypting that takes milliseconds. */
#define SESSION_WRITE_TURN (128u * 1024)
/** A tunnel that carried a request so recently is watched closely (design §4, liveness). */
#define SESSION_IN_USE_MS 60000
/** A carrier that was silent for the heartbeat and so much longer is given up, whatever else is tried meanwhile. */
#define SESSION_SILENT_MS 5000

struct session;

struct session_events {
	/* Answering side: see h2.h. */
	void (*request)(void *owner, struct h2_stream *s, const struct head *h, bool bodyless);
	/* A control frame for the owner: WELCOME, DRAIN, CLOSE. */
	void (*control)(void *owner, enum frame_type type, const uint8_t *p, size_t n);
	/* The carrier has failed; a resumable session waits for another one. From the loop. `detail` may be "". */
	void (*detached)(void *owner, int err, const char *detail);
	/* Nothing was heard though something is outstanding; and later: something was heard after all. */
	void (*suspect)(void *owner, bool suspect);
	/* What the carrier runs over takes nothing new and will end: another one is better found now. May be NULL. */
	void (*leaving)(void *owner);
	/* It is over: its carrier has ended and it is not resumable, or the far end broke a rule. `detail` may be "". */
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

/** Whether it outlives its carriers; at first it does not. */
void session_resumable(struct session *s, bool resumable);

/**
 * Goes on over a carrier, which it takes over; a former one must have been detached. `peer_rx` is what the far end says
 * it has received (0 on a new link). `lead` (may be NULL) is sent before the link's first byte: what the carrier's set-up
 * left unsent; `rest` was received behind the set-up and is the link's. Both are emptied.
 * 0 or ADIT_ERR_*, see link_attach; the carrier is the session's even then. A failure found in `rest` comes by an event.
 */
int session_attach(struct session *s, struct stream *carrier, uint64_t peer_rx, struct buf *lead, struct buf *rest);
/** Ends the carrier at once, its unread bytes unread; no event comes of it. */
void session_detach(struct session *s);
/** Stops and starts reading the carrier: what has been received must stand still while another one attaches. */
void session_pause(struct session *s, bool paused);
bool session_attached(const struct session *s);
/** Nothing has been heard from the far end for too long. */
bool session_suspect(const struct session *s);
/** Another heartbeat, in milliseconds. */
void session_heartbeat(struct session *s, uint32_t ms);
/** Looks at once whether the far end is still there: suspect until anything is heard. */
void session_doubt(struct session *s);
/** Has the carrier, which must be paused, brought something that was not read? Such bytes are lost to it: only to be
 *  asked right before session_detach. */
bool session_has_unread(struct session *s);
/** From now on somebody else is told. */
void session_hand_over(struct session *s, const struct session_events *events, void *owner);
/** The carrier's own name for its far end, "" while detached. */
const char *session_peer(const struct session *s);

/** Asking side: a new stream's half, see h2_ask; ADIT_ERR_NO_LINK while detached. */
struct half *session_ask(struct session *s, int *err);
/** Sends a control frame. */
int session_control(struct session *s, enum frame_type type, const void *p, size_t n);
/** Says CLOSE, and ends the carrier once that has been sent or after a second: `lost` comes then, with `err`, and with
 *  what was said as its detail. */
void session_close(struct session *s, uint16_t code, const char *reason, int err);
/** GOAWAY: no new requests, those that run go on. */
void session_goaway(struct session *s);

/** It takes no new requests, and never will again. */
bool session_leaving(const struct session *s);
/** That is so because the far end has sent GOAWAY. */
bool session_left(const struct session *s);
/** CLOSE has been said, or it is over. */
bool session_closing(const struct session *s);
/** Requests in flight. */
unsigned session_open(const struct session *s);
struct link *session_link(struct session *s);

#endif
