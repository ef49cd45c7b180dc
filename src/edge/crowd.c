#include "edge/crowd.h"

#include "edge/greet.h"

/** Connections of a row that are looked at to find one that may go: bounds what an accept costs. */
#define CROWD_LOOK 64

/* ---- both versions alike */

struct version {
	uint64_t (*idle_since)(struct list *node);
	void (*evict)(struct list *node);
	uint64_t (*stalled_since)(struct list *node);
	void (*cut_stalled)(struct list *node);
	void (*drain)(struct list *node, enum edge_drain how);
	bool (*may_ask)(struct list *node);
	void (*free)(struct list *node);
};

static uint64_t row_h1_idle_since(struct list *node)
{
	return edge_h1_idle_since(edge_h1_of_node(node));
}

static void row_h1_evict(struct list *node)
{
	edge_h1_evict(edge_h1_of_node(node));
}

static uint64_t row_h1_stalled_since(struct list *node)
{
	return edge_h1_stalled_since(edge_h1_of_node(node));
}

static void row_h1_cut_stalled(struct list *node)
{
	edge_h1_cut_stalled(edge_h1_of_node(node));
}

static void row_h1_drain(struct list *node, enum edge_drain how)
{
	edge_h1_drain(edge_h1_of_node(node), how);
}

static bool row_h1_may_ask(struct list *node)
{
	return edge_h1_may_ask(edge_h1_of_node(node));
}

static void row_h1_free(struct list *node)
{
	struct edge_h1 *one = edge_h1_of_node(node);

	edge_h1_free(&one);
}

static uint64_t row_h2_idle_since(struct list *node)
{
	return edge_h2_idle_since(edge_h2_of_node(node));
}

static void row_h2_evict(struct list *node)
{
	edge_h2_evict(edge_h2_of_node(node));
}

static uint64_t row_h2_stalled_since(struct list *node)
{
	return edge_h2_stalled_since(edge_h2_of_node(node));
}

static void row_h2_cut_stalled(struct list *node)
{
	edge_h2_cut_stalled(edge_h2_of_node(node));
}

static void row_h2_drain(struct list *node, enum edge_drain how)
{
	edge_h2_drain(edge_h2_of_node(node), how);
}

static bool row_h2_may_ask(struct list *node)
{
	return edge_h2_may_ask(edge_h2_of_node(node));
}

static void row_h2_free(struct list *node)
{
	struct edge_h2 *one = edge_h2_of_node(node);

	edge_h2_free(&one);
}

static const struct version versions[CROWD_VERSIONS] = {
	[CROWD_H1] = {row_h1_idle_since, row_h1_evict, row_h1_stalled_since, row_h1_cut_stalled, row_h1_drain,
	              row_h1_may_ask, row_h1_free},
	[CROWD_H2] = {row_h2_idle_since, row_h2_evict, row_h2_stalled_since, row_h2_cut_stalled, row_h2_drain,
	              row_h2_may_ask, row_h2_free},
};

/* ---- who goes */

/* Since when the first of them is idle, 0 when none of CROWD_LOOK is since before `before`. The others that are met
 * on the way move behind, so that the next look begins elsewhere. */
static uint64_t first_idle(struct list *row, const struct version *v, uint64_t before)
{
	for (unsigned look = CROWD_LOOK; look && !list_empty(row); look--) {
		struct list *node = row->next;
		uint64_t since = v->idle_since(node);

		if (since && since < before)
			return since;
		list_remove(node);
		list_append(row, node);
	}
	return 0;
}

/* Those of the places up to `last`, and that one greeting, when there is one. */
static bool evict(struct crowd *c, enum edge_place last, uint64_t greeting, uint64_t before)
{
	uint64_t first = greeting && greeting < before ? greeting : before;
	struct list *node = NULL;
	int of = 0;

	for (int i = 0; i < CROWD_VERSIONS; i++)
		for (int place = 0; place <= (int)last; place++) {
			uint64_t since = first_idle(&c->rows[i][place], &versions[i], first);

			if (!since)
				continue;
			first = since;
			node = c->rows[i][place].next;
			of = i;
		}
	if (node)
		versions[of].evict(node);
	return node || (greeting && greet_evict(&c->greetings, before));
}

