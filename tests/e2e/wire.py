"""wire: HTTP/1.1 by hand, for both ends of a test: raw-socket visitors and a scripted, byte-recording origin.

Nothing here forgives: a message that is cut raises Cut with what had arrived, and nobody retries.
"""
import os
import socket
import ssl
import threading
import time

TIMEOUT = 15.0  # seconds for any single read or write of a visitor
PIECE = 65536


def accepted(listener):
    """Each connection that comes, one after another, until the listener is closed."""
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield sock


class Cut(Exception):
    """The stream ended (or was reset) before the message did."""

    def __init__(self, what, body=b""):
        super().__init__(what)
        self.body = body


def eventually(check, what, timeout=10.0):
    """Waits until check() is true and returns its value; fails with `what` after `timeout` seconds."""
    end = time.monotonic() + timeout
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:g} s: {what() if callable(what) else what}")
        time.sleep(0.01)


class Reader:
    """Buffered reading of one socket; `record` (a bytearray) keeps every byte that came."""

    def __init__(self, sock, record=None):
        self.sock, self.buffer, self.record = sock, bytearray(), record

    def fill(self):
        try:
            data = self.sock.recv(PIECE)
        except (ConnectionError, ssl.SSLError, OSError) as e:
            if isinstance(e, (socket.timeout, TimeoutError)):
                raise AssertionError(f"nothing arrived for {self.sock.gettimeout()} s") from e
            return False
        self.buffer += data
        if self.record is not None:
            self.record += data
        return bool(data)

    def line(self):
        while b"\r\n" not in self.buffer:
            if not self.fill():
                raise Cut("a line", bytes(self.buffer))
        line, _, rest = bytes(self.buffer).partition(b"\r\n")
        self.buffer = bytearray(rest)
        return line

    def some(self):
        """Whatever is there, at least a byte; b"" at the end."""
        if not self.buffer:
            self.fill()
        data, self.buffer = bytes(self.buffer), bytearray()
        return data

    def exactly(self, n, sink=None):
        taken = bytearray()
        while n:
            if not self.buffer and not self.fill():
                raise Cut(f"{n} bytes are missing", bytes(taken))
            piece = bytes(self.buffer[:n])
            del self.buffer[:n]
            n -= len(piece)
            if sink:
                sink(piece)
            else:
                taken += piece
        return bytes(taken)

    def rest(self, sink=None):
        taken = bytearray()
        while True:
            piece = self.some()
            if not piece:
                return bytes(taken)
            if sink:
                sink(piece)
            else:
                taken += piece


class Message:
    """A request or response: start line, fields in order, and its body once read."""

    def __init__(self, start, fields):
        self.start, self.fields = start, fields
        self.body, self.trailers, self.informational = None, [], []

    def all(self, name, fields=None):
        return [v for n, v in (self.fields if fields is None else fields) if n.lower() == name.lower()]

    def get(self, name):
        found = self.all(name)
        return found[0] if found else None

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    @property
    def method(self):
        return self.start.split(" ")[0]

    @property
    def target(self):
        return self.start.split(" ")[1]


def read_fields(reader):
    fields = []
    while True:
        line = reader.line()
        if not line:
            return fields
        name, colon, value = line.decode("latin-1").partition(":")
        assert colon, f"not a field line: {line!r}"
        fields.append((name, value.strip(" \t")))


def read_head(reader):
    start = reader.line().decode("latin-1")
    return Message(start, read_fields(reader))


def read_chunked(reader, message, sink=None):
    body = bytearray()
    while True:
        try:
            size = int(reader.line().split(b";")[0], 16)
            if size == 0:
                message.trailers = read_fields(reader)
                return bytes(body)
            piece = reader.exactly(size)
            assert reader.exactly(2) == b"\r\n", "a chunk must end with CRLF"
        except Cut as e:
            raise Cut("chunked body without its last chunk", bytes(body) + e.body) from e
        if sink:
            sink(piece)
        else:
            body += piece


def read_body(reader, message, response_to=None, sink=None):
    """Reads the body as RFC 9112 section 6.3 delimits it; `response_to`: the request's method, None for a request."""
    coding, length = message.get("transfer-encoding"), message.get("content-length")
    if response_to and (response_to == "HEAD" or message.status in (204, 304)):
        return b""
    if coding:
        assert coding.lower() == "chunked" and length is None, f"framed twice: {message.fields}"
        return read_chunked(reader, message, sink)
    if length is not None:
        return reader.exactly(int(length), sink)
    return reader.rest(sink) if response_to else b""


def chunked(*pieces, trailers=()):
    """A chunked body of these pieces."""
    out = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces)
    return out + b"0\r\n" + b"".join(f"{n}: {v}\r\n".encode("latin-1") for n, v in trailers) + b"\r\n"


def lines(start, fields):
    return (start + "\r\n" + "".join(f"{n}: {v}\r\n" for n, v in fields) + "\r\n").encode("latin-1")


def reply(status=200, body=b"", fields=(), reason="Fine"):
    """A whole response with Content-Length, as an origin writes it."""
    return lines(f"HTTP/1.1 {status} {reason}", [*fields, ("Content-Length", len(body))]) + body


