/* worked: what is kept over starts, and for how long; time is handed in. */
#include "session/worked.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "carrier/ladder.h"
#include "unit.h"

#define NOW 1000000000u

static void enter(char folder[32])
{
	strcpy(folder, "/tmp/adit-worked-XXXXXX");
	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(folder));
}

static void path_in(const char *folder, char path[64])
{
	snprintf(path, 64, "%.31s/" WORKED_FILE, folder);
}

static void leave(const char *folder)
{
	char path[64];

	path_in(folder, path);
	unlink(path);
	CU_ASSERT_EQUAL(rmdir(folder), 0); /* nothing else was left in it */
}

static void keep(const char *folder, const char *key, unsigned carrier, uint64_t since)
{
	const struct worked w = {carrier, since};

	worked_keep(folder, key, &w, since);
}

static unsigned recall(const char *folder, const char *key, uint64_t now)
{
	return worked_recall(folder, key, now).carrier;
}

static void kept(void)
{
	char folder[32];

	enter(folder);
	CU_ASSERT_EQUAL(recall(folder, "a:443 a -", NOW), 0);
	keep(folder, "a:443 a -", LADDER_WS_H1, NOW);
	keep(folder, "b:443 b -", LADDER_WS_H2, NOW + 1);
	CU_ASSERT_EQUAL(recall(folder, "a:443 a -", NOW + 1), LADDER_WS_H1);
	CU_ASSERT_EQUAL(recall(folder, "b:443 b -", NOW + 1), LADDER_WS_H2);
	CU_ASSERT_EQUAL(recall(folder, "a:443 a", NOW + 1), 0);
	keep(folder, "a:443 a -", LADDER_WS_H2, NOW + 2);
	CU_ASSERT_EQUAL(recall(folder, "a:443 a -", NOW + 2), LADDER_WS_H2);
	keep(folder, "a:443 a -", 0, NOW + 3);
	CU_ASSERT_EQUAL(recall(folder, "a:443 a -", NOW + 3), 0);
	CU_ASSERT_EQUAL(recall(folder, "b:443 b -", NOW + 3), LADDER_WS_H2);
	leave(folder);
}

static void forgotten(void)
{
	char folder[32];

	enter(folder);
	keep(folder, "a", LADDER_WS_H1, NOW);
	CU_ASSERT_EQUAL(recall(folder, "a", NOW + WORKED_SECONDS - 1), LADDER_WS_H1);
	CU_ASSERT_EQUAL(recall(folder, "a", NOW + WORKED_SECONDS), 0);
	CU_ASSERT_EQUAL(recall(folder, "a", NOW - 1), 0); /* the clock was set back: who knows how old it is */
	leave(folder);
}

static void broken(void)
{
	static const char text[] = "\nx\n1 2\n1000000000 ws-h1\n1000000000 ws-h1 \n1000000000 ws-h3 a\n-1 ws-h1 a\n"
	                           "1000000000 ws-h1 good one\n1000000000 ws-h1 cut";
	char folder[32], path[64];
	FILE *f;

	enter(folder);
	path_in(folder, path);
	f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
	CU_ASSERT_EQUAL(recall(folder, "a", NOW), 0);
	CU_ASSERT_EQUAL(recall(folder, "cut", NOW), 0);
	CU_ASSERT_EQUAL(recall(folder, "good one", NOW), LADDER_WS_H1);
	leave(folder);
}

static void absent(void)
{
	CU_ASSERT_EQUAL(recall("/nowhere/at/all", "a", NOW), 0);
	keep("/nowhere/at/all", "a", LADDER_WS_H1, NOW);
	CU_ASSERT_EQUAL(recall(NULL, "a", NOW), 0);
	keep(NULL, "a", LADDER_WS_H1, NOW);
}

static void many(void)
{
	char folder[32], key[16];

	enter(folder);
	for (unsigned i = 0; i < WORKED_LINES + 3; i++) {
		snprintf(key, sizeof(key), "%u", i);
		keep(folder, key, LADDER_WS_H1, NOW);
	}
	CU_ASSERT_EQUAL(recall(folder, "2", NOW), 0);
	CU_ASSERT_EQUAL(recall(folder, "3", NOW), LADDER_WS_H1);
	CU_ASSERT_EQUAL(recall(folder, key, NOW), LADDER_WS_H1);
	leave(folder);
}

static const struct unit_test tests[] = {
	{"each server's carrier is kept, replaced and forgotten by itself", kept},
	{"after a day it is not believed", forgotten},
	{"broken lines are passed over", broken},
	{"a folder that is not there is as good as an empty file", absent},
	{"the oldest servers make room", many},
};

UNIT_MAIN("worked", tests)
