#include "conf/conf_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "unit.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "BBbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define TOKENS "tokens: [{name: a, sha256: " HASH_A ", names: [shop, 'alice-*', '*.shop.example']}]\n"
#define DOMAIN_LISTEN "domain: t.test\nlisten: [{address: ':8080'}]\n"
#define SERVER_TOP DOMAIN_LISTEN TOKENS
#define CLIENT_TOP "server: https://t.test\n"
#define TUNNELS "tunnels: [{origin: 3000}]\n"
#define HTTP "adit http 1 --server https://t.test"
#define ORIGINS "PORT, HOST:PORT, unix:PATH or SCHEME://HOST[:PORT] (SCHEME: http, https, h2c, h2 or tcp)"
#define TOKEN_OF "tokens:\n  - name: a\n    sha256: " HASH_A "\n"
#define HASHES "one that openssl passwd -6 makes (or crypt's $5$, or $2y$ of cost 6 at most)"
#define FIELDS "a field that does not rule the connection, the message's form or its way"
#define A20 "aaaaaaaaaaaaaaaaaaaa"
#define A22 "aa" A20
#define BCRYPT "$2y$05$" A22 A22 "aaaaaaaaa"
#define SHA_CRYPT "$6$salt$" A22 A22 A22 A20
#define WORDS_MAX 16

/* ---- a folder of its own for each test, with the files that configurations name */

static const char *const fixtures[][2] = {
	{"cert.pem", "pem"}, {"key.pem", "pem"}, {"ca.pem", "pem"}, {"token", "s3cret\r\n"}, {"token.empty", "\n"},
	{"token.space", "two words\n"}, {"token.two", "one\ntwo\n"},
	{"token.printed", "adit_x\n# comment\n#  more\n\n"}, {"adit.yaml", NULL}, {"aditd.yaml", NULL},
	{"sub/aditd.yaml", NULL}, {"sub/adit.yaml", NULL}, {"sub/cert.pem", "pem"}, {"sub/key.pem", "pem"},
	{"sub/token", "below"}, {"sub/users", "# ours\n\nbob:s3cret:x\r\ncarol:" SHA_CRYPT "\n"},
};
#define FIXTURES (sizeof(fixtures) / sizeof(fixtures[0]))

static const char *const proxy_variables[] = {
	"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy",
};

static void put(const char *path, const char *text, size_t n)
{
	FILE *f = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL(fwrite(text, 1, n, f), n);
	fclose(f);
	CU_ASSERT_EQUAL(chmod(path, 0600), 0);
}

static void enter(char *folder)
{
	strcpy(folder, "/tmp/adit-conf-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
	CU_ASSERT_EQUAL_FATAL(chdir(folder), 0);
	CU_ASSERT_EQUAL(mkdir("sub", 0700), 0);
	for (size_t i = 0; i < FIXTURES; i++)
		if (fixtures[i][1])
			put(fixtures[i][0], fixtures[i][1], strlen(fixtures[i][1]));
	setenv("HOME", "/nowhere", 1);
	unsetenv("XDG_STATE_HOME");
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("ADIT_TOKEN");
	for (size_t i = 0; i < sizeof(proxy_variables) / sizeof(proxy_variables[0]); i++)
		unsetenv(proxy_variables[i]);
}

static void leave(const char *folder)
{
	for (size_t i = 0; i < FIXTURES; i++)
		unlink(fixtures[i][0]);
	CU_ASSERT_EQUAL(rmdir("sub"), 0);
	CU_ASSERT_EQUAL(chdir("/"), 0);
	CU_ASSERT_EQUAL(rmdir(folder), 0);
}

/** A command line cut at spaces. */
struct words {
	char text[256];
	char *argv[WORDS_MAX + 1];
	int argc;
};

static void cut(struct words *w, const char *line)
{
	char *save = NULL;

	w->argc = 0;
	snprintf(w->text, sizeof(w->text), "%s", line);
	for (char *p = strtok_r(w->text, " ", &save); p && w->argc < WORDS_MAX; p = strtok_r(NULL, " ", &save))
		w->argv[w->argc++] = p;
	w->argv[w->argc] = NULL;
}

static enum conf_action run_server(const char *line, FILE *to, struct conf_server **out, struct conf_error *e)
{
	struct words w;

	e->text[0] = '\0';
	cut(&w, line);
	return conf_server_call(to, w.argc, w.argv, out, e);
}

static enum conf_action run_client(const char *line, FILE *to, struct conf_client **out, struct conf_error *e)
{
	struct words w;

	e->text[0] = '\0';
	cut(&w, line);
	return conf_client_call(to, w.argc, w.argv, out, e);
}

/* What `line` gives when `text` is the program's file; the conf itself is of no interest. */
static enum conf_action run_any(const char *line, const char *text, struct conf_error *e)
{
	bool server = strncmp(line, "aditd", 5) == 0;
	struct conf_server *s = NULL;
	struct conf_client *c = NULL;
	enum conf_action action;

	unlink("adit.yaml");
	unlink("aditd.yaml");
	if (text)
		put(server ? "aditd.yaml" : "adit.yaml", text, strlen(text));
	action = server ? run_server(line, stdout, &s, e) : run_client(line, stdout, &c, e);
	CU_ASSERT_EQUAL(action == CONF_RUN, s || c);
	conf_server_free(&s);
	conf_client_free(&c);
	return action;
}

/* ---- the tables */

static void test_bad(void)
{
	static const struct {
		const char *line, *text, *wanted;
	} cases[] = {
#define X(line, text, wanted) {line, text, wanted},
#include "conf_bad.def"
#undef X
	};
	struct conf_error e;
	char folder[32];

	enter(folder);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum conf_action action = run_any(cases[i].line, cases[i].text, &e);

		if (action != CONF_FAILED || strcmp(e.text, cases[i].wanted) != 0)
			printf("\n%s\n%s\n  gave:   %s\n  wanted: %s\n", cases[i].line,
			       cases[i].text ? cases[i].text : "",
			       action == CONF_FAILED ? e.text : "no error", cases[i].wanted);
		CU_ASSERT_EQUAL(action, CONF_FAILED);
		CU_ASSERT_STRING_EQUAL(e.text, cases[i].wanted);
	}
	leave(folder);
}

