#include "link/link.h"

#include <string.h>

#include "link/pacing.h"
#include "link_pair.h"
#include "unit.h"

/* ---- time */

/* Everything that `i` has to say reaches the other end at once. */
static void talk(struct pair *p, int i)
{
	size_t moved = 0;

	while (write_once(p, i, WIRE_MAX))
		CU_ASSERT_EQUAL(read_once(p, i, WIRE_MAX, SIZE_MAX, &moved), 0);
}

static void an_ack_is_due_after_32_kib_or_100_ms(void)
{
	struct pair *p = pair_new(LINK_ACK_BYTES + 100, 0, PULLS_FULL);
	struct link *b = link_of(p, 1);
	size_t moved = 0;

	pair_attach(p);
	write_once(p, 0, WIRE_MAX);
	CU_ASSERT_EQUAL(link_next_tick(b), UINT64_MAX);
	CU_ASSERT_EQUAL(read_once(p, 0, 104, SIZE_MAX, &moved), 0);
	CU_ASSERT_EQUAL(link_next_tick(b), p->now_ms + LINK_ACK_MS);
	p->now_ms += LINK_ACK_MS - 1;
	(void)link_tick(b, p->now_ms);
	CU_ASSERT_EQUAL(write_once(p, 1, WIRE_MAX), 0);
	p->now_ms++;
	(void)link_tick(b, p->now_ms);
	CU_ASSERT_EQUAL(write_once(p, 1, WIRE_MAX), 12);
	CU_ASSERT_EQUAL(get_u64(p->wire[1] + 4), 100);
	CU_ASSERT_EQUAL(link_next_tick(b), UINT64_MAX);
	CU_ASSERT_EQUAL(read_once(p, 0, WIRE_MAX, SIZE_MAX, &moved), 0);
	CU_ASSERT_EQUAL(write_once(p, 1, WIRE_MAX), 12);
	CU_ASSERT_EQUAL(get_u64(p->wire[1] + 16), LINK_ACK_BYTES + 100);
	pair_free(p);
}

static void silence_makes_a_heartbeat(void)
{
	struct pair *p = pair_new(0, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);
	uint64_t t = p->now_ms;

	pair_attach(p);
	CU_ASSERT_EQUAL(link_next_tick(a), UINT64_MAX);
	link_heartbeat(a, 27000, false);
	CU_ASSERT_EQUAL(link_next_tick(a), t + 27000);
	(void)link_tick(a, t + 26999);
	CU_ASSERT_EQUAL(write_once(p, 0, WIRE_MAX), 0);
	/* 27 s of silence are no reason for suspicion: nothing was asked */
	p->now_ms = t + 27000;
	CU_ASSERT_EQUAL(link_tick(a, p->now_ms), LINK_WELL);
	CU_ASSERT_EQUAL(link_next_tick(a), p->now_ms + 5000); /* the PING waits for link_out, but not for ever */
	talk(p, 0);
	CU_ASSERT_EQUAL(link_next_tick(a), p->now_ms + 5000); /* no round trip is known yet */
	p->now_ms += 40;
	talk(p, 1);
	CU_ASSERT_EQUAL(link_srtt_us(a), 40000);
	CU_ASSERT_EQUAL(link_min_rtt_us(a), 40000);
	CU_ASSERT_EQUAL(link_last_rx_ms(a), p->now_ms);
	CU_ASSERT_EQUAL(link_next_tick(a), p->now_ms + 27000);
	link_ping(a, p->now_ms);
	talk(p, 0);
	CU_ASSERT_EQUAL(link_next_tick(a), p->now_ms + 2000); /* and now 4 x 40 ms is below the floor */
	talk(p, 1);
	link_heartbeat(a, 27000, true);
	CU_ASSERT_EQUAL(link_next_tick(a), p->now_ms + 2000);
	pair_free(p);
}

