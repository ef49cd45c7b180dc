/* Each allocation fails in turn while something is read or written: HTTP/1 messages, the handshake's JSON, the
 * configuration files. The outcome is the right one or "out of memory", and nothing is left behind. */
#include "alloc_fail.h"

#include <unistd.h>
#include <yaml.h>

#include "conf/conf_int.h"
#include "h1_script.h"
#include "http/forward.h"
#include "link/handshake.h"
#include "rules/logins.h"

/* ---- libyaml, whose own allocations cannot be made to fail: it says that they did */

int __real_yaml_parser_initialize(yaml_parser_t *p);
int __wrap_yaml_parser_initialize(yaml_parser_t *p);
int __real_yaml_parser_parse(yaml_parser_t *p, yaml_event_t *event);
int __wrap_yaml_parser_parse(yaml_parser_t *p, yaml_event_t *event);
int __real_yaml_parser_load(yaml_parser_t *p, yaml_document_t *doc);
int __wrap_yaml_parser_load(yaml_parser_t *p, yaml_document_t *doc);

int __wrap_yaml_parser_initialize(yaml_parser_t *p)
{
	return alloc_fails() ? 0 : __real_yaml_parser_initialize(p);
}

int __wrap_yaml_parser_parse(yaml_parser_t *p, yaml_event_t *event)
{
	if (!alloc_fails())
		return __real_yaml_parser_parse(p, event);
	p->error = YAML_MEMORY_ERROR;
	return 0;
}

int __wrap_yaml_parser_load(yaml_parser_t *p, yaml_document_t *doc)
{
	if (!alloc_fails())
		return __real_yaml_parser_load(p, doc);
	p->error = YAML_MEMORY_ERROR;
	return 0;
}

/* ---- failing */

/* 0 = it came out right, ADIT_ERR_NOMEM = it said so; anything else is wrong. */
typedef int outcome_fn(void);

static void fail_each(outcome_fn *run, long least)
{
	long n = 0, before, wrong = 0;
	bool failed;
	int r;

	do {
		before = alloc_fail.live;
		alloc_fail_at(n, n & 1); /* one, or two in a row */
		r = run();
		failed = alloc_fail_stop();
		if ((r != 0 && r != ADIT_ERR_NOMEM) || (r && !failed) || alloc_fail.live != before) {
			printf("\nallocation %ld: %s, %ld left\n", n, err_name(r), alloc_fail.live - before);
			wrong++;
		}
		n++;
	} while (failed);
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(r, 0);
	printf("(%ld) ", n - 1);
	CU_ASSERT(n > least);
}

/* ---- HTTP/1: read, changed as a proxy does, written anew */

struct passing {
	struct buf out;
	enum h1_framing framing;
	int err;
	unsigned ended;
};

static int pass_head(void *arg, struct head *h, bool bodyless)
{
	const struct forward_visitor v = {.address = STR("192.0.2.1"), .tls = true, .trusted = true};
	const struct h1_asked asked = {.minor = 1, .keep = true};
	struct passing *p = arg;
	struct head copy;

	(void)bodyless;
	forward_strip(&h->fields);
	head_init(&copy);
	if (!p->err && !h->status)
		p->err = forward_request(h, &v);
	if (!p->err)
		p->err = head_copy(&copy, h);
	if (!p->err && h->status)
		p->err = h1_write_response(&p->out, &copy, &asked, &p->framing);
	else if (!p->err)
		p->err = h1_write_request(&p->out, &copy, &p->framing);
	head_free(&copy);
	return 0;
}

static int pass_body(void *arg, const uint8_t *data, size_t n)
{
	struct passing *p = arg;

	if (!p->err)
		p->err = h1_write_body(&p->out, p->framing, data, n);
	return 0;
}

static int pass_end(void *arg, const struct fields *trailers)
{
	struct passing *p = arg;

	if (!p->err)
		p->err = h1_write_end(&p->out, p->framing, trailers);
	p->ended++;
	return 0;
}

static int pass(enum h1_kind kind, const char *text, size_t step)
{
	static const struct h1_events events = {pass_head, pass_body, pass_end};
	struct passing p = {.out = BUF_INIT};
	struct h1_parser *parser = h1_new(kind, &events, &p);
	size_t n = strlen(text), used = 0;
	int err = parser ? 0 : ADIT_ERR_NOMEM;

	for (size_t at = 0; at < n && !err; at += step)
		err = h1_parse(parser, (const uint8_t *)text + at, n - at < step ? n - at : step, &used);
	err = err ? err : p.err;
	CU_ASSERT(err || (p.ended == 1 && p.out.len > 100));
	buf_clear(&p.out);
	h1_free(&parser);
	return err;
}

