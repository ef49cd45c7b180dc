#include "base/log_int.h"

#include <jansson.h>
#include <string.h>

#include "unit.h"

#define KV(...) ((const struct log_kv[]){__VA_ARGS__, {.type = LOG_KV_END}})

/** One line without its time; in `o`, as a string. */
static const char *format(struct log_line *o, enum log_format f, const struct log_kv *kv)
{
	log_line_format(o, f, LOG_LEVEL_INFO, "e", NULL, kv);
	CU_ASSERT_FATAL(o->n > 0 && o->n <= LOG_LINE_MAX);
	CU_ASSERT_EQUAL(o->at[o->n - 1], '\n');
	memset(o->at + o->stamp, 'T', LOG_STAMP_BYTES);
	o->at[o->n - 1] = '\0';
	CU_ASSERT_EQUAL(strlen(o->at), o->n - 1);
	return o->at;
}

/** What follows "e " in a text line. */
static const char *as_text(struct log_line *o, const struct log_kv *kv)
{
	return format(o, LOG_FORMAT_TEXT, kv) + LOG_STAMP_BYTES + strlen(" INFO  e ");
}

/** What follows the event in a JSON line. */
static const char *as_json(struct log_line *o, const struct log_kv *kv)
{
	const char *event = strstr(format(o, LOG_FORMAT_JSON, kv), "\"e\",");

	return event ? event + 4 : "";
}

static void test_numbers(void)
{
	struct log_line o;

	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_U64("a", 0), KV_U64("b", 10), KV_U64("c", UINT64_MAX))),
	                       "a=0 b=10 c=18446744073709551615");
	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_I64("a", -1), KV_I64("b", INT64_MIN), KV_I64("c", INT64_MAX))),
	                       "a=-1 b=-9223372036854775808 c=9223372036854775807");
	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_US("a", 0), KV_US("b", 7), KV_US("c", 999), KV_US("d", 60000000))),
	                       "a=0.000 b=0.007 c=0.999 d=60000.000");
	CU_ASSERT_STRING_EQUAL(as_json(&o, KV(KV_I64("a", -5), KV_US("b", 1500))), "\"a\":-5,\"b\":1.500}");
}

static void test_hex(void)
{
	static const uint8_t id[] = {0x00, 0x0f, 0xff, 0xa5};
	struct log_line o;

	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_HEX("id", id, sizeof(id)))), "id=000fffa5");
	CU_ASSERT_STRING_EQUAL(as_json(&o, KV(KV_HEX("id", id, sizeof(id)))), "\"id\":\"000fffa5\"}");
	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_HEX("id", id, 0))), "id=\"\"");
}

static void test_nothing_to_say(void)
{
	struct log_line o;

	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_SOME("a", ""), KV_SOME("b", "x y"), KV_SOME("c", NULL))), "b=\"x y\"");
	CU_ASSERT_STRING_EQUAL(as_json(&o, KV(KV_SOME("a", ""), KV_U64("b", 1))), "\"b\":1}");
}

static void test_quotes(void)
{
	struct log_line o;

	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_Z("a", "/x?y"), KV_Z("b", "two words"))), "a=/x?y b=\"two words\"");
	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_Z("a", "k=v"), KV_Z("b", ""), KV_Z("c", NULL))),
	                       "a=\"k=v\" b=\"\" c=\"\"");
	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_Z("a", "say \"hi\\\""))), "a=\"say \\\"hi\\\\\\\"\"");
	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_Z("a", "M\xc3\xbcnchen \xe2\x82\xac \xf0\x9f\x9a\x87"))),
	                       "a=\"M\xc3\xbcnchen \xe2\x82\xac \xf0\x9f\x9a\x87\"");
}

static void test_control_bytes(void)
{
	struct log_line o;
	struct str bad = STR("a\r\nb\t\x1b[2J\0\x7f");

	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_STR("v", bad))), "v=\"a\\r\\nb\\t\\x1b[2J\\x00\\x7f\"");
	CU_ASSERT_STRING_EQUAL(as_json(&o, KV(KV_STR("v", bad))), "\"v\":\"a\\r\\nb\\t\\u001b[2J\\u0000\\u007f\"}");
	CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_U64("k\ney", 1))), "k\\ney=1");
	CU_ASSERT_STRING_EQUAL(as_json(&o, KV(KV_U64("k\ney", 1))), "\"k\\ney\":1}");
}

