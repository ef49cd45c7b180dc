"""A peer that speaks the link by itself (doc/wire.md): what aditd says to it."""
import json
import struct

import pytest

from harness import TOKENS

DATA, ACK, PING, PONG, HELLO, WELCOME, ATTACH, ATTACHED, DRAIN, CLOSE = range(10)
PREFACE_ANSWER = bytes.fromhex("000000040000000000")  # an HTTP/2 answering side's empty SETTINGS


def frame(kind, payload):
    return bytes([kind]) + len(payload).to_bytes(3, "big") + payload


def hello(name="shop"):
    return frame(HELLO, json.dumps({"version": 1, "agent": "test/1", "client_key": "0" * 32,
                                    "tunnels": [{"name": name, "label": "test"}]}).encode())


class Peer:
    """adit's end of a link over `direct` on the plain listener."""

    def __init__(self, server, link_id="0" * 32, who="alice"):
        self.visitor = server.visit()
        self.visitor.send(f"GET /_adit/v1/{link_id}/direct HTTP/1.1\r\nHost: tunnel.test\r\nConnection: Upgrade\r\n"
                          f"Upgrade: adit\r\nAdit-Version: 1\r\nAuthorization: Bearer {TOKENS[who]}\r\n\r\n".encode())
        assert self.visitor.head().status == 101

    def send(self, data):
        self.visitor.send(data)

    def frame(self):
        head = self.visitor.reader.exactly(4)
        return head[0], self.visitor.reader.exactly(int.from_bytes(head[1:], "big"))

    def until(self, kind):
        """The next frame of that kind; others are passed over."""
        for _ in range(100):
            got, payload = self.frame()
            if got == kind:
                return payload
        raise AssertionError(f"no frame of kind {kind}")

    def close_code(self):
        return struct.unpack(">H", self.until(CLOSE)[:2])[0]

    def welcome(self, name="shop"):
        self.send(hello(name))
        return json.loads(self.until(WELCOME))


@pytest.fixture
def server(own):
    return own.server()


def test_welcome(server):
    """A HELLO is answered by the name, its address, and a secret."""
    welcome = Peer(server).welcome()
    assert welcome["tunnels"][0]["name"] == "shop" and "shop.tunnel.test" in welcome["tunnels"][0]["url"]
    assert len(bytes.fromhex(welcome["secret"])) == 32


def test_ping_is_answered(server):
    """A PING comes back as a PONG with the same eight bytes."""
    peer = Peer(server)
    peer.welcome()
    peer.send(frame(PING, b"12345678"))
    assert peer.until(PONG) == b"12345678"


@pytest.mark.parametrize("name, data", [
    ("unknown type", frame(200, b"")),
    ("long ping", frame(PING, b"123456789")),
    ("empty data", frame(DATA, b"")),
    ("data too long", b"\x00\xff\xff\xff"),
    ("ack of what was never sent", frame(1, (1 << 40).to_bytes(8, "big"))),
    ("http/1.1 instead of http/2", frame(DATA, b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100)),
    ("a second hello", hello("shop")),
])
def test_broken_protocol(server, name, data):
    """What breaks the protocol on a live link gets CLOSE(400), and the name is free at once."""
    peer = Peer(server)
    peer.welcome()
    peer.send(data)
    assert peer.close_code() == 400
    peer.visitor.close()
    server.program.wait_event("link.down")
    assert Peer(server, "1" * 32).welcome()["tunnels"][0]["name"] == "shop"


@pytest.mark.parametrize("data, code", [
    (frame(PONG, b"12345678"), 400),
    (5 * frame(PING, b"12345678"), 400),
    (frame(HELLO, b"{}"), 400),
    (frame(HELLO, b"not json"), 400),
    (hello("bobs"), 403),
    (frame(ATTACH, b"{}"), 410),
])
def test_refused_greetings(server, data, code):
    """A first frame that is none of ours is refused with a code that says why."""
    peer = Peer(server)
    peer.send(data)
    assert peer.close_code() == code


def test_ping_before_the_greeting(server):
    """adit may ask whether a carrier carries before it says who it is."""
    peer = Peer(server)
    peer.send(frame(PING, b"anybody?") + hello()[:9])
    assert peer.until(PONG) == b"anybody?"
    peer.send(hello()[9:])
    assert json.loads(peer.until(WELCOME))["tunnels"][0]["name"] == "shop"


def test_link_id_in_use(server):
    """HELLO with the id of a living link is refused, and that link goes on."""
    first = Peer(server)
    first.welcome()
    second = Peer(server)
    second.send(hello("alice-2"))
    assert second.close_code() == 409
    first.send(frame(PING, b"still me"))
    assert first.until(PONG) == b"still me"
