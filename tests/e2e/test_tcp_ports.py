"""Published TCP ports: who may have one, who shares it, what a visitor gets when there is none, and how they end."""
import json
import signal
import socket
import threading
import time

import pytest

from harness import ADIT, ADITD, DOMAIN, TOKENS, Server, environment, free_port
from tcp import Stand, TcpServer, is_refused, is_reset, read_all, read_exactly, within
from wire import eventually


@pytest.fixture
def stand(own):
    return Stand(own)


# ---- refusals

def test_origin_refuses(stand):
    """A server that does not listen: the visitor gets a RST, adit's log a line, the access log a status."""
    stand.server.stop()
    with stand.visit() as sock:
        assert is_reset(sock) == b""
    record = stand.adit.wait_event("request", method="CONNECT")
    assert record["level"] == "warn" and record["error"] == "connection refused"
    assert record["detail"] == f"tcp://127.0.0.1:{stand.server.port}"
    line = stand.line()
    assert (line["method"], line["name"], line["status"]) == ("CONNECT", f"tcp:{stand.port}", 502)


def ends_refused(adit, text):
    record = adit.wait_event("refused")
    assert text in record["reason"], record
    assert adit.wait() == 3


def test_port_that_is_not_allowed(own):
    """403 with the port in it; adit stops."""
    stand = Stand(own)
    port = free_port()
    ends_refused(stand.publish("other", port=port, wait=False), f'the token "alice" may not publish port {port}')
    assert is_refused(port)


def test_token_without_ports(own):
    """A token without ports may publish none, also no port of the server's choice."""
    stand = Stand(own)
    stand.aditd.config["tokens"].append(Server.token("bob"))
    stand.aditd.write()
    stand.aditd.program.hang_up("reloaded")
    ends_refused(stand.publish("other", port=0, wait=False, who="bob"), 'the token "bob" may not publish any port')


def test_port_in_use(own):
    """Something else listens there: 409, which says so."""
    stand = Stand(own, ports=2)
    with socket.create_server(("127.0.0.1", stand.ports[1])):
        ends_refused(stand.publish("other", port=stand.ports[1], wait=False),
                     f"port {stand.ports[1]} of the server is in use by something else")
    assert stand.talk() == b"hello"


def test_port_of_another_token(own):
    """A port that another token has published: 409."""
    stand = Stand(own, owners=("alice", "bob"))
    ends_refused(stand.publish("other", wait=False, who="bob"), f'"tcp:{stand.port}" is taken by another token')
    assert stand.talk() == b"hello"


def test_http_does_not_reach_a_port(stand):
    """No Host leads to a published port, and HTTP's own CONNECT is refused."""
    for host in (f"tcp:{stand.port}", f"tcp:{stand.port}.{DOMAIN}", f"tcp.{DOMAIN}:{stand.port}"):
        with stand.aditd.visit() as visitor:
            visitor.host = host
            assert visitor.fetch(fields=[("adit-tunnel", f"tcp:{stand.port}")]).status in (400, 404)
    with stand.aditd.visit() as visitor:
        visitor.send(f"CONNECT {DOMAIN}:{stand.port} HTTP/1.1\r\nHost: {DOMAIN}:{stand.port}\r\n\r\n".encode())
        assert visitor.read("CONNECT").status == 501
    assert not stand.server.socks


# ---- whose port

def test_shared_port(own):
    """Two adits of a token share a port: connections go to both, and to the one that is left; then the port closes."""
    def serve(word):
        def run(sock):
            sock.sendall(word)
            read_all(sock)
        return run

    stand = Stand(own, serve(b"one"))
    second = stand.publish("second", server=own.keep(TcpServer(serve(b"two"))))
    socks = [stand.visit() for _ in range(8)]
    assert sorted(read_exactly(s, 3) for s in socks) == [b"one"] * 4 + [b"two"] * 4
    for sock in socks:
        sock.close()
    stand.adit.stop()
    for _ in range(3):
        with stand.visit() as sock:
            assert read_exactly(sock, 3) == b"two"
    second.stop()
    eventually(lambda: is_refused(stand.port), "the port is closed")
    assert stand.aditd.program.events("port.closed")


