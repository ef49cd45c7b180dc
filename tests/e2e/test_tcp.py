"""Raw TCP through a tunnel: what a published port does with bytes, ends and resets, also when the link breaks."""
import hashlib
import queue
import socket
import struct
import threading
import time

import pytest

from harness import DOMAIN
from relay import Narrow
from tcp import (BLOCK, Noise, Stand, TcpServer, echo, is_refused, is_reset, read_all, read_exactly, reset, within)
from way import Saw
from wire import eventually


@pytest.fixture
def stand(own):
    return Stand(own)


class Kept:
    """A server that hands its connections to the test, and leaves them open."""

    def __init__(self):
        self.socks = queue.Queue()

    def __call__(self, sock):
        over = threading.Event()
        self.socks.put((sock, over))
        over.wait(60)

    def get(self):
        return self.socks.get(timeout=10)[0]


@pytest.fixture
def kept(own):
    """A stand whose server's end of each connection is the test's."""
    serve = Kept()
    stand = Stand(own, serve)
    stand.accept = serve.get
    return stand


def pair(kept):
    visitor = kept.visit()
    return visitor, kept.accept()


# ---- bytes

def test_echo(stand):
    """What is said comes back, and the published URL names the port."""
    assert stand.adit.events("published")[0]["url"] == f"tcp://{DOMAIN}:{stand.port}"
    assert stand.talk(b"hello") == b"hello"
    with stand.visit() as sock:
        for i in range(100):
            sock.sendall(b"%d\n" % i)
            assert read_exactly(sock, len(b"%d\n" % i)) == b"%d\n" % i
    assert not stand.server.failed


def test_server_speaks_first(own):
    """A greeting reaches a visitor who has said nothing, as with SMTP."""
    def greet(sock):
        sock.sendall(b"220 mail.example ESMTP\r\n")
        assert sock.recv(100) == b"QUIT\r\n"
        sock.sendall(b"221 bye\r\n")

    stand = Stand(own, greet)
    with stand.visit() as sock:
        assert sock.recv(100) == b"220 mail.example ESMTP\r\n"
        sock.sendall(b"QUIT\r\n")
        assert read_all(sock) == b"221 bye\r\n"
    assert not stand.server.failed


def test_unix_origin(own):
    """A server on a unix socket: bytes, its end, and its visitor's reset."""
    stand = Stand(own, server=TcpServer(unix=own.folder / "s.sock"))
    assert stand.talk(b"hello") == b"hello"
    visitor = stand.visit()
    visitor.sendall(b"x")
    read_exactly(visitor, 1)
    reset(visitor)
    eventually(lambda: stand.server.socks[-1].fileno() < 0, "the server sees the end")


def test_two_hundred_at_once(stand):
    """200 connections, all open at the same time, each with bytes of its own."""
    socks = [stand.visit() for _ in range(200)]
    for i, sock in enumerate(socks):
        sock.sendall(b"%06d" % i * 100)
    for i, sock in enumerate(socks):
        assert read_exactly(sock, 600) == b"%06d" % i * 100
    eventually(lambda: len(stand.server.socks) == 200, "200 connections at the server")
    for sock in socks:
        sock.close()


def both_ways(sock, noise):
    """Sends the noise and reads to the end at the same time; gives the digest of what came."""
    writer = threading.Thread(target=noise.send, args=(sock,))
    writer.start()
    h = hashlib.sha256()
    read_all(sock, h.update)
    writer.join()
    return h.hexdigest()


@pytest.mark.parametrize("size", [3_000_000, pytest.param(100_000_000, marks=pytest.mark.big)])
def test_both_ways_at_once(own, size):
    """Much in both directions at the same time; every byte arrives, in order."""
    to_visitor, to_server, heard = Noise(size, b"a"), Noise(size, b"b"), []

    stand = Stand(own, lambda sock: heard.append(both_ways(sock, to_visitor)))
    with stand.visit() as sock:
        got = both_ways(sock, to_server)
    assert got == to_visitor.digest()
    eventually(lambda: heard == [to_server.digest()], lambda: f"the same bytes: {stand.server.failed}")


@pytest.mark.big
def test_slow_readers_are_bounded(own):
    """Neither a visitor who does not read nor a server that does not makes either program hold more than its windows;
    and what they read in the end is right."""
    size, sent = 200_000_000, []

    def pour(sock):
        sock.settimeout(None)
        for piece in Noise(size).pieces():
            sent.append(sock.send(piece))

    stand = Stand(own, pour)
    stand.talk_to = stand.visit(receive_buffer=65536)
    before = stand.aditd.program.memory("VmRSS"), stand.adit.memory("VmRSS")
    level = -1
    while level != sum(sent):
        level = sum(sent)
        time.sleep(0.3)
    assert level < 12_000_000, f"{level} bytes taken for a visitor who reads nothing"
    h, size_read = hashlib.sha256(), 4_000_000
    h.update(read_exactly(stand.talk_to, size_read))
    assert h.hexdigest() == Noise(size_read).digest()
    after = stand.aditd.program.memory(), stand.adit.memory()
    assert all(b < a + 30_000 for a, b in zip(before, after)), (before, after)
    reset(stand.talk_to)


