/* bucket and pacer: what is taken in a time, who is lent what in which order, and what comes back. */
#include "loop_script.h"

#include "base/bucket.h"
#include "http/half.h"
#include "rules/pacer.h"
#include "unit.h"

/* ---- bucket */

static void test_bucket(void)
{
	struct bucket b;

	bucket_init(&b, 10, 5, 1000);
	CU_ASSERT(bucket_take(&b, 5, 1000) && !bucket_take(&b, 1, 1000));
	CU_ASSERT_EQUAL(bucket_wait_ms(&b, 1, 1000), 100);
	CU_ASSERT_EQUAL(bucket_wait_ms(&b, 5, 1000), 500);
	CU_ASSERT(!bucket_take(&b, 1, 1099) && bucket_take(&b, 1, 1100));
	bucket_give(&b, 2);
	CU_ASSERT(bucket_take(&b, 2, 1100) && !bucket_take(&b, 1, 1100));
	/* a year later it is full, and no fuller; what is given back does not overflow it either */
	CU_ASSERT(!bucket_take(&b, 6, UINT64_C(1) << 35) && bucket_take(&b, 5, UINT64_C(1) << 35));
	bucket_give(&b, 100);
	CU_ASSERT(bucket_take(&b, 5, UINT64_C(1) << 35) && !bucket_take(&b, 1, UINT64_C(1) << 35));
}

static void test_bucket_extremes(void)
{
	struct bucket b;

	bucket_init(&b, BUCKET_MAX, BUCKET_MAX, 0);
	CU_ASSERT(bucket_take(&b, BUCKET_MAX, 0) && !bucket_take(&b, 1, 0));
	CU_ASSERT_EQUAL(bucket_wait_ms(&b, BUCKET_MAX, 0), 1000);
	CU_ASSERT(bucket_take(&b, BUCKET_MAX, UINT64_MAX));
	bucket_init(&b, 1, 1, 0);
	CU_ASSERT(bucket_take(&b, 1, 0));
	CU_ASSERT_EQUAL(bucket_wait_ms(&b, 1, 0), 1000);
	bucket_change(&b, 1000, 10, 0);
	CU_ASSERT_EQUAL(bucket_wait_ms(&b, 1, 0), 1);
	CU_ASSERT(bucket_take(&b, 10, 10));
	bucket_change(&b, 1, 1, 1000);
	CU_ASSERT(bucket_take(&b, 1, 1000) && !bucket_take(&b, 1, 1000));
}

/* ---- pacer */

/* A sender that uses at once what it is lent, or lets it lie. */
struct sender {
	struct lane lane;
	size_t sent;
	bool quiet, again; /* again: wants as much as it has sent */
};

static void lend(void *arg, size_t n)
{
	struct sender *s = arg;

	if (s->quiet)
		return;
	s->sent += n;
	lane_used(&s->lane, n);
	if (s->again)
		lane_want(&s->lane, n);
}

static void run_until(struct loop *l, uint64_t ms)
{
	while (loop_turn(l) || loop_jump(l, ms))
		;
	l->ms = ms;
}

static void begin(struct sender *s, struct pacer *p, size_t want)
{
	memset(s, 0, sizeof(*s));
	lane_init(&s->lane, p, lend, s);
	lane_want(&s->lane, want);
}

static void test_rate(void)
{
	struct loop *l = loop_new();
	struct pacer *p = pacer_new(l, 10000);
	struct sender s;

	begin(&s, p, 1000000);
	CU_ASSERT_EQUAL(s.sent, 2500); /* what a quarter of a second has saved up */
	run_until(l, l->ms + 1000);
	CU_ASSERT(s.sent > 12000 && s.sent <= 12500);
	run_until(l, l->ms + 10000);
	CU_ASSERT(s.sent > 112000 && s.sent <= 112500);
	pacer_change(p, 1000000);
	run_until(l, l->ms + 500);
	CU_ASSERT(s.sent > 560000 && s.sent <= 870000);
	lane_end(&s.lane);
	pacer_unref(&p);
	loop_free(&l);
}

