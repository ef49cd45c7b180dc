/* The sending side of ws: payload to frames, frames to the lower stream. */
#include <string.h>

#include "base/digest.h"
#include "base/err.h"
#include "carrier/ws_int.h"

/** Header of the frames we send. */
#define OUT_HEAD_MAX (4 + WS_MASK_LEN)
/** Frames made for one write to the lower stream. */
#define FRAMES_A_WRITE 4
#define OUT_PIECES 16

_Static_assert(FRAMES_A_WRITE * (OUT_HEAD_MAX + WS_PAYLOAD_MAX) <= WS_UNSENT_MAX, "what waits is one write");
_Static_assert(WS_UNSENT_MAX <= LOOP_BLOCK, "a lent block holds it");

void ws_mask(uint8_t *to, const uint8_t *p, size_t n, const uint8_t key[WS_MASK_LEN], uint64_t off)
{
	uint8_t turned[8];
	uint64_t k, w[4];

	for (size_t i = 0; i < sizeof(turned); i++)
		turned[i] = key[(off + i) % WS_MASK_LEN];
	memcpy(&k, turned, sizeof(k));
	for (; n >= sizeof(w); n -= sizeof(w), p += sizeof(w), to += sizeof(w)) {
		memcpy(w, p, sizeof(w));
		w[0] ^= k;
		w[1] ^= k;
		w[2] ^= k;
		w[3] ^= k;
		memcpy(to, w, sizeof(w));
	}
	for (size_t i = 0; i < n; i++)
		to[i] = p[i] ^ turned[i % WS_MASK_LEN];
}

/* ---- making frames */

static void draw_key(struct ws *w)
{
	if (!w->keys_left) {
		random_bytes(w->keys, sizeof(w->keys));
		w->keys_left = WS_KEYS_DRAWN;
	}
	memcpy(w->out_key, w->keys + --w->keys_left * WS_MASK_LEN, WS_MASK_LEN);
}

/* Takes all it gets: there is room for whole frames. */
ssize_t ws_put(const uint8_t *p, size_t n, int flags, void *arg)
{
	struct ws *w = arg;
	uint8_t *to = w->made + w->made_n;

	(void)flags;
	w->made_n += n;
	if (w->masks && !w->head_due) {
		ws_mask(to, p, n, w->out_key, w->out_off);
		w->out_off += n;
		return (ssize_t)n;
	}
	memcpy(to, p, n);
	if (w->masks) {
		draw_key(w);
		to[1] |= 0x80;
		memcpy(to + n, w->out_key, WS_MASK_LEN);
		w->made_n += WS_MASK_LEN;
		w->out_off = 0;
	}
	w->head_due = false;
	return (ssize_t)n;
}

static void begin_frame(struct ws *w, struct wslay_frame_iocb *io, uint8_t opcode, size_t n)
{
	memset(io, 0, sizeof(*io));
	io->fin = 1;
	io->opcode = opcode;
	io->payload_length = n;
	w->head_due = true;
}

/* A control frame behind whatever waits. */
static int put_control(struct ws *w, uint8_t opcode, const uint8_t *p, size_t n)
{
	struct wslay_frame_iocb io;
	uint8_t frame[OUT_HEAD_MAX + WS_CONTROL_MAX];

	begin_frame(w, &io, opcode, n);
	io.data = p;
	io.data_length = n;
	w->made = frame;
	w->made_n = 0;
	if (wslay_frame_send(w->frames, &io) != (ssize_t)n)
		return ADIT_ERR_INVALID;
	return buf_add(&w->out, frame, w->made_n);
}

/** A place in the iovecs of a write. */
struct cursor {
	const struct iovec *iov;
	int i;
	size_t off;
	size_t left; /* bytes from here to the end */
};

