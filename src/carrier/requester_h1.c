/* One HTTP/1.1 connection of a requester: an ask at a time. */
#include <stdlib.h>

#include "base/err.h"
#include "carrier/requester_int.h"
#include "http/h1.h"

#define WRITE_PIECES 16

/*   IDLE ─ send ─► BUSY ─ answer ended, kept ─► IDLE
 *     └── EOF ──────┴── EOF, error, close ────► closed        */
struct connection_h1 {
	struct list node;
	struct requester *r;
	struct stream *stream;  /* NULL: closed */
	struct h1_parser *parser;
	struct ask *ask;        /* the one that it works for */
	struct buf out;
	enum h1_framing framing; /* of the ask's body */
	bool used, head_came, ended, close_after;
	struct task free;
};

struct connection_h1 *connection_h1_of_node(struct list *node)
{
	return container_of(node, struct connection_h1, node);
}

static void release(void *arg)
{
	struct connection_h1 *c = arg;

	h1_free(&c->parser);
	buf_clear(&c->out);
	free(c);
}

/* The server closed a kept connection while we wrote: the ask goes to another one. */
static bool ask_again(struct connection_h1 *c, struct ask *a)
{
	if (!c->used || a->answer_begun || a->repeated)
		return false;
	a->repeated = true;
	timer_clear(&a->late);
	a->state = ASK_WAITING;
	a->h1 = NULL;
	list_insert_before(c->r->waiting.next, &a->node);
	return true;
}

void connection_h1_close(struct connection_h1 *c, int err, const char *detail)
{
	struct ask *a = c->ask && c->ask->h1 == c ? c->ask : NULL;

	if (!c->stream)
		return;
	c->ask = NULL;
	stream_free(&c->stream);
	list_remove(&c->node);
	c->r->h1_count--;
	if (a && (err == ADIT_ERR_NOMEM || err == ADIT_ERR_SHUTDOWN || !ask_again(c, a)))
		ask_over(a, err, *detail ? detail : err_text(err));
	requester_go_on(c->r);
	task_post_free(c->r->loop, &c->free);
}

/* ---- the answer */

static int on_head(void *arg, struct head *h, bool bodyless)
{
	struct connection_h1 *c = arg;

	(void)bodyless;
	if (h->status < 200)
		return 0;
	c->head_came = true;
	c->close_after = h->close;
	if (head_copy(&c->ask->answer, h) < 0)
		connection_h1_close(c, ADIT_ERR_NOMEM, "");
	return c->stream ? 0 : H1_PAUSE;
}

static int on_body(void *arg, const uint8_t *p, size_t n)
{
	struct connection_h1 *c = arg;
	int err = ask_got(c->ask, p, n);

	if (err)
		connection_h1_close(c, err, err == ADIT_ERR_PROTO ? "the answer is longer than any of ours" : "");
	return c->stream ? 0 : H1_PAUSE;
}

static int on_end(void *arg, const struct fields *trailers)
{
	struct connection_h1 *c = arg;

	(void)trailers;
	c->ended = true;
	return H1_PAUSE;
}

static const struct h1_events parser_events = {on_head, on_body, on_end};

static void finish_answer(struct connection_h1 *c)
{
	struct ask *a = c->ask;
	bool keep = !c->close_after && !c->out.len && !a->late_left;

	c->ask = NULL;
	c->used = true;
	ask_over(a, 0, "");
	if (keep)
		h1_next(c->parser);
	else
		connection_h1_close(c, 0, "");
}

static void feed(struct connection_h1 *c, const uint8_t *p, size_t n)
{
	size_t done = 0, used = 1;

	c->ask->answer_begun = true;
	while (c->stream && !c->ended && (done < n || (c->head_came && used))) {
		int err;

		used = 0;
		err = h1_parse(c->parser, p + done, n - done, &used);
		done += used;
		if (err && c->stream)
			connection_h1_close(c, ADIT_ERR_PROTO, h1_error_detail(c->parser));
		if (err || (!used && done < n))
			break;
	}
	if (!c->stream || !c->ended)
		return;
	c->close_after = c->close_after || done < n;
	finish_answer(c);
}

static void on_readable(void *owner)
{
	struct connection_h1 *c = owner;
	struct loop *l = c->r->loop;
	uint8_t *block = loop_borrow(l);
	ssize_t n = block ? stream_read(c->stream, block, LOOP_BLOCK) : ADIT_ERR_NOMEM;

	if (n > 0 && c->ask)
		feed(c, block, (size_t)n);
	else if (n == ADIT_ERR_EOF && c->ask && c->head_came && h1_eof(c->parser) == 0 && c->ended)
		finish_answer(c);
	else if (n != ADIT_ERR_AGAIN) /* also bytes that answer nothing */
		connection_h1_close(c, n > 0 ? ADIT_ERR_PROTO : (int)n, n > 0 ? "" : stream_detail(c->stream));
	loop_return(l, block);
}

static void on_writable(void *owner)
{
	struct connection_h1 *c = owner;
	struct iovec iov[WRITE_PIECES];

	while (c->stream && c->out.len) {
		ssize_t n = stream_write(c->stream, iov, buf_iov(&c->out, iov, WRITE_PIECES));

		if (n < 0) /* what was said before it closed is read first; its end tells */
			buf_clear(&c->out);
		if (n <= 0)
			return;
		buf_drop(&c->out, (size_t)n);
	}
}

static const struct stream_handler handler = {on_readable, on_writable};

/* ---- the request */

static struct connection_h1 *idle_one(struct requester *r)
{
	struct list *at, *tmp;

	list_each(at, tmp, &r->h1)
		if (!connection_h1_of_node(at)->ask)
			return connection_h1_of_node(at);
	return NULL;
}

bool connection_h1_send(struct requester *r, struct ask *a)
{
	struct connection_h1 *c = idle_one(r);
	int err;

	if (!c)
		return false;
	a->state = ASK_RUNNING;
	a->h1 = c;
	c->ask = a;
	ask_begins(a);
	c->head_came = c->ended = c->close_after = false;
	h1_expect(c->parser, head_get(&a->head, HEAD_METHOD));
	err = h1_write_request(&c->out, &a->head, &c->framing);
	if (!err && a->body_n > a->late_n)
		err = h1_write_body(&c->out, c->framing, a->body, a->body_n - a->late_n);
	if (err)
		connection_h1_close(c, ADIT_ERR_NOMEM, "");
	else
		on_writable(c);
	return true;
}

void connection_h1_send_late(struct ask *a)
{
	struct connection_h1 *c = a->h1;
	size_t n = a->late_left;

	a->late_left = 0;
	if (h1_write_body(&c->out, c->framing, a->body + a->body_n - n, n) < 0)
		connection_h1_close(c, ADIT_ERR_NOMEM, "");
	else
		on_writable(c);
}

struct connection_h1 *connection_h1_new(struct requester *r, struct stream *s)
{
	struct connection_h1 *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->r = r;
	c->free = (struct task){.run = release, .arg = c};
	c->parser = h1_new(H1_RESPONSE, &parser_events, c);
	if (!c->parser) {
		release(c);
		return NULL;
	}
	c->stream = s;
	list_init(&c->node);
	list_append(&r->h1, &c->node);
	r->h1_count++;
	stream_own(s, &handler, c);
	stream_pause(s, false);
	return c;
}
