"""Responses that are malformed, ambiguous, or lie: CASES, each with what the visitor may see of it, byte by byte, and
whether the origin's connection may be used again. test_bad_origins.py plays them.

What must happen follows from RFC 9110 and 9112, and from doc/http.md where that is stricter.
"""
from smuggling_cases import BAD_LENGTHS, DISGUISES

OK = "HTTP/1.1 200 OK\r\n"
CHUNKED = "Transfer-Encoding: chunked\r\n"
POISON = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned"
PAUSE = "|"  # the origin goes on when the visitor has got what the case says
CASES = {}


class Told:
    """The visitor gets exactly this; his next request is answered. `reuse`: the origin's connection may be used
    again, and is; else it must not be."""

    def __init__(self, wire, reuse=False):
        self.wire, self.reuse = wire.encode("latin-1"), reuse


class Fails:
    """The visitor gets `before` (1xx responses), then adit's own 502 with that error; his next request is answered.
    The origin's connection is not used again."""

    def __init__(self, error="http_protocol_error", before=""):
        self.error, self.before = error, before.encode("latin-1")


class Cut:
    """The visitor gets this, at most `more` besides, and no end: his connection is ended, the origin's too."""

    def __init__(self, wire, more=""):
        self.wire, self.more = wire.encode("latin-1"), more.encode("latin-1")


def case(name, sent, expect, method="GET", end=False):
    """`sent` by the origin, who then ends his side when `end` says so."""
    assert name not in CASES, name
    CASES[name] = (method, sent.encode("latin-1"), expect, end)


def fails(group, cases, **more):
    for name, sent in cases.items():
        case(f"{group}: {name}", sent, Fails(**more))


def told(fields="", body=None, status="200 OK", length=None):
    """A response as aditd writes it: what passes of the fields, then framing. length="chunked": in one chunk."""
    if length == "chunked":
        return f"HTTP/1.1 {status}\r\n{fields}transfer-encoding: chunked\r\n\r\n" + (
            f"{len(body):x}\r\n{body}\r\n" if body else "")
    length = len(body) if body is not None and length is None else length
    return f"HTTP/1.1 {status}\r\n{fields}" + (
        f"content-length: {length}\r\n" if length is not None else "") + "\r\n" + (body or "")


LAST = "0\r\n\r\n"
HI = told(body="hi")

# ---- what is no response at all

fails("status line", {
    "HTTP/0.9's body": "<html>hello</html>\r\n\r\n", "a request": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "nonsense": "nonsense\r\n\r\n",
    "SSH": "SSH-2.0-OpenSSH_9.2\r\n", "SMTP": "220 mail.example ESMTP\r\n", "TLS alert": "\x15\x03\x01\0\x02\x02\x16",
    "HTTP/2 frames": "\0\0\x12\4\0\0\0\0\0",
    "empty line first": f"\r\n{OK}\r\n", "LF first": f"\n{OK}\r\n", "space first": f" {OK}\r\n",
    "NUL first": f"\0{OK}\r\n", "ICY": "ICY 200 OK\r\n\r\n",
    "HTTP/2.0": "HTTP/2.0 200 OK\r\n\r\n", "HTTP/0.9": "HTTP/0.9 200 OK\r\n\r\n",
    "HTTP/1.2": "HTTP/1.2 200 OK\r\n\r\n", "HTTP/2": "HTTP/2 200\r\n\r\n",
    "HTTP/1.10": "HTTP/1.10 200 OK\r\n\r\n", "lower case": "http/1.1 200 OK\r\n\r\n",
    "RTSP": "RTSP/1.0 200 OK\r\n\r\n", "no status": "HTTP/1.1\r\n\r\n",
    "no status but a space": "HTTP/1.1 \r\n\r\n", "two digits": "HTTP/1.1 20 OK\r\n\r\n",
    "four digits": "HTTP/1.1 2000 OK\r\n\r\n", "letters": "HTTP/1.1 OK\r\n\r\n",
    "sign": "HTTP/1.1 +200 OK\r\n\r\n", "minus": "HTTP/1.1 -200 OK\r\n\r\n", "000": "HTTP/1.1 000 X\r\n\r\n",
    "099": "HTTP/1.1 099 X\r\n\r\n",
    "600": "HTTP/1.1 600 X\r\n\r\n", "999": "HTTP/1.1 999 X\r\n\r\n", "two spaces": "HTTP/1.1  200 OK\r\n\r\n",
    "tab": "HTTP/1.1\t200 OK\r\n\r\n",
    "tab behind": "HTTP/1.1 200\tOK\r\n\r\n", "glued": "HTTP/1.1 200OK\r\n\r\n", "LF": "HTTP/1.1 200 OK\n\r\n",
    "LF without reason": "HTTP/1.1 200\n\r\n",
    "CR": "HTTP/1.1 200 OK\rX: y\r\n\r\n", "CR CR LF": "HTTP/1.1 200 OK\r\r\n\r\n",
    "NUL in the reason": "HTTP/1.1 200 O\0K\r\n\r\n",
    "control byte in the reason": "HTTP/1.1 200 O\x1bK\r\n\r\n", "DEL in the reason": "HTTP/1.1 200 O\x7fK\r\n\r\n"})

