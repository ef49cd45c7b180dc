#!/bin/sh
# From a fresh checkout to a page seen through a tunnel, all on this machine:
#   sh contrib/quickstart.sh            stays up until Ctrl-C
#   sh contrib/quickstart.sh --once     ends after one request
# It installs missing Debian packages (as root or with sudo), builds into build/quickstart, and starts aditd, a sample
# web server and adit on free loopback ports. Everything it started ends with it.
set -eu

top=$(cd "$(dirname "$0")/.." && pwd)
build=$top/build/quickstart
once=no
pids=
work=

usage() { sed -n '2,6s/^# \{0,1\}//p' "$0"; }
say() { printf '\n==> %s\n' "$*"; }

fail() {
	printf '\nquickstart: %s\n' "$1" >&2
	if [ -n "${2:-}" ] && [ -s "$2" ]; then
		printf 'the end of %s:\n' "$2" >&2
		tail -n 20 "$2" >&2
	fi
	exit 1
}

# Last started, first ended; who does not listen to TERM for 5 s is killed.
clean_up() {
	status=$?
	trap - EXIT
	trap '' INT TERM HUP
	for pid in $pids; do
		kill "$pid" 2>/dev/null || continue
		tries=0
		while kill -0 "$pid" 2>/dev/null; do
			tries=$((tries + 1))
			[ "$tries" -le 50 ] || kill -9 "$pid" 2>/dev/null || :
			[ "$tries" -le 60 ] || break
			sleep 0.1
		done
		wait "$pid" 2>/dev/null || :
	done
	[ -z "$work" ] || rm -rf "$work"
	exit "$status"
}

# wait_for PID FILE TEXT WHAT: until FILE has a line with TEXT, at most 15 s
wait_for() {
	tries=0
	until grep -q -e "$3" "$2" 2>/dev/null; do
		kill -0 "$1" 2>/dev/null || fail "$4 ended before it was ready" "$5"
		tries=$((tries + 1))
		[ "$tries" -le 150 ] || fail "$4 was not ready within 15 s" "$5"
		sleep 0.1
	done
}

for arg in "$@"; do
	case $arg in
	--once) once=yes ;;
	-h | --help) usage; exit 0 ;;
	*) echo "quickstart: found '$arg', wanted --once or nothing" >&2; exit 2 ;;
	esac
done
trap clean_up EXIT
trap 'exit 0' INT
trap 'exit 143' TERM HUP

say "1/5 packages"
sh "$top/contrib/deps.sh" build || fail "packages are missing"

say "2/5 build into build/quickstart (log: build/quickstart/build.log)"
sh "$top/contrib/build.sh" quickstart || exit 1

work=$(mktemp -d)
export HOME="$work" XDG_STATE_HOME="$work/state"

say "3/5 aditd --dev, the tunnel server with a certificate and a token of its own"
"$build/src/aditd" --dev --dev-listen 127.0.0.1:0 --dev-dir "$work/dev" >"$work/aditd.out" 2>"$work/aditd.log" &
aditd=$!
pids="$aditd $pids"
wait_for "$aditd" "$work/aditd.out" 'adit http 3000' aditd "$work/aditd.log"
line=$(grep -m 1 'adit http 3000' "$work/aditd.out")
args=${line#*adit http 3000}
echo "it printed: adit http 3000$args"

say "4/5 a web server to show, and adit beside it"
python3 "$top/contrib/origin.py" 0 >"$work/origin.out" 2>"$work/origin.log" &
origin=$!
pids="$origin $pids"
wait_for "$origin" "$work/origin.out" 'listening on' 'the web server' "$work/origin.log"
port=$(sed -n 's/^listening on .*:\([0-9]*\)$/\1/p' "$work/origin.out")
# the line is made to be pasted into a shell: the shell takes it apart
eval "set -- $args"
ca=
previous=
for arg in "$@"; do
	[ "$previous" != --ca ] || ca=$arg
	previous=$arg
done
"$build/src/adit" http "$port" "$@" --name hello --log-format text 2>"$work/adit.log" &
adit=$!
pids="$adit $pids"
wait_for "$adit" "$work/adit.log" 'published' adit "$work/adit.log"
url=$(sed -n 's/.*published.* url="\{0,1\}\([^" ]*\).*/\1/p' "$work/adit.log" | head -n 1)
[ -n "$url" ] || fail "adit did not tell its URL" "$work/adit.log"
echo "ran: adit http $port$args --name hello"
echo "published http://127.0.0.1:$port as $url"

say "5/5 one request through the tunnel"
authority=${url#https://}
authority=${authority%%/*}
seconds=$(curl -sS --max-time 10 --cacert "$ca" --resolve "$authority:127.0.0.1" -D "$work/head" -o "$work/body" \
	-w '%{http_code} %{time_total}' "${url%/}/" 2>"$work/curl.log") || fail "curl got no answer" "$work/curl.log"
echo "curl --cacert $ca --resolve $authority:127.0.0.1 ${url%/}/"
sed -n 1p "$work/head"
sed -n 's/^/    /; 1,8p' "$work/body"
case $seconds in
"200 "*) echo "status 200 in ${seconds#* } s (with the TLS handshake)" ;;
*) fail "the answer was ${seconds% *}, wanted 200" "$work/adit.log" ;;
esac
[ "$once" = no ] || exit 0

cat <<EOT

It is up. Open
    ${url%/}/
    (the browser will warn: the certificate is signed by $ca, made just now)
or without a warning
    curl --cacert $ca --resolve $authority:127.0.0.1 ${url%/}/stream
Logs: $work/aditd.log, $work/adit.log
Ctrl-C ends all of it and removes $work.
EOT
while :; do
	kill -0 "$aditd" 2>/dev/null || fail "aditd ended" "$work/aditd.log"
	kill -0 "$adit" 2>/dev/null || fail "adit ended" "$work/adit.log"
	kill -0 "$origin" 2>/dev/null || fail "the web server ended" "$work/origin.log"
	sleep 1
done
