#include "conf/conf_int.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.1.0"
#endif

#include <stdlib.h>

#include "base/err.h"

/* ---- taking a command line apart */

static int bad_usage(const struct conf_args *a, struct str found, const char *wanted, struct conf_error *e)
{
	return conf_say(e, "%s: found %s, wanted %s (see %s --help)", a->program, conf_quote(found).text, wanted,
	                a->program);
}

/* Only the flag's name is shown, never what may stand behind its "=". */
static int unknown_flag(const struct conf_args *a, struct str flag, struct conf_error *e)
{
	const struct opt *nearest = NULL;
	struct conf_quoted q = conf_quote(flag);
	size_t best = SIZE_MAX, quotes = q.text[0] == '"' ? 1 : 0, bare = 0;

	while (bare < flag.n && flag.p[bare] == '-')
		bare++;
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &conf_options[i];
		size_t d;

		if (conf_section_of_server(o->section) != a->server || !o->flag[0] || !o->flag[1])
			continue;
		d = conf_distance((struct str){flag.p + bare, flag.n - bare}, str_of(o->flag));
		if (d < best) {
			best = d;
			nearest = o;
		}
	}
	return conf_say(e, "%s: %.*s: found an unknown flag, wanted %s%s", a->program,
	                (int)(strlen(q.text) - 2 * quotes), q.text + quotes,
	                nearest ? "perhaps --" : a->server ? "one of those that aditd --help lists" :
	                                                     "one of those that adit --help lists",
	                nearest ? nearest->flag : "");
}

/* A command line is public on its machine: ps shows it to every user. */
static int refuse_token(const struct conf_args *a, struct conf_error *e)
{
	conf_say(e, "found a token in the command line, where everybody can read it, wanted %s", conf_token_ways);
	return conf_blame_flag(e, a->program, "token");
}

static int refuse_password(const struct conf_args *a, struct conf_error *e)
{
	conf_say(e, "found a user name or password in the command line, where everybody can read it, wanted the file's "
	            "proxy or the environment's HTTPS_PROXY");
	return conf_blame_flag(e, a->program, "proxy");
}

static const struct opt *find_flag(const struct conf_args *a, struct str name)
{
	size_t dashes = name.n > 1 && name.p[1] == '-' ? 2 : 1;
	struct str bare = {name.p + dashes, name.n - dashes};

	/* one letter, one dash */
	if ((dashes == 1) != (bare.n == 1))
		return NULL;
	return conf_option_flag(a->server, bare);
}

/* The flag at argv[*i], and its argument; `*i` is left at the last word used. */
static int take_flag(struct conf_args *a, int argc, char **argv, int *i, struct conf_error *e)
{
	struct str name = str_of(argv[*i]), value = name;
	const struct opt *o;

	str_split(&value, '=', &name);
	if (!a->server && str_eq(name, STR("--token")))
		return refuse_token(a, e);
	o = find_flag(a, name);
	if (!o)
		return unknown_flag(a, name, e);
	if (a->given[o - conf_options]) {
		conf_say(e, "found twice, wanted once");
		return conf_blame_flag(e, a->program, o->flag);
	}
	if (!*o->argument) {
		if (value.p) {
			conf_say(e, "found an argument, wanted none");
			return conf_blame_flag(e, a->program, o->flag);
		}
		a->given[o - conf_options] = "true";
		return 0;
	}
	if (!value.p && *i + 1 < argc && (argv[*i + 1][0] != '-' || !argv[*i + 1][1]))
		value = str_of(argv[++*i]);
	if (!value.p) {
		conf_say(e, "found no argument, wanted %s", o->argument);
		return conf_blame_flag(e, a->program, o->flag);
	}
	if (o->type.kind == KIND_PROXY && memchr(value.p, '@', value.n))
		return refuse_password(a, e);
	a->given[o - conf_options] = value.p;
	return 0;
}

#define COMMANDS "http, tcp, start, doctor or trace"

static bool is_command(const char *word)
{
	static const char *const all[] = {"http", "tcp", "start", "doctor", "trace"};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(word, all[i]) == 0)
			return true;
	return false;
}

