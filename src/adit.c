/* adit: the tunnel client. It wires the parts together. The map of both programs stands at the head of aditd.c.
 *
 *   dialer (session/) keeps the link up ─► request ─► exchange ─► tunnels (origin/) ─► the local web server
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"

#include "base/err.h"
#include "base/memory.h"
#include "conf/conf.h"
#include "confine.h"
#include "doctor/doctor.h"
#include "exchange/exchange.h"
#include "http/page.h"
#include "io/headroom.h"
#include "io/notify.h"
#include "io/tcp.h"
#include "origin/tunnels.h"
#include "session/client_key.h"
#include "session/dialer.h"
#include "watch/transcript.h"

#define AGENT "adit/" PACKAGE_VERSION
#define EXIT_BAD_CONF 2
#define EXIT_REFUSED 3
_Static_assert(CONF_NAMES_MAX <= HANDSHAKE_TUNNELS_MAX, "what a configuration names fits a HELLO");
/** Twice that with the file before it: weeks of a flapping link. */
#define TRACE_MAX_BYTES (64u << 20)
/** How long SIGTERM, or a replaced configuration, waits for requests in flight. */
#define DRAIN_MS 30000
#define DRAIN_LOOK_MS 50
/** At the least: what the server sent before it read our GOAWAY has to arrive. */
#define DRAIN_LEAST_MS 250
/** Retry-After of what is refused for want of memory: it is looked ten times a second whether there is some again. */
#define MEMORY_RETRY_S 1
/** One line on the terminal; longer ones are cut. */
#define LINE_LEN 1024

/* One configuration at work. While a new one connects, the old one goes on serving. */
struct work {
	struct client *client;
	struct conf_client *conf;
	struct tls_context *tls;
	struct dial_proxy proxy;
	struct wire_hello *hello;
	struct tunnels *tunnels;
	struct dialer *dialer;
	struct work *older;     /* in the list of those that finish their requests */
	uint64_t drain_least, drain_until;
	char trouble[LINE_LEN]; /* why it is not connected, as was told last; "" when it is */
};

struct client {
	int argc;
	char **argv;
	struct loop *loop;
	struct log *log, *trace;
	struct tls_keylog *keylog;
	struct resolver *resolver;
	struct guesses *guesses;
	struct headroom headroom;
	struct budget budget;
	struct work *now, *next, *old; /* serving; taking over after SIGHUP; those that finish their requests */
	struct timer drain;
	uint64_t starved_ms; /* when it was last told that descriptors are lacking */
	struct notify_watchdog watchdog;
	bool leaving;
	bool terminal; /* somebody watches standard output: lines for people */
	bool logs;     /* events go to the log as well: nobody would see them twice */
	int code;
};

/* ---- the terminal */

/* A line with the time before it. What peers sent can stand in it: only printable ASCII is shown as it is. When
 * nobody takes the line (the terminal is stopped) it is lost: requests do not wait for a terminal. */
__attribute__((format(printf, 2, 3))) static void say(const struct client *c, const char *format, ...)
{
	char text[LINE_LEN];
	struct pollfd out = {.fd = STDOUT_FILENO, .events = POLLOUT};
	time_t now = time(NULL);
	struct tm tm;
	va_list ap;

	if (!c->terminal || poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT) || !localtime_r(&now, &tm))
		return;
	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	printf("%02d:%02d:%02d  ", tm.tm_hour, tm.tm_min, tm.tm_sec);
	for (const char *p = text; *p; p++) {
		if (*p >= ' ' && *p <= '~')
			putchar(*p);
		else
			printf("\\x%02x", (unsigned char)*p);
	}
	putchar('\n');
	fflush(stdout);
}

/* The log for what `say` has told. */
static struct log *events_of(const struct client *c)
{
	return c->logs ? c->log : NULL;
}

/* ---- requests */

static struct half *route(void *arg, struct exchange *x, struct head *h, int *err)
{
	struct work *w = arg;
	struct tunnels_way way = {NULL, NULL, 0};
	struct half *half = NULL;

	*err = ADIT_ERR_MEMORY;
	if (headroom_begin(&w->client->headroom))
		half = tunnels_route(w->tunnels, h, &way, err);
	else
		way.wait_s = MEMORY_RETRY_S;
	if (way.name)
		exchange_name(x, way.name);
	if (way.origin)
		exchange_detail(x, way.origin);
	exchange_retry_after(x, way.wait_s);
	return half;
}

