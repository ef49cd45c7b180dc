"""Connections on which nothing passes any more and nothing is said, and slow ones on which everything passes late."""
import json
import os
import shutil
import subprocess
import threading
import time

import pytest

import harness
from relay import Narrow
from test_attach import LINK, AGENT, KEY, attach
from test_link import ATTACHED, HELLO, Peer, WELCOME, frame
from way import Way
from wire import Cut, Visitor, reply

MEGABYTE = 1 << 20


@pytest.mark.parametrize("carrier", ["direct", pytest.param("ws-h2", marks=pytest.mark.soak),
                                     pytest.param("poll", marks=pytest.mark.soak)])
def test_visitor_in_a_black_hole(own, carrier):
    """A tunnel in use becomes a black hole: who asks just then waits less than 5 s when new connections get through."""
    way = Way(own, carrier=carrier)
    assert way.server.fetch().status == 200
    time.sleep(0.5)  # all is acked: nothing is outstanding
    way.relay.cut("hole")
    began = time.monotonic()
    assert way.server.fetch(target="/in-the-hole").status == 200
    took = time.monotonic() - began
    print(f"{carrier}: {took:.2f} s")
    assert 0.5 < took < 5
    assert [r.target for r in way.origin.requests].count("/in-the-hole") == 1
    assert len(way.adit.events("published")) == 1


@pytest.mark.soak
def test_everything_is_a_black_hole(own):
    """New connections are black holes as well, for 8.6 s: the link is resumed soon after, nothing is asked twice."""
    way = Way(own)
    assert way.server.fetch().status == 200
    way.relay.holes = True
    way.relay.cut("hole")
    box = {}
    asker = threading.Thread(target=lambda: box.update(
        a=way.server.fetch("shop", "POST", "/post", body=b"x", timeout=40)))
    asker.start()
    asker.join(8.6)
    assert asker.is_alive(), f"nothing passes: {box}"
    way.relay.holes = False
    began = time.monotonic()
    asker.join(30)
    took = time.monotonic() - began
    print(f"{took:.2f} s after the network was back")
    assert box["a"].status == 200 and took < 8
    assert [r.target for r in way.origin.requests].count("/post") == 1
    assert len(way.relay.passages) < 20


def test_idle_peer_dies_silently(own):
    """Without requests both find out within heartbeat and time-out: adit resumes, aditd lets go of the old carrier."""
    way = Way(own, "--heartbeat", "1", heartbeat_seconds=1)
    time.sleep(0.3)
    way.relay.cut("hole")
    began = time.monotonic()
    way.adit.wait_event("moved", timeout=10)
    took = time.monotonic() - began
    print(f"moved after {took:.2f} s")
    assert took < 1 + 5.5
    assert way.server.fetch().status == 200
    doubt = way.trace("suspect")[0]
    assert 1 <= doubt["pings"] <= 3 and doubt["sent"] == doubt["acked"], doubt


@pytest.mark.soak
def test_dead_client_is_let_go(own):
    """adit's machine is gone without a word: aditd notices within heartbeat + 5 s and holds requests from then on."""
    way = Way(own, heartbeat_seconds=1)
    time.sleep(0.3)
    way.relay.holes = True
    way.relay.cut("hole")
    way.adit.kill()
    began = time.monotonic()
    way.server.program.wait_event("link.detached", timeout=12)
    took = time.monotonic() - began
    print(f"detached after {took:.2f} s")
    assert took < 1 + 5 + 1


