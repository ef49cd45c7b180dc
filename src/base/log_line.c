/* Escapes: text has \n \r \t \" \\ and \xHH for other bytes; JSON has its own, and "\\xHH" for a byte that is not
 * UTF-8, so that no byte is lost. Characters that turn or break a line on a screen are written as \uHHHH in both.
 */
#include "base/log_int.h"

#include <stdint.h>
#include <string.h>

/** Kept free at a line's end for what closes it: `,"cut":true}` and the newline. */
#define TAIL_BYTES 16
#define LINE_ROOM (LOG_LINE_MAX - TAIL_BYTES)
/** Events and keys are names in the program; this only bounds a mistake. */
#define NAME_BYTES 256
/** One byte of a value grows to at most this: \u001f. */
#define ESCAPE_MAX 6

static void put(struct log_line *o, const char *p, size_t n)
{
	if (o->full || n > LINE_ROOM - o->n) {
		o->full = true;
		return;
	}
	memcpy(o->at + o->n, p, n);
	o->n += n;
}

static void put_z(struct log_line *o, const char *z)
{
	put(o, z, strlen(z));
}

void log_digits(char *to, uint64_t v, size_t width)
{
	for (size_t i = width; i > 0; i--, v /= 10)
		to[i - 1] = (char)('0' + v % 10);
}

static void put_u64(struct log_line *o, uint64_t v)
{
	char text[20];
	size_t n = 1;

	for (uint64_t rest = v / 10; rest; rest /= 10)
		n++;
	log_digits(text, v, n);
	put(o, text, n);
}

static void put_ms(struct log_line *o, uint64_t us)
{
	char fraction[4] = ".";

	log_digits(fraction + 1, us % 1000, 3);
	put_u64(o, us / 1000);
	put(o, fraction, sizeof(fraction));
}

/** The bytes of the UTF-8 character at `p` (RFC 3629), 0 when there is none: cut, overlong, surrogate, too large. */
static size_t utf8_char(const uint8_t *p, size_t n, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
	uint32_t c = p[0];

	if (!len || len > n)
		return 0;
	if (len > 1)
		c &= 0x7fU >> len;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*code = c;
	return len;
}

/** C1 controls, line and paragraph separators, and the characters that reorder text on a screen. */
static bool misleads(uint32_t code)
{
	return (code >= 0x80 && code <= 0x9f) || (code >= 0x2028 && code <= 0x202e) ||
	       (code >= 0x2066 && code <= 0x2069);
}

static bool is_plain(char c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/** Writes `prefix` and `width` hex digits; returns how many bytes. */
static size_t hex_escape(char *to, const char *prefix, uint32_t v, size_t width)
{
	size_t n = strlen(prefix);

	memcpy(to, prefix, n);
	for (size_t i = width; i > 0; i--, v >>= 4)
		to[n + i - 1] = "0123456789abcdef"[v & 15];
	return n + width;
}

/** Takes one character that is not plain from the front of `s`; returns how many bytes of `to` stand for it. */
static size_t escape(struct str *s, bool json, char to[ESCAPE_MAX])
{
	static const char special[] = "\n\r\t\"\\", letter[] = "nrt\"\\";
	const char *p = s->p, *found = *p ? strchr(special, *p) : NULL;
	uint32_t code = 0;
	size_t len = utf8_char((const uint8_t *)p, s->n, &code), take = len ? len : 1;

	s->p += take;
	s->n -= take;
	if (found) {
		to[0] = '\\';
		to[1] = letter[found - special];
		return 2;
	}
	if (!len)
		return hex_escape(to, json ? "\\\\x" : "\\x", (uint8_t)*p, 2);
	if (len == 1)
		return json ? hex_escape(to, "\\u", code, 4) : hex_escape(to, "\\x", code, 2);
	if (misleads(code))
		return hex_escape(to, "\\u", code, 4);
	memcpy(to, p, len);
	return len;
}

/** Writes `s` up to position `end`, then "..." (for which the caller left room) when there is more of it. */
static void put_escaped(struct log_line *o, struct str s, size_t end)
{
	while (s.n) {
		char one[ESCAPE_MAX];
		const char *from = s.p;
		size_t n = 0;

		while (n < s.n && is_plain(s.p[n]))
			n++;
		if (n) {
			s.p += n;
			s.n -= n;
		} else {
			n = escape(&s, o->json, one);
			from = one;
		}
		if (n > end - o->n) {
			if (from != one)
				put(o, from, end - o->n);
			put_z(o, "...");
			return;
		}
		put(o, from, n);
	}
}

/** As put_escaped, for bytes as hex. */
static void put_hex(struct log_line *o, struct str s, size_t end)
{
	for (size_t i = 0; i < s.n; i++) {
		char two[2];

		if (end - o->n < sizeof(two)) {
			put_z(o, "...");
			return;
		}
		put(o, two, hex_escape(two, "", (uint8_t)s.p[i], 2));
	}
}

static void put_name(struct log_line *o, const char *name)
{
	size_t room = LINE_ROOM - o->n;

	if (room < 3) {
		o->full = true;
		return;
	}
	put_escaped(o, str_of(name), o->n + (room - 3 < NAME_BYTES ? room - 3 : NAME_BYTES));
}

/** What the fields from `kv` on ask for at the least, so that a long path does not push out the status after it. */
static size_t least_room(const struct log_kv *kv)
{
	size_t sum = 0;

	for (; kv->type != LOG_KV_END; kv++) {
		bool text = kv->type == LOG_KV_STR || kv->type == LOG_KV_HEX;

		sum += strlen(kv->key) + 8 + (text && kv->str.n > 24 ? 64 : 24);
	}
	return sum;
}

/** Where the text of `kv`, which starts here, must end. Its quote and "..." may follow. */
static size_t value_end(const struct log_line *o, const struct log_kv *kv)
{
	size_t room = LINE_ROOM - o->n, least;

	if (room < 4)
		return o->n;
	room -= 4;
	if (kv->str.n <= room / 2 / ESCAPE_MAX)
		return o->n + room;
	least = least_room(kv + 1);
	return o->n + (least < room / 2 ? room - least : room / 2);
}

/** Bare text must not be taken for two fields, a quoted value or nothing. */
static bool needs_quotes(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_plain(s.p[i]) || s.p[i] == ' ' || s.p[i] == '=')
			return true;
	return !s.n;
}

