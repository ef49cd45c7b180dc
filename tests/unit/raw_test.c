/* raw: a scripted socket on one side, a scripted half on the other; what each is told of the other's words, ends and
 * resets, in every order. */
#include "raw/raw.h"

#include "half_script.h"
#include "loop_script.h"
#include "pipe_script.h"

#define ROOM (256 * 1024)

struct setup {
	struct loop *loop;
	struct pipe *pipe;
	struct stream *far;     /* the program at the other end of the socket */
	struct raw raw;
	struct half_script peer;
	unsigned heads, over;
	struct task clear;
	size_t written, read;   /* by the program */
	bool wrong, quiet;
	int end;                /* what it finds: ADIT_ERR_EOF, ADIT_ERR_RESET */
};

static void on_head(void *owner, const struct head *h, bool bodyless)
{
	struct setup *s = owner;

	(void)h;
	(void)bodyless;
	s->heads++;
}

static void clear(void *arg)
{
	raw_clear(&((struct setup *)arg)->raw);
}

static void on_over(void *owner)
{
	struct setup *s = owner;

	s->over++;
	task_post_free(s->loop, &s->clear);
}

static const struct raw_events events = {on_head, on_over};

/* The program reads all that comes, and requires the pattern of half_script. */
static void far_reads(void *owner)
{
	struct setup *s = owner;
	uint8_t block[8192];
	ssize_t n = 0;

	while (s->far && !s->quiet && !s->end && (n = stream_read(s->far, block, sizeof(block))) > 0)
		for (ssize_t i = 0; i < n; i++)
			s->wrong = s->wrong || block[i] != script_byte(s->read++);
	if (n < 0 && n != ADIT_ERR_AGAIN) {
		s->end = (int)n;
		stream_pause(s->far, true);
	}
}

static void far_ready(void *owner)
{
	(void)owner;
}

static const struct stream_handler far_handler = {far_reads, far_ready};

static void make(struct setup *s, size_t room)
{
	memset(s, 0, sizeof(*s));
	s->loop = loop_new();
	s->pipe = pipe_new(s->loop, room);
	s->far = &s->pipe->end[1].base;
	stream_own(s->far, &far_handler, s);
	stream_pause(s->far, false);
	s->clear = (struct task){.run = clear, .arg = s};
	script_init(&s->peer);
	raw_init(&s->raw, s->loop, &events, s);
	half_link(&s->raw.half, &s->peer.half);
	raw_start(&s->raw, &s->pipe->end[0].base);
	CU_ASSERT_EQUAL(s->peer.credit, RAW_BUFFER);
}

/* Until nothing happens any more. A program that is quiet reads nothing, and what is written to it stays on its way. */
static void run(struct setup *s)
{
	for (int i = 0; i < 10000; i++) {
		bool any = (!s->quiet && pipe_move(s->pipe, SIZE_MAX)) || pipe_tell(s->pipe);

		if (!loop_turn(s->loop) && !any)
			return;
	}
	CU_FAIL("it never comes to rest");
}

static void later(struct setup *s, uint64_t ms)
{
	uint64_t until = loop_ms(s->loop) + ms;

	do
		run(s);
	while (loop_jump(s->loop, until));
	s->loop->ms = until;
	run(s);
}

static void far_writes(struct setup *s, size_t n)
{
	uint8_t block[4096];

	while (n) {
		size_t part = n < sizeof(block) ? n : sizeof(block);
		struct iovec v = {block, part};
		ssize_t done;

		for (size_t i = 0; i < part; i++)
			block[i] = script_byte(s->written + i);
		done = stream_write(s->far, &v, 1);
		CU_ASSERT_FATAL(done >= 0);
		if (!done)
			return;
		s->written += (size_t)done;
		n -= (size_t)done;
	}
}

static void far_resets(struct setup *s)
{
	stream_spoil(s->far);
	stream_free(&s->far);
}

