/* relay: a path of a known length between the two ends of a tunnel, which can break. Built and used by the bench only.
 *
 *     relay ADDRESS PORT TO_ADDRESS TO_PORT DELAY_MS
 *
 * Each byte leaves DELAY_MS after it came in, each way, as many as may come in meanwhile (RING). It is read at once,
 * so what the round trip shows is the windows of the programs, not those of TCP.
 * SIGUSR1 resets every connection that there is; SIGUSR2 makes each a black hole: nothing passes and nothing is said.
 * Connections that come later pass as before. It says "cut" or "hole" when that is done.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* 25 ms of 2.5 GB/s: more than two cores carry. */
#define RING (64u * 1024 * 1024)
#define PIECE (256u * 1024)
/* Pieces on their way; a power of two. */
#define MARKS 16384u
#define PAIRS_MAX 1024

struct mark {
	uint64_t end; /* of the piece, as an offset in the whole stream */
	int64_t due_ns;
};

struct way {
	int from, to;
	uint8_t *ring;
	uint64_t in, out; /* offsets: what has been read, and what has been written */
	struct mark marks[MARKS];
	unsigned first, last; /* counted on, taken modulo MARKS */
	bool eof, shut, full;  /* full: `to` takes no more for now */
};

struct pair {
	struct way ways[2];
	bool hole, dead;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static bool address(struct sockaddr_in *a, const char *host, const char *port)
{
	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port)) };
	return inet_pton(AF_INET, host, &a->sin_addr) == 1;
}

