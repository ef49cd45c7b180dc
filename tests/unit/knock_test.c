/* knock: one question and its answer on a fresh carrier; what came behind the answer is kept for the link. */
#include "session/knock.h"

#include "pipe_script.h"
#include "unit.h"

/* Enough of a JSON text for a frame that nobody reads here. */
#define TEXT "{\"epoch\":1}"

enum deed { LEAVE_IT, YIELD, FREE, SAY_MORE };

struct scene {
	struct loop *loop;
	struct pipe *pipe;
	struct stream *far, *mine; /* aditd's end; adit's, once it was yielded */
	struct knock *knock;
	struct buf rest;
	enum deed deed;            /* what `answered` does */
	unsigned answers;
	int type, err;             /* of the last one; type -1: there was no frame */
	size_t n;
};

static void answered(void *arg, const struct frame *f, int err, const char *detail)
{
	struct scene *s = arg;

	(void)detail;
	s->answers++;
	s->type = f ? (int)f->type : -1;
	s->n = f ? f->n : 0;
	s->err = err;
	if (s->deed == YIELD)
		s->mine = knock_yield(&s->knock, &s->rest);
	else if (s->deed == FREE)
		knock_free(&s->knock);
	else if (s->deed == SAY_MORE && s->answers == 1)
		knock_say(s->knock, FRAME_ATTACH, TEXT, sizeof(TEXT) - 1);
}

static void begin(struct scene *s, enum deed deed, const void *behind, size_t n)
{
	struct buf rest = BUF_INIT;

	memset(s, 0, sizeof(*s));
	s->deed = deed;
	s->loop = loop_new();
	s->pipe = pipe_new(s->loop, 4096);
	s->far = &s->pipe->end[1].base;
	buf_init(&s->rest);
	if (n)
		CU_ASSERT_EQUAL(buf_add(&rest, behind, n), 0);
	s->knock = knock_new(s->loop, &s->pipe->end[0].base, &rest, answered, s);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s->knock);
	CU_ASSERT_EQUAL(rest.len, 0);
}

static void end(struct scene *s)
{
	knock_free(&s->knock);
	stream_free(&s->mine);
	stream_free(&s->far);
	loop_settle(s->loop);
	CU_ASSERT_TRUE(pipe_is_over(s->pipe));
	CU_ASSERT_EQUAL(s->loop->timer_count, 0);
	buf_clear(&s->rest);
	pipe_free(s->pipe);
	loop_free(&s->loop);
}

/* Everything that can happen now, `step` bytes at a time. */
static void settle(struct scene *s, size_t step)
{
	for (bool busy = true; busy;) {
		busy = loop_turn(s->loop);
		busy = pipe_move(s->pipe, step) > 0 || busy;
		if (s->pipe->end[0].stopped || s->answers > 1)
			continue;
		busy = pipe_tell(s->pipe) || busy;
	}
}

static void far_says(struct scene *s, const void *p, size_t n)
{
	const struct iovec iov = {(void *)(uintptr_t)p, n};

	CU_ASSERT_EQUAL(stream_write(s->far, &iov, 1), (ssize_t)n);
}

static size_t frame_of(uint8_t *out, enum frame_type type, const void *p, size_t n)
{
	frame_header(out, type, n);
	memcpy(out + FRAME_HEADER_LEN, p, n);
	return FRAME_HEADER_LEN + n;
}

/* Question, answer, and three bytes of the link behind it, in pieces of every size. */
static void whole(void)
{
	for (size_t step = 1; step < 40; step++) {
		uint8_t bytes[64], got[8];
		struct scene s;
		size_t n = frame_of(bytes, FRAME_ATTACHED, TEXT, sizeof(TEXT) - 1);

		begin(&s, YIELD, NULL, 0);
		knock_say(s.knock, FRAME_ATTACH, TEXT, sizeof(TEXT) - 1);
		settle(&s, step);
		CU_ASSERT_EQUAL(s.answers, 0);
		CU_ASSERT_EQUAL(s.pipe->way[0].arrived, n);
		CU_ASSERT_EQUAL(s.pipe->way[0].bytes[0], FRAME_ATTACH);
		CU_ASSERT_EQUAL(memcmp(s.pipe->way[0].bytes + FRAME_HEADER_LEN, TEXT, sizeof(TEXT) - 1), 0);
		memcpy(bytes + n, "abc", 3);
		far_says(&s, bytes, n + 3);
		settle(&s, step);
		CU_ASSERT_EQUAL(s.answers, 1);
		CU_ASSERT_EQUAL(s.type, FRAME_ATTACHED);
		CU_ASSERT_EQUAL(s.n, sizeof(TEXT) - 1);
		CU_ASSERT_PTR_NOT_NULL_FATAL(s.mine);
		/* what is not in `rest` is still in the stream */
		n = buf_take(&s.rest, got, sizeof(got));
		while (n < 3) {
			ssize_t r;

			pipe_move(s.pipe, step);
			r = stream_read(s.mine, got + n, sizeof(got) - n);
			CU_ASSERT_FATAL(r > 0);
			n += (size_t)r;
		}
		CU_ASSERT_EQUAL(n, 3);
		CU_ASSERT_EQUAL(memcmp(got, "abc", 3), 0);
		end(&s);
	}
}

