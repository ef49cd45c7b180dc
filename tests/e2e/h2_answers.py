"""RFC 9113 sections 4 to 8 for who asks: ANSWERS, what an adit that means harm answers with, and what comes of it.

An act says something on a BadAdit about the stream of a visitor's request; the expectation is one of h2_rules.py, as
that end sees it, and the visitor's: 502, an answer that is cut (CUT), or one as it should be (WHOLE).
"""
from h2frames import (
    ACK, CALM, COMPRESSION, CONNECT_PROTOCOL, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM, FLOW_CONTROL,
    FRAME_SIZE, GOAWAY, HEADERS, INITIAL_WINDOW, INTERNAL, MAX_FRAME, NO_ERROR, PADDED, PING, PRIORITISED, PRIORITY,
    PROTOCOL, PUSH_PROMISE, RST_STREAM, SETTINGS, STREAM_CLOSED, WINDOW_UPDATE, raw, setting, u32)
from h2_rules import BIG, Connection, Ignored, Stream

WHOLE, CUT = "whole", "cut"
OK = (":status", "200")
PROTO = Stream(PROTOCOL)
ANSWERS = {}


def answer(name, expect, visitor, act):
    assert name not in ANSWERS, name
    ANSWERS[name] = (act, expect, visitor)


def with_fields(name, expect, visitor, *fields, end=True):
    answer(name, expect, visitor, lambda v, s: v.respond(s, fields, end))


# ---- fields of the answer's head

for name, value in (("connection", "close"), ("keep-alive", "timeout=5"), ("proxy-connection", "keep-alive"),
                    ("transfer-encoding", "chunked"), ("upgrade", "websocket")):
    with_fields(f"connection-specific {name}", PROTO, 502, OK, (name, value))
for what, name in (("upper case", "X-Upper"), ("colon", "x:y"), ("space", "x y"), ("NUL", "x\0y"), ("CR", "x\ry"),
                   ("LF", "x\ny"), ("empty", ""), ("not ASCII", b"x\xe9y")):
    with_fields(f"name: {what}", PROTO, 502, OK, (name, "1"))
for what, value in (("CR", "a\rb"), ("LF", "a\nb"), ("CR LF", "a\r\nx-more: 1\r\n\r\nbody"), ("NUL", "a\0b"),
                    ("space first", " a"), ("tab last", "a\t"), ("control byte", "a\1b")):
    with_fields(f"value: {what}", PROTO, 502, OK, ("x-value", value))
with_fields(":status missing", PROTO, 502, ("x-field", "1"))
with_fields("no field at all", PROTO, 502)
for value in ("", "20", "2000", "abc", "099", "600", "+20", "101"):
    with_fields(f":status: {value!r}", PROTO, 502, (":status", value))
with_fields(":status twice", PROTO, 502, OK, OK)
with_fields(":status behind a field", PROTO, 502, ("x-field", "1"), OK)
for name in (":method", ":path", ":scheme", ":authority", ":foo"):
    with_fields(f"{name} in an answer", PROTO, 502, OK, (name, "/"))

# ---- its body

def body(v, s, fields, *pieces, trailers=None):
    v.respond(s, [OK, *fields])
    for i, piece in enumerate(pieces):
        v.data(s, piece, end=trailers is None and i == len(pieces) - 1)
    if trailers is not None:
        v.trailers(s, trailers)


for value in ("+5", "5, 5", "0x5", "", "18446744073709551621"):
    answer(f"content-length: {value!r}", PROTO, 502,
           lambda v, s, value=value: body(v, s, [("content-length", value)], b"12345"))
answer("content-length twice", PROTO, 502, lambda v, s: body(v, s, [("content-length", "5")] * 2, b"12345"))
answer("less DATA than content-length", PROTO, CUT, lambda v, s: body(v, s, [("content-length", "5")], b"123"))
answer("more DATA than content-length", PROTO, CUT, lambda v, s: body(
    v, s, [("content-length", "5")], b"123", b"HTTP/1.1 200 OK\r\n\r\n"))
with_fields("content-length with END_STREAM on HEADERS", PROTO, 502, OK, ("content-length", "5"))
for status in ("204", "304"):  # to HTTP/1.1 it is complete with its head
    answer(f"a body behind {status}", Ignored(), (WHOLE, CUT), lambda v, s, status=status: (
        v.respond(s, [(":status", status)]), v.data(s, b"HTTP/1.1 200 OK\r\n\r\n", end=True)))
