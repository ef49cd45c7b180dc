/* log_int: one line of a log, from its record.
 * Layer base; log.c and its test only.
 * A line is one line: it ends in its only newline, holds no control byte and no byte that is not UTF-8, and a JSON
 * line is valid JSON however much had to be cut. No clock, no memory, no I/O.
 */
#ifndef ADIT_BASE_LOG_INT_H
#define ADIT_BASE_LOG_INT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/log.h"

/** 2026-11-22T18:42:25.123Z */
#define LOG_STAMP_BYTES 24

struct log_line {
	size_t n;     /* bytes of it, the newline included */
	size_t stamp; /* where its time stands */
	bool json;
	bool full; /* a field did not fit and is left out, and all after it: ends in " ..." or "cut":true */
	char at[LOG_LINE_MAX];
};

/** All but the LOG_STAMP_BYTES of its time, which the caller fills in. `lead`: put before `kv` unless it is NULL. */
void log_line_format(struct log_line *o, enum log_format format, enum log_level level, const char *event,
                     const struct log_kv *lead, const struct log_kv *kv);

/** `width` decimal digits of `v`, leading zeros included. */
void log_digits(char *to, uint64_t v, size_t width);

#endif
