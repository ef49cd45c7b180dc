"""Requests that are malformed, ambiguous, or meant to be understood differently by two who read them: CASES, each
with what the visitor must get and which bytes the origin may see. test_smuggling.py plays them.

What must happen follows from RFC 9110 and 9112, and from doc/http.md where that is stricter.
"""
from recorder import HOST, wire

H = f"Host: {HOST}\r\n"
GET = "GET /bad HTTP/1.1\r\n" + H
POST = "POST /bad HTTP/1.1\r\n" + H
CHUNKED = "Transfer-Encoding: chunked\r\n"
NEXT = f"GET /next HTTP/1.1\r\n{H}\r\n"
CASES = {}


class Refused:
    """One answer with that status, and the connection ends; the origin sees nothing, also not what stands behind."""

    def __init__(self, status=400):
        self.status = status


class Passes:
    """It is well-formed: the origin sees these bytes and answers 200; then, unless `last`, those of the next request
    on the connection."""

    def __init__(self, *wires, last=False):
        self.wires, self.last = wires, last


class Breaks:
    """A chunked body that goes wrong behind its first chunk: 400 and the end of the connection; the origin has seen
    head and first chunk, and at most `more` of the body besides, no end of it, and its connection ends."""

    def __init__(self, more=b"", status=400):
        self.more, self.status = more, status


def case(name, sent, expect):
    assert name not in CASES, name
    CASES[name] = (sent.encode("latin-1"), expect)


def refused(group, cases, status=400):
    for name, sent in cases.items():
        case(f"{group}: {name}", sent, Refused(status))


def got(fields=(), target="/bad", **more):
    """A GET as the origin sees it."""
    return wire("GET", target, fields, **more)


# ---- Transfer-Encoding in every disguise, alone, with a length, and beside a good one

# what no reader may take for `chunked`, and some do
DISGUISES = {
    "xchunked": "Transfer-Encoding: xchunked", "chunkedx": "Transfer-Encoding: chunkedx",
    "chunked, identity": "Transfer-Encoding: chunked, identity", "identity": "Transfer-Encoding: identity",
    "gzip, chunked": "Transfer-Encoding: gzip, chunked", "chunked, gzip": "Transfer-Encoding: chunked, gzip",
    "tab behind": "Transfer-Encoding: chunked\t", "gzip": "Transfer-Encoding: gzip", "cow": "Transfer-Encoding: cow",
    "empty": "Transfer-Encoding:",
    "chunked twice": "Transfer-Encoding: chunked, chunked", "comma last": "Transfer-Encoding: chunked,",
    "comma first": "Transfer-Encoding: ,chunked", "parameter": "Transfer-Encoding: chunked;q=1",
    "semicolon": "Transfer-Encoding: chunked;", "double quotes": 'Transfer-Encoding: "chunked"',
    "single quotes": "Transfer-Encoding: 'chunked'", "space inside": "Transfer-Encoding: chun ked",
    "space before the colon": "Transfer-Encoding : chunked", "tab before the colon": "Transfer-Encoding\t: chunked",
    "VT": "Transfer-Encoding: \x0bchunked", "FF": "Transfer-Encoding: chunked\x0c",
    "NUL": "Transfer-Encoding: \0chunked", "NUL behind": "Transfer-Encoding: chunked\0",
    "NUL in the name": "Transfer-Encoding\0: chunked", "NBSP": "Transfer-Encoding: \xa0chunked",
    "0x85": "Transfer-Encoding: chunked\x85", "DEL": "Transfer-Encoding: chunked\x7f",
    "bare CR before": "Transfer-Encoding: \rchunked", "bare CR behind": "Transfer-Encoding: chunked\r",
    "bare LF before": "Transfer-Encoding: \nchunked", "folded": "Transfer-Encoding:\r\n chunked",
    "folded by a tab": "Transfer-Encoding:\r\n\tchunked",
    "folded onto another": "X: y\r\n Transfer-Encoding: chunked",
    "behind a bare LF": "X: y\nTransfer-Encoding: chunked", "behind a bare CR": "X: y\rTransfer-Encoding: chunked",
    "behind CR CR LF": "X: y\r\r\nTransfer-Encoding: chunked", "space first": " Transfer-Encoding: chunked",
    "no colon": "Transfer-Encoding chunked", "quoted name": '"Transfer-Encoding": chunked',
    "8-bit name": "Transfer\xadEncoding: chunked", "Kelvin-like 8-bit value": "Transfer-Encoding: chun\xcbed",
    "two fields": "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "two fields, the other first": "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "two fields, the other last": "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "two fields, one empty": "Transfer-Encoding: chunked\r\nTransfer-Encoding:",
}
# a body that ends for one reader where for the other a request begins
TE_BODY = "1\r\na\r\n0\r\n\r\n"
for name, line in DISGUISES.items():
    case(f"TE: {name}", f"{POST}{line}\r\n\r\n{TE_BODY}", Refused())
    case(f"CL.TE: {name}", f"{POST}Content-Length: {len(TE_BODY)}\r\n{line}\r\n\r\n{TE_BODY}", Refused())
    case(f"TE.CL: {name}", f"{POST}{line}\r\nContent-Length: 1\r\n\r\n{TE_BODY}", Refused())
    case(f"TE.TE: good, then {name}", f"{POST}{CHUNKED}{line}\r\n\r\n{TE_BODY}", Refused())
    case(f"TE.TE: {name}, then good", f"{POST}{line}\r\n{CHUNKED}\r\n{TE_BODY}", Refused())
