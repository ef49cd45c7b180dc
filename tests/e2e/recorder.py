"""recorder: an origin of HTTP/1.1 that keeps every byte, and the whole way to it on one stage for a table of cases.

What it got is told message by message, in the order of their first bytes. Between runs nothing differs in them but
where a body was cut into chunks: so a body's chunks are told as one. All else is compared byte for byte.
"""
import re
import threading

from harness import DOMAIN
from wire import Origin, Visitor, chunked, eventually, reply

HOST = "shop." + DOMAIN
FENCE = "/fence"
UPGRADING = re.compile(rb"^upgrade: ", re.M)


def wire(method="GET", target="/", fields=(), length=None, body=b"", trailers=(), host=HOST, proto="http", end=b""):
    """A request as adit writes it (doc/http.md, "Writing" and "What a proxy changes"): request line, host, the fields
    that pass, in order and in lower case, the four that tell who visits, framing. length="chunked": body in chunks.
    `end`: what stands behind those, for an upgrade."""
    head = [f"{method} {target} HTTP/1.1", f"host: {host}", *[f"{n}: {v}" for n, v in fields],
            f"forwarded: for=127.0.0.1;host={host};proto={proto}", "x-forwarded-for: 127.0.0.1",
            f"x-forwarded-proto: {proto}", f"x-forwarded-host: {host}"]
    if length is not None:
        head.append("transfer-encoding: chunked" if length == "chunked" else f"content-length: {length}")
    out = "\r\n".join(head).encode("latin-1") + b"\r\n" + end + b"\r\n"
    if length == "chunked":
        return out + chunked(*([body] if body else []), trailers=trailers)
    return out + body


def split(data):
    """The messages that these bytes are, each as [bytes with its chunks as one, offset, is it complete?]."""
    out, at = [], 0
    while at < len(data):
        message, used, whole = one_message(data[at:])
        out.append([message, at, whole])
        at += used
    return out


def one_message(data):
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return data, len(data), False
    head += found
    length = re.search(rb"^content-length: (\d+)\r$", head, re.M)
    if UPGRADING.search(head):
        return data, len(data), True
    if length:
        n = int(length[1])
        return head + rest[:n], len(head) + min(n, len(rest)), len(rest) >= n
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        return one_chunked(head, rest)
    return head, len(head), True


def one_chunked(head, rest):
    body, at = b"", 0
    while True:
        line = re.match(rb"([0-9a-f]+)\r\n", rest[at:])
        if not line:
            assert not rest[at:].strip(b"0123456789abcdef\r\n"), rest[at:]
            break
        n, start = int(line[1], 16), at + line.end()
        if n == 0:
            end = rest.find(b"\r\n", start) if rest[start:start + 2] == b"\r\n" else rest.find(b"\r\n\r\n", start) + 2
            assert end >= start, rest[at:]
            last = rest[at:end + 2]
            return head + (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + last, \
                len(head) + at + len(last), True
        body += rest[start:start + n]
        at = start + n + 2
        if at > len(rest):
            break
    return head + (b"%x\r\n%s\r\n" % (len(body), body) if body else b""), len(head) + len(rest), False


class Tape:
    """What one connection got; handed to Reader as its record."""

    def __init__(self, origin, connection):
        self.origin, self.connection = origin, connection

    def __iadd__(self, data):
        with self.origin.lock:
            self.origin.events.append((self.connection, bytes(data)))
        return self


class Recorder(Origin):
    """Answers 200 to what is whole, with the target as body; `serve` scripts others."""

    def __init__(self):
        self.lock, self.events = threading.Lock(), []
        super().__init__()

    def serve(self, handler):
        super().serve(handler or answer)
        with self.lock:
            self.events = []

    def joined(self, connection):
        super().joined(connection)
        connection.reader.record = Tape(self, connection)

    def messages(self, fences=False):
        """All since serve(), by first bytes, as (connection, bytes, whole); without fences unless asked for."""
        with self.lock:
            events = list(self.events)
        found = []
        for connection in {id(c): c for c, _ in events}.values():
            starts, data = [], b""
            for i, (c, piece) in enumerate(events):
                if c is connection:
                    starts.append((len(data), i))
                    data += piece
            for message, at, whole in split(data):
                found.append((max(i for offset, i in starts if offset <= at), at, connection, message, whole))
        found.sort(key=lambda f: f[:2])
        return [f[2:] for f in found if fences or not f[3].startswith(b"GET " + FENCE.encode())]

    def bytes(self):
        return b"".join(message for _, message, _ in self.messages())


def answer(connection, request):
    request.read()
    connection.send(reply(200, b"" if request.method == "HEAD" else request.target.encode("latin-1")))


class RecordedWay:
    """aditd, adit and a Recorder: one stage for a table."""

    def __init__(self, own, **config):
        self.origin, self.aditd = own.keep(Recorder()), own.server(**config)
        self.adit = own.tunnels(self.aditd, {"shop": self.origin.address}).program

    def visit(self, tls=False):
        return self.aditd.visit(tls=tls)

    def fence(self):
        """When this returns, all that had been asked before is at the origin: the second request begins after the
        first has been there and back, which takes longer than a dial that began before it."""
        with Visitor(self.aditd.plain_port, HOST) as visitor:
            for _ in range(2):
                response = visitor.fetch(target=FENCE)
                assert (response.status, response.body) == (200, FENCE.encode()), response.start

    def wait_bytes(self, wanted):
        eventually(lambda: self.origin.bytes() == wanted, lambda: f"{self.origin.bytes()!r} is {wanted!r}")
