/* poll: a carrier of plain requests, adit's side; doc/wire.md has what is asked and answered.
 *
 *   start ─► OPENING: POST relay, no carrier named ─► 201 with the carrier's id ─► done ─► OPEN
 *                                                  └► anything else: an error, and the next rung
 *   OPEN, each poll:   ask for the first message that nobody asks for ─► 200 message | 204 none ─► ask again
 *                      502, 504, cut: ask for the same again, held half as long
 *         each relay:  a message ─► 204 ─► the next; anything else: the same again
 *         410, another refusal of aditd's own, or POLL_FAILURES_MAX failures in a row ─► the pipe fails
 *         (a poll that was held before it was cut is none of them)
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/err.h"
#include "carrier/carrier.h"
#include "carrier/poll.h"
#include "carrier/requester.h"

/** Polls outstanding on HTTP/2: while one answer travels the next message has somewhere to go. One on HTTP/1.1. */
#define POLLS_MAX 2
/** Relays in flight; one less on HTTP/1.1, where each takes a connection. With the polls that is five streams: Apache
 *  serves six at once. */
#define RELAYS_MAX 3
/** While a relay is in flight, smaller ones wait for it and go together. */
#define RELAY_WORTH (64u * 1024)
/** Failures in a row, and the wait after the first, doubling up to the last. */
#define POLL_FAILURES_MAX 6
#define POLL_RETRY_MS 100u
#define POLL_RETRY_MAX_MS 1000
/** Who is not there says so sooner. What is cut after it was held for so long tells of an impatient ingress, and does
 *  not count as a failure: whether the far end lives is the link's to watch. */
#define POLL_WAS_HELD_MS 500
/** What an answer may take beside its hold. */
#define ANSWER_MS 10000

struct slot {
	struct ask ask;
	struct carrier_attempt *a;
	struct timer again;           /* set: it waits, for its retry or for the interval */
	uint64_t seq, asked_ms;       /* a poll: asked for, and when */
	uint32_t hold_ms;             /* and to be held so long */
	struct poll_message *message; /* a relay: until it has arrived */
};

struct carrier_attempt {
	struct poll_pipe pipe;
	struct requester *requester;
	struct carrier_target target; /* with strings of its own */
	char *texts[3];
	char link_id[CARRIER_LINK_ID_HEX + 1], id[POLL_ID_HEX + 1];
	struct ask open;
	struct slot polls[POLLS_MAX], relays[RELAYS_MAX];
	unsigned poll_failures, relay_failures;
	uint32_t hold_ms;
	bool is_open;
	struct task push;
	carrier_done_fn *done;
	void *arg;
};

static struct carrier_attempt *of_pipe(struct poll_pipe *p)
{
	return container_of(p, struct carrier_attempt, pipe);
}

/* ---- requests */

static int add_number(struct head *h, struct str name, uint64_t v)
{
	char text[STR_U64_MAX];

	return fields_add(&h->fields, name, str_of_u64(v, text));
}

/* Fills the ask's head; a POST when it has a body to come. 0 or ADIT_ERR_NOMEM. */
static int make(struct carrier_attempt *a, struct ask *ask, bool relay)
{
	int err;

	ask_reset(ask);
	ask->head.minor = 1;
	err = carrier_request(&ask->head, &a->target, relay ? "relay" : "poll", "");
	if (!err && relay)
		err = head_set(&ask->head, HEAD_METHOD, STR("POST"));
	if (!err && relay)
		err = fields_add(&ask->head.fields, STR("content-type"), STR("application/octet-stream"));
	if (!err && a->is_open)
		err = fields_add(&ask->head.fields, STR("adit-carrier"), str_of(a->id));
	return err;
}

static bool is_ours(const struct ask *ask)
{
	return fields_has(&ask->answer.fields, STR("adit-version"));
}

static bool ends_carrier(const struct ask *ask)
{
	int status = ask->err ? 0 : ask->answer.status;

	return is_ours(ask) && (status == 400 || status == 401 || status == 403 || status == 410 || status == 413 ||
	                         status == 426);
}

