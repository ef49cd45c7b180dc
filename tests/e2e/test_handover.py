"""One aditd after another on the same sockets: drain, take-over, sockets of a service manager."""
import array
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness import ADITD, DOMAIN, can_connect, environment
from wire import eventually, lines, reply

pytestmark = pytest.mark.sandboxed

HOST = f"shop.{DOMAIN}"


def with_admin(own, **config):
    """aditd whose admin listener is a unix socket."""
    path = own.folder / "aditd" / "admin.sock"
    return own.server(admin=f"unix:{path}", **config), path


def successor(own, server, name, *flags, **config):
    """Another aditd with the same file that takes over."""
    server.config.update(config)
    server.write()
    return own.run([ADITD, "-c", server.file, "--take-over", *flags], name)


def take_over(own, server, name):
    """The successor, when it serves."""
    program = successor(own, server, name)
    program.wait_event("ready")
    return program


def ask_admin(path, request, timeout=10):
    """What the admin socket answers to these bytes, up to its end."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(timeout)
        s.connect(str(path))
        s.sendall(request)
        got = b""
        while chunk := s.recv(4096):
            got += chunk
        return got


HANDOVER = (b"GET /handover HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: adit-handover\r\n\r\n")


class Load:
    """Visitors that ask without a pause: some on kept connections, some on a new one each time."""

    def __init__(self, server, kept=3, fresh=2, tls=False):
        self.server, self.tls, self.stop, self.errors, self.done = server, tls, False, [], 0
        self.threads = [threading.Thread(target=self.run, args=(i < kept,), daemon=True) for i in range(kept + fresh)]
        for t in self.threads:
            t.start()

    def run(self, keep):
        visitor = None
        while not self.stop:
            try:
                visitor = visitor or self.server.visit(tls=self.tls, timeout=20)
                answer = visitor.fetch()
                assert answer.status == 200, answer.status
                self.done += 1
                if not keep or "close" in (answer.get("connection") or ""):
                    visitor.close()
                    visitor = None
            except Exception as e:  # pylint: disable=broad-except
                self.errors.append(repr(e))
                visitor = None
        if visitor:
            visitor.close()

    def end(self):
        self.stop = True
        for t in self.threads:
            t.join(30)
        assert not self.errors, self.errors[:5]
        return self.done


@pytest.fixture
def shop(own):
    """aditd with a unix admin socket, and adit with an origin behind it."""
    server, path = with_admin(own, drain_seconds=10)
    origin = own.origin()
    origin.serve(lambda c, r: c.send(reply(200, b"x" * 100)))
    adit = own.http(server, origin.port, "--name", "shop")
    adit.wait_event("published")
    return server, path, origin, adit


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed")
@pytest.mark.parametrize("visitors", [4, 400])
def test_rolling_restart_under_wrk(own, visitors):
    """A, then B, then C under a load of wrk: no request fails, A and B exit 0, the tunnel ends up on C."""
    server, path = with_admin(own, drain_seconds=10)
    adit = own.http(server, own.nginx.address, "--name", "files")
    adit.wait_event("published")
    wrk = subprocess.Popen(["wrk", "-t1", f"-c{visitors}", "-d8", "--timeout", "20", "-H", f"Host: files.{DOMAIN}",
                            f"http://127.0.0.1:{server.plain_port}/2k"], stdout=subprocess.PIPE, text=True)
    programs = [server.program]
    for name in "b", "c":
        time.sleep(1.5)
        seen = len(adit.records)
        programs.append(take_over(own, server, name))
        adit.wait_event("published", start=seen)
        programs[-1].wait_event("link.up")
    said = wrk.communicate(timeout=60)[0]
    print(said)
    assert wrk.returncode == 0
    requests = int(re.search(r"(\d+) requests in", said).group(1))
    assert requests > 500 and "Socket errors" not in said and "Non-2xx" not in said
    for program in programs[:2]:
        assert program.wait(20) == 0 and not program.events("drain.cut")
    assert programs[2].alive() and path.exists()
    assert server.fetch("files", target="/hello.txt").status == 200


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_kept_and_new_connections_during_a_take_over(own, shop, tls):
    """Visitors on kept and on new connections, plain and TLS, all get 200 while one aditd follows another."""
    server, _, _, adit = shop
    load = Load(server, tls=tls)
    time.sleep(0.5)
    seen = len(adit.records)
    b = take_over(own, server, "b")
    adit.wait_event("published", start=seen)
    b.wait_event("link.up")
    assert server.program.wait(20) == 0
    time.sleep(0.5)
    assert load.end() > 50


# ---- nobody is cut

def test_idle_visitor_is_answered_once_more(own, shop):
    """A kept connection that is idle when the server is replaced gets one more answer, with Connection: close."""
    server, _, _, _ = shop
    with server.visit() as visitor:
        assert visitor.fetch().get("connection") != "close"
        b = take_over(own, server, "b")
        b.wait_event("link.up")
        time.sleep(1.0)
        answer = visitor.fetch()
        assert answer.status == 200 and answer.get("connection") == "close"
        assert visitor.closed()
    assert server.program.wait(10) == 0


def test_idle_visitor_is_not_waited_for_longer_than_half(own):
    """A visitor who never asks again gets a FIN after half of drain_seconds, and the server ends with 0."""
    server, origin = own.server(drain_seconds=4), own.origin()
    origin.serve(lambda c, r: c.send(reply(200, b"x")))
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    with server.visit(timeout=10) as visitor:
        assert visitor.fetch().status == 200
        began = time.monotonic()
        server.program.signal(signal.SIGTERM)
        assert visitor.reader.sock.recv(10) == b""
        waited = time.monotonic() - began
    assert 1.8 < waited < 4, waited
    assert server.program.wait(5) == 0 and not server.program.events("drain.cut")


def test_request_begun_before_is_answered(own, shop):
    """Half a head, and a TLS handshake that has not begun, are no reason to be cut: A answers both."""
    server, _, _, _ = shop
    with server.visit() as half, socket.create_connection(("127.0.0.1", server.tls_port), 10) as raw:
        half.send(b"GET / HTTP/1.1\r\nHo")
        time.sleep(0.2)
        take_over(own, server, "b").wait_event("link.up")
        half.send(b"st: " + HOST.encode() + b"\r\n\r\n")
        answer = half.read()
        assert answer.status == 200 and answer.get("connection") == "close"
        with server.tls_context.wrap_socket(raw, server_hostname=HOST) as tls:
            tls.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
            got = b""
            while chunk := tls.recv(4096):
                got += chunk
        assert got.startswith(b"HTTP/1.1 200") and b"connection: close" in got.lower()
    assert server.program.wait(10) == 0


@pytest.mark.parametrize("carrier", ["direct", "ws-h2", "ws-h1", "poll"])
def test_download_goes_on(own, carrier):
    """An answer that is under way is finished by the old server over the old link, whatever carries it."""
    server, _ = with_admin(own, drain_seconds=15)
    origin, go = own.origin(), threading.Event()

    def answer(connection, request):
        if request.target != "/long":
            connection.send(reply(200, b"short"))
            return
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 200000)]) + b"a" * 100000)
        assert go.wait(15)
        connection.send(b"b" * 100000)

    origin.serve(answer)
    adit = own.http(server, origin.port, "--name", "shop", "--carrier", carrier)
    adit.wait_event("published")
    with server.visit(timeout=20) as visitor:
        visitor.ask(target="/long")
        assert visitor.head().status == 200
        assert visitor.reader.exactly(100000) == b"a" * 100000
        seen = len(adit.records)
        b = take_over(own, server, "b")
        adit.wait_event("published", start=seen)
        b.wait_event("link.up")
        assert server.fetch().body == b"short"
        time.sleep(1.5)
        assert server.program.alive()
        go.set()
        assert visitor.reader.exactly(100000) == b"b" * 100000
    assert server.program.wait(15) == 0 and not server.program.events("drain.cut")
    assert server.fetch().body == b"short"


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


GOAWAY, HEADERS, RST_STREAM = 7, 1, 3


class Http2:
    """A visitor in plain frames: libraries stop asking at the first GOAWAY."""

    def __init__(self, server):
        self.encoder = pytest.importorskip("hpack").Encoder()
        self.sock = socket.create_connection(("127.0.0.1", server.plain_port), 10)
        self.sock.settimeout(10)
        self.sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        self.buffer = b""

    def ask(self, stream):
        head = self.encoder.encode([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", HOST)])
        self.sock.sendall(frame(HEADERS, 5, stream, head))

    def until(self, wanted):
        """The payload of the first frame of that (type, stream)."""
        while True:
            while len(self.buffer) >= 9:
                n = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + n:
                    break
                kind, stream = self.buffer[3], int.from_bytes(self.buffer[5:9], "big")
                payload, self.buffer = self.buffer[9:9 + n], self.buffer[9 + n:]
                if (kind, stream) == wanted:
                    return payload
                assert kind != RST_STREAM, (stream, payload)
            got = self.sock.recv(65536)
            assert got, f"ended before {wanted}"
            self.buffer += got

    def goaway(self):
        return int.from_bytes(self.until((GOAWAY, 0))[:4], "big")


def test_http2_visitor_is_told_in_two_steps(own, shop):
    """GOAWAY with the highest stream number first; what is asked meanwhile is answered; then the real last one."""
    server, _, _, _ = shop
    visitor = Http2(server)
    visitor.ask(1)
    visitor.until((HEADERS, 1))
    take_over(own, server, "b")
    assert visitor.goaway() == 0x7fffffff
    visitor.ask(3)
    visitor.until((HEADERS, 3))
    assert visitor.goaway() == 3
    while visitor.sock.recv(65536):
        pass
    visitor.sock.close()
    assert server.program.wait(10) == 0


# ---- who may take over, and what happens when it fails

def test_broken_successor_changes_nothing(own, shop):
    """A successor with a bad file, or an address that is taken, ends with an error; the old one goes on."""
    server, path, _, adit = shop
    good = server.file.read_text()
    server.file.write_text(good.replace(DOMAIN, "no domain!"))
    assert own.run([ADITD, "-c", server.file, "--take-over"], "bad").wait(10) == 2
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        address = f"127.0.0.1:{other.getsockname()[1]}"
        more = json.loads(good)
        more["listen"].append({"address": address})
        server.file.write_text(json.dumps(more))
        taken = own.run([ADITD, "-c", server.file, "--take-over"], "taken")
        assert taken.wait(10) == 1 and address in taken.text
    server.program.wait_event("handover.failed")
    server.file.write_text(good)
    assert server.program.alive() and path.exists() and not server.program.events("draining")
    assert server.fetch().status == 200 and len(adit.events("published")) == 1
    # and none of that stands in the way of a good one
    take_over(own, server, "b").wait_event("link.up")
    assert server.program.wait(10) == 0 and path.exists()


def test_successor_that_is_killed_changes_nothing(own, shop):
    """A process that got the sockets and goes without a word, or talks nonsense, leaves the old one as it was."""
    server, path, _, _ = shop
    for word in b"", b"REALLY\n":
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(10)
            s.connect(str(path))
            s.sendall(HANDOVER)
            data, fds = b"", array.array("i")
            while b"SOCKETS" not in data or not data.endswith(b"\n"):
                got, ancillary, _, _ = s.recvmsg(4096, socket.CMSG_SPACE(64 * 4))
                assert got, data
                data += got
                for _, kind, payload in ancillary:
                    assert kind == socket.SCM_RIGHTS
                    fds.frombytes(payload)
            assert len(fds) == 4 and data.endswith(b"SOCKETS ---o\n"), data
            # a second one has to wait
            assert b" 409 " in ask_admin(path, HANDOVER.replace(b"Upgrade\r\n", b"Upgrade, close\r\n", 1))
            s.sendall(word)
            if word:
                try:
                    assert s.recv(10) == b""
                except ConnectionResetError:
                    pass
        for fd in fds:
            os.close(fd)
        eventually(lambda: len(server.program.events("handover.failed")) == (2 if word else 1), "given up")
    assert server.fetch().status == 200 and not server.program.events("draining")


def test_nobody_to_take_over(own):
    """--take-over where nobody runs starts as usual, and says so."""
    server, path = with_admin(own)
    server.program.stop()
    assert not path.exists()
    b = take_over(own, server, "b")
    assert b.events("takeover.nobody") and can_connect(server.plain_port) and path.exists()
    b.stop()
    assert not path.exists()


def test_take_over_needs_a_unix_socket(own):
    """Without an admin listener on a unix socket, and with --dev, the flag is refused with exit 2."""
    server = own.server()
    for argv in ([ADITD, "-c", server.file, "--take-over"], [ADITD, "--dev", "--take-over"]):
        done = subprocess.run(argv, cwd=own.folder, env=environment(own.folder), capture_output=True, text=True,
                              timeout=20, check=False)
        assert done.returncode == 2 and "--take-over" in done.stderr and done.stderr.count("\n") == 1
    assert server.program.alive()


ASK_AS_NOBODY = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
try:
    s.connect(sys.argv[1])
except PermissionError:
    print("EACCES")
    sys.exit()
s.sendall(sys.argv[2].encode())
print(s.recv(4096).split(b"\\r\\n")[0].decode())
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv")
def test_another_user_gets_nothing(own):
    """The socket's file keeps other users out; where it was opened to them, they are refused the sockets."""
    folder = Path("/tmp") / f"adit-handover-{os.getpid()}"
    folder.mkdir()
    try:
        folder.chmod(0o755)
        path = folder / "admin.sock"
        server = own.server(admin=f"unix:{path}")
        assert path.stat().st_mode & 0o777 == 0o600

        def as_nobody():
            argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c",
                    ASK_AS_NOBODY, str(path), HANDOVER.decode()]
            done = subprocess.run(argv, cwd="/", capture_output=True, text=True, timeout=20, check=False)
            return done.stdout.strip(), done.stderr

        assert as_nobody()[0] == "EACCES"
        path.chmod(0o666)
        said, why = as_nobody()
        assert " 403 " in said, (said, why)
        assert not server.program.events("handover") and not server.program.events("draining")
        server.program.stop()
    finally:
        shutil.rmtree(folder)


