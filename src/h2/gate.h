/* gate: looks at the frames of a far end that is a stranger before nghttp2 gets them.
 * Layer h2, internal; h2.c has one for each connection that answers strangers, which are visitors.
 * Invariants: nghttp2 gets every byte of the frames that pass, in order, and frames whole or not at all; field blocks
 * always pass, for they change HPACK's state. What is done for a stream ends that stream only.
 *
 * Rules of RFC 9113 that nghttp2 1.52 does not keep, or keeps at the cost of the whole connection:
 *
 *   frame                                         nghttp2             here
 *   HEADERS on a stream that was passed over      ignored             connection error PROTOCOL_ERROR (5.1.1)
 *   HEADERS, DATA on a stream that its end left   ignored             connection error STREAM_CLOSED (5.1)
 *   HEADERS on one stream too many                connection error    REFUSED_STREAM (5.1.2): h2_gate_settings
 *   HEADERS of a stream that depends on another   a tree of them      priorities are not looked at (5.3.2)
 *   PRIORITY on stream 0                          ignored             connection error PROTOCOL_ERROR (6.3)
 *   PRIORITY of another size than 5               connection error    stream error FRAME_SIZE_ERROR (6.3)
 *   WINDOW_UPDATE by 0 on a stream                connection error    stream error PROTOCOL_ERROR (6.9)
 *   SETTINGS that makes a window too large        stream error        connection error FLOW_CONTROL_ERROR (6.9.2)
 */
#ifndef ADIT_H2_GATE_H
#define ADIT_H2_GATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Streams that are remembered to have been ended by the far end: what comes on one of them is its fault for sure. */
#define GATE_ENDED 64
/** The largest frame that is judged by its payload: WINDOW_UPDATE. */
#define GATE_SMALL (9 + 4)
/** One entry of SETTINGS. */
#define GATE_ENTRY 6

struct h2;

enum gate_way { GATE_PASS, GATE_HOLD, GATE_DROP };

struct h2_gate {
	size_t preface;             /* bytes of it that have come */
	uint8_t frame[GATE_SMALL];  /* the arriving frame's header; of one that is held all */
	size_t have;                /* bytes of the header */
	size_t length, at;          /* of its payload, and how many have come */
	enum gate_way way;
	size_t blank;               /* HEADERS, PRIORITY: where the priority begins, SIZE_MAX = there is none */
	uint8_t entry[GATE_ENTRY];  /* SETTINGS: the entry that is arriving; a priority: the stream that it names */
	unsigned acks;
	unsigned allowed;           /* so many requests more are looked at */
	size_t left;                /* bytes that were not looked at therefore */
	bool shut;                  /* it has ended the connection: nothing passes any more */
	bool block;                 /* a field block has begun and not ended */
	uint32_t blocks;
	int32_t last;               /* the highest stream that HEADERS named */
	int32_t passed_from, passed_to; /* the streams that were passed over last */
	int32_t ended[GATE_ENDED];
	unsigned ended_count;
};

/** Bytes from the far end, which nghttp2 gets as far as they pass. False: it does not go on, by nghttp2's word `*err`
 *  (a negative NGHTTP2_ERR_*, or 0 when a GOAWAY says why). */
bool h2_gate_recv(struct h2 *h, const uint8_t *p, size_t n, int *err);
/** The far end has ended that stream, or reset it. */
void h2_gate_ended(struct h2_gate *g, int32_t id);
/** Submits the limit of concurrent streams. 0 or a negative NGHTTP2_ERR_*.
 *  It is a SETTINGS frame of its own, whose acknowledgement nghttp2 never gets: one stream too many it refuses until
 *  then, and ends the connection after it. */
int h2_gate_settings(struct h2 *h, uint32_t streams);

#endif