/* Something else than what was wanted: the same again after a while, or the end. */
static void failed(struct carrier_attempt *a, struct slot *s, unsigned *failures)
{
	const struct ask *ask = &s->ask;
	uint32_t wait = POLL_RETRY_MS << (*failures < 8 ? *failures : 8);
	char text[200];

	if (ask->err)
		snprintf(text, sizeof(text), "%s", *ask->detail ? ask->detail : err_text(ask->err));
	else if (is_ours(ask) && ask->answer.status == 200)
		snprintf(text, sizeof(text), "a poll was answered with another message");
	else
		snprintf(text, sizeof(text), "a poll or relay was answered with %d", ask->answer.status);
	if (ends_carrier(ask) || ++*failures >= POLL_FAILURES_MAX)
		poll_pipe_fail(&a->pipe, ask->err ? ask->err : ADIT_ERR_RESET, text);
	else
		timer_set(&s->again, wait < POLL_RETRY_MAX_MS ? wait : POLL_RETRY_MAX_MS);
}

/* ---- polls: what comes from the server */

static bool is_asked_for(const struct carrier_attempt *a, uint64_t seq)
{
	for (size_t i = 0; i < POLLS_MAX; i++)
		if (ask_is_running(&a->polls[i].ask) && a->polls[i].seq == seq)
			return true;
	return false;
}

static void send_poll(struct carrier_attempt *a, struct slot *s)
{
	struct ask *ask = &s->ask;
	uint64_t seq = a->pipe.in_seq;
	int err;

	while (is_asked_for(a, seq) || poll_pipe_knows(&a->pipe, seq))
		seq++;
	if (seq >= a->pipe.in_seq + POLL_SPAN)
		return;
	err = make(a, ask, false);
	if (!err)
		err = add_number(&ask->head, STR("adit-seq"), seq);
	if (!err)
		err = add_number(&ask->head, STR("adit-ack"), a->pipe.in_seq);
	if (!err)
		err = add_number(&ask->head, STR("adit-hold"), a->hold_ms);
	s->hold_ms = a->hold_ms;
	if (err) {
		poll_pipe_fail(&a->pipe, err, "");
		return;
	}
	s->seq = seq;
	s->asked_ms = loop_ms(a->pipe.base.loop);
	ask->budget_ms = a->hold_ms + ANSWER_MS;
	requester_ask(a->requester, ask);
}

static void ask_polls(struct carrier_attempt *a)
{
	size_t width = requester_is_h2(a->requester) && !a->target.poll_interval_ms ? POLLS_MAX : 1;

	for (size_t i = 0; i < width; i++) {
		struct slot *s = &a->polls[i];

		if (a->pipe.failed || a->pipe.in_ended || a->pipe.ready.len >= POLL_WINDOW)
			return;
		if (!ask_is_running(&s->ask) && !timer_is_set(&s->again))
			send_poll(a, s);
	}
}

static void take_message(struct carrier_attempt *a, struct slot *s)
{
	struct poll_message *m = poll_message_new(s->seq, s->ask.got.len);

	if (!m) {
		poll_pipe_fail(&a->pipe, ADIT_ERR_NOMEM, "");
		return;
	}
	buf_take(&s->ask.got, m->data, m->n);
	poll_pipe_arrive(&a->pipe, m);
}

/* Is it what was asked for? A cache's old answer, taken for one, would be asked for again at once, for ever. */
static bool is_answer(const struct slot *s)
{
	const struct ask *ask = &s->ask;
	uint64_t seq;

	if (ask->err || !is_ours(ask))
		return false;
	if (ask->answer.status == 204)
		return true;
	return ask->answer.status == 200 && str_to_u64(fields_get(&ask->answer.fields, STR("adit-seq")), &seq) == 0 &&
	       seq == s->seq;
}

/* Half of what this one was to be held: two that are cut at once tell one thing. */
static void hold_shorter(struct carrier_attempt *a, const struct slot *s)
{
	uint32_t half = s->hold_ms / 2 > POLL_HOLD_LEAST_MS ? s->hold_ms / 2 : POLL_HOLD_LEAST_MS;

	if (half < a->hold_ms)
		a->hold_ms = half;
}

