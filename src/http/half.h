/* half: the contract between the two ends of one HTTP message exchange.
 * Layer http; edge, origin, h2 implement it, exchange couples two of them, carriers made of HTTP use it too.
 * A half knows only its peer. Whatever arrives at one is told to the other through the peer's ops.
 *
 *     asking half (visitor's side)                     answering half (origin's side)
 *        head(request)      ─────────────────────────►
 *        body …, end        ─────────────────────────►
 *                           ◄─────────────────────────   head(1xx) …, head(response)
 *                           ◄─────────────────────────   body …, end
 *        credit             ◄────────────────────────►   credit          (how much body I take next)
 *        abort(why)         ◄────────────────────────►   abort(why)      (no more in either direction)
 *
 * Rules
 *  1. Each op is a call on the *peer*: half_body(me, …) reaches me->peer. Ops never fail; an op that cannot be
 *     carried out (out of memory, protocol) makes the callee abort, at once or from a task.
 *  2. body: never more bytes than the callee has granted by credit and not yet got. Nothing is granted at first.
 *     An op may be called from within another op (credit from body, and so on), so a half settles its own state
 *     before it calls its peer.
 *  3. end comes at most once in each direction, with trailers or without. head comes before it.
 *  4. After abort in either direction neither half calls the other again: half_abort unlinks both first.
 *     abort(ADIT_ERR_ENOUGH) after one's own end says: what you still send is not wanted. What was ended stays valid.
 *  5. When both directions have ended, the halves unlink with half_done.
 *  6. A half that is not linked has a null peer, and every half_* call on it is a no-op.
 *  7. Pointers in the arguments, and `why`, are valid only during the call.
 */
#ifndef ADIT_HTTP_HALF_H
#define ADIT_HTTP_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct head;
struct fields;
struct half;

/** What a half reads from its socket at a time: the bodies of four of the session's DATA frames (h2/h2.h), so that no
 *  small rest of a read makes a frame, a TLS record and a send of its own. */
#define HALF_READ (4 * 16331)

struct half_ops {
	/* A message head. For a request `bodyless` says that end follows at once. */
	void (*head)(struct half *self, const struct head *h, bool bodyless);
	void (*body)(struct half *self, const uint8_t *p, size_t n);
	/* The message is complete; trailers may be NULL. */
	void (*end)(struct half *self, const struct fields *trailers);
	/* `n` more body bytes may be sent to the caller. */
	void (*credit)(struct half *self, size_t n);
	/* It is over, for the reason `err` (ADIT_ERR_*). Already unlinked. */
	void (*abort)(struct half *self, int err);
};

struct half {
	const struct half_ops *ops;
	struct half *peer;
	const char *why; /* during abort: one line for people about the reason; NULL = the error says all */
};

static inline void half_link(struct half *a, struct half *b)
{
	a->peer = b;
	b->peer = a;
}

static inline void half_head(struct half *me, const struct head *h, bool bodyless)
{
	if (me->peer)
		me->peer->ops->head(me->peer, h, bodyless);
}

static inline void half_body(struct half *me, const uint8_t *p, size_t n)
{
	if (me->peer)
		me->peer->ops->body(me->peer, p, n);
}

static inline void half_end(struct half *me, const struct fields *trailers)
{
	if (me->peer)
		me->peer->ops->end(me->peer, trailers);
}

static inline void half_credit(struct half *me, size_t n)
{
	if (me->peer && n)
		me->peer->ops->credit(me->peer, n);
}

static inline void half_abort_why(struct half *me, int err, const char *why)
{
	struct half *peer = me->peer;

	if (!peer)
		return;
	me->peer = NULL;
	peer->peer = NULL;
	peer->why = why;
	peer->ops->abort(peer, err);
}

static inline void half_abort(struct half *me, int err)
{
	half_abort_why(me, err, NULL);
}

/** Unlinks both without a word; for when everything has been said. */
static inline void half_done(struct half *me)
{
	if (me->peer)
		me->peer->peer = NULL;
	me->peer = NULL;
}

#endif
