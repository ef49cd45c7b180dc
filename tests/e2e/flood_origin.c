/* For the flood tests: who is asked, as a process of its own.
 *   flood_origin          an origin: /slow is never answered, /most tells "MOST" requests for /slow that ran at once
 *                         since it was asked last, an upgrade becomes a WebSocket that takes everything and says
 *                         nothing; /reset is a reset, and what `hostile` has never comes to an end; else, when the
 *                         request has ended: 200
 *   flood_origin sink [CERTIFICATE KEY]
 *                         reads whatever comes and throws it away, with these by TLS: what an attacker costs without
 *                         anybody's fault
 * Its port is the first line of its standard output; it ends with its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 65536
#define HEAD_MAX 49152
#define BLOCK 16384 /* of what never comes to an end, in one write */
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
	SSL *ssl;
	const struct hostile *hostile;
	size_t at; /* in its block */
};

static struct hostile {
	const char *path, *first, *again;
	char block[BLOCK];
	size_t n;
} hostile[] = {
	{" /1xx", "", "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n", "", 0},
	{" /head", "HTTP/1.1 200 OK\r\n", "X-Bomb: 0123456789abcdef0123456789abcdef\r\n", "", 0},
	{" /trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-Bomb: 0123456789abcdef\r\n", "", 0},
	{" /endless", "HTTP/1.1 200 OK\r\n\r\n", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "", 0},
};

static struct connection connections[CONNECTIONS];
static unsigned running, most;
static int sink, poller;
static SSL_CTX *tls;

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

static void forget(int fd, struct connection *c)
{
	running -= c->slow ? 1 : 0;
	free(c->head);
	SSL_free(c->ssl);
	memset(c, 0, sizeof(*c));
	close(fd);
}

static void be_hostile(int fd, struct connection *c, const struct hostile *h)
{
	struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.fd = fd};

	c->hostile = h;
	c->taken = 1;
	epoll_ctl(poller, EPOLL_CTL_MOD, fd, &e);
	if (*h->first)
		say(fd, h->first);
}

static void go_on(int fd, struct connection *c)
{
	ssize_t n = send(fd, c->hostile->block + c->at, c->hostile->n - c->at, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n > 0)
		c->at = (c->at + (size_t)n) % c->hostile->n;
}

/* Takes the head, when it asks for something hostile. */
static int was_hostile(int fd, struct connection *c)
{
	struct linger at_once = {1, 0};
	size_t i;

	if (strstr(c->head, " /reset")) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
		c->taken = 1;
		shutdown(fd, SHUT_RD); /* its end is read, and closing it says RST */
		return 1;
	}
	for (i = 0; i < sizeof(hostile) / sizeof(*hostile); i++)
		if (strstr(c->head, hostile[i].path)) {
			be_hostile(fd, c, &hostile[i]);
			return 1;
		}
	return 0;
}

static void take_head(int fd, struct connection *c)
{
	const char *length = strcasestr(c->head, "\r\ncontent-length: "), *key;
	char told[32];

	if (was_hostile(fd, c))
		return;
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

static void readable(int fd)
{
	static char data[65536];
	SSL *ssl = connections[fd].ssl;
	ssize_t n = ssl ? SSL_read(ssl, data, sizeof(data)) : recv(fd, data, sizeof(data), MSG_DONTWAIT);

	if (ssl && n <= 0 && SSL_get_error(ssl, (int)n) == SSL_ERROR_WANT_READ)
		return;

	if (n > 0)
		take(fd, &connections[fd], data, (size_t)n);
	else
		forget(fd, &connections[fd]);
}

static void be_ready(char **files)
{
	size_t i, n;

	for (i = 0; i < sizeof(hostile) / sizeof(*hostile); i++)
		for (n = strlen(hostile[i].again); hostile[i].n + n <= BLOCK; hostile[i].n += n)
			memcpy(hostile[i].block + hostile[i].n, hostile[i].again, n);
	if (!files)
		return;
	tls = SSL_CTX_new(TLS_server_method());
	if (!tls || SSL_CTX_use_certificate_chain_file(tls, files[0]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(tls, files[1], SSL_FILETYPE_PEM) != 1)
		exit(2);
}

static int begin(void)
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
	epoll_ctl(poller, EPOLL_CTL_ADD, fd, &of_listener);
	epoll_ctl(poller, EPOLL_CTL_ADD, STDIN_FILENO, &of_input);
	return fd;
}

static void accepted(int fd)
{
	struct epoll_event e = {.events = EPOLLIN, .data.fd = fd};
	int one = 1;

	if (fd < 0)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (fd >= CONNECTIONS || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) < 0) {
		close(fd);
	} else if (tls) {
		fcntl(fd, F_SETFL, O_NONBLOCK);
		connections[fd].ssl = SSL_new(tls);
		SSL_set_fd(connections[fd].ssl, fd);
		SSL_set_accept_state(connections[fd].ssl);
	}
}

int main(int argc, char **argv)
{
	struct rlimit files = {CONNECTIONS, CONNECTIONS};
	struct epoll_event events[64];
	int listener, i, n, fd;

	poller = epoll_create1(0);
	be_ready(argc > 3 ? argv + 2 : NULL);
	sink = argc > 1 && !strcmp(argv[1], "sink");
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN); /* OpenSSL writes as it likes */
	listener = begin();
	for (;;) {
		n = epoll_wait(poller, events, 64, -1);
		for (i = 0; i < n; i++) {
			fd = events[i].data.fd;
			if (fd == STDIN_FILENO)
				return 0;
			if (fd == listener)
				accepted(accept(listener, NULL, NULL));
			else if (connections[fd].hostile && !(events[i].events & ~EPOLLOUT))
				go_on(fd, &connections[fd]);
			else
				readable(fd);
		}
	}
}
