"""What an origin that is broken, or lies, can make a visitor see: the cases of origin_cases.py. And that its
connection is not used again where somebody's answer could still be on it."""
import ssl
import threading
import time

import pytest

from origin_cases import CASES, PAUSE, Cut, Fails, Told, told
from recorder import HOST, RecordedWay, answer
from smuggling_cases import NEXT
from way import Way
from wire import Origin, eventually, reply

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


class Records:
    """TLS of an origin that sends its records as it likes: a socket, and in place of an ssl.SSLContext what makes it."""

    def __init__(self, context, sock=None):
        self.context, self.sock = context, sock
        self.come, self.made = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.come, self.made, server_side=True)

    def wrap_socket(self, sock, server_side):
        assert server_side
        records = Records(self.context, sock)
        records.through(records.tls.do_handshake)
        return records

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def through(self, call, *what):
        while True:
            try:
                return call(*what)
            except ssl.SSLWantReadError:
                self.sock.sendall(self.made.read())
                self.come.write(self.sock.recv(65536))
                if not self.come.pending:
                    self.come.write_eof()
            finally:
                self.sock.sendall(self.made.read())

    def recv(self, n):
        return self.through(self.tls.read, n)

    def sendall(self, data):
        self.through(self.tls.write, data)

    def records(self, data, size):
        """Its records of that many bytes each, not sent."""
        for at in range(0, len(data), size):
            self.tls.write(data[at:at + size])
        return self.made.read()


@pytest.mark.parametrize("size, come", [(1, 1), (1, 10), (1, 30), (1000, 4), (1000, 20), (1000, -1)])
def test_records_that_answer_nothing(own, authority, size, come):
    """An origin says on its kept connection what nobody asked, in records that are tiny or not whole: the next request
    never gets it, for it goes elsewhere. The rest of them comes once that has been sent."""
    certificate, key = own.folder / "origin.pem", own.folder / "origin.key"
    authority.issue(certificate, key, ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    way = Way(own, "--origin-insecure", origin=own.keep(Origin(tls=Records(context))))
    bad = {}

    def handler(connection, request):
        if request.target == "/bad":
            connection.send(reply(200, b"bad"))
            time.sleep(0.2)  # it is kept by now
            bad["on"], sealed = connection, connection.sock.records(reply(200, b"poison"), size)
            connection.sock.sock.sendall(sealed[:come])
            bad["rest"] = sealed[come:]
        elif connection is bad.get("on"):
            connection.sock.sock.sendall(bad["rest"])
        else:
            connection.send(reply(200, request.target.encode()))

    way.origin.serve(handler)
    assert way.server.fetch(target="/bad").body == b"bad"
    eventually(lambda: "rest" in bad, "it has said something")
    time.sleep(0.05)
    assert way.server.fetch(target="/next").body == b"/next"
    eventually(bad["on"].gone.is_set, "that connection ends")
    assert way.server.fetch(target="/again").body == b"/again"
    assert way.origin.accepted == 2
