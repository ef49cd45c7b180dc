#include "base/log.h"
#include "base/log_kept.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "unit.h"

/* Both clocks are ours: base/clock.c is not linked when its functions are here. */
#define WALL_START UINT64_C(1795372945123000) /* 2026-11-22T18:42:25.123Z */
#define STAMP "2026-11-22T18:42:25.123Z"

static _Atomic uint64_t wall_us = WALL_START;

uint64_t clock_us(void)
{
	return 7012345;
}

uint64_t clock_ms(void)
{
	return clock_us() / 1000;
}

uint64_t clock_wall_us(void)
{
	return wall_us;
}

/* ---- a directory for one test, with the log in it */

struct place {
	char dir[64];
	char path[80], old[80];
	struct log *log;
	char *text; /* what a file holds, after place_read */
};

static void place_begin(struct place *p, const struct log_options *o)
{
	struct log_options with_path = *o;

	memset(p, 0, sizeof(*p));
	wall_us = WALL_START;
	strcpy(p->dir, "/tmp/adit-log-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(p->dir));
	snprintf(p->path, sizeof(p->path), "%s/log", p->dir);
	snprintf(p->old, sizeof(p->old), "%s/log.1", p->dir);
	with_path.path = p->path;
	CU_ASSERT_EQUAL_FATAL(log_open(&p->log, &with_path), 0);
}

static const char *place_read(struct place *p, const char *path)
{
	FILE *f = fopen(path, "r");
	size_t n = 0;

	free(p->text);
	p->text = calloc(1, 4 * 1024 * 1024);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p->text);
	if (f) {
		n = fread(p->text, 1, 4 * 1024 * 1024 - 1, f);
		fclose(f);
	}
	p->text[n] = '\0';
	return p->text;
}

/** Closes the log and returns all it wrote. */
static const char *place_close(struct place *p)
{
	log_close(&p->log);
	CU_ASSERT_PTR_NULL(p->log);
	return place_read(p, p->path);
}

static void place_end(struct place *p)
{
	log_close(&p->log);
	unlink(p->path);
	unlink(p->old);
	CU_ASSERT_EQUAL(rmdir(p->dir), 0);
	free(p->text);
}

/** Not by strstr, which the sanitizers let measure all of the text at each call. */
static size_t count(const char *text, const char *what)
{
	size_t n = 0, len = strlen(what);

	for (; (text = strchr(text, *what)); text++)
		n += strncmp(text, what, len) == 0;
	return n;
}

static const struct log_options text_options = {.format = LOG_FORMAT_TEXT, .level = LOG_LEVEL_INFO};
static const struct log_options json_options = {.format = LOG_FORMAT_JSON, .level = LOG_LEVEL_DEBUG};

#define KV(...) ((const struct log_kv[]){__VA_ARGS__, {.type = LOG_KV_END}})

/* ---- records */

static void test_text_line(void)
{
	struct place p;

	place_begin(&p, &text_options);
	log_event(p.log, LOG_LEVEL_INFO, "link.up", KV_Z("name", "shop"), KV_U64("epoch", 3));
	log_event(p.log, LOG_LEVEL_ERROR, "link.lost", KV_BOOL("retry", true));
	log_event(p.log, LOG_LEVEL_WARN, "slow", KV_US("took", 12345));
	log_write(p.log, LOG_LEVEL_INFO, "bare", &(const struct log_kv){.type = LOG_KV_END});
	CU_ASSERT_STRING_EQUAL(place_close(&p), STAMP " INFO  link.up name=shop epoch=3\n" STAMP
	                                              " ERROR link.lost retry=true\n" STAMP
	                                              " WARN  slow took=12.345\n" STAMP " INFO  bare\n");
	place_end(&p);
}