# ---- fields

fails("field", {
    "obs-fold": f"{OK}X: y\r\n z\r\n\r\n", "obs-fold by a tab": f"{OK}X: y\r\n\tz\r\n\r\n",
    "folded at once": f"{OK} X: y\r\n\r\n",
    "space before the colon": f"{OK}X : y\r\n\r\n", "tab before the colon": f"{OK}X\t: y\r\n\r\n",
    "empty name": f"{OK}: y\r\n\r\n", "no colon": f"{OK}nonsense\r\n\r\n",
    "space in a name": f"{OK}X Y: z\r\n\r\n", "8-bit name": f"{OK}X\xe9: z\r\n\r\n",
    "NUL in a name": f"{OK}X\0: z\r\n\r\n", "colon first": f"{OK}:status: 200\r\n\r\n",
    "NUL": f"{OK}X: a\0b\r\n\r\n", "control byte": f"{OK}X: a\x1b[2Jb\r\n\r\n", "DEL": f"{OK}X: a\x7f\r\n\r\n",
    "CR": f"{OK}X: a\rb\r\n\r\n",
    "CR splits": f"{OK}X: a\rSet-Cookie: b=c\r\n\r\n", "CR CR splits": f"{OK}Location: /x\r\r<script>\r\n\r\n",
    "LF splits": f"{OK}X: a\nSet-Cookie: b=c\r\n\r\n",
    "LF LF splits": f"{OK}X: a\n\n<script>\r\n\r\n", "LF ends the head": f"{OK}\n",
    "LF only": "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "a response in a field": f"{OK}X: a\n{POISON}\r\n\r\n", "Set-Cookie with NUL": f"{OK}Set-Cookie: a\0=b\r\n\r\n",
    "CRLF CRLF in bare CRs": f"{OK}X: a\r\r\n\r\n"})
fails("field", {
    "101 of them": OK + "A: b\r\n" * 101 + "\r\n", "70 000 bytes": f"{OK}X: {'y' * 70000}\r\n\r\n",
    "70 000 bytes of a name": f"{OK}{'y' * 70000}: x\r\n\r\n",
                "70 000 bytes of many": OK + f"X: {'y' * 1000}\r\n" * 70 + "\r\n",
                "70 000 bytes of a reason": f"HTTP/1.1 200 {'y' * 70000}\r\n\r\n"},
      error="http_response_header_section_size")
case("field: 8-bit", f"{OK}X: a\xe9b\r\nContent-Length: 2\r\n\r\nhi", Told(told("x: a\xe9b\r\n", "hi"), reuse=True))
case("field: escapes are text", f"{OK}X: %0d%0aSet-Cookie: a\\r\\nb\r\nContent-Length: 2\r\n\r\nhi",
     Told(told("x: %0d%0aSet-Cookie: a\\r\\nb\r\n", "hi"), reuse=True))
case("field: CRLF in unicode", f"{OK}X: \xe5\x98\x8d\xe5\x98\x8aY: z\r\nContent-Length: 2\r\n\r\nhi",
     Told(told("x: \xe5\x98\x8d\xe5\x98\x8aY: z\r\n", "hi"), reuse=True))
for name, fields, left in (
        ("Connection names one", "Connection: X-Mine\r\nX-Mine: 1\r\nX-Yours: 2\r\n", "x-yours: 2\r\n"),
        ("Connection names Content-Length", "Connection: Content-Length\r\n", ""),
        ("Keep-Alive", "Keep-Alive: timeout=1\r\nProxy-Connection: close\r\n", ""),
        ("Upgrade offered", "Connection: upgrade\r\nUpgrade: h2c\r\n", ""),
        ("adit-*", "Adit-Version: 9\r\nADIT-x: y\r\n", ""), ("Host", "Host: other.example\r\n", ""),
        ("Proxy-Authenticate", "Proxy-Authenticate: Basic\r\n", ""),
        ("HTTP2-Settings", "HTTP2-Settings: AA\r\n", ""),
        ("Set-Cookie twice", "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n", "set-cookie: a=1\r\nset-cookie: b=2\r\n")):
    case(f"field: {name}", f"{OK}{fields}Content-Length: 2\r\n\r\nhi", Told(told(left, "hi"), reuse=True))

