"""Tunnels: names, tokens, certificates, reconnecting, reloading."""
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness import ADIT, ADITD, DOMAIN, TOKENS, Authority, free_port
from wire import eventually, reply

pytestmark = pytest.mark.sandboxed


def connections_to(port):
    """How many established TCP connections have that port at their far end."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(1 for row in rows if row[3] == "01" and int(row[2].split(":")[1], 16) == port)


def served(server, name, body=None):
    """Does a request to that name get 200 (and that body) now?"""
    response = server.fetch(name)
    return response.status == 200 and (body is None or response.body == body)


def saying(own, text):
    origin = own.origin()
    origin.serve(lambda c, r: c.send(reply(200, text)))
    return origin


def test_published_line(own):
    """adit says where the tunnel is: name, URL and origin."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop")
    record = adit.wait_event("published")
    assert record["name"] == "shop" and record["origin"] == f"http://127.0.0.1:{origin.port}"
    assert record["url"].startswith(f"https://shop.{DOMAIN}")
    assert served(server, "shop")


def test_several_tunnels_one_connection(world):
    """All tunnels of one adit share one connection, and each name reaches its own origin."""
    world.unix_origin.serve(lambda c, r: c.send(reply(200, b"from the socket")))
    world.origin.serve(lambda c, r: c.send(reply(200, b"from the port")))
    assert world.fetch("shop").body == b"from the port"
    assert world.fetch("files", target="/hello.txt").body == b"hello from nginx\n"
    assert world.fetch("alice-unix").body == b"from the socket"
    assert connections_to(world.server.tls_port) == 1


def test_unix_origin(world):
    """An origin on a unix socket is served like any other."""
    assert world.fetch("alice-unix", "POST", "/u", body=b"data").body == b"POST /u\ndata"


def test_random_name_is_stable(own):
    """Without --name a random name is given, and the same adit gets the same one again, also from a new aditd."""
    server, origin = own.server(), own.origin()
    names = []
    for turn in range(3):
        if turn == 2:
            server.program.stop()
            server.start()
        adit = own.http(server, origin.port, "--state-dir", own.folder / "state")
        names.append(adit.wait_event("published")["name"])
        assert served(server, names[-1])
        adit.stop()
    assert re.fullmatch(r"r-[a-z2-7]{13}", names[0]) and len(set(names)) == 1, names
    other = own.http(server, origin.port, "--state-dir", own.folder / "other-state", folder="other")
    assert other.wait_event("published")["name"] != names[0]


def test_name_not_allowed(own):
    """A name outside the token's names is refused with 403; adit says so and ends with an error."""
    server = own.server()
    adit = own.http(server, 9, "--name", "shop", who="bob")
    assert adit.wait() not in (0, 2) and not adit.events("published")
    assert "403" in adit.text and "shop" in adit.text


def test_reserved_prefix(own):
    """A name that begins with r- cannot be claimed."""
    adit = own.http(own.server(), 9, "--name", "r-aaaaaaaaaaaaa")
    assert adit.wait() != 0 and not adit.events("published") and "r-" in adit.text


def test_name_of_another_token(own):
    """A name that another token has live is refused with 409, and its owner keeps it."""
    server = own.server()
    owner = own.http(server, saying(own, b"alice").port, "--name", "alice-shared")
    owner.wait_event("published")
    thief = own.http(server, saying(own, b"bob").port, "--name", "alice-shared", who="bob", folder="bob")
    assert thief.wait() not in (0, 2) and "409" in thief.text and "alice-shared" in thief.text
    assert served(server, "alice-shared", b"alice") and owner.alive()


def test_two_adits_share_a_name(own):
    """Two adits with the same token share a name; when one leaves, the other serves on."""
    server = own.server()
    first = own.http(server, saying(own, b"first").port, "--name", "shop")
    second = own.http(server, saying(own, b"second").port, "--name", "shop", folder="second")
    first.wait_event("published")
    second.wait_event("published")
    first.stop()
    for _ in range(10):
        assert served(server, "shop", b"second")


def test_bad_token(own):
    """A wrong token is a 401: adit says that the token was not accepted, and stops."""
    adit = own.http(own.server(), 9, "--name", "shop", token="adit_wrong")
    assert adit.wait() not in (0, 2)
    assert "401" in adit.text and "token" in adit.text and "adit_wrong" not in adit.text


