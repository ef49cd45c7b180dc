/* HTTP/2 in both roles: sequences of frames from the far end, between what our own halves do.
 * The halves are told by the rules of half.h, whatever comes; frames in pieces are told as frames at once; what we
 * send is frames; windows stay within the budget and are given back.
 *
 * Input: choices (bit 0: we ask; bit 1: a tunnel; bit 2: no SETTINGS of the far end to begin with; bit 3: pulled
 * after each record), size of the pieces, records. A record is one byte and what it needs: see play.
 */
#include "fuzz.h"

#include <nghttp2/nghttp2.h>

#include "fuzz_half.h"
#include "h2/h2.h"

#define PEERS 24
#define RECORDS 1000
#define FRAME_MAX 16384
/* Of a stream's window three times: so that it is used up. */
#define BUDGET (3 * H2_WINDOW_MIN + 1000)

struct play {
	struct h2 *h2;
	struct budget budget;
	bool asking;
	unsigned failed_at; /* the record that ended the connection, 0 = none */
	struct fuzz_half peers[PEERS];
	unsigned peer_count;
	size_t step;
	/* what we sent, as frames */
	uint8_t header[H2_FRAME_HEADER];
	size_t header_got, skip;
};

/* ---- the peers of our streams */

static struct fuzz_half *peer_new(struct play *x, struct half *far)
{
	struct fuzz_half *p;

	if (x->peer_count == PEERS)
		return NULL;
	p = &x->peers[x->peer_count];
	fuzz_half_init(p, H2_SEND_BUFFER);
	x->peer_count++;
	half_link(&p->half, far);
	return p;
}

/* ---- h2's events */

static void on_wake(void *owner)
{
	(void)owner;
}

static void on_idle(void *owner)
{
	struct play *x = owner;

	REQUIRE(h2_open(x->h2) == 0);
}

static void on_request(void *owner, struct h2_stream *s, const struct head *h, bool bodyless)
{
	struct fuzz_half *p = peer_new(owner, h2_stream_half(s));

	REQUIRE(!h->status && head_get(h, HEAD_METHOD).n > 0);
	if (p)
		fuzz_half_head(&p->half, h, bodyless);
}

static void on_refused(void *owner, struct h2_stream *s, int err)
{
	struct fuzz_half *p = peer_new(owner, h2_stream_half(s));
	struct head h;

	if (!p)
		return;
	half_say(p, err_name(err));
	p->began = p->said_head = p->said_end = true;
	head_init(&h);
	h.status = 431;
	half_head(&p->half, &h, true);
	head_free(&h);
	half_end(&p->half, NULL);
}

/* ---- what we do */

/* Requests and responses of all kinds that the two programs make. */
static void say_head(struct play *x, struct fuzz_half *p, uint8_t kind)
{
	static const char *const methods[] = {"GET", "POST", "HEAD", "CONNECT"};
	static const int statuses[] = {200, 204, 304, 404, 101, 100, 103, 503};
	bool final = true, bodyless = kind & 16;
	struct head h;

	if (p->said_head || !p->half.peer)
		return;
	head_init(&h);
	h.length = kind & 8 ? 10 : HEAD_LENGTH_UNKNOWN;
	if (x->asking) {
		bool upgrade = kind & 32;

		bodyless = bodyless && !upgrade;
		REQUIRE(head_set(&h, HEAD_METHOD, str_of(upgrade ? "GET" : methods[kind & 3])) == 0);
		REQUIRE(head_set(&h, HEAD_SCHEME, STR("https")) == 0 && head_set(&h, HEAD_AUTHORITY, STR("a")) == 0);
		REQUIRE(head_set(&h, HEAD_PATH, STR("/")) == 0);
		REQUIRE(head_set(&h, HEAD_PROTOCOL, upgrade ? STR("websocket") : STR("")) == 0);
	} else {
		h.status = statuses[kind & 7];
		final = h.status == 101 || h.status >= 200;
		bodyless = !final || (bodyless && h.status != 101) || h.status == 204 || h.status == 304;
	}
	REQUIRE(fields_add(&h.fields, STR("x-a"), STR("b")) == 0);
	p->said_head = final;
	half_head(&p->half, &h, bodyless);
	head_free(&h);
	if (final && bodyless) {
		p->said_end = true;
		half_end(&p->half, NULL);
	}
}

static void ask(struct play *x, uint8_t kind)
{
	struct half *far;
	struct fuzz_half *p;
	int err;

	if (!x->asking || x->peer_count == PEERS)
		return;
	far = h2_ask(x->h2, &err);
	REQUIRE(far || err);
	p = far ? peer_new(x, far) : NULL;
	if (p)
		say_head(x, p, kind);
}

/* ---- what is sent */

static void check_sent(struct play *x, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (x->skip) {
			x->skip--;
			continue;
		}
		x->header[x->header_got++] = p[i];
		if (x->header_got < H2_FRAME_HEADER)
			continue;
		x->header_got = 0;
		x->skip = (size_t)x->header[0] << 16 | (size_t)x->header[1] << 8 | x->header[2];
		REQUIRE(x->skip <= FRAME_MAX && x->header[3] <= 16);
	}
}

static bool pull(struct play *x)
{
	uint8_t block[H2_QUANTUM + H2_FRAME_HEADER];
	size_t n = h2_pull(x->h2, block, sizeof(block));

	REQUIRE(n <= sizeof(block));
	check_sent(x, block, n);
	return n > 0;
}

