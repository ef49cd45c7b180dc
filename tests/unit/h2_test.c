/* h2: messages from one end to the other, and how streams end. */
#include "h2_pair.h"

static void get(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(origin.text, "GET a.example /x 0 none|end|");
	CU_ASSERT_EQUAL(h2_open(p.ask.h2), 1);
	CU_ASSERT_EQUAL(h2_open(p.answer.h2), 1);
	script_respond(&origin, 200, 5, false, "content-type=text/plain x-a=1");
	CU_ASSERT_EQUAL(script_send(&origin, 5), 5);
	half_end(&origin.half, NULL);
	script_grant(&visitor, 100);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "200 5 content-type=text/plain x-a=1|body|end|");
	CU_ASSERT_EQUAL(visitor.got, 5);
	CU_ASSERT_EQUAL(p.ask.idle, 1);
	CU_ASSERT_EQUAL(p.answer.idle, 1);
	pair_over(&p);
}

/* Sends `n` bytes from each script to the other, over and over as credit comes, and their ends. */
static void exchange_bodies(struct h2_pair *p, struct half_script *a, struct half_script *b, size_t n)
{
	for (int i = 0; i < 100000 && (a->sent < n || b->sent < n); i++) {
		script_send(a, n - a->sent);
		script_send(b, n - b->sent);
		pair_run(p);
	}
	half_end(&a->half, NULL);
	half_end(&b->half, NULL);
	pair_run(p);
	CU_ASSERT_EQUAL(a->got, n);
	CU_ASSERT_EQUAL(b->got, n);
	CU_ASSERT_FALSE(a->wrong);
	CU_ASSERT_FALSE(b->wrong);
	CU_ASSERT_TRUE(a->ended && b->ended);
}

static void post_both_ways(size_t step, size_t size)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	p.step = step;
	pair_ask(&p, &visitor);
	visitor.keep_up = true;
	script_grant(&visitor, 100000);
	script_post(&visitor, (int64_t)size);
	pair_run(&p);
	origin.keep_up = true;
	script_grant(&origin, 70001);
	script_respond(&origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	exchange_bodies(&p, &visitor, &origin, size);
	pair_over(&p);
}

static void bodies_both_ways(void)
{
	post_both_ways(SIZE_MAX, 1000000);
}

static void byte_by_byte(void)
{
	post_both_ways(1, 40000);
}

static void without_body(void)
{
	static const struct {
		const char *method;
		int status;
		int64_t length;
		const char *told;
	} rows[] = {
		{"HEAD", 200, 12345, "200 12345 none|end|"},
		{"HEAD", 200, HEAD_LENGTH_UNKNOWN, "200 none|end|"},
		{"GET", 204, HEAD_LENGTH_UNKNOWN, "204 none|end|"},
		{"GET", 304, 500, "304 500 none|end|"},
		{"GET", 200, 0, "200 0 none|end|"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct half_script visitor, origin;
		struct h2_pair p;

		pair_init(&p, &origin, 1);
		pair_ask(&p, &visitor);
		script_get(&visitor, rows[i].method);
		pair_run(&p);
		script_respond(&origin, rows[i].status, rows[i].length, true, "");
		pair_run(&p);
		CU_ASSERT_STRING_EQUAL(visitor.text, rows[i].told);
		pair_over(&p);
	}
}

static void empty_body_of_unknown_length(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	script_post(&visitor, HEAD_LENGTH_UNKNOWN);
	half_end(&visitor.half, NULL);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(origin.text, "POST a.example /x|end|");
	script_respond(&origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	pair_run(&p);
	half_end(&origin.half, NULL);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "200|end|");
	pair_over(&p);
}

static void informational(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	script_respond(&origin, 103, HEAD_LENGTH_UNKNOWN, true, "link=</a.css>");
	pair_run(&p);
	script_respond(&origin, 103, HEAD_LENGTH_UNKNOWN, true, "link=</b.css>");
	script_respond(&origin, 200, 0, true, "");
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "103 link=</a.css>|103 link=</b.css>|200 0 none|end|");
	pair_over(&p);
}

