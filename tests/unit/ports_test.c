/* ports: who has which port, when it is open, and what becomes of sockets from the aditd before. The listeners are the
 * test's own, and so are the answers of the system. */
#include "edge/ports.h"

#include <errno.h>
#include <string.h>

#include "io/listener.h"
#include "io/socket_address.h"
#include "loop_script.h"
#include "unit.h"

#define LISTENERS 16

struct listener {
	char address[SOCKET_ADDRESS_TEXT_MAX];
	listener_accept_fn *fn;
	void *arg;
	int handed; /* fd, -1 = opened here */
	bool open, paused, stopped;
};

static struct listener listeners[LISTENERS];
static int refusal;       /* errno of the next opening */
static const char *busy;  /* an address at which somebody else listens */

int listener_open(struct listener **out, struct loop *l, const struct listener_options *o, listener_accept_fn *fn,
                  void *arg)
{
	struct listener *one = listeners;

	(void)l;
	errno = busy && strcmp(busy, o->address) == 0 ? EADDRINUSE : refusal;
	if (errno)
		return ADIT_ERR_SYS;
	while (one->open)
		one++;
	CU_ASSERT_FATAL(one < listeners + LISTENERS);
	*one = (struct listener){.fn = fn, .arg = arg, .handed = o->handed ? o->handed->fd : -1, .open = true};
	snprintf(one->address, sizeof(one->address), "%s", o->address);
	*out = one;
	return 0;
}

void listener_close(struct listener **l)
{
	(*l)->open = false;
	*l = NULL;
}

void listener_stop(struct listener *l, bool leave_path)
{
	(void)leave_path;
	l->stopped = true;
}

void listener_pause(struct listener *l, bool paused)
{
	l->paused = paused;
}

struct handed_socket listener_give(const struct listener *l)
{
	return (struct handed_socket){100 + (int)(l - listeners), false, "us"};
}

const char *listener_address(const struct listener *l)
{
	return l->address;
}

static struct listener *at(const char *address)
{
	for (struct listener *one = listeners; one < listeners + LISTENERS; one++)
		if (one->open && strcmp(one->address, address) == 0)
			return one;
	return NULL;
}

static unsigned open_count(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < LISTENERS; i++)
		n += listeners[i].open;
	return n;
}

/* ---- a set of ports */

struct setup {
	struct loop *loop;
	struct conf_ports ranges[2];
	struct conf_token token;
	struct conf_server conf;
	struct ports *ports;
	char last[CONF_PORT_NAME_MAX]; /* where a connection came last */
};

static void accepted(void *owner, struct stream *s, const char *name)
{
	struct setup *x = owner;

	(void)s;
	snprintf(x->last, sizeof(x->last), "%s", name);
}

static void make(struct setup *x)
{
	memset(x, 0, sizeof(*x));
	memset(listeners, 0, sizeof(listeners));
	refusal = 0;
	busy = NULL;
	x->loop = loop_new();
	x->ranges[0] = (struct conf_ports){5000, 5002};
	x->ranges[1] = (struct conf_ports){6000, 6000};
	x->token = (struct conf_token){.ports = x->ranges, .port_count = 2};
	x->conf = (struct conf_server){.tokens = &x->token, .token_count = 1, .tcp_address = (char *)(uintptr_t)"::1"};
	x->ports = ports_new(x->loop, &(struct ports_options){.conf = &x->conf, .accepted = accepted, .owner = x});
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->ports);
}

static void end(struct setup *x)
{
	ports_free(&x->ports);
	CU_ASSERT_EQUAL(open_count(), 0);
	CU_ASSERT_EQUAL(x->loop->timer_count, 0);
	loop_free(&x->loop);
}

static int a, b; /* owners */

