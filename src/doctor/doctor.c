#include "doctor/doctor.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/err.h"
#include "carrier/poll.h"
#include "doctor/probe.h"

enum { ASK_V6, ASK_V4, QUESTIONS };

struct doctor {
	struct loop *loop;
	struct resolver *resolver;
	struct doctor_options o;
	struct doctor_report report;
	enum doctor_step at;
	struct resolver_query *questions[QUESTIONS];
	struct dial *dial;
	struct ladder *ladder;
	struct stream *parting; /* of poll: its end is a message, which is sent while the next steps run */
	struct stream_probe *streams;
	struct idle_probe *idle;
	struct task next;
	char link_id[CARRIER_LINK_ID_HEX + 1];
	char host_field[CARRIER_HOST_MAX];
	doctor_fn *done;
	void *arg;
};

static struct doctor_row *row(struct doctor *d)
{
	return &d->report.rows[d->at];
}

/* This step has ended; the next one starts at the end of the turn. */
__attribute__((format(printf, 3, 4))) static void conclude(struct doctor *d, enum doctor_verdict v, const char *format, ...)
{
	va_list ap;

	row(d)->verdict = v;
	va_start(ap, format);
	vsnprintf(row(d)->evidence, sizeof(row(d)->evidence), format, ap);
	va_end(ap);
	task_post(d->loop, &d->next);
}

static const char *text_of(int err, const char *detail)
{
	return *detail ? detail : err_text(err);
}

/* ---- dns */

static void add_addresses(struct doctor *d, const struct resolver_answer *a)
{
	struct doctor_row *r = row(d);

	for (int i = 0; i < a->count; i++) {
		const struct sockaddr_storage *ss = &a->address[i];
		const void *ip = ss->ss_family == AF_INET ? (const void *)&((const struct sockaddr_in *)ss)->sin_addr
		                                          : (const void *)&((const struct sockaddr_in6 *)ss)->sin6_addr;
		char text[INET6_ADDRSTRLEN];
		size_t n = strlen(r->evidence);

		if (inet_ntop(ss->ss_family, ip, text, sizeof(text)))
			snprintf(r->evidence + n, sizeof(r->evidence) - n, "%s%s", n ? ", " : "", text);
	}
}

static void on_resolved(struct doctor *d, const struct resolver_answer *a)
{
	char found[DOCTOR_EVIDENCE_MAX];

	add_addresses(d, a);
	if (a->err && row(d)->err != ADIT_ERR_RESOLVE)
		row(d)->err = a->err;
	if (d->questions[ASK_V6] || d->questions[ASK_V4])
		return;
	if (*row(d)->evidence) {
		row(d)->err = 0;
		memcpy(found, row(d)->evidence, sizeof(found));
		conclude(d, DOCTOR_WORKS, "%s", found);
	} else {
		conclude(d, DOCTOR_FAILS, "%s: %s", d->o.proxy ? d->o.proxy->host : d->o.host, err_text(row(d)->err));
	}
}

static void on_v6(void *arg, const struct resolver_answer *a)
{
	((struct doctor *)arg)->questions[ASK_V6] = NULL;
	on_resolved(arg, a);
}

static void on_v4(void *arg, const struct resolver_answer *a)
{
	((struct doctor *)arg)->questions[ASK_V4] = NULL;
	on_resolved(arg, a);
}

static void try_dns(struct doctor *d)
{
	const char *host = d->o.proxy ? d->o.proxy->host : d->o.host;
	uint16_t port = d->o.proxy ? d->o.proxy->port : d->o.port;

	d->questions[ASK_V6] = resolver_ask(d->resolver, host, port, AF_INET6, on_v6, d);
	d->questions[ASK_V4] = resolver_ask(d->resolver, host, port, AF_INET, on_v4, d);
	if (!d->questions[ASK_V6] && !d->questions[ASK_V4])
		conclude(d, DOCTOR_FAILS, "out of memory");
}

/* ---- connections */

static void tell_connected(struct doctor *d, const struct stream *s)
{
	const char *alpn = *s->alpn ? s->alpn : "nothing";

	if (d->at == DOCTOR_TCP)
		conclude(d, DOCTOR_WORKS, "%s port %u", s->peer.ip, s->peer.port);
	else if (d->at == DOCTOR_PROXY)
		conclude(d, DOCTOR_WORKS, "%s opens a way to %s port %u", d->o.proxy->shown, d->o.host, d->o.port);
	else if (d->at == DOCTOR_TLS)
		conclude(d, DOCTOR_WORKS, "certificate accepted for %s", d->o.server_name);
	else
		conclude(d, DOCTOR_WORKS, "offered %sh2, http/1.1: it picks %s", d->at == DOCTOR_ALPN_ADIT ? "adit/1, " : "", alpn);
}

