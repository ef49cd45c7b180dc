/* What stands around a carrier's bytes: headers before them, answers to the requests that open one, poll messages.
 * In pieces everything ends as it does at once, and nothing behind a header is taken with it.
 * Input: the first byte modulo 8 chooses
 *  0  a PROXY protocol header      1  a proxy's answer to CONNECT
 *  2  an answer to `Upgrade: adit` 3  to a WebSocket's, `@` standing for the Sec-WebSocket-Accept that is wanted
 *  4  HTTP/2 as an ingress says it to ws-h2
 *  5  answers to the requests of a poll carrier over HTTP/1.1, 6 over HTTP/2
 *  7  requests of a poll carrier, as aditd gets them (carrier_fuzz_poll.c)
 * then the size of the pieces, and the bytes.
 */
#include "carrier_fuzz.h"

#include "base/err.h"
#include "carrier/carrier.h"
#include "carrier/ws.h"
#include "io/proxy_connect.h"
#include "io/proxyproto.h"
#include "unit/pipe_script.h"

#define ROOM (4 * 1024 * 1024)
#define TURNS 200
/* Timers that run when everything has come. */
#define JUMPS 40

/* ---- nobody can be dialled */

struct dial {
	struct loop *loop;
	struct task fail, free;
	dial_fn *done;
	void *arg;
};

static void dial_fail(void *arg)
{
	struct dial *d = arg;

	task_post_free(d->loop, &d->free);
	d->done(d->arg, NULL, ADIT_ERR_REFUSED, "nobody there");
}

static void dial_release(void *arg)
{
	free(arg);
}

struct dial *dial_start(struct loop *l, struct resolver *r, const struct dial_options *o, dial_fn *done, void *arg)
{
	struct dial *d = calloc(1, sizeof(*d));

	(void)r;
	(void)o;
	REQUIRE(d != NULL);
	d->loop = l;
	d->done = done;
	d->arg = arg;
	d->fail = (struct task){.run = dial_fail, .arg = d};
	d->free = (struct task){.run = dial_release, .arg = d};
	task_post_next(l, &d->fail);
	return d;
}

void dial_cancel(struct dial **d)
{
	if (!*d)
		return;
	task_cancel((*d)->loop, &(*d)->fail);
	task_post_free((*d)->loop, &(*d)->free);
	*d = NULL;
}

/* ---- time, for both files */

void carrier_turn(struct loop *l)
{
	for (unsigned i = 0; i < TURNS && loop_turn(l); i++)
		;
}

bool carrier_jump(struct loop *l, uint64_t ms)
{
	uint64_t until = l->ms + ms;
	bool any = loop_jump(l, until);

	if (!any)
		l->ms = until;
	return any;
}

unsigned carrier_timers(const struct loop *l)
{
	return l->timer_count;
}

/* ---- a connection whose far end is the input */

static void turn(struct loop *l, struct pipe *p)
{
	for (unsigned i = 0; i < TURNS; i++) {
		bool busy = loop_turn(l);

		busy = pipe_move(p, SIZE_MAX) > 0 || busy;
		busy = pipe_tell(p) || busy;
		if (!busy)
			return;
	}
}

static void say(struct pipe *p, const void *data, size_t n)
{
	REQUIRE(pipe_add(&p->way[1], data, n, ROOM) == n);
}

/* ---- 0: a PROXY protocol header */

struct announced {
	struct stream *s;
	bool told;
};

static void on_announced(void *arg, struct stream *s)
{
	struct announced *a = arg;

	a->s = s;
	a->told = true;
}

