/* HTTP/1: connections of requests or responses, chunked bodies among them.
 * However the bytes are cut, the same is told. What was read and is written anew for the next hop is read there as
 * the same messages, ends at the same byte, and leaves nothing over: no request hides in another one.
 *
 * Input: choices (bit 0: responses; bits 1, 2: to what method; bit 3: a FIN follows; bit 4: a head stands already
 * and the input is its chunked body; bit 5: pause at each event), size of the pieces, bytes of the connection.
 */
#include "fuzz.h"

#include "base/err.h"
#include "http/forward.h"
#include "http/h1.h"

struct reading {
	struct h1_parser *p;
	enum h1_kind kind;
	struct str asked;
	int pause;
	bool began, ended, tunnel;
	int err;
	struct fuzz_text told;
	size_t told_before_err;
	/* what is written anew; NULL: nothing */
	struct buf *out;
	enum h1_framing framing;
	bool unwritable;
};

static const char *const methods[] = {"GET", "HEAD", "CONNECT", "POST"};

/* ---- events */

static void say_str(struct fuzz_text *t, const char *name, struct str s)
{
	fuzz_say(t, " %s=", name);
	fuzz_add(t, s.p, s.n);
}

static void say_fields(struct fuzz_text *t, const struct fields *f)
{
	for (uint32_t i = 0; i < f->n; i++) {
		fuzz_add(t, "|", 1);
		fuzz_add(t, fields_name(f, i).p, fields_name(f, i).n);
		fuzz_add(t, "=", 1);
		fuzz_add(t, fields_value(f, i).p, fields_value(f, i).n);
	}
	fuzz_add(t, "\n", 1);
}

static void write_head(struct reading *r, const struct head *h)
{
	const struct h1_asked asked = {
		.was_head = str_eq(r->asked, STR("HEAD")), .was_connect = str_eq(r->asked, STR("CONNECT")), .minor = 1,
		.keep = true,
	};
	int err;

	/* HTTP/1.0 without Host: the edge has no name for it and refuses it */
	if (r->kind == H1_REQUEST && !head_get(h, HEAD_AUTHORITY).n) {
		r->unwritable = true;
		return;
	}
	if (r->kind == H1_REQUEST)
		err = h1_write_request(r->out, h, &r->framing);
	else
		err = h1_write_response(r->out, h, &asked, &r->framing);
	REQUIRE(err == 0);
}

/* As the edge passes a request on. Whatever the visitor said of himself, only a trusted one is believed, and nothing
 * that is added can break a line. */
static void check_forwarded(const struct head *h, bool trusted)
{
	const struct forward_visitor v = {.address = STR("2001:db8::1"), .tls = trusted, .trusted = trusted};
	struct str host = forward_host(h, trusted), client = forward_client(h, &v);
	struct buf out = BUF_INIT;
	enum h1_framing framing;
	struct head copy;

	REQUIRE(host.n == 0 || host.p[0] == '[' || !memchr(host.p, ':', host.n));
	REQUIRE(client.n > 0 && (trusted || str_eq(client, v.address)));
	head_init(&copy);
	REQUIRE(head_copy(&copy, h) == 0);
	if (forward_request(&copy, &v) == 0) {
		struct str told = fields_get(&copy.fields, STR("x-forwarded-for"));

		REQUIRE(told.n > 0 && (trusted || str_eq(told, v.address)));
		REQUIRE(trusted || str_eq(fields_get(&copy.fields, STR("x-forwarded-proto")), STR("http")));
		REQUIRE(h1_write_request(&out, &copy, &framing) == 0);
	}
	buf_clear(&out);
	head_free(&copy);
}

static int on_head(void *arg, struct head *h, bool bodyless)
{
	struct reading *r = arg;
	struct str protocol = head_get(h, HEAD_PROTOCOL);

	REQUIRE(!r->ended && !r->tunnel);
	REQUIRE(h->fields.n <= HTTP_FIELDS_MAX && h->fields.used <= HTTP_HEAD_MAX);
	forward_strip(&h->fields);
	(void)fields_remove(&h->fields, STR("host")); /* of a response: not written */
	r->began = h->status == 0 || h->status >= 200 || h->status == 101;
	if (!h->status)
		r->tunnel = protocol.n || str_eq(head_get(h, HEAD_METHOD), STR("CONNECT"));
	else
		r->tunnel = h->status == 101 ||
		            (str_eq(r->asked, STR("CONNECT")) && h->status >= 200 && h->status < 300);
	fuzz_say(&r->told, "%d %lld%s", h->status, (long long)h->length, bodyless ? " none" : "");
	say_str(&r->told, "method", head_get(h, HEAD_METHOD));
	say_str(&r->told, "authority", head_get(h, HEAD_AUTHORITY));
	say_str(&r->told, "path", head_get(h, HEAD_PATH));
	say_str(&r->told, "protocol", protocol);
	say_fields(&r->told, &h->fields);
	if (r->out && !r->unwritable)
		write_head(r, h);
	if (r->out && r->kind == H1_REQUEST) {
		check_forwarded(h, false);
		check_forwarded(h, true);
	}
	return r->pause;
}

static int on_body(void *arg, const uint8_t *p, size_t n)
{
	struct reading *r = arg;

	REQUIRE(r->began && !r->ended && n > 0);
	fuzz_add(&r->told, p, n);
	if (r->out && !r->unwritable)
		REQUIRE(h1_write_body(r->out, r->framing, p, n) == 0);
	return r->pause;
}