/*   PING ───────────►✂ nothing ...            suspect after max(2 s, 4 x SRTT), 5 s at first, told once by next_tick
 *   bytes ◄────────── anything at all          well again
 */
static void silence_after_a_ping_is_suspect(void)
{
	struct pair *p = pair_new(0, 10, PULLS_FULL);
	struct link *a = link_of(p, 0);
	uint64_t t;

	p->end[1].quiet = true;
	pair_attach(p);
	link_heartbeat(a, 30000, false);
	link_ping(a, p->now_ms);
	talk(p, 0);
	t = p->now_ms;
	CU_ASSERT_EQUAL(link_tick(a, t + 4999), LINK_WELL);
	CU_ASSERT_EQUAL(link_next_tick(a), t + 5000);
	CU_ASSERT_EQUAL(link_tick(a, t + 5000), LINK_SUSPECT);
	CU_ASSERT_EQUAL(link_next_tick(a), t + 30000);
	CU_ASSERT_EQUAL(link_pings_waiting(a), 1);
	p->now_ms = t + 5500;
	talk(p, 1); /* the PONG, late: a round trip of 5.5 s */
	CU_ASSERT_EQUAL(link_tick(a, p->now_ms), LINK_WELL);
	CU_ASSERT_EQUAL(link_pings_waiting(a), 0);
	CU_ASSERT_EQUAL(link_srtt_us(a), 5500000);
	link_ping(a, p->now_ms);
	talk(p, 0);
	CU_ASSERT_EQUAL(link_next_tick(a), p->now_ms + 22000);
	p->now_ms += 1;
	talk(p, 1);
	pair_free(p);
}

static void unacked_bytes_are_outstanding_too(void)
{
	struct pair *p = pair_new(10, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);

	pair_attach(p);
	write_once(p, 0, WIRE_MAX);
	/* the round trip is taken while data is in flight: at once, then every second until it is answered */
	CU_ASSERT_EQUAL(link_next_tick(a), p->now_ms);
	(void)link_tick(a, p->now_ms);
	CU_ASSERT_EQUAL(write_once(p, 0, WIRE_MAX), 12);
	CU_ASSERT_EQUAL(link_next_tick(a), p->now_ms + 5000);
	CU_ASSERT_EQUAL(link_tick(a, p->now_ms + 5000), LINK_SUSPECT);
	CU_ASSERT_EQUAL(link_next_tick(a), UINT64_MAX);
	/* nothing is suspect on a link without a carrier, nor at once on its next one */
	link_detach(a, p->now_ms + 5000);
	CU_ASSERT_EQUAL(link_next_tick(a), UINT64_MAX);
	CU_ASSERT_EQUAL(link_tick(a, p->now_ms + 9000), LINK_WELL);
	CU_ASSERT_EQUAL(link_attach(a, 0, p->now_ms + 9000), 0);
	CU_ASSERT_EQUAL(link_tick(a, p->now_ms + 10999), LINK_WELL);
	pair_free(p);
}

/*   5 bytes of an ACK ──►✂ the carrier takes no more, and no end is found: all DATA is acked, no PING gets out
 *   a PING is due ...     2 s in use; suspect 5 s after that
 */
static void a_carrier_that_takes_nothing_is_suspect(void)
{
	struct pair *p = pair_new(0, 10, PULLS_FULL);
	struct link *a = link_of(p, 0);
	uint64_t t = p->now_ms;

	pair_attach(p);
	link_heartbeat(a, 30000, true);
	talk(p, 1);
	(void)link_tick(a, t + LINK_ACK_MS);
	CU_ASSERT_EQUAL(write_once(p, 0, 5), 5);
	CU_ASSERT_EQUAL(link_next_tick(a), t + 2000);
	p->now_ms = t + 2000;
	CU_ASSERT_EQUAL(link_tick(a, p->now_ms), LINK_WELL);
	CU_ASSERT_EQUAL(write_once(p, 0, 0), 0);
	CU_ASSERT_EQUAL(link_pings_waiting(a), 0);
	CU_ASSERT_EQUAL(link_next_tick(a), t + 7000);
	CU_ASSERT_EQUAL(link_tick(a, t + 7000), LINK_SUSPECT);
	pair_free(p);
}

