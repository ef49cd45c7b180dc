"""Tokens are nowhere but where they must be: not in aditd's memory once it has judged them, nor in command lines,
logs and traces."""
import os
import re
import socket
import time
from pathlib import Path

import pytest

import ingress
from h2frames import END_HEADERS, END_STREAM, HEADERS, RawVisitor, raw
from harness import ADITD, DOMAIN, TOKENS
from wire import eventually

TOKEN = TOKENS["alice"]
# what puts an Authorization into the HPACK table of its connection to aditd, where it stays as long as that
INDEXES = ("haproxy-h2",)
# sanitizers keep freed memory aside as it was
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to read another process's memory")
without_asan = pytest.mark.skipif(b"__asan_init" in ADITD.read_bytes(), reason="needs a build without sanitizers")


def memory_of(pid):
    """What can be read of a process's memory, a piece a mapping."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            where, rights, *_ = line.split()
            first, last = (int(x, 16) for x in where.split("-"))
            if "r" not in rights or line.rstrip().endswith("[vvar]"):
                continue
            try:
                mem.seek(first)
                yield mem.read(last - first)
            except OSError:
                pass


def found(pid, text):
    """Each place where it stands, with what is around it."""
    return [piece[max(0, m.start() - 60):m.end() + 20] for piece in memory_of(pid)
            for m in re.finditer(re.escape(text.encode()), piece)]


def nowhere(program, *texts):
    """Neither text is in its memory, now or soon: what is under way may hold it for a moment."""
    eventually(lambda: not any(found(program.pid, text) for text in texts),
               lambda: "it is gone from memory: " + repr([found(program.pid, text) for text in texts]), 5)


@as_root
@without_asan
@pytest.mark.big
@pytest.mark.parametrize("carrier", ["direct", "ws-h1", "ws-h2", "poll"])
def test_token_is_not_kept(own, carrier):
    """Whatever carrier brings it: a moment after a link is up, and while polls are held, aditd has the token nowhere,
    nor a part of it that would do; its hash it has. adit, which sends it again, has it: so it would be found."""
    server, origin = own.server(), own.origin()
    adit = own.http(server, origin.address, "--name", "shop", "--carrier", carrier)
    adit.wait_event("published")
    assert server.fetch().status == 200
    for _ in range(3):
        nowhere(server.program, TOKEN, TOKEN[len("adit_alice_"):], TOKEN[:-4])
        time.sleep(0.3)
    assert found(adit.pid, TOKEN)
    assert any(bytes.fromhex(server.token("alice")["sha256"]) in piece for piece in memory_of(server.program.pid))


@as_root
@without_asan
@pytest.mark.big
@pytest.mark.parametrize("kind", ["nginx", "haproxy-h1", "haproxy-h2", "nghttpx-h2"])
def test_token_is_not_kept_behind_an_ingress(own, kind):
    """The same where the ingress makes the request to aditd, in whatever way it writes HTTP/2; at the latest when its
    connection has ended."""
    if ingress.missing(kind):
        pytest.skip(f"{ingress.missing(kind)} is not installed: sh contrib/deps.sh test")
    server, origin = own.server(), own.origin()
    front = own.keep(ingress.KINDS[kind](own.folder / "ingress", server, None))
    for carrier in ("auto", "poll"):
        adit = own.http(server, origin.address, "--name", "shop", "--carrier", carrier, folder=carrier, common=[
            "--server", f"https://127.0.0.1:{front.port}", "--server-name", DOMAIN, "--ca", own.authority.ca,
            "--log-format", "json"])
        adit.wait_event("published")
        assert server.fetch().status == 200
        if kind not in INDEXES:
            nowhere(server.program, TOKEN, TOKEN[len("adit_alice_"):])
        adit.stop()
    front.stop()
    nowhere(server.program, TOKEN, TOKEN[len("adit_alice_"):])


@as_root
@without_asan
@pytest.mark.big
def test_token_cut_anywhere_is_not_kept(own):
    """A request that comes byte by byte, one that never ends, one with a wrong token, and one behind another, a
    carrier's or a visitor's, leave nothing either."""
    server = own.server()
    wrong, false_too = "adit_wrong_" + "0123456789abcdef" * 2, "adit_false_" + "89abcdef01234567" * 2

    def request(token, end="\r\n\r\n"):
        return (f"GET /_adit/v1/{'1' * 32}/direct HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {token}\r\nAdit-Version: 1{end}").encode()

    def connect():
        s = socket.create_connection(("127.0.0.1", server.plain_port), 5)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.settimeout(10)
        return s

    with connect() as slow, connect() as half, connect() as false, connect() as two, connect() as behind:
        half.sendall(request(TOKEN, ""))
        false.sendall(request(wrong))
        assert b" 401 " in false.recv(4096)
        two.sendall(request(wrong) + request(TOKEN))
        assert b" 401 " in two.recv(4096)
        behind.sendall(b"GET / HTTP/1.1\r\nHost: nowhere.example.org\r\n\r\n" + request(false_too))
        assert b" 404 " in behind.recv(4096)
        for byte in request(TOKEN):
            slow.sendall(bytes([byte]))
            time.sleep(0.001)
        assert b"HTTP/1.1 426 " in slow.recv(4096)
        half.close()
        nowhere(server.program, TOKEN, TOKEN[len("adit_alice_"):], wrong, false_too)


@as_root
@without_asan
@pytest.mark.parametrize("goes_on", [True, False], ids=["goes-on", "leaves"])
def test_token_in_two_reads_is_not_kept(own, goes_on):
    """HTTP/2 whose Authorization comes in two reads, the first of them long, and one that leaves between the two: neither
    half stays."""
    server = own.server()
    half = len(TOKEN) - 12
    with RawVisitor(server, "shop") as v:
        v.greeted()
        v.host = "localhost"
        block = v.encode(v.fields(path=f"/_adit/v1/{'1' * 32}/poll", more=[
            ("x-pad", "p" * 2000), ("authorization", f"Bearer {TOKEN}")]))
        frame = raw(HEADERS, END_HEADERS | END_STREAM, v.new_stream(), block)
        cut = frame.index(TOKEN.encode()) + half
        v.send(frame[:cut])
        time.sleep(0.1)
        if goes_on:
            v.send(frame[cut:])
            v.until(lambda: v.answer(1).heads, "it is judged")
        else:
            v.close()
        nowhere(server.program, TOKEN[:half], TOKEN[half:])


@pytest.mark.parametrize("carrier", ["direct", "poll"])
def test_token_is_not_told(own, carrier):
    """No command line, log, access log or trace has it, at either end, also when it is wrong."""
    server, origin = own.server(trace="trace.json", log_level="debug"), own.origin()
    wrong = "adit_wrong_" + "fedcba9876543210" * 2
    flags = ["--name", "shop", "--carrier", carrier, "--trace", "trace.json", "--log-level", "debug"]
    adit = own.http(server, origin.address, *flags)
    adit.wait_event("published")
    assert server.fetch().status == 200
    for program in (adit, server.program):
        assert TOKEN not in Path(f"/proc/{program.pid}/cmdline").read_text()
    refused = own.http(server, origin.address, *flags, folder="refused", token=wrong)
    assert refused.wait() == 3
    adit.stop()
    server.program.stop()
    texts = {path: path.read_bytes() for path in own.folder.rglob("*") if path.is_file()}
    assert sum(path.name in ("trace.json", "access.log", "aditd.log", "adit.log") for path in texts) >= 6, list(texts)
    for path, text in texts.items():
        assert TOKEN.encode() not in text and wrong.encode() not in text, path
