/* Link frames, and links that get them.
 * Input: the first byte modulo 3 chooses
 *  0  frames: a step, then bytes. In pieces they are the same frames as at once.
 *  1  a link whose peer is the input: what it sends, and when the link is asked, detached, attached. What the link
 *     sends is well-formed and gives its session's bytes in order, memory stays bounded, a bad peer is an error.
 *  2  two links and a carrier that moves as little as the input says, and dies when it says. At the end each byte
 *     has arrived once.
 */
#include "fuzz.h"

#define STREAM_MAX 20000
#define WIRE_MAX 64000

#include "base/err.h"
#include "unit/link_pair.h"
#include "link/replay.h"

/* ---- frames */

static void say_frame(struct fuzz_text *t, bool *in_data, const struct frame *f)
{
	if (f->type != FRAME_DATA || !*in_data)
		fuzz_say(t, "%s\n", frame_name(f->type));
	*in_data = f->type == FRAME_DATA;
	fuzz_add(t, f->p, f->n);
}

static int parse_frames(struct fuzz_in in, size_t step, struct fuzz_text *t)
{
	struct frame_parser p;
	bool in_data = false;
	int r = 0;

	frame_parser_init(&p);
	while (in.n && r >= 0) {
		struct fuzz_in part = fuzz_part(&in, step);
		uint8_t *copy = fuzz_copy(part);
		size_t at = 0, used;
		struct frame f;

		while ((r = frame_parse(&p, copy + at, part.n - at, &used, &f)) > 0) {
			REQUIRE(used <= part.n - at);
			REQUIRE(f.n <= (f.type == FRAME_DATA ? FRAME_DATA_MAX : FRAME_CONTROL_MAX));
			at += used;
			say_frame(t, &in_data, &f);
		}
		REQUIRE(r < 0 || at + used == part.n);
		free(copy);
	}
	frame_parser_clear(&p);
	return r;
}

static void frames(struct fuzz_in *in)
{
	struct fuzz_text whole = {NULL, 0, 0}, cut = {NULL, 0, 0};
	size_t step = (size_t)fuzz_byte(in) + 1;
	int r = parse_frames(*in, in->n + 1, &whole);

	REQUIRE(r == parse_frames(*in, step, &cut));
	fuzz_require_same(&whole, &cut, "frames of pieces");
	fuzz_text_free(&whole);
	fuzz_text_free(&cut);
}

/* ---- a link whose peer is the input */

enum habit { HABIT_NONE, HABIT_CONTROL, HABIT_DETACH, HABIT_KILL, HABIT_ERROR, HABITS };

struct lone {
	struct link *link;
	uint64_t now_ms;
	uint64_t pulled, delivered;
	size_t pull_max;
	enum habit habit;         /* what callbacks do */
	struct frame_parser sent; /* what the link wrote to this carrier */
	uint64_t sent_at;         /* offset of the next DATA byte of it */
	bool closed;              /* a CLOSE was written: nothing follows */
};

static int act(struct lone *x)
{
	switch (x->habit) {
	case HABIT_CONTROL:
		(void)link_control(x->link, FRAME_DRAIN, "\0\0\1\0", 4);
		break;
	case HABIT_DETACH:
		link_detach(x->link, x->now_ms);
		break;
	case HABIT_KILL:
		link_kill(x->link);
		break;
	case HABIT_ERROR:
		return ADIT_ERR_SHUTDOWN;
	case HABIT_NONE:
	case HABITS:
		break;
	}
	return 0;
}

static size_t lone_pull(void *arg, uint8_t *p, size_t cap)
{
	struct lone *x = arg;
	size_t n = x->pull_max < cap ? x->pull_max : cap;

	REQUIRE(cap <= FRAME_DATA_MAX);
	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(0, x->pulled + i);
	(void)act(x);
	if (link_state(x->link) != LINK_DEAD)
		x->pulled += n;
	return n;
}

static int lone_deliver(void *arg, const uint8_t *p, size_t n)
{
	struct lone *x = arg;

	(void)p;
	REQUIRE(n > 0);
	x->delivered += n;
	return act(x);
}

