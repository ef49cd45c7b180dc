/* forward: what a proxy must take out of and put into a message that it passes on.
 * Layer http; no I/O. edge and origin use it.
 * Invariant: nothing hop-by-hop passes (RFC 9110 section 7.6.1), and nobody but a trusted proxy says who the visitor is.
 */
#ifndef ADIT_HTTP_FORWARD_H
#define ADIT_HTTP_FORWARD_H

#include "http/head.h"

/** Fields of ours on a request, in a tunnel: the name that it is for; who visits, where that is not the last member
 *  of X-Forwarded-For, as an address; and where bytes are passed on as they come, who connected and where that came
 *  to, as "192.0.2.1:4711" and "[2001:db8::1]:4711". */
#define FORWARD_TUNNEL "adit-tunnel"
#define FORWARD_VISITOR "adit-visitor"
#define FORWARD_SERVER "adit-server"

/** Removes connection, keep-alive, proxy-connection, te (but `te: trailers` stays), upgrade, http2-settings,
 *  proxy-authenticate/-authorization, everything Connection names, and what begins with `adit-` (ours). */
void forward_strip(struct fields *f);

/** Who asks, as the edge knows it. */
struct forward_visitor {
	struct str address; /* textual IP, no port; IPv6 without brackets */
	bool tls;           /* the visitor's connection to us was TLS */
	bool trusted;       /* that peer is in trusted_proxies: its own words about the visitor are kept and extended */
};

/** Sets x-forwarded-for, -proto, -host, and forwarded (RFC 7239) on a request. Host is the request's authority.
 *  0 or an error of fields_add. */
int forward_request(struct head *h, const struct forward_visitor *v);

/** The visitor's address for logs: the right-most X-Forwarded-For element when trusted and present, else the address. */
struct str forward_client(const struct head *h, const struct forward_visitor *v);

/** On a request that came through the tunnel: its visitor's address as the far end told it, empty when it did not. */
struct str forward_told(const struct head *h);

/** The host a request is for, as routing wants it: X-Forwarded-Host when trusted and present, else the authority;
 *  without port, without a trailing dot. Letters are as sent (hosts compare without case). */
struct str forward_host(const struct head *h, bool trusted);

#endif
