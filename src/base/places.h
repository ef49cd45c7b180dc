/* places: how many places somebody takes up with others. They are taken until the others let go of them, which may be
 * long after he has given them up, and after he has gone himself.
 * Layer base; made by edge_h2 for its visitor, carried by his exchanges, taken and given back by streams of sessions.
 * Invariant: `taken` is the number of those who took one and did not give it back, each of whom holds a reference.
 */
#ifndef ADIT_BASE_PLACES_H
#define ADIT_BASE_PLACES_H

#include <stdlib.h>

struct places {
	unsigned refs, taken;
};

/** With one reference, for who made it. NULL when out of memory. */
static inline struct places *places_new(void)
{
	struct places *p = calloc(1, sizeof(*p));

	if (p)
		p->refs = 1;
	return p;
}

/** One more reference; of NULL there are none. */
static inline struct places *places_ref(struct places *p)
{
	if (p)
		p->refs++;
	return p;
}

static inline void places_unref(struct places **pp)
{
	struct places *p = *pp;

	*pp = NULL;
	if (p && --p->refs == 0)
		free(p);
}

#endif