#define LONG "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"
#define LONGER LONG LONG LONG LONG LONG LONG LONG LONG LONG LONG

static int request(void)
{
	static const char text[] =
		"POST http://shop.example?" LONG " HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n"
		"X-Forwarded-For: 203.0.113.9\r\nX-Long: " LONGER "\r\nTe: trailers\r\n"
		"Connection: te, x-gone\r\nX-Gone: 1\r\n"
		"X-A: 1\r\nX-B: 2\r\nX-C: 3\r\nX-D: 4\r\nX-E: 5\r\nX-F: 6\r\nX-G: 7\r\nX-H: 8\r\nX-I: 9\r\nX-J: 10\r\n\r\n"
		"5;a=b\r\nhello\r\n3\r\n...\r\n0\r\nX-Sum: 1\r\n\r\n";

	return pass(H1_REQUEST, text, 7);
}

static int response(void)
{
	static const char text[] =
		"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nX-Long: " LONGER "\r\nSet-Cookie: a=b\r\n"
		"Transfer-Encoding: chunked\r\n\r\n40\r\n" LONG "\r\n0\r\n\r\n";

	return pass(H1_RESPONSE, text, 11);
}

static void http1(void)
{
	fail_each(request, 10);
	fail_each(response, 8);
}

/* ---- the handshake */

/* jansson calls a string that it has no memory for a wrong one. */
static int json_outcome(int r)
{
	return r == ADIT_ERR_PROTO && alloc_fail.failed ? ADIT_ERR_NOMEM : r;
}

static int hello_round(void)
{
	static const uint8_t secret[LINK_SECRET_LEN], id[LINK_ID_LEN];
	struct wire_hello h = {.version = WIRE_VERSION, .agent = "adit/1", .tunnel_count = 3, .epoch = 7, .rx_offset = 9};
	struct wire_hello got;
	struct wire_error e = {""};
	char *text = NULL;
	size_t n;
	int r;

	snprintf(h.tunnels[0].name, sizeof(h.tunnels[0].name), "shop");
	r = wire_proof(secret, id, &h, h.proof);
	if (!r && !(text = wire_write_attach(&h, &n)))
		r = ADIT_ERR_NOMEM;
	if (!r)
		r = wire_read_attach((const uint8_t *)text, n, &got, &e);
	if (text)
		__wrap_free(text);
	if (!r && !(text = wire_write_hello(&h, &n)))
		return ADIT_ERR_NOMEM;
	if (!r) {
		r = wire_read_hello((const uint8_t *)text, n, &got, &e);
		__wrap_free(text);
	}
	return json_outcome(r);
}

static int welcome_round(void)
{
	struct wire_welcome w = {.version = WIRE_VERSION, .agent = "aditd/1", .tunnel_count = 2, .resume_ms = 30000}, got;
	struct wire_error e = {""};
	char *text;
	size_t n;
	int r;

	snprintf(w.tunnels[0].name, sizeof(w.tunnels[0].name), "shop");
	snprintf(w.tunnels[1].name, sizeof(w.tunnels[1].name), "tcp:80");
	text = wire_write_welcome(&w, &n);
	r = text ? wire_read_welcome((const uint8_t *)text, n, &got, &e) : ADIT_ERR_NOMEM;
	__wrap_free(text);
	if (r)
		return json_outcome(r);
	text = wire_write_attached(&w, &n);
	r = text ? wire_read_attached((const uint8_t *)text, n, &got, &e) : ADIT_ERR_NOMEM;
	__wrap_free(text);
	return json_outcome(r);
}

static void handshake(void)
{
	fail_each(hello_round, 40);
	fail_each(welcome_round, 40);
}

/* ---- configurations */

static char config_file[32];

