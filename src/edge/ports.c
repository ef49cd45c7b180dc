#include "edge/ports.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/list.h"
#include "edge/registry.h"
#include "io/listener.h"
#include "io/socket_address.h"

struct port {
	struct list node;
	struct ports *ports;
	uint16_t number;
	char name[CONF_PORT_NAME_MAX];
	struct listener *listener;
	const void *owners[REGISTRY_SHARE_MAX];
	unsigned owner_count; /* 0: kept */
	uint32_t seed;        /* by which it was chosen, when it was */
	bool chosen;
	struct timer timer;   /* then */
};

struct ports {
	struct loop *loop;
	struct ports_options o;
	struct list all;
	bool paused, stopped;
};

static struct port *find(const struct ports *p, uint16_t number)
{
	for (struct list *at = p->all.next; at != &p->all; at = at->next) {
		struct port *one = container_of(at, struct port, node);

		if (one->number == number)
			return one;
	}
	return NULL;
}

static void told(const struct port *one, enum log_level level, const char *event)
{
	log_event(one->ports->o.log, level, event, KV_Z("name", one->name),
	          KV_Z("address", listener_address(one->listener)));
}

static void close_port(struct port *one, const char *event)
{
	told(one, LOG_LEVEL_INFO, event);
	list_remove(&one->node);
	timer_stop(&one->timer);
	listener_close(&one->listener);
	free(one);
}

/* ---- opening */

static void on_connection(void *arg, struct stream *s)
{
	struct port *one = arg;

	one->ports->o.accepted(one->ports->o.owner, s, one->name);
}

static void on_starved(void *arg)
{
	struct port *one = arg;

	one->ports->o.starved(one->ports->o.owner);
}

static void on_unwanted(void *arg)
{
	close_port(arg, "port.unused");
}

static void address_of(const struct ports *p, uint16_t number, char out[SOCKET_ADDRESS_TEXT_MAX])
{
	const char *host = p->o.conf->tcp_address ? p->o.conf->tcp_address : "";

	snprintf(out, SOCKET_ADDRESS_TEXT_MAX, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, (unsigned)number);
}

static int bind_error(int err)
{
	if (err != ADIT_ERR_SYS)
		return err;
	switch (errno) {
	case EADDRINUSE:
		return ADIT_ERR_CONFLICT;
	case EACCES:
	case EPERM:
		return ADIT_ERR_FORBIDDEN;
	case EMFILE:
	case ENFILE:
		return ADIT_ERR_LIMIT;
	default:
		return ADIT_ERR_SYS;
	}
}

/* On the handed socket, if there is one (fd not -1). Nobody owns it yet, so nothing is accepted. */
static int make_port(struct ports *p, uint16_t number, const struct handed_socket *handed, struct port **out)
{
	struct port *one = calloc(1, sizeof(*one));
	char address[SOCKET_ADDRESS_TEXT_MAX];
	const struct listener_options o = {.address = address, .handed = handed, .starved = on_starved};
	int err;

	if (!one)
		return ADIT_ERR_NOMEM;
	one->ports = p;
	one->number = number;
	conf_port_name(number, one->name);
	address_of(p, number, address);
	err = listener_open(&one->listener, p->loop, &o, on_connection, one);
	if (err) {
		err = bind_error(err);
		free(one);
		return err;
	}
	listener_pause(one->listener, true);
	timer_init(&one->timer, p->loop, on_unwanted, one);
	list_init(&one->node);
	list_append(&p->all, &one->node);
	*out = one;
	return 0;
}

static bool has(const struct port *one, const void *owner)
{
	for (unsigned i = 0; i < one->owner_count; i++)
		if (one->owners[i] == owner)
			return true;
	return false;
}

static int own(struct port *one, const void *owner)
{
	if (has(one, owner))
		return 0;
	if (one->owner_count == REGISTRY_SHARE_MAX)
		return ADIT_ERR_LIMIT;
	one->owners[one->owner_count++] = owner;
	timer_clear(&one->timer);
	listener_pause(one->listener, one->ports->paused);
	return 0;
}

int ports_open(struct ports *p, uint16_t number, const void *owner)
{
	struct port *one = find(p, number);
	int err;

	if (p->stopped)
		return ADIT_ERR_SHUTDOWN;
	if (one)
		return own(one, owner);
	err = make_port(p, number, NULL, &one);
	if (err)
		return err;
	told(one, LOG_LEVEL_INFO, "port.open");
	return own(one, owner);
}

/* ---- any port */

/* The `i`th port of the token's ranges. */
static uint16_t nth_port(const struct conf_token *t, size_t i)
{
	size_t at = 0;

	for (; i > (size_t)(t->ports[at].last - t->ports[at].first); at++)
		i -= (size_t)(t->ports[at].last - t->ports[at].first) + 1;
	return (uint16_t)(t->ports[at].first + i);
}

