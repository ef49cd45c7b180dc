/* origin_h1: kept connections and switches, on the scripted loop. The origin is the test itself: pipes that it writes
 * into, and whose bytes it looks at. Only dialling is not real: it gives a pipe. */
#include "origin/origin.h"

#include "bad_heads.h"
#include "dial_script.h"
#include "pipe_script.h"

#define PIPES 4
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define POISON "HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"

struct world {
	struct loop *loop;
	struct resolver resolver;
	struct origin *origin;
	struct pipe *pipes[PIPES];
	unsigned count;
	struct half_script visitors[2];
};

/* ---- dialling */

static struct stream *dialled(void *arg, int *err)
{
	struct world *w = arg;

	(void)err;
	CU_ASSERT_FATAL(w->count < PIPES);
	w->pipes[w->count] = pipe_new(w->loop, 1 << 20);
	return &w->pipes[w->count++]->end[0].base;
}

/* ---- the world */

static void run(struct world *w)
{
	bool busy = true;

	for (int i = 0; busy && i < 1000; i++) {
		busy = false;
		for (unsigned p = 0; p < w->count; p++) {
			busy = pipe_move(w->pipes[p], SIZE_MAX) > 0 || busy;
			busy = pipe_tell(w->pipes[p]) || busy;
		}
		busy = loop_turn(w->loop) || busy;
	}
	CU_ASSERT_FALSE(busy);
}

static void begin(struct world *w)
{
	struct origin_options o = {.protocol = ORIGIN_H1, .host = "a.example", .port = 80, .resolver = &w->resolver};

	w->loop = loop_new();
	w->resolver = (struct resolver){dialled, w};
	w->origin = origin_new(w->loop, &o);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->origin);
}

static void end(struct world *w)
{
	origin_free(&w->origin);
	run(w);
	loop_settle(w->loop);
	for (unsigned i = 0; i < w->count; i++) {
		CU_ASSERT_TRUE(w->pipes[i]->end[0].destroyed);
		stream_free(&(struct stream *){&w->pipes[i]->end[1].base});
		loop_settle(w->loop);
		pipe_free(w->pipes[i]);
	}
	loop_free(&w->loop);
}

/* What the origin says on its connection `i`, and that it is there at once. */
static void says(struct world *w, unsigned i, const char *text)
{
	pipe_add(&w->pipes[i]->way[1], text, strlen(text), SIZE_MAX);
	pipe_move(w->pipes[i], SIZE_MAX);
}

/* How many requests the origin has got on its connection `i`. */
static unsigned requests(struct world *w, unsigned i)
{
	const struct pipe_way *way = &w->pipes[i]->way[0];
	unsigned n = 0;

	for (size_t at = 0; at + 9 <= way->arrived; at++)
		n += memcmp(way->bytes + at, " HTTP/1.1", 9) == 0;
	return n;
}

