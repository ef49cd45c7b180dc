/* clock: the two clocks.
 * Layer base; programs and io use it. Protocol cores get times as arguments instead.
 */
#ifndef ADIT_BASE_CLOCK_H
#define ADIT_BASE_CLOCK_H

#include <stdint.h>

/** Monotonic, in milliseconds / microseconds since some fixed point. */
uint64_t clock_ms(void);
uint64_t clock_us(void);
/** Wall clock, microseconds since 1970. */
uint64_t clock_wall_us(void);

#endif
