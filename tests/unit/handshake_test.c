#include "link/handshake.h"

#include <string.h>

#include "base/err.h"
#include "link/frame.h"
#include "unit.h"

#define KEY "000102030405060708090a0b0c0d0e0f"
#define HEX64 KEY "101112131415161718191a1b1c1d1e1f"
#define ASKED "\"tunnels\":[{\"name\":\"shop\",\"label\":\"web\"}]"
#define GIVEN "\"tunnels\":[{\"name\":\"shop\",\"label\":\"web\",\"url\":\"https://shop.example.com\"}]"
#define HEAD "\"version\":1,\"agent\":\"adit/0.1.0\","
#define HELLO "{" HEAD "\"client_key\":\"" KEY "\"," ASKED "}"
#define STATE "\"epoch\":7,\"rx_offset\":99"
#define ATTACH "{" HEAD "\"client_key\":\"" KEY "\"," ASKED "," STATE ",\"proof\":\"" HEX64 "\"}"
#define WELCOME "{" HEAD GIVEN ",\"resume_ms\":30000,\"secret\":\"" HEX64 "\"}"
#define ATTACHED "{" HEAD GIVEN ",\"resume_ms\":30000," STATE "}"

enum kind { K_HELLO, K_ATTACH, K_WELCOME, K_ATTACHED };

static int read_kind(enum kind kind, const char *text, size_t n, struct wire_error *e)
{
	struct wire_hello *h = malloc(sizeof(*h));
	struct wire_welcome *w = malloc(sizeof(*w));
	const uint8_t *p = (const uint8_t *)text;
	int r = ADIT_ERR_NOMEM;

	e->text[0] = '\0';
	if (h && w)
		r = kind == K_HELLO ? wire_read_hello(p, n, h, e) : kind == K_ATTACH ? wire_read_attach(p, n, h, e) :
		    kind == K_WELCOME ? wire_read_welcome(p, n, w, e) : wire_read_attached(p, n, w, e);
	free(h);
	free(w);
	return r;
}

static struct wire_hello *hello_make(void)
{
	struct wire_hello *h = calloc(1, sizeof(*h));

	if (!h)
		abort();
	h->version = WIRE_VERSION;
	strcpy(h->agent, "adit/0.1.0");
	for (size_t i = 0; i < sizeof(h->client_key); i++)
		h->client_key[i] = (uint8_t)i;
	for (size_t i = 0; i < sizeof(h->proof); i++)
		h->proof[i] = (uint8_t)i;
	h->tunnel_count = 1;
	strcpy(h->tunnels[0].name, "shop");
	strcpy(h->tunnels[0].label, "web");
	h->epoch = 7;
	h->rx_offset = 99;
	return h;
}

static struct wire_welcome *welcome_make(void)
{
	struct wire_welcome *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->version = WIRE_VERSION;
	strcpy(w->agent, "adit/0.1.0");
	for (size_t i = 0; i < sizeof(w->secret); i++)
		w->secret[i] = (uint8_t)i;
	w->tunnel_count = 1;
	strcpy(w->tunnels[0].name, "shop");
	strcpy(w->tunnels[0].label, "web");
	strcpy(w->tunnels[0].url, "https://shop.example.com");
	w->resume_ms = 30000;
	w->epoch = 7;
	w->rx_offset = 99;
	return w;
}

static void check_text(char *text, size_t n, const char *wanted)
{
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_EQUAL(n, strlen(wanted));
	CU_ASSERT_STRING_EQUAL(text, wanted);
	free(text);
}

static void writers_give_the_documented_text(void)
{
	struct wire_hello *h = hello_make();
	struct wire_welcome *w = welcome_make();
	char *text;
	size_t n;

	text = wire_write_hello(h, &n);
	check_text(text, n, HELLO);
	text = wire_write_attach(h, &n);
	check_text(text, n, ATTACH);
	text = wire_write_welcome(w, &n);
	check_text(text, n, WELCOME);
	text = wire_write_attached(w, &n);
	check_text(text, n, ATTACHED);
	free(h);
	free(w);
}

