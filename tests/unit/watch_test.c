#include "watch/merge.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "unit.h"
#include "watch/clocks.h"
#include "watch/phrase.h"
#include "watch/source.h"
#include "watch/summary.h"

/* ---- lines */

#define TIME(s) "\"time\":\"2026-11-22T18:00:" s "Z\""
#define ADIT(s, mono, event, more) \
	"{" TIME(s) ",\"event\":\"" event "\",\"mono\":" mono ",\"program\":\"adit\",\"link\":\"l1\"" more "}\n"
#define ADITD(s, mono, event, more) \
	"{" TIME(s) ",\"event\":\"" event "\",\"mono\":" mono ",\"program\":\"aditd\",\"link\":\"l1\"" more "}\n"

static struct trace_record read_line(const char *line)
{
	struct trace_record r;

	CU_ASSERT_TRUE_FATAL(trace_record_read(&r, line, strlen(line)));
	return r;
}

static bool refuses(const char *line)
{
	struct trace_record r;

	return !trace_record_read(&r, line, strlen(line)) && !r.json;
}

static void test_record(void)
{
	struct trace_record r = read_line(ADIT("01.250", "5.5", "lost", ",\"n\":3,\"f\":2.5,\"t\":\"x\",\"big\":1e300"));

	CU_ASSERT_EQUAL(r.program, TRACE_ADIT);
	CU_ASSERT_STRING_EQUAL(r.event, "lost");
	CU_ASSERT_STRING_EQUAL(r.link, "l1");
	CU_ASSERT_EQUAL(r.at_us, INT64_C(1795370401250000));
	CU_ASSERT_EQUAL(trace_number(&r, "n"), 3);
	CU_ASSERT_EQUAL(trace_number(&r, "f"), 2);
	CU_ASSERT_EQUAL(trace_number(&r, "t"), 0);
	CU_ASSERT_EQUAL(trace_number(&r, "big"), 0);
	CU_ASSERT_STRING_EQUAL(trace_text(&r, "n"), "");
	trace_record_clear(&r);
	CU_ASSERT_TRUE(refuses(""));
	CU_ASSERT_TRUE(refuses("[]"));
	CU_ASSERT_TRUE(refuses("{}"));
	CU_ASSERT_TRUE(refuses("{" TIME("01.250") ",\"event\":\"lost\",\"program\":\"adit\"}")); /* no mono: of a log */
	CU_ASSERT_TRUE(refuses("{" TIME("01.250") ",\"event\":\"lost\",\"program\":\"cat\",\"mono\":1}"));
	CU_ASSERT_TRUE(refuses("{" TIME("61.250") ",\"event\":\"lost\",\"program\":\"adit\",\"mono\":1}"));
	CU_ASSERT_TRUE(refuses("{" TIME("1.250") ",\"event\":\"lost\",\"program\":\"adit\",\"mono\":1}"));
	CU_ASSERT_TRUE(refuses("{\"time\":5,\"event\":\"lost\",\"program\":\"adit\",\"mono\":1}"));
}

static const char *phrase(const char *line)
{
	static char out[PHRASE_MAX];
	struct trace_record r = read_line(line);

	phrase_of(&r, out);
	trace_record_clear(&r);
	return out;
}

