/* The doctor's table, for people and for programs; and the loop that makes it. */
#include <jansson.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/str.h"
#include "doctor/doctor.h"

static const char *const step_names[DOCTOR_STEPS] = {
	[DOCTOR_DNS] = "dns", [DOCTOR_TCP] = "tcp", [DOCTOR_PROXY] = "proxy", [DOCTOR_TLS] = "tls",
	[DOCTOR_ALPN_ADIT] = "alpn", [DOCTOR_ALPN_OTHERS] = "alpn-plain", [DOCTOR_DIRECT] = "direct",
	[DOCTOR_WS_H2] = "ws-h2", [DOCTOR_WS_H1] = "ws-h1", [DOCTOR_POLL] = "poll",
	[DOCTOR_TOKEN] = "token", [DOCTOR_RESPONSE_H2] = "response-h2", [DOCTOR_RESPONSE_H1] = "response-h1",
	[DOCTOR_REQUEST] = "request", [DOCTOR_IDLE] = "idle",
};

static const char *const verdicts[] = {[DOCTOR_SKIPPED] = "-", [DOCTOR_WORKS] = "works", [DOCTOR_FAILS] = "does not"};

const char *doctor_step_name(enum doctor_step step)
{
	return step < DOCTOR_STEPS ? step_names[step] : "";
}

/* What peers sent can stand in it: a terminal gets printable ASCII only. */
static void put(FILE *to, const char *text)
{
	for (; *text; text++)
		fputc(*text >= ' ' && *text <= '~' ? *text : '?', to);
}

static void print_row(FILE *to, enum doctor_step step, const struct doctor_row *r)
{
	struct str rest = str_of(r->advice), line;

	fprintf(to, "%-11s %-9s ", step_names[step], verdicts[r->verdict]);
	put(to, r->evidence);
	fputc('\n', to);
	while (str_split(&rest, '\n', &line))
		if (line.n)
			fprintf(to, "%22s%.*s\n", "", STR_ARG(line));
}

static void print_table(FILE *to, const struct doctor_options *o, const struct doctor_report *r)
{
	fprintf(to, "%s%s%s\n\n", o->server, o->proxy ? " by way of " : "", o->proxy ? o->proxy->shown : "");
	for (enum doctor_step i = DOCTOR_DNS; i < DOCTOR_STEPS; i++)
		print_row(to, i, &r->rows[i]);
	fprintf(to, "\n%s", r->carriers ? "Carriers that work:" : "No carrier works.");
	for (unsigned bit = LADDER_DIRECT; bit < LADDER_ALL; bit <<= 1)
		if (r->carriers & bit)
			fprintf(to, " %s", ladder_name(bit));
	fputc('\n', to);
}

/* What was not measured is left out. */
static bool add_ms(json_t *to, const char *key, int64_t ms)
{
	return to && (ms < 0 || json_object_set_new(to, key, json_integer(ms)) == 0);
}

static json_t *json_row(enum doctor_step step, const struct doctor_row *r)
{
	static const char *const results[] = {
		[DOCTOR_SKIPPED] = "not tried", [DOCTOR_WORKS] = "works", [DOCTOR_FAILS] = "fails",
	};
	char evidence[DOCTOR_EVIDENCE_MAX];
	size_t n = 0;
	json_t *out;

	/* an ingress's words need not be UTF-8, and jansson takes nothing else */
	for (const char *p = r->evidence; *p && n + 1 < sizeof(evidence); p++)
		evidence[n++] = *p >= ' ' && *p <= '~' ? *p : '?';
	evidence[n] = '\0';
	out = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s, s:s}", "step", step_names[step], "result", results[r->verdict],
	                "evidence", evidence, "advice", r->advice, "status", r->status, "error",
	                r->err ? err_name(r->err) : "", "alpn", r->alpn);
	if (add_ms(out, "first_ms", r->first_ms) && add_ms(out, "gap_ms", r->gap_ms) && add_ms(out, "open_ms", r->open_ms))
		return out;
	json_decref(out);
	return NULL;
}

static int print_json(FILE *to, const struct doctor_options *o, const struct doctor_report *r)
{
	json_t *steps = json_array(), *carriers = json_array(), *all;
	bool ok = steps && carriers;

	for (enum doctor_step i = DOCTOR_DNS; ok && i < DOCTOR_STEPS; i++)
		ok = json_array_append_new(steps, json_row(i, &r->rows[i])) == 0;
	for (unsigned bit = LADDER_DIRECT; ok && bit < LADDER_ALL; bit <<= 1)
		if (r->carriers & bit)
			ok = json_array_append_new(carriers, json_string(ladder_name(bit))) == 0;
	/* takes both over, also when it fails */
	all = json_pack("{s:s, s:s?, s:o, s:o}", "server", o->server, "proxy", o->proxy ? o->proxy->shown : NULL, "steps",
	                steps, "carriers", carriers);
	ok = ok && all && json_dumpf(all, to, JSON_INDENT(1)) == 0;
	json_decref(all);
	fputc('\n', to);
	return ok ? 0 : ADIT_ERR_NOMEM;
}

int doctor_print(FILE *to, const struct doctor_options *o, const struct doctor_report *r, bool json)
{
	if (json)
		return print_json(to, o, r);
	print_table(to, o, r);
	return 0;
}

/* ---- the whole run */

struct run {
	struct loop *loop;
	const struct doctor_options *o;
	bool json;
	int code;
};

static void on_done(void *arg, const struct doctor_report *r)
{
	struct run *run = arg;

	run->code = doctor_print(stdout, run->o, r, run->json) == 0 && fflush(stdout) == 0 && r->carriers ? 0 : 1;
	loop_stop(run->loop);
}

int doctor_run(const struct doctor_options *o, bool json)
{
	struct run run = {.loop = loop_new(), .o = o, .json = json, .code = 1};
	struct resolver *resolver = run.loop ? resolver_new(run.loop) : NULL;
	struct doctor *d = resolver ? doctor_new(run.loop, resolver, o, on_done, &run) : NULL;

	if (o->idle_seconds && !json)
		fprintf(stderr, "adit: this takes %u s and a little more\n", o->idle_seconds);
	if (d)
		loop_run(run.loop);
	else
		fprintf(stderr, "adit: out of memory\n");
	doctor_free(&d);
	if (run.loop)
		loop_settle(run.loop);
	resolver_free(&resolver);
	if (run.loop)
		loop_settle(run.loop);
	if (run.loop)
		loop_free(&run.loop);
	return run.code;
}
