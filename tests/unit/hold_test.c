/* hold: requests that wait for their tunnel, and those that are asked again elsewhere when it is lost: which may, how
 * often, and what their visitors are told. The exchange and the hold are the programs' own; route is the test's.
 */
#include "edge/hold.h"

#include "half_script.h"
#include "http/page.h"
#include "loop_script.h"

#define ORIGINS 5
#define GRANTED 1000

struct rig {
	struct loop *loop;
	struct hold hold;
	struct half_script visitor, origin[ORIGINS];
	struct exchange *x;
	unsigned asked;       /* origins that have been asked, in order */
	bool away;            /* there is no way now */
	int route_err;        /* nor will there be */
	unsigned routed, done, looked;
	int err, status;
};

/* Each session of the name, by its origin. */
static const void *via(const struct rig *r, unsigned i)
{
	return &r->origin[i];
}

static struct half *route(void *arg, struct exchange *x, struct head *h, int *err)
{
	struct rig *r = arg;

	r->routed++;
	CU_ASSERT_TRUE(str_eq(head_get(h, HEAD_PATH), STR("/x")));
	CU_ASSERT_TRUE(str_eq(fields_get(&h->fields, STR("x-a")), STR("1")));
	if (r->away && hold_wait(&r->hold, x, HOLD_MAX))
		*err = ADIT_ERR_AGAIN;
	else if (r->away || r->route_err)
		*err = r->route_err ? r->route_err : ADIT_ERR_NO_LINK;
	else if (r->asked < ORIGINS)
		hold_sent(&r->hold, x, via(r, r->asked));
	return r->away || r->route_err || r->asked == ORIGINS ? NULL : &r->origin[r->asked++].half;
}

static void done(void *arg, const struct exchange_report *report)
{
	struct rig *r = arg;

	r->done++;
	r->err = report->err;
	r->status = report->status;
}

static void open_rig(struct rig *r, bool keeps)
{
	static const struct exchange_events events = {route, done};
	const struct exchange_options o = {&events, r, PAGE_HOP_SERVER, "192.0.2.7", keeps, NULL, NULL};

	memset(r, 0, sizeof(*r));
	r->loop = loop_new();
	hold_init(&r->hold, r->loop, NULL);
	script_init(&r->visitor);
	for (int i = 0; i < ORIGINS; i++)
		script_init(&r->origin[i]);
	r->x = exchange_new(&o, &r->visitor.half);
	CU_ASSERT_PTR_NOT_NULL_FATAL(r->x);
}

static void begin(struct rig *r, const char *method, const char *protocol, bool bodyless)
{
	struct head h;

	script_grant(&r->visitor, GRANTED);
	script_make_request(&h, method, protocol, "x-a=1");
	if (bodyless)
		h.length = 0;
	exchange_begin(r->x, &h, bodyless);
	head_free(&h);
	if (bodyless)
		half_end(&r->visitor.half, NULL);
}

/* It is over, and told once; nothing is left of it anywhere. */
static void close_rig(struct rig *r, int err, int status)
{
	CU_ASSERT_EQUAL(r->done, 1);
	CU_ASSERT_EQUAL(r->err, err);
	CU_ASSERT_EQUAL(r->status, status);
	CU_ASSERT_PTR_NULL(r->visitor.half.peer);
	for (int i = 0; i < ORIGINS; i++)
		CU_ASSERT_PTR_NULL(r->origin[i].half.peer);
	CU_ASSERT_TRUE(list_empty(&r->hold.waiting) && list_empty(&r->hold.under_way));
	hold_end(&r->hold, ADIT_ERR_SHUTDOWN);
	CU_ASSERT_FALSE(r->hold.tally.open);
	CU_ASSERT_EQUAL(r->loop->timer_count, 0);
	loop_free(&r->loop);
}

static void lose(struct rig *r, unsigned i)
{
	half_abort(&r->origin[i].half, ADIT_ERR_LINK_LOST);
}

static void answer(struct rig *r, unsigned i)
{
	script_respond(&r->origin[i], 200, 10, false, "");
	CU_ASSERT_EQUAL(script_send(&r->origin[i], 10), 10);
	half_end(&r->origin[i].half, NULL);
	CU_ASSERT_STRING_EQUAL(r->visitor.text, "200 10|body|end|");
}

/* Time passes until nothing is due any more, or `until`. */
static void pass(struct rig *r, uint64_t until)
{
	loop_settle(r->loop);
	while (loop_jump(r->loop, until))
		loop_settle(r->loop);
	r->loop->ms = until;
}

/* ---- waiting */

