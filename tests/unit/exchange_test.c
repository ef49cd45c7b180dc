/* exchange: what each side is told when the other ends, row by row of the table in exchange.h, and what is logged. */
#include "exchange/exchange.h"

#include "half_script.h"
#include "http/page.h"

struct setup {
	struct half_script visitor, origin;
	struct exchange *x;
	int route_err;      /* instead of a route */
	unsigned done;
	struct exchange_report r;
	char method[64], host[300], path[1100], name[300], detail[200], peer[64];
};

static struct half *route(void *arg, struct exchange *x, struct head *h, int *err)
{
	struct setup *s = arg;

	exchange_name(x, "shop");
	exchange_detail(x, "localhost:3000");
	CU_ASSERT_EQUAL(fields_set(&h->fields, STR("adit-tunnel"), STR("shop")), 0);
	*err = s->route_err;
	return s->route_err ? NULL : &s->origin.half;
}

static void keep(char *out, size_t cap, const char *text)
{
	snprintf(out, cap, "%s", text);
}

static void done(void *arg, const struct exchange_report *r)
{
	struct setup *s = arg;

	s->done++;
	s->r = *r;
	keep(s->method, sizeof(s->method), r->method);
	keep(s->host, sizeof(s->host), r->host);
	keep(s->path, sizeof(s->path), r->path);
	keep(s->name, sizeof(s->name), r->name);
	keep(s->detail, sizeof(s->detail), r->detail);
	keep(s->peer, sizeof(s->peer), r->visitor);
}

static const struct exchange_events events = {route, done};

static void make(struct setup *s)
{
	const struct exchange_options o = {&events, s, PAGE_HOP_SERVER, "192.0.2.7", true, NULL};

	memset(s, 0, sizeof(*s));
	script_init(&s->visitor);
	script_init(&s->origin);
	s->x = exchange_new(&o, &s->visitor.half);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s->x);
}

static void begin(struct setup *s, const char *method, bool bodyless, const char *fields)
{
	struct head h;

	script_make_request(&h, method, "", fields);
	if (bodyless)
		h.length = 0;
	exchange_begin(s->x, &h, bodyless);
	head_free(&h);
}

/* Nothing holds on to either side, and the end was told once. */
static void is_over(const struct setup *s, int err)
{
	CU_ASSERT_EQUAL(s->done, 1);
	CU_ASSERT_EQUAL(s->r.err, err);
	CU_ASSERT_PTR_NULL(s->visitor.half.peer);
	CU_ASSERT_PTR_NULL(s->origin.half.peer);
}

static void whole(void)
{
	struct setup s;

	make(&s);
	script_grant(&s.visitor, 1000);
	begin(&s, "POST", false, "x-a=1");
	CU_ASSERT_EQUAL(s.origin.credit, 1000);
	script_grant(&s.visitor, 500);
	CU_ASSERT_EQUAL(s.origin.credit, 1500);
	script_grant(&s.origin, 700);
	script_send(&s.visitor, 600);
	script_end_with(&s.visitor, "x-sum=1");
	script_respond(&s.origin, 103, HEAD_LENGTH_UNKNOWN, true, "");
	script_respond(&s.origin, 200, HEAD_LENGTH_UNKNOWN, false, "x-b=2");
	script_send(&s.origin, 1400);
	CU_ASSERT_EQUAL(s.done, 0);
	script_end_with(&s.origin, "x-sum=2");
	CU_ASSERT_STRING_EQUAL(s.origin.text, "POST a.example /x x-a=1 adit-tunnel=shop|body|end x-sum=1|");
	CU_ASSERT_STRING_EQUAL(s.visitor.text, "103 none|200 x-b=2|body|end x-sum=2|");
	CU_ASSERT_FALSE(s.visitor.wrong || s.origin.wrong);
	is_over(&s, 0);
	CU_ASSERT_EQUAL(s.r.status, 200);
	CU_ASSERT_EQUAL(s.r.request_bytes, 600);
	CU_ASSERT_EQUAL(s.r.response_bytes, 1400);
	CU_ASSERT_TRUE(s.r.first_us <= s.r.total_us);
	CU_ASSERT_STRING_EQUAL(s.method, "POST");
	CU_ASSERT_STRING_EQUAL(s.host, "a.example");
	CU_ASSERT_STRING_EQUAL(s.path, "/x");
	CU_ASSERT_STRING_EQUAL(s.name, "shop");
	CU_ASSERT_STRING_EQUAL(s.detail, "localhost:3000");
	CU_ASSERT_STRING_EQUAL(s.peer, "192.0.2.7");
}

static void response_first(void)
{
	struct setup s;

	make(&s);
	begin(&s, "POST", false, "");
	script_respond(&s.origin, 200, 0, true, "");
	CU_ASSERT_EQUAL(s.done, 0);
	half_end(&s.visitor.half, NULL);
	CU_ASSERT_TRUE(s.origin.ended);
	is_over(&s, 0);
}