/* Does the command line itself say what to publish? */
static bool takes_origin(const struct conf_args *a)
{
	return strcmp(a->command, "http") == 0 || strcmp(a->command, "tcp") == 0;
}

static int take_word(struct conf_args *a, const char *word, struct conf_error *e)
{
	if (a->server)
		return bad_usage(a, str_of(word), "flags only", e);
	if (!a->command) {
		if (!is_command(word))
			return bad_usage(a, str_of(word), COMMANDS, e);
		a->command = word;
		return 0;
	}
	if (strcmp(a->command, "trace") == 0) {
		if (a->file_count == CONF_TRACES_MAX)
			return conf_say(e, "%s: trace: found more files than it can merge, wanted at most %d", a->program,
			                CONF_TRACES_MAX);
		a->files[a->file_count++] = word;
		return 0;
	}
	if (!takes_origin(a) || a->origin)
		return bad_usage(a, str_of(word),
		                 a->origin ? "one ORIGIN"
		                 : a->command[0] == 's' ? "flags only after start" : "flags only after doctor", e);
	a->origin = word;
	return 0;
}

/* It reads files that say all there is to say. */
static int check_trace(const struct conf_args *a, struct conf_error *e)
{
	if (!a->file_count)
		return conf_say(e, "%s: trace: found no FILE, wanted what --trace has written", a->program);
	for (size_t i = 0; i < OPT_COUNT; i++)
		if (a->given[i] && strcmp(conf_options[i].flag, "json") != 0 &&
		    strcmp(conf_options[i].flag, "follow") != 0) {
			conf_say(e, "found after trace, wanted FILE..., --json or --follow");
			return conf_blame_flag(e, a->program, conf_options[i].flag);
		}
	return 0;
}

/* Flags that say how something is published belong to http or tcp: to both when the help names neither. */
static int check_tunnel_flags(const struct conf_args *a, struct conf_error *e)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &conf_options[i];
		struct str only = str_of(o->help);

		if (!a->given[i] || !conf_belongs(o, SECTION_TUNNEL))
			continue;
		if (!takes_origin(a))
			conf_say(e, a->command[0] == 'd' ? "found after doctor, which publishes nothing, wanted http ORIGIN"
			                                 : "found after start, wanted %s in the file's tunnels", o->key);
		else if (str_starts(only, STR("http: ")) && strcmp(a->command, "http") != 0)
			conf_say(e, "found after tcp, wanted adit http");
		else if (str_starts(only, STR("tcp: ")) && strcmp(a->command, "tcp") != 0)
			conf_say(e, "found after http, wanted adit tcp");
		else
			continue;
		return conf_blame_flag(e, a->program, o->flag);
	}
	return 0;
}

/* What only fits some of adit's commands. */
static int check_command(const struct conf_args *a, struct conf_error *e)
{
	bool doctor;

	if (!a->command)
		return conf_say(e, "%s: found no command, wanted " COMMANDS " (see adit --help)", a->program);
	if (strcmp(a->command, "trace") == 0)
		return check_trace(a, e);
	doctor = strcmp(a->command, "doctor") == 0;
	if ((a->call.json || a->call.idle_seconds) && !doctor) {
		conf_say(e, "found after %s, wanted adit doctor%s", a->command, a->call.json ? " or adit trace" : "");
		return conf_blame_flag(e, a->program, a->call.json ? "json" : "idle");
	}
	if (a->call.follow) {
		conf_say(e, "found after %s, wanted adit trace", a->command);
		return conf_blame_flag(e, a->program, "follow");
	}
	if (takes_origin(a) && !a->origin)
		return conf_say(e, "%s: ORIGIN: found nothing, wanted %s", a->program, conf_origin_wanted);
	if (takes_origin(a) && a->call.file) {
		conf_say(e, "found after %s, wanted adit start -c FILE", a->command);
		return conf_blame_flag(e, a->program, "c");
	}
	return check_tunnel_flags(a, e);
}

