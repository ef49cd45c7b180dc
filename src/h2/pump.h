/* pump: moves bytes between an h2 connection and the stream that it runs over.
 * Layer h2; the one part of it that knows streams. The outer connection of carriers, HTTP/2 visitors and HTTP/2
 * origins use it; the session has its own, for there is a link between.
 * Invariants: one flush per turn; at most H2_PUMP_UNSENT bytes are taken from h2 ahead of the stream; everything is
 * told from the loop, never from inside a call.
 */
#ifndef ADIT_H2_PUMP_H
#define ADIT_H2_PUMP_H

#include "base/buf.h"
#include "h2/h2.h"
#include "io/stream.h"

/** Taken from h2 ahead of the socket: one flush of four TLS records. */
#define H2_PUMP_UNSENT (64u * 1024)
/** Read in one turn before others get theirs. */
#define H2_PUMP_READ_TURN (128u * 1024)

/** A stranger's requests of one turn: each takes some ten microseconds, and a block of 64 KiB holds a thousand.
 *  Everybody else would wait for all of them. What stands behind them waits for the next turn, in `rest`. */
#define H2_PUMP_REQUESTS 16

/** So many in so many milliseconds when the far end resets what it asks for: they reach the tunnel's other end, which
 *  has a turn of its own and dials its origin for each. Everybody's requests stand in that queue. */
#define H2_PUMP_HASTY_REQUESTS 8
#define H2_PUMP_HASTY_MS 2

struct h2_pump_events {
	/* h2 has been given bytes; may be NULL. */
	void (*received)(void *owner);
	/* A flush is over; `out` holds what the stream did not take. When `failed` is set, h2 has broken. May be NULL. */
	void (*flushed)(void *owner);
	/* The stream has ended, or failed: it is gone, the pump has stopped. `detail` lives during the call. */
	void (*ended)(void *owner, int err, const char *detail);
};

/** Embed it. Its members may be read. */
struct h2_pump {
	struct loop *loop;
	struct stream *stream; /* NULL when it has stopped */
	struct h2 *h2;         /* the owner's */
	const struct h2_pump_events *events;
	void *owner;
	struct buf out;
	uint64_t written;      /* bytes that the stream has taken */
	int failed;            /* why h2 is of no further use; what it says about that is in `out`, what comes is dropped */
	int unwritable;        /* why the stream takes nothing more; what came before that is still read */
	bool quiet, stopped;
	uint8_t *rest;         /* read and not looked at yet, at most LOOP_BLOCK bytes; then nothing is read */
	size_t rest_len;
	uint64_t allowed_ms;   /* when requests were allowed last */
	struct task flush, again;
	struct timer later;    /* `again`, by time */
};

/** Takes over the stream. The owner's `wake` calls h2_pump_wake. */
void h2_pump_init(struct h2_pump *p, struct loop *l, struct h2 *h2, const struct h2_pump_events *events, void *owner);
void h2_pump_start(struct h2_pump *p, struct stream *s);
/** Bytes that were read from the stream before. */
void h2_pump_take(struct h2_pump *p, const uint8_t *bytes, size_t n);
/** h2 may have something to give. */
void h2_pump_wake(struct h2_pump *p);
/** All is said: what still comes is read and thrown away, until it ends. */
void h2_pump_quiet(struct h2_pump *p);
/** Writes now what the stream takes of our last word, and the end behind it; for who calls h2_pump_stop next. */
void h2_pump_last(struct h2_pump *p);
/** Frees the stream; nothing is told any more. The owner frees h2, then calls h2_pump_clear. */
void h2_pump_stop(struct h2_pump *p);
void h2_pump_clear(struct h2_pump *p);

#endif
