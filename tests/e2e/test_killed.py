"""Either program is killed, or leaves, while visitors ask: who waits, who is answered, who is told what."""
import os
import signal
import threading
import time

import pytest

from way import Way
from wire import Cut, eventually, reply


def cpu(program):
    """Seconds of processor time that it has used."""
    fields = open(f"/proc/{program.pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Asker(threading.Thread):
    """A visitor with one request; `answer` and `seconds` when it is over, `error` when it was cut."""

    def __init__(self, server, method="GET", target="/", body=None):
        super().__init__(daemon=True)
        self.server, self.what = server, (method, target, (), body)
        self.answer = self.error = self.seconds = None
        self.start()

    def run(self):
        began = time.monotonic()
        try:
            with self.server.visit(timeout=60) as visitor:
                self.answer = visitor.fetch(*self.what)
        except (Cut, OSError, AssertionError) as e:
            self.error = e
        self.seconds = time.monotonic() - began

    def result(self, timeout=60):
        self.join(timeout)
        assert self.answer, f"{self.what}: {self.error!r} after {self.seconds}"
        return self.answer


class Load:
    """Visitors who ask one GET after the other until the block ends; `failures` tells what was no 200."""

    def __init__(self, server, visitors=4):
        self.server, self.over, self.failures, self.count, self.slowest = server, threading.Event(), [], 0, 0
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(visitors)]

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            try:
                with self.server.visit(timeout=30) as visitor:
                    while not self.over.wait(0.01):
                        began = time.monotonic()
                        answer = visitor.fetch(target=f"/{self.count}")
                        self.slowest = max(self.slowest, time.monotonic() - began)
                        self.count += 1
                        if answer.status != 200:
                            self.failures.append((answer.status, answer.body[:200]))
            except (Cut, OSError, AssertionError) as e:
                self.failures.append((repr(e), time.monotonic() - began))

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(40)


@pytest.fixture
def way(own):
    return Way(own)


def slow(connection, request):
    """An origin that takes 50 ms, so that there is always something under way."""
    time.sleep(0.05)
    connection.send(reply(200, b"slow"))


def test_server_killed(way):
    """kill -9 of aditd: adit serves again as soon as the listener is back; it dialled with growing waits meanwhile."""
    assert way.server.fetch().status == 200
    way.server.program.kill()
    used = cpu(way.adit)
    time.sleep(2)
    used = cpu(way.adit) - used
    way.server.start()
    began = time.monotonic()
    assert way.server.fetch(target="/again", timeout=20).status == 200
    took = time.monotonic() - began
    print(f"back after {took:.2f} s; adit used {used:.2f} s of processor in 2 s without server")
    assert took < 2.5  # 0.8 s of backoff; the machine may be busy
    assert used < 0.5
    waits = [r["ms"] for r in way.trace("wait")]
    assert 3 <= len(waits) <= 40 and waits[0] <= 100 and max(waits) <= 800, waits
    eventually(lambda: any(r["code"] == 410 for r in way.trace("close")), "the trace has the 410")


def test_client_killed(way):
    """kill -9 of adit, and another start: visitors who came in between get their 200."""
    assert way.server.fetch().status == 200
    way.adit.kill()
    used = cpu(way.server.program)
    askers = [Asker(way.server, target=f"/held/{i}") for i in range(50)]
    posts = [Asker(way.server, "POST", f"/posted/{i}", b"x" * 300000) for i in range(5)]
    time.sleep(1)
    used = cpu(way.server.program) - used
    assert all(a.is_alive() for a in askers + posts), "they wait"
    again = way.client("again")
    for asker in askers + posts:
        assert asker.result().status == 200
    again.wait_event("published")
    assert [r.target for r in way.origin.requests].count("/posted/0") == 1
    print(f"aditd used {used:.2f} s in 1 s with 55 waiting")
    assert used < 0.5


def test_hold_has_bounds(way):
    """256 wait; the 257th is told at once; after 10 s all are told that the tunnel is away, and when to come again."""
    way.adit.kill()
    way.server.program.wait_event("link.detached")
    askers = [Asker(way.server, target=f"/{i}") for i in range(256)]
    time.sleep(1.5)
    began = time.monotonic()
    over = way.server.fetch(target="/over")
    assert over.status == 503 and time.monotonic() - began < 1
    assert all(a.is_alive() for a in askers)
    for asker in askers:
        answer = asker.result()
        assert answer.status == 503 and answer.get("retry-after") and answer.get("proxy-status"), answer.fields
        assert 9.5 < asker.seconds < 12.5
    assert way.server.program.alive()