refused("CL.TE", {
    "plain": f"{POST}Content-Length: 6\r\n{CHUNKED}\r\n0\r\n\r\nG",
    "TE first": f"{POST}{CHUNKED}Content-Length: 4\r\n\r\n0\r\n\r\n",
    "length 0": f"{POST}Content-Length: 0\r\n{CHUNKED}\r\n0\r\n\r\n",
    "on GET": f"{GET}Content-Length: 5\r\n{CHUNKED}\r\n0\r\n\r\n",
    "in capitals": f"{POST}CONTENT-LENGTH: 5\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n",
    "an upgrade besides": f"{GET}Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 5\r\n{CHUNKED}\r\n0\r\n\r\n",
})
refused("TE in HTTP/1.0", {
    "alone": f"POST /bad HTTP/1.0\r\n{H}{CHUNKED}\r\n{TE_BODY}",
    "kept alive": f"POST /bad HTTP/1.0\r\n{H}Connection: keep-alive\r\n{CHUNKED}\r\n{TE_BODY}",
    "with a length": f"POST /bad HTTP/1.0\r\n{H}Content-Length: 3\r\n{CHUNKED}\r\n{TE_BODY}",
})
for name, line in {"odd case": "tRANSFER-eNCODING: cHuNkEd", "white space around": "Transfer-Encoding: \t chunked ",
                   "no white space": "Transfer-Encoding:chunked"}.items():
    case(f"TE that is one: {name}", f"{POST}{line}\r\n\r\n{TE_BODY}",
         Passes(wire("POST", "/bad", length="chunked", body=b"a")))
# a name of its own (RFC 9110 section 5.1); that CGI takes _ for - is for who speaks CGI
case("TE with an underscore is another field", f"{POST}Transfer_Encoding: chunked\r\nContent-Length: 2\r\n\r\nhi",
     Passes(wire("POST", "/bad", [("transfer_encoding", "chunked")], length=2, body=b"hi")))

# ---- Content-Length

BAD_LENGTHS = ("+3", "-3", "-0", "0x3", "3.0", "3e0", "1e1", "3 3", "3, 3", "3,3", "3,4", ",3", "3,", "3;3", '"3"',
               "'3'", "", "  ", "abc",
              "3_0", "3\x0b", "\x0b3", "3\0", "\x003", "3\xa0", "\xb3", "3\r", "\n3", "\xef\xbc\x93",
              "9223372036854775808",
              "18446744073709551616", "18446744073709551619", "4294967296000000000000003", "000-3", "(3)",
              "3 (three)", "NaN")
for value in BAD_LENGTHS:
    case(f"CL: {value!r}", f"{POST}Content-Length: {value}\r\n\r\nabc", Refused())
    case(f"CL: 3, then {value!r}", f"{POST}Content-Length: 3\r\nContent-Length: {value}\r\n\r\nabc", Refused())
    case(f"CL: {value!r}, then 3", f"{POST}Content-Length: {value}\r\nContent-Length: 3\r\n\r\nabc", Refused())
refused("CL", {
    # RFC 9110 section 5.6.3 allows it; whoever trims spaces alone would read no number, so it is no loss
    "tab behind": f"{POST}Content-Length: 3\t\r\n\r\nabc",
    "twice, alike": f"{POST}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "twice, unlike": f"{POST}Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc",
    "0 and the body's": f"{POST}Content-Length: 0\r\nContent-Length: 44\r\n\r\n",
    "twice 0 on GET": f"{GET}Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "in two cases": f"{POST}Content-Length: 3\r\ncONTENT-lENGTH: 4\r\n\r\nabcd",
    "space before the colon": f"{POST}Content-Length : 3\r\n\r\nabc",
    "tab before the colon": f"{POST}Content-Length\t: 3\r\n\r\nabc",
    "folded": f"{POST}Content-Length:\r\n 3\r\n\r\nabc", "folded number": f"{POST}Content-Length: 3\r\n 0\r\n\r\nabc",
    "folded onto another": f"{POST}X: y\r\n Content-Length: 3\r\n\r\nabc",
    "behind a bare LF": f"{POST}X: y\nContent-Length: 3\r\n\r\nabc",
    "behind a bare CR": f"{POST}X: y\rContent-Length: 3\r\n\r\nabc",
    "NUL in the name": f"{POST}Content-Length\0: 3\r\n\r\nabc",
    "first line folded": f"POST /bad HTTP/1.1\r\n Content-Length: 3\r\n{H}\r\nabc",
    "no colon": f"{POST}Content-Length 3\r\n\r\nabc",
})
case("CL: leading zeros", f"{POST}Content-Length: 0003\r\n\r\nabc",
     Passes(wire("POST", "/bad", length=3, body=b"abc")))
