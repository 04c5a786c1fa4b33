#!/usr/bin/env bash
# A registry and an etcd of three nodes each on this machine, measured in turns; prints ratios, draws plots and
# flamegraphs, and says where they are kept.
#   scripts/bench.sh                 about half an hour after the build; keep the machine quiet
#   scripts/bench.sh --quick         whether it works at all
#   scripts/bench.sh --part profile  only where the nodes' processor time goes
#   scripts/bench.sh --plot SUMMARY --to DIR   draws a kept summary, and measures nothing
#   scripts/bench.sh --write-docs    what the last whole run and the last profile found goes into docs/benchmarks.md
set -euo pipefail
cd "$(dirname "$0")/.."

: "${CARGO_TARGET_DIR:=$HOME/.cache/reeve/target}"
export CARGO_TARGET_DIR
results=$CARGO_TARGET_DIR/bench
docs=docs/benchmarks.md

# Puts a text between two marks of the page: `<!-- NAME: …` and `<!-- end of NAME -->`.
put() {
    local name=$1 text=$2
    {
        sed -n "1,/^<!-- $name:/p" $docs
        printf '%s\n' "$text"
        sed -n "/^<!-- end of $name -->/,\$p" $docs
    } >"$results/benchmarks.md"
    cat "$results/benchmarks.md" >$docs
}

# Pictures of a kind, by the pattern of their names, replace those that the page had.
pictures() {
    local pattern=$1
    mkdir -p docs/benchmarks
    find docs/benchmarks -name "$pattern" -delete
    find "$results" -maxdepth 1 -name "$pattern" -exec cp {} docs/benchmarks/ \;
}

write_docs() {
    [ -s "$results/summary.md" ] && [ -s "$results/machine.md" ] || {
        echo "bench: nothing was measured yet; run scripts/bench.sh first" >&2
        exit 1
    }
    [ -s "$results/plots.md" ] || {
        echo "bench: nothing was drawn yet; run scripts/bench.sh --plot $results/summary.json --to $results" >&2
        exit 1
    }
    put measured "$(cat "$results/machine.md" && echo && cat "$results/summary.md" && echo && cat "$results/plots.md")"
    pictures '[!f]*.svg'
    if [ -s "$results/profile.md" ]; then
        put profiled "$(cat "$results/profile.md")"
        pictures 'flame-*.svg'
    else
        echo "bench: there is no profile yet; what the page says of one stays" >&2
    fi
}

if [ "${1-}" = --write-docs ]; then
    write_docs
    exit 0
fi

cargo build --locked --release --bins -p reeve-registry -p reeve-bench --features reeve-bench/peer
case " $* " in
*" --plot"[\ =]*)
    "$CARGO_TARGET_DIR/release/reeve-bench" "$@"
    exit
    ;;
esac

etcd=$(scripts/etcd.sh "$results/etcd")
commit=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
[ -z "$(git status --porcelain 2>/dev/null)" ] || commit+=-dirty
memory=$(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo)
"$CARGO_TARGET_DIR/release/reeve-bench" --etcd "$etcd" --bin-dir "$CARGO_TARGET_DIR/release" \
    --commit "$commit" --out "$results/summary.json" "$@"
case " $* " in
*" --part"[\ =]* | *" --help "* | *" -h "*) ;;
*)
    echo "Commit $commit, $(nproc) cores, $memory, Linux $(uname -r), $(uname -m); \`make bench${*:+ ARGS=\"$*\"}\`." \
        >"$results/machine.md"
    ;;
esac
