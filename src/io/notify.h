/* notify: tells the service manager how we are (the protocol of sd_notify(3)).
 * Layer io; aditd uses it.
 * Invariant: without a manager that asked for it, and when it cannot be told, nothing happens.
 */
#ifndef ADIT_IO_NOTIFY_H
#define ADIT_IO_NOTIFY_H

enum notify_state {
	NOTIFY_READY,     /* it serves, or serves with new settings */
	NOTIFY_MAIN,      /* it serves, and is the service's main process from now on */
	NOTIFY_RELOADING, /* NOTIFY_READY follows */
	NOTIFY_STOPPING,
};

void notify_manager(enum notify_state state);

#endif
