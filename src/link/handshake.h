/* handshake: what HELLO, WELCOME, ATTACH, ATTACHED and CLOSE say, as structs and as JSON.
 * Layer link; no I/O, no clock; jansson. session/ uses it on both sides.
 * Invariants: what is read is complete, of the right types and within limits, or refused with one line saying what
 * was found; unknown members are ignored (that is how the protocol grows). Secrets are the
 * holder's to wipe.
 */
#ifndef ADIT_LINK_HANDSHAKE_H
#define ADIT_LINK_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/str.h"

#define LINK_ID_LEN 16     /* random bytes, hex on the wire and in URLs */
#define LINK_SECRET_LEN 32
/** Tunnels in one HELLO: what fits 16 KiB of JSON comfortably. */
#define HANDSHAKE_TUNNELS_MAX 64
#define HANDSHAKE_NAME_MAX 253
#define HANDSHAKE_LABEL_MAX 64
#define HANDSHAKE_TEXT_MAX 255
#define WIRE_VERSION 1

/** One tunnel that adit wants or has. */
struct wire_tunnel {
	char name[HANDSHAKE_NAME_MAX + 1];  /* asked: may be empty (a random one is given); given: final */
	char label[HANDSHAKE_LABEL_MAX + 1]; /* adit's own word for it, echoed; random names derive from it */
	char url[HANDSHAKE_TEXT_MAX + 1];   /* given: where it is published, "" in HELLO */
};

/** HELLO and ATTACH (the full state is in both), as adit says it. */
struct wire_hello {
	uint32_t version;                       /* WIRE_VERSION */
	char agent[HANDSHAKE_TEXT_MAX + 1];     /* "adit/0.1.0" */
	uint8_t client_key[16];                 /* the 128-bit key random names derive from */
	struct wire_tunnel tunnels[HANDSHAKE_TUNNELS_MAX];
	size_t tunnel_count;
	/* ATTACH only */
	uint64_t epoch;
	uint64_t rx_offset;
	uint8_t proof[SHA256_LEN];              /* HMAC(secret, link id, epoch, rx_offset, state) */
};

/** WELCOME and ATTACHED, as aditd says it. */
struct wire_welcome {
	uint32_t version;
	char agent[HANDSHAKE_TEXT_MAX + 1];
	struct wire_tunnel tunnels[HANDSHAKE_TUNNELS_MAX];
	size_t tunnel_count;
	uint32_t resume_ms;                     /* how long a detached link is kept */
	/* WELCOME only */
	uint8_t secret[LINK_SECRET_LEN];
	/* ATTACHED only */
	uint64_t epoch;
	uint64_t rx_offset;
};

/** What a reader found wrong, for CLOSE(400) and the log. */
struct wire_error {
	char text[160];
};

/* Writers give malloc'd bytes (the caller frees them, with secret_wipe for WELCOME), NULL when out of memory or
 * when the JSON would exceed FRAME_CONTROL_MAX. `*n` is the length; there is also a NUL behind it. */
char *wire_write_hello(const struct wire_hello *h, size_t *n);
char *wire_write_attach(const struct wire_hello *h, size_t *n);
char *wire_write_welcome(const struct wire_welcome *w, size_t *n);
char *wire_write_attached(const struct wire_welcome *w, size_t *n);

/* Readers: 0, ADIT_ERR_PROTO with `*e` filled, or ADIT_ERR_NOMEM. */
int wire_read_hello(const uint8_t *p, size_t n, struct wire_hello *out, struct wire_error *e);
int wire_read_attach(const uint8_t *p, size_t n, struct wire_hello *out, struct wire_error *e);
int wire_read_welcome(const uint8_t *p, size_t n, struct wire_welcome *out, struct wire_error *e);
int wire_read_attached(const uint8_t *p, size_t n, struct wire_welcome *out, struct wire_error *e);

/** The proof over everything an ATTACH claims: link id, epoch, rx_offset and the state (agent, key, tunnels in order). */
int wire_proof(const uint8_t secret[LINK_SECRET_LEN], const uint8_t id[LINK_ID_LEN], const struct wire_hello *h,
               uint8_t out[SHA256_LEN]);

/** CLOSE payloads: code and reason. The reader cleans control bytes out of the reason for logs and terminals. */
size_t wire_write_close(uint16_t code, const char *reason, uint8_t *out, size_t cap);
int wire_read_close(const uint8_t *p, size_t n, uint16_t *code, char *reason, size_t cap);

/** "r-" + 13 base32 characters of SHA-256(label || token hash || client key); `out` holds 16 bytes. */
int wire_random_name(const char *label, const uint8_t token_hash[SHA256_LEN], const uint8_t client_key[16], char out[16]);

#endif
