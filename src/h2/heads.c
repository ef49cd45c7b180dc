/* Heads as HTTP/2 field blocks (RFC 9113 section 8.3, RFC 8441 section 4), and HTTP/2 error codes. */
#include "base/err.h"
#include "h2/h2_int.h"

/* One HPACK table holds many visitors' fields: what is secret does not go into it (RFC 7541 section 7.1). */
static uint8_t flags_of(struct str name)
{
	if ((name.n == 13 && memcmp(name.p, "authorization", 13) == 0) ||
	    (name.n == 6 && memcmp(name.p, "cookie", 6) == 0) ||
	    (name.n == 10 && memcmp(name.p, "set-cookie", 10) == 0))
		return H2_NOT_COPIED | NGHTTP2_NV_FLAG_NO_INDEX;
	return H2_NOT_COPIED;
}

static nghttp2_nv pair(struct str name, struct str value)
{
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name.p,
		.value = (uint8_t *)(uintptr_t)value.p,
		.namelen = name.n,
		.valuelen = value.n,
		.flags = flags_of(name),
	};
}

size_t h2_heads_fields(const struct fields *f, nghttp2_nv *nva)
{
	for (uint32_t i = 0; i < f->n; i++)
		nva[i] = pair(fields_name(f, i), fields_value(f, i));
	return f->n;
}

static size_t content_length(const struct head *h, char text[STR_U64_MAX], nghttp2_nv *nva)
{
	if (h->length == HEAD_LENGTH_UNKNOWN)
		return 0;
	nva[0] = pair(STR("content-length"), str_of_u64((uint64_t)h->length, text));
	return 1;
}

static bool expects_content(struct str method)
{
	return str_eq(method, STR("POST")) || str_eq(method, STR("PUT")) || str_eq(method, STR("PATCH"));
}

size_t h2_heads_request(const struct head *h, char length[STR_U64_MAX], nghttp2_nv *nva)
{
	struct str protocol = head_get(h, HEAD_PROTOCOL), method = head_get(h, HEAD_METHOD);
	bool connect = str_eq(method, STR("CONNECT"));
	size_t n = 0;

	nva[n++] = pair(STR(":method"), protocol.n ? STR("CONNECT") : method);
	if (protocol.n)
		nva[n++] = pair(STR(":protocol"), protocol);
	if (!connect) {
		nva[n++] = pair(STR(":scheme"), head_get(h, HEAD_SCHEME));
		nva[n++] = pair(STR(":path"), head_get(h, HEAD_PATH));
	}
	nva[n++] = pair(STR(":authority"), head_get(h, HEAD_AUTHORITY));
	/* a length of 0 says nothing that END_STREAM does not, but where content is expected some ask for it (RFC 9110 8.6) */
	if ((h->length > 0 || (h->length == 0 && expects_content(method))) && !protocol.n)
		n += content_length(h, length, nva + n);
	return n + h2_heads_fields(&h->fields, nva + n);
}

size_t h2_heads_response(const struct head *h, char status[STR_U64_MAX], char length[STR_U64_MAX], nghttp2_nv *nva)
{
	int code = h->status == 101 ? 200 : h->status; /* the extended CONNECT's answer */
	size_t n = 0;

	nva[n++] = pair(STR(":status"), str_of_u64((uint64_t)code, status));
	if (code >= 200 && h->status != 101 && code != 204)
		n += content_length(h, length, nva + n);
	return n + h2_heads_fields(&h->fields, nva + n);
}

static int take_pseudo(struct head *h, struct str name, struct str value)
{
	uint64_t status;

	if (str_eq(name, STR(":status"))) {
		if (str_to_u64(value, &status) < 0 || status < 100 || status > 599)
			return ADIT_ERR_PROTO;
		h->status = (int)status;
		return 0;
	}
	if (str_eq(name, STR(":method")))
		return head_set(h, HEAD_METHOD, value);
	if (str_eq(name, STR(":scheme")))
		return head_set(h, HEAD_SCHEME, value);
	if (str_eq(name, STR(":path")))
		return head_set(h, HEAD_PATH, value);
	if (str_eq(name, STR(":authority")))
		return head_set(h, HEAD_AUTHORITY, value);
	if (str_eq(name, STR(":protocol")))
		return head_set(h, HEAD_PROTOCOL, value);
	return ADIT_ERR_PROTO;
}

int h2_heads_take(struct head *h, struct str name, struct str value)
{
	uint64_t length;

	if (name.n && name.p[0] == ':')
		return take_pseudo(h, name, value);
	if (str_eq(name, STR("content-length"))) {
		if (str_to_u64(value, &length) < 0 || length > INT64_MAX)
			return ADIT_ERR_PROTO;
		h->length = (int64_t)length;
		return 0;
	}
	if (str_eq(name, STR("host"))) {
		struct str authority = head_get(h, HEAD_AUTHORITY);

		if (!authority.n)
			return head_set(h, HEAD_AUTHORITY, value);
		return str_eq_nocase(authority, value) ? 0 : ADIT_ERR_PROTO;
	}
	return fields_add(&h->fields, name, value);
}

uint32_t h2_code_of(int err)
{
	switch (err) {
	case ADIT_ERR_ENOUGH:
		return NGHTTP2_NO_ERROR;
	case ADIT_ERR_ABANDONED:
	case ADIT_ERR_CANCELLED:
	case ADIT_ERR_MOVED:
	case ADIT_ERR_SHUTDOWN:
	case ADIT_ERR_TIMEOUT:
	case ADIT_ERR_SLOW:
	case ADIT_ERR_STALLED:
		return NGHTTP2_CANCEL;
	case ADIT_ERR_LIMIT:
	case ADIT_ERR_MEMORY:
	case ADIT_ERR_DESCRIPTORS:
		return NGHTTP2_REFUSED_STREAM;
	case ADIT_ERR_CALM:
		return NGHTTP2_ENHANCE_YOUR_CALM;
	case ADIT_ERR_PROTO:
	case ADIT_ERR_BAD_REQUEST:
		return NGHTTP2_PROTOCOL_ERROR;
	case ADIT_ERR_HEAD_TOO_BIG:
		return NGHTTP2_ENHANCE_YOUR_CALM;
	default:
		return NGHTTP2_INTERNAL_ERROR;
	}
}

int h2_err_of(enum h2_role role, uint32_t code)
{
	switch (code) {
	case NGHTTP2_CANCEL: /* who asked has gone; who answers only gave up */
		return role == H2_ANSWERING ? ADIT_ERR_ABANDONED : ADIT_ERR_CANCELLED;
	case NGHTTP2_REFUSED_STREAM:
		return ADIT_ERR_LIMIT;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return ADIT_ERR_CALM;
	case NGHTTP2_PROTOCOL_ERROR:
		return ADIT_ERR_PROTO;
	case NGHTTP2_CONNECT_ERROR:
		return ADIT_ERR_RESET;
	default:
		return ADIT_ERR_INCOMPLETE;
	}
}
