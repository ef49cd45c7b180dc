"""flood_frames: what attackers send: the bytes of each flood, by name, for who sends them frame by frame and sees
what comes of it (test_floods.py) and for who measures them (test_flood_rows.py)."""
import hpack

from h2frames import (
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, INITIAL_WINDOW, PADDED, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, RawVisitor, raw, setting, u32)
from harness import DOMAIN


def number(i):
    return 2 * i + 1


def asks(v, i, path="/slow", more=(), end=True, method="GET"):
    flags = END_HEADERS | (END_STREAM if end else 0)
    return raw(HEADERS, flags, number(i), v.encode(v.fields(method, path, more)))


CANCELLED = u32(8)


# ---- HTTP/2: what is sent again and again. name -> (what comes first on stream 1, then event(visitor, i))

def nothing(v):
    return 0


def open_stream(v):
    return v.ask("POST", "/slow", end=False)


def all_streams(v):
    """As many as he may have."""
    for _ in range(128):
        v.ask(path="/slow")


def dribbled(v):
    v.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 0))
    v.host = "files." + DOMAIN
    v.headed(v.ask(path="/10m"))


def after(n, event):
    """The event on a stream of its own, behind `n` others."""
    return lambda v, i: event(v, i + n)


FLOODS = {
    "rapid reset": (nothing, lambda v, i: asks(v, i) + raw(RST_STREAM, 0, number(i), CANCELLED)),
    "made you reset: window by 0": (nothing, lambda v, i: asks(v, i) + raw(WINDOW_UPDATE, 0, number(i), u32(0))),
    "made you reset: window too large": (nothing, lambda v, i: asks(v, i) + raw(
        WINDOW_UPDATE, 0, number(i), u32((1 << 31) - 1))),
    "made you reset: a bad field": (nothing, lambda v, i: asks(v, i, more=[("X-Bad", "1")])),
    "made you reset: a wrong length": (nothing, lambda v, i: asks(
        v, i, more=[("content-length", "1")], end=False, method="POST") + raw(DATA, END_STREAM, number(i), b"12")),
    "made you reset: a stream too many": (all_streams, after(128, lambda v, i: asks(v, i))),
    "PING": (nothing, lambda v, i: raw(PING, 0, 0, b"p" * 8)),
    "SETTINGS": (nothing, lambda v, i: raw(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 65535))),
    "empty DATA": (open_stream, lambda v, i: raw(DATA, 0, 1)),
    "empty DATA with padding": (open_stream, lambda v, i: raw(DATA, PADDED, 1, b"\0")),
    "WINDOW_UPDATE of the connection": (nothing, lambda v, i: raw(WINDOW_UPDATE, 0, 0, u32(1))),
    "WINDOW_UPDATE of a stream": (open_stream, lambda v, i: raw(WINDOW_UPDATE, 0, 1, u32(1))),
    "a window opened byte by byte": (dribbled, lambda v, i: raw(WINDOW_UPDATE, 0, 1, u32(1))),
    "PRIORITY": (nothing, lambda v, i: raw(PRIORITY, 0, number(i), u32(0) + b"\1")),
    "unknown frames": (nothing, lambda v, i: raw(0x77, 0, 0, b"?")),
    "GOAWAY": (open_stream, lambda v, i: raw(GOAWAY, 0, 0, u32(0) + u32(0))),
}


def large_block(v, *fields):
    """A field block in HEADERS and eight CONTINUATION: `fields`, and then as many times as fit the newest entry of
    the table (index 62), one byte each."""
    block = v.encode(v.fields()) + b"".join(fields)
    block += b"\xbe" * (9 * 16384 - len(block))
    parts = [block[i:i + 16384] for i in range(0, len(block), 16384)]
    return [raw(HEADERS, END_STREAM, 1, parts[0]), *(raw(CONTINUATION, END_HEADERS if p is parts[-1] else 0, 1, p)
                                                      for p in parts[1:])]


def literal(name, value):
    """A field that goes into the table."""
    length = bytes([len(value)]) if len(value) < 127 else b"\x7f" + varint(len(value) - 127)
    return b"\x40" + bytes([len(name)]) + name + length + value


def varint(n):
    out = bytearray()
    while n >= 128:
        out.append(n % 128 + 128)
        n //= 128
    return bytes(out) + bytes([n])


BLOCKS = {
    "HPACK bomb": lambda v: large_block(v, literal(b"x-bomb", b"b" * 4000)),
    "cookie crumbs": lambda v: large_block(v, literal(b"cookie", b"")),
    "nine CONTINUATION": lambda v: [raw(HEADERS, 0, 1, v.encode(v.fields())), *(raw(
        CONTINUATION, 0, 1, v.encode([(f"x-{i}", "1")])) for i in range(9))],
    "empty CONTINUATION": lambda v: [raw(HEADERS, 0, 1, v.encode(v.fields())), *([raw(CONTINUATION, 0, 1)] * 5000)],
    "SETTINGS of 2700 entries": lambda v: [raw(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 65535) * 2700)],
}


# ---- carriers, with a good token

def ws_frame(first, payload=b"", masked=True, length=None):
    n = len(payload) if length is None else length
    size = bytes([n | masked << 7]) if n < 126 else bytes([127 | masked << 7]) + n.to_bytes(8, "big")
    return bytes([first]) + size + (bytes(4) if masked else b"") + payload


CARRIERS = {
    "without mask": ws_frame(0x82, b"x" * 100, masked=False),
    "a reserved bit": ws_frame(0xc2, b"x" * 100),
    "a length of 2^63": ws_frame(0x82, length=1 << 63),
    "a frame that does not end": ws_frame(0x82, b"\xff" * 1000, length=1 << 62),
    "a fragment of nothing": ws_frame(0x80, b"x"),
    "fragments that bring nothing": ws_frame(2) + ws_frame(0) * 2000,
    "PING": ws_frame(0x89, b"p" * 100),
    "PONG": ws_frame(0x8a, b"p" * 100),
    "PING of 126 bytes": ws_frame(0x89, b"p" * 126),
    "empty messages": ws_frame(0x82),
}


# ---- the same as bytes

class Script(RawVisitor):
    """A visitor who only notes what he would send."""

    def __init__(self, name="shop", settings=b""):
        self.out = bytearray()
        self.sock = self
        self.host, self.scheme = f"{name}.{DOMAIN}", "http"
        self.encoder = hpack.Encoder()
        self.settings, self.windows, self.next_id = {}, {0: 65535}, 1
        self.sendall(PREFACE + raw(SETTINGS, payload=settings))

    def sendall(self, data):
        self.out += data

    def headed(self, stream, count=1):
        """He does not wait for it."""


def script(prepare, event, events):
    """What is sent first, and so many events."""
    v = Script()
    prepare(v)
    first = bytes(v.out)
    return first, b"".join(event(v, i) for i in range(events))
