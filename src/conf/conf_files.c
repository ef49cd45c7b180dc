#include "conf/conf_int.h"

/** Who is told of files. */
struct told {
	conf_file_fn *fn;
	void *arg;
};

static void tell(const struct told *t, const char *path, enum conf_file use)
{
	if (path)
		t->fn(t->arg, path, use);
}

/* Rows whose kind says what the file is for; the others are told one by one. */
static void tell_row(const struct told *t, const struct opt *o, const void *base)
{
	enum opt_kind kind = o->type.kind;
	bool read = kind == KIND_READABLE || kind == KIND_LOGIN_FILE;
	bool socket = kind == KIND_ADDRESS || kind == KIND_LOOPBACK;
	struct str path;
	const char *text;

	if (!read && !socket && kind != KIND_LOG_PATH)
		return;
	memcpy(&text, (const char *)base + o->offset, sizeof(text));
	if (read)
		tell(t, text, CONF_FILE_READ);
	else if (socket && text && conf_is_unix(str_of(text), &path))
		tell(t, path.p, CONF_FILE_SOCKET); /* it ends where the text does */
	else if (!socket && text && strcmp(text, "-") != 0)
		tell(t, text, CONF_FILE_LOG);
}

/* `base` may be NULL: nothing of that section was said. */
static void tell_section(const struct told *t, enum opt_section section, const void *base)
{
	for (size_t i = 0; base && i < OPT_COUNT; i++)
		if (conf_options[i].section == section)
			tell_row(t, &conf_options[i], base);
}

void conf_server_files(const struct conf_server *c, conf_file_fn *fn, void *arg)
{
	const struct told t = {fn, arg};

	tell(&t, c->file, CONF_FILE_READ);
	tell(&t, c->trace, CONF_FILE_LOG);
	tell_section(&t, SECTION_SERVER, c);
	for (size_t i = 0; i < c->listen_count; i++) {
		tell_section(&t, SECTION_LISTEN, &c->listen[i]);
		tell_section(&t, SECTION_TLS, &c->listen[i]);
	}
	for (size_t i = 0; i < c->token_count; i++)
		tell_section(&t, SECTION_RULES, c->tokens[i].rules);
	for (size_t i = 0; i < c->certificate_count; i++)
		tell_section(&t, SECTION_CERTIFICATE, &c->certificates[i]);
}

void conf_client_files(const struct conf_client *c, conf_file_fn *fn, void *arg)
{
	const struct told t = {fn, arg};

	tell(&t, c->file, CONF_FILE_READ);
	tell(&t, c->token_file, CONF_FILE_READ);
	tell(&t, c->trace, CONF_FILE_LOG);
	tell(&t, c->state_dir, CONF_FILE_FOLDER);
	tell_section(&t, SECTION_CLIENT, c);
	for (size_t i = 0; i < c->tunnel_count; i++) {
		tell_section(&t, SECTION_TUNNEL, &c->tunnels[i]);
		tell_section(&t, SECTION_RULES, c->tunnels[i].rules);
		for (size_t r = 0; r < c->tunnels[i].route_count; r++)
			tell_section(&t, SECTION_ROUTE, &c->tunnels[i].routes[r]);
	}
}
