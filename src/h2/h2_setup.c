/* What an nghttp2 session is made with: memory, and the SETTINGS that it begins with. */
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
		pool_give_unsized(h->pool, p);
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
	const struct h2 *h = arg;

	return h->secret_held ? memory_change_wiped(p, n) : realloc(p, n);
}

nghttp2_mem h2_memory(struct h2 *h)
{
	return (nghttp2_mem){h, take, give, take_cleared, change};
}

int h2_submit_settings(struct h2 *h)
{
	nghttp2_settings_entry all[8];
	size_t n = 0;
	int err;

	all[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h->window};
	all[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, H2_HEADER_TABLE};
	all[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, 2 * HTTP_HEAD_MAX};
	all[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
	if (h->role == H2_ASKING)
		all[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
	else
		all[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
	if (h->role == H2_ANSWERING && !h->gated)
		all[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, h->streams_max};
	err = nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, all, n);
	if (!err && h->gated)
		err = h2_gate_settings(h, h->streams_max);
	if (err || nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, 0, INT32_MAX) != 0)
		return ADIT_ERR_NOMEM;
	return 0;
}