static void test_json_line(void)
{
	struct place p;

	place_begin(&p, &json_options);
	log_event(p.log, LOG_LEVEL_DEBUG, "link.up", KV_Z("name", "shop"), KV_U64("epoch", 3), KV_BOOL("new", false));
	CU_ASSERT_STRING_EQUAL(place_close(&p), "{\"time\":\"" STAMP "\",\"level\":\"debug\",\"event\":\"link.up\","
	                                        "\"name\":\"shop\",\"epoch\":3,\"new\":false}\n");
	place_end(&p);
}

static void test_monotonic(void)
{
	struct log_options o = text_options;
	struct place p;

	o.monotonic = true;
	place_begin(&p, &o);
	log_event(p.log, LOG_LEVEL_INFO, "a", KV_U64("n", 1));
	CU_ASSERT_STRING_EQUAL(place_close(&p), STAMP " INFO  a mono=7012.345 n=1\n");
	place_end(&p);
	o.format = LOG_FORMAT_JSON;
	place_begin(&p, &o);
	log_event(p.log, LOG_LEVEL_INFO, "a", KV_U64("n", 1));
	CU_ASSERT_STRING_EQUAL(place_close(&p), "{\"time\":\"" STAMP "\",\"level\":\"info\",\"event\":\"a\","
	                                        "\"mono\":7012.345,\"n\":1}\n");
	place_end(&p);
}

/** A second later, a leap day, the second before, the first of all. */
static void test_time_follows_clock(void)
{
	static const struct {
		uint64_t us;
		const char *stamp;
	} at[] = {
		{WALL_START + 876999, "2026-11-22T18:42:25.999Z"}, {WALL_START + 877000, "2026-11-22T18:42:26.000Z"},
		{WALL_START, STAMP},
		{UINT64_C(1709164800000000), "2024-02-29T00:00:00.000Z"},
		{UINT64_C(4102444799999999), "2099-12-31T23:59:59.999Z"}, {0, "1970-01-01T00:00:00.000Z"},
	};
	struct place p;
	const char *line;

	place_begin(&p, &text_options);
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		wall_us = at[i].us;
		log_event(p.log, LOG_LEVEL_INFO, "a", KV_U64("n", i));
	}
	line = place_close(&p);
	for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		CU_ASSERT_EQUAL(strncmp(line, at[i].stamp, (sizeof(STAMP) - 1)), 0);
		line = strchr(line, '\n');
		CU_ASSERT_PTR_NOT_NULL_FATAL(line);
		line++;
	}
	place_end(&p);
}

/* ---- files */

static void test_levels(void)
{
	struct log_options o = text_options;
	struct place p;

	o.level = LOG_LEVEL_WARN;
	place_begin(&p, &o);
	CU_ASSERT_TRUE(log_wants(p.log, LOG_LEVEL_ERROR));
	CU_ASSERT_TRUE(log_wants(p.log, LOG_LEVEL_WARN));
	CU_ASSERT_FALSE(log_wants(p.log, LOG_LEVEL_INFO));
	log_event(p.log, LOG_LEVEL_INFO, "no", KV_U64("n", 1));
	log_write(p.log, LOG_LEVEL_DEBUG, "no", KV(KV_U64("n", 1)));
	log_event(p.log, LOG_LEVEL_WARN, "yes", KV_U64("n", 1));
	CU_ASSERT_STRING_EQUAL(place_close(&p), STAMP " WARN  yes n=1\n");
	place_end(&p);
}

static void test_null_log(void)
{
	struct log *none = NULL;

	CU_ASSERT_FALSE(log_wants(none, LOG_LEVEL_ERROR));
	log_event(none, LOG_LEVEL_ERROR, "a", KV_U64("n", 1));
	log_write(none, LOG_LEVEL_ERROR, "a", KV(KV_U64("n", 1)));
	log_reopen(none);
	CU_ASSERT_EQUAL(log_dropped(none), 0);
	log_close(&none);
	log_close(NULL);
}

