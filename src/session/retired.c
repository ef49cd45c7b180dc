#include "session/retired.h"

#include <stdio.h>

#include "base/err.h"

static void on_request(void *owner, struct h2_stream *s, const struct head *h, bool bodyless)
{
	struct retired *r = owner;

	r->set->request(r->set->owner, s, h, bodyless);
}

static void on_lost(void *owner, int err, const char *detail)
{
	struct retired *r = owner;

	log_event(r->set->trace, LOG_LEVEL_INFO, "lost", KV_Z("link", r->link_id), KV_Z("reason", err_name(err)),
	          KV_Z("detail", detail), KV_U64("requests", session_open(r->session)));
	session_free(&r->session, ADIT_ERR_LINK_LOST);
}

static void on_control(void *owner, enum frame_type type, const uint8_t *p, size_t n)
{
	(void)p;
	(void)n;
	if (type == FRAME_CLOSE)
		on_lost(owner, ADIT_ERR_SHUTDOWN, "the server has finished");
}

static const struct session_events events = {on_request, on_control, NULL, NULL, NULL, on_lost, NULL};

void retired_init(struct retired_set *r, struct log *trace,
                  void (*request)(void *owner, struct h2_stream *s, const struct head *h, bool bodyless), void *owner)
{
	*r = (struct retired_set){.trace = trace, .request = request, .owner = owner};
	for (unsigned i = 0; i < RETIRED_MAX; i++)
		r->at[i].set = r;
}

void retired_add(struct retired_set *r, struct session **s, const char *link_id)
{
	struct retired *at = &r->at[r->next];

	r->next = (r->next + 1) % RETIRED_MAX;
	session_free(&at->session, ADIT_ERR_LINK_LOST);
	at->session = *s;
	*s = NULL;
	snprintf(at->link_id, sizeof(at->link_id), "%s", link_id);
	session_resumable(at->session, false);
	session_hand_over(at->session, &events, at);
}

void retired_close(struct retired_set *r)
{
	for (unsigned i = 0; i < RETIRED_MAX; i++)
		if (r->at[i].session)
			session_close(r->at[i].session, 503, "adit is leaving", ADIT_ERR_SHUTDOWN);
}

void retired_goaway(struct retired_set *r)
{
	for (unsigned i = 0; i < RETIRED_MAX; i++)
		if (r->at[i].session)
			session_goaway(r->at[i].session);
}

void retired_free(struct retired_set *r)
{
	for (unsigned i = 0; i < RETIRED_MAX; i++)
		session_free(&r->at[i].session, ADIT_ERR_LINK_LOST);
}

unsigned retired_count(const struct retired_set *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RETIRED_MAX; i++)
		n += r->at[i].session != NULL;
	return n;
}

unsigned retired_open(const struct retired_set *r)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RETIRED_MAX; i++)
		n += r->at[i].session ? session_open(r->at[i].session) : 0;
	return n;
}
