/* aditd's end of a poll carrier, asked by scripted halves as an ingress might: twice, late, in the wrong order. */
#include "carrier/poll_answered.h"

#include "base/buf.h"
#include "half_script.h"
#include "read_script.h"

#define LINK "00112233445566778899aabbccddeeff"

struct side {
	struct loop *loop;
	struct poll_table table;
	struct stream *s;
	struct poll_answered *c;
	char id[POLL_ID_HEX + 1];
	struct buf got;
	bool idle;
	int end;
};

static const uint8_t token[SHA256_LEN] = {1}, other_token[SHA256_LEN] = {2};

static void on_readable(void *owner)
{
	struct side *x = owner;

	if (!x->idle && !x->end)
		x->end = read_everything(x->s, &x->got, 4096);
}

static void on_writable(void *owner)
{
	(void)owner;
}

static const struct stream_handler handler = {on_readable, on_writable};

static void begin(struct side *x)
{
	const struct address at = {"192.0.2.1", 4711};

	memset(x, 0, sizeof(*x));
	x->loop = loop_new();
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->loop);
	poll_table_init(&x->table, x->loop);
	x->s = poll_table_open(&x->table, LINK, token, &at, x->id);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->s);
	x->c = poll_table_find(&x->table, str_of(x->id), LINK, token);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x->c);
	stream_own(x->s, &handler, x);
	stream_pause(x->s, false);
}

static void end(struct side *x)
{
	stream_free(&x->s);
	loop_settle(x->loop);
	buf_clear(&x->got);
	loop_free(&x->loop);
}

static void stop(void *arg)
{
	loop_stop(arg);
}

/* Lets the timers that are due run. */
static void turn(struct side *x)
{
	struct timer t;

	timer_init(&t, x->loop, stop, x->loop);
	for (int i = 0; i < 2; i++) {
		timer_set(&t, 1);
		loop_run(x->loop);
	}
	timer_stop(&t);
	loop_settle(x->loop);
}

static void ask(struct side *x, struct half_script *v, bool relay, const char *fields, int64_t length)
{
	struct head h;

	script_init(v);
	v->keep_up = true;
	head_init(&h);
	h.length = length;
	script_fields(&h.fields, fields);
	if (relay)
		poll_answered_relay(x->c, &v->half, &h);
	else
		poll_answered_poll(x->c, &v->half, &h);
	head_free(&h);
	script_grant(v, 1 << 20);
	if (!relay)
		half_end(&v->half, NULL);
}

static void poll_for(struct side *x, struct half_script *v, const char *fields)
{
	ask(x, v, false, fields, 0);
	loop_settle(x->loop);
}

static void relay(struct side *x, struct half_script *v, const char *fields, const char *text)
{
	ask(x, v, true, fields, (int64_t)strlen(text));
	if (*text)
		half_body(&v->half, (const uint8_t *)text, strlen(text));
	half_end(&v->half, NULL);
	loop_settle(x->loop);
}

static void put(struct side *x, const char *text)
{
	struct iovec v = {(void *)(uintptr_t)text, strlen(text)};

	CU_ASSERT_EQUAL(stream_write(x->s, &v, 1), (ssize_t)strlen(text));
	loop_settle(x->loop);
}

static bool reads(struct side *x, const char *text)
{
	char copy[256];
	size_t n = buf_take(&x->got, copy, sizeof(copy));

	return n == strlen(text) && memcmp(copy, text, n) == 0;
}

static bool says(const struct half_script *v, const char *what)
{
	return strncmp(v->text, what, strlen(what)) == 0;
}

/* A 200 with that number and length, and its end. */
static bool gives(const struct half_script *v, unsigned seq, size_t n)
{
	char number[32];

	snprintf(number, sizeof(number), " adit-seq=%u|", seq);
	return says(v, "200 ") && strstr(v->text, number) && v->got == n && v->ended && !v->half.peer;
}

/* ---- polls */

