/* h2_int: what the files of h2/ share.
 * Layer h2, internal.
 */
#ifndef ADIT_H2_H2_INT_H
#define ADIT_H2_H2_INT_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/places.h"
#include "h2/calm.h"
#include "h2/gate.h"
#include "h2/h2.h"
#include "h2/sched.h"

/** Taken for the round trip while it is not known: windows grow on streams that bring 640 kB/s and more. */
#define H2_SRTT_UNKNOWN_US 50000
/** A window is told to be open again when this part of it was taken: so much of it is lost to the round trip. */
#define H2_WINDOW_TOLD_PARTS 4
/** So long after a small message bulk still counts as having company: visitors come again within it, and who comes
 *  later finds the way full once. */
#define H2_COMPANY_US 100000
/** Fields besides those of a message's list: pseudo fields, content-length, adit-status. */
#define H2_PSEUDO_MAX 8
/** What a field counts besides its text, RFC 9113 section 6.5.2. */
#define H2_FIELD_OVERHEAD 32

/** Flags of a field whose text nghttp2 reads where it is. */
#define H2_NOT_COPIED (NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE)

struct h2 {
	nghttp2_session *session;
	nghttp2_nv nva[HTTP_FIELDS_MAX + H2_PSEUDO_MAX]; /* scratch of one call: a field block for nghttp2 */
	const struct h2_events *events;
	void *owner;
	enum h2_role role;
	bool tunnel;
	bool gated;          /* the far end is a stranger: `gate` looks at its frames first */
	struct h2_gate gate;
	struct calm calm;
	bool calmed;         /* it was ended for too much of something */
	struct budget *budget;
	struct pool *pool;
	struct sched sched;
	struct list streams;
	struct list dead;    /* to be freed when no op of theirs can be running */
	struct list leaving; /* reset by us and buried; the far end has not said yet that it knows: they keep their places */
	unsigned open, opened, leaving_count;
	int32_t arriving;    /* the stream whose request's field block has begun and not ended, 0 = none */
	uint64_t given;      /* bytes that h2_pull has brought, and how many of them the far end is known to have */
	uint64_t arrived;
	bool goaway_sent, goaway_got;
	bool gone;           /* the far end is: see h2_cut */
	bool idle_due;       /* the last stream has ended, the owner is to be told */
	int error;           /* why the connection is of no further use, 0 = it is */
	bool settings_got;
	bool secret_got;     /* in what h2_recv is given */
	bool secret_held;    /* ever: what nghttp2 frees may have been it */
	uint32_t streams_max, window;
	uint64_t now_us;
	uint32_t srtt_us;
	/* sending */
	const uint8_t *rest; /* what nghttp2 gave and the caller had no room for */
	size_t rest_len;
	uint8_t *out;        /* the caller's buffer, during h2_pull only */
	size_t out_room;
	struct h2_stream *chosen;
	bool bulk_held;      /* see h2_hold_bulk */
	int32_t small_id;    /* which stream that is no bulk sent last, and when; 0 = long ago */
	uint64_t small_us;
	struct h2_stream *block; /* whose field block is arriving, until it is closed */
	uint64_t sent;       /* body bytes, of all streams */
};

/* What has been said in each direction: said by us to the far end, told by the far end to our peer half. */
struct h2_stream {
	struct half half;
	struct h2 *h2;
	struct list node;
	struct sched_entry turn;
	int32_t id;          /* -1 until the request is submitted */
	/* sending */
	char *text;          /* what nghttp2 will read of the head that waits there; NULL when it is sent */
	size_t text_len;
	struct buf out;      /* body taken from the peer, not yet given to nghttp2 */
	struct fields out_trailers;
	bool out_started;    /* the head is submitted, and a body follows */
	bool out_attached;   /* nghttp2 has its data source */
	bool out_ended;      /* the peer has said end */
	bool out_done;       /* END_STREAM is given to nghttp2 */
	bool out_sent;       /* and has gone out */
	bool enough;         /* behind END_STREAM goes RST_STREAM(NO_ERROR): the far end need not send the rest */
	bool rest_over;      /* it does so at once */
	/* receiving */
	struct head head;    /* of the block that is arriving */
	bool head_bad;       /* too large, or out of memory */
	int refused;         /* answering: why the request's head is refused, 0 = it is not */
	unsigned interim;    /* 1xx heads so far */
	bool got_final;      /* the request's or the final response's head has been told */
	struct buf in;       /* body that the peer has no credit for yet */
	size_t credit;       /* body bytes the peer takes now */
	struct fields in_trailers;
	bool in_ended;       /* END_STREAM has come */
	bool in_told;        /* and the peer was told */
	bool upgrade;        /* an upgrade or CONNECT: its 200 is told as 101 */
	bool raw;            /* CONNECT: a TCP connection's bytes */
	char *protocol;      /* asking: what the upgrade asked for, NULL for CONNECT */
	bool closed;         /* nghttp2 has forgotten it; what is in `in` has still to be told */
	uint32_t close_code;
	bool buried;         /* among the dead */
	bool telling;        /* in the middle of tell_buffered */
	uint64_t gone_at;    /* our RST_STREAM ends at this byte of what we gave; 0: there is none that counts */
	struct places *places; /* of who asked: it takes one of them up */
	/* window */
	uint32_t window;
	uint32_t window_used;    /* delivered since window_since */
	uint32_t window_untold;  /* delivered, and not yet told to the far end */
	uint64_t window_since;
	/* patience */
	uint64_t in_total;       /* body bytes that have come */
	uint64_t body_since_ms, body_mark;                   /* the body is waited for, 0 = it is not; in_total then */
	uint64_t rest_since_ms, rest_mark;                   /* the same, of the rest that is not wanted */
	uint64_t stall_since_ms, stall_mark, stall_mark_all; /* `out` waits; what was sent then, on all streams too */
};

