/* The proxy on the way to the server: how it is written, and when the environment's is used. */
#include "conf/conf_int.h"

#include <stdlib.h>

#include "base/err.h"

/** User name and password together. */
#define CREDENTIALS_MAX 512

static const char proxy_wanted[] = "http://[USER:PASSWORD@]HOST[:PORT], or none";

/* ---- taking it apart */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3986 section 2.1. Returns how many bytes, 0 for a bad one. */
static size_t percent_decode(struct str s, char out[CREDENTIALS_MAX])
{
	size_t n = 0;

	if (s.n > CREDENTIALS_MAX)
		return 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] != '%') {
			out[n++] = s.p[i];
			continue;
		}
		if (i + 2 >= s.n || hex_digit(s.p[i + 1]) < 0 || hex_digit(s.p[i + 2]) < 0)
			return 0;
		out[n++] = (char)(hex_digit(s.p[i + 1]) << 4 | hex_digit(s.p[i + 2]));
		i += 2;
	}
	return n;
}

static void drop_credentials(struct conf_client *c)
{
	if (c->proxy_credentials)
		secret_wipe(c->proxy_credentials, strlen(c->proxy_credentials));
	free(c->proxy_credentials);
	c->proxy_credentials = NULL;
}

/* RFC 7617: base64 of USER:PASSWORD, which in a URL may be percent-encoded; the colon also stands behind a user name
 * without password. */
static int set_credentials(struct conf_client *c, struct str user, struct conf_error *e)
{
	char plain[CREDENTIALS_MAX + 1];
	size_t n = percent_decode(user, plain), size;

	if (n && !memchr(user.p, ':', user.n))
		plain[n++] = ':';
	size = 4 * ((n + 2) / 3) + 1;
	if (!n)
		return conf_say(e, "found a user name or password that is too long or wrongly encoded, wanted %s", proxy_wanted);
	c->proxy_credentials = malloc(size);
	if (c->proxy_credentials)
		base64_encode((const uint8_t *)plain, n, c->proxy_credentials);
	secret_wipe(plain, sizeof(plain));
	return c->proxy_credentials ? 0 : conf_nomem(e);
}

/* "http://" and what stands behind the user name: from here on there is no secret in it. */
static int set_place(struct conf_client *c, struct str rest, struct conf_error *e)
{
	char text[300], shown[300];
	struct conf_url url;
	bool v6;

	if (rest.n > sizeof(text) - sizeof("http://"))
		return conf_say(e, "found %zu characters, wanted %s", rest.n, proxy_wanted);
	snprintf(text, sizeof(text), "http://%.*s", STR_ARG(rest));
	if (conf_url_parse(str_of(text), proxy_wanted, &url, e) < 0)
		return ADIT_ERR_CONFIG;
	v6 = memchr(url.host.p, ':', url.host.n) != NULL;
	snprintf(shown, sizeof(shown), "http://%s%.*s%s:%u", v6 ? "[" : "", STR_ARG(url.host), v6 ? "]" : "", url.port);
	c->proxy_port = url.port;
	if (conf_replace(&c->proxy_host, url.host, e) < 0)
		return ADIT_ERR_CONFIG;
	return conf_replace(&c->proxy, str_of(shown), e);
}

int conf_set_proxy(struct conf_client *c, struct str text, struct conf_error *e)
{
	struct str rest = text, user = {NULL, 0};

	drop_credentials(c);
	if (str_eq(text, STR("none")))
		return conf_replace(&c->proxy, text, e);
	if (text.n < 7 || !str_eq_nocase((struct str){text.p, 7}, STR("http://")))
		return conf_say(e, "found %s, wanted %s",
		                str_starts(text, STR("https://"))  ? "an https proxy"
		                : str_starts(text, STR("socks"))   ? "a SOCKS proxy"
		                                                   : "no http:// at its beginning", proxy_wanted);
	rest.p += 7;
	rest.n -= 7;
	/* the last one: a password may hold others, and none of it may end up in the host, which is shown */
	for (size_t i = rest.n; i > 0 && !user.p; i--)
		if (rest.p[i - 1] == '@') {
			user = (struct str){rest.p, i - 1};
			rest = (struct str){rest.p + i, rest.n - i};
		}
	if (user.p && set_credentials(c, user, e) < 0)
		return ADIT_ERR_CONFIG;
	return set_place(c, rest, e);
}

/* ---- NO_PROXY */