static void open_while_owned(void)
{
	struct setup x;

	make(&x);
	CU_ASSERT_EQUAL(ports_open(x.ports, 5000, &a), 0);
	CU_ASSERT_EQUAL(ports_open(x.ports, 5000, &a), 0);
	CU_ASSERT_EQUAL(ports_open(x.ports, 5000, &b), 0);
	CU_ASSERT_EQUAL(ports_open(x.ports, 5001, &b), 0);
	CU_ASSERT_EQUAL(open_count(), 2);
	CU_ASSERT_FALSE(at("[::1]:5000")->paused);
	at("[::1]:5000")->fn(at("[::1]:5000")->arg, NULL);
	CU_ASSERT_STRING_EQUAL(x.last, "tcp:5000");
	ports_leave(x.ports, &b);
	CU_ASSERT_PTR_NOT_NULL(at("[::1]:5000"));
	CU_ASSERT_PTR_NULL(at("[::1]:5001"));
	ports_leave(x.ports, &b);
	ports_leave(x.ports, &a);
	CU_ASSERT_EQUAL(open_count(), 0);
	end(&x);
}

static void told_apart(void)
{
	static const struct {
		int errnum, err;
	} rows[] = {
		{EADDRINUSE, ADIT_ERR_CONFLICT}, {EACCES, ADIT_ERR_FORBIDDEN}, {EMFILE, ADIT_ERR_LIMIT},
		{EADDRNOTAVAIL, ADIT_ERR_SYS},
	};
	struct setup x;

	make(&x);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		refusal = rows[i].errnum;
		CU_ASSERT_EQUAL(ports_open(x.ports, 5000, &a), rows[i].err);
	}
	refusal = 0;
	x.conf.tcp_address = NULL;
	CU_ASSERT_EQUAL(ports_open(x.ports, 5000, &a), 0);
	CU_ASSERT_PTR_NOT_NULL(at(":5000"));
	end(&x);
}

static uint16_t any(struct setup *x, uint32_t seed, const void *owner)
{
	uint16_t number = 0;

	return ports_open_any(x->ports, &x->token, seed, owner, &number) == 0 ? number : 0;
}

static void first_free_from_the_seed(void)
{
	struct setup x;
	int owners[5];

	make(&x);
	busy = "[::1]:5002";
	CU_ASSERT_EQUAL(any(&x, 1, &owners[0]), 5001);
	CU_ASSERT_EQUAL(any(&x, 2, &owners[1]), 6000); /* 5002 is somebody else's */
	CU_ASSERT_EQUAL(any(&x, 5, &owners[2]), 5000); /* 5 is 1, round the end */
	CU_ASSERT_EQUAL(any(&x, 3, &owners[3]), 0);
	busy = NULL;
	CU_ASSERT_EQUAL(any(&x, 3, &owners[3]), 5002);
	CU_ASSERT_EQUAL(any(&x, 4, &owners[4]), 0);
	end(&x);
}

/* An adit that is started again while its former link is kept gets its port; two tunnels of one link get two. */
static void same_seed_shares(void)
{
	struct setup x;
	uint16_t number;

	make(&x);
	number = any(&x, 7, &a);
	CU_ASSERT_EQUAL(any(&x, 7, &b), number);
	CU_ASSERT_EQUAL(open_count(), 1);
	ports_leave(x.ports, &a);
	CU_ASSERT_EQUAL(open_count(), 1);
	CU_ASSERT_NOT_EQUAL(any(&x, 7, &b), number);
	x.token.port_count = 1;
	x.ranges[0] = (struct conf_ports){7000, 7000};
	CU_ASSERT_EQUAL(any(&x, 7, &a), 7000); /* what the token has lost is not shared */
	end(&x);
}

static void paused_and_stopped(void)
{
	struct setup x;

	make(&x);
	CU_ASSERT_EQUAL(ports_open(x.ports, 5000, &a), 0);
	ports_pause(x.ports, true);
	CU_ASSERT_TRUE(at("[::1]:5000")->paused);
	CU_ASSERT_EQUAL(ports_open(x.ports, 5001, &a), 0);
	CU_ASSERT_TRUE(at("[::1]:5001")->paused);
	ports_pause(x.ports, false);
	CU_ASSERT_FALSE(at("[::1]:5000")->paused || at("[::1]:5001")->paused);
	ports_stop(x.ports);
	CU_ASSERT_TRUE(at("[::1]:5000")->stopped);
	CU_ASSERT_EQUAL(ports_open(x.ports, 5002, &a), ADIT_ERR_SHUTDOWN);
	end(&x);
}