static void exchange_done(void *arg, const struct exchange_report *r)
{
	struct client *c = ((struct work *)arg)->client;
	/* a visitor of a TCP port gets no page that says why */
	enum log_level level = r->status >= 500 && strcmp(r->method, "CONNECT") == 0 ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG;

	if (r->err == ADIT_ERR_DESCRIPTORS && log_seldom(&c->starved_ms, loop_ms(c->loop)))
		log_event(c->log, LOG_LEVEL_WARN, "descriptors.out", KV_Z("error", err_text(r->err)));
	say(c, "%-7s %3d  %8.1f ms  %s%s%s%s%s%s", r->method, r->status, (double)r->total_us / 1000., r->host, r->path,
	    r->err ? "  " : "", r->err ? err_text(r->err) : "", r->err ? ": " : "", r->err ? r->detail : "");
	log_event(events_of(c), level, "request", KV_Z("name", r->name), KV_Z("method", r->method), KV_Z("host", r->host),
	          KV_Z("path", r->path), KV_I64("status", r->status), KV_U64("in", r->request_bytes),
	          KV_U64("out", r->response_bytes), KV_US("ms", r->total_us), KV_Z("error", r->err ? err_text(r->err) : ""),
	          KV_Z("detail", r->err ? r->detail : ""));
}

static const struct exchange_events exchange_events = {route, exchange_done};

static void on_request(void *owner, struct h2_stream *s, const struct head *h, bool bodyless)
{
	const struct exchange_options o = {&exchange_events, owner, PAGE_HOP_CLIENT, "", false, NULL,
	                                   loop_pool(((struct work *)owner)->client->loop)};
	struct exchange *x = exchange_new(&o, h2_stream_half(s));

	if (x) /* the head belongs to the stream, which has no more use for it */
		exchange_begin(x, (struct head *)(uintptr_t)h, bodyless);
}

static void on_memory(void *owner, enum headroom_level level)
{
	((struct client *)owner)->budget.state = budget_state_of(level);
}

static void set_memory(struct client *c, uint64_t most)
{
	headroom_set(&c->headroom, most);
	c->budget.limit = headroom_windows(&c->headroom);
}

/* ---- one configuration at work */

static void work_free(struct work **wp)
{
	struct work *w = *wp;
	struct loop *l;

	if (!w)
		return;
	*wp = NULL;
	l = w->client->loop;
	dialer_free(&w->dialer);
	loop_settle(l);
	tunnels_free(&w->tunnels);
	loop_settle(l);
	tls_context_free(&w->tls);
	free(w->hello);
	conf_client_free(&w->conf);
	free(w);
}

static void begin_drain(struct work *w)
{
	uint64_t now = loop_ms(w->client->loop);

	dialer_drain(w->dialer);
	w->drain_least = now + DRAIN_LEAST_MS;
	w->drain_until = now + DRAIN_MS;
	timer_set(&w->client->drain, 0);
}

/* It is freed by on_drain and not here, in the middle of the events of another one. */
static void retire(struct client *c, struct work *w)
{
	w->older = c->old;
	c->old = w;
	begin_drain(w);
}

/* The conf's tunnel behind entry `i` of a HELLO; NULL behind the last. */
static const struct conf_tunnel *tunnel_of(const struct work *w, size_t i)
{
	char port[CONF_PORT_NAME_MAX];
	const char *name;

	return tunnels_wanted(w->conf, i, &name, port);
}

static size_t widest_url(const struct work *w, const struct wire_welcome *welcome)
{
	const struct conf_tunnel *t;
	size_t widest = 0;

	for (size_t i = 0; i < welcome->tunnel_count && (t = tunnel_of(w, i)); i++) {
		size_t n = strlen(welcome->tunnels[i].url);

		widest = n > widest ? n : widest;
		for (size_t r = 0; r < t->route_count; r++)
			widest = n + strlen(t->routes[r].path) > widest ? n + strlen(t->routes[r].path) : widest;
	}
	return widest;
}

