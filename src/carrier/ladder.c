#include "carrier/ladder.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

enum rung_kind { RUNG_FIRST, RUNG_WS_H1, RUNG_POLL, RUNGS };

struct rung {
	struct ladder *ladder;
	struct dial *dial;
	struct carrier_attempt *attempt;
	const struct carrier_kind *kind;
	unsigned carrier; /* what the connection turned out to allow */
	bool started, failed;
	bool without_token; /* FIRST: our own ALPN name is left out */
};

struct ladder {
	struct loop *loop;
	struct ladder_options o;
	struct rung rungs[RUNGS];
	unsigned tried; /* carriers that were attempted */
	struct timer patience;
	struct task finish;
	ladder_done_fn *done;
	void *arg;
	/* the outcome so far: the most telling failure */
	int err, status;
	bool ours, ended;
	unsigned retry_after;
	char detail[CARRIER_DETAIL_MAX + 1];
	char why[LADDER_WHY_MAX];
};

static void start_next(struct ladder *l);

const char *ladder_name(unsigned carrier)
{
	switch (carrier) {
	case LADDER_DIRECT:
		return "direct";
	case LADDER_WS_H2:
		return "ws-h2";
	case LADDER_WS_H1:
		return "ws-h1";
	case LADDER_POLL:
		return "poll";
	default:
		return "none";
	}
}

static const struct carrier_kind *kind_of(unsigned carrier)
{
	switch (carrier) {
	case LADDER_DIRECT:
		return &carrier_direct;
	case LADDER_WS_H2:
		return &carrier_ws_h2;
	case LADDER_POLL:
		return &carrier_poll;
	default:
		return &carrier_ws_h1;
	}
}

static void stop_rung(struct rung *r)
{
	dial_cancel(&r->dial);
	if (r->attempt)
		r->kind->cancel(&r->attempt);
}

static void release(struct ladder *l)
{
	for (int i = 0; i < RUNGS; i++)
		stop_rung(&l->rungs[i]);
	timer_stop(&l->patience);
	task_cancel(l->loop, &l->finish);
	free(l);
}

static void note_why(struct ladder *l, unsigned carrier, const char *text)
{
	size_t n = strlen(l->why);

	snprintf(l->why + n, sizeof(l->why) - n, "%s%s: %s", n ? "; " : "", ladder_name(carrier), text);
}

/* ---- the outcome */

static void finish_failed(void *arg)
{
	struct ladder *l = arg;
	struct carrier_result r = {
		.err = l->err ? l->err : ADIT_ERR_PROTO, .status = l->status, .ours = l->ours, .retry_after = l->retry_after,
		.detail = l->detail,
	};

	l->done(l->arg, &r, 0, l->why);
	release(l);
}

/* Nothing that another rung could do better: aditd itself has spoken, nobody is there, or the proxy says no. */
static bool is_final(const struct carrier_result *r)
{
	switch (r->err) {
	case ADIT_ERR_AUTH:
	case ADIT_ERR_VERSION:
	case ADIT_ERR_FORBIDDEN:
	case ADIT_ERR_LIMIT:
		return r->ours;
	case ADIT_ERR_RESOLVE:
	case ADIT_ERR_REFUSED:
	case ADIT_ERR_UNREACHABLE:
	case ADIT_ERR_PROXY: /* and it may count wrong passwords */
		return !r->status;
	default:
		return false;
	}
}

static void rung_failed(struct rung *r, unsigned carrier, const struct carrier_result *res)
{
	struct ladder *l = r->ladder;
	const char *text = *res->detail ? res->detail : err_text(res->err);
	char foreign[64];

	if (l->ended)
		return;
	r->failed = true;
	if (res->status && !res->ours) { /* a page of the ingress says nothing about tunnels */
		snprintf(foreign, sizeof(foreign), "HTTP %d, and not from aditd", res->status);
		text = foreign;
	}
	note_why(l, carrier, text);
	log_event(l->o.trace, LOG_LEVEL_INFO, "rung", KV_Z("link", l->o.target.link_id), KV_Z("carrier", ladder_name(carrier)),
	          KV_Z("reason", err_name(res->err)), KV_U64("status", (uint64_t)res->status), KV_Z("detail", text));
	/* aditd's own word counts for more than an ingress's, any answer for more than none, and otherwise the first failure */
	if (!l->err || (res->ours && !l->ours) || (res->status && !l->status)) {
		l->err = res->err;
		l->status = res->status;
		l->ours = res->ours;
		l->retry_after = res->retry_after;
		snprintf(l->detail, sizeof(l->detail), "%s", text);
	}
	if (is_final(res)) {
		l->ended = true;
		task_post(l->loop, &l->finish);
		return;
	}
	start_next(l);
}

