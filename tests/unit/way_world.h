/* way_world: a visitor, the edge, exchanges, and an origin, all in HTTP/1.1 or all in HTTP/2; only the network is
 * not real: a pipe for the visitor, and one for each connection that the origin's side dials. For unit tests only,
 * on loop_script's clock. The visitor and the origin server, outside of what is under test, have a loop of their
 * own.
 *
 *     visitor ═ pipe ═ edge_h1 | edge_h2 ─ exchange ─ origin ═ pipes ═ origin server
 */
#ifndef ADIT_TESTS_WAY_WORLD_H
#define ADIT_TESTS_WAY_WORLD_H

#include "exchange/exchange.h"
#include "way_ends.h"

static inline struct pipe *way_pipe(struct way *w)
{
	struct pipe *p = pipe_new(w->loop, w->room);

	CU_ASSERT_FATAL(w->pipe_count <= WAY_DIALS);
	p->whim = w->whim ? w->whim + w->pipe_count : 0;
	p->end[1].outside = true;
	p->end[1].base.loop = w->outside;
	w->pipes[w->pipe_count++] = p;
	return p;
}

/* ---- what is under test: from the edge's request to the origin's half */

static inline struct half *way_route(void *arg, struct exchange *x, struct head *h, int *err)
{
	struct way *w = arg;

	(void)x;
	(void)h;
	return origin_half(w->origin, err);
}

static inline void way_done(void *arg, const struct exchange_report *r)
{
	(void)r;
	((struct way *)arg)->done++;
}

static inline void way_begin(struct way *w, struct half *asking, struct head *h, bool bodyless)
{
	static const struct exchange_events events = {way_route, way_done};
	const struct exchange_options o = {&events, w, "adit", "192.0.2.1", true, NULL, NULL};
	struct exchange *x = exchange_new(&o, asking);

	if (!x)
		return;
	w->begun++;
	forward_strip(&h->fields);
	exchange_begin(x, h, bodyless);
}

static inline void way_h1_request(void *owner, struct edge_h1 *c, struct head *h, bool bodyless)
{
	way_begin(owner, edge_h1_half(c), h, bodyless);
}

static inline void way_h1_closed(void *owner, struct edge_h1 *c)
{
	(void)c;
	((struct way *)owner)->edge_h1 = NULL;
}

static inline void way_h2_request(void *owner, struct edge_h2 *c, struct half *asking, struct head *h, bool bodyless)
{
	(void)c;
	way_begin(owner, asking, h, bodyless);
}

static inline void way_h2_closed(void *owner, struct edge_h2 *c)
{
	(void)c;
	((struct way *)owner)->edge_h2 = NULL;
}

/* ---- dialling */

static inline struct stream *way_dialled(void *arg, int *err)
{
	struct way *w = arg;
	struct way_end *e = &w->servers[w->server_count];
	struct pipe *p;

	(void)err;
	SCRIPT_UNFAILING(true);
	p = way_pipe(w);
	CU_ASSERT_FATAL(w->server_count < WAY_DIALS);
	w->server_count++;
	e->way = w;
	e->stream = &p->end[1].base;
	if (w->h2)
		way_end_h2(e, H2_ANSWERING);
	else
		way_end_h1(e, H1_REQUEST);
	SCRIPT_UNFAILING(false);
	return &p->end[0].base;
}

/* ---- life */

static inline struct way *way_new(bool h2, uint32_t whim, size_t room)
{
	struct way *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->loop = loop_new();
	w->outside = loop_new();
	w->h2 = h2;
	w->whim = whim;
	w->room = room;
	w->resolver = (struct resolver){way_dialled, w};
	w->budget = (struct budget){.limit = 16 * BUDGET_TUNNEL};
	for (unsigned i = 0; i < WAY_TALKS; i++) {
		script_init(&w->asks[i]);
		script_init(&w->answers[i]);
	}
	return w;
}

/* The edge and the origin; false when there was no memory for them. */
static inline bool way_open(struct way *w)
{
	static const struct edge_h1_events h1 = {way_h1_request, NULL, way_h1_closed};
	static const struct edge_h2_events h2 = {way_h2_request, NULL, way_h2_closed};
	const struct origin_options o = {
		.protocol = w->h2 ? ORIGIN_H2 : ORIGIN_H1, .host = "localhost", .port = 80, .resolver = &w->resolver,
		.budget = &w->budget,
	};
	struct pipe *p = way_pipe(w);
	struct stream *near = &p->end[0].base;

	w->visitor.way = w;
	w->visitor.stream = &p->end[1].base;
	SCRIPT_UNFAILING(true);
	if (w->h2)
		way_end_h2(&w->visitor, H2_ASKING);
	else
		way_end_h1(&w->visitor, H1_RESPONSE);
	SCRIPT_UNFAILING(false);
	w->origin = origin_new(w->loop, &o);
	if (w->origin && w->h2)
		w->edge_h2 = edge_h2_new(w->loop, near, NULL, false, &w->budget, &h2, w);
	else if (w->origin)
		w->edge_h1 = edge_h1_new(w->loop, near, NULL, &h1, w);
	if (!w->edge_h1 && !w->edge_h2)
		stream_free(&near);
	return w->edge_h1 || w->edge_h2;
}

