"""flood_rows: what a flood costs: the visitor beside it, the programs' memory and CPU.

Everything is a process of its own: aditd, adit, the visitor (flood_victim.c), what he asks (nginx), the attacker
(flood_attack.c) and his origin (flood_origin.c). On a machine with few cores an attacker slows everybody by being
there. So each window of an attack stands beside one in which the same attacker sends as many bytes over as many
connections to a sink, which throws them away: that is the visitor's baseline. Where attackers complete TLS
handshakes, so does the sink.

What a flood's CPU is compared with is a visitor who sends as many bytes over as many connections as small requests.
"""
import json
import os
import statistics
import subprocess
import time
from pathlib import Path

import harness
from harness import DOMAIN, Program, Server, Tunnels, environment
from wire import eventually

HERE = Path(__file__).parent
PACE_US = 2000  # between two requests of the visitor
WINDOW_MS = 250  # of an attack, and of its control
WINDOWS = 12  # of each, at most: other programs' noise passes, a fault is in each of them
SLOWER = 2.0  # how much the visitor's p99 may grow
SETTLE = 0.05  # seconds in which what an attack has left behind is done; the visitor may wait for that too
GRAIN = 0.0015  # seconds that it may grow by besides: on his way there and back he meets five programs at some work
SLICE = 0.003  # seconds, in place of GRAIN where aditd is at work all the time: a time slice of the scheduler
LATEST = 0.005  # seconds that the latest of all his answers may grow by: one turn that is too long is one late answer
GROWTH = 16 * 1024  # KiB that the programs' memory may grow by for an attacking connection
PRIORITY = -10  # of everything that is measured
AMPLIFIED = 10.0  # CPU that an attacker may cause, by what an honest visitor causes
CUT = 2.0  # seconds
CALM = 11  # ENHANCE_YOUR_CALM


