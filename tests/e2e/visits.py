"""visits: one request of a visitor, piece by piece, over HTTP/1.1 or HTTP/2 by the same calls.

    request = visits.begin(server, version, "POST", "/path", fields, body=True)
    request.piece(b"…"); request.end(trailers)      what the visitor sends
    request.head(), .some(), .rest(), .trailers     what comes back; a message that is cut raises Cut
    request.leave()                                 the visitor goes away

H2Visitor is one HTTP/2 connection, by TLS and ALPN or with prior knowledge, with as many requests as one likes. A thread
of its own reads it; a stream's window opens as its data is taken.
"""
import collections
import socket
import ssl
import threading

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (ConnectionTerminated, DataReceived, InformationalResponseReceived, RemoteSettingsChanged,
                       ResponseReceived, StreamEnded, StreamReset, TrailersReceived)
from h2.exceptions import ProtocolError

from harness import DOMAIN
from wire import PIECE, TIMEOUT, Cut, Message, Visitor, chunked, read_body, read_fields

VERSIONS = ("1.1", "2")


class H1Request:
    """A request on an HTTP/1.1 connection; a body is sent chunked."""

    def __init__(self, visitor, method="GET", target="/", fields=(), body=False):
        self.visitor, self.method, self.trailers, self.final, self.over = visitor, method, [], None, False
        coding = [("Transfer-Encoding", "chunked")] if body else []
        visitor.send(visitor.head_bytes(method, target, [*fields, *coding]))

    def piece(self, data):
        self.visitor.send(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self, trailers=()):
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


class H2Stream:
    """A request on an HTTP/2 connection; also a stream of bytes, where it was an extended CONNECT."""

    def __init__(self, connection, number):
        self.connection, self.number = connection, number
        self.heads, self.data, self.trailers = collections.deque(), bytearray(), []
        self.ended, self.reset = False, None  # the error code of a RST_STREAM
        self.alone = False  # on a connection of its own

    def piece(self, data):
        """Sends it, as the window allows."""
        self.connection.send_data(self.number, data)

    def end(self, trailers=()):
        self.connection.end_stream(self.number, trailers)

    def wait(self, wanted):
        """Waits for wanted(), the end or a reset; raises Cut when it was the reset, or the connection's end."""
        with self.connection.changed:
            self.connection.wait(lambda: wanted() or self.ended or self.reset is not None or self.connection.over)
            if not wanted() and not self.ended:
                raise Cut(f"stream reset: {self.reset}" if self.reset is not None else "the connection has ended")

    def head(self):
        """The next response head, 1xx included."""
        self.wait(lambda: self.heads)
        return self.heads.popleft()

    def some(self):
        """What is there of the body, at least a byte; b"" at its end."""
        self.wait(lambda: self.data)
        return self.connection.take(self)

    def rest(self):
        return b"".join(iter(self.some, b""))

    def leave(self, code=ErrorCodes.CANCEL):
        try:
            self.connection.reset(self.number, code)
        except ProtocolError:
            pass  # it has ended, both ways
        if self.alone:
            self.connection.close()


