/* A throw-away CA and certificate for aditd --dev, made with libcrypto. */
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "io/tls.h"

/** Browsers refuse server certificates valid for longer than 398 days. */
#define VALID_SECONDS (365l * 86400)
#define NAMES_MAX 512
#define PATH_LEN 512

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *e;
	bool ok;

	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = e && X509_add_ext(x, e, -1) == 1;
	X509_EXTENSION_free(e);
	return ok;
}

static X509 *new_certificate(EVP_PKEY *key, const char *common_name, X509 *issuer)
{
	X509 *x = X509_new();
	X509_NAME *name = x ? X509_get_subject_name(x) : NULL;
	unsigned char serial[16];
	BIGNUM *number = NULL;

	if (!x || RAND_bytes(serial, sizeof(serial)) != 1)
		return x;
	serial[0] &= 0x7f;
	number = BN_bin2bn(serial, sizeof(serial), NULL);
	X509_set_version(x, X509_VERSION_3);
	if (number)
		BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x));
	BN_free(number);
	X509_gmtime_adj(X509_getm_notBefore(x), -3600);
	X509_gmtime_adj(X509_getm_notAfter(x), VALID_SECONDS);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0);
	X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name);
	X509_set_pubkey(x, key);
	return x;
}

/* "a,b,127.0.0.1" as subjectAltName wants it. */
static void alternative_names(const char *names, char out[NAMES_MAX])
{
	struct str rest = str_of(names), one;
	unsigned char any[16];
	size_t n = 0;

	while (str_split(&rest, ',', &one) && n + one.n + 8 < NAMES_MAX) {
		char text[256];

		snprintf(text, sizeof(text), "%.*s", STR_ARG(one));
		n += (size_t)snprintf(out + n, NAMES_MAX - n, "%s%s:%s", n ? "," : "",
		                      inet_pton(AF_INET, text, any) == 1 || inet_pton(AF_INET6, text, any) == 1 ? "IP" : "DNS",
		                      text);
	}
}

static FILE *open_file(const char *folder, const char *name, struct tls_error *e)
{
	char path[PATH_LEN];
	int fd;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	f = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!f) {
		snprintf(e->text, sizeof(e->text), "cannot write %.200s", path);
		if (fd >= 0)
			close(fd);
	}
	return f;
}

static bool write_certificate(const char *folder, const char *name, X509 *x, struct tls_error *e)
{
	FILE *f = open_file(folder, name, e);
	bool ok = f && PEM_write_X509(f, x) == 1;

	if (f)
		ok = fclose(f) == 0 && ok;
	return ok;
}

static bool write_key(const char *folder, const char *name, EVP_PKEY *key, struct tls_error *e)
{
	FILE *f = open_file(folder, name, e);
	bool ok = f && PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1;

	if (f)
		ok = fclose(f) == 0 && ok;
	return ok;
}

int tls_make_dev_certificate(const char *folder, const char *names, struct tls_error *e)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *key = EVP_EC_gen("P-256");
	X509 *ca = ca_key ? new_certificate(ca_key, "adit development CA", NULL) : NULL;
	X509 *x = key && ca ? new_certificate(key, "adit development server", ca) : NULL;
	char alt[NAMES_MAX] = "";
	bool ok;

	snprintf(e->text, sizeof(e->text), "cannot make a certificate");
	alternative_names(names, alt);
	/* the CA's key is never written: nobody can use this CA for anything else */
	ok = x && add_extension(ca, ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	     add_extension(ca, ca, NID_key_usage, "critical,keyCertSign,cRLSign") &&
	     add_extension(ca, ca, NID_subject_key_identifier, "hash") && X509_sign(ca, ca_key, EVP_sha256()) > 0 &&
	     add_extension(x, ca, NID_basic_constraints, "critical,CA:FALSE") &&
	     add_extension(x, ca, NID_key_usage, "critical,digitalSignature") &&
	     add_extension(x, ca, NID_ext_key_usage, "serverAuth") &&
	     add_extension(x, ca, NID_authority_key_identifier, "keyid") &&
	     add_extension(x, ca, NID_subject_alt_name, alt) && X509_sign(x, ca_key, EVP_sha256()) > 0 &&
	     write_certificate(folder, "ca.pem", ca, e) && write_certificate(folder, "server.pem", x, e) &&
	     write_key(folder, "server.key", key, e);
	X509_free(x);
	X509_free(ca);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	ERR_clear_error();
	return ok ? 0 : ADIT_ERR_SYS;
}