def port_of(adit, n=0):
    return int(adit.events("published")[n]["name"].partition(":")[2])


def test_any_port(own):
    """Without --remote-port the server chooses one of the token's that is free; the same adit gets the same again, and
    keeps it when its carrier breaks."""
    stand = Stand(own, ports=6, relay=True)
    a, b = stand.publish("a", port=0), stand.publish("b", port=0)
    ports = [stand.port, port_of(a), port_of(b)]
    assert len(set(ports)) == 3 and set(ports) <= set(stand.ports)
    assert a.events("published")[0]["url"] == f"tcp://{DOMAIN}:{ports[1]}"
    with stand.visit(ports[1]) as sock:
        sock.sendall(b"before")
        read_exactly(sock, 6)
        stand.relay.cut("reset")
        a.wait_event("moved")
        sock.sendall(b"behind")
        assert read_exactly(sock, 6) == b"behind"
    a.stop()
    eventually(lambda: is_refused(ports[1]), "the port is closed")
    c = stand.publish("a", port=0)
    c.kill()  # its link is kept for a while, and its port shared with the next
    d = stand.publish("a", port=0)
    assert port_of(c) == port_of(d) == ports[1]
    assert stand.talk(port=ports[1]) == b"hello"


def test_no_port_is_free(own):
    """All of the token's ports are in use, by it or by others: 409."""
    stand = Stand(own, ports=2)
    with socket.create_server(("127.0.0.1", stand.ports[1])):
        ends_refused(stand.publish("other", port=0, wait=False), "all ports that the token may publish are in use")


def test_revoked_by_sighup(own):
    """A token loses the port: its link ends with 403, its visitors are reset, the port closes."""
    stand = Stand(own, ports=2)
    with stand.visit() as sock:
        sock.sendall(b"x")
        read_exactly(sock, 1)
        stand.aditd.config["tokens"][0]["ports"] = stand.ports[1:]
        stand.aditd.write()
        stand.aditd.program.hang_up("reloaded")
        ends_refused(stand.adit, f'may no longer publish "tcp:{stand.port}"')
        assert is_reset(sock) == b""
    eventually(lambda: is_refused(stand.port), "the port is closed")


# ---- limits and the end

def test_full(own):
    """Connections to ports get half of max_visitors, for none of them makes room: the next is closed, until one has
    gone. Web visitors find in all the time."""
    stand = Stand(own, max_visitors=6)
    socks = [stand.visit() for _ in range(3)]
    for sock in socks:
        sock.sendall(b"x")
        read_exactly(sock, 1)
    for _ in range(20):
        with stand.visit() as late:
            try:
                assert late.recv(1) == b""
            except ConnectionResetError:
                pass
        assert stand.aditd.fetch("nobody").status == 404
    assert [r for r in stand.aditd.access_lines() if "published ports" in str(r.get("error"))]
    socks.pop().close()
    eventually(lambda: enters(stand), "room for another")
    for sock in socks:
        sock.sendall(b"x")
        read_exactly(sock, 1)
        sock.close()


def enters(stand):
    """Is a connection to the port taken in?"""
    with stand.visit() as sock:
        try:
            sock.sendall(b"x")
            return sock.recv(1) == b"x"
        except OSError:
            return False


def test_drain(own):
    """Told to end, aditd closes its ports at once; what runs goes on, up to drain_seconds."""
    stand = Stand(own, drain_seconds=3)
    with stand.visit() as sock:
        sock.sendall(b"x")
        read_exactly(sock, 1)
        began = time.monotonic()
        stand.aditd.program.signal(signal.SIGTERM)
        eventually(lambda: is_refused(stand.port), "the port is closed")
        time.sleep(1)
        sock.sendall(b"still here")
        assert read_exactly(sock, 10) == b"still here"
        assert is_reset(sock) == b""
        assert 2.5 < time.monotonic() - began < 6
    stand.aditd.program.wait()


