/* digest: SHA-256, HMAC, SHA-1, random bytes, and the text forms of bytes.
 * Layer base; auth, the link's proof, names, ids and the WebSocket handshake use it. The only user of libcrypto outside io/.
 * Random bytes come from OpenSSL's CSPRNG; when it has none the program ends, for nothing could be trusted after.
 */
#ifndef ADIT_BASE_DIGEST_H
#define ADIT_BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_LEN 32
#define SHA256_HEX_LEN 64
#define SHA1_LEN 20

/** 0 or ADIT_ERR_NOMEM. */
int digest_sha256(const void *p, size_t n, uint8_t out[SHA256_LEN]);

/** HMAC-SHA-256 (RFC 2104). 0 or ADIT_ERR_NOMEM. */
int digest_hmac(const void *key, size_t key_len, const void *p, size_t n, uint8_t out[SHA256_LEN]);

/** For RFC 6455's handshake, which asks for no security of it; nothing else may use it. 0 or ADIT_ERR_NOMEM. */
int digest_sha1(const void *p, size_t n, uint8_t out[SHA1_LEN]);

/** Compares in time that depends on `n` only. */
bool digest_equal(const void *a, const void *b, size_t n);

void random_bytes(void *p, size_t n);

/** Uniform in [0, below); 0 when below is 0. For jitter, not for secrets. */
uint64_t random_below(uint64_t below);

/** Lower-case hex and a NUL: `out` holds 2 * n + 1. */
void hex_encode(const void *p, size_t n, char *out);

/** Exactly 2 * n hex digits of either case; 0 or ADIT_ERR_INVALID. */
int hex_decode(const char *hex, size_t hex_len, uint8_t *out, size_t n);

/** RFC 4648 section 6 alphabet in lower case, unpadded, the first `chars` characters and a NUL. */
void base32_encode(const uint8_t *p, size_t n, char *out, size_t chars);

/** RFC 4648 section 4, padded, and a NUL: `out` holds 4 * ((n + 2) / 3) + 1. */
void base64_encode(const uint8_t *p, size_t n, char *out);

/** Exactly the padded form of `n` bytes; unused bits are not looked at. 0 or ADIT_ERR_INVALID. */
int base64_decode(const char *text, size_t text_len, uint8_t *out, size_t n);

/** Overwrites a secret in a way the compiler keeps. */
void secret_wipe(void *p, size_t n);

#endif
