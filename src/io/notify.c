#include "io/notify.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

static void write_state(enum notify_state state, char *text, size_t cap)
{
	switch (state) {
	case NOTIFY_READY:
		snprintf(text, cap, "READY=1");
		break;
	case NOTIFY_MAIN:
		snprintf(text, cap, "READY=1\nMAINPID=%ld", (long)getpid());
		break;
	case NOTIFY_RELOADING:
		snprintf(text, cap, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_us());
		break;
	case NOTIFY_STOPPING:
		snprintf(text, cap, "STOPPING=1");
		break;
	}
}

void notify_manager(enum notify_state state)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;
	char text[96];
	int fd;

	if (n < 2 || n >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, n);
	if (path[0] == '@') /* an abstract name */
		to.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	write_state(state, text, sizeof(text));
	/* best effort: a manager that cannot be told will find out otherwise */
	(void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&to,
	              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}
