#include "link/link.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "link/handshake.h"
#include "link/pacing.h"
#include "link/replay.h"

/* PONGs owed: more PINGs than these between two writes are a flood, and the latest few are answered. */
#define PONGS_MAX 8
/* PINGs whose time is remembered: with one a second, round trips of 8 s can still be measured. */
#define PINGS_MAX 8
/* How often the round-trip time is taken while DATA is in flight. */
#define RTT_PING_MS 1000
/* Heartbeat of a tunnel in use (design: a black hole is noticed within 4 s). */
#define IN_USE_MS 2000
#define SUSPECT_MIN_MS 2000
#define SUSPECT_MAX_MS 30000
/** The same before the first round-trip time is known: a path of 3 s must be able to connect. */
#define SUSPECT_UNKNOWN_MS 5000
/* Out of memory: when to look again. */
#define RETRY_MS 100
#define NEVER UINT64_MAX
#define NUMBER_FRAME_LEN (FRAME_HEADER_LEN + 8)

/* What the last link_out described, in this order: link_sent goes by it, whatever was queued in between. */
struct plan {
	size_t rest;    /* of a half-written DATA frame */
	size_t control;
	size_t data;
};

struct link {
	struct link_callbacks cb;
	void *arg;
	enum link_state state;
	unsigned carriers;      /* changes with every attach, detach and kill: a callback may do those */

	struct frame_parser parser;
	uint64_t rx;            /* DATA bytes received */
	uint64_t rx_told;       /* of those, acked or told at the attach */
	uint64_t last_rx_ms;

	struct replay replay;
	struct pacing pacing;
	struct plan plan;
	struct buf control;     /* whole control frames, serialised; DATA waits until it is empty */
	unsigned control_frames;
	bool numbers_queued;    /* ACK, PONG or PING of an earlier compose is still in there */
	bool closing;           /* CLOSE is queued: nothing follows it */

	bool ack_due, ping_due;
	uint64_t pongs[PONGS_MAX];
	size_t pong_count;
	uint64_t pings;         /* PINGs sent; a PING's payload is its number, from 1 */
	uint64_t ponged;        /* the latest one answered */
	uint64_t ping_ms[PINGS_MAX];

	uint32_t idle_ms;
	bool in_use;
	bool suspect;
	uint32_t suspect_min_ms; /* grows with groundless suspicions */
	uint64_t ack_at, retry_at, rtt_ping_at;
	uint64_t last_ping_ms;
	uint64_t waiting_ms;    /* since when something is outstanding */
};

/* ---- life */

struct link *link_new(const struct link_callbacks *cb, void *arg)
{
	struct link *l = calloc(1, sizeof(*l));

	if (!l)
		return NULL;
	l->cb = *cb;
	l->arg = arg;
	l->state = LINK_NEW;
	l->suspect_min_ms = SUSPECT_MIN_MS;
	l->ack_at = l->retry_at = NEVER;
	frame_parser_init(&l->parser);
	replay_init(&l->replay);
	pacing_init(&l->pacing);
	buf_init(&l->control);
	return l;
}

void link_use(struct link *l, struct pool *pool)
{
	l->replay.pool = l->control.pool = pool;
}

void link_free(struct link **l)
{
	if (!*l)
		return;
	link_kill(*l);
	free(*l);
	*l = NULL;
}

/* A PING that is due and not yet sent counts: a carrier that takes nothing any more brings no answer either. */
static bool outstanding(const struct link *l)
{
	return l->ping_due || l->ponged != l->pings || l->replay.end != l->replay.acked;
}

static void ask(struct link *l, uint64_t now_ms)
{
	if (!outstanding(l))
		l->waiting_ms = now_ms;
	l->ping_due = true;
}

bool link_may_attach(const struct link *l, uint64_t peer_rx)
{
	return peer_rx >= l->replay.acked && peer_rx <= l->replay.sent;
}

int link_attach(struct link *l, uint64_t peer_rx, uint64_t now_ms)
{
	if (l->state != LINK_NEW && l->state != LINK_DETACHED)
		return ADIT_ERR_INVALID;
	if (!link_may_attach(l, peer_rx))
		return ADIT_ERR_PROTO;
	replay_rewind(&l->replay, peer_rx);
	pacing_restart(&l->pacing);
	l->state = LINK_LIVE;
	l->carriers++;
	l->rx_told = l->rx;
	l->last_rx_ms = l->last_ping_ms = l->rtt_ping_at = l->waiting_ms = now_ms;
	return 0;
}

/* Forgets all that belongs to one carrier. */
static void carrier_reset(struct link *l)
{
	l->carriers++;
	frame_parser_clear(&l->parser);
	buf_clear(&l->control);
	l->control_frames = 0;
	l->plan = (struct plan){0, 0, 0};
	l->closing = l->numbers_queued = l->ack_due = l->ping_due = l->suspect = false;
	l->pong_count = 0;
	l->ponged = l->pings;
	l->ack_at = l->retry_at = NEVER;
}

