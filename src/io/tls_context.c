#include "io/tls_context.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"

/** AES-128 first: 12 % less CPU a byte than AES-256 where there is AES-NI. */
#define SUITES_TLS13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define SUITES_TLS12                                                                               \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:" \
	"ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

struct alpn_row {
	unsigned bit;
	const char *text;
};

static const struct alpn_row alpn_rows[] = {
	{TLS_OFFER_ADIT, TLS_ALPN_ADIT},
	{TLS_OFFER_H2, TLS_ALPN_H2},
	{TLS_OFFER_HTTP1, TLS_ALPN_HTTP1},
};
#define ALPN_ROWS (sizeof(alpn_rows) / sizeof(alpn_rows[0]))

const char *tls_alpn_text(const unsigned char *p, unsigned n)
{
	for (size_t i = 0; i < ALPN_ROWS; i++)
		if (strlen(alpn_rows[i].text) == n && memcmp(alpn_rows[i].text, p, n) == 0)
			return alpn_rows[i].text;
	return "";
}

static bool alpn_offered(const unsigned char *list, unsigned n, const char *text)
{
	size_t len = strlen(text);

	for (unsigned i = 0; i < n; i += 1u + list[i])
		if (list[i] == len && i + 1 + len <= n && memcmp(list + i + 1, text, len) == 0)
			return true;
	return false;
}

/* Our order decides. No overlap is the fatal alert of RFC 7301 section 3.2. */
static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
                       unsigned in_len, void *arg)
{
	const struct tls_context *c = arg;

	(void)ssl;
	for (size_t i = 0; i < ALPN_ROWS; i++) {
		if (!(c->alpn & alpn_rows[i].bit) || !alpn_offered(in, in_len, alpn_rows[i].text))
			continue;
		*out = (const unsigned char *)alpn_rows[i].text;
		*out_len = (unsigned char)strlen(alpn_rows[i].text);
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void explain(struct tls_error *e, const char *what, const char *file)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());

	snprintf(e->text, sizeof(e->text), "%s %s: %s", what, file, reason ? reason : "not usable");
	ERR_clear_error();
}

static struct tls_context *context_new(const SSL_METHOD *method, struct tls_error *e)
{
	struct tls_context *c = calloc(1, sizeof(*c));

	snprintf(e->text, sizeof(e->text), "out of memory");
	if (!c)
		return NULL;
	c->refs = 1;
	c->ctx = SSL_CTX_new(method);
	c->bio = tls_bio_method();
	if (!c->ctx || !c->bio || SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(c->ctx, SUITES_TLS13) != 1 || SSL_CTX_set_cipher_list(c->ctx, SUITES_TLS12) != 1) {
		tls_context_free(&c);
		return NULL;
	}
	SSL_CTX_set_options(c->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return c;
}

/* OpenSSL's own would ask at the terminal, and everything would stand still until somebody answers. */
static int no_passphrase(char *buf, int size, int writing, void *asked)
{
	(void)buf;
	(void)size;
	(void)writing;
	if (asked)
		*(bool *)asked = true;
	return -1;
}

static int use_certificate(struct tls_context *c, const char *certificate, const char *key, struct tls_error *e)
{
	bool asked = false;
	int err = ADIT_ERR_TLS;

	SSL_CTX_set_default_passwd_cb(c->ctx, no_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(c->ctx, &asked);
	if (SSL_CTX_use_certificate_chain_file(c->ctx, certificate) != 1)
		explain(e, "certificate", certificate);
	else if (SSL_CTX_use_PrivateKey_file(c->ctx, key, SSL_FILETYPE_PEM) != 1)
		explain(e, asked ? "key with a passphrase, wanted one without:" : "key", key);
	else if (SSL_CTX_check_private_key(c->ctx) != 1)
		explain(e, "key that does not belong to the certificate:", key);
	else
		err = 0;
	SSL_CTX_set_default_passwd_cb_userdata(c->ctx, NULL);
	return err;
}

struct tls_context *tls_context_server(const char *certificate, const char *key, unsigned alpn, struct tls_error *e)
{
	struct tls_context *c = context_new(TLS_server_method(), e);

	if (!c)
		return NULL;
	c->alpn = alpn;
	SSL_CTX_set_alpn_select_cb(c->ctx, select_alpn, c);
	/* tickets would outlive a rotated key in memory; sessions are long, so resuming them gains little */
	SSL_CTX_set_num_tickets(c->ctx, 1);
	SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF);
	if (use_certificate(c, certificate, key, e) < 0)
		tls_context_free(&c);
	return c;
}

struct tls_context *tls_context_client(const char *ca, const char *certificate, const char *key, struct tls_error *e)
{
	struct tls_context *c = context_new(TLS_client_method(), e);

	if (!c)
		return NULL;
	SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
	if (ca ? SSL_CTX_load_verify_locations(c->ctx, ca, NULL) != 1 : SSL_CTX_set_default_verify_paths(c->ctx) != 1) {
		explain(e, "CA file", ca ? ca : "(system)");
		tls_context_free(&c);
	} else if (certificate && use_certificate(c, certificate, key, e) < 0) {
		tls_context_free(&c);
	}
	return c;
}

struct tls_context *tls_context_unverified(struct tls_error *e)
{
	struct tls_context *c = context_new(TLS_client_method(), e);

	if (c)
		SSL_CTX_set_verify(c->ctx, SSL_VERIFY_NONE, NULL);
	return c;
}

/* OpenSSL's own way to find it. */
void tls_system_trust(void (*fn)(void *arg, const char *path), void *arg)
{
	const char *file = secure_getenv(X509_get_default_cert_file_env());
	const char *folders = secure_getenv(X509_get_default_cert_dir_env());
	struct str rest = str_of(folders ? folders : X509_get_default_cert_dir()), folder;

	fn(arg, file ? file : X509_get_default_cert_file());
	while (str_split(&rest, ':', &folder)) {
		char *copy = str_dup(folder);

		if (copy && *copy)
			fn(arg, copy);
		free(copy);
	}
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
	c->refs++;
	return c;
}

void tls_context_free(struct tls_context **cp)
{
	struct tls_context *c = *cp;

	*cp = NULL;
	if (!c || --c->refs)
		return;
	tls_context_free(&c->next);
	SSL_CTX_free(c->ctx);
	tls_keylog_free(&c->keylog);
	BIO_meth_free(c->bio);
	free(c);
}

static int set_alpn_offer(SSL *ssl, unsigned alpn)
{
	unsigned char list[64];
	unsigned n = 0;

	for (size_t i = 0; i < ALPN_ROWS; i++) {
		size_t len = strlen(alpn_rows[i].text);

		if (!(alpn & alpn_rows[i].bit))
			continue;
		list[n++] = (unsigned char)len;
		memcpy(list + n, alpn_rows[i].text, len);
		n += (unsigned)len;
	}
	/* returns 0 for success, unlike its relatives */
	return n == 0 || SSL_set_alpn_protos(ssl, list, n) == 0 ? 0 : ADIT_ERR_TLS;
}

int tls_set_peer(SSL *ssl, const char *name, unsigned alpn)
{
	struct in6_addr any;

	if (inet_pton(AF_INET, name, &any) == 1 || inet_pton(AF_INET6, name, &any) == 1) {
		/* RFC 6066 section 3: no literal address in SNI */
		if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) != 1)
			return ADIT_ERR_TLS;
	} else {
		SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		if (SSL_set1_host(ssl, name) != 1 || SSL_set_tlsext_host_name(ssl, name) != 1)
			return ADIT_ERR_TLS;
	}
	return set_alpn_offer(ssl, alpn);
}
