"""harness: starts, watches and ends the programs of an end-to-end test.

Every program runs in a folder of the test's own, on free loopback ports, and every wait has a bound.
The programs are taken from $ADIT_BUILD (a build folder); sanitizer reports go to files that conftest.py looks at.
"""
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from wire import Origin, Visitor, eventually

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("ADIT_BUILD", TOP / "build" / "check" / "plain")).resolve()
ADITD, ADIT = BUILD / "src" / "aditd", BUILD / "src" / "adit"
DOMAIN = "tunnel.test"
TOKENS = {who: f"adit_{who}_" + hashlib.sha256(who.encode()).hexdigest()[:24] for who in ("alice", "bob", "carol")}
NAMES = {"alice": ["shop", "files", "alice-*"], "bob": ["bob-*", "alice-shared"], "carol": ["carol-*"]}
# Generous: a machine with two busy cores and a sanitizer build must not fail for slowness.
START = 20.0
STOP = 20.0


def free_port():
    """A port that nobody has now, and that nobody gets who binds port 0 or connects: those are from the range above.
    (Programs bind port 0 where a test can learn the port from them.)"""
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(100):
        port = random.randrange(10000, low) if low > 11000 else 0
        try:
            with socket.socket() as s:
                s.bind(("127.0.0.1", port))
                return s.getsockname()[1]
        except OSError:
            pass
    raise AssertionError("no free port")


def environment(folder, **extra):
    """What programs see: nothing of the caller's home, and sanitizers that report to files."""
    reports = os.environ.get("ADIT_REPORTS", str(folder))
    env = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")}
    env.update(HOME=str(folder), XDG_STATE_HOME=str(folder / "state"), XDG_CONFIG_HOME=str(folder / "config"),
               ASAN_OPTIONS=f"log_path={reports}/asan:exitcode=99:detect_leaks=1",
               UBSAN_OPTIONS=f"log_path={reports}/ubsan:print_stacktrace=1:exitcode=99")
    env.update(extra)
    return env


class Program:
    """A running program; its standard error is kept line by line, JSON lines as dicts."""

    def __init__(self, argv, folder, name, env=None, stdout=None, **more):
        self.name, self.records, self.lines, self.open = name, [], [], True
        self.changed = threading.Condition()
        self.log = open(folder / f"{name}.log", "ab")
        self.process = subprocess.Popen([str(a) for a in argv], cwd=folder, env=env or environment(folder),
                                        stdin=subprocess.DEVNULL, stdout=stdout or subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, start_new_session=True, **more)
        self.pid = self.process.pid
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        for raw in self.process.stderr:
            self.log.write(raw)
            self.log.flush()
            line = raw.decode("utf-8", "replace").rstrip("\n")
            try:
                record = json.loads(line)
            except ValueError:
                record = {}
            with self.changed:
                self.lines.append(line)
                self.records.append(record if isinstance(record, dict) else {})
                self.changed.notify_all()
        with self.changed:
            self.open = False
            self.changed.notify_all()

    @property
    def text(self):
        return "\n".join(self.lines)

    def wait_record(self, wanted, what, timeout=START, start=0):
        """The first log record from index `start` on for which wanted(record, line) is true."""
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                for record, line in zip(self.records[start:], self.lines[start:]):
                    if wanted(record, line):
                        return record
                left = end - time.monotonic()
                if left <= 0 or not self.open:
                    why = "ended" if not self.open else f"not within {timeout:g} s"
                    raise AssertionError(f"{self.name}: no {what}: {why}; its log:\n" + "\n".join(self.lines[-30:]))
                self.changed.wait(min(left, 1.0))

    def wait_event(self, event, timeout=START, start=0, **match):
        """The first record of that event whose members equal `match`."""
        def wanted(record, _):
            return record.get("event") == event and all(record.get(k) == v for k, v in match.items())
        return self.wait_record(wanted, f"event {event} {match or ''}", timeout, start)

    def wait_line(self, text, timeout=START, start=0):
        return self.wait_record(lambda _, line: text in line.lower(), f"line with {text!r}", timeout, start)

    def events(self, event):
        with self.changed:
            return [r for r in self.records if r.get("event") == event]

    def alive(self):
        return self.process.poll() is None

    def wait(self, timeout=STOP):
        """Its exit status, negative for a signal."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end within {timeout:g} s; its log:\n"
                                 + "\n".join(self.lines[-30:])) from None
        self.thread.join(5)
        self.log.close()
        return code

    def signal(self, number):
        self.process.send_signal(number)

    def hang_up(self, text="reload"):
        """SIGHUP, and waits until the log speaks of the reload."""
        start = len(self.lines)
        self.signal(signal.SIGHUP)
        return self.wait_line(text, start=start)

    def stop(self, expect=0):
        """SIGTERM, which must end it with status 0."""
        if self.alive():
            self.signal(signal.SIGTERM)
        code = self.wait()
        tail = "\n".join(self.lines[-30:])
        assert code == expect, f"{self.name} ended with {code}, wanted {expect}; its log:\n{tail}"

    def kill(self):
        """Ends it whatever it does; for clean-up and for tests of sudden death."""
        if self.alive():
            self.process.kill()
        self.process.wait(5)

    def memory(self, key="VmHWM"):
        """KiB: VmHWM is the most it ever had in RAM, VmRSS what it has now."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(key + ":"):
                return int(line.split()[1])
        raise AssertionError(f"no {key}")

    def descriptors(self):
        try:
            return len(os.listdir(f"/proc/{self.pid}/fd"))
        except PermissionError:
            pytest.skip("needs root: the programs let nobody else look into them (not in builds with sanitizers)")


