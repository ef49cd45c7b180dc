#include "origin/origin_int.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/str.h"

static const struct origin_kind *const kinds[ORIGIN_PROTOCOLS] = {
	[ORIGIN_H1] = &origin_h1,
	[ORIGIN_H2] = &origin_h2,
	[ORIGIN_TCP] = &origin_tcp,
};

static void release(struct origin *o)
{
	tls_context_free(&o->o.tls);
	free((char *)(uintptr_t)o->o.host);
	free((char *)(uintptr_t)o->o.unix_path);
	free((char *)(uintptr_t)o->o.tls_name);
	free(o);
}

static int copy_text(const char **text)
{
	if (*text)
		*text = str_dup(str_of(*text));
	return *text ? 0 : ADIT_ERR_NOMEM;
}

static int copy_options(struct origin *o, const struct origin_options *opt)
{
	const char *name = opt->tls_name ? opt->tls_name : opt->host ? opt->host : "localhost";
	bool failed;

	o->o = *opt;
	o->o.tls_name = name;
	if (o->o.tls)
		tls_context_ref(o->o.tls);
	failed = copy_text(&o->o.tls_name) < 0;
	if (opt->host)
		failed = copy_text(&o->o.host) < 0 || failed;
	if (opt->unix_path)
		failed = copy_text(&o->o.unix_path) < 0 || failed;
	return failed ? ADIT_ERR_NOMEM : 0;
}

struct origin *origin_new(struct loop *l, const struct origin_options *opt)
{
	struct origin *o = calloc(1, sizeof(*o));

	if (!o)
		return NULL;
	o->loop = l;
	o->kind = kinds[opt->protocol];
	if (copy_options(o, opt) < 0 || o->kind->open(o) < 0) {
		release(o);
		return NULL;
	}
	return o;
}

void origin_free(struct origin **op)
{
	struct origin *o = *op;

	if (!o)
		return;
	*op = NULL;
	o->kind->close(o);
	release(o);
}

struct half *origin_half(struct origin *o, int *err)
{
	return o->kind->half(o, err);
}

unsigned origin_connections(const struct origin *o)
{
	return o->count;
}

struct dial *origin_dial(const struct origin *o, unsigned alpn, dial_fn *done, void *arg)
{
	const struct dial_options d = {
		.host = o->o.host, .port = o->o.port, .unix_path = o->o.unix_path, .tls = o->o.tls,
		.tls_name = o->o.tls_name, .alpn = alpn,
	};

	return dial_start(o->loop, o->o.resolver, &d, done, arg);
}

int origin_dial_error(int err)
{
	return err_status(err) >= 500 ? err : ADIT_ERR_REFUSED;
}

const char *origin_dial_why(int err, const char *detail)
{
	return err == ADIT_ERR_TLS || err == ADIT_ERR_TLS_CERT || err == ADIT_ERR_TIMEOUT ? detail : NULL;
}
