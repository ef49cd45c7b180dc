/* The connection: nghttp2's callbacks, bytes in, bytes out. */
#include "h2/h2.h"

#include <stdlib.h>

#include "config.h"

#include "base/err.h"
#include "h2/h2_int.h"

/** Resets of streams by a tunnel's other end that its session takes at once, and each second: visitors who cancel. */
#define TUNNEL_RESET_BURST 1000000
#define TUNNEL_RESET_RATE 1000000

/** RST_STREAM (RFC 9113 section 6.4). */
#define RST_BYTES (H2_FRAME_HEADER + 4)

static struct h2_stream *find(struct h2 *h, int32_t id)
{
	return id > 0 ? nghttp2_session_get_stream_user_data(h->session, id) : NULL;
}

/* ---- nghttp2's callbacks: the far end speaks */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = find(h, frame->hd.stream_id);

	h->block = NULL;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	h->calm.block = 0;
	h->block = s;
	if (s) {
		head_reset(&s->head);
		s->head.length = HEAD_LENGTH_UNKNOWN;
		return 0;
	}
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST || h->role != H2_ANSWERING)
		return 0;
	s = h2_stream_new(h);
	if (!s) {
		h2_calm_turned_away(h);
		h2_submitted(h, nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
		                                          NGHTTP2_REFUSED_STREAM));
		h2_wake(h);
		return 0;
	}
	h->block = s;
	s->id = h->arriving = frame->hd.stream_id;
	nghttp2_session_set_stream_user_data(session, s->id, s);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = h->block; /* no look-up for each field */
	struct str n = {(const char *)name, name_len}, v = {(const char *)value, value_len};
	int err;

	(void)session;
	(void)frame;
	(void)flags;
	if (!h2_calm_field(h, name_len, value_len)) {
		h->calmed = true;
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	if (str_eq(n, STR("authorization")))
		h->secret_got = h->secret_held = true;
	if (!s || s->head_bad)
		return 0;
	err = h2_heads_take(&s->head, n, v);
	if (err == ADIT_ERR_HEAD_TOO_BIG && s->h2->role == H2_ANSWERING && s->h2->events->refused && !s->got_final) {
		s->head_bad = true;
		s->refused = err; /* answered when the rest of the block has come */
	} else if (err) {
		s->head_bad = true;
		if (err == ADIT_ERR_HEAD_TOO_BIG && s->h2->role == H2_ASKING)
			err = ADIT_ERR_RESPONSE_BIG;
		h2_stream_fail(s, err);
	}
	return 0;
}

/* One bad field of an origin is dropped, not the stream: origins are what they are. A visitor's request with one is
 * malformed (RFC 9113 section 8.2.1), and so is what a tunnel brings: its other end has let no such field pass. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                             size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *arg)
{
	struct h2 *h = arg;

	(void)session;
	(void)frame;
	(void)name;
	(void)name_len;
	(void)value;
	(void)value_len;
	(void)flags;
	return h->role == H2_ASKING && !h->tunnel ? 0 : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct h2_stream *s = find(arg, id);

	(void)flags;
	/* the connection window never waits for a consumer: four stalled visitors would stop all others */
	h2_submitted(arg, nghttp2_session_consume_connection(session, n));
	if (s)
		h2_stream_data(s, p, n);
	return 0;
}

static void window_opened(struct h2 *h, int32_t id)
{
	struct list *at, *tmp;
	struct h2_stream *s = find(h, id);

	if (s) {
		h2_stream_ready(s);
		return;
	}
	if (id)
		return;
	list_each(at, tmp, &h->streams)
		h2_stream_ready(container_of(at, struct h2_stream, node));
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = find(h, frame->hd.stream_id);
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	(void)session;
	switch (frame->hd.type) {
	case NGHTTP2_HEADERS:
		h->arriving = 0;
		if (s && s->refused && !s->got_final) {
			s->got_final = true;
			h->events->refused(h->owner, s, s->refused);
		} else if (s && !s->head_bad) {
			h2_stream_block(s, end);
		}
		if (s && end && (!s->head_bad || s->refused))
			h2_stream_end(s);
		break;
	case NGHTTP2_DATA:
		if (s && end)
			h2_stream_end(s);
		break;
	case NGHTTP2_SETTINGS:
		h->settings_got = h->settings_got || !(frame->hd.flags & NGHTTP2_FLAG_ACK);
		window_opened(h, 0);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		window_opened(h, frame->hd.stream_id);
		break;
	case NGHTTP2_RST_STREAM:
		h2_gate_ended(&h->gate, frame->hd.stream_id);
		break;
	case NGHTTP2_GOAWAY:
		h->goaway_got = true;
		if (frame->goaway.error_code != NGHTTP2_NO_ERROR)
			h->error = ADIT_ERR_PROTO;
		break;
	default:
		break;
	}
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *arg)
{
	struct h2_stream *s = nghttp2_session_get_stream_user_data(session, id);
	struct h2 *h = arg;

	if (s && s->in_ended)
		h2_gate_ended(&h->gate, id);
	if (s)
		h2_stream_closed(s, code);
	return 0;
}

