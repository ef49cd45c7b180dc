/* Writes messages anew. A head's size is known before its first byte is written, so it is one piece of room. */
#include "http/h1_int.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* What a head needs besides its names and texts: status code, framing and connection lines, line ends. */
#define HEAD_EXTRA 192
/* 16 digits and two line ends. */
#define CHUNK_EXTRA 20

static char *put(char *at, struct str s)
{
	if (s.n)
		memcpy(at, s.p, s.n);
	return at + s.n;
}

/* Fields of the connection and of framing: written from the head's own members, or by nobody. */
static bool is_ours(struct str name)
{
	switch (name.n) {
	case 4:
		return str_eq(name, STR("host"));
	case 7:
		return str_eq(name, STR("upgrade"));
	case 10:
		return str_eq(name, STR("connection")) || str_eq(name, STR("keep-alive"));
	case 14:
		return str_eq(name, STR("content-length"));
	case 16:
		return str_eq(name, STR("proxy-connection"));
	case 17:
		return str_eq(name, STR("transfer-encoding"));
	default:
		return false;
	}
}

typedef bool skip_fn(struct str name);

/* Heads come judged by whoever read them. This is the last door: what could begin a line of its own stays inside. */
static int fields_size(const struct fields *f, skip_fn *skip, size_t *size)
{
	for (uint32_t i = 0; i < f->n; i++) {
		struct str name = fields_name(f, i), value = fields_value(f, i);

		if (skip(name))
			continue;
		if (!h1_is_token(name) || h1_control(value.p, value.n) != value.n)
			return ADIT_ERR_BAD_REQUEST;
		*size += name.n + value.n + 4;
	}
	return 0;
}

static char *put_fields(char *at, const struct fields *f, skip_fn *skip)
{
	for (uint32_t i = 0; i < f->n; i++) {
		struct str name = fields_name(f, i);

		if (skip(name))
			continue;
		at = put(at, name);
		at = put(at, STR(": "));
		at = put(at, fields_value(f, i));
		at = put(at, STR("\r\n"));
	}
	return at;
}

static char *put_length(char *at, int64_t n)
{
	char digits[STR_U64_MAX];

	at = put(at, STR("content-length: "));
	at = put(at, str_of_u64((uint64_t)n, digits));
	return put(at, STR("\r\n"));
}

static char *put_upgrade(char *at, struct str protocol)
{
	at = put(at, STR("connection: upgrade\r\nupgrade: "));
	at = put(at, protocol);
	return put(at, STR("\r\n"));
}

/* No byte that could end or split a start line. */
static bool is_word(struct str s)
{
	return h1_control(s.p, s.n) == s.n && !memchr(s.p, ' ', s.n) && !memchr(s.p, '\t', s.n);
}

/* One protocol: a list would let the origin choose another than was asked for. */
static bool is_protocol(struct str s)
{
	return is_word(s) && !memchr(s.p, ',', s.n);
}

static bool has_content_semantics(struct str method)
{
	return str_eq(method, STR("POST")) || str_eq(method, STR("PUT")) || str_eq(method, STR("PATCH"));
}

static enum h1_framing request_framing(const struct head *h, struct str method, struct str protocol)
{
	if (protocol.n || str_eq(method, STR("CONNECT")))
		return H1_BODY_TUNNEL;
	if (!h->length)
		return H1_BODY_NONE;
	return h->length > 0 ? H1_BODY_LENGTH : H1_BODY_CHUNKED;
}

static char *put_request_framing(char *at, const struct head *h, struct str method, enum h1_framing framing)
{
	if (framing == H1_BODY_LENGTH)
		return put_length(at, h->length);
	if (framing == H1_BODY_CHUNKED)
		return put(at, STR("transfer-encoding: chunked\r\n"));
	/* RFC 9110 section 8.6: a length of 0 is said where the method expects content */
	if (framing == H1_BODY_NONE && has_content_semantics(method))
		return put_length(at, 0);
	return at;
}

int h1_write_request(struct buf *out, const struct head *h, enum h1_framing *framing)
{
	struct str method = head_get(h, HEAD_METHOD), target = head_get(h, HEAD_PATH);
	struct str authority = head_get(h, HEAD_AUTHORITY), protocol = head_get(h, HEAD_PROTOCOL);
	size_t size = HEAD_EXTRA + method.n + target.n + 2 * authority.n + protocol.n, got;
	char *start, *at;
	int r;

	/* RFC 8441's CONNECT is RFC 6455's GET here */
	if (protocol.n && str_eq(method, STR("CONNECT")))
		method = STR("GET");
	if (str_eq(method, STR("CONNECT")))
		target = authority;
	else if (!target.n)
		target = STR("/");
	if (!h1_is_token(method) || !is_word(target) || !is_word(authority) || !is_protocol(protocol))
		return ADIT_ERR_BAD_REQUEST;
	r = fields_size(&h->fields, is_ours, &size);
	if (r)
		return r;
	start = at = (char *)buf_room(out, size, &got);
	if (!start)
		return ADIT_ERR_NOMEM;
	*framing = request_framing(h, method, protocol);
	at = put(at, method);
	at = put(at, STR(" "));
	at = put(at, target);
	at = put(at, STR(" HTTP/1.1\r\nhost: "));
	at = put(at, authority);
	at = put(at, STR("\r\n"));
	at = put_fields(at, &h->fields, is_ours);
	at = put_request_framing(at, h, method, *framing);
	if (protocol.n)
		at = put_upgrade(at, protocol);
	else if (fields_has(&h->fields, STR("te"))) /* RFC 9110 section 10.1.4 */
		at = put(at, STR("connection: te\r\n"));
	at = put(at, STR("\r\n"));
	buf_commit(out, (size_t)(at - start));
	return 0;
}

