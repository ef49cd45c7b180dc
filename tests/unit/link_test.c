#include "alloc_fail.h"

#include "link/link.h"

#include <string.h>

#include "base/err.h"
#include "link_pair.h"
#include "unit.h"

/* ---- attach */

static void a_bad_offset_leaves_the_link_as_it_was(void)
{
	struct pair *p = pair_new(9000, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);
	size_t moved = 0;
	uint64_t memory;

	CU_ASSERT_EQUAL(link_state(a), LINK_NEW);
	CU_ASSERT_EQUAL(link_attach(a, 1, 0), ADIT_ERR_PROTO);
	pair_attach(p);
	CU_ASSERT_EQUAL(link_attach(a, 0, 0), ADIT_ERR_INVALID);
	write_once(p, 0, 5004); /* 5000 bytes of payload were handed to a carrier, of 9000 pulled */
	CU_ASSERT_EQUAL(read_once(p, 0, 1004, SIZE_MAX, &moved), 0);
	pair_detach(p);
	memory = link_memory(a);
	CU_ASSERT_FALSE(link_may_attach(a, 5001));
	CU_ASSERT_EQUAL(link_attach(a, 5001, 0), ADIT_ERR_PROTO);
	CU_ASSERT_EQUAL(link_state(a), LINK_DETACHED);
	CU_ASSERT_EQUAL(link_memory(a), memory);
	CU_ASSERT_EQUAL(link_recv(a, (const uint8_t *)"\0", 1, 0), ADIT_ERR_INVALID);
	pair_attach(p);
	CU_ASSERT_EQUAL(link_acked(a), 1000);
	pair_detach(p);
	CU_ASSERT_EQUAL(link_attach(a, 999, 0), ADIT_ERR_PROTO);
	pair_attach(p);
	CU_ASSERT_TRUE(pair_run(p, &WHOLE));
	CU_ASSERT_TRUE(delivered(p));
	CU_ASSERT_EQUAL(link_replayed(a), 4000);
	pair_free(p);
}

static int ack(struct link *l, uint64_t v, uint64_t now_ms)
{
	uint8_t f[12];

	frame_header(f, FRAME_ACK, 8);
	put_u64(f + 4, v);
	return link_recv(l, f, sizeof(f), now_ms);
}

static void an_ack_outside_what_was_carried_is_refused(void)
{
	struct pair *p = pair_new(9000, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);

	pair_attach(p);
	CU_ASSERT_EQUAL(ack(a, 1, 1000), ADIT_ERR_PROTO);
	write_once(p, 0, 5004);
	CU_ASSERT_EQUAL(ack(a, 5001, 1000), ADIT_ERR_PROTO);
	CU_ASSERT_EQUAL(ack(a, 5000, 1000), 0);
	CU_ASSERT_EQUAL(ack(a, 5000, 1000), 0);
	CU_ASSERT_EQUAL(ack(a, 4999, 1000), ADIT_ERR_PROTO);
	CU_ASSERT_EQUAL(link_acked(a), 5000);
	/* carried by a former carrier, not by this one: 5000 was what it got, told at the attach */
	write_once(p, 0, 1000);
	link_detach(a, 1000);
	CU_ASSERT_EQUAL(link_attach(a, 5500, 1000), 0);
	CU_ASSERT_EQUAL(ack(a, 6000, 1000), ADIT_ERR_PROTO);
	pair_free(p);
}

/* ---- bounds */

static void the_limit_stops_the_pulling(void)
{
	struct pair *p = pair_new(STREAM_MAX, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);
	size_t moved = 0;

	pair_attach(p);
	while (write_once(p, 0, WIRE_MAX))
		;
	CU_ASSERT(link_tx_offset(a) > LINK_INFLIGHT_MIN - 2 * FRAME_DATA_MAX);
	CU_ASSERT(link_tx_offset(a) <= LINK_INFLIGHT_MIN);
	CU_ASSERT(link_memory(a) <= LINK_INFLIGHT_MIN + FRAME_DATA_MAX + 64);
	CU_ASSERT_EQUAL(read_once(p, 0, WIRE_MAX, SIZE_MAX, &moved), 0);
	write_once(p, 1, WIRE_MAX);
	CU_ASSERT_EQUAL(read_once(p, 1, WIRE_MAX, SIZE_MAX, &moved), 0);
	CU_ASSERT(write_once(p, 0, WIRE_MAX) > 0);
	CU_ASSERT_TRUE(pair_run(p, &WHOLE));
	CU_ASSERT_TRUE(delivered(p));
	CU_ASSERT_EQUAL(link_memory(a), 0);
	pair_free(p);
}

