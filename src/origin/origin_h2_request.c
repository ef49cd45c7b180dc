/* One request to an HTTP/2 origin: a half that can be asked twice. */
#include <stdlib.h>

#include "base/err.h"
#include "http/forward.h"
#include "origin/origin_h2.h"

static struct h2_request *of_front(struct half *h)
{
	return container_of(h, struct h2_request, front);
}

static struct h2_request *of_back(struct half *h)
{
	return container_of(h, struct h2_request, back);
}

/* ---- the end */

static void release(void *arg)
{
	struct h2_request *r = arg;

	head_free(&r->head);
	fields_free(&r->trailers);
	free(r);
}

static void over(struct h2_request *r)
{
	if (r->over)
		return;
	r->over = true;
	half_done(&r->front);
	half_done(&r->back);
	origin_h2_unplace(r);
	list_remove(&r->node);
	r->home->requests--;
	task_post_free(r->home->origin->loop, &r->free);
}

static void check_over(struct h2_request *r)
{
	if (r->ended && r->response_ended)
		over(r);
}

void h2_request_fail(struct h2_request *r, int err, const char *why)
{
	half_abort(&r->back, err);
	half_abort_why(&r->front, err, why);
	over(r);
}

/* ---- being asked */

/* What HTTP/2 does without (RFC 8441 section 5) is kept for a visitor of HTTP/1.1. */
static int take_key(struct h2_request *r)
{
	int err;

	if (!ws_key_wanted(&r->head) || !fields_has(&r->head.fields, STR("sec-websocket-key")))
		return 0;
	err = ws_key_accept(&r->head, r->accept);
	fields_remove(&r->head.fields, STR("sec-websocket-key"));
	return err == ADIT_ERR_INVALID ? ADIT_ERR_BAD_REQUEST : err;
}

/* The scheme is that of the connection: there are servers that refuse any other (RFC 9113 section 8.3.1). */
static int take_head(struct h2_request *r, const struct head *h)
{
	int err = head_copy(&r->head, h);

	if (!err)
		err = head_set(&r->head, HEAD_SCHEME, r->home->origin->o.tls ? STR("https") : STR("http"));
	r->upgrade = head_get(h, HEAD_PROTOCOL).n > 0;
	r->repeatable = !r->upgrade && method_idempotent(head_get(h, HEAD_METHOD));
	return err ? err : take_key(r);
}

static void front_head(struct half *self, const struct head *h, bool bodyless)
{
	struct h2_request *r = of_front(self);
	int err = take_head(r, h);

	r->bodyless = bodyless;
	r->repeatable = r->repeatable && bodyless;
	if (err)
		h2_request_fail(r, err, NULL);
	else
		origin_h2_place(r);
}

void h2_request_ask(struct h2_request *r, struct h2_connection *c, struct half *stream)
{
	origin_h2_unplace(r);
	list_remove(&r->node);
	list_append(&r->home->asked, &r->node);
	r->on = c;
	half_link(&r->back, stream);
	if (r->upgrade && !h2_may_connect(c->h2)) {
		h2_request_fail(r, ADIT_ERR_UPGRADE, "it does not announce WebSockets over HTTP/2 (RFC 8441)");
		return;
	}
	c->asked = true;
	timer_clear(&c->timer);
	half_head(&r->back, &r->head, r->bodyless);
	if (r->back.peer != stream) /* it could not be sent, and may have been asked elsewhere */
		return;
	half_credit(&r->back, r->credit);
	if (r->ended)
		half_end(&r->back, r->trailers.n ? &r->trailers : NULL);
}

static void front_body(struct half *self, const uint8_t *p, size_t n)
{
	struct h2_request *r = of_front(self);

	if (!r->body_passed)
		head_free(&r->head);
	r->body_passed = true;
	half_body(&r->back, p, n);
}

static void front_end(struct half *self, const struct fields *trailers)
{
	struct h2_request *r = of_front(self);

	r->ended = true;
	if (!r->body_passed && trailers && trailers->n && fields_copy(&r->trailers, trailers) < 0) {
		h2_request_fail(r, ADIT_ERR_NOMEM, NULL);
		return;
	}
	half_end(&r->back, trailers);
	check_over(r);
}

