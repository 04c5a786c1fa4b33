#!/usr/bin/env bash
# cargo deny: what is linked, under which licence, from where. Keeps its tool in $HOME/.cache/reeve/bin.
# Exit 3: the tool could not be had here. Advisories need their database on github.com and are named as skipped without it.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
home=$HOME/.cache/reeve
deny=$home/bin/cargo-deny

if [ "$("$deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    echo "deny: installing cargo-deny $version (some minutes, once)"
    cargo install --locked --quiet --root "$home" --target-dir "$home/deny-build" --version "=$version" cargo-deny || exit 3
    rm -rf "$home/deny-build"
fi

"$deny" --locked check bans licenses sources
if "$deny" fetch db >/dev/null 2>&1; then
    "$deny" --locked check --disable-fetch advisories
else
    echo "deny: advisories skipped: their database cannot be reached"
fi
