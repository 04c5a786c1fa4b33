#!/usr/bin/env bash
# Prints a folder with the libraries of the clients in Python and Node (python/bin/python, node_modules), as they are locked
# in tests/foreign: installed once, and anew when a lock file or an interpreter changes. What cannot be had is an error.
set -euo pipefail
cd "$(dirname "$0")/../tests/foreign"

fail() {
    printf 'foreign: %s\n' "$@" >&2
    exit 1
}

for tool in python3 node npm; do command -v $tool >/dev/null || fail "$tool is missing" "try: scripts/setup.sh test"; done
locks=(python/requirements.txt node/package.json node/package-lock.json)
sum=$({ python3 --version && node --version && cat "${locks[@]}"; } | sha256sum | cut -c 1-16)
kept=$HOME/.cache/reeve/foreign/$sum
mkdir -p "${kept%/*}"
# Two at once would install twice.
exec 9>"${kept%/*}/lock"
flock 9

if [ ! -d "$kept" ]; then
    draft=$(mktemp -d "${kept%/*}/draft.XXXXXX")
    trap 'rm -rf "$draft"' EXIT
    echo "foreign: installing the libraries of Python and Node, once" >&2
    python3 -m venv "$draft/python" >&2 || fail "no virtual environment" "on Debian: apt-get install python3-venv"
    "$draft/python/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
        --requirement python/requirements.txt >&2 || fail "pip could not install tests/foreign/python/requirements.txt"
    cp node/package.json node/package-lock.json "$draft/"
    npm ci --prefix "$draft" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 ||
        fail "npm could not install tests/foreign/node/package-lock.json"
    chmod 755 "$draft"
    mv -T "$draft" "$kept"
fi
echo "$kept"
