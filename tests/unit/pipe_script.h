/* pipe_script: two streams joined in memory: a carrier whose every byte and whose end are the test's. For unit tests
 * only, on loop_script's loop. Bytes written are on their way until pipe_move lets them arrive. When the last byte
 * before a direction's cut has arrived the carrier dies: those ends that are to notice find EOF or a reset, the
 * others nothing, ever, and no byte arrives any more. Or, instead, the first end is told there that the connection
 * below will end (stream_leave), and all goes on.
 */
#ifndef ADIT_TESTS_PIPE_SCRIPT_H
#define ADIT_TESTS_PIPE_SCRIPT_H

#include <string.h>

#include "io/stream.h"
#include "loop_script.h"
#include "seed.h"

/* Around what is done for an end that is not under test; see half_script.h. */
#ifndef SCRIPT_UNFAILING
#define SCRIPT_UNFAILING(on) (void)0
#endif

/** A whim's largest read and write: small, but headers and records pass now and then in one. */
#define PIPE_WHIM_MAX 300

struct pipe;

struct pipe_end {
	struct stream base;
	struct pipe *pipe;
	unsigned side;
	int err;             /* found when all that arrived is read */
	bool outside;        /* its owner is the test's */
	bool has_read;       /* since it was told */
	size_t record;       /* a read gives one whole record of so many bytes, as TLS would; 0: all that is there */
	bool paused, stopped, destroyed, finished, spoilt, wants_room;
};

/** One direction: from end[i] to the other. */
struct pipe_way {
	uint8_t *bytes;
	size_t cap, written, arrived, taken;
	size_t cut;          /* how many arrive before it dies */
};

struct pipe {
	struct pipe_end end[2];
	struct pipe_way way[2];
	size_t room;         /* bytes of each direction on their way at most */
	int notice[2];       /* what each end finds when the carrier has died; 0 = nothing */
	bool leaves;         /* at the cut it does not die, but says that it will */
	bool dead;
	uint32_t whim;       /* a seed: reads and writes move few bytes at a time, now and then none; 0 = all they can */
};

/* How many bytes a call moves of the `n` that it could. */
static inline size_t pipe_whim(struct pipe *p, size_t n)
{
	size_t most;

	if (!p->whim)
		return n;
	most = seed_below(&p->whim, 4) ? 1 + seed_below(&p->whim, seed_below(&p->whim, 3) ? 20 : PIPE_WHIM_MAX) : 0;
	return n < most ? n : most;
}

static inline struct pipe_end *pipe_end_of(const struct stream *s)
{
	return (struct pipe_end *)(uintptr_t)s;
}

static inline ssize_t pipe_read(struct stream *s, void *p, size_t n)
{
	struct pipe_end *e = pipe_end_of(s), *far = &e->pipe->end[1 - e->side];
	struct pipe_way *w = &e->pipe->way[1 - e->side];

	if (n > w->arrived - w->taken)
		n = w->arrived - w->taken;
	if (e->record)
		n = n < e->record ? 0 : e->record;
	if (n && e->pipe->whim) {
		size_t few = pipe_whim(e->pipe, n);

		/* the first read after `readable` gives something (stream.h) */
		if (!few && e->has_read)
			return ADIT_ERR_AGAIN;
		n = few ? few : 1;
		e->has_read = true;
	}
	if (n) {
		memcpy(p, w->bytes + w->taken, n);
		w->taken += n;
		return (ssize_t)n;
	}
	if (!e->err && !e->pipe->dead && (far->stopped || far->finished) && w->arrived == w->written)
		e->err = ADIT_ERR_EOF;
	return e->err ? e->err : ADIT_ERR_AGAIN;
}

static inline size_t pipe_add(struct pipe_way *w, const void *p, size_t n, size_t room)
{
	size_t left = w->written - w->arrived < room ? room - (w->written - w->arrived) : 0;

	n = n < left ? n : left;
	if (w->written + n > w->cap) {
		w->cap = 2 * (w->written + n);
		w->bytes = realloc(w->bytes, w->cap);
		if (!w->bytes)
			abort();
	}
	if (n)
		memcpy(w->bytes + w->written, p, n);
	w->written += n;
	return n;
}

static inline ssize_t pipe_write(struct stream *s, const struct iovec *iov, int count)
{
	struct pipe_end *e = pipe_end_of(s);
	size_t done = 0;

	if (e->err && e->err != ADIT_ERR_EOF)
		return e->err;
	for (int i = 0; i < count && !e->wants_room; i++) {
		size_t few = pipe_whim(e->pipe, iov[i].iov_len);
		size_t n = pipe_add(&e->pipe->way[e->side], iov[i].iov_base, few, e->pipe->room);

		e->wants_room = n < iov[i].iov_len;
		done += n;
	}
	return (ssize_t)done;
}

