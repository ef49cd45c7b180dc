/* memory: how the process treats the allocator, and memory that held secrets.
 * Layer base; the mains call memory_tune once, before anything else.
 * Invariant: nothing that was in a block is left in memory after memory_grow_wiped and memory_free_wiped.
 */
#ifndef ADIT_BASE_MEMORY_H
#define ADIT_BASE_MEMORY_H

#include <stddef.h>
#include <stdint.h>

/** For a large array on the stack that is written before it is read: it is not cleared first, as everything else is
 *  (-ftrivial-auto-var-init). */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define MEMORY_UNSET __attribute__((uninitialized))
#endif
#endif
#ifndef MEMORY_UNSET
#define MEMORY_UNSET
#endif

/** libev's tables of 30 000 descriptors are 1.5 MiB, and growing leaves holes as large. */
#define MEMORY_RESERVE (4u * 1024 * 1024)

/**
 * Keeps a few MiB of freed heap instead of giving it back to the kernel at once: buffers of 4 to 64 KiB come and go
 * with every body, and mapping their pages anew each time cost a tenth of a download's CPU. Does nothing where the
 * C library has no such knobs.
 */
void memory_tune(void);

/**
 * realloc (free for `n` 0) for libev, which ends the process when it gets nothing. Under RLIMIT_AS it may have what
 * memory_keep_reserve has kept back from everybody else: so large that all of its tables fit.
 */
void *memory_from_reserve(void *p, long n);
/** RLIMIT_AS; UINT64_MAX where there is none. */
uint64_t memory_addresses(void);
/** Under RLIMIT_AS: makes the soft limit MEMORY_RESERVE less than what it was, and that the hard one. */
void memory_keep_reserve(void);

/** Gives what is free back to the system, also between what is used: for when much has gone. It takes 0.2 ms for each
 *  MiB that is free. */
void memory_give_back(void);

/** As realloc to a larger `size`, of a block of which `used` bytes mean something. NULL: out of memory, `p` stays. */
void *memory_grow_wiped(void *p, size_t used, size_t size);
/** As realloc to any `size`; where the allocator tells how large the block is, a smaller one stays as it is, and what
 *  moves is overwritten. */
void *memory_change_wiped(void *p, size_t size);
/** Overwrites the whole block, however much of it the allocator gave (where it tells), and frees it. NULL is fine. */
void memory_free_wiped(void *p);

#endif
