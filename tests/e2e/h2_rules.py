"""RFC 9113 sections 4 to 8, rule by rule: CASES of what a visitor does, and what must come back. test_h2_strict.py
plays them. An act does something on a RawVisitor and returns the stream that it is about (0: the connection).
"""
from h2frames import (
    ACK, CALM, CANCEL, COMPRESSION, CONNECT_PROTOCOL, CONTINUATION, DATA, ENABLE_PUSH, END_HEADERS, END_STREAM,
    FLOW_CONTROL, FRAME_SIZE, GOAWAY, HEADERS, HEADER_TABLE_SIZE, INITIAL_WINDOW, MAX_FRAME, MAX_LIST, MAX_STREAMS,
    NO_PRIORITIES, PADDED, PING, PRIORITISED, PRIORITY, PROTOCOL, PUSH_PROMISE, RST_STREAM, SETTINGS, STREAM_CLOSED,
    WINDOW_UPDATE, raw, setting, u32)
from harness import DOMAIN

BIG = 16384  # bytes of a frame that we take


class Stream:
    """The stream is reset with one of these codes. `seen`: what the origin sees of the request: nothing (False), less
    than all ("cut"), or all of it, for the fault came behind that (True)."""

    def __init__(self, *codes, seen=False):
        self.codes, self.seen = codes, seen

    def check(self, v, stream):
        answer = v.answer(stream)
        # an origin that has seen all of it may have answered before
        v.until(lambda: answer.reset is not None or (answer.ended and self.seen is not True), f"stream {stream}")
        assert answer.reset in self.codes, f"reset {answer.reset}, status {answer.status}"


class Connection:
    """GOAWAY with one of these codes, and the end."""

    seen = False

    def __init__(self, *codes):
        self.codes = codes

    def check(self, v, stream):
        assert v.ended() in self.codes, (v.goaway, v.answer(stream).reset, v.answer(stream).status)


class Status:
    """A whole answer with that status of our own, and the stream ends."""

    seen = False

    def __init__(self, status):
        self.status = status

    def check(self, v, stream):
        answer = v.whole(stream)
        assert (answer.status, answer.reset) in ((self.status, None), (self.status, 0)), (answer.status, answer.reset)


class Fine:
    """It is a request like any other: 200."""

    seen = True

    def check(self, v, stream):
        answer = v.whole(stream)
        assert (answer.status, answer.ended) == (200, True), (answer.status, answer.reset)


class Ignored:
    """Nothing comes of it."""

    seen = False

    def check(self, v, stream):
        v.ping()
        answer = v.answer(stream)
        assert not answer.heads and answer.reset is None, (answer.status, answer.reset)


PROTO = Stream(PROTOCOL)
CASES = {}


def case(name, expect, act):
    assert name not in CASES, name
    CASES[name] = (act, expect)


# ---- fields: a GET with something wrong in it

def get(v, *more, without=(), method="GET", path="/bad"):
    """A request's fields; `more` stand behind them, and what is named in `without` is left out."""
    return [(n, x) for n, x in v.fields(method, path) if n not in without] + list(more)


def with_fields(name, expect, *more, without=()):
    case(name, expect, lambda v: v.head(get(v, *more, without=without)))


for name, value in (("connection", "close"), ("connection", "x-mine"), ("keep-alive", "timeout=5"),
                    ("proxy-connection", "keep-alive"), ("transfer-encoding", "chunked"), ("upgrade", "websocket"),
                    ("te", "gzip"), ("te", "trailers, gzip"), ("te", "")):
    with_fields(f"connection-specific {name}: {value}", PROTO, (name, value))
with_fields("te: trailers", Fine(), ("te", "trailers"))
for what, name in (("upper case", "X-Upper"), ("one upper-case letter", "x-uppeR"), ("colon", "x:y"),
                   ("space", "x y"), ("NUL", "x\0y"), ("CR", "x\ry"), ("LF", "x\ny"), ("control byte", "x\1y"), ("DEL", "x\x7fy"),
                   ("tab", "x\ty"), ("empty", ""), ("not ASCII", b"x\xe9y"), ("bracket", "x[y"), ("comma", "x,y")):
    with_fields(f"name: {what}", PROTO, (name, "1"))