static void on_polled(void *arg)
{
	struct slot *s = arg;
	struct carrier_attempt *a = s->a;
	int status = s->ask.err ? 0 : s->ask.answer.status;

	if (is_answer(s)) {
		a->poll_failures = 0;
		if (status == 200)
			take_message(a, s);
		if (a->target.poll_interval_ms)
			timer_set(&s->again, a->target.poll_interval_ms);
		else if (status == 204 && loop_ms(a->pipe.base.loop) < s->asked_ms + POLL_RETRY_MS) /* nobody holds it */
			timer_set(&s->again, POLL_RETRY_MS);
	} else {
		bool cut = s->ask.err || status == 502 || status == 504;

		if (cut)
			hold_shorter(a, s);
		if (cut && loop_ms(a->pipe.base.loop) >= s->asked_ms + POLL_WAS_HELD_MS)
			a->poll_failures = 0;
		failed(a, s, &a->poll_failures);
	}
	task_post(a->pipe.base.loop, &a->push);
}

/* ---- relays: what goes to the server */

static void send_relay(struct carrier_attempt *a, struct slot *s)
{
	struct ask *ask = &s->ask;
	int err = make(a, ask, true);

	if (!err)
		err = add_number(&ask->head, STR("adit-seq"), s->message->seq);
	if (err) {
		poll_pipe_fail(&a->pipe, err, "");
		return;
	}
	ask->head.length = (int64_t)s->message->n;
	ask->body = s->message->data;
	ask->body_n = s->message->n;
	ask->budget_ms = 3 * ANSWER_MS;
	requester_ask(a->requester, ask);
}

static void on_relayed(void *arg)
{
	struct slot *s = arg;
	struct carrier_attempt *a = s->a;

	if (!s->ask.err && is_ours(&s->ask) && s->ask.answer.status == 204) {
		a->relay_failures = 0;
		free(s->message);
		s->message = NULL;
	} else {
		failed(a, s, &a->relay_failures);
	}
	task_post(a->pipe.base.loop, &a->push);
}

/* The first message that is not known to have arrived. */
static uint64_t oldest_relay(const struct carrier_attempt *a)
{
	uint64_t seq = a->pipe.out_seq;

	for (size_t i = 0; i < RELAYS_MAX; i++)
		if (a->relays[i].message && a->relays[i].message->seq < seq)
			seq = a->relays[i].message->seq;
	return seq;
}

static void send_relays(struct carrier_attempt *a)
{
	size_t width = requester_is_h2(a->requester) ? RELAYS_MAX : RELAYS_MAX - 1, busy = 0;

	for (size_t i = 0; i < RELAYS_MAX; i++)
		busy += a->relays[i].message != NULL;
	for (size_t i = 0; i < RELAYS_MAX && !a->pipe.failed; i++) {
		struct slot *s = &a->relays[i];
		bool worth = !busy || a->pipe.out.len >= RELAY_WORTH || a->pipe.finished;
		bool within = a->pipe.out_seq < oldest_relay(a) + POLL_SPAN;

		/* what was sent on HTTP/2 is sent again also when the next connection is none */
		if (!s->message && i < width && worth && within && (s->message = poll_pipe_pop(&a->pipe)))
			busy++;
		if (s->message && !ask_is_running(&s->ask) && !timer_is_set(&s->again))
			send_relay(a, s);
	}
}

static void push(void *arg)
{
	struct carrier_attempt *a = arg;

	if (!a->is_open || a->pipe.failed)
		return;
	send_relays(a);
	ask_polls(a);
}

static void on_again(void *arg)
{
	struct slot *s = arg;

	push(s->a);
}

/* ---- opening */

/* One line: aditd's own words, else the status. */
static void refusal(struct ask *ask, char *out, size_t cap)
{
	size_t n = is_ours(ask) ? buf_take(&ask->got, out, cap - 1) : 0;

	out[n] = '\0';
	for (char *p = out; *p; p++)
		*p = *p >= ' ' && *p < 127 ? *p : ' ';
	if (!n)
		snprintf(out, cap, "the first relay was answered with %d", ask->answer.status);
}

static void on_opened(void *arg)
{
	struct carrier_attempt *a = arg;
	struct ask *ask = &a->open;
	struct str id = fields_get(&ask->answer.fields, STR("adit-carrier"));
	char detail[CARRIER_DETAIL_MAX + 1];
	struct buf none = BUF_INIT;
	struct carrier_result r = {.rest = &none, .detail = detail, .err = ask->err};
	struct stream *s = &a->pipe.base;

	snprintf(detail, sizeof(detail), "%s", ask->detail);
	if (!ask->err) {
		r.status = ask->answer.status;
		r.ours = is_ours(ask);
		r.retry_after = carrier_retry_after(&ask->answer);
		a->is_open = r.ours && r.status == 201 && id.n == POLL_ID_HEX;
		if (!a->is_open)
			refusal(ask, detail, sizeof(detail));
		r.err = a->is_open ? 0 : carrier_err_of_answer(&ask->answer, detail);
	}
	if (a->is_open) {
		memcpy(a->id, id.p, POLL_ID_HEX);
		r.stream = s;
		task_post(s->loop, &a->push);
	}
	a->done(a->arg, &r);
	if (!r.stream)
		stream_free(&s);
}

