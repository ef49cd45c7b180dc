"""What runs on a connection to an HTTP/2 origin, for visitors of both versions: messages, resets, cuts,
back-pressure, WebSockets."""
import base64
import hashlib
import os
import random
import socket
import subprocess
import threading
import time

import pytest

from h2.errors import ErrorCodes
from h2wire import Gone, H2Origin, H2Visitor
from harness import DOMAIN, free_port
from wire import Cut, eventually, read_body

MEGABYTE = 1 << 20


class Fixture:
    pass


@pytest.fixture(scope="module")
def shared(base, authority, nginx, reports):
    """aditd, adit, and scripted origins: one allows WebSockets, one does not, one has a window of 1000 bytes."""
    from conftest import Own
    folder = base / "origin-streams"
    folder.mkdir()
    own = Own(folder, authority, nginx)
    origins = {"shop": H2Origin(connect=True), "files": H2Origin(), "alice-narrow": H2Origin(window=1000)}
    for origin in origins.values():
        own.keep(origin)
    own.origins, own.aditd = origins, own.server()
    tunnels = {name: origin.address for name, origin in origins.items()}
    tunnels["alice-host"] = {"origin": origins["files"].address, "host_header": "inner.example:8080"}
    own.adit = own.tunnels(own.aditd, tunnels).program
    yield own
    own.end()


class Scene:
    def __init__(self, shared):
        self.aditd, self.adit, self.origins = shared.aditd, shared.adit, shared.origins
        self.origin = self.origins["shop"]

    def visitor(self, name="shop"):
        return H2Visitor(self.aditd.plain_port, f"{name}.{DOMAIN}")

    def fetch(self, *args, **options):
        return self.aditd.fetch(*args, **options)


@pytest.fixture
def scene(shared, request):
    request.node.stage_folder = shared.folder
    for origin in shared.origins.values():
        origin.serve(None)
    yield Scene(shared)
    assert shared.aditd.program.alive() and shared.adit.alive()


# ---- messages

def test_fields_arrive(scene):
    """`te: trailers` gets through, the scheme is the connection's, the authority the visitor's or host_header's; what
    is between two neighbours only stays there."""
    with scene.visitor() as visitor:
        fields = [("te", "trailers"), ("x-a", "1"), ("cookie", "a=1"), ("cookie", "b=2")]
        assert visitor.fetch(fields=fields).status == 200
    request = scene.origin.requests[-1]
    assert request.get("te") == "trailers" and request.get("x-a") == "1" and request.get("cookie") == "a=1; b=2"
    assert request.get(":scheme") == "http" and request.get(":authority") == f"shop.{DOMAIN}"
    fields = [("Connection", "x-hop, te"), ("X-Hop", "1"), ("TE", "trailers"), ("Keep-Alive", "1")]
    scene.fetch("alice-host", fields=fields)
    request = scene.origins["files"].requests[-1]
    assert request.get(":authority") == "inner.example:8080"
    assert not {"x-hop", "keep-alive", "connection", "host"} & set(dict(request.fields))
    assert request.get("x-forwarded-host") == f"alice-host.{DOMAIN}"


def test_trailers_both_ways(scene):
    """Trailers go through with and without a body, to visitors of both versions."""
    seen = []

    def answer(stream):
        body = stream.read()
        seen.append((body, stream.trailers))
        stream.respond(200)
        if body:
            stream.send(body)
        stream.send_head([("grpc-status", "7"), ("x-sum", "42")], end=True)

    scene.origin.serve(answer)
    with scene.visitor() as visitor:
        for body in (b"some", b""):
            stream = visitor.ask("POST", end=False)
            if body:
                stream.send(body)
            stream.send_head([("x-end", "yes")], end=True)
            assert stream.read() == body and dict(stream.trailers) == {"grpc-status": "7", "x-sum": "42"}
    with scene.aditd.visit() as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Transfer-Encoding", "chunked"), ("TE", "trailers")])
                     + b"4\r\nsome\r\n0\r\nX-End: yes\r\n\r\n")
        answer = visitor.read("POST")
        assert answer.body == b"some" and ("x-sum", "42") in answer.trailers
    assert [body for body, _ in seen] == [b"some", b"", b"some"]
    assert all(dict(trailers)["x-end"] == "yes" for _, trailers in seen), seen


