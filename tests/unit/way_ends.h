/* way_ends: the outer ends of way_world: a visitor and origin servers, in HTTP/1.1 or HTTP/2, and what they say to each
 * other. For unit tests only; they are not under test, and have a loop of their own.
 */
#ifndef ADIT_TESTS_WAY_ENDS_H
#define ADIT_TESTS_WAY_ENDS_H

#include "dial_script.h"
#include "edge/edge_h1.h"
#include "edge/edge_h2.h"
#include "h2/pump.h"
#include "half_script.h"
#include "http/forward.h"
#include "http/h1.h"
#include "origin/origin.h"
#include "pipe_script.h"

#define WAY_DIALS 48
#define WAY_TALKS 6
/** Of the script's clock: connections that wait for somebody end by then. */
#define WAY_PATIENCE_MS 700000

/** One request and its answer, as both outer ends hear of them. */
struct way_talk {
	const char *method;     /* "GET", "POST", "HEAD"; "UPGRADE": a GET for a WebSocket */
	size_t up, down;        /* body bytes */
	int status;
	const char *fields;     /* of the response */
	const char *trailers;   /* of both messages; "" = none */
};

static const struct way_talk way_talks[WAY_TALKS] = {
	{"GET", 0, 5000, 200, "x-a=1", ""}, {"POST", 3000, 7, 201, "x-b=2", "x-sum=9"}, {"HEAD", 0, 0, 200, "x-c=3", ""},
	{"GET", 0, 0, 204, "", ""}, {"POST", 30000, 70000, 200, "", ""}, {"UPGRADE", 400, 300, 101, "", ""},
};

struct way;

/** One end outside: it speaks HTTP/1.1 by a parser, or HTTP/2 by an h2 with its pump. */
struct way_end {
	struct way *way;
	struct stream *stream;
	struct h1_parser *parser;
	struct buf out;
	size_t talk;            /* HTTP/1.1: which exchange runs */
	bool heard;             /* its message has come to the end */
	struct h2 *h2;
	struct h2_pump pump;
	struct budget budget;
	bool gone;
};

struct way {
	struct loop *loop, *outside;
	bool h2;
	uint32_t whim;          /* of all pipes */
	size_t room;
	struct pipe *pipes[WAY_DIALS + 1];
	unsigned pipe_count;
	struct way_end visitor, servers[WAY_DIALS];
	unsigned server_count;
	struct edge_h1 *edge_h1;
	struct edge_h2 *edge_h2;
	struct origin *origin;
	struct resolver resolver;
	struct budget budget;
	unsigned begun, done;   /* exchanges */
	struct half_script asks[WAY_TALKS], answers[WAY_TALKS]; /* the outer halves; HTTP/1.1 ends write into them too */
	bool answered[WAY_TALKS], ended[WAY_TALKS], asked_end[WAY_TALKS];
};

/* ---- outside: HTTP/2 */

static inline void way_end_woken(void *owner)
{
	h2_pump_wake(&((struct way_end *)owner)->pump);
}

static inline void way_end_gone(void *owner, int err, const char *detail)
{
	struct way_end *e = owner;

	(void)err;
	(void)detail;
	e->gone = true;
	h2_free(&e->h2, ADIT_ERR_LINK_LOST);
}

static inline size_t way_talk_of(const struct head *h)
{
	struct str path = head_get(h, HEAD_PATH);

	CU_ASSERT_FATAL(path.n == 2 && path.p[1] >= '0' && path.p[1] < '0' + WAY_TALKS);
	return (size_t)(path.p[1] - '0');
}

static inline void way_server_request(void *owner, struct h2_stream *s, const struct head *h, bool bodyless)
{
	struct way *w = ((struct way_end *)owner)->way;
	struct half_script *a = &w->answers[way_talk_of(h)];

	/* one that was tried again: the first try's end has been told */
	script_init(a);
	a->keep_up = true;
	half_link(&a->half, h2_stream_half(s));
	script_head(&a->half, h, bodyless);
	script_grant(a, 20000);
	w->answered[way_talk_of(h)] = w->ended[way_talk_of(h)] = false;
}

static inline void way_end_h2(struct way_end *e, enum h2_role role)
{
	static const struct h2_events events = {way_end_woken, way_server_request, NULL, NULL};
	static const struct h2_pump_events pump_events = {NULL, NULL, way_end_gone};
	const struct h2_options o = {.role = role, .budget = &e->budget, .tunnel = true};

	e->budget = (struct budget){.limit = BUDGET_TUNNEL};
	e->h2 = h2_new(&o, &events, e);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e->h2);
	h2_pump_init(&e->pump, e->way->outside, e->h2, &pump_events, e);
	h2_pump_start(&e->pump, e->stream);
	e->stream = NULL;
}

