#include "session/dialer_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"

/** Climbs that fail in a row before what worked is forgotten. */
#define FORGET_AFTER 3
/** How soon an attempt beside a suspect carrier is repeated. */
#define SUSPECT_AGAIN_MS 1000
/** From a PING of the heartbeat to the suspicion that follows, and to another carrier: so much must be left of the time
 *  for which aditd keeps a link whose end it has found and we have not. */
#define NOTICE_MS 6000
/** Of the published names, what an event tells. */
#define NAMES_SHOWN 256

static const char *const aim_names[] = {"none", "new", "resume", "suspect", "climb", "move"};

static void start(struct dialer *d, enum aim aim);

static uint64_t wall_s(void)
{
	return clock_wall_us() / 1000000;
}

void dialer_go(struct dialer *d, enum dialer_state to)
{
	static const char *const names[] = {"idle", "dialling", "greeting", "up", "detached", "waiting", "refused"};

	if (d->state == to)
		return;
	d->state = to;
	log_event(d->o.trace, LOG_LEVEL_INFO, "state", KV_Z("link", d->link_id), KV_Z("state", names[to]));
}

void dialer_drop_attempt(struct dialer *d)
{
	flight_cancel(&d->flight);
	knock_free(&d->knock);
	d->aim = AIM_NONE;
	timer_clear(&d->timer);
	if (d->session)
		session_pause(d->session, false);
}

/* ---- what worked before */

/* The time stays that of the first success: after a day the climb begins at its foot again. Of direct, where every climb
 * begins, nothing needs to be known. */
void dialer_remember(struct dialer *d)
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

/* ---- climbing back */

/* Those that the user allows and that are better than the one in use: lower bits are. */
static unsigned better_ones(const struct dialer *d)
{
	return d->o.carriers & (d->carrier - 1u);
}

void dialer_plan_climb(struct dialer *d)
{
	uint64_t wait = climb_wait_ms(&d->climb);

	timer_clear(&d->climbing);
	if (d->draining || !better_ones(d))
		return;
	log_event(d->o.trace, LOG_LEVEL_INFO, "climb.wait", KV_Z("link", d->link_id), KV_Z("carrier", ladder_name(d->carrier)),
	          KV_U64("ms", wait));
	timer_set(&d->climbing, wait);
}

static void on_climbing(void *arg)
{
	struct dialer *d = arg;

	if (d->state == DIALER_UP && d->aim == AIM_NONE)
		start(d, AIM_CLIMB);
	else if (d->state == DIALER_UP)
		dialer_plan_climb(d);
}

/* ---- the next attempt */

/* A random part of what the backoff allows, but not less than the server asked for. */
static uint32_t wait_for_next(struct dialer *d, int err, const char *detail, unsigned retry_after_s)
{
	uint32_t wait = (uint32_t)random_below(backoff_next(&d->backoff, loop_ms(d->loop)) + 1u);

	if (retry_after_s * 1000 > wait)
		wait = retry_after_s * 1000 < BACKOFF_MAX_MS ? retry_after_s * 1000 : BACKOFF_MAX_MS;
	log_event(d->o.trace, LOG_LEVEL_INFO, "wait", KV_Z("link", d->link_id), KV_Z("reason", err_name(err)),
	          KV_Z("detail", detail), KV_U64("ms", wait));
	timer_set(&d->timer, wait);
	return wait;
}

/* With its exchanges. */
static void end_link(struct dialer *d, int err, const char *detail)
{
	const struct link *link = d->session ? session_link(d->session) : NULL;

	if (link)
		log_event(d->o.trace, LOG_LEVEL_INFO, "lost", KV_Z("link", d->link_id), KV_U64("epoch", d->epoch),
		          KV_Z("reason", err_name(err)), KV_Z("detail", detail), KV_U64("received", link_rx_offset(link)),
		          KV_U64("sent", link_tx_offset(link)), KV_U64("acked", link_acked(link)),
		          KV_U64("requests", session_open(d->session)));
	session_free(&d->session, ADIT_ERR_LINK_LOST);
}