int conf_args_parse(struct conf_args *a, int argc, char **argv, struct conf_error *e)
{
	bool words_only = false;
	int r = 0;

	for (int i = 1; !r && i < argc; i++) {
		if (words_only || argv[i][0] != '-' || !argv[i][1])
			r = take_word(a, argv[i], e);
		else if (strcmp(argv[i], "--") == 0)
			words_only = true;
		else
			r = take_flag(a, argc, argv, &i, e);
	}
	if (!r)
		r = conf_args_apply(a, a->server ? SECTION_SERVER_CALL : SECTION_CLIENT_CALL, &a->call, e);
	if (!r && !a->server && !a->call.help && !a->call.version)
		r = check_command(a, e);
	return r;
}

void conf_args_clear(struct conf_args *a)
{
	free(a->call.file);
	a->call.file = NULL;
}

int conf_args_apply(const struct conf_args *a, enum opt_section section, void *base, struct conf_error *e)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &conf_options[i];
		void *own;

		if (!a->given[i] || !conf_belongs(o, section))
			continue;
		own = conf_base(o, section, base);
		if (!own)
			return conf_nomem(e);
		if (conf_set(o, own, str_of(a->given[i]), "", e) < 0)
			return conf_blame_flag(e, a->program, o->flag);
	}
	return 0;
}

int conf_blame(const struct conf_args *a, const struct conf_source *s, const struct opt *o, struct conf_error *e)
{
	if (s && !a->given[o - conf_options])
		return conf_source_blame(s, o->key, e);
	return conf_blame_flag(e, a->program, o->flag);
}

int conf_args_required(const struct conf_args *a, const struct conf_source *s, enum opt_section section,
                       const void *base, struct conf_error *e)
{
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &conf_options[i];
		void *set;

		if (o->section != section || !conf_option_required(o))
			continue;
		/* the doctor publishes nothing */
		if (a->command && strcmp(a->command, "doctor") == 0 && o->type.kind == KIND_LIST)
			continue;
		/* every required field of a root is a pointer */
		memcpy(&set, (const char *)base + o->offset, sizeof(set));
		if (set)
			continue;
		conf_missing(o, "nothing", e);
		return conf_blame(a, s, o, e);
	}
	return 0;
}

/* ---- what is printed */

static void help_row(FILE *to, const struct opt *o)
{
	char left[64];

	snprintf(left, sizeof(left), "%s%s%s%s", o->flag[1] ? "--" : "-", o->flag, *o->argument ? " " : "",
	         o->argument);
	fprintf(to, "  %-24s %s", left, o->help);
	if (*o->fallback && !conf_option_required(o) && *o->argument)
		fprintf(to, " [%s]", o->fallback);
	fputc('\n', to);
}

void conf_help(FILE *to, bool server)
{
	if (server)
		fputs("Usage: aditd -c FILE [flags]\n"
		      "       aditd --dev [--dev-dir DIR] [--dev-listen ADDRESS] [flags]\n"
		      "       aditd --new-token\n"
		      "\nThe tunnel server: publishes under public names what tunnel clients offer.\n\n", to);
	else
		fputs("Usage: adit http ORIGIN --server URL [flags]\n"
		      "       adit tcp ORIGIN --server URL [--remote-port PORT] [flags]\n"
		      "       adit start [-c FILE] [flags]\n"
		      "       adit doctor --server URL [--json] [--idle SECONDS] [flags]\n"
		      "       adit trace FILE... [--json] [--follow]\n"
		      "\nThe tunnel client: publishes a local web server, or a TCP port, through a tunnel server.\n"
		      "ORIGIN is PORT, HOST:PORT, unix:PATH or SCHEME://HOST[:PORT] (http, https, h2c or h2).\n"
		      "doctor tries every way to the server, and says what works and what to change.\n"
		      "trace tells what --trace has written, of one end or both, and whether anything was lost.\n\n", to);
	for (size_t i = 0; i < OPT_COUNT; i++)
		if (*conf_options[i].flag && conf_section_of_server(conf_options[i].section) == server)
			help_row(to, &conf_options[i]);
	fputs(server ? "\nKeys of FILE: aditd.yaml(5)\n" : "\nKeys of FILE: adit(1)\n", to);
}

