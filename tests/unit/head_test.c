#include <string.h>

#include "base/err.h"
#include "http/head.h"
#include "unit.h"

static bool is(struct str s, const char *z)
{
	return str_eq(s, str_of(z));
}

static void add_and_get(void)
{
	struct fields f;

	fields_init(&f);
	CU_ASSERT_EQUAL(fields_add(&f, STR("Content-TYPE"), STR("Text/Plain")), 0);
	CU_ASSERT_EQUAL(fields_add(&f, STR("x"), STR("")), 0);
	CU_ASSERT_EQUAL(fields_add(&f, STR("set-cookie"), STR("a")), 0);
	CU_ASSERT_EQUAL(fields_add(&f, STR("set-cookie"), STR("b")), 0);
	CU_ASSERT_EQUAL(f.n, 4);
	CU_ASSERT(is(fields_name(&f, 0), "content-type"));
	CU_ASSERT(is(fields_get(&f, STR("content-type")), "Text/Plain"));
	CU_ASSERT(is(fields_get(&f, STR("set-cookie")), "a"));
	CU_ASSERT(is(fields_value(&f, 3), "b"));
	CU_ASSERT(fields_has(&f, STR("x")));
	CU_ASSERT_PTR_NOT_NULL(fields_get(&f, STR("x")).p);
	CU_ASSERT_FALSE(fields_has(&f, STR("y")));
	CU_ASSERT_PTR_NULL(fields_get(&f, STR("content-typ")).p);
	fields_free(&f);
	fields_free(&f);
}

static void remove_keeps_order(void)
{
	struct fields f;

	fields_init(&f);
	for (const char *z = "abacad"; *z; z++)
		CU_ASSERT_EQUAL(fields_add(&f, (struct str){z, 1}, (struct str){z, 1}), 0);
	CU_ASSERT_EQUAL(fields_remove(&f, STR("a")), 3);
	CU_ASSERT_EQUAL(fields_remove(&f, STR("a")), 0);
	CU_ASSERT_EQUAL(f.n, 3);
	fields_remove_at(&f, 1);
	CU_ASSERT_EQUAL(f.n, 2);
	CU_ASSERT(is(fields_name(&f, 0), "b") && is(fields_name(&f, 1), "d"));
	fields_remove_at(&f, 1);
	fields_remove_at(&f, 0);
	CU_ASSERT_EQUAL(f.n, 0);
	CU_ASSERT_EQUAL(fields_set(&f, STR("X"), STR("1")), 0);
	CU_ASSERT_EQUAL(fields_set(&f, STR("x"), STR("2")), 0);
	CU_ASSERT_EQUAL(f.n, 1);
	CU_ASSERT(is(fields_get(&f, STR("x")), "2"));
	fields_free(&f);
}

/* The block moves while it grows: text taken from it is given back to it. */
static void own_text(void)
{
	struct fields f;
	struct head h;

	fields_init(&f);
	CU_ASSERT_EQUAL(fields_add(&f, STR("first"), STR("0123456789")), 0);
	for (int i = 0; i < 90; i++)
		CU_ASSERT_EQUAL(fields_add(&f, fields_name(&f, 0), fields_value(&f, (uint32_t)i)), 0);
	CU_ASSERT(is(fields_name(&f, 90), "first") && is(fields_value(&f, 90), "0123456789"));
	fields_free(&f);
	head_init(&h);
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, STR("/0123456789")), 0);
	for (int i = 0; i < 300; i++) {
		CU_ASSERT_EQUAL(head_set(&h, HEAD_AUTHORITY, STR("")), 0);
		CU_ASSERT_EQUAL(head_set(&h, HEAD_AUTHORITY, head_get(&h, HEAD_PATH)), 0);
	}
	CU_ASSERT(is(head_get(&h, HEAD_AUTHORITY), "/0123456789"));
	head_free(&h);
}

