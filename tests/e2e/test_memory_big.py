"""How much memory crowds of visitors take: idle ones, and slow readers."""
import time
from pathlib import Path

import pytest

from crowds import Crowd
from wire import eventually

MANY, PART = 10_000, 1000
KIB_EACH = 64
SLOW = 1000


def kernel_kib():
    """What the kernel holds in TCP buffers, both ends of all connections."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        if line.startswith("TCP:"):
            words = line.split()
            return int(words[words.index("mem") + 1]) * 4
    raise AssertionError("no TCP in sockstat")


def growth(program, before):
    return program.memory("VmRSS") - before


@pytest.mark.big
@pytest.mark.parametrize("kind", ["h1", "h2"])
def test_ten_thousand_idle_visitors(own, kind):
    """10 000 idle TLS connections take at most 64 KiB each, before their first request and between requests."""
    server = own.server(max_visitors=MANY + 100)
    own.tunnels(server, {"files": own.nginx.address})
    assert server.fetch("files", target="/2k").status == 200
    before, kernel = server.program.memory("VmRSS"), kernel_kib()
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
        assert crowd.do("ask", "/2k") == MANY
        time.sleep(0.5)
        idle = growth(server.program, before)
        print(f"{kind}: {there} in {taken:.1f} s; KiB each: fresh {fresh:.1f}, between requests {idle / there:.1f}; "
              f"kernel {(kernel_kib() - kernel) / there:.1f} (both ends)")
        assert fresh <= KIB_EACH and idle / there <= KIB_EACH
        assert server.fetch("files", target="/2k").status == 200
        crowd.do("go")
    time.sleep(1)
    print("left", growth(server.program, before))
    eventually(lambda: growth(server.program, before) < 64000 * 1024, lambda: f"{growth(server.program, before)} KiB")