void link_detach(struct link *l, uint64_t now_ms)
{
	(void)now_ms;
	if (l->state != LINK_LIVE)
		return;
	carrier_reset(l);
	replay_halt(&l->replay);
	l->state = LINK_DETACHED;
}

void link_kill(struct link *l)
{
	if (l->state == LINK_DEAD)
		return;
	carrier_reset(l);
	replay_clear(&l->replay);
	l->state = LINK_DEAD;
}

/* ---- in */

static int on_data(struct link *l, const struct frame *f, uint64_t now_ms)
{
	l->rx += f->n;
	if (l->rx - l->rx_told >= LINK_ACK_BYTES) {
		l->ack_due = true;
		l->ack_at = NEVER;
	} else if (!l->ack_due && l->ack_at == NEVER) {
		l->ack_at = now_ms + LINK_ACK_MS;
	}
	return l->cb.deliver(l->arg, f->p, f->n);
}

/* May the session be asked for a full frame? */
static bool limit_allows(const struct link *l)
{
	return l->replay.held + REPLAY_CHUNK_COST <= l->pacing.limit;
}

static int on_ack(struct link *l, uint64_t offset, uint64_t now_ms)
{
	uint64_t position = replay_position(&l->replay);
	bool blocked = !limit_allows(l);

	/* more than this carrier has carried cannot have arrived: what former ones brought was told at the attach */
	if (offset < l->replay.acked || offset > position)
		return ADIT_ERR_PROTO;
	replay_release(&l->replay, offset);
	pacing_ack(&l->pacing, offset, position, blocked, now_ms);
	return 0;
}

static void on_ping(struct link *l, uint64_t value)
{
	if (l->pong_count == PONGS_MAX) {
		memmove(l->pongs, l->pongs + 1, sizeof(l->pongs) - sizeof(l->pongs[0]));
		l->pong_count--;
	}
	l->pongs[l->pong_count++] = value;
}

static void on_pong(struct link *l, uint64_t number, uint64_t now_ms)
{
	/* answers to nothing we asked on this carrier, or asked too long ago to know when, say nothing */
	if (number <= l->ponged || number > l->pings || l->pings - number >= PINGS_MAX)
		return;
	l->ponged = number;
	pacing_rtt(&l->pacing, now_ms - l->ping_ms[number % PINGS_MAX], now_ms);
}

static int on_frame(struct link *l, const struct frame *f, uint64_t now_ms)
{
	switch (f->type) {
	case FRAME_DATA:
		return on_data(l, f, now_ms);
	case FRAME_ACK:
		return on_ack(l, get_u64(f->p), now_ms);
	case FRAME_PING:
		on_ping(l, get_u64(f->p));
		return 0;
	case FRAME_PONG:
		on_pong(l, get_u64(f->p), now_ms);
		return 0;
	case FRAME_HELLO:
	case FRAME_WELCOME:
	case FRAME_ATTACH:
	case FRAME_ATTACHED:
	case FRAME_DRAIN:
	case FRAME_CLOSE:
		break;
	}
	return l->cb.control(l->arg, f->type, f->p, f->n);
}

int link_recv(struct link *l, const uint8_t *p, size_t n, uint64_t now_ms)
{
	unsigned carrier = l->carriers;

	if (l->state != LINK_LIVE)
		return ADIT_ERR_INVALID;
	if (!n)
		return 0;
	l->last_rx_ms = now_ms;
	l->suspect = false;
	while (l->carriers == carrier) {
		struct frame f;
		size_t used;
		int r = frame_parse(&l->parser, p, n, &used, &f);

		if (r <= 0)
			return r;
		r = on_frame(l, &f, now_ms);
		if (r < 0)
			return r;
		p += used;
		n -= used;
	}
	/* a callback detached or killed the link: the rest came over a carrier that is no longer its */
	return 0;
}

/* ---- out */

static uint8_t *number_frame(uint8_t *at, enum frame_type type, uint64_t v)
{
	frame_header(at, type, 8);
	put_u64(at + FRAME_HEADER_LEN, v);
	return at + NUMBER_FRAME_LEN;
}

static void ping_count(struct link *l, uint64_t now_ms)
{
	l->pings++;
	l->ping_ms[l->pings % PINGS_MAX] = l->last_ping_ms = now_ms;
	l->rtt_ping_at = now_ms + RTT_PING_MS;
	l->ping_due = false;
}

/* Serialises ACK, PONGs and PING that are due: once until the queue has drained, so that a carrier that takes nothing
 * costs no memory however much is asked. */
