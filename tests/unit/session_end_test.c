/* session_end: a session ends, or its carrier does, while something else is under way: both programs go on. As in
 * resume_world; what the far end would never say, or not then, is put into its mouth.
 */
#include "resume_world.h"

/* A link that is up and has nothing to say. */
static struct world *open_world(void)
{
	struct world *w = world_new(NULL, 0);

	CU_ASSERT_TRUE_FATAL(world_rest(w));
	return w;
}

static void turns(struct world *w)
{
	for (int i = 0; i < 20; i++)
		world_turn(w);
}

/* The owner of end `side` of the first carrier says what he never would. */
static void say(struct world *w, unsigned side, const uint8_t *bytes, size_t n)
{
	const struct iovec iov = {(void *)(uintptr_t)bytes, n};

	CU_ASSERT_EQUAL(stream_write(&w->pipes[0]->end[side].base, &iov, 1), (ssize_t)n);
}

/* CLOSE(503), and behind it another, and a frame that has no place there, when `more`. */
static void say_close(struct world *w, unsigned side, bool more)
{
	static const uint8_t bytes[] = {
		FRAME_CLOSE, 0, 0, 2, 1, 0xf7, FRAME_CLOSE, 0, 0, 2, 1, 0xf7, FRAME_WELCOME, 0, 0, 2, '{', '}',
	};

	say(w, side, bytes, more ? sizeof(bytes) : FRAME_HEADER_LEN + 2);
}

static void closed_when_suspect(void)
{
	for (unsigned side = 0; side < 2; side++) {
		struct world *w = open_world();
		struct session *s = side ? w->dialer->session : world_asker(w);

		session_doubt(s);
		CU_ASSERT_TRUE(session_suspect(s));
		say_close(w, side, false);
		turns(w);
		CU_ASSERT(side ? w->dialer->state == DIALER_WAITING : acceptor_links(w->acceptor) == 0);
		world_free(w);
	}
}

static void nothing_follows_close(void)
{
	for (unsigned side = 0; side < 2; side++) {
		struct world *w = open_world();

		say_close(w, side, true);
		turns(w);
		CU_ASSERT(side ? w->dialer->state == DIALER_WAITING : acceptor_links(w->acceptor) == 0);
		world_free(w);
	}
}

static const struct unit_test tests[] = {
	{"a CLOSE as the first word after a suspicion ends the link", closed_when_suspect},
	{"what follows a CLOSE in the same read is not looked at", nothing_follows_close},
};

UNIT_MAIN("session_end", tests)
