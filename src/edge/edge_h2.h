/* edge_h2: one HTTP/2 connection to us (TLS ALPN h2, or prior knowledge on a plain listener): its streams are the asking
 * halves of exchanges.
 * Layer edge; h2/ does the protocol and moves the bytes, this is the connection's life.
 * Invariants: granted windows are bounded by the connection's budget and the process's; whatever the visitor lets us
 * wait for has a deadline that nothing else puts off.
 */
#ifndef ADIT_EDGE_EDGE_H2_H
#define ADIT_EDGE_EDGE_H2_H

#include "base/buf.h"
#include "edge/edge_h1.h"
#include "h2/h2.h"
#include "io/stream.h"

/** Streams of one visitor connection at once; browsers and ingresses take 100 to 256. */
#define EDGE_H2_STREAMS 128
/** A proxy in `trusted_proxies` brings many visitors on one connection: so many times a visitor's floods are none. Each
 *  is few frames that cost little; what may be at work at once is EDGE_H2_STREAMS, whoever brings it. */
#define EDGE_H2_CROWD 16
/** What one connection may be granted for uploads: all its streams' first windows, and one that grows. */
#define EDGE_H2_BUDGET (32u * 1024 * 1024)
/** Without a stream; browsers keep connections for minutes, ingresses close after 75 to 180 s. */
#define EDGE_H2_IDLE_MS 180000
/** From the connection to its first request. */
#define EDGE_H2_FIRST_MS 10000
/** From a field block's first byte to its last; absolute. Nothing else can come on the connection meanwhile. */
#define EDGE_H2_BLOCK_MS EDGE_H1_HEAD_MS
/** A request body's least rate, of each stream. */
#define EDGE_H2_BODY_MS EDGE_H1_BODY_MS
#define EDGE_H2_BODY_MIN EDGE_H1_BODY_MIN
/** With response data unread by the visitor: of one stream, or all that the socket takes. */
#define EDGE_H2_STALL_MS EDGE_H1_STALL_MS
/** Between two looks at the streams: so much later than their deadlines they are given up, at most twice. */
#define EDGE_H2_LOOK_MS 2000
/** From the GOAWAY that announces the end to the one that names the last request: more than a round trip. */
#define EDGE_H2_NOTICE_MS 1000
/** Reading on behind our last word, until the visitor closes: a RST could destroy it. */
#define EDGE_H2_LINGER_MS 2000

struct edge_h2;

struct edge_h2_events {
	/* A request's head. Link a half to `asking` before returning, or it is refused. `h` may be edited. */
	void (*request)(void *owner, struct edge_h2 *c, struct half *asking, struct head *h, bool bodyless);
	/* A request that was refused by an answer of our own, for the log. May be NULL. */
	void (*refused)(void *owner, struct edge_h2 *c, int err);
	/* It is gone; the owner forgets it. */
	void (*closed)(void *owner, struct edge_h2 *c);
};

/** Takes over the stream; `first` (may be NULL) was read from it already and is emptied. `crowd`: it is a proxy's that
 *  is trusted. NULL: out of memory. */
struct edge_h2 *edge_h2_new(struct loop *l, struct stream *s, struct buf *first, bool crowd, struct budget *budget,
                            const struct edge_h2_events *events, void *owner);
/** Ends it at once; `closed` is not called. */
void edge_h2_free(struct edge_h2 **c);
/** GOAWAY: what runs and what is on its way is answered, then it closes. One that carries is spared, until
 *  EDGE_DRAIN_ALL. */
void edge_h2_drain(struct edge_h2 *c, enum edge_drain how);
/** Since when it has no request, on the loop's clock; 0 when it has one, has something unsent, or carries. In the
 *  reserve: since when it is there, whatever it does. */
uint64_t edge_h2_idle_since(const struct edge_h2 *c);
/** Since when its visitor takes nothing of all that waits for him, on the loop's clock; 0 when he does, when something
 *  else is waited for, or it carries. May be late by twice EDGE_H2_LOOK_MS. */
uint64_t edge_h2_stalled_since(const struct edge_h2 *c);
/** Ends such a one with ADIT_ERR_STALLED; `closed` is called. */
void edge_h2_cut_stalled(struct edge_h2 *c);
/** GOAWAY, and the end at once; `closed` is called. For one that has no request that matters. */
void edge_h2_evict(struct edge_h2 *c);
/** May a visitor bring one more request on it? */
bool edge_h2_may_ask(const struct edge_h2 *c);
/** How many places its requests take up with tunnels: those too that it has reset, until adit knows of it. */
struct places *edge_h2_places(const struct edge_h2 *c);
/** From within `request`, which is left unlinked: the visitor's own fault (h2_blame). */
void edge_h2_blame(struct edge_h2 *c);
/** Requests of a carrier that has many come on it. */
void edge_h2_carry(struct edge_h2 *c);
/** Is it spared by a drain? */
bool edge_h2_carries(const struct edge_h2 *c);

const struct stream *edge_h2_stream(const struct edge_h2 *c);
/** The crowd's: as what it is counted. */
void edge_h2_set_place(struct edge_h2 *c, enum edge_place place);
enum edge_place edge_h2_place(const struct edge_h2 *c);
/** From within `request`: the request becomes a carrier, or belongs to one. */
void edge_h2_link(struct edge_h2 *c);
bool edge_h2_links(const struct edge_h2 *c);
/** It stands in nobody's list any more. */
bool edge_h2_closed(const struct edge_h2 *c);
/** Its place in its owner's list; unlinked when it is closed. */
struct list *edge_h2_node(struct edge_h2 *c);
struct edge_h2 *edge_h2_of_node(struct list *node);

#endif
