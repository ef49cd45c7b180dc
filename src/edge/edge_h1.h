/* edge_h1: one HTTP/1.1 connection to us: reads requests, is the asking half of their exchanges, writes responses.
 * Layer edge. The edge owns visitors' connections, admin its own.
 * Invariants: one exchange at a time, in order (pipelined requests wait unread); at most EDGE_H1_BUFFER body bytes of
 * one exchange and as much of those before it, and one socket read are held each way; a response that was cut is never made to look complete.
 *
 *              first byte            head complete              request and response ended
 *     IDLE ──────────────► HEAD ──────────────────► EXCHANGE ──────────────────────────────► IDLE | LINGER
 *       │ idle 75 s          │ 10 s, bad head: 4xx      │ 101                                      │ 2 s
 *       ▼                    ▼                          ▼                                          ▼
 *     closed              LINGER                    TUNNEL (bytes as they come) ───────────────► closed
 *
 *     IDLE ─ edge_h1_switch ─► SWITCHED: the connection becomes a carrier
 */
#ifndef ADIT_EDGE_EDGE_H1_H
#define ADIT_EDGE_EDGE_H1_H

#include "base/buf.h"
#include "http/half.h"
#include "http/head.h"
#include "io/stream.h"

/** Response body taken ahead of a visitor's socket: two reads' worth. */
#define EDGE_H1_BUFFER (128u * 1024)
/** From the connection's, or the head's, first byte to the head's last; absolute. */
#define EDGE_H1_HEAD_MS 10000
/** Between requests; browsers and nginx use 60 to 75 s. */
#define EDGE_H1_IDLE_MS 75000
/** In that time a request body that we would take must bring EDGE_H1_BODY_MIN bytes or its end, unless a response is
 *  under way. */
#define EDGE_H1_BODY_MS 60000
#define EDGE_H1_BODY_MIN 1024
/** Without a byte of a waiting response being read by the visitor. */
#define EDGE_H1_STALL_MS 300000
/** While what he has sent is held unread, his end is not read either: it is looked for so often. */
#define EDGE_H1_HELD_MS 1000
/** Discarding what a visitor still sends after our last word: without it a RST could destroy that word. */
#define EDGE_H1_LINGER_MS 2000
#define EDGE_H1_LINGER_TOTAL_MS 30000

/** How far a drain is: edge/drain.h. */
enum edge_drain {
	EDGE_DRAIN_NONE,
	EDGE_DRAIN_PATIENT, /* connections end by announcement only */
	EDGE_DRAIN_IDLE,    /* those without a request end */
	EDGE_DRAIN_ALL,     /* and those that were spared for the sake of links: there is none any more */
};

/** As what a connection is counted: edge/crowd.h. */
enum edge_place {
	EDGE_PLACE_NONE, /* it is not among them */
	EDGE_PLACE_VISITOR,
	EDGE_PLACE_RESERVE, /* it came when there was no room: it gets no way to a tunnel before there is some */
	EDGE_PLACE_LINK,    /* it carries a link, or one of its owners' who sends requests for that */
	EDGE_PLACES
};

struct edge_h1;

typedef void edge_h1_switched_fn(void *arg, struct stream *s, struct buf *lead, struct buf *rest);

struct edge_h1_events {
	/* A request's head. Link a half to edge_h1_half(c), or call edge_h1_switch, before returning. `h` may be edited. */
	void (*request)(void *owner, struct edge_h1 *c, struct head *h, bool bodyless);
	/* A request that was refused with that status before it became one, for the log. May be NULL. */
	void (*refused)(void *owner, struct edge_h1 *c, int err);
	/* It is gone; the owner forgets it. */
	void (*closed)(void *owner, struct edge_h1 *c);
};

/** Takes over the stream; `first` (may be NULL) was read from it already and is emptied. NULL: out of memory, the stream
 *  is the caller's still. */
struct edge_h1 *edge_h1_new(struct loop *l, struct stream *s, struct buf *first, const struct edge_h1_events *events,
                            void *owner);
/** Ends it at once; `closed` is not called. */
void edge_h1_free(struct edge_h1 **c);
/** The next response says that the connection ends; EDGE_DRAIN_IDLE: it ends at once when it is between two
 *  requests. One that carries is spared until EDGE_DRAIN_ALL. */
void edge_h1_drain(struct edge_h1 *c, enum edge_drain how);
/** May a visitor bring one more request on it, who was not told that it ends? */
bool edge_h1_may_ask(const struct edge_h1 *c);
/** From within `request`: the request is one of a carrier's that has many. */
void edge_h1_carry(struct edge_h1 *c);
/** From within `request`: its head holds a secret, so the bytes it came in are overwritten once they are read. */
void edge_h1_secret(struct edge_h1 *c);
/** Since when it has no request, on the loop's clock; 0 when it has one, or its last answer is not written. In the
 *  reserve: since when it is there, whatever it does. */
uint64_t edge_h1_idle_since(const struct edge_h1 *c);
/** Since when its visitor takes nothing of what waits for him, on the loop's clock; 0 when nothing waits. */
uint64_t edge_h1_stalled_since(const struct edge_h1 *c);
/** Ends such a one with ADIT_ERR_STALLED; `closed` is called. */
void edge_h1_cut_stalled(struct edge_h1 *c);
/** Ends one that has no request that matters; `closed` is called. */
void edge_h1_evict(struct edge_h1 *c);

struct half *edge_h1_half(struct edge_h1 *c);
const struct stream *edge_h1_stream(const struct edge_h1 *c);
/** The crowd's: as what it is counted. */
void edge_h1_set_place(struct edge_h1 *c, enum edge_place place);
enum edge_place edge_h1_place(const struct edge_h1 *c);
/** Has one of its requests been a carrier's? */
bool edge_h1_links(const struct edge_h1 *c);
/** It stands in nobody's list any more. */
bool edge_h1_closed(const struct edge_h1 *c);
/** The connection's place in its owner's list; unlinked when it is closed. */
struct list *edge_h1_node(struct edge_h1 *c);
struct edge_h1 *edge_h1_of_node(struct list *node);

/** From within `request`: answers 101 with `h` and gives the stream to `fn` in this turn's end: `lead` is unsent,
 *  `rest` was received behind the request; `fn` empties both. The connection is then gone (`closed` comes first).
 *  When it ends before that, `fn` gets no stream and has only to free `arg`. */
void edge_h1_switch(struct edge_h1 *c, const struct head *h, edge_h1_switched_fn *fn, void *arg);

#endif
