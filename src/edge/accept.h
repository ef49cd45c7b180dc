/* accept: takes carriers in: reads a link's greeting, judges it, makes the session and publishes its names, or gives a
 * detached link its new carrier.
 * Layer edge; aditd's counterpart of session/dialer.
 *
 *   a carrier ─ HELLO ─► link ◄──── ATTACH, judged in full ────┐
 *                         │ the carrier fails                  │ (the old carrier is cut first)
 *                         └──────► detached ───────────────────┘   resume_seconds later: gone
 *
 * Invariants: nothing is published, and no link touched, before the whole greeting is judged; what is refused gets one
 * CLOSE that says why; a carrier that has not greeted within ACCEPT_GREETING_MS is closed.
 */
#ifndef ADIT_EDGE_ACCEPT_H
#define ADIT_EDGE_ACCEPT_H

#include "base/buf.h"
#include "base/log.h"
#include "conf/conf.h"
#include "edge/ports.h"
#include "edge/registry.h"
#include "h2/budget.h"
#include "io/stream.h"

/** From the 101 to the end of HELLO. */
#define ACCEPT_GREETING_MS 10000
/** Links of one token at once, those that greet included. */
#define ACCEPT_LINKS_PER_TOKEN 256
/** Carriers beside these, of links that live already: who has all his links must still be able to resume them. */
#define ACCEPT_BESIDE_PER_TOKEN 64
/** Detached links of one token: each holds its session's memory for nobody. */
#define ACCEPT_DETACHED_PER_TOKEN 64
/** A link without carrier for so long: its requests may go to another link of the name. */
#define ACCEPT_STRAY_MS 2000
/** How long CLOSE waits for the other side to close first. */
#define ACCEPT_CLOSE_MS 1000

struct acceptor;

struct acceptor_options {
	struct registry *registry;
	struct ports *ports;
	const struct conf_server *conf; /* see acceptor_set_conf */
	const char *published;          /* URL with NAME in it, for WELCOME; borrowed */
	struct budget *budget;
	struct log *log, *trace;
	void (*empty)(void *owner);     /* draining, and the last link has gone */
	void (*ready)(void *owner);     /* a link takes requests that did not before */
	void (*strayed)(void *owner, const struct session *s); /* this one has been without carrier for ACCEPT_STRAY_MS */
	void *owner;
};

struct acceptor *acceptor_new(struct loop *l, const struct acceptor_options *o);
void acceptor_free(struct acceptor **a);

/** A new conf after SIGHUP: it is used from now on; links whose token is gone, or may not claim a name any more that they
 *  have, are closed. The old may be freed. */
void acceptor_set_conf(struct acceptor *a, const struct conf_server *conf, const char *published);

/** May this token have one more carrier for that link now? */
bool acceptor_has_room(const struct acceptor *a, const struct conf_token *t, const char *link_id);

/** Does a link live under that id? */
bool acceptor_knows(const struct acceptor *a, const char *link_id);

/** A carrier whose request was authenticated as `token`. Takes over the stream; empties `lead` and `rest`, which must have
 *  been empty: nobody sends before the 101. `carrier`: what it is, for logs; a static string. */
void acceptor_take(struct acceptor *a, struct stream *s, struct buf *lead, struct buf *rest, const char *link_id,
                   const uint8_t token[SHA256_LEN], const char *carrier);

/** Tells all links that the server is going; they go on answering until acceptor_finish. */
void acceptor_drain(struct acceptor *a, uint32_t spread_ms);
/** Closes the links without a request now, the others when their last one has ended. */
void acceptor_finish(struct acceptor *a);
/** Links alive, and requests in flight on them. */
unsigned acceptor_links(const struct acceptor *a);
unsigned acceptor_open(const struct acceptor *a);

#endif
