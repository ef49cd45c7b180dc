#include "conf/conf_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

/** A value being set. */
struct value {
	const struct opt *o;
	void *base, *field;   /* the row's struct, and the row's field in it */
	struct str text;
	const char *folder;
	struct conf_error *e;
};

int conf_replace(char **to, struct str s, struct conf_error *e)
{
	char *copy = str_dup(s);

	if (!copy)
		return conf_nomem(e);
	free(*to);
	*to = copy;
	return 0;
}

char *conf_path(const char *folder, struct str path)
{
	size_t n = strlen(folder);
	char *out;

	if (!n || (path.n && path.p[0] == '/'))
		return str_dup(path);
	out = malloc(n + path.n + 2);
	if (!out)
		return NULL;
	memcpy(out, folder, n);
	if (folder[n - 1] != '/')
		out[n++] = '/';
	memcpy(out + n, path.p, path.n);
	out[n + path.n] = '\0';
	return out;
}

static int wrong(const struct value *v)
{
	char wanted[160];

	conf_wanted(v->o, wanted, sizeof(wanted));
	return conf_found(v->e, v->text, wanted);
}

static int set_path_text(const struct value *v)
{
	char *path = conf_path(v->folder, v->text);

	if (!path)
		return conf_nomem(v->e);
	free(*(char **)v->field);
	*(char **)v->field = path;
	return 0;
}

/* ---- one function a kind, called by conf_set when the text is not empty */

static int set_bool(const struct value *v)
{
	if (!str_eq(v->text, STR("true")) && !str_eq(v->text, STR("false")))
		return wrong(v);
	*(bool *)v->field = v->text.n == 4;
	return 0;
}

static int set_uint(const struct value *v)
{
	uint64_t n;

	if (str_to_u64(v->text, &n) < 0 || n < v->o->type.least || n > v->o->type.most)
		return wrong(v);
	*(unsigned *)v->field = (unsigned)n;
	return 0;
}

static bool cut_end(struct str *s, struct str end)
{
	if (s->n <= end.n || !str_eq((struct str){s->p + s->n - end.n, end.n}, end))
		return false;
	s->n -= end.n;
	return true;
}

/** No tunnel carries more than this in a second or in a body: 1 TiB. */
#define SIZE_MOST (UINT64_C(1) << 40)

/* 4096, 500K, 10M, 2G. */
static int set_size(const struct value *v)
{
	struct str digits = v->text;
	unsigned shift = cut_end(&digits, STR("K")) ? 10
	                 : cut_end(&digits, STR("M")) ? 20
	                 : cut_end(&digits, STR("G")) ? 30 : 0;
	uint64_t n;

	if (str_to_u64(digits, &n) < 0 || n > SIZE_MOST >> shift || n << shift < v->o->type.least)
		return wrong(v);
	*(uint64_t *)v->field = n << shift;
	return 0;
}

/* 500ms, 20s; 0 needs no unit. */
static int set_time(const struct value *v)
{
	struct str digits = v->text;
	uint64_t n, unit = cut_end(&digits, STR("ms")) ? 1 : cut_end(&digits, STR("s")) ? 1000 : 0;

	if (str_to_u64(digits, &n) < 0 || n > v->o->type.most || (!unit && n))
		return wrong(v);
	n *= unit;
	if (n < v->o->type.least || n > v->o->type.most)
		return wrong(v);
	*(unsigned *)v->field = (unsigned)n;
	return 0;
}

static int set_choice(const struct value *v)
{
	struct str rest = str_of(v->o->type.choices), choice;
	unsigned i = 0;

	for (; str_split(&rest, '|', &choice); i++)
		if (str_eq(choice, v->text)) {
			/* the field is one of several enums, all of them unsigned to the compiler */
			memcpy(v->field, &i, sizeof(i));
			return 0;
		}
	return wrong(v);
}

static int set_log_path(const struct value *v)
{
	if (str_eq(v->text, STR("-")))
		return conf_replace(v->field, v->text, v->e);
	return set_path_text(v);
}

