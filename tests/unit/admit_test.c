/* admit: whose rules a request goes by, before and after a new configuration, and when its name changes hands. */
#include "loop_script.h"

#include "conf/conf_int.h"
#include "edge/admit.h"
#include "half_script.h"
#include "session/session.h"

#define TOKENS 50

/* What the registry asks of sessions. */
struct session {
	int unused;
};

bool session_attached(const struct session *s)
{
	return s != NULL;
}

bool session_leaving(const struct session *s)
{
	return !s;
}

bool session_suspect(const struct session *s)
{
	return !s;
}

unsigned session_open(const struct session *s)
{
	return s != NULL;
}

struct world {
	struct loop *loop;
	struct registry *registry;
	struct admit admit;
	struct conf_token tokens[TOKENS];
	struct conf_server conf;
	struct session session;
};

static void name_of(unsigned i, char name[16])
{
	snprintf(name, 16, "name-%u", i);
}

/* Token `i` has the name name-i. Those of even number allow as many requests as their number, the others have no
 * rules. */
static void open_world(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->loop = loop_new();
	w->registry = registry_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->registry);
	CU_ASSERT_EQUAL_FATAL(admit_init(&w->admit, w->loop), 0);
	w->conf.tokens = w->tokens;
	w->conf.token_count = TOKENS;
	for (unsigned i = 0; i < TOKENS; i++) {
		char name[16];

		name_of(i, name);
		CU_ASSERT_EQUAL(digest_sha256(&i, sizeof(i), w->tokens[i].sha256), 0);
		CU_ASSERT_EQUAL(registry_add(w->registry, name, w->tokens[i].sha256, &w->session), 0);
		if (i % 2 || !i)
			continue;
		w->tokens[i].rules = conf_rules_new();
		CU_ASSERT_PTR_NOT_NULL_FATAL(w->tokens[i].rules);
		w->tokens[i].rules->requests_per_second = 1;
		w->tokens[i].rules->requests_burst = i;
	}
	admit_set_conf(&w->admit, &w->conf);
}

static void close_world(struct world *w)
{
	admit_clear(&w->admit);
	for (unsigned i = 0; i < TOKENS; i++)
		conf_rules_unref(&w->tokens[i].rules);
	registry_free(&w->registry);
	loop_settle(w->loop);
	loop_free(&w->loop);
}

/* ---- requests */

static struct half *no_route(void *arg, struct exchange *x, struct head *h, int *err)
{
	(void)arg;
	(void)x;
	(void)h;
	*err = ADIT_ERR_NO_LINK;
	return NULL;
}

static void done(void *arg, const struct exchange_report *r)
{
	(void)arg;
	(void)r;
}

struct request {
	struct half_script visitor;
	struct exchange *x;
	struct head head;
};

static void begin(struct request *r, const char *name)
{
	static const struct exchange_events events = {no_route, done};
	const struct exchange_options o = {&events, NULL, "aditd", "192.0.2.1", false, NULL};

	script_init(&r->visitor);
	r->x = exchange_new(&o, &r->visitor.half);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->x);
	exchange_name(r->x, name);
	script_make_request(&r->head, "GET", "", "");
}

static void end(struct request *r)
{
	half_abort(&r->visitor.half, ADIT_ERR_ABANDONED);
	head_free(&r->head);
}

static int judge(struct world *w, struct request *r, bool wanted_rules)
{
	struct rules *rules;
	int err;
	bool may = admit_judge(&w->admit, w->registry, r->x, &r->head, &rules, &err);

	CU_ASSERT_EQUAL(rules != NULL, wanted_rules);
	return may ? 0 : err;
}

static int ask(struct world *w, unsigned i)
{
	struct request r;
	char name[16];
	int err;

	name_of(i, name);
	begin(&r, name);
	err = judge(w, &r, i && i % 2 == 0);
	end(&r);
	return err;
}

static void test_each_its_own(void)
{
	struct world w;

	open_world(&w);
	for (unsigned i = 0; i < TOKENS; i++) {
		for (unsigned n = 0; n < i || n < 3; n++)
			CU_ASSERT_EQUAL(ask(&w, i), i && i % 2 == 0 && n >= i ? ADIT_ERR_RATE : 0);
		if (i && i % 2 == 0)
			CU_ASSERT_EQUAL(ask(&w, i), ADIT_ERR_RATE);
	}
	close_world(&w);
}

/* The same, others and none: what was counted goes on with the token, wherever it stands in the file. */
static void test_new_conf(void)
{
	struct conf_server none = {0}, shorter;
	struct world w;

	open_world(&w);
	for (int n = 0; n < 4; n++)
		CU_ASSERT_EQUAL(ask(&w, 4), 0);
	shorter = w.conf;
	shorter.tokens += 3;
	shorter.token_count = 4;
	admit_set_conf(&w.admit, &shorter);
	CU_ASSERT_EQUAL(ask(&w, 4), ADIT_ERR_RATE);
	CU_ASSERT_EQUAL(ask(&w, 6), 0);
	admit_set_conf(&w.admit, &none);
	CU_ASSERT_PTR_NULL(w.admit.entries);
	close_world(&w);
}

static void test_judged_once(void)
{
	struct request r;
	struct world w;

	open_world(&w);
	begin(&r, "name-2");
	for (int n = 0; n < 10; n++)
		CU_ASSERT_EQUAL(judge(&w, &r, true), 0);
	/* while it waits, the name comes to somebody else */
	registry_remove(w.registry, &w.session);
	CU_ASSERT_EQUAL(judge(&w, &r, false), 0);
	CU_ASSERT_EQUAL(registry_add(w.registry, "name-2", w.tokens[4].sha256, &w.session), 0);
	w.tokens[4].rules->max_body = 1;
	r.head.length = 2;
	CU_ASSERT_EQUAL(judge(&w, &r, true), ADIT_ERR_BODY_BIG);
	r.head.length = 1;
	CU_ASSERT_EQUAL(judge(&w, &r, true), 0);
	end(&r);
	close_world(&w);
}

/* Without memory for its rules a token's visitors stay out; those of others do not notice. */
static void test_no_memory(void)
{
	struct rules *rules;
	struct request r;
	struct world w;
	int err;

	open_world(&w);
	for (size_t i = 0; i <= w.admit.mask; i++)
		if (w.admit.entries[i].used && memcmp(w.admit.entries[i].token, w.tokens[2].sha256, SHA256_LEN) == 0)
			rules_unref(&w.admit.entries[i].rules);
	begin(&r, "name-2");
	CU_ASSERT_FALSE(admit_judge(&w.admit, w.registry, r.x, &r.head, &rules, &err));
	CU_ASSERT_EQUAL(err, ADIT_ERR_NOMEM);
	end(&r);
	CU_ASSERT_EQUAL(ask(&w, 4), 0);
	w.admit.failed = true;
	begin(&r, "name-3");
	CU_ASSERT_FALSE(admit_judge(&w.admit, w.registry, r.x, &r.head, &rules, &err));
	end(&r);
	close_world(&w);
}

static const struct unit_test tests[] = {
	{"each name goes by the rules of its token, or by none", test_each_its_own},
	{"a new configuration goes on counting for those that stay", test_new_conf},
	{"a request is judged once, but again when its name changes hands", test_judged_once},
	{"where there was no memory for rules nobody gets in", test_no_memory},
};

UNIT_MAIN("admit", tests)
