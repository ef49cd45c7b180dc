/* calm: how much of everything a stranger may send, to the frame. The clock is the test's. */
#include "h2/calm.h"
#include "h2_stranger.h"

#include "base/err.h"
#include "base/str.h"

#define REFUSED_STREAM 7
#define ENHANCE_YOUR_CALM 11
#define SECOND 1000000u
/* a field name in upper case */
#define BAD_FIELD "\0\1X\1y"

struct event {
	uint8_t p[256];
	size_t n;
};

static void put(struct event *e, const char *bytes, size_t n)
{
	memcpy(e->p + e->n, bytes, n);
	e->n += n;
}

#define PUT(e, s) put((e), (s), sizeof(s) - 1)

/* A frame of that type on the i-th stream. */
static void frame(struct event *e, uint8_t type, uint8_t flags, uint32_t stream, const char *payload, size_t n)
{
	const uint8_t header[9] = {0, 0, (uint8_t)n, type, flags, (uint8_t)(stream >> 24), (uint8_t)(stream >> 16),
	                           (uint8_t)(stream >> 8), (uint8_t)stream};

	put(e, (const char *)header, 9);
	put(e, payload, n);
}

static void ask(struct event *e, unsigned i)
{
	frame(e, 1, 5, 2 * i + 1, GET, sizeof(GET) - 1);
}

static void reset(struct event *e, unsigned i)
{
	ask(e, i);
	frame(e, 3, 0, 2 * i + 1, "\0\0\0\x8", 4);
}

static void no_window(struct event *e, unsigned i)
{
	ask(e, i);
	frame(e, 8, 0, 2 * i + 1, "\0\0\0\0", 4);
}

static void bad_field(struct event *e, unsigned i)
{
	frame(e, 1, 5, 2 * i + 1, GET BAD_FIELD, sizeof(GET BAD_FIELD) - 1);
}

static void both_resets(struct event *e, unsigned i)
{
	(i % 2 ? reset : bad_field)(e, i);
}

static void ping(struct event *e, unsigned i)
{
	(void)i;
	frame(e, 6, 0, 0, "12345678", 8);
}

static void settings(struct event *e, unsigned i)
{
	(void)i;
	frame(e, 4, 0, 0, "", 0);
}

static void window(struct event *e, unsigned i)
{
	(void)i;
	frame(e, 8, 0, 0, "\0\0\0\1", 4);
}

static void priority(struct event *e, unsigned i)
{
	frame(e, 2, 0, 2 * i + 1, "\0\0\0\0\1", 5);
}

static void unknown(struct event *e, unsigned i)
{
	(void)i;
	frame(e, 0x77, 0, 0, "", 0);
}

static void post(struct event *e)
{
	frame(e, 1, 4, 1, "\x83\x86\x84\x41\x09" "a.example", sizeof(GET) - 1);
}

static void empty_data(struct event *e, unsigned i)
{
	if (i == 0)
		post(e);
	frame(e, 0, i % 2 ? 8 : 0, 1, "", i % 2);
}

static const struct flood {
	const char *what;
	void (*make)(struct event *e, unsigned i);
	unsigned allowed, per_second;
} floods[] = {
	{"reset", reset, 1000, 33},
	{"reset for a window by 0", no_window, 1000, 33},
	{"reset for a bad field", bad_field, 1000, 33},
	{"resets of both sides", both_resets, 1000, 33},
	{"PING", ping, 999, 100}, /* the first SETTINGS count */
	{"SETTINGS", settings, 999, 100},
	{"WINDOW_UPDATE", window, 1000, 100},
	{"PRIORITY", priority, 1000, 100},
	{"unknown", unknown, 1000, 100},
	{"empty DATA", empty_data, 1000, 100},
};

static bool send_one(struct end *e, const struct flood *f, unsigned i)
{
	struct event one = {.n = 0};

	f->make(&one, i);
	take(e, one.p, one.n);
	return e->goaway < 0;
}

static void hello(struct end *e)
{
	begin(e);
	take(e, BYTES(HELLO));
}

static void exactly_so_many(void)
{
	for (size_t k = 0; k < sizeof(floods) / sizeof(floods[0]); k++) {
		const struct flood *f = &floods[k];
		struct end e;
		unsigned i = 0;

		hello(&e);
		while (i < 2000 && send_one(&e, f, i))
			i++;
		if (i != f->allowed)
			printf("\n    %s: %u\n", f->what, i);
		CU_ASSERT_EQUAL(i, f->allowed);
		CU_ASSERT_EQUAL(e.goaway, ENHANCE_YOUR_CALM);
		CU_ASSERT_EQUAL(h2_error(e.h2), ADIT_ERR_FLOOD);
		h2_free(&e.h2, ADIT_ERR_ABANDONED);
	}
}

