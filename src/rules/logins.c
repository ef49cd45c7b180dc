#include "rules/logins.h"

#include <crypt.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/err.h"

#define KEY_LEN 32
/** "USER:PASSWORD", decoded; twice what is accepted, so that too long is told from cut. */
#define PAIR_MAX (CONF_USER_MAX + 1 + CONF_PASSWORD_MAX)

/* What is known of the password of conf->at[i]. */
struct known {
	bool set;
	uint8_t mac[SHA256_LEN];
};

struct logins {
	const struct conf_logins *conf;
	const char *some_hash; /* what is computed for a user that nobody is; NULL: no password is hashed */
	uint8_t key[KEY_LEN];
	struct known known[];
};

/** What a visitor has named. */
struct named {
	uint8_t pair[PAIR_MAX + 1];
	size_t len, user_len;
};

static int mac_of(const struct logins *l, struct str password, uint8_t out[SHA256_LEN])
{
	return digest_hmac(l->key, sizeof(l->key), password.p, password.n, out);
}

struct logins *logins_new(const struct conf_logins *conf)
{
	struct logins *l = calloc(1, sizeof(*l) + conf->count * sizeof(l->known[0]));

	if (!l)
		return NULL;
	l->conf = conf;
	random_bytes(l->key, sizeof(l->key));
	for (size_t i = 0; i < conf->count; i++) {
		if (conf->at[i].hashed)
			l->some_hash = conf->at[i].secret;
		else if (mac_of(l, str_of(conf->at[i].secret), l->known[i].mac) < 0)
			logins_free(&l);
		else
			l->known[i].set = true;
		if (!l)
			return NULL;
	}
	return l;
}

void logins_free(struct logins **lp)
{
	struct logins *l = *lp;

	*lp = NULL;
	if (l)
		secret_wipe(l->key, sizeof(l->key));
	free(l);
}

/* RFC 7617 section 2. False: it is of another kind, or can be nobody's. */
static bool take_apart(struct str authorization, struct named *n)
{
	struct str rest = authorization, scheme;
	size_t pads = 0;
	const uint8_t *colon;

	if (!str_split(&rest, ' ', &scheme) || !str_eq_nocase(scheme, STR("Basic")))
		return false;
	rest = str_trim(rest);
	if (!rest.n || rest.n % 4)
		return false;
	while (pads < 2 && rest.p[rest.n - 1 - pads] == '=')
		pads++;
	n->len = rest.n / 4 * 3 - pads;
	if (n->len > PAIR_MAX || base64_decode(rest.p, rest.n, n->pair, n->len) < 0)
		return false;
	n->pair[n->len] = '\0';
	colon = memchr(n->pair, ':', n->len);
	n->user_len = colon ? (size_t)(colon - n->pair) : 0;
	return colon && !memchr(n->pair, '\0', n->len);
}

/* conf->count: nobody. All are compared, so that the time does not tell how far down the list one is. */
static size_t find(const struct logins *l, const struct named *n)
{
	size_t found = l->conf->count;

	for (size_t i = 0; i < l->conf->count; i++) {
		const char *user = l->conf->at[i].user;

		if (strlen(user) == n->user_len && digest_equal(user, n->pair, n->user_len))
			found = i;
	}
	return found;
}

/* 0, ADIT_ERR_PASSWORD or ADIT_ERR_NOMEM. Milliseconds. */
static int check_hash(const char *password, const char *hash)
{
	struct crypt_data *data = calloc(1, sizeof(*data));
	const char *made;
	int r = ADIT_ERR_PASSWORD;

	if (!data)
		return ADIT_ERR_NOMEM;
	errno = 0;
	made = crypt_r(password, hash, data);
	if (!made && errno == ENOMEM) /* some have their own: that is no wrong password */
		r = ADIT_ERR_NOMEM;
	if (made && strlen(made) == strlen(hash) && digest_equal(made, hash, strlen(hash)))
		r = 0;
	secret_wipe(data, sizeof(*data));
	free(data);
	return r;
}

/* Not known yet: a guess, unless its hash says otherwise. */
static int guess(struct logins *l, size_t i, const char *password, struct guesses *g, struct guess_source from,
                 uint64_t now_ms, unsigned *wait_s)
{
	bool hashed = i < l->conf->count && l->conf->at[i].hashed;
	const char *hash = hashed ? l->conf->at[i].secret : l->some_hash;
	int r = ADIT_ERR_PASSWORD;

	*wait_s = guesses_wait(g, from, now_ms);
	if (!*wait_s && hash && !guesses_may_hash(g, now_ms))
		*wait_s = 1;
	if (*wait_s)
		return ADIT_ERR_GUESSES;
	if (hash)
		r = check_hash(password, hash);
	if (r == ADIT_ERR_NOMEM || (!r && hashed))
		return r;
	*wait_s = guesses_wrong(g, from, now_ms);
	return *wait_s ? ADIT_ERR_GUESSES : ADIT_ERR_PASSWORD;
}

static int check(struct logins *l, const struct named *n, struct guesses *g, struct guess_source from,
                 uint64_t now_ms, unsigned *wait_s)
{
	const char *text = (const char *)n->pair + n->user_len + 1;
	struct str password = {text, n->len - n->user_len - 1};
	size_t i = find(l, n);
	uint8_t mac[SHA256_LEN];
	int r;

	if (password.n > CONF_PASSWORD_MAX) /* no user's: no guess either */
		return ADIT_ERR_PASSWORD;
	if (mac_of(l, password, mac) < 0)
		return ADIT_ERR_NOMEM;
	if (i < l->conf->count && l->known[i].set && digest_equal(l->known[i].mac, mac, sizeof(mac)))
		return 0;
	r = guess(l, i, text, g, from, now_ms, wait_s);
	if (!r) {
		memcpy(l->known[i].mac, mac, sizeof(mac));
		l->known[i].set = true;
	}
	return r;
}

int logins_check(struct logins *l, struct str authorization, struct guesses *g, struct guess_source from,
                 uint64_t now_ms, unsigned *wait_s)
{
	struct named n;
	int r = ADIT_ERR_PASSWORD;

	*wait_s = 0;
	if (authorization.p && take_apart(authorization, &n))
		r = check(l, &n, g, from, now_ms, wait_s);
	secret_wipe(&n, sizeof(n));
	return r;
}
