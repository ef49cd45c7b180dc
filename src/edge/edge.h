/* edge: the visitor-facing half of aditd: takes connections in, sends each request to its tunnel, and hands what is
 * addressed to the tunnel's own endpoints to accept.
 * Layer edge.
 * Invariants: a request is routed by its host only, a connection to a published port by that; under a tunnel's name every path belongs to its origin; without a
 * valid token a tunnel endpoint gives a 401 and nothing else; when max_visitors are there, or as many as there
 * are descriptors for, the one that has been without a request for longest goes; when none is without, a few more come
 * in, the reserve: who is in it and asks for anything but a tunnel's endpoints is answered 503, and goes before long
 * whatever he does; who carries a link is not counted among them: visitors lock no owner out.
 */
#ifndef ADIT_EDGE_EDGE_H
#define ADIT_EDGE_EDGE_H

#include "base/log.h"
#include "conf/conf.h"
#include "edge/accept.h"
#include "edge/edge_h1.h"
#include "edge/registry.h"
#include "io/headroom.h"
#include "io/stream.h"

struct edge;

struct edge_options {
	struct registry *registry;
	struct acceptor *acceptor;
	const struct conf_server *conf;
	struct log *log, *access, *trace;
	struct budget *budget;          /* the process's, for HTTP/2 visitors' windows */
	struct headroom *headroom;      /* the process's; NULL = memory without bound */
	unsigned descriptors;           /* that the process may have */
	/* There is no room for one more connection, or there is again: (un)pause the listeners. */
	void (*full)(void *owner, bool full);
	/* Draining, and the last visitor has gone; may be NULL. */
	void (*empty)(void *owner);
	void *owner;
};

struct edge *edge_new(struct loop *l, const struct edge_options *o);
/** Ends every visitor connection at once. */
void edge_free(struct edge **e);
void edge_set_conf(struct edge *e, const struct conf_server *conf);

/** A connection that a listener accepted; takes it over. `arg` is the edge (a listener_accept_fn). */
void edge_accept(void *arg, struct stream *s);

/** A connection to the published port of that name ("tcp:5432"); takes it over. */
void edge_accept_port(struct edge *e, struct stream *s, const char *name);

/** A listener can accept nothing for want of descriptors: ends some connections that have no request. `arg` is the edge. */
void edge_starved(void *arg);

/** When the level of memory changes, and now and then while there is little: connections without a request make room;
 *  at HEADROOM_NONE nobody else comes in. */
void edge_press(struct edge *e, enum headroom_level level);

/** One more step of a drain, see edge/drain.h: at first nobody is cut, all are told that their connections end.
 *  Those with requests of live poll carriers are told nothing before EDGE_DRAIN_ALL, when there is no link any
 *  more. */
void edge_drain(struct edge *e, enum edge_drain how);
/** Draining: is there a visitor who may bring one more request? */
bool edge_may_ask(const struct edge *e);
/** A tunnel takes requests that did not before: those that wait are looked at again. */
void edge_ready(struct edge *e);
/** That session has been without carrier for a while: what may go another way does. */
void edge_strayed(struct edge *e, const struct session *s);
unsigned edge_visitors(const struct edge *e);

#endif