/* What the outer halves do next: as far as credit goes, in HTTP/2 and in HTTP/1.1 alike. */
static inline void way_visit(struct way *w, size_t i)
{
	const struct way_talk *t = &way_talks[i];
	struct half_script *v = &w->asks[i];

	if (!v->half.peer || w->asked_end[i] || (t->status == 101 && !v->began))
		return;
	script_send(v, t->up - v->sent);
	if (v->sent < t->up)
		return;
	w->asked_end[i] = true;
	script_end_with(v, t->up && t->status != 101 ? t->trailers : "");
}

static inline void way_answer(struct way *w, size_t i)
{
	const struct way_talk *t = &way_talks[i];
	struct half_script *a = &w->answers[i];
	bool bodyless = !t->down && t->status != 101;

	/* after the whole request, but an upgrade has none */
	if (!a->half.peer || w->ended[i] || (!a->ended && t->status != 101))
		return;
	if (!w->answered[i]) {
		w->answered[i] = true;
		script_respond(a, t->status, HEAD_LENGTH_UNKNOWN, bodyless, t->fields);
		w->ended[i] = bodyless;
	}
	script_send(a, t->down - a->sent);
	if (w->ended[i] || a->sent < t->down || (t->status == 101 && a->got < t->up))
		return;
	w->ended[i] = true;
	script_end_with(a, t->status == 101 ? "" : t->trailers);
}

static inline void way_ask_h2(struct way *w, size_t i)
{
	const struct way_talk *t = &way_talks[i];
	const char path[] = {'/', (char)('0' + i), '\0'};
	struct half_script *v = &w->asks[i];
	struct head h;
	int err;
	struct half *half = w->visitor.h2 ? h2_ask(w->visitor.h2, &err) : NULL;

	script_init(v);
	if (!half)
		return;
	v->keep_up = true;
	half_link(&v->half, half);
	script_make_request(&h, t->status == 101 ? "GET" : t->method, t->status == 101 ? "echo" : "", "");
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, str_of(path)), 0);
	if (!t->up)
		h.length = 0;
	script_grant(v, 30000);
	half_head(&v->half, &h, !t->up);
	head_free(&h);
	w->asked_end[i] = !t->up;
	if (!t->up)
		half_end(&v->half, NULL);
}

/* ---- outside: HTTP/1.1, one exchange after another on a connection; what is read is told to the same scripts */

static inline void way_h1_write(struct way_end *e)
{
	struct iovec iov[4];

	while (e->stream && e->out.len) {
		ssize_t n = stream_write(e->stream, iov, buf_iov(&e->out, iov, 4));

		if (n <= 0)
			return;
		buf_drop(&e->out, (size_t)n);
	}
}

static inline struct half_script *way_heard(struct way_end *e)
{
	return e == &e->way->visitor ? &e->way->asks[e->talk] : &e->way->answers[e->talk];
}

static inline int way_h1_head(void *arg, struct head *h, bool bodyless)
{
	struct way_end *e = arg;

	if (e != &e->way->visitor) {
		e->talk = way_talk_of(h);
		script_init(way_heard(e));
		e->way->answered[e->talk] = false;
	}
	forward_strip(&h->fields);
	script_head(&way_heard(e)->half, h, bodyless);
	return 0;
}

static inline int way_h1_body(void *arg, const uint8_t *p, size_t n)
{
	struct half_script *s = way_heard(arg);

	s->granted = n;
	script_body(&s->half, p, n);
	return 0;
}

static inline int way_h1_end(void *arg, const struct fields *trailers)
{
	script_end(&way_heard(arg)->half, trailers);
	((struct way_end *)arg)->heard = true;
	return H1_PAUSE;
}

static const struct h1_events way_h1_events = {way_h1_head, way_h1_body, way_h1_end};

static inline void way_h1_bytes(struct half_script *s, struct buf *out, enum h1_framing framing, size_t n)
{
	uint8_t block[1000];

	while (s->sent < n) {
		size_t part = n - s->sent < sizeof(block) ? n - s->sent : sizeof(block);

		for (size_t i = 0; i < part; i++)
			block[i] = script_byte(s->sent + i);
		CU_ASSERT_EQUAL(h1_write_body(out, framing, block, part), 0);
		s->sent += part;
	}
}

static inline void way_h1_end_with(struct buf *out, enum h1_framing framing, const char *trailers)
{
	struct fields f;

	fields_init(&f);
	script_fields(&f, trailers);
	CU_ASSERT_EQUAL(h1_write_end(out, framing, &f), 0);
	fields_free(&f);
}

