#include "watch/transcript.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "watch/clocks.h"
#include "watch/merge.h"
#include "watch/phrase.h"
#include "watch/summary.h"

/** How often the files are looked at. */
#define FOLLOW_MS 200

struct transcript {
	const struct transcript_options *o;
	struct merge *merge;
	struct summary *summary;
	int64_t first_us;
	bool begun;
};

/* ---- for people */

static void print_begin(struct transcript *t)
{
	time_t seconds = (time_t)(t->first_us / 1000000);
	struct tm tm;
	char text[32] = "?";

	if (gmtime_r(&seconds, &tm))
		strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
	printf("from %s.%03d UTC\n", text, (int)(t->first_us / 1000 % 1000));
	for (size_t i = 0; i < t->o->n; i++) {
		const struct merge_file f = merge_file(t->merge, i);
		char apart[PHRASE_NUMBER];

		printf("%-6s ", trace_program_name(f.program));
		phrase_print(stdout, f.path);
		if (f.shift_us < -CLOCKS_SAME_US || f.shift_us > CLOCKS_SAME_US)
			printf(": its clock is %s %s aditd's; its times are shown by aditd's",
			       phrase_ms(apart, (f.shift_us < 0 ? -f.shift_us : f.shift_us) / 1000),
			       f.shift_us < 0 ? "ahead of" : "behind");
		putchar('\n');
	}
	putchar('\n');
}

static void print_event(const struct transcript *t, const struct trace_record *r)
{
	int64_t ms = (r->at_us - t->first_us) / 1000;
	char phrase[PHRASE_MAX], link[PHRASE_LINK_SHOWN + 1], event[16];

	snprintf(link, sizeof(link), "%.*s", PHRASE_LINK_SHOWN, *r->link ? r->link : "-");
	snprintf(event, sizeof(event), "%.*s", (int)sizeof(event) - 1, r->event);
	printf("%c%02" PRId64 ":%02" PRId64 ":%02" PRId64 ".%03" PRId64 "  %-5s  ", ms < 0 ? '-' : '+',
	       (ms < 0 ? -ms : ms) / 3600000, (ms < 0 ? -ms : ms) / 60000 % 60, (ms < 0 ? -ms : ms) / 1000 % 60,
	       (ms < 0 ? -ms : ms) % 1000, trace_program_name(r->program));
	phrase_print(stdout, link);
	printf("%*s", (int)(PHRASE_LINK_SHOWN - strlen(link)) + 2, "");
	phrase_print(stdout, event);
	printf("%*s", strlen(event) < 14 ? (int)(16 - strlen(event)) : 2, "");
	phrase_of(r, phrase);
	phrase_print(stdout, phrase);
	putchar('\n');
}

/* ---- for programs */

/* As it was written, and its time in the transcript. */
static void print_json(const struct transcript *t, const struct trace_record *r)
{
	json_object_set_new(r->json, "at_ms", json_integer((r->at_us - t->first_us) / 1000));
	json_dumpf(r->json, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
	putchar('\n');
}

/* ---- the run */

static int tell(struct transcript *t, const struct trace_record *r)
{
	int err = summary_add(t->summary, r);

	if (!t->begun) {
		t->begun = true;
		t->first_us = r->at_us;
		if (!t->o->json)
			print_begin(t);
	}
	if (t->o->json)
		print_json(t, r);
	else
		print_event(t, r);
	return err;
}

static int tell_all(struct transcript *t)
{
	struct trace_record r;
	int err = 0;

	while (!err && !ferror(stdout) && merge_next(t->merge, &r)) {
		err = tell(t, &r);
		trace_record_clear(&r);
	}
	return err;
}

static bool is_read(void)
{
	struct pollfd out = {.fd = STDOUT_FILENO};

	return fflush(stdout) == 0 && !(poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLHUP | POLLNVAL)));
}

/* The wait is for the signal, so that none is missed and no handler needed. */
static int follow(struct transcript *t)
{
	const struct timespec wait = {0, FOLLOW_MS * 1000000L};
	sigset_t ends;
	int err;

	sigemptyset(&ends);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGTERM);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	do
		err = tell_all(t);
	while (!err && is_read() && sigtimedwait(&ends, NULL, &wait) < 0);
	return err;
}

static enum transcript_code failed(int err, const char *what)
{
	fprintf(stderr, "adit: ");
	phrase_print(stderr, what);
	fprintf(stderr, "%s%s\n", *what ? ": " : "", err == ADIT_ERR_SYS ? strerror(errno) : err_text(err));
	return TRANSCRIPT_UNREADABLE;
}

enum transcript_code transcript_run(const struct transcript_options *o)
{
	struct transcript t = {.o = o, .summary = summary_new()};
	enum transcript_code code = TRANSCRIPT_LOST_NOTHING;
	size_t bad = 0;
	int err = t.summary ? merge_open(&t.merge, o->paths, o->n, o->follow, &bad) : ADIT_ERR_NOMEM;

	if (err) {
		code = failed(err, err == ADIT_ERR_SYS ? o->paths[bad] : "");
		summary_free(&t.summary);
		return code;
	}
	signal(SIGPIPE, SIG_IGN);
	err = o->follow ? follow(&t) : tell_all(&t);
	if (!err && o->json)
		err = summary_json(t.summary, t.merge, stdout);
	else if (!err)
		summary_print(t.summary, t.merge, stdout);
	if (err)
		code = failed(err, "");
	else if ((fflush(stdout) != 0 || ferror(stdout)) && !o->follow)
		code = failed(ADIT_ERR_SYS, "standard output");
	else if (summary_lost(t.summary))
		code = TRANSCRIPT_LOST;
	merge_free(&t.merge);
	summary_free(&t.summary);
	return code;
}
