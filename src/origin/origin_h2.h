/* origin_h2: HTTP/2 to an origin: its connections, and the requests that run on them or wait for one.
 * Layer origin, internal: origin_h2.c has the connections, origin_h2_request.c the requests.
 * Invariants: a request is sent again only once, and only if nobody has looked at it, or if a connection that had
 * been used before ended without an answer to a request that is safe to repeat; never when a byte of its body had been
 * passed on.
 *
 *   request      front, which answers the exchange ═ back, which asks a stream of a connection
 *
 *                       a connection has room
 *                WAITS ───────────────────────► ASKED ──► over
 *                  ▲                              │
 *                  └──────────────────────────────┘ not looked at, or not heard: once
 *
 *   connection   DIALLING ──► GREETING ──► OPEN ──────────────────► LEAVING ──► closed
 *                TCP, TLS      SETTINGS     │ ▲ requests   GOAWAY      when nothing is open
 *                                           │ └ ORIGIN_IDLE_MS without any: closed
 *                                           └─► ENDED ──► closed, when what had come is told
 */
#ifndef ADIT_ORIGIN_ORIGIN_H2_H
#define ADIT_ORIGIN_ORIGIN_H2_H

#include "h2/pump.h"
#include "origin/origin_int.h"
#include "origin/ws_key.h"

/** With eight streams on each as many requests run as a tunnel has; origins usually allow a hundred or more. */
#define ORIGIN_H2_CONNECTIONS_MAX 128
/** From the connection to the SETTINGS that say what it allows, as each step of a dial. */
#define ORIGIN_H2_SETTINGS_MS DIAL_STEP_MS
/** A request waits so long for room, as at aditd for its tunnel. */
#define ORIGIN_H2_WAIT_MS 10000
/** While a connection serves, another one that failed is not dialled again at once. */
#define ORIGIN_H2_REDIAL_MS 1000

enum origin_h2_state { H2C_DIALLING, H2C_GREETING, H2C_OPEN, H2C_LEAVING, H2C_ENDED, H2C_CLOSED };

struct origin_h2 {
	struct origin *origin;
	struct budget budget;
	struct list connections;
	struct list waiting, asked; /* requests; the first of `waiting` has waited longest */
	unsigned waits, requests;
	unsigned streams;           /* that a connection allows at once, as far as is known */
	uint64_t no_dial_ms;        /* none before, while there is an open one */
	bool closing;
	struct timer patience;
	struct task dispatch, free;
};

struct h2_connection {
	struct origin_h2 *home;
	struct list node;
	enum origin_h2_state state;
	struct dial *dial;
	struct h2 *h2;
	struct h2_pump pump;
	bool asked;      /* it has carried a request */
	bool used;       /* and a response */
	int lost;        /* why it ended */
	const char *why; /* static */
	struct timer timer;
	struct task free;
};

struct h2_request {
	struct half front, back;
	struct origin_h2 *home;
	struct list node;
	struct h2_connection *on; /* where it was asked last; it may be gone when that is over */
	uint64_t until_ms;        /* how long it waits */
	struct head head;         /* until it cannot be sent again */
	struct fields trailers;   /* of a request without a body */
	size_t credit;            /* for the response, granted before its head */
	size_t granted, spare;    /* for the request: in all; what another stream granted and nobody used */
	bool waits, bodyless, repeatable, upgrade;
	bool body_passed, ended;  /* the request */
	bool again, told, response_ended, over;
	char accept[WS_KEY_ACCEPT_TEXT]; /* for a visitor of HTTP/1.1 whose WebSocket it is */
	struct task free;
};

/* origin_h2_request.c */
/** NULL with `*err`. */
struct h2_request *h2_request_new(struct origin_h2 *o, int *err);
/** Asks it on that connection's `stream`, which is not linked yet. */
void h2_request_ask(struct h2_request *r, struct h2_connection *c, struct half *stream);
/** Ends it. `why` may be NULL. */
void h2_request_fail(struct h2_request *r, int err, const char *why);

/* origin_h2.c */
/** Asks it where there is room, else lets it wait; not on the connection it was asked on before. */
void origin_h2_place(struct h2_request *r);
/** Takes it out of those that wait. */
void origin_h2_unplace(struct h2_request *r);

#endif