static void tiny_frames_cost_no_more_memory_than_big_ones(void)
{
	static const size_t tiny[] = {1, 0};
	struct pair *p = pair_new(STREAM_MAX, 0, tiny);

	pair_attach(p);
	while (write_once(p, 0, WIRE_MAX))
		;
	CU_ASSERT(link_memory(link_of(p, 0)) <= LINK_INFLIGHT_MIN + FRAME_DATA_MAX + 64);
	CU_ASSERT(link_tx_offset(link_of(p, 0)) > 4000);
	pair_free(p);
}

static size_t out_bytes(struct link *l, size_t unsent)
{
	struct iovec iov[64];
	int n = link_out(l, iov, 64, unsent, 1000);
	size_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += iov[i].iov_len;
	return sum;
}

static void the_carrier_is_kept_between_low_and_high(void)
{
	struct pair *p = pair_new(STREAM_MAX, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);

	pair_attach(p);
	CU_ASSERT_EQUAL(out_bytes(a, LINK_UNSENT_LOW), 0);
	CU_ASSERT_EQUAL(link_tx_offset(a), 0);
	CU_ASSERT_EQUAL(out_bytes(a, 0), 6 * (size_t)(FRAME_HEADER_LEN + FRAME_DATA_MAX));
	CU_ASSERT_EQUAL(out_bytes(a, LINK_UNSENT_LOW - 1), 4 * (size_t)(FRAME_HEADER_LEN + FRAME_DATA_MAX));
	CU_ASSERT_EQUAL(link_tx_offset(a), 6 * (size_t)FRAME_DATA_MAX);
	link_sent(a, 10, 1000);
	/* a frame once begun is always described, and so is control */
	CU_ASSERT_EQUAL(out_bytes(a, LINK_UNSENT_LOW), FRAME_HEADER_LEN + FRAME_DATA_MAX - 10);
	CU_ASSERT_EQUAL(link_control(a, FRAME_DRAIN, "\0\0\1\0", 4), 0);
	CU_ASSERT_EQUAL(out_bytes(a, LINK_UNSENT_HIGH), FRAME_HEADER_LEN + FRAME_DATA_MAX - 10 + 8);
	pair_free(p);
}

static void a_ping_flood_is_answered_by_the_latest_few(void)
{
	struct pair *p = pair_new(0, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);
	uint8_t f[12];

	pair_attach(p);
	for (uint64_t i = 1; i <= 100000; i++) {
		frame_header(f, FRAME_PING, 8);
		put_u64(f + 4, i);
		CU_ASSERT_EQUAL_FATAL(link_recv(a, f, sizeof(f), 1000), 0);
		/* the carrier takes nothing: what was composed once waits, and is not added to */
		(void)out_bytes(a, LINK_UNSENT_HIGH);
	}
	CU_ASSERT(link_memory(a) <= 8 * 12);
	CU_ASSERT_EQUAL(write_once(p, 0, WIRE_MAX), 12);
	CU_ASSERT_EQUAL(write_once(p, 0, WIRE_MAX), 8 * 12);
	CU_ASSERT_EQUAL(p->wire[0][0], FRAME_PONG);
	CU_ASSERT_EQUAL(get_u64(p->wire[0] + 4), 1);
	for (size_t i = 1; i < 9; i++)
		CU_ASSERT_EQUAL(get_u64(p->wire[0] + 12 * i + 4), 100000 - 8 + i);
	pair_free(p);
}

static void control_is_bounded_and_close_comes_last(void)
{
	struct pair *p = pair_new(10, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);

	pair_attach(p);
	for (int i = 0; i < LINK_CONTROL_MAX - 1; i++)
		CU_ASSERT_EQUAL(link_control(a, FRAME_DRAIN, "\0\0\1\0", 4), 0);
	CU_ASSERT_EQUAL(link_control(a, FRAME_DRAIN, "\0\0\1\0", 4), ADIT_ERR_LIMIT);
	CU_ASSERT_EQUAL(link_close(a, 503, "full"), 0);
	CU_ASSERT_EQUAL(link_control(a, FRAME_DATA, "x", 1), ADIT_ERR_INVALID);
	/* nothing follows CLOSE, whether it is out or not */
	CU_ASSERT_EQUAL(link_close(a, 400, "again"), 0);
	while (write_once(p, 0, WIRE_MAX))
		;
	CU_ASSERT_EQUAL(link_control(a, FRAME_DRAIN, "\0\0\1\0", 4), 0);
	link_ping(a, p->now_ms);
	CU_ASSERT_EQUAL(write_once(p, 0, WIRE_MAX), 0);
	CU_ASSERT_EQUAL(p->wire_len[0], (LINK_CONTROL_MAX - 1) * 8 + 10);
	CU_ASSERT_EQUAL(memcmp(p->wire[0] + p->wire_len[0] - 10, "\x09\0\0\6\x01\xf7" "full", 10), 0);
	pair_free(p);
}

