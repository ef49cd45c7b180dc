#include "edge/admin.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "base/list.h"
#include "edge/edge_h1.h"
#include "http/forward.h"
#include "http/page.h"
#include "io/takeover.h"

struct admin {
	struct loop *loop;
	struct handover *handover;
	bool (*ready)(void *arg);
	void *arg;
	struct list connections;
	unsigned count;
};

/* An address and not a name: "127.0.0.1.evil.example" begins like one too. */
static bool is_loopback4(struct str host)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr a;

	if (host.n >= sizeof(text))
		return false;
	memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	return inet_pton(AF_INET, text, &a) == 1 && ntohl(a.s_addr) >> 24 == 127;
}

static bool is_local(struct str host)
{
	return host.n == 0 || str_eq_nocase(host, STR("localhost")) || str_eq(host, STR("[::1]")) || is_loopback4(host);
}

static void on_request(void *owner, struct edge_h1 *c, struct head *h, bool bodyless)
{
	struct admin *a = owner;
	struct str path = head_get(h, HEAD_PATH), method = head_get(h, HEAD_METHOD);
	bool get = str_eq(method, STR("GET")), was_head = str_eq(method, STR("HEAD")), ready;
	struct page *p = malloc(sizeof(*p));
	const char *why = NULL;
	int err, status;

	(void)bodyless;
	if (!p)
		return;
	if (edge_h1_stream(c)->peer.port && !is_local(forward_host(h, false))) {
		err = page_text(p, 403, "this host is not the admin listener's");
	} else if (!get && !was_head) {
		err = page_text(p, 405, "only GET and HEAD");
	} else if (str_eq(path, STR("/healthz"))) {
		err = page_text(p, 200, "ok");
	} else if (str_eq(path, STR("/readyz"))) {
		ready = a->ready(a->arg);
		err = page_text(p, ready ? 200 : 503, ready ? "ready" : "draining");
	} else if (get && str_eq(path, STR(TAKEOVER_PATH))) {
		why = handover_ask(a->handover, c, h, &status);
		err = why ? page_text(p, status, why) : 1;
	} else {
		err = page_text(p, 404, "there are /healthz and /readyz");
	}
	if (!err) {
		page_reply(p, edge_h1_half(c), was_head);
		page_free(p);
	}
	free(p);
}

static void on_closed(void *owner, struct edge_h1 *c)
{
	struct admin *a = owner;

	(void)c;
	a->count--;
}

static const struct edge_h1_events events = {on_request, NULL, on_closed};

void admin_accept(void *arg, struct stream *s)
{
	struct admin *a = arg;
	struct edge_h1 *c = a->count < ADMIN_CONNECTIONS_MAX ? edge_h1_new(a->loop, s, NULL, &events, a) : NULL;

	if (!c) {
		stream_free(&s);
		return;
	}
	a->count++;
	list_append(&a->connections, edge_h1_node(c));
}

struct admin *admin_new(struct loop *l, struct handover *h, bool (*ready)(void *arg), void *arg)
{
	struct admin *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->loop = l;
	a->handover = h;
	a->ready = ready;
	a->arg = arg;
	list_init(&a->connections);
	return a;
}

void admin_free(struct admin **ap)
{
	struct admin *a = *ap;

	if (!a)
		return;
	*ap = NULL;
	while (!list_empty(&a->connections)) {
		struct edge_h1 *c = edge_h1_of_node(a->connections.next);

		edge_h1_free(&c);
	}
	free(a);
}
