/* Do the pieces of a response, or of a request, come through one by one? */
#include <stdlib.h>

#include "base/err.h"
#include "carrier/requester.h"
#include "doctor/probe.h"

struct stream_probe {
	struct loop *loop;
	struct resolver *resolver;
	struct dial_options dial_options;
	struct carrier_target target;
	bool upload;
	struct dial *dial;
	struct requester *requester;
	struct ask ask;
	uint64_t asked_ms, first_ms, last_ms;
	struct task free;
	stream_probe_fn *done;
	void *arg;
};

static const uint8_t pieces[2 * PROBE_PIECE];

static void release(void *arg)
{
	free(arg);
}

static void drop(struct stream_probe *p)
{
	dial_cancel(&p->dial);
	ask_clear(&p->ask);
	requester_free(&p->requester);
	task_post_free(p->loop, &p->free);
}

static void finish(struct stream_probe *p, const struct stream_probe_result *r)
{
	p->done(p->arg, r);
	drop(p);
}

static void fail(struct stream_probe *p, int err, const char *detail)
{
	const struct stream_probe_result r = {.err = err, .first_ms = -1, .gap_ms = -1, .detail = detail};

	finish(p, &r);
}

static void on_came(void *arg)
{
	struct stream_probe *p = arg;

	p->last_ms = loop_ms(p->loop);
	if (!p->first_ms)
		p->first_ms = p->last_ms;
}

static void on_answered(void *arg)
{
	struct stream_probe *p = arg;
	const struct head *h = &p->ask.answer;
	struct stream_probe_result r = {.status = h->status, .first_ms = -1, .gap_ms = -1, .detail = ""};
	uint64_t gap;

	if (p->ask.err) {
		fail(p, p->ask.err, p->ask.detail);
		return;
	}
	r.ours = fields_has(&h->fields, STR("adit-version"));
	if (r.ours && p->upload && r.status == 204 && str_to_u64(fields_get(&h->fields, STR("adit-gap")), &gap) == 0 &&
	    gap <= STREAM_PROBE_MS)
		r.gap_ms = (int64_t)gap;
	if (r.ours && !p->upload && r.status == 200 && p->ask.got.len == sizeof(pieces)) {
		uint64_t sent_ms = p->asked_ms + PROBE_LEAD_MS;

		r.first_ms = p->first_ms > sent_ms ? (int64_t)(p->first_ms - sent_ms) : 0;
		r.gap_ms = (int64_t)(p->last_ms - p->first_ms);
	}
	finish(p, &r);
}

/* 0 or ADIT_ERR_NOMEM. */
static int make(struct stream_probe *p)
{
	struct ask *a = &p->ask;
	int err = carrier_request(&a->head, &p->target, "probe", "");

	a->head.minor = 1;
	a->answer_max = sizeof(pieces) + CARRIER_DETAIL_MAX;
	a->budget_ms = STREAM_PROBE_MS;
	a->came = on_came;
	if (!p->upload)
		return err;
	a->body = pieces;
	a->body_n = sizeof(pieces);
	a->late_n = PROBE_PIECE;
	a->late_ms = PROBE_GAP_MS;
	a->head.length = sizeof(pieces); /* lighttpd wants to know it */
	err |= head_set(&a->head, HEAD_METHOD, STR("POST"));
	err |= fields_add(&a->head.fields, STR("content-type"), STR("application/octet-stream"));
	return err ? ADIT_ERR_NOMEM : 0;
}

static void on_dialled(void *arg, struct stream *s, int err, const char *detail)
{
	struct stream_probe *p = arg;

	p->dial = NULL;
	if (!err)
		err = make(p);
	if (!err) {
		p->requester = requester_new(p->loop, p->resolver, &p->dial_options, s);
		err = p->requester ? 0 : ADIT_ERR_NOMEM;
	}
	if (err) {
		stream_free(&s);
		fail(p, err, detail);
		return;
	}
	p->asked_ms = loop_ms(p->loop);
	requester_ask(p->requester, &p->ask);
}

struct stream_probe *stream_probe_new(struct loop *l, struct resolver *r, const struct dial_options *dial,
                                      const struct carrier_target *t, bool upload, stream_probe_fn *done, void *arg)
{
	struct stream_probe *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->loop = l;
	p->resolver = r;
	p->dial_options = *dial;
	p->target = *t;
	p->upload = upload;
	p->done = done;
	p->arg = arg;
	p->free = (struct task){.run = release, .arg = p};
	ask_init(&p->ask, l, on_answered, p);
	p->dial = dial_start(l, r, dial, on_dialled, p);
	if (p->dial)
		return p;
	ask_clear(&p->ask);
	free(p);
	return NULL;
}

void stream_probe_cancel(struct stream_probe **pp)
{
	struct stream_probe *p = *pp;

	*pp = NULL;
	if (p)
		drop(p);
}
