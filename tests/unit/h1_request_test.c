#include "h1_script.h"

#define BAD ADIT_ERR_BAD_REQUEST
#define BIG ADIT_ERR_HEAD_TOO_BIG

#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"
#define HOST "Host: a\r\n"
#define END "\r\n"
#define FULL GET HOST
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct h1_good good[] = {
	{"the smallest", B(FULL END), "GET a / 1.1 0 none\nend\n", {0}, 0},
	{"one empty line first", B("\r\n" FULL END), "GET a / 1.1 0 none\nend\n", {0}, 0},
	{"fields, names in lower case", B(FULL "X-Y: Z\r\nAccept: */*\r\n" END),
	 "GET a / 1.1 0 none|x-y=Z|accept=*/*\nend\n", {0}, 0},
	{"white space around values", B(FULL "X: \t y z \t\r\nY:z\r\nZ:\r\n" END),
	 "GET a / 1.1 0 none|x=y z|y=z|z=\nend\n", {0}, 0},
	{"empty value, then spaces only", B(FULL "X:   \r\nY: y\r\n" END),
	 "GET a / 1.1 0 none|x=|y=y\nend\n", {0}, 0},
	{"a tab and obs-text inside a value", B(FULL "X: a\tb \xc3\xa9\r\n" END),
	 "GET a / 1.1 0 none|x=a\tb \xc3\xa9\nend\n", {0}, 0},
	{"the same name twice", B(FULL "Cookie: a=1\r\nCookie: b=2\r\n" END),
	 "GET a / 1.1 0 none|cookie=a=1|cookie=b=2\nend\n", {0}, 0},
	{"every byte a token may have", B(FULL "!#$%&'*+-.^_`|~09AZaz: y\r\n" END),
	 "GET a / 1.1 0 none|!#$%&'*+-.^_`|~09azaz=y\nend\n", {0}, 0},
	{"Host with a port", B(GET "Host: a.example:8080\r\n" END), "GET a.example:8080 / 1.1 0 none\nend\n", {0}, 0},
	{"Host of an IPv6 address", B(GET "Host: [2001:db8::1]:80\r\n" END),
	 "GET [2001:db8::1]:80 / 1.1 0 none\nend\n", {0}, 0},
	{"Host in mixed case stays", B(GET "hOsT: A.Example.\r\n" END), "GET A.Example. / 1.1 0 none\nend\n", {0}, 0},
	{"query and odd bytes in the path", B("GET /a//b/../c;d?e=%zz&f={|}\"'<>[] HTTP/1.1\r\n" HOST END),
	 "GET a /a//b/../c;d?e=%zz&f={|}\"'<>[] 1.1 0 none\nend\n", {0}, 0},
	{"path of two slashes", B("GET //b/c HTTP/1.1\r\n" HOST END), "GET a //b/c 1.1 0 none\nend\n", {0}, 0},
	{"HTTP/1.0", B("GET / HTTP/1.0\r\n" HOST END), "GET a / 1.0 0 close none\nend\n", {0}, 0},
	{"HTTP/1.0 without Host", B("GET / HTTP/1.0\r\n" END), "GET  / 1.0 0 close none\nend\n", {0}, 0},
	{"HTTP/1.0 in absolute-form", B("GET http://a/ HTTP/1.0\r\n" END),
	 "GET http://a / 1.0 0 close none\nend\n", {0}, 0},
	{"HTTP/1.0 kept alive", B("GET / HTTP/1.0\r\n" HOST "Connection: Keep-Alive\r\n" END),
	 "GET a / 1.0 0 none|connection=Keep-Alive\nend\n", {0}, 0},
	{"Connection: close", B(FULL "Connection: x, Close\r\n" END),
	 "GET a / 1.1 0 close none|connection=x, Close\nend\n",
	 {0}, 0},
	{"close wins", B(FULL "Connection: keep-alive\r\nConnection: close\r\n" END),
	 "GET a / 1.1 0 close none|connection=keep-alive|connection=close\nend\n", {0}, 0},
	{"absolute-form", B("GET HTTP://A.b:80/x?y HTTP/1.1\r\nHost: a.B:80\r\n" END),
	 "GET http://A.b:80 /x?y 1.1 0 none\nend\n", {0}, 0},
	{"absolute-form of https without a path", B("GET https://a HTTP/1.1\r\n" HOST END),
	 "GET https://a / 1.1 0 none\nend\n", {0}, 0},
	{"absolute-form with a query at once", B("GET http://a?b HTTP/1.1\r\n" HOST END),
	 "GET http://a /?b 1.1 0 none\nend\n", {0}, 0},
	{"OPTIONS *", B("OPTIONS * HTTP/1.1\r\n" HOST END), "OPTIONS a * 1.1 0 none\nend\n", {0}, 0},
	{"OPTIONS in absolute-form without a path", B("OPTIONS http://a HTTP/1.1\r\n" HOST END),
	 "OPTIONS http://a * 1.1 0 none\nend\n", {0}, 0},
	{"CONNECT", B("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n" END "abc"), "CONNECT a:443  1.1 0\n", {0}, 0},
	{"CONNECT to an IPv6 address", B("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n" END),
	 "CONNECT [::1]:443  1.1 0\n",
	 {0}, 0},
	{"CONNECT with the length 0", B("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nContent-Length: 0\r\n" END),
	 "CONNECT a:443  1.1 0\n", {0}, 0},
	{"rarer methods", B("M-SEARCH /x HTTP/1.1\r\n" HOST END), "M-SEARCH a /x 1.1 0 none\nend\n", {0}, 0},
	{"PROPFIND", B("PROPFIND / HTTP/1.1\r\n" HOST END), "PROPFIND a / 1.1 0 none\nend\n", {0}, 0},
	{"a body of known length", B(POST "Content-Length: 5\r\n" END "hello"),
	 "POST a / 1.1 5\nbody:hello\nend\n", {0}, 0},
	{"the length 0", B(POST "Content-Length: 0\r\n" END), "POST a / 1.1 0 none\nend\n", {0}, 0},
	{"a length with leading zeros", B(POST "Content-Length: 0003\r\n" END "abc"),
	 "POST a / 1.1 3\nbody:abc\nend\n", {0}, 0},
	{"the largest length", B(POST "Content-Length: 9223372036854775807\r\n" END "a"),
	 "POST a / 1.1 9223372036854775807\nbody:a", {0}, 0},
	{"a GET with a body", B(FULL "Content-Length: 2\r\n" END "hi"), "GET a / 1.1 2\nbody:hi\nend\n", {0}, 0},
	{"a body that looks like a head", B(POST "Content-Length: 18\r\n" END "GET / HTTP/1.1\r\n\r\n"),
	 "POST a / 1.1 18\nbody:GET / HTTP/1.1\r\n\r\n\nend\n", {0}, 0},
	{"bytes after the end are left", B(POST "Content-Length: 2\r\n" END "hi" FULL END),
	 "POST a / 1.1 2\nbody:hi\nend\n",
	 {0}, 0},
	{"Expect stays a field", B(POST "Expect: 100-continue\r\nContent-Length: 2\r\n" END "hi"),
	 "POST a / 1.1 2|expect=100-continue\nbody:hi\nend\n", {0}, 0},
	{"chunks", B(CHUNKED "3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"),
	 "POST a / 1.1 -1\nbody:abc0123456789\nend\n", {0}, 0},
	{"Chunked in capitals", B(POST "Transfer-Encoding: CHUNKED\r\n" END "1\r\na\r\n0\r\n\r\n"),
	 "POST a / 1.1 -1\nbody:a\nend\n", {0}, 0},
	{"chunked after white space", B(POST "Transfer-Encoding: \t chunked \r\n" END "1\r\na\r\n0\r\n\r\n"),
	 "POST a / 1.1 -1\nbody:a\nend\n", {0}, 0},
	{"no chunk but the last", B(CHUNKED "0\r\n\r\n"), "POST a / 1.1 -1\nend\n", {0}, 0},
	{"a last chunk of several zeros", B(CHUNKED "000\r\n\r\n"), "POST a / 1.1 -1\nend\n", {0}, 0},
	{"a size with leading zeros", B(CHUNKED "0003\r\nabc\r\n0\r\n\r\n"),
	 "POST a / 1.1 -1\nbody:abc\nend\n", {0}, 0},
	{"chunk data of line ends", B(CHUNKED "4\r\n\r\n\r\n\r\n0\r\n\r\n"),
	 "POST a / 1.1 -1\nbody:\r\n\r\n\nend\n", {0}, 0},
	{"chunk extensions are dropped", B(CHUNKED "3;x;y=1;z=\"a;\\\"b\";\r\nabc\r\n0;last\r\n\r\n"),
	 "POST a / 1.1 -1\nbody:abc\nend\n", {0}, 0},
	{"trailers", B(CHUNKED "1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n"),
	 "POST a / 1.1 -1\nbody:a\nend|x-sum=1|y=\n", {0}, 0},
	{"trailers that may not be are dropped",
	 B(CHUNKED "0\r\nHost: b\r\nAuthorization: c\r\nSet-Cookie: d\r\nX: y\r\nCookie: e\r\nConnection: x\r\n"
	   "Adit-X: 1\r\nX-Forwarded-For: f\r\nTE: g\r\nContent-Type: h\r\n\r\n"),
	 "POST a / 1.1 -1\nend|x=y\n", {0}, 0},
	{"an upgrade", B(FULL "Connection: Upgrade\r\nUpgrade: websocket\r\n" END "\x81\x05"),
	 "GET a / 1.1 0 up=websocket|connection=Upgrade|upgrade=websocket\n", {0}, 0},
	{"an upgrade among options",
	 B(FULL "Connection: keep-alive, Upgrade\r\nUpgrade: adit/1\r\nContent-Length: 0\r\n" END),
	 "GET a / 1.1 0 up=adit/1|connection=keep-alive, Upgrade|upgrade=adit/1\n", {0}, 0},
	{"no upgrade without Connection", B(FULL "Upgrade: websocket\r\n" END),
	 "GET a / 1.1 0 none|upgrade=websocket\nend\n",
	 {0}, 0},
	{"no upgrade without Upgrade", B(FULL "Connection: upgrade\r\n" END),
	 "GET a / 1.1 0 none|connection=upgrade\nend\n",
	 {0}, 0},
	{"no upgrade to h2c",
	 B(FULL "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n" END),
	 "GET a / 1.1 0 none|connection=Upgrade, HTTP2-Settings|upgrade=h2c|http2-settings=A\nend\n", {0}, 0},
	{"no upgrade to a choice", B(FULL "Connection: upgrade\r\nUpgrade: websocket, h2c\r\n" END),
	 "GET a / 1.1 0 none|connection=upgrade|upgrade=websocket, h2c\nend\n", {0}, 0},
	{"no upgrade to two fields", B(FULL "Connection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n" END),
	 "GET a / 1.1 0 none|connection=upgrade|upgrade=a|upgrade=b\nend\n", {0}, 0},
	{"no upgrade to what is no token", B(FULL "Connection: upgrade\r\nUpgrade: a b\r\n" END),
	 "GET a / 1.1 0 none|connection=upgrade|upgrade=a b\nend\n", {0}, 0},
	{"no upgrade in HTTP/1.0", B("GET / HTTP/1.0\r\n" HOST "Connection: upgrade\r\nUpgrade: x\r\n" END),
	 "GET a / 1.0 0 close none|connection=upgrade|upgrade=x\nend\n", {0}, 0},
	{"no upgrade of a POST", B(POST "Connection: upgrade\r\nUpgrade: x\r\n" END),
	 "POST a / 1.1 0 none|connection=upgrade|upgrade=x\nend\n", {0}, 0},
	{"no upgrade of a POST with a body",
	 B(POST "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n" END "hi"),
	 "POST a / 1.1 2|connection=upgrade|upgrade=x\nbody:hi\nend\n", {0}, 0},
	{"no upgrade of a GET with a length",
	 B(FULL "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n" END "hi"),
	 "GET a / 1.1 2|connection=upgrade|upgrade=x\nbody:hi\nend\n", {0}, 0},
	{"no upgrade of a GET with chunks",
	 B(FULL "Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n" END "2\r\nhi\r\n0\r\n\r\n"),
	 "GET a / 1.1 -1|connection=upgrade|upgrade=x\nbody:hi\nend\n", {0}, 0},
	{"Connection of the old proxies stays a field", B(FULL "Proxy-Connection: close\r\n" END),
	 "GET a / 1.1 0 none|proxy-connection=close\nend\n", {0}, 0},
};

