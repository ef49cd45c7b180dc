/* Several certificates at one listener: each handshake shows the one that is for the name it asks for (SNI, RFC 6066
 * section 3), and the listener's own when none is, or no name is asked for. */
#include "io/tls_context.h"

#include <openssl/x509v3.h>
#include <stdlib.h>

#include "base/err.h"

static bool is_for(const struct tls_context *c, const char *name)
{
	X509 *x = SSL_CTX_get0_certificate(c->ctx);

	return x && X509_check_host(x, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1;
}

static int choose(SSL *ssl, int *alert, void *arg)
{
	const struct tls_context *own = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	if (!name || is_for(own, name))
		return SSL_TLSEXT_ERR_OK;
	for (const struct tls_context *c = own->next; c; c = c->next)
		if (is_for(c, name)) {
			SSL_set_SSL_CTX(ssl, c->ctx);
			break;
		}
	return SSL_TLSEXT_ERR_OK;
}

int tls_context_add(struct tls_context *c, const char *certificate, const char *key, struct tls_error *e)
{
	struct tls_context *more = tls_context_server(certificate, key, c->alpn, e), **end = &c->next;

	if (!more)
		return ADIT_ERR_TLS;
	while (*end)
		end = &(*end)->next;
	*end = more;
	SSL_CTX_set_tlsext_servername_callback(c->ctx, choose);
	SSL_CTX_set_tlsext_servername_arg(c->ctx, c);
	return 0;
}