def test_token_is_not_logged(world):
    """No log of either program has a token in it."""
    for log in world.folder.rglob("*.log"):
        assert not any(token in log.read_text(errors="replace") for token in TOKENS.values()), log


def refused_certificate(adit):
    adit.wait_line("certificate")
    assert not adit.events("published")


def test_unknown_authority(own):
    """A server certificate of an unknown authority is refused with a message about certificates."""
    server, stranger = own.server(), Authority(own.folder / "stranger", "somebody else")
    common = ["--server", f"https://127.0.0.1:{server.tls_port}", "--server-name", DOMAIN, "--ca", stranger.ca,
              "--log-format", "json"]
    refused_certificate(own.http(server, 9, "--name", "shop", common=common))


def test_wrong_host_name(own):
    """A server certificate for another name is refused with a message about certificates."""
    server = own.server()
    common = ["--server", f"https://127.0.0.1:{server.tls_port}", "--server-name", "elsewhere.test",
              "--ca", server.authority.ca, "--log-format", "json"]
    refused_certificate(own.http(server, 9, "--name", "shop", common=common))


def test_nobody_at_the_server(own):
    """While no server is there adit goes on trying, and is up soon after one is."""
    server, origin = own.server(), own.origin()
    server.program.stop()
    adit = own.http(server, origin.port, "--name", "shop")
    eventually(lambda: adit.lines, "adit says something")
    assert adit.alive() and not adit.events("published")
    server.start()
    adit.wait_event("published", timeout=15)
    assert served(server, "shop")


def test_tunnel_down(own):
    """While a tunnel is down its name gets 503 with Retry-After."""
    server, origin = own.server(resume_seconds=1), own.origin()
    adit = own.http(server, origin.port, "--name", "shop")
    adit.wait_event("published")
    assert served(server, "shop")
    adit.kill()
    response = server.fetch("shop", timeout=30)
    assert response.status == 503 and int(response.get("retry-after")) > 0
    assert "aditd" in response.get("proxy-status")


