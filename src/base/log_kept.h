/* log_kept: the last lines of a log, in memory.
 * Layer base; log.c only.
 * Invariants: at most LOG_KEPT lines of at most LOG_LINE_MAX bytes; a line for which there is no memory is left out.
 * No lock: the log's own is held around each call.
 */
#ifndef ADIT_BASE_LOG_KEPT_H
#define ADIT_BASE_LOG_KEPT_H

#include <stddef.h>

/** Some dozen reconnects of one link. 1 MiB at the very most, usually 64 KiB. */
#define LOG_KEPT 256

struct log_kept {
	struct {
		char *p; /* not a string: no NUL */
		size_t n;
	} at[LOG_KEPT];
	size_t next; /* the oldest, and the next to be replaced */
};

void log_kept_add(struct log_kept *k, const char *p, size_t n);
/** Line `i`, 0 is the oldest; its length, 0 when there is none. */
size_t log_kept_line(const struct log_kept *k, size_t i, const char **p);
void log_kept_clear(struct log_kept *k);

#endif
