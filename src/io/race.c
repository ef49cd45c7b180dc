#include "io/race.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "io/tcp.h"

enum { QUEUE_V6, QUEUE_V4 };

static void start_next(struct race *r);

static void drop(struct racer *a)
{
	timer_stop(&a->timer);
	if (!a->stream)
		return;
	stream_free(&a->stream);
	a->race->running--;
}

static void lose(struct racer *a, int err)
{
	struct race *r = a->race;

	r->err = err;
	r->tried = a->stream->peer;
	drop(a);
	start_next(r);
}

static void win(struct racer *a)
{
	struct race *r = a->race;
	struct stream *s = a->stream;

	a->stream = NULL;
	r->running--;
	stream_pause(s, true);
	stream_own(s, NULL, NULL);
	race_stop(r);
	r->done(r->arg, s, 0, &s->peer);
}

static void on_connected(void *owner)
{
	struct racer *a = owner;
	int err = tcp_connect_error(a->stream);

	if (err)
		lose(a, err);
	else
		win(a);
}

static void ignore(void *owner)
{
	(void)owner;
}

static const struct stream_handler connect_handler = {ignore, on_connected};

static void on_timeout(void *arg)
{
	lose(arg, ADIT_ERR_TIMEOUT);
}

static int connect_to(struct racer *a, const struct sockaddr *sa, socklen_t len)
{
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return tcp_error(errno);
	if (sa->sa_family != AF_UNIX)
		tcp_tune(fd);
	if (connect(fd, sa, len) < 0 && errno != EINPROGRESS) {
		err = tcp_error(errno);
		close(fd);
		return err == ADIT_ERR_AGAIN ? ADIT_ERR_LIMIT : err; /* a Unix socket whose queue is full */
	}
	a->stream = tcp_new(a->race->loop, fd);
	if (!a->stream) {
		close(fd);
		return ADIT_ERR_NOMEM;
	}
	address_from(&a->stream->peer, sa);
	stream_own(a->stream, &connect_handler, a);
	tcp_await_connect(a->stream);
	timer_set(&a->timer, RACE_CONNECT_MS);
	return 0;
}

static socklen_t length_of(const struct sockaddr_storage *ss)
{
	switch (ss->ss_family) {
	case AF_INET:
		return sizeof(struct sockaddr_in);
	case AF_INET6:
		return sizeof(struct sockaddr_in6);
	default:
		return sizeof(struct sockaddr_un);
	}
}

/* Families take turns (section 4); NULL when no address is left. */
static const struct sockaddr_storage *choose(struct race *r)
{
	for (int i = 0; i < 2; i++) {
		int q = r->turn ^ i;

		if (r->next[q] < r->queue[q].count) {
			r->turn = !q;
			return &r->queue[q].address[r->next[q]++];
		}
	}
	return NULL;
}

static void start_next(struct race *r)
{
	const struct sockaddr_storage *ss;

	while ((ss = choose(r))) {
		struct racer *a = &r->racers[r->started++];

		r->err = connect_to(a, (const struct sockaddr *)ss, length_of(ss));
		if (!r->err) {
			r->running++;
			timer_set(&r->timer, RACE_ATTEMPT_MS);
			return;
		}
		address_from(&r->tried, (const struct sockaddr *)ss);
	}
	timer_clear(&r->timer);
	if (!r->running && r->whole)
		task_post(r->loop, &r->fail);
}

static void on_timer(void *arg)
{
	struct race *r = arg;

	r->begun = true;
	start_next(r);
}

static void on_fail(void *arg)
{
	struct race *r = arg;

	r->done(r->arg, NULL, r->err, &r->tried);
}

void race_init(struct race *r, struct loop *l, race_fn *done, void *arg)
{
	memset(r, 0, sizeof(*r));
	r->loop = l;
	r->done = done;
	r->arg = arg;
	r->fail = (struct task){.run = on_fail, .arg = r};
	timer_init(&r->timer, l, on_timer, r);
	for (int i = 0; i < RACE_ADDRESSES; i++) {
		r->racers[i].race = r;
		timer_init(&r->racers[i].timer, l, on_timeout, &r->racers[i]);
	}
}

void race_add(struct race *r, const struct sockaddr_storage *address, int count)
{
	for (int i = 0; i < count; i++) {
		struct resolver_answer *q = &r->queue[address[i].ss_family == AF_INET6 ? QUEUE_V6 : QUEUE_V4];

		if (q->count < RESOLVER_ADDRESSES)
			q->address[q->count++] = address[i];
	}
}

bool race_any(const struct race *r)
{
	return r->queue[QUEUE_V6].count + r->queue[QUEUE_V4].count > 0;
}

void race_run(struct race *r, bool whole)
{
	r->whole = r->whole || whole;
	if (r->begun && timer_is_set(&r->timer))
		return; /* what was added has its turn */
	r->begun = true;
	start_next(r);
}

void race_run_after(struct race *r, uint64_t ms)
{
	if (!r->begun)
		timer_set(&r->timer, ms);
}

void race_stop(struct race *r)
{
	timer_stop(&r->timer);
	task_cancel(r->loop, &r->fail);
	for (int i = 0; i < RACE_ADDRESSES; i++)
		drop(&r->racers[i]);
}
