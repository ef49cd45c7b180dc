/* proxy_connect: what is said to an HTTP proxy to get through it (RFC 9110 section 9.3.6), and its answer, judged.
 * Layer io, for dial; no I/O of its own.
 * Invariants: an answer is at most PROXY_ANSWER_MAX bytes, all lines together; nothing behind its empty line is taken.
 */
#ifndef ADIT_IO_PROXY_CONNECT_H
#define ADIT_IO_PROXY_CONNECT_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define PROXY_ANSWER_MAX 16384

/** An answer while it comes; zero it first. */
struct proxy_answer {
	size_t seen;
	char line[160];      /* the one that is coming, cut */
	size_t line_len;
	int lines;
	int status;
	char reason[80];     /* printable ASCII, "" = none */
};

/** The request. `credentials`: base64 of USER:PASSWORD, NULL = none. 0 or ADIT_ERR_NOMEM. */
int proxy_connect_request(struct buf *out, const char *host, uint16_t port, const char *credentials);

/** Takes `n` bytes; `*used` says how many belong to the answer. 1 = it is whole and status is final (2xx or worse),
 *  0 = more has to come, ADIT_ERR_PROTO = that is no HTTP/1 answer, ADIT_ERR_LIMIT = it is too long. */
int proxy_answer_feed(struct proxy_answer *a, const uint8_t *p, size_t n, size_t *used);

#endif