for what, value in (("CR", "a\rb"), ("LF", "a\nb"), ("CR LF", "a\r\nx-more: 1"), ("NUL", "a\0b"),
                    ("space first", " a"), ("space last", "a "), ("tab first", "\ta"), ("tab last", "a\t"), ("space only", " "),
                    ("control byte", "a\1b"), ("DEL", "a\x7fb"), ("LF first", "\na"), ("CR last", "a\r")):
    with_fields(f"value: {what}", PROTO, ("x-value", value))
with_fields("value: not ASCII", Fine(), ("x-value", b"a\xe9b"))
with_fields("value: empty", Fine(), ("x-value", ""))
with_fields("value: tab inside", Fine(), ("x-value", "a\tb"))

# ---- pseudo-header fields

for name in (":method", ":scheme", ":path"):
    with_fields(f"{name} missing", PROTO, without=(name,))
    case(f"{name} empty", PROTO, lambda v, name=name: v.head([(n, "" if n == name else x) for n, x in get(v)]))
for name in (":method", ":scheme", ":path", ":authority"):
    case(f"{name} twice", PROTO, lambda v, name=name: v.head(
        [(name, dict(get(v))[name])] + get(v)))
    case(f"{name} behind a field", PROTO, lambda v, name=name: v.head(
        get(v, ("x-field", "1"), (name, dict(get(v))[name]), without=(name,))))
case("unknown pseudo-header field", PROTO, lambda v: v.head([(":foo", "1")] + get(v)))
case(":status in a request", PROTO, lambda v: v.head([(":status", "200")] + get(v)))
case("a colon alone as name", PROTO, lambda v: v.head([(":", "1")] + get(v)))
case(":Method in upper case", PROTO, lambda v: v.head([(":Method", "GET")] + get(v, without=(":method",))))
with_fields("no host at all", PROTO, without=(":authority",))
case(":authority empty", PROTO, lambda v: v.head([(n, "" if n == ":authority" else x) for n, x in get(v)]))
case("Host alone", Fine(), lambda v: v.head(get(v, ("host", v.host), without=(":authority",))))
case("Host equals :authority", Fine(), lambda v: v.head(get(v, ("host", v.host.upper()))))
with_fields("Host differs from :authority", PROTO, ("host", "files." + DOMAIN))
case("Host with a port that :authority has not", PROTO, lambda v: v.head(get(v, ("host", v.host + ":80"))))
case("Host differs, and stands before :authority", PROTO, lambda v: v.head(
    get(v, ("host", "files." + DOMAIN), (":authority", v.host), without=(":authority",))))
with_fields("Host empty beside :authority", PROTO, ("host", ""))
case("Host twice", PROTO, lambda v: v.head(get(v, ("host", v.host), ("host", v.host), without=(":authority",))))
case("Host twice, unlike", PROTO, lambda v: v.head(
    get(v, ("host", v.host), ("host", "files." + DOMAIN), without=(":authority",))))


def with_pseudo(what, expect, name, value):
    case(what, expect, lambda v: v.head(
        [(n, value if n == name else x) for n, x in get(v)]))


for what, expect, value in (
        ("userinfo", Status(400), "user@shop." + DOMAIN), ("user and password", Status(400), "u:p@shop." + DOMAIN),
        ("a path", PROTO, "shop." + DOMAIN + "/x"), ("a space", PROTO, "shop." + DOMAIN + " x"),
        ("a list", Status(400), f"shop.{DOMAIN},files.{DOMAIN}"), ("port 0", Status(400), f"shop.{DOMAIN}:0"),
        ("port 65536", Status(400), f"shop.{DOMAIN}:65536"), ("a port that is none", Status(400), f"shop.{DOMAIN}:x"),
        ("CR LF", PROTO, f"shop.{DOMAIN}\r\nx: y"), ("NUL", PROTO, f"shop.{DOMAIN}\0")):
    with_pseudo(f":authority: {what}", expect, ":authority", value)
for what, expect, value in (
        ("no slash first", PROTO, "bad"), ("absolute-form", PROTO, f"http://shop.{DOMAIN}/bad"),
        ("asterisk with GET", PROTO, "*"), ("space", PROTO, "/bad x"), ("fragment", Status(400), "/bad#x"),
        ("CR LF", PROTO, "/bad\r\nx: y"), ("NUL", PROTO, "/bad\0"), ("not ASCII", Status(400), b"/bad\xe9"),
        ("DEL", PROTO, "/bad\x7f")):
    with_pseudo(f":path: {what}", expect, ":path", value)
