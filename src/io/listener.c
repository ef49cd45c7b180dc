#include "io/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "io/proxyproto.h"
#include "io/tcp.h"

struct listener {
	struct loop *loop;
	int fd;
	ev_io watcher;
	struct timer pause; /* after running out of descriptors */
	bool paused, proxy_protocol;
	struct tls_context *tls;
	listener_accept_fn *fn;
	void (*starved)(void *arg);
	void *arg;
	struct proxyproto_queue waiting; /* connections whose PROXY header is still to come */
	char *unix_path;
	char address[sizeof("unix:") + sizeof(((struct sockaddr_un *)0)->sun_path)];
};

union any_address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static int parse_unix(struct str path, union any_address *out, socklen_t *len)
{
	if (!path.n || path.n >= sizeof(out->un.sun_path))
		return ADIT_ERR_INVALID;
	out->un.sun_family = AF_UNIX;
	memcpy(out->un.sun_path, path.p, path.n);
	*len = sizeof(out->un);
	return 0;
}

static int parse_address(const char *text, union any_address *out, socklen_t *len)
{
	struct str s = str_of(text);
	const char *colon = strrchr(text, ':');
	char host[ADDRESS_TEXT_MAX];
	struct str h;
	uint64_t port;

	memset(out, 0, sizeof(*out));
	if (str_starts(s, STR("unix:")))
		return parse_unix((struct str){s.p + 5, s.n - 5}, out, len);
	if (!colon || str_to_u64(str_of(colon + 1), &port) < 0 || port > 65535)
		return ADIT_ERR_INVALID;
	h = (struct str){text, (size_t)(colon - text)};
	if (h.n >= 2 && h.p[0] == '[' && h.p[h.n - 1] == ']')
		h = (struct str){h.p + 1, h.n - 2};
	if (h.n >= sizeof(host))
		return ADIT_ERR_INVALID;
	memcpy(host, h.p, h.n);
	host[h.n] = '\0';
	if (inet_pton(AF_INET, host, &out->in.sin_addr) == 1) {
		out->in.sin_family = AF_INET;
		out->in.sin_port = htons((uint16_t)port);
		*len = sizeof(out->in);
		return 0;
	}
	if (h.n && inet_pton(AF_INET6, host, &out->in6.sin6_addr) != 1)
		return ADIT_ERR_INVALID;
	out->in6.sin6_family = AF_INET6; /* "" = [::], which takes IPv4 as well */
	out->in6.sin6_port = htons((uint16_t)port);
	*len = sizeof(out->in6);
	return 0;
}

static void note_address(struct listener *l, const union any_address *bound)
{
	struct address a;

	if (bound->sa.sa_family == AF_UNIX) {
		snprintf(l->address, sizeof(l->address), "unix:%s", bound->un.sun_path);
		l->unix_path = str_dup(str_of(bound->un.sun_path));
		return;
	}
	address_from(&a, &bound->sa);
	snprintf(l->address, sizeof(l->address), strchr(a.ip, ':') ? "[%s]:%u" : "%s:%u", a.ip, a.port);
}

/* A socket file that nobody listens on is left over from a killed process and may go. */
static void remove_stale(const union any_address *a, socklen_t len)
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

static int bind_socket(const union any_address *a, socklen_t len)
{
	int fd = socket(a->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, off = 0;

	if (fd < 0)
		return -1;
	if (a->sa.sa_family == AF_UNIX)
		remove_stale(a, len);
	else
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
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
	if (l->paused || timer_is_set(&l->pause))
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
		union any_address peer = {0};
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
	union any_address a;
	socklen_t len;
	struct listener *l;
	int err = parse_address(o->address, &a, &len);

	*out = NULL;
	if (err)
		return err;
	l = calloc(1, sizeof(*l));
	if (!l)
		return ADIT_ERR_NOMEM;
	l->fd = bind_socket(&a, len);
	if (l->fd < 0) {
		int keep = errno;

		free(l);
		errno = keep;
		return ADIT_ERR_SYS;
	}
	len = sizeof(a);
	getsockname(l->fd, &a.sa, &len);
	note_address(l, &a);
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

void listener_close(struct listener **lp)
{
	struct listener *l = *lp;

	if (!l)
		return;
	*lp = NULL;
	proxyproto_drop_all(&l->waiting);
	ev_io_stop(loop_ev(l->loop), &l->watcher);
	timer_stop(&l->pause);
	close(l->fd);
	if (l->unix_path)
		unlink(l->unix_path);
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
