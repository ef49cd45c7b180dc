#!/usr/bin/env python3
"""Looks at the built programs (src/adit, src/aditd in the current folder): whether linker and compiler have done what
configure asked for. Of a build with sanitizers or for coverage less is wanted, and what is not looked at is said."""
import os
import re
import shutil
import subprocess
import sys

PROGRAMS = ("src/aditd", "src/adit")
SKIP = 77
# what gcc 12 and glibc 2.36 have; a compiler without one of them lacks it in $HARD_CFLAGS
WANTED = {"-fstack-protector-strong", "-fstack-clash-protection", "-ftrivial-auto-var-init=zero",
          "-fno-delete-null-pointer-checks", "-fno-strict-overflow", "-fno-strict-aliasing", "-fPIE"}
OF_MACHINE = {"x86_64": "-fcf-protection=full", "aarch64": "-mbranch-protection=standard"}

errors = []


def readelf(program, *flags):
    return subprocess.run(["readelf", "-W", *flags, program], stdout=subprocess.PIPE, timeout=60, check=True,
                          encoding="utf-8", errors="replace").stdout


def want(program, fine, what):
    if not fine:
        errors.append(f"{program}: {what}")


def check_linking(program):
    dynamic, segments = readelf(program, "-d"), readelf(program, "-l")
    want(program, re.search(r"Type:\s+DYN", readelf(program, "-h")) and re.search(r"FLAGS_1\).*\bPIE\b", dynamic),
         "is not position-independent (-pie)")
    want(program, re.search(r"^\s*GNU_RELRO\s", segments, re.M), "has no read-only relocations (-z relro)")
    want(program, re.search(r"FLAGS\).*BIND_NOW", dynamic) and re.search(r"FLAGS_1\).*\bNOW\b", dynamic),
         "binds its symbols late (-z now)")
    want(program, re.search(r"^\s*GNU_STACK(\s+0x\w+)+\s+RW\s", segments, re.M), "has a stack that can be executed")
    want(program, not re.search(r"^\s*LOAD(\s+0x\w+)+\s+.W.E|^\s*LOAD(\s+0x\w+)+\s+RWE", segments, re.M),
         "has memory that can be both written and executed")
    want(program, not re.search(r"\((TEXTREL|RPATH|RUNPATH)\)", dynamic), "has TEXTREL, RPATH or RUNPATH")


def check_symbols(program, fortified):
    symbols = readelf(program, "--dyn-syms")
    want(program, "__stack_chk_fail" in symbols, "has no stack protector (-fstack-protector-strong)")
    if fortified:
        want(program, re.search(r"__(memcpy|snprintf|vsnprintf)_chk\b", symbols),
             "has no checked calls (_FORTIFY_SOURCE)")


def check_units(program, flags):
    """What the compiler says of each source file: gcc writes its flags beside the debugging information."""
    units = re.findall(r"DW_AT_producer\b.*: (GNU C\d.*)\n(?:.*\n)*?.*DW_AT_name\b.*: (\S+)",
                       readelf(program, "--debug-dump=info", "--dwarf-depth=1"))
    for producer, name in units:
        missing = [flag for flag in flags if flag not in producer.split()]
        want(program, not missing, f"{name} was compiled without {' '.join(missing)}")
    return len(units)


def main():
    hard, sanitizers = os.environ.get("HARD_CFLAGS", "").split(), os.environ.get("SAN_CFLAGS", "")
    programs = [p for p in PROGRAMS if os.access(p, os.X_OK)]
    if not shutil.which("readelf") or not programs:
        print("skipped: " + ("the programs are not built" if not programs else "no readelf here"))
        return SKIP
    machine = OF_MACHINE.get(os.uname().machine)
    if os.environ.get("HARD_COMPILER", "").startswith("gcc"):
        missing = sorted((WANTED | ({machine} if machine else set())) - set(hard))
        want("configure", not missing, f"found that gcc lacks {' '.join(missing)}")
    fortified = any("_FORTIFY_SOURCE=" in flag for flag in hard)
    want("configure", fortified or sanitizers or "-O0" in os.environ.get("CFLAGS", ""), "leaves _FORTIFY_SOURCE out")
    # gcc leaves -fPIE out of the list where that is its default anyway, and macros always
    flags = [flag for flag in hard if not flag.startswith(("-D", "-U")) and flag != "-fPIE"]
    units = 0
    for program in programs:
        check_linking(program)
        check_symbols(program, fortified)
        units += check_units(program, flags)
    for error in errors:
        print(error)
    print(f"{' and '.join(programs)}: linking, symbols, "
          + (f"{len(flags)} flags of {units} compiled files" if units else "no debugging information: no flags")
          + ("" if fortified else "; not fortified: " + (sanitizers.strip() or "no optimisation"))
          + f": {len(errors)} missing")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
