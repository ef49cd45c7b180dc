/* aditd: the tunnel server. This file wires the parts together and does nothing else.
 *
 * The map of both programs, in data-path order (doc/map.md draws it):
 *
 *   visitor ─► edge ─► exchange ─► session ─► link ─► carrier ─► io                    (aditd)
 *                                                          ║ network
 *   origin ◄─ origin ◄─ exchange ◄─ session ◄─ link ◄─ carrier ◄─ io                   (adit)
 *
 *   io/        descriptors, libev, OpenSSL: everything else moves bytes through its streams
 *     loop       turns, timers, tasks, signals             stream     the byte-stream contract
 *     listener   accepts: TCP, Unix, TLS, PROXY header      tcp, tls   streams; headroom: memory for more?
 *     proxyproto the PROXY header                           dial       resolve, connect, proxy, TLS
 *     handed     sockets opened by others                   takeover   of the aditd that runs; notify tells systemd
 *     resolver   names to addresses (c-ares)                race       the first of them that answers
 *     proxy_connect  what a proxy is told and answers       devcert    certificates for --dev
 *   edge/      aditd's visitor-facing half
 *     edge       takes connections, routes requests         greet      HTTP/1.1 or HTTP/2?  crowd  who goes?
 *     edge_h1    one HTTP/1.1 connection, an asking half     edge_h2    one HTTP/2 connection, its streams asking halves
 *     registry   name to live session                       endpoint   a request for us becomes a carrier
 *     accept     carriers become links, or resume them      hold       requests that wait for their tunnel
 *     auth       tokens and what they allow              admit      the rules of a name's token
 *     admin      /healthz, /readyz                          dev        what --dev makes by itself
 *     drain      the order of an end                        handover   gives the sockets to the next aditd
 *     ports      published TCP ports                        door       a connection to one, an asking half
 *   raw/       a socket's bytes, ends and resets as a half: what door and TCP origins share
 *   rules/     what visitors may do, in both programs: rules, pass (halves between), pacer, logins, guesses
 *   exchange/  couples an asking half with an answering half; error pages; reports for the access log
 *   http/      messages without sockets: head, half (the contract), h1 (llhttp and the judge), forward, page
 *   h2/        HTTP/2 over bytes (nghttp2): connection, streams as halves, scheduler, memory budget
 *   session/   session: h2 above a link, and the pump to its carrier
 *     dialer     adit's side keeps a link up                flight     ladders beside each other
 *     knock      first frames on a carrier to move to       retired    sessions whose server drains
 *     backoff, climb, worked: when to dial, when to try better, what is remembered
 *   link/      the byte stream that outlives carriers: frame, link, replay, pacing, handshake
 *   carrier/   ways through today's networks
 *     ladder     tries them, best first                     upgrade    direct and ws-h1: an HTTP/1.1 Upgrade
 *     ws_h2      extended CONNECT on outer, a connection     ws         WebSocket frames as a stream
 *     half_stream  bytes of a half as a stream               endpoint   their paths, as aditd sees them
 *     probe_answered  what adit doctor measures with
 *   origin/    adit's half towards the local server: origin_h1, origin_h2; tunnels says which origin it is
 *   doctor/    adit doctor: tries every step and carrier on the way to the server, and says what works
 *   watch/     adit trace: what --trace has written, told for people: record, source, merge, phrase, summary
 *   guard/     what is given up once all is open: user, capabilities, files, system calls; confine.c: by which conf
 *   conf/      the one option table, files, flags            base/     buf, str, list, err, log, digest, clock
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#include "base/err.h"
#include "base/memory.h"
#include "conf/conf.h"
#include "confine.h"
#include "edge/accept.h"
#include "edge/admin.h"
#include "edge/dev.h"
#include "edge/drain.h"
#include "edge/edge.h"
#include "io/headroom.h"
#include "io/listener.h"
#include "io/notify.h"
#include "io/takeover.h"
#include "io/tcp.h"

#define EXIT_BAD_CONF 2
/** Twice that with the file before it: weeks of a flapping link. */
#define TRACE_MAX_BYTES (64u << 20)

