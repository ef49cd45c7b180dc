#include "edge/endpoint.h"

#include <stdlib.h>

#include "base/err.h"
#include "carrier/carrier.h"
#include "carrier/half_stream.h"
#include "carrier/ws.h"
#include "edge/auth.h"
#include "http/forward.h"
#include "http/page.h"
#include "rules/guesses.h"

/* A carrier on its way from an HTTP connection to accept. */
struct arrival {
	struct acceptor *acceptor;
	struct probe_table *probes; /* not NULL: it goes there instead, to be held for adit doctor */
	enum carrier_endpoint kind;
	char link_id[CARRIER_LINK_ID_HEX + 1];
	uint8_t token[SHA256_LEN];
};

static int version_field(struct head *h)
{
	return fields_add(&h->fields, STR("adit-version"), STR(CARRIER_VERSION));
}

/* With one more field, `name` NULL for none. */
static void answer_with(const struct endpoint *e, const struct visit *v, int status, const char *text,
                        const char *name, const char *value)
{
	struct page *p = malloc(sizeof(*p));

	/* strangers come by all the time; that a tunnel of ours is turned away is worth more attention */
	log_event(e->log, status == 401 || status == 404 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "link.refused",
	          KV_Z("address", v->stream->peer.ip), KV_I64("code", status), KV_Z("reason", text));
	if (!p)
		return;
	if (page_text(p, status, text) == 0) {
		version_field(&p->head);
		if (status == 401)
			fields_add(&p->head.fields, STR("www-authenticate"), STR("Bearer realm=\"adit\""));
		if (name)
			fields_add(&p->head.fields, str_of(name), str_of(value));
		page_reply(p, v->asking, false);
		page_free(p);
	}
	free(p);
}

static void answer(const struct endpoint *e, const struct visit *v, int status, const char *text,
                   const char *retry_after)
{
	answer_with(e, v, status, text, retry_after ? "retry-after" : NULL, retry_after);
}

/* A link that lives may have its new carrier: that is running work. Answers when there is no memory. */
static bool has_memory(const struct endpoint *e, const struct visit *v, const struct arrival *a)
{
	if (acceptor_knows(e->acceptor, a->link_id) || headroom_begin(e->headroom))
		return true;
	answer(e, v, 503, "what runs on the tunnel server needs its memory", "1");
	return false;
}

/* ---- an HTTP/1.1 connection becomes a carrier */

/* The 101 must leave before anything is framed behind it. A fresh connection takes it; one that does not is given up. */
static bool send_now(struct stream *s, struct buf *lead)
{
	struct iovec iov[4];

	while (lead->len) {
		ssize_t n = stream_write(s, iov, buf_iov(lead, iov, 4));

		if (n <= 0)
			return false;
		buf_drop(lead, (size_t)n);
	}
	return true;
}

static void arrived(void *arg, struct stream *s, struct buf *lead, struct buf *rest)
{
	struct arrival *a = arg;
	struct stream *framed = NULL;

	if (s)
		tls_hide(s, false);
	if (s && a->kind == CARRIER_WS) {
		if (!rest->len && send_now(s, lead)) /* nobody speaks before the 101 has arrived */
			framed = ws_new(&s, WS_ANSWERED, rest);
		if (!framed)
			stream_free(&s);
		s = framed;
	}
	if (s && !a->probes)
		acceptor_take(a->acceptor, s, lead, rest, a->link_id, a->token,
		              a->kind == CARRIER_WS ? "ws" : "direct");
	else if (s && !rest->len && send_now(s, lead))
		probe_hold(a->probes, s, a->token);
	else
		stream_free(&s);
	free(a);
}

/* RFC 6455 section 4.2.1. */
static bool is_version_13(const struct head *h)
{
	return str_eq(fields_get(&h->fields, STR("sec-websocket-version")), STR("13"));
}

static int accept_field(struct head *h, const struct head *request)
{
	struct str key = fields_get(&request->fields, STR("sec-websocket-key"));
	char text[WS_ACCEPT_TEXT];

	if (ws_accept_for(key.p, key.n, text) < 0)
		return ADIT_ERR_INVALID;
	return fields_add(&h->fields, STR("sec-websocket-accept"), str_of(text));
}

static void switch_connection(const struct endpoint *e, const struct visit *v, const struct head *request,
                              const struct arrival *from)
{
	struct arrival *a = malloc(sizeof(*a));
	struct head h;
	int err;

	if (!a)
		return;
	*a = *from;
	head_init(&h);
	h.status = 101;
	err = head_set(&h, HEAD_PROTOCOL, a->kind == CARRIER_WS ? STR("websocket") : STR("adit"));
	err |= version_field(&h);
	if (!err && a->kind == CARRIER_WS)
		err = accept_field(&h, request);
	if (!err)
		edge_h1_switch(v->h1, &h, arrived, a);
	else
		free(a);
	if (err == ADIT_ERR_INVALID)
		answer(e, v, 400, "Sec-WebSocket-Key is not 16 bytes in base64", NULL);
	head_free(&h);
}