static void trailers(void)
{
	for (size_t body = 0; body < 2; body++) {
		struct half_script visitor, origin;
		struct h2_pair p;

		pair_init(&p, &origin, 1);
		pair_ask(&p, &visitor);
		script_grant(&visitor, 10);
		script_post(&visitor, HEAD_LENGTH_UNKNOWN);
		script_send(&visitor, body);
		script_end_with(&visitor, "x-sum=1");
		pair_run(&p);
		script_grant(&origin, 10);
		script_respond(&origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
		script_send(&origin, body);
		script_end_with(&origin, "x-sum=2 x-more=3");
		pair_run(&p);
		CU_ASSERT_STRING_EQUAL(origin.text, body ? "POST a.example /x|body|end x-sum=1|"
		                                         : "POST a.example /x|end x-sum=1|");
		CU_ASSERT_STRING_EQUAL(visitor.text, body ? "200|body|end x-sum=2 x-more=3|" : "200|end x-sum=2 x-more=3|");
		pair_over(&p);
	}
}

/* An answer before the request is complete: the rest of the request is neither taken nor sent. */
static void early_response(bool bodyless, const char *told, const char *trailers_text)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	script_grant(&visitor, 1000);
	script_post(&visitor, 1000000);
	script_send(&visitor, 100000);
	pair_run(&p);
	script_grant(&origin, 1000);
	script_respond(&origin, 413, bodyless ? 0 : 9, bodyless, "");
	if (!bodyless) {
		script_send(&origin, 9);
		script_end_with(&origin, trailers_text);
	}
	half_abort(&origin.half, ADIT_ERR_ENOUGH);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, told);
	CU_ASSERT_TRUE(visitor.sent > visitor.credit);
	pair_over(&p);
}

static void early_responses(void)
{
	early_response(false, "413 9|body|end|abort ENOUGH|", "");
	early_response(false, "413 9|body|end x-a=1|abort ENOUGH|", "x-a=1");
	early_response(true, "413 0 none|end|abort ENOUGH|", "");
}

static void upgraded(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	visitor.keep_up = true;
	script_grant(&visitor, 1000);
	script_upgrade(&visitor);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(origin.text, "GET a.example /x up=websocket sec-websocket-version=13|");
	origin.keep_up = true;
	script_grant(&origin, 1000);
	script_respond(&origin, 101, HEAD_LENGTH_UNKNOWN, false, "sec-websocket-accept=abc");
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "101 up=websocket sec-websocket-accept=abc|");
	exchange_bodies(&p, &visitor, &origin, 50000);
	pair_over(&p);
}

static void upgrade_not_accepted(void)
{
	static const struct {
		int status;
		int64_t length;
		bool bodyless;
		const char *told;
	} rows[] = {
		{200, 5, false, "200|body|end|abort ENOUGH|"},
		{206, HEAD_LENGTH_UNKNOWN, false, "206|body|end|abort ENOUGH|"},
		{204, HEAD_LENGTH_UNKNOWN, true, "204 none|end|abort ENOUGH|"},
		{403, 5, false, "403 5|body|end|abort ENOUGH|"},
		{302, 0, true, "302 0 none|end|abort ENOUGH|"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct half_script visitor, origin;
		struct h2_pair p;

		pair_init(&p, &origin, 1);
		pair_ask(&p, &visitor);
		script_grant(&visitor, 1000);
		script_upgrade(&visitor);
		pair_run(&p);
		script_respond(&origin, rows[i].status, rows[i].length, rows[i].bodyless, "");
		script_send(&origin, 5);
		if (!rows[i].bodyless)
			half_end(&origin.half, NULL);
		pair_run(&p);
		/* what was meant for who would have accepted is not waited for */
		CU_ASSERT_STRING_EQUAL(visitor.text, rows[i].told);
		CU_ASSERT_TRUE(origin.ended);
		pair_over(&p);
	}
}

/* To a stranger any 2xx means that the upgrade was accepted (RFC 8441 section 4). */
static void upgrade_of_a_stranger(void)
{
	const struct h2_options o = {.role = H2_ANSWERING};
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_answer_as(&p, &o);
	pair_ask(&p, &visitor);
	script_grant(&visitor, 1000);
	script_upgrade(&visitor);
	pair_run(&p);
	script_respond(&origin, 200, 5, false, "");
	script_send(&origin, 5);
	half_end(&origin.half, NULL);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "502 5|body|end|abort ENOUGH|");
	pair_over(&p);
}

static void unlinked_is_refused(void)
{
	struct half_script visitor;
	struct h2_pair p;

	pair_init(&p, NULL, 0);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "abort LIMIT|");
	pair_over(&p);
}

