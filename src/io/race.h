/* race: connects to whichever of a host's addresses answers first (RFC 8305, "Happy Eyeballs").
 * Layer io; dial embeds one.
 * Invariants: IPv6 and IPv4 take turns, IPv6 first; the next attempt starts RACE_ATTEMPT_MS after the last one began, or
 * at once when one fails; `done` is called once, from the loop, unless the race is stopped first.
 *
 *     race_add … race_run ─► connect [v6] ── 250 ms ──► connect [v4] ── 250 ms ──► connect [v6] …
 *                               └── the first that stands wins, the others are dropped ──► done
 */
#ifndef ADIT_IO_RACE_H
#define ADIT_IO_RACE_H

#include "io/resolver.h"
#include "io/stream.h"

/** Connection Attempt Delay, RFC 8305 section 5. */
#define RACE_ATTEMPT_MS 250
/** Resolution Delay, section 3: how long IPv4 addresses wait for IPv6 ones. */
#define RACE_RESOLUTION_MS 50
/** Each attempt's own budget. */
#define RACE_CONNECT_MS 5000
#define RACE_ADDRESSES (2 * RESOLVER_ADDRESSES)

/** `s` is the caller's, paused and without handler; NULL with why the last attempt failed, and where. */
typedef void race_fn(void *arg, struct stream *s, int err, const struct address *tried);

struct race;

struct racer {
	struct race *race;
	struct stream *stream; /* NULL: not running */
	struct timer timer;
};

struct race {
	struct loop *loop;
	race_fn *done;
	void *arg;
	struct resolver_answer queue[2]; /* IPv6; IPv4 and everything else */
	int next[2];
	int turn;                        /* the queue that is asked first */
	struct racer racers[RACE_ADDRESSES];
	int started, running;
	bool begun, whole;               /* whole: no more addresses come */
	struct timer timer;              /* the next attempt */
	struct task fail;
	struct address tried;
	int err;
};

void race_init(struct race *r, struct loop *l, race_fn *done, void *arg);
/** More addresses; those beyond RESOLVER_ADDRESSES of a family are left out. */
void race_add(struct race *r, const struct sockaddr_storage *address, int count);
/** Are there any? */
bool race_any(const struct race *r);
/** Starts if it has not; `whole` says that nothing more will be added, so that it may fail. */
void race_run(struct race *r, bool whole);
/** Starts after so many milliseconds, if it has not until then. */
void race_run_after(struct race *r, uint64_t ms);
/** Ends all attempts; done is not called any more. */
void race_stop(struct race *r);

#endif