static void good_requests(void)
{
	run_good(H1_REQUEST, good, COUNT(good));
}

static int parse_made(const char *prefix, const char *part, size_t times, const char *suffix)
{
	static struct h1_told t;
	size_t part_len = strlen(part), n = strlen(prefix) + part_len * times + strlen(suffix);
	char *in = malloc(n + 1), *at = in;
	struct h1_script s = {.kind = H1_REQUEST, .in = {in, n}};
	int err;

	at += sprintf(at, "%s", prefix);
	for (size_t i = 0; i < times; i++, at += part_len)
		memcpy(at, part, part_len);
	memcpy(at, suffix, strlen(suffix) + 1);
	run_cut(&s, &t, n, n, 0);
	err = t.err;
	run_cut(&s, &t, 1, 1, 0);
	CU_ASSERT_EQUAL(t.err, err);
	run_cut(&s, &t, 1000, 1000, 0);
	CU_ASSERT_EQUAL(t.err, err);
	free(in);
	return err;
}

static void limits(void)
{
	CU_ASSERT_EQUAL(parse_made(FULL, "A: b\r\n", HTTP_FIELDS_MAX - 1, END), 0);
	CU_ASSERT_EQUAL(parse_made(FULL, "A: b\r\n", HTTP_FIELDS_MAX, END), BIG);
	CU_ASSERT_EQUAL(parse_made(FULL "X: ", "y", 32000, "\r\n" END), 0);
	CU_ASSERT_EQUAL(parse_made(FULL "X: ", "y", 32800, "\r\n" END), BIG);
	CU_ASSERT_EQUAL(parse_made(FULL "X: ", "y", 1000000, "\r\n" END), BIG);
	CU_ASSERT_EQUAL(parse_made(FULL, "y", 1000000, ": x\r\n" END), BIG);
	CU_ASSERT_EQUAL(parse_made("GET /", "x", 32000, " HTTP/1.1\r\n" HOST END), 0);
	CU_ASSERT_EQUAL(parse_made("GET /", "x", 33000, " HTTP/1.1\r\n" HOST END), BIG);
	CU_ASSERT_EQUAL(parse_made("GET /", "x", 1000000, " HTTP/1.1\r\n" HOST END), BIG);
	CU_ASSERT_EQUAL(parse_made(FULL "X:", " ", 50000, "y\r\n" END), BIG);
	CU_ASSERT_EQUAL(parse_made(CHUNKED "1;", "x", 200, "\r\na\r\n0\r\n\r\n"), 0);
	CU_ASSERT_EQUAL(parse_made(CHUNKED "1;", "x", 300, "\r\na\r\n0\r\n\r\n"), BAD);
	CU_ASSERT_EQUAL(parse_made(CHUNKED "1;", "x", 1000000, "\r\n"), BAD);
	CU_ASSERT_EQUAL(parse_made(CHUNKED, "0", 1000000, "\r\n"), BAD);
	CU_ASSERT_EQUAL(parse_made(CHUNKED, "1;x=y\r\na\r\n", 5000, "0\r\n\r\n"), 0);
	CU_ASSERT_EQUAL(parse_made(CHUNKED "0\r\n", "A: b\r\n", HTTP_FIELDS_MAX, END), 0);
	CU_ASSERT_EQUAL(parse_made(CHUNKED "0\r\n", "A: b\r\n", HTTP_FIELDS_MAX + 1, END), BIG);
	CU_ASSERT_EQUAL(parse_made(CHUNKED "0\r\n", "Host: b\r\n", HTTP_FIELDS_MAX + 1, END), BIG);
	CU_ASSERT_EQUAL(parse_made(CHUNKED "0\r\nX: ", "y", 8000, "\r\n" END), 0);
	CU_ASSERT_EQUAL(parse_made(CHUNKED "0\r\nX: ", "y", 9000, "\r\n" END), BIG);
}

