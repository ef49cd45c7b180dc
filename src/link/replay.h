/* replay: the un-acked DATA of a link, and the cursor that writes it to the carrier of the day.
 * Layer link, for link.c only; no I/O, no clock.
 * One queue of chunks is both send queue and replay buffer: the writer is a cursor into it, an ack frees its head.
 *
 *     acked          position        end           offsets of payload bytes
 *       │ head ──────► │ cursor ─────► │ tail
 *       ▼              ▼               ▼
 *     [hdr│payload][hdr│payload][hdr│payload]      one block each, so that a frame is one iovec and one TLS record
 *
 * Invariants: acked <= position <= sent <= end; a chunk is freed only when wholly acked, so never under the cursor.
 */
#ifndef ADIT_LINK_REPLAY_H
#define ADIT_LINK_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/pool.h"
#include "link/frame.h"

struct replay_chunk {
	struct replay_chunk *next;
	uint64_t offset; /* of its first payload byte */
	uint32_t len;    /* payload bytes */
	uint32_t cap;
	uint8_t bytes[]; /* frame header, then payload */
};

/** What a chunk pulled at full size costs: the limit is held in these, so that small frames cannot outgrow it. */
#define REPLAY_CHUNK_COST (sizeof(struct replay_chunk) + FRAME_HEADER_LEN + FRAME_DATA_MAX)

struct replay {
	struct replay_chunk *head, *tail;
	struct replay_chunk *spare; /* what the next pull fills; kept only while there are chunks */
	size_t held;                /* bytes allocated for the chunks */
	struct pool *pool;          /* where chunks come from and go to, or NULL */
	uint64_t acked;
	uint64_t end;               /* bytes pulled */
	uint64_t sent;              /* bytes ever handed to some carrier */
	uint64_t resent;            /* bytes handed over more than once */
	struct replay_chunk *cursor; /* the chunk being written or to be written next; NULL: all is written */
	uint32_t start;             /* payload byte of its chunk at which the cursor's frame begins (replay) */
	uint32_t written;           /* bytes of the cursor's frame already written, header included */
	uint8_t header[FRAME_HEADER_LEN]; /* of the cursor's frame when start > 0 */
};

void replay_init(struct replay *r);
/** Frees the chunks; the offsets stay. */
void replay_clear(struct replay *r);

/** Room for FRAME_DATA_MAX bytes, NULL when out of memory; the caller owns it until replay_commit or replay_drop. */
struct replay_chunk *replay_room(struct replay *r);
/** Makes the first `n` > 0 bytes of the room the newest chunk. */
void replay_commit(struct replay *r, struct replay_chunk *c, size_t n);
/** Gives the room back unused. */
void replay_drop(struct replay *r, struct replay_chunk *c);

/** Everything before `offset` (acked <= offset <= position) has arrived. */
void replay_release(struct replay *r, uint64_t offset);
/** A new carrier: `offset` (acked <= offset <= sent) has arrived, write on from there. */
void replay_rewind(struct replay *r, uint64_t offset);
/** The carrier is gone: nothing is being written; a half-written frame is forgotten. */
void replay_halt(struct replay *r);

/** The offset behind the last payload byte written to this carrier. */
uint64_t replay_position(const struct replay *r);
/** Describes what is left of the frame of `c` (from the cursor on, by ->next). Returns iovecs used; `*n` += bytes. */
int replay_describe(const struct replay *r, const struct replay_chunk *c, struct iovec *iov, int max, size_t *n);
/** Bytes that the frame of `c` has left to write. */
size_t replay_frame_left(const struct replay *r, const struct replay_chunk *c);
/** The carrier took the next `n` bytes of DATA frames. */
void replay_wrote(struct replay *r, size_t n);

#endif