static void pongs_that_answer_nothing_are_ignored(void)
{
	struct pair *p = pair_new(0, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);
	uint8_t f[12];

	pair_attach(p);
	link_ping(a, p->now_ms);
	talk(p, 0);
	pair_detach(p);
	pair_attach(p);
	frame_header(f, FRAME_PONG, 8);
	for (uint64_t v = 0; v < 3; v++) {
		put_u64(f + 4, v);
		CU_ASSERT_EQUAL(link_recv(a, f, sizeof(f), p->now_ms + 5), 0);
	}
	put_u64(f + 4, UINT64_MAX);
	CU_ASSERT_EQUAL(link_recv(a, f, sizeof(f), p->now_ms + 5), 0);
	CU_ASSERT_EQUAL(link_srtt_us(a), 0);
	pair_free(p);
}

static void a_link_that_waits_is_not_woken_without_need(void)
{
	struct pair *p = pair_new(STREAM_MAX, 10, PULLS_FULL);
	struct link *a = link_of(p, 0);
	unsigned wakes = 0;

	pair_attach(p);
	link_heartbeat(a, 30000, true);
	while (p->now_ms < 61000) {
		uint64_t next;

		(void)link_tick(a, p->now_ms);
		p->wire_len[0] = 0;
		while (write_once(p, 0, WIRE_MAX))
			;
		next = link_next_tick(a);
		CU_ASSERT_FATAL(next > p->now_ms || wakes == 0);
		p->now_ms = next;
		wakes++;
	}
	CU_ASSERT(wakes < 40);
	pair_free(p);
}

/* ---- pacing */

/* One round of `ms` in which `bytes` were acked. */
static void round_of(struct pacing *p, uint64_t *acked, uint64_t bytes, uint64_t *now, uint64_t ms, bool blocked)
{
	*acked += bytes;
	*now += ms;
	pacing_ack(p, *acked, *acked + bytes, blocked, *now);
}

static void the_limit_grows_when_acks_take_longer_than_pings(void)
{
	struct pacing p;
	uint64_t acked = 0, now = 0, rate;

	pacing_init(&p);
	pacing_rtt(&p, 1, now);
	/* the loop takes 5 ms although a PING takes 1, up to 400 000 bytes a millisecond */
	for (int i = 0; i < 40; i++) {
		rate = p.limit / 5 < 400000 ? p.limit / 5 : 400000;
		round_of(&p, &acked, 5 * rate, &now, 5, rate < 400000);
	}
	CU_ASSERT(p.limit >= 5 * 400000);
	CU_ASSERT(p.limit <= LINK_INFLIGHT_MAX);
}

static void the_limit_falls_when_it_is_not_what_blocks(void)
{
	struct pacing p;
	uint64_t acked = 0, now = 0;

	pacing_init(&p);
	pacing_rtt(&p, 50, now);
	for (int i = 0; i < 12; i++)
		round_of(&p, &acked, p.limit, &now, 50, true);
	CU_ASSERT_EQUAL(p.limit, LINK_INFLIGHT_MAX);
	for (int i = 0; i < 90; i++)
		round_of(&p, &acked, 500000, &now, 50, false);
	CU_ASSERT(p.limit >= 1000000 && p.limit < 1010000);
	/* a session that has little to say shows nothing about the path */
	for (int i = 0; i < 60; i++) {
		round_of(&p, &acked, 5000, &now, 50, false);
		pacing_idle(&p);
	}
	CU_ASSERT(p.limit >= 1000000);
}

