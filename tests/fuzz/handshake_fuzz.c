/* HELLO, WELCOME, ATTACH, ATTACHED, CLOSE: what is read is within its limits, is written, and read again as the
 * same; what is refused gets one printable line.
 * Input: which of them, then the frame's payload.
 */
#include "fuzz.h"

#include "base/err.h"
#include "link/frame.h"
#include "link/handshake.h"

#define ENDS(text) (memchr((text), '\0', sizeof(text)) != NULL)

static void check_tunnels(const struct wire_tunnel *t, size_t n)
{
	REQUIRE(n <= HANDSHAKE_TUNNELS_MAX);
	for (size_t i = 0; i < n; i++)
		REQUIRE(ENDS(t[i].name) && ENDS(t[i].label) && ENDS(t[i].url));
}

static void check_refusal(int r, const struct wire_error *e)
{
	REQUIRE(r == ADIT_ERR_PROTO);
	REQUIRE(ENDS(e->text) && *e->text);
	REQUIRE(fuzz_printable(e->text, strlen(e->text), false));
}

typedef int read_hello_fn(const uint8_t *p, size_t n, struct wire_hello *out, struct wire_error *e);
typedef char *write_hello_fn(const struct wire_hello *h, size_t *n);
typedef int read_welcome_fn(const uint8_t *p, size_t n, struct wire_welcome *out, struct wire_error *e);
typedef char *write_welcome_fn(const struct wire_welcome *w, size_t *n);

/* The text must be what the second reading gives again: nothing was lost, and nothing read as something else. */
static void hello(struct fuzz_in in, read_hello_fn *read, write_hello_fn *write)
{
	struct wire_hello *h = calloc(2, sizeof(*h));
	struct wire_error e = {""};
	uint8_t proof[2][SHA256_LEN];
	static const uint8_t secret[LINK_SECRET_LEN], id[LINK_ID_LEN];
	char *text, *again;
	size_t n, n2;
	int r;

	REQUIRE(h != NULL);
	r = read(in.p, in.n, h, &e);
	if (r) {
		check_refusal(r, &e);
		free(h);
		return;
	}
	REQUIRE(ENDS(h->agent));
	check_tunnels(h->tunnels, h->tunnel_count);
	text = write(h, &n);
	if (text) { /* escapes may take more room than what was read had */
		REQUIRE(n <= FRAME_CONTROL_MAX && text[n] == '\0');
		REQUIRE(read((const uint8_t *)text, n, h + 1, &e) == 0);
		again = write(h + 1, &n2);
		REQUIRE(again != NULL && n == n2 && memcmp(text, again, n) == 0);
		REQUIRE(wire_proof(secret, id, h, proof[0]) == 0 && wire_proof(secret, id, h + 1, proof[1]) == 0);
		REQUIRE(memcmp(proof[0], proof[1], SHA256_LEN) == 0);
		free(again);
	}
	free(text);
	free(h);
}

static void welcome(struct fuzz_in in, read_welcome_fn *read, write_welcome_fn *write)
{
	struct wire_welcome *w = calloc(2, sizeof(*w));
	struct wire_error e = {""};
	char *text, *again;
	size_t n, n2;
	int r;

	REQUIRE(w != NULL);
	r = read(in.p, in.n, w, &e);
	if (r) {
		check_refusal(r, &e);
		free(w);
		return;
	}
	REQUIRE(ENDS(w->agent));
	check_tunnels(w->tunnels, w->tunnel_count);
	text = write(w, &n);
	if (text) {
		REQUIRE(n <= FRAME_CONTROL_MAX && text[n] == '\0');
		REQUIRE(read((const uint8_t *)text, n, w + 1, &e) == 0);
		again = write(w + 1, &n2);
		REQUIRE(again != NULL && n == n2 && memcmp(text, again, n) == 0);
		free(again);
	}
	free(text);
	free(w);
}

static void close_frame(struct fuzz_in in)
{
	char reason[64], again[64];
	uint8_t out[2 + FRAME_REASON_MAX];
	uint16_t code, code2;
	size_t n;

	memset(reason, 'x', sizeof(reason));
	if (wire_read_close(in.p, in.n, &code, reason, sizeof(reason)) < 0)
		return;
	REQUIRE(ENDS(reason));
	for (const char *c = reason; *c; c++)
		REQUIRE((unsigned char)*c >= ' ' && *c != 0x7f);
	n = wire_write_close(code, reason, out, sizeof(out));
	REQUIRE(n >= 2 && n <= sizeof(out));
	REQUIRE(wire_read_close(out, n, &code2, again, sizeof(again)) == 0 && code == code2);
	REQUIRE(strcmp(reason, again) == 0);
}

static void random_name(struct fuzz_in in)
{
	char label[HANDSHAKE_LABEL_MAX + 1] = "", name[16];
	uint8_t hash[SHA256_LEN] = {1}, key[16] = {2};

	memcpy(label, in.p, in.n < HANDSHAKE_LABEL_MAX ? in.n : HANDSHAKE_LABEL_MAX);
	REQUIRE(wire_random_name(label, hash, key, name) == 0);
	REQUIRE(strlen(name) == 15 && memcmp(name, "r-", 2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct fuzz_in in = {data, n};
	uint8_t which = fuzz_byte(&in);
	uint8_t *copy = fuzz_copy(in);

	in.p = copy;
	switch (which % 6) {
	case 0:
		hello(in, wire_read_hello, wire_write_hello);
		break;
	case 1:
		hello(in, wire_read_attach, wire_write_attach);
		break;
	case 2:
		welcome(in, wire_read_welcome, wire_write_welcome);
		break;
	case 3:
		welcome(in, wire_read_attached, wire_write_attached);
		break;
	case 4:
		close_frame(in);
		break;
	default:
		random_name(in);
		break;
	}
	free(copy);
	return 0;
}
