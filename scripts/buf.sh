#!/usr/bin/env bash
# Lints proto/ with buf's STANDARD rules. Exit 3: the tool could not be had here.
set -euo pipefail
cd "$(dirname "$0")/.."

buf=node_modules/@bufbuild/buf-linux-$(uname -m | sed s/x86_64/x64/)/bin/buf
wanted=$(sed -n 's/.*"@bufbuild\/buf-linux-x64": "\(.*\)".*/\1/p' package.json)
[ "$($buf --version 2>/dev/null)" = "$wanted" ] || npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || exit 3
[ -x "$buf" ] || exit 3
$buf lint
