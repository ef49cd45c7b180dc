#include "conf/conf_int.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/err.h"

/** A token file with its comment lines; tokens of --new-token have 57 characters. */
#define TOKEN_FILE_MAX 8192
#define TOKEN_MAX 1024

static const struct opt *row(const char *key)
{
	return conf_option(SECTION_CLIENT, str_of(key));
}

/* ---- the token */

const char conf_token_ways[] = "--token-file FILE, the file's token_file or the environment's ADIT_TOKEN";

/* Behind the token only comments and empty lines: what --new-token prints is a token file as it is. */
static bool rest_is_comment(struct str rest)
{
	struct str line;

	while (str_split(&rest, '\n', &line)) {
		line = str_trim(line);
		if (line.n && line.p[0] != '#' && !(line.n == 1 && line.p[0] == '\r'))
			return false;
	}
	return true;
}

/* The error says what is wrong with the token but never shows it. */
static int take_token(struct conf_client *c, struct str text, struct conf_error *e)
{
	static const char wanted[] = "a token: one line of visible ASCII characters, no spaces";
	struct str rest = text, token = text;

	str_split(&rest, '\n', &token);
	if (token.n && token.p[token.n - 1] == '\r')
		token.n--;
	if (!token.n)
		return conf_say(e, "found nothing in it, wanted %s", wanted);
	if (token.n > TOKEN_MAX)
		return conf_say(e, "found more than %d characters, wanted %s", TOKEN_MAX, wanted);
	for (size_t i = 0; i < token.n; i++)
		if (token.p[i] <= 0x20 || token.p[i] >= 0x7f)
			return conf_say(e, "found a space or a byte that is no visible ASCII, wanted %s", wanted);
	if (!rest_is_comment(rest))
		return conf_say(e, "found more than one line, wanted %s", wanted);
	return conf_replace(&c->token, token, e);
}

static void warn_of_mode(struct conf_client *c, const char *what, const char *file)
{
	struct stat st;
	struct conf_quoted name;

	if (*c->warning || stat(file, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & (S_IRGRP | S_IROTH)))
		return;
	name = conf_quote(str_of(file));
	snprintf(c->warning, sizeof(c->warning), "%s file %s: mode %04o lets others read it", what, name.text,
	         (unsigned)(st.st_mode & 07777));
}

static void warn_of_passwords(struct conf_client *c)
{
	for (size_t i = 0; i < c->tunnel_count; i++) {
		const struct conf_rules *r = c->tunnels[i].rules;
		bool plain = false;

		for (size_t n = 0; r && n < r->logins.count; n++)
			plain = plain || !r->logins.at[n].hashed;
		if (plain)
			warn_of_mode(c, "password", r->login_file);
	}
}

static int read_token_file(struct conf_client *c, struct conf_error *e)
{
	char *text;
	size_t len;
	int r = conf_slurp(c->token_file, TOKEN_FILE_MAX, &text, &len);

	if (r == ADIT_ERR_NOMEM)
		return conf_nomem(e);
	if (r < 0)
		return conf_say(e, "found %s (%s), wanted a file that holds the token",
		                conf_quote(str_of(c->token_file)).text,
		                r == ADIT_ERR_LIMIT ? "too big" : strerror(errno));
	r = take_token(c, (struct str){text, len}, e);
	secret_wipe(text, len);
	free(text);
	warn_of_mode(c, "token", c->token_file);
	return r;
}

static int find_token(const struct conf_args *a, const struct conf_source *s, struct conf_client *c,
                      struct conf_error *e)
{
	const char *env = getenv("ADIT_TOKEN");
	struct conf_error why;

	if (c->token_file)
		return read_token_file(c, e) < 0 ? conf_blame(a, s, row("token_file"), e) : 0;
	if (!env)
		return conf_say(e, "%s: token: found nothing, wanted %s", a->program, conf_token_ways);
	if (take_token(c, str_of(env), &why) < 0)
		return conf_say(e, "%s: ADIT_TOKEN: %s", a->program, why.text);
	return 0;
}

/* ---- places of the user's own */

/* $VARIABLE/TAIL or ~/FALLBACK/TAIL; NULL: neither is set, or no memory. XDG: relative ones do not count. */
static char *own_place(const char *variable, const char *fallback, const char *tail)
{
	const char *xdg = getenv(variable), *home = getenv("HOME");
	char *below, *out;

	if (xdg && *xdg == '/')
		return conf_path(xdg, str_of(tail));
	if (!home || *home != '/')
		return NULL;
	below = conf_path(home, str_of(fallback));
	if (!below)
		return NULL;
	out = conf_path(below, str_of(tail));
	free(below);
	return out;
}

static bool exists(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0;
}

