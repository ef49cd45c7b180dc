"""adit doctor: what it says of servers, ingresses, proxies and mistakes that are really there."""
import json
import subprocess

from harness import ADIT, DOMAIN, TOKENS, Authority, environment
from nginx_ingress import UPGRADE, Ingress
from test_out import Proxy

STEPS = ["dns", "tcp", "proxy", "tls", "alpn", "alpn-plain", "direct", "ws-h2", "ws-h1", "token"]


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
    assert carriers == ["direct", "ws-h2", "ws-h1"]
    assert results(rows) == {step: "not tried" if step == "proxy" else "works" for step in STEPS}
    assert rows["alpn"]["alpn"] == "adit/1" and rows["alpn-plain"]["alpn"] == "h2"
    assert server.program.alive() and not server.program.events("link.up")
    text = run(own, *server.flags())
    assert "Carriers that work: direct ws-h2 ws-h1" in text and "127.0.0.1 port" in text


def test_plain(own):
    """A server of http:// on loopback has no TLS steps."""
    server = own.server()
    carriers, rows = ask(own, "--server", f"http://127.0.0.1:{server.plain_port}")
    assert carriers == ["direct", "ws-h1"]
    assert rows["tls"]["result"] == "not tried" and rows["ws-h2"]["evidence"] == "it needs TLS"


def test_names(own):
    """A name gives its addresses, and one that does not exist is told of."""
    server = own.server()
    flags = ["--server-name", DOMAIN, "--ca", server.authority.ca]
    carriers, rows = ask(own, "--server", f"https://localhost:{server.tls_port}", *flags)
    assert carriers == ["direct", "ws-h2", "ws-h1"] and "127.0.0.1" in rows["dns"]["evidence"]
    carriers, rows = ask(own, "--server", f"https://nowhere.invalid:{server.tls_port}", *flags, code=1)
    assert not carriers and rows["dns"]["result"] == "fails" and "--server" in rows["dns"]["advice"]


def test_forbidden_carriers(own):
    """What the configuration forbids is not tried."""
    carriers, rows = ask(own, *own.server().flags(), "--carrier", "ws-h1")
    assert carriers == ["ws-h1"] and rows["direct"]["evidence"] == "the configuration forbids it"


def test_nginx_without_upgrade(own):
    """nginx without the three lines strips Upgrade: no carrier works, and the lines are told."""
    server = own.server()
    carriers, rows = ask(own, *Ingress(own, server).flags(), code=1)
    assert carriers == []
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
    assert "does not reach aditd" in rows["ws-h1"]["advice"] and rows["token"]["result"] == "not tried"


def test_wrong_host(own, nginx):
    """Some other web server."""
    _, rows = ask(own, "--server", nginx.address, code=1)
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


def test_proxy(own):
    """Through a proxy, and one that wants a password."""
    server, proxy, guarded = own.server(), own.keep(Proxy()), own.keep(Proxy(credentials="a:b"))
    carriers, rows = ask(own, *server.flags(), "--proxy", proxy.url)
    assert carriers == ["direct", "ws-h2", "ws-h1"] and rows["proxy"]["result"] == "works"
    _, rows = ask(own, *server.flags(), "--proxy", guarded.url, code=1)
    assert "answered 407" in rows["proxy"]["evidence"] and "USER:PASSWORD" in rows["proxy"]["advice"]


def test_from_a_file(own):
    """The settings of an adit.yaml, which may have no tunnels."""
    server, file = own.server(), own.folder / "adit.yaml"
    file.write_text(json.dumps({"server": f"https://127.0.0.1:{server.tls_port}", "server_name": DOMAIN,
                                "ca": str(server.authority.ca), "carriers": ["ws-h1", "ws-h2"]}))
    carriers, _ = ask(own, "-c", file)
    assert carriers == ["ws-h2", "ws-h1"]
