/* sched: which stream may send next, small and interactive ones first.
 * Layer h2; knows nothing of HTTP/2. The core asks it once per quantum.
 * Invariant: every entry that waits is chosen after finitely many others: the lowest class that has any gets one
 * quantum in eight, and inside a class it is round-robin. While bulk is held back, class 2 has its one in eight
 * beside others, and nothing when only it waits.
 *
 *   class 0   under 64 KiB sent so far, or interactive (upgraded)    answers, pages, API calls
 *   class 1   under 1 MiB                                            scripts, images
 *   class 2   the rest                                               downloads
 */
#ifndef ADIT_H2_SCHED_H
#define ADIT_H2_SCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

#define SCHED_CLASSES 3
#define SCHED_SMALL (64u * 1024)
#define SCHED_MEDIUM (1024u * 1024)
/** One choice in so many is the lowest class's. */
#define SCHED_LOWEST_EVERY 8

struct sched {
	struct list ready[SCHED_CLASSES];
	unsigned turn;
};

struct sched_entry {
	struct list node;
	uint64_t sent;
	bool interactive;
};

void sched_init(struct sched *s);
void sched_entry_init(struct sched_entry *e);
/** Adds it behind the others of its class; nothing happens when it waits already. */
void sched_add(struct sched *s, struct sched_entry *e);
static inline bool sched_is_queued(const struct sched_entry *e)
{
	return !list_empty(&e->node);
}
void sched_remove(struct sched_entry *e);
/** Is it of the lowest class? */
bool sched_is_bulk(const struct sched_entry *e);
/** Takes out the one to send now, NULL when none waits, or only those of the lowest class do and not `bulk`. */
struct sched_entry *sched_next(struct sched *s, bool bulk);

#endif