static void make_ready(int fd)
{
	int one = 1;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void close_pair(struct pair **at, bool reset)
{
	struct linger none = { .l_onoff = 1, .l_linger = 0 };
	struct pair *p = *at;

	for (int i = 0; i < 2; i++) {
		if (reset)
			setsockopt(p->ways[i].from, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
		close(p->ways[i].from);
		munmap(p->ways[i].ring, RING);
	}
	free(p);
	*at = NULL;
}

static struct pair *join(int near, int far)
{
	struct pair *p = calloc(1, sizeof(*p));

	if (!p)
		abort();
	for (int i = 0; i < 2; i++) {
		struct way *w = &p->ways[i];

		w->from = i ? far : near;
		w->to = i ? near : far;
		w->ring = mmap(NULL, RING, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (w->ring == MAP_FAILED)
			abort();
		make_ready(w->from);
	}
	return p;
}

static void take_connection(int listener, const struct sockaddr_in *target, struct pair **pairs)
{
	int near = accept(listener, NULL, NULL), far, i = 0;

	if (near < 0)
		return;
	while (i < PAIRS_MAX && pairs[i])
		i++;
	far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (i == PAIRS_MAX || far < 0 || connect(far, (const struct sockaddr *)target, sizeof(*target))) {
		close(near);
		if (far >= 0)
			close(far);
		return;
	}
	pairs[i] = join(near, far);
}

static bool wants_more(const struct way *w)
{
	return !w->eof && w->in - w->out < RING && w->last - w->first < MARKS;
}

static bool has_due(const struct way *w, int64_t now)
{
	return w->first != w->last && w->marks[w->first % MARKS].due_ns <= now;
}

/* false: the connection broke */
static bool fill(struct way *w, int64_t due_ns)
{
	size_t at = w->in % RING, room = RING - (size_t)(w->in - w->out);
	ssize_t n;

	if (room > RING - at)
		room = RING - at;
	n = read(w->from, w->ring + at, room < PIECE ? room : PIECE);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	w->eof = n == 0;
	w->in += (uint64_t)n;
	if (n)
		w->marks[w->last++ % MARKS] = (struct mark){ .end = w->in, .due_ns = due_ns };
	return true;
}

static bool drain(struct way *w, int64_t now)
{
	while (has_due(w, now)) {
		size_t at = w->out % RING, left = (size_t)(w->marks[w->first % MARKS].end - w->out);
		ssize_t n = write(w->to, w->ring + at, left < RING - at ? left : RING - at);

		w->full = n < 0 && errno == EAGAIN;
		if (n < 0)
			return w->full || errno == EINTR;
		w->out += (uint64_t)n;
		if (w->out == w->marks[w->first % MARKS].end)
			w->first++;
	}
	if (w->eof && w->in == w->out && !w->shut) {
		w->shut = true;
		shutdown(w->to, SHUT_WR);
	}
	return true;
}

/* What to wait for on both sockets; brings `next` forward to when the next piece is due. */
static void ask(const struct pair *p, struct pollfd *fds, int64_t *next)
{
	for (int i = 0; i < 2; i++) {
		const struct way *w = &p->ways[i], *back = &p->ways[!i];

		fds[i] = (struct pollfd){ .fd = w->from };
		fds[i].events = (short)((wants_more(w) ? POLLIN : 0) | (back->full ? POLLOUT : 0));
		if (p->hole || (!fds[i].events && w->eof))
			fds[i].fd = -1;
		if (!p->hole && !w->full && w->first != w->last && w->marks[w->first % MARKS].due_ns < *next)
			*next = w->marks[w->first % MARKS].due_ns;
	}
}

static void serve(struct pair *p, const struct pollfd *fds, int64_t now, int64_t delay_ns)
{
	for (int i = 0; i < 2; i++) {
		struct way *w = &p->ways[i];

		/* an error shows in read(); one that nobody reads for would be told again for ever */
		if (fds[i].revents && wants_more(w) && !fill(w, now + delay_ns))
			p->dead = true;
		else if (fds[i].revents & (POLLERR | POLLNVAL))
			p->dead = true;
		if ((!w->full || fds[!i].revents & POLLOUT) && !drain(w, now))
			p->dead = true;
	}
}

static void break_pairs(int signals, struct pair **pairs)
{
	struct signalfd_siginfo info;
	bool cut;

	if (read(signals, &info, sizeof(info)) != sizeof(info))
		return;
	cut = info.ssi_signo == SIGUSR1;
	for (int i = 0; i < PAIRS_MAX; i++) {
		if (pairs[i] && cut)
			close_pair(&pairs[i], true);
		else if (pairs[i])
			pairs[i]->hole = true;
	}
	fprintf(stderr, "%s\n", cut ? "cut" : "hole");
}

static void turn(int listener, int signals, const struct sockaddr_in *target, int64_t delay_ns, struct pair **pairs)
{
	static struct pollfd all[2 + 2 * PAIRS_MAX];
	struct pollfd *fds = all + 2;
	int64_t now = now_ns(), next = now + 1000000000;
	struct timespec wait;
	int top = 0; /* above it there are no pairs */

	all[0] = (struct pollfd){ .fd = listener, .events = POLLIN };
	all[1] = (struct pollfd){ .fd = signals, .events = POLLIN };
	for (int i = 0; i < PAIRS_MAX; i++) {
		fds[2 * i].fd = fds[2 * i + 1].fd = -1;
		if (!pairs[i])
			continue;
		ask(pairs[i], &fds[2 * i], &next);
		top = i + 1;
	}
	wait.tv_sec = next > now ? (next - now) / 1000000000 : 0;
	wait.tv_nsec = next > now ? (next - now) % 1000000000 : 0;
	if (ppoll(all, (nfds_t)(2 + 2 * top), &wait, NULL) < 0)
		return;
	if (all[1].revents) {
		break_pairs(signals, pairs);
		return;
	}
	now = now_ns();
	for (int i = 0; i < top; i++) {
		if (!pairs[i] || pairs[i]->hole)
			continue;
		serve(pairs[i], &fds[2 * i], now, delay_ns);
		if (pairs[i]->dead || (pairs[i]->ways[0].shut && pairs[i]->ways[1].shut))
			close_pair(&pairs[i], pairs[i]->dead);
	}
	if (all[0].revents)
		take_connection(listener, target, pairs);
}

int main(int argc, char **argv)
{
	static struct pair *pairs[PAIRS_MAX];
	struct sockaddr_in near, far;
	sigset_t breaks;
	int one = 1, listener, signals;

	if (argc != 6 || !address(&near, argv[1], argv[2]) || !address(&far, argv[3], argv[4])) {
		fprintf(stderr, "usage: relay ADDRESS PORT TO_ADDRESS TO_PORT DELAY_MS\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&breaks);
	sigaddset(&breaks, SIGUSR1);
	sigaddset(&breaks, SIGUSR2);
	sigprocmask(SIG_BLOCK, &breaks, NULL);
	signals = signalfd(-1, &breaks, SFD_NONBLOCK | SFD_CLOEXEC);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || signals < 0 || bind(listener, (struct sockaddr *)&near, sizeof(near)) || listen(listener, 1024))
		return fail("listen");
	for (;;)
		turn(listener, signals, &far, (int64_t)atoi(argv[5]) * 1000000, pairs);
}
