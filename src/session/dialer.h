/* dialer: keeps one link from adit to its server alive: dials, sets the carrier up, says HELLO, dials again.
 * Layer session; adit's main owns one (two while a new configuration takes over).
 *
 *            start                a carrier stands            WELCOME
 *   IDLE ───────────► CLIMBING ──────────────────► GREETING ───────────► UP
 *                      ▲   │ failed                   │ failed           │ lost
 *                      │   ▼                          ▼                  ▼
 *                     WAITING ◄──────────────────────────────────────────┘
 *
 * From each state a refusal that is the server's own word (401, 403, CLOSE 403 or 409) leads to REFUSED: no retry.
 */
#ifndef ADIT_SESSION_DIALER_H
#define ADIT_SESSION_DIALER_H

#include "base/log.h"
#include "carrier/ladder.h"
#include "link/handshake.h"
#include "session/session.h"

/** Budget of the greeting: from the 101 to WELCOME. */
#define DIALER_GREETING_MS 5000

struct dialer;

struct dialer_events {
	void (*request)(void *owner, struct h2_stream *s, const struct head *h, bool bodyless);
	/* The tunnels are published as `w` says, over that carrier; `why` tells why not a better one, "" when there is none. */
	void (*published)(void *owner, const struct wire_welcome *w, const char *carrier, const char *why);
	/* Not connected: why, and when it is tried again. */
	void (*down)(void *owner, int err, const char *detail, uint32_t retry_ms);
	/* The server does not want us, for the reason given; nothing more happens. */
	void (*refused)(void *owner, int err, const char *reason);
};

struct dialer_options {
	struct resolver *resolver;
	struct tls_context *tls;   /* NULL = plain, loopback only; a reference is kept */
	/* Borrowed for the dialer's life: */
	const char *host;          /* to dial */
	uint16_t port;
	const char *server_name;   /* TLS name and Host */
	const struct dial_proxy *proxy; /* NULL = none */
	const char *token;
	const char *agent;
	const struct wire_hello *hello;
	struct log *log, *trace;
	unsigned carriers;         /* LADDER_*: those that may be tried */
	const char *state_dir;     /* where it remembers what worked, NULL = nowhere */
	uint32_t heartbeat_ms;
	uint32_t poll_hold_ms, poll_interval_ms; /* see carrier_target */
	struct budget *budget;
	const struct dialer_events *events;
	void *owner;
};

/** Starts dialling in the next turn. NULL when out of memory. */
struct dialer *dialer_new(struct loop *l, const struct dialer_options *o);
/** Ends it at once; open exchanges are aborted. */
void dialer_free(struct dialer **d);
/** No new requests; those that run go on. */
void dialer_drain(struct dialer *d);
/** Requests in flight. */
unsigned dialer_open(const struct dialer *d);

#endif
