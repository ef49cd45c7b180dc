"""Fields: what a proxy takes out of a message, what it puts in, and whom it believes. Bad answers: test_bad_origins.py."""
from wire import Visitor, lines, reply


def test_forwarded_fields(world):
    """The origin learns the visitor's address, scheme and host, in X-Forwarded-* and in Forwarded."""
    world.fetch()
    request = world.origin.requests[0]
    assert request.all("x-forwarded-for") == ["127.0.0.1"]
    assert request.all("x-forwarded-proto") == ["http"]
    assert request.all("x-forwarded-host") == ["shop.tunnel.test"]
    [forwarded] = request.all("forwarded")
    assert "for=127.0.0.1" in forwarded and "proto=http" in forwarded and "host=shop.tunnel.test" in forwarded
    assert request.all("host") == ["shop.tunnel.test"]


def test_forwarded_proto_https(world):
    """A visitor over TLS is reported as https."""
    with world.visit(tls=True) as visitor:
        assert visitor.fetch().status == 200
    request = world.origin.requests[0]
    assert request.all("x-forwarded-proto") == ["https"] and "proto=https" in request.get("forwarded")


SPOOFED = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https"),
           ("X-Forwarded-Host", "shop.tunnel.test"),
           ("Forwarded", "for=203.0.113.9;proto=https"), ("X-Real-IP", "203.0.113.9")]


def test_spoofed_fields_are_stripped(world):
    """What a visitor says about himself is not passed on."""
    world.fetch(fields=SPOOFED)
    request = world.origin.requests[0]
    assert not [f for f in request.fields if "203.0.113.9" in f[1]], request.fields
    assert request.all("x-forwarded-for") == ["127.0.0.1"] and request.all("x-forwarded-proto") == ["http"]


def test_trusted_proxy_is_believed(world):
    """A proxy in trusted_proxies is believed, and its chain is extended by its own address."""
    with world.visit(source="127.0.0.2") as visitor:
        assert visitor.fetch(fields=SPOOFED).status == 200
    request = world.origin.requests[0]
    chain = [part.strip() for value in request.all("x-forwarded-for") for part in value.split(",")]
    assert chain == ["203.0.113.9", "127.0.0.2"]
    assert request.all("x-forwarded-proto") == ["https"]


def test_routing_by_forwarded_host(world):
    """X-Forwarded-Host chooses the tunnel only when a trusted proxy says it."""
    fields = [("X-Forwarded-Host", "shop.tunnel.test")]
    for source, status in (("127.0.0.2", 200), ("127.0.0.1", 404)):
        with Visitor(world.server.plain_port, "ingress.example", source=source) as visitor:
            assert visitor.fetch(fields=fields).status == status
    assert len(world.origin.requests) == 1


def test_hop_by_hop_request(world):
    """Connection-bound fields of a request, and what Connection names, stay behind; the others pass."""
    world.fetch(fields=[("Connection", "keep-alive, X-Mine"), ("X-Mine", "1"), ("Keep-Alive", "timeout=5"),
                        ("Proxy-Connection", "keep-alive"), ("TE", "gzip"), ("HTTP2-Settings", "AAMAAABk"),
                        ("Proxy-Authorization", "Basic eA=="), ("Upgrade", "h2c"), ("Adit-Version", "9"),
                        ("X-Yours", "2"), ("Authorization", "Bearer visitor"), ("Cookie", "a=1; b=2")])
    request = world.origin.requests[0]
    for name in ("x-mine", "keep-alive", "proxy-connection", "te", "http2-settings", "proxy-authorization", "upgrade",
                 "adit-version"):
        assert request.all(name) == [], name
    assert "x-mine" not in (request.get("connection") or "").lower()
    assert request.get("x-yours") == "2" and request.get("authorization") == "Bearer visitor"
    assert request.get("cookie") == "a=1; b=2"


def test_hop_by_hop_response(world):
    """Connection-bound fields of an answer stay behind; Set-Cookie fields stay apart."""
    fields = [("Connection", "X-Mine"), ("X-Mine", "1"), ("Keep-Alive", "timeout=5"), ("Proxy-Connection", "close"),
              ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Yours", "2")]
    world.origin.serve(lambda c, r: c.send(reply(200, b"x", fields)))
    response = world.fetch()
    for name in ("x-mine", "keep-alive", "proxy-connection"):
        assert response.all(name) == [], name
    assert response.all("set-cookie") == ["a=1", "b=2"] and response.get("x-yours") == "2"


def test_host_header(world):
    """host_header rewrites Host for the origin; the visitor's stands in X-Forwarded-Host."""
    assert world.fetch("alice-host").status == 200
    request = world.origin.requests[0]
    assert request.all("host") == ["inner.example:8080"]
    assert request.all("x-forwarded-host") == ["alice-host.tunnel.test"]


def test_host_case_port_and_dot(world):
    """Names are found whatever the case of Host, with a port and with a trailing dot."""
    for host in ("SHOP.Tunnel.TEST", f"shop.tunnel.test:{world.server.plain_port}", "shop.tunnel.test."):
        with Visitor(world.server.plain_port, host) as visitor:
            assert visitor.fetch().status == 200, host


def test_absolute_form(world):
    """A target in absolute form is accepted and reaches the origin in origin-form."""
    assert world.fetch(target="http://shop.tunnel.test/abs?x=1").status == 200
    assert world.origin.requests[0].target == "/abs?x=1"


def test_request_cannot_choose_origin(world):
    """Neither path nor fields of a request make adit connect anywhere but to its origin."""
    for target in ("//127.0.0.1:9/", "/http://127.0.0.1:9/", "/@127.0.0.1:9"):
        assert world.fetch(target=target).status == 200
    assert [r.target for r in world.origin.requests] == ["//127.0.0.1:9/", "/http://127.0.0.1:9/", "/@127.0.0.1:9"]


def test_path_under_tunnel_belongs_to_origin(world):
    """Under a tunnel's name even /_adit/ is the origin's."""
    assert world.fetch(target="/_adit/v1/00000000000000000000000000000000/direct").status == 200
    assert len(world.origin.requests) == 1
