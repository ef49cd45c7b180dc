#include "http/forward.h"

#include <string.h>

#include "base/err.h"
#include "base/memory.h"

/* What a chain of a dozen proxies needs. A longer list stays as it came, and our part becomes a field of its own. */
#define LIST_MAX 2048

/* RFC 9110 section 7.6.1, and what is between two neighbours only. By length: all fields come here. */
static bool is_hop_by_hop(struct str name)
{
	switch (name.n) {
	case 7:
		return str_eq(name, STR("upgrade"));
	case 10:
		return str_eq(name, STR("connection")) || str_eq(name, STR("keep-alive"));
	case 14:
		return str_eq(name, STR("http2-settings"));
	case 16:
		return str_eq(name, STR("proxy-connection"));
	case 17:
		return str_eq(name, STR("transfer-encoding"));
	case 18:
		return str_eq(name, STR("proxy-authenticate"));
	case 19:
		return str_eq(name, STR("proxy-authorization"));
	default:
		return false;
	}
}

/* Narrows a te field to its member `trailers`; false when it has none (RFC 9110 section 10.1.4). */
static bool narrow_te(struct fields *f, uint32_t i)
{
	struct str rest = fields_value(f, i), part;
	const char *start = rest.p;

	while (str_split(&rest, ',', &part)) {
		part = str_trim(part);
		if (!str_eq_nocase(part, STR("trailers")))
			continue;
		f->v[i].value += (uint32_t)(part.p - start);
		f->v[i].value_len = (uint32_t)part.n;
		return true;
	}
	return false;
}

static bool is_dropped(struct fields *f, uint32_t i, bool listed)
{
	struct str name = fields_name(f, i);

	if (str_eq(name, STR("te")))
		return !narrow_te(f, i);
	return is_hop_by_hop(name) || str_starts(name, STR("adit-")) ||
	       (listed && fields_has_token(f, STR("connection"), name));
}

/* Does Connection name other fields than those that are dropped anyway? */
static bool lists_fields(const struct fields *f)
{
	for (uint32_t i = 0; i < f->n; i++) {
		struct str value = fields_value(f, i);

		if (str_eq(fields_name(f, i), STR("connection")) && !str_eq_nocase(value, STR("keep-alive")) &&
		    !str_eq_nocase(value, STR("upgrade")))
			return true;
	}
	return false;
}

void forward_strip(struct fields *f)
{
	bool listed = lists_fields(f);
	uint32_t kept = 0;

	/* marked first, moved after: what Connection names is looked up in the list while it is whole */
	for (uint32_t i = 0; i < f->n; i++)
		if (!str_eq(fields_name(f, i), STR("connection")) && is_dropped(f, i, listed))
			f->v[i].name_len = 0;
	for (uint32_t i = 0; i < f->n; i++) {
		struct str name = fields_name(f, i);

		if (!name.n || str_eq(name, STR("connection")))
			continue;
		if (kept != i)
			f->v[kept] = f->v[i];
		kept++;
	}
	f->n = kept;
}

/* ---- text of bounded length */

struct text {
	char p[LIST_MAX];
	size_t n;
	bool cut; /* something did not fit */
};

static void text_init(struct text *t)
{
	t->n = 0;
	t->cut = false;
}

static void text_add(struct text *t, struct str s)
{
	if (s.n > sizeof(t->p) - t->n) {
		t->cut = true;
		return;
	}
	if (s.n)
		memcpy(t->p + t->n, s.p, s.n);
	t->n += s.n;
}

static void text_member(struct text *t)
{
	if (t->n)
		text_add(t, STR(", "));
}

/* Members of all fields of that name, in order. */
static void text_add_list(struct text *t, const struct fields *f, struct str name)
{
	for (uint32_t i = 0; i < f->n; i++) {
		struct str value = fields_value(f, i);

		if (!value.n || !str_eq(fields_name(f, i), name))
			continue;
		text_member(t);
		text_add(t, value);
	}
}

/* ---- RFC 7239 */

/* ALPHA, DIGIT and -._~ as bits of the ASCII code. */
static bool is_plain(char c)
{
	static const uint32_t plain[8] = {0, 0x03ff6000, 0x87fffffe, 0x47fffffe, 0, 0, 0, 0};
	uint8_t u = (uint8_t)c;

	return plain[u >> 5] >> (u & 31) & 1;
}

/* A token as it is, else a quoted-string. No host or address has a quote or a backslash: those are dropped. */
static void text_add_quoted(struct text *t, struct str s)
{
	size_t plain = 0;

	while (plain < s.n && is_plain(s.p[plain]))
		plain++;
	if (s.n && plain == s.n) {
		text_add(t, s);
		return;
	}
	text_add(t, STR("\""));
	for (size_t from = 0, to; from < s.n; from = to + 1) {
		for (to = from; to < s.n && s.p[to] != '"' && s.p[to] != '\\'; to++)
			;
		text_add(t, (struct str){s.p + from, to - from});
	}
	text_add(t, STR("\""));
}

static bool is_address_byte(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || c == ':' || c == '.' ||
	       c == '[' || c == ']';
}

/* section 6: an IPv6 address stands in brackets and quotes; what is no address is "unknown" */
static void text_add_node(struct text *t, struct str address)
{
	bool bare = address.n && address.p[0] != '[';
	size_t colons = 0;

	text_add(t, STR("for="));
	for (size_t i = 0; i < address.n; i++) {
		if (!is_address_byte(address.p[i]))
			address.n = 0;
		else if (address.p[i] == ':')
			colons++;
	}
	if (!address.n) {
		text_add(t, STR("unknown"));
		return;
	}
	/* one colon parts an IPv4 address from its port */
	if (!bare || colons < 2) {
		text_add_quoted(t, address);
		return;
	}
	text_add(t, STR("\"["));
	text_add(t, address);
	text_add(t, STR("]\""));
}

