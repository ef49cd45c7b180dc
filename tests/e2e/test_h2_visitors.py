"""What a visitor who speaks HTTP/2 sees: messages with all their parts, many at once, and how they end."""
import base64
import hashlib
import os
import select
import socket
import threading
import time

import pytest

from h2frames import (
    CALM, CANCEL, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW, NO_ERROR, PREFACE, PROTOCOL,
    REFUSED, RST_STREAM, SETTINGS, WINDOW_UPDATE, RawVisitor, raw, setting, u32)
from harness import Server
from wire import Cut, chunked, eventually, lines, note_bodies, reply

CHUNKED = ("Transfer-Encoding", "chunked")


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def visit(world, request):
    """Opens connections of visitors, without TLS and with it."""
    opened = []

    def visit(**options):
        opened.append(RawVisitor(world.server, tls=request.param, **options))
        return opened[-1]

    yield visit
    for visitor in opened:
        visitor.close()


# ---- the parts of messages

def test_trailers_both_ways(world, visit):
    """Trailer fields arrive behind the bodies, in both directions; those that could do harm there are left out."""
    def answer(connection, request):
        request.read()
        connection.send(lines("HTTP/1.1 200 OK", [CHUNKED]) + chunked(
            b"down", trailers=[("X-Sum", "d0"), ("Set-Cookie", "a=1")]))

    world.origin.serve(answer)
    v = visit()
    stream = v.ask("POST", more=[("te", "trailers")], end=False)
    v.data(stream, b"up")
    v.trailers(stream, [("x-sum", "u0"), ("authorization", "Bearer x"), ("adit-tunnel", "files"), ("host", "x")])
    got = v.whole(stream)
    request = world.origin.requests[0]
    assert request.body == b"up" and request.trailers == [("x-sum", "u0")]
    assert (got.status, got.data, got.heads[1:]) == (200, b"down", [[("x-sum", "d0")]])
    assert got.ended and got.reset is None


def test_expect_continue(world, visit):
    """The origin's 100 reaches the visitor before a byte of the body was sent."""
    def answer(connection, request):
        assert request.get("expect") == "100-continue"
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.send(reply(200, request.read()))

    world.origin.serve(answer)
    v = visit()
    stream = v.ask("POST", more=[("expect", "100-continue"), ("content-length", "4")], end=False)
    assert v.headed(stream).statuses == [100]
    v.data(stream, b"body", end=True)
    got = v.whole(stream)
    assert got.statuses == [100, 200] and got.data == b"body"


def test_expect_refused(world, visit):
    """An origin that says no instead is heard, and the connection goes on."""
    def answer(connection, request):
        connection.send(reply(417, b"no", [("Connection", "close")]))
        request.body = b""
        connection.end()

    world.origin.serve(answer)
    v = visit()
    stream = v.ask("POST", more=[("expect", "100-continue"), ("content-length", "4")], end=False)
    got = v.whole(stream)
    assert got.statuses == [417] and got.data == b"no"
    v.until(lambda: got.reset is not None)
    assert got.reset == NO_ERROR
    world.origin.serve(None)
    assert v.fetch().status == 200


def test_early_hints(world, visit):
    """Two 103 pass with their fields, ahead of the answer; END_STREAM is on none of them."""
    hint = lines("HTTP/1.1 103 Early Hints", [("Link", "</a.css>; rel=preload")])
    world.origin.serve(lambda c, r: c.send(hint + hint + reply(200, b"page")))
    v = visit()
    got = v.fetch()
    assert got.statuses == [103, 103, 200] and got.data == b"page"
    assert got.all("link", 0) == got.all("link", 1) == ["</a.css>; rel=preload"]


def test_head_and_no_content(world, visit):
    """HEAD, 204 and 304 end with their heads; the lengths that HEAD and 304 tell stay, 204 has none."""
    def answer(connection, request):
        status = int(request.target[1:])
        length = [("Content-Length", 5)] if status != 204 else []
        connection.send(lines(f"HTTP/1.1 {status} X", [("ETag", '"v1"'), *length]))

    world.origin.serve(answer)
    v = visit()
    for method, status, length in (("HEAD", 200, "5"), ("GET", 204, None), ("GET", 304, "5"), ("HEAD", 304, "5")):
        got = v.fetch(method, f"/{status}")
        assert (got.status, got.get("content-length"), got.get("etag")) == (status, length, '"v1"')
        assert got.ended and got.data == b"" and got.reset is None
        assert not [f for f in v.seen if f.type == DATA], "END_STREAM is on the head"