def build(folder):
    """The three programs, in that folder."""
    for name in ("flood_victim", "flood_origin", "flood_attack"):
        done = subprocess.run(["cc", "-O2", "-o", folder / name, HERE / (name + ".c"), "-lssl", "-lcrypto"],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    return folder


def prefer(pid):
    """Before whatever else this machine does; all that takes part in a measurement is preferred in the same way."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, PRIORITY)
        Path(f"/proc/{pid}/autogroup").write_text(str(PRIORITY))
    except OSError:
        pass  # then it takes more windows


class Helper:
    """A process that lives as long as its standard input; what it says stands in a file."""

    def __init__(self, argv, out):
        self.out = out
        with open(out, "wb") as f:
            self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=f)
        prefer(self.process.pid)

    def lines(self):
        """The whole ones so far."""
        text = self.out.read_text()
        return text[:text.rfind("\n") + 1].splitlines()

    def port(self):
        return int(eventually(self.lines, "its port")[0])

    def stop(self):
        self.process.stdin.close()
        self.process.wait(20)


class Victim(Helper):
    def samples(self, since, until):
        """(asked, took) in seconds, of what was asked in that time."""
        found = []
        for line in self.lines():
            assert not line.startswith("error"), "the visitor was not served: " + line
            when, took = (int(word) / 1e6 for word in line.split())
            if since <= when < until:
                found.append(took)
        return found


def cpu(program):
    """Seconds of CPU that all its threads have had."""
    total = 0
    for task in os.listdir(f"/proc/{program.pid}/task"):
        try:
            total += int(Path(f"/proc/{program.pid}/task/{task}/schedstat").read_text().split()[0])
        except FileNotFoundError:
            pass
    return total / 1e9


class Ground:
    """The programs of both sides. `shop` is the attackers' origin, `files` what the visitor asks."""

    def __init__(self, folder, authority, nginx, **config):
        self.folder, self.count = folder, 0
        self.tools = build(folder)
        (nginx.root / "quiet").write_text("small")
        self.origin = Helper([self.tools / "flood_origin"], folder / "origin.out")
        self.sink = Helper([self.tools / "flood_origin", "sink"], folder / "sink.out")
        self.server = Server(folder / "aditd", authority, **config)
        self.tls_sink = Helper([self.tools / "flood_origin", "sink", self.server.certificate, self.server.key],
                               folder / "tls_sink.out")
        self.tunnels = Tunnels(self.server, folder / "adit", {
            "shop": f"http://127.0.0.1:{self.origin.port()}", "files": nginx.address})
        self.programs = (self.server.program, self.tunnels.program)
        with open(f"/proc/{self.server.program.pid}/maps") as maps:
            self.slow = 4 if "libasan" in maps.read() else 1
        for program in (*self.programs, nginx.program):
            prefer(program.pid)
        self.request_cpu, self.connection_cpu = self.honest()

    token = staticmethod(Server.token)

    def stop(self):
        self.tunnels.program.stop()
        self.server.program.stop()
        self.origin.stop()
        self.sink.stop()
        self.tls_sink.stop()

    def victim(self, pace=PACE_US):
        self.count += 1
        victim = Victim([self.tools / "flood_victim", self.server.plain_port, "files." + DOMAIN, "/quiet", pace],
                        self.folder / f"victim{self.count}.out")
        eventually(victim.lines, "the visitor is served")
        return victim

    def memory(self):
        """KiB of aditd and of adit."""
        return [p.memory("VmRSS") for p in self.programs]

    def cpu(self):
        return sum(cpu(p) for p in self.programs)

    def honest(self):
        """CPU of a request on a kept connection, and of one on a connection of its own, in seconds."""
        victim = self.victim(0)
        time.sleep(0.1)
        began, before = time.monotonic(), self.cpu()
        time.sleep(0.5)
        spent, ended = self.cpu() - before, time.monotonic()
        victim.stop()
        of_request = spent / len(victim.samples(began, ended))
        before = self.cpu()
        did = self.attack(Attack(b"GET /quiet HTTP/1.1\r\nHost: files." + DOMAIN.encode() + b"\r\n\r\n", every=1,
                                 answer=1), self.server.plain_port, 400)
        return of_request, (self.cpu() - before) / did["begun"]

    def attack(self, attack, port, last, **more):
        """Runs the attacker so long; what he tells."""
        options = dict(attack.options, port=port, last=last, **more)
        for name, data in (("first", attack.first), ("again", attack.again)):
            (self.folder / name).write_bytes(data)
            options[name] = self.folder / name
        words = [f"{key}={value}" for key, value in options.items()]
        running = subprocess.Popen([self.tools / "flood_attack", *words], stdout=subprocess.PIPE, text=True)
        prefer(running.pid)
        most = self.memory()
        until = time.monotonic() + last / 1e3 + 20
        while running.poll() is None:
            assert time.monotonic() < until, "the attacker does not end"
            time.sleep(0.01)
            most = [max(m, n) for m, n in zip(most, self.memory())]
        return dict(json.loads(running.communicate()[0]), memory=most)


class Attack:
    """What an attacker sends: `first`, and `again` without end. Options are flood_attack.c's; `tls`: to the TLS
    listener; `secured`: with a handshake; `port`: to another one; `event`: bytes of one event of `again`, `requests`:
    each of them is one;
    `cut`: seconds; `after`: seconds in which it begins, and the visitor is not looked at; `grain`: by what the visitor's
    p99 may grow besides."""

    def __init__(self, first, again=b"", event=1, requests=False, tls=False, secured=False, port=None, cut=None,
                 after=0.0, grain=GRAIN, **options):
        self.first, self.again, self.event, self.requests = first, again, event, requests
        self.tls, self.secured, self.port, self.cut, self.after = tls or secured, secured, port, cut, after
        self.grain, self.options = grain, dict(options, tls=int(secured))


class Row:
    """One attack, measured."""

    def __init__(self, ground, attack):
        self.ground, self.attack = ground, attack
        self.port = attack.port or (ground.server.tls_port if attack.tls else ground.server.plain_port)
        self.total = dict.fromkeys(("begun", "secured", "cut", "refused", "sent", "received"), 0)
        self.cut_most, self.goaway = 0, None
        self.with_attack, self.without, self.cpu, self.seconds = [], [], 0.0, 0.0
        self.latest_with, self.latest_without = [], []
        self.before = self.most = ground.memory()

    def window(self, victim, port, last, **more):
        """CPU that it took, the visitor's samples, how long it was, what the attacker tells."""
        began, before = time.monotonic(), self.ground.cpu()
        did = self.ground.attack(self.attack, port, last, **more)
        time.sleep(SETTLE)
        spent, ended = self.ground.cpu() - before, time.monotonic()
        return spent, victim.samples(began + self.attack.after, ended), ended - began, did

    def control(self, victim, last):
        per_connection = max(1, self.total["sent"] // max(1, self.total["begun"]))
        sink = self.ground.tls_sink if self.attack.secured else self.ground.sink
        spent, samples, _, _ = self.window(victim, sink.port(), last, h2=0, answer=0, wait=0, unread=0, source=0,
                                           limit=per_connection)
        self.without.append(p99(samples))
        self.latest_without.append(max(samples, default=float("inf")))
        return spent / max(1, len(samples))

    def attacked(self, victim, last):
        spent, samples, seconds, did = self.window(victim, self.port, last)
        for key in self.total:
            self.total[key] += did[key]
        self.cut_most = max(self.cut_most, did["cut_most"] / 1e6)
        self.goaway = did["goaway"]
        self.most = [max(m, n) for m, n in zip(self.most, did["memory"])]
        return spent, samples, seconds

    def measure(self, window=WINDOW_MS):
        """A window more of each; the bounds hold or not."""
        victim = self.ground.victim()
        if not self.seconds:
            self.attacked(victim, window // 2)
            self.total_before = dict(self.total)
        of_victim = self.control(victim, window)
        spent, samples, seconds = self.attacked(victim, window)
        self.with_attack.append(p99(samples))
        self.latest_with.append(max(samples, default=float("inf")))
        self.seconds += seconds
        self.cpu += max(0.0, spent - of_victim * len(samples))
        victim.stop()
        return self

    def grew(self, key):
        """Since its first connections, which were a trial."""
        return self.total[key] - self.total_before[key]

    @property
    def p99(self):
        """Of the quietest window of each kind."""
        return min(self.with_attack), min(self.without)

    @property
    def waits(self):
        """Does the visitor wait for it? Not when he does not in the quietest windows, or in those in the middle: on a
        busy machine quiet ones are few, and may all be of one kind."""
        return all(of(self.with_attack) > SLOWER * of(self.without) + self.attack.grain
                   for of in (min, statistics.median))

    @property
    def latest(self):
        """Of the quietest window of each kind."""
        return min(self.latest_with), min(self.latest_without)

    @property
    def amplified(self):
        """CPU by that of an honest visitor who brings as many connections, and as many requests or bytes."""
        ground = self.ground
        small = len(f"GET /quiet HTTP/1.1\r\nHost: files.{DOMAIN}\r\n\r\n")
        size = self.attack.event if self.attack.requests else small
        begun, sent = max(1, self.grew("begun")), self.grew("sent")
        return self.cpu / (begun * ground.connection_cpu + max(0, sent - begun * small) / size * ground.request_cpu)

    @property
    def grown(self):
        """KiB for each attacking connection: of aditd, of adit."""
        return [(m - b) / self.attack.options.get("slots", 1) for m, b in zip(self.most, self.before)]

    def faults(self):
        """What is beyond its bound; with sanitizers only whether it is cut."""
        under, beside = self.p99
        limit = self.attack.cut
        found = []
        if limit is not None and (not self.total["cut"] or self.cut_most > limit * self.ground.slow):
            found.append(f"cut after {self.cut_most:.2f} s, {self.total['cut']} of {self.total['begun']}")
        if self.ground.slow > 1:
            return found
        if self.waits:
            found.append(f"the visitor's p99 is {under * 1e3:.2f} ms, beside a sink {beside * 1e3:.2f} ms")
        late, beside = self.latest
        if late > SLOWER * beside + LATEST:
            found.append(f"an answer comes after {late * 1e3:.2f} ms, beside a sink {beside * 1e3:.2f} ms")
        if max(self.grown) > GROWTH:
            found.append(f"memory grew by {self.grown} KiB for each connection")
        if self.amplified > AMPLIFIED:
            found.append(f"CPU {self.amplified:.1f} times an honest visitor's")
        return found

    def __str__(self):
        under, beside = self.p99
        total = self.total
        cut = f"{self.cut_most * 1e3:.0f} ms" if total["cut"] else "-"
        events = f"{total['sent'] / max(1, total['begun']) / self.attack.event:.0f}"
        aditd, adit = self.grown
        return (f"cut {cut} | {events} events | +{aditd:.0f} +{adit:.0f} KiB | "
                f"{under * 1e3:.2f} ms beside {beside * 1e3:.2f}, latest {self.latest[0] * 1e3:.1f} | "
                f"{self.cpu / self.seconds * 1e3:.0f} ms/s | {self.amplified:.2f} x "
                f"| {total['begun']} begun, {total['secured']} secured, {total['cut']} cut, "
                f"{total['refused']} refused, goaway {self.goaway}, "
                f"{total['sent'] / 1e6:.2f} MB")


def p99(samples):
    return statistics.quantiles(samples, n=100, method="inclusive")[98] if len(samples) > 1 else float("inf")


def check(ground, name, attack, window=WINDOW_MS):
    """Measures it; a bound that is missed is missed each time."""
    row = Row(ground, attack)
    for _ in range(WINDOWS):
        faults = row.measure(window).faults()
        if not faults:
            break
    print(f"| {name} | {row}")
    assert not faults, "; ".join(faults)
    return row
