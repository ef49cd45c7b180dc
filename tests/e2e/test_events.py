"""Server-sent events: each comes as it is sent, to however many visitors, and none is lost, doubled or late."""
import concurrent.futures
import statistics
import threading
import time

import pytest

import visits
from harness import DOMAIN
from visits import VERSIONS, H2Visitor
from way import Way
from wire import Visitor, eventually, lines

both = pytest.mark.parametrize("version", VERSIONS)
HEAD = lines("HTTP/1.1 200 Fine", [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"),
                                   ("Transfer-Encoding", "chunked")])
LAST = b"0\r\n\r\n"


def event(text):
    """An event in a chunk of its own, as servers send it."""
    data = b"data: %s\n\n" % text
    return b"%x\r\n%s\r\n" % (len(data), data)


class Events:
    """What came of an event stream: `next` gives one event, without its empty line."""

    def __init__(self, asked):
        self.asked, self.data = asked, b""
        head = asked.head()
        assert head.status == 200 and head.get("content-type") == "text/event-stream", head.start

    def next(self):
        """None at the stream's end."""
        while b"\n\n" not in self.data:
            some = self.asked.some()
            if not some:
                assert not self.data
                return None
            self.data += some
        one, _, self.data = self.data.partition(b"\n\n")
        return one


# ---- delay

def every_50_ms(count):
    """An origin's answer: events that tell the time at which they were sent."""
    def answer(connection, request):
        connection.send(HEAD)
        began = time.monotonic()
        for i in range(count):
            time.sleep(max(0, began + i * 0.05 - time.monotonic()))
            connection.send(event(b"%d" % time.monotonic_ns()))
        connection.send(LAST)
    return answer


def lags(asked, into):
    """Milliseconds from sending to arrival, of all its events."""
    events = Events(asked)
    while one := events.next():
        into.append((time.monotonic_ns() - int(one.removeprefix(b"data: "))) / 1e6)
    asked.leave()


