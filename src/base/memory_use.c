#include "base/memory_use.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"

#include "base/clock.h"
#include "base/memory.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(SANITIZED)
#define HEAP_SANITIZED 1
/* of sanitizer/allocator_interface.h, which gcc does not bring */
size_t __sanitizer_get_current_allocated_bytes(void);
#elif defined(HAVE_MALLINFO2)
#include <malloc.h>
#define HEAP_GLIBC 1
#endif

#define STATM "/proc/self/statm"
#define LINE_MAX_LEN 1024
/** A control group's path; those of systemd and Kubernetes have some 200 characters. */
#define GROUP_MAX 768

void memory_use_open(struct memory_use *m)
{
	*m = (struct memory_use){.fd = open(STATM, O_RDONLY | O_CLOEXEC)};
}

void memory_use_close(struct memory_use *m)
{
	if (m->fd >= 0)
		close(m->fd);
	m->fd = -1;
}

/* Pages of the process: all that are mapped, and those that are in memory and shared with nobody. proc(5) */
static int read_statm(int fd, uint64_t *mapped, uint64_t *own)
{
	unsigned long long size, resident, shared;
	char text[128];
	ssize_t n;

	if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0 || (n = read(fd, text, sizeof(text) - 1)) <= 0)
		return -1;
	text[n] = '\0';
	if (sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3)
		return -1;
	*mapped = size * (uint64_t)sysconf(_SC_PAGESIZE);
	*own = (resident > shared ? resident - shared : 0) * (uint64_t)sysconf(_SC_PAGESIZE);
	return 0;
}

#ifdef HEAP_SANITIZED
uint64_t memory_use_now(struct memory_use *m, uint64_t enough, uint64_t most)
{
	(void)m;
	(void)enough;
	(void)most;
	return __sanitizer_get_current_allocated_bytes();
}
#else
/* Without a count of the heap what is resident has to do. */
static void walk(struct memory_use *m, uint64_t own, uint64_t most)
{
	uint64_t began = clock_us(), mapped;

	m->heap = m->resident = own;
#ifdef HEAP_GLIBC
	struct mallinfo2 heap;

	if (own > most)
		malloc_trim(0);
	heap = mallinfo2();
	m->heap = heap.uordblks + heap.hblkhd;
#else
	(void)most;
#endif
	read_statm(m->fd, &mapped, &m->resident);
	m->next_us = clock_us() + (clock_us() - began) * MEMORY_USE_SHARE;
}

uint64_t memory_use_now(struct memory_use *m, uint64_t enough, uint64_t most)
{
	uint64_t mapped, own = 0;

	if (read_statm(m->fd, &mapped, &own) == 0 && own < enough)
		return own;
	if (clock_us() >= m->next_us) {
		walk(m, own, most);
		return m->heap;
	}
	return m->heap + (own > m->resident ? own - m->resident : 0);
}
#endif

/* ---- the system's bounds */

static void take_least(struct memory_limit *least, uint64_t bytes, const char *by)
{
	if (bytes && bytes < least->bytes)
		*least = (struct memory_limit){.bytes = bytes, .by = by};
}

/* The first number of that file; 0 when there is none, such as "max". */
static uint64_t number_in(const char *path)
{
	unsigned long long n = 0;
	FILE *f = fopen(path, "re");

	if (!f)
		return 0;
	if (fscanf(f, "%llu", &n) != 1)
		n = 0;
	fclose(f);
	return n;
}

/* A group's limit counts for all below it. */
static void take_group(struct memory_limit *least, const char *root, const char *where, const char *file, char *group)
{
	char path[GROUP_MAX + 128], *end;

	do {
		end = strrchr(group, '/');
		snprintf(path, sizeof(path), "%s/sys/fs/cgroup%s%s/%s", root, where, strcmp(group, "/") == 0 ? "" : group, file);
		take_least(least, number_in(path), "cgroup");
		if (end)
			*end = '\0';
	} while (end);
}

/* Lines of "0::/path" (cgroup v2) or "7:memory:/path" (v1), cgroups(7). */
static void take_groups(struct memory_limit *least, const char *root)
{
	char line[LINE_MAX_LEN];
	FILE *f;

	snprintf(line, sizeof(line), "%s/proc/self/cgroup", root);
	f = fopen(line, "re");
	while (f && fgets(line, sizeof(line), f)) {
		char *kinds = strchr(line, ':'), *group = kinds ? strchr(kinds + 1, ':') : NULL;

		if (!group || strlen(group) >= GROUP_MAX)
			continue;
		*group++ = '\0';
		group[strcspn(group, "\n")] = '\0';
		if (strcmp(line, "0:") == 0)
			take_group(least, root, "", "memory.max", group);
		else if (strstr(kinds, "memory"))
			take_group(least, root, "/memory", "memory.limit_in_bytes", group);
	}
	if (f)
		fclose(f);
}

struct memory_limit memory_limit_of_system(const char *root)
{
	struct memory_limit least = {.bytes = UINT64_MAX, .by = "nothing"};
	struct memory_use use;
	uint64_t mapped = 0, own, addresses = memory_addresses();

	take_least(&least, (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), "RAM");
	least.whole = true;
	take_groups(&least, root);
	memory_use_open(&use);
	read_statm(use.fd, &mapped, &own);
	memory_use_close(&use);
	if (addresses != UINT64_MAX)
		take_least(&least, addresses > mapped ? addresses - mapped : 1, "RLIMIT_AS");
	return least;
}
