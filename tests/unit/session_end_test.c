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

/* The carrier is lost, which is not told before the turn's end, and DRAIN's time comes in the same turn. */
static void lost_when_leaving(void)
{
	struct world *w = open_world();

	w->pipes[0]->notice[0] = ADIT_ERR_RESET;
	pipe_die(w->pipes[0]);
	pipe_tell(w->pipes[0]);
	CU_ASSERT_FALSE(session_attached(w->dialer->session));
	timer_set(&w->dialer->leave, 0);
	CU_ASSERT_TRUE(loop_jump(w->loop, w->loop->ms));
	CU_ASSERT_TRUE(world_rest(w));
	CU_ASSERT_EQUAL(w->moved, 1);
	CU_ASSERT_EQUAL(w->published, 1);
	world_free(w);
}

/* An attempt beside the suspect carrier has failed and waits for its repetition; in between the carrier's leaving is
 * announced, which is a reason for an attempt of its own. */
static void one_attempt_at_most(void)
{
	struct world *w = open_world();
	struct dialer *d = w->dialer;

	session_doubt(d->session);
	CU_ASSERT_EQUAL(d->aim, AIM_SUSPECT);
	dialer_attempt_failed(d, ADIT_ERR_TIMEOUT, "", 0);
	CU_ASSERT_TRUE(timer_is_set(&d->timer));
	stream_leave(&w->pipes[0]->end[0].base);
	CU_ASSERT_EQUAL(d->aim, AIM_MOVE);
	timer_set(&d->timer, 0);
	CU_ASSERT_TRUE(loop_jump(w->loop, w->loop->ms));
	CU_ASSERT_EQUAL(d->aim, AIM_SUSPECT);
	turns(w);
	CU_ASSERT_TRUE(session_attached(d->session));
	CU_ASSERT_EQUAL(d->aim, AIM_NONE);
	CU_ASSERT_EQUAL(w->pipe_count, 1 + w->moved);
	world_free(w);
}

/*   carrier 1:  ✂ both find a reset
 *   carrier 2:  ATTACH ATTACHED ✂ only aditd finds it; adit has nothing to ask
 *   carrier 3:  ATTACH, in time
 */
static void dead_once_attached(void)
{
	struct world *w = open_world();
	uint64_t until = w->loop->ms + 5000;

	w->pipes[0]->notice[0] = w->pipes[0]->notice[1] = ADIT_ERR_RESET;
	pipe_die(w->pipes[0]);
	while (!w->moved && (world_turn(w) || loop_jump(w->loop, until)))
		;
	CU_ASSERT_EQUAL_FATAL(w->moved, 1);
	w->pipes[1]->notice[1] = ADIT_ERR_RESET;
	pipe_die(w->pipes[1]);
	until = w->loop->ms + 10000;
	while (w->moved < 2 && (world_turn(w) || loop_jump(w->loop, until)))
		;
	CU_ASSERT_EQUAL(w->moved, 2);
	CU_ASSERT_TRUE(world_rest(w));
	CU_ASSERT_EQUAL(w->published, 1);
	world_free(w);
}

/* Nobody has asked for anything in a while: only the heartbeat finds what only aditd has noticed. */
static void dead_when_idle(void)
{
	struct world *w = open_world();
	uint64_t began = w->loop->ms, until = began + 40000;

	w->pipes[0]->notice[1] = ADIT_ERR_RESET;
	pipe_die(w->pipes[0]);
	while (!w->moved && (world_turn(w) || loop_jump(w->loop, until)))
		;
	CU_ASSERT_EQUAL(w->moved, 1);
	CU_ASSERT(w->loop->ms - began > 20000);
	CU_ASSERT_EQUAL(w->published, 1);
	world_free(w);
}

/* ---- a carrier that takes nothing from the start */

static void on_control(void *owner, enum frame_type type, const uint8_t *p, size_t n)
{
	(void)owner;
	(void)type;
	(void)p;
	(void)n;
}

static void on_detached(void *owner, int err, const char *detail)
{
	(void)detail;
	*(int *)owner = err;
}

static void on_suspect(void *owner, bool suspect)
{
	(void)owner;
	(void)suspect;
}

static void set_up_unsent(void)
{
	static const struct session_events events = {.control = on_control, .detached = on_detached, .suspect = on_suspect};
	struct loop *l = loop_new();
	struct pipe *p = pipe_new(l, 5);
	struct budget budget = {.limit = BUDGET_TUNNEL};
	int err = 0;
	const struct session_options o = {
		.role = H2_ASKING, .budget = &budget, .heartbeat_ms = 30000, .events = &events, .owner = &err,
	};
	struct buf lead = BUF_INIT, rest = BUF_INIT;
	struct session *s = session_new(l, &o);
	struct stream *far = &p->end[0].base;
	uint64_t until = l->ms + 60000;

	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_EQUAL(buf_add(&lead, "twenty bytes of lead", 20), 0);
	session_resumable(s, true);
	CU_ASSERT_EQUAL(session_attach(s, &p->end[1].base, 0, &lead, &rest), 0);
	while (loop_turn(l) || (!err && loop_jump(l, until)))
		;
	CU_ASSERT_EQUAL(err, ADIT_ERR_TIMEOUT);
	session_free(&s, ADIT_ERR_LINK_LOST);
	stream_free(&far);
	loop_settle(l);
	CU_ASSERT_TRUE(pipe_is_over(p));
	pipe_free(p);
	loop_free(&l);
}

static const struct unit_test tests[] = {
	{"a CLOSE as the first word after a suspicion ends the link", closed_when_suspect},
	{"what follows a CLOSE in the same read is not looked at", nothing_follows_close},
	{"a carrier that is lost when DRAIN's time comes is resumed", lost_when_leaving},
	{"one attempt is under way at most, and that of a suspicion goes first", one_attempt_at_most},
	{"a carrier that dies once it is attached is noticed before the link is given up", dead_once_attached},
	{"a carrier that dies unnoticed on an idle link is, too", dead_when_idle},
	{"a carrier that does not even take its set-up's last bytes is given up in time", set_up_unsent},
};

UNIT_MAIN("session_end", tests)
