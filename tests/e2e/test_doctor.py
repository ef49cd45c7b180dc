"""adit doctor: what it says of servers, ingresses, proxies and mistakes that are really there."""
import json
import signal
import subprocess
import time

import pytest
from harness import ADIT, DOMAIN, TOKENS, Authority, environment
from nginx_ingress import UPGRADE, Ingress
from test_out import Proxy
from wire import Visitor, eventually, lines

STEPS = ["dns", "tcp", "proxy", "tls", "alpn", "alpn-plain", "direct", "ws-h2", "ws-h1", "poll", "token",
         "response-h2", "response-h1", "request", "idle"]
ALL = ["direct", "ws-h2", "ws-h1", "poll"]
# the pieces of a probe are sent 500 ms apart
APART, TOGETHER = range(350, 5000), range(0, 150)


def run(own, *flags, token=TOKENS["alice"], code=0, **env):
    done = subprocess.run([ADIT, "doctor", *map(str, flags)], capture_output=True, text=True, timeout=60,
                          env=environment(own.folder, ADIT_TOKEN=token, **env))
    assert done.returncode == code, done.stdout + done.stderr
    assert token not in done.stdout + done.stderr
    return done.stdout


def ask(own, *flags, **options):
    """The JSON table: the carriers that work, and the rows by name."""
    table = json.loads(run(own, "--json", *flags, **options))
    assert [row["step"] for row in table["steps"]] == STEPS
    return table["carriers"], {row["step"]: row for row in table["steps"]}


def results(rows):
    return {step: row["result"] for step, row in rows.items()}


def test_aditd_itself(own):
    """Everything works on aditd's own TLS port, and nothing was published."""
    server = own.server()
    carriers, rows = ask(own, *server.flags())
    assert carriers == ALL
    assert results(rows) == {step: "not tried" if step in ("proxy", "idle") else "works" for step in STEPS}
    assert rows["ws-h2"]["status"] == 200 and rows["poll"]["status"] == 201
    assert all(rows[step]["gap_ms"] in APART for step in ("response-h2", "response-h1", "request"))
    time.sleep(11)  # the time that a link has to greet
    assert not server.program.events("link.silent") and not server.program.events("link.refused")
    assert rows["alpn"]["alpn"] == "adit/1" and rows["alpn-plain"]["alpn"] == "h2"
    assert server.program.alive() and not server.program.events("link.up")
    text = run(own, *server.flags())
    assert "Carriers that work: direct ws-h2 ws-h1 poll" in text and "127.0.0.1 port" in text


def test_plain(own):
    """A server of http:// on loopback has no TLS steps."""
    server = own.server()
    carriers, rows = ask(own, "--server", f"http://127.0.0.1:{server.plain_port}")
    assert carriers == ["direct", "ws-h1", "poll"]
    assert rows["response-h2"]["result"] == "not tried" and rows["response-h1"]["result"] == "works"
    assert rows["tls"]["result"] == "not tried" and rows["ws-h2"]["evidence"] == "it needs TLS"


def test_names(own):
    """A name gives its addresses, and one that does not exist is told of."""
    server = own.server()
    flags = ["--server-name", DOMAIN, "--ca", server.authority.ca]
    carriers, rows = ask(own, "--server", f"https://localhost:{server.tls_port}", *flags)
    assert carriers == ALL and "127.0.0.1" in rows["dns"]["evidence"]
    carriers, rows = ask(own, "--server", f"https://nowhere.invalid:{server.tls_port}", *flags, code=1)
    assert not carriers and rows["dns"]["result"] == "fails" and "--server" in rows["dns"]["advice"]


def test_forbidden_carriers(own):
    """What the configuration forbids is not tried."""
    carriers, rows = ask(own, *own.server().flags(), "--carrier", "ws-h1")
    assert carriers == ["ws-h1"] and rows["direct"]["evidence"] == "the configuration forbids it"