static int lone_control(void *arg, enum frame_type type, const uint8_t *p, size_t n)
{
	(void)p;
	REQUIRE(type >= FRAME_HELLO && type <= FRAME_CLOSE && n <= FRAME_CONTROL_MAX);
	return act(arg);
}

static void check_link(const struct lone *x)
{
	const struct link *l = x->link;

	REQUIRE(link_rx_offset(l) == x->delivered);
	REQUIRE(link_tx_offset(l) == x->pulled);
	REQUIRE(link_acked(l) <= link_tx_offset(l));
	REQUIRE(link_inflight_limit(l) >= LINK_INFLIGHT_MIN && link_inflight_limit(l) <= LINK_INFLIGHT_MAX);
	REQUIRE(link_memory(l) <= link_inflight_limit(l) + 2 * REPLAY_CHUNK_COST +
	                              (LINK_CONTROL_MAX + 1) * (FRAME_HEADER_LEN + FRAME_CONTROL_MAX));
	if (link_state(l) == LINK_DEAD)
		REQUIRE(link_memory(l) == 0);
}

static void check_sent(struct lone *x, const uint8_t *p, size_t n)
{
	struct frame f;
	size_t used;
	int r;

	while ((r = frame_parse(&x->sent, p, n, &used, &f)) > 0) {
		REQUIRE(!x->closed);
		x->closed = f.type == FRAME_CLOSE;
		for (size_t i = 0; f.type == FRAME_DATA && i < f.n; i++)
			REQUIRE(f.p[i] == byte_at(0, x->sent_at++));
		p += used;
		n -= used;
	}
	REQUIRE(r == 0);
}

static void lone_write(struct lone *x, size_t unsent, size_t max)
{
	struct iovec iov[6];
	int n = link_out(x->link, iov, 1 + (int)(max % 6), unsent, x->now_ms);
	size_t taken = 0;

	for (int i = 0; i < n && taken < max; i++) {
		size_t part = iov[i].iov_len < max - taken ? iov[i].iov_len : max - taken;

		check_sent(x, iov[i].iov_base, part);
		taken += part;
	}
	link_sent(x->link, taken, x->now_ms);
}

static void lone_attach(struct lone *x, uint64_t peer_rx)
{
	bool may = link_may_attach(x->link, peer_rx);
	enum link_state before = link_state(x->link);
	int r = link_attach(x->link, peer_rx, x->now_ms);

	REQUIRE((r == 0) == (may && (before == LINK_NEW || before == LINK_DETACHED)));
	if (r)
		return;
	frame_parser_clear(&x->sent);
	x->sent_at = peer_rx;
	x->closed = false;
}

static void lone_recv(struct lone *x, struct fuzz_in part)
{
	uint8_t *copy = fuzz_copy(part);

	if (link_recv(x->link, copy, part.n, x->now_ms) < 0 && link_state(x->link) == LINK_LIVE)
		link_kill(x->link); /* as session does */
	free(copy);
}

/* An ACK that may be right: the input cannot know the offsets. */
static void lone_ack(struct lone *x, uint16_t ahead)
{
	uint8_t frame[FRAME_HEADER_LEN + 8];
	struct fuzz_in part = {frame, sizeof(frame)};

	frame_header(frame, FRAME_ACK, 8);
	put_u64(frame + FRAME_HEADER_LEN, link_acked(x->link) + ahead);
	lone_recv(x, part);
}

static void lone_control_frame(struct lone *x, unsigned type, size_t n)
{
	static const uint8_t zeros[FRAME_CONTROL_MAX + 1];
	static const size_t least[] = {[FRAME_DRAIN] = 4, [FRAME_CLOSE] = 2};

	/* lengths that the type allows are the caller's matter */
	if (type == FRAME_DRAIN)
		n = least[type];
	else if (type == FRAME_CLOSE)
		n = least[type] + n % FRAME_REASON_MAX;
	else
		n = 2 + n % (FRAME_CONTROL_MAX - 1);
	(void)link_control(x->link, (enum frame_type)type, zeros, n);
}

