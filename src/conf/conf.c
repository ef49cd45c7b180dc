#include "conf/conf_int.h"

#include <errno.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/err.h"

struct conf_source {
	yaml_document_t doc;
	bool loaded;
	char *file, *folder;
};

/** The place the walk is at. */
struct walk {
	const struct conf_source *source;
	yaml_document_t *doc;
	struct conf_error *e;
	size_t path_len;
	char path[256];   /* "listen[1].tls.key"; a longer one is cut */
};

int conf_slurp(const char *file, size_t max, char **out, size_t *len)
{
	FILE *f = fopen(file, "re");
	char *all;
	int r = 0;

	if (!f)
		return ADIT_ERR_SYS;
	all = malloc(max + 1);
	if (!all) {
		fclose(f);
		return ADIT_ERR_NOMEM;
	}
	/* unbuffered: what is read may be a secret, and stdio does not wipe its buffers */
	setvbuf(f, NULL, _IONBF, 0);
	errno = 0;
	*len = fread(all, 1, max, f);
	if (ferror(f))
		r = ADIT_ERR_SYS;
	else if (*len == max && fgetc(f) != EOF)
		r = ADIT_ERR_LIMIT;
	all[*len] = '\0';
	if (r < 0) {
		int why = errno;

		secret_wipe(all, *len);
		free(all);
		fclose(f);
		errno = why;
		return r;
	}
	fclose(f);
	*out = all;
	return 0;
}

static int read_text(const struct conf_source *s, const char *program, char **text, size_t *len, struct conf_error *e)
{
	int r = conf_slurp(s->file, CONF_FILE_MAX, text, len);

	if (!r)
		return 0;
	if (r == ADIT_ERR_LIMIT) {
		conf_say(e, "found more than 1 MiB, wanted a configuration file");
		return conf_blame_line(e, s->file, 1, "");
	}
	if (r == ADIT_ERR_NOMEM)
		return conf_nomem(e);
	conf_say(e, "found %s (%s), wanted a configuration file that can be read", conf_quote(str_of(s->file)).text,
	         strerror(errno));
	return conf_blame_flag(e, program, "c");
}

int conf_source_open(struct conf_source **out, const char *program, const char *file, struct conf_error *e)
{
	const char *slash = strrchr(file, '/');
	struct conf_source *s = calloc(1, sizeof(*s));
	char *text = NULL;
	size_t len = 0, bom = 0;
	int r;

	*out = NULL;
	if (!s)
		return conf_nomem(e);
	s->file = str_dup(str_of(file));
	s->folder = str_dup((struct str){file, slash ? (size_t)(slash - file) + 1 : 0});
	r = s->file && s->folder ? read_text(s, program, &text, &len, e) : conf_nomem(e);
	/* libyaml takes a byte order mark only when it may also guess at UTF-16 */
	if (!r && len >= 3 && memcmp(text, "\357\273\277", 3) == 0)
		bom = 3;
	if (!r)
		r = conf_yaml_load(s->file, text + bom, len - bom, &s->doc, e);
	s->loaded = !r;
	free(text);
	if (r < 0)
		conf_source_close(&s);
	*out = s;
	return r;
}

void conf_source_close(struct conf_source **s)
{
	if (!*s)
		return;
	if ((*s)->loaded)
		yaml_document_delete(&(*s)->doc);
	free((*s)->file);
	free((*s)->folder);
	free(*s);
	*s = NULL;
}

/* ---- the walk */

static size_t line_of(const yaml_node_t *n)
{
	return n->start_mark.line + 1;
}

static struct str scalar(const yaml_node_t *n)
{
	return (struct str){(const char *)n->data.scalar.value, n->data.scalar.length};
}