def test_unix_listener_passes_on(own):
    """A unix socket for visitors is listened on by the successor, keeps its file, and the last one removes it."""
    server, _ = with_admin(own)
    path = server.folder / "visitors.sock"  # beside the admin listener's: a new folder would need a restart
    server.config["listen"].append({"address": f"unix:{path}"})
    server.write()
    server.program.hang_up()
    assert path.exists()
    b = take_over(own, server, "b")
    assert server.program.wait(10) == 0 and path.exists()
    assert b" 404 " in ask_admin(path, b"GET / HTTP/1.1\r\nHost: x.y.z\r\nConnection: close\r\n\r\n")
    b.stop()
    assert not path.exists()


def test_address_that_the_successor_does_not_want(own, shop):
    """A socket of the old server that is not in the new file is closed, with a line in the log."""
    server, _, _, _ = shop
    port = server.proxy_port
    server.config["listen"].pop()
    b = take_over(own, server, "b")
    assert [r["address"] for r in b.events("socket.unused")] == [f"127.0.0.1:{port}"]
    assert server.program.wait(10) == 0 and not can_connect(port)


# ---- sockets of a service manager

LAUNCH = """
import os, socket, sys
fds = [int(n) for n in sys.argv[1].split(",")]
kept = [os.dup(fd) for fd in fds]
kept = [fd if fd > 20 else __import__("fcntl").fcntl(fd, 0, 21) for fd in kept]
for at, fd in enumerate(kept):
    os.dup2(fd, 3 + at, inheritable=True)
os.environ.update(LISTEN_PID=sys.argv[2] if sys.argv[2] != "me" else str(os.getpid()), LISTEN_FDS=str(len(fds)),
                  LISTEN_FDNAMES=":".join("web" for _ in fds))
os.execv(sys.argv[3], sys.argv[3:])
"""


