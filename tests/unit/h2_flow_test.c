/* h2: windows, budgets, credit, and whose turn it is. */
#include "h2_pair.h"

#define MANY 100

/* Another request of `visitor`, answered by the pair's next script with a head and as much body as is taken. */
static void download(struct h2_pair *p, struct half_script *visitor, size_t n)
{
	struct half_script *origin;

	pair_ask(p, visitor);
	script_get(visitor, "GET");
	pair_run(p);
	origin = &p->scripts[p->requests - 1];
	script_respond(origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	while (origin->sent < n && script_send(origin, n - origin->sent))
		pair_run(p);
}

static void stalled_visitors(void)
{
	struct half_script visitors[5], origins[5];
	struct h2_pair p;

	pair_init(&p, origins, 5);
	for (int i = 0; i < 4; i++) {
		download(&p, &visitors[i], 10000000);
		CU_ASSERT_EQUAL(visitors[i].got, 0);
		CU_ASSERT_EQUAL(origins[i].sent, H2_WINDOW_MIN + H2_SEND_BUFFER);
	}
	pair_ask(&p, &visitors[4]);
	visitors[4].keep_up = true;
	script_grant(&visitors[4], 100000);
	script_get(&visitors[4], "GET");
	pair_run(&p);
	script_respond(&origins[4], 200, HEAD_LENGTH_UNKNOWN, false, "");
	while (origins[4].sent < 10000000) {
		CU_ASSERT_FATAL(script_send(&origins[4], 10000000 - origins[4].sent) > 0);
		pair_run(&p);
	}
	half_end(&origins[4].half, NULL);
	pair_run(&p);
	CU_ASSERT_EQUAL(visitors[4].got, 10000000);
	CU_ASSERT_TRUE(visitors[4].ended);
	for (int i = 0; i < 4; i++) {
		script_grant(&visitors[i], 1000000);
		half_end(&origins[i].half, NULL);
	}
	pair_run(&p);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_TRUE(visitors[i].ended && visitors[i].got == origins[i].sent && !visitors[i].wrong);
	pair_over(&p);
}

/* A hundred of them: each has a window's worth on its way, and the later ones less ahead of it. */
static void many_stalled_visitors(void)
{
	struct half_script visitors[MANY], origins[MANY];
	struct h2_pair p;
	size_t ahead;

	pair_init(&p, origins, MANY);
	for (int i = 0; i < MANY; i++) {
		download(&p, &visitors[i], 10000000);
		CU_ASSERT_EQUAL(visitors[i].got, 0);
		CU_ASSERT_TRUE(origins[i].sent >= H2_WINDOW_MIN + H2_SEND_TUNNEL / MANY);
	}
	ahead = origins[MANY - 1].sent - H2_WINDOW_MIN;
	CU_ASSERT_TRUE(ahead <= H2_SEND_TUNNEL / MANY + H2_QUANTUM);
	for (int i = 0; i < MANY; i++) {
		script_grant(&visitors[i], 1000000);
		half_end(&origins[i].half, NULL);
	}
	pair_run(&p);
	for (int i = 0; i < MANY; i++)
		CU_ASSERT_TRUE(visitors[i].ended && visitors[i].got == origins[i].sent && !visitors[i].wrong);
	pair_over(&p);
}

/* The window is empty when the last byte goes, so END_STREAM waits for the visitor to take some. */
static void end_behind_a_full_window(const char *trailers, const char *told)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	download(&p, &visitor, H2_WINDOW_MIN);
	script_end_with(&origin, trailers);
	pair_run(&p);
	CU_ASSERT_FALSE(visitor.ended);
	script_grant(&visitor, 1);
	pair_run(&p);
	CU_ASSERT_FALSE(visitor.ended);
	script_grant(&visitor, 1000000);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, told);
	CU_ASSERT_EQUAL(visitor.got, H2_WINDOW_MIN);
	pair_over(&p);
}

static void ends_behind_full_windows(void)
{
	end_behind_a_full_window("", "200|body|end|");
	end_behind_a_full_window("x-a=1", "200|body|end x-a=1|");
}

