/* What the kernel may have of Landlock is asked for when it runs; Debian 12's headers know the first two of the ABI's
 * versions only, so what is used of it is spelled out here (include/uapi/linux/landlock.h).
 */
#include "guard/guard_int.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* the same on every architecture */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif
#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1

#define BIT(n) (UINT64_C(1) << (n))
#define FS_WRITE_FILE BIT(1)
#define FS_READ_FILE BIT(2)
#define FS_READ_DIR BIT(3)
#define FS_REMOVE_FILE BIT(5)
#define FS_MAKE_DIR BIT(7)
#define FS_MAKE_REG BIT(8)
#define FS_MAKE_SOCK BIT(9)
#define FS_TRUNCATE BIT(14) /* ABI 3 */
/** Of those only can there be a rule for what is no folder. */
#define FS_OF_FILES (FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE)
/* ABI 4 */
#define NET_BIND_TCP BIT(0)
#define NET_CONNECT_TCP BIT(1)
/* ABI 6: not what is outside of the process */
#define SCOPE_ABSTRACT_UNIX_SOCKET BIT(0)
#define SCOPE_SIGNAL BIT(1)

/** All that is forbidden unless a rule allows it. An older kernel reads less of it. */
struct ruleset {
	uint64_t fs, net, scoped;
};

struct path_rule {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));

/* By version of the ABI, from 1; versions to come count as the last. */
static const struct {
	unsigned fs_bits;
	size_t size;
} abis[] = {{13, 8}, {14, 8}, {15, 8}, {15, 16}, {16, 16}, {16, 24}};
#define ABIS ((int)(sizeof(abis) / sizeof(abis[0])))

static int abi_row(const struct landlock *l)
{
	return (l->abi < ABIS ? l->abi : ABIS) - 1;
}

static uint64_t handled(const struct landlock *l)
{
	return BIT(abis[abi_row(l)].fs_bits) - 1;
}

static uint64_t rights_of(enum guard_use use)
{
	switch (use) {
	case GUARD_READ:
		return FS_READ_FILE;
	case GUARD_LOG:
		return FS_WRITE_FILE | FS_MAKE_REG | FS_REMOVE_FILE;
	case GUARD_SOCKET:
		return FS_MAKE_SOCK | FS_REMOVE_FILE;
	case GUARD_FOLDER:
		return FS_READ_FILE | FS_READ_DIR | FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_REG | FS_MAKE_DIR | FS_REMOVE_FILE;
	}
	return 0;
}

const char *landlock_open(struct landlock *l, enum guard_role role)
{
	const char *manager = getenv("NOTIFY_SOCKET");
	struct ruleset r = {0};

	l->fd = -1;
	l->abi = (int)syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_RULESET_VERSION);
	if (l->abi < 1)
		return errno == ENOSYS       ? "off: not in this kernel"
		       : errno == EOPNOTSUPP ? "off: not enabled in this kernel"
		                             : "off: Landlock is forbidden here";
	r.fs = handled(l);
	r.net = role == GUARD_SERVER ? NET_CONNECT_TCP : NET_BIND_TCP;
	r.scoped = SCOPE_SIGNAL | (manager && *manager == '@' ? 0 : SCOPE_ABSTRACT_UNIX_SOCKET);
	l->fd = (int)syscall(SYS_landlock_create_ruleset, &r, abis[abi_row(l)].size, 0u);
	return l->fd < 0 ? "off: the kernel refuses the rules" : NULL;
}

/* `path` with all below it. */
static void add_rule(struct landlock *l, const char *path, uint64_t rights)
{
	struct path_rule rule = {.parent = open(path, O_PATH | O_CLOEXEC)};
	struct stat st;

	if (rule.parent < 0)
		return;
	rule.allowed = rights & handled(l);
	if (fstat(rule.parent, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed &= FS_OF_FILES;
	/* a rule that cannot be added is missed when the file is wanted, and that is told then */
	syscall(SYS_landlock_add_rule, l->fd, RULE_PATH_BENEATH, &rule, 0u);
	close(rule.parent);
}

/* The folder that the file is in, and not the whole of / or /dev for a file right there: then the file alone. */
static void add_folder_of(struct landlock *l, const char *path, uint64_t rights)
{
	char folder[PATH_MAX];
	const char *slash = strrchr(path, '/');
	size_t n = slash ? (size_t)(slash - path) : 0;
	struct stat st;

	if (n >= sizeof(folder))
		return;
	memcpy(folder, slash ? path : ".", slash ? n : 1);
	folder[slash ? n : 1] = '\0';
	if ((slash && !n) || (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISSOCK(st.st_mode)))
		add_rule(l, path, rights);
	else
		add_rule(l, folder, rights);
}

void landlock_allow(struct landlock *l, const char *path, enum guard_use use)
{
	uint64_t rights = rights_of(use);
	char *real;

	if (l->fd < 0)
		return;
	if (use == GUARD_FOLDER) {
		add_rule(l, path, rights);
		return;
	}
	add_folder_of(l, path, rights);
	real = realpath(path, NULL); /* certificates are often links that are set anew beside the files */
	if (real)
		add_folder_of(l, real, rights);
	free(real);
}

const char *landlock_enter(struct landlock *l)
{
	const char *why = NULL;

	if (l->fd >= 0 && syscall(SYS_landlock_restrict_self, l->fd, 0u) < 0)
		why = "off: the kernel refuses the rules";
	landlock_close(l);
	return why;
}

void landlock_close(struct landlock *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}