static void readers_give_back_what_was_written(void)
{
	struct wire_hello *h = hello_make(), *h2 = hello_make();
	struct wire_welcome *w = welcome_make(), *w2 = welcome_make();
	struct wire_error e;

	memset(h2, 0xff, sizeof(*h2));
	memset(w2, 0xff, sizeof(*w2));
	CU_ASSERT_EQUAL(wire_read_attach((const uint8_t *)ATTACH, strlen(ATTACH), h2, &e), 0);
	CU_ASSERT_EQUAL(memcmp(h, h2, sizeof(*h)), 0);
	CU_ASSERT_EQUAL(wire_read_hello((const uint8_t *)HELLO, strlen(HELLO), h2, &e), 0);
	CU_ASSERT_EQUAL(h2->epoch, 0);
	CU_ASSERT_STRING_EQUAL(h2->tunnels[0].label, "web");
	CU_ASSERT_EQUAL(wire_read_attached((const uint8_t *)ATTACHED, strlen(ATTACHED), w2, &e), 0);
	CU_ASSERT_EQUAL(w2->epoch, 7);
	CU_ASSERT_EQUAL(w2->rx_offset, 99);
	CU_ASSERT_EQUAL(w2->resume_ms, 30000);
	CU_ASSERT_EQUAL(wire_read_welcome((const uint8_t *)WELCOME, strlen(WELCOME), w2, &e), 0);
	CU_ASSERT_EQUAL(memcmp(w->secret, w2->secret, sizeof(w->secret)), 0);
	CU_ASSERT_STRING_EQUAL(w2->tunnels[0].url, "https://shop.example.com");
	free(h);
	free(h2);
	free(w);
	free(w2);
}

/* Each row: a message, what of it is replaced by what, and words that the refusal must contain. */
static const struct refusal {
	enum kind kind;
	const char *from, *to, *says;
} refusals[] = {
	{K_HELLO, "\"version\":1", "\"version\":2", "version: found 2, wanted 1"},
	{K_HELLO, "\"version\":1", "\"version\":\"1\"", "version: found a string"},
	{K_HELLO, "\"version\":1", "\"version\":1.0", "version: found a fraction"},
	{K_HELLO, "\"version\":1", "\"version\":true", "version: found a boolean"},
	{K_HELLO, "\"version\":1", "\"version\":-1", "version: found -1"},
	{K_HELLO, "\"version\":1,", "", "version: found nothing"},
	{K_HELLO, "\"version\":1", "\"version\":99999999999999999999", "not one JSON object"},
	{K_HELLO, "\"version\":1", "\"version\":1,\"version\":1", "stands twice"},
	{K_HELLO, "\"adit/0.1.0\"", "\"\"", "agent: found 0 bytes"},
	{K_HELLO, "\"adit/0.1.0\"", "null", "agent: found null"},
	{K_HELLO, "adit/0.1.0", "a\\u001b[2J", "agent: found a control character"},
	{K_HELLO, "adit/0.1.0", "a\\u009b2J", "agent: found a control character"},
	{K_HELLO, "adit/0.1.0", "a\\u007f", "agent: found a control character"},
	{K_HELLO, "adit/0.1.0", "a\\u0000b", "not one JSON object"},
	{K_HELLO, "adit/0.1.0", "a\xff", "not one JSON object"},
	{K_HELLO, "adit/0.1.0", "a\nb", "not one JSON object"},
	{K_HELLO, KEY, "00", "client_key: wanted 32 hex digits"},
	{K_HELLO, "0e0f\"", "0e0g\"", "client_key: wanted 32 hex digits"},
	{K_HELLO, "\"client_key\":\"" KEY "\"", "\"client_key\":[]", "client_key: found an array"},
	{K_HELLO, ASKED, "\"tunnels\":[]", "tunnels: found 0"},
	{K_HELLO, ASKED, "\"tunnels\":{}", "tunnels: found an object"},
	{K_HELLO, ASKED, "\"tunnels\":[\"shop\"]", "tunnels: found a string in it"},
	{K_HELLO, ASKED, "\"tunnels\":[{}]", "name: found nothing"},
	{K_HELLO, "\"name\":\"shop\"", "\"name\":7", "name: found an integer"},
	{K_HELLO, "\"web\"", "\"w\\tb\"", "label: found a control character"},
	{K_HELLO, HELLO, "", "not one JSON object"},
	{K_HELLO, HELLO, "[]", "found an array, wanted a JSON object"},
	{K_HELLO, HELLO, "{", "not one JSON object"},
	{K_HELLO, HELLO, HELLO HELLO, "not one JSON object"},
	{K_HELLO, HELLO, "{\"x\":[[[[[[[[1]]]]]]]]}", "nests deeper"},
	{K_ATTACH, "\"epoch\":7", "\"epoch\":-7", "epoch: found -7"},
	{K_ATTACH, "\"epoch\":7", "\"epoch\":9223372036854775808", "not one JSON object"},
	{K_ATTACH, "\"rx_offset\":99", "\"rx_offset\":\"99\"", "rx_offset: found a string"},
	{K_ATTACH, ",\"proof\":\"" HEX64 "\"", "", "proof: found nothing"},
	{K_ATTACH, "1e1f\"", "1e\"", "proof: wanted 64 hex digits"},
	{K_ATTACH, ATTACH, HELLO, "epoch: found nothing"},
	{K_WELCOME, "\"name\":\"shop\"", "\"name\":\"\"", "name: found 0 bytes"},
	{K_WELCOME, ",\"url\":\"https://shop.example.com\"", "", "url: found nothing"},
	{K_WELCOME, "30000", "4294967296", "resume_ms: found 4294967296"},
	{K_WELCOME, "1e1f\"", "1e1f00\"", "secret: wanted 64 hex digits"},
	{K_WELCOME, WELCOME, ATTACHED, "secret: found nothing"},
	{K_ATTACHED, ATTACHED, WELCOME, "epoch: found nothing"},
};

