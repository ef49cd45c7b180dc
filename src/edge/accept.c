#include "edge/accept.h"

#include <stdio.h>
#include <stdlib.h>

#include "config.h"

#include "base/err.h"
#include "base/list.h"
#include "carrier/carrier.h"
#include "edge/auth.h"
#include "link/handshake.h"
#include "session/session.h"

/** Read at a time while a greeting is awaited. */
#define READ_BYTES 4096
#define AGENT "aditd/" PACKAGE_VERSION

/* One carrier on its way to be a link, then the link. */
struct tunnel {
	struct list node;
	struct acceptor *acceptor;
	char link_id[CARRIER_LINK_ID_HEX + 1];
	uint8_t token[SHA256_LEN];
	char *token_name;
	/* greeting */
	struct stream *stream;
	struct frame_parser parser;
	struct buf lead, rest;
	struct timer timer;
	bool closing; /* CLOSE is said; waiting for the other side to close */
	/* live */
	struct session *session;
	char *names; /* published, each with its NUL; an empty one ends them */
	struct task free;
};

struct acceptor {
	struct loop *loop;
	struct acceptor_options o;
	struct list tunnels;
	unsigned links;
	bool draining;
};

static void release(void *arg)
{
	struct tunnel *t = arg;

	frame_parser_clear(&t->parser);
	buf_clear(&t->lead);
	buf_clear(&t->rest);
	free(t->names);
	free(t->token_name);
	free(t);
}

static void drop(struct tunnel *t, int err)
{
	struct acceptor *a = t->acceptor;

	list_remove(&t->node);
	timer_stop(&t->timer);
	stream_free(&t->stream);
	if (t->session) {
		registry_remove(a->o.registry, t->session);
		session_free(&t->session, err);
	}
	task_post_free(a->loop, &t->free);
	if (--a->links == 0 && a->draining)
		a->o.empty(a->o.owner);
}

/* ---- a live link */

static void session_told(void *owner, enum frame_type type, const uint8_t *p, size_t n)
{
	struct tunnel *t = owner;
	char reason[FRAME_REASON_MAX + 1] = "";
	uint16_t code = 0;

	if (type != FRAME_CLOSE) {
		session_close(t->session, 400, "unexpected control frame", ADIT_ERR_PROTO);
		return;
	}
	wire_read_close(p, n, &code, reason, sizeof(reason));
	log_event(t->acceptor->o.log, LOG_LEVEL_INFO, "link.closed", KV_Z("link", t->link_id), KV_Z("token", t->token_name),
	          KV_U64("code", code), KV_Z("reason", reason));
	drop(t, ADIT_ERR_LINK_LOST);
}

static void session_lost(void *owner, int err, const char *detail)
{
	struct tunnel *t = owner;

	log_event(t->acceptor->o.log, LOG_LEVEL_INFO, "link.down", KV_Z("link", t->link_id), KV_Z("token", t->token_name),
	          KV_Z("reason", err_text(err)), KV_Z("detail", detail));
	log_event(t->acceptor->o.trace, LOG_LEVEL_INFO, "lost", KV_Z("link", t->link_id), KV_Z("reason", err_name(err)),
	          KV_Z("detail", detail));
	drop(t, ADIT_ERR_LINK_LOST);
}

static void session_idle(void *owner)
{
	struct tunnel *t = owner;

	if (t->acceptor->draining)
		session_close(t->session, 503, "the tunnel server is shutting down", ADIT_ERR_SHUTDOWN);
	else if (session_leaving(t->session)) /* its streams are used up, or adit is leaving */
		session_close(t->session, 503, "this session takes no more requests", ADIT_ERR_LINK_LOST);
}

static const struct session_events session_events = {NULL, session_told, session_lost, session_idle};

/* ---- judging a greeting */

static void send_lead(struct tunnel *t)
{
	struct iovec iov[4];

	while (t->lead.len) {
		ssize_t n = stream_write(t->stream, iov, buf_iov(&t->lead, iov, 4));

		if (n < 0)
			drop(t, ADIT_ERR_RESET);
		if (n <= 0)
			return;
		buf_drop(&t->lead, (size_t)n);
	}
	if (t->closing)
		stream_finish(t->stream);
}

