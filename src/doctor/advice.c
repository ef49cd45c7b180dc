/* What to change when a step fails: what was seen of real ingresses and proxies, told by how the step failed. */
#include "base/err.h"
#include "doctor/doctor.h"

static const char behind_ingress[] =
	"An ingress answers for aditd there, and the other carriers go through it. For direct let it pass TLS through by SNI:\n"
	"HAProxy: mode tcp with req.ssl_sni; nginx: stream with ssl_preread on; aditd: proxy_protocol for visitors' addresses.\n";
static const char strips_upgrade[] =
	"The ingress takes the Upgrade field away.\n"
	"nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade;\n"
	"Apache: ProxyPass / http://ADITD/ upgrade=websocket. HAProxy, nghttpx, Caddy pass it: look for rules that remove it.\n";
static const char not_announced[] =
	"Nothing has to change when ws-h1 works. Apache 2.4: H2WebSockets on; HAProxy and nghttpx announce it by themselves;\n"
	"nginx and Caddy cannot.\n";
static const char no_h2[] =
	"Nothing has to change when another carrier works. For ws-h2 enable HTTP/2 at the ingress\n"
	"(nginx: listen 443 ssl http2; HAProxy: alpn h2,http/1.1; Apache: Protocols h2 http/1.1).\n";
static const char connect_refused[] =
	"Nothing has to change when ws-h1 works: the ingress announces RFC 8441, and its way to aditd does not take it.\n"
	"HAProxy: a server line without proto h2, or with it and aditd behind. Apache: ProxyPass / http://ADITD/ upgrade=websocket.\n";
static const char wrong_place[] =
	"Something else than aditd answers under /_adit/: let the ingress send this host, with all of its paths, to aditd;\n"
	"or --server names the wrong host.\n";
static const char no_upstream[] =
	"The ingress does not reach aditd: does it run, and do the ingress's upstream address, port and protocol fit its listen?\n";
static const char ingress_guards[] =
	"The ingress asks for a login or forbids the path by itself: except /_adit/ from that, aditd asks for its own token.\n";
static const char token_wrong[] =
	"The token comes from the token file or ADIT_TOKEN: aditd.yaml must have its SHA-256 under tokens.\n";

static const char holds_responses[] =
	"Tunnels themselves do not mind; but visitors' streamed responses and event streams through it come late.\n"
	"nginx: proxy_buffering off; Apache: ProxyPass ... flushpackets=on; Caddy: flush_interval -1;\n"
	"lighttpd: server.stream-response-body = 2.\n";
static const char holds_requests[] =
	"Tunnels themselves do not mind; but visitors' uploads through it reach the origin only when they are whole.\n"
	"nginx: proxy_request_buffering off; proxy_http_version 1.1; Apache: SetEnv proxy-prefetch-nonblocking 1;\n"
	"lighttpd: server.stream-request-body = 2.\n";
static const char idle_short[] =
	"Let adit speak more often (--heartbeat, heartbeat_seconds) or the ingress wait for longer:\n"
	"nginx: proxy_read_timeout; HAProxy: timeout tunnel; Apache: ProxyTimeout; nghttpx: backend-read-timeout.\n"
	"Where nothing comes back and nobody has closed, a firewall or NAT has forgotten it: only heartbeats help.\n";

static const char *of_connection(const struct doctor_row *r)
{
	switch (r->err) {
	case ADIT_ERR_REFUSED:
		return "Nothing listens there: is the port right, and does aditd, or the ingress before it, run?\n";
	case ADIT_ERR_TIMEOUT:
		return "A firewall may drop it. Where only a proxy leads outside, name it: --proxy or HTTPS_PROXY.\n";
	case ADIT_ERR_UNREACHABLE:
		return "There is no route: is this machine online?\n";
	default:
		return "";
	}
}