/* First PING, then ATTACH on the same carrier; the second answer may already lie behind the first. */
static void asks_twice(void)
{
	uint8_t bytes[64];
	struct scene s;
	size_t n = frame_of(bytes, FRAME_PONG, "\0\0\0\0\0\0\0\0", 8);

	n += frame_of(bytes + n, FRAME_CLOSE, "\1\231", 2);
	begin(&s, SAY_MORE, bytes, n);
	knock_say(s.knock, FRAME_PING, "\0\0\0\0\0\0\0\0", 8);
	loop_settle(s.loop);
	CU_ASSERT_EQUAL(s.answers, 2);
	CU_ASSERT_EQUAL(s.type, FRAME_CLOSE);
	CU_ASSERT_EQUAL(s.n, 2);
	CU_ASSERT_FALSE(loop_jump(s.loop, s.loop->ms + 2 * KNOCK_MS)); /* nothing is awaited any more */
	end(&s);
}

static void fails_with(enum deed deed, const void *p, size_t n, int notice, int err)
{
	struct scene s;

	begin(&s, deed, NULL, 0);
	knock_say(s.knock, FRAME_ATTACH, TEXT, sizeof(TEXT) - 1);
	if (n)
		far_says(&s, p, n);
	if (notice) {
		loop_turn(s.loop);
		pipe_move(s.pipe, SIZE_MAX);
		s.pipe->notice[0] = notice;
		pipe_die(s.pipe);
		pipe_tell(s.pipe);
	}
	for (int i = 0; i < 4 && s.knock && !s.answers; i++) {
		loop_turn(s.loop);
		pipe_move(s.pipe, SIZE_MAX);
		pipe_tell(s.pipe);
	}
	CU_ASSERT_EQUAL(s.answers, 1);
	CU_ASSERT_EQUAL(s.type, -1);
	CU_ASSERT_EQUAL(s.err, err);
	end(&s);
}

static void failures(void)
{
	uint8_t data[16];
	size_t n = frame_of(data, FRAME_DATA, "x", 1);

	for (int deed = LEAVE_IT; deed <= FREE; deed += FREE) {
		fails_with((enum deed)deed, data, n, 0, ADIT_ERR_PROTO);
		fails_with((enum deed)deed, "HTTP/1.1 200 OK", 15, 0, ADIT_ERR_PROTO);
		fails_with((enum deed)deed, NULL, 0, ADIT_ERR_EOF, ADIT_ERR_EOF);
		fails_with((enum deed)deed, NULL, 0, ADIT_ERR_RESET, ADIT_ERR_RESET);
		fails_with((enum deed)deed, data, 2, ADIT_ERR_EOF, ADIT_ERR_EOF);
	}
}

static void silence(void)
{
	struct scene s;
	uint64_t began;

	begin(&s, FREE, NULL, 0);
	began = s.loop->ms;
	knock_say(s.knock, FRAME_PING, "\0\0\0\0\0\0\0\0", 8);
	settle(&s, SIZE_MAX);
	CU_ASSERT_FALSE(loop_jump(s.loop, began + KNOCK_MS - 1));
	CU_ASSERT_TRUE(loop_jump(s.loop, began + KNOCK_MS));
	CU_ASSERT_EQUAL(s.answers, 1);
	CU_ASSERT_EQUAL(s.err, ADIT_ERR_TIMEOUT);
	end(&s);
}

/* Dropped before it has said anything. */
static void dropped(void)
{
	struct scene s;

	begin(&s, LEAVE_IT, "rest", 4);
	knock_say(s.knock, FRAME_ATTACH, TEXT, sizeof(TEXT) - 1);
	knock_free(&s.knock);
	loop_settle(s.loop);
	CU_ASSERT_EQUAL(s.answers, 0);
	CU_ASSERT_EQUAL(s.pipe->way[0].written, 0);
	end(&s);
}

static const struct unit_test tests[] = {
	{"an answer in pieces of any size is told once, and what lies behind it is kept", whole},
	{"after PONG the same carrier is asked again", asks_twice},
	{"DATA, another protocol, an end and a reset are answers too", failures},
	{"silence is an answer after five seconds", silence},
	{"one that is dropped says nothing and leaves nothing", dropped},
};

UNIT_MAIN("knock", tests)
