#include "io/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "io/tls_context.h"

/** Plaintext of one record (RFC 8446 section 5.1). */
#define RECORD_MAX 16384
/** Pieces at least this long are encrypted where they stand; shorter ones are gathered into one record first. */
#define GATHER_BELOW 8192
/** Reads of the lower stream for one read of this: records that carry nothing must not hold the loop. */
#define REFILLS_A_READ 4
/** Answers to a peer that makes us speak (key updates) and does not read: beyond this it is no peer. */
#define ANSWERS_MAX (4 * TLS_UNSENT_MAX)

struct tls {
	struct stream base;
	struct stream *lower;
	struct tls_context *context;
	SSL *ssl;
	struct buf in;  /* ciphertext read but not yet taken by OpenSSL */
	struct buf out; /* ciphertext not yet taken by the lower stream */
	uint8_t *block; /* lent for the length of one read: fresh ciphertext [block_at, block_end) */
	size_t block_at, block_end;
	unsigned refills;   /* of `block` during this call */
	int lower_error;    /* what ended the lower stream, for reads */
	int failed;         /* final error of this stream */
	bool end_told;      /* a read has returned `failed`: there is nothing more to tell */
	bool paused, short_write, finishing, handshaken, hides;
	struct task again;  /* there is more to read although the socket may be silent */
	char detail[160];
};

static struct tls *tls_of(const struct stream *s)
{
	return container_of(s, struct tls, base);
}

/* ---- the BIO between OpenSSL and the lower stream */

static bool refill_block(struct tls *t)
{
	ssize_t n;

	if (t->lower_error || !t->block || t->refills++ == REFILLS_A_READ)
		return false;
	n = stream_read(t->lower, t->block, LOOP_BLOCK);
	if (n <= 0) {
		if (n != ADIT_ERR_AGAIN)
			t->lower_error = (int)n;
		return false;
	}
	t->block_at = 0;
	t->block_end = (size_t)n;
	return true;
}

static int bio_read(BIO *b, char *p, int n)
{
	struct tls *t = BIO_get_data(b);
	size_t part;

	BIO_clear_retry_flags(b);
	if (t->in.len)
		return (int)buf_take(&t->in, p, (size_t)n);
	if (t->block_at == t->block_end && !refill_block(t)) {
		if (!t->lower_error)
			BIO_set_retry_read(b);
		return t->lower_error == ADIT_ERR_EOF ? 0 : -1;
	}
	part = t->block_end - t->block_at;
	if (part > (size_t)n)
		part = (size_t)n;
	memcpy(p, t->block + t->block_at, part);
	t->block_at += part;
	return (int)part;
}

static int bio_write(BIO *b, const char *p, int n)
{
	struct tls *t = BIO_get_data(b);

	BIO_clear_retry_flags(b);
	return buf_add(&t->out, p, (size_t)n) == 0 ? n : -1;
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	(void)b;
	(void)num;
	(void)ptr;
	return cmd == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD *tls_bio_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "adit stream");

	if (m) {
		BIO_meth_set_read(m, bio_read);
		BIO_meth_set_write(m, bio_write);
		BIO_meth_set_ctrl(m, bio_ctrl);
	}
	return m;
}

/* ---- errors */

static void explain_certificate(struct tls *t, long verify)
{
	const char *why = X509_verify_cert_error_string(verify), *hint = "";

	switch (verify) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		hint = ": its authority is not known here";
		break;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		hint = ": the certificate is for another name";
		break;
	default:
		break;
	}
	snprintf(t->detail, sizeof(t->detail), "%s%s", why, hint);
}

