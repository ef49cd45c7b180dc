#!/bin/sh
# Makes ./configure from configure.ac. Needs autoconf and automake (and pkg-config's pkg.m4).
set -e
cd "$(dirname "$0")"
exec autoreconf --install --force
