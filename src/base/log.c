/* A record is formatted on the caller's stack and copied into a ring of whole lines under a lock held for that copy
 * alone; one thread empties the ring into its own buffer and writes that. While records keep coming the thread looks
 * by itself every LINGER_MS, so a caller makes no system call:
 *
 *              nothing came          nothing waits
 *     SLEEPS ◄───────────── LINGERS ◄───────────── BUSY ──────────► BACKS_OFF
 *        │ a record            │ LINGER_MS, or       ▲  write failed    │ RETRY_MS
 *        ▼ wakes it            ▼ half the ring       │                  ▼
 *      BUSY                  BUSY                    └──────────────────┘
 *
 * What could not be written is kept and tried again; meanwhile the ring fills, and then records are dropped.
 */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log_int.h"
#include "base/log_kept.h"

/** Written at once: large enough that a burst takes few calls. */
#define OUT_BYTES ((size_t)64 * 1024)
#define LINGER_MS 50
#define RETRY_MS 1000
#define CLOSE_MS 1000

enum writer_state { WRITER_BUSY, WRITER_LINGERS, WRITER_SLEEPS, WRITER_BACKS_OFF };

struct log {
	/* fixed once open */
	char *path, *path_old; /* NULL: a standard stream, not ours to close, rename or reopen */
	enum log_format format;
	enum log_level level;
	uint64_t max_bytes;
	bool monotonic;
	const char *program;
	bool to_stdout;
	bool no_file; /* and no thread, no ring */
	bool held;    /* no file and no thread yet, but a ring */
	pthread_t thread;
	/* the writer's own */
	int fd;
	bool regular;
	bool complained; /* of the file, since it last went well: a complaint must not cause the next */
	bool lingers_next;
	uint64_t size;
	size_t out_len, out_off;
	/* under the lock */
	pthread_mutex_t lock;
	pthread_cond_t work, ended;
	enum writer_state state;
	bool reopen, closing, abandoned, done;
	size_t head, used;
	uint64_t unreported; /* drops that no record tells of yet */
	uint64_t second;     /* what `date` says */
	char date[LOG_STAMP_BYTES];

	struct log_kept *kept; /* NULL: nothing is */

	_Atomic uint64_t dropped;
	char *out;  /* OUT_BYTES */
	char *ring; /* LOG_RING_BYTES */
};

static void format(const struct log *l, struct log_line *o, enum log_level level, const char *event,
                   const struct log_kv *kv)
{
	struct log_kv lead[3];
	size_t n = 0;

	if (l->monotonic)
		lead[n++] = (struct log_kv)KV_US("mono", clock_us());
	if (l->program)
		lead[n++] = (struct log_kv)KV_Z("program", l->program);
	lead[n] = (struct log_kv){.type = LOG_KV_END};
	log_line_format(o, l->format, level, event, lead, kv);
}

/* ---- the ring */

/** Under the lock. The calendar is worked out once a second. */
static void set_date(struct log *l, uint64_t second)
{
	time_t t = (time_t)second;
	struct tm d = {0};

	gmtime_r(&t, &d);
	memcpy(l->date, "yyyy-mm-ddThh:mm:ss.mmmZ", LOG_STAMP_BYTES);
	log_digits(l->date, (uint64_t)d.tm_year + 1900, 4);
	log_digits(l->date + 5, (uint64_t)d.tm_mon + 1, 2);
	log_digits(l->date + 8, (uint64_t)d.tm_mday, 2);
	log_digits(l->date + 11, (uint64_t)d.tm_hour, 2);
	log_digits(l->date + 14, (uint64_t)d.tm_min, 2);
	log_digits(l->date + 17, (uint64_t)d.tm_sec, 2);
	l->second = second;
}

/** Under the lock. */
static void set_stamp(struct log *l, struct log_line *o)
{
	uint64_t now = clock_wall_us();

	if (now / 1000000 != l->second)
		set_date(l, now / 1000000);
	log_digits(l->date + 20, now / 1000 % 1000, 3);
	memcpy(o->at + o->stamp, l->date, LOG_STAMP_BYTES);
}

/** Under the lock. False when there is no room. */
static bool ring_add(struct log *l, const char *p, size_t n)
{
	size_t tail = (l->head + l->used) % LOG_RING_BYTES, first = LOG_RING_BYTES - tail;

	if (n > LOG_RING_BYTES - l->used)
		return false;
	if (first > n)
		first = n;
	memcpy(l->ring + tail, p, first);
	memcpy(l->ring, p + first, n - first);
	l->used += n;
	return true;
}

