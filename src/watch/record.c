#include "watch/record.h"

#include <limits.h>
#include <string.h>
#include <time.h>

#include "base/str.h"

#define STAMP "0000-00-00T00:00:00.000Z"

const char *trace_program_name(enum trace_program p)
{
	return p == TRACE_ADIT ? "adit" : p == TRACE_ADITD ? "aditd" : "?";
}

const char *trace_text(const struct trace_record *r, const char *member)
{
	const char *text = json_string_value(json_object_get(r->json, member));

	return text ? text : "";
}

/* A number that no program of ours has written must not overflow anything. */
int64_t trace_number(const struct trace_record *r, const char *member)
{
	const json_t *v = json_object_get(r->json, member);
	double real = json_number_value(v);

	if (json_is_integer(v))
		return json_integer_value(v) > INT64_MAX / 4096 ? INT64_MAX / 4096 :
		       json_integer_value(v) < -(INT64_MAX / 4096) ? -(INT64_MAX / 4096) : json_integer_value(v);
	return real > -1e12 && real < 1e12 ? (int64_t)real : 0;
}

void trace_record_clear(struct trace_record *r)
{
	json_decref(r->json);
	*r = (struct trace_record){0};
}

static int digits(const char *p, size_t n)
{
	int v = 0;

	while (n--)
		v = v * 10 + (*p++ - '0');
	return v;
}

/* Microseconds since 1970, -1 when it is no time. */
static int64_t read_stamp(const char *p)
{
	struct tm tm = {0};

	if (strlen(p) != sizeof(STAMP) - 1)
		return -1;
	for (size_t i = 0; i < sizeof(STAMP) - 1; i++)
		if (STAMP[i] == '0' ? p[i] < '0' || p[i] > '9' : p[i] != STAMP[i])
			return -1;
	tm.tm_year = digits(p, 4) - 1900;
	tm.tm_mon = digits(p + 5, 2) - 1;
	tm.tm_mday = digits(p + 8, 2);
	tm.tm_hour = digits(p + 11, 2);
	tm.tm_min = digits(p + 14, 2);
	tm.tm_sec = digits(p + 17, 2);
	if (tm.tm_year < 70 || tm.tm_mon < 0 || tm.tm_mon > 11 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 ||
	    tm.tm_min > 59 || tm.tm_sec > 60)
		return -1;
	return (int64_t)timegm(&tm) * 1000000 + (int64_t)digits(p + 20, 3) * 1000;
}

static enum trace_program program_of(const char *name)
{
	return strcmp(name, "adit") == 0 ? TRACE_ADIT : strcmp(name, "aditd") == 0 ? TRACE_ADITD : TRACE_NOBODY;
}

/* The lines of a log are no events: what is in a trace has the monotonic clock and says who wrote it. */
bool trace_record_read(struct trace_record *r, const char *line, size_t n)
{
	*r = (struct trace_record){.json = json_loadb(line, n, 0, NULL)};
	r->program = program_of(trace_text(r, "program"));
	r->event = trace_text(r, "event");
	r->link = trace_text(r, "link");
	r->at_us = read_stamp(trace_text(r, "time"));
	if (json_is_object(r->json) && r->program && *r->event && r->at_us >= 0 &&
	    json_is_number(json_object_get(r->json, "mono")))
		return true;
	trace_record_clear(r);
	return false;
}
