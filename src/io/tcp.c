#include "io/tcp.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/err.h"
#include "base/list.h"
#include "io/handed.h"
#include "io/socket_address.h"

/** Pieces of one gathered write; Linux takes 1024, more than this are never waiting. */
#define IOV_MAX_USED 64

struct tcp {
	struct stream base;
	int fd;
	ev_io reader, writer;
	struct task close;
	bool paused;
	bool drained;   /* the last read emptied the socket: no need to ask again before epoll says so */
	bool finished;  /* our FIN is sent */
	bool dialled;   /* by us; accepted ones are closed at once: they make room for those who come in the same turn */
	bool over;      /* nobody has it any more; `close` frees it */
	int failed;     /* final error for reads */
};

static struct tcp *tcp_of(const struct stream *s)
{
	return container_of(s, struct tcp, base);
}

int tcp_error(int errnum)
{
	switch (errnum) {
	case EAGAIN:
#if EAGAIN != EWOULDBLOCK
	case EWOULDBLOCK:
#endif
	case EINTR:
	case EINPROGRESS:
		return ADIT_ERR_AGAIN;
	case ECONNREFUSED:
	case ENOENT: /* no such Unix socket */
		return ADIT_ERR_REFUSED;
	case ENETUNREACH:
	case EHOSTUNREACH:
	case EADDRNOTAVAIL:
		return ADIT_ERR_UNREACHABLE;
	case ETIMEDOUT:
		return ADIT_ERR_TIMEOUT;
	case ECONNRESET:
	case EPIPE:
	case ECONNABORTED:
		return ADIT_ERR_RESET;
	case ENOMEM:
	case ENOBUFS:
		return ADIT_ERR_NOMEM;
	case EMFILE:
	case ENFILE:
		return ADIT_ERR_DESCRIPTORS;
	case EACCES:
	case EPERM:
		return ADIT_ERR_FORBIDDEN;
	default:
		return ADIT_ERR_SYS;
	}
}

void address_from(struct address *out, const struct sockaddr *sa)
{
	out->port = 0;
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		inet_ntop(AF_INET, &in->sin_addr, out->ip, sizeof(out->ip));
		out->port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
			inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], out->ip, sizeof(out->ip));
		else
			inet_ntop(AF_INET6, &in6->sin6_addr, out->ip, sizeof(out->ip));
		out->port = ntohs(in6->sin6_port);
	} else {
		snprintf(out->ip, sizeof(out->ip), "unix");
	}
}

void tcp_raise_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == r.rlim_max)
		return;
	r.rlim_cur = r.rlim_max;
	setrlimit(RLIMIT_NOFILE, &r);
}

unsigned tcp_descriptors(void)
{
	struct rlimit r;

	return getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur > UINT_MAX ? UINT_MAX : (unsigned)r.rlim_cur;
}

static void set_int(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

void tcp_tune(int fd)
{
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_NOTSENT_LOWAT
	set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, TCP_UNSENT_MAX);
#endif
#ifdef TCP_KEEPIDLE
	set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
	set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
	set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
#endif
#ifdef TCP_USER_TIMEOUT
	set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, TCP_DEAD_MS);
#endif
}

static void update_reader(struct tcp *t)
{
	if (t->paused || t->failed || !t->base.handler)
		ev_io_stop(loop_ev(t->base.loop), &t->reader);
	else
		ev_io_start(loop_ev(t->base.loop), &t->reader);
}

static ssize_t tcp_read(struct stream *s, void *p, size_t n)
{
	struct tcp *t = tcp_of(s);
	ssize_t got;

	if (t->failed)
		return t->failed;
	if (t->drained)
		return ADIT_ERR_AGAIN;
	got = recv(t->fd, p, n, 0);
	if (got > 0) {
		t->drained = (size_t)got < n;
		return got;
	}
	if (got < 0) {
		int err = tcp_error(errno);

		if (err == ADIT_ERR_AGAIN)
			return err;
		t->failed = err;
	} else {
		t->failed = ADIT_ERR_EOF;
	}
	update_reader(t);
	return t->failed;
}

/* One piece, as small messages are, costs the kernel less than a list of one. */
static ssize_t send_pieces(int fd, const struct iovec *iov, int count)
{
	struct msghdr m = {0};

	if (count == 1)
		return send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
	m.msg_iovlen = (size_t)(count < IOV_MAX_USED ? count : IOV_MAX_USED);
	m.msg_iov = (struct iovec *)(uintptr_t)iov; /* sendmsg does not write to it */
	return sendmsg(fd, &m, MSG_NOSIGNAL);
}

static ssize_t tcp_write(struct stream *s, const struct iovec *iov, int count)
{
	struct tcp *t = tcp_of(s);
	size_t wanted = 0;
	ssize_t sent;
	int err;

	if (t->finished)
		return ADIT_ERR_INVALID;
	if (ev_is_active(&t->writer))
		return 0;
	for (int i = 0; i < count; i++)
		wanted += iov[i].iov_len;
	sent = send_pieces(t->fd, iov, count);
	if (sent < 0) {
		err = tcp_error(errno);
		if (err != ADIT_ERR_AGAIN)
			return err;
		sent = 0;
	}
	if ((size_t)sent < wanted)
		ev_io_start(loop_ev(s->loop), &t->writer);
	return sent;
}