int conf_new_token(FILE *to)
{
	enum { PREFIX = 5, CHARS = 52 }; /* 32 bytes are 51.2 characters of base32 */
	char token[PREFIX + CHARS + 1] = "adit_", hex[SHA256_HEX_LEN + 1];
	uint8_t random[32], hash[SHA256_LEN];
	int r;

	random_bytes(random, sizeof(random));
	base32_encode(random, sizeof(random), token + PREFIX, CHARS);
	r = digest_sha256(token, strlen(token), hash);
	if (!r) {
		hex_encode(hash, sizeof(hash), hex);
		fprintf(to, "%s\n"
		        "# The line above is for the tunnel client: its token_file or ADIT_TOKEN. For aditd.yaml:\n"
		        "# tokens:\n"
		        "#   - name: NAME\n"
		        "#     sha256: %s\n"
		        "#     names: [\"*\"]\n", token, hex);
	}
	secret_wipe(random, sizeof(random));
	secret_wipe(token, sizeof(token));
	return r;
}

/* Standard output may be a full disk, and then the token is lost. */
static enum conf_action printed(const struct conf_args *a, FILE *to, struct conf_error *e)
{
	if (fflush(to) == 0 && !ferror(to))
		return CONF_DONE;
	conf_say(e, "%s: found that standard output cannot be written, wanted room for it", a->program);
	return CONF_FAILED;
}

/* CONF_RUN: nothing was asked for. */
static enum conf_action answer(const struct conf_args *a, FILE *to, struct conf_error *e)
{
	if (a->call.help) {
		conf_help(to, a->server);
	} else if (a->call.version) {
		fprintf(to, "%s %s\n", a->program, PACKAGE_VERSION);
	} else if (a->call.new_token) {
		if (conf_new_token(to) < 0) {
			conf_nomem(e);
			return CONF_FAILED;
		}
	} else {
		return CONF_RUN;
	}
	return printed(a, to, e);
}

/* ---- the two programs */

static enum conf_action server_call(FILE *to, bool again, int argc, char **argv, struct conf_server **out,
                                    struct conf_error *e)
{
	struct conf_args a = {.program = "aditd", .server = true, .again = again};
	enum conf_action action = CONF_FAILED;

	*out = NULL;
	if (conf_args_parse(&a, argc, argv, e) == 0)
		action = answer(&a, to, e);
	if (action == CONF_RUN && conf_server_build(&a, out, e) < 0)
		action = CONF_FAILED;
	if (action == CONF_RUN && a.call.check_config) {
		fprintf(to, "%s: ok (%zu listeners, %zu tokens)\n", a.call.file, (*out)->listen_count,
		        (*out)->token_count);
		conf_server_free(out);
		action = printed(&a, to, e);
	}
	conf_args_clear(&a);
	return action;
}

enum conf_action conf_server_call(FILE *to, int argc, char **argv, struct conf_server **out, struct conf_error *e)
{
	return server_call(to, false, argc, argv, out, e);
}

enum conf_action conf_server_argv(int argc, char **argv, struct conf_server **out, struct conf_error *e)
{
	return conf_server_call(stdout, argc, argv, out, e);
}

int conf_server_reread(int argc, char **argv, struct conf_server **out, struct conf_error *e)
{
	return server_call(stdout, true, argc, argv, out, e) == CONF_RUN ? 0 : ADIT_ERR_CONFIG;
}

enum conf_action conf_client_call(FILE *to, int argc, char **argv, struct conf_client **out, struct conf_error *e)
{
	struct conf_args a = {.program = "adit"};
	enum conf_action action = CONF_FAILED;

	*out = NULL;
	if (conf_args_parse(&a, argc, argv, e) == 0)
		action = answer(&a, to, e);
	if (action == CONF_RUN && conf_client_build(&a, out, e) < 0)
		action = CONF_FAILED;
	conf_args_clear(&a);
	return action;
}

enum conf_action conf_client_argv(int argc, char **argv, struct conf_client **out, struct conf_error *e)
{
	return conf_client_call(stdout, argc, argv, out, e);
}

int conf_client_reread(int argc, char **argv, struct conf_client **out, struct conf_error *e)
{
	return conf_client_argv(argc, argv, out, e) == CONF_RUN ? 0 : ADIT_ERR_CONFIG;
}