def test_server_killed_and_restarted(own):
    """aditd is killed and started again: adit is back by itself within ten seconds."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop")
    adit.wait_event("published")
    for _ in range(2):
        server.program.kill()
        server.start()
        eventually(lambda: served(server, "shop"), lambda: "adit is back; its log:\n" + adit.text, timeout=10)
    assert adit.alive()


def test_client_killed_and_restarted(own):
    """adit is killed and started again: its name is its own again at once."""
    server, origin = own.server(), own.origin()
    for turn in range(3):
        adit = own.http(server, origin.port, "--name", "shop", "--state-dir", own.folder / "state")
        adit.wait_event("published", timeout=10)
        assert served(server, "shop")
        adit.kill()


def test_reload_tokens(own):
    """SIGHUP makes aditd accept a new token and refuse one that was taken out, while tunnels stay up."""
    server, origin = own.server(), own.origin()
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    server.config["tokens"] = [server.token("alice"), server.token("carol")]
    server.write()
    server.program.hang_up()
    own.http(server, origin.port, "--name", "carol-1", who="carol", folder="carol").wait_event("published")
    bob = own.http(server, origin.port, "--name", "bob-1", who="bob", folder="bob")
    assert bob.wait() != 0 and "401" in bob.text
    assert served(server, "shop") and served(server, "carol-1")


def certificate_seen(server):
    with server.visit(tls=True) as visitor:
        return visitor.sock.getpeercert(binary_form=True)


def test_reload_certificate(own):
    """SIGHUP makes aditd serve a new certificate, and the tunnel stays up."""
    server, origin = own.server(), own.origin()
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    before = certificate_seen(server)
    server.authority.issue(server.certificate, server.key)
    server.program.hang_up()
    eventually(lambda: certificate_seen(server) != before, "the new certificate")
    assert served(server, "shop")


def test_reload_of_bad_config(own):
    """A broken config or certificate at SIGHUP is told in the log, and everything stays as it was."""
    server, origin = own.server(), own.origin()
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    before = certificate_seen(server)
    for path, text in ((server.file, "domain: [\n"), (server.file, "domian: tunnel.test\n"),
                       (server.certificate, "not a certificate\n")):
        server.write()
        good = path.read_text()
        path.write_text(text)
        start = len(server.program.lines)
        server.program.signal(signal.SIGHUP)
        server.program.wait_line(path.name, start=start)
        path.write_text(good)
        assert certificate_seen(server) == before and served(server, "shop")


def test_reload_tunnels(own):
    """SIGHUP makes adit publish a tunnel that was added and give up one that was taken out."""
    server, origin = own.server(resume_seconds=1), own.origin()
    tunnels = own.tunnels(server, {"shop": origin.address, "alice-old": origin.address})
    tunnels.write({"shop": origin.address, "alice-new": origin.address})
    tunnels.program.signal(signal.SIGHUP)
    tunnels.program.wait_event("published", name="alice-new")
    assert served(server, "shop") and served(server, "alice-new")
    with server.visit("alice-old", timeout=30) as visitor:
        assert visitor.fetch().status in (404, 503)


def test_reload_of_bad_tunnels(own):
    """A broken adit.yaml at SIGHUP is told in the log, and the tunnels stay up."""
    server, origin = own.server(), own.origin()
    tunnels = own.tunnels(server, {"shop": origin.address})
    for text in ("tunnels: {", "tunnels: [{name: shop, origin: 'ftp://x'}]\n"):
        tunnels.file.write_text(text)
        start = len(tunnels.program.lines)
        tunnels.program.signal(signal.SIGHUP)
        tunnels.program.wait_line("adit.yaml", start=start)
        assert served(server, "shop") and tunnels.program.alive()


def test_development_mode(own):
    """`aditd --dev` prints one line to paste; with it adit is up, and curl trusts the certificate it names."""
    printed = own.folder / "printed"
    with open(printed, "wb") as out:
        own.run([ADITD, "--dev", "--dev-listen", "127.0.0.1:0", "--dev-dir", own.folder / "dev"], "aditd", stdout=out)
    [line] = eventually(lambda: [x for x in printed.read_text().splitlines() if "adit http 3000" in x], "the line")
    argv = shlex.split(line[line.index("adit http 3000"):])[3:]
    origin = saying(own, b"developed")
    adit = own.run([ADIT, "http", origin.port, *argv, "--name", "demo", "--log-format", "json"], "adit")
    url = adit.wait_event("published")["url"]
    assert re.fullmatch(r"https://demo\.([a-z]+\.)?localhost:\d+/?", url), url
    ca = argv[argv.index("--ca") + 1]
    host, port = url.rstrip("/")[len("https://"):].split(":")
    done = subprocess.run(["curl", "-sS", "--max-time", "10", "--cacert", ca,
                           "--resolve", f"{host}:{port}:127.0.0.1", url], capture_output=True, text=True, timeout=20)
    assert done.stdout == "developed", done.stderr
    private = Path(argv[argv.index("--token-file") + 1])
    assert private.stat().st_mode & 0o077 == 0, "the token is its owner's alone"


def test_server_only_accepts_loopback_without_tls(own):
    """adit sends its token without TLS to nobody but loopback."""
    server = own.server()
    common = ["--server", f"http://127.0.0.1:{server.plain_port}", "--server-name", DOMAIN, "--log-format", "json"]
    origin = own.origin()
    own.http(server, origin.port, "--name", "shop", common=common).wait_event("published")
    assert served(server, "shop")
    far = own.http(server, 9, folder="far", common=["--server", f"http://example.com:{free_port()}"])
    assert far.wait() == 2 and "loopback" in far.text


def test_origin_starts_later(own):
    """The tunnel is up without its origin, and serves as soon as that listens."""
    server, port = own.server(), free_port()
    own.http(server, port, "--name", "shop").wait_event("published")
    assert server.fetch("shop").status == 502
    own.run(["/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", str(port)], "origin")
    eventually(lambda: served(server, "shop"), "the late origin answers")


def test_pause_of_the_server(own):
    """aditd stopped for three seconds and continued: the tunnel serves on and adit has not given up."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop")
    adit.wait_event("published")
    server.program.signal(signal.SIGSTOP)
    time.sleep(3)
    server.program.signal(signal.SIGCONT)
    eventually(lambda: served(server, "shop"), "the tunnel serves", timeout=15)
    assert adit.alive()
