/* One HTTP/2 connection of a requester, and asks as halves on its streams. */
#include <stdlib.h>

#include "base/err.h"
#include "carrier/outer.h"
#include "carrier/requester_int.h"

struct connection_h2 {
	struct list node;
	struct requester *r;
	struct outer *outer;
	unsigned running;
	bool ready;
	struct task free;
};

static struct ask *of_half(struct half *h)
{
	return container_of(h, struct ask, half);
}

struct connection_h2 *connection_h2_of_node(struct list *node)
{
	return container_of(node, struct connection_h2, node);
}

/* ---- an ask as the asking half */

static void send_body(struct ask *a)
{
	if (a->sending) /* credit came from within body */
		return;
	a->sending = true;
	while (a->half.peer && a->credit && a->body_sent < a->body_n - a->late_left) {
		size_t n = a->body_n - a->late_left - a->body_sent;

		n = n < a->credit ? n : a->credit;
		a->credit -= n;
		a->body_sent += n;
		half_body(&a->half, a->body + a->body_sent - n, n);
	}
	a->sending = false;
	if (!a->half.peer || a->body_ended || a->body_sent < a->body_n)
		return;
	a->body_ended = true;
	half_end(&a->half, NULL);
}

static void fail(struct ask *a, int err, const char *detail)
{
	half_abort(&a->half, err);
	ask_over(a, err, detail);
}

static void op_head(struct half *self, const struct head *h, bool bodyless)
{
	struct ask *a = of_half(self);

	(void)bodyless;
	if (h->status < 200)
		return;
	if (head_copy(&a->answer, h) < 0)
		fail(a, ADIT_ERR_NOMEM, "");
}

static void op_body(struct half *self, const uint8_t *p, size_t n)
{
	struct ask *a = of_half(self);
	int err = ask_got(a, p, n);

	if (err)
		fail(a, err, err == ADIT_ERR_PROTO ? "the answer is longer than any of ours" : "");
}

static void op_end(struct half *self, const struct fields *trailers)
{
	struct ask *a = of_half(self);

	(void)trailers;
	if (a->body_ended)
		half_done(&a->half);
	else
		half_abort(&a->half, ADIT_ERR_ENOUGH);
	ask_over(a, 0, "");
}

static void op_credit(struct half *self, size_t n)
{
	of_half(self)->credit += n;
	send_body(of_half(self));
}

/* The server ends the connection and has not taken this one any more (RFC 9113 section 6.8): the next one will. */
static bool ask_again(struct ask *a)
{
	if (a->repeated || a->answer.status || !outer_leaving(a->h2->outer))
		return false;
	a->repeated = true;
	a->body_sent = a->credit = 0;
	a->body_ended = false;
	timer_clear(&a->late);
	connection_h2_ended(a->h2);
	a->h2 = NULL;
	a->state = ASK_WAITING;
	list_insert_before(a->by->waiting.next, &a->node);
	return true;
}

static void op_abort(struct half *self, int err)
{
	struct ask *a = of_half(self);

	if (!ask_again(a))
		ask_over(a, err, err_text(err));
}

static const struct half_ops half_ops = {op_head, op_body, op_end, op_credit, op_abort};

void connection_h2_send_late(struct ask *a)
{
	a->late_left = 0;
	send_body(a);
}

/* ---- the connection */

static void release(void *arg)
{
	free(arg);
}

void connection_h2_close(struct connection_h2 *c)
{
	if (!c->outer)
		return;
	list_remove(&c->node);
	outer_free(&c->outer);
	task_post_free(c->r->loop, &c->free);
}

void connection_h2_ended(struct connection_h2 *c)
{
	c->running--;
	requester_go_on(c->r);
}

static void on_ready(void *owner)
{
	struct connection_h2 *c = owner;

	c->ready = true;
	requester_go_on(c->r);
}

static void on_gone(void *owner, int err, const char *detail)
{
	struct connection_h2 *c = owner;
	struct requester *r = c->r;
	bool never = !c->ready;

	connection_h2_close(c);
	if (never)
		requester_fail_waiting(r, err, *detail ? detail : "the HTTP/2 connection ended before its SETTINGS");
	requester_go_on(r);
}

static const struct outer_events events = {on_ready, on_gone, NULL};

struct connection_h2 *connection_h2_new(struct requester *r, struct stream *s)
{
	struct connection_h2 *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->r = r;
	c->free = (struct task){.run = release, .arg = c};
	c->outer = outer_new(r->loop, s, &events, c);
	if (!c->outer) {
		free(c);
		return NULL;
	}
	list_init(&c->node);
	list_append(&r->h2_connections, &c->node);
	return c;
}

static void close_left(struct requester *r)
{
	struct list *at, *tmp;

	list_each(at, tmp, &r->h2_connections) {
		struct connection_h2 *c = connection_h2_of_node(at);

		if (!c->running && outer_leaving(c->outer))
			connection_h2_close(c);
	}
}

bool connection_h2_send(struct requester *r, struct ask *a, bool *soon)
{
	struct connection_h2 *c;
	struct half *half;
	int err;

	close_left(r);
	if (list_empty(&r->h2_connections))
		return false;
	c = connection_h2_of_node(r->h2_connections.prev);
	if (outer_leaving(c->outer))
		return false;
	*soon = true; /* or a stream of it is free again */
	half = c->ready ? outer_ask(c->outer, &err) : NULL;
	if (!half)
		return false;
	a->state = ASK_RUNNING;
	a->h2 = c;
	c->running++;
	a->half.ops = &half_ops;
	half_link(&a->half, half);
	ask_begins(a);
	half_head(&a->half, &a->head, !a->body_n);
	half_credit(&a->half, a->answer_max);
	if (!a->body_n)
		send_body(a);
	return true;
}