def test_answers_of_our_own(world, visit):
    """A 404 of our own is whole, names who gives it, and to HEAD it has no body."""
    v = visit(name="nobody")
    got = v.fetch()
    assert got.status == 404 and got.get("proxy-status").startswith("aditd") and got.ended and b"aditd" in got.data
    got = v.fetch("HEAD")
    assert got.status == 404 and got.ended and got.data == b""


@pytest.mark.parametrize("size", [0, 1, 16384, 65535, 1000003])
def test_bodies_with_length(world, visit, size):
    """A body arrives as it was sent, with its length, and comes back so."""
    body = os.urandom(size)
    world.origin.serve(lambda c, r: c.send(reply(200, r.read())))
    got = visit().fetch("POST", body=body, more=[("content-length", str(size))])
    assert got.data == body and got.get("content-length") == str(size)
    assert world.origin.requests[0].get("content-length") == str(size)


def test_both_bodies_at_once(world, visit):
    """Request and response bodies flow at the same time: each piece is answered before the next one is sent."""
    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [CHUNKED]))
        while size := int(connection.reader.line(), 16):
            piece = connection.reader.exactly(size + 2)[:-2]
            connection.send(b"%x\r\n%s\r\n" % (size, piece[::-1]))
        connection.reader.line()
        request.body = b"read"
        connection.send(b"0\r\n\r\n")

    world.origin.serve(answer)
    v = visit()
    stream = v.ask("POST", end=False)
    got, wanted = v.answer(stream), b""
    for i in range(20):
        piece = os.urandom(1 + i * 700)
        v.data(stream, piece)
        wanted += piece[::-1]
        v.until(lambda: len(got.data) == len(wanted))
    v.data(stream, end=True)
    assert v.whole(stream).data == wanted and got.status == 200 and got.reset is None


def test_megabytes_both_ways_at_once(world, visit):
    """Four megabytes up and the same back while they go up: neither direction waits for the other."""
    body = os.urandom(1 << 20) * 4

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", len(body))]))
        connection.reader.exactly(len(body), connection.send)
        request.body = b"read"

    world.origin.serve(answer)
    v = visit()
    stream = v.ask("POST", more=[("content-length", str(len(body)))], end=False)
    v.upload(stream, body)
    assert hashlib.sha256(v.whole(stream).data).digest() == hashlib.sha256(body).digest()


# ---- answers that come early, ends that come early

@pytest.mark.parametrize("size", [10, 200_000], ids=["small", "large"])
def test_answer_before_the_request_ends(world, visit, size):
    """A final answer in the middle of an upload arrives whole, then RST_STREAM(NO_ERROR); the connection lives on."""
    page, arrived = os.urandom(size), threading.Event()

    def answer(connection, request):
        connection.reader.exactly(1)
        connection.send(reply(413, page, [("Connection", "close")]))
        request.body = b"unread"
        arrived.wait(10)
        connection.end()

    world.origin.serve(answer)
    v = visit()
    beside = v.ask("POST", "/beside", end=False)
    stream = v.ask("POST", more=[("content-length", "50000000")], end=False)
    sent = v.upload(stream, b"x" * 50_000_000, end=False)
    got = v.whole(stream)
    arrived.set()
    v.until(lambda: got.reset is not None)
    assert (got.status, bytes(got.data), got.ended, got.reset) == (413, page, True, NO_ERROR)
    assert sent < 5_000_000, "it is stopped"
    v.data(stream, b"was on its way")
    world.origin.serve(None)
    assert v.fetch(path="/after").data == b"GET /after\n" and v.goaway is None
    v.rst(beside)


def test_visitor_resets(world, visit):
    """A visitor who resets a stream has its request at the origin aborted; his other streams live on."""
    gone, go = [], threading.Event()

    def answer(connection, request):
        if request.target == "/beside":
            go.wait(10)
            connection.send(reply(200, b"beside"))
            return
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 1000)]) + b"first")
        gone.append(connection.wait_gone(10))

    world.origin.serve(answer)
    v = visit()
    beside, stream = v.ask(path="/beside"), v.ask()
    v.until(lambda: v.answer(stream).data == b"first")
    v.rst(stream)
    eventually(lambda: gone, "the origin learns of it")
    go.set()
    assert v.whole(beside).data == b"beside" and gone == [True]


