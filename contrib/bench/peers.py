"""Other tunnels, as somebody would set them up who follows their manual: one server, one client, plain HTTP for
visitors, and on the tunnel's leg whatever protection they have. peers.sh gets them."""

import os
import random
import re
import secrets

from procs import run
from subjects import NAME, START_SECONDS, Subject, host_of

# bore's server listens on this port and no other: each has a loopback address of its own.
BORE_PORT = 7835


class Peer(Subject):
	"""`binaries` come from peers.sh; tunnel 0 is the one that visitors use, `others` more are there to be idle."""

	binaries = ()
	shown = None  # what a client writes when it is connected

	def missing(self):
		if all(self.bench.tools[t] for t in self.binaries):
			return super().missing()
		try:
			with open(os.path.join(self.bench.peers or "", f"{self.binaries[0]}.skipped"), encoding="utf-8") as f:
				return f.read().strip()
		except OSError:
			return "not built: see peers.sh, and give --peers"

	def launch(self):
		b = self.bench
		self.secret = secrets.token_urlsafe(16)
		self.ports = [b.ports.take() for _ in range(1 + self.others)]
		self.port = self.ports[0]
		server = b.program(f"{self.name}.server", self.server()).start()
		self.servers = [server]
		server.wait_listening(self.control, START_SECONDS, self.address)
		self.dialled = self.leg(self.control)
		self.clients = [self.client(0)]

	def client(self, i):
		argv = self.kept_up(self.client_argv(i))
		program = self.bench.program(f"{self.name}.client{i or ''}", argv).start()
		program.wait_for(self.shown, START_SECONDS)
		return program

	def server(self):
		"""Sets `control`, where the client dials, and gives the server's command line."""
		raise NotImplementedError

	def client_argv(self, i):
		raise NotImplementedError


FRPS = """\
bindAddr = "127.0.0.1"
bindPort = %(control)d
proxyBindAddr = "127.0.0.1"
%(visitors)s
auth.token = "%(secret)s"
transport.tls.force = true
transport.tls.certFile = "%(work)s/server.pem"
transport.tls.keyFile = "%(work)s/server.key"
log.to = "console"
log.disablePrintColor = true
"""

FRPC = """\
serverAddr = "127.0.0.1"
serverPort = %(dialled)d
loginFailExit = false
auth.token = "%(secret)s"
transport.tls.enable = true
transport.tls.serverName = "%(domain)s"
transport.tls.trustedCaFile = "%(work)s/ca.pem"
log.to = "console"
log.disablePrintColor = true
[[proxies]]
name = "t%(i)d"
localIP = "127.0.0.1"
localPort = %(origin)d
%(proxy)s
"""


class Frp(Peer):
	name, title = "frp", "frp, an http proxy by name; TLS on the leg, streams on one connection (its defaults)"
	binaries, needs = ("frps", "frpc"), ("openssl",)
	shown = "start proxy success"

	def server(self):
		b = self.bench
		self.control = b.ports.take()
		return [b.tools["frps"], "-c", b.file(f"{self.name}.frps.toml", FRPS % {"control": self.control, "work": b.work,
			"secret": self.secret, "visitors": self.visitors()})]

	def client_argv(self, i):
		b = self.bench
		return [b.tools["frpc"], "-c", b.file(f"{self.name}.frpc{i}.toml", FRPC % {"dialled": self.dialled, "work": b.work,
			"secret": self.secret, "domain": NAME, "origin": b.origin.port, "i": i, "proxy": self.proxy(i)})]

	def visitors(self):
		return f"vhostHTTPPort = {self.port}"

	def proxy(self, i):
		return f'type = "http"\ncustomDomains = ["{host_of(f"t{i}" if i else "shop")}"]'


class FrpTcp(Frp):
	name, title = "frp-tcp", "frp, a tcp proxy on a port; the same otherwise"

	def visitors(self):
		return ""

	def proxy(self, i):
		return f'type = "tcp"\nremotePort = {self.ports[i]}'