static void lone_op(struct lone *x, struct fuzz_in *in)
{
	uint8_t op = fuzz_byte(in);

	switch (op % 11) {
	case 0:
		lone_recv(x, fuzz_part(in, fuzz_byte(in)));
		break;
	case 1:
		lone_recv(x, fuzz_part(in, fuzz_word(in)));
		break;
	case 2:
		lone_ack(x, fuzz_word(in));
		break;
	case 3:
		lone_write(x, (size_t)fuzz_byte(in) * 512, fuzz_word(in));
		break;
	case 4:
		lone_write(x, 0, SIZE_MAX);
		break;
	case 5:
		lone_control_frame(x, FRAME_HELLO + op / 11 % 6, fuzz_word(in));
		break;
	case 6:
		x->now_ms += fuzz_word(in);
		if (link_tick(x->link, x->now_ms) == LINK_SUSPECT)
			link_suspicion_was(x->link, op & 64);
		REQUIRE(link_state(x->link) == LINK_LIVE || link_next_tick(x->link) == UINT64_MAX);
		break;
	case 7:
		link_detach(x->link, x->now_ms);
		lone_attach(x, link_acked(x->link) + fuzz_word(in));
		break;
	case 8:
		link_heartbeat(x->link, fuzz_word(in), op & 64);
		link_ping(x->link, x->now_ms);
		break;
	case 9:
		x->habit = fuzz_byte(in) % HABITS;
		break;
	default:
		x->pull_max = fuzz_word(in);
		break;
	}
}

static void lone(struct fuzz_in *in)
{
	static const struct link_callbacks callbacks = {lone_pull, lone_deliver, lone_control};
	struct lone x = {.now_ms = 1000, .pull_max = 100};

	x.link = link_new(&callbacks, &x);
	REQUIRE(x.link != NULL);
	frame_parser_init(&x.sent);
	lone_attach(&x, 0);
	for (unsigned ops = 0; in->n && ops < 2000; ops++) {
		lone_op(&x, in);
		check_link(&x);
	}
	link_free(&x.link);
	frame_parser_clear(&x.sent);
}

/* ---- two links */

static void two_op(struct pair *p, struct fuzz_in *in)
{
	uint8_t op = fuzz_byte(in);
	size_t moved = 0;
	int i = op & 1;

	switch (op >> 1 & 7) {
	case 0:
	case 1:
		write_once(p, i, fuzz_byte(in));
		break;
	case 2:
		write_once(p, i, fuzz_word(in));
		break;
	case 3:
	case 4:
		REQUIRE(read_once(p, i, fuzz_byte(in), SIZE_MAX, &moved) == 0);
		break;
	case 5:
		REQUIRE(read_once(p, i, fuzz_word(in), SIZE_MAX, &moved) == 0);
		break;
	case 6:
		pair_detach(p);
		pair_attach(p);
		break;
	default:
		p->now_ms += fuzz_byte(in);
		(void)link_tick(link_of(p, i), p->now_ms);
		link_ping(link_of(p, i), p->now_ms);
		break;
	}
}

static void two(struct fuzz_in *in)
{
	const size_t *const pulls[] = {PULLS_MIXED, PULLS_FULL, PULLS_BULK, (const size_t[]){1, 0}};
	uint8_t choices = fuzz_byte(in);
	size_t n0 = fuzz_word(in), n1 = fuzz_word(in), most = choices % 4 == 3 ? 300 : STREAM_MAX;
	struct pair *p = pair_new(n0 % most, n1 % most, pulls[choices % 4]);
	struct script whole = WHOLE;

	p->end[0].controls = choices & 4;
	p->end[1].controls = choices & 8;
	pair_attach(p);
	for (unsigned ops = 0; in->n && ops < 500; ops++)
		two_op(p, in);
	REQUIRE(pair_run(p, &whole));
	REQUIRE(delivered(p));
	pair_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct fuzz_in in = {data, n};

	switch (fuzz_byte(&in) % 3) {
	case 0:
		frames(&in);
		break;
	case 1:
		lone(&in);
		break;
	default:
		two(&in);
		break;
	}
	return 0;
}
