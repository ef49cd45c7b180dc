/* gate: what a stranger's frames come to, cut anywhere. tests/e2e/h2_rules.py has the rules; here the same bytes must
 * mean the same however they arrive. */
#include "h2_stranger.h"

struct row {
	const char *what;
	const uint8_t *bytes;
	size_t n;
	unsigned requests;
	int64_t goaway, rst;
	uint32_t rst_stream;
};

static const struct row rows[] = {
	{"two GETs", BYTES(HELLO ASK("\1") ASK("\3")), 2, -1, -1, 0},
	{"a stream that depends on itself",
	 BYTES(HELLO "\0\0\x13\1\x25\0\0\0\1" "\0\0\0\1\x10" GET ASK("\3")), 0, 1, -1, 0},
	{"a stream that depends on another",
	 BYTES(HELLO "\0\0\x13\1\x25\0\0\0\1" "\0\0\0\3\x10" GET ASK("\3")), 2, -1, -1, 0},
	{"on itself, with padding",
	 BYTES(HELLO "\0\0\x16\1\x2d\0\0\0\1" "\2\x80\0\0\1\x10" GET "\0\0" ASK("\3")), 0, 1, -1, 0},
	{"on another, with padding",
	 BYTES(HELLO "\0\0\x16\1\x2d\0\0\0\1" "\2\x80\0\1\1\x10" GET "\0\0" ASK("\3")), 2, -1, -1, 0},
	{"a block in two frames, the first with priority",
	 BYTES(HELLO "\0\0\7\1\x21\0\0\0\1" "\0\0\0\3\x10\x82\x86" "\0\0\x0c\x09\4\0\0\0\1" "\x84\x41\x09" "a.example"
	       ASK("\3")), 2, -1, -1, 0},
	{"both SETTINGS are acknowledged", BYTES(HELLO ACK ACK ASK("\1")), 1, -1, -1, 0},
	{"an acknowledgement of nothing", BYTES(HELLO ACK ACK ACK ASK("\1")), 0, 1, -1, 0},
	{"PRIORITY", BYTES(HELLO "\0\0\5\2\0\0\0\0\7" "\0\0\0\5\1" ASK("\1")), 1, -1, -1, 0},
	{"PRIORITY on itself", BYTES(HELLO "\0\0\5\2\0\0\0\0\7" "\0\0\0\7\1" ASK("\1")), 0, 1, -1, 0},
	{"PRIORITY on stream 0", BYTES(HELLO "\0\0\5\2\0\0\0\0\0" "\0\0\0\7\1" ASK("\1")), 0, 1, -1, 0},
	{"PRIORITY of 4 bytes", BYTES(HELLO ASK("\1") "\0\0\4\2\0\0\0\0\1" "\0\0\0\7" ASK("\3")), 2, -1, 6, 1},
	{"PRIORITY of 4 bytes on an idle stream", BYTES(HELLO "\0\0\4\2\0\0\0\0\1" "\0\0\0\7" ASK("\1")), 0, 6, -1, 0},
	{"WINDOW_UPDATE by 0", BYTES(HELLO ASK("\1") "\0\0\4\x08\0\0\0\0\1" "\0\0\0\0" ASK("\3")), 2, -1, 1, 1},
	{"WINDOW_UPDATE by 0, reserved bit set",
	 BYTES(HELLO ASK("\1") "\0\0\4\x08\0\0\0\0\1" "\x80\0\0\0" ASK("\3")), 2, -1, 1, 1},
	{"WINDOW_UPDATE", BYTES(HELLO ASK("\1") "\0\0\4\x08\0\0\0\0\1" "\0\1\0\0" ASK("\3")), 2, -1, -1, 0},
	{"SETTINGS that overflow a window, behind another entry",
	 BYTES(HELLO ASK("\1") "\0\0\4\x08\0\0\0\0\1" "\x7f\xff\0\0" "\0\0\x0c\4\0\0\0\0\0" "\0\1\0\0\0\0" "\0\4\0\1\0\0"
	       "\0\4\0\2\0\0" ASK("\3")), 1, 3, -1, 0},
	{"SETTINGS that do not",
	 BYTES(HELLO ASK("\1") "\0\0\4\x08\0\0\0\0\1" "\x7f\xfe\0\0" "\0\0\6\4\0\0\0\0\0" "\0\4\0\1\0\0" ASK("\3")),
	 2, -1, -1, 0},
	{"a stream that was passed over", BYTES(HELLO ASK("\5") ASK("\1")), 1, 1, -1, 0},
	{"a stream that its end has reset",
	 BYTES(HELLO ASK("\1") "\0\0\4\3\0\0\0\0\1" "\0\0\0\x08" ASK("\1")), 1, 5, -1, 0},
	{"a frame that nobody knows", BYTES(HELLO "\0\0\3\x4d\xff\0\0\0\7" "abc" ASK("\1")), 1, -1, -1, 0},
};