for what, fields in (("pseudo-header field", [(":path", "/")]), (":status", [OK]), ("upper case", [("X-Sum", "1")]),
                     ("connection", [("connection", "close")]), ("LF", [("x-sum", "1\n2")])):
    answer(f"trailers: {what}", PROTO, CUT, lambda v, s, fields=fields: body(v, s, [], b"123", trailers=fields))
answer("trailers without END_STREAM", PROTO, CUT, lambda v, s: (
    v.respond(s), v.data(s, b"123"), v.respond(s, [("x-sum", "1")])))
answer("content-length in trailers", PROTO, CUT, lambda v, s: body(
    v, s, [], b"123", trailers=[("content-length", "9"), ("x-sum", "1")]))

# ---- informational answers

answer("103 with END_STREAM", PROTO, 502, lambda v, s: v.respond(s, [(":status", "103")], end=True))
answer("seventeen 103", PROTO, 502, lambda v, s: [
    v.respond(s, [(":status", "103"), ("link", "</a>")]) for _ in range(17)])
answer("103 behind the final one", PROTO, CUT, lambda v, s: (v.respond(s), v.respond(s, [(":status", "103")])))

# ---- what is too large

answer("40 000 bytes of a field", Stream(INTERNAL), 502, lambda v, s: blocks(v, s, [OK, ("x-big", "b" * 40000)]))
answer("more than 100 fields", Stream(INTERNAL), 502, lambda v, s: v.respond(
    s, [OK, *[(f"x-{i}", "1") for i in range(101)]], end=True))


def blocks(v, s, fields):
    payload = v.encode(fields)
    pieces = [payload[i:i + BIG] for i in range(0, len(payload), BIG)]
    for i, piece in enumerate(pieces):
        last = END_HEADERS if i == len(pieces) - 1 else 0
        v.try_send(raw(CONTINUATION if i else HEADERS, last | (0 if i else END_STREAM), s, piece))


# ---- frames

def ends(name, codes, act, visitor=502):
    """The whole session ends, and the visitor is told that the tunnel failed."""
    answer(name, Connection(*codes), visitor, act)


ends("PUSH_PROMISE", [PROTOCOL], lambda v, s: v.frame(
    PUSH_PROMISE, END_HEADERS, s, u32(2) + v.encode([(":method", "GET"), (":scheme", "https"), (":path", "/"),
                                                     (":authority", v.host)])))
ends("HEADERS on stream 0", [PROTOCOL], lambda v, s: v.respond(0))
ends("HEADERS on an idle stream", [PROTOCOL], lambda v, s: v.respond(s + 1000))
ends("HEADERS on an even stream", [PROTOCOL], lambda v, s: v.respond(2))
ends("DATA on stream 0", [PROTOCOL], lambda v, s: v.data(0, b"x"))
ends("DATA on an idle stream", [PROTOCOL], lambda v, s: v.data(s + 1000, b"x"))
ends("RST_STREAM on stream 0", [PROTOCOL], lambda v, s: v.rst(0))
ends("RST_STREAM on an idle stream", [PROTOCOL], lambda v, s: v.rst(s + 1000))
ends("WINDOW_UPDATE on an idle stream", [PROTOCOL], lambda v, s: v.open_window(s + 1000, 1))
ends("CONTINUATION out of place", [PROTOCOL], lambda v, s: v.frame(CONTINUATION, END_HEADERS, s))
for kind, name, n in ((RST_STREAM, "RST_STREAM", 3), (WINDOW_UPDATE, "WINDOW_UPDATE", 5)):
    ends(f"{name} of {n} bytes", [FRAME_SIZE], lambda v, s, k=kind, n=n: v.frame(k, 0, s, b"\0" * n))
for kind, name, n in ((PING, "PING", 7), (GOAWAY, "GOAWAY", 7), (SETTINGS, "SETTINGS", 5)):
    ends(f"{name} of {n} bytes", [FRAME_SIZE], lambda v, s, k=kind, n=n: v.frame(k, 0, 0, b"\0" * n))
ends("SETTINGS ACK with payload", [FRAME_SIZE], lambda v, s: v.frame(SETTINGS, ACK, 0, setting(4, 1)))
ends("DATA above the largest frame", [FRAME_SIZE], lambda v, s: (v.respond(s), v.data(s, b"x" * (BIG + 1))),
     CUT)
