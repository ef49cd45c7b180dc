/* poll: link bytes as numbered messages in plain HTTP requests, for networks that pass nothing else.
 * Layer carrier; this is what both ends share: a stream above, two queues of messages below. poll_dialled.c (adit) and
 * poll_answered.c (aditd) move the messages; doc/wire.md has the requests.
 *
 *        owner             pipe                                         requests
 *     stream_write ──► out ─► poll_pipe_pop: message n, n+1, … ───────► relay bodies (adit), poll answers (aditd)
 *     stream_read  ◄── ready ◄─ poll_pipe_arrive: in order again ◄───── the other side's
 *
 * Invariants: a message is numbered once and never changes, so it may be sent twice and arrive twice; what arrives early
 * waits, up to POLL_WINDOW bytes; an empty message is the stream's end. Handlers are called from tasks only.
 */
#ifndef ADIT_CARRIER_POLL_H
#define ADIT_CARRIER_POLL_H

#include "base/buf.h"
#include "base/list.h"
#include "http/half.h"
#include "io/stream.h"

/** nginx's and lighttpd's default limits of a body are well above. */
#define POLL_MESSAGE_MAX (256u * 1024)
/** Early messages that wait for their predecessors; and unread bytes from which on the sender is slowed. */
#define POLL_WINDOW (1024u * 1024)
/** So many messages may be under way in one direction, counted from the first that is not known to have arrived: what
 *  arrives early then stays within POLL_WINDOW, whatever is lost on the way and sent again. */
#define POLL_SPAN 4
/** How long a poll is held: under every ingress's 30 s. Halved where that is too long. */
#define POLL_HOLD_MS 20000
#define POLL_HOLD_LEAST_MS 5000
/** 128 random bits in hex. */
#define POLL_ID_HEX 32

/** One message; malloc'd. */
struct poll_message {
	struct list node;
	uint64_t seq;
	size_t n;
	uint8_t data[];
};

struct poll_pipe;

struct poll_pipe_ops {
	/* The owner has written, finished, or read. From within its call: post a task. */
	void (*moved)(struct poll_pipe *p);
	/* The stream is being freed: at once, no more calls. */
	void (*stop)(struct poll_pipe *p);
	/* Frees the memory that `p` is part of; poll_pipe has cleared its own. */
	void (*destroy)(struct poll_pipe *p);
};

struct poll_pipe {
	struct stream base;
	const struct poll_pipe_ops *ops;
	/* written by the owner */
	struct buf out;
	uint64_t out_seq;            /* number of the next message to be made */
	bool finished, end_made;     /* no more writes; the empty message has been made */
	bool short_write;
	/* for the owner to read */
	struct buf ready;
	struct list early;           /* poll_message, ascending */
	size_t early_bytes;
	uint64_t in_seq;             /* all below have arrived */
	bool in_ended;
	int failed;                  /* the carrier is lost */
	bool end_read, paused;
	char detail[160];
	struct task tell_readable, tell_writable;
};

/** The stream begins paused. */
void poll_pipe_init(struct poll_pipe *p, const struct poll_pipe_ops *ops, struct loop *l, const struct address *peer);
static inline struct poll_pipe *poll_pipe_of(const struct stream *s)
{
	return container_of(s, struct poll_pipe, base);
}

/** Bytes, or the end, for the next message? */
bool poll_pipe_has(const struct poll_pipe *p);
/** Makes the next message; the caller frees it. NULL: there is none, or the pipe has failed for want of memory. */
struct poll_message *poll_pipe_pop(struct poll_pipe *p);
/** Takes over a message that has arrived, in whatever order; one that is known already is dropped. Too many early ones
 *  make the pipe fail. */
void poll_pipe_arrive(struct poll_pipe *p, struct poll_message *m);
/** Has message `seq` arrived, or is it waiting among the early ones? */
bool poll_pipe_knows(const struct poll_pipe *p, uint64_t seq);
/** The carrier is lost: the owner reads `err`. */
void poll_pipe_fail(struct poll_pipe *p, int err, const char *detail);

/** malloc'd with room for `n` bytes, data not set. NULL: out of memory. */
struct poll_message *poll_message_new(uint64_t seq, size_t n);

#endif