for what, expect, value in (
        ("unknown", Status(501), "BREW"), ("lower case", Status(501), "get"), ("PRI", Status(501), "PRI"),
        ("space", PROTO, "GET /"), ("CR LF", PROTO, "GET\r\n"), ("NUL", PROTO, "GET\0")):
    with_pseudo(f":method: {what}", expect, ":method", value)
for what, expect, value in (("ftp", Status(400), "ftp"), ("a colon", PROTO, "http:"), ("a space", PROTO, "ht tp"),
                            ("digit first", PROTO, "1http")):
    with_pseudo(f":scheme: {what}", expect, ":scheme", value)
case("OPTIONS *", Fine(), lambda v: v.head(get(v, method="OPTIONS", path="*")))

# ---- content-length against DATA

def post(v, *more):
    return get(v, *more, method="POST")


def body(v, fields, *pieces, trailers=None):
    """A request with DATA frames, the last of which ends the stream unless trailers do."""
    stream = v.head(post(v, *fields), end=False)
    for i, piece in enumerate(pieces):
        v.data(stream, piece, end=trailers is None and i == len(pieces) - 1)
    if trailers is not None:
        v.trailers(stream, trailers)
    return stream


for value in ("+5", "-5", "5, 5", "5,5", "5;5", "0x5", "5.0", "5 5", "", "five", "18446744073709551616",
              "9223372036854775808", "18446744073709551620"):
    case(f"content-length: {value!r}", PROTO, lambda v, value=value: body(v, [("content-length", value)], b"12345"))
case("content-length with END_STREAM on HEADERS", PROTO, lambda v: v.head(post(v, ("content-length", "5"))))
case("content-length: 0 with END_STREAM on HEADERS", Fine(), lambda v: v.head(post(v, ("content-length", "0"))))
case("content-length twice, alike", PROTO, lambda v: body(v, [("content-length", "5")] * 2, b"12345"))
case("content-length twice, unlike", PROTO, lambda v: body(
    v, [("content-length", "5"), ("content-length", "6")], b"12345"))
case("content-length met", Fine(), lambda v: body(v, [("content-length", "5")], b"123", b"45"))
case("content-length met, leading zeros", Fine(), lambda v: body(v, [("content-length", "005")], b"12345"))
CUT = Stream(PROTOCOL, seen="cut")
case("less DATA than content-length", CUT, lambda v: body(v, [("content-length", "5")], b"123"))
case("more DATA than content-length", CUT, lambda v: body(v, [("content-length", "5")], b"123", b"4567"))
case("more DATA than content-length, at once", CUT, lambda v: body(v, [("content-length", "5")], b"1234567"))
case("DATA where content-length is 0", Stream(PROTOCOL, seen=True),  # by then the origin has all of it
     lambda v: body(v, [("content-length", "0")], b"1"))
case("less DATA than content-length, and trailers", CUT, lambda v: body(
    v, [("content-length", "5")], b"123", trailers=[("x-sum", "1")]))
case("empty DATA ends less than content-length", CUT, lambda v: body(v, [("content-length", "5")], b"123", b""))

# ---- trailers

for what, fields in (("pseudo-header field", [(":path", "/bad")]), (":status", [(":status", "200")]),
                     ("upper case", [("X-Sum", "1")]), ("connection", [("connection", "close")]),
                     ("transfer-encoding", [("transfer-encoding", "chunked")]), ("LF", [("x-sum", "1\n2")]),
                     ("blank last", [("x-sum", "1 ")]), ("empty name", [("", "1")])):
    case(f"trailers: {what}", CUT, lambda v, fields=fields: body(v, [], b"123", trailers=fields))
case("trailers", Fine(), lambda v: body(v, [], b"123", trailers=[("x-sum", "1")]))
case("trailers without fields", Fine(), lambda v: body(v, [], b"123", trailers=[]))


def unended_trailers(v):
    stream = v.head(post(v), end=False)
    v.data(stream, b"123")
    return v.head([("x-sum", "1")], end=False, stream=stream)


case("trailers without END_STREAM", CUT, unended_trailers)

# ---- CONNECT

def connect(v, *fields):
    return [(":method", "CONNECT"), *fields]


