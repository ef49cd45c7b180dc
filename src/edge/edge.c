#include "edge/edge.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "carrier/carrier.h"
#include "edge/auth.h"
#include "edge/edge_h1.h"
#include "exchange/exchange.h"
#include "http/forward.h"
#include "http/page.h"
#include "session/session.h"

/** With max_visitors connections the listeners pause; they go on when so many have gone. */
#define EDGE_SLACK 16
/** Connections that are looked at to find one that may go for a new one: bounds what an accept costs. */
#define EDGE_EVICT_LOOK 64
/** While full, it is tried so often to make room. */
#define EDGE_FULL_MS 500

struct edge {
	struct loop *loop;
	struct edge_options o;
	struct list visitors;
	unsigned count;
	struct timer again; /* while full */
	bool full, draining;
};

/* A carrier on its way from an HTTP connection to accept. */
struct carrier_arrival {
	struct edge *edge;
	char link_id[CARRIER_LINK_ID_HEX + 1];
	uint8_t token[SHA256_LEN];
};

/* ---- requests for a tunnel */

static struct half *route(void *arg, struct exchange *x, struct head *h, int *err)
{
	struct edge *e = arg;
	struct str name = fields_get(&h->fields, STR("adit-tunnel"));
	struct session *s;
	bool known;

	s = registry_find(e->o.registry, name, &known);
	if (s)
		return session_ask(s, err);
	*err = known ? ADIT_ERR_NO_LINK : ADIT_ERR_NO_NAME;
	if (!known && auth_claimable(e->o.conf, exchange_name_of(x)))
		*err = ADIT_ERR_NO_LINK;
	return NULL;
}

static void exchange_done(void *arg, const struct exchange_report *r)
{
	struct edge *e = arg;

	log_event(e->o.access, LOG_LEVEL_INFO, "request", KV_Z("visitor", r->visitor), KV_Z("name", r->name),
	          KV_Z("method", r->method), KV_Z("host", r->host), KV_Z("path", r->path), KV_I64("status", r->status),
	          KV_U64("in", r->request_bytes), KV_U64("out", r->response_bytes), KV_US("first_ms", r->first_us),
	          KV_US("ms", r->total_us), KV_Z("error", r->err ? err_text(r->err) : ""));
}

static const struct exchange_events exchange_events = {route, exchange_done};

static void to_tunnel(struct edge *e, struct edge_h1 *c, struct head *h, bool bodyless, const char *name, bool trusted)
{
	const struct stream *s = edge_h1_stream(c);
	const struct forward_visitor v = {str_of(s->peer.ip), s->tls, trusted};
	struct str client = forward_client(h, &v);
	char visitor[ADDRESS_TEXT_MAX];
	struct exchange_options o = {&exchange_events, e, PAGE_HOP_SERVER, visitor};
	struct exchange *x;
	int err;

	snprintf(visitor, sizeof(visitor), "%.*s", STR_ARG(client));
	x = exchange_new(&o, edge_h1_half(c));
	if (!x)
		return;
	forward_strip(&h->fields);
	err = forward_request(h, &v);
	if (!err)
		err = fields_set(&h->fields, STR("adit-tunnel"), str_of(name));
	exchange_name(x, name);
	if (err)
		exchange_fail(x, h, bodyless, err);
	else
		exchange_begin(x, h, bodyless);
}

/* ---- requests for the tunnel's own endpoints */

static void arrived(void *arg, struct stream *s, struct buf *lead, struct buf *rest)
{
	struct carrier_arrival *a = arg;

	if (s)
		acceptor_take(a->edge->o.acceptor, s, lead, rest, a->link_id, a->token);
	free(a);
}

static int version_field(struct head *h)
{
	return fields_add(&h->fields, STR("adit-version"), STR(CARRIER_VERSION));
}

static void switch_to_carrier(struct edge *e, struct edge_h1 *c, const char *link_id, const struct conf_token *t)
{
	struct carrier_arrival *a = malloc(sizeof(*a));
	struct head h;
	int err;

	if (!a)
		return;
	a->edge = e;
	memcpy(a->link_id, link_id, sizeof(a->link_id));
	memcpy(a->token, t->sha256, SHA256_LEN);
	head_init(&h);
	h.status = 101;
	err = head_set(&h, HEAD_PROTOCOL, STR("adit"));
	err |= version_field(&h);
	if (err)
		free(a);
	else
		edge_h1_switch(c, &h, arrived, a);
	head_free(&h);
}

static void answer(struct edge *e, struct edge_h1 *c, int status, const char *text, const char *retry_after)
{
	struct page *p = malloc(sizeof(*p));

	/* strangers come by all the time; that a tunnel of ours is turned away is worth more attention */
	log_event(e->o.log, status == 401 || status == 404 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "link.refused",
	          KV_Z("address", edge_h1_stream(c)->peer.ip), KV_I64("code", status), KV_Z("reason", text));
	if (!p)
		return;
	if (page_text(p, status, text) == 0) {
		version_field(&p->head);
		if (status == 401)
			fields_add(&p->head.fields, STR("www-authenticate"), STR("Bearer realm=\"adit\""));
		if (retry_after)
			fields_add(&p->head.fields, STR("retry-after"), str_of(retry_after));
		page_reply(p, edge_h1_half(c), false);
		page_free(p);
	}
	free(p);
}

