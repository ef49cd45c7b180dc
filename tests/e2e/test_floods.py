"""Floods at aditd's edge: whoever sends more of something than anybody has reason for is cut, and his neighbour, a
visitor with a small request every 10 ms, does not notice. The counts are exact in tests/unit/calm_test.c."""
import select
import threading
import time

import pytest

from flood_frames import BLOCKS, CANCELLED, CARRIERS, FLOODS, asks
from floods import CUT, Field, Watched, attacker, connections, drain, flood, flood_unread, pour
from h2frames import (
    CALM, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, INITIAL_WINDOW, REFUSED, RST_STREAM, raw, setting)
from harness import TOKENS, Server, Tunnels
from wire import Cut, Origin


@pytest.fixture(scope="module")
def field(tmp_path_factory, authority, nginx, reports):
    folder = tmp_path_factory.mktemp("floods")
    origin = Origin()
    server = Server(folder / "aditd", authority)
    tunnels = Tunnels(server, folder / "adit", {"shop": origin.address, "files": nginx.address})
    yield Field(server, tunnels, origin)
    tunnels.program.stop()
    server.program.stop()
    origin.stop()


@pytest.mark.parametrize("name", FLOODS)
def test_flood_is_cut(field, name):
    """GOAWAY ENHANCE_YOUR_CALM, soon; and no more of his requests run at the origin than he may have at once."""
    prepare, event = FLOODS[name]
    field.most = 0
    with Watched(field) as watch, attacker(field, greedy="none") as v:
        v.greeted()
        prepare(v)
        took, sent = flood(v, lambda i: event(v, i))
        time.sleep(0.1)
    print(f"{name}: cut after {took:.2f} s, {sent} events were sent; {field.most} ran at the origin")
    assert v.goaway and v.goaway.error_code == CALM, v.goaway
    assert took < (CUT + 2.5) * field.slow  # he is let linger for 2 s, to read why
    assert field.most <= 128 + 2
    watch.check(name)


@pytest.mark.parametrize("name", [n for n in FLOODS if n in (
    "PING", "SETTINGS", "rapid reset", "made you reset: window by 0", "made you reset: a stream too many")])
def test_flood_of_one_who_does_not_read(field, name):
    """He makes us answer and reads none of it: what waits for him is bounded, and then he is cut."""
    prepare, event = FLOODS[name]
    with Watched(field) as watch:
        before = connections(field)
        with attacker(field, greedy="none", receive_buffer=4096) as v:
            v.greeted()
            prepare(v)
            took, sent = flood_unread(v, lambda i: event(v, i), lambda: connections(field) <= before)
    print(f"{name}: ended after {took:.2f} s, {sent} events")
    assert took < (CUT + 2.5) * field.slow
    watch.check(name)


@pytest.mark.parametrize("name", BLOCKS)
def test_bomb_ends_its_connection(field, name):
    """What stands for far more than it is, in one frame or block."""
    before = len(field.origin.requests)
    with Watched(field) as watch, attacker(field) as v:
        v.greeted()
        for frame in BLOCKS[name](v):
            v.try_send(frame)
        began = time.monotonic()
        v.ended()
        assert time.monotonic() - began < (CUT + 2.5) * field.slow
        time.sleep(0.1)
    assert v.goaway and v.goaway.error_code == CALM, v.goaway
    assert {r.target for r in field.origin.requests[before:]} <= {"/quiet"}
    watch.check(name)


def test_bombs_one_after_another(field):
    """Blocks that are too large are answered 431; a hundred streams of them cost no memory."""
    with Watched(field) as watch, attacker(field) as v:
        block = v.encode(v.fields(more=[(f"x-{i}", "b" * 330) for i in range(100)]))
        streams = [v.new_stream() for _ in range(100)]
        for stream in streams:
            v.frame(HEADERS, END_STREAM, stream, block[:16384])
            v.frame(CONTINUATION, 0, stream, block[16384:32768])
            v.frame(CONTINUATION, END_HEADERS, stream, block[32768:])
        assert [v.whole(s).status for s in streams] == [431] * 100
        assert v.fetch().status == 200
    watch.check("431")


