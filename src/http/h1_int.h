/* h1_int: what the pieces of h1 share: the parser's state, and the judgements on text.
 * Layer http, for h1_*.c and their tests only.
 * Invariant: a judgement depends on the bytes of the message alone, never on how the input was cut.
 */
#ifndef ADIT_HTTP_H1_INT_H
#define ADIT_HTTP_H1_INT_H

#include <llhttp.h>

#include "http/h1.h"

/** Members of a message's Connection fields. Each is looked up among the fields: it bounds that product. */
#define H1_CONNECTION_OPTIONS_MAX 32
/** Chunk extensions of one message: so many bytes, and so many more for each byte of its chunks. Nobody reads them, and
 *  a byte of body could cost 256 of them. */
#define H1_EXTENSIONS_FREE 8192
#define H1_EXTENSIONS_RATIO 16
/** Digits of a chunk's size: 64 bits. */
#define H1_CHUNK_DIGITS_MAX 16
/** Memory for text cut by the end of input that an idle parser keeps. */
#define H1_PIECE_KEEP 4096
/** As long as " HTTP/1.1". */
#define H1_TAIL 9

/*
 *            ┌──────────────── 1xx ────────────────┐
 *            ▼                                     │
 *  h1_next► IDLE ──► HEAD ──┬──────────────────────┴───────────► END ──► DONE
 *                           ├─► LENGTH ────────────────────────► END
 *                           ├─► CLOSE ──────────────── (FIN) ──► END
 *                           ├─► CHUNK_LINE ──► TRAILERS ───────► END
 *                           │     ▲   └─► CHUNK_DATA ─► CHUNK_END ─┐
 *                           │     └────────────────────────────────┘
 *                           └─► SWITCHED      (any error: FAILED, for good)
 */
enum h1_state {
	H1_IDLE,
	H1_HEAD,
	H1_LENGTH,
	H1_CLOSE,
	H1_CHUNK_LINE,
	H1_CHUNK_DATA,
	H1_CHUNK_END,
	H1_TRAILERS,
	H1_END,
	H1_DONE,
	H1_SWITCHED,
	H1_FAILED,
	H1_STATES
};

/** Text that llhttp tells in one or more parts: borrowed from the input while it can be, else collected in `own`. */
struct h1_piece {
	struct str s;
	char *own;
	size_t cap;
};

struct h1_parser {
	llhttp_t ll;
	enum h1_kind kind;
	enum h1_state state;
	const struct h1_events *events;
	void *arg;
	int err;
	const char *detail;
	int paused; /* what the body event within llhttp returned */

	struct head head;
	struct fields trailers;
	struct h1_piece url, name, value;

	/* lines of a head, a trailer section, or a chunk header */
	bool cr;           /* the last byte was a CR */
	bool blank;        /* an empty line came before the start line */
	char first;        /* of the start line */
	char tail[H1_TAIL]; /* of the start line, the line end not counted */
	uint32_t spaces;   /* in the start line */
	uint32_t lines;    /* complete ones */
	size_t line;       /* bytes of the current one, its end not counted */
	size_t bytes;      /* of the section */
	unsigned digits;   /* of a chunk's size */
	bool size_done;    /* the digits are over */

	/* what the head said */
	bool complete;     /* llhttp has seen its end; then of the chunk header, then of the trailer section */
	bool absolute;     /* the target named the authority */
	unsigned hosts, lengths, codings, options, counted;
	uint64_t left;     /* body or chunk bytes to come */
	uint64_t extensions, chunked; /* bytes of chunk extensions so far, and of chunks */

	unsigned interim;  /* 1xx heads so far */
	bool was_head, was_connect;
};

/** Makes the parser FAILED and returns the error as the owner gets it. */
int h1_fail(struct h1_parser *p, int err, const char *detail);

bool h1_is_tchar(char c);
/** One token (RFC 9110 section 5.6.2), not empty. */
bool h1_is_token(struct str s);
/** The offset of the first control byte other than HTAB, `n` when there is none. */
size_t h1_control(const char *s, size_t n);
/** host[:port] with none of what routing and fields could take for something else. */
bool h1_authority_ok(struct str a);
/** origin-form: begins with "/", visible ASCII, no fragment. */
bool h1_path_ok(struct str s);
/** May that field not stand in a trailer section (RFC 9110 section 6.5.1)? Any case. */
bool h1_not_in_trailers(struct str name);

/** llhttp within the parser. h1_feed gives it bytes that were scanned; 0 or what h1_fail returned. */
void h1_feed_init(struct h1_parser *p);
void h1_feed_reset(struct h1_parser *p);
void h1_feed_free(struct h1_parser *p);
int h1_feed(struct h1_parser *p, const char *s, size_t n);

/** The parts judged as they come; 0 or what h1_fail returned. */
int h1_judge_method(struct h1_parser *p, unsigned method);
int h1_judge_version(struct h1_parser *p, unsigned major, unsigned minor);
int h1_judge_target(struct h1_parser *p, struct str target);
int h1_judge_field(struct h1_parser *p, struct str name, struct str value);
int h1_judge_trailer(struct h1_parser *p, struct str name, struct str value);

/** The complete head: sets its length, close and protocol, and `*next`, the state that the body makes. */
int h1_judge_head(struct h1_parser *p, enum h1_state *next);

#endif
