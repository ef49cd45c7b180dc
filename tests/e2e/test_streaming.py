"""Messages that take their time, of HTTP/1.1 and HTTP/2 visitors: each piece arrives when it is sent, and what comes
before, between and behind the pieces arrives in its place. (Whole messages of HTTP/1.1 visitors: test_messages.py.)"""
import hashlib
import os
import select
import threading
import time

import pytest

import visits
from harness import DOMAIN
from visits import VERSIONS
from wire import Cut, chunked, eventually, lines, reply

pytestmark = pytest.mark.parametrize("version", VERSIONS)

UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "chat")]
SWITCH = lines("HTTP/1.1 101 Switching Protocols", UPGRADE)
CHUNKED = [("Transfer-Encoding", "chunked")]
LENGTH = 200_000


def begin(world, version, *args, **options):
    return visits.begin(world.server, version, *args, **options)


def one_chunk(connection):
    """A chunk of a request, as the origin reads it; b"" is the last one, its trailers not yet read."""
    n = int(connection.reader.line(), 16)
    return connection.reader.exactly(n + 2)[:-2] if n else b""


def as_chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


# ---- pieces

@pytest.mark.parametrize("size", [1, 1000, 70_000])
def test_both_directions_in_turn(world, version, size):
    """A piece of the request is answered by a piece of the response before the next one is sent, on one exchange."""
    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 Fine", CHUNKED))
        while piece := one_chunk(connection):
            while len(piece) < size:
                piece += one_chunk(connection)
            connection.send(as_chunk(piece[::-1]))
        request.body = b"read"
        connection.reader.line()
        connection.send(b"0\r\n\r\n")

    world.origin.serve(answer)
    asked = begin(world, version, "POST", body=True)
    assert asked.head().status == 200
    for _ in range(8):
        piece, back = os.urandom(size), b""
        asked.piece(piece)
        while len(back) < size:
            back += asked.some()
        assert back == piece[::-1]
    asked.finish()
    assert asked.rest() == b""
    asked.leave()


def test_both_directions_at_once(world, version):
    """Request and response are poured at each other without waiting: both arrive whole."""
    up, down, got = os.urandom(3_000_000), os.urandom(3_000_000), []

    def answer(connection, request):
        def pour():
            for at in range(0, len(down), 50_000):
                connection.send(as_chunk(down[at:at + 50_000]))
            connection.send(b"0\r\n\r\n")

        connection.send(lines("HTTP/1.1 200 Fine", CHUNKED))
        pouring = threading.Thread(target=pour)
        pouring.start()
        got.append(request.read())
        pouring.join(20)

    def pour_up():
        for at in range(0, len(up), 50_000):
            asked.piece(up[at:at + 50_000])
        asked.finish()

    world.origin.serve(answer)
    asked = begin(world, version, "POST", body=True, tls=False)  # two threads on one connection: not by Python's TLS
    pouring = threading.Thread(target=pour_up)
    pouring.start()
    assert asked.head().status == 200 and asked.rest() == down
    pouring.join(20)
    eventually(lambda: got, "all of it at the origin")
    assert got == [up]
    asked.leave()


def test_trickle_up(world, version):
    """A request's body of single bytes arrives byte by byte, before there is any answer."""
    pieces = []

    def answer(connection, request):
        while piece := one_chunk(connection):
            pieces.append(piece)
        request.body = b"read"
        connection.reader.line()
        connection.send(reply(200, b"".join(pieces)))

    world.origin.serve(answer)
    asked = begin(world, version, "POST", body=True)
    for i in range(20):
        asked.piece(b"%d" % (i % 10))
        eventually(lambda: len(pieces) == i + 1, f"piece {i} at the origin")
    asked.finish()
    assert asked.head().status == 200 and asked.rest() == b"01234567890123456789"
    asked.leave()


