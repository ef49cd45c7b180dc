#include "origin/tunnels.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "http/forward.h"
#include "rules/rules.h"

/* An origin that requests may go to: a tunnel's own, or that of one of its routes. */
struct place {
	const struct conf_route *route;
	struct origin *origin;
	char text[CONF_ORIGIN_TEXT_MAX]; /* for error pages */
};

/* A name under which something is published. */
struct entry {
	char *name; /* NULL: not yet */
	const struct conf_tunnel *tunnel;
};

struct tunnels {
	const struct conf_client *conf;
	struct place *places; /* as they stand in the conf: a tunnel's routes, then its own */
	size_t place_count;
	struct rules **rules; /* the tunnels', NULL where there are none */
	struct entry entries[CONF_NAMES_MAX];
	size_t entry_count;
};

const struct conf_tunnel *tunnels_wanted(const struct conf_client *c, size_t i, const char **name,
                                         char port[CONF_PORT_NAME_MAX])
{
	for (size_t at = 0; at < c->tunnel_count; at++) {
		const struct conf_tunnel *t = &c->tunnels[at];

		if (i < t->name_count) {
			*name = t->names[i];
			return t;
		}
		if (!t->name_count && i == 0) {
			*port = '\0';
			if (t->own.origin.protocol == CONF_TCP)
				conf_port_name(t->remote_port, port);
			*name = port;
			return t;
		}
		i -= t->name_count ? t->name_count : 1;
	}
	return NULL;
}

/* ---- life */

static bool has_tls(const struct conf_route *r)
{
	return r->origin.protocol == CONF_HTTPS || r->origin.protocol == CONF_H2;
}

static struct tls_context *tls_of(const struct conf_route *r, struct tls_error *e)
{
	return r->origin_insecure ? tls_context_unverified(e) : tls_context_client(r->origin_ca, NULL, NULL, e);
}

static bool add_place(struct tunnels *t, const struct conf_tunnel *w, const struct conf_route *r, struct loop *l,
                      const struct tunnels_options *with, struct tls_error *e)
{
	static const enum origin_protocol protocols[] = {
		[CONF_HTTP] = ORIGIN_H1, [CONF_HTTPS] = ORIGIN_H1, [CONF_H2C] = ORIGIN_H2, [CONF_H2] = ORIGIN_H2,
		[CONF_TCP] = ORIGIN_TCP,
	};
	struct origin_options o = {
		.protocol = protocols[r->origin.protocol], .host = r->origin.host, .port = r->origin.port,
		.unix_path = r->origin.unix_path, .tls_name = r->origin_server_name, .resolver = with->resolver,
		.budget = with->budget, .send_proxy = w->send_proxy,
	};
	struct place *p = &t->places[t->place_count];

	if (has_tls(r) && !(o.tls = tls_of(r, e)))
		return false;
	tls_context_keylog(o.tls, with->keylog);
	p->route = r;
	conf_origin_text(&r->origin, p->text);
	p->origin = origin_new(l, &o);
	tls_context_free(&o.tls);
	if (p->origin)
		t->place_count++;
	return p->origin != NULL;
}

static bool add_places(struct tunnels *t, struct loop *l, const struct tunnels_options *with, struct tls_error *e)
{
	size_t n = 0;
	bool ok = true;

	for (size_t i = 0; i < t->conf->tunnel_count; i++)
		n += t->conf->tunnels[i].route_count + 1;
	t->places = calloc(n, sizeof(*t->places));
	for (size_t i = 0; t->places && ok && i < t->conf->tunnel_count; i++) {
		const struct conf_tunnel *w = &t->conf->tunnels[i];

		for (size_t r = 0; ok && r < w->route_count; r++)
			ok = add_place(t, w, &w->routes[r], l, with, e);
		ok = ok && add_place(t, w, &w->own, l, with, e);
	}
	return t->places && ok;
}

static bool add_rules(struct tunnels *t, struct loop *l, const struct tunnels_options *with)
{
	const struct conf_client *c = t->conf;
	bool ok;

	t->rules = calloc(c->tunnel_count + 1, sizeof(struct rules *)); /* none at all for the doctor */
	ok = t->rules != NULL;
	for (size_t i = 0; ok && i < c->tunnel_count; i++)
		if (c->tunnels[i].rules)
			ok = (t->rules[i] = rules_new(l, c->tunnels[i].rules, with->guesses, NULL)) != NULL;
	return ok;
}

