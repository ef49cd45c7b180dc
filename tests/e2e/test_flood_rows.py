"""Each flood beside one paced visitor, and what it costs: his p99 at most twice its baseline, the attacker cut within
2 s, at most 16 MiB of memory for an attacking connection, at most ten times the CPU of an honest visitor
(flood_rows.py).
The figures of doc/threats.md are what `pytest -s` prints of these tests."""
import ssl
import subprocess

import pytest

from flood_frames import BLOCKS, CARRIERS, FLOODS, Script, script
from flood_rows import CALM, CUT, SLICE, WINDOW_MS, Attack, Ground, check
from h2frames import INITIAL_WINDOW, setting
from harness import ADIT, DOMAIN, TOKENS, Program, adit_http, environment, free_port
from test_link import ACK, ATTACH, DATA, PING, frame, hello

pytestmark = pytest.mark.big  # it measures: alone, and the programs as people run them

EVENTS = 1100  # of one connection: a little more than are taken
REQUESTS = ("rapid reset", "made you reset")  # those whose events are requests
LONG_MS = 600  # a window for an attacker who is cut after half of it
HOLD_MS = 10000  # an attacker stays as long as he is let
PORT = free_port()


@pytest.fixture(scope="module")
def ground(tmp_path_factory, authority, nginx, reports):
    tokens = [dict(Ground.token("alice"), ports=[PORT]), Ground.token("bob")]
    ground = Ground(tmp_path_factory.mktemp("rows"), authority, nginx, tcp_address="127.0.0.1", tokens=tokens)
    yield ground
    ground.stop()


@pytest.mark.parametrize("name", FLOODS)
def test_h2_flood(ground, name):
    """What is sent again and again over HTTP/2."""
    first, again = script(*FLOODS[name], EVENTS)
    row = check(ground, name, Attack(first, again, event=len(again) // EVENTS, requests=name.startswith(REQUESTS),
                                     cut=CUT, h2=1, limit=len(first) + len(again), hold=HOLD_MS),
                LONG_MS if name.startswith(REQUESTS) else WINDOW_MS)
    assert row.goaway == CALM


@pytest.mark.parametrize("name", BLOCKS)
def test_h2_bomb(ground, name):
    """What stands for far more than it is."""
    v = Script()
    first = bytes(v.out) + b"".join(BLOCKS[name](v))
    row = check(ground, name, Attack(first, event=len(first), cut=CUT, h2=1, hold=HOLD_MS))
    assert row.goaway == CALM


@pytest.mark.parametrize("name", ["PING", "SETTINGS", "made you reset: window by 0"])
def test_h2_flood_of_one_who_does_not_read(ground, name):
    """He is cut by what waits for him, which is bounded; here, what that is."""
    first, again = script(*FLOODS[name], EVENTS - 200)
    check(ground, name + ", unread", Attack(first, again, event=len(again) // (EVENTS - 200), limit=1 << 17, slots=4,
                                            every=HOLD_MS, hold=HOLD_MS, unread=1))


def downloads(window, count=128):
    v = Script("files", setting(INITIAL_WINDOW, window))
    v.open_window(0, (1 << 31) - 1 - 65535)
    for _ in range(count):
        v.ask(path="/10m")
    return bytes(v.out)


STALL = dict(slots=2, every=HOLD_MS, hold=HOLD_MS, after=0.3)  # so many requests at once are as dear as any
STALLED = {
    "downloads that are not read": Attack(downloads((1 << 31) - 1), unread=1, **STALL),
    "downloads with windows of 0": Attack(downloads(0), **STALL),
    "downloads with windows of 1": Attack(downloads(1), **STALL),
}


@pytest.mark.parametrize("name", STALLED)
def test_h2_stalled(ground, name):
    """128 streams that take nothing, or next to nothing."""
    check(ground, name, STALLED[name], LONG_MS)


# ---- HTTP/1.1, and connections

def head(name="shop", method="GET", target="/", *fields):
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {name}.{DOMAIN}", *fields, "", ""]).encode()


def client_hello():
    """What a TLS client says first."""
    context = ssl.create_default_context()
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname="shop." + DOMAIN).do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


