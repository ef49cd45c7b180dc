"""Real proxies between adit and aditd, run from the very files of contrib/ingress with addresses and paths put in.

A file is fitted as its reader would do it, by plain substitution, and included by the smallest main configuration of
its program. Only the tunnel's connection passes here, never a visitor: what is compared is the carrier.
"""

import grp
import os
import pwd

from procs import Failed

FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "ingress")


def nginx_user():
	"""The line that keeps nginx's workers able to read the work folder; only root has to say it."""
	if os.geteuid() != 0:
		return ""
	account = pwd.getpwuid(0)
	return f"user {account.pw_name} {grp.getgrgid(account.pw_gid).gr_name};"


# What the file says nothing about is nginx's default; one worker, since one connection is all it has to carry.
NGINX = """\
daemon off;
%(user)s
worker_processes 1;
pid %(folder)s/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path %(folder)s/temp;
	proxy_temp_path %(folder)s/temp;
	fastcgi_temp_path %(folder)s/temp;
	uwsgi_temp_path %(folder)s/temp;
	scgi_temp_path %(folder)s/temp;
	include %(folder)s/site;
}
"""

# The time-outs of Debian's /etc/haproxy/haproxy.cfg. Threads: its default, one for each core.
HAPROXY = """\
global
	maxconn 2000
defaults
	timeout connect 5000
	timeout client 50000
	timeout server 50000
"""


def _nginx(binary, folder):
	return [binary, "-e", "stderr", "-p", folder, "-c", os.path.join(folder, "main")]


def _haproxy(binary, folder):
	return [binary, "-W", "-db", "-f", os.path.join(folder, "main"), "-f", os.path.join(folder, "site")]


# kind: (its file, its program, main configuration, command line, what to call it)
KINDS = {
	"nginx": ("nginx.conf", "nginx", NGINX, _nginx, "nginx"),
	"haproxy-h1": ("haproxy-h1.cfg", "haproxy", HAPROXY, _haproxy, "HAProxy (HTTP/1.1 to aditd)"),
	"haproxy-h2": ("haproxy-h2.cfg", "haproxy", HAPROXY, _haproxy, "HAProxy (HTTP/2 to aditd)"),
}


def fitted(bench, file, domain, port, backend):
	with open(os.path.join(FILES, file), encoding="utf-8") as f:
		text = f.read()
	both = bench.file("both.pem")
	if not os.path.exists(both):
		parts = []
		for part in ("server.pem", "server.key"):
			with open(bench.file(part), encoding="ascii") as f:
				parts.append(f.read())
		bench.file("both.pem", "".join(parts))
	for old, new in (
			("tunnel.example.com", domain),
			("0.0.0.0:443", f"127.0.0.1:{port}"),
			("127.0.0.1:8080", f"127.0.0.1:{backend}"),
			("/etc/ssl/adit/tunnel.both.pem", both),
			("/etc/ssl/adit/tunnel.pem", bench.file("server.pem")),
			("/etc/ssl/adit/tunnel.key", bench.file("server.key"))):
		text = text.replace(old, new)
	for needed in (f"127.0.0.1:{port}", f"127.0.0.1:{backend}", bench.work):
		if needed not in text:
			raise Failed(f"contrib/ingress/{file} does not have the addresses and paths that are replaced here")
	return text


def program(bench, name, kind, domain, port, backend):
	"""The proxy of that kind as a program to start: listens on `port` with TLS, passes on to `backend`."""
	file, tool, main, argv, _ = KINDS[kind]
	folder = bench.file(f"{name}.ingress")
	os.makedirs(os.path.join(folder, "temp"), exist_ok=True)
	values = {"user": nginx_user(), "folder": folder}
	bench.file(os.path.join(folder, "main"), main % values)
	bench.file(os.path.join(folder, "site"), fitted(bench, file, domain, port, backend))
	return bench.program(f"{name}.{tool}", argv(bench.tools[tool], folder))
