#include "session/session.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/err.h"

/** Pieces of one gathered write to the carrier. */
#define WRITE_PIECES 32
/** How long a CLOSE may take to leave and be answered by the end of the carrier. */
#define CLOSE_MS 1000
/** Until then the far end may end it first: some ingresses throw away what is on its way when they see our end. */
#define CLOSE_FINISH_MS 400

struct session {
	struct loop *loop;
	const struct session_events *events;
	void *owner;
	struct stream *carrier;
	struct link *link;
	struct h2 *h2;
	struct budget budget;
	struct buf lead;
	struct task flush, cut, over, free;
	struct timer tick, closing;
	uint32_t heartbeat_ms;
	uint64_t used_ms;      /* when it last carried a request */
	int lost;              /* why it is over, 0 = it is not */
	int close_err;         /* set while CLOSE is on its way */
	int cut_err;           /* why the last carrier failed */
	bool resumable, paused, suspect;
	bool finished;         /* CLOSE has had its time, the carrier is ended */
	bool told;
	char detail[160];
};

/* ---- upwards: link -> h2 */

static size_t link_pull(void *arg, uint8_t *p, size_t cap)
{
	struct session *s = arg;

	h2_hold_bulk(s->h2, link_tx_offset(s->link) - link_acked(s->link) >= link_bulk_limit(s->link));
	return h2_pull(s->h2, p, cap);
}

static int link_deliver(void *arg, const uint8_t *p, size_t n)
{
	struct session *s = arg;

	return h2_recv(s->h2, p, n);
}

static int link_told(void *arg, enum frame_type type, const uint8_t *p, size_t n)
{
	struct session *s = arg;

	s->events->control(s->owner, type, p, n);
	return 0;
}

static const struct link_callbacks link_callbacks = {link_pull, link_deliver, link_told};

/* ---- the end */

static void tell_over(void *arg)
{
	struct session *s = arg;

	if (s->told)
		return;
	s->told = true;
	s->events->lost(s->owner, s->lost, s->detail);
}

static void lose(struct session *s, int err, const char *detail)
{
	if (s->lost)
		return;
	s->lost = s->close_err ? s->close_err : err;
	if (!s->close_err)
		snprintf(s->detail, sizeof(s->detail), "%s", detail);
	task_cancel(s->loop, &s->flush);
	task_cancel(s->loop, &s->cut);
	timer_stop(&s->tick);
	timer_stop(&s->closing);
	stream_free(&s->carrier);
	s->suspect = false;
	link_kill(s->link); /* what was read behind a CLOSE is nobody's any more */
	task_post(s->loop, &s->over);
}

static void tell_cut(void *arg)
{
	struct session *s = arg;

	s->events->detached(s->owner, s->cut_err, s->detail);
}

void session_detach(struct session *s)
{
	if (s->lost)
		return;
	task_cancel(s->loop, &s->flush);
	task_cancel(s->loop, &s->cut);
	timer_clear(&s->tick);
	buf_clear(&s->lead);
	stream_free(&s->carrier);
	link_detach(s->link, loop_ms(s->loop));
	s->suspect = s->paused = false;
}

/* The carrier has failed. */
static void cut(struct session *s, int err, const char *detail)
{
	if (!s->resumable || s->close_err) {
		lose(s, err, detail);
		return;
	}
	if (s->lost)
		return;
	s->cut_err = err;
	snprintf(s->detail, sizeof(s->detail), "%s", detail);
	session_detach(s);
	task_post(s->loop, &s->cut);
}

/* What the far end sent cannot be: it is told so before the carrier ends. */
static void give_up(struct session *s, int err)
{
	if (err != ADIT_ERR_PROTO) {
		lose(s, err, "");
		return;
	}
	session_close(s, 400, "malformed link frame, or HTTP/2 that is none", err);
}

/* ---- the pump */

static void set_clock(struct session *s)
{
	h2_clock(s->h2, clock_us(), link_srtt_us(s->link));
}

/* When a silent carrier is given up. */
static uint64_t silent_until(const struct session *s)
{
	return link_last_rx_ms(s->link) + s->heartbeat_ms + SESSION_SILENT_MS;
}