static void tcp_pause(struct stream *s, bool paused)
{
	struct tcp *t = tcp_of(s);

	t->paused = paused;
	update_reader(t);
}

static size_t tcp_unsent(const struct stream *s)
{
	(void)s;
	return 0;
}

static void tcp_finish(struct stream *s)
{
	struct tcp *t = tcp_of(s);

	if (t->finished)
		return;
	t->finished = true;
	shutdown(t->fd, SHUT_WR);
}

static int tcp_ended(const struct stream *s)
{
	const struct tcp *t = tcp_of(s);
	struct pollfd p = {.fd = t->fd, .events = POLLRDHUP};

	if (t->failed && t->failed != ADIT_ERR_EOF) /* a reset may follow an end */
		return t->failed;
	if (poll(&p, 1, 0) <= 0)
		return t->failed;
	return p.revents & POLLERR ? ADIT_ERR_RESET : ADIT_ERR_EOF;
}

static void tcp_spoil(struct stream *s)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	setsockopt(tcp_of(s)->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
}

static void close_now(void *arg)
{
	struct tcp *t = arg;

	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
	if (t->over)
		free(t);
}

static void tcp_stop(struct stream *s)
{
	struct tcp *t = tcp_of(s);

	ev_io_stop(loop_ev(s->loop), &t->reader);
	ev_io_stop(loop_ev(s->loop), &t->writer);
	if (t->dialled)
		task_post_fair(s->loop, LOOP_FAIR_CLOSE, &t->close);
	else
		close_now(t);
}

static void tcp_destroy(struct stream *s)
{
	struct tcp *t = tcp_of(s);

	t->over = true;
	if (t->fd < 0)
		free(t);
}


static const struct stream_ops tcp_ops = {
	.read = tcp_read,
	.write = tcp_write,
	.pause = tcp_pause,
	.unsent = tcp_unsent,
	.finish = tcp_finish,
	.ended = tcp_ended,
	.spoil = tcp_spoil,
	.stop = tcp_stop,
	.destroy = tcp_destroy,
};

static void on_readable(struct ev_loop *ev, ev_io *w, int revents)
{
	struct tcp *t = w->data;

	(void)ev;
	(void)revents;
	t->drained = false;
	if (t->base.handler)
		t->base.handler->readable(t->base.owner);
}

static void on_writable(struct ev_loop *ev, ev_io *w, int revents)
{
	struct tcp *t = w->data;

	(void)revents;
	ev_io_stop(ev, w);
	if (t->base.handler)
		t->base.handler->writable(t->base.owner);
}

struct stream *tcp_new(struct loop *l, int fd)
{
	struct tcp *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	stream_init(&t->base, &tcp_ops, l);
	t->fd = fd;
	t->paused = true;
	t->close = (struct task){.run = close_now, .arg = t};
	ev_io_init(&t->reader, on_readable, fd, EV_READ);
	t->reader.data = t;
	ev_io_init(&t->writer, on_writable, fd, EV_WRITE);
	t->writer.data = t;
	return &t->base;
}

void tcp_await_connect(struct stream *s)
{
	struct tcp *t = tcp_of(s);

	t->dialled = true;
	ev_io_start(loop_ev(s->loop), &t->writer);
}

int tcp_connect_error(const struct stream *s)
{
	int errnum = 0;
	socklen_t n = sizeof(errnum);

	if (getsockopt(tcp_of(s)->fd, SOL_SOCKET, SO_ERROR, &errnum, &n) < 0)
		return ADIT_ERR_SYS;
	return errnum ? tcp_error(errnum) : 0;
}

void tcp_be_patient(struct stream *s)
{
#ifdef TCP_USER_TIMEOUT
	if (s->ops == &tcp_ops)
		set_int(tcp_of(s)->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 0);
#else
	(void)s;
#endif
}

int tcp_local_address(const struct stream *s, struct address *out)
{
	union socket_address a;

	if (s->ops != &tcp_ops || socket_address_of(tcp_of(s)->fd, &a) < 0)
		return ADIT_ERR_SYS;
	address_from(out, &a.sa);
	return 0;
}

/* ---- unix sockets only */

int tcp_send_descriptors(struct stream *s, const void *p, size_t n, const int *fds, unsigned count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int) * HANDED_MESSAGE_MAX)];
	} control = {0};
	struct iovec v = {(void *)(uintptr_t)p, n}; /* sendmsg does not write to it */
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
	ssize_t sent;

	if (count > HANDED_MESSAGE_MAX)
		return ADIT_ERR_LIMIT;
	if (count) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * count);
		control.header = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(sizeof(int) * count), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * count);
	}
	sent = sendmsg(tcp_of(s)->fd, &m, MSG_NOSIGNAL);
	if (sent < 0)
		return tcp_error(errno);
	return (size_t)sent == n ? 0 : ADIT_ERR_LIMIT;
}

bool tcp_is_of_this_user(int fd)
{
	struct ucred who;
	socklen_t n = sizeof(who);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) < 0)
		return false;
	return who.uid == geteuid() || who.uid == 0;
}

bool tcp_peer_is_this_user(const struct stream *s)
{
	return s->ops == &tcp_ops && tcp_is_of_this_user(tcp_of(s)->fd);
}
