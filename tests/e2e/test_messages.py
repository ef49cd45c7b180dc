"""Messages through the tunnel: what a visitor sends is what the origin gets, and the answer comes back whole."""
import hashlib
import os
import threading
import time

import pytest

from wire import Cut, chunked, eventually, lines, note_bodies, reply

METHODS = ("GET HEAD POST PUT DELETE OPTIONS PATCH TRACE PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK SEARCH "
           "REPORT PURGE NOTIFY SUBSCRIBE").split()


def test_hello(world):
    """A GET reaches nginx through the tunnel and its file comes back with its fields."""
    response = world.fetch("files", target="/hello.txt")
    assert (response.status, response.body) == (200, b"hello from nginx\n")
    assert response.get("server").startswith("nginx") and response.get("last-modified")


def test_target_unchanged(world):
    """Path and query reach the origin byte for byte."""
    target = "/a%2Fb/%7euser/;p=1?q=%20+x&y=a/b?c"
    world.fetch(target=target)
    assert world.origin.requests[0].target == target


def test_keep_alive(world):
    """One visitor connection serves request after request."""
    with world.visit() as visitor:
        for i in range(20):
            assert visitor.fetch("POST", f"/{i}", body=b"n%d" % i).body == b"POST /%d\nn%d" % (i, i)


def test_connection_close(world):
    """`Connection: close` from the visitor is answered, announced and carried out."""
    with world.visit() as visitor:
        response = visitor.fetch(fields=[("Connection", "close")])
        assert response.status == 200 and response.get("connection").lower() == "close"
        assert visitor.closed()


def test_http_1_0(world):
    """An HTTP/1.0 visitor gets an unchunked answer that ends with the connection."""
    world.origin.serve(lambda c, r: c.send(lines("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")])
                                           + chunked(b"one ", b"two")))
    with world.visit() as visitor:
        visitor.send(b"GET / HTTP/1.0\r\nHost: shop.tunnel.test\r\n\r\n")
        response = visitor.read()
        assert response.get("transfer-encoding") is None and response.body == b"one two"
        assert visitor.closed()


def test_every_method(world):
    """Every method that is known reaches the origin under its own name."""
    with world.visit() as visitor:
        for method in METHODS:
            response = visitor.fetch(method, "/m")
            assert response.status == 200
            assert response.body == (b"" if method == "HEAD" else b"%s /m\n" % method.encode())
    assert [r.method for r in world.origin.requests] == METHODS


def test_options_asterisk(world):
    """`OPTIONS *` is passed on as such."""
    assert world.fetch(method="OPTIONS", target="*").status == 200
    assert world.origin.requests[0].target == "*"


def test_unknown_method(world):
    """A method nobody knows gets 501 and is not passed on."""
    assert world.fetch(method="BREW", target="/pot").status == 501
    assert world.origin.requests == []


def test_head(world):
    """The answer to HEAD keeps its Content-Length, has no body, and the connection goes on."""
    def answer(connection, request):
        connection.send(reply(200, b"12345") if request.method == "GET"
                        else lines("HTTP/1.1 200 OK", [("Content-Length", 5), ("ETag", '"x"')]))

    world.origin.serve(answer)
    with world.visit() as visitor:
        response = visitor.fetch("HEAD")
        assert (response.get("content-length"), response.get("etag"), response.body) == ("5", '"x"', b"")
        assert visitor.fetch("GET").body == b"12345"


def test_no_content_and_not_modified(world):
    """204 and 304 come without a body, and the connection goes on."""
    def answer(connection, request):
        status = int(request.target[1:])
        connection.send(lines(f"HTTP/1.1 {status} X", [("ETag", '"v1"')]) if status != 200 else reply(200, b"after"))

    world.origin.serve(answer)
    with world.visit() as visitor:
        for status in (204, 304):
            response = visitor.fetch("GET", f"/{status}")
            assert (response.status, response.get("etag"), response.body) == (status, '"v1"', b"")
            assert response.get("transfer-encoding") is None
        assert visitor.fetch("GET", "/200").body == b"after"