struct entrance {
	char *address; /* as configured: what SIGHUP compares */
	struct listener *listener;
	bool tls, proxy_protocol;
	bool taken; /* while a new configuration is set: one of its entrances is this one */
};

struct server {
	int argc;
	char **argv;
	struct loop *loop;
	struct conf_server *conf;
	struct log *log, *access, *trace;
	struct tls_keylog *keylog;
	struct headroom headroom;
	struct budget budget;
	struct registry *registry;
	struct ports *ports;
	struct acceptor *acceptor;
	struct edge *edge;
	struct handover *handover;
	struct admin *admin;
	struct listener *admin_listener;
	struct entrance *entrances;
	size_t entrance_count;
	struct handed handed;      /* at the start: sockets that others have opened */
	struct takeover *takeover; /* at the start: the aditd that runs waits for our word */
	struct drain drain;
	struct notify_watchdog watchdog;
	bool full, told_to_end;
	bool confined; /* it has given up what it does not need any more */
	char published[600];
};

/* ---- entrances */

static void close_entrances(struct entrance *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		listener_close(&v[i].listener);
		free(v[i].address);
	}
	free(v);
}

static struct entrance *find_entrance(struct server *s, const struct conf_listen *l)
{
	for (size_t i = 0; i < s->entrance_count; i++) {
		struct entrance *e = &s->entrances[i];

		if (!e->listener || e->taken || e->tls != l->tls || e->proxy_protocol != l->proxy_protocol)
			continue;
		/* port 0 may be written as itself or as what it became */
		if (strcmp(e->address, l->address) == 0 || strcmp(listener_address(e->listener), l->address) == 0)
			return e;
	}
	return NULL;
}

static struct tls_context *context_for(const struct server *s, const struct conf_server *conf,
                                       const struct conf_listen *l, struct conf_error *e)
{
	const unsigned alpn = TLS_OFFER_ADIT | TLS_OFFER_H2 | TLS_OFFER_HTTP1;
	struct tls_error te;
	struct tls_context *c = tls_context_server(l->certificate, l->key, alpn, &te);

	for (size_t i = 0; c && i < conf->certificate_count; i++)
		if (tls_context_add(c, conf->certificates[i].certificate, conf->certificates[i].key, &te) < 0)
			tls_context_free(&c);
	if (!c)
		snprintf(e->text, sizeof(e->text), "%s", te.text);
	tls_context_keylog(c, s->keylog);
	return c;
}

/* On a socket that was handed to us, if there is one for that address. */
static int open_listener(struct server *s, struct listener **out, struct listener_options *o, listener_accept_fn *fn,
                         void *arg, struct conf_error *e)
{
	struct handed_socket handed = handed_take(&s->handed, o->address);
	bool given_up;
	int err;

	o->handed = &handed;
	err = listener_open(out, s->loop, o, fn, arg);
	given_up = err == ADIT_ERR_SYS && errno == EACCES && s->confined;
	if (err)
		snprintf(e->text, sizeof(e->text), "cannot listen on %s: %s%s", o->address,
		         err == ADIT_ERR_SYS ? strerror(errno) : err_text(err),
		         given_up ? "; new ports below 1024 and new folders need a restart" : "");
	else if (handed.fd >= 0)
		log_event(s->log, LOG_LEVEL_INFO, "socket.taken", KV_Z("address", listener_address(*out)),
		          KV_Z("from", handed.from));
	return err;
}

static int open_entrance(struct server *s, const struct conf_listen *l, struct tls_context *tls, struct entrance *out,
                         struct conf_error *e)
{
	struct listener_options o = {
		.address = l->address, .tls = tls, .proxy_protocol = l->proxy_protocol, .starved = edge_starved,
	};
	int err = open_listener(s, &out->listener, &o, edge_accept, s->edge, e);

	if (!err)
		log_event(s->log, LOG_LEVEL_INFO, "listening", KV_Z("address", listener_address(out->listener)),
		          KV_BOOL("tls", l->tls), KV_BOOL("proxy_protocol", l->proxy_protocol));
	return err;
}

