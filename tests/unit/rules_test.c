/* rules: what is judged and how, what goes on, and the pair of halves between an exchange and who answers. */
#include "loop_script.h"

#include "conf/conf_int.h"
#include "half_script.h"
#include "rules/rules.h"

/* ---- making rules */

/* of hello, by openssl passwd -6 */
#define SECRET "$6$salt$ghQ6Rhatj/sug12c6v8Ao/bXUoyJ1O1SqdumufgGEO3b3NYPvm/dSWDKWfNm1VxFoFiy/cw9eRaY0xu4GDQSU/"

/* what htpasswd -B makes, and openssl passwd -5; both of hello */
#define BCRYPT "$2y$05$jNVfzDD32QaEz0jOX61XjOmmqVr.XjH5UaWTnH.rRw4oAJrfmFNZe"
#define SHA_256 "$5$salt$ZYXsK0pxpaRWBUweKuToC90TC/15c9Iz8u3SGLTaS4D"

struct world {
	struct loop *loop;
	struct guesses *guesses;
	struct conf_rules *conf;
	struct rules *rules;
	struct half_script visitor, origin; /* of one exchange; the visitor is the exchange's half */
};

static void open_world(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->loop = loop_new();
	w->guesses = guesses_new(w->loop->ms);
	w->conf = conf_rules_new();
	CU_ASSERT_FATAL(w->guesses && w->conf);
}

static void make(struct world *w)
{
	w->rules = rules_new(w->loop, w->conf, w->guesses, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->rules);
}

static void close_world(struct world *w)
{
	rules_unref(&w->rules);
	loop_settle(w->loop);
	conf_rules_unref(&w->conf);
	guesses_free(&w->guesses);
	loop_free(&w->loop);
}

static void login(struct world *w, const char *text)
{
	struct conf_error e;

	CU_ASSERT_EQUAL_FATAL(conf_add_login(&w->conf->logins, str_of(text), true, &e), 0);
}

static void field(struct conf_fields *f, const char *name, const char *value)
{
	struct conf_error e;

	CU_ASSERT_EQUAL_FATAL(conf_add_field(f, str_of(name), str_of(value), &e), 0);
}

/* ---- judging */

struct verdict {
	int err;
	unsigned wait_s;
};

static struct verdict judge(struct world *w, const char *visitor, const char *authorization, int64_t length)
{
	struct verdict v;
	struct head h;

	script_make_request(&h, "POST", "", "");
	h.length = length;
	if (authorization)
		CU_ASSERT_EQUAL(fields_add(&h.fields, STR("authorization"), str_of(authorization)), 0);
	v.err = rules_judge(w->rules, &h, str_of(visitor), &v.wait_s);
	head_free(&h);
	return v;
}

static int named(struct world *w, const char *pair)
{
	char text[1024] = "Basic ";

	base64_encode((const uint8_t *)pair, strlen(pair), text + 6);
	return judge(w, "192.0.2.1", text, 0).err;
}

static void test_order(void)
{
	struct world w;
	struct conf_error e;

	open_world(&w);
	conf_add_block(&w.conf->deny, STR("192.0.2.9"), &e);
	login(&w, "bob:s3cret");
	w.conf->max_body = 10;
	w.conf->requests_per_second = 1;
	make(&w);
	/* what is refused for another reason does not count as a request */
	for (int i = 0; i < 5; i++) {
		CU_ASSERT_EQUAL(judge(&w, "192.0.2.9", NULL, 11).err, ADIT_ERR_FORBIDDEN);
		CU_ASSERT_EQUAL(judge(&w, "somebody", "Basic Ym9iOnMzY3JldA==", 0).err, ADIT_ERR_FORBIDDEN);
		CU_ASSERT_EQUAL(judge(&w, "192.0.2.1", NULL, 11).err, ADIT_ERR_PASSWORD);
		CU_ASSERT_EQUAL(judge(&w, "192.0.2.1", "Basic Ym9iOnMzY3JldA==", 11).err, ADIT_ERR_BODY_BIG);
	}
	CU_ASSERT_EQUAL(judge(&w, "192.0.2.1", "Basic Ym9iOnMzY3JldA==", 10).err, 0);
	CU_ASSERT_EQUAL(judge(&w, "192.0.2.1", "Basic Ym9iOnMzY3JldA==", HEAD_LENGTH_UNKNOWN).err, ADIT_ERR_RATE);
	close_world(&w);
}

