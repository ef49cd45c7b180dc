#include "h1_script.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void set_request(struct head *h, const char *method, const char *path, int64_t length)
{
	head_reset(h);
	CU_ASSERT_EQUAL_FATAL(head_set(h, HEAD_METHOD, str_of(method)), 0);
	CU_ASSERT_EQUAL_FATAL(head_set(h, HEAD_PATH, str_of(path)), 0);
	CU_ASSERT_EQUAL_FATAL(head_set(h, HEAD_AUTHORITY, STR("a.example:80")), 0);
	h->minor = 1;
	h->length = length;
}

/* The whole of a buf as text; empties it. */
static const char *text_of(struct buf *b, char *text, size_t size)
{
	size_t n = buf_take(b, text, size - 1);

	text[n] = '\0';
	return text;
}

static void check_request(const struct head *h, const char *wanted, enum h1_framing framing)
{
	struct buf b = BUF_INIT;
	enum h1_framing got = H1_BODY_CLOSE;
	char text[2048];

	CU_ASSERT_EQUAL(h1_write_request(&b, h, &got), 0);
	CU_ASSERT_STRING_EQUAL(text_of(&b, text, sizeof(text)), wanted);
	CU_ASSERT_EQUAL(got, framing);
	buf_clear(&b);
}

static void requests(void)
{
	struct head h;

	head_init(&h);
	set_request(&h, "GET", "/x?y", 0);
	fields_add(&h.fields, STR("Accept"), STR("*/*"));
	check_request(&h, "GET /x?y HTTP/1.1\r\nhost: a.example:80\r\naccept: */*\r\n\r\n", H1_BODY_NONE);
	set_request(&h, "POST", "/", 0);
	check_request(&h, "POST / HTTP/1.1\r\nhost: a.example:80\r\ncontent-length: 0\r\n\r\n", H1_BODY_NONE);
	set_request(&h, "PUT", "/", 0);
	check_request(&h, "PUT / HTTP/1.1\r\nhost: a.example:80\r\ncontent-length: 0\r\n\r\n", H1_BODY_NONE);
	set_request(&h, "PATCH", "/", 0);
	check_request(&h, "PATCH / HTTP/1.1\r\nhost: a.example:80\r\ncontent-length: 0\r\n\r\n", H1_BODY_NONE);
	set_request(&h, "DELETE", "/", 0);
	check_request(&h, "DELETE / HTTP/1.1\r\nhost: a.example:80\r\n\r\n", H1_BODY_NONE);
	set_request(&h, "POST", "/", INT64_MAX);
	check_request(&h, "POST / HTTP/1.1\r\nhost: a.example:80\r\ncontent-length: 9223372036854775807\r\n\r\n",
	              H1_BODY_LENGTH);
	set_request(&h, "POST", "/", HEAD_LENGTH_UNKNOWN);
	check_request(&h, "POST / HTTP/1.1\r\nhost: a.example:80\r\ntransfer-encoding: chunked\r\n\r\n",
		H1_BODY_CHUNKED);
	set_request(&h, "OPTIONS", "*", 0);
	check_request(&h, "OPTIONS * HTTP/1.1\r\nhost: a.example:80\r\n\r\n", H1_BODY_NONE);
	set_request(&h, "CONNECT", "", 0);
	check_request(&h, "CONNECT a.example:80 HTTP/1.1\r\nhost: a.example:80\r\n\r\n", H1_BODY_TUNNEL);
	set_request(&h, "GET", "/", 0);
	fields_add(&h.fields, STR("te"), STR("trailers"));
	check_request(&h, "GET / HTTP/1.1\r\nhost: a.example:80\r\nte: trailers\r\nconnection: te\r\n\r\n",
		H1_BODY_NONE);
	head_free(&h);
}

static void upgrades(void)
{
	struct head h;

	head_init(&h);
	set_request(&h, "GET", "/ws", 0);
	head_set(&h, HEAD_PROTOCOL, STR("websocket"));
	check_request(&h,
		"GET /ws HTTP/1.1\r\nhost: a.example:80\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
	              H1_BODY_TUNNEL);
	head_set(&h, HEAD_METHOD, STR("CONNECT"));
	h.length = HEAD_LENGTH_UNKNOWN;
	check_request(&h,
		"GET /ws HTTP/1.1\r\nhost: a.example:80\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
	              H1_BODY_TUNNEL);
	head_free(&h);
}

