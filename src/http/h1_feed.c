/* llhttp's side of the parser: its calls become judged parts of a head, and its errors become ours. */
#include "http/h1_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/err.h"
#include "base/memory.h"

/* ---- text that comes in parts */

static int piece_own(struct h1_piece *x, size_t n)
{
	size_t cap = x->cap ? x->cap : 256;
	char *own = x->own;

	while (cap < n)
		cap *= 2;
	if (cap != x->cap) {
		bool collected = x->s.p == x->own;

		own = memory_grow_wiped(x->own, collected ? x->s.n : 0, cap);
		if (!own)
			return ADIT_ERR_NOMEM;
		if (collected)
			x->s.p = own;
		x->own = own;
		x->cap = cap;
	}
	if (x->s.n && x->s.p != own)
		memcpy(own, x->s.p, x->s.n);
	x->s.p = own;
	return 0;
}

static int piece_add(struct h1_piece *x, const char *at, size_t n)
{
	int r;

	if (!x->s.n) {
		x->s = (struct str){at, n};
		return 0;
	}
	r = piece_own(x, x->s.n + n);
	if (r)
		return r;
	memcpy(x->own + x->s.n, at, n);
	x->s.n += n;
	return 0;
}

/* The input is about to go away. */
static int piece_keep(struct h1_piece *x)
{
	return x->s.n && x->s.p != x->own ? piece_own(x, x->s.n) : 0;
}

static void piece_clear(struct h1_piece *x)
{
	if (x->s.n && x->s.p == x->own)
		secret_wipe(x->own, x->s.n); /* it may have been an Authorization */
	x->s = (struct str){"", 0};
}

/* ---- what llhttp calls; anything but 0 stops it, the reason stands in the parser */

static int told(struct h1_parser *p, int r)
{
	if (r == ADIT_ERR_NOMEM && p->state != H1_FAILED)
		h1_fail(p, r, "out of memory");
	return r ? HPE_USER : 0;
}

static int on_url(llhttp_t *ll, const char *at, size_t n)
{
	struct h1_parser *p = ll->data;

	return told(p, piece_add(&p->url, at, n));
}

static int on_name(llhttp_t *ll, const char *at, size_t n)
{
	struct h1_parser *p = ll->data;

	return told(p, piece_add(&p->name, at, n));
}

static int on_value(llhttp_t *ll, const char *at, size_t n)
{
	struct h1_parser *p = ll->data;

	return told(p, piece_add(&p->value, at, n));
}

static int on_method_done(llhttp_t *ll)
{
	struct h1_parser *p = ll->data;

	return told(p, p->kind == H1_REQUEST ? h1_judge_method(p, ll->method) : 0);
}

static int on_url_done(llhttp_t *ll)
{
	struct h1_parser *p = ll->data;
	int r = h1_judge_target(p, p->url.s);

	piece_clear(&p->url);
	return told(p, r);
}

static int on_version_done(llhttp_t *ll)
{
	struct h1_parser *p = ll->data;

	return told(p, h1_judge_version(p, ll->http_major, ll->http_minor));
}

static int on_name_done(llhttp_t *ll)
{
	struct h1_parser *p = ll->data;

	if (h1_is_token(p->name.s))
		return 0;
	return told(p, h1_fail(p, ADIT_ERR_BAD_REQUEST, "field name not a token"));
}

static int on_value_done(llhttp_t *ll)
{
	struct h1_parser *p = ll->data;
	struct str value = str_trim(p->value.s);
	int r;

	if (!p->name.s.n)
		r = h1_fail(p, ADIT_ERR_BAD_REQUEST, "field without a name");
	else if (p->state == H1_TRAILERS)
		r = h1_judge_trailer(p, p->name.s, value);
	else
		r = h1_judge_field(p, p->name.s, value);
	piece_clear(&p->name);
	piece_clear(&p->value);
	return told(p, r);
}

static int on_complete(llhttp_t *ll)
{
	struct h1_parser *p = ll->data;

	p->complete = true;
	return 0;
}

static int on_chunk_header(llhttp_t *ll)
{
	struct h1_parser *p = ll->data;

	p->complete = true;
	p->left = ll->content_length;
	return 0;
}

static int on_body(llhttp_t *ll, const char *at, size_t n)
{
	struct h1_parser *p = ll->data;

	p->paused = p->events->body(p->arg, (const uint8_t *)at, n);
	return 0;
}

static int on_message_done(llhttp_t *ll)
{
	struct h1_parser *p = ll->data;

	if (p->state == H1_TRAILERS)
		p->complete = true;
	return 0;
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_name,
	.on_header_value = on_value,
	.on_headers_complete = on_complete,
	.on_body = on_body,
	.on_message_complete = on_message_done,
	.on_url_complete = on_url_done,
	.on_method_complete = on_method_done,
	.on_version_complete = on_version_done,
	.on_header_field_complete = on_name_done,
	.on_header_value_complete = on_value_done,
	.on_chunk_header = on_chunk_header,
};

/* A token that is no method llhttp knows is 501; a byte that no method has is 400. */
static int wrong_method(struct h1_parser *p)
{
	char at = *llhttp_get_error_pos(&p->ll);

	if (h1_is_tchar(p->first) && (h1_is_tchar(at) || at == ' '))
		return h1_fail(p, ADIT_ERR_BAD_METHOD, "method not known");
	return h1_fail(p, ADIT_ERR_BAD_REQUEST, "no method");
}

static int keep_pieces(struct h1_parser *p)
{
	int r = piece_keep(&p->url);

	if (!r)
		r = piece_keep(&p->name);
	if (!r)
		r = piece_keep(&p->value);
	return r ? h1_fail(p, r, "out of memory") : 0;
}

int h1_feed(struct h1_parser *p, const char *s, size_t n)
{
	llhttp_errno_t e;

	if (!n)
		return 0;
	e = llhttp_execute(&p->ll, s, n);
	if (p->state == H1_FAILED)
		return p->err;
	/* it stops after a head that it takes for a switch of protocols; what follows is not its matter anyway */
	if (e == HPE_OK || (e == HPE_PAUSED_UPGRADE && p->complete))
		return keep_pieces(p);
	if (e == HPE_INVALID_METHOD)
		return wrong_method(p);
	return h1_fail(p, ADIT_ERR_BAD_REQUEST, llhttp_get_error_reason(&p->ll));
}

static void piece_free(struct h1_piece *x)
{
	piece_clear(x);
	free(x->own);
	x->own = NULL;
	x->cap = 0;
}

void h1_feed_init(struct h1_parser *p)
{
	llhttp_init(&p->ll, p->kind == H1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	p->ll.data = p;
	/* any digits as version: which ones are right is judged here, to tell 505 from 400 */
	p->ll.lenient_flags |= LENIENT_VERSION;
}

void h1_feed_reset(struct h1_parser *p)
{
	struct h1_piece *const pieces[] = {&p->url, &p->name, &p->value};

	llhttp_reset(&p->ll);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
		piece_clear(pieces[i]);
		if (pieces[i]->cap > H1_PIECE_KEEP)
			piece_free(pieces[i]);
	}
}

void h1_feed_free(struct h1_parser *p)
{
	piece_free(&p->url);
	piece_free(&p->name);
	piece_free(&p->value);
}
