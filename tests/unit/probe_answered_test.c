/* aditd's end of adit doctor's probes, asked by scripted halves: what is answered when, and that it is bounded. */
#include "carrier/probe_answered.h"

#include "carrier/half_stream.h"
#include "half_script.h"

struct side {
	struct loop *loop;
	struct probe_table table;
};

static const uint8_t token[SHA256_LEN] = {1}, other_token[SHA256_LEN] = {2};

static void begin(struct side *x)
{
	x->loop = loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->loop);
	probe_table_init(&x->table, x->loop);
}

static void end(struct side *x)
{
	probe_table_clear(&x->table);
	CU_ASSERT_EQUAL(x->table.count, 0);
	loop_settle(x->loop);
	loop_free(&x->loop);
}

static void stop(void *arg)
{
	loop_stop(arg);
}

static void wait_ms(struct side *x, uint64_t ms)
{
	struct timer t;

	timer_init(&t, x->loop, stop, x->loop);
	timer_set(&t, ms);
	loop_run(x->loop);
	timer_stop(&t);
	loop_settle(x->loop);
}

static void get(struct side *x, struct half_script *v)
{
	script_init(v);
	probe_answer_pieces(&x->table, &v->half, token);
	half_end(&v->half, NULL);
}

static void post(struct side *x, struct half_script *v)
{
	script_init(v);
	probe_answer_upload(&x->table, &v->half, token);
}

static void pieces_come_apart(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	get(&x, &v);
	CU_ASSERT(strncmp(v.text, "200 adit-version=1", 18) == 0);
	CU_ASSERT_PTR_NULL(strstr(v.text, "x-accel-buffering"));
	CU_ASSERT_EQUAL(v.got, 0);
	wait_ms(&x, PROBE_LEAD_MS + PROBE_GAP_MS / 2);
	CU_ASSERT_EQUAL(v.got, PROBE_PIECE);
	CU_ASSERT(!v.ended);
	wait_ms(&x, PROBE_GAP_MS);
	CU_ASSERT_EQUAL(v.got, 2 * PROBE_PIECE);
	CU_ASSERT(v.ended && !v.half.peer && !v.aborted);
	CU_ASSERT_EQUAL(x.table.count, 0);
	end(&x);
}

static void upload_is_timed(void)
{
	struct half_script slow, whole, none;
	struct side x;
	const char *gap;

	begin(&x);
	post(&x, &slow);
	script_send(&slow, 10);
	wait_ms(&x, 50);
	CU_ASSERT(!slow.began);
	script_send(&slow, 10);
	half_end(&slow.half, NULL);
	gap = strstr(slow.text, "adit-gap=");
	CU_ASSERT(strncmp(slow.text, "204 ", 4) == 0 && gap && atoi(gap + 9) >= 45);
	CU_ASSERT(slow.ended && !slow.half.peer);
	post(&x, &whole);
	script_send(&whole, 20);
	half_end(&whole.half, NULL);
	CU_ASSERT(strstr(whole.text, "adit-gap=0|") != NULL);
	post(&x, &none);
	half_end(&none.half, NULL);
	CU_ASSERT(strncmp(none.text, "400 ", 4) == 0);
	CU_ASSERT_EQUAL(x.table.count, 0);
	end(&x);
}

static void too_much(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	post(&x, &v);
	CU_ASSERT_EQUAL(script_send(&v, 1 << 20), PROBE_BODY_MAX + 1);
	CU_ASSERT(strncmp(v.text, "413 ", 4) == 0 && v.ended);
	CU_ASSERT_EQUAL(v.aborted, ADIT_ERR_ENOUGH);
	CU_ASSERT_EQUAL(x.table.count, 0);
	end(&x);
}