static void say_published(const struct client *c, const struct work *w, const struct wire_welcome *welcome)
{
	int widest = (int)widest_url(w, welcome);
	const struct conf_tunnel *t;

	for (size_t i = 0; i < welcome->tunnel_count && (t = tunnel_of(w, i)); i++) {
		const char *url = welcome->tunnels[i].url;
		char origin[CONF_ORIGIN_TEXT_MAX];

		conf_origin_text(&t->own.origin, origin);
		say(c, "%-*s  ->  %s", widest, url, origin);
		for (size_t r = 0; r < t->route_count; r++) {
			conf_origin_text(&t->routes[r].origin, origin);
			say(c, "%s%-*s  ->  %s", url, widest - (int)strlen(url), t->routes[r].path, origin);
		}
	}
}

static void on_published(void *owner, const struct wire_welcome *welcome, const char *carrier, const char *why)
{
	struct work *w = owner;
	struct client *c = w->client;
	const struct conf_tunnel *t;

	*w->trouble = '\0';
	say_published(c, w, welcome);
	for (size_t i = 0; i < welcome->tunnel_count && (t = tunnel_of(w, i)); i++) {
		char origin[CONF_ORIGIN_TEXT_MAX];

		conf_origin_text(&t->own.origin, origin);
		tunnels_publish(w->tunnels, i, welcome->tunnels[i].name);
		log_event(events_of(c), LOG_LEVEL_INFO, "published", KV_Z("name", welcome->tunnels[i].name),
		          KV_Z("url", welcome->tunnels[i].url), KV_Z("origin", origin),
		          KV_Z("carrier", carrier), KV_SOME("why", why), KV_Z("server", welcome->agent));
	}
	if (c->next == w) {
		c->next = NULL;
		if (w->conf->max_memory != c->now->conf->max_memory)
			set_memory(c, w->conf->max_memory);
		retire(c, c->now);
		c->now = w;
		log_event(events_of(c), LOG_LEVEL_INFO, "reloaded", KV_U64("tunnels", w->conf->tunnel_count));
	}
}

static void on_moved(void *owner, const char *carrier, const char *why, uint64_t away_ms)
{
	struct work *w = owner;
	struct client *c = w->client;

	*w->trouble = '\0';
	if (away_ms)
		say(c, "connected again over %s after %.1f s, nothing was lost", carrier, (double)away_ms / 1000.);
	else
		say(c, "moved to %s", carrier);
	log_event(events_of(c), LOG_LEVEL_INFO, "moved", KV_Z("server", w->conf->server), KV_Z("carrier", carrier),
	          KV_SOME("why", why), KV_U64("away_ms", away_ms));
}

static void on_down(void *owner, int err, const char *detail, uint32_t retry_ms)
{
	struct work *w = owner;
	struct client *c = w->client;
	char trouble[LINE_LEN];

	if (strstr(detail, err_text(err)))
		snprintf(trouble, sizeof(trouble), "%s", detail);
	else
		snprintf(trouble, sizeof(trouble), "%s: %s", err_text(err), detail);
	if (strcmp(trouble, w->trouble) != 0) /* it is tried again and again; people want to read it once */
		say(c, "not connected to %s: %s; trying again", w->conf->server, trouble);
	memcpy(w->trouble, trouble, sizeof(trouble));
	log_event(events_of(c), LOG_LEVEL_WARN, "down", KV_Z("server", w->conf->server), KV_Z("reason", err_text(err)),
	          KV_Z("detail", detail), KV_U64("retry_ms", retry_ms));
}

static void on_refused(void *owner, int err, const char *reason)
{
	struct work *w = owner;
	struct client *c = w->client;

	say(c, "%s refuses: %s (%d)%s", w->conf->server, reason, err_status(err),
	    err == ADIT_ERR_AUTH ? "; the token comes from the token file or ADIT_TOKEN" : "");
	log_event(events_of(c), LOG_LEVEL_ERROR, "refused", KV_Z("server", w->conf->server),
	          KV_I64("status", err_status(err)), KV_Z("reason", reason),
	          KV_Z("hint", err == ADIT_ERR_AUTH ? "the token in the token file or ADIT_TOKEN" : ""));
	if (w == c->next) {
		log_event(c->log, LOG_LEVEL_ERROR, "reload.failed", KV_Z("kept", "the old configuration"));
		return; /* it stays, idle, until the next SIGHUP or the end */
	}
	c->code = EXIT_REFUSED;
	loop_stop(c->loop);
}