/* Three requests in one piece: each h1_parse stops at a message's end, h1_next goes on with the rest. */
static void pipelining(void)
{
	static const char in[] = FULL END POST "Content-Length: 2\r\n\r\nhi"
	                         CHUNKED "1\r\na\r\n0\r\nT: u\r\n\r\n\r\n" FULL END;
	static struct h1_told t;
	struct h1_parser *p = h1_new(H1_REQUEST, &told_events, &t);
	size_t at = 0, used;

	memset(&t, 0, sizeof(t));
	CU_ASSERT_TRUE(h1_idle(p));
	for (int i = 0; i < 4; i++) {
		CU_ASSERT_EQUAL(h1_parse(p, (const uint8_t *)in + at, sizeof(in) - 1 - at, &used), 0);
		at += used;
		t.in_body = false;
		CU_ASSERT_FALSE(h1_idle(p));
		CU_ASSERT_EQUAL(h1_parse(p, (const uint8_t *)in + at, sizeof(in) - 1 - at, &used), 0);
		CU_ASSERT_EQUAL(used, 0);
		h1_next(p);
		CU_ASSERT_TRUE(h1_idle(p));
	}
	CU_ASSERT_EQUAL(at, sizeof(in) - 1);
	CU_ASSERT_STRING_EQUAL(t.text, "GET a / 1.1 0 none\nend\nPOST a / 1.1 2\nbody:hi\nend\n"
	                               "POST a / 1.1 -1\nbody:a\nend|t=u\nGET a / 1.1 0 none\nend\n");
	h1_free(&p);
	CU_ASSERT_PTR_NULL(p);
}

