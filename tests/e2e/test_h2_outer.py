"""RFC 9113 on the connection below a tunnel: what comes of the cases of h2_rules.py beside a ws-h2 carrier, by TLS and
without, and when they are said of the carrier's own path. Where only a stream is at fault the link goes on there; where
the connection ends it goes on over another one."""
import json
import os
import struct

import pytest

from flood_frames import ws_frame
from h2_rules import CASES, Connection, Fine, Ignored, Status, Stream
from h2frames import CANCEL, FLOW_CONTROL, PROTOCOL, RawVisitor
from harness import DOMAIN, TOKENS
from test_attach import attach
from test_h2_strict import Beside
from test_link import ATTACHED, CLOSE, DATA, PING, PONG, WELCOME, Peer, frame, hello
from wire import Cut

NAME = "alice-outer"


class Carried:
    """A link over ws-h2 on a stream of `v`, told from a name of its own each."""

    def __init__(self, v, name=NAME):
        self.v, self.id, self.name, self.epoch, self.received = v, os.urandom(16).hex(), name, 0, 0
        self.stream = v.head(self.request(v, self.id), end=False)
        assert v.headed(self.stream).status == 200
        self.bytes, self.rest, self.taken = bytearray(), b"", 0
        self.send(hello(name))
        self.secret = json.loads(self.until(WELCOME))["secret"]

    @staticmethod
    def request(v, link_id, who="alice"):
        return [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", v.scheme),
                (":path", f"/_adit/v1/{link_id}/ws"), (":authority", DOMAIN), ("adit-version", "1"),
                ("authorization", f"Bearer {TOKENS[who]}"), ("sec-websocket-version", "13")]

    def send(self, data):
        for at in range(0, len(data), 125):  # in messages as they suit us: their ends mean nothing
            self.v.data(self.stream, ws_frame(0x82, data[at:at + 125]))

    def more(self, n):
        answer = self.v.answer(self.stream)
        while len(self.bytes) < n:
            self.v.until(lambda: len(answer.data) > self.taken or answer.over, "the carrier")
            piece = bytes(answer.data[self.taken:])
            if not piece:
                raise Cut("the carrier ended")
            self.taken += len(piece)
            self.unpack(piece)

    def unpack(self, piece):
        """WebSocket frames come whole or not; what is incomplete waits."""
        self.rest += piece
        while len(self.rest) >= 2:
            n, at = self.rest[1], 2
            if n == 126:
                n, at = int.from_bytes(self.rest[2:4], "big"), 4
            if len(self.rest) < at + n:
                return
            if self.rest[0] & 15 == 2:
                self.bytes += self.rest[at:at + n]
            self.rest = self.rest[at + n:]

    def until(self, kind):
        while True:
            self.more(4)
            n = int.from_bytes(self.bytes[1:4], "big")
            self.more(4 + n)
            got, payload = self.bytes[0], bytes(self.bytes[4:4 + n])
            del self.bytes[:4 + n]
            self.received += n if got == DATA else 0
            if got == kind:
                return payload

    def lives(self):
        self.send(frame(PING, b"still me"))
        assert self.until(PONG) == b"still me"

    def resumes(self, server):
        """It goes on over another carrier."""
        peer = Peer(server, self.id)
        self.epoch += 1
        peer.send(attach(self.secret, self.epoch, self.received, self.id, ((self.name, "test"),)))
        assert json.loads(peer.until(ATTACHED))["epoch"] == self.epoch
        peer.send(frame(PING, b"still me"))
        assert peer.until(PONG) == b"still me"
        peer.send(frame(CLOSE, struct.pack(">H", 200)))
        peer.visitor.close()

    def leave(self):
        try:
            self.send(frame(CLOSE, struct.pack(">H", 200)))
        except OSError:
            pass


class Ingress(RawVisitor):
    """A connection that brings a carrier and whatever a case asks for. `own`: what a case asks of the origin's /bad it
    asks of the carriers' path instead, with a good token."""

    own = False

    def encode(self, fields):
        if not self.own or not any(x == "/bad" for _, x in fields):
            return super().encode(fields)
        moved = []
        for n, x in fields:
            x = f"/_adit/v1/{'c' * 32}/ws" if x == "/bad" else x
            moved.append((n, x.replace("shop." + DOMAIN, DOMAIN) if isinstance(x, str) else x))
        return super().encode(moved + [("authorization", f"Bearer {TOKENS['alice']}"), ("adit-version", "1")])


def every_other(names):
    """Each name once, now with False, then with True."""
    return [pytest.param(n, i % 2 == 1, id=f"{n}-{i % 2}") for i, n in enumerate(names)]


@pytest.mark.parametrize("name, tls", every_other(CASES))
def test_beside_a_carrier(world, name, tls):
    """A fault of a stream leaves the link where it is; one that ends the connection does not end the link."""
    act, expect = CASES[name]
    beside = Beside(world)
    beside.go.set()
    with Ingress(world.server, tls=tls) as v:
        link = Carried(v.greeted())
        stream = act(v)
        expect.check(v, stream)
        if isinstance(expect, Connection):
            link.resumes(world.server)
        else:
            link.lives()
            link.leave()
            v.ping()
    assert world.fetch().status == 200


ABOUT_PATH = [n for n, (act, expect) in CASES.items() if not isinstance(expect, (Connection, Ignored))]


@pytest.mark.parametrize("name, up", every_other(ABOUT_PATH))
def test_on_the_carrier_path(world, name, up):
    """The same of a request to a carrier's path, with a good token, before there is a carrier and beside one: reset, or
    refused by a status; never a carrier."""
    act, expect = CASES[name]
    Beside(world)
    with Ingress(world.server, tls=up) as v:
        v.greeted()
        link = Carried(v) if up else None
        v.own = True
        stream = act(v)
        answer = v.whole(stream)
        assert answer.status is None or 400 <= answer.status < 500 or answer.status == 501 or "/bad" not in str(
            world.origin.requests), (answer.status, answer.reset)
        if isinstance(expect, Stream) and not expect.seen:
            assert answer.reset in expect.codes
        elif isinstance(expect, (Status, Fine)) and expect.seen is False:
            assert answer.status == expect.status
        v.own = False
        if not up:
            link = Carried(v)  # and then a good one
        link.lives()
        link.leave()
        v.ping()
    assert "/bad" not in [r.target for r in world.origin.requests]


# ---- what the carrier's own stream may meet

OWN = {
    "WINDOW_UPDATE of 0": (PROTOCOL, lambda v, s: v.open_window(s, 0)),
    "window above 2^31-1": (FLOW_CONTROL, lambda v, s: v.open_window(s, (1 << 31) - 1)),
    "RST_STREAM": (None, lambda v, s: v.rst(s, CANCEL)),
    "trailers with a pseudo-header field": (PROTOCOL, lambda v, s: v.trailers(s, [(":path", "/")])),
    "trailers without END_STREAM": (PROTOCOL, lambda v, s: v.head([("x", "1")], end=False, stream=s)),
}


@pytest.mark.parametrize("name", OWN)
def test_fault_on_the_carrier_stream(world, name):
    """The carrier ends by its own fault; its neighbour on the connection and the link do not."""
    code, act = OWN[name]
    with Ingress(world.server) as v:
        link, other = Carried(v.greeted()), Carried(v, "alice-other")
        act(v, link.stream)
        if code is not None:
            v.until(lambda: v.answer(link.stream).over, "the end of the carrier")
            assert v.answer(link.stream).reset == code
        other.lives()
        link.resumes(world.server)
        other.leave()
        v.ping()