static void set_tick(struct session *s)
{
	uint64_t next = link_next_tick(s->link), now = loop_ms(s->loop);

	if (s->suspect && silent_until(s) < next)
		next = silent_until(s);
	if (next == UINT64_MAX)
		timer_clear(&s->tick);
	else
		timer_set(&s->tick, next > now ? next - now : 0);
}

/* True when all of `lead` is out. */
static bool flush_lead(struct session *s)
{
	struct iovec iov[4];

	while (s->lead.len) {
		int count = buf_iov(&s->lead, iov, 4);
		ssize_t n = stream_write(s->carrier, iov, count);

		if (n < 0)
			cut(s, (int)n, stream_detail(s->carrier));
		if (n <= 0)
			return false;
		buf_drop(&s->lead, (size_t)n);
	}
	return true;
}

/* Whoever wrote meanwhile has posted it for this turn again. */
static void flush_next(struct session *s)
{
	task_cancel(s->loop, &s->flush);
	task_post_next(s->loop, &s->flush);
}

static void flush(void *arg)
{
	struct session *s = arg;
	struct iovec iov[WRITE_PIECES];
	size_t done = 0;

	if (s->lost || !s->carrier)
		return;
	if (!flush_lead(s)) {
		if (s->carrier)
			set_tick(s);
		return;
	}
	set_clock(s);
	for (;;) {
		size_t wanted = 0;
		ssize_t n;
		int count = link_out(s->link, iov, WRITE_PIECES, stream_unsent(s->carrier), loop_ms(s->loop));

		if (!count)
			break;
		for (int i = 0; i < count; i++)
			wanted += iov[i].iov_len;
		n = stream_write(s->carrier, iov, count);
		if (n < 0) {
			/* some of it may have left before the rest failed, and the far end may say so when it attaches */
			link_sent(s->link, wanted, loop_ms(s->loop));
			cut(s, (int)n, stream_detail(s->carrier));
			return;
		}
		link_sent(s->link, (size_t)n, loop_ms(s->loop));
		done += (size_t)n;
		if ((size_t)n == wanted && done >= SESSION_WRITE_TURN)
			flush_next(s);
		if ((size_t)n < wanted || done >= SESSION_WRITE_TURN) {
			set_tick(s);
			return;
		}
	}
	if (h2_error(s->h2) && !s->close_err) { /* its GOAWAY is out */
		give_up(s, h2_error(s->h2));
		return;
	}
	if (!s->close_err)
		set_tick(s);
}

static void set_suspect(struct session *s, bool suspect)
{
	s->suspect = suspect;
	if (s->events->suspect)
		s->events->suspect(s->owner, suspect);
}

/* What was acked has arrived: resets free their places. */
static void note_arrived(struct session *s)
{
	h2_arrived(s->h2, link_acked(s->link));
}

static void on_readable(void *owner)
{
	struct session *s = owner;
	uint8_t *block = loop_borrow(s->loop);
	size_t done = 0;

	if (!block) {
		lose(s, ADIT_ERR_NOMEM, "");
		return;
	}
	set_clock(s);
	while (s->carrier && !s->paused && done < SESSION_READ_TURN) {
		ssize_t n = stream_read(s->carrier, block, LOOP_BLOCK);
		int err;

		if (n == ADIT_ERR_AGAIN)
			break;
		if (n < 0) {
			cut(s, (int)n, stream_detail(s->carrier));
			break;
		}
		done += (size_t)n;
		if (s->close_err) /* it has been told that this is over; it may not have read that yet */
			continue;
		err = link_recv(s->link, block, (size_t)n, loop_ms(s->loop));
		if (err)
			give_up(s, err);
	}
	loop_return(s->loop, block);
	note_arrived(s);
	if (done && s->suspect)
		set_suspect(s, false);
	if (s->carrier)
		task_post(s->loop, &s->flush);
}

static void on_writable(void *owner)
{
	struct session *s = owner;

	task_post(s->loop, &s->flush);
}

static void on_leaving(void *owner)
{
	struct session *s = owner;

	if (s->events->leaving)
		s->events->leaving(s->owner);
}

