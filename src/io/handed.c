#include "io/handed.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "io/socket_address.h"

/** The first descriptor that a service manager passes: behind the three standard ones. */
#define LISTEN_FDS_START 3
/** More than HANDED_MAX, so that those which are too many are closed and told of; a bound for a mad number. */
#define LISTEN_FDS_MAX 1024

static bool listens(int fd)
{
	int type = 0, accepts = 0;
	socklen_t type_len = sizeof(type), accepts_len = sizeof(accepts);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &accepts, &accepts_len) == 0 && accepts;
}

static void refuse(int fd, const char *from, const char *why, struct log *log)
{
	log_event(log, LOG_LEVEL_WARN, "socket.refused", KV_I64("descriptor", fd), KV_Z("from", from),
	          KV_Z("reason", why));
	close(fd);
}

void handed_add(struct handed *h, int fd, bool owns_path, const char *from, struct log *log)
{
	union socket_address a;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0) /* no descriptor at all: there is nothing to close */
		return;
	if (h->count == HANDED_MAX) {
		refuse(fd, from, "too many", log);
	} else if (!listens(fd) || socket_address_of(fd, &a) < 0) {
		refuse(fd, from, "not a stream socket that listens", log);
	} else if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) {
		refuse(fd, from, "cannot be made non-blocking", log);
	} else {
		h->at[h->count++] = (struct handed_socket){fd, owns_path, from};
	}
}

/* A number of the environment; -1 when there is none. */
static long long number(const char *name)
{
	const char *text = getenv(name);
	uint64_t n;

	if (!text || str_to_u64(str_of(text), &n) < 0 || n > INT32_MAX)
		return -1;
	return (long long)n;
}

void handed_from_manager(struct handed *h, struct log *log)
{
	long long pid = number("LISTEN_PID"), count = number("LISTEN_FDS");

	/* the variables may have been meant for the process that started us */
	if (pid == getpid())
		for (int i = 0; i < count && i < LISTEN_FDS_MAX; i++)
			handed_add(h, LISTEN_FDS_START + i, false, "service manager", log);
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

struct handed_socket handed_take(struct handed *h, const char *address)
{
	union socket_address wanted, bound;
	socklen_t len;

	for (unsigned i = 0; i < h->count && socket_address_parse(address, &wanted, &len) == 0; i++) {
		struct handed_socket s = h->at[i];

		if (s.fd < 0 || socket_address_of(s.fd, &bound) < 0 || !socket_address_equal(&wanted, &bound))
			continue;
		h->at[i].fd = -1;
		return s;
	}
	return (struct handed_socket){-1, false, ""};
}

void handed_close(struct handed *h, struct log *log, bool remove)
{
	for (unsigned i = 0; i < h->count; i++) {
		const struct handed_socket *s = &h->at[i];
		char text[SOCKET_ADDRESS_TEXT_MAX];
		union socket_address a;

		if (s->fd < 0)
			continue;
		if (socket_address_of(s->fd, &a) == 0) {
			socket_address_text(&a, text);
			log_event(log, LOG_LEVEL_WARN, "socket.unused", KV_Z("address", text), KV_Z("from", s->from));
			if (remove && s->owns_path && a.sa.sa_family == AF_UNIX && a.un.sun_path[0])
				unlink(a.un.sun_path);
		}
		close(s->fd);
	}
	h->count = 0;
}
