/* A pair of halves between an exchange and who answers it: what one is told, the other one says.
 *
 *     exchange ◄──► outer ═ inner ◄──► answering half
 *
 * It ends when both messages have, or with an abort from either side, or from itself when a body is too big.
 */
#include <stdlib.h>

#include "base/err.h"
#include "rules/rules_int.h"

struct pass {
	struct half outer, inner;
	struct rules *rules;
	struct lane up, down;
	bool paced;
	bool counts;
	uint64_t left; /* of the request's body */
	bool request_ended, response_ended, over;
	struct task free;
};

static struct pass *of_outer(struct half *h)
{
	return container_of(h, struct pass, outer);
}

static struct pass *of_inner(struct half *h)
{
	return container_of(h, struct pass, inner);
}

/* ---- the end */

static void release(void *arg)
{
	struct pass *p = arg;

	rules_unref(&p->rules);
	free(p);
}

/* Both are unlinked, or are now. */
static void finish(struct pass *p)
{
	if (p->over)
		return;
	p->over = true;
	half_done(&p->outer);
	half_done(&p->inner);
	lane_end(&p->up);
	lane_end(&p->down);
	task_post_free(p->rules->loop, &p->free);
}

static void check_ended(struct pass *p)
{
	if (p->request_ended && p->response_ended)
		finish(p);
}

/* ---- the exchange speaks */

static void outer_head(struct half *self, const struct head *h, bool bodyless)
{
	half_head(&of_outer(self)->inner, h, bodyless);
}

static void outer_body(struct half *self, const uint8_t *b, size_t n)
{
	struct pass *p = of_outer(self);

	if (p->counts && n > p->left) {
		half_abort(&p->inner, ADIT_ERR_ABANDONED);
		half_abort(&p->outer, ADIT_ERR_BODY_BIG);
		finish(p);
		return;
	}
	p->left -= p->counts ? n : 0;
	half_body(&p->inner, b, n);
	if (p->paced && !p->over)
		lane_used(&p->up, n);
}

static void outer_end(struct half *self, const struct fields *trailers)
{
	struct pass *p = of_outer(self);

	p->request_ended = true;
	half_end(&p->inner, trailers);
	check_ended(p);
}

static void outer_credit(struct half *self, size_t n)
{
	struct pass *p = of_outer(self);

	if (p->paced)
		lane_want(&p->down, n);
	else
		half_credit(&p->inner, n);
}

static void outer_abort(struct half *self, int err)
{
	struct pass *p = of_outer(self);

	half_abort_why(&p->inner, err, self->why);
	finish(p);
}

static const struct half_ops outer_ops = {outer_head, outer_body, outer_end, outer_credit, outer_abort};

/* ---- who answers speaks */

/* The head is its speaker's, so that it is a copy that is changed. */
static void tell_edited(struct pass *p, const struct head *h, bool bodyless)
{
	struct head copy;
	int err;

	head_init(&copy);
	err = head_copy(&copy, h);
	if (!err)
		err = rules_edit(&p->rules->conf->response, &copy.fields);
	if (!err) {
		half_head(&p->outer, &copy, bodyless);
	} else {
		half_abort(&p->inner, ADIT_ERR_ABANDONED);
		half_abort(&p->outer, err == ADIT_ERR_HEAD_TOO_BIG ? ADIT_ERR_RESPONSE_BIG : err);
		finish(p);
	}
	head_free(&copy);
}

static void inner_head(struct half *self, const struct head *h, bool bodyless)
{
	struct pass *p = of_inner(self);

	if (p->rules->conf->response.given && (h->status >= 200 || h->status == 101))
		tell_edited(p, h, bodyless);
	else
		half_head(&p->outer, h, bodyless);
}

static void inner_body(struct half *self, const uint8_t *b, size_t n)
{
	struct pass *p = of_inner(self);

	half_body(&p->outer, b, n);
	if (p->paced && !p->over)
		lane_used(&p->down, n);
}

static void inner_end(struct half *self, const struct fields *trailers)
{
	struct pass *p = of_inner(self);

	p->response_ended = true;
	half_end(&p->outer, trailers);
	check_ended(p);
}

static void inner_credit(struct half *self, size_t n)
{
	struct pass *p = of_inner(self);

	if (p->paced)
		lane_want(&p->up, n);
	else
		half_credit(&p->outer, n);
}

static void inner_abort(struct half *self, int err)
{
	struct pass *p = of_inner(self);

	half_abort_why(&p->outer, err, self->why);
	finish(p);
}

static const struct half_ops inner_ops = {inner_head, inner_body, inner_end, inner_credit, inner_abort};

/* ---- life */

static void lend_up(void *arg, size_t n)
{
	half_credit(&((struct pass *)arg)->outer, n);
}

static void lend_down(void *arg, size_t n)
{
	half_credit(&((struct pass *)arg)->inner, n);
}

struct pass *pass_new(struct rules *r, bool counts)
{
	struct pass *p = malloc(sizeof(*p));

	if (!p)
		return NULL;
	*p = (struct pass){
		.outer = {.ops = &outer_ops}, .inner = {.ops = &inner_ops}, .rules = r, .paced = r->up != NULL,
		.counts = counts, .left = r->conf->max_body, .free = {.run = release, .arg = p},
	};
	r->refs++;
	if (p->paced) {
		lane_init(&p->up, r->up, lend_up, p);
		lane_init(&p->down, r->down, lend_down, p);
	}
	return p;
}

struct half *pass_to(struct pass *p, struct half *answering)
{
	if (!p)
		return answering;
	if (!answering) {
		finish(p);
		return NULL;
	}
	half_link(&p->inner, answering);
	return &p->outer;
}
