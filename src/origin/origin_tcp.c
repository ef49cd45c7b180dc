#include "origin/origin_tcp.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "http/forward.h"
#include "http/head.h"
#include "io/proxyproto.h"
#include "io/tcp.h"
#include "raw/raw.h"

struct connection {
	struct raw raw;
	struct origin_tcp *origin;
	struct list node;
	struct dial *dial;
	struct task free;
};

struct origin_tcp {
	struct loop *loop;
	struct resolver *resolver;
	char *host, *unix_path;
	uint16_t port;
	bool send_proxy;
	struct list connections;
	unsigned count;
};

/* ---- connecting */

static void say_connected(struct connection *c)
{
	struct head h;

	head_init(&h);
	h.status = 101;
	h.length = HEAD_LENGTH_UNKNOWN;
	half_head(&c->raw.half, &h, false);
	head_free(&h);
}

static void on_dialled(void *arg, struct stream *s, int err, const char *detail)
{
	struct connection *c = arg;

	(void)detail;
	c->dial = NULL;
	if (err) {
		/* what a socket file's mode or path does to us is no word about the visitor */
		raw_end(&c->raw, err_status(err) >= 500 ? err : ADIT_ERR_REFUSED);
		return;
	}
	tcp_be_patient(s);
	say_connected(c);
	if (c->raw.over) /* its asker has gone in that very call */
		stream_free(&s);
	else
		raw_start(&c->raw, s);
}

/* An address that aditd has written; NULL when it has not. */
static const union socket_address *address_of(const struct head *h, struct str field, union socket_address *out)
{
	struct str text = fields_get(&h->fields, field);
	char z[SOCKET_ADDRESS_TEXT_MAX];
	socklen_t len;

	if (!text.n || text.n >= sizeof(z))
		return NULL;
	memcpy(z, text.p, text.n);
	z[text.n] = '\0';
	return socket_address_parse(z, out, &len) == 0 ? out : NULL;
}

static int write_proxy(struct connection *c, const struct head *h)
{
	uint8_t header[PROXYPROTO_HEADER_MAX];
	union socket_address from, to;
	size_t n = proxyproto_write(header, address_of(h, STR(FORWARD_VISITOR), &from),
	                            address_of(h, STR(FORWARD_SERVER), &to));

	return raw_preface(&c->raw, header, n);
}

static void on_head(void *owner, const struct head *h, bool bodyless)
{
	struct connection *c = owner;
	struct origin_tcp *o = c->origin;
	const struct dial_options d = {.host = o->host, .port = o->port, .unix_path = o->unix_path};

	(void)bodyless;
	if (!o->send_proxy || write_proxy(c, h) == 0)
		c->dial = dial_start(o->loop, o->resolver, &d, on_dialled, c);
	if (!c->dial)
		raw_end(&c->raw, ADIT_ERR_NOMEM);
}

/* ---- life */

static void release(void *arg)
{
	struct connection *c = arg;

	raw_clear(&c->raw);
	free(c);
}

static void on_over(void *owner)
{
	struct connection *c = owner;

	list_remove(&c->node);
	c->origin->count--;
	dial_cancel(&c->dial);
	task_post_free(c->origin->loop, &c->free);
}

static const struct raw_events raw_events = {on_head, on_over};

struct half *origin_tcp_half(struct origin_tcp *o, int *err)
{
	struct connection *c;

	*err = o->count >= ORIGIN_TCP_CONNECTIONS_MAX ? ADIT_ERR_LIMIT : ADIT_ERR_NOMEM;
	c = o->count < ORIGIN_TCP_CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c)
		return NULL;
	c->origin = o;
	c->free = (struct task){.run = release, .arg = c};
	raw_init(&c->raw, o->loop, &raw_events, c);
	list_init(&c->node);
	list_append(&o->connections, &c->node);
	o->count++;
	return &c->raw.half;
}

struct origin_tcp *origin_tcp_new(struct loop *l, const struct origin_tcp_options *opt)
{
	struct origin_tcp *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->loop = l;
	o->resolver = opt->resolver;
	o->port = opt->port;
	o->send_proxy = opt->send_proxy;
	list_init(&o->connections);
	o->host = opt->host ? str_dup(str_of(opt->host)) : NULL;
	o->unix_path = opt->unix_path ? str_dup(str_of(opt->unix_path)) : NULL;
	if (!o->host && !o->unix_path) {
		free(o);
		return NULL;
	}
	return o;
}

void origin_tcp_free(struct origin_tcp **op)
{
	struct origin_tcp *o = *op;

	if (!o)
		return;
	*op = NULL;
	while (!list_empty(&o->connections))
		raw_end(&container_of(o->connections.next, struct connection, node)->raw, ADIT_ERR_SHUTDOWN);
	free(o->host);
	free(o->unix_path);
	free(o);
}
