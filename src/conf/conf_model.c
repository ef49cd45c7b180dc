#include "conf/conf_int.h"

#include <stdlib.h>

#include "base/err.h"

#define STRUCT_SERVER struct conf_server
#define STRUCT_LISTEN struct conf_listen
#define STRUCT_TLS struct conf_listen
#define STRUCT_CERTIFICATE struct conf_certificate
#define STRUCT_TOKEN struct conf_token
#define STRUCT_SERVER_CALL struct conf_call
#define STRUCT_CLIENT struct conf_client
#define STRUCT_TUNNEL struct conf_tunnel
#define STRUCT_ROUTE struct conf_route
#define STRUCT_CLIENT_CALL struct conf_call
#define STRUCT_RULES struct conf_rules
#define STRUCT_EDITS struct conf_edits

#define OF(k) {.kind = KIND_##k}
#define UINT(a, b) {.kind = KIND_UINT, .least = (a), .most = (b)}
#define SIZE(a) {.kind = KIND_SIZE, .least = (a)}
#define TIME(a, b) {.kind = KIND_TIME, .least = (a), .most = (b)}
#define CHOICE(words) {.kind = KIND_CHOICE, .choices = (words)}
#define LIST(s) {.kind = KIND_LIST, .items = SECTION_##s}
#define MAP(s) {.kind = KIND_MAP, .items = SECTION_##s}
#define PART(s) {.kind = KIND_PART, .items = SECTION_##s}
#define WITH(s) {.kind = KIND_WITH, .items = SECTION_##s}

const struct opt conf_options[OPT_COUNT] = {
#define X(sect, k, f, arg, typ, field, deflt, text)                                                \
	{.section = SECTION_##sect, .key = (k), .flag = (f), .argument = (arg), .type = typ,       \
	 .offset = offsetof(STRUCT_##sect, field), .fallback = (deflt), .help = (text)},
#include "conf/opts.def"
#undef X
};

/* The row by which the section takes in the keys of `with`. */
static const struct opt *row_with(enum opt_section section, enum opt_section with)
{
	for (size_t i = 0; i < OPT_COUNT; i++)
		if (conf_options[i].section == section && conf_options[i].type.kind == KIND_WITH &&
		    conf_options[i].type.items == with)
			return &conf_options[i];
	return NULL;
}

bool conf_belongs(const struct opt *o, enum opt_section section)
{
	return o->section == section || row_with(section, o->section);
}

void *conf_base(const struct opt *o, enum opt_section section, void *base)
{
	const struct opt *with = o->section == section ? NULL : row_with(section, o->section);
	struct conf_rules **rules;

	if (!with)
		return base;
	rules = (void *)((char *)base + with->offset);
	if (!*rules)
		*rules = conf_rules_new();
	return *rules;
}

const struct opt *conf_option(enum opt_section section, struct str key)
{
	for (size_t i = 0; i < OPT_COUNT; i++)
		if (key.n && str_eq(str_of(conf_options[i].key), key) && conf_belongs(&conf_options[i], section))
			return &conf_options[i];
	return NULL;
}

bool conf_option_required(const struct opt *o)
{
	return o->fallback[0] == '!';
}

bool conf_section_of_server(enum opt_section section)
{
	return section <= SECTION_SERVER_CALL;
}

const struct opt *conf_option_flag(bool server, struct str flag)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &conf_options[i];

		if (conf_section_of_server(o->section) == server && flag.n && str_eq(str_of(o->flag), flag))
			return o;
	}
	return NULL;
}

void *conf_grow(void **items, size_t *count, size_t size)
{
	char *more = realloc(*items, (*count + 1) * size);

	if (!more)
		return NULL;
	*items = more;
	memset(more + *count * size, 0, size);
	return more + (*count)++ * size;
}

void *conf_add_item(enum opt_section items, void *base)
{
	struct conf_server *server = base;
	struct conf_client *client = base;
	struct conf_tunnel *tunnel = base;
	void *list, *item;

	switch (items) {
	case SECTION_LISTEN:
		list = server->listen;
		item = conf_grow(&list, &server->listen_count, sizeof(*server->listen));
		server->listen = list;
		return item;
	case SECTION_TOKEN:
		list = server->tokens;
		item = conf_grow(&list, &server->token_count, sizeof(*server->tokens));
		server->tokens = list;
		return item;
	case SECTION_CERTIFICATE:
		list = server->certificates;
		item = conf_grow(&list, &server->certificate_count, sizeof(*server->certificates));
		server->certificates = list;
		return item;
	case SECTION_ROUTE:
		list = tunnel->routes;
		item = conf_grow(&list, &tunnel->route_count, sizeof(*tunnel->routes));
		tunnel->routes = list;
		return item;
	case SECTION_TUNNEL:
		list = client->tunnels;
		item = conf_grow(&list, &client->tunnel_count, sizeof(*client->tunnels));
		client->tunnels = list;
		return item;
	case SECTION_SERVER:
	case SECTION_TLS:
	case SECTION_SERVER_CALL:
	case SECTION_CLIENT:
	case SECTION_CLIENT_CALL:
	case SECTION_RULES:
	case SECTION_EDITS:
		break;
	}
	return NULL;
}

