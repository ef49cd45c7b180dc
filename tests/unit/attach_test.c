/* attach: what aditd makes of an ATTACH that is old, recorded, forged or wrong, while the link's owner has a
 * carrier: only a right one moves the link, every other leaves it as it was. Both programs, as in resume_world.
 */
#include "resume_world.h"

/* A link that is up and has moved once, so that there is an ATTACH on record. */
struct scene {
	struct world *w;
	struct tunnel *t;      /* aditd's side of the link */
	struct pipe *owner;    /* the carrier that it runs on */
	uint64_t epoch, rx, tx, acked;
};

static void note(struct scene *s)
{
	const struct link *l = session_link(s->t->session);

	s->epoch = s->t->epoch;
	s->rx = link_rx_offset(l);
	s->tx = link_tx_offset(l);
	s->acked = link_acked(l);
}

/* adit comes back within a few attempts. */
static void wait_for_move(struct world *w)
{
	uint64_t until = w->loop->ms + 10000;
	unsigned moved = w->moved;

	while (w->moved == moved && (world_turn(w) || loop_jump(w->loop, until)))
		;
	CU_ASSERT_EQUAL_FATAL(w->moved, moved + 1);
}

static void open_scene(struct scene *s)
{
	s->w = world_new(NULL, 0);
	CU_ASSERT_TRUE_FATAL(world_rest(s->w));
	s->w->pipes[0]->notice[0] = s->w->pipes[0]->notice[1] = ADIT_ERR_RESET;
	pipe_die(s->w->pipes[0]);
	wait_for_move(s->w);
	CU_ASSERT_TRUE_FATAL(world_rest(s->w));
	s->t = acceptor_link(s->w->acceptor, s->w->dialer->link_id);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s->t);
	s->owner = s->w->pipes[1];
	note(s);
	CU_ASSERT_EQUAL(s->epoch, 1);
	CU_ASSERT(s->tx > 0 && s->rx > 0);
}

/* The owner has not been touched. */
static void is_untouched(const struct scene *s)
{
	const struct link *l = session_link(s->t->session);

	CU_ASSERT_PTR_EQUAL(acceptor_link(s->w->acceptor, s->w->dialer->link_id), s->t);
	CU_ASSERT_EQUAL(s->t->epoch, s->epoch);
	CU_ASSERT_EQUAL(link_state(l), LINK_LIVE);
	CU_ASSERT_FALSE(s->owner->end[0].stopped || s->owner->end[1].stopped);
	CU_ASSERT_EQUAL(link_rx_offset(l), s->rx);
	CU_ASSERT_EQUAL(link_tx_offset(l), s->tx);
	CU_ASSERT_EQUAL(link_acked(l), s->acked);
	CU_ASSERT_EQUAL(s->w->moved, 1);
	CU_ASSERT_EQUAL(s->w->dialer->state, DIALER_UP);
}

static void close_scene(struct scene *s)
{
	world_free(s->w);
}

/* The first frame that came back: CLOSE's code, 0 for ATTACHED, or -1. */
static int answer_of(const struct pipe *p)
{
	struct frame_parser parser;
	struct frame f;
	size_t used;
	uint16_t code = 0;
	char reason[FRAME_REASON_MAX + 1];
	int r = -1;

	frame_parser_init(&parser);
	if (p->way[1].written && frame_parse(&parser, p->way[1].bytes, p->way[1].written, &used, &f) > 0) {
		if (f.type == FRAME_ATTACHED)
			r = 0;
		else if (f.type == FRAME_CLOSE && wire_read_close(f.p, f.n, &code, reason, sizeof(reason)) == 0)
			r = code;
	}
	frame_parser_clear(&parser);
	return r;
}