static void on_dialled(void *arg, struct stream *s, int err, const char *detail)
{
	struct doctor *d = arg;

	d->dial = NULL;
	row(d)->err = err;
	if (err) {
		conclude(d, DOCTOR_FAILS, "%s", text_of(err, detail));
		return;
	}
	snprintf(row(d)->alpn, sizeof(row(d)->alpn), "%s", s->alpn);
	tell_connected(d, s);
	stream_free(&s);
}

static void try_dial(struct doctor *d)
{
	bool to_proxy = d->at == DOCTOR_TCP && d->o.proxy;
	struct dial_options o = {
		.host = to_proxy ? d->o.proxy->host : d->o.host, .port = to_proxy ? d->o.proxy->port : d->o.port,
		.proxy = d->at == DOCTOR_TCP ? NULL : d->o.proxy, .tls_name = d->o.server_name, .alpn = TLS_OFFER_HTTP1,
	};

	if (d->at >= DOCTOR_TLS)
		o.tls = d->o.tls;
	if (d->at == DOCTOR_ALPN_ADIT)
		o.alpn = TLS_OFFER_ADIT | TLS_OFFER_H2 | TLS_OFFER_HTTP1;
	else if (d->at == DOCTOR_ALPN_OTHERS)
		o.alpn = TLS_OFFER_H2 | TLS_OFFER_HTTP1;
	d->dial = dial_start(d->loop, d->resolver, &o, on_dialled, d);
	if (!d->dial)
		conclude(d, DOCTOR_FAILS, "out of memory");
}

/* ---- carriers */

static unsigned carrier_of(enum doctor_step step)
{
	switch (step) {
	case DOCTOR_DIRECT:
		return LADDER_DIRECT;
	case DOCTOR_WS_H2:
		return LADDER_WS_H2;
	case DOCTOR_WS_H1:
		return LADDER_WS_H1;
	default:
		return LADDER_POLL;
	}
}

static void tell_refused(struct doctor *d, const struct carrier_result *r)
{
	const char *detail = text_of(r->err, r->detail);

	if (r->status && r->ours)
		conclude(d, DOCTOR_FAILS, "aditd answers %d: %s", r->status, detail);
	else if (r->status)
		conclude(d, DOCTOR_FAILS, "the answer is %d, and not from aditd", r->status);
	else
		conclude(d, DOCTOR_FAILS, "%s", detail);
}

static void on_carrier(void *arg, const struct carrier_result *r, unsigned carrier, const char *why)
{
	struct doctor *d = arg;
	struct stream *s = r->stream;

	(void)why;
	d->ladder = NULL;
	row(d)->err = r->err;
	row(d)->status = r->status;
	row(d)->ours = r->ours;
	if (r->err) {
		tell_refused(d, r);
		return;
	}
	d->report.carriers |= carrier;
	if (carrier == LADDER_WS_H2) /* a 101 to those who speak of halves (half_stream.h) */
		row(d)->status = 200;
	conclude(d, DOCTOR_WORKS, "aditd answers %d", row(d)->status);
	if (carrier == LADDER_POLL) {
		stream_finish(s);
		d->parting = s;
	} else {
		stream_free(&s);
	}
}

/* For a climb with only these allowed. `endpoint`: see carrier_target. */
static struct ladder_options climb_options(struct doctor *d, unsigned allowed, const char *endpoint)
{
	uint8_t id[CARRIER_LINK_ID_HEX / 2];

	random_bytes(id, sizeof(id));
	hex_encode(id, sizeof(id), d->link_id);
	return (struct ladder_options){
		.resolver = d->resolver, .tls = d->o.tls, .host = d->o.host, .port = d->o.port, .server_name = d->o.server_name,
		.proxy = d->o.proxy, .allowed = allowed,
		.target = {.host = d->host_field, .link_id = d->link_id, .token = d->o.token, .agent = d->o.agent,
		           .endpoint = endpoint, .poll_hold_ms = POLL_HOLD_MS},
	};
}

static void try_carrier(struct doctor *d)
{
	const struct ladder_options o = climb_options(d, carrier_of(d->at), NULL);

	d->ladder = ladder_climb(d->loop, &o, on_carrier, d);
	if (!d->ladder)
		conclude(d, DOCTOR_FAILS, "out of memory");
}