static bool is_null(const yaml_node_t *n)
{
	struct str s = scalar(n);

	if (n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	return !s.n || str_eq(s, STR("~")) || str_eq_nocase(s, STR("null"));
}

/* Both return the path's former length, for pop(). */
static size_t push_key(struct walk *w, struct str key)
{
	size_t was = w->path_len, room = sizeof(w->path) - was;
	struct conf_quoted q = conf_quote(key);
	size_t quotes = q.text[0] == '"' ? 1 : 0;
	int len = (int)(strlen(q.text) - 2 * quotes);
	int n = snprintf(w->path + was, room, "%s%.*s", was ? "." : "", len, q.text + quotes);

	w->path_len += (size_t)n < room ? (size_t)n : room - 1;
	return was;
}

static size_t push_index(struct walk *w, size_t index)
{
	size_t was = w->path_len, room = sizeof(w->path) - was;
	int n = snprintf(w->path + was, room, "[%zu]", index);

	w->path_len += (size_t)n < room ? (size_t)n : room - 1;
	return was;
}

static void pop(struct walk *w, size_t was)
{
	w->path_len = was;
	w->path[was] = '\0';
}

static int blame(struct walk *w, size_t line)
{
	return conf_blame_line(w->e, w->source->file, line, w->path);
}

static int wrong_type(struct walk *w, const yaml_node_t *n, const char *wanted)
{
	if (n->type == YAML_MAPPING_NODE)
		conf_say(w->e, "found a mapping, wanted %s", wanted);
	else if (n->type == YAML_SEQUENCE_NODE)
		conf_say(w->e, "found a list, wanted %s", wanted);
	else if (is_null(n))
		conf_say(w->e, "found nothing, wanted %s", wanted);
	else
		conf_found(w->e, scalar(n), wanted);
	return blame(w, line_of(n));
}

static int unknown_key(struct walk *w, enum opt_section section, struct str key, size_t line)
{
	const char *nearest = NULL;
	size_t best = SIZE_MAX, n = 0;
	char all[512];

	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &conf_options[i];
		size_t d;

		if (!conf_belongs(o, section) || !*o->key)
			continue;
		d = conf_distance(key, str_of(o->key));
		if (d < best) {
			best = d;
			nearest = o->key;
		}
		if (n < sizeof(all))
			n += (size_t)snprintf(all + n, sizeof(all) - n, "%s%s", n ? ", " : "", o->key);
	}
	if (nearest)
		conf_say(w->e, "found an unknown key, wanted perhaps %s", nearest);
	else
		conf_say(w->e, "found an unknown key, wanted one of %s", all);
	return blame(w, line);
}

static int walk_map(struct walk *w, const yaml_node_t *n, enum opt_section section, void *base);

static int walk_scalar(struct walk *w, const yaml_node_t *n, const struct opt *o, void *base)
{
	struct str text;
	char wanted[160];

	conf_wanted(o, wanted, sizeof(wanted));
	if (n->type != YAML_SCALAR_NODE || is_null(n))
		return wrong_type(w, n, wanted);
	text = scalar(n);
	if (memchr(text.p, '\0', text.n)) {
		conf_say(w->e, "found a NUL byte, wanted %s", wanted);
		return blame(w, line_of(n));
	}
	if ((o->type.kind == KIND_BOOL || o->type.kind == KIND_UINT) &&
	    n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) {
		conf_say(w->e, "found %s in quotes, wanted %s", conf_quote(text).text, wanted);
		return blame(w, line_of(n));
	}
	return conf_set(o, base, text, w->source->folder, w->e) < 0 ? blame(w, line_of(n)) : 0;
}

static int add_word(const struct opt *o, void *base, struct str text, struct conf_error *e)
{
	void *field = (char *)base + o->offset;

	switch (o->type.kind) {
	case KIND_PATTERNS:
		return conf_add_pattern(base, text, e);
	case KIND_PORTS:
		return conf_add_ports(base, text, e);
	case KIND_PROXIES:
		return conf_add_proxy(base, text, e);
	case KIND_BLOCKS:
		return conf_add_block(field, text, e);
	case KIND_LOGINS:
		return conf_add_login(field, text, false, e);
	case KIND_FIELD_NAMES:
		return conf_add_field(field, text, (struct str){NULL, 0}, e);
	default:
		return conf_add_carrier(base, text, e);
	}
}

/* An entry that is one value. */
static int walk_word(struct walk *w, const yaml_node_t *n, const struct opt *o, void *base)
{
	enum opt_kind kind = o->type.kind;
	const char *wanted = kind == KIND_PATTERNS ? "a name"
	                     : kind == KIND_PORTS ? "a port or a range of ports"
	                     : kind == KIND_PROXIES || kind == KIND_BLOCKS ? "an address or block"
	                     : kind == KIND_LOGINS ? "USER:HASH"
	                     : kind == KIND_FIELD_NAMES ? "the name of a field"
	                                                : "direct, ws-h2, ws-h1 or poll";

	if (n->type != YAML_SCALAR_NODE || is_null(n) || memchr(scalar(n).p, '\0', scalar(n).n))
		return wrong_type(w, n, wanted);
	return add_word(o, base, scalar(n), w->e) < 0 ? blame(w, line_of(n)) : 0;
}