CHUNKED = head("shop", "POST", "/body", "Transfer-Encoding: chunked")
PIPELINE = head("files", "GET", "/quiet") * 500
NOWHERE = head("nobody") * 500
SLOW = dict(slots=200, every=HOLD_MS, piece=1, gap=20000)
H1 = {
    "slowloris: a head byte by byte": Attack(head()[:-2], b"X-Slow: 1\r\n", **SLOW),
    "slow POST: a body byte by byte": Attack(head("shop", "POST", "/body", "Content-Length: 1000000"), b"b", **SLOW),
    "slow read": Attack(head("files", "GET", "/10m"), unread=1, **dict(STALL, slots=50)),
    "connections that say nothing": Attack(b"", slots=500, every=HOLD_MS, hold=HOLD_MS),
    "connections that go at once": Attack(b"", slots=10, every=10),
    "handshakes that are begun and left": Attack(client_hello(), tls=True, slots=100, every=HOLD_MS, hold=HOLD_MS),
    "handshakes that are begun, again and again": Attack(client_hello(), tls=True, every=4, answer=1, hold=HOLD_MS),
    "handshakes, one after another": Attack(b"", secured=True, slots=4, every=1, grain=SLICE),
    "handshakes, and a 404 each": Attack(head("nobody"), secured=True, slots=4, every=1, answer=1,
                                          hold=HOLD_MS, grain=SLICE),
    "a ClientHello byte by byte": Attack(b"", client_hello(), tls=True, **SLOW),
    "requests sent ahead, unread": Attack(b"", PIPELINE, slots=4, every=HOLD_MS, unread=1),
    "requests sent ahead": Attack(b"", PIPELINE, event=len(PIPELINE) // 500, requests=True, slots=1, every=100,
                                  limit=len(PIPELINE), hold=HOLD_MS),
    "requests for names that do not exist": Attack(b"", NOWHERE, event=len(NOWHERE) // 500, requests=True, every=50,
                                                   limit=len(NOWHERE), hold=20),
    "chunk extensions": Attack(CHUNKED, (b"1;" + b"x" * 250 + b"\r\nb\r\n") * 20, event=257, cut=CUT, answer=1),
    "an endless chunk extension": Attack(CHUNKED + b"1;", b"x" * 5000, cut=CUT, answer=1),
    "endless trailers": Attack(CHUNKED + b"0\r\n", (b"X-Trailer: " + b"t" * 200 + b"\r\n") * 20, cut=CUT, answer=1),
    "chunks of one byte": Attack(CHUNKED, b"1\r\nb\r\n" * 2000, event=6, every=100, limit=60000, hold=20),
    "a head of 5000 fields": Attack(head()[:-2], b"X-Flood: 1\r\n" * 1000, cut=CUT, answer=1),
    "a head of one field without end": Attack(head()[:-2] + b"X-Flood: ", b"1" * 10000, cut=CUT, answer=1),
}


@pytest.mark.parametrize("name", H1)
def test_h1_flood(ground, name):
    """Over HTTP/1.1, and before there is any HTTP."""
    row = check(ground, name, H1[name], LONG_MS if H1[name].after else WINDOW_MS)
    assert row.total["secured"] > row.total["begun"] / 2 or not H1[name].secured


HOSTILE = {
    "1xx without end": Attack(head("shop", "GET", "/1xx"), slots=4, every=10, answer=1, cut=CUT, hold=HOLD_MS),
    "a head without end": Attack(head("shop", "GET", "/head"), slots=4, every=10, answer=1, cut=CUT, hold=HOLD_MS),
    "trailers without end": Attack(head("shop", "GET", "/trailers"), slots=4, every=10, cut=CUT, hold=HOLD_MS),
    "resets": Attack(head("shop", "GET", "/reset"), slots=4, every=2, answer=1, cut=CUT, hold=HOLD_MS),
    "a body without end, unread": Attack(head("shop", "GET", "/endless"), unread=1, **dict(STALL, slots=50)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_origin(ground, name):
    """Who asks for it is in league with it; the visitor beside them asks another tunnel of the same adit."""
    check(ground, "an origin: " + name, HOSTILE[name], LONG_MS if HOSTILE[name].after else WINDOW_MS)


def test_renegotiation_is_refused(ground):
    """TLS 1.2's way to make a server do handshakes without end on one connection."""
    talk = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{ground.server.tls_port}", "-tls1_2",
                           "-servername", "shop." + DOMAIN], input="R\n", capture_output=True, text=True, timeout=20)
    assert "RENEGOTIATING" in talk.stdout + talk.stderr and "no renegotiation" in talk.stderr, talk.stderr[-300:]