SCHEME, PATH = (":scheme", "http"), (":path", "/bad")
AUTHORITY, WEBSOCKET = (":authority", "shop." + DOMAIN), (":protocol", "websocket")
case("CONNECT", Status(501), lambda v: v.head(connect(v, (":authority", f"shop.{DOMAIN}:443")), end=False))
case("CONNECT with END_STREAM", Status(501), lambda v: v.head(connect(v, (":authority", f"shop.{DOMAIN}:443"))))
case("CONNECT with :path", PROTO, lambda v: v.head(connect(v, AUTHORITY, PATH), end=False))
case("CONNECT with :scheme", PROTO, lambda v: v.head(connect(v, AUTHORITY, SCHEME), end=False))
case("CONNECT with both", PROTO, lambda v: v.head(connect(v, AUTHORITY, SCHEME, PATH), end=False))
case("CONNECT without :authority", PROTO, lambda v: v.head(connect(v), end=False))
case("extended CONNECT without :path", PROTO, lambda v: v.head(connect(v, WEBSOCKET, SCHEME, AUTHORITY), end=False))
case("extended CONNECT without :scheme", PROTO, lambda v: v.head(connect(v, WEBSOCKET, PATH, AUTHORITY), end=False))
case("extended CONNECT without :authority", PROTO, lambda v: v.head(connect(v, WEBSOCKET, SCHEME, PATH), end=False))
case("extended CONNECT, Host for :authority", PROTO, lambda v: v.head(
    connect(v, WEBSOCKET, SCHEME, PATH, ("host", "shop." + DOMAIN)), end=False))
case("extended CONNECT, :protocol empty", PROTO, lambda v: v.head(
    connect(v, (":protocol", ""), SCHEME, PATH, AUTHORITY), end=False))
case("extended CONNECT, :protocol no token", Status(400), lambda v: v.head(
    connect(v, (":protocol", "web socket"), SCHEME, PATH, AUTHORITY), end=False))
case("extended CONNECT, :protocol a list behind a dash", Status(400), lambda v: v.head(
    connect(v, (":protocol", "foo-,websocket"), SCHEME, PATH, AUTHORITY), end=False))
case("extended CONNECT, :protocol twice", PROTO, lambda v: v.head(
    connect(v, WEBSOCKET, WEBSOCKET, SCHEME, PATH, AUTHORITY), end=False))
case("extended CONNECT with content-length", Status(400), lambda v: v.head(
    connect(v, WEBSOCKET, SCHEME, PATH, AUTHORITY, ("content-length", "5")), end=False))
case("extended CONNECT with content-length 0", Status(400), lambda v: v.head(
    connect(v, WEBSOCKET, SCHEME, PATH, AUTHORITY, ("content-length", "0")), end=False))
case("extended CONNECT with END_STREAM", Status(400), lambda v: v.head(
    connect(v, WEBSOCKET, SCHEME, PATH, AUTHORITY)))
case(":protocol with GET", PROTO, lambda v: v.head([WEBSOCKET] + get(v)))

# ---- limits

with_fields("more than 100 fields", Status(431), *[(f"x-{i}", "1") for i in range(101)])
with_fields("cookie crumbs count", Status(431), *[("cookie", f"c{i}=1") for i in range(120)])


def blocks(v, payload, flags=END_STREAM, stream=None):
    """A field block in as many frames as it takes."""
    stream = v.new_stream() if stream is None else stream
    pieces = [payload[i:i + BIG] for i in range(0, len(payload), BIG)] or [b""]
    for i, piece in enumerate(pieces):
        last = END_HEADERS if i == len(pieces) - 1 else 0
        v.try_send(raw(CONTINUATION if i else HEADERS, last | (0 if i else flags), stream, piece))
    return stream


case("40 000 bytes of a field", Status(431), lambda v: blocks(v, v.encode(get(v, ("x-big", "b" * 40000)))))
case("70 000 bytes of fields", Status(431), lambda v: blocks(
    v, v.encode(get(v, *[(f"x-{i}", "b" * 7000) for i in range(10)]))))
case("300 000 bytes of fields", Connection(CALM), lambda v: blocks(
    v, v.encode(get(v, *[(f"x-{i}", "b" * 10000) for i in range(30)]))))


def huge_trailers(v):
    stream = v.head(post(v), end=False)
    v.data(stream, b"123")
    return blocks(v, v.encode([("x-big", "b" * 40000)]), stream=stream)


case("40 000 bytes of trailers", Stream(CALM, seen="cut"), huge_trailers)

# ---- streams and their numbers

def open_post(v):
    """A request that has begun, and its first DATA."""
    stream = v.head(v.fields("POST", "/open"), end=False)
    v.data(stream, b"123")
    return stream


def done(v):
    """A stream that has ended both ways."""
    stream = v.ask(path="/open")
    v.whole(stream)
    return stream


