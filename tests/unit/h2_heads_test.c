/* h2: heads that the session's other end should never have sent. adit does not believe aditd more than it must. */
#include "h2_pair.h"

#include "bad_heads.h"

/* Of a bad field the rest of the request is left (design: one bad field ends no stream), of any other nothing. A
 * protocol with a space is nothing that HTTP/2 minds: origin_h1 refuses it. */
static void bad_requests(void)
{
	for (size_t i = 0; i < BAD_HEADS; i++) {
		const struct bad_head *b = &bad_heads[i];
		bool field = strcmp(b->name, "x") != 0 || strcmp(b->value, "y") != 0;
		struct half_script visitor, origin;
		struct h2_pair p;

		if (strcmp(b->protocol, "x y") == 0)
			continue;
		pair_init(&p, &origin, 1);
		pair_ask(&p, &visitor);
		bad_head_tell(&visitor, b);
		half_end(&visitor.half, NULL);
		pair_run(&p);
		CU_ASSERT_STRING_EQUAL(origin.text, field ? "GET a /x 0 none|end|" : "");
		if (field) {
			script_respond(&origin, 200, 0, true, "");
			half_end(&origin.half, NULL);
			pair_run(&p);
		}
		CU_ASSERT_STRING_EQUAL(visitor.text, field ? "200 0 none|end|" : "abort PROTO|");
		pair_over(&p);
	}
}

static const struct unit_test tests[] = {
	{"a request that could become more than one line reaches nobody", bad_requests},
};

UNIT_MAIN("h2_heads", tests)