static void replace(char *out, size_t cap, const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);

	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	(void)snprintf(out, cap, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

static void what_is_wrong_is_refused_by_name(void)
{
	static const char *const good[] = {HELLO, ATTACH, WELCOME, ATTACHED};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const struct refusal *row = &refusals[i];
		struct wire_error e;
		char text[1024];

		replace(text, sizeof(text), good[row->kind], row->from, row->to);
		CU_ASSERT_EQUAL(read_kind(row->kind, text, strlen(text), &e), ADIT_ERR_PROTO);
		if (!strstr(e.text, row->says)) {
			printf("row %zu: \"%s\" lacks \"%s\"\n", i, e.text, row->says);
			CU_FAIL("the refusal does not say what was found");
		}
		CU_ASSERT_PTR_NULL(strstr(e.text, KEY));
	}
}

static void every_prefix_of_a_message_is_refused(void)
{
	struct wire_error e;

	for (size_t n = 0; n < strlen(ATTACH); n++)
		CU_ASSERT_EQUAL(read_kind(K_ATTACH, ATTACH, n, &e), ADIT_ERR_PROTO);
	for (size_t n = 0; n < strlen(WELCOME); n++)
		CU_ASSERT_EQUAL(read_kind(K_WELCOME, WELCOME, n, &e), ADIT_ERR_PROTO);
}

static void unknown_members_are_ignored(void)
{
	struct wire_error e;
	char text[1024];

	replace(text, sizeof(text), HELLO, "\"version\":1", "\"later\":{\"a\":[1,{\"b\":null}]},\"version\":1");
	CU_ASSERT_EQUAL(read_kind(K_HELLO, text, strlen(text), &e), 0);
	/* brackets in a string are no nesting */
	replace(text, sizeof(text), HELLO, "adit/0.1.0", "[[[[[[[[[[\\\"[[[[");
	CU_ASSERT_EQUAL(read_kind(K_HELLO, text, strlen(text), &e), 0);
}

static void texts_and_lists_are_held_to_their_limits(void)
{
	struct wire_hello *h = hello_make();
	struct wire_error e;
	char *text;
	size_t n;

	memset(h->tunnels[0].name, 'n', HANDSHAKE_NAME_MAX);
	memset(h->tunnels[0].label, 'l', HANDSHAKE_LABEL_MAX);
	memset(h->agent, 'a', HANDSHAKE_TEXT_MAX);
	h->tunnel_count = HANDSHAKE_TUNNELS_MAX;
	text = wire_write_hello(h, &n);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_EQUAL(read_kind(K_HELLO, text, n, &e), 0);
	/* one 'n' more than a name holds */
	*strstr(text, "\"label\"") = 'n';
	CU_ASSERT_EQUAL(read_kind(K_HELLO, text, n, &e), ADIT_ERR_PROTO);
	free(text);
	for (size_t i = 1; i < HANDSHAKE_TUNNELS_MAX; i++)
		h->tunnels[i] = h->tunnels[0];
	CU_ASSERT_PTR_NULL(wire_write_hello(h, &n)); /* beyond 16 KiB */
	CU_ASSERT_EQUAL(n, 0);
	h->tunnel_count = HANDSHAKE_TUNNELS_MAX + 1;
	CU_ASSERT_PTR_NULL(wire_write_hello(h, &n));
	free(h);
}