def on_next(kind, flags=0, payload=b"", at=2):
    """A frame on a stream that is idle."""
    return lambda v: v.frame(kind, flags, v.next_id + at, payload) or v.next_id + at


def request_on(stream):
    return lambda v: v.head(get(v), stream=stream if stream >= 0 else v.next_id + 1) and 0


def with_post(kind, flags=0, payload=b"", more=b""):
    """A frame on a stream whose request is under way."""
    def act(v):
        stream = open_post(v)
        v.frame(kind, flags, stream, payload)
        if more:
            v.send(more)
        return stream
    return act


def on_done(kind, flags=0, payload=b""):
    """A frame on a stream that has ended."""
    def act(v):
        stream = done(v)
        v.answer(stream).heads.clear()
        v.frame(kind, flags, stream, payload)
        return stream
    return act


def half_closed(kind, flags=0, payload=None):
    """A frame on a stream whose request has ended, and that the origin has not answered yet."""
    def act(v):
        stream = v.ask(path="/slow")
        v.frame(kind, flags, stream, v.encode([("x-sum", "1")]) if payload is None else payload)
        return stream
    return act


def skipped(v):
    """Stream 5 is opened, then 3."""
    v.new_stream()
    v.whole(v.ask(path="/open"))
    return v.head(get(v), stream=v.next_id - 4)


case("HEADERS on stream 0", Connection(PROTOCOL), request_on(0))
case("HEADERS on an even stream", Connection(PROTOCOL), request_on(-1))
case("HEADERS on a stream that was passed over", Connection(PROTOCOL), skipped)
case("HEADERS on a stream that has ended", Connection(STREAM_CLOSED), lambda v: v.head(
    get(v), stream=done(v)))
case("DATA on stream 0", Connection(PROTOCOL), lambda v: v.frame(DATA, 0, 0, b"x") or 0)
case("DATA on an idle stream", Connection(PROTOCOL), on_next(DATA, payload=b"x"))
case("DATA on an even stream", Connection(PROTOCOL), on_next(DATA, payload=b"x", at=1))
case("RST_STREAM on stream 0", Connection(PROTOCOL), lambda v: v.frame(RST_STREAM, 0, 0, u32(CANCEL)) or 0)
case("RST_STREAM on an idle stream", Connection(PROTOCOL), on_next(RST_STREAM, payload=u32(CANCEL)))
case("WINDOW_UPDATE on an idle stream", Connection(PROTOCOL), on_next(WINDOW_UPDATE, payload=u32(1)))
case("CONTINUATION on stream 0", Connection(PROTOCOL), lambda v: v.frame(CONTINUATION, END_HEADERS, 0) or 0)
case("CONTINUATION on an idle stream", Connection(PROTOCOL), on_next(CONTINUATION, END_HEADERS))
case("PRIORITY on an idle stream", Ignored(), on_next(PRIORITY, payload=u32(0) + b"\x10"))
case("PRIORITY on stream 0", Connection(PROTOCOL), lambda v: v.frame(PRIORITY, 0, 0, u32(0) + b"\x10") or 0)
case("DATA behind END_STREAM", Connection(STREAM_CLOSED), half_closed(DATA, payload=b"x"))
case("HEADERS behind END_STREAM", Connection(STREAM_CLOSED), half_closed(HEADERS, END_HEADERS | END_STREAM))
case("DATA on a stream that has ended", Connection(STREAM_CLOSED), on_done(DATA, payload=b"x"))
case("WINDOW_UPDATE on a stream that has ended", Ignored(), on_done(WINDOW_UPDATE, payload=u32(1)))
case("RST_STREAM on a stream that has ended", Ignored(), on_done(RST_STREAM, payload=u32(CANCEL)))
case("PRIORITY on a stream that has ended", Ignored(), on_done(PRIORITY, payload=u32(0) + b"\x10"))
case("CONTINUATION on a stream that has ended", Connection(PROTOCOL), on_done(CONTINUATION, END_HEADERS))


def after_our_reset(kind):
    """We have reset it for what was wrong in it: what was on its way meanwhile is ignored."""
    def act(v):
        stream = v.head(post(v, ("connection", "close")), end=False)
        v.until(lambda: v.answer(stream).reset is not None)
        v.answer(stream).reset = None
        if kind == DATA:
            v.data(stream, b"x" * 1000, end=True)
        elif kind == HEADERS:
            v.trailers(stream, [("x-sum", "1")])
        else:
            v.frame(kind, 0, stream, u32(1))
        return stream
    return act