def test_drain_ends_with_the_last(own):
    """A drain does not wait longer than the last connection."""
    stand = Stand(own, drain_seconds=30)
    with stand.visit() as sock:
        sock.sendall(b"x")
        read_exactly(sock, 1)
        stand.aditd.program.signal(signal.SIGTERM)
        eventually(lambda: is_refused(stand.port), "the port is closed")
    within(5, "the end", stand.aditd.program.wait)


def test_take_over(own):
    """A successor gets the sockets of published ports and keeps them for their links: nobody is refused meanwhile, and
    what ran in the old one runs on."""
    stand = Stand(own, admin=f"unix:{own.folder / 'admin.sock'}", drain_seconds=20)
    over, failed, done = threading.Event(), [], []

    def knock():
        while not over.is_set():
            try:
                assert stand.talk(b"knock") == b"knock"
                done.append(1)
            except (OSError, AssertionError) as e:
                failed.append(e)

    with stand.visit() as sock:
        sock.sendall(b"old")
        read_exactly(sock, 3)
        threads = [threading.Thread(target=knock) for _ in range(4)]
        for t in threads:
            t.start()
        stand.aditd.write()
        new = own.run([ADITD, "-c", stand.aditd.file, "--take-over"], "new")
        new.wait_event("port.kept", name=f"tcp:{stand.port}")
        new.wait_event("link.up")
        before = len(done)
        eventually(lambda: len(done) > before + 50, lambda: f"connections at the new one: {failed}")
        over.set()
        for t in threads:
            t.join()
        assert not failed
        sock.sendall(b"old")
        assert read_exactly(sock, 3) == b"old"
        assert stand.aditd.program.alive()
    stand.aditd.program.wait()
    assert stand.talk() == b"hello"
    new.stop()


def test_take_over_of_many(own):
    """300 ports are more than one message between the two processes can carry; all of them are kept."""
    ports = sorted({free_port() for _ in range(400)})[:300]
    server = own.server(tcp_address="127.0.0.1", admin=f"unix:{own.folder / 'admin.sock'}",
                        tokens=[dict(Server.token("alice"), ports=ports)])
    origin = own.keep(TcpServer())
    for i in range(0, 300, 60):
        file = own.folder / f"adit{i}.yaml"
        file.write_text(json.dumps({
            "server": f"https://127.0.0.1:{server.tls_port}", "server_name": DOMAIN, "log_format": "json",
            "ca": str(server.authority.ca), "token_file": "token",
            "tunnels": [{"origin": f"tcp://{origin.port}", "remote_port": port} for port in ports[i:i + 60]]}))
        (own.folder / "token").write_text(TOKENS["alice"])
        (own.folder / "token").chmod(0o600)
        own.run([ADIT, "start", "-c", file], f"adit{i}").wait_event("published", name=f"tcp:{ports[i + 59]}")
    server.write()
    new = own.run([ADITD, "-c", server.file, "--take-over"], "new")
    new.wait_event("ready")
    assert {e["name"] for e in new.events("port.kept")} == {f"tcp:{port}" for port in ports}
    for port in ports[::50]:
        with socket.create_connection(("127.0.0.1", port), 15) as sock:
            sock.sendall(b"x")
            assert read_exactly(sock, 1) == b"x"
    new.stop()


def test_development_mode(own):
    """aditd --dev: its token may publish any port from 1024 on, at 127.0.0.1."""
    server = own.run([ADITD, "--dev", "--dev-dir", own.folder / "dev", "--dev-listen", "127.0.0.1:0",
                      "--log-format", "json"], "dev")
    port = server.wait_event("listening")["address"].rpartition(":")[2]
    server.wait_event("ready")
    origin, number = own.keep(TcpServer()), free_port()
    adit = own.run([ADIT, "tcp", origin.origin, "--server", f"https://localhost:{port}", "--remote-port", number,
                    "--ca", own.folder / "dev" / "ca.pem", "--log-format", "json"], "adit",
                   env=environment(own.folder, ADIT_TOKEN=(own.folder / "dev" / "token").read_text().strip()))
    assert adit.wait_event("published")["url"] == f"tcp://adit.localhost:{number}"
    with socket.create_connection(("127.0.0.1", number), 5) as sock:
        sock.sendall(b"x")
        assert read_exactly(sock, 1) == b"x"
