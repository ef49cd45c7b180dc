#include "io/socket_address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "io/tcp.h"

static int parse_unix(struct str path, union socket_address *out, socklen_t *len)
{
	if (!path.n || path.n >= sizeof(out->un.sun_path))
		return ADIT_ERR_INVALID;
	out->un.sun_family = AF_UNIX;
	memcpy(out->un.sun_path, path.p, path.n);
	*len = sizeof(out->un);
	return 0;
}

int socket_address_parse(const char *text, union socket_address *out, socklen_t *len)
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

int socket_address_of(int fd, union socket_address *out)
{
	socklen_t len = sizeof(*out);

	memset(out, 0, sizeof(*out));
	if (getsockname(fd, &out->sa, &len) < 0)
		return ADIT_ERR_SYS;
	switch (out->sa.sa_family) {
	case AF_INET:
	case AF_INET6:
	case AF_UNIX:
		return 0;
	default:
		return ADIT_ERR_SYS;
	}
}

uint16_t socket_address_port(const union socket_address *a)
{
	switch (a->sa.sa_family) {
	case AF_INET:
		return ntohs(a->in.sin_port);
	case AF_INET6:
		return ntohs(a->in6.sin6_port);
	default:
		return 0;
	}
}

void address_text(const struct address *a, char out[SOCKET_ADDRESS_TEXT_MAX])
{
	snprintf(out, SOCKET_ADDRESS_TEXT_MAX, strchr(a->ip, ':') ? "[%s]:%u" : "%s:%u", a->ip, a->port);
}

void socket_address_text(const union socket_address *a, char out[SOCKET_ADDRESS_TEXT_MAX])
{
	struct address text;

	if (a->sa.sa_family == AF_UNIX) {
		snprintf(out, SOCKET_ADDRESS_TEXT_MAX, "unix:%.*s", (int)sizeof(a->un.sun_path), a->un.sun_path);
		return;
	}
	address_from(&text, &a->sa);
	address_text(&text, out);
}

bool socket_address_equal(const union socket_address *a, const union socket_address *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	switch (a->sa.sa_family) {
	case AF_INET:
		return a->in.sin_port && a->in.sin_port == b->in.sin_port && a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	case AF_INET6:
		return a->in6.sin6_port && a->in6.sin6_port == b->in6.sin6_port &&
		       memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
	default: /* a path that begins with NUL is an abstract name, which no configuration can say */
		return a->un.sun_path[0] && strncmp(a->un.sun_path, b->un.sun_path, sizeof(a->un.sun_path)) == 0;
	}
}