def test_upload_is_reset(world, visit):
    """An upload that is reset never looks complete to the origin."""
    seen = []
    world.origin.serve(note_bodies(seen))
    v = visit()
    stream = v.ask("POST", end=False)
    v.data(stream, b"half")
    eventually(lambda: world.origin.requests, "the request")
    v.rst(stream)
    eventually(lambda: seen, "the origin learns of it")
    assert isinstance(seen[0], Cut), seen


def test_origin_dies_in_the_body(world, visit):
    """When the origin dies in its answer the stream is reset, never ended; other streams live on."""
    arrived = threading.Event()

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [CHUNKED]) + b"5\r\nhello\r\n")
        arrived.wait(10)
        connection.end()

    world.origin.serve(answer)
    v = visit()
    stream = v.ask()
    v.until(lambda: v.answer(stream).data == b"hello")
    arrived.set()
    got = v.whole(stream)
    assert (got.status, got.data, got.ended) == (200, b"hello", False) and got.reset not in (None, NO_ERROR)
    world.origin.serve(None)
    assert v.fetch().status == 200


def test_goaway_of_the_visitor(world, visit):
    """A visitor who says GOAWAY(NO_ERROR) still gets what he has asked for."""
    go = threading.Event()
    world.origin.serve(lambda c, r: (go.wait(10), c.send(reply(200, b"late"))))
    v = visit()
    stream = v.ask()
    v.frame(GOAWAY, 0, 0, u32(0) + u32(NO_ERROR))
    v.ping()
    go.set()
    assert v.whole(stream).data == b"late"


# ---- WebSockets (RFC 8441)