static void on_carrier(void *arg, const struct carrier_result *res)
{
	struct rung *r = arg;
	struct ladder *l = r->ladder;

	r->attempt = NULL;
	if (res->err) {
		rung_failed(r, r->carrier, res);
		return;
	}
	l->ended = true;
	l->done(l->arg, res, r->carrier, l->why);
	release(l);
}

/* ---- one rung */

static void fail_early(struct rung *r, unsigned carrier, int err, const char *detail)
{
	const struct carrier_result res = {.err = err, .detail = detail};

	rung_failed(r, carrier, &res);
}

static unsigned alpn_of(const struct rung *r, enum rung_kind k)
{
	unsigned allowed = r->ladder->o.allowed, alpn = TLS_OFFER_HTTP1;

	if (k == RUNG_WS_H1)
		return alpn;
	if (k == RUNG_FIRST && (allowed & LADDER_DIRECT) && !r->without_token)
		alpn |= TLS_OFFER_ADIT;
	if (k == RUNG_POLL || (allowed & LADDER_WS_H2))
		alpn |= TLS_OFFER_H2;
	return alpn;
}

/* Which carrier a connection allows, by what TLS agreed on; 0 = none that may be tried. */
static unsigned carrier_for(const struct rung *r, const struct stream *s)
{
	unsigned allowed = r->ladder->o.allowed;

	if (r == &r->ladder->rungs[RUNG_WS_H1])
		return LADDER_WS_H1;
	if (r == &r->ladder->rungs[RUNG_POLL])
		return LADDER_POLL;
	if (strcmp(s->alpn, TLS_ALPN_ADIT) == 0 || !s->tls)
		return allowed & LADDER_DIRECT ? LADDER_DIRECT : allowed & LADDER_WS_H1;
	if (strcmp(s->alpn, TLS_ALPN_H2) == 0)
		return allowed & LADDER_WS_H2;
	/* http/1.1, or an ingress that selects nothing: direct only when nothing else is allowed */
	return allowed & LADDER_WS_H1 ? LADDER_WS_H1 : allowed & LADDER_DIRECT;
}

static void dial_rung(struct rung *r);

static struct dial_options dial_options_of(const struct rung *r)
{
	const struct ladder *l = r->ladder;

	return (struct dial_options){
		.host = l->o.host, .port = l->o.port, .tls = l->o.tls, .tls_name = l->o.server_name,
		.alpn = alpn_of(r, (enum rung_kind)(r - l->rungs)), .proxy = l->o.proxy,
	};
}

static struct carrier_attempt *start_kind(struct rung *r, struct stream *s)
{
	struct ladder *l = r->ladder;
	const struct dial_options dial = dial_options_of(r);
	struct carrier_target target = l->o.target;

	target.resolver = l->o.resolver;
	target.dial = &dial;
	return r->kind->start(l->loop, s, &target, on_carrier, r);
}

/* What a rung is for, when its dial has failed. */
static unsigned aim_of(const struct rung *r)
{
	static const unsigned aims[RUNGS] = {
		[RUNG_FIRST] = LADDER_DIRECT, [RUNG_WS_H1] = LADDER_WS_H1, [RUNG_POLL] = LADDER_POLL,
	};

	return aims[r - r->ladder->rungs];
}