/* The link, if there was one, is over: a new one after a while. */
void dialer_again(struct dialer *d, int err, const char *detail, unsigned retry_after_s)
{
	uint32_t wait;

	if (d->state != DIALER_UP && d->state != DIALER_DETACHED)
		count_failure(d);
	dialer_drop_attempt(d);
	timer_clear(&d->climbing);
	timer_clear(&d->leave);
	end_link(d, err, detail);
	if (d->draining || d->closing) { /* then it is what was wanted */
		dialer_go(d, DIALER_IDLE);
		return;
	}
	dialer_go(d, DIALER_WAITING);
	wait = wait_for_next(d, err, detail, retry_after_s);
	d->o.events->down(d->o.owner, err, *detail ? detail : err_text(err), wait);
}

void dialer_refuse(struct dialer *d, int err, const char *reason)
{
	dialer_drop_attempt(d);
	timer_clear(&d->climbing);
	timer_clear(&d->leave);
	end_link(d, err, reason);
	dialer_go(d, DIALER_REFUSED);
	d->o.events->refused(d->o.owner, err, *reason ? reason : err_text(err));
}

/* What was tried did not work; what there is goes on. */
void dialer_attempt_failed(struct dialer *d, int err, const char *detail, unsigned retry_after_s)
{
	enum aim aim = d->aim;

	if (!d->session || d->state == DIALER_GREETING) {
		dialer_again(d, err, detail, retry_after_s);
		return;
	}
	log_event(d->o.trace, LOG_LEVEL_INFO, "attempt.failed", KV_Z("link", d->link_id), KV_Z("aim", aim_names[aim]),
	          KV_Z("reason", err_name(err)), KV_Z("detail", detail));
	dialer_drop_attempt(d);
	if (d->state == DIALER_DETACHED && loop_ms(d->loop) - d->detached_ms > d->resume_ms) {
		dialer_again(d, err, detail, retry_after_s);
	} else if (d->state == DIALER_DETACHED) {
		count_failure(d);
		d->o.events->down(d->o.owner, err, detail, wait_for_next(d, err, detail, retry_after_s));
	} else if (aim == AIM_CLIMB) {
		climb_failed(&d->climb);
		dialer_plan_climb(d);
	} else if (session_suspect(d->session)) {
		timer_set(&d->timer, SUSPECT_AGAIN_MS);
	}
}

/* ---- greeting, and the session's life */

static void session_request(void *owner, struct h2_stream *s, const struct head *h, bool bodyless)
{
	struct dialer *d = owner;

	d->o.events->request(d->o.owner, s, h, bodyless);
}

static void trace_welcome(const struct dialer *d, const struct wire_welcome *w)
{
	char names[NAMES_SHOWN] = "";
	size_t n = 0;

	for (size_t i = 0; i < w->tunnel_count && n < sizeof(names); i++)
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", i ? " " : "", w->tunnels[i].name);
	log_event(d->o.trace, LOG_LEVEL_INFO, "welcome", KV_Z("link", d->link_id),
	          KV_Z("carrier", ladder_name(d->carrier)), KV_Z("names", names), KV_U64("resume_ms", w->resume_ms), KV_Z("server", w->agent));
}

/* Silence must be noticed while there is still a link to resume. Not when that is kept for moments only, and not for who
 * has asked for a longer silence than it is kept. */
static void hasten_heartbeat(struct dialer *d)
{
	if (d->resume_ms < 2 * NOTICE_MS || d->heartbeat_ms > d->resume_ms || d->heartbeat_ms <= d->resume_ms - NOTICE_MS)
		return;
	d->heartbeat_ms = d->resume_ms - NOTICE_MS;
	session_heartbeat(d->session, d->heartbeat_ms);
}