static void test_passwords(void)
{
	static const char *const none[] = {
		NULL, "", "Basic", "Basic ", "Basic  ", "Bearer Ym9iOnMzY3JldA==", "Basic Ym9iOnMzY3JldA",
		"Basic Ym9i", "Basic Ym9iOnMzY3JldA== x", "Basic Ym9iOnMz\nY3JldA==", "BasicYm9iOnMzY3JldA==",
		"Basic ====", "Basic Ym9iOgBzZWNyZXQ=",
	};
	static const char *const right[] = {
		"Basic Ym9iOnMzY3JldA==", "basic Ym9iOnMzY3JldA==", "BASIC  Ym9iOnMzY3JldA== ",
	};
	char longest[2 * CONF_PASSWORD_MAX] = "bob:", huge[600];
	struct world w;

	open_world(&w);
	login(&w, "bob:s3cret");
	login(&w, "eve:" SECRET);
	make(&w);
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) /* none of these is a guess */
		CU_ASSERT_EQUAL(judge(&w, "192.0.2.1", none[i], 0).err, ADIT_ERR_PASSWORD);
	for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++)
		CU_ASSERT_EQUAL(judge(&w, "192.0.2.1", right[i], 0).err, 0);
	memset(longest + 4, 'x', CONF_PASSWORD_MAX + 1);
	memset(huge, 'x', sizeof(huge) - 1);
	huge[sizeof(huge) - 1] = '\0';
	huge[3] = ':';
	CU_ASSERT_EQUAL(named(&w, longest), ADIT_ERR_PASSWORD);
	CU_ASSERT_EQUAL(named(&w, huge), ADIT_ERR_PASSWORD);
	CU_ASSERT_EQUAL(named(&w, "eve:hello"), 0);
	CU_ASSERT_EQUAL(named(&w, "bob:s3cret"), 0);
	CU_ASSERT_EQUAL(named(&w, "bob:hello"), ADIT_ERR_PASSWORD);
	CU_ASSERT_EQUAL(named(&w, "eve:s3cret"), ADIT_ERR_PASSWORD);
	CU_ASSERT_EQUAL(named(&w, "eve:"), ADIT_ERR_PASSWORD);
	CU_ASSERT_EQUAL(named(&w, "nobody:s3cret"), ADIT_ERR_PASSWORD);
	CU_ASSERT_EQUAL(named(&w, "bob:" SECRET), ADIT_ERR_GUESSES);
	CU_ASSERT_EQUAL(named(&w, "bob:s3cret"), 0); /* known: no guess */
	CU_ASSERT_EQUAL(named(&w, "eve:hello"), 0);
	close_world(&w);
}

static void test_kinds_of_hashes(void)
{
	struct world w;

	open_world(&w);
	login(&w, "ann:" BCRYPT);
	login(&w, "dan:" SHA_256);
	make(&w);
	for (int i = 0; i < 2; i++) { /* the second time it is known */
		CU_ASSERT_EQUAL(named(&w, "ann:hello"), 0);
		CU_ASSERT_EQUAL(named(&w, "dan:hello"), 0);
	}
	CU_ASSERT_EQUAL(named(&w, "ann:Hello"), ADIT_ERR_PASSWORD);
	CU_ASSERT_EQUAL(named(&w, "dan:hell"), ADIT_ERR_PASSWORD);
	close_world(&w);
}

/* A hash is a password of its own for nobody. */
static void test_hash_is_no_password(void)
{
	struct world w;

	open_world(&w);
	login(&w, "eve:" SECRET);
	make(&w);
	CU_ASSERT_EQUAL(named(&w, "eve:" SECRET), ADIT_ERR_PASSWORD);
	close_world(&w);
}

static void test_waits(void)
{
	struct world w;
	struct verdict v;

	open_world(&w);
	login(&w, "bob:s3cret");
	login(&w, "eve:" SECRET);
	make(&w);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(named(&w, "bob:x"), ADIT_ERR_PASSWORD);
	v = judge(&w, "192.0.2.1", "Basic Ym9iOng=", 0);
	CU_ASSERT(v.err == ADIT_ERR_GUESSES && v.wait_s == 1);
	CU_ASSERT_EQUAL(named(&w, "eve:hello"), ADIT_ERR_GUESSES); /* right, and not looked at */
	CU_ASSERT_EQUAL(judge(&w, "192.0.2.2", "Basic Ym9iOng=", 0).err, ADIT_ERR_PASSWORD);
	w.loop->ms += 1000;
	CU_ASSERT_EQUAL(named(&w, "eve:hello"), 0);
	v = judge(&w, "192.0.2.1", "Basic Ym9iOng=", 0);
	CU_ASSERT(v.err == ADIT_ERR_GUESSES && v.wait_s == 2);
	CU_ASSERT_EQUAL(named(&w, "eve:hello"), 0);
	close_world(&w);
}