/** Under the lock. Tells of the drops where they happened, before any later record; false while there is no room. */
static bool ring_note_drops(struct log *l)
{
	struct log_line o;

	if (!l->unreported)
		return true;
	if (LOG_RING_BYTES - l->used < LOG_LINE_MAX)
		return false;
	format(l, &o, LOG_LEVEL_WARN, "log.dropped",
	       (const struct log_kv[]){KV_U64("records", l->unreported), {.type = LOG_KV_END}});
	set_stamp(l, &o);
	ring_add(l, o.at, o.n);
	l->unreported = 0;
	return true;
}

/** Under the lock. For the writer, or counted; whether the writer is to be woken. */
static bool hand_on(struct log *l, const char *p, size_t n)
{
	bool wake;

	if (!ring_note_drops(l) || !ring_add(l, p, n)) {
		l->unreported++;
		atomic_fetch_add_explicit(&l->dropped, 1, memory_order_relaxed);
	}
	wake = l->state == WRITER_SLEEPS || (l->state == WRITER_LINGERS && l->used >= LOG_RING_BYTES / 2);
	if (wake)
		l->state = WRITER_BUSY;
	return wake;
}

void log_write(struct log *l, enum log_level level, const char *event, const struct log_kv *kv)
{
	struct log_line o;
	bool wake;

	if (!log_wants(l, level))
		return;
	format(l, &o, level, event, kv);
	pthread_mutex_lock(&l->lock);
	set_stamp(l, &o);
	if (l->kept)
		log_kept_add(l->kept, o.at, o.n);
	wake = !l->no_file && hand_on(l, o.at, o.n);
	pthread_mutex_unlock(&l->lock);
	if (wake)
		pthread_cond_signal(&l->work);
}

/** One line as it is. */
static void write_line(struct log *l, const char *p, size_t n)
{
	bool wake;

	pthread_mutex_lock(&l->lock);
	wake = hand_on(l, p, n);
	pthread_mutex_unlock(&l->lock);
	if (wake)
		pthread_cond_signal(&l->work);
}

void log_dump(struct log *from, struct log *to)
{
	const char *p;
	uint64_t lines = 0;

	if (!from || !from->kept || !to || to->no_file || from == to)
		return;
	log_event(to, LOG_LEVEL_ERROR, "trace.dump", KV_U64("most", LOG_KEPT));
	for (size_t i = 0; i < LOG_KEPT; i++) {
		char line[LOG_LINE_MAX];
		size_t n;

		pthread_mutex_lock(&from->lock);
		n = log_kept_line(from->kept, i, &p);
		if (n)
			memcpy(line, p, n);
		pthread_mutex_unlock(&from->lock);
		if (n)
			write_line(to, line, n);
		lines += n > 0;
	}
	log_event(to, LOG_LEVEL_ERROR, "trace.end", KV_U64("lines", lines));
}

bool log_wants(const struct log *l, enum log_level level)
{
	return l && level <= l->level;
}

uint64_t log_dropped(const struct log *l)
{
	return l ? atomic_load_explicit(&l->dropped, memory_order_relaxed) : 0;
}

/* ---- the file; the writer's alone once the thread runs */

/** A standard stream or the file by its name, in place of the one open now; 0 or an errno with nothing changed. */
static int file_open(struct log *l)
{
	int fd = l->to_stdout ? STDOUT_FILENO : STDERR_FILENO;
	struct stat st;

	if (l->path)
		fd = open(l->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);
	if (fd < 0)
		return errno;
	if (l->path && l->fd >= 0)
		close(l->fd);
	l->fd = fd;
	l->regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	l->size = l->regular ? (uint64_t)st.st_size : 0;
	return 0;
}

static void file_result(struct log *l, const char *event, int err)
{
	if (err && !l->complained)
		log_event(l, LOG_LEVEL_ERROR, event, KV_Z("path", l->path), KV_Z("error", strerror(err)));
	l->complained = err != 0;
}

static void file_reopen(struct log *l)
{
	if (l->path)
		file_result(l, "log.reopen_failed", file_open(l));
}

/** On failure the log goes on in the file it has, and this is tried again after another max_bytes. */
static void file_rotate(struct log *l)
{
	int err = rename(l->path, l->path_old) == 0 || errno == ENOENT ? 0 : errno;

	if (!err)
		err = file_open(l);
	if (err)
		l->size = 0;
	file_result(l, "log.rotate_failed", err);
}