static void test_open_fails(void)
{
	const struct log_options o = {.path = "/nonexistent/dir/log"};
	struct log *l = (struct log *)&l;

	errno = 0;
	CU_ASSERT_EQUAL(log_open(&l, &o), ADIT_ERR_SYS);
	CU_ASSERT_EQUAL(errno, ENOENT);
	CU_ASSERT_PTR_NULL(l);
}

static void test_appends(void)
{
	struct log_options o = text_options;
	struct place p;
	struct stat st;

	place_begin(&p, &o);
	log_event(p.log, LOG_LEVEL_INFO, "first", KV_U64("n", 1));
	log_close(&p.log);
	o.path = p.path;
	CU_ASSERT_EQUAL(log_open(&p.log, &o), 0);
	log_event(p.log, LOG_LEVEL_INFO, "second", KV_U64("n", 2));
	CU_ASSERT_STRING_EQUAL(place_close(&p), STAMP " INFO  first n=1\n" STAMP " INFO  second n=2\n");
	CU_ASSERT_EQUAL(stat(p.path, &st), 0);
	CU_ASSERT_EQUAL(st.st_mode & 07, 0);
	place_end(&p);
}

static void test_reopen(void)
{
	struct place p;
	char moved[96];
	size_t first;

	place_begin(&p, &text_options);
	log_event(p.log, LOG_LEVEL_INFO, "first", KV_U64("n", 1));
	snprintf(moved, sizeof(moved), "%s/moved", p.dir);
	CU_ASSERT_EQUAL(rename(p.path, moved), 0);
	log_reopen(p.log);
	log_event(p.log, LOG_LEVEL_INFO, "second", KV_U64("n", 2));
	log_close(&p.log);
	/* the first may have waited in the ring until then */
	first = count(place_read(&p, moved), "first");
	CU_ASSERT_EQUAL(count(p.text, "second"), 0);
	CU_ASSERT_EQUAL(first + count(place_read(&p, p.path), "first"), 1);
	CU_ASSERT_EQUAL(count(p.text, "second"), 1);
	unlink(moved);
	place_end(&p);
}

/** Reopening fails (the path is a directory now): the log goes on where it is, and says so. */
static void test_reopen_fails(void)
{
	struct place p;
	char moved[96];

	place_begin(&p, &text_options);
	snprintf(moved, sizeof(moved), "%s/moved", p.dir);
	CU_ASSERT_EQUAL(rename(p.path, moved), 0);
	CU_ASSERT_EQUAL(mkdir(p.path, 0700), 0);
	log_reopen(p.log);
	log_event(p.log, LOG_LEVEL_INFO, "second", KV_U64("n", 2));
	log_close(&p.log);
	CU_ASSERT_EQUAL(count(place_read(&p, moved), "second n=2\n"), 1);
	CU_ASSERT_EQUAL(count(p.text, "log.reopen_failed path="), 1);
	unlink(moved);
	rmdir(p.path);
	place_end(&p);
}

static void test_rotation(void)
{
	struct log_options o = text_options;
	struct place p;
	const char *text;

	o.max_bytes = 1000;
	place_begin(&p, &o);
	for (int i = 0; i < 200; i++)
		log_event(p.log, LOG_LEVEL_INFO, "line", KV_I64("number", 1000 + i));
	text = place_close(&p);
	CU_ASSERT_FATAL(strlen(text) > 20 && strlen(text) <= 1000);
	CU_ASSERT_EQUAL(count(text, "\n"), count(text, STAMP " INFO  line number="));
	CU_ASSERT_STRING_EQUAL(text + strlen(text) - 5, "1199\n");
	CU_ASSERT(strlen(place_read(&p, p.old)) <= 1000);
	CU_ASSERT_FATAL(strlen(p.text) > 1000 - 50);
	CU_ASSERT_EQUAL(strncmp(p.text, STAMP, (sizeof(STAMP) - 1)), 0);
	CU_ASSERT_EQUAL(p.text[strlen(p.text) - 1], '\n');
	place_end(&p);
}