static void refuse(struct tunnel *t, uint16_t code, const char *reason)
{
	uint8_t payload[2 + FRAME_REASON_MAX], header[FRAME_HEADER_LEN];
	size_t n = wire_write_close(code, reason, payload, sizeof(payload));

	log_event(t->acceptor->o.log, LOG_LEVEL_WARN, "link.refused", KV_Z("link", t->link_id), KV_Z("token", t->token_name),
	          KV_Z("address", t->stream->peer.ip), KV_U64("code", code), KV_Z("reason", reason));
	frame_header(header, FRAME_CLOSE, n);
	t->closing = true;
	timer_set(&t->timer, ACCEPT_CLOSE_MS);
	if (buf_add(&t->lead, header, sizeof(header)) < 0 || buf_add(&t->lead, payload, n) < 0)
		drop(t, ADIT_ERR_NOMEM);
	else
		send_lead(t);
}

/* Where a name is published: NAME in the template; a custom domain stands by itself. */
static void write_url(const struct acceptor *a, const char *name, char *out, size_t cap)
{
	const char *template = a->o.published, *at = strstr(template, "NAME"), *scheme_end = strstr(template, "://");

	if (strchr(name, '.') && scheme_end) {
		const char *port = strrchr(scheme_end + 3, ':');

		snprintf(out, cap, "%.*s%s%s", (int)(scheme_end + 3 - template), template, name, port ? port : "");
	} else if (at) {
		snprintf(out, cap, "%.*s%s%s", (int)(at - template), template, name, at + 4);
	} else {
		snprintf(out, cap, "%s", template);
	}
}

struct refusal {
	uint16_t code;
	char text[FRAME_REASON_MAX];
};

static bool judge_name(struct tunnel *t, const struct conf_token *token, const struct wire_hello *h,
                       struct wire_tunnel *w, struct refusal *no)
{
	if (!w->name[0])
		return wire_random_name(w->label, t->token, h->client_key, w->name) == 0;
	if (auth_name(token, w->name))
		return true;
	no->code = 403;
	snprintf(no->text, sizeof(no->text), "the token \"%s\" may not claim the name \"%s\"", token->name, w->name);
	return false;
}

static int keep_names(struct tunnel *t, const struct wire_welcome *w)
{
	size_t n = 1;
	char *at;

	for (size_t i = 0; i < w->tunnel_count; i++)
		n += strlen(w->tunnels[i].name) + 1;
	at = t->names = calloc(1, n);
	for (size_t i = 0; at && i < w->tunnel_count; i++) {
		size_t len = strlen(w->tunnels[i].name) + 1;

		memcpy(at, w->tunnels[i].name, len);
		at += len;
	}
	return at ? 0 : ADIT_ERR_NOMEM;
}

/* A published name that may not be claimed any more; NULL when there is none. Random ones are their token's. */
static const char *lost_name(const struct tunnel *t, const struct conf_token *token)
{
	for (const char *name = t->names; name && *name; name += strlen(name) + 1)
		if (!str_starts(str_of(name), STR("r-")) && !auth_name(token, name))
			return name;
	return NULL;
}

static bool publish(struct tunnel *t, const struct wire_welcome *w, struct refusal *no)
{
	for (size_t i = 0; i < w->tunnel_count; i++) {
		int err = registry_add(t->acceptor->o.registry, w->tunnels[i].name, t->token, t->session);

		if (!err)
			continue;
		registry_remove(t->acceptor->o.registry, t->session);
		no->code = err == ADIT_ERR_CONFLICT ? 409 : 503;
		if (err == ADIT_ERR_CONFLICT)
			snprintf(no->text, sizeof(no->text), "the name \"%s\" is taken by another token", w->tunnels[i].name);
		else
			snprintf(no->text, sizeof(no->text), "the name \"%s\" is shared by %d links already", w->tunnels[i].name,
			         REGISTRY_SHARE_MAX);
		return false;
	}
	return true;
}

static int send_welcome(struct tunnel *t, struct wire_welcome *w)
{
	size_t n;
	char *json;
	int err;

	w->version = WIRE_VERSION;
	snprintf(w->agent, sizeof(w->agent), "%s", AGENT);
	w->resume_ms = 0; /* this version does not keep detached links */
	random_bytes(w->secret, sizeof(w->secret));
	json = wire_write_welcome(w, &n);
	if (!json)
		return ADIT_ERR_NOMEM;
	err = link_control(session_link(t->session), FRAME_WELCOME, json, n);
	secret_wipe(json, n);
	free(json);
	return err;
}

static void log_up(const struct tunnel *t, const struct wire_hello *h, const struct wire_welcome *w)
{
	for (size_t i = 0; i < w->tunnel_count; i++)
		log_event(t->acceptor->o.log, LOG_LEVEL_INFO, "link.up", KV_Z("name", w->tunnels[i].name),
		          KV_Z("url", w->tunnels[i].url), KV_Z("link", t->link_id), KV_Z("token", t->token_name),
		          KV_Z("agent", h->agent));
	log_event(t->acceptor->o.trace, LOG_LEVEL_INFO, "welcome", KV_Z("link", t->link_id), KV_U64("names", w->tunnel_count));
}

