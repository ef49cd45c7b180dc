#include "edge/registry.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/list.h"
#include "conf/conf.h"
#include "session/session.h"

/** Buckets at first; doubled when there are as many names. */
#define BUCKETS_MIN 64
#define NAME_MAX_LEN 255
/** Lists of seats by session, so that a session that goes is not looked for under every name. A power of two. */
#define SEAT_LISTS 1024

struct entry;

/* One session's part in one name. */
struct seat {
	struct list node; /* among those of its session, and of others with the same hash */
	struct session *session;
	struct entry *entry;
};

struct entry {
	struct entry *next; /* in its bucket */
	uint32_t hash;
	unsigned count;
	uint8_t token[SHA256_LEN];
	struct seat *seat[REGISTRY_SHARE_MAX];
	size_t name_len;
	char name[];
};

struct registry {
	struct entry **bucket;
	size_t buckets, names;
	struct list seats[SEAT_LISTS];
};

/* FNV-1a; the names are those that tokens may claim, so nobody can fill one bucket at will. */
static uint32_t hash_of(struct str s)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (uint8_t)s.p[i]) * 16777619u;
	return h;
}

static struct list *seats_of(struct registry *r, const struct session *s)
{
	uint32_t h = (uint32_t)((uintptr_t)s >> 4) * 2654435761u;

	return &r->seats[h / (UINT32_MAX / SEAT_LISTS + 1)];
}

struct registry *registry_new(void)
{
	struct registry *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	for (size_t i = 0; i < SEAT_LISTS; i++)
		list_init(&r->seats[i]);
	r->buckets = BUCKETS_MIN;
	r->bucket = calloc(r->buckets, sizeof(*r->bucket));
	if (!r->bucket) {
		free(r);
		return NULL;
	}
	return r;
}

void registry_free(struct registry **rp)
{
	struct registry *r = *rp;

	if (!r)
		return;
	*rp = NULL;
	for (size_t i = 0; i < r->buckets; i++) {
		while (r->bucket[i]) {
			struct entry *e = r->bucket[i];

			r->bucket[i] = e->next;
			while (e->count)
				free(e->seat[--e->count]);
			free(e);
		}
	}
	free(r->bucket);
	free(r);
}

static struct entry *lookup(const struct registry *r, struct str name)
{
	uint32_t hash = hash_of(name);

	for (struct entry *e = r->bucket[hash % r->buckets]; e; e = e->next)
		if (e->hash == hash && str_eq((struct str){e->name, e->name_len}, name))
			return e;
	return NULL;
}

static struct entry *lookup_wildcard(const struct registry *r, struct str name)
{
	char z[NAME_MAX_LEN + 1], wildcard[256];

	str_cut(name, z, sizeof(z));
	conf_wildcard_of(z, wildcard);
	return *wildcard ? lookup(r, str_of(wildcard)) : NULL;
}

/* The entry of the name, else of the wildcard that covers it. */
static struct entry *lookup_covering(const struct registry *r, struct str name)
{
	struct entry *e = lookup(r, name);

	return e || name.n > NAME_MAX_LEN ? e : lookup_wildcard(r, name);
}

static void grow(struct registry *r)
{
	size_t n = r->buckets * 2;
	struct entry **fresh = calloc(n, sizeof(*fresh));

	if (!fresh) /* slower, not wrong */
		return;
	for (size_t i = 0; i < r->buckets; i++) {
		while (r->bucket[i]) {
			struct entry *e = r->bucket[i];

			r->bucket[i] = e->next;
			e->next = fresh[e->hash % n];
			fresh[e->hash % n] = e;
		}
	}
	free(r->bucket);
	r->bucket = fresh;
	r->buckets = n;
}

static struct entry *insert(struct registry *r, struct str name)
{
	struct entry *e = calloc(1, sizeof(*e) + name.n + 1);

	if (!e)
		return NULL;
	if (r->names >= r->buckets)
		grow(r);
	e->hash = hash_of(name);
	e->name_len = name.n;
	memcpy(e->name, name.p, name.n);
	e->next = r->bucket[e->hash % r->buckets];
	r->bucket[e->hash % r->buckets] = e;
	r->names++;
	return e;
}