def openssl(*argv):
    done = subprocess.run(["openssl", *map(str, argv)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


class Authority:
    """A certificate authority that lives as long as the test run."""

    NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

    def __init__(self, folder, name="adit test authority"):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ca, self.key = folder / "ca.pem", folder / "ca.key"
        openssl("req", "-x509", *self.NEW_KEY, "-keyout", self.key, "-out", self.ca, "-days", 2,
                "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, certificate, key, names=(DOMAIN, "*." + DOMAIN), usage="serverAuth", days=2):
        """Writes a fresh certificate for these DNS names. With days=0 it is out of date a second later."""
        request, extensions = self.folder / "request.csr", self.folder / "request.ext"
        alternatives = ",".join("DNS:" + n for n in names)
        extensions.write_text(f"subjectAltName={alternatives}\nextendedKeyUsage={usage}\n")
        openssl("req", *self.NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={names[0]}")
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.key, "-CAcreateserial", "-days", days,
                "-extfile", extensions, "-out", certificate)

    def context(self):
        return ssl.create_default_context(cafile=str(self.ca))


class Nginx:
    """nginx as origin, with a prefix folder of its own, serving the files put into .root."""

    CONFIG = """daemon off; master_process off; pid nginx.pid; error_log error.log;
worker_rlimit_nofile 4096;
events {{ worker_connections 2048; }}
http {{
	access_log off; sendfile on; tcp_nodelay on; keepalive_requests 1000000;
	client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
	server {{ listen 127.0.0.1:{port} backlog=1024; root www; default_type application/octet-stream; }}
}}
"""

    def __init__(self, folder):
        self.folder, self.root = folder, folder / "www"
        for sub in ("www", "tmp"):
            (folder / sub).mkdir(parents=True)
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        (folder / "nginx.conf").write_text(self.CONFIG.format(port=self.port))
        self.program = Program([shutil.which("nginx") or "/usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf",
                                "-e", folder / "error.log"], folder, "nginx")
        eventually(lambda: can_connect(self.port), lambda: "nginx answers: " + self.program.text)

    def stop(self):
        self.program.kill()


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


class Server:
    """aditd with its config file. Ports are chosen at the first start and kept over restarts."""

    def __init__(self, folder, authority, wrap=(), proxy=None, **config):
        self.folder, self.authority, self.wrap = folder, authority, wrap
        folder.mkdir(parents=True, exist_ok=True)
        self.file, self.certificate, self.key = folder / "aditd.yaml", folder / "server.pem", folder / "server.key"
        authority.issue(self.certificate, self.key)
        self.tls_context = authority.context()
        self.plain_port = self.tls_port = None
        self.proxy_port, self.admin_port = proxy or free_port(), free_port()
        self.config = {
            "domain": DOMAIN,
            "listen": [
                # not port 0: somebody else's connection could have it when this server is started again
                {"address": f"127.0.0.1:{free_port()}"},
                {"address": f"127.0.0.1:{free_port()}",
                 "tls": {"certificate": "server.pem", "key": "server.key"}},
                {"address": f"127.0.0.1:{self.proxy_port}", "proxy_protocol": True},
            ],
            "tokens": [self.token(who) for who in ("alice", "bob")],
            "trusted_proxies": ["127.0.0.2"],
            "admin": f"127.0.0.1:{self.admin_port}",
            "access_log": "access.log",
            "log_format": "json",
            "drain_seconds": 3,
        }
        self.config.update(config)
        self.program = None
        self.start()

    @staticmethod
    def token(who):
        return {"name": who, "sha256": hashlib.sha256(TOKENS[who].encode()).hexdigest(), "names": NAMES[who]}

    def write(self):
        """The config file: JSON is YAML too."""
        self.file.write_text(json.dumps(self.config, indent=1))

    def start(self):
        self.write()
        self.program = Program([*self.wrap, ADITD, "-c", self.file], self.folder, "aditd")
        self.program.wait_event("ready", timeout=START * (3 if self.wrap else 1))
        known = {self.proxy_port, self.admin_port}
        for record in self.program.events("listening"):
            port = int(record["address"].rpartition(":")[2]) if ":" in record["address"] else 0
            if port in known:
                continue
            if record.get("tls"):
                self.tls_port = port
            elif not self.plain_port:
                self.plain_port = port
        assert self.plain_port and self.tls_port, "aditd must name its listeners:\n" + self.program.text
        for listen, port in zip(self.config["listen"], (self.plain_port, self.tls_port)):
            listen["address"] = f"127.0.0.1:{port}"

    def visit(self, name="shop", tls=False, **options):
        """A visitor connection for that tunnel's name."""
        port = options.pop("port", self.tls_port if tls else self.plain_port)
        return Visitor(port, f"{name}.{DOMAIN}", tls=self.tls_context if tls else None, **options)

    def fetch(self, name="shop", method="GET", target="/", fields=(), body=None, **options):
        with self.visit(name, **options) as visitor:
            return visitor.fetch(method, target, fields, body)

    def flags(self):
        return ["--server", f"https://127.0.0.1:{self.tls_port}", "--server-name", DOMAIN, "--ca", self.authority.ca,
                "--log-format", "json"]

    def admin(self, target):
        with Visitor(self.admin_port, f"127.0.0.1:{self.admin_port}") as visitor:
            return visitor.fetch("GET", target)

    def access_lines(self):
        """The access log's lines so far, parsed."""
        path = self.folder / "access.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def adit_http(server, folder, origin, *flags, who="alice", token=None, name="adit", wrap=(), common=None):
    """adit with one tunnel, from flags; the token comes from the environment."""
    folder.mkdir(parents=True, exist_ok=True)
    argv = [*wrap, ADIT, "http", str(origin), *(server.flags() if common is None else common), *flags]
    return Program(argv, folder, name, environment(folder, ADIT_TOKEN=token or TOKENS[who]))


class Tunnels:
    """adit with a config file of several tunnels: {name: origin address or a dict with more keys}."""

    def __init__(self, server, folder, tunnels, who="alice", wrap=(), **config):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.server, self.config = folder, server, config
        self.file, self.token_file = folder / "adit.yaml", folder / "token"
        self.token_file.write_text(TOKENS[who] + "\n")
        self.token_file.chmod(0o600)
        self.write(tunnels)
        self.program = Program([*wrap, ADIT, "start", "-c", self.file], folder, "adit")
        for name in tunnels:
            self.program.wait_event("published", name=name)

    def write(self, tunnels):
        entries = [dict({"name": n}, **(o if isinstance(o, dict) else {"origin": o})) for n, o in tunnels.items()]
        self.file.write_text(json.dumps({
            "server": f"https://127.0.0.1:{self.server.tls_port}", "server_name": DOMAIN,
            "ca": str(self.server.authority.ca), "token_file": "token", "state_dir": str(self.folder / "state"),
            "log_format": "json", "tunnels": entries, **self.config}, indent=1))


class World:
    """What most tests share: aditd, one adit with several tunnels, scripted origins and nginx."""

    def __init__(self, folder, authority, nginx):
        self.folder, self.nginx = folder, nginx
        folder.mkdir(parents=True)
        self.origin, self.unix_origin = Origin(), Origin(folder / "origin.sock")
        # bound and never listening: connections to it are refused, and nobody else can get the port
        self.nobody = socket.socket()
        self.nobody.bind(("127.0.0.1", 0))
        self.dead_port = self.nobody.getsockname()[1]
        self.server = Server(folder / "aditd", authority)
        self.tunnels = Tunnels(self.server, folder / "adit", {
            "shop": self.origin.address,
            "files": nginx.address,
            "alice-unix": self.unix_origin.address,
            "alice-dead": f"http://127.0.0.1:{self.dead_port}",
            "alice-host": {"origin": self.origin.address, "host_header": "inner.example:8080"},
        })
        self.aditd, self.adit = self.server.program, self.tunnels.program
        self.visit, self.fetch = self.server.visit, self.server.fetch

    def reset(self):
        self.origin.serve(None)
        self.unix_origin.serve(None)

    def alive(self):
        return self.aditd.alive() and self.adit.alive()

    def end(self):
        """Ends all of it; both programs must end well when told to."""
        problems = []
        for program in (self.adit, self.aditd):
            try:
                program.stop()
            except AssertionError as e:
                problems.append(str(e))
                program.kill()
        self.origin.stop()
        self.unix_origin.stop()
        self.nobody.close()
        return problems