static void get(struct setup *s)
{
	make(s);
	script_grant(&s->visitor, 10000);
	begin(s, "GET", true, "accept=application/json");
	half_end(&s->visitor.half, NULL);
}

static void visitor_leaves(void)
{
	struct setup s;

	get(&s);
	half_abort(&s.visitor.half, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(s.origin.aborted, ADIT_ERR_ABANDONED);
	is_over(&s, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(s.r.status, 0);

	get(&s);
	script_respond(&s.origin, 200, 10, false, "");
	half_abort(&s.visitor.half, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(s.origin.aborted, ADIT_ERR_ABANDONED);
	is_over(&s, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(s.r.status, 200);

	make(&s);
	begin(&s, "POST", false, "");
	script_respond(&s.origin, 200, 0, true, "");
	half_abort(&s.visitor.half, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(s.origin.aborted, ADIT_ERR_ABANDONED);
	is_over(&s, ADIT_ERR_ABANDONED);
}

static void visitor_has_enough(void)
{
	struct setup s;

	make(&s);
	begin(&s, "POST", false, "");
	script_respond(&s.origin, 413, 0, true, "");
	half_abort(&s.visitor.half, ADIT_ERR_ENOUGH);
	CU_ASSERT_EQUAL(s.origin.aborted, ADIT_ERR_ENOUGH);
	is_over(&s, 0);
}

static void visitor_leaves_before_its_request(void)
{
	struct setup s;

	make(&s);
	half_abort(&s.visitor.half, ADIT_ERR_ABANDONED);
	is_over(&s, ADIT_ERR_ABANDONED);
	CU_ASSERT_STRING_EQUAL(s.method, "");
	CU_ASSERT_STRING_EQUAL(s.host, "");
}

static void origin_fails_before_its_head(void)
{
	struct setup s;

	get(&s);
	half_abort(&s.origin.half, ADIT_ERR_REFUSED);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "502 "));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "content-type=application/json"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "|body|end|"));
	CU_ASSERT_EQUAL(s.visitor.aborted, 0);
	is_over(&s, ADIT_ERR_REFUSED);
	CU_ASSERT_EQUAL(s.r.status, 502);
	CU_ASSERT_EQUAL(s.r.response_bytes, s.visitor.got);
	CU_ASSERT_TRUE(s.r.first_us <= s.r.total_us);
}

/* The rest of the request has nobody to go to. */
static void origin_fails_in_mid_request(void)
{
	struct setup s;

	make(&s);
	script_grant(&s.visitor, 10000);
	begin(&s, "POST", false, "accept=text/html");
	half_abort(&s.origin.half, ADIT_ERR_TIMEOUT);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "504 "));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "text/html"));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "|body|end|abort ENOUGH|"));
	is_over(&s, ADIT_ERR_TIMEOUT);
}

static void page_for_head(void)
{
	struct setup s;

	make(&s);
	begin(&s, "HEAD", true, "");
	half_abort(&s.origin.half, ADIT_ERR_RESET);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, " none"));
	CU_ASSERT_PTR_NULL(strstr(s.visitor.text, "body|"));
	CU_ASSERT_PTR_NULL(strstr(s.visitor.text, "abort"));
	is_over(&s, ADIT_ERR_RESET);
	CU_ASSERT_EQUAL(s.r.response_bytes, 0);
}

static void origin_cuts_its_body(void)
{
	struct setup s;

	get(&s);
	script_respond(&s.origin, 200, 1000, false, "");
	script_send(&s.origin, 10);
	half_abort(&s.origin.half, ADIT_ERR_RESET);
	CU_ASSERT_STRING_EQUAL(s.visitor.text, "200 1000|body|abort RESET|");
	is_over(&s, ADIT_ERR_RESET);
	CU_ASSERT_EQUAL(s.r.response_bytes, 10);
}

/* After an informational response the final one has not begun. */
static void origin_fails_after_103(void)
{
	struct setup s;

	get(&s);
	script_respond(&s.origin, 103, HEAD_LENGTH_UNKNOWN, true, "");
	half_abort(&s.origin.half, ADIT_ERR_RESET);
	CU_ASSERT_EQUAL(strncmp(s.visitor.text, "103 none|502 ", 13), 0);
	is_over(&s, ADIT_ERR_RESET);
}

/* Why is said beside where. */
static void origin_says_why(void)
{
	struct setup s;

	get(&s);
	half_abort_why(&s.origin.half, ADIT_ERR_TLS_CERT, "certificate has expired");
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "502 "));
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "proxy-status=("));
	CU_ASSERT_STRING_EQUAL(s.detail, "localhost:3000: certificate has expired");
	is_over(&s, ADIT_ERR_TLS_CERT);
}