@pytest.mark.parametrize("framing", ["chunked", "length", "close"])
def test_trickle_down(world, version, framing):
    """Each piece of a response arrives before the next one is sent, however the origin says where it ends."""
    got = threading.Semaphore(0)
    fields = {"chunked": CHUNKED, "length": [("Content-Length", 60)], "close": [("Connection", "close")]}[framing]

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 Fine", fields))
        for i in range(20):
            piece = b"%02d\n" % i
            connection.send(as_chunk(piece) if framing == "chunked" else piece)
            assert got.acquire(timeout=10)
        connection.send(b"0\r\n\r\n" if framing == "chunked" else b"")
        if framing == "close":
            connection.end()

    world.origin.serve(answer)
    asked = begin(world, version)
    head = asked.head()
    assert head.get("content-length") == ("60" if framing == "length" else None)
    for i in range(20):
        piece = asked.visitor.reader.exactly(3) if framing == "length" and version == "1.1" else asked.some()
        assert piece == b"%02d\n" % i
        got.release()
    assert framing == "length" and version == "1.1" or asked.rest() == b""
    asked.leave()


@pytest.mark.parametrize("how", ["fin", "reset"])
def test_broken_off(world, version, how):
    """A response without a length that breaks off by a RST never looks complete; by a FIN it is complete."""
    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 Fine", [("Connection", "close")]) + b"some of it")
        time.sleep(0.1)  # what is unread at a RST is lost, also the head
        if how == "reset":
            connection.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SOL_SOCKET, SO_LINGER
            connection.sock.close()
        connection.end()

    world.origin.serve(answer)
    asked = begin(world, version)
    assert asked.head().status == 200 and asked.some() == b"some of it"
    if how == "fin":
        assert asked.rest() == b""
    else:
        with pytest.raises(Cut):
            asked.rest()
    asked.leave()


@pytest.mark.big
def test_upload_into_a_slow_origin(own, version):
    """64 MB into an origin that reads slowly: nothing is lost, and neither program holds much of it."""
    server, origin, digest = own.server(), own.origin(), hashlib.sha256()

    def answer(connection, request):
        while piece := one_chunk(connection):
            digest.update(piece)
            if len(connection.received) > 1 << 20:
                connection.received.clear()
                time.sleep(0.04)
        request.body = b"read"
        connection.reader.line()
        connection.send(reply(200, digest.hexdigest().encode()))

    origin.serve(answer)
    adit = own.http(server, origin.address, "--name", "shop")
    adit.wait_event("published")
    asked, sent = visits.begin(server, version, "POST", body=True), hashlib.sha256()
    for _ in range(64):
        piece = os.urandom(1 << 20)
        sent.update(piece)
        asked.piece(piece)
    asked.finish()
    assert asked.head().status == 200 and asked.rest().decode() == sent.hexdigest()
    asked.leave()
    used = server.program.memory(), adit.memory()
    print(f"64 MB to a slow origin over HTTP/{version}: aditd {used[0]} KiB, adit {used[1]} KiB")
    assert max(used) < 32 * 1024


# ---- before the body

def test_expect_continue(world, version):
    """The origin's 100 comes before the body is sent; what is asked next is answered too."""
    def answer(connection, request):
        assert request.get("expect").lower() == "100-continue"
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.send(reply(200, request.read()))

    world.origin.serve(answer)
    asked = begin(world, version, "POST", fields=[("Expect", "100-continue")], body=True)
    assert asked.head().status == 100
    asked.piece(b"waited for")
    asked.finish()
    assert asked.head().status == 200 and asked.rest() == b"waited for"
    asked.leave()


@pytest.mark.parametrize("says", [True, False], ids=["100", "no 100"])
def test_expect_without_waiting(world, version, says):
    """The body of a visitor who announces that he waits, and does not, arrives, whether the origin says 100 or not."""
    def answer(connection, request):
        body = request.read()
        connection.send((b"HTTP/1.1 100 Continue\r\n\r\n" if says else b"") + reply(200, body))

    world.origin.serve(answer)
    asked = begin(world, version, "POST", fields=[("Expect", "100-continue")], body=True)
    asked.piece(b"a" * LENGTH)
    asked.finish()
    statuses = [asked.head().status]
    if statuses[0] == 100:
        statuses.append(asked.head().status)
    assert statuses == ([100, 200] if says else [200]) and asked.rest() == b"a" * LENGTH
    asked.leave()