static enum h1_framing response_framing(const struct head *h, const struct h1_asked *asked)
{
	if (h->status == 101 || (asked->was_connect && h->status >= 200 && h->status < 300))
		return H1_BODY_TUNNEL;
	if (head_bodyless(h->status, asked->was_head ? STR("HEAD") : STR("GET")) || !h->length)
		return H1_BODY_NONE;
	if (h->length > 0)
		return H1_BODY_LENGTH;
	return asked->minor ? H1_BODY_CHUNKED : H1_BODY_CLOSE;
}

static char *put_response_framing(char *at, const struct head *h, const struct h1_asked *asked,
                                  enum h1_framing framing)
{
	if (framing == H1_BODY_CHUNKED)
		at = put(at, STR("transfer-encoding: chunked\r\n"));
	else if (framing != H1_BODY_TUNNEL && h->length >= 0 && h->status >= 200 && h->status != 204)
		at = put_length(at, h->length);
	if (framing == H1_BODY_TUNNEL)
		return h->status == 101 ? put_upgrade(at, head_get(h, HEAD_PROTOCOL)) : at;
	if (h->status < 200)
		return at;
	if (!asked->keep || framing == H1_BODY_CLOSE)
		return put(at, STR("connection: close\r\n"));
	return asked->minor ? at : put(at, STR("connection: keep-alive\r\n"));
}

static char *put_status_line(char *at, int status, struct str reason)
{
	at = put(at, STR("HTTP/1.1 "));
	*at++ = (char)('0' + status / 100);
	*at++ = (char)('0' + status / 10 % 10);
	*at++ = (char)('0' + status % 10);
	*at++ = ' ';
	at = put(at, reason);
	return put(at, STR("\r\n"));
}

int h1_write_response(struct buf *out, const struct head *h, const struct h1_asked *asked, enum h1_framing *framing)
{
	struct str reason = str_of(status_reason(h->status)), protocol = head_get(h, HEAD_PROTOCOL);
	size_t size = HEAD_EXTRA + reason.n + protocol.n, got;
	char *start, *at;
	int r;

	*framing = H1_BODY_NONE;
	if (h->status < 100 || h->status > 599 || !is_protocol(protocol) || (h->status == 101 && !protocol.n))
		return ADIT_ERR_BAD_REQUEST;
	/* RFC 9110 section 15.2: an HTTP/1.0 peer would take a 1xx for the answer */
	if (h->status < 200 && !asked->minor)
		return 0;
	r = fields_size(&h->fields, is_ours, &size);
	if (r)
		return r;
	start = at = (char *)buf_room(out, size, &got);
	if (!start)
		return ADIT_ERR_NOMEM;
	*framing = response_framing(h, asked);
	at = put_status_line(at, h->status, reason);
	at = put_fields(at, &h->fields, is_ours);
	at = put_response_framing(at, h, asked, *framing);
	at = put(at, STR("\r\n"));
	buf_commit(out, (size_t)(at - start));
	return 0;
}

static int write_chunk(struct buf *out, const uint8_t *p, size_t n)
{
	char size[CHUNK_EXTRA];
	int len = snprintf(size, sizeof(size), "%zx\r\n", n);
	size_t got;
	char *start = (char *)buf_room(out, n + CHUNK_EXTRA, &got), *at = start;

	if (!start)
		return ADIT_ERR_NOMEM;
	at = put(at, (struct str){size, (size_t)len});
	at = put(at, (struct str){(const char *)p, n});
	at = put(at, STR("\r\n"));
	buf_commit(out, (size_t)(at - start));
	return 0;
}

int h1_write_body(struct buf *out, enum h1_framing framing, const uint8_t *p, size_t n)
{
	/* a chunk of no bytes would be the last one */
	if (!n || framing == H1_BODY_NONE)
		return 0;
	if (framing == H1_BODY_CHUNKED)
		return write_chunk(out, p, n);
	return buf_add(out, p, n);
}

int h1_write_end(struct buf *out, enum h1_framing framing, const struct fields *trailers)
{
	size_t size = 8, got;
	char *start, *at;
	int r;

	if (framing != H1_BODY_CHUNKED)
		return 0;
	if (trailers) {
		r = fields_size(trailers, h1_not_in_trailers, &size);
		if (r)
			return r;
	}
	start = at = (char *)buf_room(out, size, &got);
	if (!start)
		return ADIT_ERR_NOMEM;
	at = put(at, STR("0\r\n"));
	if (trailers)
		at = put_fields(at, trailers, h1_not_in_trailers);
	at = put(at, STR("\r\n"));
	buf_commit(out, (size_t)(at - start));
	return 0;
}
