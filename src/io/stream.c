#include "io/stream.h"

#include <string.h>

static void destroy(void *arg)
{
	struct stream *s = arg;

	s->ops->destroy(s);
}

void stream_init(struct stream *s, const struct stream_ops *ops, struct loop *loop)
{
	memset(s, 0, sizeof(*s));
	s->ops = ops;
	s->loop = loop;
	s->alpn = "";
	s->free_task.run = destroy;
	s->free_task.arg = s;
}

void stream_own(struct stream *s, const struct stream_handler *h, void *owner)
{
	s->handler = h;
	s->owner = owner;
	s->leaving = NULL;
}

void stream_on_leaving(struct stream *s, void (*fn)(void *owner))
{
	s->leaving = fn;
}

void stream_leave(struct stream *s)
{
	if (s->left)
		return;
	s->left = true;
	if (s->leaving)
		s->leaving(s->owner);
}

void stream_free(struct stream **sp)
{
	struct stream *s = *sp;

	if (!s)
		return;
	*sp = NULL;
	s->handler = NULL;
	s->leaving = NULL;
	s->ops->stop(s);
	task_post_free(s->loop, &s->free_task);
}
