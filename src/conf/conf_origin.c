/* Where a tunnel's requests go: origins as text, routes by path, names of TCP ports. */
#include "conf/conf_int.h"

#include <stdlib.h>

#include "base/err.h"

/** The port of a scheme whose origin names none; 0 = it must. */
static const struct {
	const char *scheme;
	uint16_t port;
} protocols[] = {
	[CONF_HTTP] = {"http", 80}, [CONF_HTTPS] = {"https", 443}, [CONF_H2C] = {"h2c", 80}, [CONF_H2] = {"h2", 443},
	[CONF_TCP] = {"tcp", 0},
};
#define PROTOCOLS (sizeof(protocols) / sizeof(protocols[0]))

const char conf_origin_wanted[] =
	"PORT, HOST:PORT, unix:PATH or SCHEME://HOST[:PORT] (SCHEME: http, https, h2c, h2 or tcp)";

static int set_host(struct conf_origin *o, struct str host, uint16_t port, struct conf_error *e)
{
	free(o->unix_path);
	o->unix_path = NULL;
	o->port = port;
	return conf_replace(&o->host, host, e);
}

static int set_unix(struct conf_origin *o, struct str path, struct str whole, struct conf_error *e)
{
	if (!path.n || path.n > CONF_UNIX_PATH_MAX)
		return conf_found(e, whole, "unix:PATH, the path at most 107 bytes");
	free(o->host);
	o->host = NULL;
	o->port = 0;
	return conf_replace(&o->unix_path, path, e);
}

/* Cuts "SCHEME://" off; what has none is HTTP on a host that names its port. False: a scheme that is not ours. */
static bool cut_scheme(struct str *s, enum conf_protocol *protocol, bool *url)
{
	*protocol = CONF_HTTP;
	*url = false;
	for (size_t i = 0; i + 2 < s->n; i++)
		*url = *url || memcmp(s->p + i, "://", 3) == 0;
	for (size_t i = 0; *url && i < PROTOCOLS; i++) {
		size_t n = strlen(protocols[i].scheme);

		if (s->n < n + 3 || memcmp(s->p, protocols[i].scheme, n) != 0 || memcmp(s->p + n, "://", 3) != 0)
			continue;
		*s = (struct str){s->p + n + 3, s->n - n - 3};
		*protocol = (enum conf_protocol)i;
		return true;
	}
	return !*url;
}

static int set_place(struct conf_origin *o, struct str place, bool url, struct str whole, struct conf_error *e)
{
	uint16_t number = url ? protocols[o->protocol].port : 0;
	struct str host, port, path;

	if (conf_is_unix(place, &path) && o->protocol != CONF_HTTPS && o->protocol != CONF_H2)
		return set_unix(o, path, whole, e);
	if ((!url || o->protocol == CONF_TCP) && conf_port(place, 1, &number))
		return set_host(o, STR("127.0.0.1"), number, e);
	if (url && place.n && place.p[place.n - 1] == '/')
		place.n--;
	for (size_t i = 0; url && i < place.n; i++)
		if (strchr("/?#", place.p[i]))
			return conf_say(e, "found a path or query in %s, wanted %s", conf_quote(whole).text, conf_origin_wanted);
	if (!conf_split_port(place, &host, &port) || !conf_is_host(host) ||
	    (port.p ? !conf_port(port, 1, &number) : !number))
		return conf_found(e, whole, conf_origin_wanted);
	return set_host(o, host, number, e);
}

int conf_set_origin(struct conf_origin *o, struct str text, struct conf_error *e)
{
	struct str rest = text;
	bool url;

	if (conf_replace(&o->text, text, e) < 0)
		return ADIT_ERR_CONFIG;
	/* before any quoting: what stands before the @ may be a password */
	if (!conf_is_unix(text, &rest) && memchr(text.p, '@', text.n))
		return conf_say(e, "found a user name or password, wanted %s", conf_origin_wanted);
	rest = text;
	if (!cut_scheme(&rest, &o->protocol, &url))
		return conf_found(e, text, conf_origin_wanted);
	return set_place(o, rest, url, text, e);
}

