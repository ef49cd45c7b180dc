#include "link/frame.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

/* What each type is called and how long its payload may be. */
static const struct frame_kind {
	const char *name;
	uint32_t min, max;
} kinds[] = {
	[FRAME_DATA] = {"DATA", 1, FRAME_DATA_MAX},
	[FRAME_ACK] = {"ACK", 8, 8},
	[FRAME_PING] = {"PING", 8, 8},
	[FRAME_PONG] = {"PONG", 8, 8},
	[FRAME_HELLO] = {"HELLO", 2, FRAME_CONTROL_MAX},
	[FRAME_WELCOME] = {"WELCOME", 2, FRAME_CONTROL_MAX},
	[FRAME_ATTACH] = {"ATTACH", 2, FRAME_CONTROL_MAX},
	[FRAME_ATTACHED] = {"ATTACHED", 2, FRAME_CONTROL_MAX},
	[FRAME_DRAIN] = {"DRAIN", 4, 4},
	[FRAME_CLOSE] = {"CLOSE", 2, 2 + FRAME_REASON_MAX},
};

static const struct frame_kind *kind_of(unsigned type)
{
	return type < sizeof(kinds) / sizeof(kinds[0]) ? &kinds[type] : NULL;
}

void frame_parser_init(struct frame_parser *p)
{
	memset(p, 0, sizeof(*p));
}

void frame_parser_clear(struct frame_parser *p)
{
	free(p->payload);
	frame_parser_init(p);
}

/* Judges a complete header. The parser stays on a bad one, so that asking again gives the same answer. */
static int header_judge(struct frame_parser *p)
{
	const struct frame_kind *kind = kind_of(p->header[0]);
	uint32_t len = get_u32(p->header) & 0xffffff;

	if (!kind || len < kind->min || len > kind->max)
		return ADIT_ERR_PROTO;
	p->type = p->header[0];
	p->left = len;
	p->got = 0;
	return 0;
}

/* Takes bytes of the header. 1: complete and good; 0: more are needed. */
static int header_parse(struct frame_parser *p, const uint8_t *data, size_t n, size_t *used)
{
	size_t take = (size_t)FRAME_HEADER_LEN - p->header_got;
	int r;

	if (take > n)
		take = n;
	if (take)
		memcpy(p->header + p->header_got, data, take);
	p->header_got = (uint8_t)(p->header_got + take);
	*used = take;
	if (p->header_got < FRAME_HEADER_LEN)
		return 0;
	r = header_judge(p);
	return r < 0 ? r : 1;
}

/* Gathers a control payload that arrives in pieces. 1: complete; 0: more is needed. */
static int gather(struct frame_parser *p, const uint8_t *data, size_t n, size_t *taken)
{
	size_t take = p->left < n ? p->left : n;

	*taken = 0;
	if (!n)
		return 0;
	if (!p->payload) {
		p->payload = malloc((size_t)p->got + p->left);
		if (!p->payload)
			return ADIT_ERR_NOMEM;
	}
	memcpy(p->payload + p->got, data, take);
	p->got += (uint32_t)take;
	p->left -= (uint32_t)take;
	*taken = take;
	return p->left == 0;
}

static int control_parse(struct frame_parser *p, const uint8_t *data, size_t n, size_t *used, struct frame *out)
{
	size_t taken;
	int r;

	if (p->got == 0 && n >= p->left) {
		*out = (struct frame){(enum frame_type)p->type, data, p->left};
		*used += p->left;
		p->left = 0;
	} else {
		r = gather(p, data, n, &taken);
		*used += taken;
		if (r <= 0)
			return r;
		*out = (struct frame){(enum frame_type)p->type, p->payload, p->got};
	}
	p->header_got = 0;
	return 1;
}

static int data_parse(struct frame_parser *p, const uint8_t *data, size_t n, size_t *used, struct frame *out)
{
	size_t take = p->left < n ? p->left : n;

	if (!take)
		return 0;
	*out = (struct frame){FRAME_DATA, data, take};
	*used += take;
	p->left -= (uint32_t)take;
	if (!p->left)
		p->header_got = 0;
	return 1;
}

int frame_parse(struct frame_parser *p, const uint8_t *data, size_t n, size_t *used, struct frame *out)
{
	*used = 0;
	if (!p->left) {
		int r;

		/* the payload handed over last time has been looked at by now */
		free(p->payload);
		p->payload = NULL;
		r = header_parse(p, data, n, used);
		if (r <= 0)
			return r;
		data += *used;
		n -= *used;
	}
	return p->type == FRAME_DATA ? data_parse(p, data, n, used, out) : control_parse(p, data, n, used, out);
}

void frame_header(uint8_t out[FRAME_HEADER_LEN], enum frame_type type, size_t payload_len)
{
	put_u32(out, (uint32_t)type << 24 | (uint32_t)payload_len);
}

void put_u16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

void put_u32(uint8_t *p, uint32_t v)
{
	put_u16(p, (uint16_t)(v >> 16));
	put_u16(p + 2, (uint16_t)v);
}

void put_u64(uint8_t *p, uint64_t v)
{
	put_u32(p, (uint32_t)(v >> 32));
	put_u32(p + 4, (uint32_t)v);
}

uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

uint32_t get_u32(const uint8_t *p)
{
	return (uint32_t)get_u16(p) << 16 | get_u16(p + 2);
}

uint64_t get_u64(const uint8_t *p)
{
	return (uint64_t)get_u32(p) << 32 | get_u32(p + 4);
}

const char *frame_name(enum frame_type type)
{
	const struct frame_kind *kind = kind_of((unsigned)type);

	return kind ? kind->name : "?";
}