/* Opens what `conf` wants, keeping the entrances that are open already; on an error everything stays as it was. */
static int set_entrances(struct server *s, const struct conf_server *conf, struct conf_error *e)
{
	struct entrance *fresh = calloc(conf->listen_count + 1, sizeof(*fresh));
	struct entrance **old = calloc(conf->listen_count + 1, sizeof(*old));
	struct tls_context **tls = calloc(conf->listen_count + 1, sizeof(*tls));
	int err = fresh && old && tls ? 0 : ADIT_ERR_NOMEM;

	for (size_t i = 0; !err && i < conf->listen_count; i++) {
		const struct conf_listen *l = &conf->listen[i];

		if (l->tls && !(tls[i] = context_for(s, conf, l, e)))
			err = ADIT_ERR_CONFIG;
		fresh[i] = (struct entrance){.address = strdup(l->address), .tls = l->tls, .proxy_protocol = l->proxy_protocol};
		if (!err && !fresh[i].address)
			err = ADIT_ERR_NOMEM;
		old[i] = err ? NULL : find_entrance(s, l);
		if (old[i])
			old[i]->taken = true;
		else if (!err)
			err = open_entrance(s, l, tls[i], &fresh[i], e);
	}
	for (size_t i = 0; i < s->entrance_count; i++)
		s->entrances[i].taken = false;
	for (size_t i = 0; !err && i < conf->listen_count; i++) {
		if (old[i]) {
			fresh[i].listener = old[i]->listener;
			old[i]->listener = NULL;
			listener_set_tls(fresh[i].listener, tls[i]);
		}
		listener_pause(fresh[i].listener, s->full);
	}
	free(old);
	for (size_t i = 0; tls && i < conf->listen_count; i++)
		tls_context_free(&tls[i]);
	free(tls);
	if (err) {
		if (fresh)
			close_entrances(fresh, conf->listen_count);
		return err;
	}
	close_entrances(s->entrances, s->entrance_count);
	s->entrances = fresh;
	s->entrance_count = conf->listen_count;
	return 0;
}

static void on_full(void *owner, bool full)
{
	struct server *s = owner;

	s->full = full;
	for (size_t i = 0; i < s->entrance_count; i++)
		listener_pause(s->entrances[i].listener, full);
	ports_pause(s->ports, full);
}

static void on_memory(void *owner, enum headroom_level level)
{
	struct server *s = owner;

	s->budget.state = budget_state_of(level);
	if (s->edge)
		edge_press(s->edge, level);
}

static void set_memory(struct server *s, uint64_t most)
{
	headroom_set(&s->headroom, most);
	s->budget.limit = headroom_windows(&s->headroom);
}

static void on_port_connection(void *owner, struct stream *stream, const char *name)
{
	edge_accept_port(((struct server *)owner)->edge, stream, name);
}

static void on_port_starved(void *owner)
{
	edge_starved(((struct server *)owner)->edge);
}

/* Where visitors find names: as configured, else at the first TLS listener, else at the first. */
static void set_published(struct server *s, const struct conf_server *conf)
{
	size_t at = 0;
	const char *port;
	bool tls;

	if (conf->public_url) {
		snprintf(s->published, sizeof(s->published), "%s", conf->public_url);
		return;
	}
	while (at < s->entrance_count && !s->entrances[at].tls)
		at++;
	if (at == s->entrance_count)
		at = 0;
	tls = s->entrances[at].tls;
	port = strrchr(listener_address(s->entrances[at].listener), ':');
	if (!port || strcmp(port, tls ? ":443" : ":80") == 0 || strchr(port, '/'))
		port = "";
	snprintf(s->published, sizeof(s->published), "%s://NAME.%s%s", tls ? "https" : "http", conf->domain, port);
}

/* ---- signals */