/* A visitor that leaves, at each point, takes his probe along. */
static void leaves(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	get(&x, &v);
	half_abort(&v.half, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(x.table.count, 0);
	get(&x, &v);
	wait_ms(&x, PROBE_LEAD_MS + 20);
	CU_ASSERT_EQUAL(v.got, PROBE_PIECE);
	half_abort(&v.half, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(x.table.count, 0);
	post(&x, &v);
	script_send(&v, 1);
	half_abort(&v.half, ADIT_ERR_ABANDONED);
	CU_ASSERT_EQUAL(x.table.count, 0);
	end(&x);
}

/* He leaves while he is told the head: nothing may be set up for him any more. */
static void abort_at_head(struct half_script *s, enum script_op op)
{
	if (op == SCRIPT_HEAD)
		half_abort(&s->half, ADIT_ERR_ABANDONED);
}

static void leaves_at_the_head(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	script_init(&v);
	v.on = abort_at_head;
	probe_answer_pieces(&x.table, &v.half, token);
	CU_ASSERT_EQUAL(x.table.count, 0);
	wait_ms(&x, PROBE_LEAD_MS + 20);
	CU_ASSERT_EQUAL(v.got, 0);
	end(&x);
}

static struct stream *upgraded(struct side *x, struct half_script *v)
{
	const struct address at = {"192.0.2.1", 4711};
	struct stream *s;

	script_init(v);
	s = half_stream_new(x->loop, &v->half, &at, NULL, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	script_grant(v, 100);
	return s;
}

static void held_echoes_once(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	probe_hold(&x.table, upgraded(&x, &v), token);
	loop_settle(x.loop);
	CU_ASSERT_EQUAL(v.got, 0);
	CU_ASSERT_EQUAL(x.table.count, 1);
	script_send(&v, 5);
	loop_settle(x.loop);
	CU_ASSERT_EQUAL(v.got, 1);
	CU_ASSERT_EQUAL(x.table.count, 1);
	script_send(&v, 1);
	loop_settle(x.loop);
	CU_ASSERT_EQUAL(v.got, 1);
	CU_ASSERT_EQUAL(x.table.count, 0);
	probe_hold(&x.table, upgraded(&x, &v), token);
	half_end(&v.half, NULL);
	loop_settle(x.loop);
	CU_ASSERT_EQUAL(x.table.count, 0);
	end(&x);
}

static void bounded(void)
{
	struct half_script v[PROBES_MAX + 1];
	struct side x;

	begin(&x);
	for (unsigned i = 0; i < PROBES_PER_TOKEN; i++) {
		CU_ASSERT_EQUAL(probe_table_full(&x.table, token), 0);
		probe_hold(&x.table, upgraded(&x, &v[i]), token);
	}
	CU_ASSERT_EQUAL(probe_table_full(&x.table, token), 429);
	CU_ASSERT_EQUAL(probe_table_full(&x.table, other_token), 0);
	probe_hold(&x.table, upgraded(&x, &v[PROBES_MAX]), token);
	CU_ASSERT(v[PROBES_MAX].aborted != 0);
	for (unsigned i = PROBES_PER_TOKEN; i < PROBES_MAX; i++) {
		const uint8_t another[SHA256_LEN] = {(uint8_t)(10 + i)};

		probe_hold(&x.table, upgraded(&x, &v[i]), another);
	}
	CU_ASSERT_EQUAL(x.table.count, PROBES_MAX);
	CU_ASSERT_EQUAL(probe_table_full(&x.table, other_token), 503);
	get(&x, &v[PROBES_MAX]); /* who serves has asked; this one is here for the drop */
	probe_table_drop_held(&x.table);
	CU_ASSERT_EQUAL(x.table.count, 1);
	end(&x);
}

static const struct unit_test tests[] = {
	{"the pieces of a response come apart", pieces_come_apart},
	{"the pieces of a request are timed", upload_is_timed},
	{"a longer request is refused", too_much},
	{"who leaves takes his probe along", leaves},
	{"who leaves at the head, too", leaves_at_the_head},
	{"a held connection echoes once", held_echoes_once},
	{"there are few at once", bounded},
};

UNIT_MAIN("probe_answered", tests)