static void test_line_beyond_bound(void)
{
	struct log_options o = text_options;
	struct place p;

	o.max_bytes = 10;
	place_begin(&p, &o);
	log_event(p.log, LOG_LEVEL_INFO, "first", KV_U64("n", 1));
	log_event(p.log, LOG_LEVEL_INFO, "second", KV_U64("n", 2));
	CU_ASSERT_STRING_EQUAL(place_close(&p), STAMP " INFO  second n=2\n");
	CU_ASSERT_STRING_EQUAL(place_read(&p, p.old), STAMP " INFO  first n=1\n");
	place_end(&p);
}

/** PATH.1 is a directory with something in it: every record is kept in PATH, and one complaint. */
static void test_rotation_fails(void)
{
	struct log_options o = text_options;
	struct place p;
	char inside[96];

	o.max_bytes = 100;
	place_begin(&p, &o);
	CU_ASSERT_EQUAL(mkdir(p.old, 0700), 0);
	snprintf(inside, sizeof(inside), "%s/x", p.old);
	CU_ASSERT_EQUAL(mkdir(inside, 0700), 0);
	for (int i = 0; i < 50; i++)
		log_event(p.log, LOG_LEVEL_INFO, "line", KV_I64("number", i));
	CU_ASSERT_EQUAL(count(place_close(&p), " INFO  line number="), 50);
	CU_ASSERT_EQUAL(count(p.text, "log.rotate_failed"), 1);
	rmdir(inside);
	rmdir(p.old);
	place_end(&p);
}

/* ---- under load */

static void write_lines(struct log *l, int n)
{
	char pad[200];
	const struct str p = {pad, sizeof(pad)};

	memset(pad, 'p', sizeof(pad));
	for (int i = 0; i < n; i++)
		log_event(l, LOG_LEVEL_INFO, "line", KV_I64("number", i), KV_STR("pad", p));
}

/** Reads until it is `enough`, the end, or nothing came for 10 s; returns all of it as a string. */
static char *read_until(int fd, bool (*enough)(const char *text))
{
	size_t n = 0, cap = 8 * 1024 * 1024;
	char *text = malloc(cap);

	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	text[0] = '\0';
	while (n < cap - 1 && poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 10000) == 1) {
		ssize_t got = read(fd, text + n, cap - 1 - n);

		if (got <= 0)
			break;
		n += (size_t)got;
		text[n] = '\0';
		if (enough(text))
			break;
	}
	return text;
}