/* Begun before the far end has said that it allows one stream: the second head waits, and its end must come behind it. */
static void end_behind_a_head_that_waits(void)
{
	static const struct h2_options answer = {.role = H2_ANSWERING, .tunnel = true, .streams = 1};
	struct half_script visitors[2], origins[2];
	struct h2_pair p;

	pair_init(&p, origins, 2);
	pair_answer_as(&p, &answer);
	for (int i = 0; i < 2; i++)
		pair_ask(&p, &visitors[i]);
	pair_run(&p);
	for (int i = 0; i < 2; i++)
		script_post(&visitors[i], HEAD_LENGTH_UNKNOWN);
	half_end(&visitors[0].half, NULL);
	pair_run(&p);
	CU_ASSERT_EQUAL(p.requests, 1);
	half_end(&visitors[1].half, NULL);
	pair_run(&p);
	for (int i = 0; i < 2; i++) {
		CU_ASSERT_EQUAL(p.requests, i + 1);
		CU_ASSERT_TRUE(origins[i].ended);
		script_respond(&origins[i], 200, 0, true, "");
		pair_run(&p);
	}
	pair_over(&p);
}

/* Everything has crossed, and the visitor takes it slowly: that is not idle, and nothing of it may be lost. */
static void slow_reader(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	download(&p, &visitor, 50000);
	half_end(&origin.half, NULL);
	pair_run(&p);
	CU_ASSERT_EQUAL(h2_open(p.answer.h2), 0);
	CU_ASSERT_EQUAL(h2_open(p.ask.h2), 1);
	CU_ASSERT_EQUAL(p.ask.idle, 0);
	for (int i = 0; i < 50; i++) {
		CU_ASSERT_FALSE(visitor.ended);
		script_grant(&visitor, 1000);
	}
	CU_ASSERT_TRUE(visitor.ended);
	pair_run(&p);
	CU_ASSERT_EQUAL(p.ask.idle, 1);
	pair_over(&p);
}

/* The origin has had enough, and answers with `size` bytes, before the visitor has sent all of its own. */
static void answer_early(struct h2_pair *p, struct half_script *visitor, struct half_script *origin, size_t size)
{
	pair_init(p, origin, 1);
	pair_ask(p, visitor);
	script_post(visitor, HEAD_LENGTH_UNKNOWN);
	script_send(visitor, 1000000);
	pair_run(p);
	script_respond(origin, 413, HEAD_LENGTH_UNKNOWN, false, "");
	script_send(origin, size);
	half_end(&origin->half, NULL);
	half_abort(&origin->half, ADIT_ERR_ENOUGH);
	pair_run(p);
	while (visitor->sent < 1000000) {
		CU_ASSERT_FATAL(script_send(visitor, 1000000 - visitor->sent) > 0);
		pair_run(p);
	}
}

/* An early response larger than the visitor takes before it has sent all of its own. */
static void early_response_to_who_reads_last(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	answer_early(&p, &visitor, &origin, 60000);
	half_end(&visitor.half, NULL);
	script_grant(&visitor, 100000);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "413|body|end|abort ENOUGH|");
	CU_ASSERT_EQUAL(visitor.got, 60000);
	pair_over(&p);
}

/* The same, larger than the window: the request's rest must not stand in the response's way. */
static void early_response_larger_than_the_window(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	answer_early(&p, &visitor, &origin, 120000);
	script_grant(&visitor, 1000000);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "413|body|end|abort ENOUGH|");
	CU_ASSERT_EQUAL(visitor.got, 120000);
	pair_over(&p);
}

/* Half a window is asked for and taken at each call, at the time `now_us`. */
static void take_half(struct h2_pair *p, struct half_script *visitor, struct half_script *origin, uint64_t now_us)
{
	size_t n = p->ask.budget.used / 2, wanted = visitor->got + n;

	CU_ASSERT_EQUAL(visitor->granted, 0);
	h2_clock(p->ask.h2, now_us, 10000);
	script_grant(visitor, n);
	for (int i = 0; i < 1000 && visitor->got < wanted; i++) {
		script_send(origin, 1000000);
		pair_run(p);
	}
	CU_ASSERT_EQUAL(visitor->got, wanted);
}

