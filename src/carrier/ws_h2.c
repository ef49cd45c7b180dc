/* ws-h2: an RFC 8441 extended CONNECT on an HTTP/2 connection, then link bytes in WebSocket frames. adit's side.
 *
 *   start ─► SETTINGS ─► announced? CONNECT ─► 200 ─► done: ws ∘ half_stream ∘ outer ∘ TLS
 *                          │ not: an error, and the next rung
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/err.h"
#include "carrier/carrier.h"
#include "carrier/half_stream.h"
#include "carrier/outer.h"
#include "carrier/ws.h"

/* Lives as long as the carrier that it made: the outer connection serves that one stream. */
struct carrier_attempt {
	struct loop *loop;
	struct outer *outer;
	struct stream *bytes; /* the half_stream, until it is given away */
	struct stream *below; /* the same, until it is freed */
	struct head request;
	struct timer timer;
	struct task finish, free;
	carrier_done_fn *done;
	void *arg;
	int err, status;
	bool ours, ended, given;
	unsigned retry_after;
	char detail[CARRIER_DETAIL_MAX + 1];
};

static void release(void *arg)
{
	struct carrier_attempt *a = arg;

	head_free(&a->request);
	free(a);
}

static void drop(struct carrier_attempt *a)
{
	timer_stop(&a->timer);
	task_cancel(a->loop, &a->finish);
	stream_free(&a->bytes);
	outer_free(&a->outer);
	task_post_free(a->loop, &a->free);
}

/* The carrier is gone: so is the connection below it. */
static void on_released(void *arg)
{
	struct carrier_attempt *a = arg;

	a->below = NULL;
	if (a->given)
		drop(a);
}

static void finish(void *arg)
{
	struct carrier_attempt *a = arg;
	struct buf none = BUF_INIT;
	struct carrier_result r = {
		.rest = &none, .err = a->err, .status = a->status, .ours = a->ours, .retry_after = a->retry_after, .detail = a->detail,
	};

	timer_stop(&a->timer);
	if (!a->err) {
		r.stream = ws_new(&a->bytes, WS_DIALLED, NULL);
		r.err = r.stream ? 0 : ADIT_ERR_NOMEM;
	}
	a->given = r.stream != NULL;
	a->done(a->arg, &r);
	if (!a->given)
		drop(a);
}

static void end(struct carrier_attempt *a, int err, const char *detail)
{
	if (a->ended)
		return;
	a->ended = true;
	a->err = err;
	snprintf(a->detail, sizeof(a->detail), "%s", detail);
	task_post(a->loop, &a->finish);
}

static void on_answer(void *arg, const struct head *h, bool bodyless)
{
	struct carrier_attempt *a = arg;
	char text[CARRIER_DETAIL_MAX + 1];

	(void)bodyless;
	if (h->status < 200 && h->status != 101)
		return;
	a->status = h->status;
	a->ours = fields_has(&h->fields, STR("adit-version"));
	a->retry_after = carrier_retry_after(h);
	snprintf(text, sizeof(text), "the extended CONNECT was answered with %d: %s", h->status,
	         err_text(carrier_err_of_status(h->status)));
	if (h->status == 101 && carrier_plain_websocket(h)) {
		end(a, 0, "");
	} else if (h->status == 101) {
		a->status = 0; /* neither a yes nor a refusal */
		end(a, ADIT_ERR_PROTO, "its 200 is for a WebSocket that was not asked for");
	} else {
		end(a, carrier_err_of_answer(h, text), text);
	}
}

static void on_ready(void *owner)
{
	struct carrier_attempt *a = owner;
	struct half *half;
	int err;

	if (!outer_may_connect(a->outer)) {
		end(a, ADIT_ERR_UPGRADE, "WebSocket over HTTP/2 (RFC 8441) is not announced");
		return;
	}
	half = outer_ask(a->outer, &err);
	a->bytes = half ? half_stream_new(a->loop, half, &outer_stream(a->outer)->peer, on_answer, a) : NULL;
	if (!a->bytes) {
		end(a, half ? ADIT_ERR_NOMEM : err, half ? "" : "the HTTP/2 connection takes no requests");
		return;
	}
	a->below = a->bytes;
	half_stream_on_stop(a->bytes, on_released, a);
	half_head(half_stream_half(a->bytes), &a->request, false);
}

static void on_gone(void *owner, int err, const char *detail)
{
	struct carrier_attempt *a = owner;

	/* once the carrier is given away, its stream tells of the loss by itself */
	if (!a->given)
		end(a, err, *detail ? detail : "the HTTP/2 connection ended before an answer");
}

/* The stream goes on; whoever holds the carrier is told. */
static void on_leaving(void *owner)
{
	struct carrier_attempt *a = owner;

	if (a->below)
		half_stream_leave(a->below);
}

static const struct outer_events outer_events = {on_ready, on_gone, on_leaving};

static void on_timeout(void *arg)
{
	end(arg, ADIT_ERR_TIMEOUT, "no answer to the extended CONNECT");
}

static struct carrier_attempt *start(struct loop *l, struct stream *s, const struct carrier_target *t,
                                     carrier_done_fn *done, void *arg)
{
	struct carrier_attempt *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->loop = l;
	a->done = done;
	a->arg = arg;
	a->finish = (struct task){.run = finish, .arg = a};
	a->free = (struct task){.run = release, .arg = a};
	timer_init(&a->timer, l, on_timeout, a);
	head_init(&a->request);
	if (carrier_request(&a->request, t, "ws", "websocket") == 0)
		a->outer = outer_new(l, s, &outer_events, a);
	if (!a->outer) {
		release(a);
		return NULL;
	}
	timer_set(&a->timer, CARRIER_UPGRADE_MS);
	return a;
}

static void cancel(struct carrier_attempt **a)
{
	if (*a)
		drop(*a);
	*a = NULL;
}

const struct carrier_kind carrier_ws_h2 = {.name = "ws-h2", .start = start, .cancel = cancel};
