#include "io/headroom.h"

static uint64_t mark(const struct headroom *m)
{
	return m->most / 4 * HEADROOM_MARK_QUARTERS;
}

static uint64_t slack(const struct headroom *m)
{
	return m->most / 16 * HEADROOM_SLACK_SIXTEENTHS;
}

/* Below this there is enough again. */
static uint64_t ease(const struct headroom *m)
{
	return mark(m) - slack(m);
}

static enum headroom_level level_of(const struct headroom *m)
{
	if (m->used >= (m->level == HEADROOM_NONE ? m->most - slack(m) : m->most))
		return HEADROOM_NONE;
	return m->used >= mark(m) || (m->level && m->used >= ease(m)) ? HEADROOM_LITTLE : HEADROOM_ENOUGH;
}

static void tell_log(struct headroom *m)
{
	uint64_t now = loop_ms(m->loop);

	if (m->level)
		m->little_ms = now;
	if (m->level && !m->told) {
		m->told = true;
		m->since_ms = now;
		m->refused = 0;
		log_event(m->o.log, LOG_LEVEL_WARN, "memory.short", KV_U64("used", m->used), KV_U64("mark", mark(m)),
		          KV_U64("most", m->most));
	} else if (m->told && now - m->little_ms >= HEADROOM_TOLD_MS) {
		m->told = false;
		log_event(m->o.log, LOG_LEVEL_WARN, "memory.enough", KV_U64("used", m->used),
		          KV_U64("ms", m->little_ms - m->since_ms), KV_U64("refused", m->refused));
	}
}

static void look(void *arg)
{
	struct headroom *m = arg;
	enum headroom_level was = m->level;

	m->used = m->o.measure ? m->o.measure(m->o.arg) : memory_use_now(&m->use, ease(m), m->most);
	m->looked_ms = loop_ms(m->loop);
	m->begun = 0;
	m->level = level_of(m);
	tell_log(m);
	if (m->told)
		timer_set(&m->again, HEADROOM_LOOK_MS);
	else
		timer_clear(&m->again);
	/* whoever asks makes it look: what the owner does at each time is not theirs to hurry. And from the loop: who asks
	 * is in the middle of something */
	if (m->level != was || (m->level && m->looked_ms - m->owner_ms >= HEADROOM_LOOK_MS)) {
		m->owner_ms = m->looked_ms;
		task_post(m->loop, &m->tell);
	}
}

static void tell_owner(void *arg)
{
	struct headroom *m = arg;

	if (m->o.changed)
		m->o.changed(m->o.owner, m->level);
}

void headroom_init(struct headroom *m, struct loop *l, const struct headroom_options *o)
{
	*m = (struct headroom){.loop = l, .o = *o, .most = UINT64_MAX, .system = memory_limit_of_system("")};
	memory_use_open(&m->use);
	timer_init(&m->again, l, look, m);
	m->tell = (struct task){.run = tell_owner, .arg = m};
}

void headroom_stop(struct headroom *m)
{
	if (!m->loop)
		return;
	timer_stop(&m->again);
	task_cancel(m->loop, &m->tell);
	memory_use_close(&m->use);
}

void headroom_set(struct headroom *m, uint64_t most)
{
	m->most = most ? most : m->system.bytes / HEADROOM_SYSTEM_SHARE;
	if (m->most < HEADROOM_LEAST)
		m->most = HEADROOM_LEAST;
	m->looked_ms = 0; /* what it comes to is seen when it is asked for next */
	log_event(m->o.log, !most && m->system.whole ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO, "memory", KV_U64("most", m->most),
	          KV_Z("by", most ? "max_memory" : m->system.by), KV_U64("mark", mark(m)));
}

bool headroom_begin(struct headroom *m)
{
	if (!m)
		return true;
	headroom_note(m);
	m->refused += m->level != HEADROOM_ENOUGH;
	return m->level == HEADROOM_ENOUGH;
}

void headroom_note(struct headroom *m)
{
	if (!m)
		return;
	m->begun++;
	if (loop_ms(m->loop) - m->looked_ms >= HEADROOM_LOOK_MS || m->used + m->begun * HEADROOM_EACH >= mark(m))
		look(m);
}
