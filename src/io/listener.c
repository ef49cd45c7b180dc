#include "io/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "io/proxyproto.h"
#include "io/socket_address.h"
#include "io/tcp.h"

struct listener {
	struct loop *loop;
	int fd; /* -1 = stopped */
	ev_io watcher;
	struct timer pause; /* after running out of descriptors */
	bool paused, proxy_protocol;
	struct tls_context *tls;
	listener_accept_fn *fn;
	void (*starved)(void *arg);
	void *arg;
	struct proxyproto_queue waiting; /* connections whose PROXY header is still to come */
	char *unix_path;
	bool leave_path; /* the file is not ours to remove: not yet, or not any more */
	bool inherits;   /* it becomes ours with listener_settle */
	char address[SOCKET_ADDRESS_TEXT_MAX];
};

static void note_address(struct listener *l)
{
	union socket_address bound;

	if (socket_address_of(l->fd, &bound) < 0)
		return;
	socket_address_text(&bound, l->address);
	if (bound.sa.sa_family == AF_UNIX)
		l->unix_path = str_dup(str_of(bound.un.sun_path));
}

/* A socket file that nobody listens on is left over from a killed process and may go. */
static void remove_stale(const union socket_address *a, socklen_t len)
{
	struct stat st;
	int fd;

	if (stat(a->un.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	if (connect(fd, &a->sa, len) < 0 && errno == ECONNREFUSED)
		unlink(a->un.sun_path);
	close(fd);
}

static int bind_socket(const union socket_address *a, socklen_t len, bool private)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, off = 0;

	if (fd < 0)
		return -1;
	if (a->sa.sa_family == AF_UNIX)
		remove_stale(a, len);
	else
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->sa.sa_family == AF_UNIX && private)
		fchmod(fd, S_IRUSR | S_IWUSR); /* the file gets its mode with bind: at no time is it open to others */
	if (a->sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, &a->sa, len) < 0 || listen(fd, LISTENER_BACKLOG) < 0) {
		int keep = errno;

		close(fd);
		errno = keep;
		return -1;
	}
	return fd;
}

static void hand_on(struct listener *l, struct stream *s)
{
	if (l->tls) {
		struct stream *secured = tls_accept(l->tls, &s);

		if (!secured) {
			stream_free(&s);
			return;
		}
		s = secured;
	}
	l->fn(l->arg, s);
}

static void header_read(void *arg, struct stream *s)
{
	hand_on(arg, s);
}

static void take(struct listener *l, int fd, const struct sockaddr *sa)
{
	struct stream *s = tcp_new(l->loop, fd);

	if (!s) {
		close(fd);
		return;
	}
	address_from(&s->peer, sa);
	if (sa->sa_family != AF_UNIX)
		tcp_tune(fd);
	if (!l->proxy_protocol)
		hand_on(l, s);
	else if (proxyproto_read(&l->waiting, &s, header_read, l) < 0)
		stream_free(&s);
}

static void update(struct listener *l)
{
	if (l->fd < 0 || l->paused || timer_is_set(&l->pause))
		ev_io_stop(loop_ev(l->loop), &l->watcher);
	else
		ev_io_start(loop_ev(l->loop), &l->watcher);
}

static void on_connection(struct ev_loop *ev, ev_io *w, int revents)
{
	struct listener *l = w->data;

	(void)ev;
	(void)revents;
	for (int i = 0; i < LISTENER_BATCH && !l->paused; i++) {
		union socket_address peer = {0};
		socklen_t len = sizeof(peer);
		int fd = accept4(l->fd, &peer.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			take(l, fd, &peer.sa);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			timer_set(&l->pause, LISTENER_PAUSE_MS);
			update(l);
			if (l->starved)
				l->starved(l->arg);
			return;
		}
		/* anything else is that one connection's misfortune, or nothing more to accept */
		if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

static void on_pause_over(void *arg)
{
	update(arg);
}

int listener_open(struct listener **out, struct loop *loop, const struct listener_options *o, listener_accept_fn *fn,
                  void *arg)
{
	bool handed = o->handed && o->handed->fd >= 0;
	union socket_address a;
	socklen_t len;
	struct listener *l;
	int err = socket_address_parse(o->address, &a, &len);

	*out = NULL;
	l = err ? NULL : calloc(1, sizeof(*l));
	if (!l) {
		if (handed)
			close(o->handed->fd);
		return err ? err : ADIT_ERR_NOMEM;
	}
	l->fd = handed ? o->handed->fd : bind_socket(&a, len, o->private);
	if (l->fd < 0) {
		int keep = errno;

		free(l);
		errno = keep;
		return ADIT_ERR_SYS;
	}
	l->leave_path = handed;
	l->inherits = handed && o->handed->owns_path;
	note_address(l);
	l->loop = loop;
	l->fn = fn;
	l->arg = arg;
	l->starved = o->starved;
	l->proxy_protocol = o->proxy_protocol;
	l->tls = o->tls ? tls_context_ref(o->tls) : NULL;
	proxyproto_init(&l->waiting);
	timer_init(&l->pause, loop, on_pause_over, l);
	ev_io_init(&l->watcher, on_connection, l->fd, EV_READ);
	l->watcher.data = l;
	ev_io_start(loop_ev(loop), &l->watcher);
	*out = l;
	return 0;
}

void listener_settle(struct listener *l)
{
	if (l->inherits)
		l->leave_path = false;
}

struct handed_socket listener_give(const struct listener *l)
{
	return (struct handed_socket){l->fd, l->unix_path && !l->leave_path, "us"};
}

void listener_stop(struct listener *l, bool leave_path)
{
	if (l->fd < 0)
		return;
	ev_io_stop(loop_ev(l->loop), &l->watcher);
	timer_stop(&l->pause);
	close(l->fd);
	l->fd = -1;
	if (l->unix_path && !l->leave_path && !leave_path)
		unlink(l->unix_path);
}

unsigned listener_waiting(const struct listener *l)
{
	return l->waiting.count;
}

void listener_close(struct listener **lp)
{
	struct listener *l = *lp;

	if (!l)
		return;
	*lp = NULL;
	proxyproto_drop_all(&l->waiting);
	listener_stop(l, false);
	free(l->unix_path);
	tls_context_free(&l->tls);
	free(l);
}

void listener_pause(struct listener *l, bool paused)
{
	l->paused = paused;
	update(l);
}

void listener_set_tls(struct listener *l, struct tls_context *tls)
{
	struct tls_context *fresh = tls ? tls_context_ref(tls) : NULL;

	tls_context_free(&l->tls);
	l->tls = fresh;
}

const char *listener_address(const struct listener *l)
{
	return l->address;
}
