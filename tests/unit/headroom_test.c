/* headroom: when nothing new may begin, whom it tells and how often, and how seldom it looks. What is measured, the clock
 * and the log's other end are the test's. memory_use: what a system sets bounds with.
 */
#include "io/headroom.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/memory.h"
#include "loop_script.h"
#include "unit.h"

#define MOST (64u << 20)
#define MARK (MOST / 4 * 3)

struct rig {
	struct loop *loop;
	struct headroom room;
	uint64_t used;
	unsigned looks, told;
	enum headroom_level level;
};

static uint64_t measure(void *arg)
{
	struct rig *r = arg;

	r->looks++;
	return r->used;
}

static void changed(void *owner, enum headroom_level level)
{
	struct rig *r = owner;

	r->told++;
	r->level = level;
}

static void open_rig(struct rig *r)
{
	*r = (struct rig){.loop = loop_new()};
	headroom_init(&r->room, r->loop, &(struct headroom_options){
		.changed = changed, .owner = r, .measure = measure, .arg = r,
	});
	headroom_set(&r->room, MOST);
}

static void close_rig(struct rig *r)
{
	headroom_stop(&r->room);
	loop_free(&r->loop);
}

/* Time passes; what it brings about is done at the end of a turn. */
static void pass(struct rig *r, uint64_t ms)
{
	uint64_t until = loop_ms(r->loop) + ms;

	while (loop_jump(r->loop, until))
		while (loop_turn(r->loop))
			;
	while (loop_turn(r->loop))
		;
	r->loop->ms = until;
}

static void far_from_the_mark_it_hardly_looks(void)
{
	struct rig r;

	open_rig(&r);
	pass(&r, HEADROOM_LOOK_MS);
	for (unsigned i = 0; i < 100; i++)
		CU_ASSERT_TRUE(headroom_begin(&r.room));
	CU_ASSERT(r.looks == 1 && r.told == 0);
	close_rig(&r);
}

/* What begins may come to the mark before the next look is due. */
static void near_the_mark_it_looks_in_time(void)
{
	struct rig r;
	unsigned begun = 0;

	open_rig(&r);
	r.used = MARK - 10 * HEADROOM_EACH;
	while (begun < 1000 && headroom_begin(&r.room)) {
		r.used += HEADROOM_EACH;
		begun++;
	}
	CU_ASSERT(begun >= 9 && begun <= 11);
	CU_ASSERT_FALSE(headroom_begin(&r.room));
	pass(&r, 0);
	CU_ASSERT(r.told == 1 && r.level == HEADROOM_LITTLE);
	close_rig(&r);
}

static void it_is_left_some_way_below(void)
{
	struct rig r;

	open_rig(&r);
	r.used = MARK;
	CU_ASSERT_FALSE(headroom_begin(&r.room));
	r.used = MARK - 1;
	pass(&r, HEADROOM_LOOK_MS);
	CU_ASSERT_FALSE(headroom_begin(&r.room));
	r.used = MARK - MOST / 16 * HEADROOM_SLACK_SIXTEENTHS - 1;
	pass(&r, HEADROOM_LOOK_MS);
	CU_ASSERT_TRUE(headroom_begin(&r.room));
	CU_ASSERT_EQUAL(r.level, HEADROOM_ENOUGH);
	close_rig(&r);
}

/* Nobody asks meanwhile. */
static void it_tells_at_each_look_and_then_no_more(void)
{
	struct rig r;
	unsigned told;

	open_rig(&r);
	r.used = MOST;
	CU_ASSERT_FALSE(headroom_begin(&r.room));
	pass(&r, 3 * HEADROOM_LOOK_MS);
	CU_ASSERT(r.told >= 3 && r.level == HEADROOM_NONE);
	r.used = 0;
	pass(&r, HEADROOM_LOOK_MS);
	CU_ASSERT_EQUAL(r.level, HEADROOM_ENOUGH);
	told = r.told;
	pass(&r, 2 * HEADROOM_TOLD_MS);
	CU_ASSERT_EQUAL(r.told, told);
	CU_ASSERT_FALSE(r.room.told);
	told = r.looks;
	pass(&r, HEADROOM_TOLD_MS);
	CU_ASSERT_EQUAL(r.looks, told);
	close_rig(&r);
}

/* Who asks makes it look each time; what the owner does then has its own pace. */
static void asking_often_tells_no_oftener(void)
{
	struct rig r;

	open_rig(&r);
	r.used = MARK;
	for (unsigned i = 0; i < 100; i++) {
		CU_ASSERT_FALSE(headroom_begin(&r.room));
		pass(&r, 0);
	}
	CU_ASSERT_EQUAL(r.told, 1);
	r.used = MOST;
	CU_ASSERT_FALSE(headroom_begin(&r.room));
	pass(&r, 0);
	CU_ASSERT(r.told == 2 && r.level == HEADROOM_NONE);
	close_rig(&r);
}