def test_nginx_without_upgrade(own):
    """nginx without the three lines strips Upgrade: poll works, the lines are told, and the token was accepted."""
    server = own.server()
    carriers, rows = ask(own, *Ingress(own, server).flags(), "--idle", 1)
    assert carriers == ["poll"] and rows["token"]["result"] == "works"
    assert rows["idle"]["result"] == "not tried" and "open_ms" not in rows["idle"]
    assert rows["tls"]["result"] == "works" and rows["alpn"]["alpn"] == "h2"
    assert rows["ws-h1"]["status"] == 426 and "proxy_set_header Upgrade $http_upgrade" in rows["ws-h1"]["advice"]
    assert "not announced" in rows["ws-h2"]["evidence"] and "nginx and Caddy cannot" in rows["ws-h2"]["advice"]
    assert "ssl_preread" in rows["direct"]["advice"]


def test_nginx_with_upgrade(own):
    """With the lines ws-h1 works."""
    server = own.server()
    carriers, rows = ask(own, *Ingress(own, server, UPGRADE).flags())
    assert "ws-h1" in carriers and rows["token"]["result"] == "works"


def test_upstream_away(own):
    """nginx answers 502 when aditd does not run: the answer is not aditd's."""
    server = own.server()
    ingress = Ingress(own, server, UPGRADE)
    server.program.stop()
    _, rows = ask(own, *ingress.flags(), code=1)
    assert rows["ws-h1"]["status"] == 502 and "not from aditd" in rows["ws-h1"]["evidence"]
    assert "does not reach aditd" in rows["ws-h1"]["advice"] and "does not reach aditd" in rows["direct"]["advice"]
    assert rows["token"]["result"] == "not tried"


def test_wrong_host(own, nginx):
    """Some other web server."""
    _, rows = ask(own, "--server", nginx.address, code=1)
    assert rows["response-h1"]["evidence"] == "the answer is 404, and not from aditd"
    assert rows["response-h1"]["result"] == rows["request"]["result"] == "not tried"
    assert rows["ws-h1"]["status"] == 404 and "--server names the wrong host" in rows["ws-h1"]["advice"]


def test_closed_port(own, world):
    """Nothing listens: the first failure is the one that is told of."""
    _, rows = ask(own, "--server", f"https://127.0.0.1:{world.dead_port}", code=1)
    assert rows["tcp"]["result"] == "fails" and "connection refused" in rows["tcp"]["evidence"]
    assert {rows[step]["result"] for step in STEPS[2:]} == {"not tried"}


def test_wrong_authority(own, tmp_path):
    """The certificate is from a CA that is not trusted, or for another name."""
    server, other = own.server(), Authority(tmp_path / "other", "another authority")
    address = f"https://127.0.0.1:{server.tls_port}"
    _, rows = ask(own, "--server", address, "--server-name", DOMAIN, "--ca", other.ca, code=1)
    assert rows["tls"]["error"] == "TLS_CERT" and "--ca FILE" in rows["tls"]["advice"]
    _, rows = ask(own, "--server", address, "--server-name", "other.test", "--ca", server.authority.ca, code=1)
    assert rows["tls"]["error"] == "TLS_CERT" and "--server-name" in rows["tls"]["advice"]


def test_wrong_token(own):
    """The token is not known: 401, aditd's own word."""
    _, rows = ask(own, *own.server().flags(), token="adit_nobody", code=1)
    assert rows["token"]["result"] == "fails" and "401" in rows["token"]["evidence"]
    assert {rows[step]["evidence"] for step in ("response-h2", "response-h1", "request")} == {"the token is refused"}


def test_proxy(own):
    """Through a proxy, and one that wants a password."""
    server, proxy, guarded = own.server(), own.keep(Proxy()), own.keep(Proxy(credentials="a:b"))
    carriers, rows = ask(own, *server.flags(), "--proxy", proxy.url)
    assert carriers == ALL and rows["proxy"]["result"] == "works"
    _, rows = ask(own, *server.flags(), "--proxy", guarded.url, code=1)
    assert "answered 407" in rows["proxy"]["evidence"] and "USER:PASSWORD" in rows["proxy"]["advice"]


