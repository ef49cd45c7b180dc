#include "io/tls_context.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/digest.h"

/** A line of the format has a label, 32 random bytes and a secret of at most 64, in hex. */
#define KEYLOG_LINE_MAX 512

#define WARNING "the secrets of all TLS connections are written there: who reads it can read what they carry"

struct tls_keylog {
	int fd;
	unsigned refs;
};

struct tls_keylog *tls_keylog_open(struct log *log)
{
	/* not for programs that run with more rights than their user */
	const char *path = secure_getenv("SSLKEYLOGFILE");
	struct tls_keylog *k = path && *path ? calloc(1, sizeof(*k)) : NULL;

	if (!k)
		return NULL;
	/* not blocking: a FIFO that nobody reads must not hold the loop up */
	k->fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	k->refs = 1;
	if (k->fd < 0) {
		log_event(log, LOG_LEVEL_ERROR, "tls.keylog", KV_Z("path", path), KV_Z("error", strerror(errno)));
		free(k);
		return NULL;
	}
	log_event(log, LOG_LEVEL_WARN, "tls.keylog", KV_Z("path", path), KV_Z("text", WARNING));
	return k;
}

void tls_keylog_free(struct tls_keylog **kp)
{
	struct tls_keylog *k = *kp;

	*kp = NULL;
	if (!k || --k->refs)
		return;
	close(k->fd);
	free(k);
}

/* One write is one line, also when several programs append to the file. One that fails is lost. */
static void on_line(const SSL *ssl, const char *line)
{
	const struct tls_keylog *k = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	size_t n = strlen(line);
	char copy[KEYLOG_LINE_MAX];

	if (!k || n >= sizeof(copy))
		return;
	memcpy(copy, line, n);
	copy[n] = '\n';
	while (write(k->fd, copy, n + 1) < 0 && errno == EINTR)
		;
	secret_wipe(copy, sizeof(copy));
}

void tls_context_keylog(struct tls_context *c, struct tls_keylog *k)
{
	for (; c && k && !c->keylog; c = c->next) {
		k->refs++;
		c->keylog = k;
		SSL_CTX_set_app_data(c->ctx, k);
		SSL_CTX_set_keylog_callback(c->ctx, on_line);
	}
}