/* Makes one frame of what is at the cursor; its bytes are [made + before, made + made_n). */
static int put_message(struct ws *w, struct cursor *c)
{
	struct wslay_frame_iocb io;
	size_t n = c->left < WS_PAYLOAD_MAX ? c->left : WS_PAYLOAD_MAX;

	begin_frame(w, &io, WSLAY_BINARY_FRAME, n);
	c->left -= n;
	while (n) {
		size_t part = c->iov[c->i].iov_len - c->off;

		if (part > n)
			part = n;
		io.data = (const uint8_t *)c->iov[c->i].iov_base + c->off;
		io.data_length = part;
		if (part && wslay_frame_send(w->frames, &io) != (ssize_t)part)
			return ADIT_ERR_INVALID;
		n -= part;
		c->off += part;
		if (c->off == c->iov[c->i].iov_len) {
			c->i++;
			c->off = 0;
		}
	}
	return 0;
}

/* ---- sending */

static void finish_lower(struct ws *w)
{
	if (w->lower_finished)
		return;
	w->lower_finished = true;
	stream_finish(w->lower);
}

static int flush_out(struct ws *w)
{
	struct iovec iov[OUT_PIECES];

	while (w->out.len) {
		ssize_t n = stream_write(w->lower, iov, buf_iov(&w->out, iov, OUT_PIECES));

		if (n < 0)
			return (int)n;
		if (n == 0)
			return 0;
		buf_drop(&w->out, (size_t)n);
	}
	return 0;
}

/* Sends what waits. A Pong is made only when nothing does, so that however many Pings come, one is in memory. */
int ws_flush(struct ws *w)
{
	int err = w->out_failed ? w->out_failed : flush_out(w);

	if (!err && !w->out.len && w->pong_due && !w->close_sent) {
		w->pong_due = false;
		err = put_control(w, WSLAY_PONG, w->pong, w->pong_n);
		if (!err)
			err = flush_out(w);
	}
	if (err)
		buf_clear(&w->out);
	if (w->close_sent && !w->out.len)
		finish_lower(w);
	return w->out_failed = err;
}

/* The last frame that we send. */
void ws_send_close(struct ws *w, const uint8_t *p, size_t n)
{
	if (w->close_sent)
		return;
	if (!w->out_failed)
		w->out_failed = put_control(w, WSLAY_CONNECTION_CLOSE, p, n);
	w->close_sent = true;
	ws_flush(w);
}

void ws_send_close_code(struct ws *w, uint16_t code)
{
	const uint8_t p[2] = {(uint8_t)(code >> 8), (uint8_t)code};

	ws_send_close(w, p, sizeof(p));
}

/* Up to FRAMES_A_WRITE frames to the lower stream in one write, each its own piece: TLS makes a record of each. */
static int write_some(struct ws *w, struct cursor *c, uint8_t *block)
{
	struct iovec iov[FRAMES_A_WRITE];
	ssize_t n;
	int count, err = 0;

	w->made = block;
	w->made_n = 0;
	for (count = 0; count < FRAMES_A_WRITE && c->left; count++) {
		size_t before = w->made_n;

		err = put_message(w, c);
		if (err)
			return err;
		iov[count] = (struct iovec){block + before, w->made_n - before};
	}
	n = stream_write(w->lower, iov, count);
	if (n < 0)
		return (int)n;
	return (size_t)n < w->made_n ? buf_add(&w->out, block + n, w->made_n - (size_t)n) : 0;
}

ssize_t ws_write(struct stream *s, const struct iovec *iov, int count)
{
	struct ws *w = ws_of(s);
	struct cursor c = {iov, 0, 0, 0};
	size_t wanted;
	uint8_t *block;

	if (w->failed && w->failed != ADIT_ERR_EOF)
		return w->failed;
	if (w->close_sent)
		return w->failed ? ADIT_ERR_RESET : ADIT_ERR_INVALID;
	if (ws_flush(w) < 0)
		return w->out_failed;
	for (int i = 0; i < count; i++)
		c.left += iov[i].iov_len;
	wanted = c.left;
	block = w->out.len ? NULL : loop_borrow(s->loop);
	if (!block && !w->out.len)
		return ADIT_ERR_NOMEM;
	while (c.left && !w->out.len && !w->out_failed)
		w->out_failed = write_some(w, &c, block);
	loop_return(s->loop, block);
	if (c.left)
		w->short_write = true;
	return w->out_failed ? w->out_failed : (ssize_t)(wanted - c.left);
}
