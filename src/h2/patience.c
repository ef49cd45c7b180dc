/* How long a stranger may let us wait: for a request's body that we would take, and for room for a response.
 * Streams are looked at now and then, so a deadline is late by what its owner leaves between two looks.
 */
#include "base/err.h"
#include "h2/h2_int.h"

/** For the rest of a request that is answered: more than a round trip. */
#define REST_MS 1000

/* Only who asked can keep the exchange from going on: his peer takes more, and no response is under way. */
static bool waits_for_body(const struct h2_stream *s)
{
	bool answers = (s->out_started || s->out_done) && !s->out_sent;

	return s->half.peer && s->credit && !s->in_ended && !s->upgrade && !s->closed && !answers;
}

static bool is_body_late(struct h2_stream *s, const struct h2_patience *p, uint64_t now_ms)
{
	if (!waits_for_body(s)) {
		s->body_since_ms = 0;
		return false;
	}
	if (!s->body_since_ms || s->in_total - s->body_mark >= p->body_min) {
		s->body_since_ms = now_ms;
		s->body_mark = s->in_total;
	}
	return now_ms - s->body_since_ms >= p->body_ms;
}

/* There is a whole response, and nothing of the rest is wanted. */
static bool is_rest_late(struct h2_stream *s, uint64_t now_ms)
{
	if (!s->enough || !s->out_sent || s->rest_over || s->in_ended || s->closed)
		return false;
	if (!s->rest_since_ms)
		s->rest_since_ms = now_ms;
	return now_ms - s->rest_since_ms >= REST_MS;
}

/* While the stream's own window is open, it may be the others' turn: then something moves on the connection. */
static bool is_reader_stalled(struct h2_stream *s, const struct h2_patience *p, uint64_t now_ms)
{
	struct h2 *h = s->h2;
	bool waits = s->out.len && s->out_started && !s->closed;
	bool moves = s->turn.sent != s->stall_mark;

	if (waits && !moves && h->sent != s->stall_mark_all)
		moves = nghttp2_session_get_stream_remote_window_size(h->session, s->id) > 0;
	if (!waits) {
		s->stall_since_ms = 0;
		return false;
	}
	if (!s->stall_since_ms || moves) {
		s->stall_since_ms = now_ms;
		s->stall_mark = s->turn.sent;
		s->stall_mark_all = h->sent;
	}
	return now_ms - s->stall_since_ms >= p->stall_ms;
}

/* Once the response is out, the rest of the request is only not wanted; before it begins, he gets to know why. */
static void give_up_body(struct h2_stream *s)
{
	struct h2 *h = s->h2;

	if (!s->out_sent && !h->events->refused) {
		h2_stream_fail(s, ADIT_ERR_SLOW);
		return;
	}
	half_abort(&s->half, ADIT_ERR_SLOW);
	s->rest_over = true;
	if (s->out_sent)
		h2_stream_enough(s);
	else
		h->events->refused(h->owner, s, ADIT_ERR_SLOW);
}

/* Gives up the first that is late; false when none is. Others may end with it. */
static bool give_up_one(struct h2 *h, const struct h2_patience *p, uint64_t now_ms)
{
	struct list *at, *tmp;

	list_each(at, tmp, &h->streams) {
		struct h2_stream *s = container_of(at, struct h2_stream, node);

		if (is_reader_stalled(s, p, now_ms)) {
			h2_stream_fail(s, ADIT_ERR_SLOW);
			return true;
		}
		if (is_rest_late(s, now_ms)) {
			h2_stream_rest_over(s);
			return true;
		}
		if (is_body_late(s, p, now_ms)) {
			give_up_body(s);
			return true;
		}
	}
	return false;
}

uint64_t h2_stalled_since(const struct h2 *h)
{
	uint64_t last = 0;

	for (const struct list *at = h->streams.next; at != &h->streams; at = at->next) {
		const struct h2_stream *s = container_of(at, struct h2_stream, node);

		if (!s->stall_since_ms)
			return 0;
		last = s->stall_since_ms > last ? s->stall_since_ms : last;
	}
	return last;
}

void h2_look(struct h2 *h, const struct h2_patience *p, uint64_t now_ms)
{
	/* one that was given up is not late any more */
	while (give_up_one(h, p, now_ms))
		;
}
