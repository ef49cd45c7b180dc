"""Every carrier through every real ingress, with the very files of contrib/ingress; visitors go the same way.

What `auto` chose through each, and adit's word on why not better, is written as a table to $ADIT_CARRIERS (a file),
or to carriers.md in the run's folder. doc/carriers.md holds that of a real run.
"""
import json
import os
import subprocess
import threading
import time

import pytest

import harness
import ingress
import road_traffic
from harness import DOMAIN, Server
from wire import Origin, eventually

CARRIERS = ("direct", "ws-h2", "ws-h1", "poll")
# what auto takes, and all that work when forced
WORKS = {
    "none": ("direct", CARRIERS),
    "nginx": ("ws-h1", ("direct", "ws-h1", "poll")),
    "haproxy-h1": ("ws-h2", CARRIERS),
    "haproxy-h2": ("ws-h2", ("ws-h2", "ws-h1", "poll")),
    "haproxy-passthrough": ("direct", CARRIERS),
    "haproxy-alpn": ("direct", CARRIERS),
    "apache": ("ws-h2", ("ws-h2", "ws-h1", "poll")),
    "nghttpx-h1": ("ws-h2", CARRIERS),
    "nghttpx-h2": ("ws-h2", ("ws-h2", "ws-h1", "poll")),
    "caddy": ("ws-h1", ("direct", "ws-h1", "poll")),
    "lighttpd": ("ws-h2", CARRIERS),
}


