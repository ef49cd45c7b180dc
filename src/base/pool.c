#include "base/pool.h"

#include <stdlib.h>

#include "config.h"

#if defined(HAVE_MALLOC_USABLE_SIZE) && defined(HAVE_MALLOC_H) && !defined(INSTRUMENTED)
#include <malloc.h>

struct pool_block {
	struct pool_block *next;
};

void *pool_take(struct pool *p, size_t n)
{
	size_t class = (n + POOL_STEP - POOL_FIRST - 1) / POOL_STEP;
	struct pool_block *b;

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

	if (size < POOL_STEP + POOL_FIRST || size > POOL_BLOCK_MAX || p->kept + size > POOL_KEEP) {
		free(block);
		return;
	}
	b->next = p->free[class];
	p->free[class] = b;
	p->kept += class * POOL_STEP + POOL_FIRST;
}

void pool_clear(struct pool *p)
{
	for (size_t i = 0; i < POOL_CLASSES; i++) {
		while (p->free[i]) {
			struct pool_block *b = p->free[i];

			p->free[i] = b->next;
			free(b);
		}
	}
	p->kept = 0;
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