static void end(struct setup *s)
{
	raw_end(&s->raw, ADIT_ERR_SHUTDOWN);
	CU_ASSERT_EQUAL(s->over, 1);
	CU_ASSERT_PTR_NULL(s->raw.half.peer);
	CU_ASSERT_FALSE(s->wrong || s->peer.wrong);
	stream_free(&s->far);
	loop_settle(s->loop);
	CU_ASSERT_TRUE(pipe_is_over(s->pipe));
	CU_ASSERT_EQUAL(s->raw.in.len + s->raw.out.len, 0);
	pipe_free(s->pipe);
	loop_free(&s->loop);
}

static void grant(struct setup *s, size_t n)
{
	script_grant(&s->peer, n);
}

/* ---- bytes */

static void both_ways(void)
{
	struct setup s;

	make(&s, 5000);
	s.peer.keep_up = true;
	grant(&s, 70000);
	for (int i = 0; i < 5000 && (s.peer.got < 1000000 || s.read < 1000000); i++) {
		far_writes(&s, 1000000 - s.written);
		script_send(&s.peer, 1000000 - s.peer.sent);
		run(&s);
	}
	CU_ASSERT_EQUAL(s.peer.got, 1000000);
	CU_ASSERT_EQUAL(s.read, 1000000);
	CU_ASSERT_EQUAL(s.peer.credit, RAW_BUFFER);
	end(&s);
}

static void reads_what_is_granted(void)
{
	struct setup s;

	make(&s, ROOM);
	far_writes(&s, ROOM);
	run(&s);
	CU_ASSERT_EQUAL(s.peer.got, 0);
	CU_ASSERT_EQUAL(s.raw.in.len, HALF_READ);
	grant(&s, 1000);
	run(&s);
	CU_ASSERT_EQUAL(s.peer.got, 1000);
	CU_ASSERT_EQUAL(s.raw.in.len, HALF_READ - 1000);
	s.peer.keep_up = true;
	grant(&s, 1000);
	run(&s);
	CU_ASSERT_EQUAL(s.peer.got, ROOM);
	end(&s);
}

static void takes_what_it_granted(void)
{
	struct setup s;

	make(&s, 1000);
	s.quiet = true;
	CU_ASSERT_EQUAL(script_send(&s.peer, 1000000), RAW_BUFFER);
	run(&s);
	CU_ASSERT_EQUAL(s.peer.credit, 1000); /* that has left us */
	CU_ASSERT_EQUAL(s.raw.out.len, RAW_BUFFER - 1000);
	end(&s);
}

static void preface_goes_first(void)
{
	struct setup s;
	uint8_t block[16];

	make(&s, 1000);
	s.quiet = true;
	CU_ASSERT_EQUAL(raw_preface(&s.raw, "PROXY", 5), 0);
	script_send(&s.peer, 3);
	run(&s);
	pipe_move(s.pipe, SIZE_MAX);
	CU_ASSERT_EQUAL(stream_read(s.far, block, sizeof(block)), 8);
	CU_ASSERT_EQUAL(memcmp(block, "PROXY", 5), 0);
	CU_ASSERT_EQUAL(block[5], script_byte(0));
	CU_ASSERT_EQUAL(s.peer.credit, RAW_BUFFER); /* ours cost the peer nothing, and give it nothing */
	end(&s);
}

/* ---- ends */

static void socket_ends_first(void)
{
	struct setup s;

	make(&s, ROOM);
	grant(&s, 1000);
	far_writes(&s, 100);
	stream_finish(s.far);
	run(&s);
	CU_ASSERT_STRING_EQUAL(s.peer.text, "body|end|");
	later(&s, 3600000);
	CU_ASSERT_EQUAL(s.over, 0);
	script_send(&s.peer, 50000);
	run(&s);
	CU_ASSERT_EQUAL(s.read, 50000);
	CU_ASSERT_EQUAL(s.end, 0);
	half_end(&s.peer.half, NULL);
	half_done(&s.peer.half); /* as the exchange does when both have ended */
	run(&s);
	CU_ASSERT_EQUAL(s.end, ADIT_ERR_EOF);
	CU_ASSERT_EQUAL(s.over, 1);
	CU_ASSERT_FALSE(s.pipe->end[0].spoilt);
	end(&s);
}

