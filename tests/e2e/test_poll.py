"""The poll carrier: plain requests and nothing else, straight to aditd and through an ingress that strips Upgrade."""
import os
import shutil
import signal
import socket
import threading
import time

import pytest
from harness import DOMAIN, TOKENS, Program, can_connect, free_port
from wire import Cut, Reader, accepted, eventually, lines, read_head

MEGABYTE = os.urandom(1 << 20)


class Ingress:
    """nginx before aditd; it passes no Upgrade on, as a proxy_pass without further lines does not."""

    CONFIG = """daemon off; master_process off; pid nginx.pid; error_log error.log;
events {{ worker_connections 512; }}
http {{
	log_format holds '$request" $status $http_adit_hold';
	access_log access.log holds; keepalive_requests {requests};
	client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
	server {{
		listen 127.0.0.1:{port} ssl {http2};
		ssl_certificate {server.certificate}; ssl_certificate_key {server.key};
		ssl_protocols TLSv1.2 TLSv1.3;
		location / {{
			proxy_pass http://127.0.0.1:{server.plain_port};
			proxy_read_timeout {timeout};
		}}
	}}
}}
"""

    def __init__(self, folder, server, http2=True, timeout="60s", requests=1000):
        (folder / "tmp").mkdir(parents=True)
        self.folder, self.port = folder, free_port()
        (folder / "nginx.conf").write_text(self.CONFIG.format(
            port=self.port, server=server, http2="http2" if http2 else "", timeout=timeout, requests=requests))
        self.program = Program([shutil.which("nginx") or "/usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf",
                                "-e", folder / "error.log"], folder, "ingress")
        eventually(lambda: can_connect(self.port), lambda: "nginx answers: " + self.program.text)

    def statuses(self):
        """How its requests were answered."""
        return [line.split('" ')[1].split()[0] for line in (self.folder / "access.log").read_text().splitlines()]


    def holds(self):
        """What polls asked for, in the order in which they ended."""
        log = (self.folder / "access.log").read_text()
        return [line.split()[-1] for line in log.splitlines() if "/poll " in line]


def flags_for(server, port):
    return ["--server", f"https://127.0.0.1:{port}", "--server-name", DOMAIN, "--ca", server.authority.ca,
            "--log-format", "json"]


def plain_flags(server):
    return ["--server", f"http://127.0.0.1:{server.plain_port}", "--log-format", "json"]


def ten_visitors(server):
    """Ten at once, each with a megabyte up and the same back."""
    problems = []

    def one(i):
        body = bytes([i]) * 7 + MEGABYTE[i:]
        try:
            got = server.fetch(method="POST", target=f"/{i}", body=body)
        except Cut as e:
            problems.append((i, repr(e)))
            return
        if got.status != 200 or got.body != f"POST /{i}\n".encode() + body:
            problems.append((i, got.status, len(got.body)))

    threads = [threading.Thread(target=one, args=(i,)) for i in range(10)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert not problems and not any(t.is_alive() for t in threads), problems


def streamed(server, origin):
    """Each piece of a response arrives before the next one is sent."""
    go = threading.Semaphore(0)

    def handler(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]))
        for _ in range(5):
            connection.send(b"5\r\npiece\r\n")
            go.acquire(timeout=10)
        connection.send(b"0\r\n\r\n")

    origin.serve(handler)
    with server.visit() as visitor:
        visitor.ask()
        assert visitor.head().status == 200
        for _ in range(5):
            got = b""
            while not got.endswith(b"piece\r\n"):
                got += visitor.reader.some()
            go.release()
        assert visitor.reader.exactly(5) == b"0\r\n\r\n"
    origin.serve(None)


def cancelled(server, origin):
    """A visitor who goes away is told to the origin; the next one is served."""
    here, gone = threading.Event(), threading.Event()

    def handler(connection, request):
        here.set()
        if connection.wait_gone():
            gone.set()

    origin.serve(handler)
    visitor = server.visit()
    visitor.ask()
    assert here.wait(10)
    visitor.reset()
    assert gone.wait(10), "the origin's connection must end"
    origin.serve(None)
    assert server.fetch(target="/after").body == b"GET /after\n"


