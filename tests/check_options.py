#!/usr/bin/env python3
"""Compares the option table (src/conf/opts.def) with the man pages and with what --help prints: every option is in
each of them, with its argument, its default and its choices, and they name no option that the table does not have.
Programs are run only when they have been built: src/adit and src/aditd in the current folder."""
import os
import re
import subprocess
import sys

TOP = os.environ.get("srcdir", ".")
ROW = re.compile(r'^X\((\w+), "([^"]*)", "([^"]*)", "([^"]*)", (\w+\([^)]*\)), ([\w.]+), "([^"]*)",'
                 r'\s*"((?:[^"\\]|\\.)*)"\)', re.M)
# the keys' prefix in the pages
PREFIX = {"SERVER": "", "LISTEN": "listen[].", "TLS": "listen[].tls.", "CERTIFICATE": "certificates[].",
          "TOKEN": "tokens[].", "CLIENT": "", "TUNNEL": "tunnels[].", "ROUTE": "tunnels[].routes[]."}
# sections that both programs have
SHARED = {"RULES": {"aditd": ["tokens[]."], "adit": ["tunnels[]."]},
          "EDITS": {"aditd": ["tokens[].request_headers.", "tokens[].response_headers."],
                    "adit": ["tunnels[].request_headers.", "tunnels[].response_headers."]}}
SERVER = {"SERVER", "LISTEN", "TLS", "CERTIFICATE", "TOKEN", "SERVER_CALL"}
PROGRAMS = {"aditd": ("doc/aditd.8", "doc/aditd.yaml.5"), "adit": ("doc/adit.1", "doc/adit.1")}

errors = []


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def rows():
    text = read("src/conf/opts.def")
    found = [m.groups() for m in ROW.finditer(text)]
    if len(found) != len(re.findall(r"^X\(", text, re.M)):
        errors.append("src/conf/opts.def: a row is not written as the others are")
    return found


def entries(page, macro):
    """What `.It MACRO` entries the page has: first word -> (its arguments, the text up to the next entry)."""
    out = {}
    pattern = r"^\.It %s (\S+)(.*)\n((?:(?!\.It |\.El|\.Bl).*\n)*)" % macro
    for name, arguments, text in re.findall(pattern, read(page), re.M):
        if name in out:
            errors.append(f"{page}: {name} stands there twice")
        out[name] = (arguments.replace(" Ar ", "").strip(), text)
    return out


def check_details(page, name, row, text):
    _, _, _, _, kind, _, default, _ = row
    if default not in ("", "!") and not re.search(r"Default: %s\.$" % re.escape(default), text, re.M):
        errors.append(f"{page}: {name}: does not say that the default is {default}")
    if default == "!" and "Required" not in text and not name.startswith("-"):
        errors.append(f"{page}: {name}: does not say that it is required")
    for choice in re.findall(r"[\w-]+", kind[6:] if kind.startswith("CHOICE") else ""):
        if choice not in text and "json" not in kind:
            errors.append(f"{page}: {name}: does not name {choice}")
    for bound in re.findall(r"\d+", kind if kind.startswith("UINT") else ""):
        if not re.search(r"\b%s\b" % bound, text) and "As\n.Fl" not in text:
            errors.append(f"{page}: {name}: does not say {bound}")


def check_pages(program, table):
    flag_page, key_page = PROGRAMS[program]
    flags, keys = entries(flag_page, "Fl"), entries(key_page, "Ic")
    for row in table:
        section, key, flag, argument = row[:4]
        if flag and (program == "adit" or section not in SHARED):
            name = flag if len(flag) == 1 else "-" + flag
            arguments, text = flags.pop(name, (None, ""))
            if arguments is None:
                errors.append(f"{flag_page}: -{name} is missing")
                continue
            if arguments != argument:
                errors.append(f"{flag_page}: -{name}: the argument is {arguments}, in the table {argument}")
            if argument:
                check_details(flag_page, "-" + name, row, text)
        for prefix in SHARED[section][program] if section in SHARED else [PREFIX[section]] if key else []:
            name = prefix + key
            if name not in keys:
                errors.append(f"{key_page}: {name} is missing")
                continue
            check_details(key_page, name, row, keys.pop(name)[1])
    for name in flags:
        errors.append(f"{flag_page}: -{name} is not in the table")
    for name in keys:
        errors.append(f"{key_page}: {name} is not in the table")


def check_help(program, table):
    path = os.path.join("src", program)
    if not os.access(path, os.X_OK):
        return False
    run = subprocess.run([path, "--help"], stdout=subprocess.PIPE, timeout=60, check=False, encoding="utf-8")
    if run.returncode != 0:
        errors.append(f"{program} --help: exit status {run.returncode}")
    lines = {}
    for line in run.stdout.splitlines():
        m = re.match(r"  (--?[\w-]+) ?(\S*)\s{1,}(.*)", line)
        if m:
            lines[m.group(1)] = line
    for _, _, flag, argument, _, _, default, text in table:
        if not flag:
            continue
        name = "-" + flag if len(flag) == 1 else "--" + flag
        line = lines.pop(name, None)
        if line is None:
            errors.append(f"{program} --help: {name} is missing")
            continue
        shown = f"[{default}]" if argument and default not in ("", "!") else ""
        for part in (argument, text.replace('\\"', '"'), shown):
            if part not in line:
                errors.append(f"{program} --help: {name}: does not say {part}")
    for name in lines:
        errors.append(f"{program} --help: {name} is not in the table")
    return True


def main():
    table = rows()
    ran = []
    for program in PROGRAMS:
        mine = [row for row in table if row[0] in SHARED or (row[0] in SERVER) == (program == "aditd")]
        check_pages(program, mine)
        if check_help(program, [row for row in mine if program == "adit" or row[0] not in SHARED]):
            ran.append(program)
    for error in errors:
        print(error)
    print(f"{len(table)} options in the table, the pages and --help of {', '.join(ran) or 'no program'}: "
          f"{len(errors)} differences")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
