/* WebSocket frames as a carrier reads them, and two carriers that talk through a network that moves little at a
 * time. Input: choices (bit 0: two carriers; bit 1: which side; bit 2: reads one byte at a time), size of the
 * pieces, then
 *  - frames as they come: in pieces they give the same bytes and the same end as at once; or
 *  - what is written, and how much is taken, in turns: all that was written arrives, in order.
 */
#include "fuzz.h"

#define WS_SCRIPT_READ 1000

#include "unit/loop_script.h"
#include "unit/ws_script.h"

#define TURNS 1000

/* ---- frames from outside */

static void receive(struct loop *l, struct side *x, enum ws_side which, struct fuzz_in in, size_t step,
                    size_t read_max)
{
	side_begin(x, l, which, NULL);
	x->read_max = read_max;
	while (in.n) {
		struct fuzz_in part = fuzz_part(&in, step);

		lower_give(x->lower, part.p, part.n);
		settle(l, 2);
	}
	x->lower->end = ADIT_ERR_EOF;
	lower_wake(x->lower);
	settle(l, 4);
	REQUIRE(x->end < 0 && x->end != ADIT_ERR_AGAIN);
	/* pongs, and one Close */
	REQUIRE(x->lower->taken.len <= WS_UNSENT_MAX || x->got.len);
}

static void frames(struct loop *l, uint8_t choices, size_t step, struct fuzz_in in)
{
	enum ws_side which = choices & 2 ? WS_DIALLED : WS_ANSWERED;
	struct side whole, cut;
	uint8_t *got;
	size_t n;

	receive(l, &whole, which, in, in.n + 1, ALL);
	receive(l, &cut, which, in, step, choices & 4 ? 1 : ALL);
	REQUIRE(whole.end == cut.end);
	n = whole.got.len;
	got = malloc(n + 1);
	REQUIRE(got != NULL && cut.got.len == n);
	buf_take(&whole.got, got, n);
	REQUIRE(buf_is(&cut.got, got, n));
	free(got);
	side_end(&whole);
	side_end(&cut);
}

/* ---- two carriers */

struct way {
	struct side *from, *to;
	size_t sent;
	uint32_t seed;
};

static uint8_t pattern(const struct way *w, size_t at)
{
	return (uint8_t)(at * w->seed >> 3);
}

static void write_some(struct way *w, size_t n)
{
	uint8_t block[2048];
	ssize_t done;

	n = n < sizeof(block) ? n : sizeof(block);
	for (size_t i = 0; i < n; i++)
		block[i] = pattern(w, w->sent + i);
	done = put(w->from, block, n);
	REQUIRE(done >= 0 && (size_t)done <= n);
	REQUIRE(stream_unsent(w->from->ws) <= WS_UNSENT_MAX + 7 + 16);
	w->sent += (size_t)done;
}

static void read_rest(struct loop *l, struct side *a, struct side *b, struct way *w)
{
	uint8_t block[1000];
	size_t n, at = 0;

	lower_drain(a->lower, ALL);
	lower_drain(b->lower, ALL);
	a->lower->write_max = b->lower->write_max = ALL;
	a->lower->read_max = b->lower->read_max = ALL;
	settle(l, 20);
	while ((n = buf_take(&w->to->got, block, sizeof(block))) > 0)
		for (size_t i = 0; i < n; i++)
			REQUIRE(block[i] == pattern(w, at++));
	REQUIRE(at == w->sent && w->to->end == 0);
}

static void talk(struct loop *l, uint8_t choices, size_t step, struct fuzz_in in)
{
	struct side a, b;
	struct way there = {&a, &b, 0, 2654435761u}, back = {&b, &a, 0, 40503u};

	side_begin(&a, l, WS_DIALLED, NULL);
	side_begin(&b, l, WS_ANSWERED, NULL);
	join(&a, &b);
	a.lower->read_max = b.lower->write_max = step;
	a.read_max = choices & 4 ? 1 : ALL;
	for (unsigned i = 0; in.n && i < TURNS; i++) {
		uint8_t op = fuzz_byte(&in);
		struct side *x = op & 1 ? &a : &b;

		switch (op >> 1 & 3) {
		case 0:
			write_some(op & 1 ? &there : &back, fuzz_byte(&in));
			break;
		case 1:
			write_some(op & 1 ? &there : &back, fuzz_word(&in));
			break;
		case 2:
			lower_drain(x->lower, fuzz_byte(&in));
			x->lower->write_max = (size_t)fuzz_byte(&in) + 1;
			break;
		default:
			settle(l, 1 + (op >> 4));
			break;
		}
	}
	read_rest(l, &a, &b, &there);
	read_rest(l, &a, &b, &back);
	side_end(&a);
	side_end(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct fuzz_in in = {data, n};
	uint8_t choices = fuzz_byte(&in), step = fuzz_byte(&in);
	struct loop *l = loop_new();

	if (choices & 1)
		talk(l, choices, (size_t)step + 1, in);
	else
		frames(l, choices, (size_t)step + 1, in);
	loop_free(&l);
	return 0;
}