/* From ever new sources: hashes are computed only so fast. */
static void test_hashes_bounded(void)
{
	unsigned looked = 0, refused = 0;
	struct world w;

	open_world(&w);
	login(&w, "eve:" SECRET);
	make(&w);
	for (unsigned i = 0; i < GUESSES_HASHES_BURST + 20; i++) {
		char visitor[32];
		struct verdict v;

		snprintf(visitor, sizeof(visitor), "192.0.2.%u", i);
		v = judge(&w, visitor, "Basic bm9ib2R5Ong=", 0);
		looked += v.err == ADIT_ERR_PASSWORD;
		refused += v.err == ADIT_ERR_GUESSES && v.wait_s == 1;
	}
	CU_ASSERT(looked == GUESSES_HASHES_BURST && refused == 20);
	close_world(&w);
}

static void test_rate(void)
{
	struct rules *next;
	struct world w;
	struct verdict v;

	open_world(&w);
	w.conf->requests_per_second = 2;
	w.conf->requests_burst = 3;
	make(&w);
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(judge(&w, "", NULL, 0).err, 0);
	v = judge(&w, "", NULL, 0);
	CU_ASSERT(v.err == ADIT_ERR_RATE && v.wait_s == 1);
	/* rules that follow go on counting */
	next = rules_new(w.loop, w.conf, w.guesses, w.rules);
	CU_ASSERT_PTR_NOT_NULL_FATAL(next);
	rules_unref(&w.rules);
	w.rules = next;
	CU_ASSERT_EQUAL(judge(&w, "", NULL, 0).err, ADIT_ERR_RATE);
	w.loop->ms += 500;
	CU_ASSERT_EQUAL(judge(&w, "", NULL, 0).err, 0);
	CU_ASSERT_EQUAL(judge(&w, "", NULL, 0).err, ADIT_ERR_RATE);
	close_world(&w);
}

/* ---- what goes on */

static void test_apply(void)
{
	struct pass *between;
	struct world w;
	struct head h;

	open_world(&w);
	login(&w, "bob:s3cret");
	field(&w.conf->request.remove, "X-Gone", NULL);
	field(&w.conf->request.set, "X-Set", "new");
	make(&w);
	script_make_request(&h, "GET", "", "authorization=a x-gone=1 x-set=1 x-set=2 x-gone=3 x-kept=1");
	for (int i = 0; i < 2; i++) { /* also when it is routed again */
		CU_ASSERT_EQUAL(rules_apply(w.rules, &h, &between), 0);
		CU_ASSERT_PTR_NULL(between);
		CU_ASSERT_EQUAL(h.fields.n, 2);
		CU_ASSERT(str_eq(fields_get(&h.fields, STR("x-set")), STR("new")));
		CU_ASSERT(fields_has(&h.fields, STR("x-kept")));
	}
	for (int i = 0; i < HTTP_FIELDS_MAX - 2; i++)
		CU_ASSERT_EQUAL(fields_add(&h.fields, STR("x"), STR("y")), 0);
	CU_ASSERT_EQUAL(rules_apply(w.rules, &h, &between), 0); /* it replaces: no more than before */
	fields_remove(&h.fields, STR("x-set"));
	CU_ASSERT_EQUAL(fields_add(&h.fields, STR("x"), STR("y")), 0);
	CU_ASSERT_EQUAL(rules_apply(w.rules, &h, &between), ADIT_ERR_HEAD_TOO_BIG);
	head_free(&h);
	CU_ASSERT_EQUAL(named(&w, "bob:s3cret"), 0);
	close_world(&w);
}

