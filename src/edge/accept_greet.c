#include "edge/accept_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "edge/auth.h"

/** Read at a time while a greeting is awaited. */
#define READ_BYTES 4096
/** PINGs before the greeting: adit asks once whether a carrier really carries. */
#define PINGS_MAX 4
/** Of the published names, what an event tells. */
#define NAMES_SHOWN 256

static void send_lead(struct tunnel *t)
{
	struct iovec iov[4];

	while (t->lead.len) {
		ssize_t n = stream_write(t->stream, iov, buf_iov(&t->lead, iov, 4));

		if (n < 0)
			acceptor_drop(t, ADIT_ERR_RESET);
		if (n <= 0)
			return;
		buf_drop(&t->lead, (size_t)n);
	}
	if (t->closing)
		stream_finish(t->stream);
}

void acceptor_refuse(struct tunnel *t, uint16_t code, const char *reason)
{
	uint8_t payload[2 + FRAME_REASON_MAX], header[FRAME_HEADER_LEN];
	size_t n = wire_write_close(code, reason, payload, sizeof(payload));

	log_event(t->acceptor->o.log, LOG_LEVEL_WARN, "link.refused", KV_Z("link", t->link_id), KV_Z("token", t->token_name),
	          KV_Z("address", t->stream->peer.ip), KV_U64("code", code), KV_Z("reason", reason));
	log_event(t->acceptor->o.trace, LOG_LEVEL_INFO, "refused", KV_Z("link", t->link_id), KV_U64("code", code),
	          KV_Z("detail", reason), KV_Z("carrier", t->carrier), KV_Z("address", t->stream->peer.ip),
	          KV_Z("token", t->token_name));
	frame_header(header, FRAME_CLOSE, n);
	t->closing = true;
	timer_set(&t->timer, ACCEPT_CLOSE_MS);
	stream_pause(t->stream, false); /* it goes as soon as the other side closes: till then it counts as a link */
	if (buf_add(&t->lead, header, sizeof(header)) < 0 || buf_add(&t->lead, payload, n) < 0)
		acceptor_drop(t, ADIT_ERR_NOMEM);
	else
		send_lead(t);
}

/* Where a name is published: NAME in the template; a custom domain stands by itself. */
void acceptor_write_url(const struct acceptor *a, const char *name, char *out, size_t cap)
{
	const char *template = a->o.published, *at = strstr(template, "NAME"), *scheme_end = strstr(template, "://");
	uint16_t number;

	if (conf_port_of_name(name, &number)) {
		snprintf(out, cap, "tcp://%s:%u", a->o.conf->domain, (unsigned)number);
	} else if (strchr(name, '.') && scheme_end) {
		const char *port = strrchr(scheme_end + 3, ':');

		snprintf(out, cap, "%.*s%s%s", (int)(scheme_end + 3 - template), template, name, port ? port : "");
	} else if (at) {
		snprintf(out, cap, "%.*s%s%s", (int)(at - template), template, name, at + 4);
	} else {
		snprintf(out, cap, "%s", template);
	}
}

/* ---- HELLO */

bool acceptor_judge_name(struct tunnel *t, const struct conf_token *token, const struct wire_hello *h,
                         struct wire_tunnel *w, struct refusal *no)
{
	uint16_t number;

	if (!w->name[0])
		return wire_random_name(w->label, t->token, h->client_key, w->name) == 0;
	if (auth_name(token, w->name))
		return true;
	no->code = 403;
	if (conf_port_of_name(w->name, &number) && number)
		snprintf(no->text, sizeof(no->text), "the token \"%s\" may not publish port %u", token->name, (unsigned)number);
	else if (conf_port_of_name(w->name, &number))
		snprintf(no->text, sizeof(no->text), "the token \"%s\" may not publish any port", token->name);
	else
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

static bool publish_name(struct tunnel *t, const char *name, struct refusal *no)
{
	struct acceptor *a = t->acceptor;
	int err = registry_add(a->o.registry, name, t->token, t->session);

	if (err == ADIT_ERR_LIMIT && acceptor_make_room(a, t->token, name))
		err = registry_add(a->o.registry, name, t->token, t->session);
	if (!err)
		return true;
	no->code = err == ADIT_ERR_CONFLICT ? 409 : 503;
	if (err == ADIT_ERR_CONFLICT)
		snprintf(no->text, sizeof(no->text), "the name \"%s\" is taken by another token", name);
	else
		snprintf(no->text, sizeof(no->text), "the name \"%s\" is shared by %d links already", name, REGISTRY_SHARE_MAX);
	return false;
}

/* Which port, when any will do: the same adit gets the same one again, if that is free. */
static uint32_t port_seed(const struct tunnel *t, const struct wire_hello *h, const char *label)
{
	char name[HANDSHAKE_NAME_MAX + 1];
	uint32_t seed = 0;

	if (wire_random_name(label, t->token, h->client_key, name) == 0)
		for (const char *p = name; *p; p++)
			seed = seed * 31 + (uint8_t)*p;
	return seed;
}

static bool port_refused(uint16_t number, int err, struct refusal *no)
{
	char which[sizeof("port 65535")] = "a port";

	if (number)
		snprintf(which, sizeof(which), "port %u", (unsigned)number);
	no->code = err == ADIT_ERR_CONFLICT ? 409 : err == ADIT_ERR_FORBIDDEN ? 403 : 503;
	if (err == ADIT_ERR_CONFLICT && number)
		snprintf(no->text, sizeof(no->text), "%s of the server is in use by something else", which);
	else if (err == ADIT_ERR_CONFLICT)
		snprintf(no->text, sizeof(no->text), "all ports that the token may publish are in use");
	else if (err == ADIT_ERR_FORBIDDEN)
		snprintf(no->text, sizeof(no->text), "the server's system does not let aditd listen at %s", which);
	else
		snprintf(no->text, sizeof(no->text), "the server cannot listen at %s: %s", which, err_text(err));
	return false;
}

/* Opens the port of that name, after the registry has said whose it is; a name for any port becomes one for that. */
static bool publish_port(struct tunnel *t, const struct conf_token *token, const struct wire_hello *h,
                         struct wire_tunnel *w, struct refusal *no)
{
	struct ports *ports = t->acceptor->o.ports;
	uint16_t wanted, number;
	int err;

