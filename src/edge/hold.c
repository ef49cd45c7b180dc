#include "edge/hold.h"

#include "base/err.h"

unsigned hold_count(const struct hold *h)
{
	unsigned n = 0;

	for (const struct list *at = h->waiting.next; at != &h->waiting; at = at->next)
		n++;
	return n;
}

static void tally_begin(struct hold *h, const struct exchange *x)
{
	if (h->tally.open)
		return;
	h->tally = (struct hold_tally){.open = true, .since_ms = loop_ms(h->loop)};
	log_event(h->trace, LOG_LEVEL_INFO, "hold", KV_Z("name", exchange_name_of(x)));
}

static void tally_end(struct hold *h)
{
	const struct hold_tally *t = &h->tally;

	if (t->open)
		log_event(h->trace, LOG_LEVEL_INFO, "hold.over", KV_U64("ms", loop_ms(h->loop) - t->since_ms),
		          KV_U64("waited", t->waited), KV_U64("sent", t->sent), KV_U64("gave_up", t->gave_up),
		          KV_U64("turned_away", t->turned_away));
	h->tally.open = false;
}

/* Those that still find no way say so from route, and stay where they are. */
static void retry(void *arg)
{
	struct hold *h = arg;
	uint64_t now = loop_ms(h->loop);
	struct list *at, *tmp;

	list_each(at, tmp, &h->waiting) {
		struct exchange *x = exchange_of_node(at);

		if (now >= exchange_note(x)->until_ms) {
			h->tally.gave_up++;
			exchange_give_up(x, ADIT_ERR_HOLD);
		} else {
			exchange_ask(x);
		}
	}
	if (list_empty(&h->waiting))
		tally_end(h);
	else
		timer_set(&h->again, HOLD_AGAIN_MS);
}

void hold_init(struct hold *h, struct loop *l, struct log *trace)
{
	h->trace = trace;
	h->loop = l;
	list_init(&h->waiting);
	list_init(&h->under_way);
	h->retry = (struct task){.run = retry, .arg = h};
	timer_init(&h->again, l, retry, h);
}

void hold_end(struct hold *h, int err)
{
	while (!list_empty(&h->waiting)) {
		h->tally.gave_up++;
		exchange_give_up(exchange_of_node(h->waiting.next), err);
	}
	tally_end(h);
	task_cancel(h->loop, &h->retry);
	timer_stop(&h->again);
}

bool hold_wait(struct hold *h, struct exchange *x, unsigned max)
{
	struct exchange_note *note = exchange_note(x);

	if (note->until_ms) /* it waits already */
		return true;
	tally_begin(h, x);
	if (hold_count(h) >= max) {
		h->tally.turned_away++;
		return false;
	}
	h->tally.waited++;
	list_remove(&note->node);
	list_append(&h->waiting, &note->node);
	note->via = NULL;
	note->until_ms = loop_ms(h->loop) + HOLD_MS;
	if (!timer_is_set(&h->again))
		timer_set(&h->again, HOLD_AGAIN_MS);
	return true;
}

void hold_sent(struct hold *h, struct exchange *x, const void *via)
{
	struct exchange_note *note = exchange_note(x);

	h->tally.sent += note->until_ms != 0;
	note->via = via;
	note->until_ms = 0;
	list_remove(&note->node);
	list_append(&h->under_way, &note->node);
}

void hold_retry(struct hold *h)
{
	if (!list_empty(&h->waiting))
		task_post(h->loop, &h->retry);
}

void hold_move(struct hold *h, const void *via, bool (*elsewhere)(void *arg, const struct exchange *x), void *arg)
{
	struct list *at, *tmp;

	list_each(at, tmp, &h->under_way) {
		struct exchange *x = exchange_of_node(at);

		if (exchange_note(x)->via == via && exchange_may_move(x) && elsewhere(arg, x))
			exchange_ask(x);
	}
}