static void judge(const struct row *r, struct end *e)
{
	if (e->requests != r->requests || e->goaway != r->goaway || e->rst != r->rst || e->rst_stream != r->rst_stream) {
		printf("\n    %s: %u requests, GOAWAY %lld, RST %lld on %u\n", r->what, e->requests, (long long)e->goaway,
		       (long long)e->rst, e->rst_stream);
		CU_FAIL("not what was wanted");
	}
	CU_ASSERT_EQUAL(e->err != 0, r->goaway >= 0);
	h2_free(&e->h2, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(e->budget.used, 0);
}

static void cut_anywhere(void)
{
	struct end e;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *r = &rows[i];

		for (size_t cut = 0; cut <= r->n; cut++) {
			begin(&e);
			take(&e, r->bytes, cut);
			take(&e, r->bytes + cut, r->n - cut);
			judge(r, &e);
		}
		begin(&e);
		for (size_t at = 0; at < r->n; at++)
			take(&e, r->bytes + at, 1);
		judge(r, &e);
	}
}

/* A block is waited for from its frame's header to its last byte, and each has its own number. */
static void block(void)
{
	static const char frames[] = HELLO ASK("\1") "\0\0\2\1\1\0\0\0\3" "\x82\x86"
	                             "\0\0\x0c\x09\4\0\0\0\3" "\x84\x41\x09" "a.example" ASK("\5");
	const uint8_t *p = (const uint8_t *)frames;
	const size_t first = sizeof(HELLO) - 1 + 9 + 14, second = first + 9 + 2 + 9 + 12;
	struct end e;

	begin(&e);
	for (size_t at = 0; at < sizeof(frames) - 1; at++) {
		size_t n = at + 1;
		uint32_t wanted = 0;

		take(&e, p + at, 1);
		if (n >= first - 14 && n < first)
			wanted = 1;
		else if (n >= first + 9 && n < second)
			wanted = 2;
		else if (n >= second + 9 && n < sizeof(frames) - 1)
			wanted = 3;
		CU_ASSERT_EQUAL(h2_block(e.h2), wanted);
	}
	CU_ASSERT_EQUAL(e.requests, 3);
	h2_free(&e.h2, ADIT_ERR_ABANDONED);
}

/* What comes behind so many requests is left, whole frames, and means the same when it is given again; however the
 * first part is cut. */
static void so_many_a_turn(void)
{
	static const char frames[] = HELLO ASK("\1") ASK("\3") "\0\0\4\3\0\0\0\0\3" "\0\0\0\x08" ASK("\5");
	const uint8_t *p = (const uint8_t *)frames;
	const size_t all = sizeof(frames) - 1, behind = (9 + 4) + (9 + 14);
	struct end e;

	for (size_t cut = 0; cut < all - behind; cut++) {
		begin(&e);
		h2_allow(e.h2, 2);
		take(&e, p, cut);
		take(&e, p + cut, all - cut);
		CU_ASSERT_EQUAL(e.requests, 2);
		CU_ASSERT_EQUAL(h2_unread(e.h2), behind);
		take(&e, p + all - behind, behind);
		CU_ASSERT_EQUAL(h2_unread(e.h2), behind);
		h2_allow(e.h2, 2);
		take(&e, p + all - behind, behind);
		CU_ASSERT_EQUAL(e.requests, 3);
		CU_ASSERT_EQUAL(h2_unread(e.h2), 0);
		h2_free(&e.h2, ADIT_ERR_ABANDONED);
	}
}

static const struct unit_test tests[] = {
	{"the same bytes mean the same, cut anywhere and one by one", cut_anywhere},
	{"so many requests a turn, the rest is left", so_many_a_turn},
	{"a field block is waited for from its first byte to its last", block},
};

UNIT_MAIN("gate", tests)