@pytest.mark.parametrize("status", [200, 204, 404])
def test_head_and_nothing_else(scene, status):
    """HEADERS with END_STREAM: a whole response without a body, on a connection that goes on."""
    scene.origin.serve(lambda s: s.respond(status, [("x-a", "1")], end=True))
    with scene.visitor() as visitor:
        stream = visitor.fetch()
        assert (stream.status, stream.body, stream.trailers) == (status, b"", None)
        assert "content-length" not in dict(stream.fields)
    with scene.aditd.visit() as visitor:
        for method in ("GET", "HEAD", "POST"):
            answer = visitor.fetch(method)
            assert (answer.status, answer.body, answer.get("x-a")) == (status, b"", "1")


def test_informational(scene):
    """1xx responses pass, and a request is not asked again behind one."""
    def answer(stream):
        stream.send_head([(":status", "103"), ("link", "</a.css>")])
        if stream.get(":path") == "/refuse":
            stream.abort(ErrorCodes.REFUSED_STREAM)
        else:
            stream.respond(200, end=True)

    scene.origin.serve(answer)
    with scene.visitor() as visitor:
        stream = visitor.fetch()
        assert [dict(i)["link"] for i in stream.informational] == ["</a.css>"] and stream.status == 200
        assert visitor.fetch(path="/refuse").status == 503
    assert len(scene.origin.requests) == 2


def test_bad_response_heads(scene):
    """One bad field is left out; a head that is too large is 502, and what is no response at all too."""
    heads = {
        "/field": [(":status", "200"), ("x-bad", "a\x01b"), ("x-good", "1")],
        "/large": [(":status", "200"), *[(f"x-{i}", "y" * 1000) for i in range(40)]],
        "/none": [("x-a", "1")],
    }
    scene.origin.serve(lambda s: s.send_head(heads[s.get(":path")], end=True))
    for path, status in (("/field", 200), ("/large", 502), ("/none", 502), ("/field", 200)):
        answer = scene.fetch(target=path)
        assert answer.status == status and (status != 200 or answer.get("x-good") == "1"), (path, answer.fields)
        assert not answer.get("x-bad")


def test_early_answer(scene):
    """An answer before the request's end is passed on at once, and the rest of the request is not wanted."""
    def answer(stream):
        stream.respond(403, end=False)
        stream.send(b"no", end=True)
        stream.abort(ErrorCodes.NO_ERROR)

    scene.origin.serve(answer)
    with scene.visitor() as visitor:
        stream = visitor.ask("POST", end=False)
        try:
            stream.send(b"x" * 1000)
        except Gone:  # so early that it came first
            pass
        assert (stream.head(), stream.status)[1] == 403 and stream.read() == b"no"
    with scene.aditd.visit() as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Content-Length", "1000000")]) + b"x" * 1000)
        answer = visitor.read("POST")
        assert (answer.status, answer.body) == (403, b"no")
    assert scene.fetch().status == 403


def test_both_directions_at_once(scene):
    """A conversation: each side says the next word when it has heard the other's."""
    def converse(stream):
        stream.respond(200)
        while word := stream.some():
            stream.send(word.upper())
        stream.send_head([("x-end", "1")], end=True)

    scene.origin.serve(converse)
    with scene.visitor() as visitor:
        stream = visitor.ask("POST", end=False)
        for word in (b"one", b"two", b"three"):
            stream.send(word)
            assert stream.some() == word.upper()
        stream.send(b"", end=True)
        assert stream.read() == b"" and dict(stream.trailers) == {"x-end": "1"}


# ---- resets and cuts

@pytest.mark.parametrize("code", ["CANCEL", "REFUSED_STREAM", "ENHANCE_YOUR_CALM", "PROTOCOL_ERROR",
                                  "INTERNAL_ERROR"])
def test_reset_within_answer(scene, code):
    """A reset by the origin in the middle of an answer reaches the visitor: as the same one, or as a cut message."""
    go = threading.Event()

    def answer(stream):
        stream.respond(200)
        stream.send(b"some")
        go.wait(10)
        stream.abort(ErrorCodes[code])

    scene.origin.serve(answer)
    with scene.visitor() as visitor:
        stream = visitor.ask()
        assert stream.some(4) == b"some"
        go.set()
        assert stream.wait_reset() == ErrorCodes[code]
    go.clear()
    with scene.aditd.visit() as visitor:
        visitor.ask()
        head = visitor.head()
        go.set()
        with pytest.raises(Cut):
            read_body(visitor.reader, head, response_to="GET")


