/* One stream as a half of an exchange: what its peer says goes out, what the far end says is told to the peer.
 *
 * A stream ends when both directions have ended and been told. nghttp2 may close it sooner (`closed`): then what
 * waits in `in` for the peer's credit is told first.
 */
#include <stdlib.h>

#include "base/digest.h"
#include "base/err.h"
#include "h2/h2_int.h"
#include "http/judge.h"

/** Of a request that is answered so much more is read; who sends more is told to stop. */
#define REST_MAX 16384

static struct h2_stream *stream_of(struct half *half)
{
	return container_of(half, struct h2_stream, half);
}

struct half *h2_stream_half(struct h2_stream *s)
{
	return &s->half;
}

static void consumed(struct h2_stream *s, size_t n);
static void reset_rest(struct h2_stream *s);
static void op_head(struct half *self, const struct head *h, bool bodyless);
static void op_body(struct half *self, const uint8_t *p, size_t n);
static void op_end(struct half *self, const struct fields *trailers);
static void op_credit(struct half *self, size_t n);
static void op_abort(struct half *self, int err);

static const struct half_ops stream_ops = {op_head, op_body, op_end, op_credit, op_abort};

struct h2_stream *h2_stream_new(struct h2 *h)
{
	struct h2_stream *s;

	if (!budget_take(h->budget, h->window))
		return NULL;
	s = pool_take(h->pool, sizeof(*s));
	if (!s) {
		budget_give(h->budget, h->window);
		return NULL;
	}
	*s = (struct h2_stream){0};
	s->half.ops = &stream_ops;
	s->h2 = h;
	s->id = -1;
	s->window = h->window;
	s->window_since = h->now_us;
	sched_entry_init(&s->turn);
	list_init(&s->node);
	list_append(&h->streams, &s->node);
	h->open++;
	h->opened++;
	head_init(&s->head);
	s->head.length = HEAD_LENGTH_UNKNOWN;
	fields_init(&s->out_trailers);
	fields_init(&s->in_trailers);
	fields_use(&s->head.fields, h->pool);
	fields_use(&s->out_trailers, h->pool);
	fields_use(&s->in_trailers, h->pool);
	s->out.pool = s->in.pool = h->pool;
	return s;
}

void h2_stream_bury(struct h2_stream *s)
{
	half_done(&s->half);
	if (s->buried)
		return;
	s->buried = true;
	budget_give(s->h2->budget, s->h2->window);
	budget_give_grown(s->h2->budget, s->window - s->h2->window);
	sched_remove(&s->turn);
	if (s->id == s->h2->arriving)
		s->h2->arriving = 0;
	if (s->gone_at > s->h2->arrived) {
		list_remove(&s->node);
		list_append(&s->h2->leaving, &s->node);
		s->h2->leaving_count++;
	} else {
		h2_stream_leave(s);
	}
	if (--s->h2->open == 0)
		s->h2->idle_due = true;
	h2_wake(s->h2);
}

void h2_stream_free(struct h2_stream *s)
{
	list_remove(&s->node);
	sched_remove(&s->turn);
	buf_clear(&s->out);
	buf_clear(&s->in);
	head_free(&s->head);
	free(s->protocol);
	h2_stream_forget_text(s);
	fields_free(&s->out_trailers);
	fields_free(&s->in_trailers);
	pool_give(s->h2->pool, s, sizeof(*s));
}

void h2_stream_drop(struct h2_stream *s, int err)
{
	buf_clear(&s->out);
	buf_clear(&s->in);
	sched_remove(&s->turn);
	half_abort(&s->half, err);
	if (s->id < 0 || s->closed)
		h2_stream_bury(s);
}

void h2_stream_fail(struct h2_stream *s, int err)
{
	if (s->id >= 0 && !s->closed) {
		/* RFC 9113 section 8.5: a RST of the connection behind a CONNECT has a code of its own */
		uint32_t code = s->raw && err == ADIT_ERR_RESET ? NGHTTP2_CONNECT_ERROR : h2_code_of(err);

		h2_submitted(s->h2, nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, code));
		h2_wake(s->h2);
	}
	h2_stream_drop(s, err);
}

/* ---- sending: what the peer says */

/* A copy of the head, as one piece and with room for `digits` bytes of numbers behind it, that lives until nghttp2 has
 * sent it: nghttp2 would copy field by field. Returns that room; NULL when out of memory. */