def test_from_a_file(own):
    """The settings of an adit.yaml, which may have no tunnels."""
    server, file = own.server(), own.folder / "adit.yaml"
    file.write_text(json.dumps({"server": f"https://127.0.0.1:{server.tls_port}", "server_name": DOMAIN,
                                "ca": str(server.authority.ca), "carriers": ["ws-h1", "ws-h2"]}))
    carriers, _ = ask(own, "-c", file)
    assert carriers == ["ws-h2", "ws-h1"]


# ---- probes

def test_nginx_that_buffers(own):
    """nginx by default: pieces of responses are held back from HTTP/1.1, those of requests from everybody."""
    _, rows = ask(own, *Ingress(own, own.server(), UPGRADE).flags())
    assert rows["response-h1"]["result"] == "fails" and rows["response-h1"]["gap_ms"] in TOGETHER
    assert "proxy_buffering off" in rows["response-h1"]["advice"] and "both pieces" in rows["response-h1"]["evidence"]
    assert rows["request"]["result"] == "fails" and rows["request"]["gap_ms"] in TOGETHER
    assert "proxy_request_buffering off" in rows["request"]["advice"]


@pytest.mark.parametrize("http2", [True, False], ids=["h2", "h1"])
def test_nginx_that_does_not_buffer(own, http2):
    """With the two lines pieces come through one by one, and nothing has to change."""
    more = UPGRADE + " proxy_buffering off; proxy_request_buffering off;"
    _, rows = ask(own, *Ingress(own, own.server(), more, http2=http2).flags())
    assert rows["response-h2"]["result"] == ("works" if http2 else "not tried")
    for step in ("response-h1", "request"):
        assert rows[step]["result"] == "works" and rows[step]["gap_ms"] in APART and rows[step]["advice"] == ""


def test_older_server(own):
    """An aditd that knows no probes answers 404: they are left out."""
    origin = own.origin()
    origin.serve(lambda connection, request: (connection.send(lines("HTTP/1.1 404 Not Found", [
        ("Adit-Version", 1), ("Content-Length", 0)])), connection.end()))
    _, rows = ask(own, "--server", f"http://127.0.0.1:{origin.port}", "--carrier", "direct", code=1)
    for step in ("response-h1", "request"):
        assert rows[step]["result"] == "not tried" and "cannot be probed" in rows[step]["evidence"]


def test_other_version(own):
    """An aditd of another version: 426 is not about Upgrade then."""
    origin = own.origin()
    origin.serve(lambda connection, request: (connection.send(lines("HTTP/1.1 426 Upgrade Required", [
        ("Adit-Version", 2), ("Content-Length", 0)])), connection.end()))
    _, rows = ask(own, "--server", f"http://127.0.0.1:{origin.port}", code=1)
    for step in ("direct", "ws-h1", "poll"):
        assert rows[step]["error"] == "VERSION" and "both programs" in rows[step]["advice"]
        assert "Upgrade" not in rows[step]["advice"]


def test_idle_is_cut(own):
    """nginx cuts after its proxy_read_timeout: told of when adit's heartbeat would come too late, and only then."""
    ingress = Ingress(own, own.server(), UPGRADE.replace("proxy_read_timeout 60s", "proxy_read_timeout 2s"))
    _, rows = ask(own, *ingress.flags(), "--idle", 30)
    assert rows["idle"]["result"] == "fails" and 1500 < rows["idle"]["open_ms"] < 8000
    assert "ws-h1 was cut after" in rows["idle"]["evidence"] and "proxy_read_timeout" in rows["idle"]["advice"]
    _, rows = ask(own, *ingress.flags(), "--idle", 30, "--heartbeat", 1)
    assert rows["idle"]["result"] == "works" and "was cut after" in rows["idle"]["evidence"]


