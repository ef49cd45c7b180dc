/* For the flood tests: an attacker as a process of its own.
 *   flood_attack KEY=VALUE…
 * has `slots` connections at a time to `port`; each is begun every `every` ms, or when the one before is over, for
 * `last` ms in all. A connection sends the bytes of the file `first`, waits for the end of a head when `wait` is 1,
 * and sends those of the file `again` over and over: `limit` bytes in all (0: without end), in writes of `piece`
 * bytes, `gap` us apart. It is cut when GOAWAY has come (`h2`=1), anything has been answered (`answer`=1), or at its
 * end; then, or `hold` ms after the last byte, it is over. `unread`=1: it reads nothing. "@@@@@@@@" in the files becomes
 * the connection's number; `tls`=1: all of it by TLS, once the handshake is complete; `source`: how many addresses of
 * 127.1.0.0/16 they come from.
 * At the end it writes one line of JSON: connections begun, handshakes completed, connections that were cut, those that
 * could not connect, bytes sent and received, when the slowest and the fastest were cut (us), and the last GOAWAY's
 * code.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SPREAD 50 /* ms in which the first connections of all slots begin */
#define SLOTS_MAX 16384
#define FRAME_HEADER 9
#define GOAWAY 7
#define GOAWAY_LEN 17 /* with its header */
#define SMALL_BUFFER 4096
#define STAMP "@@@@@@@@"
#define TLS_NAME "shop.tunnel.test"

struct bytes {
	char *p, *stamp;
	size_t n;
};

struct slot {
	int fd; /* -1: between two connections */
	int64_t due, began, next, sent_all;
	unsigned long number;
	size_t sent, head; /* head: how many bytes of CR LF CR LF have come */
	int told, over;    /* told: a head has come */
	unsigned char frame[GOAWAY_LEN];
	size_t have, skip; /* of the frame that arrives */
	SSL *ssl;
	int shaking, secured;
};

static struct {
	long port, slots, every, last, wait, limit, piece, gap, h2, answer, hold, unread, source, tls;
} opt = {.slots = 1, .every = 50, .last = 500, .piece = 16384};
static struct bytes first, again;
static struct slot slots[SLOTS_MAX];
static struct pollfd polls[SLOTS_MAX];
static SSL_CTX *tls;
static struct {
	long begun, secured, cut, refused;
	long long sent, received, cut_most, cut_least, goaway;
} sum = {.cut_least = INT64_MAX, .goaway = -1};

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static struct bytes load(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	struct bytes b = {NULL, NULL, 0};

	if (!f || fstat(fileno(f), &st) < 0)
		exit(2);
	b.n = (size_t)st.st_size;
	b.p = malloc(b.n + 1);
	if (!b.p || fread(b.p, 1, b.n, f) != b.n)
		exit(2);
	fclose(f);
	return b;
}

static void option(char *word)
{
	static const struct {
		const char *name;
		long *value;
	} names[] = {{"port", &opt.port}, {"slots", &opt.slots}, {"every", &opt.every}, {"last", &opt.last},
	             {"wait", &opt.wait}, {"limit", &opt.limit}, {"piece", &opt.piece}, {"gap", &opt.gap},
	             {"h2", &opt.h2}, {"answer", &opt.answer}, {"hold", &opt.hold}, {"unread", &opt.unread},
	             {"source", &opt.source}, {"tls", &opt.tls}};
	char *value = strchr(word, '=');
	size_t i;

	if (!value)
		exit(2);
	*value++ = 0;
	if (!strcmp(word, "first"))
		first = load(value);
	if (!strcmp(word, "again"))
		again = load(value);
	for (i = 0; i < sizeof(names) / sizeof(*names); i++)
		if (!strcmp(word, names[i].name))
			*names[i].value = atol(value);
}

