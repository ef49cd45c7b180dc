/* conf_int: the option table as C, and the parts of conf that share it.
 * For src/conf/ and its tests only.
 * A value's parser writes "found X, wanted Y" to the error; who knows where the value stood puts that in front
 * (conf_blame_line, conf_blame_flag). So there is one text for a bad value, wherever it came from.
 */
#ifndef ADIT_CONF_CONF_INT_H
#define ADIT_CONF_CONF_INT_H

#include <stdio.h>

#include "base/str.h"
#include "conf/conf.h"

enum opt_section {
	SECTION_SERVER, SECTION_LISTEN, SECTION_TLS, SECTION_CERTIFICATE, SECTION_TOKEN, SECTION_SERVER_CALL,
	SECTION_CLIENT, SECTION_TUNNEL, SECTION_ROUTE, SECTION_CLIENT_CALL,
	/* of both programs; their flags are adit's */
	SECTION_RULES, SECTION_EDITS
};

enum opt_kind {
	KIND_BOOL, KIND_UINT, KIND_SIZE, KIND_TIME, KIND_CHOICE, KIND_PATH, KIND_LOG_PATH, KIND_READABLE, KIND_DOMAIN,
	KIND_ADDRESS,
	KIND_LOOPBACK, KIND_LABEL, KIND_SHA256, KIND_PUBLIC_URL, KIND_SERVER_URL, KIND_HOST, KIND_IP, KIND_ORIGIN,
	KIND_HOST_HEADER, KIND_PROXY, KIND_ROUTE_PATH, KIND_LOGIN_FILE,
	/* a scalar or a list: */
	KIND_NAMES,
	/* not scalars: */
	KIND_PATTERNS, KIND_PORTS, KIND_PROXIES, KIND_CARRIERS, KIND_BLOCKS, KIND_LOGINS, KIND_FIELD_NAMES,
	KIND_FIELDS,
	KIND_LIST, KIND_MAP, KIND_PART,
	/* no value of its own */
	KIND_WITH
};

struct opt_type {
	enum opt_kind kind;
	unsigned least, most;    /* KIND_UINT, KIND_TIME (milliseconds), KIND_SIZE (least) */
	const char *choices;     /* KIND_CHOICE: "text|json" */
	enum opt_section items;  /* KIND_LIST, KIND_MAP, KIND_PART, KIND_WITH */
};

/** One row of conf/opts.def. */
struct opt {
	enum opt_section section;
	const char *key, *flag, *argument;
	struct opt_type type;
	size_t offset;
	const char *fallback, *help;
};

enum {
	OPT_COUNT = 0
#define X(section, key, flag, argument, type, field, fallback, help) +1
#include "conf/opts.def"
#undef X
};

extern const struct opt conf_options[OPT_COUNT];

struct conf_source;
struct conf_args;

/** Options of the command line that are no settings. */
struct conf_call {
	bool help, version, check_config, new_token, json, follow;
	unsigned idle_seconds;
	char *file;
};

/** NULL when there is none. */
const struct opt *conf_option(enum opt_section section, struct str key);
/** Is it a row of the section, or of one whose keys stand among its own? */
bool conf_belongs(const struct opt *o, enum opt_section section);
/** The struct that such a row's field is in, where the section's is `base`; NULL: out of memory. */
void *conf_base(const struct opt *o, enum opt_section section, void *base);
bool conf_option_required(const struct opt *o);
/** The row with this flag that the program `server` (else adit) takes. */
const struct opt *conf_option_flag(bool server, struct str flag);
bool conf_section_of_server(enum opt_section section);

/** Does a typed `word` look like `known`? How far off it is: 0 = the same, SIZE_MAX = not alike. */
size_t conf_distance(struct str word, struct str known);

/* ---- errors (conf_error.c): all return ADIT_ERR_CONFIG */

/** A found value for a message: quoted, control bytes escaped, cut; what looks like a token is not shown. */
struct conf_quoted {
	char text[104];
};
struct conf_quoted conf_quote(struct str s);

