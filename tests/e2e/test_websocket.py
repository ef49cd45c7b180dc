"""WebSockets through both programs, over TLS: python3-websockets as visitor and as origin, the visitor over HTTP/1.1 and
as HTTP/2 streams (RFC 8441)."""
import asyncio
import http
import os
import threading
import time

import pytest
import websockets

import harness
import ingress
from harness import DOMAIN
from visits import VERSIONS, H2Visitor
from way import Saw, Way
from wire import Cut, eventually
from ws_peers import Origin, WebSocket, echo

KIB, MIB = 1 << 10, 1 << 20
both = pytest.mark.parametrize("version", VERSIONS)


class Tunnel:
    """Both programs, and an origin of WebSockets."""

    def __init__(self, folder, authority):
        self.folder, self.origin = folder, Origin(subprotocols=["chat.v2", "chat.v1"])
        self.server = harness.Server(folder / "aditd", authority)
        self.adit = harness.adit_http(self.server, folder / "adit", self.origin.address, "--name", "shop")
        self.adit.wait_event("published")

    def open(self, version, **options):
        return WebSocket(self.server, version, **options)

    def here(self):
        """The origin's end of the only socket."""
        return eventually(lambda: self.origin.sockets, "the socket at the origin")[0]

    def end(self):
        self.adit.stop()
        self.server.program.stop()
        self.origin.stop()


@pytest.fixture(scope="module")
def programs(base, authority, reports):
    tunnel = Tunnel(base / "websocket", authority)
    yield tunnel
    tunnel.end()


@pytest.fixture
def tunnel(programs, request):
    request.node.stage_folder = programs.folder
    programs.origin.serve(echo)
    yield programs
    assert programs.adit.alive() and programs.server.program.alive()


# ---- messages

