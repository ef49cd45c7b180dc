#include "edge/door.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/list.h"
#include "http/forward.h"
#include "io/socket_address.h"
#include "io/tcp.h"
#include "raw/raw.h"

struct door {
	struct raw raw;
	struct stream *stream; /* until door_start */
	struct address peer;
	struct list node;
	door_closed_fn *closed;
	void *owner;
	struct loop *loop;
	struct task free;
};

static void release(void *arg)
{
	struct door *d = arg;

	raw_clear(&d->raw);
	free(d);
}

static void on_over(void *owner)
{
	struct door *d = owner;

	list_remove(&d->node);
	task_post_free(d->loop, &d->free);
	if (d->closed)
		d->closed(d->owner, d);
}

/* Anything but 101 is a page that says why not: he could not tell it from what he connected to. */
static void on_head(void *owner, const struct head *h, bool bodyless)
{
	struct door *d = owner;

	(void)bodyless;
	if (h->status >= 200)
		raw_refuse(&d->raw);
}

static const struct raw_events raw_events = {on_head, on_over};

/* ---- the request */

static int set_address(struct fields *f, struct str name, const struct address *a)
{
	char text[SOCKET_ADDRESS_TEXT_MAX];

	address_text(a, text);
	return fields_add(f, name, str_of(text));
}

int door_request(const struct door *d, const char *domain, const char *name, struct head *h)
{
	char authority[256 + sizeof(":65535")];
	struct address local;
	int err;

	snprintf(authority, sizeof(authority), "%s%s", domain, strchr(name, ':'));
	h->length = HEAD_LENGTH_UNKNOWN;
	h->minor = 1;
	err = head_set(h, HEAD_METHOD, STR("CONNECT"));
	if (!err)
		err = head_set(h, HEAD_AUTHORITY, str_of(authority));
	if (!err)
		err = fields_add(&h->fields, STR(FORWARD_TUNNEL), str_of(name));
	if (!err)
		err = set_address(&h->fields, STR(FORWARD_VISITOR), &d->peer);
	if (!err && tcp_local_address(d->stream, &local) == 0)
		err = set_address(&h->fields, STR(FORWARD_SERVER), &local);
	return err;
}

/* ---- life */

void door_start(struct door *d)
{
	struct stream *s = d->stream;

	d->stream = NULL;
	raw_start(&d->raw, s);
}

struct door *door_new(struct loop *l, struct stream *s, door_closed_fn *closed, void *owner)
{
	struct door *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->loop = l;
	d->stream = s;
	d->peer = s->peer;
	d->closed = closed;
	d->owner = owner;
	d->free = (struct task){.run = release, .arg = d};
	list_init(&d->node);
	raw_init(&d->raw, l, &raw_events, d);
	tcp_be_patient(s);
	return d;
}

void door_free(struct door **dp)
{
	struct door *d = *dp;

	*dp = NULL;
	if (!d)
		return;
	d->closed = NULL;
	stream_free(&d->stream);
	raw_end(&d->raw, ADIT_ERR_SHUTDOWN);
}

struct half *door_half(struct door *d)
{
	return &d->raw.half;
}

struct list *door_node(struct door *d)
{
	return &d->node;
}

struct door *door_of_node(struct list *node)
{
	return container_of(node, struct door, node);
}
