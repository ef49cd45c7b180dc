/* h2: heads that the session's other end should never have sent. adit does not believe aditd more than it must. */
#include "h2_pair.h"

#include "bad_heads.h"

/* Of such a request nothing is asked. A protocol with a space is nothing that HTTP/2 minds: origin_h1 refuses it. */
static void bad_requests(void)
{
	for (size_t i = 0; i < BAD_HEADS; i++) {
		const struct bad_head *b = &bad_heads[i];
		struct half_script visitor, origin;
		struct h2_pair p;

		if (strcmp(b->protocol, "x y") == 0)
			continue;
		pair_init(&p, &origin, 1);
		pair_ask(&p, &visitor);
		bad_head_tell(&visitor, b);
		half_end(&visitor.half, NULL);
		pair_run(&p);
		CU_ASSERT_STRING_EQUAL(origin.text, "");
		CU_ASSERT_STRING_EQUAL(visitor.text, "abort PROTO|");
		pair_over(&p);
	}
}

static const struct unit_test tests[] = {
	{"a request that could become more than one line reaches nobody", bad_requests},
};

UNIT_MAIN("h2_heads", tests)
