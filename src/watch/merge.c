#include "watch/merge.h"

#include <stdlib.h>

#include "base/err.h"
#include "watch/clocks.h"
#include "watch/source.h"

struct merge {
	size_t n;
	struct {
		const char *path;
		struct source *source;
		enum trace_program program;
		int64_t shift_us;
		struct trace_record next; /* json NULL: not read yet */
	} at[TRACE_FILES_MAX];
};

/* `points` NULL: only how far its clocks are apart, which the second reading of the same times begins with. */
static int read_through(const char *path, struct clock_points *points, int64_t *apart_us)
{
	struct source *s;
	struct trace_record r;
	int err = source_open(&s, path, false);

	if (err)
		return err;
	source_set_apart(s, *apart_us);
	while (!err && source_next(s, &r)) {
		if (points)
			err = clock_points_add(points, &r);
		trace_record_clear(&r);
	}
	if (!points)
		*apart_us = source_apart(s);
	source_free(&s);
	return err;
}

/* Before a file is told beside others, for what it says about clocks. */
static int look_through(const char *path, struct clock_points *points, struct source *told)
{
	int64_t apart_us = 0;
	int err = read_through(path, NULL, &apart_us);

	if (!err)
		err = read_through(path, points, &apart_us);
	source_set_apart(told, apart_us);
	return err;
}

/* The first server's clock is the one: several clients may be compared with it. */
static void set_shifts(struct merge *m, const struct clock_points *points)
{
	size_t server = 0;

	while (server < m->n && points[server].program != TRACE_ADITD)
		server++;
	for (size_t i = 0; i < m->n; i++) {
		m->at[i].program = points[i].program;
		if (server < m->n && points[i].program == TRACE_ADIT)
			m->at[i].shift_us = clocks_between(&points[server], &points[i]);
	}
}

int merge_open(struct merge **out, const char *const *paths, size_t n, bool follow, size_t *bad)
{
	struct clock_points *points = calloc(TRACE_FILES_MAX, sizeof(*points));
	struct merge *m = calloc(1, sizeof(*m));
	int err = points && m ? 0 : ADIT_ERR_NOMEM;

	*bad = 0;
	for (size_t i = 0; !err && i < n && i < TRACE_FILES_MAX; i++) {
		*bad = i;
		m->n = i + 1;
		m->at[i].path = paths[i];
		err = source_open(&m->at[i].source, paths[i], follow);
		if (!err && n > 1)
			err = look_through(paths[i], &points[i], m->at[i].source);
	}
	if (!err)
		set_shifts(m, points);
	for (size_t i = 0; points && i < TRACE_FILES_MAX; i++)
		clock_points_clear(&points[i]);
	free(points);
	if (err)
		merge_free(&m);
	*out = m;
	return err;
}

void merge_free(struct merge **mp)
{
	struct merge *m = *mp;

	*mp = NULL;
	for (size_t i = 0; m && i < m->n; i++) {
		trace_record_clear(&m->at[i].next);
		source_free(&m->at[i].source);
	}
	free(m);
}

bool merge_next(struct merge *m, struct trace_record *r)
{
	size_t first = m->n;

	for (size_t i = 0; i < m->n; i++) {
		struct trace_record *next = &m->at[i].next;

		if (!next->json && source_next(m->at[i].source, next)) {
			next->source = (unsigned)i;
			next->at_us += m->at[i].shift_us;
			if (!m->at[i].program)
				m->at[i].program = next->program;
		}
		if (next->json && (first == m->n || next->at_us < m->at[first].next.at_us))
			first = i;
	}
	if (first == m->n)
		return false;
	*r = m->at[first].next;
	m->at[first].next = (struct trace_record){0};
	return true;
}

struct merge_file merge_file(const struct merge *m, size_t i)
{
	return (struct merge_file){m->at[i].path, m->at[i].program, m->at[i].shift_us};
}

uint64_t merge_skipped(const struct merge *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < m->n; i++)
		sum += source_skipped(m->at[i].source);
	return sum;
}

unsigned merge_set_back(const struct merge *m)
{
	unsigned sum = 0;

	for (size_t i = 0; i < m->n; i++)
		sum += source_set_back(m->at[i].source);
	return sum;
}
