"""The programs as daemons: config errors, signals, admin, access log, PROXY protocol."""
import signal
import socket
import struct
import subprocess
import time

import pytest

from harness import ADIT, ADITD, TOKENS, environment
from wire import Cut, Visitor, eventually, lines, reply

pytestmark = pytest.mark.sandboxed

GOOD = """domain: tunnel.test
listen:
  - address: 127.0.0.1:0
tokens:
  - name: alice
    sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    names: ["shop", "alice-*"]
"""

# name -> (config, what its one line must name besides the file)
BAD = {
    "unknown key": (GOOD + "domian: x\n", ["8", "domian"]),
    "wrong type": (GOOD.replace("domain: tunnel.test", "domain: [a]"), ["1", "domain"]),
    "no tls key": (GOOD.replace("0\ntokens", "0\n    tls: { certificate: none.pem }\ntokens"), ["4", "tls"]),
    "no certificate file": (GOOD.replace("0\ntokens", "0\n    tls: { certificate: none.pem, key: none.key }\ntokens"),
                            ["4", "none.pem"]),
    "bad address": (GOOD.replace("127.0.0.1:0", "nowhere"), ["3", "address", "nowhere"]),
    "bad digest": (GOOD.replace("0123456789abcdef" * 4, "123"), ["6", "sha256"]),
    "duplicate key": (GOOD + "domain: again.test\n", ["8", "domain"]),
    "public admin": (GOOD + "admin: 0.0.0.0:9090\n", ["8", "admin"]),
    "bad yaml": ("domain: {\n", [":"]),
    "bad number": (GOOD + "resume_seconds: soon\n", ["8", "resume_seconds", "soon"]),
    "no domain": (GOOD.replace("domain: tunnel.test\n", ""), ["domain"]),
}


def run(argv, folder, **env):
    return subprocess.run([str(a) for a in argv], cwd=folder, env=environment(folder, **env), capture_output=True,
                          text=True, timeout=20, stdin=subprocess.DEVNULL)


def complains(done, *words):
    """Exit 2, nothing on standard output and one line on standard error with all these words."""
    assert done.returncode == 2 and done.stdout == "", done
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), done.stderr
    for word in words:
        assert word in done.stderr, f"{word!r} is not in {done.stderr!r}"


@pytest.mark.parametrize("name", BAD)
def test_config_errors(tmp_path, name):
    """A bad aditd.yaml gives one line with file, line and key, and exit 2, checked or started."""
    text, words = BAD[name]
    (tmp_path / "aditd.yaml").write_text(text)
    complains(run([ADITD, "-c", "aditd.yaml", "--check-config"], tmp_path), "aditd.yaml", *words)
    complains(run([ADITD, "-c", "aditd.yaml"], tmp_path), "aditd.yaml", *words)


def test_check_config(tmp_path):
    """--check-config of a good file says ok and exits 0 without listening."""
    (tmp_path / "aditd.yaml").write_text(GOOD)
    done = run([ADITD, "-c", "aditd.yaml", "--check-config"], tmp_path)
    assert done.returncode == 0 and "ok" in done.stdout + done.stderr


def test_flag_errors(tmp_path):
    """A wrong flag, a missing file and a missing argument give one line and exit 2."""
    complains(run([ADITD, "--nonsense"], tmp_path), "--nonsense")
    complains(run([ADITD, "-c", "missing.yaml"], tmp_path), "missing.yaml")
    complains(run([ADITD, "-c"], tmp_path), "-c")
    token = {"ADIT_TOKEN": TOKENS["alice"]}
    complains(run([ADIT, "http", "3000", "--nonsense"], tmp_path, **token), "--nonsense")
    complains(run([ADIT, "http", "99999", "--server", "https://127.0.0.1"], tmp_path, **token), "99999")
    complains(run([ADIT, "http", "3000", "--server", "https://127.0.0.1", "--name", "no_good!"], tmp_path, **token),
              "name")
    complains(run([ADIT, "start", "-c", "missing.yaml"], tmp_path, **token), "missing.yaml")


def test_token_in_argv(tmp_path):
    """A token on the command line is refused, with the way to do it."""
    done = run([ADIT, "http", "3000", "--server", "https://127.0.0.1", "--token", "secret"], tmp_path)
    complains(done, "ADIT_TOKEN")
    assert "secret" not in done.stderr


def test_no_token(tmp_path):
    """No token at all is one line that says where it is looked for."""
    complains(run([ADIT, "http", "3000", "--server", "https://127.0.0.1"], tmp_path), "ADIT_TOKEN")