def everything(server, origin):
    ten_visitors(server)
    streamed(server, origin)
    cancelled(server, origin)


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_poll_without_ingress(own, http2):
    """--carrier poll carries all that a tunnel carries, over HTTP/2 and over HTTP/1.1 connections."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop", "--carrier", "poll",
                    common=None if http2 else plain_flags(server))
    assert adit.wait_event("published")["carrier"] == "poll"
    everything(server, origin)


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_ingress_without_upgrade(own, http2):
    """Behind an ingress that strips Upgrade, adit finds poll within 10 s by itself, and says why nothing better."""
    server, origin = own.server(), own.origin()
    ingress = own.keep(Ingress(own.folder / "ingress", server, http2=http2))
    began = time.monotonic()
    adit = own.http(server, origin.port, "--name", "shop", common=flags_for(server, ingress.port))
    published = adit.wait_event("published")
    assert time.monotonic() - began < 10
    assert published["carrier"] == "poll" and "ws-h1" in published["why"] and "Upgrade" in published["why"]
    everything(server, origin)


def test_few_requests_a_connection(own):
    """An ingress that ends its HTTP/2 connections every 20 requests (nginx: every 1000) costs nothing."""
    server, origin = own.server(), own.origin()
    ingress = own.keep(Ingress(own.folder / "ingress", server, requests=20))
    adit = own.http(server, origin.port, "--name", "shop", "--carrier", "poll", common=flags_for(server, ingress.port))
    adit.wait_event("published")
    for i in range(60):
        assert server.fetch(target=f"/{i}").body == f"GET /{i}\n".encode()
    ten_visitors(server)
    assert not adit.events("down")
    assert len(ingress.statuses()) > 100


def test_impatient_ingress(own):
    """Where polls are cut with 504 after a second, the tunnel stays up all the same: they are asked for again."""
    server, origin = own.server(), own.origin()
    ingress = own.keep(Ingress(own.folder / "ingress", server, timeout="1s"))
    adit = own.http(server, origin.port, "--name", "shop", "--carrier", "poll", common=flags_for(server, ingress.port))
    adit.wait_event("published")
    eventually(lambda: ingress.statuses().count("504") > 8, "more polls are cut than may fail in a row")
    holds = ingress.holds()
    assert {"20000", "10000", "5000"} == set(holds), f"two that are cut at once halve the hold once: {holds}"
    ten_visitors(server)
    assert not adit.events("down")


def test_fixed_interval(own):
    """With an interval and no hold, a request waits for the next poll: the old way, for comparison."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop", "--carrier", "poll", "--poll-interval", "500ms",
                    "--poll-hold", "0")
    adit.wait_event("published")
    took = []
    for i in range(4):
        began = time.monotonic()
        assert server.fetch(target=f"/{i}").body == f"GET /{i}\n".encode()
        took.append(time.monotonic() - began)
    assert max(took) > 0.3, took
    assert server.fetch(method="POST", body=MEGABYTE[:100000]).body == b"POST /\n" + MEGABYTE[:100000]


def test_bad_token_over_poll(own):
    """aditd's 401 to the first relay is final: adit stops and says so."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop", "--carrier", "poll", token="adit_wrong")
    assert adit.wait_event("refused")["status"] == 401
    assert adit.wait() == 3


def test_client_killed_over_poll(own):
    """A killed adit is noticed by its cut poll, long before polls are missed; a new one takes the name."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop", "--carrier", "poll")
    adit.wait_event("published")
    assert server.fetch().status == 200
    time.sleep(0.3)  # until polls are there to be cut
    adit.kill()
    server.program.wait_event("link.detached", timeout=10)
    own.http(server, origin.port, "--name", "shop", "--carrier", "poll", folder="again").wait_event("published")
    assert server.fetch().status == 200


