/* How long does the way to aditd live without traffic? */
#include <stdlib.h>

#include "base/err.h"
#include "doctor/probe.h"

/*   CLIMBING ─ a connection ─► SILENT ─ seconds are over ─► ASKING ─ echo ─► open
 *      └─ none                    └─ EOF, error: cut          └─ EOF, error, nothing: dead     */
struct idle_probe {
	struct loop *loop;
	struct ladder *ladder;
	struct stream *stream;
	unsigned seconds, carrier;
	uint64_t since_ms;
	bool asking;
	struct timer timer;
	struct task free;
	idle_probe_fn *done;
	void *arg;
};

static void release(void *arg)
{
	free(arg);
}

static void drop(struct idle_probe *p)
{
	ladder_cancel(&p->ladder);
	timer_stop(&p->timer);
	stream_free(&p->stream);
	task_post_free(p->loop, &p->free);
}

static void finish(struct idle_probe *p, enum idle_end end)
{
	uint64_t silent = p->asking ? p->seconds * UINT64_C(1000) : loop_ms(p->loop) - p->since_ms;
	const struct idle_probe_result r = {.end = end, .carrier = p->carrier, .open_ms = (int64_t)silent, .detail = ""};

	p->done(p->arg, &r);
	drop(p);
}

static void on_readable(void *owner)
{
	struct idle_probe *p = owner;
	uint8_t block[64];
	ssize_t n = stream_read(p->stream, block, sizeof(block));

	if (n == ADIT_ERR_AGAIN || (n > 0 && !p->asking)) /* aditd says nothing by itself; bytes of others are no end */
		return;
	if (p->asking)
		finish(p, n > 0 ? IDLE_OPEN : IDLE_DEAD);
	else
		finish(p, IDLE_CUT);
}

static void on_writable(void *owner)
{
	(void)owner;
}

static const struct stream_handler handler = {on_readable, on_writable};

static void on_timer(void *arg)
{
	struct idle_probe *p = arg;
	uint8_t byte = 0;
	struct iovec v = {&byte, 1};

	if (p->asking) {
		finish(p, IDLE_DEAD);
		return;
	}
	p->asking = true;
	if (stream_write(p->stream, &v, 1) == 1)
		timer_set(&p->timer, IDLE_PROBE_ECHO_MS);
	else
		finish(p, IDLE_DEAD);
}

static void on_carrier(void *arg, const struct carrier_result *res, unsigned carrier, const char *why)
{
	struct idle_probe *p = arg;

	(void)why;
	p->ladder = NULL;
	if (res->err) {
		const struct idle_probe_result r = {
			.end = IDLE_NOT_MEASURED, .open_ms = -1, .err = res->err, .status = res->status, .ours = res->ours,
			.detail = res->detail,
		};

		p->done(p->arg, &r);
		drop(p);
		return;
	}
	p->carrier = carrier;
	p->stream = res->stream;
	p->since_ms = loop_ms(p->loop);
	timer_set(&p->timer, p->seconds * UINT64_C(1000));
	stream_own(p->stream, &handler, p);
	stream_pause(p->stream, false);
}

struct idle_probe *idle_probe_new(struct loop *l, const struct ladder_options *o, unsigned seconds,
                                  idle_probe_fn *done, void *arg)
{
	struct idle_probe *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->loop = l;
	p->seconds = seconds;
	p->done = done;
	p->arg = arg;
	p->free = (struct task){.run = release, .arg = p};
	timer_init(&p->timer, l, on_timer, p);
	p->ladder = ladder_climb(l, o, on_carrier, p);
	if (p->ladder)
		return p;
	free(p);
	return NULL;
}

void idle_probe_cancel(struct idle_probe **pp)
{
	struct idle_probe *p = *pp;

	*pp = NULL;
	if (p)
		drop(p);
}