static void more_tunnels_than_allowed_are_refused(void)
{
	char text[4096] = "{" HEAD "\"client_key\":\"" KEY "\",\"tunnels\":[";
	struct wire_error e;

	for (int i = 0; i < HANDSHAKE_TUNNELS_MAX + 1; i++)
		strcat(text, i ? ",{\"name\":\"\",\"label\":\"\"}" : "{\"name\":\"\",\"label\":\"\"}");
	strcat(text, "]}");
	CU_ASSERT_EQUAL(read_kind(K_HELLO, text, strlen(text), &e), ADIT_ERR_PROTO);
	CU_ASSERT_STRING_EQUAL(e.text, "tunnels: found 65, wanted 1 to 64");
	memset(text, ' ', sizeof(text));
	CU_ASSERT_EQUAL(read_kind(K_HELLO, text, FRAME_CONTROL_MAX + 1, &e), ADIT_ERR_PROTO);
}

static void numbers_beyond_63_bits_are_not_written(void)
{
	struct wire_hello *h = hello_make();
	char *text;
	size_t n;

	h->rx_offset = INT64_MAX;
	text = wire_write_attach(h, &n);
	CU_ASSERT_PTR_NOT_NULL_FATAL(text);
	CU_ASSERT_PTR_NOT_NULL(strstr(text, "\"rx_offset\":9223372036854775807"));
	free(text);
	h->rx_offset++;
	CU_ASSERT_PTR_NULL(wire_write_attach(h, &n));
	free(h);
}

/* The value is the one of doc/wire.md; another implementation can check itself against it. */
static void the_proof_covers_everything_claimed(void)
{
	struct wire_hello *h = hello_make();
	uint8_t secret[LINK_SECRET_LEN], id[LINK_ID_LEN], proof[SHA256_LEN], other[SHA256_LEN];
	char hex[SHA256_HEX_LEN + 1];

	memset(secret, 0x11, sizeof(secret));
	memset(id, 0x22, sizeof(id));
	CU_ASSERT_EQUAL(wire_proof(secret, id, h, proof), 0);
	hex_encode(proof, sizeof(proof), hex);
	CU_ASSERT_STRING_EQUAL(hex, "7414ca286a59f72211143b172bf24cec3c7360d2d0be5f784bb2b3619575ea18");
#define DIFFERS(change, undo)                                                                      \
	do {                                                                                       \
		change;                                                                            \
		CU_ASSERT_EQUAL(wire_proof(secret, id, h, other), 0);                              \
		CU_ASSERT_FALSE(digest_equal(proof, other, sizeof(proof)));                        \
		undo;                                                                              \
	} while (0)
	DIFFERS(secret[31] ^= 1, secret[31] ^= 1);
	DIFFERS(id[0] ^= 1, id[0] ^= 1);
	DIFFERS(h->epoch++, h->epoch--);
	DIFFERS(h->rx_offset++, h->rx_offset--);
	DIFFERS(h->client_key[0] ^= 1, h->client_key[0] ^= 1);
	DIFFERS(h->agent[0] ^= 1, h->agent[0] ^= 1);
	DIFFERS(h->tunnel_count++, h->tunnel_count--);
	/* the same letters, divided otherwise */
	strcpy(h->tunnels[0].name, "shopw");
	strcpy(h->tunnels[0].label, "eb");
	DIFFERS((void)0, (void)0);
	free(h);
}

