/* ws_script: a ws on a scripted lower stream, for its tests.
 * What the lower stream gives and takes at a time is chosen, what it took is kept or given to another one's ws.
 * Tasks are run by settle; nothing waits.
 */
#ifndef ADIT_TESTS_WS_SCRIPT_H
#define ADIT_TESTS_WS_SCRIPT_H

#include <string.h>

#include "base/digest.h"
#include "base/err.h"
#include "carrier/ws.h"
#include "unit.h"

#define ALL SIZE_MAX

/* Asked for by a read. A file that wants less says so before it includes this. */
#ifndef WS_SCRIPT_READ
#define WS_SCRIPT_READ 65536
#endif

struct lower {
	struct stream base;
	struct lower *far;            /* gets what we take; NULL: it is kept in `taken` */
	struct buf given, taken;
	size_t read_max, write_max;   /* bytes a call */
	size_t room;                  /* bytes that are taken at all */
	int end;                      /* what a read gives when `given` is empty; 0 = AGAIN */
	int write_error;
	unsigned writes, finishes;
	bool paused, short_write, spoilt;
	struct task tell_readable, tell_writable;
};

static inline ssize_t lower_read(struct stream *s, void *p, size_t n)
{
	struct lower *lo = container_of(s, struct lower, base);

	if (!lo->given.len)
		return lo->end ? lo->end : ADIT_ERR_AGAIN;
	return (ssize_t)buf_take(&lo->given, p, n < lo->read_max ? n : lo->read_max);
}

static inline void lower_wake(struct lower *lo)
{
	if (!lo->paused && (lo->given.len || lo->end))
		task_post(lo->base.loop, &lo->tell_readable);
}

static inline void lower_give(struct lower *lo, const void *p, size_t n)
{
	CU_ASSERT_EQUAL(buf_add(&lo->given, p, n), 0);
	lower_wake(lo);
}

static inline ssize_t lower_write(struct stream *s, const struct iovec *iov, int count)
{
	struct lower *lo = container_of(s, struct lower, base);
	size_t may = lo->room < lo->write_max ? lo->room : lo->write_max, done = 0;

	CU_ASSERT_EQUAL(lo->finishes, 0);
	if (lo->write_error)
		return lo->write_error;
	lo->writes++;
	for (int i = 0; i < count; i++) {
		size_t n = iov[i].iov_len < may - done ? iov[i].iov_len : may - done;

		if (n && lo->far)
			lower_give(lo->far, iov[i].iov_base, n);
		else if (n)
			CU_ASSERT_EQUAL(buf_add(&lo->taken, iov[i].iov_base, n), 0);
		done += n;
		lo->short_write = lo->short_write || n < iov[i].iov_len;
	}
	if (lo->room != ALL)
		lo->room -= done;
	if (lo->short_write && lo->room)
		task_post_next(s->loop, &lo->tell_writable);
	return (ssize_t)done;
}

static inline void lower_pause(struct stream *s, bool paused)
{
	struct lower *lo = container_of(s, struct lower, base);

	lo->paused = paused;
	lower_wake(lo);
}

static inline size_t lower_unsent(const struct stream *s)
{
	(void)s;
	return 7;
}

static inline void lower_finish(struct stream *s)
{
	struct lower *lo = container_of(s, struct lower, base);

	lo->finishes++;
	if (lo->far && !lo->far->end) {
		lo->far->end = ADIT_ERR_EOF;
		lower_wake(lo->far);
	}
}

static inline void lower_spoil(struct stream *s)
{
	container_of(s, struct lower, base)->spoilt = true;
}

static inline void lower_stop(struct stream *s)
{
	struct lower *lo = container_of(s, struct lower, base);

	task_cancel(s->loop, &lo->tell_readable);
	task_cancel(s->loop, &lo->tell_writable);
	if (lo->far)
		lo->far->far = NULL;
}

static inline void lower_destroy(struct stream *s)
{
	struct lower *lo = container_of(s, struct lower, base);

	buf_clear(&lo->given);
	buf_clear(&lo->taken);
	free(lo);
}

static const struct stream_ops lower_ops = {
	.read = lower_read,
	.write = lower_write,
	.pause = lower_pause,
	.unsent = lower_unsent,
	.finish = lower_finish,
	.spoil = lower_spoil,
	.stop = lower_stop,
	.destroy = lower_destroy,
};

static inline void lower_tell_readable(void *arg)
{
	struct lower *lo = arg;

	if (lo->paused || !lo->base.handler)
		return;
	lo->base.handler->readable(lo->base.owner);
	if (lo->base.handler && !lo->paused && (lo->given.len || lo->end))
		task_post_next(lo->base.loop, &lo->tell_readable);
}

static inline void lower_tell_writable(void *arg)
{
	struct lower *lo = arg;

	lo->short_write = false;
	lo->base.handler->writable(lo->base.owner);
}