static void take_welcome(struct dialer *d, const uint8_t *p, size_t n)
{
	struct wire_welcome *w = malloc(sizeof(*w));
	struct wire_error e;
	int err = w ? wire_read_welcome(p, n, w, &e) : ADIT_ERR_NOMEM;

	if (!err && (err = dialer_keep_names(d, w)) != 0)
		snprintf(e.text, sizeof(e.text), "tunnels: found %zu, wanted those of HELLO", w->tunnel_count);
	if (err) {
		session_close(d->session, 400, err == ADIT_ERR_NOMEM ? err_text(err) : e.text, err);
	} else {
		timer_clear(&d->timer);
		d->aim = AIM_NONE;
		backoff_reset(&d->backoff);
		memcpy(d->secret, w->secret, sizeof(d->secret));
		d->resume_ms = w->resume_ms;
		session_resumable(d->session, d->resume_ms > 0);
		hasten_heartbeat(d);
		dialer_go(d, DIALER_UP);
		dialer_remember(d);
		dialer_plan_climb(d);
		link_ping(session_link(d->session), loop_ms(d->loop));
		trace_welcome(d, w);
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
	          KV_Z("detail", reason));
	if (code == 403)
		dialer_refuse(d, ADIT_ERR_FORBIDDEN, reason);
	else if (code == 409)
		dialer_refuse(d, ADIT_ERR_CONFLICT, reason);
	else
		dialer_again(d, ADIT_ERR_LINK_LOST, reason, 0);
}

/* The server goes, or wants us elsewhere: at a random time, so that not all of its clients come at once. */
static void take_drain(struct dialer *d, const uint8_t *p, size_t n)
{
	uint32_t spread = n == 4 ? get_u32(p) : 0;

	log_event(d->o.trace, LOG_LEVEL_INFO, "drain", KV_Z("link", d->link_id), KV_U64("spread_ms", spread));
	if (!d->draining && !timer_is_set(&d->leave))
		timer_set(&d->leave, random_below(spread + 1u));
}

static void session_told(void *owner, enum frame_type type, const uint8_t *p, size_t n)
{
	struct dialer *d = owner;

	if (type == FRAME_WELCOME && d->state == DIALER_GREETING)
		take_welcome(d, p, n);
	else if (type == FRAME_CLOSE)
		take_close(d, p, n);
	else if (type == FRAME_DRAIN && d->state != DIALER_GREETING)
		take_drain(d, p, n);
	else
		session_close(d->session, 400, "unexpected control frame", ADIT_ERR_PROTO);
}

/* A silence after which carriers keep being cut is some timer's on the way. A far end that has gone silent is none. */
static void learn_idle(struct dialer *d, int err)
{
	uint64_t silent = loop_ms(d->loop) - link_last_rx_ms(session_link(d->session));
	uint32_t heartbeat = err == ADIT_ERR_TIMEOUT ? d->heartbeat_ms : idle_died(&d->idle, silent, d->heartbeat_ms);

	if (heartbeat == d->heartbeat_ms)
		return;
	d->heartbeat_ms = heartbeat;
	session_heartbeat(d->session, heartbeat);
	log_event(d->o.trace, LOG_LEVEL_INFO, "heartbeat", KV_Z("link", d->link_id), KV_U64("ms", heartbeat),
	          KV_U64("silent_ms", silent));
}

