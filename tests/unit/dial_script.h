/* dial_script: dialling without a network: in the loop's next turn the test itself gives a stream, or an error.
 * For unit tests only, of what dials; in the place of io/dial.c.
 */
#ifndef ADIT_TESTS_DIAL_SCRIPT_H
#define ADIT_TESTS_DIAL_SCRIPT_H

#include <stdlib.h>

#include "io/dial.h"

/** Nobody under test knows what is in one. */
struct resolver {
	/** Gives the near end of a new connection; or NULL, and why not in `err`. */
	struct stream *(*dialled)(void *arg, int *err);
	void *arg;
};

struct dial {
	struct loop *loop;
	struct resolver *resolver;
	dial_fn *done;
	void *arg;
	struct task arrive, free;
};

static inline void dial_release(void *arg)
{
	free(arg);
}

static inline void dial_arrive(void *arg)
{
	struct dial *d = arg;
	int err = 0;
	struct stream *s = d->resolver->dialled(d->resolver->arg, &err);

	task_post_free(d->loop, &d->free);
	d->done(d->arg, s, err, err ? "the detail" : "");
}

struct dial *dial_start(struct loop *l, struct resolver *r, const struct dial_options *o, dial_fn *done, void *arg)
{
	struct dial *d = calloc(1, sizeof(*d));

	(void)o;
	if (!d)
		abort();
	d->loop = l;
	d->resolver = r;
	d->done = done;
	d->arg = arg;
	d->arrive = (struct task){.run = dial_arrive, .arg = d};
	d->free = (struct task){.run = dial_release, .arg = d};
	task_post_next(l, &d->arrive);
	return d;
}

void dial_cancel(struct dial **dp)
{
	struct dial *d = *dp;

	*dp = NULL;
	if (!d)
		return;
	task_cancel(d->loop, &d->arrive);
	task_post_free(d->loop, &d->free);
}

#endif