static bool has(const struct entry *e, const struct session *s)
{
	for (unsigned i = 0; i < e->count; i++)
		if (e->seat[i]->session == s)
			return true;
	return false;
}

static int take_seat(struct registry *r, struct entry *e, struct session *s)
{
	struct seat *seat = malloc(sizeof(*seat));

	if (!seat)
		return ADIT_ERR_NOMEM;
	seat->session = s;
	seat->entry = e;
	list_append(seats_of(r, s), &seat->node);
	e->seat[e->count++] = seat;
	return 0;
}

static void forget(struct registry *r, struct entry *e)
{
	struct entry **at = &r->bucket[e->hash % r->buckets];

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	r->names--;
	free(e);
}

int registry_add(struct registry *r, const char *name, const uint8_t token[SHA256_LEN], struct session *s)
{
	struct entry *e = lookup(r, str_of(name));
	int err;

	if (e && has(e, s))
		return 0;
	if (e && !digest_equal(e->token, token, SHA256_LEN))
		return ADIT_ERR_CONFLICT;
	if (e ? e->count == REGISTRY_SHARE_MAX : r->names >= REGISTRY_NAMES_MAX)
		return ADIT_ERR_LIMIT;
	if (!e)
		e = insert(r, str_of(name));
	if (!e)
		return ADIT_ERR_NOMEM;
	memcpy(e->token, token, SHA256_LEN);
	err = take_seat(r, e, s);
	if (!e->count)
		forget(r, e);
	return err;
}

static void leave(struct registry *r, struct seat *seat)
{
	struct entry *e = seat->entry;
	unsigned i = 0;

	while (e->seat[i] != seat)
		i++;
	e->seat[i] = e->seat[--e->count];
	list_remove(&seat->node);
	free(seat);
	if (!e->count)
		forget(r, e);
}

void registry_remove(struct registry *r, const struct session *s)
{
	struct list *at, *tmp, *all = seats_of(r, s);

	list_each(at, tmp, all) {
		struct seat *seat = container_of(at, struct seat, node);

		if (seat->session == s)
			leave(r, seat);
	}
}

/* One from which nothing has been heard for too long may be gone. */
static bool is_better(const struct session *a, const struct session *b)
{
	if (session_suspect(a) != session_suspect(b))
		return session_suspect(b);
	return session_open(a) < session_open(b);
}

struct session *registry_find(struct registry *r, struct str name, bool *known)
{
	struct entry *e = lookup_covering(r, name);
	struct session *best = NULL;

	*known = e != NULL;
	for (unsigned i = 0; e && i < e->count; i++) {
		struct session *s = e->seat[i]->session;

		if (session_attached(s) && !session_leaving(s) && (!best || is_better(s, best)))
			best = s;
	}
	return best;
}

const uint8_t *registry_owner(const struct registry *r, struct str name)
{
	const struct entry *e = lookup_covering(r, name);

	return e ? e->token : NULL;
}

void registry_name_of(struct str host, const char *domain, char out[256])
{
	struct str d = str_of(domain);
	size_t n = host.n <= NAME_MAX_LEN ? host.n : 0; /* a longer one is nobody's name */

	for (size_t i = 0; i < n; i++)
		out[i] = (char)(host.p[i] >= 'A' && host.p[i] <= 'Z' ? host.p[i] | 0x20 : host.p[i]);
	out[n] = '\0';
	if (n == d.n && memcmp(out, d.p, n) == 0) {
		out[0] = '\0';
	} else if (n > d.n + 1 && out[n - d.n - 1] == '.' && memcmp(out + n - d.n, d.p, d.n) == 0) {
		out[n - d.n - 1] = '\0';
		if (strchr(out, '.'))
			out[0] = '\0';
	} else if (!strchr(out, '.')) { /* no domain at all, e.g. localhost: not to be taken for a name below ours */
		out[0] = '\0';
	}
}
