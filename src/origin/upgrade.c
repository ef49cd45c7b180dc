#include "origin/upgrade.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/str.h"

void upgrade_clear(struct upgrade *u)
{
	free(u->protocol);
	*u = (struct upgrade){0};
}

static int write_with_key(struct upgrade *u, struct buf *out, const struct head *h, enum h1_framing *framing)
{
	struct head own;
	int err;

	head_init(&own);
	err = head_copy(&own, h);
	if (!err)
		err = ws_key_add(&own);
	if (!err)
		err = ws_key_accept(&own, u->accept);
	if (!err)
		err = h1_write_request(out, &own, framing);
	head_free(&own);
	return err;
}

int upgrade_write_request(struct upgrade *u, struct buf *out, const struct head *h, enum h1_framing *framing)
{
	struct str protocol = head_get(h, HEAD_PROTOCOL);

	upgrade_clear(u);
	if (!protocol.n)
		return h1_write_request(out, h, framing);
	u->protocol = str_dup(protocol);
	if (!u->protocol)
		return ADIT_ERR_NOMEM;
	u->websocket = ws_key_wanted(h);
	u->key_added = u->websocket && !fields_has(&h->fields, STR("sec-websocket-key"));
	if (u->key_added)
		return write_with_key(u, out, h, framing);
	if (u->websocket && ws_key_accept(h, u->accept) == ADIT_ERR_NOMEM)
		return ADIT_ERR_NOMEM;
	return h1_write_request(out, h, framing);
}

bool upgrade_may_switch(const struct upgrade *u, struct head *h)
{
	struct str said = fields_get(&h->fields, STR("sec-websocket-accept"));
	bool ok = u->protocol && str_eq_nocase(head_get(h, HEAD_PROTOCOL), str_of(u->protocol)) &&
	          (!u->websocket || (u->accept[0] && str_eq(said, str_of(u->accept))));

	if (u->key_added) /* nobody else knows of the key */
		fields_remove(&h->fields, STR("sec-websocket-accept"));
	return ok;
}