/* Is it the host, or below it? A leading dot or "*." changes nothing. */
static bool below(struct str host, struct str suffix)
{
	if (str_starts(suffix, STR("*.")))
		suffix = (struct str){suffix.p + 2, suffix.n - 2};
	else if (suffix.n && suffix.p[0] == '.')
		suffix = (struct str){suffix.p + 1, suffix.n - 1};
	if (!suffix.n || host.n < suffix.n)
		return false;
	if (!str_eq_nocase((struct str){host.p + host.n - suffix.n, suffix.n}, suffix))
		return false;
	return host.n == suffix.n || host.p[host.n - suffix.n - 1] == '.';
}

/* Takes ":PORT" and the brackets of an IPv6 address off; false: it is for another port. */
static bool strip_port(struct str *entry, uint16_t port)
{
	struct str s = *entry;
	const char *end = s.p + s.n, *colon = memchr(s.p, ':', s.n);
	const char *bracket = s.p[0] == '[' ? memchr(s.p, ']', s.n) : NULL;
	uint64_t number;

	if (bracket) {
		*entry = (struct str){s.p + 1, (size_t)(bracket - s.p) - 1};
		colon = bracket + 1 < end && bracket[1] == ':' ? bracket + 1 : NULL;
	} else if (colon && memchr(colon + 1, ':', (size_t)(end - colon) - 1)) {
		return true; /* an address without brackets */
	} else if (colon) {
		entry->n = (size_t)(colon - s.p);
	}
	return !colon || (str_to_u64((struct str){colon + 1, (size_t)(end - colon) - 1}, &number) == 0 && number == port);
}

static bool names(struct str entry, struct str host, uint16_t port)
{
	struct conf_cidr block;
	struct in6_addr a;
	bool v4;

	if (str_eq(entry, STR("*")))
		return true;
	if (!strip_port(&entry, port))
		return false;
	if (conf_ip(host, &a, &v4))
		return conf_block(entry, &block) && conf_in_block(&block, &a);
	return below(host, entry);
}

bool conf_no_proxy(const char *list, const char *host, uint16_t port)
{
	struct str all = str_of(list), part, entry;

	while (str_split(&all, ',', &part))
		while (str_split(&part, ' ', &entry)) {
			entry = str_trim(entry);
			if (entry.n && names(entry, str_of(host), port))
				return true;
		}
	return false;
}

/* ---- the environment */

static const char *environment(const char *upper, const char *lower)
{
	const char *v = getenv(upper);

	if (!v || !*v)
		v = getenv(lower);
	return v && *v ? v : NULL;
}

/* Many leave the scheme out, and curl takes that. */
static int take_environment(const struct conf_args *a, const char *name, const char *v, struct conf_client *c,
                            struct conf_error *e)
{
	struct conf_error why;
	char *text = NULL;
	int r;

	if (!strstr(v, "://")) {
		text = malloc(strlen(v) + sizeof("http://"));
		if (!text)
			return conf_nomem(e);
		memcpy(text, "http://", 7);
		memcpy(text + 7, v, strlen(v) + 1);
	}
	r = conf_set_proxy(c, str_of(text ? text : v), &why);
	if (text)
		secret_wipe(text, strlen(text));
	free(text);
	return r < 0 ? conf_say(e, "%s: %s: %s", a->program, name, why.text) : 0;
}

int conf_find_proxy(const struct conf_args *a, const struct conf_source *s, struct conf_client *c, struct conf_error *e)
{
	const char *https = environment("HTTPS_PROXY", "https_proxy"), *any = environment("ALL_PROXY", "all_proxy");
	const char *except = environment("NO_PROXY", "no_proxy");

	if (c->proxy && strcmp(c->proxy, "none") == 0) {
		free(c->proxy);
		c->proxy = NULL;
		return 0;
	}
	if (c->proxy && !c->server_tls) {
		conf_say(e, "found a proxy for a server of http://, wanted one of https://: a proxy must not read the token");
		return conf_blame(a, s, conf_option(SECTION_CLIENT, STR("proxy")), e);
	}
	/* a server on this machine is none that a proxy could reach */
	if (c->proxy || !c->server_tls || conf_is_loopback(str_of(c->server_host)) || (!https && !any))
		return 0;
	if (except && conf_no_proxy(except, c->server_host, c->server_port))
		return 0;
	return take_environment(a, https ? "HTTPS_PROXY" : "ALL_PROXY", https ? https : any, c, e);
}
