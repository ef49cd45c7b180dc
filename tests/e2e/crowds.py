"""crowds: thousands of visitors' connections, each as cheap as can be, in processes of their own.

    with Crowd(server, 5000, "h1", tls=True, processes=2) as crowd:
        crowd.do("come")        they connect; returns how many have
        crowd.do("ask", "/2k")  each asks for that, and takes all of the answer: how many were answered with 200
        crowd.do("first", "/2k")  the same, by those only who have not asked yet
        crowd.do("begin", "/1g")  each asks for that, and reads nothing: how many have
        crowd.do("sip", "4096") each reads at most so much of what has come: how many bytes were read
        crowd.do("go")          they leave

Run as a program this is one such process: it takes these words from standard input and answers each with a line.
"""
import json
import resource
import select
import socket
import ssl
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":  # the parent's tests have no folder for compiled modules either
    sys.dont_write_bytecode = True

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, ACK = 1, 4, 1
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
WIDE = (1 << 31) - 1  # the widest window there is
READ = 65536
WAIT = 20.0  # seconds that one connection may take for anything
ANSWER = 300.0  # seconds that a whole process may


def frame(kind, flags=0, stream=0, payload=b""):
    return (len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload)


def literal(index, value):
    """A field with a name of HPACK's static table, not indexed (RFC 7541 section 6.2.2); short values only."""
    assert index < 15 and len(value) < 127
    return bytes([index, len(value)]) + value


class Member:
    """One connection."""

    def __init__(self, order, context):
        self.order, self.number, self.rest = order, -1, b""
        sock = socket.create_connection(("127.0.0.1", order["port"]), WAIT)
        if order.get("receive_buffer"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, order["receive_buffer"])
        self.sock = context.wrap_socket(sock, server_hostname=order["host"]) if context else sock
        if order["kind"] == "h2":
            wide = (4).to_bytes(2, "big") + WIDE.to_bytes(4, "big")
            self.sock.sendall(PREFACE + frame(SETTINGS, payload=wide)
                              + frame(WINDOW_UPDATE, payload=(WIDE - 65535).to_bytes(4, "big")))

    def begin(self, path):
        if self.order["kind"] == "h1":
            self.sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {self.order['host']}\r\n\r\n".encode())
            return
        self.number += 2
        block = (bytes([0x82, 0x87 if self.order["tls"] else 0x86]) + literal(4, path.encode())
                 + literal(1, self.order["host"].encode()))
        self.sock.sendall(frame(HEADERS, END_STREAM | END_HEADERS, self.number, block))

    def fill(self):
        data = self.sock.recv(READ)
        if not data:
            raise OSError("ended")
        self.rest += data

    def exactly(self, n):
        while len(self.rest) < n:
            self.fill()
        data, self.rest = self.rest[:n], self.rest[n:]
        return data

    def answer_h1(self):
        while b"\r\n\r\n" not in self.rest:
            self.fill()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        lines = head.decode().lower().split("\r\n")
        length = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
        self.exactly(length)
        return int(lines[0].split()[1])

    def answer_h2(self):
        """Its status is in HPACK's static table when it is 200."""
        status = 0
        while True:
            head = self.exactly(9)
            payload, kind, flags = self.exactly(int.from_bytes(head[:3], "big")), head[3], head[4]
            if kind == HEADERS:
                status = 200 if payload[:1] == b"\x88" else 503
            if kind in (SETTINGS, PING) and not flags & ACK:
                self.sock.sendall(frame(kind, ACK, payload=payload if kind == PING else b""))
            if kind in (DATA, HEADERS) and flags & END_STREAM:
                return status

    def answer(self):
        return self.answer_h1() if self.order["kind"] == "h1" else self.answer_h2()

    def sip(self, most):
        try:
            pending = self.order["tls"] and self.sock.pending()
            if pending or select.select([self.sock], [], [], 0)[0]:
                return len(self.sock.recv(most))
        except OSError:
            pass
        return 0


class Members:
    def __init__(self, order):
        self.order, self.all, self.asked, self.context = order, [], 0, None
        if order["tls"]:
            self.context = ssl.create_default_context(cafile=order["ca"])
            self.context.set_alpn_protocols(["h2" if order["kind"] == "h2" else "http/1.1"])

    def come(self, count=None):
        for _ in range(int(count or self.order["count"])):
            try:
                self.all.append(Member(self.order, self.context))
            except OSError:
                pass
        return len(self.all)

    def each(self, what, members=None):
        """How many did it."""
        done = 0
        for member in self.all if members is None else members:
            try:
                done += bool(what(member))
            except (OSError, ValueError, StopIteration):
                pass
        return done

    def ask(self, path):
        self.asked = len(self.all)
        return self.each(lambda m: (m.begin(path), m.answer())[1] == 200)

    def first(self, path):
        fresh, self.asked = self.all[self.asked:], len(self.all)
        return self.each(lambda m: (m.begin(path), m.answer())[1] == 200, fresh)

    def begin(self, path):
        return self.each(lambda m: (m.begin(path), True)[1])

    def sip(self, most):
        return sum(member.sip(int(most)) for member in self.all)

    def go(self):
        for member in self.all:
            member.sock.close()
        gone, self.all, self.asked = len(self.all), [], 0
        return gone


class Crowd:
    """Several processes of members, told the same."""

    def __init__(self, server, count, kind, tls=False, name="shop", processes=2, receive_buffer=None):
        order = {"port": server.tls_port if tls else server.plain_port, "host": f"{name}.tunnel.test", "kind": kind,
                 "tls": tls, "ca": str(server.authority.ca), "count": count // processes,
                 "receive_buffer": receive_buffer}
        self.processes = [subprocess.Popen([sys.executable, __file__, json.dumps(order)], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, text=True) for _ in range(processes)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait(10)

    def tell(self, *words):
        for process in self.processes:
            process.stdin.write(" ".join(words) + "\n")
            process.stdin.flush()

    def hear(self):
        total = 0
        for process in self.processes:
            assert select.select([process.stdout], [], [], ANSWER)[0], "a crowd does not answer"
            line = process.stdout.readline()
            assert line, "a crowd's process has ended"
            total += int(line)
        return total

    def do(self, *words):
        self.tell(*words)
        return self.hear()


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    members = Members(json.loads(sys.argv[1]))
    for line in sys.stdin:
        word, *more = line.split()
        print(getattr(members, word)(*more), flush=True)


if __name__ == "__main__":
    main()