@pytest.mark.parametrize("size", [0, 1, 16331, 65536, 1000003])
def test_content_length_both_ways(world, size):
    """A body with Content-Length arrives as it was sent, and comes back as it was answered."""
    body = os.urandom(size)
    world.origin.serve(lambda c, r: c.send(reply(200, r.read())))
    response = world.fetch(method="POST", body=body)
    assert response.body == body and response.get("content-length") == str(size)
    assert world.origin.requests[0].body == body
    assert world.origin.requests[0].get("content-length") == str(size)


def test_chunked_both_ways(world):
    """A chunked body of unknown length passes in both directions and stays chunked."""
    pieces = [os.urandom(n) for n in (1, 10, 70000, 3)]

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]) + chunked(request.read()[::-1]))

    world.origin.serve(answer)
    response = world.fetch(method="PUT", body=pieces)
    assert world.origin.requests[0].get("transfer-encoding").lower() == "chunked"
    assert world.origin.requests[0].body == b"".join(pieces)
    assert response.get("transfer-encoding").lower() == "chunked" and response.body == b"".join(pieces)[::-1]


def test_body_until_close(world):
    """An origin body that ends with its connection reaches the visitor as a complete one."""
    def answer(connection, request):
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")
        connection.end()

    world.origin.serve(answer)
    with world.visit() as visitor:
        assert visitor.fetch().body == b"until the end"


def test_stream_down(world):
    """Each piece of a streamed answer reaches the visitor when it is sent, not at the end."""
    got = threading.Semaphore(0)

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]))
        for i in range(5):
            connection.send(b"2\r\n#%d\r\n" % i)
            assert got.acquire(timeout=10)
        connection.send(b"0\r\n\r\n")

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.ask()
        visitor.head()
        for i in range(5):
            assert visitor.reader.line() == b"2" and visitor.reader.line() == b"#%d" % i
            got.release()
        assert visitor.reader.line() == b"0"


def test_stream_up(world):
    """Each piece of a streamed upload reaches the origin when it is sent."""
    pieces = []

    def answer(connection, request):
        for _ in range(5):
            n = int(connection.reader.line(), 16)
            pieces.append(connection.reader.exactly(n + 2)[:-2])
        request.body = b"read"
        assert connection.reader.line() == b"0" and connection.reader.line() == b""
        connection.send(reply(200, b"all"))

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Transfer-Encoding", "chunked")]))
        for i in range(5):
            visitor.send(b"1\r\n%d\r\n" % i)
            eventually(lambda: len(pieces) == i + 1, f"piece {i} at the origin")
        visitor.send(b"0\r\n\r\n")
        assert visitor.read().body == b"all"


def test_expect_continue(world):
    """The origin's 100 Continue reaches the visitor before the body is sent, and the body follows."""
    def answer(connection, request):
        assert request.get("expect").lower() == "100-continue"
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.send(reply(200, request.read()))

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Expect", "100-continue"), ("Content-Length", 4)]))
        assert visitor.head().status == 100
        visitor.send(b"body")
        assert visitor.read().body == b"body"


def test_expect_refused(world):
    """An origin that refuses instead of saying 100 is heard before a byte of the body was sent."""
    def answer(connection, request):
        connection.send(reply(417, b"no", [("Connection", "close")]))
        connection.end()

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Expect", "100-continue"), ("Content-Length", 4)]))
        assert visitor.read().status == 417


def test_early_hints(world):
    """103 Early Hints pass, with their fields and ahead of the final answer."""
    hint = lines("HTTP/1.1 103 Early Hints", [("Link", "</style.css>; rel=preload")])
    world.origin.serve(lambda c, r: c.send(hint + hint + reply(200, b"page")))
    response = world.fetch()
    assert [m.status for m in response.informational] == [103, 103]
    assert response.informational[0].get("link") == "</style.css>; rel=preload" and response.body == b"page"


