#include "edge/accept_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "edge/auth.h"

void acceptor_release(void *arg)
{
	struct tunnel *t = arg;

	frame_parser_clear(&t->parser);
	buf_clear(&t->lead);
	buf_clear(&t->rest);
	secret_wipe(t->secret, sizeof(t->secret));
	free(t->names);
	free(t->token_name);
	free(t);
}

void acceptor_unpublish(struct tunnel *t)
{
	registry_remove(t->acceptor->o.registry, t->session);
	ports_leave(t->acceptor->o.ports, t->session);
}

void acceptor_drop(struct tunnel *t, int err)
{
	struct acceptor *a = t->acceptor;

	list_remove(&t->node);
	timer_stop(&t->timer);
	stream_free(&t->stream);
	if (t->session) {
		acceptor_unpublish(t);
		session_free(&t->session, err);
	}
	task_post_free(a->loop, &t->free);
	if (--a->links == 0 && a->draining)
		a->o.empty(a->o.owner);
}

/* ---- a link */

/* It is over, and the log says why. */
static void end_link(struct tunnel *t, int err, const char *detail)
{
	const struct link *link = session_link(t->session);

	log_event(t->acceptor->o.log, LOG_LEVEL_INFO, "link.down", KV_Z("link", t->link_id), KV_Z("token", t->token_name),
	          KV_Z("reason", err_text(err)), KV_Z("detail", detail));
	log_event(t->acceptor->o.trace, LOG_LEVEL_INFO, "lost", KV_Z("link", t->link_id), KV_U64("epoch", t->epoch),
	          KV_Z("reason", err_name(err)), KV_Z("detail", detail), KV_U64("received", link_rx_offset(link)),
	          KV_U64("sent", link_tx_offset(link)), KV_U64("acked", link_acked(link)),
	          KV_U64("requests", session_open(t->session)));
	acceptor_drop(t, ADIT_ERR_LINK_LOST);
}

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
	log_event(t->acceptor->o.trace, LOG_LEVEL_INFO, "close", KV_Z("link", t->link_id), KV_U64("code", code),
	          KV_Z("detail", reason), KV_U64("requests", session_open(t->session)));
	acceptor_drop(t, ADIT_ERR_LINK_LOST);
}

static void session_lost(void *owner, int err, const char *detail)
{
	end_link(owner, err, detail);
}

/* One token must not fill the process with links that nobody resumes: the one that waits longest goes. */
static void limit_detached(struct acceptor *a, const uint8_t token[SHA256_LEN])
{
	struct tunnel *oldest = NULL;
	unsigned n = 0;

	for (const struct list *at = a->tunnels.next; at != &a->tunnels; at = at->next) {
		struct tunnel *t = container_of(at, struct tunnel, node);

		if (!t->session || session_attached(t->session) || !digest_equal(t->token, token, SHA256_LEN))
			continue;
		n++;
		if (!oldest || t->detached_ms < oldest->detached_ms)
			oldest = t;
	}
	if (n > ACCEPT_DETACHED_PER_TOKEN)
		end_link(oldest, ADIT_ERR_LIMIT, "too many detached links of this token");
}

static void session_detached(void *owner, int err, const char *detail)
{
	struct tunnel *t = owner;
	struct acceptor *a = t->acceptor;
	struct link *link = session_link(t->session);

	t->detached_ms = loop_ms(a->loop);
	t->strayed = false;
	log_event(a->o.log, LOG_LEVEL_INFO, "link.detached", KV_Z("link", t->link_id), KV_Z("token", t->token_name),
	          KV_Z("reason", err_text(err)), KV_Z("detail", detail));
	log_event(a->o.trace, LOG_LEVEL_INFO, "detached", KV_Z("link", t->link_id), KV_U64("epoch", t->epoch),
	          KV_Z("carrier", t->carrier), KV_Z("reason", err_name(err)), KV_Z("detail", detail),
	          KV_U64("alive_ms", t->detached_ms - t->carrier_ms),
	          KV_U64("silent_ms", t->detached_ms - link_last_rx_ms(link)),
	          KV_U64("received", link_rx_offset(link)), KV_U64("sent", link_tx_offset(link)),
	          KV_U64("acked", link_acked(link)), KV_U64("requests", session_open(t->session)));
	if (a->draining && !session_open(t->session)) {
		end_link(t, ADIT_ERR_SHUTDOWN, "");
		return;
	}
	timer_set(&t->timer, t->resume_ms < ACCEPT_STRAY_MS ? t->resume_ms : ACCEPT_STRAY_MS);
	limit_detached(a, t->token);
}