/* Behind all that was said, however slowly it is read. */
static void peer_ends_first(void)
{
	struct setup s;

	make(&s, 1000);
	grant(&s, 1000);
	s.quiet = true;
	script_send(&s.peer, 100000);
	half_end(&s.peer.half, NULL);
	run(&s);
	CU_ASSERT_FALSE(s.pipe->end[0].finished);
	s.quiet = false;
	run(&s);
	CU_ASSERT_EQUAL(s.read, 100000);
	CU_ASSERT_EQUAL(s.end, ADIT_ERR_EOF);
	CU_ASSERT_EQUAL(s.over, 0);
	far_writes(&s, 500);
	stream_finish(s.far);
	run(&s);
	CU_ASSERT_EQUAL(s.peer.got, 500);
	CU_ASSERT_TRUE(s.peer.ended);
	CU_ASSERT_EQUAL(s.over, 1);
	end(&s);
}

/* ---- resets */

static void socket_resets(void)
{
	struct setup s;

	make(&s, ROOM);
	grant(&s, 1000);
	far_writes(&s, 100);
	run(&s);
	grant(&s, 1);
	s.raw.credit_most = s.raw.credit = 901;
	far_resets(&s);
	run(&s);
	CU_ASSERT_STRING_EQUAL(s.peer.text, "body|abort RESET|");
	CU_ASSERT_EQUAL(s.over, 1);
	end(&s);
}

/* The peer's credit says when bytes have left: the session drops with an abort what has not. */
static void last_words_before_a_reset(void)
{
	struct setup s;

	make(&s, ROOM);
	grant(&s, 1000);
	far_writes(&s, 100);
	run(&s);
	far_resets(&s);
	run(&s);
	CU_ASSERT_STRING_EQUAL(s.peer.text, "body|");
	CU_ASSERT_EQUAL(s.over, 0);
	grant(&s, 100);
	run(&s);
	CU_ASSERT_STRING_EQUAL(s.peer.text, "body|abort RESET|");
	end(&s);
}

static void last_words_that_cannot_leave(void)
{
	struct setup s;

	make(&s, ROOM);
	grant(&s, 1000);
	far_writes(&s, 5000);
	run(&s);
	far_resets(&s);
	/* nothing is read now: it is looked for, then the words are waited for */
	later(&s, RAW_LOOK_MS + RAW_LAST_WORDS_MS);
	CU_ASSERT_STRING_EQUAL(s.peer.text, "body|abort RESET|");
	CU_ASSERT_EQUAL(s.over, 1);
	end(&s);
}

static void reset_behind_an_end(void)
{
	struct setup s;

	make(&s, ROOM);
	stream_finish(s.far);
	run(&s);
	CU_ASSERT_STRING_EQUAL(s.peer.text, "end|");
	far_resets(&s);
	later(&s, RAW_LOOK_MS);
	CU_ASSERT_STRING_EQUAL(s.peer.text, "end|abort RESET|");
	end(&s);
}

/* A write finds the reset first; reading finds what came before it, and no end is made of what follows. */
static void reset_found_by_writing(void)
{
	struct setup s;

	make(&s, ROOM);
	grant(&s, 1000);
	far_writes(&s, 100);
	pipe_move(s.pipe, SIZE_MAX);
	s.raw.stream->ops->pause(s.raw.stream, true);
	far_resets(&s);
	script_send(&s.peer, 10);
	loop_turn(s.loop);
	CU_ASSERT_EQUAL(s.raw.write_failed, ADIT_ERR_RESET);
	CU_ASSERT_EQUAL(s.peer.credit, RAW_BUFFER);
	s.pipe->end[0].err = ADIT_ERR_EOF; /* the write has taken the error */
	s.raw.stream->ops->pause(s.raw.stream, false);
	run(&s);
	CU_ASSERT_EQUAL(s.peer.got, 100);
	later(&s, RAW_LAST_WORDS_MS);
	CU_ASSERT_STRING_EQUAL(s.peer.text, "body|abort RESET|");
	end(&s);
}

