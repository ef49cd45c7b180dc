/* bad_heads: requests that no reader of a message would have given: for whoever must not write them, or must not
 * believe his peer. For unit tests only.
 */
#ifndef ADIT_TESTS_BAD_HEADS_H
#define ADIT_TESTS_BAD_HEADS_H

#include "half_script.h"

struct bad_head {
	const char *method, *path, *authority, *protocol;
	const char *name, *value;
};

static inline void bad_head_tell(struct half_script *s, const struct bad_head *b)
{
	struct head h;

	script_make_request(&h, b->method, b->protocol, "");
	CU_ASSERT_EQUAL_FATAL(head_set(&h, HEAD_PATH, str_of(b->path)), 0);
	CU_ASSERT_EQUAL_FATAL(head_set(&h, HEAD_AUTHORITY, str_of(b->authority)), 0);
	CU_ASSERT_EQUAL_FATAL(fields_add(&h.fields, str_of(b->name), str_of(b->value)), 0);
	h.length = 0;
	half_head(&s->half, &h, true);
	head_free(&h);
}

static const struct bad_head bad_heads[] = {
	{"GET /y", "/x", "a", "", "x", "y"}, {"GET\r\n", "/x", "a", "", "x", "y"}, {"", "/x", "a", "", "x", "y"},
	{"GET", "/x y", "a", "", "x", "y"}, {"GET", "/x\r\nX: y", "a", "", "x", "y"},
	{"GET", "/x\ny", "a", "", "x", "y"},
	{"GET", "/x\ty", "a", "", "x", "y"}, {"GET", "/x", "a\r\nX: y", "", "x", "y"},
	{"GET", "/x", "a b", "", "x", "y"},
	{"GET", "/x", "a", "x\r\nX: y", "x", "y"}, {"GET", "/x", "a", "x y", "x", "y"},
	{"GET", "/x", "a", "", "x y", "z"}, {"GET", "/x", "a", "", "x:y", "z"}, {"GET", "/x", "a", "", "", "z"},
	{"GET", "/x", "a", "", "x\r\ny", "z"}, {"GET", "/x", "a", "", "x\xe9", "z"},
	{"GET", "/x", "a", "", "x", "y\rz"},
	{"GET", "/x", "a", "", "x", "y\nz"}, {"GET", "/x", "a", "", "x", "y\r\nz: a"},
	{"GET", "/x", "a", "", "x", "y\x7f"},
	{"GET", "/x", "a", "", "x", "y\x01"},
};

#define BAD_HEADS (sizeof(bad_heads) / sizeof(bad_heads[0]))

#endif
