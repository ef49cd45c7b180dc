#include "conf/conf_int.h"

#include <stdarg.h>
#include <stdlib.h>

#include "base/err.h"

/** Shown of a found value; the rest is cut. */
#define QUOTE_MAX 60
/** Shown of the end of a file's name: what is wrong must fit behind it. */
#define FILE_SHOWN_MAX 160

/* What --new-token prints must not end in a terminal's scrollback because a flag was mistaken. */
static bool looks_like_token(struct str s)
{
	return s.n >= 40 && str_starts(s, STR("adit_"));
}

struct conf_quoted conf_quote(struct str s)
{
	static const char hex[] = "0123456789abcdef";
	struct conf_quoted q;
	size_t n = 0;

	if (looks_like_token(s)) {
		snprintf(q.text, sizeof(q.text), "what looks like a token");
		return q;
	}
	q.text[n++] = '"';
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (n > QUOTE_MAX) {
			memcpy(q.text + n, "...", 3);
			n += 3;
			break;
		}
		if (c >= 0x20 && c < 0x7f) {
			q.text[n++] = (char)c;
			continue;
		}
		q.text[n++] = '\\';
		q.text[n++] = 'x';
		q.text[n++] = hex[c >> 4];
		q.text[n++] = hex[c & 15];
	}
	q.text[n++] = '"';
	q.text[n] = '\0';
	return q;
}

/* One line, whatever a file's name may hold. */
static void one_line(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

int conf_say(struct conf_error *e, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(e->text, sizeof(e->text), format, args);
	va_end(args);
	one_line(e->text);
	return ADIT_ERR_CONFIG;
}

int conf_found(struct conf_error *e, struct str found, const char *wanted)
{
	return conf_say(e, "found %s, wanted %s", conf_quote(found).text, wanted);
}

int conf_same(struct conf_error *e, const char *found, const char *list, size_t index, const char *what)
{
	return conf_say(e, "found %s, the same as %s[%zu], wanted another %s", conf_quote(str_of(found)).text, list,
	                index, what);
}

int conf_nomem(struct conf_error *e)
{
	return conf_say(e, "found too little memory, wanted more");
}

int conf_blame_line(struct conf_error *e, const char *file, size_t line, const char *path)
{
	struct conf_error was = *e;
	size_t n = strlen(file), skip = n > FILE_SHOWN_MAX ? n - FILE_SHOWN_MAX : 0;

	return conf_say(e, "%s%s:%zu: %s%s%s", skip ? "..." : "", file + skip, line, path,
	                *path ? ": " : "", was.text);
}

int conf_blame_flag(struct conf_error *e, const char *program, const char *flag)
{
	struct conf_error was = *e;

	return conf_say(e, "%s: %s%s: %s", program, strlen(flag) == 1 ? "-" : "--", flag, was.text);
}

#define DISTANCE_WORD_MAX 40

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* `-` and `_` count as the same: a flag's spelling in the file is the commonest mistake. */
static bool same_letter(char a, char b)
{
	return (a == '-' ? '_' : a | 0x20) == (b == '-' ? '_' : b | 0x20);
}

/* Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment). */
static size_t edits(struct str a, struct str b)
{
	size_t rows[3][DISTANCE_WORD_MAX + 1];
	size_t *before = rows[0], *above = rows[1], *row = rows[2];

	for (size_t j = 0; j <= b.n; j++)
		above[j] = before[j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		size_t *spare = before;

		row[0] = i;
		for (size_t j = 1; j <= b.n; j++) {
			bool same = same_letter(a.p[i - 1], b.p[j - 1]);

			row[j] = least(least(row[j - 1], above[j]) + 1, above[j - 1] + (same ? 0 : 1));
			if (i > 1 && j > 1 && same_letter(a.p[i - 1], b.p[j - 2]) &&
			    same_letter(a.p[i - 2], b.p[j - 1]))
				row[j] = least(row[j], before[j - 2] + 1);
		}
		before = above;
		above = row;
		row = spare;
	}
	return above[b.n];
}

size_t conf_distance(struct str word, struct str known)
{
	size_t d;

	if (!word.n || !known.n || word.n > DISTANCE_WORD_MAX || known.n > DISTANCE_WORD_MAX)
		return SIZE_MAX;
	d = edits(word, known);
	if (d <= 1 + least(word.n, known.n) / 5 && d < least(word.n, known.n))
		return d;
	/* "token" for "token_file", "cert" for "certificate" */
	return word.n >= 3 && str_starts(known, word) ? DISTANCE_WORD_MAX : SIZE_MAX;
}
