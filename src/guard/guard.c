#include "guard/guard_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config.h"

struct guard {
	enum guard_role role;
	struct landlock landlock;
	const char *no_files, *no_calls; /* why they are not limited; NULL = they are */
	bool sandbox;                    /* it was wanted */
	char user[64];
};

struct guard *guard_new(enum guard_role role, bool sandbox)
{
	struct guard *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->role = role;
	g->sandbox = sandbox;
	g->landlock.fd = -1;
#ifdef INSTRUMENTED
	g->no_files = g->no_calls = "off: built with sanitizers or for coverage, which need more";
#else
	g->no_files = g->no_calls = sandbox ? NULL : "off: as configured";
#endif
	if (!g->no_files)
		g->no_files = landlock_open(&g->landlock, role);
	return g;
}

void guard_allow(struct guard *g, const char *path, enum guard_use use)
{
	if (path && !g->no_files)
		landlock_allow(&g->landlock, path, use);
}

int guard_enter(struct guard *g, const struct guard_user *user, struct guard_error *e)
{
	int err = privileges_drop(user, e);

	if (!err && !g->no_files)
		g->no_files = landlock_enter(&g->landlock);
	if (user)
		snprintf(g->user, sizeof(g->user), "%s", user->name);
	else
		snprintf(g->user, sizeof(g->user), geteuid() ? "uid %u" : "root", (unsigned)geteuid());
	return err;
}

void guard_seal(struct guard *g, struct log *log)
{
	char files[48], calls[48];
	unsigned count = 0;

	if (!g->no_calls)
		g->no_calls = calls_limit(g->role, &count);
	snprintf(files, sizeof(files), "on: Landlock ABI %d", g->landlock.abi);
	snprintf(calls, sizeof(calls), "on: seccomp, %u allowed", count);
	log_event(log, g->sandbox && (g->no_files || g->no_calls) ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "sandbox",
	          KV_Z("user", g->user), KV_Z("capabilities", "none"), KV_Z("files", g->no_files ? g->no_files : files),
	          KV_Z("calls", g->no_calls ? g->no_calls : calls));
}

void guard_free(struct guard **gp)
{
	struct guard *g = *gp;

	if (!g)
		return;
	*gp = NULL;
	landlock_close(&g->landlock);
	free(g);
}
