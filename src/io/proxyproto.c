#include "io/proxyproto.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2_FIXED 16
/** The shortest complete version 1 line, "PROXY UNKNOWN\r\n": so much may be read whatever the version. */
#define FIRST_READ 15

struct pending {
	struct list node;
	struct proxyproto_queue *queue;
	struct stream *stream;
	struct timer timer;
	proxyproto_fn *fn;
	void *arg;
	size_t got;
	uint8_t data[V2_FIXED + PROXYPROTO_V2_MAX];
};

/* How many bytes the header has at least, given what is there: 0 = it is complete, negative = it is none. */
static ssize_t bytes_wanted(const struct pending *p)
{
	size_t cmp = p->got < 12 ? p->got : 12;

	if (p->got < FIRST_READ)
		return (ssize_t)(FIRST_READ - p->got);
	if (memcmp(p->data, V2_SIGNATURE, cmp) == 0) {
		size_t len = p->got < V2_FIXED ? 0 : (size_t)p->data[14] << 8 | p->data[15];

		if (len > PROXYPROTO_V2_MAX)
			return ADIT_ERR_PROTO;
		return p->got < V2_FIXED + len || p->got < V2_FIXED ? (ssize_t)(V2_FIXED + len - p->got) : 0;
	}
	if (memcmp(p->data, "PROXY ", 6) != 0 || p->got > PROXYPROTO_V1_MAX)
		return ADIT_ERR_PROTO;
	return p->data[p->got - 1] == '\n' ? 0 : 1;
}

static int read_v2(struct pending *p)
{
	struct address *peer = &p->stream->peer;
	unsigned version = p->data[12] >> 4, command = p->data[12] & 15, family = p->data[13] >> 4;
	size_t len = (size_t)p->data[14] << 8 | p->data[15];

	if (version != 2 || command > 1)
		return ADIT_ERR_PROTO;
	if (command == 0) /* LOCAL: the proxy's own health check */
		return 0;
	if (family == 1 && len >= 12) {
		inet_ntop(AF_INET, p->data + 16, peer->ip, sizeof(peer->ip));
		peer->port = (uint16_t)(p->data[24] << 8 | p->data[25]);
	} else if (family == 2 && len >= 36) {
		inet_ntop(AF_INET6, p->data + 16, peer->ip, sizeof(peer->ip));
		peer->port = (uint16_t)(p->data[48] << 8 | p->data[49]);
	} else if (family == 1 || family == 2) {
		return ADIT_ERR_PROTO;
	}
	return 0;
}

static int read_v1(struct pending *p)
{
	struct str rest, word[6], part;
	unsigned char parsed[sizeof(struct in6_addr)];
	struct address *peer = &p->stream->peer;
	char ip[ADDRESS_TEXT_MAX];
	uint64_t port;
	size_t n = 0;

	if (p->got < 2 || p->data[p->got - 2] != '\r')
		return ADIT_ERR_PROTO;
	rest = (struct str){(const char *)p->data, p->got - 2};
	while (n < 6 && str_split(&rest, ' ', &part))
		word[n++] = part;
	if (n >= 2 && str_eq(word[1], STR("UNKNOWN")))
		return 0;
	if (n != 6 || rest.p || word[2].n >= sizeof(ip) || str_to_u64(word[4], &port) < 0 || port > 65535)
		return ADIT_ERR_PROTO;
	snprintf(ip, sizeof(ip), "%.*s", STR_ARG(word[2]));
	if (!(str_eq(word[1], STR("TCP4")) && inet_pton(AF_INET, ip, parsed) == 1) &&
	    !(str_eq(word[1], STR("TCP6")) && inet_pton(AF_INET6, ip, parsed) == 1))
		return ADIT_ERR_PROTO;
	memcpy(peer->ip, ip, sizeof(ip));
	peer->port = (uint16_t)port;
	return 0;
}

static void drop(struct pending *p)
{
	list_remove(&p->node);
	p->queue->count--;
	timer_stop(&p->timer);
	stream_free(&p->stream);
	free(p);
}

