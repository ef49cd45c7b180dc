"""What both programs have given up: a library loaded into them (guard_probe.c) tries it, and is refused or ended.

The sandbox is off in builds with sanitizers, so these tests run on the plain build, with the big ones.
"""
import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

import harness
from harness import ADITD, environment, free_port
from wire import eventually

INSTRUMENTED = b"__asan_init" in ADITD.read_bytes() or b"__ubsan_handle" in ADITD.read_bytes()
pytestmark = [pytest.mark.big,
              pytest.mark.skipif(INSTRUMENTED or not shutil.which("cc"), reason="needs a C compiler, and a build "
                                 "without sanitizers: those need more than the sandbox allows")]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")

OPEN, MAKE, DIAL, BIND, NETLINK = 1, 2, 3, 4, 5
# what ends the process
DEADLY = {"a raw socket": 6, "execve": 10, "fork": 11, "ptrace": 12, "memory to execute": 13, "setresuid": 14,
          "kill": 15, "typing at a terminal": 16, "prctl": 17, "unshare": 18, "another process's memory": 19}


class SignalInfo(ctypes.Structure):
    """siginfo_t as a sender of SI_QUEUE fills it in (64 bits)."""
    _fields_ = [("signo", ctypes.c_int), ("errno", ctypes.c_int), ("code", ctypes.c_int), ("pad", ctypes.c_int),
                ("pid", ctypes.c_int), ("uid", ctypes.c_int), ("value", ctypes.c_long), ("rest", ctypes.c_char * 96)]


def rt_tgsigqueueinfo():
    return {"x86_64": 297, "aarch64": 240}[os.uname().machine]


class Probe:
    """A program with the library in it."""

    def __init__(self, folder):
        self.folder, self.report = folder, folder / "report"
        folder.mkdir(parents=True, exist_ok=True)
        self.library, self.secret, self.port = folder / "guard_probe.so", folder / "secret", free_port()
        self.secret.write_text("secret")
        source = harness.TOP / "tests" / "e2e" / "guard_probe.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", self.library, source], check=True, timeout=60)
        self.wrap = ["env", f"LD_PRELOAD={self.library}", f"GUARD_PROBE={self.report}",
                     f"GUARD_PROBE_READ={self.secret}", f"GUARD_PROBE_WRITE={folder / 'made'}",
                     f"GUARD_PROBE_PORT={self.port}"]
        self.program = None

    def lines(self):
        return self.report.read_text().splitlines()

    def tell(self, what, thread=None):
        pid = self.program.pid
        info = SignalInfo(signal.SIGTRAP, 0, -1, 0, os.getpid(), os.getuid(), what, b"")
        call = ctypes.CDLL(None).syscall
        assert call(rt_tgsigqueueinfo(), pid, thread or pid, signal.SIGTRAP, ctypes.byref(info)) == 0

    def attempt(self, what, thread=None):
        """Tries it in that thread (the main one): "ok" or the errno's name."""
        before = len(self.lines())
        self.tell(what, thread)
        eventually(lambda: len(self.lines()) > before or not self.program.alive(), "the library has tried it")
        assert self.program.alive(), f"{what} ended it"
        number, result = self.lines()[-1].split()
        assert int(number) == what
        return result

    def threads(self):
        return [int(t) for t in os.listdir(f"/proc/{self.program.pid}/task")]

    def log_threads(self):
        return [t for t in self.threads() if t != self.program.pid]


def start(own, who, *flags, **config):
    """aditd or adit, with the library, and the other one without."""
    probe = Probe(own.folder / "probe")
    server = own.server(wrap=probe.wrap if who == "aditd" else (), trace="trace.json", **config)
    adit = own.http(server, 1, "--name", "shop", "--trace", "trace.json", *flags,
                    wrap=probe.wrap if who == "adit" else ())
    adit.wait_event("published")
    probe.program = server.program if who == "aditd" else adit
    return probe, server, adit


def status(pid, thread=None):
    """/proc/PID/status, or a thread's, as a dict."""
    text = Path(f"/proc/{pid}/task/{thread or pid}/status").read_text()
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.M))


