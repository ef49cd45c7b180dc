#include "link/frame.h"

#include <string.h>

#include "base/err.h"
#include "unit.h"

static const uint8_t eight[8] = {1, 2, 3, 4, 5, 6, 7, 8};

/* ACK 1, DATA "hello", CLOSE 503 "full", DATA "!" */
static const uint8_t transcript[] = {
	1, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1,
	0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o',
	9, 0, 0, 6, 1, 0xf7, 'f', 'u', 'l', 'l',
	0, 0, 0, 1, '!',
};

struct seen {
	char log[256]; /* one letter per control frame, DATA bytes as they are */
	size_t n;
};

static void note(struct seen *s, const struct frame *f)
{
	if (f->type == FRAME_DATA) {
		memcpy(s->log + s->n, f->p, f->n);
		s->n += f->n;
		return;
	}
	s->log[s->n++] = f->type == FRAME_ACK && f->n == 8 && get_u64(f->p) == 1 ? 'A' : '?';
	if (f->type == FRAME_CLOSE && f->n == 6 && get_u16(f->p) == 503 && !memcmp(f->p + 2, "full", 4))
		s->log[s->n - 1] = 'C';
}

static int feed(struct frame_parser *p, const uint8_t *data, size_t n, struct seen *s)
{
	for (;;) {
		struct frame f;
		size_t used;
		int r = frame_parse(p, data, n, &used, &f);

		if (r <= 0)
			return r;
		note(s, &f);
		data += used;
		n -= used;
	}
}

static void any_cut_gives_the_same_frames(void)
{
	size_t n = sizeof(transcript);

	for (size_t a = 0; a <= n; a++)
		for (size_t b = a; b <= n; b++) {
			struct frame_parser p;
			struct seen s = {"", 0};

			frame_parser_init(&p);
			CU_ASSERT_EQUAL(feed(&p, transcript, a, &s), 0);
			CU_ASSERT_EQUAL(feed(&p, transcript + a, b - a, &s), 0);
			CU_ASSERT_EQUAL(feed(&p, transcript + b, n - b, &s), 0);
			CU_ASSERT_EQUAL(s.n, 8);
			CU_ASSERT_EQUAL(memcmp(s.log, "AhelloC!", 8), 0);
			frame_parser_clear(&p);
		}
}

static void one_byte_at_a_time_gives_the_same_frames(void)
{
	struct frame_parser p;
	struct seen s = {"", 0};

	frame_parser_init(&p);
	for (size_t i = 0; i < sizeof(transcript); i++)
		CU_ASSERT_EQUAL(feed(&p, transcript + i, 1, &s), 0);
	CU_ASSERT_EQUAL(memcmp(s.log, "AhelloC!", 8), 0);
	frame_parser_clear(&p);
}

static void data_comes_as_soon_as_it_is_there(void)
{
	struct frame_parser p;
	struct frame f;
	size_t used;
	uint8_t head[6] = {0, 0, 0, 9, 'a', 'b'};

	frame_parser_init(&p);
	CU_ASSERT_EQUAL(frame_parse(&p, head, sizeof(head), &used, &f), 1);
	CU_ASSERT_EQUAL(used, 6);
	CU_ASSERT_EQUAL(f.n, 2);
	CU_ASSERT_EQUAL(frame_parse(&p, head, 0, &used, &f), 0);
	frame_parser_clear(&p);
}

static int judge(unsigned type, size_t len)
{
	uint8_t header[FRAME_HEADER_LEN];
	struct frame_parser p;
	struct frame f;
	size_t used;
	int r, again;

	frame_header(header, FRAME_DATA, len);
	header[0] = (uint8_t)type;
	frame_parser_init(&p);
	r = frame_parse(&p, header, sizeof(header), &used, &f);
	again = frame_parse(&p, eight, (size_t)(r < 0), &used, &f);
	CU_ASSERT_EQUAL(r, again);
	frame_parser_clear(&p);
	return r;
}

