#!/bin/sh
# Which lines the tests run: builds for gcov, runs unit tests, the fuzz targets' corpora and the end-to-end tests.
#   sh contrib/coverage.sh [--unit]
# Prints a line for each file of src, the least covered first, and the sums; a report in HTML is in the build folder.
# Ends with 1 when a sum is below its bound or a test fails. --unit leaves out the end-to-end tests, and then the sum
# of all is not judged. The build is kept in build/coverage; $ADIT_COVERAGE_BUILD names another place.
set -u

top=$(cd "$(dirname "$0")/.." && pwd)
dir=${ADIT_COVERAGE_BUILD:-$top/build/coverage}
jobs=$(nproc 2>/dev/null || echo 2)
e2e=yes

# Per cent of lines: of everything, and of what meets bytes from outside before anybody has judged them.
ALL_LEAST=85
PARSERS_LEAST=95
# Seconds.
UNIT_BOUND=900
E2E_BOUND=1800
# End-to-end tests mostly wait.
WORKERS=3

usage() { sed -n '2,6s/^# \{0,1\}//p' "$0"; }

case ${1:-} in
'') ;;
--unit) e2e=no ;;
-h | --help) usage; exit 0 ;;
*) echo "coverage: found '$1', wanted --unit or nothing" >&2; exit 2 ;;
esac

command -v gcovr >/dev/null || { echo "coverage: found no gcovr; contrib/deps.sh test installs it" >&2; exit 1; }
failed=no
mkdir -p "$dir" && cd "$dir" || exit 1
[ -x "$top/configure" ] || sh "$top/autogen.sh" >autogen.out 2>&1 || { tail -n 20 autogen.out; exit 1; }
[ -f config.status ] ||
	"$top/configure" --enable-coverage >configure.out 2>&1 || { tail -n 20 configure.out; exit 1; }
make -j"$jobs" >make.out 2>&1 || { tail -n 40 make.out; exit 1; }
find . -name '*.gcda' -exec rm -f {} +

timeout -k 10 "$UNIT_BOUND" make -j"$jobs" check >check.out 2>&1 || { tail -n 40 check.out; failed=yes; }
if [ "$e2e" = yes ]; then
	# programs that are killed write no counters, those that are told to end do
	(cd "$top" && PYTHONDONTWRITEBYTECODE=1 ADIT_BUILD=$dir timeout -k 60 "$E2E_BOUND" /usr/bin/python3 -m pytest \
		-q -p no:cacheprovider -n "$WORKERS" --dist loadfile --tb=short \
		-m 'not big and not valgrind and not soak' tests/e2e) >e2e.out 2>&1 || { tail -n 60 e2e.out; failed=yes; }
	tail -n 1 e2e.out
fi

mkdir -p report
# several processes write one file of counts: a branch's may come out negative, which no line's figure minds
gcovr --gcov-ignore-parse-errors -r "$top" --object-directory . -f "$top/src/" --csv coverage.csv \
	--html-details report/index.html . >gcovr.out 2>&1 || { tail -n 20 gcovr.out; exit 1; }

# sum NAME LEAST PATTERN: of the files that match; LEAST 0 = not judged
sum() {
	awk -F, -v name="$1" -v least="$2" -v pattern="$3" '
		NR > 1 && $1 ~ pattern { all += $2; run += $3 }
		END {
			percent = all ? 100 * run / all : 0
			printf "%6.1f %%  %5d of %5d lines  %s", percent, run, all, name
			printf percent < least ? ": FAILED, wanted %d %%\n" : "\n", least
			exit percent < least
		}' coverage.csv || failed=yes
}

awk -F, 'NR > 1 && $2 { printf "%6.1f %%  %5d missing  %s\n", 100 * $3 / $2, $2 - $3, $1 }' coverage.csv | sort -n
echo
sum 'HTTP/1 (src/http/h1_*)' $PARSERS_LEAST '^src/http/h1_'
sum 'link frames (src/link/frame.c)' $PARSERS_LEAST '^src/link/frame'
sum 'handshake (src/link/handshake.c)' $PARSERS_LEAST '^src/link/handshake'
sum 'link (src/link)' $PARSERS_LEAST '^src/link/'
sum 'configuration (src/conf)' $PARSERS_LEAST '^src/conf/'
if [ "$e2e" = yes ]; then
	sum 'all of src' $ALL_LEAST .
else
	sum 'all of src, without end-to-end tests' 0 .
fi
echo "report: $dir/report/index.html"
[ "$failed" = no ]