@both
def test_echo(tunnel, version):
    """Messages of every length that frames write differently come back as they were, text and binary."""
    with tunnel.open(version) as ws:
        for size in (0, 1, 125, 126, 65535, 65536, MIB, 16 * MIB):
            for message in (os.urandom(size), "é" * (size // 2) + "e" * (size % 2)):
                ws.send(message)
                assert ws.receive() == message, size
        ws.close()


@both
def test_fragments(tunnel, version):
    """A message in several frames is one message at the far end, and its frames are not joined on the way."""
    async def tell(ws):
        await ws.send((await ws.recv())[::-1])
        await ws.send(["one ", "two ", "", "three"])
        await ws.wait_closed()

    tunnel.origin.serve(tell)
    message = os.urandom(100_000)
    with tunnel.open(version) as ws:
        ws.send(message, size=777)
        assert ws.receive() == message[::-1]
        frames = [ws.frame() for _ in range(5)]
        assert [(f.data, f.fin) for f in frames] == [
            (b"one ", False), (b"two ", False), (b"", False), (b"three", False), (b"", True)]


@both
def test_deflate(tunnel, version):
    """permessage-deflate is agreed on by the two ends, and what passes between them is compressed."""
    message = "the same again and again, " * (MIB // 26)
    path = f"/deflate/{version}"
    with tunnel.open(version, path=path, deflate=True) as ws:
        assert [e.name for e in ws.protocol.extensions] == ["permessage-deflate"]
        assert [e.name for e in tunnel.here().extensions] == ["permessage-deflate"]
        for part in (message, message[:1], message):
            ws.send(part)
            assert ws.receive() == part
        ws.close()
    [line] = eventually(lambda: [x for x in tunnel.server.access_lines() if x["path"] == path], "the access log's line")
    assert line["in"] < len(message) / 20 and line["out"] < len(message) / 20, line


@both
def test_subprotocol(tunnel, version):
    """The subprotocol that the origin chooses among the visitor's is what the visitor hears; none when it chooses none."""
    for offered, chosen in ((["chat.v3", "chat.v1"], "chat.v1"), (["chat.v2"], "chat.v2"), (["chat.v3"], None), (None, None)):
        with tunnel.open(version, subprotocols=offered) as ws:
            assert ws.protocol.subprotocol == chosen
            assert tunnel.here().subprotocol == chosen
            ws.close()
        tunnel.origin.serve(echo)


@both
def test_pings(tunnel, version):
    """Pings of either side are answered by the other, with their bytes, also amid a message."""
    with tunnel.open(version) as ws:
        for data in (b"", b"p", b"\0\xff" * 62 + b"."):
            ws.ping(data)
        ws.protocol.send_text(b"begun, ", fin=False)
        ws.ping(b"amid")
        ws.protocol.send_continuation(b"ended", fin=True)
        ws.flush()
        assert ws.receive() == "begun, ended"

        here = tunnel.here()
        asked = asyncio.run_coroutine_threadsafe(ping(here), here.loop)
        while not asked.done():
            ws.send("on")
            assert ws.receive() == "on"
        asked.result()
        ws.close()


async def ping(ws):
    await asyncio.wait_for(await ws.ping(b"from the origin"), 10)


# ---- the end

CODES = [(1000, ""), (1001, "going"), (1011, "é" * 61), (3000, "registered"), (4999, "x" * 123)]


@both
@pytest.mark.parametrize("code, reason", CODES)
def test_close_of_the_visitor(tunnel, version, code, reason):
    """Code and reason of a visitor's Close are what the origin hears, and its answer comes back."""
    with tunnel.open(version) as ws:
        ws.send("hello")
        assert ws.receive() == "hello"
        ws.close(code, reason)
        assert (ws.protocol.close_rcvd.code, ws.protocol.state.name) == (code, "CLOSED")
    [here] = eventually(lambda: tunnel.origin.done, "the end at the origin")
    assert (here.close_code, here.close_reason) == (code, reason)


@both
@pytest.mark.parametrize("code, reason", CODES)
def test_close_of_the_origin(tunnel, version, code, reason):
    """Code and reason of an origin's Close are what the visitor hears, behind the last message."""
    async def leave(ws):
        await ws.send("last words")
        await ws.close(code, reason)

    tunnel.origin.serve(leave)
    with tunnel.open(version) as ws:
        assert ws.receive() == "last words" and ws.receive() is None
        closed = ws.protocol.close_rcvd
        assert (closed.code, closed.reason) == (code, reason)
    [here] = eventually(lambda: tunnel.origin.done, "the end at the origin")
    assert here.close_code == code  # the visitor's answer


@both
def test_close_without_a_code(tunnel, version):
    """A Close that says nothing stays one that says nothing."""
    with tunnel.open(version) as ws:
        ws.close(None)
        assert ws.protocol.close_rcvd.code in (1000, 1005)  # the library answers with 1000 or nothing
    [here] = eventually(lambda: tunnel.origin.done, "the end at the origin")
    assert here.close_code == 1005


@pytest.mark.parametrize("version, how", [("1.1", "fin"), ("1.1", "reset"), ("2", "fin"), ("2", "reset"),
                                          ("2", "connection")])
def test_visitor_is_gone(tunnel, version, how):
    """A visitor whose connection ends without a Close is gone at the origin at once, with what he said before."""
    heard = []

    async def listen(ws):
        async for message in ws:
            heard.append(message)

    tunnel.origin.serve(listen)
    with tunnel.open(version) as ws:
        ws.send("first")
        eventually(lambda: heard, "the message")
        began = time.monotonic()
        ws.cut(how)
        [here] = eventually(lambda: tunnel.origin.done, "the end at the origin")
        assert time.monotonic() - began < 1 and here.close_code == 1006 and heard == ["first"]


@both
@pytest.mark.parametrize("how", ["fin", "reset"])
def test_origin_is_gone(tunnel, version, how):
    """When the origin's connection ends without a Close, the visitor's ends at once, behind the last message."""
    with tunnel.open(version) as ws:
        ws.send("first")
        assert ws.receive() == "first"
        began = time.monotonic()
        tunnel.origin.cut(tunnel.here(), how)
        try:
            assert ws.receive() is None
        except Cut:
            assert version == "2" and how == "reset"
        assert time.monotonic() - began < 1 and ws.protocol.close_rcvd is None


@both
def test_refused(own, version):
    """An origin that refuses a WebSocket is heard with its status, fields and page."""
    async def refuse(path, fields):
        return http.HTTPStatus.FORBIDDEN, [("X-Why", "not you")], b"go away"

    origin, server = own.keep(Origin(process_request=refuse)), own.server()
    own.http(server, origin.address, "--name", "shop").wait_event("published")
    if version == "2":
        with H2Visitor(server.tls_port, f"shop.{DOMAIN}", server.authority.context()) as visitor:
            asked = visitor.begin(target="/", protocol="websocket", fields=[("Sec-WebSocket-Version", "13")])
            head = asked.head()
            assert (head.status, head.get("x-why"), asked.rest()) == (403, "not you", b"go away")
    else:
        with pytest.raises(websockets.exceptions.InvalidStatus) as refusal:
            WebSocket(server)
        answer = refusal.value.response
        assert (answer.status_code, answer.headers["X-Why"], answer.body) == (403, "not you", b"go away")


# ---- the library itself as visitor

def connect(server, port=None, path="/", **options):
    return websockets.connect(f"wss://shop.{DOMAIN}{path}", host="127.0.0.1", port=port or server.tls_port,
                              ssl=server.tls_context, server_hostname=f"shop.{DOMAIN}", max_size=None, **options)


def run(coroutine, limit):
    async def bounded():
        return await asyncio.wait_for(coroutine, limit)
    return asyncio.run(bounded())


def test_library_at_both_ends(tunnel):
    """The library with all that it does by itself: compression, and pings that it wants answered."""
    async def talk():
        async with connect(tunnel.server, ping_interval=0.05, ping_timeout=5) as ws:
            for i in range(20):
                message = f"{i} " * 1000
                await ws.send(message)
                assert await ws.recv() == message
                await asyncio.sleep(0.02)
            assert ws.latency > 0, "a pong has come"

    run(talk(), 30)