void conf_origin_text(const struct conf_origin *o, char out[CONF_ORIGIN_TEXT_MAX])
{
	const char *scheme = protocols[o->protocol].scheme;

	if (o->unix_path && o->protocol == CONF_HTTP)
		snprintf(out, CONF_ORIGIN_TEXT_MAX, "unix:%s", o->unix_path);
	else if (o->unix_path)
		snprintf(out, CONF_ORIGIN_TEXT_MAX, "%s://unix:%s", scheme, o->unix_path);
	else
		snprintf(out, CONF_ORIGIN_TEXT_MAX, strchr(o->host, ':') ? "%s://[%s]:%u" : "%s://%s:%u", scheme, o->host,
		         (unsigned)o->port);
}

/* ---- routes */

int conf_set_route_path(char **field, struct str text, struct conf_error *e)
{
	static const char wanted[] = "a path such as /api: visible ASCII characters, beginning with /, without ? and #";

	if (text.p[0] != '/' || text.n < 2)
		return conf_found(e, text, wanted);
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] <= ' ' || text.p[i] >= 0x7f || strchr("?#", text.p[i]))
			return conf_found(e, text, wanted);
	if (text.p[text.n - 1] == '/') /* "/api/" is "/api": itself, and what is below it */
		text.n--;
	return conf_replace(field, text, e);
}

const struct conf_route *conf_tunnel_route(const struct conf_tunnel *t, struct str path)
{
	for (size_t i = 0; i < t->route_count; i++) {
		struct str prefix = str_of(t->routes[i].path);

		if (str_starts(path, prefix) && (path.n == prefix.n || strchr("/?", path.p[prefix.n])))
			return &t->routes[i];
	}
	return &t->own;
}

/* ---- names */

#define PORT_NAME "tcp:"

void conf_wildcard_of(const char *name, char out[256])
{
	const char *dot = strchr(name, '.');
	struct str s = str_of(name);

	if (!s.n || s.n > 253 || str_starts(s, STR("r-")) || strchr(name, ':'))
		*out = '\0';
	else
		snprintf(out, 256, "*%s", dot ? dot : "");
}

void conf_port_name(unsigned port, char out[CONF_PORT_NAME_MAX])
{
	snprintf(out, CONF_PORT_NAME_MAX, PORT_NAME "%u", port & UINT16_MAX);
}

/* Each port has one name: no leading zeros. */
bool conf_port_of_name(const char *name, uint16_t *port)
{
	struct str s = str_of(name);
	char again[CONF_PORT_NAME_MAX];

	if (!str_starts(s, STR(PORT_NAME)) || !conf_port(str_of(name + strlen(PORT_NAME)), 0, port))
		return false;
	conf_port_name(*port, again);
	return str_eq(s, str_of(again));
}

int conf_add_ports(struct conf_token *t, struct str text, struct conf_error *e)
{
	static const char wanted[] = "a port or a range such as 15000-15999";
	struct str rest = text, first = text;
	struct conf_ports p, *more;

	str_split(&rest, '-', &first);
	if (!conf_port(first, 1, &p.first) || (rest.p && (!conf_port(rest, 1, &p.last) || p.last < p.first)))
		return conf_found(e, text, wanted);
	if (!rest.p)
		p.last = p.first;
	more = realloc(t->ports, (t->port_count + 1) * sizeof(*more));
	if (!more)
		return conf_nomem(e);
	t->ports = more;
	more[t->port_count++] = p;
	return 0;
}

bool conf_token_may_listen(const struct conf_token *t, uint16_t port)
{
	if (!port) /* any of them */
		return t->port_count > 0;
	for (size_t i = 0; i < t->port_count; i++)
		if (port >= t->ports[i].first && port <= t->ports[i].last)
			return true;
	return false;
}