def test_held_body_is_not_read(way):
    """Of a POST that waits only the head is taken: its body stays with the visitor, who is served later, whole."""
    way.adit.kill()
    way.server.program.wait_event("link.detached")
    body = os.urandom(1 << 20) * 24
    with way.server.visit(timeout=30) as visitor:
        visitor.send(visitor.head_bytes("POST", "/big", [("Content-Length", len(body))]))
        visitor.sock.settimeout(1.5)
        sent = 0
        with pytest.raises(OSError):
            while sent < len(body):
                sent += visitor.sock.send(body[sent:sent + 65536])
        assert way.server.program.memory("VmRSS") < 64 * 1024 or "asan" in open(
            f"/proc/{way.server.program.pid}/maps").read()
        way.client("again")
        visitor.sock.settimeout(30)
        visitor.send(body[sent:])
        answer = visitor.read("POST")
    assert answer.status == 200 and answer.body.endswith(body[-1000:]) and len(answer.body) > len(body)


def test_held_visitor_leaves(way):
    """Visitors who go while they wait are forgotten: nobody asks the origin for them."""
    way.adit.kill()
    way.server.program.wait_event("link.detached")
    for _ in range(20):
        visitor = way.server.visit()
        visitor.ask(target="/gone")
        time.sleep(0.01)
        visitor.reset()
    time.sleep(0.3)
    again = way.client("again")
    again.wait_event("published")
    assert way.server.fetch(target="/here").status == 200
    assert [r.target for r in way.origin.requests] == ["/here"]


def test_under_way_on_a_killed_link(own):
    """A GET goes to another adit of the name after 2 s; a POST is never sent twice, and gets 502 at the link's end."""
    way = Way(own, resume_seconds=4)
    first, go = threading.Event(), threading.Event()

    def serve(connection, request):
        if not first.is_set() or not go.is_set():
            first.set()
            go.wait(20)
        request.read()
        connection.send(reply(200, b"from the other"))

    way.origin.serve(serve)
    get, post = Asker(way.server, target="/get"), Asker(way.server, "POST", "/post", b"once")
    eventually(lambda: len(way.origin.requests) == 2, "both are under way")
    other = way.client("other")
    other.wait_event("published")
    way.adit.kill()
    way.origin.serve(serve)  # counts anew
    go.set()
    answer = get.result()
    assert (answer.status, answer.body) == (200, b"from the other") and 1.8 < get.seconds < 4.5
    assert post.result().status == 502 and 3.5 < post.seconds < 8
    assert [r.target for r in way.origin.requests].count("/post") == 0, "it was there before, and not again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_one_of_two_goes(way, number):
    """Two adit of one name, and one goes under load: no request fails."""
    way.origin.serve(slow)
    way.client("other").wait_event("published")
    with Load(way.server) as load:
        time.sleep(0.7)
        way.adit.signal(number)
        time.sleep(3.5 if number == signal.SIGKILL else 1)
    print(f"{load.count} requests, the slowest took {load.slowest:.2f} s")
    assert not load.failures, load.failures[:5]
    assert load.count > 60 and load.slowest < 4
    if number == signal.SIGKILL:
        assert load.slowest > 1.5, "what was under way has moved"


def test_rolling_restart(way):
    """Both adit are replaced one after the other under load: no request fails."""
    way.origin.serve(slow)
    other = way.client("other")
    other.wait_event("published")
    with Load(way.server) as load:
        for i, old in enumerate((way.adit, other)):
            time.sleep(0.5)
            old.stop()
            way.client(f"new{i}").wait_event("published")
        time.sleep(0.5)
    print(f"{load.count} requests, the slowest took {load.slowest:.2f} s")
    assert not load.failures, load.failures[:5]
    assert load.count > 100


def test_restart_of_the_only_one(way):
    """The only adit leaves and comes back: requests wait for it, and none fails."""
    way.origin.serve(slow)
    with Load(way.server) as load:
        time.sleep(0.5)
        way.adit.stop()
        time.sleep(0.3)
        way.client("new").wait_event("published")
        time.sleep(0.5)
    assert not load.failures, load.failures[:5]
