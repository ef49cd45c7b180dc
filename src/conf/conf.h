/* conf: the two programs' settings, from file, flags and environment, checked as a whole.
 * Layer conf (uses base only); the mains and what they wire read the structs.
 * Invariants: a conf that was returned is complete and consistent; every option is one row of conf/opts.def, from
 * which the file's keys, the flags, --help and the tests' tables come. Files are read at start and at SIGHUP only.
 */
#ifndef ADIT_CONF_CONF_H
#define ADIT_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/digest.h"
#include "base/log.h"
#include "base/str.h"
#include "conf/conf_rules.h"

/**
 * The one line that says what is wrong: "aditd.yaml:7: listen[1].tls.certificate: found …, wanted …", or for a flag
 * "adit: --server: found …, wanted …". It is complete and holds no token; the mains print it and exit 2.
 */
struct conf_error {
	char text[512];
};

struct conf_listen {
	char *address;        /* "127.0.0.1:8080", "[::1]:8080", ":8080" (all), "unix:/path" */
	bool tls;
	char *certificate, *key; /* PEM paths, relative ones from the config file's folder; set when tls */
	bool proxy_protocol;
};

/** Certificates beside a listener's own: each handshake may look at all of them. */
#define CONF_CERTIFICATES_MAX 256
struct conf_certificate {
	char *certificate, *key; /* PEM paths */
};

struct conf_ports {
	uint16_t first, last; /* both included, first <= last */
};

struct conf_token {
	char *name;
	uint8_t sha256[SHA256_LEN];
	char **names;         /* globs of the names (or full custom domains) it may claim; "*" = any label but r-… */
	size_t name_count;
	struct conf_ports *ports; /* TCP ports it may publish */
	size_t port_count;
	struct conf_rules *rules; /* for visitors of what it publishes; NULL = none */
};

/** Whom to become; looked up at the start only. */
struct conf_user {
	char *name, *group;   /* NULL: nobody else; the user's own and those it is a member of */
	uid_t uid;
	gid_t gid;
	gid_t *groups;        /* the supplementary ones */
	size_t group_count;
};

enum conf_sandbox { CONF_SANDBOX_OFF, CONF_SANDBOX_ON };

/** aditd.yaml */
struct conf_server {
	char *domain;         /* lower case, no dot at either end */
	struct conf_listen *listen;
	size_t listen_count;
	struct conf_token *tokens;
	size_t token_count;
	struct conf_certificate *certificates; /* chosen by SNI; a listener's own when none fits */
	size_t certificate_count;
	char *tcp_address;    /* where published TCP ports listen, without a port; NULL = everywhere */
	struct conf_cidr *trusted_proxies;
	size_t trusted_count;
	bool trust_unix;      /* "unix" stood in trusted_proxies */
	char *admin;          /* address of the admin listener: loopback or unix:; NULL = none */
	char *public_url;     /* how names are published: "https://NAME.tunnel.example.com"; NULL = by listeners */
	char *access_log;     /* path, "-" = standard output, NULL = off */
	char *trace;          /* path or NULL */
	enum log_format log_format;
	enum log_level log_level;
	unsigned resume_seconds;    /* 30, 0..60: how long a detached link is kept */
	unsigned drain_seconds;     /* 30, 0..3600 */
	unsigned heartbeat_seconds; /* 30, 1..3600 */
	unsigned max_visitors;      /* 10000: visitor connections at once */
	uint64_t max_memory;        /* 0 = a share of what the system gives */
	struct conf_user user;
	enum conf_sandbox sandbox;
	bool take_over;       /* the sockets of the aditd that listens on `admin`, which is unix: then */
	bool dev;
	char *dev_dir;        /* with dev: the folder for its files; NULL = the main makes a fresh private one */
	char *dev_address;    /* with dev: where to listen, loopback; NULL otherwise */
	char *file;           /* where it was read from; NULL with dev */
};

enum conf_protocol { CONF_HTTP, CONF_HTTPS, CONF_H2C, CONF_H2, CONF_TCP };

