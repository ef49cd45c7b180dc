"""The edges of connections: how they begin, switch, stall, are turned away, and end."""
import base64
import hashlib
import json
import os
import pty
import select
import signal
import socket
import ssl
import struct
import subprocess
import time

import pytest

from harness import ADIT, ADITD, DOMAIN, TOKENS, environment, free_port
from wire import Visitor, eventually, lines, reply

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "chat")]
SWITCH = lines("HTTP/1.1 101 Switching Protocols", UPGRADE)


# ---- what one connection carries

def test_connect_is_refused(world):
    """CONNECT gets a 501 and the end of its connection, and the origin sees nothing."""
    with world.visit() as visitor:
        visitor.send(b"CONNECT shop.tunnel.test:443 HTTP/1.1\r\nHost: shop.tunnel.test:443\r\n\r\nbytes behind it")
        response = visitor.read("CONNECT")
        assert response.status == 501 and response.get("connection") == "close" and visitor.closed()
    assert world.origin.requests == []


def test_switch_that_nobody_asked_for(world):
    """A 101 to a request without Upgrade is a 502; what the origin sends behind it reaches nobody."""
    world.origin.serve(lambda c, r: (c.send(SWITCH + b"HTTP/1.1 200 OK\r\n\r\nsmuggled"), c.wait_gone(5)))
    with world.visit() as visitor:
        response = visitor.fetch()
        assert response.status == 502 and b"smuggled" not in response.body
    world.origin.serve(None)
    assert world.fetch().status == 200


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_upgrade_with_early_bytes(world, tls):
    """Bytes behind an Upgrade request are held until the origin's 101, and then arrive first and once."""
    early = []

    def answer(connection, request):
        connection.sock.settimeout(0.2)
        try:
            early.append(connection.sock.recv(100))
        except (socket.timeout, TimeoutError):
            pass
        connection.sock.settimeout(None)
        connection.send(SWITCH)
        request.body = b""
        connection.send(connection.reader.exactly(11)[::-1])
        connection.wait_gone(10)

    world.origin.serve(answer)
    with world.visit(tls=tls) as visitor:
        visitor.send(visitor.head_bytes("GET", "/", UPGRADE) + b"early ")
        assert visitor.head().status == 101
        visitor.send(b"later")
        assert visitor.reader.exactly(11) == b"retal ylrae"
    assert early == []


def test_upgrade_refused(world):
    """A refused Upgrade is an ordinary answer; what stands behind the request never reaches the origin."""
    world.origin.serve(lambda c, r: c.send(reply(200, b"no")))
    with world.visit() as visitor:
        visitor.send(visitor.head_bytes("GET", "/first", UPGRADE) + visitor.head_bytes("GET", "/second"))
        response = visitor.read()
        assert (response.status, response.body, response.get("connection")) == (200, b"no", "close")
        assert visitor.closed()
    assert [r.target for r in world.origin.requests] == ["/first"]


def test_websocket_key_is_checked(world):
    """A 101 that does not answer the WebSocket's key is a 502: that origin has not understood what was asked."""
    fields = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
              ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]
    for accept, status in (("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", 101), ("s3pPLMBiTxaQ9kYGzzhZRbK+xOp=", 502), ("", 502)):
        switch = lines("HTTP/1.1 101 X", [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                                          ("Sec-WebSocket-Accept", accept)])
        world.origin.serve(lambda c, r: (c.send(switch), c.wait_gone(5), c.end()))
        with world.visit() as visitor:
            visitor.ask(fields=fields)
            assert visitor.head().status == status, accept


