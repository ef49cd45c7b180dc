"""Traces: what both programs write of links and carriers, what `adit trace` makes of it, and what is kept without."""
import json
import os
import signal
import stat
import subprocess
import threading
import time

import pytest

import harness
from harness import ADIT
from relay import Relay
from wire import Cut, eventually, reply


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def transcript(folder, *argv):
    return subprocess.run([ADIT, "trace", *argv], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=30, text=True, check=False)


class Way:
    """aditd, adit through a relay that breaks, an origin; both write traces."""

    def __init__(self, own, trace=True, env=None, **config):
        self.folder = own.folder
        traces = {"trace": str(self.folder / "aditd.trace")} if trace else {}
        self.server = own.server(**traces, **config)
        self.relay = own.keep(Relay(self.server.tls_port))
        self.origin = own.origin()
        self.own, self.count = own, 0
        self.adit = self.start(*(("--trace", str(self.folder / "adit.trace")) if trace else ()))
        self.adit.wait_event("published")

    def start(self, *flags, **options):
        self.count += 1
        return self.own.keep(harness.adit_http(
            self.server, self.folder / f"adit{self.count}", self.origin.address, "--name", "shop", *flags, common=[
                "--server", f"https://127.0.0.1:{self.relay.port}", "--server-name", harness.DOMAIN,
                "--ca", self.server.authority.ca, "--log-format", "json"], **options))

    def moved(self, times=1):
        eventually(lambda: len(self.adit.events("moved")) >= times, "it has moved", timeout=20)

    def ask_slowly(self):
        """A request that the origin holds: (let it go, wait for its status)."""
        asked, go, out = threading.Event(), threading.Event(), []

        def serve(connection, request):
            asked.set()
            go.wait(20)
            connection.send(reply(200, b"late"))

        def ask():
            try:
                out.append(self.server.fetch(method="POST", target="/slow", body=b"x").status)
            except (OSError, Cut) as e:  # its server may die
                out.append(repr(e))

        self.origin.serve(serve)
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        assert asked.wait(10)
        return go, thread, out


def test_both_ends(own):
    """A reset under a request: each end says why, for how long and what was under way; merged, nothing was lost."""
    way = Way(own)
    go, thread, out = way.ask_slowly()
    way.relay.cut("reset")
    way.moved()
    go.set()
    thread.join(20)
    assert out == [200]
    way.adit.stop()
    way.server.program.stop()
    for who in ("adit", "aditd"):
        events = read(own.folder / f"{who}.trace")
        assert {e["program"] for e in events} == {who} and all("mono" in e for e in events)
        names = [e["event"] for e in events]
        assert names[0] == "start" and names[-1] == "stop", names
        assert [n for n in names if n in ("welcome", "detached", "attached", "lost", "close")][:3] == [
            "welcome", "detached", "attached"], names
        welcome = next(e for e in events if e["event"] == "welcome")
        assert welcome["names"] == "shop" and welcome["carrier"] == "direct"
        detached = next(e for e in events if e["event"] == "detached")
        assert detached["reason"] in ("RESET", "EOF"), detached
        assert (detached["requests"], detached["epoch"]) == (1, 0), detached
        assert 0 <= detached["alive_ms"] < 20000 and 0 <= detached["silent_ms"] <= detached["alive_ms"], detached
        for token in harness.TOKENS.values():
            assert token not in (own.folder / f"{who}.trace").read_text()
    done = transcript(own.folder, "adit.trace", "aditd.trace")
    assert done.returncode == 0 and done.stdout.endswith("verdict: lost nothing\n"), done.stdout
    assert "1 outage, the longest" in done.stdout and not done.stderr


def test_lost_link(own):
    """aditd dies under a request: the verdict names the link and what was cut, and the exit status says it."""
    way = Way(own)
    go, thread, out = way.ask_slowly()
    way.server.program.kill()
    way.server.start()
    eventually(lambda: len(way.adit.events("published")) == 2, "it is back", timeout=20)
    go.set()
    way.adit.stop()
    done = transcript(own.folder, "aditd.trace", "adit.trace")
    assert done.returncode == 1, done.stdout
    assert "verdict: lost up to 1 request\n" in done.stdout and "link not known here" in done.stdout, done.stdout
    starts = [e for e in read(own.folder / "aditd.trace") if e["event"] == "start"]
    assert len(starts) == 2
    refused = [e for e in read(own.folder / "aditd.trace") if e["event"] == "refused"]
    assert [(e["code"], e["token"], e["address"]) for e in refused] == [(410, "alice", "127.0.0.1")], refused


def test_held_requests(own):
    """Requests that wait for their tunnel are two events, however many they are."""
    way = Way(own)
    way.relay.closed = True
    way.relay.cut("reset")
    way.adit.wait_event("down")
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(way.server.fetch(target="/held").status), daemon=True)
               for _ in range(5)]
    for thread in threads:
        thread.start()
    eventually(lambda: any(e["event"] == "hold" for e in read(own.folder / "aditd.trace")), "they wait")
    time.sleep(0.3)
    way.relay.closed = False
    for thread in threads:
        thread.join(20)
    assert statuses == [200] * 5
    eventually(lambda: read(own.folder / "aditd.trace")[-1]["event"] == "hold.over", "none waits any more")
    events = read(own.folder / "aditd.trace")
    assert [e["name"] for e in events if e["event"] == "hold"] == ["shop"]
    over = events[-1]
    assert (over["waited"], over["sent"], over["gave_up"], over["turned_away"]) == (5, 5, 0, 0), over
    summary = json.loads(transcript(own.folder, "--json", "aditd.trace").stdout.splitlines()[-1])
    assert summary["held"]["waited"] == 5 and summary["verdict"] == "lost nothing"


