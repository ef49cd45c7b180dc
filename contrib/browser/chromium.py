"""chromium: a headless Chromium with a fresh profile, driven by the DevTools protocol over a pipe.

With a pipe the browser is our child and ends when we do, whatever way we end; nothing listens on any port.
Commands and answers are JSON texts, each ended by a NUL (Chromium's --remote-debugging-pipe: in on 3, out on 4).
"""
import base64
import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from harness import Program, environment

ANSWER = 30.0  # seconds for one command; a browser's first start on a busy machine is the slowest
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
         "--no-default-browser-check", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-extensions", "--no-proxy-server", "--window-size=900,600",
         "--remote-debugging-pipe")
LOW_FD = 10  # our ends of the pipes are above what the child is to have as 3 and 4


class Failed(Exception):
    """Something did not work; the text is for people."""


def pipe():
    """A pipe whose ends are both above LOW_FD, and are not passed on by themselves."""
    low = os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, LOW_FD) for end in low]
    for end in low:
        os.close(end)
    return ends


def trust(home, ca):
    """Chromium trusts what stands in the NSS database of its user's home."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    for argv in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "adit", "-i", str(ca)]):
        done = subprocess.run(["certutil", "-d", f"sql:{database}", *argv], capture_output=True, text=True,
                              timeout=30)
        if done.returncode:
            raise Failed(f"certutil ended with {done.returncode}: {done.stderr.strip()}")


class Chromium:
    """One browser with one page. `events` keeps what it tells, in order."""

    def __init__(self, folder):
        binary = shutil.which("chromium") or shutil.which("chromium-browser")
        if not binary:
            raise Failed("chromium is not installed")
        self.events, self.answers, self.last, self.open = [], {}, 0, True
        self.changed = threading.Condition()
        self.session = None
        theirs_in, self.into = pipe()
        self.out, theirs_out = pipe()

        def as_3_and_4():
            os.dup2(theirs_in, 3)
            os.dup2(theirs_out, 4)

        argv = [binary, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self.program = Program(argv, folder, "chromium", environment(folder), preexec_fn=as_3_and_4, pass_fds=(3, 4))
        os.close(theirs_in)
        os.close(theirs_out)
        threading.Thread(target=self.listen, daemon=True).start()
        self.attach()

    def listen(self):
        rest = b""
        while True:
            data = os.read(self.out, 1 << 16)
            *texts, rest = (rest + data).split(b"\0")
            with self.changed:
                for message in map(json.loads, texts):
                    if "id" in message:
                        self.answers[message["id"]] = message
                    else:
                        self.events.append(message)
                self.open = bool(data)
                self.changed.notify_all()
            if not data:
                return

    def wait(self, check, what, timeout=ANSWER):
        """Until check() gives something that is true, looked at after each message of the browser."""
        end = time.monotonic() + timeout
        with self.changed:
            while True:
                value = check()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0 or not self.open:
                    raise Failed(f"{what}: " + (f"not within {timeout:g} s" if self.open else "the browser ended"))
                self.changed.wait(left)

    def call(self, method, timeout=ANSWER, **params):
        with self.changed:
            self.last += 1
            number = self.last
        command = {"id": number, "method": method, "params": params}
        if self.session:
            command["sessionId"] = self.session
        try:
            os.write(self.into, json.dumps(command).encode() + b"\0")
        except OSError:
            raise Failed(f"{method}: the browser ended") from None
        answer = self.wait(lambda: self.answers.pop(number, None), f"{method}: no answer", timeout)
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']}")
        return answer["result"]

    def attach(self):
        """Takes the first page, with everything told that it does."""
        pages = [t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        self.session = self.call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def told(self, method, start=0):
        """The parameters of the events of that name, from index `start` of all events on."""
        with self.changed:
            return [e["params"] for e in self.events[start:] if e["method"] == method]

    def open_page(self, url, timeout=ANSWER):
        """Goes there and waits until it is loaded."""
        start = len(self.events)
        wrong = self.call("Page.navigate", url=url).get("errorText")
        if wrong:
            raise Failed(f"{url}: {wrong}")
        self.wait(lambda: self.told("Page.loadEventFired", start), f"{url}: not loaded", timeout)

    def evaluate(self, expression):
        """The value of a JavaScript expression in the page, as JSON knows it."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise Failed(f"{expression}: {result['exceptionDetails'].get('text')}")
        return result["result"].get("value")

    def until(self, expression, what, timeout):
        """Waits until the expression is true in the page; seconds that it took."""
        begin = time.monotonic()
        while not self.evaluate(expression):
            if time.monotonic() - begin > timeout:
                raise Failed(f"{what}: not within {timeout:g} s")
            time.sleep(0.02)
        return time.monotonic() - begin

    def screenshot(self, file):
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def stop(self):
        """Asks it to close; a browser's own processes end with it, and who does not is killed with its group."""
        if self.into is None:
            return
        self.session = None
        try:
            if self.program.alive():
                self.call("Browser.close", timeout=5)
                self.program.process.wait(10)
        except (Failed, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.program.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.program.process.wait(5)
        os.close(self.into)
        self.into = None
