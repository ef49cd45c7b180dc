/* calm: what a stranger may make us do for nothing, counted for each connection; the limits stand in calm.c.
 * Layer h2, internal: the gate tells it of each of his frames before nghttp2 gets it, h2.c of the fields as they are
 * decoded and of what we send.
 * Invariants: reads no clock (h2_clock brings the time). A kind's tokens come back with time; for the data that
 * we send, windows may be opened and PINGs sent beside that. What has none left ends the connection: GOAWAY
 * ENHANCE_YOUR_CALM, ADIT_ERR_FLOOD.
 */
#ifndef ADIT_H2_CALM_H
#define ADIT_H2_CALM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** CONTINUATION frames of one field block: 32 KiB of fields take two behind HEADERS, some peers cut smaller. Empty
 *  ones count (VU#421644). */
#define CALM_CONTINUATIONS 8
/** Decoded bytes of one field block, with 32 for each field (RFC 9113 section 6.5.2): above the 32 KiB that are taken
 *  it is still read, to be answered 431. What one byte of HPACK can stand for makes that dear beyond this. */
#define CALM_BLOCK_MAX (128u * 1024)
/** Entries of one SETTINGS frame, each of which is applied to all streams; there are ten that mean anything. */
#define CALM_SETTINGS 32
/** Frames that wait to be sent, data not counted, of somebody who makes us answer and does not read. The largest that
 *  can become many is an acknowledged PING: 17 bytes. What 128 streams are answered is within it several times. */
#define CALM_QUEUE 1024

/** Resets from which on a connection's requests are paced, long before it is ended: as many as pages give up on the
 *  way. Each costs the far end of the tunnel as much as a request; 128 at once bound nothing when they are given up. */
#define CALM_HASTY 32

enum calm_kind {
	CALM_RESET,  /* a stream that was reset, by either side */
	CALM_ANSWER, /* a frame that has to be answered: PING, SETTINGS */
	CALM_WINDOW, /* WINDOW_UPDATE */
	CALM_EMPTY,  /* a frame that brings nothing: DATA without a byte, PRIORITY, of unknown type */
	CALM_KINDS
};

struct calm {
	uint32_t crowd; /* so many times the limits of one */
	struct {
		uint32_t spent;
		uint64_t earned;   /* free, for the data that we have sent */
		uint64_t since_us; /* tokens have come back until then */
	} kinds[CALM_KINDS];
	unsigned continuations; /* of this block */
	unsigned turned_away;   /* requests whose reset is not sent yet */
	size_t block;           /* decoded bytes of it */
};

struct h2;

/** The gate: a frame's header has come. False: it is one too many. */
bool h2_calm_frame(struct h2 *h);
/** The gate: some frames have come. False: more waits to be sent than anybody leaves unread. */
bool h2_calm_queue(const struct h2 *h);
/** A field of the block that arrives is decoded. False: that block is too large to go on. */
bool h2_calm_field(struct h2 *h, size_t name, size_t value);
/** So many of its streams were reset of late that its requests are to be paced. */
bool h2_calm_hasty(const struct h2 *h);
/** RST_STREAM goes out; `known` when there was a stream to reset. */
void h2_calm_reset(struct h2 *h, bool known, uint32_t code);
/** A request for which we have no memory, or no window, is reset before there is a stream: that is no fault of his. */
void h2_calm_turned_away(struct h2 *h);
/** DATA goes out: who reads it has reason to open windows. `left`: of the stream's window, behind it. */
void h2_calm_data(struct h2 *h, size_t n, int32_t left);
/** Ends it for that reason. */
void h2_calm_end(struct h2 *h);

#endif
