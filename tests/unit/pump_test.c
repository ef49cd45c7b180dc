/* pump: what a stranger sent that waits for its turn, on the scripted loop. */
#include "io/loop.h"

/* The loop's block is looked at when it is given back. */
void script_return(struct loop *l, uint8_t *block);
#define loop_return script_return
#include "loop_script.h"
#undef loop_return

#include "h2/pump.h"
#include "h2_stranger.h"
#include "pipe_script.h"

#define TOKEN "sesame-sesame"
#define TOKEN_END "ame"
#define PART 3
/* a GET with that Authorization, literal and not indexed */
#define ASK_WITH_TOKEN(stream) "\0\0\x1e" "\1\5\0\0\0" stream GET "\x0f\x08\x0d" TOKEN
#define REQUESTS 64
#define TURNS 100

struct world {
	struct loop *loop;
	struct pipe *pipe;
	struct h2_pump pump;
	struct h2 *h2;
	struct budget budget;
	struct half_script answers[REQUESTS];
	unsigned requests;
	bool ended;
};

static bool has(const uint8_t *p, size_t n, const char *text, size_t len)
{
	for (size_t at = 0; at + len <= n; at++)
		if (memcmp(p + at, text, len) == 0)
			return true;
	return false;
}

static bool has_token(const uint8_t *p, size_t n)
{
	return has(p, n, TOKEN, sizeof(TOKEN) - 1);
}

void loop_return(struct loop *l, uint8_t *block)
{
	/* wherever it is cut, one of these is whole */
	CU_ASSERT_FALSE(has(block, LOOP_BLOCK, TOKEN, PART));
	CU_ASSERT_FALSE(has(block, LOOP_BLOCK, TOKEN_END, PART));
	script_return(l, block);
}

static void woken(void *owner)
{
	struct world *w = owner;

	h2_pump_wake(&w->pump);
}

static void asked(void *owner, struct h2_stream *stream, const struct head *h, bool bodyless)
{
	struct world *w = owner;
	struct half_script *s = &w->answers[w->requests++];

	CU_ASSERT_FATAL(w->requests <= REQUESTS);
	script_init(s);
	half_link(&s->half, h2_stream_half(stream));
	script_head(&s->half, h, bodyless);
}

static void ended(void *owner, int err, const char *detail)
{
	struct world *w = owner;

	(void)err;
	(void)detail;
	w->ended = true;
}

static void world_begin(struct world *w)
{
	static const struct h2_events events = {.wake = woken, .request = asked};
	static const struct h2_pump_events pump_events = {.ended = ended};
	const struct h2_options o = {.role = H2_ANSWERING, .budget = &w->budget};

	memset(w, 0, sizeof(*w));
	w->loop = loop_new();
	w->pipe = pipe_new(w->loop, 1 << 20);
	w->budget = (struct budget){.limit = BUDGET_TUNNEL};
	w->h2 = h2_new(&o, &events, w);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->h2);
	h2_pump_init(&w->pump, w->loop, w->h2, &pump_events, w);
	h2_pump_start(&w->pump, &w->pipe->end[1].base);
}

static void world_end(struct world *w)
{
	if (!w->pump.stopped)
		h2_pump_stop(&w->pump);
	h2_free(&w->h2, ADIT_ERR_ABANDONED);
	h2_pump_clear(&w->pump);
	stream_free(&(struct stream *){&w->pipe->end[0].base});
	loop_settle(w->loop);
	pipe_free(w->pipe);
	loop_free(&w->loop);
}

static void says(struct world *w, const void *p, size_t n)
{
	pipe_add(&w->pipe->way[0], p, n, SIZE_MAX);
	pipe_move(w->pipe, SIZE_MAX);
}

/* Turns until there is nothing to do; how many that took. No time passes. */
static unsigned turns(struct world *w)
{
	unsigned n = 0;

	while (n < TURNS && (pipe_tell(w->pipe) | loop_turn(w->loop)))
		n++;
	return n;
}

/* More requests than one turn's, and a token in the last. */
static void token_that_waits(void)
{
	struct world w;

	world_begin(&w);
	says(&w, HELLO, sizeof(HELLO) - 1);
	for (unsigned i = 0; i <= H2_PUMP_REQUESTS; i++) {
		uint8_t ask[] = ASK("\1"), last[] = ASK_WITH_TOKEN("\1");
		bool is_last = i == H2_PUMP_REQUESTS;

		ask[8] = last[8] = (uint8_t)(2 * i + 1);
		says(&w, is_last ? last : ask, is_last ? sizeof(last) - 1 : sizeof(ask) - 1);
	}
	pipe_tell(w.pipe);
	CU_ASSERT_EQUAL(w.requests, H2_PUMP_REQUESTS);
	CU_ASSERT_TRUE(has_token(w.pump.rest, w.pump.rest_len));
	CU_ASSERT_TRUE(turns(&w) < TURNS);
	CU_ASSERT_EQUAL(w.requests, H2_PUMP_REQUESTS + 1);
	CU_ASSERT_PTR_NULL(w.pump.rest);
	world_end(&w);
}