static struct half_script *ask(struct world *w, unsigned i)
{
	struct half_script *s = &w->visitors[i];
	int err = 0;
	struct half *half = origin_half(w->origin, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(half);
	script_init(s);
	half_link(&s->half, half);
	return s;
}

/* The first request, whose connection is kept. */
static void begin_kept(struct world *w)
{
	struct half_script *s;

	begin(w);
	s = ask(w, 0);
	script_get(s, "GET");
	run(w);
	says(w, 0, OK);
	run(w);
	CU_ASSERT_STRING_EQUAL(s->text, "200 0 none|end|");
	CU_ASSERT_EQUAL(origin_connections(w->origin), 1);
}

/* ---- tests */

static void kept(void)
{
	struct world w = {0};

	begin_kept(&w);
	script_get(ask(&w, 1), "GET");
	run(&w);
	says(&w, 0, POISON); /* now it is an answer like any other */
	run(&w);
	CU_ASSERT_STRING_EQUAL(w.visitors[1].text, "404 0 none|end|");
	CU_ASSERT_EQUAL(w.count, 1);
	CU_ASSERT_EQUAL(requests(&w, 0), 2);
	end(&w);
}

/*   origin     ... 200 ──── 404 (nobody asked)
 *   visitor                  GET ─ here, in the same turn, before either was looked at
 */
static void answers_nothing(const char *method)
{
	struct world w = {0};
	struct half_script *s;

	begin_kept(&w);
	says(&w, 0, POISON);
	s = ask(&w, 1);
	script_get(s, method);
	run(&w);
	CU_ASSERT_EQUAL_FATAL(w.count, 2);
	CU_ASSERT_EQUAL(requests(&w, 0), 1);
	CU_ASSERT_EQUAL(requests(&w, 1), 1);
	CU_ASSERT_STRING_EQUAL(s->text, "");
	says(&w, 1, OK);
	run(&w);
	CU_ASSERT_STRING_EQUAL(s->text, "200 0 none|end|");
	CU_ASSERT_EQUAL(origin_connections(w.origin), 1);
	end(&w);
}

static void bytes_before_the_request(void)
{
	answers_nothing("GET");
	answers_nothing("POST"); /* not a byte of it was sent: no matter whether it may be repeated */
}

/* The next request goes to a new connection, and gets what is said there. */
static void goes_elsewhere(struct world *w, struct half_script *s)
{
	run(w);
	CU_ASSERT_STRING_EQUAL(s->text, "");
	CU_ASSERT_EQUAL_FATAL(w->count, 2);
	CU_ASSERT_EQUAL(requests(w, 1), 1);
	says(w, 1, OK);
	run(w);
	CU_ASSERT_STRING_EQUAL(s->text, "200 0 none|end|");
	end(w);
}

/*   origin     ... 200 with a body ──── 404 (nobody asked), not read with it
 *   visitor                        takes it all ─ the next GET, in the same turn
 */
static void bytes_that_were_not_read(size_t body, size_t credit)
{
	static char text[2 * HALF_READ];
	struct world w = {0};
	struct half_script *s;
	int head;

	begin_kept(&w);
	s = ask(&w, 1);
	script_get(s, "GET");
	script_grant(s, credit);
	run(&w);
	/* a head as long for each length */
	head = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %08zu\r\n\r\n", body);
	memset(text + head, 'x', body);
	pipe_add(&w.pipes[0]->way[1], text, (size_t)head + body, SIZE_MAX);
	pipe_move(w.pipes[0], SIZE_MAX);
	if (credit < body)
		run(&w);
	says(&w, 0, POISON);
	if (credit < body)
		script_grant(s, body - credit);
	else
		pipe_tell(w.pipes[0]);
	loop_turn(w.loop);
	CU_ASSERT_EQUAL(s->got, body);
	CU_ASSERT_TRUE(s->ended);
	s = ask(&w, 0);
	script_get(s, "GET");
	loop_turn(w.loop);
	goes_elsewhere(&w, s);
}

static void bytes_behind_what_was_read(void)
{
	const size_t head = sizeof("HTTP/1.1 200 OK\r\nContent-Length: 00000000\r\n\r\n") - 1;

	bytes_that_were_not_read(HALF_READ - head, HALF_READ); /* one read takes the response, and not a byte more */
	bytes_that_were_not_read(1000, 500);                   /* nothing is read while the visitor takes no more */
}

/*   origin     ... 200 ──── 404 (nobody asked), cut into small records: of the last one only a part has come
 *   visitor              GET ─ here, or in the same turn
 */
static void part_of_a_record(bool same_turn, size_t record, size_t come)
{
	struct world w = {0};
	struct half_script *s = NULL;

	begin_kept(&w);
	w.pipes[0]->end[0].record = record;
	pipe_add(&w.pipes[0]->way[1], POISON, come, SIZE_MAX);
	pipe_move(w.pipes[0], SIZE_MAX);
	if (!same_turn) {
		run(&w);
		CU_ASSERT_EQUAL(origin_connections(w.origin), 0);
	}
	s = ask(&w, 1);
	script_get(s, "GET");
	goes_elsewhere(&w, s);
}

/* And such as come right behind a response, of whose records one read takes only some. */
static void records_behind_a_response(size_t behind)
{
	struct world w = {0};
	struct half_script *s;

	begin_kept(&w);
	s = ask(&w, 1);
	script_get(s, "GET");
	run(&w);
	w.pipes[0]->end[0].record = sizeof(OK) - 1; /* one read is all of it */
	says(&w, 0, OK);
	pipe_add(&w.pipes[0]->way[1], POISON POISON, behind, SIZE_MAX);
	pipe_move(w.pipes[0], SIZE_MAX);
	pipe_tell(w.pipes[0]);
	CU_ASSERT_TRUE(s->ended);
	s = ask(&w, 0);
	script_get(s, "GET");
	loop_turn(w.loop);
	goes_elsewhere(&w, s);
}

static void bytes_in_small_records(void)
{
	for (size_t come = 1; come < sizeof(POISON) - 1; come++) {
		part_of_a_record(false, sizeof(POISON) - 1, come);
		part_of_a_record(true, sizeof(POISON) - 1, come);
		part_of_a_record(true, 1, come);
		records_behind_a_response(come);
	}
	records_behind_a_response(2 * (sizeof(POISON) - 1));
}

static void bytes_before_its_body(void)
{
	struct world w = {0};
	const struct pipe_way *sent;
	struct half_script *s;

	begin_kept(&w);
	says(&w, 0, "!");
	s = ask(&w, 1);
	script_post(s, 5);
	CU_ASSERT_EQUAL(script_send(s, 5), 5);
	script_end_with(s, "");
	run(&w);
	CU_ASSERT_EQUAL_FATAL(w.count, 2);
	CU_ASSERT_EQUAL(requests(&w, 0), 1);
	CU_ASSERT_EQUAL(requests(&w, 1), 1);
	sent = &w.pipes[1]->way[0];
	CU_ASSERT_EQUAL(memcmp(sent->bytes + sent->arrived - 5, "\x00\x07\x0e\x15\x1c", 5), 0);
	says(&w, 1, OK);
	run(&w);
	CU_ASSERT_STRING_EQUAL(s->text, "200 0 none|end|");
	end(&w);
}

static void end_before_the_request(void)
{
	struct world w = {0};
	struct half_script *s;

	begin_kept(&w);
	w.pipes[0]->end[1].finished = true;
	s = ask(&w, 1);
	script_get(s, "POST");
	run(&w);
	CU_ASSERT_EQUAL_FATAL(w.count, 2);
	CU_ASSERT_EQUAL(requests(&w, 0), 1);
	says(&w, 1, OK);
	run(&w);
	CU_ASSERT_STRING_EQUAL(s->text, "200 0 none|end|");
	end(&w);
}

static void end_behind_the_request(void)
{
	struct world w = {0};
	struct half_script *s;

	begin_kept(&w);
	s = ask(&w, 1);
	script_get(s, "POST");
	run(&w);
	w.pipes[0]->end[1].finished = true;
	run(&w);
	CU_ASSERT_STRING_EQUAL(s->text, "abort RESET|");
	CU_ASSERT_EQUAL(w.count, 1);
	end(&w);
}

static const char *switched(const char *asked, const char *answer)
{
	static char told[64];
	struct world w = {0};
	struct half_script *s;
	struct head h;

	begin(&w);
	s = ask(&w, 0);
	script_make_request(&h, "GET", asked, "");
	half_head(&s->half, &h, false);
	head_free(&h);
	run(&w);
	says(&w, 0, "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: ");
	says(&w, 0, answer);
	says(&w, 0, "\r\n\r\n");
	run(&w);
	strcpy(told, s->text);
	half_abort(&s->half, ADIT_ERR_ABANDONED);
	end(&w);
	return told;
}

static void switches(void)
{
	CU_ASSERT_STRING_EQUAL(switched("chat", "chat"), "101 up=chat 0|");
	CU_ASSERT_STRING_EQUAL(switched("chat", "CHAT"), "101 up=CHAT 0|");
	CU_ASSERT_STRING_EQUAL(switched("chat", "chatter"), "abort PROTO|");
	CU_ASSERT_STRING_EQUAL(switched("chat", "cha"), "abort PROTO|");
	CU_ASSERT_STRING_EQUAL(switched("chat/1", "chat"), "abort PROTO|");
	CU_ASSERT_STRING_EQUAL(switched("", "chat"), "abort PROTO|");
}

/* Whatever the session should have let through, and aditd before: it does not become a line. */
static void last_door(void)
{
	for (size_t i = 0; i < BAD_HEADS; i++) {
		struct world w = {0};
		struct half_script *s;

		begin_kept(&w);
		s = ask(&w, 1);
		bad_head_tell(s, &bad_heads[i]);
		run(&w);
		CU_ASSERT_STRING_EQUAL(s->text, "abort BAD_REQUEST|");
		CU_ASSERT_EQUAL(w.count, 1);
		CU_ASSERT_EQUAL(requests(&w, 0), 1);
		end(&w);
	}
}

static void last_door_for_trailers(void)
{
	static const char *const bad[][2] = {
		{"x", "y\r\nz: a"}, {"x", "y\nz"}, {"x y", "z"}, {"", "z"}, {"x\r\ny", "z"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct world w = {0};
		struct half_script *s;
		struct fields f;
		const struct pipe_way *sent;

		begin(&w);
		s = ask(&w, 1);
		script_post(s, HEAD_LENGTH_UNKNOWN);
		CU_ASSERT_EQUAL(script_send(s, 2), 2);
		run(&w);
		fields_init(&f);
		CU_ASSERT_EQUAL_FATAL(fields_add(&f, str_of(bad[i][0]), str_of(bad[i][1])), 0);
		half_end(&s->half, &f);
		fields_free(&f);
		run(&w);
		CU_ASSERT_STRING_EQUAL(s->text, "abort BAD_REQUEST|");
		sent = &w.pipes[0]->way[0];
		CU_ASSERT_EQUAL(memcmp(sent->bytes + sent->arrived - 7, "2\r\n\x00\x07\r\n", 7), 0);
		end(&w);
	}
}

static const struct unit_test tests[] = {
	{"a connection is kept, and the next answer on it is the next request's", kept},
	{"bytes that came before the request was sent do not answer it", bytes_before_the_request},
	{"nor do such as lay behind what was read of the last response", bytes_behind_what_was_read},
	{"nor such as come in small records, or parts of them", bytes_in_small_records},
	{"a body that waited goes to the new connection with its head", bytes_before_its_body},
	{"a connection that had ended is not asked, whatever the method", end_before_the_request},
	{"one that ends behind the request is not asked again where that does harm", end_behind_the_request},
	{"a 101 must name the protocol that was asked for", switches},
	{"a head with what could begin another line is not written, whoever gave it", last_door},
	{"nor are trailers, and the message does not end", last_door_for_trailers},
};

UNIT_MAIN("origin_h1", tests)
