#!/usr/bin/env python3
"""Tries what `make report` is made of, without measuring: pictures are well-formed, a section that fails is told and
does not end the report, and visitors notice a body that is not the one they asked for."""
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from xml.etree import ElementTree

sys.dont_write_bytecode = True
TOP = os.path.abspath(os.environ.get("srcdir", "."))
REPORT = os.path.join(TOP, "contrib", "report")
sys.path[:0] = [REPORT]

import main  # noqa: E402  (its folder is put on the path first)
import compared  # noqa: E402
import page  # noqa: E402
import report  # noqa: E402  (contrib/bench's)
import svg  # noqa: E402
from sections import latency, load, tunnels  # noqa: E402
from message import Content, head_of, response  # noqa: E402

SECONDS = 30
WORDS = 'a < b & "c"'
errors = []


def check(good, what):
    if not good:
        errors.append(what)


# ---- pictures

def pictures():
    plot = svg.Plot(WORDS, svg.Axis.around("ms", [0.2, 700], log=True), svg.Axis.around("%", [100]))
    plot.steps([(0.2, 0), (700, 100)], "one")
    plot.dots([(0, 50), (1e9, -5)], "beyond both ends")
    plot.band(1, 10, "outage")
    plot.mark(100, WORDS)
    bars = svg.Bars(WORDS, "MB/s", ["a", "b"], ["x", "y"], [[1, None], [0.004, 20000]], log=True)
    sheet = svg.Sheet(300, 100, WORDS)
    sheet.labelled(10, 40, 100, 40, "two\nlines")
    sheet.line(110, 60, 200, 60, arrow=True)
    return {"Plot": plot, "Bars": bars, "Sheet": sheet, "empty Bars": svg.Bars("t", "l", ["a"], ["x"], [[None]])}


def check_pictures():
    for name, picture in pictures().items():
        root = ElementTree.fromstring(picture.svg())
        width, height = float(root.get("width")), float(root.get("height"))
        for element in root.iter():
            for across, down in (("x", "y"), ("cx", "cy"), ("x1", "y1"), ("x2", "y2")):
                if element.get(across) is not None:
                    x, y = float(element.get(across)), float(element.get(down))
                    check(0 <= x <= width and 0 <= y <= height, f"svg: {name}: {element.tag} at {x}, {y}")
        check(name == "empty Bars" or WORDS in "".join(root.itertext()), f"svg: {name}: its title is not there")
    for value, wanted in ((0, "0"), (0.5, "0.5"), (1.236, "1.24"), (20, "20"), (12345.6, "12\u202f346")):
        check(svg.number(value) == wanted, f"svg.number({value}): found {svg.number(value)}, wanted {wanted}")


# ---- sections

def section(run):
    """How main.py tells of a section with that run()."""
    sys.modules["sections.made_up"] = types.SimpleNamespace(run=run)
    main.SECTIONS["made_up"] = "Made up"
    bench = types.SimpleNamespace(work=tempfile.gettempdir(), file=lambda name: os.path.join(folder, name), tools={})
    with tempfile.TemporaryDirectory() as folder:
        return main.one_section("made_up", main.Context("made_up", bench, "/nowhere", folder, True))


def fails(_context):
    raise main.procs.Failed(f"no\n{tempfile.gettempdir()}/thing")


def faulty(context):
    context.fault("one thing was wrong")
    context.summary("question", "before", "now", False)
    return "All the rest."


def check_sections():
    results = [section(run) for run in (lambda _: "Well.", fails, lambda c: c.want("ssh"), faulty)]
    found = [(r["status"], r["reason"]) for r in results]
    wanted = [("ok", None), ("failed", "no …/thing"), ("skipped", "not installed: ssh"),
              ("failed", "one thing was wrong")]
    check(found == wanted, f"sections: found {found}, wanted {wanted}")
    meta = page.meta(types.SimpleNamespace(quick=False))
    text = page.page({**meta, "versions": {"nginx": "nginx version: nginx/1.22.1"}}, results)
    for wanted in ("Well.", "no …/thing", "All the rest.", "| [question](#made_up) | before | now | **not met** |",
                   "nginx 1.22.1", "not installed: ssh"):
        check(wanted in text, f"page: wanted {wanted!r} in it")
    check(socket.gethostname() not in text or len(socket.gethostname()) < 4, "page: it names the host")


class Summed:
    """A context that keeps what it is told."""

    def __init__(self, quick):
        self.quick, self.summaries, self.faults = quick, [], []
        self.fault = self.faults.append

    def summary(self, _question, before, now, met=None):
        self.summaries.append((before, now, met))


def check_crowds():
    """A way whose largest crowd has no result, or answers that are wrong, has not met what is expected."""
    def told(lacking, wrong):
        context = Summed(False)
        found = [(way.label, n, True, {"seconds": 0.5, "times": [1] * (n - wrong), "wrong": ["x"] * wrong})
                 for way in compared.ALL for n in load.CROWDS if not (way is lacking and n == max(load.CROWDS))]
        load.summarize_crowds(context, found)
        return context.summaries[0][2]
    found = [told(None, 0), told(compared.DIRECT, 0), told(compared.OLD, 0), told(None, 1)]
    check(found == [True, False, False, False], f"load: crowds are met: {found}")
    empty = Summed(False)
    load.summarize_crowds(empty, [])
    check(empty.summaries[0][2] is False, "load: no crowd at all is met")