static char *keep_text(struct h2_stream *s, struct head *h, size_t digits)
{
	s->text_len = h->fields.used + digits;
	s->text = pool_take(s->h2->pool, s->text_len);
	if (!s->text)
		return NULL;
	if (h->fields.used)
		memcpy(s->text, h->fields.block, h->fields.used);
	h->fields.block = s->text;
	return s->text + h->fields.used;
}

void h2_stream_forget_text(struct h2_stream *s)
{
	if (!s->text)
		return;
	secret_wipe(s->text, s->text_len);
	pool_give(s->h2->pool, s->text, s->text_len);
	s->text = NULL;
}

static void submit_request(struct h2_stream *s, const struct head *h, bool bodyless)
{
	nghttp2_nv *nva = s->h2->nva;
	struct head told = *h;
	char *length = keep_text(s, &told, STR_U64_MAX);

	s->id = NGHTTP2_ERR_NOMEM;
	if (length)
		s->id = nghttp2_submit_headers(s->h2->session, bodyless ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, -1, NULL,
		                               nva, h2_heads_request(&told, length, nva), s);
}

static nghttp2_nv copied(nghttp2_nv v)
{
	v.flags &= (uint8_t)~H2_NOT_COPIED;
	return v;
}

/* There may be several of them before the final one. */
static int submit_interim(struct h2_stream *s, const struct head *h)
{
	nghttp2_nv *nva = s->h2->nva;
	char status[STR_U64_MAX], length[STR_U64_MAX];
	size_t n = h2_heads_response(h, status, length, nva);

	for (size_t i = 0; i < n; i++)
		nva[i] = copied(nva[i]);
	return nghttp2_submit_headers(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, nva, n, NULL);
}

static int submit_response(struct h2_stream *s, const struct head *h, bool bodyless)
{
	bool ignored = s->upgrade && h->status >= 200 && h->status < 300;
	nghttp2_nv *nva = s->h2->nva;
	struct head told = *h;
	char *numbers = keep_text(s, &told, 3 * STR_U64_MAX);
	size_t n;

	if (!numbers)
		return NGHTTP2_ERR_NOMEM;
	/* any 2xx would say that the upgrade was accepted: a stranger gets an error, our own program is told */
	if (ignored)
		told.status = s->h2->tunnel ? 200 : 502;
	if (ignored && s->h2->tunnel)
		told.length = HEAD_LENGTH_UNKNOWN; /* not allowed beside it, RFC 9110 section 8.6 */
	n = h2_heads_response(&told, numbers, numbers + STR_U64_MAX, nva);
	if (ignored && s->h2->tunnel) {
		struct str text = str_of_u64((uint64_t)h->status, numbers + 2 * STR_U64_MAX);

		nva[n++] = (nghttp2_nv){(uint8_t *)"adit-status", (uint8_t *)(uintptr_t)text.p, 11, text.n, H2_NOT_COPIED};
	}
	return nghttp2_submit_headers(s->h2->session, bodyless ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, s->id, NULL,
	                              nva, n, NULL);
}

/* What comes behind the request was meant for who would have accepted; nobody waits for its end. */
static void refuse_upgrade(struct h2_stream *s)
{
	bool told = s->in_told;

	s->in_told = true;
	h2_stream_enough(s);
	if (!told)
		half_end(&s->half, NULL);
}

static bool is_raw(const struct head *h)
{
	return !head_get(h, HEAD_PROTOCOL).n && str_eq(head_get(h, HEAD_METHOD), STR("CONNECT"));
}

/* A stranger may have 128 streams, and read none of them; a tunnel may have as many visitors who do not. */
static size_t send_buffer(const struct h2 *h)
{
	size_t all = h->gated ? H2_SEND_STRANGER : H2_SEND_TUNNEL, share = all / (h->open ? h->open : 1);

	if (share > H2_SEND_BUFFER)
		return H2_SEND_BUFFER;
	return share < H2_QUANTUM ? H2_QUANTUM : share;
}