static void compose(struct link *l, uint64_t now_ms)
{
	uint8_t bytes[(PONGS_MAX + 2) * NUMBER_FRAME_LEN], *at = bytes;

	if (l->numbers_queued || l->closing)
		return;
	if (l->ack_due)
		at = number_frame(at, FRAME_ACK, l->rx);
	for (size_t i = 0; i < l->pong_count; i++)
		at = number_frame(at, FRAME_PONG, l->pongs[i]);
	if (l->ping_due)
		at = number_frame(at, FRAME_PING, l->pings + 1);
	if (at == bytes)
		return;
	if (buf_add(&l->control, bytes, (size_t)(at - bytes)) < 0) {
		l->retry_at = now_ms + RETRY_MS;
		return;
	}
	l->numbers_queued = true;
	if (l->ack_due) {
		l->ack_due = false;
		l->rx_told = l->rx;
	}
	l->pong_count = 0;
	if (l->ping_due)
		ping_count(l, now_ms);
}

/* One more chunk from the session, NULL when there is none or no room for it. */
static struct replay_chunk *pull(struct link *l, uint64_t now_ms)
{
	unsigned carrier = l->carriers;
	struct replay_chunk *c;
	size_t n;

	if (!limit_allows(l))
		return NULL;
	c = replay_room(&l->replay);
	if (!c) {
		l->retry_at = now_ms + RETRY_MS;
		return NULL;
	}
	n = l->cb.pull(l->arg, c->bytes + FRAME_HEADER_LEN, FRAME_DATA_MAX);
	if (l->state == LINK_DEAD || !n) {
		replay_drop(&l->replay, c);
		pacing_idle(&l->pacing);
		return NULL;
	}
	if (!outstanding(l))
		l->waiting_ms = now_ms;
	replay_commit(&l->replay, c, n);
	/* detached by the callback: the bytes stay, for the next carrier */
	return l->carriers == carrier ? l->replay.tail : NULL;
}

