#!/usr/bin/python3
"""Holds the tree to its rules: who may include whom (src/layers), and what every source file must look like.

Runs from `make check` with $srcdir as the top of the tree. One line for each violation, `file:line: what`; exit 1.
"""
import os
import re
import sys

LINES_MAX = 650
SOURCES = (".c", ".h", ".def")
# not spelled out, so that this file passes its own check
LEFTOVERS = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK")) + r")\b")
LEFTOVER_DIRS = ("src", "tests", "doc", "contrib")
# bytes that fuzzing found
NO_TEXT = os.path.join("tests", "fuzz", "corpus") + os.sep
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:"([^"\n]*)"|<([^>\n]*)>|(.*))', re.M)
# written by configure and found by -I, not a file of src/
GENERATED = ("config.h",)


class Check:
    def __init__(self, top):
        self.top = top
        self.violations = []
        self.checked = set()
        self.guards = {}

    def bad(self, path, line, what):
        self.violations.append((path, line, what))

    def read(self, path):
        """The text of a file below the top; None for one that is not text."""
        with open(os.path.join(self.top, path), "rb") as f:
            data = f.read()
        if b"\0" in data:
            return None
        self.checked.add(path)
        return data.decode("utf-8", "replace")

    def walk(self, under):
        for folder, folders, names in os.walk(os.path.join(self.top, under)):
            folders[:] = sorted(d for d in folders if not d.startswith(".") and d != "__pycache__")
            for name in sorted(names):
                path = os.path.join(folder, name)
                if os.path.isfile(path):
                    yield os.path.relpath(path, self.top)