static void waits(void)
{
	struct rig r;

	open_rig(&r, true);
	r.away = true;
	begin(&r, "GET", "", true);
	script_grant(&r.visitor, 500);
	CU_ASSERT_EQUAL(hold_count(&r.hold), 1);
	CU_ASSERT_STRING_EQUAL(r.visitor.text, "");
	CU_ASSERT_FALSE(exchange_may_move(r.x));
	pass(&r, r.loop->ms + HOLD_MS / 2);
	CU_ASSERT_EQUAL(r.routed, 1 + HOLD_MS / 2 / HOLD_AGAIN_MS);
	CU_ASSERT_EQUAL(r.done, 0);
	r.away = false;
	hold_retry(&r.hold);
	loop_settle(r.loop);
	CU_ASSERT_STRING_EQUAL(r.origin[0].text, "GET a.example /x 0 none x-a=1|end|");
	CU_ASSERT_EQUAL(r.origin[0].credit, GRANTED + 500);
	CU_ASSERT_EQUAL(hold_count(&r.hold), 0);
	CU_ASSERT(r.hold.tally.waited == 1 && r.hold.tally.sent == 1 && r.hold.tally.gave_up == 0);
	answer(&r, 0);
	close_rig(&r, 0, 200);
}

/* A request with a body may wait, for its body has not been taken yet; but not be asked twice. */
static void waits_with_a_body(void)
{
	struct rig r;

	open_rig(&r, true);
	r.away = true;
	begin(&r, "POST", "", false);
	CU_ASSERT_EQUAL(r.visitor.credit, 0);
	r.away = false;
	hold_retry(&r.hold);
	loop_settle(r.loop);
	CU_ASSERT_FALSE(exchange_may_move(r.x));
	script_grant(&r.origin[0], 50);
	CU_ASSERT_EQUAL(script_send(&r.visitor, 50), 50);
	half_end(&r.visitor.half, NULL);
	CU_ASSERT_STRING_EQUAL(r.origin[0].text, "POST a.example /x x-a=1|body|end|");
	CU_ASSERT_FALSE(r.origin[0].wrong);
	answer(&r, 0);
	close_rig(&r, 0, 200);
}

static void waits_in_vain(void)
{
	struct rig r;
	uint64_t began;

	for (int bodyless = 0; bodyless < 2; bodyless++) {
		open_rig(&r, true);
		r.away = true;
		begin(&r, bodyless ? "GET" : "POST", "", bodyless);
		began = r.loop->ms;
		pass(&r, began + HOLD_MS - 1);
		CU_ASSERT_EQUAL(r.done, 0);
		pass(&r, began + HOLD_MS);
		CU_ASSERT_EQUAL(strncmp(r.visitor.text, "503 ", 4), 0);
		CU_ASSERT_PTR_NOT_NULL(strstr(r.visitor.text, "retry-after="));
		CU_ASSERT_EQUAL(r.visitor.aborted, bodyless ? 0 : ADIT_ERR_ENOUGH);
		CU_ASSERT(r.hold.tally.waited == 1 && r.hold.tally.sent == 0 && r.hold.tally.gave_up == 1);
		close_rig(&r, ADIT_ERR_HOLD, 503);
	}
}

static void waits_for_an_error(void)
{
	struct rig r;

	open_rig(&r, true);
	r.away = true;
	begin(&r, "GET", "", true);
	r.away = false;
	r.route_err = ADIT_ERR_NO_NAME;
	hold_retry(&r.hold);
	loop_settle(r.loop);
	CU_ASSERT_EQUAL(strncmp(r.visitor.text, "404 ", 4), 0);
	close_rig(&r, ADIT_ERR_NO_NAME, 404);
}

static void visitor_does_not_wait(void)
{
	struct rig r;

	open_rig(&r, true);
	r.away = true;
	begin(&r, "GET", "", true);
	half_abort(&r.visitor.half, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(hold_count(&r.hold), 0);
	pass(&r, r.loop->ms + 2 * HOLD_MS);
	CU_ASSERT_EQUAL(r.routed, 1);
	close_rig(&r, ADIT_ERR_ABANDONED, 0);
}

static void end_of_all(void)
{
	struct rig r;

	open_rig(&r, true);
	r.away = true;
	begin(&r, "GET", "", true);
	hold_end(&r.hold, ADIT_ERR_SHUTDOWN);
	CU_ASSERT_EQUAL(strncmp(r.visitor.text, "503 ", 4), 0);
	close_rig(&r, ADIT_ERR_SHUTDOWN, 503);
}

/* ---- asked again */

static void moves(void)
{
	static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"};

	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		struct rig r;

		open_rig(&r, true);
		begin(&r, methods[i], "", true);
		CU_ASSERT_TRUE(exchange_may_move(r.x));
		lose(&r, 0);
		CU_ASSERT_STRING_EQUAL(r.visitor.text, "");
		CU_ASSERT_STRING_EQUAL(r.origin[1].text, r.origin[0].text);
		CU_ASSERT_EQUAL(r.origin[1].credit, GRANTED); /* granted to the first, and again to this one */
		answer(&r, 1);
		close_rig(&r, 0, 200);
	}
}

