#include "origin/ws_key.h"

#include "base/digest.h"
#include "base/err.h"

#define KEY_BYTES 16
/** KEY_BYTES in base64, without a NUL. */
#define KEY_TEXT 24
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

bool ws_key_wanted(const struct head *h)
{
	return str_eq_nocase(head_get(h, HEAD_PROTOCOL), STR("websocket"));
}

int ws_key_add(struct head *h)
{
	uint8_t bytes[KEY_BYTES];
	char key[KEY_TEXT + 1];
	int err;

	random_bytes(bytes, sizeof(bytes));
	base64_encode(bytes, sizeof(bytes), key);
	err = fields_set(&h->fields, STR("sec-websocket-key"), str_of(key));
	if (!err && !fields_has(&h->fields, STR("sec-websocket-version")))
		err = fields_add(&h->fields, STR("sec-websocket-version"), STR("13"));
	return err;
}

int ws_key_accept(const struct head *h, char accept[WS_KEY_ACCEPT_TEXT])
{
	struct str key = fields_get(&h->fields, STR("sec-websocket-key"));
	uint8_t bytes[KEY_BYTES], digest[SHA1_LEN];
	char text[KEY_TEXT + sizeof(GUID)];
	int err;

	accept[0] = '\0';
	if (key.n != KEY_TEXT || base64_decode(key.p, key.n, bytes, sizeof(bytes)) < 0)
		return ADIT_ERR_INVALID;
	memcpy(text, key.p, KEY_TEXT);
	memcpy(text + KEY_TEXT, GUID, sizeof(GUID));
	err = digest_sha1(text, KEY_TEXT + sizeof(GUID) - 1, digest);
	if (!err)
		base64_encode(digest, sizeof(digest), accept);
	return err;
}