case("CL: white space around", f"{POST}Content-Length: \t 3 \r\n\r\nabc",
     Passes(wire("POST", "/bad", length=3, body=b"abc")))
case("CL: underscore is another field", f"{POST}Content_Length: 44\r\nContent-Length: 2\r\n\r\nhi",
     Passes(wire("POST", "/bad", [("content_length", "44")], length=2, body=b"hi")))

# ---- bodies where none is expected, and requests in bodies: a body is a body

INNER = f"GET /inner HTTP/1.1\r\n{H}\r\n"
for method in ("GET", "HEAD", "DELETE", "OPTIONS", "TRACE", "PROPFIND"):
    case(f"CL.0: {method} with a request as body",
         f"{method} /bad HTTP/1.1\r\n{H}Content-Length: {len(INNER)}\r\n\r\n{INNER}",
         Passes(wire(method, "/bad", length=len(INNER), body=INNER.encode())))
case("TE.0: OPTIONS with a request in chunks",
     f"OPTIONS /bad HTTP/1.1\r\n{H}{CHUNKED}\r\n{len(INNER):x}\r\n{INNER}\r\n0\r\n\r\n",
     Passes(wire("OPTIONS", "/bad", length="chunked", body=INNER.encode())))
case("POST without a length has no body", f"{POST}\r\n", Passes(wire("POST", "/bad", length=0)))
case("POST without a length in HTTP/1.0", f"POST /bad HTTP/1.0\r\n{H}\r\nabc",
     Passes(wire("POST", "/bad", length=0), last=True))
case("body of a chunked last chunk", f"{POST}Content-Length: 5\r\n\r\n0\r\n\r\n",
     Passes(wire("POST", "/bad", length=5, body=b"0\r\n\r\n")))
case("chunk data that looks like the last chunk", f"{POST}{CHUNKED}\r\n5\r\n0\r\n\r\n\r\n0\r\n\r\n",
     Passes(wire("POST", "/bad", length="chunked", body=b"0\r\n\r\n")))
case("a request in a body of HTTP/1.0", f"POST /bad HTTP/1.0\r\n{H}Content-Length: {len(INNER)}\r\n\r\n{INNER}",
     Passes(wire("POST", "/bad", length=len(INNER), body=INNER.encode()), last=True))
case("pipelined", f"{GET}\r\n{POST}Content-Length: 2\r\n\r\nhi{POST}{CHUNKED}\r\n{TE_BODY}",
     Passes(got(), wire("POST", "/bad", length=2, body=b"hi"), wire("POST", "/bad", length="chunked", body=b"a")))
case("CRLF behind a body is forgiven", f"{POST}Content-Length: 2\r\n\r\nhi\r\n",
     Passes(wire("POST", "/bad", length=2, body=b"hi")))

# ---- chunks

for name, bad in {
        "no number": "x\r\nabc\r\n", "empty line": "\r\nabc\r\n", "plus": "+3\r\nabc\r\n", "minus": "-3\r\nabc\r\n",
        "0x": "0x3\r\nabc\r\n",
        "\\x": "\\x3\r\nabc\r\n", "h": "3h\r\nabc\r\n", "g": "g\r\nabc\r\n", "quoted": '"3"\r\nabc\r\n',
        "space before": " 3\r\nabc\r\n",
        "space behind": "3 \r\nabc\r\n", "tab before": "\t3\r\nabc\r\n", "tab behind": "3\t\r\nabc\r\n",
        "space before an extension": "3 ;x\r\nabc\r\n", "underscore": "0_3\r\nabc\r\n", "comma": "3,3\r\nabc\r\n",
        "point": "3.0\r\nabc\r\n",
        "2^63": "8000000000000000\r\nabc\r\n", "2^64-1": "ffffffffffffffff\r\nabc\r\n",
        "2^64": "10000000000000000\r\nabc\r\n",
        "2^64+3": "10000000000000003\r\nabc\r\n", "17 digits": "00000000000000003\r\nabc\r\n",
        "many zeros": "0" * 100 + "3\r\nabc\r\n",
        "NUL": "3\0\r\nabc\r\n", "8-bit": "\xb3\r\nabc\r\n", "VT": "3\x0b\r\nabc\r\n", "bare LF": "3\nabc\r\n",
        "bare CR": "3\rabc\r\n",
        "CR CR LF": "3\r\r\nabc\r\n", "LF CR": "3\n\rabc\r\n", "extension alone": ";x\r\nabc\r\n",
        "bare LF ends an extension": "3;x\nabc\r\n", "bare CR in an extension": "3;x\ry\r\nabc\r\n",
        "bare LF in a quoted extension": '3;x="a\nb"\r\nabc\r\n',
        "bare CR in a quoted extension": '3;x="a\rb"\r\nabc\r\n',
        "NUL in an extension": "3;\0\r\nabc\r\n", "DEL in an extension": "3;\x7f\r\nabc\r\n",
        "control in an extension": "3;\x01\r\nabc\r\n",
        "extension of 300 bytes": "3;" + "x" * 300 + "\r\nabc\r\n",
        "extension of 20 000 bytes": "3;" + "x" * 20000 + "\r\nabc\r\n",
        "bare LF, then the last chunk": "0\n\r\n", "last chunk, then bare LF": "0\r\n\n",
        "last chunk minus": "-0\r\n\r\n",
        "last chunk 0x": "0x0\r\n\r\n", "last chunk with a space": "0 \r\n\r\n",
        "last chunk of 17 zeros": "0" * 17 + "\r\n\r\n",
        "a request for a chunk size": INNER}.items():
    case(f"chunk size: {name}", f"{POST}{CHUNKED}\r\n2\r\nhi\r\n" + "|" + bad, Breaks())
