#include "link/pacing.h"

#include <string.h>

#include "link/link.h"

/* "0 ms" is somewhere below one: half of it serves better than nothing. */
#define RTT_UNDER_1MS_US 500
/* Bounds the products below 64 bits; a path slower than this is not one that a limit could help. */
#define RTT_MAX_MS 60000

void pacing_init(struct pacing *p)
{
	memset(p, 0, sizeof(*p));
	p->limit = LINK_INFLIGHT_MIN;
}

void pacing_restart(struct pacing *p)
{
	p->new_path = true;
	p->round = p->near = false;
	p->grown_at = 0;
	memset(p->rates, 0, sizeof(p->rates));
}

static void rtt_window(struct pacing *p, uint32_t us, uint64_t now_ms)
{
	if (p->new_path || !p->min_rtt_us[0]) {
		p->min_rtt_us[0] = us;
		p->min_rtt_us[1] = 0;
		p->window_ms = now_ms;
	} else if (now_ms - p->window_ms >= PACING_RTT_WINDOW_MS) {
		p->min_rtt_us[1] = p->min_rtt_us[0];
		p->min_rtt_us[0] = us;
		p->window_ms = now_ms;
	} else if (us < p->min_rtt_us[0]) {
		p->min_rtt_us[0] = us;
	}
}

void pacing_rtt(struct pacing *p, uint64_t rtt_ms, uint64_t now_ms)
{
	uint32_t us;

	if (rtt_ms > RTT_MAX_MS)
		rtt_ms = RTT_MAX_MS;
	p->near = p->near || !rtt_ms;
	us = rtt_ms ? (uint32_t)rtt_ms * 1000 : RTT_UNDER_1MS_US;
	rtt_window(p, us, now_ms);
	/* RFC 6298 section 2: the first sample is taken as it is, then alpha = 1/8 */
	p->srtt_us = p->new_path || !p->srtt_us ? us : p->srtt_us - p->srtt_us / 8 + us / 8;
	p->new_path = false;
}

uint32_t pacing_min_rtt_us(const struct pacing *p)
{
	if (p->min_rtt_us[1] && p->min_rtt_us[1] < p->min_rtt_us[0])
		return p->min_rtt_us[1];
	return p->min_rtt_us[0];
}

size_t pacing_bulk(const struct pacing *p)
{
	return p->near && p->limit > LINK_INFLIGHT_SHARED ? LINK_INFLIGHT_SHARED : p->limit;
}

void pacing_idle(struct pacing *p)
{
	p->round_idle = true;
}

static uint64_t best_rate(const struct pacing *p)
{
	uint64_t best = 0;

	for (size_t i = 0; i < PACING_RATES; i++)
		if (p->rates[i] > best)
			best = p->rates[i];
	return best;
}

static size_t clamp_limit(uint64_t v)
{
	if (v < LINK_INFLIGHT_MIN)
		return LINK_INFLIGHT_MIN;
	return v > LINK_INFLIGHT_MAX ? LINK_INFLIGHT_MAX : (size_t)v;
}

/* What the path needs as far as it is known; the present limit when it is not. */
static size_t product(const struct pacing *p)
{
	uint64_t rate = best_rate(p), rtt = pacing_min_rtt_us(p);

	if (!rate || !rtt || p->new_path)
		return p->limit;
	return clamp_limit(2 * rate / 1000 * rtt / 1000);
}

static void adapt(struct pacing *p, uint64_t rate)
{
	size_t wanted = product(p), twice = clamp_limit(2 * (uint64_t)p->limit), smaller = p->limit - p->limit / 8;

	if (p->round_blocked && rate > p->grown_at + p->grown_at / 4) {
		p->limit = wanted > twice ? wanted : twice;
		p->grown_at = rate;
	} else if (wanted > p->limit) {
		p->limit = wanted;
	} else if (!p->round_blocked && wanted < p->limit) {
		p->limit = smaller > wanted ? smaller : wanted;
		p->grown_at = 0;
	}
}

static void round_end(struct pacing *p, uint64_t acked, uint64_t now_ms)
{
	uint64_t rate = (acked - p->round_acked) * 1000 / (now_ms - p->round_ms);

	/* a session with little to say shows its own rate, not the path's */
	if (!p->round_idle || p->round_blocked || rate > best_rate(p))
		p->rates[p->rate_next++ % PACING_RATES] = rate;
	adapt(p, rate);
	p->round = false;
}

void pacing_ack(struct pacing *p, uint64_t acked, uint64_t sent, bool blocked, uint64_t now_ms)
{
	if (p->round) {
		p->round_blocked |= blocked;
		if (acked >= p->round_end && now_ms - p->round_ms >= PACING_ROUND_MIN_MS)
			round_end(p, acked, now_ms);
	}
	if (acked == sent) {
		/* the pause that follows belongs to no round */
		p->round = false;
	} else if (!p->round) {
		p->round = true;
		p->round_blocked = blocked;
		p->round_idle = false;
		p->round_ms = now_ms;
		p->round_acked = acked;
		p->round_end = sent;
	}
}
