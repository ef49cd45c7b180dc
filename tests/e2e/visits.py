"""visits: one request of a visitor, piece by piece, over HTTP/1.1 or HTTP/2 by the same calls.

    request = visits.begin(server, version, "POST", "/path", fields, body=True)
    request.piece(b"…"); request.finish(trailers)   what the visitor sends
    request.head(), .some(), .rest(), .trailers     what comes back; a message that is cut raises Cut
    request.leave()                                 the visitor goes away

H2Visitor is one HTTP/2 connection (h2wire.py), by TLS and ALPN or with prior knowledge, with as many requests as one
likes.
"""
from h2.errors import ErrorCodes
from h2.events import RemoteSettingsChanged

import h2wire
from h2wire import Gone
from harness import DOMAIN
from wire import TIMEOUT, Cut, Message, Visitor, chunked, read_body, read_fields

VERSIONS = ("1.1", "2")


class H1Request:
    """A request on an HTTP/1.1 connection; a body is sent chunked."""

    def __init__(self, visitor, method="GET", target="/", fields=(), body=False):
        self.visitor, self.method, self.trailers, self.final, self.over = visitor, method, [], None, False
        coding = [("Transfer-Encoding", "chunked")] if body else []
        visitor.send(visitor.head_bytes(method, target, [*fields, *coding]))

    def piece(self, data):
        self.visitor.send(b"%x\r\n%s\r\n" % (len(data), data))

    def finish(self, trailers=()):
        self.visitor.send(chunked(trailers=trailers))

    def head(self):
        """The next response head, 1xx included."""
        self.final = self.visitor.head()
        return self.final

    def some(self):
        """The next chunk of the response's body, or all of one that is not chunked; b"" at its end."""
        if self.over:
            return b""
        reader = self.visitor.reader
        if not self.final.get("transfer-encoding"):
            self.over = True
            return read_body(reader, self.final, response_to=self.method)
        size = int(reader.line(), 16)
        if size:
            return reader.exactly(size + 2)[:-2]
        self.over, self.trailers = True, read_fields(reader)
        return b""

    def rest(self):
        return b"".join(iter(self.some, b""))

    def leave(self):
        self.visitor.close()


class H2Stream(h2wire.Stream):
    """A request on an HTTP/2 connection; also a stream of bytes, where it was an extended CONNECT."""

    def __init__(self, visitor, number):
        super().__init__(visitor, number)
        self.connection, self.told, self.trailers = visitor, 0, []
        self.alone = False  # on a connection of its own

    def wait(self, wanted, what, timeout=None):
        try:
            super().wait(wanted, what, self.connection.timeout)
        except Gone as e:
            raise Cut(str(e)) from e

    def do(self, what):
        try:
            self.connection.do(what)
        except Gone as e:
            raise Cut(str(e)) from e

    def piece(self, data):
        """Sends it, as the window allows."""
        try:
            self.send(data)
        except Gone as e:
            raise Cut(str(e)) from e

    def finish(self, trailers=()):
        if trailers:
            self.do(lambda c: c.send_headers(self.number, [(n.lower(), v) for n, v in trailers], end_stream=True))
        else:
            self.do(lambda c: c.end_stream(self.number))

    def head(self):
        """The next response head, 1xx included."""
        self.wait(lambda: len(self.informational) > self.told or self.fields, "head")
        fields = self.fields
        if len(self.informational) > self.told:
            fields, self.told = self.informational[self.told], self.told + 1
        return Message("HTTP/2 " + fields[0][1], fields[1:])

    def rest(self):
        return self.read()

    def leave(self, code=ErrorCodes.CANCEL):
        try:
            self.abort(code)
        except Gone:
            pass  # it has ended, both ways
        if self.alone:
            self.connection.close()


class H2Visitor(h2wire.H2Visitor):
    """One HTTP/2 connection. `tls`: a context that verifies the server; `timeout`: of each wait."""

    def __init__(self, port, host, tls=None, timeout=TIMEOUT):
        self.timeout, self.settled = timeout, False  # settled: the far end's SETTINGS have come
        super().__init__(port, host, tls)

    def take(self, event):
        self.settled = self.settled or isinstance(event, RemoteSettingsChanged)
        super().take(event)

    def begin(self, method="GET", target="/", fields=(), body=False, protocol=None):
        """A new request, with a body when `body` is true. `protocol`: an extended CONNECT (RFC 8441)."""
        pseudo = [(":method", "CONNECT" if protocol else method), (":scheme", self.scheme), (":path", target),
                  (":authority", self.host)]
        with self.changed:
            if protocol:
                pseudo.insert(1, (":protocol", protocol))
                assert self.changed.wait_for(lambda: self.settled or self.over, self.timeout), "no SETTINGS"
                assert self.connection.remote_settings.enable_connect_protocol, "no extended CONNECT is announced"
            number = self.connection.get_next_available_stream_id()
            stream = self.streams[number] = H2Stream(self, number)
            stream.send_head([*pseudo, *((n.lower(), str(v).encode("latin-1")) for n, v in fields)],
                             end=not body and not protocol)
        return stream


def begin(server, version, method="GET", target="/", fields=(), body=False, name="shop", tls=True, port=None):
    """A request on a connection of its own; `server` is a harness.Server."""
    host, context = f"{name}.{DOMAIN}", server.authority.context() if tls else None
    port = port or (server.tls_port if tls else server.plain_port)
    if version == "2":
        stream = H2Visitor(port, host, context).begin(method, target, fields, body)
        stream.alone = True
        return stream
    return H1Request(Visitor(port, host, context), method, target, fields, body)
