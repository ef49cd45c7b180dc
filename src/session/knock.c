#include "session/knock.h"

#include <stdlib.h>

#include "base/err.h"

/** Read at a time; answers are short, and what follows them is the link's. */
#define READ_BYTES 4096

struct knock {
	struct loop *loop;
	struct stream *carrier;
	struct frame_parser parser;
	struct buf out, in;
	struct timer patience;
	struct task look, free;
	knock_fn *answered;
	void *arg;
	size_t used; /* bytes of the frame that is being told */
	bool asked, gone;
};

static void answer(struct knock *k, const struct frame *f, int err, const char *detail)
{
	k->asked = false;
	timer_clear(&k->patience);
	k->answered(k->arg, f, err, detail);
}

/* Looks for one frame in what has come. */
static void parse(struct knock *k)
{
	struct iovec v;

	while (k->asked && buf_iov(&k->in, &v, 1) == 1) {
		struct frame f;
		int got = frame_parse(&k->parser, v.iov_base, v.iov_len, &k->used, &f);

		if (got > 0 && f.type == FRAME_DATA)
			got = ADIT_ERR_PROTO;
		if (got < 0)
			answer(k, NULL, got, "the answer is not a link frame");
		else if (got > 0)
			answer(k, &f, 0, "");
		if (k->gone) /* its buffers are the receiver's */
			return;
		buf_drop(&k->in, k->used);
	}
}

static void flush(struct knock *k)
{
	struct iovec iov[4];

	while (k->out.len) {
		ssize_t n = stream_write(k->carrier, iov, buf_iov(&k->out, iov, 4));

		if (n < 0 && k->asked)
			answer(k, NULL, (int)n, stream_detail(k->carrier));
		if (n <= 0)
			return;
		buf_drop(&k->out, (size_t)n);
	}
}

static void on_readable(void *owner)
{
	struct knock *k = owner;
	uint8_t block[READ_BYTES];
	ssize_t n = stream_read(k->carrier, block, sizeof(block));

	if (n == ADIT_ERR_AGAIN)
		return;
	if (n > 0 && buf_add(&k->in, block, (size_t)n) < 0)
		n = ADIT_ERR_NOMEM;
	if (n > 0)
		parse(k);
	else if (k->asked)
		answer(k, NULL, (int)n, stream_detail(k->carrier));
}

static void on_writable(void *owner)
{
	flush(owner);
}

static const struct stream_handler handler = {on_readable, on_writable};

static void look(void *arg)
{
	struct knock *k = arg;

	flush(k);
	if (!k->gone)
		parse(k);
}

static void on_patience(void *arg)
{
	answer(arg, NULL, ADIT_ERR_TIMEOUT, "the carrier stands, and nothing comes over it");
}

static void release(void *arg)
{
	struct knock *k = arg;

	frame_parser_clear(&k->parser);
	buf_clear(&k->out);
	buf_clear(&k->in);
	free(k);
}

struct knock *knock_new(struct loop *l, struct stream *carrier, struct buf *rest, knock_fn *answered, void *arg)
{
	struct knock *k = calloc(1, sizeof(*k));

	if (!k) {
		stream_free(&carrier);
		return NULL;
	}
	k->loop = l;
	k->carrier = carrier;
	k->answered = answered;
	k->arg = arg;
	k->look = (struct task){.run = look, .arg = k};
	k->free = (struct task){.run = release, .arg = k};
	frame_parser_init(&k->parser);
	buf_splice(&k->in, rest);
	timer_init(&k->patience, l, on_patience, k);
	stream_own(carrier, &handler, k);
	stream_pause(carrier, false);
	return k;
}

void knock_say(struct knock *k, enum frame_type type, const void *p, size_t n)
{
	uint8_t header[FRAME_HEADER_LEN];

	frame_header(header, type, n);
	k->asked = true;
	timer_set(&k->patience, KNOCK_MS);
	/* out of memory shows as an answer that does not come */
	if (buf_add(&k->out, header, sizeof(header)) == 0)
		buf_add(&k->out, p, n);
	task_post(k->loop, &k->look);
}

static void end(struct knock *k)
{
	k->gone = true;
	k->asked = false;
	timer_stop(&k->patience);
	task_cancel(k->loop, &k->look);
	task_post_free(k->loop, &k->free);
}

struct stream *knock_yield(struct knock **kp, struct buf *rest)
{
	struct knock *k = *kp;
	struct stream *s = k->carrier;

	*kp = NULL;
	k->carrier = NULL;
	stream_pause(s, true);
	buf_drop(&k->in, k->used);
	buf_splice(rest, &k->in);
	end(k);
	return s;
}

void knock_free(struct knock **kp)
{
	struct knock *k = *kp;

	if (!k)
		return;
	*kp = NULL;
	stream_free(&k->carrier);
	end(k);
}
