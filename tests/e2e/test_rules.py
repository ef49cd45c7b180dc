"""Who may do what: addresses, passwords, fields, sizes, rates, bandwidths; per token at aditd, per tunnel at adit."""
import base64
import json
import signal
import socket
import subprocess
import threading
import time

import pytest
from websockets.exceptions import InvalidStatus

import visits
import tcp
from harness import ADIT, DOMAIN, TOKENS, Server, environment
from visits import VERSIONS
from wire import Cut, Visitor, eventually, lines, reply
from ws_peers import Origin as WebSocketOrigin
from ws_peers import WebSocket

ENDS = ("aditd", "adit")
PROXY = "127.0.0.2"  # which aditd trusts
both_ends = pytest.mark.parametrize("end", ENDS)
both_versions = pytest.mark.parametrize("version", VERSIONS)


def crypt(password):
    done = subprocess.run(["openssl", "passwd", "-6", password], capture_output=True, timeout=30, check=True)
    return done.stdout.decode().strip()


def alice(**rules):
    return dict(Server.token("alice"), **rules)


def start(own, end, rules, address=None):
    """aditd and adit, with these rules at one end, and an origin where no `address` is given."""
    origin = None
    if address is None:
        origin = own.origin()
        address = origin.address
    server = own.server(tokens=[alice(**(rules if end == "aditd" else {}))])
    tunnels = own.tunnels(server, {"shop": dict({"origin": address}, **(rules if end == "adit" else {}))})
    return server, tunnels, origin


