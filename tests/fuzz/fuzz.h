/* fuzz: what the fuzz targets share: a reader of choices, and a text that grows.
 * Each tests/fuzz/X_fuzz.c has one LLVMFuzzerTestOneInput, which ends the program when something is not as it should
 * be. Built with --enable-fuzz it is a libFuzzer program; else main.c gives it the files of its corpus, in `make
 * check`. Input begins with the bytes that choose how it is read; a target's head comment says which.
 */
#ifndef ADIT_TESTS_FUZZ_H
#define ADIT_TESTS_FUZZ_H

#define UNIT_ABORTS

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "unit/unit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define REQUIRE(x) CU_ASSERT(x)

/* ---- choices */

struct fuzz_in {
	const uint8_t *p;
	size_t n;
};

/** 0 when there is none left. */
static inline uint8_t fuzz_byte(struct fuzz_in *in)
{
	if (!in->n)
		return 0;
	in->n--;
	return *in->p++;
}

static inline uint16_t fuzz_word(struct fuzz_in *in)
{
	uint16_t high = fuzz_byte(in);

	return (uint16_t)(high << 8 | fuzz_byte(in));
}

/** The next `n` bytes, fewer at the end; advances. */
static inline struct fuzz_in fuzz_part(struct fuzz_in *in, size_t n)
{
	struct fuzz_in part = {in->p, n < in->n ? n : in->n};

	in->p += part.n;
	in->n -= part.n;
	return part;
}

/** A malloc'd copy of its own size, so that a sanitizer sees a read past its end. The caller frees it. */
static inline uint8_t *fuzz_copy(struct fuzz_in in)
{
	uint8_t *p = malloc(in.n ? in.n : 1);

	REQUIRE(p != NULL);
	if (in.n)
		memcpy(p, in.p, in.n);
	return p;
}

/* ---- what was told, to compare */

struct fuzz_text {
	char *p;
	size_t n, cap;
};

static inline void fuzz_add(struct fuzz_text *t, const void *p, size_t n)
{
	if (t->n + n + 1 > t->cap) {
		t->cap = 2 * (t->n + n + 1);
		t->p = realloc(t->p, t->cap);
		REQUIRE(t->p != NULL);
	}
	if (n)
		memcpy(t->p + t->n, p, n);
	t->n += n;
	t->p[t->n] = '\0';
}

static inline void fuzz_say(struct fuzz_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** For short things only; text from the input is added with fuzz_add. */
static inline void fuzz_say(struct fuzz_text *t, const char *format, ...)
{
	char line[512];
	va_list ap;
	int n;

	va_start(ap, format);
	n = vsnprintf(line, sizeof(line), format, ap);
	va_end(ap);
	REQUIRE(n >= 0 && (size_t)n < sizeof(line));
	fuzz_add(t, line, (size_t)n);
}

static inline void fuzz_text_free(struct fuzz_text *t)
{
	free(t->p);
	*t = (struct fuzz_text){NULL, 0, 0};
}

static inline bool fuzz_same(const struct fuzz_text *a, const struct fuzz_text *b)
{
	return a->n == b->n && (!a->n || memcmp(a->p, b->p, a->n) == 0);
}

/** Both must be the same; they are shown when not. */
static inline void fuzz_require_same(const struct fuzz_text *a, const struct fuzz_text *b, const char *what)
{
	if (fuzz_same(a, b))
		return;
	fprintf(stderr, "%s differs\n---- one\n%s\n---- other\n%s\n", what, a->n ? a->p : "", b->n ? b->p : "");
	abort();
}

/** Printable ASCII (and, with `lines`, line ends) only? */
static inline bool fuzz_printable(const char *p, size_t n, bool lines)
{
	for (size_t i = 0; i < n; i++)
		if ((p[i] < ' ' || p[i] > '~') && !(lines && p[i] == '\n'))
			return false;
	return true;
}

#endif
