/* The receiving side of ws: bytes of the lower stream to payload. */
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "carrier/ws_int.h"

/* ---- judging frames */

void ws_fail(struct ws *w, int err, const char *detail)
{
	if (w->failed)
		return;
	w->failed = err;
	w->pong_due = false;
	snprintf(w->detail, sizeof(w->detail), "%s", detail);
	stream_pause(w->lower, true); /* nothing more is wanted of it */
	if (!w->paused)
		task_post_next(w->base.loop, &w->again);
}

static void violation(struct ws *w, uint16_t code, const char *detail)
{
	ws_fail(w, ADIT_ERR_PROTO, detail);
	ws_send_close_code(w, code);
}

/* What wslay leaves to its user, as soon as the two bytes are here. Lengths are wslay's. */
static void judge_head(struct ws *w)
{
	uint8_t opcode = w->head[0] & 0x0f;
	bool fin = w->head[0] & 0x80, masked = w->head[1] & 0x80;

	if (w->head[0] & 0x70)
		violation(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket frame with a reserved bit");
	else if (masked == w->masks)
		violation(w, WSLAY_CODE_PROTOCOL_ERROR, masked ? "masked WebSocket frame" : "WebSocket frame without mask");
	else if ((opcode > WSLAY_BINARY_FRAME && opcode < WSLAY_CONNECTION_CLOSE) || opcode > WSLAY_PONG)
		violation(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket frame of a reserved opcode");
	else if (opcode < WSLAY_CONNECTION_CLOSE && (opcode == WSLAY_CONTINUATION_FRAME) != w->fragmented)
		violation(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket fragment out of place");
	else if (opcode == WSLAY_TEXT_FRAME)
		violation(w, WSLAY_CODE_UNSUPPORTED_DATA, "WebSocket text message");
	else if (opcode < WSLAY_CONNECTION_CLOSE)
		w->fragmented = !fin;
}

/* RFC 6455 section 7.4: codes that may stand in a frame. */
static bool is_close_code(unsigned code)
{
	return code >= 1000 && code < 5000 && code != 1004 && code != WSLAY_CODE_NO_STATUS_RCVD &&
	       code != WSLAY_CODE_ABNORMAL_CLOSURE && code != WSLAY_CODE_TLS_HANDSHAKE;
}

static void on_close(struct ws *w)
{
	char text[sizeof(w->detail)];
	unsigned code;
	int at;

	if (!w->control_n) {
		ws_fail(w, ADIT_ERR_EOF, "");
		ws_send_close(w, NULL, 0);
		return;
	}
	code = (unsigned)w->control[0] << 8 | w->control[1];
	if (w->control_n < 2 || !is_close_code(code)) {
		violation(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket Close with an invalid code");
		return;
	}
	at = snprintf(text, sizeof(text), "WebSocket Close %u ", code);
	for (size_t i = 2; i < w->control_n; i++)
		text[at++] = w->control[i] >= ' ' && w->control[i] < 127 ? (char)w->control[i] : '?';
	while (text[at - 1] == ' ')
		at--;
	text[at] = '\0';
	ws_fail(w, ADIT_ERR_EOF, code == WSLAY_CODE_NORMAL_CLOSURE ? "" : text);
	ws_send_close(w, w->control, 2);
}

static void on_control(struct ws *w, uint8_t opcode)
{
	if (opcode == WSLAY_CONNECTION_CLOSE) {
		on_close(w);
	} else if (opcode == WSLAY_PING) {
		memcpy(w->pong, w->control, w->control_n);
		w->pong_n = w->control_n;
		w->pong_due = true;
	}
	w->control_n = 0;
}

/* ---- receiving */

/* Of the frames that we receive. */
static size_t key_len(const struct ws *w)
{
	return w->masks ? 0 : WS_MASK_LEN;
}

/* Gathers a frame's header from what was read; true when it is all there. */
static bool gather_head(struct ws *w)
{
	size_t length_n;

	while (w->head_n < w->head_want && w->from < w->from_end) {
		w->head[w->head_n++] = *w->from++;
		if (w->head_n != 2)
			continue;
		judge_head(w);
		if (w->failed)
			return false;
		w->left = w->head[1] & 0x7f;
		length_n = w->left == 127 ? 8 : w->left == 126 ? 2 : 0;
		w->head_want = 2 + length_n + key_len(w);
	}
	if (w->head_n < w->head_want)
		return false;
	length_n = w->head_want - 2 - key_len(w);
	for (size_t i = 0; i < length_n; i++)
		w->left = (i ? w->left << 8 : 0) | w->head[2 + i];
	w->in_off = 0;
	return true;
}

/* Frames as they are without masking, and never beyond the end of one. */
ssize_t ws_give(uint8_t *p, size_t n, int flags, void *arg)
{
	struct ws *w = arg;
	size_t have = (size_t)(w->from_end - w->from);

	(void)flags;
	if (!w->head_given) {
		if (!gather_head(w))
			return -1;
		w->head_given = true;
		n = w->head_want - key_len(w);
		memcpy(p, w->head, n);
		p[1] &= 0x7f;
		return (ssize_t)n;
	}
	if (n > have)
		n = have;
	if (n > w->left)
		n = (size_t)w->left;
	if (!n)
		return -1;
	memcpy(p, w->from, n);
	w->from += n;
	w->left -= n;
	return (ssize_t)n;
}

void ws_next_frame(struct ws *w)
{
	w->head_n = 0;
	w->head_given = false;
	w->head_want = 2;
}

/* A piece of a frame that wslay has passed. */
static void take_payload(struct ws *w, const struct wslay_frame_iocb *io)
{
	uint8_t *to = w->to;
	bool control = wslay_is_ctrl_frame(io->opcode);

	if (control)
		to = w->control + w->control_n;
	if (w->masks)
		memcpy(to, io->data, io->data_length);
	else
		ws_mask(to, io->data, io->data_length, w->head + w->head_want - WS_MASK_LEN, w->in_off);
	w->in_off += io->data_length;
	if (control)
		w->control_n += io->data_length;
	else
		w->to += io->data_length;
	if (w->left)
		return;
	w->empty = control || !w->in_off ? w->empty + 1 : 0;
	ws_next_frame(w);
	if (control)
		on_control(w, io->opcode);
	if (w->empty > WS_EMPTY_MAX)
		violation(w, WSLAY_CODE_POLICY_VIOLATION, "WebSocket frames without end that bring nothing");
}

size_t ws_unframe(struct ws *w, uint8_t *p, size_t n)
{
	struct wslay_frame_iocb io;
	ssize_t got;

	w->from = w->to = p;
	w->from_end = p + n;
	while (!w->failed) {
		memset(&io, 0, sizeof(io));
		got = wslay_frame_recv(w->frames, &io);
		if (got >= 0)
			take_payload(w, &io);
		else if (got == WSLAY_ERR_PROTO)
			violation(w, WSLAY_CODE_PROTOCOL_ERROR, "WebSocket frame of an invalid length");
		else
			break;
	}
	n = (size_t)(w->to - p);
	w->from = w->from_end = w->to = NULL;
	return n;
}
