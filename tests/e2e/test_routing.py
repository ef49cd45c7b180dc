"""Which request goes where: several names of a tunnel, wildcards, custom domains, routes by path."""
import hashlib
import json
import ssl

import pytest

from harness import DOMAIN, TOKENS
from wire import Visitor, eventually, reply


def token(who, *names):
    return {"name": who, "sha256": hashlib.sha256(TOKENS[who].encode()).hexdigest(), "names": list(names)}


def saying(own, text):
    """An origin that answers with its own name, the path and the Host that reached it."""
    origin = own.origin()
    origin.serve(lambda c, r: c.send(reply(200, b" ".join([text, r.target.encode(), r.get("host").encode()]))))
    return origin


def ask(server, host, target="/", tls=None):
    with Visitor(server.tls_port if tls else server.plain_port, host, tls=tls) as visitor:
        return visitor.fetch("GET", target)


def test_several_names(own):
    """One tunnel has several names, a custom domain among them; all lead to its origin."""
    server = own.server(tokens=[token("alice", "shop", "store", "www.shop.example")])
    origin = saying(own, b"one")
    adit = own.http(server, origin.port, "--name", "shop,store,WWW.Shop.Example")
    adit.wait_event("published", name="www.shop.example")
    for host in (f"shop.{DOMAIN}", f"store.{DOMAIN}", "www.shop.example", "WWW.SHOP.example"):
        response = ask(server, host)
        assert response.status == 200 and response.body == f"one / {host}".encode(), response
    assert [record["url"].split("//")[1].split(":")[0] for record in adit.events("published")] == [
        f"shop.{DOMAIN}", f"store.{DOMAIN}", "www.shop.example"]
    assert ask(server, "shop.example").status == 404


def test_wildcards(own):
    """A wildcard takes the names directly below that nobody has; a name of its own comes first."""
    server = own.server(tokens=[token("alice", "*", "*.preview.example"), token("bob", "shop")])
    all_names, previews, shop = (saying(own, text) for text in (b"all", b"preview", b"shop"))
    own.tunnels(server, {"*": all_names.port, "*.preview.example": previews.port})
    bob = own.http(server, shop.port, "--name", "shop", who="bob", folder="bob")
    bob.wait_event("published")

    def answers(host):
        return ask(server, host).body.split()[0].decode(errors="replace")

    assert answers(f"shop.{DOMAIN}") == "shop"
    assert answers(f"anything.{DOMAIN}") == "all"
    assert answers("pr-1.preview.example") == "preview"
    assert ask(server, "preview.example").status == 404
    assert ask(server, "a.b.preview.example").status == 404
    assert ask(server, f"a.b.{DOMAIN}").status == 404
    bob.stop()
    eventually(lambda: answers(f"shop.{DOMAIN}") == "all", "the wildcard takes the name over")


@pytest.mark.parametrize("name,names", [("*", ["a*", "shop"]), ("*.preview.example", ["*", "pr-*.preview.example"])])
def test_wildcard_needs_the_right(own, name, names):
    """Who may claim only some of the names that a wildcard covers may not claim the wildcard."""
    server = own.server(tokens=[token("alice", *names)])
    adit = own.http(server, 1, "--name", name)
    assert adit.wait_event("refused")["status"] == 403
    assert adit.wait() == 3


def test_routes_by_path(own):
    """Paths go to the origin of the longest route that holds them, whole and with the Host that is set there."""
    server = own.server()
    site, api, newer = (saying(own, text) for text in (b"site", b"api", b"v2"))
    own.tunnels(server, {"shop": {"origin": site.port, "host_header": "site.local", "routes": [
        {"path": "/api", "origin": api.port, "host_header": "api.local:1"}, {"path": "/api/v2/", "origin": newer.port}]}})
    host = f"shop.{DOMAIN}"
    for target, said in {
        "/": "site / site.local", "/apis": "site /apis site.local", "/x?/api": "site /x?/api site.local",
        "/api": "api /api api.local:1", "/api/": "api /api/ api.local:1", "/api?q": "api /api?q api.local:1",
        "/api/v20": "api /api/v20 api.local:1",
        "/api/v2": f"v2 /api/v2 {host}", "/api/v2/x?y": f"v2 /api/v2/x?y {host}",
    }.items():
        response = ask(server, host, target)
        assert (response.status, response.body.decode()) == (200, said)


def test_dead_route_harms_no_other(own):
    """An origin of a route that is down gives 502 there, with its address, and nowhere else."""
    server = own.server()
    site = saying(own, b"site")
    own.tunnels(server, {"shop": {"origin": site.port, "routes": [{"path": "/api", "origin": 1}]}})
    bad = ask(server, f"shop.{DOMAIN}", "/api/x")
    assert bad.status == 502 and "http://127.0.0.1:1" in bad.get("proxy-status")
    assert ask(server, f"shop.{DOMAIN}", "/").status == 200


def test_certificates_by_name(own, authority):
    """Each custom domain gets its own certificate, by SNI; the rest the listener's; a SIGHUP brings a new one."""
    for name in ("shop", "wild"):
        authority.issue(own.folder / f"{name}.pem", own.folder / f"{name}.key",
                        {"shop": ("www.shop.example",), "wild": ("*.preview.example",)}[name])
    pairs = [{"certificate": str(own.folder / f"{n}.pem"), "key": str(own.folder / f"{n}.key")} for n in ("shop", "wild")]
    server = own.server(certificates=pairs, tokens=[token("alice", "*", "www.shop.example", "*.preview.example")])
    origin = saying(own, b"one")
    adit = own.http(server, origin.port, "--name", "shop,www.shop.example,*.preview.example")
    adit.wait_event("published", name="*.preview.example")
    for host in ("www.shop.example", "pr-7.preview.example", f"shop.{DOMAIN}"):
        assert ask(server, host, tls=server.tls_context).status == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(server, "a.b.preview.example", tls=server.tls_context)
    authority.issue(own.folder / "late.pem", own.folder / "late.key", ("late.example",))
    with pytest.raises(ssl.SSLCertVerificationError):
        ask(server, "late.example", tls=server.tls_context)
    server.config["certificates"] = pairs + [{"certificate": str(own.folder / "late.pem"),
                                              "key": str(own.folder / "late.key")}]
    server.write()
    server.program.hang_up()
    assert ask(server, "late.example", tls=server.tls_context).status == 404
    assert ask(server, "www.shop.example", tls=server.tls_context).status == 200


def test_whose_404(own):
    """The tunnel's own 404 names itself, in the form that is asked for; an origin's passes as it is."""
    server = own.server()
    origin = own.origin()
    origin.serve(lambda c, r: c.send(reply(404, b"no such product")))
    own.http(server, origin.port, "--name", "shop").wait_event("published")
    theirs = ask(server, f"shop.{DOMAIN}")
    assert (theirs.status, theirs.body, theirs.get("proxy-status")) == (404, b"no such product", None)
    with Visitor(server.plain_port, f"nobody.{DOMAIN}") as visitor:
        ours = visitor.fetch("GET", "/", [("Accept", "application/json")])
        assert ours.status == 404 and ours.get("proxy-status").startswith("aditd; error=")
        told = json.loads(ours.body)
        assert told["hop"] == "aditd" and told["status"] == 404
        page = visitor.fetch("GET", "/", [("Accept", "text/html,*/*;q=0.8")])
        assert page.get("content-type").startswith("text/html") and b"The tunnel server answers this" in page.body
    assert ours.get("server") is None and b"0.1" not in page.body
