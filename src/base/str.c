#include "base/str.h"

#include <stdlib.h>

#include "base/err.h"

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool str_eq_nocase(struct str a, struct str b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (a.p[i] != b.p[i] && lower(a.p[i]) != lower(b.p[i]))
			return false;
	return true;
}

static bool is_ows(char c)
{
	return c == ' ' || c == '\t';
}

struct str str_trim(struct str s)
{
	while (s.n && is_ows(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && is_ows(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool str_split(struct str *rest, char sep, struct str *part)
{
	const char *at;

	if (!rest->p)
		return false;
	at = rest->n ? memchr(rest->p, sep, rest->n) : NULL;
	part->p = rest->p;
	part->n = at ? (size_t)(at - rest->p) : rest->n;
	if (at) {
		rest->n -= part->n + 1;
		rest->p = at + 1;
	} else {
		*rest = (struct str){NULL, 0};
	}
	return true;
}

int str_to_u64(struct str s, uint64_t *out)
{
	uint64_t v = 0;

	if (!s.n)
		return ADIT_ERR_INVALID;
	for (size_t i = 0; i < s.n; i++) {
		unsigned digit = (unsigned)(s.p[i] - '0');

		if (digit > 9 || v > (UINT64_MAX - digit) / 10)
			return ADIT_ERR_INVALID;
		v = v * 10 + digit;
	}
	*out = v;
	return 0;
}

struct str str_of_u64(uint64_t v, char out[STR_U64_MAX])
{
	char *p = out + STR_U64_MAX - 1;

	*p = '\0';
	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return (struct str){p, (size_t)(out + STR_U64_MAX - 1 - p)};
}

char *str_dup(struct str s)
{
	char *z = malloc(s.n + 1);

	if (!z)
		return NULL;
	if (s.n)
		memcpy(z, s.p, s.n);
	z[s.n] = '\0';
	return z;
}

bool str_glob(struct str pattern, struct str s)
{
	size_t p = 0, i = 0, star = SIZE_MAX, mark = 0;

	while (i < s.n) {
		if (p < pattern.n && pattern.p[p] == '*') {
			star = p++;
			mark = i;
		} else if (p < pattern.n && lower(pattern.p[p]) == lower(s.p[i])) {
			p++;
			i++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			i = ++mark;
		} else {
			return false;
		}
	}
	while (p < pattern.n && pattern.p[p] == '*')
		p++;
	return p == pattern.n;
}
