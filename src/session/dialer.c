#include "session/dialer.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"
#include "session/backoff.h"
#include "session/worked.h"

/** Climbs that fail in a row before what worked is forgotten. */
#define FORGET_AFTER 3

enum dialer_state { DIALER_IDLE, DIALER_CLIMBING, DIALER_GREETING, DIALER_UP, DIALER_WAITING, DIALER_REFUSED };

static const char *const state_names[] = {"idle", "climbing", "greeting", "up", "waiting", "refused"};

struct dialer {
	struct loop *loop;
	struct dialer_options o;
	enum dialer_state state;
	struct ladder *ladder;
	struct session *session;
	unsigned carrier;  /* the one that the session runs on, LADDER_* */
	char why[LADDER_WHY_MAX]; /* and why not a better one */
	struct timer timer; /* the next attempt, or the greeting's budget */
	struct backoff backoff;
	char link_id[CARRIER_LINK_ID_HEX + 1];
	char host_field[CARRIER_HOST_MAX];
	struct worked worked;     /* what is known of this server */
	unsigned failures;        /* climbs in a row */
	char worked_key[WORKED_KEY_MAX];
	bool draining;
};

static uint64_t wall_s(void)
{
	return clock_wall_us() / 1000000;
}

static void go(struct dialer *d, enum dialer_state to)
{
	d->state = to;
	log_event(d->o.trace, LOG_LEVEL_INFO, "dialer", KV_Z("state", state_names[to]), KV_Z("link", d->link_id));
}

static void drop_attempt(struct dialer *d)
{
	ladder_cancel(&d->ladder);
	session_free(&d->session, ADIT_ERR_LINK_LOST);
	timer_clear(&d->timer);
}

/* ---- what worked before */

/* The time stays that of the first success: after a day the climb begins at its foot again. Of direct, where every climb
 * begins, nothing needs to be known. */
static void remember(struct dialer *d)
{
	unsigned carrier = d->carrier == LADDER_DIRECT ? 0 : d->carrier;

	d->failures = 0;
	if (carrier == d->worked.carrier && (!carrier || worked_holds(&d->worked, wall_s())))
		return;
	d->worked = (struct worked){carrier, wall_s()};
	worked_keep(d->o.state_dir, d->worked_key, &d->worked, wall_s());
}

static void count_failure(struct dialer *d)
{
	if (!d->worked.carrier || ++d->failures < FORGET_AFTER)
		return;
	d->worked = (struct worked){0, 0};
	worked_keep(d->o.state_dir, d->worked_key, &d->worked, wall_s());
}

/* ---- states */

/* It did not work, or works no longer: again, after a while. */
static void again(struct dialer *d, int err, const char *detail, unsigned retry_after_s)
{
	uint32_t wait = (uint32_t)random_below(backoff_next(&d->backoff, loop_ms(d->loop)) + 1u);

	if (d->state != DIALER_UP)
		count_failure(d);
	drop_attempt(d);
	if (retry_after_s * 1000 > wait)
		wait = retry_after_s * 1000 < BACKOFF_MAX_MS ? retry_after_s * 1000 : BACKOFF_MAX_MS;
	go(d, DIALER_WAITING);
	log_event(d->o.trace, LOG_LEVEL_INFO, "wait", KV_Z("link", d->link_id), KV_Z("reason", err_name(err)),
	          KV_Z("detail", detail), KV_U64("ms", wait));
	timer_set(&d->timer, wait);
	if (!d->draining) /* then it is what was wanted */
		d->o.events->down(d->o.owner, err, *detail ? detail : err_text(err), wait);
}

static void refuse(struct dialer *d, int err, const char *reason)
{
	drop_attempt(d);
	go(d, DIALER_REFUSED);
	d->o.events->refused(d->o.owner, err, *reason ? reason : err_text(err));
}

/* ---- greeting, and the session's life */

static void session_request(void *owner, struct h2_stream *s, const struct head *h, bool bodyless)
{
	struct dialer *d = owner;

	d->o.events->request(d->o.owner, s, h, bodyless);
}

static void take_welcome(struct dialer *d, const uint8_t *p, size_t n)
{
	struct wire_welcome *w = malloc(sizeof(*w));
	struct wire_error e;
	int err = w ? wire_read_welcome(p, n, w, &e) : ADIT_ERR_NOMEM;

	if (err) {
		session_close(d->session, 400, w ? e.text : "out of memory", err);
	} else {
		timer_clear(&d->timer);
		backoff_reset(&d->backoff);
		remember(d);
		go(d, DIALER_UP);
		link_ping(session_link(d->session), loop_ms(d->loop));
		d->o.events->published(d->o.owner, w, ladder_name(d->carrier), d->why);
	}
	if (w)
		secret_wipe(w, sizeof(*w));
	free(w);
}

static void take_close(struct dialer *d, const uint8_t *p, size_t n)
{
	char reason[FRAME_REASON_MAX + 1] = "";
	uint16_t code = 0;

	wire_read_close(p, n, &code, reason, sizeof(reason));
	log_event(d->o.trace, LOG_LEVEL_INFO, "close", KV_Z("link", d->link_id), KV_U64("code", code),
	          KV_Z("reason", reason));
	if (code == 403)
		refuse(d, ADIT_ERR_FORBIDDEN, reason);
	else if (code == 409)
		refuse(d, ADIT_ERR_CONFLICT, reason);
	else
		again(d, ADIT_ERR_LINK_LOST, reason, 0);
}

