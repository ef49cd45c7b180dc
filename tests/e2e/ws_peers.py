"""ws_peers: WebSockets of Debian's python3-websockets at both ends of a tunnel.

Origin serves them, in a thread with a loop of its own. WebSocket is a visitor's, over HTTP/1.1 or as an HTTP/2 stream
(RFC 8441), with the library's frames and a socket of ours, so that it can do what a library would not.
"""
import asyncio
import concurrent.futures
import socket
import struct
import threading

import websockets
from websockets.client import ClientConnection
from websockets.connection import SEND_EOF
from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import OP_BINARY, OP_CLOSE, OP_CONT, OP_PING, OP_PONG, OP_TEXT
from websockets.server import ServerConnection
from websockets.uri import parse_uri

import visits
from harness import DOMAIN
from wire import TIMEOUT, Cut, Visitor, lines

LINGER_RESET = struct.pack("ii", 1, 0)
NOT_ON_A_STREAM = ("host", "upgrade", "connection", "sec-websocket-key")


async def echo(ws):
    """Sends back what comes."""
    async for message in ws:
        await ws.send(message)


class Origin:
    """A WebSocket server; handler(ws) is a coroutine in its own thread."""

    def __init__(self, handler=echo, **options):
        self.handler, self.sockets, self.done = handler, [], []
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        options = {"max_size": None, "ping_interval": None, "backlog": 1024, **options}
        self.server = self.run(self.start(options))
        self.port = self.server.sockets[0].getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"

    async def start(self, options):
        return await websockets.serve(self.arrived, "127.0.0.1", 0, **options)

    async def arrived(self, ws):
        done = self.done  # of the test that it came in: it may end in another one
        self.sockets.append(ws)
        try:
            await self.handler(ws)
        except websockets.ConnectionClosed:
            pass
        await ws.wait_closed()
        done.append(ws)

    def serve(self, handler):
        """From now on; `sockets`, and `done` of those that have ended, start empty."""
        self.handler, self.sockets, self.done = handler, [], []

    def run(self, coroutine, timeout=TIMEOUT):
        """Runs it in the origin's thread; its result."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result(timeout)
        except concurrent.futures.TimeoutError:
            future.cancel()
            raise AssertionError(f"not within {timeout:g} s at the origin") from None

    def cut(self, ws, how):
        """Ends its connection without a Close: "fin" or "reset"."""
        def now():
            if how == "reset":
                ws.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            ws.transport.abort()
        self.loop.call_soon_threadsafe(now)

    async def end(self):
        self.server.close()
        await self.server.wait_closed()

    def stop(self):
        self.run(self.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


def echo_on(connection, request):
    """The same as a handler of wire.Origin."""
    protocol = ServerConnection(max_size=None)
    protocol.receive_data(lines(request.start, request.fields))
    protocol.send_response(protocol.accept(protocol.events_received()[0]))
    request.body = b""
    while True:
        out = protocol.data_to_send()
        connection.send(b"".join(out))
        data = connection.reader.some() if SEND_EOF not in out else b""
        if not data:
            break
        protocol.receive_data(data)
        for frame in protocol.events_received():
            if frame.opcode in (OP_TEXT, OP_BINARY):
                (protocol.send_text if frame.opcode is OP_TEXT else protocol.send_binary)(frame.data, frame.fin)
            elif frame.opcode is OP_CONT:
                protocol.send_continuation(frame.data, frame.fin)
    connection.end()


class Over1:
    """The way of a WebSocket over an HTTP/1.1 connection."""

    def __init__(self, visitor):
        self.visitor, self.sock = visitor, visitor.sock
        self.send, self.some = visitor.send, visitor.reader.some

    def cut(self, how):
        if how == "reset":
            self.visitor.reset()
        else:
            self.sock.close()


class Over2:
    """The way of one on an HTTP/2 stream."""

    def __init__(self, stream):
        self.stream, self.send, self.some = stream, stream.piece, stream.some

    def cut(self, how):
        """"reset": RST_STREAM; "fin": END_STREAM; "connection": all of the connection goes."""
        if how == "reset":
            self.stream.leave()
        elif how == "fin":
            self.stream.finish()
        else:
            self.stream.connection.close()


class WebSocket:
    """A visitor's WebSocket; `on`: an H2Visitor whose next stream it shall be, else it has a connection of its own."""

    def __init__(self, server, version="1.1", path="/", subprotocols=None, deflate=False, name="shop", on=None,
                 port=None, fields=()):
        host, port, tls = f"{name}.{DOMAIN}", port or server.tls_port, server.authority.context()
        factories = [ClientPerMessageDeflateFactory()] if deflate else None
        self.frames, self.pongs, self.status, self.shares = [], [], None, on is not None
        self.protocol = ClientConnection(parse_uri(f"wss://{host}{path}"), extensions=factories, max_size=None,
                                         subprotocols=subprotocols)
        request = self.protocol.connect()
        for field in fields:
            request.headers[field[0]] = field[1]
        if version == "2" or on:
            stream = (on or visits.H2Visitor(port, host, tls)).begin(
                target=path, protocol="websocket",
                fields=[(n, v) for n, v in request.headers.raw_items() if n.lower() not in NOT_ON_A_STREAM])
            self.way = Over2(stream)
            self.opened_2(stream.head())
        else:
            self.way = Over1(Visitor(port, host, tls))
            self.protocol.send_request(request)
            self.flush()
            while not self.frames and not self.protocol.handshake_exc:
                self.pump()
            if self.protocol.handshake_exc:
                raise self.protocol.handshake_exc
            self.status = self.frames.pop(0).status_code

    def opened_2(self, head):
        assert head.status == 200, head.start
        self.status, fields = head.status, Headers(head.fields)
        factories, names = self.protocol.available_extensions, self.protocol.available_subprotocols
        uri = self.protocol.wsuri
        self.protocol = ClientConnection(uri, extensions=factories, subprotocols=names, max_size=None,
                                         state=websockets.connection.OPEN)
        self.protocol.extensions = self.protocol.process_extensions(fields)
        self.protocol.subprotocol = self.protocol.process_subprotocol(fields)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if not self.shares:
            self.cut("connection")
        elif self.protocol.state is not websockets.connection.CLOSED:
            self.cut("reset")

    def cut(self, how):
        try:
            self.way.cut(how)
        except (OSError, Cut):
            pass

    def flush(self):
        data = b"".join(self.protocol.data_to_send())
        if data:
            self.way.send(data)

    def pump(self):
        """Reads what is there; False at the end."""
        data = self.way.some()
        if data:
            self.protocol.receive_data(data)
        else:
            self.protocol.receive_eof()
        self.frames += self.protocol.events_received()
        if data:
            self.flush()
        return bool(data)

    def send(self, message, size=None):
        """A message, in frames of `size` bytes."""
        data = message.encode() if isinstance(message, str) else message
        first, rest = (data[:size], data[size:]) if size else (data, b"")
        (self.protocol.send_text if isinstance(message, str) else self.protocol.send_binary)(first, fin=not rest)
        self.flush()
        while rest:
            first, rest = rest[:size], rest[size:]
            self.protocol.send_continuation(first, fin=not rest)
            self.flush()

    def frame(self):
        """The next frame that is part of a message; None when none will come."""
        while True:
            while self.frames:
                frame = self.frames.pop(0)
                if frame.opcode is OP_PONG:
                    self.pongs.append(frame.data)
                elif frame.opcode not in (OP_PING, OP_CLOSE):
                    return frame
            if not self.pump():
                return None

    def receive(self):
        """The next message; None when none will come."""
        frame = self.frame()
        if frame is None:
            return None
        text, parts = frame.opcode is OP_TEXT, [frame.data]
        while not frame.fin:
            frame = self.frame()
            assert frame.opcode is OP_CONT
            parts.append(frame.data)
        data = b"".join(parts)
        return data.decode() if text else data

    def ping(self, data):
        """Sends one and waits for its pong."""
        self.protocol.send_ping(data)
        self.flush()
        while data not in self.pongs:
            assert self.pump()
            self.pongs += [f.data for f in self.frames if f.opcode is OP_PONG]

    def say_goodbye(self, code, reason=""):
        """The closing handshake alone: some ingresses do not pass the end behind it on."""
        self.protocol.send_close(code, reason)
        self.flush()
        while not self.protocol.close_rcvd:
            assert self.pump()

    def close(self, code=1000, reason=""):
        """The closing handshake, and the end that the origin makes."""
        self.say_goodbye(code, reason)
        assert self.receive() is None
        if isinstance(self.way, Over2):
            self.cut("fin")
