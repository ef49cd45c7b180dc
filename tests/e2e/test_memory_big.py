"""How much memory crowds of visitors take: idle ones, and slow readers."""
import statistics
import time
from pathlib import Path

import pytest

from crowds import Crowd
from wire import eventually

MANY, PART = 10_000, 400
KIB_EACH = 64
SLOW = 1000
SLOW_KIB = 320  # a stream's window, what is taken ahead of a visitor, a read: 64 + 128 + 64, and what they stand in
SLOW_KERNEL_KIB = 1024


def kernel_kib():
    """What the kernel holds in TCP buffers, both ends of all connections."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            return int(words[words.index("mem") + 1]) * 4
    raise AssertionError("no TCP in sockstat")


def queued_kib(local=None, remote=None):
    """What stands in the kernel's queues of sockets with this port here, or there: to be sent, and to be read."""
    sent = received = 0
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        here, there = (int(words[i].rpartition(":")[2], 16) for i in (1, 2))
        if here == local or there == remote:
            out, come = (int(n, 16) for n in words[4].split(":"))
            sent, received = sent + out, received + (come if words[3] == "01" else 0)
    return sent / 1024, received / 1024


def growth(program, before):
    return program.memory("VmRSS") - before


@pytest.mark.big
@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_ten_thousand_idle_visitors(own, kind):
    """10 000 idle TLS connections take at most 64 KiB each, before their first request and between requests."""
    server = own.server(max_visitors=MANY + 100)
    own.tunnels(server, {"files": own.nginx.address})
    assert server.fetch("files", target="/2k").status == 200
    before, kernel, descriptors = server.program.memory("VmRSS"), kernel_kib(), server.program.descriptors()
    with Crowd(server, MANY, kind, tls=True, name="files") as crowd:
        began = time.monotonic()
        # who does not ask within 10 s is closed: in parts, each of which asks before that
        fresh, there = 0.0, 0
        while there < MANY:
            was, now = there, server.program.memory("VmRSS")
            there = crowd.do("come", str(PART // 2))
            fresh = max(fresh, (server.program.memory("VmRSS") - now) / (there - was))
            assert crowd.do("first", "/2k") == there - was == PART
        taken = time.monotonic() - began
        idle = growth(server.program, before)
        there = server.program.descriptors() - descriptors  # on a busy machine the first ones have gone, after 75 s
        assert there > MANY / 2
        print(f"{kind}: {there} in {taken:.1f} s; KiB each: fresh {fresh:.1f}, between requests {idle / there:.1f}; "
              f"kernel {(kernel_kib() - kernel) / there:.1f} (both ends)")
        assert fresh <= KIB_EACH and idle / there <= KIB_EACH
        assert server.fetch("files", target="/2k").status == 200
        crowd.do("go")
    eventually(lambda: growth(server.program, before) < idle / 8, lambda: f"{growth(server.program, before)} KiB are left")
    print(f"{kind}: {growth(server.program, before) / 1024:.0f} MiB of {idle / 1024:.0f} are left when they have gone")


class Smalls:
    """Small requests beside a crowd, one after the other, each on a connection of its own."""

    def __init__(self, server):
        self.server, self.times = server, []

    def ask(self, count):
        for _ in range(count):
            began = time.monotonic()
            assert self.server.fetch("files", target="/2k").status == 200
            self.times.append(time.monotonic() - began)

    def __str__(self):
        return f"small ones: median {statistics.median(self.times) * 1e3:.0f} ms, worst {max(self.times) * 1e3:.0f} ms"


@pytest.fixture
def sparse(nginx):
    """A gigabyte that takes no room."""
    path = nginx.root / "sparse"
    with open(path, "wb") as f:
        f.truncate(1 << 30)
    yield "/sparse"
    path.unlink()


@pytest.mark.big
@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_thousand_slow_readers(own, sparse, kind):
    """A thousand visitors take 1 GB each at a few KB a second: both programs and the kernel hold little of it, and small
    requests beside them are all answered."""
    server = own.server()
    adit = own.tunnels(server, {"files": own.nginx.address}).program
    assert server.fetch("files", target="/2k").status == 200
    smalls, kernel = Smalls(server), kernel_kib()
    before = {p.name: p.memory("VmRSS") for p in (server.program, adit)}
    with Crowd(server, SLOW, kind, name="files", receive_buffer=16384) as crowd:
        assert crowd.do("come") == SLOW
        assert crowd.do("begin", sparse) == SLOW
        taken = 0
        for _ in range(20):
            taken += crowd.do("sip", "4096")
            smalls.ask(5)
        grown = {p.name: growth(p, before[p.name]) / SLOW for p in (server.program, adit)}
        out = queued_kib(local=server.plain_port)[0] / SLOW
        come = queued_kib(remote=own.nginx.port)[1] / SLOW
        print(f"{kind}: KiB each {', '.join(f'{n} {g:.0f}' for n, g in grown.items())}; in the kernel, by aditd for its "
              f"visitor {out:.0f}, for adit from its origin {come:.0f}, all of everybody "
              f"{(kernel_kib() - kernel) / SLOW:.0f}; {taken / 1024 / SLOW:.0f} KiB read by each; {smalls}")
        assert taken > 0 and max(grown.values()) < SLOW_KIB and max(out, come) < SLOW_KERNEL_KIB
    assert server.fetch("files", target="/2k").status == 200