static void put(const char *text)
{
	FILE *f = fopen(config_file, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT(fputs(text, f) >= 0);
	CU_ASSERT_EQUAL(fclose(f), 0);
}

static int said(enum conf_action action, const struct conf_error *e)
{
	if (action == CONF_RUN)
		return 0;
	return action == CONF_FAILED && strstr(e->text, "too little memory") ? ADIT_ERR_NOMEM : ADIT_ERR_CONFIG;
}

static int server(void)
{
	char *argv[] = {(char *)(uintptr_t)"aditd", (char *)(uintptr_t)"-c", config_file, NULL};
	struct conf_server *c = NULL;
	struct conf_error e = {""};
	int r = said(conf_server_argv(3, argv, &c, &e), &e);

	if (r != 0 && r != ADIT_ERR_NOMEM)
		printf("\n%s\n", e.text);
	conf_server_free(&c);
	return r;
}

static int client(void)
{
	char *argv[] = {
		(char *)(uintptr_t)"adit", (char *)(uintptr_t)"start", (char *)(uintptr_t)"-c", config_file,
		(char *)(uintptr_t)"--carrier", (char *)(uintptr_t)"ws-h1", NULL,
	};
	struct conf_client *c = NULL;
	struct conf_error e = {""};
	int r = said(conf_client_argv(6, argv, &c, &e), &e);

	if (r != 0 && r != ADIT_ERR_NOMEM)
		printf("\n%s\n", e.text);
	conf_client_free(&c);
	return r;
}

static void configurations(void)
{
	int fd;

	strcpy(config_file, "/tmp/adit-alloc-XXXXXX");
	fd = mkstemp(config_file);
	CU_ASSERT_FATAL(fd >= 0);
	fclose(fdopen(fd, "r"));
	setenv("ADIT_TOKEN", "secret", 1);
	setenv("HOME", "/nowhere", 1);
	put("domain: t.test\nlisten:\n- {address: ':8080', proxy_protocol: true}\n- {address: 'unix:/run/a'}\ntokens:\n"
	    "- {name: a, sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa,\n"
	    "   names: [shop, '*.example.com'], ports: [5432, 15000-15999]}\n"
	    "trusted_proxies: [10.0.0.0/8, unix]\nadmin: unix:/run/adit.sock\naccess_log: '-'\nresume_seconds: 20\n");
	fail_each(server, 60);
	put("server: https://t.test\nproxy: http://u:p@127.0.0.1:3128\ncarriers: [direct, ws-h1]\ntunnels:\n"
	    "- {name: [shop, '*'], origin: 3000, routes: [{path: /a, origin: 'https://localhost:3001'}]}\n"
	    "- {origin: 'tcp://5432', remote_port: 15432}\n");
	fail_each(client, 60);
	unlink(config_file);
}

/* ---- passwords */

/* of hello, by openssl passwd -6 */
#define SECRET "$6$salt$ghQ6Rhatj/sug12c6v8Ao/bXUoyJ1O1SqdumufgGEO3b3NYPvm/dSWDKWfNm1VxFoFiy/cw9eRaY0xu4GDQSU/"
#define IN "Basic Ym9iOmhlbGxv" /* bob:hello */

static struct guesses *guesses;
static struct conf_rules *with_logins;

static int log_in(void)
{
	struct logins *l = logins_new(&with_logins->logins);
	unsigned wait_s;
	int r;

	if (!l)
		return ADIT_ERR_NOMEM;
	r = logins_check(l, STR(IN), guesses, guess_source_of(NULL), 1, &wait_s);
	CU_ASSERT_EQUAL(wait_s, 0);
	logins_free(&l);
	return r;
}

/* Neither let in nor called wrong, which would count as a guess: the right one passes behind any number of those. */
static void passwords(void)
{
	struct conf_error e;

	alloc_fail_at(-1, 0);
	guesses = guesses_new(1);
	with_logins = conf_rules_new();
	CU_ASSERT_FATAL(guesses && with_logins);
	CU_ASSERT_EQUAL_FATAL(conf_add_login(&with_logins->logins, STR("bob:" SECRET), true, &e), 0);
	for (int i = 0; i < 10; i++)
		fail_each(log_in, 1);
	CU_ASSERT_EQUAL(guesses_count(guesses), 0);
	CU_ASSERT_EQUAL(log_in(), 0);
	conf_rules_unref(&with_logins);
	guesses_free(&guesses);
}

static const struct unit_test tests[] = {
	{"HTTP/1 messages are passed on, or there is no memory for it", http1},
	{"so are the handshake's frames read and written", handshake},
	{"so are configurations read", configurations},
	{"without memory for its hash no password is right, nor wrong", passwords},
};

int main(void)
{
	alloc_fail_init();
	return unit_main("alloc_parse", tests, sizeof(tests) / sizeof(tests[0]));
}
