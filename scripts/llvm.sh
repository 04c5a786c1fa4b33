#!/usr/bin/env bash
# Prints the path of the LLVM tool (cov, profdata) that matches rustc; other versions cannot read its profiles.
set -euo pipefail

tool=llvm-$1
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
for found in "$(command -v "$tool-$major" || true)" "/usr/lib/llvm-$major/bin/$tool" "$(rustc --print target-libdir)/../bin/$tool"; do
    if [ -n "$found" ] && [ -x "$found" ]; then
        echo "$found"
        exit 0
    fi
done
echo "$tool of LLVM $major is missing; install Debian's llvm-$major or: rustup component add llvm-tools" >&2
exit 1
