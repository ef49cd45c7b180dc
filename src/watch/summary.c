#include "watch/summary_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct summary *summary_new(void)
{
	return calloc(1, sizeof(struct summary));
}

void summary_free(struct summary **sp)
{
	struct summary *s = *sp;

	*sp = NULL;
	if (s)
		free(s->links);
	free(s);
}

/* ---- links */

/* NULL: of no link, or of one too many, or (`*err`) out of memory. */
static struct summary_link *link_of(struct summary *s, const char *id, int *err)
{
	if (!*id)
		return NULL;
	for (size_t i = 0; i < s->n; i++) {
		size_t at = (s->last + s->n - i) % s->n; /* mostly the same again, or one of the newest */

		if (strcmp(s->links[at].id, id) == 0) {
			s->last = at;
			return &s->links[at];
		}
	}
	if (s->n == SUMMARY_LINKS_MAX) {
		s->links_beyond++;
		return NULL;
	}
	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 16;
		struct summary_link *more = realloc(s->links, room * sizeof(*more));

		if (!more) {
			*err = ADIT_ERR_NOMEM;
			return NULL;
		}
		s->links = more;
		s->room = room;
	}
	s->last = s->n++;
	s->links[s->last] = (struct summary_link){0};
	snprintf(s->links[s->last].id, sizeof(s->links[s->last].id), "%s", id);
	return &s->links[s->last];
}

static void add_carrier_time(struct side *side, int64_t now)
{
	size_t i = 0;

	while (i + 1 < SUMMARY_CARRIERS && *side->carriers[i].name && strcmp(side->carriers[i].name, side->carrier) != 0)
		i++;
	memcpy(side->carriers[i].name, side->carrier, sizeof(side->carrier));
	side->carriers[i].us += now > side->since_us ? now - side->since_us : 0;
}

static void end_outage(struct side *side, int64_t now)
{
	int64_t us = now > side->since_us ? now - side->since_us : 0;

	side->away_us += us;
	if (us > side->longest_us)
		side->longest_us = us;
}

static void go_up(struct side *side, const struct trace_record *r)
{
	if (side->state == SIDE_UP) {
		add_carrier_time(side, r->at_us);
		side->moves += !side->silent_us;
		side->outages += side->silent_us != 0;
		if (side->silent_us) {
			side->since_us = side->silent_us;
			end_outage(side, r->at_us);
		}
	} else if (side->state == SIDE_AWAY) {
		end_outage(side, r->at_us);
	}
	side->state = SIDE_UP;
	side->since_us = r->at_us;
	side->silent_us = 0;
	side->replayed += trace_number(r, "replayed");
	snprintf(side->carrier, sizeof(side->carrier), "%s", trace_text(r, "carrier"));
}

static void leave(struct side *side, enum side_state to, const struct trace_record *r)
{
	if (side->state == SIDE_UP) {
		add_carrier_time(side, r->at_us);
		side->outages += to == SIDE_AWAY;
		side->since_us = side->silent_us ? side->silent_us : r->at_us;
	}
	side->silent_us = 0;
	side->state = to;
	side->requests = trace_number(r, "requests");
	snprintf(side->reason, sizeof(side->reason), "%s", trace_text(r, "reason"));
	snprintf(side->detail, sizeof(side->detail), "%s", trace_text(r, "detail"));
}

/* An end that somebody asked for. */
static bool is_wanted(const struct trace_record *r)
{
	return strcmp(trace_text(r, "reason"), "SHUTDOWN") == 0;
}

/* ---- one adit: its next link ends the outage that the loss of the one before began */

static void note_gone(struct summary *s, const struct summary_link *l, const struct trace_record *r)
{
	if (r->program == TRACE_ADIT && r->source < TRACE_FILES_MAX && !is_wanted(r))
		s->gone[r->source] = (size_t)(l - s->links) + 1;
}

static void note_back(struct summary *s, const struct trace_record *r)
{
	size_t *gone = r->source < TRACE_FILES_MAX && r->program == TRACE_ADIT ? &s->gone[r->source] : NULL;

	if (!gone || !*gone)
		return;
	end_outage(&s->links[*gone - 1].adit, r->at_us);
	*gone = 0;
}

/* ---- events */

static void add_of_link(struct summary *s, struct summary_link *l, const struct trace_record *r)
{
	struct side *side = r->program == TRACE_ADITD ? &l->aditd : &l->adit;
	const char *event = r->event;

	if (strcmp(event, "welcome") == 0) {
		note_back(s, r);
		snprintf(l->names, sizeof(l->names), "%s", trace_text(r, "names"));
		go_up(side, r);
	} else if (side->state == SIDE_NONE && strcmp(event, "attached") != 0 && strcmp(event, "detached") != 0) {
		return; /* it is not a link yet */
	} else if (strcmp(event, "attached") == 0) {
		go_up(side, r);
	} else if (strcmp(event, "suspect") == 0 && side->state == SIDE_UP) {
		side->silent_us = r->at_us - trace_number(r, "silent_ms") * 1000;
	} else if (strcmp(event, "trusted") == 0) {
		side->silent_us = 0;
	} else if (strcmp(event, "detached") == 0) {
		leave(side, SIDE_AWAY, r);
	} else if (strcmp(event, "lost") == 0 || (strcmp(event, "close") == 0 && r->program == TRACE_ADITD)) {
		side->outages += side->state == SIDE_UP && r->program == TRACE_ADIT && !is_wanted(r);
		leave(side, SIDE_ENDED, r);
		note_gone(s, l, r);
	}
}

static void add_hold(struct summary *s, const struct trace_record *r)
{
	int64_t ms = trace_number(r, "ms");

	s->waited += trace_number(r, "waited");
	s->sent += trace_number(r, "sent");
	s->gave_up += trace_number(r, "gave_up");
	s->turned_away += trace_number(r, "turned_away");
	if (ms > s->longest_hold_ms)
		s->longest_hold_ms = ms;
}

int summary_add(struct summary *s, const struct trace_record *r)
{
	int err = 0;
	struct summary_link *l = link_of(s, r->link, &err);

	if (!s->events++)
		s->first_us = r->at_us;
	if (r->at_us > s->last_us)
		s->last_us = r->at_us;
	if (l)
		add_of_link(s, l, r);
	else if (strcmp(r->event, "hold.over") == 0)
		add_hold(s, r);
	else if (strcmp(r->event, "stop") == 0)
		s->cut_at_stop += trace_number(r, "requests");
	else if (strcmp(r->event, "log.dropped") == 0)
		s->missing += trace_number(r, "records");
	return err;
}

/* ---- what it comes to */

const struct side *summary_teller(const struct summary_link *l)
{
	return l->adit.state ? &l->adit : &l->aditd;
}

int64_t summary_cut(const struct summary_link *l)
{
	const struct side *side = l->aditd.state == SIDE_ENDED ? &l->aditd : &l->adit;

	return side->state == SIDE_ENDED ? side->requests : 0;
}

int64_t summary_lost_requests(const struct summary *s)
{
	int64_t sum = s->gave_up + s->turned_away + s->cut_at_stop;

	for (size_t i = 0; i < s->n; i++)
		sum += summary_cut(&s->links[i]);
	return sum;
}

bool summary_lost(const struct summary *s)
{
	return summary_lost_requests(s) > 0;
}
