"""Carriers without an ingress, and visitors who speak HTTP/2."""
import hashlib
import random
import socket
import subprocess
import threading

import pytest

from harness import DOMAIN, TOKENS
from wire import Cut, Reader, chunked, eventually, lines, read_head, reply

CARRIERS = ["direct", "ws-h2", "ws-h1"]
MEGABYTE = random.Random(7).randbytes(1 << 20)


def echo(connection, request):
    """Answers with the request's body."""
    connection.send(reply(200, request.read()))


@pytest.fixture(params=CARRIERS)
def tunnel(own, request):
    """A tunnel over one forced carrier, with its server and its recording origin."""
    server, origin = own.server(), own.origin()
    record = own.http(server, origin.port, "--name", "shop", "--carrier", request.param).wait_event("published")
    assert record["carrier"] == request.param
    return server, origin


def test_auto_takes_direct(own):
    """Straight at aditd the best carrier is chosen, and there is nothing to explain."""
    server, origin = own.server(), own.origin()
    record = own.http(server, origin.port, "--name", "shop").wait_event("published")
    assert record["carrier"] == "direct" and "why" not in record


def test_ten_visitors(tunnel):
    """Ten visitors at once with distinct megabytes each get their own back."""
    server, origin = tunnel
    origin.serve(echo)
    wrong = []

    def visit(i):
        body = bytes([i]) * 1000 + MEGABYTE
        if server.fetch(method="POST", body=body).body != body:
            wrong.append(i)

    threads = [threading.Thread(target=visit, args=(i,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert wrong == [] and len(origin.requests) == 10


def test_streamed_response(tunnel):
    """Each piece of an answer arrives before the next one is sent."""
    server, origin = tunnel
    go = threading.Semaphore(0)

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]))
        for i in range(3):
            connection.send(b"5\r\npart%d\r\n" % i)
            assert go.acquire(timeout=10)
        connection.send(chunked(b""))

    origin.serve(answer)
    with server.visit() as visitor:
        visitor.ask()
        assert visitor.head().status == 200
        for i in range(3):
            assert b"part%d" % i in visitor.reader.exactly(10)
            go.release()


def test_cancelled_request(tunnel):
    """A visitor who leaves is noticed at the origin, and the tunnel goes on."""
    server, origin = tunnel
    gone = threading.Event()

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 1 << 20)]) + b"some")
        if connection.wait_gone(10):
            gone.set()

    origin.serve(answer)
    visitor = server.visit()
    visitor.ask()
    visitor.head()
    visitor.close()
    assert gone.wait(10)
    origin.serve(lambda c, r: c.send(reply(200, b"on")))
    assert server.fetch().body == b"on"


def test_text_on_a_websocket_carrier(own):
    """A WebSocket peer that is no adit gets a Close and nothing else."""
    server = own.server()
    with server.visit() as visitor:
        visitor.send(b"GET /_adit/v1/" + b"0" * 32 + b"/ws HTTP/1.1\r\nHost: tunnel.test\r\nConnection: Upgrade\r\n"
                     b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     b"Authorization: Bearer " + TOKENS["alice"].encode() + b"\r\n\r\n")
        head = visitor.head()
        assert head.status == 101 and head.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        visitor.send(b"\x81\x85abcd" + bytes(a ^ b for a, b in zip(b"hello", b"abcda")))
        assert visitor.reader.exactly(2)[0] == 0x88


@pytest.mark.parametrize("path, fields, status", [
    ("ws", [], 401),
    ("ws", ["Authorization: Bearer TOKEN"], 426),
    ("direct", ["Authorization: Bearer TOKEN", "Connection: Upgrade", "Upgrade: websocket"], 426),
    ("other", ["Authorization: Bearer TOKEN"], 404),
])
def test_endpoint_refusals(own, path, fields, status):
    """The tunnel's endpoints tell by status and Adit-Version what is wrong with a request."""
    server = own.server()
    text = "".join(f"{f}\r\n" for f in fields).replace("TOKEN", TOKENS["alice"])
    with server.visit() as visitor:
        visitor.send(f"GET /_adit/v1/{'0' * 32}/{path} HTTP/1.1\r\nHost: tunnel.test\r\n{text}\r\n".encode())
        answer = visitor.read()
    assert answer.status == status and answer.get("adit-version") == "1"