def test_help_and_version(tmp_path):
    """--help and --version speak on standard output and exit 0."""
    for program in (ADITD, ADIT):
        for flag in ("--help", "--version"):
            done = run([program, flag], tmp_path)
            assert done.returncode == 0 and "adit" in done.stdout and done.stderr == ""


def test_new_token(tmp_path):
    """--new-token prints a token and the config entry with its digest; no two are alike."""
    first, second = (run([ADITD, "--new-token"], tmp_path) for _ in range(2))
    assert first.returncode == 0 and first.stdout != second.stdout
    assert first.stdout.startswith("adit_") and "sha256" in first.stdout


def test_port_taken(own):
    """A port that somebody else has is told by its address, and aditd ends with an error."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)
        port = other.getsockname()[1]
        (own.folder / "aditd.yaml").write_text(GOOD.replace("127.0.0.1:0", f"127.0.0.1:{port}"))
        aditd = own.run([ADITD, "-c", "aditd.yaml"], "aditd")
        assert aditd.wait() > 0 and str(port) in aditd.text


def test_health(own):
    """The admin listener answers /healthz and /readyz with 200 when aditd listens, and 404 elsewhere."""
    server = own.server()
    assert [server.admin(t).status for t in ("/healthz", "/readyz", "/nothing")] == [200, 200, 404]


def test_admin_checks_host(world):
    """The admin listener refuses a Host that is not its own: a web page cannot reach it by rebinding its name."""
    with Visitor(world.server.admin_port, "evil.example") as visitor:
        assert visitor.fetch(target="/healthz").status in (403, 404, 421)


def test_access_log(world):
    """Each request is one JSON line with its method, name and status, errors included."""
    world.fetch(target="/logged-once")
    world.fetch("alice-dead", "POST", "/logged-dead", body=b"x")
    for target, method, status, name in (("/logged-once", "GET", 200, "shop"),
                                         ("/logged-dead", "POST", 502, "alice-dead")):
        found = eventually(lambda: [r for r in world.server.access_lines() if target in map(str, r.values())], target)
        assert len(found) == 1
        told = list(found[0].values())
        assert method in told and status in told and any(name in str(v) for v in told), found


def test_access_log_escapes(world):
    """What a visitor sends cannot make a second line in the access log."""
    world.fetch(target='/esc"},{"x":"%0a\\', fields=[("User-Agent", 'a"b\\c\xe9')])
    eventually(lambda: [r for r in world.server.access_lines() if any("/esc" in str(v) for v in r.values())],
               "its line")


def forwarded_for(world, first, **options):
    """What the origin hears about the visitor when `first` precedes the request on the PROXY listener."""
    world.origin.serve(None)
    with world.visit(port=world.server.proxy_port, first=first, **options) as visitor:
        assert visitor.fetch().status == 200
    return world.origin.requests[0].get("x-forwarded-for")


V2 = b"\r\n\r\n\0\r\nQUIT\n"


def test_proxy_protocol_v1(world):
    """A PROXY v1 line gives the visitor's address, IPv4 or IPv6."""
    assert forwarded_for(world, b"PROXY TCP4 203.0.113.7 192.0.2.1 5555 443\r\n") == "203.0.113.7"
    assert forwarded_for(world, b"PROXY TCP6 2001:db8::7 2001:db8::1 5555 443\r\n").strip("[]") == "2001:db8::7"
    assert forwarded_for(world, b"PROXY UNKNOWN\r\n") == "127.0.0.1"


def test_proxy_protocol_v2(world):
    """A PROXY v2 header gives the visitor's address; LOCAL leaves the connection's own."""
    v4 = socket.inet_aton("203.0.113.8") + socket.inet_aton("192.0.2.1") + struct.pack("!HH", 5555, 443)
    v6 = socket.inet_pton(socket.AF_INET6, "2001:db8::8") * 2 + struct.pack("!HH", 5555, 443)
    extra = b"\x04\0\3abc"  # a TLV of no meaning
    assert forwarded_for(world, V2 + b"\x21\x11" + struct.pack("!H", len(v4)) + v4) == "203.0.113.8"
    assert forwarded_for(world, V2 + b"\x21\x11" + struct.pack("!H", len(v4 + extra)) + v4 + extra) == "203.0.113.8"
    assert forwarded_for(world, V2 + b"\x21\x21" + struct.pack("!H", len(v6)) + v6).strip("[]") == "2001:db8::8"
    assert forwarded_for(world, V2 + b"\x20\0\0\0") == "127.0.0.1"