/* Fields of framing and of the connection come from the head's members, whatever the list says. */
static void no_second_framing(void)
{
	static const char *const names[] = {"host", "Content-Length", "transfer-encoding", "connection", "keep-alive",
	                                    "proxy-connection", "upgrade"};
	struct head h;

	head_init(&h);
	set_request(&h, "POST", "/", 2);
	for (size_t i = 0; i < COUNT(names); i++)
		fields_add(&h.fields, str_of(names[i]), STR("7"));
	check_request(&h, "POST / HTTP/1.1\r\nhost: a.example:80\r\ncontent-length: 2\r\n\r\n", H1_BODY_LENGTH);
	head_free(&h);
}

static void nothing_injected(void)
{
	static const struct str values[] = {B("a\r\nb: c"), B("a\nb"), B("a\rb"), B("a\0b"),
		B("\r\n\r\nGET / HTTP/1.1"), B("\x7f")};
	static const struct str names[] = {B("a b"), B("a:b"), B("a\r\nb"), B(""), B("a\0"), B("\xc3\xa9")};
	struct h1_asked asked = {.minor = 1, .keep = true};
	struct buf b = BUF_INIT;
	enum h1_framing framing;
	struct head h;

	head_init(&h);
	for (size_t i = 0; i < COUNT(values) + COUNT(names); i++) {
		set_request(&h, "GET", "/", 0);
		if (i < COUNT(values))
			fields_add(&h.fields, STR("x"), values[i]);
		else
			fields_add(&h.fields, names[i - COUNT(values)], STR("x"));
		CU_ASSERT_EQUAL(h1_write_request(&b, &h, &framing), ADIT_ERR_BAD_REQUEST);
		h.status = 200;
		CU_ASSERT_EQUAL(h1_write_response(&b, &h, &asked, &framing), ADIT_ERR_BAD_REQUEST);
		CU_ASSERT_EQUAL(h1_write_end(&b, H1_BODY_CHUNKED, &h.fields), ADIT_ERR_BAD_REQUEST);
	}
	for (int part = 0; part < HEAD_PARTS; part++) {
		if (part == HEAD_SCHEME)
			continue;
		set_request(&h, "GET", "/", 0);
		head_set(&h, (enum head_part)part, STR("/x HTTP/1.1\r\nX: y\r\n"));
		CU_ASSERT_EQUAL(h1_write_request(&b, &h, &framing), ADIT_ERR_BAD_REQUEST);
	}
	set_request(&h, "GET", "/a b", 0);
	CU_ASSERT_EQUAL(h1_write_request(&b, &h, &framing), ADIT_ERR_BAD_REQUEST);
	set_request(&h, "", "/", 0);
	CU_ASSERT_EQUAL(h1_write_request(&b, &h, &framing), ADIT_ERR_BAD_REQUEST);
	h.status = 1000;
	CU_ASSERT_EQUAL(h1_write_response(&b, &h, &asked, &framing), ADIT_ERR_BAD_REQUEST);
	h.status = 101;
	CU_ASSERT_EQUAL(h1_write_response(&b, &h, &asked, &framing), ADIT_ERR_BAD_REQUEST);
	CU_ASSERT_EQUAL(b.len, 0);
	head_free(&h);
}

struct response_case {
	int status;
	int64_t length;
	struct h1_asked asked;
	const char *wanted;
	enum h1_framing framing;
};

#define KEPT {.minor = 1, .keep = true}
#define CLOSED {.minor = 1}
#define OLD {.minor = 0}
#define OLD_KEPT {.minor = 0, .keep = true}
#define HEAD_ASKED {.was_head = true, .minor = 1, .keep = true}
#define CONNECT_ASKED {.was_connect = true, .minor = 1, .keep = true}

