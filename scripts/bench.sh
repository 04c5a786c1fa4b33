#!/usr/bin/env bash
# A registry and an etcd of three nodes each on this machine, measured in turns; prints ratios, and where they are kept.
#   scripts/bench.sh            about a quarter of an hour after the build; keep the machine quiet
#   scripts/bench.sh --quick    whether it works at all
set -euo pipefail
cd "$(dirname "$0")/.."

: "${CARGO_TARGET_DIR:=$HOME/.cache/reeve/target}"
export CARGO_TARGET_DIR
results=$CARGO_TARGET_DIR/bench

etcd=$(scripts/etcd.sh "$results/etcd")
cargo build --locked --release --bins -p reeve-registry -p reeve-bench --features reeve-bench/peer

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit+=-dirty
exec "$CARGO_TARGET_DIR/release/reeve-bench" --etcd "$etcd" --bin-dir "$CARGO_TARGET_DIR/release" \
    --commit "$commit" --out "$results/summary.json" "$@"