/* Nothing is put between where nothing needs it. */
static void test_needs(void)
{
	static const struct {
		int64_t length;
		const char *method, *protocol;
		bool max_body, bandwidth, response;
		bool needs;
	} cases[] = {
		{HEAD_LENGTH_UNKNOWN, "POST", "", true, false, false, true},
		{5, "POST", "", true, false, false, false},
		{0, "GET", "", true, false, false, false},
		{HEAD_LENGTH_UNKNOWN, "GET", "websocket", true, false, false, false},
		{HEAD_LENGTH_UNKNOWN, "CONNECT", "", true, false, false, false},
		{0, "GET", "", true, true, false, true},
		{0, "GET", "", false, false, true, true},
		{HEAD_LENGTH_UNKNOWN, "POST", "", false, false, false, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pass *between;
		struct world w;
		struct head h;

		open_world(&w);
		w.conf->max_body = cases[i].max_body ? 10 : 0;
		w.conf->bandwidth = cases[i].bandwidth ? 5000 : 0;
		w.conf->response.given = cases[i].response;
		w.conf->requests_per_second = 5;
		make(&w);
		script_make_request(&h, cases[i].method, cases[i].protocol, "");
		h.length = cases[i].length;
		CU_ASSERT_EQUAL(rules_apply(w.rules, &h, &between), 0);
		CU_ASSERT_EQUAL(between != NULL, cases[i].needs);
		CU_ASSERT_PTR_NULL(pass_to(between, NULL)); /* nobody to answer: it goes */
		head_free(&h);
		close_world(&w);
	}
}

/* ---- the pair of halves */

/* An exchange's half, what the rules put between, and an origin. */
static void join(struct world *w, const char *method, const char *protocol)
{
	struct pass *between;
	struct half *answering;
	struct head h;

	make(w);
	script_init(&w->visitor);
	script_init(&w->origin);
	script_make_request(&h, method, protocol, "");
	CU_ASSERT_EQUAL_FATAL(rules_apply(w->rules, &h, &between), 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(between);
	answering = pass_to(between, &w->origin.half);
	CU_ASSERT_FATAL(answering && answering != &w->origin.half);
	half_link(&w->visitor.half, answering);
	half_head(&w->visitor.half, &h, false);
	head_free(&h);
}

static void is_over(const struct world *w)
{
	CU_ASSERT(!w->visitor.half.peer && !w->origin.half.peer);
	CU_ASSERT(!w->visitor.wrong && !w->origin.wrong);
}

static void test_passes(void)
{
	struct world w;

	open_world(&w);
	w.conf->max_body = 100000;
	field(&w.conf->response.set, "x-set", "1");
	field(&w.conf->response.remove, "server", NULL);
	w.conf->response.given = true;
	join(&w, "POST", "");
	script_grant(&w.visitor, 70000);
	script_grant(&w.origin, 100000);
	CU_ASSERT(w.visitor.credit == 100000 && w.origin.credit == 70000);
	CU_ASSERT_EQUAL(script_send(&w.visitor, 100000), 100000);
	script_respond(&w.origin, 103, HEAD_LENGTH_UNKNOWN, true, "server=a link=b");
	script_respond(&w.origin, 200, HEAD_LENGTH_UNKNOWN, false, "server=a x-set=2 x-kept=3");
	CU_ASSERT_EQUAL(script_send(&w.origin, 70000), 70000);
	script_end_with(&w.visitor, "t=1");
	script_end_with(&w.origin, "u=2");
	CU_ASSERT_STRING_EQUAL(w.origin.text, "POST a.example /x|body|end t=1|");
	CU_ASSERT_STRING_EQUAL(w.visitor.text, "103 none server=a link=b|200 x-kept=3 x-set=1|body|end u=2|");
	CU_ASSERT(w.origin.got == 100000 && w.visitor.got == 70000);
	is_over(&w);
	close_world(&w);
}

static void test_too_big(void)
{
	struct world w;

	open_world(&w);
	w.conf->max_body = 50000;
	join(&w, "POST", "");
	script_grant(&w.origin, 1000000);
	CU_ASSERT_EQUAL(script_send(&w.visitor, 50000), 50000);
	CU_ASSERT_EQUAL(w.origin.got, 50000);
	script_send(&w.visitor, 1);
	CU_ASSERT_EQUAL(w.origin.got, 50000);
	CU_ASSERT_STRING_EQUAL(w.origin.text, "POST a.example /x|body|abort ABANDONED|");
	CU_ASSERT_STRING_EQUAL(w.visitor.text, "abort BODY_BIG|");
	is_over(&w);
	close_world(&w);
}

/* Who aborts first, and with which word: the other side hears the same. */
static void test_aborts(void)
{
	for (int early = 0; early < 2; early++) {
		for (int origin = 0; origin < 2; origin++) {
			struct world w;

			open_world(&w);
			w.conf->bandwidth = 100000;
			join(&w, "POST", "");
			if (!early) {
				script_respond(&w.origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
				half_end(&w.origin.half, NULL);
			}
			half_abort_why(origin ? &w.origin.half : &w.visitor.half, ADIT_ERR_CALM, "because");
			CU_ASSERT_EQUAL((origin ? &w.visitor : &w.origin)->aborted, ADIT_ERR_CALM);
			CU_ASSERT_STRING_EQUAL((origin ? &w.visitor : &w.origin)->half.why, "because");
			is_over(&w);
			close_world(&w);
		}
	}
}

static void run_until(struct loop *l, uint64_t ms)
{
	while (loop_turn(l) || loop_jump(l, ms))
		;
	l->ms = ms;
}

static void send_always(struct half_script *s, enum script_op op)
{
	if (op == SCRIPT_CREDIT)
		script_send(s, s->credit);
}

/* Both ways at once at 10 000 bytes a second, with 2500 saved up in each. */
static void test_paced(const char *method, const char *protocol)
{
	struct world w;

	open_world(&w);
	w.conf->bandwidth = 10000;
	join(&w, method, protocol);
	w.visitor.on = w.origin.on = send_always;
	script_respond(&w.origin, *protocol ? 101 : 200, HEAD_LENGTH_UNKNOWN, false, "");
	script_grant(&w.visitor, 1000000);
	script_grant(&w.origin, 1000000);
	CU_ASSERT(w.visitor.got == 2500 && w.origin.got == 2500);
	run_until(w.loop, w.loop->ms + 5000);
	CU_ASSERT(w.visitor.got > 52000 && w.visitor.got <= 52500);
	CU_ASSERT(w.origin.got > 52000 && w.origin.got <= 52500);
	half_end(&w.visitor.half, NULL);
	CU_ASSERT(w.origin.ended);
	run_until(w.loop, w.loop->ms + 5000);
	CU_ASSERT(w.visitor.got > 102000 && w.visitor.got <= 102500);
	half_end(&w.origin.half, NULL);
	is_over(&w);
	close_world(&w);
}

static void test_paced_body(void)
{
	test_paced("POST", "");
}

static void test_paced_tunnel(void)
{
	test_paced("GET", "websocket");
	test_paced("CONNECT", "");
}

/* A new configuration changes the rate of what runs, and both share it. */
static void test_paced_on(void)
{
	struct rules *before;
	struct world w;

	open_world(&w);
	w.conf->bandwidth = 10000;
	join(&w, "POST", "");
	w.origin.on = send_always;
	script_respond(&w.origin, 200, HEAD_LENGTH_UNKNOWN, false, "");
	script_grant(&w.visitor, 10000000);
	CU_ASSERT_EQUAL(w.visitor.got, 2500);
	before = w.rules;
	w.conf->bandwidth = 100000;
	w.rules = rules_new(w.loop, w.conf, w.guesses, before);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w.rules);
	rules_unref(&before);
	run_until(w.loop, w.loop->ms + 1000);
	CU_ASSERT(w.visitor.got > 97500 && w.visitor.got <= 102500);
	half_abort(&w.origin.half, ADIT_ERR_RESET);
	is_over(&w);
	close_world(&w);
}

static const struct unit_test tests[] = {
	{"address, password and size are judged before a request counts", test_order},
	{"Authorization is read strictly, and right passwords are right", test_passwords},
	{"hashes of each kind are understood", test_kinds_of_hashes},
	{"who knows a hash does not know the password", test_hash_is_no_password},
	{"who guesses wrongly waits, unless he was right before", test_waits},
	{"hashes are computed only so fast, whoever guesses", test_hashes_bounded},
	{"requests are counted, also over a new configuration", test_rate},
	{"credentials go out and fields are changed, as often as it is routed", test_apply},
	{"halves are put between only where a rule needs them", test_needs},
	{"everything passes in both directions, the final response's fields changed", test_passes},
	{"a body one byte too long ends both sides, and that byte does not pass", test_too_big},
	{"an abort passes with its reason, from either side", test_aborts},
	{"bodies pass at the rate, each way for itself", test_paced_body},
	{"so do the bytes of a WebSocket and of a TCP port", test_paced_tunnel},
	{"a new rate holds for what runs as well", test_paced_on},
};

UNIT_MAIN("rules", tests)
