/* requester_int: what the parts of requester share: the queue (requester.c), one HTTP/1.1 connection (requester_h1.c)
 * and the HTTP/2 one (requester_h2.c).
 * Layer carrier; for them only.
 */
#ifndef ADIT_CARRIER_REQUESTER_INT_H
#define ADIT_CARRIER_REQUESTER_INT_H

#include "carrier/requester.h"

struct requester {
	struct loop *loop;
	struct resolver *resolver;
	struct dial_options dial_options;
	char *host, *tls_name;
	bool h2;
	struct list waiting;        /* asks */
	struct list h1;             /* connection_h1 */
	struct list h2_connections; /* connection_h2: the last one is asked */
	unsigned h1_count;
	struct dial *dial;
	struct task pump, free;
};

/** The ask is over; it is told so from a task. `detail` is copied. */
void ask_over(struct ask *a, int err, const char *detail);
/** Its first bytes are being sent: the late ones, if there are any, will follow by themselves. */
void ask_begins(struct ask *a);
/** More of the answer has come. 0, or ADIT_ERR_PROTO: too much, ADIT_ERR_NOMEM. */
int ask_got(struct ask *a, const uint8_t *p, size_t n);
/** A connection is free, or gone: something may go on. */
void requester_go_on(struct requester *r);

/** All that wait end so: the server cannot be reached. */
void requester_fail_waiting(struct requester *r, int err, const char *detail);

/** Both take the stream over. NULL: out of memory. */
struct connection_h1 *connection_h1_new(struct requester *r, struct stream *s);
void connection_h1_close(struct connection_h1 *c, int err, const char *detail);
bool connection_h1_send(struct requester *r, struct ask *a);
void connection_h1_send_late(struct ask *a);
struct connection_h1 *connection_h1_of_node(struct list *node);

struct connection_h2 *connection_h2_new(struct requester *r, struct stream *s);
void connection_h2_close(struct connection_h2 *c);
/** One of its asks is over. */
void connection_h2_ended(struct connection_h2 *c);
/** False: no connection takes it now; `*soon` says that one is coming up. */
bool connection_h2_send(struct requester *r, struct ask *a, bool *soon);
void connection_h2_send_late(struct ask *a);
struct connection_h2 *connection_h2_of_node(struct list *node);

#endif