static void control_goes_between_data_frames_never_inside(void)
{
	struct pair *p = pair_new(40000, 0, PULLS_FULL);
	struct link *a = link_of(p, 0);
	const uint8_t *w = p->wire[0];

	pair_attach(p);
	write_once(p, 0, 100);
	CU_ASSERT_EQUAL(link_control(a, FRAME_DRAIN, "\0\0\1\0", 4), 0);
	write_once(p, 0, WIRE_MAX);
	CU_ASSERT_EQUAL(w[0], FRAME_DATA);
	CU_ASSERT_EQUAL(w[FRAME_HEADER_LEN + FRAME_DATA_MAX], FRAME_DRAIN);
	CU_ASSERT_EQUAL(w[FRAME_HEADER_LEN + FRAME_DATA_MAX + 8], FRAME_DATA);
	pair_free(p);
}

/* ---- ends */

static void a_dead_link_does_nothing(void)
{
	struct pair *p = pair_new(50000, 50000, PULLS_FULL);
	struct link *a = link_of(p, 0);
	struct iovec iov[4];

	pair_attach(p);
	write_once(p, 0, 20000);
	link_kill(a);
	CU_ASSERT_EQUAL(link_state(a), LINK_DEAD);
	CU_ASSERT_EQUAL(link_memory(a), 0);
	CU_ASSERT_EQUAL(link_out(a, iov, 4, 0, 1), 0);
	link_sent(a, 10, 1);
	CU_ASSERT_EQUAL(link_recv(a, p->wire[0], 4, 1), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(link_attach(a, 0, 1), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(link_close(a, 410, "gone"), 0);
	link_detach(a, 1);
	link_ping(a, 1);
	CU_ASSERT_EQUAL(link_tick(a, 1000000), LINK_WELL);
	CU_ASSERT_EQUAL(link_next_tick(a), UINT64_MAX);
	CU_ASSERT_EQUAL(link_state(a), LINK_DEAD);
	CU_ASSERT_EQUAL(link_memory(a), 0);
	pair_free(p);
}

static void a_callback_may_kill_or_refuse(void)
{
	struct pair *p = pair_new(50000, 0, PULLS_FULL);
	size_t moved = 0;

	pair_attach(p);
	write_once(p, 0, WIRE_MAX);
	p->end[1].deliver_error = ADIT_ERR_RESET;
	CU_ASSERT_EQUAL(read_once(p, 0, 100, SIZE_MAX, &moved), ADIT_ERR_RESET);
	p->end[1].deliver_error = 0;
	p->end[1].kill_in_deliver = true;
	CU_ASSERT_EQUAL(read_once(p, 0, WIRE_MAX, SIZE_MAX, &moved), 0);
	CU_ASSERT_EQUAL(link_state(link_of(p, 1)), LINK_DEAD);
	CU_ASSERT(p->end[1].got_len <= 2 * FRAME_DATA_MAX);
	pair_free(p);
}

static void each_failed_allocation_is_survived(void)
{
	struct pair *p = pair_new(60000, 40000, PULLS_BULK);
	struct script s = WHOLE;
	struct link *none;
	bool failed;
	long at = 0;

	alloc_fail_at(0, 0);
	none = pair_link(&p->end[0]);
	CU_ASSERT_PTR_NULL(none);
	CU_ASSERT_TRUE(alloc_fail_stop());
	s.read_max = 1000;
	p->end[0].controls = p->end[1].controls = true;
	do {
		int lost = 0;

		pair_rewind(p);
		pair_attach(p);
		alloc_fail_at(at++, 0);
		/* when a read fails, that carrier is lost and the link goes on over another */
		while (!pair_run(p, &s) && lost++ < 3) {
			pair_detach(p);
			pair_attach(p);
		}
		failed = alloc_fail_stop();
		CU_ASSERT_TRUE(delivered(p));
	} while (failed);
	CU_ASSERT(at > 10);
	pair_free(p);
}

static const struct unit_test tests[] = {
	{"an attach with a bad offset leaves the link as it was", a_bad_offset_leaves_the_link_as_it_was},
	{"an ACK outside what this carrier carried is refused", an_ack_outside_what_was_carried_is_refused},
	{"the in-flight limit stops the pulling, an ack lets it go on", the_limit_stops_the_pulling},
	{"tiny frames cost no more memory than big ones", tiny_frames_cost_no_more_memory_than_big_ones},
	{"the carrier is kept between LOW and HIGH", the_carrier_is_kept_between_low_and_high},
	{"a flood of PINGs is answered by the latest few", a_ping_flood_is_answered_by_the_latest_few},
	{"control frames are bounded, and CLOSE has its place, last", control_is_bounded_and_close_comes_last},
	{"control goes between DATA frames, never inside", control_goes_between_data_frames_never_inside},
	{"a dead link does nothing and holds nothing", a_dead_link_does_nothing},
	{"a callback may kill the link or refuse the bytes", a_callback_may_kill_or_refuse},
	{"each allocation that fails is survived", each_failed_allocation_is_survived},
};

UNIT_MAIN("link", tests)