static void op_head(struct half *self, const struct head *h, bool bodyless)
{
	struct h2_stream *s = stream_of(self);
	bool final = h->status == 0 || h->status == 101 || h->status >= 200;
	int err;

	if (s->closed)
		return;
	if (s->h2->role == H2_ASKING) {
		s->raw = is_raw(h);
		s->upgrade = s->raw || head_get(h, HEAD_PROTOCOL).n;
		if (head_get(h, HEAD_PROTOCOL).n && !(s->protocol = str_dup(head_get(h, HEAD_PROTOCOL)))) {
			h2_stream_fail(s, ADIT_ERR_NOMEM);
			return;
		}
		s->turn.interactive = s->upgrade && !s->raw;
		submit_request(s, h, bodyless);
		err = s->id < 0 ? s->id : 0;
	} else {
		s->turn.interactive = h->status == 101 && !s->raw;
		err = final ? submit_response(s, h, bodyless) : submit_interim(s, h);
	}
	if (err) {
		h2_stream_fail(s, err == NGHTTP2_ERR_NOMEM ? ADIT_ERR_NOMEM : ADIT_ERR_LIMIT);
		return;
	}
	h2_wake(s->h2);
	if (!final)
		return;
	s->out_started = !bodyless;
	s->out_done = bodyless;
	/* what comes behind an upgrade is held until it is accepted: h2_stream_block */
	if (!bodyless && (s->raw || !s->upgrade || s->h2->role == H2_ANSWERING))
		half_credit(&s->half, send_buffer(s->h2));
	if (s->upgrade && s->h2->role == H2_ANSWERING && h->status != 101)
		refuse_upgrade(s);
}

static void op_body(struct half *self, const uint8_t *p, size_t n)
{
	struct h2_stream *s = stream_of(self);

	if (s->closed) /* not wanted any more, but its sender may not read before all is sent */
		half_credit(&s->half, n);
	if (s->closed || !s->out_started)
		return;
	if (buf_add(&s->out, p, n) < 0) {
		h2_stream_fail(s, ADIT_ERR_NOMEM);
		return;
	}
	h2_stream_ready(s);
}

static void op_end(struct half *self, const struct fields *trailers)
{
	struct h2_stream *s = stream_of(self);

	if (s->closed || s->out_done)
		return;
	s->out_ended = true;
	if (trailers && trailers->n && fields_copy(&s->out_trailers, trailers) < 0)
		fields_reset(&s->out_trailers);
	h2_stream_ready(s);
}

static void drop_in(struct h2_stream *s)
{
	size_t n = s->in.len;

	buf_clear(&s->in);
	if (n)
		consumed(s, n);
}

static void op_abort(struct half *self, int err)
{
	struct h2_stream *s = stream_of(self);

	if (err == ADIT_ERR_MOVED)
		h2_stream_give_place(s);
	if (s->id < 0 || s->closed) {
		h2_stream_bury(s);
	} else if (err == ADIT_ERR_ENOUGH && (s->out_ended || s->out_done)) {
		h2_stream_enough(s);
	} else {
		h2_stream_fail(s, err);
	}
}

/* Not before END_STREAM has gone out: nghttp2 sends nothing on a stream for which RST_STREAM is queued. A stranger whose
 * rest is small, or already on its way, ends it himself; until then it is judged as a request. */
static void reset_rest(struct h2_stream *s)
{
	if (!s->enough || !s->out_sent || s->in_ended || s->closed || (s->h2->gated && !s->rest_over))
		return;
	h2_submitted(s->h2, nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NGHTTP2_NO_ERROR));
	h2_wake(s->h2);
}

void h2_stream_enough(struct h2_stream *s)
{
	/* the far end may have to send the rest before it reads our end: nothing of it may stand in its way */
	drop_in(s);
	s->enough = true;
	s->rest_over = s->rest_over || s->upgrade; /* it is no request's body */
	s->rest_mark = s->in_total;
	reset_rest(s);
}

void h2_stream_rest_over(struct h2_stream *s)
{
	s->rest_over = true;
	reset_rest(s);
}

void h2_stream_ended(struct h2_stream *s)
{
	s->out_sent = true;
	reset_rest(s);
}

void h2_stream_ready(struct h2_stream *s)
{
	struct h2 *h = s->h2;

	if (s->closed || s->out_done || !s->out_started || (!s->out.len && !s->out_ended))
		return;
	if (sched_is_queued(&s->turn))
		return;
	if (nghttp2_session_get_stream_remote_window_size(h->session, s->id) <= 0 && s->out.len)
		return; /* a WINDOW_UPDATE brings it back */
	sched_add(&h->sched, &s->turn);
	h2_wake(h);
}

static void submit_trailers(struct h2_stream *s, uint32_t *flags)
{
	nghttp2_nv *nva = s->h2->nva;
	size_t n = h2_heads_fields(&s->out_trailers, nva);

	if (!n)
		return;
	*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	h2_submitted(s->h2, nghttp2_submit_trailer(s->h2->session, s->id, nva, n));
}