def test_dump_without_trace(own):
    """SIGUSR1: the last events go from memory to the log of either program, which goes on; adit trace reads that."""
    way = Way(own, trace=False)
    way.relay.cut("reset")
    way.moved()
    for who, program in (("adit", way.adit), ("aditd", way.server.program)):
        program.signal(signal.SIGUSR1)
        end = program.wait_event("trace.end")
        events = [r for r in program.records if r.get("program") == who]
        assert len(events) == end["lines"] >= 4
        assert [e["event"] for e in events if e["event"] in ("start", "welcome", "detached", "attached")] == [
            "start", "welcome", "detached", "attached"]
        (own.folder / f"{who}.log").write_text(program.text + "\n")
        assert program.alive()
    assert way.server.fetch().status == 200
    done = transcript(own.folder, "adit.log", "aditd.log")
    assert done.returncode == 0 and "1 outage" in done.stdout, done.stdout
    assert "passed over, being no events" in done.stdout, done.stdout


def test_secrets_for_wireshark(own, monkeypatch):
    """SSLKEYLOGFILE: both ends append the secrets of the same connection to a file for their user only, and say so."""
    keys = own.folder / "keys"
    server_keys = own.folder / "server-keys"
    keep = harness.environment
    files = {"aditd": server_keys, "adit": keys}

    def environment(folder, **extra):
        return keep(folder, SSLKEYLOGFILE=str(files["adit" if "ADIT_TOKEN" in extra else "aditd"]), **extra)

    monkeypatch.setattr(harness, "environment", environment)
    way = Way(own, trace=False)
    for path, program in ((keys, way.adit), (server_keys, way.server.program)):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert program.wait_event("tls.keylog")["path"] == str(path)
    lines = keys.read_text().splitlines()
    labels = {line.split()[0] for line in lines}
    assert {"CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"} <= labels, labels
    assert set(lines) <= set(server_keys.read_text().splitlines())
    way.relay.cut("reset")
    way.moved()
    assert len(keys.read_text().splitlines()) > len(lines), "the second connection's secrets are appended"


def test_no_secrets_unasked(own):
    """Without SSLKEYLOGFILE none are written, and where it cannot be written the program goes on."""
    way = Way(own, trace=False)
    assert not way.adit.events("tls.keylog") and not way.server.program.events("tls.keylog")
    way.adit.stop()
    env = harness.environment(own.folder, ADIT_TOKEN=harness.TOKENS["alice"], SSLKEYLOGFILE="/nonexistent/keys")
    adit = own.keep(harness.Program([ADIT, "http", way.origin.address, *way.server.flags(), "--name", "shop"],
                                    own.folder, "adit-keys", env))
    assert "error" in adit.wait_event("tls.keylog")
    adit.wait_event("published")


class Follower:
    """adit trace --follow, read line by line."""

    def __init__(self, folder, *argv):
        self.process = subprocess.Popen([ADIT, "trace", "--follow", *argv], cwd=folder, stdout=subprocess.PIPE,
                                        text=True)
        self.lines = []
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def wait(self, text, count=1):
        eventually(lambda: sum(text in line for line in self.lines) >= count, lambda: "".join(self.lines), timeout=20)


def test_follow(own):
    """It goes on while the programs write and while the file is rotated; SIGINT ends it with the verdict."""
    way = Way(own)
    trace = own.folder / "adit.trace"
    follower = Follower(own.folder, "adit.trace", "aditd.trace")
    try:
        follower.wait("welcome", 2)
        way.relay.cut("reset")
        follower.wait("attached", 2)
        trace.rename(own.folder / "adit.trace.1")  # as the writer does it, and then it opens the name anew
        way.adit.hang_up("")
        way.adit.wait_event("reloaded")
        eventually(trace.exists, "the name is there again")
        follower.wait("welcome", 4)
        follower.process.send_signal(signal.SIGINT)
        assert follower.process.wait(10) == 0
        follower.thread.join(5)
        assert follower.lines[-1] == "verdict: lost nothing\n", follower.lines[-5:]
    finally:
        follower.process.kill()
        follower.process.wait(5)


def test_follow_ends_with_its_reader(own):
    """Nobody reads standard output any more: it ends by itself."""
    way = Way(own)
    follower = subprocess.Popen([ADIT, "trace", "--follow", own.folder / "adit.trace"], stdout=subprocess.PIPE)
    try:
        assert follower.stdout.readline()
        follower.stdout.close()
        follower.wait(10)
    finally:
        follower.kill()
        follower.wait(5)
    assert way.adit.alive()


@pytest.mark.parametrize("files", [["nowhere"], ["."], ["empty", "nowhere"]])
def test_unreadable(own, files):
    """A file that cannot be read is named, and the exit status is 2."""
    (own.folder / "empty").write_text("")
    done = transcript(own.folder, *files)
    assert done.returncode == 2 and not done.stdout and files[-1] + ": " in done.stderr, done
    assert len(done.stderr.splitlines()) == 1


def test_empty(own):
    """An empty trace is no error, and no proof."""
    (own.folder / "empty").write_text("")
    done = transcript(own.folder, "empty")
    assert done.returncode == 0 and done.stdout.endswith("verdict: nothing was recorded\n"), done


def test_too_many_files(own):
    done = transcript(own.folder, *["x"] * 17)
    assert done.returncode == 2 and "wanted at most 16" in done.stderr
