/* A file's text becomes a YAML document; what YAML has that a configuration must not use is refused. */
#include "conf/conf_int.h"

#include <yaml.h>

#include "base/err.h"

static int refuse(const char *file, size_t line, const char *what, struct conf_error *e)
{
	conf_say(e, "found %s, wanted plain keys, lists and values", what);
	return conf_blame_line(e, file, line, "");
}

static int syntax_error(const char *file, const yaml_parser_t *p, const char *text, struct conf_error *e)
{
	size_t line = p->problem_mark.line + 1;

	if (p->error == YAML_MEMORY_ERROR) {
		conf_nomem(e);
		return conf_blame_line(e, file, line, "");
	}
	if (p->error == YAML_READER_ERROR) {
		line = 1;
		for (size_t i = 0; i < p->problem_offset && text[i]; i++)
			line += text[i] == '\n';
	}
	conf_say(e, "found a YAML error (%s), wanted valid YAML", p->problem ? p->problem : "unknown");
	return conf_blame_line(e, file, line, "");
}

static const char *unwanted(const yaml_event_t *event, unsigned *depth, unsigned *documents)
{
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		return ++*documents > 1 ? "a second document" : NULL;
	case YAML_ALIAS_EVENT:
		return "an alias";
	case YAML_SCALAR_EVENT:
		anchor = event->data.scalar.anchor;
		tag = event->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
		++*depth;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
		++*depth;
		break;
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		--*depth;
		break;
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		break;
	}
	if (*depth > CONF_DEPTH_MAX)
		return "nesting deeper than 16 levels";
	return anchor ? "an anchor" : tag ? "a tag" : NULL;
}

/* Aliases are resolved when the document is built, so they are looked for among the events. */
static int scan(const char *file, const char *text, size_t len, struct conf_error *e)
{
	unsigned depth = 0, documents = 0;
	const char *what = NULL;
	yaml_parser_t p;
	bool end = false;
	int r = 0;

	if (!yaml_parser_initialize(&p))
		return conf_nomem(e);
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
	while (!r && !end) {
		yaml_event_t event;

		if (!yaml_parser_parse(&p, &event)) {
			r = syntax_error(file, &p, text, e);
			break;
		}
		end = event.type == YAML_STREAM_END_EVENT;
		what = unwanted(&event, &depth, &documents);
		if (what)
			r = refuse(file, event.start_mark.line + 1, what, e);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&p);
	return r;
}

static int load(const char *file, const char *text, size_t len, yaml_document_t *out, struct conf_error *e)
{
	yaml_parser_t p;
	int r = 0;

	if (!yaml_parser_initialize(&p))
		return conf_nomem(e);
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p, (const unsigned char *)text, len);
	if (!yaml_parser_load(&p, out))
		r = syntax_error(file, &p, text, e);
	yaml_parser_delete(&p);
	return r;
}

int conf_yaml_load(const char *file, const char *text, size_t len, struct yaml_document_s *out, struct conf_error *e)
{
	int r = scan(file, text, len, e);

	return r ? r : load(file, text, len, out, e);
}
