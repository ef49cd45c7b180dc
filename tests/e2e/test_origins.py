"""Origins over TLS, and how connections to HTTP/2 origins begin, are shared, and end. test_origin_streams.py has what
runs on them."""
import ssl
import subprocess
import threading
import time

import pytest

from h2.errors import ErrorCodes
from h2wire import H2Origin, H2Visitor
from harness import DOMAIN, Authority, free_port, openssl
from wire import Origin, eventually

NAME = "origin.test"


# ---- TLS

def server_context(certificate, key, alpn=()):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(list(alpn))
    return context


class Certificates:
    """One of each sort of certificate, by an authority of the origins' own."""

    def __init__(self, folder):
        self.folder, self.authority = folder, Authority(folder / "origin-ca", "origin authority")
        self.ca = str(self.authority.ca)
        self.issue("good", names=(NAME,))
        self.issue("expired", names=(NAME,), days=0)
        openssl("req", "-x509", *Authority.NEW_KEY, "-keyout", folder / "self.key", "-out", folder / "self.pem",
                "-days", 2, "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}")

    def issue(self, what, **options):
        self.authority.issue(self.folder / f"{what}.pem", self.folder / f"{what}.key", **options)

    def context(self, what, alpn=()):
        return server_context(self.folder / f"{what}.pem", self.folder / f"{what}.key", alpn)


@pytest.fixture(scope="module")
def secure(base, authority, nginx, reports):
    """aditd and one adit, with a tunnel for each way in which an origin's TLS can be or go wrong."""
    from conftest import Own
    folder = base / "origins-tls"
    folder.mkdir()
    own, certificates = Own(folder, authority, nginx), Certificates(folder)

    def h1(what):
        return own.keep(Origin(tls=certificates.context(what, ["http/1.1"])))

    def h2(what, alpn=("h2",)):
        return own.keep(H2Origin(tls=certificates.context(what, alpn)))

    own.origins = {"alice-h1": h1("good"), "alice-h2": h2("good")}
    good = {"origin_ca": certificates.ca, "origin_server_name": NAME}
    tunnels = {
        "alice-h1": dict(good, origin=own.origins["alice-h1"].address),
        "alice-h2": dict(good, origin=own.origins["alice-h2"].address),
        "alice-unknown": {"origin": own.origins["alice-h1"].address, "origin_server_name": NAME},
        "alice-name": {"origin": own.origins["alice-h2"].address, "origin_ca": certificates.ca},
        "alice-expired": dict(good, origin=h1("expired").address),
        "alice-self": {"origin": h2("self").address, "origin_server_name": NAME},
        "alice-insecure1": {"origin": h1("self").address, "origin_insecure": True},
        "alice-insecure2": {"origin": h2("expired").address, "origin_insecure": True},
        "alice-plain": dict(good, origin=nginx.address.replace("http", "https")),
        "alice-no-h2": dict(good, origin=h2("good", ["http/1.1"]).address),
        "alice-no-alpn": dict(good, origin=h2("good", []).address),
    }
    own.aditd = own.server()
    own.adit = own.tunnels(own.aditd, tunnels).program
    yield own
    own.end()


@pytest.mark.parametrize("name", ["alice-h1", "alice-h2", "alice-insecure1", "alice-insecure2"])
def test_tls_origin(secure, name):
    """https: and h2: origins are served, when their certificate is right or nobody asks for it."""
    answer = secure.aditd.fetch(name, method="POST", target="/x", body=b"body")
    assert (answer.status, answer.body) == (200, b"POST /x\nbody")


@pytest.mark.parametrize("name, error, words", [
    ("alice-unknown", "tls_certificate_error", "its authority is not known here"),
    ("alice-name", "tls_certificate_error", "another name"),
    ("alice-expired", "tls_certificate_error", "certificate has expired"),
    ("alice-self", "tls_certificate_error", "self-signed certificate"),
    ("alice-plain", "tls_protocol_error", "does not speak TLS there"),
    ("alice-no-h2", "tls_protocol_error", ""),
    ("alice-no-alpn", "tls_protocol_error", "does not choose HTTP/2"),
])
def test_tls_that_fails(secure, name, error, words):
    """What is wrong with an origin's TLS is a 502 by adit that names it."""
    answer = secure.aditd.fetch(name)
    status = answer.get("proxy-status")
    assert answer.status == 502 and status.startswith(f"adit; error={error};"), status
    assert words in status and "127.0.0.1" in status, status


def test_tls_origin_sees_names(secure):
    """An origin gets its own name by SNI, the visitor's as Host, and is told of the visitor's scheme by a field."""
    for name, scheme in (("alice-h1", None), ("alice-h2", "https")):
        origin, seen = secure.origins[name], []
        origin.tls.sni_callback = lambda s, n, c, seen=seen: seen.append(n) or None
        origin.serve(None)
        for c in list(origin.connections):
            getattr(c, "end", getattr(c, "close", None))()
        answer = secure.aditd.fetch(name)
        request = origin.requests[-1]
        assert answer.status == 200 and seen == [NAME], (answer.body, seen)
        assert request.get("x-forwarded-proto") == "http"
        assert request.get("host" if scheme is None else ":authority") == f"{name}.{DOMAIN}"
        assert scheme is None or request.get(":scheme") == scheme