static int walk_item(struct walk *w, const yaml_node_t *n, const struct opt *o, void *base)
{
	void *item;

	if (o->type.kind == KIND_NAMES)
		return walk_scalar(w, n, o, base);
	if (o->type.kind != KIND_LIST)
		return walk_word(w, n, o, base);
	item = conf_add_item(o->type.items, base);
	if (!item)
		return conf_nomem(w->e);
	if (conf_defaults(o->type.items, item, w->e) < 0)
		return blame(w, line_of(n));
	return walk_map(w, n, o->type.items, item);
}

/* An empty list where its absence means something else. */
static bool may_be_empty(enum opt_kind kind)
{
	return kind != KIND_CARRIERS && kind != KIND_NAMES && kind != KIND_BLOCKS && kind != KIND_LOGINS;
}

static int walk_list(struct walk *w, const yaml_node_t *n, const struct opt *o, void *base)
{
	char wanted[160];
	size_t count;

	conf_wanted(o, wanted, sizeof(wanted));
	if (n->type != YAML_SEQUENCE_NODE)
		return wrong_type(w, n, wanted);
	count = (size_t)(n->data.sequence.items.top - n->data.sequence.items.start);
	if (!count && (conf_option_required(o) || !may_be_empty(o->type.kind))) {
		conf_say(w->e, "found an empty list, wanted at least one entry");
		return blame(w, line_of(n));
	}
	for (size_t i = 0; i < count; i++) {
		size_t was = push_index(w, i);
		int r = walk_item(w, yaml_document_get_node(w->doc, n->data.sequence.items.start[i]), o, base);

		if (r < 0)
			return r;
		pop(w, was);
	}
	return 0;
}

/* Keys that are not the table's: names of fields. */
static int walk_fields(struct walk *w, const yaml_node_t *n, const struct opt *o, void *base)
{
	const yaml_node_pair_t *p;
	char wanted[160];

	conf_wanted(o, wanted, sizeof(wanted));
	if (n->type != YAML_MAPPING_NODE)
		return wrong_type(w, n, wanted);
	for (p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *key = yaml_document_get_node(w->doc, p->key);
		const yaml_node_t *value = yaml_document_get_node(w->doc, p->value);
		size_t was;

		if (key->type != YAML_SCALAR_NODE)
			return wrong_type(w, key, "the name of a field");
		was = push_key(w, scalar(key));
		if (value->type != YAML_SCALAR_NODE || is_null(value))
			return wrong_type(w, value, "its value");
		if (conf_add_field((void *)((char *)base + o->offset), scalar(key), scalar(value), w->e) < 0)
			return blame(w, line_of(value));
		pop(w, was);
	}
	return 0;
}

/* A mapping of the table's keys. Its field is told that it was given: of KIND_PART it is the struct to fill, which
 * begins with that. */
static int walk_part(struct walk *w, const yaml_node_t *n, const struct opt *o, void *base)
{
	void *field = (char *)base + o->offset;
	char wanted[160];

	conf_wanted(o, wanted, sizeof(wanted));
	if (n->type != YAML_MAPPING_NODE)
		return wrong_type(w, n, wanted);
	*(bool *)field = true;
	return walk_map(w, n, o->type.items, o->type.kind == KIND_PART ? field : base);
}

static int walk_value(struct walk *w, const yaml_node_t *n, const struct opt *o, void *base)
{
	switch (o->type.kind) {
	case KIND_MAP:
	case KIND_PART:
		return walk_part(w, n, o, base);
	case KIND_FIELDS:
		return walk_fields(w, n, o, base);
	case KIND_NAMES:
		return n->type == YAML_SEQUENCE_NODE ? walk_list(w, n, o, base) : walk_scalar(w, n, o, base);
	case KIND_LIST:
	case KIND_PATTERNS:
	case KIND_PORTS:
	case KIND_PROXIES:
	case KIND_CARRIERS:
	case KIND_BLOCKS:
	case KIND_LOGINS:
	case KIND_FIELD_NAMES:
		return walk_list(w, n, o, base);
	default:
		return walk_scalar(w, n, o, base);
	}
}

