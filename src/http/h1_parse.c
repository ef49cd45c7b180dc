/* Reads a message: lines are scanned for what llhttp is too kind to, then llhttp parses the same bytes in place. The
 * scan finds where a head, a chunk header or a trailer section ends and llhttp must find the same end: two parsers
 * that disagree about a message are what smuggling is made of. */
#include "http/h1_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* A step's answer besides 0 (go on), H1_PAUSE and errors: more bytes are needed. */
#define STEP_WAIT 2

enum line { LINE_MORE, LINE_DONE, LINE_BAD };

/* ---- lines */

/* Takes bytes of one line, with its end when that is there. A wrong CR is taken too: llhttp gets the same bytes
 * before an error however the input was cut. */
static enum line scan_line(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	const char *lf = memchr(s, '\n', n);
	size_t end = lf ? (size_t)(lf - s) : n, text = end, wrong;

	*took = 0;
	if (p->cr && end) {
		p->detail = "CR without LF";
		return LINE_BAD;
	}
	if (end && s[end - 1] == '\r') {
		p->cr = true;
		text--;
	}
	wrong = h1_control(s, text);
	if (wrong < text) {
		*took = s[wrong] == '\r' ? wrong + 1 : wrong;
		p->detail = s[wrong] == '\r' ? "CR without LF" : "control byte";
		return LINE_BAD;
	}
	p->line += text;
	if (!lf) {
		*took = n;
		return LINE_MORE;
	}
	if (!p->cr) {
		*took = end;
		p->detail = "LF without CR";
		return LINE_BAD;
	}
	*took = end + 1;
	p->cr = false;
	return LINE_DONE;
}

/* Remembers what llhttp does not tell: how many spaces the start line has, and whether it ends in HTTP/1.0, RTSP/1.0
 * or nothing like it. */
static void note_start_line(struct h1_parser *p, const char *s, size_t n)
{
	const char *end = s + n;

	for (const char *at = s; n && (at = memchr(at, ' ', (size_t)(end - at))) != NULL; at++)
		p->spaces++;
	while (n && (s[n - 1] == '\n' || s[n - 1] == '\r'))
		n--;
	if (n >= H1_TAIL) {
		memcpy(p->tail, s + n - H1_TAIL, H1_TAIL);
		return;
	}
	memmove(p->tail, p->tail + n, H1_TAIL - n);
	if (n)
		memcpy(p->tail + H1_TAIL - n, s, n);
}

/* RFC 9112 section 3: method SP request-target SP HTTP-version, one SP each; section 4 for the status line. */
static bool start_line_ok(const struct h1_parser *p)
{
	const char *t = p->tail;

	if (p->kind == H1_RESPONSE)
		return true;
	return p->spaces == 2 && memcmp(t, " HTTP/", 6) == 0 && t[6] >= '0' && t[6] <= '9' && t[7] == '.';
}

/* One line's part of a head or trailer section; LINE_DONE: it was the empty line. */
static enum line scan_field_line(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	enum line r;

	*took = 0;
	if (p->lines && !p->line && !p->cr && (*s == ' ' || *s == '\t')) {
		p->detail = "line that begins with a space or a tab";
		return LINE_BAD;
	}
	r = scan_line(p, s, n, took);
	if (!p->lines)
		note_start_line(p, s, *took);
	if (r != LINE_DONE || !p->line)
		return r;
	if (!p->lines && !start_line_ok(p)) {
		p->detail = "request line not METHOD target HTTP/1.x";
		return LINE_BAD;
	}
	p->lines++;
	p->line = 0;
	return LINE_MORE;
}

/* A head or a trailer section up to its empty line. 0 when that was found, STEP_WAIT, or an error. */
static int take_section(struct h1_parser *p, const char *s, size_t n, size_t max, size_t *took)
{
	size_t m = n < max - p->bytes ? n : max - p->bytes, at = 0;
	enum line r = LINE_MORE;
	const char *detail;
	int err;

	while (at < m && r == LINE_MORE) {
		size_t k;

		r = scan_field_line(p, s + at, m - at, &k);
		at += k;
	}
	detail = p->detail;
	p->bytes += at;
	*took = at;
	err = h1_feed(p, s, at);
	if (err)
		return err;
	if (r == LINE_BAD)
		return h1_fail(p, ADIT_ERR_BAD_REQUEST, detail);
	if (p->complete != (r == LINE_DONE))
		return h1_fail(p, ADIT_ERR_BAD_REQUEST, "end of the fields not clear");
	if (r == LINE_DONE)
		return 0;
	return p->bytes == max ? h1_fail(p, ADIT_ERR_HEAD_TOO_BIG, "too many bytes of fields") : STEP_WAIT;
}

static void begin_section(struct h1_parser *p, uint32_t lines)
{
	p->lines = lines;
	p->line = 0;
	p->bytes = 0;
	p->counted = 0;
	p->complete = false;
}

