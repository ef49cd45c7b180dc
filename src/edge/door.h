/* door: one visitor's connection to a published TCP port: the asking half of a CONNECT.
 * Layer edge; the edge owns them. Bytes, ends and resets are raw's (raw/raw.h).
 * Invariants: whatever the visitor says is bytes to us, nothing of it can choose a tunnel; without a tunnel that
 * connects him to its origin he gets a RST, and not a byte of ours.
 */
#ifndef ADIT_EDGE_DOOR_H
#define ADIT_EDGE_DOOR_H

#include "http/half.h"
#include "http/head.h"
#include "io/stream.h"

struct door;

/** It is gone; the owner forgets it. */
typedef void door_closed_fn(void *owner, struct door *d);

/** Takes over the stream, and leaves it unread. NULL: out of memory, the stream is the caller's still. */
struct door *door_new(struct loop *l, struct stream *s, door_closed_fn *closed, void *owner);
/** Resets it at once; `closed` is not called. */
void door_free(struct door **d);

/** For linking. */
struct half *door_half(struct door *d);
/** The request: CONNECT DOMAIN:PORT, for the port's tunnel `name`, with who connects and where to. 0 or an error of
 *  fields_add. */
int door_request(const struct door *d, const char *domain, const char *name, struct head *h);
/** It is linked: reads from now on. */
void door_start(struct door *d);

struct list *door_node(struct door *d);
struct door *door_of_node(struct list *node);

#endif
