/* What the carriers' requests have in common, adit's side; and whether versions fit, both sides. */
#include <stdio.h>
#include <stdlib.h>

#include "base/digest.h"
#include "base/err.h"
#include "carrier/carrier.h"

/** Waits that a refusal asks for and that are believed. */
#define RETRY_AFTER_MAX_S 3600

int carrier_err_of_status(int status)
{
	switch (status) {
	case 401:
		return ADIT_ERR_AUTH;
	case 403:
		return ADIT_ERR_FORBIDDEN;
	case 429:
	case 503:
		return ADIT_ERR_LIMIT;
	case 426: /* the Upgrade was taken out on the way */
		return ADIT_ERR_UPGRADE;
	default:
		return ADIT_ERR_PROTO;
	}
}

bool carrier_version_fits(struct str theirs, bool we_serve, char text[CARRIER_DETAIL_MAX + 1])
{
	struct str rest = theirs, ours = STR(CARRIER_VERSION), part;
	uint64_t n = 0, own = 0;

	if (!theirs.p)
		return true;
	if (str_to_u64(ours, &own) < 0 || !str_split(&rest, '.', &part) || str_to_u64(part, &n) < 0) {
		snprintf(text, CARRIER_DETAIL_MAX + 1,
		         "the server and this adit speak different versions: update the older one");
		return false;
	}
	snprintf(text, CARRIER_DETAIL_MAX + 1, "the server speaks version %llu, this adit version %llu: update %s",
	         (unsigned long long)(we_serve ? own : n), (unsigned long long)(we_serve ? n : own),
	         (n > own) == we_serve ? "the server" : "adit");
	return n == own;
}

int carrier_err_of_answer(const struct head *h, char detail[CARRIER_DETAIL_MAX + 1])
{
	char text[CARRIER_DETAIL_MAX + 1];

	if (h->status != 426 || carrier_version_fits(fields_get(&h->fields, STR("adit-version")), false, text))
		return carrier_err_of_status(h->status);
	memcpy(detail, text, sizeof(text));
	return ADIT_ERR_VERSION;
}

bool carrier_plain_websocket(const struct head *h)
{
	return !fields_has(&h->fields, STR("sec-websocket-extensions")) &&
	       !fields_has(&h->fields, STR("sec-websocket-protocol"));
}

unsigned carrier_retry_after(const struct head *h)
{
	uint64_t seconds;

	if (str_to_u64(fields_get(&h->fields, STR("retry-after")), &seconds) < 0 || seconds > RETRY_AFTER_MAX_S)
		return 0;
	return (unsigned)seconds;
}

void carrier_host(char out[CARRIER_HOST_MAX], const char *server_name, uint16_t port, bool tls)
{
	bool v6 = strchr(server_name, ':') != NULL;
	size_t n;

	snprintf(out, CARRIER_HOST_MAX, v6 ? "[%.*s]" : "%.*s", CARRIER_HOST_MAX - 16, server_name);
	n = strlen(out);
	if (port != (tls ? 443 : 80))
		snprintf(out + n, CARRIER_HOST_MAX - n, ":%u", port);
}

/* A copy with the token in it: wiped, whatever its length. */
static int add_bearer(struct head *h, const char *token)
{
	static const char scheme[] = "Bearer ";
	size_t n = sizeof(scheme) - 1 + strlen(token);
	char *text = malloc(n + 1);
	int err;

	if (!text)
		return ADIT_ERR_NOMEM;
	memcpy(text, scheme, sizeof(scheme));
	memcpy(text + sizeof(scheme) - 1, token, n - sizeof(scheme) + 2);
	err = fields_add(&h->fields, STR("authorization"), (struct str){text, n});
	secret_wipe(text, n);
	free(text);
	return err;
}

int carrier_request(struct head *h, const struct carrier_target *t, const char *kind, const char *protocol)
{
	char path[256];
	int err = 0;

	h->length = 0;
	snprintf(path, sizeof(path), CARRIER_PATH "%s/%s", t->link_id, t->endpoint ? t->endpoint : kind);
	err |= head_set(h, HEAD_METHOD, STR("GET"));
	err |= head_set(h, HEAD_SCHEME, STR("https"));
	err |= head_set(h, HEAD_AUTHORITY, str_of(t->host));
	err |= head_set(h, HEAD_PATH, str_of(path));
	err |= head_set(h, HEAD_PROTOCOL, str_of(protocol));
	err |= add_bearer(h, t->token);
	err |= fields_add(&h->fields, STR("adit-version"), STR(CARRIER_VERSION));
	err |= fields_add(&h->fields, STR("user-agent"), str_of(t->agent));
	if (strcmp(protocol, "websocket") == 0)
		err |= fields_add(&h->fields, STR("sec-websocket-version"), STR("13"));
	return err ? ADIT_ERR_NOMEM : 0;
}
