#include "edge/accept_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* The state that ATTACH repeats must be the one that was published: names are not changed under way. */
static bool same_names(struct tunnel *t, const struct conf_token *token, struct wire_hello *h, struct refusal *no)
{
	const char *name = t->names;

	for (size_t i = 0; i < h->tunnel_count; i++) {
		if (!acceptor_judge_name(t, token, h, &h->tunnels[i], no))
			return false;
		if (!*name || strcmp(name, h->tunnels[i].name) != 0)
			break;
		name += strlen(name) + 1;
		if (i + 1 == h->tunnel_count && !*name)
			return true;
	}
	*no = (struct refusal){400, "these are not the names of this link"};
	return false;
}

/* Without memory nobody knows, and a refusal for good would be the end of who has every right. */
static bool proves(const struct tunnel *t, const struct wire_hello *h, struct refusal *no)
{
	uint8_t id[LINK_ID_LEN], proof[SHA256_LEN];
	int err = hex_decode(t->link_id, CARRIER_LINK_ID_HEX, id, sizeof(id));

	err = err ? err : wire_proof(t->secret, id, h, proof);
	if (err)
		*no = (struct refusal){503, "out of memory"};
	else if (!digest_equal(proof, h->proof, sizeof(proof)))
		*no = (struct refusal){403, "the proof does not fit this link"};
	else
		return true;
	return false;
}

/* Who it is first, then what he asks: strangers learn nothing of epochs and offsets. */
static bool judge(struct tunnel *t, const struct tunnel *fresh, const struct conf_token *token, struct wire_hello *h,
                  struct refusal *no)
{
	if (!digest_equal(t->token, fresh->token, SHA256_LEN))
		*no = (struct refusal){403, "this link belongs to another token"};
	else if (!proves(t, h, no))
		return false;
	else if (h->epoch <= t->epoch)
		*no = (struct refusal){409, "this epoch has been used"};
	else if (!link_may_attach(session_link(t->session), h->rx_offset))
		*no = (struct refusal){400, "this offset was never sent, or is gone already"};
	else
		return same_names(t, token, h, no);
	return false;
}

static int answer(struct tunnel *t, const struct wire_hello *h)
{
	struct wire_welcome *w = calloc(1, sizeof(*w));
	size_t n = 0;
	char *json = NULL;
	int err;

	if (w) {
		w->version = WIRE_VERSION;
		memcpy(w->agent, ACCEPT_AGENT, sizeof(ACCEPT_AGENT));
		w->tunnel_count = h->tunnel_count;
		for (size_t i = 0; i < h->tunnel_count; i++) {
			w->tunnels[i] = h->tunnels[i];
			acceptor_write_url(t->acceptor, h->tunnels[i].name, w->tunnels[i].url, sizeof(w->tunnels[i].url));
		}
		w->resume_ms = t->resume_ms;
		w->epoch = t->epoch;
		w->rx_offset = link_rx_offset(session_link(t->session));
		json = wire_write_attached(w, &n);
	}
	err = json ? link_control(session_link(t->session), FRAME_ATTACHED, json, n) : ADIT_ERR_NOMEM;
	free(json);
	free(w);
	return err;
}

/* All is judged: the epoch counts from now on, the old carrier is cut and what it still held is forgotten, and only then
 * is it said what has been received. */
static void move(struct tunnel *t, struct tunnel *fresh, const struct wire_hello *h)
{
	struct acceptor *a = t->acceptor;
	struct link *link = session_link(t->session);
	bool fenced = session_attached(t->session);
	uint64_t now = loop_ms(a->loop);
	uint64_t away = timer_is_set(&t->timer) ? now - t->detached_ms : 0; /* its loss may not have been told yet */
	struct stream *s = fresh->stream;
	int err;

	t->epoch = h->epoch;
	session_detach(t->session);
	err = answer(t, h);
	if (err) {
		acceptor_refuse(fresh, 503, "out of memory");
		acceptor_session_events.detached(t, err, "");
		return;
	}
	log_event(a->o.trace, LOG_LEVEL_INFO, "attached", KV_Z("link", t->link_id), KV_U64("epoch", t->epoch),
	          KV_Z("carrier", fresh->carrier), KV_Z("from", t->carrier), KV_Z("address", fresh->stream->peer.ip),
	          KV_BOOL("fenced", fenced), KV_U64("away_ms", away), KV_U64("alive_ms", now - away - t->carrier_ms),
	          KV_U64("requests", session_open(t->session)), KV_U64("received", link_rx_offset(link)),
	          KV_U64("acked", h->rx_offset), KV_U64("sent", link_tx_offset(link)),
	          KV_U64("replayed", link_tx_offset(link) - h->rx_offset));
	log_event(a->o.log, LOG_LEVEL_INFO, "link.attached", KV_Z("link", t->link_id), KV_Z("token", t->token_name),
	          KV_Z("carrier", fresh->carrier), KV_U64("epoch", t->epoch));
	timer_clear(&t->timer);
	t->carrier = fresh->carrier;
	t->carrier_ms = now;
	fresh->stream = NULL;
	err = session_attach(t->session, s, h->rx_offset, &fresh->lead, &fresh->rest);
	acceptor_drop(fresh, 0);
	if (err) {
		acceptor_session_events.lost(t, err, "");
		return;
	}
	if (a->draining && t->session) /* a CLOSE behind the ATTACH has ended it already */
		acceptor_tell_drain(t);
	a->o.ready(a->o.owner);
}

void acceptor_attach(struct tunnel *fresh, const struct conf_token *token, const struct frame *f)
{
	struct tunnel *t = acceptor_link(fresh->acceptor, fresh->link_id);
	struct wire_hello *h = malloc(sizeof(*h));
	struct refusal no = {410, "this link is not known here"};
	struct wire_error e = {""};
	bool known = t && !session_closing(t->session);
	int err = !h ? ADIT_ERR_NOMEM : known ? wire_read_attach(f->p, f->n, h, &e) : 0;

	if (err == ADIT_ERR_NOMEM)
		acceptor_refuse(fresh, 503, "out of memory");
	else if (err)
		acceptor_refuse(fresh, 400, e.text);
	else if (!known || !judge(t, fresh, token, h, &no))
		acceptor_refuse(fresh, no.code, no.text);
	else
		move(t, fresh, h);
	free(h);
}