ends("DATA: padding longer than the frame", [PROTOCOL], lambda v, s: (
    v.respond(s), v.frame(DATA, PADDED, s, b"\xff12345")), CUT)
ends("DATA before HEADERS", [PROTOCOL], lambda v, s: v.data(s, b"123", end=True))
for kind, name, payload in ((PING, "PING", b"p" * 8), (GOAWAY, "GOAWAY", u32(0) * 2), (SETTINGS, "SETTINGS", b"")):
    ends(f"{name} on a stream", [PROTOCOL], lambda v, s, k=kind, p=payload: v.frame(k, 0, s, p))
for what, code, number, value in (
        ("ENABLE_PUSH 1", PROTOCOL, ENABLE_PUSH, 1), ("ENABLE_PUSH 2", PROTOCOL, ENABLE_PUSH, 2),
        ("INITIAL_WINDOW_SIZE 2^31", FLOW_CONTROL, INITIAL_WINDOW, 1 << 31),
        ("MAX_FRAME_SIZE 16383", PROTOCOL, MAX_FRAME, BIG - 1),
        ("ENABLE_CONNECT_PROTOCOL 2", PROTOCOL, CONNECT_PROTOCOL, 2)):
    ends(f"SETTINGS: {what}", [code], lambda v, s, n=number, x=value: v.frame(SETTINGS, 0, 0, setting(n, x)))
ends("WINDOW_UPDATE of 0 on the connection", [PROTOCOL], lambda v, s: v.open_window(0, 0))
ends("WINDOW_UPDATE of 0 on a stream", [PROTOCOL], lambda v, s: v.open_window(s, 0))
ends("connection's window above 2^31-1", [FLOW_CONTROL], lambda v, s: v.open_window(0, (1 << 31) - 1))
answer("stream's window above 2^31-1", Stream(FLOW_CONTROL), 502, lambda v, s: v.open_window(s, (1 << 31) - 1))
for what, frame in (("PING", raw(PING, payload=b"p" * 8)), ("an unknown frame", raw(77)), ("DATA", raw(DATA, 0, 1, b"x"))):
    ends(f"{what} in a block", [PROTOCOL], lambda v, s, frame=frame: (
        v.frame(HEADERS, END_STREAM, s, v.encode([OK])), v.send(frame)))
ends("CONTINUATION without end", [None], lambda v, s: (  # no GOAWAY; CLOSE says it
    v.frame(HEADERS, END_STREAM, s, v.encode([OK])), [v.try_send(raw(CONTINUATION, 0, s)) for _ in range(1000)]))
for what, block in (("an index that nothing has", b"\xff\xff\x03"), ("index 0", b"\x80"),
                    ("cut in the middle", b"\x88\x00\x05x-a"), ("a table above our limit", b"\x3f\xe1\xff\x7f\x88")):
    ends(f"HPACK: {what}", [COMPRESSION], lambda v, s, b=block: v.frame(HEADERS, END_HEADERS | END_STREAM, s, b))

# ---- what nghttp2 lets pass, here as at origins; nothing comes of it

def ended(v, s):
    v.respond(s, end=True)
    v.ping()


answer("DATA behind END_STREAM", Ignored(), WHOLE, lambda v, s: (ended(v, s), v.data(s, b"x", end=True)))
answer("HEADERS behind END_STREAM", Ignored(), WHOLE, lambda v, s: (ended(v, s), v.respond(s, end=True)))
answer("PRIORITY on stream 0", Ignored(), WHOLE, lambda v, s: (
    v.frame(PRIORITY, 0, 0, u32(0) + b"\x10"), v.respond(s, end=True)))
answer("priority in an answer", Ignored(), WHOLE, lambda v, s: v.frame(
    HEADERS, PRIORITISED | END_HEADERS | END_STREAM, s, u32(0) + b"\x20" + v.encode([OK])))
answer("RST_STREAM behind the answer's end", Ignored(), WHOLE, lambda v, s: (ended(v, s), v.rst(s, NO_ERROR)))
answer("RST_STREAM for a code that nobody knows", Ignored(), 502, lambda v, s: v.rst(s, 0x1234))
answer("RST_STREAM within the answer", Ignored(), CUT, lambda v, s: (v.respond(s), v.data(s, b"123"), v.ping(), v.rst(
    s, STREAM_CLOSED)))
