/* clocks: how far the clocks of the two programs are apart, by the events that both ends of a link write.
 * Layer watch.
 *
 *     adit    HELLO or ATTACH ──┐                 ┌──► WELCOME or ATTACHED
 *                               └──► it is judged ┘
 *     aditd
 *
 * The answer was given between the two: with the shortest round trip this says most (as NTP does it).
 */
#ifndef ADIT_WATCH_CLOCKS_H
#define ADIT_WATCH_CLOCKS_H

#include "watch/record.h"

/** Greetings and attaches of one file that are looked at: the first ones. */
#define CLOCKS_POINTS_MAX 4096
/** Clocks that are no farther apart are told as one; an answer comes after its question all the same. */
#define CLOCKS_SAME_US 5000

struct clock_point {
	char link[33];
	int64_t epoch;      /* 0: the greeting */
	int64_t from, to;   /* adit: asked, answered; aditd: twice when it answered */
};

/** One file's. */
struct clock_points {
	enum trace_program program; /* of its first event */
	size_t n;
	struct clock_point *at;
	char asked[33];     /* what adit has asked last, not answered yet */
	int64_t asked_epoch, asked_us;
};

/** Takes what there is in an event. 0 or ADIT_ERR_NOMEM. */
int clock_points_add(struct clock_points *p, const struct trace_record *r);
void clock_points_clear(struct clock_points *p);
/** What to add to `adit`'s times so that they are of `aditd`'s clock; 0 = it is the same, or nothing is known. */
int64_t clocks_between(const struct clock_points *aditd, const struct clock_points *adit);

#endif
