#include "edge/auth.h"

#include "base/digest.h"

const struct conf_token *auth_token(const struct conf_server *c, struct str bearer, int *err)
{
	const struct conf_token *found = NULL;
	uint8_t hash[SHA256_LEN];

	*err = bearer.p ? digest_sha256(bearer.p, bearer.n, hash) : 0;
	if (!bearer.p || *err)
		return NULL;
	for (size_t i = 0; i < c->token_count; i++)
		if (digest_equal(c->tokens[i].sha256, hash, SHA256_LEN))
			found = &c->tokens[i];
	return found;
}

bool auth_name(const struct conf_token *t, const char *name)
{
	return conf_token_may_claim(t, name);
}

bool auth_claimable(const struct conf_server *c, const char *name)
{
	for (size_t i = 0; i < c->token_count; i++)
		if (auth_name(&c->tokens[i], name))
			return true;
	return str_starts(str_of(name), STR("r-"));
}
