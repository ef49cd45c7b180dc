/* h2: aborts, resets, GOAWAY and faults; whoever ends when, nothing is left over. */
#include <nghttp2/nghttp2.h>

#include "h2_pair.h"

/* How far an exchange has come. */
enum stage {
	ASKED,            /* the head is submitted, not pulled */
	ARRIVED,
	UPLOADING,        /* more body sent than the other side takes */
	REQUESTED,        /* the request has ended */
	RESPONDING,       /* the response's head is submitted, not pulled */
	DOWNLOADING,      /* more response sent than the asking side takes */
	ANSWERED,         /* the response has ended, the asking side has not taken all */
	STAGES
};

static void bring_to(struct h2_pair *p, struct half_script *visitor, struct half_script *origin, enum stage stage)
{
	pair_ask(p, visitor);
	script_post(visitor, HEAD_LENGTH_UNKNOWN);
	if (stage >= ARRIVED)
		pair_run(p);
	if (stage >= UPLOADING) {
		script_grant(origin, 1000);
		script_send(visitor, 3000);
		pair_run(p);
	}
	if (stage >= REQUESTED) {
		half_end(&visitor->half, NULL);
		script_grant(origin, 100000);
		pair_run(p);
	}
	if (stage >= RESPONDING)
		script_respond(origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	if (stage >= DOWNLOADING) {
		script_grant(visitor, 1000);
		script_send(origin, 3000);
		pair_run(p);
	}
	if (stage >= ANSWERED) {
		half_end(&origin->half, NULL);
		pair_run(p);
	}
}

/* What the other side was told last. */
static bool ends_with(const struct half_script *s, const char *text)
{
	size_t n = strlen(text);

	return s->n >= n && strcmp(s->text + s->n - n, text) == 0;
}

static void asking_half_aborts(void)
{
	for (int stage = 0; stage < STAGES; stage++) {
		struct half_script visitor, origin;
		struct h2_pair p;

		pair_init(&p, &origin, 1);
		bring_to(&p, &visitor, &origin, (enum stage)stage);
		half_abort(&visitor.half, ADIT_ERR_ABANDONED);
		pair_run(&p);
		CU_ASSERT_EQUAL(p.requests, stage != ASKED);
		if (stage != ASKED)
			CU_ASSERT_TRUE(ends_with(&origin, stage == ANSWERED ? "end|" : "abort ABANDONED|"));
		CU_ASSERT_EQUAL(visitor.aborted, 0);
		pair_over(&p);
	}
}

static void answering_half_aborts(void)
{
	for (int stage = ARRIVED; stage < ANSWERED; stage++) {
		struct half_script visitor, origin;
		struct h2_pair p;

		pair_init(&p, &origin, 1);
		bring_to(&p, &visitor, &origin, (enum stage)stage);
		half_abort(&origin.half, ADIT_ERR_RESET);
		pair_run(&p);
		script_grant(&visitor, 100000);
		pair_run(&p);
		CU_ASSERT_TRUE(ends_with(&visitor, "abort INCOMPLETE|"));
		CU_ASSERT_FALSE(visitor.ended);
		CU_ASSERT_EQUAL(origin.aborted, 0);
		pair_over(&p);
	}
}

/* What each side says by its reset is what the other is told, as far as there is a word for it. */
static void resets_mean_something(void)
{
	static const struct {
		int said, by_answerer, by_asker; /* what the other one is told */
	} rows[] = {
		{ADIT_ERR_CANCELLED, ADIT_ERR_CANCELLED, ADIT_ERR_ABANDONED},
		{ADIT_ERR_ABANDONED, ADIT_ERR_CANCELLED, ADIT_ERR_ABANDONED},
		{ADIT_ERR_CALM, ADIT_ERR_CALM, ADIT_ERR_CALM},
		{ADIT_ERR_LIMIT, ADIT_ERR_LIMIT, ADIT_ERR_LIMIT},
		{ADIT_ERR_MEMORY, ADIT_ERR_LIMIT, ADIT_ERR_LIMIT}, /* nothing was done: it may be asked again */
		{ADIT_ERR_DESCRIPTORS, ADIT_ERR_LIMIT, ADIT_ERR_LIMIT},
		{ADIT_ERR_PROTO, ADIT_ERR_PROTO, ADIT_ERR_PROTO},
		{ADIT_ERR_RESET, ADIT_ERR_INCOMPLETE, ADIT_ERR_INCOMPLETE},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (int asker = 0; asker < 2; asker++) {
			struct half_script visitor, origin;
			struct h2_pair p;

			pair_init(&p, &origin, 1);
			bring_to(&p, &visitor, &origin, UPLOADING);
			half_abort(asker ? &visitor.half : &origin.half, rows[i].said);
			pair_run(&p);
			CU_ASSERT_EQUAL((asker ? &origin : &visitor)->aborted, asker ? rows[i].by_asker : rows[i].by_answerer);
			pair_over(&p);
		}
	}
}

/* The far end's connection has ended: complete messages are told to their end, the others as far as they came. */
static void cut_in_every_state(void)
{
	for (int stage = 0; stage < STAGES; stage++) {
		struct half_script visitor, origin;
		struct h2_pair p;

		pair_init(&p, &origin, 1);
		bring_to(&p, &visitor, &origin, (enum stage)stage);
		h2_cut(p.ask.h2);
		CU_ASSERT_EQUAL(visitor.aborted != 0, stage < DOWNLOADING);
		script_grant(&visitor, 100000);
		CU_ASSERT_EQUAL(visitor.got, stage < DOWNLOADING ? 0 : 3000);
		CU_ASSERT(ends_with(&visitor, stage == ANSWERED ? "end|" : "abort INCOMPLETE|"));
		CU_ASSERT_EQUAL(h2_open(p.ask.h2), 0);
		CU_ASSERT_EQUAL(p.ask.budget.used, 0);
		CU_ASSERT(h2_recv(p.ask.h2, (const uint8_t *)"x", 1) < 0);
		pair_free(&p);
	}
}

static void freed_in_every_state(void)
{
	for (int stage = 0; stage < STAGES; stage++) {
		struct half_script visitor, origin;
		struct h2_pair p;

		pair_init(&p, &origin, 1);
		bring_to(&p, &visitor, &origin, (enum stage)stage);
		pair_free(&p);
		CU_ASSERT_TRUE(ends_with(&visitor, "abort LINK_LOST|"));
		if (stage >= ARRIVED && stage < ANSWERED)
			CU_ASSERT_TRUE(ends_with(&origin, "abort LINK_LOST|"));
	}
}

static void never_asked(void)
{
	struct half_script visitor;
	struct h2_pair p;

	pair_init(&p, NULL, 0);
	pair_ask(&p, &visitor);
	half_abort(&visitor.half, ADIT_ERR_ABANDONED);
	pair_over(&p);
}

static void abort_at(struct half_script *s, enum script_op op)
{
	if ((int)op == *(int *)s->arg)
		half_abort(&s->half, ADIT_ERR_ABANDONED);
}

/* Everything an exchange has, said without waiting for what the other side does meanwhile. */
static void say_all(struct h2_pair *p, struct half_script *visitor, struct half_script *origin)
{
	script_post(visitor, HEAD_LENGTH_UNKNOWN);
	pair_run(p);
	script_grant(origin, 2000);
	script_send(visitor, 3000);
	pair_run(p);
	script_grant(origin, 2000);
	half_end(&visitor->half, NULL);
	pair_run(p);
	script_respond(origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	script_grant(visitor, 2000);
	script_send(origin, 3000);
	pair_run(p);
	script_grant(visitor, 2000);
	half_end(&origin->half, NULL);
	pair_run(p);
}

static void aborts_from_inside(void)
{
	for (int op = SCRIPT_HEAD; op <= SCRIPT_CREDIT; op++) {
		for (int side = 0; side < 2; side++) {
			struct half_script visitor, origin;
			struct h2_pair p;

			pair_init(&p, &origin, 1);
			pair_ask(&p, &visitor);
			*(side ? &origin.on : &visitor.on) = abort_at;
			*(side ? &origin.arg : &visitor.arg) = &op;
			say_all(&p, &visitor, &origin);
			pair_run(&p);
			CU_ASSERT_FALSE(visitor.wrong || origin.wrong);
			CU_ASSERT_EQUAL((side ? &origin : &visitor)->aborted, 0);
			pair_over(&p);
		}
	}
}

/* More than nghttp2's guard against rapid resets would bear. */
static void many_resets(bool by_asker)
{
	enum { TIMES = 1200 };
	struct half_script visitor, *origins = calloc(TIMES + 1, sizeof(*origins));
	struct h2_pair p;

	CU_ASSERT_PTR_NOT_NULL_FATAL(origins);
	pair_init(&p, origins, TIMES + 1);
	h2_arrived(p.ask.h2, UINT64_MAX); /* nobody acks here */
	for (int i = 0; i < TIMES; i++) {
		pair_ask(&p, &visitor);
		script_get(&visitor, "GET");
		pair_run(&p);
		half_abort(by_asker ? &visitor.half : &origins[i].half, ADIT_ERR_ABANDONED);
		pair_run(&p);
		CU_ASSERT_EQUAL((by_asker ? &origins[i] : &visitor)->aborted,
		                by_asker ? ADIT_ERR_ABANDONED : ADIT_ERR_CANCELLED);
	}
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	script_respond(&origins[TIMES], 200, 0, true, "");
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "200 0 none|end|");
	pair_over(&p);
	free(origins);
}

static void resets_by_asker(void)
{
	many_resets(true);
}

static void resets_by_answerer(void)
{
	many_resets(false);
}

/* Said while a request is on its way: that one still goes through, the next is refused at once. */
static void goaway_lets_run(void)
{
	struct half_script first, second, origins[2];
	struct h2_pair p;
	int err;

	pair_init(&p, origins, 2);
	pair_ask(&p, &first);
	script_get(&first, "GET");
	pair_run(&p);
	pair_ask(&p, &second);
	script_get(&second, "GET");
	h2_goaway(p.answer.h2);
	pair_move(&p.ask, &p.answer);
	pair_run(&p);
	CU_ASSERT_TRUE(h2_leaving(p.ask.h2));
	CU_ASSERT_TRUE(h2_leaving(p.answer.h2));
	CU_ASSERT_PTR_NULL(h2_ask(p.ask.h2, &err));
	CU_ASSERT_EQUAL(err, ADIT_ERR_LINK_LOST);
	script_respond(&origins[0], 200, 0, true, "");
	script_respond(&origins[1], 200, 0, true, "");
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(first.text, "200 0 none|end|");
	CU_ASSERT_STRING_EQUAL(second.text, "200 0 none|end|");
	CU_ASSERT_EQUAL(p.answer.idle, 1);
	CU_ASSERT_EQUAL(p.ask.idle, 1);
	pair_over(&p);
}

static void goaway_when_idle(void)
{
	struct h2_pair p;

	pair_init(&p, NULL, 0);
	pair_run(&p);
	h2_goaway(p.answer.h2);
	h2_goaway(p.answer.h2);
	pair_run(&p);
	CU_ASSERT_TRUE(h2_leaving(p.ask.h2));
	CU_ASSERT_EQUAL(p.answer.idle, 1);
	CU_ASSERT_EQUAL(pair_count(&p.answer, FRAME_GOAWAY_TYPE), 1);
	pair_over(&p);
}

/* A stranger learns which requests were never looked at, so that it may repeat them. */
static void goaway_to_a_stranger(void)
{
	const struct h2_options o = {.role = H2_ANSWERING};
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_answer_as(&p, &o);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	h2_goaway(p.answer.h2);
	pair_run(&p);
	CU_ASSERT_EQUAL(pair_count(&p.answer, FRAME_GOAWAY_TYPE), 1);
	h2_goaway_last(p.answer.h2);
	pair_run(&p);
	CU_ASSERT_EQUAL(pair_count(&p.answer, FRAME_GOAWAY_TYPE), 2);
	script_respond(&origin, 200, 0, true, "");
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "200 0 none|end|");
	pair_over(&p);
}