for name, bad, more in (
        ("no CRLF", "3\r\nabcX0\r\n\r\n", b"abc"), ("bare LF", "3\r\nabc\n0\r\n\r\n", b"abc"),
        ("bare CR", "3\r\nabc\r0\r\n\r\n", b"abc"),
        ("too long", "3\r\nabcd\r\n0\r\n\r\n", b"abc"), ("too short", "3\r\nab\r\n0\r\n\r\n", b"ab\r"),
        ("two CRLF", "3\r\nabc\r\n\r\n0\r\n\r\n", b"abc"),
        ("LF CR", "3\r\nabc\n\r0\r\n\r\n", b"abc"), ("the next size at once", "3\r\nabc0\r\n\r\n", b"abc")):
    case(f"chunk data: {name}", f"{POST}{CHUNKED}\r\n2\r\nhi\r\n|{bad}", Breaks(more))
for name, bad in {
        "Content-Length with a space": "Content-Length : 3\r\n", "folded": "X: 1\r\n 2\r\n",
        "folded at once": " X: 1\r\n", "bare LF": "X: 1\n",
        "bare CR": "X: 1\r2\r\n", "bare LF hides a field": "X: 1\nY: 2\r\n", "space before the colon": "X : 1\r\n",
        "no colon": "nonsense\r\n",
        "empty name": ": 1\r\n", "NUL in a value": "X: \0\r\n", "NUL in a name": "X\0: 1\r\n",
        "control byte": "X: \x01\r\n", "8-bit name": "X\xe9: 1\r\n",
        "a request": INNER[:-2], "a status line": "HTTP/1.1 200 OK\r\n", "Transfer-Encoding": CHUNKED,
        "Content-Length twice": "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length negative": "Content-Length: -1\r\n"}.items():
    case(f"trailer: {name}", f"{POST}{CHUNKED}\r\n2\r\nhi\r\n|0\r\n{bad}\r\n", Breaks())
for name, status, bad in (("101 fields", 431, "A: b\r\n" * 101), ("9000 bytes", 431, "X: " + "y" * 9000 + "\r\n")):
    case(f"trailer: {name}", f"{POST}{CHUNKED}\r\n2\r\nhi\r\n|0\r\n{bad}\r\n", Breaks(status=status))
for name, sent in {
        "extension": "1;x\r\na\r\n0\r\n\r\n", "extension with a value": "1;x=1\r\na\r\n0;last\r\n\r\n",
        "quoted extension": '1;x=";\\""\r\na\r\n0\r\n\r\n',
        "8-bit extension": "1;x=\xe9\r\na\r\n0\r\n\r\n", "leading zeros": "0001\r\na\r\n000\r\n\r\n",
        "an extension that looks like a size": "1;2\r\na\r\n0\r\n\r\n"}.items():
    case(f"chunks that are well-formed: {name}", f"{POST}{CHUNKED}\r\n{sent}",
         Passes(wire("POST", "/bad", length="chunked", body=b"a")))
# RFC 9110 section 6.5.1: they are dropped, what may stand there passes
for name in ("Content-Length: 3", "Host: other.example", "Authorization: Basic eDp5", "Cookie: a=b",
             "Connection: close",
             "Keep-Alive: timeout=1", "TE: trailers", "Trailer: x", "Upgrade: h2c", "Content-Type: text/html",
             "Content-Encoding: gzip",
             "Content-Range: bytes 0-1/2", "Expect: 100-continue", "Cache-Control: no-store", "Range: bytes=0-1",
             "If-Match: x",
             "X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "X-Real-IP: 203.0.113.9",
             "Adit-Visitor: 203.0.113.9",
             "Proxy-Authorization: x", "Max-Forwards: 1"):
    case(f"trailer is dropped: {name}", f"{POST}{CHUNKED}\r\n1\r\na\r\n0\r\n{name}\r\nX-Sum: 1\r\n\r\n",
         Passes(wire("POST", "/bad", length="chunked", body=b"a", trailers=[("x-sum", "1")])))

