"""What happens when the memory that a program may use is used up: nothing new begins, what runs goes on, and when there
is some again all is as before."""
import hashlib
import threading
import time

import pytest

import visits
from wire import Cut, eventually
from ws_peers import Origin, WebSocket

MIB = 1 << 20
READERS = 600  # more than there is memory for, in either program
SOON = 1.0  # seconds until what was given back is used again


class Paced(threading.Thread):
    """A visitor who takes 10 MB in about `seconds`."""

    def __init__(self, server, path, seconds=6):
        super().__init__(daemon=True)
        self.visitor, self.digest, self.error, self.pause = server.visit("files"), hashlib.sha256(), None, seconds / 160
        self.visitor.ask(target=path)
        self.start()

    def take(self, data):
        self.digest.update(data)
        time.sleep(self.pause * len(data) / 65536)

    def run(self):
        try:
            self.visitor.read(sink=self.take)
        except Exception as e:  # told by end(), in the test's own thread
            self.error = e

    def end(self):
        self.join(60)
        assert not self.is_alive() and self.error is None, self.error
        return self.digest.hexdigest()


class Running:
    """What must not notice: a download and a WebSocket."""

    def __init__(self, own, server):
        self.wanted = hashlib.sha256((own.nginx.root / "10m").read_bytes()).hexdigest()
        self.download, self.socket = Paced(server, "/10m"), WebSocket(server, name="shop")
        self.said = 0

    def say(self):
        self.said += 1
        self.socket.send(f"still here {self.said}")
        assert self.socket.receive() == f"still here {self.said}"

    def end(self):
        self.say()
        assert self.download.end() == self.wanted
        self.socket.close()


def read_nothing(server, crowd, most=READERS):
    """Visitors who ask for 10 MB and take nothing, and ask on and on, until one is refused: his answer."""
    for _ in range(most):
        visitor = server.visit("files", receive_buffer=4096, tls=True)
        visitor.send(visitor.head_bytes("GET", "/10m") + visitor.head_bytes("GET", "/2k") * 800)
        head = visitor.head()
        if head.status != 200:
            visitor.close()
            return head
        crowd.append(visitor)
    raise AssertionError(f"{most} visitors are not refused")


def short_of(program, event="memory.short"):
    return len(program.events(event))


@pytest.fixture
def sockets():
    origin = Origin()
    yield origin
    origin.stop()


def begin(own, sockets, **config):
    server = own.server(**config)
    tunnels = own.tunnels(server, {"files": own.nginx.address, "shop": sockets.address})
    return server, tunnels.program


def leave(crowd):
    for visitor in crowd:
        visitor.close()


def takes_again(server, within=SOON):
    began = time.monotonic()
    eventually(lambda: server.fetch("files", target="/2k").status == 200, "a new request is taken", timeout=10)
    taken = time.monotonic() - began
    assert taken < within, f"{taken:.2f} s until new requests are taken"
    return taken


def test_nothing_new_begins_without_memory(own, sockets):
    """aditd with its memory used up: 503, links refused, idle connections closed; a download and a WebSocket go on."""
    server, adit = begin(own, sockets, max_memory="32M")
    idle, second, crowd = [server.visit("files") for _ in range(8)], visits.H2Visitor(server.plain_port, "files.x"), []
    idle.append(second)
    running = Running(own, server)
    again = server.visit("files")
    assert again.fetch(target="/2k").status == 200
    head = read_nothing(server, crowd)
    print(len(crowd), server.program.memory("VmRSS"), server.program.events("memory.short"))
    time.sleep(2)
    print(len(crowd), server.program.memory("VmRSS"), server.program.events("memory.short"))
    assert head.status == 503 and head.get("retry-after") == "1" and "connection_limit" in head.get("proxy-status")
    running.say()
    server.program.wait_event("memory.short")
    late = own.http(server, own.nginx.address, "--name", "alice-late", folder="late")
    refused = server.program.wait_event("link.refused", code=503)
    assert "memory" in refused["reason"]
    eventually(lambda: again.closed(), "who has no request makes room")
    running.say()
    print(f"refused after {len(crowd)}; RSS {server.program.memory('VmRSS')} KiB")
    leave(crowd)
    print(f"new requests after {takes_again(server):.2f} s")
    late.wait_event("published", name="alice-late")
    running.end()
    enough = server.program.wait_event("memory.enough")
    assert enough["refused"] >= 1 and len(adit.events("published")) == 2
    for visitor in idle:
        (visitor.connection if visitor is second else visitor).close()


def test_adit_begins_nothing_new_without_memory(own, sockets):
    """The same in adit: it answers 503, and what it has begun goes on."""
    server = own.server()
    tunnels = own.tunnels(server, {"files": own.nginx.address, "shop": sockets.address})
    adit, crowd = tunnels.program, []
    running = Running(own, server)
    head = read_nothing(server, crowd)
    assert head.status == 503 and head.get("retry-after") == "1" and "adit" in head.get("proxy-status")
    adit.wait_event("memory.short")
    running.say()
    leave(crowd)
    takes_again(server)
    running.end()
    adit.wait_event("memory.enough")
