#!/usr/bin/env python3
"""The report's own parts, without running anything: each event of src/watch/events.def has its explanation, attempts
that repeat are left out of an excerpt and counted, and each *.seq can be drawn. One line for each fault; exit 1."""
import glob
import os
import re
import sys
from xml.etree import ElementTree

TOP = os.path.abspath(os.environ.get("srcdir", "."))
REPORT = os.path.join(TOP, "contrib", "report")
sys.dont_write_bytecode = True
sys.path.insert(0, REPORT)

import explain  # noqa: E402  (the folder is put on the path first)
from sequence import Sequence  # noqa: E402

errors = []


def read(*path):
    with open(os.path.join(TOP, *path), encoding="utf-8") as f:
        return f.read()


def check_events():
    for name, who in re.findall(r'^X\("([\w.]+)", (\w+)', read("src", "watch", "events.def"), re.M):
        for program in ("adit", "aditd") if who == "BOTH" else (who.lower(),):
            if not explain.explain({"event": name, "program": program}):
                errors.append(f"contrib/report/explain.py: no explanation of {program}'s {name}")


def check_folding():
    """Two attempts that fail are shown whole; of seven the first two and the last."""
    lines = [line for line in read("tests", "golden", "restart.txt").splitlines() if line.startswith("+")]
    if explain.folded(lines) != lines:
        errors.append("contrib/report/explain.py: two failed attempts are not shown whole")
    at = next(i for i, line in enumerate(lines) if explain.name_of(line) == "attempt.failed")
    begin = max(i for i in range(at) if explain.name_of(lines[i]) == "dial")
    attempt = lines[begin:at + 2]
    folded = explain.folded(attempt * 7 + ["+00:00:09.000  aditd  -  start  again"])
    wanted = attempt * 2 + [f"      ... {4 * len(attempt)} lines: 4 more attempts"] + attempt + folded[-1:]
    if folded != wanted:
        errors.append("contrib/report/explain.py: seven failed attempts become:\n" + "\n".join(folded))


def check_sequences():
    for path in glob.glob(os.path.join(REPORT, "diagrams", "*.seq")):
        try:
            ElementTree.fromstring(Sequence(read(path)).svg())
        except (ValueError, ElementTree.ParseError) as e:
            errors.append(f"{os.path.relpath(path, TOP)}: {e}")
    try:
        Sequence("actors: a, b\na -> c: words")
        errors.append("contrib/report/sequence.py: takes who is no actor")
    except ValueError as e:
        if str(e) != "line 2: found 'c', wanted one of: a, b":
            errors.append(f"contrib/report/sequence.py: says {e}")


check_events()
check_folding()
check_sequences()
print(*errors, f"report: {len(errors)} faults", sep="\n")
sys.exit(1 if errors else 0)
