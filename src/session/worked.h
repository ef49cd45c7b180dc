/* worked: remembers in a small file which carrier worked at which server, so that the next start begins there.
 * Layer session, for dialer. Reads and writes a file of a few lines: at the start, and when something changes.
 * Invariants: a file that is absent, broken or cannot be written is as good as an empty one; what is older than a day
 * is not believed, for networks and ingresses change.
 *
 * The file has one line a server: `SECONDS CARRIER KEY`, seconds since 1970, the carrier's name, the rest of the line.
 */
#ifndef ADIT_SESSION_WORKED_H
#define ADIT_SESSION_WORKED_H

#include <stdint.h>

#define WORKED_FILE "carriers"
#define WORKED_SECONDS 86400
/** Servers kept; the oldest go. */
#define WORKED_LINES 64
#define WORKED_KEY_MAX 700

/** What is known of one server. */
struct worked {
	unsigned carrier;  /* LADDER_*, 0 = nothing */
	uint64_t since_s;  /* when it first worked */
};

/** Reads what is known of `key`; `folder` NULL: nothing. */
struct worked worked_recall(const char *folder, const char *key, uint64_t now_s);
/** Keeps it in place of what was known; carrier 0 forgets. `folder` NULL: does nothing. */
void worked_keep(const char *folder, const char *key, const struct worked *w, uint64_t now_s);
/** Is it to be believed? */
static inline int worked_holds(const struct worked *w, uint64_t now_s)
{
	return w->carrier && now_s >= w->since_s && now_s - w->since_s < WORKED_SECONDS;
}

#endif