/** What nghttp2 says to a submission. One that it had no memory for would be missing for ever (a reset, a window), so
 *  the connection is over then. */
static inline void h2_submitted(struct h2 *h, int rv)
{
	if (rv == NGHTTP2_ERR_NOMEM && !h->error)
		h->error = ADIT_ERR_NOMEM;
}

/* stream.c */
/** Takes the first window from the budget; NULL when it has none, or out of memory. */
struct h2_stream *h2_stream_new(struct h2 *h);
/** Moves it to the dead, unlinked. */
void h2_stream_bury(struct h2_stream *s);
void h2_stream_free(struct h2_stream *s);
/** Body bytes, a finished header block, the end, as they arrive. */
void h2_stream_data(struct h2_stream *s, const uint8_t *p, size_t n);
void h2_stream_block(struct h2_stream *s, bool end);
void h2_stream_end(struct h2_stream *s);
/** nghttp2 has closed it. */
void h2_stream_closed(struct h2_stream *s, uint32_t code);
/** Tells the peer half why it is over, and forgets what was to be passed on. */
void h2_stream_drop(struct h2_stream *s, int err);
/** Resets it, and does that. */
void h2_stream_fail(struct h2_stream *s, int err);
/** Its response is complete: what the far end still sends is not wanted. */
void h2_stream_enough(struct h2_stream *s);
/** Nor is the rest waited for: RST_STREAM goes as soon as it may. */
void h2_stream_rest_over(struct h2_stream *s);
/** A frame that carried END_STREAM has gone out. */
void h2_stream_ended(struct h2_stream *s);
/** It is the scheduler's choice: nghttp2 will ask it for data. */
void h2_stream_chosen(struct h2_stream *s);
/** nghttp2 has sent its head, or will never read it. */
void h2_stream_forget_text(struct h2_stream *s);
/** Queues it with the scheduler if it has something to send that the far end's window allows. */
void h2_stream_ready(struct h2_stream *s);
static inline void h2_wake(struct h2 *h)
{
	h->events->wake(h->owner);
}

/* ending.c */
/** It takes up none of its visitor's places any more. */
void h2_stream_give_place(struct h2_stream *s);
/** The far end has let go of it. */
void h2_stream_leave(struct h2_stream *s);

/* h2_setup.c */
/** For the session of `h`, which outlives it. */
nghttp2_mem h2_memory(struct h2 *h);
/** 0 or ADIT_ERR_NOMEM. */
int h2_submit_settings(struct h2 *h);

/* heads.c */
/** Name-value pairs of a head for nghttp2, which does not copy them: all texts must live until the frame is sent.
 *  `nva` has room for HTTP_FIELDS_MAX + H2_PSEUDO_MAX. */
size_t h2_heads_request(const struct head *h, char length[STR_U64_MAX], nghttp2_nv *nva);
size_t h2_heads_response(const struct head *h, char status[STR_U64_MAX], char length[STR_U64_MAX], nghttp2_nv *nva);
size_t h2_heads_fields(const struct fields *f, nghttp2_nv *nva);
/** Adds one arriving pair to the stream's head. 0, ADIT_ERR_PROTO, ADIT_ERR_HEAD_TOO_BIG, ADIT_ERR_NOMEM. */
int h2_heads_take(struct head *h, struct str name, struct str value);

/** HTTP/2 error code for an ADIT_ERR_*; and what one means that came from the far end to whoever has that role. */
uint32_t h2_code_of(int err);
int h2_err_of(enum h2_role role, uint32_t code);

#endif
