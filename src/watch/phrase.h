/* phrase: one event as people read it, by the table of events.
 * Layer watch.
 * Invariants: what is printed is printable ASCII, whatever stands in a file; an event that the table does not know is
 * shown with its members.
 */
#ifndef ADIT_WATCH_PHRASE_H
#define ADIT_WATCH_PHRASE_H

#include <stdio.h>

#include "watch/record.h"

/** What an event's line says at most; longer ones are cut. */
#define PHRASE_MAX 1024
/** Of a link's id, what tells it from others. */
#define PHRASE_LINK_SHOWN 8

/** "direct: connection reset, alive 12.1 s, …". What it gives is not for a terminal as it is: phrase_print. */
void phrase_of(const struct trace_record *r, char out[PHRASE_MAX]);
/** Prints text with everything but printable ASCII as '?'. */
void phrase_print(FILE *to, const char *text);

/** "104 ms", "12.1 s", "3 min 20 s", "2 h 5 min"; "81,920"; in a buffer of the caller's. */
#define PHRASE_NUMBER 48
const char *phrase_ms(char out[PHRASE_NUMBER], int64_t ms);
const char *phrase_count(char out[PHRASE_NUMBER], int64_t n);
/** The text of a reason's name, the name itself when the table of errors has none. */
const char *phrase_reason(const char *name);

#endif
