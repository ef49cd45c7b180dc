/* resume_world: aditd's acceptor and adit's dialer with all that lies below them, joined by pipes of pipe_script.
 * For unit tests only. Not real are the network (a climb succeeds at once and gives a pipe), the loop (loop_script),
 * and the outer ends of the exchanges (half_script). HELLO, WELCOME, ATTACH, ATTACHED and all policy are the
 * programs' own.
 */
#ifndef ADIT_TESTS_RESUME_WORLD_H
#define ADIT_TESTS_RESUME_WORLD_H

#include "edge/accept_int.h"
#include "half_script.h"
#include "pipe_script.h"
#include "session/dialer_int.h"

/** Carriers of one run: a black hole is knocked at anew each second, each hole for half a minute at most. */
#define WORLD_PIPES 64
#define WORLD_TALKS 6
/** Of the script's clock: three outages of half a minute, and the greetings between. */
#define WORLD_PATIENCE_MS 200000

/** One exchange: what is asked, what comes of it. */
struct talk {
	struct half_script visitor, origin;
	unsigned asked, answered, requests;
};

/** How one carrier dies. */
struct cut {
	unsigned way;      /* 0: bytes from adit, 1: bytes from aditd */
	size_t at;
	int notice[2];     /* what adit, aditd find then */
	bool leaves;       /* it does not die, but tells adit that it will */
};

struct world;

/** The dialer's options hand it to the flight: it is not looked into in between. */
struct resolver {
	struct world *world;
};

struct world {
	struct loop *loop;
	struct budget budget;
	struct conf_token tokens[2];
	struct conf_server conf;
	struct registry *registry;
	struct ports *ports;
	struct acceptor *acceptor;
	struct resolver resolver;
	struct wire_hello hello;
	struct dialer *dialer;
	struct pipe *pipes[WORLD_PIPES];
	unsigned pipe_count;
	const struct cut *cuts; /* of the first carriers, in order */
	unsigned cut_count;
	size_t step;            /* bytes that arrive at a time */
	bool newest_first;      /* owners of later carriers are told first in each turn */
	size_t body;            /* of the longest message */
	uint32_t whim;          /* of the carriers; pipe_script.h */
	bool scarce;            /* allocations fail: what cannot be asked is not */
	size_t room;            /* bytes on their way at most, in each direction of a carrier */
	unsigned published, moved, refused, strays;
	struct talk talks[WORLD_TALKS];
	bool talking;
};

/* ---- a flight that always arrives */

struct flight {
	struct world *world;
	struct loop *loop;
	char link_id[CARRIER_LINK_ID_HEX + 1];
	ladder_done_fn *done;
	void *arg;
	struct task arrive, free;
};

static inline struct pipe *world_pipe(struct world *w)
{
	struct pipe *p = pipe_new(w->loop, w->room);

	CU_ASSERT_FATAL(w->pipe_count < WORLD_PIPES);
	p->whim = w->whim ? w->whim + w->pipe_count : 0;
	if (w->pipe_count < w->cut_count) {
		const struct cut *c = &w->cuts[w->pipe_count];

		p->way[c->way].cut = c->at;
		p->notice[0] = c->notice[0];
		p->notice[1] = c->notice[1];
		p->leaves = c->leaves;
	}
	w->pipes[w->pipe_count++] = p;
	return p;
}

/* What endpoint_serve would do with the other end, once the request for it was authenticated. */
static inline void world_take(struct world *w, struct pipe *p, const char *link_id, const struct conf_token *token)
{
	struct buf lead = BUF_INIT, rest = BUF_INIT;

	acceptor_take(w->acceptor, &p->end[1].base, &lead, &rest, link_id, token->sha256, "direct");
}

static inline void flight_release(void *arg)
{
	free(arg);
}

static inline void flight_arrive(void *arg)
{
	struct flight *f = arg;
	struct pipe *p = world_pipe(f->world);
	struct buf rest = BUF_INIT;
	const struct carrier_result r = {.stream = &p->end[0].base, .rest = &rest, .detail = ""};

	world_take(f->world, p, f->link_id, &f->world->tokens[0]);
	task_post_free(f->loop, &f->free);
	f->done(f->arg, &r, LADDER_DIRECT, "");
}

