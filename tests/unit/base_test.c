#include <stdlib.h>
#include <string.h>

#include "config.h"
#ifdef HAVE_MALLOC_USABLE_SIZE
#include <malloc.h>
#endif

#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/list.h"
#include "base/pool.h"
#include "base/str.h"
#include "unit.h"

static bool is(struct str s, const char *z)
{
	return str_eq(s, str_of(z));
}

static void str_compare(void)
{
	CU_ASSERT(str_eq(STR(""), (struct str){NULL, 0}));
	CU_ASSERT(str_eq(STR("ab"), STR("ab")) && !str_eq(STR("ab"), STR("aB")) && !str_eq(STR("ab"), STR("abc")));
	CU_ASSERT(str_eq_nocase(STR("aB-1"), STR("Ab-1")) && !str_eq_nocase(STR("a"), STR("b")));
	/* only letters: [ and { differ by the same bit */
	CU_ASSERT(!str_eq_nocase(STR("["), STR("{")) && !str_eq_nocase(STR("@"), STR("`")));
	CU_ASSERT(str_starts(STR("abc"), STR("ab")) && str_starts(STR("abc"), STR("")) && !str_starts(STR("a"),
		STR("ab")));
	CU_ASSERT_EQUAL(str_of(NULL).n, 0);
}

static void str_pieces(void)
{
	struct str rest = STR("a,,b"), part;

	CU_ASSERT(str_split(&rest, ',', &part) && is(part, "a"));
	CU_ASSERT(str_split(&rest, ',', &part) && is(part, ""));
	CU_ASSERT(str_split(&rest, ',', &part) && is(part, "b"));
	CU_ASSERT_FALSE(str_split(&rest, ',', &part));
	rest = STR("a,");
	CU_ASSERT(str_split(&rest, ',', &part) && is(part, "a"));
	CU_ASSERT(str_split(&rest, ',', &part) && is(part, ""));
	CU_ASSERT_FALSE(str_split(&rest, ',', &part));
	rest = STR("");
	CU_ASSERT(str_split(&rest, ',', &part) && is(part, ""));
	CU_ASSERT_FALSE(str_split(&rest, ',', &part));
	CU_ASSERT(is(str_trim(STR(" \ta b\t ")), "a b") && is(str_trim(STR(" \t ")), "") && is(str_trim(STR("")),
		""));
	CU_ASSERT(is(str_trim(STR("\na\r")), "\na\r"));
}