/* A request that is still here when GOAWAY comes was not too large: its tunnel is lost to it. */
static void goaway_before_pull(void)
{
	struct half_script visitor;
	struct h2_pair p;

	pair_init(&p, NULL, 0);
	pair_run(&p);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	h2_goaway(p.answer.h2);
	pair_move(&p.answer, &p.ask);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "abort LINK_LOST|");
	pair_over(&p);
}

static void garbage(void)
{
	static const uint8_t settings_on_a_stream[] = {0, 0, 0, 4, 0, 0, 0, 0, 1};
	struct half_script visitor, origin;
	struct h2_pair p;
	int err;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	h2_recv(p.answer.h2, settings_on_a_stream, sizeof(settings_on_a_stream));
	pair_run(&p);
	CU_ASSERT_EQUAL(p.ask.err, ADIT_ERR_PROTO);
	CU_ASSERT_EQUAL(h2_recv(p.answer.h2, settings_on_a_stream, 1), ADIT_ERR_PROTO);
	CU_ASSERT_TRUE(h2_leaving(p.ask.h2));
	CU_ASSERT_TRUE(h2_leaving(p.answer.h2));
	CU_ASSERT_PTR_NULL(h2_ask(p.ask.h2, &err));
	pair_free(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "abort LINK_LOST|");
}

