/* rules: what visitors may do at one tunnel (adit) or with what one token publishes (aditd), applied to each request.
 * Layer rules; edge/admit and origin/tunnels ask them, both programs in the same way.
 *
 *     request ──► rules_judge ──► rules_apply ──► [pass] ──► answering half
 *                  │ address        credentials     bytes counted and paced, the response's fields changed:
 *                  │ password       out, fields     a pair of halves, only where the rules have such a thing
 *                  │ body's length  changed
 *                  ▼ rate
 *                 error page
 *
 * Invariants: a request without rules costs nothing; nothing is buffered; the rate counts only what would pass else;
 * what runs keeps the rules that it began with, and shares its bandwidth with what begins under those that follow.
 */
#ifndef ADIT_RULES_RULES_H
#define ADIT_RULES_RULES_H

#include "conf/conf_rules.h"
#include "http/half.h"
#include "http/head.h"
#include "io/loop.h"
#include "rules/guesses.h"

struct rules;
struct pass;

/** Keeps a reference to the conf; the guesses outlive it. `before`, which may be NULL, are those whose place it
 *  takes: what they have counted goes on. NULL: out of memory. With one reference. */
struct rules *rules_new(struct loop *l, struct conf_rules *conf, struct guesses *g, struct rules *before);
void rules_unref(struct rules **r);

/** May it pass? 0, or what its visitor is told: ADIT_ERR_FORBIDDEN, _PASSWORD, _GUESSES, _BODY_BIG, _RATE, _NOMEM.
 *  `visitor`: textual address; `*wait_s`: for Retry-After, 0 = none. Once for each request: it counts. */
int rules_judge(struct rules *r, const struct head *h, struct str visitor, unsigned *wait_s);

/** Makes the request's head what is passed on, and `*between` what is to stand between it and who answers; NULL when
 *  that is nothing. 0, ADIT_ERR_NOMEM or ADIT_ERR_HEAD_TOO_BIG. Does no harm when done again. */
int rules_apply(struct rules *r, struct head *h, struct pass **between);

/** The half to link with in place of `answering`, which is not linked yet. Either may be NULL: without `answering` it
 *  frees `between` and gives NULL. */
struct half *pass_to(struct pass *between, struct half *answering);

#endif
