/* What is carried: frames read and written, split anywhere, and back-pressure. ws_judge_test.c shows the rest. */
#include "ws_script.h"

/* ---- RFC 6455 section 5.7 */

static void examples_are_read(void)
{
	static const struct {
		enum ws_side side;
		const char *in, *payload, *reply;
	} v[] = {
		{WS_DIALLED, "820548656c6c6f", "Hello", ""},
		{WS_ANSWERED, "828537fa213d7f9f4d5158", "Hello", ""},
		{WS_DIALLED, "020348656c80026c6f", "Hello", ""},
		{WS_ANSWERED, "898537fa213d7f9f4d5158", "", "8a0548656c6c6f"},
		{WS_ANSWERED, "8a8537fa213d7f9f4d5158", "", ""},
		{WS_ANSWERED, "818537fa213d7f9f4d5158", "", "880203eb"}, /* text: 1003 */
		{WS_ANSWERED, "890548656c6c6f", "", "880203ea"},         /* no mask: 1002 */
	};

	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct loop *l = loop_new();
		struct side x;

		side_begin(&x, l, v[i].side, NULL);
		give_hex(&x, v[i].in);
		CU_ASSERT(buf_is(&x.got, v[i].payload, strlen(v[i].payload)));
		CU_ASSERT(buf_is_hex(&x.lower->taken, v[i].reply));
		side_end(&x);
		loop_free(&l);
	}
}

static void long_examples_are_read(void)
{
	static uint8_t data[65536];
	struct loop *l = loop_new();
	struct side x;

	fill(data, sizeof(data), 1);
	side_begin(&x, l, WS_DIALLED, NULL);
	give_hex(&x, "827e0100");
	lower_give(x.lower, data, 256);
	settle(l, 1);
	CU_ASSERT(buf_is(&x.got, data, 256));
	give_hex(&x, "827f0000000000010000");
	lower_give(x.lower, data, 65536);
	settle(l, 1);
	CU_ASSERT(buf_is(&x.got, data, 65536));
	side_end(&x);
	loop_free(&l);
}

static void examples_are_written(void)
{
	uint8_t data[256], frame[260] = {0x82, 0x7e, 0x01, 0x00}, payload[256], key[4];
	struct loop *l = loop_new();
	struct side x;
	size_t n = 0;

	fill(data, sizeof(data), 2);
	memcpy(frame + 4, data, 256);
	side_begin(&x, l, WS_ANSWERED, NULL);
	CU_ASSERT_EQUAL(put(&x, "Hello", 5), 5);
	CU_ASSERT(buf_is_hex(&x.lower->taken, "820548656c6c6f"));
	CU_ASSERT_EQUAL(put(&x, data, 256), 256);
	CU_ASSERT(buf_is(&x.lower->taken, frame, sizeof(frame)));
	side_end(&x);
	side_begin(&x, l, WS_DIALLED, NULL);
	CU_ASSERT_EQUAL(put(&x, "Hello", 5), 5);
	CU_ASSERT_EQUAL(x.lower->taken.len, 2 + 4 + 5);
	CU_ASSERT_EQUAL(take_frame(&x.lower->taken, true, payload, &n, key), 2);
	CU_ASSERT(n == 5 && memcmp(payload, "Hello", 5) == 0);
	side_end(&x);
	loop_free(&l);
}

