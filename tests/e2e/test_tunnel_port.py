"""Who crowds the port that adits dial, without a token or with wrong ones: owners find in."""
import socket
import ssl
import threading
import time

import pytest

from floods import BATCH, drain
from h2frames import CALM, PREFACE, RST_STREAM, SETTINGS, RawEnd, RawVisitor, END_HEADERS, END_STREAM, HEADERS, raw, u32
from harness import DOMAIN, TOKENS, adit_http
from relay import Relay
from test_h2_outer import Carried
from wire import Visitor, eventually, reply

CARRIER = "/_adit/v1/" + "0" * 32 + "/ws"
PROXY = "127.0.0.2"  # in trusted_proxies


def idle(server):
    return socket.create_connection(("127.0.0.1", server.plain_port), 5)


def half_a_head(server):
    sock = idle(server)
    sock.sendall(f"GET {CARRIER} HTTP/1.1\r\nHost: {DOMAIN}\r\nAuthorization: Bearer ".encode())
    return sock


def half_tls(server):
    sock = socket.create_connection(("127.0.0.1", server.tls_port), 5)
    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    return sock


def silent_tls(server):
    """ClientHello sent, the answer unread."""
    sock = socket.create_connection(("127.0.0.1", server.tls_port), 5)
    out = ssl.MemoryBIO()
    hello = server.authority.context().wrap_bio(ssl.MemoryBIO(), out, server_hostname=DOMAIN)
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    sock.sendall(out.read())
    return sock


def half_h2(server):
    """A field block that does not end."""
    sock = idle(server)
    sock.sendall(PREFACE + raw(SETTINGS) + raw(HEADERS, 0, 1, b"\x82"))
    return sock


KINDS = {"idle": (idle, 1000), "half a head": (half_a_head, 1000), "half a ClientHello": (half_tls, 500),
         "TLS without an answer": (silent_tls, 500), "half a field block": (half_h2, 500)}


