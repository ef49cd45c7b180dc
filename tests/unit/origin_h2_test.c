/* origin_h2: connections and requests, on the scripted loop, before an origin that is the other role of h2. Only
 * dialling is not real: it gives a pipe, or an error. */
#include "origin/origin.h"

#include "dial_script.h"
#include "h2/pump.h"
#include "half_script.h"
#include "pipe_script.h"

#define PIPES 160
#define REQUESTS 160
/** Below any of the waits under test, and enough for all that needs no waiting. */
#define SOON_MS 0

struct world;

/** One connection as the origin sees it. */
struct far {
	struct world *world;
	struct pipe *pipe;
	struct h2 *h2;
	struct h2_pump pump;
	struct budget budget;
	unsigned requests;
	bool gone;
};

struct world {
	struct loop *loop;
	struct resolver resolver;
	struct origin *origin;
	struct far fars[PIPES];
	unsigned far_count;
	uint32_t streams;            /* that the origin allows on a connection; 0 = the most */
	unsigned dead;               /* connections that end before HTTP/2 */
	unsigned silent;             /* so many of the first connections say nothing */
	int dial_err;
	unsigned refuse;             /* so many of the next requests are left unlinked: REFUSED_STREAM */
	struct half_script visitors[REQUESTS], answers[REQUESTS];
	unsigned asked, answered;
};

/* ---- the origin */

static void far_woken(void *owner)
{
	struct far *f = owner;

	h2_pump_wake(&f->pump);
}

static void far_request(void *owner, struct h2_stream *stream, const struct head *h, bool bodyless)
{
	struct far *f = owner;
	struct world *w = f->world;
	struct half_script *s = &w->answers[w->answered];

	f->requests++;
	if (w->refuse) {
		w->refuse--;
		return;
	}
	CU_ASSERT_FATAL(w->answered < REQUESTS);
	w->answered++;
	script_init(s);
	half_link(&s->half, h2_stream_half(stream));
	script_head(&s->half, h, bodyless);
}

static void far_ended(void *owner, int err, const char *detail)
{
	struct far *f = owner;

	(void)err;
	(void)detail;
	f->gone = true;
	h2_free(&f->h2, ADIT_ERR_ABANDONED);
}

static void far_hangs_up(struct far *f)
{
	if (f->gone)
		return;
	h2_pump_stop(&f->pump);
	far_ended(f, 0, "");
}

static struct stream *far_begin(struct world *w)
{
	static const struct h2_events events = {far_woken, far_request, NULL, NULL};
	static const struct h2_pump_events pump_events = {NULL, NULL, far_ended};
	struct far *f = &w->fars[w->far_count];
	struct h2_options o = {.role = H2_ANSWERING, .streams = w->streams, .budget = &f->budget};

	CU_ASSERT_FATAL(w->far_count < PIPES);
	w->far_count++;
	f->world = w;
	f->pipe = pipe_new(w->loop, 1 << 20);
	f->budget = (struct budget){.limit = BUDGET_TUNNEL};
	f->h2 = h2_new(&o, &events, f);
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->h2);
	h2_pump_init(&f->pump, w->loop, f->h2, &pump_events, f);
	if (w->far_count > w->silent)
		h2_pump_start(&f->pump, &f->pipe->end[1].base);
	if (w->dead) {
		w->dead--;
		far_hangs_up(f);
	}
	return &f->pipe->end[0].base;
}

static struct stream *dialled(void *arg, int *err)
{
	struct world *w = arg;

	*err = w->dial_err;
	return *err ? NULL : far_begin(w);
}

/* ---- the world */

static void run(struct world *w, uint64_t ms)
{
	uint64_t until = w->loop->ms + ms;
	bool busy = true;

	for (int i = 0; busy && i < 1000000; i++) {
		busy = false;
		for (unsigned f = 0; f < w->far_count; f++) {
			busy = pipe_move(w->fars[f].pipe, SIZE_MAX) > 0 || busy;
			busy = pipe_tell(w->fars[f].pipe) || busy;
		}
		busy = loop_turn(w->loop) || busy;
		busy = busy || loop_jump(w->loop, until);
	}
	CU_ASSERT_FALSE(busy);
	w->loop->ms = until;
}

static void begin(struct world *w)
{
	struct origin_options o = {.protocol = ORIGIN_H2, .host = "a.example", .port = 80, .resolver = &w->resolver};

	w->loop = loop_new();
	w->resolver = (struct resolver){dialled, w};
	w->origin = origin_new(w->loop, &o);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->origin);
}