struct flight *flight_start(struct loop *l, const struct ladder_options *o, bool several, ladder_done_fn *done,
                            void *arg)
{
	struct flight *f = calloc(1, sizeof(*f));

	(void)several;
	if (!f)
		abort();
	f->world = o->resolver->world;
	f->loop = l;
	snprintf(f->link_id, sizeof(f->link_id), "%s", o->target.link_id);
	f->done = done;
	f->arg = arg;
	f->arrive = (struct task){.run = flight_arrive, .arg = f};
	f->free = (struct task){.run = flight_release, .arg = f};
	task_post_next(l, &f->arrive);
	return f;
}

void flight_cancel(struct flight **fp)
{
	struct flight *f = *fp;

	*fp = NULL;
	if (!f)
		return;
	task_cancel(f->loop, &f->arrive);
	task_post_free(f->loop, &f->free);
}

/* ---- the owners' events */

static inline void world_request(void *owner, struct h2_stream *s, const struct head *h, bool bodyless)
{
	struct world *w = owner;
	struct str path = head_get(h, HEAD_PATH);
	unsigned i = path.n == 2 ? (unsigned)(path.p[1] - '0') : WORLD_TALKS;
	struct talk *t = &w->talks[i % WORLD_TALKS];

	CU_ASSERT_FATAL(i < WORLD_TALKS);
	if (t->requests++)
		return;
	half_link(&t->origin.half, h2_stream_half(s));
	script_head(&t->origin.half, h, bodyless);
	script_grant(&t->origin, w->body / 3);
}

static inline void world_published(void *owner, const struct wire_welcome *welcome, const char *carrier,
                                   const char *why)
{
	(void)welcome;
	(void)carrier;
	(void)why;
	((struct world *)owner)->published++;
}

static inline void world_moved(void *owner, const char *carrier, const char *why, uint64_t away_ms)
{
	(void)carrier;
	(void)why;
	(void)away_ms;
	((struct world *)owner)->moved++;
}

static inline void world_down(void *owner, int err, const char *detail, uint32_t retry_ms)
{
	(void)owner;
	(void)err;
	(void)detail;
	(void)retry_ms;
}

static inline void world_refused(void *owner, int err, const char *reason)
{
	(void)err;
	(void)reason;
	((struct world *)owner)->refused++;
}

static inline void world_told(void *owner)
{
	(void)owner;
}

static inline void world_strayed(void *owner, const struct session *s)
{
	(void)s;
	((struct world *)owner)->strays++;
}

/* ---- life */

static inline void world_open(struct world *w, char **names)
{
	w->loop = loop_new();
	w->budget = (struct budget){.limit = 2 * BUDGET_TUNNEL};
	w->tokens[0] = (struct conf_token){.name = (char *)(uintptr_t)"one", .sha256 = {1}, .names = names, .name_count = 1};
	w->tokens[1] = (struct conf_token){.name = (char *)(uintptr_t)"two", .sha256 = {2}, .names = names, .name_count = 1};
	w->conf = (struct conf_server){.tokens = w->tokens, .token_count = 2, .resume_seconds = 30, .heartbeat_seconds = 30};
	w->registry = registry_new();
	w->ports = ports_new(w->loop, &(struct ports_options){.conf = &w->conf});
	CU_ASSERT_FATAL(w->registry && w->ports);
	w->resolver.world = w;
	w->hello.version = WIRE_VERSION;
	w->hello.tunnel_count = 1;
	snprintf(w->hello.agent, sizeof(w->hello.agent), "adit/0");
	snprintf(w->hello.tunnels[0].name, sizeof(w->hello.tunnels[0].name), "shop");
	w->step = SIZE_MAX;
	w->body = 300;
	w->room = 4096;
	for (unsigned i = 0; i < WORLD_TALKS; i++) {
		script_init(&w->talks[i].visitor);
		script_init(&w->talks[i].origin);
	}
}

