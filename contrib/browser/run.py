"""A real browser and a real development server through the tunnel, step by step; see ../browser.sh.

The map:
  run.py       the steps
  chromium.py  the browser, driven by the DevTools protocol
  vite.py      the project that is served and edited
  ../../tests/e2e: harness.py starts programs, relay.py cuts connections, wire.py asks by hand
"""
import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "e2e"))

import harness  # noqa: E402  (the folder is put on the path first)
from chromium import Chromium, Failed, trust  # noqa: E402
from relay import Relay  # noqa: E402
from vite import MANY, VERSION, Vite  # noqa: E402
from wire import Visitor  # noqa: E402

TEXT_BOUND = 20.0  # an edited text's way to the page; adit itself finds a silent black hole within 5 s
LOAD_BOUND = 30.0
# Vite's watcher drops a change that follows another of the same file within 50 ms: no developer is that fast.
EDIT_PAUSE = 0.3
AWAY = 2.0  # how long there is no way between adit and aditd
LOADS = 3  # of the page of many files, each way
FOREIGN = "app.example.test"  # a name that Vite does not allow by itself, as it does *.localhost


class Run:
    """The steps, in order, and what they start."""

    def __init__(self, folder, screenshot):
        self.folder, self.screenshot = folder, screenshot
        self.vite = self.aditd = self.relay = self.browser = self.url = None
        self.adits = []

    def sub(self, name):
        path = self.folder / name
        path.mkdir()
        return path

    # ---- what is needed

    def project(self):
        self.vite = Vite(self.sub("page"))
        self.vite.install()
        return f"vite {VERSION}"

    def serve(self):
        self.vite.start()
        return f"http://127.0.0.1:{self.vite.port}"

    def server(self):
        argv = [harness.ADITD, "--dev", "--dev-listen", "127.0.0.1:0", "--dev-dir", self.folder / "dev",
                "--log-format", "json", "--trace", self.folder / "aditd.trace"]
        self.aditd = harness.Program(argv, self.folder, "aditd")
        port = int(self.aditd.wait_event("listening")["address"].rpartition(":")[2])
        self.relay = Relay(port)
        return f"port {port}; adit's connection goes through a relay that can cut it, on port {self.relay.port}"

    def start_adit(self, log, *flags):
        dev = self.folder / "dev"
        argv = [harness.ADIT, "http", self.vite.port, "--server", f"https://127.0.0.1:{self.relay.port}",
                "--ca", dev / "ca.pem", "--token-file", dev / "token", "--log-format", "json", *flags]
        program = harness.Program(argv, self.folder, log)
        self.adits.append(program)
        return program.wait_event("published")

    def client(self):
        told = self.start_adit("adit", "--name", "app", "--trace", self.folder / "adit.trace")
        self.url = told["url"] + "/"
        return f"{self.url}, carrier {told['carrier']}"

    def start_browser(self):
        home = self.sub("browser")
        trust(home, self.folder / "dev" / "ca.pem")
        self.browser = Chromium(home)
        return self.browser.call("Browser.getVersion")["product"] + ", a fresh profile that trusts this aditd's CA"

    # ---- what is shown

    def open_page(self, url, text):
        b = self.browser
        b.open_page(url, LOAD_BOUND)
        self.shows(text)
        protocol = b.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol")
        if protocol != "h2":
            raise Failed(f"the page came over {protocol!r}, wanted h2")
        b.evaluate("window.marker = 'kept'")
        return f"'{text}', over {protocol}"

    def connected(self, url):
        """Vite would connect straight to its own port when the tunnel failed: the URL has to be the tunnel's."""
        b = self.browser
        ours = "wss" + url.removeprefix("https")
        made = b.wait(lambda: [e for e in b.told("Network.webSocketCreated") if e["url"].startswith(ours)],
                      "no WebSocket to the tunnel")[0]
        answer = b.wait(lambda: [e for e in b.told("Network.webSocketHandshakeResponseReceived")
                                 if e["requestId"] == made["requestId"]], "its handshake was not answered")[0]
        b.wait(lambda: [e for e in b.told("Network.webSocketFrameReceived") if e["requestId"] == made["requestId"]],
               "nothing came over it")
        status = answer["response"]["status"]
        over = {101: "HTTP/1.1 (101)", 200: "HTTP/2 (extended CONNECT, 200)"}.get(status)
        if not over:
            raise Failed(f"its handshake was answered with {status}, wanted 101 or 200")
        return f"over {over}"

    def page(self):
        return self.open_page(self.url, "the first text")

    def socket(self):
        return self.connected(self.url)

    def shows(self, text):
        """Seconds until the page shows it."""
        return self.browser.until(f"document.getElementById('text')?.textContent === '{text}'",
                                  f"the page shows '{text}'", TEXT_BOUND)

    def edited(self, text, meanwhile=lambda: None):
        """Changes the module's file, and waits for its text on the same page."""
        time.sleep(EDIT_PAUSE)
        begin = time.monotonic()
        self.vite.edit(text)
        meanwhile()
        self.shows(text)
        took = time.monotonic() - begin
        if self.browser.evaluate("window.marker") != "kept":
            raise Failed(f"the page shows '{text}', but was loaded anew for it")
        return f"'{text}' after {took * 1000:.0f} ms, window's marker is still there"

    def edit(self):
        return self.edited("the second text")

    def cut_edit(self):
        before = self.relay.count
        self.relay.cut("reset")
        told = self.edited("after a reset")
        return f"{told}, {self.relay.count - before} new connection"

    def away_edit(self):
        self.relay.closed = True
        self.relay.cut("reset")

        def come_back():
            time.sleep(AWAY)
            if self.browser.evaluate("document.getElementById('text').textContent") == "while it was away":
                raise Failed("the text came although the tunnel was away: it took another way")
            self.relay.closed = False
        try:
            return self.edited("while it was away", come_back)
        finally:
            self.relay.closed = False

    def hole_edit(self):
        self.relay.cut("hole")
        return self.edited("past a black hole")

    def picture(self):
        self.browser.screenshot(self.screenshot)
        return str(self.screenshot)

    def load_many(self, url):
        """Seconds until all modules have run, and how the responses came: {(protocol, connection): count}."""
        b = self.browser
        start, begin = len(b.events), time.monotonic()
        b.open_page(url + "many.html", LOAD_BOUND)
        total = MANY * (MANY + 1) // 2
        b.until(f"document.getElementById('sum').textContent === '{total}'", f"the sum is {total}", LOAD_BOUND)
        took = time.monotonic() - begin
        came = [e["response"] for e in b.told("Network.responseReceived", start)]
        came = [r for r in came if "/src/many/" in r["url"]]
        wrong = [r["url"] for r in came if r["status"] != 200]
        if wrong or len(came) != MANY:
            raise Failed(f"{len(came)} of {MANY} files came, {len(wrong)} of them not with 200: {wrong[:3]}")
        return took, Counter((r["protocol"], r["connectionId"]) for r in came)

    def many(self):
        self.browser.call("Network.setCacheDisabled", cacheDisabled=True)
        straight = f"http://127.0.0.1:{self.vite.port}/"
        self.load_many(straight)  # Vite keeps what it has transformed once
        times = {straight: [], self.url: []}
        for _ in range(LOADS):
            for url, taken in times.items():
                took, ways = self.load_many(url)
                taken.append(took)
        if len(ways) != 1 or next(iter(ways))[0] != "h2":
            raise Failed(f"wanted one HTTP/2 connection, the files came over {dict(ways)}")
        through, direct = (statistics.median(times[url]) * 1000 for url in (self.url, straight))
        return f"{MANY} modules over one h2 connection in {through:.0f} ms, straight from Vite in {direct:.0f} ms"

    def host(self):
        """What adit(1) advises for names that Vite does not know; those below localhost it knows by itself."""
        with Visitor(self.vite.port, FOREIGN) as visitor:
            refused = visitor.fetch().status
        if refused != 403:
            raise Failed(f"Vite answers {FOREIGN} with {refused}, not with 403: the advice is out of date")
        host = f"localhost:{self.vite.port}"
        url = self.start_adit("adit-host", "--name", "host", "--host-header", host)["url"] + "/"
        self.open_page(url, "past a black hole")
        self.connected(url)
        self.edited("with another Host")
        return f"Vite answers Host: {FOREIGN} with 403; --host-header {host}: page, WebSocket and edit work"

    def end(self):
        b = self.browser
        wrong = [e["entry"]["text"] for e in b.told("Log.entryAdded") if e["entry"]["level"] == "error"]
        wrong += [e["exceptionDetails"]["text"] for e in b.told("Runtime.exceptionThrown")]
        if wrong:
            raise Failed("the browser complains: " + "; ".join(wrong))
        b.stop()
        for program in (*self.adits, self.aditd):
            program.stop()
        done = subprocess.run([harness.ADIT, "trace", self.folder / "adit.trace", self.folder / "aditd.trace"],
                              capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise Failed(f"adit trace ended with {done.returncode}: {done.stdout[-500:]}{done.stderr}")
        return "no error in the browser's console; adit trace: " + done.stdout.rstrip().splitlines()[-1]

    def steps(self):
        yield "npm install", self.project
        yield "Vite's development server", self.serve
        yield "aditd --dev", self.server
        yield "adit http PORT --name app", self.client
        yield "Chromium", self.start_browser
        yield "the page", self.page
        yield "Vite's WebSocket, through the tunnel", self.socket
        yield "an edit", self.edit
        yield "the tunnel's connection is reset, and an edit", self.cut_edit
        yield f"no way to aditd for {AWAY:g} s, and an edit meanwhile", self.away_edit
        yield "the connection goes silent, and an edit", self.hole_edit
        if self.screenshot:
            yield "a screenshot", self.picture
        yield "many small files", self.many
        yield "a public name that Vite does not know", self.host
        yield "the end", self.end

    def clean_up(self):
        """Whatever is still there; nothing here waits for long."""
        if self.browser:
            self.browser.stop()
        for program in (*self.adits, self.aditd):
            if program:
                program.kill()
        if self.vite:
            self.vite.stop()
        if self.relay:
            self.relay.stop()

    def show_logs(self):
        for log in sorted([*self.folder.glob("*.log"), *self.folder.glob("*/*.log"), *self.folder.glob("*/*.out")]):
            tail = log.read_text(errors="replace").splitlines()[-8:]
            if tail:
                print(f"--- the end of {log.relative_to(self.folder)}", *tail, sep="\n")


def do_all(run):
    """0 when every step was ok; the first that is not ends it."""
    for what, act in run.steps():
        begin = time.monotonic()
        try:
            print(f"ok      {what}: {act()} ({time.monotonic() - begin:.1f} s)", flush=True)
        except (Failed, AssertionError, OSError, subprocess.SubprocessError) as e:
            print(f"FAILED  {what}: {e}", flush=True)
            run.show_logs()
            return 1
    return 0


def main():
    p = argparse.ArgumentParser(prog="browser.sh", description="A real browser and Vite through the tunnel.")
    p.add_argument("--screenshot", type=lambda name: Path(name).resolve(), metavar="FILE")
    args = p.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="adit-browser-", ignore_cleanup_errors=True) as folder:
        run = Run(Path(folder), args.screenshot)
        try:
            return do_all(run)
        except KeyboardInterrupt:
            print("browser: interrupted", file=sys.stderr)
            return 130
        finally:
            run.clean_up()


if __name__ == "__main__":
    sys.exit(main())
