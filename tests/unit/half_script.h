/* half_script: a half that writes down what it is told and says what a test wants. For unit tests only.
 * Body bytes are a pattern by position, so that a lost, doubled or reordered byte is seen without keeping any.
 */
#ifndef ADIT_TESTS_HALF_SCRIPT_H
#define ADIT_TESTS_HALF_SCRIPT_H

#include <stdarg.h>
#include <string.h>

#include "base/err.h"
#include "base/list.h"
#include "http/half.h"
#include "http/head.h"
#include "unit.h"

/* Around what a script allocates by the code under test: tests that fail allocations say here that these do not. */
#ifndef SCRIPT_UNFAILING
#define SCRIPT_UNFAILING(on) (void)0
#endif

enum script_op { SCRIPT_HEAD, SCRIPT_BODY, SCRIPT_END, SCRIPT_CREDIT, SCRIPT_ABORT };

struct half_script {
	struct half half;
	char text[4096];   /* "GET a /x none|", "200 5 name=value|", "body|", "end name=value|", "abort NAME|" */
	size_t n;
	size_t credit;     /* body bytes it may send */
	size_t sent, got;  /* body bytes */
	size_t granted;    /* body bytes it may still get */
	bool wrong;        /* not the byte that follows, or more than was granted */
	bool keep_up;      /* grants anew what it gets */
	bool began, ended; /* told head, told end */
	int aborted;
	void (*on)(struct half_script *s, enum script_op op); /* called last in each op; may be NULL */
	void *arg;
};

