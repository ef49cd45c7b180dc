"""Attempts to take a link over: none succeeds, none disturbs its owner, and none costs memory."""
import hashlib
import hmac
import json
import struct
import time

import pytest

from test_link import ACK, ATTACH, ATTACHED, CLOSE, DATA, HELLO, PING, PONG, Peer, frame
from wire import Cut, eventually

LINK = "0123456789abcdef" * 2
KEY = "0" * 32
AGENT = "test/1"


def proof(secret, epoch, rx_offset, link_id=LINK, names=(("shop", "test"),)):
    """doc/wire.md 3.3."""
    text = b"adit/1 attach\0" + bytes.fromhex(link_id) + struct.pack(">QQI", epoch, rx_offset, 1) + bytes.fromhex(KEY)
    text += struct.pack(">H", len(AGENT)) + AGENT.encode() + struct.pack(">H", len(names))
    for pair in names:
        for word in pair:
            text += struct.pack(">H", len(word)) + word.encode()
    return hmac.new(bytes.fromhex(secret), text, hashlib.sha256).hexdigest()


def attach(secret, epoch, rx_offset=0, link_id=LINK, names=(("shop", "test"),), instead=()):
    return frame(ATTACH, json.dumps(dict({
        "version": 1, "agent": AGENT, "client_key": KEY, "epoch": epoch, "rx_offset": rx_offset,
        "tunnels": [{"name": n, "label": l} for n, l in names],
        "proof": proof(secret, epoch, rx_offset, link_id, names)}, **dict(instead))).encode())


class Owner(Peer):
    """The peer whose link it is. It counts what it receives, as adit does."""

    def __init__(self, server, link_id=LINK):
        super().__init__(server, link_id)
        self.secret = self.welcome()["secret"]
        self.epoch = self.received = 0

    def frame(self):
        kind, payload = super().frame()
        if kind == DATA:
            self.received += len(payload)
        return kind, payload

    def lives(self):
        """It is the one that aditd talks to."""
        self.send(frame(PING, b"still me"))
        return self.until(PONG) == b"still me"

    def settle(self):
        """All that aditd had to say has come, and it knows that."""
        assert self.lives()
        self.send(frame(ACK, struct.pack(">Q", self.received)))
        assert self.lives()

    def move(self, server):
        """A right ATTACH on a new carrier; its ATTACHED."""
        self.epoch += 1
        old, self.visitor = self.visitor, Peer(server, LINK).visitor
        self.send(attach(self.secret, self.epoch, self.received))
        answer = json.loads(self.until(ATTACHED))
        assert answer["epoch"] == self.epoch
        return old


def refused(server, data, who="alice", link_id=LINK):
    """The code with which that first frame is refused; nothing but a CLOSE may come."""
    peer = Peer(server, link_id, who)
    try:
        peer.send(data)
        kind, payload = peer.frame()
        assert kind == CLOSE, (kind, payload)
        return struct.unpack(">H", payload[:2])[0]
    finally:
        peer.visitor.close()


@pytest.fixture
def server(own):
    return own.server()


@pytest.fixture
def owner(server):
    owner = Owner(server)
    owner.settle()
    owner.move(server).close()
    owner.settle()
    return owner


def test_owner_moves(server, owner):
    """A right ATTACH fences the old carrier and goes on from the offsets told."""
    old = owner.move(server)
    assert owner.lives() and old.closed()


