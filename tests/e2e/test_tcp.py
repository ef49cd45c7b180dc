"""Raw TCP through a tunnel: what a published port does with bytes, ends and resets, and who may have it."""
import hashlib
import queue
import signal
import socket
import struct
import threading
import time

import pytest

from harness import ADITD, DOMAIN, Server, free_port
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


@pytest.mark.parametrize("size", [3_000_000, pytest.param(100_000_000, marks=pytest.mark.big)])
def test_both_ways_at_once(own, size):
    """Much in both directions at the same time; every byte arrives, in order."""
    to_visitor, to_server, heard = Noise(size, b"a"), Noise(size, b"b"), []

    def serve(sock):
        writer = threading.Thread(target=to_visitor.send, args=(sock,))
        writer.start()
        h = hashlib.sha256()
        read_all(sock, h.update)
        writer.join()
        heard.append(h.hexdigest())

    stand = Stand(own, serve)
    with stand.visit() as sock:
        writer = threading.Thread(target=to_server.send, args=(sock,))
        writer.start()
        h = hashlib.sha256()
        read_all(sock, h.update)
        writer.join()
    assert h.hexdigest() == to_visitor.digest()
    eventually(lambda: heard == [to_server.digest()], lambda: f"the same bytes: {stand.server.failed}")


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
        time.sleep(0.02)
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
    for i in range(10):
        with stand.visit() as sock:
            sock.sendall(b"talkhere is more than is read")
            assert is_reset(sock) == b"FATAL: %d" % i
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


# ---- refusals

def test_origin_refuses(stand):
    """A server that does not listen: the visitor gets a RST, adit's log a line, the access log a status."""
    stand.server.stop()
    with stand.visit() as sock:
        assert is_reset(sock) == b""
    record = stand.adit.wait_event("request", method="CONNECT")
    assert record["level"] == "warn" and record["error"] == "connection refused"
    assert record["detail"] == f"tcp://127.0.0.1:{stand.server.port}"
    line = stand.line()
    assert (line["method"], line["name"], line["status"]) == ("CONNECT", f"tcp:{stand.port}", 502)


def ends_refused(adit, text):
    record = adit.wait_event("refused")
    assert text in record["reason"], record
    assert adit.wait() == 3


def test_port_that_is_not_allowed(own):
    """403 with the port in it; adit stops."""
    stand = Stand(own)
    port = free_port()
    ends_refused(stand.publish("other", port=port, wait=False), f'the token "alice" may not publish port {port}')
    assert is_refused(port)


def test_token_without_ports(own):
    """A token without ports may publish none, also no port of the server's choice."""
    stand = Stand(own)
    stand.aditd.config["tokens"].append(Server.token("bob"))
    stand.aditd.write()
    stand.aditd.program.hang_up("reloaded")
    ends_refused(stand.publish("other", port=0, wait=False, who="bob"), 'the token "bob" may not publish any port')


def test_port_in_use(own):
    """Something else listens there: 409, which says so."""
    stand = Stand(own, ports=2)
    with socket.create_server(("127.0.0.1", stand.ports[1])):
        ends_refused(stand.publish("other", port=stand.ports[1], wait=False),
                     f"port {stand.ports[1]} of the server is in use by something else")
    assert stand.talk() == b"hello"


def test_port_of_another_token(own):
    """A port that another token has published: 409."""
    stand = Stand(own, owners=("alice", "bob"))
    ends_refused(stand.publish("other", wait=False, who="bob"), f'"tcp:{stand.port}" is taken by another token')
    assert stand.talk() == b"hello"


def test_http_does_not_reach_a_port(stand):
    """No Host leads to a published port, and HTTP's own CONNECT is refused."""
    for host in (f"tcp:{stand.port}", f"tcp:{stand.port}.{DOMAIN}", f"tcp.{DOMAIN}:{stand.port}"):
        with stand.aditd.visit() as visitor:
            visitor.host = host
            assert visitor.fetch(fields=[("adit-tunnel", f"tcp:{stand.port}")]).status in (400, 404)
    with stand.aditd.visit() as visitor:
        visitor.send(f"CONNECT {DOMAIN}:{stand.port} HTTP/1.1\r\nHost: {DOMAIN}:{stand.port}\r\n\r\n".encode())
        assert visitor.read("CONNECT").status == 501
    assert not stand.server.socks


# ---- whose port

def test_shared_port(own):
    """Two adits of a token share a port: connections go to both, and to the one that is left; then the port closes."""
    def serve(word):
        def run(sock):
            sock.sendall(word)
            read_all(sock)
        return run

    stand = Stand(own, serve(b"one"))
    second = stand.publish("second", server=own.keep(TcpServer(serve(b"two"))))
    socks = [stand.visit() for _ in range(8)]
    assert sorted(read_exactly(s, 3) for s in socks) == [b"one"] * 4 + [b"two"] * 4
    for sock in socks:
        sock.close()
    stand.adit.stop()
    for _ in range(3):
        with stand.visit() as sock:
            assert read_exactly(sock, 3) == b"two"
    second.stop()
    eventually(lambda: is_refused(stand.port), "the port is closed")
    assert stand.aditd.program.events("port.closed")


def port_of(adit, n=0):
    return int(adit.events("published")[n]["name"].partition(":")[2])