static void session_detached(void *owner, int err, const char *detail)
{
	struct dialer *d = owner;
	struct link *link = session_link(d->session);
	uint32_t wait = 0;

	d->detached_ms = loop_ms(d->loop);
	timer_clear(&d->climbing);
	learn_idle(d, err);
	log_event(d->o.trace, LOG_LEVEL_INFO, "detached", KV_Z("link", d->link_id), KV_U64("epoch", d->epoch),
	          KV_Z("carrier", ladder_name(d->carrier)), KV_Z("reason", err_name(err)), KV_Z("detail", detail),
	          KV_U64("alive_ms", d->detached_ms - d->carrier_ms),
	          KV_U64("silent_ms", d->detached_ms - link_last_rx_ms(link)),
	          KV_U64("received", link_rx_offset(link)), KV_U64("sent", link_tx_offset(link)),
	          KV_U64("acked", link_acked(link)), KV_U64("requests", session_open(d->session)));
	dialer_go(d, DIALER_DETACHED);
	if (d->aim == AIM_SUSPECT || d->aim == AIM_MOVE || (d->aim == AIM_CLIMB && d->knock)) {
		if (d->flight) /* what it finds is welcome without a trial */
			d->aim = AIM_RESUME;
	} else {
		dialer_drop_attempt(d);
		wait = wait_for_next(d, err, detail, 0);
	}
	/* who is asked to take another carrier lets this one go once it has; should it not have, that is told then */
	if (!d->knock)
		d->o.events->down(d->o.owner, err, *detail ? detail : err_text(err), wait);
}

static void session_doubted(void *owner, bool suspect)
{
	struct dialer *d = owner;
	struct link *link = session_link(d->session);

	log_event(d->o.trace, LOG_LEVEL_INFO, suspect ? "suspect" : "trusted", KV_Z("link", d->link_id),
	          KV_Z("carrier", ladder_name(d->carrier)), KV_U64("silent_ms", loop_ms(d->loop) - link_last_rx_ms(link)),
	          KV_US("rtt_ms", link_srtt_us(link)), KV_U64("pings", link_pings_waiting(link)),
	          KV_U64("sent", link_tx_offset(link)), KV_U64("acked", link_acked(link)),
	          KV_U64("requests", session_open(d->session)));
	if (d->state != DIALER_UP || d->closing)
		return;
	if (suspect && d->aim != AIM_SUSPECT) {
		start(d, AIM_SUSPECT);
	} else if (!suspect) {
		link_suspicion_was(link, false);
		dialer_drop_attempt(d);
	}
}

/* The connection below has announced its end: its successor is found while it still carries. */
static void session_leaves(void *owner)
{
	struct dialer *d = owner;

	log_event(d->o.trace, LOG_LEVEL_INFO, "leaving", KV_Z("link", d->link_id), KV_Z("carrier", ladder_name(d->carrier)));
	/* after DRAIN the server itself goes: its successor does not know this link */
	if (d->state == DIALER_UP && d->aim == AIM_NONE && !d->closing && !timer_is_set(&d->leave))
		start(d, AIM_MOVE);
}

static void session_lost(void *owner, int err, const char *detail)
{
	learn_idle(owner, err);
	dialer_again(owner, err, detail, 0);
}

static const struct session_events session_events = {
	session_request, session_told, session_detached, session_doubted, session_leaves, session_lost, NULL,
};

static void greet(struct dialer *d, struct stream *carrier, struct buf *rest)
{
	const struct session_options o = {
		.role = H2_ANSWERING, .budget = d->o.budget, .heartbeat_ms = d->heartbeat_ms, .events = &session_events, .owner = d,
	};
	size_t n;
	char *hello = wire_write_hello(d->o.hello, &n);
	int err = ADIT_ERR_NOMEM;

	d->carrier = d->next_carrier;
	d->carrier_ms = loop_ms(d->loop);
	snprintf(d->why, sizeof(d->why), "%s", d->next_why);
	d->session = hello ? session_new(d->loop, &o) : NULL;
	if (d->session)
		err = link_control(session_link(d->session), FRAME_HELLO, hello, n);
	free(hello);
	if (err) {
		stream_free(&carrier);
		dialer_again(d, err, "", 0);
		return;
	}
	dialer_go(d, DIALER_GREETING);
	timer_set(&d->timer, DIALER_GREETING_MS);
	err = session_attach(d->session, carrier, 0, NULL, rest);
	if (err)
		dialer_again(d, err, "", 0);
}

