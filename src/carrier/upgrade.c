/* direct and ws-h1: an HTTP/1.1 Upgrade on a connected stream, then link bytes as they are, or in WebSocket frames.
 * adit's side.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/digest.h"
#include "carrier/carrier.h"
#include "carrier/ws.h"
#include "http/h1.h"

/** Read at a time while the answer is awaited. */
#define READ_BYTES 4096
/** The first byte of a TLS record that holds an alert. */
#define TLS_ALERT 0x15

struct carrier_attempt {
	struct loop *loop;
	bool websocket;
	char key[WS_KEY_TEXT];
	struct stream *stream;
	struct h1_parser *parser;
	struct buf out, rest;
	struct timer timer;
	struct task finish;
	carrier_done_fn *done;
	void *arg;
	bool answered; /* the final head has come */
	int err, status;
	bool ours;
	unsigned retry_after;
	size_t detail_len;
	char detail[CARRIER_DETAIL_MAX + 1];
};

static void release(struct carrier_attempt *a)
{
	timer_stop(&a->timer);
	task_cancel(a->loop, &a->finish);
	stream_free(&a->stream);
	h1_free(&a->parser);
	buf_clear(&a->out);
	buf_clear(&a->rest);
	free(a);
}

static void finish(void *arg)
{
	struct carrier_attempt *a = arg;
	struct stream *framed = NULL;
	struct carrier_result r;

	if (!a->err) {
		stream_pause(a->stream, true);
		stream_own(a->stream, NULL, NULL);
	}
	if (!a->err && a->websocket && !(framed = ws_new(&a->stream, WS_DIALLED, &a->rest)))
		a->err = ADIT_ERR_NOMEM;
	r = (struct carrier_result){
		.rest = &a->rest, .err = a->err, .status = a->status, .ours = a->ours, .retry_after = a->retry_after,
		.detail = a->detail,
	};

	if (!a->err) {
		r.stream = framed ? framed : a->stream;
		a->stream = NULL;
	}
	timer_stop(&a->timer);
	a->done(a->arg, &r);
	release(a);
}

/* What a refusal's head has said stays so, however its body ends. */
static void end(struct carrier_attempt *a, int err, const char *detail)
{
	if (!a->err) {
		a->err = err;
		if (detail)
			snprintf(a->detail, sizeof(a->detail), "%s", detail);
	}
	if (a->stream)
		stream_pause(a->stream, true);
	task_post(a->loop, &a->finish);
}

/* ---- the answer */

/* The 101 must be for what was asked (RFC 6455 section 4.1, points 2 to 6). */
static bool accepted(const struct carrier_attempt *a, const struct head *h)
{
	char want[WS_ACCEPT_TEXT];

	if (!a->websocket)
		return str_eq_nocase(head_get(h, HEAD_PROTOCOL), STR("adit"));
	return str_eq_nocase(head_get(h, HEAD_PROTOCOL), STR("websocket")) && carrier_plain_websocket(h) &&
	       ws_accept_for(a->key, WS_KEY_TEXT - 1, want) == 0 &&
	       str_eq(fields_get(&h->fields, STR("sec-websocket-accept")), str_of(want));
}

static int on_head(void *arg, struct head *h, bool bodyless)
{
	struct carrier_attempt *a = arg;
	(void)bodyless;
	if (h->status < 200 && h->status != 101)
		return 0;
	a->answered = true;
	a->status = h->status;
	a->ours = fields_has(&h->fields, STR("adit-version"));
	a->retry_after = carrier_retry_after(h);
	if (h->status != 101) {
		a->err = carrier_err_of_answer(h, a->detail);
	} else if (!accepted(a, h)) {
		a->err = ADIT_ERR_PROTO;
		a->status = 0; /* neither a yes nor a refusal */
		snprintf(a->detail, sizeof(a->detail), "its 101 is not for what was asked");
	}
	return 0;
}

static int on_body(void *arg, const uint8_t *p, size_t n)
{
	struct carrier_attempt *a = arg;

	if (a->err == ADIT_ERR_VERSION) /* said already */
		return 0;
	for (size_t i = 0; i < n && a->detail_len < CARRIER_DETAIL_MAX; i++)
		a->detail[a->detail_len++] = p[i] >= ' ' && p[i] < 127 ? (char)p[i] : ' ';
	if (a->detail_len == CARRIER_DETAIL_MAX) /* some site's page: its end would tell nothing more */
		end(a, a->err, NULL);
	return 0;
}

