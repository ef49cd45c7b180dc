/* ports: the TCP ports that are published: a listener for each, as long as any link has it.
 * Layer edge. aditd makes one, accept opens and leaves ports as names are published and removed.
 *
 *   ports_open ─► OPEN ── the last owner leaves ─► closed
 *                  ▲
 *   ports_keep ─► KEPT ── nobody opens it in PORTS_KEEP_MS ─► closed      (a socket of the aditd before this one)
 *
 * Invariants: who may have a port is judged before (auth, registry); nothing is accepted from a port without owner, those
 * who connect wait in the kernel's queue.
 */
#ifndef ADIT_EDGE_PORTS_H
#define ADIT_EDGE_PORTS_H

#include "base/log.h"
#include "conf/conf.h"
#include "io/stream.h"

/** A socket that was taken over is kept so long for its link: adit moves within a second of the old server's word, and
 *  is back in 10 s after an outage. */
#define PORTS_KEEP_MS 30000
/** Ports that are looked at, at most, to find a free one. */
#define PORTS_TRIES 4096

struct handed;
struct ports;

struct ports_options {
	const struct conf_server *conf; /* see ports_set_conf */
	struct log *log;
	/* A connection at the port of that name ("tcp:5432"); takes over `s`. */
	void (*accepted)(void *owner, struct stream *s, const char *name);
	/* There are no descriptors for one more. */
	void (*starved)(void *owner);
	void *owner;
};

/** NULL when out of memory. */
struct ports *ports_new(struct loop *l, const struct ports_options *o);
void ports_free(struct ports **p);
/** For ports that are opened from now on; open ones stay where they are. */
void ports_set_conf(struct ports *p, const struct conf_server *conf);

/** `owner` has that port from now on, which is opened if it is not. 0; ADIT_ERR_CONFLICT: somebody else listens there;
 *  ADIT_ERR_FORBIDDEN: the system does not let us; ADIT_ERR_LIMIT: it has too many owners, or descriptors are out;
 *  ADIT_ERR_SHUTDOWN: after ports_stop; ADIT_ERR_SYS, ADIT_ERR_NOMEM. */
int ports_open(struct ports *p, uint16_t number, const void *owner);
/** Opens a port of the token's that nobody has, the first free one from a place in its ranges on that `seed` gives; or
 *  shares the one that was chosen by the same seed for another owner. 0 with `*number`; or ADIT_ERR_CONFLICT: all are in
 *  use; or the last one's error. */
int ports_open_any(struct ports *p, const struct conf_token *token, uint32_t seed, const void *owner, uint16_t *number);
/** `owner` has no port any more. Not from within `accepted`. */
void ports_leave(struct ports *p, const void *owner);

/** Accepts nothing for a while. */
void ports_pause(struct ports *p, bool paused);
/** Accepts no more, for good. */
void ports_stop(struct ports *p);

/** Adds the sockets of all ports to what a successor gets, as far as there is room. They stay ours. */
void ports_give(const struct ports *p, struct handed *out);
/** Takes from it what is bound to a port that a token may publish. */
void ports_keep(struct ports *p, struct handed *handed);

#endif
