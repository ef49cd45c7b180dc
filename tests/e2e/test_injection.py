"""Nothing that an HTTP/2 visitor writes becomes a line of HTTP/1.1: the matrix of injection_cases.py, and the rules
of h2_rules.py once more with every byte that the origin got."""
import pytest

import h2_rules
from h2frames import PROTOCOL, RawVisitor
from injection_cases import CASES
from recorder import FENCE, RecordedWay, wire

NEXT = wire("GET", "/next")


@pytest.fixture(scope="module")
def way(base, authority, nginx, reports):
    from conftest import Own
    folder = base / "injection"
    folder.mkdir()
    own = Own(folder, authority, nginx)
    yield RecordedWay(own)
    own.end()


def is_refused(answer):
    """By a stream error, or an answer of aditd's own."""
    if answer.reset in (None, 0):
        assert answer.status in (400, 501) and answer.get("proxy-status").startswith("aditd;"), answer.heads
    else:
        assert (answer.reset, answer.status) == (PROTOCOL, None)


def ask(way, v, case):
    """The request; its trailers when the origin has the rest."""
    connect = (b":method", b"CONNECT") in [(n if isinstance(n, bytes) else n.encode(), x) for n, x in case.fields]
    stream = v.head(case.fields, end=case.trailers is None and not connect)
    if case.trailers is not None:
        v.data(stream, b"hi")
        way.wait_bytes(case.cut or case.seen[:case.seen.rindex(b"0\r\n")])
        v.trailers(stream, case.trailers)
    return stream


@pytest.mark.parametrize("name", CASES)
def test_bytes(way, name):
    """The origin gets the request's own bytes, or nothing; and then the next request on the connection."""
    case = CASES[name]
    way.origin.serve(None)
    with RawVisitor(way.aditd) as v:
        answer = v.greeted().whole(ask(way, v, case))
        if case.seen is None:
            is_refused(answer)
        else:
            assert answer.status == (502 if b"upgrade: " in case.seen else 200), answer.status
        for path in ("/next", FENCE, FENCE):
            assert v.fetch(path=path).data == path.encode()
    got = way.origin.messages()
    assert b"".join(m for _, m, _ in got) == (case.seen or case.cut or b"") + NEXT
    assert not (case.cut and got[0][2])


STREAM_RULES = {name: rule for name, rule in h2_rules.CASES.items() if not isinstance(rule[1], h2_rules.Connection)
                and rule[1].seen in (False, "cut") and not isinstance(rule[1], h2_rules.Ignored)}


@pytest.mark.parametrize("name", STREAM_RULES)
def test_rule_byte_by_byte(way, name):
    """Of a request that breaks HTTP/2's rules the origin gets no byte, or a message that does not end."""
    act, expect = STREAM_RULES[name]
    way.origin.serve(None)
    with RawVisitor(way.aditd) as v:
        expect.check(v, act(v.greeted()))
    way.fence()
    got = way.origin.messages()
    assert [whole for _, _, whole in got] == ([] if expect.seen is False else [False] * len(got)), got
