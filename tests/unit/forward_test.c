#include "http/forward.h"

#include <string.h>

#include "base/err.h"
#include "http/page.h"
#include "unit.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static bool is(struct str s, const char *z)
{
	return str_eq(s, str_of(z));
}

static const char *value(const struct head *h, const char *name)
{
	static char text[8192];
	struct str v = fields_get(&h->fields, str_of(name));

	snprintf(text, sizeof(text), "%.*s", STR_ARG(v));
	return v.p ? text : "(none)";
}

static void add(struct head *h, const char *name, const char *v)
{
	CU_ASSERT_EQUAL_FATAL(fields_add(&h->fields, str_of(name), str_of(v)), 0);
}

static void hop_by_hop(void)
{
	static const char *const gone[] = {
		"Keep-Alive", "Proxy-Connection", "Upgrade", "HTTP2-Settings", "Proxy-Authenticate",
		"Proxy-Authorization",
		"Transfer-Encoding", "Adit-Version", "adit-", "Adit-Anything", "X-Named", "x-also",
	};
	static const char *const kept[] = {"accept", "proxy-status", "x-adit-x", "adit", "cookie", "x-name"};
	struct head h;

	head_init(&h);
	for (size_t i = 0; i < COUNT(gone); i++)
		add(&h, gone[i], "1");
	for (size_t i = 0; i < COUNT(kept); i++)
		add(&h, kept[i], "2");
	add(&h, "Connection", "close, X-Named");
	add(&h, "Connection", ", X-ALSO ,, x-absent");
	forward_strip(&h.fields);
	CU_ASSERT_EQUAL(h.fields.n, COUNT(kept));
	for (uint32_t i = 0; i < h.fields.n && i < COUNT(kept); i++)
		CU_ASSERT(is(fields_name(&h.fields, i), kept[i]));
	head_free(&h);
}

static void te(void)
{
	static const char *const values[][2] = {
		{"trailers", "trailers"}, {"Trailers", "Trailers"}, {"gzip, trailers;q=1", "(none)"},
		 {"gzip;q=0.5, trailers", "trailers"},
		{"gzip", "(none)"}, {"", "(none)"},
	};
	struct head h;

	head_init(&h);
	for (size_t i = 0; i < COUNT(values); i++) {
		head_reset(&h);
		add(&h, "te", values[i][0]);
		add(&h, "connection", "TE, x");
		add(&h, "x", "y");
		forward_strip(&h.fields);
		CU_ASSERT_STRING_EQUAL(value(&h, "te"), values[i][1]);
		CU_ASSERT_STRING_EQUAL(value(&h, "x"), "(none)");
		CU_ASSERT_STRING_EQUAL(value(&h, "connection"), "(none)");
	}
	head_free(&h);
}

static void start_request(struct head *h, const char *authority)
{
	head_reset(h);
	CU_ASSERT_EQUAL_FATAL(head_set(h, HEAD_AUTHORITY, str_of(authority)), 0);
}

static void untrusted(void)
{
	struct forward_visitor v = {STR("192.0.2.7"), true, false};
	struct head h;

	head_init(&h);
	start_request(&h, "shop.example");
	add(&h, "X-Forwarded-For", "10.0.0.1");
	add(&h, "X-Forwarded-For", "10.0.0.2");
	add(&h, "X-Forwarded-Proto", "gopher");
	add(&h, "X-Forwarded-Host", "evil.example");
	add(&h, "X-Forwarded-Port", "1");
	add(&h, "X-Forwarded-Prefix", "/x");
	add(&h, "Forwarded", "for=10.0.0.1");
	add(&h, "X-Real-IP", "10.0.0.1");
	add(&h, "accept", "x");
	CU_ASSERT(is(forward_client(&h, &v), "192.0.2.7"));
	CU_ASSERT(is(forward_host(&h, false), "shop.example"));
	CU_ASSERT_EQUAL(forward_request(&h, &v), 0);
	CU_ASSERT_EQUAL(h.fields.n, 5);
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-for"), "192.0.2.7");
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-proto"), "https");
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-host"), "shop.example");
	CU_ASSERT_STRING_EQUAL(value(&h, "forwarded"), "for=192.0.2.7;host=shop.example;proto=https");
	CU_ASSERT_STRING_EQUAL(value(&h, "accept"), "x");
	head_free(&h);
}

