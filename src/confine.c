#include "confine.h"

#include <stdio.h>

#include "io/tls.h"

static void allow_file(void *arg, const char *path, enum conf_file use)
{
	static const enum guard_use uses[] = {
		[CONF_FILE_READ] = GUARD_READ, [CONF_FILE_LOG] = GUARD_LOG, [CONF_FILE_SOCKET] = GUARD_SOCKET,
		[CONF_FILE_FOLDER] = GUARD_FOLDER,
	};

	guard_allow(arg, path, uses[use]);
}

static void allow_read(void *arg, const char *path)
{
	guard_allow(arg, path, GUARD_READ);
}

/* What names are resolved by and the system's CAs, with the places that links there lead to. They are replaced by
 * renaming while adit runs, so their folders are allowed. */
static void allow_system(struct guard *g)
{
	static const char *const places[] = {
		"/etc", "/etc/resolv.conf", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
		"/var/lib/ca-certificates",
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		guard_allow(g, places[i], GUARD_READ);
	tls_system_trust(allow_read, g);
}

static struct guard *enter(struct guard *g, const struct guard_user *user, struct guard_error *e)
{
	if (!g)
		snprintf(e->text, sizeof(e->text), "out of memory");
	else if (guard_enter(g, user, e) < 0)
		guard_free(&g);
	return g;
}

struct guard *confine_server(const struct conf_server *c, struct guard_error *e)
{
	const struct conf_user *u = &c->user;
	const struct guard_user user = {u->name, u->uid, u->gid, u->groups, u->group_count};
	struct guard *g = guard_new(GUARD_SERVER, c->sandbox == CONF_SANDBOX_ON);

	if (g)
		conf_server_files(c, allow_file, g);
	return enter(g, u->name ? &user : NULL, e);
}

struct guard *confine_client(const struct conf_client *c, struct guard_error *e)
{
	struct guard *g = guard_new(GUARD_CLIENT, c->sandbox == CONF_SANDBOX_ON);

	if (g) {
		conf_client_files(c, allow_file, g);
		allow_system(g);
	}
	return enter(g, NULL, e);
}
