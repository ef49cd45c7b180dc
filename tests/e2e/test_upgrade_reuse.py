"""However an upgrade ends, nothing is asked on that connection to the origin again, and what a visitor has sent
behind his request reaches the origin as the other protocol's bytes or not at all."""
import base64
import hashlib
import socket
import threading

import pytest

from h2frames import INTERNAL, NO_ERROR, RawVisitor
from recorder import FENCE, HOST, RecordedWay, answer, wire
from smuggling_cases import NEXT
from wire import Cut, chunked, eventually, lines, reply

HIDDEN = f"GET /hidden HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASKED = {"websocket": [("sec-websocket-version", "13"), ("sec-websocket-key", KEY)], "chat": []}
BODY = b"no such protocol"
WAYS = [f"{version}, {protocol}" for version in ("HTTP/1.1", "HTTP/2") for protocol in ASKED]


@pytest.fixture(scope="module")
def way(base, authority, nginx, reports):
    from conftest import Own
    folder = base / "upgrades"
    folder.mkdir()
    own = Own(folder, authority, nginx)
    yield RecordedWay(own)
    own.end()


def accept_of(request, right=True):
    digest = hashlib.sha1((request.get("sec-websocket-key") or "").encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
    return base64.b64encode(digest.digest() if right else b"x" * 20).decode()


def switch(request, fields=None, right=True):
    protocol = request.get("upgrade")
    fields = [("Connection", "upgrade"), ("Upgrade", protocol)] if fields is None else fields
    if protocol == "websocket":
        fields = [*fields, ("Sec-WebSocket-Accept", accept_of(request, right))]
    return lines("HTTP/1.1 101 Switching Protocols", fields)


# ---- what the origin does. What it sends is only sent: it reads on, to see what else would come

def refuse(status, *, coding="length", fields=()):
    """An ordinary answer. coding: how its body is framed."""
    def act(connection, request):
        if coding == "none":
            connection.send(lines(f"HTTP/1.1 {status} X", fields))
        elif coding == "chunked":
            connection.send(lines(f"HTTP/1.1 {status} X",
                                  [*fields, ("Transfer-Encoding", "chunked")]) + chunked(BODY))
        elif coding == "close":
            connection.send(lines(f"HTTP/1.1 {status} X", fields) + BODY)
            connection.sock.shutdown(socket.SHUT_WR)
        else:
            connection.send(reply(status, BODY, fields))
    return act


def bad_switch(fields=None, right=True):
    return lambda connection, request: connection.send(switch(request, fields, right) + reply(200, b"poisoned"))


def interim(connection, request):
    connection.send(lines("HTTP/1.1 103 Early Hints", [("Link", "x")]))
    refuse(403)(connection, request)


def hang_up(connection, request):
    connection.sock.shutdown(socket.SHUT_WR)


def half_an_answer(connection, request):
    connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 100)]) + BODY)
    connection.sock.shutdown(socket.SHUT_WR)


UPGRADE_X = [("Connection", "upgrade"), ("Upgrade", "x")]
REFUSED = {
    **{str(status): refuse(status) for status in (200, 201, 206, 400, 401, 403, 404, 407, 426, 500, 503, 599)},
    "204": refuse(204, coding="none"), "304": refuse(304, coding="none"),
    "200 in chunks": refuse(200, coding="chunked"),
    "404 in chunks": refuse(404, coding="chunked"), "200 until FIN": refuse(200, coding="close"),
    "404 until FIN": refuse(404, coding="close"),
    "200 that says upgrade": refuse(200, fields=UPGRADE_X), "426 that offers another": refuse(426, fields=UPGRADE_X),
    "404 kept alive": refuse(404, fields=[("Connection", "keep-alive"), ("Keep-Alive", "timeout=60")]),
    "103, then 403": interim,
    "no answer, FIN": hang_up, "half an answer, FIN": half_an_answer,
    "101 without Upgrade": bad_switch([]), "101 without Connection": bad_switch(UPGRADE_X[1:]),
    "101 to h2c": bad_switch([("Connection", "upgrade"), ("Upgrade", "h2c")]),
    "101 to a choice": bad_switch([("Connection", "upgrade"), ("Upgrade", "websocket, chat")]),
    "101 to another": bad_switch(UPGRADE_X),
    "101 with a length": bad_switch([("Connection", "upgrade"), ("Upgrade", "chat"), ("Content-Length", "2")]),
    "101 in chunks": bad_switch([("Connection", "upgrade"), ("Upgrade", "chat"), ("Transfer-Encoding", "chunked")]),
}
# 2xx means to an HTTP/2 visitor that his CONNECT was accepted (RFC 8441 section 5)
FAILS = {"no answer, FIN", *(name for name in REFUSED if name.startswith("101"))}