static void test_good(void)
{
	static const char *const cases[][2] = {
#define X(line, text) {line, text},
#include "conf_good.def"
#undef X
	};
	struct conf_error e;
	char folder[32];

	enter(folder);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum conf_action action = run_any(cases[i][0], cases[i][1], &e);

		if (action != CONF_RUN)
			printf("\n%s\n%s\n  gave: %s\n", cases[i][0], cases[i][1] ? cases[i][1] : "", e.text);
		CU_ASSERT_EQUAL(action, CONF_RUN);
	}
	leave(folder);
}

/* ---- what comes out */

static const char whole_server[] =
	"domain: Tunnel.TEST\n"
	"listen:\n"
	"  - address: 127.0.0.1:8080\n"
	"  - address: unix:sock\n"
	"    tls: { certificate: cert.pem, key: key.pem }\n"
	"    proxy_protocol: true\n"
	"tokens:\n"
	"  - name: alice\n"
	"    sha256: " HASH_B "\n"
	"    names: [\"Shop\", \"alice-*\"]\n"
	"trusted_proxies: [127.0.0.1, 10.0.0.0/9, unix]\n"
	"admin: 127.0.0.1:9090\n"
	"public_url: https://NAME.tunnel.test/\n"
	"access_log: \"-\"\n"
	"trace: trace.log\n"
	"log_format: json\n"
	"log_level: debug\n"
	"resume_seconds: 1\n"
	"drain_seconds: 2\n"
	"heartbeat_seconds: 3\n"
	"max_visitors: 4\n";

static void check_whole_server(const struct conf_server *c)
{
	CU_ASSERT_STRING_EQUAL(c->domain, "tunnel.test");
	CU_ASSERT_EQUAL_FATAL(c->listen_count, 2);
	CU_ASSERT_STRING_EQUAL(c->listen[0].address, "127.0.0.1:8080");
	CU_ASSERT(!c->listen[0].tls && !c->listen[0].proxy_protocol && !c->listen[0].certificate);
	CU_ASSERT_STRING_EQUAL(c->listen[1].address, "unix:sub/sock");
	CU_ASSERT(c->listen[1].tls && c->listen[1].proxy_protocol);
	CU_ASSERT_STRING_EQUAL(c->listen[1].certificate, "sub/cert.pem");
	CU_ASSERT_STRING_EQUAL(c->listen[1].key, "sub/key.pem");
	CU_ASSERT_EQUAL_FATAL(c->token_count, 1);
	CU_ASSERT_STRING_EQUAL(c->tokens[0].name, "alice");
	CU_ASSERT_EQUAL(c->tokens[0].sha256[0], 0xbb);
	CU_ASSERT_EQUAL_FATAL(c->tokens[0].name_count, 2);
	CU_ASSERT_STRING_EQUAL(c->tokens[0].names[0], "shop");
	CU_ASSERT_STRING_EQUAL(c->admin, "127.0.0.1:9090");
	CU_ASSERT_STRING_EQUAL(c->public_url, "https://NAME.tunnel.test");
	CU_ASSERT_STRING_EQUAL(c->access_log, "-");
	CU_ASSERT_EQUAL(c->log_format, LOG_FORMAT_JSON);
	CU_ASSERT_EQUAL(c->resume_seconds, 1);
	CU_ASSERT_EQUAL(c->drain_seconds, 2);
	CU_ASSERT_EQUAL(c->heartbeat_seconds, 3);
	CU_ASSERT_EQUAL(c->max_visitors, 4);
	CU_ASSERT_STRING_EQUAL(c->file, "sub/aditd.yaml");
}

static void test_server(void)
{
	struct conf_server *c;
	struct conf_error e;
	struct words w;
	char folder[32];

	enter(folder);
	put("sub/aditd.yaml", whole_server, strlen(whole_server));
	CU_ASSERT_EQUAL_FATAL(run_server("aditd -c sub/aditd.yaml", stdout, &c, &e), CONF_RUN);
	check_whole_server(c);
	CU_ASSERT_EQUAL(c->log_level, LOG_LEVEL_DEBUG);
	CU_ASSERT_STRING_EQUAL(c->trace, "sub/trace.log");
	conf_server_free(&c);
	CU_ASSERT_PTR_NULL(c);

	/* a flag comes before the file, and its path is not below the file's folder */
	cut(&w, "aditd -c sub/aditd.yaml --trace t --log-level error");
	CU_ASSERT_EQUAL_FATAL(conf_server_reread(w.argc, w.argv, &c, &e), 0);
	check_whole_server(c);
	CU_ASSERT_EQUAL(c->log_level, LOG_LEVEL_ERROR);
	CU_ASSERT_STRING_EQUAL(c->trace, "t");
	conf_server_free(&c);

	put("sub/aditd.yaml", "domain: -\n", 10);
	CU_ASSERT_EQUAL(conf_server_reread(w.argc, w.argv, &c, &e), ADIT_ERR_CONFIG);
	CU_ASSERT_PTR_NULL(c);
	leave(folder);
}