static void held_until_written(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	poll_for(&x, &v, "adit-seq=0 adit-hold=20000");
	CU_ASSERT(!v.began);
	put(&x, "hello");
	CU_ASSERT(gives(&v, 0, 5));
	CU_ASSERT(strstr(v.text, "adit-version=1") && strstr(v.text, "cache-control=no-store") &&
	          strstr(v.text, "content-type=application/octet-stream") && strstr(v.text, "x-accel-buffering=no"));
	end(&x);
}

static void repeats_give_the_same(void)
{
	struct half_script v, again, late, next;
	struct side x;

	begin(&x);
	put(&x, "hello");
	poll_for(&x, &v, "adit-seq=0 adit-hold=20000");
	CU_ASSERT(gives(&v, 0, 5));
	put(&x, "more, which the first message does not get");
	poll_for(&x, &again, "adit-seq=0 adit-hold=20000");
	CU_ASSERT(gives(&again, 0, 5));
	poll_for(&x, &next, "adit-seq=1 adit-ack=1 adit-hold=20000");
	CU_ASSERT(gives(&next, 1, 42));
	poll_for(&x, &late, "adit-seq=0 adit-hold=20000");
	CU_ASSERT(says(&late, "204 ") && late.ended);
	end(&x);
}

static void two_held(void)
{
	struct half_script first, second;
	struct side x;

	begin(&x);
	poll_for(&x, &second, "adit-seq=1 adit-hold=20000");
	put(&x, "a");
	CU_ASSERT(!second.began); /* nobody asks for message 0 yet */
	poll_for(&x, &first, "adit-seq=0 adit-hold=20000");
	CU_ASSERT(gives(&first, 0, 1));
	CU_ASSERT(!second.began);
	put(&x, "bc");
	CU_ASSERT(gives(&second, 1, 2));
	end(&x);
}

static void newer_replaces_older(void)
{
	struct half_script older, newer;
	struct side x;

	begin(&x);
	poll_for(&x, &older, "adit-seq=0 adit-hold=20000");
	poll_for(&x, &newer, "adit-seq=0 adit-hold=20000");
	CU_ASSERT(says(&older, "204 ") && older.ended && !newer.began);
	put(&x, "a");
	CU_ASSERT(gives(&newer, 0, 1));
	end(&x);
}

static void hold_ends(void)
{
	struct half_script v, next;
	struct side x;

	begin(&x);
	poll_for(&x, &v, "adit-seq=0 adit-hold=0");
	turn(&x);
	CU_ASSERT(says(&v, "204 ") && v.ended);
	put(&x, "a");
	poll_for(&x, &next, "adit-seq=0 adit-hold=0");
	CU_ASSERT(gives(&next, 0, 1));
	end(&x);
}

static void slow_reader(void)
{
	static char big[POLL_MESSAGE_MAX + 1];
	struct half_script v;
	struct side x;
	struct head h;

	begin(&x);
	for (size_t i = 0; i < POLL_MESSAGE_MAX; i++)
		big[i] = (char)script_byte(i);
	CU_ASSERT_EQUAL(stream_write(x.s, &(struct iovec){big, POLL_MESSAGE_MAX}, 1), POLL_MESSAGE_MAX);
	script_init(&v);
	head_init(&h);
	script_fields(&h.fields, "adit-seq=0");
	poll_answered_poll(x.c, &v.half, &h);
	head_free(&h);
	half_end(&v.half, NULL);
	loop_settle(x.loop);
	CU_ASSERT(v.began && v.got == 0);
	for (size_t i = 0; i < POLL_MESSAGE_MAX; i += 65536) {
		CU_ASSERT(!v.ended && v.got == i);
		script_grant(&v, 65536);
	}
	CU_ASSERT(v.ended && v.got == POLL_MESSAGE_MAX && !v.wrong);
	end(&x);
}

static void wrong_polls(void)
{
	static const char *const wrong[] = {
		"adit-hold=0", "adit-seq=x", "adit-seq=8", "adit-seq=0 adit-ack=1", "adit-seq=18446744073709551615",
	};
	struct half_script v;
	struct side x;

	begin(&x);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		poll_for(&x, &v, wrong[i]);
		CU_ASSERT(says(&v, "400 ") && v.ended);
	}
	poll_for(&x, &v, "adit-seq=7 adit-hold=20000");
	CU_ASSERT(!v.began);
	end(&x);
	CU_ASSERT(says(&v, "410 "));
}

