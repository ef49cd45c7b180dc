"""What happens when the memory that a program may use is used up: nothing new begins, what runs goes on, and when there
is some again all is as before."""
import hashlib
import threading
import time

import pytest

from crowds import Crowd
from wire import eventually
from ws_peers import Origin, WebSocket

MIB = 1 << 20
READERS = 600  # more than there is memory for, in either program
IDLE = 500  # connections that do nothing
SPACE = 160 * MIB  # addresses, of which a third is mapped before anybody has come
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
    running, crowd = Running(own, server), []
    again = server.visit("files")
    assert again.fetch(target="/2k").status == 200
    head = read_nothing(server, crowd)  # what windows may bring is granted
    assert head.status == 503 and head.get("retry-after") == "1"
    with Crowd(server, IDLE, "h2", tls=True, processes=1) as idle:
        idle.do("come")
        server.program.wait_event("memory.short")
        late = own.http(server, own.nginx.address, "--name", "alice-late", folder="late")
        refused = server.program.wait_event("link.refused", code=503)
        assert "memory" in refused["reason"]
        running.say()
        eventually(lambda: again.closed(), "who has no request makes room")
        print(f"refused after {len(crowd)}; RSS {server.program.memory('VmRSS')} KiB")
        running.say()
    leave(crowd)
    print(f"new requests after {takes_again(server):.2f} s")
    late.wait_event("published", name="alice-late")
    running.end()
    assert server.program.wait_event("memory.enough")["refused"] >= 1
    assert len(adit.events("published")) == 2 and short_of(server.program) == 1, "the tunnel was lost"


def test_adit_begins_nothing_new_without_memory(own, sockets):
    """The same in adit: what would begin is 503, what it has begun goes on."""
    server = own.server()
    tunnels = own.tunnels(server, {"files": own.nginx.address, "shop": sockets.address}, max_memory="24M")
    running, crowd = Running(own, server), []
    head = read_nothing(server, crowd)
    assert head.status == 503
    running.say()
    print(f"refused after {len(crowd)}; RSS {tunnels.program.memory('VmRSS')} KiB; {short_of(tunnels.program)}")
    leave(crowd)
    print(f"new requests after {takes_again(server):.2f} s")
    running.end()
    assert len(tunnels.program.events("published")) == 2, "the tunnel was lost"


@pytest.mark.big
@pytest.mark.parametrize("limited", ["aditd", "adit"])
def test_little_address_space(own, sockets, limited):
    """The same by RLIMIT_AS, without any option: attackers fill what there is, and nothing aborts."""
    wrap = ("prlimit", f"--as={SPACE}")
    server = own.server(wrap=wrap if limited == "aditd" else ())
    tunnels = own.tunnels(server, {"files": own.nginx.address, "shop": sockets.address},
                          wrap=wrap if limited == "adit" else ())
    program = server.program if limited == "aditd" else tunnels.program
    assert program.events("memory")[0]["by"] == "RLIMIT_AS"
    running, crowd = Running(own, server), []
    head = read_nothing(server, crowd)
    assert head.status == 503
    with Crowd(server, 4 * IDLE, "h2", tls=True, processes=2) as idle, \
            Crowd(server, 4 * IDLE, "h1", tls=True, processes=2) as asking:
        for part in (idle, asking):
            part.tell("come")
        for part in (idle, asking):
            part.hear()
        running.say()
        asking.do("begin", "/10m")
        running.say()
        print(f"{limited}: refused after {len(crowd)}; VmPeak {program.memory('VmPeak')} of {SPACE // 1024} KiB, "
              f"RSS {program.memory('VmRSS')} KiB")
    leave(crowd)
    print(f"{limited}: new requests after {takes_again(server):.2f} s")
    running.end()
    assert program.alive() and len(tunnels.program.events("published")) == 2, "the tunnel was lost"
