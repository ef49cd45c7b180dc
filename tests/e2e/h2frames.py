"""h2frames: HTTP/2 by hand: a visitor made of frames (hyperframe, hpack), well-formed or not.

Nothing here forgives: it sends what it is told, keeps all that comes, and every wait has a bound. By itself it
acknowledges SETTINGS and PING, and opens windows as far as `greedy` says.
"""
import socket
import ssl
import struct

import hpack
from hyperframe import frame as frames

from harness import DOMAIN
from wire import Cut

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, \
    COMPRESSION = range(10)
CALM = 11
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITISED = 1, 1, 4, 8, 32
HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_STREAMS, INITIAL_WINDOW, MAX_FRAME, MAX_LIST, _, CONNECT_PROTOCOL, \
    NO_PRIORITIES = range(1, 10)


def raw(kind, flags=0, stream=0, payload=b""):
    """One frame's bytes, whatever they mean."""
    return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload


def u32(n):
    return struct.pack("!I", n)


def setting(number, value):
    return struct.pack("!HI", number, value)


class Answer:
    """What has come on one stream."""

    def __init__(self):
        self.heads, self.data, self.ended, self.reset = [], bytearray(), False, None

    def all(self, name, head=-1):
        return [v for n, v in self.heads[head] if n == name] if self.heads else []

    def get(self, name, head=-1):
        found = self.all(name, head)
        return found[0] if found else None

    @property
    def statuses(self):
        return [int(v) for head in self.heads for n, v in head if n == ":status"]

    @property
    def status(self):
        """Of the final response; None while there is none."""
        final = [s for s in self.statuses if s >= 200]
        return final[0] if final else None

    @property
    def over(self):
        return self.ended or self.reset is not None


