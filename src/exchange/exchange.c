#include "exchange/exchange.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "http/page.h"

struct exchange {
	struct half front; /* the asking half's peer */
	struct half back;  /* the answering half's peer */
	const struct exchange_events *events;
	void *arg;
	const char *hop;
	struct pool *pool;
	unsigned depth;      /* ops that are running: it is freed when the last one returns */
	bool over;
	bool was_head;
	bool bodyless;       /* the request: its end is only a word that is still to come */
	bool request_ended, response_begun, response_ended;
	bool informed;       /* the visitor has got a 1xx */
	bool waits;          /* for a route */
	bool keeps;
	struct places *places;
	bool grpc;           /* its client understands resets */
	bool websocket;      /* asked for */
	struct head *kept;   /* of a request that waits, or may be asked again */
	unsigned asks;
	unsigned retry_after_s; /* 0 = the page's own */
	size_t credit;       /* granted by the asking half before the response's head */
	struct exchange_note note;
	struct exchange_report report;
	char method[EXCHANGE_METHOD_MAX + 1];
	char visitor[64];
	char detail[EXCHANGE_DETAIL_MAX + 1];
	char name[EXCHANGE_HOST_MAX + 1];
	char *text; /* host NUL path NUL accept NUL, NULL when there was no memory for them */
	size_t text_size;
	const char *accept; /* in `text`: in what form an error is told */
};

static struct exchange *of_front(struct half *h)
{
	return container_of(h, struct exchange, front);
}

static struct exchange *of_back(struct half *h)
{
	return container_of(h, struct exchange, back);
}

static void forget_head(struct exchange *x)
{
	if (x->kept)
		head_free(x->kept);
	pool_give(x->pool, x->kept, sizeof(*x->kept));
	x->kept = NULL;
}

static void enter(struct exchange *x)
{
	x->depth++;
}

static void leave(struct exchange *x)
{
	if (--x->depth || !x->over)
		return;
	forget_head(x);
	places_unref(&x->places);
	pool_give(x->pool, x->text, x->text_size);
	pool_give(x->pool, x, sizeof(*x));
}

/* Both sides are unlinked or have said all. */
static void finish(struct exchange *x, int err)
{
	if (x->over)
		return;
	x->over = true;
	list_remove(&x->note.node);
	half_done(&x->front);
	half_done(&x->back);
	x->report.err = err;
	x->report.total_us = clock_us() - x->report.began_us;
	x->events->done(x->arg, &x->report);
}

static void check_complete(struct exchange *x)
{
	if (x->request_ended && x->response_ended)
		finish(x, 0);
}

static void begin_response(struct exchange *x, int status)
{
	x->response_begun = true;
	forget_head(x);
	x->report.status = status;
	x->report.first_us = clock_us() - x->report.began_us;
}

/* ---- an error before the response's head */

static void set_retry_after(const struct exchange *x, struct page *p)
{
	char text[STR_U64_MAX];

	if (x->retry_after_s)
		fields_set(&p->head.fields, STR("retry-after"), str_of_u64(x->retry_after_s, text));
}

static void answer_error(struct exchange *x, int err)
{
	struct page *p = malloc(sizeof(*p));
	int failed = !p || (x->grpc ? page_grpc(p, err, x->hop, x->detail)
	                            : page_error(p, err, x->hop, x->detail, str_of(x->accept))) < 0;

	if (failed) {
		free(p);
		half_abort(&x->front, err);
		finish(x, err);
		return;
	}
	set_retry_after(x, p);
	begin_response(x, err_status(err));
	x->report.response_bytes = x->was_head ? 0 : p->len;
	page_send(p, &x->front, x->was_head);
	x->response_ended = true;
	page_free(p);
	free(p);
	if (!x->request_ended && !x->bodyless)
		half_abort(&x->front, ADIT_ERR_ENOUGH);
	finish(x, err);
}

/* ---- asking, and asking again */

/* False: that one was lost in the call, and what follows the head is no longer ours to say: another one may have been
 * asked meanwhile, and has been told all. */
static bool link_back(struct exchange *x, struct half *answering, const struct head *h)
{
	unsigned ask = ++x->asks;

	half_link(&x->back, answering);
	half_head(&x->back, h, x->bodyless);
	if (x->asks != ask)
		return false;
	half_credit(&x->back, x->credit);
	return x->asks == ask;
}

/* By the head that is kept. */
static void ask(struct exchange *x)
{
	int err = ADIT_ERR_NO_NAME;
	struct half *answering = x->events->route(x->arg, x, x->kept, &err);

	x->waits = !answering && err == ADIT_ERR_AGAIN;
	if (answering) {
		if (link_back(x, answering, x->kept) && x->request_ended)
			half_end(&x->back, NULL);
	} else if (!x->waits) {
		answer_error(x, err);
	}
}

