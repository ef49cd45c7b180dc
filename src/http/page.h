/* page: the answers that adit itself gives: errors that name the hop, and small texts.
 * Layer http; no I/O. edge, exchange, origin, admin use it.
 * Invariant: a page is at most PAGE_MAX bytes, so it fits the credit every asking half grants at its start.
 */
#ifndef ADIT_HTTP_PAGE_H
#define ADIT_HTTP_PAGE_H

#include "http/half.h"
#include "http/head.h"

#define PAGE_MAX 4096

/** Who speaks, in Proxy-Status and on the page (RFC 9209 section 2). */
#define PAGE_HOP_SERVER "aditd"
#define PAGE_HOP_CLIENT "adit"

struct page {
	struct head head;
	char body[PAGE_MAX];
	size_t len;
};

/** A page for an error: status and Proxy-Status by `err` (base/err.def), with `detail` (may be NULL; never a secret)
 *  as its details; HTML when `accept` asks for text/html, JSON when for application/json, else one text line.
 *  503 gets Retry-After. `cache-control: no-store`. The caller calls page_free. 0 or ADIT_ERR_NOMEM. */
int page_error(struct page *p, int err, const char *hop, const char *detail, struct str accept);

/** The same as an answer to a gRPC call: its trailers only, with the status that such a client makes of the HTTP status,
 *  and the text, which it would not get from a page. */
int page_grpc(struct page *p, int err, const char *hop, const char *detail);

/** A page of that status with a plain text. */
int page_text(struct page *p, int status, const char *text);

void page_free(struct page *p);

/** Gives the page to `me`'s peer: head, body unless `was_head`, end. */
void page_send(const struct page *p, struct half *me, bool was_head);

/** The same for an asking half that has no peer: answers it, and what it still sends is not wanted. */
void page_reply(const struct page *p, struct half *asking, bool was_head);

#endif
