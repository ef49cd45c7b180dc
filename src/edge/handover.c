#include "edge/handover.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "io/takeover.h"
#include "io/tcp.h"

struct handover {
	struct loop *loop;
	const struct handover_events *events;
	struct log *log;
	void *owner;
	bool asked;            /* a connection is about to be handed to us, or is `stream` */
	struct stream *stream;
	struct timer timer;
	char line[sizeof(TAKEOVER_READY)];
	size_t len;
};

static void end(struct handover *h)
{
	stream_free(&h->stream);
	timer_clear(&h->timer);
	h->asked = false;
	h->len = 0;
}

static void give_up(struct handover *h, const char *why)
{
	log_event(h->log, LOG_LEVEL_WARN, "handover.failed", KV_Z("reason", why), KV_Z("kept", "everything"));
	end(h);
}

static bool send_all(struct handover *h, const void *p, size_t n)
{
	const struct iovec v = {(void *)(uintptr_t)p, n}; /* stream_write does not write to it */

	return stream_write(h->stream, &v, 1) == (ssize_t)n;
}

/* The other one is ready. What it does not hear does not count. */
static void commit(struct handover *h)
{
	if (!send_all(h, TAKEOVER_DRAINING, strlen(TAKEOVER_DRAINING))) {
		give_up(h, "the new process has gone");
		return;
	}
	log_event(h->log, LOG_LEVEL_INFO, "handover", KV_Z("to", "a new process"));
	end(h);
	h->events->commit(h->owner);
}

static void on_readable(void *owner)
{
	struct handover *h = owner;
	ssize_t n = stream_read(h->stream, h->line + h->len, sizeof(h->line) - 1 - h->len);

	if (n == ADIT_ERR_AGAIN)
		return;
	if (n < 0) {
		give_up(h, "the new process has gone");
		return;
	}
	h->len += (size_t)n;
	if (memcmp(h->line, TAKEOVER_READY, h->len) != 0)
		give_up(h, "the new process speaks something else");
	else if (h->len == strlen(TAKEOVER_READY))
		commit(h);
}

static void on_writable(void *owner)
{
	(void)owner;
}

static const struct stream_handler handler = {on_readable, on_writable};

static void on_timer(void *arg)
{
	give_up(arg, "the new process did not get ready in time");
}

/* A letter for each, with its descriptor. */
static int send_some(struct handover *h, const struct handed_socket *at, unsigned count)
{
	char letters[HANDED_MESSAGE_MAX];
	int fds[HANDED_MESSAGE_MAX];

	for (unsigned i = 0; i < count; i++) {
		fds[i] = at[i].fd;
		letters[i] = at[i].owns_path ? 'o' : '-';
	}
	return tcp_send_descriptors(h->stream, letters, count, fds, count);
}

static int send_sockets(struct handover *h)
{
	struct handed set = {.count = 0};
	unsigned sent = 0;
	int err = h->events->give(h->owner, &set);

	if (!err && !send_all(h, TAKEOVER_SOCKETS, strlen(TAKEOVER_SOCKETS)))
		err = ADIT_ERR_LIMIT;
	while (!err && sent < set.count) {
		unsigned n = set.count - sent < HANDED_MESSAGE_MAX ? set.count - sent : HANDED_MESSAGE_MAX;

		err = send_some(h, set.at + sent, n);
		sent += n;
	}
	if (!err && !send_all(h, "\n", 1))
		err = ADIT_ERR_LIMIT;
	return err;
}

/* The connection of the request is ours. */
static void arrived(void *arg, struct stream *s, struct buf *lead, struct buf *rest)
{
	struct handover *h = arg;
	struct iovec v[2];
	bool sent = true;

	buf_clear(rest); /* nobody speaks before the sockets have come */
	if (!s) {
		h->asked = false;
		return;
	}
	h->stream = s;
	stream_own(s, &handler, h);
	while (sent && lead->len) {
		ssize_t n = stream_write(s, v, buf_iov(lead, v, 2));

		sent = n > 0;
		buf_drop(lead, sent ? (size_t)n : 0);
	}
	buf_clear(lead);
	if (!sent || send_sockets(h) < 0) {
		give_up(h, "the sockets could not be sent");
		return;
	}
	timer_set(&h->timer, HANDOVER_READY_MS);
	stream_pause(s, false);
}

const char *handover_ask(struct handover *h, struct edge_h1 *c, const struct head *request, int *status)
{
	struct head answer;
	int err;

	*status = 426;
	if (!str_eq_nocase(head_get(request, HEAD_PROTOCOL), STR(TAKEOVER_PROTOCOL)))
		return "this wants Upgrade: " TAKEOVER_PROTOCOL;
	*status = 403;
	if (!tcp_peer_is_this_user(edge_h1_stream(c)))
		return "only a process of the same user on the admin unix socket gets the sockets";
	*status = 409;
	if (h->asked)
		return "another process is taking over";
	head_init(&answer);
	answer.status = 101;
	err = head_set(&answer, HEAD_PROTOCOL, STR(TAKEOVER_PROTOCOL));
	if (!err) {
		h->asked = true;
		edge_h1_switch(c, &answer, arrived, h);
	}
	head_free(&answer);
	*status = 503;
	return err ? "out of memory" : NULL;
}

struct handover *handover_new(struct loop *l, const struct handover_events *events, struct log *log, void *owner)
{
	struct handover *h = calloc(1, sizeof(*h));

	if (!h)
		return NULL;
	h->loop = l;
	h->events = events;
	h->log = log;
	h->owner = owner;
	timer_init(&h->timer, l, on_timer, h);
	return h;
}

void handover_free(struct handover **hp)
{
	struct handover *h = *hp;

	if (!h)
		return;
	*hp = NULL;
	stream_free(&h->stream);
	timer_stop(&h->timer);
	free(h);
}
