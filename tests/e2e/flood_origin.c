/* For the flood tests: who is asked, as a process of its own.
 *   flood_origin          an origin: /slow is never answered, /most tells "MOST" requests for /slow that ran at once
 *                         since it was asked last, an upgrade becomes a WebSocket that takes everything and says
 *                         nothing; else, when the request has ended: 200
 *   flood_origin sink     reads whatever comes and throws it away: what an attacker costs without anybody's fault
 * Its port is the first line of its standard output; it ends with its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 65536
#define HEAD_MAX 49152
#define KEY_LEN 24
#define LAST_CHUNK "0\r\n\r\n"
#define WS_GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

struct connection {
	char *head; /* as much of a request's head as has come */
	size_t have;
	size_t body;     /* bytes of its body that are still to come */
	int chunked;     /* the body ends with the last chunk */
	int slow, taken; /* /slow runs on it; it is a WebSocket */
	char tail[sizeof(LAST_CHUNK) - 1];
};

static struct connection connections[CONNECTIONS];
static unsigned running, most;
static int sink;

static void say(int fd, const char *text)
{
	if (send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
		shutdown(fd, SHUT_RDWR);
}

static void answer(int fd, const char *body)
{
	char text[256];

	snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
	say(fd, text);
}

static void be_websocket(int fd, struct connection *c, const char *key)
{
	unsigned char digest[EVP_MAX_MD_SIZE], accept[64];
	char text[256];
	unsigned n = 0;

	snprintf(text, sizeof(text), "%.*s%s", KEY_LEN, key, WS_GUID);
	EVP_Digest(text, strlen(text), digest, &n, EVP_sha1(), NULL);
	EVP_EncodeBlock(accept, digest, (int)n);
	snprintf(text, sizeof(text), "HTTP/1.1 101 Fine\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	         "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
	c->taken = 1;
	say(fd, text);
}

static void take_head(int fd, struct connection *c)
{
	const char *length = strcasestr(c->head, "\r\ncontent-length: "), *key;
	char told[32];

	key = strcasestr(c->head, "\r\nsec-websocket-key: ");
	c->body = length ? strtoul(length + 18, NULL, 10) : 0;
	c->chunked = strcasestr(c->head, "\r\ntransfer-encoding: chunked") != NULL;
	if (key) {
		be_websocket(fd, c, key + 21);
	} else if (strstr(c->head, " /slow")) {
		c->slow = 1;
		running++;
		most = running > most ? running : most;
	} else if (strstr(c->head, " /most")) {
		snprintf(told, sizeof(told), "%u", most);
		most = running;
		answer(fd, told);
	} else if (!c->body && !c->chunked) {
		answer(fd, "small");
	}
}

/* Bytes behind a head; how many of them are body. */
static size_t take_body(int fd, struct connection *c, const char *p, size_t n)
{
	size_t tail = sizeof(c->tail), used = c->chunked ? n : n < c->body ? n : c->body;

	if (c->chunked) {
		if (n >= tail) {
			memcpy(c->tail, p + n - tail, tail);
		} else {
			memmove(c->tail, c->tail + n, tail - n);
			memcpy(c->tail + tail - n, p, n);
		}
		c->chunked = memcmp(c->tail, LAST_CHUNK, tail) != 0;
	} else {
		c->body -= used;
	}
	if (!c->chunked && !c->body && !c->slow)
		answer(fd, "small");
	return used;
}

static void take(int fd, struct connection *c, const char *p, size_t n)
{
	const char *end;
	size_t used;

	while (n && !sink && !c->taken) {
		if (c->chunked || c->body) {
			used = take_body(fd, c, p, n);
			p += used;
			n -= used;
			continue;
		}
		if (c->have + n > HEAD_MAX || (!c->head && !(c->head = calloc(1, HEAD_MAX + 1))))
			return;
		memcpy(c->head + c->have, p, n);
		c->head[c->have + n] = 0;
		end = strstr(c->head, "\r\n\r\n");
		used = end ? (size_t)(end + 4 - c->head) - c->have : n;
		c->have = end ? 0 : c->have + n;
		if (end) {
			c->head[end + 4 - c->head] = 0;
			take_head(fd, c);
		}
		p += used;
		n -= used;
	}
}

static void forget(int fd, struct connection *c)
{
	running -= c->slow ? 1 : 0;
	free(c->head);
	memset(c, 0, sizeof(*c));
	close(fd);
}

static void readable(int fd)
{
	static char data[65536];
	ssize_t n = recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (n > 0)
		take(fd, &connections[fd], data, (size_t)n);
	else
		forget(fd, &connections[fd]);
}

static int begin(int poll)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event of_listener = {.events = EPOLLIN}, of_input = {.events = EPOLLIN | EPOLLHUP};
	socklen_t length = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 4096) < 0)
		exit(1);
	getsockname(fd, (struct sockaddr *)&a, &length);
	printf("%d\n", ntohs(a.sin_port));
	fflush(stdout);
	of_listener.data.fd = fd;
	epoll_ctl(poll, EPOLL_CTL_ADD, fd, &of_listener);
	epoll_ctl(poll, EPOLL_CTL_ADD, STDIN_FILENO, &of_input);
	return fd;
}

static void accepted(int poll, int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
	int one = 1;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (fd >= CONNECTIONS || epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e) < 0)
		close(fd);
}

int main(int argc, char **argv)
{
	struct rlimit files = {CONNECTIONS, CONNECTIONS};
	struct epoll_event events[64];
	int poll = epoll_create1(0), listener, i, n;

	sink = argc > 1 && !strcmp(argv[1], "sink");
	setrlimit(RLIMIT_NOFILE, &files);
	listener = begin(poll);
	for (;;) {
		n = epoll_wait(poll, events, 64, -1);
		for (i = 0; i < n; i++) {
			if (events[i].data.fd == STDIN_FILENO)
				return 0;
			if (events[i].data.fd == listener)
				accepted(poll, accept(listener, NULL, NULL));
			else
				readable(events[i].data.fd);
		}
	}
}