/* aditd looks at the token first: whatever else it answers, that was right. */
static void try_token(struct doctor *d)
{
	const struct doctor_row *refused = NULL;
	bool accepted = d->report.carriers != 0;

	for (enum doctor_step i = DOCTOR_DIRECT; i <= DOCTOR_POLL; i++) {
		const struct doctor_row *r = &d->report.rows[i];

		if (r->ours && (r->err == ADIT_ERR_AUTH || r->err == ADIT_ERR_FORBIDDEN))
			refused = r;
		else if (r->ours)
			accepted = true;
	}
	if (accepted)
		conclude(d, DOCTOR_WORKS, "accepted");
	else if (refused)
		conclude(d, DOCTOR_FAILS, "%s", refused->evidence);
	else
		conclude(d, DOCTOR_SKIPPED, "aditd was not asked");
}

/* ---- probes */

/* Why aditd does not measure; from an answer that is none of a probe's. */
static void not_probed(struct doctor *d, int err, int status, bool ours, const char *detail)
{
	row(d)->err = err;
	row(d)->status = status;
	row(d)->ours = ours;
	if (status && !ours)
		conclude(d, DOCTOR_SKIPPED, "the answer is %d, and not from aditd", status);
	else if (status == 404)
		conclude(d, DOCTOR_SKIPPED, "this server cannot be probed: its aditd is older than this adit");
	else if (status)
		conclude(d, DOCTOR_SKIPPED, "aditd answers %d%s%s", status, *detail ? ": " : "", detail);
	else
		conclude(d, DOCTOR_SKIPPED, "%s", text_of(err, detail));
}

static void on_streamed(void *arg, const struct stream_probe_result *r)
{
	struct doctor *d = arg;
	bool apart = r->gap_ms >= PROBE_GAP_MS / 2;

	d->streams = NULL;
	if (r->gap_ms < 0) {
		not_probed(d, r->err, r->status, r->ours, r->detail);
		return;
	}
	row(d)->status = r->status;
	row(d)->ours = true;
	row(d)->first_ms = r->first_ms;
	row(d)->gap_ms = r->gap_ms;
	if (d->at == DOCTOR_REQUEST)
		conclude(d, apart ? DOCTOR_WORKS : DOCTOR_FAILS, "pieces sent %d ms apart reach aditd %lld ms apart", PROBE_GAP_MS,
		         (long long)r->gap_ms);
	else if (apart)
		conclude(d, DOCTOR_WORKS, "first piece after %lld ms, second %lld ms later", (long long)r->first_ms,
		         (long long)r->gap_ms);
	else
		conclude(d, DOCTOR_FAILS, "both pieces after %lld ms: the first is held back until the second comes",
		         (long long)(r->first_ms + r->gap_ms));
}

static void try_streams(struct doctor *d)
{
	const struct ladder_options o = climb_options(d, 0, NULL);
	const struct dial_options dial = {
		.host = d->o.host, .port = d->o.port, .proxy = d->o.proxy, .tls = d->o.tls, .tls_name = d->o.server_name,
		/* by both versions: nginx holds back small pieces from HTTP/1.1 only */
		.alpn = d->at == DOCTOR_RESPONSE_H1 ? TLS_OFFER_HTTP1 : TLS_OFFER_H2 | TLS_OFFER_HTTP1,
	};

	d->streams = stream_probe_new(d->loop, d->resolver, &dial, &o.target, d->at == DOCTOR_REQUEST, on_streamed, d);
	if (!d->streams)
		conclude(d, DOCTOR_FAILS, "out of memory");
}

static void on_idled(void *arg, const struct idle_probe_result *r)
{
	struct doctor *d = arg;
	const char *name = ladder_name(r->carrier);
	double s = (double)r->open_ms / 1000;

	d->idle = NULL;
	row(d)->open_ms = r->open_ms;
	switch (r->end) {
	case IDLE_NOT_MEASURED:
		not_probed(d, r->err, r->status, r->ours, r->detail);
		break;
	case IDLE_OPEN:
		conclude(d, DOCTOR_WORKS, "%s is still open after %.0f s without traffic", name, s);
		break;
	case IDLE_DEAD:
		conclude(d, DOCTOR_FAILS, "%s is dead after %.0f s without traffic: nothing comes back", name, s);
		break;
	case IDLE_CUT:
		conclude(d, r->open_ms > d->o.heartbeat_seconds * INT64_C(1000) ? DOCTOR_WORKS : DOCTOR_FAILS,
		         "%s was cut after %.1f s without traffic; adit's heartbeat is %u s", name, s, d->o.heartbeat_seconds);
		break;
	}
}

