"""No request that two could read differently gets through: the cases of smuggling_cases.py, and what hides behind one."""
import pytest

from recorder import HOST, RecordedWay, wire
from smuggling_cases import CASES, CHUNKED, NEXT, POST, Breaks, Passes, Refused
from wire import Cut, eventually

WIRE_NEXT = {tls: wire("GET", "/next", proto="https" if tls else "http") for tls in (False, True)}
FIRST = b"2\r\nhi\r\n"
OVER_TLS = [name for i, name in enumerate(CASES) if i % 12 == 0]


@pytest.fixture(scope="module")
def way(base, authority, nginx, reports):
    from conftest import Own
    folder = base / "smuggling"
    folder.mkdir()
    own = Own(folder, authority, nginx)
    yield RecordedWay(own)
    own.end()


def answers(visitor):
    """Statuses and bodies of all that comes until the connection ends, and what the last one said of it."""
    found, last = [], None
    try:
        while True:
            last = visitor.read()
            found.append((last.status, last.body))
    except Cut as e:
        assert not e.body, e.body  # no half answer
    return [status for status, _ in found], last.get("connection") if last else None


def is_refused(way, visitor, sent, expect):
    visitor.send(sent + NEXT.encode())
    assert answers(visitor) == ([expect.status], "close")
    way.fence()
    assert way.origin.messages() == []


def passes(way, visitor, sent, expect, tls):
    """The next request behind it is told from it, and answered as such."""
    visitor.send(sent + NEXT.encode())
    wires = [w.replace(b"proto=http\r", b"proto=https\r").replace(b"proto: http\r", b"proto: https\r") if tls else w
             for w in expect.wires]
    if expect.last:
        assert answers(visitor) == ([200] * len(wires), "close")
    else:
        wires.append(WIRE_NEXT[tls])
        for one in wires:
            method, target, _ = one.split(b" ", 2)
            answer = visitor.read(method.decode())
            assert (answer.status, answer.body) == (200, b"" if method == b"HEAD" else target)
    way.fence()
    assert way.origin.bytes() == b"".join(wires)


def breaks(way, visitor, sent, expect, tls):
    good, bad = sent.split(b"|", 1)
    visitor.send(good)
    head = wire("POST", "/bad", length="chunked", proto="https" if tls else "http")[:-len("0\r\n\r\n")]
    seen = head + FIRST
    way.wait_bytes(seen)
    [(connection, _, whole)] = way.origin.messages()
    assert not whole
    visitor.send(bad + NEXT.encode())
    assert answers(visitor) == ([expect.status], "close")
    way.fence()
    eventually(connection.gone.is_set, "the origin's connection ends")
    more = head + b"%x\r\nhi%s\r\n" % (2 + len(expect.more), expect.more)
    [(_, got, whole)] = way.origin.messages()
    assert not whole and got in (seen, more), got


def play(way, name, tls):
    sent, expect = CASES[name]
    way.origin.serve(None)
    with way.visit(tls) as visitor:
        if isinstance(expect, Refused):
            is_refused(way, visitor, sent, expect)
        elif isinstance(expect, Passes):
            passes(way, visitor, sent, expect, tls)
        else:
            assert isinstance(expect, Breaks)
            breaks(way, visitor, sent, expect, tls)


@pytest.mark.parametrize("name", CASES)
def test_request(way, name):
    """The visitor gets what the case says, and the origin the case's bytes, and not one besides."""
    play(way, name, tls=False)


@pytest.mark.parametrize("name", OVER_TLS)
def test_request_over_tls(way, name):
    """The same by TLS, for a sample."""
    play(way, name, tls=True)
