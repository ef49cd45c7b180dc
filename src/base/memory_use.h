/* memory_use: how much memory this process has in use, and how much its system lets it have.
 * Layer base; io/headroom asks, the mains own it through that.
 * Invariant: asking costs at most MEMORY_USE_SHARE of the time, however the heap looks; what it then does not know is
 * taken for used.
 */
#ifndef ADIT_BASE_MEMORY_USE_H
#define ADIT_BASE_MEMORY_USE_H

#include <stdbool.h>
#include <stdint.h>

/** glibc's walk over what is free in the heap takes 0.5 us for each piece: 0.1 s for 200 000 of them. It gets one part
 *  in so many of the time. */
#define MEMORY_USE_SHARE 50

struct memory_use {
	int fd;              /* /proc/self/statm, opened while that can be; -1 without */
	uint64_t heap;       /* in use, when it was last walked over */
	uint64_t resident;   /* the process's own pages, then */
	uint64_t next_us;    /* not walked over again before */
};

void memory_use_open(struct memory_use *m);
void memory_use_close(struct memory_use *m);

/**
 * Bytes in use. As long as fewer than `enough` are resident it is these, which costs a system call; else what the heap
 * counts as in use, and above `most` of them resident what is free is given back to the system.
 */
uint64_t memory_use_now(struct memory_use *m, uint64_t enough, uint64_t most);

/** What a system sets bounds with, the least of them all. */
struct memory_limit {
	uint64_t bytes;
	const char *by; /* "cgroup", "RLIMIT_AS" (less what is mapped already) or "RAM"; a static string */
	bool whole;     /* nobody has set a bound: it is the machine's memory */
};

/** Files are looked for below `root`: "", or a test's folder. */
struct memory_limit memory_limit_of_system(const char *root);

#endif
