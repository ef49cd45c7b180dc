/* proxy_connect: the request, and answers fed whole and cut everywhere. */
#include "io/proxy_connect.h"

#include <string.h>

#include "base/err.h"
#include "unit.h"

static void request_is(const char *host, const char *credentials, const char *wanted)
{
	struct buf out = BUF_INIT;
	char got[512];
	size_t n;

	CU_ASSERT_EQUAL(proxy_connect_request(&out, host, 443, credentials), 0);
	n = buf_take(&out, got, sizeof(got) - 1);
	got[n] = '\0';
	CU_ASSERT_STRING_EQUAL(got, wanted);
	buf_clear(&out);
}

static void requests(void)
{
	request_is("t.test", NULL, "CONNECT t.test:443 HTTP/1.1\r\nHost: t.test:443\r\n\r\n");
	request_is("2001:db8::1", NULL, "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n");
	request_is("t.test", "dTpw",
	           "CONNECT t.test:443 HTTP/1.1\r\nHost: t.test:443\r\nProxy-Authorization: Basic dTpw\r\n\r\n");
}

/* What an answer gives when it comes in two pieces, cut at each place in turn; `wanted` is what feed returns at last. */
static void answer_is(const char *text, int wanted, int status, const char *reason, size_t rest)
{
	size_t n = strlen(text);

	for (size_t cut = 0; cut <= n; cut++) {
		struct proxy_answer a = {0};
		size_t used = 0, more = 0;
		int r = proxy_answer_feed(&a, (const uint8_t *)text, cut, &used);

		if (!r && used == cut)
			r = proxy_answer_feed(&a, (const uint8_t *)text + cut, n - cut, &more);
		CU_ASSERT_EQUAL(r, wanted);
		if (r != 1)
			continue;
		CU_ASSERT_EQUAL(n - used - more, rest);
		CU_ASSERT_EQUAL(a.status, status);
		CU_ASSERT_STRING_EQUAL(a.reason, reason);
	}
}

static void answers(void)
{
	answer_is("HTTP/1.1 200 Connection established\r\n\r\n", 1, 200, "Connection established", 0);
	answer_is("HTTP/1.0 200\r\nVia: x\r\nX: y\r\n\r\n", 1, 200, "", 0);
	answer_is("HTTP/1.1 407 Proxy \x1b[1mAuth\r\nProxy-Authenticate: Basic\r\n\r\nrest", 1, 407, "Proxy ?[1mAuth", 4);
	answer_is("HTTP/1.1 100 Wait\r\nA: b\r\n\r\nHTTP/1.1 200 Go\r\n\r\n", 1, 200, "Go", 0);
	answer_is("HTTP/1.0 200 lines end so\n\n", 1, 200, "lines end so", 0);
}

static void bad_answers(void)
{
	static const char *const bad[] = {
		"SSH-2.0-x\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 20\r\n\r\n", "HTTP/1.1 2000\r\n", "HTTP/1.1  200\r\n", "\r\n",
		"HTTP/1.1 099 x\r\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		answer_is(bad[i], ADIT_ERR_PROTO, 0, "", 0);
	answer_is("HTTP/1.1 200 OK\r\nX: y\r\n", 0, 0, "", 0);
}

static void endless_answer(void)
{
	static const uint8_t line[] = "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n";
	static const uint8_t begin[] = "HTTP/1.1 200 OK\r\n";
	struct proxy_answer a = {0};
	size_t used, sent = 0;
	int r = proxy_answer_feed(&a, begin, sizeof(begin) - 1, &used);

	while (!r && sent < 2 * PROXY_ANSWER_MAX) {
		r = proxy_answer_feed(&a, line, sizeof(line) - 1, &used);
		sent += used;
	}
	CU_ASSERT_EQUAL(r, ADIT_ERR_LIMIT);
}

static void endless_interim_answers(void)
{
	static const uint8_t one[] = "HTTP/1.1 100 Wait\r\n\r\n";
	struct proxy_answer a = {0};
	size_t used, sent = 0;
	int r = 0;

	while (!r && sent < 2 * PROXY_ANSWER_MAX) {
		r = proxy_answer_feed(&a, one, sizeof(one) - 1, &used);
		sent += used;
	}
	CU_ASSERT_EQUAL(r, ADIT_ERR_LIMIT);
}

static const struct unit_test tests[] = {
	{"the request names the server, and carries the credentials if there are any", requests},
	{"an answer is the same wherever it is cut, and what is behind it is left", answers},
	{"what is no HTTP/1 answer is refused", bad_answers},
	{"an answer without end is refused", endless_answer},
	{"interim answers without end are refused", endless_interim_answers},
};

UNIT_MAIN("proxy_connect", tests)