static void test_defaults(void)
{
	struct conf_server *s;
	struct conf_client *c;
	struct conf_error e;
	char folder[32];

	enter(folder);
	put("aditd.yaml", SERVER_TOP, strlen(SERVER_TOP));
	CU_ASSERT_EQUAL_FATAL(run_server("aditd -c aditd.yaml", stdout, &s, &e), CONF_RUN);
	CU_ASSERT(s->resume_seconds == 30 && s->drain_seconds == 30 && s->heartbeat_seconds == 30);
	CU_ASSERT(s->max_visitors == 10000 && s->log_level == LOG_LEVEL_INFO && s->log_format == LOG_FORMAT_TEXT);
	CU_ASSERT(s->sandbox == CONF_SANDBOX_ON && !s->user.name && !s->user.group);
	CU_ASSERT(!s->admin && !s->access_log && !s->trace && !s->public_url && !s->dev && !s->dev_address);
	conf_server_free(&s);

	CU_ASSERT_EQUAL_FATAL(run_server("aditd --dev", stdout, &s, &e), CONF_RUN);
	CU_ASSERT(s->dev && !s->dev_dir && !s->file && !s->listen_count && !s->token_count);
	CU_ASSERT_STRING_EQUAL(s->domain, "adit.localhost");
	CU_ASSERT_STRING_EQUAL(s->dev_address, "127.0.0.1:8443");
	conf_server_free(&s);

	setenv("HOME", "/home/me", 1);
	CU_ASSERT_EQUAL_FATAL(run_client("adit http 80 --server https://T.test --token-file token", stdout, &c, &e),
	                      CONF_RUN);
	CU_ASSERT(c->server_tls && c->server_port == 443 && c->carrier == CONF_CARRIER_AUTO);
	CU_ASSERT_EQUAL(c->heartbeat_seconds, 30);
	CU_ASSERT(c->poll_interval_ms == 0 && c->poll_hold_ms == 20000);
	CU_ASSERT_STRING_EQUAL(c->server_host, "T.test");
	CU_ASSERT_STRING_EQUAL(c->server_name, "T.test");
	CU_ASSERT_STRING_EQUAL(c->state_dir, "/home/me/.local/state/adit");
	CU_ASSERT_STRING_EQUAL(c->token, "s3cret");
	CU_ASSERT(c->tunnel_count == 1 && !c->tunnels[0].name_count && !c->tunnels[0].own.host_header);
	CU_ASSERT(!c->file && !c->warning[0] && c->sandbox == CONF_SANDBOX_ON);
	conf_client_free(&c);
	leave(folder);
}

/* "use:path " of each file. */
static void note_file(void *arg, const char *path, enum conf_file use)
{
	size_t n = strlen(arg);

	snprintf((char *)arg + n, 512 - n, "%c:%s ", "rlsf"[use], path);
}

static void test_server_files(void)
{
	static const char text[] =
		"domain: t.test\nlisten:\n  - {address: ':1', tls: {certificate: cert.pem, key: key.pem}}\n"
		"  - {address: 'unix:v.sock'}\n" TOKEN_OF "    basic_auth_file: users\n"
		"certificates: [{certificate: /dev/null, key: key.pem}]\nadmin: unix:/run/admin.sock\n"
		"access_log: a.log\ntrace: t.log\n";
	char told[512] = "";
	struct conf_server *c;
	struct conf_error e;
	char folder[32];

	enter(folder);
	put("sub/aditd.yaml", text, strlen(text));
	CU_ASSERT_EQUAL_FATAL(run_server("aditd -c sub/aditd.yaml", stdout, &c, &e), CONF_RUN);
	conf_server_files(c, note_file, told);
	CU_ASSERT_STRING_EQUAL(told, "r:sub/aditd.yaml l:sub/t.log s:/run/admin.sock l:sub/a.log "
	                             "r:sub/cert.pem r:sub/key.pem s:sub/v.sock r:sub/users r:/dev/null r:sub/key.pem ");
	conf_server_free(&c);
	leave(folder);
}

static void test_client_files(void)
{
	static const char text[] =
		CLIENT_TOP "token_file: token\nca: cert.pem\nstate_dir: state\ntrace: t.log\ntunnels:\n"
		"  - origin: https://a:1\n    origin_ca: key.pem\n"
		"    routes: [{path: /x, origin: 'h2://b:1', origin_ca: cert.pem}]\n";
	char told[512] = "";
	struct conf_client *c;
	struct conf_error e;
	char folder[32];

	enter(folder);
	put("sub/adit.yaml", text, strlen(text));
	CU_ASSERT_EQUAL_FATAL(run_client("adit start -c sub/adit.yaml", stdout, &c, &e), CONF_RUN);
	conf_client_files(c, note_file, told);
	CU_ASSERT_STRING_EQUAL(told, "r:sub/adit.yaml r:sub/token l:sub/t.log f:sub/state r:sub/cert.pem "
	                             "r:sub/key.pem r:sub/cert.pem ");
	conf_client_free(&c);
	leave(folder);
}

static void test_client(void)
{
	static const char text[] =
		"server: http://[::1]:8080\nserver_name: Tunnel.test\ntoken_file: token\ncarrier: ws-h2\n"
		"ca: cert.pem\nheartbeat_seconds: 5\nstate_dir: state\npoll_interval: 500ms\npoll_hold: 0\ntunnels:\n"
		"  - {name: Shop, origin: 'http://127.0.0.1:3000', host_header: 'localhost:3000'}\n"
		"  - {origin: 'unix:app.sock'}\n";
	struct conf_client *c;
	struct conf_error e;
	char folder[32];

	enter(folder);
	put("sub/adit.yaml", text, strlen(text));
	CU_ASSERT_EQUAL_FATAL(run_client("adit start -c sub/adit.yaml --carrier poll", stdout, &c, &e), CONF_RUN);
	CU_ASSERT(!c->server_tls && c->server_port == 8080);
	CU_ASSERT(c->carrier == CONF_CARRIER_POLL && c->heartbeat_seconds == 5);
	CU_ASSERT(c->poll_interval_ms == 500 && c->poll_hold_ms == 0);
	CU_ASSERT_STRING_EQUAL(c->server_host, "::1");
	CU_ASSERT_STRING_EQUAL(c->server_name, "tunnel.test");
	CU_ASSERT_STRING_EQUAL(c->token, "below");
	CU_ASSERT_STRING_EQUAL(c->ca, "sub/cert.pem");
	CU_ASSERT_STRING_EQUAL(c->state_dir, "sub/state");
	CU_ASSERT_EQUAL_FATAL(c->tunnel_count, 2);
	CU_ASSERT_STRING_EQUAL(c->tunnels[0].names[0], "shop");
	CU_ASSERT_STRING_EQUAL(c->tunnels[0].own.origin.host, "127.0.0.1");
	CU_ASSERT_EQUAL(c->tunnels[0].own.origin.port, 3000);
	CU_ASSERT_STRING_EQUAL(c->tunnels[0].own.host_header, "localhost:3000");
	CU_ASSERT(!c->tunnels[1].name_count && !c->tunnels[1].own.origin.host);
	CU_ASSERT_STRING_EQUAL(c->tunnels[1].own.origin.unix_path, "sub/app.sock");
	CU_ASSERT_STRING_EQUAL(c->tunnels[1].own.origin.text, "unix:app.sock");
	conf_client_free(&c);
	CU_ASSERT_PTR_NULL(c);
	leave(folder);
}

