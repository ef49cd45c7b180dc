/* edge_h1_int: what the two files of an HTTP/1.1 connection share: edge_h1.c reads requests and holds its life,
 * edge_h1_out.c writes responses.
 * Layer edge, internal.
 */
#ifndef ADIT_EDGE_EDGE_H1_INT_H
#define ADIT_EDGE_EDGE_H1_INT_H

#include "base/list.h"
#include "edge/edge_h1.h"
#include "http/h1.h"

enum edge_h1_state { H1C_IDLE, H1C_HEAD, H1C_EXCHANGE, H1C_TUNNEL, H1C_SWITCHED, H1C_LINGER, H1C_CLOSED };

/** What the one timer waits for. */
enum edge_h1_wait {
	H1C_WAIT_NONE,
	H1C_WAIT_IDLE,
	H1C_WAIT_HEAD,
	H1C_WAIT_BODY,
	H1C_WAIT_HELD,
	H1C_WAIT_STALL,
	H1C_WAIT_LINGER,
};

struct edge_h1 {
	struct half half;
	struct loop *loop;
	struct stream *stream;
	const struct edge_h1_events *events;
	void *owner;
	struct list node;
	enum edge_h1_state state;
	struct h1_parser *parser;
	/* the request */
	struct buf in;        /* read, not yet taken: reading pauses while there is any */
	size_t credit;        /* body bytes the peer takes now */
	bool feeding;         /* in the middle of feed(): it sees new credit itself */
	bool upgrade;         /* asked for, not yet answered: further bytes are held */
	bool bodyless;        /* its end follows its head at once */
	bool request_ended;
	size_t body_came;     /* of its body since the deadline was set */
	/* the response */
	struct buf out;
	size_t body_queued;   /* body bytes among `out`, for which the peer has not got its credit back */
	struct h1_asked asked;
	enum h1_framing framing;
	bool response_begun, response_ended;
	bool close_after;     /* no request after this one */
	bool cut;             /* when `out` is written, close without a proper end */
	enum edge_drain draining;
	bool secret;          /* what is being read holds one */
	enum edge_place place;
	uint64_t place_since;
	bool links;           /* a link uses it */
	bool carries;         /* its last request was one of a live carrier's */
	/* time */
	struct timer timer;
	enum edge_h1_wait wait;
	uint64_t idle_since;     /* without a request; valid between two */
	uint64_t stalled_since;  /* without a byte taken; valid while it waits for H1C_WAIT_STALL */
	uint64_t linger_until;
	size_t unsent_seen;      /* what TLS still had to send when that was last looked at, */
	uint64_t unsent_since;   /* and since when it was that much */
	struct task flush, resume, free, hand_over;
	edge_h1_switched_fn *switched;
	void *switched_arg;
};

/** The asking half. */
extern const struct half_ops edge_h1_ops;

static inline struct edge_h1 *edge_h1_of_half(struct half *h)
{
	return container_of(h, struct edge_h1, half);
}

/** Answers wait that he does not read: the next request is not looked at. Whoever sends many requests ahead would else
 *  make us keep all that he asks for. */
static inline bool edge_h1_unread(const struct edge_h1 *c)
{
	return c->out.len >= EDGE_H1_BUFFER;
}

/* ---- edge_h1.c */

void edge_h1_go(struct edge_h1 *c, enum edge_h1_state to);
/** Sets the deadline for what is waited for now; one that runs goes on running unless there was `progress`. */
void edge_h1_watch(struct edge_h1 *c, bool progress);
/** Ends it; at the bottom of the turn it is freed. */
void edge_h1_close(struct edge_h1 *c, int err);
/** Reads on only to let our last word arrive. */
void edge_h1_linger(struct edge_h1 *c);
/** After the end of a request or a response: both? Then the next one. */
void edge_h1_check_over(struct edge_h1 *c);

/* ---- edge_h1_out.c */

/** Writes what it can; a task. */
void edge_h1_flush(void *arg);
void edge_h1_post_flush(struct edge_h1 *c);
/** A tunnel whose two directions have ended, and all is written. */
void edge_h1_tunnel_over(struct edge_h1 *c);
/** A request that cannot be one: an answer of our own, and the connection ends. */
void edge_h1_refuse(struct edge_h1 *c, int err, const char *detail);

#endif