def test_trailers_both_ways(world):
    """Trailer fields of a request and of an answer arrive after their bodies."""
    def answer(connection, request):
        request.read()
        connection.send(lines("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
                        + chunked(b"down", trailers=[("X-Sum", "d0")]))

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum"),
                                                      ("TE", "trailers"), ("Connection", "TE")]))
        visitor.send(chunked(b"up", trailers=[("X-Sum", "u0")]))
        response = visitor.read()
    request = world.origin.requests[0]
    assert request.body == b"up" and request.all("x-sum", request.trailers) == ["u0"]
    assert response.body == b"down" and response.all("x-sum", response.trailers) == ["d0"]


def test_early_response_while_uploading(world):
    """An answer given in the middle of an upload reaches the visitor at once."""
    def answer(connection, request):
        connection.send(reply(413, b"too much", [("Connection", "close")]))
        request.body = b"unread"
        connection.wait_gone(10)
        connection.end()

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.send(visitor.head_bytes("POST", "/", [("Content-Length", 50_000_000)]))
        visitor.send(b"x" * 20000)
        began = time.monotonic()
        response = visitor.read()
        assert (response.status, response.body) == (413, b"too much") and time.monotonic() - began < 5
    assert world.fetch(target="/next").status == 413


def test_pipelining(world):
    """Pipelined requests are answered in their order, also when the first takes longest."""
    def answer(connection, request):
        if request.target == "/0":
            time.sleep(0.2)
        body = b"" if request.method == "HEAD" else request.target.encode() + b" " + request.read()
        connection.send(reply(200, body))

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.send(visitor.head_bytes("GET", "/0")
                     + visitor.head_bytes("POST", "/1", [("Content-Length", 3)]) + b"one"
                     + visitor.head_bytes("HEAD", "/2") + visitor.head_bytes("GET", "/3"))
        assert [visitor.read(m).body for m in ("GET", "POST", "HEAD", "GET")] == [b"/0 ", b"/1 one", b"", b"/3 "]


def test_pipelining_behind_our_own_answers(world):
    """Requests behind one that aditd answers by itself, at once, are answered as well."""
    with world.visit("nobody") as visitor:
        methods = ("GET", "HEAD", "GET")
        visitor.send(b"".join(visitor.head_bytes(method, "/") for method in methods))
        assert [visitor.read(method).status for method in methods] == [404] * 3


def test_visitor_gone(world):
    """A visitor who leaves in mid-body has his request at the origin aborted."""
    ended = []

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 1000)]) + b"first")
        ended.append(connection.wait_gone(10))

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.ask()
        visitor.head()
        assert visitor.reader.exactly(5) == b"first"
        visitor.reset()
    eventually(lambda: ended, "the origin learns of it")
    assert ended == [True]


def test_visitor_gone_before_answer(world):
    """A visitor who leaves before any answer has his request at the origin aborted."""
    ended = []
    world.origin.serve(lambda c, r: ended.append(c.wait_gone(10)))
    with world.visit() as visitor:
        visitor.ask()
        eventually(lambda: world.origin.requests, "the request at the origin")
        visitor.reset()
    eventually(lambda: ended, "the origin learns of it")
    assert ended == [True]


def test_visitor_gone_while_uploading(world):
    """An upload that breaks off never looks complete to the origin."""
    seen = []
    world.origin.serve(note_bodies(seen))
    for fields, data in (([("Content-Length", 100)], b"half"),
                         ([("Transfer-Encoding", "chunked")], b"4\r\nhalf\r\n")):
        with world.visit() as visitor:
            visitor.send(visitor.head_bytes("POST", "/", fields) + data)
            eventually(lambda: world.origin.requests, "the request at the origin")
            time.sleep(0.05)
            visitor.reset()
        eventually(lambda: seen, "the origin learns of it")
        assert isinstance(seen[0], Cut), seen
        world.origin.requests.clear()
        seen.clear()


