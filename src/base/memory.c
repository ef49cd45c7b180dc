#include "base/memory.h"
#include <stdbool.h>
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

/* ---- RLIMIT_AS, which not every system has (OpenBSD): there nobody is limited by it */

#ifdef RLIMIT_AS
static bool get_limit(struct rlimit *r)
{
	return getrlimit(RLIMIT_AS, r) == 0 && r->rlim_cur != RLIM_INFINITY;
}

static bool set_limit(const struct rlimit *r)
{
	return setrlimit(RLIMIT_AS, r) == 0;
}
#else
static bool get_limit(struct rlimit *r)
{
	*r = (struct rlimit){RLIM_INFINITY, RLIM_INFINITY};
	return false;
}

static bool set_limit(const struct rlimit *r)
{
	(void)r;
	return false;
}
#endif

uint64_t memory_addresses(void)
{
	struct rlimit r;

	return get_limit(&r) ? r.rlim_cur : UINT64_MAX;
}

void memory_keep_reserve(void)
{
	struct rlimit r;

	if (!get_limit(&r) || r.rlim_cur <= MEMORY_RESERVE)
		return;
	r.rlim_max = r.rlim_cur;
	r.rlim_cur -= MEMORY_RESERVE;
	set_limit(&r);
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
	if (got || !get_limit(&r))
		return got;
	more = (struct rlimit){r.rlim_max, r.rlim_max};
	if (set_limit(&more)) {
		got = realloc(p, (size_t)n);
		set_limit(&r);
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