#define RULES                                                                                      \
	"    allow: [10.0.0.0/8, '2001:db8::1']\n    deny: [10.1.0.0/16]\n"                         \
	"    basic_auth: ['alice:" BCRYPT "']\n    basic_auth_file: users\n    max_body: 10M\n"      \
	"    requests_per_second: 20\n    requests_burst: 50\n    bandwidth: 2048\n"               \
	"    request_headers: {set: {X-A: '1 2', X-B: ''}, remove: [Cookie]}\n"                     \
	"    response_headers: {remove: [server]}\n"

static void check_rules(const struct conf_rules *r)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT(r->allow.count == 2 && r->allow.at[0].bits == 104 && r->allow.at[1].bits == 128);
	CU_ASSERT_EQUAL(r->deny.count, 1);
	CU_ASSERT_EQUAL_FATAL(r->logins.count, 3);
	CU_ASSERT_STRING_EQUAL(r->logins.at[0].user, "alice");
	CU_ASSERT_STRING_EQUAL(r->logins.at[0].secret, BCRYPT);
	CU_ASSERT_STRING_EQUAL(r->logins.at[1].user, "bob");
	CU_ASSERT_STRING_EQUAL(r->logins.at[1].secret, "s3cret:x");
	CU_ASSERT(r->logins.at[0].hashed && !r->logins.at[1].hashed && r->logins.at[2].hashed);
	CU_ASSERT_STRING_EQUAL(r->login_file, "sub/users");
	CU_ASSERT(r->max_body == 10 << 20 && r->bandwidth == 2048);
	CU_ASSERT(r->requests_per_second == 20 && r->requests_burst == 50);
	CU_ASSERT(r->request.given && r->request.set.count == 2 && r->request.remove.count == 1);
	CU_ASSERT_STRING_EQUAL(r->request.set.at[0].name, "x-a");
	CU_ASSERT_STRING_EQUAL(r->request.set.at[0].value, "1 2");
	CU_ASSERT_STRING_EQUAL(r->request.set.at[1].value, "");
	CU_ASSERT_STRING_EQUAL(r->request.remove.at[0].name, "cookie");
	CU_ASSERT(r->response.given && !r->response.set.count && r->response.remove.count == 1);
}

static void test_rules(void)
{
	static const char server[] = DOMAIN_LISTEN TOKEN_OF RULES "  - {name: b, sha256: " HASH_B "}\n";
	static const char client[] = CLIENT_TOP "token_file: token\ntunnels:\n  - {origin: 1}\n  - origin: 2\n" RULES;
	struct conf_rules *kept;
	struct conf_server *s;
	struct conf_client *c;
	struct conf_error e;
	char folder[32];

	enter(folder);
	put("sub/aditd.yaml", server, strlen(server));
	put("sub/adit.yaml", client, strlen(client));
	CU_ASSERT_EQUAL_FATAL(run_server("aditd -c sub/aditd.yaml", stdout, &s, &e), CONF_RUN);
	check_rules(s->tokens[0].rules);
	CU_ASSERT_PTR_NULL(s->tokens[1].rules);
	CU_ASSERT_EQUAL_FATAL(run_client("adit start -c sub/adit.yaml", stdout, &c, &e), CONF_RUN);
	CU_ASSERT_PTR_NULL(c->tunnels[0].rules);
	check_rules(c->tunnels[1].rules);
	CU_ASSERT_STRING_EQUAL(c->warning, "");
	conf_client_free(&c);
	kept = conf_rules_ref(s->tokens[0].rules);
	conf_server_free(&s);
	check_rules(kept); /* whoever holds it needs no configuration any more */
	conf_rules_unref(&kept);

	CU_ASSERT_EQUAL(chmod("sub/users", 0644), 0);
	CU_ASSERT_EQUAL_FATAL(run_client(HTTP " --token-file token --basic-auth-file sub/users", stdout, &c, &e),
	                      CONF_RUN);
	CU_ASSERT_EQUAL(c->tunnels[0].rules->logins.count, 2);
	CU_ASSERT_STRING_EQUAL(c->warning, "password file \"sub/users\": mode 0644 lets others read it");
	conf_client_free(&c);
	leave(folder);
}

static void test_admit(void)
{
	static const struct {
		const char *visitor;
		bool open, listed, denied; /* without lists; allow 10/8 and 2001:db8::/32; deny 10.1/16 */
	} cases[] = {
		{"10.2.0.1", true, true, true}, {"10.1.0.1", true, true, false}, {"11.0.0.1", true, false, true},
		{"10.1.0.1:80", true, true, false}, {"::ffff:10.1.0.1", true, true, false},
		{"2001:db8::1", true, true, true}, {"[2001:db8::1]", true, true, true},
		{"[2001:db8::1]:80", true, true, true}, {"[fe80::1%eth0]:80", true, false, true},
		{"fe80::1%eth0", true, false, true}, {"unknown", true, false, false}, {"", true, false, false},
		{"[2001:db8::1", true, false, false}, {"10.1.0.1.", true, false, false}, {"unix", true, false, false},
	};
	struct conf_rules open = {0}, listed = {0}, denied = {0};
	struct conf_error e;

	CU_ASSERT_EQUAL(conf_add_block(&listed.allow, STR("10.0.0.0/8"), &e), 0);
	CU_ASSERT_EQUAL(conf_add_block(&listed.allow, STR("2001:db8::/32"), &e), 0);
	CU_ASSERT_EQUAL(conf_add_block(&denied.deny, STR("10.1.0.0/16"), &e), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct in6_addr a;
		const struct in6_addr *visitor = conf_address(str_of(cases[i].visitor), &a) ? &a : NULL;

		if (conf_rules_admit(&open, visitor) != cases[i].open ||
		    conf_rules_admit(&listed, visitor) != cases[i].listed ||
		    conf_rules_admit(&denied, visitor) != cases[i].denied)
			CU_FAIL(cases[i].visitor);
	}
	free(listed.allow.at);
	free(denied.deny.at);
}