# what is asked: the code it gets; the owner is at epoch 1 and has received `received` bytes, all acked
HOSTILE = {
    "wrong token": (403, "bob", lambda o: attach(o.secret, 9, o.received)),
    "wrong secret": (403, "alice", lambda o: attach("ab" * 32, 9, o.received)),
    "proof of another epoch": (403, "alice", lambda o: attach(o.secret, 9, o.received, instead={"epoch": 10})),
    "proof of another offset": (403, "alice", lambda o: attach(o.secret, 9, o.received - 1,
                                                               instead={"rx_offset": o.received})),
    "old epoch": (409, "alice", lambda o: attach(o.secret, 0, o.received)),
    "replayed": (409, "alice", lambda o: attach(o.secret, 1, o.received)),
    "offset never sent": (400, "alice", lambda o: attach(o.secret, 9, o.received + 1)),
    "offset beyond all": (400, "alice", lambda o: attach(o.secret, 9, (1 << 63) - 1)),
    "offset acked long ago": (400, "alice", lambda o: attach(o.secret, 9, 0)),
    "another name": (400, "alice", lambda o: attach(o.secret, 9, o.received, names=(("files", "test"),))),
    "a name not allowed": (403, "alice", lambda o: attach(o.secret, 9, o.received, names=(("bobs", "test"),))),
    "no names": (400, "alice", lambda o: attach(o.secret, 9, o.received, names=())),
    "a name more": (400, "alice", lambda o: attach(o.secret, 9, o.received,
                                                   names=(("shop", "test"), ("files", "test")))),
    "another version": (400, "alice", lambda o: attach(o.secret, 9, o.received, instead={"version": 2})),
    "no json": (400, "alice", lambda o: frame(ATTACH, b"{}")),
    "hello": (409, "alice", lambda o: frame(HELLO, json.dumps({
        "version": 1, "agent": AGENT, "client_key": KEY, "tunnels": [{"name": "shop", "label": "test"}]}).encode())),
}


def bombard(server, owner, times):
    for name, (code, who, make) in HOSTILE.items():
        for _ in range(times):
            assert refused(server, make(owner), who) == code, name
        assert owner.lives(), name


def race(server, owner, rounds):
    """Two right ATTACHes at once, with epochs of their own: one carrier is the link's in the end, and it goes on."""
    for _ in range(rounds):
        peers = [Peer(server, LINK) for _ in range(2)]
        epochs = [owner.epoch + 1, owner.epoch + 2]
        for peer, epoch in zip(peers, epochs):
            peer.send(attach(owner.secret, epoch, owner.received))
        assert peers[1].frame()[0] == ATTACHED
        try:
            assert peers[0].frame()[0] in (ATTACHED, CLOSE)
        except Cut:
            pass  # fenced before its answer had left
        owner.visitor.close()
        peers[0].visitor.close()
        owner.visitor, owner.epoch = peers[1].visitor, epochs[1]
        owner.settle()


def steady(server, do, small, large):
    """Runs do(small), then do(large): what it needs must not grow with how often."""
    do(small)
    time.sleep(1.2)  # refused carriers wait at most a second for the other side to close
    memory, descriptors = server.program.memory("VmRSS"), server.program.descriptors()
    do(large)
    eventually(lambda: server.program.descriptors() <= descriptors, "descriptors are closed")
    grown = server.program.memory("VmRSS") - memory
    assert grown < 2048 + (1 << 20) * bool(server.sanitized), f"{grown} KiB more"


@pytest.fixture
def plain(server):
    """Memory is only measured without sanitizers, which keep what is freed."""
    maps = open(f"/proc/{server.program.pid}/maps").read()
    server.sanitized = "libasan" in maps
    return server


def test_hostile_attaches(plain, owner):
    """Whoever is not the owner, or comes late, gets a code; the owner's carrier stays, memory and descriptors too."""
    steady(plain, lambda n: bombard(plain, owner, n), 5, 20)


def test_refused_carriers_go(server, owner):
    """A refused carrier that its peer has closed is gone at once: many in a second keep nobody out."""
    for _ in range(600):
        assert refused(server, attach("ab" * 32, 9, owner.received)) == 403
    owner.move(server)
    assert owner.lives()


def test_racing_attaches(plain, owner):
    """See race."""
    steady(plain, lambda n: race(plain, owner, n), 50, 150)


@pytest.mark.soak
def test_ten_thousand_hostile_attaches(plain, owner):
    """10 000 of each."""
    steady(plain, lambda n: bombard(plain, owner, n), 100, 10000)
    steady(plain, lambda n: race(plain, owner, n), 100, 10000)