/* The field comes in two reads, the second of which is the shorter: it does not cover what the first has left. */
static void token_in_two_reads(void)
{
	static const char pad[] = "\0\0\x70" "\1\1\0\0\0\1" GET "\x0f\x03\x5f"; /* a long field, then CONTINUATION */
	static const uint8_t last[] = ASK_WITH_TOKEN("\1");

	for (size_t cut = 1; cut < sizeof(last) - 1 - H2_FRAME_HEADER - (sizeof(GET) - 1); cut++) {
		const size_t from = H2_FRAME_HEADER + sizeof(GET) - 1, rest = sizeof(last) - 1 - from;
		uint8_t next[H2_FRAME_HEADER + sizeof(last)] = {0, 0, (uint8_t)rest, 9, 4, 0, 0, 0, 1};
		uint8_t padding[0x70 - (sizeof(GET) - 1) - 3];
		struct world w;

		memset(padding, 'x', sizeof(padding));
		memcpy(next + H2_FRAME_HEADER, last + from, rest);
		world_begin(&w);
		says(&w, HELLO, sizeof(HELLO) - 1);
		says(&w, pad, sizeof(pad) - 1);
		says(&w, padding, sizeof(padding));
		says(&w, next, H2_FRAME_HEADER + cut);
		CU_ASSERT_TRUE(turns(&w) < TURNS);
		CU_ASSERT_EQUAL(w.requests, 0);
		says(&w, next + H2_FRAME_HEADER + cut, rest - cut);
		CU_ASSERT_TRUE(turns(&w) < TURNS);
		CU_ASSERT_EQUAL(w.requests, 1);
		world_end(&w);
	}
}

/* Asks and resets, until what it says waits for time to pass. */
static void hasty(struct world *w)
{
	world_begin(w);
	says(w, HELLO, sizeof(HELLO) - 1);
	for (unsigned i = 0; i < REQUESTS; i++) {
		uint8_t ask[] = ASK("\1") "\0\0\4\3\0\0\0\0\1" "\0\0\0\x08";

		ask[8] = ask[sizeof(ask) - 6] = (uint8_t)(2 * i + 1);
		says(w, ask, sizeof(ask) - 1);
	}
	CU_ASSERT_TRUE(turns(w) < TURNS);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->pump.rest);
	CU_ASSERT_TRUE(timer_is_set(&w->pump.later));
}

/* A write fails meanwhile: nothing turns round until the time has passed, and then all is looked at first. */
static void unwritable_while_it_waits(void)
{
	struct world w;

	hasty(&w);
	w.pipe->end[1].err = ADIT_ERR_RESET;
	h2_goaway(w.h2); /* which is to be written */
	CU_ASSERT_TRUE(turns(&w) < TURNS);
	CU_ASSERT_NOT_EQUAL(w.pump.unwritable, 0);
	CU_ASSERT_PTR_NOT_NULL(w.pump.rest);
	CU_ASSERT_FALSE(w.ended);
	for (unsigned i = 0; i < REQUESTS && !w.ended; i++) {
		loop_jump(w.loop, UINT64_MAX);
		CU_ASSERT_TRUE_FATAL(turns(&w) < TURNS);
	}
	CU_ASSERT_TRUE(w.ended);
	CU_ASSERT_EQUAL(w.requests, REQUESTS);
	world_end(&w);
}

/* All is said: what waited is not wanted, and does not stand before what comes. */
static void quiet_while_it_waits(void)
{
	struct world w;

	hasty(&w);
	h2_pump_quiet(&w.pump);
	CU_ASSERT_PTR_NULL(w.pump.rest);
	CU_ASSERT_FALSE(timer_is_set(&w.pump.later));
	says(&w, ASK("\x7f"), sizeof(ASK("\x7f")) - 1);
	CU_ASSERT_TRUE(turns(&w) < TURNS);
	CU_ASSERT_EQUAL(w.pipe->way[0].taken, w.pipe->way[0].arrived);
	world_end(&w);
}

static const struct unit_test tests[] = {
	{"a token behind a turn's requests does not stay in the loop's block", token_that_waits},
	{"nor does a part of one that comes in two reads", token_in_two_reads},
	{"a write that fails while requests wait lets nothing turn round", unwritable_while_it_waits},
	{"requests that wait are thrown away when all is said", quiet_while_it_waits},
};

UNIT_MAIN("pump", tests)