static const char *of_proxy(const struct doctor_row *r)
{
	if (strstr(r->evidence, "answered 407") || strstr(r->evidence, "answered 401"))
		return "User name and password belong into the file's proxy or HTTPS_PROXY, as http://USER:PASSWORD@HOST:PORT.\n";
	if (strstr(r->evidence, "answered 403") || strstr(r->evidence, "answered 405"))
		return "The proxy forbids CONNECT to that host or port: ask its operator, or let aditd listen on port 443.\n";
	return "Is that an HTTP proxy, and the right address? --proxy none goes without.\n";
}

static const char *of_tls(const struct doctor_row *r)
{
	if (r->err == ADIT_ERR_TLS_CERT)
		return "The certificate must come from a CA that is trusted here (a private one: --ca FILE), be valid today, and name\n"
		       "the server (another name than the URL's: --server-name NAME). An ingress must send the whole chain.\n";
	if (r->err == ADIT_ERR_TLS)
		return "Is that a TLS port? An ingress that asks for a client certificate refuses here too.\n";
	return of_connection(r);
}

static const char *of_answer(const struct doctor_row *r)
{
	if (r->ours && r->err == ADIT_ERR_AUTH)
		return token_wrong;
	if (r->ours)
		return r->status == 426 ? strips_upgrade : "";
	switch (r->status) {
	case 0:
		return "";
	case 400:
		return "An ingress that asks for a client certificate answers so: client_certificate and client_key name one.\n";
	case 401:
	case 403:
	case 407:
		return ingress_guards;
	case 500:
	case 502:
	case 503:
	case 504:
		return no_upstream;
	default:
		return wrong_place;
	}
}

static const char *of_direct(const struct doctor_report *all)
{
	const struct doctor_row *r = &all->rows[DOCTOR_DIRECT];

	if (r->ours && r->err == ADIT_ERR_AUTH)
		return token_wrong;
	if (r->status && !r->ours && r->status != 400) /* not about direct: it meets every carrier */
		return of_answer(r);
	return behind_ingress;
}

static const char *of_ws_h2(const struct doctor_report *all)
{
	const struct doctor_row *r = &all->rows[DOCTOR_WS_H2];

	if (r->ours && r->err == ADIT_ERR_AUTH)
		return token_wrong;
	if (strcmp(all->rows[DOCTOR_ALPN_OTHERS].alpn, TLS_ALPN_H2) != 0)
		return no_h2;
	if (r->status)
		return connect_refused;
	return r->err == ADIT_ERR_UPGRADE ? not_announced : "";
}

const char *doctor_advice(const struct doctor_report *all, enum doctor_step step)
{
	const struct doctor_row *r = &all->rows[step];

	if (r->verdict != DOCTOR_FAILS)
		return "";
	if (r->err == ADIT_ERR_VERSION)
		return "No carrier works until both programs are of the same version.\n";
	switch (step) {
	case DOCTOR_DNS:
		return "Is the host of --server right? Where names resolve at a proxy only, name it: --proxy or HTTPS_PROXY.\n";
	case DOCTOR_TCP:
		return of_connection(r);
	case DOCTOR_PROXY:
		return of_proxy(r);
	case DOCTOR_TLS:
		return of_tls(r);
	case DOCTOR_ALPN_ADIT:
		return "Nothing has to change: adit dials again without adit/1 where an ingress refuses unknown protocols.\n";
	case DOCTOR_DIRECT:
		return of_direct(all);
	case DOCTOR_WS_H2:
		return of_ws_h2(all);
	case DOCTOR_WS_H1:
	case DOCTOR_POLL:
		return of_answer(r);
	case DOCTOR_TOKEN:
		return token_wrong;
	case DOCTOR_RESPONSE_H2:
	case DOCTOR_RESPONSE_H1:
		return holds_responses;
	case DOCTOR_REQUEST:
		return holds_requests;
	case DOCTOR_IDLE:
		return idle_short;
	case DOCTOR_ALPN_OTHERS:
	case DOCTOR_STEPS:
		break;
	}
	return "";
}
