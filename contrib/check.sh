#!/bin/sh
# Everything that has to pass before a change goes in. Ends with one line `N passed, N failed, N skipped`.
#   sh contrib/check.sh [--fast | --soak] [-k PATTERN]
# --fast leaves out the big end-to-end tests, `make distcheck` and fuzzing; -k chooses end-to-end tests (pytest's -k).
# --soak runs what is too long for each change, and nothing else: minutes of cuts, thousands of attacks.
# Steps: (1) plain build, unit tests; (2) ASan+UBSan build, unit tests, end-to-end tests; (3) make distcheck;
# (4) on the plain build, where the sandbox is on, the big end-to-end tests, some others, and the one under valgrind;
# (5) each fuzz target for a minute.
# Builds are kept in build/check; $ADIT_CHECK_BUILD names another place.
# Not in it: contrib/browser.sh, a real browser and Vite through the tunnel, which gets Vite by npm.
set -u

top=$(cd "$(dirname "$0")/.." && pwd)
builds=${ADIT_CHECK_BUILD:-$top/build/check}
jobs=$(nproc 2>/dev/null || echo 2)
fast=no
soak=no
pattern=
passed=0
failed=0
skipped=0

# End-to-end tests mostly wait; those that are big or measure something run one after another.
WORKERS=3
# Bounds in seconds; all steps together take less than half of their sum on two slow cores.
BUILD_BOUND=600
UNIT_BOUND=300
E2E_BOUND=1080
SOAK_BOUND=5400
DIST_BOUND=600
FUZZ_SECONDS=60
FUZZ_BOUND=900

usage() { sed -n '2,10s/^# \{0,1\}//p' "$0"; }

while [ $# -gt 0 ]; do
	case $1 in
	--fast) fast=yes ;;
	--soak) soak=yes ;;
	-k)
		[ $# -ge 2 ] || { echo "check: -k: found nothing, wanted a pattern" >&2; exit 2; }
		pattern=$2
		shift
		;;
	-h | --help) usage; exit 0 ;;
	*) echo "check: found '$1', wanted --fast, --soak or -k PATTERN" >&2; exit 2 ;;
	esac
	shift
done

say() { printf '\n==> %s\n' "$*"; }

count() { # count PASSED FAILED SKIPPED
	passed=$((passed + $1))
	failed=$((failed + $2))
	skipped=$((skipped + $3))
}

finish() {
	[ -z "$reports" ] || rm -rf "$reports"
	printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
	if [ "$failed" = 0 ] && [ "$passed" -gt 0 ]; then exit 0; else exit 1; fi
}

# One check that is not a list of tests: check WHAT LOG BOUND COMMAND…; its log's end is shown when it fails.
check() {
	what=$1
	log=$2
	bound=$3
	shift 3
	if timeout -k 10 "$bound" "$@" >"$log" 2>&1; then
		echo "ok: $what"
		count 1 0 0
		return 0
	fi
	echo "FAILED: $what; the end of $log:"
	tail -n 40 "$log"
	count 0 1 0
	return 1
}

build() { # build FOLDER configure-option…
	dir=$builds/$1
	shift
	mkdir -p "$dir"
	# a configure script newer than the build, or other options, mean: configure anew
	if [ ! -f "$dir/Makefile" ] || [ "$top/configure" -nt "$dir/config.status" ] ||
		[ "$(cat "$dir/options" 2>/dev/null)" != "$*" ]; then
		chmod -R u+w "$dir" # an interrupted distcheck leaves what cannot be removed
		rm -rf "$dir"
		mkdir -p "$dir"
		check "configure $*" "$dir/configure.out" 300 sh -c 'cd "$0" && "$@"' "$dir" "$top/configure" "$@" || return 1
		echo "$*" >"$dir/options"
	fi
	check "make ($*)" "$dir/make.out" "$BUILD_BOUND" make -C "$dir" -j"$jobs" all
}