static inline void way_end_free(struct way_end *e)
{
	if (e->way && e->way->h2 && !e->gone) {
		h2_pump_stop(&e->pump);
		h2_free(&e->h2, ADIT_ERR_SHUTDOWN);
	}
	if (e->way && e->way->h2)
		h2_pump_clear(&e->pump);
	else if (!e->gone)
		way_h1_close(e);
}

static inline void way_free(struct way *w)
{
	SCRIPT_UNFAILING(true);
	if (w->edge_h1)
		edge_h1_free(&w->edge_h1);
	if (w->edge_h2)
		edge_h2_free(&w->edge_h2);
	origin_free(&w->origin);
	way_end_free(&w->visitor);
	for (unsigned i = 0; i < w->server_count; i++)
		way_end_free(&w->servers[i]);
	loop_settle(w->loop);
	loop_settle(w->outside);
	SCRIPT_UNFAILING(false);
	CU_ASSERT_EQUAL(w->budget.used, 0);
	CU_ASSERT_EQUAL(w->loop->timer_count, 0);
	CU_ASSERT_EQUAL(w->begun, w->done);
	for (unsigned i = 0; i < w->pipe_count; i++) {
		CU_ASSERT_TRUE(pipe_is_over(w->pipes[i]));
		pipe_free(w->pipes[i]);
	}
	loop_free(&w->loop);
	loop_free(&w->outside);
	free(w);
}

/* ---- time */

static inline bool way_turn(struct way *w)
{
	bool busy = loop_turn(w->loop);
	unsigned n = w->pipe_count;

	SCRIPT_UNFAILING(true);
	busy = loop_turn(w->outside) || busy;
	for (size_t i = 0; w->h2 && i < WAY_TALKS; i++) {
		way_visit(w, i);
		way_answer(w, i);
	}
	SCRIPT_UNFAILING(false);
	for (unsigned i = 0; i < n; i++)
		busy = pipe_move(w->pipes[i], SIZE_MAX) > 0 || busy;
	for (unsigned i = 0; i < n; i++)
		busy = pipe_tell(w->pipes[i]) || busy;
	return busy;
}

/* The visitor knows how it ended, whichever way. */
static inline bool way_told(const struct way *w, size_t i)
{
	const struct half_script *v = &w->asks[i];

	return w->visitor.gone || v->aborted || (w->h2 ? !v->half.peer : v->ended);
}

/* Until the visitor has been told of exchange `i`; false when that never comes. */
static inline bool way_wait(struct way *w, size_t i)
{
	uint64_t until = w->loop->ms + WAY_PATIENCE_MS;

	while (!way_told(w, i))
		if (!way_turn(w) && !loop_jump(w->loop, until))
			return false;
	return true;
}

/* All of them: over HTTP/2 at once, over HTTP/1.1 one after another. */
static inline bool way_run(struct way *w)
{
	bool told = true;

	for (size_t i = 0; i < WAY_TALKS; i++) {
		SCRIPT_UNFAILING(true);
		if (w->h2)
			way_ask_h2(w, i);
		else if (!w->visitor.gone)
			way_ask_h1(w, i);
		SCRIPT_UNFAILING(false);
		told = w->h2 || (way_wait(w, i) && told);
	}
	for (size_t i = 0; w->h2 && i < WAY_TALKS; i++)
		told = way_wait(w, i) && told;
	return told;
}

/* Did exchange `i` come out as it should, at both ends? */
static inline bool way_came_out(const struct way *w, size_t i)
{
	const struct way_talk *t = &way_talks[i];
	const struct half_script *v = &w->asks[i], *a = &w->answers[i];
	char status[8];

	snprintf(status, sizeof(status), "%d", t->status);
	return strncmp(v->text, status, 3) == 0 && v->ended && !v->aborted && !v->wrong && v->got == t->down &&
	       a->ended && !a->aborted && !a->wrong && a->got == t->up &&
	       (!*t->trailers || (strstr(v->text, t->trailers) && strstr(a->text, t->trailers)));
}

#endif