static void text_add_request(struct text *t, struct str host, struct str proto)
{
	if (host.n) {
		text_add(t, STR(";host="));
		text_add_quoted(t, host);
	}
	text_add(t, STR(";proto="));
	text_add_quoted(t, proto);
}

/* section 7.4: a proxy that speaks X-Forwarded-* only would otherwise be the visitor for who reads Forwarded first.
 * The first member is who the visitor talked to, so host and proto are its. */
static void text_add_converted(struct text *t, const struct head *h)
{
	struct str host = fields_get(&h->fields, STR("x-forwarded-host"));
	struct str proto = fields_get(&h->fields, STR("x-forwarded-proto"));

	for (uint32_t i = 0; i < h->fields.n; i++) {
		struct str rest = fields_value(&h->fields, i), part;

		if (!str_eq(fields_name(&h->fields, i), STR("x-forwarded-for")))
			continue;
		while (str_split(&rest, ',', &part)) {
			bool first = !t->n;

			part = str_trim(part);
			if (!part.n)
				continue;
			text_member(t);
			text_add_node(t, part);
			if (first && proto.n)
				text_add_request(t, host, proto);
		}
	}
}

/* ---- the fields */

static struct str proto_of(const struct forward_visitor *v)
{
	return v->tls ? STR("https") : STR("http");
}

static int set_forwarded(struct head *h, const struct forward_visitor *v)
{
	struct text t MEMORY_UNSET;

	text_init(&t);
	if (v->trusted && fields_has(&h->fields, STR("forwarded")))
		text_add_list(&t, &h->fields, STR("forwarded"));
	else if (v->trusted)
		text_add_converted(&t, h);
	text_member(&t);
	text_add_node(&t, v->address);
	text_add_request(&t, head_get(h, HEAD_AUTHORITY), proto_of(v));
	if (!t.cut)
		return fields_set(&h->fields, STR("forwarded"), (struct str){t.p, t.n});
	/* half a list would name the wrong visitor: none is better, X-Forwarded-For still tells */
	fields_remove(&h->fields, STR("forwarded"));
	return 0;
}

static int set_for(struct head *h, const struct forward_visitor *v)
{
	struct text t MEMORY_UNSET;

	text_init(&t);
	if (v->trusted)
		text_add_list(&t, &h->fields, STR("x-forwarded-for"));
	text_member(&t);
	text_add(&t, v->address);
	if (t.cut)
		return fields_add(&h->fields, STR("x-forwarded-for"), v->address);
	return fields_set(&h->fields, STR("x-forwarded-for"), (struct str){t.p, t.n});
}

static int set_unless_told(struct head *h, struct str name, struct str value)
{
	struct str told = fields_get(&h->fields, name);

	return told.n || !value.n ? 0 : fields_set(&h->fields, name, value);
}

/* Nobody but a trusted proxy says who the visitor is. */
static void remove_claims(struct fields *f)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < f->n; i++) {
		struct str name = fields_name(f, i);

		if (!str_starts(name, STR("x-forwarded-")) && !str_eq(name, STR("forwarded")) &&
		    !str_eq(name, STR("x-real-ip")))
			f->v[kept++] = f->v[i];
	}
	f->n = kept;
}

int forward_request(struct head *h, const struct forward_visitor *v)
{
	int r;

	if (!v->trusted)
		remove_claims(&h->fields);
	/* before the others: it reads what the peer said in them */
	r = set_forwarded(h, v);
	if (!r)
		r = set_for(h, v);
	if (!r)
		r = set_unless_told(h, STR("x-forwarded-proto"), proto_of(v));
	if (!r)
		r = set_unless_told(h, STR("x-forwarded-host"), head_get(h, HEAD_AUTHORITY));
	return r;
}

/* The last member of the list that all fields of that name make: the one our own trusted peer wrote. */
static struct str last_member(const struct fields *f, struct str name)
{
	struct str last = {"", 0};

	for (uint32_t i = 0; i < f->n; i++) {
		struct str rest = fields_value(f, i), part;

		if (!str_eq(fields_name(f, i), name))
			continue;
		while (str_split(&rest, ',', &part))
			last = str_trim(part);
	}
	return last;
}

struct str forward_client(const struct head *h, const struct forward_visitor *v)
{
	struct str last = v->trusted ? last_member(&h->fields, STR("x-forwarded-for")) : STR("");

	return last.n ? last : v->address;
}

struct str forward_told(const struct head *h)
{
	struct str told = fields_get(&h->fields, STR(FORWARD_VISITOR));

	return told.n ? told : last_member(&h->fields, STR("x-forwarded-for"));
}

struct str forward_host(const struct head *h, bool trusted)
{
	struct str host = trusted ? last_member(&h->fields, STR("x-forwarded-host")) : STR("");
	const char *end;

	if (!host.n)
		host = head_get(h, HEAD_AUTHORITY);
	if (!host.n)
		return host;
	/* the colons of an IPv6 address are no port */
	end = host.p[0] == '[' ? memchr(host.p, ']', host.n) : NULL;
	if (end)
		host.n = (size_t)(end - host.p) + 1;
	else if ((end = memchr(host.p, ':', host.n)) != NULL)
		host.n = (size_t)(end - host.p);
	if (host.n && host.p[host.n - 1] == '.')
		host.n--;
	return host;
}