class RawEnd:
    """One end of an HTTP/2 connection on `sock`, by default the one that asks. `greedy`: what streams' and the
    connection's windows are opened by as data comes ("all"), only the connection's ("connection"), or nothing
    ("none"). Who answers (`asks` false) finds requests where the other finds answers."""

    def __init__(self, sock, host, scheme="http", settings=b"", greedy="all", begin=True, asks=True):
        self.host, self.scheme, self.sock, self.greedy = host, scheme, sock, greedy
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_allowed_table_size = 1 << 32  # whatever a test's SETTINGS say
        self.buffer, self.block = bytearray(), None
        self.preface = b"" if asks else PREFACE  # what has still to come of it
        self.answers, self.seen, self.settings = {}, [], {}
        self.goaway, self.closed, self.next_id, self.pongs, self.acks = None, False, 1, [], 0
        self.windows = {0: 65535}  # what we may send; streams begin with their first frame
        if begin:
            self.send((PREFACE if asks else b"") + raw(SETTINGS, payload=settings))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    # ---- sending

    def send(self, data):
        self.sock.sendall(data)

    def try_send(self, data):
        """Sends to who may have gone."""
        try:
            self.sock.sendall(data)
        except OSError:
            pass

    def frame(self, kind, flags=0, stream=0, payload=b""):
        self.send(raw(kind, flags, stream, payload))

    def fields(self, method="GET", path="/", more=()):
        return [(":method", method), (":scheme", self.scheme), (":path", path), (":authority", self.host), *more]

    def encode(self, fields):
        """A field block, with exactly these names and values; nothing goes into the dynamic table."""
        return self.encoder.encode([hpack.NeverIndexedHeaderTuple(n, v) for n, v in fields], huffman=False)

    def new_stream(self):
        stream, self.next_id = self.next_id, self.next_id + 2
        self.windows[stream] = self.settings.get(INITIAL_WINDOW, 65535)
        return stream

    def head(self, fields=None, end=True, stream=None):
        """HEADERS with these fields, by default a GET's; the stream's number."""
        stream = self.new_stream() if stream is None else stream
        flags = END_HEADERS | (END_STREAM if end else 0)
        self.frame(HEADERS, flags, stream, self.encode(self.fields() if fields is None else fields))
        return stream

    def ask(self, method="GET", path="/", more=(), end=True):
        return self.head(self.fields(method, path, more), end)

    def connect(self, path="/", more=(), protocol="websocket"):
        """An extended CONNECT (RFC 8441)."""
        return self.head([(":method", "CONNECT"), (":protocol", protocol), (":scheme", self.scheme), (":path", path),
                          (":authority", self.host), *more], end=False)

    def data(self, stream, payload=b"", end=False):
        """One DATA frame, without a look at windows."""
        self.frame(DATA, END_STREAM if end else 0, stream, payload)

    def upload(self, stream, payload, end=True):
        """DATA as far as windows allow, waiting for more of them; stops when the stream is over."""
        at = 0
        while at < len(payload):
            room = min(self.windows[0], self.windows[stream], 16384, len(payload) - at)
            if room <= 0:
                self.until(lambda: min(self.windows[0], self.windows[stream]) > 0 or self.answer(stream).over)
                if self.answer(stream).over:
                    return at
                continue
            self.data(stream, payload[at:at + room])
            self.windows[0] -= room
            self.windows[stream] -= room
            at += room
        if end:
            self.data(stream, end=True)
        return at

    def trailers(self, stream, fields):
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, self.encode(fields))

    def rst(self, stream, code=CANCEL):
        self.frame(RST_STREAM, 0, stream, u32(code))

    def open_window(self, stream, n):
        self.frame(WINDOW_UPDATE, 0, stream, u32(n))

    # ---- receiving

    def answer(self, stream):
        return self.answers.setdefault(stream, Answer())

    def fill(self):
        try:
            data = self.sock.recv(65536)
        except (socket.timeout, TimeoutError) as e:
            raise AssertionError(f"nothing arrived for {self.sock.gettimeout()} s") from e
        except OSError:
            data = b""
        n = min(len(self.preface), len(data))
        assert data[:n] == self.preface[:n], "no preface"
        self.preface = self.preface[n:]
        self.buffer += data[n:]
        self.closed = self.closed or not data

    def next_frame(self):
        """The next frame, taken note of; None at the end of the connection."""
        while True:
            if len(self.buffer) >= 9:
                frame, length = frames.Frame.parse_frame_header(memoryview(bytes(self.buffer[:9])))
                if len(self.buffer) >= 9 + length:
                    break
            if self.closed:
                return None
            self.fill()
        body = bytes(self.buffer[9:9 + length])
        del self.buffer[:9 + length]
        frame.parse_body(memoryview(body))
        self.take(frame, body)
        self.seen.append(frame)
        return frame

    def until(self, check, what=""):
        """Reads frames until check() is true; raises Cut when the connection ends before."""
        while not check():
            if self.next_frame() is None:
                raise Cut(f"the connection ended: {what} {self.goaway}")

    def take(self, frame, body):
        kind, stream = frame.type, frame.stream_id
        if kind == SETTINGS and "ACK" not in frame.flags:
            before = self.settings.get(INITIAL_WINDOW, 65535)
            self.settings.update(frame.settings)
            for open_id in self.windows:
                self.windows[open_id] += self.settings.get(INITIAL_WINDOW, 65535) - before if open_id else 0
            self.try_send(raw(SETTINGS, ACK))
        elif kind == SETTINGS:
            self.acks += 1
        elif kind == PING and "ACK" not in frame.flags:
            self.try_send(raw(PING, ACK, 0, body))
        elif kind == PING:
            self.pongs.append(body)
        elif kind == GOAWAY:
            self.goaway = frame
        elif kind == WINDOW_UPDATE:
            self.windows[stream] = self.windows.get(stream, 0) + frame.window_increment
        elif kind in (HEADERS, CONTINUATION):
            self.take_block(frame)
        elif kind == DATA:
            self.take_data(frame)
        elif kind == RST_STREAM:
            self.answer(stream).reset = frame.error_code

    def take_block(self, frame):
        self.block = (self.block or b"") + frame.data
        answer = self.answer(frame.stream_id)
        answer.ended = answer.ended or "END_STREAM" in frame.flags
        if "END_HEADERS" in frame.flags:
            answer.heads.append([(n if isinstance(n, str) else n.decode("latin-1"),
                                  v if isinstance(v, str) else v.decode("latin-1"))
                                 for n, v in self.decoder.decode(self.block, raw=True)])
            self.block = None

    def take_data(self, frame):
        answer = self.answer(frame.stream_id)
        answer.data += frame.data
        answer.ended = answer.ended or "END_STREAM" in frame.flags
        n = frame.flow_controlled_length
        if n and self.greedy != "none":
            self.try_send(raw(WINDOW_UPDATE, 0, 0, u32(n)))
        if n and self.greedy == "all" and not answer.over:
            self.try_send(raw(WINDOW_UPDATE, 0, frame.stream_id, u32(n)))

    def whole(self, stream):
        """The stream's answer when it has ended, or was reset."""
        answer = self.answer(stream)
        self.until(lambda: answer.over, f"stream {stream}")
        return answer

    def headed(self, stream, count=1):
        """The stream's answer when so many heads have come."""
        answer = self.answer(stream)
        self.until(lambda: len(answer.heads) >= count or answer.over, f"stream {stream}")
        return answer

    def fetch(self, method="GET", path="/", more=(), body=None):
        stream = self.ask(method, path, more, end=body is None)
        if body is not None:
            self.upload(stream, body)
        return self.whole(stream)

    def ping(self, payload=b"adit-e2e"):
        """All that was sent before is looked at when this returns."""
        count = len(self.pongs)
        self.frame(PING, 0, 0, payload)
        self.until(lambda: len(self.pongs) > count, "PING")

    def greeted(self):
        """Both SETTINGS have crossed, and ours are acknowledged."""
        self.until(lambda: self.settings and self.acks, "SETTINGS")
        return self

    def ended(self):
        """Reads to the end of the connection; the code of its GOAWAY, None without one."""
        while self.next_frame() is not None:
            pass
        return self.goaway.error_code if self.goaway else None


class RawVisitor(RawEnd):
    """One HTTP/2 connection of a visitor."""

    def __init__(self, server, name="shop", tls=False, timeout=15.0, receive_buffer=None, **options):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(timeout)
        sock.connect(("127.0.0.1", server.tls_port if tls else server.plain_port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = f"{name}.{DOMAIN}"
        if tls:
            context = ssl.create_default_context(cafile=str(server.authority.ca))
            context.set_alpn_protocols(["h2"])
            sock = context.wrap_socket(sock, server_hostname=host)
            assert sock.selected_alpn_protocol() == "h2"
        super().__init__(sock, host, "https" if tls else "http", **options)
