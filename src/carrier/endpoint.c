/* The tunnel's own endpoints as requests, aditd's side. */
#include "carrier/carrier.h"

bool carrier_path(struct str path)
{
	return str_starts(path, STR(CARRIER_PATH));
}

static bool is_link_id(struct str s)
{
	if (s.n != CARRIER_LINK_ID_HEX)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
			return false;
	return true;
}

enum carrier_endpoint carrier_endpoint(struct str path, char link_id[CARRIER_LINK_ID_HEX + 1])
{
	static const struct {
		const char *name;
		enum carrier_endpoint endpoint;
	} kinds[] = {{"direct", CARRIER_DIRECT}, {"ws", CARRIER_WS}, {"poll", CARRIER_POLL}, {"relay", CARRIER_RELAY},
	             {"probe", CARRIER_PROBE}};
	struct str prefix = STR(CARRIER_PATH), rest, id, kind;

	if (!carrier_path(path))
		return CARRIER_NONE;
	rest = (struct str){path.p + prefix.n, path.n - prefix.n};
	if (!str_split(&rest, '/', &id) || !str_split(&rest, '?', &kind) || !is_link_id(id))
		return CARRIER_NONE;
	memcpy(link_id, id.p, id.n);
	link_id[id.n] = '\0';
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (str_eq(kind, str_of(kinds[i].name)))
			return kinds[i].endpoint;
	return CARRIER_NONE;
}

struct str carrier_bearer(const struct head *h)
{
	struct str v = fields_get(&h->fields, STR("authorization")), scheme = STR("Bearer ");

	if (!v.p || v.n <= scheme.n || !str_eq_nocase((struct str){v.p, scheme.n}, scheme))
		return (struct str){NULL, 0};
	return str_trim((struct str){v.p + scheme.n, v.n - scheme.n});
}
