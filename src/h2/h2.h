/* h2: one HTTP/2 connection over bytes, its streams as halves of exchanges.
 * Layer h2; wraps nghttp2, does no I/O and reads no clock. Used four times: the session, the edge's HTTP/2 visitors,
 * HTTP/2 origins, and the outer connection of carriers made of HTTP/2.
 * Invariants
 *  - Callbacks submit, the owner's pump sends: nothing is sent from inside h2_recv or a half's op. `wake` says that
 *    h2_pull may have something.
 *  - The connection window never waits for consumers; memory is bounded by the granted stream windows (budget).
 *  - Who sends next is decided by sched, one quantum at a time.
 *
 * Canonical heads: an upgrade is a GET with HEAD_PROTOCOL set, answered by 101, here as in HTTP/1.1; on the wire it
 * is RFC 8441's extended CONNECT, answered by 200. Another 2xx answer to an upgrade (the origin ignored it) travels on
 * a tunnel as 200 with the field adit-status; a stranger gets it as 502, for any 2xx would tell it that it may begin.
 */
#ifndef ADIT_H2_H2_H
#define ADIT_H2_H2_H

#include "base/places.h"
#include "base/pool.h"
#include "h2/budget.h"
#include "http/half.h"
#include "http/head.h"

/** One DATA frame: with its header one link DATA frame, and with that one's one TLS record. */
#define H2_QUANTUM 16331
/** RFC 9113 section 4.1. */
#define H2_FRAME_HEADER 9
/** First window of every stream. */
#define H2_WINDOW_MIN (64u * 1024)
/** A window doubles up to this when half of it was consumed within one and a half round trips. */
#define H2_WINDOW_MAX (16u * 1024 * 1024)
/** Body bytes a stream takes from its peer ahead of the scheduler: two reads of an origin's socket. */
#define H2_SEND_BUFFER (128u * 1024)
/** A stream that begins among many has its share of this, at least one quantum. Of a stranger's: 128 that are not read
 *  cost 6 MiB of what was taken ahead, and 8 MiB of first windows behind them. */
#define H2_SEND_STRANGER (2u * 1024 * 1024)
/** The same of all streams of a tunnel, or of an origin: 32 have their full buffer, a thousand are bounded. */
#define H2_SEND_TUNNEL (4u * 1024 * 1024)
/** Streams at once, each way. */
#define H2_STREAMS_MAX 1024
/** HPACK table: larger ones hold more of many visitors' fields than they save. */
#define H2_HEADER_TABLE 16384
/** Streams of one connection in its life; then a new one is wanted (2^30 is the protocol's end). */
#define H2_STREAMS_LIFETIME (1u << 29)

enum h2_role {
	H2_ASKING,    /* HTTP/2 client: aditd on the session, adit towards origins and on an outer connection */
	H2_ANSWERING, /* HTTP/2 server */
};

struct h2;
struct h2_stream;

struct h2_events {
	/* h2_pull may have something to give. May be called from any op and from h2_recv. */
	void (*wake)(void *owner);
	/* Answering role: a request's head has come. Link a half of yours to h2_stream_half(s) now and grant credit;
	 * what is left unlinked is refused (REFUSED_STREAM). `bodyless`: end has been reached already. */
	void (*request)(void *owner, struct h2_stream *s, const struct head *h, bool bodyless);
	/* The last open stream has ended, everything that came on it was told; from the end of h2_recv or h2_pull. */
	void (*idle)(void *owner);
	/* Answering role: a request is refused, its half is not linked: its head is too large, or its body comes too
	 * slowly (ADIT_ERR_SLOW). Answer by the half's ops; may be NULL: it is reset. */
	void (*refused)(void *owner, struct h2_stream *s, int err);
};

/** What a stranger may take his time for. */
struct h2_patience {
	uint32_t body_ms;  /* in that time a body that would be taken must bring */
	uint32_t body_min; /* so many bytes or its end, unless a response is under way or it was upgraded */
	uint32_t stall_ms; /* without a byte taken of a response that waits */
};

struct h2_options {
	enum h2_role role;
	struct budget *budget; /* outlives the h2 */
	struct pool *pool;     /* for what comes and goes with streams; outlives the h2, may be NULL */
	bool tunnel;           /* the far end is one of our programs: trust its rate of resets */
	uint32_t streams;      /* answering: streams at once, 0 = H2_STREAMS_MAX */
	uint32_t window;       /* each stream's first window, 0 = H2_WINDOW_MIN */
	uint32_t crowd;        /* answering strangers: so many speak on one connection, 0 = one; for the limits of calm.h */
};

/** NULL when out of memory. SETTINGS are waiting in h2_pull then. */
struct h2 *h2_new(const struct h2_options *o, const struct h2_events *events, void *owner);
/** Aborts what is open with `err` and frees it. */
void h2_free(struct h2 **h, int err);

/** Bytes from the far end. 0, ADIT_ERR_PROTO or ADIT_ERR_FLOOD (h2_pull may still hold a GOAWAY), ADIT_ERR_NOMEM.
 *  After an error the connection is of no further use: its streams get nowhere until h2_free. */
