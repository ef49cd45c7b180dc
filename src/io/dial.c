#include "io/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "io/tcp.h"

struct dial {
	struct loop *loop;
	dial_fn *done;
	void *arg;
	char *tls_name;
	struct tls_context *tls;
	unsigned alpn;
	struct resolver_query *query;
	struct resolver_answer answer;
	int next;              /* index of the address to try next */
	struct address tried;  /* the last one */
	struct stream *stream; /* connecting, then in its handshake */
	struct timer timer;
	struct task fail;      /* tells of an error found inside dial_start */
	int err;
	char detail[256];
};

static void dial_release(struct dial *d)
{
	resolver_cancel(&d->query);
	timer_stop(&d->timer);
	task_cancel(d->loop, &d->fail);
	stream_free(&d->stream);
	tls_context_free(&d->tls);
	free(d->tls_name);
	free(d);
}

static void finish(struct dial *d)
{
	struct stream *s = d->err ? NULL : d->stream;
	dial_fn *done = d->done;
	void *arg = d->arg;
	char detail[sizeof(d->detail)];
	int err = d->err;

	memcpy(detail, d->detail, sizeof(detail));
	if (s) {
		d->stream = NULL;
		stream_pause(s, true);
		stream_own(s, NULL, NULL);
	}
	dial_release(d);
	done(arg, s, err, detail);
}

static void fail(struct dial *d, int err, const char *what)
{
	d->err = err;
	snprintf(d->detail, sizeof(d->detail), "%s", what);
	timer_stop(&d->timer);
	stream_free(&d->stream);
	task_post(d->loop, &d->fail);
}

static void on_fail(void *arg)
{
	finish(arg);
}

static void connect_next(struct dial *d);

static void drive_handshake(void *owner)
{
	struct dial *d = owner;
	int err = tls_handshake(d->stream);
	char what[256];

	if (err == ADIT_ERR_AGAIN)
		return;
	if (err) {
		snprintf(what, sizeof(what), "TLS with %s: %s", d->tls_name, stream_detail(d->stream));
		fail(d, err, what);
		return;
	}
	finish(d);
}

static const struct stream_handler handshake_handler = {drive_handshake, drive_handshake};

static void begin_tls(struct dial *d)
{
	struct stream *s = tls_connect(d->tls, &d->stream, d->tls_name, d->alpn);

	if (!s) {
		fail(d, ADIT_ERR_TLS, "TLS cannot be set up for that name");
		return;
	}
	d->stream = s;
	stream_own(s, &handshake_handler, d);
	stream_pause(s, false);
	timer_set(&d->timer, DIAL_STEP_MS);
	drive_handshake(d);
}

static void on_connected(void *owner)
{
	struct dial *d = owner;
	int err = tcp_connect_error(d->stream);

	if (err) {
		d->err = err;
		stream_free(&d->stream);
		connect_next(d);
		return;
	}
	d->err = 0;
	if (d->tls)
		begin_tls(d);
	else
		finish(d);
}

static void ignore(void *owner)
{
	(void)owner;
}

static const struct stream_handler connect_handler = {ignore, on_connected};

static int connect_to(struct dial *d, const struct sockaddr *sa, socklen_t len)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	address_from(&d->tried, sa);
	if (fd < 0)
		return tcp_error(errno);
	if (sa->sa_family != AF_UNIX)
		tcp_tune(fd);
	if (connect(fd, sa, len) < 0 && errno != EINPROGRESS) {
		err = tcp_error(errno);
		close(fd);
		return err == ADIT_ERR_AGAIN ? ADIT_ERR_LIMIT : err; /* a Unix socket whose queue is full */
	}
	d->stream = tcp_new(d->loop, fd);
	if (!d->stream) {
		close(fd);
		return ADIT_ERR_NOMEM;
	}
	d->stream->peer = d->tried;
	stream_own(d->stream, &connect_handler, d);
	tcp_await_connect(d->stream);
	timer_set(&d->timer, DIAL_STEP_MS);
	return 0;
}

static void connect_next(struct dial *d)
{
	char what[ADDRESS_TEXT_MAX + 64];

	while (d->next < d->answer.count) {
		const struct sockaddr_storage *ss = &d->answer.address[d->next++];
		socklen_t len = ss->ss_family == AF_INET    ? sizeof(struct sockaddr_in)
		                : ss->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
		                                            : sizeof(struct sockaddr_un);
		int err = connect_to(d, (const struct sockaddr *)ss, len);

		if (!err)
			return;
		d->err = err;
	}
	if (d->tried.port)
		snprintf(what, sizeof(what), "%s port %u: %s", d->tried.ip, d->tried.port, err_text(d->err));
	else
		snprintf(what, sizeof(what), "%s", err_text(d->err));
	fail(d, d->err, what);
}

static void on_resolved(void *arg, const struct resolver_answer *a)
{
	struct dial *d = arg;

	d->query = NULL;
	d->answer = *a;
	if (a->err) {
		fail(d, a->err, err_text(a->err));
		return;
	}
	connect_next(d);
}

static void on_timeout(void *arg)
{
	struct dial *d = arg;

	if (d->stream && d->stream->tls) {
		fail(d, ADIT_ERR_TIMEOUT, "no answer to the TLS handshake");
	} else if (d->stream) {
		d->err = ADIT_ERR_TIMEOUT;
		stream_free(&d->stream);
		connect_next(d);
	} else {
		fail(d, ADIT_ERR_TIMEOUT, "no answer from the name servers");
	}
}

static int begin_unix(struct dial *d, const char *path)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&d->answer.address[0];

	if (strlen(path) >= sizeof(un->sun_path))
		return ADIT_ERR_INVALID;
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, strlen(path) + 1);
	d->answer.count = 1;
	return 0;
}

struct dial *dial_start(struct loop *l, struct resolver *r, const struct dial_options *o, dial_fn *done, void *arg)
{
	struct dial *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->loop = l;
	d->done = done;
	d->arg = arg;
	d->alpn = o->alpn;
	d->fail.run = on_fail;
	d->fail.arg = d;
	timer_init(&d->timer, l, on_timeout, d);
	if (o->tls) {
		d->tls = tls_context_ref(o->tls);
		d->tls_name = str_dup(str_of(o->tls_name));
	}
	if (o->tls && !d->tls_name) {
		dial_release(d);
		return NULL;
	}
	if (o->unix_path) {
		if (begin_unix(d, o->unix_path) < 0)
			fail(d, ADIT_ERR_INVALID, "socket path too long");
		else
			connect_next(d);
		return d;
	}
	d->query = resolver_ask(r, o->host, o->port, on_resolved, d);
	if (!d->query) {
		dial_release(d);
		return NULL;
	}
	timer_set(&d->timer, RESOLVER_MS);
	return d;
}

void dial_cancel(struct dial **dp)
{
	struct dial *d = *dp;

	if (!d)
		return;
	*dp = NULL;
	dial_release(d);
}
