#include "h2/gate.h"

#include "h2/h2_int.h"

#define PREFACE_LEN 24
/** Bytes of a stream's priority in HEADERS that name another stream. */
#define DEPENDENCY 4
#define WINDOW_MAX INT32_MAX

static uint32_t number(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t type_of(const struct h2_gate *g)
{
	return g->frame[3];
}

static uint8_t flags_of(const struct h2_gate *g)
{
	return g->frame[4];
}

static int32_t stream_of(const struct h2_gate *g)
{
	return (int32_t)(number(g->frame + 5) & INT32_MAX);
}

static bool is_open(const struct h2 *h, int32_t id)
{
	return id > 0 && nghttp2_session_get_stream_user_data(h->session, id);
}

static void end_connection(struct h2 *h, uint32_t code)
{
	h->gate.shut = true;
	h2_submitted(h, nghttp2_session_terminate_session(h->session, code));
}

/* ---- frames, judged by their headers */

void h2_gate_ended(struct h2_gate *g, int32_t id)
{
	g->ended[g->ended_count++ % GATE_ENDED] = id;
}

static bool was_ended(const struct h2_gate *g, int32_t id)
{
	unsigned n = g->ended_count < GATE_ENDED ? g->ended_count : GATE_ENDED;

	for (unsigned i = 0; i < n; i++)
		if (g->ended[i] == id)
			return true;
	return false;
}

/* A stream that is neither open nor new: what we reset may still be spoken on, by who has not heard of it. */
static void judge_gone(struct h2 *h, int32_t id, bool head)
{
	struct h2_gate *g = &h->gate;

	if (is_open(h, id))
		return;
	if (was_ended(g, id))
		end_connection(h, NGHTTP2_STREAM_CLOSED);
	else if (head && id >= g->passed_from && id <= g->passed_to)
		end_connection(h, NGHTTP2_PROTOCOL_ERROR);
}

static void judge_headers(struct h2 *h, int32_t id)
{
	struct h2_gate *g = &h->gate;
	uint8_t flags = flags_of(g);

	g->block = true;
	if (g->allowed)
		g->allowed--;
	if (++g->blocks == 0)
		g->blocks = 1;
	if (flags & NGHTTP2_FLAG_PRIORITY)
		g->blank = flags & NGHTTP2_FLAG_PADDED ? 1 : 0;
	if (id % 2 == 0) /* nghttp2 ends it */
		return;
	if (id <= g->last) {
		judge_gone(h, id, true);
		return;
	}
	if (id > g->last + 2) {
		g->passed_from = g->last + 2;
		g->passed_to = id - 2;
	}
	g->last = id;
}

/* Priorities mean nothing here; their frames still have a form, and a sense. */
static void judge_priority(struct h2 *h, int32_t id)
{
	struct h2_gate *g = &h->gate;

	g->way = GATE_DROP;
	g->blank = g->length == 5 ? 0 : SIZE_MAX;
	if (id == 0)
		end_connection(h, NGHTTP2_PROTOCOL_ERROR);
	else if (g->length != 5 && is_open(h, id))
		h2_submitted(h, nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_FRAME_SIZE_ERROR));
	else if (g->length != 5) /* there is nothing to reset */
		end_connection(h, NGHTTP2_FRAME_SIZE_ERROR);
}

/* Our two SETTINGS frames are acknowledged in their order. */
static void judge_ack(struct h2 *h)
{
	struct h2_gate *g = &h->gate;

	if (++g->acks == 2)
		g->way = GATE_DROP;
	else if (g->acks > 2)
		end_connection(h, NGHTTP2_PROTOCOL_ERROR);
}

static void judge(struct h2 *h)
{
	struct h2_gate *g = &h->gate;
	int32_t id = stream_of(g);

	if (g->block) /* nghttp2 ends it for all but CONTINUATION */
		return;
	switch (type_of(g)) {
	case NGHTTP2_HEADERS:
		judge_headers(h, id);
		break;
	case NGHTTP2_DATA:
		if (id <= g->last)
			judge_gone(h, id, false);
		break;
	case NGHTTP2_PRIORITY:
		judge_priority(h, id);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		if (g->length == 4 && is_open(h, id))
			g->way = GATE_HOLD;
		break;
	case NGHTTP2_SETTINGS:
		if (flags_of(g) & NGHTTP2_FLAG_ACK && id == 0 && g->length == 0)
			judge_ack(h);
		break;
	default:
		break;
	}
}