static void window_growth(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	p.ask.budget.limit = 300 * 1024;
	h2_clock(p.ask.h2, 1000000, 10000);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	script_respond(&origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	CU_ASSERT_EQUAL(p.ask.budget.used, 64 * 1024);
	take_half(&p, &visitor, &origin, 1014000);
	CU_ASSERT_EQUAL(p.ask.budget.used, 128 * 1024);
	take_half(&p, &visitor, &origin, 1029000);
	CU_ASSERT_EQUAL(p.ask.budget.used, 128 * 1024);
	take_half(&p, &visitor, &origin, 1043000);
	CU_ASSERT_EQUAL(p.ask.budget.used, 256 * 1024);
	take_half(&p, &visitor, &origin, 1060000);
	CU_ASSERT_EQUAL(p.ask.budget.used, 256 * 1024);
	CU_ASSERT_FALSE(visitor.wrong);
	half_end(&origin.half, NULL);
	script_grant(&visitor, 1000000);
	pair_over(&p);
}

/* With little memory what runs goes on with the windows that it has; with none there is no new stream. */
static void little_memory(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;
	int err;

	pair_init(&p, &origin, 1);
	h2_clock(p.ask.h2, 1000000, 10000);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	script_respond(&origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	p.ask.budget.state = BUDGET_TIGHT;
	take_half(&p, &visitor, &origin, 1001000);
	CU_ASSERT_EQUAL(p.ask.budget.used, H2_WINDOW_MIN);
	p.ask.budget.state = BUDGET_SHUT;
	take_half(&p, &visitor, &origin, 1002000);
	CU_ASSERT_EQUAL(p.ask.budget.used, H2_WINDOW_MIN);
	CU_ASSERT_PTR_NULL(h2_ask(p.ask.h2, &err));
	CU_ASSERT_EQUAL(err, ADIT_ERR_LIMIT);
	p.ask.budget.state = BUDGET_OPEN;
	take_half(&p, &visitor, &origin, 1003000);
	CU_ASSERT_EQUAL(p.ask.budget.used, 2 * H2_WINDOW_MIN);
	CU_ASSERT_FALSE(visitor.wrong);
	half_end(&origin.half, NULL);
	script_grant(&visitor, 1000000);
	pair_over(&p);
}

/* What a window that grew allows is really sent: more than the first window without any being taken. */
static void grown_window_is_used(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;
	uint64_t sent;

	pair_init(&p, &origin, 1);
	h2_clock(p.ask.h2, 1000000, 10000);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	script_respond(&origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	take_half(&p, &visitor, &origin, 1001000);
	take_half(&p, &visitor, &origin, 1002000);
	while (script_send(&origin, 1000000))
		pair_run(&p);
	CU_ASSERT_EQUAL(p.ask.budget.used, 256 * 1024);
	/* what was taken is told to the far end once it makes a quarter of the window */
	CU_ASSERT_TRUE(origin.sent - visitor.got - H2_SEND_BUFFER >= 192 * 1024);
	CU_ASSERT_TRUE(origin.sent - visitor.got - H2_SEND_BUFFER <= 256 * 1024);
	sent = origin.sent;
	script_grant(&visitor, 128 * 1024 - 1);
	pair_run(&p);
	while (script_send(&origin, 1000000))
		pair_run(&p);
	CU_ASSERT_TRUE(origin.sent - sent >= 64 * 1024);
	pair_free(&p);
}

static void no_budget(void)
{
	struct half_script first, second, third, origins[3];
	struct h2_pair p;
	int err;

	pair_init(&p, origins, 3);
	p.ask.budget.limit = 3 * H2_WINDOW_MIN;
	p.answer.budget.limit = H2_WINDOW_MIN;
	pair_ask(&p, &first);
	pair_ask(&p, &second);
	pair_ask(&p, &third);
	CU_ASSERT_PTR_NULL(h2_ask(p.ask.h2, &err));
	CU_ASSERT_EQUAL(err, ADIT_ERR_LIMIT);
	script_get(&first, "GET");
	script_get(&second, "GET");
	half_abort(&third.half, ADIT_ERR_ABANDONED);
	pair_run(&p);
	CU_ASSERT_EQUAL(p.requests, 1);
	CU_ASSERT_STRING_EQUAL(second.text, "abort LIMIT|");
	script_respond(&origins[0], 200, 0, true, "");
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(first.text, "200 0 none|end|");
	pair_is_clean(&p);
	pair_ask(&p, &second);
	script_get(&second, "GET");
	pair_run(&p);
	CU_ASSERT_EQUAL(p.requests, 2);
	half_abort(&second.half, ADIT_ERR_ABANDONED);
	pair_over(&p);
}

static void growth_apart(void)
{
	struct budget process = {.limit = 100}, tunnel = {.parent = &process, .limit = 50, .growth = 30};

	CU_ASSERT_TRUE(budget_grow(&tunnel, 30));
	CU_ASSERT_FALSE(budget_grow(&tunnel, 1));
	CU_ASSERT_TRUE(budget_take(&tunnel, 50));
	CU_ASSERT_EQUAL(process.used, 80);
	budget_give_grown(&tunnel, 20);
	CU_ASSERT_EQUAL(process.used, 60);
	process.limit = 70;
	CU_ASSERT_FALSE(budget_grow(&tunnel, 11));
	CU_ASSERT_TRUE(budget_grow(&tunnel, 10));
	CU_ASSERT_EQUAL(tunnel.used, 50);
	budget_give(&tunnel, 50);
	budget_give_grown(&tunnel, 20);
	CU_ASSERT_EQUAL(process.used, 0);
}

static void parent_budget(void)
{
	struct budget process = {.limit = 100, .used = 90}, tunnel = {.parent = &process, .limit = 50};

	CU_ASSERT_FALSE(budget_take(&tunnel, 11));
	CU_ASSERT_EQUAL(tunnel.used, 0);
	CU_ASSERT_TRUE(budget_take(&tunnel, 10));
	CU_ASSERT_EQUAL(process.used, 100);
	budget_give(&tunnel, 10);
	CU_ASSERT_EQUAL(process.used, 90);
	CU_ASSERT_EQUAL(tunnel.used, 0);
}

static void too_many_streams(void)
{
	struct half_script *visitors = calloc(H2_STREAMS_MAX, sizeof(*visitors)), next, origin;
	struct h2_pair p;
	int err;

	CU_ASSERT_PTR_NOT_NULL_FATAL(visitors);
	pair_init(&p, &origin, 1);
	for (int i = 0; i < H2_STREAMS_MAX; i++)
		pair_ask(&p, &visitors[i]);
	CU_ASSERT_PTR_NULL(h2_ask(p.ask.h2, &err));
	CU_ASSERT_EQUAL(err, ADIT_ERR_LIMIT);
	half_abort(&visitors[0].half, ADIT_ERR_ABANDONED);
	pair_ask(&p, &next);
	CU_ASSERT_EQUAL(h2_open(p.ask.h2), H2_STREAMS_MAX);
	pair_free(&p);
	free(visitors);
}

/* Takes back the bytes of one pull of the answering end, unread by the other. */
static void pull_aside(struct h2_pair *p)
{
	uint8_t block[H2_QUANTUM + H2_FRAME_HEADER];

	pair_watch(&p->answer, block, h2_pull(p->answer.h2, block, sizeof(block)));
}

static void small_first(void)
{
	struct half_script bulk, small, origins[2];
	size_t between = 0, at;
	struct h2_pair p;

	pair_init(&p, origins, 2);
	pair_ask(&p, &bulk);
	bulk.keep_up = true;
	script_grant(&bulk, 1000000);
	script_get(&bulk, "GET");
	pair_ask(&p, &small);
	script_get(&small, "GET");
	pair_run(&p);
	h2_clock(p.ask.h2, 0, 0);
	script_respond(&origins[0], 200, HEAD_LENGTH_UNKNOWN, false, "");
	while (origins[0].sent < 2000000) {
		script_send(&origins[0], 2000000 - origins[0].sent);
		pair_run(&p);
	}
	script_send(&origins[0], 1000000);
	at = p.answer.seen_count;
	pull_aside(&p);
	script_respond(&origins[1], 200, 2048, false, "");
	script_send(&origins[1], 2048);
	half_end(&origins[1].half, NULL);
	pull_aside(&p);
	pull_aside(&p);
	while (at < p.answer.seen_count && p.answer.seen[at].type != FRAME_HEADERS_TYPE)
		at++;
	for (; at < p.answer.seen_count; at++) {
		const struct h2_seen *f = &p.answer.seen[at];

		if (f->type != FRAME_DATA_TYPE)
			continue;
		if (f->stream == 3)
			break;
		between++;
	}
	CU_ASSERT_TRUE(at < p.answer.seen_count);
	CU_ASSERT_EQUAL(p.answer.seen[at].length, 2048);
	CU_ASSERT_TRUE(between <= 1);
	pair_free(&p);
}

/* A download that is past its first megabyte, with more of it waiting to be sent; the answering end's clock at 1 s. */
static void begin_bulk(struct h2_pair *p, struct half_script *bulk, struct half_script *origin)
{
	pair_ask(p, bulk);
	bulk->keep_up = true;
	script_grant(bulk, 1000000);
	script_get(bulk, "GET");
	pair_run(p);
	h2_clock(p->ask.h2, 0, 0);
	h2_clock(p->answer.h2, 1000000, 0);
	script_respond(origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	while (origin->sent < 2000000) {
		script_send(origin, 2000000 - origin->sent);
		pair_run(p);
	}
	script_send(origin, 1000000);
}

/* Frames of DATA that the next pull brings. */
static unsigned pulled(struct h2_pair *p)
{
	unsigned before = pair_count(&p->answer, FRAME_DATA_TYPE);

	pull_aside(p);
	return pair_count(&p->answer, FRAME_DATA_TYPE) - before;
}

/* small: the response to a second visitor, at 1 s; the hold counts until 1.1 s */
static void bulk_is_held(void)
{
	struct half_script bulk, small, origins[2];
	struct h2_pair p;

	pair_init(&p, origins, 2);
	begin_bulk(&p, &bulk, &origins[0]);
	h2_hold_bulk(p.answer.h2, true);
	CU_ASSERT_EQUAL(pulled(&p), 1); /* alone */
	h2_hold_bulk(p.answer.h2, false);
	pair_ask(&p, &small);
	script_get(&small, "GET");
	pair_move(&p.ask, &p.answer);
	h2_hold_bulk(p.answer.h2, true);
	script_respond(&origins[1], 200, 2048, false, "");
	script_send(&origins[1], 2048);
	half_end(&origins[1].half, NULL);
	CU_ASSERT_EQUAL(pulled(&p), 1); /* the small one's */
	CU_ASSERT_EQUAL(p.answer.seen[p.answer.seen_count - 1].length, 2048);
	CU_ASSERT_EQUAL(pulled(&p), 0);
	h2_hold_bulk(p.answer.h2, false);
	CU_ASSERT_EQUAL(pulled(&p), 1);
	h2_hold_bulk(p.answer.h2, true);
	h2_clock(p.answer.h2, 1099999, 0);
	CU_ASSERT_EQUAL(pulled(&p), 0);
	h2_clock(p.answer.h2, 1100000, 0);
	CU_ASSERT_EQUAL(pulled(&p), 1); /* alone again */
	pair_free(&p);
}

/* A full pull is one frame of the quantum, whatever the stream has more. */
static void quantum(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;
	size_t at;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	script_grant(&visitor, 1000000);
	script_get(&visitor, "GET");
	pair_run(&p);
	script_respond(&origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	pair_run(&p);
	at = p.answer.seen_count;
	script_send(&origin, 50000);
	pair_run(&p);
	CU_ASSERT_EQUAL(p.answer.seen_count, at + 4);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(p.answer.seen[at + (size_t)i].length, H2_QUANTUM);
	CU_ASSERT_EQUAL(p.answer.seen[at + 3].length, 50000 - 3 * H2_QUANTUM);
	pair_free(&p);
}

static const struct unit_test tests[] = {
	{"four visitors who read nothing do not block a fifth", stalled_visitors},
	{"among a hundred of them the later ones have half as much taken ahead", many_stalled_visitors},
	{"the end arrives behind a window that was used up", ends_behind_full_windows},
	{"END_STREAM goes behind a head that the far end's limit has held back", end_behind_a_head_that_waits},
	{"a response that has crossed is told to its end, however slowly it is taken", slow_reader},
	{"who reads only after sending all gets an early response", early_response_to_who_reads_last},
	{"the same when the response is larger than the window", early_response_larger_than_the_window},
	{"a window doubles when half of it is taken within 1.5 round trips, and out of budget only", window_growth},
	{"what a grown window allows is sent", grown_window_is_used},
	{"with little memory no window grows, with none no stream begins", little_memory},
	{"without budget there are no streams, at either end, until some is given back", no_budget},
	{"a budget is taken at every level or at none", parent_budget},
	{"windows that have grown keep no stream from its first one", growth_apart},
	{"there are 1024 streams at once and no more", too_many_streams},
	{"a small response starts after one quantum of a large one", small_first},
	{"bulk is held back beside others, and not when it is alone", bulk_is_held},
	{"body leaves in frames of one quantum", quantum},
};

UNIT_MAIN("h2_flow", tests)
