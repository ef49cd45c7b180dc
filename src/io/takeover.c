#include "io/takeover.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "io/socket_address.h"
#include "io/tcp.h"

struct takeover {
	int fd;
	uint64_t until_us;
	int got[HANDED_MAX]; /* descriptors, until it is known what they are */
	unsigned got_count;
	char text[TAKEOVER_ANSWER_MAX + 1];
	size_t len;
};

static int fail(struct takeover_error *e, int err, const char *what)
{
	snprintf(e->text, sizeof(e->text), "--take-over: %s", what);
	return err;
}

/* ---- talking, with a bound */

/* 1: it can be read (or written) now; 0: time is over. */
static int wait_for(const struct takeover *t, short events)
{
	struct pollfd p = {.fd = t->fd, .events = events};

	for (;;) {
		uint64_t now = clock_us();
		int n = poll(&p, 1, now < t->until_us ? (int)((t->until_us - now) / 1000) + 1 : 0);

		if (n >= 0 || errno != EINTR)
			return n > 0;
	}
}

static void keep_descriptors(struct takeover *t, struct msghdr *m)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (t->got_count < HANDED_MAX)
				t->got[t->got_count++] = fd;
			else
				close(fd);
		}
	}
}

/* Reads what is there: bytes, 0 at the end, or < 0 for an error or nothing. */
static ssize_t receive(struct takeover *t, int flags)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * HANDED_MESSAGE_MAX)];
	} control;
	struct iovec v = {t->text + t->len, TAKEOVER_ANSWER_MAX - t->len};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(t->fd, &m, MSG_CMSG_CLOEXEC | flags);

	if (n <= 0)
		return n;
	keep_descriptors(t, &m);
	t->len += (size_t)n;
	t->text[t->len] = '\0';
	return n;
}

/* Reads until `end` has come, and returns what is behind it; NULL when it does not come in time. */
static const char *read_until(struct takeover *t, const char *end)
{
	const char *at;

	while (!(at = strstr(t->text, end)))
		if (t->len == TAKEOVER_ANSWER_MAX || !wait_for(t, POLLIN) || receive(t, 0) <= 0)
			return NULL;
	return at + strlen(end);
}

static void forget(struct takeover *t, const char *up_to)
{
	size_t n = (size_t)(up_to - t->text);

	memmove(t->text, up_to, t->len - n + 1);
	t->len -= n;
}

static bool say(struct takeover *t, const char *text)
{
	size_t n = strlen(text);

	t->until_us = clock_us() + TAKEOVER_MS * 1000u;
	/* a few bytes into an empty buffer: all or nothing */
	return wait_for(t, POLLOUT) && send(t->fd, text, n, MSG_NOSIGNAL) == (ssize_t)n;
}

/* ---- the steps */

static int reach(struct takeover *t, const char *address, struct takeover_error *e)
{
	union socket_address a;
	socklen_t len;

	if (socket_address_parse(address, &a, &len) < 0 || a.sa.sa_family != AF_UNIX)
		return fail(e, ADIT_ERR_INVALID, "the admin listener is no unix socket");
	t->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (t->fd < 0 || connect(t->fd, &a.sa, len) < 0) {
		snprintf(e->text, sizeof(e->text), "--take-over: cannot connect to %.120s: %s", address, strerror(errno));
		return errno == ENOENT || errno == ECONNREFUSED ? ADIT_ERR_REFUSED : ADIT_ERR_SYS;
	}
	/* sockets that a stranger hands out would be his */
	if (!tcp_is_of_this_user(t->fd))
		return fail(e, ADIT_ERR_FORBIDDEN, "the process on the admin socket belongs to another user");
	return 0;
}

/* What it answers when it does not want to: its page has one line that says why. */
static int refused(struct takeover *t, const char *body, struct takeover_error *e)
{
	char status[64] = "", why[160];

	snprintf(status, sizeof(status), "%.*s", (int)strcspn(t->text, "\r\n"), t->text);
	while (t->len < TAKEOVER_ANSWER_MAX && wait_for(t, POLLIN) && receive(t, 0) > 0)
		;
	snprintf(why, sizeof(why), "%.*s (%.60s)", (int)strcspn(body, "\r\n"), body, status);
	return fail(e, ADIT_ERR_FORBIDDEN, why);
}

static int ask(struct takeover *t, struct takeover_error *e)
{
	const char *body;

	if (!say(t, "GET " TAKEOVER_PATH " HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n"
	            "Upgrade: " TAKEOVER_PROTOCOL "\r\n\r\n"))
		return fail(e, ADIT_ERR_SYS, "the admin socket takes no request");
	body = read_until(t, "\r\n\r\n");
	if (!body)
		return fail(e, ADIT_ERR_TIMEOUT, "no answer on the admin socket");
	if (strncmp(t->text, "HTTP/1.1 101 ", 13) != 0)
		return refused(t, body, e);
	forget(t, body);
	return 0;
}

static int take_sockets(struct takeover *t, struct handed *h, struct log *log, struct takeover_error *e)
{
	const size_t word = strlen(TAKEOVER_SOCKETS);
	const char *end = read_until(t, "\n");

	if (!end)
		return fail(e, ADIT_ERR_TIMEOUT, "the sockets did not come");
	if (strncmp(t->text, TAKEOVER_SOCKETS, word) != 0 || (size_t)(end - t->text) != word + t->got_count + 1)
		return fail(e, ADIT_ERR_PROTO, "the process on the admin socket speaks something else");
	for (unsigned i = 0; i < t->got_count; i++)
		handed_add(h, t->got[i], t->text[word + i] == 'o', "taken over", log);
	t->got_count = 0;
	forget(t, end);
	return 0;
}

int takeover_begin(struct takeover **out, const char *address, struct handed *h, struct log *log,
                   struct takeover_error *e)
{
	struct takeover *t = calloc(1, sizeof(*t));
	int err;

	*out = NULL;
	if (!t)
		return fail(e, ADIT_ERR_NOMEM, "out of memory");
	t->fd = -1;
	err = reach(t, address, e);
	if (!err)
		err = ask(t, e);
	if (!err)
		err = take_sockets(t, h, log, e);
	if (err)
		takeover_drop(&t);
	*out = t;
	return err;
}

int takeover_commit(struct takeover **tp, struct takeover_error *e)
{
	struct takeover *t = *tp;
	bool drains = say(t, TAKEOVER_READY) && read_until(t, TAKEOVER_DRAINING);

	if (!drains) {
		/* from here on the old one cannot write the answer, and without that it does not drain; but it may have
		 * written it between our last look and now */
		shutdown(t->fd, SHUT_RD);
		while (t->len < TAKEOVER_ANSWER_MAX && receive(t, MSG_DONTWAIT) > 0)
			;
		drains = strstr(t->text, TAKEOVER_DRAINING) != NULL;
	}
	takeover_drop(tp);
	return drains ? 0 : fail(e, ADIT_ERR_TIMEOUT, "the aditd that runs did not let go");
}

void takeover_drop(struct takeover **tp)
{
	struct takeover *t = *tp;

	if (!t)
		return;
	*tp = NULL;
	while (t->got_count)
		close(t->got[--t->got_count]);
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}