static void put_text(struct log_line *o, const struct log_kv *kv)
{
	/* a longer value is cut in any case, so the rest need not be looked at */
	struct str s = {kv->str.p, kv->str.n < LOG_LINE_MAX ? kv->str.n : LOG_LINE_MAX};
	bool hex = kv->type == LOG_KV_HEX;
	bool quoted = o->json || (hex ? !s.n : needs_quotes(s));

	if (quoted)
		put_z(o, "\"");
	if (hex)
		put_hex(o, s, value_end(o, kv));
	else
		put_escaped(o, s, value_end(o, kv));
	if (quoted)
		put_z(o, "\"");
}

static void put_value(struct log_line *o, const struct log_kv *kv)
{
	switch (kv->type) {
	case LOG_KV_END:
	case LOG_KV_NONE:
		break;
	case LOG_KV_STR:
	case LOG_KV_HEX:
		put_text(o, kv);
		break;
	case LOG_KV_U64:
		put_u64(o, kv->u64);
		break;
	case LOG_KV_I64:
		if (kv->u64 > INT64_MAX)
			put_z(o, "-");
		put_u64(o, kv->u64 > INT64_MAX ? 0 - kv->u64 : kv->u64);
		break;
	case LOG_KV_MS:
		put_ms(o, kv->u64);
		break;
	case LOG_KV_BOOL:
		put_z(o, kv->u64 ? "true" : "false");
		break;
	}
}

/** The whole field or nothing of it. */
static void put_field(struct log_line *o, const struct log_kv *kv)
{
	size_t start = o->n;

	if (kv->type == LOG_KV_NONE)
		return;
	put_z(o, o->json ? ",\"" : " ");
	put_name(o, kv->key);
	put_z(o, o->json ? "\":" : "=");
	if (!o->full)
		put_value(o, kv);
	if (o->full)
		o->n = start;
}

static void put_tail(struct log_line *o)
{
	const char *tail = o->json ? o->full ? ",\"cut\":true}\n" : "}\n" : o->full ? " ...\n" : "\n";
	size_t n = strlen(tail);

	memcpy(o->at + o->n, tail, n);
	o->n += n;
}

void log_line_format(struct log_line *o, enum log_format format, enum log_level level, const char *event,
                     const struct log_kv *lead, const struct log_kv *kv)
{
	static const char *const text[] = {"ERROR ", "WARN  ", "INFO  ", "DEBUG "};
	static const char *const json[] = {"error", "warn", "info", "debug"};

	o->n = 0;
	o->full = false;
	o->json = format == LOG_FORMAT_JSON;
	put_z(o, o->json ? "{\"time\":\"" : "");
	o->stamp = o->n;
	o->n += LOG_STAMP_BYTES;
	put_z(o, o->json ? "\",\"level\":\"" : " ");
	put_z(o, o->json ? json[level] : text[level]);
	put_z(o, o->json ? "\",\"event\":\"" : "");
	put_name(o, event);
	put_z(o, o->json ? "\"" : "");
	for (; lead && lead->type != LOG_KV_END && !o->full; lead++)
		put_field(o, lead);
	for (; kv->type != LOG_KV_END && !o->full; kv++)
		put_field(o, kv);
	put_tail(o);
}