static const struct dialer_events dialer_events = {on_request, on_published, on_moved, on_down, on_refused};

static struct wire_hello *make_hello(const struct conf_client *c, struct log *log)
{
	struct wire_hello *h = calloc(1, sizeof(*h));
	const struct conf_tunnel *t;
	char port[CONF_PORT_NAME_MAX];
	const char *name;

	if (!h)
		return NULL;
	h->version = WIRE_VERSION;
	snprintf(h->agent, sizeof(h->agent), "%s", AGENT);
	client_key(c->state_dir, h->client_key, log);
	while (h->tunnel_count < HANDSHAKE_TUNNELS_MAX && (t = tunnels_wanted(c, h->tunnel_count, &name, port))) {
		struct wire_tunnel *w = &h->tunnels[h->tunnel_count++];
		char origin[CONF_ORIGIN_TEXT_MAX];

		conf_origin_text(&t->own.origin, origin);
		/* the label tells random names of one client apart: the origin does, whatever its order in the file */
		snprintf(w->name, sizeof(w->name), "%s", name);
		snprintf(w->label, sizeof(w->label), "%.*s", HANDSHAKE_LABEL_MAX, origin);
	}
	return h;
}

static unsigned carriers_of(const struct conf_client *c)
{
	static const unsigned bits[] = {
		[CONF_CARRIER_DIRECT] = LADDER_DIRECT, [CONF_CARRIER_WS_H2] = LADDER_WS_H2, [CONF_CARRIER_WS_H1] = LADDER_WS_H1,
		[CONF_CARRIER_POLL] = LADDER_POLL,
	};
	unsigned out = 0;

	if (c->carrier != CONF_CARRIER_AUTO)
		return bits[c->carrier];
	for (unsigned i = CONF_CARRIER_DIRECT; i <= CONF_CARRIER_POLL; i++)
		if (!c->carriers || (c->carriers & (1u << i)))
			out |= bits[i];
	return out;
}

static struct tls_context *tls_of(const struct conf_client *c, struct tls_error *e)
{
	return tls_context_client(c->ca, c->client_certificate, c->client_key, e);
}

static struct dial_proxy proxy_of(const struct conf_client *c)
{
	return (struct dial_proxy){c->proxy_host, c->proxy_port, c->proxy_credentials, c->proxy};
}

/* Takes over `*conf`. NULL with a line in `e`. */
static struct work *work_new(struct client *c, struct conf_client **conf, struct conf_error *e)
{
	struct work *w = calloc(1, sizeof(*w));
	const struct tunnels_options origins = {c->resolver, &c->budget, c->keylog, c->guesses};
	struct tls_error te = {"out of memory"};
	struct dialer_options o;

	snprintf(e->text, sizeof(e->text), "out of memory");
	if (!w)
		return NULL;
	w->client = c;
	w->conf = *conf;
	*conf = NULL;
	if (w->conf->server_tls)
		w->tls = tls_of(w->conf, &te);
	if (w->tls || !w->conf->server_tls)
		w->tunnels = tunnels_new(c->loop, &origins, w->conf, &te);
	if (!w->tunnels) {
		snprintf(e->text, sizeof(e->text), "%s", te.text);
		work_free(&w);
		return NULL;
	}
	tls_context_keylog(w->tls, c->keylog);
	w->proxy = proxy_of(w->conf);
	w->hello = make_hello(w->conf, c->log);
	o = (struct dialer_options){
		.resolver = c->resolver, .tls = w->tls, .host = w->conf->server_host, .port = w->conf->server_port,
		.server_name = w->conf->server_name, .token = w->conf->token, .agent = AGENT, .hello = w->hello, .log = c->log,
		.trace = c->trace, .proxy = w->conf->proxy ? &w->proxy : NULL, .carriers = carriers_of(w->conf),
		.heartbeat_ms = w->conf->heartbeat_seconds * 1000u, .climb_ms = w->conf->climb_ms, .poll_hold_ms = w->conf->poll_hold_ms,
		.poll_interval_ms = w->conf->poll_interval_ms, .state_dir = w->conf->state_dir, .budget = &c->budget,
		.events = &dialer_events, .owner = w,
	};
	w->dialer = w->hello ? dialer_new(c->loop, &o) : NULL;
	if (!w->dialer)
		work_free(&w);
	return w;
}