static void the_least_round_trip_is_of_the_last_ten_seconds(void)
{
	struct pacing p;

	pacing_init(&p);
	CU_ASSERT_EQUAL(pacing_min_rtt_us(&p), 0);
	pacing_rtt(&p, 0, 1000);
	CU_ASSERT_EQUAL(pacing_min_rtt_us(&p), 500);
	for (uint64_t t = 2000; t < 6000; t += 1000)
		pacing_rtt(&p, 80, t);
	CU_ASSERT_EQUAL(pacing_min_rtt_us(&p), 500);
	for (uint64_t t = 6000; t <= 11000; t += 1000)
		pacing_rtt(&p, 80, t);
	CU_ASSERT_EQUAL(pacing_min_rtt_us(&p), 80000);
	pacing_rtt(&p, 20, 12000);
	CU_ASSERT_EQUAL(pacing_min_rtt_us(&p), 20000);
	/* another carrier is another path */
	pacing_restart(&p);
	pacing_rtt(&p, 90, 13000);
	CU_ASSERT_EQUAL(pacing_min_rtt_us(&p), 90000);
	CU_ASSERT_EQUAL(p.srtt_us, 90000);
}

static void bulk_beside_others_leaves_little_in_flight_on_a_short_path(void)
{
	struct pacing p;

	pacing_init(&p);
	CU_ASSERT_EQUAL(pacing_bulk(&p), p.limit); /* nothing is known yet */
	pacing_rtt(&p, 1, 1000);
	CU_ASSERT_EQUAL(pacing_bulk(&p), p.limit);
	pacing_rtt(&p, 0, 2000);
	CU_ASSERT_EQUAL(pacing_bulk(&p), LINK_INFLIGHT_SHARED);
	/* later ones may have waited behind what is in flight */
	for (uint64_t t = 3000; t < 60000; t += 1000)
		pacing_rtt(&p, 7, t);
	CU_ASSERT_EQUAL(pacing_bulk(&p), LINK_INFLIGHT_SHARED);
	pacing_restart(&p);
	pacing_rtt(&p, 50, 60000);
	CU_ASSERT_EQUAL(pacing_bulk(&p), p.limit);
}

/* ---- a simulated path: 25 ms each way, 200 MB/s; steps of 0.1 ms */

#define STEPS_MS 10
#define PATH_STEPS (25 * STEPS_MS)
#define PATH_STEP_BYTES 20000

struct path {
	uint8_t *slot[PATH_STEPS]; /* what arrives at that step */
	size_t len[PATH_STEPS];
	uint8_t queue[LINK_UNSENT_HIGH + 4096]; /* the carrier's unsent bytes */
	size_t queued;
};

static size_t endless_pull(void *arg, uint8_t *p, size_t cap)
{
	(void)arg;
	memset(p, 0, cap);
	return cap;
}

static size_t no_pull(void *arg, uint8_t *p, size_t cap)
{
	(void)arg;
	(void)p;
	(void)cap;
	return 0;
}

static int sink(void *arg, const uint8_t *p, size_t n)
{
	(void)p;
	*(uint64_t *)arg += n;
	return 0;
}

static void path_fill(struct path *w, struct link *from, uint64_t now_ms)
{
	struct iovec iov[16];
	int n;

	while ((n = link_out(from, iov, 16, w->queued, now_ms)) > 0) {
		size_t sum = 0;

		for (int i = 0; i < n; i++) {
			CU_ASSERT_FATAL(w->queued + iov[i].iov_len <= sizeof(w->queue));
			memcpy(w->queue + w->queued, iov[i].iov_base, iov[i].iov_len);
			w->queued += iov[i].iov_len;
			sum += iov[i].iov_len;
		}
		link_sent(from, sum, now_ms);
	}
}