static void test_found_file(void)
{
	char folder[32], own[64];
	struct conf_client *c;
	struct conf_error e;

	enter(folder);
	CU_ASSERT_EQUAL(mkdir("sub/adit", 0700), 0);
	put("sub/adit/adit.yaml", CLIENT_TOP TUNNELS, strlen(CLIENT_TOP TUNNELS));
	snprintf(own, sizeof(own), "%s/sub", folder);
	setenv("XDG_CONFIG_HOME", own, 1);
	setenv("ADIT_TOKEN", "from-environment", 1);
	CU_ASSERT_EQUAL_FATAL(run_client("adit start", stdout, &c, &e), CONF_RUN);
	CU_ASSERT(strstr(c->file, "/sub/adit/adit.yaml") != NULL);
	CU_ASSERT_STRING_EQUAL(c->token, "from-environment");
	conf_client_free(&c);
	unlink("sub/adit/adit.yaml");
	rmdir("sub/adit");
	leave(folder);
}

static void test_token(void)
{
	struct conf_client *c;
	struct conf_error e;
	char folder[32];

	enter(folder);
	CU_ASSERT_EQUAL(run_client(HTTP, stdout, &c, &e), CONF_FAILED);
	CU_ASSERT_STRING_EQUAL(e.text, "adit: token: found nothing, wanted --token-file FILE, the file's token_file or "
	                               "the environment's ADIT_TOKEN");
	setenv("ADIT_TOKEN", "", 1);
	CU_ASSERT_EQUAL(run_client(HTTP, stdout, &c, &e), CONF_FAILED);
	CU_ASSERT_STRING_EQUAL(e.text, "adit: ADIT_TOKEN: found nothing in it, wanted a token: one line of visible "
	                               "ASCII characters, no spaces");
	setenv("ADIT_TOKEN", "s3cr\303\251t", 1);
	CU_ASSERT_EQUAL(run_client(HTTP, stdout, &c, &e), CONF_FAILED);
	CU_ASSERT_PTR_NULL(strstr(e.text, "s3cr"));
	setenv("ADIT_TOKEN", "env\n", 1);
	CU_ASSERT_EQUAL_FATAL(run_client(HTTP, stdout, &c, &e), CONF_RUN);
	CU_ASSERT_STRING_EQUAL(c->token, "env");
	conf_client_free(&c);

	/* the file goes before the environment; others can read it, which is said but no error */
	CU_ASSERT_EQUAL(chmod("token.printed", 0644), 0);
	CU_ASSERT_EQUAL_FATAL(run_client(HTTP " --token-file token.printed", stdout, &c, &e), CONF_RUN);
	CU_ASSERT_STRING_EQUAL(c->token, "adit_x");
	CU_ASSERT_STRING_EQUAL(c->warning, "token file \"token.printed\": mode 0644 lets others read it");
	conf_client_free(&c);
	leave(folder);
}

/* ---- actions */

/* What the program prints to a file of our own; the caller frees it. */
static char *printed(const char *line, enum conf_action wanted)
{
	struct conf_server *s = NULL;
	struct conf_client *c = NULL;
	enum conf_action got;
	struct conf_error e;
	char *text = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&text, &n);

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	got = strncmp(line, "aditd", 5) == 0 ? run_server(line, f, &s, &e) : run_client(line, f, &c, &e);
	CU_ASSERT_EQUAL(got, wanted);
	CU_ASSERT(!s && !c);
	fclose(f);
	return text;
}

static void test_check_config(void)
{
	char folder[32], *text;

	enter(folder);
	put("aditd.yaml", SERVER_TOP, strlen(SERVER_TOP));
	text = printed("aditd --check-config -c aditd.yaml", CONF_DONE);
	CU_ASSERT_STRING_EQUAL(text, "aditd.yaml: ok (1 listeners, 1 tokens)\n");
	free(text);
	put("aditd.yaml", "x", 1);
	text = printed("aditd --check-config -c aditd.yaml", CONF_FAILED);
	CU_ASSERT_STRING_EQUAL(text, "");
	free(text);
	leave(folder);
}

static void test_new_token(void)
{
	char hex[SHA256_HEX_LEN + 1], line[96], folder[32], *text = printed("aditd --new-token", CONF_DONE);
	uint8_t hash[SHA256_LEN];
	char *end = strchr(text, '\n'), *other = printed("aditd --new-token", CONF_DONE);
	struct conf_client *c;
	struct conf_error e;

	CU_ASSERT_PTR_NOT_NULL_FATAL(end);
	CU_ASSERT_EQUAL(end - text, 57);
	CU_ASSERT_EQUAL(strncmp(text, "adit_", 5), 0);
	CU_ASSERT_NOT_EQUAL(strncmp(text, other, 57), 0);
	CU_ASSERT_EQUAL(digest_sha256(text, 57, hash), 0);
	hex_encode(hash, sizeof(hash), hex);
	snprintf(line, sizeof(line), "\n#     sha256: %s\n", hex);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, line));

	/* redirected to a file it is a token file */
	enter(folder);
	put("token", text, strlen(text));
	CU_ASSERT_EQUAL_FATAL(run_client(HTTP " --token-file token", stdout, &c, &e), CONF_RUN);
	CU_ASSERT_EQUAL(strlen(c->token), 57);
	conf_client_free(&c);
	leave(folder);
	free(text);
	free(other);
}

static void test_help(void)
{
	char *server = printed("aditd --help", CONF_DONE), *client = printed("adit http --help", CONF_DONE);

	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &conf_options[i];
		const char *text = conf_section_of_server(o->section) ? server : client;
		char flag[64];

		if (!*o->flag)
			continue;
		snprintf(flag, sizeof(flag), "  %s%s ", o->flag[1] ? "--" : "-", o->flag);
		CU_ASSERT_PTR_NOT_NULL(strstr(text, flag));
		CU_ASSERT_PTR_NOT_NULL(strstr(text, o->help));
	}
	free(server);
	free(client);
	server = printed("aditd --version", CONF_DONE);
	CU_ASSERT_EQUAL(strncmp(server, "aditd ", 6), 0);
	free(server);
}

