"""The ways from a visitor to the same origin, each as it is set up here: direct, two nghttpx, ssh -R, adit
over each of its carriers."""

import contextlib
import getpass
import hashlib
import json
import os
import secrets
import shutil
import sys
import time

import ingress
import load
from procs import ENVIRONMENT, Failed, Program, run

START_SECONDS = 10
NAME = "tunnel.test"

TOOLS = ("nginx", "haproxy", "nghttpx", "nghttpd", "ssh", "sshd", "ssh-keygen", "wrk", "h2load", "nghttp", "curl",
	"openssl", "valgrind", "cc")
PEERS = ("frps", "frpc", "chisel", "rathole", "bore", "localtunnel")


def host_of(name):
	"""The Host of the visitors of what is published under that name."""
	return f"{name}.{NAME}"


def h2c_origins(bench):
	"""The origins that speak HTTP/2 with prior knowledge: name → port."""
	return {"h2c": bench.origin.h2_port, "grpc": bench.callee.port}


class Bench:
	"""What all subjects share: folders, programs, ports, the origin's address, throw-away keys."""

	def __init__(self, work, logs, build_dir, ports, peers=None):
		self.work, self.logs, self.ports = work, logs, ports
		self.tools = {t: shutil.which(t, path=ENVIRONMENT["PATH"]) for t in TOOLS}
		self.take_peers(peers)
		for program in ("aditd", "adit"):
			self.tools[program] = self._built(program, build_dir)
		self.build_dir = build_dir
		self.origin = self.callee = None
		self.more_origins = {}  # what adit publishes besides: name → its URL
		self.transfer_seconds = load.TRANSFER_SECONDS
		self.counting = False  # see instructions.py

	def lacks(self, script, tools):
		"""Says on stderr which of them are not there; True when any is."""
		gone = [tool for tool in tools if not self.tools[tool]]
		if gone:
			print(f"{script}: not found: {', '.join(gone)}", file=sys.stderr)
		return bool(gone)

	@contextlib.contextmanager
	def origins(self):
		"""The origin and the callee, from here to the end of the block."""
		self.origin, self.callee = Origin(self), Callee(self)
		self.make_certificates()
		try:
			self.origin.start()
			self.callee.start()
			yield
		finally:
			self.callee.stop()
			self.origin.stop()

	def take_peers(self, folder):
		"""Other tunnels are what peers.sh has put there; None: nothing is."""
		self.peers = folder
		for tool in PEERS:
			self.tools[tool] = shutil.which(tool, path=os.path.join(folder, "bin")) if folder else None

	@staticmethod
	def _built(program, build_dir):
		if build_dir is None:
			return shutil.which(program, path=ENVIRONMENT["PATH"])
		for folder in ("src", "."):
			path = os.path.abspath(os.path.join(build_dir, folder, program))
			if os.access(path, os.X_OK) and os.path.isfile(path):
				return path
		return None

	def file(self, name, text=None):
		"""A path in the work folder, written when there is text."""
		path = os.path.join(self.work, name)
		if text is not None:
			with open(path, "w", encoding="utf-8") as f:
				f.write(text)
		return path

	def program(self, log, argv, **kwargs):
		if self.counting:
			argv = [self.tools["valgrind"], "-q", "--tool=cachegrind", "--cache-sim=no",
				f"--cachegrind-out-file={self.counts(log)}.%p", *argv]
		return Program(argv, os.path.join(self.logs, log + ".log"), cwd=self.work, **kwargs)

	def relay(self):
		"""The program of relay.c, built when it is first wanted."""
		path = self.file("relay")
		if not os.path.exists(path):
			here = os.path.dirname(os.path.abspath(__file__))
			self.must([self.tools["cc"], "-std=c11", "-O2", "-o", path, os.path.join(here, "relay.c")])
		return path

	def counts(self, log):
		return self.file(f"counts.{log}")

	def must(self, argv):
		status, out, err = run(argv, 20)
		if status:
			raise Failed(f"{os.path.basename(argv[0])} ended with status {status}: {(err or out).strip()[-200:]}")

	def make_certificates(self):
		"""A CA and a certificate for tunnel.test, valid for a day."""
		new = [self.tools["openssl"], "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
			"-nodes", "-days", "1"]
		self.must(new + ["-subj", "/CN=bench CA", "-keyout", self.file("ca.key"), "-out", self.file("ca.pem")])
		self.must(new + ["-subj", f"/CN={NAME}", "-CA", self.file("ca.pem"), "-CAkey", self.file("ca.key"),
			"-addext", f"subjectAltName=DNS:{NAME}", "-addext", "basicConstraints=critical,CA:FALSE",
			"-keyout", self.file("server.key"), "-out", self.file("server.pem")])


