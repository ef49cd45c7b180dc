/* ws_int: what the parts of ws share: ws.c (the stream), ws_send.c, ws_receive.c.
 * Layer carrier; for them only.
 * Invariants: only whole frames are ever made, so that a Pong or a Close can follow at any time; after a Close nothing
 * is sent. wslay makes and judges frames but never sees a mask, for its own masking goes byte by byte.
 *
 *     write  payload ─► wslay ─► mask bit and key set, masked ─► lent block ─► lower stream, what it leaves: `out`
 *     read   lower stream ─► the caller's memory ─► mask bit and key taken out ─► wslay ─► unmasked, back in place
 */
#ifndef ADIT_CARRIER_WS_INT_H
#define ADIT_CARRIER_WS_INT_H

#include <wslay/wslay.h>

#include "carrier/ws.h"

/** RFC 6455 section 5.2: two bytes, a 64-bit length, the masking key. */
#define WS_HEAD_MAX 14
#define WS_MASK_LEN 4
/** RFC 6455 section 5.5. */
#define WS_CONTROL_MAX 125
/** Keys drawn from the random generator at a time: a draw costs more than the masking of a small message. */
#define WS_KEYS_DRAWN 32

struct ws {
	struct stream base;
	struct stream *lower;
	wslay_frame_context_ptr frames;
	bool masks;         /* what we send; what we receive has to be the opposite */
	bool paused, short_write;
	int failed;         /* how reading ended */
	bool failure_read;  /* the owner knows */
	int out_failed;     /* how writing ended */
	struct task again;  /* something to read is here, whatever the lower stream has */
	char detail[160];

	/* sending */
	struct buf out;       /* frames that the lower stream has not taken */
	uint8_t *made;        /* where frames are made, during the call that makes them */
	size_t made_n;
	bool head_due;        /* what wslay sends next is a header */
	uint8_t out_key[WS_MASK_LEN];
	uint64_t out_off;     /* payload of this frame masked so far */
	uint8_t keys[WS_KEYS_DRAWN * WS_MASK_LEN];
	size_t keys_left;
	uint8_t pong[WS_PONGS_MAX * WS_CONTROL_MAX];
	size_t pong_n;
	bool pong_due, close_sent, lower_finished;

	/* receiving */
	struct buf rest;         /* came before us */
	const uint8_t *from;     /* what was just read: [from, from_end) is not yet given to wslay */
	const uint8_t *from_end;
	uint8_t *to;             /* where payload goes, never beyond `from` */
	uint8_t head[WS_HEAD_MAX];
	size_t head_n, head_want;
	bool head_given;         /* to wslay */
	uint64_t left;           /* payload of this frame that wslay has not got */
	uint64_t in_off;         /* payload of this frame unmasked so far */
	bool fragmented;         /* between the first and the last frame of a message */
	uint8_t control[WS_CONTROL_MAX];
	size_t control_n;
	unsigned empty;          /* frames since the last one with payload */
};

static inline struct ws *ws_of(const struct stream *s)
{
	return container_of(s, struct ws, base);
}

/** Copies `n` bytes, the first of which is number `off` of its frame, with the mask put on or taken off. */
void ws_mask(uint8_t *to, const uint8_t *p, size_t n, const uint8_t key[WS_MASK_LEN], uint64_t off);

/** wslay_frame_send_callback. */
ssize_t ws_put(const uint8_t *p, size_t n, int flags, void *arg);
/** Sends what waits, and a Pong that is due. 0 or how writing ended. */
int ws_flush(struct ws *w);
/** The last frame that we send; the lower stream is finished behind it. */
void ws_send_close(struct ws *w, const uint8_t *p, size_t n);
void ws_send_close_code(struct ws *w, uint16_t code);
ssize_t ws_write(struct stream *s, const struct iovec *iov, int count);

/** wslay_frame_recv_callback. */
ssize_t ws_give(uint8_t *p, size_t n, int flags, void *arg);
void ws_next_frame(struct ws *w);
/** Ends reading. */
void ws_fail(struct ws *w, int err, const char *detail);
/** Turns the `n` bytes at `p` into the payload that they hold, in place; returns how much that is. */
size_t ws_unframe(struct ws *w, uint8_t *p, size_t n);

#endif