def round_of(world, version, count):
    """Lags of one stream through the tunnel and of one asked of the origin directly, at the same time."""
    through, direct = [], []
    ways = [(visits.begin(world.server, version), through),
            (visits.H1Request(Visitor(world.origin.port, "origin")), direct)]
    threads = [threading.Thread(target=lags, args=way) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(through) == len(direct) == count
    return through, direct


@both
def test_lag(world, version):
    """Events sent every 50 ms arrive less than 20 ms later through the tunnel than directly, in the median. (The best
    of three rounds: whatever else a machine does adds to it, nothing takes from it.)"""
    world.origin.serve(every_50_ms(30))
    for _ in range(3):
        through, direct = round_of(world, version, 30)
        median = statistics.median(through) - statistics.median(direct)
        print(f"events over HTTP/{version}: median {median:.2f} ms beyond {statistics.median(direct):.2f} ms directly,"
              f" worst {max(through):.2f} ms, directly {max(direct):.2f} ms")
        if median < 20:
            return
    raise AssertionError(f"the median lag is {median:.1f} ms beyond that of the origin itself")


# ---- many

class Choir:
    """An origin that sends the same events to all who have asked, each with the asker's path in it."""

    def __init__(self, size, count, pause):
        self.size, self.count, self.pause = size, count, pause
        self.all_here = threading.Barrier(size, timeout=60)

    def __call__(self, connection, request):
        connection.send(HEAD)
        self.all_here.wait()
        name = request.target[1:].encode()
        for i in range(self.count):
            connection.send(event(b"%s %d" % (name, i)))
            time.sleep(self.pause)
        connection.send(LAST)

    def check(self, asked):
        for name, one in enumerate(asked):
            events = Events(one)
            for i in range(self.count):
                assert events.next() == b"data: %d %d" % (name, i), (name, i)
            assert events.next() is None
            one.leave()


@pytest.mark.big
@both
def test_five_hundred_streams(own, version):
    """500 event streams at once, over HTTP/2 on five connections: each gets all of its own events in order."""
    server, origin, choir = own.server(), own.origin(), Choir(500, 10, 0.2)
    origin.serve(choir)
    own.http(server, origin.address, "--name", "shop").wait_event("published")
    began = time.monotonic()
    if version == "2":
        connections = [H2Visitor(server.tls_port, f"shop.{DOMAIN}", server.authority.context(), 60) for _ in range(5)]
        asked = [connections[i % 5].begin(target=f"/{i}") for i in range(500)]
    else:
        asked = [visits.H1Request(server.visit(timeout=60), target=f"/{i}") for i in range(500)]
    choir.check(asked)
    print(f"500 event streams over HTTP/{version}: {time.monotonic() - began:.1f} s, of which 2 s are pauses")


# ---- cuts

@pytest.mark.parametrize("carrier", ["direct", "ws-h2"])
def test_cuts(own, carrier):
    """The carrier is cut five times under event streams of both versions of HTTP: all events come, once, in order."""
    way, choir = Way(own, carrier=carrier), Choir(4, 100, 0.02)
    way.origin.serve(choir)
    asked = [visits.begin(way.server, version, target=f"/{i}") for i, version in enumerate(VERSIONS * 2)]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        checked = pool.submit(choir.check, asked)
        for i in range(5):
            time.sleep(0.3)
            assert not checked.done()
            way.relay.cut(("reset", "fin")[i % 2])
            eventually(lambda: len(way.adit.events("moved")) == i + 1, "the resumption")
        checked.result(30)
    assert len(way.origin.requests) == 4


# ---- silence

@pytest.mark.soak
def test_silent_streams(world):
    """Event streams without an event for 200 s are still there: longer than aditd keeps a connection without request."""
    go_on = threading.Event()

    def answer(connection, request):
        connection.send(HEAD + event(b"first"))
        if go_on.wait(240):
            connection.send(event(b"second") + LAST)

    world.origin.serve(answer)
    asked = [visits.begin(world.server, version) for version in VERSIONS]
    streams = [Events(one) for one in asked]
    assert [one.next() for one in streams] == [b"data: first"] * 2
    time.sleep(200)
    go_on.set()
    for one in streams:
        assert one.next() == b"data: second" and one.next() is None
        one.asked.leave()


# ---- the ends

@both
def test_visitor_leaves(world, version):
    """A visitor who leaves a silent event stream ends the origin's request at once."""
    ended = []

    def answer(connection, request):
        connection.send(HEAD + event(b"first"))
        ended.append(connection.wait_gone(10))

    world.origin.serve(answer)
    asked = visits.begin(world.server, version)
    events = Events(asked)
    assert events.next() == b"data: first"
    began = time.monotonic()
    asked.leave()
    eventually(lambda: ended, "the origin hears of it")
    assert ended == [True] and time.monotonic() - began < 1


@both
def test_one_of_many_leaves(world, version):
    """Of several event streams of a visitor one is left; the others go on. Over HTTP/2 they are on one connection."""
    left, go_on = [], threading.Event()

    def answer(connection, request):
        connection.send(HEAD + event(b"first"))
        if request.target == "/1":
            left.append(connection.wait_gone(10))
        elif go_on.wait(10):
            connection.send(event(b"second") + LAST)

    world.origin.serve(answer)
    if version == "2":
        connection = H2Visitor(world.server.tls_port, f"shop.{DOMAIN}", world.server.authority.context())
        asked = [connection.begin(target=f"/{i}") for i in range(3)]
    else:
        asked = [visits.begin(world.server, version, target=f"/{i}") for i in range(3)]
    streams = [Events(one) for one in asked]
    assert [one.next() for one in streams] == [b"data: first"] * 3
    asked[1].leave()
    eventually(lambda: left, "the origin hears of it")
    go_on.set()
    for i in (0, 2):
        assert streams[i].next() == b"data: second" and streams[i].next() is None
        asked[i].leave()
    if version == "2":
        connection.close()
    assert left == [True]


@both
def test_what_events_are_made_of(world, version):
    """Last-Event-ID reaches the origin; comments, retry, ids and any line ends arrive as they were sent."""
    text = ("\ufeff: a comment\r\rretry: 2500\nid: 8\nevent: é\ndata\ndata:\ndata:  two\r\n\r\n:\n\n"
            "id\n\ndata: unended").encode()

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 Fine", [("Content-Type", "text/event-stream"), ("Connection", "close")]))
        for byte in text:
            connection.send(bytes([byte]))
        connection.end()

    world.origin.serve(answer)
    asked = visits.begin(world.server, version, fields=[("Accept", "text/event-stream"), ("Last-Event-ID", "7 é")])
    assert asked.head().get("content-type") == "text/event-stream" and asked.rest() == text
    asked.leave()
    [request] = world.origin.requests
    assert (request.get("last-event-id"), request.get("accept")) == ("7 é", "text/event-stream")
