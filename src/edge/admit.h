/* admit: what visitors may do with names, by the rules of the token that has the name (rules/rules.h).
 * Layer edge; the edge has one, and asks it for each request that it routes.
 * Invariants: a token's rules hold for all its links together; a request is judged once, however often it is routed,
 * but again when the name has come to another token meanwhile; where there was no memory for rules nobody gets in.
 */
#ifndef ADIT_EDGE_ADMIT_H
#define ADIT_EDGE_ADMIT_H

#include "conf/conf.h"
#include "edge/registry.h"
#include "exchange/exchange.h"
#include "rules/rules.h"

struct admit_entry {
	bool used;
	uint8_t token[SHA256_LEN];
	struct rules *rules; /* NULL: there was no memory for them */
};

struct admit {
	struct loop *loop;
	struct guesses *guesses;
	struct admit_entry *entries; /* of the tokens that have rules, by their hashes; NULL when none has */
	size_t mask;
	bool failed;                 /* no memory for the table */
};

/** 0 or ADIT_ERR_NOMEM. */
int admit_init(struct admit *a, struct loop *l);
void admit_clear(struct admit *a);
/** Rules of that configuration from now on. ADIT_ERR_NOMEM: not of all tokens; until the next call the names of those
 *  that are missing, or of all, are closed: ADIT_ERR_NOMEM for each request. */
int admit_set_conf(struct admit *a, const struct conf_server *conf);

/** May this request go to its name (exchange_name_of)? Then `*rules` are those to apply, NULL = none. False with
 *  `*err`, and with Retry-After where there is one. A name that nobody has is nobody's to rule. */
bool admit_judge(struct admit *a, const struct registry *r, struct exchange *x, const struct head *h,
                 struct rules **rules, int *err);

#endif
