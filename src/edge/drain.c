#include "edge/drain.h"

static void hurry(struct drain *d)
{
	if (!d->patient)
		return;
	d->patient = false;
	timer_clear(&d->look);
	edge_drain(d->o.edge, EDGE_DRAIN_IDLE);
	acceptor_finish(d->o.acceptor);
}

/* It is over when the last link has gone, and the last visitor has got what came over it. */
void drain_empty(struct drain *d)
{
	if (!d->on || acceptor_links(d->o.acceptor))
		return;
	hurry(d);
	if (edge_visitors(d->o.edge))
		edge_drain(d->o.edge, EDGE_DRAIN_ALL);
	if (!edge_visitors(d->o.edge))
		loop_stop(d->loop);
}

static void look(void *arg)
{
	struct drain *d = arg;

	if (loop_ms(d->loop) < d->patient_until_ms && acceptor_links(d->o.acceptor) &&
	    (edge_may_ask(d->o.edge) || d->o.coming(d->o.owner))) {
		timer_set(&d->look, DRAIN_LOOK_MS);
		return;
	}
	hurry(d);
	drain_empty(d);
}

static void on_over(void *arg)
{
	struct drain *d = arg;

	log_event(d->o.log, LOG_LEVEL_WARN, "drain.cut", KV_U64("requests", acceptor_open(d->o.acceptor)));
	loop_stop(d->loop);
}

void drain_init(struct drain *d, struct loop *l, const struct drain_options *o)
{
	*d = (struct drain){.loop = l, .o = *o};
	timer_init(&d->over, l, on_over, d);
	timer_init(&d->look, l, look, d);
}

void drain_begin(struct drain *d, unsigned seconds)
{
	d->on = d->patient = true;
	d->patient_until_ms = loop_ms(d->loop) + seconds * 500u;
	log_event(d->o.log, LOG_LEVEL_INFO, "draining", KV_U64("links", acceptor_links(d->o.acceptor)),
	          KV_U64("requests", acceptor_open(d->o.acceptor)));
	timer_set(&d->over, seconds * 1000u);
	edge_drain(d->o.edge, EDGE_DRAIN_PATIENT);
	acceptor_drain(d->o.acceptor, DRAIN_SPREAD_MS);
	look(d);
}

void drain_stop(struct drain *d)
{
	timer_stop(&d->over);
	timer_stop(&d->look);
}
