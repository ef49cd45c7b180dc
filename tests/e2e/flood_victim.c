/* For the flood tests: the visitor beside an attack, as a process of its own, so that what he waits for is the
 * programs and nobody's interpreter lock.
 *   flood_victim PORT HOST TARGET PACE_US
 * asks over one connection every PACE_US (0: as soon as he is answered) until his standard input ends, and writes for
 * each answer "WHEN TOOK" in microseconds of CLOCK_MONOTONIC; "error WHY" and status 1 when he is not served. While
 * an answer is late he asks nothing: one delay is one late answer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_MAX 65536
#define PATIENCE_S 15

static int64_t now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void fail(const char *why)
{
	printf("error %s: %s\n", why, strerror(errno));
	exit(1);
}

static int dial(int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

	a.sin_port = htons((uint16_t)port);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		fail("connect");
	return fd;
}

/* The answer to the end of its Content-Length. */
static void take_answer(int fd)
{
	static char answer[ANSWER_MAX + 1];
	size_t have = 0, want = ANSWER_MAX;
	char *end, *length;
	ssize_t n;

	while (have < want) {
		n = read(fd, answer + have, ANSWER_MAX - have);
		if (n <= 0)
			fail(n < 0 ? "read" : "the connection ended");
		have += (size_t)n;
		answer[have] = 0;
		end = strstr(answer, "\r\n\r\n");
		if (!end || want != ANSWER_MAX)
			continue;
		length = strcasestr(answer, "\r\ncontent-length:");
		if (strncmp(answer, "HTTP/1.1 200", 12) || !length || length > end)
			fail("not the answer that was wanted");
		want = (size_t)(end + 4 - answer) + strtoul(length + 17, NULL, 10);
	}
}

static int is_over(void)
{
	struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static void sleep_until(int64_t us)
{
	struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		continue;
}

int main(int argc, char **argv)
{
	char request[1024];
	int64_t pace, due, began;
	int fd, length;

	if (argc != 5)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	length = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", argv[3], argv[2]);
	pace = atoll(argv[4]);
	fd = dial(atoi(argv[1]));
	due = now_us();
	while (!is_over()) {
		sleep_until(due);
		began = now_us();
		if (write(fd, request, (size_t)length) != length)
			fail("write");
		take_answer(fd);
		due = now_us();
		printf("%lld %lld\n", (long long)began, (long long)(due - began));
		due = began + pace > due ? began + pace : due;
	}
	return 0;
}