static void body_with_a_poll(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	for (unsigned i = 0; i < 2; i++) { /* with a number, and without */
		struct head h;

		script_init(&v);
		head_init(&h);
		script_fields(&h.fields, i ? "" : "adit-seq=0 adit-hold=20000");
		poll_answered_poll(x.c, &v.half, &h);
		head_free(&h);
		CU_ASSERT_EQUAL(v.credit, 1);
		half_body(&v.half, (const uint8_t *)"b", 1);
		CU_ASSERT(says(&v, "400 ") && v.ended);
		CU_ASSERT_EQUAL(v.aborted, ADIT_ERR_ENOUGH);
		CU_ASSERT_PTR_NULL(v.half.peer);
		loop_settle(x.loop);
	}
	end(&x);
}

static void without_acks(void)
{
	struct half_script v;
	char fields[64];
	struct side x;

	begin(&x);
	for (unsigned i = 0; i < POLL_AHEAD; i++) {
		put(&x, "hello");
		snprintf(fields, sizeof(fields), "adit-seq=%u adit-hold=20000", i);
		poll_for(&x, &v, fields);
		CU_ASSERT(gives(&v, i, 5));
	}
	put(&x, "hello");
	poll_for(&x, &v, "adit-seq=8 adit-hold=20000");
	CU_ASSERT(says(&v, "400 "));
	poll_for(&x, &v, "adit-seq=8 adit-ack=1 adit-hold=20000");
	CU_ASSERT(gives(&v, 8, 5));
	poll_for(&x, &v, "adit-seq=9 adit-ack=0 adit-hold=20000"); /* late: what was acknowledged is so */
	CU_ASSERT(says(&v, "400 "));
	end(&x);
}

static void unread_answers(void)
{
	struct half_script v[POLL_REQUESTS_MAX + 1], more;
	struct side x;
	struct head h;

	begin(&x);
	put(&x, "hello");
	for (unsigned i = 0; i <= POLL_REQUESTS_MAX; i++) {
		script_init(&v[i]);
		head_init(&h);
		script_fields(&h.fields, "adit-seq=0");
		poll_answered_poll(x.c, &v[i].half, &h);
		head_free(&h);
		if (v[i].half.peer)
			half_end(&v[i].half, NULL);
		loop_settle(x.loop);
		CU_ASSERT(says(&v[i], i < POLL_REQUESTS_MAX ? "200 " : "429 "));
	}
	script_grant(&v[0], 5);
	CU_ASSERT(v[0].ended);
	loop_settle(x.loop);
	poll_for(&x, &more, "adit-seq=0");
	CU_ASSERT(gives(&more, 0, 5));
	stream_free(&x.s);
	loop_settle(x.loop);
	for (unsigned i = 1; i < POLL_REQUESTS_MAX; i++)
		script_grant(&v[i], 5);
	CU_ASSERT(v[POLL_REQUESTS_MAX - 1].ended);
	end(&x);
}

/* ---- relays */

static void relays_in_any_order(void)
{
	struct half_script a, b, c, again;
	struct side x;

	begin(&x);
	relay(&x, &c, "adit-seq=2", "c");
	relay(&x, &b, "adit-seq=1", "b");
	CU_ASSERT(reads(&x, ""));
	relay(&x, &a, "adit-seq=0", "a");
	CU_ASSERT(reads(&x, "abc"));
	relay(&x, &again, "adit-seq=1", "b");
	CU_ASSERT(reads(&x, ""));
	CU_ASSERT(says(&a, "204 ") && says(&b, "204 ") && says(&c, "204 ") && says(&again, "204 "));
	CU_ASSERT(a.ended && b.ended && c.ended && again.ended && !a.half.peer && !again.half.peer);
	end(&x);
}

