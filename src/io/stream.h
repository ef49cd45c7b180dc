/* stream: the byte-stream contract. TCP, TLS, and streams made of other streams (carriers) all implement it.
 * Layer io; everything above moves bytes through it only.
 *
 * Contract
 *  - read and write never block and never call back. Handlers are called from the loop, never from within a call.
 *  - `readable` means a read would give something other than AGAIN; it comes again in each turn until that is read,
 *    or reading is paused. End and errors are found by reading (or writing) too, and are final.
 *  - `writable` comes once, some time after a write that took less than it was given.
 *  - `leaving` is a hint, from the loop, at most once: the far end takes nothing new on the connection below (GOAWAY
 *    of HTTP/2) and will end it some day. Reading and writing go on as before; who can should move to another one.
 *  - stream_free ends it: no handler is called any more; what is unsent may be lost. Memory goes at the turn's bottom,
 *    so it may be called from its own handlers.
 */
#ifndef ADIT_IO_STREAM_H
#define ADIT_IO_STREAM_H

#include <sys/types.h>
#include <sys/uio.h>

#include "io/loop.h"

/** Textual addresses: an IPv6 address with a zone, or "unix". */
#define ADDRESS_TEXT_MAX 64

/** The far end as the kernel, or a PROXY protocol header, names it. */
struct address {
	char ip[ADDRESS_TEXT_MAX]; /* "192.0.2.1", "2001:db8::1", "unix" */
	uint16_t port;             /* 0 for unix */
};

struct stream_handler {
	void (*readable)(void *owner);
	void (*writable)(void *owner);
};

struct stream;

struct stream_ops {
	/* > 0 bytes, or ADIT_ERR_AGAIN, ADIT_ERR_EOF (the peer's FIN or close_notify), or another error. */
	ssize_t (*read)(struct stream *s, void *p, size_t n);
	/* Bytes taken, 0 when none can be now; or an error: then any part of them may have left. */
	ssize_t (*write)(struct stream *s, const struct iovec *iov, int count);
	/* Stops and starts `readable`. */
	void (*pause)(struct stream *s, bool paused);
	/* Bytes taken by write that the kernel has not got yet. */
	size_t (*unsent)(const struct stream *s);
	/* No more writes: sends close_notify and FIN behind what is unsent. Reading goes on. */
	void (*finish)(struct stream *s);
	/* Without reading: 0, or what reading would come to behind all that is unread: ADIT_ERR_EOF, or ADIT_ERR_RESET
	 * when nothing can be sent either. May be NULL: then nobody knows. */
	int (*ended)(const struct stream *s);
	/* After a read that said AGAIN, or gave less than was asked for: has anything come all the same that it could not give
	 * yet (a part of a TLS record, or more of them than one read looks at)? May be NULL: no. */
	bool (*holds)(const struct stream *s);
	/* Makes stream_free end it so that the peer sees an error and no orderly end (TCP: RST). May be NULL. */
	void (*spoil)(struct stream *s);
	/* Frees it; called at the bottom of a turn. `stop` comes first, at once: no more handlers. */
	void (*stop)(struct stream *s);
	void (*destroy)(struct stream *s);
	/* One line about the last error ("certificate has expired"), "" when the code says all. Lives with the stream. */
	const char *(*detail)(const struct stream *s);
};

struct stream {
	const struct stream_ops *ops;
	const struct stream_handler *handler;
	void *owner;
	struct loop *loop;
	struct task free_task;
	struct address peer;
	const char *alpn; /* what TLS agreed on, "" before or when nothing; a static string */
	bool tls;         /* this stream is TLS (not: something below it is) */
	bool left;        /* see stream_leaving */
	void (*leaving)(void *owner);
};

/** For implementers: fills the common part. The stream begins paused, without handler. */
void stream_init(struct stream *s, const struct stream_ops *ops, struct loop *loop);

/** Sets who is told; the stream stays paused or not as it was. Of `leaving` nobody is told before stream_on_leaving. */
void stream_own(struct stream *s, const struct stream_handler *h, void *owner);

/** The owner wants to be told of `leaving`. What came before this call is only in stream_leaving: ask it too. */
void stream_on_leaving(struct stream *s, void (*fn)(void *owner));
/** Has the far end said that the connection below should be left soon? */
static inline bool stream_leaving(const struct stream *s)
{
	return s->left;
}
/** For implementers, from the loop: it has. */
void stream_leave(struct stream *s);

/** Ends it, see the contract. Null is fine. */
void stream_free(struct stream **s);

static inline ssize_t stream_read(struct stream *s, void *p, size_t n)
{
	return s->ops->read(s, p, n);
}

static inline ssize_t stream_write(struct stream *s, const struct iovec *iov, int count)
{
	return s->ops->write(s, iov, count);
}

static inline void stream_pause(struct stream *s, bool paused)
{
	s->ops->pause(s, paused);
}

static inline size_t stream_unsent(const struct stream *s)
{
	return s->ops->unsent(s);
}

static inline void stream_finish(struct stream *s)
{
	s->ops->finish(s);
}

static inline int stream_ended(const struct stream *s)
{
	return s->ops->ended ? s->ops->ended(s) : 0;
}

static inline bool stream_holds(const struct stream *s)
{
	return s->ops->holds && s->ops->holds(s);
}

static inline void stream_spoil(struct stream *s)
{
	if (s->ops->spoil)
		s->ops->spoil(s);
}

static inline const char *stream_detail(const struct stream *s)
{
	return s->ops->detail ? s->ops->detail(s) : "";
}

#endif
