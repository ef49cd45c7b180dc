/* h2: what a request that was reset still takes up, until the far end has the reset. */
#include <nghttp2/nghttp2.h>

#include "h2_pair.h"

/* Bytes that the asking end has given. */
static uint64_t given(const struct h2_pair *p)
{
	uint64_t n = 24;

	for (size_t i = 0; i < p->ask.seen_count && i < FRAMES_KEPT; i++)
		n += H2_FRAME_HEADER + p->ask.seen[i].length;
	return n;
}

static void begin(struct h2_pair *p, struct half_script *visitor, struct places *places)
{
	pair_ask(p, visitor);
	h2_stream_place(visitor->half.peer, places);
	script_post(visitor, HEAD_LENGTH_UNKNOWN);
}

/* A tunnel whose far end has SETTINGS already, and a request that it works on. */
static void work(struct h2_pair *p, struct half_script *visitor, struct half_script *origin, struct places *places)
{
	script_init(visitor);
	pair_init(p, origin, 1);
	pair_run(p);
	begin(p, visitor, places);
	pair_run(p);
	CU_ASSERT_EQUAL(p->requests, 1);
	CU_ASSERT_EQUAL(places->taken, 1);
}

static void free_when_it_arrives(void)
{
	struct half_script visitor, origin;
	struct places *places = places_new();
	struct h2_pair p;

	work(&p, &visitor, &origin, places);
	half_abort(&visitor.half, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(places->taken, 1);
	h2_arrived(p.ask.h2, given(&p)); /* all but the reset, which is not sent yet */
	CU_ASSERT_EQUAL(places->taken, 1);
	pair_run(&p);
	CU_ASSERT_EQUAL(pair_count(&p.ask, FRAME_RST_TYPE), 1);
	CU_ASSERT_EQUAL(h2_open(p.ask.h2), 0);
	CU_ASSERT_EQUAL(places->taken, 1);
	h2_arrived(p.ask.h2, given(&p) - 1);
	CU_ASSERT_EQUAL(places->taken, 1);
	h2_arrived(p.ask.h2, given(&p));
	CU_ASSERT_EQUAL(places->taken, 0);
	CU_ASSERT_EQUAL(places->refs, 1);
	pair_free(&p);
	places_unref(&places);
}

/* It has a place where it went; the tunnel's own bound counts it here as before. */
static void moved_takes_none(void)
{
	struct half_script visitor, origin;
	struct places *places = places_new();
	struct h2_pair p;

	work(&p, &visitor, &origin, places);
	half_abort(&visitor.half, ADIT_ERR_MOVED);
	CU_ASSERT_EQUAL(places->taken, 0);
	CU_ASSERT_EQUAL(places->refs, 1);
	pair_run(&p);
	CU_ASSERT_EQUAL(origin.aborted, ADIT_ERR_ABANDONED);
	h2_arrived(p.ask.h2, given(&p));
	CU_ASSERT_EQUAL(places->taken, 0);
	pair_free(&p);
	places_unref(&places);
}

static void end_takes_none(void)
{
	struct half_script visitor, origin;
	struct places *places = places_new();
	struct h2_pair p;

	work(&p, &visitor, &origin, places);
	half_end(&visitor.half, NULL);
	pair_run(&p);
	script_respond(&origin, 200, 0, true, "");
	half_end(&origin.half, NULL);
	pair_run(&p);
	CU_ASSERT_EQUAL(places->taken, 0);
	CU_ASSERT_EQUAL(places->refs, 1);
	pair_free(&p);
	places_unref(&places);
}

static void never_sent_takes_none(void)
{
	struct half_script visitor;
	struct places *places = places_new();
	struct h2_pair p;

	script_init(&visitor);
	pair_init(&p, NULL, 0);
	pair_run(&p);
	begin(&p, &visitor, places);
	half_abort(&visitor.half, ADIT_ERR_ABANDONED);
	pair_run(&p);
	CU_ASSERT_EQUAL(p.requests, 0);
	CU_ASSERT_EQUAL(places->taken, 0);
	pair_free(&p);
	places_unref(&places);
}

/* The far end's own fault makes nghttp2 reset: that reset has to arrive, too. */
static void reset_by_a_fault(void)
{
	struct half_script visitor, origin;
	struct places *places = places_new();
	struct h2_pair p;

	work(&p, &visitor, &origin, places);
	script_respond(&origin, 200, 5, false, "");
	script_grant(&visitor, 100);
	script_send(&origin, 3);
	half_end(&origin.half, NULL);
	pair_run(&p);
	CU_ASSERT_EQUAL(pair_count(&p.ask, FRAME_RST_TYPE), 1);
	CU_ASSERT_EQUAL(places->taken, 1);
	h2_arrived(p.ask.h2, given(&p));
	CU_ASSERT_EQUAL(places->taken, 0);
	pair_free(&p);
	places_unref(&places);
}

/* Requests until none is taken; each is reset once it has been sent. */
static unsigned ask_and_reset(struct h2_pair *p, struct places *places)
{
	struct half_script visitor;
	unsigned n = 0;
	struct half *stream;
	int err;

	while (n <= H2_STREAMS_MAX && (stream = h2_ask(p->ask.h2, &err))) {
		script_init(&visitor);
		half_link(&visitor.half, stream);
		h2_stream_place(stream, places);
		script_post(&visitor, HEAD_LENGTH_UNKNOWN);
		pair_run(p);
		half_abort(&visitor.half, ADIT_ERR_ABANDONED);
		pair_run(p);
		n++;
	}
	CU_ASSERT_EQUAL(err, ADIT_ERR_LIMIT);
	return n;
}

static void no_more_than_the_limit(void)
{
	struct half_script *origins = calloc(H2_STREAMS_MAX, sizeof(*origins));
	struct places *places = places_new(), *other = places_new();
	struct h2_pair p;

	CU_ASSERT_PTR_NOT_NULL_FATAL(origins);
	pair_init(&p, origins, H2_STREAMS_MAX);
	pair_run(&p);
	h2_arrived(p.ask.h2, given(&p));
	CU_ASSERT_EQUAL(ask_and_reset(&p, places), H2_STREAMS_MAX);
	CU_ASSERT_EQUAL(places->taken, H2_STREAMS_MAX);
	CU_ASSERT_EQUAL(h2_open(p.ask.h2), 0);
	h2_arrived(p.ask.h2, UINT64_MAX - 1);
	CU_ASSERT_EQUAL(places->taken, 0);
	places_unref(&places); /* the next have their visitor's end behind them when the tunnel goes */
	pair_free(&p);
	pair_init(&p, origins, H2_STREAMS_MAX);
	pair_run(&p);
	CU_ASSERT_EQUAL(ask_and_reset(&p, other), H2_STREAMS_MAX);
	CU_ASSERT_EQUAL(other->refs, H2_STREAMS_MAX + 1);
	places_unref(&other);
	pair_free(&p);
	free(origins);
}

static const struct unit_test tests[] = {
	{"a place is free when the far end has all of the reset", free_when_it_arrives},
	{"a request that has moved takes none where it was", moved_takes_none},
	{"an exchange that has ended takes none", end_takes_none},
	{"a request that was reset before it was sent takes none", never_sent_takes_none},
	{"so does a reset that the far end's fault has caused", reset_by_a_fault},
	{"no more requests are under way than may be, however many are reset", no_more_than_the_limit},
};

UNIT_MAIN("h2_place", tests)