# ---- lines and fields

refused("line", {
    "LF only": f"GET /bad HTTP/1.1\nHost: {HOST}\n\n", "LF ends a field": f"{GET}X: 1\nY: 2\r\n\r\n",
    "LF ends the head": f"{GET}\n",
    "LF LF ends the head": f"GET /bad HTTP/1.1\r\nHost: {HOST}\n\n", "CR ends the head": f"{GET}\r\r",
    "CR CR LF ends the head": f"{GET}\r\r\n",
    "LF CR ends a field": f"{GET}X: 1\n\rY: 2\r\n\r\n", "leading LF": f"\n{GET}\r\n", "leading CR": f"\r{GET}\r\n",
    "leading CR CR LF": f"\r\r\n{GET}\r\n", "two empty lines first": f"\r\n\r\n{GET}\r\n",
    "leading space": f" {GET}\r\n",
    "leading tab": f"\t{GET}\r\n", "leading NUL": f"\0{GET}\r\n", "obs-fold": f"{GET}X: 1\r\n 2\r\n\r\n",
    "obs-fold by a tab": f"{GET}X: 1\r\n\t2\r\n\r\n", "obs-fold of nothing": f"{GET}X: 1\r\n \r\n\r\n",
    "first line folded": f"GET /bad HTTP/1.1\r\n {H}\r\n",
    "first line folded, and again": f"GET /bad HTTP/1.1\r\n {H}{H}\r\n",
})
case("line: one empty line first is forgiven", f"\r\n{GET}\r\n", Passes(got()))
refused("name", {
    "space before the colon": f"{GET}X : 1\r\n\r\n", "tab before the colon": f"{GET}X\t: 1\r\n\r\n",
    "space in it": f"{GET}X Y: 1\r\n\r\n",
    "empty": f"{GET}: 1\r\n\r\n", "no colon": f"{GET}X\r\n\r\n", "NUL": f"{GET}X\0Y: 1\r\n\r\n",
    "CR": f"{GET}X\rY: 1\r\n\r\n",
    "DEL": f"{GET}X\x7f: 1\r\n\r\n", "8-bit": f"{GET}X\xe9: 1\r\n\r\n", "control byte": f"{GET}X\x01: 1\r\n\r\n",
    "colon first": f"{GET}:X: 1\r\n\r\n", "pseudo-header field": f"{GET}:path: /x\r\n\r\n",
    "of connection": f"{GET}Connection : close\r\n\r\n",
    **{f"{c} in it": f"{GET}X{c}: 1\r\n\r\n" for c in '()<>@,;\\"/[]?={}'},
})
refused("value", {
    "NUL": f"{GET}X: a\0b\r\n\r\n", "CR": f"{GET}X: a\rb\r\n\r\n", "CR first": f"{GET}X: \rb\r\n\r\n",
    "CR last": f"{GET}X: a\r\r\n\r\n",
    "CR and a field": f"{GET}X: a\rY: b\r\n\r\n", "LF and a request": f"{GET}X: a\n\nGET /inner HTTP/1.1\r\n\r\n",
    "DEL": f"{GET}X: \x7f\r\n\r\n",
    **{f"0x{c:02x}": f"{GET}X: a{chr(c)}b\r\n\r\n" for c in (1, 7, 8, 11, 12, 14, 27, 31)},
})
case("value: 8-bit passes", f"{GET}X: a\xe9\xffb\r\n\r\n", Passes(got([("x", "a\xe9\xffb")])))
case("value: 0x85 and 0xa0 are no white space", f"{GET}X: \x85a\xa0\r\n\r\n", Passes(got([("x", "\x85a\xa0")])))
case("value: tab inside", f"{GET}X:\ta\tb\t\r\n\r\n", Passes(got([("x", "a\tb")])))
case("value: escapes are text", f"{GET}X: %0d%0aY: z\\r\\nA: b\r\n\r\n", Passes(got([("x", "%0d%0aY: z\\r\\nA: b")])))
case("value: empty", f"{GET}X:\r\nY: \t \r\n\r\n", Passes(got([("x", ""), ("y", "")])))
case("value: CRLF in unicode", f"{GET}X: \xe5\x98\x8d\xe5\x98\x8aY: z\r\n\r\n",
     Passes(got([("x", "\xe5\x98\x8d\xe5\x98\x8aY: z")])))
refused("size", {
    "40 000 bytes of a value": f"{GET}X: {'y' * 40000}\r\n\r\n",
    "40 000 bytes of a name": f"{GET}{'y' * 40000}: x\r\n\r\n",
                 "40 000 bytes of a target": f"GET /{'y' * 40000} HTTP/1.1\r\n{H}\r\n",
                 "101 fields": GET + "A: b\r\n" * 101 + "\r\n",
                 "60 000 bytes of fields": GET + f"X: {'y' * 1000}\r\n" * 60 + "\r\n"}, 431)