static void accept_key(void)
{
	char accept[WS_ACCEPT_TEXT], a[WS_KEY_TEXT], b[WS_KEY_TEXT];

	CU_ASSERT_EQUAL(ws_accept_for("dGhlIHNhbXBsZSBub25jZQ==", 24, accept), 0);
	CU_ASSERT_STRING_EQUAL(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
	CU_ASSERT_EQUAL(ws_accept_for("dGhlIHNhbXBsZSBub25jZQ=", 23, accept), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(ws_accept_for("dGhlIHNhbXBsZSBub25jZQ== ", 25, accept), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(ws_accept_for("dGhlIHNhbXBsZSBub25jZQQ=", 24, accept), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(ws_accept_for("dGhlIHNhbXBsZSBub25jZQQQ", 24, accept), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(ws_accept_for("dGhlIHNhbXBs=SBub25jZQ==", 24, accept), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(ws_accept_for(" GhlIHNhbXBsZSBub25jZQ==", 24, accept), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(ws_accept_for("", 0, accept), ADIT_ERR_INVALID);
	ws_make_key(a);
	ws_make_key(b);
	CU_ASSERT_EQUAL(strlen(a), 24);
	CU_ASSERT_EQUAL(ws_accept_for(a, 24, accept), 0);
	CU_ASSERT_STRING_NOT_EQUAL(a, b);
}

/* ---- every split */

static void masked_frame(struct buf *b, uint8_t first, const uint8_t *p, size_t n)
{
	uint8_t head[8] = {first, (uint8_t)(0x80 | (n < 126 ? n : 126)), (uint8_t)(n >> 8), (uint8_t)n};
	uint8_t key[4] = {0x11, 0xa2, 0x73, (uint8_t)n}, c;
	size_t head_n = n < 126 ? 2 : 4;

	memcpy(head + head_n, key, 4);
	CU_ASSERT_EQUAL(buf_add(b, head, head_n + 4), 0);
	for (size_t i = 0; i < n; i++) {
		c = p[i] ^ key[i % 4];
		CU_ASSERT_EQUAL(buf_add(b, &c, 1), 0);
	}
}

static size_t transcript(uint8_t *out, size_t max, const uint8_t *data)
{
	struct buf b = BUF_INIT;
	size_t n;

	masked_frame(&b, 0x82, data, 5);
	masked_frame(&b, 0x82, NULL, 0);
	masked_frame(&b, 0x02, data + 5, 126); /* begins a message in fragments */
	masked_frame(&b, 0x89, data, 0);
	masked_frame(&b, 0x00, NULL, 0);
	masked_frame(&b, 0x8a, data, 9);
	masked_frame(&b, 0x00, data + 131, 13);
	masked_frame(&b, 0x89, (const uint8_t *)"last", 4);
	masked_frame(&b, 0x80, data + 144, 1);
	masked_frame(&b, 0x82, data + 145, 55);
	masked_frame(&b, 0x88, (const uint8_t *)"\x03\xe8" "bye", 5);
	n = buf_take(&b, out, max);
	CU_ASSERT_EQUAL(b.len, 0);
	buf_clear(&b);
	return n;
}

static bool ends_with_close(struct buf *b)
{
	uint8_t p[256];
	size_t n = buf_take(b, p, sizeof(p));

	/* Pongs before it, the last of them for the last Ping */
	return n >= 10 && memcmp(p + n - 10, "\x8a\x04last\x88\x02\x03\xe8", 10) == 0;
}

static void split_at(const uint8_t *t, size_t n, const uint8_t *data, size_t a, size_t b, size_t read_max)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_ANSWERED, NULL);
	x.read_max = read_max;
	lower_give(x.lower, t, a);
	settle(l, 1);
	lower_give(x.lower, t + a, b - a);
	settle(l, 1);
	lower_give(x.lower, t + b, n - b);
	settle(l, 10);
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	CU_ASSERT(buf_is(&x.got, data, 200));
	if (read_max == 1) /* else Close may have come in one read with the last Ping, which then goes unanswered */
		CU_ASSERT(ends_with_close(&x.lower->taken));
	CU_ASSERT_EQUAL(x.lower->finishes, 1);
	side_end(&x);
	loop_free(&l);
}

static void every_split_gives_the_same(void)
{
	uint8_t data[200], t[512];
	size_t n;

	fill(data, sizeof(data), 3);
	n = transcript(t, sizeof(t), data);
	for (size_t a = 0; a <= n; a++)
		split_at(t, n, data, a, a, ALL);
	for (size_t a = 0; a <= n; a += 3)
		for (size_t b = a; b <= n; b += 7)
			split_at(t, n, data, a, b, 1 + a % 5);
	split_at(t, n, data, 0, 0, 1);
}

static void carry(size_t read_max, size_t write_max, size_t n)
{
	struct loop *l = loop_new();
	struct side x, y;
	uint8_t *a = malloc(n), *b = malloc(n);
	size_t at = 0, bt = 0, step;

	if (!a || !b)
		abort();
	fill(a, n, 4);
	fill(b, n, 5);
	side_begin(&x, l, WS_DIALLED, NULL);
	side_begin(&y, l, WS_ANSWERED, NULL);
	join(&x, &y);
	x.lower->read_max = y.lower->read_max = read_max;
	x.lower->write_max = y.lower->write_max = write_max;
	for (step = 1; (at < n || bt < n) && step < 4000000; step++) {
		size_t more = step * 7919 % 40000 + 1;
		ssize_t done = put(&x, a + at, n - at < more ? n - at : more);

		at += done > 0 ? (size_t)done : 0;
		done = put(&y, b + bt, n - bt < more ? n - bt : more);
		bt += done > 0 ? (size_t)done : 0;
		settle(l, 1);
	}
	stream_finish(x.ws);
	settle(l, (unsigned)(n / 8 + 100));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	CU_ASSERT_EQUAL(y.end, ADIT_ERR_EOF);
	CU_ASSERT(buf_is(&y.got, a, n));
	CU_ASSERT(buf_is(&x.got, b, n));
	side_end(&x);
	side_end(&y);
	loop_free(&l);
	free(a);
	free(b);
}

static void both_ways_at_any_chunk_size(void)
{
	static const size_t sizes[] = {1, 2, 3, 5, 7, 13, 100, 4095, 4096, 4097, 16344, ALL};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		carry(sizes[i], ALL, sizes[i] < 100 ? 20000 : 300000);
	carry(ALL, 1, 3000);
	carry(1, 1, 3000);
	carry(4096, 1000, 100000);
}

/* ---- back-pressure */

static void pause_holds_and_resume_tells(void)
{
	struct buf rest = BUF_INIT;
	struct loop *l = loop_new();
	struct side x;

	CU_ASSERT_EQUAL(buf_add(&rest, "\x82\x03" "abc\x82", 6), 0);
	side_begin(&x, l, WS_DIALLED, &rest);
	CU_ASSERT_EQUAL(rest.len, 0);
	stream_pause(x.ws, true);
	give_hex(&x, "03646566");
	CU_ASSERT_EQUAL(x.readables, 0);
	stream_pause(x.ws, false);
	settle(l, 1);
	CU_ASSERT(buf_is(&x.got, "abcdef", 6));
	stream_pause(x.ws, true);
	give_hex(&x, "820178");
	CU_ASSERT_EQUAL(x.got.len, 0);
	x.idle = true;
	x.readables = 0;
	stream_pause(x.ws, false);
	settle(l, 1);
	CU_ASSERT(x.readables > 1); /* told again and again until it is read */
	x.idle = false;
	settle(l, 1);
	CU_ASSERT(buf_is(&x.got, "x", 1));
	side_end(&x);
	loop_free(&l);
}

static void rest_alone_is_told(void)
{
	struct buf rest = BUF_INIT;
	struct loop *l = loop_new();
	struct side x;

	CU_ASSERT_EQUAL(buf_add(&rest, "\x82\x05Hello\x88\x02\x03\xe8", 11), 0);
	side_begin(&x, l, WS_DIALLED, &rest);
	x.read_max = 3;
	x.read_once = true;
	settle(l, 3);
	CU_ASSERT(buf_is(&x.got, "Hello", 5));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	side_end(&x);
	loop_free(&l);
}

static void a_failure_found_outside_the_handler_is_told(void)
{
	struct loop *l = loop_new();
	uint8_t p[16];
	struct side x;

	side_begin(&x, l, WS_DIALLED, NULL);
	CU_ASSERT_EQUAL(buf_add(&x.lower->given, "\x82\x01x\x8f", 4), 0); /* without telling */
	CU_ASSERT_EQUAL(buf_add(&x.lower->given, "", 1), 0);
	CU_ASSERT_EQUAL(stream_read(x.ws, p, sizeof(p)), 1);
	CU_ASSERT_EQUAL(x.readables, 0);
	settle(l, 1);
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_PROTO);
	side_end(&x);
	loop_free(&l);
}

/* A megabyte offered to a lower stream that takes nothing: one write's frames wait, and no more. */
static void what_waits_is_bounded(void)
{
	static uint8_t data[1 << 20];
	struct loop *l = loop_new();
	struct side x;
	ssize_t n;

	side_begin(&x, l, WS_DIALLED, NULL);
	x.lower->room = 0;
	n = put(&x, data, sizeof(data));
	CU_ASSERT_EQUAL(n, 4 * WS_PAYLOAD_MAX);
	CU_ASSERT(stream_unsent(x.ws) <= WS_UNSENT_MAX + 7);
	CU_ASSERT_EQUAL(put(&x, data, sizeof(data)), 0);
	lower_drain(x.lower, 100);
	settle(l, 1);
	CU_ASSERT_EQUAL(x.writables, 0);
	lower_drain(x.lower, ALL);
	settle(l, 1);
	CU_ASSERT_EQUAL(x.writables, 1);
	CU_ASSERT_EQUAL(put(&x, data, sizeof(data)), sizeof(data));
	settle(l, 2);
	CU_ASSERT_EQUAL(x.writables, 1);
	side_end(&x);
	loop_free(&l);
}

static void sends_are_coalesced(void)
{
	static uint8_t data[4 * WS_PAYLOAD_MAX], payload[WS_PAYLOAD_MAX];
	uint8_t keys[4][4];
	struct loop *l = loop_new();
	struct iovec v[9];
	struct side x;

	fill(data, sizeof(data), 7);
	side_begin(&x, l, WS_DIALLED, NULL);
	for (int i = 0; i < 8; i++) /* as the link's frames come: header, payload */
		v[i] = (struct iovec){data + i / 2 * WS_PAYLOAD_MAX + (i & 1) * 4, i & 1 ? WS_PAYLOAD_MAX - 4 : 4};
	v[8] = (struct iovec){NULL, 0};
	CU_ASSERT_EQUAL(stream_write(x.ws, v, 9), sizeof(data));
	CU_ASSERT_EQUAL(x.lower->writes, 1);
	for (size_t i = 0; i < 4; i++) {
		size_t n = 0;

		CU_ASSERT_EQUAL(take_frame(&x.lower->taken, true, payload, &n, keys[i]), 2);
		CU_ASSERT(n == WS_PAYLOAD_MAX && memcmp(payload, data + i * WS_PAYLOAD_MAX, n) == 0);
	}
	CU_ASSERT(memcmp(keys[0], keys[1], 4) != 0 || memcmp(keys[0], keys[2], 4) != 0);
	CU_ASSERT_EQUAL(x.lower->taken.len, 0);
	side_end(&x);
	loop_free(&l);
}

/* A frame of 2^62 bytes: its payload comes up as it arrives, and a Ping cannot come inside of it. */
static void endless_frame_stays_flat(void)
{
	static uint8_t data[16384];
	struct loop *l = loop_new();
	struct side x;

	fill(data, sizeof(data), 8);
	side_begin(&x, l, WS_DIALLED, NULL);
	give_hex(&x, "027f4000000000000000");
	for (unsigned i = 0; i < 64; i++) {
		lower_give(x.lower, data, sizeof(data));
		settle(l, 1);
		CU_ASSERT(buf_is(&x.got, data, sizeof(data)));
		CU_ASSERT_EQUAL(x.lower->given.len, 0);
	}
	CU_ASSERT_EQUAL(x.end, 0);
	side_end(&x);
	loop_free(&l);
}

static void frames_without_payload_end_a_read(void)
{
	struct loop *l = loop_new();
	uint8_t p[64];
	struct side x;

	side_begin(&x, l, WS_DIALLED, NULL);
	stream_pause(x.ws, true);
	for (unsigned i = 0; i < 1000; i++)
		lower_give(x.lower, "\x82\x00", 2);
	CU_ASSERT_EQUAL(stream_read(x.ws, p, sizeof(p)), ADIT_ERR_AGAIN);
	CU_ASSERT(x.lower->given.len > 0); /* others get their turn */
	stream_pause(x.ws, false);
	lower_give(x.lower, "\x82\x01x", 3);
	settle(l, 2);
	CU_ASSERT(buf_is(&x.got, "x", 1));
	side_end(&x);
	loop_free(&l);
}

/* ---- the rest of the contract */

static void freed_inside_readable(void)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_DIALLED, NULL);
	x.drop = true;
	give_hex(&x, "820161");
	CU_ASSERT_EQUAL(x.readables, 1);
	CU_ASSERT_PTR_NULL(x.ws);
	side_end(&x);
	loop_free(&l);
}

static void write_errors_are_final(void)
{
	struct loop *l = loop_new();
	struct side x;

	side_begin(&x, l, WS_DIALLED, NULL);
	x.lower->write_error = ADIT_ERR_RESET;
	CU_ASSERT_EQUAL(put(&x, "x", 1), ADIT_ERR_RESET);
	x.lower->write_error = 0;
	CU_ASSERT_EQUAL(put(&x, "x", 1), ADIT_ERR_RESET);
	give_hex(&x, "820161"); /* what came before can still be read */
	CU_ASSERT(buf_is(&x.got, "a", 1));
	stream_finish(x.ws);
	CU_ASSERT_EQUAL(x.lower->finishes, 1);
	CU_ASSERT_EQUAL(x.lower->taken.len, 0);
	side_end(&x);
	side_begin(&x, l, WS_DIALLED, NULL); /* one found later is told */
	x.lower->room = 2;
	CU_ASSERT_EQUAL(put(&x, "x", 1), 1);
	CU_ASSERT_EQUAL(put(&x, "y", 1), 0);
	x.lower->write_error = ADIT_ERR_RESET;
	lower_drain(x.lower, ALL);
	settle(l, 1);
	CU_ASSERT_EQUAL(x.writables, 1);
	CU_ASSERT_EQUAL(put(&x, "y", 1), ADIT_ERR_RESET);
	stream_spoil(x.ws);
	CU_ASSERT(x.lower->spoilt);
	side_end(&x);
	loop_free(&l);
}

static const struct unit_test tests[] = {
	{"the examples of RFC 6455 section 5.7 are read", examples_are_read},
	{"its long examples are read", long_examples_are_read},
	{"its examples are written byte for byte", examples_are_written},
	{"the accept key is that of section 1.3, and keys are 16 bytes", accept_key},
	{"however a transcript is split, the payload is the same", every_split_gives_the_same},
	{"two sides carry bytes both ways at any chunk size", both_ways_at_any_chunk_size},
	{"pause holds what comes, resume tells of it", pause_holds_and_resume_tells},
	{"bytes from behind the handshake are told of alone", rest_alone_is_told},
	{"a failure found outside the handler is told", a_failure_found_outside_the_handler_is_told},
	{"what waits for the lower stream is bounded", what_waits_is_bounded},
	{"64 KiB go down in one write, each frame with its own key", sends_are_coalesced},
	{"a frame of 2^62 bytes comes up as it arrives", endless_frame_stays_flat},
	{"frames without payload end a read in time", frames_without_payload_end_a_read},
	{"it may be freed inside readable", freed_inside_readable},
	{"write errors are final and told", write_errors_are_final},
};

UNIT_MAIN("ws", tests)