def test_unknown_link(server, owner):
    """ATTACH to a link that is not there gets 410."""
    other = "f" * 32
    assert refused(server, attach(owner.secret, 9, link_id=other), link_id=other) == 410


def test_half_an_attach(server, owner):
    """An ATTACH that never becomes complete touches nothing."""
    whole = attach(owner.secret, 9, owner.received)
    peers = [Peer(server, LINK) for _ in range(4)]
    for peer, part in zip(peers, (0, 1, 4, len(whole) - 1)):
        peer.send(whole[:part])
    assert owner.lives()
    for peer in peers:
        peer.visitor.reset()
    assert owner.lives()
    assert owner.move(server) and owner.lives()


def test_attach_answer_lost(server, owner):
    """Whoever does not hear ATTACHED comes again with a higher epoch, and nothing is lost."""
    for _ in range(20):
        owner.epoch += 1
        peer = Peer(server, LINK)
        peer.send(attach(owner.secret, owner.epoch, owner.received))
        peer.visitor.reset()
    # whether an ATTACH was read before the RST is chance; the next one always is
    owner.move(server)
    assert owner.lives()


def test_close_behind_attach(server, owner):
    """ATTACH and CLOSE in one piece: the link is attached and over."""
    peer = Peer(server, LINK)
    peer.send(attach(owner.secret, 9, owner.received) + frame(CLOSE, struct.pack(">H", 503)))
    server.program.wait_event("link.closed")
    assert refused(server, attach(owner.secret, 10, owner.received)) == 410


def test_garbage_behind_attach(server, owner):
    """What is no frame right behind an ATTACH ends the link with CLOSE(400), and aditd lives."""
    peer = Peer(server, LINK)
    peer.send(attach(owner.secret, 9, owner.received) + b"\xff" * 40)
    assert peer.frame()[0] == ATTACHED
    assert peer.close_code() == 400
    server.program.wait_event("link.down")
    assert server.program.alive()


def test_resume_turned_off(own):
    """resume_seconds 0: WELCOME says so, and a link ends with its carrier."""
    server = own.server(resume_seconds=0)
    peer = Peer(server, LINK)
    welcome = peer.welcome()
    assert welcome["resume_ms"] == 0
    peer.visitor.close()
    server.program.wait_event("link.down")
    assert refused(server, attach(welcome["secret"], 1)) == 410


def test_detached_too_long(own):
    """A link that nobody resumes is gone after resume_seconds, and ATTACH gets 410."""
    server = own.server(resume_seconds=1)
    owner = Owner(server)
    owner.settle()
    owner.visitor.close()
    server.program.wait_event("link.down", detail="nobody resumed it in time", timeout=5)
    assert refused(server, attach(owner.secret, 1, owner.received)) == 410


def test_detached_links_make_room(own):
    """A name that eight dead links hold is given to a ninth as soon as they have been dead for 2 s."""
    server = own.server()
    for i in range(8):
        peer = Peer(server, f"{i:032x}")
        peer.welcome()
        peer.visitor.reset()
    eventually(lambda: len(server.program.events("link.detached")) == 8, "all are detached")
    assert refused(server, HOSTILE["hello"][2](None), link_id="e" * 32) == 503
    time.sleep(2.2)
    assert Peer(server, "f" * 32).welcome()["tunnels"][0]["name"] == "shop"
    server.program.wait_event("link.down", detail="another link needs its place")


def test_all_links_can_be_resumed(own):
    """A token that has as many links as it may can still attach each of them elsewhere."""
    server = own.server()
    owner = Owner(server)
    owner.settle()
    others = [Peer(server, f"{i:032x}") for i in range(1, 256)]  # greeting ones count as well
    owner.move(server)
    assert owner.lives()
    for peer in others:
        peer.visitor.close()


def test_thousands_of_moves(plain, owner):
    """A link that moves again and again, fenced and after a loss, costs no more memory and no descriptor."""
    def moves(times):
        for i in range(times):
            if i % 2:
                owner.visitor.reset()
            owner.move(plain).close()
            if i % 50 == 0:
                owner.settle()
        assert owner.lives()

    steady(plain, moves, 500, 1500)
