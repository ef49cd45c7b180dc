#include "base/pool.h"

#include <stdbool.h>
#include <stdlib.h>

#include "config.h"

#if defined(HAVE_MALLOC_USABLE_SIZE) && defined(HAVE_MALLOC_H) && !defined(INSTRUMENTED)
#include <malloc.h>

struct pool_block {
	struct pool_block *next;
};

static void *take_large(struct pool *p)
{
	struct pool_block *b = p->large;

	if (!b)
		return malloc(POOL_LARGE);
	p->large = b->next;
	p->large_kept -= POOL_LARGE;
	return b;
}

/* malloc may have given a little more than was asked for, where the rest would have been too small for a block. */
static bool is_large(size_t size)
{
	return size >= POOL_LARGE && size <= POOL_LARGE + POOL_STEP;
}

static bool give_large(struct pool *p, struct pool_block *b)
{
	if (p->large_kept + POOL_LARGE > POOL_LARGE_KEEP)
		return false;
	b->next = p->large;
	p->large = b;
	p->large_kept += POOL_LARGE;
	return true;
}

void *pool_take(struct pool *p, size_t n)
{
	size_t class = (n + POOL_STEP - POOL_FIRST - 1) / POOL_STEP;
	struct pool_block *b;

	if (p && n >= POOL_LARGE_MIN && n <= POOL_LARGE)
		return take_large(p);
	if (!p || n > POOL_BLOCK_MAX)
		return malloc(n);
	b = p->free[class];
	if (!b)
		return malloc(class * POOL_STEP + POOL_FIRST);
	p->free[class] = b->next;
	p->kept -= class * POOL_STEP + POOL_FIRST;
	return b;
}

void pool_give(struct pool *p, void *block)
{
	size_t size = p && block ? malloc_usable_size(block) : 0;
	size_t class = (size - POOL_FIRST) / POOL_STEP;
	struct pool_block *b = block;

	if (is_large(size) && give_large(p, b))
		return;
	if (size < POOL_STEP + POOL_FIRST || size > POOL_BLOCK_MAX || p->kept + size > POOL_KEEP) {
		free(block);
		return;
	}
	b->next = p->free[class];
	p->free[class] = b;
	p->kept += class * POOL_STEP + POOL_FIRST;
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

void pool_give(struct pool *p, void *block)
{
	(void)p;
	free(block);
}

void pool_clear(struct pool *p)
{
	(void)p;
}

#endif
