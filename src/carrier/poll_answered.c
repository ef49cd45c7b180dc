/* poll_answered: see the header. A request's life:
 *
 *     poll    ─► HELD ─ its message exists ─► 200 ─► SENDING (by credit) ─► over
 *                 │  └─ hold over, or replaced by a repeat: 204 ───────────► over
 *      (cut, HELD or SENDING: the carrier waits POLL_ABANDONED_MS for another)
 *     relay   ─► TAKING its body ─ end ─► into the pipe ─► 204, when the owner keeps up ─► over
 *
 * and the carrier's: opened ─► (requests) ─► freed by its owner; polls that are held then get 410.
 */
#include "carrier/poll_answered.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

struct poll_answered {
	struct poll_pipe pipe;
	struct list node;
	char id[POLL_ID_HEX + 1], link_id[CARRIER_LINK_ID_HEX + 1];
	uint8_t token[SHA256_LEN];
	struct list requests;      /* held polls, and relays that are not answered */
	struct list answers;       /* those that are answered and not over */
	unsigned request_count;    /* both */
	struct list sent;          /* poll_message: made and not acknowledged */
	uint64_t acked;            /* all below have arrived there */
	uint64_t die_ms;           /* unless a request comes before */
	struct timer timer;
	struct task push;
};

enum reply_kind { REPLY_POLL, REPLY_RELAY };

/* One request under way; when its carrier goes it ends by itself. */
struct reply {
	struct half half;
	struct poll_answered *c;   /* NULL: it is over, or the carrier is gone */
	struct loop *loop;
	struct list node;
	enum reply_kind kind;
	uint64_t seq, until_ms;
	struct buf in;             /* a relay's body */
	struct buf rest;           /* of the answer */
	size_t credit;
	bool has_body;             /* a poll, and bytes came with it */
	bool answered, request_ended, response_ended, sending, freed;
	struct task free;
};

static struct reply *reply_of(struct list *node)
{
	return container_of(node, struct reply, node);
}

static struct reply *of_half(struct half *h)
{
	return container_of(h, struct reply, half);
}

static struct poll_answered *of_pipe(struct poll_pipe *p)
{
	return container_of(p, struct poll_answered, pipe);
}

/* ---- answering */

static void release_reply(void *arg)
{
	struct reply *r = arg;

	buf_clear(&r->in);
	buf_clear(&r->rest);
	free(r);
}

static void detach(struct reply *r)
{
	if (!r->c)
		return;
	r->c->request_count--;
	r->c = NULL;
	list_remove(&r->node);
}

static void end_reply(struct reply *r)
{
	if (r->freed)
		return;
	r->freed = true;
	detach(r);
	task_post_free(r->loop, &r->free);
}

static void send_rest(struct reply *r)
{
	struct iovec v;

	if (r->sending) /* credit came from within body */
		return;
	r->sending = true;
	while (r->credit && buf_iov(&r->rest, &v, 1) == 1) {
		size_t n = v.iov_len < r->credit ? v.iov_len : r->credit;

		r->credit -= n;
		half_body(&r->half, v.iov_base, n);
		buf_drop(&r->rest, n);
	}
	r->sending = false;
	if (!r->answered || r->rest.len || r->response_ended || !r->half.peer)
		return;
	r->response_ended = true;
	half_end(&r->half, NULL);
	if (r->request_ended)
		half_done(&r->half);
	else if (r->kind == REPLY_RELAY || r->has_body) /* the end of a poll without body is on its way here */
		half_abort(&r->half, ADIT_ERR_ENOUGH);
	if (!r->half.peer)
		end_reply(r);
}

int poll_answer_fields(struct fields *f)
{
	int err = fields_add(f, STR("adit-version"), STR(CARRIER_VERSION));

	err |= fields_add(f, STR("cache-control"), STR("no-store"));
	err |= fields_add(f, STR("content-type"), STR("application/octet-stream"));
	err |= fields_add(f, STR("x-accel-buffering"), STR("no"));
	return err ? ADIT_ERR_NOMEM : 0;
}