/* ---- life */

static void on_moved(struct poll_pipe *p)
{
	task_post(p->base.loop, &of_pipe(p)->push);
}

static void end_slot(struct slot *s)
{
	ask_clear(&s->ask);
	timer_stop(&s->again);
	free(s->message);
	s->message = NULL;
}

static void on_stop(struct poll_pipe *p)
{
	struct carrier_attempt *a = of_pipe(p);

	ask_clear(&a->open);
	for (size_t i = 0; i < POLLS_MAX; i++)
		end_slot(&a->polls[i]);
	for (size_t i = 0; i < RELAYS_MAX; i++)
		end_slot(&a->relays[i]);
	task_cancel(p->base.loop, &a->push);
	requester_free(&a->requester);
}

static void on_destroy(struct poll_pipe *p)
{
	struct carrier_attempt *a = of_pipe(p);

	if (a->texts[1])
		secret_wipe(a->texts[1], strlen(a->texts[1]));
	for (size_t i = 0; i < 3; i++)
		free(a->texts[i]);
	free(a);
}

static const struct poll_pipe_ops pipe_ops = {on_moved, on_stop, on_destroy};

static int copy_target(struct carrier_attempt *a, const struct carrier_target *t)
{
	a->texts[0] = str_dup(str_of(t->host));
	a->texts[1] = str_dup(str_of(t->token));
	a->texts[2] = str_dup(str_of(t->agent));
	snprintf(a->link_id, sizeof(a->link_id), "%s", t->link_id);
	a->target = (struct carrier_target){
		.host = a->texts[0], .token = a->texts[1], .agent = a->texts[2], .link_id = a->link_id,
		.poll_interval_ms = t->poll_interval_ms,
	};
	a->hold_ms = t->poll_hold_ms;
	return a->texts[0] && a->texts[1] && a->texts[2] ? 0 : ADIT_ERR_NOMEM;
}

static void init_slot(struct slot *s, struct carrier_attempt *a, void (*done)(void *arg))
{
	ask_init(&s->ask, a->pipe.base.loop, done, s);
	s->ask.answer_max = POLL_MESSAGE_MAX;
	s->a = a;
	timer_init(&s->again, a->pipe.base.loop, on_again, s);
}

static struct carrier_attempt *start(struct loop *l, struct stream *s, const struct carrier_target *t,
                                     carrier_done_fn *done, void *arg)
{
	struct carrier_attempt *a = calloc(1, sizeof(*a));

	if (!a)
		return NULL;
	poll_pipe_init(&a->pipe, &pipe_ops, l, &s->peer);
	a->done = done;
	a->arg = arg;
	a->push = (struct task){.run = push, .arg = a};
	ask_init(&a->open, l, on_opened, a);
	a->open.answer_max = POLL_MESSAGE_MAX;
	a->open.budget_ms = CARRIER_UPGRADE_MS;
	for (size_t i = 0; i < POLLS_MAX; i++)
		init_slot(&a->polls[i], a, on_polled);
	for (size_t i = 0; i < RELAYS_MAX; i++)
		init_slot(&a->relays[i], a, on_relayed);
	if (copy_target(a, t) == 0 && make(a, &a->open, true) == 0)
		a->requester = requester_new(l, t->resolver, t->dial, s);
	if (!a->requester) {
		struct stream *none = &a->pipe.base;

		stream_free(&none);
		return NULL;
	}
	requester_ask(a->requester, &a->open);
	return a;
}

static void cancel(struct carrier_attempt **ap)
{
	struct stream *s = *ap ? &(*ap)->pipe.base : NULL;

	*ap = NULL;
	stream_free(&s);
}

const struct carrier_kind carrier_poll = {.name = "poll", .start = start, .cancel = cancel};