@pytest.mark.parametrize("status", [413, 417])
@pytest.mark.parametrize("closes", [True, False], ids=["closes", "stays"])
def test_expect_refused(world, version, status, closes):
    """An origin that refuses at once is heard before a byte was sent, and nobody takes what follows for a request."""
    def answer(connection, request):
        if request.method == "GET":
            connection.send(reply(200, b"next"))
            return
        connection.send(reply(status, b"not that", [("Connection", "close")] if closes else []))
        if closes:
            request.body = b""
            connection.end()

    world.origin.serve(answer)
    asked = begin(world, version, "POST", fields=[("Expect", "100-continue")], body=True)
    head = asked.head()
    assert (head.status, asked.rest()) == (status, b"not that")
    asked.leave()
    again = begin(world, version)
    assert again.head().status == 200 and again.rest() == b"next"
    again.leave()
    assert [r.method for r in world.origin.requests] == ["POST", "GET"]


def test_early_hints(world, version):
    """Several 103 come one by one, each with its own fields and before the answer, which has none of them."""
    go = threading.Semaphore(0)

    def answer(connection, request):
        for i in range(4):
            connection.send(lines("HTTP/1.1 103 Early Hints", [("Link", f"</{i}.css>; rel=preload"),
                                                               ("Link", f"</{i}.js>; rel=preload")]))
            assert go.acquire(timeout=10)
        connection.send(reply(200, b"page", [("Content-Type", "text/html")]))

    world.origin.serve(answer)
    asked = begin(world, version)
    for i in range(4):
        hint = asked.head()
        assert hint.status == 103
        assert hint.all("link") == [f"</{i}.css>; rel=preload", f"</{i}.js>; rel=preload"]
        go.release()
    head = asked.head()
    assert head.status == 200 and head.all("link") == [] and asked.rest() == b"page"
    asked.leave()


# ---- answers in the middle of a request

def test_early_answer_and_reading_on(world, version):
    """An origin that answers in the middle of a request gets the rest of it, which the visitor may send."""
    taken = []

    def answer(connection, request):
        connection.send(reply(200, b"early"))
        taken.append(request.read())

    world.origin.serve(answer)
    asked = begin(world, version, "POST", body=True)
    asked.piece(b"first, ")
    assert asked.head().status == 200 and asked.rest() == b"early"
    asked.piece(b"x" * LENGTH)
    asked.finish()
    eventually(lambda: taken, "the rest at the origin")
    assert taken == [b"first, " + b"x" * LENGTH]
    asked.leave()


def test_early_answer_and_gone(world, version):
    """An origin that answers in the middle of a request and closes: the answer comes whole, nobody waits for the rest."""
    page = os.urandom(LENGTH)

    def answer(connection, request):
        connection.reader.exactly(10_000)
        connection.send(reply(413, page, [("Connection", "close")]))
        connection.sock.shutdown(1)
        request.body = b""
        connection.wait_gone(10)
        connection.end()

    world.origin.serve(answer)
    asked = begin(world, version, "POST", body=True)
    asked.piece(b"x" * 50_000)
    assert asked.head().status == 413 and asked.rest() == page
    if version == "2":  # RFC 9113 section 8.1: a complete answer, then RST_STREAM(NO_ERROR)
        eventually(lambda: asked.reset is not None, "the stream is reset")
        assert asked.reset == 0
    asked.leave()
    world.origin.serve(None)
    assert world.fetch().status == 200


# ---- visitors who leave

def reading_nothing(ended):
    """An origin that takes nothing, and only looks whether the other side is still there."""
    def answer(connection, request):
        if request.get("upgrade"):
            connection.send(SWITCH)
        looking = select.poll()
        looking.register(connection.sock, select.POLLRDHUP)
        ended.append(bool(looking.poll(10_000)))
        request.body = b""
        connection.end()
    return answer


def fill(send):
    """Sends until nothing is taken any more."""
    try:
        while True:
            send(b"x" * 65536)
    except (AssertionError, TimeoutError):
        pass


