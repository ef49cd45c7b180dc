/* log: records of key and value, written as text or JSON lines by a thread of their own.
 * Layer base; everybody uses it. Logs, the access log and the trace are each a `struct log`.
 * Invariants: a call never blocks and never fails: when the ring is full the record is dropped and counted, and the
 * count is written as a record of its own once there is room. Control bytes are escaped: one record is one line.
 */
#ifndef ADIT_BASE_LOG_H
#define ADIT_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/** Bytes waiting for the writer thread: a second of 5000 access-log lines. */
#define LOG_RING_BYTES (1024 * 1024)
/** One line; longer values are cut and end in "...". */
#define LOG_LINE_MAX 4096

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct log;

struct log_kv {
	const char *key;
	enum { LOG_KV_END, LOG_KV_NONE, LOG_KV_STR, LOG_KV_U64, LOG_KV_I64, LOG_KV_HEX, LOG_KV_MS, LOG_KV_BOOL } type;
	struct str str;   /* LOG_KV_STR: text, escaped as needed; LOG_KV_HEX: bytes, written as hex */
	uint64_t u64;     /* LOG_KV_U64; LOG_KV_I64 cast; LOG_KV_BOOL; LOG_KV_MS: microseconds, written as milliseconds "12.345" */
};

#define KV_STR(k, s) {.key = (k), .type = LOG_KV_STR, .str = (s)}
#define KV_Z(k, z) {.key = (k), .type = LOG_KV_STR, .str = str_of(z)}
/** A field that is left out when there is nothing to say. */
#define KV_SOME(k, z) {.key = (k), .type = str_of(z).n ? LOG_KV_STR : LOG_KV_NONE, .str = str_of(z)}
#define KV_U64(k, v) {.key = (k), .type = LOG_KV_U64, .u64 = (uint64_t)(v)}
#define KV_I64(k, v) {.key = (k), .type = LOG_KV_I64, .u64 = (uint64_t)(int64_t)(v)}
#define KV_HEX(k, p_, n_) {.key = (k), .type = LOG_KV_HEX, .str = {(const char *)(p_), (n_)}}
#define KV_US(k, us) {.key = (k), .type = LOG_KV_MS, .u64 = (uint64_t)(us)}
#define KV_BOOL(k, b) {.key = (k), .type = LOG_KV_BOOL, .u64 = (b) ? 1 : 0}

struct log_options {
	const char *path;       /* NULL: standard error; "-": standard output; else a file, appended to */
	enum log_format format;
	enum log_level level;   /* records above it are not written */
	uint64_t max_bytes;     /* the file is renamed to PATH.1 (replacing it) when it would grow past this; 0 = no bound */
	bool monotonic;         /* also write "mono": milliseconds of the monotonic clock with 3 decimals */
	const char *program;    /* also write it as "program": who says it, in lines that are merged later; NULL = not */
	bool keep;              /* the last LOG_KEPT lines stay in memory as well, for log_dump */
	bool no_file;           /* with keep: they go nowhere else; no thread is started */
	bool held;              /* records wait in the ring, without file and thread, until log_start */
};

/** Opens and starts the writer thread. `*out` is NULL after an error: ADIT_ERR_SYS (errno says why), ADIT_ERR_NOMEM. */
int log_open(struct log **out, const struct log_options *o);

/** The same for one that was held: a thread has the rights that its process has at this moment, and so has the file.
 *  0 also when it runs already; ADIT_ERR_SYS (errno says why): it stays held. */
int log_start(struct log *l);

/** Writes what waits (at most a second long; one that is held starts for it), ends the thread, frees. A null log is
 *  fine here and below. */
void log_close(struct log **l);

/** Asks the writer to reopen its file by path (after rotation, SIGHUP). */
void log_reopen(struct log *l);

bool log_wants(const struct log *l, enum log_level level);

/**
 * One record: text `2026-11-22T18:42:25.123Z INFO  event key=value key="quoted value"`,
 * JSON `{"time":"…","level":"info","event":"…","key":…}`. `kv` ends with a LOG_KV_END element.
 */
void log_write(struct log *l, enum log_level level, const char *event, const struct log_kv *kv);

/** log_event(l, LOG_LEVEL_INFO, "link.up", KV_Z("name", n), KV_U64("epoch", e)); */
#define log_event(l, level, event, ...)                                                            \
	do {                                                                                       \
		if (log_wants((l), (level)))                                                       \
			log_write((l), (level), (event),                                           \
			          (const struct log_kv[]){__VA_ARGS__, {.type = LOG_KV_END}});     \
	} while (0)

/** Writes the lines that `from` keeps to `to` as they are, oldest first, between "trace.dump" and "trace.end". */
void log_dump(struct log *from, struct log *to);

/** Records dropped so far because the ring was full. */
uint64_t log_dropped(const struct log *l);

/** Between two records of the same trouble, however often it is met. */
#define LOG_SELDOM_MS 10000
/** Is it time to tell of it again? `told_ms`: when that was last done, 0 at first. */
static inline bool log_seldom(uint64_t *told_ms, uint64_t now_ms)
{
	if (*told_ms && now_ms - *told_ms < LOG_SELDOM_MS)
		return false;
	*told_ms = now_ms;
	return true;
}

#endif
