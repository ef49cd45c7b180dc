#include "edge/registry.h"

#include "base/err.h"
#include "session/session.h"
#include "unit.h"

/* What the registry asks of a session; here is all that it needs for that. */
struct session {
	unsigned open;
	bool leaving, detached, suspect;
};

bool session_attached(const struct session *s)
{
	return !s->detached;
}

bool session_suspect(const struct session *s)
{
	return s->suspect;
}

bool session_leaving(const struct session *s)
{
	return s->leaving;
}

unsigned session_open(const struct session *s)
{
	return s->open;
}

static const uint8_t token_a[SHA256_LEN] = {1}, token_b[SHA256_LEN] = {2};

static struct session *find(struct registry *r, const char *name, bool wanted_known)
{
	bool known = !wanted_known;
	struct session *s = registry_find(r, str_of(name), &known);

	CU_ASSERT_EQUAL(known, wanted_known);
	return s;
}

static void names_of_hosts(void)
{
	static const struct {
		const char *host, *name;
	} rows[] = {
		{"shop.tunnel.example.com", "shop"},
		{"SHOP.Tunnel.Example.COM", "shop"},
		{"tunnel.example.com", ""},
		{"a.shop.tunnel.example.com", ""},
		{".tunnel.example.com", ".tunnel.example.com"},
		{"xtunnel.example.com", "xtunnel.example.com"},
		{"www.Customer.org", "www.customer.org"},
		{"example.com", "example.com"},
		{"localhost", ""},
		{"shop", ""},
		{"[::1]", ""},
		{"", ""},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[256] = "?";

		registry_name_of(str_of(rows[i].host), "tunnel.example.com", name);
		CU_ASSERT_STRING_EQUAL(name, rows[i].name);
	}
}

/* A cut host could end like the domain although the host does not. */
static void too_long_a_host(void)
{
	char host[400], name[256];

	memset(host, 'x', sizeof(host));
	memcpy(host + 255 - 4, ".dom", 4);
	registry_name_of((struct str){host, 255}, "dom", name);
	CU_ASSERT_EQUAL(strlen(name), 251);
	registry_name_of((struct str){host, 256}, "dom", name);
	CU_ASSERT_STRING_EQUAL(name, "");
	registry_name_of((struct str){host, sizeof(host)}, "dom", name);
	CU_ASSERT_STRING_EQUAL(name, "");
}

static void least_outstanding(void)
{
	struct session s[3] = {{.open = 5}, {.open = 2}, {.open = 3}};
	struct registry *r = registry_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_PTR_NULL(find(r, "shop", false));
	for (int i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(registry_add(r, "shop", token_a, &s[i]), 0);
	CU_ASSERT_PTR_EQUAL(find(r, "shop", true), &s[1]);
	s[1].open = 9;
	CU_ASSERT_PTR_EQUAL(find(r, "shop", true), &s[2]);
	s[2].leaving = true;
	CU_ASSERT_PTR_EQUAL(find(r, "shop", true), &s[0]);
	s[0].leaving = s[1].leaving = true;
	CU_ASSERT_PTR_NULL(find(r, "shop", true));
	CU_ASSERT_PTR_NULL(find(r, "Shop", false));
	CU_ASSERT_PTR_NULL(find(r, "sho", false));
	registry_free(&r);
	CU_ASSERT_PTR_NULL(r);
}

static void owners(void)
{
	struct session a = {0};
	struct registry *r = registry_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_EQUAL(registry_add(r, "*", token_a, &a), 0);
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_b, &a), 0);
	CU_ASSERT_EQUAL(memcmp(registry_owner(r, STR("shop")), token_b, SHA256_LEN), 0);
	CU_ASSERT_EQUAL(memcmp(registry_owner(r, STR("shops")), token_a, SHA256_LEN), 0);
	CU_ASSERT_PTR_NULL(registry_owner(r, STR("www.example.com")));
	registry_remove(r, &a);
	CU_ASSERT_PTR_NULL(registry_owner(r, STR("shop")));
	registry_free(&r);
}

static void other_token(void)
{
	struct session a = {0}, b = {0};
	struct registry *r = registry_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_a, &a), 0);
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_b, &b), ADIT_ERR_CONFLICT);
	CU_ASSERT_PTR_EQUAL(find(r, "shop", true), &a);
	a.leaving = true;
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_b, &b), ADIT_ERR_CONFLICT);
	registry_remove(r, &a);
	CU_ASSERT_PTR_NULL(find(r, "shop", false));
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_b, &b), 0);
	CU_ASSERT_PTR_EQUAL(find(r, "shop", true), &b);
	registry_free(&r);
}

