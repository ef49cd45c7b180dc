"""The way out when what stands on it is broken or hostile: proxies, ingresses, certificates."""
import base64
import hashlib
import os
import pty
import socket
import ssl
import subprocess
import threading
import time

import pytest

from harness import ADIT, DOMAIN, TOKENS, environment, openssl
from test_carriers import h2_status
from test_out import Proxy, start
from wire import accepted, eventually

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Hostile:
    """Takes connections, by TLS with that ALPN when it is given a context, and does with each what `serve` says."""

    def __init__(self, serve, context=None):
        self.handler, self.context, self.accepted = serve, context, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for peer in accepted(self.listener):
            self.accepted += 1
            threading.Thread(target=self.run, args=(peer,), daemon=True).start()

    def run(self, peer):
        peer.settimeout(30)
        try:
            if self.context:
                peer = self.context.wrap_socket(peer, server_side=True)
            self.handler(peer)
        except OSError:
            pass
        finally:
            peer.close()

    def stop(self):
        self.listener.close()


def head_of(peer):
    """The request head that comes, as bytes."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = peer.recv(4096)
        if not data:
            raise OSError("gone")
        head += data
    return head


def tls(server, *alpn):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server.certificate, server.key)
    context.set_alpn_protocols(list(alpn))
    return context


def through(own, server, port, carrier):
    """adit, with that carrier alone, towards what listens there with that server's certificate."""
    return own.http(server, 1, "--name", "alice-out", "--carrier", carrier, common=[
        "--server", f"https://127.0.0.1:{port}", "--server-name", DOMAIN, "--ca", server.authority.ca,
        "--log-format", "json"])


# ---- proxies

def test_refusal_asks_once(own, world):
    """A proxy that refuses is asked once a climb and not once a carrier: it may lock out who is wrong too often."""
    body = b"<html>Who are you?</html>"
    head = b"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: %d\r\n\r\n" % len(body)
    proxy = own.keep(Proxy(answer=head + body))
    adit = own.http(world.server, 1, "--proxy", proxy.url, "--name", "alice-out")
    down = adit.wait_event("down")
    assert down["detail"] == f"the proxy {proxy.url} answered 407: Who"
    asked = len(proxy.asked)
    assert asked <= len(adit.events("down")) + 1  # the next climb may have begun
    adit.stop()