static int on_end(void *arg, const struct fields *trailers)
{
	struct carrier_attempt *a = arg;

	(void)trailers;
	if (a->answered && a->err)
		end(a, a->err, NULL);
	return 0;
}

static const struct h1_events events = {on_head, on_body, on_end};

static void parse(struct carrier_attempt *a, const uint8_t *p, size_t n)
{
	size_t used = 0;
	int err;

	/* an alert of RFC 8446 section 6: we spoke plain HTTP to a TLS port */
	if (n && p[0] == TLS_ALERT && !a->answered) {
		end(a, ADIT_ERR_PROTO, "the other side speaks TLS there: is it https:// and not http://?");
		return;
	}
	err = h1_parse(a->parser, p, n, &used);
	if (err) {
		end(a, ADIT_ERR_PROTO, h1_error_detail(a->parser));
	} else if (a->answered && !a->status) {
		end(a, a->err, NULL);
	} else if (a->status == 101) {
		end(a, buf_add(&a->rest, p + used, n - used), NULL);
	}
}

static void on_readable(void *owner)
{
	struct carrier_attempt *a = owner;
	uint8_t block[READ_BYTES];
	ssize_t n = stream_read(a->stream, block, sizeof(block));

	if (n == ADIT_ERR_AGAIN)
		return;
	if (n > 0)
		parse(a, block, (size_t)n);
	else if (a->answered && a->err)
		end(a, a->err, NULL);
	else if (*stream_detail(a->stream))
		end(a, (int)n, stream_detail(a->stream));
	else
		end(a, (int)n, a->stream->tls ? "it hung up instead of answering the upgrade"
		                              : "it hung up on a plain request: is it https:// and not http://?");
}

static void on_writable(void *owner)
{
	struct carrier_attempt *a = owner;
	struct iovec iov[4];

	while (a->out.len) {
		ssize_t n = stream_write(a->stream, iov, buf_iov(&a->out, iov, 4));

		if (n < 0)
			end(a, (int)n, stream_detail(a->stream));
		if (n <= 0)
			return;
		buf_drop(&a->out, (size_t)n);
	}
}

static const struct stream_handler handler = {on_readable, on_writable};

static void on_timeout(void *arg)
{
	struct carrier_attempt *a = arg;

	end(a, ADIT_ERR_TIMEOUT, "no answer to the upgrade request");
}

/* ---- the request */

static int write_request(struct carrier_attempt *a, const struct carrier_target *t)
{
	struct head h;
	enum h1_framing framing;
	int err;

	head_init(&h);
	h.minor = 1;
	err = carrier_request(&h, t, a->websocket ? "ws" : "direct", a->websocket ? "websocket" : "adit");
	if (!err && a->websocket) {
		ws_make_key(a->key);
		err = fields_add(&h.fields, STR("sec-websocket-key"), str_of(a->key));
	}
	if (!err)
		err = h1_write_request(&a->out, &h, &framing);
	head_free(&h);
	return err ? ADIT_ERR_NOMEM : 0;
}

static struct carrier_attempt *start(struct loop *l, struct stream *s, const struct carrier_target *t,
                                     carrier_done_fn *done, void *arg, bool websocket)
{
	struct carrier_attempt *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	a->loop = l;
	a->websocket = websocket;
	a->done = done;
	a->arg = arg;
	a->finish = (struct task){.run = finish, .arg = a};
	timer_init(&a->timer, l, on_timeout, a);
	a->parser = h1_new(H1_RESPONSE, &events, a);
	if (!a->parser || write_request(a, t) < 0) {
		release(a);
		return NULL;
	}
	h1_expect(a->parser, STR("GET"));
	a->stream = s;
	timer_set(&a->timer, CARRIER_UPGRADE_MS);
	stream_own(s, &handler, a);
	stream_pause(s, false);
	on_writable(a);
	return a;
}

static struct carrier_attempt *start_direct(struct loop *l, struct stream *s, const struct carrier_target *t,
                                            carrier_done_fn *done, void *arg)
{
	return start(l, s, t, done, arg, false);
}

static struct carrier_attempt *start_ws(struct loop *l, struct stream *s, const struct carrier_target *t,
                                        carrier_done_fn *done, void *arg)
{
	return start(l, s, t, done, arg, true);
}

static void cancel(struct carrier_attempt **a)
{
	if (*a)
		release(*a);
	*a = NULL;
}

const struct carrier_kind carrier_direct = {.name = "direct", .start = start_direct, .cancel = cancel};
const struct carrier_kind carrier_ws_h1 = {.name = "ws-h1", .start = start_ws, .cancel = cancel};