static const struct response_case responses[] = {
	{200, 2, KEPT, "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\n\r\n", H1_BODY_LENGTH},
	{200, 0, KEPT, "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\n\r\n", H1_BODY_NONE},
	{200, -1, KEPT, "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\n\r\n", H1_BODY_CHUNKED},
	{200, 2, CLOSED, "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\nconnection: close\r\n\r\n", H1_BODY_LENGTH},
	{200, -1, CLOSED, "HTTP/1.1 200 OK\r\nx: y\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
	 H1_BODY_CHUNKED},
	{200, 2, OLD, "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\nconnection: close\r\n\r\n", H1_BODY_LENGTH},
	{200, 2, OLD_KEPT, "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n",
	 H1_BODY_LENGTH},
	{200, -1, OLD_KEPT, "HTTP/1.1 200 OK\r\nx: y\r\nconnection: close\r\n\r\n", H1_BODY_CLOSE},
	{299, 0, KEPT, "HTTP/1.1 299 \r\nx: y\r\ncontent-length: 0\r\n\r\n", H1_BODY_NONE},
	{204, 0, KEPT, "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", H1_BODY_NONE},
	{204, -1, KEPT, "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", H1_BODY_NONE},
	{304, 7, KEPT, "HTTP/1.1 304 Not Modified\r\nx: y\r\ncontent-length: 7\r\n\r\n", H1_BODY_NONE},
	{304, -1, KEPT, "HTTP/1.1 304 Not Modified\r\nx: y\r\n\r\n", H1_BODY_NONE},
	{200, 7, HEAD_ASKED, "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 7\r\n\r\n", H1_BODY_NONE},
	{200, -1, HEAD_ASKED, "HTTP/1.1 200 OK\r\nx: y\r\n\r\n", H1_BODY_NONE},
	{103, 0, KEPT, "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n", H1_BODY_NONE},
	{103, 0, CLOSED, "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n", H1_BODY_NONE},
	{100, 0, OLD_KEPT, "", H1_BODY_NONE},
	{101, 0, OLD, "", H1_BODY_NONE},
	{101, 0, KEPT,
	 "HTTP/1.1 101 Switching Protocols\r\nx: y\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
	 H1_BODY_TUNNEL},
	{200, -1, CONNECT_ASKED, "HTTP/1.1 200 OK\r\nx: y\r\n\r\n", H1_BODY_TUNNEL},
	{200, 5, CONNECT_ASKED, "HTTP/1.1 200 OK\r\nx: y\r\n\r\n", H1_BODY_TUNNEL},
	{502, 5, CONNECT_ASKED, "HTTP/1.1 502 Bad Gateway\r\nx: y\r\ncontent-length: 5\r\n\r\n", H1_BODY_LENGTH},
};

static void responses_framed(void)
{
	struct buf b = BUF_INIT;
	enum h1_framing framing;
	char text[2048];
	struct head h;

	head_init(&h);
	for (size_t i = 0; i < COUNT(responses); i++) {
		const struct response_case *c = &responses[i];

		head_reset(&h);
		h.status = c->status;
		h.length = c->length;
		fields_add(&h.fields, STR("x"), STR("y"));
		fields_add(&h.fields, STR("connection"), STR("close"));
		head_set(&h, HEAD_PROTOCOL, STR("websocket"));
		CU_ASSERT_EQUAL(h1_write_response(&b, &h, &c->asked, &framing), 0);
		CU_ASSERT_STRING_EQUAL(text_of(&b, text, sizeof(text)), c->wanted);
		CU_ASSERT_EQUAL(framing, c->framing);
	}
	buf_clear(&b);
	head_free(&h);
}

static void bodies(void)
{
	struct buf b = BUF_INIT;
	struct fields trailers;
	char text[256];

	fields_init(&trailers);
	fields_add(&trailers, STR("X-Sum"), STR("1"));
	fields_add(&trailers, STR("Content-Length"), STR("1"));
	CU_ASSERT_EQUAL(h1_write_body(&b, H1_BODY_CHUNKED, (const uint8_t *)"hello, chunk 1234", 17), 0);
	CU_ASSERT_EQUAL(h1_write_body(&b, H1_BODY_CHUNKED, (const uint8_t *)"", 0), 0);
	CU_ASSERT_EQUAL(h1_write_end(&b, H1_BODY_CHUNKED, &trailers), 0);
	CU_ASSERT_STRING_EQUAL(text_of(&b, text, sizeof(text)), "11\r\nhello, chunk 1234\r\n0\r\nx-sum: 1\r\n\r\n");
	CU_ASSERT_EQUAL(h1_write_end(&b, H1_BODY_CHUNKED, NULL), 0);
	CU_ASSERT_STRING_EQUAL(text_of(&b, text, sizeof(text)), "0\r\n\r\n");
	CU_ASSERT_EQUAL(h1_write_body(&b, H1_BODY_LENGTH, (const uint8_t *)"hi", 2), 0);
	CU_ASSERT_EQUAL(h1_write_body(&b, H1_BODY_CLOSE, (const uint8_t *)"hi", 2), 0);
	CU_ASSERT_EQUAL(h1_write_body(&b, H1_BODY_TUNNEL, (const uint8_t *)"hi", 2), 0);
	CU_ASSERT_EQUAL(h1_write_body(&b, H1_BODY_NONE, (const uint8_t *)"no", 2), 0);
	CU_ASSERT_EQUAL(h1_write_end(&b, H1_BODY_LENGTH, &trailers), 0);
	CU_ASSERT_EQUAL(h1_write_end(&b, H1_BODY_NONE, NULL), 0);
	CU_ASSERT_STRING_EQUAL(text_of(&b, text, sizeof(text)), "hihihi");
	fields_free(&trailers);
	buf_clear(&b);
}