class Layers:
    """src/layers: `folder: folders it may include | system headers that only such folders may include`."""

    def __init__(self, check):
        self.allowed = {}
        self.owners = {}  # system header, or prefix ending in "/" -> the folders that may include it
        path = "src/layers"
        for number, line in enumerate(check.read(path).splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            m = re.fullmatch(r"(\w+):([\w ]*)\|(.*)", line)
            if not m:
                check.bad(path, number, "not of the form `folder: folders | system headers`")
                continue
            folder, allowed, headers = m[1], m[2].split(), m[3].split()
            if folder in self.allowed:
                check.bad(path, number, f"{folder} is listed twice")
            for other in allowed:
                # naming only what stands above also keeps cycles out
                if other not in self.allowed:
                    check.bad(path, number, f"{folder} may include {other}, which is not listed above it")
            self.allowed[folder] = set(allowed) | {folder}
            for header in headers:
                self.owners.setdefault(header, set()).add(folder)

    def owners_of(self, header):
        """The folders that a system header is kept to; None when anybody may include it."""
        owners = set()
        for pattern, folders in self.owners.items():
            if header == pattern or (pattern.endswith("/") and header.startswith(pattern)):
                owners |= folders
        return owners or None


def blank_comments(text, strings=False):
    """Comments, and strings if asked for, as blanks, so that lines and columns stay."""
    def blank(m):
        kept = m[0][0] in "\"'" and not strings
        return m[0] if kept else re.sub(r"[^\n]", " ", m[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def check_own_include(check, layers, path, line, folder, target):
    parts = target.split("/")
    if target in GENERATED:
        return
    if ".." in parts or target.startswith("/") or "." in parts:
        check.bad(path, line, f'"{target}" is not a path relative to src/')
        return
    owner = parts[0] if len(parts) > 1 else "main"
    if owner not in layers.allowed:
        check.bad(path, line, f'"{target}" is in no folder of src/layers')
    elif owner not in layers.allowed[folder]:
        check.bad(path, line, f'{folder} may not include {owner} ("{target}")')
    elif re.search(r"_int\.h$", target) and owner != folder:
        check.bad(path, line, f'"{target}" is for {owner} and its tests only')
    elif not os.path.isfile(os.path.join(check.top, "src", target)):
        check.bad(path, line, f'"{target}" does not exist in src/')


def check_includes(check, layers, path, folder, code):
    for m in INCLUDE.finditer(code):
        line = line_of(code, m.start())
        own, system, other = m.groups()
        if own is not None:
            check_own_include(check, layers, path, line, folder, own)
        elif system is not None:
            owners = layers.owners_of(system)
            if owners and folder not in owners:
                check.bad(path, line, f"{folder} may not include <{system}>: only {', '.join(sorted(owners))} may")
        else:
            check.bad(path, line, f"include of neither a file nor a header: {other.strip()}")


def check_header(check, path, text, code):
    name = os.path.basename(path)[:-2]
    if not text.startswith(f"/* {name}: "):
        check.bad(path, 1, f"a header begins with `/* {name}: ` and what it is")
    m = re.match(r"\s*#[ \t]*ifndef[ \t]+(\w+)[ \t]*\n\s*#[ \t]*define[ \t]+(\w+)[ \t]*\n", code)
    if not m or m[1] != m[2] or not re.search(r"\n#[ \t]*endif\s*\Z", code):
        check.bad(path, 1, "no include guard: #ifndef, #define of the same name, #endif around all of it")
    elif m[1] in check.guards:
        check.bad(path, line_of(code, m.start(1)), f"include guard {m[1]} is that of {check.guards[m[1]]} too")
    else:
        check.guards[m[1]] = path


def is_mutable(declaration):
    """Of a `static` one up to its `;`, `=` or `{`: whether it is a variable that can change."""
    d = re.sub(r"__attribute__\s*\(\(.*?\)\)", " ", declaration, flags=re.S)
    pointer = re.match(r"[^(]*\(\s*\*([^()]*)\)", d)  # to a function: `(*const name[])`
    if pointer:
        return not re.search(r"\bconst\b", pointer[1])
    d = d.split("[")[0]
    if "(" in d:
        return False
    # what the name itself is: right of the last star
    return not re.search(r"\bconst\b", d.rsplit("*", 1)[-1])


def check_statics(check, path, code):
    for m in re.finditer(r"^static\b[^;={]*", code, re.M):
        if is_mutable(m[0]):
            what = " ".join(m[0].split())
            check.bad(path, line_of(code, m.start()), f"a variable at file scope that is not const: {what}")


def folder_of(path):
    """src/x.c belongs to main, src/folder/x.c to its folder."""
    parts = path.split(os.sep)
    return "main" if len(parts) == 2 else parts[1]


def check_source(check, layers, path):
    text = check.read(path)
    if text is None:
        check.bad(path, 1, "not text")
        return
    lines = len(text.splitlines())
    if lines > LINES_MAX:
        check.bad(path, lines, f"{lines} lines; at most {LINES_MAX}, split it")
    folder = folder_of(path)
    if folder not in layers.allowed:
        check.bad(path, 1, f"{folder} is not listed in src/layers")
        return
    code = blank_comments(text)
    check_includes(check, layers, path, folder, code)
    check_statics(check, path, blank_comments(text, strings=True))
    if path.endswith(".h"):
        check_header(check, path, text, code)


def check_leftovers(check):
    for folder in LEFTOVER_DIRS:
        for path in check.walk(folder):
            if path.startswith(NO_TEXT):
                continue
            text = check.read(path)
            for m in LEFTOVERS.finditer(text or ""):
                check.bad(path, line_of(text, m.start()), f"{m[1]}: do it, or write down why not in words")


def main():
    check = Check(os.environ.get("srcdir") or ".")
    try:
        layers = Layers(check)
    except OSError as e:
        sys.exit(f"layers: {e.filename}: {e.strerror}")
    for path in check.walk("src"):
        if path.endswith(SOURCES):
            check_source(check, layers, path)
    check_leftovers(check)
    for path, line, what in sorted(check.violations):
        print(f"{path}:{line}: {what}")
    if check.violations:
        return 1
    print(f"layers: {len(check.checked)} files checked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
