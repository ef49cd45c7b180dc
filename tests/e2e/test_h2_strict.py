"""RFC 9113 sections 4 to 8, rule by rule, in raw frames: the cases of h2_rules.py, without TLS and with it."""
import threading
import time

import pytest

from h2_rules import CASES, Connection
from h2frames import RawVisitor
from wire import eventually, reply


class Beside:
    """An origin where one request waits beside what a case does; who else gets there is written down."""

    def __init__(self, world):
        self.world, self.go, self.whole = world, threading.Event(), []
        world.origin.serve(self.answer)

    def answer(self, connection, request):
        if request.target == "/beside":
            self.go.wait(20)
        if request.target == "/slow":
            connection.wait_gone(20)
            return
        if request.target == "/unread":
            time.sleep(1)
            return
        request.read()
        self.whole.append(request.target)
        connection.send(reply(200, b"answered"))

    def saw(self):
        return [r.target for r in self.world.origin.requests]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", CASES)
def test_rule(world, name, tls):
    """What comes back is what the rule wants; the origin sees no request of what is none; other streams live on."""
    act, expect = CASES[name]
    beside = Beside(world)
    with RawVisitor(world.server, tls=tls) as v:
        held = v.greeted().ask(path="/beside")
        eventually(lambda: "/beside" in beside.saw(), "the request beside it")
        stream = act(v)
        expect.check(v, stream)
        if not isinstance(expect, Connection):
            beside.go.set()
            assert v.whole(held).data == b"answered"
            assert v.fetch(path="/after").data == b"answered" and v.goaway is None
        beside.go.set()
    if expect.seen is not True:
        assert not [t for t in beside.whole if t not in ("/beside", "/after", "/open")], beside.whole
    if not expect.seen:
        assert "/bad" not in beside.saw()