static void welcome(struct tunnel *t, const struct conf_token *token, const struct wire_hello *h, struct wire_welcome *w)
{
	const struct session_options o = {
		.role = H2_ASKING, .budget = t->acceptor->o.budget, .events = &session_events, .owner = t,
		.heartbeat_ms = t->acceptor->o.conf->heartbeat_seconds * 1000u,
	};
	struct refusal no = {503, "out of memory"};
	struct stream *s = t->stream;
	bool ok = true;

	for (size_t i = 0; ok && i < h->tunnel_count; i++) {
		w->tunnels[i] = h->tunnels[i];
		ok = judge_name(t, token, h, &w->tunnels[i], &no);
		write_url(t->acceptor, w->tunnels[i].name, w->tunnels[i].url, sizeof(w->tunnels[i].url));
	}
	w->tunnel_count = h->tunnel_count;
	if (ok)
		t->session = session_new(t->acceptor->loop, &o);
	ok = ok && t->session && keep_names(t, w) == 0 && publish(t, w, &no) && send_welcome(t, w) == 0;
	if (!ok) {
		if (t->session)
			registry_remove(t->acceptor->o.registry, t->session);
		session_free(&t->session, ADIT_ERR_LINK_LOST);
		refuse(t, no.code, no.text);
		return;
	}
	timer_clear(&t->timer);
	log_up(t, h, w);
	t->stream = NULL;
	if (session_attach(t->session, s, &t->lead, &t->rest) < 0)
		drop(t, ADIT_ERR_NOMEM);
}

static const struct conf_token *token_of(const struct conf_server *c, const uint8_t hash[SHA256_LEN])
{
	for (size_t i = 0; i < c->token_count; i++)
		if (digest_equal(c->tokens[i].sha256, hash, SHA256_LEN))
			return &c->tokens[i];
	return NULL;
}

/* HELLO never replaces a link (design §4): whoever knows an id, which is no secret, could end it. */
static bool is_taken(const struct tunnel *t)
{
	const struct list *tunnels = &t->acceptor->tunnels;

	for (const struct list *at = tunnels->next; at != tunnels; at = at->next) {
		const struct tunnel *other = container_of(at, struct tunnel, node);

		if (other->session && strcmp(other->link_id, t->link_id) == 0)
			return true;
	}
	return false;
}

static void judge(struct tunnel *t, const struct frame *f)
{
	const struct conf_token *token = token_of(t->acceptor->o.conf, t->token);
	struct wire_hello *h = NULL;
	struct wire_welcome *w = NULL;
	struct wire_error e = {""};
	int err;

	if (f->type == FRAME_ATTACH) {
		refuse(t, 410, "this link is not known here");
		return;
	}
	if (f->type != FRAME_HELLO) {
		refuse(t, 400, "the first frame must be HELLO or ATTACH");
		return;
	}
	if (is_taken(t)) {
		refuse(t, 409, "a link with this id exists");
		return;
	}
	h = malloc(sizeof(*h));
	w = calloc(1, sizeof(*w));
	err = h && w ? wire_read_hello(f->p, f->n, h, &e) : ADIT_ERR_NOMEM;
	if (err == ADIT_ERR_NOMEM)
		refuse(t, 503, "out of memory");
	else if (err)
		refuse(t, 400, e.text);
	else if (!token)
		refuse(t, 403, "the token was revoked");
	else
		welcome(t, token, h, w);
	if (w)
		secret_wipe(w, sizeof(*w));
	free(w);
	free(h);
}

/* ---- reading a greeting */

static void on_bytes(struct tunnel *t, const uint8_t *p, size_t n)
{
	struct frame f;
	size_t used = 0;
	int got = frame_parse(&t->parser, p, n, &used, &f);

	if (got == 0)
		return;
	if (got < 0) {
		refuse(t, 400, "not a link frame");
		return;
	}
	stream_pause(t->stream, true);
	if (buf_add(&t->rest, p + used, n - used) < 0)
		drop(t, ADIT_ERR_NOMEM);
	else
		judge(t, &f);
}

static void on_readable(void *owner)
{
	struct tunnel *t = owner;
	uint8_t block[READ_BYTES];
	ssize_t n = stream_read(t->stream, block, sizeof(block));

	if (n == ADIT_ERR_AGAIN || (n > 0 && t->closing))
		return;
	if (n > 0)
		on_bytes(t, block, (size_t)n);
	else
		drop(t, (int)n);
}

static void on_writable(void *owner)
{
	send_lead(owner);
}

