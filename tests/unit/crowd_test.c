/* crowd: who goes when every visitor has a request: the one who has taken nothing of his answer for longest. Visitors of
 * HTTP/1.1 at one end of a pipe each; those of HTTP/2 are edge_h2_test's. */
#include "edge/crowd.h"

#include "half_script.h"
#include "pipe_script.h"

#define VISITORS 3
#define ROOM 1000
#define GET "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"

struct visitor {
	struct world *world;
	struct pipe *pipe;
	struct edge_h1 *edge;
	struct half_script origin;
	unsigned closed;
};

struct world {
	struct loop *loop;
	struct crowd crowd;
	struct visitor visitors[VISITORS];
};

static void on_request(void *owner, struct edge_h1 *c, struct head *h, bool bodyless)
{
	struct visitor *v = owner;

	script_init(&v->origin);
	half_link(&v->origin.half, edge_h1_half(c));
	script_head(&v->origin.half, h, bodyless);
}

static void on_closed(void *owner, struct edge_h1 *c)
{
	struct visitor *v = owner;

	crowd_gone(&v->world->crowd, edge_h1_place(c));
	v->closed++;
}

static void run(struct world *w)
{
	while (loop_turn(w->loop))
		;
}

static void arrive(struct visitor *v)
{
	pipe_move(v->pipe, SIZE_MAX);
	pipe_tell(v->pipe);
	run(v->world);
}

static struct world *begin(void)
{
	static const struct edge_h1_events events = {on_request, NULL, on_closed};
	struct world *w = calloc(1, sizeof(*w));

	CU_ASSERT_PTR_NOT_NULL_FATAL(w);
	w->loop = loop_new();
	crowd_init(&w->crowd, w->loop, NULL);
	for (unsigned i = 0; i < VISITORS; i++) {
		struct visitor *v = &w->visitors[i];

		v->world = w;
		v->pipe = pipe_new(w->loop, ROOM);
		v->edge = edge_h1_new(w->loop, &v->pipe->end[1].base, NULL, &events, v);
		CU_ASSERT_PTR_NOT_NULL_FATAL(v->edge);
		crowd_place_h1(&w->crowd, v->edge, EDGE_PLACE_VISITOR);
		pipe_add(&v->pipe->way[0], GET, sizeof(GET) - 1, SIZE_MAX);
		arrive(v);
		CU_ASSERT_TRUE(v->origin.began);
	}
	return w;
}

static void end(struct world *w)
{
	crowd_clear(&w->crowd);
	loop_settle(w->loop);
	for (unsigned i = 0; i < VISITORS; i++) {
		stream_free(&(struct stream *){&w->visitors[i].pipe->end[0].base});
		loop_settle(w->loop);
		CU_ASSERT_TRUE(pipe_is_over(w->visitors[i].pipe));
		pipe_free(w->visitors[i].pipe);
	}
	CU_ASSERT_EQUAL(w->loop->timer_count, 0);
	loop_free(&w->loop);
	free(w);
}

/* An answer that is more than the way takes; he does not read. */
static void answer(struct visitor *v)
{
	script_respond(&v->origin, 200, 4 * ROOM, false, "");
	script_send(&v->origin, 4 * ROOM);
	run(v->world);
}

/*   0 ── 1 is answered ── 1000 ── 0 is answered ── 2000 ── 1 reads a little ── 3000
 *   2 waits for its answer all the time
 */
static void longest_first(void)
{
	struct world *w = begin();
	struct visitor *v = w->visitors;
	uint64_t began = w->loop->ms;

	answer(&v[1]);
	w->loop->ms = began + 1000;
	answer(&v[0]);
	CU_ASSERT_EQUAL(edge_h1_stalled_since(v[1].edge), began);
	CU_ASSERT_EQUAL(edge_h1_stalled_since(v[0].edge), began + 1000);
	CU_ASSERT_EQUAL(edge_h1_stalled_since(v[2].edge), 0);
	w->loop->ms = began + 2000;
	arrive(&v[1]);
	CU_ASSERT_EQUAL(edge_h1_stalled_since(v[1].edge), began + 2000);
	w->loop->ms = began + 3000;
	CU_ASSERT_FALSE(crowd_evict(&w->crowd, UINT64_MAX));
	CU_ASSERT_FALSE(crowd_evict_stalled(&w->crowd, began + 1000));
	CU_ASSERT_TRUE(crowd_evict_stalled(&w->crowd, UINT64_MAX));
	CU_ASSERT_EQUAL(v[0].closed, 1);
	CU_ASSERT_EQUAL(v[0].origin.aborted, ADIT_ERR_STALLED);
	CU_ASSERT_TRUE(v[0].pipe->end[1].spoilt); /* what he has must not look whole */
	CU_ASSERT_FALSE(crowd_evict_stalled(&w->crowd, began + 2000));
	CU_ASSERT_TRUE(crowd_evict_stalled(&w->crowd, began + 2001));
	CU_ASSERT_EQUAL(v[1].closed, 1);
	CU_ASSERT_FALSE(crowd_evict_stalled(&w->crowd, UINT64_MAX));
	CU_ASSERT_EQUAL(v[2].closed, 0);
	CU_ASSERT_EQUAL(v[2].origin.aborted, 0);
	CU_ASSERT_EQUAL(w->crowd.counts[EDGE_PLACE_VISITOR], 1);
	end(w);
}

static void a_minute(void)
{
	struct world *w = begin();

	answer(&w->visitors[1]);
	w->loop->ms += CROWD_STALLED_MS;
	CU_ASSERT_FALSE(crowd_somebody_goes(&w->crowd, UINT64_MAX));
	w->loop->ms++;
	CU_ASSERT_TRUE(crowd_somebody_goes(&w->crowd, UINT64_MAX));
	CU_ASSERT_EQUAL(w->visitors[1].closed, 1);
	CU_ASSERT_FALSE(crowd_somebody_goes(&w->crowd, UINT64_MAX));
	end(w);
}

/* Its places are kept: one that carries a link, or came in by the reserve, is not looked at. */
static void links_are_spared(void)
{
	struct world *w = begin();

	for (unsigned i = 0; i < VISITORS; i++)
		answer(&w->visitors[i]);
	crowd_place_h1(&w->crowd, w->visitors[0].edge, EDGE_PLACE_LINK);
	crowd_place_h1(&w->crowd, w->visitors[1].edge, EDGE_PLACE_RESERVE);
	w->loop->ms += 1000;
	CU_ASSERT_TRUE(crowd_evict_stalled(&w->crowd, UINT64_MAX));
	CU_ASSERT_FALSE(crowd_evict_stalled(&w->crowd, UINT64_MAX));
	CU_ASSERT_EQUAL(w->visitors[2].closed, 1);
	end(w);
}

static const struct unit_test tests[] = {
	{"who has taken nothing for longest goes, and nobody who takes or waits", longest_first},
	{"it takes him a minute", a_minute},
	{"links and the reserve are not looked at", links_are_spared},
};

UNIT_MAIN("crowd", tests)
