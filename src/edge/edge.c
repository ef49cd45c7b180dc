#include "edge/edge.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "base/memory.h"
#include "base/pool.h"
#include "carrier/carrier.h"
#include "edge/admit.h"
#include "edge/auth.h"
#include "edge/crowd.h"
#include "edge/door.h"
#include "edge/edge_h1.h"
#include "edge/edge_h2.h"
#include "edge/endpoint.h"
#include "edge/greet.h"
#include "edge/hold.h"
#include "exchange/exchange.h"
#include "http/forward.h"
#include "http/page.h"
#include "session/session.h"

/** There is room again when so many connections have gone. */
#define EDGE_SLACK 16
/** Connections beside all that there is room for, so that adits find in when every visitor has a request: each is
 *  looked at for as long as its first head takes, and the oldest goes when they are used up. */
#define EDGE_RESERVE 16
/** Descriptors for other things than visitors and links: listeners, ports, logs, the loop, the admin's. */
#define EDGE_DESCRIPTORS 24
/** Of a link that moves. */
#define EDGE_LINK_DESCRIPTORS 2
/** Connections at published ports may be idle for ever, and none makes room; so this part of max_visitors is all they
 *  get, and web visitors and tunnels always find some. */
#define EDGE_DOORS_PART 2
/** While full, it is tried so often to make room. */
#define EDGE_FULL_MS 500
/** After its start, names that may be claimed are waited for: their clients dial again just now. */
#define EDGE_STARTING_MS 10000
/** Of the connections one in so many, and at least EDGE_SLACK, may go at one look while there is little memory: in a
 *  second most have gone that may, and not many more than must. */
#define EDGE_PRESS_SHARE 8
/** Without a request for less than that: spared meanwhile. A TLS handshake and a request take some round trips. */
#define EDGE_YOUNG_MS 2000
/** When half of so many connections or more have gone, what they had used is given back. */
#define EDGE_CROWD 250
/** That much later: who went is freed at the end of a turn, and others go at the same moment. */
#define EDGE_GIVE_BACK_MS 500
/** Retry-After of who is refused for want of memory: it comes back as soon as those without a request have gone. */
#define EDGE_MEMORY_RETRY_S 1

struct edge {
	struct loop *loop;
	struct edge_options o;
	struct endpoint endpoint;
	struct crowd crowd;
	struct list doors;       /* at published ports */
	unsigned door_count;
	unsigned count;          /* all of them */
	unsigned peak;           /* the most there were since memory was given back */
	struct hold hold;
	struct admit admit;
	uint64_t started_ms;
	struct timer again; /* while full */
	struct timer left;  /* once half of a crowd has gone */
	enum edge_drain draining;
	uint64_t starved_ms; /* when that was last told */
	char peer[ADDRESS_TEXT_MAX]; /* whose trust was looked up last */
	bool peer_trusted;
	bool crowded;        /* only the reserve is left */
	bool full;           /* nor that */
	bool shut; /* there is no memory for more of them */
};

/* ---- requests for a tunnel */

/* Is it a matter of seconds? A link may be resumed, and after a start those that were here before come back. In a
 * drain nobody comes back, but a link that is here may be busy. */
static bool may_come_back(const struct edge *e, bool here, bool known, const char *name)
{
	if (e->draining)
		return here && e->draining == EDGE_DRAIN_PATIENT;
	return known || (loop_ms(e->loop) - e->started_ms < EDGE_STARTING_MS && auth_claimable(e->o.conf, name));
}

static struct half *ask_session(struct session *s, struct rules *rules, struct places *places, struct head *h,
                                int *err)
{
	struct pass *between = NULL;
	struct half *answering;

	if (rules && (*err = rules_apply(rules, h, &between)) != 0)
		return NULL;
	answering = session_ask(s, err);
	if (answering)
		h2_stream_place(answering, places);
	return pass_to(between, answering);
}

/* Memory is asked for once: who waits, or moves to another link, has begun. It is that of windows too: what waits for
 * one holds some. */
static bool may_begin(const struct edge *e, struct exchange *x, int *err)
{
	const struct exchange_note *note = exchange_note(x);

	if (note->until_ms || note->via || (headroom_begin(e->o.headroom) && budget_can(e->o.budget, H2_WINDOW_MIN)))
		return true;
	exchange_retry_after(x, EDGE_MEMORY_RETRY_S);
	*err = ADIT_ERR_MEMORY;
	return false;
}

static struct half *route(void *arg, struct exchange *x, struct head *h, int *err)
{
	struct edge *e = arg;
	const char *name = exchange_name_of(x);
	struct half *answering;
	struct rules *rules;
	struct session *s;
	bool known;

