/* exchange: couples the half of whoever asks with the half of whoever answers, and knows what was said between them.
 * Layer exchange; no I/O. aditd: visitor half <-> session stream; adit: session stream <-> origin half.
 * Invariants: an error before the response's head becomes a page that names the hop; after it the message is cut,
 * never faked complete. `done` is told once for each exchange, then it is gone.
 *
 * Closing, row by row: what happened -> what the other side is told
 *
 *   event                               response not begun      response begun          response ended
 *   asking half aborts                  abort                   abort                   abort
 *   answering half aborts               page by its error (*)   abort (message cut)     abort(ENOUGH)
 *   response ends, request unfinished   -                       -                       waits for either abort
 *   request and response have ended     -                       -                       done
 *   response of a WebSocket ends        -                       -                       abort(ENOUGH) to both; done
 *
 * (*) A gRPC call that was refused or given up gets that as its stream's reset, as it would from its server: its
 * client acts by the code (may it be tried again?) and makes nothing of a page.
 *
 * A request may wait (route says ADIT_ERR_AGAIN), and one that `keeps` may be asked again elsewhere: when the tunnel was
 * lost before the visitor got a byte, for a method that allows it (RFC 9110 section 9.2.2) and without a body.
 */
#ifndef ADIT_EXCHANGE_EXCHANGE_H
#define ADIT_EXCHANGE_EXCHANGE_H

#include "base/list.h"
#include "base/places.h"
#include "http/half.h"
#include "http/head.h"

/** What is kept of a request for logs; longer text is cut. */
#define EXCHANGE_METHOD_MAX 23
#define EXCHANGE_HOST_MAX 255
#define EXCHANGE_PATH_MAX 1023
#define EXCHANGE_DETAIL_MAX 255
/** What is kept of Accept, to tell an error in that form: browsers name text/html first. */
#define EXCHANGE_ACCEPT_MAX 127
/** How often a request is asked: a tunnel that is lost with it again and again may be lost because of it. */
#define EXCHANGE_ASKS_MAX 3

/** What is known of an exchange when it is over. Strings live during the call. */
struct exchange_report {
	const char *method, *host, *path;
	const char *name;       /* the tunnel's, "" when it was never routed */
	const char *visitor;    /* textual address */
	const char *detail;     /* about the error, may be "" */
	int status;             /* of the response's head, 0 when none was sent */
	int err;                /* why it ended early, 0 when it is complete */
	uint64_t request_bytes, response_bytes;
	uint64_t began_us;      /* monotonic */
	uint64_t first_us;      /* from the request's head to the response's, 0 when none */
	uint64_t total_us;
};

struct exchange;

struct exchange_events {
	/* Where to: the half that answers, not yet linked, or NULL with `*err`; ADIT_ERR_AGAIN: it waits, for exchange_ask
	 * or exchange_give_up. It may edit `h`, and call exchange_name, exchange_detail and exchange_note. */
	struct half *(*route)(void *arg, struct exchange *x, struct head *h, int *err);
	void (*done)(void *arg, const struct exchange_report *r);
};

struct exchange_options {
	const struct exchange_events *events;
	void *arg;             /* outlives the exchange */
	const char *hop;       /* PAGE_HOP_* of this program, for error pages */
	const char *visitor;   /* copied */
	bool keeps;            /* it may be asked again: a copy of the head is kept until the response's head */
	struct places *places; /* of who asks, for who routes; NULL: nobody counts. The exchange takes a reference */
};

/** For its owner's use; the exchange unlinks the node when it ends. */
struct exchange_note {
	struct list node;
	const void *via;       /* where it was routed to */
	uint64_t admitted;     /* whose rules have let it pass, 0 = nobody's */
	uint64_t until_ms;     /* how long it waits */
};

/**
 * Makes one and links it to the asking half, whose next word must be exchange_begin instead of half_head.
 * NULL: out of memory. It frees itself when both sides are through with it.
 */
struct exchange *exchange_new(const struct exchange_options *o, struct half *asking);

/** The request's head: routes it and passes it on. Route may edit `h`. When `bodyless`, half_end follows as usual. */
void exchange_begin(struct exchange *x, struct head *h, bool bodyless);

/** Instead of exchange_begin: answers at once with that error's page. */
void exchange_fail(struct exchange *x, const struct head *h, bool bodyless, int err);

/** Routes it (again): one that waits, or one that exchange_may_move. */
void exchange_ask(struct exchange *x);
/** It has begun, nothing has been told to its visitor, and asking again does no harm. */
bool exchange_may_move(const struct exchange *x);
/** Ends one that waits, with that error's page. */
void exchange_give_up(struct exchange *x, int err);
struct exchange_note *exchange_note(struct exchange *x);
struct exchange *exchange_of_node(struct list *node);

/** The name the request goes to, and a word in case of an error. Both copied; before exchange_begin or in route. */
void exchange_name(struct exchange *x, const char *name);
void exchange_detail(struct exchange *x, const char *detail);
/** Retry-After of an error's page. */
void exchange_retry_after(struct exchange *x, unsigned seconds);
const char *exchange_name_of(const struct exchange *x);
struct places *exchange_places(const struct exchange *x);
/** Who asked. */
const char *exchange_visitor(const struct exchange *x);

#endif