static void shared(void)
{
	struct session s[REGISTRY_SHARE_MAX + 1] = {{0}};
	struct registry *r = registry_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	for (int i = 0; i < REGISTRY_SHARE_MAX; i++)
		CU_ASSERT_EQUAL(registry_add(r, "shop", token_a, &s[i]), 0);
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_a, &s[REGISTRY_SHARE_MAX]), ADIT_ERR_LIMIT);
	registry_remove(r, &s[3]);
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_a, &s[REGISTRY_SHARE_MAX]), 0);
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_a, &s[3]), ADIT_ERR_LIMIT);
	for (int i = 0; i <= REGISTRY_SHARE_MAX; i++)
		registry_remove(r, &s[i]);
	CU_ASSERT_PTR_NULL(find(r, "shop", false));
	registry_free(&r);
}

static void twice(void)
{
	struct session s = {0}, other[REGISTRY_SHARE_MAX] = {{0}};
	struct registry *r = registry_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_a, &s), 0);
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_a, &s), 0);
	for (int i = 0; i < REGISTRY_SHARE_MAX - 1; i++)
		CU_ASSERT_EQUAL(registry_add(r, "shop", token_a, &other[i]), 0);
	registry_free(&r);
}

static void many_names(void)
{
	enum { NAMES = 5000, SESSIONS = 50 };
	struct session s[SESSIONS] = {{0}};
	struct registry *r = registry_new();
	char name[32];

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		CU_ASSERT_EQUAL(registry_add(r, name, token_a, &s[i % SESSIONS]), 0);
		CU_ASSERT_EQUAL(registry_add(r, name, token_a, &s[(i + 1) % SESSIONS]), 0);
	}
	for (int gone = 0; gone < SESSIONS; gone += 2)
		registry_remove(r, &s[gone]);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		CU_ASSERT_PTR_EQUAL(find(r, name, true), &s[i % 2 ? i % SESSIONS : (i + 1) % SESSIONS]);
	}
	for (int gone = 1; gone < SESSIONS; gone += 2)
		registry_remove(r, &s[gone]);
	CU_ASSERT_PTR_NULL(find(r, "n0", false));
	CU_ASSERT_PTR_NULL(find(r, "n4999", false));
	registry_free(&r);
}

static void full(void)
{
	struct session s = {0};
	struct registry *r = registry_new();
	char name[32];

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	for (int i = 0; i < REGISTRY_NAMES_MAX; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		CU_ASSERT_EQUAL_FATAL(registry_add(r, name, token_a, &s), 0);
	}
	CU_ASSERT_EQUAL(registry_add(r, "one-more", token_a, &s), ADIT_ERR_LIMIT);
	registry_remove(r, &s);
	CU_ASSERT_EQUAL(registry_add(r, "one-more", token_a, &s), 0);
	registry_free(&r);
}

static void wildcards(void)
{
	struct session all = {0}, below = {0}, shop = {0};
	struct registry *r = registry_new();

	CU_ASSERT_PTR_NOT_NULL_FATAL(r);
	CU_ASSERT_EQUAL(registry_add(r, "*", token_a, &all), 0);
	CU_ASSERT_EQUAL(registry_add(r, "*.preview.example", token_a, &below), 0);
	CU_ASSERT_EQUAL(registry_add(r, "shop", token_b, &shop), 0);
	CU_ASSERT_PTR_EQUAL(find(r, "shop", true), &shop);
	CU_ASSERT_PTR_EQUAL(find(r, "else", true), &all);
	CU_ASSERT_PTR_EQUAL(find(r, "a.preview.example", true), &below);
	CU_ASSERT_PTR_NULL(find(r, "a.b.preview.example", false));
	CU_ASSERT_PTR_NULL(find(r, "preview.example", false));
	CU_ASSERT_PTR_NULL(find(r, "", false));
	CU_ASSERT_PTR_NULL(find(r, "r-abcdefghijklm", false));
	CU_ASSERT_PTR_NULL(find(r, "tcp:1", false));
	shop.detached = true; /* it may come back: nobody else gets its visitors meanwhile */
	CU_ASSERT_PTR_NULL(find(r, "shop", true));
	registry_remove(r, &shop);
	CU_ASSERT_PTR_EQUAL(find(r, "shop", true), &all);
	registry_free(&r);
}

static const struct unit_test tests[] = {
	{"a name is the token's that has it, or the wildcard that covers it", owners},
	{"a host stands for a name directly below the domain, or for itself", names_of_hosts},
	{"a host that is longer than any name stands for none", too_long_a_host},
	{"a request goes to the session with the fewest in flight that takes new ones", least_outstanding},
	{"a name belongs to one token until its last session has gone", other_token},
	{"eight sessions of one token share a name, a ninth is refused", shared},
	{"a session counts once, however often it claims a name", twice},
	{"sessions go from all of their names and from no other", many_names},
	{"the table has an end", full},
	{"a wildcard covers what is directly below, as far as nobody has it", wildcards},
};

UNIT_MAIN("registry", tests)