# Adds up make check: the titles of CUnit programs one by one, any other test as one.
tally_unit() {
	for result in $(find "$1/tests" -name '*.trs' | sort); do
		log=${result%.trs}.log
		unit=$(sed -n 's/^unit .*: \([0-9]*\) passed, \([0-9]*\) failed$/\1 \2 0/p' "$log" | tail -n 1)
		case $(sed -n 's/^:test-result: //p' "$result" | head -n 1) in
		PASS) ok=yes; count ${unit:-1 0 0} ;;
		SKIP) ok=yes; count 0 0 1; echo "skipped: ${result##*/}: $(tail -n 1 "$log")" ;;
		*)
			ok=no
			case $unit in
			'' | *' 0 0') count 0 1 0 ;; # it ended badly without a failed title: a crash, a leak
			*) count $unit ;;
			esac
			;;
		esac
		[ "$ok" = yes ] || { echo "FAILED: ${result##*/}; the end of its log:"; tail -n 40 "$log"; }
	done
}

unit_tests() { # unit_tests FOLDER
	dir=$builds/$1
	find "$dir/tests" -name '*.trs' -exec rm -f {} + 2>/dev/null
	env ASAN_OPTIONS="log_path=$reports/asan-unit" UBSAN_OPTIONS="log_path=$reports/ubsan-unit:print_stacktrace=1" \
		timeout -k 10 "$UNIT_BOUND" make -C "$dir" -j"$jobs" check >"$dir/check.out" 2>&1
	status=$?
	before=$failed
	if [ -z "$(find "$dir/tests" -name '*.trs')" ]; then
		echo "FAILED: make check ($1) ran no test:"
		tail -n 40 "$dir/check.out"
		count 0 1 0
	else
		tally_unit "$dir"
		if [ "$status" != 0 ] && [ "$failed" = "$before" ]; then
			echo "FAILED: make check in $1 ended with $status:"
			tail -n 40 "$dir/check.out"
			count 0 1 0
		fi
	fi
	[ "$failed" != "$before" ] || echo "ok: unit tests"
}

e2e_tests() { # e2e_tests FOLDER marker-expression workers
	dir=$builds/$1
	set -- -q -p no:cacheprovider --tb=short -rs -n "$3" --dist loadfile -m "$2" "$top/tests/e2e"
	[ -z "$pattern" ] || set -- -k "$pattern" "$@"
	mkdir -p "$reports/e2e"
	PYTHONDONTWRITEBYTECODE=1 ADIT_BUILD=$dir ADIT_REPORTS=$reports/e2e \
		timeout -k 60 "$E2E_BOUND" /usr/bin/python3 -m pytest "$@" >"$dir/e2e.out" 2>&1
	status=$?
	# pytest's last line: "3 failed, 40 passed, 1 skipped, 2 errors in 12.34s"
	summary=$(sed -n '/^\(.*, \)\{0,1\}[0-9]* [a-z]*.* in [0-9.]*s.*$/p; /^no tests ran/p' "$dir/e2e.out" | tail -n 1)
	number() { echo "$summary" | sed -n "s/^.*\b\([0-9][0-9]*\) $1.*/\1/p"; }
	fails=$(number failed)
	errors=$(number error)
	good=$(number passed)
	left=$(number skipped)
	bad=$((${fails:-0} + ${errors:-0}))
	case $status in
	0) grep '^SKIPPED' "$dir/e2e.out" || : ;;
	5) [ -n "$pattern" ] && summary='nothing chosen by -k' || bad=1 ;;
	*) [ "$bad" -gt 0 ] || bad=1 ;; # it ended without a summary: out of time, or it could not begin
	esac
	if [ "$bad" != 0 ]; then
		echo "FAILED: end-to-end tests (status $status); the end of $dir/e2e.out:"
		tail -n 150 "$dir/e2e.out"
	fi
	echo "end-to-end: ${summary:-no summary}"
	count "${good:-0}" "$bad" "${left:-0}"
}