/** Where requests go: "3000" (on 127.0.0.1), "HOST:PORT", "https://HOST[:PORT]", "unix:/path", …, taken apart. */
struct conf_origin {
	char *text;           /* as written */
	enum conf_protocol protocol; /* CONF_TCP: bytes, of whatever protocol */
	char *host;           /* name or address, NULL when unix */
	uint16_t port;
	char *unix_path;      /* NULL when not */
};

/** Which of a tunnel's paths go to which origin. */
struct conf_route {
	char *path;           /* "/api": itself and what is below it; NULL = all that has no other route */
	struct conf_origin origin;
	char *host_header;    /* what Host the origin gets; NULL = the visitor's */
	char *origin_ca;      /* PEM path, NULL = the system's; of HTTPS and H2 origins, like the two below */
	char *origin_server_name; /* in its certificate; NULL = its host */
	bool origin_insecure; /* any certificate will do; loopback only */
};

/** Names in all tunnels of one adit: what a HELLO takes. */
#define CONF_NAMES_MAX 64
/** Routes of one tunnel: they are looked through for each request. */
#define CONF_ROUTES_MAX 64

struct conf_tunnel {
	char **names;         /* labels, custom domains, "*" and "*.DOMAIN"; none: a random one, or a port */
	size_t name_count;
	struct conf_route own;     /* its path is NULL */
	struct conf_route *routes; /* longest path first */
	size_t route_count;
	unsigned remote_port; /* TCP: where it is published; 0 = the server chooses */
	bool send_proxy;      /* TCP: begin each connection with a PROXY protocol v2 header */
	struct conf_rules *rules; /* for its visitors; NULL = none */
};

/** adit trace: both ends of a link, and some more clients of the server. */
#define CONF_TRACES_MAX 16

enum conf_carrier {
	CONF_CARRIER_AUTO, CONF_CARRIER_DIRECT, CONF_CARRIER_WS_H2, CONF_CARRIER_WS_H1, CONF_CARRIER_POLL
};

/** adit.yaml and adit's flags */
struct conf_client {
	char *server;         /* as written, https://host[:port] or http:// on loopback */
	bool server_tls;
	char *server_host;
	uint16_t server_port;
	char *server_name;    /* TLS and Host name; defaults to server_host */
	char *ca;             /* PEM path, NULL = the system's */
	char *client_certificate, *client_key; /* PEM paths, both or neither */
	enum conf_sandbox sandbox;
	char *token_file;     /* NULL: the environment's ADIT_TOKEN */
	char *token;          /* read from either; wiped by conf_client_free */
	char warning[160];    /* something to log that is no error (others can read the token file); "" = nothing */
	enum conf_carrier carrier;
	unsigned carriers;    /* bits 1 << CONF_CARRIER_…: those that may be tried; 0 = all */
	char *proxy;          /* http://HOST:PORT as messages show it, without a password; NULL = none */
	char *proxy_host;
	uint16_t proxy_port;
	char *proxy_credentials; /* base64 of USER:PASSWORD, NULL = none; wiped by conf_client_free */
	struct conf_tunnel *tunnels;
	size_t tunnel_count;
	char *trace;
	char *state_dir;      /* of the client key and the carriers that worked: $XDG_STATE_HOME/adit, ~/.local/state/adit; NULL = kept nowhere */
	enum log_format log_format;
	enum log_level log_level;
	uint64_t max_memory;        /* as a server's */
	unsigned heartbeat_seconds; /* 30, 1..3600 */
	unsigned climb_ms;          /* 300000, 100..3600000: session/climb.h */
	unsigned poll_hold_ms;      /* 20000, 0..20000 */
	unsigned poll_interval_ms;  /* 0, 0..60000: from an answer to the next poll */
	char *file;           /* NULL when everything came from flags */
	bool doctor;          /* look at the way to the server and publish nothing: there may be no tunnels */
	bool json;            /* with doctor and trace: print JSON */
	unsigned idle_seconds; /* with doctor: 0 = do not measure, 1..3600 */
	/* Print what these files tell, and nothing else: all settings are unset. argv's. */
	const char *traces[CONF_TRACES_MAX];
	size_t trace_count;
	bool follow;          /* with traces: go on as they grow */
};

/** What a command line asked for besides settings. */
enum conf_action {
	CONF_RUN,
	CONF_DONE,            /* --help, --version, --new-token, --check-config did their work: exit 0 */
	CONF_FAILED,          /* the line stands in the error: exit 2 */
};