static void none_is_left_some_way_below(void)
{
	struct rig r;

	open_rig(&r);
	r.used = MOST;
	CU_ASSERT_FALSE(headroom_begin(&r.room));
	r.used = MOST - 1;
	pass(&r, HEADROOM_LOOK_MS);
	CU_ASSERT_EQUAL(r.level, HEADROOM_NONE);
	r.used = MOST - MOST / 16 * HEADROOM_SLACK_SIXTEENTHS - 1;
	pass(&r, HEADROOM_LOOK_MS);
	CU_ASSERT_EQUAL(r.level, HEADROOM_LITTLE);
	close_rig(&r);
}

static void a_new_bound_counts_at_once(void)
{
	struct rig r;

	open_rig(&r);
	r.used = MARK + 1;
	CU_ASSERT_FALSE(headroom_begin(&r.room));
	headroom_set(&r.room, 2 * MOST);
	CU_ASSERT_TRUE(headroom_begin(&r.room));
	headroom_set(&r.room, 1);
	CU_ASSERT_EQUAL(r.room.most, HEADROOM_LEAST);
	headroom_set(&r.room, 0);
	CU_ASSERT_EQUAL(r.room.most, r.room.system.bytes / HEADROOM_SYSTEM_SHARE);
	CU_ASSERT_TRUE(headroom_begin(NULL));
	close_rig(&r);
}

/* ---- memory_use */

static void put(const char *root, const char *path, const char *text)
{
	char all[512];
	FILE *f;

	snprintf(all, sizeof(all), "%s/%s", root, path);
	for (char *at = strchr(all + strlen(root) + 1, '/'); at; at = strchr(at + 1, '/')) {
		*at = '\0';
		mkdir(all, 0700);
		*at = '/';
	}
	f = fopen(all, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fputs(text, f);
	fclose(f);
}

static void the_least_of_all_groups_counts(void)
{
	char root[] = "/tmp/headroom-XXXXXX", command[64];
	struct memory_limit l;

	CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
	CU_ASSERT(memory_limit_of_system(root).bytes > 0 && strcmp(memory_limit_of_system(root).by, "cgroup") != 0);
	put(root, "proc/self/cgroup", "0::/a/b\n");
	put(root, "sys/fs/cgroup/a/b/memory.max", "max\n");
	put(root, "sys/fs/cgroup/a/memory.max", "30000000\n");
	put(root, "sys/fs/cgroup/memory.max", "40000000\n");
	l = memory_limit_of_system(root);
	CU_ASSERT(l.bytes == 30000000 && strcmp(l.by, "cgroup") == 0);
	put(root, "proc/self/cgroup", "3:cpu:/x\n2:memory:/c\n");
	put(root, "sys/fs/cgroup/memory/c/memory.limit_in_bytes", "20000000\n");
	CU_ASSERT_EQUAL(memory_limit_of_system(root).bytes, 20000000);
	put(root, "proc/self/cgroup", "nonsense\n0::\n::::\n");
	memory_limit_of_system(root);
	snprintf(command, sizeof(command), "rm -r %s", root);
	CU_ASSERT_EQUAL(system(command), 0);
}

static void what_is_in_use_is_counted(void)
{
	struct memory_use m;
	uint64_t before, after;
	size_t n = 8u << 20;
	char *p;

	memory_use_open(&m);
	before = memory_use_now(&m, 0, UINT64_MAX);
	p = malloc(n);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	memset(p, 1, n);
	m.next_us = 0;
	after = memory_use_now(&m, 0, UINT64_MAX);
	CU_ASSERT(after >= before + n && after < before + 2 * n);
	free(p);
	m.next_us = 0;
	CU_ASSERT(memory_use_now(&m, 0, UINT64_MAX) < before + n / 2);
	memory_use_close(&m);
}

static void a_reserve_is_a_realloc(void)
{
	char *p = memory_from_reserve(NULL, 100);

	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	memset(p, 7, 100);
	p = memory_from_reserve(p, 1000);
	CU_ASSERT_PTR_NOT_NULL_FATAL(p);
	CU_ASSERT_EQUAL(p[99], 7);
	CU_ASSERT_PTR_NULL(memory_from_reserve(p, 0));
}

static const struct unit_test tests[] = {
	{"far from the mark it hardly looks", far_from_the_mark_it_hardly_looks},
	{"near the mark it looks in time", near_the_mark_it_looks_in_time},
	{"it is left some way below", it_is_left_some_way_below},
	{"it tells at each look, and then no more", it_tells_at_each_look_and_then_no_more},
	{"asking often tells no oftener", asking_often_tells_no_oftener},
	{"NONE is left some way below", none_is_left_some_way_below},
	{"a new bound counts at once", a_new_bound_counts_at_once},
	{"the least of all groups' limits counts", the_least_of_all_groups_counts},
	{"what is in use is counted", what_is_in_use_is_counted},
	{"a reserve is a realloc", a_reserve_is_a_realloc},
};

UNIT_MAIN("headroom", tests)
