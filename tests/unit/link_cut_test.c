#include "link/link.h"

#include <string.h>

#include "link_pair.h"
#include "unit.h"

/* ---- cut everywhere
 *
 *   carrier 1:  ├──────── k bytes of one direction ──────┤✂   both detach, both attach with what the other received
 *   carrier 2:  ├──── j bytes ────┤✂                          (second cut: while replaying, and after)
 *   carrier 3:  ├─────────────────────────────────── … done
 */

static void cut_run(struct pair *p, int way, size_t k, int way2, size_t j, const struct script *pace)
{
	struct script s = *pace;

	pair_rewind(p);
	pair_attach(p);
	s.cut[way] = k;
	if (!pair_run(p, &s)) {
		pair_detach(p);
		pair_attach(p);
		s.cut[way] = SIZE_MAX;
		s.cut[way2] = j;
		if (!pair_run(p, &s)) {
			pair_detach(p);
			pair_attach(p);
			s.cut[way2] = SIZE_MAX;
			CU_ASSERT_TRUE(pair_run(p, &s));
		}
	}
	if (!delivered(p)) {
		printf("cut %d at %zu, then %d at %zu\n", way, k, way2, j);
		CU_FAIL("bytes were lost, repeated or disordered");
	}
}

/* Lengths of both directions' transcripts when nothing is cut. */
static void transcript(struct pair *p, const struct script *pace, size_t len[2])
{
	pair_rewind(p);
	pair_attach(p);
	CU_ASSERT_TRUE(pair_run(p, pace));
	CU_ASSERT_TRUE(delivered(p));
	len[0] = p->wire_len[0];
	len[1] = p->wire_len[1];
}

static void cut_everywhere(struct pair *p, const struct script *pace, size_t step, size_t step2)
{
	size_t len[2];

	p->end[0].controls = p->end[1].controls = true;
	transcript(p, pace, len);
	for (int way = 0; way < 2; way++)
		for (size_t k = 0; k <= len[way]; k += step) {
			cut_run(p, way, k, way, SIZE_MAX, pace);
			for (size_t j = k % step2; k % 13 == 0 && j <= len[0]; j += step2) {
				cut_run(p, way, k, way, j, pace);
				cut_run(p, way, k, 1 - way, j, pace);
			}
		}
	CU_ASSERT(p->end[0].drains > 0 && p->end[1].drains > 0);
}

static void a_cut_at_any_byte_loses_nothing(void)
{
	struct pair *p = pair_new(3000, 2500, PULLS_MIXED);

	cut_everywhere(p, &WHOLE, 1, 61);
	pair_free(p);
}

static void a_cut_of_small_writes_loses_nothing(void)
{
	static const struct script paces[] = {
		{1, WIRE_MAX, {SIZE_MAX, SIZE_MAX}},
		{WIRE_MAX, 1, {SIZE_MAX, SIZE_MAX}},
		{7, 5, {SIZE_MAX, SIZE_MAX}},
	};
	struct pair *p = pair_new(1500, 1100, PULLS_MIXED);

	for (size_t i = 0; i < sizeof(paces) / sizeof(paces[0]); i++)
		cut_everywhere(p, &paces[i], 5, 301);
	pair_free(p);
}

static void a_cut_of_bulk_loses_nothing(void)
{
	struct pair *p = pair_new(100000, 80000, PULLS_BULK);
	struct script slow = WHOLE;

	cut_everywhere(p, &WHOLE, 997, 20011);
	slow.write_max = 5000;
	cut_everywhere(p, &slow, 4999, 20011);
	pair_free(p);
}

static void one_byte_at_a_time_arrives_whole(void)
{
	static const struct script bytes = {1, 1, {SIZE_MAX, SIZE_MAX}};
	struct pair *p = pair_new(20000, 10000, PULLS_BULK);

	pair_attach(p);
	CU_ASSERT_TRUE(pair_run(p, &bytes));
	CU_ASSERT_TRUE(delivered(p));
	CU_ASSERT_EQUAL(link_replayed(link_of(p, 0)), 0);
	CU_ASSERT(link_memory(link_of(p, 0)) <= 12); /* a PING half written */
	pair_free(p);
}

static void every_single_iovec_suffices(void)
{
	struct pair *p = pair_new(50000, 0, PULLS_BULK);
	struct script s = WHOLE;
	struct iovec iov;

	pair_attach(p);
	s.cut[0] = 20000;
	CU_ASSERT_FALSE(pair_run(p, &s));
	pair_detach(p);
	pair_attach(p);
	while (link_out(link_of(p, 0), &iov, 1, 0, p->now_ms) == 1) {
		CU_ASSERT_EQUAL(link_recv(link_of(p, 1), iov.iov_base, iov.iov_len, p->now_ms), 0);
		link_sent(link_of(p, 0), iov.iov_len, p->now_ms);
	}
	CU_ASSERT_EQUAL(p->end[1].got_len, 50000);
	CU_ASSERT_EQUAL(memcmp(p->end[1].got, p->end[0].src, 50000), 0);
	CU_ASSERT(link_replayed(link_of(p, 0)) > 0);
	pair_free(p);
}

static const struct unit_test tests[] = {
	{"a carrier cut at any byte, and again at another, loses nothing", a_cut_at_any_byte_loses_nothing},
	{"a cut amid writes and reads of a few bytes loses nothing", a_cut_of_small_writes_loses_nothing},
	{"a cut amid bulk loses nothing", a_cut_of_bulk_loses_nothing},
	{"one byte at a time arrives whole", one_byte_at_a_time_arrives_whole},
	{"one iovec at a time suffices, also in a replay", every_single_iovec_suffices},
};

UNIT_MAIN("link_cut", tests)