static inline void way_ask_h1(struct way *w, size_t i)
{
	const struct way_talk *t = &way_talks[i];
	const char path[] = {'/', (char)('0' + i), '\0'};
	struct way_end *v = &w->visitor;
	enum h1_framing framing;
	struct head h;

	v->talk = i;
	script_init(&w->asks[i]);
	h1_expect(v->parser, str_of(t->status == 101 ? "GET" : t->method));
	script_make_request(&h, t->status == 101 ? "GET" : t->method, t->status == 101 ? "echo" : "", "");
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PATH, str_of(path)), 0);
	if (!t->up || t->status == 101)
		h.length = 0;
	CU_ASSERT_EQUAL(h1_write_request(&v->out, &h, &framing), 0);
	head_free(&h);
	if (t->status != 101) {
		way_h1_bytes(&w->asks[i], &v->out, framing, t->up);
		way_h1_end_with(&v->out, framing, t->trailers);
	}
	way_h1_write(v);
}

static inline void way_answer_h1(struct way_end *e)
{
	const struct way_talk *t = &way_talks[e->talk];
	struct half_script *a = way_heard(e);
	const struct h1_asked asked = {.was_head = strcmp(t->method, "HEAD") == 0, .minor = 1, .keep = true};
	enum h1_framing framing;
	struct head h;

	e->way->answered[e->talk] = true;
	head_init(&h);
	h.status = t->status;
	h.length = t->down || t->status == 101 ? HEAD_LENGTH_UNKNOWN : 0;
	script_fields(&h.fields, t->fields);
	SCRIPT_UNFAILING(true);
	CU_ASSERT_EQUAL(head_set(&h, HEAD_PROTOCOL, t->status == 101 ? STR("echo") : STR("")), 0);
	SCRIPT_UNFAILING(false);
	CU_ASSERT_EQUAL(h1_write_response(&e->out, &h, &asked, &framing), 0);
	head_free(&h);
	way_h1_bytes(a, &e->out, framing, t->down);
	way_h1_end_with(&e->out, framing, t->trailers);
	way_h1_write(e);
}

/* An upgraded connection: bytes as they come, until the end. */
static inline void way_h1_tunnel(struct way_end *e, const uint8_t *p, size_t n)
{
	const struct way_talk *t = &way_talks[e->talk];
	struct half_script *s = way_heard(e);

	if (n)
		way_h1_body(e, p, n);
	if (e == &e->way->visitor && !s->sent) {
		way_h1_bytes(s, &e->out, H1_BODY_TUNNEL, t->up);
		way_h1_write(e);
	}
	if (e != &e->way->visitor && s->got == t->up && !s->ended) {
		script_say(s, "all|");
		s->ended = true;
		if (!e->out.len)
			stream_finish(e->stream);
	}
}

static inline void way_h1_close(struct way_end *e)
{
	stream_free(&e->stream);
	h1_free(&e->parser);
	buf_clear(&e->out);
	e->gone = true;
}

static inline void way_h1_take(struct way_end *e, const uint8_t *p, size_t n)
{
	size_t used = 0;
	bool upgraded = way_talks[e->talk].status == 101 && way_heard(e)->began;
	int err = upgraded ? 0 : h1_parse(e->parser, p, n, &used);

	CU_ASSERT_EQUAL(err, 0);
	if (way_heard(e)->began && way_talks[e->talk].status == 101) {
		if (e != &e->way->visitor && !e->way->answered[e->talk])
			way_answer_h1(e);
		way_h1_tunnel(e, p + used, n - used);
		return;
	}
	if (!e->heard)
		return;
	e->heard = false;
	if (e != &e->way->visitor)
		way_answer_h1(e);
	h1_next(e->parser);
	CU_ASSERT_EQUAL(used, n); /* neither side pipelines */
}

static inline void way_h1_readable(void *owner)
{
	struct way_end *e = owner;
	uint8_t block[4096];
	ssize_t n;

	while (e->stream && (n = stream_read(e->stream, block, sizeof(block))) != ADIT_ERR_AGAIN) {
		if (n > 0) {
			way_h1_take(e, block, (size_t)n);
			continue;
		}
		if (way_talks[e->talk].status == 101 && e == &e->way->visitor && way_heard(e)->began)
			way_heard(e)->ended = true;
		way_h1_close(e);
	}
}

static inline void way_h1_writable(void *owner)
{
	struct way_end *e = owner;

	way_h1_write(e);
	if (e != &e->way->visitor && way_heard(e)->ended && way_talks[e->talk].status == 101 && !e->out.len && e->stream)
		stream_finish(e->stream);
}

static inline void way_end_h1(struct way_end *e, enum h1_kind kind)
{
	static const struct stream_handler handler = {way_h1_readable, way_h1_writable};

	e->parser = h1_new(kind, &way_h1_events, e);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e->parser);
	stream_own(e->stream, &handler, e);
	stream_pause(e->stream, false);
}

#endif