static void front_credit(struct half *self, size_t n)
{
	struct h2_request *r = of_front(self);

	if (!r->told)
		r->credit += n;
	half_credit(&r->back, n);
}

static void front_abort(struct half *self, int err)
{
	struct h2_request *r = of_front(self);

	half_abort(&r->back, err);
	over(r);
}

static const struct half_ops front_ops = {front_head, front_body, front_end, front_credit, front_abort};

/* ---- the answer */

/* 101 to a visitor of HTTP/1.1: its key is answered here. */
static int answer_key(struct h2_request *r, struct head *h)
{
	fields_remove(&h->fields, STR("sec-websocket-accept"));
	return r->accept[0] ? fields_add(&h->fields, STR("sec-websocket-accept"), str_of(r->accept)) : 0;
}

static void back_head(struct half *self, const struct head *h, bool bodyless)
{
	struct h2_request *r = of_back(self);
	struct head *head = (struct head *)(uintptr_t)h; /* the stream has no more use for it */
	int err = h->status == 101 ? answer_key(r, head) : 0;

	r->told = true;
	r->on->used = true;
	head_free(&r->head);
	if (err) {
		h2_request_fail(r, err, NULL);
		return;
	}
	forward_strip(&head->fields);
	half_head(&r->front, head, bodyless);
}

static void back_body(struct half *self, const uint8_t *p, size_t n)
{
	half_body(&of_back(self)->front, p, n);
}

static void back_end(struct half *self, const struct fields *trailers)
{
	struct h2_request *r = of_back(self);

	r->response_ended = true;
	half_end(&r->front, trailers && trailers->n ? trailers : NULL);
	check_over(r);
}

static void back_credit(struct half *self, size_t n)
{
	struct h2_request *r = of_back(self);
	size_t known = n < r->spare ? n : r->spare;

	r->spare -= known;
	r->granted += n - known;
	half_credit(&r->front, n - known);
}

/* RFC 9113 section 8.7: what was refused, or above GOAWAY's last stream, was not processed. */
static bool may_again(const struct h2_request *r, int err)
{
	if (r->again || r->told || r->body_passed || r->home->closing)
		return false;
	if (err == ADIT_ERR_LIMIT || err == ADIT_ERR_LINK_LOST)
		return true;
	return r->on->lost && r->on->used && r->repeatable;
}

static void back_abort(struct half *self, int err)
{
	struct h2_request *r = of_back(self);

	if (may_again(r, err)) {
		r->again = true;
		r->spare = r->granted;
		origin_h2_place(r);
		return;
	}
	if (!r->told && (err == ADIT_ERR_LIMIT || err == ADIT_ERR_LINK_LOST))
		half_abort_why(&r->front, ADIT_ERR_LIMIT, "it refuses the request (REFUSED_STREAM)");
	else if (!r->told && r->on->lost)
		half_abort_why(&r->front, r->on->lost, r->on->why);
	else
		half_abort(&r->front, err);
	over(r);
}

static const struct half_ops back_ops = {back_head, back_body, back_end, back_credit, back_abort};

/* ---- beginning */

struct h2_request *h2_request_new(struct origin_h2 *o, int *err)
{
	struct h2_request *r;

	*err = o->requests >= ORIGIN_CONNECTIONS_MAX ? ADIT_ERR_LIMIT : ADIT_ERR_NOMEM;
	r = o->requests < ORIGIN_CONNECTIONS_MAX ? calloc(1, sizeof(*r)) : NULL;
	if (!r)
		return NULL;
	r->front.ops = &front_ops;
	r->back.ops = &back_ops;
	r->home = o;
	head_init(&r->head);
	fields_init(&r->trailers);
	list_init(&r->node);
	list_append(&o->asked, &r->node);
	r->free = (struct task){.run = release, .arg = r};
	o->requests++;
	return r;
}
