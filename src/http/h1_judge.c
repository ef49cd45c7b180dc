/* What llhttp lets pass and RFC 9112, RFC 9110 or adit's own stricter rules do not. doc/http.md lists the rules. */
#include "http/h1_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

int h1_fail(struct h1_parser *p, int err, const char *detail)
{
	if (p->kind == H1_RESPONSE && err != ADIT_ERR_NOMEM)
		err = err == ADIT_ERR_HEAD_TOO_BIG ? ADIT_ERR_RESPONSE_BIG : ADIT_ERR_PROTO;
	p->state = H1_FAILED;
	p->err = err;
	p->detail = detail;
	return err;
}

static int bad(struct h1_parser *p, const char *detail)
{
	return h1_fail(p, ADIT_ERR_BAD_REQUEST, detail);
}

/* For what head.h's functions return. */
static int stored(struct h1_parser *p, int r)
{
	if (!r)
		return 0;
	return h1_fail(p, r, r == ADIT_ERR_NOMEM ? "out of memory" : "too many fields, or too many bytes of them");
}

/* RFC 9110 section 5.6.2: ALPHA, DIGIT and !#$%&'*+-.^_`|~ as bits of the ASCII code. */
static const uint32_t tchars[8] = {0, 0x03ff6cfa, 0xc7fffffe, 0x57ffffff, 0, 0, 0, 0};

bool h1_is_tchar(char c)
{
	uint8_t u = (uint8_t)c;

	return tchars[u >> 5] >> (u & 31) & 1;
}

/* Are all of these eight bytes letters or "-", as nearly all bytes of names are? */
static bool is_plain(const char *s)
{
	const uint64_t ones = UINT64_MAX / 255, high = ones << 7;
	uint64_t w, small, letter, dash;

	memcpy(&w, s, 8);
	small = w | ones * 0x20;
	letter = (small + ones * (0x80 - 'a')) & ~(small + ones * (0x7f - 'z'));
	/* exact, where (d - ones) & ~d is not: what that borrows of a "-" would make one of the "," behind it */
	dash = ~((w ^ ones * '-') + ones * 0x7f);
	return !(w & high) && ((letter | dash) & high) == high;
}

bool h1_is_token(struct str s)
{
	size_t i = 0;

	while (s.n - i >= 8 && is_plain(s.p + i))
		i += 8;
	/* the rest, with some of what has been looked at before it */
	if (i && s.n - i < 8 && is_plain(s.p + s.n - 8))
		return true;
	while (i < s.n && h1_is_tchar(s.p[i]))
		i++;
	return s.n && i == s.n;
}

static bool is_control(char c)
{
	return ((uint8_t)c < 0x20 && c != '\t') || c == 0x7f;
}

/* May there be a control byte among these eight? HTAB counts here, and a borrow from one may make one of its
 * neighbour; never the other way round. */
static bool may_control(const char *s)
{
	const uint64_t ones = UINT64_MAX / 255, high = ones << 7;
	uint64_t w, below, del;

	memcpy(&w, s, 8);
	below = (w - ones * 0x20) & ~w;
	del = w ^ ones * 0x7f;
	del = (del - ones) & ~del;
	return (below | del) & high;
}