# ---- where the body ends

for name, line in DISGUISES.items():
    case(f"TE: {name}", f"{OK}{line}\r\n\r\n2\r\nhi\r\n0\r\n\r\n{POISON}", Fails())
    case(f"TE and CL: {name}", f"{OK}Content-Length: 12\r\n{line}\r\n\r\n2\r\nhi\r\n0\r\n\r\n{POISON}", Fails())
for value in BAD_LENGTHS:
    case(f"CL: {value!r}", f"{OK}Content-Length: {value}\r\n\r\nhi{POISON}", Fails())
fails("framing", {
    "CL and TE": f"{OK}Content-Length: 2\r\n{CHUNKED}\r\n2\r\nhi\r\n0\r\n\r\n",
    "TE and CL": f"{OK}{CHUNKED}Content-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "two CLs": f"{OK}Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "two CLs, alike": f"{OK}Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "space before CL's colon": f"{OK}Content-Length : 2\r\n\r\nhi",
    "TE in HTTP/1.0": f"HTTP/1.0 200 OK\r\n{CHUNKED}\r\n2\r\nhi\r\n0\r\n\r\n",
    "bad CL in 304": "HTTP/1.1 304 X\r\nContent-Length: x\r\n\r\n",
    "two CLs in 204": "HTTP/1.1 204 X\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"})
case("CL as it is", f"{OK}Content-Length: 2\r\n\r\nhi", Told(HI, reuse=True))
case("CL too large, FIN", f"{OK}Content-Length: 5\r\n\r\nhi", Cut(told(length=5) + "hi"), end=True)
case("CL too large, FIN at once", f"{OK}Content-Length: 5\r\n\r\n", Cut(told(length=5)), end=True)
case("CL too small", f"{OK}Content-Length: 2\r\n\r\nhigher", Told(HI))
case("CL too small, a response behind", f"{OK}Content-Length: 2\r\n\r\nhi{POISON}", Told(HI))
case("CL too small, one byte, later", f"{OK}Content-Length: 2\r\n\r\nhi|!", Told(HI))
case("CL 0, a response behind", f"{OK}Content-Length: 0\r\n\r\n{POISON}", Told(told(body="")))
case("a response later that nobody asked for", f"{OK}Content-Length: 2\r\n\r\nhi|{POISON}", Told(HI))
case("a 408 later that nobody asked for",
     f"{OK}Content-Length: 2\r\n\r\nhi|HTTP/1.1 408 X\r\nContent-Length: 0\r\n\r\n", Told(HI))
case("a 1xx later that nobody asked for", f"{OK}Content-Length: 2\r\n\r\nhi|HTTP/1.1 100 Continue\r\n\r\n", Told(HI))
case("CRLF behind", f"{OK}Content-Length: 2\r\n\r\nhi\r\n", Told(HI))
case("neither CL nor TE: until FIN", f"{OK}\r\nhi", Told(told(body="hi", length="chunked") + LAST), end=True)
case("neither, a response behind is body", f"{OK}\r\n{POISON}", Told(told(body=POISON, length="chunked") + LAST),
     end=True)