/* ---- frames, judged by what they say */

static void judge_window(struct h2 *h, uint32_t size)
{
	uint32_t before = nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
	int64_t more = (int64_t)size - before;
	const struct list *at;

	if (size > WINDOW_MAX)
		return; /* nghttp2 ends it */
	for (at = h->streams.next; at != &h->streams; at = at->next) {
		const struct h2_stream *s = container_of((struct list *)(uintptr_t)at, struct h2_stream, node);

		if (s->closed || s->id <= 0)
			continue;
		if (nghttp2_session_get_stream_remote_window_size(h->session, s->id) + more > WINDOW_MAX) {
			end_connection(h, NGHTTP2_FLOW_CONTROL_ERROR);
			return;
		}
	}
}

static void judge_settings(struct h2 *h, const uint8_t *p, size_t n)
{
	struct h2_gate *g = &h->gate;

	for (size_t i = 0; i < n && !g->shut; i++) {
		size_t at = (g->at + i) % GATE_ENTRY;

		g->entry[at] = p[i];
		if (at == GATE_ENTRY - 1 && g->entry[0] == 0 && g->entry[1] == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE)
			judge_window(h, number(g->entry + 2));
	}
}

/* A stream that depends on itself ends the connection, as it does with nghttp2: no client has a reason to send it. */
static void judge_dependency(struct h2 *h, const uint8_t *p, size_t n)
{
	struct h2_gate *g = &h->gate;

	for (size_t i = 0; i < n && g->at + i < g->blank + DEPENDENCY; i++) {
		if (g->at + i < g->blank)
			continue;
		g->entry[g->at + i - g->blank] = p[i];
		if (g->at + i == g->blank + DEPENDENCY - 1 && (int32_t)(number(g->entry) & INT32_MAX) == stream_of(g))
			end_connection(h, NGHTTP2_PROTOCOL_ERROR);
	}
}

/* ---- bytes */

static bool feed(struct h2 *h, const uint8_t *p, size_t n, int *err)
{
	ssize_t done = nghttp2_session_mem_recv(h->session, p, n);

	*err = done < 0 ? (int)done : 0;
	return done == (ssize_t)n;
}

/* A part of a payload in which the stream's priority stands is passed with zeros in that place. */
static bool feed_blanked(struct h2 *h, const uint8_t *p, size_t n, int *err)
{
	static const uint8_t zeros[DEPENDENCY];
	struct h2_gate *g = &h->gate;
	size_t done = 0;

	while (done < n) {
		size_t at = g->at + done, part = n - done;
		bool in = at >= g->blank && at < g->blank + DEPENDENCY;

		if (at < g->blank && part > g->blank - at)
			part = g->blank - at;
		else if (in && part > g->blank + DEPENDENCY - at)
			part = g->blank + DEPENDENCY - at;
		if (!feed(h, in ? zeros : p + done, part, err))
			return false;
		done += part;
	}
	return true;
}

/* The frame has come whole. */
static void frame_over(struct h2_gate *g)
{
	uint8_t type = type_of(g);

	if ((type == NGHTTP2_HEADERS || type == NGHTTP2_CONTINUATION) && flags_of(g) & NGHTTP2_FLAG_END_HEADERS)
		g->block = false;
	g->have = 0;
}

/* WINDOW_UPDATE of an open stream, whole. */
static bool pass_held(struct h2 *h, int *err)
{
	struct h2_gate *g = &h->gate;

	if (number(g->frame + H2_FRAME_HEADER) & INT32_MAX)
		return feed(h, g->frame, GATE_SMALL, err);
	h2_submitted(h, nghttp2_submit_rst_stream(h->session, NGHTTP2_FLAG_NONE, stream_of(g), NGHTTP2_PROTOCOL_ERROR));
	return true;
}

