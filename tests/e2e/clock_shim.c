/* For test_liveness: shifts the wall clock by an hour while the file $CLOCK_JUMP exists. A machine that slept shows the
 * same: its monotonic clock has stood still meanwhile. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t id, struct timespec *t)
{
	const char *file = getenv("CLOCK_JUMP");
	long r = syscall(SYS_clock_gettime, id, t);

	if (r == 0 && id == CLOCK_REALTIME && file && access(file, F_OK) == 0)
		t->tv_sec += 3600;
	return (int)r;
}