# ---- ends

@pytest.mark.parametrize("first", ["visitor", "server"])
def test_half_close(kept, first):
    """One side has said all, the other one goes on for as long as it likes."""
    visitor, server = pair(kept)
    ends, goes_on = (visitor, server) if first == "visitor" else (server, visitor)
    ends.sendall(b"that is all")
    ends.shutdown(socket.SHUT_WR)
    goes_on.settimeout(10)
    assert read_all(goes_on) == b"that is all"
    for i in range(20):
        goes_on.sendall(b"and more" * 1000)
        time.sleep(0.05 if i < 15 else 0)
        assert read_exactly(ends, 8000) == b"and more" * 1000
    goes_on.close()
    assert read_all(ends) == b""


def test_end_of_a_visitor_who_says_nothing(kept):
    """A connection that is opened and closed at once is opened and closed at the server."""
    kept.visit().close()
    server = kept.accept()
    server.settimeout(5)
    assert read_all(server) == b""


# ---- resets

@pytest.mark.parametrize("half", ["open", "half-closed by who resets", "half-closed by the other"])
@pytest.mark.parametrize("who", ["visitor", "server"])
def test_reset(kept, who, half):
    """A RST at one end is a RST at the other within a second, also when one direction has ended before."""
    visitor, server = pair(kept)
    breaks, hears = (visitor, server) if who == "visitor" else (server, visitor)
    breaks.sendall(b"x")
    assert read_exactly(hears, 1) == b"x"
    if half == "half-closed by who resets":
        breaks.shutdown(socket.SHUT_WR)
        assert hears.recv(1) == b""
    elif half == "half-closed by the other":
        hears.shutdown(socket.SHUT_WR)
        assert breaks.recv(1) == b""
    reset(breaks)

    def heard():
        try:
            while True:  # behind an end nothing more can be read: writing finds the reset
                if half == "half-closed by who resets":
                    hears.sendall(b"y")
                    time.sleep(0.02)
                elif not hears.recv(BLOCK):
                    raise AssertionError("an orderly end, wanted a reset")
        except ConnectionError:
            pass

    within(1.0, "the reset", heard)


@pytest.mark.parametrize("who", ["visitor", "server"])
def test_last_words_before_a_reset(kept, who):
    """What was said right before a RST arrives before it: so it is when a program closes with something unread."""
    for i in range(20):
        visitor, server = pair(kept)
        breaks, hears = (visitor, server) if who == "visitor" else (server, visitor)
        hears.sendall(b"never read")
        breaks.recv(1, socket.MSG_PEEK)  # it is there: only then close() is a RST
        breaks.sendall(b"FATAL: %d" % i)
        breaks.close()
        assert is_reset(hears) == b"FATAL: %d" % i


def swallow(sock):
    try:
        read_all(sock, lambda chunk: None)
    except OSError:
        pass


def test_last_words_on_a_busy_link(own):
    """The same while a download fills the link, so that nothing leaves at once."""
    over, count = threading.Event(), iter(range(1000))

    def serve(sock):
        if sock.recv(4) == b"bulk":
            while not over.is_set():
                sock.sendall(bytes(BLOCK))
            return
        sock.sendall(b"FATAL: %d" % next(count))  # and closes with something unread

    stand = Stand(own, serve, relay=lambda port: Narrow(port, 6_000_000, 65536))
    fillers = [stand.visit() for _ in range(8)]
    threads = [threading.Thread(target=swallow, args=(sock,)) for sock in fillers]
    for sock, thread in zip(fillers, threads):
        sock.sendall(b"bulk")
        thread.start()
    time.sleep(0.5)
    words = []
    for i in range(10):
        with stand.visit() as sock:
            sock.sendall(b"talkhere is more than is read")
            words.append(is_reset(sock))
            assert words[-1] in (b"FATAL: %d" % i, b"")
    assert words.count(b"") < 3, "they are waited for, if only for a quarter of a second"
    over.set()
    for sock, thread in zip(fillers, threads):
        sock.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("who", ["visitor", "server"])
def test_reset_of_one_who_is_not_read(kept, who):
    """The other one reads nothing, so everything on the way is full and stands still: a RST is noticed all the same."""
    visitor, server = pair(kept)
    breaks, hears = (visitor, server) if who == "visitor" else (server, visitor)
    breaks.settimeout(0.5)
    with pytest.raises(TimeoutError):
        while True:
            breaks.sendall(b"z" * BLOCK)
    reset(breaks)

    def broken():
        return struct.unpack("i", hears.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR, 4))[0]

    eventually(broken, "the reset", timeout=2.5)