/* A small want is met in full, and is never rounded up. */
static void test_exact(void)
{
	struct loop *l = loop_new();
	struct pacer *p = pacer_new(l, 1024);
	struct sender s;

	begin(&s, p, 1);
	CU_ASSERT_EQUAL(s.sent, 1);
	lane_want(&s.lane, 300);
	run_until(l, l->ms + 1000);
	CU_ASSERT_EQUAL(s.sent, 301);
	run_until(l, l->ms + 1000);
	CU_ASSERT_EQUAL(s.sent, 301);
	lane_end(&s.lane);
	pacer_unref(&p);
	loop_free(&l);
}

/* Three that want for ever share alike, with one that came first and lets lie what it is lent. */
static void test_fair(void)
{
	struct loop *l = loop_new();
	struct pacer *p = pacer_new(l, 100000);
	struct sender quiet, s[3];

	memset(&quiet, 0, sizeof(quiet));
	quiet.quiet = true;
	lane_init(&quiet.lane, p, lend, &quiet);
	lane_want(&quiet.lane, 1000000);
	CU_ASSERT(quiet.lane.lent <= 5000 * 3 / 2);
	for (int i = 0; i < 3; i++) {
		begin(&s[i], p, 0);
		s[i].again = true;
	}
	for (int i = 0; i < 3; i++)
		lane_want(&s[i].lane, 100000);
	run_until(l, l->ms + 10000);
	CU_ASSERT(s[0].sent + s[1].sent + s[2].sent + quiet.lane.lent <= 1025000);
	for (int i = 0; i < 3; i++)
		CU_ASSERT(s[i].sent > 315000 && s[i].sent < 360000);
	lane_end(&quiet.lane);
	for (int i = 0; i < 3; i++)
		lane_end(&s[i].lane);
	pacer_unref(&p);
	loop_free(&l);
}

static void test_given_back(void)
{
	struct loop *l = loop_new();
	struct pacer *p = pacer_new(l, 100000);
	struct sender quiet, s;
	size_t lent = 0;

	for (int i = 0; i < 100; i++) { /* each takes all that it can and goes */
		memset(&quiet, 0, sizeof(quiet));
		quiet.quiet = true;
		lane_init(&quiet.lane, p, lend, &quiet);
		lane_want(&quiet.lane, 1000000);
		lent += quiet.lane.lent;
		lane_end(&quiet.lane);
		lane_end(&quiet.lane); /* twice is fine */
	}
	CU_ASSERT_EQUAL(lent, 100 * 5000);
	begin(&s, p, 1000000);
	CU_ASSERT_EQUAL(s.sent, 25000);
	lane_end(&s.lane);
	run_until(l, l->ms + 1000);
	CU_ASSERT_EQUAL(s.sent, 25000); /* nothing is lent to who has gone */
	pacer_unref(&p);
	loop_free(&l);
}

/* Many in a small rate: each gets its turn. */
static void test_many(void)
{
	enum { N = 100 };
	struct loop *l = loop_new();
	struct pacer *p = pacer_new(l, 10240);
	struct sender s[N];
	size_t total = 0;

	for (int i = 0; i < N; i++)
		begin(&s[i], p, 1024);
	run_until(l, l->ms + 12000);
	for (int i = 0; i < N; i++) {
		CU_ASSERT_EQUAL(s[i].sent, 1024);
		total += s[i].sent;
		lane_end(&s[i].lane);
	}
	CU_ASSERT_EQUAL(total, N * 1024);
	pacer_unref(&p);
	loop_free(&l);
}

static const struct unit_test tests[] = {
	{"a bucket gives what was saved up, then what the rate brings", test_bucket},
	{"the least and greatest rates and the longest times are counted right", test_bucket_extremes},
	{"no more passes than the rate and a quarter of a second's, and no less", test_rate},
	{"what is wanted is lent to the byte", test_exact},
	{"who wants gets alike, and who lets it lie holds a unit and a half at most", test_fair},
	{"what was lent and not used goes back", test_given_back},
	{"a hundred share a small rate", test_many},
};

UNIT_MAIN("pacer", tests)
