#include "conf/conf_int.h"

#include <errno.h>
#include <stdlib.h>

#include "base/err.h"

/** 256 lines of the longest names and hashes. */
#define LOGIN_FILE_MAX 65536
/** What one wrong guess may cost, since it is found out while nothing else runs: 5000 rounds of SHA-crypt, which is
 *  what everybody makes, are 3 ms; bcrypt of cost 5, which is htpasswd's, is 2.5 ms, and each step doubles it. */
#define ROUNDS_MIN 1000
#define ROUNDS_MAX 10000
#define BCRYPT_COST_MAX 6

/* ---- life */

struct conf_rules *conf_rules_new(void)
{
	struct conf_rules *r = calloc(1, sizeof(*r));

	if (r)
		r->refs = 1;
	return r;
}

struct conf_rules *conf_rules_ref(struct conf_rules *r)
{
	if (r)
		r->refs++;
	return r;
}

static void free_secret(char *z)
{
	if (z)
		secret_wipe(z, strlen(z));
	free(z);
}

/* A value may be a secret as well: what an origin wants to see in Authorization. */
static void free_fields(struct conf_fields *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->at[i].name);
		free_secret(f->at[i].value);
	}
	free(f->at);
}

void conf_rules_unref(struct conf_rules **rp)
{
	struct conf_rules *r = *rp;

	*rp = NULL;
	if (!r || --r->refs)
		return;
	free(r->allow.at);
	free(r->deny.at);
	for (size_t i = 0; i < r->logins.count; i++) {
		free(r->logins.at[i].user);
		free_secret(r->logins.at[i].secret);
	}
	free(r->logins.at);
	free(r->login_file);
	free_fields(&r->request.set);
	free_fields(&r->request.remove);
	free_fields(&r->response.set);
	free_fields(&r->response.remove);
	free(r);
}

/* ---- addresses */

int conf_add_block(struct conf_cidrs *b, struct str text, struct conf_error *e)
{
	struct conf_cidr block;
	void *list = b->at;

	if (!conf_block(text, &block))
		return conf_found(e, text, "an address, or a block such as 10.0.0.0/8");
	if (b->count == CONF_RULES_LIST_MAX)
		return conf_say(e, "found more than %d, wanted fewer", CONF_RULES_LIST_MAX);
	if (!conf_grow(&list, &b->count, sizeof(*b->at)))
		return conf_nomem(e);
	b->at = list;
	b->at[b->count - 1] = block;
	return 0;
}

bool conf_address(struct str text, struct in6_addr *out)
{
	const char *end;
	bool v4;

	if (!text.n)
		return false;
	if (text.p[0] == '[') {
		end = memchr(text.p, ']', text.n);
		text.p++;
		text.n = end ? (size_t)(end - text.p) : 0;
	} else if ((end = memchr(text.p, ':', text.n)) != NULL &&
	           !memchr(end + 1, ':', text.n - (size_t)(end + 1 - text.p))) {
		text.n = (size_t)(end - text.p); /* IPv4 and a port */
	}
	end = text.n ? memchr(text.p, '%', text.n) : NULL;
	if (end)
		text.n = (size_t)(end - text.p);
	return conf_ip(text, out, &v4);
}

static bool is_in(const struct conf_cidrs *b, const struct in6_addr *a)
{
	for (size_t i = 0; i < b->count; i++)
		if (conf_in_block(&b->at[i], a))
			return true;
	return false;
}

bool conf_rules_admit(const struct conf_rules *r, const struct in6_addr *visitor)
{
	if (!visitor)
		return !r->allow.count && !r->deny.count;
	return !is_in(&r->deny, visitor) && (!r->allow.count || is_in(&r->allow, visitor));
}

/* ---- users and passwords */

static bool is_crypt_text(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'A' && s.p[i] <= 'Z') ||
		      (s.p[i] >= 'a' && s.p[i] <= 'z') || s.p[i] == '.' || s.p[i] == '/'))
			return false;
	return true;
}

static const char hash_wanted[] = "one that openssl passwd -6 makes (or crypt's $5$, or $2y$ of cost 6 at most)";

