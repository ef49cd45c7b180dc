"""What is refused, who says so, and that nothing of it reaches an origin."""
import time

import pytest

from wire import Cut, Visitor, reply

HOST = "Host: shop.tunnel.test\r\n"
OK = "GET / HTTP/1.1\r\n" + HOST
POST = "POST / HTTP/1.1\r\n" + HOST

# name -> the head of a request that must be refused
MALFORMED = {
    "lf only": "GET / HTTP/1.1\nHost: shop.tunnel.test\n\n",
    "lf in the head": "GET / HTTP/1.1\r\n" + HOST + "X: 1\nY: 2\r\n\r\n",
    "lf ends the head": "GET / HTTP/1.1\r\n" + HOST + "\n",
    "bare cr in a value": OK + "X: a\rb\r\n\r\n",
    "leading lf": "\nGET / HTTP/1.1\r\n" + HOST + "\r\n",
    "obs-fold": OK + "X: 1\r\n 2\r\n\r\n",
    "obs-fold with a tab": OK + "X: 1\r\n\t2\r\n\r\n",
    "first field folded": "GET / HTTP/1.1\r\n " + HOST + HOST + "\r\n",
    "space before colon": OK + "X : 1\r\n\r\n",
    "space before colon of a length": POST + "Content-Length : 3\r\n\r\nabc",
    "space in a name": OK + "X Y: 1\r\n\r\n",
    "empty name": OK + ": 1\r\n\r\n",
    "no colon": OK + "X\r\n\r\n",
    "nul in a value": OK + "X: a\0b\r\n\r\n",
    "nul in a name": OK + "X\0Y: a\r\n\r\n",
    "control byte in a value": OK + "X: a\x01b\r\n\r\n",
    "length and chunked": POST + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": POST + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "same length twice": POST + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "listed length": POST + "Content-Length: 3, 3\r\n\r\nabc",
    "signed length": POST + "Content-Length: +3\r\n\r\nabc",
    "negative length": POST + "Content-Length: -3\r\n\r\nabc",
    "hex length": POST + "Content-Length: 0x3\r\n\r\nabc",
    "empty length": POST + "Content-Length:\r\n\r\nabc",
    "huge length": POST + "Content-Length: 99999999999999999999999\r\n\r\nabc",
    "gzip, chunked": POST + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two fields": POST + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity": POST + "Transfer-Encoding: identity\r\n\r\n",
    "xchunked": POST + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked with vertical tab": POST + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": "POST / HTTP/1.0\r\n" + HOST + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "http/0.9": "GET /\r\n\r\n",
    "http/1.2": "GET / HTTP/1.2\r\n" + HOST + "\r\n",
    "http/2.0": "GET / HTTP/2.0\r\n" + HOST + "\r\n",
    "lower-case protocol": "GET / http/1.1\r\n" + HOST + "\r\n",
    "no host": "GET / HTTP/1.1\r\n\r\n",
    "two hosts": OK + HOST + "\r\n",
    "host with a space": "GET / HTTP/1.1\r\nHost: shop.tunnel.test x\r\n\r\n",
    "host with userinfo": "GET / HTTP/1.1\r\nHost: x@shop.tunnel.test\r\n\r\n",
    "host with a path": "GET / HTTP/1.1\r\nHost: shop.tunnel.test/x\r\n\r\n",
    "absolute form of another host": "GET http://other.tunnel.test/ HTTP/1.1\r\n" + HOST + "\r\n",
    "target without slash": "GET x HTTP/1.1\r\n" + HOST + "\r\n",
    "space in the target": "GET /a b HTTP/1.1\r\n" + HOST + "\r\n",
    "control byte in the target": "GET /a\x01b HTTP/1.1\r\n" + HOST + "\r\n",
    "asterisk with get": "GET * HTTP/1.1\r\n" + HOST + "\r\n",
    "tls to a plain port": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

# name -> a body that breaks its framing after a good chunked head
BAD_CHUNKS = {
    "no number": "x\r\nabc\r\n0\r\n\r\n",
    "negative": "-1\r\nabc\r\n0\r\n\r\n",
    "overflow": "10000000000000001\r\nabc\r\n0\r\n\r\n",
    "no crlf after data": "3\r\nabcX0\r\n\r\n",
    "lf after size": "3\nabc\r\n0\r\n\r\n",
    "too long an extension": "3;" + "x" * 20000 + "\r\nabc\r\n0\r\n\r\n",
    "folded trailer": "0\r\nX: 1\r\n 2\r\n\r\n",
}


def refused(port, data):
    """Sends it with a smuggled request behind it; the statuses of all answers until the connection ends."""
    with Visitor(port, "shop.tunnel.test") as visitor:
        try:
            visitor.send(data.encode("latin-1") + b"GET /smuggled HTTP/1.1\r\nHost: shop.tunnel.test\r\n\r\n")
        except OSError:
            pass  # it may have hung up already
        statuses = []
        try:
            while True:
                statuses.append(visitor.read().status)
        except Cut:
            return statuses


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(world, name):
    """A malformed request gets one 4xx or 505 and the end of its connection; the origin sees none of it."""
    statuses = refused(world.server.plain_port, MALFORMED[name])
    assert len(statuses) <= 1 and set(statuses) <= {400, 501, 505}, statuses
    assert statuses or name == "tls to a plain port"
    assert world.origin.requests == []


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_malformed_chunks(world, name):
    """A chunked body with broken framing is never completed for the origin, nor is what follows a request."""
    done = []
    world.origin.serve(lambda c, r: done.append((r.target, r.read())))
    statuses = refused(world.server.plain_port, POST + "Transfer-Encoding: chunked\r\n\r\n" + BAD_CHUNKS[name])
    assert len(statuses) <= 1 and set(statuses) <= {400, 502}, statuses
    assert done == []


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
