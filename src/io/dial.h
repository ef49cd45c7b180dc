/* dial: one attempt to get a connected stream: resolve, connect, through a proxy and TLS when wanted, each with its
 * budget.
 * Layer io. adit dials aditd and its origins with it.
 * Invariant: `done` is called once, from the loop, unless the dial is cancelled first.
 */
#ifndef ADIT_IO_DIAL_H
#define ADIT_IO_DIAL_H

#include "io/resolver.h"
#include "io/tls.h"

/** Budget of each step, as design §3. */
#define DIAL_STEP_MS 5000

struct dial;

/** An HTTP proxy that opens tunnels by CONNECT (RFC 9110 section 9.3.6). It resolves the host's name. */
struct dial_proxy {
	const char *host;
	uint16_t port;
	const char *credentials; /* base64 of USER:PASSWORD, NULL = none */
	const char *shown;       /* what messages call it, without any password */
};

struct dial_options {
	const char *host;        /* name or numeric address; NULL when unix_path is set */
	uint16_t port;
	const char *unix_path;
	struct tls_context *tls; /* NULL = plain */
	const char *tls_name;    /* whom the certificate must name */
	unsigned alpn;           /* TLS_OFFER_* */
	const struct dial_proxy *proxy; /* NULL = none; never with unix_path */
};

/** `s` is the caller's from now on, paused and without handler; NULL with `err` and one line saying what failed. */
typedef void dial_fn(void *arg, struct stream *s, int err, const char *detail);

/** Starts; the options' strings need not outlive the call. NULL: out of memory. */
struct dial *dial_start(struct loop *l, struct resolver *r, const struct dial_options *o, dial_fn *done, void *arg);
void dial_cancel(struct dial **d);

#endif