static const struct stream_handler carrier_handler = {on_readable, on_writable};

static void on_tick(void *arg)
{
	struct session *s = arg;
	uint64_t now = loop_ms(s->loop);
	bool suspect;

	if (h2_open(s->h2))
		s->used_ms = now;
	link_heartbeat(s->link, s->heartbeat_ms, s->used_ms && now - s->used_ms < SESSION_IN_USE_MS);
	suspect = link_tick(s->link, now) == LINK_SUSPECT;
	/* a doubt that the link does not share counts as well: its end is among the ticks */
	if ((suspect && !s->resumable) || ((suspect || s->suspect) && now >= silent_until(s))) {
		cut(s, ADIT_ERR_TIMEOUT, "nothing was heard from the far end");
		return;
	}
	if (suspect && !s->suspect)
		set_suspect(s, true);
	if (s->carrier)
		flush(s);
}

static void on_closing(void *arg)
{
	struct session *s = arg;

	if (s->finished) {
		lose(s, s->close_err, "");
		return;
	}
	s->finished = true;
	timer_set(&s->closing, CLOSE_MS - CLOSE_FINISH_MS);
	stream_finish(s->carrier);
}

/* ---- h2's events */

static void h2_woken(void *owner)
{
	struct session *s = owner;

	if (!s->lost && s->carrier)
		task_post(s->loop, &s->flush);
}

static void note_use(struct session *s)
{
	uint64_t now = loop_ms(s->loop);
	bool fresh = !s->used_ms || now - s->used_ms >= SESSION_IN_USE_MS;

	s->used_ms = now;
	if (fresh) { /* from now on it is watched closely */
		link_heartbeat(s->link, s->heartbeat_ms, true);
		set_tick(s);
	}
}

static void h2_request(void *owner, struct h2_stream *stream, const struct head *h, bool bodyless)
{
	struct session *s = owner;

	note_use(s);
	if (s->events->request)
		s->events->request(s->owner, stream, h, bodyless);
}

static void h2_idle(void *owner)
{
	struct session *s = owner;

	if (s->events->idle)
		s->events->idle(s->owner);
}

static const struct h2_events h2_events = {h2_woken, h2_request, h2_idle, NULL};

/* ---- life */

/* At the bottom of the turn, for the owner may end it from inside any of its events. */
static void release(void *arg)
{
	struct session *s = arg;

	h2_free(&s->h2, s->lost);
	link_free(&s->link);
	buf_clear(&s->lead);
	free(s);
}

struct session *session_new(struct loop *l, const struct session_options *o)
{
	struct session *s = calloc(1, sizeof(*s));
	struct h2_options h2 = {.role = o->role, .tunnel = true};

	if (!s)
		return NULL;
	s->loop = l;
	s->events = o->events;
	s->owner = o->owner;
	s->heartbeat_ms = o->heartbeat_ms;
	s->budget = (struct budget){.parent = o->budget, .limit = BUDGET_TUNNEL, .growth = BUDGET_TUNNEL_GROWTH};
	h2.budget = &s->budget;
	h2.pool = loop_pool(l);
	s->flush = (struct task){.run = flush, .arg = s};
	s->cut = (struct task){.run = tell_cut, .arg = s};
	s->over = (struct task){.run = tell_over, .arg = s};
	s->free = (struct task){.run = release, .arg = s};
	timer_init(&s->tick, l, on_tick, s);
	timer_init(&s->closing, l, on_closing, s);
	s->link = link_new(&link_callbacks, s);
	s->h2 = s->link ? h2_new(&h2, &h2_events, s) : NULL;
	if (!s->h2) {
		link_free(&s->link);
		free(s);
		return NULL;
	}
	link_use(s->link, loop_pool(l));
	return s;
}

void session_free(struct session **sp, int err)
{
	struct session *s = *sp;

	if (!s)
		return;
	*sp = NULL;
	s->told = true;
	lose(s, err, "");
	task_cancel(s->loop, &s->over);
	task_post_free(s->loop, &s->free);
}

