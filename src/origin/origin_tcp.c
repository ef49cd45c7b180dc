/* A local server of whatever protocol: each connection to it is the answering half of a CONNECT, and passes bytes; ends
 * and resets too, by raw (raw/raw.h).
 *
 *     head(CONNECT) ──► dial ──► head(101) ──► bytes both ways ──► over
 *                         │ fails: abort with the reason, which the exchange answers by a page
 *
 * Invariants: a connection serves one visitor and is never used again; the PROXY header, where one is wanted, goes before
 * the visitor's first byte.
 */
#include <stdlib.h>

#include "base/err.h"
#include "http/forward.h"
#include "http/head.h"
#include "io/proxyproto.h"
#include "io/tcp.h"
#include "origin/origin_int.h"
#include "raw/raw.h"

struct connection {
	struct raw raw;
	struct origin *origin;
	struct list node;
	struct dial *dial;
	struct task free;
};

struct origin_tcp {
	struct list connections;
};

static struct origin_tcp *state_of(const struct origin *origin)
{
	return origin->state;
}

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

	c->dial = NULL;
	if (err) {
		half_abort_why(&c->raw.half, origin_dial_error(err), origin_dial_why(err, detail));
		raw_end(&c->raw, err);
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

	(void)bodyless;
	if (!c->origin->o.send_proxy || write_proxy(c, h) == 0)
		c->dial = origin_dial(c->origin, 0, on_dialled, c);
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

static struct half *tcp_half(struct origin *origin, int *err)
{
	struct connection *c;

	*err = origin->count >= ORIGIN_CONNECTIONS_MAX ? ADIT_ERR_LIMIT : ADIT_ERR_NOMEM;
	c = origin->count < ORIGIN_CONNECTIONS_MAX ? calloc(1, sizeof(*c)) : NULL;
	if (!c)
		return NULL;
	c->origin = origin;
	c->free = (struct task){.run = release, .arg = c};
	raw_init(&c->raw, origin->loop, &raw_events, c);
	list_init(&c->node);
	list_append(&state_of(origin)->connections, &c->node);
	origin->count++;
	return &c->raw.half;
}

static int tcp_open(struct origin *origin)
{
	struct origin_tcp *o = calloc(1, sizeof(*o));

	if (!o)
		return ADIT_ERR_NOMEM;
	list_init(&o->connections);
	origin->state = o;
	return 0;
}

static void tcp_close(struct origin *origin)
{
	struct origin_tcp *o = state_of(origin);

	while (!list_empty(&o->connections))
		raw_end(&container_of(o->connections.next, struct connection, node)->raw, ADIT_ERR_SHUTDOWN);
	free(o);
}

const struct origin_kind origin_tcp = {tcp_open, tcp_close, tcp_half};
