/* retired: sessions whose server drains, while they finish what runs; a newer one takes what is new.
 * Layer session, for dialer.
 * Invariants: at most RETIRED_MAX, then the oldest is cut; none is resumed: its server takes no carriers any more.
 */
#ifndef ADIT_SESSION_RETIRED_H
#define ADIT_SESSION_RETIRED_H

#include "base/log.h"
#include "session/session.h"

/** A server that drains again before its former drain is over is rare; a third is none to wait for. */
#define RETIRED_MAX 2
#define RETIRED_LINK_ID 33

struct retired {
	struct retired_set *set;
	struct session *session; /* NULL = free */
	char link_id[RETIRED_LINK_ID];
};

struct retired_set {
	struct retired at[RETIRED_MAX];
	unsigned next;           /* the one to be replaced next: the oldest */
	struct log *trace;
	void (*request)(void *owner, struct h2_stream *s, const struct head *h, bool bodyless);
	void *owner;
};

void retired_init(struct retired_set *r, struct log *trace,
                  void (*request)(void *owner, struct h2_stream *s, const struct head *h, bool bodyless), void *owner);
/** Takes the session over. */
void retired_add(struct retired_set *r, struct session **s, const char *link_id);
/** Says CLOSE, or GOAWAY, on each. */
void retired_close(struct retired_set *r);
void retired_goaway(struct retired_set *r);
void retired_free(struct retired_set *r);
unsigned retired_count(const struct retired_set *r);
/** Requests in flight. */
unsigned retired_open(const struct retired_set *r);

#endif
