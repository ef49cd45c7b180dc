/* edge_h2: what a visitor who speaks HTTP/2 may take his time for. Bytes cross a pipe, the clock is the test's own. */
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

static void on_request(void *owner, struct edge_h2 *c, struct half *asking, struct head *h, bool bodyless)
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

static void on_refused(void *owner, struct edge_h2 *c, int err)
{
	struct world *w = owner;

	(void)c;
	w->refused++;
	w->why = err;
}

static void on_closed(void *owner, struct edge_h2 *c)
{
	struct world *w = owner;

	(void)c;
	w->closed++;
	w->edge = NULL;
}

static uint32_t word(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Looks at the frames that the visitor has got. */
static void look(struct world *w)
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

static void read_all(struct world *w)
{
	ssize_t n;

	while ((n = stream_read(w->visitor, w->in + w->in_len, sizeof(w->in) - w->in_len)) > 0) {
		w->in_len += (size_t)n;
		look(w);
	}
}

static bool move(struct world *w)
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
static void run(struct world *w)
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
static void pass(struct world *w, uint64_t ms)
{
	uint64_t until = w->loop->ms + ms;

	run(w);
	while (loop_jump(w->loop, until))
		run(w);
	w->loop->ms = until;
}

static void say(struct world *w, const void *p, size_t n)
{
	struct iovec v = {(void *)(uintptr_t)p, n};

	CU_ASSERT_EQUAL_FATAL(stream_write(w->visitor, &v, 1), (ssize_t)n);
	run(w);
}

static void frame(struct world *w, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t n)
{
	uint8_t bytes[9 + 16384] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags,
	                            (uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8),
	                            (uint8_t)stream};

	if (n)
		memcpy(bytes + 9, payload, n);
	say(w, bytes, 9 + n);
}

static void open_window(struct world *w, uint32_t stream, uint32_t n)
{
	const uint8_t p[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

	frame(w, WINDOW, 0, stream, p, 4);
}

/* :method by index, :scheme http, :path /, :authority a.example */
static const uint8_t get[] = "\x82\x86\x84\x41\x09" "a.example";
static const uint8_t post[] = "\x83\x86\x84\x41\x09" "a.example";
static const uint8_t upgrade[] = "\x02\x07" "CONNECT" "\x00\x09:protocol\x09websocket" "\x86\x84\x41\x09" "a.example";

static void ask(struct world *w, uint32_t stream)
{
	frame(w, HEADERS, END_HEADERS | END_STREAM, stream, get, sizeof(get) - 1);
}

/* A request whose body is to come; `credit`: the peer takes so much of it. */
static struct half_script *ask_post(struct world *w, uint32_t stream, size_t credit)
{
	struct half_script *s = &w->answers[w->requests];

	frame(w, HEADERS, END_HEADERS, stream, post, sizeof(post) - 1);
	script_grant(s, credit);
	return s;
}

static void send_body(struct world *w, uint32_t stream, size_t n)
{
	static const uint8_t zeros[16384];

	frame(w, DATA, 0, stream, zeros, n);
}

static unsigned count(const struct world *w, uint8_t type, uint32_t stream)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->seen_count; i++)
		n += w->seen[i].type == type && w->seen[i].stream == stream;
	return n;
}

/* The code of the last frame of that type. */
static int64_t code(const struct world *w, uint8_t type, uint32_t stream)
{
	int64_t found = -1;

	for (unsigned i = 0; i < w->seen_count; i++)
		if (w->seen[i].type == type && w->seen[i].stream == stream)
			found = w->seen[i].word;
	return found;
}

static struct world *begin(void)
{
	static const struct edge_h2_events events = {on_request, on_refused, on_closed};
	struct world *w = calloc(1, sizeof(*w));

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	w->loop = loop_new();
	w->pipe = pipe_new(w->loop, SIZE_MAX);
	w->visitor = &w->pipe->end[1].base;
	w->budget = (struct budget){NULL, BUDGET_PROCESS, 0};
	w->edge = edge_h2_new(w->loop, &w->pipe->end[0].base, NULL, &w->budget, &events, w);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->edge);
	say(w, PREFACE, sizeof(PREFACE) - 1);
	frame(w, SETTINGS, 0, 0, NULL, 0);
	return w;
}

static void end(struct world *w)
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

/* ---- the connection */

static void first_request(void)
{
	struct world *w = begin();

	pass(w, EDGE_H2_FIRST_MS - 1);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 0);
	pass(w, 1);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 1);
	pass(w, EDGE_H2_NOTICE_MS + EDGE_H2_LINGER_MS);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 2);
	CU_ASSERT_EQUAL(code(w, GOAWAY, 0), NO_ERROR);
	CU_ASSERT_EQUAL(w->closed, 1);
	end(w);
}