/* ---- an HTTP/2 stream becomes a carrier (RFC 8441) */

static void switch_stream(const struct endpoint *e, const struct visit *v, const struct arrival *a)
{
	struct stream *bytes = half_stream_new(e->loop, v->asking, &v->stream->peer, NULL, NULL), *framed;
	struct buf none = BUF_INIT, nothing = BUF_INIT;
	struct head h;
	int err;

	if (!bytes)
		return;
	tls_hide(v->stream, false);
	head_init(&h);
	h.status = 101;
	h.length = HEAD_LENGTH_UNKNOWN;
	err = version_field(&h);
	if (!err)
		half_head(half_stream_half(bytes), &h, false);
	head_free(&h);
	framed = err ? NULL : ws_new(&bytes, WS_ANSWERED, NULL);
	if (framed && a->probes)
		probe_hold(a->probes, framed, a->token);
	else if (framed)
		acceptor_take(a->acceptor, framed, &none, &nothing, a->link_id, a->token, "ws");
	else
		stream_free(&bytes);
	if (framed)
		edge_h2_link(v->h2);
}

/* ---- polls and relays: a carrier of many requests */

/* Answers 201 with the new carrier's id. */
static void open_polls(struct endpoint *e, const struct visit *v, const struct arrival *a)
{
	struct page *p = malloc(sizeof(*p));
	struct buf none = BUF_INIT, nothing = BUF_INIT;
	char id[POLL_ID_HEX + 1];
	struct stream *s;

	if (!p)
		return;
	head_init(&p->head);
	p->len = 0;
	p->head.status = 201;
	p->head.length = 0;
	s = poll_table_open(&e->polls, a->link_id, a->token, &v->stream->peer, id);
	if (s && poll_answer_fields(&p->head.fields) == 0 &&
	    fields_add(&p->head.fields, STR("adit-carrier"), str_of(id)) == 0) {
		page_reply(p, v->asking, false);
		if (v->h2)
			edge_h2_link(v->h2);
		acceptor_take(a->acceptor, s, &none, &nothing, a->link_id, a->token, "poll");
	} else {
		stream_free(&s);
	}
	page_free(p);
	free(p);
}

static void serve_polls(struct endpoint *e, const struct visit *v, const struct head *h, const struct conf_token *t,
                        const struct arrival *a)
{
	bool get = str_eq(head_get(h, HEAD_METHOD), STR("GET")), post = str_eq(head_get(h, HEAD_METHOD), STR("POST"));
	struct str id = fields_get(&h->fields, STR("adit-carrier"));
	struct poll_answered *c = id.p ? poll_table_find(&e->polls, id, a->link_id, t->sha256) : NULL;

	/* a drain must not take the connections from under what it waits for */
	if (c && v->h1)
		edge_h1_carry(v->h1);
	else if (c)
		edge_h2_carry(v->h2);
	if (a->kind == CARRIER_POLL ? !get : !post)
		answer(e, v, 405, a->kind == CARRIER_POLL ? "polls are GETs" : "relays are POSTs", NULL);
	else if (id.p && !c)
		answer(e, v, 410, "this poll carrier is not known here", NULL);
	else if (c && a->kind == CARRIER_POLL)
		poll_answered_poll(c, v->asking, h);
	else if (c)
		poll_answered_relay(c, v->asking, h);
	else if (a->kind == CARRIER_POLL)
		answer(e, v, 400, "a poll must name its carrier", NULL);
	else if (e->draining)
		answer(e, v, 503, "the tunnel server is shutting down", "1");
	else if (!acceptor_has_room(e->acceptor, t, a->link_id))
		answer(e, v, 429, "this token has too many links", "5");
	else if (has_memory(e, v, a))
		open_polls(e, v, a);
}

/* ---- probes */

static void refuse_probe(const struct endpoint *e, const struct visit *v, int status)
{
	answer(e, v, status, status == 429 ? "this token has too many probes" : "there are too many probes", "5");
}

static void serve_probe(struct endpoint *e, const struct visit *v, const struct head *h, const struct conf_token *t,
                        const struct arrival *a)
{
	struct str method = head_get(h, HEAD_METHOD);
	bool get = str_eq(method, STR("GET")), post = str_eq(method, STR("POST"));
	int full = probe_table_full(&e->probes, t->sha256);

	if (!get && !post)
		answer(e, v, 405, "probes are GETs and POSTs", NULL);
	else if (full)
		refuse_probe(e, v, full);
	else if (!has_memory(e, v, a))
		return;
	else if (get)
		probe_answer_pieces(&e->probes, v->asking, t->sha256);
	else
		probe_answer_upload(&e->probes, v->asking, t->sha256);
}