bool crowd_evict(struct crowd *c, uint64_t before)
{
	return evict(c, EDGE_PLACES - 1, greet_since(&c->greetings), before);
}

bool crowd_evict_stalled(struct crowd *c, uint64_t before)
{
	struct list *longest = NULL;
	int of = 0;

	for (int i = 0; i < CROWD_VERSIONS; i++) {
		struct list *row = &c->rows[i][EDGE_PLACE_VISITOR], *at = row->next;

		for (unsigned look = CROWD_LOOK; look && at != row; look--, at = at->next) {
			uint64_t since = versions[i].stalled_since(at);

			if (!since || since >= before)
				continue;
			before = since;
			longest = at;
			of = i;
		}
	}
	if (longest)
		versions[of].cut_stalled(longest);
	return longest != NULL;
}

bool crowd_stalled_goes(struct crowd *c)
{
	uint64_t now = loop_ms(c->loop);

	if (now <= CROWD_STALLED_MS || !crowd_evict_stalled(c, now - CROWD_STALLED_MS))
		return false;
	if (log_seldom(&c->stalled_ms, now))
		log_event(c->log, LOG_LEVEL_WARN, "visitors.stalled", KV_U64("visitors", c->counts[EDGE_PLACE_VISITOR]),
		          KV_Z("then", "who takes nothing of his answer makes room"));
	return true;
}

bool crowd_somebody_goes(struct crowd *c, uint64_t idle_before)
{
	return crowd_evict(c, idle_before) || crowd_stalled_goes(c);
}

bool crowd_evict_visitor(struct crowd *c, uint64_t before)
{
	return evict(c, EDGE_PLACE_VISITOR, 0, before);
}

/* ---- places */

static void move(struct crowd *c, struct list *row, struct list *node, enum edge_place from, enum edge_place to)
{
	crowd_gone(c, from);
	c->counts[to]++;
	list_remove(node);
	list_append(row, node);
}

void crowd_place_h1(struct crowd *c, struct edge_h1 *one, enum edge_place place)
{
	struct list *node = edge_h1_node(one);

	if (edge_h1_closed(one))
		return;
	move(c, &c->rows[CROWD_H1][place], node, edge_h1_place(one), place);
	edge_h1_set_place(one, place);
}

void crowd_place_h2(struct crowd *c, struct edge_h2 *one, enum edge_place place)
{
	struct list *node = edge_h2_node(one);

	if (edge_h2_closed(one))
		return;
	move(c, &c->rows[CROWD_H2][place], node, edge_h2_place(one), place);
	edge_h2_set_place(one, place);
}

void crowd_gone(struct crowd *c, enum edge_place place)
{
	if (place != EDGE_PLACE_NONE)
		c->counts[place]--;
}

/* ---- all of them */

void crowd_init(struct crowd *c, struct loop *l, struct log *log)
{
	*c = (struct crowd){.loop = l, .log = log};
	list_init(&c->greetings);
	for (int i = 0; i < CROWD_VERSIONS; i++)
		for (int place = 0; place < EDGE_PLACES; place++)
			list_init(&c->rows[i][place]);
}

void crowd_clear(struct crowd *c)
{
	for (int i = 0; i < CROWD_VERSIONS; i++)
		for (int place = 0; place < EDGE_PLACES; place++)
			while (!list_empty(&c->rows[i][place]))
				versions[i].free(c->rows[i][place].next);
	greet_drop_all(&c->greetings);
}

void crowd_drain(struct crowd *c, enum edge_drain how)
{
	struct list *at, *tmp;

	while (how > EDGE_DRAIN_PATIENT && greet_evict(&c->greetings, UINT64_MAX))
		;
	for (int i = 0; i < CROWD_VERSIONS; i++)
		for (int place = 0; place < EDGE_PLACES; place++)
			list_each(at, tmp, &c->rows[i][place])
				versions[i].drain(at, how);
}

bool crowd_may_ask(const struct crowd *c)
{
	bool may = !list_empty(&c->greetings);

	for (int i = 0; i < CROWD_VERSIONS; i++)
		for (int place = 0; place < EDGE_PLACES; place++) {
			const struct list *row = &c->rows[i][place];

			for (struct list *at = row->next; !may && at != row; at = at->next)
				may = versions[i].may_ask(at);
		}
	return may;
}