static void answer(struct half_script *s)
{
	script_respond(s, 200, 0, true, "");
}

static void idle(void)
{
	struct world *w = begin();

	for (uint32_t stream = 1; stream < 7; stream += 2) {
		ask(w, stream);
		answer(&w->answers[w->requests - 1]);
		pass(w, EDGE_H2_IDLE_MS - 1);
		CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 0);
	}
	frame(w, PING, 0, 0, "12345678", 8);
	CU_ASSERT_EQUAL(count(w, PING, 0), 1);
	pass(w, 1);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 1);
	pass(w, EDGE_H2_NOTICE_MS + EDGE_H2_LINGER_MS);
	CU_ASSERT_EQUAL(w->closed, 1);
	end(w);
}

static void no_deadline_for_who_answers(void)
{
	struct world *w = begin();

	ask(w, 1);
	pass(w, 3600000);
	answer(&w->answers[0]);
	run(w);
	CU_ASSERT_EQUAL(count(w, HEADERS, 1), 1);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 0);
	end(w);
}

/* Bytes of a block that trickle put nothing off. */
static void block(void)
{
	static const uint8_t head[] = {0, 0, sizeof(get) - 1, HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 3};
	struct world *w = begin();

	ask(w, 1);
	say(w, head, sizeof(head));
	for (unsigned s = 0; s < EDGE_H2_BLOCK_MS / 1000; s++) {
		CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 0);
		pass(w, 999);
		say(w, get + s, 1);
		pass(w, 1);
	}
	CU_ASSERT_EQUAL(code(w, GOAWAY, 0), CALM);
	CU_ASSERT_EQUAL(w->answers[0].aborted, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(w->closed, 0);
	pass(w, EDGE_H2_LINGER_MS);
	CU_ASSERT_EQUAL(w->closed, 1);
	CU_ASSERT_EQUAL(w->requests, 1);
	end(w);
}

static void each_block_has_its_own_time(void)
{
	struct world *w = begin();

	ask(w, 1);
	for (uint32_t stream = 3; stream < 9; stream += 2) {
		frame(w, HEADERS, END_STREAM, stream, get, 4);
		pass(w, EDGE_H2_BLOCK_MS - 1);
		frame(w, CONTINUATION, END_HEADERS, stream, get + 4, sizeof(get) - 5);
	}
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 0);
	CU_ASSERT_EQUAL(w->requests, 4);
	end(w);
}

static void trailers_block(void)
{
	struct world *w = begin();

	ask_post(w, 1, 10000);
	frame(w, HEADERS, END_STREAM, 1, "\x00\x03x-a", 5);
	pass(w, EDGE_H2_BLOCK_MS);
	CU_ASSERT_EQUAL(code(w, GOAWAY, 0), CALM);
	CU_ASSERT_EQUAL(w->answers[0].aborted, ADIT_ERR_ABANDONED);
	CU_ASSERT_FALSE(w->answers[0].ended);
	end(w);
}

static void first_block(void)
{
	struct world *w = begin();

	pass(w, 5000);
	frame(w, HEADERS, END_STREAM, 1, get, 4);
	pass(w, EDGE_H2_FIRST_MS - 5000 + EDGE_H2_NOTICE_MS);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 2);
	pass(w, EDGE_H2_BLOCK_MS);
	CU_ASSERT_EQUAL(w->closed, 1);
	end(w);
}

/* Nothing is taken from the socket, whatever is said meanwhile. */
static void socket_full(void)
{
	struct world *w = begin();

	ask(w, 1);
	w->deaf = true;
	w->pipe->room = 1000;
	script_respond(&w->answers[0], 200, 50000, false, "");
	script_send(&w->answers[0], 50000);
	run(w);
	for (int i = 1; i < 3; i++) { /* a little is taken now and then */
		pass(w, EDGE_H2_STALL_MS - 1);
		w->pipe->room += 1000;
		run(w);
		CU_ASSERT_EQUAL(w->closed, 0);
	}
	for (int m = 0; m < 4; m++) {
		pass(w, EDGE_H2_STALL_MS / 5);
		frame(w, PING, 0, 0, "12345678", 8);
		CU_ASSERT_EQUAL(w->closed, 0);
	}
	pass(w, EDGE_H2_STALL_MS / 5);
	CU_ASSERT_EQUAL(w->closed, 1);
	CU_ASSERT_EQUAL(w->answers[0].aborted, ADIT_ERR_ABANDONED);
	end(w);
}

/* ---- a request's body */