/* ---- signals */

static void reload(struct client *c)
{
	struct conf_client *fresh = NULL;
	struct conf_error e = {""};
	struct work *w = NULL;

	if (c->leaving)
		return;
	notify_manager(NOTIFY_RELOADING);
	if (conf_client_reread(c->argc, c->argv, &fresh, &e) == 0)
		w = work_new(c, &fresh, &e);
	log_reopen(c->log);
	log_reopen(c->trace);
	notify_manager(NOTIFY_READY);
	if (!w) {
		log_event(c->log, LOG_LEVEL_ERROR, "reload.failed", KV_Z("error", e.text), KV_Z("kept", "the old configuration"));
		return;
	}
	work_free(&c->next);
	c->next = w;
}

/* First its requests end, then the server is told that it leaves, so that nobody waits for its return. */
static bool is_at_work(struct work *w)
{
	uint64_t now = loop_ms(w->client->loop);

	if (now < w->drain_least || (dialer_open(w->dialer) && now < w->drain_until))
		return true;
	dialer_close(w->dialer);
	return !dialer_closed(w->dialer);
}

static void on_drain(void *arg)
{
	struct client *c = arg;
	struct work **at = &c->old;

	while (*at) {
		struct work *w = *at;

		if (is_at_work(w)) {
			at = &w->older;
			continue;
		}
		*at = w->older;
		work_free(&w);
	}
	if (c->leaving && !c->old && !is_at_work(c->now))
		loop_stop(c->loop);
	else if (c->leaving || c->old)
		timer_set(&c->drain, DRAIN_LOOK_MS);
}

static void on_signal(void *arg, int signo)
{
	struct client *c = arg;

	if (signo == SIGHUP) {
		reload(c);
	} else if (signo == SIGUSR1) {
		log_dump(c->trace, c->log);
	} else if (c->leaving) { /* asked twice: at once */
		loop_stop(c->loop);
	} else {
		c->leaving = true;
		notify_manager(NOTIFY_STOPPING);
		if (dialer_open(c->now->dialer))
			say(c, "leaving when %u requests have ended; press again to leave at once", dialer_open(c->now->dialer));
		log_event(events_of(c), LOG_LEVEL_INFO, "draining", KV_U64("requests", dialer_open(c->now->dialer)));
		begin_drain(c->now);
	}
}

/* ---- life */

static int open_logs(struct client *c, const struct conf_client *conf)
{
	const struct log_options log = {.format = conf->log_format, .level = conf->log_level, .held = true};
	const struct log_options trace = {
		.path = conf->trace, .format = LOG_FORMAT_JSON, .level = LOG_LEVEL_INFO, .max_bytes = TRACE_MAX_BYTES,
		.monotonic = true, .program = "adit", .keep = true, .no_file = !conf->trace, .held = true,
	};

	c->terminal = conf->log_format == LOG_FORMAT_TEXT && isatty(STDOUT_FILENO);
	c->logs = !c->terminal || !isatty(STDERR_FILENO) || conf->log_level == LOG_LEVEL_DEBUG;
	if (log_open(&c->log, &log) < 0)
		return ADIT_ERR_NOMEM;
	return log_open(&c->trace, &trace);
}

/* With all that is needed at hand; what threads may do is settled before they start. */
static int confine(struct client *c)
{
	struct guard_error e;
	struct guard *g = confine_client(c->now->conf, &e);
	int err = g ? log_start(c->trace) : ADIT_ERR_SYS;

	if (!g)
		fprintf(stderr, "adit: %s\n", e.text);
	else if (err)
		fprintf(stderr, "adit: cannot write to %s: %s\n", c->now->conf->trace, strerror(errno));
	log_start(c->log);
	if (!err)
		guard_seal(g, events_of(c));
	guard_free(&g);
	return err;
}