case("DATA behind our RST_STREAM", Ignored(), after_our_reset(DATA))
case("trailers behind our RST_STREAM", Ignored(), after_our_reset(HEADERS))
case("WINDOW_UPDATE behind our RST_STREAM", Ignored(), after_our_reset(WINDOW_UPDATE))
case("RST_STREAM behind our RST_STREAM", Ignored(), after_our_reset(RST_STREAM))

# ---- sizes of frames

for kind, name, size in ((PRIORITY, "PRIORITY", 5), (RST_STREAM, "RST_STREAM", 4),
                         (WINDOW_UPDATE, "WINDOW_UPDATE", 4)):
    for n in (size - 1, size + 1, 0):
        expect = Stream(FRAME_SIZE, seen="cut") if kind == PRIORITY else Connection(FRAME_SIZE)
        case(f"{name} of {n} bytes", expect, with_post(kind, payload=b"\0" * n))
for n in (7, 9, 0):
    case(f"PING of {n} bytes", Connection(FRAME_SIZE), lambda v, n=n: v.frame(PING, 0, 0, b"p" * n) or 0)
for n in (0, 7):
    case(f"GOAWAY of {n} bytes", Connection(FRAME_SIZE), lambda v, n=n: v.frame(GOAWAY, 0, 0, b"\0" * n) or 0)
for n in (1, 5, 7):
    case(f"SETTINGS of {n} bytes", Connection(FRAME_SIZE), lambda v, n=n: v.frame(SETTINGS, 0, 0, b"\0" * n) or 0)
case("SETTINGS ACK with payload", Connection(FRAME_SIZE), lambda v: v.frame(SETTINGS, ACK, 0, setting(4, 1)) or 0)
case("DATA above the largest frame", Connection(FRAME_SIZE), with_post(DATA, payload=b"x" * (BIG + 1)))
case("HEADERS above the largest frame", Connection(FRAME_SIZE), lambda v: v.frame(
    HEADERS, END_HEADERS | END_STREAM, v.next_id, v.encode(get(v, ("x-big", "b" * BIG)))) or v.next_id)
case("SETTINGS above the largest frame", Connection(FRAME_SIZE), lambda v: v.frame(
    SETTINGS, 0, 0, setting(200, 0) * 2731) or 0)
case("unknown frame above the largest frame", Connection(FRAME_SIZE), lambda v: v.frame(
    77, 0, 0, b"x" * (BIG + 1)) or 0)
case("DATA of the largest frame", Fine(), lambda v: body(v, [], b"x" * BIG))
case("DATA without a byte", Fine(), lambda v: body(v, [], b"", b"", b"x", b""))

# ---- padding and flags

def padded(v, pad, payload, length=None):
    """DATA whose padding has the wrong length, or the right one."""
    stream = v.head(v.fields("POST", "/open"), end=False)
    v.frame(DATA, PADDED | END_STREAM, stream, bytes([pad if length is None else length]) + payload + b"\0" * pad)
    return stream


case("DATA with padding", Fine(), lambda v: padded(v, 200, b"12345"))
case("DATA that is padding only", Fine(), lambda v: padded(v, 10, b""))
case("DATA: padding as long as the payload", Connection(PROTOCOL), lambda v: padded(v, 0, b"12345", 6))
case("DATA: padding longer than the frame", Connection(PROTOCOL), lambda v: padded(v, 0, b"12345", 200))
case("DATA: padded without a length", Connection(PROTOCOL, FRAME_SIZE), with_post(DATA, PADDED))


def padded_head(length, pad=0):
    def act(v):
        stream = v.new_stream()
        payload = bytes([length]) + v.encode(get(v)) + b"\0" * pad
        v.frame(HEADERS, PADDED | END_HEADERS | END_STREAM, stream, payload)
        return stream
    return act


case("HEADERS with padding", Fine(), padded_head(9, 9))
case("HEADERS: padding longer than the frame", Connection(PROTOCOL), padded_head(255))
case("HEADERS: padded without a length", Connection(PROTOCOL, FRAME_SIZE), lambda v: v.frame(
    HEADERS, PADDED | END_HEADERS | END_STREAM, v.next_id) or v.next_id)
case("HEADERS: priority without its bytes", Connection(PROTOCOL, FRAME_SIZE), lambda v: v.frame(
    HEADERS, PRIORITISED | END_HEADERS | END_STREAM, v.next_id, b"\0\0\0") or v.next_id)