def wait_for_get(port, programs):
	deadline = time.monotonic() + START_SECONDS
	while time.monotonic() < deadline:
		for p in programs:
			p.check()
		if load.small_get(port, 1) is not None:
			return
		time.sleep(0.02)
	said = "; ".join(f"{p.name}: {p.last_line()}" for p in programs if p.last_line())
	raise Failed(f"no answer to GET /13b within {START_SECONDS} s ({said or 'no message'})")


# keepalive_requests: nginx closes a connection after 1000 requests by default, which would measure handshakes.
# /upload: nginx reads the whole body first (memory, then a file in the work folder) and asks itself without it.
NGINX = """\
daemon off;
%(user)s
worker_processes 2;
pid %(work)s/nginx.pid;
error_log stderr warn;
events { worker_connections 4096; }
http {
	access_log off;
	default_type application/octet-stream;
	sendfile on;
	keepalive_requests 1000000000;
	keepalive_timeout 600s;
	send_timeout 600s;
	client_max_body_size 0;
	client_body_buffer_size 1m;
	client_body_temp_path %(temp)s/body;
	proxy_temp_path %(work)s/proxy;
	fastcgi_temp_path %(work)s/fastcgi;
	uwsgi_temp_path %(work)s/uwsgi;
	scgi_temp_path %(work)s/scgi;
	server {
		listen 127.0.0.1:%(port)d backlog=4096;
		listen 127.0.0.1:%(h2_port)d http2 backlog=4096;
		root %(work)s/www;
		location = /13b { return 200 "Hello, adit!\\n"; }
		location = /echo { return 200 "$arg_text\\n"; }
		location = /upload {
			proxy_pass http://127.0.0.1:%(port)d/received;
			proxy_pass_request_body off;
			proxy_set_header Content-Length 0;
		}
		location = /received { return 200 "received\\n"; }
	}
}
"""


class Origin:
	"""nginx: /13b, /1m, /1g, and PUT /upload. Runs through all rounds."""

	def __init__(self, bench):
		self.bench = bench
		self.port, self.h2_port = bench.ports.take(), bench.ports.take()
		self.temp = None
		www = bench.file("www")
		os.mkdir(www)
		for name, size in (("www/1m", load.MB), ("www/1g", load.GB), ("up", load.UP_BYTES), ("long-up", load.GB)):
			with open(bench.file(name), "wb") as f:
				f.truncate(size)
		self.up_file, self.long_up_file = bench.file("up"), bench.file("long-up")
		self.program = None

	def start(self):
		b = self.bench
		# Uploads go to memory where possible, so that no disk is measured.
		self.temp = b.file("upload")
		if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 2 * load.UP_BYTES:
			self.temp = os.path.join("/dev/shm", os.path.basename(b.work))
		os.mkdir(self.temp, 0o700)
		conf = b.file("nginx.conf", NGINX % {"work": b.work, "temp": self.temp, "user": ingress.nginx_user(),
			"port": self.port, "h2_port": self.h2_port})
		self.program = b.program("origin", [b.tools["nginx"], "-e", "stderr", "-p", b.work, "-c", conf]).start()
		wait_for_get(self.port, [self.program])
		# Now the file lies in the page cache, and the memory that uploads go to has been touched once.
		load.download(b.tools, self.port, "/1g", load.GB, load.TRANSFER_SECONDS)
		load.upload(b.tools, self.port, self.up_file, load.UP_BYTES, load.TRANSFER_SECONDS)

	def stop(self):
		if self.program:
			self.program.stop()
		if self.temp:
			shutil.rmtree(self.temp, ignore_errors=True)


class Callee:
	"""nghttpd as an HTTP/2 origin: answers POST of CALL_PATH as a gRPC server answers a unary call."""

	def __init__(self, bench):
		self.bench, self.port, self.program = bench, bench.ports.take(), None
		path = bench.file("calls" + load.CALL_PATH)
		os.makedirs(os.path.dirname(path))
		self.message = bench.file("call")
		for name in (path, self.message):
			with open(name, "wb") as f:
				f.write(load.CALL)

	def start(self):
		b = self.bench
		if not b.tools["nghttpd"]:
			return
		types = b.file("mime.types", "application/grpc grpc\n")
		self.program = b.program("callee", [b.tools["nghttpd"], "--no-tls", "-a", "127.0.0.1", "-n2", "-d", b.file("calls"),
			f"--mime-types-file={types}", f"--trailer={load.CALL_TRAILER}", self.port]).start()
		self.program.wait_listening(self.port, START_SECONDS)

	def stop(self):
		if self.program:
			self.program.stop()