/* One more of what the arrival is to be? Answers when not. */
static bool has_room(const struct endpoint *e, const struct visit *v, const struct conf_token *t,
                     const struct arrival *a)
{
	int full = a->probes ? probe_table_full(a->probes, t->sha256) : 0;

	if (full)
		refuse_probe(e, v, full);
	else if (!a->probes && !acceptor_has_room(e->acceptor, t, a->link_id))
		answer(e, v, 429, "this token has too many links", "5");
	else
		return has_memory(e, v, a);
	return false;
}

/* A wrong token is a guess; a right one is taken whatever was guessed before, and does not come here. */
static void refuse_stranger(const struct endpoint *e, const struct visit *v, const struct head *h, bool guess)
{
	const struct forward_visitor from = {
		str_of(v->stream->peer.ip), v->stream->tls, conf_trusts(e->conf, v->stream->peer.ip),
	};
	struct in6_addr address;
	bool known = conf_address(forward_client(h, &from), &address);
	char seconds[STR_U64_MAX];
	unsigned wait_s = 0;

	if (guess)
		wait_s = guesses_wrong(e->guesses, guess_source_of(known ? &address : NULL), loop_ms(e->loop));
	if (wait_s)
		answer(e, v, 429, "too many wrong tokens came from there", str_of_u64(wait_s, seconds).p);
	else
		answer(e, v, 401, "this token is not known here", NULL);
}

void endpoint_init(struct endpoint *e, struct loop *l, struct acceptor *a, const struct conf_server *conf,
                   struct guesses *guesses, struct log *log)
{
	*e = (struct endpoint){.loop = l, .acceptor = a, .conf = conf, .guesses = guesses, .log = log};
	poll_table_init(&e->polls, l);
	probe_table_init(&e->probes, l);
}

/* Judges the bearer token, and leaves nothing of it in memory. `*guess`: it is a wrong one, and not none. `*err`: it
 * could not be judged, which is no refusal: that would be final. */
static const struct conf_token *take_token(const struct endpoint *e, const struct visit *v, struct head *h, bool *guess,
                                           int *err)
{
	const struct str bearer = carrier_bearer(h);
	const struct conf_token *t = auth_token(e->conf, bearer, err);

	*guess = !t && bearer.n && !*err;
	fields_forget(&h->fields, STR("authorization"));
	tls_hide(v->stream, true); /* the next poll brings it again */
	if (v->h1)
		edge_h1_secret(v->h1);
	return t;
}

void endpoint_serve(struct endpoint *e, const struct visit *v, struct head *h)
{
	struct arrival a = {.acceptor = e->acceptor};
	bool guess;
	int err;
	const struct conf_token *t = take_token(e, v, h, &guess, &err);
	struct str protocol = head_get(h, HEAD_PROTOCOL);
	char misfit[CARRIER_DETAIL_MAX + 1];

	a.kind = carrier_endpoint(head_get(h, HEAD_PATH), a.link_id);
	if (t)
		memcpy(a.token, t->sha256, SHA256_LEN);
	if (a.kind == CARRIER_PROBE && protocol.n) { /* set up as the carrier would be whose connection it tries */
		a.kind = str_eq_nocase(protocol, STR("websocket")) ? CARRIER_WS : CARRIER_DIRECT;
		a.probes = &e->probes;
	}
	if (err) {
		answer(e, v, 503, err_text(err), "1");
	} else if (!t) {
		refuse_stranger(e, v, h, guess);
	} else if (!carrier_version_fits(fields_get(&h->fields, STR("adit-version")), true, misfit)) {
		answer(e, v, 426, misfit, NULL);
	} else if (a.kind == CARRIER_NONE) {
		answer(e, v, 404, "no such tunnel endpoint", NULL);
	} else if (a.kind == CARRIER_POLL || a.kind == CARRIER_RELAY) {
		serve_polls(e, v, h, t, &a);
	} else if (a.kind == CARRIER_PROBE) {
		serve_probe(e, v, h, t, &a);
	} else if (a.kind == CARRIER_DIRECT && !v->h1) {
		answer(e, v, 426, "this endpoint wants HTTP/1.1 all the way; an ingress has made it HTTP/2", NULL);
	} else if (a.kind == CARRIER_DIRECT && !str_eq_nocase(protocol, STR("adit"))) {
		answer(e, v, 426, "this endpoint wants Upgrade: adit; something on the way may have taken it out", NULL);
	} else if (a.kind == CARRIER_WS && !str_eq_nocase(protocol, STR("websocket"))) {
		answer(e, v, 426, "this endpoint wants Upgrade: websocket; something on the way may have taken it out", NULL);
	} else if (a.kind == CARRIER_WS && !is_version_13(h)) {
		answer_with(e, v, 400, "Sec-WebSocket-Version is not 13", "sec-websocket-version", "13"); /* section 4.2.2 */
	} else if (e->draining) {
		answer(e, v, 503, "the tunnel server is shutting down", "1");
	} else if (!has_room(e, v, t, &a)) {
		return;
	} else if (v->h1) {
		switch_connection(e, v, h, &a);
	} else {
		switch_stream(e, v, &a);
	}
}
