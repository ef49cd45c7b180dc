/* budget: bytes that peers have been allowed to send us, so that memory stays bounded whatever they do.
 * Layer h2. Each tunnel has one, below the process's.
 * Invariant: used <= limit at every level.
 */
#ifndef ADIT_H2_BUDGET_H
#define ADIT_H2_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

/** Granted stream windows of one tunnel: 1024 streams of 64 KiB. */
#define BUDGET_TUNNEL (64u * 1024 * 1024)
/** Of all tunnels and HTTP/2 visitors of a process: sixteen busy tunnels. */
#define BUDGET_PROCESS (1024u * 1024 * 1024)

struct budget {
	struct budget *parent; /* NULL at the top */
	size_t limit, used;
};

/** Takes `n` bytes here and above, or nothing and false. */
static inline bool budget_take(struct budget *b, size_t n)
{
	for (struct budget *at = b; at; at = at->parent)
		if (n > at->limit - at->used)
			return false;
	for (struct budget *at = b; at; at = at->parent)
		at->used += n;
	return true;
}

static inline void budget_give(struct budget *b, size_t n)
{
	for (struct budget *at = b; at; at = at->parent)
		at->used -= n;
}

#endif
