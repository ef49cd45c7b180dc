/* dialer: keeps one link from adit to its server alive: dials, greets, resumes over new carriers, moves to better ones.
 * Layer session; adit's main owns one (two while a new configuration takes over).
 *
 *            start            a carrier stands           WELCOME
 *   IDLE ──────────► DIALLING ───────────────► GREETING ────────► UP ◄──────────────────┐
 *                      ▲  │ failed                │ failed        │ the carrier is lost  │ ATTACHED
 *                      │  ▼                       ▼               ▼                      │
 *                     WAITING ◄────────────── the link is lost ◄─ DETACHED ─► dials, ATTACH
 *
 * While UP, other attempts run beside the carrier that carries (make before break): when it is suspect, when a better
 * one may work again (session/climb), when the connection below announces its end. All of them end in ATTACH, and
 * at most one attempt is under way. DRAIN makes a new link, the old session finishes what runs.
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
/** How often the clock is looked at: a jump says that the machine slept, and its network may have changed. */
#define DIALER_WATCH_MS 5000
#define DIALER_JUMP_MS 3000

struct dialer;

struct dialer_events {
	void (*request)(void *owner, struct h2_stream *s, const struct head *h, bool bodyless);
	/* The tunnels are published as `w` says, over that carrier; `why` tells why not a better one, "" when there is none. */
	void (*published)(void *owner, const struct wire_welcome *w, const char *carrier, const char *why);
	/* The same link goes on over that carrier: `away_ms` without any, 0 when it moved while it was up. */
	void (*moved)(void *owner, const char *carrier, const char *why, uint64_t away_ms);
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
	uint32_t climb_ms;         /* on a worse carrier: when a better one is first tried again, see session/climb */
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
/** Says CLOSE, so that nobody waits for our return; no new attempts. */
void dialer_close(struct dialer *d);
/** After dialer_close: it has been heard, or nobody is there to hear it. */
bool dialer_closed(const struct dialer *d);
/** Requests in flight. */
unsigned dialer_open(const struct dialer *d);

#endif
