#include "io/proxy_connect.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "base/err.h"

int proxy_connect_request(struct buf *out, const char *host, uint16_t port, const char *credentials)
{
	const char *open = strchr(host, ':') ? "[" : "", *close = *open ? "]" : "";
	size_t size = 2 * strlen(host) + (credentials ? strlen(credentials) : 0) + 160;
	char *text = malloc(size);
	int n, err;

	if (!text)
		return ADIT_ERR_NOMEM;
	n = snprintf(text, size, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n%s%s%s\r\n", open, host, close, port,
	             open, host, close, port, credentials ? "Proxy-Authorization: Basic " : "", credentials ? credentials : "",
	             credentials ? "\r\n" : "");
	err = buf_add(out, text, (size_t)n);
	secret_wipe(text, size);
	free(text);
	return err;
}

static bool digit(char c)
{
	return c >= '0' && c <= '9';
}

/* RFC 9112 section 4; "HTTP/1.x NNN", the reason may be missing. */
static int read_status(struct proxy_answer *a)
{
	const char *l = a->line;
	size_t n = 0;

	if (a->line_len < 12 || memcmp(l, "HTTP/1.", 7) != 0 || !digit(l[7]) || l[8] != ' ' || !digit(l[9]) || !digit(l[10]) ||
	    !digit(l[11]) || (a->line_len > 12 && l[12] != ' '))
		return ADIT_ERR_PROTO;
	a->status = (l[9] - '0') * 100 + (l[10] - '0') * 10 + (l[11] - '0');
	for (size_t i = 13; i < a->line_len && n + 1 < sizeof(a->reason); i++)
		a->reason[n++] = l[i] >= ' ' && l[i] < 127 ? l[i] : '?';
	a->reason[n] = '\0';
	return a->status >= 100 ? 0 : ADIT_ERR_PROTO;
}

static int end_line(struct proxy_answer *a)
{
	int err = 0;

	if (a->line_len && a->line[a->line_len - 1] == '\r')
		a->line_len--;
	if (!a->lines)
		err = read_status(a);
	else if (!a->line_len && a->status >= 200)
		err = 1;
	/* an interim answer (section 15.2) is followed by another */
	a->lines = a->lines && !a->line_len ? 0 : a->lines + 1;
	a->line_len = 0;
	return err;
}

int proxy_answer_feed(struct proxy_answer *a, const uint8_t *p, size_t n, size_t *used)
{
	int r = 0;

	for (*used = 0; !r && *used < n; ++*used) {
		if (++a->seen > PROXY_ANSWER_MAX)
			return ADIT_ERR_LIMIT;
		if (p[*used] == '\n')
			r = end_line(a);
		else if (a->line_len < sizeof(a->line))
			a->line[a->line_len++] = (char)p[*used];
	}
	return r;
}