static inline void world_start(struct world *w)
{
	static const struct dialer_events events = {world_request, world_published, world_moved, world_down, world_refused};
	const struct acceptor_options a = {
		.registry = w->registry, .ports = w->ports, .conf = &w->conf, .published = "https://NAME.t.example", .budget = &w->budget,
		.empty = world_told, .ready = world_told, .strayed = world_strayed, .owner = w,
	};
	const struct dialer_options d = {
		.resolver = &w->resolver, .host = "127.0.0.1", .port = 80, .server_name = "t.example", .token = "t", .agent = "a",
		.hello = &w->hello, .carriers = LADDER_DIRECT, .heartbeat_ms = 30000, .climb_ms = 300000, .budget = &w->budget,
		.events = &events, .owner = w,
	};

	w->acceptor = acceptor_new(w->loop, &a);
	w->dialer = dialer_new(w->loop, &d);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->acceptor);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->dialer);
}

static inline struct world *world_new(const struct cut *cuts, unsigned cut_count)
{
	static char *names[] = {(char *)(uintptr_t)"shop"};
	struct world *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->cuts = cuts;
	w->cut_count = cut_count;
	world_open(w, names);
	world_start(w);
	return w;
}

/* Both programs end; then nothing may be left of anything. */
static inline void world_free(struct world *w)
{
	dialer_free(&w->dialer);
	acceptor_free(&w->acceptor);
	loop_settle(w->loop);
	ports_free(&w->ports);
	registry_free(&w->registry);
	CU_ASSERT_EQUAL(w->budget.used, 0);
	CU_ASSERT_EQUAL(w->loop->timer_count, 0);
	for (unsigned i = 0; i < w->pipe_count; i++) {
		CU_ASSERT_TRUE(pipe_is_over(w->pipes[i]));
		pipe_free(w->pipes[i]);
	}
	for (unsigned i = 0; i < WORLD_TALKS; i++) {
		CU_ASSERT_PTR_NULL(w->talks[i].visitor.half.peer);
		CU_ASSERT_PTR_NULL(w->talks[i].origin.half.peer);
	}
	loop_free(&w->loop);
	free(w);
}

/* ---- time */

/* One turn. False when nothing is left to do at this time. */
static inline bool world_turn(struct world *w)
{
	bool busy = loop_turn(w->loop);
	unsigned n = w->pipe_count; /* of those that there are now */

	for (unsigned i = 0; i < n; i++)
		busy = pipe_move(w->pipes[i], w->step) > 0 || busy;
	for (unsigned i = 0; i < n; i++)
		busy = pipe_tell(w->pipes[w->newest_first ? n - 1 - i : i]) || busy;
	return busy;
}

/* aditd's side of the link that adit believes in; NULL when there is none. */
static inline struct session *world_asker(const struct world *w)
{
	const struct tunnel *t = acceptor_link(w->acceptor, w->dialer->link_id);

	return t ? t->session : NULL;
}

static inline bool world_acked(struct session *s)
{
	return session_attached(s) && link_acked(session_link(s)) == link_tx_offset(session_link(s));
}

/* Both sides are up, nothing is in flight, and both know that all has arrived. */
static inline bool world_at_rest(const struct world *w)
{
	struct session *ask = world_asker(w), *answer = w->dialer->session;

	return ask && answer && w->dialer->state == DIALER_UP && w->dialer->aim == AIM_NONE && world_acked(ask) &&
	       world_acked(answer) && link_rx_offset(session_link(ask)) == link_tx_offset(session_link(answer)) &&
	       link_rx_offset(session_link(answer)) == link_tx_offset(session_link(ask));
}

/* Lets it come to rest without any exchange. */
static inline bool world_rest(struct world *w)
{
	uint64_t until = w->loop->ms + WORLD_PATIENCE_MS;

	for (;;) {
		bool busy = world_turn(w);

		if (world_at_rest(w))
			return true;
		if (!busy && !loop_jump(w->loop, until))
			return false;
	}
}

#endif
