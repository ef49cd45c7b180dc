"""gRPC over every carrier through every real ingress: the rows that gRPC adds to the matrix of test_ingress.py.

Where an ingress speaks HTTP/2 to aditd, or passes TLS through, its clients go the same way; elsewhere straight to
aditd.
"""
import pytest

pytest.importorskip("grpc", reason="python3-grpcio is not installed: sh contrib/deps.sh test")

import harness  # noqa: E402  (grpc may be missing)
from grpcwire import TIMEOUT, Calls, GrpcOrigin  # noqa: E402
from harness import DOMAIN  # noqa: E402
from test_ingress import CARRIERS, WORKS, Road, ingress  # noqa: E402

# the files of contrib/ingress that bring HTTP/2 with trailers to aditd
THROUGH = ("none", "haproxy-h2", "haproxy-passthrough", "haproxy-alpn", "nghttpx-h2")


@pytest.fixture(scope="module", params=list(WORKS))
def road(request, base, authority, reports):
    binary = ingress.missing(request.param)
    if binary:
        pytest.skip(f"{binary} is not installed: sh contrib/deps.sh test")
    road = Road(base / f"grpc-{request.param}", authority, request.param)
    road.grpc = GrpcOrigin()
    yield road
    road.grpc.stop()
    road.end()


@pytest.mark.parametrize("carrier", CARRIERS)
def test_grpc(road, carrier, request):
    """A unary call, an error with trailers only, and a conversation."""
    if carrier not in WORKS[road.kind][1]:
        pytest.skip("that carrier does not work there: test_ingress.py")
    request.node.stage_folder = road.folder
    common = ["--server", f"https://127.0.0.1:{road.ingress.port}", "--server-name", DOMAIN, "--ca", road.authority.ca,
              "--log-format", "json"]
    adit = harness.adit_http(road.server, road.folder / f"adit-{carrier}", road.grpc.address, "--name", "shop",
                             "--carrier", carrier, common=common)
    try:
        adit.wait_event("published")
        port = road.ingress.port if road.kind in THROUGH else road.server.tls_port
        with Calls(port, f"shop.{DOMAIN}", road.authority.ca) as calls:
            assert calls.unary(b"hello", timeout=TIMEOUT) == b"olleh"
            words = [b"%d" % i * 100 for i in range(100)]
            echo = calls.echo(iter(words), timeout=TIMEOUT)
            assert list(echo) == words and dict(echo.trailing_metadata())["x-end"] == "echo"
            error = calls.fail.future(b"", timeout=TIMEOUT).exception(TIMEOUT)
            assert error.details() == "not today: 100 % ü" and dict(error.trailing_metadata())["x-why"] == "because"
        assert not adit.events("down"), adit.text
        adit.stop()
    finally:
        adit.kill()
