/* str: a borrowed run of bytes, and the few things done to such runs.
 * Layer base; everybody uses it.
 * A str owns nothing and need not end with a NUL; whoever hands one out says how long it lives.
 */
#ifndef ADIT_BASE_STR_H
#define ADIT_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *p;
	size_t n;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
/** For printf's "%.*s". */
#define STR_ARG(s) (int)(s).n, (s).p

static inline struct str str_of(const char *z)
{
	return (struct str){z, z ? strlen(z) : 0};
}

static inline bool str_eq(struct str a, struct str b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/** As RFC 9110 compares tokens: ASCII letters without case. */
bool str_eq_nocase(struct str a, struct str b);

static inline bool str_starts(struct str s, struct str prefix)
{
	return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0;
}

/** Without SP and HTAB at both ends (RFC 9110 section 5.6.3, OWS). */
struct str str_trim(struct str s);

/** Takes the part up to `sep` off the front of `*rest` (all of it when there is none); false at the end. */
bool str_split(struct str *rest, char sep, struct str *part);

/** Decimal digits only, no sign, no space, no overflow: 0, else ADIT_ERR_INVALID. */
int str_to_u64(struct str s, uint64_t *out);

/** Decimal digits of `v` and a NUL, returned as a str over `out`: printf's way costs twenty times as much. */
#define STR_U64_MAX 21
struct str str_of_u64(uint64_t v, char out[STR_U64_MAX]);

/** Its beginning, as much as fits `out` of `size` > 0 bytes with the NUL behind it. */
static inline void str_cut(struct str s, char *out, size_t size)
{
	size_t n = s.n < size ? s.n : size - 1;

	if (n)
		memcpy(out, s.p, n);
	out[n] = '\0';
}

/** A malloc'd NUL-terminated copy, NULL when out of memory; the caller frees it. */
char *str_dup(struct str s);

/** Shell-like match, `*` for any run (also none) and nothing else special; without case. */
bool str_glob(struct str pattern, struct str s);

#endif