static void path_step(struct path *w, struct link *from, struct link *to, size_t step)
{
	uint64_t now_ms = step / STEPS_MS;
	size_t at = step % PATH_STEPS, n;

	if (w->len[at])
		CU_ASSERT_EQUAL_FATAL(link_recv(to, w->slot[at], w->len[at], now_ms), 0);
	if (link_next_tick(from) <= now_ms)
		CU_ASSERT_EQUAL(link_tick(from, now_ms), LINK_WELL);
	path_fill(w, from, now_ms);
	n = w->queued < PATH_STEP_BYTES ? w->queued : PATH_STEP_BYTES;
	memcpy(w->slot[at], w->queue, n);
	memmove(w->queue, w->queue + n, w->queued - n);
	w->queued -= n;
	w->len[at] = n;
}

static struct path *path_new(void)
{
	struct path *w = must_alloc(sizeof(*w));

	memset(w, 0, sizeof(*w));
	for (size_t i = 0; i < PATH_STEPS; i++)
		w->slot[i] = must_alloc(PATH_STEP_BYTES);
	return w;
}

static void path_free(struct path *w)
{
	for (size_t i = 0; i < PATH_STEPS; i++)
		free(w->slot[i]);
	free(w);
}

static void a_long_fast_path_is_filled_within_two_seconds(void)
{
	static const struct link_callbacks source = {endless_pull, sink, NULL}, drain = {no_pull, sink, NULL};
	uint64_t got[2] = {0, 0}, at_2s = 0;
	struct link *a = link_new(&source, &got[0]), *b = link_new(&drain, &got[1]);
	struct path *there = path_new(), *back = path_new();
	size_t full_at = 0;

	CU_ASSERT_FATAL(a && b);
	CU_ASSERT_EQUAL(link_attach(a, 0, 0) + link_attach(b, 0, 0), 0);
	for (size_t step = 0; step < 3000 * STEPS_MS; step++) {
		uint64_t unacked;

		path_step(there, a, b, step);
		path_step(back, b, a, step);
		unacked = link_tx_offset(a) - link_acked(a);
		CU_ASSERT_FATAL(unacked <= link_inflight_limit(a) && link_inflight_limit(a) <= LINK_INFLIGHT_MAX);
		if (!full_at && unacked >= 10000000)
			full_at = step;
		if (step == 2000 * STEPS_MS)
			at_2s = got[1];
	}
	CU_ASSERT(full_at && full_at < 1000 * STEPS_MS);
	CU_ASSERT(link_min_rtt_us(a) >= 50000 && link_min_rtt_us(a) < 53000);
	/* the third second runs at the path's speed */
	CU_ASSERT(got[1] - at_2s > 190000000);
	link_free(&a);
	link_free(&b);
	path_free(there);
	path_free(back);
}

static const struct unit_test tests[] = {
	{"an ACK is due after 32 KiB or 100 ms", an_ack_is_due_after_32_kib_or_100_ms},
	{"a heartbeat is sent when nothing was received, sooner when in use", silence_makes_a_heartbeat},
	{"silence with a PING outstanding is suspect after max(2 s, 4 x SRTT)", silence_after_a_ping_is_suspect},
	{"un-acked bytes are outstanding too", unacked_bytes_are_outstanding_too},
	{"and a PING that the carrier does not take", a_carrier_that_takes_nothing_is_suspect},
	{"PONGs that answer nothing asked on this carrier are ignored", pongs_that_answer_nothing_are_ignored},
	{"a link that waits is not woken without need", a_link_that_waits_is_not_woken_without_need},
	{"the limit grows when acks take longer than PINGs say", the_limit_grows_when_acks_take_longer_than_pings},
	{"the limit falls when it is not what blocks", the_limit_falls_when_it_is_not_what_blocks},
	{"the least round trip is that of the last ten seconds", the_least_round_trip_is_of_the_last_ten_seconds},
	{"bulk that has company leaves little in flight where a PING takes no millisecond",
	 bulk_beside_others_leaves_little_in_flight_on_a_short_path},
	{"a path of 50 ms and 200 MB/s is filled within two seconds", a_long_fast_path_is_filled_within_two_seconds},
};

UNIT_MAIN("link_time", tests)
