"""gRPC through the tunnel: each kind of call, errors, deadlines, cancellation, many at once, and cuts."""
import os
import threading
import time

import pytest

grpc = pytest.importorskip("grpc", reason="python3-grpcio is not installed: sh contrib/deps.sh test")

from grpcwire import TIMEOUT, Calls, GrpcOrigin  # noqa: E402  (grpc may be missing)
from harness import DOMAIN, adit_http  # noqa: E402
from relay import Relay  # noqa: E402
from way import Saw  # noqa: E402
from wire import eventually  # noqa: E402

HOST = f"shop.{DOMAIN}"
MEGABYTE = 1 << 20


class Way:
    """gRPC client, aditd, relay, adit, gRPC server."""

    def __init__(self, own, origin, *flags, **options):
        self.origin, self.aditd = own.keep(origin), own.server(**options)
        self.relay = own.keep(Relay(self.aditd.tls_port))
        common = ["--server", f"https://127.0.0.1:{self.relay.port}", "--server-name", DOMAIN, "--ca",
                  self.aditd.authority.ca, "--log-format", "json"]
        self.adit = own.keep(adit_http(self.aditd, own.folder / "adit", origin.address, "--name", "shop", *flags,
                                       common=common))
        self.adit.wait_event("published")

    def calls(self, tls=True):
        port = self.aditd.tls_port if tls else self.aditd.plain_port
        return Calls(port, HOST, self.aditd.authority.ca if tls else None)


@pytest.fixture(scope="module", params=["h2c", "h2"])
def way(request, base, authority, nginx, reports):
    from conftest import Own
    folder = base / f"grpc-{request.param}"
    folder.mkdir()
    own = Own(folder, authority, nginx)
    if request.param == "h2":
        certificate, key = folder / "origin.pem", folder / "origin.key"
        authority.issue(certificate, key, names=("origin.test",))
        way = Way(own, GrpcOrigin(key, certificate, threads=1100), "--origin-ca", authority.ca,
                  "--origin-server-name", "origin.test")
    else:
        way = Way(own, GrpcOrigin(threads=1100))
    yield way
    own.end()


@pytest.fixture(autouse=True)
def quiet(request):
    yield
    if "way" in request.fixturenames:
        way = request.getfixturevalue("way")
        assert way.adit.alive() and way.aditd.program.alive()


def status_of(call, *args, **options):
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as e:
        result = call(*args, timeout=options.pop("timeout", TIMEOUT), **options)
        if hasattr(result, "__iter__") and not isinstance(result, bytes):
            list(result)
    return e.value


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
def test_each_kind_of_call(way, tls):
    """One message or many, in each direction, with trailers; none is lost, doubled or reordered."""
    with way.calls(tls) as calls:
        assert calls.unary(b"hello", timeout=TIMEOUT) == b"olleh"
        assert calls.unary(b"", timeout=TIMEOUT) == b""
        counted = calls.count(b"500", timeout=TIMEOUT)
        assert list(counted) == [str(i).encode() for i in range(500)]
        assert dict(counted.trailing_metadata())["x-count"] == "500"
        assert calls.sum(iter([b"x" * i for i in range(200)]), timeout=TIMEOUT) == str(sum(range(200))).encode()
        words = [os.urandom(i) for i in range(300)]
        echo = calls.echo(iter(words), timeout=TIMEOUT)
        assert list(echo) == words and dict(echo.trailing_metadata())["x-end"] == "echo"


def test_conversation(way):
    """Each message is answered before the next one is sent."""
    turn = threading.Semaphore(0)

    def words():
        for i in range(20):
            yield b"word %d" % i
            assert turn.acquire(timeout=TIMEOUT)

    with way.calls() as calls:
        for i, word in enumerate(calls.echo(words(), timeout=TIMEOUT)):
            assert word == b"word %d" % i
            turn.release()
        assert i == 19


def test_metadata_and_deadline_arrive(way):
    """Metadata arrives as sent; the server knows how much time the client gives it."""
    with way.calls() as calls:
        calls.unary(b"x", timeout=7, metadata=(("x-a", "1"), ("x-b-bin", b"\x00\x01\xfe")))
    method, metadata, left = way.origin.calls[-1]
    assert metadata["x-a"] == "1" and metadata["x-b-bin"] == b"\x00\x01\xfe" and 4 < left <= 7, (metadata, left)


def test_error_status(way):
    """A status with message and metadata comes as one block without a body (trailers-only), and as itself."""
    with way.calls() as calls:
        for _ in range(3):
            e = status_of(calls.fail, b"")
            assert (e.code(), e.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "not today: 100 % ü")
            trailers = dict(e.trailing_metadata())
            assert trailers["x-why"] == "because" and trailers["x-why-bin"] == b"\x00\xff"
        e = status_of(calls.channel.unary_unary("/t.Test/Nothing"), b"")
        assert e.code() == grpc.StatusCode.UNIMPLEMENTED


