/* summary_int: what summary.c (counting) and summary_print.c (telling) share.
 * Layer watch; for these two files only.
 */
#ifndef ADIT_WATCH_SUMMARY_INT_H
#define ADIT_WATCH_SUMMARY_INT_H

#include "watch/summary.h"

/** direct, ws-h2, ws-h1, poll, and what a newer program may have. */
#define SUMMARY_CARRIERS 6
#define SUMMARY_NAME_MAX 24
#define SUMMARY_NAMES_MAX 128
#define SUMMARY_DETAIL_MAX 160

enum side_state { SIDE_NONE, SIDE_UP, SIDE_AWAY, SIDE_ENDED };

/* A link as one end tells of it. */
struct side {
	enum side_state state;
	char carrier[SUMMARY_NAME_MAX]; /* while it is up */
	int64_t since_us;               /* up, away or ended */
	int64_t silent_us;              /* since when a suspect carrier is not heard, 0 = it is */
	struct {
		char name[SUMMARY_NAME_MAX];
		int64_t us;
	} carriers[SUMMARY_CARRIERS];
	int64_t outages, longest_us, away_us, moves;
	int64_t replayed;               /* bytes this end sent again */
	int64_t requests;               /* under way when it was last away, cut when it ended */
	char reason[SUMMARY_NAME_MAX], detail[SUMMARY_DETAIL_MAX];
};

struct summary_link {
	char id[33];
	char names[SUMMARY_NAMES_MAX];
	struct side adit, aditd;
};

struct summary {
	int64_t first_us, last_us, events;
	struct summary_link *links;
	size_t n, room, last;           /* last: where the one of the event before is */
	int64_t links_beyond;
	size_t gone[TRACE_FILES_MAX];   /* 1 + the link that each adit lost last, while it has no other */
	int64_t waited, sent, gave_up, turned_away, longest_hold_ms;
	int64_t cut_at_stop;
	int64_t missing;                /* events that the programs could not write */
};

/** The end whose word counts: for outages, and for requests. */
const struct side *summary_teller(const struct summary_link *l);
/** Requests that were cut with it. */
int64_t summary_cut(const struct summary_link *l);
/** Of all links, of those that waited in vain, and of programs that ended. */
int64_t summary_lost_requests(const struct summary *s);

#endif