def stuck_1(world, how):
    """An HTTP/1.1 visitor whose bytes nobody takes; what makes him leave."""
    visitor = world.visit(timeout=0.5)
    if how == "another request":
        visitor.send(visitor.head_bytes("GET", "/1") + visitor.head_bytes("GET", "/2"))
        return visitor.close
    if how == "upgraded":
        visitor.ask(fields=UPGRADE)
        assert visitor.head().status == 101
    else:
        visitor.send(visitor.head_bytes("POST", "/", [("Content-Length", 50_000_000)]))
    fill(visitor.send)
    return visitor.reset


def stuck_2(world, how):
    """The same over HTTP/2."""
    visitor = visits.H2Visitor(world.server.plain_port, "shop." + DOMAIN, timeout=2)
    asked = visitor.begin("POST", "/1", body=True, protocol="chat" if how == "upgraded" else None)
    if how == "upgraded":
        assert asked.head().status == 200
    elif how == "another request":
        visitor.begin(target="/2")
    visitor.timeout = 0.5
    fill(asked.piece)
    return visitor.close if how == "another request" else asked.leave


@pytest.mark.parametrize("how", ["upload", "upgraded", "another request"])
def test_visitor_leaves_unread(world, version, how):
    """A visitor who leaves while what he has sent is not taken is soon gone at the origin too. (A FIN behind an upload
    that nobody takes does not even leave his machine: those of HTTP/1.1 leave with a RST.)"""
    ended = []
    world.origin.serve(reading_nothing(ended))
    leave = {"1.1": stuck_1, "2": stuck_2}[version](world, how)
    eventually(lambda: world.origin.requests, "the request")
    assert not ended
    leave()
    eventually(lambda: len(ended) == len(world.origin.requests), "the origin hears of it", timeout=4)
    assert all(ended)


# ---- behind the body

@pytest.mark.parametrize("body", [b"", b"body"], ids=["empty", "body"])
def test_trailers(world, version, body):
    """Trailers of a request and of its answer arrive behind their bodies, in order, also behind none."""
    up, down = [("x-sum", "u0"), ("x-more", "u1"), ("x-more", "u2")], [("x-sum", "d0"), ("x-more", "d1")]

    def answer(connection, request):
        request.read()
        connection.send(lines("HTTP/1.1 200 Fine", [*CHUNKED, ("Trailer", "x-sum, x-more")])
                        + chunked(*([body] if body else []), trailers=down))

    world.origin.serve(answer)
    fields = [("TE", "trailers"), ("Trailer", "x-sum, x-more")] + ([("Connection", "TE")] if version == "1.1" else [])
    asked = begin(world, version, "POST", fields=fields, body=True)
    if body:
        asked.piece(body)
    asked.finish(up)
    assert asked.head().status == 200 and asked.rest() == body
    assert [(n.lower(), v) for n, v in asked.trailers] == down
    request = world.origin.requests[0]
    assert request.body == body and [(n.lower(), v) for n, v in request.trailers] == up
    asked.leave()


# ---- without a body

def test_head_and_empty_answers(world, version):
    """HEAD, 204, 205 and 304: their fields are told, with the length that HEAD and 304 speak of; no body is made."""
    def answer(connection, request):
        status = int(request.target[1:])
        length = [("Content-Length", 0 if status == 205 else 1234)] if status != 204 else []
        connection.send(lines(f"HTTP/1.1 {status} X", [("ETag", '"v1"'), *length]))

    world.origin.serve(answer)
    for method, status, length in (("HEAD", 200, "1234"), ("HEAD", 404, "1234"), ("GET", 204, None),
                                   ("GET", 205, "0"), ("GET", 304, "1234"), ("HEAD", 304, "1234")):
        asked = begin(world, version, method, f"/{status}")
        head = asked.head()
        assert (head.status, head.get("etag"), head.get("content-length")) == (status, '"v1"', length), method
        assert asked.rest() == b"" and head.get("transfer-encoding") is None
        asked.leave()


def test_head_of_a_stream(world, version):
    """The answer to HEAD of something without a length has neither length nor body."""
    world.origin.serve(lambda c, r: c.send(lines("HTTP/1.1 200 Fine", CHUNKED)))
    for _ in range(3):
        asked = begin(world, version, "HEAD")
        head = asked.head()
        assert (head.status, head.get("content-length"), asked.rest()) == (200, None, b"")
        asked.leave()
    assert len(world.origin.requests) == 3
