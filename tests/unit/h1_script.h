/* h1_script: feeds one message to a parser in every way it can be cut, and writes down what the parser tells.
 * For the h1 tests only.
 */
#ifndef ADIT_TESTS_H1_SCRIPT_H
#define ADIT_TESTS_H1_SCRIPT_H

#include <stdarg.h>
#include <string.h>

#include "base/err.h"
#include "http/h1.h"
#include "unit.h"

/** A string literal, NULs within it counted. */
#define B(literal) {"" literal, sizeof(literal) - 1}

struct h1_told {
	char text[70000];
	size_t n;
	bool in_body;
	int err;
	size_t used;
	int pause; /* what each event returns */
};

static inline void told(struct h1_told *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void told(struct h1_told *t, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(t->text + t->n, sizeof(t->text) - t->n, format, ap);
	va_end(ap);
	if (n > 0 && t->n + (size_t)n < sizeof(t->text))
		t->n += (size_t)n;
}

static inline void told_fields(struct h1_told *t, const struct fields *f)
{
	for (uint32_t i = 0; i < f->n; i++)
		told(t, "|%.*s=%.*s", STR_ARG(fields_name(f, i)), STR_ARG(fields_value(f, i)));
	told(t, "\n");
}

/* "GET a /x 1.1 0|name=value" or "200 1.1 5|name=value", and before the fields "close", "none" (bodyless), "up=…" */
static inline int told_head(void *arg, struct head *h, bool bodyless)
{
	struct h1_told *t = arg;

	if (h->status)
		told(t, "%d 1.%d %lld", h->status, h->minor, (long long)h->length);
	else
		told(t, "%.*s %.*s%s%.*s %.*s 1.%d %lld", STR_ARG(head_get(h, HEAD_METHOD)),
		     STR_ARG(head_get(h, HEAD_SCHEME)), head_get(h, HEAD_SCHEME).n ? "://" : "",
		     STR_ARG(head_get(h, HEAD_AUTHORITY)), STR_ARG(head_get(h, HEAD_PATH)), h->minor,
		     (long long)h->length);
	if (h->close)
		told(t, " close");
	if (bodyless)
		told(t, " none");
	if (head_get(h, HEAD_PROTOCOL).n)
		told(t, " up=%.*s", STR_ARG(head_get(h, HEAD_PROTOCOL)));
	told_fields(t, &h->fields);
	return t->pause;
}

static inline int told_body(void *arg, const uint8_t *p, size_t n)
{
	struct h1_told *t = arg;

	if (!t->in_body)
		told(t, "body:");
	t->in_body = true;
	told(t, "%.*s", (int)n, (const char *)p);
	return t->pause;
}

static inline int told_end(void *arg, const struct fields *trailers)
{
	struct h1_told *t = arg;

	told(t, "%send", t->in_body ? "\n" : "");
	told_fields(t, trailers);
	return t->pause;
}

static const struct h1_events told_events = {told_head, told_body, told_end};

/* Feeds it until the parser takes no more; a copy of its own size, so that a sanitizer sees a read past the end. */
static inline int feed_part(struct h1_parser *p, struct h1_told *t, const char *s, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	size_t at = 0, used = 0, before;
	int r;

	if (n)
		memcpy(copy, s, n);
	do {
		before = t->n;
		r = h1_parse(p, copy + at, n - at, &used);
		at += used;
	} while (!r && (used || t->n != before));
	t->used += at;
	memset(copy, 'X', n);
	free(copy);
	return r;
}

struct h1_script {
	enum h1_kind kind;
	struct str asked; /* a response's method */
	struct str in;
	bool fin;         /* a FIN follows */
};

/* Parts of `step` bytes after a first one of `first`. */
static inline void run_cut(const struct h1_script *s, struct h1_told *t, size_t first, size_t step, int pause)
{
	struct h1_parser *p = h1_new(s->kind, &told_events, t);
	size_t at = 0;

	t->n = t->used = 0;
	t->text[0] = '\0';
	t->err = 0;
	t->in_body = false;
	t->pause = pause;
	if (s->kind == H1_RESPONSE)
		h1_expect(p, s->asked.n ? s->asked : STR("GET"));
	while (at < s->in.n && !t->err) {
		size_t n = at ? step : first;

		if (n > s->in.n - at)
			n = s->in.n - at;
		t->err = feed_part(p, t, s->in.p + at, n);
		at += n;
	}
	if (!t->err && s->fin)
		t->err = h1_eof(p);
	h1_free(&p);
}

/* Runs it whole, byte by byte, paused at each event, and split at each boundary; all must tell the same. */
static inline bool run_all(const struct h1_script *s, struct h1_told *whole)
{
	static struct h1_told other;
	bool same = true;

	run_cut(s, whole, s->in.n, s->in.n, 0);
	for (size_t first = 0; first <= s->in.n + 1; first++) {
		if (first == 0)
			run_cut(s, &other, s->in.n, s->in.n, H1_PAUSE);
		else if (first > s->in.n)
			run_cut(s, &other, 1, 1, 0);
		else
			run_cut(s, &other, first, s->in.n, 0);
		if (other.err == whole->err && (whole->err || other.used == whole->used) &&
		    strcmp(other.text, whole->text) == 0)
			continue;
		printf("\n    cut at %zu: %s instead of %s\n%s---\n%s", first, err_name(other.err),
			err_name(whole->err),
		       other.text, whole->text);
		same = false;
	}
	return same;
}

struct h1_bad {
	const char *what;
	struct str in;
	int err;
};

static inline void run_bad(enum h1_kind kind, const struct h1_bad *cases, size_t n)
{
	static struct h1_told t;

	for (size_t i = 0; i < n; i++) {
		struct h1_script s = {.kind = kind, .in = cases[i].in};
		bool same = run_all(&s, &t);

		if (t.err != cases[i].err)
			printf("\n    %s: %s instead of %s\n%s", cases[i].what, err_name(t.err),
				err_name(cases[i].err), t.text);
		else if (!same)
			printf("    ... in %s\n", cases[i].what);
		CU_ASSERT(t.err == cases[i].err);
		CU_ASSERT(same);
	}
}

struct h1_good {
	const char *what;
	struct str in;
	const char *told;
	struct str asked;
	bool fin;
};

static inline void run_good(enum h1_kind kind, const struct h1_good *cases, size_t n)
{
	static struct h1_told t;

	for (size_t i = 0; i < n; i++) {
		struct h1_script s = {.kind = kind, .in = cases[i].in, .asked = cases[i].asked, .fin = cases[i].fin};
		bool same = run_all(&s, &t), right = t.err == 0 && strcmp(t.text, cases[i].told) == 0;

		if (!right)
			printf("\n    %s: %s\n%s--- instead of\n%s", cases[i].what, err_name(t.err), t.text,
				cases[i].told);
		CU_ASSERT(right);
		CU_ASSERT(same);
	}
}

#endif
