/* What must fit together in adit's tunnels: names, ports, routes, origins. */
#include "conf/conf_int.h"

#include <stdlib.h>

#include "base/err.h"

/** One tunnel that is looked at. */
struct check {
	const struct conf_args *a;
	const struct conf_source *s; /* NULL: it came from the command line */
	const struct conf_client *c;
	size_t tunnel;
	struct conf_error *e;
};

/* `route` < 0: of the tunnel itself. */
static int blame(const struct check *k, int route, const char *key)
{
	const struct opt *o = conf_option(SECTION_TUNNEL, str_of(key));
	char path[64];

	if (route >= 0)
		snprintf(path, sizeof(path), "tunnels[%zu].routes[%d].%s", k->tunnel, route, key);
	else
		snprintf(path, sizeof(path), "tunnels[%zu].%s", k->tunnel, key);
	return k->s ? conf_source_blame(k->s, path, k->e) : conf_blame_flag(k->e, k->a->program, o->flag);
}

static const char *same_name(const struct conf_tunnel *a, const struct conf_tunnel *b)
{
	for (size_t i = 0; i < a->name_count; i++)
		for (size_t j = 0; j < (a == b ? i : b->name_count); j++)
			if (strcmp(a->names[i], b->names[j]) == 0)
				return a->names[i];
	return NULL;
}

static int check_names(const struct check *k, size_t *count)
{
	const struct conf_tunnel *t = &k->c->tunnels[k->tunnel];

	*count += t->name_count ? t->name_count : 1;
	if (*count > CONF_NAMES_MAX) {
		conf_say(k->e, "found more than %d names in all, wanted another adit for some of them", CONF_NAMES_MAX);
		return blame(k, -1, "name");
	}
	for (size_t j = 0; j <= k->tunnel; j++) {
		const struct conf_tunnel *other = &k->c->tunnels[j];
		const char *name = same_name(t, other);

		if (name) {
			conf_same(k->e, name, "tunnels", j, "name");
			return blame(k, -1, "name");
		}
		if (j < k->tunnel && t->remote_port && t->remote_port == other->remote_port) {
			conf_say(k->e, "found %u, the same as tunnels[%zu], wanted another port", t->remote_port, j);
			return blame(k, -1, "remote_port");
		}
	}
	return 0;
}

/* What a tunnel has that only one of the other kind can have; NULL = nothing. */
static const char *misplaced(const struct conf_tunnel *t, bool tcp)
{
	const struct conf_rules *r = t->rules;

	if (tcp && r && r->logins.count)
		return r->login_file ? "basic_auth_file" : "basic_auth";
	if (tcp && r && (r->max_body || r->request.given || r->response.given))
		return r->max_body ? "max_body" : r->request.given ? "request_headers" : "response_headers";
	if (tcp)
		return t->name_count ? "name" : t->route_count ? "routes" : t->own.host_header ? "host_header" : NULL;
	return t->remote_port ? "remote_port" : t->send_proxy ? "send_proxy" : NULL;
}

static bool is_tls(const struct conf_origin *o)
{
	return o->protocol == CONF_HTTPS || o->protocol == CONF_H2;
}

/* The settings of TLS, which only some origins speak. */
static int check_tls(const struct check *k, const struct conf_route *r, int route)
{
	const char *key = r->origin_ca ? "origin_ca" : r->origin_server_name ? "origin_server_name"
	                  : r->origin_insecure ? "origin_insecure" : NULL;

	if (key && !is_tls(&r->origin)) {
		conf_say(k->e, "found for an origin without TLS, wanted https:// or h2://");
		return blame(k, route, key);
	}
	if (!r->origin_insecure)
		return 0;
	if (r->origin_ca || r->origin_server_name)
		conf_say(k->e, "found beside %s, wanted one of them", key);
	else if (!conf_is_loopback(str_of(r->origin.host)))
		conf_say(k->e, "found for an origin that is not on loopback, wanted origin_ca");
	else
		return 0;
	return blame(k, route, "origin_insecure");
}

static int check_routes(const struct check *k)
{
	const struct conf_tunnel *t = &k->c->tunnels[k->tunnel];

	if (t->route_count > CONF_ROUTES_MAX) {
		conf_say(k->e, "found %zu, wanted at most %d", t->route_count, CONF_ROUTES_MAX);
		return blame(k, -1, "routes");
	}
	for (size_t i = 0; i < t->route_count; i++) {
		if (t->routes[i].origin.protocol == CONF_TCP) {
			conf_say(k->e, "found a tcp:// origin, wanted one that speaks HTTP");
			return blame(k, (int)i, "origin");
		}
		if (check_tls(k, &t->routes[i], (int)i) < 0)
			return ADIT_ERR_CONFIG;
		for (size_t j = 0; j < i; j++)
			if (strcmp(t->routes[i].path, t->routes[j].path) == 0) {
				conf_same(k->e, t->routes[i].path, "routes", j, "path");
				return blame(k, (int)i, "path");
			}
	}
	return 0;
}

static int check_tunnel(const struct check *k, size_t *names)
{
	const struct conf_tunnel *t = &k->c->tunnels[k->tunnel];
	bool tcp = t->own.origin.protocol == CONF_TCP;
	const char *key = misplaced(t, tcp);

	if (key) {
		conf_say(k->e, tcp ? "found for a tcp:// origin, wanted one that speaks HTTP"
		                   : "found for an origin that speaks HTTP, wanted tcp://");
		return blame(k, -1, key);
	}
	if (t->rules && conf_check_rules(t->rules, &key, k->e) < 0)
		return blame(k, -1, key);
	if (check_names(k, names) < 0 || check_routes(k) < 0)
		return ADIT_ERR_CONFIG;
	return check_tls(k, &t->own, -1);
}

static int by_length(const void *a, const void *b)
{
	size_t n = strlen(((const struct conf_route *)a)->path), m = strlen(((const struct conf_route *)b)->path);

	return n < m ? 1 : n > m ? -1 : 0;
}

int conf_check_tunnels(const struct conf_args *a, const struct conf_source *s, struct conf_client *c,
                       struct conf_error *e)
{
	struct check k = {a, s, c, 0, e};
	size_t names = 0;

	for (; k.tunnel < c->tunnel_count; k.tunnel++)
		if (check_tunnel(&k, &names) < 0)
			return ADIT_ERR_CONFIG;
	for (size_t i = 0; i < c->tunnel_count; i++)
		if (c->tunnels[i].route_count)
			qsort(c->tunnels[i].routes, c->tunnels[i].route_count, sizeof(*c->tunnels[i].routes), by_length);
	return 0;
}
