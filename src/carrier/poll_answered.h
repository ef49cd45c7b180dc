/* poll_answered: aditd's side of poll carriers: answers polls and relays, and is a stream to what is above.
 * Layer carrier; edge/endpoint authenticates each request first and then hands it over.
 * Invariants: a message that was sent is kept until it is acknowledged, and a poll for it gives the same bytes again;
 * at most POLL_AHEAD are, and whoever acknowledges none gets no more;
 * no poll is held longer than POLL_HELD_MS; a carrier without requests ends after POLL_IDLE_MS.
 */
#ifndef ADIT_CARRIER_POLL_ANSWERED_H
#define ADIT_CARRIER_POLL_ANSWERED_H

#include "base/digest.h"
#include "carrier/carrier.h"
#include "carrier/poll.h"
#include "http/head.h"

/** The longest hold that adit may ask for: ingresses begin to give up at 30 s. */
#define POLL_HELD_MS 25000
/** Without any request. */
#define POLL_IDLE_MS 30000
/** The last held poll was cut, and none has come since: whoever is there asks again at once. */
#define POLL_ABANDONED_MS 3000
/** Numbers beyond the first that is not known to have arrived, in either direction, that are heard of: the bound of
 *  what is kept for repeats. adit stays within POLL_SPAN. */
#define POLL_AHEAD 8
/** Unread bytes with which no relay is taken: it is to come again. adit, which waits for its answers from POLL_WINDOW
 *  on, never gets there. */
#define POLL_UNREAD_MAX (2 * POLL_WINDOW)
/** Requests of one carrier under way, answers that are not read yet among them; adit has five, and ingresses may
 *  repeat some. */
#define POLL_REQUESTS_MAX 12

/** All poll carriers of a loop: poll_table_init it. */
struct poll_table {
	struct loop *loop;
	struct list carriers;
};

struct poll_answered;

void poll_table_init(struct poll_table *t, struct loop *l);
/** Before the table goes: forgets its carriers, which live on as long as their streams. */
void poll_table_clear(struct poll_table *t);

/** A new carrier for that link and token, `id` names it. The stream is the caller's, paused. NULL: out of memory. */
struct stream *poll_table_open(struct poll_table *t, const char *link_id, const uint8_t token[SHA256_LEN],
                               const struct address *peer, char id[POLL_ID_HEX + 1]);
/** NULL when there is none of that id, or it is another link's or token's. */
struct poll_answered *poll_table_find(struct poll_table *t, struct str id, const char *link_id,
                                      const uint8_t token[SHA256_LEN]);

/** Takes a request over; `asking` has no peer yet. What is wrong with it is answered with 400. */
void poll_answered_poll(struct poll_answered *c, struct half *asking, const struct head *request);
void poll_answered_relay(struct poll_answered *c, struct half *asking, const struct head *request);

/** For answers to polls, relays and the opening: Adit-Version, and what keeps caches and buffers away. 0 or
 *  ADIT_ERR_NOMEM. */
int poll_answer_fields(struct fields *f);

#endif