@pytest.mark.parametrize("code, status, grpc", [
    ("CANCEL", 502, "CANCEL"), ("REFUSED_STREAM", 503, "REFUSED_STREAM"),
    ("ENHANCE_YOUR_CALM", 503, "ENHANCE_YOUR_CALM"),
    ("PROTOCOL_ERROR", 502, None), ("INTERNAL_ERROR", 502, None), ("NO_ERROR", 502, None),
])
def test_reset_instead_of_answer(scene, code, status, grpc):
    """A reset before any answer is a page that names the hop; a gRPC call gets it as its own reset, where that says
    what its client should do, else as a status of gRPC."""
    scene.origin.serve(lambda s: s.abort(ErrorCodes[code]))
    answer = scene.fetch()
    assert answer.status == status and answer.get("proxy-status").startswith("adit; error="), answer.fields
    with scene.visitor() as visitor:
        assert visitor.fetch().status == status
        stream = visitor.ask("POST", fields=[("content-type", "application/grpc+proto"), ("te", "trailers")])
        if grpc:
            assert stream.wait_reset() == ErrorCodes[grpc]
        else:
            assert (stream.head(), stream.status)[1] == 200 and stream.get("grpc-status") == "14"


@pytest.mark.parametrize("answered", [False, True])
def test_visitor_cancels(scene, answered):
    """A visitor who cancels, or goes away, is a CANCEL at the origin at once; the connection goes on."""
    seen, begun = [], threading.Event()

    def answer(stream):
        if stream.get(":path") == "/after":
            stream.respond(200, end=True)
            return
        if answered:
            stream.respond(200)
            stream.send(b"some")
        begun.set()
        began = time.monotonic()
        seen.append((stream.wait_reset(10), time.monotonic() - began))

    scene.origin.serve(answer)
    connections = scene.origin.accepted

    def leaves(how):
        begun.clear()
        with scene.visitor() as visitor:
            stream = visitor.ask()
            assert begun.wait(10)
            if answered:
                stream.some(4)
            stream.abort(how) if how is not None else None

    for how in (ErrorCodes.CANCEL, None):
        leaves(how)
    begun.clear()
    with scene.aditd.visit() as visitor:
        visitor.ask()
        assert begun.wait(10)
    eventually(lambda: len(seen) == 3, "the origin hears of all three")
    assert all(code == ErrorCodes.CANCEL and seconds < 2 for code, seconds in seen), seen
    assert scene.fetch(target="/after").status == 200 and scene.origin.accepted - connections <= 1


def test_cut_within_answer(scene):
    """The origin's connection ends in the middle of an answer: what came is passed on, then the message is cut."""
    def answer(stream):
        stream.respond(200)
        stream.send(b"x" * 30000)
        time.sleep(0.1)
        stream.end.close()

    scene.origin.serve(answer)
    with scene.visitor() as visitor:
        stream = visitor.ask()
        time.sleep(0.3)
        stream.wait_reset()
        assert len(stream.data) == 30000 and not stream.ended
    with pytest.raises(Cut) as cut, scene.aditd.visit() as visitor:
        visitor.fetch()
    assert len(cut.value.body) == 30000
    scene.origin.serve(None)
    assert scene.fetch().status == 200


class Moods:
    """Answers each request in one of the ways in which an origin can fail, by chance."""

    def __init__(self, seed):
        self.random, self.lock, self.seen = random.Random(seed), threading.Lock(), {}

    def __call__(self, stream):
        with self.lock:
            mood, code = self.random.random(), self.random.choice(list(ErrorCodes)[:14])
            stream.refused = mood < 0.1 and code == ErrorCodes.REFUSED_STREAM
            self.seen.setdefault(stream.get(":path"), []).append(stream)
        if mood < 0.1:
            stream.abort(code)
        elif mood < 0.15:
            stream.end.leave(max(stream.number - 2, 0))
        elif mood < 0.2:
            stream.end.close()
        elif mood < 0.3:
            stream.respond(200)
            stream.send(b"some of it")
            stream.end.close() if mood < 0.22 else stream.abort(ErrorCodes.INTERNAL_ERROR)
        elif mood < 0.4:
            stream.respond(200)
            stream.send(b"x" * 200000, end=True)
        elif mood < 0.5:
            stream.respond(403, end=True)
        else:
            stream.some() if stream.get(":method") == "POST" else None
            stream.respond(200, end=True)


