#include "base/log_kept.h"

#include <stdlib.h>
#include <string.h>

void log_kept_add(struct log_kept *k, const char *p, size_t n)
{
	char *copy = malloc(n);

	if (!copy)
		return;
	memcpy(copy, p, n);
	free(k->at[k->next].p);
	k->at[k->next].p = copy;
	k->at[k->next].n = n;
	k->next = (k->next + 1) % LOG_KEPT;
}

size_t log_kept_line(const struct log_kept *k, size_t i, const char **p)
{
	size_t at = (k->next + i) % LOG_KEPT;

	*p = k->at[at].p;
	return k->at[at].n;
}

void log_kept_clear(struct log_kept *k)
{
	for (size_t i = 0; i < LOG_KEPT; i++)
		free(k->at[i].p);
	memset(k, 0, sizeof(*k));
}