/* More room, and the news of it. */
static inline void lower_drain(struct lower *lo, size_t room)
{
	lo->room = room;
	if (lo->short_write)
		task_post(lo->base.loop, &lo->tell_writable);
}

/** One ws, what it sits on, and the owner above it. */
struct side {
	struct loop *loop;
	struct lower *lower;
	struct stream *ws;
	struct buf got;
	size_t read_max;  /* bytes asked for at a time */
	int end;          /* the error that reading gave */
	unsigned readables, writables;
	bool read_once;   /* one read a readable, not until AGAIN */
	bool idle;        /* does not read when told */
	bool drop;        /* frees the ws when told */
};

static inline void on_readable(void *owner)
{
	struct side *x = owner;
	uint8_t block[WS_SCRIPT_READ];

	x->readables++;
	if (x->drop)
		stream_free(&x->ws);
	while (x->ws && !x->idle && !x->end) {
		ssize_t n = stream_read(x->ws, block, x->read_max < sizeof(block) ? x->read_max : sizeof(block));

		if (n == ADIT_ERR_AGAIN)
			break;
		if (n < 0)
			x->end = (int)n;
		else
			CU_ASSERT_EQUAL(buf_add(&x->got, block, (size_t)n), 0);
		if (x->read_once)
			break;
	}
}

static inline void on_writable(void *owner)
{
	struct side *x = owner;

	x->writables++;
}

static const struct stream_handler handler = {on_readable, on_writable};

static inline void side_begin(struct side *x, struct loop *l, enum ws_side which, struct buf *rest)
{
	struct stream *s;

	memset(x, 0, sizeof(*x));
	x->loop = l;
	x->read_max = ALL;
	x->lower = calloc(1, sizeof(*x->lower));
	if (!x->lower)
		abort();
	stream_init(&x->lower->base, &lower_ops, l);
	x->lower->read_max = x->lower->write_max = x->lower->room = ALL;
	x->lower->paused = true;
	x->lower->tell_readable = (struct task){.run = lower_tell_readable, .arg = x->lower};
	x->lower->tell_writable = (struct task){.run = lower_tell_writable, .arg = x->lower};
	s = &x->lower->base;
	x->ws = ws_new(&s, which, rest);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->ws);
	CU_ASSERT_PTR_NULL(s);
	stream_own(x->ws, &handler, x);
	stream_pause(x->ws, false);
}

static inline void side_end(struct side *x)
{
	stream_free(&x->ws);
	loop_settle(x->loop);
	buf_clear(&x->got);
}

/* Each gets what the other sends. */
static inline void join(struct side *a, struct side *b)
{
	a->lower->far = b->lower;
	b->lower->far = a->lower;
}

static inline void settle(struct loop *l, unsigned turns)
{
	for (unsigned i = 0; i < turns; i++)
		loop_settle(l);
}

static inline bool buf_is(struct buf *b, const void *p, size_t n)
{
	uint8_t *copy = malloc(b->len + 1);
	size_t had = b->len;
	bool same;

	if (!copy)
		abort();
	buf_take(b, copy, had);
	same = had == n && (n == 0 || memcmp(copy, p, n) == 0);
	free(copy);
	return same;
}

static inline bool buf_is_hex(struct buf *b, const char *hex)
{
	uint8_t want[256];
	size_t n = strlen(hex) / 2;

	return hex_decode(hex, 2 * n, want, n) == 0 && buf_is(b, want, n);
}

static inline void give_hex(struct side *x, const char *hex)
{
	uint8_t p[256];
	size_t n = strlen(hex) / 2;

	CU_ASSERT_EQUAL(hex_decode(hex, 2 * n, p, n), 0);
	lower_give(x->lower, p, n);
	settle(x->loop, 1);
}

static inline void fill(uint8_t *p, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525u + 1013904223u;
		p[i] = (uint8_t)(seed >> 24);
	}
}

static inline ssize_t put(struct side *x, const void *p, size_t n)
{
	struct iovec v = {(void *)(uintptr_t)p, n};

	return stream_write(x->ws, &v, 1);
}

/* The frame at the head of `b`, unmasked; returns its opcode, -1 when it is not whole or not FIN. */
static inline int take_frame(struct buf *b, bool masked, uint8_t *payload, size_t *n, uint8_t key[4])
{
	uint8_t head[2], ext[2];

	if (buf_take(b, head, 2) < 2 || !(head[0] & 0x80) || (head[1] & 0x80) != (masked ? 0x80 : 0))
		return -1;
	*n = head[1] & 0x7f;
	if (*n == 127 || (*n == 126 && buf_take(b, ext, 2) < 2))
		return -1;
	if (*n == 126)
		*n = (size_t)ext[0] << 8 | ext[1];
	memset(key, 0, 4);
	if (masked && buf_take(b, key, 4) < 4)
		return -1;
	if (buf_take(b, payload, *n) < *n)
		return -1;
	for (size_t i = 0; i < *n; i++)
		payload[i] ^= key[i % 4];
	return head[0] & 0x7f;
}

#endif
