/* h2: CONNECT, a TCP connection on a stream (RFC 9113 section 8.5): END_STREAM is its FIN, RST_STREAM its RST. */
#include "h2_pair.h"

#define GRANT 1000000

static void connect_on(struct half_script *s)
{
	struct head h;

	script_make_request(&h, "CONNECT", "", "adit-tunnel=tcp:5432");
	half_head(&s->half, &h, false);
	head_free(&h);
}

/* Asked, and answered by a connection; both sides take what comes. */
static void connected(struct h2_pair *p, struct half_script *visitor, struct half_script *origin)
{
	pair_init(p, origin, 1);
	pair_ask(p, visitor);
	script_grant(visitor, GRANT);
	connect_on(visitor);
	pair_run(p);
	CU_ASSERT_STRING_EQUAL(origin->text, "CONNECT a.example  adit-tunnel=tcp:5432|");
	script_grant(origin, GRANT);
	script_respond(origin, 101, HEAD_LENGTH_UNKNOWN, false, "");
	pair_run(p);
	CU_ASSERT_STRING_EQUAL(visitor->text, "101|");
}

static bool said(const struct half_script *s, const char *text)
{
	return strstr(s->text, text) != NULL;
}

static void half_closes(void)
{
	for (int first = 0; first < 2; first++) {
		struct half_script visitor, origin, *ends = first ? &origin : &visitor, *goes_on = first ? &visitor : &origin;
		struct h2_pair p;

		connected(&p, &visitor, &origin);
		script_send(ends, 100);
		half_end(&ends->half, NULL);
		pair_run(&p);
		CU_ASSERT_TRUE(goes_on->ended);
		CU_ASSERT_EQUAL(goes_on->got, 100);
		for (int i = 0; i < 10; i++) {
			script_send(goes_on, 10000);
			pair_run(&p);
		}
		CU_ASSERT_FALSE(ends->ended);
		CU_ASSERT_EQUAL(ends->got, 100000);
		half_end(&goes_on->half, NULL);
		pair_run(&p);
		CU_ASSERT_TRUE(ends->ended && !ends->wrong && !goes_on->wrong);
		CU_ASSERT_FALSE(said(&visitor, "abort") || said(&origin, "abort"));
		pair_over(&p);
	}
}

/* What the visitor says first need not wait for the answer, and may end before it. */
static void before_the_answer(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	connect_on(&visitor);
	script_send(&visitor, 500);
	half_end(&visitor.half, NULL);
	pair_run(&p);
	CU_ASSERT_EQUAL(origin.got, 0);
	script_respond(&origin, 101, HEAD_LENGTH_UNKNOWN, false, "");
	script_grant(&origin, GRANT);
	pair_run(&p);
	CU_ASSERT_EQUAL(origin.got, 500);
	CU_ASSERT_TRUE(origin.ended);
	half_end(&origin.half, NULL);
	pair_over(&p);
}

/* In each state: nothing said, the one that resets has ended before, the other one has. */
static void resets(void)
{
	for (int way = 0; way < 2; way++) {
		for (int ended = 0; ended < 3; ended++) {
			struct half_script visitor, origin, *who = way ? &origin : &visitor, *other = way ? &visitor : &origin;
			struct h2_pair p;

			connected(&p, &visitor, &origin);
			if (ended)
				half_end(ended == 1 ? &who->half : &other->half, NULL);
			pair_run(&p);
			half_abort(&who->half, ADIT_ERR_RESET);
			pair_run(&p);
			CU_ASSERT_EQUAL(other->aborted, ADIT_ERR_RESET);
			CU_ASSERT_EQUAL(who->aborted, 0);
			pair_over(&p);
		}
	}
}

/* The last words of a connection that is reset then: whoever waits until they have left loses nothing. */
static void last_words(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	connected(&p, &visitor, &origin);
	script_send(&origin, 5000);
	pair_run(&p);
	CU_ASSERT_EQUAL(origin.credit, H2_SEND_BUFFER);
	half_abort(&origin.half, ADIT_ERR_RESET);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "101|body|abort RESET|");
	CU_ASSERT_EQUAL(visitor.got, 5000);
	pair_over(&p);
}

/* Nor does it wait for a reader who does not read. */
static void reset_of_one_who_is_not_read(void)
{
	for (int way = 0; way < 2; way++) {
		struct half_script visitor, origin, *who = way ? &origin : &visitor, *other = way ? &visitor : &origin;
		struct h2_pair p;

		connected(&p, &visitor, &origin);
		while (script_send(who, GRANT))
			pair_run(&p);
		CU_ASSERT_EQUAL(other->got, GRANT);
		half_abort(&who->half, ADIT_ERR_RESET);
		pair_run(&p);
		CU_ASSERT_EQUAL(other->aborted, ADIT_ERR_RESET);
		pair_over(&p);
	}
}

static void refused(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	script_grant(&visitor, GRANT);
	connect_on(&visitor);
	pair_run(&p);
	script_respond(&origin, 502, 5, false, "proxy-status=adit");
	script_send(&origin, 5);
	half_end(&origin.half, NULL);
	half_abort(&origin.half, ADIT_ERR_ENOUGH);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "502 5 proxy-status=adit|body|end|abort ENOUGH|");
	pair_over(&p);
}

/* A talk of many small pieces stays before everybody's downloads, however long it lasts; one that sends without a
 * pause is a download itself. */
static void quiet_ones_first(void)
{
	struct half_script visitors[2], origins[2];
	struct h2_pair p;
	size_t before;

	pair_init(&p, origins, 2);
	pair_ask(&p, &visitors[0]);
	visitors[0].keep_up = true;
	script_grant(&visitors[0], GRANT);
	connect_on(&visitors[0]);
	pair_run(&p);
	script_respond(&origins[0], 101, HEAD_LENGTH_UNKNOWN, false, "");
	for (int i = 0; i < 3000; i++) {
		script_send(&origins[0], 1000);
		pair_run(&p);
	}
	CU_ASSERT_EQUAL(visitors[0].got, 3000000);
	pair_ask(&p, &visitors[1]);
	visitors[1].keep_up = true;
	script_grant(&visitors[1], GRANT);
	script_get(&visitors[1], "GET");
	pair_run(&p);
	script_respond(&origins[1], 200, HEAD_LENGTH_UNKNOWN, false, "");
	script_send(&origins[1], H2_SEND_BUFFER);
	script_send(&origins[0], 1000);
	before = visitors[1].got;
	while (visitors[0].got == 3000000 && pair_move(&p.answer, &p.ask))
		;
	CU_ASSERT_EQUAL(visitors[0].got, 3001000);
	CU_ASSERT_TRUE(visitors[1].got - before <= 2 * H2_QUANTUM);
	pair_free(&p);
}

static const struct unit_test tests[] = {
	{"either direction may end first, and the other one goes on", half_closes},
	{"bytes and an end may come before the answer", before_the_answer},
	{"a reset is told as one, whoever has ended before", resets},
	{"what has left before a reset arrives", last_words},
	{"a reset does not wait behind what is not read", reset_of_one_who_is_not_read},
	{"an answer that is no connection is told with its status", refused},
	{"a connection that says little at a time goes before downloads for hours", quiet_ones_first},
};

UNIT_MAIN("h2_raw", tests)