static void on_readable(void *owner)
{
	struct pending *p = owner;
	struct stream *s = p->stream;
	ssize_t want;

	while ((want = bytes_wanted(p)) > 0) {
		ssize_t n = stream_read(s, p->data + p->got, (size_t)want);

		if (n == ADIT_ERR_AGAIN)
			return;
		if (n < 0) {
			drop(p);
			return;
		}
		p->got += (size_t)n;
	}
	if (want < 0 || (p->data[0] == 'P' ? read_v1(p) : read_v2(p)) < 0) {
		drop(p);
		return;
	}
	stream_pause(s, true);
	stream_own(s, NULL, NULL);
	p->stream = NULL;
	p->fn(p->arg, s);
	drop(p);
}

static void on_writable(void *owner)
{
	(void)owner;
}

static void on_timeout(void *arg)
{
	drop(arg);
}

static const struct stream_handler handler = {on_readable, on_writable};

/* ---- writing */

static struct in6_addr as_v6(const union socket_address *a)
{
	struct in6_addr mapped = {.s6_addr = {[10] = 0xff, [11] = 0xff}};

	if (a->sa.sa_family == AF_INET6)
		return a->in6.sin6_addr;
	memcpy(mapped.s6_addr + 12, &a->in.sin_addr, 4);
	return mapped;
}

/* Ports stand at the same place in both kinds of address, and in the header's byte order. */
static uint8_t *put_ports(uint8_t *at, const union socket_address *from, const union socket_address *to)
{
	memcpy(at, from->sa.sa_family == AF_INET ? &from->in.sin_port : &from->in6.sin6_port, 2);
	memcpy(at + 2, to->sa.sa_family == AF_INET ? &to->in.sin_port : &to->in6.sin6_port, 2);
	return at + 4;
}

static bool is_tcp(const union socket_address *a)
{
	return a && (a->sa.sa_family == AF_INET || a->sa.sa_family == AF_INET6);
}

size_t proxyproto_write(uint8_t out[PROXYPROTO_HEADER_MAX], const union socket_address *from,
                        const union socket_address *to)
{
	bool known = is_tcp(from) && is_tcp(to);
	uint8_t *at = out + V2_FIXED;

	memcpy(out, V2_SIGNATURE, sizeof(V2_SIGNATURE) - 1);
	out[12] = known ? 0x21 : 0x20; /* version 2; PROXY or LOCAL */
	out[13] = 0;
	if (known && from->sa.sa_family == AF_INET && to->sa.sa_family == AF_INET) {
		out[13] = 0x11; /* IPv4, stream */
		memcpy(at, &from->in.sin_addr, 4);
		memcpy(at + 4, &to->in.sin_addr, 4);
		at = put_ports(at + 8, from, to);
	} else if (known) {
		struct in6_addr a = as_v6(from), b = as_v6(to);

		out[13] = 0x21; /* IPv6, stream */
		memcpy(at, &a, 16);
		memcpy(at + 16, &b, 16);
		at = put_ports(at + 32, from, to);
	}
	out[14] = 0;
	out[15] = (uint8_t)(at - out - V2_FIXED);
	return (size_t)(at - out);
}

void proxyproto_init(struct proxyproto_queue *q)
{
	list_init(&q->list);
	q->count = 0;
}

static struct pending *oldest(struct proxyproto_queue *q)
{
	return container_of(q->list.next, struct pending, node);
}

int proxyproto_read(struct proxyproto_queue *q, struct stream **s, proxyproto_fn *fn, void *arg)
{
	struct pending *p = calloc(1, sizeof(*p));

	if (!p)
		return ADIT_ERR_NOMEM;
	if (q->count == PROXYPROTO_WAITING_MAX)
		drop(oldest(q));
	p->queue = q;
	q->count++;
	p->stream = *s;
	*s = NULL;
	p->fn = fn;
	p->arg = arg;
	list_init(&p->node);
	list_append(&q->list, &p->node);
	timer_init(&p->timer, p->stream->loop, on_timeout, p);
	timer_set(&p->timer, PROXYPROTO_MS);
	stream_own(p->stream, &handler, p);
	stream_pause(p->stream, false);
	return 0;
}

void proxyproto_drop_all(struct proxyproto_queue *q)
{
	while (!list_empty(&q->list))
		drop(oldest(q));
}