/* First its requests may go to other links, then it is given up. */
void acceptor_on_detached_timer(struct tunnel *t)
{
	struct acceptor *a = t->acceptor;
	uint64_t away = loop_ms(a->loop) - t->detached_ms;

	if (away >= t->resume_ms) {
		end_link(t, ADIT_ERR_LINK_LOST, "nobody resumed it in time");
		return;
	}
	timer_set(&t->timer, t->resume_ms - away);
	if (!t->strayed) {
		t->strayed = true;
		a->o.strayed(a->o.owner, t->session);
	}
}

static void session_doubted(void *owner, bool suspect)
{
	struct tunnel *t = owner;
	struct link *link = session_link(t->session);

	log_event(t->acceptor->o.trace, LOG_LEVEL_INFO, suspect ? "suspect" : "trusted", KV_Z("link", t->link_id),
	          KV_Z("carrier", t->carrier), KV_U64("silent_ms", loop_ms(t->acceptor->loop) - link_last_rx_ms(link)),
	          KV_US("rtt_ms", link_srtt_us(link)), KV_U64("pings", link_pings_waiting(link)),
	          KV_U64("sent", link_tx_offset(link)), KV_U64("acked", link_acked(link)),
	          KV_U64("requests", session_open(t->session)));
}

static void session_idle(void *owner)
{
	struct tunnel *t = owner;

	if (t->acceptor->finishing)
		session_close(t->session, 503, "the tunnel server is shutting down", ADIT_ERR_SHUTDOWN);
	else if (session_left(t->session))
		session_close(t->session, 503, "adit has said that it is leaving", ADIT_ERR_SHUTDOWN);
	else if (session_leaving(t->session))
		session_close(t->session, 503, "the session's streams are used up", ADIT_ERR_LIMIT);
}

const struct session_events acceptor_session_events = {
	NULL, session_told, session_detached, session_doubted, NULL, session_lost, session_idle,
};

struct tunnel *acceptor_link(const struct acceptor *a, const char *link_id)
{
	for (const struct list *at = a->tunnels.next; at != &a->tunnels; at = at->next) {
		struct tunnel *t = container_of(at, struct tunnel, node);

		if (t->session && strcmp(t->link_id, link_id) == 0)
			return t;
	}
	return NULL;
}

bool acceptor_knows(const struct acceptor *a, const char *link_id)
{
	return acceptor_link(a, link_id) != NULL;
}

const struct conf_token *acceptor_token(const struct acceptor *a, const uint8_t hash[SHA256_LEN])
{
	const struct conf_server *c = a->o.conf;

	for (size_t i = 0; i < c->token_count; i++)
		if (digest_equal(c->tokens[i].sha256, hash, SHA256_LEN))
			return &c->tokens[i];
	return NULL;
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
		acceptor_drop(container_of(a->tunnels.next, struct tunnel, node), ADIT_ERR_SHUTDOWN);
	free(a);
}

/* A published name that may not be claimed any more; NULL when there is none. Random ones are their token's. */
static const char *lost_name(const struct tunnel *t, const struct conf_token *token)
{
	for (const char *name = t->names; name && *name; name += strlen(name) + 1)
		if (!str_starts(str_of(name), STR("r-")) && !auth_name(token, name))
			return name;
	return NULL;
}