/* ---- nghttp2's callbacks: we speak */

static int why_ended(const struct h2 *h)
{
	return h->calmed ? ADIT_ERR_FLOOD : ADIT_ERR_PROTO;
}

/* Somebody sends who should not wait behind bulk. Whoever becomes bulk himself was no company for it. */
static void note_small(struct h2 *h, const struct h2_stream *s)
{
	if (!sched_is_bulk(&s->turn)) {
		h->small_id = s->id;
		h->small_us = h->now_us;
	} else if (h->small_id == s->id) {
		h->small_id = 0;
	}
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = find(h, frame->hd.stream_id);
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	(void)session;
	if (frame->hd.type == NGHTTP2_RST_STREAM)
		h2_calm_reset(h, s != NULL, frame->rst_stream.error_code);
	if (frame->hd.type == NGHTTP2_RST_STREAM && s && h->tunnel && h->role == H2_ASKING)
		s->gone_at = h->given + RST_BYTES; /* nghttp2 tells before we give its bytes on */
	/* nghttp2 has found a fault that ends the connection, and hears nothing any more */
	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
		h->error = why_ended(h);
	if (s && frame->hd.type == NGHTTP2_HEADERS) {
		if (frame->headers.nvlen && frame->headers.nva[0].flags & NGHTTP2_NV_FLAG_NO_COPY_NAME)
			h2_stream_forget_text(s);
		note_small(h, s);
		h2_stream_ready(s); /* only now has a request's stream a window */
	}
	if (s && end && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS))
		h2_stream_ended(s);
	return 0;
}

/* A head that cannot be sent would otherwise leave its stream waiting for ever. */
static int on_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int why, void *arg)
{
	struct h2_stream *s = find(arg, frame->hd.stream_id);
	bool big = why == NGHTTP2_ERR_FRAME_SIZE_ERROR;

	(void)session;
	if (!s || frame->hd.type != NGHTTP2_HEADERS || why == NGHTTP2_ERR_STREAM_CLOSING)
		return 0;
	/* a request's stream is closed by nghttp2 next; the far end knows nothing of it, so it must get no RST_STREAM */
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		half_abort(&s->half, big ? ADIT_ERR_HEAD_TOO_BIG : ADIT_ERR_LINK_LOST);
	else
		h2_stream_fail(s, big ? ADIT_ERR_RESPONSE_BIG : ADIT_ERR_INCOMPLETE);
	return 0;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *header, size_t n,
                        nghttp2_data_source *source, void *arg)
{
	struct h2 *h = arg;
	struct h2_stream *s = source->ptr;

	(void)frame;
	if (h->rest_len || h->out_room < H2_FRAME_HEADER + n)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (h->gated)
		h2_calm_data(h, n, nghttp2_session_get_stream_remote_window_size(session, s->id) - (int32_t)n);
	memcpy(h->out, header, H2_FRAME_HEADER);
	buf_take(&s->out, h->out + H2_FRAME_HEADER, n);
	h->out += H2_FRAME_HEADER + n;
	h->out_room -= H2_FRAME_HEADER + n;
	h->given += H2_FRAME_HEADER + n;
	/* a connection that lives for hours is small while it says little at a time, and bulk while it never catches up */
	s->turn.sent = s->raw && !s->out.len ? 0 : s->turn.sent + n;
	h->sent += n;
	note_small(h, s);
	half_credit(&s->half, n);
	h2_stream_ready(s);
	return 0;
}

/* ---- bytes in, bytes out */

static void free_dead(struct h2 *h)
{
	while (!list_empty(&h->dead))
		h2_stream_free(container_of(h->dead.next, struct h2_stream, node));
}

/* What waits for the time when no op can be running. */
static void settle(struct h2 *h)
{
	free_dead(h);
	if (!h->idle_due || h->open)
		return;
	h->idle_due = false;
	if (h->events->idle)
		h->events->idle(h->owner);
}