def prioritised(on_itself):
    def act(v):
        stream = v.new_stream()
        v.frame(HEADERS, PRIORITISED | END_HEADERS | END_STREAM, stream,
                u32(stream if on_itself else 0) + b"\x20" + v.encode(get(v)))
        return stream
    return act


case("HEADERS with priority", Fine(), prioritised(False))
case("HEADERS: a stream that depends on itself", Connection(PROTOCOL), prioritised(True))


def priority_on_itself(v):
    stream = open_post(v)
    v.frame(PRIORITY, 0, stream, u32(stream) + b"\x10")
    v.data(stream, b"45", end=True)
    return stream


case("PRIORITY: a stream that depends on itself", Connection(PROTOCOL), priority_on_itself)
case("PRIORITY: an idle stream that depends on itself", Connection(PROTOCOL), lambda v: v.frame(
    PRIORITY, 0, v.next_id, u32(v.next_id) + b"\x10") or 0)
case("unknown flags", Fine(), lambda v: v.frame(HEADERS, 0xd2 | END_HEADERS | END_STREAM, v.new_stream(), v.encode(
    get(v))) or v.next_id - 2)
case("the reserved bit", Fine(), lambda v: v.frame(HEADERS, END_HEADERS | END_STREAM, v.new_stream() | 1 << 31,
                                                   v.encode(get(v))) or v.next_id - 2)

# ---- frames that mean the connection

for kind, name, payload in ((PING, "PING", b"p" * 8), (GOAWAY, "GOAWAY", u32(0) * 2), (SETTINGS, "SETTINGS", b"")):
    case(f"{name} on a stream", Connection(PROTOCOL), with_post(kind, payload=payload))
    case(f"{name} on an idle stream", Connection(PROTOCOL), on_next(kind, payload=payload))
case("PING ACK that answers nothing", Ignored(), lambda v: v.frame(PING, ACK, 0, b"p" * 8) or 0)
case("PUSH_PROMISE", Connection(PROTOCOL), lambda v: v.frame(
    PUSH_PROMISE, END_HEADERS, open_post(v), u32(2) + v.encode(get(v))) or 0)
case("PUSH_PROMISE on stream 0", Connection(PROTOCOL), lambda v: v.frame(
    PUSH_PROMISE, END_HEADERS, 0, u32(2) + v.encode(get(v))) or 0)
for what, expect, number, value in (
        ("ENABLE_PUSH 2", Connection(PROTOCOL), ENABLE_PUSH, 2), ("ENABLE_PUSH 1", Ignored(), ENABLE_PUSH, 1),
        ("ENABLE_PUSH 0", Ignored(), ENABLE_PUSH, 0),
        ("INITIAL_WINDOW_SIZE 2^31", Connection(FLOW_CONTROL), INITIAL_WINDOW, 1 << 31),
        ("INITIAL_WINDOW_SIZE 2^31-1", Ignored(), INITIAL_WINDOW, (1 << 31) - 1),
        ("MAX_FRAME_SIZE 16383", Connection(PROTOCOL), MAX_FRAME, BIG - 1),
        ("MAX_FRAME_SIZE 2^24", Connection(PROTOCOL), MAX_FRAME, 1 << 24),
        ("MAX_FRAME_SIZE 2^24-1", Ignored(), MAX_FRAME, (1 << 24) - 1),
        ("ENABLE_CONNECT_PROTOCOL 2", Connection(PROTOCOL), CONNECT_PROTOCOL, 2),
        ("NO_RFC7540_PRIORITIES 2", Connection(PROTOCOL), NO_PRIORITIES, 2),
        ("HEADER_TABLE_SIZE 0", Ignored(), HEADER_TABLE_SIZE, 0),
        ("HEADER_TABLE_SIZE 2^32-1", Ignored(), HEADER_TABLE_SIZE, (1 << 32) - 1),
        ("MAX_CONCURRENT_STREAMS 0", Ignored(), MAX_STREAMS, 0),
        ("MAX_HEADER_LIST_SIZE 0", Ignored(), MAX_LIST, 0), ("an unknown one", Ignored(), 0x1234, 1 << 31)):
    case(f"SETTINGS: {what}", expect, lambda v, n=number, x=value: v.frame(SETTINGS, 0, 0, setting(n, x)) or 0)
