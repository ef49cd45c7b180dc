/* For test_guard: a library that is loaded into aditd or adit and, when told by a signal, tries what they have given
 * up, in the thread that got the signal, and writes to $GUARD_PROBE what came of it: "NUMBER ok" or "NUMBER errno".
 * What ends the process writes nothing. Numbers stand in test_guard.py.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int report = -1;
static pid_t parent; /* asked for when that is still allowed */

static struct sockaddr_in place(void)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	const char *port = getenv("GUARD_PROBE_PORT");

	a.sin_port = htons((unsigned short)(port ? atoi(port) : 0));
	return a;
}

static long dial(int do_bind)
{
	struct sockaddr_in a = place();
	long fd = syscall(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	if (fd < 0)
		return fd;
	r = syscall(do_bind ? SYS_bind : SYS_connect, fd, &a, sizeof(a));
	if (r < 0)
		r = -errno;
	close((int)fd);
	errno = r < 0 ? (int)-r : 0;
	return r < 0 ? -1 : 0;
}

static long run_true(void)
{
	char *argv[] = {"/bin/true", NULL}, *envp[] = {NULL};

	return syscall(SYS_execve, argv[0], argv, envp);
}

static long try(int what)
{
	static char byte = '\n';
	void *p;

	switch (what) {
	case 0:
		return getpid();
	case 1:
		return syscall(SYS_openat, AT_FDCWD, getenv("GUARD_PROBE_READ"), O_RDONLY | O_CLOEXEC);
	case 2:
		return syscall(SYS_openat, AT_FDCWD, getenv("GUARD_PROBE_WRITE"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	case 3:
		return dial(0);
	case 4:
		return dial(1);
	case 5:
		return syscall(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
	case 6:
		return syscall(SYS_socket, AF_INET, SOCK_RAW, IPPROTO_ICMP);
	case 10:
		return run_true();
	case 11:
		return syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	case 12:
		return syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0);
	case 13:
		p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		return p == MAP_FAILED ? -1 : 0;
	case 14:
		return syscall(SYS_setresuid, 0, 0, 0);
	case 15:
		return syscall(SYS_kill, parent, 0);
	case 16:
		return ioctl(STDERR_FILENO, TIOCSTI, &byte);
	case 17:
		return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
	case 18:
		return syscall(SYS_unshare, CLONE_NEWUSER);
	case 19:
		return syscall(SYS_process_vm_readv, parent, NULL, 0, NULL, 0, 0);
	}
	errno = EINVAL;
	return -1;
}

static void on_signal(int signo, siginfo_t *info, void *context)
{
	int before = errno, what = info->si_value.sival_int;
	long r = try(what);
	char text[64];
	int n = snprintf(text, sizeof(text), r < 0 ? "%d %s\n" : "%d ok\n", what, strerrorname_np(errno));

	(void)signo;
	(void)context;
	(void)!write(report, text, (size_t)n);
	errno = before;
}

__attribute__((constructor)) static void begin(void)
{
	const struct sigaction a = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};

	parent = getppid();
	report = open(getenv("GUARD_PROBE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	/* the log's thread takes no other signal that is free */
	sigaction(SIGTRAP, &a, NULL);
}