/* A carrier of somebody's who says these bytes first, and goes when he is answered. */
static int say(struct world *w, const struct conf_token *token, const char *link_id, const uint8_t *bytes, size_t n)
{
	struct pipe *p = world_pipe(w);
	struct stream *mine = &p->end[0].base;
	const struct iovec iov = {(void *)(uintptr_t)bytes, n};

	CU_ASSERT_EQUAL(stream_write(mine, &iov, 1), (ssize_t)n);
	world_take(w, p, link_id, token);
	for (int turn = 0; turn < 20; turn++)
		world_turn(w);
	stream_free(&mine);
	for (int turn = 0; turn < 20; turn++)
		world_turn(w);
	return answer_of(p);
}

static int say_frame(struct scene *s, const struct conf_token *token, enum frame_type type, char *json, size_t n)
{
	uint8_t *bytes = malloc(FRAME_HEADER_LEN + n);
	int code;

	CU_ASSERT_PTR_NOT_NULL_FATAL(json);
	if (!bytes)
		abort();
	frame_header(bytes, type, n);
	memcpy(bytes + FRAME_HEADER_LEN, json, n);
	code = say(s->w, token, s->w->dialer->link_id, bytes, FRAME_HEADER_LEN + n);
	free(bytes);
	free(json);
	return code;
}

/* ATTACH as the owner would say it, but for what the caller has changed. */
static int attach(struct scene *s, const struct conf_token *token, struct wire_hello *h)
{
	size_t n;
	char *json;

	CU_ASSERT_EQUAL(wire_proof(s->w->dialer->secret, s->w->dialer->id, h, h->proof), 0);
	json = wire_write_attach(h, &n);
	return say_frame(s, token, FRAME_ATTACH, json, n);
}

static struct wire_hello right(const struct scene *s)
{
	struct wire_hello h = s->w->hello;

	h.epoch = s->epoch + 1;
	h.rx_offset = link_rx_offset(session_link(s->w->dialer->session));
	return h;
}

/* ---- what is refused */

static void recorded(void)
{
	struct scene s;
	const uint8_t *b;
	size_t n;

	open_scene(&s);
	b = s.owner->way[0].bytes;
	n = FRAME_HEADER_LEN + ((size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3]);
	CU_ASSERT_EQUAL(b[0], FRAME_ATTACH);
	CU_ASSERT_EQUAL(say(s.w, &s.w->tokens[0], s.w->dialer->link_id, b, n), 409);
	is_untouched(&s);
	CU_ASSERT_EQUAL(say(s.w, &s.w->tokens[1], s.w->dialer->link_id, b, n), 403);
	is_untouched(&s);
	CU_ASSERT_EQUAL(say(s.w, &s.w->tokens[0], "00112233445566778899aabbccddeeff", b, n), 410);
	is_untouched(&s);
	close_scene(&s);
}

static void forged(void)
{
	struct wire_hello h;
	struct scene s;
	size_t n;
	char *json;

	open_scene(&s);
	h = right(&s);
	json = wire_write_attach(&h, &n); /* a proof of zeroes */
	CU_ASSERT_EQUAL(say_frame(&s, &s.w->tokens[0], FRAME_ATTACH, json, n), 403);
	is_untouched(&s);
	CU_ASSERT_EQUAL(wire_proof(s.w->dialer->secret, s.w->dialer->id, &h, h.proof), 0);
	h.epoch++; /* a right proof, of another epoch */
	json = wire_write_attach(&h, &n);
	CU_ASSERT_EQUAL(say_frame(&s, &s.w->tokens[0], FRAME_ATTACH, json, n), 403);
	is_untouched(&s);
	CU_ASSERT_EQUAL(attach(&s, &s.w->tokens[1], &h), 403);
	is_untouched(&s);
	close_scene(&s);
}

static void greeted_again(void)
{
	struct scene s;
	size_t n;
	char *json;

	open_scene(&s);
	json = wire_write_hello(&s.w->hello, &n);
	CU_ASSERT_EQUAL(say_frame(&s, &s.w->tokens[0], FRAME_HELLO, json, n), 409);
	is_untouched(&s);
	close_scene(&s);
}

