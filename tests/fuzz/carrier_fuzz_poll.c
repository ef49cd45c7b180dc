/* Requests of a poll carrier as aditd gets them: repeated, late, in any order, cut, with any number.
 * What adit's side sends is a pattern by message number, so that the stream must read 0, 1, 2 … whatever came
 * twice; a poll that is asked again gives the same message again.
 * Input: operations of a few bytes each; see operate.
 */
#include "carrier_fuzz.h"

#include "carrier/poll_answered.h"
#include "fuzz_half.h"

#define LINK "00112233445566778899aabbccddeeff"
#define ASKS 48
#define OPERATIONS 400
/* Messages whose bytes are remembered. */
#define MESSAGES 32

struct exchange {
	struct fuzz_half half;
	struct scene *scene;
	uint64_t seq;
	bool relay, sent;
};

struct scene {
	struct loop *loop;
	struct poll_table table;
	struct stream *s;
	struct poll_answered *c;
	struct exchange asks[ASKS];
	unsigned ask_count;
	/* read: how far */
	uint64_t seq;
	size_t at;
	int end;
	bool idle;
	struct fuzz_text messages[MESSAGES]; /* answered to polls, whole */
	bool known[MESSAGES];
	uint32_t written;
};

/* ---- what adit sends: message `seq` has so many bytes of that value; each ninth is empty, which is the end */

static size_t length_of(uint64_t seq)
{
	return seq % 9 == 8 ? 0 : 1 + seq * 37 % 300;
}

static void on_readable(void *owner)
{
	struct scene *x = owner;
	uint8_t block[100];
	ssize_t n;

	while (x->s && !x->idle && !x->end && (n = stream_read(x->s, block, sizeof(block))) != ADIT_ERR_AGAIN) {
		if (n < 0) {
			x->end = (int)n;
			REQUIRE(n != ADIT_ERR_EOF || (x->at == 0 && length_of(x->seq) == 0));
		}
		for (ssize_t i = 0; i < n; i++) {
			REQUIRE(block[i] == (uint8_t)x->seq);
			if (++x->at < length_of(x->seq))
				continue;
			x->at = 0;
			x->seq++;
		}
	}
}

static void on_writable(void *owner)
{
	(void)owner;
}

/* ---- the asking halves */

static void got_head(struct fuzz_half *h, const struct head *head)
{
	struct exchange *e = container_of(h, struct exchange, half);
	uint64_t seq = UINT64_MAX;

	REQUIRE(fields_has(&head->fields, STR("adit-version")));
	if (head->status != 200)
		return;
	REQUIRE(!e->relay && str_to_u64(fields_get(&head->fields, STR("adit-seq")), &seq) == 0 && seq == e->seq);
}

static void check_message(struct exchange *e)
{
	struct scene *x = e->scene;
	size_t i = (size_t)e->seq;

	if (e->relay || !e->half.ended || e->half.status != 200 || e->seq >= MESSAGES)
		return;
	if (!x->known[i]) {
		x->known[i] = true;
		fuzz_add(&x->messages[i], e->half.body.p, e->half.body.n);
	}
	fuzz_require_same(&x->messages[i], &e->half.body, "a message that is asked for again");
}

static int add_number(struct head *h, struct str name, uint64_t v)
{
	char text[STR_U64_MAX];

	return fields_add(&h->fields, name, str_of_u64(v, text));
}

/* `how`: bit 0: no number, bit 1: a length is said, bit 2: half of the answer's bytes are granted for now. */
static void ask(struct scene *x, bool relay, uint64_t seq, uint64_t ack, uint64_t hold, uint8_t how)
{
	struct exchange *e = &x->asks[x->ask_count];
	struct head h;

	if (x->ask_count == ASKS || !x->c)
		return;
	fuzz_half_init(&e->half, POLL_MESSAGE_MAX + 1);
	x->ask_count++;
	e->half.heard = got_head;
	e->scene = x;
	e->seq = seq;
	e->relay = relay;
	head_init(&h);
	h.length = relay && how & 2 ? (int64_t)length_of(seq) : HEAD_LENGTH_UNKNOWN;
	REQUIRE(how & 1 || add_number(&h, STR("adit-seq"), seq) == 0);
	REQUIRE(add_number(&h, STR("adit-ack"), ack) == 0 && add_number(&h, STR("adit-hold"), hold) == 0);
	e->half.said_head = true;
	if (relay)
		poll_answered_relay(x->c, &e->half.half, &h);
	else
		poll_answered_poll(x->c, &e->half.half, &h);
	head_free(&h);
	fuzz_half_grant(&e->half, how & 4 ? 100 : POLL_MESSAGE_MAX);
	if (!relay)
		fuzz_half_say_end(&e->half, false);
}

