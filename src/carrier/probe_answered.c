#include "carrier/probe_answered.h"

#include <stdlib.h>

#include "base/err.h"
#include "carrier/carrier.h"

enum probe_kind { PROBE_PIECES, PROBE_UPLOAD, PROBE_HELD };

struct probe {
	struct list node;
	struct probe_table *table;
	uint8_t token[SHA256_LEN];
	enum probe_kind kind;
	struct half half;        /* PIECES, UPLOAD */
	bool request_ended, over;
	unsigned pieces;         /* PIECES: sent */
	uint64_t first_ms;       /* UPLOAD: when the body began */
	size_t got;
	struct stream *stream;   /* HELD */
	bool echoed;
	struct timer timer;
	struct task free;
};

static struct probe *of_half(struct half *h)
{
	return container_of(h, struct probe, half);
}

/* ---- life */

static void release(void *arg)
{
	free(arg);
}

static void end_probe(struct probe *p)
{
	if (p->over)
		return;
	p->over = true;
	list_remove(&p->node);
	p->table->count--;
	timer_stop(&p->timer);
	half_abort(&p->half, ADIT_ERR_SHUTDOWN);
	stream_free(&p->stream);
	task_post_free(p->table->loop, &p->free);
}

/* What was asked is answered; what is still to come of the request is not wanted. */
static void end_answered(struct probe *p)
{
	half_end(&p->half, NULL);
	if (p->request_ended)
		half_done(&p->half);
	else
		half_abort(&p->half, ADIT_ERR_ENOUGH);
	end_probe(p);
}

/* No x-accel-buffering here: a visitor's response has none either, and his is what adit doctor asks for. */
static int answer_fields(struct fields *f)
{
	int err = fields_add(f, STR("adit-version"), STR(CARRIER_VERSION));

	err |= fields_add(f, STR("cache-control"), STR("no-store"));
	return err | fields_add(f, STR("content-type"), STR("application/octet-stream"));
}

/* ---- GET: its head, a piece, a piece and the end */

static void send_piece(struct probe *p)
{
	static const uint8_t piece[PROBE_PIECE];
	bool last = p->pieces++ != 0;

	half_body(&p->half, piece, sizeof(piece)); /* both fit the credit that every asking half grants (page.h) */
	if (last)
		end_answered(p);
	else if (!p->over)
		timer_set(&p->timer, PROBE_GAP_MS);
}

static void begin_pieces(struct probe *p)
{
	struct head h;

	head_init(&h);
	h.status = 200;
	h.length = HEAD_LENGTH_UNKNOWN;
	if (answer_fields(&h.fields) == 0) {
		half_head(&p->half, &h, false);
		if (!p->over)
			timer_set(&p->timer, PROBE_LEAD_MS);
	} else {
		end_probe(p);
	}
	head_free(&h);
}

/* ---- POST: when did its body come? */

static void answer_upload(struct probe *p, int status)
{
	char text[STR_U64_MAX];
	struct head h;
	int err;

	head_init(&h);
	h.status = status;
	h.length = status == 204 ? HEAD_LENGTH_UNKNOWN : 0;
	err = answer_fields(&h.fields);
	if (!err && status == 204)
		err = fields_add(&h.fields, STR("adit-gap"), str_of_u64(loop_ms(p->table->loop) - p->first_ms, text));
	if (!err)
		half_head(&p->half, &h, true);
	head_free(&h);
	if (err)
		end_probe(p);
	else
		end_answered(p);
}

/* ---- a request speaks */

static void op_head(struct half *self, const struct head *h, bool bodyless)
{
	(void)self;
	(void)h;
	(void)bodyless;
}

static void op_body(struct half *self, const uint8_t *data, size_t n)
{
	struct probe *p = of_half(self);

	(void)data;
	if (p->over)
		return;
	if (!p->got)
		p->first_ms = loop_ms(p->table->loop);
	p->got += n;
	if (p->got > PROBE_BODY_MAX)
		answer_upload(p, 413);
}

