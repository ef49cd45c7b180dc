/* summary: what a transcript comes to: each link's carriers, outages and bytes sent again, and what was lost.
 * Layer watch.
 *
 *   of each link, by each end:   welcome ─► UP ◄──── attached ──── AWAY ─► lost
 *                                            └────── detached ──────┘
 *
 * A carrier that went silent and was left for another one was an outage since it was last heard.
 *
 * Invariants: at most SUMMARY_LINKS_MAX links, those beyond are counted only. Both ends tell of the same outages and
 * requests: what adit says counts for outages, what aditd says, which has the visitors, for requests.
 */
#ifndef ADIT_WATCH_SUMMARY_H
#define ADIT_WATCH_SUMMARY_H

#include <stdbool.h>
#include <stdio.h>

#include "watch/merge.h"

/** Two full files of one link that lives for a minute each have about so many. */
#define SUMMARY_LINKS_MAX 4096

struct summary;

/** NULL: out of memory. */
struct summary *summary_new(void);
void summary_free(struct summary **s);
/** Counts one event in. 0 or ADIT_ERR_NOMEM. */
int summary_add(struct summary *s, const struct trace_record *r);
/** For people; `m` tells what was passed over. */
void summary_print(const struct summary *s, const struct merge *m, FILE *to);
/** One line. 0 or ADIT_ERR_NOMEM. */
int summary_json(const struct summary *s, const struct merge *m, FILE *to);
/** Was anything lost? */
bool summary_lost(const struct summary *s);

#endif