static void reload(struct server *s)
{
	struct conf_error e = {""};
	struct conf_server *fresh = NULL, *old = s->conf;
	int err = ADIT_ERR_CONFIG;

	if (!s->drain.on)
		notify_manager(NOTIFY_RELOADING);
	if (s->drain.on)
		snprintf(e.text, sizeof(e.text), "the server is draining");
	else if (old->dev)
		snprintf(e.text, sizeof(e.text), "--dev has no configuration to reload");
	else
		err = conf_server_reread(s->argc, s->argv, &fresh, &e);
	if (!err)
		err = set_entrances(s, fresh, &e);
	log_reopen(s->log);
	log_reopen(s->access);
	log_reopen(s->trace);
	if (!s->drain.on)
		notify_manager(NOTIFY_READY);
	if (err) {
		conf_server_free(&fresh);
		log_event(s->log, LOG_LEVEL_ERROR, "reload.failed", KV_Z("error", *e.text ? e.text : err_text(err)),
		          KV_Z("kept", "the old configuration"));
		return;
	}
	s->conf = fresh;
	set_published(s, fresh);
	ports_set_conf(s->ports, fresh);
	acceptor_set_conf(s->acceptor, fresh, s->published);
	edge_set_conf(s->edge, fresh);
	if (fresh->max_memory != old->max_memory)
		set_memory(s, fresh->max_memory);
	conf_server_free(&old);
	log_event(s->log, LOG_LEVEL_INFO, "reloaded", KV_U64("tokens", fresh->token_count),
	          KV_U64("listeners", fresh->listen_count));
}

static void on_empty(void *owner)
{
	struct server *s = owner;

	drain_empty(&s->drain);
}

static void on_ready(void *owner)
{
	struct server *s = owner;

	edge_ready(s->edge);
}

static void on_strayed(void *owner, const struct session *session)
{
	struct server *s = owner;

	edge_strayed(s->edge, session);
}

/* Accepted, and the edge has not got them yet. */
static unsigned coming(void *owner)
{
	const struct server *s = owner;
	unsigned n = 0;

	for (size_t i = 0; i < s->entrance_count; i++)
		n += listener_waiting(s->entrances[i].listener);
	return n;
}

/* `replaced`: another aditd listens on the same sockets. */
static void drain(struct server *s, bool replaced)
{
	for (size_t i = 0; i < s->entrance_count; i++)
		listener_stop(s->entrances[i].listener, replaced);
	ports_stop(s->ports);
	if (replaced && s->admin_listener)
		listener_stop(s->admin_listener, true);
	drain_begin(&s->drain, s->conf->drain_seconds);
}

static void on_signal(void *arg, int signo)
{
	struct server *s = arg;

	if (signo == SIGHUP) {
		reload(s);
	} else if (signo == SIGUSR1) {
		log_dump(s->trace, s->log);
	} else if (s->told_to_end) { /* asked twice: at once */
		loop_stop(s->loop);
	} else {
		s->told_to_end = true;
		if (s->drain.on) /* it ends already: another one has taken its place, and is what the manager watches */
			return;
		notify_manager(NOTIFY_STOPPING);
		drain(s, false);
	}
}

static bool is_ready(void *arg)
{
	const struct server *s = arg;

	return !s->drain.on;
}

/* ---- handover */

static int give_sockets(void *owner, struct handed *out)
{
	const struct server *s = owner;

	if (s->drain.on || s->entrance_count >= HANDED_MAX)
		return ADIT_ERR_LIMIT;
	for (size_t i = 0; i < s->entrance_count; i++)
		out->at[out->count++] = listener_give(s->entrances[i].listener);
	out->at[out->count++] = listener_give(s->admin_listener);
	ports_give(s->ports, out);
	return 0;
}

static void on_replaced(void *owner)
{
	struct server *s = owner;

	if (!s->drain.on)
		drain(s, true);
}

static const struct handover_events handover_events = {give_sockets, on_replaced};

/* From the service manager, and from the aditd that runs: it waits for our word then. */
static int take_sockets(struct server *s, struct conf_error *e)
{
	struct takeover_error te = {""};
	int err;

	handed_from_manager(&s->handed, s->log);
	if (!s->conf->take_over)
		return 0;
	err = takeover_begin(&s->takeover, s->conf->admin, &s->handed, s->log, &te);
	if (err == ADIT_ERR_REFUSED) {
		/* nobody is there: the same command line starts the first one too */
		log_event(s->log, LOG_LEVEL_WARN, "takeover.nobody", KV_Z("reason", te.text));
		return 0;
	}
	if (err)
		snprintf(e->text, sizeof(e->text), "%s", te.text);
	return err;
}