static inline void pipe_pause(struct stream *s, bool paused)
{
	pipe_end_of(s)->paused = paused;
}

static inline size_t pipe_unsent(const struct stream *s)
{
	const struct pipe_end *e = pipe_end_of(s);

	return e->pipe->way[e->side].written - e->pipe->way[e->side].arrived;
}

static inline void pipe_finish(struct stream *s)
{
	pipe_end_of(s)->finished = true;
}

static inline bool pipe_holds(const struct stream *s)
{
	const struct pipe_end *e = pipe_end_of(s);
	const struct pipe_way *w = &e->pipe->way[1 - e->side];

	return e->record && w->arrived > w->taken;
}

static inline void pipe_spoil(struct stream *s)
{
	pipe_end_of(s)->spoilt = true;
}

static inline int pipe_ended(const struct stream *s)
{
	return pipe_end_of(s)->err;
}

/* A spoilt end lets the other one find a reset, behind what has arrived there. */
static inline void pipe_stop(struct stream *s)
{
	struct pipe_end *e = pipe_end_of(s), *far = &e->pipe->end[1 - e->side];

	e->stopped = true;
	if (e->spoilt && (!far->err || far->err == ADIT_ERR_EOF))
		far->err = ADIT_ERR_RESET;
}

static inline void pipe_destroy(struct stream *s)
{
	pipe_end_of(s)->destroyed = true;
}

static inline struct pipe *pipe_new(struct loop *l, size_t room)
{
	static const struct stream_ops ops = {
		.read = pipe_read, .write = pipe_write, .pause = pipe_pause, .unsent = pipe_unsent, .finish = pipe_finish,
		.spoil = pipe_spoil, .ended = pipe_ended, .holds = pipe_holds, .stop = pipe_stop, .destroy = pipe_destroy,
	};
	struct pipe *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	p->room = room;
	for (unsigned i = 0; i < 2; i++) {
		stream_init(&p->end[i].base, &ops, l);
		p->end[i].pipe = p;
		p->end[i].side = i;
		p->end[i].paused = true;
		p->way[i].cut = SIZE_MAX;
	}
	return p;
}

static inline void pipe_free(struct pipe *p)
{
	free(p->way[0].bytes);
	free(p->way[1].bytes);
	free(p);
}

/* Who notices by a reset loses what he has not read. */
static inline void pipe_die(struct pipe *p)
{
	p->dead = true;
	for (unsigned i = 0; i < 2; i++) {
		if (p->end[i].err)
			continue;
		p->end[i].err = p->notice[i];
		if (p->notice[i] == ADIT_ERR_RESET)
			p->way[1 - i].taken = p->way[1 - i].arrived;
	}
}

/* Lets at most `max` bytes of each direction arrive; how many did. */
static inline size_t pipe_move(struct pipe *p, size_t max)
{
	size_t moved = 0;

	for (unsigned i = 0; i < 2; i++) {
		struct pipe_way *w = &p->way[i];
		size_t n = w->written - w->arrived;

		if (n > max)
			n = max;
		if (n > w->cut - w->arrived)
			n = w->cut - w->arrived;
		if (p->dead)
			return moved;
		w->arrived += n;
		moved += n;
		if (w->arrived == w->cut && p->leaves) {
			w->cut = SIZE_MAX;
			stream_leave(&p->end[0].base);
		} else if (w->arrived == w->cut) {
			pipe_die(p);
		}
	}
	return moved;
}

static inline bool pipe_has_news(const struct pipe_end *e)
{
	const struct pipe_end *far = &e->pipe->end[1 - e->side];
	const struct pipe_way *w = &e->pipe->way[1 - e->side];

	return w->arrived > w->taken || e->err ||
	       (!e->pipe->dead && (far->stopped || far->finished) && w->arrived == w->written);
}

/* Tells the owners what a loop would. True when anybody was told. */
static inline bool pipe_tell(struct pipe *p)
{
	bool told = false;

	for (unsigned i = 0; i < 2; i++) {
		struct pipe_end *e = &p->end[i];

		if (!e->stopped && e->base.handler && e->wants_room && pipe_unsent(&e->base) < p->room) {
			e->wants_room = false;
			if (e->outside)
				SCRIPT_UNFAILING(true);
			e->base.handler->writable(e->base.owner);
			if (e->outside)
				SCRIPT_UNFAILING(false);
			told = true;
		}
		if (!e->stopped && e->base.handler && !e->paused && pipe_has_news(e)) {
			e->has_read = false;
			if (e->outside)
				SCRIPT_UNFAILING(true);
			e->base.handler->readable(e->base.owner);
			if (e->outside)
				SCRIPT_UNFAILING(false);
			told = true;
		}
	}
	return told;
}

/* Both owners have let go, and the loop has ended both. */
static inline bool pipe_is_over(const struct pipe *p)
{
	return p->end[0].destroyed && p->end[1].destroyed;
}

#endif
