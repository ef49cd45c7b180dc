/* record: one event of a trace, as it was read.
 * Layer watch.
 * Invariants: its text comes from a file that may say anything; whoever prints it lets printable ASCII through only.
 */
#ifndef ADIT_WATCH_RECORD_H
#define ADIT_WATCH_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Files of one transcript: both ends of a link, and some more clients of the server. */
#define TRACE_FILES_MAX 16

enum trace_program { TRACE_NOBODY, TRACE_ADIT, TRACE_ADITD };

struct trace_record {
	json_t *json;       /* an object; owned */
	const char *event;  /* in it */
	const char *link;   /* hex, "" = of no link; in it */
	enum trace_program program;
	unsigned source;    /* which file */
	int64_t at_us;      /* wall clock since 1970, never earlier than the one before in its file */
};

/** "adit", "aditd" or "?"; a static string. */
const char *trace_program_name(enum trace_program p);
/** A member's text, "" when it is none; borrowed from the record. */
const char *trace_text(const struct trace_record *r, const char *member);
/** A member's number, 0 when it is none; fractions are cut off. */
int64_t trace_number(const struct trace_record *r, const char *member);
/** Lets go of the JSON. */
void trace_record_clear(struct trace_record *r);

/** One line, without its newline: false when it is no event of a trace. */
bool trace_record_read(struct trace_record *r, const char *line, size_t n);

#endif
