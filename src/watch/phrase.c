#include "watch/phrase.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/** A member's name, and two of them with a "-". */
#define MEMBER_MAX 32

enum { BOTH = 0, ADIT = TRACE_ADIT, ADITD = TRACE_ADITD };

struct event_row {
	const char *name;
	int program;
	const char *line;
};

static const struct event_row rows[] = {
#define X(name, program, members, line) {name, program, line},
#include "watch/events.def"
#undef X
};

struct reason_row {
	const char *name, *text;
};

static const struct reason_row reasons[] = {
#define X(name, text, status, proxy_error) {#name, text},
#include "base/err.def"
#undef X
};

/* What the line is made in. */
struct text {
	char *at;
	size_t n; /* < PHRASE_MAX: room for the NUL */
};

static void add(struct text *t, const char *p, size_t n)
{
	if (n > PHRASE_MAX - 1 - t->n)
		n = PHRASE_MAX - 1 - t->n;
	memcpy(t->at + t->n, p, n);
	t->n += n;
	t->at[t->n] = '\0';
}

static void add_z(struct text *t, const char *z)
{
	add(t, z, strlen(z));
}

/* ---- numbers and reasons */

const char *phrase_reason(const char *name)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (strcmp(reasons[i].name, name) == 0)
			return reasons[i].text;
	return name;
}

const char *phrase_ms(char out[PHRASE_NUMBER], int64_t ms)
{
	const char *sign = ms < 0 ? "-" : "";

	ms = ms < 0 ? -ms : ms;
	if (ms < 1000)
		snprintf(out, PHRASE_NUMBER, "%s%" PRId64 " ms", sign, ms);
	else if (ms < 60000)
		snprintf(out, PHRASE_NUMBER, "%s%" PRId64 ".%" PRId64 " s", sign, ms / 1000, ms / 100 % 10);
	else if (ms < 3600000)
		snprintf(out, PHRASE_NUMBER, "%s%" PRId64 " min %" PRId64 " s", sign, ms / 60000, ms / 1000 % 60);
	else
		snprintf(out, PHRASE_NUMBER, "%s%" PRId64 " h %" PRId64 " min", sign, ms / 3600000, ms / 60000 % 60);
	return out;
}

const char *phrase_count(char out[PHRASE_NUMBER], int64_t n)
{
	char plain[24];
	size_t len, to = 0;

	snprintf(plain, sizeof(plain), "%" PRId64, n);
	len = strlen(plain);
	for (size_t i = 0; i < len; i++) {
		out[to++] = plain[i];
		if (plain[i] != '-' && i + 1 < len && (len - i - 1) % 3 == 0)
			out[to++] = ',';
	}
	out[to] = '\0';
	return out;
}

/* ---- the line of the table */

static const char *aim_text(const char *aim)
{
	static const struct reason_row aims[] = {
		{"new", "for a new link"}, {"resume", "to go on"}, {"suspect", "beside the silent one"},
		{"climb", "for a better one"}, {"move", "for its successor"},
	};

	for (size_t i = 0; i < sizeof(aims) / sizeof(aims[0]); i++)
		if (strcmp(aims[i].name, aim) == 0)
			return aims[i].text;
	return aim;
}

/* "member" or "a-b"; false: missing or nothing. */
static bool member_value(const struct trace_record *r, const char *member, const char **text, int64_t *number)
{
	const char *minus = strchr(member, '-');
	char one[MEMBER_MAX];
	const json_t *v;

	*text = "";
	*number = 0;
	if (minus) {
		snprintf(one, sizeof(one), "%.*s", (int)(minus - member), member);
		*number = trace_number(r, one) - trace_number(r, minus + 1);
		return *number != 0;
	}
	v = json_object_get(r->json, member);
	*text = trace_text(r, member);
	if (strcmp(member, "detail") == 0 && strcmp(*text, phrase_reason(trace_text(r, "reason"))) == 0)
		*text = ""; /* the reason said it */
	*number = trace_number(r, member);
	return **text || *number || json_is_true(v);
}

static void add_value(struct text *t, const char *form, const char *text, int64_t number)
{
	char out[PHRASE_NUMBER];

	if (strcmp(form, "ms") == 0) {
		add_z(t, phrase_ms(out, number));
	} else if (strcmp(form, "err") == 0) {
		add_z(t, phrase_reason(text));
	} else if (strcmp(form, "aim") == 0) {
		add_z(t, aim_text(text));
	} else if (strcmp(form, "n") == 0) {
		snprintf(out, sizeof(out), "%" PRId64, number);
		add_z(t, out);
	} else if (*form) {
		add_z(t, phrase_count(out, number));
		add_z(t, " ");
		add_z(t, form);
		add_z(t, number == 1 || strcmp(form, "B") == 0 ? "" : "s");
	} else {
		add_z(t, text);
	}
}

/* One {member|form} at `p`; whether there is something in it. Gives where it ends. */
static bool add_member(struct text *t, const struct trace_record *r, const char *p, const char **end)
{
	char inside[2 * MEMBER_MAX];
	const char *close = strchr(p, '}'), *text;
	char *form;
	int64_t number;
	bool has;

	*end = close + 1;
	snprintf(inside, sizeof(inside), "%.*s", (int)(close - p - 1), p + 1);
	form = strchr(inside, '|');
	if (form)
		*form++ = '\0';
	has = member_value(r, inside, &text, &number);
	add_value(t, form ? form : "", text, number);
	return has;
}

static void add_line(struct text *t, const struct trace_record *r, const char *line)
{
	size_t before = 0;
	bool all = true;

	while (*line) {
		if (*line == '{') {
			all = add_member(t, r, line, &line) && all;
			continue;
		}
		if (*line == '[') {
			before = t->n;
			all = true;
		} else if (*line == ']') {
			t->n = all ? t->n : before;
			t->at[t->n] = '\0';
		} else {
			add(t, line, 1);
		}
		line++;
	}
}

static bool is_common(const char *key)
{
	static const char *const common[] = {"time", "level", "event", "mono", "program", "link"};

	for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++)
		if (strcmp(common[i], key) == 0)
			return true;
	return false;
}

/* One that this program does not know: of a newer one. */
static void add_members(struct text *t, const struct trace_record *r)
{
	const char *key;
	json_t *v;

	json_object_foreach(r->json, key, v) {
		char *dump;

		if (is_common(key))
			continue;
		dump = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
		add_z(t, t->n ? " " : "");
		add_z(t, key);
		add_z(t, "=");
		add_z(t, dump ? dump : "?");
		free(dump);
	}
}

void phrase_of(const struct trace_record *r, char out[PHRASE_MAX])
{
	struct text t = {out, 0};

	out[0] = '\0';
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(rows[i].name, r->event) != 0 || (rows[i].program != BOTH && rows[i].program != (int)r->program))
			continue;
		add_line(&t, r, rows[i].line);
		return;
	}
	add_members(&t, r);
}

void phrase_print(FILE *to, const char *text)
{
	for (; *text; text++)
		fputc(*text >= ' ' && *text <= '~' ? *text : '?', to);
}
