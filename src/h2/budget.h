/* budget: bytes that peers have been allowed to send us, so that memory stays bounded whatever they do.
 * Layer h2. Each tunnel has one, below the process's.
 * Invariant: used <= limit at every level, but for a limit that was made less: then nothing is taken until it is so.
 */
#ifndef ADIT_H2_BUDGET_H
#define ADIT_H2_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

#include "io/headroom.h"

/** Granted stream windows of one tunnel, or of one origin over HTTP/2: 1024 streams of 64 KiB. */
#define BUDGET_TUNNEL (64u * 1024 * 1024)
/** What they may grow by besides: four of the largest. Apart, so that a few fast downloads keep no request waiting. */
#define BUDGET_TUNNEL_GROWTH (64u * 1024 * 1024)

/** How much memory there is besides (io/headroom.h); what the top says counts for all below it. */
enum budget_state {
	BUDGET_OPEN,
	BUDGET_TIGHT, /* windows do not grow */
	BUDGET_SHUT,  /* nothing is granted */
};

static inline enum budget_state budget_state_of(enum headroom_level level)
{
	return level == HEADROOM_NONE ? BUDGET_SHUT : level == HEADROOM_LITTLE ? BUDGET_TIGHT : BUDGET_OPEN;
}

struct budget {
	struct budget *parent; /* NULL at the top: the process's, of what io/headroom lets windows have */
	size_t limit, used;
	size_t growth, grown; /* what windows may grow by beside the limit, and have; 0: growth is within the limit */
	enum budget_state state;
};

/** Could it be taken? */
static inline bool budget_can(const struct budget *b, size_t n)
{
	for (; b; b = b->parent)
		if (b->state == BUDGET_SHUT || b->used > b->limit || n > b->limit - b->used)
			return false;
	return true;
}

/** Takes `n` bytes here and above, or nothing and false. */
static inline bool budget_take(struct budget *b, size_t n)
{
	if (!budget_can(b, n))
		return false;
	for (struct budget *at = b; at; at = at->parent)
		at->used += n;
	return true;
}

/** May a window grow? */
static inline bool budget_has_more(const struct budget *b)
{
	for (; b; b = b->parent)
		if (b->state != BUDGET_OPEN)
			return false;
	return true;
}

static inline void budget_give(struct budget *b, size_t n)
{
	for (struct budget *at = b; at; at = at->parent)
		at->used -= n;
}

/** Takes `n` bytes for a window to grow by, or nothing and false. */
static inline bool budget_grow(struct budget *b, size_t n)
{
	if (!budget_has_more(b))
		return false;
	if (!b->growth)
		return budget_take(b, n);
	if (n > b->growth - b->grown || (b->parent && !budget_take(b->parent, n)))
		return false;
	b->grown += n;
	return true;
}

static inline void budget_give_grown(struct budget *b, size_t n)
{
	if (!b->growth) {
		budget_give(b, n);
		return;
	}
	b->grown -= n;
	if (b->parent)
		budget_give(b->parent, n);
}

#endif