/** How much of the output may go to the file in one piece: whole lines within max_bytes, or one that is longer. */
static size_t out_piece(struct log *l)
{
	const char *p = l->out + l->out_off;
	size_t n = l->out_len - l->out_off, line, room;

	if (!l->max_bytes || !l->path || !l->regular)
		return n;
	line = (size_t)((const char *)memchr(p, '\n', n) - p) + 1;
	if ((l->out_off == 0 || p[-1] == '\n') && l->size && l->size + line > l->max_bytes)
		file_rotate(l);
	if (l->size + n <= l->max_bytes)
		return n;
	if (l->size + line >= l->max_bytes)
		return line;
	room = (size_t)(l->max_bytes - l->size);
	while (p[room - 1] != '\n')
		room--;
	return room;
}

/** Writes what was taken from the ring: 0, or an errno with the rest kept for the next try. */
static int out_write(struct log *l)
{
	while (l->out_off < l->out_len) {
		size_t piece = out_piece(l); /* before l->fd is looked at: it may rotate */
		ssize_t n = write(l->fd, l->out + l->out_off, piece);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			poll(&(struct pollfd){.fd = l->fd, .events = POLLOUT}, 1, LINGER_MS);
		if (n <= 0)
			return n < 0 ? errno : EIO;
		l->out_off += (size_t)n;
		l->size += (uint64_t)n;
	}
	l->out_len = l->out_off = 0;
	return 0;
}

/** Takes whole lines from the ring; false when it is empty. What waits there is the writer's: no lock to copy it. */
static bool out_fill(struct log *l)
{
	size_t n, first;

	pthread_mutex_lock(&l->lock);
	n = l->used < OUT_BYTES ? l->used : OUT_BYTES;
	pthread_mutex_unlock(&l->lock);
	if (!n)
		return false;
	first = n < LOG_RING_BYTES - l->head ? n : LOG_RING_BYTES - l->head;
	memcpy(l->out, l->ring + l->head, first);
	memcpy(l->out + first, l->ring, n - first);
	while (l->out[n - 1] != '\n')
		n--;
	l->out_len = n;
	l->lingers_next = true;
	pthread_mutex_lock(&l->lock);
	l->head = (l->head + n) % LOG_RING_BYTES;
	l->used -= n;
	ring_note_drops(l);
	pthread_mutex_unlock(&l->lock);
	return true;
}

/* ---- the thread */

