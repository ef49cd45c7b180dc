"""adit against a server that the test plays: what it makes of every answer to ATTACH."""
import json
import queue
import socket
import struct
import threading

import pytest

import harness
from test_link import ATTACH, ATTACHED, CLOSE, DATA, DRAIN, HELLO, PING, PONG, WELCOME, frame
from wire import Cut, Reader, accepted, lines, read_head

SECRET = "11" * 32
SWITCH = lines("HTTP/1.1 101 Switching Protocols",
               [("Connection", "Upgrade"), ("Upgrade", "adit"), ("Adit-Version", "1")])


class Carrier:
    """One carrier that adit has dialled, up to the 101."""

    def __init__(self, sock):
        sock.settimeout(15)
        self.sock, self.reader, self.received = sock, Reader(sock), 0
        self.request = read_head(self.reader)
        sock.sendall(SWITCH)

    def until(self, kind):
        while True:
            head = self.reader.exactly(4)
            payload = self.reader.exactly(int.from_bytes(head[1:], "big"))
            if head[0] == DATA:
                self.received += len(payload)
            if head[0] == kind:
                return payload
            if head[0] == PING and kind != PONG:
                self.sock.sendall(frame(PONG, payload))

    def cut(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()


class FakeServer:
    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.carriers = queue.Queue()
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for sock in accepted(self.listener):
            try:
                self.carriers.put(Carrier(sock))
            except (Cut, OSError):
                sock.close()

    def next(self, timeout=10):
        return self.carriers.get(timeout=timeout)

    def stop(self):
        self.listener.close()


def close(code, reason=b""):
    return frame(CLOSE, struct.pack(">H", code) + reason)


def grant(kind, rx_offset=0, epoch=0, resume_ms=30000):
    return frame(kind, json.dumps({
        "version": 1, "agent": "test/1", "resume_ms": resume_ms, "secret": SECRET, "epoch": epoch,
        "rx_offset": rx_offset,
        "tunnels": [{"name": "shop", "label": "web", "url": "https://shop.tunnel.test"}]}).encode())


class Dialled:
    """An adit with a link to the server, which has just lost its carrier and sends ATTACH on another."""

    def __init__(self, own, resume_ms=30000):
        self.server = own.keep(FakeServer())
        self.origin = own.origin()
        self.adit = own.keep(harness.adit_http(
            None, own.folder / "adit", self.origin.address, "--name", "shop", common=[
            "--server", f"http://127.0.0.1:{self.server.port}", "--carrier", "direct", "--log-format", "json"]))
        self.first = self.server.next()
        self.first.until(HELLO)
        self.first.sock.sendall(grant(WELCOME, resume_ms=resume_ms))
        self.adit.wait_event("published")
        self.first.until(DATA)

    def attaching(self):
        self.first.cut()
        carrier = self.server.next()
        return carrier, json.loads(carrier.until(ATTACH))

    def begins_anew(self):
        """The next carrier is for a new link, and adit is well."""
        carrier = self.server.next()
        carrier.until(HELLO)
        carrier.sock.sendall(grant(WELCOME))
        self.adit.wait_record(lambda *_: len(self.adit.events("published")) == 2, "second link")
        assert carrier.request.target != self.first.request.target
        return carrier


@pytest.fixture
def dialled(own):
    return Dialled(own)


def test_resumes(dialled):
    """ATTACHED: the link goes on from the offset told, here with bytes that the server had not received."""
    carrier, told = dialled.attaching()
    assert (told["epoch"], told["rx_offset"]) == (1, 0)
    carrier.sock.sendall(grant(ATTACHED, epoch=1))
    carrier.until(DATA)
    dialled.adit.wait_event("moved")


@pytest.mark.parametrize("behind", [close(503, b"going"), close(410), b"\xff" * 20, frame(PONG, b"x" * 9),
                                    grant(ATTACHED, epoch=1), frame(DATA, b"GET / HTTP/1.1\r\n\r\n" + b"x" * 50)],
                         ids=["503", "410", "garbage", "long pong", "another", "no http/2"])
def test_what_comes_behind_attached(dialled, behind):
    """ATTACHED with an end right behind it, in one piece: the link is over, and a new one is made."""
    carrier, _ = dialled.attaching()
    carrier.sock.sendall(grant(ATTACHED, rx_offset=0, epoch=1) + behind)
    dialled.begins_anew()


def test_refused_behind_attached(dialled):
    """The same with CLOSE(403): adit stops."""
    carrier, _ = dialled.attaching()
    carrier.sock.sendall(grant(ATTACHED, epoch=1) + close(403, b"revoked"))
    assert dialled.adit.wait() == 3


@pytest.mark.parametrize("answer", [close(410), close(400, b"offset"), grant(ATTACHED, rx_offset=1 << 40, epoch=1)],
                         ids=["410", "400", "never sent"])
def test_link_is_over(dialled, answer):
    """An answer that ends the link: a new one is made at once."""
    carrier, _ = dialled.attaching()
    carrier.sock.sendall(answer)
    dialled.begins_anew()


@pytest.mark.parametrize("answer", [
    close(409, b"late"), close(503), close(429), grant(ATTACHED, epoch=7), frame(WELCOME, b"{}"),
    frame(ATTACHED, b"{}"),
    frame(DATA, b"x"), b"HTTP/1.1 400 Bad Request\r\n\r\n", b"",
], ids=["409", "503", "429", "epoch", "welcome", "empty", "data", "http", "cut"])
def test_comes_again(dialled, answer):
    """An answer that says nothing about the link, and none at all: the same link comes again, with the next epoch."""
    carrier, _ = dialled.attaching()
    carrier.sock.sendall(answer)
    if not answer:
        carrier.cut()
    carrier = dialled.server.next()
    assert json.loads(carrier.until(ATTACH))["epoch"] == 2
    carrier.sock.sendall(grant(ATTACHED, epoch=2))
    carrier.until(DATA)
    dialled.adit.wait_event("moved")


def test_leaves_while_detached(dialled):
    """SIGTERM while there is no carrier ends adit well."""
    dialled.attaching()
    dialled.adit.stop()


def test_drain_behind_attached(dialled):
    """DRAIN right behind ATTACHED is heeded: a new link is made while the old one goes on."""
    carrier, _ = dialled.attaching()
    carrier.sock.sendall(grant(ATTACHED, epoch=1) + frame(DRAIN, struct.pack(">I", 0)))
    dialled.begins_anew()
    carrier.sock.sendall(frame(PING, b"12345678"))
    assert carrier.until(PONG) == b"12345678"


def test_not_resumable(own):
    """resume_ms 0: a lost carrier is a lost link."""
    dialled = Dialled(own, resume_ms=0)
    dialled.first.cut()
    dialled.begins_anew()