static bool feed(struct h2 *h, const uint8_t *p, size_t n, int *err)
{
	ssize_t done;

	if (h->gated)
		return h2_gate_recv(h, p, n, err);
	done = nghttp2_session_mem_recv(h->session, p, n);
	*err = (int)done;
	return done == (ssize_t)n;
}

/* What ends nghttp2 without a word of its own: no preface, or more frames of a kind than anybody has reason for. */
static uint32_t code_of_fatal(int err)
{
	if (err == NGHTTP2_ERR_NOMEM)
		return NGHTTP2_INTERNAL_ERROR;
	return err == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_ENHANCE_YOUR_CALM;
}

int h2_recv(struct h2 *h, const uint8_t *p, size_t n)
{
	int err;

	if (h->error)
		return h->error;
	h->secret_got = false;
	if (!feed(h, p, n, &err)) {
		h->calmed = h->calmed || err == NGHTTP2_ERR_FLOODED;
		h->error = err == NGHTTP2_ERR_NOMEM ? ADIT_ERR_NOMEM : why_ended(h);
		if (err && h->gated)
			nghttp2_session_terminate_session(h->session, code_of_fatal(err));
	}
	h2_wake(h);
	settle(h);
	return h->error;
}

bool h2_got_secret(const struct h2 *h)
{
	return h->secret_got;
}

static void put(struct h2 *h)
{
	size_t n = h->rest_len < h->out_room ? h->rest_len : h->out_room;

	if (!n)
		return;
	memcpy(h->out, h->rest, n);
	h->out += n;
	h->out_room -= n;
	h->given += n;
	h->rest += n;
	h->rest_len -= n;
}

static bool holds_bulk(const struct h2 *h)
{
	return h->bulk_held && h->small_id && h->now_us - h->small_us < H2_COMPANY_US;
}

void h2_hold_bulk(struct h2 *h, bool hold)
{
	h->bulk_held = hold;
}

/* Lets the scheduler's choice send one quantum. False when none may send or there is no room for it. */
static bool choose(struct h2 *h)
{
	struct sched_entry *e;

	if (h->out_room < H2_FRAME_HEADER + 1 || nghttp2_session_get_remote_window_size(h->session) <= 0)
		return false;
	e = sched_next(&h->sched, !holds_bulk(h));
	if (!e)
		return false;
	h->chosen = container_of(e, struct h2_stream, turn);
	h2_stream_chosen(h->chosen);
	return true;
}

size_t h2_pull(struct h2 *h, uint8_t *p, size_t cap)
{
	settle(h);
	if (h->gone)
		return 0;
	h->out = p;
	h->out_room = cap;
	for (;;) {
		ssize_t n;

		put(h);
		if (h->rest_len || !h->out_room)
			break;
		n = nghttp2_session_mem_send(h->session, &h->rest);
		if (n < 0) {
			h->error = n == NGHTTP2_ERR_NOMEM ? ADIT_ERR_NOMEM : ADIT_ERR_PROTO;
			break;
		}
		h->rest_len = (size_t)n;
		h->chosen = NULL; /* when its data source was not asked: flow control, or it is closing */
		if (n == 0 && !choose(h))
			break;
	}
	settle(h);
	return cap - h->out_room;
}

void h2_clock(struct h2 *h, uint64_t now_us, uint32_t srtt_us)
{
	h->now_us = now_us;
	h->srtt_us = srtt_us;
}

/* ---- life */

static int make_callbacks(nghttp2_session_callbacks **out)
{
	nghttp2_session_callbacks *c;

	if (nghttp2_session_callbacks_new(&c) != 0)
		return ADIT_ERR_NOMEM;
	nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(c, on_invalid_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_not_sent);
	nghttp2_session_callbacks_set_send_data_callback(c, on_send_data);
	*out = c;
	return 0;
}

static int make_session(struct h2 *h)
{
	nghttp2_mem memory = h2_memory(h);
	nghttp2_session_callbacks *c;
	nghttp2_option *o;
	int err;

	if (make_callbacks(&c) < 0)
		return ADIT_ERR_NOMEM;
	if (nghttp2_option_new(&o) != 0) {
		nghttp2_session_callbacks_del(c);
		return ADIT_ERR_NOMEM;
	}
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_peer_max_concurrent_streams(o, H2_STREAMS_MAX);
	nghttp2_option_set_max_deflate_dynamic_table_size(o, H2_HEADER_TABLE);
#ifdef HAVE_NGHTTP2_OPTION_SET_STREAM_RESET_RATE_LIMIT
	/* the guard against rapid resets would end the tunnel at the 1001st visitor who cancels; the edge limits them, by
	 * h2/calm.h, which also counts the resets that are ours */
	if (h->tunnel || h->gated)
		nghttp2_option_set_stream_reset_rate_limit(o, TUNNEL_RESET_BURST, TUNNEL_RESET_RATE);
#endif
	err = h->role == H2_ASKING ? nghttp2_session_client_new3(&h->session, c, h, o, &memory)
	                           : nghttp2_session_server_new3(&h->session, c, h, o, &memory);
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(c);
	return err ? ADIT_ERR_NOMEM : 0;
}

