/* nghttp2's memory. */
#include <stdlib.h>

#include "base/memory.h"
#include "h2/h2_int.h"

/* nghttp2's memory is the pool's; what it frees once a secret has come may have held it, decoded. Where the peer puts
 * it into the HPACK table it stays there until it is crowded out, or the connection ends. */
static void *take(size_t n, void *arg)
{
	const struct h2 *h = arg;

	return pool_take(h->pool, n);
}

static void give(void *p, void *arg)
{
	const struct h2 *h = arg;

	if (h->secret_held)
		memory_free_wiped(p);
	else
		pool_give(h->pool, p);
}

static void *take_cleared(size_t n, size_t size, void *arg)
{
	const struct h2 *h = arg;
	void *p = size && n > SIZE_MAX / size ? NULL : pool_take(h->pool, n * size);

	if (p)
		memset(p, 0, n * size);
	return p;
}

static void *change(void *p, size_t n, void *arg)
{
	(void)arg;
	return realloc(p, n);
}

nghttp2_mem h2_memory(struct h2 *h)
{
	return (nghttp2_mem){h, take, give, take_cleared, change};
}
