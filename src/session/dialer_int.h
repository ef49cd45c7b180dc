/* dialer_int: what dialer.c (the link's life, attempts) and dialer_attach.c (moving to another carrier) share.
 * Layer session; for these two files only.
 */
#ifndef ADIT_SESSION_DIALER_INT_H
#define ADIT_SESSION_DIALER_INT_H

#include "session/backoff.h"
#include "session/climb.h"
#include "session/dialer.h"
#include "session/flight.h"
#include "session/idle.h"
#include "session/knock.h"
#include "session/retired.h"
#include "session/worked.h"

enum dialer_state { DIALER_IDLE, DIALER_DIALLING, DIALER_GREETING, DIALER_UP, DIALER_DETACHED, DIALER_WAITING, DIALER_REFUSED };

/* What the attempt under way is for. */
enum aim { AIM_NONE, AIM_NEW, AIM_RESUME, AIM_SUSPECT, AIM_CLIMB, AIM_MOVE };

struct dialer {
	struct loop *loop;
	struct dialer_options o;
	enum dialer_state state;
	/* the link */
	struct session *session;
	char link_id[CARRIER_LINK_ID_HEX + 1];
	uint8_t id[LINK_ID_LEN], secret[LINK_SECRET_LEN];
	char (*given)[HANDSHAKE_NAME_MAX + 1]; /* its names, as WELCOME gave them */
	uint64_t epoch;
	uint32_t resume_ms;
	uint64_t detached_ms;     /* since when it has no carrier */
	uint64_t carrier_ms;      /* since when it runs on the one it has, or had */
	unsigned carrier;         /* the one that it runs on, LADDER_* */
	char why[LADDER_WHY_MAX]; /* and why not a better one */
	struct retired_set retired;
	/* the attempt under way: a flight until a carrier stands, then a knock on it */
	enum aim aim;
	struct flight *flight;
	struct knock *knock;
	unsigned next_carrier;
	char next_why[LADDER_WHY_MAX];
	struct timer timer; /* the next attempt, or the greeting's budget */
	struct backoff backoff;
	/* policy */
	struct timer climbing, leave, watch;
	struct climb climb;
	struct idle idle;
	uint32_t heartbeat_ms;    /* as configured, or as learnt */
	uint64_t watch_mono, watch_wall;
	char host_field[CARRIER_HOST_MAX];
	struct worked worked;     /* what is known of this server */
	unsigned failures;        /* climbs in a row */
	char worked_key[WORKED_KEY_MAX];
	bool draining, closing;
};

void dialer_go(struct dialer *d, enum dialer_state to);
/** Ends the attempt under way, if there is one; the session is read again. */
void dialer_drop_attempt(struct dialer *d);
/** What was tried did not work; what there is goes on. */
void dialer_attempt_failed(struct dialer *d, int err, const char *detail, unsigned retry_after_s);
/** The link, if there was one, is over: a new one after a while. */
void dialer_again(struct dialer *d, int err, const char *detail, unsigned retry_after_s);
/** The session finishes what runs over the carrier that it has; a new link takes what is new,
 *  unless it drains. Only while UP, and with a carrier. */
void dialer_leave(struct dialer *d);
/** The server does not want us. */
void dialer_refuse(struct dialer *d, int err, const char *reason);
/** It worked: remembers, and plans the climb to a better carrier. */
void dialer_remember(struct dialer *d);
void dialer_plan_climb(struct dialer *d);

/** The names of a new link, for its ATTACHes. 0, ADIT_ERR_NOMEM, or ADIT_ERR_PROTO: not as many as were asked for. */
int dialer_keep_names(struct dialer *d, const struct wire_welcome *w);
/** A carrier stands to which the link may move; takes it over. */
void dialer_knock_on(struct dialer *d, struct stream *carrier, struct buf *rest);

#endif