def test_proxy_protocol_required(world):
    """On a PROXY listener nothing passes without the header or with a broken one."""
    for first in (b"", b"PROXY TCP4 203.0.113.7\r\n", b"PROXY TCP4 x y 1 2\r\n", b"PROXY " + b"x" * 200,
                  V2 + b"\x31\x11\0\0", V2 + b"\x21\x11\0\4abcd"):
        with world.visit(port=world.server.proxy_port, first=first) as visitor:
            try:
                assert visitor.fetch().status == 400
            except (Cut, OSError):
                pass
    assert world.origin.requests == []


def test_terminate(own):
    """SIGTERM ends both programs with status 0."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop")
    adit.wait_event("published")
    assert server.fetch("shop").status == 200
    adit.stop()
    server.program.stop()


def test_terminate_server_first(own):
    """SIGTERM ends aditd with status 0 while tunnels and idle visitors are connected, and adit goes on trying."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.port, "--name", "shop")
    adit.wait_event("published")
    with server.visit() as visitor:
        assert visitor.fetch().status == 200
        server.program.stop()
    assert adit.alive()
    adit.stop()


def test_terminate_drains(own):
    """An answer that is under way when aditd gets SIGTERM is finished."""
    server, origin = own.server(drain_seconds=10), own.origin()

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 4)]) + b"be")
        time.sleep(1)
        connection.send(b"st")

    origin.serve(answer)
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    with server.visit() as visitor:
        visitor.ask()
        visitor.head()
        server.program.signal(signal.SIGTERM)
        assert visitor.reader.exactly(4) == b"best"
    assert server.program.wait() == 0


def test_client_terminate_drains(own):
    """An answer that is under way when adit gets SIGTERM is finished."""
    server, origin = own.server(), own.origin()

    def answer(connection, request):
        connection.send(lines("HTTP/1.1 200 OK", [("Content-Length", 4)]) + b"be")
        time.sleep(1)
        connection.send(b"st")

    origin.serve(answer)
    adit = own.http(server, origin.port, "--name", "shop")
    adit.wait_event("published")
    with server.visit() as visitor:
        visitor.ask()
        visitor.head()
        adit.signal(signal.SIGTERM)
        assert visitor.reader.exactly(4) == b"best"
    assert adit.wait() == 0
    server.program.wait_event("link.down", reason="shutting down", detail="adit has said that it is leaving")


def test_config_file_as_people_write_it(own):
    """The block style of the README works as well, with paths relative to the file."""
    server = own.server()
    server.program.stop()
    token = server.token("alice")
    server.file.write_text(f"""# as people write it
domain: tunnel.test
listen:
  - address: 127.0.0.1:{server.plain_port}
  - address: 127.0.0.1:{server.tls_port}
    tls: {{ certificate: server.pem, key: server.key }}
tokens:
  - name: alice
    sha256: {token["sha256"]}
    names: ["shop", "alice-*"]
trusted_proxies: [127.0.0.2, 10.0.0.0/8, unix]
log_format: json
""")
    again = own.run([ADITD, "-c", server.file], "again")
    again.wait_event("ready")
    origin = own.origin()
    origin.serve(lambda c, r: c.send(reply(200, b"x")))
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    assert server.fetch("shop").body == b"x"


@pytest.mark.parametrize("who", ["aditd", "adit"])
def test_watchdog(own, who):
    """A service manager that asks for it hears from each program's loop that it lives; of one that hangs, not."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(own.folder / "notify.sock"))
    manager.settimeout(10)
    wrap = ["env", f"NOTIFY_SOCKET={own.folder / 'notify.sock'}", "WATCHDOG_USEC=200000"]
    server = own.server(wrap=wrap if who == "aditd" else ())
    program = server.program
    if who == "adit":
        program = own.http(server, 1, "--name", "shop", wrap=wrap)
    assert [manager.recv(100) for _ in range(4)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    program.signal(signal.SIGHUP)
    eventually(lambda: manager.recv(100).startswith(b"RELOADING=1\nMONOTONIC_USEC="), "it reloads")
    eventually(lambda: manager.recv(100) == b"READY=1", "it has reloaded")
    program.signal(signal.SIGSTOP)
    manager.settimeout(1)
    with pytest.raises(TimeoutError):
        for _ in range(10):
            manager.recv(100)
    program.signal(signal.SIGCONT)
    manager.settimeout(10)
    assert manager.recv(100) == b"WATCHDOG=1"
    program.signal(signal.SIGTERM)
    eventually(lambda: manager.recv(100) == b"STOPPING=1", "it ends")
    assert program.wait() == 0
    manager.close()
