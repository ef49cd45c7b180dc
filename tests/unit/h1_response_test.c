#include "h1_script.h"

#define BAD ADIT_ERR_PROTO
#define BIG ADIT_ERR_RESPONSE_BIG

#define OK "HTTP/1.1 200 OK\r\n"
#define END "\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n\r\n"
#define CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"
#define CONTINUE4 CONTINUE CONTINUE CONTINUE CONTINUE
#define CONTINUE16 CONTINUE4 CONTINUE4 CONTINUE4 CONTINUE4
#define TOLD4 "100 1.1 0 none\n100 1.1 0 none\n100 1.1 0 none\n100 1.1 0 none\n"

static const struct h1_bad bad[] = {
	{"empty line first", B("\r\n" OK END), BAD},
	{"LF first", B("\n" OK END), BAD},
	{"space first", B(" " OK END), BAD},
	{"NUL first", B("\0" OK END), BAD},
	{"a request", B("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), BAD},
	{"TLS on a plain port", B("\x15\x03\x01\x00\x02\x02\x16"), BAD},
	{"HTTP/2 frames", B("\x00\x00\x12\x04\x00\x00\x00\x00\x00"), BAD},
	{"a banner of SSH", B("SSH-2.0-x\r\n"), BAD},
	{"HTTP/0.9's bare body", B("<html></html>\r\n"), BAD},
	{"ICY", B("ICY 200 OK\r\n" END), BAD},
	{"HTTP/2.0", B("HTTP/2.0 200 OK\r\n" END), BAD},
	{"HTTP/0.9", B("HTTP/0.9 200 OK\r\n" END), BAD},
	{"HTTP/1.2", B("HTTP/1.2 200 OK\r\n" END), BAD},
	{"HTTP/2", B("HTTP/2 200\r\n" END), BAD},
	{"HTTP/1.10", B("HTTP/1.10 200 OK\r\n" END), BAD},
	{"http in lower case", B("http/1.1 200 OK\r\n" END), BAD},
	{"RTSP", B("RTSP/1.0 200 OK\r\n" END), BAD},
	{"no status", B("HTTP/1.1\r\n" END), BAD},
	{"no status but the space", B("HTTP/1.1 \r\n" END), BAD},
	{"status of two digits", B("HTTP/1.1 20 OK\r\n" END), BAD},
	{"status of four digits", B("HTTP/1.1 2000 OK\r\n" END), BAD},
	{"status of letters", B("HTTP/1.1 OK\r\n" END), BAD},
	{"status with a sign", B("HTTP/1.1 +200 OK\r\n" END), BAD},
	{"status 0", B("HTTP/1.1 000 OK\r\n" END), BAD},
	{"status 99", B("HTTP/1.1 099 OK\r\n" END), BAD},
	{"status 600", B("HTTP/1.1 600 OK\r\n" END), BAD},
	{"status 999", B("HTTP/1.1 999 OK\r\n" END), BAD},
	{"two spaces before the status", B("HTTP/1.1  200 OK\r\n" END), BAD},
	{"tab before the status", B("HTTP/1.1\t200 OK\r\n" END), BAD},
	{"letters after the status", B("HTTP/1.1 200OK\r\n" END), BAD},
	{"LF ends the status line", B("HTTP/1.1 200 OK\n" END), BAD},
	{"LF ends a status line without reason", B("HTTP/1.1 200\n" END), BAD},
	{"CR ends the status line", B("HTTP/1.1 200 OK\rX: y\r\n" END), BAD},
	{"NUL in the reason", B("HTTP/1.1 200 O\0K\r\n" END), BAD},
	{"control byte in the reason", B("HTTP/1.1 200 O\x01K\r\n" END), BAD},
	{"obs-fold at once", B(OK " X: y\r\n" END), BAD},
	{"obs-fold", B(OK "X: y\r\n z\r\n" END), BAD},
	{"obs-fold by a tab", B(OK "X: y\r\n\tz\r\n" END), BAD},
	{"space before the colon", B(OK "X : y\r\n" END), BAD},
	{"space before the colon of Content-Length", B(OK "Content-Length : 2\r\n" END "hi"), BAD},
	{"empty name", B(OK ": y\r\n" END), BAD},
	{"no colon", B(OK "nonsense\r\n" END), BAD},
	{"space in a name", B(OK "X Y: z\r\n" END), BAD},
	{"UTF-8 in a name", B(OK "X\xc3\xa9: z\r\n" END), BAD},
	{"NUL in a value", B(OK "X: a\0b\r\n" END), BAD},
	{"control byte in a value", B(OK "X: a\x1b[2J\r\n" END), BAD},
	{"DEL in a value", B(OK "X: a\x7f\r\n" END), BAD},
	{"CR in a value", B(OK "X: a\rb\r\n" END), BAD},
	{"CR before Set-Cookie", B(OK "X: a\rSet-Cookie: b\r\n" END), BAD},
	{"LF ends a field", B(OK "X: a\n" END), BAD},
	{"LF ends the head", B(OK "\n"), BAD},
	{"length and chunks", B(OK "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n"), BAD},
	{"chunks and length", B(OK "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n" END "0\r\n\r\n"), BAD},
	{"length twice", B(OK "Content-Length: 2\r\nContent-Length: 3\r\n" END "hi"), BAD},
	{"length twice, the same", B(OK "Content-Length: 2\r\nContent-Length: 2\r\n" END "hi"), BAD},
	{"length a list", B(OK "Content-Length: 2, 2\r\n" END "hi"), BAD},
	{"length empty", B(OK "Content-Length:\r\n" END), BAD},
	{"length with a sign", B(OK "Content-Length: +2\r\n" END "hi"), BAD},
	{"length negative", B(OK "Content-Length: -1\r\n" END), BAD},
	{"length past 63 bits", B(OK "Content-Length: 9223372036854775808\r\n" END), BAD},
	{"length not well-formed where there is no body", B("HTTP/1.1 304 x\r\nContent-Length: x\r\n" END), BAD},
	{"coding gzip", B(OK "Transfer-Encoding: gzip\r\n" END), BAD},
	{"coding identity", B(OK "Transfer-Encoding: identity\r\n" END), BAD},
	{"coding gzip, chunked", B(OK "Transfer-Encoding: gzip, chunked\r\n" END "0\r\n\r\n"), BAD},
	{"coding chunked twice",
	 B(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n"), BAD},
	{"coding empty", B(OK "Transfer-Encoding:\r\n" END), BAD},
	{"chunks in HTTP/1.0", B("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n"), BAD},
	{"1xx with a body", B("HTTP/1.1 103 x\r\nContent-Length: 2\r\n" END "hi"), BAD},
	{"1xx with chunks", B("HTTP/1.1 100 x\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n"), BAD},
	{"101 without Upgrade", B("HTTP/1.1 101 x\r\n" END), BAD},
	{"101 without Connection", B("HTTP/1.1 101 x\r\nUpgrade: websocket\r\n" END), BAD},
	{"101 with a choice", B("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: a, b\r\n" END), BAD},
	{"101 to h2c", B("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n" END), BAD},
	{"101 with a body",
	 B("HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n" END "x"), BAD},
	{"seventeen 1xx", B(CONTINUE16 CONTINUE OK END), BAD},
	{"nonsense after a 1xx", B(CONTINUE "\r\n" OK END), BAD},
	{"chunk size not hex", B(CHUNKED "z\r\n"), BAD},
	{"chunk size past 64 bits", B(CHUNKED "fffffffffffffffff\r\n"), BAD},
	{"space after the chunk size", B(CHUNKED "3 \r\nabc\r\n0\r\n\r\n"), BAD},
	{"LF ends the chunk size", B(CHUNKED "3\nabc\r\n0\r\n\r\n"), BAD},
	{"chunk data too long", B(CHUNKED "3\r\nabcd\r\n0\r\n\r\n"), BAD},
	{"LF after the chunk data", B(CHUNKED "3\r\nabc\n0\r\n\r\n"), BAD},
	{"LF ends the trailers", B(CHUNKED "0\r\n\n"), BAD},
	{"obs-fold in a trailer", B(CHUNKED "0\r\nX: y\r\n z\r\n\r\n"), BAD},
	{"empty name in a trailer", B(CHUNKED "0\r\n: y\r\n\r\n"), BAD},
};

static const struct h1_good good[] = {
	{"length", B(OK "Content-Length: 2\r\n" END "hi"), "200 1.1 2\nbody:hi\nend\n", {0}, 0},
	{"length 0", B(OK "Content-Length: 0\r\n" END), "200 1.1 0 none\nend\n", {0}, 0},
	{"fields", B(OK "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\nX:\r\n" END),
	 "200 1.1 0 none|set-cookie=a=1|set-cookie=b=2|x=\nend\n", {0}, 0},
	{"Host in a response is a field like others", B(OK "Host: b c\r\nContent-Length: 0\r\n" END),
	 "200 1.1 0 none|host=b c\nend\n", {0}, 0},
	{"chunks", B(CHUNKED "2\r\nhi\r\n0\r\n\r\n"), "200 1.1 -1\nbody:hi\nend\n", {0}, 0},
	{"chunks and trailers", B(CHUNKED "2\r\nhi\r\n0\r\nX: y\r\nSet-Cookie: z\r\n\r\n"),
	 "200 1.1 -1\nbody:hi\nend|x=y\n", {0}, 0},
	{"until FIN", B(OK END "hello"), "200 1.1 -1 close\nbody:hello\nend\n", {0}, 1},
	{"until FIN, empty", B(OK END), "200 1.1 -1 close\nend\n", {0}, 1},
	{"until FIN, HTTP/1.0", B("HTTP/1.0 200 OK\r\n" END "hello"), "200 1.0 -1 close\nbody:hello\nend\n", {0}, 1},
	{"length in HTTP/1.0", B("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n" END "hi"),
	 "200 1.0 2 close\nbody:hi\nend\n", {0}, 0},
	{"HTTP/1.0 kept alive", B("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n" END "hi"),
	 "200 1.0 2|connection=keep-alive\nbody:hi\nend\n", {0}, 0},
	{"Connection: close", B(OK "Connection: close\r\nContent-Length: 0\r\n" END),
	 "200 1.1 0 close none|connection=close\nend\n",
	 {0}, 0},
	{"no reason", B("HTTP/1.1 200 \r\nContent-Length: 0\r\n" END), "200 1.1 0 none\nend\n", {0}, 0},
	{"no reason and no space", B("HTTP/1.1 200\r\nContent-Length: 0\r\n" END), "200 1.1 0 none\nend\n", {0}, 0},
	{"a reason of several words", B("HTTP/1.1 404 No such \xc3\xa9t\xc3\xa9 (x)\r\nContent-Length: 0\r\n" END),
	 "404 1.1 0 none\nend\n", {0}, 0},
	{"the highest status", B("HTTP/1.1 599 x\r\nContent-Length: 0\r\n" END), "599 1.1 0 none\nend\n", {0}, 0},
	{"a status without a name", B("HTTP/1.1 299 x\r\nContent-Length: 0\r\n" END),
	 "299 1.1 0 none\nend\n", {0}, 0},
	{"204", B("HTTP/1.1 204 No Content\r\n" END "xx"), "204 1.1 0 none\nend\n", {0}, 0},
	{"204 with a length ends the connection", B("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n" END "hello"),
	 "204 1.1 0 close none\nend\n", {0}, 0},
	{"204 with the length 0", B("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n" END),
	 "204 1.1 0 none\nend\n", {0}, 0},
	{"204 with chunks ends the connection", B("HTTP/1.1 204 x\r\nTransfer-Encoding: chunked\r\n" END "0\r\n\r\n"),
	 "204 1.1 0 close none\nend\n", {0}, 0},
	{"304", B("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n" END), "304 1.1 -1 none|etag=\"x\"\nend\n", {0}, 0},
	{"304 keeps its length", B("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n" END),
	 "304 1.1 7 none\nend\n", {0}, 0},
	{"304 with chunks has none", B("HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n" END),
	 "304 1.1 -1 none\nend\n", {0}, 0},
	{"HEAD keeps its length", B(OK "Content-Length: 7\r\n" END), "200 1.1 7 none\nend\n", B("HEAD"), 0},
	{"HEAD with chunks has none", B(OK "Transfer-Encoding: chunked\r\n" END),
	 "200 1.1 -1 none\nend\n", B("HEAD"), 0},
	{"HEAD without a length", B(OK END), "200 1.1 -1 none\nend\n", B("HEAD"), 0},
	{"HEAD that failed", B("HTTP/1.1 404 x\r\nContent-Length: 9\r\n" END), "404 1.1 9 none\nend\n", B("HEAD"), 0},
	{"1xx and the final one",
	 B(CONTINUE "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" OK "Content-Length: 2\r\n" END "hi"),
	 "100 1.1 0 none\n103 1.1 0 none|link=x\n200 1.1 2\nbody:hi\nend\n", {0}, 0},
	{"1xx with the length 0", B("HTTP/1.1 100 x\r\nContent-Length: 0\r\n\r\n" OK "Content-Length: 0\r\n" END),
	 "100 1.1 0 none\n200 1.1 0 none\nend\n", {0}, 0},
	{"sixteen 1xx", B(CONTINUE16 OK "Content-Length: 0\r\n" END),
	 TOLD4 TOLD4 TOLD4 TOLD4 "200 1.1 0 none\nend\n", {0}, 0},
	{"101", B("HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" END "\x81\x05hello"),
	 "101 1.1 0 up=websocket|connection=Upgrade|upgrade=websocket\n", {0}, 0},
	{"101 after a 1xx", B("HTTP/1.1 102 x\r\n\r\nHTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: adit\r\n" END),
	 "102 1.1 0 none\n101 1.1 0 up=adit|connection=upgrade|upgrade=adit\n", {0}, 0},
	{"an offer to upgrade is none",
	 B("HTTP/1.1 426 x\r\nConnection: upgrade\r\nUpgrade: a\r\nContent-Length: 2\r\n" END "hi"),
	 "426 1.1 2|connection=upgrade|upgrade=a\nbody:hi\nend\n", {0}, 0},
	{"an offer to upgrade with chunks",
	 B(OK "Connection: upgrade\r\nUpgrade: a\r\nTransfer-Encoding: chunked\r\n" END "2\r\nhi\r\n0\r\n\r\n"),
	 "200 1.1 -1|connection=upgrade|upgrade=a\nbody:hi\nend\n", {0}, 0},
	{"CONNECT accepted", B(OK END "abc"), "200 1.1 -1\n", B("CONNECT"), 0},
	{"CONNECT accepted, its length means nothing", B(OK "Content-Length: 2\r\n" END "abc"),
	 "200 1.1 -1\n", B("CONNECT"), 0},
	{"CONNECT refused", B("HTTP/1.1 403 x\r\nContent-Length: 2\r\n" END "no"),
	 "403 1.1 2\nbody:no\nend\n", B("CONNECT"), 0},
	{"205 is framed like others", B("HTTP/1.1 205 x\r\nContent-Length: 0\r\n" END),
	 "205 1.1 0 none\nend\n", {0}, 0},
	{"bytes after the end are left", B(OK "Content-Length: 2\r\n" END "hiHTTP/1.1 200 OK\r\n\r\n"),
	 "200 1.1 2\nbody:hi\nend\n",
	 {0}, 0},
	{"FIN after the end", B(OK "Content-Length: 2\r\n" END "hi"), "200 1.1 2\nbody:hi\nend\n", {0}, 1},
	{"FIN at once", B(""), "", {0}, 1},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void bad_responses(void)
{
	run_bad(H1_RESPONSE, bad, COUNT(bad));
}

static void good_responses(void)
{
	run_good(H1_RESPONSE, good, COUNT(good));
}

static int with_fin(const char *z)
{
	static struct h1_told t;
	struct h1_script s = {.kind = H1_RESPONSE, .in = {z, strlen(z)}, .fin = true};

	CU_ASSERT(run_all(&s, &t));
	return t.err;
}

static void cut_by_fin(void)
{
	CU_ASSERT_EQUAL(with_fin("H"), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(with_fin(OK), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(with_fin(OK "\r"), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(with_fin(CONTINUE), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(with_fin(OK "Content-Length: 3\r\n\r\nhi"), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(with_fin(CHUNKED), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(with_fin(CHUNKED "3\r\nhi"), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(with_fin(CHUNKED "2\r\nhi"), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(with_fin(CHUNKED "2\r\nhi\r\n0\r\n"), ADIT_ERR_INCOMPLETE);
	CU_ASSERT_EQUAL(with_fin(CHUNKED "2\r\nhi\r\n0\r\nX: y\r\n"), ADIT_ERR_INCOMPLETE);
}

static void too_big(void)
{
	static struct h1_told t;
	size_t n = 100000;
	char *in = malloc(n);
	struct h1_script s = {.kind = H1_RESPONSE, .in = {in, n}};

	memset(in, 'x', n);
	memcpy(in, OK "X: ", sizeof(OK) + 2);
	run_cut(&s, &t, n, n, 0);
	CU_ASSERT_EQUAL(t.err, BIG);
	run_cut(&s, &t, 1, 1, 0);
	CU_ASSERT_EQUAL(t.err, BIG);
	free(in);
}

/* One parser for the answers of one kept connection, as an origin's connection has it. */
static void connection_reused(void)
{
	static struct h1_told t;
	static const char *const asked[] = {"GET", "HEAD", "GET"};
	static const char in[] = CHUNKED "2\r\nhi\r\n0\r\n\r\n" OK "Content-Length: 5\r\n\r\n"
	                         OK "Content-Length: 1\r\n\r\nx";
	struct h1_parser *p = h1_new(H1_RESPONSE, &told_events, &t);
	size_t at = 0, used;

	memset(&t, 0, sizeof(t));
	for (int i = 0; i < 3; i++) {
		h1_expect(p, str_of(asked[i]));
		CU_ASSERT_EQUAL(h1_parse(p, (const uint8_t *)in + at, sizeof(in) - 1 - at, &used), 0);
		at += used;
		t.in_body = false;
		h1_next(p);
	}
	CU_ASSERT_EQUAL(at, sizeof(in) - 1);
	CU_ASSERT_STRING_EQUAL(t.text, "200 1.1 -1\nbody:hi\nend\n200 1.1 5 none\nend\n200 1.1 1\nbody:x\nend\n");
	h1_free(&p);
}

static void between_interim_and_final(void)
{
	static struct h1_told t;
	struct h1_parser *p = h1_new(H1_RESPONSE, &told_events, &t);
	size_t used;

	memset(&t, 0, sizeof(t));
	CU_ASSERT_EQUAL(h1_parse(p, (const uint8_t *)CONTINUE, sizeof(CONTINUE) - 1, &used), 0);
	CU_ASSERT_FALSE(h1_idle(p));
	h1_free(&p);
}

static const struct unit_test tests[] = {
	{"malformed responses are refused, however they are cut", bad_responses},
	{"well-formed responses tell the same however they are cut", good_responses},
	{"a FIN before a message's end is an error", cut_by_fin},
	{"a response head past the limit has an error of its own", too_big},
	{"one parser reads all answers of a connection", connection_reused},
	{"between a 1xx and the final response the parser is not idle", between_interim_and_final},
};

UNIT_MAIN("h1_response", tests)
