"""Getting out: through HTTP proxies, on whichever address family works."""
import base64
import json
import shutil
import socket
import subprocess
import threading

import pytest

from harness import ADIT, DOMAIN, TOKENS, Program, adit_http, can_connect, environment
from nginx_ingress import UPGRADE, Ingress
from wire import accepted, eventually, reply

SECRET = "p@ss:w0rd"


class Proxy:
    """A scripted HTTP proxy: knows names, wants a password if it is told one, and notes what was asked of it."""

    def __init__(self, names=None, credentials=None, answer=None):
        self.names, self.credentials, self.answer, self.asked = names or {}, credentials, answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for peer in accepted(self.listener):
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        head = b""
        while b"\r\n\r\n" not in head:
            data = peer.recv(4096)
            if not data:
                return
            head += data
        lines = head.decode("latin-1").split("\r\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        target = lines[0].split(" ")[1]
        self.asked.append(target)
        wanted = self.credentials and "Basic " + base64.b64encode(self.credentials.encode()).decode()
        if self.answer is not None:
            peer.sendall(self.answer)
            peer.close()
        elif wanted and fields.get("Proxy-Authorization") != wanted:
            peer.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
            peer.close()
        else:
            host, port = target.rsplit(":", 1)
            far = socket.create_connection((self.names.get(host, host), int(port)))
            peer.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
            threading.Thread(target=self.copy, args=(peer, far), daemon=True).start()
            self.copy(far, peer)

    @staticmethod
    def copy(a, b):
        try:
            while data := a.recv(65536):
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        self.listener.close()


class Tinyproxy:
    """Debian's tinyproxy, with a user and a password."""

    def __init__(self, own, credentials=None):
        path = shutil.which("tinyproxy") or "/usr/bin/tinyproxy"
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        auth = "BasicAuth " + credentials.replace(":", " ", 1) + "\n" if credentials else ""
        file = own.folder / "tinyproxy.conf"
        file.write_text(f"Port {self.port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\n{auth}"
                        f'LogFile "{own.folder}/tinyproxy.log"\nPidFile "{own.folder}/tinyproxy.pid"\n')
        own.run([path, "-d", "-c", file], "tinyproxy")
        eventually(lambda: can_connect(self.port), lambda: "tinyproxy answers")


def start(own, server, origin, proxy_line, folder="adit", **settings):
    """adit start, with a proxy in its file."""
    place = own.folder / folder
    place.mkdir()
    (place / "token").write_text(TOKENS["alice"] + "\n")
    (place / "token").chmod(0o600)
    (place / "adit.yaml").write_text(json.dumps({
        "server": f"https://127.0.0.1:{server.tls_port}", "server_name": DOMAIN, "ca": str(server.authority.ca),
        "token_file": "token", "log_format": "json", "proxy": proxy_line, **settings,
        "tunnels": [{"name": "shop", "origin": str(origin)}]}))
    return own.keep(Program([ADIT, "start", "-c", place / "adit.yaml"], place, "adit", environment(place)))


def test_through_tinyproxy(own):
    """A tunnel through Debian's tinyproxy, by --proxy, for each carrier there is."""
    server, origin, proxy = own.server(), own.origin(), Tinyproxy(own)
    origin.serve(lambda connection, request: connection.send(reply(200, body=b"out")))
    for carrier in ("direct", "ws-h2", "ws-h1"):
        adit = own.http(server, origin.port, "--name", "shop", "--proxy", proxy.url, "--carrier", carrier, folder=carrier)
        adit.wait_event("published", carrier=carrier)
        assert server.fetch().body == b"out"
        adit.stop()
    assert f"CONNECT 127.0.0.1:{server.tls_port}" in (own.folder / "tinyproxy.log").read_text()


def test_password(own):
    """tinyproxy wants a password: the right one passes, the wrong one is told of, with the proxy's name and without
    the password."""
    server, origin = own.server(), own.origin()
    proxy = Tinyproxy(own, "me:s3cret")
    good = start(own, server, origin.port, f"http://me:s3cret@127.0.0.1:{proxy.port}", "good")
    good.wait_event("published")
    bad = start(own, server, origin.port, f"http://me:wr0ng@127.0.0.1:{proxy.port}", "bad")
    down = bad.wait_event("down")
    assert f"the proxy {proxy.url} answered 40" in down["detail"], down
    bad.stop()
    assert "wr0ng" not in bad.text and base64.b64encode(b"me:wr0ng").decode() not in bad.text


def test_407_is_told(own):
    """The exact words for a 407."""
    server, proxy = own.server(), own.keep(Proxy(credentials="me:" + SECRET))
    adit = start(own, server, 1, f"http://me:no@127.0.0.1:{proxy.port}")
    down = adit.wait_event("down")
    assert down["detail"] == f"the proxy {proxy.url} answered 407: Proxy Authentication Required"
    good = start(own, server, 1, f"http://me:p%40ss%3Aw0rd@127.0.0.1:{proxy.port}", "good")
    good.wait_event("published")


@pytest.mark.parametrize("answer, wanted", [
    (b"HTTP/1.1 403 Filtered\r\n\r\n", "answered 403: Filtered"),
    (b"HTTP/1.1 502\r\nX: y\r\n\r\n", "answered 502"),
    (b"SSH-2.0-OpenSSH\r\n", "no HTTP/1 answer"),
    (b"", "hung up instead of answering CONNECT"),
    (b"HTTP/1.1 200 OK\r\n\r\nhello", "sends something behind its answer"),
    (b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n" * 1000, "no HTTP/1 answer"),
])
def test_bad_proxies(own, world, answer, wanted):
    """Whatever a proxy answers, the message names it."""
    proxy = own.keep(Proxy(answer=answer))
    adit = own.http(world.server, 1, "--proxy", proxy.url, "--name", "alice-out")
    down = adit.wait_event("down")
    assert down["detail"].startswith(f"the proxy {proxy.url}") and wanted in down["detail"], down
    adit.stop()


def test_no_proxy_there(own, world):
    """A proxy that is not there is named too."""
    adit = own.http(world.server, 1, "--proxy", f"http://127.0.0.1:{world.dead_port}", "--name", "alice-out")
    down = adit.wait_event("down")
    assert down["detail"] == (f"the proxy http://127.0.0.1:{world.dead_port}: 127.0.0.1 port {world.dead_port}: "
                              "connection refused")
    adit.stop()


def test_environment(own):
    """HTTPS_PROXY is used, and resolves the server's name; NO_PROXY keeps it away."""
    server, origin = own.server(), own.origin()
    proxy = own.keep(Proxy(names={DOMAIN: "127.0.0.1"}))
    folder = own.folder / "adit"
    folder.mkdir()
    common = ["--server", f"https://{DOMAIN}:{server.tls_port}", "--ca", server.authority.ca, "--log-format", "json",
              "--name", "shop"]
    env = environment(folder, ADIT_TOKEN=TOKENS["alice"], HTTPS_PROXY=proxy.url)
    adit = own.keep(Program([ADIT, "http", origin.port, *common], folder, "adit", env))
    adit.wait_event("published", name="shop")
    assert proxy.asked == [f"{DOMAIN}:{server.tls_port}"]
    adit.stop()
    adit = own.keep(Program([ADIT, "http", origin.port, *common], folder, "adit", {**env, "NO_PROXY": ".tunnel.test"}))
    adit.wait_event("down")
    assert len(proxy.asked) == 1


def test_families_are_raced(own):
    """localhost has ::1 too, where nobody listens: the connection is made over IPv4, at once."""
    server, origin = own.server(), own.origin()
    common = ["--server", f"https://localhost:{server.tls_port}", "--server-name", DOMAIN, "--ca", server.authority.ca,
              "--log-format", "json"]
    adit = own.keep(adit_http(server, own.folder / "adit", origin.port, "--name", "shop", common=common))
    adit.wait_event("published", name="shop")


def test_password_in_argv(own, world):
    """A proxy's password on the command line is refused, and not repeated."""
    done = subprocess.run([ADIT, "http", "1", *map(str, world.server.flags()), "--proxy", "http://me:s3cret@127.0.0.1"],
                          capture_output=True, text=True, timeout=20, env=environment(own.folder, ADIT_TOKEN="x"))
    assert done.returncode == 2 and "--proxy" in done.stderr and "s3cret" not in done.stderr


def test_what_worked_is_remembered(own):
    """Behind nginx ws-h1 works: the next start begins there; when the server is gone for a while, it is forgotten."""
    server, origin = own.server(), own.origin()
    ingress = Ingress(own, server, UPGRADE)
    state = own.folder / "state"
    file = state / "carriers"

    def begin(name):
        adit = own.http(server, origin.port, "--name", "shop", "--state-dir", state, folder=name, common=ingress.flags())
        return adit, adit.wait_event("published", carrier="ws-h1")["why"]

    adit, why = begin("first")
    assert "ws-h2" in why and "worked" not in why
    adit.stop()
    assert f"ws-h1 127.0.0.1:{ingress.port} {DOMAIN} -" in file.read_text()
    adit, why = begin("second")
    assert why == "ws-h1: worked at this server before, so it was tried first"
    ingress.program.kill()
    eventually(lambda: "ws-h1" not in file.read_text(), lambda: "forgotten: " + adit.text)