/* Keeps the head of a request that waits, and of one that may be asked again. False: no memory for one that has to. */
static bool keep_head(struct exchange *x, const struct head *h)
{
	if (x->kept || !(x->kept = pool_take(x->pool, sizeof(*x->kept))))
		return x->kept != NULL;
	head_init(x->kept);
	fields_use(&x->kept->fields, x->pool);
	if (head_copy(x->kept, h) < 0)
		forget_head(x);
	return x->kept != NULL;
}

/* An upgrade is more than its head. */
static bool is_repeatable(const struct head *h, bool bodyless)
{
	return bodyless && !head_get(h, HEAD_PROTOCOL).n && method_idempotent(head_get(h, HEAD_METHOD));
}

bool exchange_may_move(const struct exchange *x)
{
	return x->keeps && x->kept && !x->waits && !x->informed && !x->response_begun && x->asks < EXCHANGE_ASKS_MAX;
}

void exchange_ask(struct exchange *x)
{
	enter(x);
	if (!x->waits)
		half_abort(&x->back, ADIT_ERR_MOVED);
	ask(x);
	leave(x);
}

void exchange_give_up(struct exchange *x, int err)
{
	enter(x);
	x->waits = false;
	answer_error(x, err);
	leave(x);
}

struct exchange_note *exchange_note(struct exchange *x)
{
	return &x->note;
}

struct exchange *exchange_of_node(struct list *node)
{
	return container_of(container_of(node, struct exchange_note, node), struct exchange, note);
}

/* ---- the asking half speaks */

static void front_head(struct half *self, const struct head *h, bool bodyless)
{
	/* a request's head comes by exchange_begin, and only once */
	(void)self;
	(void)h;
	(void)bodyless;
}

static void front_body(struct half *self, const uint8_t *p, size_t n)
{
	struct exchange *x = of_front(self);

	enter(x);
	x->report.request_bytes += n;
	half_body(&x->back, p, n);
	leave(x);
}

static void front_end(struct half *self, const struct fields *trailers)
{
	struct exchange *x = of_front(self);

	enter(x);
	x->request_ended = true;
	half_end(&x->back, trailers);
	check_complete(x);
	leave(x);
}

static void front_credit(struct half *self, size_t n)
{
	struct exchange *x = of_front(self);

	enter(x);
	if (!x->response_begun)
		x->credit += n;
	half_credit(&x->back, n);
	leave(x);
}

static void front_abort(struct half *self, int err)
{
	struct exchange *x = of_front(self);

	enter(x);
	half_abort(&x->back, err);
	finish(x, x->response_ended && err == ADIT_ERR_ENOUGH ? 0 : err);
	leave(x);
}

static const struct half_ops front_ops = {front_head, front_body, front_end, front_credit, front_abort};

/* ---- the answering half speaks */

static void back_head(struct half *self, const struct head *h, bool bodyless)
{
	struct exchange *x = of_back(self);
	bool final = h->status == 101 || h->status >= 200;

	enter(x);
	if (final)
		begin_response(x, h->status);
	else
		x->informed = true;
	half_head(&x->front, h, bodyless);
	leave(x);
}

static void back_body(struct half *self, const uint8_t *p, size_t n)
{
	struct exchange *x = of_back(self);

	enter(x);
	x->report.response_bytes += n;
	half_body(&x->front, p, n);
	leave(x);
}

/* Behind the origin's end of a WebSocket nothing means anything any more (RFC 6455 section 7.1.1), and not every
 * ingress passes on what its visitor answers to it. */
static void end_both(struct exchange *x)
{
	half_abort(&x->back, ADIT_ERR_ENOUGH);
	half_abort(&x->front, ADIT_ERR_ENOUGH);
	finish(x, 0);
}

static void back_end(struct half *self, const struct fields *trailers)
{
	struct exchange *x = of_back(self);

	enter(x);
	x->response_ended = true;
	half_end(&x->front, trailers);
	check_complete(x);
	if (x->websocket && x->report.status == 101 && !x->over)
		end_both(x);
	leave(x);
}

static void back_credit(struct half *self, size_t n)
{
	struct exchange *x = of_back(self);

	enter(x);
	half_credit(&x->front, n);
	leave(x);
}

/* What is known of the place stands there already. */
static void note_why(struct exchange *x, const char *why)
{
	size_t n = strlen(x->detail);

	snprintf(x->detail + n, sizeof(x->detail) - n, "%s%s", n ? ": " : "", why);
}

/* Does a reset say more to who asked than a page? */
static bool is_told_by_reset(const struct exchange *x, int err)
{
	return x->grpc && (err == ADIT_ERR_CANCELLED || err == ADIT_ERR_LIMIT || err == ADIT_ERR_CALM);
}

static void back_abort(struct half *self, int err)
{
	struct exchange *x = of_back(self);

	enter(x);
	if (self->why)
		note_why(x, self->why);
	if (err == ADIT_ERR_LINK_LOST && exchange_may_move(x)) {
		ask(x);
	} else if (!x->response_begun && !is_told_by_reset(x, err)) {
		answer_error(x, err);
	} else if (x->response_ended) {
		half_abort(&x->front, ADIT_ERR_ENOUGH);
		finish(x, 0);
	} else {
		half_abort(&x->front, err);
		finish(x, err);
	}
	leave(x);
}

