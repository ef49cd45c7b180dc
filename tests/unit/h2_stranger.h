/* h2_stranger: a connection that answers a stranger, whose bytes the test writes. For gate_test and calm_test.
 */
#ifndef ADIT_TESTS_H2_STRANGER_H
#define ADIT_TESTS_H2_STRANGER_H

#include <stdlib.h>

#include "h2/h2.h"
#include "half_script.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define HELLO PREFACE "\0\0\0\4\0\0\0\0\0"
#define GET "\x82\x86\x84\x41\x09" "a.example"
#define GET_LEN "\0\0\x0e"
/* a GET on that stream, its block and all its frame */
#define ASK(stream) GET_LEN "\1\5\0\0\0" stream GET
#define ACK "\0\0\0\4\1\0\0\0\0"
#define BYTES(s) (const uint8_t *)(s), sizeof(s) - 1
enum { RST = 3, GOAWAY = 7 };
#define STREAMS 4

struct end {
	struct h2 *h2;
	struct budget budget;
	struct half_script answers[STREAMS];
	unsigned requests;
	bool unlinked, blames; /* requests are refused; and it is his fault */
	int err;
	int64_t goaway, rst; /* codes, -1 = none */
	uint32_t rst_stream;
};

static void on_wake(void *owner)
{
	(void)owner;
}

static void on_request(void *owner, struct h2_stream *stream, const struct head *h, bool bodyless)
{
	struct end *e = owner;
	struct half_script *s = &e->answers[e->requests++ % STREAMS];

	if (e->blames)
		h2_blame(e->h2);
	if (e->unlinked)
		return;
	CU_ASSERT_PTR_NULL_FATAL(s->half.peer); /* so many at once */
	script_init(s);
	half_link(&s->half, h2_stream_half(stream));
	script_head(&s->half, h, bodyless);
	script_grant(s, 1000);
}

/* 0: h2's own. */
static void begin_crowd(struct end *e, uint32_t crowd, uint32_t streams)
{
	static const struct h2_events events = {.wake = on_wake, .request = on_request};
	const struct h2_options o = {.role = H2_ANSWERING, .budget = &e->budget, .crowd = crowd, .streams = streams};

	memset(e, 0, sizeof(*e));
	e->budget = (struct budget){.limit = BUDGET_TUNNEL};
	e->goaway = e->rst = -1;
	e->h2 = h2_new(&o, &events, e);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e->h2);
}

static inline void begin(struct end *e)
{
	begin_crowd(e, 0, 0);
}

static uint32_t word(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* What it says to that. */
static void pull(struct end *e)
{
	uint8_t block[H2_QUANTUM + H2_FRAME_HEADER];
	size_t n;

	while ((n = h2_pull(e->h2, block, sizeof(block))) > 0) {
		for (size_t at = 0; at + 9 <= n; at += 9 + (word(block + at) >> 8)) {
			const uint8_t *f = block + at;

			if (f[3] == GOAWAY)
				e->goaway = word(f + 13);
			if (f[3] == RST) {
				e->rst = word(f + 9);
				e->rst_stream = word(f + 5);
			}
		}
	}
}

static inline void take(struct end *e, const uint8_t *p, size_t n)
{
	if (n && !e->err)
		e->err = h2_recv(e->h2, p, n);
	pull(e);
}

#endif