static void end(struct world *w)
{
	origin_free(&w->origin);
	run(w, SOON_MS);
	for (unsigned i = 0; i < w->far_count; i++) {
		far_hangs_up(&w->fars[i]);
		h2_pump_clear(&w->fars[i].pump);
		CU_ASSERT_EQUAL(w->fars[i].budget.used, 0);
	}
	for (unsigned i = 0; i < w->asked; i++)
		CU_ASSERT_PTR_NULL(w->visitors[i].half.peer);
	loop_settle(w->loop);
	for (unsigned i = 0; i < w->far_count; i++) {
		CU_ASSERT(w->fars[i].pipe->end[0].destroyed);
		pipe_free(w->fars[i].pipe);
	}
	loop_free(&w->loop);
}

/* A visitor's request, linked and not yet spoken. */
static struct half_script *ask(struct world *w)
{
	struct half_script *s = &w->visitors[w->asked];
	int err = 0;
	struct half *half = origin_half(w->origin, &err);

	CU_ASSERT_FATAL(w->asked < REQUESTS && half);
	w->asked++;
	script_init(s);
	half_link(&s->half, half);
	return s;
}

static struct half_script *get(struct world *w, const char *method)
{
	struct half_script *s = ask(w);

	script_get(s, method);
	return s;
}

static void answer(struct world *w, unsigned i)
{
	script_respond(&w->answers[i], 200, 0, true, "");
}

static struct half_script *get_answered(struct world *w)
{
	struct half_script *s = get(w, "GET");

	run(w, SOON_MS);
	answer(w, w->answered - 1);
	run(w, SOON_MS);
	CU_ASSERT_STRING_EQUAL(s->text, "200 0 none|end|");
	return s;
}

/* ---- connections */

static void one_after_the_other(void)
{
	struct world w = {0};

	begin(&w);
	for (int i = 0; i < 5; i++)
		get_answered(&w);
	CU_ASSERT_EQUAL(w.far_count, 1);
	CU_ASSERT_EQUAL(origin_connections(w.origin), 1);
	end(&w);
}

static void closed_when_idle(void)
{
	struct world w = {0};

	begin(&w);
	get_answered(&w);
	run(&w, ORIGIN_IDLE_MS - 1000);
	get_answered(&w); /* its time begins anew */
	run(&w, ORIGIN_IDLE_MS - 1000);
	CU_ASSERT_EQUAL(origin_connections(w.origin), 1);
	run(&w, 2000);
	CU_ASSERT_EQUAL(origin_connections(w.origin), 0);
	CU_ASSERT(w.fars[0].gone);
	get_answered(&w);
	CU_ASSERT_EQUAL(w.far_count, 2);
	end(&w);
}

static void as_many_streams_as_allowed(void)
{
	struct world w = {.streams = 10};

	begin(&w);
	for (int i = 0; i < 45; i++)
		get(&w, "GET");
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(w.far_count, 5);
	CU_ASSERT_EQUAL(w.answered, 45);
	for (unsigned i = 0; i < w.far_count; i++)
		CU_ASSERT(w.fars[i].requests <= 10);
	end(&w);
	for (unsigned i = 0; i < 45; i++)
		CU_ASSERT_EQUAL(w.visitors[i].aborted, ADIT_ERR_SHUTDOWN);
}

/* 128 connections of one stream: two wait, one of them gets the room that another one leaves, the other none. */
static void no_room(void)
{
	struct world w = {.streams = 1};

	begin(&w);
	for (int i = 0; i < 130; i++)
		get(&w, "GET");
	run(&w, 5000);
	CU_ASSERT_EQUAL(w.far_count, 128);
	CU_ASSERT_EQUAL(w.answered, 128);
	answer(&w, 7);
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(w.answered, 129);
	run(&w, 4000);
	CU_ASSERT_EQUAL(w.visitors[129].aborted, 0);
	run(&w, 2000);
	CU_ASSERT_EQUAL(w.visitors[129].aborted, ADIT_ERR_LIMIT);
	CU_ASSERT_EQUAL(w.visitors[128].aborted, 0);
	end(&w);
}

static void nobody_there(void)
{
	struct world w = {.dial_err = ADIT_ERR_REFUSED};
	struct half_script *one, *two;

	begin(&w);
	one = get(&w, "GET");
	two = get(&w, "GET");
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(one->aborted, ADIT_ERR_REFUSED);
	CU_ASSERT_EQUAL(two->aborted, ADIT_ERR_REFUSED);
	w.dial_err = 0;
	get_answered(&w); /* it is tried again at once */
	end(&w);
}

/* A further connection fails: those that wait go on with the first, and it is not dialled again and again. */
static void no_second_connection(void)
{
	struct world w = {.streams = 1};
	struct half_script *second;

	begin(&w);
	get(&w, "GET");
	run(&w, SOON_MS);
	w.dial_err = ADIT_ERR_REFUSED;
	second = get(&w, "GET");
	run(&w, 500);
	CU_ASSERT_EQUAL(second->aborted, 0);
	answer(&w, 0);
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(w.answered, 2);
	answer(&w, 1);
	run(&w, SOON_MS);
	CU_ASSERT_STRING_EQUAL(second->text, "200 0 none|end|");
	end(&w);
}