class Road:
    """aditd, an ingress before it, an origin behind; adit is started by each test."""

    def __init__(self, folder, authority, kind, edit=None):
        self.folder, self.authority, self.kind, self.count = folder, authority, kind, 0
        self.websockets_over_http2 = "ws-h2" in WORKS[kind][1]
        proxy_port = harness.free_port()
        tls = {"certificate": "server.pem", "key": "server.key"}
        self.server = Server(folder / "aditd", authority, trusted_proxies=["127.0.0.1"], listen=[
            {"address": "127.0.0.1:0"},
            {"address": "127.0.0.1:0", "tls": tls},
            {"address": f"127.0.0.1:{proxy_port}", "proxy_protocol": True, "tls": tls},
        ], proxy=proxy_port)
        self.origin = Origin()
        self.ingress = ingress.KINDS[kind](folder / "ingress", self.server, edit)

    def adit(self, carrier="auto", *flags):
        self.count += 1
        return harness.adit_http(self.server, self.folder / f"adit{self.count}-{carrier}", self.origin.address,
                                 "--name", "shop", "--carrier", carrier, *flags, common=[
                                     "--server", f"https://127.0.0.1:{self.ingress.port}", "--server-name", DOMAIN,
                                     "--ca", self.authority.ca, "--log-format", "json"])

    def curl(self, version, *flags, path="/"):
        """A visitor on his way through the ingress, as a running process."""
        host = f"shop.{DOMAIN}:{self.ingress.port}"
        return subprocess.Popen(["curl", "-sS", "--max-time", "30", f"--http{version}", "--noproxy", "*",
                                 "--cacert", str(self.authority.ca), "--resolve", f"{host}:127.0.0.1",
                                 "-H", "Expect:", *map(str, flags), f"https://{host}{path}"],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def works(self, path="/"):
        """Does one visitor get his answer?"""
        out, _ = self.curl("1.1", path=path).communicate()
        return out == f"GET {path}\n".encode()

    def end(self):
        self.ingress.stop()
        self.server.program.kill()
        self.origin.stop()


@pytest.fixture(scope="module", params=list(WORKS))
def road(request, base, authority, reports):
    binary = ingress.missing(request.param)
    if binary:
        pytest.skip(f"{binary} is not installed: sh contrib/deps.sh test")
    road = Road(base / f"road-{request.param}", authority, request.param)
    yield road
    road.end()


@pytest.fixture(scope="module")
def chosen(base):
    """What auto chose: rows of the table that is written at the end."""
    rows = []
    yield rows
    path = os.environ.get("ADIT_CARRIERS") or base / "carriers.md"
    with open(path, "w", encoding="utf-8") as f:
        f.write("| ingress | `auto` took | ready after | why not a better one |\n|---|---|---|---|\n")
        for row in rows:
            f.write("| " + " | ".join(row) + " |\n")
    print(f"\ncarriers: {path}\n" + open(path, encoding="utf-8").read())


@pytest.fixture(autouse=True)
def logs(request):
    if "road" in request.fixturenames:
        road = request.getfixturevalue("road")
        request.node.stage_folder = road.folder
        road.origin.serve(None)


def run(road, carrier, expect):
    start, before = time.monotonic(), len(road.server.program.records)
    adit = road.adit(carrier)
    try:
        record = adit.wait_event("published")
        seconds = time.monotonic() - start
        assert record["carrier"] == expect, f"took {record['carrier']}: {record['why']}"
        for what in road_traffic.ALL:
            what(road)
        assert not adit.events("down"), "the tunnel broke:\n" + adit.text
        ended = time.monotonic()
        adit.stop()
        road.server.program.wait_event("link.closed", timeout=3, start=before)
        print(f"{road.kind} {expect}: link.closed after {time.monotonic() - ended:.1f} s")
    finally:
        adit.kill()
    return record, seconds


def test_auto(road, chosen):
    """auto takes the best carrier that this ingress passes, and says what was wrong with better ones."""
    record, seconds = run(road, "auto", WORKS[road.kind][0])
    chosen.append((road.kind, record["carrier"], f"{seconds * 1000:.0f} ms", record.get("why", "–")))
    assert ("why" in record) == (record["carrier"] != "direct")
    assert seconds < 10


@pytest.mark.parametrize("carrier", CARRIERS)
def test_forced(road, carrier):
    """A carrier that is asked for is taken where it can work; elsewhere adit says what is in its way."""
    if carrier in WORKS[road.kind][1]:
        run(road, carrier, carrier)
        return
    adit = road.adit(carrier)
    try:
        down = adit.wait_event("down", timeout=10)
        assert carrier + ": " in down["detail"] and not adit.events("published"), down
    finally:
        adit.kill()


# A reload of Caddy 2.6 cuts every WebSocket; the others keep what runs until it ends.
CUTS = ("caddy",)


def test_reload(road):
    """A reload leaves the tunnel alone where the ingress keeps what runs; elsewhere it is back within 2 s."""
    if road.kind == "none":
        pytest.skip("no ingress to reload")
    adit = road.adit()
    try:
        adit.wait_event("published")
        eventually(road.works, "the tunnel works")
        road.ingress.reload()
        cut = road.kind in CUTS
        if cut:
            adit.wait_event("down", timeout=5)
        else:
            end = time.monotonic() + 1.5
            while time.monotonic() < end:
                road.works()
                assert not adit.events("down"), "the reload cut the tunnel:\n" + adit.text
        eventually(road.works, "the next request works", timeout=5)
        if cut:
            assert adit.wait_event("moved", timeout=5)["away_ms"] < 2000
        assert len(adit.events("published")) == 1, adit.text
        adit.stop()
    finally:
        adit.kill()


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_request_arrives_as_sent(road, version):
    """The origin sees the visitor's path, Host and https, whatever the ingress would make of them by default.
    (%41 for A would arrive as A behind nghttpx: RFC 3986 section 6.2.2.2 holds them for the same.)"""
    adit = road.adit()
    try:
        adit.wait_event("published")
        out, err = road.curl(version, path="/a%2Fb/c%20d?x=%2F").communicate()
        assert out == b"GET /a%2Fb/c%20d?x=%2F\n", err.decode()
        request = road.origin.requests[-1]
        assert request.get("X-Forwarded-Proto") == "https", request.fields
        assert request.get("X-Forwarded-For").split(", ")[0] == "127.0.0.1", request.fields
        assert request.get("X-Forwarded-Host").split(":")[0] == f"shop.{DOMAIN}", request.fields
        adit.stop()
    finally:
        adit.kill()


def test_server_restart(road):
    """When aditd dies and comes back behind the ingress, adit notices through it and is back within 10 s."""
    adit = road.adit()
    try:
        adit.wait_event("published")
        eventually(road.works, "the tunnel works")
        road.server.program.kill()
        start = time.monotonic()
        while time.monotonic() < start + 1:
            assert not road.works()
        road.server.start()
        start = time.monotonic()
        eventually(road.works, lambda: "the next request works:\n" + adit.text)
        assert len(adit.events("down")) >= 1 and adit.alive()
        print(f"{road.kind}: back after {time.monotonic() - start:.1f} s")
    finally:
        adit.kill()


# how adit tells of an ingress that passes no WebSocket
WORDS = ("ws-h2: ", "not announced", "ws-h1: ", "wants Upgrade: websocket")
FORBID = {kind: (edit, ("ws-h2: ", "ws-h1: ", "403", "not from aditd") if kind == "haproxy-h1" else WORDS)
          for kind, edit in ingress.NO_WEBSOCKETS.items()}


def newer(text):
    """HAProxy makes of aditd one of version 2 that is asked by another: each word of the other names it."""
    rules = "\thttp-request set-header adit-version 2\n\thttp-response set-header adit-version 2"
    return text.replace("option forwardfor", "option forwardfor\n" + rules)


@pytest.mark.parametrize("carrier", ["ws-h2", "poll"])
def test_newer_server_over_http2(base, authority, reports, request, carrier):
    """adit says that it is to be updated also where it is told so over HTTP/2."""
    if ingress.missing("haproxy-h1"):
        pytest.skip(f"{ingress.missing('haproxy-h1')} is not installed: sh contrib/deps.sh test")
    road = Road(base / f"newer-{carrier}", authority, "haproxy-h1", newer)
    request.node.stage_folder = road.folder
    adit = None
    try:
        adit = road.adit(carrier)
        down = adit.wait_event("down", timeout=10)
        assert down["detail"] == "the server speaks version 2, this adit version 1: update adit", down
        assert adit.alive()
    finally:
        if adit:
            adit.kill()
        road.end()


@pytest.mark.parametrize("kind", list(FORBID))
def test_forbidden(kind, base, authority, reports, request):
    """With Upgrade taken out and extended CONNECT forbidden adit polls, and says why nothing better works; it takes the
    best carrier once the ingress is mended and it dials again."""
    if ingress.missing(kind):
        pytest.skip(f"{ingress.missing(kind)} is not installed: sh contrib/deps.sh test")
    edit, words = FORBID[kind]
    road = Road(base / f"forbid-{kind}", authority, kind, edit)
    request.node.stage_folder = road.folder
    adit = None
    try:
        adit = road.adit()
        record = adit.wait_event("published", timeout=10)
        assert record["carrier"] == "poll", record
        for word in ("direct: ", *words):
            assert word in record["why"], record
        eventually(road.works, "a request works", timeout=5)
        road.ingress.reload()
        for _ in range(10):  # what dials at once may still meet a worker with the old file
            adit.stop()
            adit = road.adit()
            record = adit.wait_event("published", timeout=15)
            if record["carrier"] == WORKS[kind][0]:
                break
            time.sleep(0.5)
        assert record["carrier"] == WORKS[kind][0], record
        eventually(road.works, "the next request works", timeout=5)
    finally:
        if adit:
            adit.kill()
        road.end()


class Load:
    """Visitors who come straight to aditd, one after the other, for as long as the ingress changes."""

    def __init__(self, server):
        self.server, self.over, self.count, self.failed, self.longest = server, threading.Event(), 0, [], 0.0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over.wait(0.01):
            began = time.monotonic()
            try:
                answer = self.server.fetch(method="POST", target="/load", body=b"x" * 5000)
                if answer.status != 200:
                    self.failed.append(answer.status)
            except (OSError, AssertionError) as e:
                self.failed.append(repr(e))
            self.count += 1
            self.longest = max(self.longest, time.monotonic() - began)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)


