#include "base/err.h"

#include <stddef.h>

struct err_row {
	const char *name;
	const char *text;
	const char *proxy_error;
	int status;
};

static const struct err_row rows[] = {
	{"ok", "ok", "", 0},
#define X(name, text, status, proxy_error) {#name, text, proxy_error, status},
#include "base/err.def"
#undef X
};

static const struct err_row *row_of(int err)
{
	if (err > 0 || err <= -(int)ADIT_ERR_INDEX_COUNT)
		return NULL;
	return &rows[-err];
}

const char *err_text(int err)
{
	const struct err_row *r = row_of(err);

	return r ? r->text : "unknown error";
}

const char *err_name(int err)
{
	const struct err_row *r = row_of(err);

	return r ? r->name : "unknown";
}

int err_status(int err)
{
	const struct err_row *r = row_of(err);

	return r && r->status ? r->status : 502;
}

const char *err_proxy_error(int err)
{
	const struct err_row *r = row_of(err);

	return r ? r->proxy_error : "";
}