static int feed_z(struct h1_parser *p, const char *z)
{
	size_t used;
	int r = h1_parse(p, (const uint8_t *)z, strlen(z), &used);

	return r;
}

static void where_it_stands(void)
{
	static struct h1_told t;
	struct h1_parser *p = h1_new(H1_REQUEST, &told_events, &t);

	memset(&t, 0, sizeof(t));
	CU_ASSERT(h1_idle(p) && !h1_in_head(p));
	CU_ASSERT_EQUAL(h1_eof(p), 0);
	CU_ASSERT_EQUAL(feed_z(p, "\r\n"), 0);
	CU_ASSERT(h1_idle(p) && !h1_in_head(p));
	CU_ASSERT_EQUAL(feed_z(p, "G"), 0);
	CU_ASSERT(!h1_idle(p) && h1_in_head(p));
	CU_ASSERT_EQUAL(h1_eof(p), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(feed_z(p, "ET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r"), 0);
	CU_ASSERT(h1_in_head(p));
	CU_ASSERT_EQUAL(feed_z(p, "\n"), 0);
	CU_ASSERT(!h1_idle(p) && !h1_in_head(p));
	CU_ASSERT_EQUAL(feed_z(p, "a"), 0);
	CU_ASSERT_EQUAL(h1_eof(p), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(feed_z(p, "b"), 0);
	CU_ASSERT_EQUAL(h1_eof(p), 0);
	h1_next(p);
	CU_ASSERT(h1_idle(p) && !h1_in_head(p));
	h1_free(&p);
}

static void stays_failed(void)
{
	static struct h1_told t;
	struct h1_parser *p = h1_new(H1_REQUEST, &told_events, &t);
	size_t used = 1;

	memset(&t, 0, sizeof(t));
	CU_ASSERT_EQUAL(feed_z(p, GET "X : y\r\n\r\n"), BAD);
	CU_ASSERT(strlen(h1_error_detail(p)) > 0);
	CU_ASSERT_EQUAL(h1_parse(p, (const uint8_t *)"GET", 3, &used), BAD);
	CU_ASSERT_EQUAL(used, 0);
	CU_ASSERT_EQUAL(h1_eof(p), BAD);
	h1_next(p);
	CU_ASSERT_EQUAL(feed_z(p, FULL END), BAD);
	CU_ASSERT_EQUAL(t.n, 0);
	h1_free(&p);
}

static void switches(void)
{
	static struct h1_told t;
	struct h1_parser *p = h1_new(H1_REQUEST, &told_events, &t);
	static const char in[] = FULL "Connection: upgrade\r\nUpgrade: x\r\n\r\n";
	size_t used;

	memset(&t, 0, sizeof(t));
	CU_ASSERT_EQUAL(h1_parse(p, (const uint8_t *)in, sizeof(in), &used), 0);
	CU_ASSERT_EQUAL(used, sizeof(in) - 1);
	CU_ASSERT_EQUAL(h1_parse(p, (const uint8_t *)"GET", 3, &used), 0);
	CU_ASSERT_EQUAL(used, 0);
	CU_ASSERT_EQUAL(h1_eof(p), 0);
	/* the upgrade was refused: an ordinary message follows on the connection */
	h1_next(p);
	CU_ASSERT_EQUAL(feed_z(p, FULL END), 0);
	CU_ASSERT_STRING_EQUAL(t.text, "GET a / 1.1 0 up=x|connection=upgrade|upgrade=x\nGET a / 1.1 0 none\nend\n");
	h1_free(&p);
}

static const struct unit_test tests[] = {
	{"well-formed requests tell the same however they are cut", good_requests},
	{"heads, chunk lines and trailers are bounded", limits},
	{"pipelined requests are told one by one", pipelining},
	{"the parser knows whether it is idle, in a head, or in a body", where_it_stands},
	{"after an error no more bytes are taken", stays_failed},
	{"after a switch of protocols the bytes are the owner's", switches},
};

UNIT_MAIN("h1_request", tests)