WEBSOCKET = head("shop", "GET", "/ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
FRAMES = {"PING": b"\x89\x80\0\0\0\0", "empty messages": b"\x82\x80\0\0\0\0", "bytes": b"\x82\x81\0\0\0\0x"}


@pytest.mark.parametrize("name", FRAMES)
def test_websocket_of_a_visitor(ground, name):
    """A visitor's frames are his origin's; here they are bytes."""
    check(ground, "WebSocket: " + name, Attack(WEBSOCKET, FRAMES[name] * 2000, wait=1, event=6, every=100,
                                               limit=60000, hold=20))


def test_published_port(ground):
    """Connections to a published TCP port, each of which reaches the server behind it."""
    folder = ground.folder / "port"
    folder.mkdir()
    adit = Program([ADIT, "tcp", f"127.0.0.1:{ground.sink.port()}", "--remote-port", PORT, *ground.server.flags()],
                   folder, "adit", environment(folder, ADIT_TOKEN=TOKENS["alice"]))
    try:
        adit.wait_event("published")
        check(ground, "connections to a published port", Attack(b"x" * 100, port=PORT, slots=5, every=20, hold=5))
    finally:
        adit.stop()


def test_requests_that_wait(ground):
    """For a tunnel whose adit has just died; they may wait for 10 s, and only so many of them."""
    adit = adit_http(ground.server, ground.folder / "away", f"http://127.0.0.1:{ground.origin.port()}", "--name",
                     "bob-away", who="bob")
    adit.wait_event("published")
    adit.kill()
    check(ground, "requests that wait for a tunnel", Attack(head("bob-away"), slots=500, every=HOLD_MS, hold=HOLD_MS))


# ---- tunnel connections

def carrier(kind, *fields, token=TOKENS["alice"], method="GET"):
    lines = [f"{method} /_adit/v1/{'f' * 24}@@@@@@@@/{kind} HTTP/1.1", "Host: " + DOMAIN, "Adit-Version: 1",
             "Authorization: Bearer " + token, *fields, "", ""]
    return "\r\n".join(lines).encode()


WS = carrier("ws", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
UPGRADE = ("Connection: Upgrade", "Upgrade: adit")
DIRECT = carrier("direct", *UPGRADE)


@pytest.mark.parametrize("name", CARRIERS)
def test_carrier_with_a_good_token(ground, name):
    """WebSocket that means nothing."""
    check(ground, "carrier: " + name, Attack(WS, CARRIERS[name] * 10, wait=1, event=len(CARRIERS[name]), every=100,
                                             limit=1 << 18, hold=HOLD_MS))


def greeting():
    return hello("alice-@@@@@@@@")


LINKS = {
    "PING": greeting() + frame(PING, b"12345678") * 5000,
    "ACK": greeting() + frame(ACK, bytes(8)) * 5000,
    "DATA of a byte": greeting() + frame(DATA, b"\0") * 5000,
    "an unknown frame": greeting() + frame(200, b"") * 5000,
    "HELLO after HELLO": greeting() * 2,
    "ATTACH to a link that is not there": frame(ATTACH, b"{}") * 2,
    "never a frame": b"",
}


@pytest.mark.parametrize("name", LINKS)
def test_link_with_a_good_token(ground, name):
    """An adit that is hostile, in frames of the link."""
    again = LINKS[name]
    check(ground, "link: " + name, Attack(DIRECT, again, wait=1, event=12, every=100, limit=len(DIRECT) + len(again),
                                          hold=50))


BAD = carrier("direct", *UPGRADE, token="adit_nobody_" + "0" * 24)
ATTACHES = {
    "bad tokens from one source": Attack(BAD, every=2, answer=1, hold=HOLD_MS),
    "bad tokens from many sources": Attack(BAD, every=2, answer=1, hold=HOLD_MS, source=200),
    "poll carriers that are opened": Attack(carrier("relay", "Content-Length: 0", method="POST"), every=4, answer=1,
                                            hold=HOLD_MS),
    "polls of a carrier that is not there": Attack(carrier("poll", "Adit-Carrier: " + "f" * 32, "Adit-Seq: 0"),
                                                   every=2, answer=1, hold=HOLD_MS),
}


@pytest.mark.parametrize("name", ATTACHES)
def test_attaches(ground, name):
    """Tunnel connections that lead nowhere."""
    check(ground, name, ATTACHES[name])
