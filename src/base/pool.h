/* pool: freed blocks kept at hand, by size, for what comes and goes with each request.
 * Layer base; a loop has one, and those who live on it take and give small blocks by it.
 * Invariants: a block is malloc's own, so what was taken here may be given to free(), and what malloc gave may be given
 * here; at most POOL_KEEP bytes are kept. One thread.
 * Why: glibc keeps seven freed blocks of a size at hand. A hundred requests at once free more than that, and then each
 * is merged with its neighbours and cut out of them anew.
 * With sanitizers, and where the C library does not tell how large a block is, it keeps nothing.
 */
#ifndef ADIT_BASE_POOL_H
#define ADIT_BASE_POOL_H

#include <stddef.h>

/** Larger blocks are malloc's and free's: bodies, of which there are few at once. */
#define POOL_BLOCK_MAX 2056
/** What a few hundred requests at once need. */
#define POOL_KEEP (1024 * 1024)

/* malloc's sizes: 24, 40, 56 and so on */
#define POOL_STEP 16
#define POOL_FIRST 8
#define POOL_CLASSES ((POOL_BLOCK_MAX - POOL_FIRST) / POOL_STEP + 1)

struct pool_block;

struct pool {
	struct pool_block *free[POOL_CLASSES];
	size_t kept; /* bytes */
};

/** Begins as zeros. Frees what is kept. */
void pool_clear(struct pool *p);

/** As malloc; `p` may be NULL. */
void *pool_take(struct pool *p, size_t n);
/** As free; `p` may be NULL. */
void pool_give(struct pool *p, void *block);

#endif