/* "$6$[rounds=N$]SALT$HASH" */
static int check_sha_crypt(struct str hash, size_t length, struct conf_error *e)
{
	struct str rest = {hash.p + 3, hash.n - 3}, part;
	uint64_t rounds;

	if (str_starts(rest, STR("rounds="))) {
		str_split(&rest, '$', &part);
		part = (struct str){part.p + 7, part.n - 7};
		if (str_to_u64(part, &rounds) < 0 || rounds < ROUNDS_MIN || rounds > ROUNDS_MAX)
			return conf_say(e, "found a hash of a bad number of rounds, wanted %d to %d: it must not "
			                "take long to check", ROUNDS_MIN, ROUNDS_MAX);
	}
	if (str_split(&rest, '$', &part) && part.n <= 16 && is_crypt_text(part) && rest.p && rest.n == length &&
	    is_crypt_text(rest))
		return 0;
	return conf_say(e, "found a hash that is not whole, wanted %s", hash_wanted);
}

/* "$2y$NN$SALTANDHASH" */
static int check_bcrypt(struct str hash, struct conf_error *e)
{
	struct str cost = {hash.p + 4, 2}, rest = {hash.p + 7, hash.n - 7};
	uint64_t n;

	if (hash.n != 60 || hash.p[6] != '$' || str_to_u64(cost, &n) < 0 || !is_crypt_text(rest))
		return conf_say(e, "found a hash that is not whole, wanted %s", hash_wanted);
	if (n < 4 || n > BCRYPT_COST_MAX)
		return conf_say(e, "found a hash of cost %u, wanted 4 to %d: it must not take long to check",
		                (unsigned)n, BCRYPT_COST_MAX);
	return 0;
}

static int check_hash(struct str hash, struct conf_error *e)
{
	if (str_starts(hash, STR("$6$")))
		return check_sha_crypt(hash, 86, e);
	if (str_starts(hash, STR("$5$")))
		return check_sha_crypt(hash, 43, e);
	if (str_starts(hash, STR("$2y$")) || str_starts(hash, STR("$2b$")) || str_starts(hash, STR("$2a$")))
		return check_bcrypt(hash, e);
	return conf_say(e, "found a hash of another kind, wanted %s", hash_wanted);
}

/* What is wrong is said without showing what may be a password. */
static int check_login(const struct conf_logins *l, struct str user, struct str secret, bool plain,
                       struct conf_error *e)
{
	bool hashed = secret.n && secret.p[0] == '$';

	if (!secret.p || !secret.n || !user.n)
		return conf_say(e, "found no user and secret with a colon between, wanted USER:HASH%s",
		                plain ? " or USER:PASSWORD" : "");
	if (user.n > CONF_USER_MAX || memchr(user.p, '\0', user.n))
		return conf_say(e, "found a user's name that is too long, wanted %d bytes at most", CONF_USER_MAX);
	for (size_t i = 0; i < l->count; i++)
		if (str_eq(str_of(l->at[i].user), user))
			return conf_say(e, "found the user %s a second time, wanted each once",
			                conf_quote(user).text);
	if (hashed)
		return check_hash(secret, e);
	if (!plain)
		return conf_say(e, "found something else than a hash behind USER:, wanted %s", hash_wanted);
	if (secret.n > CONF_PASSWORD_MAX)
		return conf_say(e, "found a password that is too long, wanted %d bytes at most", CONF_PASSWORD_MAX);
	return 0;
}

int conf_add_login(struct conf_logins *l, struct str text, bool plain, struct conf_error *e)
{
	struct str secret = text, user = {text.p, 0};
	struct conf_login *login;
	void *list = l->at;

	str_split(&secret, ':', &user);
	if (check_login(l, user, secret, plain, e) < 0)
		return ADIT_ERR_CONFIG;
	if (l->count == CONF_RULES_LIST_MAX)
		return conf_say(e, "found more than %d users, wanted fewer", CONF_RULES_LIST_MAX);
	login = conf_grow(&list, &l->count, sizeof(*login));
	if (!login)
		return conf_nomem(e);
	l->at = list;
	login->hashed = secret.p[0] == '$';
	login->user = str_dup(user);
	login->secret = str_dup(secret);
	return login->user && login->secret ? 0 : conf_nomem(e);
}

