#include "watch/clocks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static int add_point(struct clock_points *p, const char *link, int64_t epoch, int64_t from, int64_t to)
{
	if (p->n == CLOCKS_POINTS_MAX)
		return 0;
	if (!p->at && !(p->at = calloc(CLOCKS_POINTS_MAX, sizeof(*p->at))))
		return ADIT_ERR_NOMEM;
	snprintf(p->at[p->n].link, sizeof(p->at[p->n].link), "%s", link);
	p->at[p->n].epoch = epoch;
	p->at[p->n].from = from;
	p->at[p->n++].to = to;
	return 0;
}

int clock_points_add(struct clock_points *p, const struct trace_record *r)
{
	int64_t epoch = trace_number(r, "epoch");
	bool asks = strcmp(r->event, "attach") == 0 ||
	            (strcmp(r->event, "state") == 0 && strcmp(trace_text(r, "state"), "greeting") == 0);

	if (!p->program)
		p->program = r->program;
	if (asks) {
		snprintf(p->asked, sizeof(p->asked), "%s", r->link);
		p->asked_epoch = epoch;
		p->asked_us = r->at_us;
	}
	if (strcmp(r->event, "attached") != 0 && strcmp(r->event, "welcome") != 0)
		return 0;
	if (r->program == TRACE_ADITD)
		return add_point(p, r->link, epoch, r->at_us, r->at_us);
	if (strcmp(p->asked, r->link) != 0 || p->asked_epoch != epoch)
		return 0;
	return add_point(p, r->link, epoch, p->asked_us, r->at_us);
}

void clock_points_clear(struct clock_points *p)
{
	free(p->at);
	*p = (struct clock_points){0};
}

static const struct clock_point *find(const struct clock_points *p, const struct clock_point *as)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->at[i].epoch == as->epoch && strcmp(p->at[i].link, as->link) == 0)
			return &p->at[i];
	return NULL;
}

int64_t clocks_between(const struct clock_points *aditd, const struct clock_points *adit)
{
	int64_t best = INT64_MAX, shift = 0;

	for (size_t i = 0; i < adit->n; i++) {
		const struct clock_point *ours = &adit->at[i], *theirs;
		int64_t trip = ours->to - ours->from, apart;

		if (trip >= best || !(theirs = find(aditd, ours)))
			continue;
		best = trip;
		apart = theirs->from - ours->from - trip / 2;
		/* within the round trip nothing can be told */
		shift = llabs(apart) <= trip / 2 ? 0 : apart;
	}
	return shift;
}
