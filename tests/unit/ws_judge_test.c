/* Control frames, the close handshake, and what breaks the protocol. */
#include "ws_script.h"

/* ---- control frames */

static void ping_in_the_middle_is_answered(void)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_DIALLED, NULL);
	give_hex(&x, "020348656c");
	CU_ASSERT(buf_is(&x.got, "Hel", 3)); /* handed up before the message is whole */
	give_hex(&x, "8902abcd");
	CU_ASSERT_EQUAL(x.lower->taken.len, 2 + 4 + 2);
	give_hex(&x, "80026c6f");
	CU_ASSERT(buf_is(&x.got, "lo", 2));
	side_end(&x);
	loop_free(&l);
}

/* The lower stream takes three bytes of a frame; a Ping comes; the Pong follows that frame's end. */
static void pong_waits_for_the_frame_being_sent(void)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_ANSWERED, NULL);
	x.lower->room = 3;
	CU_ASSERT_EQUAL(put(&x, "Hello", 5), 5);
	CU_ASSERT_EQUAL(stream_unsent(x.ws), 4 + 7);
	give_hex(&x, "898200000000abcd");
	CU_ASSERT_EQUAL(put(&x, "!", 1), 0);
	CU_ASSERT_EQUAL(x.writables, 0);
	CU_ASSERT(buf_is_hex(&x.lower->taken, "820548"));
	lower_drain(x.lower, ALL);
	settle(l, 1);
	CU_ASSERT_EQUAL(x.writables, 1);
	CU_ASSERT(buf_is_hex(&x.lower->taken, "656c6c6f8a02abcd"));
	side_end(&x);
	loop_free(&l);
}

static void close_waits_for_the_frame_being_sent(void)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_ANSWERED, NULL);
	x.lower->room = 3;
	CU_ASSERT_EQUAL(put(&x, "Hello", 5), 5);
	stream_finish(x.ws);
	CU_ASSERT_EQUAL(x.lower->finishes, 0);
	lower_drain(x.lower, 5);
	settle(l, 1);
	CU_ASSERT_EQUAL(x.lower->finishes, 0);
	lower_drain(x.lower, ALL);
	settle(l, 1);
	CU_ASSERT_EQUAL(x.lower->finishes, 1);
	CU_ASSERT(buf_is_hex(&x.lower->taken, "820548656c6c6f880203e8"));
	side_end(&x);
	loop_free(&l);
}

static void ping_flood_is_answered_once(void)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_ANSWERED, NULL);
	x.lower->room = 0;
	CU_ASSERT_EQUAL(put(&x, "Hello", 5), 5);
	for (unsigned i = 0; i < 1000; i++) {
		const uint8_t ping[] = {0x89, 0x82, 0, 0, 0, 0, (uint8_t)(i >> 8), (uint8_t)i};

		lower_give(x.lower, ping, sizeof(ping));
		settle(l, i % 3);
	}
	settle(l, 1);
	CU_ASSERT_EQUAL(stream_unsent(x.ws), 7 + 7);
	lower_drain(x.lower, ALL);
	settle(l, 1);
	CU_ASSERT(buf_is_hex(&x.lower->taken, "820548656c6c6f8a0203e7"));
	side_end(&x);
	loop_free(&l);
}

/* A thousand frames in a row may bring nothing. */
static void frames_that_bring_nothing(const char *frame)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_ANSWERED, NULL);
	for (unsigned i = 0; i < 2500; i++)
		give_hex(&x, i % 1000 ? frame : "82810000000061");
	CU_ASSERT_EQUAL(x.end, 0);
	for (unsigned i = 0; i < 500; i++)
		give_hex(&x, frame);
	CU_ASSERT_EQUAL(x.end, 0);
	for (unsigned i = 0; i < 2; i++)
		give_hex(&x, frame);
	settle(l, 4);
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_PROTO);
	CU_ASSERT_EQUAL(x.got.len, 3);
	side_end(&x);
	loop_free(&l);
}

static void endless_nothing_ends_it(void)
{
	frames_that_bring_nothing("898000000000");
	frames_that_bring_nothing("8a8000000000");
	frames_that_bring_nothing("828000000000");
}

static void longest_control_frame_passes(void)
{
	uint8_t ping[2 + 125] = {0x89, 125}, payload[125], key[4];
	struct loop *l = loop_new();
	struct side x;
	size_t n = 0;

	fill(ping + 2, 125, 6);
	side_begin(&x, l, WS_DIALLED, NULL);
	x.lower->read_max = 11;
	lower_give(x.lower, ping, sizeof(ping));
	settle(l, 1);
	CU_ASSERT_EQUAL(take_frame(&x.lower->taken, true, payload, &n, key), 10);
	CU_ASSERT(n == 125 && memcmp(payload, ping + 2, 125) == 0);
	CU_ASSERT_EQUAL(x.end, 0);
	side_end(&x);
	loop_free(&l);
}

/* ---- the close handshake */