/* Why the file cannot be read: an errno; 0 = it can. */
static int unreadable(const char *path)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC), why = 0;
	struct stat st;

	if (fd < 0)
		return errno;
	if (fstat(fd, &st) < 0)
		why = errno;
	else if (S_ISDIR(st.st_mode))
		why = EISDIR;
	close(fd);
	return why;
}

static int set_readable(const struct value *v)
{
	int why;

	if (set_path_text(v) < 0)
		return ADIT_ERR_CONFIG;
	why = unreadable(*(char **)v->field);
	if (why)
		return conf_say(v->e, "found %s (%s), wanted a PEM file that can be read", conf_quote(v->text).text,
		                strerror(why));
	return 0;
}

static void lower(char *z)
{
	for (; *z; z++)
		if (*z >= 'A' && *z <= 'Z')
			*z = (char)(*z + ('a' - 'A'));
}

static int set_lower(const struct value *v, bool (*right)(struct str))
{
	char *z = str_dup(v->text);

	if (!z)
		return conf_nomem(v->e);
	lower(z);
	if (!right(str_of(z))) {
		free(z);
		return wrong(v);
	}
	free(*(char **)v->field);
	*(char **)v->field = z;
	return 0;
}

static int set_domain(const struct value *v)
{
	return set_lower(v, conf_is_domain);
}

static int set_host(const struct value *v)
{
	return set_lower(v, conf_is_host);
}

static int add_name(struct conf_tunnel *t, struct str text, struct conf_error *e)
{
	char **more = realloc(t->names, (t->name_count + 1) * sizeof(*more)), *name = str_dup(text);
	const char *why;

	if (more)
		t->names = more;
	if (!more || !name) {
		free(name);
		return conf_nomem(e);
	}
	lower(name);
	t->names[t->name_count++] = name;
	why = conf_name_wrong(str_of(name), false);
	return why ? conf_found(e, text, why) : 0;
}

/* One, or several with commas between. */
static int set_names(const struct value *v)
{
	struct str rest = v->text, name;
	int r = 0;

	while (!r && str_split(&rest, ',', &name))
		r = add_name(v->base, str_trim(name), v->e);
	return r;
}

static int set_ip(const struct value *v)
{
	struct in6_addr any;
	bool v4;

	return conf_ip(v->text, &any, &v4) ? conf_replace(v->field, v->text, v->e) : wrong(v);
}

/* It is read at once. */
static int set_login_file(const struct value *v)
{
	struct conf_rules *r = v->base;

	if (set_path_text(v) < 0)
		return ADIT_ERR_CONFIG;
	return conf_read_logins(&r->logins, r->login_file, v->e);
}

static int set_route_path(const struct value *v)
{
	return conf_set_route_path(v->field, v->text, v->e);
}

/* "unix:PATH" with the path put below the folder. */
static int unix_below(char **field, struct str path, const char *folder, struct conf_error *e)
{
	char *below = conf_path(folder, path), *whole = NULL;
	size_t n;

	if (!below)
		return conf_nomem(e);
	n = strlen(below);
	whole = malloc(n + 6);
	if (whole) {
		memcpy(whole, "unix:", 5);
		memcpy(whole + 5, below, n + 1);
		free(*field);
		*field = whole;
	}
	free(below);
	return whole ? 0 : conf_nomem(e);
}

static int set_address(const struct value *v)
{
	bool unix_socket = str_starts(v->text, STR("unix:")), loopback;
	int r;

	if (!unix_socket || v->text.n == 5)
		r = conf_replace(v->field, v->text, v->e);
	else
		r = unix_below(v->field, (struct str){v->text.p + 5, v->text.n - 5}, v->folder, v->e);
	if (r < 0)
		return r;
	if (!conf_is_listen_address(str_of(*(char **)v->field), &loopback))
		return wrong(v);
	return v->o->type.kind == KIND_LOOPBACK && !loopback ? wrong(v) : 0;
}

static bool is_visible(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= 0x20 || s.p[i] >= 0x7f)
			return false;
	return true;
}

static int set_label(const struct value *v)
{
	if (v->text.n > 64 || !is_visible(v->text))
		return wrong(v);
	return conf_replace(v->field, v->text, v->e);
}

