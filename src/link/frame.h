/* frame: the link's frames on the wire (doc/wire.md, "Link frames").
 * Layer link; no I/O, no clock. link, and the acceptor that must read a first frame before it knows the link, use it.
 * Invariant: a control frame is handed over whole; DATA is handed over in pieces as it arrives.
 */
#ifndef ADIT_LINK_FRAME_H
#define ADIT_LINK_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_LEN 4 /* type 8 bits, payload length 24 bits, big endian */
/** Payload of a DATA frame: frame, WebSocket and outer HTTP/2 headers then fit one 16 384-byte TLS record. */
#define FRAME_DATA_MAX 16340
/** Payload of a control frame: the JSON of HELLO and its kind. */
#define FRAME_CONTROL_MAX 16384
/** CLOSE: a 16-bit code and at most this much reason text. */
#define FRAME_REASON_MAX 512

enum frame_type {
	FRAME_DATA = 0,     /* bytes of the session */
	FRAME_ACK = 1,      /* u64: offset up to which DATA has been received */
	FRAME_PING = 2,     /* u64 opaque */
	FRAME_PONG = 3,     /* u64 echoed */
	FRAME_HELLO = 4,    /* JSON, adit -> aditd: first frame of a new link */
	FRAME_WELCOME = 5,  /* JSON, the answer */
	FRAME_ATTACH = 6,   /* JSON, adit -> aditd: first frame of a resumed link */
	FRAME_ATTACHED = 7, /* JSON, the answer */
	FRAME_DRAIN = 8,    /* u32 milliseconds: move to another carrier or server, at a random time within */
	FRAME_CLOSE = 9,    /* u16 code + UTF-8 reason; the link is over */
};

struct frame_parser {
	uint8_t header[FRAME_HEADER_LEN];
	uint8_t header_got;
	uint8_t type;
	uint32_t left;      /* payload bytes still to come */
	uint32_t got;       /* payload bytes gathered (control frames) */
	uint8_t *payload;   /* malloc'd when a control frame arrives in pieces */
};

void frame_parser_init(struct frame_parser *p);
void frame_parser_clear(struct frame_parser *p);

/** One piece handed over by frame_parse. */
struct frame {
	enum frame_type type;
	const uint8_t *p; /* control: the whole payload; DATA: one piece. Valid until the next frame_parse or clear. */
	size_t n;
};

/**
 * Takes bytes from `data` until one frame (or one piece of DATA) is there. `*used` says how many bytes were taken.
 * 1: `*out` is filled; 0: more bytes are needed; ADIT_ERR_PROTO: unknown type, or a length its type does not
 * allow (empty DATA too); ADIT_ERR_NOMEM.
 */
int frame_parse(struct frame_parser *p, const uint8_t *data, size_t n, size_t *used, struct frame *out);

/** Writes a 4-byte header. */
void frame_header(uint8_t out[FRAME_HEADER_LEN], enum frame_type type, size_t payload_len);

void put_u16(uint8_t *p, uint16_t v);
void put_u32(uint8_t *p, uint32_t v);
void put_u64(uint8_t *p, uint64_t v);
uint16_t get_u16(const uint8_t *p);
uint32_t get_u32(const uint8_t *p);
uint64_t get_u64(const uint8_t *p);

/** The type's name for traces ("DATA"); a static string, "?" when unknown. */
const char *frame_name(enum frame_type type);

#endif