def test_any_port(own):
    """Without --remote-port the server chooses one of the token's that is free; the same adit gets the same again, and
    keeps it when its carrier breaks."""
    stand = Stand(own, ports=6, relay=True)
    a, b = stand.publish("a", port=0), stand.publish("b", port=0)
    ports = [stand.port, port_of(a), port_of(b)]
    assert len(set(ports)) == 3 and set(ports) <= set(stand.ports)
    assert a.events("published")[0]["url"] == f"tcp://{DOMAIN}:{ports[1]}"
    with stand.visit(ports[1]) as sock:
        sock.sendall(b"before")
        read_exactly(sock, 6)
        stand.relay.cut("reset")
        a.wait_event("moved")
        sock.sendall(b"behind")
        assert read_exactly(sock, 6) == b"behind"
    a.stop()
    eventually(lambda: is_refused(ports[1]), "the port is closed")
    assert port_of(stand.publish("a", port=0)) == ports[1]


def test_no_port_is_free(own):
    """All of the token's ports are in use, by it or by others: 409."""
    stand = Stand(own, ports=2)
    with socket.create_server(("127.0.0.1", stand.ports[1])):
        ends_refused(stand.publish("other", port=0, wait=False), "all ports that the token may publish are in use")


def test_revoked_by_sighup(own):
    """A token loses the port: its link ends with 403, its visitors are reset, the port closes."""
    stand = Stand(own, ports=2)
    with stand.visit() as sock:
        sock.sendall(b"x")
        read_exactly(sock, 1)
        stand.aditd.config["tokens"][0]["ports"] = stand.ports[1:]
        stand.aditd.write()
        stand.aditd.program.hang_up("reloaded")
        ends_refused(stand.adit, f'may no longer publish "tcp:{stand.port}"')
        assert is_reset(sock) == b""
    eventually(lambda: is_refused(stand.port), "the port is closed")


# ---- the link breaks

def test_cut_carrier(own):
    """The carrier is cut again and again in the middle of transfers both ways: nothing is lost, doubled or reordered."""
    size, heard = 12_000_000, []
    to_visitor, to_server = Noise(size, b"a"), Noise(size, b"b")

    def serve(sock):
        writer = threading.Thread(target=to_visitor.send, args=(sock,))
        writer.start()
        h = hashlib.sha256()
        read_all(sock, h.update)
        writer.join()
        heard.append(h.hexdigest())

    stand = Stand(own, serve, relay=True)
    with stand.visit() as sock, Saw(stand.relay, every=0.05) as saw:
        writer = threading.Thread(target=to_server.send, args=(sock,))
        writer.start()
        h = hashlib.sha256()
        read_all(sock, h.update)
        writer.join()
        eventually(lambda: heard, lambda: f"the server's end: {stand.server.failed}")
    assert (h.hexdigest(), heard) == (to_visitor.digest(), [to_server.digest()])
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


# ---- limits and the end

def test_full(own):
    """Connections to ports count among max_visitors: then nobody is taken in, and the next when one has gone."""
    stand = Stand(own, max_visitors=3)
    socks = [stand.visit() for _ in range(4)]
    for sock in socks:
        sock.sendall(b"x")
    for sock in socks[:3]:
        read_exactly(sock, 1)
    socks[3].settimeout(0.5)
    with pytest.raises(TimeoutError):
        socks[3].recv(1)
    with stand.aditd.visit("nobody") as visitor:
        visitor.ask()
        stand.aditd.program.wait_event("visitors.full")
        socks[0].close()
        socks[3].settimeout(10)
        read_exactly(socks[3], 1)
        for sock in socks[1:]:
            sock.close()
        assert visitor.read().status == 404


def test_drain(own):
    """Told to end, aditd closes its ports at once; what runs goes on, up to drain_seconds."""
    stand = Stand(own, drain_seconds=3)
    with stand.visit() as sock:
        sock.sendall(b"x")
        read_exactly(sock, 1)
        began = time.monotonic()
        stand.aditd.program.signal(signal.SIGTERM)
        eventually(lambda: is_refused(stand.port), "the port is closed")
        time.sleep(1)
        sock.sendall(b"still here")
        assert read_exactly(sock, 10) == b"still here"
        assert is_reset(sock) == b""
        assert 2.5 < time.monotonic() - began < 6
    stand.aditd.program.wait()


def test_drain_ends_with_the_last(own):
    """A drain does not wait longer than the last connection."""
    stand = Stand(own, drain_seconds=30)
    with stand.visit() as sock:
        sock.sendall(b"x")
        read_exactly(sock, 1)
        stand.aditd.program.signal(signal.SIGTERM)
        eventually(lambda: is_refused(stand.port), "the port is closed")
    within(5, "the end", stand.aditd.program.wait)


def test_take_over(own):
    """A successor gets the sockets of published ports and keeps them for their links: nobody is refused meanwhile, and
    what ran in the old one runs on."""
    stand = Stand(own, admin=f"unix:{own.folder / 'admin.sock'}", drain_seconds=20)
    over, failed, done = threading.Event(), [], []

    def knock():
        while not over.is_set():
            try:
                assert stand.talk(b"knock") == b"knock"
                done.append(1)
            except (OSError, AssertionError) as e:
                failed.append(e)

    with stand.visit() as sock:
        sock.sendall(b"old")
        read_exactly(sock, 3)
        threads = [threading.Thread(target=knock) for _ in range(4)]
        for t in threads:
            t.start()
        stand.aditd.write()
        new = own.run([ADITD, "-c", stand.aditd.file, "--take-over"], "new")
        new.wait_event("port.kept", name=f"tcp:{stand.port}")
        new.wait_event("link.up")
        before = len(done)
        eventually(lambda: len(done) > before + 50, lambda: f"connections at the new one: {failed}")
        over.set()
        for t in threads:
            t.join()
        assert not failed
        sock.sendall(b"old")
        assert read_exactly(sock, 3) == b"old"
        assert stand.aditd.program.alive()
    stand.aditd.program.wait()
    assert stand.talk() == b"hello"
    new.stop()