static void ipv6(void)
{
	struct forward_visitor v = {STR("2001:db8::1"), false, false};
	struct head h;

	head_init(&h);
	start_request(&h, "shop.example:8080");
	CU_ASSERT_EQUAL(forward_request(&h, &v), 0);
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-for"), "2001:db8::1");
	CU_ASSERT_STRING_EQUAL(value(&h, "forwarded"), "for=\"[2001:db8::1]\";host=\"shop.example:8080\";proto=http");
	v.address = STR("::ffff:192.0.2.1");
	start_request(&h, "[::1]:80");
	CU_ASSERT_EQUAL(forward_request(&h, &v), 0);
	CU_ASSERT_STRING_EQUAL(value(&h, "forwarded"), "for=\"[::ffff:192.0.2.1]\";host=\"[::1]:80\";proto=http");
	head_free(&h);
}

static void trusted_forwarded(void)
{
	struct forward_visitor v = {STR("127.0.0.1"), false, true};
	struct head h;

	head_init(&h);
	start_request(&h, "inner");
	add(&h, "X-Forwarded-For", "198.51.100.1");
	add(&h, "X-Forwarded-For", "198.51.100.2, 198.51.100.3");
	add(&h, "X-Forwarded-Proto", "https");
	add(&h, "X-Forwarded-Host", "outer.example:444");
	add(&h, "X-Forwarded-Port", "444");
	add(&h, "X-Real-IP", "198.51.100.1");
	add(&h, "Forwarded", "for=198.51.100.1;proto=https");
	add(&h, "Forwarded", "for=198.51.100.2");
	CU_ASSERT(is(forward_client(&h, &v), "198.51.100.3"));
	CU_ASSERT(is(forward_host(&h, true), "outer.example"));
	CU_ASSERT(is(forward_host(&h, false), "inner"));
	CU_ASSERT_EQUAL(forward_request(&h, &v), 0);
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-for"), "198.51.100.1, 198.51.100.2, 198.51.100.3, 127.0.0.1");
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-proto"), "https");
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-host"), "outer.example:444");
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-port"), "444");
	CU_ASSERT_STRING_EQUAL(value(&h, "x-real-ip"), "198.51.100.1");
	CU_ASSERT_STRING_EQUAL(value(&h, "forwarded"),
	                       "for=198.51.100.1;proto=https, for=198.51.100.2, for=127.0.0.1;host=inner;proto=http");
	CU_ASSERT_EQUAL(fields_remove(&h.fields, STR("x-forwarded-for")), 1);
	CU_ASSERT_EQUAL(fields_remove(&h.fields, STR("forwarded")), 1);
	head_free(&h);
}

/* nginx sends X-Forwarded-* only: an origin that reads Forwarded first must not take nginx for the visitor. */
static void trusted_converted(void)
{
	struct forward_visitor v = {STR("127.0.0.1"), false, true};
	struct head h;

	head_init(&h);
	start_request(&h, "inner");
	add(&h, "X-Forwarded-For", "2001:db8::7, ,\"evil;x\", 198.51.100.3:99");
	add(&h, "X-Forwarded-Proto", "https");
	add(&h, "X-Forwarded-Host", "outer\";x=\"y");
	CU_ASSERT_EQUAL(forward_request(&h, &v), 0);
	CU_ASSERT_STRING_EQUAL(value(&h, "forwarded"),
	                       "for=\"[2001:db8::7]\";host=\"outer;x=y\";proto=https, for=unknown, "
	                       "for=\"198.51.100.3:99\", for=127.0.0.1;host=inner;proto=http");
	/* a trusted peer that says nothing */
	start_request(&h, "inner");
	CU_ASSERT(is(forward_client(&h, &v), "127.0.0.1"));
	CU_ASSERT(is(forward_host(&h, true), "inner"));
	CU_ASSERT_EQUAL(forward_request(&h, &v), 0);
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-for"), "127.0.0.1");
	CU_ASSERT_STRING_EQUAL(value(&h, "forwarded"), "for=127.0.0.1;host=inner;proto=http");
	head_free(&h);
}

/* In the tunnel: the field of ours where there is one, else what the far end has put behind all others. */
static void told(void)
{
	struct forward_visitor direct = {STR("192.0.2.7"), false, false}, proxy = {STR("127.0.0.1"), false, true};
	struct head h;

	head_init(&h);
	CU_ASSERT_EQUAL(forward_told(&h).n, 0);
	start_request(&h, "inner");
	add(&h, "X-Forwarded-For", "198.51.100.1");
	CU_ASSERT_EQUAL(forward_request(&h, &direct), 0);
	CU_ASSERT(is(forward_told(&h), "192.0.2.7"));
	start_request(&h, "inner");
	add(&h, "X-Forwarded-For", "198.51.100.1");
	CU_ASSERT_EQUAL(forward_request(&h, &proxy), 0);
	CU_ASSERT(is(forward_told(&h), "127.0.0.1"));
	add(&h, FORWARD_VISITOR, "198.51.100.1");
	CU_ASSERT(is(forward_told(&h), "198.51.100.1"));
	head_free(&h);
}