static void cut_relay_is_nothing(void)
{
	struct half_script v, again;
	struct side x;

	begin(&x);
	ask(&x, &v, true, "adit-seq=0", 10);
	half_body(&v.half, (const uint8_t *)"12345", 5);
	half_abort(&v.half, ADIT_ERR_ABANDONED);
	loop_settle(x.loop);
	CU_ASSERT(reads(&x, ""));
	relay(&x, &again, "adit-seq=0", "1234567890");
	CU_ASSERT(reads(&x, "1234567890"));
	end(&x);
}

static void too_big(void)
{
	static const uint8_t block[65536];
	struct half_script v;
	struct side x;

	begin(&x);
	ask(&x, &v, true, "adit-seq=0", POLL_MESSAGE_MAX + 1);
	CU_ASSERT(says(&v, "413 "));
	loop_settle(x.loop);
	ask(&x, &v, true, "adit-seq=0", HEAD_LENGTH_UNKNOWN);
	for (size_t i = 0; i < POLL_MESSAGE_MAX; i += sizeof(block))
		half_body(&v.half, block, sizeof(block));
	CU_ASSERT(!v.began);
	half_body(&v.half, block, 1);
	CU_ASSERT(says(&v, "413 "));
	loop_settle(x.loop);
	CU_ASSERT_EQUAL(x.got.len, 0);
	end(&x);
}

static void slow_owner(void)
{
	static char big[POLL_MESSAGE_MAX + 1];
	struct half_script v[5];
	char fields[32];
	struct side x;

	begin(&x);
	x.idle = true;
	memset(big, 'x', POLL_MESSAGE_MAX);
	for (unsigned i = 0; i < 5; i++) {
		snprintf(fields, sizeof(fields), "adit-seq=%u", i);
		relay(&x, &v[i], fields, big);
		CU_ASSERT_EQUAL(v[i].began, i < 3); /* with the fourth, 1 MiB waits */
	}
	x.idle = false;
	loop_settle(x.loop);
	CU_ASSERT(says(&v[3], "204 ") && says(&v[4], "204 "));
	end(&x);
}

static void far_relays(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	relay(&x, &v, "adit-seq=8", "far");
	CU_ASSERT(says(&v, "400 "));
	relay(&x, &v, "adit-seq=18446744073709551614", "far");
	CU_ASSERT(says(&v, "400 "));
	relay(&x, &v, "adit-seq=7", "near");
	CU_ASSERT(says(&v, "204 "));
	end(&x);
}

static void unread_relays(void)
{
	static char big[POLL_MESSAGE_MAX + 1];
	const unsigned fit = POLL_UNREAD_MAX / POLL_MESSAGE_MAX;
	struct half_script v;
	char fields[32];
	struct side x;

	begin(&x);
	x.idle = true;
	memset(big, 'x', POLL_MESSAGE_MAX);
	for (unsigned i = 0; i <= fit; i++) {
		snprintf(fields, sizeof(fields), "adit-seq=%u", i);
		relay(&x, &v, fields, big);
		CU_ASSERT_EQUAL(says(&v, "503 "), i == fit);
		if (v.half.peer) /* its asker goes, and what it brought stays */
			half_abort(&v.half, ADIT_ERR_ABANDONED);
		loop_settle(x.loop);
	}
	x.idle = false;
	stream_pause(x.s, false);
	loop_settle(x.loop);
	relay(&x, &v, fields, big);
	CU_ASSERT(says(&v, "204 "));
	CU_ASSERT_EQUAL(x.got.len, (fit + 1) * POLL_MESSAGE_MAX);
	end(&x);
}

static void empty_relay_is_the_end(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	relay(&x, &v, "adit-seq=0", "");
	CU_ASSERT(says(&v, "204 "));
	CU_ASSERT_EQUAL(x.end, ADIT_ERR_EOF);
	end(&x);
}

/* ---- the carrier */

