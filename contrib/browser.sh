#!/bin/sh
# A real browser with a real development server through the tunnel, all on this machine:
#   sh contrib/browser.sh [--screenshot FILE] [--build-dir DIR]
# It installs missing Debian packages (chromium, libnss3-tools, and nodejs with npm unless there is an npm), builds
# into build/quickstart unless --build-dir names a build, makes a small Vite project in a temporary folder (npm gets
# Vite), and starts Vite, aditd --dev, adit and headless Chromium. Then it looks whether the page comes over HTTP/2,
# whether Vite's WebSocket is connected, and whether edits reach the page without a reload: also when the tunnel's
# connection is reset, when there is no way to aditd for a while, and when the connection goes silent. Then 200 small
# files, and a name that Vite does not know. Each step is told with ok or FAILED; the exit status is 0 when all were
# ok. Everything that was started ends with it.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=
screenshot=

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; }

while [ $# -gt 0 ]; do
	case $1 in
	-h | --help) usage; exit 0 ;;
	--build-dir | --screenshot)
		[ $# -ge 2 ] || { echo "browser: $1: found nothing, wanted a path" >&2; exit 2; }
		if [ "$1" = --build-dir ]; then build=$2; else screenshot=$2; fi
		shift
		;;
	*) echo "browser: found '$1', wanted --screenshot FILE or --build-dir DIR" >&2; exit 2 ;;
	esac
	shift
done

sh "$top/contrib/deps.sh" build browser
if [ -z "$build" ]; then
	sh "$top/contrib/build.sh" quickstart
	build=$top/build/quickstart
elif [ ! -x "$build/src/adit" ] || [ ! -x "$build/src/aditd" ]; then
	echo "browser: --build-dir: found no src/adit and src/aditd in '$build', wanted a folder with both" >&2
	exit 2
fi
ADIT_BUILD=$(cd "$build" && pwd)
export ADIT_BUILD
exec python3 -B "$top/contrib/browser/run.py" ${screenshot:+--screenshot "$screenshot"}
