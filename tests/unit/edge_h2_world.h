/* edge_h2_world: a visitor who speaks HTTP/2 in frames, at one end of a pipe, and the connection at the other. For
 * unit tests of edge_h2 only, on loop_script's clock. Requests that arrive are linked to scripts in order; the frames
 * that the visitor gets are kept.
 */
#ifndef ADIT_TESTS_EDGE_H2_WORLD_H
#define ADIT_TESTS_EDGE_H2_WORLD_H

#include "edge/edge_h2.h"

#include "half_script.h"
#include "pipe_script.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
enum { DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION };
enum { END_STREAM = 1, END_HEADERS = 4 };
enum { NO_ERROR = 0, CANCEL = 8, CALM = 11 };
#define REQUESTS 4
#define FRAMES 512

struct seen {
	uint8_t type, flags;
	uint32_t stream, word; /* of its payload the last four bytes of the first eight: GOAWAY's code; RST's the first */
};

/** A visitor at one end of a pipe, the connection at the other, and who answers. */
struct world {
	struct loop *loop;
	struct pipe *pipe;
	struct stream *visitor;
	struct budget budget;
	struct edge_h2 *edge;
	struct half_script answers[REQUESTS];
	unsigned requests, refused, closed;
	int why;                /* it was refused */
	uint8_t in[1 << 18];    /* what the visitor has read and not looked at */
	size_t in_len;
	struct seen seen[FRAMES];
	unsigned seen_count;
	size_t data;            /* bytes of DATA */
	bool deaf;              /* he takes nothing: only his own words cross */
};

static inline void on_request(void *owner, struct edge_h2 *c, struct half *asking, struct head *h, bool bodyless)
{
	struct world *w = owner;
	struct half_script *s = &w->answers[w->requests++];

	(void)c;
	CU_ASSERT_FATAL(w->requests <= REQUESTS);
	script_init(s);
	s->keep_up = true;
	half_link(&s->half, asking);
	script_head(&s->half, h, bodyless);
}

static inline void on_refused(void *owner, struct edge_h2 *c, int err)
{
	struct world *w = owner;

	(void)c;
	w->refused++;
	w->why = err;
}

static inline void on_closed(void *owner, struct edge_h2 *c)
{
	struct world *w = owner;

	(void)c;
	w->closed++;
	w->edge = NULL;
}

static inline uint32_t word(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Looks at the frames that the visitor has got. */
static inline void look(struct world *w)
{
	size_t at = 0;

	while (w->in_len - at >= 9) {
		const uint8_t *p = w->in + at;
		size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
		struct seen *s = &w->seen[w->seen_count];

		if (w->in_len - at - 9 < n)
			break;
		CU_ASSERT_FATAL(++w->seen_count < FRAMES);
		*s = (struct seen){p[3], p[4], word(p + 5), n >= 8 ? word(p + 13) : n >= 4 ? word(p + 9) : 0};
		w->data += s->type == DATA ? n : 0;
		at += 9 + n;
	}
	w->in_len -= at;
	memmove(w->in, w->in + at, w->in_len);
}

static inline void read_all(struct world *w)
{
	ssize_t n;

	while ((n = stream_read(w->visitor, w->in + w->in_len, sizeof(w->in) - w->in_len)) > 0) {
		w->in_len += (size_t)n;
		look(w);
	}
}

static inline bool move(struct world *w)
{
	struct pipe_way *way = &w->pipe->way[1];
	bool moved = way->arrived != way->written;

	if (w->deaf) {
		way->arrived = way->written;
		return moved;
	}
	moved = pipe_move(w->pipe, SIZE_MAX) > 0;
	read_all(w);
	return moved;
}

/* Until nothing moves. */
static inline void run(struct world *w)
{
	for (int i = 0; i < 1000; i++) {
		bool any = loop_turn(w->loop);

		any = move(w) || any;
		any = pipe_tell(w->pipe) || any;
		if (!any)
			return;
	}
	CU_FAIL("it never comes to rest");
}

/* Lets that much time go by. */
static inline void pass(struct world *w, uint64_t ms)
{
	uint64_t until = w->loop->ms + ms;

	run(w);
	while (loop_jump(w->loop, until))
		run(w);
	w->loop->ms = until;
}

static inline void say(struct world *w, const void *p, size_t n)
{
	struct iovec v = {(void *)(uintptr_t)p, n};

	CU_ASSERT_EQUAL_FATAL(stream_write(w->visitor, &v, 1), (ssize_t)n);
	run(w);
}

static inline void frame(struct world *w, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t n)
{
	uint8_t bytes[9 + 16384] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags,
	                            (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8),
	                            (uint8_t)stream};

	if (n)
		memcpy(bytes + 9, payload, n);
	say(w, bytes, 9 + n);
}