static void lengths_are_held_to_each_type(void)
{
	static const struct {
		unsigned type;
		size_t min, max;
	} rows[] = {
		{FRAME_DATA, 1, FRAME_DATA_MAX}, {FRAME_ACK, 8, 8}, {FRAME_PING, 8, 8}, {FRAME_PONG, 8, 8},
		{FRAME_HELLO, 2, FRAME_CONTROL_MAX}, {FRAME_WELCOME, 2, FRAME_CONTROL_MAX},
		{FRAME_ATTACH, 2, FRAME_CONTROL_MAX}, {FRAME_ATTACHED, 2, FRAME_CONTROL_MAX},
		{FRAME_DRAIN, 4, 4}, {FRAME_CLOSE, 2, 2 + FRAME_REASON_MAX},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CU_ASSERT_EQUAL(judge(rows[i].type, rows[i].min), 0);
		CU_ASSERT_EQUAL(judge(rows[i].type, rows[i].max), 0);
		CU_ASSERT_EQUAL(judge(rows[i].type, rows[i].min - 1), ADIT_ERR_PROTO);
		CU_ASSERT_EQUAL(judge(rows[i].type, rows[i].max + 1), ADIT_ERR_PROTO);
		CU_ASSERT_EQUAL(judge(rows[i].type, 0xffffff), ADIT_ERR_PROTO);
		CU_ASSERT_STRING_NOT_EQUAL(frame_name((enum frame_type)rows[i].type), "?");
	}
	for (unsigned type = FRAME_CLOSE + 1; type < 256; type++)
		CU_ASSERT_EQUAL(judge(type, 8), ADIT_ERR_PROTO);
	CU_ASSERT_STRING_EQUAL(frame_name((enum frame_type)10), "?");
	CU_ASSERT_STRING_EQUAL(frame_name(FRAME_ATTACHED), "ATTACHED");
}

static void clear_forgets_a_half_read_frame(void)
{
	struct frame_parser p;
	struct seen s = {"", 0};

	frame_parser_init(&p);
	CU_ASSERT_EQUAL(feed(&p, transcript, 9, &s), 0);
	frame_parser_clear(&p);
	CU_ASSERT_EQUAL(feed(&p, transcript + 12, 9, &s), 0);
	CU_ASSERT_EQUAL(memcmp(s.log, "hello", 5), 0);
	frame_parser_clear(&p);
}

/* The bytes that doc/wire.md shows. */
static void headers_are_the_documented_bytes(void)
{
	uint8_t h[FRAME_HEADER_LEN];

	frame_header(h, FRAME_HELLO, 124);
	CU_ASSERT_EQUAL(memcmp(h, "\x04\x00\x00\x7c", 4), 0);
	frame_header(h, FRAME_DATA, FRAME_DATA_MAX);
	CU_ASSERT_EQUAL(memcmp(h, "\x00\x00\x3f\xd4", 4), 0);
}

static void numbers_are_big_endian(void)
{
	uint8_t b[8];

	put_u16(b, 0x0102);
	CU_ASSERT_EQUAL(memcmp(b, eight, 2), 0);
	put_u32(b, 0x01020304);
	CU_ASSERT_EQUAL(memcmp(b, eight, 4), 0);
	put_u64(b, 0x0102030405060708);
	CU_ASSERT_EQUAL(memcmp(b, eight, 8), 0);
	CU_ASSERT_EQUAL(get_u16(eight), 0x0102);
	CU_ASSERT_EQUAL(get_u32(eight), 0x01020304);
	CU_ASSERT_EQUAL(get_u64(eight), 0x0102030405060708);
	memset(b, 0xff, 8);
	CU_ASSERT_EQUAL(get_u64(b), UINT64_MAX);
	CU_ASSERT_EQUAL(get_u32(b), UINT32_MAX);
}

static const struct unit_test tests[] = {
	{"a transcript cut at any two places gives the same frames", any_cut_gives_the_same_frames},
	{"one byte at a time gives the same frames", one_byte_at_a_time_gives_the_same_frames},
	{"DATA is handed over in pieces as it arrives", data_comes_as_soon_as_it_is_there},
	{"each type's length is held to its bounds, other types are refused", lengths_are_held_to_each_type},
	{"clear forgets a half-read frame", clear_forgets_a_half_read_frame},
	{"frame headers are the bytes that doc/wire.md shows", headers_are_the_documented_bytes},
	{"numbers are big endian", numbers_are_big_endian},
};

UNIT_MAIN("frame", tests)
