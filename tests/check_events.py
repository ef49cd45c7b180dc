#!/usr/bin/env python3
"""Compares the table of trace events (src/watch/events.def) with what the sources write to a trace, member for
member, and with doc/reconnect.md: each event has a row there, and each reason that can stand in one."""
import os
import re
import sys

TOP = os.environ.get("srcdir", ".")
ROW = re.compile(r'^X\("([\w.]+)", (ADIT|ADITD|BOTH),\s*"([^"]*)",((?:\s*"[^"]*")+)\)', re.M)
PROGRAMS = {"ADIT": ("adit",), "ADITD": ("aditd",), "BOTH": ("adit", "aditd")}
# who links what writes to a trace
WRITERS = {"src/session": ("adit",), "src/carrier": ("adit",), "src/adit.c": ("adit",),
           "src/edge": ("aditd",), "src/aditd.c": ("aditd",)}
# where reasons come from that end up in a trace
REASONS = ("src/session", "src/carrier", "src/io", "src/link", "src/edge/accept")
# what these folders return to their neighbours, and what ends a request or a program and no carrier
INNER = {"AGAIN", "INVALID", "ABANDONED", "ENOUGH", "NO_LINK", "NO_NAME", "CONFIG", "HEAD_TOO_BIG", "BAD_REQUEST"}

errors = []


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def sources(under):
    """The C files whose path begins so."""
    for folder, _, names in os.walk(os.path.join(TOP, "src")):
        for name in sorted(names):
            path = os.path.relpath(os.path.join(folder, name), TOP)
            if path.startswith(under) and name.endswith(".c"):
                yield path


def table():
    text = read("src/watch/events.def")
    rows = ROW.findall(text)
    if len(rows) != len(re.findall(r"^X\(", text, re.M)):
        errors.append("src/watch/events.def: a row is not written as the others are")
    out = {}
    for name, who, members, line in rows:
        for program in PROGRAMS[who]:
            if (name, program) in out:
                errors.append(f"src/watch/events.def: {name} of {program} stands there twice")
            out[name, program] = set(members.split())
        for inside in re.findall(r"{([^}]*)}", line):
            for member in inside.partition("|")[0].split("-"):
                if member not in members.split():
                    errors.append(f"src/watch/events.def: {name}: {member} is in its line and not among its members")
    return out


def calls(text):
    """Each log_event(...) as its arguments' text."""
    for start in re.finditer(r"\blog_event\(", text):
        depth, at = 1, start.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        yield text[start.end():at - 1]


def written():
    """(event, program) -> (members of all calls, where)"""
    out = {}
    for under, programs in WRITERS.items():
        for path in sources(under):
            for call in calls(read(path)):
                log, _, what, *_ = call.split(",", 3)
                if "trace" not in log:
                    continue
                for name in re.findall(r'"([\w.]+)"', what):
                    for program in programs:
                        members, places = out.setdefault((name, program), (set(), []))
                        members.update(re.findall(r'KV_\w+\("(\w+)"', call))
                        places.append(path)
    # the log's own, in its own words
    for name, member in re.findall(r'format\(l, &o, \w+, "([\w.]+)",\s*\(const struct log_kv\[\]\){KV_\w+\("(\w+)"',
                                   read("src/base/log.c")):
        for program in ("adit", "aditd"):
            out[name, program] = ({member}, ["src/base/log.c"])
    for name in re.findall(r'file_result\(l, "([\w.]+)"', read("src/base/log.c")):
        for program in ("adit", "aditd"):
            out[name, program] = ({"path", "error"}, ["src/base/log.c"])
    return out


def check_page(events):
    page = read("doc/reconnect.md")
    shown = set(re.findall(r"^\| `([\w.]+)` \|", page, re.M))
    named = {name for name, _ in events}
    reasons = set(re.findall(r"^X\((\w+),", read("src/base/err.def"), re.M))
    possible = set()
    for under in REASONS:
        for path in sources(under):
            possible.update(re.findall(r"\bADIT_ERR_([A-Z_]+)\b", read(path)))
    for name in sorted(named - shown):
        errors.append(f"doc/reconnect.md: the event {name} has no row")
    for reason in sorted((possible & reasons) - INNER - shown):
        errors.append(f"doc/reconnect.md: the reason {reason} has no row")
    for name in sorted(shown - named - reasons):
        errors.append(f"doc/reconnect.md: {name} is neither an event nor a reason")


def main():
    events, found = table(), written()
    if len(found) < 30:
        errors.append(f"only {len(found)} events found in the sources: this check does not see them any more")
    for key in sorted(events.keys() | found.keys()):
        members, places = found.get(key, (set(), ["the sources"]))
        if key not in events:
            errors.append(f"{places[0]}: writes {key[0]}, which the table does not have for {key[1]}")
        elif key not in found:
            errors.append(f"src/watch/events.def: nothing writes {key[0]} in {key[1]}")
        elif members != events[key]:
            errors.append(f"{places[0]}: {key[0]} of {key[1]}: {' '.join(sorted(members ^ events[key]))} "
                          "stands only in one of table and source")
    check_page(events)
    for error in errors:
        print(error)
    print(f"{len(events)} events in the table, the sources and the page: {len(errors)} differences")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
