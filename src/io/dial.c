#include "io/dial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/err.h"
#include "base/str.h"
#include "io/proxy_connect.h"
#include "io/race.h"

/** What is read of a proxy's answer at a time. */
#define ANSWER_BYTES 1024

/* The addresses of one family. */
struct question {
	struct dial *dial;
	struct resolver_query *query;
	bool answered;
};

enum { ASK_V6, ASK_V4, QUESTIONS };

struct dial {
	struct loop *loop;
	dial_fn *done;
	void *arg;
	char *tls_name;
	struct tls_context *tls;
	unsigned alpn;
	char *proxy;           /* how messages name it, NULL = there is none */
	struct buf request;    /* for the proxy */
	struct proxy_answer answer;
	struct question questions[QUESTIONS];
	struct race race;
	struct stream *stream; /* connected: asking the proxy, then in its handshake */
	struct timer timer;
	struct task fail;      /* tells of an error found inside dial_start */
	int err;
	char detail[256];
};

static void forget_questions(struct dial *d)
{
	for (int i = 0; i < QUESTIONS; i++)
		resolver_cancel(&d->questions[i].query);
}

static void dial_release(struct dial *d)
{
	forget_questions(d);
	race_stop(&d->race);
	timer_stop(&d->timer);
	task_cancel(d->loop, &d->fail);
	stream_free(&d->stream);
	tls_context_free(&d->tls);
	buf_clear(&d->request);
	free(d->tls_name);
	free(d->proxy);
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
	timer_clear(&d->timer);
	forget_questions(d);
	race_stop(&d->race);
	stream_free(&d->stream);
	task_post(d->loop, &d->fail);
}

/* On the way to the proxy, or at it: what failed is the proxy's, and it is named. */
static void fail_on_way(struct dial *d, int err, const char *what)
{
	char text[256];

	if (!d->proxy) {
		fail(d, err, what);
		return;
	}
	snprintf(text, sizeof(text), "the proxy %s: %s", d->proxy, what);
	fail(d, ADIT_ERR_PROXY, text);
}

static void on_fail(void *arg)
{
	finish(arg);
}

/* ---- TLS */

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

static void begin_use(struct dial *d)
{
	if (d->tls)
		begin_tls(d);
	else
		finish(d);
}

/* ---- the proxy */

static void judge_answer(struct dial *d, bool more)
{
	const struct proxy_answer *a = &d->answer;
	char text[256];

	if (a->status >= 300) {
		snprintf(text, sizeof(text), "the proxy %s answered %d%s%s", d->proxy, a->status, *a->reason ? ": " : "", a->reason);
		fail(d, ADIT_ERR_PROXY, text);
	} else if (more) {
		/* the server speaks second, whatever it is: these bytes are not its */
		fail_on_way(d, ADIT_ERR_PROXY, "it sends something behind its answer to CONNECT");
	} else {
		stream_own(d->stream, NULL, NULL);
		begin_use(d);
	}
}

static void on_proxy_readable(void *owner)
{
	struct dial *d = owner;
	uint8_t block[ANSWER_BYTES];
	ssize_t n = stream_read(d->stream, block, sizeof(block));
	size_t used;
	int r;

	if (n == ADIT_ERR_AGAIN)
		return;
	if (n <= 0) {
		fail_on_way(d, ADIT_ERR_PROXY, "it hung up instead of answering CONNECT");
		return;
	}
	r = proxy_answer_feed(&d->answer, block, (size_t)n, &used);
	if (r < 0)
		fail_on_way(d, ADIT_ERR_PROXY, "what it answered to CONNECT is no HTTP/1 answer");
	else if (r)
		judge_answer(d, used < (size_t)n);
}

static void on_proxy_writable(void *owner)
{
	struct dial *d = owner;
	struct iovec iov[4];

	while (d->request.len) {
		ssize_t n = stream_write(d->stream, iov, buf_iov(&d->request, iov, 4));

		if (n < 0)
			fail_on_way(d, ADIT_ERR_PROXY, err_text((int)n));
		if (n <= 0)
			return;
		buf_drop(&d->request, (size_t)n);
	}
}

static const struct stream_handler proxy_handler = {on_proxy_readable, on_proxy_writable};

static void ask_proxy(struct dial *d)
{
	stream_own(d->stream, &proxy_handler, d);
	stream_pause(d->stream, false);
	timer_set(&d->timer, DIAL_STEP_MS);
	on_proxy_writable(d);
}

/* ---- names and addresses */

