/* loop: the event loop, and what everything else may know of it: time, timers, tasks, signals, lent memory.
 * Layer io; wraps libev. One loop a worker; all of its objects belong to its thread.
 * Invariants: nothing is called from inside the caller's own call; objects are freed at the bottom of a turn.
 *
 *   one turn:   wait for descriptors ─► read and write handlers ─► timers ─► tasks ─► fair tasks ─► frees ─► wait …
 */
#ifndef ADIT_IO_LOOP_H
#define ADIT_IO_LOOP_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/pool.h"

/** Size of the blocks of loop_borrow: what one socket read asks for, and four TLS records. */
#define LOOP_BLOCK 65536
/** After that much of a turn no further fair task begins: everybody waits for them, and one may take longer. A turn
 *  costs a hundredth of it. */
#define LOOP_FAIR_US 200

struct loop;

/** Something to do at the end of this turn, or of the next. Embed it; zero it; it must outlive its run. */
struct task {
	void (*run)(void *arg);
	void *arg;
	struct list node; /* unlinked, or zero before its first use */
};

/** What takes the kernel or OpenSSL long, and may come a hundredfold. */
enum loop_fair {
	LOOP_FAIR_HANDSHAKE, /* a step of a TLS handshake: 0.2 ms and more */
	LOOP_FAIR_REQUEST,   /* one that was sent ahead, and may be answered at once: 0.01 ms */
	LOOP_FAIR_DIAL,      /* a connection to somebody: 0.03 ms */
	LOOP_FAIR_CLOSE,     /* of a connection to somebody: what lies unread in it is freed there and then, on loopback what
	                        he has not sent yet too: 0.1 ms for some MB */
	LOOP_FAIR_KINDS
};

/** One deadline. Embed it. Clearing it or moving it later costs nothing: the loop looks when the old one comes. */
struct timer {
	void (*fn)(void *arg);
	void *arg;
	struct loop *loop;
	uint64_t due_ms;   /* 0 = off */
	uint64_t armed_ms; /* when the watcher will look; 0 = it is not running */
	ev_timer watcher;
};

/** NULL when the system gives no loop. */
struct loop *loop_new(void);
/** Runs what is posted, and the frees, until nothing is: before the owners of what they touch go. */
void loop_settle(struct loop *l);
/** Runs the remaining frees and ends it; no timer, stream or signal of it may be left. */
void loop_free(struct loop **l);
/** Runs until loop_stop. */
void loop_run(struct loop *l);
void loop_stop(struct loop *l);
struct ev_loop *loop_ev(struct loop *l);

/** Monotonic milliseconds, as of the beginning of this turn. */
uint64_t loop_ms(const struct loop *l);

/** Runs the task at the end of this turn, once however often it is posted. */
void task_post(struct loop *l, struct task *t);
/** Runs it at the end of the next turn, which then does not wait: to go on with work that was cut for fairness. */
void task_post_next(struct loop *l, struct task *t);
/** Forgets a posted task. */
void task_cancel(struct loop *l, struct task *t);
/** Runs it behind the tasks of this turn, or of a later one: one of each kind, then the next of each, in order, for
 *  LOOP_FAIR_US a turn. Of what one peer makes a hundred at once nobody waits for all. */
void task_post_fair(struct loop *l, enum loop_fair kind, struct task *t);
/** Runs it when all tasks of this turn have run: where objects are freed. Cannot be cancelled. */
void task_post_free(struct loop *l, struct task *t);

void timer_init(struct timer *t, struct loop *l, void (*fn)(void *arg), void *arg);
/** Calls fn once, `ms` from now (0: in the next turn). Replaces what was set. */
void timer_set(struct timer *t, uint64_t ms);
/** Off, but the watcher may still be running: for owners that live on. */
static inline void timer_clear(struct timer *t)
{
	t->due_ms = 0;
}
/** Off for good: before the owner is freed. */
void timer_stop(struct timer *t);
static inline bool timer_is_set(const struct timer *t)
{
	return t->due_ms != 0;
}

/** Calls fn in the loop, outside signal context, whenever the signal came. At most LOOP_SIGNALS of them. */
#define LOOP_SIGNALS 8
int loop_signal(struct loop *l, int signo, void (*fn)(void *arg, int signo), void *arg);

/** Lends a block of LOOP_BLOCK bytes for the length of one call; NULL when out of memory. */
uint8_t *loop_borrow(struct loop *l);
void loop_return(struct loop *l, uint8_t *block);

/** For small blocks that come and go with requests; it ends with the loop, and may be NULL: see pool.h. */
struct pool *loop_pool(struct loop *l);

#endif
