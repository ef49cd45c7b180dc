/* raw: a socket's bytes as a half of an exchange: both directions, each with an end of its own, or both broken off.
 * Layer raw (base, io, http). edge/door is one (a visitor at a published port), origin/origin_tcp the other (what is behind it).
 *
 *     socket                      raw                                          peer
 *     bytes  ── read ──────► as far as there is credit; the rest waits ──────► body
 *     FIN    ───────────────────────────────────────────────────────────────► end
 *     RST    ── BROKEN ────► what was read before it goes first, if it can ──► abort(RESET)
 *     bytes  ◄── written ─── `out`, at most RAW_BUFFER ◄───────────────────── body
 *     FIN    ◄────────────── behind all of `out` ◄─────────────────────────── end
 *     RST    ◄────────────── `out` is written as far as it goes at once ◄──── abort
 *
 * Invariants: an end is never made of something else, and an abort never looks like an end; no more than RAW_BUFFER and
 * one read are held each way; a far end that breaks off is noticed also while nothing is read from it, within
 * RAW_LOOK_MS; time alone ends nothing.
 */
#ifndef ADIT_RAW_RAW_H
#define ADIT_RAW_RAW_H

#include "base/buf.h"
#include "http/half.h"
#include "io/stream.h"

struct head;

/** Bytes taken ahead of the socket: two reads' worth. */
#define RAW_BUFFER (128u * 1024)
/** While nothing is read: how often it is looked whether the far end has broken off. */
#define RAW_LOOK_MS 500
/** So long a break waits for the bytes before it, which the session would drop with it. A program that closes a socket
 *  with something unread makes a RST behind its last words, and TCP would deliver those. */
#define RAW_LAST_WORDS_MS 250

struct raw_events {
	/* The peer has said its head. */
	void (*head)(void *owner, const struct head *h, bool bodyless);
	/* All is over: socket closed, half unlinked. The owner posts its free, which calls raw_clear. */
	void (*over)(void *owner);
};

/** Embed it. */
struct raw {
	struct half half;
	struct loop *loop;
	struct stream *stream;  /* NULL before raw_start, and when it has ended or broken */
	const struct raw_events *events;
	void *owner;
	/* from the socket */
	struct buf in;          /* read, not yet told: reading stops while there is any */
	size_t credit;          /* what the peer takes now */
	size_t credit_most;     /* ever: when it is that again, all that was told has left */
	bool telling;           /* it sees new credit itself */
	bool ended;             /* FIN came, and was told */
	int broken;             /* why the socket is no more, ADIT_ERR_*, still to be told */
	/* to the socket */
	struct buf out;
	size_t queued;          /* of `out`: for which the peer has not got its credit back */
	bool peer_ended;
	bool finished;          /* our FIN has gone */
	int write_failed;
	bool refused, over;
	struct timer timer;     /* RAW_LOOK_MS, or RAW_LAST_WORDS_MS when broken */
	struct task flush, resume;
};

/** Then link `half`. */
void raw_init(struct raw *r, struct loop *l, const struct raw_events *events, void *owner);
/** The socket, which it takes over. Grants the peer its first bytes, and reads. */
void raw_start(struct raw *r, struct stream *s);
/** Bytes of ours for the socket, before the peer's first. 0 or ADIT_ERR_NOMEM. */
int raw_preface(struct raw *r, const void *p, size_t n);
/** RST now. The half stays, without a socket, until its peer has said all; what that says is dropped. */
void raw_refuse(struct raw *r);
/** RST, and the peer is aborted with `err`: `over` comes from within. Nothing when it is over. */
void raw_end(struct raw *r, int err);
/** Frees what it holds; at the bottom of the turn in which it was over. */
void raw_clear(struct raw *r);

#endif