static void moves_into_waiting(void)
{
	struct rig r;

	open_rig(&r, true);
	begin(&r, "GET", "", true);
	r.away = true;
	lose(&r, 0);
	CU_ASSERT_EQUAL(hold_count(&r.hold), 1);
	script_grant(&r.visitor, 5);
	pass(&r, r.loop->ms + HOLD_MS / 2);
	r.away = false;
	hold_retry(&r.hold);
	loop_settle(r.loop);
	CU_ASSERT_EQUAL(r.origin[1].credit, GRANTED + 5);
	answer(&r, 1);
	close_rig(&r, 0, 200);
}

static void moves_only_so_often(void)
{
	struct rig r;

	open_rig(&r, true);
	begin(&r, "GET", "", true);
	for (unsigned i = 0; i < EXCHANGE_ASKS_MAX; i++) {
		CU_ASSERT_EQUAL(r.done, 0);
		CU_ASSERT_EQUAL(r.asked, i + 1);
		lose(&r, i);
	}
	CU_ASSERT_EQUAL(r.asked, EXCHANGE_ASKS_MAX);
	CU_ASSERT_EQUAL(strncmp(r.visitor.text, "502 ", 4), 0);
	close_rig(&r, ADIT_ERR_LINK_LOST, 502);
}

static void is_not_moved(const char *method, const char *protocol, bool bodyless, bool keeps, int err)
{
	struct rig r;

	open_rig(&r, keeps);
	begin(&r, method, protocol, bodyless);
	CU_ASSERT_EQUAL(exchange_may_move(r.x), err != ADIT_ERR_LINK_LOST);
	half_abort(&r.origin[0].half, err);
	CU_ASSERT_EQUAL(r.asked, 1);
	CU_ASSERT_EQUAL(strncmp(r.visitor.text, "502 ", 4), 0);
	close_rig(&r, err, 502);
}

static void moves_nothing_else(void)
{
	is_not_moved("POST", "", true, true, ADIT_ERR_LINK_LOST);
	is_not_moved("PATCH", "", true, true, ADIT_ERR_LINK_LOST);
	is_not_moved("GET", "", false, true, ADIT_ERR_LINK_LOST);
	is_not_moved("PUT", "", false, true, ADIT_ERR_LINK_LOST);
	is_not_moved("GET", "websocket", false, true, ADIT_ERR_LINK_LOST);
	is_not_moved("GET", "websocket", true, true, ADIT_ERR_LINK_LOST);
	is_not_moved("GET", "", true, false, ADIT_ERR_LINK_LOST);
	is_not_moved("GET", "", true, true, ADIT_ERR_REFUSED); /* an origin's fault is none of the tunnel's */
}

static void is_cut(int status, const char *text, int end_status)
{
	struct rig r;

	open_rig(&r, true);
	begin(&r, "GET", "", true);
	script_respond(&r.origin[0], status, HEAD_LENGTH_UNKNOWN, status < 200, "");
	CU_ASSERT_FALSE(exchange_may_move(r.x));
	lose(&r, 0);
	CU_ASSERT_EQUAL(r.asked, 1);
	CU_ASSERT_EQUAL(strncmp(r.visitor.text, text, strlen(text)), 0);
	close_rig(&r, ADIT_ERR_LINK_LOST, end_status);
}

static void moves_nothing_answered(void)
{
	is_cut(103, "103 none|502 ", 502);
	is_cut(200, "200|abort LINK_LOST|", 200);
}

static void lose_at_head(struct half_script *s, enum script_op op)
{
	if (op == SCRIPT_HEAD)
		half_abort(&s->half, ADIT_ERR_LINK_LOST);
}

/* The tunnel may turn out to be lost while it is asked: the next one gets everything once. */
static void lost_while_asked(void)
{
	for (int waited = 0; waited < 2; waited++) {
		struct rig r;

		open_rig(&r, true);
		r.origin[0].on = lose_at_head;
		r.away = waited;
		begin(&r, "GET", "", true);
		r.away = false;
		hold_retry(&r.hold);
		loop_settle(r.loop);
		CU_ASSERT_EQUAL(r.asked, 2);
		CU_ASSERT_STRING_EQUAL(r.origin[1].text, "GET a.example /x 0 none x-a=1|end|");
		CU_ASSERT_EQUAL(r.origin[1].credit, GRANTED);
		answer(&r, 1);
		close_rig(&r, 0, 200);
	}
}

