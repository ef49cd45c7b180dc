#!/bin/sh
# Installs what is missing of the Debian packages that adit needs, and says so.
#   sh contrib/deps.sh [build] [test] [browser] [report]        (nothing named: build and test)
set -eu

BUILD='autoconf automake pkg-config gcc make libc6-dev libnghttp2-dev libssl-dev libev-dev libwslay-dev
	libcunit1-dev libcrypt-dev node-llhttp libc-ares-dev libyaml-dev libjansson-dev libseccomp-dev curl python3'
TEST='nginx curl python3 python3-pytest python3-pytest-xdist python3-h2 python3-websockets python3-grpcio valgrind openssl
	nghttp2-client nghttp2-server nghttp2-proxy wrk procps systemd binutils tinyproxy haproxy apache2 caddy
	lighttpd lighttpd-mod-openssl postgresql clang libclang-rt-dev llvm gcovr'
REPORT='python3 python3-pytest nginx haproxy curl openssl graphviz wrk nghttp2-client nghttp2-server nghttp2-proxy'
BROWSER='chromium libnss3-tools python3 openssl'
# a Node.js from elsewhere does as well, and Debian's could not stand beside it
command -v npm >/dev/null || BROWSER="$BROWSER nodejs npm"

wanted=
for set in ${*:-build test}; do
	case $set in
	build) wanted="$wanted $BUILD" ;;
	test) wanted="$wanted $TEST" ;;
	browser) wanted="$wanted $BROWSER" ;;
	report) wanted="$wanted $REPORT" ;;
	*) echo "deps.sh: found '$set', wanted build, test, browser or report" >&2; exit 2 ;;
	esac
done

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	echo "deps: this is not Debian or Ubuntu: configure will name the libraries it misses"
	exit 0
fi

missing=
for package in $wanted; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
	installed) ;;
	*) case " $missing " in *" $package "*) ;; *) missing="$missing $package" ;; esac ;;
	esac
done
if [ -z "$missing" ]; then
	echo "deps: all packages are there"
	exit 0
fi

echo "deps: installing$missing"
if [ "$(id -u)" = 0 ]; then
	as_root=
elif command -v sudo >/dev/null; then
	as_root=sudo
else
	echo "deps: needs root or sudo; as root run: apt-get install --no-install-recommends$missing" >&2
	exit 1
fi

# Debian's packages of servers would start them (web servers on port 80): tests only want the programs, so services
# stay off for the time of this installation.
install='
	set -e
	policy=/usr/sbin/policy-rc.d
	if [ ! -e $policy ]; then
		trap "rm -f $policy" EXIT
		trap "exit 1" INT TERM HUP
		printf "#!/bin/sh\nexit 101\n" >$policy
		chmod 755 $policy
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get -q update
	apt-get -q -y install --no-install-recommends "$@"
'
log=$(mktemp)
# shellcheck disable=SC2086
if ! $as_root sh -c "$install" sh $missing >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	rm -f "$log"
	echo "deps: apt-get failed" >&2
	exit 1
fi
rm -f "$log"
echo "deps: installed"
