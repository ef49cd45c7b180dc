"""A TCP relay between adit and its server, that breaks connections in every way a network does.

Each connection is two sockets and a thread. What it can do to them: `reset` (RST both ways), `fin` (FIN both ways at
once), `half` (FIN in one direction only), `hole` (nothing passes any more, nothing is said), and after so many bytes.
While `closed` is set new ones are reset, while `holes` is set they are black holes from the start.
"""
import queue
import selectors
import socket
import struct
import threading
import time

from wire import accepted

LINGER_RESET = struct.pack("ii", 1, 0)
BLOCK = 65536


class Passage(threading.Thread):
    """One connection through the relay."""

    def __init__(self, relay, near, far):
        super().__init__(daemon=True)
        self.relay, self.near, self.far = relay, near, far
        self.moved, self.cut_at, self.how, self.dead = 0, None, None, False
        self.holed = relay.holes
        if relay.fates:
            self.how, self.cut_at = relay.fates.pop(0)
        self.lock = threading.Lock()

    def run(self):
        try:
            self.pump()
        except (OSError, ValueError, KeyError):  # cut at this moment
            pass
        self.end()

    def pump(self):
        pairs = {self.near: self.far, self.far: self.near}
        with selectors.DefaultSelector() as selector:
            for one in pairs:
                selector.register(one, selectors.EVENT_READ)
            while pairs and not self.dead:
                for key, _ in selector.select(0.1):
                    if self.holed:
                        time.sleep(0.05)
                        continue
                    data = key.fileobj.recv(BLOCK)
                    other = pairs[key.fileobj]
                    if self.relay.delay:
                        time.sleep(self.relay.delay)
                    left = None if self.cut_at is None else self.cut_at - self.moved
                    if left is not None and len(data) >= left:
                        other.sendall(data[:max(left, 0)])
                        self.moved += max(left, 0)
                        self.cut(self.how)
                        if self.how != "hole":
                            return
                        continue
                    if not data:
                        selector.unregister(key.fileobj)
                        del pairs[key.fileobj]
                        other.shutdown(socket.SHUT_WR)
                        continue
                    other.sendall(data)
                    self.moved += len(data)

    def cut(self, how):
        """Breaks it now."""
        self.cut_at, self.how = None, how
        self.holed = self.holed or how == "hole"
        try:
            if how == "reset":
                for one in (self.near, self.far):
                    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            elif how == "half":
                self.far.shutdown(socket.SHUT_WR)
                return
            if how != "hole":
                self.end()
        except OSError:
            pass

    def end(self):
        with self.lock:
            if self.dead:
                return
            self.dead = True
        for one in (self.near, self.far):
            try:
                one.shutdown(socket.SHUT_RDWR) if self.how != "reset" else None
            except OSError:
                pass
            one.close()
        self.relay.passages.remove(self)


class Relay:
    """Listens on a port of its own and leads to 127.0.0.1:`port`."""

    def __init__(self, port):
        self.target, self.passages, self.count, self.delay, self.closed = port, [], 0, 0, False
        self.holes = False
        self.fates = []  # how, and after how many bytes, the next connections are cut; (None, None): not at all
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        for near in accepted(self.listener):
            if self.closed:
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
                near.close()
                continue
            try:
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                near.close()
                continue
            for one in (near, far):
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.count += 1
            passage = Passage(self, near, far)
            self.passages.append(passage)
            passage.start()

    def cut(self, how="reset", after=None):
        """Breaks all connections that there are, now or each after so many more bytes."""
        for passage in list(self.passages):
            if after is None:
                passage.cut(how)
            else:
                passage.how, passage.cut_at = how, passage.moved + after

    def heal(self):
        """Black holes give back what they have swallowed."""
        for passage in list(self.passages):
            passage.holed = False

    def stop(self):
        self.listener.close()
        for passage in list(self.passages):
            passage.end()


class Narrow:
    """A relay over a path of `rate` bytes a second each way, whose queues hold `depth` bytes: bufferbloat."""

    PIECE = 2048

    def __init__(self, port, rate, depth):
        self.target, self.rate, self.depth, self.count = port, rate, depth, 0
        self.wires = (threading.Lock(), threading.Lock())  # who sends on the path, towards each end
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.socks = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                return
            self.count += 1
            self.socks += [near, far]
            for wire, a, b in ((self.wires[0], near, far), (self.wires[1], far, near)):
                b.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                pieces = queue.Queue(self.depth // self.PIECE)
                threading.Thread(target=self.take, args=(a, pieces), daemon=True).start()
                threading.Thread(target=self.give, args=(wire, b, pieces), daemon=True).start()

    def take(self, sock, pieces):
        while True:
            try:
                data = sock.recv(self.PIECE)
            except OSError:
                data = b""
            pieces.put(data)
            if not data:
                return

    def give(self, wire, sock, pieces):
        try:
            while True:
                data = pieces.get()
                if not data:
                    sock.shutdown(socket.SHUT_WR)
                    return
                with wire:
                    time.sleep(len(data) / self.rate)
                sock.sendall(data)
        except OSError:
            pass

    def stop(self):
        self.listener.close()
        for sock in self.socks:
            sock.close()