@pytest.mark.parametrize("who", ["aditd", "adit"])
def test_nothing_is_kept(own, who):
    """Every thread is without capabilities and new ones, and behind a filter; cores are off; the log says it all."""
    probe, _, _ = start(own, who)
    pid = probe.program.pid
    assert probe.log_threads()
    for thread in probe.threads():
        s = status(pid, thread)
        assert s["NoNewPrivs"] == "1" and s["Seccomp"] == "2", s
        assert all(int(s[c], 16) == 0 for c in ("CapEff", "CapPrm", "CapInh", "CapAmb")), s
        assert os.geteuid() != 0 or int(s["CapBnd"], 16) == 0, s
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert re.search(r"^Max core file size\s+0\s+0\s", limits, re.M), limits
    told = probe.program.wait_event("sandbox")
    assert told["capabilities"] == "none" and told["calls"].startswith("on: seccomp"), told
    assert told["files"].startswith("on: Landlock") or "kernel" in told["files"], told


@pytest.mark.parametrize("who", ["aditd", "adit"])
def test_other_files_are_out_of_reach(own, who):
    """A file that the configuration does not name can be neither read nor made, by no thread."""
    probe, _, _ = start(own, who)
    if "off" in probe.program.wait_event("sandbox")["files"]:
        pytest.skip("this kernel has no Landlock")
    for thread in [None, *probe.log_threads()]:
        assert probe.attempt(OPEN, thread) == "EACCES"
        assert probe.attempt(MAKE, thread) == "EACCES"
    assert not (probe.folder / "made").exists()


@pytest.mark.parametrize("who", ["aditd", "adit"])
def test_what_is_answered_with_an_error(own, who):
    """Other families of sockets do not exist; aditd cannot dial, and adit cannot listen."""
    probe, _, _ = start(own, who)
    abi = re.search(r"ABI (\d+)", probe.program.wait_event("sandbox")["files"])
    assert probe.attempt(NETLINK) == "EAFNOSUPPORT"
    if abi and int(abi[1]) >= 4 and who == "aditd":
        assert probe.attempt(DIAL) == "EACCES"


@pytest.mark.parametrize("who", ["aditd", "adit"])
@pytest.mark.parametrize("what", DEADLY)
def test_what_is_never_asked_for_ends_it(own, who, what):
    """A system call that is not on the list ends the process before it is made, in whatever thread."""
    probe, _, _ = start(own, who)
    threads = [None, *probe.log_threads()]
    probe.tell(DEADLY[what], threads[DEADLY[what] % len(threads)])
    assert probe.program.wait(5) == -signal.SIGSYS
    assert not probe.lines()


def test_adit_cannot_listen(own):
    """adit accepts nothing: bind is not on its list."""
    probe, _, _ = start(own, "adit")
    probe.tell(BIND)
    assert probe.program.wait(5) == -signal.SIGSYS and not probe.lines()


@pytest.mark.parametrize("who", ["aditd", "adit"])
def test_sandbox_off(own, who):
    """With sandbox: off files and calls are free, and the log says so; capabilities are gone all the same."""
    probe, _, _ = start(own, who, *(["--sandbox", "off"] if who == "adit" else []), **{"sandbox": "off"})
    assert probe.attempt(OPEN) == probe.attempt(MAKE) == probe.attempt(NETLINK) == probe.attempt(13) == "ok"
    told = probe.program.wait_event("sandbox")
    assert told["level"] == "info" and told["files"] == told["calls"] == "off: as configured"
    s = status(probe.program.pid)
    assert s["NoNewPrivs"] == "1" and s["Seccomp"] == "0" and int(s["CapEff"], 16) == 0


def test_renewed_links_are_followed(own):
    """Certificates may be links into another folder, set anew for each renewal as certbot does, or by way of a linked
    folder as in Kubernetes: at SIGHUP the new ones are read, though Landlock hides all other files."""
    live, archive = own.folder / "live", own.folder / "archive"
    live.mkdir()

    def renew(i):
        folder = archive / str(i)
        folder.mkdir(parents=True)
        own.authority.issue(archive / f"cert{i}.pem", archive / f"key{i}.pem")
        own.authority.issue(folder / "certificate", folder / "key", names=(f"linked{i}.test",))
        for name in ("cert", "key"):
            (live / f"{name}.new").symlink_to(archive / f"{name}{i}.pem")
            (live / f"{name}.new").rename(live / f"{name}.pem")
        (live / "data.new").symlink_to(Path("..") / "archive" / str(i))
        (live / "data.new").rename(live / "data")

    def shown(name):
        with socket.create_connection(("127.0.0.1", server.tls_port), 5) as raw:
            with server.tls_context.wrap_socket(raw, server_hostname=name) as tls:
                return tls.getpeercert()["serialNumber"]

    renew(1)
    server = own.server(listen=[
        {"address": "127.0.0.1:0"},
        {"address": "127.0.0.1:0", "tls": {"certificate": str(live / "cert.pem"), "key": str(live / "key.pem")}},
    ], certificates=[{"certificate": str(live / "data" / "certificate"), "key": str(live / "data" / "key")}])
    before = shown(harness.DOMAIN), shown("linked1.test")
    renew(2)
    assert server.program.hang_up()["event"] == "reloaded"
    assert shown(harness.DOMAIN) != before[0] and shown("linked2.test") != before[1]


