#include "link/replay.h"

#include <string.h>

/* A pull smaller than this is copied to an allocation of its own size: 16 KiB for every small frame would fill the
 * in-flight limit with air. */
#define TIGHT_BELOW 8192

void replay_init(struct replay *r)
{
	memset(r, 0, sizeof(*r));
}

static size_t cost(const struct replay_chunk *c)
{
	return sizeof(*c) + FRAME_HEADER_LEN + c->cap;
}

static struct replay_chunk *chunk_new(struct replay *r, size_t cap)
{
	struct replay_chunk *c = pool_take(r->pool, sizeof(*c) + FRAME_HEADER_LEN + cap);

	if (!c)
		return NULL;
	c->next = NULL;
	c->len = 0;
	c->cap = (uint32_t)cap;
	return c;
}

static void drop_head(struct replay *r)
{
	struct replay_chunk *c = r->head;

	r->head = c->next;
	if (!r->head)
		r->tail = NULL;
	r->held -= cost(c);
	pool_give(r->pool, c, cost(c));
}

static void drop_spare(struct replay *r)
{
	if (r->spare)
		pool_give(r->pool, r->spare, cost(r->spare));
	r->spare = NULL;
}

/* An idle link, one of thousands, holds nothing. */
static void drop_spare_when_idle(struct replay *r)
{
	if (!r->head)
		drop_spare(r);
}

void replay_halt(struct replay *r)
{
	drop_spare(r);
	r->cursor = NULL;
	r->start = r->written = 0;
}

void replay_clear(struct replay *r)
{
	replay_halt(r);
	while (r->head)
		drop_head(r);
}

struct replay_chunk *replay_room(struct replay *r)
{
	struct replay_chunk *c = r->spare;

	r->spare = NULL;
	return c ? c : chunk_new(r, FRAME_DATA_MAX);
}

void replay_drop(struct replay *r, struct replay_chunk *c)
{
	drop_spare(r);
	r->spare = c;
	drop_spare_when_idle(r);
}

void replay_commit(struct replay *r, struct replay_chunk *c, size_t n)
{
	struct replay_chunk *tight = n < TIGHT_BELOW ? chunk_new(r, n) : NULL;

	if (tight) {
		memcpy(tight->bytes + FRAME_HEADER_LEN, c->bytes + FRAME_HEADER_LEN, n);
		drop_spare(r);
		r->spare = c;
		c = tight;
	}
	c->next = NULL;
	c->offset = r->end;
	c->len = (uint32_t)n;
	frame_header(c->bytes, FRAME_DATA, n);
	if (r->tail)
		r->tail->next = c;
	else
		r->head = c;
	r->tail = c;
	if (!r->cursor)
		r->cursor = c;
	r->end += n;
	r->held += cost(c);
}

void replay_release(struct replay *r, uint64_t offset)
{
	r->acked = offset;
	while (r->head && r->head->offset + r->head->len <= offset)
		drop_head(r);
	drop_spare_when_idle(r);
}

void replay_rewind(struct replay *r, uint64_t offset)
{
	replay_release(r, offset);
	r->cursor = r->head;
	r->start = r->written = 0;
	if (r->head && r->head->offset < offset) {
		r->start = (uint32_t)(offset - r->head->offset);
		frame_header(r->header, FRAME_DATA, r->head->len - r->start);
	}
}

static uint64_t position_within(const struct replay *r)
{
	uint32_t payload = r->written > FRAME_HEADER_LEN ? r->written - FRAME_HEADER_LEN : 0;

	return r->cursor->offset + r->start + payload;
}

uint64_t replay_position(const struct replay *r)
{
	return r->cursor ? position_within(r) : r->end;
}

size_t replay_frame_left(const struct replay *r, const struct replay_chunk *c)
{
	size_t frame = (size_t)FRAME_HEADER_LEN + c->len;

	return c == r->cursor ? frame - r->start - r->written : frame;
}

static int describe(struct iovec *iov, const uint8_t *p, size_t len, size_t *n)
{
	iov->iov_base = (uint8_t *)(uintptr_t)p;
	iov->iov_len = len;
	*n += len;
	return 1;
}

int replay_describe(const struct replay *r, const struct replay_chunk *c, struct iovec *iov, int max, size_t *n)
{
	size_t left = replay_frame_left(r, c);
	const uint8_t *end = c->bytes + FRAME_HEADER_LEN + c->len;
	int used = 0;

	if (max < 1)
		return 0;
	if (c == r->cursor && r->start && r->written < FRAME_HEADER_LEN) {
		size_t part = FRAME_HEADER_LEN - r->written;

		used = describe(iov, r->header + r->written, part, n);
		left -= part;
		if (used == max)
			return used;
	}
	return used + describe(iov + used, end - left, left, n);
}

void replay_wrote(struct replay *r, size_t n)
{
	uint64_t before = replay_position(r), after;

	while (n && r->cursor) {
		size_t left = replay_frame_left(r, r->cursor);

		if (n < left) {
			r->written += (uint32_t)n;
			break;
		}
		n -= left;
		r->cursor = r->cursor->next;
		r->start = r->written = 0;
	}
	after = replay_position(r);
	if (before < r->sent)
		r->resent += (after < r->sent ? after : r->sent) - before;
	if (after > r->sent)
		r->sent = after;
}