static int take_logins(struct conf_logins *l, struct str text, struct conf_error *e)
{
	size_t was = l->count, number = 0;
	struct conf_error why;
	struct str line;

	while (str_split(&text, '\n', &line)) {
		number++;
		if (line.n && line.p[line.n - 1] == '\r')
			line.n--;
		if (!line.n || line.p[0] == '#')
			continue;
		if (conf_add_login(l, line, true, &why) < 0)
			return conf_say(e, "line %zu of it: %s", number, why.text);
	}
	if (l->count == was)
		return conf_say(e, "found nobody in it, wanted lines of USER:HASH or USER:PASSWORD");
	return 0;
}

int conf_read_logins(struct conf_logins *l, const char *file, struct conf_error *e)
{
	char *text;
	size_t len;
	int r = conf_slurp(file, LOGIN_FILE_MAX, &text, &len);

	if (r == ADIT_ERR_NOMEM)
		return conf_nomem(e);
	if (r < 0)
		return conf_say(e, "found %s (%s), wanted a file with lines of USER:HASH or USER:PASSWORD",
		                conf_quote(str_of(file)).text, r == ADIT_ERR_LIMIT ? "too big" : strerror(errno));
	if (memchr(text, '\0', len))
		r = conf_say(e, "found a NUL byte in it, wanted lines of USER:HASH or USER:PASSWORD");
	else
		r = take_logins(l, (struct str){text, len}, e);
	secret_wipe(text, len);
	free(text);
	return r;
}

/* ---- fields */

/* RFC 9110 section 5.6.2. */
static bool is_token(struct str s)
{
	static const char marks[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'z') ||
		      memchr(marks, s.p[i], sizeof(marks) - 1)))
			return false;
	return s.n > 0;
}

/* What ends at the next hop, frames a message, says where it goes, or is our own word. */
static bool is_ours(struct str name)
{
	static const char *const all[] = {
		"connection", "keep-alive", "proxy-connection", "transfer-encoding", "te", "trailer", "upgrade",
		"content-length", "host", "expect", "http2-settings", "proxy-authenticate", "proxy-authorization",
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (str_eq(name, str_of(all[i])))
			return true;
	return str_starts(name, STR("adit-")) || str_starts(name, STR("sec-websocket-"));
}

/* RFC 9110 section 5.5; empty is fine. */
static bool is_value(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] >= 0 && s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
			return false;
	return str_trim(s).n == s.n && s.n <= CONF_FIELD_MAX;
}

static int check_field(const struct conf_fields *f, struct str name, struct str value, struct conf_error *e)
{
	if (!is_token(name) || name.n > 64)
		return conf_found(e, name, "the name of a field");
	if (is_ours(name))
		return conf_found(e, name,
		                  "a field that does not rule the connection, the message's form or its way");
	for (size_t i = 0; i < f->count; i++)
		if (str_eq(str_of(f->at[i].name), name))
			return conf_say(e, "found %s a second time, wanted each once", conf_quote(name).text);
	if (!is_value(value))
		return conf_say(e, "found a value with control bytes, spaces around it or more than %d bytes, wanted "
		                "plain text", CONF_FIELD_MAX);
	if (f->count == CONF_EDITS_MAX)
		return conf_say(e, "found more than %d fields, wanted fewer", CONF_EDITS_MAX);
	return 0;
}

int conf_add_field(struct conf_fields *f, struct str name, struct str value, struct conf_error *e)
{
	char *low = str_dup(name), *copy = value.p ? str_dup(value) : NULL;
	struct conf_field *field = NULL;
	void *list = f->at;
	int r = low && !copy == !value.p ? 0 : conf_nomem(e);

	for (char *c = low; c && *c; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c + ('a' - 'A'));
	if (!r)
		r = check_field(f, (struct str){low, name.n}, value, e);
	if (!r && !(field = conf_grow(&list, &f->count, sizeof(*field))))
		r = conf_nomem(e);
	f->at = list;
	if (r < 0) {
		free(low);
		free_secret(copy);
		return r;
	}
	*field = (struct conf_field){low, copy};
	return 0;
}

/* ---- the whole */

int conf_check_rules(const struct conf_rules *r, const char **key, struct conf_error *e)
{
	if (!r->requests_burst || r->requests_per_second)
		return 0;
	*key = "requests_burst";
	return conf_say(e, "found without requests_per_second, wanted both");
}
