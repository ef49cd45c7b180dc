#include "session/worked.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "carrier/ladder.h"

#define PATH_MAX_LEN 1024
#define LINE_MAX_LEN (WORKED_KEY_MAX + 64)

struct line {
	struct worked worked;
	char key[WORKED_KEY_MAX];
};

struct table {
	int count;
	struct line lines[WORKED_LINES];
};

static unsigned carrier_named(struct str name)
{
	for (unsigned bit = LADDER_DIRECT; bit <= LADDER_POLL; bit <<= 1)
		if (str_eq(name, str_of(ladder_name(bit))))
			return bit;
	return 0;
}

/* False for what is no such line, or too old. */
static bool read_line(char *text, uint64_t now_s, struct line *out)
{
	struct str rest = {text, strcspn(text, "\n")}, seconds, carrier;

	if (!text[rest.n] || !str_split(&rest, ' ', &seconds) || !str_split(&rest, ' ', &carrier) || !rest.p)
		return false;
	if (!rest.n || rest.n >= sizeof(out->key) || str_to_u64(seconds, &out->worked.since_s) < 0)
		return false;
	out->worked.carrier = carrier_named(carrier);
	memcpy(out->key, rest.p, rest.n);
	out->key[rest.n] = '\0';
	return worked_holds(&out->worked, now_s);
}

static void read_table(const char *folder, uint64_t now_s, struct table *t)
{
	char path[PATH_MAX_LEN], text[LINE_MAX_LEN];
	FILE *f;

	t->count = 0;
	snprintf(path, sizeof(path), "%s/" WORKED_FILE, folder);
	f = fopen(path, "re");
	if (!f)
		return;
	while (t->count < WORKED_LINES && fgets(text, sizeof(text), f))
		if (read_line(text, now_s, &t->lines[t->count]))
			t->count++;
	fclose(f);
}

/* A new file in the old one's place: another adit never reads half of it. */
static void write_table(const char *folder, const struct table *t)
{
	char path[PATH_MAX_LEN], fresh[PATH_MAX_LEN + 16];
	FILE *f;
	int fd;
	bool ok;

	snprintf(path, sizeof(path), "%s/" WORKED_FILE, folder);
	snprintf(fresh, sizeof(fresh), "%s.XXXXXX", path);
	fd = mkostemp(fresh, O_CLOEXEC);
	f = fd >= 0 ? fdopen(fd, "w") : NULL;
	if (!f) {
		if (fd >= 0) {
			close(fd);
			unlink(fresh);
		}
		return;
	}
	for (int i = 0; i < t->count; i++)
		fprintf(f, "%llu %s %s\n", (unsigned long long)t->lines[i].worked.since_s, ladder_name(t->lines[i].worked.carrier),
		        t->lines[i].key);
	ok = !ferror(f);
	ok = fclose(f) == 0 && ok;
	if (!ok || rename(fresh, path) < 0)
		unlink(fresh);
}

static int find(const struct table *t, const char *key)
{
	for (int i = 0; i < t->count; i++)
		if (strcmp(t->lines[i].key, key) == 0)
			return i;
	return -1;
}

static void take_out(struct table *t, int i)
{
	t->count--;
	memmove(&t->lines[i], &t->lines[i + 1], (size_t)(t->count - i) * sizeof(t->lines[0]));
}

struct worked worked_recall(const char *folder, const char *key, uint64_t now_s)
{
	struct table *t = folder ? malloc(sizeof(*t)) : NULL;
	struct worked w = {0, 0};
	int i;

	if (!t)
		return w;
	read_table(folder, now_s, t);
	i = find(t, key);
	if (i >= 0)
		w = t->lines[i].worked;
	free(t);
	return w;
}

void worked_keep(const char *folder, const char *key, const struct worked *w, uint64_t now_s)
{
	struct table *t = folder && strlen(key) < WORKED_KEY_MAX ? malloc(sizeof(*t)) : NULL;
	int i;

	if (!t)
		return;
	read_table(folder, now_s, t);
	i = find(t, key);
	if (i >= 0)
		take_out(t, i);
	if (w->carrier && t->count == WORKED_LINES)
		take_out(t, 0);
	if (w->carrier) {
		t->lines[t->count].worked = *w;
		snprintf(t->lines[t->count++].key, sizeof(t->lines[0].key), "%s", key);
	}
	if (w->carrier || i >= 0)
		write_table(folder, t);
	free(t);
}