int conf_add_pattern(struct conf_token *t, struct str text, struct conf_error *e)
{
	char **more = realloc(t->names, (t->name_count + 1) * sizeof(*more));
	const char *why;
	char *name;

	if (!more)
		return conf_nomem(e);
	t->names = more;
	name = str_dup(text);
	if (!name)
		return conf_nomem(e);
	for (char *c = name; *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c + ('a' - 'A'));
	more[t->name_count++] = name;
	why = conf_name_wrong(str_of(name), true);
	return why ? conf_found(e, text, why) : 0;
}

int conf_add_carrier(struct conf_client *c, struct str text, struct conf_error *e)
{
	static const char *const words[] = {
		[CONF_CARRIER_DIRECT] = "direct", [CONF_CARRIER_WS_H2] = "ws-h2", [CONF_CARRIER_WS_H1] = "ws-h1",
		[CONF_CARRIER_POLL] = "poll",
	};

	for (unsigned i = CONF_CARRIER_DIRECT; i <= CONF_CARRIER_POLL; i++)
		if (str_eq(text, str_of(words[i]))) {
			c->carriers |= 1u << i;
			return 0;
		}
	return conf_found(e, text, "direct, ws-h2, ws-h1 or poll");
}

/* Label by label: `*` does not reach over a dot, so "*" gives no right to anybody's custom domain. */
static bool matches(struct str pattern, struct str name)
{
	struct str want, label;
	bool more_want, more_label;

	for (;;) {
		more_want = str_split(&pattern, '.', &want);
		more_label = str_split(&name, '.', &label);
		if (!more_want || !more_label)
			return more_want == more_label;
		if (!str_glob(want, label))
			return false;
	}
}

bool conf_token_may_claim(const struct conf_token *t, const char *name)
{
	uint16_t port;

	if (conf_port_of_name(name, &port))
		return conf_token_may_listen(t, port);
	if (conf_name_wrong(str_of(name), false))
		return false;
	for (size_t i = 0; i < t->name_count; i++)
		if (matches(str_of(t->names[i]), str_of(name)))
			return true;
	return false;
}

static void free_token(struct conf_token *t)
{
	for (size_t i = 0; i < t->name_count; i++)
		free(t->names[i]);
	free(t->names);
	free(t->ports);
	free(t->name);
	conf_rules_unref(&t->rules);
	secret_wipe(t->sha256, sizeof(t->sha256));
}

void conf_server_free(struct conf_server **c)
{
	struct conf_server *s = *c;

	if (!s)
		return;
	for (size_t i = 0; i < s->listen_count; i++) {
		free(s->listen[i].address);
		free(s->listen[i].certificate);
		free(s->listen[i].key);
	}
	for (size_t i = 0; i < s->token_count; i++)
		free_token(&s->tokens[i]);
	for (size_t i = 0; i < s->certificate_count; i++) {
		free(s->certificates[i].certificate);
		free(s->certificates[i].key);
	}
	free(s->listen);
	free(s->certificates);
	free(s->tokens);
	free(s->tcp_address);
	free(s->trusted_proxies);
	free(s->domain);
	free(s->user.name);
	free(s->user.group);
	free(s->user.groups);
	free(s->admin);
	free(s->public_url);
	free(s->access_log);
	free(s->trace);
	free(s->dev_dir);
	free(s->dev_address);
	free(s->file);
	free(s);
	*c = NULL;
}

static void free_route(struct conf_route *r)
{
	free(r->path);
	free(r->origin.text);
	free(r->origin.host);
	free(r->origin.unix_path);
	free(r->host_header);
	free(r->origin_ca);
	free(r->origin_server_name);
}

static void free_tunnel(struct conf_tunnel *t)
{
	for (size_t i = 0; i < t->name_count; i++)
		free(t->names[i]);
	for (size_t i = 0; i < t->route_count; i++)
		free_route(&t->routes[i]);
	free(t->names);
	free(t->routes);
	conf_rules_unref(&t->rules);
	free_route(&t->own);
}

void conf_client_free(struct conf_client **c)
{
	struct conf_client *s = *c;

	if (!s)
		return;
	for (size_t i = 0; i < s->tunnel_count; i++)
		free_tunnel(&s->tunnels[i]);
	free(s->tunnels);
	if (s->token)
		secret_wipe(s->token, strlen(s->token));
	free(s->token);
	free(s->server);
	free(s->server_host);
	free(s->server_name);
	free(s->ca);
	free(s->client_certificate);
	free(s->client_key);
	free(s->token_file);
	free(s->proxy);
	free(s->proxy_host);
	if (s->proxy_credentials)
		secret_wipe(s->proxy_credentials, strlen(s->proxy_credentials));
	free(s->proxy_credentials);
	free(s->trace);
	free(s->state_dir);
	free(s->file);
	free(s);
	*c = NULL;
}