class Upgrade:
    """An origin that does `act` to /up, and then only reads; all else is answered. And how a visitor asks it."""

    def __init__(self, way, how, act):
        self.way, self.act, self.connection, self.done = way, act, None, threading.Event()
        self.version, self.protocol = how.split(", ")
        way.fence()  # so that there is a kept connection, as an attacker wants it
        way.origin.serve(self)

    def __call__(self, connection, request):
        if request.target != "/up":
            answer(connection, request)
            return
        self.connection, request.body = connection, b""
        self.act(connection, request)
        while connection.reader.some():
            pass
        connection.gone.set()

    def visitor(self):
        return RawVisitor(self.way.aditd) if self.version == "HTTP/2" else self.way.visit()

    def ask(self, visitor, hidden=HIDDEN):
        """The upgrade, and at once what is hidden behind it; a stream's number for HTTP/2."""
        if self.version == "HTTP/2":
            stream = visitor.greeted().connect("/up",
                [f for f in ASKED[self.protocol] if f[0] != "sec-websocket-key"], self.protocol)
            if hidden:
                visitor.data(stream, hidden)
            return stream
        visitor.send(visitor.head_bytes("GET", "/up",
                                        [("Connection", "upgrade"), ("Upgrade", self.protocol),
                                            *ASKED[self.protocol]]) + hidden)
        return None

    def over(self):
        """Waits for the end: no other request came on that connection; what did come behind the upgrade."""
        eventually(lambda: self.connection and self.connection.gone.is_set(), "the origin's connection ends")
        self.way.fence()
        got = self.way.origin.messages(fences=True)
        [asked] = [m for c, m, _ in got if c is self.connection]
        assert [m.split(b" ")[1] for c, m, _ in got if c is not self.connection].count(FENCE.encode()) == 2
        assert not [m for c, m, _ in got if m.startswith(b"GET /hidden")]
        head, _, behind = asked.partition(b"\r\n\r\n")
        assert head.startswith(b"GET /up HTTP/1.1\r\n")
        assert head.endswith(f"\r\nconnection: upgrade\r\nupgrade: {self.protocol}".encode())
        return behind


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", REFUSED)
def test_not_accepted(way, name, how):
    """No 101, or a bad one: the visitor gets the answer or a 502, the origin nothing of what is behind the request,
    and no other request comes on that connection."""
    upgrade = Upgrade(way, how, REFUSED[name])
    with upgrade.visitor() as visitor:
        stream = upgrade.ask(visitor)
        if stream:
            told = visitor.whole(stream)
            status = 502 if name in FAILS or name[0] == "2" else 403 if name.startswith("103") else None
            if name.startswith("half"):  # a reset that says so, and may overtake the head
                assert told.reset == INTERNAL and told.status in (None, 502)
            else:
                assert told.status == (status or int(name[:3])) and told.reset in (None, NO_ERROR)
            assert b"poison" not in told.data
            assert visitor.fetch(path="/next").data == b"/next"
        else:
            told, statuses = b"", []
            try:
                while True:
                    answered = visitor.read()
                    statuses.append(answered.status)
                    told += answered.body
            except Cut as e:
                told += e.body
            wanted = 502 if name in FAILS else 403 if name.startswith("103") else None
            if not wanted and not name.startswith("half"):
                wanted = int(name[:3])
            assert statuses == ([wanted] if wanted else []) and b"poison" not in told
    assert upgrade.over() == b""


# ---- accepted, and then ended in every way

def accepted(connection, request):
    connection.send(switch(request))


ENDS = ("visitor closes", "visitor half-closes", "visitor resets", "origin closes", "origin half-closes",
        "origin resets")


def end_visitor(visitor, stream, how):
    if stream and how == "resets":
        visitor.rst(stream)
    elif stream and how == "half-closes":
        visitor.data(stream, b"", end=True)
    elif how == "half-closes":
        visitor.sock.shutdown(socket.SHUT_WR)
    elif how == "resets":
        visitor.reset()
    else:
        visitor.close()