def trace_of(folder):
    return [json.loads(line) for line in (folder / "trace.json").read_text().splitlines()]


@pytest.mark.parametrize("kind", list(FORBID))
def test_fall_and_return(kind, base, authority, reports, request):
    """The ingress forgets WebSockets under a running tunnel: it goes on over poll; it learns them again: the tunnel climbs
    back, beside the connection that it has. Visitors notice a pause."""
    if ingress.missing(kind):
        pytest.skip(f"{ingress.missing(kind)} is not installed: sh contrib/deps.sh test")
    best = WORKS[kind][0]
    road = Road(base / f"fall-{kind}", authority, kind)
    request.node.stage_folder = road.folder
    adit = None
    try:
        adit = road.adit("auto", "--climb-after", "1s", "--trace", "trace.json")
        assert adit.wait_event("published")["carrier"] == best
        with Load(road.server) as load:
            eventually(lambda: load.count > 10, "visitors come")
            road.ingress.restart(FORBID[kind][0])
            fallen = adit.wait_event("moved", timeout=20)
            assert fallen["carrier"] == "poll" and "ws-h1: " in fallen["why"], fallen
            before = load.count
            eventually(lambda: load.count > before + 10, "visitors come", timeout=20)
            road.ingress.reload()
            risen = adit.wait_record(lambda r, _: r.get("event") == "moved" and r["carrier"] != "poll", "climb", timeout=20)
            before = load.count
            eventually(lambda: load.count > before + 10, "visitors come", timeout=20)
        assert not load.failed, load.failed
        assert load.longest < 10, load.longest
        assert risen["away_ms"] == 0, "it climbs while the old carrier carries"
        if risen["carrier"] != best:  # an old worker may have answered the first try
            adit.wait_event("moved", carrier=best, timeout=20)
        events = [(r["event"], r.get("carrier")) for r in trace_of(road.folder / "adit1-auto")]
        steps = [("welcome", best), ("detached", best), ("attached", "poll"), ("climb.wait", "poll"), ("attached", best)]
        at = 0
        for event in events:
            at += at < len(steps) and event == steps[at]
        assert at == len(steps), f"{steps[at]} is missing in {events}"
        reasons = {r["carrier"]: r["reason"] for r in trace_of(road.folder / "adit1-auto") if r["event"] == "rung"}
        assert reasons["ws-h1"] == ("FORBIDDEN" if kind == "haproxy-h1" else "UPGRADE"), reasons
        print(f"{kind}: {load.count} requests, the longest took {load.longest:.2f} s")
        adit.stop()
    finally:
        if adit:
            adit.kill()
        road.end()


def test_goaway_moves(base, authority, reports, request):
    """nghttpx announces by GOAWAY that a connection ends with its reload: adit moves to a new one while the old one carries,
    and visitors notice nothing."""
    if ingress.missing("nghttpx-h1"):
        pytest.skip("nghttpx is not installed: sh contrib/deps.sh test")
    road = Road(base / "goaway", authority, "nghttpx-h1")
    request.node.stage_folder = road.folder
    adit = None
    try:
        adit = road.adit("ws-h2", "--trace", "trace.json")
        adit.wait_event("published")
        with Load(road.server) as load:
            eventually(lambda: load.count > 10, "visitors come")
            road.ingress.reload()
            assert adit.wait_event("moved", timeout=10)["away_ms"] == 0
            before = load.count
            eventually(lambda: load.count > before + 10, "visitors come", timeout=20)
        assert not load.failed and not adit.events("down"), (load.failed, adit.text)
        adit.stop()
        assert "leaving" in [r["event"] for r in trace_of(road.folder / "adit1-ws-h2")]
    finally:
        if adit:
            adit.kill()
        road.end()
