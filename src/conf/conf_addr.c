#include "conf/conf_int.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/err.h"

static bool is_ldh(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

/* One DNS label in lower case; `also` may stand in it anywhere. */
static bool is_label(struct str s, char also)
{
	if (!s.n || s.n > 63 || s.p[0] == '-' || s.p[s.n - 1] == '-')
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_ldh(s.p[i]) && (!also || s.p[i] != also))
			return false;
	return true;
}

static bool all_digits(struct str s)
{
	uint64_t ignored;

	return str_to_u64(s, &ignored) == 0;
}

/* Labels with dots between; `count` says how many. An address is none: the last label is not a number. */
static bool is_labels(struct str s, char also, size_t *count)
{
	struct str rest = s, label;
	bool number = false;

	*count = 0;
	if (!s.n || s.n > 253)
		return false;
	while (str_split(&rest, '.', &label)) {
		if (!is_label(label, also))
			return false;
		number = all_digits(label);
		++*count;
	}
	return *count == 1 || !number;
}

/* "*", or "*.DOMAIN" with a domain of two labels at least: all that is directly below. */
static bool is_wildcard(struct str name)
{
	struct str below = {name.p + 2, name.n - 2};
	size_t labels;

	if (str_eq(name, STR("*")))
		return true;
	return str_starts(name, STR("*.")) && is_labels(below, '\0', &labels) && labels >= 2;
}

const char *conf_name_wrong(struct str name, bool pattern)
{
	size_t labels;

	if (!is_labels(name, pattern ? '*' : '\0', &labels) && !is_wildcard(name))
		return pattern ? "a name of a-z, 0-9, \"-\" and \"*\" (at most 63), or a custom domain"
		               : "a name of a-z, 0-9 and \"-\" (at most 63), or a custom domain";
	if (str_starts(name, STR("r-")))
		return "a name that does not begin with \"r-\": those are for random names";
	return NULL;
}

bool conf_is_domain(struct str s)
{
	size_t labels;

	return is_labels(s, '\0', &labels) && !all_digits(s);
}

bool conf_ip(struct str s, struct in6_addr *out, bool *v4)
{
	char z[INET6_ADDRSTRLEN];
	struct in_addr a;

	if (!s.n || s.n >= sizeof(z))
		return false;
	memcpy(z, s.p, s.n);
	z[s.n] = '\0';
	if (inet_pton(AF_INET, z, &a) == 1) {
		memset(out, 0, sizeof(*out));
		out->s6_addr[10] = out->s6_addr[11] = 0xff;
		memcpy(out->s6_addr + 12, &a, 4);
		*v4 = true;
		return true;
	}
	*v4 = false;
	return inet_pton(AF_INET6, z, out) == 1;
}

static bool is_loopback_ip(const struct in6_addr *a)
{
	return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
}

bool conf_is_loopback(struct str host)
{
	struct in6_addr a;
	bool v4;

	if (conf_ip(host, &a, &v4))
		return is_loopback_ip(&a);
	return str_eq_nocase(host, STR("localhost"));
}