static void try_idle(struct doctor *d)
{
	/* poll is never idle: its requests have answers within its hold */
	const struct ladder_options o = climb_options(d, d->report.carriers & ~(unsigned)LADDER_POLL, "probe");

	d->idle = idle_probe_new(d->loop, &o, d->o.idle_seconds, on_idled, d);
	if (!d->idle)
		conclude(d, DOCTOR_FAILS, "out of memory");
}

/* ---- one after another */

/* Why a step makes no sense; NULL = it is tried. */
static const char *pointless(const struct doctor *d, enum doctor_step step)
{
	const struct doctor_row *rows = d->report.rows;
	enum doctor_step ground = d->o.tls ? DOCTOR_TLS : DOCTOR_TCP;

	if (step == DOCTOR_TOKEN)
		return NULL;
	if (step == DOCTOR_IDLE && !d->o.idle_seconds)
		return "only with --idle SECONDS";
	if (step > DOCTOR_DNS && rows[DOCTOR_DNS].verdict == DOCTOR_FAILS)
		return "the name does not resolve";
	if (step > DOCTOR_TCP && rows[DOCTOR_TCP].verdict == DOCTOR_FAILS)
		return "there is no connection";
	if (step == DOCTOR_PROXY)
		return d->o.proxy ? NULL : "there is none";
	if (step > DOCTOR_PROXY && rows[DOCTOR_PROXY].verdict == DOCTOR_FAILS)
		return "the proxy does not let us through";
	if (step >= DOCTOR_TLS && step <= DOCTOR_ALPN_OTHERS && !d->o.tls)
		return "the server is one of http://";
	if (step > DOCTOR_TLS && rows[ground].verdict == DOCTOR_FAILS)
		return "there is no TLS";
	if (step == DOCTOR_WS_H2 && !d->o.tls)
		return "it needs TLS";
	if (step > DOCTOR_TOKEN && rows[DOCTOR_TOKEN].verdict == DOCTOR_FAILS)
		return "the token is refused";
	if (step == DOCTOR_RESPONSE_H2 && strcmp(rows[DOCTOR_ALPN_OTHERS].alpn, TLS_ALPN_H2) != 0)
		return "the server does not pick h2";
	if (step == DOCTOR_IDLE && !(d->report.carriers & ~(unsigned)LADDER_POLL))
		return "no carrier works that could be idle";
	if (step >= DOCTOR_DIRECT && step <= DOCTOR_POLL && !(d->o.allowed & carrier_of(step)))
		return "the configuration forbids it";
	return NULL;
}

static void begin(struct doctor *d)
{
	const char *why = pointless(d, d->at);

	if (why)
		conclude(d, DOCTOR_SKIPPED, "%s", why);
	else if (d->at == DOCTOR_DNS)
		try_dns(d);
	else if (d->at < DOCTOR_DIRECT)
		try_dial(d);
	else if (d->at < DOCTOR_TOKEN)
		try_carrier(d);
	else if (d->at == DOCTOR_TOKEN)
		try_token(d);
	else if (d->at < DOCTOR_IDLE)
		try_streams(d);
	else
		try_idle(d);
}

static void on_next(void *arg)
{
	struct doctor *d = arg;

	if (++d->at < DOCTOR_STEPS) {
		begin(d);
		return;
	}
	for (enum doctor_step i = DOCTOR_DNS; i < DOCTOR_STEPS; i++)
		d->report.rows[i].advice = doctor_advice(&d->report, i);
	d->done(d->arg, &d->report);
}

struct doctor *doctor_new(struct loop *l, struct resolver *r, const struct doctor_options *o, doctor_fn *done, void *arg)
{
	struct doctor *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->loop = l;
	d->resolver = r;
	d->o = *o;
	d->done = done;
	d->arg = arg;
	d->next = (struct task){.run = on_next, .arg = d};
	for (enum doctor_step i = DOCTOR_DNS; i < DOCTOR_STEPS; i++)
		d->report.rows[i].first_ms = d->report.rows[i].gap_ms = d->report.rows[i].open_ms = -1;
	carrier_host(d->host_field, o->server_name, o->port, o->tls != NULL);
	begin(d);
	return d;
}

void doctor_free(struct doctor **dp)
{
	struct doctor *d = *dp;

	if (!d)
		return;
	*dp = NULL;
	for (int i = 0; i < QUESTIONS; i++)
		resolver_cancel(&d->questions[i]);
	dial_cancel(&d->dial);
	ladder_cancel(&d->ladder);
	stream_free(&d->parting);
	stream_probe_cancel(&d->streams);
	idle_probe_cancel(&d->idle);
	task_cancel(d->loop, &d->next);
	free(d);
}
