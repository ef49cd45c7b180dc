/* conf_rules: who may do what at a tunnel (adit) or with what a token publishes (aditd): the same keys in both files.
 * Layer conf; the two configurations hold them, rules/ applies them.
 * Invariants: what is returned is never changed again, so that whoever uses it keeps it with a reference of its own
 * over a new configuration; an entry without any of the keys has none (NULL).
 */
#ifndef ADIT_CONF_CONF_RULES_H
#define ADIT_CONF_CONF_RULES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/** Entries of each list: they are looked through for each request. */
#define CONF_RULES_LIST_MAX 256
/** Bytes of a user's name and of a password: what hashing it may cost is settled by that too. */
#define CONF_USER_MAX 64
#define CONF_PASSWORD_MAX 128
/** Fields that are set, or removed, in one direction. */
#define CONF_EDITS_MAX 32
/** A field's value: far below what a head may have (http/head.h). */
#define CONF_FIELD_MAX 1024

/** An address block, IPv4 stored as mapped IPv6; unix peers match "unix". Bits past `bits` are as written. */
struct conf_cidr {
	struct in6_addr address;
	unsigned bits; /* 0..128 */
};

struct conf_cidrs {
	struct conf_cidr *at;
	size_t count;
};

struct conf_login {
	char *user;
	char *secret; /* as hashed says; wiped when freed */
	bool hashed;  /* crypt(5): SHA-crypt or bcrypt, of bounded cost; else the password itself */
};

struct conf_logins {
	struct conf_login *at;
	size_t count;
};

struct conf_field {
	char *name; /* lower case */
	char *value; /* NULL: it is taken out */
};

struct conf_fields {
	struct conf_field *at;
	size_t count;
};

/** What is changed in a head: first fields are taken out, then others set. */
struct conf_edits {
	bool given;
	struct conf_fields set, remove;
};

struct conf_rules {
	unsigned refs;
	struct conf_cidrs allow, deny;
	struct conf_logins logins;    /* those of the file behind those of the list */
	char *login_file;
	struct conf_edits request, response;
	uint64_t max_body;            /* 0 = no limit, as in those below */
	unsigned requests_per_second;
	unsigned requests_burst;      /* 0 = as many as a second's */
	uint64_t bandwidth;           /* bytes a second, each way */
};

/** Another reference; NULL is fine. */
struct conf_rules *conf_rules_ref(struct conf_rules *r);
void conf_rules_unref(struct conf_rules **r);

/** Textual IP address, with a port, brackets or a zone or without; IPv4 as mapped IPv6. */
bool conf_address(struct str text, struct in6_addr *out);
/** Does an address get in? Denied ones do not, and where some are allowed only those do. NULL: it is not known, and
 *  gets in where nothing is said of addresses. */
bool conf_rules_admit(const struct conf_rules *r, const struct in6_addr *visitor);

#endif