/* We could serve from here on: the other one may go. */
static int replace_other(struct server *s, struct conf_error *e)
{
	struct takeover_error te = {""};
	int err = s->takeover ? takeover_commit(&s->takeover, &te) : 0;

	if (err) {
		snprintf(e->text, sizeof(e->text), "%s", te.text);
		return err;
	}
	for (size_t i = 0; i < s->entrance_count; i++)
		listener_settle(s->entrances[i].listener);
	if (s->admin_listener)
		listener_settle(s->admin_listener);
	ports_keep(s->ports, &s->handed);
	handed_close(&s->handed, s->log, true);
	return 0;
}

/* ---- life */

/* They start when the process is what it stays: a file that can be opened then can be opened at SIGHUP too. */
static int open_logs(struct server *s, const struct conf_server *c)
{
	const struct log_options log = {.format = c->log_format, .level = c->log_level, .held = true};
	const struct log_options access = {
		.path = c->access_log, .format = c->log_format, .level = LOG_LEVEL_INFO, .held = true,
	};
	const struct log_options trace = {
		.path = c->trace, .format = LOG_FORMAT_JSON, .level = LOG_LEVEL_INFO, .max_bytes = TRACE_MAX_BYTES,
		.monotonic = true, .program = "aditd", .keep = true, .no_file = !c->trace, .held = true,
	};
	int err = log_open(&s->log, &log);

	if (!err && c->access_log)
		err = log_open(&s->access, &access);
	return err ? err : log_open(&s->trace, &trace);
}

static int start_logs(struct server *s, struct conf_error *e)
{
	const char *path = s->conf->access_log;
	int err = log_start(s->access);

	if (!err) {
		path = s->conf->trace;
		err = log_start(s->trace);
	}
	if (err)
		snprintf(e->text, sizeof(e->text), "cannot write to %s: %s", path, strerror(errno));
	log_start(s->log);
	return err;
}

/* All is open: from here on it is nobody who could open more. */
static int confine(struct server *s, struct conf_error *e)
{
	struct guard_error ge = {""};
	struct guard *g = confine_server(s->conf, &ge);
	int err = ADIT_ERR_SYS;

	if (g)
		err = start_logs(s, e);
	else
		snprintf(e->text, sizeof(e->text), "%s", ge.text);
	if (!err)
		guard_seal(g, s->log);
	s->confined = g != NULL;
	guard_free(&g);
	return err;
}

static int build(struct server *s)
{
	const struct conf_server *c = s->conf;
	struct acceptor_options a = {
		.conf = c, .published = s->published, .budget = &s->budget, .log = s->log, .trace = s->trace,
		.empty = on_empty, .ready = on_ready, .strayed = on_strayed, .owner = s,
	};
	struct edge_options e = {
		.conf = c, .log = s->log, .access = s->access, .trace = s->trace, .budget = &s->budget,
		.headroom = &s->headroom, .full = on_full, .empty = on_empty, .owner = s, .descriptors = tcp_descriptors(),
	};
	const struct ports_options p = {
		.conf = c, .log = s->log, .accepted = on_port_connection, .starved = on_port_starved, .owner = s,
	};

	headroom_init(&s->headroom, s->loop, &(struct headroom_options){.log = s->log, .changed = on_memory, .owner = s});
	set_memory(s, c->max_memory);
	s->registry = registry_new();
	a.registry = e.registry = s->registry;
	a.ports = s->ports = s->registry ? ports_new(s->loop, &p) : NULL;
	s->acceptor = s->ports ? acceptor_new(s->loop, &a) : NULL;
	e.acceptor = s->acceptor;
	s->edge = s->acceptor ? edge_new(s->loop, &e) : NULL;
	s->handover = s->edge ? handover_new(s->loop, &handover_events, s->log, s) : NULL;
	s->admin = s->handover ? admin_new(s->loop, s->handover, is_ready, s) : NULL;
	drain_init(&s->drain, s->loop, &(struct drain_options){
		.edge = s->edge, .acceptor = s->acceptor, .log = s->log, .coming = coming, .owner = s,
	});
	return s->admin ? 0 : ADIT_ERR_NOMEM;
}