	if (!may_begin(e, x, err) || !admit_judge(&e->admit, e->o.registry, x, h, &rules, err))
		return NULL;
	s = registry_find(e->o.registry, str_of(name), &known);
	answering = s ? ask_session(s, rules, exchange_places(x), h, err) : NULL;
	if (answering)
		hold_sent(&e->hold, x, s);
	if (answering || (s && *err != ADIT_ERR_LIMIT))
		return answering;
	if (may_come_back(e, s != NULL, known, name) && hold_wait(&e->hold, x, known ? HOLD_MAX : HOLD_MAX_STARTING))
		*err = ADIT_ERR_AGAIN;
	else if (!s)
		*err = known || auth_claimable(e->o.conf, name) ? ADIT_ERR_NO_LINK : ADIT_ERR_NO_NAME;
	return NULL;
}

static bool another_way(void *arg, const struct exchange *x)
{
	struct edge *e = arg;
	bool known;

	return registry_find(e->o.registry, str_of(exchange_name_of(x)), &known) != NULL;
}

void edge_ready(struct edge *e)
{
	hold_retry(&e->hold);
}

void edge_strayed(struct edge *e, const struct session *s)
{
	hold_move(&e->hold, s, another_way, e);
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

/* Connections that there is room for, not counting the reserve. */
static unsigned room(const struct edge *e)
{
	unsigned max = e->o.conf->max_visitors;
	unsigned kept = EDGE_DESCRIPTORS + EDGE_RESERVE + EDGE_LINK_DESCRIPTORS * acceptor_links(e->o.acceptor);
	unsigned left = e->o.descriptors > kept ? e->o.descriptors - kept : 1;

	return left < max ? left : max;
}

/* Older than that: whoever was about to ask has asked. */
static uint64_t young_since(const struct edge *e)
{
	uint64_t now = loop_ms(e->loop);

	return now > EDGE_YOUNG_MS ? now - EDGE_YOUNG_MS : 0;
}

/* Carriers have room that `room` keeps for them. */
static unsigned carriers(const struct edge *e)
{
	unsigned kept = EDGE_LINK_DESCRIPTORS * acceptor_links(e->o.acceptor), links = e->crowd.counts[EDGE_PLACE_LINK];

	return links < kept ? links : kept;
}

/* Those that need room. */
static unsigned taken(const struct edge *e)
{
	return e->count - carriers(e);
}

/* Of these, those that have said what they want, and got it. */
static unsigned settled(const struct edge *e)
{
	return e->crowd.counts[EDGE_PLACE_VISITOR] + e->crowd.counts[EDGE_PLACE_LINK] + e->door_count - carriers(e);
}

/* Who is in the reserve stays there until there is room: those who have said nothing yet stand behind him, and
 * somebody who is without a request leaves him his. */
static bool let_through(struct edge *e, const struct visit *v)
{
	if (!v->reserve)
		return true;
	if (settled(e) >= room(e) && !crowd_evict_visitor(&e->crowd, young_since(e)) && !crowd_stalled_goes(&e->crowd) &&
	    !crowd_evict_visitor(&e->crowd, UINT64_MAX))
		return false;
	if (v->h1)
		crowd_place_h1(&e->crowd, v->h1, EDGE_PLACE_VISITOR);
	else
		crowd_place_h2(&e->crowd, v->h2, EDGE_PLACE_VISITOR);
	return true;
}

static void to_tunnel(struct edge *e, const struct visit *from, struct head *h, bool bodyless, const char *name,
                      bool trusted)
{
	const struct forward_visitor v = {str_of(from->stream->peer.ip), from->stream->tls, trusted};
	struct str client = forward_client(h, &v);
	char visitor[ADDRESS_TEXT_MAX] MEMORY_UNSET;
	struct exchange_options o = {&exchange_events, e, PAGE_HOP_SERVER, visitor, true, from->places,
	                             loop_pool(e->loop)};
	struct exchange *x;
	int err;

	/* what he has reset may still run at its origin: the place is not free. Unlinked, this one is refused */
	if (from->places && from->places->taken >= EDGE_H2_STREAMS) {
		edge_h2_blame(from->h2);
		return;
	}
	str_cut(client, visitor, sizeof(visitor));
	x = exchange_new(&o, from->asking);
	if (!x)
		return;
	forward_strip(&h->fields);
	err = forward_request(h, &v);
	if (!err)
		err = fields_set(&h->fields, STR(FORWARD_TUNNEL), str_of(name));
	if (!err && !str_eq(str_of(visitor), v.address)) /* else it is the last member of X-Forwarded-For */
		err = fields_set(&h->fields, STR(FORWARD_VISITOR), str_of(visitor));
	if (!err && !let_through(e, from))
		err = ADIT_ERR_LIMIT;
	exchange_name(x, name);
	if (err)
		exchange_fail(x, h, bodyless, err);
	else
		exchange_begin(x, h, bodyless);
}

/* ---- connections */

/* Behind an ingress all requests come from one address. */
static bool is_trusted(struct edge *e, const char *ip)
{
	if (strcmp(ip, e->peer) != 0) {
		str_cut(str_of(ip), e->peer, sizeof(e->peer));
		e->peer_trusted = conf_trusts(e->o.conf, ip);
	}
	return e->peer_trusted;
}

static void update_full(struct edge *e)
{
	unsigned max = room(e), slack = max > 2 * EDGE_SLACK ? EDGE_SLACK : 1;
	bool crowded = e->crowded ? taken(e) + slack > max : taken(e) >= max;
	bool full = e->shut || taken(e) >= max + EDGE_RESERVE;

	if (crowded != e->crowded)
		log_event(e->o.log, LOG_LEVEL_WARN, crowded ? "visitors.full" : "visitors.room", KV_U64("visitors", e->count));
	e->crowded = crowded;
	if (full == e->full)
		return;
	e->full = full;
	if (full)
		timer_set(&e->again, EDGE_FULL_MS);
	else
		timer_clear(&e->again);
	e->o.full(e->o.owner, full);
}

static void note_link(struct edge *e, const struct visit *v)
{
	if (v->h1 && edge_h1_links(v->h1) && edge_h1_place(v->h1) != EDGE_PLACE_LINK)
		crowd_place_h1(&e->crowd, v->h1, EDGE_PLACE_LINK);
	if (v->h2 && edge_h2_links(v->h2) && edge_h2_place(v->h2) != EDGE_PLACE_LINK)
		crowd_place_h2(&e->crowd, v->h2, EDGE_PLACE_LINK);
	update_full(e);
}

static void on_request(struct edge *e, const struct visit *v, struct head *h, bool bodyless)
{
	bool trusted = is_trusted(e, v->stream->peer.ip);
	char name[256];
	bool known;

	registry_name_of(forward_host(h, trusted), e->o.conf->domain, name);
	if (carrier_path(head_get(h, HEAD_PATH))) {
		registry_find(e->o.registry, str_of(name), &known);
		if (!known && !(name[0] && auth_claimable(e->o.conf, name))) {
			endpoint_serve(&e->endpoint, v, h);
			note_link(e, v);
			return;
		}
	}
	tls_hide(v->stream, false);
	to_tunnel(e, v, h, bodyless, name, trusted);
}

static void on_h1_request(void *owner, struct edge_h1 *c, struct head *h, bool bodyless)
{
	const struct visit v = {edge_h1_half(c), edge_h1_stream(c), c, NULL,
	                        edge_h1_place(c) == EDGE_PLACE_RESERVE, NULL};

	on_request(owner, &v, h, bodyless);
}

static void on_h2_request(void *owner, struct edge_h2 *c, struct half *asking, struct head *h, bool bodyless)
{
	const struct visit v = {asking, edge_h2_stream(c), NULL, c,
	                        edge_h2_place(c) == EDGE_PLACE_RESERVE, edge_h2_places(c)};
	struct edge *e = owner;

	/* spared for its polls: what is unlinked is refused, and may be sent elsewhere, as after GOAWAY */
	if (e->draining >= EDGE_DRAIN_IDLE && edge_h2_carries(c) && !carrier_path(head_get(h, HEAD_PATH)))
		return;
	on_request(e, &v, h, bodyless);
}

void edge_starved(void *arg)
{
	struct edge *e = arg;
	unsigned gone = 0;

	while (gone < EDGE_SLACK && crowd_somebody_goes(&e->crowd, UINT64_MAX))
		gone++;
	if (log_seldom(&e->starved_ms, loop_ms(e->loop)))
		log_event(e->o.log, LOG_LEVEL_WARN, "descriptors.out", KV_U64("visitors", e->count), KV_U64("closed", gone));
}

void edge_press(struct edge *e, enum headroom_level level)
{
	unsigned most = e->count / EDGE_PRESS_SHARE + EDGE_SLACK, gone = 0;
	/* one that has only just come may be an adit whose link has lost its carrier */
	uint64_t before = level == HEADROOM_NONE ? UINT64_MAX : young_since(e);

	while (level && gone < most && crowd_evict(&e->crowd, before))
		gone++;
	e->shut = level == HEADROOM_NONE;
	update_full(e);
}

static void look_again(void *arg)
{
	struct edge *e = arg;

	for (unsigned i = 0; e->full && i < EDGE_SLACK && crowd_somebody_goes(&e->crowd, UINT64_MAX); i++)
		;
	if (e->full)
		timer_set(&e->again, EDGE_FULL_MS);
}

/* glibc keeps what lies between other things: all that a crowd has ever used. */
static void give_back(void *arg)
{
	struct edge *e = arg;

	e->peak = e->count;
	pool_clear(loop_pool(e->loop));
	memory_give_back();
}

static void one_less(struct edge *e)
{
	e->peak = e->count > e->peak ? e->count : e->peak;
	e->count--;
	if (e->peak >= EDGE_CROWD && e->count <= e->peak / 2 && !timer_is_set(&e->left))
		timer_set(&e->left, EDGE_GIVE_BACK_MS);
	update_full(e);
	if (e->draining && !e->count && e->o.empty)
		e->o.empty(e->o.owner);
}

static void on_h1_closed(void *owner, struct edge_h1 *c)
{
	struct edge *e = owner;

	crowd_gone(&e->crowd, edge_h1_place(c));
	one_less(e);
}

static void on_h2_closed(void *owner, struct edge_h2 *c)
{
	struct edge *e = owner;

	crowd_gone(&e->crowd, edge_h2_place(c));
	one_less(e);
}

static void log_refused(struct edge *e, const struct stream *s, int err)
{
	log_event(e->o.access, LOG_LEVEL_INFO, "refused", KV_Z("visitor", s->peer.ip), KV_I64("status", err_status(err)),
	          KV_Z("error", err_text(err)));
}

static void on_h1_refused(void *owner, struct edge_h1 *c, int err)
{
	log_refused(owner, edge_h1_stream(c), err);
}

static void on_h2_refused(void *owner, struct edge_h2 *c, int err)
{
	log_refused(owner, edge_h2_stream(c), err);
}

static const struct edge_h1_events h1_events = {on_h1_request, on_h1_refused, on_h1_closed};
static const struct edge_h2_events h2_events = {on_h2_request, on_h2_refused, on_h2_closed};

static void on_greeted(void *arg, struct stream *s, struct buf *first, bool h2)
{
	struct edge *e = arg;
	struct edge_h1 *c1 = NULL;
	struct edge_h2 *c2 = NULL;
	enum edge_place place = taken(e) > room(e) ? EDGE_PLACE_RESERVE : EDGE_PLACE_VISITOR;

	if (h2)
		c2 = edge_h2_new(e->loop, s, first, conf_trusts(e->o.conf, s->peer.ip), e->o.budget, &h2_events, e);
	else
		c1 = edge_h1_new(e->loop, s, first, &h1_events, e);
	if (c1)
		crowd_place_h1(&e->crowd, c1, place);
	if (c2)
		crowd_place_h2(&e->crowd, c2, place);
	if (c1 && e->draining)
		edge_h1_drain(c1, EDGE_DRAIN_PATIENT);
	if (c2 && e->draining)
		edge_h2_drain(c2, EDGE_DRAIN_PATIENT);
	if (!c1 && !c2) {
		stream_free(&s);
		one_less(e);
	}
}

static void on_greeting_gone(void *arg)
{
	one_less(arg);
}

/* Before a newcomer is among them. Who has only just come is about to say what he wants: he goes when all else is
 * used up, for many who say nothing would else leave nobody the time for it. */
static void make_room(struct edge *e)
{
	if (e->draining || taken(e) + 1 < room(e) || crowd_somebody_goes(&e->crowd, young_since(e)))
		return;
	if (taken(e) + 1 >= room(e) + EDGE_RESERVE)
		crowd_evict(&e->crowd, UINT64_MAX);
}

void edge_accept(void *arg, struct stream *s)
{
	struct edge *e = arg;

	make_room(e);
	headroom_note(e->o.headroom); /* with little memory the quiet ones make room: edge_press */
	if (e->draining > EDGE_DRAIN_PATIENT || greet(&e->crowd.greetings, s, on_greeted, on_greeting_gone, e) < 0) {
		stream_free(&s);
		return;
	}
	e->count++;
	update_full(e);
}

/* ---- published ports */

static void one_door_less(struct edge *e)
{
	e->door_count--;
	one_less(e);
}

static void on_door_closed(void *owner, struct door *d)
{
	(void)d;
	one_door_less(owner);
}

static bool may_enter(struct edge *e, const char *visitor)
{
	unsigned max = room(e) / EDGE_DOORS_PART;

	if (e->draining > EDGE_DRAIN_PATIENT)
		return false;
	if (e->door_count < (max ? max : 1)) {
		if (!e->draining && taken(e) + 1 >= room(e))
			crowd_somebody_goes(&e->crowd, UINT64_MAX);
		if (taken(e) < room(e))
			return true;
	}
	log_event(e->o.access, LOG_LEVEL_INFO, "refused", KV_Z("visitor", visitor),
	          KV_I64("status", err_status(ADIT_ERR_LIMIT)), KV_Z("error", "too many connections to published ports"));
	return false;
}

static void ask(struct edge *e, struct door *d, const char *visitor, const char *name)
{
	struct exchange_options o = {&exchange_events, e, PAGE_HOP_SERVER, visitor, false, NULL,
	                             loop_pool(e->loop)};
	struct exchange *x = exchange_new(&o, door_half(d));
	struct head h;
	int err;

	if (!x) {
		door_free(&d);
		one_door_less(e);
		return;
	}
	head_init(&h);
	err = door_request(d, e->o.conf->domain, name, &h);
	exchange_name(x, name);
	door_start(d);
	if (err)
		exchange_fail(x, &h, false, err);
	else
		exchange_begin(x, &h, false);
	head_free(&h);
}

void edge_accept_port(struct edge *e, struct stream *s, const char *name)
{
	char visitor[ADDRESS_TEXT_MAX];
	struct door *d;

	snprintf(visitor, sizeof(visitor), "%s", s->peer.ip);
	d = may_enter(e, visitor) ? door_new(e->loop, s, on_door_closed, e) : NULL;
	if (!d) {
		stream_free(&s);
		return;
	}
	list_append(&e->doors, door_node(d));
	e->door_count++;
	e->count++;
	update_full(e);
	ask(e, d, visitor, name);
}

/* ---- life */

static void set_rules(struct edge *e)
{
	int err = admit_set_conf(&e->admit, e->o.conf);

	if (err)
		log_event(e->o.log, LOG_LEVEL_ERROR, "rules.failed", KV_Z("error", err_text(err)),
		          KV_Z("then", "names whose rules are missing answer 503 until SIGHUP"));
}

struct edge *edge_new(struct loop *l, const struct edge_options *o)
{
	struct edge *e = calloc(1, sizeof(*e));

	if (!e)
		return NULL;
	e->loop = l;
	e->o = *o;
	if (admit_init(&e->admit, l) < 0) {
		free(e);
		return NULL;
	}
	set_rules(e);
	endpoint_init(&e->endpoint, l, o->acceptor, o->conf, e->admit.guesses, o->log);
	e->endpoint.headroom = o->headroom;
	crowd_init(&e->crowd, l, o->log);
	list_init(&e->doors);
	hold_init(&e->hold, l, o->trace);
	e->started_ms = loop_ms(l);
	if (room(e) < o->conf->max_visitors)
		log_event(o->log, LOG_LEVEL_WARN, "descriptors.few", KV_U64("descriptors", o->descriptors),
		          KV_U64("max_visitors", o->conf->max_visitors), KV_U64("visitors", room(e)));
	timer_init(&e->again, l, look_again, e);
	timer_init(&e->left, l, give_back, e);
	return e;
}

void edge_free(struct edge **ep)
{
	struct edge *e = *ep;

	if (!e)
		return;
	*ep = NULL;
	hold_end(&e->hold, ADIT_ERR_SHUTDOWN);
	while (!list_empty(&e->doors)) {
		struct door *d = door_of_node(e->doors.next);

		door_free(&d);
	}
	crowd_clear(&e->crowd);
	poll_table_clear(&e->endpoint.polls);
	probe_table_clear(&e->endpoint.probes);
	admit_clear(&e->admit);
	timer_stop(&e->again);
	timer_stop(&e->left);
	free(e);
}

void edge_set_conf(struct edge *e, const struct conf_server *conf)
{
	e->o.conf = conf;
	e->peer[0] = '\0';
	e->peer_trusted = false;
	e->endpoint.conf = conf;
	set_rules(e);
	update_full(e);
}

void edge_drain(struct edge *e, enum edge_drain how)
{
	e->draining = how;
	e->endpoint.draining = true;
	probe_table_drop_held(&e->endpoint.probes);
	crowd_drain(&e->crowd, how);
}

bool edge_may_ask(const struct edge *e)
{
	return crowd_may_ask(&e->crowd);
}

unsigned edge_visitors(const struct edge *e)
{
	return e->count;
}
