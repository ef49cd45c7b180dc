/* carrier_fuzz: what the two files of that target share. The scripted loop is in carrier_fuzz.c only, which lends
 * it.
 */
#ifndef ADIT_TESTS_CARRIER_FUZZ_H
#define ADIT_TESTS_CARRIER_FUZZ_H

#include "fuzz.h"
#include "io/loop.h"

/** Operations on one poll carrier; see carrier_fuzz_poll.c. */
void carrier_fuzz_poll(struct fuzz_in in);

/** Tasks and frees, until there are none. */
void carrier_turn(struct loop *l);
/** Lets the time go on, to the next deadline if there is one within `ms`, which then runs: true. */
bool carrier_jump(struct loop *l, uint64_t ms);
/** Timers that have not been stopped. */
unsigned carrier_timers(const struct loop *l);

#endif