static void long_lists(void)
{
	struct forward_visitor v = {STR("127.0.0.1"), false, true};
	char list[5001];
	struct head h;

	head_init(&h);
	memset(list, '1', sizeof(list) - 1);
	list[sizeof(list) - 1] = '\0';
	start_request(&h, "inner");
	add(&h, "X-Forwarded-For", list);
	CU_ASSERT_EQUAL(forward_request(&h, &v), 0);
	CU_ASSERT_STRING_EQUAL(value(&h, "x-forwarded-for"), list);
	CU_ASSERT_STRING_EQUAL(value(&h, "forwarded"), "(none)");
	CU_ASSERT(is(forward_client(&h, &v), "127.0.0.1"));
	CU_ASSERT_EQUAL(fields_remove(&h.fields, STR("x-forwarded-for")), 2);
	head_free(&h);
}

static void full_head(void)
{
	struct forward_visitor v = {STR("127.0.0.1"), false, false};
	struct head h;

	head_init(&h);
	start_request(&h, "inner");
	for (int i = 0; i < HTTP_FIELDS_MAX - 2; i++)
		add(&h, "a", "b");
	CU_ASSERT_EQUAL(forward_request(&h, &v), ADIT_ERR_HEAD_TOO_BIG);
	head_free(&h);
}

static void hosts(void)
{
	static const char *const cases[][2] = {
		{"a.example", "a.example"}, {"a.example:80", "a.example"}, {"a.example.", "a.example"},
		 {"A.Example.:80", "A.Example"},
		{"[::1]", "[::1]"}, {"[::1]:80", "[::1]"}, {"10.0.0.1:80", "10.0.0.1"}, {"", ""}, {".", ""}, {":80",
		 ""}, {"[::1", "["},
	};
	struct head h;

	head_init(&h);
	for (size_t i = 0; i < COUNT(cases); i++) {
		start_request(&h, cases[i][0]);
		CU_ASSERT(is(forward_host(&h, true), cases[i][1]));
		start_request(&h, "inner");
		if (!*cases[i][1])
			continue;
		add(&h, "X-Forwarded-Host", "spoofed");
		add(&h, "X-Forwarded-Host", "x, y");
		fields_add(&h.fields, STR("x-forwarded-host"), str_of(cases[i][0]));
		CU_ASSERT(is(forward_host(&h, true), cases[i][1]));
		CU_ASSERT(is(forward_host(&h, false), "inner"));
	}
	head_free(&h);
}

/* ---- page */

static const char *body_of(const struct page *p)
{
	static char text[PAGE_MAX + 1];

	memcpy(text, p->body, p->len);
	text[p->len] = '\0';
	return text;
}

