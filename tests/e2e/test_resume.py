"""What visitors notice when the connection between adit and its server breaks: a pause."""
import hashlib
import os
import random
import threading
import time

import pytest

import harness
from relay import Relay
from wire import eventually, reply

MEGABYTE = 1 << 20


class Way:
    """aditd, adit through a relay that breaks, and an origin."""

    def __init__(self, own, origin=None, *flags, carrier="auto", **config):
        self.server = own.server(**config)
        self.relay = own.keep(Relay(self.server.tls_port))
        self.origin = own.origin() if origin is None else origin
        self.adit = own.keep(harness.adit_http(
            self.server, own.folder / "adit", self.origin.address, "--name", "shop", "--carrier", carrier, *flags,
            "--trace", "trace.json", common=[
                "--server", f"https://127.0.0.1:{self.relay.port}", "--server-name", harness.DOMAIN,
                "--ca", own.authority.ca, "--log-format", "json"]))
        self.adit.wait_event("published")


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


@pytest.mark.parametrize("carrier", ["direct", "ws-h1", "ws-h2", "poll"])
def test_download_cut_all_the_time(own, carrier):
    """20 MB down while the connection is cut every 200 ms at some byte: all of it comes, once."""
    way = Way(own, carrier=carrier)
    body = os.urandom(MEGABYTE) * 20

    def serve(connection, request):
        answer = reply(200, body)
        for at in range(0, len(answer), MEGABYTE):
            connection.send(answer[at:at + MEGABYTE])
            time.sleep(0.1)

    way.origin.serve(serve)
    over = threading.Event()

    def saw():
        rng = random.Random(1)
        while not over.wait(0.2):
            way.relay.cut(rng.choice(("reset", "fin", "half")), after=rng.randrange(200000))

    thread = threading.Thread(target=saw, daemon=True)
    thread.start()
    try:
        answer = way.server.fetch(target="/big")
    finally:
        over.set()
        thread.join()
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()
    # poll mends a cut connection by itself, the link need not
    assert way.relay.count > 3 if carrier == "poll" else len(way.adit.events("moved")) >= 3