def drip(text, pause):
    """Sends that, for ever, byte by byte."""
    def serve(peer):
        head_of(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            for byte in text:
                peer.sendall(bytes([byte]))
                time.sleep(pause)
    return serve


def test_dripping_proxy(own, world):
    """However a proxy draws its answer out, the step's budget is 5 s for all of it."""
    proxy = own.keep(Hostile(drip(b"X: y\r\n", 0.1)))
    began = time.monotonic()
    adit = own.http(world.server, 1, "--proxy", f"http://127.0.0.1:{proxy.port}", "--name", "alice-out")
    down = adit.wait_event("down")
    assert down["detail"] == f"the proxy http://127.0.0.1:{proxy.port}: no answer to CONNECT"
    assert 4 < time.monotonic() - began < 15
    adit.stop()


def test_interim_flood_of_proxy(own, world):
    """A proxy that says 100 for ever is cut at the answer's limit, long before its time is over."""
    def flood(peer):
        head_of(peer)
        while True:
            peer.sendall(b"HTTP/1.1 100 Wait\r\n\r\n" * 100)

    proxy = own.keep(Hostile(flood))
    began = time.monotonic()
    adit = own.http(world.server, 1, "--proxy", f"http://127.0.0.1:{proxy.port}", "--name", "alice-out")
    assert "no HTTP/1 answer" in adit.wait_event("down")["detail"]
    assert time.monotonic() - began < 4
    adit.stop()


def test_no_descriptors_are_lost(own, world):
    """A proxy that says yes and hangs up: the message says in which step, and no attempt leaves a descriptor."""
    def yes(peer):
        head_of(peer)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")

    proxy = own.keep(Hostile(yes))
    adit = own.http(world.server, 1, "--proxy", f"http://127.0.0.1:{proxy.port}", "--name", "alice-out")
    assert f"TLS with {DOMAIN}" in adit.wait_event("down")["detail"]
    before = adit.descriptors()
    eventually(lambda: proxy.accepted >= 16, "more attempts", timeout=40)
    eventually(lambda: adit.descriptors() <= before + 1, lambda: f"{before} descriptors, now {adit.descriptors()}")
    adit.stop()


# ---- ingresses

@pytest.mark.parametrize("field", [
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n",
    "",
    "EXTENSION",
])
def test_wrong_101(own, world, field):
    """A 101 that is not for what was asked is told as that, at once (RFC 6455 section 4.1)."""
    def serve(peer):
        head = head_of(peer).decode("latin-1")
        key = next(line[19:] for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key: "))
        good = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        extension = f"Sec-WebSocket-Accept: {good}\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
        peer.sendall(b"HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                     + field.replace("EXTENSION", extension).encode() + b"\r\n")
        peer.recv(1)

    ingress = own.keep(Hostile(serve, tls(world.server, "http/1.1")))
    adit = through(own, world.server, ingress.port, "ws-h1")
    began = time.monotonic()
    assert "101 is not for what was asked" in adit.wait_event("down")["detail"]
    assert time.monotonic() - began < 4
    adit.stop()


def test_refusal_without_its_body(own, world):
    """A refusal's head decides, though an ingress keeps its body back."""
    def serve(peer):
        head_of(peer)
        peer.sendall(b"HTTP/1.1 401 No\r\nAdit-Version: 1\r\nContent-Length: 30\r\n\r\nthis token is ")
        peer.recv(1)

    ingress = own.keep(Hostile(serve, tls(world.server, "http/1.1")))
    adit = through(own, world.server, ingress.port, "ws-h1")
    assert adit.wait_event("refused")["status"] == 401
    assert adit.wait() != 0


def test_interim_flood(own, world):
    """An ingress that says 103 for ever costs an attempt its budget, and no memory."""
    def flood(peer):
        head_of(peer)
        while True:
            peer.sendall(b"HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n" * 100)

    ingress = own.keep(Hostile(flood, tls(world.server, "http/1.1")))
    adit = through(own, world.server, ingress.port, "ws-h1")
    eventually(lambda: ingress.accepted >= 1, "dialled", timeout=20)
    before = adit.memory()
    adit.wait_event("down")
    assert adit.memory() - before < 8192
    adit.stop()


def outer_peer(peer, seen, status):
    """An HTTP/2 ingress that announces RFC 8441, and answers the first request with that status."""
    from h2.config import H2Configuration
    from h2.connection import H2Connection
    from h2.events import RemoteSettingsChanged, RequestReceived, SettingsAcknowledged, WindowUpdated
    from h2.settings import SettingCodes, Settings

    connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.local_settings = Settings(client=False, initial_values={SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
    connection.initiate_connection()
    peer.sendall(connection.data_to_send())
    while data := peer.recv(65536):
        for event in connection.receive_data(data):
            if isinstance(event, RemoteSettingsChanged):
                seen["window"] = event.changed_settings[SettingCodes.INITIAL_WINDOW_SIZE].new_value
            elif isinstance(event, WindowUpdated) and not event.stream_id:
                seen["connection"] = connection.outbound_flow_control_window
            elif isinstance(event, SettingsAcknowledged):
                seen["acknowledged"] = True
            elif isinstance(event, RequestReceived):
                seen.setdefault("request", dict(event.headers))
                seen.setdefault("at_request", dict(seen))
                connection.send_headers(event.stream_id, [(":status", str(status)), *seen["fields"]], end_stream=True)
        peer.sendall(connection.data_to_send())


def ws_h2_against(own, server, status, fields=()):
    seen = {"fields": list(fields)}
    ingress = own.keep(Hostile(lambda peer: outer_peer(peer, seen, status), tls(server, "h2")))
    return through(own, server, ingress.port, "ws-h2"), seen


def test_outer_connection(own, world):
    """What crosses before the carrier stands: windows wide open, SETTINGS acknowledged before the request, and a
    request of RFC 8441 with all that RFC 6455 wants of it but the key."""
    adit, seen = ws_h2_against(own, world.server, 502)
    assert "HTTP 502, and not from aditd" in adit.wait_event("down")["detail"]
    before = seen["at_request"]
    assert before["window"] == 16 << 20 and before["connection"] > 1 << 30 and before["acknowledged"]
    request = seen["request"]
    assert request[":method"] == "CONNECT" and request[":protocol"] == "websocket" and request[":scheme"] == "https"
    assert request[":path"].endswith("/ws") and request["sec-websocket-version"] == "13"
    assert request["authorization"] == "Bearer " + TOKENS["alice"] and "sec-websocket-key" not in request
    adit.stop()


def test_refusal_over_h2(own, world):
    """aditd's 401 over HTTP/2 is final, and says that it is about the token; a stranger's is not."""
    adit, _ = ws_h2_against(own, world.server, 401, [("adit-version", "1")])
    record = adit.wait_record(lambda _, line: "token not accepted" in line, "a word on the token")
    assert record
    assert adit.wait() != 0


def test_stranger_over_h2(own, world):
    """A 401 of the ingress is no refusal."""
    adit, _ = ws_h2_against(own, world.server, 401)
    assert "HTTP 401, and not from aditd" in adit.wait_event("down")["detail"]
    assert adit.alive()
    adit.stop()


def test_wrong_websocket_version(own, world):
    """RFC 6455 section 4.2.2: who asks for another version is told which one there is."""
    with world.server.visit() as visitor:
        visitor.send(f"GET /_adit/v1/{'0' * 32}/ws HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: Upgrade\r\n"
                     "Upgrade: websocket\r\nSec-WebSocket-Version: 8\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                     f"Authorization: Bearer {TOKENS['alice']}\r\n\r\n".encode())
        answer = visitor.read()
    assert answer.status == 400 and answer.get("sec-websocket-version") == "13" and answer.get("adit-version") == "1"


def relay(peer, port, first=b""):
    """Passes everything between `peer` and that port, until one side ends."""
    with socket.create_connection(("127.0.0.1", port)) as far:
        far.sendall(first)

        def back():
            try:
                while data := far.recv(65536):
                    peer.sendall(data)
                peer.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

        threading.Thread(target=back, daemon=True).start()
        while data := peer.recv(65536):
            far.sendall(data)


def auto(own, server, port, folder, **more):
    return own.http(server, 1, "--name", "shop", "--state-dir", own.folder / "state", folder=folder, common=[
        "--server", f"https://127.0.0.1:{port}", "--server-name", DOMAIN, "--ca", server.authority.ca,
        "--log-format", "json"], **more)


def test_silent_rung(own):
    """0 s: HTTP/2 is picked, and nothing said. 2 s: the next rung starts beside it, and carries."""
    server = own.server()

    def serve(peer):
        if peer.selected_alpn_protocol() == "h2":
            peer.recv(65536)
            time.sleep(20)
        else:
            relay(peer, server.plain_port)

    ingress = own.keep(Hostile(serve, tls(server, "h2", "http/1.1")))
    began = time.monotonic()
    auto(own, server, ingress.port, "adit").wait_event("published", carrier="ws-h1")
    assert 1.9 < time.monotonic() - began < 4.5


def test_poll_is_remembered(own):
    """Where Upgrades get no answer, the first start waits 2 s before it polls; the second knows better. When Upgrades
    pass again, they win."""
    server = own.server()
    mended = threading.Event()

    def serve(peer):
        head = head_of(peer)
        if b"upgrade:" in head.lower() and not mended.is_set():
            time.sleep(20)
        else:
            relay(peer, server.plain_port, head)

    ingress = own.keep(Hostile(serve, tls(server, "http/1.1")))
    for folder, least, most in (("first", 1.9, 4.5), ("second", 0.2, 1.8)):
        began = time.monotonic()
        adit = auto(own, server, ingress.port, folder)
        adit.wait_event("published", carrier="poll")
        assert least < time.monotonic() - began < most
        adit.kill()
    mended.set()
    auto(own, server, ingress.port, "third").wait_event("published", carrier="ws-h1")


@pytest.mark.parametrize("allowed, carrier", [
    (["ws-h2"], "ws-h2"), (["ws-h1", "poll"], "ws-h1"), (["poll", "ws-h2"], "ws-h2"), (["poll"], "poll"),
    (["direct", "poll"], "direct"),
])
def test_allowed_carriers(own, allowed, carrier):
    """`carriers` of the configuration: the best of those, and no word on others."""
    adit = start(own, own.server(), 1, "none", carriers=allowed)
    record = adit.wait_event("published")
    assert record["carrier"] == carrier and "why" not in record
    adit.stop()


def test_limit_of_links_is_one(own):
    """A token that has all the links it may have gets the same 429 whatever carrier it asks for."""
    server = own.server()
    token = f"Authorization: Bearer {TOKENS['alice']}\r\n"
    visitors = []

    def ask(number, kind, *fields, method="GET"):
        visitor = server.visit()
        visitors.append(visitor)
        text = "".join(f"{f}\r\n" for f in fields)
        visitor.send(f"{method} /_adit/v1/{number:032x}/{kind} HTTP/1.1\r\nHost: {DOMAIN}\r\n{token}{text}\r\n"
                     .encode())
        return visitor.head()

    direct = ("Connection: Upgrade", "Upgrade: adit")
    websocket = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
                 "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    for number in range(1000):
        answer = ask(number, "direct", *direct)
        if answer.status != 101:
            break
    others = [ask(2000, "direct", *direct), ask(2001, "ws", *websocket),
              ask(2002, "relay", "Content-Length: 0", method="POST")]
    assert number >= 1 and [a.status for a in [answer, *others]] == [429] * 4
    assert {a.get("retry-after") for a in others} == {"5"} and {a.get("adit-version") for a in others} == {"1"}
    assert h2_status(server.plain_port, (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
                     (":path", f"/_adit/v1/{2003:032x}/ws"), (":authority", DOMAIN), ("sec-websocket-version", "13"),
                     ("authorization", "Bearer " + TOKENS["alice"])) == 429
    for visitor in visitors:
        visitor.close()


# ---- certificates

def test_certificate_is_mended(own):
    """A certificate that is not accepted is tried again until it is mended: nobody needs to start adit again."""
    server, origin = own.server(), own.origin()
    server.authority.issue(server.certificate, server.key, ("other.test",))
    server.program.hang_up()
    adit = own.http(server, origin.port, "--name", "shop")
    assert "another name" in adit.wait_event("down")["detail"]
    time.sleep(2)
    server.authority.issue(server.certificate, server.key)
    server.program.hang_up()
    adit.wait_event("published", name="shop")
    assert server.fetch().status == 200


def test_key_with_passphrase(own):
    """A key that wants a passphrase ends adit at its start with a line: nothing asks at the terminal and waits."""
    key, certificate = own.folder / "locked.key", own.folder / "locked.pem"
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-passout", "pass:s3cret",
            "-keyout", key, "-out", certificate, "-days", 2, "-subj", "/CN=x")
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run([ADIT, "http", "1", "--server", "https://t.test", "--client-certificate", certificate,
                               "--client-key", key], stdin=theirs, stderr=subprocess.PIPE, text=True, timeout=20,
                              env=environment(own.folder, ADIT_TOKEN="x"), start_new_session=True)
    finally:
        for fd in (ours, theirs):
            os.close(fd)
    assert done.returncode == 2 and "passphrase" in done.stderr and str(key) in done.stderr