def test_deadline(way):
    """A deadline that passes ends the call on both sides."""
    way.origin.cancelled.clear()
    with way.calls() as calls:
        began = time.monotonic()
        e = status_of(calls.hang, b"", timeout=0.5)
        assert e.code() == grpc.StatusCode.DEADLINE_EXCEEDED and time.monotonic() - began < 3
        assert way.origin.cancelled.wait(3)
    assert 0 < way.origin.calls[-1][2] <= 0.5


def test_client_cancels(way):
    """A call that its client cancels is cancelled at the server at once; other calls of the channel go on."""
    way.origin.cancelled.clear()
    with way.calls() as calls:
        call = calls.hang(b"", timeout=TIMEOUT)
        assert next(call) == b"begun"
        began = time.monotonic()
        call.cancel()
        assert way.origin.cancelled.wait(3)
        print(f"the server knew after {(time.monotonic() - began) * 1000:.1f} ms")
        assert calls.unary(b"ab", timeout=TIMEOUT) == b"ba"


def test_client_goes_away(way):
    """So is one whose client ends its channel."""
    way.origin.cancelled.clear()
    calls = way.calls()
    call = calls.hang(b"", timeout=TIMEOUT)
    assert next(call) == b"begun"
    calls.channel.close()
    assert way.origin.cancelled.wait(3)


def test_large_messages(way):
    """10 MB each way, in one message."""
    body = os.urandom(10 * MEGABYTE)
    with way.calls() as calls:
        assert calls.unary(body, timeout=60) == body[::-1]
        assert list(calls.echo(iter([body, b"x", body]), timeout=60)) == [body, b"x", body]


def test_thousand_calls(way):
    """A thousand calls at once, on ten connections: all of them run at the same time, and all are answered."""
    way.origin.most = 0
    way.origin.all.clear()
    channels = [way.calls() for _ in range(10)]
    began = time.monotonic()
    futures = [channels[i % 10].wait.future(b"%d" % i, timeout=60) for i in range(1000)]
    eventually(lambda: way.origin.most == 1000, lambda: f"1000 run at once, not {way.origin.most}", timeout=30)
    way.origin.all.set()
    assert [f.result(60) for f in futures] == [b"%d" % i for i in range(1000)]
    print(f"1000 calls in {time.monotonic() - began:.2f} s, {way.origin.most} at once")
    for calls in channels:
        calls.channel.close()


@pytest.mark.parametrize("carrier", ["direct", "ws-h2", "ws-h1", "poll"])
def test_stream_lives_through_cuts(own, carrier):
    """A conversation while the carrier is cut again and again: each message comes once, in order; calls beside it too."""
    way = Way(own, GrpcOrigin(), "--carrier", carrier)
    count, beside = 300, []

    def words():
        for i in range(count):
            yield b"%d:" % i + os.urandom(2000)
            time.sleep(0.01)

    with way.calls() as calls, way.calls() as others, Saw(way.relay, seed=5) as saw:
        kept = []
        back = calls.echo((kept.append(w) or w for w in words()), timeout=60)
        one = threading.Thread(target=lambda: beside.extend(others.unary(b"%d" % i, timeout=30) for i in range(100)))
        one.start()
        got = list(back)
        one.join(60)
    assert got == kept and len(got) == count
    assert beside == [(b"%d" % i)[::-1] for i in range(100)]
    assert saw.cuts > 5 and (carrier == "poll" or way.adit.events("moved")), "nothing was cut"


def test_server_is_replaced(own):
    """A server that is replaced (GOAWAY) finishes what runs; later calls are UNAVAILABLE, then reach its successor."""
    way = Way(own, GrpcOrigin())
    origin, port = way.origin, way.origin.port
    with way.calls() as calls:
        future = calls.wait.future(b"x", timeout=TIMEOUT)
        eventually(lambda: origin.running == 1, "the call runs")
        stopping = threading.Thread(target=origin.stop, args=(10,))
        stopping.start()
        time.sleep(0.3)
        origin.all.set()
        assert future.result(TIMEOUT) == b"x"
        stopping.join(TIMEOUT)
        e = status_of(calls.unary, b"x")
        assert e.code() == grpc.StatusCode.UNAVAILABLE, e
        own.things.remove(origin)
        own.keep(GrpcOrigin(port=port))
        assert calls.unary(b"ab", timeout=TIMEOUT) == b"ba"


def test_no_server(own):
    """A server that is not there is UNAVAILABLE, which clients try again; a name that is nobody's is not."""
    way = Way(own, GrpcOrigin())
    way.origin.stop()
    with way.calls() as calls:
        e = status_of(calls.unary, b"x")
        assert e.code() == grpc.StatusCode.UNAVAILABLE
        assert e.details() == f"adit: connection refused: {way.origin.address}"
    with Calls(way.aditd.plain_port, f"nobody.{DOMAIN}") as calls:
        e = status_of(calls.unary, b"x")
        assert (e.code(), e.details()) == (grpc.StatusCode.UNIMPLEMENTED, "aditd: no tunnel has this name")