static void no_settings(void)
{
	struct world w = {.silent = 1};
	struct half_script *s;

	begin(&w);
	s = get(&w, "GET");
	run(&w, DIAL_STEP_MS - 100);
	CU_ASSERT_EQUAL(s->aborted, 0);
	run(&w, 200);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_TIMEOUT);
	w.fars[0].gone = true; /* its pump never began */
	h2_free(&w.fars[0].h2, 0);
	stream_free(&(struct stream *){&w.fars[0].pipe->end[1].base});
	get_answered(&w);
	end(&w);
}

static void ends_before_settings(void)
{
	struct world w = {.dead = 1};
	struct half_script *s;

	begin(&w);
	s = get(&w, "GET");
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_RESET);
	end(&w);
}

static void goaway(void)
{
	struct world w = {0};
	struct half_script *runs;

	begin(&w);
	runs = get(&w, "GET");
	run(&w, SOON_MS);
	h2_goaway(w.fars[0].h2);
	run(&w, SOON_MS);
	get_answered(&w);
	CU_ASSERT_EQUAL(w.far_count, 2);
	CU_ASSERT_EQUAL(origin_connections(w.origin), 2);
	answer(&w, 0);
	run(&w, SOON_MS);
	CU_ASSERT_STRING_EQUAL(runs->text, "200 0 none|end|");
	CU_ASSERT_EQUAL(origin_connections(w.origin), 1);
	CU_ASSERT(w.fars[0].gone);
	end(&w);
}

/* ---- asked again */

static void refused_once(void)
{
	static const char *const methods[] = {"GET", "POST"};

	for (int i = 0; i < 2; i++) {
		struct world w = {0};
		struct half_script *s;

		begin(&w);
		get_answered(&w);
		w.refuse = 1;
		s = get(&w, methods[i]);
		run(&w, SOON_MS);
		CU_ASSERT_EQUAL(w.far_count, 2); /* not where it was refused */
		CU_ASSERT_EQUAL_FATAL(w.answered, 2);
		answer(&w, 1);
		run(&w, SOON_MS);
		CU_ASSERT_STRING_EQUAL(s->text, "200 0 none|end|");
		end(&w);
	}
}

static void refused_twice(void)
{
	struct world w = {.refuse = 2};
	struct half_script *s;

	begin(&w);
	s = get(&w, "GET");
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_LIMIT);
	CU_ASSERT_EQUAL(w.far_count, 2);
	CU_ASSERT_EQUAL(w.answered, 0);
	end(&w);
}

/* What the first stream granted is not granted once more by the second; the trailers are not lost. */
static void refused_with_a_body_to_come(void)
{
	struct world w = {.refuse = 1};
	struct half_script *s;

	begin(&w);
	s = ask(&w);
	script_post(s, HEAD_LENGTH_UNKNOWN);
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL_FATAL(w.answered, 1);
	CU_ASSERT_EQUAL(s->credit, H2_SEND_BUFFER);
	script_grant(&w.answers[0], 100);
	CU_ASSERT_EQUAL(script_send(s, 50), 50);
	script_end_with(s, "x-end=1");
	run(&w, SOON_MS);
	CU_ASSERT_STRING_EQUAL(w.answers[0].text, "POST a.example /x|body|end x-end=1|");
	CU_ASSERT_FALSE(w.answers[0].wrong);
	answer(&w, 0);
	run(&w, SOON_MS);
	CU_ASSERT_STRING_EQUAL(s->text, "200 0 none|end|");
	end(&w);
}

static void refused_behind_its_end(void)
{
	struct world w = {.refuse = 1};
	struct half_script *s;

	begin(&w);
	s = ask(&w);
	script_post(s, HEAD_LENGTH_UNKNOWN);
	script_end_with(s, "x-end=1"); /* while it waits for a connection */
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL_FATAL(w.answered, 1);
	CU_ASSERT_STRING_EQUAL(w.answers[0].text, "POST a.example /x|end x-end=1|");
	end(&w);
}

static void refused_behind_a_body(void)
{
	struct world w = {.refuse = 1};
	struct half_script *s;

	begin(&w);
	get(&w, "GET");
	w.refuse = 0;
	run(&w, SOON_MS);
	w.refuse = 1;
	s = ask(&w);
	script_post(s, HEAD_LENGTH_UNKNOWN);
	CU_ASSERT_EQUAL(script_send(s, 10), 10);
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(s->aborted, ADIT_ERR_LIMIT);
	CU_ASSERT_EQUAL(w.far_count, 1);
	end(&w);
}