/* ---- dialling */

static void on_carrier(void *arg, const struct carrier_result *r, unsigned carrier, const char *why)
{
	struct dialer *d = arg;
	char detail[LADDER_WHY_MAX + CARRIER_HOST_MAX + 64];

	d->flight = NULL;
	d->next_carrier = carrier;
	snprintf(d->next_why, sizeof(d->next_why), "%s", why);
	if (!r->err) {
		log_event(d->o.trace, LOG_LEVEL_INFO, "carrier", KV_Z("link", d->link_id), KV_Z("carrier", ladder_name(carrier)),
		          KV_Z("why", why));
		if (d->aim == AIM_NEW)
			greet(d, r->stream, r->rest);
		else
			dialer_knock_on(d, r->stream, r->rest);
		return;
	}
	/* where somebody answered, each carrier has its own reason, and which of them can be mended is the user's to see */
	if (r->status && !r->ours)
		snprintf(detail, sizeof(detail), "HTTP %d, and not from aditd: is %s the tunnel server? (%s)", r->status,
		         d->host_field, why);
	else if (r->err == ADIT_ERR_VERSION) /* of this no carrier is to blame */
		snprintf(detail, sizeof(detail), "%s", r->detail);
	else
		snprintf(detail, sizeof(detail), "%s",
		         r->status || r->err == ADIT_ERR_PROTO || r->err == ADIT_ERR_UPGRADE ? why : r->detail);
	if (r->ours && (r->err == ADIT_ERR_AUTH || r->err == ADIT_ERR_FORBIDDEN) && d->state != DIALER_UP)
		dialer_refuse(d, r->err, r->detail);
	else
		dialer_attempt_failed(d, r->err, detail, r->ours ? r->retry_after : 0);
}

static void start(struct dialer *d, enum aim aim)
{
	bool beside = aim == AIM_CLIMB;
	struct ladder_options o = {
		.resolver = d->o.resolver, .tls = d->o.tls, .host = d->o.host, .port = d->o.port, .server_name = d->o.server_name,
		.proxy = d->o.proxy, .allowed = beside ? better_ones(d) : d->o.carriers, .trace = d->o.trace,
		.begin = !beside && worked_holds(&d->worked, wall_s()) ? d->worked.carrier : 0,
		.target = {
			.host = d->host_field, .link_id = d->link_id, .token = d->o.token, .agent = d->o.agent,
			.poll_hold_ms = d->o.poll_hold_ms, .poll_interval_ms = d->o.poll_interval_ms,
		},
	};

	if (aim == AIM_SUSPECT) /* goes before any other reason to try */
		dialer_drop_attempt(d);
	if (aim == AIM_NEW) {
		random_bytes(d->id, sizeof(d->id));
		hex_encode(d->id, sizeof(d->id), d->link_id);
		d->epoch = 0;
		dialer_go(d, DIALER_DIALLING);
	}
	d->aim = aim;
	log_event(d->o.trace, LOG_LEVEL_INFO, "dial", KV_Z("link", d->link_id), KV_Z("aim", aim_names[aim]));
	d->flight = flight_start(d->loop, &o, aim == AIM_SUSPECT || aim == AIM_RESUME, on_carrier, d);
	if (!d->flight)
		dialer_attempt_failed(d, ADIT_ERR_NOMEM, "", 0);
}

static void on_timer(void *arg)
{
	struct dialer *d = arg;

	if (d->state == DIALER_GREETING)
		dialer_again(d, ADIT_ERR_TIMEOUT, "no answer to HELLO", 0);
	else if (d->state == DIALER_DETACHED)
		start(d, AIM_RESUME);
	else if (d->state == DIALER_UP && session_suspect(d->session))
		start(d, AIM_SUSPECT);
	else if (!d->session && !d->draining)
		start(d, AIM_NEW);
}

/* ---- moving to another server */