/* What was found is never shown: it may be the token itself. */
static int set_sha256(const struct value *v)
{
	if (hex_decode(v->text.p, v->text.n, v->field, SHA256_LEN) < 0)
		return conf_say(v->e, "found %zu characters that are no SHA-256, wanted 64 hex digits", v->text.n);
	return 0;
}

static size_t count_of(struct str s, struct str what)
{
	size_t n = 0;

	for (size_t i = 0; i + what.n <= s.n; i++)
		if (memcmp(s.p + i, what.p, what.n) == 0)
			n++;
	return n;
}

static int set_public_url(const struct value *v)
{
	struct str text = v->text;
	struct conf_url url;
	char wanted[160];

	conf_wanted(v->o, wanted, sizeof(wanted));
	if (conf_url_parse(text, wanted, &url, v->e) < 0)
		return ADIT_ERR_CONFIG;
	if (count_of(url.host, STR("NAME")) != 1)
		return wrong(v);
	if (text.p[text.n - 1] == '/')
		text.n--;
	return conf_replace(v->field, text, v->e);
}

static int set_server_url(const struct value *v)
{
	struct conf_client *c = v->base;
	struct conf_url url;
	char wanted[160];

	conf_wanted(v->o, wanted, sizeof(wanted));
	if (conf_url_parse(v->text, wanted, &url, v->e) < 0)
		return ADIT_ERR_CONFIG;
	if (!url.tls && !conf_is_loopback(url.host))
		return conf_found(v->e, v->text, "https:// (http:// is for a server on loopback only)");
	c->server_tls = url.tls;
	c->server_port = url.port;
	if (conf_replace(&c->server_host, url.host, v->e) < 0)
		return ADIT_ERR_CONFIG;
	return conf_replace(&c->server, v->text, v->e);
}

static int set_proxy(const struct value *v)
{
	return conf_set_proxy(v->base, v->text, v->e);
}

static int set_origin(const struct value *v)
{
	struct conf_origin *o = v->field;
	char *path;

	if (conf_set_origin(o, v->text, v->e) < 0)
		return ADIT_ERR_CONFIG;
	if (!o->unix_path)
		return 0;
	path = conf_path(v->folder, str_of(o->unix_path));
	if (!path)
		return conf_nomem(v->e);
	free(o->unix_path);
	o->unix_path = path;
	return 0;
}

static int set_host_header(const struct value *v)
{
	static const char right[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]";

	for (size_t i = 0; i < v->text.n; i++)
		if (!memchr(right, v->text.p[i], sizeof(right) - 1))
			return wrong(v);
	return v->text.n > 255 ? wrong(v) : conf_replace(v->field, v->text, v->e);
}

#define ADDRESS_FORMS "ADDRESS:PORT, [ADDRESS]:PORT, :PORT or unix:PATH"