/* After a new conf: a link whose token is gone, or lost one of its names, is told so and ends. */
static void judge_again(struct tunnel *t)
{
	const struct conf_token *token = acceptor_token(t->acceptor, t->token);
	const char *lost = token ? lost_name(t, token) : NULL;
	char reason[FRAME_REASON_MAX] = "the token was revoked";

	if (token && !lost)
		return;
	if (lost)
		snprintf(reason, sizeof(reason), "the token \"%s\" may no longer publish \"%s\"", token->name, lost);
	if (t->session)
		session_close(t->session, 403, reason, ADIT_ERR_FORBIDDEN);
	else if (!t->closing)
		acceptor_refuse(t, 403, reason);
}

void acceptor_set_conf(struct acceptor *a, const struct conf_server *conf, const char *published)
{
	struct list *at, *tmp;

	a->o.conf = conf;
	a->o.published = published;
	list_each(at, tmp, &a->tunnels)
		judge_again(container_of(at, struct tunnel, node));
}

bool acceptor_has_room(const struct acceptor *a, const struct conf_token *token, const char *link_id)
{
	const struct list *at;
	const struct tunnel *known = acceptor_link(a, link_id);
	bool beside = known && digest_equal(known->token, token->sha256, SHA256_LEN);
	unsigned n = 0;

	for (at = a->tunnels.next; at != &a->tunnels; at = at->next)
		n += digest_equal(container_of(at, struct tunnel, node)->token, token->sha256, SHA256_LEN);
	return n < ACCEPT_LINKS_PER_TOKEN + (beside ? ACCEPT_BESIDE_PER_TOKEN : 0);
}

static bool has_name(const struct tunnel *t, const char *wanted)
{
	for (const char *name = t->names; name && *name; name += strlen(name) + 1)
		if (strcmp(name, wanted) == 0)
			return true;
	return false;
}

bool acceptor_make_room(struct acceptor *a, const uint8_t token[SHA256_LEN], const char *name)
{
	struct tunnel *oldest = NULL;

	for (struct list *at = a->tunnels.next; at != &a->tunnels; at = at->next) {
		struct tunnel *t = container_of(at, struct tunnel, node);

		if (!t->session || session_attached(t->session) || !t->strayed || !digest_equal(t->token, token, SHA256_LEN))
			continue;
		if ((!oldest || t->detached_ms < oldest->detached_ms) && has_name(t, name))
			oldest = t;
	}
	if (oldest)
		end_link(oldest, ADIT_ERR_LIMIT, "another link needs its place");
	return oldest != NULL;
}

void acceptor_tell_drain(struct tunnel *t)
{
	uint8_t payload[4];

	put_u32(payload, t->acceptor->spread_ms);
	session_control(t->session, FRAME_DRAIN, payload, sizeof(payload));
}

void acceptor_drain(struct acceptor *a, uint32_t spread_ms)
{
	struct list *at, *tmp;

	a->draining = true;
	a->spread_ms = spread_ms;
	log_event(a->o.trace, LOG_LEVEL_INFO, "drain", KV_U64("spread_ms", spread_ms), KV_U64("links", a->links),
	          KV_U64("requests", acceptor_open(a)));
	list_each(at, tmp, &a->tunnels) {
		struct tunnel *t = container_of(at, struct tunnel, node);

		if (!t->session) {
			acceptor_drop(t, ADIT_ERR_SHUTDOWN);
		} else if (!session_attached(t->session) && !session_open(t->session)) {
			end_link(t, ADIT_ERR_SHUTDOWN, "");
		} else if (session_attached(t->session)) {
			acceptor_tell_drain(t);
		}
	}
}

void acceptor_finish(struct acceptor *a)
{
	struct list *at, *tmp;

	a->finishing = true;
	list_each(at, tmp, &a->tunnels) {
		struct tunnel *t = container_of(at, struct tunnel, node);

		if (t->session && !session_open(t->session))
			session_idle(t);
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
