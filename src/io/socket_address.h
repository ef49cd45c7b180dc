/* socket_address: addresses to listen on, as they are configured, as the kernel has them, and as they are shown.
 * Layer io; listener and handed use it.
 */
#ifndef ADIT_IO_SOCKET_ADDRESS_H
#define ADIT_IO_SOCKET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "io/stream.h"

/** "unix:" and the longest path that a socket can have. */
#define SOCKET_ADDRESS_TEXT_MAX (sizeof("unix:") + sizeof(((struct sockaddr_un *)0)->sun_path))

union socket_address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

/** Reads "127.0.0.1:8080", "[::1]:0", ":8080" (every address), "unix:/path". 0 or ADIT_ERR_INVALID. */
int socket_address_parse(const char *text, union socket_address *out, socklen_t *len);
/** What the socket is bound to. 0, or ADIT_ERR_SYS when it is no socket, or of another family. */
int socket_address_of(int fd, union socket_address *out);
/** 0 for a unix socket's. */
uint16_t socket_address_port(const union socket_address *a);
/** A far end as it is shown: "127.0.0.1:8080", "[::1]:8080". */
void address_text(const struct address *a, char out[SOCKET_ADDRESS_TEXT_MAX]);
void socket_address_text(const union socket_address *a, char out[SOCKET_ADDRESS_TEXT_MAX]);
/** The same family, address and port, or path. Port 0 is no port, and equals none. */
bool socket_address_equal(const union socket_address *a, const union socket_address *b);

#endif
