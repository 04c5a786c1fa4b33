#!/usr/bin/env bash
# Checks the alerts and runs their tests with promtool. Exit 3: the tool could not be had here.
# Without a promtool of its own, the machine gets the one file out of Debian's package `prometheus`, kept in
# $HOME/.cache/reeve/bin: to install the whole package would start a Prometheus, now and with each boot.
set -euo pipefail
cd "$(dirname "$0")/../deploy/prometheus"

kept=$HOME/.cache/reeve/bin/promtool
fetch() {
    local draft status=0
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null || return 1
    draft=$(mktemp -d)
    (
        # In a container the lists may be empty; only root can fetch them.
        cd "$draft" && chmod 755 . &&
            { apt-get -qq download prometheus || { apt-get -qq update && apt-get -qq download prometheus; }; } >log 2>&1 &&
            dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/promtool &&
            mkdir -p "${kept%/*}" && mv usr/bin/promtool "$kept"
    ) || { status=1 && tail -n 5 "$draft/log" >&2; }
    rm -rf "$draft"
    return "$status"
}

promtool=$(command -v promtool || true)
[ -n "$promtool" ] || promtool=$kept
[ -x "$promtool" ] || fetch || exit 3
"$promtool" --version >/dev/null 2>&1 || exit 3

"$promtool" check rules ./*.rules.yml
"$promtool" test rules tests/*.yml