size_t h1_control(const char *s, size_t n)
{
	size_t i = 0;

	while (n - i >= 8 && !may_control(s + i))
		i += 8;
	/* the rest, with some of what has been looked at before it */
	if (i && n - i < 8 && !may_control(s + n - 8))
		return n;
	while (i < n && !is_control(s[i]))
		i++;
	return i;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_alpha(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* RFC 3986's unreserved only: the other characters of reg-name mean something in lists, URLs or quoted strings. */
static bool is_host(char c)
{
	return is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

static bool port_ok(struct str s)
{
	uint64_t port;

	return s.n <= 5 && str_to_u64(s, &port) == 0 && port >= 1 && port <= 65535;
}

/* The length of an IP-literal in brackets (RFC 3986 section 3.2.2, IPv6 only), 0 when it is none. */
static size_t bracketed(struct str a)
{
	size_t i, colons = 0;

	for (i = 1; i < a.n && a.p[i] != ']'; i++) {
		if (a.p[i] == ':')
			colons++;
		else if (!is_hex(a.p[i]) && a.p[i] != '.')
			return 0;
	}
	return i < a.n && colons >= 2 && i <= 46 ? i + 1 : 0;
}

bool h1_authority_ok(struct str a)
{
	size_t i = 0;

	if (a.n && a.p[0] == '[') {
		i = bracketed(a);
	} else {
		while (i < a.n && is_host(a.p[i]))
			i++;
		if (i && a.p[0] == '.')
			return false;
	}
	if (!i)
		return false;
	if (i == a.n)
		return true;
	return a.p[i] == ':' && port_ok((struct str){a.p + i + 1, a.n - i - 1});
}

#define NAME(text) {text, sizeof(text) - 1}

bool h1_not_in_trailers(struct str name)
{
	/* framing, routing, request modifiers, authentication, handling of the content, and what we set ourselves */
	static const struct str names[] = {
		NAME("transfer-encoding"), NAME("content-length"), NAME("host"), NAME("connection"),
		NAME("keep-alive"), NAME("te"), NAME("trailer"), NAME("upgrade"), NAME("proxy-connection"),
		NAME("http2-settings"), NAME("cache-control"), NAME("expect"), NAME("max-forwards"),
		NAME("pragma"), NAME("range"), NAME("if-match"), NAME("if-none-match"),
		NAME("if-modified-since"), NAME("if-unmodified-since"), NAME("if-range"),
		NAME("authorization"), NAME("proxy-authenticate"), NAME("proxy-authorization"),
		NAME("www-authenticate"), NAME("cookie"), NAME("set-cookie"), NAME("age"), NAME("date"),
		NAME("expires"), NAME("location"), NAME("retry-after"), NAME("vary"), NAME("content-encoding"),
		NAME("content-type"), NAME("content-range"), NAME("forwarded"), NAME("x-real-ip"),
	};
	static const struct str prefixes[] = {NAME("x-forwarded-"), NAME("adit-")};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (name.n == names[i].n && str_eq_nocase(name, names[i]))
			return true;
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
		if (name.n >= prefixes[i].n && str_eq_nocase((struct str){name.p, prefixes[i].n}, prefixes[i]))
			return true;
	return false;
}

int h1_judge_method(struct h1_parser *p, unsigned method)
{
	/* PRI is HTTP/2's preface (RFC 9113 section 3.4), the later ones are RTSP's */
	if (method >= HTTP_PRI)
		return h1_fail(p, ADIT_ERR_BAD_METHOD, "method not known");
	return stored(p, head_set(&p->head, HEAD_METHOD, str_of(llhttp_method_name((llhttp_method_t)method))));
}

int h1_judge_version(struct h1_parser *p, unsigned major, unsigned minor)
{
	if (major != 1 || minor > 1)
		return h1_fail(p, ADIT_ERR_BAD_VERSION, "a version other than HTTP/1.0 and HTTP/1.1");
	p->head.minor = (int)minor;
	return 0;
}

/* RFC 9112 section 3.2.1; llhttp judges it as well, but by a table that depends on how it was built. */
bool h1_path_ok(struct str s)
{
	if (!s.n || s.p[0] != '/')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f || s.p[i] == '#')
			return false;
	return true;
}

static int take_authority(struct h1_parser *p, struct str a)
{
	if (!h1_authority_ok(a))
		return bad(p, "authority of the target not host[:port]");
	p->absolute = true;
	return stored(p, head_set(&p->head, HEAD_AUTHORITY, a));
}

static int take_path(struct h1_parser *p, struct str path)
{
	if (!h1_path_ok(path))
		return bad(p, "path of the target not well-formed");
	return stored(p, head_set(&p->head, HEAD_PATH, path));
}

/* What follows the authority in absolute-form: the path may be missing (RFC 9112 section 3.2.1 and 3.2.4). */
static int take_rest(struct h1_parser *p, struct str rest)
{
	char *with_slash;
	int r;

	if (!rest.n && p->ll.method == HTTP_OPTIONS)
		return stored(p, head_set(&p->head, HEAD_PATH, STR("*")));
	if (!rest.n)
		return take_path(p, STR("/"));
	if (rest.p[0] != '?')
		return take_path(p, rest);
	with_slash = str_dup((struct str){rest.p - 1, rest.n + 1});
	if (!with_slash)
		return h1_fail(p, ADIT_ERR_NOMEM, "out of memory");
	with_slash[0] = '/';
	r = take_path(p, (struct str){with_slash, rest.n + 1});
	free(with_slash);
	return r;
}

static int take_absolute(struct h1_parser *p, struct str target)
{
	static const struct str schemes[] = {{"http", 4}, {"https", 5}};
	int r;

	for (size_t i = 0; i < 2; i++) {
		size_t n = schemes[i].n, end;

		if (target.n < n + 3 || memcmp(target.p + n, "://", 3) != 0 ||
		    !str_eq_nocase((struct str){target.p, n}, schemes[i]))
			continue;
		target.p += n + 3;
		target.n -= n + 3;
		for (end = 0; end < target.n && target.p[end] != '/' && target.p[end] != '?'; end++)
			;
		r = stored(p, head_set(&p->head, HEAD_SCHEME, schemes[i]));
		if (!r)
			r = take_authority(p, (struct str){target.p, end});
		return r ? r : take_rest(p, (struct str){target.p + end, target.n - end});
	}
	return bad(p, "target of no known form");
}

int h1_judge_target(struct h1_parser *p, struct str target)
{
	unsigned method = p->ll.method;

	if (method == HTTP_CONNECT) {
		/* RFC 9112 section 3.2.3: the port is not optional */
		if (!target.n || !memchr(target.p, ':', target.n) || target.p[target.n - 1] == ']')
			return bad(p, "target of CONNECT without a port");
		return take_authority(p, target);
	}
	if (str_eq(target, STR("*")))
		return method == HTTP_OPTIONS ? stored(p, head_set(&p->head, HEAD_PATH, target))
		                              : bad(p, "target * is for OPTIONS only");
	if (target.n && target.p[0] == '/')
		return take_path(p, target);
	return take_absolute(p, target);
}

static int take_host(struct h1_parser *p, struct str value)
{
	if (p->hosts++)
		return bad(p, "more than one Host");
	if (!h1_authority_ok(value))
		return bad(p, "Host not host[:port]");
	if (!p->absolute)
		return stored(p, head_set(&p->head, HEAD_AUTHORITY, value));
	if (!str_eq_nocase(value, head_get(&p->head, HEAD_AUTHORITY)))
		return bad(p, "Host differs from the target's authority");
	return 0;
}

/* RFC 9112 section 6.3 lets a recipient accept identical duplicates; we do not. */
static int take_length(struct h1_parser *p, struct str value)
{
	uint64_t n;

	if (p->lengths++)
		return bad(p, "more than one Content-Length");
	if (str_to_u64(value, &n) != 0 || n > INT64_MAX)
		return bad(p, "Content-Length not a decimal number");
	p->head.length = (int64_t)n;
	return 0;
}

static int take_coding(struct h1_parser *p, struct str value)
{
	if (p->codings++ || !str_eq_nocase(value, STR("chunked")))
		return bad(p, "Transfer-Encoding other than a single chunked");
	return 0;
}

static int take_options(struct h1_parser *p, struct str value)
{
	struct str part;

	while (str_split(&value, ',', &part))
		if (++p->options > H1_CONNECTION_OPTIONS_MAX)
			return bad(p, "too many options in Connection");
	return 0;
}

int h1_judge_field(struct h1_parser *p, struct str name, struct str value)
{
	int r = 0;

	if (++p->counted > HTTP_FIELDS_MAX)
		return stored(p, ADIT_ERR_HEAD_TOO_BIG);
	if (name.n == 4 && p->kind == H1_REQUEST && str_eq_nocase(name, STR("host")))
		return take_host(p, value);
	if (name.n == 14 && str_eq_nocase(name, STR("content-length")))
		return take_length(p, value);
	if (name.n == 17 && str_eq_nocase(name, STR("transfer-encoding")))
		return take_coding(p, value);
	if (name.n == 10 && str_eq_nocase(name, STR("connection")))
		r = take_options(p, value);
	return r ? r : stored(p, fields_add(&p->head.fields, name, value));
}

int h1_judge_trailer(struct h1_parser *p, struct str name, struct str value)
{
	if (++p->counted > HTTP_FIELDS_MAX)
		return stored(p, ADIT_ERR_HEAD_TOO_BIG);
	if (h1_not_in_trailers(name))
		return 0;
	return stored(p, fields_add(&p->trailers, name, value));
}

static void judge_connection(struct head *h)
{
	bool keep = h->minor == 1 || fields_has_token(&h->fields, STR("connection"), STR("keep-alive"));

	h->close = !keep || fields_has_token(&h->fields, STR("connection"), STR("close"));
}

/* The only protocol that the Upgrade fields name, .n = 0 when there is none or a choice (RFC 9110 section 7.8). */
static struct str only_protocol(const struct head *h)
{
	struct str found = {"", 0};
	unsigned n = 0;

	if (!fields_has_token(&h->fields, STR("connection"), STR("upgrade")))
		return found;
	for (uint32_t i = 0; i < h->fields.n; i++) {
		struct str rest = fields_value(&h->fields, i), part;

		if (!str_eq(fields_name(&h->fields, i), STR("upgrade")))
			continue;
		while (str_split(&rest, ',', &part)) {
			found = str_trim(part);
			n++;
		}
	}
	for (size_t i = 0; i < found.n; i++)
		if (!h1_is_tchar(found.p[i]) && found.p[i] != '/')
			return (struct str){"", 0};
	return n == 1 && !str_eq_nocase(found, STR("h2c")) ? found : (struct str){"", 0};
}

static int judge_framing(struct h1_parser *p)
{
	if (!p->codings)
		return 0;
	if (p->lengths)
		return bad(p, "Content-Length beside Transfer-Encoding");
	if (!p->head.minor)
		return bad(p, "Transfer-Encoding in HTTP/1.0");
	/* both readings of the head must agree on where the body ends */
	if (!(p->ll.flags & F_CHUNKED))
		return bad(p, "Transfer-Encoding other than a single chunked");
	p->head.length = HEAD_LENGTH_UNKNOWN;
	return 0;
}

static int judge_request(struct h1_parser *p, enum h1_state *next)
{
	struct head *h = &p->head;
	bool body = p->codings || h->length > 0;

	if (h->minor == 1 && !p->hosts)
		return bad(p, "no Host");
	*next = p->codings ? H1_CHUNK_LINE : body ? H1_LENGTH : H1_END;
	if (p->ll.method == HTTP_CONNECT) {
		*next = H1_SWITCHED;
		return body ? bad(p, "CONNECT with a body") : 0;
	}
	if (h->minor == 1 && p->ll.method == HTTP_GET && !body) {
		struct str protocol = only_protocol(h);

		if (protocol.n)
			*next = H1_SWITCHED;
		return stored(p, head_set(h, HEAD_PROTOCOL, protocol));
	}
	return 0;
}

static int judge_interim(struct h1_parser *p, enum h1_state *next)
{
	struct str protocol;

	*next = H1_IDLE;
	/* RFC 9110 section 8.6, RFC 9112 section 6.1: neither stands here; the length 0 does no harm */
	if (p->codings || p->head.length > 0)
		return bad(p, "a 1xx response with a body");
	p->head.length = 0;
	if (p->head.status != 101)
		return ++p->interim > HTTP_INTERIM_MAX ? bad(p, "too many 1xx responses") : 0;
	*next = H1_SWITCHED;
	protocol = only_protocol(&p->head);
	if (!protocol.n)
		return bad(p, "101 without one protocol in Upgrade");
	return stored(p, head_set(&p->head, HEAD_PROTOCOL, protocol));
}

static int judge_response(struct h1_parser *p, enum h1_state *next)
{
	struct head *h = &p->head;

	if (h->status < 100 || h->status > 599)
		return bad(p, "status not in 100 to 599");
	if (h->status < 200)
		return judge_interim(p, next);
	if (!p->codings && !p->lengths)
		h->length = HEAD_LENGTH_UNKNOWN;
	*next = H1_END;
	if (p->was_connect && h->status < 300) {
		*next = H1_SWITCHED;
		h->length = HEAD_LENGTH_UNKNOWN;
	} else if (h->status == 204) {
		/* RFC 9110 section 8.6 forbids a length here: whoever sends one may send a body after it */
		h->close = h->close || p->codings || h->length > 0;
		h->length = 0;
	} else if (p->was_head || h->status == 304) {
		return 0;
	} else if (p->codings) {
		*next = H1_CHUNK_LINE;
	} else if (p->lengths) {
		*next = h->length ? H1_LENGTH : H1_END;
	} else {
		*next = H1_CLOSE;
		h->close = true;
	}
	return 0;
}

int h1_judge_head(struct h1_parser *p, enum h1_state *next)
{
	int r = judge_framing(p);

	if (r)
		return r;
	judge_connection(&p->head);
	r = p->kind == H1_REQUEST ? judge_request(p, next) : judge_response(p, next);
	p->left = p->head.length > 0 ? (uint64_t)p->head.length : 0;
	return r;
}
