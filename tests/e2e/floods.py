"""floods: attackers made of raw bytes, and the visitor beside them who must not notice.

    with Watched(field) as watch:   a keep-alive visitor asks every 10 ms, aditd's memory is looked at
        flood(v, event)             sends event(i) again and again until aditd has enough of it
    watch.check(...)                the visitor was served as before, memory stayed bounded
"""
import os
import select
import statistics
import threading
import time

from h2frames import RawVisitor
from wire import reply

PACE = 0.01  # seconds between two requests of the visitor
GROWTH = 16 * 1024  # KiB that aditd's memory may grow by for an attacking connection
CUT = 2.0  # seconds after which an attacker is cut
BATCH = 50  # events of one write
GIVE_UP = 20.0  # seconds after which an attack does


class Field:
    """aditd, adit and a scripted origin; how fast its visitors are served when nobody attacks."""

    def __init__(self, server, tunnels, origin):
        self.server, self.tunnels, self.origin = server, tunnels, origin
        self.aditd = server.program
        with open(f"/proc/{self.aditd.process.pid}/maps") as maps:
            self.slow = 4 if "libasan" in maps.read() else 1
        self.running = self.most = 0
        self.lock = threading.Lock()
        self.origin.serve(self.answer)
        with Watched(self) as watch:
            time.sleep(0.5)
        self.baseline = watch.p99

    def answer(self, connection, request):
        """/slow never answers, /body of any length takes all, /100k gives as much, /drops many small pieces."""
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        try:
            if request.target == "/slow":
                connection.wait_gone(20)
            elif request.target == "/100k":
                connection.send(reply(200, b"k" * 100_000))
            elif request.target == "/drops":
                self.drops(connection)
            else:
                request.read()
                connection.send(reply(200, b"small"))
        finally:
            with self.lock:
                self.running -= 1

    @staticmethod
    def drops(connection):
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(4000):
            connection.send(b"4\r\ndrop\r\n")
        connection.send(b"0\r\n\r\n")


class Watched:
    """The visitor and the memory, while the block runs."""

    def __init__(self, field):
        self.field, self.over, self.times, self.errors, self.most = field, threading.Event(), [], [], 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.before = self.field.aditd.memory("VmRSS")
        self.thread.start()
        self.has(1)
        return self

    def has(self, n):
        """So many of his requests were answered, or one failed."""
        until = time.monotonic() + 10
        while len(self.times) < n and not self.errors and time.monotonic() < until:
            time.sleep(PACE)

    def __exit__(self, *_):
        self.has(10)
        self.over.set()
        self.thread.join(20)
        self.most = max(self.most, self.field.aditd.memory("VmRSS"))

    def run(self):
        try:
            with self.field.server.visit() as visitor:
                while not self.over.is_set():
                    began = time.monotonic()
                    assert visitor.fetch(target="/quiet").status == 200
                    self.times.append(time.monotonic() - began)
                    self.most = max(self.most, self.field.aditd.memory("VmRSS"))
                    self.over.wait(max(0, PACE - (time.monotonic() - began)))
        except Exception as e:
            self.errors.append(e)

    @property
    def p99(self):
        return statistics.quantiles(self.times, n=100)[98]

    def check(self, what, growth=GROWTH):
        """Bounds are loose: attacker and visitor share this process, and the machine is somebody else's too."""
        assert not self.errors, self.errors
        grown = self.most - self.before
        print(f"{what}: visitor's p99 {self.p99 * 1e3:.1f} ms of {len(self.times)}, at rest "
              f"{self.field.baseline * 1e3:.1f} ms; aditd grew by {grown} KiB")
        assert statistics.median(self.times) < 2 * self.field.baseline + 0.05 * self.field.slow, "he had to wait"
        assert self.p99 < 2 * self.field.baseline + 1.0 * self.field.slow, "he had to wait once"
        assert self.field.slow > 1 or grown < growth, "memory"


def drain(v):
    """Takes note of what has come. True while the connection is of use."""
    while not v.goaway and not v.closed and (len(v.buffer) >= 9 or select.select([v.sock], [], [], 0)[0]):
        if v.next_frame() is None:
            break
    return not v.goaway and not v.closed


def flood(v, event):
    """Sends event(i) until a GOAWAY has come, or the end: seconds, and events sent."""
    began, sent = time.monotonic(), 0
    try:
        while time.monotonic() - began < GIVE_UP:
            v.sock.sendall(b"".join(event(sent + i) for i in range(BATCH)))
            sent += BATCH
            if not drain(v):
                break
    except OSError:
        pass
    v.ended()
    return time.monotonic() - began, sent


def connections(field):
    """Descriptors that aditd has."""
    return len(os.listdir(f"/proc/{field.aditd.process.pid}/fd"))


def flood_unread(v, event, gone):
    """The same by who reads nothing: until aditd has closed his connection, gone(). He need not learn of it: a RST finds
    no room in a window that is full, and his own probes come ever more seldom. What is sent while it has not closed is
    little, for it is a test of what is kept, not of the network."""
    began, sent = time.monotonic(), 0
    v.sock.settimeout(GIVE_UP)
    try:
        while time.monotonic() - began < GIVE_UP and not gone():
            v.sock.sendall(b"".join(event(sent + i) for i in range(BATCH)))
            sent += BATCH
            if sent > 10000:
                time.sleep(0.02)
    except OSError:
        pass
    took = time.monotonic() - began
    assert took < GIVE_UP, f"he is not cut, after {sent} events"
    return took, sent


def attacker(field, **options):
    return RawVisitor(field.server, **options)


def pour(visitor, data, seconds):
    """Sends it over and over for so long, as far as it is taken, and reads nothing; bytes that were taken."""
    began, sent = time.monotonic(), 0
    visitor.sock.settimeout(0.2)
    while time.monotonic() - began < seconds:
        try:
            sent += visitor.sock.send(data)
        except TimeoutError:
            pass
        except OSError:
            break
    return sent