/* One that the same adit has chosen before: its former link may be there still. */
static struct port *chosen_before(const struct ports *p, const struct conf_token *token, uint32_t seed,
                                  const void *owner)
{
	for (struct list *at = p->all.next; at != &p->all; at = at->next) {
		struct port *one = container_of(at, struct port, node);

		if (one->chosen && one->seed == seed && one->owner_count && one->owner_count < REGISTRY_SHARE_MAX &&
		    !has(one, owner) && conf_token_may_listen(token, one->number))
			return one;
	}
	return NULL;
}

int ports_open_any(struct ports *p, const struct conf_token *token, uint32_t seed, const void *owner, uint16_t *number)
{
	struct port *one = chosen_before(p, token, seed, owner);
	int err = ADIT_ERR_CONFLICT;
	size_t n = 0;

	if (one) {
		*number = one->number;
		return ports_open(p, *number, owner);
	}
	for (size_t i = 0; i < token->port_count; i++)
		n += (size_t)(token->ports[i].last - token->ports[i].first) + 1;
	for (size_t i = 0; err && i < n && i < PORTS_TRIES; i++) {
		*number = nth_port(token, (seed + i) % n);
		one = find(p, *number);
		err = one && one->owner_count ? ADIT_ERR_CONFLICT : ports_open(p, *number, owner);
	}
	if (!err) {
		one = find(p, *number);
		one->seed = seed;
		one->chosen = true;
	}
	return err;
}

/* ---- closing */

static void disown(struct port *one, const void *owner)
{
	unsigned had = one->owner_count;

	for (unsigned i = 0; i < one->owner_count; i++)
		if (one->owners[i] == owner)
			one->owners[i--] = one->owners[--one->owner_count];
	if (had && !one->owner_count)
		close_port(one, "port.closed");
}

void ports_leave(struct ports *p, const void *owner)
{
	struct list *at, *tmp;

	list_each(at, tmp, &p->all)
		disown(container_of(at, struct port, node), owner);
}

void ports_pause(struct ports *p, bool paused)
{
	p->paused = paused;
	for (struct list *at = p->all.next; at != &p->all; at = at->next) {
		struct port *one = container_of(at, struct port, node);

		listener_pause(one->listener, paused || !one->owner_count);
	}
}

void ports_stop(struct ports *p)
{
	p->stopped = true;
	for (struct list *at = p->all.next; at != &p->all; at = at->next)
		listener_stop(container_of(at, struct port, node)->listener, false);
}

/* ---- from one aditd to the next */

void ports_give(const struct ports *p, struct handed *out)
{
	const struct list *at = p->all.next;

	for (; at != &p->all && out->count < HANDED_MAX; at = at->next)
		out->at[out->count++] = listener_give(container_of((struct list *)(uintptr_t)at, struct port, node)->listener);
	if (at != &p->all)
		log_event(p->o.log, LOG_LEVEL_WARN, "ports.not_given", KV_U64("sockets", out->count),
		          KV_Z("reason", "more cannot be handed over; the rest is closed, then opened anew"));
}

static bool is_publishable(const struct conf_server *c, uint16_t number)
{
	for (size_t i = 0; number && i < c->token_count; i++)
		if (conf_token_may_listen(&c->tokens[i], number))
			return true;
	return false;
}

static void keep(struct ports *p, uint16_t number, const struct handed_socket *handed)
{
	struct port *one;

	if (make_port(p, number, handed, &one) != 0)
		return; /* the socket is closed; whoever publishes the port opens another */
	timer_set(&one->timer, PORTS_KEEP_MS);
	told(one, LOG_LEVEL_INFO, "port.kept");
}

void ports_keep(struct ports *p, struct handed *handed)
{
	for (unsigned i = 0; i < handed->count; i++) {
		char address[SOCKET_ADDRESS_TEXT_MAX];
		union socket_address a;
		struct handed_socket s;
		uint16_t number;

		if (handed->at[i].fd < 0 || socket_address_of(handed->at[i].fd, &a) < 0)
			continue;
		number = socket_address_port(&a);
		address_of(p, number, address);
		if (!is_publishable(p->o.conf, number) || find(p, number))
			continue;
		s = handed_take(handed, address);
		if (s.fd >= 0)
			keep(p, number, &s);
	}
}

/* ---- life */

struct ports *ports_new(struct loop *l, const struct ports_options *o)
{
	struct ports *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->loop = l;
	p->o = *o;
	list_init(&p->all);
	return p;
}

void ports_free(struct ports **pp)
{
	struct ports *p = *pp;

	if (!p)
		return;
	*pp = NULL;
	while (!list_empty(&p->all))
		close_port(container_of(p->all.next, struct port, node), "port.closed");
	free(p);
}

void ports_set_conf(struct ports *p, const struct conf_server *conf)
{
	p->o.conf = conf;
}