static inline void open_window(struct world *w, uint32_t stream, uint32_t n)
{
	const uint8_t p[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

	frame(w, WINDOW, 0, stream, p, 4);
}

/* :method by index, :scheme http, :path /, :authority a.example */
static const uint8_t get[] = "\x82\x86\x84\x41\x09" "a.example";
static const uint8_t post[] = "\x83\x86\x84\x41\x09" "a.example";
static const uint8_t upgrade[] = "\x02\x07" "CONNECT" "\x00\x09:protocol\x09websocket" "\x86\x84\x41\x09" "a.example";

static inline void ask(struct world *w, uint32_t stream)
{
	frame(w, HEADERS, END_HEADERS | END_STREAM, stream, get, sizeof(get) - 1);
}

/* A request whose body is to come; `credit`: the peer takes so much of it. */
static inline struct half_script *ask_post(struct world *w, uint32_t stream, size_t credit)
{
	struct half_script *s = &w->answers[w->requests];

	frame(w, HEADERS, END_HEADERS, stream, post, sizeof(post) - 1);
	script_grant(s, credit);
	return s;
}

static inline void send_body(struct world *w, uint32_t stream, size_t n)
{
	static const uint8_t zeros[16384];

	frame(w, DATA, 0, stream, zeros, n);
}

static inline unsigned count(const struct world *w, uint8_t type, uint32_t stream)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->seen_count; i++)
		n += w->seen[i].type == type && w->seen[i].stream == stream;
	return n;
}

/* The code of the last frame of that type. */
static inline int64_t code(const struct world *w, uint8_t type, uint32_t stream)
{
	int64_t found = -1;

	for (unsigned i = 0; i < w->seen_count; i++)
		if (w->seen[i].type == type && w->seen[i].stream == stream)
			found = w->seen[i].word;
	return found;
}

static inline struct world *begin(void)
{
	static const struct edge_h2_events events = {on_request, on_refused, on_closed};
	struct world *w = calloc(1, sizeof(*w));

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	w->loop = loop_new();
	w->pipe = pipe_new(w->loop, SIZE_MAX);
	w->visitor = &w->pipe->end[1].base;
	w->budget = (struct budget){.limit = 16 * BUDGET_TUNNEL};
	w->edge = edge_h2_new(w->loop, &w->pipe->end[0].base, NULL, false, &w->budget, &events, w);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->edge);
	say(w, PREFACE, sizeof(PREFACE) - 1);
	frame(w, SETTINGS, 0, 0, NULL, 0);
	return w;
}

static inline void end(struct world *w)
{
	struct stream *visitor = w->visitor;

	if (w->edge)
		edge_h2_free(&w->edge);
	stream_free(&visitor);
	loop_settle(w->loop);
	CU_ASSERT_EQUAL(w->budget.used, 0);
	CU_ASSERT_TRUE(pipe_is_over(w->pipe));
	CU_ASSERT_EQUAL(w->loop->timer_count, 0);
	pipe_free(w->pipe);
	loop_free(&w->loop);
	free(w);
}

#endif
