/* link: an ordered byte stream that outlives the carriers it runs over.
 * Layer link; no I/O, no clock: bytes and milliseconds come in, bytes go out. session/ uses it.
 * Invariants: each byte given by `pull` reaches the far `deliver` once and in order, whatever happens to carriers;
 * un-acked bytes are never dropped while the link lives; at most the in-flight limit of them is held.
 *
 *              link_attach                         link_detach (carrier lost)
 *     NEW ────────────────► LIVE ◄───────────────────────────► DETACHED
 *                            │            link_attach               │
 *                            └──────► DEAD (link_kill) ◄────────────┘
 *
 * The handshake frames (HELLO, WELCOME, ATTACH, ATTACHED) are made and judged above (session/): the link only
 * carries them, ahead of DATA. While attaching, the owner reads the answer frame itself and then calls link_attach.
 */
#ifndef ADIT_LINK_LINK_H
#define ADIT_LINK_LINK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "link/frame.h"

/** ACK is due after so many bytes or milliseconds, whichever is first. */
#define LINK_ACK_BYTES 32768
#define LINK_ACK_MS 100
/** In-flight limit = size of the replay buffer: start and floor, and ceiling. Between: 2 x delivery rate x min RTT. */
#define LINK_INFLIGHT_MIN (256u * 1024)
#define LINK_INFLIGHT_MAX (16u * 1024 * 1024)
/** What bulk may have in flight beside others, on a path without length (see pacing_bulk). */
#define LINK_INFLIGHT_SHARED (64u * 1024)
/** Pull from the session while the carrier holds less than LOW unsent, up to HIGH. */
#define LINK_UNSENT_LOW (32u * 1024)
#define LINK_UNSENT_HIGH (96u * 1024)
/** Control frames that wait to be sent: more than a peer can cause by rightful use. */
#define LINK_CONTROL_MAX 64

struct link;
struct pool;

enum link_state { LINK_NEW, LINK_LIVE, LINK_DETACHED, LINK_DEAD };

struct link_callbacks {
	/* Fill `p` with up to `cap` (<= FRAME_DATA_MAX) bytes of the session; how many, 0 when there are none now. */
	size_t (*pull)(void *arg, uint8_t *p, size_t cap);
	/* Session bytes, in order, once. 0 or an error, which link_recv returns. */
	int (*deliver)(void *arg, const uint8_t *p, size_t n);
	/* A control frame other than ACK, PING and PONG. 0 or an error, which link_recv returns. May call link_control. */
	int (*control)(void *arg, enum frame_type type, const uint8_t *p, size_t n);
};

/** NULL when out of memory. */
struct link *link_new(const struct link_callbacks *cb, void *arg);
/** Its memory is `pool`'s, which outlives it. Before the first byte. */
void link_use(struct link *l, struct pool *pool);
void link_free(struct link **l);

/**
 * A carrier is there. `peer_rx` is what the peer has received so far (0 for a new link): bytes before it are
 * released, bytes after it are sent again. 0; ADIT_ERR_PROTO when `peer_rx` is outside [acked, sent] (the link
 * stays as it was: check with link_may_attach before anything else is undone); or ADIT_ERR_INVALID in a wrong state.
 */
int link_attach(struct link *l, uint64_t peer_rx, uint64_t now_ms);
bool link_may_attach(const struct link *l, uint64_t peer_rx);

/** The carrier is gone: half-read and half-written frames are forgotten. What came in stays counted. */
void link_detach(struct link *l, uint64_t now_ms);

/** The link is over: buffers are freed, all but link_free and the getters becomes a no-op. A callback may do it. */
void link_kill(struct link *l);

/**
 * Bytes from the carrier. 0, ADIT_ERR_PROTO (bad frame, or an ACK outside [acked, sent]: the link must die), an
 * error of a callback, ADIT_ERR_NOMEM. Only in LINK_LIVE; else ADIT_ERR_INVALID.
 */
int link_recv(struct link *l, const uint8_t *p, size_t n, uint64_t now_ms);

/**
 * Describes what to write to the carrier next, pulling from the session as needed: due control frames first, never
 * inside a DATA frame, then DATA. `unsent` is what the carrier holds that the network has not taken. Returns the
 * number of iovecs filled (0: nothing to write). The memory stays valid until link_sent or any call that may free it
 * (recv, attach, detach, kill).
 */
int link_out(struct link *l, struct iovec *iov, int max, size_t unsent, uint64_t now_ms);

/** The carrier took `n` bytes of what link_out described. */
void link_sent(struct link *l, size_t n, uint64_t now_ms);

/** Queues a control frame (payload copied), to be sent before further DATA; nothing behind CLOSE. 0, ADIT_ERR_NOMEM,
 *  ADIT_ERR_LIMIT. */
int link_control(struct link *l, enum frame_type type, const void *p, size_t n);
/** Queues CLOSE; reason is cut at FRAME_REASON_MAX. */
int link_close(struct link *l, uint16_t code, const char *reason);

/** How long without receiving anything before a PING is sent, and whether the tunnel is in use (2 s then). */
void link_heartbeat(struct link *l, uint32_t idle_ms, bool in_use);
/** A PING now, e.g. to learn the round-trip time after an attach. */
void link_ping(struct link *l, uint64_t now_ms);

enum link_health {
	LINK_WELL,
	LINK_SUSPECT, /* nothing at all received for max(2 s, 4 x SRTT), 5 s before the first SRTT, with something outstanding;
	               * the 2 s grow with suspicions that were groundless */
};

/** The last suspicion was groundless: the next one takes twice as long, up to 30 s; or it was right: as long as at first. */
void link_suspicion_was(struct link *l, bool right);

/** Does what is due at `now_ms` (acks, heartbeat): afterwards link_out may have something. */
enum link_health link_tick(struct link *l, uint64_t now_ms);
/** When link_tick wants to be called next, in the same clock; UINT64_MAX: never. */
uint64_t link_next_tick(const struct link *l);

enum link_state link_state(const struct link *l);
uint64_t link_rx_offset(const struct link *l); /* DATA bytes received */
uint64_t link_tx_offset(const struct link *l); /* DATA bytes pulled from the session */
uint64_t link_acked(const struct link *l);     /* of those, acknowledged */
size_t link_inflight_limit(const struct link *l);
/** How many un-acked bytes bulk should leave in flight when others send beside it. */
size_t link_bulk_limit(const struct link *l);
/** Bytes of memory held for replay and control frames. */
size_t link_memory(const struct link *l);
/** Smoothed and least round-trip time in microseconds; 0 before the first sample. */
uint32_t link_srtt_us(const struct link *l);
uint32_t link_min_rtt_us(const struct link *l);
/** PINGs on this carrier that have no PONG yet. */
uint64_t link_pings_waiting(const struct link *l);
/** When anything was last received, and how often, and how many bytes were sent again over its life. */
uint64_t link_last_rx_ms(const struct link *l);
uint64_t link_replayed(const struct link *l);

#endif