/* Looser than a domain: hosts of a private network may have "_" and capital letters. */
bool conf_is_host(struct str s)
{
	char low[254];
	struct in6_addr a;
	size_t labels;
	bool v4;

	if (conf_ip(s, &a, &v4))
		return true;
	if (s.n >= sizeof(low))
		return false;
	for (size_t i = 0; i < s.n; i++)
		low[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (char)(s.p[i] | 0x20) : s.p[i];
	return is_labels((struct str){low, s.n}, '_', &labels) && !all_digits(s);
}

bool conf_port(struct str s, unsigned lowest, uint16_t *out)
{
	uint64_t v;

	if (s.n > 5 || str_to_u64(s, &v) < 0 || v < lowest || v > UINT16_MAX)
		return false;
	*out = (uint16_t)v;
	return true;
}

bool conf_split_port(struct str s, struct str *host, struct str *port)
{
	const char *end, *colon;

	*port = (struct str){NULL, 0};
	if (s.n && s.p[0] == '[') {
		struct in6_addr a;
		bool v4;

		end = memchr(s.p, ']', s.n);
		if (!end)
			return false;
		*host = (struct str){s.p + 1, (size_t)(end - s.p) - 1};
		if (!conf_ip(*host, &a, &v4) || v4)
			return false;
		end++;
		if (end == s.p + s.n)
			return true;
		if (*end != ':')
			return false;
		*port = (struct str){end + 1, s.n - (size_t)(end + 1 - s.p)};
		return true;
	}
	colon = s.n ? memchr(s.p, ':', s.n) : NULL;
	*host = (struct str){s.p, colon ? (size_t)(colon - s.p) : s.n};
	if (colon)
		*port = (struct str){colon + 1, s.n - host->n - 1};
	return true;
}

bool conf_is_unix(struct str s, struct str *path)
{
	if (!str_starts(s, STR("unix:")))
		return false;
	*path = (struct str){s.p + 5, s.n - 5};
	return true;
}

bool conf_is_listen_address(struct str s, bool *loopback)
{
	struct str host, port, path;
	struct in6_addr a;
	uint16_t number;
	bool v4;

	*loopback = true;
	if (conf_is_unix(s, &path))
		return path.n > 0 && path.n <= CONF_UNIX_PATH_MAX;
	if (!conf_split_port(s, &host, &port) || !port.p || !conf_port(port, 0, &number))
		return false;
	*loopback = host.n && conf_is_loopback(host);
	return !host.n || conf_ip(host, &a, &v4);
}

int conf_url_parse(struct str text, const char *wanted, struct conf_url *out, struct conf_error *e)
{
	struct str rest = text, port;
	const char *end;

	/* before any quoting: what stands before the @ may be a password */
	if (text.n && memchr(text.p, '@', text.n))
		return conf_say(e, "found a user name or password in the URL, wanted %s", wanted);
	if (!str_starts(text, STR("http://")) && !str_starts(text, STR("https://")))
		return conf_found(e, text, wanted);
	out->tls = text.p[4] == 's';
	rest.p += out->tls ? 8 : 7;
	rest.n -= out->tls ? 8 : 7;
	end = rest.p;
	while (end < rest.p + rest.n && !strchr("/?#", *end))
		end++;
	if (rest.p + rest.n - end > 1 || (end < rest.p + rest.n && *end != '/'))
		return conf_say(e, "found a path or query in %s, wanted %s", conf_quote(text).text, wanted);
	rest.n = (size_t)(end - rest.p);
	out->port = out->tls ? 443 : 80;
	if (!conf_split_port(rest, &out->host, &port) || !conf_is_host(out->host))
		return conf_found(e, text, wanted);
	if (port.p && !conf_port(port, 1, &out->port))
		return conf_found(e, text, wanted);
	return 0;
}

static int add_proxy_block(struct conf_server *c, const struct conf_cidr *block, struct conf_error *e)
{
	struct conf_cidr *more = realloc(c->trusted_proxies, (c->trusted_count + 1) * sizeof(*more));

	if (!more)
		return conf_nomem(e);
	c->trusted_proxies = more;
	more[c->trusted_count++] = *block;
	return 0;
}

bool conf_block(struct str text, struct conf_cidr *out)
{
	struct str rest = text, address = text;
	uint64_t bits;
	bool v4;

	str_split(&rest, '/', &address);
	if (!conf_ip(address, &out->address, &v4))
		return false;
	bits = v4 ? 32 : 128;
	if (rest.p && (str_to_u64(rest, &bits) < 0 || bits > (v4 ? 32 : 128)))
		return false;
	out->bits = (unsigned)bits + (v4 ? 96 : 0);
	return true;
}

int conf_add_proxy(struct conf_server *c, struct str text, struct conf_error *e)
{
	struct conf_cidr block;

	if (str_eq(text, STR("unix"))) {
		c->trust_unix = true;
		return 0;
	}
	if (!conf_block(text, &block))
		return conf_found(e, text, "an address, a block such as 10.0.0.0/8, or unix");
	return add_proxy_block(c, &block, e);
}

bool conf_in_block(const struct conf_cidr *block, const struct in6_addr *a)
{
	unsigned whole = block->bits / 8, rest = block->bits % 8;

	if (memcmp(block->address.s6_addr, a->s6_addr, whole) != 0)
		return false;
	return !rest || ((block->address.s6_addr[whole] ^ a->s6_addr[whole]) >> (8 - rest)) == 0;
}

bool conf_trusts(const struct conf_server *c, const char *address)
{
	struct str s = str_of(address);
	struct in6_addr a;

	if (str_eq(s, STR("unix")))
		return c->trust_unix;
	if (!conf_address(s, &a))
		return false;
	for (size_t i = 0; i < c->trusted_count; i++)
		if (conf_in_block(&c->trusted_proxies[i], &a))
			return true;
	return false;
}