static const struct stream_handler handler = {on_readable, on_writable};

static void on_timeout(void *arg)
{
	struct tunnel *t = arg;

	if (!t->closing)
		log_event(t->acceptor->o.log, LOG_LEVEL_WARN, "link.silent", KV_Z("link", t->link_id), KV_Z("token", t->token_name));
	drop(t, ADIT_ERR_TIMEOUT);
}

void acceptor_take(struct acceptor *a, struct stream *s, struct buf *lead, struct buf *rest, const char *link_id,
                   const uint8_t token[SHA256_LEN])
{
	const struct conf_token *entry = token_of(a->o.conf, token);
	struct tunnel *t = calloc(1, sizeof(*t));
	bool early = rest->len > 0;

	if (!t || !entry || !(t->token_name = str_dup(str_of(entry->name)))) {
		free(t);
		stream_free(&s);
		buf_clear(lead);
		buf_clear(rest);
		return;
	}
	t->acceptor = a;
	t->stream = s;
	t->free = (struct task){.run = release, .arg = t};
	snprintf(t->link_id, sizeof(t->link_id), "%s", link_id);
	memcpy(t->token, token, SHA256_LEN);
	frame_parser_init(&t->parser);
	buf_splice(&t->lead, lead);
	buf_clear(rest);
	list_init(&t->node);
	list_append(&a->tunnels, &t->node);
	a->links++;
	timer_init(&t->timer, a->loop, on_timeout, t);
	timer_set(&t->timer, ACCEPT_GREETING_MS);
	stream_own(s, &handler, t);
	stream_pause(s, false);
	send_lead(t);
	if (t->stream && early)
		refuse(t, 400, "bytes came before the 101");
}

/* ---- life */

struct acceptor *acceptor_new(struct loop *l, const struct acceptor_options *o)
{
	struct acceptor *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->loop = l;
	a->o = *o;
	list_init(&a->tunnels);
	return a;
}

void acceptor_free(struct acceptor **ap)
{
	struct acceptor *a = *ap;

	if (!a)
		return;
	*ap = NULL;
	a->draining = false;
	while (!list_empty(&a->tunnels))
		drop(container_of(a->tunnels.next, struct tunnel, node), ADIT_ERR_SHUTDOWN);
	free(a);
}

/* After a new conf: a link whose token is gone, or lost one of its names, is told so and ends. */
static void judge_again(struct tunnel *t)
{
	const struct conf_token *token = token_of(t->acceptor->o.conf, t->token);
	const char *lost = token ? lost_name(t, token) : NULL;
	char reason[FRAME_REASON_MAX] = "the token was revoked";

	if (token && !lost)
		return;
	if (lost)
		snprintf(reason, sizeof(reason), "the token \"%s\" may no longer claim the name \"%s\"", token->name, lost);
	if (t->session)
		session_close(t->session, 403, reason, ADIT_ERR_FORBIDDEN);
	else if (!t->closing)
		refuse(t, 403, reason);
}

void acceptor_set_conf(struct acceptor *a, const struct conf_server *conf, const char *published)
{
	struct list *at, *tmp;

	a->o.conf = conf;
	a->o.published = published;
	list_each(at, tmp, &a->tunnels)
		judge_again(container_of(at, struct tunnel, node));
}

bool acceptor_has_room(const struct acceptor *a, const struct conf_token *token)
{
	const struct list *at;
	unsigned n = 0;

	for (at = a->tunnels.next; at != &a->tunnels; at = at->next)
		n += digest_equal(container_of(at, struct tunnel, node)->token, token->sha256, SHA256_LEN);
	return n < ACCEPT_LINKS_PER_TOKEN;
}

void acceptor_drain(struct acceptor *a, uint32_t spread_ms)
{
	struct list *at, *tmp;
	uint8_t payload[4];

	a->draining = true;
	put_u32(payload, spread_ms);
	list_each(at, tmp, &a->tunnels) {
		struct tunnel *t = container_of(at, struct tunnel, node);

		if (!t->session) {
			drop(t, ADIT_ERR_SHUTDOWN);
		} else {
			session_control(t->session, FRAME_DRAIN, payload, sizeof(payload));
			if (!session_open(t->session))
				session_idle(t);
		}
	}
}

unsigned acceptor_links(const struct acceptor *a)
{
	return a->links;
}

unsigned acceptor_open(const struct acceptor *a)
{
	const struct list *at;
	unsigned n = 0;

	for (at = a->tunnels.next; at != &a->tunnels; at = at->next) {
		const struct tunnel *t = container_of(at, struct tunnel, node);

		n += t->session ? session_open(t->session) : 0;
	}
	return n;
}