static void tear_down(struct client *c)
{
	work_free(&c->next);
	while (c->old) {
		struct work *w = c->old;

		c->old = w->older;
		work_free(&w);
	}
	work_free(&c->now);
	timer_stop(&c->drain);
	notify_watchdog_stop(&c->watchdog);
	resolver_free(&c->resolver);
	guesses_free(&c->guesses);
	headroom_stop(&c->headroom);
	loop_settle(c->loop);
	loop_free(&c->loop);
	tls_keylog_free(&c->keylog);
	log_close(&c->trace);
	log_close(&c->log);
}

static int run_doctor(const struct conf_client *conf)
{
	const struct dial_proxy proxy = proxy_of(conf);
	struct tls_error te;
	struct doctor_options o = {
		.server = conf->server, .host = conf->server_host, .port = conf->server_port, .server_name = conf->server_name,
		.proxy = conf->proxy ? &proxy : NULL, .token = conf->token, .agent = AGENT, .allowed = carriers_of(conf),
		.idle_seconds = conf->idle_seconds, .heartbeat_seconds = conf->heartbeat_seconds,
	};
	int code;

	if (conf->server_tls && !(o.tls = tls_of(conf, &te))) {
		fprintf(stderr, "adit: %s\n", te.text);
		return EXIT_BAD_CONF;
	}
	signal(SIGPIPE, SIG_IGN);
	code = doctor_run(&o, conf->json);
	tls_context_free(&o.tls);
	return code;
}

static int run_trace(const struct conf_client *conf)
{
	return (int)transcript_run(&(struct transcript_options){
		.paths = conf->traces, .n = conf->trace_count, .json = conf->json, .follow = conf->follow,
	});
}

static int run(struct client *c, struct conf_client **conf)
{
	struct conf_error e;

	if (*(*conf)->warning)
		log_event(c->log, LOG_LEVEL_WARN, "warning", KV_Z("text", (*conf)->warning));
	headroom_init(&c->headroom, c->loop, &(struct headroom_options){.log = c->log, .changed = on_memory, .owner = c});
	set_memory(c, (*conf)->max_memory);
	timer_init(&c->drain, c->loop, on_drain, c);
	c->resolver = resolver_new(c->loop);
	c->guesses = guesses_new(loop_ms(c->loop));
	if (!c->resolver || !c->guesses)
		return 1;
	c->keylog = tls_keylog_open(c->log);
	c->now = work_new(c, conf, &e);
	if (!c->now) {
		fprintf(stderr, "adit: %s\n", e.text);
		return EXIT_BAD_CONF;
	}
	if (confine(c) < 0)
		return 1;
	signal(SIGPIPE, SIG_IGN);
	loop_signal(c->loop, SIGHUP, on_signal, c);
	loop_signal(c->loop, SIGTERM, on_signal, c);
	loop_signal(c->loop, SIGINT, on_signal, c);
	loop_signal(c->loop, SIGUSR1, on_signal, c);
	notify_manager(NOTIFY_READY); /* not only when published: a server that is down must not fail the service */
	notify_watchdog_start(&c->watchdog, c->loop);
	log_event(c->trace, LOG_LEVEL_INFO, "start", KV_Z("version", PACKAGE_VERSION),
	          KV_Z("server", c->now->conf->server), KV_I64("pid", getpid()));
	loop_run(c->loop);
	log_event(c->trace, LOG_LEVEL_INFO, "stop", KV_U64("requests", dialer_open(c->now->dialer)));
	return c->code;
}

int main(int argc, char **argv)
{
	struct client c = {.argc = argc, .argv = argv};
	struct conf_client *conf = NULL;
	struct conf_error e = {""};
	enum conf_action action = conf_client_argv(argc, argv, &conf, &e);
	int code = 1;

	if (action == CONF_DONE)
		return 0;
	if (action == CONF_FAILED) {
		fprintf(stderr, "%s\n", e.text);
		return EXIT_BAD_CONF;
	}
	if (conf->doctor || conf->trace_count) {
		code = conf->doctor ? run_doctor(conf) : run_trace(conf);
		conf_client_free(&conf);
		return code;
	}
	memory_tune();
	memory_keep_reserve();
	tcp_raise_limit();
	c.loop = loop_new();
	if (c.loop && open_logs(&c, conf) == 0)
		code = run(&c, &conf);
	conf_client_free(&conf);
	if (c.loop)
		tear_down(&c);
	return code;
}
