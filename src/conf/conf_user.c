#include "conf/conf_int.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"

/** The kernel's own bound (NGROUPS_MAX). */
#define GROUPS_MAX 65536

/* The user's own and those that it is a member of. */
static int find_groups(struct conf_user *u, struct conf_error *e)
{
	int count = 0;

	getgrouplist(u->name, u->gid, NULL, &count); /* fails, and says how many */
	u->groups = count > 0 && count <= GROUPS_MAX ? calloc((size_t)count, sizeof(*u->groups)) : NULL;
	if (!u->groups || getgrouplist(u->name, u->gid, u->groups, &count) < 0)
		return conf_nomem(e);
	u->group_count = (size_t)count;
	return 0;
}

static int find_group(struct conf_user *u, const struct conf_source *s, struct conf_error *e)
{
	const struct group *g = getgrnam(u->group);

	if (!g) {
		conf_found(e, str_of(u->group), "a group of this system");
		return conf_source_blame(s, "group", e);
	}
	u->gid = g->gr_gid;
	u->groups = calloc(1, sizeof(*u->groups));
	if (!u->groups)
		return conf_nomem(e);
	u->groups[0] = u->gid;
	u->group_count = 1;
	return 0;
}

int conf_find_user(struct conf_user *u, const struct conf_source *s, bool runs, struct conf_error *e)
{
	const struct passwd *p;

	if (!u->name && !u->group)
		return 0;
	if (!u->name) {
		conf_say(e, "found without user, wanted both");
		return conf_source_blame(s, "group", e);
	}
	p = getpwnam(u->name);
	if (!p) {
		conf_found(e, str_of(u->name), "a user of this system");
		return conf_source_blame(s, "user", e);
	}
	u->uid = p->pw_uid;
	u->gid = p->pw_gid;
	if (runs && geteuid() != 0 && geteuid() != u->uid) {
		conf_found(e, str_of(u->name), "root to start it, who alone can become another user");
		return conf_source_blame(s, "user", e);
	}
	return u->group ? find_group(u, s, e) : find_groups(u, e);
}