def test_ca_that_is_none(own, tmp_path):
    """A CA file that cannot be used ends adit at its start with one line."""
    (tmp_path / "ca.pem").write_text("no PEM\n")
    server = own.server()
    adit = own.http(server, "https://127.0.0.1:1", "--name", "shop", "--origin-ca", tmp_path / "ca.pem")
    assert adit.wait() == 2 and len(adit.lines) == 1 and "ca.pem" in adit.text, adit.text


# ---- connections to an HTTP/2 origin

class Way:
    """aditd, adit and one scripted origin of HTTP/2."""

    def __init__(self, own, origin, *flags, **options):
        self.origin, self.aditd = own.keep(origin), own.server()
        self.adit = own.http(self.aditd, origin.address, "--name", "shop", *flags, **options)
        self.adit.wait_event("published")
        self.fetch = self.aditd.fetch

    def visitor(self, name="shop"):
        return H2Visitor(self.aditd.plain_port, f"{name}.{DOMAIN}")

    def at_once(self, count, path="/{}"):
        """So many requests of as many HTTP/2 streams; their statuses."""
        visitors = [self.visitor() for _ in range((count + 99) // 100)]
        streams = [visitors[i % len(visitors)].ask(path=path.format(i)) for i in range(count)]
        statuses = [(s.head(), s.status)[1] for s in streams]
        for visitor in visitors:
            visitor.close()
        return statuses


@pytest.mark.parametrize("kind", ["h2c", "h2"])
def test_one_connection_is_reused(own, tmp_path, kind):
    """Requests one after the other, and a hundred at once, run on one connection."""
    tls = Certificates(tmp_path).context("good", ["h2"]) if kind == "h2" else None
    way = Way(own, H2Origin(tls=tls), *(["--origin-insecure"] if tls else []))
    for i in range(20):
        assert way.fetch(target=f"/{i}").body == f"GET /{i}\n".encode()
    assert way.at_once(100) == [200] * 100
    assert way.origin.accepted == 1


def test_unix_socket(own, tmp_path):
    """An HTTP/2 origin may listen on a Unix socket."""
    way = Way(own, H2Origin(unix=tmp_path / "origin.sock"))
    assert way.fetch(target="/u").body == b"GET /u\n"


@pytest.mark.parametrize("streams, most", [(1, 128), (10, 20)])
def test_streams_at_once(own, streams, most):
    """No connection gets more streams than it announces; more connections are made as they are needed."""
    way = Way(own, H2Origin(streams=streams))
    over, open_streams, lock, all_here = [], {}, threading.Lock(), threading.Event()

    def slow(stream):
        with lock:
            open_streams[stream.end] = open_streams.get(stream.end, 0) + 1
            over.append(open_streams[stream.end]) if open_streams[stream.end] > streams else None
            if sum(open_streams.values()) == 100:
                all_here.set()
        all_here.wait(10)  # however late visitors come: none is answered before
        with lock:
            open_streams[stream.end] -= 1
        stream.respond(200, end=True)

    way.origin.serve(slow)
    assert way.at_once(100) == [200] * 100
    assert not over and 100 // streams <= way.origin.accepted <= most, (over, way.origin.accepted)


def test_goaway(own):
    """GOAWAY: what runs goes on, new requests go to a new connection, and the old one is closed when it is idle."""
    way = Way(own, H2Origin())
    go = threading.Event()

    def held(stream):
        if stream.get(":path") == "/held":
            stream.respond(200)
            stream.send(b"first ")
            assert go.wait(10)
            stream.send(b"last", end=True)
        else:
            stream.respond(200, end=True)

    way.origin.serve(held)
    with way.visitor() as visitor:
        stream = visitor.ask(path="/held")
        assert stream.some() == b"first "
        first = way.origin.connections[0]
        first.leave(1)
        assert way.fetch(target="/next").status == 200
        assert way.origin.accepted == 2
        go.set()
        assert stream.read() == b"last"
    eventually(lambda: first.over, "the first connection is closed")
    assert way.fetch().status == 200 and way.origin.accepted == 2


def goaway_without(stream):
    """As if the request had come behind a GOAWAY."""
    stream.end.leave(0)


def refuse(stream):
    stream.abort(ErrorCodes.REFUSED_STREAM)


@pytest.mark.parametrize("unheard", [goaway_without, refuse])
@pytest.mark.parametrize("method, body", [("GET", None), ("POST", None), ("POST", b"body")])
def test_asked_again(own, unheard, method, body):
    """What the origin has not looked at is asked again once, on a new connection, whatever its method; not when some
    of its body has been sent."""
    way = Way(own, H2Origin())
    count = []

    def first_unheard(stream):
        count.append(stream)
        if len(count) == 1:
            if body:
                stream.some(len(body))
            unheard(stream)
        else:
            stream.respond(200, [("x-count", str(len(count)))], end=True)

    way.origin.serve(first_unheard)
    with way.visitor() as visitor:
        stream = visitor.fetch(method, body=body)
    if body:
        assert stream.status == 503 and len(count) == 1
        assert "REFUSED_STREAM" in stream.get("proxy-status")
    else:
        assert stream.status == 200 and stream.get("x-count") == "2" and way.origin.accepted == 2


def test_asked_twice_at_most(own):
    """An origin that refuses everything is asked twice, and the visitor gets 503."""
    way = Way(own, H2Origin())
    way.origin.serve(refuse)
    assert way.fetch().status == 503
    assert len(way.origin.requests) == 2


def cut_connection(stream):
    stream.end.close()


@pytest.mark.parametrize("method, asked, status", [("GET", 2, 200), ("POST", 1, 502)])
def test_connection_that_was_closing(own, method, asked, status):
    """A connection that had served ends without an answer: what is safe to repeat is asked again, the rest is 502."""
    way = Way(own, H2Origin())
    assert way.fetch().status == 200
    seen = []

    def cut_first(stream):
        seen.append(stream)
        if len(seen) == 1:
            cut_connection(stream)
        else:
            stream.respond(200, end=True)

    way.origin.serve(cut_first)
    with way.visitor() as visitor:
        assert visitor.fetch(method).status == status
    assert len(seen) == asked


def test_dead_connection_is_noticed(own):
    """An idle connection that the origin has closed is not used any more."""
    way = Way(own, H2Origin())
    assert way.fetch().status == 200
    way.origin.connections[0].close()
    time.sleep(0.2)
    way.origin.serve(lambda s: s.respond(201, end=True))
    with way.visitor() as visitor:
        assert visitor.fetch("POST").status == 201
    assert way.origin.accepted == 2


def test_complete_answer_outlives_its_connection(own):
    """An origin may close behind a complete answer: a slow visitor gets all of it."""
    way = Way(own, H2Origin())
    size = 60000  # within the window that adit grants at first

    def answer(stream):
        stream.respond(200)
        stream.send(b"x" * size, end=True)
        time.sleep(0.1)
        stream.end.close()

    way.origin.serve(answer)
    with way.visitor() as visitor:
        stream = visitor.ask()
        time.sleep(0.5)
        assert len(stream.read()) == size


def silent(sock):
    time.sleep(12)
    sock.close()


def http1(sock):
    sock.recv(65536)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    sock.recv(65536)
    sock.close()


def hang_up(sock):
    sock.close()


@pytest.mark.parametrize("greet, status, words", [
    pytest.param(silent, 504, "no SETTINGS", marks=pytest.mark.big),
    (http1, 502, "does not speak HTTP/2"),
    (hang_up, 502, "instead of speaking HTTP/2"),
])
def test_no_http2_there(own, greet, status, words):
    """What does not speak HTTP/2 is named as such, to all who wait for it, and is tried again by the next request."""
    way = Way(own, H2Origin(greet=greet))
    with way.visitor() as visitor:
        streams = [visitor.ask(path=f"/{i}") for i in range(3)]
        for stream in streams:
            assert [stream.head(), stream.status][1] == status and words in stream.get("proxy-status"), stream.fields
        assert way.origin.accepted <= 3
    way.origin.greet = None
    assert way.fetch().status == 200


def test_nobody_there(own):
    """A refused connection is a 502 that names hop and origin; once somebody listens, requests work."""
    port = free_port()
    server = own.server()
    own.http(server, f"h2c://127.0.0.1:{port}", "--name", "shop").wait_event("published")
    answer = server.fetch()
    assert answer.status == 502
    assert answer.get("proxy-status") == f'adit; error=connection_refused; details="h2c://127.0.0.1:{port}"'


def test_many_requests(own, tmp_path):
    """A thousand requests, a hundred at a time, of a real server (nghttpd): one connection, and nothing fails."""
    (tmp_path / "2k").write_bytes(b"x" * 2048)
    port = free_port()
    own.run(["nghttpd", "--no-tls", "-v", "-a", "127.0.0.1", "-d", tmp_path, port], "nghttpd",
            stdout=open(tmp_path / "nghttpd.out", "wb"))
    server = own.server()
    own.http(server, f"h2c://127.0.0.1:{port}", "--name", "shop").wait_event("published")
    eventually(lambda: server.fetch(target="/2k").status == 200, "nghttpd answers")
    argv = ["h2load", "-n", "1000", "-c", "1", "-m", "100", "-H", ":authority: shop.tunnel.test",
            f"http://127.0.0.1:{server.plain_port}/2k"]
    out = subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout
    assert "1000 succeeded, 0 failed" in out and "status codes: 1000 2xx" in out, out
    print(next(line for line in out.splitlines() if line.startswith("finished")))
