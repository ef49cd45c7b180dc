"""Bodies, event streams and upgraded connections over a connection that is cut all the time: whole, identical, once."""
import hashlib
import os
import random
import signal
import threading
import time

import pytest

from way import Saw, Way
from wire import eventually, lines, reply

MEGABYTE = 1 << 20
CARRIERS = ["direct", "ws-h1", "ws-h2", "poll"]
UPGRADE = [("Connection", "Upgrade"), ("Upgrade", "chat")]


def sha(data):
    return hashlib.sha256(data).hexdigest()


def pour(send, data, seconds):
    """Sends all of it, spread over so many seconds."""
    began = time.monotonic()
    for at in range(0, len(data), 65536):
        send(data[at:at + 65536])
        time.sleep(max(0, began + seconds * at / len(data) - time.monotonic()))


class Traffic:
    """An origin that serves a download, an upload, an event stream and an echo after an upgrade; and their visitors.

    Everything takes about `seconds`, so that it is all under way while the connection is cut."""

    def __init__(self, way, size, seconds):
        self.way, self.seconds, self.failures, self.results = way, seconds, [], {}
        self.body = random.Random(7).randbytes(MEGABYTE) * (size // MEGABYTE)
        self.served = {}
        way.origin.serve(self.serve)

    def serve(self, connection, request):
        self.served[request.target] = self.served.get(request.target, 0) + 1
        getattr(self, "serve_" + request.target[1:])(connection, request)

    def serve_down(self, connection, _):
        pour(connection.send, reply(200, self.body), self.seconds)

    def serve_up(self, connection, request):
        connection.send(reply(200, sha(request.read()).encode()))

    def serve_events(self, connection, _):
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Type", "text/event-stream"), ("Connection", "close")]))
        for i in range(int(self.seconds * 50)):
            connection.send(b"data: %d\n\n" % i)
            time.sleep(0.02)
        connection.end()

    def serve_echo(self, connection, _):
        connection.send(lines("HTTP/1.1 101 Switching Protocols", UPGRADE))
        while data := connection.reader.some():
            connection.send(data)
        connection.end()

    def visit_down(self):
        with self.way.server.visit(timeout=60) as visitor:
            answer = visitor.fetch("GET", "/down")
        assert (answer.status, sha(answer.body)) == (200, sha(self.body))

    def visit_up(self):
        with self.way.server.visit(timeout=60) as visitor:
            visitor.send(visitor.head_bytes("POST", "/up", [("Content-Length", len(self.body))]))
            pour(visitor.send, self.body, self.seconds)
            answer = visitor.read("POST")
        assert (answer.status, answer.body.decode()) == (200, sha(self.body))

    def visit_events(self):
        with self.way.server.visit(timeout=60) as visitor:
            answer = visitor.fetch("GET", "/events")
        assert answer.body == b"".join(b"data: %d\n\n" % i for i in range(int(self.seconds * 50)))

    def visit_echo(self):
        sent = os.urandom(100) * int(self.seconds * 100)
        with self.way.server.visit(timeout=60) as visitor:
            visitor.ask(target="/echo", fields=UPGRADE)
            assert visitor.head().status == 101
            back = threading.Thread(target=lambda: self.results.update(echo=visitor.reader.exactly(len(sent))))
            back.start()
            for at in range(0, len(sent), 200):
                visitor.send(sent[at:at + 200])
                time.sleep(0.02)
            back.join(60)
        assert self.results.get("echo") == sent

    def run(self, limit):
        def one(what):
            try:
                getattr(self, "visit_" + what)()
            except BaseException as e:  # told by the test's own thread
                self.failures.append(f"{what}: {e!r}"[:500])

        whats = ("down", "up", "events", "echo")
        threads = [threading.Thread(target=one, args=(what,), daemon=True) for what in whats]
        for thread in threads:
            thread.start()
        end = time.monotonic() + limit
        for what, thread in zip(whats, threads):
            thread.join(max(0, end - time.monotonic()))
            if thread.is_alive():
                self.failures.append(f"{what}: still under way after {limit} s")
        assert not self.failures, "\n".join(self.failures)
        assert all(n == 1 for n in self.served.values()), self.served


@pytest.mark.parametrize("carrier", CARRIERS)
def test_all_traffic_cut_all_the_time(own, carrier):
    """20 MB each way, events and an echo at the same time, cut every 200 ms at some byte: all of it comes, once."""
    way = Way(own, carrier=carrier)
    with Saw(way.relay, seed=CARRIERS.index(carrier)):
        Traffic(way, 20 * MEGABYTE, 2).run(40)
    # poll mends a cut connection by itself, the link need not
    assert way.relay.count > 4 if carrier == "poll" else len(way.adit.events("moved")) >= 4


@pytest.mark.big
@pytest.mark.parametrize("carrier", CARRIERS)
def test_hundred_megabytes(own, carrier):
    """The same with 100 MB each way over 20 s, black holes among the cuts."""
    way = Way(own, carrier=carrier)
    holes = threading.Event()

    def dig():
        while not holes.wait(9):
            way.relay.cut("hole")

    thread = threading.Thread(target=dig, daemon=True)
    thread.start()
    try:
        with Saw(way.relay, seed=5):
            Traffic(way, 100 * MEGABYTE, 20).run(180)
    finally:
        holes.set()
        thread.join()


def test_black_hole_under_traffic(own):
    """The connection becomes a black hole under all that: it all goes on within 5 s, on another one."""
    way = Way(own)
    threading.Timer(0.7, way.relay.cut, ["hole"]).start()
    Traffic(way, 4 * MEGABYTE, 2).run(20)
    assert way.relay.count >= 2 and len(way.adit.events("moved")) >= 1


@pytest.mark.soak
@pytest.mark.parametrize("carrier", ["direct", "ws-h2", "poll"])
@pytest.mark.parametrize("who", ["path", "aditd", "adit"])
def test_frozen(own, carrier, who):
    """Everything stands still for a while and then goes on, so that a former carrier wakes up beside its successor:
    what comes late on it is nobody's."""
    way = Way(own, carrier=carrier)
    over = threading.Event()
    rng = random.Random(3)

    def freeze():
        programs = {"aditd": way.server.program, "adit": way.adit}
        while not over.wait(rng.uniform(0.1, 0.5)):
            if who == "path":
                way.relay.cut("hole")
            else:
                programs[who].signal(signal.SIGSTOP)
            over.wait(rng.uniform(2.0, 2.6))
            if who == "path":
                way.relay.heal()
            else:
                programs[who].signal(signal.SIGCONT)

    thread = threading.Thread(target=freeze, daemon=True)
    thread.start()
    try:
        Traffic(way, 8 * MEGABYTE, 6).run(60)
    finally:
        over.set()
        thread.join()
    assert len(way.adit.events("published")) == 1


def sweep(way, how, positions, seconds, until):
    """Under traffic: cuts the connection, then the next one at that byte of its set-up, and lets the one behind that
    live; and so on."""
    traffic = Traffic(way, 4 * MEGABYTE, seconds)
    thread = threading.Thread(target=traffic.run, args=(300,), daemon=True)
    thread.start()
    for at in positions:
        moved = len(way.adit.events("moved"))
        way.relay.fates = [(how, at), (None, None)]
        way.relay.cut("reset")
        eventually(lambda: len(way.adit.events("moved")) > moved and not way.relay.fates or not thread.is_alive(),
                   f"resumed, {how} at {at}", until)
        assert thread.is_alive() or traffic.failures, "an idle link may not come so far: make the traffic longer"
    thread.join(300)
    assert not thread.is_alive() and not traffic.failures, traffic.failures
    assert len(way.adit.events("published")) == 1


@pytest.mark.parametrize("carrier", ["direct", pytest.param("ws-h1", marks=pytest.mark.soak),
                                     pytest.param("ws-h2", marks=pytest.mark.soak)])
def test_cut_while_resuming(own, carrier):
    """The carrier on which the link resumes is cut itself, at each of many bytes: TLS, the request, ATTACH, the answer."""
    how = ("reset", "fin", "half")[CARRIERS.index(carrier)]
    sweep(Way(own, carrier=carrier), how, range(1, 6000, 600), 4, 10)


@pytest.mark.soak
@pytest.mark.parametrize("how", ["reset", "fin", "half", "hole"])
@pytest.mark.parametrize("carrier", ["direct", "ws-h1", "ws-h2"])
def test_cut_everywhere_while_resuming(own, carrier, how):
    """The same at every few bytes."""
    sweep(Way(own, carrier=carrier), how, range(1, 6000, 500 if how == "hole" else 41), 90, 40)


def test_each_post_once(own):
    """Small POSTs one after the other while the connection is cut: each is answered, and the origin gets each once."""
    way = Way(own)
    over, failures, counts = threading.Event(), [], [0] * 6

    def post(who):
        try:
            with way.server.visit() as visitor:
                while not over.is_set():
                    answer = visitor.fetch("POST", f"/{who}/{counts[who]}", body=b"x" * 100)
                    assert answer.status == 200, answer.body
                    counts[who] += 1
        except BaseException as e:  # told by the test's own thread
            failures.append(repr(e))

    threads = [threading.Thread(target=post, args=(who,), daemon=True) for who in range(len(counts))]
    with Saw(way.relay, every=0.1, reach=20000):
        for thread in threads:
            thread.start()
        time.sleep(1.3)
        over.set()
        for thread in threads:
            thread.join(20)
    assert not failures, failures
    wanted = [f"/{who}/{i}" for who, n in enumerate(counts) for i in range(n)]
    assert sorted(r.target for r in way.origin.requests) == sorted(wanted) and len(way.adit.events("moved")) > 5


@pytest.mark.parametrize("carrier", ["direct", "poll"])
def test_slow_ends_cut(own, carrier):
    """A visitor who reads in bursts and an origin that does: what waits at both goes on after each cut."""
    way = Way(own, carrier=carrier)
    body, took = os.urandom(MEGABYTE) * 6, []

    def serve(connection, request):
        if request.target == "/down":
            connection.send(reply(200, body))
            return
        got = b""
        while len(got) < len(body):
            got += connection.reader.exactly(min(300000, len(body) - len(got)))
            time.sleep(0.05)
        request.body = got
        connection.send(reply(200, sha(got).encode()))

    def up():
        with way.server.visit(timeout=40) as visitor:
            took.append(visitor.fetch("POST", "/up", body=body).body.decode())

    way.origin.serve(serve)
    thread = threading.Thread(target=up, daemon=True)
    with Saw(way.relay, every=0.3), way.server.visit(timeout=30, receive_buffer=32768) as visitor:
        thread.start()
        visitor.ask(target="/down")
        assert visitor.head().status == 200
        got = b""
        while len(got) < len(body):
            got += visitor.reader.exactly(min(300000, len(body) - len(got)))
            time.sleep(0.05)
        thread.join(40)
    assert sha(got) == sha(body) and took == [sha(body)]