static void test_full_disk(void)
{
	FILE *full = fopen("/dev/full", "w");
	struct conf_server *s;
	struct conf_error e;

	if (!full)
		return;
	CU_ASSERT_EQUAL(run_server("aditd --new-token", full, &s, &e), CONF_FAILED);
	fclose(full);
}

/* ---- limits and odd files */

static void test_big(void)
{
	struct conf_server *c;
	struct conf_error e;
	char folder[32], *text;

	text = malloc(CONF_FILE_MAX + 1);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	enter(folder);
	memset(text, '\n', CONF_FILE_MAX + 1);
	memcpy(text, SERVER_TOP, strlen(SERVER_TOP));
	put("aditd.yaml", text, CONF_FILE_MAX);
	CU_ASSERT_EQUAL(run_server("aditd -c aditd.yaml", stdout, &c, &e), CONF_RUN);
	conf_server_free(&c);
	put("aditd.yaml", text, CONF_FILE_MAX + 1);
	CU_ASSERT_EQUAL(run_server("aditd -c aditd.yaml", stdout, &c, &e), CONF_FAILED);
	CU_ASSERT_STRING_EQUAL(e.text, "aditd.yaml:1: found more than 1 MiB, wanted a configuration file");
	leave(folder);
	free(text);
}

/* The good file cut after every byte: each gives a conf or one line that names the file. */
static void test_cut(void)
{
	struct conf_server *c;
	struct conf_error e;
	char folder[32];

	enter(folder);
	put("cert.pem", "x", 1);
	for (size_t n = 0; n <= strlen(whole_server); n++) {
		enum conf_action action;

		put("aditd.yaml", whole_server, n);
		action = run_server("aditd -c aditd.yaml", stdout, &c, &e);
		CU_ASSERT_EQUAL(action == CONF_RUN, c != NULL);
		if (action == CONF_FAILED) {
			CU_ASSERT_EQUAL(strncmp(e.text, "aditd.yaml:", 11), 0);
			CU_ASSERT_PTR_NULL(strchr(e.text, '\n'));
			CU_ASSERT_PTR_NOT_NULL(strstr(e.text, "found "));
			CU_ASSERT_PTR_NOT_NULL(strstr(e.text, ", wanted "));
		}
		conf_server_free(&c);
	}
	leave(folder);
}

/* ---- the small questions */

/* Where an origin's text leads, as people read it, or what is wrong with it. */
static void test_origin(void)
{
	static const char *const cases[][2] = {
		{"3000", "http://127.0.0.1:3000"}, {"unix:/x", "unix:/x"}, {"http://app", "http://app:80"},
		{"http://app/", "http://app:80"}, {"[::1]:5", "http://[::1]:5"}, {"https://app", "https://app:443"},
		{"https://[::1]:8443", "https://[::1]:8443"}, {"h2c://app:50051", "h2c://app:50051"},
		{"h2c://unix:/x", "h2c://unix:/x"}, {"h2://app", "h2://app:443"}, {"tcp://5432", "tcp://127.0.0.1:5432"},
		{"tcp://db:5432", "tcp://db:5432"}, {"tcp://unix:/run/.s.PGSQL.5432", "tcp://unix:/run/.s.PGSQL.5432"},
		{"unix:/a@b", "unix:/a@b"},
		{"https://unix:/x", NULL}, {"http://3000", NULL}, {"tcp://db", NULL}, {"tcp://db:0", NULL}, {"https:app", NULL},
		{"app", NULL}, {"https://me@app", NULL}, {"tcp://me@db:1", NULL}, {"h2c://app/x", NULL}, {"ws://app", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct conf_origin o = {.text = NULL};
		char text[CONF_ORIGIN_TEXT_MAX] = "";
		struct conf_error e = {""};

		if (conf_set_origin(&o, str_of(cases[i][0]), &e) == 0)
			conf_origin_text(&o, text);
		if (strcmp(text, cases[i][1] ? cases[i][1] : "") != 0)
			printf("\n%s: found %s %s\n", cases[i][0], text, e.text);
		CU_ASSERT_STRING_EQUAL(text, cases[i][1] ? cases[i][1] : "");
		free(o.text);
		free(o.host);
		free(o.unix_path);
	}
}

static void test_routes(void)
{
	static const char text[] =
		CLIENT_TOP "token_file: token\ntunnels:\n"
		"  - name: [shop, Www.Shop.example]\n    origin: 1\n    routes:\n"
		"      - {path: /api, origin: 'h2c://a:2', host_header: b}\n      - {path: /api/v2/, origin: 'https://a'}\n"
		"  - {origin: 'tcp://3', remote_port: 4, send_proxy: true}\n";
	static const struct {
		const char *path;
		int route;
	} cases[] = {
		{"/", -1}, {"/ap", -1}, {"/apis", -1}, {"/API", -1}, {"/x/api", -1}, {"", -1}, {"*", -1}, {"/%61pi", -1},
		{"/api", 1}, {"/api/", 1}, {"/api?x=/api/v2", 1}, {"/api/v1", 1}, {"/api/v23", 1},
		{"/api/v2", 0}, {"/api/v2/", 0}, {"/api/v2?", 0}, {"/api/v2/x", 0},
	};
	struct conf_client *c;
	struct conf_error e;
	char folder[32];

	enter(folder);
	put("adit.yaml", text, strlen(text));
	CU_ASSERT_EQUAL_FATAL(run_client("adit start", stdout, &c, &e), CONF_RUN);
	CU_ASSERT_EQUAL_FATAL(c->tunnel_count, 2);
	CU_ASSERT_EQUAL_FATAL(c->tunnels[0].name_count, 2);
	CU_ASSERT_STRING_EQUAL(c->tunnels[0].names[1], "www.shop.example");
	CU_ASSERT_EQUAL_FATAL(c->tunnels[0].route_count, 2);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct conf_tunnel *t = &c->tunnels[0];
		const struct conf_route *wanted = cases[i].route < 0 ? &t->own : &t->routes[cases[i].route];

		if (conf_tunnel_route(t, str_of(cases[i].path)) != wanted)
			printf("\n%s goes another way\n", cases[i].path);
		CU_ASSERT_PTR_EQUAL(conf_tunnel_route(t, str_of(cases[i].path)), wanted);
	}
	CU_ASSERT_EQUAL(c->tunnels[0].routes[0].origin.protocol, CONF_HTTPS);
	CU_ASSERT_STRING_EQUAL(c->tunnels[0].routes[1].host_header, "b");
	CU_ASSERT(c->tunnels[1].remote_port == 4 && c->tunnels[1].send_proxy);
	conf_client_free(&c);
	leave(folder);
}