static void peer_aborts(void)
{
	for (int said = 0; said < 2; said++) {
		struct setup s;

		make(&s, ROOM);
		if (said)
			script_send(&s.peer, 1000);
		half_abort(&s.peer.half, ADIT_ERR_RESET);
		CU_ASSERT_EQUAL(s.over, 1);
		CU_ASSERT_TRUE(s.pipe->end[0].spoilt);
		run(&s);
		CU_ASSERT_EQUAL(s.read, said ? 1000 : 0);
		CU_ASSERT_EQUAL(s.end, ADIT_ERR_RESET);
		end(&s);
	}
}

/* No half is left that could tell; what both ends have said is still written. */
static void reset_when_all_is_said(void)
{
	struct setup s;

	make(&s, 1000);
	s.quiet = true;
	stream_finish(s.far);
	script_send(&s.peer, 100000);
	half_end(&s.peer.half, NULL);
	run(&s);
	half_done(&s.peer.half);
	CU_ASSERT_EQUAL(s.over, 0);
	far_resets(&s);
	later(&s, RAW_LOOK_MS);
	CU_ASSERT_EQUAL(s.over, 1);
	end(&s);
}

/* ---- refused */

static void refused(void)
{
	struct setup s;
	struct head h;

	make(&s, ROOM);
	far_writes(&s, 100);
	run(&s);
	head_init(&h);
	half_head(&s.peer.half, &h, false);
	head_free(&h);
	CU_ASSERT_EQUAL(s.heads, 1);
	raw_refuse(&s.raw);
	run(&s);
	CU_ASSERT_EQUAL(s.end, ADIT_ERR_RESET);
	CU_ASSERT_EQUAL(s.over, 0);
	grant(&s, 1000);
	CU_ASSERT_EQUAL(script_send(&s.peer, 300), 300);
	CU_ASSERT_EQUAL(s.peer.credit, RAW_BUFFER);
	half_end(&s.peer.half, NULL);
	CU_ASSERT_EQUAL(s.over, 0); /* not from inside its call */
	run(&s);
	CU_ASSERT_EQUAL(s.over, 1);
	CU_ASSERT_EQUAL(s.peer.aborted, ADIT_ERR_ENOUGH);
	end(&s);
}

static void ended_by_its_owner(void)
{
	struct setup s;

	make(&s, ROOM);
	raw_end(&s.raw, ADIT_ERR_SHUTDOWN);
	CU_ASSERT_STRING_EQUAL(s.peer.text, "abort SHUTDOWN|");
	run(&s);
	CU_ASSERT_EQUAL(s.end, ADIT_ERR_RESET);
	end(&s);
}

static const struct unit_test tests[] = {
	{"bytes go both ways, in order, over a narrow socket", both_ways},
	{"no more is read than one block beyond what the peer takes", reads_what_is_granted},
	{"the peer gets its credit back as the socket takes bytes", takes_what_it_granted},
	{"a preface goes before the peer's bytes", preface_goes_first},
	{"a socket's FIN is an end, and the other direction goes on for hours", socket_ends_first},
	{"the peer's end is a FIN behind all its bytes, and the other direction goes on", peer_ends_first},
	{"a socket's RST is an abort", socket_resets},
	{"what was read before a RST leaves before the abort", last_words_before_a_reset},
	{"an abort does not wait long for what cannot leave, and a RST is noticed while nothing is read",
	 last_words_that_cannot_leave},
	{"a RST behind a FIN is noticed", reset_behind_an_end},
	{"a RST that a write finds is no end", reset_found_by_writing},
	{"the peer's abort is a RST behind what it had said", peer_aborts},
	{"a RST while the last bytes are written ends it", reset_when_all_is_said},
	{"a refused socket is reset, and its half hears the refusal out", refused},
	{"its owner may end it", ended_by_its_owner},
};

UNIT_MAIN("raw", tests)