/* A relay's whole message, once. */
static void send_all(struct exchange *e)
{
	uint8_t block[300];

	if (!e->relay || e->sent)
		return;
	e->sent = true;
	memset(block, (uint8_t)e->seq, sizeof(block));
	fuzz_half_send(&e->half, block, length_of(e->seq));
	fuzz_half_say_end(&e->half, false);
}

/* ---- operations */

static void put(struct scene *x, size_t n)
{
	uint8_t block[1000];
	struct iovec v = {block, n < sizeof(block) ? n : sizeof(block)};

	if (!x->s)
		return;
	memset(block, (int)(x->written++ & 0x7f), sizeof(block));
	(void)stream_write(x->s, &v, 1);
}

static void operate(struct scene *x, uint8_t op, struct fuzz_in *in)
{
	uint8_t a = fuzz_byte(in);
	struct exchange *e = x->ask_count ? &x->asks[a % x->ask_count] : NULL;

	switch (op % 12) {
	case 0:
		ask(x, false, a, fuzz_byte(in), (uint64_t)fuzz_byte(in) * 200, op / 12);
		break;
	case 1:
	case 2:
		ask(x, true, a % 64, 0, 0, op / 12);
		if (op % 12 == 1 && x->ask_count)
			send_all(&x->asks[x->ask_count - 1]);
		break;
	case 3:
		if (e)
			send_all(e);
		break;
	case 4:
		if (e)
			fuzz_half_grant(&e->half, fuzz_word(in));
		break;
	case 5:
		if (e)
			half_abort(&e->half.half, ADIT_ERR_ABANDONED);
		break;
	case 6:
		put(x, fuzz_word(in));
		break;
	case 7:
		if (x->s && a == 0)
			stream_finish(x->s);
		break;
	case 8:
		(void)carrier_jump(x->loop, (uint64_t)a * 200);
		break;
	case 9:
		x->idle = a & 1;
		if (x->s)
			stream_pause(x->s, x->idle);
		break;
	case 10:
		if (a == 1)
			x->c = NULL;
		if (a == 1)
			stream_free(&x->s);
		break;
	default:
		ask(x, a & 1, UINT64_MAX - fuzz_byte(in), UINT64_MAX, UINT64_MAX, op / 12);
		break;
	}
}

static void end(struct scene *x)
{
	stream_free(&x->s);
	carrier_turn(x->loop);
	for (unsigned i = 0; i < x->ask_count; i++) {
		struct exchange *e = &x->asks[i];

		/* whoever has not sent or read all yet goes now */
		half_abort(&e->half.half, ADIT_ERR_ABANDONED);
		check_message(e);
	}
	carrier_turn(x->loop);
	poll_table_clear(&x->table);
	REQUIRE(carrier_timers(x->loop) == 0);
	for (unsigned i = 0; i < x->ask_count; i++)
		fuzz_half_clear(&x->asks[i].half);
	for (unsigned i = 0; i < MESSAGES; i++)
		fuzz_text_free(&x->messages[i]);
	loop_free(&x->loop);
}

void carrier_fuzz_poll(struct fuzz_in in)
{
	static const struct stream_handler handler = {on_readable, on_writable};
	static const uint8_t token[SHA256_LEN] = {1};
	const struct address at = {"192.0.2.1", 4711};
	struct scene *x = calloc(1, sizeof(*x));
	char id[POLL_ID_HEX + 1];

	REQUIRE(x != NULL);
	x->loop = loop_new();
	poll_table_init(&x->table, x->loop);
	x->s = poll_table_open(&x->table, LINK, token, &at, id);
	REQUIRE(x->s != NULL);
	x->c = poll_table_find(&x->table, str_of(id), LINK, token);
	REQUIRE(x->c != NULL);
	stream_own(x->s, &handler, x);
	stream_pause(x->s, false);
	for (unsigned i = 0; in.n && i < OPERATIONS; i++) {
		uint8_t op = fuzz_byte(&in);

		operate(x, op, &in);
		if (!(op & 0x80))
			carrier_turn(x->loop);
	}
	end(x);
	free(x);
}
