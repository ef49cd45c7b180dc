#include "rules/guesses.h"

#include <stdlib.h>
#include <string.h>

#include "base/bucket.h"
#include "base/digest.h"
#include "base/list.h"

/** Lists by hash: four entries each when all are there. A power of two. */
#define LISTS 1024

struct entry {
	struct list hashed, recent; /* the latest guess stands last */
	struct guess_source source;
	unsigned wrong;
	unsigned wait_s;   /* the last penalty */
	uint64_t last_ms;  /* when it was wrong last */
	uint64_t until_ms; /* of the penalty */
};

struct guesses {
	struct list lists[LISTS];
	struct list recent;
	unsigned count;
	uint64_t seed[2]; /* nobody outside can fill one list */
	struct bucket hashes;
};

struct guesses *guesses_new(uint64_t now_ms)
{
	struct guesses *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	for (size_t i = 0; i < LISTS; i++)
		list_init(&g->lists[i]);
	list_init(&g->recent);
	random_bytes(g->seed, sizeof(g->seed));
	bucket_init(&g->hashes, GUESSES_HASHES_PER_SECOND, GUESSES_HASHES_BURST, now_ms);
	return g;
}

void guesses_free(struct guesses **gp)
{
	struct guesses *g = *gp;

	*gp = NULL;
	while (g && !list_empty(&g->recent)) {
		struct entry *e = container_of(g->recent.next, struct entry, recent);

		list_remove(&e->recent);
		free(e);
	}
	free(g);
}

struct guess_source guess_source_of(const struct in6_addr *address)
{
	struct guess_source s = {IN6ADDR_ANY_INIT};

	if (address)
		s.prefix = *address;
	if (address && !IN6_IS_ADDR_V4MAPPED(address))
		memset(s.prefix.s6_addr + 8, 0, 8);
	return s;
}

static struct list *list_of(struct guesses *g, struct guess_source s)
{
	uint64_t half[2];

	memcpy(half, &s, sizeof(half));
	half[0] = (half[0] ^ g->seed[0]) * UINT64_C(0x9e3779b97f4a7c15);
	half[1] = (half[1] ^ g->seed[1] ^ half[0] >> 32) * UINT64_C(0xc2b2ae3d27d4eb4f);
	return &g->lists[(half[0] ^ half[1]) >> 54];
}

static struct entry *find(struct guesses *g, struct guess_source s)
{
	struct list *list = list_of(g, s), *at, *tmp;

	list_each(at, tmp, list) {
		struct entry *e = container_of(at, struct entry, hashed);

		if (memcmp(&e->source, &s, sizeof(s)) == 0)
			return e;
	}
	return NULL;
}

/* The oldest one goes when there are enough. NULL: out of memory. */
static struct entry *add(struct guesses *g, struct guess_source s)
{
	struct entry *e;

	if (g->count == GUESSES_SOURCES) {
		e = container_of(g->recent.next, struct entry, recent);
		list_remove(&e->hashed);
		list_remove(&e->recent);
	} else if ((e = malloc(sizeof(*e))) != NULL) {
		g->count++;
	} else {
		return NULL;
	}
	*e = (struct entry){.source = s};
	list_append(list_of(g, s), &e->hashed);
	list_append(&g->recent, &e->recent);
	return e;
}

static unsigned left(const struct entry *e, uint64_t now_ms)
{
	return e->until_ms > now_ms ? (unsigned)((e->until_ms - now_ms + 999) / 1000) : 0;
}

unsigned guesses_wait(struct guesses *g, struct guess_source s, uint64_t now_ms)
{
	const struct entry *e = find(g, s);

	return e ? left(e, now_ms) : 0;
}

static bool is_forgotten(const struct entry *e, uint64_t now_ms)
{
	uint64_t from = e->until_ms > e->last_ms ? e->until_ms : e->last_ms;

	return now_ms >= from + GUESSES_WINDOW_MS;
}

unsigned guesses_wrong(struct guesses *g, struct guess_source s, uint64_t now_ms)
{
	struct entry *e = find(g, s);

	if (e && left(e, now_ms))
		return left(e, now_ms);
	if (!e && !(e = add(g, s)))
		return 1;
	if (is_forgotten(e, now_ms))
		e->wrong = e->wait_s = 0;
	e->last_ms = now_ms;
	list_remove(&e->recent);
	list_append(&g->recent, &e->recent);
	if (++e->wrong <= GUESSES_FREE)
		return 0;
	e->wait_s = e->wait_s ? 2 * e->wait_s : 1;
	if (e->wait_s > GUESSES_WAIT_MAX_S)
		e->wait_s = GUESSES_WAIT_MAX_S;
	e->until_ms = now_ms + e->wait_s * UINT64_C(1000);
	return e->wait_s;
}

bool guesses_may_hash(struct guesses *g, uint64_t now_ms)
{
	return bucket_take(&g->hashes, 1, now_ms);
}

unsigned guesses_count(const struct guesses *g)
{
	return g->count;
}
