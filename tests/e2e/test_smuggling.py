"""No request that two could read differently gets through, and nothing that hides behind one: the cases of
smuggling_cases.py."""
import pytest

from h2wire import H2Origin
from recorder import RecordedWay, wire
from smuggling_cases import CASES, NEXT, Breaks, Passes, Refused
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


# ---- the same requests before an origin of HTTP/2

@pytest.fixture(scope="module")
def h2c(base, authority, nginx, reports):
    from conftest import Own
    folder = base / "smuggling-h2c"
    folder.mkdir()
    own = Own(folder, authority, nginx)
    own.origin, own.aditd = own.keep(H2Origin()), own.server()
    own.tunnels(own.aditd, {"shop": own.origin.address})
    yield own
    own.end()


def as_streams(wires):
    """What a message of HTTP/1.1 is in HTTP/2: (method, path, fields, body, trailers) of each."""
    out = []
    for data in wires:
        head, _, body = data.partition(b"\r\n\r\n")
        start, *fields = head.decode("latin-1").split("\r\n")
        fields = [tuple(f.split(": ", 1)) for f in fields]
        trailers = []
        if ("transfer-encoding", "chunked") in fields:
            size, _, rest = body.partition(b"\r\n")
            body, last = (rest[:int(size, 16)], rest[int(size, 16) + 2:]) if size != b"0" else (b"", body)
            trailers = [tuple(t.split(": ", 1)) for t in last.decode("latin-1").split("\r\n")[1:] if t]
        kept = [f for f in fields if f[0] not in ("host", "connection", "transfer-encoding")]
        method, path, _ = start.split(" ")
        out.append((method, path, kept, body, trailers))
    return out


# (the test's HTTP/2 reads fields as UTF-8)
TO_HTTP2 = [name for i, (name, (sent, expect)) in enumerate(CASES.items())
            if sent.isascii() and (isinstance(expect, Passes) or i % 20 == 0)]


@pytest.mark.parametrize("name", TO_HTTP2)
def test_request_to_an_origin_of_http2(h2c, name):
    """Every case that passes is so many streams with just that in them; a sample of the others is none that ends."""
    sent, expect = CASES[name]
    whole = []

    def keep(stream):
        body = stream.read()
        fields = [(n, v) for n, v in stream.fields if n[0] != ":"]
        whole.append((stream.get(":method"), stream.get(":path"), sorted(fields), body, list(stream.trailers or [])))
        stream.respond(200, end=True)

    h2c.origin.serve(keep)
    passed = isinstance(expect, Passes)
    wires = as_streams([*expect.wires] + ([] if expect.last else [WIRE_NEXT[False]])) if passed else []
    with h2c.aditd.visit() as visitor:
        visitor.send(sent.replace(b"|", b"") + NEXT.encode())
        for method, *_ in wires:
            assert visitor.read(method).status == 200
        if not wires:
            assert answers(visitor)[1] == "close"
    with h2c.aditd.visit() as visitor:
        assert visitor.fetch(target="/after").status == 200
    assert [told for told in whole if told[1] != "/after"] == [
        (method, path, sorted(fields), body, trailers) for method, path, fields, body, trailers in wires]
