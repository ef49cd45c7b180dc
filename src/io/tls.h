/* tls: TLS over any stream, as a stream; and the contexts it needs.
 * Layer io; wraps OpenSSL. The listener and dial make them.
 * Invariants: TLS 1.2 or newer, no renegotiation, no early data, no compression. A peer that is dialled is always
 * verified against a name, but for a context of tls_context_unverified. At most about TLS_UNSENT_MAX bytes of
 * ciphertext wait in memory.
 */
#ifndef ADIT_IO_TLS_H
#define ADIT_IO_TLS_H

#include "base/log.h"
#include "io/stream.h"

/** Ciphertext encrypted ahead of the socket: four full records, so that one flush is one send. */
#define TLS_UNSENT_MAX 66560

/** The application protocols adit knows, in the order in which aditd prefers them. */
#define TLS_ALPN_ADIT "adit/1"
#define TLS_ALPN_H2 "h2"
#define TLS_ALPN_HTTP1 "http/1.1"

/** Bits to offer or accept. */
enum tls_alpn {
	TLS_OFFER_ADIT = 1,
	TLS_OFFER_H2 = 2,
	TLS_OFFER_HTTP1 = 4,
};

/** Why a context could not be made, one line. */
struct tls_error {
	char text[256];
};

struct tls_context;
/** One more owner; each calls tls_context_free. */
struct tls_context *tls_context_ref(struct tls_context *c);

/** For a listener: PEM files, chain included. NULL with a line in `e`. Reference-counted: streams keep theirs. */
struct tls_context *tls_context_server(const char *certificate, const char *key, unsigned alpn, struct tls_error *e);
/** One more certificate for a listener's context, shown to who asks for a name it is for; the first one that fits counts,
 *  the listener's own before all. Before the first connection. 0 or ADIT_ERR_TLS with a line in `e`. */
int tls_context_add(struct tls_context *c, const char *certificate, const char *key, struct tls_error *e);
/** For dialling: `ca` is a PEM file, NULL = the system's store; `certificate` and `key` are shown to servers that ask for
 *  them, NULL = none. */
struct tls_context *tls_context_client(const char *ca, const char *certificate, const char *key, struct tls_error *e);
/** For dialling an origin on loopback whose certificate nobody can verify (--origin-insecure), and nothing else:
 *  whoever answers there is taken for the right one. */
struct tls_context *tls_context_unverified(struct tls_error *e);
void tls_context_free(struct tls_context **c);
/** Calls `fn` with the files and folders that the system's store is: they are read as certificates are verified. */
void tls_system_trust(void (*fn)(void *arg, const char *path), void *arg);

/**
 * The file that the environment's SSLKEYLOGFILE names, where connections' secrets go so that Wireshark can read
 * along; opened once, appended to, made with mode 0600. The log is told. NULL when none is asked for, or it cannot be
 * written.
 */
struct tls_keylog;
struct tls_keylog *tls_keylog_open(struct log *log);
void tls_keylog_free(struct tls_keylog **k);
/** The context's connections write theirs there; it holds a reference. Nothing when either is NULL. */
void tls_context_keylog(struct tls_context *c, struct tls_keylog *k);

/** Answers a handshake over `*lower`, which it takes over (and nulls). NULL: out of memory, `*lower` stays. */
struct stream *tls_accept(struct tls_context *c, struct stream **lower);

/** Whether what is read from it is overwritten in OpenSSL's buffers. From tls_accept on it is; it costs some
 *  microseconds a read, so it ends where no token comes. Nothing on other streams. */
void tls_hide(const struct stream *s, bool hide);

/** Begins a handshake as the side that asks. `name` is what the certificate must be for, a host name or an address.
 *  `alpn` is what is offered, in the order adit/1, h2, http/1.1. NULL: out of memory or an impossible name. */
struct stream *tls_connect(struct tls_context *c, struct stream **lower, const char *name, unsigned alpn);

/** Drives the handshake: 0 = done, ADIT_ERR_AGAIN = wait for readable, else why it failed (stream_detail says more). */
int tls_handshake(struct stream *s);

/** Writes a throw-away CA, a certificate for `names` (comma-separated) and its key into `folder` as ca.pem, server.pem
 *  and server.key (mode 0600); valid for a year. 0 or ADIT_ERR_SYS. For aditd --dev. */
int tls_make_dev_certificate(const char *folder, const char *names, struct tls_error *e);

#endif