/** A log into a pipe that is read only when the test does so. */
static int stalled_begin(struct place *p)
{
	int fd;

	place_begin(p, &text_options);
	log_close(&p->log);
	unlink(p->path);
	CU_ASSERT_EQUAL_FATAL(mkfifo(p->path, 0600), 0);
	fd = open(p->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_EQUAL_FATAL(
		log_open(&p->log, &(struct log_options){.path = p->path, .level = LOG_LEVEL_INFO}), 0);
	return fd;
}

/** Follows write_lines: each line is the next, or a record of drops tells how many are missing. Returns the next. */
static uint64_t follow(const char *text)
{
	static const char line[] = " INFO  line number=", note[] = " WARN  log.dropped records=";
	uint64_t next = 0;
	const char *end;

	for (; (end = strchr(text, '\n')); text = end + 1) {
		const char *what = text + sizeof(STAMP) - 1;

		if (strncmp(what, note, sizeof(note) - 1) == 0)
			next += strtoull(what + sizeof(note) - 1, NULL, 10);
		else if (strncmp(what, line, sizeof(line) - 1) != 0 ||
		         strtoull(what + sizeof(line) - 1, NULL, 10) != next++)
			return UINT64_MAX;
	}
	return next;
}

static bool all_10000(const char *text)
{
	return follow(text) >= 10000;
}

static bool has_after(const char *text)
{
	return strstr(text, " INFO  after n=1\n");
}

/**
 * Nobody reads: pipe, output buffer and ring fill, then records are dropped. Then somebody reads: each gap in the
 * lines has a record of as many drops in its place.
 */
static void test_full_ring_drops(void)
{
	struct place p;
	int fd = stalled_begin(&p);
	char *text;
	uint64_t dropped;

	write_lines(p.log, 10000);
	dropped = log_dropped(p.log);
	CU_ASSERT(dropped > 0 && dropped < 10000);
	text = read_until(fd, all_10000);
	CU_ASSERT_EQUAL(follow(text), 10000);
	CU_ASSERT_EQUAL(count(text, " INFO  line number="), 10000 - dropped);
	free(text);
	log_event(p.log, LOG_LEVEL_INFO, "after", KV_U64("n", 1));
	text = read_until(fd, has_after);
	CU_ASSERT_STRING_EQUAL(text, STAMP " INFO  after n=1\n");
	CU_ASSERT_EQUAL(log_dropped(p.log), dropped);
	free(text);
	log_close(&p.log);
	close(fd);
	place_end(&p);
}

static bool never(const char *text)
{
	return !text;
}

static void test_close_when_stuck(void)
{
	struct place p;
	struct timespec before, after;
	int fd = stalled_begin(&p);
	char *text;

	write_lines(p.log, 2000);
	clock_gettime(CLOCK_MONOTONIC, &before);
	log_close(&p.log);
	clock_gettime(CLOCK_MONOTONIC, &after);
	CU_ASSERT(after.tv_sec - before.tv_sec <= 3);
	/* the thread that was left behind ends once its write does: then the pipe has no writer, and read() says 0 */
	text = read_until(fd, never);
	CU_ASSERT(count(text, " INFO  line number=") < 2000);
	free(text);
	close(fd);
	place_end(&p);
}

static bool has_last(const char *text)
{
	return strstr(text, " INFO  last n=1\n");
}

static void test_nonblocking_stream(void)
{
	const struct log_options o = {.level = LOG_LEVEL_INFO};
	struct log *l;
	int fds[2], saved = dup(STDERR_FILENO);
	char *text;

	CU_ASSERT_FATAL(saved >= 0 && pipe2(fds, O_NONBLOCK | O_CLOEXEC) == 0);
	CU_ASSERT_EQUAL_FATAL(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	close(fds[1]);
	CU_ASSERT_EQUAL(log_open(&l, &o), 0);
	write_lines(l, 2000);
	log_event(l, LOG_LEVEL_INFO, "last", KV_U64("n", 1));
	text = read_until(fds[0], has_last);
	log_close(&l);
	CU_ASSERT_EQUAL(dup2(saved, STDERR_FILENO), STDERR_FILENO);
	CU_ASSERT_EQUAL(count(text, " INFO  line number="), 2000);
	close(saved);
	close(fds[0]);
	free(text);
}

static void *write_from_thread(void *arg)
{
	write_lines(arg, 3000);
	return NULL;
}

static void test_threads(void)
{
	struct place p;
	pthread_t t[4];
	const char *text;

	place_begin(&p, &text_options);
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL_FATAL(pthread_create(&t[i], NULL, write_from_thread, p.log), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	{
		uint64_t dropped = log_dropped(p.log);

		text = place_close(&p);
		CU_ASSERT_EQUAL(count(text, STAMP " INFO  line number=") + dropped, 12000);
		CU_ASSERT_EQUAL(count(text, "\n"), count(text, STAMP));
	}
	place_end(&p);
}

/** Blocked in every thread of ours, SIGUSR1 must stay pending and not be taken by the writer, where it would kill. */
static void test_signals(void)
{
	struct place p;
	sigset_t usr1, before;
	const struct timespec now = {0, 0};

	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	place_begin(&p, &text_options);
	pthread_sigmask(SIG_BLOCK, &usr1, &before);
	kill(getpid(), SIGUSR1);
	log_event(p.log, LOG_LEVEL_INFO, "alive", KV_U64("n", 1));
	CU_ASSERT_STRING_EQUAL(place_close(&p), STAMP " INFO  alive n=1\n");
	CU_ASSERT_EQUAL(sigtimedwait(&usr1, NULL, &now), SIGUSR1);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	place_end(&p);
}

static bool has_line(const char *text)
{
	return strchr(text, '\n');
}

/** One record alone is written without any other to push it, again after the writer went to sleep. */
static void test_written_without_close(void)
{
	struct place p;
	int fd = stalled_begin(&p);

	for (int i = 0; i < 3; i++) {
		char *text;

		log_event(p.log, LOG_LEVEL_INFO, "alone", KV_I64("n", i));
		text = read_until(fd, has_line);
		CU_ASSERT_EQUAL(count(text, " INFO  alone n="), 1);
		free(text);
	}
	log_close(&p.log);
	close(fd);
	place_end(&p);
}

static void test_program(void)
{
	struct log_options o = json_options;
	struct place p;

	o.program = "adit";
	o.monotonic = true;
	place_begin(&p, &o);
	log_event(p.log, LOG_LEVEL_INFO, "e", KV_U64("n", 1));
	CU_ASSERT_PTR_NOT_NULL(strstr(place_close(&p), "\"e\",\"mono\":7012.345,\"program\":\"adit\",\"n\":1}"));
	place_end(&p);
}

/** With a file and without: the dump has the last LOG_KEPT lines, oldest first, as they were written. */
static void test_dump(void)
{
	struct log_options o = {.format = LOG_FORMAT_JSON, .level = LOG_LEVEL_INFO, .keep = true, .no_file = true};
	struct log *memory;
	struct place p;
	const char *text;

	place_begin(&p, &text_options);
	CU_ASSERT_EQUAL_FATAL(log_open(&memory, &o), 0);
	log_dump(memory, p.log);
	for (unsigned i = 0; i < LOG_KEPT + 10; i++)
		log_event(memory, LOG_LEVEL_INFO, "kept", KV_U64("number", i));
	log_event(memory, LOG_LEVEL_DEBUG, "kept", KV_U64("number", 0)); /* not of its level */
	log_reopen(memory);
	log_dump(memory, p.log);
	log_dump(p.log, memory); /* keeps nothing */
	log_dump(NULL, p.log);
	log_dump(memory, NULL);
	CU_ASSERT_EQUAL(log_dropped(memory), 0);
	log_close(&memory);
	CU_ASSERT_PTR_NULL(memory);
	text = place_close(&p);
	CU_ASSERT_EQUAL(count(text, "\"event\":\"kept\""), LOG_KEPT);
	CU_ASSERT_EQUAL(count(text, " ERROR trace.end lines=0\n"), 1);
	CU_ASSERT_EQUAL(count(text, "\"number\":9}\n"), 0);
	text = strstr(text, "lines=0\n");
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	text = strchr(text, '\n') + 1;
	CU_ASSERT_EQUAL(strncmp(text, STAMP " ERROR trace.dump", strlen(STAMP " ERROR trace.dump")), 0);
	for (unsigned i = 10; i < LOG_KEPT + 10; i++) {
		char line[128];

		snprintf(line, sizeof(line),
		         "{\"time\":\"" STAMP "\",\"level\":\"info\",\"event\":\"kept\",\"number\":%u}\n", i);
		text = strchr(text, '\n') + 1;
		CU_ASSERT_EQUAL(strncmp(text, line, strlen(line)), 0);
	}
	text = strchr(text, '\n') + 1;
	CU_ASSERT_STRING_EQUAL(text, STAMP " ERROR trace.end lines=256\n");
	place_end(&p);
}

static void test_kept_beside_file(void)
{
	struct log_options o = text_options;
	struct place p, to;

	o.keep = true;
	place_begin(&p, &o);
	place_begin(&to, &text_options);
	log_event(p.log, LOG_LEVEL_INFO, "both", KV_U64("n", 1));
	log_dump(p.log, to.log);
	CU_ASSERT_STRING_EQUAL(place_close(&p), STAMP " INFO  both n=1\n");
	CU_ASSERT_EQUAL(count(place_close(&to), STAMP " INFO  both n=1\n"), 1);
	place_end(&to);
	place_end(&p);
}

static void test_held(void)
{
	struct log_options o = text_options;
	struct place p;

	o.held = true;
	place_begin(&p, &o);
	log_event(p.log, LOG_LEVEL_INFO, "first", KV_U64("n", 1));
	CU_ASSERT_NOT_EQUAL(access(p.path, F_OK), 0);
	CU_ASSERT_EQUAL(log_start(p.log), 0);
	CU_ASSERT_EQUAL(access(p.path, F_OK), 0);
	CU_ASSERT_EQUAL(log_start(p.log), 0);
	log_event(p.log, LOG_LEVEL_INFO, "second", KV_U64("n", 2));
	CU_ASSERT_STRING_EQUAL(place_close(&p), STAMP " INFO  first n=1\n" STAMP " INFO  second n=2\n");
	place_end(&p);
}

static void test_held_to_the_end(void)
{
	struct log_options o = text_options;
	struct place p;

	o.held = true;
	place_begin(&p, &o);
	log_event(p.log, LOG_LEVEL_INFO, "first", KV_U64("n", 1));
	log_reopen(p.log);
	CU_ASSERT_STRING_EQUAL(place_close(&p), STAMP " INFO  first n=1\n");
	place_end(&p);
}

static void test_held_cannot_start(void)
{
	const struct log_options o = {.path = "/nonexistent/dir/log", .level = LOG_LEVEL_INFO, .held = true};
	struct log *l;

	CU_ASSERT_EQUAL_FATAL(log_open(&l, &o), 0);
	log_event(l, LOG_LEVEL_INFO, "first", KV_U64("n", 1));
	errno = 0;
	CU_ASSERT_EQUAL(log_start(l), ADIT_ERR_SYS);
	CU_ASSERT_EQUAL(errno, ENOENT);
	log_close(&l);
	CU_ASSERT_PTR_NULL(l);
}

static const struct unit_test tests[] = {
	{"a text line is time, level, event and key=value", test_text_line},
	{"a JSON line is an object with time, level and event first", test_json_line},
	{"the monotonic clock is written when asked for", test_monotonic},
	{"the time is UTC and follows the clock, also back", test_time_follows_clock},
	{"records above the level are not written", test_levels},
	{"who says it is written when asked for", test_program},
	{"the last records are kept without a file, and dumped as they are", test_dump},
	{"records are kept beside the file", test_kept_beside_file},
	{"a null log takes every call", test_null_log},
	{"a file that cannot be opened is an error with its errno", test_open_fails},
	{"what is held makes no file until it starts, and loses nothing", test_held},
	{"what was never started is written by log_close", test_held_to_the_end},
	{"what is held and cannot start says why and can be closed", test_held_cannot_start},
	{"a file is appended to and not readable by all", test_appends},
	{"after log_reopen records go to a new file of the old name", test_reopen},
	{"when reopening fails the log goes on in the file it has", test_reopen_fails},
	{"a file is rotated before it grows past its bound", test_rotation},
	{"a line longer than the bound gets a file of its own", test_line_beyond_bound},
	{"when rotation fails no record is lost and one complaint is written", test_rotation_fails},
	{"a full ring drops, counts, and tells of it at the place", test_full_ring_drops},
	{"a writer that is stuck holds log_close up for a second at most", test_close_when_stuck},
	{"a stream that would block is waited for", test_nonblocking_stream},
	{"lines of several threads stay whole", test_threads},
	{"the writer thread takes no signals of the program", test_signals},
	{"a record is written soon without a close, also after silence", test_written_without_close},
};

UNIT_MAIN("log", tests)