# ---- Host and target

refused("Host", {
    "none": "GET /bad HTTP/1.1\r\n\r\n", "twice": f"{GET}{H}\r\n",
    "twice, unlike": f"{GET}Host: other.tunnel.test\r\n\r\n",
    "twice, the other first": f"GET /bad HTTP/1.1\r\nHost: other.tunnel.test\r\n{H}\r\n",
    "twice in HTTP/1.0": f"GET /bad HTTP/1.0\r\n{H}{H}\r\n",
    "empty": "GET /bad HTTP/1.1\r\nHost:\r\n\r\n", "empty, and another": f"GET /bad HTTP/1.1\r\nHost:\r\n{H}\r\n",
    "space before the colon": f"GET /bad HTTP/1.1\r\nHost : {HOST}\r\n\r\n",
    "folded": f"GET /bad HTTP/1.1\r\nHost:\r\n {HOST}\r\n\r\n",
    **{name: f"GET /bad HTTP/1.1\r\nHost: {value}\r\n\r\n" for name, value in {
        "a list": f"{HOST}, {HOST}", "space in it": f"{HOST} x", "userinfo": f"x@{HOST}",
        "userinfo behind": f"{HOST}@other.example", "path": f"{HOST}/x",
        "query": f"{HOST}?x", "fragment": f"{HOST}#x", "scheme": f"http://{HOST}", "port 0": f"{HOST}:0",
        "port 65536": f"{HOST}:65536",
        "empty port": f"{HOST}:", "port of letters": f"{HOST}:x", "two ports": f"{HOST}:80:80",
        "signed port": f"{HOST}:+80", "percent": f"{HOST}%00",
        "NUL": f"{HOST}\0.example", "backslash": f"{HOST}\\x", "quote": f'"{HOST}"', "8-bit": f"{HOST}\xe9",
        "tab in it": f"{HOST}\tx",
        "dot first": f".{HOST}", "IPv6 without brackets": "::1", "bracket open": "[::1",
        "name in brackets": f"[{HOST}]"}.items()},
})
refused("target", {
    "no slash": f"GET bad HTTP/1.1\r\n{H}\r\n", "query alone": f"GET ?x HTTP/1.1\r\n{H}\r\n",
    "space in it": f"GET /a b HTTP/1.1\r\n{H}\r\n",
    "tab in it": f"GET /a\tb HTTP/1.1\r\n{H}\r\n", "fragment": f"GET /bad#x HTTP/1.1\r\n{H}\r\n",
    "fragment alone": f"GET #x HTTP/1.1\r\n{H}\r\n",
    "NUL": f"GET /a\0b HTTP/1.1\r\n{H}\r\n", "CR": f"GET /a\rb HTTP/1.1\r\n{H}\r\n",
    "LF": f"GET /a\nb HTTP/1.1\r\n{H}\r\n",
    "control byte": f"GET /a\x01b HTTP/1.1\r\n{H}\r\n", "DEL": f"GET /a\x7fb HTTP/1.1\r\n{H}\r\n",
    "8-bit": f"GET /\xc3\xa9 HTTP/1.1\r\n{H}\r\n",
    "a request line": f"GET /a HTTP/1.1 /b HTTP/1.1\r\n{H}\r\n", "asterisk with GET": f"GET * HTTP/1.1\r\n{H}\r\n",
    "asterisk and more": f"OPTIONS */x HTTP/1.1\r\n{H}\r\n",
    "authority-form with GET": f"GET {HOST}:80 HTTP/1.1\r\n{H}\r\n",
    "absolute-form of another host": f"GET http://other.tunnel.test/ HTTP/1.1\r\n{H}\r\n",
    "absolute-form with a port": f"GET http://{HOST}:80/ HTTP/1.1\r\n{H}\r\n",
    "absolute-form without Host": f"GET http://{HOST}/ HTTP/1.1\r\n\r\n",
    "absolute-form with userinfo": f"GET http://x@{HOST}/ HTTP/1.1\r\n{H}\r\n",
    "absolute-form with user and password": f"GET http://x:y@{HOST}/ HTTP/1.1\r\n{H}\r\n",
    "absolute-form with a fragment": f"GET http://{HOST}/#x HTTP/1.1\r\n{H}\r\n",
    "absolute-form of ftp": f"GET ftp://{HOST}/ HTTP/1.1\r\n{H}\r\n",
    "absolute-form of file": f"GET file:///etc/passwd HTTP/1.1\r\n{H}\r\n",
    "absolute-form of javascript": f"GET javascript:x HTTP/1.1\r\n{H}\r\n",
    "absolute-form with one slash": f"GET http:/{HOST}/ HTTP/1.1\r\n{H}\r\n",
    "absolute-form without authority": f"GET http:///x HTTP/1.1\r\n{H}\r\n",
    "absolute-form with a backslash": f"GET http://{HOST}\\@other.example/ HTTP/1.1\r\n{H}\r\n",
    "backslash first": f"GET \\bad HTTP/1.1\r\n{H}\r\n",
})
case("target: absolute-form", f"GET http://{HOST}/bad?x=y HTTP/1.1\r\n{H}\r\n", Passes(got(target="/bad?x=y")))
case("target: absolute-form in capitals", f"GET HTTP://{HOST}/bad HTTP/1.1\r\n{H}\r\n", Passes(got()))
case("target: absolute-form without a path", f"GET http://{HOST} HTTP/1.1\r\n{H}\r\n", Passes(got(target="/")))
case("target: absolute-form with a query alone", f"GET http://{HOST}?x HTTP/1.1\r\n{H}\r\n",
     Passes(got(target="/?x")))