case("neither, empty", f"{OK}\r\n", Told(told(length="chunked") + LAST), end=True)
case("HTTP/1.0 until FIN", "HTTP/1.0 200 OK\r\n\r\nhi", Told(told(body="hi", length="chunked") + LAST), end=True)
case("HTTP/1.0 with CL", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", Told(HI))
case("HTTP/1.0 kept alive", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
     Told(HI, reuse=True))
case("Connection: close, left open", f"{OK}Connection: close\r\nContent-Length: 2\r\n\r\nhi", Told(HI))
case("Connection: close in odd case among others", f"{OK}Connection: x, CLOSE\r\nContent-Length: 2\r\n\r\nhi",
     Told(HI))
case("204", "HTTP/1.1 204 X\r\n\r\n", Told(told(status="204 No Content"), reuse=True))
case("204 with CL and a body", "HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\nhi", Told(told(status="204 No Content")))
case("204 with CL, the body later", "HTTP/1.1 204 X\r\nContent-Length: 2\r\n\r\n|hi",
     Told(told(status="204 No Content")))
case("204 with chunks", f"HTTP/1.1 204 X\r\n{CHUNKED}\r\n2\r\nhi\r\n0\r\n\r\n", Told(told(status="204 No Content")))
case("204 and a response behind", f"HTTP/1.1 204 X\r\n\r\n{POISON}", Told(told(status="204 No Content")))
case("205 with a body", "HTTP/1.1 205 X\r\nContent-Length: 2\r\n\r\nhi",
     Told(told(status="205 Reset Content", body="hi"), reuse=True))
case("304", "HTTP/1.1 304 X\r\nETag: \"x\"\r\n\r\n",
     Told(told("etag: \"x\"\r\n", status="304 Not Modified"), reuse=True))
case("304 with CL", "HTTP/1.1 304 X\r\nContent-Length: 7\r\n\r\n",
     Told(told(status="304 Not Modified", length=7), reuse=True))
case("304 with CL and a body", "HTTP/1.1 304 X\r\nContent-Length: 2\r\n\r\nhi",
     Told(told(status="304 Not Modified", length=2)))
case("304 with chunks", f"HTTP/1.1 304 X\r\n{CHUNKED}\r\n2\r\nhi\r\n0\r\n\r\n", Told(told(status="304 Not Modified")))
case("304, the body later", "HTTP/1.1 304 X\r\nContent-Length: 2\r\n\r\n|hi",
     Told(told(status="304 Not Modified", length=2)))
case("HEAD", f"{OK}Content-Length: 7\r\n\r\n", Told(told(length=7), reuse=True), "HEAD")
case("HEAD with a body", f"{OK}Content-Length: 2\r\n\r\nhi", Told(told(length=2)), "HEAD")
case("HEAD with a response as body", f"{OK}Content-Length: {len(POISON)}\r\n\r\n{POISON}",
     Told(told(length=len(POISON))), "HEAD")
case("HEAD with a body, later", f"{OK}Content-Length: 2\r\n\r\n|hi", Told(told(length=2)), "HEAD")
case("HEAD with chunks", f"{OK}{CHUNKED}\r\n2\r\nhi\r\n0\r\n\r\n", Told(told()), "HEAD")
case("HEAD with neither", f"{OK}\r\n", Told(told(), reuse=True), "HEAD")

# ---- chunks

for name, bad, more in (
        ("no number", "x\r\n", ""), ("minus", "-1\r\n", ""), ("plus", "+3\r\nabc\r\n", ""),
        ("0x", "0x3\r\nabc\r\n", ""), ("space before", " 3\r\nabc\r\n", ""),
        ("space behind", "3 \r\nabc\r\n", ""), ("underscore", "0_3\r\nabc\r\n", ""),
        ("2^63", "8000000000000000\r\n", ""), ("2^64+3", "10000000000000003\r\nabc\r\n", ""),
        ("bare LF", "3\nabc\r\n", ""), ("bare CR", "3\rabc\r\n", ""), ("CR CR LF", "3\r\r\nabc\r\n", ""),
        ("bare LF in an extension", "3;x\nabc\r\n", ""),
        ("CR in a quoted extension", '3;x="\r"\r\nabc\r\n', ""), ("NUL in an extension", "3;\0\r\nabc\r\n", ""),
        ("long extension", f"3;{'x' * 300}\r\nabc\r\n", ""),
        ("data too long", "3\r\nabcd\r\n0\r\n\r\n", "abc"), ("data too short", "3\r\nab\r\n0\r\n\r\n", "ab\r"),
        ("bare LF behind data", "3\r\nabc\n0\r\n\r\n", "abc"),
        ("no CRLF behind data", "3\r\nabc0\r\n\r\n", "abc"), ("a response for a size", POISON, ""),
        ("empty line", "\r\n0\r\n\r\n", ""),
        ("bare LF in the trailers", "0\r\n\n", ""), ("folded trailer", "0\r\nX: y\r\n z\r\n\r\n", ""),
        ("trailer without a name", "0\r\n: y\r\n\r\n", ""),
        ("trailer splits by LF", "0\r\nX: y\nSet-Cookie: a=b\r\n\r\n", ""),
        ("trailer splits by CR", "0\r\nX: y\rSet-Cookie: a=b\r\n\r\n", ""),
        ("NUL in a trailer", "0\r\nX: \0\r\n\r\n", ""), ("a response as trailers", f"0\r\n{POISON}", ""),
        ("9000 bytes of trailers", f"0\r\nX: {'y' * 9000}\r\n\r\n", ""),
        ("101 trailers", "0\r\n" + "A: b\r\n" * 101 + "\r\n", "")):
    case(f"chunks: {name}", f"{OK}{CHUNKED}\r\n2\r\nhi\r\n|{bad}",
         Cut(told(body="hi", length="chunked"), f"{len(more)}\r\n{more}\r\n" if more else ""))
for name, bad in {"before a size": "", "in a size": "3", "in data": "3\r\n", "behind data": "3\r\n",
                  "before the last CRLF": "0\r\n", "in trailers": "0\r\nX: y\r\n"}.items():
    case(f"chunks: FIN {name}", f"{OK}{CHUNKED}\r\n2\r\nhi\r\n|{bad}", Cut(told(body="hi", length="chunked")),
         end=True)
case("chunks", f"{OK}{CHUNKED}\r\n2;x=y\r\nhi\r\n0\r\n\r\n",
     Told(told(body="hi", length="chunked") + LAST, reuse=True))
case("chunks, a response behind", f"{OK}{CHUNKED}\r\n2\r\nhi\r\n0\r\n\r\n{POISON}",
     Told(told(body="hi", length="chunked") + LAST))
case("chunks, a response behind later", f"{OK}{CHUNKED}\r\n2\r\nhi\r\n0\r\n\r\n|{POISON}",
     Told(told(body="hi", length="chunked") + LAST))
case("chunks: trailers pass, but those that may not be there",
     f"{OK}{CHUNKED}\r\n2\r\nhi\r\n0\r\nContent-Length: 3\r\nSet-Cookie: a=b\r\nLocation: /x\r\n"
     "X-Sum: 1\r\nConnection: close\r\nContent-Type: text/html\r\n\r\n",
     Told(told(body="hi", length="chunked") + "0\r\nx-sum: 1\r\n\r\n", reuse=True))
case("chunks: empty chunk is the last", f"{OK}{CHUNKED}\r\n0\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
     Told(told(length="chunked") + LAST))

# ---- 1xx

CONTINUE, HINTS = "HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
TOLD_HINTS = told("link: x\r\n", status="103 Early Hints")
case("1xx: 100 that nobody asked for", f"{CONTINUE}{OK}Content-Length: 2\r\n\r\nhi", Told(CONTINUE + HI, reuse=True))
case("1xx: 103", f"{HINTS}{OK}Content-Length: 2\r\n\r\nhi", Told(TOLD_HINTS + HI, reuse=True))
case("1xx: 199", f"HTTP/1.1 199 X\r\n\r\n{OK}Content-Length: 2\r\n\r\nhi",
     Told("HTTP/1.1 199 \r\n\r\n" + HI, reuse=True))
case("1xx: sixteen", CONTINUE * 16 + f"{OK}Content-Length: 2\r\n\r\nhi", Told(CONTINUE * 16 + HI, reuse=True))
case("1xx: seventeen", CONTINUE * 17 + f"{OK}Content-Length: 2\r\n\r\nhi", Fails(before=CONTINUE * 16))
case("1xx: with CL", f"HTTP/1.1 103 X\r\nContent-Length: 2\r\n\r\nhi{OK}\r\n", Fails())
case("1xx: with CL, a response as body", f"HTTP/1.1 100 X\r\nContent-Length: {len(POISON)}\r\n\r\n{POISON}", Fails())
case("1xx: with chunks", f"HTTP/1.1 100 X\r\n{CHUNKED}\r\n0\r\n\r\n{OK}\r\n", Fails())
case("1xx: nothing behind", CONTINUE, Fails("http_response_incomplete", CONTINUE), end=True)
case("1xx: nonsense behind", CONTINUE + "\r\n" + OK + "\r\n", Fails(before=CONTINUE))
case("1xx: hop-by-hop fields in it",
     "HTTP/1.1 103 X\r\nConnection: x, close\r\nX: y\r\nUpgrade: h2c\r\n\r\n" + f"{OK}Content-Length: 2\r\n\r\nhi",
     Told(told(status="103 Early Hints") + HI))
for name, fields in (("", "Connection: upgrade\r\nUpgrade: websocket\r\n"),
                     (" to h2c", "Connection: upgrade\r\nUpgrade: h2c\r\n"), (" without fields", ""),
                     (" with CL", "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n"),
                     (" with a choice", "Connection: upgrade\r\nUpgrade: a, b\r\n")):
    case(f"101 that nobody asked for{name}", f"HTTP/1.1 101 X\r\n{fields}\r\n{POISON}", Fails())
case("101 that nobody asked for behind a 1xx",
     f"{HINTS}HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n{POISON}", Fails(before=TOLD_HINTS))

# ---- ends

case("FIN in the status line", "HTTP/1.1 2", Fails("http_response_incomplete"), end=True)
case("FIN in the head", f"{OK}X: y\r\n", Fails("http_response_incomplete"), end=True)
case("FIN before the head's last LF", f"{OK}X: y\r\n\r", Fails("http_response_incomplete"), end=True)
case("FIN without a byte", "", Fails("connection_terminated"), "POST", end=True)