@pytest.mark.parametrize("seconds", [6, pytest.param(25, marks=pytest.mark.soak)])
def test_slow_link(own, seconds):
    """1 Mbit/s each way with seconds of queue: a download, an upload and small requests; no suspicion, no redial."""
    way = Way(own, relay=lambda port: Narrow(port, 125000, 512 * 1024))
    body, over, slowest, failures = os.urandom(MEGABYTE // 4), threading.Event(), [0], []

    def serve(connection, request):
        request.read()
        connection.send(reply(200, body if request.target == "/big" else b"small"))

    way.origin.serve(serve)

    def ask(method, target, sent=None):
        while not over.is_set():
            began = time.monotonic()
            try:
                answer = way.server.fetch("shop", method, target, body=sent, timeout=60)
                assert answer.status == 200 and (target != "/big" or answer.body == body)
            except (Cut, OSError, AssertionError) as e:
                failures.append((target, repr(e)))
            if target == "/small":
                slowest[0] = max(slowest[0], time.monotonic() - began)
                over.wait(0.5)

    threads = [threading.Thread(target=ask, args=args, daemon=True) for args in (
        ("GET", "/big"), ("POST", "/up", body), ("GET", "/small"))]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    over.set()
    for thread in threads:
        thread.join(40)
    suspicions = len(way.trace("suspect"))
    print(f"slowest small request {slowest[0]:.1f} s, {suspicions} suspicions, {len(way.trace('attach'))} attaches, "
          f"{way.relay.count} connections")
    assert not failures, failures
    assert len(way.trace("attach")) <= 2 and way.relay.count <= 4 and suspicions <= 2
    assert len(way.adit.events("published")) == 1


class PollPeer:
    """adit's end of a link over `poll`, one request after the other."""

    def __init__(self, server, link_id=LINK):
        self.server, self.link_id, self.said, self.heard = server, link_id, 0, 0
        self.id = None
        self.id = self.relay(b"").get("adit-carrier")

    def fields(self, *more):
        return [("Authorization", "Bearer " + harness.TOKENS["alice"]), ("Adit-Version", "1"), *more,
                *([("Adit-Carrier", self.id)] if self.id else [])]

    def visit(self):
        return Visitor(self.server.plain_port, "tunnel.test", timeout=30)

    def relay(self, data):
        more = [("Adit-Seq", self.said)] if self.id else []
        with self.visit() as visitor:
            answer = visitor.fetch("POST", f"/_adit/v1/{self.link_id}/relay", self.fields(*more), data)
        self.said += 1 if self.id else 0
        return answer

    def poll(self):
        with self.visit() as visitor:
            answer = visitor.fetch("GET", f"/_adit/v1/{self.link_id}/poll", self.fields(
                ("Adit-Seq", self.heard), ("Adit-Ack", self.heard), ("Adit-Hold", 20000)))
        self.heard += answer.status == 200
        return answer


def test_fenced_polls_end(own):
    """A link moves away from poll: the poll that is held ends at once, and so does all that names the old carrier."""
    server = own.server()
    peer = PollPeer(server)
    hello = {"version": 1, "agent": AGENT, "client_key": KEY, "tunnels": [{"name": "shop", "label": "test"}]}
    assert peer.relay(frame(HELLO, json.dumps(hello).encode())).status == 204
    first = peer.poll().body
    assert first[0] == WELCOME
    secret = json.loads(first[4:4 + int.from_bytes(first[1:4], "big")])["secret"]
    held = {}
    for _ in range(5):  # until there is nothing to say
        thread = threading.Thread(target=lambda: held.update(answer=peer.poll()))
        thread.start()
        thread.join(0.7)
        if thread.is_alive():
            break
    assert thread.is_alive(), "a poll is held"
    other = Peer(server, LINK)
    other.send(attach(secret, 1, 0))
    other.until(ATTACHED)
    thread.join(2)
    assert not thread.is_alive() and held["answer"].status == 410
    assert peer.poll().status == 410 and peer.relay(b"x").status == 410


class Cable:
    """Two network namespaces with a cable between them, which can lose every packet: the addresses of the other end
    are then those of nobody, so nothing is said to either."""

    NOBODY = "02:00:00:00:00:99"

    def __init__(self, tag):
        self.names = [f"adit{tag}{end}" for end in "ab"]
        for name in self.names:
            self.ip("netns", "add", name)
        self.ip("link", "add", "v0", "netns", self.names[0], "type", "veth", "peer", "name", "v0",
                "netns", self.names[1])
        for i, name in enumerate(self.names):
            self.ip("-n", name, "addr", "add", f"10.213.0.{i + 1}/24", "dev", "v0")
            self.ip("-n", name, "link", "set", "v0", "address", f"02:00:00:00:00:0{i + 1}", "up")
            self.ip("-n", name, "link", "set", "lo", "up")
        self.whole(True)

    @staticmethod
    def ip(*argv):
        subprocess.run(["ip", *argv], check=True, capture_output=True, timeout=20)

    def inside(self, end):
        return ["ip", "netns", "exec", self.names[end]]

    def whole(self, whole):
        for i, name in enumerate(self.names):
            address = f"02:00:00:00:00:0{2 - i}" if whole else self.NOBODY
            self.ip("-n", name, "neigh", "replace", f"10.213.0.{2 - i}", "lladdr", address, "dev", "v0",
                    "nud", "permanent")

    def stop(self):
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=20)


@pytest.fixture
def cable(own):
    if not shutil.which("ip") or not shutil.which("curl"):
        pytest.skip("needs ip (iproute2) and curl")
    if subprocess.run(["ip", "netns", "add", "adit-may-i"], capture_output=True, timeout=20).returncode:
        pytest.skip("may not make network namespaces")
    subprocess.run(["ip", "netns", "del", "adit-may-i"], capture_output=True, timeout=20)
    return own.keep(Cable(os.getpid()))


def test_packets_are_lost(own, cable):
    """All packets are dropped both ways for 4.5 s while a visitor asks: he is served soon after, over the same link."""
    tls = {"certificate": "server.pem", "key": "server.key"}
    server = own.server(wrap=cable.inside(0), listen=[
        {"address": "127.0.0.1:0"}, {"address": "10.213.0.1:0", "tls": tls}])
    origin = own.origin(unix=own.folder / "origin.sock")
    adit = own.keep(harness.adit_http(
        server, own.folder / "adit", origin.address, "--name", "shop", wrap=cable.inside(1), common=[
            "--server", f"https://10.213.0.1:{server.tls_port}", "--server-name", harness.DOMAIN,
            "--ca", own.authority.ca, "--log-format", "json"]))
    adit.wait_event("published")
    curl = [*cable.inside(0), "curl", "-s", "-m", "30", "-w", "%{http_code}", "-H", f"Host: shop.{harness.DOMAIN}",
            f"http://127.0.0.1:{server.plain_port}/x"]
    assert subprocess.run(curl, capture_output=True, timeout=40).stdout.endswith(b"200")
    cable.whole(False)
    asking = subprocess.Popen(curl, stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        asking.wait(4.5)
    cable.whole(True)
    began = time.monotonic()
    told = asking.communicate(timeout=40)[0]
    took = time.monotonic() - began
    print(f"served {took:.2f} s after the cable was whole")
    assert told.endswith(b"200") and took < 8
    assert [r.target for r in origin.requests] == ["/x", "/x"]
    assert len(adit.events("published")) == 1