/**
 * aditd: reads argv and the file it names. CONF_RUN gives `*out` (conf_server_free it).
 *   aditd -c FILE [--check-config] [--take-over] [--dev [--dev-dir DIR] [--dev-listen ADDRESS]] [--new-token]
 *         [--trace FILE] [--access-log FILE] [--log-format text|json] [--log-level …] [--version] [--help]
 * With --dev, which excludes -c, a conf with dev = true, domain "adit.localhost", dev_address and no listeners or tokens
 * is returned; the main fills them in. CONF_DONE has printed what was asked for to standard output.
 */
enum conf_action conf_server_argv(int argc, char **argv, struct conf_server **out, struct conf_error *e);
/** Reads the same file again with the same flags (SIGHUP): 0 and a new conf, or ADIT_ERR_CONFIG: keep the old one. */
int conf_server_reread(int argc, char **argv, struct conf_server **out, struct conf_error *e);
void conf_server_free(struct conf_server **c);

/**
 * adit: `adit http ORIGIN [flags]`, `adit tcp ORIGIN [flags]`, `adit start [-c FILE] [flags]` (default: ./adit.yaml, then
 * $XDG_CONFIG_HOME/adit/adit.yaml; flags come before the file), `adit doctor [-c FILE] [--json] [--idle SECONDS]
 * [flags]`, `adit trace FILE... [--json] [--follow]`, --help, --version.
 */
enum conf_action conf_client_argv(int argc, char **argv, struct conf_client **out, struct conf_error *e);
int conf_client_reread(int argc, char **argv, struct conf_client **out, struct conf_error *e);
void conf_client_free(struct conf_client **c);

/** What a configuration's files are for. */
enum conf_file {
	CONF_FILE_READ,   /* read at the start and at SIGHUP */
	CONF_FILE_LOG,    /* appended to, reopened, rotated */
	CONF_FILE_SOCKET, /* a listener's, made and removed */
	CONF_FILE_FOLDER, /* a folder whose files are read, written and replaced */
};

/** Calls `fn` for each file that the configuration names, and for the one it was read from. Paths are borrowed. */
typedef void conf_file_fn(void *arg, const char *path, enum conf_file use);
void conf_server_files(const struct conf_server *c, conf_file_fn *fn, void *arg);
void conf_client_files(const struct conf_client *c, conf_file_fn *fn, void *arg);

/** The origin as people read it and as random names derive from it, however it was written: "http://127.0.0.1:3000".
 *  Longer ones are cut. */
#define CONF_ORIGIN_TEXT_MAX 300
void conf_origin_text(const struct conf_origin *o, char out[CONF_ORIGIN_TEXT_MAX]);

/** The route of a request with that path (query included); never NULL. */
const struct conf_route *conf_tunnel_route(const struct conf_tunnel *t, struct str path);

/** The wildcard that covers a name, when nobody has the name itself: "*" for a label, "*.DOMAIN" for what is directly
 *  below that domain; "" for random names and ports, which none covers. */
void conf_wildcard_of(const char *name, char out[256]);

/** How TCP ports are named on the wire and in the registry: "tcp:5432", "tcp:0" = one of the server's choice. */
#define CONF_PORT_NAME_MAX 10
void conf_port_name(unsigned port, char out[CONF_PORT_NAME_MAX]);
/** Is it such a name? Then `*port` is set. */
bool conf_port_of_name(const char *name, uint16_t *port);

/** Does this NO_PROXY list ("*", hosts and what is below them, addresses, blocks, each with :PORT or not) name it? */
bool conf_no_proxy(const char *list, const char *host, uint16_t port);

/** Is `address` (textual IP, no port, or "unix") in the list? */
bool conf_trusts(const struct conf_server *c, const char *address);

/**
 * May this token claim that name (already lower case), which may be a TCP port's? Names beginning "r-" never. `*` does
 * not reach over a dot: a custom domain can be claimed only by a pattern with as many labels.
 */
bool conf_token_may_claim(const struct conf_token *t, const char *name);
/** May it publish that TCP port? 0: any at all. */
bool conf_token_may_listen(const struct conf_token *t, uint16_t port);

#endif