static void feed_rest(struct session *s, struct buf *rest)
{
	const struct stream *carrier = s->carrier;
	struct iovec v;

	while (s->carrier == carrier && !s->close_err && buf_iov(rest, &v, 1) == 1) {
		int err = link_recv(s->link, v.iov_base, v.iov_len, loop_ms(s->loop));

		if (err)
			give_up(s, err);
		buf_drop(rest, v.iov_len);
	}
	buf_clear(rest);
}

int session_attach(struct session *s, struct stream *carrier, uint64_t peer_rx, struct buf *lead, struct buf *rest)
{
	int err = s->lost || s->carrier ? ADIT_ERR_INVALID : link_attach(s->link, peer_rx, loop_ms(s->loop));

	if (err) {
		stream_free(&carrier);
		return err;
	}
	task_cancel(s->loop, &s->cut);
	s->carrier = carrier;
	if (lead)
		buf_splice(&s->lead, lead);
	link_heartbeat(s->link, s->heartbeat_ms, s->used_ms && loop_ms(s->loop) - s->used_ms < SESSION_IN_USE_MS);
	set_clock(s);
	stream_own(carrier, &carrier_handler, s);
	stream_on_leaving(carrier, on_leaving);
	stream_pause(carrier, false);
	feed_rest(s, rest);
	note_arrived(s);
	if (s->carrier && stream_leaving(s->carrier))
		on_leaving(s);
	if (s->carrier)
		task_post(s->loop, &s->flush);
	return 0;
}

void session_resumable(struct session *s, bool resumable)
{
	s->resumable = resumable;
}

void session_pause(struct session *s, bool paused)
{
	if (!s->carrier || s->paused == paused)
		return;
	s->paused = paused;
	stream_pause(s->carrier, paused);
}

bool session_attached(const struct session *s)
{
	return s->carrier != NULL;
}

bool session_suspect(const struct session *s)
{
	return s->suspect;
}

void session_heartbeat(struct session *s, uint32_t ms)
{
	s->heartbeat_ms = ms; /* the link is told with the next tick or attach */
}

void session_doubt(struct session *s)
{
	if (!s->carrier || s->suspect)
		return;
	link_ping(s->link, loop_ms(s->loop));
	task_post(s->loop, &s->flush);
	set_suspect(s, true);
}

bool session_has_unread(struct session *s)
{
	uint8_t byte;

	return s->carrier && stream_read(s->carrier, &byte, 1) > 0;
}

void session_hand_over(struct session *s, const struct session_events *events, void *owner)
{
	s->events = events;
	s->owner = owner;
}

const char *session_peer(const struct session *s)
{
	return s->carrier ? s->carrier->peer.ip : "";
}

struct half *session_ask(struct session *s, int *err)
{
	struct half *h;

	*err = s->lost || s->close_err ? ADIT_ERR_LINK_LOST : ADIT_ERR_NO_LINK;
	if (s->lost || s->close_err || !s->carrier)
		return NULL;
	h = h2_ask(s->h2, err);
	if (h)
		note_use(s);
	return h;
}

int session_control(struct session *s, enum frame_type type, const void *p, size_t n)
{
	int err;

	if (s->lost)
		return ADIT_ERR_LINK_LOST;
	err = link_control(s->link, type, p, n);
	task_post(s->loop, &s->flush);
	return err;
}

void session_close(struct session *s, uint16_t code, const char *reason, int err)
{
	if (s->lost || s->close_err)
		return;
	s->close_err = err;
	snprintf(s->detail, sizeof(s->detail), "%s", reason);
	if (!s->carrier) {
		lose(s, err, "");
		return;
	}
	link_close(s->link, code, reason);
	timer_set(&s->closing, CLOSE_FINISH_MS);
	task_post(s->loop, &s->flush);
}

void session_goaway(struct session *s)
{
	h2_goaway(s->h2);
}

bool session_leaving(const struct session *s)
{
	return s->lost || s->close_err || h2_leaving(s->h2);
}

bool session_left(const struct session *s)
{
	return h2_left(s->h2);
}

bool session_closing(const struct session *s)
{
	return s->lost || s->close_err;
}

unsigned session_open(const struct session *s)
{
	return h2_open(s->h2);
}

struct link *session_link(struct session *s)
{
	return s->link;
}