def test_server_restarted_under_poll(own):
    """A new aditd does not know the carrier: 410, and adit dials again."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop", "--carrier", "poll")
    adit.wait_event("published")
    seen = len(adit.records)
    server.program.kill()
    server.start()
    adit.wait_event("published", start=seen)
    assert server.fetch().status == 200


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_drain_under_poll(own, http2):
    """What is under way over poll when aditd gets SIGTERM is finished, both ways, and aditd ends soon after it."""
    server, origin = own.server(drain_seconds=20), own.origin()

    def slowly(connection, request):
        body = request.read()
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", len(body) * 10)]))
        for _ in range(10):
            connection.send(body)
            time.sleep(0.15)

    origin.serve(slowly)
    adit = own.http(server, origin.port, "--name", "shop", "--carrier", "poll",
                    common=None if http2 else plain_flags(server))
    adit.wait_event("published")
    with server.visit() as down, server.visit() as up:
        down.ask("POST", "/down", body=MEGABYTE[:100000])
        assert down.head().status == 200
        up.send(up.head_bytes("POST", "/up", [("Content-Length", "300000")]))
        up.send(MEGABYTE[:100000])
        eventually(lambda: len(origin.requests) == 2, "both have begun")
        server.program.signal(signal.SIGTERM)
        server.program.wait_event("draining")
        for at in 100000, 200000:
            time.sleep(0.3)
            up.send(MEGABYTE[at:at + 100000])
        assert down.reader.exactly(1000000) == MEGABYTE[:100000] * 10
        assert up.read().body == MEGABYTE[:300000] * 10
        ended = time.monotonic()
    assert server.program.wait(10) == 0
    print(f"ended {time.monotonic() - ended:.2f} s after the last answer")
    assert not server.program.events("drain.cut")


def poll_request(server, kind, method, fields=(), body=None, link="0" * 32, token=None):
    with server.visit() as visitor:
        visitor.host = DOMAIN
        auth = [("Authorization", "Bearer " + (token or TOKENS["alice"]))]
        return visitor.fetch(method, f"/_adit/v1/{link}/{kind}", [*auth, *fields], body)


def test_poll_endpoints_refuse(own):
    """Each request is authenticated; a carrier belongs to its link and token; the opening is a POST."""
    server = own.server()
    opened = poll_request(server, "relay", "POST", body=b"")
    carrier = opened.get("adit-carrier")
    assert opened.status == 201 and len(carrier) == 32 and opened.get("adit-version") == "1"
    assert opened.get("cache-control") == "no-store" and opened.get("x-accel-buffering") == "no"
    named = [("Adit-Carrier", carrier), ("Adit-Seq", "0")]
    assert poll_request(server, "poll", "GET", named, token="x").status == 401
    assert poll_request(server, "poll", "GET", named, token=TOKENS["bob"]).status == 410
    assert poll_request(server, "poll", "GET", named, link="1" * 32).status == 410
    assert poll_request(server, "poll", "GET", [("Adit-Carrier", "f" * 32), ("Adit-Seq", "0")]).status == 410
    assert poll_request(server, "poll", "GET").status == 400
    assert poll_request(server, "poll", "GET", named[:1]).status == 400
    assert poll_request(server, "relay", "GET", named).status == 405
    assert poll_request(server, "poll", "POST", named, body=b"").status == 405
    assert poll_request(server, "poll", "GET", [*named, ("Adit-Hold", "0")]).status == 204
    assert poll_request(server, "relay", "POST", named, body=b"x" * 300000).status == 413
    assert poll_request(server, "relay", "POST", [named[0], ("Adit-Seq", "8")], body=b"x").status == 400
    gone = poll_request(server, "relay", "POST", named, body=b"not a link frame, however long it may be")
    assert gone.status == 204
    server.program.wait_event("link.refused", code=400)


@pytest.mark.parametrize("numbered", [True, False], ids=["poll", "poll-without-number"])
def test_poll_with_a_body(own, numbered):
    """A poll with a body is refused and its connection ends: it would wait for ever for what nobody takes."""
    server = own.server()
    carrier = poll_request(server, "relay", "POST", body=b"").get("adit-carrier")
    fields = [("Authorization", "Bearer " + TOKENS["alice"]), ("Adit-Carrier", carrier),
              *([("Adit-Seq", "0"), ("Adit-Hold", "0")] if numbered else [])]
    with server.visit() as visitor:
        visitor.host = DOMAIN
        visitor.ask("GET", f"/_adit/v1/{'0' * 32}/poll", fields, b"body")
        assert visitor.read().status == 400
        visitor.sock.settimeout(10)
        assert visitor.closed()


class CuttingServer:
    """Opens poll carriers, and cuts every poll without a word; what they asked to be held is kept."""

    OPENED = (b"HTTP/1.1 201 Created\r\nAdit-Version: 1\r\nAdit-Carrier: " + b"0" * 32
              + b"\r\nContent-Length: 0\r\n\r\n")

    def __init__(self):
        self.holds, self.socket = [], socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for connection in accepted(self.socket):
            threading.Thread(target=self.run, args=(connection,), daemon=True).start()

    def run(self, connection):
        with connection:
            connection.settimeout(30)
            reader = Reader(connection)
            try:
                while True:
                    request = read_head(reader)
                    if request.method == "GET":
                        self.holds.append(int(request.get("adit-hold")))
                        return
                    reader.exactly(int(request.get("content-length")))
                    opening = not request.get("adit-carrier")
                    connection.sendall(self.OPENED if opening else b"HTTP/1.1 204 No\r\nAdit-Version: 1\r\n\r\n")
            except (Cut, OSError, AssertionError):
                return

    def stop(self):
        self.socket.close()


def test_cut_polls_are_held_shorter(own):
    """A poll that is cut is asked for again with half the hold, 20 s, 10 s, 5 s and no less, until there were six."""
    cutting = own.keep(CuttingServer())
    adit = own.http(None, 1, "--name", "shop", "--carrier", "poll",
                    common=["--server", f"http://127.0.0.1:{cutting.port}", "--log-format", "json"])
    adit.wait_event("down")
    first = cutting.holds[:cutting.holds.index(5000) + 4]
    assert first == sorted(first, reverse=True) and set(first) == {20000, 10000, 5000}, first