static void to_endpoint(struct edge *e, struct edge_h1 *c, struct head *h)
{
	char id[CARRIER_LINK_ID_HEX + 1];
	enum carrier_endpoint kind = carrier_endpoint(head_get(h, HEAD_PATH), id);
	const struct conf_token *t = auth_token(e->o.conf, carrier_bearer(h));

	if (!t)
		answer(e, c, 401, "this token is not known here", NULL);
	else if (kind == CARRIER_NONE)
		answer(e, c, 404, "no such tunnel endpoint", NULL);
	else if (!str_eq_nocase(head_get(h, HEAD_PROTOCOL), STR("adit")))
		answer(e, c, 426, "this endpoint wants Upgrade: adit; something on the way may have taken it out", NULL);
	else if (e->draining)
		answer(e, c, 503, "the tunnel server is shutting down", "1");
	else if (!acceptor_has_room(e->o.acceptor, t))
		answer(e, c, 429, "this token has too many links", "5");
	else
		switch_to_carrier(e, c, id, t);
}

/* ---- connections */

static void on_request(void *owner, struct edge_h1 *c, struct head *h, bool bodyless)
{
	struct edge *e = owner;
	bool trusted = conf_trusts(e->o.conf, edge_h1_stream(c)->peer.ip);
	char name[256];
	bool known;

	registry_name_of(forward_host(h, trusted), e->o.conf->domain, name);
	if (carrier_path(head_get(h, HEAD_PATH))) {
		registry_find(e->o.registry, str_of(name), &known);
		if (!known && !(name[0] && auth_claimable(e->o.conf, name))) {
			to_endpoint(e, c, h);
			return;
		}
	}
	to_tunnel(e, c, h, bodyless, name, trusted);
}

static void update_full(struct edge *e)
{
	unsigned max = e->o.conf->max_visitors, slack = max > 2 * EDGE_SLACK ? EDGE_SLACK : 1;
	bool full = e->full ? e->count + slack > max : e->count >= max;

	if (full == e->full)
		return;
	e->full = full;
	if (full)
		timer_set(&e->again, EDGE_FULL_MS);
	else
		timer_clear(&e->again);
	e->o.full(e->o.owner, full);
}

/* Ends the connection that has been without a request for longest: who only holds connections open locks nobody out.
 * Those with a request that are met on the way move behind, so that the next look begins elsewhere. */
static bool evict_one(struct edge *e)
{
	unsigned look = e->count < EDGE_EVICT_LOOK ? e->count : EDGE_EVICT_LOOK;

	while (look--) {
		struct list *node = e->visitors.next;

		if (edge_h1_evict(edge_h1_of_node(node)))
			return true;
		list_remove(node);
		list_append(&e->visitors, node);
	}
	return false;
}

static void look_again(void *arg)
{
	struct edge *e = arg;

	for (unsigned i = 0; e->full && i < EDGE_SLACK && evict_one(e); i++)
		;
	if (e->full)
		timer_set(&e->again, EDGE_FULL_MS);
}

static void on_closed(void *owner, struct edge_h1 *c)
{
	struct edge *e = owner;

	(void)c;
	e->count--;
	update_full(e);
	if (e->draining && !e->count && e->o.empty)
		e->o.empty(e->o.owner);
}

static void on_refused(void *owner, struct edge_h1 *c, int err)
{
	struct edge *e = owner;

	log_event(e->o.access, LOG_LEVEL_INFO, "refused", KV_Z("visitor", edge_h1_stream(c)->peer.ip),
	          KV_I64("status", err_status(err)), KV_Z("error", err_text(err)));
}

static const struct edge_h1_events h1_events = {on_request, on_refused, on_closed};

void edge_accept(void *arg, struct stream *s)
{
	struct edge *e = arg;
	struct edge_h1 *c = e->draining ? NULL : edge_h1_new(e->loop, s, &h1_events, e);

	if (!c) {
		stream_free(&s);
		return;
	}
	/* the newcomer is in the list only afterwards: it is not what makes room */
	if (e->count + 1 >= e->o.conf->max_visitors)
		evict_one(e);
	list_append(&e->visitors, edge_h1_node(c));
	e->count++;
	update_full(e);
}

struct edge *edge_new(struct loop *l, const struct edge_options *o)
{
	struct edge *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->loop = l;
	e->o = *o;
	list_init(&e->visitors);
	timer_init(&e->again, l, look_again, e);
	return e;
}

void edge_free(struct edge **ep)
{
	struct edge *e = *ep;

	if (!e)
		return;
	*ep = NULL;
	while (!list_empty(&e->visitors)) {
		struct edge_h1 *c = edge_h1_of_node(e->visitors.next);

		edge_h1_free(&c);
	}
	timer_stop(&e->again);
	free(e);
}

void edge_set_conf(struct edge *e, const struct conf_server *conf)
{
	e->o.conf = conf;
	update_full(e);
}

void edge_drain(struct edge *e)
{
	struct list *at, *tmp;

	e->draining = true;
	list_each(at, tmp, &e->visitors)
		edge_h1_drain(edge_h1_of_node(at));
}

unsigned edge_visitors(const struct edge *e)
{
	return e->count;
}
