#!/usr/bin/env python3
"""Asks systemd what it thinks of the units in contrib/systemd: they must be valid, and each service's exposure must
be 1.5 or less of 10 (systemd-analyze security). Nothing is installed or started."""
import os
import re
import shutil
import subprocess
import sys

TOP = os.environ.get("srcdir", ".")
FOLDER = os.path.join(TOP, "contrib", "systemd")
SERVICES = ("aditd.service", "adit.service")
MOST = 1.5
SKIP = 77


def analyze(*argv):
    return subprocess.run(["systemd-analyze", "--no-pager", *argv], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60, check=False, encoding="utf-8")


def main():
    if not shutil.which("systemd-analyze"):
        print("skipped: no systemd-analyze here")
        return SKIP
    errors = []
    for service in SERVICES:
        done = analyze("security", "--offline=true", f"--threshold={int(MOST * 10)}", os.path.join(FOLDER, service))
        if re.search(r"offline|unrecognized option|invalid option", done.stdout):
            print("skipped: this systemd-analyze cannot look at files:", done.stdout.splitlines()[0])
            return SKIP
        exposure = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
        print(f"{service}: exposure {exposure[1] if exposure else 'unknown'}, at most {MOST}")
        if done.returncode or not exposure or float(exposure[1]) > MOST:
            errors.append(f"{service}: is more exposed than that:\n{done.stdout}")
        # a key or a value that systemd does not know is a warning, and the unit goes without it
        for line in done.stdout.splitlines():
            if re.search(re.escape(service) + r":\d+: ", line):
                errors.append(line)
    units = [os.path.join(FOLDER, unit) for unit in (*SERVICES, "aditd.socket")]
    for line in analyze("verify", "--man=no", *units).stdout.splitlines():
        if "adit" in line and "is not executable" not in line:  # the programs need not be installed
            errors.append(line)
    for error in errors:
        print(error)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
