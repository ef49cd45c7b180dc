"""The session of a tunnel between programs of which one means harm: RFC 9113 for both roles, in raw frames behind a good
token. There is no gate here (h2/gate.h): what nghttp2 1.52 lets pass stands in LAX and among the ANSWERS, and nothing
comes of it."""
import threading
import time

import pytest

from conftest import Own
from h2_answers import ANSWERS, CUT, WHOLE
from h2_rules import CASES, Connection, Fine, Ignored, Status, Stream
from h2frames import CALM, FLOW_CONTROL, FRAME_SIZE, PROTOCOL, RawVisitor
from session_ends import BadAdit, BadServer
from test_h2_strict import Beside
from wire import Cut, Origin, eventually

# What adit makes of a request that aditd would never have let pass: its form is judged, what it asks for is the asking
# program's business.
LAX = {
    **{n: Fine() for n in CASES if n.startswith((":authority: ", ":path: ", ":method: ", ":scheme: "))
       and isinstance(CASES[n][1], Status)},
    "CONNECT": Status(404),  # no tunnel of that adit is a port
    "CONNECT with END_STREAM": Status(404),
    "extended CONNECT with content-length": Fine(),
    "extended CONNECT with content-length 0": Fine(),
    "extended CONNECT with END_STREAM": Fine(),
    "more than 100 fields": Stream(CALM),
    "cookie crumbs count": Stream(CALM),
    "40 000 bytes of a field": Stream(CALM),
    "70 000 bytes of fields": Stream(CALM),
    "HEADERS on a stream that was passed over": Ignored(),
    "HEADERS on a stream that has ended": Fine(),  # its answer has come before
    "DATA on a stream that has ended": Ignored(),
    "PRIORITY on stream 0": Ignored(),
    **{f"PRIORITY of {n} bytes": Connection(FRAME_SIZE) for n in (4, 6, 0)},
    "PRIORITY: a stream that depends on itself": Fine(),
    "PRIORITY: an idle stream that depends on itself": Ignored(),
    "WINDOW_UPDATE of 0 on a stream": Connection(PROTOCOL),
    "stream's window above 2^31-1 by SETTINGS": Stream(FLOW_CONTROL),
}


class Field:
    """An adit whose server is ours."""

    def __init__(self, folder, nginx, authority):
        self.own = Own(folder, authority, nginx)
        self.origin = self.own.keep(Origin())
        self.bad = BadServer(self.own, self.origin)
        self.session = None


@pytest.fixture(scope="module")
def field(tmp_path_factory, authority, nginx, reports):
    field = Field(tmp_path_factory.mktemp("session"), nginx, authority)
    yield field
    field.bad.adit.stop()
    field.own.end()


# nghttp2 counts CONTINUATION frames by the pieces they come in: the stream or the session ends
BY_CHANCE = "300 000 bytes of fields"


@pytest.mark.parametrize("name", [n for n in CASES if n != BY_CHANCE])
def test_adit(field, name):
    """What a bad aditd asks: the stream is reset, or the session ends with its code and CLOSE, and adit dials again."""
    act, expect = CASES[name]
    expect = LAX.get(name, expect)
    beside = Beside(field)
    v, field.session = field.session or field.bad.session(), None
    try:
        held = v.ask(path="/beside")
        eventually(lambda: "/beside" in beside.saw(), "the request beside it")
        stream = act(v)
        expect.check(v, stream)
        if isinstance(expect, Connection):
            assert v.sock.code == 400
        else:
            beside.go.set()
            assert v.whole(held).data == b"answered"
            assert v.fetch(path="/after").data == b"answered" and v.goaway is None
            field.session = v
    finally:
        beside.go.set()
        if not field.session:
            v.close()
    if not expect.seen:
        assert "/bad" not in beside.saw()


class Asking(threading.Thread):
    """A visitor of HTTP/1.1 or HTTP/2: what he gets for /bad, and then for /again on the same connection if he may."""

    def __init__(self, world, name, h2):
        super().__init__(daemon=True)
        self.world, self.name_, self.h2, self.got, self.again, self.error = world, name, h2, None, None, None
        self.go = threading.Event()  # the tunnel is there for another request
        self.start()

    def run(self):
        try:
            self.ask_2() if self.h2 else self.ask_1()
        except Exception as e:
            self.error = e

    def ask_1(self):
        with self.world.visit(self.name_) as visitor:
            try:
                answer = visitor.fetch(target="/bad")
                self.got = WHOLE if answer.status < 400 else answer.status
            except Cut:
                self.got = CUT
                return
            self.go.wait(20)
            if answer.get("connection") == "close":
                return
            try:
                self.again = visitor.fetch(target="/again").body
            except Cut:
                pass  # an answer that was complete with its head may end with its connection

    def ask_2(self):
        with RawVisitor(self.world.server, self.name_) as visitor:
            answer = visitor.fetch(path="/bad")
            self.got = answer.status if answer.status is None or answer.status >= 400 else WHOLE if answer.ended else CUT
            self.go.wait(20)
            self.again = visitor.fetch(path="/again").data


def answer_again(v, asking):
    """Whatever he asks now gets an answer that shows whether his connection is in step."""
    v.sock.sock.settimeout(0.2)
    until = time.monotonic() + 15
    while asking.is_alive() and time.monotonic() < until:
        try:
            again = v.asked("/again")
            v.respond(again)
            v.data(again, b"in step", end=True)
            break
        except AssertionError:
            continue  # nothing has come yet
    v.sock.sock.settimeout(15)


@pytest.fixture(scope="module")
def bad():
    """The last session, when it has lived on: by `h2` of the visitors."""
    kept = {}
    yield kept
    for v in kept.values():
        v.leave()


def both_visitors(answers):
    """Each answer for visitors of HTTP/1.1 and of HTTP/2; the end of a session for one of them, in turn."""
    return [pytest.param(name, h2, id=f"{name}-http{1 + h2}") for i, name in enumerate(answers) for h2 in (False, True)
            if not isinstance(answers[name][1], Connection) or h2 == (i % 2 == 1)]


@pytest.mark.parametrize("name, h2", both_visitors(ANSWERS))
def test_aditd(world, bad, name, h2):
    """What a bad adit answers: its visitor gets 502 or a cut answer, and his connection is in step; others do not
    notice."""
    act, expect, visitor = ANSWERS[name]
    tunnel = f"alice-bad{int(h2)}"
    v = bad.pop(h2, None) or BadAdit(world.server, tunnel).greeted()
    with world.visit() as other:
        asking = Asking(world, tunnel, h2)
        try:
            stream = v.asked("/bad")
            act(v, stream)
            if isinstance(expect, Stream):
                v.until(lambda: v.answer(stream).reset is not None, "reset")
                assert v.answer(stream).reset in expect.codes
            elif isinstance(expect, Connection):
                assert v.ended() in expect.codes and v.sock.code == 400
                v.close()
                v = BadAdit(world.server, tunnel).greeted()
            eventually(lambda: asking.got is not None or not asking.is_alive(), "the visitor's answer")
            asking.go.set()
            answer_again(v, asking)
            asking.join(15)
            wanted = visitor if isinstance(visitor, tuple) else (visitor,)
            assert not asking.error and asking.got in wanted, (asking.error, asking.got)
            assert asking.again in (None, b"in step")
            v.ping()
            v.answers.clear()
            bad[h2] = v
        finally:
            if h2 not in bad:
                v.leave()
        assert other.fetch().status == 200
