#include "base/digest.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#ifdef HAVE_SYS_RANDOM_H
#include <sys/random.h> /* getentropy, where unistd.h has none */
#endif

#include "base/err.h"

/** What getentropy gives at a time, POSIX. */
#define GETENTROPY_MOST 256

int digest_sha256(const void *p, size_t n, uint8_t out[SHA256_LEN])
{
	return EVP_Digest(p, n, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : ADIT_ERR_NOMEM;
}

int digest_hmac(const void *key, size_t key_len, const void *p, size_t n, uint8_t out[SHA256_LEN])
{
	return HMAC(EVP_sha256(), key, (int)key_len, p, n, out, NULL) ? 0 : ADIT_ERR_NOMEM;
}

int digest_sha1(const void *p, size_t n, uint8_t out[SHA1_LEN])
{
	return EVP_Digest(p, n, out, NULL, EVP_sha1(), NULL) == 1 ? 0 : ADIT_ERR_NOMEM;
}

bool digest_equal(const void *a, const void *b, size_t n)
{
	return CRYPTO_memcmp(a, b, n) == 0;
}

void random_bytes(void *p, size_t n)
{
	uint8_t *at = p;

	if (RAND_bytes(p, (int)n) == 1)
		return;
	/* it may lack memory; the kernel does not */
	for (size_t part; n; at += part, n -= part) {
		part = n < GETENTROPY_MOST ? n : GETENTROPY_MOST;
		if (getentropy(at, part) < 0)
			abort();
	}
}

uint64_t random_below(uint64_t below)
{
	uint64_t r;

	if (!below)
		return 0;
	random_bytes(&r, sizeof(r));
	return r % below;
}

void hex_encode(const void *p, size_t n, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[b[i] >> 4];
		out[2 * i + 1] = digits[b[i] & 15];
	}
	out[2 * n] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hex_decode(const char *hex, size_t hex_len, uint8_t *out, size_t n)
{
	if (hex_len != 2 * n)
		return ADIT_ERR_INVALID;
	for (size_t i = 0; i < n; i++) {
		int hi = hex_digit(hex[2 * i]), lo = hex_digit(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return ADIT_ERR_INVALID;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

void base32_encode(const uint8_t *p, size_t n, char *out, size_t chars)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
	size_t bit = 0, i;

	for (i = 0; i < chars && bit < n * 8; i++, bit += 5) {
		unsigned two = (unsigned)p[bit / 8] << 8 | (bit / 8 + 1 < n ? p[bit / 8 + 1] : 0);

		out[i] = alphabet[two >> (11 - bit % 8) & 31];
	}
	out[i] = '\0';
}

void base64_encode(const uint8_t *p, size_t n, char *out)
{
	EVP_EncodeBlock((unsigned char *)out, p, (int)n);
}

static bool is_base64_digit(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
}

int base64_decode(const char *text, size_t text_len, uint8_t *out, size_t n)
{
	size_t digits = (n * 8 + 5) / 6;

	/* EVP_DecodeBlock skips white space and takes padding for zeros anywhere */
	if (text_len != (n + 2) / 3 * 4)
		return ADIT_ERR_INVALID;
	for (size_t i = 0; i < text_len; i++)
		if (i < digits ? !is_base64_digit(text[i]) : text[i] != '=')
			return ADIT_ERR_INVALID;
	for (size_t i = 0; i < n; i += 3) {
		uint8_t three[3];

		if (EVP_DecodeBlock(three, (const unsigned char *)text + i / 3 * 4, 4) != 3)
			return ADIT_ERR_INVALID;
		memcpy(out + i, three, n - i < 3 ? n - i : 3);
	}
	return 0;
}

void secret_wipe(void *p, size_t n)
{
#ifdef HAVE_EXPLICIT_BZERO
	if (n)
		explicit_bzero(p, n); /* by words as wide as the processor's */
#else
	OPENSSL_cleanse(p, n);
#endif
}
