/* head: the head of an HTTP message, and a list of fields, whatever version it came in or goes out as.
 * Layer http; no I/O. h1, h2, edge, origin, exchange use it.
 * Field names are lower case always. Text lives in one block that may move: a str taken from a head or a
 * field list is valid until something is next added to that head or list.
 */
#ifndef ADIT_HTTP_HEAD_H
#define ADIT_HTTP_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

/** Fields in one message, cookie crumbs counted one by one. Browsers send about 20, proxies add 10. */
#define HTTP_FIELDS_MAX 100
/** Interim responses before the final one; origins send one or two, and each costs the visitor a head. */
#define HTTP_INTERIM_MAX 16
/** Names and values of one message's head, decoded. nginx and Apache accept 32 KiB by default. */
#define HTTP_HEAD_MAX 32768

struct field {
	uint32_t name, name_len; /* offsets into the block */
	uint32_t value, value_len;
};

struct fields {
	struct field *v;
	char *block;
	uint32_t n, cap;
	uint32_t used, size; /* of the block */
};

void fields_init(struct fields *f);
/** Overwrites what was in it, as the next one does, and frees. */
void fields_free(struct fields *f);
/** Empties the list and keeps its memory for the next message. */
void fields_reset(struct fields *f);

/** Copies; the name is made lower case. 0, ADIT_ERR_NOMEM, or ADIT_ERR_HEAD_TOO_BIG past either limit above. */
int fields_add(struct fields *f, struct str name, struct str value);
/** Removes every field of that (lower-case) name; returns how many there were. */
unsigned fields_remove(struct fields *f, struct str name);
/** The same, and leaves nothing of their values in memory. */
void fields_forget(struct fields *f, struct str name);
/** Removes field `i`, order kept. */
void fields_remove_at(struct fields *f, uint32_t i);
/** Removes all of that name, then adds one. */
int fields_set(struct fields *f, struct str name, struct str value);
/** 0, ADIT_ERR_NOMEM or ADIT_ERR_HEAD_TOO_BIG; `dst` must be initialised, and is emptied first. */
int fields_copy(struct fields *dst, const struct fields *src);

struct str fields_name(const struct fields *f, uint32_t i);
struct str fields_value(const struct fields *f, uint32_t i);
/** The first value of that (lower-case) name; .p is NULL when there is none. */
struct str fields_get(const struct fields *f, struct str name);
bool fields_has(const struct fields *f, struct str name);
/** Is `token` a member of the comma-separated list that all fields of that name make together (RFC 9110 5.6.1)? */
bool fields_has_token(const struct fields *f, struct str name, struct str token);

/** A head's parts besides fields, stored in the field list's block under these places. */
enum head_part {
	HEAD_METHOD,    /* "GET" */
	HEAD_SCHEME,    /* "http" or "https": as the visitor used it */
	HEAD_AUTHORITY, /* host[:port], never empty on a judged request */
	HEAD_PATH,      /* origin-form with query, or "*" for OPTIONS; empty for CONNECT */
	HEAD_PROTOCOL,  /* "" or what an Upgrade or extended CONNECT asks for, "websocket" */
	HEAD_PARTS
};

#define HEAD_LENGTH_UNKNOWN (-1)

struct head {
	struct fields fields; /* without host, content-length and transfer-encoding: those are below */
	struct field parts[HEAD_PARTS]; /* value only */
	int status;     /* 0 = a request; 100..199 informational */
	int minor;      /* 0 or 1 when it came as HTTP/1.x, 2 for HTTP/2 */
	int64_t length; /* body bytes announced, HEAD_LENGTH_UNKNOWN when not. A request without body has 0. */
	bool close;     /* HTTP/1.x: the connection ends after this message */
};

void head_init(struct head *h);
void head_free(struct head *h);
void head_reset(struct head *h);
/** A deep copy; `dst` must be initialised. 0, ADIT_ERR_NOMEM. */
int head_copy(struct head *dst, const struct head *src);

/** Copies the text. 0, ADIT_ERR_NOMEM, ADIT_ERR_HEAD_TOO_BIG. */
int head_set(struct head *h, enum head_part part, struct str value);
struct str head_get(const struct head *h, enum head_part part);

/** Is the body of this response absent whatever its fields say: 1xx, 204, 304, or any answer to HEAD (RFC 9110 6.4.1)? */
bool head_bodyless(int status, struct str request_method);

/** May a request of that method be sent again when no answer came (RFC 9110 section 9.2.2)? */
bool method_idempotent(struct str method);

/** The reason phrase of RFC 9110 section 15, "" for an unknown code; a static string. */
const char *status_reason(int status);

#endif