@pytest.mark.parametrize("seed", range(3))
def test_moods(scene, seed):
    """An origin that fails in every way at once: each visitor learns what became of his request, in time; it is asked
    twice at most, and what has a body only if it was refused; behind all that the next request is served."""
    moods, results, chance = Moods(seed), [], random.Random(seed)
    scene.origin.serve(moods)

    def visit(number):
        mine = random.Random(number)
        with scene.visitor() as visitor:
            for i in range(20):
                body = b"x" * mine.choice((1, 100000)) if mine.random() < 0.5 else None
                path = f"/{number}/{i}/{'b' if body else 'n'}"
                stream = visitor.ask("POST" if body else "GET", path, end=body is None)
                try:
                    if mine.random() < 0.1:
                        stream.abort(ErrorCodes.CANCEL)
                        continue
                    if body:
                        stream.send(body, end=True)
                    stream.head()
                    stream.read()
                    results.append(stream.status)
                except Gone:
                    results.append(None)
                except AssertionError as e:
                    results.append(str(e))

    visits = [threading.Thread(target=visit, args=(chance.randrange(1 << 30),), daemon=True) for _ in range(8)]
    for one in visits:
        one.start()
    for one in visits:
        one.join(60)
        assert not one.is_alive(), results
    assert len(results) > 100 and results.count(200) > 20 and set(results) <= {200, 403, 502, 503, None}, results
    for path, seen in moods.seen.items():
        # any of them: what GOAWAY has refused on one connection may be read after it came on the next
        refused = any(one.refused or one.number > one.end.last for one in seen)
        assert len(seen) == 1 or (len(seen) == 2 and (refused or path.endswith("n"))), path
    scene.origin.serve(None)
    assert scene.fetch(target="/after").body == b"GET /after\n"


# ---- how much at once

def echo(stream):
    stream.respond(200)
    while data := stream.some():
        stream.send(data)
    stream.send(b"", end=True)


