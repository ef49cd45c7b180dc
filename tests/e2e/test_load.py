"""Many visitors, much data, and what must stay true meanwhile."""
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import threading
import time

import pytest

from wire import eventually, lines, reply

GIGABYTE = 1 << 30
BLOCK = 1 << 20
RSS_KIB = 32 * 1024


@pytest.fixture(scope="module")
def gigabyte(nginx):
    """A file of a gigabyte without pattern under nginx, and its SHA-256."""
    path, digest, rng = nginx.root / "1g", hashlib.sha256(), random.Random(1)
    if shutil.disk_usage(nginx.root).free < 3 * GIGABYTE:
        pytest.skip("needs 3 GB of free disk")
    with open(path, "wb") as f:
        for _ in range(GIGABYTE // BLOCK):
            block = rng.randbytes(BLOCK)
            digest.update(block)
            f.write(block)
    yield path, digest.hexdigest()
    path.unlink()


class SlowVisitor(threading.Thread):
    """Reads /1g at `rate` bytes per second until told to stop."""

    def __init__(self, server, rate):
        super().__init__(daemon=True)
        self.visitor, self.rate = server.visit("files", receive_buffer=16384), rate
        self.done, self.taken, self.error = threading.Event(), 0, None

    def run(self):
        try:
            self.visitor.ask(target="/1g")
            assert self.visitor.head().status == 200
            while not self.done.wait(0.1):
                self.taken += len(self.visitor.reader.exactly(self.rate // 10))
        except Exception as e:  # told by stop(), in the test's own thread
            self.error = e

    def stop(self):
        self.done.set()
        self.join(20)
        self.visitor.close()
        assert self.error is None and self.taken > 0, self.error


@pytest.mark.big
def test_gigabyte_both_ways(own, gigabyte):
    """1 GB down and 1 GB up keep their hash, and neither program passes 32 MiB, beside a reader at 100 kB/s."""
    path, wanted = gigabyte
    server, origin, got = own.server(), own.origin(), []

    def take(connection, request):
        digest = hashlib.sha256()
        connection.reader.exactly(int(request.get("content-length")), digest.update)
        request.body = b"read"
        got.append(digest.hexdigest())
        connection.send(reply(200, digest.hexdigest().encode()))

    origin.serve(take)
    tunnels = own.tunnels(server, {"files": own.nginx.address, "shop": origin.address})
    slow = SlowVisitor(server, 100_000)
    slow.start()
    digest = hashlib.sha256()
    with server.visit("files", timeout=60) as visitor:
        visitor.ask(target="/1g")
        visitor.read(sink=digest.update)
    assert digest.hexdigest() == wanted
    with server.visit("shop", timeout=60) as visitor, open(path, "rb") as f:
        visitor.send(visitor.head_bytes("PUT", "/1g", [("Content-Length", GIGABYTE)]))
        while block := f.read(BLOCK):
            visitor.send(block)
        assert visitor.read().body.decode() == wanted == got[0]
    slow.stop()
    peaks = {p.name: p.memory("VmHWM") for p in (server.program, tunnels.program)}
    assert max(peaks.values()) < RSS_KIB, f"peak KiB: {peaks}"


@pytest.mark.big
def test_small_beside_bulk(own, gigabyte):
    """While 1 GB flows, a 2 KB answer begins within 50 ms (median of 100)."""
    server = own.server()
    own.tunnels(server, {"files": own.nginx.address})
    url = f"http://127.0.0.1:{server.plain_port}/1g"
    again_and_again = 'while curl -s -o /dev/null -H "Host: files.tunnel.test" "$1"; do :; done'
    bulk = subprocess.Popen(["/bin/sh", "-c", again_and_again, "sh", url], start_new_session=True)
    try:
        time.sleep(1)
        waits = []
        with server.visit("files") as visitor:
            for _ in range(100):
                began = time.monotonic()
                visitor.ask(target="/2k")
                visitor.reader.fill()
                waits.append(time.monotonic() - began)
                assert len(visitor.read().body) == 2048
        assert bulk.poll() is None, "the bulk download must run all the while"
    finally:
        os.killpg(bulk.pid, 9)
        bulk.wait(5)
    median = statistics.median(waits)
    assert median < 0.05, f"median {median * 1000:.1f} ms, worst {max(waits) * 1000:.1f} ms"


@pytest.mark.big
def test_five_hundred_at_once(own):
    """500 requests are in flight together, and each visitor gets his own answer."""
    server, origin = own.server(), own.origin()
    together = threading.Barrier(500, timeout=30)

    def answer(connection, request):
        together.wait()
        connection.send(reply(200, request.target.encode() * 100))

    origin.serve(answer)
    own.tunnels(server, {"shop": origin.address})
    visitors = [server.visit(timeout=40) for _ in range(500)]
    for i, visitor in enumerate(visitors):
        visitor.ask(target=f"/{i}")
    for i, visitor in enumerate(visitors):
        response = visitor.read()
        assert response.status == 200 and response.body == f"/{i}".encode() * 100
        visitor.close()


def cancel_some(server, count, problems):
    """Visitors who go away in mid-body, every other one with a reset."""
    try:
        for i in range(count):
            visitor = server.visit()
            visitor.ask()
            assert visitor.head().status == 200
            visitor.reader.exactly(4)
            (visitor.reset if i % 2 else visitor.close)()
    except Exception as e:  # told in the test's own thread
        problems.append(e)


@pytest.mark.big
def test_two_thousand_cancel(own):
    """2000 visitors who leave in mid-body leave the tunnel up, and nothing open at the origin or in the programs."""
    server, origin = own.server(), own.origin()
    lock, state, problems = threading.Lock(), {"open": 0, "all": 0}, []

    def answer(connection, request):
        with lock:
            state["open"] += 1
            state["all"] += 1
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 1 << 20)]) + b"some")
        if connection.wait_gone(20):
            with lock:
                state["open"] -= 1
        connection.end()

    tunnels = own.tunnels(server, {"shop": origin.address})
    assert server.fetch().status == 200
    eventually(lambda: server.program.descriptors(), "descriptors")
    before = [p.descriptors() for p in (server.program, tunnels.program)]
    origin.serve(answer)
    threads = [threading.Thread(target=cancel_some, args=(server, 100, problems)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not problems, problems[0]
    assert state["all"] == 2000
    eventually(lambda: state["open"] == 0, lambda: f"open at the origin: {state['open']}", timeout=20)
    origin.serve(None)
    assert server.fetch().status == 200 and len(tunnels.program.events("published")) == 1, "the tunnel was lost"
    eventually(lambda: all(p.descriptors() <= n + 8 for p, n in zip((server.program, tunnels.program), before)),
               "descriptors are given back")


def test_hundred_visitors_in_turn(world):
    """A hundred visitors one after the other, each with a connection of his own, leave no descriptor behind."""
    world.fetch()
    before = (world.aditd.descriptors(), world.adit.descriptors())
    for i in range(100):
        assert world.fetch(target=f"/{i}").status == 200
    eventually(lambda: world.aditd.descriptors() <= before[0] + 2 and world.adit.descriptors() <= before[1] + 8,
               "descriptors are given back")


def test_forty_cancel(world):
    """Visitors who leave in mid-body leave the tunnel up (the small sister of the 2000)."""
    world.origin.serve(lambda c, r: (c.send(lines("HTTP/1.1 200 OK", [("Content-Length", 1 << 20)]) + b"some"),
                                     c.wait_gone(20), c.end()))
    problems, kept = [], len(world.origin.connections)  # adit keeps some for the next request
    cancel_some(world.server, 40, problems)
    assert not problems, problems[0]
    eventually(lambda: len(world.origin.connections) <= kept, "nothing more is open at the origin", timeout=20)
    world.origin.serve(None)
    assert world.fetch().status == 200


def test_slow_reader_gets_all(world):
    """A visitor who reads slowly gets every byte, in order."""
    body = random.Random(2).randbytes(2 << 20)
    world.origin.serve(lambda c, r: c.send(reply(200, body)))
    with world.visit(receive_buffer=4096) as visitor:
        visitor.ask()
        assert visitor.head().status == 200
        taken = bytearray()
        while len(taken) < len(body):
            taken += visitor.reader.exactly(min(65536, len(body) - len(taken)))
            time.sleep(0.02)
        assert bytes(taken) == body


def test_slow_origin_gets_all(world):
    """An origin that reads slowly gets every byte of an upload, in order."""
    body, got = random.Random(3).randbytes(2 << 20), bytearray()

    def answer(connection, request):
        while len(got) < len(body):
            got.extend(connection.reader.exactly(min(65536, len(body) - len(got))))
            time.sleep(0.02)
        request.body = b"read"
        connection.send(reply(200, b"thanks"))

    world.origin.serve(answer)
    assert world.fetch(method="POST", body=body).body == b"thanks"
    assert bytes(got) == body
