"""Both ends of HTTP/2 as the tests script them: an origin that answers by a handler, and a visitor.

Each connection has one reader; who sends, waits for windows. All of TLS happens under the connection's lock, for one
SSL object must not be used by two threads at once.
"""
import select
import socket
import ssl
import threading
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (ConnectionTerminated, DataReceived, InformationalResponseReceived, RequestReceived,
                       ResponseReceived, StreamEnded, StreamReset, TrailersReceived)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from wire import accepted

TIMEOUT = 20.0


class Gone(Exception):
    """The far side has reset the stream, or its connection has ended."""


class Stream:
    def __init__(self, end, number):
        self.end, self.number = end, number
        self.fields, self.informational, self.trailers = None, [], None
        self.data, self.taken, self.ended, self.reset = bytearray(), 0, False, None

    def get(self, name):
        return dict(self.fields).get(name)

    @property
    def status(self):
        return int(self.get(":status"))

    def wait(self, wanted, what, timeout=TIMEOUT):
        until = time.monotonic() + timeout
        with self.end.changed:
            while not wanted():
                if self.reset is not None or self.end.over:
                    raise Gone(f"stream {self.number} is gone ({self.reset}), no {what}")
                left = until - time.monotonic()
                assert left > 0, f"stream {self.number}: no {what} within {timeout:g} s"
                self.end.changed.wait(left)

    def head(self):
        """The response's fields."""
        self.wait(lambda: self.fields is not None, "head")
        return self.fields

    def some(self, n=1, timeout=TIMEOUT):
        """At least n bytes of body (less only at its end), which opens the window again."""
        self.wait(lambda: len(self.data) >= n or self.ended, "data", timeout)
        with self.end.changed:
            data, self.data = bytes(self.data), bytearray()
            taken, self.taken = self.taken, 0
            if taken and not self.ended and self.reset is None:
                self.end.do(lambda c: c.acknowledge_received_data(taken, self.number))
        return data

    def read(self, sink=None):
        """The rest of the body."""
        body = bytearray()
        while data := self.some():
            sink(data) if sink else body.extend(data)
        self.wait(lambda: self.ended, "end")
        return bytes(body)

    def respond(self, status=200, fields=(), end=False):
        self.send_head([(":status", str(status)), *fields], end)

    def send_head(self, fields, end=False):
        self.end.do(lambda c: c.send_headers(self.number, list(fields), end_stream=end))

    def window(self):
        try:
            return self.end.connection.local_flow_control_window(self.number)
        except ProtocolError as e:
            raise Gone(repr(e)) from e

    def send(self, data, end=False):
        """Waits until all of it has gone out; `end` with it."""
        connection, view = self.end.connection, memoryview(data)
        while view:
            self.wait(self.window, "window")
            with self.end.changed:
                n = min(len(view), self.window(), connection.max_outbound_frame_size)
                last = end and n == len(view)
                self.end.do(lambda c: c.send_data(self.number, view[:n].tobytes(), end_stream=last))
            view = view[n:]
        if end and not len(data):
            self.end.do(lambda c: c.end_stream(self.number))

    def abort(self, code):
        self.end.do(lambda c: c.reset_stream(self.number, code))

    def wait_reset(self, timeout=TIMEOUT):
        """The code of the far side's RST_STREAM."""
        until = time.monotonic() + timeout
        with self.end.changed:
            while self.reset is None:
                left = until - time.monotonic()
                assert left > 0 and not self.end.over, f"stream {self.number}: no reset within {timeout:g} s"
                self.end.changed.wait(left)
        return ErrorCodes(self.reset)


