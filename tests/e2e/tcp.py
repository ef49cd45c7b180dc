"""tcp: published TCP ports: servers of whatever protocol, visitors, and aditd with a token that may publish."""
import hashlib
import socket
import struct
import threading
import time

import harness
from relay import LINGER_RESET, Relay
from wire import accepted, eventually

BLOCK = 65536
PATIENCE = 15.0


def reset(sock):
    """Ends it by a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
    sock.close()


def read_all(sock, sink=None):
    """All up to its end, or what `sink` makes of it."""
    got = bytearray()
    while chunk := sock.recv(BLOCK):
        (sink or got.extend)(chunk)
    return bytes(got)


def read_exactly(sock, n):
    got = bytearray()
    while len(got) < n:
        chunk = sock.recv(n - len(got))
        assert chunk, f"the end after {len(got)} bytes, wanted {n}"
        got += chunk
    return bytes(got)


def is_reset(sock, timeout=PATIENCE):
    """What it says until it is reset; fails when it ends otherwise."""
    sock.settimeout(timeout)
    got = b""
    try:
        while chunk := sock.recv(BLOCK):
            got += chunk
    except ConnectionError:
        return got
    raise AssertionError(f"an orderly end behind {got[-50:]!r}, wanted a reset")


class Noise:
    """Bytes that are different everywhere, and their hash."""

    def __init__(self, size, seed=b"noise"):
        self.block = b"".join(hashlib.sha256(seed + bytes([i])).digest() for i in range(256)) * 8
        self.size = size

    def pieces(self):
        for i, at in enumerate(range(0, self.size, len(self.block))):
            piece = struct.pack(">Q", i) + self.block[8:]
            yield piece[:self.size - at]

    def digest(self):
        h = hashlib.sha256()
        for piece in self.pieces():
            h.update(piece)
        return h.hexdigest()

    def send(self, sock):
        for piece in self.pieces():
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)


class TcpServer:
    """A server of whatever protocol: serve(sock) runs in a thread for each connection, which is closed after it."""

    def __init__(self, serve=None, unix=None):
        self.listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.listener.bind(str(unix) if unix else ("127.0.0.1", 0))
        self.listener.listen(1024)
        self.port = None if unix else self.listener.getsockname()[1]
        self.origin = f"unix:{unix}" if unix else str(self.port)
        self.serve, self.socks, self.failed = serve or echo, [], []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for sock in accepted(self.listener):
            sock.settimeout(PATIENCE)
            self.socks.append(sock)
            threading.Thread(target=self.run, args=(sock, self.serve), daemon=True).start()

    def run(self, sock, serve):
        try:
            serve(sock)
        except Exception as e:  # whatever it is, the test wants to see it
            self.failed.append(e)
        finally:
            sock.close()

    def stop(self):
        """Listens no more, and closes what there is."""
        if self.listener.fileno() >= 0:
            self.listener.shutdown(socket.SHUT_RDWR)  # a thread that waits in accept would keep it open
        self.listener.close()
        for sock in self.socks:
            sock.close()


def echo(sock):
    """All that comes, back; the end too."""
    while data := sock.recv(BLOCK):
        sock.sendall(data)


class AlreadyReset:
    """A socket whose RST came so soon that connect() told it already."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def settimeout(self, _):
        pass

    close = __exit__

    def recv(self, *_):
        raise ConnectionResetError("within connect()")

    sendall = shutdown = recv


class Stand:
    """aditd, whose tokens of `owners` may publish a few ports, an adit that publishes the first of them, and the server
    behind it. `relay`: adit dials through one: True, or what makes it for a port."""

    def __init__(self, own, serve=None, relay=False, ports=1, flags=(), server=None, owners=("alice",),
                 address="127.0.0.1", **config):
        self.own, self.address = own, address
        self.ports = [harness.free_port() for _ in range(ports)]
        self.port = self.ports[0]
        config.setdefault("tokens", [dict(harness.Server.token(who), ports=self.ports) for who in owners])
        self.aditd = own.server(tcp_address=address, **config)
        self.server = own.keep(server or TcpServer(serve))
        self.relay = own.keep((Relay if relay is True else relay)(self.aditd.tls_port)) if relay else None
        self.adit = self.publish("adit", *flags)

    def publish(self, folder, *flags, port=None, wait=True, server=None, who="alice"):
        """One more adit; on the first port, or any when `port` is 0."""
        to = self.relay.port if self.relay else self.aditd.tls_port
        number = self.port if port is None else port
        argv = [harness.ADIT, "tcp", (server or self.server).origin, "--server", f"https://127.0.0.1:{to}",
                "--server-name", harness.DOMAIN, "--ca", self.aditd.authority.ca, "--log-format", "json",
                *(("--remote-port", number) if number else ()), *flags]
        home = self.own.folder / folder
        home.mkdir(parents=True, exist_ok=True)
        adit = self.own.run(argv, folder, env=harness.environment(home, ADIT_TOKEN=harness.TOKENS[who]))
        if wait:
            adit.wait_event("published")
        return adit

    def visit(self, port=None, receive_buffer=None):
        sock = socket.socket(socket.AF_INET6 if ":" in self.address else socket.AF_INET)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE)
        try:
            sock.connect((self.address, port or self.port))
        except ConnectionResetError:
            return AlreadyReset()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def talk(self, text=b"hello", port=None):
        """A visitor of an echo server."""
        with self.visit(port) as sock:
            sock.sendall(text)
            sock.shutdown(socket.SHUT_WR)
            return read_all(sock)

    def line(self, n=0):
        """The access log's nth line, when it is there."""
        return eventually(lambda: self.aditd.access_lines()[n:], "a line in the access log")[0]


def is_refused(port, address="127.0.0.1"):
    try:
        socket.create_connection((address, port), 5).close()
        return False
    except ConnectionRefusedError:
        return True


def within(seconds, what, call):
    """Calls, and requires that it took no longer."""
    began = time.monotonic()
    value = call()
    took = time.monotonic() - began
    assert took < seconds, f"{what} took {took:.2f} s, wanted less than {seconds:g} s"
    return value