class Subject:
	"""One way to the origin. After start(), visitors reach it at `port`; `servers` and `clients` are the programs in
	the middle, by side: `clients` stand beside the origin and dial out (for nghttpx: the hop next to the origin).
	`ingresses` are the proxies that the tunnel's own connection passes; their CPU is told apart."""

	needs = ()
	address = "127.0.0.1"
	# Does the client dial the server, and so make a tunnel? Does it end when it loses the connection?
	dials, client_ends = True, False

	def __init__(self, bench):
		self.bench = bench
		self.port = self.h2_port = None
		self.servers, self.clients, self.ingresses = [], [], []
		self.relay = self.relay_delay_ms = None
		self.others, self.keep_up = 0, False

	def apart(self, **settings):
		"""Another one of its kind, beside it, set up otherwise: `relay_delay_ms`, `others`, `keep_up`."""
		other = type(self)(self.bench)
		other.name = f"{self.name}~"
		for key, value in settings.items():
			setattr(other, key, value)
		return other

	def leg(self, port):
		"""Where its client dials to reach the server's `port`: that, or a relay which leads there (see relay.c)."""
		if self.relay_delay_ms is None:
			return port
		near = self.bench.ports.take()
		self.start_relay("127.0.0.1", near, port)
		return near

	def start_relay(self, address, near, port):
		self.relay = self.bench.program(f"{self.name}.relay", [self.bench.relay(), address, near, self.address, port,
			self.relay_delay_ms]).start()
		self.relay.wait_listening(near, START_SECONDS, address)

	def kept_up(self, argv):
		"""The command line of a client; of one that ends with its connection in a loop, where it has to come back."""
		if self.keep_up and self.client_ends:
			return ["/bin/sh", "-c", 'while :; do "$@"; sleep 1; done', "sh", *argv]
		return argv

	def client(self, i):
		"""Starts the client of tunnel `i`, from 1 to `others`, and waits until it is connected."""
		raise NotImplementedError

	def missing(self):
		"""Why it cannot run here, or None."""
		gone = [t for t in self.needs if not self.bench.tools[t]]
		return f"not installed: {', '.join(gone)}" if gone else None

	def start(self):
		self.launch()
		if self.h2_port is None:
			self.h2_port = self.port
		wait_for_get(self.port, self.programs())
		load.check(self.port)

	def launch(self):
		raise NotImplementedError

	def h2c_port(self, _name):
		"""Where HTTP/2 visitors reach the HTTP/2 origin of that name (see h2c_origins), by its Host."""
		return self.h2_port

	def programs(self):
		return self.servers + self.clients + self.ingresses

	def tunnel(self):
		return self.servers + self.clients

	def check(self):
		for p in self.programs():
			p.check()

	def stop(self):
		for p in self.clients + self.ingresses + self.servers + ([self.relay] if self.relay else []):
			p.stop()
		self.servers, self.clients, self.ingresses, self.h2_port, self.relay = [], [], [], None, None


class Direct(Subject):
	name, title = "direct", "the origin itself, nothing in the middle"
	dials = False

	def launch(self):
		self.port, self.h2_port = self.bench.origin.port, self.bench.origin.h2_port

	def h2c_port(self, name):
		return h2c_origins(self.bench)[name]


class Nghttpx(Subject):
	name, title = "nghttpx", "two nghttpx hops, HTTP/2 over TLS between them, one worker each"
	needs = ("nghttpx", "openssl")
	windows = ()
	dials = False

	def launch(self):
		b, bin_ = self.bench, self.bench.tools["nghttpx"]
		common = [bin_, "--conf=/dev/null", "--workers=1", "--no-ocsp", "--log-level=ERROR", *self.windows]
		if b.counting:
			common += ["--single-process"]  # its worker would be killed before its count is written
		inner = b.ports.take()
		self.port = b.ports.take()
		self.clients = [b.program(self.name + "-b", common + [f"--frontend=127.0.0.1,{inner}",
			f"--backend=127.0.0.1,{b.origin.port}",
			*(f"--backend=127.0.0.1,{port};{host_of(name)}/;proto=h2" for name, port in h2c_origins(b).items()),
			b.file("server.key"), b.file("server.pem")]).start()]
		self.servers = [b.program(self.name + "-a", common + [f"--frontend=127.0.0.1,{self.port};no-tls",
			f"--backend=127.0.0.1,{self.leg(inner)};;proto=h2;tls;sni={NAME}", f"--cacert={b.file('ca.pem')}"]).start()]