int h2_recv(struct h2 *h, const uint8_t *p, size_t n);
/** Answering strangers: h2_recv looks at so many requests more and leaves what comes behind them, until the next
 *  call. Trailers count, too. Without it all are looked at. */
void h2_allow(struct h2 *h, unsigned requests);
/** Answering strangers: so many streams were reset of late that requests are to be allowed by time, not by turns. */
bool h2_hasty(const struct h2 *h);
/** Answering strangers, from within `request`, which leaves the stream unlinked: he has brought that on himself. It counts
 *  among the resets that he made us send; what is refused for want of memory, or while we leave, does not. */
void h2_blame(struct h2 *h);
/** So many bytes at the end of what the last h2_recv was given were left: they are to be given again. */
size_t h2_unread(const struct h2 *h);
/** Was there an Authorization in what the last h2_recv was given? The caller's copy is to be overwritten then. */
bool h2_got_secret(const struct h2 *h);
/** Bytes for the far end: fills up to `cap` >= H2_QUANTUM + H2_FRAME_HEADER; 0 when there are none. */
size_t h2_pull(struct h2 *h, uint8_t *p, size_t cap);

/** Answering role: gives up the streams that have let us wait for longer, as far as can be told from one look to the
 *  next: by `refused`, or RST_STREAM. */
void h2_look(struct h2 *h, const struct h2_patience *p, uint64_t now_ms);
/** Answering role, by the last h2_look: since when no stream is without data that waits for its reader, in that look's
 *  time; 0: one is, or there is none. */
uint64_t h2_stalled_since(const struct h2 *h);
/** Answering strangers: which of their field blocks has begun and not ended, 0: none. Nothing else comes meanwhile. */
uint32_t h2_block(const struct h2 *h);
/** Ends the connection: the next pull brings a GOAWAY that says why. */
void h2_fail(struct h2 *h, int err);
/** Aborts what is open, with `err`, of a connection that has failed; not from inside one of its calls. */
void h2_abort_all(struct h2 *h, int err);

/** Tells the time and the round-trip time (0 = unknown), for the growth of windows; microseconds. */
void h2_clock(struct h2 *h, uint64_t now_us, uint32_t srtt_us);
/** Enough is on its way: while others send beside bulk (sched.h), who would wait behind that, pulls bring none of it
 *  but what its turns among them are. Bulk that is alone is not held. */
void h2_hold_bulk(struct h2 *h, bool hold);

/**
 * Asking role: a new stream's half. Link yours to it, then give it the request's head. NULL with `*err`:
 * ADIT_ERR_LIMIT (too many streams, or no budget), ADIT_ERR_LINK_LOST (the far end takes no more), ADIT_ERR_NOMEM.
 */
struct half *h2_ask(struct h2 *h, int *err);
struct half *h2_stream_half(struct h2_stream *s);
/** Asking role: that new stream takes up one of these places, until the far end has let go of it, or its request has been
 *  moved elsewhere (ADIT_ERR_MOVED) and has a place there. NULL: of nobody's. */
void h2_stream_place(struct half *stream, struct places *p);
/**
 * Asking role on a tunnel: of what h2_pull has brought since the beginning the far end has `offset` bytes. Streams that
 * were reset keep their places until it has the reset: until then it may be at work on them. UINT64_MAX: it has gone.
 * Not from inside h2_recv or h2_pull.
 */
void h2_arrived(struct h2 *h, uint64_t offset);
/** Asking role: streams at once that the far end's SETTINGS, and our own limit, allow. */
unsigned h2_streams_allowed(const struct h2 *h);
/**
 * The far end has gone: nothing more comes or goes. What has come is still told as its readers take it; then messages
 * that were complete end well, the others with ADIT_ERR_INCOMPLETE, and `idle` follows. Outside h2_recv and h2_pull
 * only.
 */
void h2_cut(struct h2 *h);

/** Sends GOAWAY: streams that run, and requests that are on their way here, go on; the far end opens no more. */
void h2_goaway(struct h2 *h);
/** Answering role, a round trip after h2_goaway: says which request was the last one. Those that come later are
 *  ignored, and the far end knows that nobody has looked at them. Our own programs have stopped at the first word
 *  and need no last. */
void h2_goaway_last(struct h2 *h);
/** The far end has sent GOAWAY, or streams run out: new ones must go elsewhere. */
bool h2_leaving(const struct h2 *h);
/** It was GOAWAY. */
bool h2_left(const struct h2 *h);
/** Why the connection is over (a GOAWAY with an error has been pulled, or sending failed); 0 while it is not. */
int h2_error(const struct h2 *h);
/** The far end's SETTINGS have come; and do they announce the extended CONNECT of RFC 8441? */
bool h2_ready(const struct h2 *h);
bool h2_may_connect(const struct h2 *h);
/** Open streams; those that have closed count until all that came on them is told. */
unsigned h2_open(const struct h2 *h);
/** Of these, without one whose request's head has not come whole. */
unsigned h2_asked(const struct h2 *h);

#endif