def end_origin(connection, how):
    if how == "resets":
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.end()
        connection.sock.close()
    elif how == "closes":
        connection.end()
    else:
        connection.sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("end", ENDS)
def test_accepted(way, end, how):
    """A request hidden behind an upgrade that is accepted reaches the origin, byte by byte, as the other protocol's;
    when that is over, however it ends, the connection is too."""
    upgrade = Upgrade(way, how, accepted)
    who, what = end.split(" ")
    with upgrade.visitor() as visitor:
        stream = upgrade.ask(visitor)
        if stream:
            assert visitor.headed(stream).status == 200
        else:
            assert visitor.head().status == 101
        eventually(lambda: way.origin.bytes().endswith(HIDDEN), "the hidden bytes")
        if who == "origin":
            end_origin(upgrade.connection, what)
            if stream:
                visitor.whole(stream)
            else:
                assert visitor.reader.rest() == b""
            if what == "half-closes":
                end_visitor(visitor, stream, what)
        else:
            end_visitor(visitor, stream, what)
            if what == "half-closes":
                eventually(upgrade.connection.gone.is_set, "the origin hears of the end")
                end_origin(upgrade.connection, "closes")
    assert upgrade.over() == HIDDEN


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("what", ["closes", "resets"])
def test_aborted(way, what, how):
    """A visitor who goes while the origin is still thinking: it gets nothing of what was behind."""
    upgrade = Upgrade(way, how, lambda c, r: None)
    with upgrade.visitor() as visitor:
        stream = upgrade.ask(visitor)
        eventually(lambda: upgrade.connection, "the origin has the request")
        end_visitor(visitor, stream, what)
        assert upgrade.over() == b""


# ---- what only looks like one

def looks(fields, method="GET", version="1.1", body=""):
    return f"{method} /bad HTTP/{version}\r\nHost: {HOST}\r\n{fields}\r\n{body}"


ASKS, CHAT = "Connection: upgrade\r\n", "Connection: upgrade\r\nUpgrade: chat\r\n"
PLAIN = wire("GET", "/bad")
LOOKS = {
    "POST": (looks(CHAT + "Content-Length: 2\r\n", "POST", body="hi"), wire("POST", "/bad", length=2, body=b"hi")),
    "GET with a body": (looks(f"{CHAT}Content-Length: {len(HIDDEN)}\r\n", body=HIDDEN.decode()),
                        wire("GET", "/bad", length=len(HIDDEN), body=HIDDEN)),
    "GET with chunks": (looks(CHAT + "Transfer-Encoding: chunked\r\n", body="2\r\nhi\r\n0\r\n\r\n"),
                        wire("GET", "/bad", length="chunked", body=b"hi")),
    "HEAD": (looks(CHAT, "HEAD"), wire("HEAD", "/bad")),
    "HTTP/1.0": (looks("Connection: upgrade, keep-alive\r\nUpgrade: chat\r\n", version="1.0"), PLAIN),
    "h2c": (looks("Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"), PLAIN),
    "two protocols": (looks(ASKS + "Upgrade: chat, websocket\r\n"), PLAIN),
    "two fields": (looks(CHAT + "Upgrade: x\r\n"), PLAIN), "without Connection": (looks("Upgrade: chat\r\n"), PLAIN),
    "no token": (looks(ASKS + "Upgrade: chat x\r\n"), PLAIN), "no name": (looks(ASKS + "Upgrade: \r\n"), PLAIN),
}


@pytest.mark.parametrize("name", LOOKS)
def test_what_is_none(way, name):
    """An ordinary request: the origin sees no Upgrade, cannot be made to switch, and the next request is told apart
    from it, on the same connection."""
    sent, seen = LOOKS[name]
    way.origin.serve(None)
    with way.visit() as visitor:
        visitor.send(sent.encode() + NEXT.encode())
        for method in (name if name == "HEAD" else "GET", "GET"):
            assert visitor.read(method).status == 200
    way.fence()
    (first, got, _), (second, behind, _) = way.origin.messages()
    assert (got, behind) == (seen, wire("GET", "/next")) and first is second
    way.origin.serve(lambda c,
                     r: (r.read(), c.send(lines("HTTP/1.1 101 X", [("Connection", "upgrade"), ("Upgrade", "chat")])
                                                      + reply(200, b"poisoned")))
                     if r.target == "/bad" else answer(c, r))
    with way.visit() as visitor:
        visitor.send(sent.encode())
        assert visitor.read(sent.split(" ")[0]).status == 502
    way.fence()
