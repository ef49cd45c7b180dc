#include "link/handshake.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "link/frame.h"

/* Our own messages nest three deep; unknown members may a little more. Keeps the JSON reader's recursion short. */
#define DEPTH_MAX 8
/* JSON integers beyond 63 bits are not portable; no offset or epoch gets there. */
#define NUMBER_MAX INT64_MAX
#define HEX_MAX (2 * LINK_SECRET_LEN)
#define PROOF_LABEL "adit/1 attach"

/* ---- text */

/* The length of the UTF-8 character at `p` (RFC 3629: no overlong forms, no surrogates); 0 when it is not one, or a
 * control character (C0, DEL, C1). */
static size_t text_char(const uint8_t *p, size_t n)
{
	uint32_t c;
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

	if (len == 1)
		return p[0] >= 0x20 && p[0] != 0x7f;
	if (p[0] < 0xc2 || p[0] > 0xf4 || len > n)
		return 0;
	c = p[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < 0xa0 || (len == 3 && c < 0x800) || (len == 4 && (c < 0x10000 || c > 0x10ffff)))
		return 0;
	return c >= 0xd800 && c <= 0xdfff ? 0 : len;
}

static bool text_clean(const char *p, size_t n)
{
	while (n) {
		size_t step = text_char((const uint8_t *)p, n);

		if (!step)
			return false;
		p += step;
		n -= step;
	}
	return true;
}

/* ---- reading */

__attribute__((format(printf, 2, 3)))
static int refuse(struct wire_error *e, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	(void)vsnprintf(e->text, sizeof(e->text), format, ap);
	va_end(ap);
	return ADIT_ERR_PROTO;
}

static const char *type_name(const json_t *v)
{
	if (!v)
		return "nothing";
	switch (json_typeof(v)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_STRING:
		return "a string";
	case JSON_INTEGER:
		return "an integer";
	case JSON_REAL:
		return "a fraction";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	case JSON_NULL:
		break;
	}
	return "null";
}

static bool depth_allowed(const uint8_t *p, size_t n)
{
	bool quoted = false;
	int depth = 0;

	for (size_t i = 0; i < n; i++) {
		if (quoted && p[i] == '\\')
			i++;
		else if (p[i] == '"')
			quoted = !quoted;
		else if (!quoted && (p[i] == '{' || p[i] == '['))
			depth++;
		else if (!quoted && (p[i] == '}' || p[i] == ']'))
			depth--;
		if (depth > DEPTH_MAX)
			return false;
	}
	return true;
}

/* Errors give the position only: the reader's own words would quote the input, secrets and control bytes included. */
static int object_read(const uint8_t *p, size_t n, json_t **out, struct wire_error *e)
{
	json_error_t why;

	*out = NULL;
	if (n > FRAME_CONTROL_MAX)
		return refuse(e, "found %zu bytes of JSON, wanted at most %d", n, FRAME_CONTROL_MAX);
	if (!depth_allowed(p, n))
		return refuse(e, "JSON nests deeper than %d", DEPTH_MAX);
	*out = json_loadb((const char *)p, n, JSON_REJECT_DUPLICATES, &why);
	/* out of memory it says mostly nothing, and "invalid syntax" when that was within a string */
	if (!*out && (json_error_code(&why) == json_error_out_of_memory || json_error_code(&why) == json_error_unknown))
		return ADIT_ERR_NOMEM;
	if (!*out && json_error_code(&why) == json_error_duplicate_key)
		return refuse(e, "a JSON member stands twice before byte %d", why.position);
	if (!*out)
		return refuse(e, "not one JSON object: wrong at byte %d", why.position);
	if (!json_is_object(*out))
		return refuse(e, "found %s, wanted a JSON object", type_name(*out));
	return 0;
}