def accept(request):
    key = request.get("sec-websocket-key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    digest = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
    return lines("HTTP/1.1 101 X", [("Connection", "Upgrade"), ("Upgrade", "websocket"),
                                    ("Sec-WebSocket-Accept", digest)])


class Sockets:
    """An origin that accepts WebSockets and says every byte back in upper case, until those bytes end or reset it."""

    def __init__(self, world):
        self.heard, self.ended = bytearray(), []
        world.origin.serve(self.answer)

    def answer(self, connection, request):
        request.body = b""
        connection.send(accept(request))
        while piece := connection.reader.some():
            self.heard += piece
            if piece.endswith(b"reset"):
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.sock.close()
                break
            connection.send(piece.upper())
            if piece.endswith(b"end"):
                break
        self.ended.append(bytes(self.heard))
        connection.end()


def websocket(v):
    stream = v.connect("/ws", [("sec-websocket-version", "13")])
    got = v.headed(stream)
    assert got.statuses == [200] and not got.over and got.all("sec-websocket-accept") == []
    return stream, got


def test_websocket_both_ways(world, visit):
    """A WebSocket's bytes pass in both directions as they come, beside ordinary requests."""
    Sockets(world)
    v = visit()
    stream, got = websocket(v)
    for i in range(10):
        piece = b"%d-" % i + b"abc" * i * 500
        v.data(stream, piece)
        before = len(got.data)
        v.until(lambda: len(got.data) == before + len(piece))
        assert got.data[before:] == piece.upper()
    assert not got.over
    v.rst(stream)


def test_websocket_ended_by_visitor(world, visit):
    """END_STREAM of the visitor is the origin's end of bytes; what the origin then says, and its end, come back."""
    sockets = Sockets(world)
    v = visit()
    stream, got = websocket(v)
    v.data(stream, b"last words", end=True)
    v.whole(stream)
    assert (got.data, got.ended) == (b"LAST WORDS", True) and got.reset in (None, NO_ERROR)
    assert sockets.ended == [b"last words"]
    world.origin.serve(None)
    assert v.fetch().status == 200


def test_websocket_ended_by_origin(world, visit):
    """The origin's end is END_STREAM; the stream is over for good, also when the visitor says no more."""
    Sockets(world)
    v = visit()
    stream, got = websocket(v)
    v.data(stream, b"the end")
    v.whole(stream)
    assert (got.data, got.ended) == (b"THE END", True)
    v.data(stream, b"", end=True)
    world.origin.serve(None)
    assert v.fetch().status == 200


def test_websocket_cut_by_visitor(world, visit):
    """RST_STREAM of the visitor ends the origin's connection."""
    sockets = Sockets(world)
    v = visit()
    stream, _ = websocket(v)
    v.data(stream, b"hello")
    eventually(lambda: sockets.heard, "the first bytes")
    v.rst(stream)
    eventually(lambda: sockets.ended, "its end")


def test_websocket_cut_by_origin(world, visit):
    """A reset by the origin is RST_STREAM with an error, not the end of a stream."""
    Sockets(world)
    v = visit()
    stream, got = websocket(v)
    v.data(stream, b"reset")
    v.whole(stream)
    assert not got.ended and got.reset not in (None, NO_ERROR), (got.ended, got.reset)


@pytest.mark.parametrize("pause", [0, 0.3])
def test_websocket_refused(world, visit, pause):
    """An origin that refuses, at once or after a while, gives an ordinary answer; the stream is over. Nothing of what was
    sent behind it reaches the origin, and nobody else gets that connection."""
    def refuse(connection, request):
        time.sleep(pause)
        connection.send(reply(403, b"no"))
        rest.append(connection.sock.recv(65536))
        connection.end()

    rest = []
    world.origin.serve(refuse)
    v = visit()
    stream = v.connect("/ws")
    v.data(stream, b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    got = v.whole(stream)
    assert (got.status, got.data, got.ended) == (403, b"no", True)
    v.until(lambda: got.reset is not None)
    assert got.reset == NO_ERROR
    eventually(lambda: rest, "the connection ends")
    assert rest == [b""]
    world.origin.serve(None)
    assert v.fetch(path="/after").status == 200
    assert [r.target for r in world.origin.requests] == ["/after"]


# ---- many at once

def test_stalled_among_128(world, visit):
    """128 streams at once on one connection, one of which nobody reads: the others finish, and it does afterwards."""
    body = os.urandom(100_000)
    world.origin.serve(lambda c, r: c.send(reply(200, body)))
    v = visit(greedy="connection").greeted()
    streams = [v.ask(path=f"/{i}") for i in range(128)]
    for stream in streams[1:]:
        v.open_window(stream, 1 << 20)
    for stream in streams[1:]:
        assert v.whole(stream).data == body
    stalled = v.answer(streams[0])
    assert not stalled.over and len(stalled.data) == 65535
    v.open_window(streams[0], 1 << 20)
    assert v.whole(streams[0]).data == body


def test_one_stream_too_many(world, visit):
    """The 129th stream is refused with REFUSED_STREAM, early and late in the connection; the 128 are answered."""
    go = threading.Event()
    world.origin.serve(lambda c, r: (go.wait(20), c.send(reply(200, b"one of them"))))
    for known in (False, True):
        v = visit()
        if known:
            v.greeted()
            assert v.settings[3] == 128
        streams = [v.ask() for _ in range(128)]
        more = v.ask("POST", end=False)
        v.data(more, b"for nobody")
        v.trailers(more, [("x-sum", "1")])
        assert v.whole(more).reset == REFUSED and not v.answer(more).heads
        go.set()
        for stream in streams:
            assert v.whole(stream).data == b"one of them"
        assert v.fetch().data == b"one of them" and v.goaway is None
        go.clear()
        v.close()


def test_shut_windows_hold_nothing_up(world, visit):
    """With INITIAL_WINDOW_SIZE 0 heads come, bodies wait for their window, and end on the byte."""
    world.origin.serve(lambda c, r: c.send(reply(200, b"0123456789")))
    v = visit(settings=setting(INITIAL_WINDOW, 0), greedy="none").greeted()
    stream = v.ask()
    got = v.headed(stream)
    v.ping()
    assert got.status == 200 and not got.data
    v.open_window(stream, 4)
    v.until(lambda: len(got.data) >= 4)
    v.ping()
    assert got.data == b"0123" and not got.over
    v.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 100))
    assert v.whole(stream).data == b"0123456789"


# ---- beginnings

@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("first", [raw(HEADERS, END_HEADERS | END_STREAM, 1, b"\x82"), raw(DATA, 0, 1, b"x"),
                                   raw(WINDOW_UPDATE, 0, 0, u32(1)), raw(SETTINGS, 1), raw(RST_STREAM, 0, 1, u32(8))],
                         ids=["HEADERS", "DATA", "WINDOW_UPDATE", "ACK", "RST_STREAM"])
def test_first_frame_is_no_settings(world, tls, first):
    """A connection that does not begin with SETTINGS ends with GOAWAY(PROTOCOL_ERROR)."""
    with RawVisitor(world.server, tls=tls, begin=False) as v:
        v.send(PREFACE + first)
        assert v.ended() == PROTOCOL
    assert world.origin.requests == []


def test_no_preface_behind_alpn(world):
    """Who agrees on h2 and says something else gets the end of the connection."""
    with RawVisitor(world.server, tls=True, begin=False) as v:
        v.send(lines("GET / HTTP/1.1", [("Host", v.host)]))
        assert v.ended() in (PROTOCOL, None)
    assert world.origin.requests == []