struct h2 *h2_new(const struct h2_options *o, const struct h2_events *events, void *owner)
{
	struct h2 *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->events = events;
	h->owner = owner;
	h->role = o->role;
	h->tunnel = o->tunnel;
	h->gated = h->role == H2_ANSWERING && !h->tunnel;
	h->gate = (struct h2_gate){.last = -1, .allowed = ~0u};
	h->budget = o->budget;
	h->pool = o->pool;
	h->calm.crowd = o->crowd ? o->crowd : 1;
	h->streams_max = o->streams ? o->streams : H2_STREAMS_MAX;
	h->window = o->window ? o->window : H2_WINDOW_MIN;
	list_init(&h->streams);
	list_init(&h->dead);
	list_init(&h->leaving);
	sched_init(&h->sched);
	if (make_session(h) < 0 || h2_submit_settings(h) < 0) {
		nghttp2_session_del(h->session);
		free(h);
		return NULL;
	}
	return h;
}

static bool abort_one(struct h2 *h, int err)
{
	struct list *at, *tmp;

	list_each(at, tmp, &h->streams) {
		struct h2_stream *s = container_of(at, struct h2_stream, node);

		if (!s->half.peer)
			continue;
		h2_stream_drop(s, err);
		return true; /* others may have ended with it */
	}
	return false;
}

void h2_abort_all(struct h2 *h, int err)
{
	while (abort_one(h, err))
		;
}

void h2_free(struct h2 **hp, int err)
{
	struct h2 *h = *hp;

	if (!h)
		return;
	*hp = NULL;
	while (!list_empty(&h->streams)) {
		struct h2_stream *s = container_of(h->streams.next, struct h2_stream, node);

		half_abort(&s->half, err);
		h2_stream_bury(s);
	}
	h2_arrived(h, UINT64_MAX);
	free_dead(h);
	h->secret_held = h->secret_held || h2_block(h); /* what is decoded so far of a field may be a part of one */
	nghttp2_session_del(h->session);
	free(h);
}

void h2_cut(struct h2 *h)
{
	struct list all;

	list_init(&all);
	h->gone = true;
	h->error = h->error ? h->error : ADIT_ERR_EOF;
	while (!list_empty(&h->streams)) {
		struct list *node = h->streams.next;

		list_remove(node);
		list_append(&all, node);
	}
	while (!list_empty(&all)) { /* one by one: whoever is told of one may end others */
		struct h2_stream *s = container_of(all.next, struct h2_stream, node);

		list_remove(&s->node);
		list_append(&h->streams, &s->node);
		if (!s->closed)
			h2_stream_closed(s, s->in_ended ? NGHTTP2_NO_ERROR : NGHTTP2_INTERNAL_ERROR);
	}
	settle(h);
}

unsigned h2_streams_allowed(const struct h2 *h)
{
	uint32_t theirs = nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

	return theirs < H2_STREAMS_MAX ? theirs : H2_STREAMS_MAX;
}

struct half *h2_ask(struct h2 *h, int *err)
{
	struct h2_stream *s;

	*err = ADIT_ERR_LINK_LOST;
	if (h2_leaving(h))
		return NULL;
	*err = ADIT_ERR_LIMIT;
	if (h->open + h->leaving_count >= h2_streams_allowed(h))
		return NULL;
	s = h2_stream_new(h);
	if (!s)
		return NULL;
	*err = 0;
	return &s->half;
}

int h2_error(const struct h2 *h)
{
	return h->error;
}

bool h2_ready(const struct h2 *h)
{
	return h->settings_got;
}

bool h2_may_connect(const struct h2 *h)
{
	return h->settings_got &&
	       nghttp2_session_get_remote_settings(h->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

uint32_t h2_block(const struct h2 *h)
{
	return h->gate.block ? h->gate.blocks : 0;
}

unsigned h2_open(const struct h2 *h)
{
	return h->open;
}

unsigned h2_asked(const struct h2 *h)
{
	return h->open - (h->arriving ? 1 : 0);
}
