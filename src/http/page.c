#include "http/page.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* Bytes of the caller's detail that are shown; escaped sixfold it still fits the page. */
#define DETAIL_MAX 256
/* An outage of the tunnel is mended within about that time. */
#define RETRY_AFTER_S "5"

enum page_form { PAGE_PLAIN, PAGE_HTML, PAGE_JSON, PAGE_GRPC };

/* Text of bounded length; what does not fit is left out. */
struct text {
	char *p;
	size_t n, cap;
};

static void add(struct text *t, const char *z)
{
	size_t n = strlen(z), room = t->cap - t->n;

	if (n > room)
		n = room;
	memcpy(t->p + t->n, z, n);
	t->n += n;
}

/* One printable ASCII byte as it may stand in that form. */
static void add_escaped(struct text *t, enum page_form form, char c)
{
	const char plain[2] = {c, '\0'}, slashed[3] = {'\\', c, '\0'};

	if (form == PAGE_HTML && c == '<')
		add(t, "&lt;");
	else if (form == PAGE_HTML && c == '>')
		add(t, "&gt;");
	else if (form == PAGE_HTML && c == '&')
		add(t, "&amp;");
	else if (form == PAGE_HTML && c == '"')
		add(t, "&quot;");
	else if (form == PAGE_HTML && c == '\'')
		add(t, "&#39;");
	else if (form == PAGE_JSON && (c == '"' || c == '\\'))
		add(t, slashed);
	else if (form == PAGE_GRPC && c == '%')
		add(t, "%25");
	else
		add(t, plain);
}

/* Anything but printable ASCII becomes a question mark: no form and no charset is upset by that. */
static void add_text(struct text *t, enum page_form form, const char *z)
{
	for (size_t i = 0; z[i] && i < DETAIL_MAX; i++)
		add_escaped(t, form, z[i] >= 0x20 && z[i] <= 0x7e ? z[i] : '?');
}

/* q=0, q=0.0 and so on: "not that one" (RFC 9110 section 12.4.2). */
static bool is_weight_zero(struct str part)
{
	if (part.n < 3 || !str_eq_nocase((struct str){part.p, 2}, STR("q=")))
		return false;
	for (size_t i = 2; i < part.n; i++)
		if (part.p[i] != '0' && part.p[i] != '.')
			return false;
	return true;
}

/* Does Accept name that very type (RFC 9110 section 12.5.1)? */
static bool accepts(struct str accept, struct str type)
{
	struct str member, part;

	while (str_split(&accept, ',', &member)) {
		bool refused = false;

		if (!str_split(&member, ';', &part) || !str_eq_nocase(str_trim(part), type))
			continue;
		while (str_split(&member, ';', &part))
			refused = refused || is_weight_zero(str_trim(part));
		if (!refused)
			return true;
	}
	return false;
}

static enum page_form form_for(struct str accept)
{
	if (accepts(accept, STR("text/html")))
		return PAGE_HTML;
	return accepts(accept, STR("application/json")) ? PAGE_JSON : PAGE_PLAIN;
}

static const char *type_of(enum page_form form)
{
	switch (form) {
	case PAGE_HTML:
		return "text/html; charset=utf-8";
	case PAGE_JSON:
		return "application/json";
	default:
		return "text/plain; charset=utf-8";
	}
}

static const char *hop_phrase(const char *hop)
{
	return strcmp(hop, PAGE_HOP_CLIENT) == 0 ? "The tunnel client, beside the site's own server, answers this."
	                                         : "The tunnel server answers this.";
}

static void add_html(struct text *t, const char *status, const char *hop, const char *error, const char *detail)
{
	add(t, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
	       "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
	add_text(t, PAGE_HTML, status);
	add(t, "</title>\n<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:15vh auto;"
	       "padding:0 1rem;color:#222;background:#fff}h1{font-size:1.4rem}p{margin:.5rem 0}small{color:#666}"
	       "@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}small{color:#999}}</style>\n"
	       "</head><body>\n<h1>");
	add_text(t, PAGE_HTML, status);
	add(t, "</h1>\n<p>");
	add_text(t, PAGE_HTML, error);
	add(t, "</p>\n");
	if (*detail) {
		add(t, "<p>");
		add_text(t, PAGE_HTML, detail);
		add(t, "</p>\n");
	}
	add(t, "<p><small>");
	add(t, hop_phrase(hop));
	add(t, " (");
	add_text(t, PAGE_HTML, hop);
	add(t, ")</small></p>\n</body></html>\n");
}

static void add_json(struct text *t, int status, const char *hop, const char *error, const char *detail)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", status);
	add(t, "{\"error\":\"");
	add_text(t, PAGE_JSON, error);
	add(t, "\",\"hop\":\"");
	add_text(t, PAGE_JSON, hop);
	add(t, "\",\"detail\":\"");
	add_text(t, PAGE_JSON, detail);
	add(t, "\",\"status\":");
	add(t, number);
	add(t, "}\n");
}

static void add_plain(struct text *t, const char *status, const char *hop, const char *error, const char *detail)
{
	add_text(t, PAGE_PLAIN, status);
	add(t, " (");
	add_text(t, PAGE_PLAIN, hop);
	add(t, "): ");
	add_text(t, PAGE_PLAIN, error);
	if (*detail) {
		add(t, ": ");
		add_text(t, PAGE_PLAIN, detail);
	}
	add(t, "\n");
}