left_out() { # left_out marker-expression: counts those end-to-end tests as skipped
	n=$(PYTHONDONTWRITEBYTECODE=1 ADIT_BUILD=$builds/plain /usr/bin/python3 -m pytest --collect-only -q \
		-p no:cacheprovider -m "$1" ${pattern:+-k "$pattern"} "$top/tests/e2e" 2>/dev/null | grep -c '::')
	echo "skipped: $n end-to-end tests, $1 (--fast)"
	count 0 0 "$n"
}

# Each target is one test; its line says how far it came.
fuzz_targets() {
	out=$builds/fuzz.out
	ADIT_FUZZ_BUILD=$builds/fuzz timeout -k 60 "$FUZZ_BOUND" sh "$top/contrib/fuzz.sh" --seconds "$FUZZ_SECONDS" \
		>"$out" 2>&1
	status=$?
	bad=$(grep -c '^FAILED' "$out")
	good=$(($(grep -c '^fuzz ' "$out") - bad))
	[ "$good" -ge 0 ] || good=0
	[ "$status" = 0 ] || [ "$bad" -gt 0 ] || bad=1
	[ "$good" -gt 0 ] || [ "$bad" -gt 0 ] || bad=1
	if [ "$bad" = 0 ]; then
		cat "$out"
	else
		echo "FAILED: fuzzing (status $status); the end of $out:"
		tail -n 100 "$out"
	fi
	count "$good" "$bad" 0
}

no_reports() {
	found=$(find "$reports" -type f | sort)
	[ -n "$found" ] || { echo "ok: no sanitizer report"; count 1 0 0; return; }
	echo "FAILED: sanitizer reports"
	for file in $found; do
		echo "--- ${file##*/}"
		head -n 60 "$file"
	done
	count 0 1 0
}

reports=$(mktemp -d)
trap 'rm -rf "$reports"; exit 1' INT TERM HUP

say "packages"
if ! sh "$top/contrib/deps.sh"; then
	echo "FAILED: packages"
	count 0 1 0
	finish
fi
if [ -f "$top/config.status" ]; then
	echo "FAILED: the checkout itself is configured; run 'make distclean' there first"
	count 0 1 0
	finish
fi
mkdir -p "$builds"
check "autogen.sh" "$builds/autogen.out" 300 sh "$top/autogen.sh" || finish

say "1 plain build and unit tests"
plain=no
build plain --enable-werror && plain=yes
if [ "$soak" = yes ]; then
	E2E_BOUND=$SOAK_BOUND
	[ "$plain" = no ] || e2e_tests plain soak 0
	finish
fi
[ "$plain" = no ] || unit_tests plain

say "2 address and undefined-behaviour sanitizers: build, unit tests, end-to-end tests"
# without --enable-werror: sanitizers make gcc warn of what cannot happen
if build san --enable-asan --enable-ubsan; then
	unit_tests san
	e2e_tests san 'not big and not valgrind and not soak' "$WORKERS"
	no_reports
fi

say "3 make distcheck"
if [ "$fast" = yes ]; then
	echo "skipped: make distcheck (--fast)"
	count 0 0 1
elif [ "$plain" = yes ]; then
	check "make distcheck" "$builds/plain/distcheck.out" "$DIST_BOUND" make -C "$builds/plain" -j"$jobs" distcheck
fi

say "4 big end-to-end tests and valgrind, on the plain build"
if [ "$plain" = no ]; then
	echo "not run: the plain build failed"
elif [ "$fast" = yes ]; then
	left_out big
	e2e_tests plain 'valgrind and not soak' 0
else
	e2e_tests plain 'sandboxed and not big and not soak' "$WORKERS"
	e2e_tests plain '(big or valgrind) and not soak' 0
fi

say "5 fuzz targets, $FUZZ_SECONDS seconds each"
if [ "$fast" = yes ]; then
	echo "skipped: fuzzing (--fast)"
	count 0 0 1
else
	fuzz_targets
fi
finish
