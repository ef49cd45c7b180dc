/* h1: HTTP/1.1 messages, read strictly and written anew.
 * Layer http; no I/O, no clock. edge_h1 and admin read requests and write responses with it, origin_h1 and the
 * carriers the other way round. llhttp does the parsing; what it lets pass is judged here (doc/http.md).
 * Invariant: what the parser reports complies with RFC 9112 and with design rules that are stricter; anything
 * else is an error, after which the parser takes no more bytes.
 */
#ifndef ADIT_HTTP_H1_H
#define ADIT_HTTP_H1_H

#include "base/buf.h"
#include "http/head.h"

struct h1_parser;

enum h1_kind { H1_REQUEST, H1_RESPONSE };

/** Bytes of a head as sent, start line and line ends included: HTTP_HEAD_MAX decoded plus what surrounds it. */
#define H1_HEAD_BYTES_MAX (HTTP_HEAD_MAX + 8192)
/** Extension bytes and line ends of one chunk header; what real senders use is under 20. */
#define H1_CHUNK_LINE_MAX 256
/** All of the trailer section. */
#define H1_TRAILER_BYTES_MAX 8192

/** What the parser tells. Each returns 0 to go on, or H1_PAUSE: h1_parse returns after this event. */
#define H1_PAUSE 1
struct h1_events {
	/* `h` is valid until the next h1_next; the owner may edit it. For a response, 1xx heads come here as well,
	 * and parsing goes on with the next head by itself. `bodyless`: end follows without body. */
	int (*head)(void *arg, struct head *h, bool bodyless);
	int (*body)(void *arg, const uint8_t *p, size_t n);
	/* `trailers` is empty when there were none. */
	int (*end)(void *arg, const struct fields *trailers);
};

/** NULL when out of memory. `events` must outlive the parser. */
struct h1_parser *h1_new(enum h1_kind kind, const struct h1_events *events, void *arg);
void h1_free(struct h1_parser **p);

/** Response parser only: what was asked, before the response's first byte; decides whether there is a body. */
void h1_expect(struct h1_parser *p, struct str method);

/** Starts over for the next message of the connection; allowed once `end` has been told. */
void h1_next(struct h1_parser *p);

/**
 * Feeds bytes of one connection. Stops after the message's end, after a head that switches protocols (a request
 * with HEAD_PROTOCOL set or CONNECT; a 101 or a 2xx to CONNECT), or at H1_PAUSE: `*used` says how many bytes were
 * taken; feed the rest later. After a switch no further byte is HTTP: they are the owner's.
 * 0, or one of ADIT_ERR_BAD_REQUEST, _HEAD_TOO_BIG, _BAD_METHOD, _BAD_VERSION, _PROTO (responses), _RESPONSE_BIG, _NOMEM.
 */
int h1_parse(struct h1_parser *p, const uint8_t *data, size_t n, size_t *used);

/** The peer has sent its FIN: 0 when that ends the message rightly (a body delimited by close; told by `end`) or
 *  nothing of a message had arrived (no event); else ADIT_ERR_INCOMPLETE. */
int h1_eof(struct h1_parser *p);

/** True before the first byte of a message (an idle keep-alive connection may be closed without loss). */
bool h1_idle(const struct h1_parser *p);

/** True from the head's first byte until its last: the header deadline runs. */
bool h1_in_head(const struct h1_parser *p);

/** One line about the last error: what was found, e.g. "space before the colon of a field"; a static string. */
const char *h1_error_detail(const struct h1_parser *p);

/** How the body of a message that we write is delimited. */
enum h1_framing {
	H1_BODY_NONE,    /* no body: HEAD, 1xx, 204, 304, or length 0 */
	H1_BODY_LENGTH,  /* Content-Length */
	H1_BODY_CHUNKED,
	H1_BODY_CLOSE,   /* until FIN: to an HTTP/1.0 peer */
	H1_BODY_TUNNEL,  /* after a switch: bytes as they come */
};

/** Writes a request head for an origin: `METHOD path HTTP/1.1`, Host from the authority, the fields, and framing
 *  by h->length (unknown = chunked). HEAD_PROTOCOL becomes Connection: Upgrade + Upgrade. 0, ADIT_ERR_NOMEM, or
 *  ADIT_ERR_BAD_REQUEST with nothing written: text that could begin a line of its own; so below. */
int h1_write_request(struct buf *out, const struct head *h, enum h1_framing *framing);

/** What a response's framing depends on besides itself. */
struct h1_asked {
	bool was_head;  /* the request's method was HEAD */
	bool was_connect;
	int minor;      /* the visitor's HTTP/1.x minor version */
	bool keep;      /* we would keep the connection; `Connection: close` is written when not (or keep-alive for 1.0) */
};

/** Writes a response head (also 1xx and 101) to a visitor. `*framing` tells how the body must be written, and
 *  H1_BODY_CLOSE means the connection must be closed after it. 0 or ADIT_ERR_NOMEM. */
int h1_write_response(struct buf *out, const struct head *h, const struct h1_asked *asked, enum h1_framing *framing);

/** Writes body bytes in that framing (a chunk of its own for H1_BODY_CHUNKED; n > 0). 0 or ADIT_ERR_NOMEM. */
int h1_write_body(struct buf *out, enum h1_framing framing, const uint8_t *p, size_t n);

/** Writes the end: the last chunk and trailers (may be NULL) for chunked, nothing otherwise. 0 or ADIT_ERR_NOMEM. */
int h1_write_end(struct buf *out, enum h1_framing framing, const struct fields *trailers);

#endif