static void ids(void)
{
	char id[POLL_ID_HEX + 1];
	struct side x;

	begin(&x);
	memcpy(id, x.id, sizeof(id));
	CU_ASSERT_EQUAL(strlen(id), POLL_ID_HEX);
	CU_ASSERT_PTR_NULL(poll_table_find(&x.table, str_of(id), LINK, other_token));
	CU_ASSERT_PTR_NULL(poll_table_find(&x.table, str_of(id), "ff112233445566778899aabbccddeeff", token));
	CU_ASSERT_PTR_NULL(poll_table_find(&x.table, (struct str){id, 31}, LINK, token));
	id[0] = id[0] == 'a' ? 'b' : 'a';
	CU_ASSERT_PTR_NULL(poll_table_find(&x.table, str_of(id), LINK, token));
	memcpy(id, x.id, sizeof(id));
	stream_free(&x.s);
	CU_ASSERT_PTR_NULL(poll_table_find(&x.table, str_of(id), LINK, token));
	end(&x);
}

static void freed_under_requests(void)
{
	struct half_script held, taking, sending;
	struct side x;
	struct head h;

	begin(&x);
	put(&x, "hello");
	script_init(&sending);
	head_init(&h);
	script_fields(&h.fields, "adit-seq=0");
	poll_answered_poll(x.c, &sending.half, &h);
	head_free(&h);
	half_end(&sending.half, NULL);
	loop_settle(x.loop);
	poll_for(&x, &held, "adit-seq=1 adit-hold=20000");
	ask(&x, &taking, true, "adit-seq=0", 10);
	stream_free(&x.s);
	loop_settle(x.loop);
	CU_ASSERT(says(&held, "410 ") && held.ended);
	CU_ASSERT(says(&taking, "410 ") && taking.ended && taking.aborted == ADIT_ERR_ENOUGH);
	CU_ASSERT(says(&sending, "200 ") && !sending.ended);
	script_init(&held);
	script_grant(&sending, 5);
	CU_ASSERT(sending.ended && sending.got == 5);
	end(&x);
}

static void many_requests(void)
{
	struct half_script v[POLL_REQUESTS_MAX + 1];
	struct side x;

	begin(&x);
	for (unsigned i = 0; i <= POLL_REQUESTS_MAX; i++)
		ask(&x, &v[i], true, "adit-seq=0", 10);
	CU_ASSERT(!v[POLL_REQUESTS_MAX - 1].began);
	CU_ASSERT(says(&v[POLL_REQUESTS_MAX], "429 "));
	end(&x);
}

static void finish_is_told(void)
{
	struct half_script v;
	struct side x;

	begin(&x);
	poll_for(&x, &v, "adit-seq=0 adit-hold=20000");
	stream_finish(x.s);
	loop_settle(x.loop);
	CU_ASSERT(gives(&v, 0, 0));
	end(&x);
}

static const struct unit_test tests[] = {
	{"a poll is held until something is written", held_until_written},
	{"a repeated poll gives the same bytes, until they are acknowledged", repeats_give_the_same},
	{"of two held polls the lower number is answered first, whatever came first", two_held},
	{"a newer poll for the same message replaces the older one", newer_replaces_older},
	{"when the hold ends there is a 204, and the number stays", hold_ends},
	{"a message is sent as its reader takes it", slow_reader},
	{"polls that make no sense get a 400, and change nothing", wrong_polls},
	{"a poll with a body is refused, and the rest of it not wanted", body_with_a_poll},
	{"who acknowledges nothing gets so much and no more", without_acks},
	{"answers that are not read count among a carrier's requests", unread_answers},
	{"a relay too far ahead is refused", far_relays},
	{"with much unread no relay is taken, whoever goes", unread_relays},
	{"relays in any order, and twice, are read in order, and once", relays_in_any_order},
	{"a relay that was cut counts only when it comes again", cut_relay_is_nothing},
	{"a relay of more than a message is refused", too_big},
	{"while much waits to be read relays are answered later", slow_owner},
	{"an empty relay is the end", empty_relay_is_the_end},
	{"a carrier is found by its id, link and token only, and while it lives", ids},
	{"freed under requests it answers 410, and what it sends goes on", freed_under_requests},
	{"a carrier has so many requests at once and no more", many_requests},
	{"finish is told by an empty message", finish_is_told},
};

UNIT_MAIN("poll_answered", tests)