static void test_phrases(void)
{
	char n[PHRASE_NUMBER];

	CU_ASSERT_STRING_EQUAL(phrase(ADIT("01.250", "5.5", "detached", ",\"carrier\":\"direct\",\"reason\":\"RESET\","
	                                   "\"alive_ms\":61000,\"silent_ms\":0,\"requests\":1,\"sent\":10000,\"acked\":1,\"detail\":\"\"")),
	                       "direct: connection reset, alive 1 min 1 s, 1 request under way, 9,999 B not acked");
	/* the detail is left out where it repeats the reason */
	CU_ASSERT_STRING_EQUAL(phrase(ADIT("01.250", "5.5", "lost",
	                                   ",\"reason\":\"GONE\",\"detail\":\"link not known here\"")),
	                       "link not known here");
	CU_ASSERT_STRING_EQUAL(phrase(ADIT("01.250", "5.5", "lost",
	                                   ",\"reason\":\"GONE\",\"detail\":\"other\",\"requests\":2")),
	                       "link not known here (other), 2 requests cut");
	/* a newer program's event, and its reason */
	CU_ASSERT_STRING_EQUAL(phrase(ADIT("01.250", "5.5", "new", ",\"a\":1,\"b\":\"c\"")), "a=1 b=\"c\"");
	CU_ASSERT_STRING_EQUAL(phrase(ADIT("01.250", "5.5", "lost", ",\"reason\":\"LATER\"")), "LATER");
	/* the same name says other things at each end */
	CU_ASSERT_STRING_EQUAL(phrase(ADITD("01.250", "5.5", "close", ",\"code\":503,\"requests\":1")),
	                       "adit says 503, 1 request cut");
	CU_ASSERT_STRING_EQUAL(phrase(ADIT("01.250", "5.5", "close", ",\"code\":410")), "the server says 410");
	CU_ASSERT_STRING_EQUAL(phrase_ms(n, 999), "999 ms");
	CU_ASSERT_STRING_EQUAL(phrase_ms(n, 1000), "1.0 s");
	CU_ASSERT_STRING_EQUAL(phrase_ms(n, 3600000), "1 h 0 min");
	CU_ASSERT_STRING_EQUAL(phrase_ms(n, -5), "-5 ms");
	CU_ASSERT_STRING_EQUAL(phrase_count(n, 0), "0");
	CU_ASSERT_STRING_EQUAL(phrase_count(n, 999), "999");
	CU_ASSERT_STRING_EQUAL(phrase_count(n, -1234567), "-1,234,567");
}

/* An event whose value fills the line must not write behind it. */
static void test_long_phrase(void)
{
	static const char head[] = ADIT("01.250", "5.5", "lost", ",\"reason\":\"GONE\",\"requests\":2,\"detail\":\"");
	char *line = malloc(sizeof(head) + 8000), out[PHRASE_MAX];
	struct trace_record r;
	size_t n = sizeof(head) - 3; /* without }\n */

	CU_ASSERT_PTR_NOT_NULL_FATAL(line);
	memcpy(line, head, n);
	memset(line + n, 'x', 8000);
	memcpy(line + n + 7990, "\"}", 3);
	r = read_line(line);
	memset(out, 'y', sizeof(out));
	phrase_of(&r, out);
	CU_ASSERT_EQUAL(strlen(out), PHRASE_MAX - 1);
	trace_record_clear(&r);
	free(line);
}

/* ---- files */

struct place {
	char dir[64], path[96], other[96];
};