/* Real sockets: their addresses are looked at. */
static int bound(char port[8])
{
	union socket_address s;
	socklen_t len;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CU_ASSERT_FATAL(fd >= 0 && socket_address_parse("127.0.0.1:0", &s, &len) == 0 && bind(fd, &s.sa, len) == 0);
	CU_ASSERT_FATAL(listen(fd, 1) == 0 && socket_address_of(fd, &s) == 0);
	snprintf(port, 8, "%u", socket_address_port(&s));
	return fd;
}

static void kept_for_a_while(void)
{
	struct handed handed = {.count = 0};
	char first[8], second[8], address[32];
	struct setup x;
	int fd;

	make(&x);
	x.conf.tcp_address = (char *)(uintptr_t)"127.0.0.1";
	fd = bound(first);
	handed_add(&handed, fd, false, "a test", NULL);
	handed_add(&handed, bound(second), false, "a test", NULL);
	x.ranges[0].first = x.ranges[0].last = (uint16_t)atoi(first);
	ports_keep(x.ports, &handed);
	CU_ASSERT_EQUAL(open_count(), 1);
	snprintf(address, sizeof(address), "127.0.0.1:%s", first);
	CU_ASSERT_EQUAL(at(address)->handed, fd);
	CU_ASSERT_TRUE(at(address)->paused);
	ports_pause(x.ports, false);
	CU_ASSERT_TRUE(at(address)->paused); /* who connects waits for a link */
	CU_ASSERT_EQUAL(ports_open(x.ports, x.ranges[0].first, &a), 0);
	CU_ASSERT_EQUAL(open_count(), 1);
	CU_ASSERT_FALSE(at(address)->paused);
	CU_ASSERT_FALSE(loop_jump(x.loop, UINT64_MAX)); /* it stays */
	handed_close(&handed, NULL, false); /* the other one is no token's port */
	end(&x);
}

static void kept_for_nobody(void)
{
	struct handed handed = {.count = 0};
	struct setup x;
	char port[8];

	make(&x);
	x.conf.tcp_address = (char *)(uintptr_t)"127.0.0.1";
	handed_add(&handed, bound(port), false, "a test", NULL);
	x.ranges[0].first = x.ranges[0].last = (uint16_t)atoi(port);
	ports_keep(x.ports, &handed);
	CU_ASSERT_FALSE(loop_jump(x.loop, loop_ms(x.loop) + PORTS_KEEP_MS - 1));
	CU_ASSERT_EQUAL(open_count(), 1);
	CU_ASSERT_TRUE(loop_jump(x.loop, loop_ms(x.loop) + PORTS_KEEP_MS));
	CU_ASSERT_EQUAL(open_count(), 0);
	end(&x);
}

static void given_as_far_as_there_is_room(void)
{
	static struct handed out;
	struct setup x;

	make(&x);
	CU_ASSERT_EQUAL(ports_open(x.ports, 5000, &a), 0);
	CU_ASSERT_EQUAL(ports_open(x.ports, 5001, &a), 0);
	out.count = HANDED_MAX - 1;
	ports_give(x.ports, &out);
	CU_ASSERT_EQUAL(out.count, HANDED_MAX);
	out.count = 0;
	ports_give(x.ports, &out);
	CU_ASSERT_EQUAL(out.count, 2);
	end(&x);
}

static const struct unit_test tests[] = {
	{"a port is open as long as anybody has it", open_while_owned},
	{"why a port cannot be opened is told apart", told_apart},
	{"any port is the first free one of the token's from the seed on", first_free_from_the_seed},
	{"owners with the same seed share a port", same_seed_shares},
	{"all ports pause and stop together", paused_and_stopped},
	{"a socket of the aditd before is kept for the link that has its port", kept_for_a_while},
	{"a socket that no link wants is closed in the end", kept_for_nobody},
	{"a successor gets the sockets, as far as there is room", given_as_far_as_there_is_room},
};

UNIT_MAIN("ports", tests)
