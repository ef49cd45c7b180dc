#!/bin/sh
# Builds adit and aditd into build/NAME of the checkout, and says where they are.
#   sh contrib/build.sh NAME
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
[ $# = 1 ] || { echo "build.sh: found $# arguments, wanted the name of a folder" >&2; exit 2; }
build=$top/build/$1
log=$build/build.log

fail() {
	printf 'build: %s; the end of %s:\n' "$1" "$log" >&2
	tail -n 20 "$log" >&2
	exit 1
}

if [ -f "$top/config.status" ]; then
	echo "build: the checkout itself is configured; run 'make distclean' there first" >&2
	exit 1
fi
mkdir -p "$build"
[ -x "$top/configure" ] || (cd "$top" && sh autogen.sh) >"$log" 2>&1 || fail "autogen.sh failed"
if [ ! -f "$build/Makefile" ]; then
	# optimising the programs as a whole takes as long again, and is not what is tried here
	(cd "$build" && "$top/configure" --disable-lto) >>"$log" 2>&1 || fail "configure failed"
fi
make -C "$build" -j"$(nproc 2>/dev/null || echo 2)" >"$log" 2>&1 || fail "make failed"
echo "built $build/src/aditd and $build/src/adit"
