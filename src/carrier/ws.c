/* ws: see the header, and ws_int.h. This part is the stream; ws_send.c and ws_receive.c are the two directions. */
#include "carrier/ws.h"

#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/err.h"
#include "carrier/ws_int.h"

/** Reads of the lower stream that may bring no payload before others get their turn. */
#define BARREN_READS 8

/* ---- reading and the lower stream's handler

   Payload is never longer than the bytes it came in: these are read into the caller's memory and unframed there. */

static ssize_t read_raw(struct ws *w, void *p, size_t n)
{
	ssize_t got;

	if (w->rest.len)
		return (ssize_t)buf_take(&w->rest, p, n);
	got = stream_read(w->lower, p, n);
	if (got < 0 && got != ADIT_ERR_AGAIN) {
		/* an end without Close may have cut something, unless we have said that we need no more */
		bool cut = got == ADIT_ERR_EOF && !w->close_sent;

		ws_fail(w, cut ? ADIT_ERR_RESET : (int)got, cut ? "ended without a WebSocket Close" : stream_detail(w->lower));
	}
	return got;
}

static ssize_t ws_read(struct stream *s, void *p, size_t n)
{
	struct ws *w = ws_of(s);
	ssize_t got = ADIT_ERR_AGAIN;
	size_t done = 0;

	for (int i = 0; i < BARREN_READS && !w->failed && !done && n; i++) {
		got = read_raw(w, p, n);
		if (got < 0)
			break;
		done = ws_unframe(w, p, (size_t)got);
	}
	if (w->pong_due)
		ws_flush(w);
	if (done)
		return (ssize_t)done;
	if (!w->failed)
		return ADIT_ERR_AGAIN;
	w->failure_read = true;
	return w->failed;
}

static bool has_more(const struct ws *w)
{
	return w->rest.len || (w->failed && !w->failure_read);
}

static void lower_readable(void *owner)
{
	struct ws *w = owner;

	if (w->paused || !w->base.handler)
		return;
	w->base.handler->readable(w->base.owner);
	if (w->base.handler && !w->paused && has_more(w))
		task_post_next(w->base.loop, &w->again);
}

static void run_again(void *arg)
{
	if (has_more(arg))
		lower_readable(arg);
}

static void ws_pause(struct stream *s, bool paused)
{
	struct ws *w = ws_of(s);

	w->paused = paused;
	if (!w->failed)
		stream_pause(w->lower, paused);
	if (paused)
		task_cancel(s->loop, &w->again);
	else if (has_more(w))
		task_post_next(s->loop, &w->again);
}

static void lower_writable(void *owner)
{
	struct ws *w = owner;

	ws_flush(w);
	if (!w->short_write || (w->out.len && !w->out_failed) || !w->base.handler)
		return;
	w->short_write = false;
	w->base.handler->writable(w->base.owner);
}

static void lower_leaving(void *owner)
{
	struct ws *w = owner;

	stream_leave(&w->base);
}

/* ---- the stream */

static void ws_finish(struct stream *s)
{
	ws_send_close_code(ws_of(s), WSLAY_CODE_NORMAL_CLOSURE);
}

static size_t ws_unsent(const struct stream *s)
{
	const struct ws *w = ws_of(s);

	return w->out.len + stream_unsent(w->lower);
}

static void ws_spoil(struct stream *s)
{
	stream_spoil(ws_of(s)->lower);
}

static void ws_stop(struct stream *s)
{
	struct ws *w = ws_of(s);

	task_cancel(s->loop, &w->again);
	stream_free(&w->lower);
}

static void ws_destroy(struct stream *s)
{
	struct ws *w = ws_of(s);

	wslay_frame_context_free(w->frames);
	buf_clear(&w->out);
	buf_clear(&w->rest);
	free(w);
}

static const char *ws_detail(const struct stream *s)
{
	const struct ws *w = ws_of(s);

	return w->detail[0] ? w->detail : stream_detail(w->lower);
}

static const struct stream_ops ws_ops = {
	.read = ws_read,
	.write = ws_write,
	.pause = ws_pause,
	.unsent = ws_unsent,
	.finish = ws_finish,
	.spoil = ws_spoil,
	.stop = ws_stop,
	.destroy = ws_destroy,
	.detail = ws_detail,
};

static const struct stream_handler lower_handler = {lower_readable, lower_writable};

struct stream *ws_new(struct stream **lower, enum ws_side side, struct buf *rest)
{
	const struct wslay_frame_callbacks callbacks = {ws_put, ws_give, NULL};
	struct ws *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	if (wslay_frame_context_init(&w->frames, &callbacks, w) != 0) {
		free(w);
		return NULL;
	}
	stream_init(&w->base, &ws_ops, (*lower)->loop);
	w->base.peer = (*lower)->peer;
	w->masks = side == WS_DIALLED;
	w->paused = true;
	w->again = (struct task){.run = run_again, .arg = w};
	ws_next_frame(w);
	if (rest)
		buf_splice(&w->rest, rest);
	w->lower = *lower;
	*lower = NULL;
	stream_own(w->lower, &lower_handler, w);
	stream_on_leaving(w->lower, lower_leaving);
	w->base.left = stream_leaving(w->lower);
	stream_pause(w->lower, true);
	return &w->base;
}

/* ---- the handshake's two values */

#define KEY_BYTES 16
/** RFC 6455 section 1.3. */
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

void ws_make_key(char out[WS_KEY_TEXT])
{
	uint8_t key[KEY_BYTES];

	random_bytes(key, sizeof(key));
	base64_encode(key, sizeof(key), out);
}

int ws_accept_for(const char *key, size_t n, char out[WS_ACCEPT_TEXT])
{
	char text[WS_KEY_TEXT - 1 + sizeof(GUID)];
	uint8_t bytes[KEY_BYTES], digest[SHA1_LEN];
	int err = base64_decode(key, n, bytes, sizeof(bytes));

	if (err)
		return err;
	memcpy(text, key, n);
	memcpy(text + n, GUID, sizeof(GUID) - 1);
	err = digest_sha1(text, n + sizeof(GUID) - 1, digest);
	if (err)
		return err;
	base64_encode(digest, sizeof(digest), out);
	return 0;
}
