/* Traces, as `adit trace` reads them: any file gives a transcript of printable ASCII and a summary that is one line
 * of JSON; each file's events come in its order.
 * Input: up to three files, parted by a line "---": FILE a, a.1 (what came before a), FILE b.
 */
#include "fuzz.h"

#include "base/err.h"
#include "fuzz_file.h"
#include "watch/clocks.h"
#include "watch/merge.h"
#include "watch/phrase.h"
#include "watch/summary.h"

#define FILES 3

static struct fuzz_in take_file(struct fuzz_in *in)
{
	static const char mark[] = "---\n";
	const uint8_t *at = in->n ? memmem(in->p, in->n, mark, sizeof(mark) - 1) : NULL;
	struct fuzz_in file = fuzz_part(in, at ? (size_t)(at - in->p) : in->n);

	(void)fuzz_part(in, at ? sizeof(mark) - 1 : 0);
	return file;
}

static void tell(FILE *to, const struct trace_record *r, int64_t last_us[FILES])
{
	char phrase[PHRASE_MAX];

	REQUIRE(r->source < FILES && r->event && r->link);
	REQUIRE(r->at_us >= last_us[r->source]);
	last_us[r->source] = r->at_us;
	phrase_of(r, phrase);
	REQUIRE(memchr(phrase, '\0', sizeof(phrase)) != NULL);
	phrase_print(to, phrase);
	phrase_print(to, r->event);
	phrase_print(to, r->link);
	fputc('\n', to);
}

/* ASCII without control characters, but for DEL: JSON lets that stand as it is (RFC 8259 section 7), and so does
 * jansson; a terminal shows nothing of it. */
static bool is_json_text(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] < ' ')
			return false;
	return true;
}

static void check_json(const struct summary *s, const struct merge *m)
{
	char *text = NULL;
	size_t n = 0;
	FILE *to = open_memstream(&text, &n);
	json_error_t e;
	json_t *json;

	REQUIRE(to != NULL && summary_json(s, m, to) == 0 && fclose(to) == 0);
	REQUIRE(n > 1 && text[n - 1] == '\n' && is_json_text(text, n - 1));
	json = json_loadb(text, n, 0, &e);
	REQUIRE(json_is_object(json));
	json_decref(json);
	free(text);
}

static void transcribe(const char *const *paths, size_t count)
{
	int64_t last_us[FILES] = {INT64_MIN, INT64_MIN, INT64_MIN};
	struct summary *s = summary_new();
	struct merge *m = NULL;
	struct trace_record r;
	char *text = NULL;
	size_t bad, n = 0;
	FILE *to = open_memstream(&text, &n);

	REQUIRE(s && to && merge_open(&m, paths, count, false, &bad) == 0);
	while (merge_next(m, &r)) {
		tell(to, &r, last_us);
		REQUIRE(summary_add(s, &r) == 0);
		trace_record_clear(&r);
	}
	summary_print(s, m, to);
	REQUIRE(fclose(to) == 0);
	REQUIRE(fuzz_printable(text, n, true));
	check_json(s, m);
	(void)summary_lost(s);
	free(text);
	merge_free(&m);
	summary_free(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const char *const paths[] = {"a", "b"};
	struct fuzz_in in = {data, n}, a = take_file(&in), before = take_file(&in), b = take_file(&in);

	(void)fuzz_folder_enter();
	fuzz_file("a", a);
	fuzz_file("a.1", before);
	if (!before.n)
		unlink("a.1");
	fuzz_file("b", b);
	transcribe(paths, b.n ? 2 : 1);
	return 0;
}