/* `m` NULL: a status and nothing else. */
static void answer(struct reply *r, int status, const struct poll_message *m)
{
	bool bodyless = !m || !m->n;
	char number[STR_U64_MAX];
	struct head h;
	int err;

	if (r->answered)
		return;
	r->answered = true;
	if (r->c) { /* it counts until it is over: its bytes wait in memory */
		list_remove(&r->node);
		list_append(&r->c->answers, &r->node);
	}
	head_init(&h);
	h.status = status;
	h.length = bodyless ? (status == 204 ? HEAD_LENGTH_UNKNOWN : 0) : (int64_t)m->n;
	err = poll_answer_fields(&h.fields);
	if (!err && m)
		err = fields_add(&h.fields, STR("adit-seq"), str_of_u64(m->seq, number));
	if (!err && !bodyless)
		err = buf_add(&r->rest, m->data, m->n);
	if (!err)
		half_head(&r->half, &h, bodyless);
	else
		half_abort(&r->half, err);
	head_free(&h);
	if (err)
		end_reply(r);
	else
		send_rest(r);
}

/* ---- the carrier's pump */

static void set_timer(struct poll_answered *c)
{
	uint64_t now = loop_ms(c->pipe.base.loop), due = c->die_ms;
	struct list *at, *tmp;

	list_each(at, tmp, &c->requests)
		if (reply_of(at)->kind == REPLY_POLL && reply_of(at)->until_ms < due)
			due = reply_of(at)->until_ms;
	timer_set(&c->timer, due > now ? due - now : 0);
}

static void push(void *arg)
{
	struct poll_answered *c = arg;
	struct list *at, *tmp;
	struct poll_message *m;

	list_each(at, tmp, &c->requests) {
		struct reply *r = reply_of(at);

		if (r->kind == REPLY_RELAY && r->request_ended && c->pipe.ready.len < POLL_WINDOW)
			answer(r, 204, NULL);
	}
	for (at = c->requests.next; at != &c->requests; at = tmp) {
		struct reply *r = reply_of(at);

		tmp = at->next;
		if (r->kind != REPLY_POLL || r->seq != c->pipe.out_seq || !(m = poll_pipe_pop(&c->pipe)))
			continue;
		list_append(&c->sent, &m->node);
		answer(r, 200, m);
		tmp = c->requests.next; /* the next message may be what one before this waits for */
	}
}

static void on_timer(void *arg)
{
	struct poll_answered *c = arg;
	uint64_t now = loop_ms(c->pipe.base.loop);
	struct list *at, *tmp;

	list_each(at, tmp, &c->requests)
		if (reply_of(at)->kind == REPLY_POLL && reply_of(at)->until_ms <= now)
			answer(reply_of(at), 204, NULL);
	if (now >= c->die_ms && list_empty(&c->requests)) {
		poll_pipe_fail(&c->pipe, ADIT_ERR_TIMEOUT, "no poll came any more");
		return;
	}
	if (now >= c->die_ms) /* a relay still sends its body */
		c->die_ms = now + POLL_ABANDONED_MS;
	set_timer(c);
}

static void was_asked(struct poll_answered *c)
{
	c->die_ms = loop_ms(c->pipe.base.loop) + POLL_IDLE_MS;
	set_timer(c);
}

static bool holds_poll(const struct poll_answered *c)
{
	const struct list *at;

	for (at = c->requests.next; at != &c->requests; at = at->next)
		if (container_of(at, struct reply, node)->kind == REPLY_POLL)
			return true;
	return false;
}

static void was_abandoned(struct poll_answered *c)
{
	uint64_t soon = loop_ms(c->pipe.base.loop) + POLL_ABANDONED_MS;

	if (!holds_poll(c) && soon < c->die_ms) {
		c->die_ms = soon;
		set_timer(c);
	}
}

/* ---- a request speaks */

static void op_head(struct half *self, const struct head *h, bool bodyless)
{
	(void)self;
	(void)h;
	(void)bodyless;
}