case("target: asterisk with OPTIONS", f"OPTIONS * HTTP/1.1\r\n{H}\r\n", Passes(wire("OPTIONS", "*")))
for target in ("//other.example/x", "/http://other.example/", "/@other.example", "/..//../etc/passwd",
               "/%2e%2e/%0d%0aX:y", "/a;b?c=d&e=%zz", "/a\\b", "/?x=http://y/"):
    case(f"target: {target} is a path", f"GET {target} HTTP/1.1\r\n{H}\r\n", Passes(got(target=target)))
refused("CONNECT", {
    "with a path": f"CONNECT /x HTTP/1.1\r\n{H}\r\n", "without a port": f"CONNECT {HOST} HTTP/1.1\r\n{H}\r\n",
    "to another host": f"CONNECT other.example:443 HTTP/1.1\r\n{H}\r\n",
    "in absolute-form": f"CONNECT http://{HOST}:80/ HTTP/1.1\r\n{H}\r\n",
    "with a length": f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\nContent-Length: 3\r\n\r\nabc",
    "with chunks": f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n{CHUNKED}\r\n{TE_BODY}"})
refused("CONNECT", {"well-formed": f"CONNECT {HOST}:80 HTTP/1.1\r\nHost: {HOST}:80\r\n\r\n"}, 501)

# ---- method and version

refused("method", {
    "tab behind": f"GET\t/bad HTTP/1.1\r\n{H}\r\n", "two spaces behind": f"GET  /bad HTTP/1.1\r\n{H}\r\n",
    "none": f"/bad HTTP/1.1\r\n{H}\r\n",
    "NUL": f"G\0T /bad HTTP/1.1\r\n{H}\r\n", "8-bit": f"G\xc9T /bad HTTP/1.1\r\n{H}\r\n",
    "parenthesis": f"GET( /bad HTTP/1.1\r\n{H}\r\n",
    "CR in it": f"GE\rT /bad HTTP/1.1\r\n{H}\r\n", "a line alone": f"GET\r\n{H}\r\n"})
refused("method", {
    "lower case": f"get /bad HTTP/1.1\r\n{H}\r\n", "mixed case": f"Get /bad HTTP/1.1\r\n{H}\r\n",
    "unknown": f"BREW /bad HTTP/1.1\r\n{H}\r\n",
    "letter more": f"GETX /bad HTTP/1.1\r\n{H}\r\n", "letter less": f"GE /bad HTTP/1.1\r\n{H}\r\n",
    "PRI": f"PRI /bad HTTP/1.1\r\n{H}\r\n",
    "preface in the middle": "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "RTSP's": f"DESCRIBE /bad HTTP/1.1\r\n{H}\r\n",
    "GET glued to a word": f"0GET /bad HTTP/1.1\r\n{H}\r\n"}, 501)
refused("version", {
    "none (HTTP/0.9)": "GET /bad\r\n\r\n", "none but a space": "GET /bad \r\n\r\n",
    "lower case": f"GET /bad http/1.1\r\n{H}\r\n", "HTTP/2": f"GET /bad HTTP/2\r\n{H}\r\n",
    "HTTP/1.10": f"GET /bad HTTP/1.10\r\n{H}\r\n", "HTTP/01.1": f"GET /bad HTTP/01.1\r\n{H}\r\n",
    "HTTP/1,1": f"GET /bad HTTP/1,1\r\n{H}\r\n",
    "HTTP/1.": f"GET /bad HTTP/1.\r\n{H}\r\n", "HTTP/1.x": f"GET /bad HTTP/1.x\r\n{H}\r\n",
    "HTTP 1.1": f"GET /bad HTTP 1.1\r\n{H}\r\n", "HTTPS": f"GET /bad HTTPS/1.1\r\n{H}\r\n",
    "space behind": f"GET /bad HTTP/1.1 \r\n{H}\r\n", "word behind": f"GET /bad HTTP/1.1 x\r\n{H}\r\n",
    "two spaces before": f"GET /bad  HTTP/1.1\r\n{H}\r\n",
    "tab before": f"GET /bad\tHTTP/1.1\r\n{H}\r\n", "NUL": f"GET /bad HTTP/1.1\0\r\n{H}\r\n",
    "RTSP": f"GET /bad RTSP/1.0\r\n{H}\r\n", "CR CR LF": f"GET /bad HTTP/1.1\r\r\n{H}\r\n"})
refused("version", {v: f"GET /bad HTTP/{v}\r\n{H}\r\n" for v in ("0.9", "1.2", "1.9", "2.0", "3.0", "9.9")}, 505)
case("version: 1.0", f"GET /bad HTTP/1.0\r\n{H}\r\n", Passes(got(), last=True))

# ---- what Connection names, and fields that are ours to set

UPGRADE_H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
for name, fields, left in (
        ("Content-Length", "Connection: Content-Length\r\n", []), ("Host", "Connection: Host\r\n", []),
        ("Transfer-Encoding", "Connection: Transfer-Encoding\r\n", []),
        ("an end-to-end field", "Connection: X-Auth\r\nX-Auth: 1\r\nX-B: 2\r\n", [("x-b", "2")]),
        ("Authorization and Cookie",
         "Connection: authorization, Cookie\r\nAuthorization: x\r\nCookie: a=b\r\nX-B: 2\r\n", [("x-b", "2")]),
        ("X-Forwarded-For", "Connection: X-Forwarded-For, Forwarded, X-Forwarded-Host, X-Forwarded-Proto\r\n", []),
        ("itself", "Connection: Connection\r\nX-B: 2\r\n", [("x-b", "2")]),
        ("nothing", "Connection: ,, ,\r\nX-B: 2\r\n", [("x-b", "2")]),
        ("no token", "Connection: \"x-b\", x b\r\nX-B: 2\r\n", [("x-b", "2")]),
        ("a field in another Connection", "Connection: x\r\nX-B: 2\r\nConnection: X-B\r\nX-C: 3\r\n", [("x-c", "3")]),
        ("Keep-Alive and Proxy-Connection", "Keep-Alive: timeout=1\r\nProxy-Connection: close\r\n", []),
        ("h2c", UPGRADE_H2C, []), ("h2c of a list", "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n", []),
        ("h2c without Connection", "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", []),
        ("Upgrade without Connection", "Upgrade: websocket\r\n", []),
        ("TE", "TE: gzip, deflate;q=0.5\r\n", []),
        ("Proxy-Authorization", "Proxy-Authorization: Basic eDp5\r\n", [])):
    for how, head, body, more in (("GET", GET, "", {}),
                                  ("POST", POST + "Content-Length: 2\r\n", "hi", {"length": 2, "body": b"hi"})):
        case(f"hop-by-hop: {name}, {how}", f"{head}{fields}\r\n{body}", Passes(wire(how, "/bad", left, **more)))
case("hop-by-hop: Transfer-Encoding that is one", f"{POST}Connection: Transfer-Encoding\r\n{CHUNKED}\r\n{TE_BODY}",
     Passes(wire("POST", "/bad", length="chunked", body=b"a")))
case("hop-by-hop: close", f"{GET}Connection: close\r\n\r\n", Passes(got(), last=True))
case("hop-by-hop: close in odd case among others", f"{GET}Connection: x, ClOsE\r\n\r\n", Passes(got(), last=True))
case("hop-by-hop: TE trailers", f"{GET}TE: gzip, Trailers\r\n\r\n",
     Passes(got([("te", "Trailers")], end=b"connection: te\r\n")))
refused("hop-by-hop", {"33 options in Connection": f"{GET}Connection: {','.join('a' * 33)}\r\n\r\n"})
for line in ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-For: 127.0.0.1, 203.0.113.9", "X-Forwarded-Proto: https",
             "X-Forwarded-Host: other.tunnel.test",
             "X-Forwarded-Port: 443", "X-Forwarded-Server: x", "X-Forwarded-Anything: x",
             "Forwarded: for=203.0.113.9", 'Forwarded: for="[::1]";proto=https',
             "X-Real-IP: 203.0.113.9", "Adit-Tunnel: other", "Adit-Visitor: 203.0.113.9", "Adit-Version: 9",
             "ADIT-anything: x", "adit-: x"):
    case(f"spoofed: {line}", f"{GET}{line}\r\n{line}\r\nX-B: 2\r\n\r\n", Passes(got([("x-b", "2")])))

# ---- Expect

for name, value in (("100-continue", "100-continue"), ("odd case", "100-CONTINUE"), ("unknown", "200-ok"),
                    ("obfuscated", "y 100-continue"), ("list", "100-continue, x=y")):
    case(f"Expect: {name}, with a body", f"{POST}Expect: {value}\r\nContent-Length: 2\r\n\r\nhi",
         Passes(wire("POST", "/bad", [("expect", value)], length=2, body=b"hi")))
    case(f"Expect: {name}, without", f"{GET}Expect: {value}\r\n\r\n", Passes(got([("expect", value)])))
