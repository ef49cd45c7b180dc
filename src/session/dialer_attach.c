#include "session/dialer_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* ---- attaching to another carrier */

int dialer_keep_names(struct dialer *d, const struct wire_welcome *w)
{
	if (w->tunnel_count != d->o.hello->tunnel_count)
		return ADIT_ERR_PROTO;
	if (!d->given && !(d->given = calloc(w->tunnel_count, sizeof(*d->given))))
		return ADIT_ERR_NOMEM;
	for (size_t i = 0; i < w->tunnel_count; i++)
		memcpy(d->given[i], w->tunnels[i].name, sizeof(d->given[i]));
	return 0;
}

/* HELLO's, but for those that the server chose: a port. (A random name is asked for again, and comes out the same.) */
static void name_tunnels(const struct dialer *d, struct wire_hello *h)
{
	for (size_t i = 0; i < h->tunnel_count; i++)
		if (h->tunnels[i].name[0])
			memcpy(h->tunnels[i].name, d->given[i], sizeof(d->given[i]));
}

/* What has been received must not change any more: first the old carrier is not read, then the offset is told. */
static void attach(struct dialer *d)
{
	struct wire_hello *h = malloc(sizeof(*h));
	char *json = NULL;
	size_t n = 0;

	session_pause(d->session, true);
	if (h) {
		*h = *d->o.hello;
		name_tunnels(d, h);
		h->epoch = ++d->epoch;
		h->rx_offset = link_rx_offset(session_link(d->session));
		if (wire_proof(d->secret, d->id, h, h->proof) == 0)
			json = wire_write_attach(h, &n);
		log_event(d->o.trace, LOG_LEVEL_INFO, "attach", KV_Z("link", d->link_id), KV_U64("epoch", h->epoch),
		          KV_Z("carrier", ladder_name(d->next_carrier)), KV_U64("received", h->rx_offset));
	}
	if (json)
		knock_say(d->knock, FRAME_ATTACH, json, n);
	else
		dialer_attempt_failed(d, ADIT_ERR_NOMEM, "", 0);
	free(json);
	free(h);
}

/* Where the link runs from now on, and what that says about the carriers. */
static void settle_on(struct dialer *d, unsigned from)
{
	if (d->carrier > from && climb_fell(&d->climb, loop_ms(d->loop)))
		log_event(d->o.trace, LOG_LEVEL_INFO, "flaps", KV_Z("link", d->link_id), KV_Z("carrier", ladder_name(from)));
	else if (d->carrier < from)
		climb_done(&d->climb);
	dialer_remember(d);
	dialer_plan_climb(d);
}

static void switch_carrier(struct dialer *d, const struct wire_welcome *w)
{
	struct link *link = session_link(d->session);
	uint64_t away = d->state == DIALER_DETACHED ? loop_ms(d->loop) - d->detached_ms : 0;
	unsigned from = d->carrier;
	struct buf rest = BUF_INIT;
	struct stream *s;
	int err;

	if (d->aim == AIM_SUSPECT)
		link_suspicion_was(link, !session_has_unread(d->session));
	log_event(d->o.trace, LOG_LEVEL_INFO, "attached", KV_Z("link", d->link_id), KV_U64("epoch", d->epoch),
	          KV_Z("carrier", ladder_name(d->next_carrier)), KV_Z("from", ladder_name(from)), KV_U64("away_ms", away),
	          KV_U64("alive_ms", loop_ms(d->loop) - away - d->carrier_ms),
	          KV_U64("requests", session_open(d->session)), KV_U64("acked", w->rx_offset), KV_U64("sent", link_tx_offset(link)),
	          KV_U64("replayed", link_tx_offset(link) - w->rx_offset));
	s = knock_yield(&d->knock, &rest);
	dialer_drop_attempt(d);
	session_detach(d->session);
	d->carrier = d->next_carrier;
	d->carrier_ms = loop_ms(d->loop);
	snprintf(d->why, sizeof(d->why), "%s", d->next_why);
	backoff_reset(&d->backoff);
	dialer_go(d, DIALER_UP);
	settle_on(d, from);
	/* last, for what came behind ATTACHED is taken at once: it may be a CLOSE, and the session gone after it */
	err = session_attach(d->session, s, w->rx_offset, NULL, &rest);
	buf_clear(&rest);
	if (err) {
		dialer_again(d, err, "", 0);
	} else if (d->session) {
		/* should it have died meanwhile, the far end waits for us, and no longer than resume_ms */
		link_ping(session_link(d->session), loop_ms(d->loop));
		d->o.events->moved(d->o.owner, ladder_name(d->carrier), d->why, away);
	}
}

static void take_attached(struct dialer *d, const struct frame *f)
{
	struct wire_welcome *w = malloc(sizeof(*w));
	struct wire_error e = {"out of memory"};
	int err = w ? wire_read_attached(f->p, f->n, w, &e) : ADIT_ERR_NOMEM;

	if (err)
		dialer_attempt_failed(d, err, e.text, 0);
	else if (w->epoch != d->epoch)
		dialer_attempt_failed(d, ADIT_ERR_PROTO, "the server attached another epoch", 0);
	else if (!link_may_attach(session_link(d->session), w->rx_offset))
		dialer_again(d, ADIT_ERR_PROTO, "the server has received what was never sent", 0);
	else
		switch_carrier(d, w);
	free(w);
}

static void attach_refused(struct dialer *d, const struct frame *f)
{
	char reason[FRAME_REASON_MAX + 1] = "";
	uint16_t code = 0;

	wire_read_close(f->p, f->n, &code, reason, sizeof(reason));
	log_event(d->o.trace, LOG_LEVEL_INFO, "close", KV_Z("link", d->link_id), KV_U64("code", code),
	          KV_Z("detail", reason));
	if (code == 403) {
		dialer_refuse(d, ADIT_ERR_FORBIDDEN, reason);
	} else if (code == 409 || code == 429 || code == 503) { /* 409: an epoch that came late; the next is higher */
		dialer_attempt_failed(d, ADIT_ERR_CONFLICT, reason, 0);
	} else if (code == 410 && d->state == DIALER_UP && session_attached(d->session)) {
		/* it was another server that answered, the successor of the one that still carries this link */
		dialer_leave(d);
	} else {
		backoff_reset(&d->backoff);
		dialer_again(d, ADIT_ERR_GONE, reason, 0);
	}
}

static void on_knocked(void *arg, const struct frame *f, int err, const char *detail)
{
	struct dialer *d = arg;

	if (!f)
		dialer_attempt_failed(d, err, detail, 0);
	else if (f->type == FRAME_PONG)
		attach(d);
	else if (f->type == FRAME_ATTACHED)
		take_attached(d, f);
	else if (f->type == FRAME_CLOSE)
		attach_refused(d, f);
	else
		dialer_attempt_failed(d, ADIT_ERR_PROTO, "neither ATTACHED nor CLOSE", 0);
}

/* A carrier stands to which the link may move. One that is better only in name is not worth the move: it has to carry a
 * frame there and back first. When the old one does not carry any more there is no time for that. */
void dialer_knock_on(struct dialer *d, struct stream *carrier, struct buf *rest)
{
	static const uint8_t number[8];

	d->knock = knock_new(d->loop, carrier, rest, on_knocked, d);
	if (!d->knock)
		dialer_attempt_failed(d, ADIT_ERR_NOMEM, "", 0);
	else if (d->aim == AIM_CLIMB || d->aim == AIM_MOVE)
		knock_say(d->knock, FRAME_PING, number, sizeof(number));
	else
		attach(d);
}

