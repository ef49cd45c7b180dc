/* headroom: the one budget of memory of a process: may anything new begin?
 * Layer io; the main owns one and hands it down; edge and adit's main ask before they take something new.
 * Invariants: what runs is never cut for it; the log has one line when the mark is crossed and one when it is left for
 * good.
 *
 *   0 ─────────────── mark (3/4) ─────────────── most ───────────────► what the system gives
 *     HEADROOM_ENOUGH      │    HEADROOM_LITTLE    │  HEADROOM_NONE
 *     all is taken in      │ nothing new begins:   │ nor is anything new listened to:
 *                          │ 503, links refused,   │ listeners pause, streams are
 *                          │ idle ones make room,  │ REFUSED_STREAM
 *                          │ windows do not grow   │
 *
 * It is measured, not counted: all that we and the libraries hold comes from malloc (base/memory_use). Between two looks
 * what begins is taken for HEADROOM_EACH, so that nothing is looked at often while there is plenty.
 */
#ifndef ADIT_IO_HEADROOM_H
#define ADIT_IO_HEADROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"
#include "base/memory_use.h"
#include "io/loop.h"

/** Without `max_memory`: one part in so many of what the system lets us have. The rest is for what malloc does not give
 *  to us (freed pieces between others, twice at worst), for the kernel's share of connections, and for others. */
#define HEADROOM_SYSTEM_SHARE 2
/** The mark, in quarters of all: what is above is kept for what runs. */
#define HEADROOM_MARK_QUARTERS 3
/** So much below the mark, and below all, in sixteenths of all, that is left again: who was refused would cross it at
 *  once else. */
#define HEADROOM_SLACK_SIXTEENTHS 1
/** Windows that peers may be granted: one part in so many of all. What comes through one can stand in the other half's
 *  buffer (EDGE_H1_BUFFER, twice a first window) as well: 3/4 at most, which is the mark. */
#define HEADROOM_WINDOWS_SHARE 4
/** How long a look is good for, and how often it is looked again while there is little. */
#define HEADROOM_LOOK_MS 100
/** When there was enough for so long the log is told: a crowd that comes and goes is one line at each end. */
#define HEADROOM_TOLD_MS 3000
/** What one request, connection or link may bring before the next look: its head, one read, its first window. */
#define HEADROOM_EACH (128u * 1024)
/** The least that `max_memory` may be: what the programs need for themselves, and some requests. */
#define HEADROOM_LEAST (16u * 1024 * 1024)

enum headroom_level { HEADROOM_ENOUGH, HEADROOM_LITTLE, HEADROOM_NONE };

struct headroom_options {
	struct log *log;
	/* When the level changes, and as long as there is less than enough at most each HEADROOM_LOOK_MS. From the loop.
	 * May be NULL. */
	void (*changed)(void *owner, enum headroom_level level);
	void *owner;
	uint64_t (*measure)(void *arg); /* NULL: the process's own memory; else a test's */
	void *arg;
};

struct headroom {
	struct loop *loop;
	struct headroom_options o;
	struct memory_limit system; /* as it was at the start: files may be out of reach later */
	struct memory_use use;
	uint64_t most, used;        /* used: at the last look */
	uint64_t looked_ms;
	uint64_t begun;             /* since then */
	enum headroom_level level;
	uint64_t owner_ms;          /* when the owner was told */
	bool told;                  /* the log knows that there is little: */
	uint64_t since_ms, refused; /* since then, and who was refused */
	uint64_t little_ms;         /* when that was seen last */
	struct timer again;
	struct task tell;
};

void headroom_init(struct headroom *m, struct loop *l, const struct headroom_options *o);
void headroom_stop(struct headroom *m);

/** What may be used: `most` bytes, 0 = the system's share. Says in the log what it comes to, when somebody
 *  has set a bound. */
void headroom_set(struct headroom *m, uint64_t most);

/** May one more request, connection or link begin? Each is counted until the next look. NULL: there is no bound. */
bool headroom_begin(struct headroom *m);

/** One more has begun, whom nobody refuses. */
void headroom_note(struct headroom *m);

/** For the budget of granted windows (h2/budget.h). */
static inline uint64_t headroom_windows(const struct headroom *m)
{
	return m->most / HEADROOM_WINDOWS_SHARE;
}

#endif