@pytest.mark.parametrize("kind", ["direct", "ws", "poll", "relay"])
def test_another_version_is_refused(own, kind):
    """A request of another major version gets a 426 that says what to update; none, or a minor one, is taken."""
    server = own.server()
    method = "POST" if kind == "relay" else "GET"

    def ask(version):
        with server.visit() as visitor:
            visitor.host = DOMAIN
            fields = [("Authorization", "Bearer " + TOKENS["alice"])]
            fields += [("Adit-Version", version)] if version else []
            return visitor.fetch(method, f"/_adit/v1/{'0' * 32}/{kind}", fields, b"" if kind == "relay" else None)

    for version, which in ("2", "the server"), ("2.1", "the server"), ("0", "adit"):
        answer = ask(version)
        assert answer.status == 426 and answer.get("adit-version") == "1", answer.start
        text = f"the server speaks version 1, this adit version {version[0]}: update {which}"
        assert answer.body.decode().strip() == text
    for version in "x", "-1", "99999999999999999999999", ",":
        assert b"different versions" in ask(version).body
    for version in "1", "1.7", None:
        assert b"version" not in ask(version).body


class NewerServer:
    """Answers every request with a 426 of version 2."""

    def __init__(self):
        self.targets, self.socket = [], socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
                with connection:
                    connection.settimeout(10)
                    self.targets.append(read_head(Reader(connection)).target)
                    connection.sendall(reply(426, b"something", [("Adit-Version", "2"), ("Connection", "close")]))
            except (OSError, Cut, AssertionError):
                if self.socket.fileno() < 0:
                    return

    def stop(self):
        self.socket.close()


@pytest.mark.parametrize("carrier", ["auto", "direct", "ws-h1", "poll"])
def test_newer_server(own, carrier):
    """adit says that it is to be updated, asks no other carrier in that climb, and tries again later."""
    newer = own.keep(NewerServer())
    adit = own.http(None, 1, "--name", "shop", "--carrier", carrier,
                    common=["--server", f"http://127.0.0.1:{newer.port}", "--log-format", "json"])
    down = adit.wait_event("down")
    assert down["detail"] == "the server speaks version 2, this adit version 1: update adit", down
    seen = len(adit.records)
    adit.wait_event("down", start=seen)
    assert adit.alive() and len({t.split("/")[3] for t in newer.targets}) == len(newer.targets), newer.targets


# ---- visitors who speak HTTP/2

def curl(*argv, data=None):
    """Runs curl; its standard output."""
    return subprocess.run(["curl", "-sS", "--max-time", "30", *argv], input=data, capture_output=True, check=True).stdout


@pytest.fixture
def h2(own):
    """A tunnel, and curl's arguments for HTTP/2 with prior knowledge and by ALPN."""
    server, origin = own.server(), own.origin()
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    plain = ["--http2-prior-knowledge", "-H", "Host: shop.tunnel.test", f"http://127.0.0.1:{server.plain_port}/"]
    tls = ["--http2", "--cacert", str(server.authority.ca), "--resolve", f"shop.tunnel.test:{server.tls_port}:127.0.0.1",
           f"https://shop.tunnel.test:{server.tls_port}/"]
    return server, origin, plain, tls


def test_h2_upload_and_download(h2):
    """A megabyte goes up and comes back over HTTP/2, plain and by TLS."""
    _, origin, plain, tls = h2
    origin.serve(echo)
    for way in plain, tls:
        out = curl("--data-binary", "@-", "-w", "%{http_version}", *way, data=MEGABYTE)
        assert out[-1:] == b"2" and hashlib.sha256(out[:-1]).digest() == hashlib.sha256(MEGABYTE).digest()
    assert origin.requests[0].get("x-forwarded-proto") == "http" and origin.requests[1].get("x-forwarded-proto") == "https"


