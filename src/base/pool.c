#include "base/pool.h"

#include <stdbool.h>
#include <stdlib.h>

#include "config.h"

#if defined(HAVE_MALLOC_USABLE_SIZE) && defined(HAVE_MALLOC_H) && !defined(INSTRUMENTED)
#include <malloc.h>

struct pool_block {
	struct pool_block *next;
};

static bool is_large(size_t n)
{
	return n >= POOL_LARGE_MIN && n <= POOL_LARGE;
}

static size_t class_of(size_t n)
{
	return (n + POOL_STEP - POOL_FIRST - 1) / POOL_STEP;
}

static size_t size_of(size_t class)
{
	return class * POOL_STEP + POOL_FIRST;
}

/* By size alone: it may be given to another pool than it came from, or have come from none. */
static void *fresh(size_t n)
{
	if (is_large(n))
		return malloc(POOL_LARGE);
	return malloc(n > POOL_BLOCK_MAX ? n : size_of(class_of(n)));
}

/* The first of a list. The next one will be wanted soon, and is not in the first cache any more. */
static void *take_first(struct pool_block **list, size_t size, size_t *kept)
{
	struct pool_block *b = *list;

	*list = b->next;
	*kept -= size;
	__builtin_prefetch(b->next, 1);
	return b;
}

void *pool_take(struct pool *p, size_t n)
{
	if (p && is_large(n) && p->large)
		return take_first(&p->large, POOL_LARGE, &p->large_kept);
	if (p && n <= POOL_BLOCK_MAX && p->free[class_of(n)])
		return take_first(&p->free[class_of(n)], size_of(class_of(n)), &p->kept);
	return fresh(n);
}

static void keep(struct pool_block **list, struct pool_block *b, size_t size, size_t *kept)
{
	b->next = *list;
	*list = b;
	*kept += size;
}

void pool_give(struct pool *p, void *block, size_t n)
{
	size_t class = class_of(n);

	if (p && block && is_large(n) && p->large_kept + POOL_LARGE <= POOL_LARGE_KEEP)
		keep(&p->large, block, POOL_LARGE, &p->large_kept);
	else if (p && block && n <= POOL_BLOCK_MAX && class && p->kept + size_of(class) <= POOL_KEEP)
		keep(&p->free[class], block, size_of(class), &p->kept);
	else
		free(block);
}

/* malloc may have given a little more than was asked for, so each is of the largest size that it surely holds. */
void pool_give_unsized(struct pool *p, void *block)
{
	size_t size = p && block ? malloc_usable_size(block) : 0;

	if (size >= POOL_LARGE && size <= POOL_LARGE + POOL_STEP)
		pool_give(p, block, POOL_LARGE);
	else if (size >= POOL_FIRST && size <= POOL_BLOCK_MAX)
		pool_give(p, block, size_of((size - POOL_FIRST) / POOL_STEP));
	else
		free(block);
}

static void free_all(struct pool_block **list)
{
	while (*list) {
		struct pool_block *b = *list;

		*list = b->next;
		free(b);
	}
}

void pool_clear(struct pool *p)
{
	for (size_t i = 0; i < POOL_CLASSES; i++)
		free_all(&p->free[i]);
	free_all(&p->large);
	p->kept = p->large_kept = 0;
}

#else

void *pool_take(struct pool *p, size_t n)
{
	(void)p;
	return malloc(n);
}

void pool_give(struct pool *p, void *block, size_t n)
{
	(void)p;
	(void)n;
	free(block);
}

void pool_give_unsized(struct pool *p, void *block)
{
	(void)p;
	free(block);
}

void pool_clear(struct pool *p)
{
	(void)p;
}

#endif
