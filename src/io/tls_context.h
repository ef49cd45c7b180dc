/* tls_context: what tls.c and tls_context.c share: a counted SSL_CTX with our settings.
 * Layer io, internal.
 */
#ifndef ADIT_IO_TLS_CONTEXT_H
#define ADIT_IO_TLS_CONTEXT_H

#include <openssl/ssl.h>

#include "io/tls.h"

struct tls_context {
	SSL_CTX *ctx;
	BIO_METHOD *bio;
	unsigned alpn; /* what a listener accepts */
	unsigned refs;
	struct tls_context *next; /* a listener's further certificates (tls_sni.c); owned */
	struct tls_keylog *keylog; /* NULL: secrets stay here */
};

BIO_METHOD *tls_bio_method(void);

/** The static string for a selected protocol, "" when none or unknown. */
const char *tls_alpn_text(const unsigned char *p, unsigned n);

/** Sets whom to verify (host name or address), SNI and the ALPN offer. 0 or ADIT_ERR_TLS. */
int tls_set_peer(SSL *ssl, const char *name, unsigned alpn);

#endif