static void wrong_offsets(void)
{
	struct wire_hello h;
	struct scene s;

	open_scene(&s);
	h = right(&s);
	CU_ASSERT(s.acked > 0);
	h.rx_offset = s.acked - 1;
	CU_ASSERT_EQUAL(attach(&s, &s.w->tokens[0], &h), 400);
	is_untouched(&s);
	h.rx_offset = s.tx + 1;
	CU_ASSERT_EQUAL(attach(&s, &s.w->tokens[0], &h), 400);
	is_untouched(&s); /* the epoch too: the same one, with the right offset, is still good */
	h = right(&s);
	CU_ASSERT_EQUAL(attach(&s, &s.w->tokens[0], &h), 0);
	CU_ASSERT_EQUAL(s.t->epoch, s.epoch + 1);
	close_scene(&s);
}

static void other_names(void)
{
	struct wire_hello h;
	struct scene s;

	open_scene(&s);
	h = right(&s);
	snprintf(h.tunnels[0].name, sizeof(h.tunnels[0].name), "other");
	CU_ASSERT_EQUAL(attach(&s, &s.w->tokens[0], &h), 403);
	is_untouched(&s);
	h = right(&s);
	h.tunnels[h.tunnel_count++] = h.tunnels[0];
	CU_ASSERT_EQUAL(attach(&s, &s.w->tokens[0], &h), 400);
	is_untouched(&s);
	close_scene(&s);
}

/* ---- what is not */

/* An attempt that adit had given up arrives after all: it fences the carrier, for it is adit's own. adit finds its
 * carrier ended and comes back. The dialer has not counted this one, so that its next epoch is used already (409), as
 * after a repeated frame that overtook it; the one after that is good. */
static void abandoned_and_late(void)
{
	struct wire_hello h;
	struct scene s;

	open_scene(&s);
	h = right(&s);
	CU_ASSERT_EQUAL(attach(&s, &s.w->tokens[0], &h), 0);
	CU_ASSERT_TRUE(s.owner->end[1].stopped);
	wait_for_move(s.w);
	CU_ASSERT_TRUE(world_rest(s.w));
	CU_ASSERT_EQUAL(s.t->epoch, h.epoch + 1);
	CU_ASSERT_EQUAL(s.w->dialer->epoch, s.t->epoch);
	CU_ASSERT_EQUAL(s.w->published, 1);
	CU_ASSERT_EQUAL(s.w->refused, 0);
	close_scene(&s);
}

/* adit is gone, without a word: aditd waits for it, first with its requests, then without, and no longer than it
 * said. */
static void too_late(void)
{
	struct scene s;
	uint64_t gone_ms, until;

	open_scene(&s);
	gone_ms = s.w->loop->ms;
	until = gone_ms + 60000;
	dialer_free(&s.w->dialer);
	while (world_turn(s.w) || (s.w->strays == 0 && loop_jump(s.w->loop, until)))
		;
	CU_ASSERT_EQUAL(s.w->loop->ms - gone_ms, ACCEPT_STRAY_MS);
	CU_ASSERT_EQUAL(acceptor_links(s.w->acceptor), 1);
	while (world_turn(s.w) || (acceptor_links(s.w->acceptor) && loop_jump(s.w->loop, until)))
		;
	CU_ASSERT_EQUAL(s.w->loop->ms - gone_ms, 30000);
	CU_ASSERT_EQUAL(acceptor_links(s.w->acceptor), 0);
	CU_ASSERT_EQUAL(s.w->strays, 1);
	close_scene(&s);
}

static const struct unit_test tests[] = {
	{"a recorded ATTACH is worth nothing, whoever sends it", recorded},
	{"nor is one whose proof is of nothing or of something else", forged},
	{"a HELLO never replaces a link", greeted_again},
	{"an offset that cannot be touches nothing, not even the epoch", wrong_offsets},
	{"the names of a link are not changed under way", other_names},
	{"an attempt given up that arrives late costs a round, not the link", abandoned_and_late},
	{"a link that nobody resumes is given up in time", too_late},
};

UNIT_MAIN("attach", tests)
