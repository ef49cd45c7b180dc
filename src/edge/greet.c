#include "edge/greet.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/list.h"
#include "http/judge.h"
#include "io/tls.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PREFACE_LEN 24
/** So much behind what is no HTTP is read, for a close with bytes unread is a RST. */
#define SCRAP 512

struct greeting {
	struct list node;
	struct stream *stream;
	struct timer timer;
	struct task step; /* of a TLS handshake */
	uint64_t since_ms;
	struct buf first;
	greet_fn *fn;
	greet_gone_fn *gone;
	void *arg;
};

static void release(struct greeting *g)
{
	list_remove(&g->node);
	timer_stop(&g->timer);
	task_cancel(g->timer.loop, &g->step);
	buf_clear(&g->first);
	free(g);
}

static void drop(struct greeting *g)
{
	greet_gone_fn *gone = g->gone;
	void *arg = g->arg;

	stream_free(&g->stream);
	release(g);
	gone(arg);
}

static void decide(struct greeting *g, bool h2)
{
	stream_pause(g->stream, true);
	stream_own(g->stream, NULL, NULL);
	g->fn(g->arg, g->stream, &g->first, h2);
	release(g);
}

static void on_tls(void *arg)
{
	struct greeting *g = arg;
	int err = tls_handshake(g->stream);

	if (err == ADIT_ERR_AGAIN)
		stream_pause(g->stream, false);
	else if (err)
		drop(g);
	else
		decide(g, strcmp(g->stream->alpn, TLS_ALPN_H2) == 0);
}

static void decide_by_words(struct greeting *g)
{
	uint8_t rest[SCRAP];
	struct iovec v = {NULL, 0}; /* so few bytes stand in one piece */

	buf_iov(&g->first, &v, 1);
	if (judge_may_be_http((struct str){v.iov_base, v.iov_len})) {
		decide(g, false);
		return;
	}
	(void)stream_read(g->stream, rest, sizeof(rest));
	drop(g);
}

static void on_plain(struct greeting *g)
{
	uint8_t block[PREFACE_LEN];
	size_t had = g->first.len;
	ssize_t n = stream_read(g->stream, block, PREFACE_LEN - had);

	if (n == ADIT_ERR_AGAIN)
		return;
	if (n < 0 || buf_add(&g->first, block, (size_t)n) < 0) {
		drop(g);
		return;
	}
	if (memcmp(block, &PREFACE[had], (size_t)n) != 0)
		decide_by_words(g);
	else if (g->first.len == PREFACE_LEN)
		decide(g, true);
}

static void on_readable(void *owner)
{
	struct greeting *g = owner;

	if (!g->stream->tls) {
		on_plain(g);
		return;
	}
	stream_pause(g->stream, true);
	task_post_fair(g->stream->loop, LOOP_FAIR_HANDSHAKE, &g->step);
}

static const struct stream_handler handler = {on_readable, on_readable};

static void on_timeout(void *arg)
{
	drop(arg);
}

int greet(struct list *waiting, struct stream *s, greet_fn *fn, greet_gone_fn *gone, void *arg)
{
	struct greeting *g = calloc(1, sizeof(*g));

	if (!g)
		return ADIT_ERR_NOMEM;
	g->stream = s;
	g->since_ms = loop_ms(s->loop);
	g->fn = fn;
	g->gone = gone;
	g->arg = arg;
	list_init(&g->node);
	list_append(waiting, &g->node);
	g->step = (struct task){.run = on_tls, .arg = g};
	timer_init(&g->timer, s->loop, on_timeout, g);
	timer_set(&g->timer, GREET_MS);
	stream_own(s, &handler, g);
	stream_pause(s, false);
	return 0;
}

uint64_t greet_since(const struct list *waiting)
{
	return list_empty(waiting) ? 0 : container_of(waiting->next, struct greeting, node)->since_ms;
}

bool greet_evict(struct list *waiting, uint64_t before)
{
	struct greeting *g = container_of(waiting->next, struct greeting, node);

	if (list_empty(waiting) || g->since_ms >= before)
		return false;
	drop(g);
	return true;
}

void greet_drop_all(struct list *waiting)
{
	while (!list_empty(waiting)) {
		struct greeting *g = container_of(waiting->next, struct greeting, node);

		stream_free(&g->stream);
		release(g);
	}
}
