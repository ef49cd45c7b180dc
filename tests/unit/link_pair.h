/* link_pair: two links and a scripted carrier between them, for the link's tests.
 * Each end pulls from a fixed stream and keeps what it is given; the script says how much a write or read moves and
 * at which byte a direction of the carrier dies. The clock is the test's.
 */
#ifndef ADIT_TESTS_LINK_PAIR_H
#define ADIT_TESTS_LINK_PAIR_H

#include <string.h>

#include "link/link.h"
#include "unit.h"

/* A file that needs less says so before it includes this. */
#ifndef STREAM_MAX
#define STREAM_MAX 400000
#define WIRE_MAX 600000
#endif

struct end {
	struct link *link;
	const uint8_t *src;
	size_t src_len, src_at;
	const size_t *pulls; /* sizes of the session's pieces, round and round; ends with 0 */
	size_t pull_at;
	uint8_t *got;
	size_t got_len;
	unsigned drains;
	bool controls;       /* queue control frames on the way, from inside the pull */
	bool quiet;          /* nothing to pull for now */
	int deliver_error;
	bool kill_in_deliver;
};

struct pair {
	struct end end[2];
	uint8_t *wire[2];    /* bytes from end i to the other */
	size_t wire_len[2], wire_at[2];
	uint64_t now_ms;
};

/* What a session may give, pull by pull. */
#define PULLS_MIXED ((const size_t[]){1, 700, 7, 300, 64, 0})
#define PULLS_FULL ((const size_t[]){FRAME_DATA_MAX, 0})
#define PULLS_BULK ((const size_t[]){FRAME_DATA_MAX, 20, 9000, 0})

static inline size_t pair_pull(void *arg, uint8_t *p, size_t cap)
{
	struct end *e = arg;
	size_t n = e->pulls[e->pull_at];

	if (e->quiet)
		return 0;
	if (e->pulls[++e->pull_at] == 0)
		e->pull_at = 0;
	if (n > e->src_len - e->src_at)
		n = e->src_len - e->src_at;
	if (n > cap)
		n = cap;
	if (n)
		memcpy(p, e->src + e->src_at, n);
	if (e->controls && n && e->pull_at == 2) {
		(void)link_control(e->link, FRAME_DRAIN, "\0\0\1\0", 4);
		link_ping(e->link, 0);
	}
	e->src_at += n;
	return n;
}

static inline int pair_deliver(void *arg, const uint8_t *p, size_t n)
{
	struct end *e = arg;

	CU_ASSERT_FATAL(e->got_len + n <= STREAM_MAX);
	memcpy(e->got + e->got_len, p, n);
	e->got_len += n;
	if (e->kill_in_deliver)
		link_kill(e->link);
	return e->deliver_error;
}

static inline int pair_control(void *arg, enum frame_type type, const uint8_t *p, size_t n)
{
	struct end *e = arg;

	CU_ASSERT(type == FRAME_DRAIN && n == 4 && p[2] == 1);
	e->drains++;
	return 0;
}

static inline struct link *pair_link(struct end *e)
{
	static const struct link_callbacks callbacks = {pair_pull, pair_deliver, pair_control};

	return link_new(&callbacks, e);
}

static inline void *must_alloc(size_t n)
{
	void *p = malloc(n);

	if (!p)
		abort();
	return p;
}

/* The `i`th byte of stream `which`: no short period, so that a slip of any length shows. */
static uint8_t byte_at(unsigned which, size_t i)
{
	uint32_t x = (uint32_t)i * 2654435761u + which * 97;

	return (uint8_t)(x >> 24 ^ x >> 11);
}

static inline struct pair *pair_new(size_t n0, size_t n1, const size_t *pulls)
{
	struct pair *p = must_alloc(sizeof(*p));

	memset(p, 0, sizeof(*p));
	p->now_ms = 1000;
	for (unsigned i = 0; i < 2; i++) {
		struct end *e = &p->end[i];
		uint8_t *src = must_alloc(STREAM_MAX);

		e->src_len = i ? n1 : n0;
		for (size_t b = 0; b < e->src_len; b++)
			src[b] = byte_at(i, b);
		e->src = src;
		e->pulls = pulls;
		e->got = must_alloc(STREAM_MAX);
		p->wire[i] = must_alloc(WIRE_MAX);
		e->link = pair_link(e);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e->link);
	}
	return p;
}