class End:
    """One connection. `settings` are ours; `opened` is called with each stream that the far side opens."""

    def __init__(self, sock, client, settings=None, opened=None, silent=False):
        self.sock, self.opened, self.streams, self.over = sock, opened, {}, False
        self.goaway = None  # (last stream, code) of the far side's
        self.last = 1 << 31  # that our own GOAWAY named
        self.changed = threading.Condition(threading.RLock())
        self.connection = H2Connection(H2Configuration(client_side=client, header_encoding="utf-8",
                                                       validate_outbound_headers=False))
        if settings:
            self.connection.local_settings = Settings(client=client, initial_values=settings)
        if not silent:
            self.do(lambda c: (c.initiate_connection(), c.increment_flow_control_window(1 << 30)))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def do(self, what):
        """Something that may write; Gone when it cannot be."""
        with self.changed:
            try:
                result = what(self.connection)
                self.flush()
                return result
            except (OSError, ProtocolError, KeyError) as e:
                raise Gone(repr(e)) from e

    def flush(self):
        data = self.connection.data_to_send()
        if data:
            self.sock.sendall(data)

    def run(self):
        poll = select.poll()
        try:
            poll.register(self.sock, select.POLLIN)
            while not self.over:
                pending = isinstance(self.sock, ssl.SSLSocket) and self.sock.pending()
                if not pending and not poll.poll(1000):
                    continue
                with self.changed:
                    data = self.sock.recv(65536)
                    if not data:
                        break
                    for event in self.connection.receive_data(data):
                        self.take(event)
                    self.flush()
                    self.changed.notify_all()
        except (OSError, ValueError, ProtocolError):
            try:
                self.flush()
            except OSError:
                pass
        self.close()

    def take(self, event):
        number = getattr(event, "stream_id", None)
        stream = self.streams.get(number)
        if isinstance(event, RequestReceived):
            stream = self.streams[number] = Stream(self, number)
            stream.fields = event.headers
            if self.opened:
                self.opened(stream)
        elif isinstance(event, ConnectionTerminated):
            self.goaway = (event.last_stream_id, event.error_code)
        elif stream is None:
            return
        elif isinstance(event, InformationalResponseReceived):
            stream.informational.append(event.headers)
        elif isinstance(event, ResponseReceived):
            stream.fields = event.headers
        elif isinstance(event, TrailersReceived):
            stream.trailers = event.headers
        elif isinstance(event, DataReceived):
            stream.data += event.data
            stream.taken += event.flow_controlled_length
        elif isinstance(event, StreamEnded):
            stream.ended = True
        elif isinstance(event, StreamReset):
            stream.reset = event.error_code

    def leave(self, last):
        """GOAWAY: the far side's streams up to `last` go on."""
        def goaway(connection):
            machine = connection.state_machine
            was = machine.state
            connection.close_connection(last_stream_id=last)
            self.last = min(self.last, last)
            machine.state = was  # the library would refuse to go on
        self.do(goaway)

    def close(self):
        """FIN, or nothing when it is closed already."""
        with self.changed:
            self.over = True
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self.sock.close()
            self.changed.notify_all()


class H2Visitor(End):
    """A visitor: prior knowledge on a plain port, ALPN with a TLS context."""

    def __init__(self, port, host, tls=None, **options):
        sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.host, self.scheme = host, "https" if tls else "http"
        if tls:
            tls.set_alpn_protocols(["h2"])
            sock = tls.wrap_socket(sock, server_hostname=host)
            assert sock.selected_alpn_protocol() == "h2"
        super().__init__(sock, True, **options)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, method="GET", path="/", fields=(), end=True):
        with self.changed:
            number = self.connection.get_next_available_stream_id()
            stream = self.streams[number] = Stream(self, number)
            stream.send_head([(":method", method), (":scheme", self.scheme), (":authority", self.host),
                              (":path", path), *fields], end)
        return stream

    def fetch(self, method="GET", path="/", fields=(), body=None):
        """A whole exchange; .body is what came."""
        stream = self.ask(method, path, fields, end=body is None)
        if body is not None:
            stream.send(body, end=True)
        stream.head()
        stream.body = stream.read()
        return stream


def tell_back(stream):
    """The default answer: method, path and body of the request."""
    body = stream.read()
    stream.respond(200, [("content-type", "text/plain")])
    stream.send(f"{stream.get(':method')} {stream.get(':path')}\n".encode() + body, end=True)


class H2Origin:
    """An HTTP/2 server: handler(stream) runs in a thread of its own for each request.
    `streams`: MAX_CONCURRENT_STREAMS; `window`: of each stream; `tls`: a server's context; `connect`: it announces
    RFC 8441; `greet`: is called with each accepted socket instead of HTTP/2."""

    def __init__(self, streams=100, window=None, tls=None, connect=False, greet=None, unix=None):
        family = socket.AF_UNIX if unix else socket.AF_INET
        self.listener = socket.create_server(str(unix) if unix else ("127.0.0.1", 0), family=family, backlog=1024)
        self.address = f"{'h2' if tls else 'h2c'}://"
        self.address += f"unix:{unix}" if unix else f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.tls, self.greet, self.connections, self.accepted = tls, greet, [], 0
        self.settings = {SettingCodes.MAX_CONCURRENT_STREAMS: streams}
        if window is not None:
            self.settings[SettingCodes.INITIAL_WINDOW_SIZE] = window
        if connect:
            self.settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] = 1
        self.lock, self.running, self.most = threading.Lock(), 0, 0
        self.serve(None)
        threading.Thread(target=self.accept, daemon=True).start()

    def serve(self, handler):
        """From now on `handler` answers, and `requests` starts empty. None: the request is told back."""
        self.handler, self.requests, self.most = handler or tell_back, [], 0

    def accept(self):
        for sock in accepted(self.listener):
            self.accepted += 1
            threading.Thread(target=self.begin, args=(sock,), daemon=True).start()

    def begin(self, sock):
        try:
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
            if self.greet:
                self.greet(sock)
                return
            self.connections.append(End(sock, False, settings=self.settings, opened=self.opened))
        except (OSError, Gone):
            sock.close()

    def opened(self, stream):
        self.requests.append(stream)
        threading.Thread(target=self.answer, args=(stream, self.handler), daemon=True).start()

    def answer(self, stream, handler):
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            handler(stream)
        except (Gone, AssertionError):
            pass
        finally:
            with self.lock:
                self.running -= 1

    def open(self):
        return [c for c in self.connections if not c.over]

    def stop(self):
        self.listener.close()
        for connection in list(self.connections):
            connection.close()
