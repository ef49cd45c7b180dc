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
}

void stream_free(struct stream **sp)
{
	struct stream *s = *sp;

	if (!s)
		return;
	*sp = NULL;
	s->handler = NULL;
	s->ops->stop(s);
	task_post_free(s->loop, &s->free_task);
}
