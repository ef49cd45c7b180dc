"""What an HTTP/2 visitor can write where HTTP/1.1 has lines, spaces and colons: each of BYTES into each place, and
what the origin of HTTP/1.1 may see of it: a request's exact bytes, or nothing. test_injection.py plays CASES.

RFC 9113 sections 8.2.1, 8.2.2 and 8.3.1 and RFC 9110 section 5.5 say what may stand where; doc/http.md where
less may.
"""
from recorder import HOST, wire

BYTES = {
    "CR": "\r", "LF": "\n", "CR LF": "\r\n", "CR LF and a field": "\r\nx-injected: 1",
    "LF and a field": "\nx-injected: 1",
    "a head's end and a request": f"\r\n\r\nGET /injected HTTP/1.1\r\nhost: {HOST}\r\n\r\n",
    "LF LF and a request": f"\n\nGET /injected HTTP/1.1\nhost: {HOST}\n\n",
    "a version and a field": " HTTP/1.1\r\nx-injected: 1\r\nx: ", "NUL": "\0", "0x01": "\1", "VT": "\x0b",
    "FF": "\x0c", "DEL": "\x7f", "space": " ",
    "two spaces": "  ", "tab": "\t", "colon": ":", "8-bit": "\xe9", "0x85": "\x85", "NBSP": "\xa0",
    "CRLF in UTF-8 of 16 bits": "\xc4\x8d\xc4\x8a",
    "overlong LF": "\xc0\x8a", "percent": "%0d%0a", "backslash": "\\r\\n", "comma": ",", "semicolon": ";",
    "quote": '"', "#": "#", "?": "?", "@": "@", "/": "/",
}
LINE_BREAKERS = set("\r\n\0")
CONTROL = {chr(c) for c in range(32)} - {"\t"} | {"\x7f"}
TOKEN = set("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
VISIBLE = {chr(c) for c in range(0x21, 0x7f)}


def value_ok(text):
    """RFC 9113 section 8.2.1, RFC 9110 section 5.5."""
    return not set(text) & CONTROL and text.strip(" \t") == text


def name_ok(text):
    """A token in lower case: RFC 9113 section 8.2.1, RFC 9110 section 5.1."""
    return bool(text) and set(text) <= TOKEN and text == text.lower()


def path_ok(text):
    """RFC 9112 section 3.2.1: it is a request line's target."""
    return text.startswith("/") and set(text) <= VISIBLE - {"#"}


class Case:
    """`fields`: of the request, or of its trailers; `seen`: the bytes that the origin may see, None: not one.
    `cut`: those of a request that must not end."""

    def __init__(self, fields, seen=None, trailers=None, cut=None):
        self.fields, self.seen, self.trailers, self.cut = fields, seen, trailers, cut


CASES = {}


def request(change=(), more=(), method="GET"):
    pseudo = {":method": method, ":scheme": "http", ":path": "/bad", ":authority": HOST, **dict(change)}
    return [(n.encode("latin-1"), v.encode("latin-1")) for n, v in [*pseudo.items(), *more] if v is not None]


def positions(what, text):
    """These bytes before, in and behind a text."""
    middle = len(text) // 2
    return {f"{what} first": lambda b: b + text, f"{what} inside": lambda b: text[:middle] + b + text[middle:],
            f"{what} last": lambda b: text + b}


def place(name, text, make):
    for where, put in positions(name, text).items():
        for what, inserted in BYTES.items():
            CASES[f"{where}: {what}"] = make(put(inserted))


place(":method", "GET",
      lambda t: Case(request({":method": t})))          # none of these makes another method that is known
place(":scheme", "http", lambda t: Case(request({":scheme": t})))         # none is http or https
place(":authority", HOST, lambda t: Case(request({":authority": t})))     # none is a host[:port] with that name
place("host", HOST, lambda t: Case(request({":authority": None}, [("host", t)])))
place("host beside :authority", HOST, lambda t: Case(request(more=[("host", t)])))
place(":path", "/bad", lambda t: Case(request({":path": t}), wire("GET", t) if path_ok(t) else None))
place("name", "x-name",
      lambda t: Case(request(more=[(t, "1")]), wire("GET", "/bad", [(t, "1")]) if name_ok(t) else None))
place("value", "ab",
      lambda t: Case(request(more=[("x-value", t)]), wire("GET", "/bad", [("x-value", t)]) if value_ok(t) else None))
place("cookie", "a=b", lambda t: Case(request(more=[("cookie", "c=d"), ("cookie", t), ("cookie", "e=f")]),
                                      wire("GET", "/bad", [("cookie", f"c=d; {t}; e=f")]) if value_ok(t) else None))
place("content-length", "0", lambda t: Case(request(more=[("content-length", t)])))
place("te", "trailers", lambda t: Case(request(more=[("te", t)])))
# what a visitor says of himself is dropped, when it may stand there at all
for field in ("x-forwarded-for", "adit-visitor"):
    place(field, "ab", lambda t,
          field=field: Case(request(more=[(field, t)]), wire("GET", "/bad") if value_ok(t) else None))


def with_trailers(name, value):
    ok = name_ok(name) and value_ok(value)
    head = wire("POST", "/bad", length="chunked")[:-len("0\r\n\r\n")] + b"2\r\nhi\r\n"
    return Case(request(method="POST"),
                wire("POST", "/bad", length="chunked", body=b"hi", trailers=[(name, value)]) if ok else None,
                trailers=[(name.encode("latin-1"), value.encode("latin-1"))], cut=None if ok else head)


place("trailer's name", "x-sum", lambda t: with_trailers(t, "1"))
place("trailer's value", "ab", lambda t: with_trailers("x-sum", t))


def connect(protocol, path="/bad"):
    pseudo = [(":method", "CONNECT"), (":protocol", protocol), (":scheme", "http"), (":path", path),
              (":authority", HOST)]
    return [(n, v.encode("latin-1")) for n, v in pseudo]


# a name of the registry of upgrade tokens (RFC 8441 section 4): without a version
place(":protocol", "websocket", lambda t: Case(
    connect(t), wire("GET", "/bad", end=f"connection: upgrade\r\nupgrade: {t}\r\n".encode("latin-1"))
    if set(t) <= TOKEN else None))
place(":path of CONNECT", "/bad", lambda t: Case(
    connect("chat", t), wire("GET", t, end=b"connection: upgrade\r\nupgrade: chat\r\n") if path_ok(t) else None))

# ---- fields that mean something to HTTP/1.1

for name, value in (("connection", "x"), ("connection", "content-length"), ("keep-alive", "x"),
                    ("proxy-connection", "x"), ("upgrade", "h2c"),
                    ("transfer-encoding", "chunked"), ("transfer-encoding", "identity"), ("te", "gzip"),
                    ("te", "trailers, gzip"),
                    ("Transfer-Encoding", "chunked"), ("Content-Length", "0"), ("transfer-encoding ", "chunked"),
                    (" transfer-encoding", "chunked"),
                    ("content-length ", "0"), ("host", "other." + HOST), ("host", HOST + ":80"), ("Host", HOST),
                    ("content-length", "5"),
                    (":path", "/injected"), (":authority", HOST), (":status", "200"), (":x", "y")):
    CASES[f"{name!r}: {value!r}"] = Case(request(more=[(name, value)]))
for name, value, left in (("te", "trailers", [("te", "trailers")]), ("host", HOST.upper(), []),
                          ("http2-settings", "AAMAAABk", []), ("proxy-authorization", "x", []),
                          ("content-length", "0", []),
                          ("transfer_encoding", "chunked", [("transfer_encoding", "chunked")]),
                          ("adit-tunnel", "other", []),
                          ("expect", "100-continue", [("expect", "100-continue")]), ("x-real-ip", "203.0.113.9", [])):
    CASES[f"{name!r}: {value!r} may be"] = Case(
        request(more=[(name, value)]), wire("GET", "/bad", left, end=b"connection: te\r\n" if name == "te" else b""))
for what, change in {"absolute-form": {":path": f"http://{HOST}/bad"}, "authority-form": {":path": f"{HOST}:80"},
                     "asterisk": {":path": "*"}, "empty": {":path": ""},
                     "no slash": {":path": "bad"}, "none": {":path": None},
                     "method in lower case": {":method": "get"}, "method PRI": {":method": "PRI"},
                     "method CONNECT with :path": {":method": "CONNECT"}, "scheme ftp": {":scheme": "ftp"},
                     "scheme javascript": {":scheme": "javascript"},
                     "no authority": {":authority": None}, "userinfo": {":authority": f"x@{HOST}"},
                     "two authorities": {":authority": f"{HOST},{HOST}"}}.items():
    CASES[f"pseudo-header field: {what}"] = Case(request(change))
CASES["pseudo-header field: scheme in capitals, https"] = Case(request({":scheme": "https"}), wire("GET", "/bad"))
CASES["asterisk with OPTIONS"] = Case(request({":path": "*"}, method="OPTIONS"), wire("OPTIONS", "*"))
