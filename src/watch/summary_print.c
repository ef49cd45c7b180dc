#include "watch/summary_int.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "watch/phrase.h"

/** Links that are told one by one; the last ones when there are more. */
#define SHOWN_MAX 64

static bool is_link(const struct summary_link *l)
{
	return l->adit.state || l->aditd.state;
}

/* A link that is up at the end has run to the last event. */
static int64_t carrier_us(const struct summary *s, const struct side *side, size_t i)
{
	bool running = side->state == SIDE_UP && strcmp(side->carrier, side->carriers[i].name) == 0;

	return side->carriers[i].us + (running ? s->last_us - side->since_us : 0);
}

/* The carriers' list has the one that runs, too. */
static struct side told_side(const struct summary_link *l)
{
	struct side side = *summary_teller(l);
	size_t i = 0;

	while (i + 1 < SUMMARY_CARRIERS && *side.carriers[i].name && strcmp(side.carriers[i].name, side.carrier) != 0)
		i++;
	if (side.state == SIDE_UP)
		memcpy(side.carriers[i].name, side.carrier, sizeof(side.carrier));
	return side;
}

static const char *state_text(const struct side *side)
{
	return side->state == SIDE_UP ? "up" : side->state == SIDE_AWAY ? "away" : "ended";
}

/* ---- for people */

/* "1 request", "2 requests" */
static void put_count(FILE *to, int64_t count, const char *what)
{
	char n[PHRASE_NUMBER];

	fprintf(to, "%s %s%s", phrase_count(n, count), what, count == 1 ? "" : "s");
}

static void print_id(FILE *to, const struct summary_link *l)
{
	char shown[PHRASE_LINK_SHOWN + 1];

	snprintf(shown, sizeof(shown), "%.*s", PHRASE_LINK_SHOWN, l->id);
	phrase_print(to, shown);
}

static void print_end(const struct summary_link *l, const struct side *side, FILE *to)
{
	const struct side *why = l->adit.state == SIDE_ENDED ? &l->adit : &l->aditd;

	if (side->state == SIDE_UP) {
		fprintf(to, "    at the end it runs over ");
		phrase_print(to, side->carrier);
	} else if (side->state == SIDE_AWAY) {
		fprintf(to, "    at the end it has no carrier, with ");
		put_count(to, side->requests, "request");
		fprintf(to, " under way");
	} else {
		fprintf(to, "    ended: ");
		phrase_print(to, *why->reason ? phrase_reason(why->reason) : "closed");
		fprintf(to, "%s", *why->detail ? " (" : "");
		phrase_print(to, why->detail);
		fprintf(to, "%s", *why->detail ? ")" : "");
	}
	fputc('\n', to);
}

static void print_link(const struct summary *s, const struct summary_link *l, FILE *to)
{
	const struct side side = told_side(l);
	char a[PHRASE_NUMBER], b[PHRASE_NUMBER];

	fprintf(to, "link ");
	print_id(to, l);
	fprintf(to, "%s", *l->names ? "  " : "");
	phrase_print(to, l->names);
	fprintf(to, ":");
	for (size_t i = 0; i < SUMMARY_CARRIERS && *side.carriers[i].name; i++) {
		fprintf(to, "%s", i ? ", " : " ");
		phrase_print(to, side.carriers[i].name);
		fprintf(to, " for %s", phrase_ms(a, carrier_us(s, &side, i) / 1000));
	}
	fprintf(to, "\n    ");
	put_count(to, side.outages, "outage");
	if (side.outages)
		fprintf(to, ", the longest %s, in all %s", phrase_ms(a, side.longest_us / 1000),
		        phrase_ms(b, side.away_us / 1000));
	if (side.moves) {
		fprintf(to, "; moved ");
		put_count(to, side.moves, "time");
		fprintf(to, " without one");
	}
	fprintf(to, "\n    sent again: ");
	fprintf(to, l->adit.state ? "%s B to aditd" : "?", phrase_count(a, l->adit.replayed));
	fprintf(to, l->aditd.state ? ", %s B to adit\n" : "\n", phrase_count(b, l->aditd.replayed));
	print_end(l, &side, to);
}

static void print_lost(const struct summary *s, FILE *to)
{
	char n[PHRASE_NUMBER];

	fprintf(to, "verdict: lost up to ");
	put_count(to, summary_lost_requests(s), "request");
	fputc('\n', to);
	for (size_t i = 0; i < s->n; i++) {
		const struct summary_link *l = &s->links[i];
		const struct side *why = l->adit.state == SIDE_ENDED ? &l->adit : &l->aditd;

		if (!summary_cut(l))
			continue;
		fprintf(to, "    %s under way on link ", phrase_count(n, summary_cut(l)));
		print_id(to, l);
		fprintf(to, ": ");
		phrase_print(to, *why->reason ? phrase_reason(why->reason) : why->detail);
		fputc('\n', to);
	}
	if (s->gave_up)
		fprintf(to, "    %s waited for their tunnel in vain\n", phrase_count(n, s->gave_up));
	if (s->turned_away)
		fprintf(to, "    %s could not wait: too many did\n", phrase_count(n, s->turned_away));
	if (s->cut_at_stop)
		fprintf(to, "    %s under way when a program ended\n", phrase_count(n, s->cut_at_stop));
}

