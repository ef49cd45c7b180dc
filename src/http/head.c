#include "http/head.h"

#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/err.h"

/* A browser's head is 600 to 1500 bytes and about 20 fields: one growth at most. */
#define BLOCK_FIRST 1024
#define FIELDS_FIRST 32

void fields_init(struct fields *f)
{
	memset(f, 0, sizeof(*f));
}

/* Cookies and tokens come by here: nothing of a message outlives it. */
void fields_reset(struct fields *f)
{
	secret_wipe(f->block, f->used);
	f->n = 0;
	f->used = 0;
}

void fields_free(struct fields *f)
{
	if (!f->v && !f->block)
		return;
	fields_reset(f);
	pool_give(f->pool, f->v, f->cap * sizeof(*f->v));
	pool_give(f->pool, f->block, f->size);
	fields_init(f);
}

static bool in_block(const struct fields *f, struct str s)
{
	uintptr_t at = (uintptr_t)s.p, base = (uintptr_t)f->block;

	return s.n && f->block && at >= base && at - base < f->size;
}

static void rebase(struct str *s, const struct fields *f, bool own, uintptr_t old)
{
	if (own)
		s->p = f->block + ((uintptr_t)s->p - old);
}

static int grow(struct fields *f, size_t n, struct str *a, struct str *b)
{
	bool own_a = in_block(f, *a), own_b = in_block(f, *b);
	uintptr_t old = (uintptr_t)f->block;
	size_t size = f->size ? f->size : BLOCK_FIRST;
	char *block;

	if (n > HTTP_HEAD_MAX - (size_t)f->used)
		return ADIT_ERR_HEAD_TOO_BIG;
	while (size < f->used + n)
		size *= 2;
	block = pool_take(f->pool, size);
	if (!block)
		return ADIT_ERR_NOMEM;
	if (f->used)
		memcpy(block, f->block, f->used);
	secret_wipe(f->block, f->used);
	pool_give(f->pool, f->block, f->size);
	f->block = block;
	f->size = (uint32_t)size;
	rebase(a, f, own_a, old);
	if (b != a)
		rebase(b, f, own_b, old);
	return 0;
}

/* Room for `n` more bytes. `a` and `b` may be text of this very block (a value taken from it): they move along. */
static inline int reserve(struct fields *f, size_t n, struct str *a, struct str *b)
{
	return f->block && n <= f->size - f->used && n <= HTTP_HEAD_MAX - f->used ? 0 : grow(f, n, a, b);
}

static int grow_entries(struct fields *f, uint32_t n)
{
	uint32_t cap = f->cap ? f->cap : FIELDS_FIRST;
	struct field *v;

	while (cap < n)
		cap *= 2;
	v = pool_take(f->pool, cap * sizeof(*v));
	if (!v)
		return ADIT_ERR_NOMEM;
	if (f->n)
		memcpy(v, f->v, f->n * sizeof(*v));
	pool_give(f->pool, f->v, f->cap * sizeof(*f->v));
	f->v = v;
	f->cap = cap;
	return 0;
}

static inline int reserve_entries(struct fields *f, uint32_t n)
{
	return n <= f->cap ? 0 : grow_entries(f, n);
}

/* There must be room. Returns the place. */
static uint32_t append(struct fields *f, struct str s)
{
	uint32_t at = f->used;

	if (s.n)
		memcpy(f->block + at, s.p, s.n);
	f->used += (uint32_t)s.n;
	return at;
}

/* A to Z of eight bytes become small: what is between them, and no byte above 0x7f, has bit 0x20 set. */
static uint64_t lower_word(uint64_t w)
{
	const uint64_t ones = UINT64_MAX / 255, high = ones << 7;
	uint64_t low = w & ~high, from_a = low + ones * (0x80 - 'A'), past_z = low + ones * (0x7f - 'Z');

	return w | (((from_a ^ past_z) & ~w & high) >> 2);
}

static inline void copy_lower(char *to, const char *from, size_t n)
{
	uint64_t w = 0;

	memcpy(&w, from, n);
	w = lower_word(w);
	memcpy(to, &w, n);
}

static uint32_t append_lower(struct fields *f, struct str s)
{
	uint32_t at = f->used;
	char *to = f->block + at;
	size_t i = 0;

	for (; i + 8 <= s.n; i += 8)
		copy_lower(to + i, s.p + i, 8);
	if (i && i < s.n) {
		copy_lower(to + s.n - 8, s.p + s.n - 8, 8);
	} else if (i < s.n && s.n >= 4) {
		copy_lower(to, s.p, 4);
		copy_lower(to + s.n - 4, s.p + s.n - 4, 4);
	} else {
		for (; i < s.n; i++)
			copy_lower(to + i, s.p + i, 1);
	}
	f->used += (uint32_t)s.n;
	return at;
}

int fields_add(struct fields *f, struct str name, struct str value)
{
	struct field *it;
	int r;

	if (f->n >= HTTP_FIELDS_MAX || name.n > HTTP_HEAD_MAX || value.n > HTTP_HEAD_MAX)
		return ADIT_ERR_HEAD_TOO_BIG;
	r = reserve_entries(f, f->n + 1);
	if (r)
		return r;
	r = reserve(f, name.n + value.n, &name, &value);
	if (r)
		return r;
	it = &f->v[f->n++];
	it->name_len = (uint32_t)name.n;
	it->value_len = (uint32_t)value.n;
	it->name = append_lower(f, name);
	it->value = append(f, value);
	return 0;
}