static void op_end(struct half *self, const struct fields *trailers)
{
	struct probe *p = of_half(self);

	(void)trailers;
	p->request_ended = true;
	if (p->over || p->kind != PROBE_UPLOAD)
		return;
	answer_upload(p, p->got ? 204 : 400);
}

static void op_credit(struct half *self, size_t n)
{
	(void)self;
	(void)n;
}

static void op_abort(struct half *self, int err)
{
	(void)err;
	end_probe(of_half(self));
}

static const struct half_ops half_ops = {op_head, op_body, op_end, op_credit, op_abort};

/* ---- a held connection */

static void on_readable(void *owner)
{
	struct probe *p = owner;
	uint8_t block[64];
	struct iovec v = {block, 1};
	ssize_t n = stream_read(p->stream, block, sizeof(block));

	if (n == ADIT_ERR_AGAIN)
		return;
	if (n <= 0 || p->echoed || stream_write(p->stream, &v, 1) != 1)
		end_probe(p);
	else
		p->echoed = true;
}

static void on_writable(void *owner)
{
	(void)owner;
}

static const struct stream_handler handler = {on_readable, on_writable};

/* ---- all of them */

static void on_timer(void *arg)
{
	struct probe *p = arg;

	switch (p->kind) {
	case PROBE_PIECES:
		send_piece(p);
		break;
	case PROBE_UPLOAD:
		answer_upload(p, 408);
		break;
	case PROBE_HELD:
		end_probe(p);
		break;
	}
}

static struct probe *probe_new(struct probe_table *t, enum probe_kind kind, const uint8_t token[SHA256_LEN])
{
	struct probe *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->table = t;
	p->kind = kind;
	p->half.ops = &half_ops;
	memcpy(p->token, token, SHA256_LEN);
	p->free = (struct task){.run = release, .arg = p};
	timer_init(&p->timer, t->loop, on_timer, p);
	list_init(&p->node);
	list_append(&t->probes, &p->node);
	t->count++;
	return p;
}

void probe_answer_pieces(struct probe_table *t, struct half *asking, const uint8_t token[SHA256_LEN])
{
	struct probe *p = probe_new(t, PROBE_PIECES, token);

	if (!p)
		return;
	half_link(&p->half, asking);
	begin_pieces(p);
}

void probe_answer_upload(struct probe_table *t, struct half *asking, const uint8_t token[SHA256_LEN])
{
	struct probe *p = probe_new(t, PROBE_UPLOAD, token);

	if (!p)
		return;
	timer_set(&p->timer, PROBE_ASK_MS);
	half_link(&p->half, asking);
	half_credit(&p->half, PROBE_BODY_MAX + 1); /* one more, to see that there is more */
}

void probe_hold(struct probe_table *t, struct stream *s, const uint8_t token[SHA256_LEN])
{
	struct probe *p = probe_table_full(t, token) ? NULL : probe_new(t, PROBE_HELD, token);

	if (!p) {
		stream_free(&s);
		return;
	}
	p->stream = s;
	timer_set(&p->timer, PROBE_HOLD_MS);
	stream_own(s, &handler, p);
	stream_pause(s, false);
}

void probe_table_init(struct probe_table *t, struct loop *l)
{
	*t = (struct probe_table){.loop = l};
	list_init(&t->probes);
}

void probe_table_clear(struct probe_table *t)
{
	while (!list_empty(&t->probes))
		end_probe(container_of(t->probes.next, struct probe, node));
}

void probe_table_drop_held(struct probe_table *t)
{
	struct list *at, *tmp;

	list_each(at, tmp, &t->probes) {
		struct probe *p = container_of(at, struct probe, node);

		if (p->kind == PROBE_HELD)
			end_probe(p);
	}
}

int probe_table_full(const struct probe_table *t, const uint8_t token[SHA256_LEN])
{
	const struct list *at;
	unsigned same = 0;

	for (at = t->probes.next; at != &t->probes; at = at->next)
		same += digest_equal(container_of(at, struct probe, node)->token, token, SHA256_LEN);
	if (same >= PROBES_PER_TOKEN)
		return 429;
	return t->count >= PROBES_MAX ? 503 : 0;
}
