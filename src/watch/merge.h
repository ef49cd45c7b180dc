/* merge: the events of several traces in the order in which they happened, by aditd's clock.
 * Layer watch.
 * Invariants: the order within a file is kept; one event of each file is in memory.
 */
#ifndef ADIT_WATCH_MERGE_H
#define ADIT_WATCH_MERGE_H

#include "watch/record.h"

struct merge;

/** What there is to tell of a file before its events. */
struct merge_file {
	const char *path;
	enum trace_program program; /* of its first event */
	int64_t shift_us;           /* what was added to its times */
};

/** `paths` are borrowed, at most TRACE_FILES_MAX. 0; ADIT_ERR_SYS: paths[*bad] cannot be read, errno says why;
 *  ADIT_ERR_NOMEM. */
int merge_open(struct merge **out, const char *const *paths, size_t n, bool follow, size_t *bad);
void merge_free(struct merge **m);
/** True: the next event, which the caller clears. */
bool merge_next(struct merge *m, struct trace_record *r);
struct merge_file merge_file(const struct merge *m, size_t i);
/** Of all files: lines that were passed over, and how often a clock was set back. */
uint64_t merge_skipped(const struct merge *m);
unsigned merge_set_back(const struct merge *m);

#endif
