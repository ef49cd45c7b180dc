/* An allow-list, read by the kernel before each system call (seccomp). What is not on it ends the process at once:
 * code that asks for something we never do is not ours any more, and an error would only tell it to try something
 * else. The kernel's log says which call it was ("audit: type=1326 … syscall=N"). One question that libraries ask to
 * find out what a system has is answered with an error instead: a socket of another family (netlink).
 */
#include "guard/guard_int.h"

#include "config.h"

#ifdef HAVE_SECCOMP

#include <errno.h>
#include <net/if.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/** The bits of socket()'s second argument that are no flags. */
#define SOCKET_TYPE_BITS 0xfu
/** isatty() of glibc 2.42; no header that is of use elsewhere has it. */
#define TCGETS2_GENERIC 0x802c542au

/** The argument `n` (from 0) is `value`. */
#define ARG_IS(n, value) ((struct scmp_arg_cmp){.arg = (n), .op = SCMP_CMP_EQ, .datum_a = (uint64_t)(value)})
/** Its bits in `mask` are `value`. */
#define ARG_BITS(n, mask, value)                                                                   \
	((struct scmp_arg_cmp){.arg = (n), .op = SCMP_CMP_MASKED_EQ, .datum_a = (mask), .datum_b = (value)})
#define ARG_ABOVE(n, value) ((struct scmp_arg_cmp){.arg = (n), .op = SCMP_CMP_GT, .datum_a = (uint64_t)(value)})

enum who { BOTH, SERVER, CLIENT };

static const struct {
	enum who who;
	const char *name;
} calls[] = {
#define X(who, name) {who, name},
#include "guard/calls.def"
#undef X
};

static int allow_plain(scmp_filter_ctx f, enum guard_role role, unsigned *count)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		int number = seccomp_syscall_resolve_name(calls[i].name);
		int err;

		if (calls[i].who != BOTH && (calls[i].who == SERVER) != (role == GUARD_SERVER))
			continue;
		if (number < 0) /* not on this architecture, or not known to this libseccomp */
			continue;
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, number, 0);
		if (err)
			return err;
		++*count;
	}
	return 0;
}

static int allow_socket(scmp_filter_ctx f, uint64_t family, uint64_t type)
{
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, ARG_IS(0, family),
	                        ARG_BITS(1, SOCKET_TYPE_BITS, type));
}

/* Bytes over TCP and unix sockets, the service manager's datagrams, adit's questions to name servers. */
static int allow_sockets(scmp_filter_ctx f, enum guard_role role)
{
	int err = allow_socket(f, AF_UNIX, SOCK_STREAM);

	err = err ? err : allow_socket(f, AF_UNIX, SOCK_DGRAM);
	err = err ? err : allow_socket(f, AF_INET, SOCK_STREAM);
	err = err ? err : allow_socket(f, AF_INET6, SOCK_STREAM);
	if (!err && role == GUARD_CLIENT)
		err = allow_socket(f, AF_INET, SOCK_DGRAM);
	if (!err && role == GUARD_CLIENT)
		err = allow_socket(f, AF_INET6, SOCK_DGRAM);
	return err ? err : seccomp_rule_add(f, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1, ARG_ABOVE(0, AF_INET6));
}

/* Memory, but none whose content could be executed: no code comes in later. */
static int allow_memory(scmp_filter_ctx f)
{
	static const char *const names[] = {"mmap", "mmap2", "mprotect"};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(names) / sizeof(names[0]); i++) {
		int number = seccomp_syscall_resolve_name(names[i]);

		if (number >= 0)
			err = seccomp_rule_add(f, SCMP_ACT_ALLOW, number, 1, ARG_BITS(2, PROT_EXEC, 0));
	}
	return err;
}

/* Is it a terminal? Which interface does a name server's link-local address mean? Nothing that types or reroutes. */
static int allow_ioctls(scmp_filter_ctx f)
{
	static const unsigned long requests[] = {TCGETS, TCGETS2_GENERIC, FIONREAD, FIONBIO, SIOCGIFINDEX, SIOCGIFNAME};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(requests) / sizeof(requests[0]); i++)
		err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1, ARG_IS(1, requests[i]));
	return err;
}

/* abort() signals its own thread: the end that was asked for. */
static int allow_abort(scmp_filter_ctx f)
{
	return seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 2, ARG_IS(0, getpid()), ARG_IS(2, SIGABRT));
}

/* Its own limit of addresses, within what it had at the start (base/memory.h). */
static int allow_limit(scmp_filter_ctx f)
{
	static const char *const names[] = {"setrlimit", "getrlimit", "ugetrlimit"};
	int err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, ARG_IS(0, 0), ARG_IS(1, RLIMIT_AS));

	for (size_t i = 0; !err && i < sizeof(names) / sizeof(names[0]); i++) {
		int number = seccomp_syscall_resolve_name(names[i]);

		if (number >= 0)
			err = seccomp_rule_add(f, SCMP_ACT_ALLOW, number, 1, ARG_IS(0, RLIMIT_AS));
	}
	return err;
}

static int fill(scmp_filter_ctx f, enum guard_role role, unsigned *count)
{
	int err = allow_plain(f, role, count);

	err = err ? err : allow_sockets(f, role);
	err = err ? err : allow_memory(f);
	err = err ? err : allow_ioctls(f);
	err = err ? err : allow_abort(f);
	err = err ? err : allow_limit(f);
	if (err)
		return err;
	/* all threads; the log's runs already */
	err = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	/* no mitigation on top that older kernels give to whoever limits himself: we run nobody's code but ours */
	seccomp_attr_set(f, SCMP_FLTATR_CTL_SSB, 1);
	seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	return err;
}

const char *calls_limit(enum guard_role role, unsigned *count)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int err;

	*count = 0;
	if (!f)
		return "off: the kernel does not know seccomp's filters, or is too old";
	err = fill(f, role, count);
	if (!err)
		err = seccomp_load(f);
	seccomp_release(f);
	return err ? "off: the kernel refuses the filter" : NULL;
}

#else

const char *calls_limit(enum guard_role role, unsigned *count)
{
	(void)role;
	*count = 0;
	return "off: built without libseccomp";
}

#endif