static void close_goes_there_and_back(void)
{
	uint8_t out[2 + FRAME_REASON_MAX];
	char reason[64], big[700];
	uint16_t code;
	size_t n = wire_write_close(409, "stale epoch", out, sizeof(out));

	CU_ASSERT_EQUAL(n, 13);
	CU_ASSERT_EQUAL(wire_read_close(out, n, &code, reason, sizeof(reason)), 0);
	CU_ASSERT_EQUAL(code, 409);
	CU_ASSERT_STRING_EQUAL(reason, "stale epoch");
	CU_ASSERT_EQUAL(wire_write_close(410, NULL, out, sizeof(out)), 2);
	CU_ASSERT_EQUAL(wire_read_close(out, 2, &code, reason, sizeof(reason)), 0);
	CU_ASSERT_STRING_EQUAL(reason, "");
	CU_ASSERT_EQUAL(wire_read_close(out, 1, &code, reason, sizeof(reason)), ADIT_ERR_PROTO);
	/* 511 a's and a two-byte character across the limit */
	memset(big, 'a', 511);
	strcpy(big + 511, "\xc3\xa9 and more");
	CU_ASSERT_EQUAL(wire_write_close(503, big, out, sizeof(out)), 2 + 511);
	CU_ASSERT_EQUAL(wire_read_close(out, 2 + 511, &code, reason, sizeof(reason)), 0);
	CU_ASSERT_EQUAL(strlen(reason), sizeof(reason) - 1);
}

static void a_reason_is_cleaned_for_terminals(void)
{
	static const uint8_t p[] = "\x01\xf7" "a\x1b[31m\r\n\x7f\xc2\x9b\x9b\xc3\xa9\xe2\x82\xac\xff\xed\xa0\x80z";
	static const uint8_t accent[] = "\x01\xf7" "abc\xc3\xa9";
	char reason[64], small[5];
	uint16_t code;

	CU_ASSERT_EQUAL(wire_read_close(p, sizeof(p) - 1, &code, reason, sizeof(reason)), 0);
	CU_ASSERT_EQUAL(code, 503);
	CU_ASSERT_STRING_EQUAL(reason, "a?[31m??????\xc3\xa9\xe2\x82\xac????z");
	/* a character that does not fit is left out whole */
	CU_ASSERT_EQUAL(wire_read_close(accent, sizeof(accent) - 1, &code, small, sizeof(small)), 0);
	CU_ASSERT_STRING_EQUAL(small, "abc");
}

static void the_same_client_gets_the_same_random_name(void)
{
	uint8_t token[SHA256_LEN], key[16];
	char a[16], b[16], label[HANDSHAKE_LABEL_MAX + 2];

	memset(token, 1, sizeof(token));
	memset(key, 2, sizeof(key));
	CU_ASSERT_EQUAL(wire_random_name("web", token, key, a), 0);
	CU_ASSERT_STRING_EQUAL(a, "r-qs56zrlqde7m3");
	CU_ASSERT_EQUAL(wire_random_name("web", token, key, b), 0);
	CU_ASSERT_STRING_EQUAL(a, b);
	CU_ASSERT_EQUAL(wire_random_name("api", token, key, b), 0);
	CU_ASSERT_STRING_NOT_EQUAL(a, b);
	key[15] ^= 1;
	CU_ASSERT_EQUAL(wire_random_name("web", token, key, b), 0);
	CU_ASSERT_STRING_NOT_EQUAL(a, b);
	memset(label, 'l', sizeof(label));
	label[sizeof(label) - 1] = '\0';
	CU_ASSERT_EQUAL(wire_random_name(label, token, key, b), ADIT_ERR_INVALID);
}

static const struct unit_test tests[] = {
	{"writers give the documented text", writers_give_the_documented_text},
	{"readers give back what was written", readers_give_back_what_was_written},
	{"what is wrong is refused with a line that names it", what_is_wrong_is_refused_by_name},
	{"every prefix of a message is refused", every_prefix_of_a_message_is_refused},
	{"unknown members are ignored", unknown_members_are_ignored},
	{"texts and lists are held to their limits", texts_and_lists_are_held_to_their_limits},
	{"more tunnels than allowed, and more bytes, are refused", more_tunnels_than_allowed_are_refused},
	{"numbers beyond 63 bits are not written", numbers_beyond_63_bits_are_not_written},
	{"the proof covers everything an ATTACH claims", the_proof_covers_everything_claimed},
	{"CLOSE goes there and back, its reason cut between characters", close_goes_there_and_back},
	{"a CLOSE reason is cleaned for logs and terminals", a_reason_is_cleaned_for_terminals},
	{"the same client gets the same random name", the_same_client_gets_the_same_random_name},
};

UNIT_MAIN("handshake", tests)