static void grpc_is_told_by_reset(void)
{
	static const struct {
		const char *type;
		int minor, err;
		bool reset;
	} rows[] = {
		{"application/grpc", 2, ADIT_ERR_CANCELLED, true},
		{"application/grpc+proto", 2, ADIT_ERR_LIMIT, true},
		{"application/GRPC;x=1", 2, ADIT_ERR_CALM, true},
		{"application/grpc", 2, ADIT_ERR_REFUSED, false},
		{"application/grpc", 1, ADIT_ERR_CANCELLED, false},
		{"application/grpc-web", 2, ADIT_ERR_CANCELLED, false},
		{"text/plain", 2, ADIT_ERR_LIMIT, false},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct setup s;
		struct head h;

		make(&s);
		script_make_request(&h, "POST", "", "");
		h.minor = rows[i].minor;
		CU_ASSERT_EQUAL_FATAL(fields_add(&h.fields, STR("content-type"), str_of(rows[i].type)), 0);
		exchange_begin(s.x, &h, false);
		head_free(&h);
		half_abort(&s.origin.half, rows[i].err);
		CU_ASSERT_EQUAL(s.visitor.began, !rows[i].reset);
		CU_ASSERT_EQUAL(s.visitor.aborted, rows[i].reset ? rows[i].err : ADIT_ERR_ENOUGH);
		is_over(&s, rows[i].err);
	}
}

static void origin_has_enough(void)
{
	struct setup s;

	make(&s);
	begin(&s, "POST", false, "");
	script_respond(&s.origin, 413, 0, true, "");
	half_abort(&s.origin.half, ADIT_ERR_RESET);
	CU_ASSERT_STRING_EQUAL(s.visitor.text, "413 0 none|end|abort ENOUGH|");
	is_over(&s, 0);
}

static void upgrade(struct setup *s, const char *protocol, int status)
{
	struct head h;

	make(s);
	script_grant(&s->visitor, 10000);
	script_make_request(&h, "GET", protocol, "");
	exchange_begin(s->x, &h, false);
	head_free(&h);
	script_respond(&s->origin, status, HEAD_LENGTH_UNKNOWN, false, "");
	script_send(&s->origin, 10);
	half_end(&s->origin.half, NULL);
}

/* The end of a WebSocket's origin is the end; of other protocols, and of a refused upgrade, it is that of one side. */
static void websocket_ends(void)
{
	struct setup s;

	upgrade(&s, "WebSocket", 101);
	CU_ASSERT_STRING_EQUAL(s.visitor.text, "101|body|end|abort ENOUGH|");
	CU_ASSERT_EQUAL(s.origin.aborted, ADIT_ERR_ENOUGH);
	is_over(&s, 0);

	upgrade(&s, "chat", 101);
	CU_ASSERT_EQUAL(s.done, 0);
	half_end(&s.visitor.half, NULL);
	CU_ASSERT_STRING_EQUAL(s.visitor.text, "101|body|end|");
	is_over(&s, 0);

	upgrade(&s, "websocket", 403);
	CU_ASSERT_EQUAL(s.done, 0);
	half_end(&s.visitor.half, NULL);
	CU_ASSERT_EQUAL(s.origin.aborted, 0);
	is_over(&s, 0);
}

static void no_route(void)
{
	struct setup s;

	make(&s);
	s.route_err = ADIT_ERR_NO_LINK;
	script_grant(&s.visitor, 10000);
	begin(&s, "GET", true, "");
	CU_ASSERT_EQUAL(strncmp(s.visitor.text, "503 ", 4), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "retry-after=5"));
	CU_ASSERT_EQUAL(s.visitor.aborted, 0);
	CU_ASSERT_FALSE(s.origin.began);
	is_over(&s, ADIT_ERR_NO_LINK);
	make(&s);
	s.route_err = ADIT_ERR_RATE;
	exchange_retry_after(s.x, 42);
	begin(&s, "GET", true, "");
	CU_ASSERT_EQUAL(strncmp(s.visitor.text, "429 ", 4), 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(s.visitor.text, "retry-after=42"));
	is_over(&s, ADIT_ERR_RATE);
}

static void failed_at_once(void)
{
	struct setup s;
	struct head h;

	make(&s);
	exchange_name(s.x, "early");
	CU_ASSERT_STRING_EQUAL(exchange_name_of(s.x), "early");
	CU_ASSERT_STRING_EQUAL(exchange_visitor(s.x), "192.0.2.7");
	script_make_request(&h, "POST", "", "");
	exchange_fail(s.x, &h, false, ADIT_ERR_HEAD_TOO_BIG);
	head_free(&h);
	CU_ASSERT_EQUAL(strncmp(s.visitor.text, "431 ", 4), 0);
	CU_ASSERT_EQUAL(s.visitor.aborted, ADIT_ERR_ENOUGH);
	CU_ASSERT_STRING_EQUAL(s.name, "early");
	is_over(&s, ADIT_ERR_HEAD_TOO_BIG);
}

