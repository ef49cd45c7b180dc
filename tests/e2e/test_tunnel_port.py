"""Who crowds the port that adits dial, without a token or with wrong ones: owners find in."""
import socket
import ssl
import time

import pytest

from floods import BATCH, drain
from h2frames import CALM, PREFACE, RST_STREAM, SETTINGS, RawEnd, END_HEADERS, END_STREAM, HEADERS, raw, u32
from harness import DOMAIN, TOKENS
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
