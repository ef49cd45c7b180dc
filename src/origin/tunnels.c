#include "origin/tunnels.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"

struct tunnels {
	const struct conf_client *conf;
	struct origin **origin;
	char **name;
	char (*text)[TUNNELS_ORIGIN_MAX]; /* each origin's, for error pages */
};

struct tunnels *tunnels_new(struct loop *l, struct resolver *r, const struct conf_client *c)
{
	struct tunnels *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->conf = c;
	t->origin = calloc(c->tunnel_count, sizeof(*t->origin));
	t->name = calloc(c->tunnel_count, sizeof(*t->name));
	t->text = calloc(c->tunnel_count, sizeof(*t->text));
	for (size_t i = 0; t->origin && t->name && t->text && i < c->tunnel_count; i++) {
		const struct conf_tunnel *w = &c->tunnels[i];
		const struct origin_options o = {
			.host = w->origin_host, .port = w->origin_port, .unix_path = w->origin_unix, .resolver = r,
		};

		t->origin[i] = origin_new(l, &o);
		if (!t->origin[i])
			break;
		tunnels_origin_text(w, t->text[i]);
		if (i + 1 == c->tunnel_count)
			return t;
	}
	tunnels_free(&t);
	return NULL;
}

void tunnels_free(struct tunnels **tp)
{
	struct tunnels *t = *tp;

	if (!t)
		return;
	*tp = NULL;
	for (size_t i = 0; i < t->conf->tunnel_count; i++) {
		if (t->origin)
			origin_free(&t->origin[i]);
		if (t->name)
			free(t->name[i]);
	}
	free(t->origin);
	free(t->name);
	free(t->text);
	free(t);
}

void tunnels_origin_text(const struct conf_tunnel *t, char out[TUNNELS_ORIGIN_MAX])
{
	if (t->origin_unix)
		snprintf(out, TUNNELS_ORIGIN_MAX, "unix:%s", t->origin_unix);
	else
		snprintf(out, TUNNELS_ORIGIN_MAX, strchr(t->origin_host, ':') ? "http://[%s]:%u" : "http://%s:%u", t->origin_host,
		         t->origin_port);
}

int tunnels_publish(struct tunnels *t, size_t i, const char *name)
{
	char *copy = str_dup(str_of(name));

	if (!copy)
		return ADIT_ERR_NOMEM;
	free(t->name[i]);
	t->name[i] = copy;
	return 0;
}

int tunnels_find(const struct tunnels *t, struct str name)
{
	for (size_t i = 0; i < t->conf->tunnel_count; i++)
		if (t->name[i] && str_eq(str_of(t->name[i]), name))
			return (int)i;
	return -1;
}

struct half *tunnels_route(struct tunnels *t, struct head *h, const char **name, const char **origin, int *err)
{
	int i = tunnels_find(t, fields_get(&h->fields, STR("adit-tunnel")));

	if (i < 0) {
		*err = ADIT_ERR_NO_NAME;
		return NULL;
	}
	*name = t->name[i];
	*origin = t->text[i];
	fields_remove(&h->fields, STR("adit-tunnel"));
	if (t->conf->tunnels[i].host_header) {
		*err = head_set(h, HEAD_AUTHORITY, str_of(t->conf->tunnels[i].host_header));
		if (*err)
			return NULL;
	}
	return origin_half(t->origin[i], err);
}
