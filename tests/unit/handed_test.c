#include "io/handed.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "io/socket_address.h"
#include "unit.h"

static bool equal(const char *a, const char *b)
{
	union socket_address x, y;
	socklen_t n;

	CU_ASSERT_EQUAL_FATAL(socket_address_parse(a, &x, &n), 0);
	CU_ASSERT_EQUAL_FATAL(socket_address_parse(b, &y, &n), 0);
	CU_ASSERT_EQUAL(socket_address_equal(&x, &y), socket_address_equal(&y, &x));
	return socket_address_equal(&x, &y);
}

static void equality(void)
{
	CU_ASSERT_TRUE(equal("127.0.0.1:80", "127.0.0.1:80"));
	CU_ASSERT_TRUE(equal(":80", "[::]:80"));
	CU_ASSERT_TRUE(equal("unix:/run/x", "unix:/run/x"));
	CU_ASSERT_FALSE(equal("127.0.0.1:80", "127.0.0.1:81"));
	CU_ASSERT_FALSE(equal("127.0.0.1:80", "127.0.0.2:80"));
	CU_ASSERT_FALSE(equal("[::1]:80", "[::]:80"));
	CU_ASSERT_FALSE(equal("0.0.0.0:80", ":80"));
	CU_ASSERT_FALSE(equal("unix:/run/x", "unix:/run/xy"));
	CU_ASSERT_FALSE(equal("127.0.0.1:0", "127.0.0.1:0"));
	CU_ASSERT_FALSE(equal("[::1]:0", "[::1]:0"));
}

/* A socket on a free port of loopback, and what it is bound to. */
static int bound(bool listens, char text[SOCKET_ADDRESS_TEXT_MAX])
{
	union socket_address a;
	socklen_t n;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	CU_ASSERT_FATAL(fd >= 0 && socket_address_parse("127.0.0.1:0", &a, &n) == 0 && bind(fd, &a.sa, n) == 0);
	CU_ASSERT_FATAL(!listens || listen(fd, 1) == 0);
	CU_ASSERT_EQUAL_FATAL(socket_address_of(fd, &a), 0);
	socket_address_text(&a, text);
	return fd;
}

static void taken_once(void)
{
	char first[SOCKET_ADDRESS_TEXT_MAX], second[SOCKET_ADDRESS_TEXT_MAX];
	struct handed h = {.count = 0};
	struct handed_socket s;
	int a = bound(true, first), b = bound(true, second);

	handed_add(&h, a, false, "a test", NULL);
	handed_add(&h, b, true, "a test", NULL);
	CU_ASSERT_EQUAL(handed_take(&h, "127.0.0.1:0").fd, -1);
	CU_ASSERT_EQUAL(handed_take(&h, "nonsense").fd, -1);
	s = handed_take(&h, second);
	CU_ASSERT_EQUAL(s.fd, b);
	CU_ASSERT_TRUE(s.owns_path);
	CU_ASSERT_EQUAL(fcntl(b, F_GETFD), FD_CLOEXEC);
	CU_ASSERT_TRUE(fcntl(b, F_GETFL) & O_NONBLOCK);
	CU_ASSERT_EQUAL(handed_take(&h, second).fd, -1);
	handed_close(&h, NULL, false);
	CU_ASSERT_EQUAL(fcntl(a, F_GETFD), -1);
	CU_ASSERT_EQUAL(fcntl(b, F_GETFD), FD_CLOEXEC);
	close(b);
}

static void refused(void)
{
	char text[SOCKET_ADDRESS_TEXT_MAX];
	struct handed h = {.count = 0};
	int bare = bound(false, text), ends[2], last = -1;

	CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
	handed_add(&h, bare, false, "a test", NULL);
	handed_add(&h, ends[0], false, "a test", NULL);
	handed_add(&h, -1, false, "a test", NULL);
	CU_ASSERT_EQUAL(h.count, 0);
	CU_ASSERT_EQUAL(fcntl(bare, F_GETFD), -1);
	CU_ASSERT_EQUAL(fcntl(ends[0], F_GETFD), -1);
	close(ends[1]);
	for (unsigned i = 0; i <= HANDED_MAX; i++)
		handed_add(&h, last = bound(true, text), false, "a test", NULL);
	CU_ASSERT_EQUAL(h.count, HANDED_MAX);
	CU_ASSERT_EQUAL(fcntl(last, F_GETFD), -1);
	handed_close(&h, NULL, false);
}

static void for_others(void)
{
	struct handed h = {.count = 0};

	setenv("LISTEN_PID", "1", 1);
	setenv("LISTEN_FDS", "1", 1);
	handed_from_manager(&h, NULL);
	CU_ASSERT_EQUAL(h.count, 0);
	CU_ASSERT_PTR_NULL(getenv("LISTEN_PID"));
	CU_ASSERT_PTR_NULL(getenv("LISTEN_FDS"));
	handed_from_manager(&h, NULL);
	CU_ASSERT_EQUAL(h.count, 0);
}

/* A file is removed only where that is ours to do, and only when it is asked for. */
static void files(void)
{
	char path[] = "/tmp/handed_test_XXXXXX", text[sizeof("unix:/x") + sizeof(path)];
	union socket_address a;
	socklen_t n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(path));
	snprintf(text, sizeof(text), "unix:%s/x", path);
	CU_ASSERT_EQUAL_FATAL(socket_address_parse(text, &a, &n), 0);
	for (int turn = 0; turn < 3; turn++) {
		struct handed h = {.count = 0};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		CU_ASSERT_FATAL(fd >= 0 && bind(fd, &a.sa, n) == 0 && listen(fd, 1) == 0);
		handed_add(&h, fd, turn != 0, "a test", NULL);
		handed_close(&h, NULL, turn != 1);
		CU_ASSERT_EQUAL(access(text + 5, F_OK) == 0, turn != 2);
		unlink(text + 5);
	}
	rmdir(path);
}

static const struct unit_test tests[] = {
	{"addresses are equal in family, address and port, or path; port 0 equals nothing", equality},
	{"a socket is taken once, by its address, and the others are closed", taken_once},
	{"what does not listen, and what is too many, is closed", refused},
	{"what is meant for another process is left alone", for_others},
	{"files go only with those who own them", files},
};

UNIT_MAIN("handed", tests)