# ---- room for others, and deadlines

def test_idle_h2_visitors_make_room(own):
    """max_visitors HTTP/2 connections without a request keep nobody out: the oldest gets GOAWAY and is closed."""
    server, origin = own.server(max_visitors=20), own.origin()
    go = threading.Event()
    origin.serve(lambda c, r: ((r.target != "/long" or go.wait(20)), c.send(reply(200, b"served"))))
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    running = RawVisitor(server)
    long = running.ask(path="/long")
    eventually(lambda: origin.requests, "the long request")
    idle = []
    for _ in range(30):
        idle.append(RawVisitor(server))
        assert idle[-1].fetch().data == b"served"
    for _ in range(5):
        assert server.fetch("shop").status == 200
        with RawVisitor(server, tls=True) as v:
            assert v.fetch().data == b"served"
    assert idle[0].ended() == NO_ERROR, "the oldest one was told"
    go.set()
    assert running.whole(long).data == b"served"
    for v in (*idle, running):
        v.close()


def test_who_was_idle_first_goes_first(own):
    """Room is made by age, whether it is a connection of HTTP/1.1 or of HTTP/2."""
    server = own.server(max_visitors=6)
    held = []
    for kind in (RawVisitor, Server.visit) * 2:
        held.append(kind(server, "nobody"))
        assert held[-1].fetch().status == 404  # there is no tunnel; it is a request all the same
        if kind is RawVisitor:
            held[-1].ping()  # nothing more will come
        time.sleep(0.05)
    time.sleep(2.1)  # who is younger is spared while the reserve lasts
    newcomers = []
    for i in range(-1, 4):
        newcomers.append(server.visit("nobody"))
        assert newcomers[-1].fetch().status == 404
        if i < 0:
            continue
        ready, _, _ = select.select([v.sock for v in held], [], [], 1)
        assert ready == [v.sock for v in held[:1]], i
        oldest = held.pop(0)
        assert oldest.ended() == NO_ERROR if isinstance(oldest, RawVisitor) else oldest.closed()
    for v in newcomers:
        v.close()


def test_few_descriptors_over_h2(own):
    """With few descriptors idle HTTP/2 connections go, and new visitors come in, if not at once."""
    server = own.server(wrap=("prlimit", "--nofile=48:48"))
    origin = own.origin()
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    idle, served = [], 0
    for _ in range(60):
        idle.append(RawVisitor(server))
        try:
            served += idle[-1].fetch().status == 200
        except (Cut, OSError):
            pass  # who has said nothing yet goes first
    server.program.wait_event("descriptors.few")
    assert served > 50, served
    assert server.fetch("shop").status == 200
    for v in idle:
        v.close()


def timed(act):
    began = time.monotonic()
    value = act()
    return value, time.monotonic() - began


@pytest.mark.soak
def test_field_block_that_does_not_end(world):
    """Half a field block, with another stream under way: GOAWAY(ENHANCE_YOUR_CALM) after 10 s, and the end."""
    with RawVisitor(world.server) as v:
        v.ask("POST", end=False)
        v.ping()  # all is acknowledged: nothing may come in the middle of a block
        v.frame(HEADERS, END_STREAM, v.new_stream(), v.encode(v.fields()))
        code, took = timed(v.ended)
    print(f"{took:.2f} s")
    assert code == CALM and 9.5 < took < 12.5


@pytest.mark.soak
def test_body_and_reader_that_stall(world):
    """A body that does not come: 408 after 60 s. A reader who takes nothing: RST_STREAM(CANCEL) after 5 min."""
    world.origin.serve(lambda c, r: c.send(reply(200, b"x" * 1_000_000)) if r.target == "/big" else r.read())
    box = {}

    def upload():
        with RawVisitor(world.server, timeout=400) as v:
            stream = v.ask("POST", end=False)
            v.data(stream, b"x" * 1000)
            got, took = timed(lambda: v.whole(stream))
            v.until(lambda: got.reset is not None)
            box["body"] = (got.status, got.reset), took

    def reader():
        with RawVisitor(world.server, timeout=400, greedy="connection") as v:
            box["reader"] = timed(lambda: v.whole(v.ask(path="/big")).reset)

    threads = [threading.Thread(target=f) for f in (upload, reader)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(400)
    print(box)
    assert box["body"][0] == (408, NO_ERROR) and 59 < box["body"][1] < 66
    assert box["reader"][0] == CANCEL and 299 < box["reader"][1] < 307
