"""What is refused, who says so, and that nothing of it reaches an origin. Malformed requests: test_smuggling.py."""
import time

import pytest

from wire import Cut, Visitor, eventually, reply


def test_head_too_big(world):
    """A head over 32 KiB gets 431 and stays outside."""
    for fields in ([("X-Big", "b" * 40000)], [(f"X-{i}", "b" * 1000) for i in range(60)]):
        assert world.fetch(fields=fields).status == 431
    assert world.origin.requests == []


def test_too_many_fields(world):
    """More than a hundred fields get 431."""
    assert world.fetch(fields=[(f"X-{i}", "1") for i in range(120)]).status == 431
    assert world.fetch(fields=[(f"X-{i}", "1") for i in range(60)]).status == 200
    assert len(world.origin.requests) == 1


def test_endless_head(world):
    """A head that never ends is cut off once it is too big, whatever its sender hopes for."""
    with world.visit() as visitor:
        try:
            visitor.send(b"GET / HTTP/1.1\r\nHost: shop.tunnel.test\r\nX: ")
            for _ in range(200):
                visitor.send(b"y" * 8192)
        except OSError:
            pass
        try:
            assert visitor.read().status in (400, 431)
        except Cut:
            pass  # the answer may be lost behind a reset
    assert world.origin.requests == []


def test_response_head_too_big(world):
    """An origin's head over the limit is a 502, and the tunnel lives on."""
    world.origin.serve(lambda c, r: c.send(reply(200, b"", [("X", "y" * 70000)])))
    assert world.fetch().status == 502
    world.origin.serve(None)
    assert world.fetch().status == 200


def test_no_origin(world):
    """No origin listening is a 502 at once that names it, with Proxy-Status."""
    began = time.monotonic()
    response = world.fetch("alice-dead", fields=[("Accept", "text/plain")])
    assert response.status == 502 and time.monotonic() - began < 2
    assert "connection_refused" in response.get("proxy-status") and "adit" in response.get("proxy-status")
    told = response.body.decode() + response.get("proxy-status")
    assert str(world.dead_port) in told, told


def test_unknown_name(world):
    """A name nobody may claim gets the tunnel's own 404."""
    response = world.fetch("nobody")
    assert response.status == 404
    assert "aditd" in response.get("proxy-status") and "destination_not_found" in response.get("proxy-status")
    assert world.origin.requests == []


def test_foreign_host(world):
    """A host outside the domain, and an address, get 404 too."""
    for host in ("example.com", "127.0.0.1", "tunnel.test", "a.shop.tunnel.test"):
        with Visitor(world.server.plain_port, host) as visitor:
            assert visitor.fetch().status == 404, host


def test_error_page_forms(world):
    """The tunnel's own errors are HTML for browsers, JSON for programs that ask for it, else a line of text."""
    for accept, kind in (("text/html,*/*;q=0.8", "text/html"), ("application/json", "application/json"),
                         ("*/*", "text/plain")):
        response = world.fetch("nobody", fields=[("Accept", accept)])
        assert response.get("content-type").startswith(kind) and response.body
        assert response.get("cache-control") == "no-store"


def test_carrier_needs_a_token(world):
    """The carrier's endpoint gives 401 to those without a token, and to those with a wrong one."""
    target = "/_adit/v1/" + "0" * 32 + "/direct"
    for fields in ([], [("Authorization", "Bearer wrong")]):
        with Visitor(world.server.plain_port, "tunnel.test") as visitor:
            response = visitor.fetch(target=target, fields=[("Connection", "Upgrade"), ("Upgrade", "adit"), *fields])
            assert response.status == 401 and response.get("adit-version")


def test_slow_head_is_cut(world):
    """A head that does not arrive within its deadline ends the connection."""
    with world.visit(timeout=30) as visitor:
        visitor.send(b"GET / HTTP/1.1\r\nHost: shop")
        began = time.monotonic()
        try:
            assert visitor.read().status in (400, 408)
        except Cut:
            pass
        assert 5 < time.monotonic() - began < 20
    assert world.origin.requests == []


@pytest.mark.soak
def test_slow_body_and_stalled_reader_are_cut(world):
    """A body that brings less than 1 KiB in 60 s: 408. Who takes nothing of his answer for 5 min is closed."""
    world.origin.serve(lambda c, r: c.send(reply(200, b"x" * 20_000_000)) if r.target == "/stalled" else r.read())
    with world.visit(timeout=400, receive_buffer=4096) as reader, world.visit(timeout=120) as slow:
        began = time.monotonic()
        reader.ask(target="/stalled")
        slow.send(slow.head_bytes("POST", "/", [("Content-Length", "5000")]))
        for _ in range(50):
            slow.send(b"x")
            time.sleep(1)
        assert slow.read().status == 408 and 59 < time.monotonic() - began < 66
        eventually(lambda: [r for r in world.server.access_lines() if r.get("path") == "/stalled"], "he is closed", 320)
        assert 299 < time.monotonic() - began < 310