def test_origin_gone_chunked(world):
    """When the origin dies in a chunked body, the visitor's body is cut too: no last chunk is invented."""
    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Transfer-Encoding", "chunked")]) + b"5\r\nhello\r\n")
        connection.end()

    world.origin.serve(answer)
    with world.visit() as visitor, pytest.raises(Cut) as cut:
        visitor.fetch()
    assert cut.value.body == b"hello"


def test_origin_gone_content_length(world):
    """When the origin dies in a body of known length, the visitor gets fewer bytes and the end of the connection."""
    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 1000)]) + b"hello")
        connection.end()

    world.origin.serve(answer)
    with world.visit() as visitor, pytest.raises(Cut) as cut:
        visitor.fetch()
    assert cut.value.body == b"hello"


def test_idle_origin_connection_closed(world):
    """An origin that closes its connection after each answer costs the visitor nothing."""
    def answer(connection, request):
        connection.send(reply(200, request.target.encode()))
        connection.end()

    world.origin.serve(answer)
    with world.visit() as visitor:
        for i in range(20):
            assert visitor.fetch(target=f"/{i}").body == b"/%d" % i


def test_one_megabyte(world):
    """A megabyte goes up and comes back with the same hash."""
    body = os.urandom(1 << 20)
    world.origin.serve(lambda c, r: c.send(reply(200, r.read())))
    response = world.fetch(method="POST", body=body)
    assert hashlib.sha256(response.body).digest() == hashlib.sha256(body).digest()


def test_ten_visitors(world):
    """Ten visitors at once each get their own answer, all of them in flight together."""
    together = threading.Barrier(10, timeout=15)
    answers = {}

    def answer(connection, request):
        body = request.read()
        together.wait()
        connection.send(reply(200, hashlib.sha256(body).hexdigest().encode() * 3000))

    def visit(i):
        answers[i] = world.fetch(method="POST", target=f"/{i}", body=b"visitor %d" % i).body

    world.origin.serve(answer)
    threads = [threading.Thread(target=visit, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == {i: hashlib.sha256(b"visitor %d" % i).hexdigest().encode() * 3000 for i in range(10)}


def test_four_stalled_visitors(world):
    """Four visitors who stop reading do not slow a fifth."""
    def answer(connection, request):
        if request.target == "/stalled":
            connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 64 << 20)]))
            while connection.send(b"\0" * 65536):
                pass
        else:
            connection.send(reply(200, b"\1" * (10 << 20)))

    world.origin.serve(answer)
    stalled = [world.visit(receive_buffer=4096) for _ in range(4)]
    try:
        for visitor in stalled:
            visitor.ask(target="/stalled")
            visitor.head()
        time.sleep(0.5)
        began = time.monotonic()
        assert len(world.fetch(target="/fifth").body) == 10 << 20
        assert time.monotonic() - began < 10
    finally:
        for visitor in stalled:
            visitor.reset()


def test_websocket_upgrade_or_refusal(world):
    """An Upgrade that the origin accepts carries bytes both ways; they are not HTTP any more."""
    def answer(connection, request):
        assert request.get("upgrade") == "websocket" and "upgrade" in request.get("connection").lower()
        connection.send(lines("HTTP/1.1 101 Switching Protocols",
                              [("Upgrade", "websocket"), ("Connection", "Upgrade"),
                               ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")]))
        request.body = b""
        connection.send(connection.reader.exactly(5)[::-1])
        connection.end()

    world.origin.serve(answer)
    with world.visit() as visitor:
        visitor.ask(fields=[("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"),
                            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")])
        head = visitor.head()
        if head.status == 501:
            pytest.skip("this version does not carry upgrades")
        assert head.status == 101
        visitor.send(b"bytes")
        assert visitor.reader.exactly(5) == b"setyb"
