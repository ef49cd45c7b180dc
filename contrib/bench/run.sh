#!/bin/sh
# Compares adit with other ways to the same origin, in one interleaved run. README.md tells the rest.
set -eu
command -v python3 >/dev/null 2>&1 || { echo "run.sh: python3 is not installed" >&2; exit 77; }
exec python3 -B "$(dirname "$0")/run.py" "$@"