/** C1's CSI and NEL, LINE SEPARATOR, RIGHT-TO-LEFT OVERRIDE, ISOLATE; their neighbours stay. */
static void test_misleading_characters(void)
{
	struct log_line o;
	const struct log_kv *kv =
		KV(KV_Z("v", "\xc2\x9b\xc2\x85\xe2\x80\xa8\xe2\x80\xae\xe2\x81\xa6\xc2\xa0\xe2\x80\xa7"));

	CU_ASSERT_STRING_EQUAL(as_text(&o, kv), "v=\"\\u009b\\u0085\\u2028\\u202e\\u2066\xc2\xa0\xe2\x80\xa7\"");
	CU_ASSERT_STRING_EQUAL(as_json(&o, kv), "\"v\":\"\\u009b\\u0085\\u2028\\u202e\\u2066\xc2\xa0\xe2\x80\xa7\"}");
}

static void test_not_utf8(void)
{
	static const struct {
		const char *in, *text;
	} bad[] = {
		{"\x80", "\\x80"},                              /* a continuation alone */
		{"\xff!", "\\xff!"},                            /* never a byte of UTF-8 */
		{"\xc0\x8a", "\\xc0\\x8a"},                     /* overlong newline */
		{"\xe0\x80\x8a", "\\xe0\\x80\\x8a"},            /* the same in three */
		{"\xed\xa0\x80", "\\xed\\xa0\\x80"},            /* a surrogate */
		{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},   /* past U+10FFFF */
		{"\xe2\x82", "\\xe2\\x82"},                     /* cut by the end */
		{"\xe2\x82\"", "\\xe2\\x82\\\""},               /* cut by a quote, which must be seen */
		{"\xf0\x9f\n", "\\xf0\\x9f\\n"},                /* cut by a newline */
	};
	struct log_line o;
	char want[64];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(want, sizeof(want), "v=\"%s\"", bad[i].text);
		CU_ASSERT_STRING_EQUAL(as_text(&o, KV(KV_Z("v", bad[i].in))), want);
	}
	CU_ASSERT_STRING_EQUAL(as_json(&o, KV(KV_Z("v", "\xff\x80"))), "\"v\":\"\\\\xff\\\\x80\"}");
}

/* ---- cutting */

static void fill(char *to, size_t n, const char *unit)
{
	for (size_t i = 0; i < n; i++)
		to[i] = unit[i % strlen(unit)];
}

static void test_long_value(void)
{
	static char big[100000];
	const struct str all = {big, sizeof(big)};
	struct log_line o;
	const char *line;

	fill(big, sizeof(big), "x");
	line = as_text(&o, KV(KV_STR("path", all), KV_U64("status", 200), KV_Z("name", "shop")));
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "xxx... status=200 name=shop"));
	CU_ASSERT(o.n > LOG_LINE_MAX - 128);
	line = as_text(&o, KV(KV_HEX("id", big, sizeof(big)), KV_U64("status", 200)));
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "787878... status=200"));
	line = as_json(&o, KV(KV_STR("path", ((struct str){big, 3900})), KV_U64("n", 1)));
	CU_ASSERT_EQUAL(strlen(line), 3900 + strlen("\"path\":\"\",\"n\":1}"));
}

static void test_too_many_fields(void)
{
	static char big[5000]; /* its last byte stays NUL */
	struct log_kv kv[400];
	struct log_line o;
	const char *line;
	size_t n = sizeof(kv) / sizeof(kv[0]);

	fill(big, sizeof(big) - 1, "y");
	for (size_t i = 0; i < n; i++)
		kv[i] = (struct log_kv)KV_STR("some-key", ((struct str){big, i % 40}));
	kv[n - 1].type = LOG_KV_END;
	line = as_text(&o, kv);
	CU_ASSERT_STRING_EQUAL(line + strlen(line) - 4, " ...");
	line = as_json(&o, kv);
	CU_ASSERT_STRING_EQUAL(line + strlen(line) - 12, ",\"cut\":true}");
	line = as_text(&o, KV(KV_U64("a", 1), KV_Z("b", "y"), {.key = big, .type = LOG_KV_BOOL}));
	CU_ASSERT_PTR_NOT_NULL(strstr(line, "a=1 b=y yyyyyyyy"));
}

