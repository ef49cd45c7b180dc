"""A real database behind a published port: PostgreSQL, its own client, its own ideas of ends and resets."""
import hashlib
import os
import pwd
import shutil
import signal
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import harness
from tcp import Stand, read_exactly, within
from wire import eventually

ROWS = "select i, md5(i::text) a, md5((-i)::text) b from generate_series(1, %d) i"


def binary(name):
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda p: float(p.parts[4]))
    path = found[-1] if found else shutil.which(name)
    assert path, f"{name} is missing: sh contrib/deps.sh test"
    return str(path)


class Cluster:
    """A PostgreSQL of the tests' own, on a free port of loopback; nobody asks for a password."""

    def __init__(self):
        # it refuses to run as root, and its user must get through all folders above
        self.folder = Path(tempfile.mkdtemp(prefix="adit-postgresql-", dir="/tmp"))
        self.wrap = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.wrap = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        self.data, self.port = self.folder / "data", harness.free_port()
        done = subprocess.run([*self.wrap, binary("initdb"), "-D", self.data, "-U", "postgres", "-A", "trust", "-N",
                               "-E", "UTF8", "--locale=C"], cwd=self.folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
                    "max_connections": 40, "shared_buffers": "32MB", "client_connection_check_interval": "200ms"}
        self.log = harness.Program([*self.wrap, binary("postgres"), "-D", self.data,
                                    *(f"--{k}={v}" for k, v in settings.items())], self.folder, "postgres")
        self.log.wait_line("ready to accept connections")
        self.query("create table big as " + ROWS % 50_000)

    def query(self, text):
        """Past the tunnel."""
        return psql(self.port, "-c", text)

    def stop(self):
        if self.log.alive():
            self.log.signal(signal.SIGQUIT)
        self.log.wait()
        shutil.rmtree(self.folder)


def psql_argv(port, *args):
    return [binary("psql"), "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-X", "-A", "-t", *args]


