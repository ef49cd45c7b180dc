"""What visitors notice when the connection between adit and its server breaks: a pause."""
import signal
import threading
import time

import pytest

from way import Way
from wire import reply


@pytest.fixture
def way(own):
    return Way(own)


@pytest.mark.parametrize("how", ["reset", "fin", "half"])
def test_request_under_way(way, how):
    """The connection breaks between a request and its answer: the visitor gets the answer, and the origin one request."""
    asked, go = threading.Event(), threading.Event()

    def serve(connection, request):
        asked.set()
        go.wait(10)
        connection.send(reply(200, b"late but right"))

    way.origin.serve(serve)
    with way.server.visit() as visitor:
        visitor.ask("POST", "/order", body=b"one, please")
        assert asked.wait(5)
        way.relay.cut(how)
        go.set()
        answer = visitor.read("POST")
    assert (answer.status, answer.body) == (200, b"late but right")
    assert way.origin.received().count(b"POST /order") == 1
    assert way.adit.wait_event("moved")["away_ms"] < 2000


def test_request_while_away(way):
    """A request that comes while there is no connection waits for it."""
    way.relay.closed = True
    way.relay.cut("reset")
    way.adit.wait_event("down")
    timer = threading.Timer(1.0, setattr, (way.relay, "closed", False))
    timer.start()
    began = time.monotonic()
    assert way.server.fetch(target="/held").status == 200
    assert time.monotonic() - began > 0.5


def test_told_to_end_while_away(way):
    """SIGTERM of adit with a request under way and no connection: it comes back for that, and then ends."""
    asked, go = threading.Event(), threading.Event()

    def serve(connection, request):
        asked.set()
        go.wait(10)
        connection.send(reply(200, b"the last one"))

    way.origin.serve(serve)
    with way.server.visit() as visitor:
        visitor.ask("POST", "/last", body=b"x")
        assert asked.wait(5)
        way.relay.closed = True
        way.relay.cut("reset")
        way.adit.wait_event("down")
        way.adit.signal(signal.SIGTERM)
        way.adit.wait_event("draining")
        go.set()
        way.relay.closed = False
        answer = visitor.read("POST")
    assert (answer.status, answer.body) == (200, b"the last one")
    assert way.adit.wait() == 0


def test_token_revoked_while_away(way):
    """The token is taken out of the config while there is no connection: the link ends, and adit stops and says so."""
    way.relay.closed = True
    way.relay.cut("reset")
    way.adit.wait_event("down")
    way.server.config["tokens"] = [way.server.token("bob")]
    way.server.write()
    way.server.program.hang_up()
    way.server.program.wait_event("link.down")
    way.relay.closed = False
    assert way.adit.wait() == 3
