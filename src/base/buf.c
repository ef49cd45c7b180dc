#include "base/buf.h"

#include <string.h>

#include "base/digest.h"
#include "base/err.h"

struct chunk {
	struct chunk *next;
	uint32_t off, end, cap;
	uint8_t data[];
};

void buf_init(struct buf *b)
{
	*b = (struct buf)BUF_INIT;
}

static void drop_head(struct buf *b)
{
	struct chunk *c = b->head;

	b->head = c->next;
	if (!b->head)
		b->tail = NULL;
	pool_give(b->pool, c, sizeof(*c) + c->cap);
}

void buf_clear(struct buf *b)
{
	while (b->head)
		drop_head(b);
	b->len = 0;
}

void buf_wipe(struct buf *b)
{
	for (struct chunk *c = b->head; c; c = c->next)
		secret_wipe(c->data, c->end);
	buf_clear(b);
}

static struct chunk *add_chunk(struct buf *b, size_t min)
{
	size_t cap = min < BUF_CHUNK_MIN ? BUF_CHUNK_MIN : min;
	struct chunk *c = pool_take(b->pool, sizeof(*c) + cap);

	if (!c)
		return NULL;
	c->next = NULL;
	c->off = c->end = 0;
	c->cap = (uint32_t)cap;
	if (b->tail)
		b->tail->next = c;
	else
		b->head = c;
	b->tail = c;
	return c;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
	struct chunk *c = b->tail;
	size_t first = c ? c->cap - c->end : 0;

	if (first > n)
		first = n;
	if (n > first && !add_chunk(b, n - first))
		return ADIT_ERR_NOMEM;
	if (first) {
		memcpy(c->data + c->end, p, first);
		c->end += (uint32_t)first;
	}
	if (n > first) {
		memcpy(b->tail->data, (const uint8_t *)p + first, n - first);
		b->tail->end = (uint32_t)(n - first);
	}
	b->len += n;
	return 0;
}

uint8_t *buf_room(struct buf *b, size_t min, size_t *got)
{
	struct chunk *c = b->tail;

	if (!c || c->cap - c->end < min) {
		c = add_chunk(b, min);
		if (!c)
			return NULL;
	}
	*got = c->cap - c->end;
	return c->data + c->end;
}

void buf_commit(struct buf *b, size_t n)
{
	b->tail->end += (uint32_t)n;
	b->len += n;
}

int buf_iov(const struct buf *b, struct iovec *iov, int max)
{
	int n = 0;

	for (struct chunk *c = b->head; c && n < max; c = c->next) {
		if (c->end == c->off)
			continue;
		iov[n].iov_base = c->data + c->off;
		iov[n].iov_len = c->end - c->off;
		n++;
	}
	return n;
}

void buf_drop(struct buf *b, size_t n)
{
	b->len -= n;
	while (b->head) {
		struct chunk *c = b->head;
		size_t have = c->end - c->off;

		if (n < have) {
			c->off += (uint32_t)n;
			return;
		}
		n -= have;
		drop_head(b);
	}
}

size_t buf_take(struct buf *b, void *p, size_t n)
{
	struct iovec v;
	size_t done = 0;

	while (done < n && buf_iov(b, &v, 1) == 1) {
		size_t part = v.iov_len < n - done ? v.iov_len : n - done;

		memcpy((uint8_t *)p + done, v.iov_base, part);
		buf_drop(b, part);
		done += part;
	}
	return done;
}

void buf_splice(struct buf *dst, struct buf *src)
{
	if (!src->head)
		return;
	if (dst->tail)
		dst->tail->next = src->head;
	else
		dst->head = src->head;
	dst->tail = src->tail;
	dst->len += src->len;
	src->head = src->tail = NULL;
	src->len = 0;
}