static void tokens(void)
{
	struct fields f;

	fields_init(&f);
	fields_add(&f, STR("connection"), STR("keep-alive ,\tX-y,,"));
	fields_add(&f, STR("connection"), STR("Upgrade"));
	fields_add(&f, STR("other"), STR("close"));
	CU_ASSERT(fields_has_token(&f, STR("connection"), STR("keep-alive")));
	CU_ASSERT(fields_has_token(&f, STR("connection"), STR("x-Y")));
	CU_ASSERT(fields_has_token(&f, STR("connection"), STR("upgrade")));
	CU_ASSERT_FALSE(fields_has_token(&f, STR("connection"), STR("close")));
	CU_ASSERT_FALSE(fields_has_token(&f, STR("connection"), STR("keep")));
	CU_ASSERT_FALSE(fields_has_token(&f, STR("connection"), STR("keep-alive ,")));
	CU_ASSERT_FALSE(fields_has_token(&f, STR("none"), STR("x")));
	fields_free(&f);
}

static void limits(void)
{
	char big[HTTP_HEAD_MAX];
	struct fields f;
	struct head h;

	memset(big, 'x', sizeof(big));
	fields_init(&f);
	for (int i = 0; i < HTTP_FIELDS_MAX; i++)
		CU_ASSERT_EQUAL(fields_add(&f, STR("a"), STR("b")), 0);
	CU_ASSERT_EQUAL(fields_add(&f, STR("a"), STR("b")), ADIT_ERR_HEAD_TOO_BIG);
	CU_ASSERT_EQUAL(f.n, HTTP_FIELDS_MAX);
	fields_reset(&f);
	CU_ASSERT_EQUAL(f.n, 0);
	CU_ASSERT_EQUAL(fields_add(&f, STR("a"), (struct str){big, sizeof(big)}), ADIT_ERR_HEAD_TOO_BIG);
	CU_ASSERT_EQUAL(fields_add(&f, STR("a"), (struct str){big, sizeof(big) - 1}), 0);
	CU_ASSERT_EQUAL(fields_add(&f, STR("a"), STR("")), ADIT_ERR_HEAD_TOO_BIG);
	CU_ASSERT_EQUAL(fields_add(&f, STR("a"), (struct str){big, SIZE_MAX}), ADIT_ERR_HEAD_TOO_BIG);
	CU_ASSERT_EQUAL(f.n, 1);
	fields_free(&f);
	head_init(&h);
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, (struct str){big, sizeof(big)}), 0);
	CU_ASSERT_EQUAL(head_set(&h, HEAD_AUTHORITY, STR("a")), ADIT_ERR_HEAD_TOO_BIG);
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, (struct str){big, SIZE_MAX}), ADIT_ERR_HEAD_TOO_BIG);
	CU_ASSERT_EQUAL(head_get(&h, HEAD_PATH).n, sizeof(big));
	head_free(&h);
}

static void memory_is_kept(void)
{
	struct head h;
	const char *block;
	const struct field *v;

	head_init(&h);
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, STR("/")), 0);
	CU_ASSERT_EQUAL(fields_add(&h.fields, STR("a"), STR("b")), 0);
	block = h.fields.block;
	v = h.fields.v;
	for (int i = 0; i < 100; i++) {
		head_reset(&h);
		CU_ASSERT_EQUAL(head_get(&h, HEAD_PATH).n, 0);
		CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, STR("/a/b/c")), 0);
		CU_ASSERT_EQUAL(fields_add(&h.fields, STR("user-agent"), STR("something")), 0);
	}
	CU_ASSERT_PTR_EQUAL(h.fields.block, block);
	CU_ASSERT_PTR_EQUAL(h.fields.v, v);
	head_free(&h);
}

static void copies(void)
{
	struct head a, b;

	head_init(&a);
	head_init(&b);
	head_set(&a, HEAD_METHOD, STR("POST"));
	head_set(&a, HEAD_AUTHORITY, STR("a.example"));
	fields_add(&a.fields, STR("x"), STR("y"));
	a.length = 7;
	a.minor = 1;
	a.close = true;
	head_set(&b, HEAD_PROTOCOL, STR("old"));
	fields_add(&b.fields, STR("old"), STR("old"));
	CU_ASSERT_EQUAL(head_copy(&b, &a), 0);
	head_free(&a);
	CU_ASSERT(is(head_get(&b, HEAD_METHOD), "POST") && is(head_get(&b, HEAD_AUTHORITY), "a.example"));
	CU_ASSERT_EQUAL(head_get(&b, HEAD_PROTOCOL).n, 0);
	CU_ASSERT(b.fields.n == 1 && is(fields_get(&b.fields, STR("x")), "y"));
	CU_ASSERT(b.length == 7 && b.minor == 1 && b.close && b.status == 0);
	/* and of nothing */
	CU_ASSERT_EQUAL(head_copy(&b, &a), 0);
	CU_ASSERT(b.fields.n == 0 && head_get(&b, HEAD_METHOD).n == 0);
	head_free(&b);
	head_free(&a);
}