static void take_detail(struct tls *t)
{
	bool verifies = SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE;
	long verify = verifies ? SSL_get_verify_result(t->ssl) : X509_V_OK;
	unsigned long e = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(e);

	if (verify != X509_V_OK)
		explain_certificate(t, verify);
	else if (!t->handshaken && ERR_GET_LIB(e) == ERR_LIB_SSL && ERR_GET_REASON(e) == SSL_R_WRONG_VERSION_NUMBER)
		snprintf(t->detail, sizeof(t->detail), "the other side does not speak TLS there: a plain HTTP port?");
	else if (!t->handshaken && ERR_GET_REASON(e) == SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL)
		snprintf(t->detail, sizeof(t->detail), "the other side speaks no protocol that was offered (ALPN)");
	else if (reason)
		snprintf(t->detail, sizeof(t->detail), "%s", reason);
	else if (!t->handshaken)
		snprintf(t->detail, sizeof(t->detail), "the peer ended the connection during the handshake");
	if (t->handshaken)
		t->failed = ADIT_ERR_TLS;
	else
		t->failed = verify != X509_V_OK ? ADIT_ERR_TLS_CERT : ADIT_ERR_TLS;
}

/* What a result <= 0 of an SSL call means. OpenSSL's queue is emptied before each call. */
static int tls_failure(struct tls *t, int ret)
{
	switch (SSL_get_error(t->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return ADIT_ERR_AGAIN;
	case SSL_ERROR_ZERO_RETURN:
		t->failed = ADIT_ERR_EOF;
		break;
	default:
		take_detail(t);
		/* a FIN without close_notify: what came may be cut */
		if (t->lower_error && t->handshaken)
			t->failed = t->lower_error == ADIT_ERR_EOF ? ADIT_ERR_RESET : t->lower_error;
		break;
	}
	ERR_clear_error();
	return t->failed;
}

/* ---- sending */

static int flush(struct tls *t)
{
	struct iovec iov[16];

	while (t->out.len) {
		int count = buf_iov(&t->out, iov, 16);
		ssize_t n = stream_write(t->lower, iov, count);

		if (n < 0)
			return (int)n;
		if (n == 0)
			return 0;
		buf_drop(&t->out, (size_t)n);
	}
	if (t->finishing)
		stream_finish(t->lower);
	return 0;
}

/* Encrypts one record's worth, from iov[*i] at *off on. */
static ssize_t encrypt_record(struct tls *t, const struct iovec *iov, int count, int *i, size_t *off, uint8_t *scratch)
{
	const uint8_t *p = (const uint8_t *)iov[*i].iov_base + *off;
	size_t n = iov[*i].iov_len - *off;
	int ret;

	if (n < GATHER_BELOW && *i + 1 < count) {
		n = 0;
		while (*i < count && n < RECORD_MAX) {
			size_t part = iov[*i].iov_len - *off;

			if (part > RECORD_MAX - n)
				part = RECORD_MAX - n;
			memcpy(scratch + n, (const uint8_t *)iov[*i].iov_base + *off, part);
			n += part;
			*off += part;
			if (*off == iov[*i].iov_len) {
				(*i)++;
				*off = 0;
			}
		}
		p = scratch;
	} else {
		if (n > RECORD_MAX)
			n = RECORD_MAX;
		*off += n;
		if (*off == iov[*i].iov_len) {
			(*i)++;
			*off = 0;
		}
	}
	if (!n)
		return 0;
	ERR_clear_error();
	ret = SSL_write(t->ssl, p, (int)n);
	return ret > 0 ? ret : tls_failure(t, ret);
}

static ssize_t tls_write(struct stream *s, const struct iovec *iov, int count)
{
	struct tls *t = tls_of(s);
	uint8_t *scratch;
	size_t off = 0;
	ssize_t done = 0, n = 0;
	int i = 0, err = 0;

	if (t->failed && t->failed != ADIT_ERR_EOF)
		return t->failed;
	if (t->finishing)
		return ADIT_ERR_INVALID;
	if (!t->handshaken) {
		err = tls_handshake(s);
		if (err == ADIT_ERR_AGAIN)
			t->short_write = true;
		if (err)
			return err == ADIT_ERR_AGAIN ? 0 : err;
	}
	scratch = loop_borrow(s->loop);
	if (!scratch)
		return ADIT_ERR_NOMEM;
	while (i < count) {
		if (t->out.len >= TLS_UNSENT_MAX - RECORD_MAX) {
			err = flush(t);
			if (err || t->out.len)
				break;
		}
		n = encrypt_record(t, iov, count, &i, &off, scratch);
		if (n < 0)
			break;
		done += n;
	}
	loop_return(s->loop, scratch);
	if (n < 0 && n != ADIT_ERR_AGAIN)
		return n;
	if (!err)
		err = flush(t);
	if (err)
		return t->failed = err;
	t->short_write = i < count;
	return done;
}

static void tls_finish(struct stream *s)
{
	struct tls *t = tls_of(s);

	if (t->finishing)
		return;
	t->finishing = true;
	if (t->handshaken && !t->failed) {
		ERR_clear_error();
		SSL_shutdown(t->ssl);
		ERR_clear_error();
	}
	flush(t);
}

/* ---- receiving */

static void keep_rest(struct tls *t)
{
	if (t->block_at < t->block_end &&
	    buf_add(&t->in, t->block + t->block_at, t->block_end - t->block_at) < 0)
		t->failed = ADIT_ERR_NOMEM;
	t->block_at = t->block_end = 0;
	loop_return(t->base.loop, t->block);
	t->block = NULL;
}

static void note_handshake(struct tls *t)
{
	const unsigned char *p;
	unsigned n;

	t->handshaken = true;
	SSL_get0_alpn_selected(t->ssl, &p, &n);
	t->base.alpn = tls_alpn_text(p, n);
}

int tls_handshake(struct stream *s)
{
	struct tls *t = tls_of(s);
	int ret, err = 0;

	if (t->failed)
		return t->failed;
	if (t->handshaken)
		return 0;
	t->block = loop_borrow(s->loop);
	t->refills = 0;
	ERR_clear_error();
	ret = SSL_do_handshake(t->ssl);
	if (ret == 1)
		note_handshake(t);
	else
		err = tls_failure(t, ret);
	keep_rest(t);
	if (flush(t) < 0 && !err)
		err = t->failed = ADIT_ERR_RESET;
	return err;
}

static ssize_t tls_read(struct stream *s, void *p, size_t n)
{
	struct tls *t = tls_of(s);
	size_t done = 0;
	int err = 0;

	if (!t->failed && !t->handshaken)
		err = tls_handshake(s);
	if (t->failed) {
		t->end_told = true;
		return t->failed;
	}
	if (err)
		return err;
	t->block = loop_borrow(s->loop);
	t->refills = 0;
	while (done < n) {
		int ret;

		ERR_clear_error();
		ret = SSL_read(t->ssl, (uint8_t *)p + done, (int)(n - done));
		if (ret <= 0) {
			err = tls_failure(t, ret);
			break;
		}
		done += (size_t)ret;
	}
	keep_rest(t);
	if (t->out.len)
		flush(t); /* a key update or an alert of ours; errors show at the next call */
	if (t->out.len > ANSWERS_MAX)
		err = t->failed = ADIT_ERR_RESET;
	if (done)
		return (ssize_t)done;
	t->end_told = t->failed != 0;
	return err;
}

static bool has_more(const struct tls *t)
{
	return (t->failed && !t->end_told) || t->in.len || SSL_pending(t->ssl) > 0;
}

static void tls_pause(struct stream *s, bool paused)
{
	struct tls *t = tls_of(s);

	t->paused = paused;
	if (!t->lower_error)
		stream_pause(t->lower, paused);
	if (!paused && (has_more(t) || (t->lower_error && !t->end_told)))
		task_post_next(s->loop, &t->again);
	if (paused)
		task_cancel(s->loop, &t->again);
}

static void tell_readable(void *arg)
{
	struct tls *t = arg;

	if (t->paused || !t->base.handler)
		return;
	t->base.handler->readable(t->base.owner);
	/* level-triggered: the socket may be empty while whole records, or an end that is not yet told, wait here */
	if (t->base.handler && !t->paused && has_more(t))
		task_post_next(t->base.loop, &t->again);
}

/* Whoever wrote too much goes on, or learns at its next write that there is no going on. */
static void tell_writable(struct tls *t)
{
	if (!t->short_write || !t->base.handler || !t->handshaken || (t->out.len && !t->failed))
		return;
	t->short_write = false;
	t->base.handler->writable(t->base.owner);
}

static void lower_readable(void *owner)
{
	struct tls *t = owner;

	tell_readable(t);
	tell_writable(t); /* the handshake that a write waited for may be done */
}

static void lower_writable(void *owner)
{
	struct tls *t = owner;

	if (flush(t) < 0 && !t->failed) {
		t->failed = ADIT_ERR_RESET;
		if (!t->paused)
			task_post_next(t->base.loop, &t->again);
	}
	tell_writable(t);
}

static const struct stream_handler lower_handler = {lower_readable, lower_writable};

static size_t tls_unsent(const struct stream *s)
{
	const struct tls *t = tls_of(s);

	return t->out.len + stream_unsent(t->lower);
}

static int tls_ended(const struct stream *s)
{
	return stream_ended(tls_of(s)->lower);
}

static bool tls_holds(const struct stream *s)
{
	const struct tls *t = tls_of(s);

	return t->refills > REFILLS_A_READ || t->in.len || SSL_has_pending(t->ssl);
}

static void tls_spoil(struct stream *s)
{
	stream_spoil(tls_of(s)->lower);
}

static void tls_stop(struct stream *s)
{
	struct tls *t = tls_of(s);

	task_cancel(s->loop, &t->again);
	stream_free(&t->lower);
}

static void tls_destroy(struct stream *s)
{
	struct tls *t = tls_of(s);

	SSL_free(t->ssl);
	buf_clear(&t->in);
	buf_clear(&t->out);
	tls_context_free(&t->context);
	free(t);
}

static const char *tls_detail(const struct stream *s)
{
	const struct tls *t = tls_of(s);

	return t->detail;
}

static const struct stream_ops tls_ops = {
	.read = tls_read,
	.write = tls_write,
	.pause = tls_pause,
	.unsent = tls_unsent,
	.finish = tls_finish,
	.ended = tls_ended,
	.holds = tls_holds,
	.spoil = tls_spoil,
	.stop = tls_stop,
	.destroy = tls_destroy,
	.detail = tls_detail,
};

static struct tls *tls_new(struct tls_context *c, struct stream **lower)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *b = NULL;

	if (!t)
		return NULL;
	t->ssl = SSL_new(c->ctx);
	b = t->ssl ? BIO_new(c->bio) : NULL;
	if (!b) {
		SSL_free(t->ssl);
		free(t);
		return NULL;
	}
	BIO_set_data(b, t);
	BIO_set_init(b, 1);
	SSL_set_bio(t->ssl, b, b);
	stream_init(&t->base, &tls_ops, (*lower)->loop);
	t->base.peer = (*lower)->peer;
	t->base.tls = true;
	t->context = tls_context_ref(c);
	t->paused = true;
	t->again.run = tell_readable;
	t->again.arg = t;
	t->lower = *lower;
	*lower = NULL;
	stream_own(t->lower, &lower_handler, t);
	return t;
}

