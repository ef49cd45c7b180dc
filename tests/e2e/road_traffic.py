"""road_traffic: what is sent along a road, by visitors who come through the same ingress as the tunnel's carrier.

A road (test_ingress.py) has: kind, folder, server, origin, ingress, curl(…), works(…), and websockets_over_http2,
whether its ingress lets those of visitors through. ALL is everything; each member takes the road and leaves nothing
behind.
"""
import hashlib
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import DOMAIN
from visits import VERSIONS, H1Request, H2Visitor
from wire import Visitor, eventually, lines, reply
from ws_peers import WebSocket, echo_on

MEGABYTE = 1 << 20
HEAD = [("Content-Type", "application/octet-stream"), ("Transfer-Encoding", "chunked")]
HOST = f"shop.{DOMAIN}"
EVENTS = 30
# What an event may take, in the median: one that is held back until the next one comes takes 20 ms, one that waits
# for a buffer to fill comes with the last.
EVENT_PAUSE, EVENT_LAG = 0.02, 0.015


def ten_visitors(road):
    """Ten at once, half of them over HTTP/2, each with a megabyte of its own each way."""
    bodies = [os.urandom(MEGABYTE) for _ in range(10)]
    visitors = []

    def echo(connection, request):
        body = request.read()
        connection.send(reply(200, body, [("X-Path", request.target)]))

    road.origin.serve(echo)
    for i, body in enumerate(bodies):
        file = road.folder / f"body{i}"
        file.write_bytes(body)
        visitors.append(road.curl("2" if i % 2 else "1.1", "--data-binary", f"@{file}", path=f"/{i}"))
    results = [None] * len(visitors)

    def wait(i):
        results[i] = visitors[i].communicate()

    waits = [threading.Thread(target=wait, args=(i,)) for i in range(len(visitors))]
    for w in waits:
        w.start()
    for i, w in enumerate(waits):
        w.join(40)
        out, err = results[i]
        assert hashlib.sha256(out).digest() == hashlib.sha256(bodies[i]).digest(), \
            f"visitor {i} got {len(out)} bytes: {out[:300]} {err.decode()}"


def streamed(road, version):
    """The origin sends the next piece when the visitor has the one before."""
    got = threading.Event()

    def pieces(connection, request):
        request.read()
        connection.send(lines("HTTP/1.1 200 Fine", HEAD))
        for i in range(4):
            piece = b"piece %d\n" % i
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            if not got.wait(10):
                break
            got.clear()
        connection.send(b"0\r\n\r\n")

    road.origin.serve(pieces)
    visitor = road.curl(version, "-N")
    for i in range(4):
        start = time.monotonic()
        assert visitor.stdout.readline() == b"piece %d\n" % i, visitor.stderr.read().decode()
        assert time.monotonic() - start < 5, f"piece {i} was held back"
        got.set()
    assert visitor.stdout.read() == b"" and visitor.wait(10) == 0


def cancelled(road, version):
    """A visitor who goes away in the middle takes the origin's connection with him, and nothing else."""
    told = threading.Event()

    def endless(connection, request):
        request.read()
        if request.target != "/endless":
            connection.send(reply(200, f"GET {request.target}\n".encode()))
            return
        connection.send(lines("HTTP/1.1 200 Fine", HEAD) + b"5\r\nfirst\r\n")
        # an ingress notices at the latest when it cannot write any more; some do not before
        end = time.monotonic() + 12
        while time.monotonic() < end:
            if not connection.send(b"5\r\nagain\r\n"):
                told.set()
                return
            time.sleep(0.01)

    road.origin.serve(endless)
    visitor = road.curl(version, "-N", path="/endless")
    assert visitor.stdout.read(5) == b"first", visitor.stderr.read().decode()
    visitor.kill()
    visitor.communicate()
    assert told.wait(15), "the origin never heard that the visitor had gone"
    assert road.works("/after")


