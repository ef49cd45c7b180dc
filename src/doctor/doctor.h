/* doctor: tries every step and every carrier on the way to a server, one after another, and says what works.
 * Layer doctor; `adit doctor` runs it. It dials as session/dialer does, by the same ladder, one carrier at a time.
 * Invariants: nothing is published and no link begins: a carrier that stands is dropped. Each step is bounded by the
 * budgets of dial, carrier and probe; a step whose ground has failed is not tried.
 *
 *     dns ─► tcp ─► proxy ─► tls ─► alpn with adit/1 ─► alpn without ─► direct ─► ws-h2 ─► ws-h1 ─► poll ─► token
 *         ─► responses by HTTP/2, by HTTP/1.1 ─► request ─► idle, when it is wanted
 */
#ifndef ADIT_DOCTOR_DOCTOR_H
#define ADIT_DOCTOR_DOCTOR_H

#include <stdio.h>

#include "carrier/ladder.h"

#define DOCTOR_EVIDENCE_MAX 320

enum doctor_step {
	DOCTOR_DNS, DOCTOR_TCP, DOCTOR_PROXY, DOCTOR_TLS, DOCTOR_ALPN_ADIT, DOCTOR_ALPN_OTHERS, DOCTOR_DIRECT, DOCTOR_WS_H2,
	DOCTOR_WS_H1, DOCTOR_POLL, DOCTOR_TOKEN, DOCTOR_RESPONSE_H2, DOCTOR_RESPONSE_H1, DOCTOR_REQUEST, DOCTOR_IDLE,
	DOCTOR_STEPS
};

enum doctor_verdict { DOCTOR_SKIPPED, DOCTOR_WORKS, DOCTOR_FAILS };

/** How a step ended. */
struct doctor_row {
	enum doctor_verdict verdict;
	int err, status;      /* of the failure; status: the HTTP answer's, 0 = there was none */
	bool ours;            /* the answer was aditd's and not an ingress's */
	char alpn[16];        /* what TLS agreed on, "" = nothing, or not asked */
	/* what probes measured, -1 = they did not: until the first piece, between the pieces, of silence */
	int64_t first_ms, gap_ms, open_ms;
	char evidence[DOCTOR_EVIDENCE_MAX];
	const char *advice;   /* what to change, "" = nothing; a static string, lines end with \n */
};

struct doctor_report {
	struct doctor_row rows[DOCTOR_STEPS];
	unsigned carriers;    /* LADDER_*: those that work */
};

/** Borrowed until `done`. */
struct doctor_options {
	struct tls_context *tls;        /* NULL = plain */
	const char *server;             /* as the user wrote it */
	const char *host;
	uint16_t port;
	const char *server_name;
	const struct dial_proxy *proxy; /* NULL = none */
	const char *token, *agent;
	unsigned allowed;               /* LADDER_*: what the user's configuration lets adit try */
	unsigned idle_seconds;          /* of the idle probe, 0 = none; at most PROBE_IDLE_MAX_S */
	unsigned heartbeat_seconds;     /* a link is never silent for longer */
};

struct doctor;
typedef void doctor_fn(void *arg, const struct doctor_report *r);

/** Starts; `done` is called once, from the loop, unless it is freed first. NULL: out of memory. */
struct doctor *doctor_new(struct loop *l, struct resolver *r, const struct doctor_options *o, doctor_fn *done, void *arg);
void doctor_free(struct doctor **d);

/** What to change about a failed row, by how real ingresses and proxies behave; "" = nothing is known. */
const char *doctor_advice(const struct doctor_report *r, enum doctor_step step);

/** "dns", "ws-h1", …; a static string. */
const char *doctor_step_name(enum doctor_step step);

/** The table for people, or as one JSON object. 0 or ADIT_ERR_NOMEM. */
int doctor_print(FILE *to, const struct doctor_options *o, const struct doctor_report *r, bool json);

/** All of it, with a loop of its own: 0 when at least one carrier works, else 1. */
int doctor_run(const struct doctor_options *o, bool json);

#endif