static void print_gaps(const struct summary *s, const struct merge *m, FILE *to)
{
	char n[PHRASE_NUMBER];

	if (merge_skipped(m))
		fprintf(to, "passed over, being no events: %s of the lines\n", phrase_count(n, (int64_t)merge_skipped(m)));
	if (merge_set_back(m))
		fprintf(to, "a clock was set back, %s times: what came after follows what was before\n",
		        phrase_count(n, (int64_t)merge_set_back(m)));
	if (s->missing)
		fprintf(to, "missing events: %s; the verdict is of those that are there\n", phrase_count(n, s->missing));
	if (s->links_beyond)
		fprintf(to, "events of further links, not counted: %s\n", phrase_count(n, s->links_beyond));
}

void summary_print(const struct summary *s, const struct merge *m, FILE *to)
{
	char a[PHRASE_NUMBER], b[PHRASE_NUMBER];
	size_t links = 0, passed = 0;

	for (size_t i = 0; i < s->n; i++)
		links += is_link(&s->links[i]);
	fputc('\n', to);
	put_count(to, s->events, "event");
	fprintf(to, " in %s, ", phrase_ms(a, (s->last_us - s->first_us) / 1000));
	put_count(to, (int64_t)links, "link");
	fputc('\n', to);
	print_gaps(s, m, to);
	if (links > SHOWN_MAX)
		fprintf(to, "the last %d of them:\n", SHOWN_MAX);
	for (size_t i = 0; i < s->n; i++)
		if (is_link(&s->links[i]) && ++passed + SHOWN_MAX > links)
			print_link(s, &s->links[i], to);
	if (s->waited || s->turned_away) {
		fprintf(to, "held: ");
		put_count(to, s->waited, "request");
		fprintf(to, " waited, %s sent on, %s gave up", phrase_count(a, s->sent), phrase_count(b, s->gave_up));
		fprintf(to, ", %s turned away, at most %s", phrase_count(a, s->turned_away),
		        phrase_ms(b, s->longest_hold_ms));
		fputc('\n', to);
	}
	if (!s->events)
		fprintf(to, "verdict: nothing was recorded\n");
	else if (summary_lost(s))
		print_lost(s, to);
	else
		fprintf(to, "verdict: lost nothing\n");
}

/* ---- for programs */

static json_t *json_link(const struct summary *s, const struct summary_link *l)
{
	const struct side side = told_side(l);
	const struct side *why = l->adit.state == SIDE_ENDED ? &l->adit : &l->aditd;
	json_t *carriers = json_object();

	for (size_t i = 0; carriers && i < SUMMARY_CARRIERS && *side.carriers[i].name; i++)
		json_object_set_new(carriers, side.carriers[i].name, json_integer(carrier_us(s, &side, i) / 1000));
	return json_pack("{s:s, s:s, s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:I}", "link", l->id,
	                 "names", l->names, "carriers_ms", carriers, "state", state_text(&side), "outages", (json_int_t)side.outages,
	                 "longest_ms", (json_int_t)(side.longest_us / 1000), "away_ms", (json_int_t)(side.away_us / 1000),
	                 "moves", (json_int_t)side.moves, "sent_again_by_adit", (json_int_t)l->adit.replayed,
	                 "sent_again_by_aditd", (json_int_t)l->aditd.replayed, "reason", why->reason,
	                 "detail", why->detail, "requests_cut", (json_int_t)summary_cut(l));
}

int summary_json(const struct summary *s, const struct merge *m, FILE *to)
{
	json_t *links = json_array(), *all;
	int err = links ? 0 : ADIT_ERR_NOMEM;

	for (size_t i = 0; !err && i < s->n; i++)
		if (is_link(&s->links[i]) && json_array_append_new(links, json_link(s, &s->links[i])) < 0)
			err = ADIT_ERR_NOMEM;
	/* takes links over, also when it fails */
	all = json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:{s:I, s:I, s:I, s:I, s:I}, s:I, s:s}", "event", "summary",
	                "duration_ms", (json_int_t)((s->last_us - s->first_us) / 1000), "events", (json_int_t)s->events,
	                "passed_over", (json_int_t)merge_skipped(m), "missing", (json_int_t)s->missing, "links", links,
	                "held", "waited", (json_int_t)s->waited, "sent", (json_int_t)s->sent, "gave_up",
	                (json_int_t)s->gave_up, "turned_away", (json_int_t)s->turned_away, "longest_ms",
	                (json_int_t)s->longest_hold_ms, "requests_lost", (json_int_t)summary_lost_requests(s), "verdict",
	                summary_lost(s) ? "lost requests" : "lost nothing");
	if (!err && (!all || json_dumpf(all, to, JSON_COMPACT | JSON_ENSURE_ASCII) < 0))
		err = ADIT_ERR_NOMEM;
	json_decref(all);
	fputc('\n', to);
	return err;
}
