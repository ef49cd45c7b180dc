/* flight: climbs the ladder, several times beside each other when asked to, until one carrier stands.
 * Layer session, for dialer.
 * Invariants: at most FLIGHT_MAX climbs at once; the first carrier that stands wins, the other climbs are dropped.
 */
#ifndef ADIT_SESSION_FLIGHT_H
#define ADIT_SESSION_FLIGHT_H

#include "carrier/ladder.h"

/** Climbs at once: a connection attempt can be lost in a dying path, and the next one get through. */
#define FLIGHT_MAX 3
/** Climbs of one flight in all. Those that began in a black hole hang there when the path is good again, so there
 *  have to be fresh ones; but a flight has to end some day with the reason why. */
#define FLIGHT_STARTS 8
/** From one to the next. */
#define FLIGHT_NEXT_MS 1000

struct flight;

/** Starts. `several`: a further climb each FLIGHT_NEXT_MS while none has ended. The options' strings are borrowed until
 *  `done`, which is called once with the carrier, or with the last climb's failure. NULL: out of memory. */
struct flight *flight_start(struct loop *l, const struct ladder_options *o, bool several, ladder_done_fn *done, void *arg);
void flight_cancel(struct flight **f);

#endif