class H2Visitor:
    """One HTTP/2 connection. `tls`: a context that verifies the server."""

    def __init__(self, port, host, tls=None, timeout=TIMEOUT):
        self.host, self.timeout, self.over, self.streams = host, timeout, False, {}
        self.settled = False  # the far end's SETTINGS have come
        self.changed = threading.Condition()
        self.sock = socket.create_connection(("127.0.0.1", port), timeout)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.scheme = "https" if tls else "http"
        self.handshake(tls)
        self.sock.settimeout(None)  # an idle connection is none that has failed: waits are bounded one by one
        self.protocol = H2Connection(H2Configuration(validate_outbound_headers=False, header_encoding="latin-1"))
        with self.changed:
            self.protocol.initiate_connection()
            self.protocol.increment_flow_control_window((1 << 31) - 1 - 65535)
            self.flush()
        threading.Thread(target=self.run, daemon=True).start()

    def handshake(self, tls):
        """TLS over memory: one thread reads while another writes, which a socket of Python's ssl does not allow."""
        self.secure = None
        if not tls:
            return
        tls.set_alpn_protocols(["h2"])
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.secure = tls.wrap_bio(self.into, self.out, server_hostname=self.host)
        while True:
            try:
                self.secure.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.sock.sendall(self.out.read())
                self.into.write(self.sock.recv(PIECE) or b"\0")
        assert self.secure.selected_alpn_protocol() == "h2"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Goes away without a word."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()

    # ---- the reading thread

    def run(self):
        try:
            while data := self.sock.recv(PIECE):
                with self.changed:
                    for event in self.protocol.receive_data(self.decrypt(data)):
                        self.on_event(event)
                    self.flush()
                    self.changed.notify_all()
        except (OSError, ProtocolError):
            pass
        with self.changed:
            self.over = True
            self.changed.notify_all()

    def decrypt(self, data):
        if not self.secure:
            return data
        self.into.write(data)
        plain = bytearray()
        try:
            while piece := self.secure.read(PIECE):
                plain += piece
        except ssl.SSLWantReadError:
            pass
        return bytes(plain)

    def on_event(self, event):
        stream = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, ConnectionTerminated):
            self.over = self.over or bool(event.error_code)
        elif isinstance(event, RemoteSettingsChanged):
            self.settled = True
        if not stream:
            return
        if isinstance(event, (ResponseReceived, InformationalResponseReceived)):
            fields = [(str(n), str(v)) for n, v in event.headers]
            stream.heads.append(Message("HTTP/2 " + fields[0][1], fields[1:]))
        elif isinstance(event, TrailersReceived):
            stream.trailers = [(str(n), str(v)) for n, v in event.headers]
        elif isinstance(event, DataReceived):
            stream.data += event.data
            self.acknowledge(stream, event.flow_controlled_length - len(event.data))
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset):
            stream.reset = event.error_code

    # ---- what streams ask for; with the lock

    def flush(self):
        data = self.protocol.data_to_send()
        if self.secure and data:
            self.secure.write(data)
            data = self.out.read()
        if data:
            self.sock.sendall(data)

    def wait(self, wanted):
        assert self.changed.wait_for(wanted, self.timeout), f"nothing arrived for {self.timeout} s"

    def acknowledge(self, stream, n):
        if n and not stream.ended and stream.reset is None:
            self.protocol.acknowledge_received_data(n, stream.number)

    def take(self, stream):
        with self.changed:
            data = bytes(stream.data)
            stream.data.clear()
            try:
                self.acknowledge(stream, len(data))
                self.flush()
            except (OSError, ProtocolError):
                pass  # it has ended meanwhile: that is told when there is nothing left to take
            return data

    def begin(self, method="GET", target="/", fields=(), body=False, protocol=None):
        """A new request, with a body when `body` is true. `protocol`: an extended CONNECT (RFC 8441)."""
        pseudo = [(":method", "CONNECT" if protocol else method), (":scheme", self.scheme), (":path", target),
                  (":authority", self.host)]
        with self.changed:
            if protocol:
                pseudo.insert(1, (":protocol", protocol))
                self.wait(lambda: self.settled or self.over)
                assert self.protocol.remote_settings.enable_connect_protocol, "no extended CONNECT is announced"
            number = self.protocol.get_next_available_stream_id()
            stream = self.streams[number] = H2Stream(self, number)
            self.protocol.send_headers(number, [*pseudo, *((n.lower(), str(v).encode("latin-1")) for n, v in fields)],
                                       end_stream=not body and not protocol)
            self.flush()
        return stream

    def send_data(self, number, data):
        stream, at = self.streams[number], 0
        while at < len(data) or not data:
            with self.changed:
                self.wait(lambda: self.over or stream.reset is not None
                          or self.protocol.local_flow_control_window(number) > 0)
                if self.over or stream.reset is not None:
                    raise Cut(f"stream reset: {stream.reset}")
                n = min(self.protocol.local_flow_control_window(number), self.protocol.max_outbound_frame_size)
                self.protocol.send_data(number, data[at:at + n])
                self.flush()
                at += n
            if not data:
                return

    def end_stream(self, number, trailers=()):
        with self.changed:
            if trailers:
                self.protocol.send_headers(number, [(n.lower(), v) for n, v in trailers], end_stream=True)
            else:
                self.protocol.end_stream(number)
            self.flush()

    def reset(self, number, code):
        with self.changed:
            self.protocol.reset_stream(number, code)
            self.flush()


def begin(server, version, method="GET", target="/", fields=(), body=False, name="shop", tls=True, port=None):
    """A request on a connection of its own; `server` is a harness.Server."""
    host, context = f"{name}.{DOMAIN}", server.authority.context() if tls else None
    port = port or (server.tls_port if tls else server.plain_port)
    if version == "2":
        stream = H2Visitor(port, host, context).begin(method, target, fields, body)
        stream.alone = True
        return stream
    return H1Request(Visitor(port, host, context), method, target, fields, body)
