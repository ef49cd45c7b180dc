#include "guard/guard_int.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "config.h"

#include "base/err.h"

static int fail(struct guard_error *e, const char *what, const char *whom)
{
	snprintf(e->text, sizeof(e->text), "%s%.64s: %s", what, whom, strerror(errno));
	return ADIT_ERR_SYS;
}

/* Real, effective and saved ids are the user's, and none of the ways back works. */
static bool is_final(const struct guard_user *u)
{
	uid_t r, e, s;
	gid_t rg, eg, sg;

	if (getresuid(&r, &e, &s) < 0 || getresgid(&rg, &eg, &sg) < 0)
		return false;
	if (r != u->uid || e != u->uid || s != u->uid || rg != u->gid || eg != u->gid || sg != u->gid)
		return false;
	return u->uid == 0 || (setuid(0) < 0 && seteuid(0) < 0 && setresuid(0, 0, 0) < 0);
}

static int become(const struct guard_user *u, struct guard_error *e)
{
	if (geteuid() == u->uid && geteuid() != 0)
		return 0; /* it was started as that user, with the groups that it was given then */
	if (setgroups(u->group_count, u->groups) < 0 || setresgid(u->gid, u->gid, u->gid) < 0 ||
	    setresuid(u->uid, u->uid, u->uid) < 0)
		return fail(e, "cannot become the user ", u->name);
	errno = EPERM;
	return is_final(u) ? 0 : fail(e, "could become root again after becoming ", u->name);
}

/* What executing a file could give at most. Root may; for others there is no way to get any. */
static void drop_bounding_set(void)
{
	for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
}

/* 1 or 0, -1 when that cannot be found out. */
static int has_capabilities(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct now[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &h, now) < 0)
		return -1;
	for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		if (now[i].effective || now[i].permitted || now[i].inheritable)
			return 1;
	return 0;
}

/* Those that remain: root's, and what systemd's AmbientCapabilities gives. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct h = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
	int kept = has_capabilities();

	if (kept > 0) { /* the call itself may be forbidden to a service that never had any */
		prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
		if (syscall(SYS_capset, &h, none) < 0)
			return -1;
		kept = has_capabilities();
		errno = EPERM;
	}
	return kept ? -1 : 0;
}

int privileges_drop(const struct guard_user *user, struct guard_error *e)
{
	const struct rlimit none = {0, 0};

	drop_bounding_set();
	if (user && become(user, e) < 0)
		return ADIT_ERR_SYS;
	if (drop_capabilities() < 0)
		return fail(e, "cannot give up capabilities", "");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return fail(e, "cannot set no_new_privs", "");
	setrlimit(RLIMIT_CORE, &none); /* the lesser part: who is not dumpable dumps none */
#ifndef INSTRUMENTED /* the leak checker looks at the process from a process of its own */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return fail(e, "cannot turn core dumps off", "");
#endif
	return 0;
}
