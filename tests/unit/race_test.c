/* race: which of several addresses wins, on loopback. Real time, for a loop has no other; every wait has a bound. */
#include "io/race.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "unit.h"

#define BOUND_MS 5000
/** Connections that a listener leaves waiting: the next one's SYN gets no answer. */
#define FILLERS 3

struct fixture {
	struct loop *l;
	struct race race;
	struct timer bound;
	struct stream *won;
	struct address at;
	int err, calls;
};

static void too_long(void *arg)
{
	struct fixture *f = arg;

	CU_FAIL("the race does not end");
	loop_stop(f->l);
}

static void enough(void *arg)
{
	struct fixture *f = arg;

	loop_stop(f->l);
}

static void on_done(void *arg, struct stream *s, int err, const struct address *tried)
{
	struct fixture *f = arg;

	f->won = s;
	f->err = err;
	f->at = *tried;
	f->calls++;
	loop_stop(f->l);
}

static void make(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->l = loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(f->l);
	race_init(&f->race, f->l, on_done, f);
	timer_init(&f->bound, f->l, too_long, f);
	timer_set(&f->bound, BOUND_MS);
}

static void end(struct fixture *f)
{
	race_stop(&f->race);
	stream_free(&f->won);
	timer_stop(&f->bound);
	loop_settle(f->l);
	loop_free(&f->l);
}

static struct sockaddr_storage v4(const char *ip, uint16_t port)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in *in = (struct sockaddr_in *)&ss;

	in->sin_family = AF_INET;
	in->sin_port = htons(port);
	inet_pton(AF_INET, ip, &in->sin_addr);
	return ss;
}

static struct sockaddr_storage v6(uint16_t port)
{
	struct sockaddr_storage ss = {0};
	struct sockaddr_in6 *in = (struct sockaddr_in6 *)&ss;

	in->sin6_family = AF_INET6;
	in->sin6_port = htons(port);
	in->sin6_addr = in6addr_loopback;
	return ss;
}

/* A socket bound to that address, listening when `backlog` is not negative; its port goes into `*ss`. -1: no such family. */
static int bound(struct sockaddr_storage *ss, int backlog)
{
	socklen_t len = ss->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	int fd = socket(ss->ss_family, SOCK_STREAM, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)ss, len) < 0) {
		close(fd);
		return -1;
	}
	CU_ASSERT_EQUAL(getsockname(fd, (struct sockaddr *)ss, &len), 0);
	if (backlog >= 0)
		CU_ASSERT_EQUAL(listen(fd, backlog), 0);
	return fd;
}

/* A v4 listener whose queue is full: connecting takes for ever. */
static int black_hole(struct sockaddr_storage *ss, int fillers[FILLERS])
{
	int fd = bound(ss, 0);

	for (int i = 0; i < FILLERS; i++) {
		fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(fillers[i], (struct sockaddr *)ss, sizeof(struct sockaddr_in));
	}
	return fd;
}

static void run(struct fixture *f, const struct sockaddr_storage *a, int n)
{
	race_add(&f->race, a, n);
	race_run(&f->race, true);
	loop_run(f->l);
	CU_ASSERT_EQUAL(f->calls, 1);
}

static void v6_first(void)
{
	struct sockaddr_storage six = v6(0), four = v4("127.0.0.1", 0), both[2];
	int a = bound(&six, 8), b = bound(&four, 8);
	struct fixture f;

	make(&f);
	both[0] = four;
	both[1] = six;
	run(&f, both, 2);
	CU_ASSERT_PTR_NOT_NULL(f.won);
	CU_ASSERT_STRING_EQUAL(f.at.ip, a >= 0 ? "::1" : "127.0.0.1");
	end(&f);
	close(a);
	close(b);
}

static void refused_goes_on(void)
{
	struct sockaddr_storage dead = v4("127.0.0.2", 0), four = v4("127.0.0.1", 0), both[2];
	int a = bound(&dead, -1), b = bound(&four, 8);
	uint64_t began = clock_ms();
	struct fixture f;

	make(&f);
	both[0] = dead;
	both[1] = four;
	run(&f, both, 2);
	CU_ASSERT_PTR_NOT_NULL(f.won);
	CU_ASSERT_STRING_EQUAL(f.at.ip, "127.0.0.1");
	CU_ASSERT(clock_ms() - began < RACE_ATTEMPT_MS);
	end(&f);
	close(a);
	close(b);
}

static void silent_is_passed(void)
{
	struct sockaddr_storage hole = v4("127.0.0.2", 0), four = v4("127.0.0.1", 0), both[2];
	int fillers[FILLERS], a = black_hole(&hole, fillers), b = bound(&four, 8);
	uint64_t began = clock_ms();
	struct fixture f;

	make(&f);
	both[0] = hole;
	both[1] = four;
	run(&f, both, 2);
	CU_ASSERT_PTR_NOT_NULL(f.won);
	CU_ASSERT_STRING_EQUAL(f.at.ip, "127.0.0.1");
	CU_ASSERT(clock_ms() - began >= RACE_ATTEMPT_MS - 20);
	CU_ASSERT(clock_ms() - began < RACE_CONNECT_MS - 1000);
	end(&f);
	close(a);
	close(b);
	for (int i = 0; i < FILLERS; i++)
		close(fillers[i]);
}

static void all_refused(void)
{
	struct sockaddr_storage dead = v4("127.0.0.2", 0), other = v4("127.0.0.3", 0), both[2];
	int a = bound(&dead, -1), b = bound(&other, -1);
	struct fixture f;

	make(&f);
	both[0] = dead;
	both[1] = other;
	run(&f, both, 2);
	CU_ASSERT_PTR_NULL(f.won);
	CU_ASSERT_EQUAL(f.err, ADIT_ERR_REFUSED);
	CU_ASSERT_STRING_EQUAL(f.at.ip, "127.0.0.3");
	end(&f);
	close(a);
	close(b);
}

/* The IPv4 addresses come first and wait a little; the IPv6 ones come later and join. */
static void late_addresses(void)
{
	struct sockaddr_storage dead = v4("127.0.0.2", 0), four = v4("127.0.0.1", 0);
	int a = bound(&dead, -1), b = bound(&four, 8);
	struct fixture f;

	make(&f);
	race_add(&f.race, &dead, 1);
	race_run_after(&f.race, RACE_RESOLUTION_MS);
	CU_ASSERT_EQUAL(f.race.started, 0);
	race_run(&f.race, false);
	race_add(&f.race, &four, 1);
	race_run(&f.race, true);
	loop_run(f.l);
	CU_ASSERT_PTR_NOT_NULL(f.won);
	CU_ASSERT_EQUAL(f.calls, 1);
	end(&f);
	close(a);
	close(b);
}

static void stopped(void)
{
	struct sockaddr_storage four = v4("127.0.0.1", 0);
	int a = bound(&four, 8);
	struct fixture f;

	make(&f);
	race_add(&f.race, &four, 1);
	race_run(&f.race, true);
	race_stop(&f.race);
	timer_set(&f.bound, 0);
	f.bound.fn = enough;
	loop_run(f.l);
	CU_ASSERT_EQUAL(f.calls, 0);
	end(&f);
	close(a);
}

static const struct unit_test tests[] = {
	{"IPv6 is tried before IPv4, however they came", v6_first},
	{"after a refusal the next address is tried at once", refused_goes_on},
	{"an address that does not answer holds the next one up for 250 ms only", silent_is_passed},
	{"when all are refused, the last one's error is told", all_refused},
	{"addresses that come later join a race that runs", late_addresses},
	{"a race that was stopped tells nothing", stopped},
};

UNIT_MAIN("race", tests)