/* Who resets much is paced, long before he is cut, and no longer when that is some time ago. */
static void hasty(void)
{
	struct end e;
	unsigned i = 0;

	hello(&e);
	h2_clock(e.h2, SECOND, 0);
	for (; i <= CALM_HASTY; i++) {
		CU_ASSERT_FALSE(h2_hasty(e.h2));
		CU_ASSERT(send_one(&e, &floods[0], i));
	}
	CU_ASSERT(h2_hasty(e.h2));
	h2_clock(e.h2, 2 * SECOND, 0);
	CU_ASSERT_FALSE(h2_hasty(e.h2));
	h2_free(&e.h2, ADIT_ERR_ABANDONED);
}

static void so_many_come_back(void)
{
	for (size_t k = 0; k < sizeof(floods) / sizeof(floods[0]); k++) {
		const struct flood *f = &floods[k];
		uint64_t now = SECOND;
		struct end e;
		unsigned i = 0;

		hello(&e);
		h2_clock(e.h2, now, 0);
		for (; i < 3000; i++) { /* at that pace for ever */
			now += SECOND / f->per_second + 1;
			h2_clock(e.h2, now, 0);
			CU_ASSERT_FATAL(send_one(&e, f, i));
		}
		while (i < 5000 && send_one(&e, f, i))
			i++;
		CU_ASSERT(i >= 3998 && i <= 4000);
		h2_free(&e.h2, ADIT_ERR_ABANDONED);
	}
}

/* He reads nothing: what waits for him has a bound of its own, whatever the buckets hold. */
static void what_waits_is_bounded(void)
{
	const struct flood *f = &floods[2];
	struct end e;
	unsigned i = 0;

	hello(&e);
	for (; i < 5000 && !e.err; i++) {
		struct event one = {.n = 0};

		f->make(&one, i);
		e.err = h2_recv(e.h2, one.p, one.n);
	}
	CU_ASSERT(i > 1000 && i < 1100);
	CU_ASSERT_EQUAL(e.err, ADIT_ERR_FLOOD);
	pull(&e);
	h2_free(&e.h2, ADIT_ERR_ABANDONED);
}

/* A response in many small pieces, then all windows that a reader opens for them at once; byte by byte is another
 * matter. */
static void data_lets_windows_be_opened(uint32_t first_window, unsigned pieces, bool ends)
{
	struct event first = {.n = 0};
	struct head head;
	struct end e;
	unsigned i = 0;

	begin(&e);
	PUT(&first, PREFACE);
	frame(&first, 4, 0, 0, (const char[6]){0, 4, 0, 0, (char)(first_window >> 8), (char)first_window}, 6);
	ask(&first, 0);
	take(&e, first.p, first.n);
	head_init(&head);
	head.status = 200;
	head.length = HEAD_LENGTH_UNKNOWN;
	half_head(&e.answers[0].half, &head, false);
	for (; i < pieces && e.goaway < 0; i++) {
		struct event one = {.n = 0};

		half_body(&e.answers[0].half, (const uint8_t *)"xx", 2);
		pull(&e);
		if (first_window)
			continue;
		frame(&one, 8, 0, 1, "\0\0\0\1", 4);
		take(&e, one.p, one.n);
	}
	for (unsigned k = 0; k < 2 * pieces && first_window && e.goaway < 0; k++) {
		struct event one = {.n = 0};

		window(&one, k);
		take(&e, one.p, one.n);
	}
	CU_ASSERT_EQUAL(e.goaway, ends ? ENHANCE_YOUR_CALM : -1);
	head_free(&head);
	h2_free(&e.h2, ADIT_ERR_ABANDONED);
}

static void windows(void)
{
	data_lets_windows_be_opened(60000, 5000, false);
	data_lets_windows_be_opened(0, 1000, false);
	data_lets_windows_be_opened(0, 1001, true);
}

/* ---- field blocks */

static void continuations(void)
{
	for (unsigned count = 1; count <= 9; count++) {
		struct event one = {.n = 0};
		struct end e;

		hello(&e);
		frame(&one, 1, 1, 1, GET, sizeof(GET) - 1);
		for (unsigned i = 1; i <= count; i++)
			frame(&one, 9, i == count ? 4 : 0, 1, "", 0);
		take(&e, one.p, one.n);
		CU_ASSERT_EQUAL(e.requests, count <= 8);
		CU_ASSERT_EQUAL(e.goaway, count <= 8 ? -1 : ENHANCE_YOUR_CALM);
		h2_free(&e.h2, ADIT_ERR_ABANDONED);
	}
}