static inline void script_say(struct half_script *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

static inline void script_say(struct half_script *s, const char *format, ...)
{
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(s->text + s->n, sizeof(s->text) - s->n, format, ap);
	va_end(ap);
	if (n > 0 && s->n + (size_t)n < sizeof(s->text))
		s->n += (size_t)n;
}

static inline void script_say_fields(struct half_script *s, const struct fields *f)
{
	for (uint32_t i = 0; f && i < f->n; i++) {
		struct str name = fields_name(f, i), value = fields_value(f, i);

		if (value.n < 64)
			script_say(s, " %.*s=%.*s", STR_ARG(name), STR_ARG(value));
		else
			script_say(s, " %.*s=(%zu)", STR_ARG(name), value.n);
	}
}

static inline uint8_t script_byte(size_t at)
{
	return (uint8_t)(at * 7 + (at >> 8) + (at >> 16));
}

static inline struct half_script *script_of(struct half *h)
{
	return container_of(h, struct half_script, half);
}

static inline void script_called(struct half_script *s, enum script_op op)
{
	if (s->on)
		s->on(s, op);
}

static inline void script_head(struct half *self, const struct head *h, bool bodyless)
{
	struct half_script *s = script_of(self);

	s->began = true;
	if (h->status)
		script_say(s, "%d", h->status);
	else
		script_say(s, "%.*s %.*s %.*s", STR_ARG(head_get(h, HEAD_METHOD)), STR_ARG(head_get(h, HEAD_AUTHORITY)),
		           STR_ARG(head_get(h, HEAD_PATH)));
	if (head_get(h, HEAD_PROTOCOL).n)
		script_say(s, " up=%.*s", STR_ARG(head_get(h, HEAD_PROTOCOL)));
	if (h->length != HEAD_LENGTH_UNKNOWN)
		script_say(s, " %lld", (long long)h->length);
	if (bodyless)
		script_say(s, " none");
	script_say_fields(s, &h->fields);
	script_say(s, "|");
	script_called(s, SCRIPT_HEAD);
}

static inline void script_grant(struct half_script *s, size_t n)
{
	s->granted += n;
	half_credit(&s->half, n);
}

static inline void script_body(struct half *self, const uint8_t *p, size_t n)
{
	struct half_script *s = script_of(self);

	if (s->n < 5 || strcmp(s->text + s->n - 5, "body|") != 0)
		script_say(s, "body|");
	s->wrong = s->wrong || n > s->granted;
	s->granted -= n < s->granted ? n : s->granted;
	for (size_t i = 0; i < n; i++)
		s->wrong = s->wrong || p[i] != script_byte(s->got + i);
	s->got += n;
	script_called(s, SCRIPT_BODY);
	if (s->keep_up)
		script_grant(s, n);
}

static inline void script_end(struct half *self, const struct fields *trailers)
{
	struct half_script *s = script_of(self);

	s->ended = true;
	script_say(s, "end");
	script_say_fields(s, trailers);
	script_say(s, "|");
	script_called(s, SCRIPT_END);
}

static inline void script_credit(struct half *self, size_t n)
{
	struct half_script *s = script_of(self);

	s->credit += n;
	script_called(s, SCRIPT_CREDIT);
}

static inline void script_abort(struct half *self, int err)
{
	struct half_script *s = script_of(self);

	s->aborted = err;
	script_say(s, "abort %s|", err_name(err));
	script_called(s, SCRIPT_ABORT);
}

static inline void script_init(struct half_script *s)
{
	static const struct half_ops ops = {script_head, script_body, script_end, script_credit, script_abort};

	memset(s, 0, sizeof(*s));
	s->half.ops = &ops;
}

/* Sends up to `n` more bytes of body, as far as there is credit; returns how many. */
static inline size_t script_send(struct half_script *s, size_t n)
{
	uint8_t block[8192];
	size_t done = 0;

	while (done < n && s->credit && s->half.peer) {
		size_t part = n - done < s->credit ? n - done : s->credit;

		part = part < sizeof(block) ? part : sizeof(block);
		for (size_t i = 0; i < part; i++)
			block[i] = script_byte(s->sent + i);
		s->credit -= part;
		s->sent += part;
		done += part;
		half_body(&s->half, block, part);
	}
	return done;
}

/* "name=value" pairs, space-separated, added to `f`. */
static inline void script_fields(struct fields *f, const char *pairs)
{
	struct str rest = str_of(pairs), pair;

	SCRIPT_UNFAILING(true);
	while (str_split(&rest, ' ', &pair)) {
		struct str name;

		if (pair.n && str_split(&pair, '=', &name))
			CU_ASSERT_EQUAL_FATAL(fields_add(f, name, pair), 0);
	}
	SCRIPT_UNFAILING(false);
}

static inline void script_end_with(struct half_script *s, const char *trailers)
{
	struct fields f;

	fields_init(&f);
	script_fields(&f, trailers);
	half_end(&s->half, f.n ? &f : NULL);
	fields_free(&f);
}

static inline void script_make_request(struct head *h, const char *method, const char *protocol, const char *fields)
{
	head_init(h);
	h->length = HEAD_LENGTH_UNKNOWN;
	SCRIPT_UNFAILING(true);
	CU_ASSERT_EQUAL_FATAL(head_set(h, HEAD_METHOD, str_of(method)), 0);
	CU_ASSERT_EQUAL_FATAL(head_set(h, HEAD_SCHEME, STR("http")), 0);
	CU_ASSERT_EQUAL_FATAL(head_set(h, HEAD_AUTHORITY, STR("a.example")), 0);
	CU_ASSERT_EQUAL_FATAL(head_set(h, HEAD_PATH, STR("/x")), 0);
	CU_ASSERT_EQUAL_FATAL(head_set(h, HEAD_PROTOCOL, str_of(protocol)), 0);
	SCRIPT_UNFAILING(false);
	script_fields(&h->fields, fields);
}

/* A whole request without a body. */
static inline void script_get(struct half_script *s, const char *method)
{
	struct head h;

	script_make_request(&h, method, "", "");
	h.length = 0;
	half_head(&s->half, &h, true);
	head_free(&h);
	half_end(&s->half, NULL);
}

/* The head of a request with a body, of unknown length when -1. */
static inline void script_post(struct half_script *s, int64_t length)
{
	struct head h;

	script_make_request(&h, "POST", "", "");
	h.length = length;
	half_head(&s->half, &h, false);
	head_free(&h);
}

static inline void script_upgrade(struct half_script *s)
{
	struct head h;

	script_make_request(&h, "GET", "websocket", "sec-websocket-version=13");
	half_head(&s->half, &h, false);
	head_free(&h);
}

static inline void script_respond(struct half_script *s, int status, int64_t length, bool bodyless,
                                  const char *fields)
{
	struct head h;

	head_init(&h);
	h.status = status;
	h.length = length;
	script_fields(&h.fields, fields);
	half_head(&s->half, &h, bodyless);
	head_free(&h);
	if (bodyless && status >= 200)
		half_end(&s->half, NULL);
}

#endif
