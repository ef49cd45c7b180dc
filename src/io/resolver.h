/* resolver: names to addresses without blocking, by c-ares.
 * Layer io; dial uses it. Numeric addresses need no resolver.
 * Invariant: each question is answered once, within RESOLVER_MS, or cancelled; never from inside resolver_ask.
 */
#ifndef ADIT_IO_RESOLVER_H
#define ADIT_IO_RESOLVER_H

#include <sys/socket.h>

#include "io/loop.h"

/** The longest wait for an answer, all servers and retries together. */
#define RESOLVER_MS 5000
/** Addresses kept of one answer. */
#define RESOLVER_ADDRESSES 8

struct resolver;
struct resolver_query;

struct resolver_answer {
	struct sockaddr_storage address[RESOLVER_ADDRESSES];
	int count; /* 0 when err is set */
	int err;   /* ADIT_ERR_RESOLVE (no such name), ADIT_ERR_TIMEOUT, ADIT_ERR_NOMEM */
};

typedef void resolver_fn(void *arg, const struct resolver_answer *a);

/** NULL when out of memory or c-ares fails. */
struct resolver *resolver_new(struct loop *l);
void resolver_free(struct resolver **r);

/** Asks for the addresses of `host` (a name, or a numeric address) in that family, AF_INET or AF_INET6, with that port put
 *  into them; port 0 resolves nothing, by c-ares's rules. NULL: out of memory. */
struct resolver_query *resolver_ask(struct resolver *r, const char *host, uint16_t port, int family, resolver_fn *fn,
                                    void *arg);
/** Forgets the question; fn is not called. Null is fine. */
void resolver_cancel(struct resolver_query **q);

#endif