/* RFC 9209 section 2: a list of one member, `hop; error=token; details="text"`. */
static int set_proxy_status(struct head *h, int err, const char *hop, const char *detail)
{
	char buf[2 * DETAIL_MAX + 128];
	struct text t = {.p = buf, .n = 0, .cap = sizeof(buf)};

	add(&t, hop);
	if (*err_proxy_error(err)) {
		add(&t, "; error=");
		add(&t, err_proxy_error(err));
	}
	add(&t, "; details=\"");
	/* sf-string has JSON's two escapes */
	add_text(&t, PAGE_JSON, *detail ? detail : err_text(err));
	add(&t, "\"");
	return fields_set(&h->fields, STR("proxy-status"), (struct str){t.p, t.n});
}

static int start(struct page *p, int status, enum page_form form)
{
	int r;

	head_init(&p->head);
	p->len = 0;
	p->head.status = status;
	p->head.minor = 1;
	r = fields_add(&p->head.fields, STR("content-type"), str_of(type_of(form)));
	if (!r)
		r = fields_add(&p->head.fields, STR("cache-control"), STR("no-store"));
	if (!r)
		r = fields_add(&p->head.fields, STR("x-content-type-options"), STR("nosniff"));
	if (!r && form == PAGE_HTML)
		r = fields_add(&p->head.fields, STR("content-security-policy"),
		               STR("default-src 'none'; style-src 'unsafe-inline'"));
	return r;
}

static int finish(struct page *p, size_t len, int r)
{
	if (r) {
		page_free(p);
		return r;
	}
	p->len = len;
	p->head.length = (int64_t)len;
	return 0;
}

/* A visitor's password (RFC 7617 section 2), or a tunnel's token. */
static struct str challenge(int err)
{
	return err == ADIT_ERR_PASSWORD ? STR("Basic realm=\"adit\", charset=\"UTF-8\"") : STR("Bearer");
}

int page_error(struct page *p, int err, const char *hop, const char *detail, struct str accept)
{
	enum page_form form = form_for(accept);
	int status = err_status(err), r = start(p, status, form);
	struct text t = {.p = p->body, .n = 0, .cap = sizeof(p->body)};
	char line[64];

	if (!detail)
		detail = "";
	if (!r)
		r = set_proxy_status(&p->head, err, hop, detail);
	if (!r && status == 503)
		r = fields_add(&p->head.fields, STR("retry-after"), STR(RETRY_AFTER_S));
	if (!r && status == 401) /* RFC 9110 section 15.5.2 */
		r = fields_add(&p->head.fields, STR("www-authenticate"), challenge(err));
	snprintf(line, sizeof(line), "%d %s", status, status_reason(status));
	if (form == PAGE_HTML)
		add_html(&t, line, hop, err_text(err), detail);
	else if (form == PAGE_JSON)
		add_json(&t, status, hop, err_text(err), detail);
	else
		add_plain(&t, line, hop, err_text(err), detail);
	return finish(p, t.n, r);
}

/* gRPC's own table of what HTTP statuses mean (http-grpc-status-mapping in its documents). */
static const char *grpc_status(int status)
{
	switch (status) {
	case 400:
		return "13"; /* INTERNAL */
	case 401:
		return "16"; /* UNAUTHENTICATED */
	case 403:
		return "7"; /* PERMISSION_DENIED */
	case 404:
		return "12"; /* UNIMPLEMENTED */
	case 429:
	case 502:
	case 503:
	case 504:
		return "14"; /* UNAVAILABLE */
	default:
		return "2"; /* UNKNOWN */
	}
}

int page_grpc(struct page *p, int err, const char *hop, const char *detail)
{
	struct text t = {.p = p->body, .n = 0, .cap = sizeof(p->body)};
	int r;

	head_init(&p->head);
	p->len = 0;
	p->head.status = 200;
	p->head.minor = 2;
	p->head.length = HEAD_LENGTH_UNKNOWN;
	/* in the form of Percent-Encoded: printable ASCII without `%` stands for itself */
	add(&t, hop);
	add(&t, ": ");
	add_text(&t, PAGE_GRPC, err_text(err));
	if (detail && *detail) {
		add(&t, ": ");
		add_text(&t, PAGE_GRPC, detail);
	}
	r = fields_add(&p->head.fields, STR("content-type"), STR("application/grpc"));
	if (!r)
		r = fields_add(&p->head.fields, STR("grpc-status"), str_of(grpc_status(err_status(err))));
	if (!r)
		r = fields_add(&p->head.fields, STR("grpc-message"), (struct str){t.p, t.n});
	if (!r)
		r = set_proxy_status(&p->head, err, hop, detail ? detail : "");
	if (r)
		page_free(p);
	return r;
}

int page_text(struct page *p, int status, const char *text)
{
	struct text t = {.p = p->body, .n = 0, .cap = sizeof(p->body)};
	int r = start(p, status, PAGE_PLAIN);

	add(&t, text);
	return finish(p, t.n, r);
}

void page_free(struct page *p)
{
	head_free(&p->head);
	p->len = 0;
}

void page_send(const struct page *p, struct half *me, bool was_head)
{
	bool bodyless = was_head || !p->len;

	half_head(me, &p->head, bodyless);
	if (!bodyless)
		half_body(me, (const uint8_t *)p->body, p->len);
	half_end(me, NULL);
}

void page_reply(const struct page *p, struct half *asking, bool was_head)
{
	bool bodyless = was_head || !p->len;

	asking->ops->head(asking, &p->head, bodyless);
	if (!bodyless)
		asking->ops->body(asking, (const uint8_t *)p->body, p->len);
	asking->ops->end(asking, NULL);
	asking->ops->abort(asking, ADIT_ERR_ENOUGH);
}
