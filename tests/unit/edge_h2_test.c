/* edge_h2: what a visitor who speaks HTTP/2 may take his time for. The clock is the test's own. */
#include "edge_h2_world.h"

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

/* Who may go for others' sake: nothing of anything is taken. */
static void all_stalled(void)
{
	struct world *w = begin();
	struct half_script *s;
	uint64_t began;

	ask(w, 1);
	CU_ASSERT_EQUAL(edge_h2_stalled_since(w->edge), 0);
	open_window(w, 0, 1 << 30);
	s = fill_window(w, 3);
	pass(w, EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(edge_h2_stalled_since(w->edge), 0); /* the other one's answer has not come */
	script_respond(&w->answers[0], 200, 0, true, "");
	half_end(&w->answers[0].half, NULL);
	pass(w, 2 * EDGE_H2_LOOK_MS);
	began = w->loop->ms;
	pass(w, 10 * EDGE_H2_LOOK_MS);
	CU_ASSERT_NOT_EQUAL(edge_h2_stalled_since(w->edge), 0);
	CU_ASSERT_TRUE(edge_h2_stalled_since(w->edge) <= began);
	open_window(w, 3, 1);
	pass(w, EDGE_H2_LOOK_MS);
	CU_ASSERT_TRUE(edge_h2_stalled_since(w->edge) > began); /* he has taken something */
	edge_h2_cut_stalled(w->edge);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_STALLED);
	CU_ASSERT_EQUAL(w->closed, 1);
	CU_ASSERT_TRUE(w->pipe->end[1].spoilt || w->pipe->end[0].spoilt);
	end(w);
}

/* The same, with windows, when the socket takes nothing. */
static void socket_stalled(void)
{
	struct world *w = begin();
	uint64_t began;

	ask(w, 1);
	ask(w, 3); /* waits for its answer */
	w->deaf = true;
	w->pipe->room = 1000;
	script_respond(&w->answers[0], 200, 50000, false, "");
	script_send(&w->answers[0], 50000);
	run(w);
	began = w->loop->ms;
	pass(w, 10 * EDGE_H2_LOOK_MS);
	CU_ASSERT_EQUAL(edge_h2_stalled_since(w->edge), began);
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
	{"one is stalled when nothing waits for anything but its reader", all_stalled},
	{"or when its socket takes nothing", socket_stalled},
	{"a byte in time is enough for a slow reader", slow_reader},
	{"the connection's shut window: the same, but only when nobody gets anything", connection_stalled},
	{"a response that was said whole, and is not read, is given up too", reader_stalled_behind_the_end},
	{"one without a request makes room: GOAWAY, and closed at once", evicted},
};

UNIT_MAIN("edge_h2", tests)