int conf_say(struct conf_error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));
int conf_found(struct conf_error *e, struct str found, const char *wanted);
/** "found X, the same as LIST[INDEX], wanted another WHAT" */
int conf_same(struct conf_error *e, const char *found, const char *list, size_t index, const char *what);
int conf_nomem(struct conf_error *e);
/** Puts "FILE:LINE: PATH: " in front ("PATH: " only when there is a path). */
int conf_blame_line(struct conf_error *e, const char *file, size_t line, const char *path);
/** Puts "PROGRAM: --FLAG: " in front. */
int conf_blame_flag(struct conf_error *e, const char *program, const char *flag);

/* ---- values (conf_value.c, conf_addr.c): 0, or ADIT_ERR_CONFIG with "found X, wanted Y" in `e` */

/** Sets the row's field in `base` from text. Relative paths are put below `folder` ("" = leave them). */
int conf_set(const struct opt *o, void *base, struct str text, const char *folder, struct conf_error *e);
/** Gives all fields of the section their defaults. */
int conf_defaults(enum opt_section section, void *base, struct conf_error *e);
/** "found NOTHING" with what the row wants. */
int conf_missing(const struct opt *o, const char *found, struct conf_error *e);
/** What a row wants, for messages. */
void conf_wanted(const struct opt *o, char *out, size_t size);
/** `path` itself or below `folder`; NULL: out of memory. */
char *conf_path(const char *folder, struct str path);
/** Frees `*to` and makes it a copy of `s`. */
int conf_replace(char **to, struct str s, struct conf_error *e);
/** One more entry of `size` bytes, zeroed, at the end of a list; NULL: out of memory. */
void *conf_grow(void **items, size_t *count, size_t size);
/** The same for the list that holds `items`. */
void *conf_add_item(enum opt_section items, void *base);
int conf_add_pattern(struct conf_token *t, struct str text, struct conf_error *e);
int conf_add_ports(struct conf_token *t, struct str text, struct conf_error *e);
int conf_add_proxy(struct conf_server *c, struct str text, struct conf_error *e);
int conf_add_carrier(struct conf_client *c, struct str text, struct conf_error *e);

/* conf_rules.c: entries of the lists that rules are made of */
struct conf_rules *conf_rules_new(void);
int conf_add_block(struct conf_cidrs *b, struct str text, struct conf_error *e);
/** "USER:HASH", or with `plain` "USER:PASSWORD". No message shows a password. */
int conf_add_login(struct conf_logins *l, struct str text, bool plain, struct conf_error *e);
int conf_read_logins(struct conf_logins *l, const char *file, struct conf_error *e);
/** `value` without .p: the field is to be removed. */
int conf_add_field(struct conf_fields *f, struct str name, struct str value, struct conf_error *e);
/** Does it fit together? Else `*key` is whose fault it is. */
int conf_check_rules(const struct conf_rules *r, const char **key, struct conf_error *e);

/* conf_proxy.c */
/** "http://[USER:PASSWORD@]HOST[:PORT]", or none. No message shows the password. */
int conf_set_proxy(struct conf_client *c, struct str text, struct conf_error *e);
/** Drops "none", or without any takes the environment's for the server, unless NO_PROXY names that. */
int conf_find_proxy(const struct conf_args *a, const struct conf_source *s, struct conf_client *c, struct conf_error *e);

/** Why this is no name (pattern: a name with `*` anywhere): what was wanted instead; NULL when it is one. Lower case. */
const char *conf_name_wrong(struct str name, bool pattern);
bool conf_is_domain(struct str s);
/** Textual IP address without brackets; IPv4 as mapped IPv6. */
bool conf_ip(struct str s, struct in6_addr *out, bool *v4);
bool conf_is_loopback(struct str host);
/** "10.0.0.0/8", "10.0.0.1": a block of one. */
bool conf_block(struct str text, struct conf_cidr *out);
bool conf_in_block(const struct conf_cidr *block, const struct in6_addr *a);
bool conf_is_host(struct str s);
/** Decimal, at least `lowest`. */
bool conf_port(struct str s, unsigned lowest, uint16_t *out);
/** HOST, HOST:PORT, [IPv6], [IPv6]:PORT; `port` is empty (p NULL) when there is none. */
bool conf_split_port(struct str s, struct str *host, struct str *port);
/** sun_path without its NUL. */
#define CONF_UNIX_PATH_MAX 107
/** "unix:PATH" */
bool conf_is_unix(struct str s, struct str *path);
/** "127.0.0.1:80", "[::1]:80", ":80", "unix:PATH". */
bool conf_is_listen_address(struct str s, bool *loopback);