static void page_forms(void)
{
	struct page p;

	CU_ASSERT_EQUAL(page_error(&p, ADIT_ERR_REFUSED, PAGE_HOP_CLIENT, "localhost:3000", STR("*/*")), 0);
	CU_ASSERT_EQUAL(p.head.status, 502);
	CU_ASSERT_EQUAL(p.head.length, (int64_t)p.len);
	CU_ASSERT_STRING_EQUAL(body_of(&p), "502 Bad Gateway (adit): connection refused: localhost:3000\n");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "content-type"), "text/plain; charset=utf-8");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "cache-control"), "no-store");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "proxy-status"),
		"adit; error=connection_refused; details=\"localhost:3000\"");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "retry-after"), "(none)");
	page_free(&p);
	CU_ASSERT_EQUAL(page_error(&p, ADIT_ERR_NO_LINK, PAGE_HOP_SERVER, NULL,
		STR("text/x, Application/JSON;q=0.5")), 0);
	CU_ASSERT_STRING_EQUAL(body_of(&p),
		"{\"error\":\"the tunnel is not connected\",\"hop\":\"aditd\",\"detail\":\"\",\"status\":503}\n");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "content-type"), "application/json");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "retry-after"), "5");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "proxy-status"),
	                       "aditd; error=destination_unavailable; details=\"the tunnel is not connected\"");
	page_free(&p);
	CU_ASSERT_EQUAL(page_error(&p, ADIT_ERR_NO_NAME, PAGE_HOP_SERVER, "shop",
		STR("text/html,application/json")), 0);
	CU_ASSERT_STRING_EQUAL(value(&p.head, "content-type"), "text/html; charset=utf-8");
	CU_ASSERT_PTR_NOT_NULL(strstr(body_of(&p), "404 Not Found"));
	CU_ASSERT_PTR_NOT_NULL(strstr(body_of(&p), "no tunnel has this name"));
	CU_ASSERT_PTR_NULL(strstr(body_of(&p), "http://"));
	CU_ASSERT_STRING_EQUAL(body_of(&p) + p.len - 8, "</html>\n");
	page_free(&p);
	CU_ASSERT_EQUAL(page_error(&p, ADIT_ERR_AUTH, PAGE_HOP_SERVER, NULL,
		STR("text/html;q=0, application/json")), 0);
	CU_ASSERT_STRING_EQUAL(value(&p.head, "content-type"), "application/json");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "www-authenticate"), "Bearer");
	page_free(&p);
	CU_ASSERT_EQUAL(page_error(&p, ADIT_ERR_PASSWORD, PAGE_HOP_SERVER, NULL, STR("")), 0);
	CU_ASSERT_STRING_EQUAL(value(&p.head, "www-authenticate"), "Basic realm=\"adit\", charset=\"UTF-8\"");
	page_free(&p);
	CU_ASSERT_EQUAL(page_error(&p, 12345, PAGE_HOP_SERVER, NULL, STR("")), 0);
	CU_ASSERT_EQUAL(p.head.status, 502);
	CU_ASSERT_STRING_EQUAL(value(&p.head, "proxy-status"), "aditd; details=\"unknown error\"");
	page_free(&p);
}

static void page_escapes(void)
{
	static const char evil[] = "<script>\"x\" & 'y' \\ \r\nSet-Cookie: a\x01\x7f\xc3\xa9";
	struct page p;

	CU_ASSERT_EQUAL(page_error(&p, ADIT_ERR_PROTO, PAGE_HOP_CLIENT, evil, STR("text/html")), 0);
	CU_ASSERT_PTR_NULL(strstr(body_of(&p), "<script"));
	CU_ASSERT_PTR_NOT_NULL(strstr(body_of(&p),
		"&lt;script&gt;&quot;x&quot; &amp; &#39;y&#39; \\ ??Set-Cookie: a????"));
	CU_ASSERT_STRING_EQUAL(value(&p.head, "proxy-status"),
	                       "adit; error=http_protocol_error; "
	                       "details=\"<script>\\\"x\\\" & 'y' \\\\ ??Set-Cookie: a????\"");
	page_free(&p);
	CU_ASSERT_EQUAL(page_error(&p, ADIT_ERR_PROTO, PAGE_HOP_CLIENT, evil, STR("application/json")), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(body_of(&p),
		"\"detail\":\"<script>\\\"x\\\" & 'y' \\\\ ??Set-Cookie: a????\""));
	page_free(&p);
}

static void page_for_grpc(void)
{
	struct page p;

	CU_ASSERT_EQUAL(page_grpc(&p, ADIT_ERR_REFUSED, PAGE_HOP_CLIENT, "100% \xc3\xa9"), 0);
	CU_ASSERT(p.head.status == 200 && p.head.length == HEAD_LENGTH_UNKNOWN && !p.len);
	CU_ASSERT_STRING_EQUAL(value(&p.head, "content-type"), "application/grpc");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "grpc-status"), "14");
	CU_ASSERT_PTR_NOT_NULL(strstr(value(&p.head, "grpc-message"), ": 100%25 ??"));
	page_free(&p);
	CU_ASSERT_EQUAL(page_grpc(&p, ADIT_ERR_NO_NAME, PAGE_HOP_SERVER, NULL), 0);
	CU_ASSERT_STRING_EQUAL(value(&p.head, "grpc-status"), "12");
	CU_ASSERT_STRING_EQUAL(value(&p.head, "grpc-message"), "aditd: no tunnel has this name");
	page_free(&p);
}