case("SETTINGS: a value out of range behind a good one", Connection(PROTOCOL), lambda v: v.frame(
    SETTINGS, 0, 0, setting(ENABLE_PUSH, 0) + setting(MAX_FRAME, 0)) or 0)


# ---- windows

def overflown_by_settings(v):
    """A stream's window is at 2^31-1 when all windows are raised."""
    stream = v.ask(path="/slow")
    v.open_window(stream, (1 << 31) - 1 - 65535)
    v.frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 65536))
    return stream


case("WINDOW_UPDATE of 0 on the connection", Connection(PROTOCOL), lambda v: v.open_window(0, 0) or 0)
case("WINDOW_UPDATE of 0 on a stream", Stream(PROTOCOL, seen="cut"), with_post(WINDOW_UPDATE, payload=u32(0)))
case("connection's window above 2^31-1", Connection(FLOW_CONTROL), lambda v: v.open_window(0, (1 << 31) - 1) or 0)
case("stream's window above 2^31-1", Stream(FLOW_CONTROL, seen="cut"), with_post(
    WINDOW_UPDATE, payload=u32((1 << 31) - 1)))
case("stream's window above 2^31-1 by SETTINGS", Connection(FLOW_CONTROL), overflown_by_settings)


def beyond_the_window(v):
    """DATA without a look at the window, to an origin that reads nothing: more than the window's most and what the
    sockets on the way hold."""
    stream = v.head(v.fields("POST", "/unread"), end=False)
    for _ in range(2048):
        v.data(stream, b"x" * BIG)
    return stream


case("DATA beyond the stream's window", Stream(FLOW_CONTROL, seen="cut"), beyond_the_window)

# ---- field blocks

def cut_block(*between, count=5, other=0):
    """A request's field block in `count` pieces, with frames between the first two."""
    def act(v):
        stream, block = v.new_stream(), v.encode(get(v))
        size = len(block) // count + 1
        v.frame(HEADERS, END_STREAM, stream, block[:size])
        for frame in between:
            v.try_send(frame)
        for i in range(1, count):
            v.try_send(raw(CONTINUATION, END_HEADERS if i == count - 1 else 0, stream + other,
                           block[i * size:(i + 1) * size]))
        return stream
    return act


case("a block in five frames", Fine(), cut_block())
for what, frame in (("PING", raw(PING, payload=b"p" * 8)), ("SETTINGS", raw(SETTINGS)), ("an unknown frame", raw(77)),
                    ("WINDOW_UPDATE", raw(WINDOW_UPDATE, payload=u32(1))), ("DATA", raw(DATA, 0, 1, b"x")),
                    ("PRIORITY", raw(PRIORITY, 0, 1, u32(0) + b"\x10"))):
    case(f"{what} in a block", Connection(PROTOCOL), cut_block(frame))
case("CONTINUATION of another stream", Connection(PROTOCOL), cut_block(other=2))


def head_in_a_block(v):
    v.frame(HEADERS, END_STREAM, v.new_stream(), v.encode(get(v)))
    return v.head(get(v))


def continued(v):
    stream = v.ask(path="/slow")
    v.frame(CONTINUATION, END_HEADERS, stream, v.encode([("x-more", "1")]))
    return stream


case("HEADERS in a block", Connection(PROTOCOL), head_in_a_block)
case("CONTINUATION behind END_HEADERS", Connection(PROTOCOL), continued)
for what, block in (("an index that nothing has", b"\xff\xff\x03"), ("index 0", b"\x80"),
                    ("cut in the middle", b"\x00\x05x-a"), ("a table above our limit", b"\x3f\xe1\xff\x7f\x82"),
                    ("a table size behind a field", b"\x82\x20"), ("a number that never ends", b"\xff" * 20),
                    ("Huffman code that is none", b"\x00\x81\xff\x01x")):
    case(f"HPACK: {what}", Connection(COMPRESSION), lambda v, block=block: v.frame(
        HEADERS, END_HEADERS | END_STREAM, v.next_id, block) or v.next_id)


# ---- what has no meaning

def unknown_frames(v):
    stream = open_post(v)
    for where in (0, stream, v.next_id + 10, v.next_id + 11):
        v.frame(77, 0xff, where, b"anything")
        v.frame(0x10, 0, where, u32(stream) + b"u=1")
        v.frame(0x0a, 0, where, b"\0\0")
    v.data(stream, b"45", end=True)
    return stream


case("unknown frames", Fine(), unknown_frames)