static uint32_t next_random(uint32_t *state)
{
	*state = *state * 1664525 + 1013904223;
	return *state >> 8;
}

/** Any bytes of any length, several a record: each line parses, and is one line. */
static void test_json_always_parses(void)
{
	static const char *const units[] = {"\n", "\"", "\\", "\xff",
	                                    "a",  "\x01", "\xe2\x80\xa8", "\xf0\x9f\x9a\x87"};
	static char bytes[3][6000];
	uint32_t seed = 1;
	struct log_line o;

	for (int round = 0; round < 3000; round++) {
		struct log_kv kv[4] = {0}; /* LOG_KV_END is 0 */
		json_t *parsed;

		for (size_t i = 0; i < 3; i++) {
			size_t n = next_random(&seed) % (round % 3 ? 60 : sizeof(bytes[i]));
			bool pure = next_random(&seed) % 2;

			fill(bytes[i], n, units[next_random(&seed) % 8]);
			for (size_t j = 0; !pure && j < n; j++)
				bytes[i][j] = (char)next_random(&seed);
			kv[i] = (struct log_kv)KV_STR("key", ((struct str){bytes[i], n}));
			kv[i].key = i == 0 ? "one" : i == 1 ? "two" : "three";
			if (next_random(&seed) % 8 == 0)
				kv[i].type = LOG_KV_HEX;
		}
		parsed = json_loads(format(&o, LOG_FORMAT_JSON, kv), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
		CU_ASSERT_PTR_NOT_NULL_FATAL(parsed);
		CU_ASSERT_FATAL(json_object_size(parsed) == 6);
		json_decref(parsed);
		CU_ASSERT_PTR_NULL(strchr(format(&o, LOG_FORMAT_TEXT, kv), '\n'));
	}
}

/** The value that no longer fits by one byte, at every length around the edge. */
static void test_edge_of_a_line(void)
{
	static const struct {
		const char *unit;
		size_t from; /* bytes that fit for sure */
	} rows[] = {{"x", 3900}, {"\"", 1900}, {"\x01", 600}, {"\xc3\xbc", 3900}};
	static char big[LOG_LINE_MAX];
	struct log_line o;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t whole = 0, cut = 0;

		for (size_t n = rows[i].from; n < rows[i].from + 196; n++) {
			const char *line;

			fill(big, n, rows[i].unit);
			line = as_json(&o, KV(KV_STR("v", ((struct str){big, n}))));
			CU_ASSERT(!o.full);
			CU_ASSERT_FATAL(strlen(line) >= 5);
			CU_ASSERT_STRING_EQUAL(line + strlen(line) - 2, "\"}");
			if (strcmp(line + strlen(line) - 5, "...\"}") == 0)
				cut++;
			else
				whole++;
			CU_ASSERT(cut || *rows[i].unit != 'x' || strlen(line) == n + strlen("\"v\":\"\"}"));
		}
		CU_ASSERT(cut > 0 && whole > 0);
	}
}

static const struct unit_test tests[] = {
	{"numbers are written to their limits", test_numbers},
	{"bytes are written as hex", test_hex},
	{"what says nothing is left out where that is asked for", test_nothing_to_say},
	{"a text value is quoted when it could be misread", test_quotes},
	{"control bytes are escaped in values and keys", test_control_bytes},
	{"characters that break or turn a line on a screen are escaped", test_misleading_characters},
	{"bytes that are not UTF-8 are escaped and hide nothing after them", test_not_utf8},
	{"a long value is cut and the fields after it stay", test_long_value},
	{"fields that do not fit are left out whole, and the line says so", test_too_many_fields},
	{"whatever a record holds, its JSON line parses", test_json_always_parses},
	{"a value is whole or ends in ... at every length around the edge", test_edge_of_a_line},
};

UNIT_MAIN("log_line", tests)