static void body_late(void)
{
	struct world *w = begin();
	struct half_script *s;

	ask(w, 1);
	s = ask_post(w, 3, 10000);
	pass(w, EDGE_H2_BODY_MS - EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(w->refused, 0);
	pass(w, 3 * EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(w->refused, 1);
	CU_ASSERT_EQUAL(w->why, ADIT_ERR_SLOW);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_SLOW);
	CU_ASSERT_FALSE(s->ended);
	CU_ASSERT_EQUAL(count(w, HEADERS, 3), 1);
	CU_ASSERT_EQUAL(code(w, RST, 3), NO_ERROR);
	/* the other one never hears of it */
	answer(&w->answers[0]);
	run(w);
	CU_ASSERT_EQUAL(count(w, HEADERS, 1), 1);
	CU_ASSERT_EQUAL(count(w, RST, 1), 0);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 0);
	end(w);
}

static void body_rate(size_t bytes, bool enough)
{
	struct world *w = begin();
	struct half_script *s = ask_post(w, 1, 1000000);

	for (int m = 0; m < 5; m++) {
		pass(w, EDGE_H2_BODY_MS - EDGE_H2_LOOK_MS);
		send_body(w, 1, bytes);
		pass(w, EDGE_H2_LOOK_MS);
	}
	CU_ASSERT_EQUAL(s->aborted, enough ? 0 : ADIT_ERR_SLOW);
	CU_ASSERT_EQUAL(w->refused, enough ? 0 : 1);
	end(w);
}

static void body_rates(void)
{
	body_rate(EDGE_H2_BODY_MIN, true);
	body_rate(EDGE_H2_BODY_MIN / 2 - 1, false);
	body_rate(0, false);
}

/* He has sent all that is taken, and waits himself. */
static void body_not_taken(void)
{
	struct world *w = begin();
	struct half_script *s = ask_post(w, 1, 100);

	s->keep_up = false;
	send_body(w, 1, 100);
	pass(w, 10 * EDGE_H2_BODY_MS);
	send_body(w, 1, 1);
	pass(w, 10 * EDGE_H2_BODY_MS);
	CU_ASSERT_EQUAL(s->aborted, 0);
	script_grant(s, 1000);
	pass(w, EDGE_H2_BODY_MS + 2 * EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_SLOW);
	end(w);
}

static void body_under_a_response(void)
{
	struct world *w = begin();
	struct half_script *s = ask_post(w, 1, 1000);

	script_respond(s, 200, HEAD_LENGTH_UNKNOWN, false, "");
	script_send(s, 10);
	pass(w, 10 * EDGE_H2_BODY_MS);
	CU_ASSERT_EQUAL(s->aborted, 0);
	half_end(&s->half, NULL);
	pass(w, EDGE_H2_BODY_MS - 1);
	CU_ASSERT_EQUAL(s->aborted, 0);
	CU_ASSERT_EQUAL(count(w, RST, 1), 0);
	pass(w, 2 * EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_SLOW);
	CU_ASSERT_EQUAL(code(w, RST, 1), NO_ERROR);
	CU_ASSERT_EQUAL(w->refused, 0);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 0);
	end(w);
}

static void upgraded(void)
{
	struct world *w = begin();

	frame(w, HEADERS, END_HEADERS, 1, upgrade, sizeof(upgrade) - 1);
	CU_ASSERT_EQUAL_FATAL(w->requests, 1);
	script_grant(&w->answers[0], 1000);
	pass(w, 10 * EDGE_H2_BODY_MS);
	script_respond(&w->answers[0], 101, HEAD_LENGTH_UNKNOWN, false, "");
	pass(w, 10 * EDGE_H2_BODY_MS);
	CU_ASSERT_EQUAL(w->answers[0].aborted, 0);
	CU_ASSERT_EQUAL(w->refused, 0);
	end(w);
}

/* ---- a response's reader */

/* A response that fills the stream's window of 65535 and waits on. */
static struct half_script *fill_window(struct world *w, uint32_t stream)
{
	struct half_script *s = &w->answers[w->requests];

	ask(w, stream);
	script_respond(s, 200, HEAD_LENGTH_UNKNOWN, false, "");
	while (script_send(s, 100000))
		run(w);
	return s;
}

static void reader_stalled(void)
{
	struct world *w = begin();
	struct half_script *s, *other;

	open_window(w, 0, 1 << 30);
	s = fill_window(w, 1);
	ask(w, 3);
	other = &w->answers[1];
	script_respond(other, 200, HEAD_LENGTH_UNKNOWN, false, "");
	for (int m = 0; m < 5; m++) {
		CU_ASSERT_EQUAL(s->aborted, 0);
		script_send(other, 1000);
		pass(w, EDGE_H2_STALL_MS / 5);
	}
	pass(w, EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_SLOW);
	CU_ASSERT_EQUAL(code(w, RST, 1), CANCEL);
	CU_ASSERT_EQUAL(other->aborted, 0);
	half_end(&other->half, NULL);
	run(w);
	CU_ASSERT_EQUAL(w->data, 65535 + 5000);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 0);
	end(w);
}