def basic(user, password):
    return ("Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode())


def ask(server, version="1.1", fields=(), body=None, **options):
    """A whole exchange; the response's head, with its body."""
    method = "GET" if body is None else "POST"
    request = visits.begin(server, version, method, "/", fields, body is not None, **options)
    if body is not None:
        request.piece(body)
        request.finish()
    head = request.head()
    head.body = request.rest()
    request.leave()
    return head


def from_proxy(server, visitor):
    """What a visitor gets whom a trusted proxy names so."""
    with server.visit(source=PROXY) as v:
        return v.fetch(fields=[("X-Forwarded-For", visitor)]).status


# ---- addresses

@both_ends
def test_addresses(own, end):
    """Only allowed addresses get in, of those none that is denied; the address is the visitor's, not a proxy's."""
    server, _, origin = start(own, end, {
        "allow": ["10.0.0.0/8", "2001:db8::/32", "127.0.0.3"], "deny": ["10.1.0.0/16"]})
    assert from_proxy(server, "10.2.3.4") == 200
    assert from_proxy(server, "2001:db8::1") == 200
    assert from_proxy(server, "[2001:db8::1]:4711") == 200
    with server.visit(source="127.0.0.3") as v:
        assert v.fetch().status == 200
    seen = len(origin.requests)
    assert from_proxy(server, "10.1.0.1") == 403
    assert from_proxy(server, "192.0.2.1") == 403
    assert from_proxy(server, "10.2.3.4, 192.0.2.1") == 403, "the last member is the one that the proxy wrote"
    assert from_proxy(server, "unknown") == 403
    with server.visit() as v:
        refused = v.fetch(fields=[("X-Forwarded-For", "10.2.3.4"), ("Adit-Visitor", "10.2.3.4")])
        assert refused.status == 403 and end in refused.get("proxy-status"), refused.fields
    assert ask(server, "2").status == 403
    assert len(origin.requests) == seen, "nothing that is refused reaches the origin"


def test_origin_sees_no_field_of_ours(own):
    """The field by which aditd tells adit who visits ends there."""
    server, _, origin = start(own, "adit", {"deny": ["192.0.2.1"]})
    assert from_proxy(server, "10.2.3.4") == 200
    assert not [n for n, _ in origin.requests[0].fields if n.lower().startswith("adit-")]


# ---- passwords

@both_ends
def test_passwords(own, end):
    """Visitors name a user and password; Authorization does not reach the origin."""
    server, _, origin = start(own, end, {"basic_auth": ["bob:" + crypt("s3cret"), "eve:" + crypt("pass:word")]})
    for version in VERSIONS:
        head = ask(server, version)
        assert head.status == 401 and head.get("www-authenticate").startswith('Basic realm="adit"'), head.fields
        assert ask(server, version, [("Authorization", "Bearer s3cret")]).status == 401
        assert ask(server, version, [basic("bob", "s3cret")], body=b"x").status == 200
        assert ask(server, version, [basic("eve", "pass:word")]).status == 200
    assert ask(server, fields=[basic("bob", "wrong")]).status == 401
    assert ask(server, fields=[basic("nobody", "s3cret")]).status == 401
    assert len(origin.requests) == 4
    assert not [r for r in origin.requests if r.get("authorization")]


def test_password_file(own):
    """--basic-auth-file takes passwords and hashes, and is not for the command line's eyes."""
    origin = own.origin()
    server = own.server()
    file = own.folder / "users"
    file.write_text(f"# ours\nbob:s3cret\neve:{crypt('hashed')}\r\n")
    file.chmod(0o644)
    adit = own.http(server, origin.port, "--name", "shop", "--basic-auth-file", file)
    adit.wait_event("published")
    assert "lets others read it" in adit.wait_event("warning")["text"]
    assert ask(server).status == 401
    assert ask(server, fields=[basic("bob", "s3cret")]).status == 200
    assert ask(server, "2", [basic("eve", "hashed")]).status == 200
    assert "s3cret" not in adit.text


@both_ends
def test_guesses(own, end):
    """From the fifth wrong password on a source has to wait; others do not, and who was right before neither."""
    server, _, _ = start(own, end, {"basic_auth": ["bob:" + crypt("s3cret"), "eve:" + crypt("new")]})

    def guess(password, source="127.0.0.1", user="bob"):
        with server.visit(source=source) as v:
            return v.fetch(fields=[basic(user, password)])

    assert guess("s3cret").status == 200
    assert [guess(f"wrong{i}").status for i in range(4)] == [401] * 4
    refused = guess("wrong5")
    assert refused.status == 429 and refused.get("retry-after") == "1", refused.fields
    assert guess("new", user="eve").status == 429, "nothing is tried now, not even what is right"
    assert guess("s3cret").status == 200, "bob is known"
    assert guess("wrong", source="127.0.0.9").status == 401
    assert guess("new", source="127.0.0.9", user="eve").status == 200
    assert guess("new", user="eve").status == 200, "and now eve is"


@both_ends
@both_versions
def test_websocket_with_password(own, end, version):
    """A WebSocket needs the password as well, and runs through the rules like everything."""
    origin = own.keep(WebSocketOrigin())
    rules = {"basic_auth": ["bob:" + crypt("s3cret")], "bandwidth": "1M", "max_body": "1K",
             "response_headers": {"set": {"X-Rule": "1"}}}
    server, _, _ = start(own, end, rules, origin.address)
    with pytest.raises((AssertionError, InvalidStatus), match="401"):
        WebSocket(server, version)
    with WebSocket(server, version, fields=[basic("bob", "s3cret")]) as ws:
        began = time.monotonic()
        for _ in range(3):
            ws.send(b"x" * 200000)
            assert len(ws.receive()) == 200000
        took = time.monotonic() - began
        ws.close()
    assert 0.2 < took < 8, "600 KB less a quarter of a second's, each way at the same time"


# ---- fields

@both_ends
@both_versions
def test_fields(own, end, version):
    """Fields are taken out and set, in both directions, whatever their letters."""
    server, _, origin = start(own, end, {
        "request_headers": {"set": {"X-Secret": "k", "x-replaced": "new"}, "remove": ["X-Gone", "Cookie"]},
        "response_headers": {"set": {"Strict-Transport-Security": "max-age=1"}, "remove": ["server"]}})
    origin.serve(lambda c, r: c.send(reply(200, b"body", [("Server", "old"), ("X-Kept", "1"), ("Server", "older")])))
    head = ask(server, version, [("x-gone", "1"), ("cookie", "a=b"), ("x-replaced", "a"), ("x-replaced", "b"),
                                 ("x-kept", "2")])
    assert head.status == 200 and head.body == b"body"
    assert head.get("server") is None and head.get("x-kept") == "1"
    assert head.get("strict-transport-security") == "max-age=1"
    request = origin.requests[0]
    assert request.get("x-gone") is None and request.get("cookie") is None and request.get("x-kept") == "2"
    assert request.all("x-replaced") == ["new"] and request.get("x-secret") == "k"


def test_server_has_the_last_word(own):
    """aditd changes requests first and responses last; both ends must let a request pass."""
    origin = own.origin()

    def by(name):
        return {key: {"set": {"X-By": name}} for key in ("request_headers", "response_headers")}

    server = own.server(tokens=[alice(deny=["192.0.2.1"], **by("aditd"))])
    own.tunnels(server, {"shop": {"origin": origin.address, "deny": ["192.0.2.2"], **by("adit")}})
    origin.serve(lambda c, r: c.send(reply(200, b"", [("X-By", "origin")])))
    assert ask(server).get("x-by") == "aditd" and origin.requests[0].get("x-by") == "adit"
    assert from_proxy(server, "192.0.2.1") == 403 and from_proxy(server, "192.0.2.2") == 403
    assert from_proxy(server, "192.0.2.3") == 200


# ---- bodies

@both_ends
@both_versions
def test_body_too_big(own, end, version):
    """A body is refused by its length, or when it has become too long; one of that very size passes."""
    server, _, origin = start(own, end, {"max_body": "64K"})
    most = 65536

    def send_all(c, r):
        r.read()
        c.send(reply(200, str(len(r.body)).encode()))

    origin.serve(send_all)
    exact = ask(server, version, body=b"x" * most)
    assert exact.status == 200 and exact.body == str(most).encode()
    seen = len(origin.requests)
    told = visits.begin(server, version, "POST", "/", [("Content-Length", str(most + 1))], body=version == "2")
    assert told.head().status == 413
    told.leave()
    assert len(origin.requests) == seen, "it does not go on"
    request = visits.begin(server, version, "POST", "/", body=True)
    with NoMatter():
        for _ in range(3):
            request.piece(b"x" * 30000)
        request.finish()
    assert request.head().status == 413
    request.leave()
    assert ask(server, version, body=b"x").status == 200


class NoMatter:
    """Who is refused early may find it out while he still sends."""

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        return kind is not None and issubclass(kind, (Cut, OSError))


@both_ends
def test_body_too_big_behind_a_response(own, end):
    """When a response has begun, a body that becomes too big cuts it: nothing looks complete."""
    server, _, origin = start(own, end, {"max_body": "64K"})
    gone = threading.Event()

    def begin_early(c, r):
        c.send(lines("HTTP/1.1 200 Fine", [("Transfer-Encoding", "chunked")]) + b"3\r\nabc\r\n")
        c.wait_gone()
        gone.set()
        c.end()

    origin.serve(begin_early)
    request = visits.begin(server, "2", "POST", "/", body=True)
    request.piece(b"x")
    assert request.head().status == 200 and request.some() == b"abc"
    with NoMatter():
        request.piece(b"x" * 70000)
    with pytest.raises(Cut):
        request.rest()
    assert gone.wait(10), "the origin's connection is closed, with a request that is not complete"
    request.leave()


# ---- rates

@both_ends
def test_request_rate(own, end):
    """More requests than the burst are told when to come again."""
    server, _, origin = start(own, end, {"requests_per_second": 2, "requests_burst": 5})
    answers = [ask(server, version) for version in VERSIONS * 4]
    assert [a.status for a in answers[:5]] == [200] * 5
    refused = [a for a in answers if a.status == 429]
    assert refused and all(a.get("retry-after") == "1" for a in refused), [a.status for a in answers]
    assert len(origin.requests) == len(answers) - len(refused)
    eventually(lambda: ask(server).status == 200, "half a second later there is room again")


def test_rate_is_the_tokens(own):
    """aditd counts what comes to all names and links of a token; other tokens have their own count."""
    origin = own.origin()
    server = own.server(tokens=[alice(requests_per_second=1, requests_burst=4), Server.token("bob")])
    for who, name, folder in (("alice", "shop", "a"), ("alice", "files", "b"), ("bob", "bob-1", "c")):
        own.http(server, origin.port, "--name", name, who=who, folder=folder).wait_event("published")
    statuses = [ask(server, name=name).status for name in ("shop", "files") * 4]
    assert statuses[:4] == [200] * 4 and statuses.count(200) <= 6, statuses
    assert [ask(server, name="bob-1").status for _ in range(8)] == [200] * 8


# ---- bandwidth

def timed(what):
    began = time.monotonic()
    what()
    return time.monotonic() - began


@both_ends
@both_versions
def test_bandwidth(own, end, version):
    """Bytes pass no faster than the rate, each way for itself, all visitors together, and all of them arrive."""
    rate, size = 400 * 1024, 300 * 1024
    server, _, origin = start(own, end, {"bandwidth": "400K"})
    block = bytes(range(256)) * (size // 256)

    def answer(c, r):
        body = r.read()
        c.send(reply(200, block if r.method == "GET" else str(body == block).encode()))

    origin.serve(answer)
    least = (size - rate / 4) / rate  # a quarter of a second's is saved up
    assert least - 0.05 < timed(lambda: check(ask(server, version).body == block)) < least + 3
    assert least - 0.3 < timed(lambda: check(ask(server, version, body=block).body == b"True")) < least + 3
    threads = [threading.Thread(target=ask, args=(server, version)) for _ in range(3)]

    def together():
        for t in threads:
            t.start()
        for t in threads:
            t.join(30)

    assert timed(together) > (3 * size - rate / 2) / rate


def check(ok):
    assert ok


@both_ends
def test_bandwidth_is_back_pressure(own, end):
    """What may not pass yet is not stored: who sends it waits."""
    server, tunnels, origin = start(own, end, {"bandwidth": "100K"})
    sent = [0]

    def pour(c, r):
        c.send(lines("HTTP/1.1 200 Fine", [("Content-Length", 1 << 30)]))
        while c.send(bytes(65536)):
            sent[0] += 65536

    origin.serve(pour)
    before = {p: p.memory() for p in (server.program, tunnels.program)}
    with server.visit() as v:
        v.ask()
        assert v.head().status == 200
        v.reader.exactly(200 * 1024)  # a second and a half
        assert sent[0] < 24 << 20, "the sockets' buffers are all there is"
    for program, kib in before.items():
        assert program.memory() < kib + 8192, f"{program.name}: {program.memory() - kib} KiB more"


# ---- TCP ports

class Ports(tcp.Stand):
    """A published port with an echo server, and rules at one end."""

    def __init__(self, own, end, rules):
        self.end, self.rules = end, rules
        super().__init__(own)
        if end == "aditd":
            self.aditd.config["tokens"] = [dict(alice(), ports=self.ports, **rules)]
            self.aditd.write()
            self.aditd.program.hang_up("reloaded")

    def publish(self, folder, *flags, **options):
        if self.end == "aditd":
            return super().publish(folder, *flags, **options)
        home = self.own.folder / folder
        home.mkdir(parents=True, exist_ok=True)
        (home / "adit.yaml").write_text(json.dumps({"tunnels": [
            {"origin": f"tcp://{self.server.port}", "remote_port": self.port, **self.rules}]}))
        adit = self.own.run([ADIT, "start", "-c", home / "adit.yaml", *self.aditd.flags()], folder,
                            env=environment(home, ADIT_TOKEN=TOKENS["alice"]))
        adit.wait_event("published")
        return adit

    def visit_from(self, source):
        try:
            sock = socket.create_connection(("127.0.0.1", self.port), tcp.PATIENCE, (source, 0))
        except ConnectionResetError:
            return tcp.AlreadyReset()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock


@both_ends
def test_port_addresses(own, end):
    """Who may not visit a TCP port gets a RST, and the server behind it hears nothing."""
    stand = Ports(own, end, {"deny": ["127.0.0.7"], "allow": ["127.0.0.0/8"]})
    assert stand.talk(b"hello") == b"hello"
    seen = len(stand.server.socks)
    with stand.visit_from("127.0.0.7") as sock:
        assert tcp.is_reset(sock) == b""
    assert len(stand.server.socks) == seen
    with stand.visit_from("127.0.0.8") as sock:
        sock.sendall(b"x")
        assert tcp.read_exactly(sock, 1) == b"x"


@both_ends
def test_port_rates(own, end):
    """Bytes pass at the bandwidth in both directions at once, and more connections than the rate allows get a RST."""
    rate, size = 400 * 1024, 300 * 1024
    stand = Ports(own, end, {"bandwidth": "400K", "requests_per_second": 1, "requests_burst": 2})
    began = time.monotonic()
    assert len(stand.talk(bytes(size))) == size
    least = (size - rate / 4) / rate
    assert least - 0.05 < time.monotonic() - began < least + 3, "echoed while it comes"
    with stand.visit() as first, stand.visit() as second, stand.visit() as third:
        socks = [first, second, third]
        for sock in socks:
            sock.settimeout(tcp.PATIENCE)
        answers = [knock(sock) for sock in socks]
    assert answers[0] and not answers[2], answers


def knock(sock):
    """Does an echo server answer?"""
    try:
        sock.sendall(b"x")
        return sock.recv(1) == b"x"
    except ConnectionError:
        return False


# ---- SIGHUP

def test_reload_of_the_server(own):
    """SIGHUP gives a token other rules; its links, and what runs, stay."""
    server, tunnels, origin = start(own, "aditd", {})
    go_on = threading.Event()

    def slow(c, r):
        c.send(lines("HTTP/1.1 200 Fine", [("Content-Length", 6)]) + b"abc")
        go_on.wait(20)
        c.send(b"def")

    origin.serve(slow)
    with server.visit() as v:
        v.ask()
        assert v.head().status == 200
        server.config["tokens"] = [alice(deny=["127.0.0.1"], bandwidth="1M", max_body=10)]
        server.write()
        server.program.hang_up("reloaded")
        assert ask(server).status == 403
        go_on.set()
        assert v.reader.exactly(6) == b"abcdef"
    assert not server.program.events("link.down") and len(tunnels.program.events("published")) == 1
    server.config["tokens"] = [alice(deny=[])]
    server.write()
    assert "found an empty list" in json.dumps(server.program.hang_up("reload.failed"))
    assert ask(server).status == 403, "the old rules stay"
    server.config["tokens"] = [alice()]
    server.write()
    server.program.hang_up("reloaded")
    origin.serve(None)
    assert ask(server).status == 200


def test_reload_of_the_client(own):
    """SIGHUP at adit reads rules and password files again."""
    server, tunnels, origin = start(own, "adit", {})
    users = tunnels.folder / "users"
    users.write_text("bob:one\n")
    users.chmod(0o600)
    tunnels.write({"shop": {"origin": origin.address, "basic_auth_file": "users"}})
    tunnels.program.hang_up("reloaded")
    assert ask(server).status == 401 and ask(server, fields=[basic("bob", "one")]).status == 200
    users.write_text("bob:two\n")
    tunnels.program.hang_up("reloaded")
    assert ask(server, fields=[basic("bob", "one")]).status == 401
    assert ask(server, fields=[basic("bob", "two")]).status == 200
    users.write_text("bob\n")
    assert "line 1 of it" in json.dumps(tunnels.program.hang_up("reload.failed"))
    assert ask(server, fields=[basic("bob", "two")]).status == 200


# ---- waiting for a tunnel

def test_judged_once(own):
    """A request that waits for its tunnel is judged when it comes, and not again when it goes on."""
    origin = own.origin()
    rules = {"basic_auth": ["bob:" + crypt("s3cret")], "requests_per_second": 1, "requests_burst": 1}
    server = own.server(tokens=[alice(**rules)])
    first = own.http(server, origin.port, "--name", "shop", folder="first")
    first.wait_event("published")
    first.signal(signal.SIGKILL)
    server.program.wait_event("link.detached")
    with server.visit() as v, server.visit() as w:
        w.ask(fields=[basic("bob", "wrong")])
        assert w.read().status == 401, "at once: the name is known"
        v.ask(fields=[basic("bob", "s3cret")])
        own.http(server, origin.port, "--name", "shop", folder="second").wait_event("published")
        assert v.read().status == 200
    assert len(origin.requests) == 1 and not origin.requests[0].get("authorization")


# ---- tokens of tunnels

def test_wrong_tokens(own):
    """Who tries tokens has to wait from the fifth on; a right one is taken all the same."""
    origin = own.origin()
    server = own.server()

    def knock(token, source="127.0.0.1"):
        fields = [("Authorization", f"Bearer {token}")] if token else []
        with Visitor(server.plain_port, DOMAIN, source=source) as v:
            return v.fetch("GET", "/_adit/v1/" + "0" * 32 + "/ws", fields)

    assert [knock(None).status for _ in range(8)] == [401] * 8, "no token is no guess"
    assert [knock(f"wrong{i}").status for i in range(4)] == [401] * 4
    refused = knock("wrong")
    assert refused.status == 429 and refused.get("retry-after") == "1" and refused.get("adit-version")
    assert knock(TOKENS["alice"]).status == 426, "right, but asks for no upgrade"
    assert knock("wrong", source="127.0.0.9").status == 401
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    assert ask(server).status == 200
