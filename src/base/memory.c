#include "base/memory.h"
#include <stdlib.h> /* defines __GLIBC__ */
#include <string.h>

#include "base/digest.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif

/** Free memory kept at the heap's end, and how much more is taken at a time than asked for. */
#define KEEP_BYTES (4 * 1024 * 1024)
#define GROW_BYTES (256 * 1024)
/** Larger blocks get pages of their own: none on the data path is. */
#define MAP_BYTES (1024 * 1024)

void memory_tune(void)
{
#ifdef __GLIBC__
	mallopt(M_TRIM_THRESHOLD, KEEP_BYTES);
	mallopt(M_TOP_PAD, GROW_BYTES);
	mallopt(M_MMAP_THRESHOLD, MAP_BYTES);
	mallopt(M_ARENA_MAX, 1); /* one thread does the work; each arena more takes 128 MiB of addresses */
#endif
}

void memory_give_back(void)
{
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

void *memory_grow_wiped(void *p, size_t used, size_t size)
{
	void *more = malloc(size);

	if (!more || !p)
		return more;
	memcpy(more, p, used);
	secret_wipe(p, used);
	free(p);
	return more;
}

void memory_free_wiped(void *p)
{
#ifdef __GLIBC__
	if (p)
		secret_wipe(p, malloc_usable_size(p));
#endif
	free(p);
}
