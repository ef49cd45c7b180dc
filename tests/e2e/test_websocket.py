"""WebSockets through both programs, over TLS: python3-websockets as visitor and as origin, the visitor over HTTP/1.1
and as HTTP/2 streams (RFC 8441)."""
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

    def logged(self, path):
        """The access log's line for the only request of that path: it is written when the exchange is over."""
        return eventually(lambda: [x for x in self.server.access_lines() if x["path"] == path], "it is over", 3)[0]

    def end(self):
        try:
            self.adit.stop()
            self.server.program.stop()
        finally:
            self.adit.kill()
            self.server.program.kill()
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
    line = tunnel.logged(path)
    assert line["in"] < len(message) / 20 and line["out"] < len(message) / 20, line


@both
def test_subprotocol(tunnel, version):
    """The subprotocol that the origin chooses among the visitor's is what the visitor hears, or that it chose none."""
    for offered, chosen in ((["chat.v3", "chat.v1"], "chat.v1"), (["chat.v2"], "chat.v2"), (["chat.v3"], None),
                            (None, None)):
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
def test_origin_ends_for_both(tunnel, version):
    """When the origin ends a WebSocket it is over, also for a visitor who does nothing about it."""
    async def leave(ws):
        await ws.close(1001, "going")

    tunnel.origin.serve(leave)
    path, before = f"/ends/{version}", tunnel.server.program.descriptors()
    with tunnel.open(version, path=path) as ws:
        assert ws.receive() is None
        line = tunnel.logged(path)
        assert (line["status"], line["error"]) == (101, ""), line
        if version == "2":
            eventually(lambda: ws.way.stream.reset == 0, "RST_STREAM(NO_ERROR)")
        else:
            eventually(lambda: tunnel.server.program.descriptors() <= before, "the connection is closed", 5)


@both
def test_last_words_to_a_slow_visitor(tunnel, version):
    """What an origin says before it ends comes whole, also to a visitor who takes his time."""
    words = os.urandom(4 * MIB)

    async def leave(ws):
        await ws.send(words)
        await ws.close(1001, "said all")

    tunnel.origin.serve(leave)
    with tunnel.open(version) as ws:
        eventually(lambda: tunnel.origin.sockets, "the socket at the origin")
        time.sleep(0.5)  # now all that is between them is full
        assert ws.receive() == words and ws.receive() is None
        assert (ws.protocol.close_rcvd.code, ws.protocol.close_rcvd.reason) == (1001, "said all")


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


@pytest.mark.big
@both
def test_thousand_at_once(tunnel, version):
    """A thousand sockets are open together, each gets its own back, and all of them again. Over HTTP/2 they are on
    eight connections."""
    async def first():
        sockets = [await connect(tunnel.server, compression=None) for _ in range(1000)]
        for turn in range(2):
            await asyncio.gather(*(ws.send(f"{turn} {i}") for i, ws in enumerate(sockets)))
            assert await asyncio.gather(*(ws.recv() for ws in sockets)) == [f"{turn} {i}" for i in range(1000)]
        await asyncio.gather(*(ws.close() for ws in sockets))

    def second():
        connections = [H2Visitor(tunnel.server.tls_port, f"shop.{DOMAIN}", tunnel.server.authority.context(), 60)
                       for _ in range(8)]
        sockets = [tunnel.open("2", on=connections[i % 8]) for i in range(1000)]
        for turn in range(2):
            for i, ws in enumerate(sockets):
                ws.send(f"{turn} {i}")
            for i, ws in enumerate(sockets):
                assert ws.receive() == f"{turn} {i}"
        for ws in sockets:
            ws.close()
        for connection in connections:
            connection.close()

    began = time.monotonic()
    run(first(), 120) if version == "1.1" else second()
    print(f"1000 WebSockets at once, HTTP/{version}: {time.monotonic() - began:.1f} s, aditd "
          f"{tunnel.server.program.memory('VmRSS')} KiB, adit {tunnel.adit.memory('VmRSS')} KiB")
    eventually(lambda: len(tunnel.origin.done) == 1000, "all have ended at the origin")