static void part_set_again(void)
{
	struct head h;
	uint32_t used;

	head_init(&h);
	head_set(&h, HEAD_SCHEME, STR("https"));
	used = h.fields.used;
	head_set(&h, HEAD_SCHEME, STR("http"));
	CU_ASSERT(is(head_get(&h, HEAD_SCHEME), "http"));
	CU_ASSERT_EQUAL(h.fields.used, used);
	head_set(&h, HEAD_SCHEME, STR("longer than that"));
	CU_ASSERT(is(head_get(&h, HEAD_SCHEME), "longer than that"));
	head_set(&h, HEAD_SCHEME, STR(""));
	CU_ASSERT_EQUAL(head_get(&h, HEAD_SCHEME).n, 0);
	head_free(&h);
}

static void semantics(void)
{
	CU_ASSERT(head_bodyless(100, STR("GET")) && head_bodyless(204, STR("GET")) && head_bodyless(304, STR("GET")));
	CU_ASSERT(head_bodyless(200, STR("HEAD")) && head_bodyless(404, STR("HEAD")));
	CU_ASSERT(!head_bodyless(200, STR("GET")) && !head_bodyless(205, STR("POST")) && !head_bodyless(502,
		STR("head")));
	CU_ASSERT(method_idempotent(STR("GET")) && method_idempotent(STR("PUT")) && method_idempotent(STR("DELETE")));
	CU_ASSERT(method_idempotent(STR("HEAD")) && method_idempotent(STR("OPTIONS")) &&
		method_idempotent(STR("TRACE")));
	CU_ASSERT(!method_idempotent(STR("POST")) && !method_idempotent(STR("PATCH")) &&
		!method_idempotent(STR("CONNECT")));
	CU_ASSERT(!method_idempotent(STR("")) && !method_idempotent(STR("GETS")));
	CU_ASSERT_STRING_EQUAL(status_reason(200), "OK");
	CU_ASSERT_STRING_EQUAL(status_reason(503), "Service Unavailable");
	CU_ASSERT_STRING_EQUAL(status_reason(299), "");
	CU_ASSERT_STRING_EQUAL(status_reason(-1), "");
}

/* Names are made small in words: each byte, at each place of names of each length. */
static void small_letters(void)
{
	char name[20], small[20];

	for (size_t n = 1; n <= sizeof(name); n++) {
		for (size_t at = 0; at < n; at++) {
			struct fields f;

			fields_init(&f);
			for (int c = 0; c < 256; c++) {
				memset(name, 'Q', n);
				memset(small, 'q', n);
				name[at] = small[at] = (char)c;
				if (c >= 'A' && c <= 'Z')
					small[at] = (char)(c + 'a' - 'A');
				fields_reset(&f);
				CU_ASSERT_FATAL(fields_add(&f, (struct str){name, n}, STR("v")) == 0);
				CU_ASSERT_FATAL(str_eq(fields_name(&f, 0), (struct str){small, n}));
				CU_ASSERT_FATAL(str_eq(fields_value(&f, 0), STR("v")));
			}
			fields_free(&f);
		}
	}
}

static const struct unit_test tests[] = {
	{"fields are found by lower-case name, values as sent", add_and_get},
	{"removing fields keeps the order of the others", remove_keeps_order},
	{"A to Z become small in names of any length, and nothing else does", small_letters},
	{"text of a list may be added to that list", own_text},
	{"a list of tokens may be spread over fields", tokens},
	{"more than 100 fields or 32 KiB are refused, and nothing is added", limits},
	{"a list that is emptied keeps its memory", memory_is_kept},
	{"a copy of a head shares nothing with it", copies},
	{"a part may be set again", part_set_again},
	{"methods and status codes mean what RFC 9110 says", semantics},
};

UNIT_MAIN("head", tests)
