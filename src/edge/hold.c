#include "edge/hold.h"

#include "base/err.h"

unsigned hold_count(const struct hold *h)
{
	unsigned n = 0;

	for (const struct list *at = h->waiting.next; at != &h->waiting; at = at->next)
		n++;
	return n;
}

/* Those that still find no way say so from route, and stay where they are. */
static void retry(void *arg)
{
	struct hold *h = arg;
	uint64_t now = loop_ms(h->loop);
	struct list *at, *tmp;

	list_each(at, tmp, &h->waiting) {
		struct exchange *x = exchange_of_node(at);

		if (now >= exchange_note(x)->until_ms)
			exchange_give_up(x, ADIT_ERR_HOLD);
		else
			exchange_ask(x);
	}
	if (!list_empty(&h->waiting))
		timer_set(&h->again, HOLD_AGAIN_MS);
}

void hold_init(struct hold *h, struct loop *l)
{
	h->loop = l;
	list_init(&h->waiting);
	list_init(&h->under_way);
	h->retry = (struct task){.run = retry, .arg = h};
	timer_init(&h->again, l, retry, h);
}

void hold_end(struct hold *h, int err)
{
	while (!list_empty(&h->waiting))
		exchange_give_up(exchange_of_node(h->waiting.next), err);
	task_cancel(h->loop, &h->retry);
	timer_stop(&h->again);
}

bool hold_wait(struct hold *h, struct exchange *x)
{
	struct exchange_note *note = exchange_note(x);

	if (note->until_ms) /* it waits already */
		return true;
	if (hold_count(h) >= HOLD_MAX)
		return false;
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
