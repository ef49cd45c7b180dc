#!/usr/bin/env python3
"""Pages name functions with their file, `name` (`folder/file.c`): each is there, in src/, as the page says. Runs from
`make check`. One line for each that is not, `page:line: what`; exit 1."""
import os
import re
import sys

TOP = os.path.abspath(os.environ.get("srcdir", "."))
PAGES = ("doc/map.md", "contrib/report/protocol.md")
# a page that names none would pass unread
LEAST = {"doc/map.md": 30, "contrib/report/protocol.md": 40}
NAMED = re.compile(r"`(\w+)`\s\(`((?:\w+/\w+|aditd?)\.[ch])`")
sources, errors = {}, []


def source(path):
    """The text of a file of src/, None when there is none."""
    if path not in sources:
        full = os.path.join(TOP, "src", path)
        sources[path] = open(full, encoding="utf-8").read() if os.path.isfile(full) else None
    return sources[path]


def has(text, name):
    """Is that function defined or declared there? Those begin at the line's first column."""
    return re.search(rf"^[A-Za-z_][\w \t*]*\b{name}\(", text, re.M)


def check(page):
    with open(os.path.join(TOP, page), encoding="utf-8") as f:
        text = f.read()
    count = 0
    for found in NAMED.finditer(text):
        name, path = found.groups()
        line, count = text.count("\n", 0, found.start()) + 1, count + 1
        if source(path) is None:
            errors.append(f"{page}:{line}: there is no src/{path}")
        elif not has(source(path), name):
            errors.append(f"{page}:{line}: src/{path} has no function {name}")
    if count < LEAST[page]:
        errors.append(f"{page}: names {count} functions, wanted at least {LEAST[page]}")
    return count


total = sum(check(page) for page in PAGES)
print(*errors, f"{total} functions named in {len(PAGES)} pages: {len(errors)} differences", sep="\n")
sys.exit(1 if errors else 0)
