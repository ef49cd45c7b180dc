"""RFC 9113 sections 4 to 8, rule by rule, in raw frames: the cases of h2_rules.py, without TLS and with it."""
import socket
import threading
import time

import pytest

from h2_rules import CASES, Connection
from h2frames import DATA, END_STREAM, GOAWAY, NO_ERROR, PING, PROTOCOL, RawVisitor, u32
from wire import eventually, reply


class Beside:
    """An origin where one request waits beside what a case does; who else gets there is written down."""

    def __init__(self, world):
        self.world, self.go, self.whole = world, threading.Event(), []
        world.origin.serve(self.answer)

    def answer(self, connection, request):
        if request.target == "/beside":
            self.go.wait(20)
        if request.target == "/slow":
            connection.wait_gone(20)
            return
        if request.target == "/unread":
            time.sleep(1)
            return
        request.read()
        self.whole.append(request.target)
        connection.send(reply(200, b"answered"))

    def saw(self):
        return [r.target for r in self.world.origin.requests]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", CASES)
def test_rule(world, name, tls):
    """What comes back is what the rule wants; the origin sees no request of what is none; other streams live on."""
    act, expect = CASES[name]
    beside = Beside(world)
    with RawVisitor(world.server, tls=tls) as v:
        held = v.greeted().ask(path="/beside")
        eventually(lambda: "/beside" in beside.saw(), "the request beside it")
        stream = act(v)
        expect.check(v, stream)
        if not isinstance(expect, Connection):
            beside.go.set()
            assert v.whole(held).data == b"answered"
            assert v.fetch(path="/after").data == b"answered" and v.goaway is None
        beside.go.set()
    if expect.seen is not True:
        assert not [t for t in beside.whole if t not in ("/beside", "/after", "/open")], beside.whole
    if not expect.seen:
        assert "/bad" not in beside.saw()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_goaway(world, tls):
    """Who says GOAWAY gets his answer, and the connection ends behind it; without a stream it ends at once."""
    beside = Beside(world)
    with RawVisitor(world.server, tls=tls) as v:
        held = v.greeted().ask(path="/beside")
        eventually(lambda: "/beside" in beside.saw(), "the request")
        v.frame(GOAWAY, payload=u32(0) * 2)
        v.ping()
        beside.go.set()
        assert v.whole(held).data == b"answered"
        assert v.ended() in (None, NO_ERROR)
    with RawVisitor(world.server, tls=tls) as v:
        v.greeted().frame(GOAWAY, payload=u32(0) * 2)
        v.frame(PING, payload=b"question")
        assert v.ended() in (None, NO_ERROR)


def test_the_rest_of_an_answered_request(world):
    """Whoever was answered before his request's end may end it, and is told of its faults; much of it is cut short."""
    with RawVisitor(world.server, "nobody") as v:
        def ask(length):
            stream = v.greeted().head(v.fields("POST") + [("content-length", str(length))], end=False)
            v.until(lambda: v.answer(stream).ended, "the answer")
            assert v.answer(stream).status == 404 and v.answer(stream).reset is None
            return stream
        stream = ask(4)
        v.frame(DATA, END_STREAM, stream, b"1234")
        v.ping()
        assert v.answer(stream).reset is None
        stream = ask(3)
        v.frame(DATA, END_STREAM, stream, b"1234")
        v.until(lambda: v.answer(stream).reset == PROTOCOL, "its fault")
        stream = ask(1_000_000)
        for _ in range(2):
            v.frame(DATA, 0, stream, bytes(16384))
        v.until(lambda: v.answer(stream).reset == NO_ERROR, "a reset")
        stream = ask(1_000_000)
        v.until(lambda: v.answer(stream).reset == NO_ERROR, "a reset, for nothing comes")
        assert v.goaway is None


@pytest.mark.parametrize("words, answered", [
    (b"INVALID CONNECTION PREFACE\r\n\r\n", False), (b"OPTION rtsp://a RTSP/1.0\r\n\r\n", False), (b"FOO / HX", False),
    (b"FOO / HTTP/1.1\r\n\r\n", True), (b"GET /a b c\r\n\r\n", True), (b"FOO / HTTP/3\r\n\r\n", True)])
def test_no_protocol_at_all(world, words, answered):
    """On a port without TLS, what is neither HTTP/2's preface nor anything like a request ends without an answer."""
    with socket.create_connection(("127.0.0.1", world.server.plain_port), timeout=15) as s:
        s.sendall(words)
        got = s.recv(4096)
    assert got.startswith(b"HTTP/1.1 ") if answered else got == b"", got