static void session_told(void *owner, enum frame_type type, const uint8_t *p, size_t n)
{
	struct dialer *d = owner;

	if (type == FRAME_WELCOME && d->state == DIALER_GREETING)
		take_welcome(d, p, n);
	else if (type == FRAME_CLOSE)
		take_close(d, p, n);
	else if (type != FRAME_DRAIN) /* DRAIN only hints that the server will go: the loss itself is acted on */
		session_close(d->session, 400, "unexpected control frame", ADIT_ERR_PROTO);
}

static void session_lost(void *owner, int err, const char *detail)
{
	again(owner, err, detail, 0);
}

static const struct session_events session_events = {session_request, session_told, session_lost, NULL};

static void greet(struct dialer *d, struct stream *carrier, struct buf *rest)
{
	const struct session_options o = {
		.role = H2_ANSWERING, .budget = d->o.budget, .heartbeat_ms = d->o.heartbeat_ms, .events = &session_events, .owner = d,
	};
	size_t n;
	char *hello = wire_write_hello(d->o.hello, &n);
	int err = ADIT_ERR_NOMEM;

	d->session = hello ? session_new(d->loop, &o) : NULL;
	if (d->session)
		err = link_control(session_link(d->session), FRAME_HELLO, hello, n);
	free(hello);
	if (err) {
		stream_free(&carrier);
		again(d, err, "", 0);
		return;
	}
	go(d, DIALER_GREETING);
	timer_set(&d->timer, DIALER_GREETING_MS);
	err = session_attach(d->session, carrier, NULL, rest);
	if (err)
		again(d, err, "", 0);
}

/* ---- climbing */

static void on_carrier(void *arg, const struct carrier_result *r, unsigned carrier, const char *why)
{
	struct dialer *d = arg;
	char detail[LADDER_WHY_MAX + CARRIER_HOST_MAX + 64];

	d->ladder = NULL;
	d->carrier = carrier;
	snprintf(d->why, sizeof(d->why), "%s", why);
	if (!r->err) {
		log_event(d->o.trace, LOG_LEVEL_INFO, "carrier", KV_Z("link", d->link_id), KV_Z("carrier", ladder_name(carrier)),
		          KV_Z("why", why));
		greet(d, r->stream, r->rest);
		return;
	}
	/* where somebody answered, each carrier has its own reason, and which of them can be mended is the user's to see */
	if (r->status && !r->ours)
		snprintf(detail, sizeof(detail), "HTTP %d, and not from aditd: is %s the tunnel server? (%s)", r->status,
		         d->host_field, why);
	else if (r->err == ADIT_ERR_VERSION) /* of this no carrier is to blame */
		snprintf(detail, sizeof(detail), "%s", r->detail);
	else
		snprintf(detail, sizeof(detail), "%s", r->status || r->err == ADIT_ERR_PROTO ? why : r->detail);
	if (r->ours && (r->err == ADIT_ERR_AUTH || r->err == ADIT_ERR_FORBIDDEN))
		refuse(d, r->err, r->detail);
	else
		again(d, r->err, detail, r->ours ? r->retry_after : 0);
}

static void climb(struct dialer *d)
{
	struct ladder_options o = {
		.resolver = d->o.resolver, .tls = d->o.tls, .host = d->o.host, .port = d->o.port, .server_name = d->o.server_name,
		.proxy = d->o.proxy, .allowed = d->o.carriers, .trace = d->o.trace,
		.begin = worked_holds(&d->worked, wall_s()) ? d->worked.carrier : 0,
		.target = {
			.host = d->host_field, .link_id = d->link_id, .token = d->o.token, .agent = d->o.agent,
			.poll_hold_ms = d->o.poll_hold_ms, .poll_interval_ms = d->o.poll_interval_ms,
		},
	};
	uint8_t id[LINK_ID_LEN];

	random_bytes(id, sizeof(id));
	hex_encode(id, sizeof(id), d->link_id);
	go(d, DIALER_CLIMBING);
	d->ladder = ladder_climb(d->loop, &o, on_carrier, d);
	if (!d->ladder)
		again(d, ADIT_ERR_NOMEM, "", 0);
}

static void on_timer(void *arg)
{
	struct dialer *d = arg;

	if (d->state == DIALER_GREETING)
		again(d, ADIT_ERR_TIMEOUT, "no answer to HELLO", 0);
	else if (!d->draining)
		climb(d);
}

/* ---- life */

struct dialer *dialer_new(struct loop *l, const struct dialer_options *o)
{
	struct dialer *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->loop = l;
	d->o = *o;
	if (o->tls)
		d->o.tls = tls_context_ref(o->tls);
	carrier_host(d->host_field, o->server_name, o->port, o->tls != NULL);
	snprintf(d->worked_key, sizeof(d->worked_key), "%s:%u %s %s", o->host, o->port, o->server_name,
	         o->proxy ? o->proxy->shown : "-");
	d->worked = worked_recall(o->state_dir, d->worked_key, wall_s());
	timer_init(&d->timer, l, on_timer, d);
	timer_set(&d->timer, 0);
	return d;
}

void dialer_free(struct dialer **dp)
{
	struct dialer *d = *dp;

	if (!d)
		return;
	*dp = NULL;
	drop_attempt(d);
	timer_stop(&d->timer);
	tls_context_free(&d->o.tls);
	free(d);
}

void dialer_drain(struct dialer *d)
{
	d->draining = true;
	if (d->session)
		session_goaway(d->session);
}

unsigned dialer_open(const struct dialer *d)
{
	return d->session ? session_open(d->session) : 0;
}