@pytest.mark.parametrize("kind", KINDS)
def test_crowd_without_a_token(own, kind):
    """Ten times as many connections as there is room for, by every trick of not going on: an adit attaches while they
    come and when all are there; visitors are served."""
    make, count = KINDS[kind]
    check_crowd(own, make, count, count // 10)


@pytest.mark.big
def test_ten_thousand(own):
    """The same with 10 000 and the limit as it is by default."""
    check_crowd(own, idle, 10500, 10000)


def check_crowd(own, make, count, limit):
    server, origin = own.server(max_visitors=limit), own.origin()
    held = []
    try:
        for i in range(count):
            held.append(make(server))
            if i == count // 2:
                attach(own, server, origin, "shop")
        attach(own, server, origin, "files")
        assert server.fetch("shop").status == 200
    finally:
        for sock in held:
            sock.close()


def attach(own, server, origin, name):
    began = time.monotonic()
    own.http(server, origin.port, "--name", name, folder=name).wait_event("published")
    print(f"{name}: attached after {time.monotonic() - began:.2f} s")
    assert time.monotonic() - began < 3


class Coming:
    """While the block runs one after the other comes by `make`, `rate` a second at most; none leaves by itself, and
    16 stay busy with `go_on`."""

    def __init__(self, make, rate, go_on=None):
        self.make, self.pace, self.go_on, self.over, self.held = make, 1 / rate, go_on, False, []
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.over:
            time.sleep(self.pace)
            try:
                self.held.append(self.make())
            except OSError:
                pass
            for sock in self.held[-16:] if self.go_on else ():
                self.go_on(sock)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join(10)
        for sock in self.held:
            sock.close()


def far_away(own, server, origin, name):
    """An adit whose bytes take 25 ms each way attaches."""
    relay = own.keep(Relay(server.tls_port))
    relay.delay = 0.025
    began = time.monotonic()
    adit = own.keep(adit_http(server, own.folder / name, origin.address, "--name", name, common=[
        "--server", f"https://127.0.0.1:{relay.port}", "--server-name", DOMAIN, "--ca", server.authority.ca,
        "--log-format", "json"]))
    adit.wait_event("published")
    took = time.monotonic() - began
    print(f"{name}: attached after {took:.2f} s")
    assert took < 3
    adit.stop()


def test_silent_ones_beside_idle_visitors(own):
    """Full of visitors between two requests, and a hundred a second come who say nothing: who needs some round trips
    to say what he wants gets them; it is the idle ones that go."""
    server, origin = own.server(max_visitors=200), own.origin()
    origin.serve(lambda c, r: c.send(reply(200, b"served")))
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    visitors = [server.visit() for _ in range(198)]
    for visitor in visitors:
        assert visitor.fetch().status == 200
    time.sleep(2.1)  # they are not young any more
    with Coming(lambda: idle(server), 100):
        time.sleep(0.3)
        far_away(own, server, origin, "files")
        time.sleep(2.5)  # until only silent ones are left
        far_away(own, server, origin, "files")
    for visitor in visitors:
        visitor.close()


def dribble(server):
    """Asks for a tunnel with a body that is long in coming."""
    sock = idle(server)
    sock.sendall(f"POST / HTTP/1.1\r\nHost: shop.{DOMAIN}\r\nContent-Length: 1000000000\r\n\r\n".encode())
    return sock


def ask_ahead(server):
    """Asks again and again and reads nothing."""
    sock = idle(server)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    one = f"GET / HTTP/1.1\r\nHost: shop.{DOMAIN}\r\n\r\n".encode()
    try:
        while sock.send(one * 100):
            pass
    except BlockingIOError:
        return sock


def no_window(server):
    """HTTP/2 with no window for an answer's body."""
    sock = idle(server)
    host = f"shop.{DOMAIN}".encode()
    block = b"\x82\x86\x84\x01" + bytes([len(host)]) + host
    sock.sendall(PREFACE + raw(SETTINGS, 0, 0, b"\0\4" + u32(0)) + raw(HEADERS, END_HEADERS | END_STREAM, 1, block))
    return sock


def one_byte(sock):
    try:
        sock.send(b"x")
    except OSError:
        pass


def all_busy(own, server, origin, count):
    origin.serve(lambda c, r: c.wait_gone(20))
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    busy = []
    for i in range(count):
        busy.append(server.visit())
        busy[i].ask()
    eventually(lambda: len(origin.requests) == count, "all at the origin")
    return busy


def test_carriers_leave_the_reserve(own):
    """All of max_visitors busy, and more owners come by HTTP/2 than the reserve has places: their connections stay, and
    each finds in."""
    server, origin = own.server(max_visitors=20), own.origin()
    busy = all_busy(own, server, origin, 20)
    links = [Carried(RawVisitor(server, tls=True).greeted(), f"alice-{i}") for i in range(24)]
    far_away(own, server, origin, "files")
    assert server.fetch("shop").status == 503, "there is no more room for visitors than before"
    for visitor in busy + [link.v for link in links]:
        visitor.close()


MISFITS = {"a body that dribbles": (dribble, one_byte), "answers unread": (ask_ahead, None),
           "no window": (no_window, None)}


@pytest.mark.parametrize("kind", MISFITS)
def test_reserve_turns_over(own, kind):
    """All of max_visitors busy, and those who come beside them do all that they can to stay: an adit attaches."""
    make, go_on = MISFITS[kind]
    server, origin = own.server(max_visitors=100), own.origin()
    busy = all_busy(own, server, origin, 100)
    with Coming(lambda: make(server), 50, go_on):
        time.sleep(1)
        far_away(own, server, origin, "files")
    for visitor in busy:
        visitor.close()


@pytest.mark.soak
def test_stalled_readers_make_room(own):
    """All of max_visitors take nothing of their answers. For a minute newcomers are 503; then the longest stalled goes for
    each of them, and the others stay."""
    server, origin = own.server(max_visitors=10), own.origin()
    own.http(server, origin.address, "--name", "shop").wait_event("published")
    origin.serve(lambda c, r: c.send(reply(200, b"x" * (20_000_000 if r.target == "/big" else 2))))
    began, readers = time.monotonic(), []
    for i in range(10):
        if i % 2:
            readers.append(RawVisitor(server, receive_buffer=4096).greeted())
            readers[-1].ask(path="/big")
        else:
            readers.append(server.visit(receive_buffer=4096))
            readers[-1].ask(target="/big")
    time.sleep(2)
    assert server.fetch().status == 503
    time.sleep(began + 55 - time.monotonic())
    assert server.fetch().status == 503 and not stalled(server)
    eventually(lambda: server.fetch().status == 200, "there is room", 15)
    assert 59 < time.monotonic() - began < 70
    eventually(lambda: len(stalled(server)) == 1, "one has gone")
    time.sleep(5)  # all of them have stalled for a minute by now
    with server.visit() as one, server.visit() as two:
        assert [v.fetch().status for v in (one, two)] == [200, 200]
        eventually(lambda: 1 < len(stalled(server)) < 4, "one for each")
    server.program.wait_event("visitors.stalled", timeout=1)
    for reader in readers:
        reader.close()


def stalled(server):
    return [r for r in server.access_lines() if r.get("error", "").startswith("took nothing")]


def knock(server, token, visitor=None, through="forwarded"):
    """The status that a token gets, from that visitor behind an ingress."""
    fields, first, port = [("Authorization", f"Bearer {token}")], b"", server.plain_port
    if visitor and through == "forwarded":
        fields.append(("X-Forwarded-For", visitor))
    elif visitor:
        first, port = f"PROXY TCP4 {visitor} 127.0.0.1 5000 443\r\n".encode(), server.proxy_port
    with Visitor(port, DOMAIN, source=PROXY, first=first) as v:
        return v.fetch("GET", CARRIER, fields).status


@pytest.mark.parametrize("through", ["forwarded", "PROXY"])
def test_wrong_tokens_behind_an_ingress(own, through):
    """Who guesses behind an ingress waits; his neighbours behind the same one do not."""
    server = own.server()
    assert [knock(server, f"wrong{i}", "192.0.2.1", through) for i in range(6)] == [401] * 4 + [429] * 2
    assert knock(server, "wrong", "192.0.2.2", through) == 401
    assert knock(server, TOKENS["alice"], "192.0.2.1", through) == 426, "right, but asks for no upgrade"


class FromProxy(RawEnd):
    """An ingress's connection of HTTP/2."""

    def __init__(self, server, source):
        sock = socket.socket()
        sock.settimeout(15)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", server.plain_port))
        super().__init__(sock, f"shop.{DOMAIN}")


@pytest.mark.parametrize("source, all_pass", [("127.0.0.1", False), (PROXY, True)], ids=["visitor", "proxy"])
def test_resets_of_many_visitors(own, source, all_pass):
    """3000 resets on one connection are a visitor's flood, and a trusted proxy's ordinary minute."""
    server, origin = own.server(), own.origin()
    origin.serve(lambda c, r: c.wait_gone(10) if r.target == "/slow" else c.send(reply(200, b"on")))
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    v = FromProxy(server, source).greeted()
    sent = 0
    while sent < 3000 and drain(v):
        streams = [v.new_stream() for _ in range(BATCH)]
        v.try_send(b"".join(raw(HEADERS, END_HEADERS | END_STREAM, s, v.encode(v.fields(path="/slow")))
                            + raw(RST_STREAM, 0, s, u32(8)) for s in streams))
        sent += BATCH
    if all_pass:
        eventually(lambda: v.fetch().data == b"on", "an answer")
    else:
        assert v.ended() == CALM
    v.close()