def check_amounts():
    """What a full run promises its reader."""
    for table, least in ((latency.FAST, 200), (latency.SLOW, 50)):
        for visitors, (count, *_) in table.items():
            found = latency.ROUNDS * count * visitors
            check(found >= least, f"latency: {found} samples of {visitors} visitors, wanted {least}")
    check(latency.VISITORS == (1, 10) and load.CROWDS == (10, 100, 1000) and list(load.SIZES) == [1, 100, 1000],
          "latency, load: other visitors or bodies than are promised")


def check_goals():
    """Rounds without a figure count against adit, and are told."""
    def told(*entries):
        results, context = report.Results(), Summed(False)
        for round_, (status, figures) in enumerate(entries, 1):
            results.add(round_, "restart", "adit", status, figures, reason="r" if status != "ok" else None)
            results.add(round_, "cut", "adit", status, {"whole": figures.get("whole", 1)} if figures else None,
                        reason="r" if status == "skipped" else None)
        tunnels.goals(context, results, ["restart"])
        tunnels.arrivals(context, results, ["cut"])
        tunnels.own_faults(context, results)
        return [s[1:] for s in context.summaries], len(context.faults), len(list(report.raw_rows(results)))
    back, gone = ("ok", {"back_ms": 100}), ("ok", {"not_back_s": 30, "whole": 0})
    for entries, wanted in (
            ([back, back], ([("100 ms", True), ("2 of 2", True)], 0, 4)),
            ([back, gone], ([("100 ms (not within 30 s in 1 of 2 rounds)", False), ("1 of 2", False)], 0, 5)),
            ([gone], ([("not within 30 s", False), ("0 of 1", False)], 0, 3)),
            ([("failed", {})], ([("failed", False), ("0 of 1", False)], 2, 1)),
            ([("skipped", {})], ([("skipped: r", None), ("skipped: r", None)], 0, 2))):
        check(told(*entries) == wanted, f"tunnels: {entries} are {told(*entries)}, wanted {wanted}")


def check_ratios():
    """What is judged beside another: by rounds that both have; a round without adit's figure counts against it."""
    def told(mine, other):
        results, context = report.Results(), Summed(False)
        for subject, figures in (("adit", mine), ("nghttpx", other)):
            for round_, figure in enumerate(figures, 1):
                found = {"cpu_us_per_request": figure} if figure else None
                results.add(round_, "get-1", subject, "ok" if figure else "failed", found,
                            reason=None if figure else "r")
        tunnels.ratios(context, results, ["get-1"])
        return context.summaries[0][1:]
    for mine, other, wanted in (([80, 85, 90], [100, 100, 100], ("×0.85 (0.80–0.90)", True)),
                                ([86], [100], ("×0.86", False)),
                                ([80, None], [100, 100], ("×0.80 failed in 1 of 2 rounds", False)),
                                ([80], [None], ("skipped: no figure of two nghttpx", None))):
        check(told(mine, other) == wanted, f"tunnels: {mine} beside {other} are {told(mine, other)}, wanted {wanted}")


def check_folder():
    """Only a report is replaced."""
    with tempfile.TemporaryDirectory() as folder:
        readme = os.path.join(folder, "README.md")
        for text, good in ((page.TITLE + "\nOld.\n", True), ("# Mine\n", False)):
            with open(readme, "w", encoding="utf-8") as f:
                f.write(text)
            taken = main.unfit(folder) is None
            check(taken == good, f"--out: a README.md that begins {text!r}: {'taken' if taken else 'refused'}")


# ---- visitors and their origin

def visitor(*arguments):
    argv = [sys.executable, "-B", os.path.join(REPORT, "visitor.py"), *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, check=False)


def liar(listener, size):
    """Answers one request with the right bytes but one."""
    sock, _ = listener.accept()
    with sock:
        asked = b""
        while not head_of(asked):
            asked += sock.recv(65536)
        sock.sendall(response(length=size))
        for i, piece in enumerate(Content(7, size).pieces()):
            if i == 1:
                piece[1000] ^= 1
            sock.sendall(piece)


def check_visitors():
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    origin = subprocess.Popen([sys.executable, "-B", os.path.join(REPORT, "origin.py"), str(port)])
    try:
        deadline = time.monotonic() + SECONDS
        while origin.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                time.sleep(0.02)
        for arguments in (("crowd", port, "h", 20, 1, 1, 2000), ("crowd", port, "h", 5, 3, 0, 200000),
                          ("down", port, "h", 7, 2500000), ("up", port, "h", 7, 2500000)):
            p = visitor(*arguments)
            good = p.returncode == 0 and '"wrong": []' in p.stdout + '"wrong": []' * (arguments[0] != "crowd")
            check(good, f"visitor.py {arguments[0]}: status {p.returncode}: {p.stdout[-200:]}{p.stderr[-200:]}")
    finally:
        origin.kill()
        origin.wait(SECONDS)
    p = visitor("crowd", port, "h", 5, 1, 0, 10)
    check(p.stdout.count("ConnectionRefusedError") == 5, f"visitor.py crowd: with nobody there: {p.stdout[-200:]}")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(SECONDS)
        thread = threading.Thread(target=liar, args=(listener, 2500000), daemon=True)
        thread.start()
        p = visitor("down", listener.getsockname()[1], "h", 7, 2500000)
        check(p.returncode == 1 and "SHA-256" in p.stderr, f"visitor.py down: took a wrong body: {p.stderr[-200:]}")
        thread.join(SECONDS)


check_pictures()
check_sections()
check_crowds()
check_amounts()
check_goals()
check_ratios()
check_folder()
check_visitors()
for error in errors:
    print(f"check_report: {error}")
sys.exit(1 if errors else 0)