static const struct half_ops back_ops = {back_head, back_body, back_end, back_credit, back_abort};

/* ---- beginning */

struct exchange *exchange_new(const struct exchange_options *o, struct half *asking)
{
	struct exchange *x = pool_take(o->pool, sizeof(*x));

	if (!x)
		return NULL;
	/* cleared by hand up to the texts: they are most of its size */
	x->front = (struct half){.ops = &front_ops};
	x->back = (struct half){.ops = &back_ops};
	x->events = o->events;
	x->arg = o->arg;
	x->hop = o->hop;
	x->pool = o->pool;
	x->depth = 0;
	x->over = x->was_head = x->bodyless = x->grpc = false;
	x->request_ended = x->response_begun = x->response_ended = false;
	x->informed = x->waits = false;
	x->keeps = o->keeps;
	x->places = places_ref(o->places);
	x->kept = NULL;
	x->asks = 0;
	x->retry_after_s = 0;
	x->credit = 0;
	x->note = (struct exchange_note){.via = NULL};
	list_init(&x->note.node);
	x->text = NULL;
	x->accept = "";
	x->method[0] = x->detail[0] = x->name[0] = '\0';
	str_cut(str_of(o->visitor), x->visitor, sizeof(x->visitor));
	x->report = (struct exchange_report){
		.method = x->method, .host = "", .path = "", .name = x->name, .visitor = x->visitor, .detail = x->detail,
		.began_us = clock_us(),
	};
	half_link(&x->front, asking);
	return x;
}

static size_t at_most(size_t n, size_t max)
{
	return n < max ? n : max;
}

/* "application/grpc", "application/grpc+proto", with parameters; not gRPC-Web, which tells errors otherwise. */
static bool is_grpc(struct str type)
{
	struct str prefix = STR("application/grpc");

	return type.n >= prefix.n && str_eq_nocase((struct str){type.p, prefix.n}, prefix) &&
	       (type.n == prefix.n || type.p[prefix.n] == '+' || type.p[prefix.n] == ';');
}

static void note_request(struct exchange *x, const struct head *h, bool bodyless)
{
	struct str method = head_get(h, HEAD_METHOD), host = head_get(h, HEAD_AUTHORITY), path = head_get(h, HEAD_PATH);
	struct str accept = fields_get(&h->fields, STR("accept"));
	size_t host_n = at_most(host.n, EXCHANGE_HOST_MAX), path_n = at_most(path.n, EXCHANGE_PATH_MAX);
	size_t accept_n = at_most(accept.n, EXCHANGE_ACCEPT_MAX);
	char *at;

	x->bodyless = bodyless;
	x->grpc = h->minor == 2 && is_grpc(fields_get(&h->fields, STR("content-type")));
	x->websocket = str_eq_nocase(head_get(h, HEAD_PROTOCOL), STR("websocket"));
	x->was_head = str_eq(method, STR("HEAD"));
	str_cut(method, x->method, sizeof(x->method));
	x->text_size = host_n + path_n + accept_n + 3;
	x->text = at = pool_take(x->pool, x->text_size);
	if (!at)
		return; /* the log line goes without them */
	str_cut(host, at, host_n + 1);
	str_cut(path, at + host_n + 1, path_n + 1);
	str_cut(accept, at + host_n + 1 + path_n + 1, accept_n + 1);
	x->report.host = at;
	x->report.path = at + host_n + 1;
	x->accept = at + host_n + 1 + path_n + 1;
}

void exchange_begin(struct exchange *x, struct head *h, bool bodyless)
{
	struct half *answering;
	int err = ADIT_ERR_NO_NAME;

	enter(x);
	note_request(x, h, bodyless);
	x->keeps = x->keeps && is_repeatable(h, bodyless) && keep_head(x, h);
	answering = x->events->route(x->arg, x, h, &err);
	x->waits = !answering && err == ADIT_ERR_AGAIN && keep_head(x, h);
	if (answering)
		link_back(x, answering, h);
	else if (!x->waits)
		answer_error(x, err == ADIT_ERR_AGAIN ? ADIT_ERR_NOMEM : err);
	leave(x);
}

void exchange_fail(struct exchange *x, const struct head *h, bool bodyless, int err)
{
	enter(x);
	note_request(x, h, bodyless);
	answer_error(x, err);
	leave(x);
}

const char *exchange_name_of(const struct exchange *x)
{
	return x->name;
}

void exchange_name(struct exchange *x, const char *name)
{
	str_cut(str_of(name), x->name, sizeof(x->name));
}

void exchange_detail(struct exchange *x, const char *detail)
{
	str_cut(str_of(detail), x->detail, sizeof(x->detail));
}

void exchange_retry_after(struct exchange *x, unsigned seconds)
{
	x->retry_after_s = seconds;
}

struct places *exchange_places(const struct exchange *x)
{
	return x->places;
}

const char *exchange_visitor(const struct exchange *x)
{
	return x->visitor;
}