@pytest.mark.big
def test_ten_thousand_one_after_the_other(tunnel):
    """10 000 short WebSockets, 50 at a time: each is opened, gets its own back and is closed; nothing stays."""
    async def one(i):
        async with connect(tunnel.server, compression=None) as ws:
            await ws.send(str(i))
            assert await ws.recv() == str(i)

    async def all_of_them():
        numbers = iter(range(10_000))

        async def some():
            for i in numbers:
                await one(i)

        await asyncio.gather(*(some() for _ in range(50)))

    before = tunnel.server.program.descriptors(), tunnel.adit.descriptors()
    began, memory = time.monotonic(), tunnel.server.program.memory("VmRSS")
    run(all_of_them(), 300)
    print(f"10000 WebSockets one after the other: {time.monotonic() - began:.1f} s; "
          f"aditd's memory {memory} -> {tunnel.server.program.memory('VmRSS')} KiB")
    eventually(lambda: len(tunnel.origin.done) == 10_000, "all have ended at the origin")
    eventually(lambda: tunnel.server.program.descriptors() <= before[0] and tunnel.adit.descriptors() <= before[1],
               "their descriptors are closed")


# ---- uneven speeds

@pytest.mark.big
@both
def test_slow_origin(own, version):
    """64 MB into an origin that reads a megabyte at a time: neither program holds much of it, and nothing is lost."""
    sums, sent = [], []

    async def listen(ws):
        async for message in ws:
            sums.append(sum(message[::4096]))
            await asyncio.sleep(0.04)

    origin, server = own.keep(Origin(listen, max_queue=1)), own.server()
    adit = own.http(server, origin.address, "--name", "shop")
    adit.wait_event("published")
    with WebSocket(server, version) as ws:
        ahead = 0
        for i in range(64):
            message = os.urandom(MIB)
            sent.append(sum(message[::4096]))
            ws.send(message)
            ahead = max(ahead, len(sent) - len(sums))
        eventually(lambda: len(sums) == 64, "all has arrived", timeout=30)
        ws.close()
    assert sums == sent
    used = server.program.memory(), adit.memory()
    print(f"64 MB into a slow origin over HTTP/{version}: {ahead} MB ahead of it, aditd {used[0]} KiB, "
          f"adit {used[1]} KiB")
    assert max(used) < 32 * KIB  # what is ahead besides lies in sockets, whose buffers the system lets grow as it likes


# ---- cuts

TALKERS = 20


class Talk:
    """Conversations that go on while the carrier is cut under them; every message is answered once, in order."""

    def __init__(self, way, seconds):
        self.way, self.until, self.counts, self.heard = way, time.monotonic() + seconds, [0] * TALKERS, {}
        way.origin.serve(self.answer)

    async def answer(self, ws):
        async for message in ws:
            self.heard[message] = self.heard.get(message, 0) + 1
            await ws.send("you said " + message)

    def next(self, i):
        self.counts[i] += 1
        return f"{i}: {self.counts[i]} " + "x" * (self.counts[i] * 37 % 3000)

    async def one(self, i):
        async with connect(self.way.server, ping_interval=None) as ws:
            while time.monotonic() < self.until:
                message = self.next(i)
                await ws.send(message)
                assert await asyncio.wait_for(ws.recv(), 15) == "you said " + message
                await asyncio.sleep(0.01)

    def one_of_http2(self, i, connection):
        with WebSocket(self.way.server, "2", on=connection) as ws:
            while time.monotonic() < self.until:
                message = self.next(i)
                ws.send(message)
                assert ws.receive() == "you said " + message
                time.sleep(0.01)
            ws.close()

    async def run(self):
        server = self.way.server
        with H2Visitor(server.tls_port, f"shop.{DOMAIN}", server.authority.context()) as connection:
            await asyncio.gather(*(
                asyncio.to_thread(self.one_of_http2, i, connection) if i % 4 == 0 else self.one(i)
                for i in range(TALKERS)))