/* So many times the same empty crumb, one byte each: above a hundred they are answered, far beyond they end it. */
static void crumbs(unsigned count, int64_t goaway)
{
	static uint8_t block[9 + 8192];
	size_t n = 9;
	struct end e;

	hello(&e);
	memcpy(block + n, GET, sizeof(GET) - 1);
	n += sizeof(GET) - 1;
	memcpy(block + n, "\x40\6" "cookie" "\0", 9);
	n += 9;
	for (unsigned i = 1; i < count; i++)
		block[n++] = 0xbe;
	memcpy(block, (const uint8_t[9]){0, (uint8_t)((n - 9) >> 8), (uint8_t)(n - 9), 1, 5, 0, 0, 0, 1}, 9);
	take(&e, block, n);
	CU_ASSERT_EQUAL(e.goaway, goaway);
	CU_ASSERT_EQUAL(e.requests, count <= 100);
	CU_ASSERT_EQUAL(e.rst, count > 100 && goaway < 0 ? ENHANCE_YOUR_CALM : -1);
	h2_free(&e.h2, ADIT_ERR_ABANDONED);
}

static void cookie_crumbs(void)
{
	crumbs(100, -1);
	crumbs(101, -1);
	crumbs(3000, -1);
	crumbs(4000, ENHANCE_YOUR_CALM);
}

/* A proxy's connection brings many visitors: so many times as much of each kind, and no more. */
static void crowd(void)
{
	for (size_t k = 0; k < sizeof(floods) / sizeof(floods[0]); k++) {
		const struct flood *f = &floods[k];
		unsigned wanted = 3 * 1000 - (1000 - f->allowed);
		struct end e;
		unsigned i = 0;

		begin_crowd(&e, 3, 0);
		take(&e, BYTES(HELLO));
		while (i < 6000 && send_one(&e, f, i))
			i++;
		CU_ASSERT_EQUAL(i, wanted);
		CU_ASSERT_EQUAL(e.goaway, ENHANCE_YOUR_CALM);
		h2_free(&e.h2, ADIT_ERR_ABANDONED);
	}
}

/* ---- whose fault is it? */

enum { OF_NOBODY, NO_ROOM, TOO_MANY, HIS_RESETS };
static const struct flood asks = {"request", ask, 1000, 33};

/* So many requests of his are refused, and each is told. */
static void refused_requests(int why, unsigned count)
{
	struct end e;
	unsigned i = 0, first = why == TOO_MANY ? 1 : 0;

	begin_crowd(&e, 0, 1);
	take(&e, BYTES(HELLO));
	h2_clock(e.h2, SECOND, 0);
	if (first)
		CU_ASSERT(send_one(&e, &asks, 0)); /* it stays open */
	e.unlinked = why == OF_NOBODY || why == HIS_RESETS;
	e.blames = why == HIS_RESETS;
	if (why == NO_ROOM)
		e.budget.limit = 0;
	while (i < 3000 && send_one(&e, &asks, first + i)) {
		CU_ASSERT_EQUAL(e.rst, REFUSED_STREAM);
		CU_ASSERT_EQUAL(e.rst_stream, 2 * (first + i) + 1);
		i++;
		CU_ASSERT_EQUAL(h2_hasty(e.h2), count < 3000 && i > CALM_HASTY);
	}
	CU_ASSERT_EQUAL(i, count);
	h2_free(&e.h2, ADIT_ERR_ABANDONED);
}

static void no_room_is_no_fault(void)
{
	refused_requests(OF_NOBODY, 3000);
	refused_requests(NO_ROOM, 3000);
	refused_requests(TOO_MANY, 1000);
	refused_requests(HIS_RESETS, 1000);
}

/* The limit of resets is what it was: his own are counted, each once. */
static void resets_without_room(void)
{
	struct end e;
	unsigned i = 0;

	hello(&e);
	e.budget.limit = 0;
	while (i < 3000 && send_one(&e, &floods[0], i))
		i++;
	CU_ASSERT_EQUAL(i, 1000);
	CU_ASSERT_EQUAL(e.goaway, ENHANCE_YOUR_CALM);
	h2_free(&e.h2, ADIT_ERR_ABANDONED);
}

static const struct unit_test tests[] = {
	{"what we have no room for is no fault of his", no_room_is_no_fault},
	{"resets are counted without room, too", resets_without_room},
	{"a crowd is no flood", crowd},
	{"exactly so many of each, then GOAWAY", exactly_so_many},
	{"many resets are haste, for a while", hasty},
	{"so many come back with time", so_many_come_back},
	{"what waits for one who does not read is bounded", what_waits_is_bounded},
	{"data lets windows be opened, a byte at a time does not", windows},
	{"eight CONTINUATION, empty or not", continuations},
	{"crumbs are counted while they are decoded", cookie_crumbs},
};

UNIT_MAIN("calm", tests)
