/* requester: sends whole small requests to one server, over one HTTP/2 connection or a few of HTTP/1.1; when
 * they end it dials anew.
 * Layer carrier; poll_dialled asks with it. adit's side.
 * Invariants: every ask is told `done` once, from a task, unless it is cancelled; at most REQUESTER_H1_MAX connections;
 * an ask is sent a second time only when its connection was ending before the answer's first byte (polls and relays are
 * numbered and may be repeated).
 */
#ifndef ADIT_CARRIER_REQUESTER_H
#define ADIT_CARRIER_REQUESTER_H

#include "base/buf.h"
#include "base/list.h"
#include "http/half.h"
#include "http/head.h"
#include "io/dial.h"

/** One for the held poll, two for relays. */
#define REQUESTER_H1_MAX 3

struct requester;
struct connection_h1;
struct connection_h2;

enum ask_state { ASK_NONE, ASK_WAITING, ASK_RUNNING, ASK_TOLD };

/** One request with its answer. Embed it; ask_init; it must outlive the ask. */
struct ask {
	/* to be filled in: the head's length is the body's */
	struct head head;
	const uint8_t *body;    /* borrowed until `done` */
	size_t body_n;
	size_t answer_max;      /* a longer answer is an error */
	size_t late_n;          /* the last so many bytes of the body follow late_ms after the others */
	uint32_t late_ms;
	uint32_t budget_ms;     /* from the ask to the end of its answer */
	void (*came)(void *arg); /* more of the answer's body is in `got`; may be NULL. To be noted, and nothing else */
	void (*done)(void *arg);
	void *arg;
	/* the outcome: err 0 when there is a whole answer */
	int err;
	const char *detail;     /* a static string or the ask's own text */
	struct head answer;
	struct buf got;
	/* the requester's */
	enum ask_state state;
	struct requester *by;
	struct connection_h1 *h1;  /* where it runs */
	struct connection_h2 *h2;
	struct half half;          /* on HTTP/2 */
	size_t body_sent, credit;
	size_t late_left;          /* of late_n */
	struct timer late;
	bool sending, body_ended, answer_begun, repeated;
	struct list node;
	struct timer timer;
	struct task tell;
	char text[160];
};

void ask_init(struct ask *a, struct loop *l, void (*done)(void *arg), void *arg);
/** Cancels it if it runs, and frees what it holds. */
void ask_clear(struct ask *a);
/** For the next request: keeps memory. It must not be running. */
void ask_reset(struct ask *a);
static inline bool ask_is_running(const struct ask *a)
{
	return a->state != ASK_NONE;
}

/** Takes over the first connection, which tells by its ALPN what is spoken; `dial` says how to make more. NULL: out of
 *  memory, the stream is the caller's still. */
struct requester *requester_new(struct loop *l, struct resolver *r, const struct dial_options *dial,
                                struct stream *first);
/** Ends it at once. Its asks must have been cleared. */
void requester_free(struct requester **r);

/** Sends `a` when a connection is free. */
void requester_ask(struct requester *r, struct ask *a);
void requester_cancel(struct ask *a);

/** Does it speak HTTP/2: more asks at once cost nothing? */
bool requester_is_h2(const struct requester *r);

#endif