static void op_body(struct half *self, const uint8_t *p, size_t n)
{
	struct reply *r = of_half(self);

	r->has_body = r->kind == REPLY_POLL;
	if (r->answered) {
		if (r->response_ended && r->has_body) {
			half_abort(&r->half, ADIT_ERR_ENOUGH);
			end_reply(r);
		}
		return;
	}
	if (r->kind == REPLY_POLL || r->in.len + n > POLL_MESSAGE_MAX)
		answer(r, r->kind == REPLY_POLL ? 400 : 413, NULL);
	else if (buf_add(&r->in, p, n) < 0)
		answer(r, 503, NULL);
}

static void take_relay(struct reply *r)
{
	struct poll_answered *c = r->c;
	struct poll_message *m;

	if (c->pipe.ready.len >= POLL_UNREAD_MAX) {
		answer(r, 503, NULL);
		return;
	}
	m = poll_message_new(r->seq, r->in.len);
	if (!m) {
		answer(r, 503, NULL);
		return;
	}
	buf_take(&r->in, m->data, m->n);
	poll_pipe_arrive(&c->pipe, m);
	task_post(r->loop, &c->push);
}

static void op_end(struct half *self, const struct fields *trailers)
{
	struct reply *r = of_half(self);

	(void)trailers;
	r->request_ended = true;
	if (r->response_ended) {
		half_done(&r->half);
		end_reply(r);
	} else if (!r->answered && r->kind == REPLY_RELAY) {
		take_relay(r);
	}
}

static void op_credit(struct half *self, size_t n)
{
	of_half(self)->credit += n;
	send_rest(of_half(self));
}

static void op_abort(struct half *self, int err)
{
	struct reply *r = of_half(self);
	struct poll_answered *c = r->kind == REPLY_POLL ? r->c : NULL;

	(void)err;
	end_reply(r);
	if (c)
		was_abandoned(c);
}

static const struct half_ops half_ops = {op_head, op_body, op_end, op_credit, op_abort};

/* Beyond what is asked of either side: whoever sends that would have us keep messages without bound. */
static bool is_far(uint64_t seq, uint64_t from)
{
	return seq >= from && seq - from >= POLL_AHEAD;
}

static uint64_t number(const struct head *h, struct str name, uint64_t otherwise)
{
	uint64_t v;

	return str_to_u64(fields_get(&h->fields, name), &v) == 0 ? v : otherwise;
}

static struct reply *take(struct poll_answered *c, struct half *asking, const struct head *request,
                          enum reply_kind kind)
{
	struct reply *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->half.ops = &half_ops;
	r->loop = c->pipe.base.loop;
	r->kind = kind;
	r->seq = number(request, STR("adit-seq"), UINT64_MAX);
	r->free = (struct task){.run = release_reply, .arg = r};
	r->c = c;
	list_init(&r->node);
	list_append(&c->requests, &r->node);
	c->request_count++;
	half_link(&r->half, asking);
	was_asked(c);
	if (kind == REPLY_POLL)
		half_credit(&r->half, 1); /* none has a body: what had one would otherwise wait for ever */
	if (r->seq == UINT64_MAX)
		answer(r, 400, NULL);
	else if (c->request_count > POLL_REQUESTS_MAX)
		answer(r, 429, NULL);
	return r;
}

static void drop_sent(struct poll_answered *c, uint64_t below)
{
	if (below > c->acked)
		c->acked = below;
	while (!list_empty(&c->sent)) {
		struct poll_message *m = container_of(c->sent.next, struct poll_message, node);

		if (m->seq >= below)
			return;
		list_remove(&m->node);
		free(m);
	}
}

static void answer_again(struct reply *r, struct poll_answered *c)
{
	struct list *at, *tmp;

	list_each(at, tmp, &c->sent)
		if (container_of(at, struct poll_message, node)->seq == r->seq)
			answer(r, 200, container_of(at, struct poll_message, node));
	answer(r, 204, NULL); /* acknowledged long since: whoever repeats this has nobody to give it to */
}

/* An earlier poll for the same message: this one has taken its place. */
static void answer_former(struct poll_answered *c, const struct reply *r)
{
	struct list *at, *tmp;

	list_each(at, tmp, &c->requests)
		if (reply_of(at) != r && reply_of(at)->kind == REPLY_POLL && reply_of(at)->seq == r->seq)
			answer(reply_of(at), 204, NULL);
}

