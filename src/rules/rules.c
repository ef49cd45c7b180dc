#include "rules/rules_int.h"

#include <stdlib.h>

#include "base/err.h"

/* ---- life */

static void take_over(struct rules *r, struct rules *before)
{
	const struct conf_rules *c = r->conf;
	uint64_t now = loop_ms(r->loop);

	if (before->conf->requests_per_second && c->requests_per_second) {
		uint64_t rate = r->requests.rate, depth = r->requests.depth;

		r->requests = before->requests;
		bucket_change(&r->requests, rate, depth, now);
	}
	if (before->up && c->bandwidth) {
		r->up = pacer_ref(before->up);
		r->down = pacer_ref(before->down);
		pacer_change(r->up, c->bandwidth);
		pacer_change(r->down, c->bandwidth);
	}
}

struct rules *rules_new(struct loop *l, struct conf_rules *conf, struct guesses *g, struct rules *before)
{
	struct rules *r = calloc(1, sizeof(*r));
	bool ok = r != NULL;

	if (!r)
		return NULL;
	*r = (struct rules){.refs = 1, .loop = l, .conf = conf_rules_ref(conf), .guesses = g};
	if (conf->requests_per_second)
		bucket_init(&r->requests, conf->requests_per_second,
		            conf->requests_burst ? conf->requests_burst : conf->requests_per_second, loop_ms(l));
	if (before)
		take_over(r, before);
	if (conf->logins.count)
		ok = (r->logins = logins_new(&conf->logins)) != NULL;
	if (conf->bandwidth && !r->up)
		ok = ok && (r->up = pacer_new(l, conf->bandwidth)) && (r->down = pacer_new(l, conf->bandwidth));
	if (!ok)
		rules_unref(&r);
	return r;
}

void rules_unref(struct rules **rp)
{
	struct rules *r = *rp;

	*rp = NULL;
	if (!r || --r->refs)
		return;
	logins_free(&r->logins);
	pacer_unref(&r->up);
	pacer_unref(&r->down);
	conf_rules_unref(&r->conf);
	free(r);
}

/* ---- may it pass? */

static int judge_password(struct rules *r, const struct head *h, const struct in6_addr *visitor, uint64_t now,
                          unsigned *wait_s)
{
	if (!r->logins)
		return 0;
	return logins_check(r->logins, fields_get(&h->fields, STR("authorization")), r->guesses,
	                    guess_source_of(visitor), now, wait_s);
}

static int judge_rate(struct rules *r, uint64_t now, unsigned *wait_s)
{
	if (!r->conf->requests_per_second || bucket_take(&r->requests, 1, now))
		return 0;
	*wait_s = (unsigned)((bucket_wait_ms(&r->requests, 1, now) + 999) / 1000);
	return ADIT_ERR_RATE;
}

int rules_judge(struct rules *r, const struct head *h, struct str visitor, unsigned *wait_s)
{
	const struct conf_rules *c = r->conf;
	uint64_t now = loop_ms(r->loop);
	struct in6_addr address;
	bool known = conf_address(visitor, &address);
	int err;

	*wait_s = 0;
	if (!conf_rules_admit(c, known ? &address : NULL))
		return ADIT_ERR_FORBIDDEN;
	err = judge_password(r, h, known ? &address : NULL, now, wait_s);
	if (err)
		return err;
	if (c->max_body && h->length != HEAD_LENGTH_UNKNOWN && (uint64_t)h->length > c->max_body)
		return ADIT_ERR_BODY_BIG;
	return judge_rate(r, now, wait_s);
}

/* ---- what is passed on */

int rules_edit(const struct conf_edits *e, struct fields *f)
{
	int err = 0;

	for (size_t i = 0; i < e->remove.count; i++)
		fields_remove(f, str_of(e->remove.at[i].name));
	for (size_t i = 0; !err && i < e->set.count; i++)
		err = fields_set(f, str_of(e->set.at[i].name), str_of(e->set.at[i].value));
	return err;
}

/* Bytes that become another protocol's, or are one from the start, are no body. */
static bool has_body_to_count(const struct head *h)
{
	return h->length == HEAD_LENGTH_UNKNOWN && !head_get(h, HEAD_PROTOCOL).n &&
	       !str_eq(head_get(h, HEAD_METHOD), STR("CONNECT"));
}

int rules_apply(struct rules *r, struct head *h, struct pass **between)
{
	bool counts = r->conf->max_body && has_body_to_count(h);
	int err;

	*between = NULL;
	if (r->logins)
		fields_remove(&h->fields, STR("authorization"));
	err = rules_edit(&r->conf->request, &h->fields);
	if (err || (!counts && !r->up && !r->conf->response.given))
		return err;
	*between = pass_new(r, counts);
	return *between ? 0 : ADIT_ERR_NOMEM;
}