/* ---- what comes */

static void receive(struct play *x, const uint8_t *p, size_t n)
{
	struct fuzz_in in = {p, n};

	while (in.n) {
		struct fuzz_in part = fuzz_part(&in, x->step);
		uint8_t *copy = fuzz_copy(part);
		int before = h2_error(x->h2), r = h2_recv(x->h2, copy, part.n);

		free(copy);
		REQUIRE(!before || r == before);
		if (r)
			return; /* its owner closes the connection; here it lives on to be asked more */
	}
}

static void receive_frame(struct play *x, uint8_t type, struct fuzz_in *in)
{
	uint8_t flags = fuzz_byte(in), id = fuzz_byte(in);
	struct fuzz_in payload = fuzz_part(in, type & 0x40 ? fuzz_word(in) : fuzz_byte(in));
	struct fuzz_text frame = {NULL, 0, 0};
	uint8_t header[H2_FRAME_HEADER] = {
		0, (uint8_t)(payload.n >> 8), (uint8_t)payload.n, type & 15, flags, 0, 0, 0, id & 63,
	};

	if ((type & 15) == 15) /* PRIORITY_UPDATE */
		header[3] = 16;
	fuzz_add(&frame, header, sizeof(header));
	fuzz_add(&frame, payload.p, payload.n);
	receive(x, (uint8_t *)frame.p, frame.n);
	fuzz_text_free(&frame);
}

/* ---- the play */

static void our_turn(struct play *x, uint8_t op, struct fuzz_in *in)
{
	static const uint8_t zeros[UINT16_MAX];
	struct fuzz_half *p = x->peer_count ? &x->peers[fuzz_byte(in) % x->peer_count] : NULL;

	if ((op & 15) == 0) {
		ask(x, fuzz_byte(in));
		return;
	}
	if (!p)
		return;
	switch (op & 15) {
	case 1:
	case 2:
		say_head(x, p, fuzz_byte(in));
		break;
	case 3:
	case 4:
		fuzz_half_send(p, zeros, fuzz_word(in));
		break;
	case 5:
		fuzz_half_say_end(p, op & 16);
		break;
	case 6:
	case 7:
		fuzz_half_grant(p, fuzz_word(in));
		break;
	case 8:
		half_abort(&p->half, op & 16 ? ADIT_ERR_ENOUGH : ADIT_ERR_ABANDONED);
		break;
	case 9:
		h2_clock(x->h2, (uint64_t)fuzz_word(in) * 1000, 0);
		break;
	case 10:
		h2_goaway(x->h2);
		break;
	case 11:
		if (!x->asking)
			h2_goaway_last(x->h2);
		break;
	default:
		(void)pull(x);
		break;
	}
}

static void begin(struct play *x, uint8_t choices)
{
	static const struct h2_events events = {on_wake, on_request, on_idle, on_refused};
	/* SETTINGS with ENABLE_CONNECT_PROTOCOL */
	static const uint8_t settings[] = {0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1};
	struct h2_options o = {.budget = &x->budget, .tunnel = choices & 2};

	x->asking = choices & 1;
	o.role = x->asking ? H2_ASKING : H2_ANSWERING;
	x->budget = (struct budget){.limit = BUDGET};
	x->skip = x->asking ? NGHTTP2_CLIENT_MAGIC_LEN : 0;
	x->h2 = h2_new(&o, &events, x);
	REQUIRE(x->h2 != NULL);
	if (!x->asking)
		receive(x, (const uint8_t *)NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
	if (!(choices & 4))
		receive(x, settings, sizeof(settings));
}

static void play(struct play *x, struct fuzz_in in, uint8_t choices)
{
	begin(x, choices);
	for (unsigned i = 0; in.n && i < RECORDS; i++) {
		uint8_t record = fuzz_byte(&in);

		if (record & 0x80)
			our_turn(x, record, &in);
		else
			receive_frame(x, record, &in);
		REQUIRE(x->budget.used <= x->budget.limit);
		if (h2_error(x->h2) && !x->failed_at)
			x->failed_at = i + 1;
		if (choices & 8)
			(void)pull(x);
	}
	for (unsigned i = 0; i < 10000 && pull(x); i++)
		;
	REQUIRE(!pull(x));
	h2_free(&x->h2, ADIT_ERR_LINK_LOST);
	REQUIRE(x->budget.used == 0);
}

static void require_same(const struct play *whole, const struct play *cut)
{
	REQUIRE(whole->peer_count == cut->peer_count);
	for (unsigned i = 0; i < whole->peer_count; i++)
		fuzz_half_require_same(&whole->peers[i], &cut->peers[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct fuzz_in in = {data, n};
	uint8_t choices = fuzz_byte(&in);
	struct play whole = {.step = SIZE_MAX}, cut = {.step = (size_t)fuzz_byte(&in) % 16 + 1};

	play(&whole, in, choices);
	play(&cut, in, choices);
	/* nghttp2 counts CONTINUATIONs by the calls that bring their headers: in small pieces there are soon too many */
	if (whole.failed_at == cut.failed_at)
		require_same(&whole, &cut);
	for (unsigned i = 0; i < PEERS; i++) {
		fuzz_half_clear(&whole.peers[i]);
		fuzz_half_clear(&cut.peers[i]);
	}
	return 0;
}
