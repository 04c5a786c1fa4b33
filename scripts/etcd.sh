#!/usr/bin/env bash
# Prints the path of an etcd server: the one on this machine, or Debian's, unpacked below FOLDER and never installed,
# so that no service is made or started.
#   scripts/etcd.sh FOLDER
set -euo pipefail

folder=$1
unpacked=$folder/usr/bin/etcd

fail() {
    printf 'etcd: %s\n' "$@" >&2
    exit 1
}

if command -v etcd; then exit 0; fi
if [ ! -x "$unpacked" ]; then
    for tool in apt-get dpkg-deb; do
        command -v $tool >/dev/null || fail "no etcd, and this is not Debian: put etcd's server into PATH"
    done
    mkdir -p "$folder"
    cd "$folder"
    apt-get download -qq etcd-server 2>/dev/null ||
        fail "apt-get could not download etcd-server" "try: apt-get update, and then again"
    dpkg-deb -x etcd-server_*.deb .
    rm etcd-server_*.deb
    [ -x "$unpacked" ] || fail "Debian's etcd-server holds no usr/bin/etcd"
fi
echo "$unpacked"