/** The condition variables run on the real monotonic clock. */
static struct timespec in_ms(long ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

/** Under the lock. Until a request, a caller's wake-up, or `ms`; 0 = without end. */
static void writer_pause(struct log *l, enum writer_state state, long ms)
{
	struct timespec until = in_ms(ms);
	int err = 0;

	l->state = state;
	while (l->state == state && !l->reopen && !l->closing && err == 0)
		err = ms ? pthread_cond_timedwait(&l->work, &l->lock, &until) : pthread_cond_wait(&l->work, &l->lock);
	l->state = WRITER_BUSY;
}

/** Under the lock, after a turn that took nothing from the ring; false when the thread shall end. */
static bool writer_rest(struct log *l, int err)
{
	if (err == EAGAIN)
		return true; /* out_write has waited */
	if (l->closing)
		return !err && l->used;
	if (err) {
		writer_pause(l, WRITER_BACKS_OFF, RETRY_MS);
	} else if (!l->used) {
		bool lingers = l->lingers_next;

		l->lingers_next = false;
		writer_pause(l, lingers ? WRITER_LINGERS : WRITER_SLEEPS, lingers ? LINGER_MS : 0);
	}
	return true;
}

static bool writer_turn(struct log *l)
{
	bool reopen, go_on;
	int err;

	pthread_mutex_lock(&l->lock);
	reopen = l->reopen;
	l->reopen = false;
	go_on = !l->abandoned;
	pthread_mutex_unlock(&l->lock);
	if (!go_on)
		return false;
	if (reopen)
		file_reopen(l);
	err = out_write(l);
	if (!err && out_fill(l))
		return true;
	pthread_mutex_lock(&l->lock);
	go_on = writer_rest(l, err);
	pthread_mutex_unlock(&l->lock);
	return go_on;
}

static void free_log(struct log *l)
{
	if (l->path && l->fd >= 0)
		close(l->fd);
	pthread_cond_destroy(&l->ended);
	pthread_cond_destroy(&l->work);
	pthread_mutex_destroy(&l->lock);
	if (l->kept)
		log_kept_clear(l->kept);
	free(l->kept);
	free(l->ring);
	free(l->out);
	free(l->path_old);
	free(l->path);
	free(l);
}

static void *writer_main(void *arg)
{
	struct log *l = arg;
	bool abandoned;

	while (writer_turn(l))
		;
	pthread_mutex_lock(&l->lock);
	l->done = true;
	abandoned = l->abandoned;
	pthread_cond_signal(&l->ended);
	pthread_mutex_unlock(&l->lock);
	if (abandoned)
		free_log(l);
	return NULL;
}

/** The program's signals are for its own threads. Those of a fault stay, for they belong to the thread at fault. */
static int start_writer(struct log *l)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP};
	sigset_t blocked, before;
	int err;

	sigfillset(&blocked);
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		sigdelset(&blocked, faults[i]);
	err = pthread_sigmask(SIG_SETMASK, &blocked, &before);
	if (err)
		return err;
	err = pthread_create(&l->thread, NULL, writer_main, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

static int init_sync(struct log *l)
{
	pthread_condattr_t a;

	if (pthread_condattr_init(&a) || pthread_condattr_setclock(&a, CLOCK_MONOTONIC) ||
	    pthread_mutex_init(&l->lock, NULL) || pthread_cond_init(&l->work, &a) || pthread_cond_init(&l->ended, &a))
		return ADIT_ERR_NOMEM;
	pthread_condattr_destroy(&a);
	return 0;
}

static int copy_path(struct log *l, const char *path)
{
	size_t n = strlen(path);

	l->path = str_dup((struct str){path, n});
	l->path_old = malloc(n + 3);
	if (!l->path || !l->path_old)
		return ADIT_ERR_NOMEM;
	memcpy(l->path_old, path, n);
	memcpy(l->path_old + n, ".1", 3);
	return 0;
}

/** What it needs for where its lines go. */
static int add_buffers(struct log *l, const struct log_options *o)
{
	bool stream = !o->path || strcmp(o->path, "-") == 0;

	l->no_file = o->keep && o->no_file;
	if (o->keep && !(l->kept = calloc(1, sizeof(*l->kept))))
		return ADIT_ERR_NOMEM;
	if (l->no_file)
		return 0;
	l->out = malloc(OUT_BYTES);
	l->ring = malloc(LOG_RING_BYTES);
	if (!l->out || !l->ring)
		return ADIT_ERR_NOMEM;
	return stream ? 0 : copy_path(l, o->path);
}

int log_open(struct log **out, const struct log_options *o)
{
	struct log *l = calloc(1, sizeof(*l));
	int err;

	*out = NULL;
	if (!l)
		return ADIT_ERR_NOMEM;
	if (init_sync(l)) {
		free(l);
		return ADIT_ERR_NOMEM;
	}
	l->fd = -1;
	l->format = o->format;
	l->level = o->level;
	l->max_bytes = o->max_bytes;
	l->monotonic = o->monotonic;
	l->program = o->program;
	/* now, because the first use of the calendar may read files that a sandbox takes away later */
	set_date(l, clock_wall_us() / 1000000);
	if (add_buffers(l, o)) {
		free_log(l);
		return ADIT_ERR_NOMEM;
	}
	l->to_stdout = o->path != NULL; /* where there is no path of its own */
	l->held = !l->no_file;
	err = o->held ? 0 : log_start(l);
	if (err) {
		int keep = errno;

		free_log(l);
		errno = keep;
		return err;
	}
	*out = l;
	return 0;
}

int log_start(struct log *l)
{
	int err;

	if (!l || !l->held)
		return 0;
	err = file_open(l);
	if (!err)
		err = start_writer(l);
	l->held = err != 0;
	errno = err;
	return err ? ADIT_ERR_SYS : 0;
}

void log_reopen(struct log *l)
{
	if (!l || l->no_file || l->held)
		return;
	pthread_mutex_lock(&l->lock);
	l->reopen = true;
	pthread_mutex_unlock(&l->lock);
	pthread_cond_signal(&l->work);
}

/** A writer stuck on its file (a pipe nobody reads) is left behind, and frees the log should it ever return. */
void log_close(struct log **l_)
{
	struct timespec until = in_ms(CLOSE_MS);
	struct log *l = l_ ? *l_ : NULL;
	bool done;
	int err = 0;

	if (!l)
		return;
	*l_ = NULL;
	if (l->no_file || log_start(l) < 0) {
		free_log(l);
		return;
	}
	pthread_mutex_lock(&l->lock);
	l->closing = true;
	pthread_cond_signal(&l->work);
	while (!l->done && err == 0)
		err = pthread_cond_timedwait(&l->ended, &l->lock, &until);
	done = l->done;
	l->abandoned = !done;
	if (!done)
		pthread_detach(l->thread);
	pthread_mutex_unlock(&l->lock);
	if (done) {
		pthread_join(l->thread, NULL);
		free_log(l);
	}
}
