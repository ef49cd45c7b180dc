#include "io/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/time.h>

#include "base/err.h"
#include "base/list.h"
#include "base/str.h"

/** Sockets c-ares may have open at once: a UDP and a TCP one for each of a few servers. */
#define SOCKETS_MAX 16

struct ares_socket {
	ev_io watcher;
	struct resolver *resolver;
	bool used;
};

struct resolver {
	struct loop *loop;
	ares_channel channel;
	struct ares_socket sockets[SOCKETS_MAX];
	struct timer timer; /* c-ares's own next deadline */
	unsigned asking;    /* questions that c-ares has */
	bool doubtful;      /* the last answer was none: the name servers may be those of a network that we left */
};

/* Freed only when c-ares has let go of it and the answer was told or cancelled. */
struct resolver_query {
	struct loop *loop;
	struct resolver *resolver; /* while asking */
	resolver_fn *fn;
	void *arg;
	struct resolver_answer answer;
	struct task tell;
	bool cancelled;
	uint16_t port;
};

static void arm_timer(struct resolver *r)
{
	struct timeval max = {RESOLVER_MS / 1000, 0}, tv, *t = ares_timeout(r->channel, &max, &tv);

	timer_set(&r->timer, (uint64_t)t->tv_sec * 1000 + (uint64_t)t->tv_usec / 1000 + 1);
}

static void on_timer(void *arg)
{
	struct resolver *r = arg;

	ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	if (r->asking)
		arm_timer(r);
}

static void on_socket(struct ev_loop *ev, ev_io *w, int revents)
{
	struct ares_socket *s = w->data;

	(void)ev;
	ares_process_fd(s->resolver->channel, revents & EV_READ ? w->fd : ARES_SOCKET_BAD,
	                revents & EV_WRITE ? w->fd : ARES_SOCKET_BAD);
}

static void watch_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = arg;
	struct ares_socket *s = NULL;

	for (int i = 0; i < SOCKETS_MAX; i++) {
		if (r->sockets[i].used && r->sockets[i].watcher.fd == fd)
			s = &r->sockets[i];
	}
	for (int i = 0; !s && i < SOCKETS_MAX; i++) {
		if (!r->sockets[i].used)
			s = &r->sockets[i];
	}
	if (!s)
		return; /* that query ends by its timeout */
	if (s->used)
		ev_io_stop(loop_ev(r->loop), &s->watcher);
	s->used = readable || writable;
	if (!s->used)
		return;
	s->resolver = r;
	ev_io_init(&s->watcher, on_socket, fd, (readable ? EV_READ : 0) | (writable ? EV_WRITE : 0));
	s->watcher.data = s;
	ev_io_start(loop_ev(r->loop), &s->watcher);
}

static bool open_channel(struct resolver *r, ares_channel *out)
{
	struct ares_options o = {0};

	o.timeout = 1500;
	o.tries = 2;
	o.sock_state_cb = watch_socket;
	o.sock_state_cb_data = r;
	return ares_init_options(out, &o, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB) == ARES_SUCCESS;
}

/* c-ares reads resolv.conf only when a channel is made, and laptops change networks. */
static void renew_channel(struct resolver *r)
{
	ares_channel fresh;

	if (!r->doubtful || r->asking || !open_channel(r, &fresh))
		return;
	ares_destroy(r->channel);
	r->channel = fresh;
	r->doubtful = false;
}

struct resolver *resolver_new(struct loop *l)
{
	struct resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = l;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(r);
		return NULL;
	}
	if (!open_channel(r, &r->channel)) {
		ares_library_cleanup();
		free(r);
		return NULL;
	}
	timer_init(&r->timer, l, on_timer, r);
	return r;
}

void resolver_free(struct resolver **rp)
{
	struct resolver *r = *rp;

	if (!r)
		return;
	*rp = NULL;
	ares_destroy(r->channel);
	timer_stop(&r->timer);
	ares_library_cleanup();
	free(r);
}

static void tell(void *arg)
{
	struct resolver_query *q = arg;

	if (!q->cancelled)
		q->fn(q->arg, &q->answer);
	free(q);
}

static void add_address(struct resolver_query *q, const void *sa, size_t len)
{
	if (q->answer.count < RESOLVER_ADDRESSES)
		memcpy(&q->answer.address[q->answer.count++], sa, len);
}

static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct resolver_query *q = arg;

	(void)timeouts;
	q->resolver->asking--;
	if (status == ARES_SUCCESS && info) {
		for (struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
			if (n->ai_family == AF_INET || n->ai_family == AF_INET6)
				add_address(q, n->ai_addr, (size_t)n->ai_addrlen);
		}
	}
	if (info)
		ares_freeaddrinfo(info);
	if (q->answer.count || status != ARES_ENODATA) /* a name that has the other family only is no reason for doubt */
		q->resolver->doubtful = !q->answer.count;
	if (!q->answer.count)
		q->answer.err = status == ARES_ETIMEOUT ? ADIT_ERR_TIMEOUT : ADIT_ERR_RESOLVE;
	if (status == ARES_EDESTRUCTION) {
		free(q);
		return;
	}
	task_post_fair(q->loop, LOOP_FAIR_DIAL, &q->tell);
}

/* RFC 6761 section 6.3: these are this machine, and nobody is asked. (c-ares 1.18 also loses a few bytes with each
 * question for localhost's IPv6 address when /etc/hosts has an IPv4 one only.) */
static bool is_localhost(const char *host)
{
	static const char name[] = "localhost";
	size_t n = strlen(host), m = sizeof(name) - 1;

	return n >= m && strcasecmp(host + n - m, name) == 0 && (n == m || host[n - m - 1] == '.');
}

/* Is it an address? It is the answer when it is of the family that was asked for. */
static bool known(struct resolver_query *q, const char *host, int family)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(q->port)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(q->port)};

	if (is_localhost(host))
		host = family == AF_INET ? "127.0.0.1" : "::1";
	if (inet_pton(AF_INET, host, &in.sin_addr) == 1) {
		if (family == AF_INET)
			add_address(q, &in, sizeof(in));
	} else if (inet_pton(AF_INET6, host, &in6.sin6_addr) == 1) {
		if (family == AF_INET6)
			add_address(q, &in6, sizeof(in6));
	} else {
		return false;
	}
	q->answer.err = q->answer.count ? 0 : ADIT_ERR_RESOLVE;
	return true;
}

struct resolver_query *resolver_ask(struct resolver *r, const char *host, uint16_t port, int family, resolver_fn *fn,
                                    void *arg)
{
	struct resolver_query *q = calloc(1, sizeof(*q));
	struct ares_addrinfo_hints hints = {.ai_family = family, .ai_socktype = SOCK_STREAM};
	char service[8];

	if (!q)
		return NULL;
	q->loop = r->loop;
	q->fn = fn;
	q->arg = arg;
	q->port = port;
	q->tell.run = tell;
	q->tell.arg = q;
	if (known(q, host, family)) {
		task_post_fair(r->loop, LOOP_FAIR_DIAL, &q->tell);
		return q;
	}
	snprintf(service, sizeof(service), "%u", port);
	hints.ai_flags = ARES_AI_NUMERICSERV | ARES_AI_NOSORT;
	renew_channel(r);
	q->resolver = r;
	r->asking++;
	ares_getaddrinfo(r->channel, host, service, &hints, on_answer, q);
	arm_timer(r);
	return q;
}

void resolver_cancel(struct resolver_query **qp)
{
	struct resolver_query *q = *qp;

	if (!q)
		return;
	*qp = NULL;
	q->cancelled = true; /* c-ares or the posted task still holds it and frees it */
}