static void begin_chunk(struct h1_parser *p)
{
	p->state = H1_CHUNK_LINE;
	p->complete = false;
	p->bytes = 0;
	p->line = 0;
	p->digits = 0;
	p->size_done = false;
}

/* ---- the states, one step each */

static void begin_head(struct h1_parser *p)
{
	p->state = H1_HEAD;
	h1_feed_reset(p);
	head_reset(&p->head);
	fields_reset(&p->trailers);
	begin_section(p, 0);
	memset(p->tail, 0, sizeof(p->tail));
	p->spaces = 0;
	p->absolute = false;
	p->hosts = p->lengths = p->codings = p->options = 0;
	p->left = p->extensions = p->chunked = 0;
}

/* RFC 9112 section 2.2: one empty line before a request line is forgiven. */
static int step_idle(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	if (!n)
		return STEP_WAIT;
	if (p->cr) {
		if (*s != '\n')
			return h1_fail(p, ADIT_ERR_BAD_REQUEST, "CR without LF");
		p->cr = false;
		p->blank = true;
		*took = 1;
		return 0;
	}
	if (*s == '\n')
		return h1_fail(p, ADIT_ERR_BAD_REQUEST, "LF without CR");
	if (*s == '\r') {
		if (p->kind == H1_RESPONSE || p->blank)
			return h1_fail(p, ADIT_ERR_BAD_REQUEST, "empty line before the start line");
		p->cr = true;
		*took = 1;
		return 0;
	}
	p->first = *s;
	begin_head(p);
	return 0;
}

static int step_head(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	enum h1_state next = H1_END;
	int r;

	if (!n)
		return STEP_WAIT;
	r = take_section(p, s, n, H1_HEAD_BYTES_MAX, took);
	if (r)
		return r;
	p->head.status = p->kind == H1_RESPONSE ? p->ll.status_code : 0;
	r = h1_judge_head(p, &next);
	if (r)
		return r;
	if (next == H1_CHUNK_LINE)
		begin_chunk(p);
	p->state = next;
	return p->events->head(p->arg, &p->head, next == H1_END || next == H1_IDLE) ? H1_PAUSE : 0;
}

static int step_length(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	size_t m = n < p->left ? n : (size_t)p->left;

	if (!n)
		return STEP_WAIT;
	*took = m;
	p->left -= m;
	if (!p->left)
		p->state = H1_END;
	return p->events->body(p->arg, (const uint8_t *)s, m) ? H1_PAUSE : 0;
}

