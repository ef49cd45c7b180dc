/* fuzz_half: a half that holds its peer to the rules of half.h and writes down what it is told. For fuzz targets.
 */
#ifndef ADIT_TESTS_FUZZ_HALF_H
#define ADIT_TESTS_FUZZ_HALF_H

#include "fuzz.h"

#include "base/err.h"
#include "base/list.h"
#include "http/half.h"
#include "http/head.h"

struct fuzz_half {
	struct half half;
	struct fuzz_text text;   /* told besides bodies */
	struct fuzz_text body;
	size_t granted, credit;
	size_t credit_max;       /* more than this is never granted at once */
	bool began, ended, aborted; /* told */
	bool said_head, said_end;
	int status;              /* of the last head that was told */
	void (*heard)(struct fuzz_half *p, const struct head *h); /* a head; may be NULL */
};

static inline struct fuzz_half *fuzz_half_of(struct half *h)
{
	return container_of(h, struct fuzz_half, half);
}

static inline void half_say(struct fuzz_half *p, const char *what)
{
	fuzz_say(&p->text, "\n%s ", what);
}

static inline void half_say_text(struct fuzz_half *p, struct str s)
{
	fuzz_add(&p->text, " ", 1);
	fuzz_add(&p->text, s.p, s.n);
}

static inline void half_say_fields(struct fuzz_half *p, const struct fields *f)
{
	for (uint32_t i = 0; f && i < f->n; i++) {
		half_say_text(p, fields_name(f, i));
		half_say_text(p, fields_value(f, i));
	}
}

static inline void fuzz_half_head(struct half *self, const struct head *h, bool bodyless)
{
	struct fuzz_half *p = fuzz_half_of(self);

	REQUIRE(!p->began && !p->ended);
	REQUIRE(h->status == 0 || (h->status >= 100 && h->status <= 599));
	REQUIRE(h->fields.n <= HTTP_FIELDS_MAX && h->length >= HEAD_LENGTH_UNKNOWN);
	p->status = h->status;
	p->began = !h->status || h->status == 101 || h->status >= 200;
	half_say(p, "head");
	fuzz_say(&p->text, "%d %lld %d", h->status, (long long)h->length, bodyless);
	for (int part = 0; part < HEAD_PARTS; part++)
		half_say_text(p, head_get(h, (enum head_part)part));
	half_say_fields(p, &h->fields);
	if (p->heard)
		p->heard(p, h);
}

static inline void fuzz_half_body(struct half *self, const uint8_t *data, size_t n)
{
	struct fuzz_half *p = fuzz_half_of(self);

	REQUIRE(p->began && !p->ended && n > 0 && n <= p->granted);
	p->granted -= n;
	fuzz_add(&p->body, data, n);
}

static inline void fuzz_half_end(struct half *self, const struct fields *trailers)
{
	struct fuzz_half *p = fuzz_half_of(self);

	REQUIRE(p->began && !p->ended);
	p->ended = true;
	half_say(p, "end");
	half_say_fields(p, trailers);
}

static inline void fuzz_half_credit(struct half *self, size_t n)
{
	struct fuzz_half *p = fuzz_half_of(self);

	REQUIRE(n > 0);
	p->credit += n;
	REQUIRE(p->credit <= p->credit_max);
}

static inline void fuzz_half_abort(struct half *self, int err)
{
	struct fuzz_half *p = fuzz_half_of(self);

	REQUIRE(err < 0 && !self->peer && !p->aborted);
	p->aborted = true;
	half_say(p, "abort");
	fuzz_say(&p->text, "%s", err_name(err));
}

/** Not linked yet. */
static inline void fuzz_half_init(struct fuzz_half *p, size_t credit_max)
{
	static const struct half_ops ops = {
		fuzz_half_head, fuzz_half_body, fuzz_half_end, fuzz_half_credit, fuzz_half_abort,
	};

	*p = (struct fuzz_half){.half = {.ops = &ops}, .credit_max = credit_max};
}

static inline void fuzz_half_clear(struct fuzz_half *p)
{
	REQUIRE(!p->half.peer);
	fuzz_text_free(&p->text);
	fuzz_text_free(&p->body);
}

/** Both must have been told the same. Of a body that an error ends, more may have come when it came in pieces. */
static inline void fuzz_half_require_same(const struct fuzz_half *a, const struct fuzz_half *b)
{
	size_t n = a->body.n < b->body.n ? a->body.n : b->body.n;

	fuzz_require_same(&a->text, &b->text, "what a half is told of pieces");
	REQUIRE(a->body.n == b->body.n || a->aborted);
	REQUIRE(!n || memcmp(a->body.p, b->body.p, n) == 0);
}

/* ---- what it does; what is not its turn is not done */

static inline void fuzz_half_grant(struct fuzz_half *p, size_t n)
{
	p->granted += n;
	half_credit(&p->half, n);
}

static inline void fuzz_half_send(struct fuzz_half *p, const uint8_t *data, size_t n)
{
	n = n < p->credit ? n : p->credit;
	if (!p->said_head || p->said_end || !n || !p->half.peer)
		return;
	p->credit -= n;
	half_body(&p->half, data, n);
}

static inline void fuzz_half_say_end(struct fuzz_half *p, bool trailers)
{
	struct fields f;

	if (!p->said_head || p->said_end || !p->half.peer)
		return;
	p->said_end = true;
	fields_init(&f);
	REQUIRE(fields_add(&f, STR("x-t"), STR("1")) == 0);
	half_end(&p->half, trailers ? &f : NULL);
	fields_free(&f);
}

#endif