static void close_handshake(void)
{
	struct loop *l = loop_new();
	struct side x, y;

	side_begin(&x, l, WS_DIALLED, NULL);
	side_begin(&y, l, WS_ANSWERED, NULL);
	join(&x, &y);
	CU_ASSERT_EQUAL(put(&x, "last words", 10), 10);
	stream_finish(x.ws);
	stream_finish(x.ws);
	CU_ASSERT_EQUAL(put(&x, "more", 4), ADIT_ERR_INVALID);
	settle(l, 3);
	CU_ASSERT(buf_is(&y.got, "last words", 10));
	CU_ASSERT_EQUAL(y.end, ADIT_ERR_EOF);
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	CU_ASSERT_STRING_EQUAL(stream_detail(y.ws), "");
	CU_ASSERT_EQUAL(put(&y, "too late", 8), ADIT_ERR_RESET);
	CU_ASSERT(x.lower->finishes == 1 && y.lower->finishes == 1);
	side_end(&x);
	side_end(&y);
	loop_free(&l);
}

static void close_is_echoed(void)
{
	static const struct {
		const char *in, *reply, *detail;
	} v[] = {
		{"8800", "8800", ""},
		{"880203e8", "880203e8", ""},
		{"880203e9", "880203e9", "WebSocket Close 1001"},
		{"880703f3627965210a", "880203f3", "WebSocket Close 1011 bye!?"},
		{"88020bb8", "88020bb8", "WebSocket Close 3000"},
		{"8801ff820161", "880203ea", "WebSocket Close with an invalid code"},
	};

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct loop *l = loop_new();
		uint8_t payload[125], key[4], want[125] = {0};
		struct side x;
		size_t n = 0, want_n = strlen(v[i].reply) / 2 - 2;

		side_begin(&x, l, WS_DIALLED, NULL);
		give_hex(&x, v[i].in);
		CU_ASSERT_EQUAL(x.end, strcmp(v[i].reply, "880203ea") == 0 ? ADIT_ERR_PROTO : ADIT_ERR_EOF);
		CU_ASSERT_STRING_EQUAL(stream_detail(x.ws), v[i].detail);
		CU_ASSERT_EQUAL(hex_decode(v[i].reply + 4, 2 * want_n, want, want_n), 0);
		CU_ASSERT_EQUAL(take_frame(&x.lower->taken, true, payload, &n, key), 8);
		CU_ASSERT(n == want_n && memcmp(payload, want, n) == 0);
		give_hex(&x, "89008202ffff"); /* nothing is read or answered behind it */
		CU_ASSERT(x.lower->taken.len == 0 && x.got.len == 0);
		side_end(&x);
		loop_free(&l);
	}
}

static void end_without_close_is_a_reset(void)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_ANSWERED, NULL);
	x.lower->end = ADIT_ERR_EOF;
	give_hex(&x, "828537fa213d7f9f4d5158");
	CU_ASSERT(buf_is(&x.got, "Hello", 5));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_RESET);
	CU_ASSERT_STRING_EQUAL(stream_detail(x.ws), "ended without a WebSocket Close");
	side_end(&x);
	side_begin(&x, l, WS_ANSWERED, NULL); /* after our own Close it is an end like any */
	stream_finish(x.ws);
	x.lower->end = ADIT_ERR_EOF;
	give_hex(&x, "");
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	side_end(&x);
	side_begin(&x, l, WS_ANSWERED, NULL);
	x.lower->end = ADIT_ERR_TIMEOUT;
	give_hex(&x, "");
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_TIMEOUT);
	CU_ASSERT_EQUAL(put(&x, "Hello", 5), ADIT_ERR_TIMEOUT);
	side_end(&x);
	loop_free(&l);
}

/* ---- violations */