static int on_end(void *arg, const struct fields *trailers)
{
	struct reading *r = arg;

	REQUIRE(r->began && !r->ended);
	r->ended = true;
	fuzz_say(&r->told, "\nend");
	say_fields(&r->told, trailers);
	if (r->out && !r->unwritable)
		REQUIRE(h1_write_end(r->out, r->framing, trailers) == 0);
	return r->pause;
}

static const struct h1_events events = {on_head, on_body, on_end};

/* ---- feeding */

static void next_message(struct reading *r)
{
	r->began = r->ended = false;
	r->framing = H1_BODY_NONE;
	h1_next(r->p);
	REQUIRE(h1_idle(r->p));
	if (r->kind == H1_RESPONSE)
		h1_expect(r->p, r->asked);
}

/* All of one piece; a copy of its own size, which is gone afterwards. */
static void feed(struct reading *r, const uint8_t *p, size_t n)
{
	struct fuzz_in in = {p, n};
	uint8_t *copy = fuzz_copy(in);
	size_t at = 0, used, before;

	do {
		before = r->told.n;
		r->err = h1_parse(r->p, copy + at, n - at, &used);
		REQUIRE(used <= n - at);
		at += used;
		if (!r->err && r->ended)
			next_message(r);
	} while (!r->err && (used || r->told.n != before));
	if (!r->err && r->tunnel) {
		/* these bytes are no HTTP any more: passed on as they are */
		fuzz_add(&r->told, copy + at, n - at);
		if (r->out && !r->unwritable)
			REQUIRE(h1_write_body(r->out, H1_BODY_TUNNEL, copy + at, n - at) == 0);
	} else {
		REQUIRE(r->err || at == n);
	}
	memset(copy, 'X', n);
	free(copy);
}

static void read_all(struct reading *r, const uint8_t *p, size_t n, size_t step, bool fin)
{
	r->p = h1_new(r->kind, &events, r);
	REQUIRE(r->p != NULL);
	if (r->kind == H1_RESPONSE)
		h1_expect(r->p, r->asked);
	for (size_t at = 0; at < n && !r->err; at += step)
		feed(r, p + at, n - at < step ? n - at : step);
	if (!r->err && fin)
		r->err = h1_eof(r->p);
	r->told_before_err = r->told.n;
	if (r->err) {
		size_t used;

		REQUIRE(fin || h1_parse(r->p, p, n, &used) == r->err);
		fuzz_say(&r->told, "\n%s", err_name(r->err));
	}
	h1_free(&r->p);
}

static struct reading reading_like(const struct reading *r)
{
	return (struct reading){.kind = r->kind, .asked = r->asked};
}

/* ---- the properties */

static void cut_tells_the_same(const struct reading *whole, struct fuzz_in in, size_t step, int pause, bool fin)
{
	struct reading cut = reading_like(whole);

	cut.pause = pause;
	read_all(&cut, in.p, in.n, step, fin);
	REQUIRE(cut.err == whole->err);
	fuzz_require_same(&whole->told, &cut.told, "what is told of pieces");
	fuzz_text_free(&cut.told);
}

/* Where the first one stopped because of an error, the last message ends in its middle for the next hop. */
static void next_hop_reads_the_same(struct reading *first, struct buf *out)
{
	struct reading second = reading_like(first);
	struct fuzz_in written = {NULL, out->len};
	uint8_t *p = malloc(out->len + 1);

	REQUIRE(p != NULL);
	buf_take(out, p, out->len);
	written.p = p;
	read_all(&second, written.p, written.n, written.n + 1, false);
	/* our own fields may be the ones too many, but nothing else of what we write is ever wrong */
	if (second.err != ADIT_ERR_HEAD_TOO_BIG && second.err != ADIT_ERR_RESPONSE_BIG) {
		REQUIRE(second.err == 0);
		first->told.n = first->told_before_err;
		fuzz_require_same(&first->told, &second.told, "what the next hop reads");
	}
	fuzz_text_free(&second.told);
	free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char chunked[] = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
	static const char chunked_answer[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct fuzz_in in = {data, n};
	struct fuzz_text all = {NULL, 0, 0};
	struct buf out = BUF_INIT;
	uint8_t choices = fuzz_byte(&in), step = fuzz_byte(&in);
	struct reading whole = {
		.kind = choices & 1 ? H1_RESPONSE : H1_REQUEST,
		.asked = choices & 1 ? str_of(methods[choices >> 1 & 3]) : STR(""),
		.out = &out,
	};
	bool fin = choices & 8;

	if (choices & 16)
		fuzz_say(&all, "%s", choices & 1 ? chunked_answer : chunked);
	fuzz_add(&all, in.p, in.n);
	in = (struct fuzz_in){(const uint8_t *)all.p, all.n};
	read_all(&whole, in.p, in.n, in.n + 1, fin);
	cut_tells_the_same(&whole, in, (size_t)step + 1, 0, fin);
	cut_tells_the_same(&whole, in, 1, choices & 32 ? H1_PAUSE : 0, fin);
	if (!whole.unwritable)
		next_hop_reads_the_same(&whole, &out);
	buf_clear(&out);
	fuzz_text_free(&whole.told);
	fuzz_text_free(&all);
	return 0;
}