/* nghttp2's data source. */
static ssize_t read_out(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
                        nghttp2_data_source *source, void *arg)
{
	struct h2_stream *s = source->ptr;
	struct h2 *h = arg;
	size_t n = s->out.len;

	(void)session;
	(void)id;
	(void)buf;
	if (h->chosen != s || (!n && !s->out_ended))
		return NGHTTP2_ERR_DEFERRED;
	h->chosen = NULL;
	if (n > length)
		n = length;
	if (n > H2_QUANTUM)
		n = H2_QUANTUM;
	if (n > h->out_room - H2_FRAME_HEADER)
		n = h->out_room - H2_FRAME_HEADER;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n == s->out.len && s->out_ended) {
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		s->out_done = true;
		submit_trailers(s, flags);
	}
	return (ssize_t)n;
}

void h2_stream_chosen(struct h2_stream *s)
{
	const nghttp2_data_provider source = {{.ptr = s}, read_out};
	nghttp2_session *session = s->h2->session;
	int rv;

	/* not with the head: nghttp2 would ask before it is this stream's turn, put it off, and take it up again */
	if (s->out_attached)
		rv = nghttp2_session_resume_data(session, s->id);
	else /* refused while the head is held back by the far end's limit: when that goes, on_frame_send brings us here */
		rv = nghttp2_submit_data(session, NGHTTP2_FLAG_END_STREAM, s->id, &source);
	s->out_attached = s->out_attached || rv == 0;
	h2_submitted(s->h2, rv);
}

/* ---- receiving: what the far end says */

/* Half a window used up within one and a half round trips: the window is what holds the stream back. Half, because in
 * the round trip after a growth no more can come than the former window. */
static void grow_window(struct h2_stream *s)
{
	struct h2 *h = s->h2;
	uint64_t took = h->now_us - s->window_since;
	uint32_t srtt_us = h->srtt_us ? h->srtt_us : H2_SRTT_UNKNOWN_US;

	if (s->window_used < s->window / 2)
		return;
	s->window_used = 0;
	s->window_since = h->now_us;
	if (2 * took >= 3ull * srtt_us || s->window >= H2_WINDOW_MAX)
		return;
	if (!budget_grow(h->budget, s->window))
		return;
	s->window *= 2;
	h2_submitted(h, nghttp2_session_set_local_window_size(h->session, NGHTTP2_FLAG_NONE, s->id, (int32_t)s->window));
}

/* Not by nghttp2_session_consume_stream, which tells at half a window: what comes in whole frames makes the first half
 * a bit larger, the second a bit short of it and untold, and then half a window is all that a round trip moves. */
static void tell_window(struct h2_stream *s)
{
	if (s->window_untold < s->window / H2_WINDOW_TOLD_PARTS)
		return;
	h2_submitted(s->h2,
	             nghttp2_submit_window_update(s->h2->session, NGHTTP2_FLAG_NONE, s->id, (int32_t)s->window_untold));
	s->window_untold = 0;
}

static void consumed(struct h2_stream *s, size_t n)
{
	if (s->closed || s->in_ended)
		return;
	s->window_used += (uint32_t)n;
	s->window_untold += (uint32_t)n;
	grow_window(s);
	tell_window(s);
	h2_wake(s->h2);
}

static void tell(struct h2_stream *s, const uint8_t *p, size_t n)
{
	s->credit -= n;
	half_body(&s->half, p, n);
	consumed(s, n);
}

static void finish(struct h2_stream *s);

static void tell_buffered(struct h2_stream *s)
{
	struct iovec v;

	if (s->telling) /* the peer grants credit while it is told: the loop below sees it */
		return;
	s->telling = true;
	while (s->in.len && s->credit && s->half.peer && buf_iov(&s->in, &v, 1) == 1) {
		size_t n = v.iov_len < s->credit ? v.iov_len : s->credit;

		/* told before it is dropped: an abort meanwhile has emptied the buffer */
		s->credit -= n;
		half_body(&s->half, v.iov_base, n);
		if (s->in.len)
			buf_drop(&s->in, n);
		consumed(s, n);
	}
	s->telling = false;
	finish(s);
}

/* A complete response stays valid whatever comes behind it; a complete request may still be given up by who asked, and
 * each direction of a connection by its other end. */
static int why_closed(const struct h2_stream *s)
{
	if (s->in_told && ((s->h2->role == H2_ASKING && !s->raw) || s->close_code == NGHTTP2_NO_ERROR))
		return ADIT_ERR_ENOUGH;
	return h2_err_of(s->h2->role, s->close_code);
}

