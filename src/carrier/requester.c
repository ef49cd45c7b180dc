#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/str.h"
#include "carrier/requester_int.h"

static void pump(void *arg);

/* ---- asks */

static void tell(void *arg)
{
	struct ask *a = arg;

	a->state = ASK_NONE;
	a->done(a->arg);
}

static void on_timeout(void *arg)
{
	struct ask *a = arg;

	requester_cancel(a);
	ask_over(a, ADIT_ERR_TIMEOUT, "no answer in time");
}

static void on_late(void *arg)
{
	struct ask *a = arg;

	if (a->h2)
		connection_h2_send_late(a);
	else if (a->h1)
		connection_h1_send_late(a);
}

void ask_begins(struct ask *a)
{
	a->late_left = a->late_n;
	if (a->late_n)
		timer_set(&a->late, a->late_ms);
}

int ask_got(struct ask *a, const uint8_t *p, size_t n)
{
	if (a->got.len + n > a->answer_max)
		return ADIT_ERR_PROTO;
	if (buf_add(&a->got, p, n) < 0)
		return ADIT_ERR_NOMEM;
	if (a->came)
		a->came(a->arg);
	return 0;
}

void ask_init(struct ask *a, struct loop *l, void (*done)(void *arg), void *arg)
{
	*a = (struct ask){.done = done, .arg = arg, .detail = ""};
	head_init(&a->head);
	head_init(&a->answer);
	list_init(&a->node);
	a->tell = (struct task){.run = tell, .arg = a};
	timer_init(&a->timer, l, on_timeout, a);
	timer_init(&a->late, l, on_late, a);
}

void ask_reset(struct ask *a)
{
	head_reset(&a->head);
	head_reset(&a->answer);
	buf_clear(&a->got);
	a->body = NULL;
	a->body_n = a->body_sent = a->credit = 0;
	a->late_n = a->late_left = 0;
	a->sending = a->body_ended = a->answer_begun = a->repeated = false;
	a->err = 0;
	a->detail = "";
}

void ask_clear(struct ask *a)
{
	requester_cancel(a);
	timer_stop(&a->timer);
	timer_stop(&a->late);
	head_free(&a->head);
	head_free(&a->answer);
	buf_clear(&a->got);
}

static void leave(struct ask *a)
{
	if (a->h2)
		connection_h2_ended(a->h2);
	a->h1 = NULL;
	a->h2 = NULL;
	list_remove(&a->node);
	timer_clear(&a->timer);
	timer_clear(&a->late);
}

void ask_over(struct ask *a, int err, const char *detail)
{
	if (a->state == ASK_TOLD)
		return;
	a->state = ASK_TOLD;
	a->err = err;
	snprintf(a->text, sizeof(a->text), "%s", detail);
	a->detail = a->text;
	leave(a);
	task_post(a->by->loop, &a->tell);
	requester_go_on(a->by);
}

void requester_cancel(struct ask *a)
{
	struct connection_h1 *h1 = a->h1;

	if (a->state == ASK_NONE)
		return;
	a->state = ASK_NONE;
	leave(a);
	task_cancel(a->by->loop, &a->tell);
	half_abort(&a->half, ADIT_ERR_ABANDONED);
	if (h1) /* in the middle of a message it is of no further use */
		connection_h1_close(h1, ADIT_ERR_ABANDONED, "");
}

void requester_ask(struct requester *r, struct ask *a)
{
	a->by = r;
	a->state = ASK_WAITING;
	list_append(&r->waiting, &a->node);
	timer_set(&a->timer, a->budget_ms);
	requester_go_on(r);
}

/* ---- connections */

void requester_go_on(struct requester *r)
{
	task_post(r->loop, &r->pump);
}

static int add_stream(struct requester *r, struct stream *s)
{
	r->h2 = strcmp(s->alpn, TLS_ALPN_H2) == 0;
	if (r->h2)
		return connection_h2_new(r, s) ? 0 : ADIT_ERR_NOMEM;
	return connection_h1_new(r, s) ? 0 : ADIT_ERR_NOMEM;
}

void requester_fail_waiting(struct requester *r, int err, const char *detail)
{
	while (!list_empty(&r->waiting))
		ask_over(container_of(r->waiting.next, struct ask, node), err, detail);
}

static void on_dialled(void *arg, struct stream *s, int err, const char *detail)
{
	struct requester *r = arg;

	r->dial = NULL;
	if (!err && add_stream(r, s) < 0) {
		stream_free(&s);
		err = ADIT_ERR_NOMEM;
	}
	if (err) /* those that run elsewhere do so still */
		requester_fail_waiting(r, err, *detail ? detail : err_text(err));
	requester_go_on(r);
}

static void dial(struct requester *r)
{
	if (r->dial)
		return;
	r->dial = dial_start(r->loop, r->resolver, &r->dial_options, on_dialled, r);
	if (!r->dial)
		requester_fail_waiting(r, ADIT_ERR_NOMEM, "");
}

static void pump(void *arg)
{
	struct requester *r = arg;

	while (!list_empty(&r->waiting)) {
		struct ask *a = container_of(r->waiting.next, struct ask, node);
		bool soon = false;

		list_remove(&a->node);
		if (r->h2 ? connection_h2_send(r, a, &soon) : connection_h1_send(r, a))
			continue;
		if (a->state == ASK_WAITING)
			list_insert_before(r->waiting.next, &a->node);
		if (a->state == ASK_WAITING && !soon && (r->h2 || r->h1_count < REQUESTER_H1_MAX))
			dial(r);
		if (a->state == ASK_WAITING)
			return;
	}
}

/* ---- life */

static void release(void *arg)
{
	struct requester *r = arg;

	tls_context_free(&r->dial_options.tls);
	free(r->host);
	free(r->tls_name);
	free(r);
}

struct requester *requester_new(struct loop *l, struct resolver *resolver, const struct dial_options *dial_options,
                                struct stream *first)
{
	struct requester *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = l;
	r->resolver = resolver;
	r->dial_options = *dial_options;
	r->dial_options.tls = dial_options->tls ? tls_context_ref(dial_options->tls) : NULL;
	list_init(&r->waiting);
	list_init(&r->h1);
	list_init(&r->h2_connections);
	r->pump = (struct task){.run = pump, .arg = r};
	r->free = (struct task){.run = release, .arg = r};
	r->host = str_dup(str_of(dial_options->host));
	r->tls_name = dial_options->tls_name ? str_dup(str_of(dial_options->tls_name)) : NULL;
	r->dial_options.host = r->host;
	r->dial_options.tls_name = r->tls_name;
	if (!r->host || (dial_options->tls_name && !r->tls_name) || add_stream(r, first) < 0) {
		release(r);
		return NULL;
	}
	/* what was agreed on once is what the next connections are to speak */
	r->dial_options.alpn = r->h2 ? TLS_OFFER_H2 | TLS_OFFER_HTTP1 : TLS_OFFER_HTTP1;
	return r;
}

void requester_free(struct requester **rp)
{
	struct requester *r = *rp;

	if (!r)
		return;
	*rp = NULL;
	dial_cancel(&r->dial);
	while (!list_empty(&r->h1))
		connection_h1_close(connection_h1_of_node(r->h1.next), ADIT_ERR_SHUTDOWN, "");
	while (!list_empty(&r->h2_connections))
		connection_h2_close(connection_h2_of_node(r->h2_connections.next));
	task_cancel(r->loop, &r->pump);
	task_post_free(r->loop, &r->free);
}

bool requester_is_h2(const struct requester *r)
{
	return r->h2;
}
