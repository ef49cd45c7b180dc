#include "watch/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"

/** The wall clock is read at another moment than the monotonic one, and in milliseconds. */
#define SET_BACK_US 50000

/** A century; what claims more is not believed. Sums of such times do not overflow. */
#define MONO_MAX_MS 3.2e12
#define SHIFT_MAX_US (INT64_C(1) << 60)

struct source {
	const char *path;
	bool follow;
	int fd;
	bool older;    /* FILE.1 is read, FILE comes next */
	bool moved;    /* FILE is another file by now: this one is read once more to its end */
	bool too_long; /* in the middle of a line that is passed over */
	size_t start, end;
	char buf[SOURCE_LINE_MAX];
	uint64_t skipped;
	unsigned set_back;
	/* the clock: of the event before, and what is added */
	int64_t wall_us, mono_us, shift_us, apart_us, told_us;
};

static int open_file(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd >= 0 && (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))) {
		close(fd);
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
		return -1;
	}
	return fd;
}

static int open_older(const char *path)
{
	size_t n = strlen(path) + 3;
	char *older = malloc(n);
	int fd = -1;

	if (older) {
		snprintf(older, n, "%s.1", path);
		fd = open_file(older);
	}
	free(older);
	return fd;
}

int source_open(struct source **out, const char *path, bool follow)
{
	struct source *s = calloc(1, sizeof(*s));
	int fd;

	*out = NULL;
	if (!s)
		return ADIT_ERR_NOMEM;
	s->path = path;
	s->follow = follow;
	fd = open_file(path);
	s->fd = fd < 0 ? -1 : open_older(path);
	s->older = s->fd >= 0;
	if (s->fd < 0)
		s->fd = fd;
	else
		close(fd); /* it was only to see whether it can be read */
	if (s->fd < 0) {
		free(s);
		return ADIT_ERR_SYS;
	}
	*out = s;
	return 0;
}

void source_free(struct source **sp)
{
	struct source *s = *sp;

	*sp = NULL;
	if (s && s->fd >= 0)
		close(s->fd);
	free(s);
}

/* From FILE.1 to FILE, or to the FILE that took the place of the one that is open. */
static bool next_file(struct source *s)
{
	int fd = open_file(s->path);

	if (fd < 0)
		return false;
	close(s->fd);
	s->fd = fd;
	s->older = s->moved = s->too_long = false;
	s->skipped += s->end > s->start; /* a line without its end */
	s->start = s->end = 0;
	return true;
}

/* At the end of what is there: may more be read at once? */
static bool go_on(struct source *s)
{
	struct stat now, mine;

	if (s->older || s->moved)
		return next_file(s);
	if (!s->follow || stat(s->path, &now) < 0 || fstat(s->fd, &mine) < 0)
		return false;
	if (now.st_ino != mine.st_ino || now.st_dev != mine.st_dev) {
		s->moved = true; /* what was written before it was moved has to be read first */
		return true;
	}
	if (mine.st_size < lseek(s->fd, 0, SEEK_CUR)) { /* truncated: from the start */
		lseek(s->fd, 0, SEEK_SET);
		s->start = s->end = 0;
		return true;
	}
	return false;
}

static bool fill(struct source *s)
{
	ssize_t n;

	if (s->start) {
		memmove(s->buf, s->buf + s->start, s->end - s->start);
		s->end -= s->start;
		s->start = 0;
	}
	if (s->end == sizeof(s->buf)) { /* one line fills it */
		s->skipped += !s->too_long;
		s->too_long = true;
		s->end = 0;
	}
	do
		n = read(s->fd, s->buf + s->end, sizeof(s->buf) - s->end);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		s->end += (size_t)n;
	return n > 0;
}

/* The wall clock orders events, but not those of one file: where it went back, the monotonic one says by how much. */
static void set_time(struct source *s, struct trace_record *r)
{
	double mono_ms = json_number_value(json_object_get(r->json, "mono"));
	int64_t mono_us = mono_ms > 0. && mono_ms < MONO_MAX_MS ? (int64_t)(mono_ms * 1000.) : 0;
	int64_t wall = r->at_us - s->wall_us, mono = mono_us - s->mono_us;

	if (s->wall_us && wall < -SET_BACK_US) {
		if (s->shift_us < SHIFT_MAX_US)
			s->shift_us += (mono > 0 ? mono : 0) - wall;
		s->set_back++;
	} else if (s->wall_us && wall < 0) {
		r->at_us = s->wall_us;
	}
	s->wall_us = r->at_us;
	s->mono_us = mono_us;
	/* the stamp is cut to milliseconds, the monotonic clock is not: the largest difference is nearest to the true one */
	if (r->at_us - mono_us > s->apart_us || r->at_us - mono_us < s->apart_us - 1000)
		s->apart_us = r->at_us - mono_us;
	r->at_us = (mono_us + s->apart_us < r->at_us + 999 ? mono_us + s->apart_us : r->at_us + 999) + s->shift_us;
	if (r->at_us < s->told_us)
		r->at_us = s->told_us;
	s->told_us = r->at_us;
}

static bool take_line(struct source *s, size_t n, struct trace_record *r)
{
	const char *line = s->buf + s->start;
	bool wanted = !s->too_long;

	s->start += n;
	s->start += s->start < s->end; /* its newline; a last line may have none */
	s->too_long = false;
	if (!wanted)
		return false;
	if (trace_record_read(r, line, n)) {
		set_time(s, r);
		return true;
	}
	s->skipped++;
	return false;
}

bool source_next(struct source *s, struct trace_record *r)
{
	for (;;) {
		size_t n = s->end - s->start;
		const char *newline = memchr(s->buf + s->start, '\n', n);

		if (newline) {
			if (take_line(s, (size_t)(newline - s->buf) - s->start, r))
				return true;
		} else if (!fill(s) && !go_on(s)) {
			n = s->end - s->start;
			return n && !s->follow && take_line(s, n, r);
		}
	}
}

int64_t source_apart(const struct source *s)
{
	return s->apart_us;
}

void source_set_apart(struct source *s, int64_t apart_us)
{
	s->apart_us = apart_us;
}

uint64_t source_skipped(const struct source *s)
{
	return s->skipped;
}

unsigned source_set_back(const struct source *s)
{
	return s->set_back;
}