static void page_bounded(void)
{
	char detail[10000], text[10000];
	struct page p;

	memset(detail, '"', sizeof(detail) - 1);
	detail[sizeof(detail) - 1] = '\0';
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (int err = 0; err > -(int)ADIT_ERR_INDEX_COUNT; err--) {
		CU_ASSERT_EQUAL(page_error(&p, err, PAGE_HOP_CLIENT, detail, STR("text/html")), 0);
		CU_ASSERT_STRING_EQUAL(body_of(&p) + p.len - 8, "</html>\n");
		page_free(&p);
	}
	CU_ASSERT_EQUAL(page_text(&p, 200, text), 0);
	CU_ASSERT_EQUAL(p.len, PAGE_MAX);
	page_free(&p);
	CU_ASSERT_EQUAL(page_text(&p, 200, "ok\n"), 0);
	CU_ASSERT_STRING_EQUAL(body_of(&p), "ok\n");
	CU_ASSERT(p.head.status == 200 && p.head.length == 3);
	page_free(&p);
}

struct listener {
	struct half half;
	char text[256];
	bool abort_at_head;
};

static void note(struct half *self, const char *what, size_t n)
{
	struct listener *l = (struct listener *)(void *)self;
	size_t at = strlen(l->text);

	snprintf(l->text + at, sizeof(l->text) - at, "%s %zu;", what, n);
}

static void got_head(struct half *self, const struct head *h, bool bodyless)
{
	struct listener *l = (struct listener *)(void *)self;

	note(self, bodyless ? "bodyless" : "head", (size_t)h->length);
	if (l->abort_at_head)
		half_abort(self, ADIT_ERR_ABANDONED);
}

static void got_body(struct half *self, const uint8_t *p, size_t n)
{
	(void)p;
	note(self, "body", n);
}

static void got_end(struct half *self, const struct fields *trailers)
{
	note(self, "end", trailers ? trailers->n : 0);
}

static void got_credit(struct half *self, size_t n)
{
	note(self, "credit", n);
}

static void got_abort(struct half *self, int err)
{
	note(self, "abort", (size_t)-err);
}

static void page_sent(void)
{
	static const struct half_ops ops = {got_head, got_body, got_end, got_credit, got_abort};
	struct listener visitor = {.half = {&ops, NULL}}, me = {.half = {&ops, NULL}};
	struct page p;
	char whole[64];

	CU_ASSERT_EQUAL(page_text(&p, 200, "hello"), 0);
	page_send(&p, &me.half, false);
	CU_ASSERT_STRING_EQUAL(visitor.text, "");
	half_link(&visitor.half, &me.half);
	page_send(&p, &me.half, false);
	CU_ASSERT_STRING_EQUAL(visitor.text, "head 5;body 5;end 0;");
	visitor.text[0] = '\0';
	page_send(&p, &me.half, true);
	CU_ASSERT_STRING_EQUAL(visitor.text, "bodyless 5;end 0;");
	visitor.text[0] = '\0';
	visitor.abort_at_head = true;
	page_send(&p, &me.half, false);
	CU_ASSERT_STRING_EQUAL(visitor.text, "head 5;");
	visitor.text[0] = '\0';
	visitor.abort_at_head = false;
	page_reply(&p, &visitor.half, false);
	snprintf(whole, sizeof(whole), "head 5;body 5;end 0;abort %d;", -ADIT_ERR_ENOUGH);
	CU_ASSERT_STRING_EQUAL(visitor.text, whole);
	visitor.text[0] = '\0';
	page_reply(&p, &visitor.half, true);
	snprintf(whole, sizeof(whole), "bodyless 5;end 0;abort %d;", -ADIT_ERR_ENOUGH);
	CU_ASSERT_STRING_EQUAL(visitor.text, whole);
	page_free(&p);
}

static const struct unit_test tests[] = {
	{"hop-by-hop fields, those that Connection names, and our own are removed", hop_by_hop},
	{"of te only trailers stays", te},
	{"an untrusted peer's words about the visitor are replaced", untrusted},
	{"IPv6 addresses and ports are quoted in Forwarded", ipv6},
	{"a trusted peer's words are kept and extended", trusted_forwarded},
	{"a trusted peer's X-Forwarded-For becomes Forwarded too", trusted_converted},
	{"lists too long to extend stay, and our part is a field of its own", long_lists},
	{"adit learns who visits from the field for that, else from the end of the list", told},
	{"a head without room for the fields is an error", full_head},
	{"the host is without port and trailing dot", hosts},
	{"a page is HTML, JSON or text, as Accept wants", page_forms},
	{"nothing in a page's detail can break out of it", page_escapes},
	{"a gRPC call is answered by its trailers, with status and text", page_for_grpc},
	{"every error's page fits its bound", page_bounded},
	{"a page is told as head, body and end", page_sent},
};

UNIT_MAIN("forward", tests)
