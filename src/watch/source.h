/* source: a trace file as a sequence of events: first FILE.1, where the writer moves it when it is full, then FILE.
 * Layer watch.
 * Invariants: one line of at most SOURCE_LINE_MAX bytes is in memory; longer lines and lines that are no events are
 * counted and passed over; times never go back within a file, whatever the clock of its machine did.
 */
#ifndef ADIT_WATCH_SOURCE_H
#define ADIT_WATCH_SOURCE_H

#include "watch/record.h"

/** Our own lines have at most 4 KiB. */
#define SOURCE_LINE_MAX 16384

struct source;

/** `path` is borrowed. 0; ADIT_ERR_SYS when it cannot be read, errno says why; ADIT_ERR_NOMEM. */
int source_open(struct source **out, const char *path, bool follow);
void source_free(struct source **s);
/** True: the next event, which the caller clears. False: there is none; when it is followed, not now. */
bool source_next(struct source *s, struct trace_record *r);
/** How far the wall clock and the monotonic one are apart, by what was read: a second reading begins with it, and
 *  orders events within a millisecond better. */
int64_t source_apart(const struct source *s);
void source_set_apart(struct source *s, int64_t apart_us);
/** Lines that were passed over so far, and how often the clock was set back. */
uint64_t source_skipped(const struct source *s);
unsigned source_set_back(const struct source *s);

#endif
