#!/usr/bin/env bash
# Writes the last instrumented run as HTML, every line with its count, and prints where.
set -euo pipefail
cd "$(dirname "$0")/.."

profiles=$1
args=()
while IFS= read -r object; do args+=(--object "$object"); done <"$profiles/objects"
"$(scripts/llvm.sh cov)" show --format=html --output-dir="$profiles/html" --instr-profile="$profiles/all.profdata" \
    --ignore-filename-regex='(/build/[^/]+/out/|/tests/)' "${args[@]}"
echo "$profiles/html/index.html"
