/* alloc_fail: allocations that fail when told to: ours by the linker's --wrap, jansson's by its hooks, nghttp2's by
 * an allocator of its own. For unit tests only: one file of a program includes this before all else, and that
 * program is linked with $(WRAP_ALLOC). What the test itself allocates never fails, and is not counted.
 */
#ifndef ADIT_TESTS_ALLOC_FAIL_H
#define ADIT_TESTS_ALLOC_FAIL_H

#include <jansson.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void __wrap_free(void *p);

static struct {
	long in;        /* allocations until the first that fails; < 0: none */
	long more;      /* that fail behind it */
	long failed;    /* so far */
	long live;      /* allocated and not freed */
	long done;      /* allocations since alloc_fail_at */
	unsigned paused;
} alloc_fail = {.in = -1};

static inline bool alloc_fails(void)
{
	if (alloc_fail.paused)
		return false;
	alloc_fail.done++;
	if (alloc_fail.in < 0 || alloc_fail.in-- > 0)
		return false;
	if (alloc_fail.more-- > 0)
		alloc_fail.in = 0;
	alloc_fail.failed++;
	return true;
}

void *__wrap_malloc(size_t n)
{
	void *p = alloc_fails() ? NULL : __real_malloc(n);

	alloc_fail.live += p != NULL;
	return p;
}

void *__wrap_calloc(size_t n, size_t size)
{
	void *p = alloc_fails() ? NULL : __real_calloc(n, size);

	alloc_fail.live += p != NULL;
	return p;
}

void *__wrap_realloc(void *old, size_t n)
{
	void *p = alloc_fails() ? NULL : __real_realloc(old, n);

	alloc_fail.live += p && !old;
	return p;
}

void __wrap_free(void *p)
{
	alloc_fail.live -= p != NULL;
	__real_free(p);
}

/* ---- nghttp2: what it allocates for itself before it has an allocator fails as a whole */

static inline void *alloc_nghttp2_malloc(size_t n, void *arg)
{
	(void)arg;
	return __wrap_malloc(n);
}

static inline void *alloc_nghttp2_calloc(size_t n, size_t size, void *arg)
{
	(void)arg;
	return __wrap_calloc(n, size);
}

/* It does not fail: nghttp2 1.52 frees a DATA frame twice when the queue for it cannot grow. */
static inline void *alloc_nghttp2_realloc(void *old, size_t n, void *arg)
{
	void *p = __real_realloc(old, n);

	(void)arg;
	alloc_fail.live += p && !old;
	return p;
}

static inline void alloc_nghttp2_free(void *p, void *arg)
{
	(void)arg;
	__wrap_free(p);
}

static nghttp2_mem alloc_nghttp2 = {
	NULL, alloc_nghttp2_malloc, alloc_nghttp2_free, alloc_nghttp2_calloc, alloc_nghttp2_realloc,
};

int __real_nghttp2_session_client_new3(nghttp2_session **out, const nghttp2_session_callbacks *c, void *arg,
                                       const nghttp2_option *o, nghttp2_mem *m);
int __real_nghttp2_session_server_new3(nghttp2_session **out, const nghttp2_session_callbacks *c, void *arg,
                                       const nghttp2_option *o, nghttp2_mem *m);
int __wrap_nghttp2_session_client_new3(nghttp2_session **out, const nghttp2_session_callbacks *c, void *arg,
                                       const nghttp2_option *o, nghttp2_mem *m);
int __wrap_nghttp2_session_server_new3(nghttp2_session **out, const nghttp2_session_callbacks *c, void *arg,
                                       const nghttp2_option *o, nghttp2_mem *m);
int __real_nghttp2_option_new(nghttp2_option **out);
int __wrap_nghttp2_option_new(nghttp2_option **out);
int __real_nghttp2_session_callbacks_new(nghttp2_session_callbacks **out);
int __wrap_nghttp2_session_callbacks_new(nghttp2_session_callbacks **out);

int __wrap_nghttp2_session_client_new3(nghttp2_session **out, const nghttp2_session_callbacks *c, void *arg,
                                       const nghttp2_option *o, nghttp2_mem *m)
{
	(void)m; /* h2's own, which overwrites what it frees once a secret has come */
	return __real_nghttp2_session_client_new3(out, c, arg, o, &alloc_nghttp2);
}

int __wrap_nghttp2_session_server_new3(nghttp2_session **out, const nghttp2_session_callbacks *c, void *arg,
                                       const nghttp2_option *o, nghttp2_mem *m)
{
	(void)m; /* h2's own, which overwrites what it frees once a secret has come */
	return __real_nghttp2_session_server_new3(out, c, arg, o, &alloc_nghttp2);
}

int __wrap_nghttp2_option_new(nghttp2_option **out)
{
	return alloc_fails() ? NGHTTP2_ERR_NOMEM : __real_nghttp2_option_new(out);
}

int __wrap_nghttp2_session_callbacks_new(nghttp2_session_callbacks **out)
{
	return alloc_fails() ? NGHTTP2_ERR_NOMEM : __real_nghttp2_session_callbacks_new(out);
}

/* ---- for tests */

/** Once, before anything of jansson's is allocated. */
static inline void alloc_fail_init(void)
{
	json_set_alloc_funcs(__wrap_malloc, __wrap_free);
}

/** The `n`th allocation from now fails (0 = the next), and `more` behind it. n < 0: none. */
static inline void alloc_fail_at(long n, long more)
{
	alloc_fail.in = n;
	alloc_fail.more = more;
	alloc_fail.failed = alloc_fail.done = 0;
}

/** No more; has any failed? */
static inline bool alloc_fail_stop(void)
{
	alloc_fail.in = -1;
	return alloc_fail.failed > 0;
}

/* What scripts make for themselves (half_script.h). */
#define SCRIPT_UNFAILING(on) (void)((on) ? alloc_fail.paused++ : alloc_fail.paused--)

/* The test's own. */
#define malloc(n) __real_malloc(n)
#define calloc(n, size) __real_calloc(n, size)
#define realloc(p, n) __real_realloc(p, n)
#define free(p) __real_free(p)

#endif
