/* accept_int: what accept.c (life of links), accept_greet.c (first frames, HELLO) and accept_attach.c (ATTACH) share.
 * Layer edge; for these three files only.
 */
#ifndef ADIT_EDGE_ACCEPT_INT_H
#define ADIT_EDGE_ACCEPT_INT_H

#include "config.h"

#include "base/list.h"
#include "carrier/carrier.h"
#include "edge/accept.h"
#include "link/handshake.h"
#include "session/session.h"

#define ACCEPT_AGENT "aditd/" PACKAGE_VERSION

/* One carrier on its way to be a link, then the link, with a carrier or for a while without. */
struct tunnel {
	struct list node;
	struct acceptor *acceptor;
	char link_id[CARRIER_LINK_ID_HEX + 1];
	uint8_t token[SHA256_LEN];
	char *token_name;
	const char *carrier; /* as it arrived here; a static string */
	/* greeting */
	struct stream *stream;
	struct frame_parser parser;
	struct buf lead, rest;
	struct timer timer; /* the greeting's budget; then, what is due while it is detached */
	unsigned pings;     /* answered before the greeting */
	bool closing;       /* CLOSE is said; waiting for the other side to close */
	/* the link */
	struct session *session;
	char *names; /* published, each with its NUL; an empty one ends them */
	uint8_t secret[LINK_SECRET_LEN];
	uint64_t epoch;       /* of the latest attach */
	uint32_t resume_ms;
	uint64_t detached_ms; /* since when it has no carrier */
	uint64_t carrier_ms;  /* since when it runs on the one it has, or had */
	bool strayed;         /* its requests may go to other links by now */
	struct task free;
};

struct acceptor {
	struct loop *loop;
	struct acceptor_options o;
	struct list tunnels;
	unsigned links;
	bool draining;
	bool finishing; /* and visitors bring no more requests */
	uint32_t spread_ms;
};

struct refusal {
	uint16_t code;
	char text[FRAME_REASON_MAX];
};

extern const struct session_events acceptor_session_events;

void acceptor_release(void *tunnel);
void acceptor_drop(struct tunnel *t, int err);
/** Takes its session out of every name and port that it has. */
void acceptor_unpublish(struct tunnel *t);
void acceptor_on_detached_timer(struct tunnel *t);
/** The link that lives under that id, NULL when there is none. */
struct tunnel *acceptor_link(const struct acceptor *a, const char *link_id);
const struct conf_token *acceptor_token(const struct acceptor *a, const uint8_t hash[SHA256_LEN]);
/** Says CLOSE on a carrier that has not become a link, and lets it go. */
void acceptor_refuse(struct tunnel *t, uint16_t code, const char *reason);
/** DRAIN; after each attach too, for control frames are not replayed. */
void acceptor_tell_drain(struct tunnel *t);
/** May this token have that name? Gives a random one when it is empty. */
bool acceptor_judge_name(struct tunnel *t, const struct conf_token *token, const struct wire_hello *h,
                         struct wire_tunnel *w, struct refusal *no);
/** A name has all the links that may share it: one of them that nobody has resumed for ACCEPT_STRAY_MS goes, for its
 *  adit is more likely dead than away. False when there is none. */
bool acceptor_make_room(struct acceptor *a, const uint8_t token[SHA256_LEN], const char *name);
/** Where the name is published. */
void acceptor_write_url(const struct acceptor *a, const char *name, char *out, size_t cap);

/** ATTACH has come on a fresh carrier: it is refused, or the link goes on over it. */
void acceptor_attach(struct tunnel *fresh, const struct conf_token *token, const struct frame *f);

#endif
