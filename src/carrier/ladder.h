/* ladder: tries the ways to the server, best first, until one carries.
 * Layer carrier; session/dialer climbs it for each link. adit's side.
 *
 *   rung    TLS offers               the other side picks       then
 *   FIRST   adit/1, h2, http/1.1     adit/1                     direct
 *                                    h2                         ws-h2 (when RFC 8441 is announced)
 *                                    http/1.1 or nothing        ws-h1
 *   (FIRST failed at the ClientHello: once more without adit/1, for ingresses that alert at unknown names)
 *   WS_H1   http/1.1                                            ws-h1
 *   POLL    h2, http/1.1                                        poll
 *
 * When a carrier has worked at this server before, the climb begins at its rung (ws-h2: FIRST without adit/1), and the
 * others follow. poll is no place to begin, for every other one is better: the rungs are the same, and follow each
 * other faster.
 * The next rung starts when one fails, or after LADDER_PATIENCE_MS beside it; the first that carries wins and the others
 * are dropped. A refusal that is aditd's own word (401, 403, 429, 503 with Adit-Version; 426 with another one) ends the
 * climb at once, and so does a server that nobody answers for, or a proxy that does not let us through. A certificate
 * that is not accepted does not: an ingress may choose it by ALPN.
 * Invariant: a carrier that is not allowed is never tried.
 */
#ifndef ADIT_CARRIER_LADDER_H
#define ADIT_CARRIER_LADDER_H

#include "base/log.h"
#include "carrier/carrier.h"
#include "io/dial.h"

#define LADDER_PATIENCE_MS 2000
/** The same where only poll worked before: better carriers keep a start of so much and win when they work again, and
 *  where they are silent still, nobody waits for them. */
#define LADDER_PATIENCE_POLL_MS 250
/** What is kept of why better carriers did not work. */
#define LADDER_WHY_MAX 512

/** Carriers as bits. */
enum ladder_carriers {
	LADDER_DIRECT = 1,
	LADDER_WS_H2 = 2,
	LADDER_WS_H1 = 4,
	LADDER_POLL = 8,
	LADDER_ALL = 15,
};

struct ladder;

struct ladder_options {
	struct resolver *resolver;
	struct tls_context *tls;    /* NULL = plain */
	const char *host;
	uint16_t port;
	const char *server_name;
	const struct dial_proxy *proxy; /* NULL = none */
	struct carrier_target target;
	unsigned allowed;           /* LADDER_* */
	unsigned begin;             /* LADDER_*: what worked before, 0 = nothing is known; ignored when it is not allowed */
	struct log *trace;
};

/** `why` says why better ones did not work ("" when the best did); `carrier` is one LADDER_* bit, 0 after an error. */
typedef void ladder_done_fn(void *arg, const struct carrier_result *r, unsigned carrier, const char *why);

/** Starts. The options' strings are borrowed until `done`. NULL: out of memory. */
struct ladder *ladder_climb(struct loop *l, const struct ladder_options *o, ladder_done_fn *done, void *arg);
void ladder_cancel(struct ladder **l);

/** "direct", "ws-h2", …; a static string. */
const char *ladder_name(unsigned carrier);

#endif
