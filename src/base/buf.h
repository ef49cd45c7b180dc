/* buf: a queue of bytes in chunks, filled at the tail and drained at the head.
 * Layer base; everybody uses it.
 * Bytes never move once added, so an iovec of the head stays right while bytes are added at the tail.
 */
#ifndef ADIT_BASE_BUF_H
#define ADIT_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/pool.h"

/** The smallest chunk: a small message fits it, and with its header it is one of the sizes that malloc serves fastest. */
#define BUF_CHUNK_MIN 1000

struct chunk;

struct buf {
	struct chunk *head, *tail;
	size_t len; /* bytes in it; read it directly */
	struct pool *pool; /* where its chunks come from and go to; NULL: malloc and free. It may be set at any time. */
};

#define BUF_INIT {NULL, NULL, 0, NULL}

void buf_init(struct buf *b);

/** Frees what it holds; the buf is empty and usable afterwards. */
void buf_clear(struct buf *b);
/** The same, and overwrites what its chunks hold and held: of bytes that may have a secret among them. */
void buf_wipe(struct buf *b);

/** Copies `n` bytes to the tail. 0, or ADIT_ERR_NOMEM with nothing added. */
int buf_add(struct buf *b, const void *p, size_t n);

/** At least `min` contiguous writable bytes at the tail; `*got` says how many. NULL: out of memory. */
uint8_t *buf_room(struct buf *b, size_t min, size_t *got);

/** Makes the first `n` bytes of the last buf_room part of the queue. */
void buf_commit(struct buf *b, size_t n);

/** Describes the head in at most `max` iovecs; returns how many were filled. Valid until bytes are dropped. */
int buf_iov(const struct buf *b, struct iovec *iov, int max);

/** Takes `n` <= len bytes off the head. */
void buf_drop(struct buf *b, size_t n);

/** Copies up to `n` bytes off the head to `p` and drops them; returns how many. */
size_t buf_take(struct buf *b, void *p, size_t n);

/** Appends all of `src` to `dst` without copying; `src` is empty afterwards. */
void buf_splice(struct buf *dst, struct buf *src);

#endif