static void on_raced(void *arg, struct stream *s, int err, const struct address *tried)
{
	struct dial *d = arg;
	char what[ADDRESS_TEXT_MAX + 64];

	if (s) {
		forget_questions(d);
		d->stream = s;
		timer_clear(&d->timer);
		if (d->proxy)
			ask_proxy(d);
		else
			begin_use(d);
		return;
	}
	if (tried->port)
		snprintf(what, sizeof(what), "%s port %u: %s", tried->ip, tried->port, err_text(err));
	else
		snprintf(what, sizeof(what), "%s", err_text(err));
	fail_on_way(d, err, what);
}

static void on_resolved(void *arg, const struct resolver_answer *a)
{
	struct question *q = arg;
	struct dial *d = q->dial;
	bool both;

	q->query = NULL;
	q->answered = true;
	both = d->questions[ASK_V6].answered && d->questions[ASK_V4].answered;
	race_add(&d->race, a->address, a->count);
	/* "no such name" says more than a time-out of the other family */
	if (a->err && d->err != ADIT_ERR_RESOLVE)
		d->err = a->err;
	if (both && !race_any(&d->race)) {
		fail_on_way(d, d->err, err_text(d->err));
		return;
	}
	if (both)
		timer_clear(&d->timer);
	if (both || (a->count && q == &d->questions[ASK_V6]))
		race_run(&d->race, both);
	else if (a->count)
		race_run_after(&d->race, RACE_RESOLUTION_MS);
	if (race_any(&d->race))
		d->err = 0;
}

static void on_timeout(void *arg)
{
	struct dial *d = arg;

	if (d->stream && d->stream->tls) {
		fail(d, ADIT_ERR_TIMEOUT, "no answer to the TLS handshake");
	} else if (d->stream) {
		fail_on_way(d, ADIT_ERR_PROXY, "no answer to CONNECT");
	} else if (race_any(&d->race)) {
		forget_questions(d);
		race_run(&d->race, true);
	} else {
		fail_on_way(d, ADIT_ERR_TIMEOUT, "no answer from the name servers");
	}
}

static int ask(struct dial *d, struct resolver *r, const char *host, uint16_t port)
{
	static const int families[QUESTIONS] = {[ASK_V6] = AF_INET6, [ASK_V4] = AF_INET};

	for (int i = 0; i < QUESTIONS; i++) {
		struct question *q = &d->questions[i];

		q->dial = d;
		q->query = resolver_ask(r, host, port, families[i], on_resolved, q);
		if (!q->query)
			return ADIT_ERR_NOMEM;
	}
	timer_set(&d->timer, RESOLVER_MS);
	return 0;
}

static void begin_unix(struct dial *d, const char *path)
{
	struct sockaddr_storage ss = {.ss_family = AF_UNIX};
	struct sockaddr_un *un = (struct sockaddr_un *)&ss;

	if (strlen(path) >= sizeof(un->sun_path)) {
		fail(d, ADIT_ERR_INVALID, "socket path too long");
		return;
	}
	memcpy(un->sun_path, path, strlen(path) + 1);
	race_add(&d->race, &ss, 1);
	race_run(&d->race, true);
}

static int copy_options(struct dial *d, const struct dial_options *o)
{
	const struct dial_proxy *p = o->proxy;

	d->alpn = o->alpn;
	if (o->tls) {
		d->tls = tls_context_ref(o->tls);
		d->tls_name = str_dup(str_of(o->tls_name));
	}
	if (p)
		d->proxy = str_dup(str_of(p->shown));
	if ((o->tls && !d->tls_name) || (p && !d->proxy))
		return ADIT_ERR_NOMEM;
	return p ? proxy_connect_request(&d->request, o->host, o->port, p->credentials) : 0;
}

struct dial *dial_start(struct loop *l, struct resolver *r, const struct dial_options *o, dial_fn *done, void *arg)
{
	struct dial *d = calloc(1, sizeof(*d));
	int err;

	if (!d)
		return NULL;
	d->loop = l;
	d->done = done;
	d->arg = arg;
	d->fail = (struct task){.run = on_fail, .arg = d};
	timer_init(&d->timer, l, on_timeout, d);
	race_init(&d->race, l, on_raced, d);
	err = copy_options(d, o);
	if (!err && o->unix_path)
		begin_unix(d, o->unix_path);
	else if (!err)
		err = ask(d, r, o->proxy ? o->proxy->host : o->host, o->proxy ? o->proxy->port : o->port);
	if (err) {
		dial_release(d);
		return NULL;
	}
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
