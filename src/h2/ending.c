/* How it ends: places of streams that were reset, and a connection that takes no more. */
#include "h2/h2_int.h"

/* ---- places */

void h2_stream_give_place(struct h2_stream *s)
{
	if (s->places)
		s->places->taken--;
	places_unref(&s->places);
}

void h2_stream_leave(struct h2_stream *s)
{
	list_remove(&s->node);
	list_append(&s->h2->dead, &s->node);
	h2_stream_give_place(s);
}

void h2_stream_place(struct half *stream, struct places *p)
{
	struct h2_stream *s = container_of(stream, struct h2_stream, half);

	s->places = places_ref(p);
	if (p)
		p->taken++;
}

void h2_arrived(struct h2 *h, uint64_t offset)
{
	h->arrived = offset;
	while (!list_empty(&h->leaving)) {
		struct h2_stream *s = container_of(h->leaving.next, struct h2_stream, node);

		if (s->gone_at > offset)
			break;
		h->leaving_count--;
		h2_stream_leave(s);
	}
}

/* ---- GOAWAY */

static void submit_last_goaway(struct h2 *h)
{
	int32_t last = nghttp2_session_get_last_proc_stream_id(h->session);

	h2_submitted(h, nghttp2_submit_goaway(h->session, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, NULL, 0));
}

void h2_goaway(struct h2 *h)
{
	if (h->goaway_sent)
		return;
	h->goaway_sent = true;
	if (h->role == H2_ANSWERING)
		h2_submitted(h, nghttp2_submit_shutdown_notice(h->session));
	else
		submit_last_goaway(h);
	h->idle_due = h->open == 0;
	h2_wake(h);
}

void h2_goaway_last(struct h2 *h)
{
	submit_last_goaway(h);
	h2_wake(h);
}

void h2_fail(struct h2 *h, int err)
{
	h->error = err;
	nghttp2_session_terminate_session(h->session, err == ADIT_ERR_SLOW ? NGHTTP2_ENHANCE_YOUR_CALM : h2_code_of(err));
	h2_wake(h);
}

bool h2_leaving(const struct h2 *h)
{
	return h->error || h->goaway_got || h->goaway_sent || h->opened >= H2_STREAMS_LIFETIME;
}

bool h2_left(const struct h2 *h)
{
	return h->goaway_got;
}