def test_system_authorities(own):
    """Certificate authorities of the system, looked up in their folder when a certificate is verified, are found."""
    server, folder = own.server(), own.folder / "authorities"
    folder.mkdir()
    name = subprocess.run(["openssl", "x509", "-hash", "-noout", "-in", own.authority.ca], capture_output=True,
                          text=True, check=True, timeout=20).stdout.strip()
    (folder / f"{name}.0").write_bytes(own.authority.ca.read_bytes())
    flags = server.flags()
    del flags[flags.index("--ca"):flags.index("--ca") + 2]
    adit = own.http(server, 1, "--name", "shop", wrap=["env", f"SSL_CERT_DIR={folder}", "SSL_CERT_FILE=/dev/null"],
                    common=flags)
    adit.wait_event("published")


# ---- user

@pytest.fixture
def place():
    """A folder that everybody can get to, unlike pytest's, with one in it for logs that is nobody's."""
    folder = Path(tempfile.mkdtemp(prefix="adit-guard-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / "logs").mkdir()
    shutil.chown(folder / "logs", "nobody", "nogroup")
    yield folder
    shutil.rmtree(folder)


def server_as_nobody(own, place, **config):
    config = {"user": "nobody", "access_log": str(place / "logs" / "access.log"), **config}
    server = own.keep(harness.Server(place / "aditd", own.authority, **config))
    server.key.chmod(0o600)
    return server


def low_port():
    """One that only root may bind."""
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) < 1024:
        pytest.skip("everybody may bind any port here")
    for _ in range(100):
        port = random.randrange(600, 1024)
        if not harness.can_connect(port):
            return port
    raise AssertionError("no free port")


@as_root
def test_becomes_the_user(own, place):
    """Started by root, aditd is its user for good: no id, group or capability of root is left, and its memory is not
    for others of its user to read. It serves, on a low port too, and ends well."""
    server = server_as_nobody(own, place, proxy=low_port())
    s = status(server.program.pid)
    assert s["Uid"].split() == s["Gid"].split() == ["65534"] * 4 and s["Groups"].split() == ["65534"]
    assert int(s["CapPrm"], 16) == int(s["CapBnd"], 16) == 0
    assert os.stat(f"/proc/{server.program.pid}/environ").st_uid == 0
    assert server.program.wait_event("sandbox")["user"] == "nobody"
    origin = own.origin()
    own.http(server, origin.address, "--name", "shop").wait_event("published")
    assert server.fetch(tls=True).status == 200
    server.program.stop()


@as_root
def test_group(own, place):
    """`group` is its only group then."""
    server = server_as_nobody(own, place, group="daemon", access_log="-")
    s = status(server.program.pid)
    assert s["Gid"].split() == ["1"] * 4 and s["Groups"].split() == ["1"]


@as_root
def test_logs_are_reopened_by_the_user(own, place):
    """Logs are made and, after rotation, made anew by the user, in its folder: root writes nothing there."""
    server = server_as_nobody(own, place, trace=str(place / "logs" / "trace.json"))
    log, moved = place / "logs" / "access.log", place / "logs" / "access.log.1"
    assert log.stat().st_uid == 65534
    log.rename(moved)
    server.program.hang_up()
    server.fetch("nothing", "GET", "/after")
    eventually(lambda: log.exists() and b"/after" in log.read_bytes(), "the new file has the request")
    assert log.stat().st_uid == 65534 and not server.program.events("log.reopen_failed")


@as_root
def test_logs_that_the_user_cannot_write(own, place):
    """Where the user cannot write its logs, aditd does not start, and says which."""
    (place / "logs").chmod(0o500)
    shutil.chown(place / "logs", "root", "root")
    with pytest.raises(AssertionError):
        server_as_nobody(own, place)
    text = (place / "aditd" / "aditd.log").read_text()
    assert "cannot write to" in text and "Permission denied" in text, text


@as_root
def test_keys_of_root(own, place):
    """A key that only root can read serves from the start. At SIGHUP the user cannot read it: the log says so, the
    old certificate stays; once it can be read, the new one comes."""
    server = server_as_nobody(own, place)
    server.authority.issue(server.certificate, server.key)
    server.key.chmod(0o600)
    failed = server.program.hang_up()
    assert failed["event"] == "reload.failed" and "server.key" in failed["error"], failed
    assert "Permission denied" in failed["error"], failed
    assert server.fetch("nothing", tls=True).status == 404
    shutil.chown(server.key, "nobody")
    assert server.program.hang_up()["event"] == "reloaded"
    assert server.fetch("nothing", tls=True).status == 404


@as_root
def test_new_low_port_needs_a_restart(own, place):
    """After the start no port below 1024 can be bound any more; the log says what is to be done."""
    server = server_as_nobody(own, place)
    server.config["listen"].append({"address": f"127.0.0.1:{low_port()}"})
    server.key.chmod(0o644)
    server.write()
    failed = server.program.hang_up()
    assert failed["event"] == "reload.failed" and "need a restart" in failed["error"], failed


@as_root
def test_low_tcp_port_is_refused(own, place):
    """A tunnel client that may publish a TCP port below 1024 is told that the server cannot, and why."""
    low, token = low_port(), harness.Server.token("alice")
    server = server_as_nobody(own, place, tokens=[dict(token, ports=[low])], tcp_address="127.0.0.1")
    adit = own.run([harness.ADIT, "tcp", "1", "--remote-port", str(low), *server.flags()], "adit",
                   env=environment(own.folder, ADIT_TOKEN=harness.TOKENS["alice"]))
    told = adit.wait_event("refused")
    assert told["status"] == 403 and f"does not let aditd listen at port {low}" in told["reason"], told
    assert adit.wait() == 3


@as_root
def test_take_over_from_the_user(own, place):
    """A new aditd, started by root, takes the sockets over from the one that has become its user."""
    server = server_as_nobody(own, place, admin=f"unix:{place}/logs/admin.sock", proxy=low_port())
    new = own.run([ADITD, "-c", server.file, "--take-over"], "b")
    new.wait_event("ready")
    assert server.program.wait(15) == 0
    assert status(new.pid)["Uid"].split() == ["65534"] * 4
    assert harness.can_connect(server.proxy_port)


def refused(own, config):
    server = own.server()
    server.config.update(config)
    server.write()
    done = subprocess.run([ADITD, "-c", server.file], cwd="/", env=environment(own.folder), capture_output=True,
                          text=True, timeout=20, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done
    return done.stderr


def test_unknown_user(own):
    """A user or group that does not exist is said with file, line and key."""
    assert re.search(r'aditd\.yaml:\d+: user: found "no-such-user", wanted a user of',
                     refused(own, {"user": "no-such-user"}))
    assert re.search(r'aditd\.yaml:\d+: group: found "no-such-group", wanted a group of',
                     refused(own, {"user": "nobody", "group": "no-such-group"}))
    assert re.search(r"aditd\.yaml:\d+: group: found without user", refused(own, {"group": "nogroup"}))


@as_root
def test_only_root_becomes_another(own, place):
    """Who is not root cannot become another user, and is told so; its own name is fine."""
    server = server_as_nobody(own, place, user="daemon", group="daemon", access_log="-")
    server.program.stop()
    server.key.chmod(0o644)
    argv = [ADITD, "-c", server.file]
    if subprocess.run(["test", "-x", ADITD], user=65534, check=False).returncode:
        pytest.skip("others cannot execute the build")
    nobody = {"user": 65534, "group": 65534, "extra_groups": [], "cwd": "/", "env": environment(place),
              "capture_output": True, "text": True, "timeout": 20, "check": False}
    done = subprocess.run(argv, **nobody)
    assert done.returncode == 2 and "wanted root to start it" in done.stderr and done.stderr.count("\n") == 1, done
    server.config.update(user="nobody", group="nogroup")
    server.write()
    done = subprocess.run([*argv, "--check-config"], **nobody)
    assert done.returncode == 0, done