static void long_texts(void)
{
	char *path = malloc(5000), *host = malloc(5000);
	struct setup s;
	struct head h;

	CU_ASSERT_PTR_NOT_NULL_FATAL(path);
	CU_ASSERT_PTR_NOT_NULL_FATAL(host);
	memset(path, 'p', 5000);
	memset(host, 'h', 5000);
	make(&s);
	s.route_err = ADIT_ERR_NO_NAME;
	script_make_request(&h, "AVERYLONGMETHODTHATISCUTSOMEWHERE", "", "");
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, (struct str){path, 5000}), 0);
	CU_ASSERT_EQUAL(head_set(&h, HEAD_AUTHORITY, (struct str){host, 5000}), 0);
	CU_ASSERT_EQUAL(fields_add(&h.fields, STR("accept"), (struct str){path, 5000}), 0);
	exchange_begin(s.x, &h, true);
	head_free(&h);
	CU_ASSERT_EQUAL(strlen(s.method), EXCHANGE_METHOD_MAX);
	CU_ASSERT_EQUAL(strlen(s.host), EXCHANGE_HOST_MAX);
	CU_ASSERT_EQUAL(strlen(s.path), EXCHANGE_PATH_MAX);
	is_over(&s, ADIT_ERR_NO_NAME);
	free(path);
	free(host);
}

static void abort_at(struct half_script *s, enum script_op op)
{
	if ((int)op == *(int *)s->arg)
		half_abort(&s->half, ADIT_ERR_ABANDONED);
}

/* Whichever op a half aborts from, the other is told at most once, and nothing is told after that. */
static void aborts_from_inside(void)
{
	for (int op = SCRIPT_HEAD; op <= SCRIPT_CREDIT; op++) {
		for (int side = 0; side < 2; side++) {
			struct setup s;
			struct half_script *by = side ? &s.origin : &s.visitor;

			make(&s);
			by->on = abort_at;
			by->arg = &op;
			script_grant(&s.visitor, 10000);
			begin(&s, "POST", false, "");
			script_grant(&s.origin, 1000);
			script_send(&s.visitor, 100);
			half_end(&s.visitor.half, NULL);
			script_respond(&s.origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
			script_send(&s.origin, 100);
			half_end(&s.origin.half, NULL);
			CU_ASSERT_EQUAL(by->aborted, 0);
			CU_ASSERT_EQUAL(s.done, 1);
			CU_ASSERT_PTR_NULL(s.visitor.half.peer);
			CU_ASSERT_PTR_NULL(s.origin.half.peer);
		}
	}
}

/* The page itself may be what the visitor breaks off at. */
static void aborts_in_the_page(void)
{
	for (int op = SCRIPT_HEAD; op <= SCRIPT_END; op++) {
		struct setup s;

		make(&s);
		s.visitor.on = abort_at;
		s.visitor.arg = &op;
		begin(&s, "POST", false, "");
		half_abort(&s.origin.half, ADIT_ERR_REFUSED);
		is_over(&s, ADIT_ERR_ABANDONED);
		CU_ASSERT_EQUAL(s.r.status, 502);
	}
}

static const struct unit_test tests[] = {
	{"a whole exchange passes on everything, and its report counts it", whole},
	{"a response may end before its request", response_first},
	{"an asking half that aborts takes the answering one along, at any time", visitor_leaves},
	{"who has a whole response may drop the rest of its request without an error", visitor_has_enough},
	{"an asking half may abort before its request", visitor_leaves_before_its_request},
	{"an error before the response's head is a page in the form that was asked for", origin_fails_before_its_head},
	{"behind such a page the rest of the request is not wanted", origin_fails_in_mid_request},
	{"a page that answers HEAD has no body", page_for_head},
	{"a response that was begun is cut, not completed", origin_cuts_its_body},
	{"after an informational response an error is still a page", origin_fails_after_103},
	{"an answering half may say why it aborts", origin_says_why},
	{"a gRPC call that is refused or given up gets no page", grpc_is_told_by_reset},
	{"an answering half that aborts behind its response only refuses the rest of the request", origin_has_enough},
	{"the end of a WebSocket's origin is the end of both", websocket_ends},
	{"a request without a route gets its error's page", no_route},
	{"a request may be answered with an error before it is routed", failed_at_once},
	{"what is kept for the log is cut, not refused", long_texts},
	{"halves may abort from inside each op", aborts_from_inside},
	{"a visitor may break off in the middle of a page", aborts_in_the_page},
};

UNIT_MAIN("exchange", tests)
