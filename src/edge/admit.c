#include "edge/admit.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/** Places for each token: searches stay short. */
#define SPARE 2

/* Hashes of tokens are spread already. */
static uint64_t number_of(const uint8_t token[SHA256_LEN])
{
	uint64_t n;

	memcpy(&n, token, sizeof(n));
	return n ? n : 1;
}

/* The token's entry, or the free one where it would be. */
static struct admit_entry *place_of(struct admit_entry *entries, size_t mask, const uint8_t token[SHA256_LEN])
{
	size_t i = (size_t)number_of(token) & mask;

	while (entries[i].used && memcmp(entries[i].token, token, SHA256_LEN) != 0)
		i = (i + 1) & mask;
	return &entries[i];
}

static void free_entries(struct admit_entry *entries, size_t mask)
{
	for (size_t i = 0; entries && i <= mask; i++)
		rules_unref(&entries[i].rules);
	free(entries);
}

int admit_init(struct admit *a, struct loop *l)
{
	*a = (struct admit){.loop = l, .guesses = guesses_new(loop_ms(l))};
	return a->guesses ? 0 : ADIT_ERR_NOMEM;
}

void admit_clear(struct admit *a)
{
	free_entries(a->entries, a->mask);
	a->entries = NULL;
	guesses_free(&a->guesses);
}

static bool add(struct admit *a, const struct conf_token *t, struct admit_entry *entries, size_t mask)
{
	struct admit_entry *e = place_of(entries, mask, t->sha256);
	struct rules *before = a->entries ? place_of(a->entries, a->mask, t->sha256)->rules : NULL;

	e->used = true;
	memcpy(e->token, t->sha256, SHA256_LEN);
	e->rules = rules_new(a->loop, t->rules, a->guesses, before);
	return e->rules != NULL;
}

int admit_set_conf(struct admit *a, const struct conf_server *conf)
{
	struct admit_entry *entries = NULL;
	size_t n = 0, places = 1;
	bool all;

	for (size_t i = 0; i < conf->token_count; i++)
		n += conf->tokens[i].rules != NULL;
	while (places < n * SPARE)
		places *= 2;
	if (n)
		entries = calloc(places, sizeof(*entries));
	a->failed = n && !entries;
	all = !a->failed;
	for (size_t i = 0; entries && i < conf->token_count; i++)
		if (conf->tokens[i].rules)
			all = add(a, &conf->tokens[i], entries, places - 1) && all;
	free_entries(a->entries, a->mask);
	a->entries = entries;
	a->mask = places - 1;
	return all ? 0 : ADIT_ERR_NOMEM;
}

bool admit_judge(struct admit *a, const struct registry *r, struct exchange *x, const struct head *h,
                 struct rules **rules, int *err)
{
	const uint8_t *token = a->entries ? registry_owner(r, str_of(exchange_name_of(x))) : NULL;
	const struct admit_entry *e = token ? place_of(a->entries, a->mask, token) : NULL;
	struct exchange_note *note = exchange_note(x);
	unsigned wait_s;

	*rules = NULL;
	*err = ADIT_ERR_NOMEM;
	if (a->failed || (e && e->used && !e->rules))
		return false;
	if (!e || !e->used)
		return true;
	*rules = e->rules;
	if (note->admitted == number_of(token))
		return true;
	*err = rules_judge(e->rules, h, str_of(exchange_visitor(x)), &wait_s);
	exchange_retry_after(x, wait_s);
	if (!*err)
		note->admitted = number_of(token);
	return !*err;
}