unsigned fields_remove(struct fields *f, struct str name)
{
	uint32_t kept = 0, before = f->n;

	for (uint32_t i = 0; i < before; i++)
		if (!str_eq(fields_name(f, i), name))
			f->v[kept++] = f->v[i];
	f->n = kept;
	return before - kept;
}

void fields_forget(struct fields *f, struct str name)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (str_eq(fields_name(f, i), name))
			secret_wipe(f->block + f->v[i].value, f->v[i].value_len);
	fields_remove(f, name);
}

void fields_remove_at(struct fields *f, uint32_t i)
{
	f->n--;
	memmove(&f->v[i], &f->v[i + 1], (f->n - i) * sizeof(*f->v));
}

int fields_set(struct fields *f, struct str name, struct str value)
{
	fields_remove(f, name);
	return fields_add(f, name, value);
}

int fields_copy(struct fields *dst, const struct fields *src)
{
	struct str all = {src->block, src->used};
	int r;

	fields_reset(dst);
	if (src->n) {
		r = reserve_entries(dst, src->n);
		if (r)
			return r;
		memcpy(dst->v, src->v, src->n * sizeof(*src->v));
	}
	if (src->used) {
		r = reserve(dst, src->used, &all, &all);
		if (r)
			return r;
		append(dst, all);
	}
	dst->n = src->n;
	return 0;
}

struct str fields_get(const struct fields *f, struct str name)
{
	for (uint32_t i = 0; i < f->n; i++)
		if (str_eq(fields_name(f, i), name))
			return fields_value(f, i);
	return (struct str){NULL, 0};
}

bool fields_has(const struct fields *f, struct str name)
{
	return fields_get(f, name).p != NULL;
}

bool fields_has_token(const struct fields *f, struct str name, struct str token)
{
	for (uint32_t i = 0; i < f->n; i++) {
		struct str rest, part;

		if (!str_eq(fields_name(f, i), name))
			continue;
		rest = fields_value(f, i);
		while (str_split(&rest, ',', &part))
			if (str_eq_nocase(str_trim(part), token))
				return true;
	}
	return false;
}

void head_init(struct head *h)
{
	memset(h, 0, sizeof(*h));
}

void head_free(struct head *h)
{
	fields_free(&h->fields);
	head_init(h);
}

void head_reset(struct head *h)
{
	fields_reset(&h->fields);
	memset(h->parts, 0, sizeof(h->parts));
	h->status = 0;
	h->minor = 0;
	h->length = 0;
	h->close = false;
}

int head_copy(struct head *dst, const struct head *src)
{
	int r = fields_copy(&dst->fields, &src->fields);

	if (r) {
		head_reset(dst);
		return r;
	}
	memcpy(dst->parts, src->parts, sizeof(dst->parts));
	dst->status = src->status;
	dst->minor = src->minor;
	dst->length = src->length;
	dst->close = src->close;
	return 0;
}

int head_set(struct head *h, enum head_part part, struct str value)
{
	struct field *it = &h->parts[part];

	if (value.n > HTTP_HEAD_MAX)
		return ADIT_ERR_HEAD_TOO_BIG;
	if (value.n > it->value_len) {
		int r = reserve(&h->fields, value.n, &value, &value);

		if (r)
			return r;
		it->value = append(&h->fields, value);
	} else if (value.n) {
		memmove(h->fields.block + it->value, value.p, value.n);
	}
	it->value_len = (uint32_t)value.n;
	return 0;
}

bool head_bodyless(int status, struct str request_method)
{
	return status < 200 || status == 204 || status == 304 || str_eq(request_method, STR("HEAD"));
}

bool method_idempotent(struct str method)
{
	static const char *const names[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (str_eq(method, str_of(names[i])))
			return true;
	return false;
}

struct reason {
	int status;
	const char *text;
};

static const struct reason reasons[] = {
	{100, "Continue"}, {101, "Switching Protocols"}, {103, "Early Hints"},
	{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {203, "Non-Authoritative Information"},
	{204, "No Content"}, {205, "Reset Content"}, {206, "Partial Content"}, {207, "Multi-Status"},
	{300, "Multiple Choices"}, {301, "Moved Permanently"}, {302, "Found"}, {303, "See Other"},
	{304, "Not Modified"}, {305, "Use Proxy"}, {307, "Temporary Redirect"}, {308, "Permanent Redirect"},
	{400, "Bad Request"}, {401, "Unauthorized"}, {402, "Payment Required"}, {403, "Forbidden"},
	{404, "Not Found"}, {405, "Method Not Allowed"}, {406, "Not Acceptable"},
	{407, "Proxy Authentication Required"}, {408, "Request Timeout"}, {409, "Conflict"}, {410, "Gone"},
	{411, "Length Required"}, {412, "Precondition Failed"}, {413, "Content Too Large"}, {414, "URI Too Long"},
	{415, "Unsupported Media Type"}, {416, "Range Not Satisfiable"}, {417, "Expectation Failed"},
	{421, "Misdirected Request"}, {422, "Unprocessable Content"}, {425, "Too Early"}, {426, "Upgrade Required"},
	{428, "Precondition Required"}, {429, "Too Many Requests"}, {431, "Request Header Fields Too Large"},
	{451, "Unavailable For Legal Reasons"},
	{500, "Internal Server Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"},
	{504, "Gateway Timeout"}, {505, "HTTP Version Not Supported"}, {507, "Insufficient Storage"},
	{511, "Network Authentication Required"},
};

const char *status_reason(int status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "";
}
