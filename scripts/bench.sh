#!/usr/bin/env bash
# A registry and an etcd of three nodes each on this machine, measured in turns; prints ratios, and where they are kept.
#   scripts/bench.sh                 under half an hour after the build; keep the machine quiet
#   scripts/bench.sh --quick         whether it works at all
#   scripts/bench.sh --write-docs    what the last whole run found goes into docs/benchmarks.md
set -euo pipefail
cd "$(dirname "$0")/.."

: "${CARGO_TARGET_DIR:=$HOME/.cache/reeve/target}"
export CARGO_TARGET_DIR
results=$CARGO_TARGET_DIR/bench

if [ "${1-}" = --write-docs ]; then
    [ -s "$results/summary.md" ] && [ -s "$results/machine.md" ] || {
        echo "bench: nothing was measured yet; run scripts/bench.sh first" >&2
        exit 1
    }
    docs=docs/benchmarks.md
    measured=$(cat "$results/machine.md" && echo && cat "$results/summary.md")
    # Everything up to the first mark, what was measured, and everything from the second on.
    {
        sed -n '1,/^<!-- measured/p' $docs
        printf '%s\n' "$measured"
        sed -n '/^<!-- end of measured/,$p' $docs
    } >"$results/benchmarks.md"
    cat "$results/benchmarks.md" >$docs
    exit 0
fi

etcd=$(scripts/etcd.sh "$results/etcd")
cargo build --locked --release --bins -p reeve-registry -p reeve-bench --features reeve-bench/peer

commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit+=-dirty
memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
"$CARGO_TARGET_DIR/release/reeve-bench" --etcd "$etcd" --bin-dir "$CARGO_TARGET_DIR/release" \
    --commit "$commit" --out "$results/summary.json" "$@"
case " $* " in
*" --part "*) ;;
*)
    echo "Commit $commit, $(nproc) cores, $memory, Linux $(uname -r), $(uname -m); \`make bench${*:+ ARGS=\"$*\"}\`." \
        >"$results/machine.md"
    ;;
esac
