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
#include "base/str.h"

/** Of the time after which the manager would end us: one may be late. */
#define WATCHDOG_SHARE 2
#define WATCHDOG_LEAST_MS 100

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
	case NOTIFY_ALIVE:
		snprintf(text, cap, "WATCHDOG=1");
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

static void on_watchdog(void *arg)
{
	struct notify_watchdog *w = arg;

	notify_manager(NOTIFY_ALIVE);
	timer_set(&w->timer, w->every_ms);
}

/* Microseconds; 0: none is asked for, or by another process than this one (sd_watchdog_enabled(3)). */
static uint64_t watchdog_us(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t out, whose;

	if (!us || str_to_u64(str_of(us), &out) < 0)
		return 0;
	return pid && (str_to_u64(str_of(pid), &whose) < 0 || whose != (uint64_t)getpid()) ? 0 : out;
}

void notify_watchdog_start(struct notify_watchdog *w, struct loop *l)
{
	uint64_t us = watchdog_us();

	timer_init(&w->timer, l, on_watchdog, w);
	w->every_ms = us / 1000 / WATCHDOG_SHARE;
	if (w->every_ms < WATCHDOG_LEAST_MS)
		w->every_ms = WATCHDOG_LEAST_MS;
	if (us)
		timer_set(&w->timer, w->every_ms);
}

void notify_watchdog_stop(struct notify_watchdog *w)
{
	timer_stop(&w->timer);
}