class Started(subprocess.Popen):
    """A process that own ends whatever happens."""

    def stop(self):
        self.kill()
        self.wait(5)


class Manager:
    """Holds listening sockets as a service manager does, and starts aditd with them."""

    def __init__(self, own, addresses):
        self.own, self.sockets = own, []
        for kind, address in addresses:
            s = socket.socket(kind)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(address)
            s.listen(128)
            self.sockets.append(s)

    def start(self, file, name, pid="me", **env):
        fds = [s.fileno() for s in self.sockets]
        folder = self.own.folder
        with open(folder / f"{name}.log", "wb") as log:
            process = Started(
                [sys.executable, "-c", LAUNCH, ",".join(map(str, fds)), pid, str(ADITD), "-c", str(file)], cwd=folder,
                env=environment(folder, **env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                pass_fds=fds)
        return process

    def stop(self):
        for s in self.sockets:
            s.close()


def test_sockets_of_a_service_manager(own):
    """aditd listens on what LISTEN_FDS gives it, says when it is ready and when it ends, and leaves the sockets as they
    are: who connects while none runs is answered by the next one."""
    server, origin = own.server(), own.origin()
    server.program.stop()
    extra = own.folder / "extra.sock"
    manager = own.keep(Manager(own, [(socket.AF_INET, ("127.0.0.1", server.plain_port)),
                                     (socket.AF_UNIX, str(extra))]))
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(own.folder / "notify.sock"))
    notify.settimeout(20)
    server.config["listen"] = server.config["listen"][:2] + [{"address": f"unix:{extra}"}]
    server.write()
    adit = None
    for turn in range(2):
        process = own.keep(manager.start(server.file, f"turn{turn}", NOTIFY_SOCKET=str(own.folder / "notify.sock")))
        try:
            if turn:
                assert b" 200 " in visitor.recv(4096)
                visitor.close()
            assert notify.recv(200) == b"READY=1"
            adit = adit or own.http(server, origin.port, "--name", "shop")
            eventually(lambda: server.fetch().status == 200, "the tunnel", 20)
            process.send_signal(signal.SIGHUP)
            assert notify.recv(200).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
            assert notify.recv(200) == b"READY=1"
            process.terminate()
            assert notify.recv(200) == b"STOPPING=1"
            assert process.wait(20) == 0
        finally:
            process.stop()
        log = [json.loads(line) for line in (own.folder / f"turn{turn}.log").read_text().splitlines()]
        taken = [r["address"] for r in log if r["event"] == "socket.taken"]
        assert taken == [f"127.0.0.1:{server.plain_port}", f"unix:{extra}"], log
        assert extra.exists()
        if not turn:
            # nobody accepts it now
            visitor = socket.create_connection(("127.0.0.1", server.plain_port), 5)
            visitor.settimeout(20)
            visitor.sendall(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    adit.stop()
    notify.close()


def test_sockets_for_somebody_else(own):
    """LISTEN_FDS with another's LISTEN_PID is not for us; what does not listen, or is not wanted, is closed."""
    server = own.server()
    server.program.stop()
    server.write()
    manager = own.keep(Manager(own, [(socket.AF_INET, ("127.0.0.1", server.plain_port))]))
    process = own.keep(manager.start(server.file, "other", pid="1"))
    assert process.wait(20) == 1 and "Address already in use" in (own.folder / "other.log").read_text()
    spare = socket.socket()
    spare.bind(("127.0.0.1", 0))
    spare.listen(1)
    unconnected = socket.socket()
    manager.sockets += [spare, unconnected]
    process = own.keep(manager.start(server.file, "more"))
    log = own.folder / "more.log"
    eventually(lambda: '"event":"ready"' in log.read_text(), lambda: log.read_text(), 20)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    unused = [r["address"] for r in records if r["event"] == "socket.unused"]
    assert unused == [f"127.0.0.1:{spare.getsockname()[1]}"]
    assert [r["descriptor"] for r in records if r["event"] == "socket.refused"] == [5]
    process.terminate()
    assert process.wait(20) == 0
