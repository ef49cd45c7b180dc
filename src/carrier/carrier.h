/* carrier: one way for an ordered byte stream to cross today's network.
 * Layer carrier. session/dialer climbs them on adit's side; edge answers them on aditd's.
 *
 * The stacks, top to bottom; each is a stream made of the one below:
 *
 *     direct           link bytes ∘ HTTP/1.1 Upgrade: adit ∘ TLS ∘ TCP
 *     ws-h1            link bytes ∘ ws ∘ HTTP/1.1 Upgrade: websocket ∘ TLS ∘ TCP
 *     ws-h2            link bytes ∘ ws ∘ half_stream ∘ extended CONNECT on outer ∘ TLS ∘ TCP
 *     poll             link bytes ∘ numbered messages ∘ GETs, POSTs of a requester ∘ (outer | HTTP/1.1) ∘ TLS ∘ TCP
 *
 * Contract: every carrier starts as an HTTP request to /_adit/v1/LINKID/KIND with the bearer token, so an ingress can
 * route and limit it and a stranger gets a 401 and nothing else. Nobody sends a link byte before the answer has come.
 */
#ifndef ADIT_CARRIER_CARRIER_H
#define ADIT_CARRIER_CARRIER_H

#include "base/buf.h"
#include "http/head.h"
#include "io/dial.h"

#define CARRIER_PATH "/_adit/v1/"
#define CARRIER_VERSION "1"
/** 128 bits in hex. */
#define CARRIER_LINK_ID_HEX 32
/** Budget of the upgrade: from the request to its answer. */
#define CARRIER_UPGRADE_MS 5000
/** What is kept of a refusal's text for the user. */
#define CARRIER_DETAIL_MAX 255

/** What an attempt needs to know; borrowed during the call that starts it. */
struct carrier_target {
	const char *host;    /* the Host field: server name and port */
	const char *link_id; /* hex */
	const char *token;
	const char *agent;   /* User-Agent */
	const char *endpoint; /* asked in place of the carrier's own: adit doctor's "probe"; NULL = the carrier's */
	/* poll, which needs more connections than the one it is given: */
	struct resolver *resolver;
	const struct dial_options *dial;
	uint32_t poll_hold_ms;     /* how long the server may hold a poll without an answer */
	uint32_t poll_interval_ms; /* from an answer to the next poll */
};

/** How an attempt ended. */
struct carrier_result {
	struct stream *stream; /* the carrier, paused and without handler: the receiver's. NULL after an error */
	struct buf *rest;      /* bytes that came behind the answer; the receiver takes them out during the call */
	int err;
	int status;            /* of the HTTP answer, 0 when there was none */
	bool ours;             /* the answer carries Adit-Version: it is aditd's word and not an ingress's */
	unsigned retry_after;  /* seconds, 0 = not said */
	const char *detail;    /* one line, may be "" */
};

struct carrier_attempt;
typedef void carrier_done_fn(void *arg, const struct carrier_result *r);

/** One kind of carrier, adit's side. */
struct carrier_kind {
	const char *name;  /* as in --carrier and traces */
	/* Sets the carrier up over a connected stream, which it takes over. `done` is called once, from the loop, unless the
	 * attempt is cancelled first. NULL: out of memory; the stream is the caller's still. */
	struct carrier_attempt *(*start)(struct loop *l, struct stream *s, const struct carrier_target *t,
	                                 carrier_done_fn *done, void *arg);
	void (*cancel)(struct carrier_attempt **a);
};

extern const struct carrier_kind carrier_direct, carrier_ws_h1, carrier_ws_h2, carrier_poll;

/** The longest Host field of a server. */
#define CARRIER_HOST_MAX 272
/** The Host field for a server of that name: with the port when it is not the scheme's, brackets around IPv6. */
void carrier_host(char out[CARRIER_HOST_MAX], const char *server_name, uint16_t port, bool tls);

/** For the kinds: fills `h` (initialised) with the request for /_adit/v1/LINKID/kind. 0 or ADIT_ERR_NOMEM. */
int carrier_request(struct head *h, const struct carrier_target *t, const char *kind, const char *protocol);
/** What an answer that refuses means: that of its status, or ADIT_ERR_VERSION when it is aditd's 426 and its version
 *  does not fit; then `detail` says so, else it stays. */
int carrier_err_of_answer(const struct head *h, char detail[CARRIER_DETAIL_MAX + 1]);
/** May a WebSocket begin behind this answer, as far as HTTP/1.1 and HTTP/2 judge alike? No extension or protocol was
 *  offered, so none may have been chosen (RFC 6455 section 4.1, points 5 and 6). */
bool carrier_plain_websocket(const struct head *h);
/** What a refusal's status means, and the seconds of its Retry-After (0 = none). */
int carrier_err_of_status(int status);
unsigned carrier_retry_after(const struct head *h);

/** Versions fit when their first numbers are equal. `theirs` is the peer's Adit-Version; .p NULL, when it says none,
 *  fits. When it does not, `text` says which of the two programs is to be updated. */
bool carrier_version_fits(struct str theirs, bool we_serve, char text[CARRIER_DETAIL_MAX + 1]);

/* ---- aditd's side */

enum carrier_endpoint { CARRIER_NONE, CARRIER_DIRECT, CARRIER_WS, CARRIER_POLL, CARRIER_RELAY, CARRIER_PROBE };

/** Is this path one of the tunnel's own endpoints? CARRIER_NONE when not, or when its link id is malformed. */
enum carrier_endpoint carrier_endpoint(struct str path, char link_id[CARRIER_LINK_ID_HEX + 1]);
/** Does the path begin like one (so that it belongs to the tunnel and no visitor)? */
bool carrier_path(struct str path);
/** The bearer token of a request, .p NULL when there is none. Borrowed from the head. */
struct str carrier_bearer(const struct head *h);

#endif