static size_t iov_bytes(const struct iovec *iov, int n)
{
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* Frames from `c` on, then new ones, until the carrier holds enough. Returns iovecs used. */
static int out_data(struct link *l, struct replay_chunk *c, struct iovec *iov, int max, size_t unsent,
                    uint64_t now_ms)
{
	unsigned carrier = l->carriers;
	int used = 0;

	if (unsent >= LINK_UNSENT_LOW)
		return 0;
	while (used < max) {
		/* a pull may bring a full frame */
		size_t next = c ? replay_frame_left(&l->replay, c) : FRAME_HEADER_LEN + FRAME_DATA_MAX;

		if (unsent + l->plan.rest + l->plan.control + l->plan.data + next > LINK_UNSENT_HIGH)
			break;
		if (!c)
			c = pull(l, now_ms);
		if (l->carriers != carrier || !c)
			break;
		used += replay_describe(&l->replay, c, iov + used, max - used, &l->plan.data);
		c = c->next;
	}
	return used;
}

int link_out(struct link *l, struct iovec *iov, int max, size_t unsent, uint64_t now_ms)
{
	struct replay_chunk *next = l->replay.cursor;
	unsigned carrier = l->carriers;
	int used = 0, part;

	l->plan = (struct plan){0, 0, 0};
	if (l->state != LINK_LIVE || max < 1)
		return 0;
	if (next && l->replay.written) {
		used = replay_describe(&l->replay, next, iov, max, &l->plan.rest);
		if (l->plan.rest < replay_frame_left(&l->replay, next))
			return used;
		next = next->next;
	}
	compose(l, now_ms);
	part = buf_iov(&l->control, iov + used, max - used);
	l->plan.control = iov_bytes(iov + used, part);
	used += part;
	if (l->plan.control == l->control.len && !l->closing)
		used += out_data(l, next, iov + used, max - used, unsent, now_ms);
	return l->carriers == carrier ? used : 0;
}

static size_t take(size_t *n, size_t *planned)
{
	size_t part = *n < *planned ? *n : *planned;

	*n -= part;
	*planned -= part;
	return part;
}

void link_sent(struct link *l, size_t n, uint64_t now_ms)
{
	(void)now_ms;
	if (l->state != LINK_LIVE)
		return;
	replay_wrote(&l->replay, take(&n, &l->plan.rest));
	buf_drop(&l->control, take(&n, &l->plan.control));
	if (!l->control.len) {
		l->control_frames = 0;
		l->numbers_queued = false;
	}
	replay_wrote(&l->replay, take(&n, &l->plan.data));
}

int link_control(struct link *l, enum frame_type type, const void *p, size_t n)
{
	/* one place is kept for CLOSE */
	unsigned max = type == FRAME_CLOSE ? LINK_CONTROL_MAX : LINK_CONTROL_MAX - 1;
	uint8_t *room;
	size_t got;

	if (l->state == LINK_DEAD)
		return 0;
	if (type < FRAME_HELLO || type > FRAME_CLOSE || n > FRAME_CONTROL_MAX)
		return ADIT_ERR_INVALID;
	if (l->closing)
		return 0;
	if (l->control_frames >= max)
		return ADIT_ERR_LIMIT;
	room = buf_room(&l->control, FRAME_HEADER_LEN + n, &got);
	if (!room)
		return ADIT_ERR_NOMEM;
	frame_header(room, type, n);
	if (n)
		memcpy(room + FRAME_HEADER_LEN, p, n);
	buf_commit(&l->control, FRAME_HEADER_LEN + n);
	l->control_frames++;
	if (type == FRAME_CLOSE)
		l->closing = true;
	return 0;
}

int link_close(struct link *l, uint16_t code, const char *reason)
{
	uint8_t payload[2 + FRAME_REASON_MAX];
	size_t n = wire_write_close(code, reason, payload, sizeof(payload));

	return link_control(l, FRAME_CLOSE, payload, n);
}

/* ---- time */

void link_heartbeat(struct link *l, uint32_t idle_ms, bool in_use)
{
	l->idle_ms = idle_ms;
	l->in_use = in_use;
}

void link_ping(struct link *l, uint64_t now_ms)
{
	if (l->state == LINK_LIVE)
		ask(l, now_ms);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t later(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t ping_at(const struct link *l)
{
	uint64_t idle = l->idle_ms ? l->idle_ms : NEVER, at = NEVER;

	if (l->ping_due)
		return NEVER;
	if (l->in_use)
		idle = earlier(idle, IN_USE_MS);
	if (idle != NEVER)
		at = later(l->last_rx_ms, l->last_ping_ms) + idle;
	if (l->replay.end != l->replay.acked && l->ponged == l->pings)
		at = earlier(at, l->rtt_ping_at);
	return at;
}

static uint64_t suspect_at(const struct link *l)
{
	uint64_t srtt_ms = ((uint64_t)l->pacing.srtt_us + 999) / 1000;
	uint64_t known = srtt_ms ? 4 * srtt_ms : SUSPECT_UNKNOWN_MS;

	if (l->suspect || !outstanding(l))
		return NEVER;
	return later(l->last_rx_ms, l->waiting_ms) + later(l->suspect_min_ms, known);
}

void link_suspicion_was(struct link *l, bool right)
{
	if (right)
		l->suspect_min_ms = SUSPECT_MIN_MS;
	else if (l->suspect_min_ms < SUSPECT_MAX_MS)
		l->suspect_min_ms = l->suspect_min_ms * 2 < SUSPECT_MAX_MS ? l->suspect_min_ms * 2 : SUSPECT_MAX_MS;
}

enum link_health link_tick(struct link *l, uint64_t now_ms)
{
	if (l->state != LINK_LIVE)
		return LINK_WELL;
	if (now_ms >= l->ack_at) {
		l->ack_due = true;
		l->ack_at = NEVER;
	}
	if (now_ms >= l->retry_at)
		l->retry_at = NEVER;
	if (now_ms >= ping_at(l))
		ask(l, now_ms);
	if (now_ms >= suspect_at(l))
		l->suspect = true;
	return l->suspect ? LINK_SUSPECT : LINK_WELL;
}

uint64_t link_next_tick(const struct link *l)
{
	if (l->state != LINK_LIVE)
		return NEVER;
	return earlier(earlier(l->ack_at, l->retry_at), earlier(ping_at(l), suspect_at(l)));
}

/* ---- getters */

enum link_state link_state(const struct link *l)
{
	return l->state;
}

uint64_t link_rx_offset(const struct link *l)
{
	return l->rx;
}

uint64_t link_tx_offset(const struct link *l)
{
	return l->replay.end;
}

uint64_t link_acked(const struct link *l)
{
	return l->replay.acked;
}

size_t link_inflight_limit(const struct link *l)
{
	return l->pacing.limit;
}

size_t link_bulk_limit(const struct link *l)
{
	return pacing_bulk(&l->pacing);
}

size_t link_memory(const struct link *l)
{
	size_t spare = l->replay.spare ? REPLAY_CHUNK_COST : 0;

	return l->replay.held + spare + l->control.len;
}

uint32_t link_srtt_us(const struct link *l)
{
	return l->pacing.srtt_us;
}

uint32_t link_min_rtt_us(const struct link *l)
{
	return pacing_min_rtt_us(&l->pacing);
}

uint64_t link_last_rx_ms(const struct link *l)
{
	return l->last_rx_ms;
}

uint64_t link_replayed(const struct link *l)
{
	return l->replay.resent;
}

uint64_t link_pings_waiting(const struct link *l)
{
	return l->pings - l->ponged;
}