static int step_close(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	if (!n)
		return STEP_WAIT;
	*took = n;
	return p->events->body(p->arg, (const uint8_t *)s, n) ? H1_PAUSE : 0;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* The digits of a chunk's size; returns how many bytes were taken. */
static size_t take_digits(struct h1_parser *p, const char *s, size_t n, enum line *r)
{
	size_t at = 0;

	while (at < n && !p->size_done) {
		if (is_hex(s[at]) && p->digits < H1_CHUNK_DIGITS_MAX) {
			p->digits++;
			at++;
		} else if (p->digits && (s[at] == '\r' || s[at] == ';')) {
			p->size_done = true;
		} else {
			p->detail = "chunk size not a number";
			*r = LINE_BAD;
			break;
		}
	}
	return at;
}

/* Short chunks are slow, but they are somebody's; extensions are nobody's. */
static bool extensions_ok(struct h1_parser *p)
{
	p->extensions += p->bytes - 2; /* its line end */
	p->chunked += p->left < INT64_MAX - p->chunked ? p->left : INT64_MAX - p->chunked;
	return p->extensions <= H1_EXTENSIONS_FREE ||
	       (p->extensions - H1_EXTENSIONS_FREE) / H1_EXTENSIONS_RATIO <= p->chunked;
}

/* RFC 9112 section 7.1: size and extensions; the latter are bounded and dropped (section 7.1.1). */
static int step_chunk_line(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	enum line r = LINE_MORE;
	const char *detail;
	size_t at, k = 0;
	int err;

	if (!n)
		return STEP_WAIT;
	at = take_digits(p, s, n, &r);
	if (r == LINE_MORE && at < n) {
		size_t room = H1_CHUNK_LINE_MAX - p->bytes;

		r = scan_line(p, s + at, n - at < room ? n - at : room, &k);
		p->bytes += k;
	}
	detail = p->detail;
	*took = at + k;
	/* extensions are not shown to llhttp: it refuses some that are well-formed, and nobody wants them */
	err = h1_feed(p, s, at);
	if (!err && r == LINE_DONE)
		err = h1_feed(p, "\r\n", 2);
	if (err)
		return err;
	if (r == LINE_BAD)
		return h1_fail(p, ADIT_ERR_BAD_REQUEST, detail);
	if (r == LINE_MORE)
		return p->bytes < H1_CHUNK_LINE_MAX ? STEP_WAIT
		                                    : h1_fail(p, ADIT_ERR_BAD_REQUEST, "chunk extension too long");
	if (!p->complete || p->left > INT64_MAX)
		return h1_fail(p, ADIT_ERR_BAD_REQUEST, "chunk size too large");
	if (!extensions_ok(p))
		return h1_fail(p, ADIT_ERR_BAD_REQUEST, "more chunk extensions than chunks");
	p->state = p->left ? H1_CHUNK_DATA : H1_TRAILERS;
	begin_section(p, 1);
	return 0;
}

static int step_chunk_data(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	size_t m = n < p->left ? n : (size_t)p->left;
	int r;

	if (!n)
		return STEP_WAIT;
	*took = m;
	p->left -= m;
	p->paused = 0;
	if (!p->left)
		p->state = H1_CHUNK_END;
	r = h1_feed(p, s, m);
	if (r)
		return r;
	return p->paused ? H1_PAUSE : 0;
}

static int step_chunk_end(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	int r;

	if (!n)
		return STEP_WAIT;
	if (*s != (p->cr ? '\n' : '\r'))
		return h1_fail(p, ADIT_ERR_BAD_REQUEST, "chunk data not followed by CRLF");
	*took = 1;
	r = h1_feed(p, s, 1);
	if (r)
		return r;
	p->cr = !p->cr;
	if (!p->cr)
		begin_chunk(p);
	return 0;
}

static int step_trailers(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	int r;

	if (!n)
		return STEP_WAIT;
	r = take_section(p, s, n, H1_TRAILER_BYTES_MAX, took);
	if (!r)
		p->state = H1_END;
	return r;
}

static int step_end(struct h1_parser *p, const char *s, size_t n, size_t *took)
{
	(void)s;
	(void)n;
	(void)took;
	p->state = H1_DONE;
	return p->events->end(p->arg, &p->trailers) ? H1_PAUSE : 0;
}

typedef int step_fn(struct h1_parser *p, const char *s, size_t n, size_t *took);

static step_fn *const steps[H1_STATES] = {
	[H1_IDLE] = step_idle,
	[H1_HEAD] = step_head,
	[H1_LENGTH] = step_length,
	[H1_CLOSE] = step_close,
	[H1_CHUNK_LINE] = step_chunk_line,
	[H1_CHUNK_DATA] = step_chunk_data,
	[H1_CHUNK_END] = step_chunk_end,
	[H1_TRAILERS] = step_trailers,
	[H1_END] = step_end,
};

/* ---- the parser */

struct h1_parser *h1_new(enum h1_kind kind, const struct h1_events *events, void *arg)
{
	struct h1_parser *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->kind = kind;
	p->events = events;
	p->arg = arg;
	p->detail = "";
	head_init(&p->head);
	fields_init(&p->trailers);
	h1_feed_init(p);
	return p;
}

void h1_free(struct h1_parser **p)
{
	if (!*p)
		return;
	head_free(&(*p)->head);
	fields_free(&(*p)->trailers);
	h1_feed_free(*p);
	free(*p);
	*p = NULL;
}

void h1_expect(struct h1_parser *p, struct str method)
{
	p->was_head = str_eq(method, STR("HEAD"));
	p->was_connect = str_eq(method, STR("CONNECT"));
}

void h1_next(struct h1_parser *p)
{
	if (p->state == H1_FAILED)
		return;
	p->state = H1_IDLE;
	p->cr = p->blank = false;
	p->interim = 0;
}

int h1_parse(struct h1_parser *p, const uint8_t *data, size_t n, size_t *used)
{
	const char *s = n ? (const char *)data : "";
	size_t at = 0;
	int r = p->state == H1_FAILED ? p->err : 0;

	while (!r && steps[p->state]) {
		size_t took = 0;

		r = steps[p->state](p, s + at, n - at, &took);
		at += took;
	}
	*used = at;
	return r < 0 ? r : 0;
}

int h1_eof(struct h1_parser *p)
{
	size_t took;

	switch (p->state) {
	case H1_IDLE:
		return p->interim ? ADIT_ERR_INCOMPLETE : 0;
	case H1_CLOSE:
	case H1_END:
		step_end(p, NULL, 0, &took);
		return 0;
	case H1_DONE:
	case H1_SWITCHED:
		return 0;
	case H1_FAILED:
		return p->err;
	default:
		p->detail = "message cut before its end";
		return ADIT_ERR_INCOMPLETE;
	}
}

bool h1_idle(const struct h1_parser *p)
{
	return p->state == H1_IDLE && !p->interim;
}

bool h1_in_head(const struct h1_parser *p)
{
	return p->state == H1_HEAD;
}

const char *h1_error_detail(const struct h1_parser *p)
{
	return p->detail;
}