static void test_trust(void)
{
	struct conf_server *c;
	struct conf_error e;
	char folder[32];

	enter(folder);
	put("sub/aditd.yaml", whole_server, strlen(whole_server));
	CU_ASSERT_EQUAL_FATAL(run_server("aditd -c sub/aditd.yaml", stdout, &c, &e), CONF_RUN);
	CU_ASSERT(conf_trusts(c, "127.0.0.1") && !conf_trusts(c, "127.0.0.2"));
	CU_ASSERT(conf_trusts(c, "::ffff:127.0.0.1") && !conf_trusts(c, "::1"));
	CU_ASSERT(conf_trusts(c, "10.127.255.255") && !conf_trusts(c, "10.128.0.0"));
	CU_ASSERT(conf_trusts(c, "unix") && !conf_trusts(c, "") && !conf_trusts(c, "fe80::1%eth0"));
	c->trust_unix = false;
	CU_ASSERT(!conf_trusts(c, "unix"));
	conf_server_free(&c);
	leave(folder);
}

static void test_claims(void)
{
	char any[] = "*", alice[] = "alice-*", custom[] = "*.shop.example";
	char *all_names[] = {any}, *some_names[] = {alice, custom};
	struct conf_token all = {.names = all_names, .name_count = 1}, some = {.names = some_names, .name_count = 2};

	CU_ASSERT(conf_token_may_claim(&all, "shop") && conf_token_may_claim(&all, "r"));
	CU_ASSERT(!conf_token_may_claim(&all, "r-shop") && !conf_token_may_claim(&all, ""));
	CU_ASSERT(!conf_token_may_claim(&all, "-") && !conf_token_may_claim(&all, "a_b"));
	CU_ASSERT(!conf_token_may_claim(&all, "www.shop.example"));
	CU_ASSERT(conf_token_may_claim(&some, "alice-1") && !conf_token_may_claim(&some, "alice"));
	CU_ASSERT(!conf_token_may_claim(&some, "alice-1.evil.example"));
	CU_ASSERT(conf_token_may_claim(&some, "www.shop.example") && !conf_token_may_claim(&some, "shop.example"));
	CU_ASSERT(!conf_token_may_claim(&some, "r-www.shop.example"));
	CU_ASSERT(!conf_token_may_claim(&some, "a.b.shop.example"));
	/* a wildcard is claimed by who may claim all that it covers */
	CU_ASSERT(conf_token_may_claim(&all, "*") && conf_token_may_claim(&some, "*.shop.example"));
	CU_ASSERT(!conf_token_may_claim(&some, "*") && !conf_token_may_claim(&all, "*.shop.example"));
	CU_ASSERT(!conf_token_may_claim(&all, "a*") && !conf_token_may_claim(&all, "*a"));
}

static void test_port_names(void)
{
	struct conf_ports ranges[] = {{5432, 5432}, {15000, 15999}};
	struct conf_token none = {.name = NULL}, some = {.ports = ranges, .port_count = 2};
	char name[CONF_PORT_NAME_MAX];
	uint16_t port = 1;

	conf_port_name(65535, name);
	CU_ASSERT_STRING_EQUAL(name, "tcp:65535");
	CU_ASSERT(conf_port_of_name("tcp:0", &port) && port == 0);
	CU_ASSERT(!conf_port_of_name("tcp:", &port) && !conf_port_of_name("tcp:01", &port));
	CU_ASSERT(!conf_port_of_name("tcp:65536", &port) && !conf_port_of_name("tcp:-1", &port));
	CU_ASSERT(!conf_port_of_name("tcp", &port) && !conf_port_of_name("", &port) && !conf_port_of_name("TCP:1", &port));
	CU_ASSERT(conf_token_may_claim(&some, "tcp:5432") && conf_token_may_claim(&some, "tcp:0"));
	CU_ASSERT(conf_token_may_claim(&some, "tcp:15000") && conf_token_may_claim(&some, "tcp:15999"));
	CU_ASSERT(!conf_token_may_claim(&some, "tcp:5431") && !conf_token_may_claim(&some, "tcp:16000"));
	CU_ASSERT(!conf_token_may_claim(&none, "tcp:0") && !conf_token_may_claim(&none, "tcp:5432"));
}

static void test_wildcards(void)
{
	static const char *const cases[][2] = {
		{"shop", "*"}, {"a.preview.example", "*.preview.example"}, {"a.b.preview.example", "*.b.preview.example"},
		{"r-abc", ""}, {"tcp:1", ""}, {"", ""},
	};
	char out[256];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		conf_wildcard_of(cases[i][0], out);
		CU_ASSERT_STRING_EQUAL(out, cases[i][1]);
	}
}