void dialer_leave(struct dialer *d)
{
	timer_clear(&d->leave);
	dialer_drop_attempt(d);
	timer_clear(&d->climbing);
	log_event(d->o.trace, LOG_LEVEL_INFO, "retired", KV_Z("link", d->link_id), KV_U64("requests", session_open(d->session)));
	retired_add(&d->retired, &d->session, d->link_id);
	if (d->draining)
		dialer_go(d, DIALER_IDLE);
	else
		start(d, AIM_NEW);
}

static void on_leave(void *arg)
{
	struct dialer *d = arg;

	/* without a carrier, which is told in a moment, it is resumed first: nothing could finish what runs */
	if (d->state == DIALER_UP && session_attached(d->session))
		dialer_leave(d);
}

/* ---- the clock */

static void on_watch(void *arg)
{
	struct dialer *d = arg;
	uint64_t mono = clock_us() / 1000, wall = clock_wall_us() / 1000;
	int64_t jump = (int64_t)(wall - d->watch_wall) - (int64_t)(mono - d->watch_mono);

	d->watch_mono = mono;
	d->watch_wall = wall;
	timer_set(&d->watch, DIALER_WATCH_MS);
	if (jump < DIALER_JUMP_MS)
		return;
	log_event(d->o.trace, LOG_LEVEL_INFO, "clock", KV_Z("link", d->link_id), KV_I64("jump_ms", jump));
	backoff_reset(&d->backoff);
	if (d->state == DIALER_UP)
		session_doubt(d->session);
	else if (d->aim == AIM_NONE && timer_is_set(&d->timer))
		timer_set(&d->timer, 0);
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
	/* what works when only some are allowed says little about all */
	snprintf(d->worked_key, sizeof(d->worked_key), "%s:%u %s %s %u", o->host, o->port, o->server_name,
	         o->proxy ? o->proxy->shown : "-", o->carriers);
	d->worked = worked_recall(o->state_dir, d->worked_key, wall_s());
	climb_init(&d->climb, o->climb_ms);
	d->heartbeat_ms = o->heartbeat_ms;
	d->watch_mono = clock_us() / 1000;
	d->watch_wall = clock_wall_us() / 1000;
	retired_init(&d->retired, o->trace, o->events->request, o->owner);
	timer_init(&d->timer, l, on_timer, d);
	timer_init(&d->climbing, l, on_climbing, d);
	timer_init(&d->leave, l, on_leave, d);
	timer_init(&d->watch, l, on_watch, d);
	timer_set(&d->timer, 0);
	timer_set(&d->watch, DIALER_WATCH_MS);
	return d;
}

void dialer_free(struct dialer **dp)
{
	struct dialer *d = *dp;

	if (!d)
		return;
	*dp = NULL;
	dialer_drop_attempt(d);
	session_free(&d->session, ADIT_ERR_LINK_LOST);
	retired_free(&d->retired);
	timer_stop(&d->timer);
	timer_stop(&d->climbing);
	timer_stop(&d->leave);
	timer_stop(&d->watch);
	tls_context_free(&d->o.tls);
	secret_wipe(d->secret, sizeof(d->secret));
	free(d->given);
	free(d);
}

void dialer_drain(struct dialer *d)
{
	d->draining = true;
	timer_clear(&d->climbing);
	timer_clear(&d->leave);
	if (d->session)
		session_goaway(d->session);
	retired_goaway(&d->retired);
}

void dialer_close(struct dialer *d)
{
	if (d->closing)
		return;
	d->draining = d->closing = true;
	dialer_drop_attempt(d);
	retired_close(&d->retired);
	if (d->session)
		session_close(d->session, 503, "adit is leaving", ADIT_ERR_SHUTDOWN);
}

bool dialer_closed(const struct dialer *d)
{
	return !d->session && !retired_count(&d->retired);
}

unsigned dialer_open(const struct dialer *d)
{
	return (d->session ? session_open(d->session) : 0) + retired_open(&d->retired);
}