static const struct h1_good round_trips[] = {
	{"a form", B("POST /x?y HTTP/1.1\r\nhost: a\r\nx: y\r\ncontent-length: 2\r\n\r\nhi"), NULL, {0}, 0},
	{"chunks",
	 B("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nt: u\r\n\r\n"),
	 NULL, {0}, 0},
	{"a page", B("GET / HTTP/1.1\r\nhost: a\r\naccept: */*\r\ncookie: a=b\r\n\r\n"), NULL, {0}, 0},
};

struct copier {
	struct buf out;
	enum h1_framing framing;
};

static int copy_head(void *arg, struct head *h, bool bodyless)
{
	struct copier *c = arg;

	(void)bodyless;
	return h1_write_request(&c->out, h, &c->framing);
}

static int copy_body(void *arg, const uint8_t *p, size_t n)
{
	struct copier *c = arg;

	return h1_write_body(&c->out, c->framing, p, n);
}

static int copy_end(void *arg, const struct fields *trailers)
{
	struct copier *c = arg;

	return h1_write_end(&c->out, c->framing, trailers);
}

static void round_trip(void)
{
	static const struct h1_events events = {copy_head, copy_body, copy_end};

	for (size_t i = 0; i < COUNT(round_trips); i++) {
		struct copier c = {BUF_INIT, H1_BODY_NONE};
		struct h1_parser *p = h1_new(H1_REQUEST, &events, &c);
		char text[1024];
		size_t used;

		CU_ASSERT_EQUAL(h1_parse(p, (const uint8_t *)round_trips[i].in.p, round_trips[i].in.n, &used), 0);
		CU_ASSERT_STRING_EQUAL(text_of(&c.out, text, sizeof(text)), round_trips[i].in.p);
		h1_free(&p);
	}
}

/* A head larger than a chunk of the buf, written behind bytes that wait already. */
static void large_head(void)
{
	struct buf b = BUF_INIT;
	enum h1_framing framing;
	struct head h;
	char value[300], text[40000];

	head_init(&h);
	set_request(&h, "GET", "/", 0);
	memset(value, 'v', sizeof(value));
	for (int i = 0; i < 90; i++)
		CU_ASSERT_EQUAL(fields_add(&h.fields, STR("name"), (struct str){value, sizeof(value)}), 0);
	CU_ASSERT_EQUAL(buf_add(&b, "before", 6), 0);
	CU_ASSERT_EQUAL(h1_write_request(&b, &h, &framing), 0);
	text_of(&b, text, sizeof(text));
	CU_ASSERT_EQUAL(strlen(text), 6 + 36 + 90 * 308 + 2);
	CU_ASSERT_STRING_EQUAL(text + strlen(text) - 5, "v\r\n\r\n");
	buf_clear(&b);
	head_free(&h);
}

static const struct unit_test tests[] = {
	{"requests are written with the framing that their length makes", requests},
	{"an upgrade is written as GET, Connection and Upgrade", upgrades},
	{"fields of framing in the list are never written", no_second_framing},
	{"text that could begin a line of its own is refused", nothing_injected},
	{"responses are framed by status, request and version", responses_framed},
	{"body bytes and trailers are written in their framing", bodies},
	{"what is read and written again is the same message", round_trip},
	{"a head larger than a chunk is written whole", large_head},
};

UNIT_MAIN("h1_write", tests)
