"""Few descriptors, and none: what runs goes on, nobody spins, owners find in, and it is over when there are some again."""
import os
import resource
import socket
import time

import pytest

from wire import eventually, reply

SOON = 1.0  # seconds after which it is over


def cpu(pid):
    """Seconds of processor time that it has used."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def is_idle(program, seconds=0.5):
    before = cpu(program.pid)
    time.sleep(seconds)
    assert cpu(program.pid) - before < seconds / 2, "it does not spin"


class Limit:
    """While the block runs the program may open no more than `more` descriptors."""

    def __init__(self, program, more=0):
        self.program, self.more = program, more

    def __enter__(self):
        self.before = resource.prlimit(self.program.pid, resource.RLIMIT_NOFILE)
        n = max(int(fd) for fd in os.listdir(f"/proc/{self.program.pid}/fd")) + 1 + self.more
        resource.prlimit(self.program.pid, resource.RLIMIT_NOFILE, (n, self.before[1]))

    def __exit__(self, *_):
        resource.prlimit(self.program.pid, resource.RLIMIT_NOFILE, self.before)


class Slow:
    """An origin that answers /slow when it is told to."""

    def __init__(self, own):
        self.origin, self.go = own.origin(), []
        self.origin.serve(self.answer)

    def answer(self, connection, request):
        if request.target == "/slow":
            eventually(lambda: self.go, "go", 30)
        connection.send(reply(200, b"served"))

    def running(self):
        return len([r for r in self.origin.requests if r.target == "/slow"])


def begin(server, slow, count):
    """So many visitors whose requests run."""
    visitors = []
    for _ in range(count):
        visitors.append(server.visit())
        visitors[-1].ask(target="/slow")
    eventually(lambda: slow.running() == count, "all at the origin")
    return visitors


def finish(slow, visitors):
    slow.go.append(1)
    for visitor in visitors:
        assert visitor.read().body == b"served"
        visitor.close()


def test_aditd_with_few(own):
    """64 descriptors, and the log says what that is enough for. So many busy visitors, and hundreds that hold
    connections open: the busy ones are served, others are told, an adit attaches, and then there is room."""
    server, slow = own.server(wrap=("prlimit", "--nofile=64:64")), Slow(own)
    [few] = server.program.events("descriptors.few")
    own.http(server, slow.origin.port, "--name", "shop").wait_event("published")
    busy = begin(server, slow, few["visitors"] - 8)  # links take two each, and who asks takes one
    held = [socket.create_connection(("127.0.0.1", server.plain_port), 5) for _ in range(200)]
    began = time.monotonic()
    own.http(server, slow.origin.port, "--name", "files", folder="files").wait_event("published")
    took = time.monotonic() - began
    assert server.fetch("shop").status in (200, 503)
    is_idle(server.program)
    print(f"{len(busy)} busy, {len(held)} held; an adit attached after {took:.2f} s")
    assert took < 3
    for sock in held:
        sock.close()
    began = time.monotonic()
    eventually(lambda: server.fetch("shop").status == 200, "room")
    assert time.monotonic() - began < SOON
    finish(slow, busy)
    assert len(server.program.events("descriptors.few")) == 1 and not server.program.events("descriptors.out")


def test_aditd_without_any(own):
    """Not one descriptor left: accepting pauses, what runs goes on, one line says so, and a second later it is over."""
    server, slow = own.server(), Slow(own)
    own.http(server, slow.origin.port, "--name", "shop").wait_event("published")
    busy = begin(server, slow, 5)
    with Limit(server.program):
        waiting = [server.visit() for _ in range(5)]
        for visitor in waiting:
            visitor.ask()
        server.program.wait_event("descriptors.out")
        is_idle(server.program, 1.0)
        finish(slow, busy)
    began = time.monotonic()
    for visitor in waiting:
        assert visitor.read().body == b"served"
    print(f"over after {time.monotonic() - began:.2f} s")
    assert time.monotonic() - began < SOON
    assert len(server.program.events("descriptors.out")) == 1


def test_adit_without_any(own):
    """adit cannot dial its origin: 503 that says why, a line in its log and not one a request, and no harm to what runs."""
    server, slow = own.server(), Slow(own)
    adit = own.http(server, slow.origin.port, "--name", "shop")
    adit.wait_event("published")
    busy = begin(server, slow, 5)
    with Limit(adit):
        for _ in range(20):
            answer = server.fetch("shop")
            assert answer.status == 503, answer.body
            assert "descriptors" in answer.body.decode() + answer.get("proxy-status"), answer.body
        is_idle(adit)
        assert len(adit.events("descriptors.out")) == 1
    began = time.monotonic()
    eventually(lambda: server.fetch("shop").status == 200, "descriptors")
    assert time.monotonic() - began < SOON
    finish(slow, busy)


def test_adit_with_few(own):
    """64 descriptors for adit: as many requests as it can dial for run, the others are told; its link stays."""
    server, slow = own.server(), Slow(own)
    adit = own.http(server, slow.origin.port, "--name", "shop", wrap=("prlimit", "--nofile=64:64"))
    adit.wait_event("published")
    visitors = [server.visit() for _ in range(100)]
    for visitor in visitors:
        visitor.ask(target="/slow")
    eventually(lambda: slow.running() > 30, "many at the origin")
    is_idle(adit)
    slow.go.append(1)
    statuses = []
    for visitor in visitors:
        statuses.append(visitor.read().status)
        visitor.close()
    print({s: statuses.count(s) for s in set(statuses)})
    assert set(statuses) == {200, 503} and statuses.count(200) == slow.running()
    assert server.fetch("shop").status == 200 and not adit.events("down")