static void answer_and_leave(struct half_script *s, enum script_op op)
{
	if (op != SCRIPT_HEAD)
		return;
	script_respond(s, 404, 3, false, "");
	script_send(s, 3);
	half_end(&s->half, NULL);
	half_done(&s->half);
}

static void answered_at_once(void)
{
	struct half_script visitor, origin;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	origin.on = answer_and_leave;
	pair_ask(&p, &visitor);
	script_grant(&visitor, 1000);
	script_get(&visitor, "GET");
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "404 3|body|end|");
	pair_over(&p);
}

/* A field that HTTP/2 does not allow ends its stream on a tunnel: no adit lets one of an origin pass. */
static void bad_field(void)
{
	struct half_script visitor, origin;
	struct head h;
	struct h2_pair p;

	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	script_get(&visitor, "GET");
	pair_run(&p);
	head_init(&h);
	h.status = 200;
	CU_ASSERT_EQUAL(fields_add(&h.fields, STR("x-bad"), STR("a\001b")), 0);
	CU_ASSERT_EQUAL(fields_add(&h.fields, STR("x-good"), STR("2")), 0);
	half_head(&origin.half, &h, true);
	half_end(&origin.half, NULL);
	head_free(&h);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "abort PROTO|");
	pair_over(&p);
}

/* As many fields, and as many bytes, as a head can hold. */
static void largest_heads(void)
{
	struct half_script visitor, origin;
	char name[16], *value = malloc(HTTP_HEAD_MAX);
	struct head h;
	struct h2_pair p;

	CU_ASSERT_PTR_NOT_NULL_FATAL(value);
	memset(value, '~', HTTP_HEAD_MAX); /* Huffman makes it longer */
	pair_init(&p, &origin, 1);
	pair_ask(&p, &visitor);
	script_make_request(&h, "GET", "", "");
	h.length = 0;
	for (int i = 0; i < HTTP_FIELDS_MAX - 1; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		CU_ASSERT_EQUAL(fields_add(&h.fields, str_of(name), STR("v")), 0);
	}
	CU_ASSERT_EQUAL(fields_add(&h.fields, STR("big"), (struct str){value, HTTP_HEAD_MAX - h.fields.used - 3}), 0);
	CU_ASSERT_EQUAL(fields_add(&h.fields, STR("y"), STR("z")), ADIT_ERR_HEAD_TOO_BIG);
	half_head(&visitor.half, &h, true);
	half_end(&visitor.half, NULL);
	pair_run(&p);
	CU_ASSERT_PTR_NOT_NULL(strstr(origin.text, " big=(32"));
	CU_ASSERT_PTR_NOT_NULL(strstr(origin.text, " n98=v"));
	head_reset(&h);
	h.status = 200;
	CU_ASSERT_EQUAL(fields_add(&h.fields, STR("big"), (struct str){value, HTTP_HEAD_MAX - 3}), 0);
	half_head(&origin.half, &h, true);
	half_end(&origin.half, NULL);
	pair_run(&p);
	CU_ASSERT_STRING_EQUAL(visitor.text, "200 0 none big=(32765)|end|");
	head_free(&h);
	free(value);
	pair_over(&p);
}

static const struct unit_test tests[] = {
	{"a request and its response cross with fields, length and body", get},
	{"bodies of a megabyte cross both ways at once, never beyond the credit", bodies_both_ways},
	{"the same when every byte arrives alone", byte_by_byte},
	{"HEAD, 204, 304 and empty responses end with their heads", without_body},
	{"a body of unknown length may turn out to be empty", empty_body_of_unknown_length},
	{"informational responses come before the final one", informational},
	{"trailers cross both ways, behind a body and behind none", trailers},
	{"an early response is complete before the rest of the request is refused", early_responses},
	{"an accepted upgrade carries bytes both ways until both have ended", upgraded},
	{"an origin that ignores or refuses an upgrade is heard with its own status", upgrade_not_accepted},
	{"a stranger is never told 2xx for an upgrade that was not accepted", upgrade_of_a_stranger},
	{"a request that nobody links is refused", unlinked_is_refused},
	{"a request that is answered at once gets that answer", answered_at_once},
	{"a bad field on a tunnel ends its stream", bad_field},
	{"heads of the largest size allowed cross", largest_heads},
};

UNIT_MAIN("h2", tests)