static void begin(struct slot *s, int64_t now)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, from = to;
	int one = 1, small = SMALL_BUFFER;
	int64_t due = s->due;

	memset(s, 0, sizeof(*s));
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	s->due = due + opt.every * 1000 > now ? due + opt.every * 1000 : now;
	s->began = s->next = now;
	sum.begun++;
	s->number = (unsigned long)getpid() << 16 | (unsigned long)(sum.begun & 0xffff);
	to.sin_port = htons((uint16_t)opt.port);
	from.sin_addr.s_addr = htonl(0x7f010001 + (uint32_t)(opt.source ? sum.begun % opt.source : 0));
	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (opt.unread)
		setsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (opt.source && bind(s->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		s->over = 1;
	if (connect(s->fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		s->over = 1;
	sum.refused += s->over;
	if (!opt.tls)
		return;
	s->ssl = SSL_new(tls);
	SSL_set_fd(s->ssl, s->fd);
	SSL_set_tlsext_host_name(s->ssl, TLS_NAME);
	SSL_set_connect_state(s->ssl);
}

static void end(struct slot *s, int64_t now, int is_cut)
{
	struct linger at_once = {1, 0};

	if (is_cut) {
		sum.cut++;
		sum.cut_most = now - s->began > sum.cut_most ? now - s->began : sum.cut_most;
		sum.cut_least = now - s->began < sum.cut_least ? now - s->began : sum.cut_least;
	}
	sum.sent += (long long)s->sent;
	setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	SSL_free(s->ssl);
	s->ssl = NULL;
	close(s->fd);
	s->fd = -1;
}

/* As send and recv do it. */
static ssize_t of_tls(struct slot *s, int n)
{
	int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(s->ssl, n);

	if (why == SSL_ERROR_NONE || why == SSL_ERROR_ZERO_RETURN)
		return n;
	errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
	return -1;
}

/* A step of the handshake; false when the far end does not go on. */
static int shake(struct slot *s)
{
	s->shaking = 1;
	s->secured = SSL_do_handshake(s->ssl) == 1;
	sum.secured += s->secured;
	return s->secured || SSL_get_error(s->ssl, -1) == SSL_ERROR_WANT_READ;
}

/* Is it cut by these bytes? */
static int goaway(struct slot *s, const unsigned char *p, size_t n)
{
	size_t length, i;

	for (i = 0; i < n; i++) {
		if (s->skip) {
			length = n - i < s->skip ? n - i : s->skip;
			s->skip -= length;
			i += length - 1;
			continue;
		}
		s->frame[s->have++] = p[i];
		if (s->have < FRAME_HEADER)
			continue;
		if (s->frame[3] == GOAWAY && s->have < GOAWAY_LEN)
			continue;
		if (s->frame[3] == GOAWAY) {
			sum.goaway = s->frame[GOAWAY_LEN - 1];
			return 1;
		}
		s->skip = (size_t)s->frame[0] << 16 | (size_t)s->frame[1] << 8 | s->frame[2];
		s->have = 0;
	}
	return 0;
}

static void hear(struct slot *s, const char *p, size_t n)
{
	size_t i;

	for (i = 0; i < n && s->head < 4; i++)
		s->head = p[i] == "\r\n\r\n"[s->head] ? s->head + 1 : p[i] == '\r';
	s->told |= s->head == 4;
}

static int has_heard(struct slot *s)
{
	static char data[65536];
	ssize_t n = s->ssl ? of_tls(s, SSL_read(s->ssl, data, sizeof(data))) : recv(s->fd, data, sizeof(data), 0);

	if (n < 0)
		return errno != EAGAIN;
	if (n == 0)
		return 1;
	sum.received += n;
	hear(s, data, (size_t)n);
	return (opt.h2 && goaway(s, (unsigned char *)data, (size_t)n)) || opt.answer;
}

static int may_send(const struct slot *s)
{
	if (s->sent < first.n)
		return 1;
	return (!opt.wait || s->told) && again.n && (!opt.limit || s->sent < (size_t)opt.limit);
}

/* What is stamped leaves in one write. */
static void stamp(const struct slot *s, struct bytes *b)
{
	char digits[sizeof(STAMP)];

	b->stamp = b->stamp ? b->stamp : memmem(b->p, b->n, STAMP, strlen(STAMP));
	snprintf(digits, sizeof(digits), "%08lx", s->number & 0xffffffffUL);
	if (b->stamp)
		memcpy(b->stamp, digits, strlen(STAMP));
}

/* The next bytes; false when there is nobody to take them. */
static int speak(struct slot *s, int64_t now)
{
	struct bytes *b = s->sent < first.n ? &first : &again;
	size_t at = s->sent < first.n ? s->sent : (s->sent - first.n) % again.n, n = b->n - at;
	ssize_t r;

	if (!at)
		stamp(s, b);
	if (n > (size_t)opt.piece)
		n = (size_t)opt.piece;
	if (opt.limit && s->sent + n > (size_t)opt.limit && s->sent >= first.n)
		n = (size_t)opt.limit - s->sent;
	r = s->ssl ? of_tls(s, SSL_write(s->ssl, b->p + at, (int)n)) : send(s->fd, b->p + at, n, MSG_NOSIGNAL);
	if (r < 0)
		return errno == EAGAIN;
	s->sent += (size_t)r;
	s->next = now + opt.gap;
	return 1;
}

static void step(struct slot *s, const struct pollfd *p, int64_t now)
{
	int error = 0;
	socklen_t length = sizeof(error);

	if (s->over) {
		end(s, now, 0);
	} else if (p->revents & (POLLERR | POLLHUP)) {
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &error, &length);
		sum.refused += error == ECONNREFUSED || error == ETIMEDOUT;
		if (!has_heard(s) && !(p->revents & POLLERR))
			return;
		end(s, now, error != ECONNREFUSED);
	} else if (s->ssl && !s->secured) {
		if (p->revents && !shake(s))
			end(s, now, 1);
	} else if ((p->revents & POLLIN) && has_heard(s)) {
		end(s, now, 1);
	} else if ((p->revents & POLLOUT) && may_send(s) && now >= s->next && !speak(s, now)) {
		end(s, now, 1);
	} else if (!may_send(s) && !(opt.wait && !s->told)) {
		s->sent_all = s->sent_all ? s->sent_all : now;
		if (now - s->sent_all >= opt.hold * 1000)
			end(s, now, 0);
	}
}

/* What each slot waits for; in how many us the next has something to do. */
static int64_t look(int64_t now, int64_t until)
{
	int64_t soon = until - now, then;
	long i;

	for (i = 0; i < opt.slots; i++) {
		struct slot *s = &slots[i];

		if (s->fd < 0 && s->due <= now)
			begin(s, now);
		polls[i] = (struct pollfd){.fd = s->fd, .events = opt.unread ? 0 : POLLIN};
		then = s->due;
		if (s->fd >= 0 && s->ssl && !s->secured) {
			polls[i].events = s->shaking ? POLLIN : POLLOUT;
			continue;
		}
		if (s->fd >= 0)
			then = may_send(s) ? s->next : s->sent_all ? s->sent_all + opt.hold * 1000 : now;
		if (s->fd >= 0 && may_send(s) && s->next <= now) {
			polls[i].events |= POLLOUT;
			then = until;
		} else if (s->fd >= 0 && !may_send(s) && opt.wait && !s->told) {
			then = until;
		}
		soon = then - now < soon ? then - now : soon;
	}
	return soon > 0 ? soon : 0;
}

int main(int argc, char **argv)
{
	struct rlimit files = {65536, 65536};
	int64_t now = now_us(), until, soon;
	struct timespec t;
	long i, spread;

	for (i = 1; i < argc; i++)
		option(argv[i]);
	tls = SSL_CTX_new(TLS_client_method()); /* it believes whatever certificate there is */
	if (opt.slots > SLOTS_MAX || !tls)
		return 2;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes as it likes */
	until = now + opt.last * 1000;
	spread = opt.every < SPREAD ? opt.every : SPREAD;
	for (i = 0; i < opt.slots; i++) /* not all at once */
		slots[i] = (struct slot){.fd = -1, .due = now + spread * 1000 * i / opt.slots};
	while ((now = now_us()) < until) {
		soon = look(now, until);
		t = (struct timespec){.tv_sec = soon / 1000000, .tv_nsec = soon % 1000000 * 1000};
		ppoll(polls, (nfds_t)opt.slots, &t, NULL);
		now = now_us();
		for (i = 0; i < opt.slots; i++)
			if (slots[i].fd >= 0)
				step(&slots[i], &polls[i], now);
	}
	for (i = 0; i < opt.slots; i++)
		if (slots[i].fd >= 0)
			end(&slots[i], now, 0);
	printf("{\"begun\": %ld, \"secured\": %ld, \"cut\": %ld, \"refused\": %ld, \"sent\": %lld, \"received\": %lld, "
	       "\"cut_most\": %lld, \"cut_least\": %lld, \"goaway\": %lld}\n", sum.begun,
	       sum.secured, sum.cut, sum.refused, sum.sent, sum.received, sum.cut_most,
	       sum.cut ? sum.cut_least : 0, sum.goaway);
	return 0;
}
