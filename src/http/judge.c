#include "http/judge.h"

#include <string.h>

#include "base/err.h"
#include "http/h1_int.h"

/* The methods that llhttp knows for HTTP/1.1: the same ones whatever a request came in. */
static bool is_known(struct str method)
{
	for (unsigned m = 0; m < HTTP_PRI; m++)
		if (m != HTTP_CONNECT && str_eq(method, str_of(llhttp_method_name((llhttp_method_t)m))))
			return true;
	return false;
}

int judge_request(const struct head *h, const char **detail)
{
	struct str method = head_get(h, HEAD_METHOD), path = head_get(h, HEAD_PATH), scheme = head_get(h, HEAD_SCHEME);
	struct str protocol = head_get(h, HEAD_PROTOCOL);

	if (!is_known(method)) {
		*detail = str_eq(method, STR("CONNECT")) ? "CONNECT is not offered" : "method not known";
		return ADIT_ERR_BAD_METHOD;
	}
	*detail = NULL;
	if (!str_eq_nocase(scheme, STR("https")) && !str_eq_nocase(scheme, STR("http")))
		*detail = "scheme neither http nor https";
	else if (!h1_authority_ok(head_get(h, HEAD_AUTHORITY)))
		*detail = "authority not host[:port]";
	else if (!h1_path_ok(path) && !(str_eq(path, STR("*")) && str_eq(method, STR("OPTIONS"))))
		*detail = "path not an absolute path";
	else if (protocol.n && !h1_is_token(protocol))
		*detail = "protocol not a token";
	else if (protocol.n && h->length >= 0) /* which END_STREAM says too: there would be nothing to upgrade for */
		*detail = "CONNECT with a length, or without bytes to come";
	return *detail ? ADIT_ERR_BAD_REQUEST : 0;
}

bool judge_may_be_http(struct str first)
{
	const struct str version = STR("HTTP/");
	struct str rest = first, method, target;

	if (!str_split(&rest, ' ', &method) || !method.n || !rest.n || is_known(method))
		return true;
	if (!str_split(&rest, ' ', &target) || !rest.n || memchr(first.p, '\n', (size_t)(rest.p - first.p)))
		return true;
	return rest.n < version.n ? str_starts(version, rest) : str_starts(rest, version);
}

void judge_trailers(struct fields *f)
{
	for (uint32_t i = f->n; i-- > 0;)
		if (h1_not_in_trailers(fields_name(f, i)))
			fields_remove_at(f, i);
}