static void not_http2(void)
{
	struct h2_pair p;

	pair_init(&p, NULL, 0);
	CU_ASSERT_EQUAL(h2_recv(p.answer.h2, (const uint8_t *)"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27), ADIT_ERR_PROTO);
	CU_ASSERT_EQUAL(h2_recv(p.answer.h2, (const uint8_t *)"x", 1), ADIT_ERR_PROTO);
	pair_free(&p);
}

static nghttp2_nv raw(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), 0};
}

/* Gives the answering end a request with that many fields more, as no head of ours can hold them. */
static void ask_raw(struct h2_pair *p, nghttp2_session *session, size_t more)
{
	nghttp2_nv nva[200] = {raw(":method", "GET"), raw(":scheme", "http"), raw(":path", "/"), raw(":authority", "a")};
	const uint8_t *out;
	ssize_t n;

	for (size_t i = 0; i < more; i++)
		nva[4 + i] = raw("cookie", "crumb");
	CU_ASSERT_TRUE(nghttp2_submit_request(session, NULL, nva, 4 + more, NULL, NULL) > 0);
	while ((n = nghttp2_session_mem_send(session, &out)) > 0)
		CU_ASSERT_EQUAL(h2_recv(p->answer.h2, out, (size_t)n), 0);
}

static void too_many_fields(void)
{
	uint8_t block[H2_QUANTUM + H2_FRAME_HEADER];
	nghttp2_session_callbacks *none;
	nghttp2_session *session;
	struct half_script origin;
	struct h2_pair p;

	CU_ASSERT_EQUAL_FATAL(nghttp2_session_callbacks_new(&none), 0);
	CU_ASSERT_EQUAL_FATAL(nghttp2_session_client_new(&session, none, NULL), 0);
	pair_init(&p, &origin, 1);
	CU_ASSERT_EQUAL(nghttp2_submit_settings(session, 0, NULL, 0), 0);
	ask_raw(&p, session, HTTP_FIELDS_MAX + 1);
	CU_ASSERT_EQUAL(p.requests, 0);
	pair_watch(&p.answer, block, h2_pull(p.answer.h2, block, sizeof(block)));
	CU_ASSERT_EQUAL(pair_count(&p.answer, FRAME_RST_TYPE), 1);
	CU_ASSERT_EQUAL(h2_open(p.answer.h2), 0);
	ask_raw(&p, session, HTTP_FIELDS_MAX);
	CU_ASSERT_EQUAL(p.requests, 1);
	nghttp2_session_del(session);
	nghttp2_session_callbacks_del(none);
	pair_free(&p);
}

static const struct unit_test tests[] = {
	{"an asking half may abort in every state", asking_half_aborts},
	{"an answering half may abort in every state", answering_half_aborts},
	{"a reset's reason arrives", resets_mean_something},
	{"when the far end has gone, what came whole ends well", cut_in_every_state},
	{"an h2 may be freed in every state of a stream, whose halves are told", freed_in_every_state},
	{"a stream that was never used leaves nothing", never_asked},
	{"halves may abort from inside each op", aborts_from_inside},
	{"more than a thousand visitors who cancel do not end the session", resets_by_asker},
	{"more than a thousand responses that fail do not end the session", resets_by_answerer},
	{"GOAWAY lets run what runs and what is on its way", goaway_lets_run},
	{"GOAWAY on an idle connection is no fault, and is said once", goaway_when_idle},
	{"a last GOAWAY lets run what runs", goaway_to_a_stranger},
	{"a request that GOAWAY overtakes is told that its tunnel is lost", goaway_before_pull},
	{"a fault that ends the connection is an error at both ends", garbage},
	{"bytes that are not HTTP/2 are an error, again and again", not_http2},
	{"a head with too many fields is reset, and the next request is taken", too_many_fields},
};

UNIT_MAIN("h2_end", tests)