/** Where a URL points; the host without brackets, borrowed from the text. */
struct conf_url {
	bool tls;
	struct str host;
	uint16_t port;
};

/** "http[s]://HOST[:PORT][/]" and no more; `wanted` ends the message. */
int conf_url_parse(struct str text, const char *wanted, struct conf_url *out, struct conf_error *e);
/** How a token may come, for messages. */
extern const char conf_token_ways[];

/* conf_origin.c */
extern const char conf_origin_wanted[];
/** Sets text and parts; the path of a unix origin is left as it is. */
int conf_set_origin(struct conf_origin *o, struct str text, struct conf_error *e);
int conf_set_route_path(char **field, struct str text, struct conf_error *e);
/** conf_tunnels.c: does everything fit together? Puts routes in their order. */
int conf_check_tunnels(const struct conf_args *a, const struct conf_source *s, struct conf_client *c,
                       struct conf_error *e);

/* ---- files (conf.c) */

#define CONF_FILE_MAX (1024 * 1024)
/** Nesting of lists and mappings: the deepest real file has 4. */
#define CONF_DEPTH_MAX 16

struct yaml_document_s;
/** conf_yaml.c: a document of plain keys, lists and values, which the caller deletes; `file` is for messages. */
int conf_yaml_load(const char *file, const char *text, size_t len, struct yaml_document_s *out, struct conf_error *e);
/** Reads and parses a YAML file. The whole line is in `e` after an error. */
int conf_source_open(struct conf_source **out, const char *program, const char *file, struct conf_error *e);
/** Sets everything that the file says. The whole line is in `e` after an error. */
int conf_source_walk(struct conf_source *s, enum opt_section root, void *base, struct conf_error *e);
/** Puts file, line and path before the error, for something found wrong after the walk. */
int conf_source_blame(const struct conf_source *s, const char *path, struct conf_error *e);
void conf_source_close(struct conf_source **s);

/** A file of at most `max` bytes, and a NUL not counted. 0, ADIT_ERR_SYS (errno), _NOMEM or _LIMIT (bigger). */
int conf_slurp(const char *file, size_t max, char **out, size_t *len);

/* ---- the command line (argv.c) and the checks of the whole (conf_server.c, conf_client.c) */

/** A command line, taken apart. */
struct conf_args {
	const char *program;
	bool server;
	const char *command;            /* adit: "http", "tcp", "start", "doctor" or "trace" */
	const char *origin;
	const char *files[CONF_TRACES_MAX]; /* trace */
	size_t file_count;
	const char *given[OPT_COUNT];   /* what flags were given, by row; NULL = not */
	bool again;                     /* SIGHUP: what is settled at the start is not looked up anew */
	struct conf_call call;
};

/** Says who set the row: the flag if it was given, else the place in the file, else the flag that is missing. */
int conf_blame(const struct conf_args *a, const struct conf_source *s, const struct opt *o, struct conf_error *e);
int conf_args_parse(struct conf_args *a, int argc, char **argv, struct conf_error *e);
/** Sets what flags of this section said. */
int conf_args_apply(const struct conf_args *a, enum opt_section section, void *base, struct conf_error *e);
/** An error when a required row of the section was set neither by the file nor by a flag. */
int conf_args_required(const struct conf_args *a, const struct conf_source *s, enum opt_section section,
                       const void *base, struct conf_error *e);
void conf_args_clear(struct conf_args *a);

/** conf_user.c: looks up who that is. `runs`: the program will have to become it, and not just check the file. */
int conf_find_user(struct conf_user *u, const struct conf_source *s, bool runs, struct conf_error *e);

int conf_server_build(const struct conf_args *a, struct conf_server **out, struct conf_error *e);
int conf_client_build(const struct conf_args *a, struct conf_client **out, struct conf_error *e);

void conf_help(FILE *to, bool server);
/** A new token and the entry for aditd.yaml. */
int conf_new_token(FILE *to);
/** conf_server_argv and conf_client_argv, printing to `to`. */
enum conf_action conf_server_call(FILE *to, int argc, char **argv, struct conf_server **out, struct conf_error *e);
enum conf_action conf_client_call(FILE *to, int argc, char **argv, struct conf_client **out, struct conf_error *e);

#endif
