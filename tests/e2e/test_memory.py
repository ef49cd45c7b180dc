"""What happens when the memory that a program may use is used up: nothing new begins, what runs goes on, and when there
is some again all is as before."""
import hashlib
import threading
import time

import pytest

import h2frames
from crowds import Crowd
from h2frames import RawVisitor
from wire import eventually
from ws_peers import Origin, WebSocket

MIB = 1 << 20
READERS = 600  # more than there is memory for, in either program
IDLE = 500  # connections that do nothing
SPACE = 160 * MIB  # addresses, of which a third is mapped before anybody has come
NO_SPACE = 40 * MIB
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
        until = time.monotonic() + 20
        while not (server.program.events("link.refused") or late.events("published")) and time.monotonic() < until:
            idle.do("come", str(IDLE // 5))  # those before have made room: on a slow build that may be his
        for refused in server.program.events("link.refused"):
            assert refused["code"] == 503 and "memory" in refused["reason"]
        running.say()
        eventually(lambda: again.closed(), "who has no request makes room")
        print(f"refused after {len(crowd)}; RSS {server.program.memory('VmRSS')} KiB")
        running.say()
    leave(crowd)
    print(f"new requests after {takes_again(server):.2f} s")
    late.wait_event("published", name="alice-late")
    running.end()
    assert server.program.wait_event("memory.enough")["refused"] >= 1
    assert len(adit.events("published")) == 2, "the tunnel was lost"
    eventually(lambda: short_of(server.program) == short_of(server.program, "memory.enough"), "the log says its end")


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


def begin_in(own, sockets, limited, space, **config):
    """Server, tunnels, and the one of them that has so many addresses only."""
    narrow = {"wrap": ("prlimit", f"--as={space}"), **config}
    server = own.server(**narrow if limited == "aditd" else {})
    tunnels = own.tunnels(server, {"files": own.nginx.address, "shop": sockets.address},
                          **narrow if limited == "adit" else {})
    return server, tunnels, server.program if limited == "aditd" else tunnels.program


@pytest.mark.big
@pytest.mark.parametrize("limited", ["aditd", "adit"])
def test_little_address_space(own, sockets, limited):
    """The same by RLIMIT_AS, without any option: attackers fill what there is, and nothing aborts."""
    server, tunnels, program = begin_in(own, sockets, limited, SPACE)
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


@pytest.mark.big
@pytest.mark.parametrize("limited", ["aditd", "adit"])
def test_no_memory_at_all(own, sockets, limited):
    """Told that there is memory where there is none, each program gets nothing from malloc now and then. Neither ends,
    and when the crowd has gone all is as before."""
    server, tunnels, program = begin_in(own, sockets, limited, NO_SPACE, max_memory="4G")
    with Crowd(server, 2 * IDLE, "h2", tls=True, name="files") as one, \
            Crowd(server, 2 * IDLE, "h1", tls=True, name="files") as other:
        for _ in range(2):
            for crowd in (one, other):
                crowd.do("come")
                crowd.do("begin", "/10m")
    print(f"{limited}: VmPeak {program.memory('VmPeak')} of {NO_SPACE // 1024} KiB")
    # a link that finds no memory to come back with is given up after resume_seconds, with what it holds
    eventually(lambda: server.fetch("files", target="/2k").status == 200, "a request is answered", timeout=50)
    assert server.program.alive() and tunnels.program.alive()


AMPLIFIED = 10  # bytes held for one byte that was sent, at most
SMALL = 64 * 1024  # bytes that a connection may hold whatever it has sent
STREAMS = 100
REQUEST = 10 * 1024  # and a request that runs: two streams, an exchange, heads


def held_per_connection(server, make, count=100):
    """What aditd's memory grows by for each of so many attackers, and what each has sent: bytes."""
    make(server)[0].close()
    before, sent, all_of_them = server.program.memory("VmRSS"), 0, []
    for _ in range(count):
        attacker, n = make(server)
        all_of_them.append(attacker)
        sent += n
    time.sleep(0.3)
    held = (server.program.memory("VmRSS") - before) * 1024
    for attacker in all_of_them:
        attacker.close()
    return held / count, sent / count


def half_a_head(server):
    visitor = server.visit()
    data = b"GET / HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % i for i in range(90))
    visitor.send(data)
    return visitor, len(data)


def one_long_field(server):
    visitor = server.visit()
    data = b"GET / HTTP/1.1\r\nx: " + b"y" * 32000
    visitor.send(data)
    return visitor, len(data)


def short_fields_h2(server):
    """A block of small indexed fields, without its end."""
    visitor = RawVisitor(server)
    block = visitor.encode(visitor.fields()) + b"\x90" * 90  # accept-encoding: gzip, deflate, from HPACK's table
    data = h2frames.raw(h2frames.HEADERS, h2frames.END_STREAM, 1, block)
    visitor.send(data)
    return visitor, len(data) + len(h2frames.PREFACE) + 9


def many_streams_h2(server):
    """As many requests as a connection may have, each of a few bytes, none of which is answered."""
    visitor = RawVisitor(server)
    block = visitor.encode(visitor.fields(path="/slow"))
    data = b"".join(h2frames.raw(h2frames.HEADERS, h2frames.END_HEADERS | h2frames.END_STREAM, 2 * i + 1, block)
                    for i in range(STREAMS))
    visitor.send(data)
    return visitor, len(data)


def many_small_frames_h2(server):
    """An upload of one byte a frame that nobody reads."""
    visitor = RawVisitor(server)
    stream = visitor.ask("POST", "/slow", [("content-length", "100000")], end=False)
    data = h2frames.raw(h2frames.DATA, 0, stream, b"x") * 500
    visitor.send(data)
    return visitor, len(data)


@pytest.mark.big
@pytest.mark.parametrize("make, count", [(half_a_head, 100), (one_long_field, 100), (short_fields_h2, 100),
                                         (many_streams_h2, 8), (many_small_frames_h2, 100)])
def test_what_is_held_for_what_was_sent(own, make, count):
    """Of what a visitor sends at most ten times is held, besides what a connection and a running request are."""
    server, origin = own.server(), own.origin()
    origin.serve(lambda connection, request: connection.wait_gone(20))
    own.tunnels(server, {"shop": origin.address})
    held, sent = held_per_connection(server, make, count)
    print(f"{make.__name__}: {sent:.0f} bytes sent, {held:.0f} held; {held / sent:.1f} times")
    assert held <= SMALL + (REQUEST * STREAMS if make is many_streams_h2 else 0) + AMPLIFIED * sent