def test_websocket_of_an_http2_visitor(world):
    """A WebSocket that an HTTP/2 visitor asks for (RFC 8441) reaches an HTTP/1.1 origin with a key of adit's own."""
    connection_of = pytest.importorskip("h2.connection").H2Connection
    ended = pytest.importorskip("h2.events").StreamEnded

    def answer(connection, request):
        digest = hashlib.sha1((request.get("sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode())
        accept = base64.b64encode(digest.digest()).decode()
        connection.send(lines("HTTP/1.1 101 X", [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                                                 ("Sec-WebSocket-Accept", accept)]))
        request.body = b""
        connection.send(connection.reader.exactly(5)[::-1])
        connection.end()

    world.origin.serve(answer)
    visitor = connection_of(pytest.importorskip("h2.config").H2Configuration(validate_outbound_headers=False,
                                                                             header_encoding="utf-8"))
    events = []
    with socket.create_connection(("127.0.0.1", world.server.plain_port), 10) as sock:
        visitor.initiate_connection()
        visitor.send_headers(1, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"),
                                 (":path", "/ws"), (":authority", "shop." + DOMAIN)])
        visitor.send_data(1, b"hello")
        while not any(isinstance(e, ended) for e in events):
            sock.sendall(visitor.data_to_send())
            events += visitor.receive_data(sock.recv(65536))
    fields = next(dict(e.headers) for e in events if hasattr(e, "headers"))
    assert fields[":status"] == "200" and "sec-websocket-accept" not in fields
    assert b"".join(e.data for e in events if hasattr(e, "flow_controlled_length")) == b"olleh"


def test_upgraded_half_close(world):
    """After an upgrade either side may end its direction first, and the other goes on."""
    ended = []

    def answer(connection, request):
        connection.send(SWITCH)
        request.body = b""
        if request.target == "/origin-first":
            connection.send(b"all of it")
            connection.sock.shutdown(socket.SHUT_WR)
            ended.append(connection.reader.rest())
        else:
            ended.append(connection.reader.rest())
            connection.send(b"z" * 300000)
        connection.end()

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.ask(target="/visitor-first", fields=UPGRADE)
        assert visitor.head().status == 101
        visitor.send(b"y" * 300000)
        visitor.sock.shutdown(socket.SHUT_WR)
        assert visitor.reader.rest() == b"z" * 300000
    with world.visit() as visitor:
        visitor.ask(target="/origin-first", fields=UPGRADE)
        assert visitor.head().status == 101
        assert visitor.reader.rest() == b"all of it"
        visitor.send(b"x" * 300000)
        visitor.sock.shutdown(socket.SHUT_WR)
        eventually(lambda: len(ended) == 2, "the origin hears the visitor's end")
    assert ended == [b"y" * 300000, b"x" * 300000]


def encrypted(bio, sock, step):
    """Runs one TLS step over memory until it is done."""
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            sock.sendall(bio[1].read())
            bio[0].write(sock.recv(65536))


def test_tls_end_in_the_packet_of_the_data(world):
    """Last bytes and close_notify in one packet, with the socket left open: the origin gets the bytes and the end."""
    heard = []

    def answer(connection, request):
        connection.send(SWITCH)
        request.body = b""
        heard.append(connection.reader.rest())
        connection.end()

    world.origin.serve(answer)
    with socket.create_connection(("127.0.0.1", world.server.tls_port), 10) as sock:
        bio = (ssl.MemoryBIO(), ssl.MemoryBIO())
        tls = world.server.tls_context.wrap_bio(*bio, server_hostname=f"shop.{DOMAIN}")
        encrypted(bio, sock, tls.do_handshake)
        tls.write(lines("GET / HTTP/1.1", [("Host", f"shop.{DOMAIN}"), *UPGRADE]))
        sock.sendall(bio[1].read())
        assert b"101" in encrypted(bio, sock, lambda: tls.read(65536))
        tls.write(b"last words")
        try:
            tls.unwrap()
        except ssl.SSLWantReadError:
            pass
        sock.sendall(bio[1].read())
        eventually(lambda: heard, "the origin hears the end")
    assert heard == [b"last words"]


def test_interim_not_for_http_1_0(world):
    """A visitor who speaks HTTP/1.0 gets no 1xx."""
    hint = lines("HTTP/1.1 103 Early Hints", [("Link", "</x>")])
    world.origin.serve(lambda c, r: c.send(hint + reply(200, b"page")))
    with world.visit() as visitor:
        visitor.send(b"GET / HTTP/1.0\r\nHost: shop.tunnel.test\r\n\r\n")
        assert visitor.head().status == 200 and visitor.reader.rest() == b"page"


# ---- answers that come early

def test_origin_answers_and_never_reads(world):
    """An origin that answers, reads nothing of the upload and closes: the visitor gets its answer."""
    def answer(connection, request):
        connection.send(reply(200, b"enough", [("Connection", "close")]))
        request.body = b""
        connection.end()

    world.origin.serve(answer)
    for _ in range(5):
        with world.visit() as visitor:
            visitor.send(visitor.head_bytes("POST", "/", [("Content-Length", 10_000_000)]))
            response = visitor.read()
            assert (response.status, response.body) == (200, b"enough")


def test_origin_answers_and_reads_on(world):
    """An origin that answers before it has read the request gets the rest of it, and the connection goes on."""
    def answer(connection, request):
        connection.send(reply(200, b"early"))
        request.read()

    world.origin.serve(answer)
    with world.visit() as visitor:
        for _ in range(3):
            visitor.send(visitor.head_bytes("POST", "/", [("Content-Length", 100000)]) + b"a" * 50000)
            assert visitor.read().body == b"early"
            visitor.send(b"b" * 50000)
    eventually(lambda: [len(r.body or b"") for r in world.origin.requests[:2]] == [100000] * 2, "the whole of both")


def test_early_error_announces_the_end(world):
    """An error before the request's end says `Connection: close`: the visitor need not send the rest."""
    with world.visit("nobody") as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Content-Length", 1000000)]))
        response = visitor.read()
        assert response.status == 404 and response.get("connection") == "close"
    with world.visit("nobody") as visitor:
        for _ in range(3):
            response = visitor.fetch()
            assert response.status == 404 and response.get("connection") is None


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_last_answer_to_a_slow_reader(world, tls):
    """The last answer of a connection arrives whole although its reader pauses for longer than closing waits."""
    body = os.urandom(250_000)
    world.origin.serve(lambda c, r: c.send(reply(200, body)))
    with world.visit(tls=tls, receive_buffer=4096) as visitor:
        visitor.ask("POST", fields=[("Connection", "close")], body=b"x")
        visitor.head()
        time.sleep(3)
        assert visitor.reader.rest() == body


def test_early_answer_to_a_slow_reader(world):
    """An early answer arrives whole although its reader sends on for a while, and pauses."""
    body = os.urandom(250_000)

    def answer(connection, request):
        connection.send(reply(413, body, [("Connection", "close")]))
        request.body = b""
        connection.wait_gone(1)
        connection.end()

    world.origin.serve(answer)
    with world.visit(receive_buffer=4096) as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Content-Length", 50_000_000)]))
        visitor.head()
        visitor.send(b"x" * 100000)
        time.sleep(3)
        assert visitor.reader.exactly(len(body)) == body


# ---- our own answers

def test_own_answers_keep_the_connection(world):
    """Answers of the admin listener and of the tunnel's endpoints cost no connection, unless a body was announced."""
    with Visitor(world.server.admin_port, "localhost") as visitor:
        for target, status in (("/healthz", 200), ("/nothing", 404), ("/readyz", 200)):
            response = visitor.fetch(target=target)
            assert response.status == status and response.get("connection") is None
        assert visitor.fetch("HEAD", "/healthz").status == 200
        response = visitor.fetch("POST", "/healthz", body=b"what for?")
        assert response.status == 405 and response.get("connection") == "close" and visitor.closed()
    with Visitor(world.server.plain_port, DOMAIN) as visitor:
        for _ in range(3):
            assert visitor.fetch(target="/_adit/v1/x/direct").status == 401


def test_admin_takes_addresses_only(world):
    """A host name that only begins like a loopback address does not open the admin listener."""
    for host, status in (("127.evil.example", 403), ("127.0.0.1.evil.example", 403), ("128.0.0.1", 403),
                         ("127.0.0.9", 200), ("LOCALHOST", 200), ("[::1]:80", 200)):
        with Visitor(world.server.admin_port, host) as visitor:
            assert visitor.fetch(target="/healthz").status == status, host


def test_stranger_at_the_endpoint_is_logged(world):
    """Who comes to the tunnel's endpoint without a good token is in the log, with address and without the token."""
    start = len(world.aditd.lines)
    with Visitor(world.server.plain_port, DOMAIN) as visitor:
        visitor.fetch(target="/_adit/v1/" + "0" * 32 + "/direct",
                      fields=[("Authorization", "Bearer adit_stolen"), ("Connection", "Upgrade"),
                              ("Upgrade", "adit")])
    record = world.aditd.wait_event("link.refused", start=start, code=401)
    assert record["address"] == "127.0.0.1" and "adit_stolen" not in world.aditd.text


def test_bytes_before_the_101(world):
    """Who sends link bytes before the 101 is told so by a CLOSE and gets no link."""
    bearer = ("Authorization", "Bearer " + TOKENS["alice"])
    fields = [("Host", DOMAIN), bearer, ("Connection", "Upgrade"), ("Upgrade", "adit")]
    with Visitor(world.server.plain_port, DOMAIN) as visitor:
        visitor.send(lines("GET /_adit/v1/" + "1" * 32 + "/direct HTTP/1.1", fields) + b"\4\0\0\2{}")
        assert visitor.head().status == 101
        frame = visitor.reader.rest()
        assert frame[0] == 9 and struct.unpack("!H", frame[4:6])[0] == 400


# ---- many connections

def test_silent_behind_proxy_protocol(world):
    """Hundreds of connections that never send their PROXY header are bounded, and hold nobody up."""
    silent = []
    try:
        before = world.aditd.descriptors()
        for _ in range(400):
            silent.append(socket.create_connection(("127.0.0.1", world.server.proxy_port), 5))
        first = b"PROXY TCP4 203.0.113.7 192.0.2.1 5555 443\r\n"
        with world.visit(port=world.server.proxy_port, first=first) as visitor:
            assert visitor.fetch().status == 200
        assert world.aditd.descriptors() - before < 300
    finally:
        for sock in silent:
            sock.close()


def test_idle_visitors_make_room(own):
    """With max_visitors connections held open and idle, newcomers are served all the same; running requests stay."""
    server, origin = own.server(max_visitors=20), own.origin()
    began, go = [], []

    def answer(connection, request):
        if request.target == "/long":
            began.append(1)
            eventually(lambda: go, "the end of the test")
        connection.send(reply(200, b"served"))

    origin.serve(answer)
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    held = []
    with server.visit() as running:
        running.ask(target="/long")
        eventually(lambda: began, "the long request")
        for _ in range(60):
            held.append(socket.create_connection(("127.0.0.1", server.plain_port), 5))
        for _ in range(5):
            assert server.fetch("shop").status == 200
        go.append(1)
        assert running.read().body == b"served"
    for sock in held:
        sock.close()


def test_busy_visitors_are_not_evicted(own):
    """When all of max_visitors are busy who comes is told so, but for an adit; the first that is done makes room."""
    server, origin = own.server(max_visitors=20), own.origin()
    go = []
    origin.serve(lambda c, r: (eventually(lambda: go, "go", 20), c.send(reply(200, b"served"))))
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    busy = []
    for i in range(20):
        busy.append(server.visit())
        busy[i].ask()
        eventually(lambda: len(origin.requests) == i + 1, "the request at the origin")
    server.program.wait_event("visitors.full")
    for _ in range(20):  # more than the reserve has
        refused = server.fetch("shop")
        assert refused.status == 503 and refused.get("retry-after")
    began = time.monotonic()
    own.http(server, origin.port, "--name", "files", folder="files").wait_event("published")
    assert time.monotonic() - began < 3
    with server.visit() as late:
        assert late.fetch().status == 503
        go.append(1)
        for visitor in busy:
            assert visitor.read().body == b"served"
        assert late.fetch().body == b"served", "one that has no request any more leaves its room to who waited"
    for visitor in busy:
        visitor.close()


def ask_unix(path, target, host):
    """The first line of the answer to a request over a Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(lines(f"GET {target} HTTP/1.1", [("Host", host), ("Connection", "close")]))
        return sock.recv(1000).split(b"\r\n")[0]


def test_unix_listener(own):
    """Visitors and operators on Unix sockets are served; the socket files of a killed aditd are no obstacle."""
    server = own.server()
    path, admin = own.folder / "v.sock", own.folder / "a.sock"
    config = dict(server.config, listen=[{"address": f"unix:{path}"}], admin=f"unix:{admin}", access_log=None)
    server.program.stop()
    server.file.write_text(json.dumps({k: v for k, v in config.items() if v}))
    for turn in range(2):
        aditd = own.run([ADITD, "-c", server.file], f"aditd{turn}")
        aditd.wait_event("ready")
        assert ask_unix(path, "/", "nobody." + DOMAIN).startswith(b"HTTP/1.1 404")
        assert ask_unix(admin, "/healthz", "whatever").startswith(b"HTTP/1.1 200")
        if turn == 0:
            aditd.kill()
    aditd.stop()
    assert not path.exists() and not admin.exists()


# ---- signals

@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_drain_waits_for_a_slow_reader(own, tls):
    """An answer that has left the tunnel and waits in aditd for a slow visitor is finished before SIGTERM ends it."""
    server, origin = own.server(drain_seconds=15), own.origin()
    body = os.urandom(150_000)
    origin.serve(lambda c, r: c.send(reply(200, body)))
    adit = own.http(server, origin.port, "--name", "shop")
    adit.wait_event("published")
    with server.visit(tls=tls, receive_buffer=2048) as visitor:
        visitor.ask()
        head = visitor.head()
        eventually(lambda: any(r.get("event") == "request" for r in server.access_lines()), "all has left the tunnel")
        server.program.signal(signal.SIGTERM)
        server.program.wait_event("draining")
        time.sleep(0.5)
        assert head.status == 200 and visitor.reader.exactly(len(body)) == body
    assert server.program.wait() == 0
    adit.stop()


def test_reload_while_draining(own):
    """SIGHUP after SIGTERM opens nothing again."""
    server, origin = own.server(drain_seconds=5), own.origin()
    go = []
    origin.serve(lambda c, r: (eventually(lambda: go, "go"), c.send(reply(200, b"done"))))
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    with server.visit() as visitor:
        visitor.ask()
        eventually(lambda: origin.requests, "the request")
        server.program.signal(signal.SIGTERM)
        server.program.wait_event("draining")
        server.program.signal(signal.SIGHUP)
        server.program.wait_event("reload.failed")
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", server.plain_port), 1)
        go.append(1)
        assert visitor.read().body == b"done"
    assert server.program.wait() == 0


def test_reload_with_a_request_running(own):
    """SIGHUP to both programs, several in a row, while a request runs: it is answered, and the tunnels stay."""
    server, origin = own.server(), own.origin()
    go = []

    def answer(connection, request):
        if request.target == "/long":
            eventually(lambda: go, "go", 20)
        connection.send(reply(200, b"done"))

    origin.serve(answer)
    tunnels = own.tunnels(server, {"shop": origin.address})
    with server.visit() as visitor:
        visitor.ask(target="/long")
        eventually(lambda: origin.requests, "the request")
        for turn in range(4):
            server.program.hang_up()
            start = len(tunnels.program.lines)
            tunnels.program.signal(signal.SIGHUP)
            tunnels.program.wait_event("reloaded", start=start)
            assert server.fetch("shop").body == b"done"
        for _ in range(5):
            tunnels.program.signal(signal.SIGHUP)
        go.append(1)
        assert visitor.read().body == b"done"
    eventually(lambda: server.fetch("shop").status == 200, "the tunnel serves")
    tunnels.program.stop()
    server.program.stop()


def test_reload_takes_a_name_away(own):
    """A token that loses a name at SIGHUP loses the tunnel of that name; adit says why and ends. Others stay."""
    server, origin = own.server(), own.origin()
    shop = own.http(server, origin.port, "--name", "shop")
    files = own.http(server, origin.port, "--name", "files", folder="files")
    shop.wait_event("published")
    files.wait_event("published")
    server.config["tokens"][0]["names"] = ["files"]
    server.write()
    server.program.hang_up()
    assert shop.wait() not in (0, 2) and "shop" in shop.text and "403" in shop.text
    assert server.fetch("files").status == 200 and files.alive()


def test_reload_with_two_listeners_alike(own):
    """Two listeners written alike are both there after SIGHUP."""
    server = own.server()
    server.program.stop()
    server.file.write_text(json.dumps(dict(server.config, listen=[{"address": "127.0.0.1:0"}] * 2)))
    again = own.run([ADITD, "-c", server.file], "again")
    again.wait_event("ready")
    ports = [int(r["address"].rpartition(":")[2]) for r in again.events("listening")]
    again.hang_up("reloaded")
    for port in ports:
        with Visitor(port, "nobody.tunnel.test") as visitor:
            assert visitor.fetch().status == 404
    again.stop()


# ---- what adit says

def told(own, server, address, *flags):
    """What adit says about a server that it cannot use."""
    common = ["--server", address, *flags, "--log-format", "json"]
    adit = own.http(server, 9, "--name", "shop", common=common, folder=f"adit{len(own.things)}")
    return adit.wait_event("down")["detail"]


def test_wrong_servers_are_explained(own):
    """A server address that leads elsewhere is told in words that lead to the mistake."""
    server, origin = own.server(), own.origin()
    named = ("--server-name", DOMAIN, "--ca", server.authority.ca)
    assert "not speak TLS" in told(own, server, f"https://127.0.0.1:{server.plain_port}", *named)
    assert "https://" in told(own, server, f"http://127.0.0.1:{server.tls_port}")
    page = told(own, server, f"http://127.0.0.1:{origin.port}")
    assert "200" in page and "not from aditd" in page and str(origin.port) in page
    assert "127.0.0.1" in told(own, server, f"http://127.0.0.1:{free_port()}")
    assert "another name" in told(own, server, f"https://127.0.0.1:{server.tls_port}", "--ca", server.authority.ca)


def test_long_token(own):
    """A token of several hundred characters is sent whole."""
    token = "adit_" + "t" * 700
    server, origin = own.server(), own.origin()
    server.config["tokens"].append({"name": "long", "sha256": hashlib.sha256(token.encode()).hexdigest(),
                                    "names": ["long"]})
    server.write()
    server.program.hang_up()
    own.http(server, origin.port, "--name", "long", token=token).wait_event("published")


class Terminal:
    """adit with its output on a terminal, stdout and stderr both."""

    def __init__(self, own, server, origin, *flags, common=None):
        try:
            self.master, slave = pty.openpty()
        except OSError as e:
            pytest.skip(f"no terminal to be had: {e}")
        folder = own.folder / "terminal"
        folder.mkdir()
        flags = [*(common or server.flags()[:-2]), *flags]
        self.process = subprocess.Popen([str(a) for a in (ADIT, "http", origin, *flags)], cwd=folder, stdin=slave,
                                        stdout=slave, stderr=slave, start_new_session=True,
                                        env=environment(folder, ADIT_TOKEN=TOKENS["alice"]))
        os.close(slave)
        self.data = b""
        own.keep(self)

    def until(self, text, timeout=15):
        """Reads until `text` was shown; all that was shown so far."""
        end = time.monotonic() + timeout
        while text.encode() not in self.data:
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            try:
                piece = os.read(self.master, 65536) if ready else b""
            except OSError:
                piece = b""
            assert piece, f"no {text!r} in {self.data!r}"
            self.data += piece
        return self.data.decode()

    def stop(self):
        self.process.kill()
        self.process.wait(10)
        os.close(self.master)


def test_terminal(own):
    """On a terminal adit says where the tunnel is and what it leads to, and shows each request on a line."""
    server, origin = own.server(), own.origin()
    adit = Terminal(own, server, origin.port, "--name", "shop")
    shown = adit.until(origin.address)
    assert f"https://shop.{DOMAIN}:{server.tls_port}  ->  {origin.address}" in shown and "INFO" not in shown
    server.fetch("shop", "POST", "/seen?x=1", body=b"x")
    [line] = [x for x in adit.until("/seen?x=1").splitlines() if "/seen" in x]
    assert line.split()[1:3] == ["POST", "200"] and line.split()[-1] == f"shop.{DOMAIN}/seen?x=1"
    server.program.stop()
    adit.until("not connected to")
    server.start()
    adit.until(f"->  {origin.address}", 20)


def test_terminal_shows_no_control_bytes(own):
    """What a server says cannot steer the terminal."""
    server = own.server()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        port = listener.getsockname()[1]
        adit = Terminal(own, server, 9, common=["--server", f"http://127.0.0.1:{port}"])
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(10)
            while b"\r\n\r\n" not in sock.recv(65536):
                pass
            reason = b"no\x1b[2J\r\n\x07 more"
            frame = struct.pack("!B", 9) + struct.pack("!I", 2 + len(reason))[1:] + struct.pack("!H", 403) + reason
            sock.sendall(lines("HTTP/1.1 101 X", [("Connection", "Upgrade"), ("Upgrade", "adit"),
                                                  ("Adit-Version", "1")]) + frame)
            shown = adit.until("more")
    assert "\x1b" not in shown and "\x07" not in shown and "refuses" in shown
    assert adit.process.wait(10) not in (0, 2)