def test_h2_cookie_crumbs_are_joined(h2):
    """Cookie fields that HTTP/2 split reach an HTTP/1.1 origin as one."""
    _, origin, plain, _ = h2
    origin.serve(echo)
    curl("-H", "Cookie: a=1", "-H", "Cookie: b=2", *plain)
    assert origin.requests[0].get("cookie") == "a=1; b=2"


def test_h2_unknown_name(h2):
    """An unknown name is the tunnel's own 404 over HTTP/2 too."""
    server, *_ = h2
    out = curl("--http2-prior-knowledge", "-H", "Host: nobody.tunnel.test", "-w", "%{http_code}",
               f"http://127.0.0.1:{server.plain_port}/")
    assert out.endswith(b"404") and b"aditd" in out


def test_h2_many_streams(h2):
    """A thousand requests on a hundred streams of one connection are all answered."""
    server, origin, *_ = h2
    origin.serve(echo)
    out = subprocess.run(["h2load", "-n", "1000", "-c", "1", "-m", "100", "-H", ":authority: shop.tunnel.test",
                          f"http://127.0.0.1:{server.plain_port}/"], capture_output=True, text=True, timeout=60).stdout
    assert "1000 succeeded, 0 failed" in out, out


def h2_status(port, *fields):
    """The status of a request with exactly those fields, or None when its stream was reset."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import ResponseReceived, StreamReset

    config = H2Configuration(client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False,
                             header_encoding="utf-8")
    connection = H2Connection(config)
    connection.initiate_connection()
    connection.send_headers(1, list(fields), end_stream=False)
    with socket.create_connection(("127.0.0.1", port), timeout=15) as sock:
        sock.sendall(connection.data_to_send())
        while data := sock.recv(65536):
            for event in connection.receive_data(data):
                if isinstance(event, ResponseReceived):
                    return int(dict(event.headers)[":status"])
                if isinstance(event, StreamReset):
                    return None
            sock.sendall(connection.data_to_send())
    return None


SHOP = (":authority", "shop.tunnel.test")


@pytest.mark.parametrize("status, fields", [
    (501, [(":method", "CONNECT"), (":authority", "shop.tunnel.test:443")]),
    (501, [(":method", "BREW"), (":scheme", "http"), (":path", "/"), SHOP]),
    (400, [(":method", "GET"), (":scheme", "ftp"), (":path", "/"), SHOP]),
    (400, [(":method", "GET"), (":scheme", "http"), (":path", "/a#b"), SHOP]),
    (400, [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop.tunnel.test:80,x")]),
    (400, [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "shop.tunnel.test:8%0")]),
    (431, [(":method", "GET"), (":scheme", "http"), (":path", "/"), SHOP, ("x-big", "b" * 40000)]),
    (431, [(":method", "GET"), (":scheme", "http"), (":path", "/"), SHOP, *[("cookie", f"c{i}=1") for i in range(120)]]),
    (None, [(":method", "GET"), (":scheme", "http"), (":path", "/"), SHOP, ("host", "files.tunnel.test")]),
    (None, [(":method", "GET"), (":scheme", "http"), (":path", "/"), SHOP, ("connection", "close")]),
    (None, [(":method", "GET"), (":scheme", "http"), (":path", "/"), SHOP, ("x-cr", "a\rb")]),
])
def test_h2_refusals(h2, status, fields):
    """A request that could not be written as one of HTTP/1.1 is refused, and the origin sees nothing of it."""
    server, origin, *_ = h2
    assert h2_status(server.plain_port, *fields) == status
    assert origin.requests == []
    assert server.fetch("nobody").status == 404


def test_preface_cut_anywhere(h2):
    """Bytes that begin like the HTTP/2 preface and go on otherwise are judged as HTTP/1.1."""
    server, origin, *_ = h2
    for n in range(1, 18):
        with server.visit() as visitor:
            visitor.send(b"PRI * HTTP/2.0\r\n\r\n"[:n])
            visitor.send(b"x / HTTP/1.1\r\nHost: shop.tunnel.test\r\n\r\n")
            try:
                assert visitor.read().status >= 400
            except Cut:
                pass
    assert origin.requests == []
    eventually(lambda: server.fetch("nobody").status == 404, "still serving")