@pytest.mark.parametrize("name", ["files", "alice-narrow"])
def test_megabyte_each_way(scene, name):
    """Bodies arrive whole also through an origin's small window."""
    scene.origins[name].serve(echo)
    body = os.urandom(MEGABYTE if name == "files" else MEGABYTE // 8)
    assert hashlib.sha256(scene.fetch(name, "POST", body=body).body).digest() == hashlib.sha256(body).digest()


def test_origin_that_does_not_read(scene):
    """What an origin does not read stays with the visitor; the others go on meanwhile."""
    hold = threading.Event()

    def answer(stream):
        if stream.get(":method") == "POST":
            hold.wait(20)
            stream.respond(200)
            stream.send(str(len(stream.read())).encode(), end=True)
        else:
            stream.respond(200, end=True)

    scene.origin.serve(answer)
    before = scene.adit.memory("VmRSS")
    size, sent = 16 * MEGABYTE, 0
    with scene.aditd.visit() as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Content-Length", size)]))
        visitor.sock.settimeout(1)
        try:
            while sent < size:
                sent += visitor.sock.send(b"x" * 65536)
        except (socket.timeout, TimeoutError):
            pass
        assert sent < 12 * MEGABYTE and scene.fetch().status == 200
        assert scene.adit.memory("VmRSS") - before < 4096
        hold.set()
        visitor.sock.settimeout(15)
        visitor.send(b"x" * (size - sent))
        assert visitor.read("POST").body == str(size).encode()


def test_visitor_who_does_not_read(scene):
    """A visitor who does not read stops his own stream, and adit holds little of it."""
    sent = [0]

    def answer(stream):
        stream.respond(200)
        if stream.get(":path") == "/bulk":
            while sent[0] < 64 * MEGABYTE:
                stream.send(b"x" * 65536)
                sent[0] += 65536
        stream.send(b"", end=True)

    scene.origin.serve(answer)
    before = scene.adit.memory("VmRSS")
    with scene.aditd.visit(receive_buffer=65536) as visitor:
        visitor.ask(target="/bulk")

        def stopped():
            was = sent[0]
            time.sleep(0.5)
            return was == sent[0]

        eventually(stopped, "the origin is stopped")
        assert 0 < sent[0] < 32 * MEGABYTE and scene.fetch().status == 200
        # each hop's stream window may have grown to H2_WINDOW_MAX
        assert scene.adit.memory("VmRSS") - before < 40 * 1024


@pytest.mark.big
def test_hundred_megabytes(own, tmp_path):
    """100 MB up and down again through nghttpd arrive as they were; both programs stay small."""
    body, out, port = tmp_path / "body", tmp_path / "out", free_port()
    with open(body, "wb") as f:
        for _ in range(100):
            f.write(os.urandom(MEGABYTE))
    own.run(["nghttpd", "--no-tls", "--echo-upload", "-w", "20", "-W", "24", "-a", "127.0.0.1", "-d", tmp_path, port],
            "nghttpd")
    server = own.server()
    adit = own.http(server, f"h2c://127.0.0.1:{port}", "--name", "shop")
    adit.wait_event("published")
    for version in ("--http1.1", "--http2-prior-knowledge"):
        began = time.monotonic()
        subprocess.run(["curl", "-sS", "--max-time", "60", version, "-H", f"Host: shop.{DOMAIN}", "-H", "Expect:",
                        "--data-binary", f"@{body}", "-o", out, f"http://127.0.0.1:{server.plain_port}/"], check=True)
        seconds = time.monotonic() - began
        for path in (body, out):
            digest = hashlib.sha256(path.read_bytes()).digest()
            if path == body:
                wanted = digest
        assert digest == wanted
        print(f"{version}: 100 MB up and down in {seconds:.2f} s; adit {adit.memory()} KiB, "
              f"aditd {server.program.memory()} KiB")
    assert adit.memory() < 96 * 1024 and server.program.memory() < 96 * 1024


# ---- WebSockets

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
           ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")]


def reverse(stream):
    """The origin's end of a WebSocket, that says each word backwards."""
    stream.respond(200, [("sec-websocket-protocol", "chat")])
    while word := stream.some():
        stream.send(word[::-1])
    stream.send(b"", end=True)


def test_websocket_to_h2_origin(scene):
    """A WebSocket of an HTTP/1.1 visitor is an extended CONNECT at the origin, and its key is answered by adit."""
    scene.origin.serve(reverse)
    with scene.aditd.visit() as visitor:
        visitor.ask(target="/ws", fields=[*UPGRADE, ("Sec-WebSocket-Protocol", "chat")])
        head = visitor.head()
        assert head.status == 101 and head.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert head.get("sec-websocket-protocol") == "chat"
        for word in (b"hello", b"again"):
            visitor.send(word)
            assert visitor.reader.exactly(5) == word[::-1]
        visitor.sock.shutdown(socket.SHUT_WR)
        assert visitor.closed()
    request = scene.origin.requests[-1]
    assert (request.get(":method"), request.get(":protocol"), request.get(":path")) == ("CONNECT", "websocket", "/ws")
    assert request.get("sec-websocket-version") == "13" and request.get("sec-websocket-key") is None


def test_websocket_of_an_h2_visitor(scene):
    """From HTTP/2 to HTTP/2: no key anywhere."""
    scene.origin.serve(reverse)
    with scene.visitor() as visitor:
        eventually(lambda: visitor.connection.remote_settings.enable_connect_protocol, "it is announced")
        with visitor.changed:
            stream = visitor.ask("CONNECT", "/ws", [(":protocol", "websocket")], end=False)
        assert (stream.head(), stream.status)[1] == 200 and stream.get("sec-websocket-accept") is None
        stream.send(b"hello")
        assert stream.some(5) == b"olleh"
        stream.send(b"", end=True)
        assert stream.read() == b""


def test_websocket_that_is_refused(scene):
    """The origin's own refusal is passed on."""
    scene.origin.serve(lambda s: (s.respond(403), s.send(b"no", end=True)))
    with scene.aditd.visit() as visitor:
        answer = visitor.fetch(fields=UPGRADE)
        assert (answer.status, answer.body) == (403, b"no")


def test_websocket_not_announced(scene):
    """An origin that does not announce RFC 8441 is not asked; the visitor is told so. A bad key is his own fault."""
    answer = scene.fetch("files", fields=UPGRADE)
    assert answer.status == 502 and "RFC 8441" in answer.get("proxy-status")
    assert "error=http_upgrade_failed" in answer.get("proxy-status")
    assert scene.origins["files"].requests == []
    assert scene.fetch(fields=[*UPGRADE[:3], ("Sec-WebSocket-Key", "short")]).status == 400