static int find_file(const struct conf_args *a, char **out, struct conf_error *e)
{
	char *own;

	*out = NULL;
	if (a->call.file || exists("adit.yaml"))
		return conf_replace(out, str_of(a->call.file ? a->call.file : "adit.yaml"), e);
	own = own_place("XDG_CONFIG_HOME", ".config", "adit/adit.yaml");
	if (own && exists(own)) {
		*out = own;
		return 0;
	}
	conf_say(e, "found neither adit.yaml nor %s, wanted a configuration file",
	         own ? own : "~/.config/adit/adit.yaml");
	free(own);
	return conf_blame_flag(e, a->program, "c");
}

/* ---- the whole */

static int take_origin(const struct conf_args *a, struct conf_client *c, struct conf_error *e)
{
	struct conf_tunnel *t = conf_add_item(SECTION_TUNNEL, c);
	bool tcp = strcmp(a->command, "tcp") == 0;
	struct conf_error why;
	char text[CONF_ORIGIN_TEXT_MAX];

	if (!t)
		return conf_nomem(e);
	if (conf_defaults(SECTION_TUNNEL, t, e) < 0)
		return ADIT_ERR_CONFIG;
	if (tcp && strstr(a->origin, "://") && strncmp(a->origin, "tcp://", 6) != 0)
		return conf_say(e, "%s: ORIGIN: found %s, wanted adit http", a->program, conf_quote(str_of(a->origin)).text);
	snprintf(text, sizeof(text), "%s%s", tcp && strncmp(a->origin, "tcp://", 6) != 0 ? "tcp://" : "", a->origin);
	if (conf_set(conf_option(SECTION_TUNNEL, STR("origin")), t, str_of(text), "", &why) < 0)
		return conf_say(e, "%s: ORIGIN: %s", a->program, why.text);
	if (!tcp && t->own.origin.protocol == CONF_TCP)
		return conf_say(e, "%s: ORIGIN: found %s, wanted adit tcp", a->program, conf_quote(str_of(text)).text);
	return conf_args_apply(a, SECTION_TUNNEL, t, e);
}

static int check_carriers(const struct conf_args *a, const struct conf_source *s, const struct conf_client *c,
                          struct conf_error *e)
{
	if (c->carrier == CONF_CARRIER_AUTO || !c->carriers || (c->carriers & (1u << c->carrier)))
		return 0;
	conf_say(e, "found one that is not in carriers, wanted auto or one of them");
	return conf_blame(a, s, row("carrier"), e);
}

static int check_certificate(const struct conf_args *a, const struct conf_source *s, const struct conf_client *c,
                             struct conf_error *e)
{
	if (!c->client_certificate == !c->client_key)
		return 0;
	conf_say(e, "found without %s, wanted both", c->client_key ? "client_certificate" : "client_key");
	return conf_blame(a, s, row(c->client_key ? "client_key" : "client_certificate"), e);
}

static int fill_in(struct conf_client *c, struct conf_error *e)
{
	if (!c->server_name && conf_replace(&c->server_name, str_of(c->server_host), e) < 0)
		return ADIT_ERR_CONFIG;
	warn_of_passwords(c);
	if (!c->state_dir)
		c->state_dir = own_place("XDG_STATE_HOME", ".local/state", "adit");
	return 0;
}

static int settle(const struct conf_args *a, struct conf_source *s, struct conf_client *c, struct conf_error *e)
{
	int r = conf_defaults(SECTION_CLIENT, c, e);

	if (!r && s)
		r = conf_source_walk(s, SECTION_CLIENT, c, e);
	else if (!r && !c->doctor)
		r = take_origin(a, c, e);
	if (!r)
		r = conf_args_apply(a, SECTION_CLIENT, c, e);
	if (!r)
		r = conf_args_required(a, s, SECTION_CLIENT, c, e);
	if (!r)
		r = conf_check_tunnels(a, s, c, e);
	if (!r)
		r = check_carriers(a, s, c, e);
	if (!r)
		r = check_certificate(a, s, c, e);
	if (!r)
		r = conf_find_proxy(a, s, c, e);
	if (!r)
		r = find_token(a, s, c, e);
	return r ? r : fill_in(c, e);
}

int conf_client_build(const struct conf_args *a, struct conf_client **out, struct conf_error *e)
{
	struct conf_client *c = calloc(1, sizeof(*c));
	struct conf_source *s = NULL;
	int r = 0;

	*out = NULL;
	if (!c)
		return conf_nomem(e);
	c->doctor = strcmp(a->command, "doctor") == 0;
	c->json = a->call.json;
	c->idle_seconds = a->call.idle_seconds;
	c->follow = a->call.follow;
	c->trace_count = a->file_count;
	memcpy(c->traces, a->files, sizeof(c->traces));
	if (c->trace_count) {
		*out = c;
		return 0;
	}
	if (strcmp(a->command, "start") == 0 || a->call.file)
		r = find_file(a, &c->file, e);
	if (!r && c->file)
		r = conf_source_open(&s, a->program, c->file, e);
	if (!r)
		r = settle(a, s, c, e);
	conf_source_close(&s);
	if (r < 0)
		conf_client_free(&c);
	*out = c;
	return r;
}