static void place_begin(struct place *p)
{
	strcpy(p->dir, "/tmp/adit-watch-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(p->dir));
	snprintf(p->path, sizeof(p->path), "%s/a", p->dir);
	snprintf(p->other, sizeof(p->other), "%s/a.1", p->dir);
}

static void place_end(struct place *p)
{
	unlink(p->path);
	unlink(p->other);
	CU_ASSERT_EQUAL(rmdir(p->dir), 0);
}

static void put(const char *path, const char *mode, const char *text)
{
	FILE *f = fopen(path, mode);

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

static bool next_is(struct source *s, const char *event)
{
	struct trace_record r;
	bool same = source_next(s, &r) && strcmp(r.event, event) == 0;

	if (r.json)
		trace_record_clear(&r);
	return same;
}

static bool none_now(struct source *s)
{
	struct trace_record r;

	return !source_next(s, &r);
}

static void test_source(void)
{
	struct place p;
	struct source *s;
	char *longer = calloc(1, 3 * SOURCE_LINE_MAX);

	place_begin(&p);
	CU_ASSERT(source_open(&s, p.path, false) < 0);
	CU_ASSERT_PTR_NULL(s);
	CU_ASSERT(source_open(&s, p.dir, false) < 0);
	CU_ASSERT_PTR_NOT_NULL_FATAL(longer);
	memset(longer, 'x', 3 * SOURCE_LINE_MAX - 2);
	longer[3 * SOURCE_LINE_MAX - 2] = '\n';
	put(p.other, "w", ADIT("01.000", "1", "one", ""));
	put(p.path, "w", "\n" ADIT("02.000", "2", "two", "") "{\n");
	put(p.path, "a", longer);
	put(p.path, "a", ADIT("03.000", "3", "three", "") "{\"time\":");
	CU_ASSERT_EQUAL_FATAL(source_open(&s, p.path, false), 0);
	CU_ASSERT_TRUE(next_is(s, "one"));
	CU_ASSERT_TRUE(next_is(s, "two"));
	CU_ASSERT_TRUE(next_is(s, "three"));
	CU_ASSERT_TRUE(none_now(s));
	CU_ASSERT_EQUAL(source_skipped(s), 4);
	source_free(&s);
	free(longer);
	place_end(&p);
}

/** A line comes in two pieces; the file is moved while it is read, behind a last line; then it is truncated. */
static void test_follow(void)
{
	struct place p;
	struct source *s;

	place_begin(&p);
	put(p.path, "w", "{" TIME("01.000") ",\"event\":\"one\",\"mono\":1,");
	CU_ASSERT_EQUAL_FATAL(source_open(&s, p.path, true), 0);
	CU_ASSERT_TRUE(none_now(s));
	put(p.path, "a", "\"program\":\"adit\"}\n");
	CU_ASSERT_TRUE(next_is(s, "one"));
	CU_ASSERT_TRUE(none_now(s));
	put(p.path, "a", ADIT("02.000", "2", "two", ""));
	CU_ASSERT_EQUAL(rename(p.path, p.other), 0);
	CU_ASSERT_TRUE(next_is(s, "two"));
	CU_ASSERT_TRUE(none_now(s));
	put(p.path, "w", ADIT("03.000", "3", "three", "") ADIT("03.000", "3", "three", ""));
	CU_ASSERT_TRUE(next_is(s, "three"));
	CU_ASSERT_TRUE(next_is(s, "three"));
	put(p.path, "w", ADIT("04.000", "4", "four", ""));
	CU_ASSERT_TRUE(next_is(s, "four"));
	CU_ASSERT_TRUE(none_now(s));
	CU_ASSERT_EQUAL(source_skipped(s), 0);
	source_free(&s);
	place_end(&p);
}

/** The wall clock goes back by a minute between two events that are 500 ms apart. */
static void test_set_back(void)
{
	struct place p;
	struct source *s;
	struct trace_record r;
	int64_t first;

	place_begin(&p);
	put(p.path, "w", ADIT("59.000", "1000", "one", "") ADIT("01.500", "1500", "two", "")
	    ADIT("01.600", "1600", "three", ""));
	CU_ASSERT_EQUAL_FATAL(source_open(&s, p.path, false), 0);
	CU_ASSERT_TRUE_FATAL(source_next(s, &r));
	first = r.at_us;
	trace_record_clear(&r);
	CU_ASSERT_TRUE_FATAL(source_next(s, &r));
	CU_ASSERT_EQUAL(r.at_us - first, 500000);
	trace_record_clear(&r);
	CU_ASSERT_TRUE_FATAL(source_next(s, &r));
	CU_ASSERT_EQUAL(r.at_us - first, 600000);
	trace_record_clear(&r);
	CU_ASSERT_EQUAL(source_set_back(s), 1);
	source_free(&s);
	place_end(&p);
}

/* ---- both ends */

static void add_points(struct clock_points *p, const char *const *lines, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct trace_record r = read_line(lines[i]);

		CU_ASSERT_EQUAL(clock_points_add(p, &r), 0);
		trace_record_clear(&r);
	}
}

/** The second attach has the shorter round trip; the third never was answered; the clocks are 10 s apart. */
static void test_clocks(void)
{
	static const char *const adit[] = {
		ADIT("01.000", "1", "attach", ",\"epoch\":1"), ADIT("03.000", "1", "attached", ",\"epoch\":1"),
		ADIT("04.000", "1", "attach", ",\"epoch\":2"), ADIT("04.100", "1", "attached", ",\"epoch\":2"),
		ADIT("05.000", "1", "attach", ",\"epoch\":3"),
	};
	static const char *const aditd[] = {
		ADITD("11.900", "1", "attached", ",\"epoch\":1"), ADITD("14.050", "1", "attached", ",\"epoch\":2"),
		ADITD("15.000", "1", "attached", ",\"epoch\":3"),
	};
	static const char *const near[] = {ADITD("01.900", "1", "attached", ",\"epoch\":1")};
	struct clock_points a = {0}, d = {0}, n = {0};

	add_points(&a, adit, 5);
	add_points(&d, aditd, 3);
	add_points(&n, near, 1);
	CU_ASSERT_EQUAL(a.program, TRACE_ADIT);
	CU_ASSERT_EQUAL(a.n, 2);
	CU_ASSERT_EQUAL(clocks_between(&d, &a), 10000000);
	CU_ASSERT_EQUAL(clocks_between(&n, &a), 0); /* within the round trip */
	CU_ASSERT_EQUAL(clocks_between(&a, &(struct clock_points){0}), 0);
	clock_points_clear(&a);
	clock_points_clear(&d);
	clock_points_clear(&n);
}

static bool loses(const char *const *lines, size_t n)
{
	struct summary *s = summary_new();
	bool lost;

	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	for (size_t i = 0; i < n; i++) {
		struct trace_record r = read_line(lines[i]);

		CU_ASSERT_EQUAL(summary_add(s, &r), 0);
		trace_record_clear(&r);
	}
	lost = summary_lost(s);
	summary_free(&s);
	return lost;
}

#define LINES(...) ((const char *const[]){__VA_ARGS__})
#define LOSES(...) loses(LINES(__VA_ARGS__), sizeof(LINES(__VA_ARGS__)) / sizeof(char *))
/* Of no link. */
#define ALONE(event, more) "{" TIME("01.000") ",\"event\":\"" event "\",\"mono\":1,\"program\":\"aditd\"" more "}"
#define UP(program) program("01.000", "1", "welcome", ",\"carrier\":\"direct\"")

static void test_verdict(void)
{
	CU_ASSERT_FALSE(LOSES(UP(ADIT), ADIT("02.000", "1", "lost", ",\"requests\":0")));
	CU_ASSERT_TRUE(LOSES(UP(ADIT), ADIT("02.000", "1", "lost", ",\"requests\":1")));
	/* the visitors are aditd's: what it had moved to another link by then is not lost */
	CU_ASSERT_FALSE(LOSES(UP(ADIT), UP(ADITD), ADIT("02.000", "1", "lost", ",\"requests\":1"),
	                      ADITD("02.000", "1", "lost", ",\"requests\":0")));
	CU_ASSERT_TRUE(LOSES(UP(ADITD), ADITD("02.000", "1", "close", ",\"code\":503,\"requests\":1")));
	/* what is away may come back */
	CU_ASSERT_FALSE(LOSES(UP(ADIT), ADIT("02.000", "1", "detached", ",\"requests\":1")));
	CU_ASSERT_FALSE(LOSES(ALONE("hold.over", ",\"waited\":5")));
	CU_ASSERT_TRUE(LOSES(ALONE("hold.over", ",\"gave_up\":1")));
	CU_ASSERT_TRUE(LOSES(ALONE("hold.over", ",\"turned_away\":1")));
	CU_ASSERT_TRUE(LOSES(ALONE("stop", ",\"requests\":1")));
}

static const struct unit_test tests[] = {
	{"an event is a JSON object of a trace, and nothing else is", test_record},
	{"an event is told by its row of the table", test_phrases},
	{"a line that is too long is cut", test_long_phrase},
	{"FILE.1 comes before FILE, and what is no event is counted and passed over", test_source},
	{"a file is followed as it grows, moves and is truncated", test_follow},
	{"a clock that is set back is continued", test_set_back},
	{"the shortest round trip says how far clocks are apart", test_clocks},
	{"lost is what was cut, waited in vain or was turned away", test_verdict},
};

UNIT_MAIN("watch", tests)