static void announce(struct fuzz_in in, size_t step, struct fuzz_text *t)
{
	struct loop *l = loop_new();
	struct pipe *p = pipe_new(l, ROOM);
	struct stream *s = &p->end[0].base;
	struct proxyproto_queue q;
	struct announced a = {NULL, false};
	uint8_t rest[4096];
	ssize_t n;

	proxyproto_init(&q);
	REQUIRE(proxyproto_read(&q, &s, on_announced, &a) == 0 && !s);
	while (in.n) {
		struct fuzz_in part = fuzz_part(&in, step);

		say(p, part.p, part.n);
		turn(l, p);
	}
	while (loop_jump(l, UINT64_MAX))
		turn(l, p);
	REQUIRE(q.count == 0 && list_empty(&q.list) && l->timer_count == 0);
	REQUIRE(a.told == (a.s != NULL));
	if (a.told) {
		fuzz_say(t, "%s %u\n", a.s->peer.ip, a.s->peer.port);
		while ((n = stream_read(a.s, rest, sizeof(rest))) > 0)
			fuzz_add(t, rest, (size_t)n);
		stream_free(&a.s);
	}
	loop_settle(l);
	REQUIRE(p->end[0].destroyed);
	pipe_free(p);
	loop_free(&l);
}

/* ---- 1: a proxy's answer */

static void proxy(struct fuzz_in in, size_t step, struct fuzz_text *t)
{
	struct proxy_answer a = {0};
	size_t all = 0;
	int r = 0;

	while (in.n && !r) {
		struct fuzz_in part = fuzz_part(&in, step);
		uint8_t *copy = fuzz_copy(part);
		size_t used;

		r = proxy_answer_feed(&a, copy, part.n, &used);
		REQUIRE(used <= part.n && (r || used == part.n));
		all += used;
		free(copy);
	}
	REQUIRE(all <= PROXY_ANSWER_MAX);
	REQUIRE(fuzz_printable(a.reason, strlen(a.reason), false));
	REQUIRE(r != 1 || (a.status >= 200 && a.status <= 999));
	fuzz_say(t, "%d %zu %d %s", r, all, r == 1 ? a.status : 0, r == 1 ? a.reason : "");
}

/* ---- 2 to 6: adit's requests */

struct attempt {
	struct loop *loop;
	struct pipe *pipe;
	struct carrier_attempt *running;
	struct stream *carrier;
	bool told;
	struct fuzz_text *text;
};

static void on_readable(void *owner)
{
	struct attempt *x = owner;
	uint8_t block[4096];
	ssize_t n;

	while (x->carrier && (n = stream_read(x->carrier, block, sizeof(block))) != ADIT_ERR_AGAIN) {
		if (n > 0) {
			fuzz_add(x->text, block, (size_t)n);
			continue;
		}
		fuzz_say(x->text, "\n%s", err_name((int)n));
		stream_free(&x->carrier);
	}
}

static void on_writable(void *owner)
{
	(void)owner;
}

static void on_result(void *arg, const struct carrier_result *r)
{
	static const struct stream_handler handler = {on_readable, on_writable};
	struct attempt *x = arg;
	uint8_t block[256];
	size_t n;

	REQUIRE(!x->told && (r->err == 0) == (r->stream != NULL));
	x->told = true;
	x->running = NULL;
	REQUIRE(fuzz_printable(r->detail, strlen(r->detail), false) && strlen(r->detail) <= CARRIER_DETAIL_MAX);
	fuzz_say(x->text, "%s %d %d %u\n", err_name(r->err), r->status, r->ours, r->retry_after);
	while ((n = buf_take(r->rest, block, sizeof(block))) > 0)
		if (r->stream)
			fuzz_add(x->text, block, n);
	x->carrier = r->stream;
	if (!x->carrier)
		return;
	stream_own(x->carrier, &handler, x);
	stream_pause(x->carrier, false);
}

/* The accept for the key in the request that was written. */
static void find_accept(struct pipe *p, char accept[WS_ACCEPT_TEXT])
{
	static const char name[] = "sec-websocket-key: ";
	const struct pipe_way *w = &p->way[0];
	const char *at = w->written ? memmem(w->bytes, w->written, name, sizeof(name) - 1) : NULL;

	*accept = '\0';
	if (at)
		REQUIRE(ws_accept_for(at + sizeof(name) - 1, WS_KEY_TEXT - 1, accept) == 0);
}