class Visitor:
    """One visitor connection."""

    def __init__(self, port, host, tls=None, source=None, first=b"", timeout=TIMEOUT, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            sock.bind((source, 0))
        sock.settimeout(timeout)
        sock.connect(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if first:
            sock.sendall(first)
        self.sock = tls.wrap_socket(sock, server_hostname=host) if tls else sock
        self.host, self.reader = host, Reader(self.sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def reset(self):
        """Goes away at once, with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def head_bytes(self, method, target, fields=()):
        return lines(f"{method} {target} HTTP/1.1", [("Host", self.host), *fields])

    def ask(self, method="GET", target="/", fields=(), body=None):
        """Sends a request; bytes as body get a Content-Length, a list of bytes is sent chunked."""
        if isinstance(body, (list, tuple)):
            data = self.head_bytes(method, target, [*fields, ("Transfer-Encoding", "chunked")]) + chunked(*body)
        elif body is not None:
            data = self.head_bytes(method, target, [*fields, ("Content-Length", len(body))]) + body
        else:
            data = self.head_bytes(method, target, fields)
        self.send(data)

    def head(self):
        """The next response head, 1xx included."""
        return read_head(self.reader)

    def read(self, method="GET", sink=None):
        """The next whole response; the 1xx before it stand in .informational."""
        informational = []
        while True:
            message = self.head()
            if message.status >= 200:
                break
            informational.append(message)
        message.informational = informational
        message.body = read_body(self.reader, message, response_to=method, sink=sink)
        return message

    def fetch(self, method="GET", target="/", fields=(), body=None):
        self.ask(method, target, fields, body)
        return self.read(method)

    def closed(self):
        """True when the other side has ended the connection (and sent nothing before)."""
        return self.reader.some() == b""


class Arrival(Message):
    """A request as the origin got it; read() takes its body off the wire."""

    def __init__(self, message, connection):
        super().__init__(message.start, message.fields)
        self.connection = connection

    def read(self):
        if self.body is None:
            self.body = read_body(self.connection.reader, self)
        return self.body


class OriginConnection:
    def __init__(self, origin, sock):
        self.origin, self.sock = origin, sock
        self.received = bytearray()
        self.reader = Reader(sock, self.received)
        self.gone = threading.Event()  # the far side has closed or reset it
        self.ended = False

    def send(self, data):
        """False when nobody is there to take it."""
        try:
            self.sock.sendall(data)
            return True
        except OSError:
            self.gone.set()
            return False

    def wait_gone(self, timeout=TIMEOUT):
        """Reads on until the far side closes; True when it did in time."""
        self.sock.settimeout(timeout)
        try:
            while self.sock.recv(PIECE):
                pass
        except (socket.timeout, TimeoutError):
            return False
        except OSError:
            pass
        self.gone.set()
        return True

    def end(self):
        self.ended = True
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    def begin(self):
        """The handshake, where the origin has TLS."""
        if self.origin.tls:
            self.sock = self.origin.tls.wrap_socket(self.sock, server_side=True)
            self.reader = Reader(self.sock, self.received)

    def run(self):
        try:
            self.begin()
            while not self.ended:
                request = Arrival(read_head(self.reader), self)
                self.origin.arrived(request)
                self.origin.handler(self, request)
                if not self.ended:
                    request.read()
        except (Cut, OSError, ValueError):
            self.gone.set()
        finally:
            self.end()
            self.origin.connections.discard(self)


def note_bodies(seen):
    """A handler that answers nothing: each request's body, or its Cut, is appended to `seen`."""
    def handler(connection, request):
        try:
            seen.append(read_body(connection.reader, request))
        except Cut as cut:
            seen.append(cut)
            raise
    return handler


class Origin:
    """A web server whose answers the test scripts: handler(connection, request) runs in the connection's thread."""

    def __init__(self, unix=None, tls=None):
        self.tls = tls
        self.listener = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(str(unix) if unix else ("127.0.0.1", 0))
        self.listener.listen(1024)
        scheme = "https" if tls else "http"
        self.address = f"unix:{unix}" if unix else "%s://127.0.0.1:%d" % (scheme, self.listener.getsockname()[1])
        self.port = None if unix else self.listener.getsockname()[1]
        self.connections = set()
        self.accepted = 0
        self.serve(None)
        threading.Thread(target=self.accept, daemon=True).start()

    def serve(self, handler):
        """From now on `handler` answers, and `requests` starts empty. None: 200 with the request told back."""
        self.handler = handler or tell_back
        self.requests = []

    def joined(self, connection):
        self.connections.add(connection)

    def arrived(self, request):
        self.requests.append(request)

    def received(self):
        """Every byte of the connections that are open, to show that there were none."""
        return b"".join(bytes(c.received) for c in list(self.connections))

    def accept(self):
        for sock in accepted(self.listener):
            self.accepted += 1
            connection = OriginConnection(self, sock)
            self.joined(connection)
            threading.Thread(target=connection.run, daemon=True).start()

    def stop(self):
        path = self.listener.getsockname() if self.listener.family == socket.AF_UNIX else None
        self.listener.close()
        for connection in list(self.connections):
            connection.end()
        if path and os.path.exists(path):
            os.unlink(path)


def tell_back(connection, request):
    """The default answer: method, target and body of the request."""
    body = request.read()
    text = f"{request.method} {request.target}\n".encode("latin-1") + body
    connection.send(reply(200, b"" if request.method == "HEAD" else text))
