#!/bin/sh
# Runs the fuzz targets of tests/fuzz with clang's libFuzzer and sanitizers, two at a time, one line for each.
#   sh contrib/fuzz.sh [--seconds N] [--merge] [TARGET...]        (60 seconds each; nothing named: all)
# Ends with 1 when one crashed, leaked, hung or took too much memory; the input is kept in build/fuzz/crashes.
# --merge puts what was found into tests/fuzz/corpus, as far as it reaches code that the corpus does not.
# The build, and the inputs found so far, are kept in build/fuzz; $ADIT_FUZZ_BUILD names another place.
set -u

top=$(cd "$(dirname "$0")/.." && pwd)
dir=${ADIT_FUZZ_BUILD:-$top/build/fuzz}
jobs=$(nproc 2>/dev/null || echo 2)
seconds=60
mode=run
targets=

# Longer inputs say little more: the largest limits have unit tests.
MAX_LEN=8192
# Seconds for one input, and megabytes for the process: the slowest takes 0.1 s, all stay below 600 MB.
INPUT_BOUND=20
MEMORY_BOUND=2000

usage() { sed -n '2,6s/^# \{0,1\}//p' "$0"; }

while [ $# -gt 0 ]; do
	case $1 in
	--seconds)
		case ${2:-} in
		'' | *[!0-9]*) echo "fuzz: --seconds: found '${2:-}', wanted a number" >&2; exit 2 ;;
		esac
		seconds=$2
		shift
		;;
	--merge) mode=merge ;;
	--one) mode=one ;; # for itself: the target that follows, built already
	-h | --help) usage; exit 0 ;;
	-*) echo "fuzz: found '$1', wanted --seconds N, --merge or names of targets" >&2; exit 2 ;;
	*)
		[ -f "$top/tests/fuzz/$1_fuzz.c" ] || { echo "fuzz: found '$1', wanted one of" \
			$(cd "$top/tests/fuzz" && ls -- *_fuzz.c | sed 's/_fuzz\.c$//') >&2; exit 2; }
		targets="$targets $1"
		;;
	esac
	shift
done
[ -n "$targets" ] || targets=$(cd "$top/tests/fuzz" && ls -- *_fuzz.c | sed 's/_fuzz\.c$//')

# A dictionary: the target's own, and the words of the tables that its input is made of.
words() {
	cat "$top/tests/fuzz/$1.dict" 2>/dev/null
	case $1 in
	conf) sed -n 's/^X([A-Z_]*, "\([^"]*\)", "\([^"]*\)".*/"\1: "\n"--\2"/p' "$top/src/conf/opts.def" |
		grep -v -e '^": "$' -e '^"--"$' ;;
	watch) sed -n 's/^X("\([^"]*\)".*/\1/p; s/^X("[^"]*", [A-Z]*, "\([^"]*\)".*/\1/p' "$top/src/watch/events.def" |
		tr ' ' '\n' | sort -u | sed -n 's/^..*$/"\\"&\\""/p' ;;
	esac
}

# One target; its line. The corpus in the tree is read, what is new goes to the build folder.
one() {
	program=$dir/tests/fuzz/$1_fuzz
	log=$dir/$1.log
	mkdir -p "$dir/corpus/$1" "$dir/crashes"
	touch "$dir/$1.begin"
	words "$1" >"$dir/$1.dict"
	[ -s "$dir/$1.dict" ] && set -- "$1" -dict="$dir/$1.dict"
	name=$1
	shift
	ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
		timeout -k 10 $((seconds + 120)) "$program" "$@" -max_total_time="$seconds" -max_len=$MAX_LEN \
		-timeout=$INPUT_BOUND -rss_limit_mb=$MEMORY_BOUND -print_final_stats=1 -verbosity=1 \
		-artifact_prefix="$dir/crashes/$name-" "$dir/corpus/$name" "$top/tests/fuzz/corpus/$name" \
		</dev/null >"$log" 2>&1
	status=$?
	runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
	edges=$(sed -n 's/^#.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
	crashes=$(find "$dir/crashes" -name "$name-*" -newer "$dir/$name.begin" | wc -l)
	echo "fuzz $name: ${runs:-0} runs, ${edges:-0} edges, $crashes crashes"
	[ "$status" != 0 ] || [ "$crashes" != 0 ] || return 0
	echo "FAILED: fuzz $name (status $status): what went wrong, in $log:"
	grep -a -m 1 -A 40 -e 'not so:' -e ' differs$' -e 'ERROR:' -e 'runtime error:' "$log" || tail -n 20 "$log"
	return 1
}

if [ "$mode" = one ]; then
	one $targets
	exit
fi

build() {
	command -v clang >/dev/null || { echo "fuzz: found no clang; contrib/deps.sh test installs it" >&2; return 1; }
	mkdir -p "$dir" && cd "$dir" || return 1
	[ -x "$top/configure" ] || sh "$top/autogen.sh" >autogen.out 2>&1 || { tail -n 20 autogen.out; return 1; }
	[ -f config.status ] || "$top/configure" CC=clang CFLAGS='-g -O1' --enable-fuzz --enable-asan --enable-ubsan \
		>configure.out 2>&1 || { tail -n 20 configure.out; return 1; }
	make -j"$jobs" fuzz >make.out 2>&1 || { tail -n 40 make.out; return 1; }
	cd "$top"
}

if ! build; then
	echo "FAILED: fuzz targets do not build"
	exit 1
fi
if [ "$mode" = merge ]; then
	for target in $targets; do
		mkdir -p "$dir/corpus/$target"
		"$dir/tests/fuzz/${target}_fuzz" -merge=1 -use_counters=0 -max_len=2048 "$top/tests/fuzz/corpus/$target" \
			"$dir/corpus/$target" 2>&1 </dev/null | grep 'new files'
	done
	exit
fi
# shellcheck disable=SC2086
printf '%s\n' $targets | xargs -P 2 -n 1 sh "$top/contrib/fuzz.sh" --seconds "$seconds" --one || exit 1