static void test_no_proxy(void)
{
	static const struct {
		const char *list, *host;
		bool named;
	} cases[] = {
		{"*", "t.test", true}, {"", "t.test", false}, {"a.test, t.test", "t.test", true}, {"a.test t.test", "t.test", true},
		{"t.test", "a.t.test", true}, {".t.test", "T.Test", true}, {"*.t.test", "a.t.test", true}, {"t.test", "at.test", false},
		{"a.t.test", "t.test", false}, {"t.test:443", "t.test", true}, {"t.test:80", "t.test", false}, {".", "t.test", false},
		{"10.0.0.0/8", "10.2.3.4", true}, {"10.0.0.0/8", "11.2.3.4", false}, {"10.2.3.4:443", "10.2.3.4", true},
		{"3.4", "10.2.3.4", false}, {"::1", "::1", true}, {"[::1]:443", "::1", true}, {"[::1]:1", "::1", false},
		{"2001:db8::/32", "2001:db8::5", true}, {"[", "::1", false}, {"]", "t.test", false}, {":443", "t.test", false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool named = conf_no_proxy(cases[i].list, cases[i].host, 443);

		if (named != cases[i].named)
			printf("\n%s names %s: %d\n", cases[i].list, cases[i].host, named);
		CU_ASSERT_EQUAL(named, cases[i].named);
	}
}

/* The proxy that such an environment gives, "" = none; or the error's line. */
static void check_environment(const char *line, const char *const variables[][2], const char *wanted)
{
	struct conf_client *c = NULL;
	struct conf_error e;
	const char *got;

	for (size_t i = 0; variables[i][0]; i++)
		setenv(variables[i][0], variables[i][1], 1);
	run_client(line, stdout, &c, &e);
	got = !c ? e.text : c->proxy ? c->proxy : "";
	if (strcmp(got, wanted) != 0)
		printf("\n%s\n  gave:   %s\n  wanted: %s\n", line, got, wanted);
	CU_ASSERT_STRING_EQUAL(got, wanted);
	conf_client_free(&c);
	for (size_t i = 0; variables[i][0]; i++)
		unsetenv(variables[i][0]);
}

#define WITH_TOKEN HTTP " --token-file token"

static void test_proxy_environment(void)
{
	static const char *const https[][2] = {{"HTTPS_PROXY", "http://p.test:8080"}, {"ALL_PROXY", "http://q.test"}, {NULL, NULL}};
	static const char *const all[][2] = {{"all_proxy", "q.test:1"}, {"HTTPS_PROXY", ""}, {NULL, NULL}};
	static const char *const none[][2] = {{"HTTPS_PROXY", "http://p.test"}, {"no_proxy", "x, .test"}, {NULL, NULL}};
	static const char *const socks[][2] = {{"ALL_PROXY", "socks5://u:s3cret@q.test"}, {NULL, NULL}};
	char folder[32];

	enter(folder);
	check_environment(WITH_TOKEN, https, "http://p.test:8080");
	check_environment(WITH_TOKEN, all, "http://q.test:1");
	check_environment(WITH_TOKEN, none, "");
	check_environment(WITH_TOKEN " --proxy none", https, "");
	check_environment(WITH_TOKEN " --proxy http://[::1]:3128", https, "http://[::1]:3128");
	check_environment("adit http 1 --server https://127.0.0.1 --token-file token", https, "");
	check_environment("adit http 1 --server http://localhost --token-file token", https, "");
	check_environment(WITH_TOKEN, socks,
	                  "adit: ALL_PROXY: found a SOCKS proxy, wanted http://[USER:PASSWORD@]HOST[:PORT], or none");
	leave(folder);
}

static void test_proxy_credentials(void)
{
	struct conf_client *c = calloc(1, sizeof(*c));
	struct conf_error e;

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_EQUAL(conf_set_proxy(c, STR("http://user:p%40s/s@p.test:3128"), &e), 0);
	CU_ASSERT_STRING_EQUAL(c->proxy, "http://p.test:3128");
	CU_ASSERT_STRING_EQUAL(c->proxy_host, "p.test");
	CU_ASSERT_EQUAL(c->proxy_port, 3128);
	CU_ASSERT_STRING_EQUAL(c->proxy_credentials, "dXNlcjpwQHMvcw=="); /* user:p@s/s */
	CU_ASSERT_EQUAL(conf_set_proxy(c, STR("http://user@p.test"), &e), 0);
	CU_ASSERT_STRING_EQUAL(c->proxy_credentials, "dXNlcjo="); /* user: */
	CU_ASSERT_EQUAL(conf_set_proxy(c, STR("HTTP://p.test/"), &e), 0); /* RFC 3986 section 3.1 */
	CU_ASSERT_STRING_EQUAL(c->proxy, "http://p.test:80");
	CU_ASSERT_PTR_NULL(c->proxy_credentials);
	conf_client_free(&c);
}

static const struct unit_test tests[] = {
	{"every bad file and command line gets its one line", test_bad},
	{"good files and command lines are taken", test_good},
	{"every key of aditd.yaml arrives, paths from the file's folder, flags first", test_server},
	{"what is not given has the default of the table", test_defaults},
	{"every key of adit.yaml arrives, and flags come before the file", test_client},
	{"all files that an aditd.yaml names are told, with what they are for", test_server_files},
	{"and those of an adit.yaml", test_client_files},
	{"adit start finds the user's own file", test_found_file},
	{"the token comes from the file, else the environment, and is never shown", test_token},
	{"--check-config says that the file is right, in one line", test_check_config},
	{"--new-token prints a new token each time, with its hash", test_new_token},
	{"--help names every flag of the table", test_help},
	{"an answer that cannot be printed is a failure", test_full_disk},
	{"a file of more than 1 MiB is refused", test_big},
	{"a file cut anywhere gives a conf or one line", test_cut},
	{"an origin is taken apart", test_origin},
	{"a path goes to the longest route that holds it", test_routes},
	{"a TCP port is a name that a token's ranges allow", test_port_names},
	{"a name is covered by one wildcard", test_wildcards},
	{"NO_PROXY names hosts and what is below them, addresses, blocks, ports", test_no_proxy},
	{"the environment's proxy is taken when none is given, never for loopback or what NO_PROXY names",
	 test_proxy_environment},
	{"a proxy's password goes into the credentials and nowhere else", test_proxy_credentials},
	{"rules are read alike in both files, and live as long as somebody holds them", test_rules},
	{"allow and deny match addresses however they are written, and an unknown one by neither", test_admit},
	{"trusted proxies match by block, IPv4 also when mapped", test_trust},
	{"a token claims what its patterns say, never r-, and * stays within a label", test_claims},
};

UNIT_MAIN("conf", tests)