static const struct {
	const char *what;
	enum ws_side side;
	const char *in;
	unsigned code;
} violations[] = {
	{"text", WS_DIALLED, "810161", 1003},
	{"first fragment of text", WS_DIALLED, "010161", 1003},
	{"empty text", WS_DIALLED, "8100", 1003},
	{"masked text", WS_ANSWERED, "818100000000", 1003},
	{"text inside a fragmented message", WS_DIALLED, "0201618101", 1002},
	{"masked towards the side that dialled", WS_DIALLED, "828100000000", 1002},
	{"unmasked towards the side that answered", WS_ANSWERED, "820161", 1002},
	{"unmasked Ping", WS_ANSWERED, "8900", 1002},
	{"unmasked Close", WS_ANSWERED, "880203e9", 1002},
	{"masked Ping", WS_DIALLED, "898000000000", 1002},
	{"RSV1", WS_DIALLED, "c20161", 1002},
	{"RSV2", WS_DIALLED, "a20161", 1002},
	{"RSV3", WS_DIALLED, "920161", 1002},
	{"RSV1 on a Ping", WS_DIALLED, "c900", 1002},
	{"RSV1 on a continuation", WS_DIALLED, "020161c00161", 1002},
	{"opcode 3", WS_DIALLED, "830161", 1002},
	{"opcode 4", WS_DIALLED, "840161", 1002},
	{"opcode 5", WS_DIALLED, "850161", 1002},
	{"opcode 6", WS_DIALLED, "860161", 1002},
	{"opcode 7", WS_DIALLED, "870161", 1002},
	{"opcode 11", WS_DIALLED, "8b00", 1002},
	{"opcode 12", WS_DIALLED, "8c00", 1002},
	{"opcode 13", WS_DIALLED, "8d00", 1002},
	{"opcode 14", WS_DIALLED, "8e00", 1002},
	{"opcode 15", WS_DIALLED, "8f00", 1002},
	{"Ping of 126 bytes", WS_DIALLED, "897e007e", 1002},
	{"Pong of 65536 bytes", WS_DIALLED, "8a7f0000000000010000", 1002},
	{"Close of 126 bytes", WS_DIALLED, "887e007e", 1002},
	{"masked Ping of 126 bytes", WS_ANSWERED, "89fe007e00000000", 1002},
	{"Ping in fragments", WS_DIALLED, "0900", 1002},
	{"Close in fragments", WS_DIALLED, "080203e8", 1002},
	{"125 in two bytes", WS_DIALLED, "827e007d", 1002},
	{"0 in two bytes", WS_DIALLED, "827e0000", 1002},
	{"65535 in eight bytes", WS_DIALLED, "827f000000000000ffff", 1002},
	{"2^63", WS_DIALLED, "827f8000000000000000", 1002},
	{"masked 125 in two bytes", WS_ANSWERED, "82fe007d00000000", 1002},
	{"continuation of nothing", WS_DIALLED, "800161", 1002},
	{"continuation after the last", WS_DIALLED, "0201618001618001", 1002},
	{"new message inside another", WS_DIALLED, "020161820161", 1002},
	{"Close of one byte", WS_DIALLED, "880103", 1002},
	{"Close 999", WS_DIALLED, "880203e7", 1002},
	{"Close 1004", WS_DIALLED, "880203ec", 1002},
	{"Close 1005", WS_DIALLED, "880203ed", 1002},
	{"Close 1006", WS_DIALLED, "880203ee", 1002},
	{"Close 1015", WS_DIALLED, "880203f7", 1002},
	{"Close 5000", WS_DIALLED, "88021388", 1002},
};

static void one_violation(size_t i, size_t read_max)
{
	struct loop *l = loop_new();
	struct side x;
	uint8_t payload[125] = {0}, key[4];
	size_t n = 0;

	side_begin(&x, l, violations[i].side, NULL);
	x.lower->read_max = read_max;
	give_hex(&x, violations[i].in);
	settle(l, 4);
	if (x.end != ADIT_ERR_PROTO)
		printf("\n    %s: reading gave %d\n", violations[i].what, x.end);
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_PROTO);
	CU_ASSERT_EQUAL(stream_read(x.ws, payload, 1), ADIT_ERR_PROTO);
	CU_ASSERT_EQUAL(put(&x, "x", 1), ADIT_ERR_PROTO);
	CU_ASSERT(stream_detail(x.ws)[0] != '\0');
	CU_ASSERT_EQUAL(take_frame(&x.lower->taken, violations[i].side == WS_DIALLED, payload, &n, key), 8);
	CU_ASSERT(n == 2 && (unsigned)(payload[0] << 8 | payload[1]) == violations[i].code);
	CU_ASSERT_EQUAL(x.lower->taken.len, 0);
	CU_ASSERT_EQUAL(x.lower->finishes, 1);
	side_end(&x);
	loop_free(&l);
}

static void violations_end_it(void)
{
	for (size_t i = 0; i < sizeof(violations) / sizeof(violations[0]); i++) {
		one_violation(i, ALL);
		one_violation(i, 1);
	}
}

static void payload_before_a_violation_is_handed_up(void)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_DIALLED, NULL);
	x.read_once = true;
	give_hex(&x, "820548656c6c6f8f00");
	settle(l, 2);
	CU_ASSERT(buf_is(&x.got, "Hello", 5));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_PROTO);
	CU_ASSERT_EQUAL(x.readables, 2);
	side_end(&x);
	loop_free(&l);
}

static const struct unit_test tests[] = {
	{"a ping inside a fragmented message is answered", ping_in_the_middle_is_answered},
	{"a pong waits for the end of the frame being sent", pong_waits_for_the_frame_being_sent},
	{"a close waits for the end of the frame being sent", close_waits_for_the_frame_being_sent},
	{"of a flood of pings the latest is answered", ping_flood_is_answered_once},
	{"frames without end that bring nothing end it", endless_nothing_ends_it},
	{"a ping of 125 bytes is answered in full", longest_control_frame_passes},
	{"finish and the peer's answer end both sides", close_handshake},
	{"a close is echoed, read as an end, and the last", close_is_echoed},
	{"an end without close is a reset, other errors pass", end_without_close_is_a_reset},
	{"violations end it with the right close code", violations_end_it},
	{"payload ahead of a violation is handed up", payload_before_a_violation_is_handed_up},
};

UNIT_MAIN("ws_judge", tests)