static int open_admin(struct server *s, struct conf_error *e)
{
	struct listener_options o = {.address = s->conf->admin, .private = true};
	int err;

	if (!s->conf->admin)
		return 0;
	err = open_listener(s, &s->admin_listener, &o, admin_accept, s->admin, e);
	if (!err)
		log_event(s->log, LOG_LEVEL_INFO, "admin", KV_Z("address", listener_address(s->admin_listener)));
	return err;
}

static void tear_down(struct server *s)
{
	close_entrances(s->entrances, s->entrance_count);
	listener_close(&s->admin_listener);
	handed_close(&s->handed, s->log, false);
	takeover_drop(&s->takeover);
	admin_free(&s->admin);
	handover_free(&s->handover);
	edge_free(&s->edge); /* first: what it was about to hand over goes to the acceptor */
	acceptor_free(&s->acceptor);
	ports_free(&s->ports);
	loop_settle(s->loop);
	headroom_stop(&s->headroom);
	registry_free(&s->registry);
	drain_stop(&s->drain);
	notify_watchdog_stop(&s->watchdog);
	loop_free(&s->loop);
	tls_keylog_free(&s->keylog);
	log_close(&s->access);
	log_close(&s->trace);
	log_close(&s->log);
	conf_server_free(&s->conf);
}

static int serve(struct server *s)
{
	struct conf_error e = {"out of memory"};
	int err = build(s);

	s->keylog = tls_keylog_open(s->log);

	if (!err && s->conf->dev)
		err = dev_prepare(s->conf, &e);
	if (!err)
		err = take_sockets(s, &e);
	if (!err)
		err = set_entrances(s, s->conf, &e);
	if (!err)
		err = open_admin(s, &e);
	if (!err)
		err = confine(s, &e);
	if (!err)
		err = replace_other(s, &e);
	if (err) {
		log_event(s->log, LOG_LEVEL_ERROR, "start.failed", KV_Z("error", e.text));
		return 1;
	}
	set_published(s, s->conf);
	signal(SIGPIPE, SIG_IGN);
	loop_signal(s->loop, SIGHUP, on_signal, s);
	loop_signal(s->loop, SIGTERM, on_signal, s);
	loop_signal(s->loop, SIGINT, on_signal, s);
	loop_signal(s->loop, SIGUSR1, on_signal, s);
	if (s->conf->dev)
		dev_announce(s->conf, listener_address(s->entrances[0].listener));
	log_event(s->log, LOG_LEVEL_INFO, "ready", KV_Z("published", s->published), KV_U64("tokens", s->conf->token_count));
	notify_manager(s->conf->take_over ? NOTIFY_MAIN : NOTIFY_READY);
	notify_watchdog_start(&s->watchdog, s->loop);
	log_event(s->trace, LOG_LEVEL_INFO, "start", KV_Z("version", PACKAGE_VERSION), KV_Z("server", s->conf->domain),
	          KV_I64("pid", getpid()));
	loop_run(s->loop);
	log_event(s->trace, LOG_LEVEL_INFO, "stop", KV_U64("requests", acceptor_open(s->acceptor)));
	log_event(s->log, LOG_LEVEL_INFO, "stopped", KV_U64("requests", acceptor_open(s->acceptor)));
	return 0;
}

int main(int argc, char **argv)
{
	struct server s = {.argc = argc, .argv = argv};
	struct conf_error e = {""};
	enum conf_action action = conf_server_argv(argc, argv, &s.conf, &e);
	int code;

	if (action == CONF_DONE)
		return 0;
	if (action == CONF_FAILED) {
		fprintf(stderr, "%s\n", e.text);
		return EXIT_BAD_CONF;
	}
	memory_tune();
	memory_keep_reserve();
	tcp_raise_limit();
	s.loop = loop_new();
	if (!s.loop || open_logs(&s, s.conf) < 0) {
		if (s.loop)
			tear_down(&s);
		return 1;
	}
	code = serve(&s);
	tear_down(&s);
	return code;
}