static int walk_pair(struct walk *w, const yaml_node_pair_t *pair, enum opt_section section, void *base, bool *seen)
{
	const yaml_node_t *key = yaml_document_get_node(w->doc, pair->key);
	const struct opt *o;
	size_t was;
	int r;

	if (key->type != YAML_SCALAR_NODE)
		return wrong_type(w, key, "a key");
	o = conf_option(section, scalar(key));
	was = push_key(w, scalar(key));
	if (!o)
		return unknown_key(w, section, scalar(key), line_of(key));
	if (seen[o - conf_options]) {
		conf_say(w->e, "found the key twice, wanted it once");
		return blame(w, line_of(key));
	}
	seen[o - conf_options] = true;
	base = conf_base(o, section, base);
	if (!base)
		return conf_nomem(w->e);
	r = walk_value(w, yaml_document_get_node(w->doc, pair->value), o, base);
	if (!r)
		pop(w, was);
	return r;
}

/* A flag may yet give what the root lacks, so that is looked at later; entries must be whole here. */
static int walk_map(struct walk *w, const yaml_node_t *n, enum opt_section section, void *base)
{
	bool seen[OPT_COUNT] = {false};

	if (n->type != YAML_MAPPING_NODE)
		return wrong_type(w, n, "keys and values");
	for (const yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		int r = walk_pair(w, p, section, base, seen);

		if (r < 0)
			return r;
	}
	if (section == SECTION_SERVER || section == SECTION_CLIENT)
		return 0;
	for (size_t i = 0; i < OPT_COUNT; i++) {
		const struct opt *o = &conf_options[i];

		if (o->section != section || seen[i] || !conf_option_required(o))
			continue;
		push_key(w, str_of(o->key));
		conf_missing(o, "nothing", w->e);
		return blame(w, line_of(n));
	}
	return 0;
}

int conf_source_walk(struct conf_source *s, enum opt_section root, void *base, struct conf_error *e)
{
	struct walk w = {.source = s, .doc = &s->doc, .e = e};
	yaml_node_t *n = yaml_document_get_root_node(&s->doc);

	if (!n) {
		conf_say(e, "found an empty file, wanted keys and values");
		return conf_blame_line(e, s->file, 1, "");
	}
	return walk_map(&w, n, root, base);
}

/* ---- finding a place again */

static yaml_node_t *child(yaml_document_t *doc, const yaml_node_t *n, struct str key)
{
	if (n->type != YAML_MAPPING_NODE)
		return NULL;
	for (const yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
		const yaml_node_t *k = yaml_document_get_node(doc, p->key);

		if (k->type == YAML_SCALAR_NODE && str_eq(scalar(k), key))
			return yaml_document_get_node(doc, p->value);
	}
	return NULL;
}

static yaml_node_t *item(yaml_document_t *doc, const yaml_node_t *n, size_t index)
{
	if (n->type != YAML_SEQUENCE_NODE)
		return NULL;
	if (index >= (size_t)(n->data.sequence.items.top - n->data.sequence.items.start))
		return NULL;
	return yaml_document_get_node(doc, n->data.sequence.items.start[index]);
}

/* As far down the path as the file goes: what is missing is told of at the line of what lacks it. */
int conf_source_blame(const struct conf_source *s, const char *path, struct conf_error *e)
{
	yaml_document_t *doc = (yaml_document_t *)(uintptr_t)&s->doc;
	yaml_node_t *n = yaml_document_get_root_node(doc), *next = n;
	const char *at = path;
	size_t line = 1;

	while (next) {
		line = line_of(next);
		n = next;
		if (!*at)
			break;
		if (*at == '[') {
			char *end;

			next = item(doc, n, strtoul(at + 1, &end, 10));
			at = *end == ']' ? end + 1 : end;
		} else {
			size_t len;

			at += *at == '.';
			len = strcspn(at, ".[");
			next = child(doc, n, (struct str){at, len});
			at += len;
		}
	}
	return conf_blame_line(e, s->file, line, path);
}
