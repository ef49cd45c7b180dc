"""What an origin that is broken, or lies, can make a visitor see: the cases of origin_cases.py. And that its
connection is not used again where somebody's answer could still be on it."""
import threading

import pytest

from origin_cases import CASES, PAUSE, Cut, Fails, Told, told
from recorder import HOST, RecordedWay, answer
from smuggling_cases import NEXT
from wire import eventually

TOLD_NEXT = told(body="/next").encode()


@pytest.fixture(scope="module")
def way(base, authority, nginx, reports):
    from conftest import Own
    folder = base / "bad-origins"
    folder.mkdir()
    own = Own(folder, authority, nginx)
    yield RecordedWay(own)
    own.end()


class Liar:
    """Answers /bad as the case says, and all else honestly."""

    def __init__(self, sent, end):
        self.pieces, self.end, self.go = sent.split(PAUSE.encode()), end, threading.Event()
        self.connection = None

    def __call__(self, connection, request):
        if request.target != "/bad":
            answer(connection, request)
            return
        self.connection = connection
        connection.send(self.pieces[0])
        for piece in self.pieces[1:]:
            self.go.wait(10)
            connection.send(piece)
        if self.end:
            connection.end()

    @property
    def pauses(self):
        return len(self.pieces) > 1


def is_told(visitor, liar, expect):
    assert visitor.reader.exactly(len(expect.wire)) == expect.wire
    liar.go.set()
    if liar.pauses:  # else the next request could be there first, and what comes then would be its answer
        eventually(liar.connection.gone.is_set, "the origin's connection ends")


def fails(visitor, expect):
    assert visitor.reader.exactly(len(expect.before)) == expect.before
    response = visitor.read()
    assert (response.status, response.informational) == (502, [])
    assert response.get("proxy-status").startswith(f"adit; error={expect.error};"), response.get("proxy-status")
    assert b"poison" not in response.body and response.get("connection") is None


def is_cut(visitor, liar, expect):
    assert visitor.reader.exactly(len(expect.wire)) == expect.wire
    liar.go.set()
    assert visitor.reader.rest() in (b"", expect.more)


def connections_of(way, target):
    return [c for c, m, _ in way.origin.messages(fences=True) if m.split(b" ")[1] == target.encode()]


@pytest.mark.parametrize("name", CASES)
def test_response(way, name):
    """The visitor sees what the case says and nothing else; requests behind it, his and others', get their own
    answers, and on which connection the case says."""
    method, sent, expect, end = CASES[name]
    way.fence()
    liar = Liar(sent, end)
    way.origin.serve(liar)
    with way.visit() as visitor:
        pipelined = not liar.pauses and not isinstance(expect, Cut)
        visitor.send(f"{method} /bad HTTP/1.1\r\nHost: {HOST}\r\n\r\n{NEXT if pipelined else ''}".encode())
        if isinstance(expect, Told):
            is_told(visitor, liar, expect)
        elif isinstance(expect, Fails):
            fails(visitor, expect)
        else:
            is_cut(visitor, liar, expect)
        if not isinstance(expect, Cut):
            if not pipelined:
                visitor.send(NEXT.encode())
            assert visitor.reader.exactly(len(TOLD_NEXT)) == TOLD_NEXT
    if not end and not getattr(expect, "reuse", False):
        eventually(liar.connection.gone.is_set, "the origin's connection ends")
    way.fence()
    [bad] = connections_of(way, "/bad")
    others = connections_of(way, "/next") + connections_of(way, "/fence")
    assert len(others) == (2 if isinstance(expect, Cut) else 3)
    assert (bad in others) == getattr(expect, "reuse", False)