/* ---- a tunnel that is away though not lost */

static bool elsewhere(void *arg, const struct exchange *x)
{
	struct rig *r = arg;

	(void)x;
	r->looked++;
	return !r->away;
}

static void strays(void)
{
	struct rig r;

	open_rig(&r, true);
	begin(&r, "GET", "", true);
	hold_move(&r.hold, via(&r, 1), elsewhere, &r); /* another's */
	CU_ASSERT_EQUAL(r.looked, 0);
	r.away = true;
	hold_move(&r.hold, via(&r, 0), elsewhere, &r);
	CU_ASSERT_EQUAL(r.looked, 1);
	CU_ASSERT_EQUAL(r.asked, 1);
	CU_ASSERT_EQUAL(r.origin[0].aborted, 0); /* there is no other way: it may still be answered here */
	r.away = false;
	hold_move(&r.hold, via(&r, 0), elsewhere, &r);
	CU_ASSERT_EQUAL(r.origin[0].aborted, ADIT_ERR_MOVED);
	CU_ASSERT_EQUAL(r.asked, 2);
	CU_ASSERT_EQUAL(r.origin[1].credit, GRANTED);
	answer(&r, 1);
	close_rig(&r, 0, 200);
}

static void post_stays(void)
{
	struct rig r;

	open_rig(&r, true);
	begin(&r, "POST", "", false);
	hold_move(&r.hold, via(&r, 0), elsewhere, &r);
	CU_ASSERT_EQUAL(r.asked, 1);
	CU_ASSERT_EQUAL(r.origin[0].aborted, 0);
	script_respond(&r.origin[0], 204, 0, true, "");
	half_end(&r.visitor.half, NULL);
	close_rig(&r, 0, 204);
}

/* ---- many */

static void bounded(void)
{
	struct rig *r = calloc(HOLD_MAX + 1, sizeof(*r));

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	for (int i = 0; i <= HOLD_MAX; i++) {
		open_rig(&r[i], true);
		if (i) { /* all wait in the first one's hold */
			hold_end(&r[i].hold, ADIT_ERR_SHUTDOWN);
			loop_free(&r[i].loop);
		}
	}
	for (int i = 0; i <= HOLD_MAX; i++) {
		struct list *node = &exchange_note(r[i].x)->node;

		CU_ASSERT_EQUAL(hold_wait(&r[0].hold, r[i].x, HOLD_MAX), i < HOLD_MAX);
		CU_ASSERT_EQUAL(list_empty(node), i == HOLD_MAX);
		CU_ASSERT_EQUAL(hold_wait(&r[0].hold, r[0].x, HOLD_MAX), true); /* it waits already */
	}
	CU_ASSERT_EQUAL(hold_count(&r[0].hold), HOLD_MAX);
	for (int i = HOLD_MAX; i >= 0; i--) {
		half_abort(&r[i].visitor.half, ADIT_ERR_ABANDONED);
		CU_ASSERT_EQUAL(r[i].done, 1);
	}
	close_rig(&r[0], ADIT_ERR_ABANDONED, 0);
	free(r);
}

static const struct unit_test tests[] = {
	{"a request without a way waits, is routed again, and goes when there is one", waits},
	{"one with a body waits too", waits_with_a_body},
	{"who waits for ten seconds gets 503", waits_in_vain},
	{"who waits may find out that there never will be a way", waits_for_an_error},
	{"a visitor who goes while he waits leaves nothing behind", visitor_does_not_wait},
	{"at the end nobody waits any more", end_of_all},
	{"a request is asked again elsewhere when its tunnel is lost, with its credit", moves},
	{"there it may have to wait again", moves_into_waiting},
	{"it is asked three times and no more", moves_only_so_often},
	{"what may have had an effect is not asked again, nor what has a body or is an upgrade", moves_nothing_else},
	{"nor what the visitor has seen a byte of, a 1xx included", moves_nothing_answered},
	{"a tunnel lost while it is asked costs nothing, and nothing is said twice", lost_while_asked},
	{"a request leaves a tunnel that stays away when there is another", strays},
	{"one that may not be asked twice waits for its own", post_stays},
	{"so many wait and no more", bounded},
};

UNIT_MAIN("hold", tests)