def psql(port, *args, **options):
    done = subprocess.run(psql_argv(port, *args), capture_output=True, timeout=60, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout if options.get("text") is False else done.stdout.decode().strip()


class Session:
    """The protocol by hand, as far as a test needs it: what a library would hide."""

    def __init__(self, sock, name):
        self.sock = sock
        start = b"user\0postgres\0application_name\0" + name.encode() + b"\0\0"
        self.send(struct.pack(">I", 196608) + start)
        while self.message()[0] != b"Z":
            pass

    def send(self, body, kind=b""):
        self.sock.sendall(kind + struct.pack(">I", len(body) + 4) + body)

    def message(self):
        kind, size = struct.unpack(">cI", read_exactly(self.sock, 5))
        return kind, read_exactly(self.sock, size - 4)

    def ask(self, text):
        self.send(text.encode() + b"\0", b"Q")

    def query(self, text):
        """The first column of the first row."""
        self.ask(text)
        value = None
        while (message := self.message())[0] != b"Z":
            assert message[0] != b"E", message
            if message[0] == b"D" and value is None:
                value = message[1][6:6 + struct.unpack(">i", message[1][2:6])[0]].decode()
        return value


@pytest.fixture(scope="module")
def cluster(base):
    cluster = Cluster()
    yield cluster
    cluster.stop()


class Behind:
    """Stands in for tcp.TcpServer: it is there already."""

    def __init__(self, port):
        self.origin = str(port)

    def stop(self):
        pass


@pytest.fixture
def stand(own, cluster):
    stand = Stand(own, server=Behind(cluster.port))
    stand.session = lambda name: own.keep(Kept(stand.visit(), name)).session
    return stand


class Kept:
    def __init__(self, sock, name):
        self.sock, self.session = sock, Session(sock, name)

    def stop(self):
        self.sock.close()


def active(cluster, name):
    return int(cluster.query(f"select count(*) from pg_stat_activity where application_name = '{name}'"))


def test_session(stand):
    """psql: several statements in a session, an error among them, a transaction that is rolled back."""
    script = ("create temp table t (x int); insert into t values (1), (2), (40); select sum(x) from t;\n"
              "select 1/0;\nbegin; delete from t; rollback; select count(*) from t;\n")
    done = subprocess.run(psql_argv(stand.port), input=script, capture_output=True, text=True, timeout=30)
    assert "43" in done.stdout.split() and "division by zero" in done.stderr
    assert done.stdout.split()[-1] == "3"


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


@pytest.mark.parametrize("rows", [50_000, pytest.param(1_400_000, marks=pytest.mark.big)])
def test_copy_out_and_in(stand, cluster, tmp_path, rows):
    """COPY of 3.6 MB, and of 100 MB, out through the tunnel, in through the tunnel, and out past it: the same bytes."""
    there, back = tmp_path / "there", tmp_path / "back"
    with open(there, "wb") as f:
        subprocess.run(psql_argv(stand.port, "-c", f"copy ({ROWS % rows}) to stdout"), stdout=f, check=True, timeout=60)
    cluster.query("drop table if exists copied; create unlogged table copied (i int, a text, b text)")
    with open(there, "rb") as f:
        subprocess.run(psql_argv(stand.port, "-q", "-c", "copy copied from stdin"), stdin=f, check=True, timeout=60)
    with open(back, "wb") as f:
        subprocess.run(psql_argv(cluster.port, "-c", "copy copied to stdout"), stdout=f, check=True, timeout=60)
    assert there.stat().st_size > rows * 70
    assert digest(there) == digest(back)
    cluster.query("drop table copied")


def test_terminated_by_the_server(stand, cluster):
    """pg_terminate_backend: the client is told why, and that it is over, at once; in the middle of a query as well."""
    session = stand.session("told")
    pid = session.query("select pg_backend_pid()")
    cluster.query(f"select pg_terminate_backend({pid})")

    def told():
        kind, text = session.message()
        assert kind == b"E" and b"terminating connection due to administrator command" in text
        assert session.sock.recv(1) == b""

    within(1.0, "the end", told)
    waits = subprocess.Popen(psql_argv(stand.port, "-c", "select pg_sleep(60)"), stderr=subprocess.PIPE, text=True,
                             env=dict(os.environ, PGAPPNAME="sleeps"))
    eventually(lambda: active(cluster, "sleeps"), "the query runs")
    cluster.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sleeps'")
    _, error = within(1.0, "the end", lambda: waits.communicate(timeout=10))
    assert "terminating connection due to administrator command" in error


@pytest.mark.parametrize("busy", [False, True])
def test_client_killed(stand, cluster, busy):
    """kill -9 of a client: its backend is gone within a second, an idle one and one with a query under way."""
    client = subprocess.Popen(psql_argv(stand.port), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                              env=dict(os.environ, PGAPPNAME="victim"))
    client.stdin.write("select pg_sleep(60);\n" if busy else "select 1;\n")
    client.stdin.flush()
    state = "active" if busy else "idle"
    eventually(lambda: cluster.query("select state from pg_stat_activity where application_name = 'victim'") == state,
               f"it is {state}")
    client.kill()
    client.wait(5)
    began = time.monotonic()
    eventually(lambda: not active(cluster, "victim"), "the backend is gone", timeout=3)
    assert time.monotonic() - began < 1.5  # each look starts a psql


def test_server_closes_with_something_unread(stand, cluster):
    """The server ends a session while its client pours data in: the reason arrives before the reset."""
    session = stand.session("pours")
    pid = session.query("select pg_backend_pid()")
    session.query("create temp table sink (x text)")
    session.ask("copy sink from stdin")
    assert session.message()[0] == b"G"
    session.send(b"line\n" * 1000, b"d")
    cluster.query(f"select pg_terminate_backend({pid})")
    try:
        for _ in range(50):
            session.send(b"line\n" * 1000, b"d")
            time.sleep(0.01)
    except ConnectionError:
        pass
    session.sock.settimeout(5)
    got = b""
    try:
        while chunk := session.sock.recv(65536):
            got += chunk
    except ConnectionError:
        pass
    assert b"terminating connection due to administrator command" in got


def test_cancel_request(stand, cluster):
    """^C in psql is a connection of its own that the server only reads and closes: the query ends, the session not."""
    client = subprocess.Popen(psql_argv(stand.port, "-c", "select pg_sleep(60)", "-c", "select 'still here'"),
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env=dict(os.environ, PGAPPNAME="cancels"))
    eventually(lambda: active(cluster, "cancels"), "the query runs")
    client.send_signal(signal.SIGINT)
    out, error = within(2.0, "the cancel", lambda: client.communicate(timeout=10))
    assert "canceling statement due to user request" in error
    assert not out or "still here" in out


def test_notifications(stand, cluster):
    """LISTEN, and silence: each NOTIFY reaches the idle client at once."""
    session = stand.session("listens")
    session.query("listen news")
    session.sock.settimeout(5)
    for text in ("one", "two", "three"):
        time.sleep(0.3)
        cluster.query(f"notify news, '{text}'")
        kind, body = within(0.5, "the notification", session.message)
        assert kind == b"A" and body.endswith(f"news\0{text}\0".encode())


def test_many_sessions(stand, cluster):
    """30 sessions at once, each with its own backend."""
    sessions = [stand.session(f"s{i}") for i in range(30)]
    pids = {s.query("select pg_backend_pid()") for s in sessions}
    assert len(pids) == 30
    for i, s in enumerate(sessions):
        assert s.query(f"select {i} * 2") == str(i * 2)