/* Tells the end once everything before it has been told, and leaves when there is nothing left to do. */
static void finish(struct h2_stream *s)
{
	if (!s->in.len && s->in_ended && !s->in_told) {
		s->in_told = true;
		half_end(&s->half, &s->in_trailers);
	}
	if (!s->closed || (s->in.len && s->half.peer))
		return;
	if (!s->in_told || !s->out_done || s->close_code != NGHTTP2_NO_ERROR)
		half_abort(&s->half, why_closed(s));
	h2_stream_bury(s);
}

static void op_credit(struct half *self, size_t n)
{
	struct h2_stream *s = stream_of(self);

	s->credit += n;
	if (s->in.len)
		tell_buffered(s);
}

void h2_stream_data(struct h2_stream *s, const uint8_t *p, size_t n)
{
	size_t now = s->in.len ? 0 : n < s->credit ? n : s->credit;

	s->in_total += n;
	if (!s->half.peer || s->enough) { /* reset by us, still arriving; or not wanted */
		consumed(s, n);
		if (s->enough && !s->rest_over && s->in_total - s->rest_mark > REST_MAX)
			h2_stream_rest_over(s);
		return;
	}
	if (now < n && buf_add(&s->in, p + now, n - now) < 0) {
		h2_stream_fail(s, ADIT_ERR_NOMEM);
		return;
	}
	if (now)
		tell(s, p, now);
}

/* What a 200 to an upgrade means: accepted, or on a tunnel the 2xx that adit-status tells. */
static int upgrade_status(struct head *h, bool tunnel)
{
	struct str other = tunnel ? fields_get(&h->fields, STR("adit-status")) : (struct str){NULL, 0};
	uint64_t status;

	if (!other.p)
		return 101;
	if (str_to_u64(other, &status) < 0 || status < 200 || status > 299)
		status = 200;
	fields_remove(&h->fields, STR("adit-status"));
	return (int)status;
}

void h2_stream_block(struct h2_stream *s, bool end)
{
	struct head *h = &s->head;
	bool accepted;

	if (s->got_final) { /* trailers */
		if (!s->h2->tunnel)
			judge_trailers(&h->fields);
		if (fields_copy(&s->in_trailers, &h->fields) < 0)
			fields_reset(&s->in_trailers);
		return;
	}
	h->minor = 2;
	if (s->h2->role == H2_ASKING) {
		if (s->upgrade && h->status == 200)
			h->status = upgrade_status(h, s->h2->tunnel);
		if (h->status == 101 && s->protocol && head_set(h, HEAD_PROTOCOL, str_of(s->protocol)) < 0) {
			h2_stream_fail(s, ADIT_ERR_NOMEM);
			return;
		}
		s->got_final = h->status == 101 || h->status >= 200;
		if (!s->got_final && ++s->interim > HTTP_INTERIM_MAX) {
			h2_stream_fail(s, ADIT_ERR_PROTO);
			return;
		}
		accepted = h->status == 101 && !s->raw;
		half_head(&s->half, h, end);
		if (accepted && !s->closed)
			half_credit(&s->half, send_buffer(s->h2));
		return;
	}
	s->got_final = true;
	if (end)
		h->length = 0;
	s->raw = is_raw(h);
	s->upgrade = s->raw || head_get(h, HEAD_PROTOCOL).n;
	if (s->upgrade && !s->raw && head_set(h, HEAD_METHOD, STR("GET")) < 0) {
		h2_stream_fail(s, ADIT_ERR_NOMEM);
		return;
	}
	s->h2->events->request(s->h2->owner, s, h, end);
	if (!s->half.peer && !s->out_started && !s->out_done)
		h2_stream_fail(s, ADIT_ERR_LIMIT);
}

void h2_stream_end(struct h2_stream *s)
{
	s->in_ended = true;
	finish(s);
}

void h2_stream_closed(struct h2_stream *s, uint32_t code)
{
	size_t dropped = s->out.len;

	s->closed = true;
	s->close_code = code;
	if (s->h2->block == s)
		s->h2->block = NULL;
	sched_remove(&s->turn);
	buf_clear(&s->out);
	/* nobody waits for what the rest would bring; and TCP does not hold a RST back behind what is not read */
	if ((s->h2->role == H2_ANSWERING || s->raw) && code != NGHTTP2_NO_ERROR)
		buf_clear(&s->in);
	finish(s);
	half_credit(&s->half, dropped);
}
