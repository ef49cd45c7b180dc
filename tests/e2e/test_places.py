"""What a request takes up until adit has really let go of it: visitors who reset while the tunnel stalls."""
import threading
import time

import pytest

from h2frames import REFUSED, RawVisitor
from way import Way
from wire import eventually

STREAMS = 128  # of one connection


class Work:
    """An origin that works on each request until it is cut."""

    def __init__(self, origin):
        self.running = self.most = 0
        self.lock = threading.Lock()
        origin.serve(self.answer)

    def answer(self, connection, request):
        if request.target == "/quick":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nquick")
            return
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
        connection.wait_gone(30)
        with self.lock:
            self.running -= 1


@pytest.fixture
def way(own):
    return Way(own, carrier="direct")


def waves(v, times, size=100):
    """Requests and their resets, again and again; those that were not refused."""
    streams = []
    for _ in range(times):
        now = [v.ask(path="/slow") for _ in range(size)]
        v.ping()  # all of them have been looked at
        for stream in now:
            v.rst(stream)
        streams += now
    time.sleep(0.1)
    v.ping()  # refusals come behind the answers to PING
    assert not v.goaway
    return [s for s in streams if v.answer(s).reset is None]


def test_resets_while_the_tunnel_stalls(way):
    """As long as adit does not know of a reset its request is one of the connection's: the others are refused. When the
    tunnel moves again there is room again."""
    work = Work(way.origin)
    with RawVisitor(way.server) as v, RawVisitor(way.server) as other:
        v.greeted()
        began = [v.ask(path="/slow") for _ in range(100)]
        eventually(lambda: work.running == 100, "all at the origin")
        for passage in list(way.relay.passages):
            passage.holed = True
        for stream in began:
            v.rst(stream)
        sent = waves(v, 3)
        assert len(began) + len(sent) == STREAMS
        assert v.whole(v.ask(path="/slow")).reset == REFUSED
        assert other.greeted().ask(path="/slow")  # its places are its own
        time.sleep(0.3)
        assert work.running == 100
        way.relay.heal()
        eventually(lambda: work.running <= 1, "the origin is told of all of them")
        eventually(lambda: v.fetch(path="/quick").data == b"quick", "room for him")
        print(f"at most {work.most} at the origin")
        assert work.most <= STREAMS + 1


@pytest.mark.parametrize("resume", [True, False], ids=["resumed", "lost"])
def test_places_outlive_no_link(own, resume):
    """Places come back when the link has moved to another carrier, and when it is lost for good."""
    way = Way(own, carrier="direct", **({} if resume else {"resume_seconds": 0}))
    work = Work(way.origin)
    with RawVisitor(way.server) as v:
        v.greeted()
        began = [v.ask(path="/slow") for _ in range(STREAMS)]
        eventually(lambda: work.running == STREAMS, "all at the origin")
        for passage in list(way.relay.passages):
            passage.holed = True
        for stream in began:
            v.rst(stream)
        v.ping()
        assert v.whole(v.ask(path="/slow")).reset == REFUSED
        way.relay.cut("reset")
        eventually(lambda: v.fetch(path="/quick").data == b"quick", "room for him", 20)
        assert len([v.ask(path="/quick") for _ in range(STREAMS)]) == STREAMS
        v.until(lambda: all(v.answer(s).over for s in range(v.next_id - 2 * STREAMS, v.next_id, 2)), "all of them")
        assert {v.answer(s).status for s in range(v.next_id - 2 * STREAMS, v.next_id, 2)} == {200}
        eventually(lambda: work.running == 0, "the origin is told")


def test_many_who_reset(way):
    """A session has 1024 places for all: who comes when they are taken waits until adit knows of the resets."""
    work = Work(way.origin)
    visitors = [RawVisitor(way.server).greeted() for _ in range(9)]
    for v in visitors[:8]:
        v.streams = [v.ask(path="/slow") for _ in range(STREAMS)]
        v.ping()
    eventually(lambda: work.running == 8 * STREAMS, "all at the origin", 20)
    for passage in list(way.relay.passages):
        passage.holed = True
    for v in visitors[:8]:
        for stream in v.streams:
            v.rst(stream)
        v.ping()
    late = visitors[8].ask(path="/quick")
    visitors[8].ping()
    time.sleep(0.5)
    assert not visitors[8].answer(late).heads
    way.relay.heal()
    assert visitors[8].whole(late).data == b"quick"
    eventually(lambda: work.running == 0, "the origin is told")
    for v in visitors:
        v.close()