class NghttpxTuned(Nghttpx):
	name, title = "nghttpx-tuned", "the same with windows of 1 MiB per stream and 16 MiB per connection"
	windows = tuple(f"--{side}-http2-{window}" for side in ("frontend", "backend")
		for window in ("window-size=1M", "connection-window-size=16M"))


SSHD = """\
ListenAddress 127.0.0.1
Port %(port)d
HostKey %(work)s/ssh_host
AuthorizedKeysFile %(work)s/ssh_user.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PubkeyAuthentication yes
PermitRootLogin prohibit-password
AllowUsers %(user)s
AllowTcpForwarding remote
GatewayPorts no
UseDNS no
Compression no
Ciphers aes128-gcm@openssh.com
LogLevel INFO
"""


class Ssh(Subject):
	name, title = "ssh", "OpenSSH -R with aes128-gcm, an sshd of its own on a high port"
	needs = ("ssh", "sshd", "ssh-keygen")
	client_ends = True
	PRIVSEP = "/run/sshd"

	def __init__(self, bench):
		super().__init__(bench)
		self.made_privsep = False
		self.h2c_ports = {}

	def keys(self):
		for name in ("ssh_host", "ssh_user"):
			if not os.path.exists(self.bench.file(name)):
				self.bench.must([self.bench.tools["ssh-keygen"], "-q", "-t", "ed25519", "-N", "", "-C", "bench",
					"-f", self.bench.file(name)])

	def launch(self):
		b, user = self.bench, getpass.getuser()
		self.keys()
		if os.geteuid() == 0 and not os.path.isdir(self.PRIVSEP):
			# Debian's sshd wants this folder when it runs as root; its own unit would have made it.
			os.mkdir(self.PRIVSEP, 0o755)
			self.made_privsep = True
		sshd_port = b.ports.take()
		self.port = b.ports.take()
		self.h2c_ports = {name: b.ports.take() for name in h2c_origins(b)}
		conf = b.file(f"{self.name}.sshd_config", SSHD % {"port": sshd_port, "work": b.work, "user": user})
		server = b.program(f"{self.name}d", [b.tools["sshd"], "-D", "-e", "-f", conf]).start()
		self.servers = [server]
		server.wait_listening(sshd_port, START_SECONDS)
		self.dialled = self.leg(sshd_port)
		with open(b.file("ssh_host.pub"), encoding="ascii") as f:
			self.known = b.file(f"{self.name}.known_hosts", f"[127.0.0.1]:{self.dialled} {f.read()}")
		self.clients = [self.dial("", [(self.port, b.origin.port),
			*((self.h2c_ports[name], port) for name, port in h2c_origins(b).items())])]

	def dial(self, log, ways):
		b = self.bench
		options = ("IdentitiesOnly=yes", "IdentityAgent=none", f"UserKnownHostsFile={self.known}",
			"GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes", "BatchMode=yes", "ExitOnForwardFailure=yes",
			"Ciphers=aes128-gcm@openssh.com", "Compression=no", "LogLevel=ERROR")
		return b.program(self.name + log, self.kept_up([b.tools["ssh"], "-F", "/dev/null", "-N", "-T", "-p", self.dialled,
			"-i", b.file("ssh_user"), *(w for o in options for w in ("-o", o)),
			*(w for near, far in ways for w in ("-R", f"127.0.0.1:{near}:127.0.0.1:{far}")),
			f"{getpass.getuser()}@127.0.0.1"])).start()

	def client(self, i):
		port = self.bench.ports.take()
		program = self.dial(str(i), [(port, self.bench.origin.port)])
		self.servers[0].wait_listening(port, START_SECONDS)
		return program

	def h2c_port(self, name):
		return self.h2c_ports[name]

	def stop(self):
		super().stop()
		if self.made_privsep:
			with contextlib.suppress(OSError):
				os.rmdir(self.PRIVSEP)
			self.made_privsep = False


ADITD = """\
domain: tunnel.test
trusted_proxies: [127.0.0.1]
listen:
  - address: 127.0.0.1:%(visitors)d
  - address: 127.0.0.1:%(tunnels)d
    tls:
      certificate: %(work)s/server.pem
      key: %(work)s/server.key
tokens:
  - name: b
    sha256: %(sha256)s
    names: ["*"]
"""