@pytest.mark.parametrize("carrier", ["direct", "ws-h1"])
def test_conversations_over_cuts(own, carrier):
    """20 WebSockets in conversation while the carrier is cut every 300 ms: none ends, each message is answered once."""
    way = Way(own, origin=own.keep(Origin()), carrier=carrier)
    talk = Talk(way, 4)
    with Saw(way.relay, every=0.3, reach=3000) as saw:
        run(talk.run(), 40)
    moved = len(way.adit.events("moved"))
    print(f"{carrier}: {sum(talk.counts)} messages over {saw.cuts} cuts, {moved} resumptions")
    assert len(talk.heard) == sum(talk.counts) and set(talk.heard.values()) == {1}
    assert moved >= 5 and len(way.adit.events("published")) == 1 and min(talk.counts) > 10


@both
def test_opened_while_the_carrier_is_away(own, version):
    """A WebSocket that is asked for while there is no carrier waits for the next one."""
    way = Way(own, origin=own.keep(Origin()))
    way.relay.closed = True
    way.relay.cut()
    way.server.program.wait_event("link.detached")
    healing = threading.Timer(0.5, setattr, (way.relay, "closed", False))
    healing.start()
    with WebSocket(way.server, version) as ws:
        ws.send("at last")
        assert ws.receive() == "at last"
        ws.close()
    healing.join()


# ---- silence

class Silence:
    """Sockets without a byte, over HTTP/1.1 and HTTP/2, which must work after it."""

    def __init__(self, server):
        self.sockets = [WebSocket(server, version) for version in VERSIONS]
        self.ask()

    def ask(self):
        for i, ws in enumerate(self.sockets):
            ws.send(f"are you there, {i}?")
            assert ws.receive() == f"are you there, {i}?"

    def end(self):
        self.ask()
        for ws in self.sockets:
            ws.close()


@pytest.mark.soak
def test_idle_for_longer_than_any_deadline(tunnel):
    """A visitor's WebSocket without a byte for 200 s is still there: longer than aditd keeps idle connections of
    either version of HTTP."""
    silence = Silence(tunnel.server)
    time.sleep(200)
    silence.end()
    assert not tunnel.adit.events("down")


DEFAULTS = {  # the files without what they say about time
    "nginx": ("proxy_read_timeout 1h;", "proxy_send_timeout 1h;"),
    "haproxy-h1": ("timeout tunnel 1h", "timeout server 1h"),
    "apache": ("\tTimeout 3600", "ProxyTimeout 3600"),
}


@pytest.mark.soak
def test_idle_behind_an_ingress(own):
    """The tunnel's carrier goes through an ingress that cuts what is idle for 50 or 60 s; a visitor's WebSocket lives
    through 80 s of silence: the link's heartbeat is all that the ingress sees."""
    def without(kind):
        def edit(text):
            for line in DEFAULTS[kind]:
                assert line in text, line
                text = text.replace(line, "")
            return text
        return edit

    roads = []
    for kind in DEFAULTS:
        if ingress.missing(kind):
            continue
        server, origin = own.server(f"aditd-{kind}"), own.keep(Origin())
        proxy = own.keep(ingress.KINDS[kind](own.folder / kind, server, without(kind)))
        adit = own.http(server, origin.address, "--name", "shop", folder=f"adit-{kind}", common=[
            "--server", f"https://127.0.0.1:{proxy.port}", "--server-name", DOMAIN, "--ca", server.authority.ca,
            "--log-format", "json"])
        adit.wait_event("published")
        roads.append((kind, adit, Silence(server)))
    assert roads
    time.sleep(80)
    for kind, adit, silence in roads:
        silence.end()
        assert not adit.events("down"), f"{kind} cut the tunnel:\n" + adit.text