def each_version(what):
    """Visitors of both versions, one after the other."""
    def both(road):
        for version in VERSIONS:
            what(road, version)
    both.__doc__ = what.__doc__
    return both


# ---- HTTP/2 from the visitor to the ingress

def one_connection(road):
    """Five exchanges at once on one HTTP/2 connection. (Small ones: with more than fits its buffers, HAProxy 2.6
    stops sending now and then. With lengths: lighttpd 1.4.69 wants them.)"""
    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 Fine", HEAD))
        body = request.read()
        for at in range(0, len(body), 3000):
            piece = body[at:at + 3000]
            connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")

    road.origin.serve(answer)
    bodies = [os.urandom(8000) for _ in range(5)]
    with H2Visitor(road.ingress.port, HOST, road.authority.context()) as visitor:
        asked = [visitor.begin("POST", f"/{i}", [("Content-Length", 8000)], body=True) for i in range(5)]
        for one, body in zip(asked, bodies):
            one.send(body, end=True)  # in one frame: an ingress that has the whole length may answer, and close it
        for one, body in zip(asked, bodies):
            assert one.head().status == 200 and one.rest() == body


# ---- events

def events_of(asked, lags):
    """Reads an event stream to its end: the numbers of its events, in order, and what each took."""
    assert asked.head().status == 200
    data, seen = b"", 0
    while some := asked.some():
        data += some
        while b"\n\n" in data:
            one, _, data = data.partition(b"\n\n")
            number, sent = one.removeprefix(b"data: ").split()
            assert int(number) == seen, f"event {number} where {seen} is due"
            lags.append((time.monotonic_ns() - int(sent)) / 1e9)
            seen += 1
    asked.leave()
    assert (seen, data) == (EVENTS, b"")


def events(road):
    """Server-sent events to visitors of both versions: all of them, in order, and each before the next one is due."""
    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 Fine", [("Content-Type", "text/event-stream"), HEAD[1]]))
        for i in range(EVENTS):
            one = b"data: %d %d\n\n" % (i, time.monotonic_ns())
            connection.send(b"%x\r\n%s\r\n" % (len(one), one))
            time.sleep(EVENT_PAUSE)
        connection.send(b"0\r\n\r\n")

    road.origin.serve(answer)
    for _ in range(3):  # the best of three: a busy machine delays, too
        lags = [], []
        with H2Visitor(road.ingress.port, HOST, road.authority.context()) as second, ThreadPoolExecutor(2) as pool:
            first = Visitor(road.ingress.port, HOST, road.authority.context())
            asked = H1Request(first), second.begin()
            reading = [pool.submit(events_of, *way) for way in zip(asked, lags)]
            for one in reading:
                one.result(30)
        medians = [statistics.median(lag) for lag in lags]
        if max(medians) < EVENT_LAG:
            return
    raise AssertionError(f"events are held back: {medians} s in the median, HTTP/1.1 and HTTP/2; all: {lags}")


# ---- WebSockets

def websockets(road):
    """Visitors' WebSockets over HTTP/1.1, and over HTTP/2 where the ingress has them: text and binary of all lengths,
    and an end after which nothing is left of them."""
    def ended(version):
        return len([x for x in road.server.access_lines() if x["path"] == f"/{version}"])

    road.origin.serve(echo_on)
    for version in VERSIONS if road.websockets_over_http2 else VERSIONS[:1]:
        before = ended(version)
        with WebSocket(road.server, version, path=f"/{version}", port=road.ingress.port) as ws:
            for size in (0, 1, 125, 126, 65536, MEGABYTE):
                for message in (os.urandom(size), "é" * (size // 2)):
                    ws.send(message)
                    assert ws.receive() == message, (version, size)
            ws.say_goodbye(4001, "all of it")
            assert ws.protocol.close_rcvd.code == 4001
        eventually(lambda: ended(version) > before, f"the exchange ends, HTTP/{version}", timeout=3)


ALL = (ten_visitors, each_version(streamed), each_version(cancelled), one_connection, events, websockets)
