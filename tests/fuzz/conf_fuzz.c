/* The configuration files of both programs, and their command lines.
 * What is taken is consistent, what is refused gets one printable line.
 * Input: choices (bit 0: adit, else aditd; bit 1: a command line, its words parted by newlines, and behind an empty
 * one the file; else the file alone; bit 2: the environment's proxy and a list of whom it is not for, a line each,
 * and the file behind them), then the text.
 */
#include "fuzz.h"

#include "base/err.h"
#include "conf/conf_int.h"
#include "fuzz_file.h"

#define WORDS 12
#define WORD_MAX 300

struct words {
	char text[WORDS][WORD_MAX];
	char *argv[WORDS + 1];
	int argc;
};

static void add_word(struct words *w, const char *p, size_t n)
{
	if (w->argc == WORDS)
		return;
	snprintf(w->text[w->argc], WORD_MAX, "%.*s", (int)(n < WORD_MAX ? n : WORD_MAX - 1), p);
	w->argv[w->argc] = w->text[w->argc];
	w->argc++;
}

/* Takes words off the input up to an empty one. */
static void take_words(struct words *w, struct fuzz_in *in)
{
	while (in->n) {
		const uint8_t *lf = memchr(in->p, '\n', in->n);
		struct fuzz_in word = fuzz_part(in, lf ? (size_t)(lf - in->p) : in->n);

		(void)fuzz_byte(in);
		if (!word.n)
			return;
		add_word(w, (const char *)word.p, word.n);
	}
}

static void check_error(const struct conf_error *e)
{
	size_t n = strnlen(e->text, sizeof(e->text));

	REQUIRE(n > 0 && n < sizeof(e->text));
	for (size_t i = 0; i < n; i++)
		REQUIRE((unsigned char)e->text[i] >= ' ' && e->text[i] != 0x7f);
}

static void check_origin(const struct conf_origin *o)
{
	char text[CONF_ORIGIN_TEXT_MAX];

	REQUIRE(o->text && (o->unix_path || (o->host && o->port)));
	conf_origin_text(o, text);
	REQUIRE(memchr(text, '\0', sizeof(text)) != NULL);
}

static void check_tunnel(const struct conf_tunnel *t)
{
	REQUIRE(t->name_count <= CONF_NAMES_MAX && t->route_count <= CONF_ROUTES_MAX);
	check_origin(&t->own.origin);
	for (size_t i = 0; i < t->route_count; i++) {
		REQUIRE(t->routes[i].path && t->routes[i].path[0] == '/');
		check_origin(&t->routes[i].origin);
		REQUIRE(conf_tunnel_route(t, str_of(t->routes[i].path))->path != NULL);
	}
	REQUIRE(conf_tunnel_route(t, STR("/")) != NULL);
}

static void check_client(struct conf_client *c)
{
	REQUIRE(c->trace_count > 0 || (c->server && c->server_host && c->server_port && c->server_name));
	REQUIRE(c->tunnel_count <= CONF_NAMES_MAX);
	for (size_t i = 0; i < c->tunnel_count; i++)
		check_tunnel(&c->tunnels[i]);
}

static void check_server(struct conf_server *c)
{
	static const char *const names[] = {"shop", "www.example.com", "r-0123456789abc", "*", "*.a.b", "tcp:80", ""};
	static const char *const peers[] = {"127.0.0.1", "::1", "unix", "not an address"};

	REQUIRE(c->dev || (c->domain && c->listen_count && c->token_count));
	for (size_t t = 0; t < c->token_count; t++)
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			REQUIRE(!conf_token_may_claim(&c->tokens[t], names[i]) || strncmp(names[i], "r-", 2) != 0);
	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++)
		(void)conf_trusts(c, peers[i]);
	REQUIRE(!conf_trusts(c, "not an address"));
}

/* --help and --new-token print; nobody reads it. */
static void call(bool client, struct words *w, FILE *to)
{
	struct conf_server *s = NULL;
	struct conf_client *c = NULL;
	struct conf_error e = {""};
	enum conf_action action;

	if (client)
		action = conf_client_call(to, w->argc, w->argv, &c, &e);
	else
		action = conf_server_call(to, w->argc, w->argv, &s, &e);
	REQUIRE((action == CONF_RUN) == (s || c));
	if (action == CONF_FAILED)
		check_error(&e);
	if (s)
		check_server(s);
	if (c)
		check_client(c);
	conf_server_free(&s);
	conf_client_free(&c);
}

/* What configurations name. */
static void put_files(void)
{
	static const char *const names[] = {"cert.pem", "key.pem", "token"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		fuzz_file(names[i], (struct fuzz_in){(const uint8_t *)"text\n", 5});
}

/* The rest of a line as a variable of the environment. */
static void take_variable(const char *name, struct fuzz_in *in)
{
	const uint8_t *lf = in->n ? memchr(in->p, '\n', in->n) : NULL;
	struct fuzz_in line = fuzz_part(in, lf ? (size_t)(lf - in->p) : in->n);
	int n = (int)(line.n < 999 ? line.n : 999);
	char value[1000];

	(void)fuzz_byte(in);
	snprintf(value, sizeof(value), "%.*s", n, (const char *)line.p);
	setenv(name, value, 1);
	if (strcmp(name, "NO_PROXY") == 0)
		REQUIRE(conf_no_proxy(value, "a.example", 443) || strcmp(value, "*") != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct fuzz_in in = {data, n};
	struct words w = {.argc = 0};
	uint8_t choices = fuzz_byte(&in);
	bool client = choices & 1;
	FILE *to = fopen("/dev/null", "we");

	REQUIRE(to != NULL);
	if (fuzz_folder_enter())
		put_files();
	/* what a user's own would bring along */
	setenv("HOME", "/nowhere", 1);
	setenv("ADIT_TOKEN", "token", 1);
	unsetenv("HTTPS_PROXY");
	unsetenv("NO_PROXY");
	if (choices & 4) {
		take_variable("HTTPS_PROXY", &in);
		take_variable("NO_PROXY", &in);
	}
	add_word(&w, client ? "adit" : "aditd", 5);
	if (choices & 2) {
		take_words(&w, &in);
	} else {
		if (client)
			add_word(&w, "start", 5);
		add_word(&w, "-c", 2);
		add_word(&w, client ? "adit.yaml" : "aditd.yaml", 10);
	}
	w.argv[w.argc] = NULL;
	fuzz_file(client ? "adit.yaml" : "aditd.yaml", in);
	call(client, &w, to);
	fclose(to);
	return 0;
}
