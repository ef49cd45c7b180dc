#include "conf/conf_int.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/err.h"

/** What the checks of a file share. */
struct check {
	const struct conf_server *c;
	const struct conf_source *source;
	struct conf_error *e;
};

static int blame(const struct check *k, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The path's text comes from a format: "tokens[3].name". */
static int blame(const struct check *k, const char *format, ...)
{
	char path[64];
	va_list args;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	return conf_source_blame(k->source, path, k->e);
}

static bool any_port(const char *address)
{
	size_t n = strlen(address);

	return n >= 2 && strcmp(address + n - 2, ":0") == 0;
}

static int check_listeners(const struct check *k)
{
	for (size_t i = 0; i < k->c->listen_count; i++)
		for (size_t j = 0; j < i; j++) {
			const char *address = k->c->listen[i].address;

			if (strcmp(address, k->c->listen[j].address) != 0 || any_port(address))
				continue;
			conf_same(k->e, address, "listen", j, "address");
			return blame(k, "listen[%zu].address", i);
		}
	return 0;
}

static int check_twins(const struct check *k, size_t i, size_t j)
{
	const struct conf_token *a = &k->c->tokens[i], *b = &k->c->tokens[j];

	if (strcmp(a->name, b->name) == 0) {
		conf_same(k->e, a->name, "tokens", j, "name");
		return blame(k, "tokens[%zu].name", i);
	}
	if (memcmp(a->sha256, b->sha256, SHA256_LEN) == 0) {
		conf_say(k->e, "found the hash of tokens[%zu], wanted a token of its own", j);
		return blame(k, "tokens[%zu].sha256", i);
	}
	return 0;
}

/* "shop.tunnel.test" as a custom domain would be the name "shop" of somebody else by another spelling. */
static bool is_below(struct str name, struct str domain)
{
	struct str end = {name.p + name.n - domain.n, domain.n};

	if (name.n < domain.n || !str_eq(end, domain))
		return false;
	return name.n == domain.n || end.p[-1] == '.';
}

static int check_patterns(const struct check *k, size_t i)
{
	const struct conf_token *t = &k->c->tokens[i];

	for (size_t n = 0; n < t->name_count; n++) {
		if (!is_below(str_of(t->names[n]), str_of(k->c->domain)))
			continue;
		conf_say(k->e, "found %s, wanted a bare name, or a custom domain outside of %s",
		         conf_quote(str_of(t->names[n])).text, k->c->domain);
		return blame(k, "tokens[%zu].names[%zu]", i, n);
	}
	return 0;
}

/* adit believes what the server says of who visits. */
static int check_edits(const struct check *k, size_t i, const struct conf_fields *f, const char *what)
{
	for (size_t n = 0; n < f->count; n++) {
		struct str name = str_of(f->at[n].name);

		if (!str_starts(name, STR("x-forwarded-")) && !str_eq(name, STR("forwarded")))
			continue;
		conf_found(k->e, name, "no field that says who visits: those are made here");
		return blame(k, "tokens[%zu].request_headers.%s", i, what);
	}
	return 0;
}

static int check_rules(const struct check *k, size_t i)
{
	const struct conf_token *t = &k->c->tokens[i];
	const struct conf_rules *r = t->rules;
	const char *key;

	if (!r)
		return 0;
	if (conf_check_rules(r, &key, k->e) < 0)
		return blame(k, "tokens[%zu].%s", i, key);
	if (r->logins.count && t->port_count) {
		conf_say(k->e, "found beside basic_auth, wanted one of them: a TCP port cannot ask for a password");
		return blame(k, "tokens[%zu].ports", i);
	}
	if (check_edits(k, i, &r->request.set, "set") < 0)
		return ADIT_ERR_CONFIG;
	return check_edits(k, i, &r->request.remove, "remove");
}

static int check_certificates(const struct check *k)
{
	if (k->c->certificate_count <= CONF_CERTIFICATES_MAX)
		return 0;
	conf_say(k->e, "found %zu, wanted at most %d", k->c->certificate_count, CONF_CERTIFICATES_MAX);
	return blame(k, "certificates");
}

static int check_tokens(const struct check *k)
{
	for (size_t i = 0; i < k->c->token_count; i++) {
		if (check_patterns(k, i) < 0 || check_rules(k, i) < 0)
			return ADIT_ERR_CONFIG;
		for (size_t j = 0; j < i; j++)
			if (check_twins(k, i, j) < 0)
				return ADIT_ERR_CONFIG;
	}
	return 0;
}

static int from_file(const struct conf_args *a, struct conf_server *c, struct conf_error *e)
{
	struct conf_source *source;
	struct check k = {c, NULL, e};
	int r;

	if (!a->call.file) {
		conf_say(e, "found nothing, wanted -c FILE (or --dev, to try things out)");
		return conf_blame_flag(e, a->program, "c");
	}
	c->file = str_dup(str_of(a->call.file));
	if (!c->file)
		return conf_nomem(e);
	r = conf_source_open(&source, a->program, a->call.file, e);
	if (r < 0)
		return r;
	k.source = source;
	r = conf_source_walk(source, SECTION_SERVER, c, e);
	if (!r)
		r = conf_args_required(a, source, SECTION_SERVER, c, e);
	if (!r)
		r = check_listeners(&k);
	if (!r)
		r = check_certificates(&k);
	if (!r)
		r = check_tokens(&k);
	if (!r && !a->again)
		r = conf_find_user(&c->user, source, !a->call.check_config, e);
	conf_source_close(&source);
	return r;
}

static bool given(const struct conf_args *a, const char *flag)
{
	return a->given[conf_option_flag(true, str_of(flag)) - conf_options] != NULL;
}

static int check_flags(const struct conf_args *a, struct conf_error *e)
{
	static const char *const only_dev[] = {"dev-dir", "dev-listen"};

	if (given(a, "dev") && a->call.file) {
		conf_say(e, "found together with -c, wanted one of them");
		return conf_blame_flag(e, a->program, "dev");
	}
	if (given(a, "dev") && given(a, "take-over")) {
		conf_say(e, "found together with --dev, wanted -c FILE");
		return conf_blame_flag(e, a->program, "take-over");
	}
	if (given(a, "dev") && a->call.check_config) {
		conf_say(e, "found together with --dev, wanted -c FILE");
		return conf_blame_flag(e, a->program, "check-config");
	}
	for (size_t i = 0; i < sizeof(only_dev) / sizeof(only_dev[0]); i++)
		if (given(a, only_dev[i]) && !given(a, "dev")) {
			conf_say(e, "found without --dev, wanted both");
			return conf_blame_flag(e, a->program, only_dev[i]);
		}
	return 0;
}

/* The sockets are passed from process to process, over a unix socket. */
static int check_take_over(const struct conf_args *a, const struct conf_server *c, struct conf_error *e)
{
	if (!given(a, "take-over") || (c->admin && str_starts(str_of(c->admin), STR("unix:"))))
		return 0;
	conf_say(e, "found %s, wanted admin: unix:PATH in the file, where the aditd that runs listens",
	         c->admin ? c->admin : "no admin listener");
	return conf_blame_flag(e, a->program, "take-over");
}

static int for_dev(struct conf_server *c, struct conf_error *e)
{
	c->dev = true;
	if (conf_replace(&c->domain, STR("adit.localhost"), e) < 0)
		return ADIT_ERR_CONFIG;
	if (conf_replace(&c->tcp_address, STR("127.0.0.1"), e) < 0)
		return ADIT_ERR_CONFIG;
	return c->dev_address ? 0 : conf_replace(&c->dev_address, STR("127.0.0.1:8443"), e);
}

int conf_server_build(const struct conf_args *a, struct conf_server **out, struct conf_error *e)
{
	struct conf_server *c = calloc(1, sizeof(*c));
	bool dev = given(a, "dev");
	int r;

	*out = NULL;
	if (!c)
		return conf_nomem(e);
	r = check_flags(a, e);
	if (!r)
		r = conf_defaults(SECTION_SERVER, c, e);
	if (!r && !dev)
		r = from_file(a, c, e);
	if (!r)
		r = conf_args_apply(a, SECTION_SERVER, c, e);
	if (!r)
		r = check_take_over(a, c, e);
	if (!r && dev)
		r = for_dev(c, e);
	if (r < 0)
		conf_server_free(&c);
	*out = c;
	return r;
}