static inline void pair_free(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		link_free(&p->end[i].link);
		CU_ASSERT_PTR_NULL(p->end[i].link);
		free((void *)(uintptr_t)p->end[i].src);
		free(p->end[i].got);
		free(p->wire[i]);
	}
	free(p);
}

/* The next round of the same exchange, over new links. */
static inline void pair_rewind(struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		struct end *e = &p->end[i];

		link_free(&e->link);
		e->link = pair_link(e);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e->link);
		e->src_at = e->pull_at = e->got_len = 0;
		p->wire_len[i] = p->wire_at[i] = 0;
	}
}

static inline struct link *link_of(const struct pair *p, int i)
{
	return p->end[i].link;
}

static inline void pair_attach(struct pair *p)
{
	uint64_t rx[2] = {link_rx_offset(link_of(p, 0)), link_rx_offset(link_of(p, 1))};

	for (int i = 0; i < 2; i++) {
		CU_ASSERT_TRUE(link_may_attach(link_of(p, i), rx[1 - i]));
		CU_ASSERT_EQUAL(link_attach(link_of(p, i), rx[1 - i], p->now_ms), 0);
		p->wire_len[i] = p->wire_at[i] = 0;
	}
}

static inline void pair_detach(struct pair *p)
{
	for (int i = 0; i < 2; i++)
		link_detach(link_of(p, i), p->now_ms);
}

/* Writes once from end `i`, at most `max` bytes. */
static inline size_t write_once(struct pair *p, int i, size_t max)
{
	struct iovec iov[5];
	int n = link_out(link_of(p, i), iov, 5, 0, p->now_ms);
	size_t taken = 0;

	for (int v = 0; v < n && taken < max; v++) {
		size_t part = iov[v].iov_len < max - taken ? iov[v].iov_len : max - taken;

		CU_ASSERT_FATAL(p->wire_len[i] + part <= WIRE_MAX);
		memcpy(p->wire[i] + p->wire_len[i], iov[v].iov_base, part);
		p->wire_len[i] += part;
		taken += part;
	}
	link_sent(link_of(p, i), taken, p->now_ms);
	CU_ASSERT(link_tx_offset(link_of(p, i)) - link_acked(link_of(p, i)) <= link_inflight_limit(link_of(p, i)));
	return taken;
}

/* Hands at most `max` bytes that end `i` wrote to the other, none beyond offset `cut` of the carrier. */
static inline int read_once(struct pair *p, int i, size_t max, size_t cut, size_t *moved)
{
	size_t n = p->wire_len[i] - p->wire_at[i];

	if (n > max)
		n = max;
	if (n > cut - p->wire_at[i])
		n = cut - p->wire_at[i];
	p->wire_at[i] += n;
	*moved += n;
	return n ? link_recv(link_of(p, 1 - i), p->wire[i] + p->wire_at[i] - n, n, p->now_ms) : 0;
}

struct script {
	size_t write_max, read_max;
	size_t cut[2]; /* bytes that each direction carries before the carrier dies */
};

#define WHOLE ((struct script){WIRE_MAX, WIRE_MAX, {SIZE_MAX, SIZE_MAX}})

static inline bool finished(const struct pair *p)
{
	for (int i = 0; i < 2; i++)
		if (p->end[i].src_at < p->end[i].src_len || link_acked(link_of(p, i)) < p->end[i].src_len)
			return false;
	return true;
}

/* Runs until all is delivered and acked (true), or the carrier died (false). */
static inline bool pair_run(struct pair *p, const struct script *s)
{
	for (int idle = 0; idle < 5 && !finished(p);) {
		size_t moved = 0;

		for (int i = 0; i < 2; i++) {
			moved += write_once(p, i, s->write_max);
			if (read_once(p, i, s->read_max, s->cut[i], &moved) < 0)
				return false;
			if (p->wire_at[i] == s->cut[i])
				return false;
		}
		idle = moved ? 0 : idle + 1;
		if (moved)
			continue;
		p->now_ms += LINK_ACK_MS;
		for (int i = 0; i < 2; i++)
			CU_ASSERT_EQUAL(link_tick(link_of(p, i), p->now_ms), LINK_WELL);
	}
	return true;
}

static inline bool delivered(const struct pair *p)
{
	for (int i = 0; i < 2; i++) {
		const struct end *from = &p->end[i], *to = &p->end[1 - i];

		if (to->got_len != from->src_len || memcmp(to->got, from->src, from->src_len) != 0)
			return false;
		if (link_acked(from->link) != from->src_len || link_rx_offset(to->link) != from->src_len)
			return false;
	}
	return true;
}

#endif
