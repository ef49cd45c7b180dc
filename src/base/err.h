/* err: the one list of things that go wrong, as numbers.
 * Layer base; everybody uses it.
 * Functions return 0 or a positive count, or one negative ADIT_ERR_*. errno never leaves io/.
 */
#ifndef ADIT_BASE_ERR_H
#define ADIT_BASE_ERR_H

enum adit_err_index {
	ADIT_ERR_INDEX_NONE,
#define X(name, text, status, proxy_error) ADIT_ERR_INDEX_##name,
#include "base/err.def"
#undef X
	ADIT_ERR_INDEX_COUNT
};

enum adit_err {
	ADIT_OK = 0,
#define X(name, text, status, proxy_error) ADIT_ERR_##name = -(int)ADIT_ERR_INDEX_##name,
#include "base/err.def"
#undef X
};

/** Text for people, a static string; an unknown number gives "unknown error". */
const char *err_text(int err);

/** The constant's name, for logs and traces ("LINK_LOST"); a static string. */
const char *err_name(int err);

/** The HTTP status that tells a visitor of it; 502 for those that have none. */
int err_status(int err);

/** The RFC 9209 proxy error type, "" when there is none; a static string. */
const char *err_proxy_error(int err);

#endif