def test_tunnel_client_killed(kept):
    """adit dies: its visitors are told by a RST when nobody has come back."""
    visitor, server = pair(kept)
    kept.adit.kill()
    server.settimeout(5)
    with pytest.raises(ConnectionError):
        if not server.recv(1):
            raise ConnectionError
    # the link is kept for its resume_seconds; a visitor may leave meanwhile
    visitor.close()
    kept.aditd.program.wait_event("link.detached")


def test_link_ends(own):
    """A link that is gone for good resets its visitors."""
    stand = Stand(own, resume_seconds=0)
    with stand.visit() as sock:
        sock.sendall(b"x")
        read_exactly(sock, 1)
        stand.adit.kill()
        assert is_reset(sock) == b""
    eventually(lambda: is_refused(stand.port), "the port is closed")


# ---- the link breaks

def test_cut_carrier(own):
    """The carrier is cut again and again in the middle of transfers both ways: nothing is lost, doubled or reordered."""
    size, heard = 12_000_000, []
    to_visitor, to_server = Noise(size, b"a"), Noise(size, b"b")

    stand = Stand(own, lambda sock: heard.append(both_ways(sock, to_visitor)), relay=True)
    with stand.visit() as sock, Saw(stand.relay, every=0.05) as saw:
        got = both_ways(sock, to_server)
        eventually(lambda: heard, lambda: f"the server's end: {stand.server.failed}")
    assert (got, heard) == (to_visitor.digest(), [to_server.digest()])
    assert saw.cuts > 1 and len(stand.adit.events("published")) == 1


def test_connection_while_away(own):
    """While there is no carrier a connection waits, and what it said meanwhile with it; whoever leaves leaves at once."""
    stand = Stand(own, relay=True)
    stand.relay.closed = True
    stand.relay.cut("reset")
    stand.adit.wait_event("down")
    reset(stand.visit())
    with stand.visit() as sock:
        sock.sendall(b"held")
        sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        stand.relay.closed = False
        sock.settimeout(10)
        assert read_exactly(sock, 4) == b"held"
    assert stand.line()["error"] == "connection reset"


@pytest.mark.big
def test_wait_is_over(own):
    """After 10 s without a carrier the connection is reset."""
    stand = Stand(own, relay=True)
    stand.relay.closed = True
    stand.relay.cut("reset")
    stand.adit.wait_event("down")
    with stand.visit() as sock:
        began = time.monotonic()
        assert is_reset(sock) == b""
        assert 9 < time.monotonic() - began < 12
    assert stand.line()["status"] == 503


# ---- who it is

@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_proxy_header(own, address):
    """--send-proxy: each connection begins with a PROXY v2 header, byte for byte, before what the visitor says."""
    family, kind, length = (socket.AF_INET6, 0x21, 36) if ":" in address else (socket.AF_INET, 0x11, 12)
    headers = []

    def serve(sock):
        headers.append(read_exactly(sock, 16 + length))
        echo(sock)

    stand = Stand(own, serve, flags=("--send-proxy",), address=address)
    with stand.visit() as sock:
        local = sock.getsockname()[1]
        sock.sendall(b"me")
        assert read_exactly(sock, 2) == b"me"
    ip = socket.inet_pton(family, address)
    assert headers == [b"\r\n\r\n\0\r\nQUIT\n" + bytes([0x21, kind]) + struct.pack(">H", length) + ip + ip
                       + struct.pack(">HH", local, stand.port)]


def test_access_log(stand):
    """A line for each connection, when it has ended."""
    assert stand.talk(b"x" * 1000) == b"x" * 1000
    line = stand.line()
    assert (line["method"], line["host"], line["path"]) == ("CONNECT", f"{DOMAIN}:{stand.port}", "")
    assert (line["name"], line["visitor"], line["status"]) == (f"tcp:{stand.port}", "127.0.0.1", 101)
    assert (line["in"], line["out"], line["error"]) == (1000, 1000, "")
    reset(stand.visit())
    assert stand.line(1)["error"] == "connection reset"


def test_small_requests_beside_bulk(own):
    """Bulk on a published port does not stand before small answers of HTTP, nor before a talk on another connection."""
    def serve(sock):
        if sock.recv(4) == b"bulk":
            while True:
                sock.sendall(bytes(BLOCK))
        echo(sock)

    stand = Stand(own, serve)
    stand.aditd.config["tokens"][0]["names"] = ["shop"]
    own.http(stand.aditd, own.origin().address, "--name", "shop", folder="web").wait_event("published")
    bulk = stand.visit()
    bulk.sendall(b"bulk")
    thread = threading.Thread(target=swallow, args=(bulk,))
    thread.start()
    talk, worst = stand.visit(), 0
    talk.sendall(b"talk")
    for i in range(30):
        began = time.monotonic()
        assert stand.aditd.fetch(target=f"/{i}").status == 200
        talk.sendall(b"x")
        read_exactly(talk, 1)
        worst = max(worst, time.monotonic() - began)
    bulk.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert worst < 0.3, f"{worst * 1000:.0f} ms"
