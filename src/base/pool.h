/* pool: freed blocks kept at hand, by size, for what comes and goes with each request.
 * Layer base; a loop has one, and those who live on it take and give small blocks by it.
 * Invariants: a block is malloc's own, so what was taken here may be given to free(); at most POOL_KEEP and
 * POOL_LARGE_KEEP bytes are kept. One thread.
 * Why: glibc keeps seven freed blocks of a size at hand. A hundred requests at once free more than that, and then each
 * is merged with its neighbours and cut out of them anew. Blocks of a record's size are never among those seven.
 * Who gives a block says how large it is: of a hundred requests' memory most has left the first cache, and a look at
 * the block, or at malloc's word before it, waits for it.
 * With sanitizers, and where the C library does not tell how large a block is, it keeps nothing.
 */
#ifndef ADIT_BASE_POOL_H
#define ADIT_BASE_POOL_H

#include <stddef.h>

/** Larger blocks are malloc's and free's, but for large ones. */
#define POOL_BLOCK_MAX 2056
/** What a few hundred requests at once need. */
#define POOL_KEEP (1024 * 1024)

/** A TLS record, a link's or a session's frame, with the header of the chunk that it is in: what a body is moved in. All
 * such are taken in this one size; what is asked for is at least POOL_LARGE_MIN, so that no more than a third is air. */
#define POOL_LARGE 16456
#define POOL_LARGE_MIN 12288
/** What one turn of the loop moves, each way. */
#define POOL_LARGE_KEEP (512 * 1024)

/* malloc's sizes: 24, 40, 56 and so on */
#define POOL_STEP 16
#define POOL_FIRST 8
#define POOL_CLASSES ((POOL_BLOCK_MAX - POOL_FIRST) / POOL_STEP + 1)

struct pool_block;

struct pool {
	struct pool_block *free[POOL_CLASSES];
	size_t kept; /* bytes */
	struct pool_block *large;
	size_t large_kept; /* bytes */
};

/** Begins as zeros. Frees what is kept. */
void pool_clear(struct pool *p);

/** As malloc; `p` may be NULL. */
void *pool_take(struct pool *p, size_t n);
/** As free, of a block of pool_take(`n`), by whichever pool, or of NULL; `p` may be NULL. */
void pool_give(struct pool *p, void *block, size_t n);
/** The same for a library that does not say how much it is; also of what realloc has made of such a block. */
void pool_give_unsized(struct pool *p, void *block);

#endif