def test_resets_in_waves(field):
    """Each request gets as far as the origin before it is reset: no more run there than one connection may have and
    one more wave, which is on its way while the last one ends."""
    field.most = 0
    waves = 0
    with Watched(field) as watch, attacker(field) as v:
        v.greeted()
        began = time.monotonic()
        while drain(v) and waves < 100:
            streams = [v.new_stream() for _ in range(100)]
            v.send(b"".join(asks(v, s // 2) for s in streams))
            until = time.monotonic() + 1
            while field.running < 100 and time.monotonic() < until:
                time.sleep(0.005)
            v.try_send(b"".join(raw(RST_STREAM, 0, s, CANCELLED) for s in streams))
            waves += 1
        v.ended()
    print(f"{waves} waves of 100; {field.most} ran at the origin")
    # of those that we refused, for others keep their places, the visitor's reset and ours are two
    looked_at, refused = (v.goaway.last_stream_id + 1) // 2, sum(a.reset == REFUSED for a in v.answers.values())
    most = 1000 + 33 * (time.monotonic() - began) + 200
    assert v.goaway.error_code == CALM and 1000 - refused <= looked_at <= most
    assert field.most <= 128 + 100
    watch.check("waves")


def test_downloads_that_nobody_reads(field):
    """128 large responses at once, the connection's window wide open, and nothing is read."""
    with Watched(field) as watch, attacker(field, name="files", greedy="none", receive_buffer=4096,
                                            settings=setting(INITIAL_WINDOW, (1 << 31) - 1)) as v:
        v.greeted()
        v.open_window(0, (1 << 31) - 1 - 65535)
        for _ in range(128):
            v.ask(path="/10m")
        time.sleep(1.5)
    watch.check("unread downloads")


# ---- HTTP/1.1

PIPELINED = {
    "small answers": b"GET /quiet HTTP/1.1\r\nHost: shop.tunnel.test\r\n\r\n" * 500,
    "answers of our own": b"GET / HTTP/1.1\r\nHost: nobody.tunnel.test\r\n\r\n" * 500,
    "answers of 100 KB": b"GET /100k HTTP/1.1\r\nHost: shop.tunnel.test\r\n\r\n" * 500,
}


@pytest.mark.parametrize("name", PIPELINED)
def test_pipelined_flood_of_one_who_does_not_read(field, name):
    """Requests without end on one connection, whose answers nobody reads: they are not looked at any more."""
    with Watched(field) as watch, field.server.visit(receive_buffer=4096) as visitor:
        sent = pour(visitor, PIPELINED[name], 2)
        before = len(field.origin.requests)
        time.sleep(0.3)
        asked = [r for r in field.origin.requests[before:] if r.target != "/quiet"]
    print(f"{name}: {sent} bytes of requests were taken")
    assert sent < 32 << 20 and len(asked) < 5
    watch.check(name)


def test_pipelined_flood_is_served_in_turn(field):
    """Who reads gets all of his answers, in order, however many requests he sent before."""
    with field.server.visit() as visitor:
        for i in range(300):
            visitor.ask(target="/100k" if i % 3 else f"/{i}")
        for i in range(300):
            assert len(visitor.read().body) == (100_000 if i % 3 else 5)


def fill(visitor, first, again):
    """Sends a body's chunks until they are refused; the answer's status and how many were sent."""
    sent = 0
    visitor.send(visitor.head_bytes("POST", "/body", [("Transfer-Encoding", "chunked")]) + first)
    try:
        while sent < 100000:
            visitor.send(again * 20)
            sent += 20
            if drained(visitor):
                break
    except OSError:
        pass
    return visitor.read().status, sent


def drained(visitor):
    return bool(select.select([visitor.sock], [], [], 0)[0])


@pytest.mark.parametrize("name, first, again", [
    ("chunk extensions", b"", b"1;" + b"x" * 250 + b"\r\nb\r\n"),
    ("endless extension", b"1;", b"x" * 250),
    ("endless trailers", b"0\r\n", b"X-Trailer: " + b"t" * 200 + b"\r\n"),
    ("many trailers", b"0\r\n", b"X: 1\r\n"),
], ids=lambda v: v if isinstance(v, str) else "")
def test_body_of_overhead(field, name, first, again):
    """What frames a body is bounded by the body."""
    with Watched(field) as watch, field.server.visit() as visitor:
        began = time.monotonic()
        status, sent = fill(visitor, first, again)
        took = time.monotonic() - began
    print(f"{name}: {status} after {took:.2f} s, {sent} events were sent")
    assert status in (400, 431) and took < CUT * field.slow
    watch.check(name)


def test_header_flood(field):
    """Fields without end, a connection for each head: 431 or the end, and nothing is kept."""
    with Watched(field) as watch:
        for _ in range(50):
            with field.server.visit() as visitor:
                try:
                    visitor.send(visitor.head_bytes("GET", "/never")[:-2] + b"X-Flood: 1\r\n" * 5000)
                    assert visitor.read().status == 431
                except (OSError, Cut):
                    pass  # a reset may overtake the answer
    assert "/never" not in [r.target for r in field.origin.requests]
    watch.check("header flood")


@pytest.mark.parametrize("name, answer, status", [
    ("endless 1xx", b"HTTP/1.1 102 Processing\r\nX: " + b"1" * 1000 + b"\r\n\r\n", 502),
    ("endless head", b"X: " + b"h" * 1000 + b"\r\n", 502),
    ("endless trailers", b"T: " + b"t" * 1000 + b"\r\n", 502),
], ids=lambda v: v if isinstance(v, str) else "")
def test_origin_that_never_comes_to_the_point(field, name, answer, status):
    """An origin is bounded in what it says beside its answer; the next one is fine."""
    first = {"endless 1xx": b"", "endless head": b"HTTP/1.1 200 OK\r\n",
             "endless trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"}[name]
    gone = threading.Event()

    def flooding(connection, request):
        if request.target != "/flood":
            field.answer(connection, request)
            return
        connection.send(first)
        try:
            for _ in range(100000):
                connection.sock.sendall(answer)
        except OSError:
            gone.set()

    field.origin.serve(flooding)
    try:
        with Watched(field) as watch, field.server.visit() as visitor:
            try:
                assert visitor.fetch(target="/flood").status == status
            except Cut:
                assert name == "endless trailers"  # behind a head that was passed on
            assert gone.wait(CUT * field.slow)
    finally:
        field.origin.serve(field.answer)
    assert field.server.fetch().status == 200
    watch.check(name)


# ---- carriers, with a good token

@pytest.mark.parametrize("name", CARRIERS)
def test_carrier_that_is_abused_ends(field, name):
    """A token opens no door to floods: that carrier ends."""
    with Watched(field) as watch, field.server.visit() as visitor:
        visitor.send(b"GET /_adit/v1/" + b"f" * 32 + b"/ws HTTP/1.1\r\nHost: tunnel.test\r\nConnection: Upgrade\r\n"
                     b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nAdit-Version: 1\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     b"Authorization: Bearer " + TOKENS["alice"].encode() + b"\r\n\r\n")
        assert visitor.head().status == 101
        began, sent = time.monotonic(), 0
        try:
            while time.monotonic() - began < 20 and (not drained(visitor) or visitor.reader.some()):
                visitor.send(CARRIERS[name] * 10)
                sent += 10
        except (OSError, Cut):
            pass
        took = time.monotonic() - began
    print(f"{name}: ended after {took:.2f} s, {sent} were sent")
    assert took < (CUT + 2.5) * field.slow
    watch.check(name)


# ---- what is not a flood

def test_busy_visitors_are_no_floods(field):
    """Much of everything, with reason: small pieces that open both windows each, uploads, pings, resets."""
    with attacker(field, greedy="all") as v:
        answer = v.fetch(path="/drops")
        assert answer.data == b"drop" * 4000 and v.goaway is None
        for i in range(200):
            v.ping()
            v.rst(v.ask(path="/slow"))
        assert v.fetch("POST", "/body", body=b"u" * (1 << 20)).status == 200
        assert drain(v) and v.fetch().status == 200