ADIT = """\
server: https://127.0.0.1:%(tunnels)d
server_name: %(domain)s
ca: %(work)s/ca.pem
state_dir: %(work)s/%(name)s.state
carrier: %(carrier)s
%(more)slog_format: json
tunnels:
"""


class Adit(Subject):
	name, title = "adit", "aditd and adit, carrier direct over TLS"
	needs = ("aditd", "adit", "openssl")
	carrier, ingress, more, published = "direct", None, "", 0

	def missing(self):
		gone = [p for p in ("aditd", "adit") if not self.bench.tools[p]]
		if gone:
			return f"{' and '.join(gone)} not found in {self.bench.build_dir or 'PATH; give --build-dir'}"
		return super().missing()

	def launch(self):
		b, self.token = self.bench, secrets.token_urlsafe(32)
		self.port, tunnels = b.ports.take(), b.ports.take()
		conf = b.file(f"{self.name}.yaml", ADITD % {"visitors": self.port, "tunnels": tunnels, "work": b.work,
			"sha256": hashlib.sha256(self.token.encode()).hexdigest()})
		server = b.program(f"{self.name}.aditd", [b.tools["aditd"], "-c", conf]).start()
		self.servers = [server]
		server.wait_for("ready", START_SECONDS)
		if self.ingress:
			tunnels = b.ports.take()
			proxy = ingress.program(b, self.name, self.ingress, NAME, tunnels, self.port).start()
			self.ingresses = [proxy]
			proxy.wait_listening(tunnels, START_SECONDS)
		self.dialled = self.leg(tunnels)
		origins = {"shop": f"http://127.0.0.1:{b.origin.port}",
			**{name: f"h2c://127.0.0.1:{port}" for name, port in h2c_origins(b).items()}, **b.more_origins}
		self.published = len(origins)
		self.clients = [self.dial("", origins)]

	def dial(self, log, origins):
		b = self.bench
		conf = b.file(f"{self.name}.adit{log}.yaml", ADIT % {"tunnels": self.dialled, "domain": NAME, "work": b.work,
			"name": self.name + log, "carrier": self.carrier, "more": self.more}
			+ "".join(f"  - {{ name: {name}, origin: \"{origin}\" }}\n" for name, origin in origins.items()))
		client = b.program(f"{self.name}.adit{log}", [b.tools["adit"], "start", "-c", conf],
			env={"ADIT_TOKEN": self.token}).start()
		client.wait_for('"published"', START_SECONDS)
		return client

	def client(self, i):
		return self.dial(str(i), {f"t{i}": f"http://127.0.0.1:{self.bench.origin.port}"})

	def check(self):
		"""One link, over the carrier that the figures are told of, from the start to now."""
		super().check()
		for client in self.clients:
			records = [json.loads(line) for line in client.lines()[:-1] if line.startswith("{")]
			taken = [r["carrier"] for r in records if r.get("event") == "published"]
			if taken != [self.carrier] * self.published:
				raise Failed(f"wanted one link over {self.carrier}, there were: {', '.join(taken) or 'none'}")


def over(carrier_, ingress_=None, name_=None, more_=""):
	"""adit over another carrier, through a proxy where one is named; `more_` are lines for its file."""
	_, tool, *_, words = ingress.KINDS[ingress_] if ingress_ else ("", "", "")

	class Over(Adit):
		name = name_ or (f"{carrier_}@{ingress_}" if ingress_ else carrier_)
		title = f"carrier {carrier_} over TLS, " + (f"through {words}" if ingress_ else "no ingress")
		needs = Adit.needs + ((tool,) if ingress_ else ())
		carrier, ingress, more = carrier_, ingress_, more_
	return Over


CARRIERS = (Adit, over("ws-h2"), over("ws-h1"), over("poll"),
	*(over(carrier, "nginx") for carrier in ("direct", "ws-h1", "poll")),
	*(over(carrier, kind) for kind in ("haproxy-h1", "haproxy-h2") for carrier in ("ws-h2", "ws-h1", "poll")))
ALL = {c.name: c for c in (Direct, Nghttpx, NghttpxTuned, Ssh, *CARRIERS)}
DEFAULT = ("direct", "nghttpx", "ssh", "adit")
# Ratios are to the first of these that was measured.
BASES = ("nghttpx", "adit")