/* The not-scalar kinds are set by the walk over the file. */
static const struct {
	const char *wanted;
	int (*set)(const struct value *v);
} kinds[] = {
	[KIND_BOOL] = {"true or false", set_bool},
	[KIND_UINT] = {"a whole number", set_uint},
	[KIND_SIZE] = {"a size such as 500K, 10M or 2G", set_size},
	[KIND_TIME] = {"a time such as 500ms or 20s", set_time},
	[KIND_CHOICE] = {"a word", set_choice},
	[KIND_PATH] = {"a path", set_path_text},
	[KIND_LOG_PATH] = {"a path, or \"-\" for standard output", set_log_path},
	[KIND_READABLE] = {"a PEM file that can be read", set_readable},
	[KIND_DOMAIN] = {"a domain such as tunnel.example.com", set_domain},
	[KIND_ADDRESS] = {ADDRESS_FORMS, set_address},
	[KIND_LOOPBACK] = {"a loopback address such as 127.0.0.1:9090, or unix:PATH", set_address},
	[KIND_LABEL] = {"a name of visible ASCII characters (at most 64)", set_label},
	[KIND_SHA256] = {"the token's SHA-256: 64 hex digits", set_sha256},
	[KIND_PUBLIC_URL] = {"a URL such as https://NAME.tunnel.example.com, with NAME once", set_public_url},
	[KIND_SERVER_URL] = {"https://HOST[:PORT]", set_server_url},
	[KIND_HOST] = {"a host name or address", set_host},
	[KIND_NAMES] = {"a name of a-z, 0-9 and \"-\" (at most 63), or a custom domain", set_names},
	[KIND_IP] = {"an address such as 192.0.2.1 or 2001:db8::1", set_ip},
	[KIND_ORIGIN] = {conf_origin_wanted, set_origin},
	[KIND_ROUTE_PATH] = {"a path such as /api", set_route_path},
	[KIND_HOST_HEADER] = {"a Host field such as localhost:3000", set_host_header},
	[KIND_PROXY] = {"http://[USER:PASSWORD@]HOST[:PORT], or none", set_proxy},
	[KIND_LOGIN_FILE] = {"a file with lines of USER:HASH or USER:PASSWORD", set_login_file},
	[KIND_PATTERNS] = {"a list of names", NULL},
	[KIND_PORTS] = {"a list of ports and ranges of ports", NULL},
	[KIND_PROXIES] = {"a list of addresses and blocks", NULL},
	[KIND_CARRIERS] = {"a list of direct, ws-h2, ws-h1 and poll", NULL},
	[KIND_BLOCKS] = {"a list of addresses and blocks", NULL},
	[KIND_LOGINS] = {"a list of USER:HASH", NULL},
	[KIND_FIELD_NAMES] = {"a list of names of fields", NULL},
	[KIND_FIELDS] = {"a mapping of names of fields to their values", NULL},
	[KIND_LIST] = {"a list", NULL},
	[KIND_MAP] = {"a mapping", NULL},
	[KIND_PART] = {"a mapping with set, remove or both", NULL},
	[KIND_WITH] = {"", NULL},
};

static void choice_wanted(const char *choices, char *out, size_t size)
{
	struct str rest = str_of(choices), choice;
	size_t n = 0;

	while (str_split(&rest, '|', &choice) && n < size)
		n += (size_t)snprintf(out + n, size - n, "%s%.*s", !n ? "" : rest.p ? ", " : " or ", STR_ARG(choice));
}

static const char *entries_of(enum opt_section items)
{
	switch (items) {
	case SECTION_LISTEN:
		return "listeners";
	case SECTION_CERTIFICATE:
		return "certificates with their keys";
	case SECTION_TOKEN:
		return "tokens";
	case SECTION_ROUTE:
		return "routes, each a path and an origin";
	default:
		return "tunnels";
	}
}

void conf_wanted(const struct opt *o, char *out, size_t size)
{
	const struct opt_type *t = &o->type;

	if (t->kind == KIND_CHOICE)
		choice_wanted(t->choices, out, size);
	else if (t->kind == KIND_UINT)
		snprintf(out, size, "a whole number from %u to %u", t->least, t->most);
	else if (t->kind == KIND_TIME)
		snprintf(out, size, "a time such as 500ms or 2s, at most %us", t->most / 1000);
	else if (t->kind == KIND_SIZE)
		snprintf(out, size, "a size such as 500K, 10M or 2G, from %u to 1024G", t->least);
	else if (t->kind == KIND_LIST)
		snprintf(out, size, "a list of %s", entries_of(t->items));
	else if (t->kind == KIND_MAP)
		snprintf(out, size, "a mapping with certificate and key");
	else
		snprintf(out, size, "%s", kinds[t->kind].wanted);
}

int conf_missing(const struct opt *o, const char *found, struct conf_error *e)
{
	char wanted[160];

	conf_wanted(o, wanted, sizeof(wanted));
	return conf_say(e, "found %s, wanted %s", found, wanted);
}

int conf_set(const struct opt *o, void *base, struct str text, const char *folder, struct conf_error *e)
{
	struct value v = {o, base, (char *)base + o->offset, text, folder, e};

	if (!text.n)
		return conf_missing(o, "an empty value", e);
	return kinds[o->type.kind].set(&v);
}

int conf_defaults(enum opt_section section, void *base, struct conf_error *e)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &conf_options[i];

		if (o->section != section || !*o->fallback || conf_option_required(o))
			continue;
		if (conf_set(o, base, str_of(o->fallback), "", e) < 0)
			return ADIT_ERR_CONFIG;
	}
	return 0;
}