struct stream *tls_accept(struct tls_context *c, struct stream **lower)
{
	struct tls *t = tls_new(c, lower);

	if (!t)
		return NULL;
	SSL_set_accept_state(t->ssl);
	tls_hide(&t->base, true); /* who comes may bring a token */
	return &t->base;
}

void tls_hide(const struct stream *s, bool hide)
{
	struct tls *t = tls_of(s);

	if (s->ops != &tls_ops || t->hides == hide)
		return;
	t->hides = hide;
	if (hide)
		SSL_set_options(t->ssl, SSL_OP_CLEANSE_PLAINTEXT);
	else
		SSL_clear_options(t->ssl, SSL_OP_CLEANSE_PLAINTEXT);
}

struct stream *tls_connect(struct tls_context *c, struct stream **lower, const char *name, unsigned alpn)
{
	SSL *probe = SSL_new(c->ctx); /* the name is tried first, so that failing leaves `*lower` alone */
	struct tls *t;

	if (!probe || tls_set_peer(probe, name, alpn) < 0) {
		SSL_free(probe);
		return NULL;
	}
	SSL_free(probe);
	t = tls_new(c, lower);
	if (!t)
		return NULL;
	tls_set_peer(t->ssl, name, alpn);
	SSL_set_connect_state(t->ssl);
	return &t->base;
}