@pytest.mark.parametrize("carrier", ["direct", "ws-h2", "ws-h1"])
def test_idle_is_not_cut(own, carrier):
    """Without an ingress a silent connection lives, and aditd answers on it at the end."""
    server = own.server()
    _, rows = ask(own, *server.flags(), "--idle", 1, "--carrier", carrier)
    assert rows["idle"]["result"] == "works" and rows["idle"]["open_ms"] == 1000
    assert rows["idle"]["evidence"] == f"{carrier} is still open after 1 s without traffic"
    assert not server.program.events("link.up")


def test_idle_is_dead(own):
    """Nobody closes the connection, and nobody is there any more: the echo that does not come shows it."""
    server, table = own.server(), own.folder / "table.json"
    with table.open("w") as output:
        doctor = own.run([ADIT, "doctor", "--json", *server.flags(), "--carrier", "direct", "--idle", "7"], "doctor",
                         env=environment(own.folder, ADIT_TOKEN=TOKENS["alice"]), stdout=output)
        time.sleep(5)  # the other steps take about two seconds
        server.program.signal(signal.SIGSTOP)
        try:
            doctor.process.wait(30)
        finally:
            server.program.signal(signal.SIGCONT)
    row = json.loads(table.read_text())["steps"][-1]
    assert row["result"] == "fails" and "direct is dead after 7 s" in row["evidence"] and "heartbeat" in row["advice"]


def held(server, who="alice"):
    """A silent probe connection, and the status that it was answered with."""
    visitor = server.visit()
    visitor.send(lines("GET /_adit/v1/" + "0" * 32 + "/probe HTTP/1.1", [
        ("Host", DOMAIN), ("Authorization", "Bearer " + TOKENS[who]), ("Connection", "Upgrade"),
        ("Upgrade", "adit")]))
    return visitor, visitor.head().status


def test_probes_are_few(own):
    """Four of one token at once; another token has its own; one that goes makes room; a stranger gets none."""
    server = own.server()
    here = [held(server) for _ in range(5)]
    assert [status for _, status in here] == [101] * 4 + [429]
    here.append(held(server, "bob"))
    assert here[-1][1] == 101
    here[0][0].close()
    eventually(lambda: held(server)[1] == 101, lambda: "a closed probe leaves its place")
    with Visitor(server.plain_port, DOMAIN) as stranger:
        assert stranger.fetch(target="/_adit/v1/" + "0" * 32 + "/probe").status == 401


def test_aditd_leaves_a_silent_connection(own):
    """A probe does not keep aditd from leaving, also on the HTTP/2 connection that it is on."""
    server, table = own.server(drain_seconds=20), own.folder / "table.json"
    with table.open("w") as output:
        doctor = own.run([ADIT, "doctor", "--json", *server.flags(), "--carrier", "ws-h2", "--idle", "60"], "doctor",
                         env=environment(own.folder, ADIT_TOKEN=TOKENS["alice"]), stdout=output)
        time.sleep(5)  # the other steps take about two seconds
        began = time.monotonic()
        server.program.stop()
        assert time.monotonic() - began < 10
        doctor.process.wait(20)
    row = json.loads(table.read_text())["steps"][-1]
    assert row["result"] == "fails" and "ws-h2 was cut after" in row["evidence"]


def test_idle_needs_the_doctor(own):
    """--idle is bounded, and for the doctor only."""
    for argv in (["doctor", "--idle", "0"], ["doctor", "--idle", "3601"], ["http", "3000", "--idle", "5"]):
        done = subprocess.run([ADIT, *argv, "--server", "https://127.0.0.1:1"], capture_output=True, text=True,
                              timeout=20, env=environment(own.folder, ADIT_TOKEN="x"))
        assert done.returncode == 2 and "--idle" in done.stderr, done.stderr