static int number_read(const json_t *o, const char *key, uint64_t max, uint64_t *out, struct wire_error *e)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_integer(v))
		return refuse(e, "%s: found %s, wanted an integer", key, type_name(v));
	if (json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
		return refuse(e, "%s: found %lld, wanted 0 to %llu", key, (long long)json_integer_value(v),
		              (unsigned long long)max);
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

static int text_read(const json_t *o, const char *key, size_t min, size_t cap, char *out, struct wire_error *e)
{
	const json_t *v = json_object_get(o, key);
	size_t n;

	if (!json_is_string(v))
		return refuse(e, "%s: found %s, wanted a string", key, type_name(v));
	n = json_string_length(v);
	if (n < min || n >= cap)
		return refuse(e, "%s: found %zu bytes, wanted %zu to %zu", key, n, min, cap - 1);
	if (!text_clean(json_string_value(v), n))
		return refuse(e, "%s: found a control character", key);
	memcpy(out, json_string_value(v), n + 1);
	return 0;
}

static int hex_read(const json_t *o, const char *key, uint8_t *out, size_t n, struct wire_error *e)
{
	const json_t *v = json_object_get(o, key);

	if (!json_is_string(v))
		return refuse(e, "%s: found %s, wanted a string", key, type_name(v));
	if (hex_decode(json_string_value(v), json_string_length(v), out, n) < 0)
		return refuse(e, "%s: wanted %zu hex digits", key, 2 * n);
	return 0;
}

static int tunnel_read(const json_t *o, bool given, struct wire_tunnel *t, struct wire_error *e)
{
	int r;

	if (!json_is_object(o))
		return refuse(e, "tunnels: found %s in it, wanted objects", type_name(o));
	/* asked for, an empty name means "a random one"; given, it is the name */
	r = text_read(o, "name", given ? 1 : 0, sizeof(t->name), t->name, e);
	if (r == 0)
		r = text_read(o, "label", 0, sizeof(t->label), t->label, e);
	if (r == 0 && given)
		r = text_read(o, "url", 0, sizeof(t->url), t->url, e);
	return r;
}

static int tunnels_read(const json_t *o, bool given, struct wire_tunnel *t, size_t *count, struct wire_error *e)
{
	const json_t *a = json_object_get(o, "tunnels");
	size_t n = json_array_size(a);
	int r;

	if (!json_is_array(a))
		return refuse(e, "tunnels: found %s, wanted an array", type_name(a));
	if (n < 1 || n > HANDSHAKE_TUNNELS_MAX)
		return refuse(e, "tunnels: found %zu, wanted 1 to %d", n, HANDSHAKE_TUNNELS_MAX);
	for (size_t i = 0; i < n; i++) {
		r = tunnel_read(json_array_get(a, i), given, &t[i], e);
		if (r < 0)
			return r;
	}
	*count = n;
	return 0;
}

static int version_read(const json_t *o, uint32_t *version, struct wire_error *e)
{
	uint64_t v = 0;
	int r = number_read(o, "version", NUMBER_MAX, &v, e);

	if (r < 0)
		return r;
	if (v != WIRE_VERSION)
		return refuse(e, "version: found %llu, wanted %d", (unsigned long long)v, WIRE_VERSION);
	*version = WIRE_VERSION;
	return 0;
}

static int hello_members(const json_t *o, bool attach, struct wire_hello *h, struct wire_error *e)
{
	int r = version_read(o, &h->version, e);

	if (r == 0)
		r = text_read(o, "agent", 1, sizeof(h->agent), h->agent, e);
	if (r == 0)
		r = hex_read(o, "client_key", h->client_key, sizeof(h->client_key), e);
	if (r == 0)
		r = tunnels_read(o, false, h->tunnels, &h->tunnel_count, e);
	if (r < 0 || !attach)
		return r;
	r = number_read(o, "epoch", NUMBER_MAX, &h->epoch, e);
	if (r == 0)
		r = number_read(o, "rx_offset", NUMBER_MAX, &h->rx_offset, e);
	if (r == 0)
		r = hex_read(o, "proof", h->proof, sizeof(h->proof), e);
	return r;
}

static int welcome_members(const json_t *o, bool attached, struct wire_welcome *w, struct wire_error *e)
{
	uint64_t resume = 0;
	int r = version_read(o, &w->version, e);

	if (r == 0)
		r = text_read(o, "agent", 1, sizeof(w->agent), w->agent, e);
	if (r == 0)
		r = tunnels_read(o, true, w->tunnels, &w->tunnel_count, e);
	if (r == 0)
		r = number_read(o, "resume_ms", UINT32_MAX, &resume, e);
	w->resume_ms = (uint32_t)resume;
	if (r < 0)
		return r;
	if (!attached)
		return hex_read(o, "secret", w->secret, sizeof(w->secret), e);
	r = number_read(o, "epoch", NUMBER_MAX, &w->epoch, e);
	if (r == 0)
		r = number_read(o, "rx_offset", NUMBER_MAX, &w->rx_offset, e);
	return r;
}

/* The JSON library frees strings as they are. */
static void object_free(json_t *o)
{
	const char *secret = json_string_value(json_object_get(o, "secret"));

	if (secret)
		secret_wipe((void *)(uintptr_t)secret, strlen(secret));
	json_decref(o);
}

static int hello_read(const uint8_t *p, size_t n, bool attach, struct wire_hello *out, struct wire_error *e)
{
	json_t *o;
	int r = object_read(p, n, &o, e);

	memset(out, 0, sizeof(*out));
	if (r == 0)
		r = hello_members(o, attach, out, e);
	object_free(o);
	return r;
}

static int welcome_read(const uint8_t *p, size_t n, bool attached, struct wire_welcome *out, struct wire_error *e)
{
	json_t *o;
	int r = object_read(p, n, &o, e);

	memset(out, 0, sizeof(*out));
	if (r == 0)
		r = welcome_members(o, attached, out, e);
	object_free(o);
	return r;
}

int wire_read_hello(const uint8_t *p, size_t n, struct wire_hello *out, struct wire_error *e)
{
	return hello_read(p, n, false, out, e);
}

int wire_read_attach(const uint8_t *p, size_t n, struct wire_hello *out, struct wire_error *e)
{
	return hello_read(p, n, true, out, e);
}

int wire_read_welcome(const uint8_t *p, size_t n, struct wire_welcome *out, struct wire_error *e)
{
	return welcome_read(p, n, false, out, e);
}

int wire_read_attached(const uint8_t *p, size_t n, struct wire_welcome *out, struct wire_error *e)
{
	return welcome_read(p, n, true, out, e);
}

/* ---- writing */

static int hex_set(json_t *o, const char *key, const uint8_t *p, size_t n)
{
	char hex[HEX_MAX + 1];
	int r;

	hex_encode(p, n, hex);
	r = json_object_set_new(o, key, json_string(hex));
	secret_wipe(hex, sizeof(hex));
	return r;
}

static int number_set(json_t *o, const char *key, uint64_t v)
{
	return json_object_set_new(o, key, v > NUMBER_MAX ? NULL : json_integer((json_int_t)v));
}

static json_t *tunnels_make(const struct wire_tunnel *t, size_t count, bool given)
{
	json_t *a = count <= HANDSHAKE_TUNNELS_MAX ? json_array() : NULL;
	int r = a ? 0 : -1;

	for (size_t i = 0; r == 0 && i < count; i++) {
		json_t *o = json_pack("{s:s, s:s}", "name", t[i].name, "label", t[i].label);

		if (given && o && json_object_set_new(o, "url", json_string(t[i].url)) < 0) {
			json_decref(o);
			o = NULL;
		}
		r = json_array_append_new(a, o);
	}
	if (r == 0)
		return a;
	json_decref(a);
	return NULL;
}

/* Takes `o`. Straight into the final buffer, so that no copy of a secret is left in one that grew. */
static char *finish(json_t *o, bool good, size_t *n)
{
	char *text = good ? malloc(FRAME_CONTROL_MAX + 1) : NULL;
	size_t len = text ? json_dumpb(o, text, FRAME_CONTROL_MAX, JSON_COMPACT) : 0;

	object_free(o);
	if (text && (len == 0 || len > FRAME_CONTROL_MAX)) {
		secret_wipe(text, FRAME_CONTROL_MAX);
		free(text);
		text = NULL;
	}
	if (text)
		text[len] = '\0';
	*n = text ? len : 0;
	return text;
}

static char *hello_write(const struct wire_hello *h, bool attach, size_t *n)
{
	json_t *o = json_pack("{s:I, s:s}", "version", (json_int_t)h->version, "agent", h->agent);
	bool good = hex_set(o, "client_key", h->client_key, sizeof(h->client_key)) == 0 &&
	            json_object_set_new(o, "tunnels", tunnels_make(h->tunnels, h->tunnel_count, false)) == 0;

	if (attach)
		good = good && number_set(o, "epoch", h->epoch) == 0 &&
		       number_set(o, "rx_offset", h->rx_offset) == 0 &&
		       hex_set(o, "proof", h->proof, sizeof(h->proof)) == 0;
	return finish(o, good, n);
}

static char *welcome_write(const struct wire_welcome *w, bool attached, size_t *n)
{
	json_t *o = json_pack("{s:I, s:s}", "version", (json_int_t)w->version, "agent", w->agent);
	bool good = json_object_set_new(o, "tunnels", tunnels_make(w->tunnels, w->tunnel_count, true)) == 0 &&
	            number_set(o, "resume_ms", w->resume_ms) == 0;

	if (attached)
		good = good && number_set(o, "epoch", w->epoch) == 0 && number_set(o, "rx_offset", w->rx_offset) == 0;
	else
		good = good && hex_set(o, "secret", w->secret, sizeof(w->secret)) == 0;
	return finish(o, good, n);
}

char *wire_write_hello(const struct wire_hello *h, size_t *n)
{
	return hello_write(h, false, n);
}

char *wire_write_attach(const struct wire_hello *h, size_t *n)
{
	return hello_write(h, true, n);
}

char *wire_write_welcome(const struct wire_welcome *w, size_t *n)
{
	return welcome_write(w, false, n);
}

char *wire_write_attached(const struct wire_welcome *w, size_t *n)
{
	return welcome_write(w, true, n);
}

/* ---- proof, names, CLOSE */

static uint8_t *put_text(uint8_t *at, const char *text)
{
	size_t n = strlen(text);

	put_u16(at, (uint16_t)n);
	memcpy(at + 2, text, n);
	return at + 2 + n;
}

/* The bytes under the HMAC (doc/wire.md, "Proof"): lengths stand before texts, so no two states give the same. */
static size_t proof_input(const uint8_t id[LINK_ID_LEN], const struct wire_hello *h, uint8_t *out)
{
	uint8_t *at = out;

	memcpy(at, PROOF_LABEL, sizeof(PROOF_LABEL));
	at += sizeof(PROOF_LABEL);
	memcpy(at, id, LINK_ID_LEN);
	at += LINK_ID_LEN;
	put_u64(at, h->epoch);
	put_u64(at + 8, h->rx_offset);
	put_u32(at + 16, h->version);
	at += 20;
	memcpy(at, h->client_key, sizeof(h->client_key));
	at = put_text(at + sizeof(h->client_key), h->agent);
	put_u16(at, (uint16_t)h->tunnel_count);
	at += 2;
	for (size_t i = 0; i < h->tunnel_count; i++)
		at = put_text(put_text(at, h->tunnels[i].name), h->tunnels[i].label);
	return (size_t)(at - out);
}

int wire_proof(const uint8_t secret[LINK_SECRET_LEN], const uint8_t id[LINK_ID_LEN], const struct wire_hello *h,
               uint8_t out[SHA256_LEN])
{
	/* every text with its length is shorter than its field, the NUL counted, plus one */
	size_t cap = sizeof(PROOF_LABEL) + LINK_ID_LEN + sizeof(*h) + 2 * HANDSHAKE_TUNNELS_MAX + 2;
	uint8_t *input = malloc(cap);
	int r;

	if (!input)
		return ADIT_ERR_NOMEM;
	r = digest_hmac(secret, LINK_SECRET_LEN, input, proof_input(id, h, input), out);
	free(input);
	return r;
}

size_t wire_write_close(uint16_t code, const char *reason, uint8_t *out, size_t cap)
{
	size_t n = reason ? strlen(reason) : 0, max;

	if (cap < 2)
		return 0;
	max = cap - 2 < FRAME_REASON_MAX ? cap - 2 : FRAME_REASON_MAX;
	if (n > max) {
		/* not in the middle of a character */
		for (n = max; n && ((uint8_t)reason[n] & 0xc0) == 0x80; n--)
			;
	}
	put_u16(out, code);
	if (n)
		memcpy(out + 2, reason, n);
	return 2 + n;
}

int wire_read_close(const uint8_t *p, size_t n, uint16_t *code, char *reason, size_t cap)
{
	size_t at = 0;

	if (n < 2 || n > 2 + FRAME_REASON_MAX || cap < 1)
		return ADIT_ERR_PROTO;
	*code = get_u16(p);
	for (size_t i = 2; i < n;) {
		size_t step = text_char(p + i, n - i);

		if (at + (step ? step : 1) >= cap)
			break;
		if (step)
			memcpy(reason + at, p + i, step);
		else
			reason[at] = '?';
		at += step ? step : 1;
		i += step ? step : 1;
	}
	reason[at] = '\0';
	return 0;
}

int wire_random_name(const char *label, const uint8_t token_hash[SHA256_LEN], const uint8_t client_key[16],
                     char out[16])
{
	uint8_t input[HANDSHAKE_LABEL_MAX + SHA256_LEN + 16], digest[SHA256_LEN];
	size_t n = strlen(label);
	int r;

	if (n > HANDSHAKE_LABEL_MAX)
		return ADIT_ERR_INVALID;
	memcpy(input, label, n);
	memcpy(input + n, token_hash, SHA256_LEN);
	memcpy(input + n + SHA256_LEN, client_key, 16);
	r = digest_sha256(input, n + SHA256_LEN + 16, digest);
	if (r < 0)
		return r;
	memcpy(out, "r-", 2);
	base32_encode(digest, sizeof(digest), out + 2, 13);
	return 0;
}