struct tunnels *tunnels_new(struct loop *l, const struct tunnels_options *o, const struct conf_client *c,
                            struct tls_error *e)
{
	struct tunnels *t = calloc(1, sizeof(*t));
	char port[CONF_PORT_NAME_MAX];
	const char *name;

	snprintf(e->text, sizeof(e->text), "out of memory");
	if (!t)
		return NULL;
	t->conf = c;
	if (!add_rules(t, l, o) || !add_places(t, l, o, e))
		tunnels_free(&t);
	while (t && t->entry_count < CONF_NAMES_MAX &&
	       (t->entries[t->entry_count].tunnel = tunnels_wanted(c, t->entry_count, &name, port)))
		t->entry_count++;
	return t;
}

void tunnels_free(struct tunnels **tp)
{
	struct tunnels *t = *tp;

	if (!t)
		return;
	*tp = NULL;
	for (size_t i = 0; i < t->place_count; i++)
		origin_free(&t->places[i].origin);
	for (size_t i = 0; t->rules && i < t->conf->tunnel_count; i++)
		rules_unref(&t->rules[i]);
	for (size_t i = 0; i < t->entry_count; i++)
		free(t->entries[i].name);
	free(t->rules);
	free(t->places);
	free(t);
}

int tunnels_publish(struct tunnels *t, size_t i, const char *name)
{
	char *copy = str_dup(str_of(name));

	if (!copy)
		return ADIT_ERR_NOMEM;
	free(t->entries[i].name);
	t->entries[i].name = copy;
	return 0;
}

/* ---- requests */

static const struct entry *find_exactly(const struct tunnels *t, struct str name)
{
	for (size_t i = 0; i < t->entry_count; i++)
		if (t->entries[i].name && str_eq(str_of(t->entries[i].name), name))
			return &t->entries[i];
	return NULL;
}

static const struct entry *find_entry(const struct tunnels *t, struct str name)
{
	const struct entry *e = find_exactly(t, name);
	char z[256], wildcard[256];

	if (e || name.n >= sizeof(z))
		return e;
	snprintf(z, sizeof(z), "%.*s", STR_ARG(name));
	conf_wildcard_of(z, wildcard);
	return find_exactly(t, str_of(wildcard));
}

static struct place *place_of(const struct tunnels *t, const struct conf_route *r)
{
	size_t i = 0;

	while (t->places[i].route != r)
		i++;
	return &t->places[i];
}

/* Bytes go to an origin of bytes, messages to one that speaks HTTP. */
static bool fits(const struct conf_route *r, const struct head *h)
{
	bool bytes = str_eq(head_get(h, HEAD_METHOD), STR("CONNECT")) && !head_get(h, HEAD_PROTOCOL).n;

	return bytes == (r->origin.protocol == CONF_TCP);
}

/* Its own fields are not the origin's. One that passes bytes gets no fields, and reads who visits itself. */
static int prepare(const struct conf_route *r, struct head *h)
{
	fields_remove(&h->fields, STR(FORWARD_TUNNEL));
	if (r->origin.protocol != CONF_TCP)
		fields_remove(&h->fields, STR(FORWARD_VISITOR));
	return r->host_header ? head_set(h, HEAD_AUTHORITY, str_of(r->host_header)) : 0;
}

/* As the far end told who visits. */
static int judge(struct rules *rules, const struct head *h, unsigned *wait_s)
{
	return rules ? rules_judge(rules, h, forward_told(h), wait_s) : 0;
}

struct half *tunnels_route(struct tunnels *t, struct head *h, struct tunnels_way *way, int *err)
{
	const struct entry *e = find_entry(t, fields_get(&h->fields, STR(FORWARD_TUNNEL)));
	const struct conf_route *r = e ? conf_tunnel_route(e->tunnel, head_get(h, HEAD_PATH)) : NULL;
	struct rules *rules = e ? t->rules[e->tunnel - t->conf->tunnels] : NULL;
	struct pass *between = NULL;
	struct place *p;

	if (!r || !fits(r, h)) {
		*err = ADIT_ERR_NO_NAME;
		return NULL;
	}
	p = place_of(t, r);
	way->name = e->name;
	*err = judge(rules, h, &way->wait_s);
	if (*err)
		return NULL;
	way->origin = p->text;
	*err = prepare(r, h);
	if (!*err && rules)
		*err = rules_apply(rules, h, &between);
	return *err ? NULL : pass_to(between, origin_half(p->origin, err));
}
