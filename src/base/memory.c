#include "base/memory.h"
#include <stdlib.h> /* defines __GLIBC__ */
#include <string.h>
#include <sys/resource.h>

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

void memory_keep_reserve(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_AS, &r) < 0 || r.rlim_cur == RLIM_INFINITY || r.rlim_cur <= MEMORY_RESERVE)
		return;
	r.rlim_max = r.rlim_cur;
	r.rlim_cur -= MEMORY_RESERVE;
	setrlimit(RLIMIT_AS, &r);
}

/* The limit is raised for this one call. What the heap grows by beyond it, and the old block, are everybody's. */
void *memory_from_reserve(void *p, long n)
{
	struct rlimit r, more;
	void *got;

	if (!n) {
		free(p);
		return NULL;
	}
	got = realloc(p, (size_t)n);
	if (got || getrlimit(RLIMIT_AS, &r) < 0 || r.rlim_cur == RLIM_INFINITY)
		return got;
	more = (struct rlimit){r.rlim_max, r.rlim_max};
	if (setrlimit(RLIMIT_AS, &more) == 0) {
		got = realloc(p, (size_t)n);
		setrlimit(RLIMIT_AS, &r);
	}
	return got;
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

void *memory_change_wiped(void *p, size_t size)
{
#ifdef __GLIBC__
	size_t used = p ? malloc_usable_size(p) : 0;

	if (used && size)
		return used >= size ? p : memory_grow_wiped(p, used, size);
#endif
	return realloc(p, size);
}

void memory_free_wiped(void *p)
{
#ifdef __GLIBC__
	if (p)
		secret_wipe(p, malloc_usable_size(p));
#endif
	free(p);
}