void poll_answered_poll(struct poll_answered *c, struct half *asking, const struct head *request)
{
	uint64_t ack = number(request, STR("adit-ack"), 0), hold = number(request, STR("adit-hold"), 0);
	struct reply *r = take(c, asking, request, REPLY_POLL);

	if (!r || r->answered)
		return;
	if (ack <= c->pipe.out_seq)
		drop_sent(c, ack);
	if (ack > c->pipe.out_seq || is_far(r->seq, c->acked)) {
		answer(r, 400, NULL);
		return;
	}
	if (r->seq < c->pipe.out_seq) {
		answer_again(r, c);
		return;
	}
	answer_former(c, r);
	r->until_ms = loop_ms(r->loop) + (hold < POLL_HELD_MS ? hold : POLL_HELD_MS);
	set_timer(c);
	task_post(r->loop, &c->push);
}

void poll_answered_relay(struct poll_answered *c, struct half *asking, const struct head *request)
{
	struct reply *r = take(c, asking, request, REPLY_RELAY);

	if (!r || r->answered)
		return;
	if (request->length > (int64_t)POLL_MESSAGE_MAX)
		answer(r, 413, NULL);
	else if (is_far(r->seq, c->pipe.in_seq))
		answer(r, 400, NULL);
	else
		half_credit(&r->half, POLL_MESSAGE_MAX + 1); /* one more, to see that there is more */
}

/* ---- the carrier */

static void on_moved(struct poll_pipe *p)
{
	struct poll_answered *c = of_pipe(p);

	task_post(p->base.loop, &c->push);
}

static void on_stop(struct poll_pipe *p)
{
	struct poll_answered *c = of_pipe(p);

	list_remove(&c->node);
	timer_stop(&c->timer);
	while (!list_empty(&c->requests))
		answer(reply_of(c->requests.next), 410, NULL);
	while (!list_empty(&c->answers))
		detach(reply_of(c->answers.next));
	task_cancel(p->base.loop, &c->push);
}

static void on_destroy(struct poll_pipe *p)
{
	struct poll_answered *c = of_pipe(p);

	drop_sent(c, UINT64_MAX);
	free(c);
}

static const struct poll_pipe_ops pipe_ops = {on_moved, on_stop, on_destroy};

void poll_table_init(struct poll_table *t, struct loop *l)
{
	t->loop = l;
	list_init(&t->carriers);
}

void poll_table_clear(struct poll_table *t)
{
	while (!list_empty(&t->carriers))
		list_remove(t->carriers.next);
}

struct stream *poll_table_open(struct poll_table *t, const char *link_id, const uint8_t token[SHA256_LEN],
                               const struct address *peer, char id[POLL_ID_HEX + 1])
{
	struct poll_answered *c = calloc(1, sizeof(*c));
	uint8_t random[POLL_ID_HEX / 2];

	if (!c)
		return NULL;
	poll_pipe_init(&c->pipe, &pipe_ops, t->loop, peer);
	random_bytes(random, sizeof(random));
	hex_encode(random, sizeof(random), c->id);
	memcpy(id, c->id, sizeof(c->id));
	snprintf(c->link_id, sizeof(c->link_id), "%s", link_id);
	memcpy(c->token, token, SHA256_LEN);
	list_init(&c->requests);
	list_init(&c->answers);
	list_init(&c->sent);
	list_init(&c->node);
	list_append(&t->carriers, &c->node);
	c->push = (struct task){.run = push, .arg = c};
	timer_init(&c->timer, t->loop, on_timer, c);
	was_asked(c);
	return &c->pipe.base;
}

struct poll_answered *poll_table_find(struct poll_table *t, struct str id, const char *link_id,
                                      const uint8_t token[SHA256_LEN])
{
	struct list *at, *tmp;

	list_each(at, tmp, &t->carriers) {
		struct poll_answered *c = container_of(at, struct poll_answered, node);

		if (id.n == POLL_ID_HEX && digest_equal(c->id, id.p, POLL_ID_HEX))
			return digest_equal(c->token, token, SHA256_LEN) && strcmp(c->link_id, link_id) == 0 ? c : NULL;
	}
	return NULL;
}
