/* notify: tells the service manager how we are (the protocol of sd_notify(3)).
 * Layer io; both programs use it.
 * Invariant: without a manager that asked for it, and when it cannot be told, nothing happens.
 */
#ifndef ADIT_IO_NOTIFY_H
#define ADIT_IO_NOTIFY_H

#include "io/loop.h"

enum notify_state {
	NOTIFY_READY,     /* it serves, or serves with new settings */
	NOTIFY_MAIN,      /* it serves, and is the service's main process from now on */
	NOTIFY_RELOADING, /* NOTIFY_READY follows */
	NOTIFY_STOPPING,
	NOTIFY_ALIVE,     /* the loop turns */
};

void notify_manager(enum notify_state state);

/** Embed it; zero it. */
struct notify_watchdog {
	struct timer timer;
	uint64_t every_ms;
};

/** Says from the loop that it turns, as often as the manager wants to hear it (WATCHDOG_USEC). */
void notify_watchdog_start(struct notify_watchdog *w, struct loop *l);
/** Before the loop is freed. */
void notify_watchdog_stop(struct notify_watchdog *w);

#endif