static void with_accept(struct fuzz_text *out, struct fuzz_in in, const char *accept)
{
	bool done = !*accept;

	for (size_t i = 0; i < in.n; i++) {
		if (in.p[i] != '@' || done) {
			fuzz_add(out, in.p + i, 1);
			continue;
		}
		fuzz_say(out, "%s", accept);
		done = true;
	}
}

static void feed(struct attempt *x, struct fuzz_in in, size_t step)
{
	static const char greeting[] = "link bytes";
	const struct iovec v = {(void *)(uintptr_t)greeting, sizeof(greeting)};
	bool greeted = false;

	while (in.n) {
		struct fuzz_in part = fuzz_part(&in, step);

		say(x->pipe, part.p, part.n);
		turn(x->loop, x->pipe);
		if (x->carrier && !greeted)
			(void)stream_write(x->carrier, &v, 1);
		greeted = greeted || x->carrier;
	}
	x->pipe->end[1].finished = true;
	turn(x->loop, x->pipe);
}

static void attempt(struct fuzz_in in, size_t step, const struct carrier_kind *kind, const char *alpn,
                    struct fuzz_text *t)
{
	const struct dial_options dial = {.host = "127.0.0.1", .port = 1};
	const struct carrier_target target = {
		.host = "t.test", .link_id = "00112233445566778899aabbccddeeff", .token = "secret", .agent = "fuzz",
		.dial = &dial, .poll_hold_ms = 20000,
	};
	struct attempt x = {.loop = loop_new(), .text = t};
	struct fuzz_text answers = {NULL, 0, 0};
	char accept[WS_ACCEPT_TEXT];

	x.pipe = pipe_new(x.loop, ROOM);
	x.pipe->end[0].base.alpn = alpn;
	x.running = kind->start(x.loop, &x.pipe->end[0].base, &target, on_result, &x);
	REQUIRE(x.running != NULL);
	turn(x.loop, x.pipe);
	find_accept(x.pipe, accept);
	with_accept(&answers, in, accept);
	feed(&x, (struct fuzz_in){(const uint8_t *)answers.p, answers.n}, step);
	for (unsigned i = 0; i < JUMPS && loop_jump(x.loop, UINT64_MAX); i++)
		turn(x.loop, x.pipe);
	if (x.running)
		kind->cancel(&x.running);
	stream_free(&x.carrier);
	loop_settle(x.loop);
	REQUIRE(x.pipe->end[0].destroyed && x.loop->timer_count == 0);
	pipe_free(x.pipe);
	loop_free(&x.loop);
	fuzz_text_free(&answers);
}

/* ---- which */

static void run(uint8_t which, struct fuzz_in in, size_t step, struct fuzz_text *t)
{
	switch (which % 8) {
	case 0:
		announce(in, step, t);
		break;
	case 1:
		proxy(in, step, t);
		break;
	case 2:
		attempt(in, step, &carrier_direct, "", t);
		break;
	case 3:
		attempt(in, step, &carrier_ws_h1, "", t);
		break;
	case 4:
		attempt(in, step, &carrier_ws_h2, "h2", t);
		break;
	case 5:
		attempt(in, step, &carrier_poll, "http/1.1", t);
		break;
	case 6:
		attempt(in, step, &carrier_poll, "h2", t);
		break;
	default:
		carrier_fuzz_poll(in);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct fuzz_in in = {data, n};
	uint8_t which = fuzz_byte(&in);
	size_t step = (size_t)fuzz_byte(&in) + 1;
	struct fuzz_text whole = {NULL, 0, 0}, cut = {NULL, 0, 0};

	run(which, in, in.n + 1, &whole);
	run(which, in, step, &cut);
	/* the others: an answer before its request is one thing, behind it another */
	if (which % 8 < 4)
		fuzz_require_same(&whole, &cut, "what comes of pieces");
	fuzz_text_free(&whole);
	fuzz_text_free(&cut);
	return 0;
}