static void on_dialled(void *arg, struct stream *s, int err, const char *detail)
{
	struct rung *r = arg;
	struct ladder *l = r->ladder;
	bool first = r == &l->rungs[RUNG_FIRST];

	r->dial = NULL;
	if (err && first && !r->without_token && (l->o.allowed & LADDER_DIRECT) && (l->o.allowed & ~(unsigned)LADDER_DIRECT) &&
	    (err == ADIT_ERR_TLS || err == ADIT_ERR_RESET)) {
		note_why(l, LADDER_DIRECT, *detail ? detail : err_text(err));
		r->without_token = true;
		dial_rung(r);
		return;
	}
	if (err) {
		fail_early(r, aim_of(r), err, detail);
		return;
	}
	log_event(l->o.trace, LOG_LEVEL_INFO, "connected", KV_Z("link", l->o.target.link_id), KV_Z("address", s->peer.ip),
	          KV_U64("port", s->peer.port), KV_Z("alpn", s->alpn));
	r->carrier = carrier_for(r, s);
	if (!r->carrier) {
		bool h2 = strcmp(s->alpn, TLS_ALPN_H2) == 0;

		stream_free(&s);
		fail_early(r, h2 ? LADDER_WS_H1 : LADDER_WS_H2, ADIT_ERR_UPGRADE,
		           h2 ? "the server chose HTTP/2" : "it needs HTTP/2 over TLS, which the server did not choose");
		return;
	}
	if (first && r->carrier != LADDER_DIRECT && (l->o.allowed & LADDER_DIRECT) && !r->without_token)
		note_why(l, LADDER_DIRECT, "the server, or an ingress before it, does not know adit/1");
	l->tried |= r->carrier;
	r->kind = kind_of(r->carrier);
	r->attempt = start_kind(r, s);
	if (!r->attempt) {
		stream_free(&s);
		fail_early(r, r->carrier, ADIT_ERR_NOMEM, "");
	}
}

static void dial_rung(struct rung *r)
{
	struct ladder *l = r->ladder;
	const struct dial_options o = dial_options_of(r);

	r->started = true;
	r->dial = dial_start(l->loop, l->o.resolver, &o, on_dialled, r);
	if (!r->dial)
		fail_early(r, aim_of(r), ADIT_ERR_NOMEM, "");
}

static bool wanted(const struct ladder *l, enum rung_kind k)
{
	switch (k) {
	case RUNG_FIRST:
		return (l->o.allowed & (LADDER_DIRECT | LADDER_WS_H2 | LADDER_WS_H1)) != 0;
	case RUNG_WS_H1:
		return (l->o.allowed & LADDER_WS_H1) && !(l->tried & LADDER_WS_H1);
	default:
		return (l->o.allowed & LADDER_POLL) != 0;
	}
}

static void start_rung(struct rung *r)
{
	const struct ladder_options *o = &r->ladder->o;

	timer_set(&r->ladder->patience, o->begin == LADDER_POLL ? LADDER_PATIENCE_POLL_MS : LADDER_PATIENCE_MS);
	dial_rung(r);
}

/* Where it worked before; the others follow from start_next. */
static void start_first(struct ladder *l)
{
	unsigned begin = l->o.begin & l->o.allowed;

	if (begin & (LADDER_WS_H2 | LADDER_WS_H1))
		note_why(l, begin, "worked at this server before, so it was tried first");
	if (begin == LADDER_WS_H2)
		l->rungs[RUNG_FIRST].without_token = true;
	if (begin == LADDER_WS_H1)
		start_rung(&l->rungs[RUNG_WS_H1]);
	else
		start_next(l);
}

/* Starts the next rung there is; the climb has failed when all have. */
static void start_next(struct ladder *l)
{
	bool running = false;

	for (int i = 0; i < RUNGS; i++) {
		struct rung *r = &l->rungs[i];

		running = running || (r->started && !r->failed);
		if (r->started || !wanted(l, (enum rung_kind)i))
			continue;
		start_rung(r);
		return;
	}
	if (!running && !l->ended) {
		l->ended = true;
		task_post(l->loop, &l->finish);
	}
}

static void on_patience(void *arg)
{
	start_next(arg);
}

struct ladder *ladder_climb(struct loop *loop, const struct ladder_options *o, ladder_done_fn *done, void *arg)
{
	struct ladder *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->loop = loop;
	l->o = *o;
	l->done = done;
	l->arg = arg;
	l->finish = (struct task){.run = finish_failed, .arg = l};
	timer_init(&l->patience, loop, on_patience, l);
	for (int i = 0; i < RUNGS; i++)
		l->rungs[i].ladder = l;
	start_first(l);
	return l;
}

void ladder_cancel(struct ladder **lp)
{
	struct ladder *l = *lp;

	*lp = NULL;
	if (l)
		release(l);
}
