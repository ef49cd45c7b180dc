/* rules_int: what rules.c and pass.c share.
 * Layer rules; for these two files and their tests only.
 */
#ifndef ADIT_RULES_RULES_INT_H
#define ADIT_RULES_RULES_INT_H

#include "base/bucket.h"
#include "rules/logins.h"
#include "rules/pacer.h"
#include "rules/rules.h"

struct rules {
	unsigned refs;
	struct loop *loop;
	struct conf_rules *conf;
	struct guesses *guesses;
	struct logins *logins;       /* NULL without any */
	struct bucket requests;      /* when the conf limits them */
	struct pacer *up, *down;     /* of requests and responses; NULL without bandwidth */
};

/** Takes fields out, then sets others. 0 or an error of fields_set. */
int rules_edit(const struct conf_edits *e, struct fields *f);

/** Keeps a reference to the rules. `counts`: the body is cut at max_body. NULL: out of memory. */
struct pass *pass_new(struct rules *r, bool counts);

#endif