static void slow_reader(void)
{
	struct world *w = begin();
	struct half_script *s;

	open_window(w, 0, 1 << 30);
	s = fill_window(w, 1);
	for (int i = 0; i < 5; i++) {
		pass(w, EDGE_H2_STALL_MS - EDGE_H2_LOOK_MS);
		open_window(w, 1, 1);
	}
	CU_ASSERT_EQUAL(s->aborted, 0);
	CU_ASSERT_EQUAL(w->data, 65535 + 5);
	end(w);
}

/* The connection's window is shut: nobody gets anything, and none is better than the other. */
static void connection_stalled(void)
{
	struct world *w = begin();
	struct half_script *s = fill_window(w, 1), *other;

	open_window(w, 1, 1000000);
	other = fill_window(w, 3);
	pass(w, EDGE_H2_STALL_MS - EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(s->aborted, 0);
	/* the one goes on now; the other may, but it was not his turn */
	open_window(w, 0, 10000);
	pass(w, EDGE_H2_STALL_MS - EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(s->aborted, 0);
	CU_ASSERT_EQUAL(other->aborted, 0);
	pass(w, 3 * EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_SLOW);
	CU_ASSERT_EQUAL(other->aborted, ADIT_ERR_SLOW);
	end(w);
}

/* All is said, and nobody is there any more who would miss it. */
static void reader_stalled_behind_the_end(void)
{
	struct world *w = begin();
	struct half_script *s;

	open_window(w, 0, 1 << 30);
	s = fill_window(w, 1);
	half_end(&s->half, NULL);
	half_done(&s->half);
	pass(w, EDGE_H2_STALL_MS + 2 * EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(code(w, RST, 1), CANCEL);
	pass(w, EDGE_H2_IDLE_MS);
	CU_ASSERT_TRUE(count(w, GOAWAY, 0) > 0);
	end(w);
}

/* ---- making room */

static void evicted(void)
{
	struct world *w = begin();

	CU_ASSERT_EQUAL(edge_h2_idle_since(w->edge), 1000);
	pass(w, 500);
	ask(w, 1);
	CU_ASSERT_EQUAL(edge_h2_idle_since(w->edge), 0);
	pass(w, 500);
	answer(&w->answers[0]);
	CU_ASSERT_EQUAL(edge_h2_idle_since(w->edge), 0);
	run(w);
	CU_ASSERT_EQUAL(edge_h2_idle_since(w->edge), 2000);
	edge_h2_evict(w->edge);
	CU_ASSERT_EQUAL(w->closed, 1);
	run(w);
	CU_ASSERT_EQUAL(count(w, GOAWAY, 0), 1);
	CU_ASSERT_EQUAL(code(w, GOAWAY, 0), NO_ERROR);
	end(w);
}

static const struct unit_test tests[] = {
	{"no first request: GOAWAY after 10 s, and the end", first_request},
	{"without a request: GOAWAY after 180 s, whatever else is said; each request begins them anew", idle},
	{"while an answer is waited for there is no deadline", no_deadline_for_who_answers},
	{"a field block has 10 s, however its bytes trickle; then GOAWAY(ENHANCE_YOUR_CALM)", block},
	{"each field block has its own 10 s", each_block_has_its_own_time},
	{"trailers' field block has 10 s as well", trailers_block},
	{"the first request's block has what is left of the first 10 s", first_block},
	{"a socket that takes nothing is closed after 5 min, whatever comes from it", socket_full},
	{"a body that does not come: 408, RST_STREAM(NO_ERROR), and no harm to others", body_late},
	{"1 KiB in 60 s is enough, less is not", body_rates},
	{"a body that is not taken has no deadline", body_not_taken},
	{"a body has none under a response; behind it RST_STREAM(NO_ERROR)", body_under_a_response},
	{"an upgraded stream has none", upgraded},
	{"a stream's shut window: RST_STREAM(CANCEL) after 5 min, and no harm to others", reader_stalled},
	{"a byte in time is enough for a slow reader", slow_reader},
	{"the connection's shut window: the same, but only when nobody gets anything", connection_stalled},
	{"a response that was said whole, and is not read, is given up too", reader_stalled_behind_the_end},
	{"one without a request makes room: GOAWAY, and closed at once", evicted},
};

UNIT_MAIN("edge_h2", tests)
