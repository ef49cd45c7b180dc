"""session_ends: ends of a tunnel's session made of raw frames: an adit and an aditd that mean harm.

    BadAdit(server)      has authenticated, published a name, and answers what aditd asks as a test says
    BadServer            an adit dials it; .session() is the asking end of its session
"""
import json
import os
import queue
import struct
import time

import harness
from h2frames import RawEnd
from harness import DOMAIN
from test_dialer import FakeServer, grant
from test_link import ACK, CLOSE, DATA, HELLO, PING, PONG, WELCOME, Peer, frame
from wire import Cut

DATA_MAX = 16340


class LinkSocket:
    """A carrier once the greeting is over: what is written goes as DATA, what is read came so. PINGs are answered and
    DATA acknowledged. `code`: of the far end's CLOSE, `rest` what came before this began."""

    def __init__(self, sock, reader, received=0, rest=b""):
        self.sock, self.reader, self.received, self.rest, self.code = sock, reader, received, rest, None

    def gettimeout(self):
        return self.sock.gettimeout()

    def close(self):
        self.sock.close()

    def sendall(self, data):
        for at in range(0, len(data), DATA_MAX):
            self.sock.sendall(frame(DATA, data[at:at + DATA_MAX]))

    def tell(self, data):
        try:
            self.sock.sendall(data)
        except OSError:
            pass

    def recv(self, _):
        data, self.rest = self.rest, b""
        until = time.monotonic() + self.gettimeout()
        while not data:
            if time.monotonic() > until:  # heartbeats go on
                raise TimeoutError
            try:
                head = self.reader.exactly(4)
                payload = self.reader.exactly(int.from_bytes(head[1:], "big"))
            except Cut:
                return b""
            if head[0] == PING:
                self.tell(frame(PONG, payload))
            elif head[0] == CLOSE:
                self.code = struct.unpack(">H", payload[:2])[0]
            elif head[0] == DATA:
                self.received += len(payload)
                self.tell(frame(ACK, struct.pack(">Q", self.received)))
                data = payload
        return data


class BadAdit(RawEnd):
    """Publishes `name` with the token of `who`; `answers` has what aditd asks, by stream."""

    def __init__(self, server, name="alice-bad", who="alice", **options):
        self.peer = Peer(server, os.urandom(16).hex(), who)
        self.url = self.peer.welcome(name)["tunnels"][0]["url"]
        sock = self.peer.visitor.sock
        super().__init__(LinkSocket(sock, self.peer.visitor.reader), f"{name}.{DOMAIN}", asks=False, **options)

    def asked(self, path, timeout=None):
        """The stream of the request for that path."""
        def found():
            return [s for s, request in self.answers.items() if request.get(":path", 0) == path]
        self.until(found, f"request for {path}")
        return found()[0]

    def respond(self, stream, fields=((":status", "200"),), end=False):
        return self.head(list(fields), end, stream)

    def leave(self):
        """Ends the link, so that its name and its place are free."""
        self.sock.tell(frame(CLOSE, struct.pack(">H", 200)))
        self.close()


class BadSession(RawEnd):
    """The asking end of a session. Requests are for the tunnel that adit has published."""

    def encode(self, fields):
        names = [n for n, _ in fields]
        tunnel = [("adit-tunnel", "shop")] if ":method" in names or ":path" in names else []
        return super().encode([*fields, *tunnel])


class BadServer:
    """A server that an adit of its own has dialled, with `origin` behind it."""

    def __init__(self, own, origin):
        self.server = own.keep(FakeServer())
        self.adit = own.keep(harness.adit_http(
            None, own.folder / "adit", origin.address, "--name", "shop", common=[
                "--server", f"http://127.0.0.1:{self.server.port}", "--carrier", "direct", "--log-format", "json"]))

    def session(self, **options):
        """The next link's, greeted."""
        carrier = self.server.next(timeout=20)
        hello = json.loads(carrier.until(HELLO))
        carrier.sock.sendall(grant(WELCOME, resume_ms=0))
        session = BadSession(LinkSocket(carrier.sock, carrier.reader), f"shop.{DOMAIN}", **options)
        session.hello = hello
        return session.greeted()

    def dials_again(self):
        return not self.server.carriers.empty()

    def drop_dials(self):
        """Carriers that were dialled and not looked at yet go."""
        while True:
            try:
                self.server.carriers.get_nowait().cut()
            except queue.Empty:
                return