class Chisel(Peer):
	name, title = "chisel", "chisel, reverse; its SSH in a WebSocket protects the leg, no TLS around it (its default)"
	binaries = ("chisel",)
	shown = "Connected"

	def server(self):
		b = self.bench
		self.control = b.ports.take()
		return [b.tools["chisel"], "server", "--host", "127.0.0.1", "--port", self.control, "--reverse",
			"--auth", f"bench:{self.secret}"]

	def client_argv(self, i):
		return [self.bench.tools["chisel"], "client", "--auth", f"bench:{self.secret}", f"http://127.0.0.1:{self.dialled}",
			f"R:127.0.0.1:{self.ports[i]}:127.0.0.1:{self.bench.origin.port}"]


RATHOLE_SERVER = """\
[server]
bind_addr = "127.0.0.1:%(control)d"
default_token = "%(secret)s"
[server.transport]
type = "tls"
[server.transport.tls]
pkcs12 = "%(work)s/server.p12"
pkcs12_password = "bench"
"""

RATHOLE_CLIENT = """\
[client]
remote_addr = "127.0.0.1:%(dialled)d"
default_token = "%(secret)s"
[client.transport]
type = "tls"
[client.transport.tls]
trusted_root = "%(work)s/ca.pem"
hostname = "%(domain)s"
[client.services.t%(i)d]
local_addr = "127.0.0.1:%(origin)d"
"""


class Rathole(Peer):
	name, title = "rathole", "rathole, a tcp service; TLS on the leg, a connection for each visitor's"
	binaries, needs = ("rathole",), ("openssl",)
	shown = "Control channel established"

	def server(self):
		b = self.bench
		self.control = b.ports.take()
		if not os.path.exists(b.file("server.p12")):
			b.must([b.tools["openssl"], "pkcs12", "-export", "-in", b.file("server.pem"), "-inkey", b.file("server.key"),
				"-passout", "pass:bench", "-out", b.file("server.p12")])
		services = "".join(f'[server.services.t{i}]\nbind_addr = "127.0.0.1:{port}"\n' for i, port in enumerate(self.ports))
		return [b.tools["rathole"], "--server", b.file(f"{self.name}.server.toml", RATHOLE_SERVER % {
			"control": self.control, "secret": self.secret, "work": b.work} + services)]

	def client_argv(self, i):
		b = self.bench
		return [b.tools["rathole"], "--client", b.file(f"{self.name}.client{i}.toml", RATHOLE_CLIENT % {
			"dialled": self.dialled, "secret": self.secret, "work": b.work, "domain": NAME, "i": i,
			"origin": b.origin.port})]


def loopback():
	return f"127.{random.randrange(1, 250)}.{random.randrange(250)}.{random.randrange(1, 250)}"


class Bore(Peer):
	name, title = "bore", "bore; nothing protects the leg, a connection for each visitor's"
	binaries = ("bore",)
	shown = "listening at"
	control = BORE_PORT
	client_ends = True

	def server(self):
		self.address = loopback()
		return [self.bench.tools["bore"], "server", "--bind-addr", self.address, "--bind-tunnels", "127.0.0.1",
			"--min-port", "1024", "--secret", self.secret]

	def leg(self, port):
		"""Its relay has another address instead of another port."""
		self.near = self.address
		if self.relay_delay_ms is not None:
			self.near = loopback()
			self.start_relay(self.near, port, port)
		return port

	def client_argv(self, i):
		return [self.bench.tools["bore"], "local", self.bench.origin.port, "--to", self.near, "--port", self.ports[i],
			"--secret", self.secret]


class Localtunnel(Peer):
	name, title = "localtunnel", "localtunnel"
	binaries = ("localtunnel",)


class HaproxyReverse(Subject):
	name, title = "hap-rhttp", "HAProxy's reverse HTTP"
	WANTED = (2, 9)

	def missing(self):
		haproxy = self.bench.tools["haproxy"]
		if not haproxy:
			return "not installed: haproxy"
		found = re.search(r"version (\d+)\.(\d+)", run([haproxy, "-v"], 5)[1])
		if not found or (int(found[1]), int(found[2])) < self.WANTED:
			return f"HAProxy here is {found[1]}.{found[2]}, reverse HTTP came with 2.9" if found else "its version is unknown"
		return "not set up here"


ALL = (Frp, FrpTcp, Chisel, Rathole, Bore, Localtunnel, HaproxyReverse)