static void str_numbers(void)
{
	static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x1", "1a", "18446744073709551616",
		"99999999999999999999"};
	uint64_t n = 7;

	CU_ASSERT(str_to_u64(STR("0"), &n) == 0 && n == 0);
	CU_ASSERT(str_to_u64(STR("00012"), &n) == 0 && n == 12);
	CU_ASSERT(str_to_u64(STR("18446744073709551615"), &n) == 0 && n == UINT64_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CU_ASSERT_EQUAL(str_to_u64(str_of(bad[i]), &n), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(n, UINT64_MAX);
}

static void str_copies(void)
{
	char *z = str_dup((struct str){"abcdef", 3});

	CU_ASSERT_STRING_EQUAL(z, "abc");
	free(z);
	z = str_dup((struct str){NULL, 0});
	CU_ASSERT_STRING_EQUAL(z, "");
	free(z);
}

static void str_globs(void)
{
	CU_ASSERT(str_glob(STR("*"), STR("")) && str_glob(STR("*"), STR("x")) && str_glob(STR(""), STR("")));
	CU_ASSERT(str_glob(STR("a*c"), STR("ABBC")) && str_glob(STR("a*c"), STR("ac")) && str_glob(STR("**a**"),
		STR("a")));
	CU_ASSERT(str_glob(STR("*ab*ab"), STR("aababab")) && str_glob(STR("team-*"), STR("team-")));
	CU_ASSERT(!str_glob(STR(""), STR("x")) && !str_glob(STR("a*c"), STR("abcd")) && !str_glob(STR("a*b*c"),
		STR("acb")));
	CU_ASSERT(!str_glob(STR("a?c"), STR("abc")) && !str_glob(STR("*x"), STR("")));
}

static bool hex_is(const uint8_t *p, size_t n, const char *wanted)
{
	char hex[2 * 64 + 1];

	hex_encode(p, n, hex);
	return strcmp(hex, wanted) == 0;
}

/* FIPS 180-2 appendix B.1, RFC 4231 test case 2 */
static void known_digests(void)
{
	uint8_t out[SHA256_LEN];

	CU_ASSERT_EQUAL(digest_sha256("abc", 3, out), 0);
	CU_ASSERT(hex_is(out, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
	CU_ASSERT_EQUAL(digest_sha256("", 0, out), 0);
	CU_ASSERT(hex_is(out, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
	CU_ASSERT_EQUAL(digest_hmac("Jefe", 4, "what do ya want for nothing?", 28, out), 0);
	CU_ASSERT(hex_is(out, 32, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
	CU_ASSERT(digest_equal("ab", "ab", 2) && !digest_equal("ab", "ac", 2) && digest_equal("a", "b", 0));
}

static void text_of_bytes(void)
{
	static const uint8_t foobar[] = {'f', 'o', 'o', 'b', 'a', 'r'};
	uint8_t out[4];
	char text[32];

	CU_ASSERT(hex_decode("00fFa9", 6, out, 3) == 0 && out[0] == 0 && out[1] == 0xff && out[2] == 0xa9);
	CU_ASSERT_EQUAL(hex_decode("00f", 3, out, 1), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(hex_decode("0g", 2, out, 1), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(hex_decode("g0", 2, out, 1), ADIT_ERR_INVALID);
	CU_ASSERT_EQUAL(hex_decode("0000", 4, out, 1), ADIT_ERR_INVALID);
	/* RFC 4648 section 10, in lower case and unpadded */
	base32_encode(foobar, 6, text, 10);
	CU_ASSERT_STRING_EQUAL(text, "mzxw6ytboi");
	base32_encode(foobar, 3, text, 5);
	CU_ASSERT_STRING_EQUAL(text, "mzxw6");
	base32_encode(foobar, 6, text, 4);
	CU_ASSERT_STRING_EQUAL(text, "mzxw");
	base32_encode(foobar, 1, text, 13);
	CU_ASSERT_STRING_EQUAL(text, "my");
	base32_encode(foobar, 0, text, 13);
	CU_ASSERT_STRING_EQUAL(text, "");
}

static void randomness(void)
{
	uint8_t a[32] = {0}, b[32] = {0};

	random_bytes(a, sizeof(a));
	random_bytes(b, sizeof(b));
	CU_ASSERT_FALSE(digest_equal(a, b, sizeof(a)));
	CU_ASSERT_EQUAL(random_below(0), 0);
	CU_ASSERT_EQUAL(random_below(1), 0);
	for (int i = 0; i < 100; i++)
		CU_ASSERT(random_below(7) < 7);
	secret_wipe(a, sizeof(a));
	memset(b, 0, sizeof(b));
	CU_ASSERT(digest_equal(a, b, sizeof(a)));
}

static void buf_queue(void)
{
	struct buf b = BUF_INIT;
	uint8_t in[20000], out[20000];
	size_t added = 0, taken = 0;

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7 >> 3);
	for (size_t step = 1; added < sizeof(in); step = step * 3 % 5003) {
		size_t n = step < sizeof(in) - added ? step : sizeof(in) - added;

		CU_ASSERT_EQUAL_FATAL(buf_add(&b, in + added, n), 0);
		added += n;
		taken += buf_take(&b, out + taken, n / 2);
		CU_ASSERT_EQUAL(b.len, added - taken);
	}
	taken += buf_take(&b, out + taken, sizeof(out) - taken);
	CU_ASSERT_EQUAL(taken, sizeof(in));
	CU_ASSERT_EQUAL(memcmp(in, out, sizeof(in)), 0);
	CU_ASSERT_EQUAL(b.len, 0);
	CU_ASSERT_EQUAL(buf_take(&b, out, 1), 0);
	buf_clear(&b);
}

static void buf_in_place(void)
{
	struct buf b = BUF_INIT;
	struct iovec iov[4];
	uint8_t *room;
	size_t got = 0;
	const char *first;

	room = buf_room(&b, 10, &got);
	CU_ASSERT_FATAL(room != NULL && got >= BUF_CHUNK_MIN);
	memcpy(room, "hello", 5);
	buf_commit(&b, 5);
	CU_ASSERT_EQUAL(b.len, 5);
	CU_ASSERT_EQUAL(buf_iov(&b, iov, 4), 1);
	first = iov[0].iov_base;
	/* more than what is left: a second chunk, and the first does not move */
	room = buf_room(&b, 2 * BUF_CHUNK_MIN, &got);
	CU_ASSERT_FATAL(room != NULL && got >= 2 * BUF_CHUNK_MIN);
	memset(room, 'x', got);
	buf_commit(&b, got);
	CU_ASSERT_EQUAL(buf_iov(&b, iov, 4), 2);
	CU_ASSERT(iov[0].iov_base == first && iov[0].iov_len == 5 && memcmp(first, "hello", 5) == 0);
	CU_ASSERT_EQUAL(buf_iov(&b, iov, 1), 1);
	buf_drop(&b, 6);
	CU_ASSERT_EQUAL(buf_iov(&b, iov, 4), 1);
	CU_ASSERT_EQUAL(iov[0].iov_len, got - 1);
	buf_drop(&b, b.len);
	CU_ASSERT_EQUAL(buf_iov(&b, iov, 4), 0);
	CU_ASSERT_EQUAL(buf_add(&b, "x", 1), 0);
	CU_ASSERT_EQUAL(b.len, 1);
	buf_clear(&b);
	CU_ASSERT_EQUAL(b.len, 0);
}

static void buf_joined(void)
{
	struct buf a = BUF_INIT, b = BUF_INIT;
	char text[8] = "";

	buf_splice(&a, &b);
	CU_ASSERT_EQUAL(a.len, 0);
	buf_add(&b, "cd", 2);
	buf_splice(&a, &b);
	buf_add(&b, "ef", 2);
	buf_splice(&a, &b);
	CU_ASSERT(a.len == 4 && b.len == 0);
	buf_add(&a, "gh", 2);
	buf_add(&b, "x", 1);
	CU_ASSERT_EQUAL(buf_take(&a, text, 7), 6);
	CU_ASSERT_STRING_EQUAL(text, "cdefgh");
	buf_clear(&a);
	buf_clear(&b);
}

static void errors_named(void)
{
	CU_ASSERT_STRING_EQUAL(err_text(0), "ok");
	CU_ASSERT_STRING_EQUAL(err_name(ADIT_ERR_LINK_LOST), "LINK_LOST");
	CU_ASSERT_STRING_EQUAL(err_text(ADIT_ERR_CONFIG), "bad configuration");
	CU_ASSERT_EQUAL(err_status(ADIT_ERR_HEAD_TOO_BIG), 431);
	CU_ASSERT_EQUAL(err_status(ADIT_ERR_AGAIN), 502);
	CU_ASSERT_STRING_EQUAL(err_proxy_error(ADIT_ERR_REFUSED), "connection_refused");
	CU_ASSERT_STRING_EQUAL(err_proxy_error(ADIT_ERR_AGAIN), "");
	for (int err = -1; err > -(int)ADIT_ERR_INDEX_COUNT; err--) {
		CU_ASSERT(strlen(err_text(err)) > 0 && strcmp(err_text(err), "unknown error") != 0);
		CU_ASSERT(err_status(err) >= 400 && err_status(err) <= 599);
	}
}

static void errors_unknown(void)
{
	static const int unknown[] = {1, 1000, -(int)ADIT_ERR_INDEX_COUNT, -1000000};

	for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
		CU_ASSERT_STRING_EQUAL(err_text(unknown[i]), "unknown error");
		CU_ASSERT_STRING_EQUAL(err_name(unknown[i]), "unknown");
		CU_ASSERT_STRING_EQUAL(err_proxy_error(unknown[i]), "");
		CU_ASSERT_EQUAL(err_status(unknown[i]), 502);
	}
}

struct item {
	int number;
	struct list node;
};

static void lists(void)
{
	struct list head, *it, *tmp;
	struct item items[4];
	int sum = 0;

	list_init(&head);
	CU_ASSERT(list_empty(&head));
	for (int i = 0; i < 3; i++) {
		items[i].number = i + 1;
		list_append(&head, &items[i].node);
	}
	items[3].number = 9;
	list_insert_before(&items[1].node, &items[3].node);
	list_each(it, tmp, &head) {
		sum = sum * 10 + container_of(it, struct item, node)->number;
		if (container_of(it, struct item, node)->number == 2)
			list_remove(it);
	}
	CU_ASSERT_EQUAL(sum, 1923);
	list_remove(&items[1].node);
	CU_ASSERT(list_empty(&items[1].node) && !list_empty(&head));
	CU_ASSERT(head.next == &items[0].node && head.prev == &items[2].node && items[3].node.next == &items[2].node);
	list_remove(&items[0].node);
	list_remove(&items[2].node);
	list_remove(&items[3].node);
	CU_ASSERT(list_empty(&head));
}

/* What was given is taken again by who asks for as much or less within malloc's step; and it is malloc's own. */
static void pool_lends(void)
{
	struct pool p = {0};
	void *a = pool_take(&p, 100), *b = pool_take(&p, POOL_BLOCK_MAX + 1), *c;

	memset(a, 1, 100);
	pool_give(&p, a, 100);
	pool_give(&p, b, POOL_BLOCK_MAX + 1);
	pool_give(&p, NULL, 100);
	CU_ASSERT(p.kept <= 120);
	c = pool_take(&p, 97);
	CU_ASSERT(p.kept == 0);
	free(c);
	pool_give_unsized(&p, malloc(40));
	pool_give_unsized(&p, NULL);
	pool_give(NULL, pool_take(NULL, 10), 10);
	pool_give_unsized(NULL, pool_take(NULL, 10));
	pool_clear(&p);
	CU_ASSERT_EQUAL(p.kept, 0);
}

static void use(void *block, size_t n)
{
#ifdef HAVE_MALLOC_USABLE_SIZE
	CU_ASSERT(malloc_usable_size(block) >= n);
#endif
	memset(block, 1, n);
}

/* Each size has room for what was asked, whoever had the block before: this pool, none, or malloc itself. */
static void pool_sizes(void)
{
	struct pool p = {0};

	for (int round = 0; round < 3; round++) {
		for (size_t n = 0; n <= POOL_LARGE + 20; n += n == POOL_BLOCK_MAX + 20 ? POOL_LARGE_MIN - n - 20 : 1) {
			void *a = malloc(n), *b = pool_take(&p, n), *c = pool_take(NULL, n), *d = pool_take(&p, n);

			use(b, n);
			use(c, n);
			use(d, n);
			pool_give_unsized(&p, a);
			pool_give(&p, b, n);
			pool_give(&p, c, n);
			pool_give_unsized(&p, d);
		}
	}
	pool_clear(&p);
}

static void pool_bounded(void)
{
	static void *blocks[2 * POOL_KEEP / 1024];
	struct pool p = {0};

	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		blocks[i] = pool_take(&p, 1024);
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		pool_give(&p, blocks[i], 1024);
	CU_ASSERT(p.kept <= POOL_KEEP);
	pool_clear(&p);
}

/* Those of a record's size are one size, whoever takes and gives them; they have a bound of their own. */
static void pool_large(void)
{
	static void *blocks[2 * POOL_LARGE_KEEP / POOL_LARGE];
	struct pool p = {0};
	size_t kept;

	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++) {
		size_t n = i % 2 ? POOL_LARGE_MIN : POOL_LARGE;

		blocks[i] = pool_take(&p, n);
		memset(blocks[i], 1, n);
	}
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		pool_give(&p, blocks[i], i % 2 ? POOL_LARGE_MIN : POOL_LARGE);
	pool_give_unsized(&p, malloc(POOL_LARGE_MIN));
	CU_ASSERT(p.large_kept <= POOL_LARGE_KEEP);
	CU_ASSERT_EQUAL(p.kept, 0);
	kept = p.large_kept;
	pool_give(&p, pool_take(&p, POOL_LARGE - 100), POOL_LARGE - 100);
	CU_ASSERT_EQUAL(p.large_kept, kept);
	pool_clear(&p);
	CU_ASSERT_EQUAL(p.large_kept, 0);
}

static const struct unit_test tests[] = {
	{"strings compare by bytes, or without case in ASCII letters only", str_compare},
	{"strings split at a separator, and trim spaces and tabs", str_pieces},
	{"numbers are digits without sign, space or overflow", str_numbers},
	{"copies end with a NUL", str_copies},
	{"globs know the star and nothing else", str_globs},
	{"SHA-256 and HMAC give the standards' test values", known_digests},
	{"hex and base32 give the standards' text", text_of_bytes},
	{"random bytes differ and stay below the bound", randomness},
	{"a buf gives out what was put in, in order", buf_queue},
	{"a buf's bytes stay where they are while more are added", buf_in_place},
	{"one buf takes all of another", buf_joined},
	{"every error has a text and a status", errors_named},
	{"a number that is no error is called unknown", errors_unknown},
	{"a pool gives back what it was given, and to free() as well", pool_lends},
	{"a pool's blocks have room for what was asked", pool_sizes},
	{"a pool keeps no more than its bound", pool_bounded},
	{"a pool has one size for what a record is in", pool_large},
	{"a list keeps order while its nodes are removed", lists},
};

UNIT_MAIN("base", tests)
