#!/usr/bin/env python3
"""Golden transcripts: what `adit trace` prints for the traces in tests/golden, byte for byte, its exit status, and
what --json says of the same. The traces are of real runs: a download cut by a reset; a request that came while nobody
listened; a connection that went silent; aditd killed and started again; a fall from ws-h2 to poll and the way back.
`skew` is the first one with adit's clock 1.203 s ahead and its file rotated; `hostile` has lines that are none of ours.

Runs when src/adit has been built in the current folder. With --write it writes the transcripts, to be read before
they are committed."""
import json
import os
import re
import subprocess
import sys

TOP = os.path.abspath(os.environ.get("srcdir", "."))
GOLDEN = os.path.join(TOP, "tests", "golden")
ADIT = os.path.abspath(os.path.join("src", "adit"))
SKIPPED = 77
# name: (files, exit status, outages, bytes that adit sent again, requests that waited)
CASES = {
    "reset": (("reset.adit.json", "reset.aditd.json"), 0, 1, 65360, 0),
    "away": (("away.adit.json", "away.aditd.json"), 0, 1, 0, 1),
    "hole": (("hole.adit.json", "hole.aditd.json"), 0, 1, 38, 0),
    "hole-aditd": (("hole.aditd.json",), 0, 1, 0, 0),
    "restart": (("restart.aditd.json", "restart.adit.json"), 1, 1, 0, 0),
    "climb": (("climb.adit.json", "climb.aditd.json"), 0, 1, 0, 0),
    "skew": (("skew.adit.json", "skew.aditd.json"), 0, 1, 65360, 0),
    "hostile": (("hostile.adit.json",), 1, 1, 0, 0),
}

errors = []


def run(*flags):
    return subprocess.run([ADIT, "trace", *flags], cwd=GOLDEN, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60, check=False)


def check_text(name, files, status):
    path = os.path.join(GOLDEN, name + ".txt")
    done = run(*files)
    if "--write" in sys.argv:
        with open(path, "wb") as f:
            f.write(done.stdout)
    with open(path, "rb") as f:
        wanted = f.read()
    if done.returncode != status or done.stderr:
        errors.append(f"{name}: exit status {done.returncode}, wanted {status}; {done.stderr.decode()}")
    if re.search(rb"[^\n -~]", done.stdout):
        errors.append(f"{name}: more than printable ASCII")
    got = done.stdout.splitlines()
    for at, line in enumerate(wanted.splitlines()):
        if at >= len(got) or got[at] != line:
            errors.append(f"{name}.txt:{at + 1}: wanted {line.decode()}\n"
                          f"    found {got[at].decode() if at < len(got) else 'nothing'}")
            return
    if done.stdout != wanted:
        errors.append(f"{name}.txt: the transcript goes on behind it")


def check_json(name, files, outages, again, waited):
    done = run("--json", *files)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    summary = lines.pop()
    if re.search(rb"[^\n -~]", done.stdout):
        errors.append(f"{name}: --json: more than printable ASCII")
    if summary["event"] != "summary" or summary["events"] != len(lines):
        errors.append(f"{name}: --json: the last line is no summary of the others")
    if [line["at_ms"] for line in lines] != sorted(line["at_ms"] for line in lines):
        errors.append(f"{name}: --json: not in the order of time")
    found = (sum(link["outages"] for link in summary["links"]),
             sum(link["sent_again_by_adit"] for link in summary["links"]), summary["held"]["waited"])
    if found != (outages, again, waited):
        errors.append(f"{name}: --json: outages, bytes sent again and requests held are {found}")
    if (summary["verdict"] == "lost nothing") != (done.returncode == 0):
        errors.append(f"{name}: --json: the verdict is not the exit status")


def check_page():
    """The transcript that doc/reconnect.md explains is one of these, whole."""
    with open(os.path.join(TOP, "doc", "reconnect.md"), encoding="utf-8") as f:
        page = f.read()
    with open(os.path.join(GOLDEN, "reset.txt"), encoding="utf-8") as f:
        if f.read() not in page:
            errors.append("doc/reconnect.md: does not show tests/golden/reset.txt")


def main():
    if not os.access(ADIT, os.X_OK):
        print("src/adit has not been built here")
        return SKIPPED
    for name, (files, status, *sums) in CASES.items():
        check_text(name, files, status)
        check_json(name, files, *sums)
    check_page()
    for error in errors:
        print(error)
    print(f"{len(CASES)} transcripts: {len(errors)} differences")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