	if (!conf_port_of_name(w->name, &wanted))
		return publish_name(t, w->name, no);
	if (wanted) {
		if (!publish_name(t, w->name, no))
			return false;
		err = ports_open(ports, wanted, t->session);
		return !err || port_refused(wanted, err, no);
	}
	err = ports_open_any(ports, token, port_seed(t, h, w->label), t->session, &number);
	if (err)
		return port_refused(0, err, no);
	conf_port_name(number, w->name);
	return publish_name(t, w->name, no);
}

static bool publish(struct tunnel *t, const struct conf_token *token, const struct wire_hello *h, struct wire_welcome *w,
                    struct refusal *no)
{
	for (size_t i = 0; i < w->tunnel_count; i++) {
		if (!publish_port(t, token, h, &w->tunnels[i], no))
			return false;
		acceptor_write_url(t->acceptor, w->tunnels[i].name, w->tunnels[i].url, sizeof(w->tunnels[i].url));
	}
	return true;
}

static int send_welcome(struct tunnel *t, struct wire_welcome *w)
{
	size_t n;
	char *json;
	int err;

	w->version = WIRE_VERSION;
	snprintf(w->agent, sizeof(w->agent), "%s", ACCEPT_AGENT);
	w->resume_ms = t->resume_ms = t->acceptor->o.conf->resume_seconds * 1000u;
	random_bytes(t->secret, sizeof(t->secret));
	memcpy(w->secret, t->secret, sizeof(w->secret));
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
	char names[NAMES_SHOWN] = "";
	size_t n = 0;

	for (size_t i = 0; i < w->tunnel_count && n < sizeof(names); i++)
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", i ? " " : "", w->tunnels[i].name);
	for (size_t i = 0; i < w->tunnel_count; i++)
		log_event(t->acceptor->o.log, LOG_LEVEL_INFO, "link.up", KV_Z("name", w->tunnels[i].name),
		          KV_Z("url", w->tunnels[i].url), KV_Z("link", t->link_id), KV_Z("token", t->token_name),
		          KV_Z("agent", h->agent));
	log_event(t->acceptor->o.trace, LOG_LEVEL_INFO, "welcome", KV_Z("link", t->link_id), KV_Z("carrier", t->carrier),
	          KV_Z("names", names), KV_U64("resume_ms", t->resume_ms), KV_Z("agent", h->agent),
	          KV_Z("address", t->stream->peer.ip), KV_Z("token", t->token_name));
}

static void welcome(struct tunnel *t, const struct conf_token *token, const struct wire_hello *h, struct wire_welcome *w)
{
	const struct session_options o = {
		.role = H2_ASKING, .budget = t->acceptor->o.budget, .events = &acceptor_session_events, .owner = t,
		.heartbeat_ms = t->acceptor->o.conf->heartbeat_seconds * 1000u,
	};
	struct acceptor *a = t->acceptor;
	struct refusal no = {503, "out of memory"};
	struct stream *s = t->stream;
	bool ok = true;

	for (size_t i = 0; ok && i < h->tunnel_count; i++) {
		w->tunnels[i] = h->tunnels[i];
		ok = acceptor_judge_name(t, token, h, &w->tunnels[i], &no);
	}
	w->tunnel_count = h->tunnel_count;
	if (ok)
		t->session = session_new(t->acceptor->loop, &o);
	ok = ok && t->session && publish(t, token, h, w, &no) && keep_names(t, w) == 0 && send_welcome(t, w) == 0;
	if (!ok) {
		if (t->session)
			acceptor_unpublish(t);
		session_free(&t->session, ADIT_ERR_LINK_LOST);
		acceptor_refuse(t, no.code, no.text);
		return;
	}
	timer_clear(&t->timer);
	log_up(t, h, w);
	t->carrier_ms = loop_ms(a->loop);
	t->stream = NULL;
	session_resumable(t->session, t->resume_ms > 0);
	if (session_attach(t->session, s, 0, &t->lead, &t->rest) < 0)
		acceptor_drop(t, ADIT_ERR_NOMEM);
	else
		a->o.ready(a->o.owner);
}

static void hello(struct tunnel *t, const struct conf_token *token, const struct frame *f)
{
	struct wire_hello *h = malloc(sizeof(*h));
	struct wire_welcome *w = calloc(1, sizeof(*w));
	struct wire_error e = {""};
	int err = h && w ? wire_read_hello(f->p, f->n, h, &e) : ADIT_ERR_NOMEM;

	if (err == ADIT_ERR_NOMEM)
		acceptor_refuse(t, 503, "out of memory");
	else if (err)
		acceptor_refuse(t, 400, e.text);
	else
		welcome(t, token, h, w);
	if (w)
		secret_wipe(w, sizeof(*w));
	free(w);
	free(h);
}

/* HELLO never replaces a link (design §4): whoever knows an id, which is no secret, could end it. */
static void judge(struct tunnel *t, const struct frame *f)
{
	const struct conf_token *token = acceptor_token(t->acceptor, t->token);

	if (!token)
		acceptor_refuse(t, 403, "the token was revoked");
	else if (f->type == FRAME_ATTACH)
		acceptor_attach(t, token, f);
	else if (f->type != FRAME_HELLO)
		acceptor_refuse(t, 400, "the first frame must be HELLO or ATTACH");
	else if (acceptor_link(t->acceptor, t->link_id))
		acceptor_refuse(t, 409, "a link with this id exists");
	else
		hello(t, token, f);
}

/* ---- reading a greeting */

/* adit asks whether this carrier carries at all, before it leaves the one that it has. */
static void pong(struct tunnel *t, const struct frame *f)
{
	uint8_t header[FRAME_HEADER_LEN];

	frame_header(header, FRAME_PONG, f->n);
	if (++t->pings > PINGS_MAX)
		acceptor_refuse(t, 400, "too many PINGs before the greeting");
	else if (buf_add(&t->lead, header, sizeof(header)) < 0 || buf_add(&t->lead, f->p, f->n) < 0)
		acceptor_drop(t, ADIT_ERR_NOMEM);
	else
		send_lead(t);
}

static void on_bytes(struct tunnel *t, const uint8_t *p, size_t n)
{
	struct frame f;
	size_t used = 0;
	int got = frame_parse(&t->parser, p, n, &used, &f);

	while (got > 0 && f.type == FRAME_PING && !t->closing) {
		pong(t, &f);
		if (!t->stream)
			return;
		p += used;
		n -= used;
		got = frame_parse(&t->parser, p, n, &used, &f);
	}
	if (got == 0 || t->closing)
		return;
	if (got < 0) {
		acceptor_refuse(t, 400, "not a link frame");
		return;
	}
	stream_pause(t->stream, true);
	if (buf_add(&t->rest, p + used, n - used) < 0)
		acceptor_drop(t, ADIT_ERR_NOMEM);
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
		acceptor_drop(t, (int)n);
}

static void on_writable(void *owner)
{
	send_lead(owner);
}

static const struct stream_handler handler = {on_readable, on_writable};

static void on_timeout(void *arg)
{
	struct tunnel *t = arg;

	if (t->session) {
		acceptor_on_detached_timer(t);
		return;
	}
	if (!t->closing) {
		log_event(t->acceptor->o.log, LOG_LEVEL_WARN, "link.silent", KV_Z("link", t->link_id), KV_Z("token", t->token_name));
		log_event(t->acceptor->o.trace, LOG_LEVEL_INFO, "silent", KV_Z("link", t->link_id),
		          KV_Z("carrier", t->carrier), KV_Z("address", t->stream->peer.ip), KV_Z("token", t->token_name));
	}
	acceptor_drop(t, ADIT_ERR_TIMEOUT);
}

void acceptor_take(struct acceptor *a, struct stream *s, struct buf *lead, struct buf *rest, const char *link_id,
                   const uint8_t token[SHA256_LEN], const char *carrier)
{
	const struct conf_token *entry = acceptor_token(a, token);
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
	t->free = (struct task){.run = acceptor_release, .arg = t};
	t->carrier = carrier;
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
		acceptor_refuse(t, 400, "bytes came before the 101");
}

