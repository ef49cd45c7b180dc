/* transcript: `adit trace`: what the traces of one or both ends tell, a line an event, and what it comes to.
 * Layer watch; adit's main runs it.
 * Invariants: nothing but printable ASCII reaches the terminal; memory grows with the links and not with the files.
 */
#ifndef ADIT_WATCH_TRANSCRIPT_H
#define ADIT_WATCH_TRANSCRIPT_H

#include <stdbool.h>
#include <stddef.h>

struct transcript_options {
	const char *const *paths; /* at most TRACE_FILES_MAX */
	size_t n;
	bool json;                /* one object a line, the summary last */
	bool follow;              /* go on as the files grow, until SIGINT, or until nobody reads standard output */
};

enum transcript_code { TRANSCRIPT_LOST_NOTHING, TRANSCRIPT_LOST, TRANSCRIPT_UNREADABLE };

/** All of it, to standard output; what went wrong to standard error. The program's exit status. */
enum transcript_code transcript_run(const struct transcript_options *o);

#endif