/* The connection ends without a word: before and behind its first answer, with and without harm in asking again. */
static void lost(void)
{
	static const struct {
		bool used;
		const char *method;
		bool again;
	} rows[] = {{false, "GET", false}, {true, "GET", true}, {true, "POST", false}, {true, "PUT", true}};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct world w = {0};
		struct half_script *s;

		begin(&w);
		if (rows[i].used)
			get_answered(&w);
		s = get(&w, rows[i].method);
		run(&w, SOON_MS);
		far_hangs_up(&w.fars[0]);
		run(&w, SOON_MS);
		CU_ASSERT_EQUAL(w.far_count, rows[i].again ? 2 : 1);
		CU_ASSERT_EQUAL(s->aborted, rows[i].again ? 0 : ADIT_ERR_RESET);
		end(&w);
	}
}

/* ---- the end of a connection, with messages under way */

static void complete_answer_is_told(void)
{
	struct world w = {0};
	struct half_script *slow, *cut;

	begin(&w);
	slow = get(&w, "GET");
	cut = get(&w, "GET");
	run(&w, SOON_MS);
	for (unsigned i = 0; i < 2; i++) {
		script_respond(&w.answers[i], 200, HEAD_LENGTH_UNKNOWN, false, "");
		CU_ASSERT_EQUAL(script_send(&w.answers[i], 1000), 1000);
	}
	script_end_with(&w.answers[0], "x-end=1");
	run(&w, SOON_MS);
	script_grant(slow, 100);
	far_hangs_up(&w.fars[0]);
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(slow->got, 100);
	CU_ASSERT_EQUAL(cut->got, 0);
	CU_ASSERT_EQUAL(origin_connections(w.origin), 1);
	script_grant(slow, 5000);
	script_grant(cut, 5000);
	run(&w, SOON_MS);
	CU_ASSERT_STRING_EQUAL(slow->text, "200|body|end x-end=1|");
	CU_ASSERT_STRING_EQUAL(cut->text, "200|body|abort INCOMPLETE|");
	CU_ASSERT_EQUAL(cut->got, 1000);
	CU_ASSERT_EQUAL(origin_connections(w.origin), 0);
	end(&w);
}

static void visitor_leaves(void)
{
	struct world w = {0};
	struct half_script *s;

	begin(&w);
	half_abort(&get(&w, "GET")->half, ADIT_ERR_ABANDONED); /* while it waits */
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(w.answered, 0);
	s = get(&w, "GET");
	run(&w, SOON_MS);
	half_abort(&s->half, ADIT_ERR_ABANDONED);
	run(&w, SOON_MS);
	CU_ASSERT_EQUAL(w.answers[0].aborted, ADIT_ERR_ABANDONED);
	get_answered(&w);
	CU_ASSERT_EQUAL(w.far_count, 1);
	end(&w);
}

static void at_most(void)
{
	struct half *half;
	struct half_script *all = calloc(ORIGIN_CONNECTIONS_MAX, sizeof(*all));
	struct world w = {0};
	int err = 0;

	CU_ASSERT_PTR_NOT_NULL_FATAL(all);
	begin(&w);
	for (unsigned i = 0; i < ORIGIN_CONNECTIONS_MAX; i++) {
		half = origin_half(w.origin, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(half);
		script_init(&all[i]);
		half_link(&all[i].half, half);
	}
	CU_ASSERT_PTR_NULL(origin_half(w.origin, &err));
	CU_ASSERT_EQUAL(err, ADIT_ERR_LIMIT);
	half_abort(&all[3].half, ADIT_ERR_ABANDONED);
	half = origin_half(w.origin, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(half);
	half_link(&all[3].half, half);
	end(&w);
	free(all);
}

static const struct unit_test tests[] = {
	{"requests one after the other share a connection", one_after_the_other},
	{"an idle connection is closed, and not before", closed_when_idle},
	{"a connection gets as many streams as it allows", as_many_streams_as_allowed},
	{"without room a request waits, for ten seconds", no_room},
	{"a dial that fails fails those that wait", nobody_there},
	{"a further connection that fails hurts nobody", no_second_connection},
	{"a connection without SETTINGS is given up", no_settings},
	{"so is one that ends before them", ends_before_settings},
	{"after GOAWAY what runs goes on, and new requests go elsewhere", goaway},
	{"what is refused is asked again, whatever its method", refused_once},
	{"and only once", refused_twice},
	{"a body that has not begun follows the second time", refused_with_a_body_to_come},
	{"so do trailers without a body", refused_behind_its_end},
	{"what has begun its body is not asked again", refused_behind_a_body},
	{"a connection that ends unheard: only what does no harm is asked again", lost},
	{"what came whole is told whole, also when its connection has ended", complete_answer_is_told},
	{"a visitor who leaves takes his request with him", visitor_leaves},
	{"there is a most of requests", at_most},
};

UNIT_MAIN("origin_h2", tests)