/* A frame begins, or its header goes on. Passes on what may pass, with as much of the payload as stands behind it;
 * returns how many of `n` bytes that were. */
static size_t take_header(struct h2 *h, const uint8_t *p, size_t n, bool *on, int *err)
{
	struct h2_gate *g = &h->gate;
	size_t part = H2_FRAME_HEADER - g->have < n ? H2_FRAME_HEADER - g->have : n;
	bool at_once = g->have == 0;

	memcpy(g->frame + g->have, p, part);
	g->have += part;
	if (g->have < H2_FRAME_HEADER)
		return part;
	g->length = (size_t)g->frame[0] << 16 | (size_t)g->frame[1] << 8 | g->frame[2];
	g->at = 0;
	g->way = GATE_PASS;
	g->blank = SIZE_MAX;
	if (h2_calm_frame(h))
		judge(h);
	else
		h2_calm_end(h);
	*on = !g->shut;
	if (*on && g->way == GATE_PASS && at_once && g->blank == SIZE_MAX && type_of(g) != NGHTTP2_SETTINGS) {
		g->at = g->length < n - part ? g->length : n - part;
		part += g->at;
		*on = feed(h, p, part, err);
	} else if (*on && g->way == GATE_PASS) {
		*on = feed(h, g->frame, H2_FRAME_HEADER, err);
	}
	if (g->at == g->length)
		frame_over(g);
	return part;
}

static size_t take_payload(struct h2 *h, const uint8_t *p, size_t n, bool *on, int *err)
{
	struct h2_gate *g = &h->gate;
	size_t part = g->length - g->at < n ? g->length - g->at : n;

	if (g->way == GATE_HOLD)
		memcpy(g->frame + H2_FRAME_HEADER + g->at, p, part);
	else if (type_of(g) == NGHTTP2_SETTINGS && !(flags_of(g) & NGHTTP2_FLAG_ACK))
		judge_settings(h, p, part);
	else if (g->blank != SIZE_MAX)
		judge_dependency(h, p, part);
	if (g->shut)
		*on = false;
	else if (g->way == GATE_PASS)
		*on = g->blank == SIZE_MAX ? feed(h, p, part, err) : feed_blanked(h, p, part, err);
	g->at += part;
	if (g->at < g->length || !*on)
		return part;
	if (g->way == GATE_HOLD)
		*on = pass_held(h, err);
	frame_over(g);
	return part;
}

/* Between two frames, and what was allowed has been taken. */
static bool is_sated(const struct h2_gate *g)
{
	return !g->allowed && g->have == 0;
}

bool h2_gate_recv(struct h2 *h, const uint8_t *p, size_t n, int *err)
{
	struct h2_gate *g = &h->gate;
	bool on = !g->shut;

	*err = 0;
	while (n && on && !is_sated(g)) {
		size_t part;

		if (g->preface < PREFACE_LEN) {
			part = PREFACE_LEN - g->preface < n ? PREFACE_LEN - g->preface : n;
			g->preface += part;
			on = feed(h, p, part, err);
		} else if (g->have < H2_FRAME_HEADER) {
			part = take_header(h, p, n, &on, err);
		} else {
			part = take_payload(h, p, n, &on, err);
		}
		p += part;
		n -= part;
	}
	g->left = on ? n : 0;
	if (on && !h2_calm_queue(h)) {
		h2_calm_end(h);
		on = false;
	}
	return on;
}

void h2_allow(struct h2 *h, unsigned requests)
{
	h->gate.allowed = requests;
}

bool h2_hasty(const struct h2 *h)
{
	return h->gated && h2_calm_hasty(h);
}

size_t h2_unread(const struct h2 *h)
{
	return h->gate.left;
}

int h2_gate_settings(struct h2 *h, uint32_t streams)
{
	const nghttp2_settings_entry limit = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams};

	return nghttp2_submit_settings(h->session, NGHTTP2_FLAG_NONE, &limit, 1);
}
